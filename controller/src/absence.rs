//! How long the admin queue's memory may be unmapped before that is fatal (B20). Firmware unmaps and remaps all of low memory while
//! queues live, so there is a grace period. Knows nothing of queues.

use media::Nanoseconds;

/// The patience with one absence.
const GRACE: Nanoseconds = Nanoseconds(2_000_000_000);

/// Since when the memory is gone, if it is.
#[derive(Debug, Default)]
pub(crate) struct Absence(Option<Nanoseconds>);

impl Absence {
    /// An access failed; whether the patience is over.
    pub(crate) fn noticed(&mut self, now: Nanoseconds) -> bool {
        let since = *self.0.get_or_insert(now);
        now >= since.plus(GRACE)
    }

    /// The memory is there, or nobody asks for it any more.
    pub(crate) fn over(&mut self) {
        self.0 = None;
    }

    /// When the patience ends: everything is tried once more then.
    pub(crate) fn end_of_patience(&self) -> Option<Nanoseconds> {
        self.0.map(|since| since.plus(GRACE))
    }

    /// Whether that time has come.
    pub(crate) fn is_due(&self, now: Nanoseconds) -> bool {
        self.end_of_patience().is_some_and(|end| now >= end)
    }

    /// After everything was tried once more at that time: if it was not fatal, the absence is over.
    pub(crate) fn end_if_due(&mut self, now: Nanoseconds) {
        if self.is_due(now) {
            self.over();
        }
    }
}
