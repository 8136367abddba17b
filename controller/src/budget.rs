//! Bounds the duration of a step. A step ends by the clock, because the host decides what a command costs: one may copy four kilobytes,
//! and another may walk a list of thousands of descriptors. It also ends by a count, so that it ends where time stands still: in tests,
//! and wherever a run must repeat.

use media::Nanoseconds;

/// The time, for a step to see how it passes.
pub trait Clock {
    /// The time; it never goes back.
    fn now(&self) -> Nanoseconds;
}

/// A clock that stands still.
pub(crate) struct Still(pub(crate) Nanoseconds);

impl Clock for Still {
    fn now(&self) -> Nanoseconds {
        self.0
    }
}

/// How long a step takes new commands, and then how long it goes on with those that it has. Whoever waits for the next step waits for both,
/// and for what was begun last: together a fraction of what a host notices.
pub(crate) const PHASE_TIME: Nanoseconds = Nanoseconds(500_000);
/// How much a phase does at most: a short command counts for one.
pub(crate) const WORK_PER_PHASE: usize = 256;
/// How much is done between two looks at the clock, where it is short commands that are done. As many as are read together.
const WORK_PER_LOOK: usize = 32;

/// What is left of a phase.
pub(crate) struct Budget<'a> {
    clock: &'a dyn Clock,
    deadline: Nanoseconds,
    /// When the clock was looked at last.
    latest: Nanoseconds,
    done: usize,
    /// What had been done then.
    looked: usize,
    look: bool,
}

impl<'a> Budget<'a> {
    /// A phase that begins at `now`.
    pub(crate) fn new(clock: &'a dyn Clock, now: Nanoseconds) -> Self {
        Self { clock, deadline: now.plus(PHASE_TIME), latest: now, done: 0, looked: 0, look: false }
    }

    /// How many short commands may be done now; none if the phase is over.
    #[inline]
    pub(crate) fn left(&mut self) -> usize {
        if self.look || self.done - self.looked >= WORK_PER_LOOK {
            self.latest = self.clock.now();
            (self.looked, self.look) = (self.done, false);
        }
        if self.latest >= self.deadline { 0 } else { WORK_PER_PHASE.saturating_sub(self.done) }
    }

    /// After how many short commands to look at the clock again.
    #[inline]
    pub(crate) fn until_look(&self) -> usize {
        WORK_PER_LOOK.saturating_sub(self.done - self.looked).max(1)
    }

    /// This many short commands were done.
    #[inline]
    pub(crate) fn spend(&mut self, commands: usize) {
        self.done += commands;
    }

    /// Something was done that may have taken any time: the clock is looked at before anything else is.
    #[inline]
    pub(crate) fn spend_long(&mut self, work: usize) {
        self.done += work;
        self.look = true;
    }

    /// Whether anything was done.
    pub(crate) fn worked(&self) -> bool {
        self.done > 0
    }

    /// When the clock was looked at last.
    pub(crate) fn latest(&self) -> Nanoseconds {
        self.latest
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A clock that counts how often it is asked.
    struct Counted(Cell<u64>, Cell<u32>);

    impl Clock for Counted {
        fn now(&self) -> Nanoseconds {
            self.1.set(self.1.get() + 1);
            Nanoseconds(self.0.get())
        }
    }

    #[test]
    fn a_phase_ends_by_the_clock_or_by_the_count() {
        let clock = Counted(Cell::new(10), Cell::new(0));
        let mut budget = Budget::new(&clock, Nanoseconds(10));
        assert_eq!((budget.left(), budget.until_look()), (256, 32));
        budget.spend(31);
        assert_eq!(
            (budget.left(), budget.until_look(), clock.1.get()),
            (225, 1, 0),
            "the clock is not asked for nothing"
        );
        budget.spend(1);
        assert_eq!((budget.left(), clock.1.get()), (224, 1));
        clock.0.set(10 + PHASE_TIME.0 - 1);
        budget.spend_long(1);
        assert_eq!((budget.left(), clock.1.get()), (223, 2));
        clock.0.set(10 + PHASE_TIME.0);
        assert_eq!(budget.left(), 223, "nothing was done since");
        budget.spend_long(1);
        assert_eq!((budget.left(), budget.latest()), (0, Nanoseconds(10 + PHASE_TIME.0)));

        let still = Still(Nanoseconds(0));
        let mut budget = Budget::new(&still, Nanoseconds(0));
        budget.spend_long(255);
        assert_eq!(budget.left(), 1);
        budget.spend(40);
        assert_eq!(budget.left(), 0);
    }
}
