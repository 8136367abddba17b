//! Owns the host's writes: data is copied once, from the source into the slot where it stays. Knows groups and units, not requests.
//!
//! A group's units take neighbouring sequence numbers and are shown by the map only when all of them are staged. A unit written in
//! part is staged whole: what is not written is copied from where the unit lies (read-modify-write). See [`parts`](super::parts) for the
//! last few such units.

use super::cut::Tag;
use super::{Ftl, HOST};
use crate::journal::{Kind, Record};
use crate::monitor::Finder;
use crate::power::Step;
use crate::store::{Expected, Store, StoreError};
use crate::unit::{Lba, LogicalUnit, PhysicalUnit, index, narrow};
use crate::volume::{Fault, MediaError, Source};

/// Units that a write above the atomic unit stages at a time.
const CHUNK_UNITS: usize = 256;

/// Bytes of consecutive units, in whole blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first unit.
    pub first: LogicalUnit,
    /// The first byte in it.
    pub offset: usize,
    /// How many bytes.
    pub bytes: usize,
    /// log2 of the bytes of a block.
    pub block_shift: u32,
    /// Bytes of metadata beside each block.
    pub metadata_bytes: usize,
}

/// What of a unit a span covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The unit.
    pub unit: LogicalUnit,
    /// The first byte in the unit.
    pub offset: usize,
    /// How many bytes.
    pub bytes: usize,
    /// Where they are in the span.
    pub at: usize,
}

impl Span {
    /// How many units the span touches.
    #[must_use]
    #[inline]
    pub const fn units(&self, unit_shift: u32) -> usize {
        (self.offset + self.bytes + (1 << unit_shift) - 1) >> unit_shift
    }

    /// What it covers of its n-th unit.
    #[must_use]
    #[inline]
    pub fn part(&self, position: usize, unit_shift: u32) -> Part {
        let unit_bytes = 1usize << unit_shift;
        let start = (position << unit_shift).max(self.offset);
        let end = ((position + 1) << unit_shift).min(self.offset + self.bytes);
        let offset = start & (unit_bytes - 1);
        Part { unit: LogicalUnit(self.first.0 + narrow(position)), offset, bytes: end - start, at: start - self.offset }
    }
}

impl<S: Store> Ftl<S> {
    /// Writes a span for a request. It survives a power loss wholly or not at all, or, where the tag is loose, each unit by itself.
    ///
    /// # Errors
    /// [`MediaError::HostMemory`] where the source fails, [`MediaError::WriteFailed`] where there is no room. Blocks then have their
    /// old contents, and of a write that is not grouped some may have the new ones.
    #[inline]
    pub(crate) fn write(&mut self, span: &Span, source: &mut dyn Source, tag: Tag) -> Result<(), MediaError> {
        self.tag = tag;
        self.write_units(span, source, !tag.loose)
    }

    /// The same where nothing is armed and power is there: a whole unit then goes by without a look at the breaker.
    #[inline]
    pub(crate) fn write_ordinary(&mut self, span: &Span, source: &mut dyn Source, tag: Tag) -> Result<(), MediaError> {
        self.tag = tag;
        if span.bytes == self.geometry.unit_bytes() && span.offset == 0 && span.metadata_bytes == 0 {
            return self.write_unit(span.first, source);
        }
        let within = span.offset + span.bytes <= self.geometry.unit_bytes();
        if S::STAYS
            && within
            && span.metadata_bytes == 0
            && !tag.uncorrectable
            && !self.map.is_uncorrectable(span.first)
        {
            return self.write_part(span, source);
        }
        self.write_units(span, source, !tag.loose)
    }

    /// Writes one whole unit, which is a group of its own: what most writes are.
    #[inline]
    fn write_unit(&mut self, unit: LogicalUnit, source: &mut dyn Source) -> Result<(), MediaError> {
        const FULL: MediaError = MediaError::WriteFailed { first: Lba(0) };
        self.make_room(unit, 1)?;
        let slot = self.take_slot(HOST).ok_or(FULL)?;
        let (line, bytes, sequence) = (self.streams[HOST].line, self.geometry.unit_bytes(), self.sequence);
        self.note_single(slot, unit, bytes);
        let place = self.geometry.physical(line, slot);
        if fill::<S>(source, 0, self.nand.store.stage_unit(place, &self.geometry)).is_err() {
            self.abandon(sequence);
            return Err(MediaError::HostMemory);
        }
        self.show(unit, place, sequence);
        self.destage(self.limits.staged_units);
        self.checkpoint_step();
        Ok(())
    }

