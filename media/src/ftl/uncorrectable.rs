//! Owns units that hold blocks which the host made uncorrectable. Which blocks those are lies in the place of their data, which nobody
//! misses, so that it is written, moved, lost and kept with the unit; that a unit is of this kind its record and its map entry say. Knows
//! sectors of 512 bytes, of which every block is made.
//!
//! In a slot such a unit begins with a sector that says where to look: for each area of the unit its first uncorrectable sector, then the
//! bits of the first area that has one. The bits of each other area are in its own first uncorrectable sector. What the unit itself holds
//! in its first sector lies in the first uncorrectable one.

use super::cut::Tag;
use super::read::unread;
use super::write::{Part, Span};
use super::{Ftl, HOST};
use crate::large_memory::{OutOfMemory, copied, filled};
use crate::monitor::Finder;
use crate::store::{Expected, Store, StoreError};
use crate::unit::{Lba, PhysicalUnit};
use crate::volume::{Fault, MediaError, Sink, Source};

const SECTOR: usize = 512;
/// Sectors of an area: a mebibyte, or all of a smaller unit.
const AREA: usize = 2048;
/// Bytes of an area's bits.
const BITS: usize = AREA / 8;
/// Where the bits of the first area are, behind two bytes for each area of the largest unit.
const FIRST_BITS: usize = 128;

/// The source of blocks that nobody can read.
struct Nothing;

impl Source for Nothing {
    fn fill(&mut self, _offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        into.fill(0);
        Ok(())
    }
}

/// A unit in memory.
pub(crate) struct Unit {
    /// As the host sees it; zeroes where it is uncorrectable.
    pub(crate) data: Vec<u8>,
    /// By sector.
    uncorrectable: Vec<bool>,
}

impl Unit {
    /// Whose sectors can all be read.
    fn whole(data: Vec<u8>) -> Self {
        let sectors = data.len() / SECTOR;
        Self { data, uncorrectable: vec![false; sectors] }
    }

    /// Of which nothing is left.
    ///
    /// # Errors
    /// Where there is no memory for it.
    pub(super) fn lost(bytes: usize) -> Result<Self, OutOfMemory> {
        Ok(Self { data: filled(0, bytes)?, uncorrectable: filled(true, bytes / SECTOR)? })
    }

    /// From what lies in a slot, whatever that is.
    fn decode(data: Vec<u8>) -> Self {
        let mut unit = Self::whole(data);
        let mut head = [0; SECTOR];
        head.copy_from_slice(&unit.data[..SECTOR]);
        let mut first = None;
        for (area, sectors) in unit.uncorrectable.chunks_mut(AREA).enumerate() {
            let at = usize::from(u16::from_le_bytes([head[2 * area], head[2 * area + 1]]));
            let Some(at) = at.checked_sub(1).filter(|at| *at < sectors.len()) else { continue };
            let sector = area * AREA + at;
            let bits = match first {
                Some(_) => &unit.data[sector * SECTOR..][..BITS],
                None => &head[FIRST_BITS..][..BITS],
            };
            first.get_or_insert(sector);
            for (n, uncorrectable) in sectors.iter_mut().enumerate() {
                *uncorrectable = bits[n / 8] >> (n % 8) & 1 == 1;
            }
        }
        if let Some(first) = first {
            unit.data.copy_within(first * SECTOR..(first + 1) * SECTOR, 0);
        }
        for (sector, _) in unit.uncorrectable.iter().enumerate().filter(|(_, uncorrectable)| **uncorrectable) {
            unit.data[sector * SECTOR..][..SECTOR].fill(0);
        }
        unit
    }

    /// What lies in a slot for it, and whether any of it is uncorrectable.
    pub(super) fn encode(mut self) -> (Vec<u8>, bool) {
        let Some(first) = self.first_uncorrectable(0..self.uncorrectable.len()) else { return (self.data, false) };
        self.data.copy_within(..SECTOR, first * SECTOR);
        let mut head = [0; SECTOR];
        for (area, sectors) in self.uncorrectable.chunks(AREA).enumerate() {
            let Some(at) = sectors.iter().position(|uncorrectable| *uncorrectable) else { continue };
            let number = u16::try_from(at + 1).expect("an area has fewer sectors");
            head[2 * area..][..2].copy_from_slice(&number.to_le_bytes());
            let sector = area * AREA + at;
            let bits = if sector == first {
                &mut head[FIRST_BITS..][..BITS]
            } else {
                &mut self.data[sector * SECTOR..][..BITS]
            };
            bits.fill(0);
            for (n, _) in sectors.iter().enumerate().filter(|(_, uncorrectable)| **uncorrectable) {
                bits[n / 8] |= 1 << (n % 8);
            }
        }
        self.data[..SECTOR].copy_from_slice(&head);
        (self.data, true)
    }

    fn first_uncorrectable(&self, mut sectors: std::ops::Range<usize>) -> Option<usize> {
        sectors.find(|sector| self.uncorrectable[*sector])
    }
}

fn sectors(part: &Part) -> std::ops::Range<usize> {
    part.offset / SECTOR..(part.offset + part.bytes) / SECTOR
}

impl<S: Store> Ftl<S> {
    /// Makes the blocks of a span uncorrectable: nobody reads them until they are written or deallocated. In every other respect as
    /// [`Ftl::write`].
    ///
    /// # Errors
    /// Those of a write.
    pub(crate) fn write_uncorrectable(&mut self, span: &Span, grouped: bool) -> Result<(), MediaError> {
        let tag = Tag { uncorrectable: true, ..self.tag_of_request(grouped) };
        self.write(span, &mut Nothing, tag)
    }

