//! Which versions of a block a command may have found that looked at it beside others, and what those show. Pure: a history in, versions
//! out.

use crate::history::{Command, CommandId, History, INITIAL, Verb};
use crate::parameters::Blocks;
use crate::stamp::Found;

impl Command {
    /// The blocks that it reads, be it to write them elsewhere; nothing if it reads none.
    #[must_use]
    pub fn reads(&self) -> Blocks {
        match self.verb {
            Verb::Copy { from } => Blocks::new(from, self.blocks.count()),
            _ if self.looks() => self.blocks,
            _ => Blocks::new(self.blocks.start, 0),
        }
    }
}

impl History {
    /// The versions of a block that a command may have found: nothing that ended before its doorbell came after them.
    #[must_use]
    pub fn versions(&self, nsid: u32, block: u64, look: &Command) -> Vec<CommandId> {
        let until = look.ended.map_or(u64::MAX, |ended| ended.at);
        let made = |command: &Command| command.changes() && command.covers(nsid, block) && !command.undone;
        let settled: Vec<_> = (self.commands.iter())
            .filter(|command| made(command) && command.succeeded().is_some() && command.before(look))
            .collect();
        let superseded =
            |version: Option<&Command>| settled.iter().any(|later| version.is_none_or(|version| version.before(later)));
        let visible = |command: &Command| command.rung.is_some_and(|rung| rung < until) && command != look;
        let later = self.iter().filter(|(_, command)| made(command) && visible(command) && !superseded(Some(command)));
        let initial = (!superseded(None)).then_some(INITIAL);
        initial.into_iter().chain(later.map(|(id, _)| id)).collect()
    }

    /// What a block shows that holds a command's version; of a Copy everything that it may have read.
    #[must_use]
    pub fn shows(&self, version: CommandId, nsid: u32, block: u64) -> Vec<Found> {
        self.shows_beside(version, nsid, block, &mut Vec::new())
    }

    /// Whether a block that holds a command's version may show this.
    #[must_use]
    pub fn may_show(&self, version: CommandId, nsid: u32, block: u64, found: Found) -> bool {
        match (self.command(version).map(|command| command.verb), found) {
            (Some(Verb::Write), Found::Stamp(stamp)) => stamp == self.stamp(version, nsid, block),
            (Some(Verb::Write), _) => false,
            (Some(Verb::Zeroes { .. } | Verb::Deallocate | Verb::Erase), _) => found == Found::Zeroes,
            _ => self.shows(version, nsid, block).contains(&found),
        }
    }

    /// The same, where what depends on these copies is left out: none depends on itself.
    fn shows_beside(&self, version: CommandId, nsid: u32, block: u64, copies: &mut Vec<CommandId>) -> Vec<Found> {
        let Some(command) = self.command(version) else {
            return vec![self.initial(nsid, block)];
        };
        match command.verb {
            Verb::Write => vec![Found::Stamp(self.stamp(version, nsid, block))],
            Verb::Uncorrectable => vec![Found::Unreadable],
            Verb::Copy { .. } if copies.contains(&version) => Vec::new(),
            Verb::Copy { from } => {
                copies.push(version);
                let source = from + (block - command.blocks.start);
                let versions = self.versions(nsid, source, command);
                let found = versions.into_iter().flat_map(|of| self.shows_beside(of, nsid, source, copies));
                let found = found.filter(|found| *found != Found::Unreadable).collect();
                copies.pop();
                found
            }
            _ => vec![Found::Zeroes],
        }
    }

    /// Whether some version of a block that a command may have found is one that can, or cannot, be read.
    pub(crate) fn may_find(&self, block: u64, look: &Command, readable: bool) -> bool {
        let made = |command: &Command| command.verb == Verb::Uncorrectable && command.covers(look.nsid, block);
        if !self.may_show(INITIAL, look.nsid, block, Found::Unreadable) && !self.commands.iter().any(made) {
            return readable;
        }
        let versions = self.versions(look.nsid, block, look);
        let mut shown = versions.into_iter().flat_map(|version| self.shows(version, look.nsid, block));
        shown.any(|found| (found != Found::Unreadable) == readable)
    }
}
