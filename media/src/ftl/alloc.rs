//! Owns the write frontiers: a stream takes slots of its open line in order, programs them page by page, closes the line and opens
//! the next. The part of the host stream that is staged and not programmed is the volatile cache. Does not know what is written.

use super::cut::Tag;
use super::line::LineState;
use super::{Ftl, HOST};
use crate::geometry::Geometry;
use crate::journal::{HeaderState, Kind, LineHeader, Record};
use crate::large_memory::{OutOfMemory, filled};
use crate::power::Step;
use crate::power::mutation::{Mutation, mutated};
use crate::store::{Expected, Store, StoreError, Wanted};
use crate::unit::{LogicalUnit, PhysicalUnit};

/// No line is open.
pub(crate) const NO_LINE: u32 = u32::MAX;

/// A write frontier.
pub struct Stream {
    pub(crate) line: u32,
    /// The next slot to stage.
    pub(crate) next: u32,
    /// Slots below this are programmed.
    pub(crate) programmed: u32,
    /// The event at which the line was opened.
    pub(crate) opened: u64,
    /// The records of the open line, by slot; those from `programmed` to `next` are staged.
    pub(crate) records: Vec<Record>,
    /// Slots below this were programmed when the media was opened.
    pub(crate) resumed: u32,
    /// By slot: which request staged it.
    pub(crate) tags: Vec<Tag>,
    /// Units of the line before that are not committed: the beginning of a group whose end is staged in this one.
    pub(crate) carried: Vec<(Record, PhysicalUnit, Tag)>,
    /// Units staged and programmed since the start, to tell when a unit staged at some time is programmed.
    pub(crate) staged_total: u64,
    pub(crate) programmed_total: u64,
}

impl Stream {
    /// A stream without a line.
    ///
    /// # Errors
    /// Where the system has no memory for what is kept of each unit of a line.
    pub fn new(geometry: &Geometry) -> Result<Self, OutOfMemory> {
        let units = geometry.units_per_line as usize;
        Ok(Self {
            line: NO_LINE,
            next: 0,
            programmed: 0,
            resumed: 0,
            opened: 0,
            records: filled(Record::default(), units)?,
            tags: filled(Tag::default(), units)?,
            carried: Vec::new(),
            staged_total: 0,
            programmed_total: 0,
        })
    }

    /// Bytes of memory that a stream takes over lines of this many units.
    #[must_use]
    pub(crate) const fn bytes_for(units: usize) -> usize {
        units * (size_of::<Record>() + size_of::<Tag>())
    }

    /// Staged slots.
    #[must_use]
    #[inline]
    pub(crate) const fn staged(&self) -> u32 {
        self.next - self.programmed
    }

    /// Whether a slot of this stream's line is staged and not programmed.
    #[must_use]
    #[inline]
    pub(crate) const fn holds_staged(&self, line: u32, slot: u32) -> bool {
        line == self.line && slot >= self.programmed
    }

    /// Bytes of memory that the stream takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.records.len() * (size_of::<Record>() + size_of::<Tag>())
    }
}

impl<S: Store> Ftl<S> {
    /// Takes the next slot of a stream; opens a line where none is open. `None` where there is no free line.
    #[inline]
    pub(crate) fn take_slot(&mut self, stream: usize) -> Option<u32> {
        let frontier = &mut self.streams[stream];
        if frontier.line != NO_LINE && frontier.next < self.geometry.units_per_line {
            let slot = frontier.next;
            frontier.next += 1;
            frontier.staged_total += 1;
            return Some(slot);
        }
        self.take_slots(stream, 1).map(|(slot, _)| slot)
    }

    /// Takes up to `most` neighbouring slots of a stream; opens a line where none is open. `None` where there is no free line.
    pub(crate) fn take_slots(&mut self, stream: usize, most: u32) -> Option<(u32, u32)> {
        while self.streams[stream].next == self.geometry.units_per_line || self.streams[stream].line == NO_LINE {
            self.next_line(stream)?;
        }
        let frontier = &mut self.streams[stream];
        let slot = frontier.next;
        let count = most.min(self.geometry.units_per_line - slot);
        frontier.next += count;
        frontier.staged_total += u64::from(count);
        Some((slot, count))
    }

