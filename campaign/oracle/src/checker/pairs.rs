//! Fused pairs: the Compare and its Write are one event. Nothing came between what the Compare found and the Write, so whatever came
//! after the one came after the other, and whatever came before the Write came before what the Compare found (NVM Command Set 1.1
//! section 2.1.3.1; our C4, step 4).

use super::graph::Graph;
use super::{Case, Piece, check_order};
use crate::history::{CommandId, History, Verb};
use crate::parameters::Blocks;
use crate::stamp::Found;
use crate::verdict::Violation;

/// Whether a command is the Write of a pair whose Compare was not answered.
pub(super) fn is_unanswered(history: &History, id: CommandId) -> bool {
    let is_write = history.command(id).is_some_and(|command| command.verb == Verb::Write);
    let compare = history.partner(id).and_then(|compare| history.command(compare));
    is_write && compare.is_some_and(|compare| compare.ended.is_none())
}

/// A Write that is there, and whose Compare was not answered: what the Compare wanted was there at some time.
pub(super) fn check_seen(history: &History, write: CommandId) -> Result<(), Violation> {
    let compare = history.partner(write).expect("a Write of a pair");
    let look = history.command(compare).expect("a pair was recorded together");
    let case = Case::of_look(history, look, history.expected(compare));
    // Other pairs that are seen through this one are left alone: two may expect each other.
    let because = |violation: Violation| {
        let found = format!("what Compare {compare} wanted, and its Write is there: {}", violation.found);
        Violation { found, ..violation }
    };
    check_order(history, &[case]).map(drop).map_err(because)
}

impl Case<'_> {
    /// The order that each pair shows which was carried out.
    pub(super) fn link_pairs(&self, pieces: &[Piece], graph: &mut Graph<'_>) {
        for (write, command) in self.history.iter() {
            let of_pair = command.fused && command.verb == Verb::Write && !command.undone && command.nsid == self.nsid;
            let Some(compare) = self.history.partner(write).filter(|_| of_pair) else { continue };
            let is_there = || pieces.iter().any(|piece| piece.command == write);
            if command.succeeded().is_none() && !is_there() {
                continue;
            }
            for (block, expected) in command.blocks.each().zip(self.history.expected(compare)) {
                if let Some(before) = self.source(block, *expected) {
                    self.link_pair(pieces, graph, block, (before, write));
                }
            }
        }
    }

    /// On a block, `write` came immediately after `before`.
    fn link_pair(&self, pieces: &[Piece], graph: &mut Graph<'_>, block: u64, (before, write): (CommandId, CommandId)) {
        let (Some(written), Some(command)) = (self.piece(write, block), self.history.command(write)) else { return };
        for piece in pieces.iter().filter(|piece| piece.blocks.contains(block)) {
            let other = self.history.command(piece.command).expect("a command of the history");
            if piece.command == write || piece.command == before {
                continue;
            }
            let node = (piece.command, piece.blocks);
            if self.is_before(before, other) {
                graph.link((write, written), node, (self.nsid, block));
            } else if other.before(command)
                && let Some(found) = self.piece(before, block)
            {
                graph.link(node, (before, found), (self.nsid, block));
            }
        }
    }

    /// The piece of a command that covers a block.
    fn piece(&self, id: CommandId, block: u64) -> Option<Blocks> {
        (self.pieces)(self.history.command(id)?).into_iter().find(|piece| piece.contains(block))
    }

    /// The version that a Compare expects; nothing if it can be one of several.
    fn source(&self, block: u64, expected: Found) -> Option<CommandId> {
        match expected {
            Found::Stamp(stamp) if stamp.pass == self.history.pass && stamp.lba == block => Some(stamp.command),
            _ => match self.sources(block, expected)[..] {
                [one] => Some(one),
                _ => None,
            },
        }
    }
}