    #[inline(never)]
    fn write_units(&mut self, span: &Span, source: &mut dyn Source, grouped: bool) -> Result<(), MediaError> {
        let shift = self.geometry.unit_shift;
        let units = span.units(shift);
        let combines = units == 1 && span.bytes < self.geometry.unit_bytes() && !self.tag.uncorrectable;
        if combines && self.combine(span, source)? {
            return Ok(());
        }
        let mut first = 0;
        while first < units {
            // Room is made for at most a line at a time.
            let chunk = CHUNK_UNITS.min(self.geometry.units_per_line as usize);
            let count = if grouped { units } else { chunk.min(units - first) };
            self.make_room(LogicalUnit(span.first.0 + narrow(first)), narrow(count))?;
            self.stage_group(span, first..first + count, source, grouped)?;
            self.destage(self.limits.staged_units);
            self.checkpoint_step();
            first += count;
        }
        Ok(())
    }

    /// Programs the oldest pages until no more than `limit` units are staged.
    #[inline]
    pub(crate) fn destage(&mut self, limit: u32) {
        while self.streams[HOST].staged() > limit.max(self.geometry.units_per_program) {
            self.program_page(HOST);
        }
    }

    fn stage_group(
        &mut self,
        span: &Span,
        positions: std::ops::Range<usize>,
        source: &mut dyn Source,
        grouped: bool,
    ) -> Result<(), MediaError> {
        let shift = self.geometry.unit_shift;
        let first_sequence = self.sequence;
        let length = if grouped { positions.len() } else { 1 };
        self.group.clear();
        let mut position = positions.start;
        let mut part = span.part(position, shift);
        while position < positions.end {
            let staged = if part.bytes == self.geometry.unit_bytes() && !self.tag.uncorrectable {
                let last_whole = (span.offset + span.bytes) >> shift;
                // An armed crash point wants each unit to be a step.
                let most = if self.nand.power.armed() { 1 } else { last_whole.min(positions.end) - position };
                self.stage_whole(span, part, most, length, source)
            } else {
                self.stage_part(span, part, length, source)
            };
            match staged {
                Ok(count) => position += count,
                Err(error) => {
                    self.abandon(first_sequence);
                    return Err(error);
                }
            }
            self.reached_each([Step::DataTransferred, Step::UnitStaged]);
            if position < positions.end {
                part = span.part(position, shift);
            }
        }
        let unit = LogicalUnit(span.first.0 + narrow(positions.start));
        self.publish(unit);
        if positions.len() == 1 && part.bytes != self.geometry.unit_bytes() {
            self.keep_open(self.group[0], part.unit, (part.offset, part.bytes));
        }
        self.reached(Step::GroupStaged);
        Ok(())
    }

    /// Notes a staged unit that is a group of its own: its record and its sequence number.
    #[inline]
    pub(super) fn note_single(&mut self, slot: u32, unit: LogicalUnit, host_bytes: usize) {
        let frontier = &mut self.streams[HOST];
        frontier.records[slot as usize] = Record {
            sequence: self.sequence,
            logical: unit.0,
            host_sectors: narrow(host_bytes / 512),
            position: 0,
            length: 1,
            kind: Kind::Host,
            uncorrectable: false,
        };
        frontier.tags[slot as usize] = self.tag;
        self.sequence += 1;
    }

    /// Notes a staged unit: its record, its sequence number, its place in the group.
    #[inline]
    fn note(&mut self, slot: u32, unit: LogicalUnit, host_bytes: usize, length: usize) {
        let position = if length == 1 { 0 } else { self.group.len() };
        self.note_single(slot, unit, host_bytes);
        let frontier = &mut self.streams[HOST];
        let record = &mut frontier.records[slot as usize];
        record.position = u16::try_from(position).expect("a group is bounded by the configuration");
        record.length = u16::try_from(length).expect("a group is bounded by the configuration");
        self.group.push(self.geometry.physical(frontier.line, slot));
    }