    fn next_line(&mut self, stream: usize) -> Option<()> {
        if self.streams[stream].line != NO_LINE {
            self.close_line(stream);
        }
        // Programming the rest of the old line may have failed and opened another one on its own.
        if self.streams[stream].line != NO_LINE { Some(()) } else { self.open_line(stream) }
    }

    /// Opens a line for a stream that has none.
    pub(crate) fn open_line(&mut self, stream: usize) -> Option<()> {
        assert_eq!(self.streams[stream].line, NO_LINE, "a stream has one open line");
        // Units that were moved are likely to stay, so they go where wear is highest, and the host's where it is lowest.
        let most_worn = stream != HOST;
        let line = self.lines.choose_free(most_worn)?;
        self.lines.set_state(line, LineState::Open);
        let frontier = &mut self.streams[stream];
        (frontier.line, frontier.next, frontier.programmed, frontier.resumed) = (line, 0, 0, 0);
        let erase_count = self.lines.get(line).erase_count;
        let header = self.header(HeaderState::Open, stream, erase_count);
        let opened = self.nand.write_header(line, header);
        self.streams[stream].opened = opened;
        let entry = self.lines.get_mut(line);
        entry.opened = opened;
        (entry.used, entry.last_sequence, entry.invalidated) = Default::default();
        self.reached(Step::LineOpened);
        Some(())
    }

    pub(crate) fn header(&self, state: HeaderState, stream: usize, erase_count: u32) -> LineHeader {
        LineHeader {
            state,
            stream: u8::from(stream != HOST),
            erase_count,
            horizon: self.committed,
            programmed: [self.streams[0].programmed, self.streams[1].programmed],
            ..LineHeader::default()
        }
    }

    /// Programs what is left of a stream's line and closes it.
    #[inline]
    pub(crate) fn close_line(&mut self, stream: usize) {
        self.pad(stream);
        let line = self.streams[stream].line;
        while self.streams[stream].line == line && self.streams[stream].staged() > 0 {
            self.program_page(stream);
        }
        if self.streams[stream].line == line {
            self.give_up_line(stream);
        }
    }

    /// Closes a stream's line as it is, everything in it being programmed.
    fn give_up_line(&mut self, stream: usize) {
        self.reached(Step::LineClose);
        self.carry(stream, self.streams[stream].programmed);
        let (line, used, opened) = self.detach_line(stream);
        self.write_closed(stream, line, used, opened);
        self.reached(Step::LineClosed);
        self.settle();
    }

    /// Takes a stream off its line; returns the line, how far it was programmed, and when it was opened.
    fn detach_line(&mut self, stream: usize) -> (u32, u32, u64) {
        let frontier = &mut self.streams[stream];
        let (line, used, opened) = (frontier.line, frontier.programmed, frontier.opened);
        frontier.line = NO_LINE;
        (frontier.next, frontier.programmed) = (0, 0);
        self.lines.set_state(line, LineState::Closed);
        let entry = self.lines.get_mut(line);
        (entry.used, entry.closed_at) = (used, self.sequence);
        (line, used, opened)
    }

    pub(crate) fn write_closed(&mut self, stream: usize, line: u32, used: u32, opened: u64) {
        let erase_count = self.lines.get(line).erase_count;
        let header = LineHeader { used, opened, ..self.header(HeaderState::Closed, stream, erase_count) };
        self.nand.write_header(line, header);
    }

    /// Fills the page that was begun with padding.
    pub(crate) fn pad(&mut self, stream: usize) {
        let frontier = &mut self.streams[stream];
        while !frontier.next.is_multiple_of(self.geometry.units_per_program) {
            frontier.records[frontier.next as usize] = Record::PADDING;
            frontier.next += 1;
            frontier.staged_total += 1;
            self.collector.padded += 1;
        }
    }

