//! The checker (our C4): is what was read one of the states that a conforming drive may show? Steps 1 to 4 and 6 are here, for a whole
//! drive after a power loss and for a single read beside other commands; steps 5 and 7 need a second look, and whoever looks
//! compares with [`unchanged`] and [`unsafe_shutdowns`]. Of a Compare or a Verify the host sees a status alone: `answers` judges those.

mod answers;
mod damage;
mod graph;
mod pairs;

pub use answers::{Answer, is_mixed, judge_answer};
pub use damage::judge_damage;

use std::collections::BTreeMap;

use crate::history::{Command, CommandId, History, INITIAL};
use crate::parameters::Blocks;
use crate::stamp::{Found, Stamp};
use crate::verdict::{Rule, Violation};

/// What each block of a drive was found to hold: by the namespace's name in the history, then by block.
pub type Image = BTreeMap<u32, Vec<Found>>;

/// Where a block's contents come from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// From this command, or from before.
    One(CommandId),
    /// Zeroes, from any of these: zeroes have no stamp.
    Any(Vec<CommandId>),
}

/// A piece that is there: at least one of its blocks was seen, or is guaranteed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    command: CommandId,
    blocks: Blocks,
}

/// What of a command is one piece.
type Pieces<'a> = dyn Fn(&Command) -> Vec<Blocks> + 'a;

/// One question to the checker.
struct Case<'a> {
    history: &'a History,
    nsid: u32,
    /// The blocks that were read.
    scope: Blocks,
    found: &'a [Found],
    /// Names the commands that can have been seen.
    visible: Box<dyn Fn(&Command) -> bool + 'a>,
    /// Which versions of which blocks may no longer be missing.
    guaranteed: Box<dyn Fn(CommandId, u64) -> bool + 'a>,
    /// What of a command is one piece.
    pieces: Box<Pieces<'a>>,
}

/// Judges what a drive holds after a power loss: those of the history's namespaces that are still there.
///
/// # Errors
/// The first rule that is broken.
///
/// # Panics
/// If the image is not of the history's namespaces.
pub fn judge(history: &History, image: &Image) -> Result<(), Violation> {
    let mut cases = Vec::new();
    for (&nsid, found) in image {
        assert_eq!(found.len(), history.namespace(nsid).initial.len(), "every block of namespace {nsid}");
        cases.push(Case {
            history,
            nsid,
            scope: Blocks::new(0, found.len() as u64),
            found,
            visible: Box::new(|command| command.rung.is_some()),
            guaranteed: Box::new(|id, block| history.promise(id, block).is_some()),
            pieces: Box::new(|command| history.pieces_at_power_loss(command)),
        });
    }
    check(history, &cases)
}

/// Judges what a read returned beside other commands, in normal operation: whatever ended before its doorbell is there.
///
/// # Errors
/// The first rule that is broken.
///
/// # Panics
/// If `read` is not a read that has ended, of as many blocks as were found.
pub fn judge_read(history: &History, read: CommandId, found: &[Found]) -> Result<(), Violation> {
    let command = history.command(read).expect("the read is recorded");
    assert!(command.ended.is_some(), "the read has ended");
    check(history, &[Case::of_look(history, command, found)])
}

/// Step 5: what reads otherwise than before.
///
/// # Errors
/// [`Rule::Unstable`], with the blocks.
pub fn unchanged(before: &Image, after: &Image, when: &str) -> Result<(), Violation> {
    for (&nsid, before) in before {
        let Some(after) = after.get(&nsid) else {
            let found = format!("{when}: the namespace is not there");
            return Err(Violation { rule: Rule::Unstable, commands: Vec::new(), nsid, blocks: Vec::new(), found });
        };
        let differs = |block: &u64| before[index(*block)] != after[index(*block)];
        let blocks: Vec<u64> = (0..before.len() as u64).filter(differs).collect();
        if let Some(&first) = blocks.first() {
            let found = format!("{when}: {:?}, and was {:?}", after[index(first)], before[index(first)]);
            return Err(Violation { rule: Rule::Unstable, commands: Vec::new(), nsid, blocks, found });
        }
    }
    Ok(())
}

/// Step 7: the count of unsafe shutdowns goes up by one, unless the end was an orderly one.
///
/// # Errors
/// [`Rule::Counter`].
pub fn unsafe_shutdowns(before: u64, after: u64, orderly: bool) -> Result<(), Violation> {
    let expected = before + u64::from(!orderly);
    if after == expected {
        return Ok(());
    }
    let found = format!("{after} unsafe shutdowns are counted, and there were {expected}");
    Err(Violation { rule: Rule::Counter, commands: Vec::new(), nsid: 0, blocks: Vec::new(), found })
}

