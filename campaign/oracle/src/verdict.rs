//! What the checker says: the rule that was broken, by which commands, on which blocks.

use std::fmt;

use crate::history::CommandId;

/// The rules of the checker, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A block is neither zeroes nor one whole stamped version.
    Garbage,
    /// A block's metadata is not that of its data.
    Metadata,
    /// A block can no longer be read.
    Unreadable,
    /// A block holds what was written to another.
    Misdirected,
    /// A block holds a version that was not submitted, or was refused.
    Unsubmitted,
    /// A block holds what it held before the pass began to be what it was.
    Resurrected,
    /// A block holds what a namespace held that was deleted or formatted.
    Reappeared,
    /// A block lacks a version that was guaranteed.
    Lost,
    /// A block that no command touched has changed.
    Bystander,
    /// A piece is partly there.
    Torn,
    /// No order of the commands explains what is there.
    Unserialisable,
    /// A Compare found a difference where no order of the commands leaves one.
    Compared,
    /// Of a fused pair the Write was carried out although the Compare failed, or the other way round.
    Pair,
    /// A block was read that cannot be.
    Readable,
    /// The namespaces are neither what they were nor what they were to become.
    Inventory,
    /// Who has registered, or holds a reservation, is not what it can be, or somebody was let in or refused who should not have been.
    Reservation,
    /// A block reads otherwise than it did before.
    Unstable,
    /// The count of unsafe shutdowns is wrong.
    Counter,
    /// A command without fault failed, or was never answered.
    Unanswered,
    /// The drive did not come back.
    Recovery,
    /// A promise that the drive made to itself was broken: it stopped.
    Stopped,
    /// The same seed did something else.
    Unrepeatable,
}

impl Rule {
    /// The rule in one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.text().split(':').next().unwrap_or_default()
    }

    /// The rule in words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Garbage => "garbage: a block is neither zeroes nor one whole version",
            Self::Metadata => "metadata: a block's metadata is not that of its data",
            Self::Unreadable => "unreadable: a block cannot be read back",
            Self::Misdirected => "misdirected: a block holds what was written to another",
            Self::Unsubmitted => "unsubmitted: a block holds a version that nobody submitted",
            Self::Resurrected => "resurrected: a block holds a version from before",
            Self::Reappeared => "reappeared: a block holds what a deleted or formatted namespace held",
            Self::Lost => "lost: a guaranteed version is not there",
            Self::Bystander => "bystander: a block changed that no command touched",
            Self::Torn => "torn: a part of an atomic piece is there and a part is older",
            Self::Unserialisable => "unserialisable: no order of the commands explains the blocks",
            Self::Compared => "compared: a Compare found a difference that no order of the commands explains",
            Self::Pair => "pair: a fused Write does not do as its Compare says",
            Self::Readable => "readable: a block was read whose cells are bad",
            Self::Inventory => "inventory: the namespaces are neither the old ones nor the new ones",
            Self::Reservation => {
                "reservation: no order of the commands explains who has registered and who may do what"
            }
            Self::Unstable => "unstable: a block reads otherwise than before",
            Self::Counter => "counter: unsafe shutdowns are miscounted",
            Self::Unanswered => "unanswered: a command without fault failed or was never answered",
            Self::Recovery => "recovery: the drive does not come back",
            Self::Stopped => "stopped: the drive's own assertion failed",
            Self::Unrepeatable => "unrepeatable: the same seed does something else the next time",
        }
    }
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// By or against which commands; 0 is what was there before.
    pub commands: Vec<CommandId>,
    /// The namespace, by its name in the history: 1 and so on for those that a drive is made with, then each that is made or formatted.
    pub nsid: u32,
    /// Where.
    pub blocks: Vec<u64>,
    /// What was found.
    pub found: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, commands, nsid, blocks, found } = self;
        write!(formatter, "{} (commands {commands:?}, namespace {nsid}, blocks {blocks:?}): {found}", rule.text())
    }
}