    /// Stages up to `most` whole units; returns how many it was.
    #[inline]
    fn stage_whole(
        &mut self,
        span: &Span,
        part: Part,
        most: usize,
        length: usize,
        source: &mut dyn Source,
    ) -> Result<usize, MediaError> {
        let Some((slot, count)) = self.take_slots(HOST, narrow(most)) else {
            return Err(MediaError::WriteFailed { first: Lba(0) });
        };
        let unit_bytes = self.geometry.unit_bytes();
        for n in 0..count {
            self.note(slot + n, LogicalUnit(part.unit.0 + n), unit_bytes, length);
        }
        let (line, bytes) = (self.streams[HOST].line, (count as usize) << self.geometry.unit_shift);
        let start = self.geometry.data_offset(slot);
        let mut done = 0;
        while done < bytes {
            let memory = self.nand.stage(line, start + done, bytes - done);
            fill::<S>(source, part.at + done, memory).map_err(|Fault| MediaError::HostMemory)?;
            done += memory.len();
        }
        if span.metadata_bytes != 0 {
            for n in 0..count as usize {
                let whole = Part { offset: 0, bytes: unit_bytes, at: part.at + n * unit_bytes, ..part };
                self.stage_metadata(span, whole, slot + narrow(n), source)?;
            }
        }
        Ok(count as usize)
    }

    fn stage_metadata(
        &mut self,
        span: &Span,
        part: Part,
        slot: u32,
        source: &mut dyn Source,
    ) -> Result<(), MediaError> {
        let of = |bytes: usize| (bytes >> span.block_shift) * span.metadata_bytes;
        let offset = self.geometry.metadata_offset(slot) + of(part.offset);
        let memory = self.nand.stage(self.streams[HOST].line, offset, of(part.bytes));
        source.fill_metadata(of(part.at), memory).map_err(|Fault| MediaError::HostMemory)
    }

    /// Stages a unit of which the host writes a part.
    fn stage_part(
        &mut self,
        span: &Span,
        part: Part,
        length: usize,
        source: &mut dyn Source,
    ) -> Result<usize, MediaError> {
        let Some((slot, _)) = self.take_slots(HOST, 1) else {
            return Err(MediaError::WriteFailed { first: Lba(0) });
        };
        // Only now: opening a line may have moved the unit.
        let (old, mut uncorrectable) = self.map.look(part.unit);
        self.note_part(self.sequence, part.offset, part.bytes);
        self.note(slot, part.unit, part.bytes, length);
        let line = self.streams[HOST].line;
        let start = self.geometry.data_offset(slot);
        match old {
            Some(place) => {
                let from = (self.geometry.line_of(place), self.geometry.slot_of(place));
                self.nand.time_read(self.geometry.data_offset(from.1), self.geometry.unit_bytes());
                match self.copy_unit(from, (line, slot), Expected { unit: part.unit, uncorrectable }) {
                    Ok(()) => {}
                    Err(StoreError::Damaged(_)) => {
                        self.note_damage(part.unit, place, Finder::Write);
                        self.blank(line, slot);
                        uncorrectable = true;
                    }
                    Err(_) => return Err(MediaError::WriteFailed { first: Lba(0) }),
                }
            }
            None => self.blank(line, slot),
        }
        let memory = self.nand.stage(line, start + part.offset, part.bytes);
        source.fill(part.at, memory).map_err(|Fault| MediaError::HostMemory)?;
        if span.metadata_bytes != 0 {
            self.stage_metadata(span, part, slot, source)?;
        }
        if uncorrectable | self.tag.uncorrectable {
            self.stage_uncorrectable(part)?;
        }
        Ok(1)
    }

    /// Clears a slot that is staged.
    fn blank(&mut self, line: u32, slot: u32) {
        self.nand.stage(line, self.geometry.data_offset(slot), self.geometry.unit_bytes()).fill(0);
        self.blank_metadata(line, slot);
    }