fn check(history: &History, cases: &[Case<'_>]) -> Result<(), Violation> {
    for write in check_order(history, cases)? {
        pairs::check_seen(history, write)?;
    }
    Ok(())
}

/// Everything but the pairs that were not answered: returns the Writes of such that are there.
fn check_order(history: &History, cases: &[Case<'_>]) -> Result<Vec<CommandId>, Violation> {
    let mut graph = graph::Graph::new(history);
    let mut unanswered = Vec::new();
    for case in cases {
        let origins = case.origins()?;
        let pieces = case.persisted(&origins);
        case.check_whole(&origins, &pieces)?;
        case.link(&origins, &pieces, &mut graph);
        case.link_pairs(&pieces, &mut graph);
        unanswered.extend(pieces.iter().map(|piece| piece.command).filter(|id| pairs::is_unanswered(history, *id)));
    }
    graph.check()?;
    unanswered.dedup();
    Ok(unanswered)
}

impl<'a> Case<'a> {
    /// What a command finds that looks at blocks beside others; one that has not ended may find what came at any time.
    fn of_look(history: &'a History, look: &'a Command, found: &'a [Found]) -> Self {
        assert_eq!(found.len() as u64, look.blocks.count(), "every block of the command");
        let until = look.ended.map_or(u64::MAX, |ended| ended.at);
        Self {
            history,
            nsid: look.nsid,
            scope: look.blocks,
            found,
            visible: Box::new(move |other| other.rung.is_some_and(|rung| rung < until)),
            guaranteed: Box::new(move |id, _| {
                history.command(id).is_some_and(|write| write.succeeded().is_some() && write.before(look))
            }),
            pieces: Box::new(move |other| history.pieces_beside(other, look)),
        }
    }
}

impl Case<'_> {
    fn violation(&self, rule: Rule, commands: &[CommandId], blocks: &[u64], found: String) -> Violation {
        Violation { rule, commands: commands.to_vec(), nsid: self.nsid, blocks: blocks.to_vec(), found }
    }

    fn initial(&self, block: u64) -> Found {
        self.history.initial(self.nsid, block)
    }

    /// The commands that make versions of a block and can have been seen.
    fn covering(&self, block: u64) -> impl Iterator<Item = (CommandId, &Command)> {
        let covers = move |(_, command): &(CommandId, &Command)| {
            command.changes() && command.covers(self.nsid, block) && (self.visible)(command)
        };
        self.history.iter().filter(covers)
    }

    /// Step 1 and step 6: where each block's contents come from.
    fn origins(&self) -> Result<Vec<Origin>, Violation> {
        self.scope.each().zip(self.found).map(|(block, found)| self.origin(block, *found)).collect()
    }

    fn origin(&self, block: u64, found: Found) -> Result<Origin, Violation> {
        match found {
            Found::Stamp(stamp) => self.origin_of_stamp(block, stamp),
            Found::Zeroes => self.origin_of_zeroes(block),
            Found::Unreadable => self.origin_of_nothing(block),
            _ if found == self.initial(block) => self.supersede(block, vec![INITIAL], found),
            Found::Garbage => Err(self.violation(Rule::Garbage, &self.names(block), &[block], "garbage".into())),
            Found::WrongMetadata(stamp) => {
                let found = format!("the data of {stamp:?} with other metadata");
                Err(self.violation(Rule::Metadata, &[stamp.command], &[block], found))
            }
        }
    }

    fn names(&self, block: u64) -> Vec<CommandId> {
        self.covering(block).map(|(id, _)| id).collect()
    }

    fn origin_of_stamp(&self, block: u64, stamp: Stamp) -> Result<Origin, Violation> {
        let found = Found::Stamp(stamp);
        let sources = self.sources(block, found);
        if !sources.is_empty() {
            return self.supersede(block, sources, found);
        }
        let violation = |rule, command, message| Err(self.violation(rule, &[command], &[block], message));
        if self.history.is_gone(stamp.nsid) {
            return violation(Rule::Reappeared, INITIAL, format!("{stamp:?}"));
        }
        if (stamp.nsid, stamp.lba) != (self.nsid, block) {
            return violation(Rule::Misdirected, stamp.command, format!("{stamp:?}"));
        }
        if stamp.pass != self.history.pass {
            let message = format!("{stamp:?}, and the pass began with {:?}", self.initial(block));
            return violation(Rule::Resurrected, INITIAL, message);
        }
        violation(Rule::Unsubmitted, stamp.command, format!("{stamp:?}"))
    }

    fn origin_of_zeroes(&self, block: u64) -> Result<Origin, Violation> {
        self.supersede(block, self.sources(block, Found::Zeroes), Found::Zeroes)
    }

    /// A block cannot be read: it was made so.
    fn origin_of_nothing(&self, block: u64) -> Result<Origin, Violation> {
        let sources = self.sources(block, Found::Unreadable);
        if sources.is_empty() {
            return Err(self.violation(Rule::Unreadable, &self.names(block), &[block], "an error".into()));
        }
        self.supersede(block, sources, Found::Unreadable)
    }

    /// Where contents may come from.
    fn sources(&self, block: u64, found: Found) -> Vec<CommandId> {
        let shows = |id: CommandId| self.history.may_show(id, self.nsid, block, found);
        let made = self.covering(block).filter(|(id, command)| !command.undone && shows(*id));
        let initial = (self.initial(block) == found).then_some(INITIAL);
        made.map(|(id, _)| id).chain(initial).collect()
    }

    /// Leaves of the possible origins those that no guaranteed version has superseded.
    fn supersede(&self, block: u64, mut sources: Vec<CommandId>, found: Found) -> Result<Origin, Violation> {
        let mut winner = None;
        for (id, guaranteed) in self.covering(block) {
            if sources.iter().any(|source| self.is_before(*source, guaranteed)) && (self.guaranteed)(id, block) {
                sources.retain(|source| !self.is_before(*source, guaranteed));
                winner = Some(id);
            }
        }
        match (&sources[..], winner) {
            ([one], _) => Ok(Origin::One(*one)),
            ([], Some(winner)) => {
                let message = format!("{found:?}, and {} is guaranteed", self.describe(winner, block));
                Err(self.violation(Rule::Lost, &[winner], &[block], message))
            }
            ([], None) => {
                let commands = self.names(block);
                let rule = if commands.is_empty() { Rule::Bystander } else { Rule::Unsubmitted };
                let message = format!("{found:?}, and the pass began with {:?}", self.initial(block));
                Err(self.violation(rule, &commands, &[block], message))
            }
            _ => Ok(Origin::Any(sources)),
        }
    }

    fn is_before(&self, source: CommandId, other: &Command) -> bool {
        self.history.command(source).is_none_or(|command| command.before(other))
    }

    fn describe(&self, id: CommandId, block: u64) -> String {
        let command = self.history.command(id).expect("a command of the history");
        let promise = self.history.promise(id, block);
        format!("command {id} ({:?} of {:?}, {promise:?})", command.verb, command.blocks)
    }

    /// Step 2: the pieces that were seen anywhere, and the guaranteed ones.
    fn persisted(&self, origins: &[Origin]) -> Vec<Piece> {
        let mut persisted = Vec::new();
        for (id, command) in self.history.iter() {
            if !command.changes() || command.nsid != self.nsid || !(self.visible)(command) || command.undone {
                continue;
            }
            for blocks in (self.pieces)(command) {
                let there = |block: u64| {
                    self.origin_at(origins, block) == Some(&Origin::One(id)) || (self.guaranteed)(id, block)
                };
                if blocks.each().any(there) {
                    persisted.push(Piece { command: id, blocks });
                }
            }
        }
        persisted
    }

    fn origin_at<'o>(&self, origins: &'o [Origin], block: u64) -> Option<&'o Origin> {
        origins.get(index(block.checked_sub(self.scope.start)?))
    }

    /// Step 3: of a piece that is there, every block shows it or something not older.
    fn check_whole(&self, origins: &[Origin], pieces: &[Piece]) -> Result<(), Violation> {
        for piece in pieces {
            let command = self.history.command(piece.command).expect("a command of the history");
            let not_older = |source: &CommandId| *source == piece.command || !self.is_before(*source, command);
            let whole = |block: u64| match self.origin_at(origins, block) {
                None => true,
                Some(Origin::One(source)) => not_older(source),
                Some(Origin::Any(sources)) => sources.iter().any(not_older),
            };
            let older: Vec<u64> = piece.blocks.each().filter(|block| !whole(*block)).collect();
            if let Some(&first) = older.first() {
                let shown = self.origin_at(origins, first);
                let message =
                    format!("of {:?} of command {} block {first} shows {shown:?}", piece.blocks, piece.command);
                return Err(self.violation(Rule::Torn, &[piece.command], &older, message));
            }
        }
        Ok(())
    }

    /// Step 4: whatever a block shows came after every piece that is there and covers the block.
    fn link(&self, origins: &[Origin], pieces: &[Piece], graph: &mut graph::Graph<'_>) {
        for piece in pieces {
            for block in piece.blocks.each() {
                let Some(Origin::One(shown)) = self.origin_at(origins, block) else { continue };
                let over = |other: &&Piece| other.command == *shown && other.blocks.contains(block);
                if *shown != piece.command
                    && let Some(over) = pieces.iter().find(over)
                {
                    graph.link((piece.command, piece.blocks), (over.command, over.blocks), (self.nsid, block));
                }
            }
        }
    }
}

fn index(block: u64) -> usize {
    usize::try_from(block).expect("an image fits into memory")
}
