//! The promise to answer a command, as a value.

/// A command that was taken and a completion slot that is held for it. It goes back to [`super::Queues::complete`] or
/// [`super::Queues::abandon`]; how many are out is counted, and the controller checks the count against the commands that it knows to
/// be unfinished after every step.
#[derive(Debug)]
#[must_use]
pub(crate) struct Permit {
    sqid: u16,
    cqid: u16,
    cid: u16,
    ordinal: u64,
}

impl Permit {
    #[inline]
    pub(super) fn new(sqid: u16, cqid: u16, cid: u16, ordinal: u64) -> Self {
        Self { sqid, cqid, cid, ordinal }
    }

    /// Which submission queue the command came from.
    #[inline]
    pub(crate) fn sqid(&self) -> u16 {
        self.sqid
    }

    /// The host's name for the command.
    #[inline]
    pub(crate) fn cid(&self) -> u16 {
        self.cid
    }

    /// How many commands were taken before it, and it.
    pub(crate) fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// The completion queue, when the promise is kept.
    #[inline]
    pub(super) fn settle(self) -> u16 {
        self.cqid
    }
}
