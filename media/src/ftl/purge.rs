//! Owns the purge: everything that hosts deleted or replaced before it began leaves the store. Does not know what it was.

use super::alloc::NO_LINE;
use super::gc::NoRoom;
use super::line::{Line, LineState};
use super::{Ftl, HOST, MOVED};
use crate::config::FLOOR_LINES;
use crate::store::Store;

/// A purge that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purge {
    /// Lines that were opened at this event or before may hold what is to go.
    through: u64,
}

impl Purge {
    /// Whether a line holds something that nothing points at.
    fn concerns(self, line: &Line) -> bool {
        let stale = match line.state {
            LineState::Closed => line.valid < line.used,
            LineState::Victim | LineState::Drained => true,
            LineState::Free | LineState::Open | LineState::Retired => false,
        };
        stale && line.opened <= self.through
    }
}

impl<S: Store> Ftl<S> {
    /// Begins a purge: what was deleted or replaced is durably so, and lies in lines that are closed.
    pub(crate) fn begin_purge(&mut self) -> Purge {
        self.commit();
        self.program_staged(MOVED);
        for stream in [HOST, MOVED] {
            // A line in which nothing was programmed holds nothing, and an erased line is not erased again.
            let holds = self.streams[stream].line != NO_LINE && self.streams[stream].next != 0;
            if holds && !self.read_only && !self.nand.power.lost() {
                self.close_line(stream);
            }
        }
        self.commit();
        Purge { through: self.nand.next_event - 1 }
    }

    /// How many lines are left that hold something of the kind.
    pub(crate) fn stale_lines(&self, purge: Purge) -> u64 {
        self.lines.iter().filter(|(_, line)| purge.concerns(line)).count() as u64
    }

    /// Moves what is valid out of one such line, and erases those that were moved out of.
    ///
    /// # Errors
    /// Nothing can be moved any more.
    pub(crate) fn purge_line(&mut self, purge: Purge) -> Result<(), NoRoom> {
        if !self.is_collecting() {
            let stale = |(_, line): &(u32, &Line)| line.state == LineState::Closed && purge.concerns(line);
            let found = self.lines.iter().find(stale).map(|(line, _)| line);
            if let Some(line) = found {
                self.collect_next(line)?;
            }
        }
        self.finish_victim()?;
        let scarce = self.lines.free() <= FLOOR_LINES;
        let none_left = !self.lines.iter().any(|(_, line)| line.state == LineState::Closed && purge.concerns(line));
        if scarce || none_left {
            self.commit();
            self.program_staged(MOVED);
        }
        self.release_drained();
        if self.read_only { Err(NoRoom) } else { Ok(()) }
    }
}
