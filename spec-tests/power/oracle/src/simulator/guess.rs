//! What a host that compares believes to be there: right, out of date, or wrong on purpose.

use crate::history::{Command, History, Verb};
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
}

impl Guess {
    /// What the host believes of blocks, one by one, just before it queues the next command.
    pub(super) fn expected(self, history: &History, nsid: u32, blocks: Blocks) -> Vec<Found> {
        let counts = |command: &Command| match self {
            Self::Queued => true,
            Self::Answered | Self::Never { .. } => command.succeeded().is_some(),
        };
        let believed = |block: u64| {
            let made = |command: &Command| command.changes() && command.covers(nsid, block) && !command.undone;
            let last = history.iter().filter(|(_, command)| made(command) && counts(command)).last();
            match last {
                None => history.namespace(nsid).initial[usize::try_from(block).expect("a simulated drive is small")],
                Some((id, command)) if command.verb == Verb::Write => Found::Stamp(history.stamp(id, nsid, block)),
                Some(_) => Found::Zeroes,
            }
        };
        let never = |block: u64| Found::Stamp(Stamp { command: u32::MAX, pass: history.pass, nsid, lba: block });
        let wrong = match self {
            Self::Never { block } => Some(blocks.start + block % blocks.count()),
            Self::Queued | Self::Answered => None,
        };
        blocks.each().map(|block| if wrong == Some(block) { never(block) } else { believed(block) }).collect()
    }
}
