//! Chooses the submission queue to serve next: round robin with bursts (NVMe Base 2.1 section 3.4.4.1). Knows which queues have entries
//! and which of those must wait, but not what the entries are.

use crate::queue::IdSet;

/// Round robin over the queues that have something to take.
#[derive(Debug, Default)]
pub(crate) struct Arbiter {
    ready: IdSet,
    /// Queues with entries that cannot be taken: no completion slot is free, or the memory is gone.
    blocked: IdSet,
    /// The queue whose turn it is.
    turn: u16,
    /// How many commands it may still give in this turn.
    left: u32,
}

impl Arbiter {
    /// The queue has entries.
    pub(crate) fn ready(&mut self, id: u16) {
        self.ready.insert(id);
        self.not_blocked(id);
    }

    /// The queue has no entries.
    pub(crate) fn idle(&mut self, id: u16) {
        self.ready.remove(id);
        self.not_blocked(id);
    }

    #[inline]
    fn not_blocked(&mut self, id: u16) {
        if !self.blocked.is_empty() {
            self.blocked.remove(id);
        }
    }

    /// The queue has entries that cannot be taken now.
    pub(crate) fn block(&mut self, id: u16) {
        self.ready.remove(id);
        self.blocked.insert(id);
    }

    /// Whether a queue has entries that cannot be taken.
    pub(crate) fn any_blocked(&self) -> bool {
        !self.blocked.is_empty()
    }

    /// What held queues up may be over: they are tried again.
    pub(crate) fn unblock(&mut self) {
        if self.blocked.is_empty() {
            return;
        }
        self.ready.absorb(&mut self.blocked);
    }

    /// The queue to take the next command from. `burst` is how many a queue may give before the next one has its turn.
    #[inline]
    pub(crate) fn next(&mut self, burst: u32) -> Option<u16> {
        let stays = self.left > 0 && self.ready.contains(self.turn);
        if !stays {
            let behind = self.turn + 1;
            self.turn = self.ready.first_from(behind).or_else(|| self.ready.first_from(0))?;
            self.left = burst;
        }
        self.left -= 1;
        Some(self.turn)
    }

    /// How many commands may be taken in a row from the queue that was just named; no others wait for theirs if it is the only one.
    #[inline]
    pub(crate) fn in_a_row(&self) -> usize {
        if self.ready.is_only(self.turn) { usize::MAX } else { self.left as usize + 1 }
    }

    /// This many commands were taken from the queue that was just named.
    #[inline]
    pub(crate) fn took(&mut self, commands: usize) {
        self.left = self.left.saturating_sub(u32::try_from(commands - 1).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_in_a_row_counts_for_the_turn_unless_nobody_else_waits() {
        let mut arbiter = Arbiter::default();
        [3, 7].into_iter().for_each(|id| arbiter.ready(id));
        assert_eq!((arbiter.next(4), arbiter.in_a_row()), (Some(3), 4));
        arbiter.took(3);
        assert_eq!((arbiter.next(4), arbiter.in_a_row()), (Some(3), 1));
        arbiter.took(1);
        assert_eq!(arbiter.next(4), Some(7));
        arbiter.idle(3);
        assert_eq!(arbiter.in_a_row(), usize::MAX);
        arbiter.took(100);
        assert_eq!(arbiter.next(4), Some(7));
    }

    #[test]
    fn every_queue_has_its_turn_in_bursts() {
        let mut arbiter = Arbiter::default();
        [1, 5, 64].into_iter().for_each(|id| arbiter.ready(id));
        let order: Vec<_> = std::iter::from_fn(|| arbiter.next(2)).take(8).collect();
        assert_eq!(order, [1, 1, 5, 5, 64, 64, 1, 1]);
        arbiter.block(5);
        let order: Vec<_> = std::iter::from_fn(|| arbiter.next(1)).take(3).collect();
        assert_eq!(order, [64, 1, 64]);
        arbiter.unblock();
        arbiter.idle(64);
        let order: Vec<_> = std::iter::from_fn(|| arbiter.next(1)).take(3).collect();
        assert_eq!(order, [1, 5, 1]);
    }
}
