//! The recorder: what a host submitted and what it was told, from one power loss to the next. It knows times (a count of events),
//! not what is legal.

use std::collections::{BTreeMap, BTreeSet};

use crate::parameters::{Blocks, Parameters, single};
use crate::stamp::{Found, Stamp};

/// A count of events: later is larger, and no two events share one.
pub type Time = u64;

/// A command's name in its pass, from 1; [`INITIAL`] is what was there before.
pub type CommandId = u32;

/// Not a command: the contents at the start of the pass.
pub const INITIAL: CommandId = 0;

/// What a command does, as far as durability is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Stamped blocks.
    Write,
    /// Blocks of zeroes, as a write.
    Zeroes {
        /// The drive may give the space back.
        deallocate: bool,
    },
    /// Blocks of zeroes, each by itself: our drive promises what it reports of deallocated blocks (DLFEAT), so a deallocation is as
    /// durable as a write.
    Deallocate,
    /// Blocks that nobody can read until they are written again, as a write.
    Uncorrectable,
    /// What as many blocks from this one on hold, as a write.
    Copy {
        /// The first of them.
        from: u64,
    },
    /// A read; forced, it makes its blocks durable first.
    Read,
    /// A read of which the host learns only whether it found what the host expects: [`History::expected`].
    Compare,
    /// A read of which the host learns only whether it could be made.
    Verify,
    /// Flush of one namespace.
    Flush,
    /// Flush of all.
    FlushAll,
    /// Set Features of the volatile write cache.
    SetCache(bool),
    /// Set Features of Write Atomicity Normal: with Disable Normal only the units of a power loss are kept.
    DisableNormal(bool),
    /// No command: the cells of these blocks go bad, and nothing can be read of a block until it is written again.
    Damage,
    /// A Format or a deletion of the namespace: each block may read as zeroes from its doorbell on, and must once it has ended. What is there
    /// afterwards is another namespace, or none.
    Erase,
    /// A command about registrations or the reservation: it changes no blocks.
    Reserve,
    /// A shutdown, normal or abrupt: rung when CC.SHN is written, ended when CSTS.SHST says complete.
    Shutdown,
}

/// How a command ended, as the host saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at: Time,
    /// With success.
    pub success: bool,
}

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// What it does.
    pub verb: Verb,
    /// Whose queue it was in.
    pub controller: u16,
    /// The name of its namespace in the history, from 1; meaningless where the verb has no namespace.
    pub nsid: u32,
    /// Its blocks; empty where it has none.
    pub blocks: Blocks,
    /// Force Unit Access.
    pub force: bool,
    /// Half of a fused pair: the Compare, or the Write whose Compare has the name before its own.
    pub fused: bool,
    /// It must have done nothing: the write of a pair whose Compare failed, or a Copy that failed.
    pub undone: bool,
    /// When its doorbell was rung, if it was.
    pub rung: Option<Time>,
    /// Its completion, if the host was told before the loss.
    pub ended: Option<Ended>,
}

impl Command {
    /// Whether it makes versions of its blocks.
    #[must_use]
    pub const fn changes(&self) -> bool {
        matches!(
            self.verb,
            Verb::Write
                | Verb::Zeroes { .. }
                | Verb::Deallocate
                | Verb::Uncorrectable
                | Verb::Copy { .. }
                | Verb::Erase
        )
    }

    /// Whether it looks at its blocks.
    #[must_use]
    pub const fn looks(&self) -> bool {
        matches!(self.verb, Verb::Read | Verb::Compare | Verb::Verify)
    }

    /// Whether it ended with success.
    #[must_use]
    pub fn succeeded(&self) -> Option<Time> {
        self.ended.filter(|ended| ended.success).map(|ended| ended.at)
    }

    /// Real-time order: it had ended before the other's doorbell was rung.
    #[must_use]
    pub fn before(&self, other: &Self) -> bool {
        matches!((self.ended, other.rung), (Some(ended), Some(rung)) if ended.at < rung)
    }

    /// Whether it covers a block of a namespace.
    #[must_use]
    pub const fn covers(&self, nsid: u32, block: u64) -> bool {
        self.nsid == nsid && self.blocks.contains(block)
    }
}

