//! Owns the host's writes: data is copied once, from the source into the slot where it stays. Knows groups and units, not requests.
//!
//! A group's units take neighbouring sequence numbers and are shown by the map only when all of them are staged. A unit written in
//! part is staged whole: what is not written is copied from where the unit lies (read-modify-write). The last few such units are kept
//! open: a further part goes into the same slot, which is what makes small sequential writes cheap on a coarse unit.

use super::cut::Tag;
use super::{Ftl, HOST};
use crate::journal::{Kind, Record};
use crate::large_memory::grow;
use crate::monitor::Finder;
use crate::power::Step;
use crate::store::{Expected, Store, StoreError};
use crate::unit::{Lba, LogicalUnit, PhysicalUnit, index, narrow};
use crate::volume::{Fault, MediaError, Source};

/// Units that a write above the atomic unit stages at a time.
const CHUNK_UNITS: usize = 256;

/// Parts of units that are kept in mind until they are committed, beside one for each staged unit.
const PARTS_MAX: usize = 1 << 16;

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

/// A unit written in part that further parts may still go into.
pub struct OpenUnit {
    place: PhysicalUnit,
    unit: LogicalUnit,
    /// A bit per 512 bytes that the host wrote.
    covered: Vec<u64>,
    /// How many of them.
    sectors: u32,
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
        if positions.len() == 1 {
            self.keep_open(span, part);
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
    fn abandon(&mut self, first_sequence: u64) {
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

    /// Puts a part of a unit into the slot where the unit lies open; `false` where it does not.
    fn combine(&mut self, span: &Span, source: &mut dyn Source) -> Result<bool, MediaError> {
        if self.parts.len() >= PARTS_MAX {
            // Parts of the same units, again and again, fill no cache; what is kept of each must come to an end all the same.
            self.commit();
        }
        let unit = span.first;
        let Some(at) = self.open_units.iter().position(|open| open.unit == unit) else {
            return Ok(false);
        };
        let place = self.open_units[at].place;
        let (line, slot) = (self.geometry.line_of(place), self.geometry.slot_of(place));
        if self.map.correctable(unit) != Some(place) || !self.streams[HOST].holds_staged(line, slot) {
            self.open_units.remove(at);
            return Ok(false);
        }
        // By way of a buffer: a source that fails in the middle must not damage blocks that were accepted before.
        let metadata = (span.bytes >> span.block_shift) * span.metadata_bytes;
        grow(&mut self.scratch, span.bytes + metadata).map_err(|_| MediaError::Internal)?;
        let (data, rest) = self.scratch.split_at_mut(span.bytes);
        source.fill(0, data).map_err(|Fault| MediaError::HostMemory)?;
        if metadata != 0 {
            source.fill_metadata(0, &mut rest[..metadata]).map_err(|Fault| MediaError::HostMemory)?;
        }
        let offset = self.geometry.data_offset(slot) + span.offset;
        self.nand.stage(line, offset, span.bytes).copy_from_slice(&self.scratch[..span.bytes]);
        if metadata != 0 {
            let before = (span.offset >> span.block_shift) * span.metadata_bytes;
            let target = self.nand.stage(line, self.geometry.metadata_offset(slot) + before, metadata);
            target.copy_from_slice(&self.scratch[span.bytes..span.bytes + metadata]);
        }
        let sequence = self.streams[HOST].records[slot as usize].sequence;
        self.note_part(sequence, span.offset, span.bytes);
        self.cover(at, span);
        self.reached_each([Step::DataTransferred, Step::UnitStaged]);
        Ok(true)
    }

    /// Notes which sectors of an open unit the host wrote, and makes it the one used last.
    fn cover(&mut self, at: usize, span: &Span) {
        let open = &mut self.open_units[at];
        for sector in span.offset / 512..(span.offset + span.bytes) / 512 {
            let (word, bit) = (&mut open.covered[sector / 64], 1 << (sector % 64));
            open.sectors += u32::from(*word & bit == 0);
            *word |= bit;
        }
        let slot = self.geometry.slot_of(open.place);
        self.streams[HOST].records[slot as usize].host_sectors = open.sectors;
        self.open_units[at..].rotate_left(1);
    }

    /// Takes out the open unit that is missed least: nothing follows where all of a unit was written, and a stream that goes on to its
    /// next unit must not close that of another stream.
    fn forget_open(&mut self) -> OpenUnit {
        let sectors = narrow(self.geometry.unit_bytes() / 512);
        let at = self.open_units.iter().position(|open| open.sectors == sectors).unwrap_or(0);
        self.open_units.remove(at)
    }

    /// Keeps a unit that was just staged open, if it was written in part; forgets one that is full, or the one unused for longest.
    fn keep_open(&mut self, span: &Span, part: Part) {
        if self.limits.open_units == 0 || part.bytes == self.geometry.unit_bytes() {
            return;
        }
        let words = self.geometry.unit_bytes().div_ceil(512 * 64);
        let spare = self.open_units.len() == self.limits.open_units;
        let mut covered = if spare { self.forget_open().covered } else { vec![0; words] };
        covered.fill(0);
        let place = self.group[0];
        self.open_units.push(OpenUnit { place, unit: part.unit, covered, sectors: 0 });
        let whole = Span { offset: part.offset, bytes: part.bytes, ..*span };
        self.cover(self.open_units.len() - 1, &whole);
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
    use crate::ssd::{CacheConfig, Ssd, SsdConfig, VolumeConfig};
    use crate::store::MemoryStore;
    use crate::unit::{LbaRange, Nanoseconds};
    use crate::volume::{Media as _, Request, Submitted, Token, VolumeId};

    #[test]
    fn the_parts_of_a_span_are_the_span() {
        let span = Span { first: LogicalUnit(5), offset: 3, bytes: 20, block_shift: 0, metadata_bytes: 0 };
        assert_eq!(span.units(3), 3);
        assert_eq!(span.part(0, 3), Part { unit: LogicalUnit(5), offset: 3, bytes: 5, at: 0 });
        assert_eq!(span.part(1, 3), Part { unit: LogicalUnit(6), offset: 0, bytes: 8, at: 5 });
        assert_eq!(span.part(2, 3), Part { unit: LogicalUnit(7), offset: 0, bytes: 7, at: 13 });
    }

    struct Zeroes;

    impl Source for Zeroes {
        fn fill(&mut self, _offset: usize, into: &mut [u8]) -> Result<(), Fault> {
            into.fill(0);
            Ok(())
        }
    }

    #[test]
    fn parts_of_one_unit_written_for_ever_take_no_more_memory() {
        let volumes = vec![VolumeConfig::new(512, 0, 1 << 15)];
        let cache = CacheConfig { age_max: Nanoseconds(u64::MAX), ..CacheConfig::default() };
        let config = SsdConfig { volumes, cache, ..SsdConfig::default() };
        let geometry = config.checked().expect("a configuration");
        let mut ssd = Ssd::create(config, MemoryStore::new(&geometry).expect("memory")).expect("a drive");
        for _ in 0..3 * PARTS_MAX {
            let range = LbaRange::new(Lba(1), 1);
            let request = Request::Write { range, from: &mut Zeroes, force: false };
            assert_eq!(ssd.submit(Nanoseconds(0), Token(1), VolumeId(0), request), Submitted::Done(Ok(())));
        }
        assert!(ssd.ftl().parts.capacity() <= 2 * PARTS_MAX, "{}", ssd.ftl().parts.capacity());
    }

    #[test]
    fn the_example_of_the_article_is_one_point_six() {
        let kib = 1024;
        assert!((unit_amplification(12 * kib, 20 * kib, 16 * kib) - 1.6).abs() < 1e-12);
    }
}