    /// Programs the oldest staged page of a stream, and before it the deallocations that came before it.
    pub(crate) fn program_page(&mut self, stream: usize) {
        let frontier = &self.streams[stream];
        let (line, first) = (frontier.line, frontier.programmed);
        let end = first + self.geometry.units_per_program;
        assert!(end <= frontier.next, "only a whole page is programmed");
        let records = &frontier.records[first as usize..end as usize];
        let last = if stream == HOST {
            // The host's records are in the order of sequence numbers, but for padding.
            let last = records.iter().rfind(|record| record.sequence != 0).map_or(0, |record| record.sequence);
            self.journal_through(last);
            last
        } else {
            last_sequence(records)
        };
        let records = &self.streams[stream].records[first as usize..end as usize];
        let programmed = self.nand.program(line, first, records);
        if self.nand.power.lost() {
            self.lost_while_programming(stream, first);
        }
        match programmed {
            Ok(()) => self.page_programmed(stream, first, end, last),
            Err(failed) => self.leave_failed_line(stream, failed.plane),
        }
        if self.nand.power.lost() {
            self.freeze();
        }
        if self.superseded.due {
            self.settle();
        }
    }

    /// Power is lost, perhaps within the page.
    #[cold]
    fn lost_while_programming(&mut self, stream: usize, first: u32) {
        let tripped_at = self.nand.power.tripped_at();
        if tripped_at == Some(Step::PageProgrammed) {
            return;
        }
        if stream == HOST && self.frozen.is_none() && tripped_at == Some(Step::PageHalfProgrammed) {
            // The half that is programmed is found by recovery, and is not volatile any more.
            self.count_committed(first, first + self.geometry.units_per_program / 2);
        }
        self.freeze();
    }

    pub(super) fn page_programmed(&mut self, stream: usize, first: u32, end: u32, last: u64) {
        let frontier = &mut self.streams[stream];
        frontier.programmed = end;
        frontier.programmed_total += u64::from(end - first);
        let line = self.lines.get_mut(frontier.line);
        line.last_sequence = line.last_sequence.max(last);
        if stream == HOST {
            self.count_committed(first, end);
        }
    }

    /// Counts slots of the host's line, which are programmed, as committed, and deallocations that only waited for them.
    #[inline]
    fn count_committed(&mut self, first: u32, end: u32) {
        let records = &self.streams[HOST].records[first as usize..end as usize];
        if let Some(record) = records.iter().rfind(|record| record.sequence != 0) {
            // Within a group only whole groups before it are committed.
            let whole = record.kind == Kind::Abandoned
                || record.position + 1 == record.length
                || mutated(Mutation::GroupHorizon);
            let through = if whole { record.sequence } else { record.sequence - u64::from(record.position) - 1 };
            self.committed = self.committed.max(through);
        }
        if self.journaled.is_empty() {
            return;
        }
        for (entry, _) in &self.journaled {
            if self.committed + 1 == entry.sequence {
                self.committed = entry.sequence;
            }
        }
    }

    /// Programs everything staged in a stream, padding its last page.
    pub(crate) fn program_staged(&mut self, stream: usize) {
        self.pad(stream);
        while self.streams[stream].staged() > 0 {
            self.program_page(stream);
        }
    }

    /// Makes everything the host did so far part of the log; a drive that became read-only may be left with something uncommitted.
    pub fn commit(&mut self) {
        self.open_units.clear();
        self.program_staged(HOST);
        if mutated(Mutation::FlushDeallocation) {
            return;
        }
        self.journal_through(u64::MAX);
        let all = self.nand.power.lost() || !self.has_uncommitted();
        assert!(all || self.read_only, "a commit commits everything");
        self.settle();
    }

    /// Whether anything of the host's is not committed.
    #[must_use]
    #[inline]
    pub const fn has_uncommitted(&self) -> bool {
        self.committed + 1 != self.sequence
    }

    /// A page of the stream's line could not be programmed: goes on in another line with everything that is staged, and leaves the
    /// failed one to be collected and its block replaced.
    fn leave_failed_line(&mut self, stream: usize, plane: u32) {
        self.counters.program_failures += 1;
        self.restages += 1;
        let end = self.streams[stream].next;
        self.carry(stream, end);
        let (old, first, opened) = self.detach_line(stream);
        self.nand.seal(old);
        self.lines.fail(old, plane);
        if self.open_line(stream).is_none() {
            // What is staged stays readable where it is, and never becomes part of the log; nothing more is accepted.
            self.read_only = true;
            return;
        }
        for slot in first..end {
            self.restage(stream, old, slot);
        }
        self.streams[stream].staged_total -= u64::from(end - first);
        self.put_down(old, first);
        for slot in first..end {
            self.forget(self.geometry.physical(old, slot));
        }
        // Only now: a store may forget the staging memory of a closed line.
        self.write_closed(stream, old, first, opened);
    }