    /// A unit at its place; nothing of it can be read where it is damaged there.
    ///
    /// # Errors
    /// Where the store fails.
    pub(crate) fn load(&mut self, place: PhysicalUnit, expected: Expected, finder: Finder) -> Result<Unit, StoreError> {
        match self.load_sound(place, expected, finder) {
            Err(StoreError::Damaged(_)) => Ok(Unit::lost(self.geometry.unit_bytes())?),
            loaded => loaded,
        }
    }

    /// A unit at its place; its metadata is left behind it in `scratch`.
    ///
    /// # Errors
    /// Where the store fails, or the unit is damaged.
    pub(crate) fn load_sound(
        &mut self,
        place: PhysicalUnit,
        expected: Expected,
        finder: Finder,
    ) -> Result<Unit, StoreError> {
        self.fetch(place, expected, finder)?;
        let data = copied(&self.scratch[..self.geometry.unit_bytes()])?;
        Ok(if expected.uncorrectable { Unit::decode(data) } else { Unit::whole(data) })
    }

    /// Hands over a part of a unit that holds uncorrectable blocks.
    #[cold]
    pub(super) fn read_uncorrectable(
        &mut self,
        span: &Span,
        part: Part,
        sink: &mut dyn Sink,
    ) -> Result<(), MediaError> {
        let place = self.map.get(part.unit).expect("what holds uncorrectable blocks lies somewhere");
        self.nand.time_read(self.geometry.data_offset(self.geometry.slot_of(place)), self.geometry.unit_bytes());
        let expected = Expected { unit: part.unit, uncorrectable: true };
        let first = Lba(part.at as u64 >> span.block_shift);
        let unit = self.load(place, expected, Finder::Read).map_err(|error| unread(&error, first))?;
        if let Some(sector) = unit.first_uncorrectable(sectors(&part)) {
            let byte = part.at + sector * SECTOR - part.offset;
            return Err(MediaError::UnrecoveredRead { first: Lba(byte as u64 >> span.block_shift) });
        }
        let data = &unit.data[part.offset..part.offset + part.bytes];
        sink.take(part.at, data).map_err(|Fault| MediaError::HostMemory)?;
        if span.metadata_bytes != 0 { self.read_metadata(span, part, sink) } else { Ok(()) }
    }

    /// A unit of which a part was just staged becomes uncorrectable in that part, or was uncorrectable in others: it is staged in the shape
    /// of such units.
    #[cold]
    pub(super) fn stage_uncorrectable(&mut self, part: Part) -> Result<(), MediaError> {
        const FULL: MediaError = MediaError::WriteFailed { first: Lba(0) };
        let (line, slot) = (self.streams[HOST].line, self.streams[HOST].next - 1);
        let mut unit = match self.map.look(part.unit) {
            (Some(old), uncorrectable) => {
                let expected = Expected { unit: part.unit, uncorrectable };
                self.load(old, expected, Finder::Write).map_err(|_| FULL)?
            }
            (None, _) => Unit::whole(filled(0, self.geometry.unit_bytes()).map_err(|_| MediaError::Internal)?),
        };
        let bytes = part.offset..part.offset + part.bytes;
        let written = self.geometry.data_offset(slot) + part.offset;
        self.nand.store.read(line, written, &mut unit.data[bytes]).map_err(|_| FULL)?;
        unit.uncorrectable[sectors(&part)].fill(self.tag.uncorrectable);
        let (data, uncorrectable) = unit.encode();
        self.nand.stage(line, self.geometry.data_offset(slot), data.len()).copy_from_slice(&data);
        self.streams[HOST].records[slot as usize].uncorrectable = uncorrectable;
        if uncorrectable {
            self.uncorrectable.push(part.unit);
        }
        Ok(())
    }

    /// Lets the map say of which units of the group blocks are uncorrectable.
    #[cold]
    pub(super) fn show_uncorrectable(&mut self) {
        for unit in self.uncorrectable.drain(..) {
            self.map.set_uncorrectable(unit);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unit(bytes: usize, uncorrectable: &[usize]) -> Unit {
        let fill = |n: usize| u8::try_from((n / SECTOR * 7 + n) % 251).expect("below 251");
        let mut unit = Unit::whole((0..bytes).map(fill).collect());
        for &sector in uncorrectable {
            unit.uncorrectable[sector] = true;
            unit.data[sector * SECTOR..][..SECTOR].fill(0);
        }
        unit
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn a_unit_comes_back_as_it_was(shift in 9_u32..24, drawn in proptest::collection::vec(any::<usize>(), 0..40)) {
            let bytes = 1_usize << shift;
            let uncorrectable: Vec<_> = drawn.iter().map(|n| n % (bytes / SECTOR)).collect();
            let before = unit(bytes, &uncorrectable);
            let (data, any) = unit(bytes, &uncorrectable).encode();
            prop_assert_eq!(any, !uncorrectable.is_empty());
            let after = if any { Unit::decode(data) } else { Unit::whole(data) };
            prop_assert!(after.data == before.data && after.uncorrectable == before.uncorrectable);
        }

        #[test]
        fn whatever_lies_there_is_a_unit(shift in 9_u32..22, seed in any::<u64>()) {
            let mut random = crate::power::Random::new(seed);
            let data = (0..1_usize << shift).map(|_| random.draw().to_le_bytes()[0]).collect();
            prop_assert_eq!(Unit::decode(data).data.len(), 1_usize << shift);
        }
    }

    #[test]
    fn the_largest_unit_has_as_many_areas_as_there_is_room_for() {
        assert_eq!((64 << 20) / SECTOR / AREA * 2, FIRST_BITS);
        let all: Vec<_> = (0..(64 << 20) / SECTOR).collect();
        let (data, any) = unit(64 << 20, &all).encode();
        assert!(any && Unit::decode(data).uncorrectable.iter().all(|uncorrectable| *uncorrectable));
    }
}