/// A namespace, as the pass began or as it was made or formatted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its effective atomic sizes.
    pub parameters: Parameters,
    /// It has a volatile write cache behind it (VWC, and not exempt from it).
    pub cached: bool,
    /// What each block held.
    pub initial: Vec<Found>,
}

/// What happened in one pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The pass, as in the stamps.
    pub pass: u32,
    /// The namespaces, by name. A name means a namespace from when it is made or formatted until it is deleted or formatted, and none ever
    /// has the name of another; hosts name them by identifiers, which come again.
    pub namespaces: BTreeMap<u32, Namespace>,
    /// Those of them that are there no longer.
    gone: BTreeSet<u32>,
    /// Of a Flush of all namespaces those that it is about, where these are not all.
    scopes: BTreeMap<CommandId, BTreeSet<u32>>,
    /// Whether the cache was enabled as the pass began.
    pub cache_enabled: bool,
    /// Whether Disable Normal was set as the pass began.
    pub normal_disabled: bool,
    /// The commands, by name less one.
    pub commands: Vec<Command>,
    /// What the host expects to find, by Compare.
    expected: BTreeMap<CommandId, Vec<Found>>,
    clock: Time,
}

impl History {
    /// A pass that begins now, with namespaces whose names are 1 and so on.
    #[must_use]
    pub fn new(pass: u32, namespaces: Vec<Namespace>, cache_enabled: bool) -> Self {
        Self { pass, namespaces: (1..).zip(namespaces).collect(), cache_enabled, ..Self::default() }
    }

    /// A command is in its queue, and its doorbell was not rung.
    ///
    /// # Panics
    /// After four thousand million commands.
    pub fn queue(&mut self, verb: Verb, nsid: u32, blocks: Blocks, force: bool) -> CommandId {
        self.queue_at(0, verb, nsid, blocks, force)
    }

    /// The same in a queue of a controller.
    ///
    /// # Panics
    /// As [`Self::queue`].
    pub fn queue_at(&mut self, controller: u16, verb: Verb, nsid: u32, blocks: Blocks, force: bool) -> CommandId {
        let (fused, undone) = (false, false);
        let command = Command { verb, controller, nsid, blocks, force, fused, undone, rung: None, ended: None };
        self.commands.push(command);
        CommandId::try_from(self.commands.len()).expect("a pass has few commands")
    }

    /// A name that no command has: what was to be done could not be.
    pub fn skip(&mut self) -> CommandId {
        self.queue(Verb::Flush, 0, Blocks::new(0, 0), false)
    }

    /// A Compare is in its queue, without its doorbell; with `write`, the Write of a fused pair follows it under the next name.
    ///
    /// # Panics
    /// If `expected` is not of the blocks.
    pub fn queue_compare(
        &mut self,
        controller: u16,
        nsid: u32,
        blocks: Blocks,
        force: bool,
        expected: Vec<Found>,
        write: bool,
    ) -> CommandId {
        assert_eq!(expected.len() as u64, blocks.count(), "what is expected of every block");
        let compare = self.queue_at(controller, Verb::Compare, nsid, blocks, force);
        self.expected.insert(compare, expected);
        if write {
            let write = self.queue_at(controller, Verb::Write, nsid, blocks, force);
            self.commands[place(compare)].fused = true;
            self.commands[place(write)].fused = true;
        }
        compare
    }

    /// What the host expects a Compare to find, block by block; nothing of other commands.
    #[must_use]
    pub fn expected(&self, compare: CommandId) -> &[Found] {
        self.expected.get(&compare).map_or(&[], Vec::as_slice)
    }

    /// The other half of a fused pair.
    #[must_use]
    pub fn partner(&self, id: CommandId) -> Option<CommandId> {
        let command = self.command(id).filter(|command| command.fused)?;
        Some(if command.verb == Verb::Compare { id + 1 } else { id - 1 })
    }

    /// A command must have done nothing: the Compare of its pair failed, or it is a Copy that did.
    pub fn undo(&mut self, id: CommandId) {
        self.commands[place(id)].undone = true;
    }

    /// A command's doorbell is rung.
    pub fn ring(&mut self, id: CommandId) {
        self.clock += 1;
        self.commands[place(id)].rung = Some(self.clock);
    }