    /// Takes the next slot, of a line that has one, for what is staged in another slot.
    pub(super) fn restage(&mut self, stream: usize, old_line: u32, old_slot: u32) {
        let frontier = &mut self.streams[stream];
        let slot = frontier.next;
        frontier.records[slot as usize] = frontier.records[old_slot as usize];
        frontier.tags[slot as usize] = frontier.tags[old_slot as usize];
        frontier.next += 1;
        frontier.staged_total += 1;
        let (record, line) = (frontier.records[slot as usize], frontier.line);
        let (from, to) = (self.geometry.physical(old_line, old_slot), self.geometry.physical(line, slot));
        let expected = Expected { unit: LogicalUnit(record.logical), uncorrectable: record.uncorrectable };
        // Padding has no data, nor has what was moved and is overwritten for good.
        if record.kind.holds_unit() && self.nand.store.holds(from) {
            let (old, new) = ((old_line, old_slot), (line, slot));
            let copied =
                if S::CHECKS { self.copy_unit(old, new, expected) } else { self.relocate_unit(old, new, expected) };
            self.read_only |= copied.is_err();
        }
        if let Some(place) = self.group.iter_mut().find(|place| **place == from) {
            *place = to;
        }
        let logical = LogicalUnit(record.logical);
        if record.kind.holds_unit() && self.map.get(logical) == Some(from) {
            self.repoint(logical, from, to);
        } else {
            self.supersede_elsewhere(from, to);
        }
    }

    /// Lets the map point at another copy of the same version.
    pub(crate) fn repoint(&mut self, unit: LogicalUnit, from: PhysicalUnit, to: PhysicalUnit) {
        let old = self.map.repoint(unit, to);
        assert_eq!(old, Some(from), "a unit moves from where it is");
        self.lines.invalidate(self.geometry.line_of(from), 0);
        self.lines.validate(self.geometry.line_of(to));
    }

    /// Copies the data and metadata of a unit from a slot to another one.
    pub(crate) fn copy_unit(&mut self, from: (u32, u32), to: (u32, u32), expected: Expected) -> Result<(), StoreError> {
        self.nand.copy_unit(&Wanted { at: from, expected, geometry: &self.geometry, neighbours: false }, to)
    }

    /// Copies the data and metadata of a unit from a slot of a line that is collected to another one. Where units are checked it is the one
    /// expected.
    pub(crate) fn relocate_unit(
        &mut self,
        from: (u32, u32),
        to: (u32, u32),
        expected: Expected,
    ) -> Result<(), StoreError> {
        if S::CHECKS {
            let unit = Wanted { at: from, expected, geometry: &self.geometry, neighbours: true };
            return self.nand.copy_unit(&unit, to);
        }
        let data = (self.geometry.data_offset(from.1), self.geometry.data_offset(to.1));
        self.nand.relocate((from.0, data.0), (to.0, data.1), self.geometry.unit_bytes())?;
        self.copy_metadata(from, to)
    }

    fn copy_metadata(&mut self, from: (u32, u32), to: (u32, u32)) -> Result<(), StoreError> {
        let metadata = self.geometry.config.metadata_bytes_per_unit as usize;
        if metadata == 0 || mutated(Mutation::MovedMetadata) {
            return Ok(());
        }
        let places = (self.geometry.metadata_offset(from.1), self.geometry.metadata_offset(to.1));
        self.nand.copy((from.0, places.0), (to.0, places.1), metadata)
    }
}

/// The largest sequence number of some records; 0 without any.
pub(crate) fn last_sequence(records: &[Record]) -> u64 {
    records.iter().map(|record| record.sequence).max().unwrap_or(0)
}
