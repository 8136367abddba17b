//! Owns the units that the host wrote in part, and into which further parts may go. The last few are kept open: a further part goes into
//! the same slot, which is what makes small sequential writes cheap on a coarse unit.

use super::write::Span;
use super::{Ftl, HOST};
use crate::large_memory::grow;
use crate::power::Step;
use crate::store::Store;
use crate::unit::{Lba, LogicalUnit, PhysicalUnit};
use crate::volume::{Fault, MediaError, Source};

/// Parts of units that are kept in mind until they are committed, beside one for each staged unit.
pub(super) const PARTS_MAX: usize = 1 << 16;

/// A unit written in part that further parts may still go into.
pub struct OpenUnit {
    place: PhysicalUnit,
    unit: LogicalUnit,
    /// A bit per 512 bytes that the host wrote.
    covered: Vec<u64>,
    /// How many of them.
    sectors: u32,
    /// When a part was written last, counted in parts; 0 where nothing can follow because all of it was written.
    used: u64,
}

impl<S: Store> Ftl<S> {
    /// Writes a part of one unit, which is a group of its own, where nothing is armed and power is there.
    pub(super) fn write_part(&mut self, span: &Span, source: &mut dyn Source) -> Result<(), MediaError> {
        const FULL: MediaError = MediaError::WriteFailed { first: Lba(0) };
        if self.combine(span, source)? {
            return Ok(());
        }
        let unit = span.first;
        self.make_room(unit, 1)?;
        let slot = self.take_slot(HOST).ok_or(FULL)?;
        let (line, sequence) = (self.streams[HOST].line, self.sequence);
        self.note_part(sequence, span.offset, span.bytes);
        self.note_single(slot, unit, span.bytes);
        let place = self.geometry.physical(line, slot);
        // Only now: opening a line may have moved the unit.
        let old = self.map.get(unit);
        if let Some(old) = old {
            self.nand.time_read(self.geometry.data_offset(self.geometry.slot_of(old)), self.geometry.unit_bytes());
        }
        let Some(memory) = self.nand.store.stage_over(old, place, &self.geometry) else {
            self.abandon(sequence);
            return Err(FULL);
        };
        if source.fill(0, &mut memory[span.offset..span.offset + span.bytes]).is_err() {
            self.abandon(sequence);
            return Err(MediaError::HostMemory);
        }
        self.show(unit, place, sequence);
        self.keep_open(place, unit, (span.offset, span.bytes));
        self.destage(self.limits.staged_units);
        self.checkpoint_step();
        Ok(())
    }

    /// Puts a part of a unit into the slot where the unit lies open; `false` where it does not.
    pub(super) fn combine(&mut self, span: &Span, source: &mut dyn Source) -> Result<bool, MediaError> {
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
            self.open_units.swap_remove(at);
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
        self.cover(at, (span.offset, span.bytes));
        self.reached_each([Step::DataTransferred, Step::UnitStaged]);
        Ok(true)
    }

    /// Notes which sectors of an open unit the host wrote, and makes it the one used last.
    fn cover(&mut self, at: usize, (offset, bytes): (usize, usize)) {
        self.parts_written += 1;
        let open = &mut self.open_units[at];
        for sector in offset / 512..(offset + bytes) / 512 {
            let (word, bit) = (&mut open.covered[sector / 64], 1 << (sector % 64));
            open.sectors += u32::from(*word & bit == 0);
            *word |= bit;
        }
        let whole = open.sectors as usize * 512 == self.geometry.unit_bytes();
        open.used = if whole { 0 } else { self.parts_written };
        let slot = self.geometry.slot_of(open.place);
        self.streams[HOST].records[slot as usize].host_sectors = open.sectors;
    }

    /// The open unit that is full, or was written to longest ago.
    #[inline]
    fn least_missed(&self) -> usize {
        let (mut at, mut least) = (0, u64::MAX);
        for (n, open) in self.open_units.iter().enumerate() {
            if open.used < least {
                (at, least) = (n, open.used);
            }
        }
        at
    }

    /// Keeps a unit that was just staged open, of which a part was written, in place of the open one that is missed least: nothing follows
    /// where all of a unit was written, and a stream that goes on to its next unit must not close that of another stream.
    pub(super) fn keep_open(&mut self, place: PhysicalUnit, unit: LogicalUnit, written: (usize, usize)) {
        if self.limits.open_units == 0 {
            return;
        }
        let at = if self.open_units.len() < self.limits.open_units {
            let covered = vec![0; self.geometry.unit_bytes().div_ceil(512 * 64)];
            self.open_units.push(OpenUnit { place, unit, covered, sectors: 0, used: 0 });
            self.open_units.len() - 1
        } else {
            self.least_missed()
        };
        let open = &mut self.open_units[at];
        (open.place, open.unit, open.sectors) = (place, unit, 0);
        open.covered.fill(0);
        self.cover(at, written);
    }
}
