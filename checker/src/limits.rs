//! How long things may take.

use media::Nanoseconds;

/// Two processors' posted writes may arrive in either order.
pub(crate) const RACE: u64 = 1_000_000;
/// One second.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// Time limits, in nanoseconds, for a machine that is `slowness` times as slow as a real one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) slowness: u64,
}

impl Limits {
    pub(crate) fn scaled(&self, nanoseconds: u64) -> u64 {
        nanoseconds.saturating_mul(self.slowness)
    }

    /// Whether more than so many nanoseconds went by.
    pub(crate) fn passed(&self, since: Nanoseconds, now: Nanoseconds, nanoseconds: u64) -> bool {
        now.0.saturating_sub(since.0) > self.scaled(nanoseconds)
    }
}
