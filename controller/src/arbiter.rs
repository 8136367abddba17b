//! Which submission queue is served next: round robin with bursts (NVMe Base 2.1 section 3.4.4.1). It knows which queues have entries
//! and which of those must wait, and nothing of what the entries are.

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
        self.blocked.remove(id);
    }

    /// The queue has no entries.
    pub(crate) fn idle(&mut self, id: u16) {
        self.ready.remove(id);
        self.blocked.remove(id);
    }

    /// The queue has entries that cannot be taken now.
    pub(crate) fn block(&mut self, id: u16) {
        self.ready.remove(id);
        self.blocked.insert(id);
    }

    /// Whether a queue has entries that cannot be taken.
    pub(crate) fn any_blocked(&self) -> bool {
        self.blocked.first_from(0).is_some()
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
}

#[cfg(test)]
mod tests {
    use super::*;

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
