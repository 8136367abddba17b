//! Owns reading: a map entry, and the sink takes the bytes from where they lie. Neighbouring units that lie next to each other are
//! handed over in one piece. Changes nothing but counters.

use super::Ftl;
use super::write::{Part, Span};
use crate::monitor::Finder;
use crate::store::{Expected, Store, StoreError};
use crate::unit::{Lba, LogicalUnit, PhysicalUnit, narrow};
use crate::volume::{Fault, MediaError, Sink};

/// What a unit that holds nothing reads as, piece by piece.
static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

impl<S: Store> Ftl<S> {
    /// A part of one unit that lies in memory, without metadata: what most reads ask for.
    #[inline]
    pub(crate) fn in_memory(&self, span: &Span) -> Option<&[u8]> {
        if span.metadata_bytes != 0 || span.offset + span.bytes > self.geometry.unit_bytes() {
            return None;
        }
        let place = self.map.correctable(span.first)?;
        self.nand.store.unit(place, &self.geometry)?.get(span.offset..span.offset + span.bytes)
    }

    /// Hands a span to the sink.
    ///
    /// # Errors
    /// [`MediaError::HostMemory`] where the sink fails, [`MediaError::UnrecoveredRead`] where the store does, with block 0, and where
    /// a block is uncorrectable, with the first such; blocks are counted from the first that was asked for.
    #[inline]
    pub fn read(&mut self, span: &Span, sink: &mut dyn Sink) -> Result<(), MediaError> {
        let shift = self.geometry.unit_shift;
        let units = span.units(shift);
        let mut position = 0;
        while position < units {
            let part = span.part(position, shift);
            if self.map.is_uncorrectable(part.unit) {
                self.read_uncorrectable(span, part, sink)?;
                position += 1;
                continue;
            }
            let place = self.map.get(part.unit);
            let count = self.run(span, position, units, place);
            let bytes = if count == 1 { part.bytes } else { self.run_bytes(span, part, position + count) };
            match place {
                None => take_zeroes(part.at, bytes, |at, zeroes| sink.take(at, zeroes))?,
                Some(place) => self.read_run(place, span, Part { bytes, ..part }, sink)?,
            }
            if span.metadata_bytes != 0 {
                for n in position..position + count {
                    self.read_metadata(span, span.part(n, shift), sink)?;
                }
            }
            position += count;
        }
        Ok(())
    }

    /// How many units from `position` on lie next to each other (or nowhere).
    #[inline]
    fn run(&self, span: &Span, position: usize, units: usize, place: Option<PhysicalUnit>) -> usize {
        let mut count = 1;
        while position + count < units {
            let unit = span.part(position + count, self.geometry.unit_shift).unit;
            let follows = match (place, self.map.correctable(unit)) {
                (None, None) => !self.map.is_uncorrectable(unit),
                (Some(place), Some(next)) => {
                    // Slots of one line are neighbours in memory; the last slot of a line and the first of the next are not.
                    next.0.checked_sub(place.0).is_some_and(|gap| gap as usize == count)
                        && self.geometry.line_of(place) == self.geometry.line_of(next)
                }
                _ => false,
            };
            if !follows {
                break;
            }
            count += 1;
        }
        count
    }

    #[inline]
    fn run_bytes(&self, span: &Span, first: Part, end: usize) -> usize {
        let last = span.part(end - 1, self.geometry.unit_shift);
        last.at + last.bytes - first.at
    }

    /// Hands over units that lie next to each other from where they lie, or, where the store does not keep them in memory, one by one by way
    /// of a buffer, each as a whole checked before any of it is seen.
    #[inline]
    fn read_run(
        &mut self,
        place: PhysicalUnit,
        span: &Span,
        part: Part,
        sink: &mut dyn Sink,
    ) -> Result<(), MediaError> {
        let line = self.geometry.line_of(place);
        let offset = self.geometry.data_offset(self.geometry.slot_of(place)) + part.offset;
        self.nand.time_read(offset, part.bytes);
        let mut done = 0;
        while done < part.bytes {
            if let Some(from) = self.nand.store.view(line, offset + done, part.bytes - done) {
                sink.take(part.at + done, from).map_err(|Fault| MediaError::HostMemory)?;
                done += from.len();
                continue;
            }
            // Of the part, what lies in the unit that comes next.
            let byte = part.offset + done;
            let passed = narrow(byte >> self.geometry.unit_shift);
            let within = byte & (self.geometry.unit_bytes() - 1);
            let bytes = (self.geometry.unit_bytes() - within).min(part.bytes - done);
            let unit = LogicalUnit(part.unit.0 + passed);
            let next = Part { unit, offset: within, bytes, at: part.at + done };
            self.fetch_part(PhysicalUnit(place.0 + passed), span, next)?;
            let from = &self.scratch[within..within + bytes];
            sink.take(next.at, from).map_err(|Fault| MediaError::HostMemory)?;
            done += bytes;
        }
        Ok(())
    }

    /// Reads the unit of a part, whole, into `scratch`.
    fn fetch_part(&mut self, place: PhysicalUnit, span: &Span, part: Part) -> Result<(), MediaError> {
        let expected = Expected { unit: part.unit, uncorrectable: self.map.is_uncorrectable(part.unit) };
        let first = Lba(part.at as u64 >> span.block_shift);
        self.fetch(place, expected, Finder::Read).map_err(|error| unread(&error, first))
    }

    pub(super) fn read_metadata(&mut self, span: &Span, part: Part, sink: &mut dyn Sink) -> Result<(), MediaError> {
        let of = |bytes: usize| (bytes >> span.block_shift) * span.metadata_bytes;
        let Some(place) = self.map.get(part.unit) else {
            return take_zeroes(of(part.at), of(part.bytes), |at, zeroes| sink.take_metadata(at, zeroes));
        };
        let line = self.geometry.line_of(place);
        let offset = self.geometry.metadata_offset(self.geometry.slot_of(place)) + of(part.offset);
        let taken = if let Some(from) = self.nand.store.view(line, offset, of(part.bytes)) {
            sink.take_metadata(of(part.at), from)
        } else {
            self.fetch_part(place, span, part)?;
            let start = self.geometry.unit_bytes() + of(part.offset);
            sink.take_metadata(of(part.at), &self.scratch[start..start + of(part.bytes)])
        };
        taken.map_err(|Fault| MediaError::HostMemory)
    }
}

/// What a failure of the store is to who reads a block: nothing is wrong with it where the host lacks memory, or does not let us.
pub(super) const fn unread(error: &StoreError, first: Lba) -> MediaError {
    match error {
        StoreError::Refused(_) => MediaError::Internal,
        StoreError::NoSpace(_) | StoreError::Failed(_) | StoreError::Damaged(_) => {
            MediaError::UnrecoveredRead { first }
        }
    }
}

fn take_zeroes(
    at: usize,
    bytes: usize,
    mut take: impl FnMut(usize, &[u8]) -> Result<(), Fault>,
) -> Result<(), MediaError> {
    let mut done = 0;
    while done < bytes {
        let count = ZEROES.len().min(bytes - done);
        take(at + done, &ZEROES[..count]).map_err(|Fault| MediaError::HostMemory)?;
        done += count;
    }
    Ok(())
}
