//! Rate limiting without a clock, for every message that a client can make us log.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts occurrences of one kind of event and picks those worth a log line: the first eight, then every power of two.
#[derive(Debug, Default)]
pub struct Limit {
    seen: AtomicU64,
}

impl Limit {
    /// Counts one more. The count so far if this one should be logged.
    #[must_use]
    pub fn admit(&self) -> Option<u64> {
        let count = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        (count <= 8 || count.is_power_of_two()).then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_complaints_are_a_few_lines() {
        let limit = Limit::default();
        let lines = (0..1_000_000).filter(|_| limit.admit().is_some()).count();
        assert_eq!(lines, 8 + 16, "eight, then 2^4 to 2^19");
    }
}