    /// Lets the map show the units staged in `self.group`, from `first` on.
    #[inline]
    fn publish(&mut self, first: LogicalUnit) {
        let (last, units) = (self.sequence - 1, self.group.len());
        for n in 0..units {
            // Units that do not stand or fall together need not be committed together either.
            let sequence = if self.tag.loose && self.limits.apart { last - (units - 1 - n) as u64 } else { last };
            self.show(LogicalUnit(first.0 + narrow(n)), self.group[n], sequence);
        }
        if !self.uncorrectable.is_empty() {
            self.show_uncorrectable();
        }
    }

    /// Lets the map show a unit at a new place.
    #[inline]
    pub(super) fn show(&mut self, unit: LogicalUnit, place: PhysicalUnit, sequence: u64) {
        match self.map.set(unit, place) {
            Some(old) => self.supersede(old, sequence),
            None => self.mapped += 1,
        }
        self.lines.validate(self.geometry.line_of(place));
    }

    /// Gives up the units staged since `first_sequence`. They keep their slots and numbers, so that the log has no gap.
    pub(super) fn abandon(&mut self, first_sequence: u64) {
        self.uncorrectable.clear();
        let frontier = &mut self.streams[HOST];
        let mut staged = 0;
        for slot in frontier.programmed..frontier.next {
            let record = &mut frontier.records[slot as usize];
            if record.sequence >= first_sequence {
                record.kind = Kind::Abandoned;
                staged += 1;
            }
        }
        // What lies in the line before is given up as well: nothing that was refused is left to survive a power loss.
        frontier.carried.retain(|(record, ..)| record.sequence < first_sequence);
        let (line, end) = (frontier.line, frontier.next);
        for slot in end - staged..end {
            self.forget(self.geometry.physical(line, slot));
        }
        let taken = self.sequence - first_sequence;
        if u64::from(staged) < taken {
            // A part of the group was programmed when its line was closed, and would count as soon as the horizon passes it.
            self.voids.push((first_sequence, self.sequence - 1));
            self.write_root(false);
            for n in 0..self.group.len() {
                self.forget(self.group[n]);
            }
            // Unless what came before was left behind in a line where no page could be programmed.
            if staged == 0 && self.committed + 1 >= first_sequence {
                self.committed = self.sequence - 1;
            }
        }
    }
}

/// Fills the memory of whole units from the host.
#[inline]
fn fill<S: Store>(source: &mut dyn Source, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
    if S::STAYS { source.fill_non_temporal(offset, into) } else { source.fill(offset, into) }
}

/// Write amplification of the indirection unit alone: bytes of all units that a write of `bytes` at `offset` touches, over `bytes`.
///
/// # Panics
/// Where `bytes` is zero or the unit is not a power of two.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a ratio for people to read")]
pub fn unit_amplification(offset: u64, bytes: u64, unit_bytes: u64) -> f64 {
    assert!(bytes > 0 && unit_bytes.is_power_of_two(), "a write of something, on a unit that is a power of two");
    let span = (offset + bytes).next_multiple_of(unit_bytes) - offset / unit_bytes * unit_bytes;
    assert!(index(span) >= index(bytes), "a span covers what it is a span of");
    span as f64 / bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_span_are_the_span() {
        let span = Span { first: LogicalUnit(5), offset: 3, bytes: 20, block_shift: 0, metadata_bytes: 0 };
        assert_eq!(span.units(3), 3);
        assert_eq!(span.part(0, 3), Part { unit: LogicalUnit(5), offset: 3, bytes: 5, at: 0 });
        assert_eq!(span.part(1, 3), Part { unit: LogicalUnit(6), offset: 0, bytes: 8, at: 5 });
        assert_eq!(span.part(2, 3), Part { unit: LogicalUnit(7), offset: 0, bytes: 7, at: 13 });
    }

    #[test]
    fn the_example_of_the_article_is_one_point_six() {
        let kib = 1024;
        assert!((unit_amplification(12 * kib, 20 * kib, 16 * kib) - 1.6).abs() < 1e-12);
    }
}
