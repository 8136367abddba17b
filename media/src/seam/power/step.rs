//! The named steps. Owns their names and sets of them; does not know what the steps do.

crate::named! {
    /// A step at which power can be cut, by the name under which it is armed from outside.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    Step:
    /// A doorbell of the host was seen, and the queue knows.
    DoorbellSeen = "doorbell-seen",
    /// A command was copied from its queue.
    CommandFetched = "command-fetched",
    /// A command was found possible, and nothing was done yet.
    CommandAccepted = "command-accepted",
    /// The media has taken a command, or has finished it.
    CommandSubmitted = "command-submitted",
    /// A command is finished, and its answer waits to be written.
    CompletionQueued = "completion-queued",
    /// One answer was written into its completion queue.
    CompletionWritten = "completion-written",
    /// All answers of a completion queue that waited were written, and nobody was interrupted yet.
    CompletionsPublished = "completions-published",
    /// An interrupt was raised.
    InterruptRaised = "interrupt-raised",
    /// The host enabled the controller, which is ready.
    ControllerEnabled = "controller-enabled",
    /// The host reset the controller.
    ControllerReset = "controller-reset",
    /// The host asked for a shutdown, and nothing was done yet.
    ShutdownBegun = "shutdown-begun",
    /// Everything is durable, and the status register says that the shutdown is complete.
    ShutdownDone = "shutdown-done",
    /// A request arrived at the media and nothing was done yet.
    RequestTaken = "request-taken",
    /// Data went from the host's memory into the media or from there to the host.
    DataTransferred = "data-transferred",
    /// A unit of a group was staged.
    UnitStaged = "unit-staged",
    /// All units of a group are staged, and the map shows them.
    GroupStaged = "group-staged",
    /// A page is about to be programmed.
    PageProgram = "page-program",
    /// Half of a page's slots were programmed.
    PageHalfProgrammed = "page-half-programmed",
    /// A page was programmed.
    PageProgrammed = "page-programmed",
    /// A deallocation is about to enter the journal.
    JournalAppend = "journal-append",
    /// A deallocation entered the journal.
    JournalAppended = "journal-appended",
    /// A line was opened.
    LineOpened = "line-opened",
    /// A line is about to be closed.
    LineClose = "line-close",
    /// A line was closed: its summary is written.
    LineClosed = "line-closed",
    /// A victim was chosen.
    VictimChosen = "victim-chosen",
    /// A unit was copied out of a victim, and the map does not show it yet.
    UnitCopied = "unit-copied",
    /// The map shows a copied unit.
    UnitMoved = "unit-moved",
    /// Nothing of a victim is needed any more.
    VictimDrained = "victim-drained",
    /// A line is about to be erased.
    LineErase = "line-erase",
    /// A line was erased.
    LineErased = "line-erased",
    /// A flush began.
    FlushBegun = "flush-begun",
    /// Everything staged was programmed for a flush, and the store was not asked to sync yet.
    FlushProgrammed = "flush-programmed",
    /// A flush was handed to the store.
    FlushSynced = "flush-synced",
    /// A checkpoint began.
    CheckpointBegun = "checkpoint-begun",
    /// A map page was written for a checkpoint.
    CheckpointPage = "checkpoint-page",
    /// All pages of a checkpoint are written, its root is not.
    CheckpointRoot = "checkpoint-root",
    /// A checkpoint is complete.
    CheckpointDone = "checkpoint-done",
    /// A block was replaced.
    BlockRetired = "block-retired",
    /// Recovery has read root and headers.
    RecoveryBegun = "recovery-begun",
    /// Recovery has read the map and what was logged since.
    RecoveryScanned = "recovery-scanned",
    /// Recovery has repeated what was logged.
    RecoveryReplayed = "recovery-replayed",
    /// A root is about to be written at the end of recovery.
    RecoveryRoot = "recovery-root",
    /// Recovery is complete.
    RecoveryDone = "recovery-done",
}

impl Step {
    /// The step of a name as [`Step::name`] writes it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|step| step.name() == name)
    }

    /// Whether the controller takes the step, and not the media.
    #[must_use]
    pub fn is_of_controller(self) -> bool {
        self <= Self::ShutdownDone
    }

    /// Whether the step is one of recovery.
    #[must_use]
    pub fn is_of_recovery(self) -> bool {
        self >= Self::RecoveryBegun
    }
}

/// A set of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps(u64);

const _: () = assert!(Step::ALL.len() <= 64, "a set is one word");

impl Steps {
    /// Every step there is.
    pub const ALL: Self = Self(u64::MAX);

    /// These steps.
    #[must_use]
    pub fn of(steps: &[Step]) -> Self {
        Self(steps.iter().fold(0, |set, step| set | 1 << *step as u32))
    }

    /// Whether a step is in the set.
    #[must_use]
    pub const fn contains(self, step: Step) -> bool {
        self.0 & 1 << step as u32 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_come_back() {
        for &step in Step::ALL {
            assert_eq!(Step::named(step.name()), Some(step));
        }
        assert_eq!(Step::PageHalfProgrammed.name(), "page-half-programmed");
        assert_eq!(Step::named("nothing"), None);
        assert!(Step::ALL.len() >= 20, "as many as are promised");
    }

    #[test]
    fn a_set_holds_its_steps_and_no_other() {
        let set = Steps::of(&[Step::DoorbellSeen, Step::RecoveryDone]);
        let held: Vec<_> = Step::ALL.iter().filter(|step| set.contains(**step)).collect();
        assert_eq!(held, [&Step::DoorbellSeen, &Step::RecoveryDone]);
        assert!(Step::ALL.iter().all(|step| Steps::ALL.contains(*step)));
    }
}
