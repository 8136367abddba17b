//! Blocks whose cells went bad: nothing is read of one until it is written again, and everything is once it was. What is judged is
//! whether a command could, or had to, meet such a block.

use super::{Image, Violation};
use crate::history::{Command, History, Time, Verb};
use crate::stamp::Found;
use crate::verdict::Rule;

/// A moment of one or two: those between which a command looked at its blocks.
pub(super) type While = (Time, Time);

/// Judges which blocks a drive cannot read after a power loss; what the others hold is not looked at.
///
/// # Errors
/// [`Rule::Unreadable`] or [`Rule::Readable`].
pub fn judge_damage(history: &History, image: &Image) -> Result<(), Violation> {
    for (&nsid, found) in image {
        for (block, found) in (0..).zip(found) {
            let unreadable = *found == Found::Unreadable;
            let (possible, certain) = (may_meet(history, nsid, block, END), must_meet(history, nsid, block, END));
            // Whether it could be made so, the image without the damage is judged by.
            let made = |command: &Command| command.verb == Verb::Uncorrectable && command.covers(nsid, block);
            let initial = history.initial(nsid, block);
            let possible = possible || initial == Found::Unreadable || history.commands.iter().any(made);
            let rule = if unreadable { Rule::Unreadable } else { Rule::Readable };
            if unreadable && !possible || !unreadable && certain {
                let found = format!("{found:?} after the power loss");
                return Err(Violation { rule, commands: Vec::new(), nsid, blocks: vec![block], found });
            }
        }
    }
    Ok(())
}

const END: While = (Time::MAX, Time::MAX);

/// When each damage of a block was done.
fn damages(history: &History, nsid: u32, block: u64) -> impl Iterator<Item = Time> {
    let of_block = move |command: &&Command| command.verb == Verb::Damage && command.covers(nsid, block);
    history.commands.iter().filter(of_block).filter_map(Command::succeeded)
}

fn changes(history: &History, nsid: u32, block: u64) -> impl Iterator<Item = &Command> {
    history.commands.iter().filter(move |command| command.changes() && command.covers(nsid, block))
}

/// Whether a block may have been unreadable at some moment.
pub(super) fn may_meet(history: &History, nsid: u32, block: u64, (from, until): While) -> bool {
    damages(history, nsid, block).filter(|at| *at < until).any(|at| {
        let healed = |command: &Command| {
            command.rung.is_some_and(|rung| rung > at) && command.succeeded().is_some_and(|done| done < from)
        };
        !changes(history, nsid, block).any(healed)
    })
}

/// Whether a block was unreadable all the time.
pub(super) fn must_meet(history: &History, nsid: u32, block: u64, (from, until): While) -> bool {
    damages(history, nsid, block).filter(|at| *at < from).any(|at| {
        let may_heal = |command: &Command| {
            let over = command.ended.is_some_and(|ended| ended.at < at);
            command.rung.is_some_and(|rung| rung < until) && !over && !command.undone
        };
        !changes(history, nsid, block).any(may_heal)
    })
}
