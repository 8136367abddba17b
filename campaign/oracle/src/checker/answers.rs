//! What a command was answered with: whether some order of the commands explains the status, where the status is all that is seen.

use super::{Case, damage, judge_read};
use crate::history::{Command, CommandId, History, INITIAL, Verb};
use crate::stamp::Found;
use crate::verdict::{Rule, Violation};

/// How a command ended, as far as a conforming drive may end one that has no fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// With success.
    Success,
    /// Compare Failure.
    Differs,
    /// Unrecovered Read Error.
    Unreadable,
    /// Command Aborted due to Failed Fused Command.
    PartnerFailed,
    /// Atomic Write Unit Exceeded.
    TooLarge,
    /// Reservation Conflict: whether that can be, [`crate::reservations`] says.
    Refused,
    /// Command Aborted due to Preempt and Abort, the same.
    Aborted,
    /// Anything else, which none may end with.
    Other,
}

/// Judges how a command ended; `found` is what a Read returned. The recorder knows of the end already.
///
/// # Errors
/// The first rule that is broken.
///
/// # Panics
/// If the command has not ended.
pub fn judge_answer(history: &History, id: CommandId, answer: Answer, found: &[Found]) -> Result<(), Violation> {
    let command = history.command(id).expect("the command is recorded");
    assert!(command.ended.is_some(), "command {id} has ended");
    match (command.verb, answer) {
        (Verb::Read, Answer::Success) => {
            must_be_readable(history, id, command)?;
            judge_read(history, id, found)?;
        }
        (Verb::Compare, Answer::Success) => {
            must_be_readable(history, id, command)?;
            judge_read(history, id, history.expected(id))?;
        }
        (Verb::Verify, Answer::Success) => must_be_readable(history, id, command)?,
        (Verb::Compare, Answer::Differs) => must_be_able_to_differ(history, id, command)?,
        (Verb::Copy { .. }, Answer::Success) => must_be_readable(history, id, command)?,
        (Verb::Read | Verb::Compare | Verb::Verify | Verb::Copy { .. }, Answer::Unreadable) => {
            let met = |block: u64| {
                damage::may_meet(history, command.nsid, block, span(command)) || history.may_find(block, command, false)
            };
            if !command.reads().each().any(met) {
                return Err(violation(Rule::Unreadable, id, command, "an error, and no block is bad".into()));
            }
        }
        (Verb::Compare, Answer::TooLarge)
            if command.fused && !history.namespace(command.nsid).parameters.compares(command.blocks) => {}
        // A Compare whose Write may not be carried out is not carried out either.
        (Verb::Write | Verb::Compare, Answer::PartnerFailed) if command.fused => {}
        (_, Answer::Success | Answer::Refused) => {}
        // The Write of a pair may be aborted after its Compare.
        (_, Answer::Aborted) => return Ok(()),
        _ => return Err(violation(Rule::Unanswered, id, command, format!("{:?} ended with {answer:?}", command.verb))),
    }
    check_pair(history, id, command)
}

/// Whether a read is legal only because Disable Normal may have been set: it shows a part of a write.
#[must_use]
pub fn is_mixed(history: &History, read: CommandId, found: &[Found]) -> bool {
    let of_normal = |command: &&Command| matches!(command.verb, Verb::DisableNormal(_));
    if !history.normal_disabled && history.commands.iter().find(of_normal).is_none() {
        return false;
    }
    let mut strict = history.clone();
    strict.normal_disabled = false;
    for command in &mut strict.commands {
        if let Verb::DisableNormal(disabled) = &mut command.verb {
            *disabled = false;
        }
    }
    judge_read(&strict, read, found).is_err()
}

fn violation(rule: Rule, id: CommandId, command: &Command, found: String) -> Violation {
    Violation { rule, commands: vec![id], nsid: command.nsid, blocks: command.blocks.each().collect(), found }
}

fn span(command: &Command) -> damage::While {
    (command.rung.unwrap_or(u64::MAX), command.ended.map_or(u64::MAX, |ended| ended.at))
}

fn must_be_readable(history: &History, id: CommandId, command: &Command) -> Result<(), Violation> {
    let bad = |block: &u64| {
        damage::must_meet(history, command.nsid, *block, span(command)) || !history.may_find(*block, command, true)
    };
    match command.reads().each().find(bad) {
        Some(block) => {
            Err(violation(Rule::Readable, id, command, format!("{:?}, and block {block} is bad", command.verb)))
        }
        None => Ok(()),
    }
}

/// A Compare found a difference: some block may have held something else than the host expects. Any one version that may have been
/// the latest of its block can have been it while the Compare looked, so it is enough to look at each block by itself. It need not have
/// met the bad blocks among them: after a difference it need not look any further.
fn must_be_able_to_differ(history: &History, id: CommandId, compare: &Command) -> Result<(), Violation> {
    let case = Case::of_look(history, compare, history.expected(id));
    let own = history.partner(id);
    let other = |(block, expected): (u64, &Found)| {
        if damage::must_meet(history, compare.nsid, block, span(compare)) {
            return false;
        }
        let superseded = |version: CommandId| {
            let mut later = case.covering(block).filter(|(later, _)| (case.guaranteed)(*later, block));
            later.any(|(_, later)| case.is_before(version, later))
        };
        let differs = |version: CommandId| {
            let shown = history.shows(version, compare.nsid, block);
            shown.iter().any(|found| found != expected && *found != Found::Unreadable)
        };
        let mut versions = case.covering(block).filter(|(version, command)| Some(*version) != own && !command.undone);
        !superseded(INITIAL) && differs(INITIAL)
            || versions.any(|(version, _)| differs(version) && !superseded(version))
    };
    if compare.blocks.each().zip(history.expected(id)).any(other) {
        Ok(())
    } else {
        Err(violation(
            Rule::Compared,
            id,
            compare,
            "a difference, and every block that can be read held what was expected".into(),
        ))
    }
}

/// Both halves of a pair succeed or neither does.
fn check_pair(history: &History, id: CommandId, command: &Command) -> Result<(), Violation> {
    let partner = history.partner(id).and_then(|partner| history.command(partner));
    let (Some(one), Some(other)) = (command.ended, partner.and_then(|partner| partner.ended)) else { return Ok(()) };
    if one.success == other.success {
        return Ok(());
    }
    let verb = if one.success { command.verb } else { partner.map_or(command.verb, |partner| partner.verb) };
    Err(violation(Rule::Pair, id, command, format!("of the pair the {verb:?} alone succeeded")))
}
