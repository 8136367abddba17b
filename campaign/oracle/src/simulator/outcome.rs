//! How commands ended, counted by what they are: a generator that never reaches one of these tests nothing of it.

use crate::checker::Answer;
use crate::history::{Command, Verb};
use crate::inventory::{Change, Ending, Refusal};
use crate::reservations::{self, Access, Act, Action, Registrations};

media::named! {
    /// An end that a command may come to.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    Outcome:
    /// A Read returned blocks.
    Read = "read",
    /// A Read returned a part of a write that is whole unless Disable Normal is set.
    ReadMixed = "read-mixed",
    /// A Read met a bad block.
    ReadUnreadable = "read-unreadable",
    /// A Write, Write Zeroes, Write Uncorrectable or Deallocate by itself was carried out.
    Changed = "changed",
    /// A Copy was carried out.
    Copied = "copied",
    /// A Copy met a bad block.
    CopyUnreadable = "copy-unreadable",
    /// A Flush was carried out.
    Flushed = "flushed",
    /// A Compare by itself found what was expected.
    CompareEqual = "compare-equal",
    /// A Compare by itself found something else.
    CompareDiffers = "compare-differs",
    /// A Compare by itself met a bad block.
    CompareUnreadable = "compare-unreadable",
    /// A Verify could read all.
    VerifyReadable = "verify-readable",
    /// A Verify met a bad block.
    VerifyUnreadable = "verify-unreadable",
    /// The Write of a pair was carried out.
    PairWritten = "pair-written",
    /// The Compare of a pair found something else than was expected.
    PairDiffers = "pair-differs",
    /// The Compare of a pair met a bad block.
    PairUnreadable = "pair-unreadable",
    /// A pair was refused: it is above the unit of such pairs.
    PairTooLarge = "pair-too-large",
    /// A namespace was made.
    Created = "created",
    /// A namespace was deleted.
    Deleted = "deleted",
    /// A namespace was formatted.
    Formatted = "formatted",
    /// A Format with a secure erase showed how far it was.
    FormatProgress = "format-progress",
    /// A namespace was attached to a controller.
    Attached = "attached",
    /// A namespace was detached from a controller.
    Detached = "detached",
    /// A change of the namespaces was refused, and could not be made.
    ChangeRefused = "change-refused",
    /// A Format or a deletion was refused because of another host's reservation.
    ChangeReserved = "change-reserved",
    /// A host registered, or replaced its key.
    Registered = "registered",
    /// A host took its registration back.
    Unregistered = "unregistered",
    /// A host acquired a reservation.
    Acquired = "acquired",
    /// A host preempted others, or a reservation.
    Preempted = "preempted",
    /// A host released a reservation.
    Released = "released",
    /// A host took all registrations away.
    Cleared = "cleared",
    /// A host was told who has registered.
    Reported = "reported",
    /// A command about registrations was refused.
    ReservationRefused = "reservation-refused",
    /// Another command was refused because of a reservation.
    AccessRefused = "access-refused",
    /// A command was aborted because its host was preempted.
    AccessAborted = "access-aborted",
    /// Registrations were there after a power loss.
    RegistrationsKept = "registrations-kept",
    /// None was there after a power loss, and there had been some before.
    RegistrationsGone = "registrations-gone",
}