    /// Queues and rings.
    pub fn submit(&mut self, verb: Verb, nsid: u32, blocks: Blocks, force: bool) -> CommandId {
        let id = self.queue(verb, nsid, blocks, force);
        self.ring(id);
        id
    }

    /// The host sees a command's completion.
    ///
    /// # Panics
    /// If it had ended before, or was never rung: the recorder was told nonsense.
    pub fn end(&mut self, id: CommandId, success: bool) {
        self.clock += 1;
        let at = self.clock;
        let command = &mut self.commands[place(id)];
        assert!(command.ended.is_none() && command.rung.is_some(), "command {id} ends once, after its doorbell");
        command.ended = Some(Ended { at, success });
    }

    /// The latest event.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.clock
    }

    /// A command by its name.
    #[must_use]
    pub fn command(&self, id: CommandId) -> Option<&Command> {
        self.commands.get(id.checked_sub(1)? as usize)
    }

    /// A namespace by its name.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn namespace(&self, nsid: u32) -> &Namespace {
        &self.namespaces[&nsid]
    }

    /// What a block of a namespace held as that began.
    ///
    /// # Panics
    /// If there is no such block.
    #[must_use]
    pub fn initial(&self, nsid: u32, block: u64) -> Found {
        self.namespace(nsid).initial[usize::try_from(block).expect("a simulated drive is small")]
    }

    /// A namespace is there from now on.
    pub fn add(&mut self, nsid: u32, namespace: Namespace) {
        self.namespaces.insert(nsid, namespace);
    }

    /// A namespace was deleted or formatted: nothing of it is seen again.
    pub fn forget(&mut self, nsid: u32) {
        self.gone.insert(nsid);
    }

    /// Whether it was, in this pass or before.
    pub(crate) fn is_gone(&self, nsid: u32) -> bool {
        self.gone.contains(&nsid) || !self.namespaces.contains_key(&nsid)
    }

    /// A Flush of all namespaces is about these alone.
    pub fn limit_flush(&mut self, flush: CommandId, namespaces: BTreeSet<u32>) {
        self.scopes.insert(flush, namespaces);
    }

    /// Whether a Flush of all namespaces is about one.
    pub(crate) fn flushes(&self, flush: CommandId, nsid: u32) -> bool {
        self.scopes.get(&flush).is_none_or(|namespaces| namespaces.contains(&nsid))
    }

    /// The stamp of a command on a block.
    #[must_use]
    pub const fn stamp(&self, command: CommandId, nsid: u32, lba: u64) -> Stamp {
        Stamp { command, pass: self.pass, nsid, lba }
    }

    /// Names and commands.
    pub fn iter(&self) -> impl Iterator<Item = (CommandId, &Command)> {
        (1..).zip(&self.commands)
    }

    /// What of a command is whole or not there after a power loss.
    #[must_use]
    pub fn pieces_at_power_loss(&self, command: &Command) -> Vec<Blocks> {
        let parameters = &self.namespace(command.nsid).parameters;
        match command.verb {
            Verb::Deallocate | Verb::Erase => single(command.blocks),
            _ if command.fused => parameters.pieces_of_fused(command.blocks),
            _ => parameters.pieces_at_power_loss(command.blocks),
        }
    }

    /// What of a command `other` sees whole or not at all.
    #[must_use]
    pub fn pieces_beside(&self, command: &Command, other: &Command) -> Vec<Blocks> {
        let parameters = &self.namespace(command.nsid).parameters;
        let relaxed = || {
            let from = command.rung.min(other.rung).unwrap_or_default();
            let until = [command, other].map(|one| one.ended.map_or(self.clock, |ended| ended.at));
            let until = until[0].max(until[1]);
            [command, other].iter().any(|one| self.may_be_disabled(one.controller, from, until))
        };
        match command.verb {
            Verb::Deallocate | Verb::Erase => single(command.blocks),
            // Disable Normal says nothing of a pair.
            _ if command.fused && parameters.compares(command.blocks) => vec![command.blocks],
            _ if relaxed() => parameters.pieces_at_power_loss(command.blocks),
            _ => parameters.pieces_beside_others(command.blocks),
        }
    }
}

const fn place(id: CommandId) -> usize {
    id as usize - 1
}
