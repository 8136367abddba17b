//! What reaches the host's disk before what, by name. Whoever orders the disk says which of these it is, at one place for each (`tidy`
//! looks), so that none can be left out unseen: `histories` leaves out one at a time, and must find a drive that breaks a promise.
//! Knows no disk; the switch exists in tests and with the feature `mutations`, and otherwise every ordering is kept while compiling.
//!
//! Three things look like orderings and are none. A notice is for memory alone: whoever wrote waits until it was taken. The room of an
//! erased line is given back whenever that gets to the disk, and nothing waits for it. What a file is opened with is made durable first
//! (`file::read_the_disk`) because of errors that earlier processes were told of, not for the sake of an order.

#[cfg(test)]
mod histories;
#[cfg(test)]
mod lines;

crate::named! {
    /// Something that is durable, or done, before something else.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    Order:
    /// What was called freely is written before what takes its turn: whatever a turn is said to come after.
    FreeBeforeTurns = "free-before-turns",
    /// What took its turn is durable before a claim as well: a line's header speaks of the journal too.
    TurnsBeforeClaims = "turns-before-claims",
    /// A ticket is done once everything before it is durable.
    TicketAfterSync = "ticket-after-sync",
    /// Metadata takes its turn, so that roots have an order with what they point at.
    MetadataInTurn = "metadata-in-turn",
    /// A root is written once what it points at is durable: map pages, what was programmed, the journal.
    RootAfterAll = "root-after-all",
    /// What the root before needs is overwritten once a root is durable: its map pages, its part of the journal.
    NextAfterRoot = "next-after-root",
    /// A line's header is written once what it claims to be programmed is durable.
    HeaderAfterPrograms = "header-after-programs",
    /// What is claimed of a line that was opened waits until the header that opened it is durable.
    ClaimAfterOpen = "claim-after-open",
    /// A line is opened once its erase is durable.
    OpenAfterErase = "open-after-erase",
    /// What a line is programmed with is written after its erase, or the hole that was made in it, and not whenever.
    ProgramAfterErase = "program-after-erase",
    /// That a line is erased is written once what was moved out of it is durable.
    EraseAfterMoves = "erase-after-moves",
    /// The room of a line is given back once its erase is durable.
    DiscardAfterErase = "discard-after-erase",
    /// What an erased line is programmed with is written after its room was given back.
    ProgramAfterDiscard = "program-after-discard",
    /// What is programmed after a recovery is written once its root is durable.
    ProgramAfterRecovery = "program-after-recovery",
    /// Lives of lines that are opened after a recovery have numbers that none has had before, although headers are lost and records not.
    LivesAfterRecovery = "lives-after-recovery",
    /// A record is believed once its data is there, because neither is ordered.
    RecordAfterData = "record-after-data",
    /// The root of a recovery that found records without their data is written once a map without them is.
    RootAfterTorn = "root-after-torn",
    /// A request that asks for it ends once everything is durable.
    AnswerAfterSync = "answer-after-sync",
    /// A drive that is shut down is at its end once everything is durable.
    EndAfterSync = "end-after-sync",
    /// A volume has its new format once that is durable.
    FormatAfterSync = "format-after-sync",
    /// What survives a power loss becomes durable by itself.
    SurvivorsSync = "survivors-sync",
    /// A drive that is taken apart in one process reads what it was handed over until that is durable.
    TakenAfterSync = "taken-after-sync",
}

#[cfg(any(test, feature = "mutations"))]
std::thread_local! {
    static LEFT_OUT: std::cell::Cell<Option<Order>> = const { std::cell::Cell::new(None) };
}

/// Leaves an ordering out from now on, in this thread; none with `None`.
#[cfg(any(test, feature = "mutations"))]
pub fn leave_out(order: Option<Order>) {
    LEFT_OUT.set(order);
}

impl Order {
    /// Whether it is kept.
    #[cfg(any(test, feature = "mutations"))]
    #[must_use]
    pub fn kept(self) -> bool {
        LEFT_OUT.get() != Some(self)
    }

    /// Whether it is kept: always.
    #[cfg(not(any(test, feature = "mutations")))]
    #[inline]
    #[must_use]
    pub const fn kept(self) -> bool {
        let _ = self;
        true
    }
}