impl Outcome {
    /// What an answer to a command is; nothing for the half of a pair that says no more than the other.
    const fn of(command: &Command, answer: Answer, mixed: bool) -> Option<Self> {
        Some(match (command.verb, command.fused, answer) {
            (Verb::Read, _, Answer::Success) if mixed => Self::ReadMixed,
            (Verb::Read, _, Answer::Success) => Self::Read,
            (Verb::Read, _, Answer::Unreadable) => Self::ReadUnreadable,
            (Verb::Compare, false, Answer::Success) => Self::CompareEqual,
            (Verb::Compare, false, Answer::Differs) => Self::CompareDiffers,
            (Verb::Compare, false, Answer::Unreadable) => Self::CompareUnreadable,
            (Verb::Verify, _, Answer::Success) => Self::VerifyReadable,
            (Verb::Verify, _, Answer::Unreadable) => Self::VerifyUnreadable,
            (Verb::Compare, true, Answer::Differs) => Self::PairDiffers,
            (Verb::Compare, true, Answer::Unreadable) => Self::PairUnreadable,
            (Verb::Compare, true, Answer::TooLarge) => Self::PairTooLarge,
            (Verb::Write, true, Answer::Success) => Self::PairWritten,
            (Verb::Flush | Verb::FlushAll, _, Answer::Success) => Self::Flushed,
            (Verb::Copy { .. }, _, Answer::Success) => Self::Copied,
            (Verb::Copy { .. }, _, Answer::Unreadable) => Self::CopyUnreadable,
            (Verb::Write | Verb::Zeroes { .. } | Verb::Deallocate | Verb::Uncorrectable, false, Answer::Success) => {
                Self::Changed
            }
            _ => return None,
        })
    }
}

/// How often commands came to each end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcomes([u64; Outcome::ALL.len()]);

impl Default for Outcomes {
    fn default() -> Self {
        Self([0; Outcome::ALL.len()])
    }
}

impl Outcomes {
    /// Each end and how often.
    pub fn iter(&self) -> impl Iterator<Item = (Outcome, u64)> {
        Outcome::ALL.iter().copied().zip(self.0)
    }

    /// How often commands came to an end.
    #[must_use]
    pub const fn of(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize]
    }

    pub(super) fn count(&mut self, command: &Command, answer: Answer, mixed: bool) {
        if let Some(outcome) = Outcome::of(command, answer, mixed) {
            self.0[outcome as usize] += 1;
        }
    }

    pub(super) fn count_change(&mut self, change: &Change, ending: Ending) {
        let outcome = match change {
            _ if ending == Err(Refusal::Reserved) => Outcome::ChangeReserved,
            _ if ending.is_err() => Outcome::ChangeRefused,
            Change::Create { .. } => Outcome::Created,
            Change::Delete { .. } => Outcome::Deleted,
            Change::Format { .. } => Outcome::Formatted,
            Change::Attach { attach: true, .. } => Outcome::Attached,
            Change::Attach { .. } => Outcome::Detached,
        };
        self.0[outcome as usize] += 1;
    }

    pub(super) const fn count_progress(&mut self) {
        self.0[Outcome::FormatProgress as usize] += 1;
    }

    pub(super) fn count_act(&mut self, act: &Act, ending: &reservations::Ending) {
        let outcome = match act {
            _ if matches!(ending, reservations::Ending::Conflict | reservations::Ending::Invalid) => {
                Outcome::ReservationRefused
            }
            Act::Register { action: Action::Unregister, .. } => Outcome::Unregistered,
            Act::Register { .. } => Outcome::Registered,
            Act::Acquire { .. } => Outcome::Acquired,
            Act::Preempt { .. } => Outcome::Preempted,
            Act::Release { .. } => Outcome::Released,
            Act::Clear { .. } => Outcome::Cleared,
            Act::Report => Outcome::Reported,
            Act::Leave => return,
        };
        self.0[outcome as usize] += 1;
    }

    pub(super) const fn count_access(&mut self, access: Option<Access>) {
        let outcome = match access {
            Some(Access::Refused) => Outcome::AccessRefused,
            Some(Access::Aborted) => Outcome::AccessAborted,
            Some(Access::Granted) | None => return,
        };
        self.0[outcome as usize] += 1;
    }

    pub(super) fn count_settled(&mut self, seen: &Registrations, was_registered: bool) {
        if !seen.keys.is_empty() {
            self.0[Outcome::RegistrationsKept as usize] += 1;
        } else if was_registered {
            self.0[Outcome::RegistrationsGone as usize] += 1;
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, more)| *sum += more);
    }
}

impl FromIterator<(Outcome, u64)> for Outcomes {
    fn from_iter<T: IntoIterator<Item = (Outcome, u64)>>(counts: T) -> Self {
        let mut outcomes = Self::default();
        counts.into_iter().for_each(|(outcome, times)| outcomes.0[outcome as usize] += times);
        outcomes
    }
}
