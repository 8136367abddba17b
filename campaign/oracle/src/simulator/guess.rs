//! What a host that compares believes to be there: right, out of date, or wrong on purpose.

use crate::history::{Command, History};
use crate::parameters::Blocks;
use crate::stamp::{Found, Stamp};

/// How a host comes to what it believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guess {
    /// The last versions that it queued, answered or not.
    Queued,
    /// The last versions that were answered with success.
    Answered,
    /// Those, and of one block a version that never was.
    Never {
        /// The block, counted from the first and around.
        block: u64,
    },
    /// Those, and of one block metadata of another; only where blocks have metadata.
    Metadata {
        /// The block, counted from the first and around.
        block: u64,
    },
}

impl Guess {
    /// What the host believes of blocks, one by one, just before it queues the next command.
    pub(super) fn expected(self, history: &History, nsid: u32, blocks: Blocks) -> Vec<Found> {
        let counts = |command: &Command| match self {
            Self::Queued => true,
            Self::Answered | Self::Never { .. } | Self::Metadata { .. } => command.succeeded().is_some(),
        };
        let believed = |block: u64| {
            let made = |command: &Command| command.changes() && command.covers(nsid, block) && !command.undone;
            let last = history.iter().filter(|(_, command)| made(command) && counts(command)).last();
            match last {
                None => history.initial(nsid, block),
                Some((id, _)) => history.shows(id, nsid, block).last().copied().unwrap_or(Found::Zeroes),
            }
        };
        // Nobody expects what cannot be read.
        let believed =
            |block: u64| Some(believed(block)).filter(|found| *found != Found::Unreadable).unwrap_or(Found::Zeroes);
        let wrong = |block: u64, wrong: u64| block == blocks.start + wrong % blocks.count();
        let expected = |block: u64| match (self, believed(block)) {
            (Self::Never { block: never }, _) if wrong(block, never) => {
                Found::Stamp(Stamp { command: u32::MAX, pass: history.pass, nsid, lba: block })
            }
            (Self::Metadata { block: other }, Found::Stamp(stamp)) if wrong(block, other) => {
                Found::WrongMetadata(stamp)
            }
            (_, believed) => believed,
        };
        blocks.each().map(expected).collect()
    }
}
