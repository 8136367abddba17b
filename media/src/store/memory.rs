//! A store in memory: units lie in frames of one large mapping, of which the system gives what is used; staging memory is where the
//! unit stays. Programmed means durable: it survives everything but the end of the process.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::backing::{Store, StoreError};
use super::frames::{Frames, REGION};
use crate::geometry::Geometry;
use crate::journal::{Kind, LineHeader, METADATA_PAGE, Record};
use crate::large_memory::{LargeMemory, OutOfMemory, filled};
use crate::ordering::Order;
use crate::unit::{PhysicalUnit, index, narrow};

/// Regions of frames that are given back at a time: some milliseconds.
const REGIONS_AT_A_TIME: usize = 8;
/// Lines whose records' memory is kept for others.
const SPARE_RECORDS: usize = 4;

/// Gives the memory of some bytes back to the system: they read as anything afterwards.
pub type GiveBack = fn(&mut [u8]);

/// Lines in memory.
pub struct MemoryStore {
    unit_shift: u32,
    slot_bits: u32,
    units_per_line: usize,
    /// Bytes of a line's data, and of a unit's metadata.
    data_bytes: usize,
    metadata_bytes: usize,
    frames: Frames,
    /// The frames.
    data: LargeMemory,
    /// The units' metadata, frame by frame.
    rest: LargeMemory,
    give_back: Option<GiveBack>,
    /// Regions of frames that do not lie in huge pages, because a part of them was given back.
    split: BTreeSet<usize>,
    lines: Vec<MemoryLine>,
    spare_records: Vec<Vec<Record>>,
    metadata: BTreeMap<u64, Box<[u8; METADATA_PAGE]>>,
    syncs: u64,
}

#[derive(Clone, Default)]
struct MemoryLine {
    records: Vec<Record>,
    header: LineHeader,
}

impl MemoryStore {
    /// An empty store for a geometry. Memory is taken as units are staged.
    ///
    /// # Errors
    /// Where the system has no addresses for all of it.
    pub fn new(geometry: &Geometry) -> Result<Self, OutOfMemory> {
        Self::with_frames(geometry, geometry.lines as usize * geometry.units_per_line as usize)
    }

    /// An empty store that holds no more than this many bytes of units and their metadata at a time.
    ///
    /// # Errors
    /// Where the system has no addresses for all of it.
    pub fn limited_to(geometry: &Geometry, bytes: u64) -> Result<Self, OutOfMemory> {
        let unit = geometry.unit_bytes() + geometry.config.metadata_bytes_per_unit as usize;
        let most = geometry.lines as usize * geometry.units_per_line as usize;
        Self::with_frames(geometry, usize::try_from(bytes).map_or(most, |bytes| (bytes / unit).clamp(1, most)))
    }

    fn with_frames(geometry: &Geometry, frames: usize) -> Result<Self, OutOfMemory> {
        let lines = geometry.lines as usize;
        let metadata_bytes = geometry.config.metadata_bytes_per_unit as usize;
        Ok(Self {
            unit_shift: geometry.unit_shift,
            slot_bits: geometry.slot_bits,
            units_per_line: geometry.units_per_line as usize,
            data_bytes: geometry.line_data_bytes,
            metadata_bytes,
            frames: Frames::new(lines << geometry.slot_bits, frames)?,
            data: LargeMemory::zeroed(frames << geometry.unit_shift)?,
            rest: LargeMemory::zeroed(frames * metadata_bytes)?,
            give_back: None,
            split: BTreeSet::new(),
            lines: filled(MemoryLine::default(), lines)?,
            spare_records: Vec::new(),
            metadata: BTreeMap::new(),
            syncs: 0,
        })
    }

    /// Bytes of memory that a store for a geometry takes: as it is used, and at once.
    #[must_use]
    pub(crate) fn bytes_for(geometry: &Geometry) -> (usize, usize) {
        let (lines, units) = (geometry.lines as usize, geometry.units_per_line as usize);
        let sparse = Frames::bytes_for(lines << geometry.slot_bits, lines * units) + lines * geometry.line_bytes;
        (sparse, lines * size_of::<MemoryLine>())
    }

    /// What it takes.
    #[cfg(test)]
    pub(crate) fn memory_bytes(&self) -> (usize, usize) {
        let sparse =
            self.frames.memory_bytes() + self.data.len() + if self.metadata_bytes == 0 { 0 } else { self.rest.len() };
        (sparse, self.lines.capacity() * size_of::<MemoryLine>())
    }

    /// The same, which gives memory that is no longer needed back. Without, it keeps it for what is written next.
    #[must_use]
    pub fn giving_back(self, give_back: GiveBack) -> Self {
        Self { give_back: Some(give_back), ..self }
    }

    /// How many units it holds, and for how many it has taken memory from the system.
    #[must_use]
    pub const fn units_held(&self) -> (usize, usize) {
        (self.frames.held(), self.frames.resident())
    }

    /// The slot in which a byte of a line's data lies, as the physical unit counts, and where in it.
    #[inline]
    fn slot(&self, line: u32, offset: usize) -> (usize, usize) {
        let slot = (line as usize) << self.slot_bits | offset >> self.unit_shift;
        (slot, offset & ((1 << self.unit_shift) - 1))
    }

    /// Where bytes lie that are staged, in frames which no other slot has: as many as lie in one piece.
    #[inline]
    fn staged(&mut self, line: u32, offset: usize, bytes: usize) -> Range<usize> {
        let (slot, within) = self.slot(line, offset);
        let frame = self.frames.own(slot);
        let start = frame.wrapping_shl(self.unit_shift) + within;
        let room = 1usize.wrapping_shl(self.unit_shift) - within;
        start..start + if bytes <= room { bytes } else { self.staged_run(line, offset, bytes) }
    }

    /// Where bytes lie, as many as lie in one piece; `None` where nothing was staged.
    #[inline]
    fn found(&self, line: u32, offset: usize, bytes: usize) -> Option<Range<usize>> {
        let (slot, within) = self.slot(line, offset);
        let frame = self.frames.get(slot)?;
        let start = frame.wrapping_shl(self.unit_shift) + within;
        let room = 1usize.wrapping_shl(self.unit_shift) - within;
        Some(start..start + if bytes <= room { bytes } else { self.found_run(line, offset, bytes) })
    }

    #[inline(never)]
    fn staged_run(&mut self, line: u32, offset: usize, bytes: usize) -> usize {
        let (slot, within) = self.slot(line, offset);
        let (first, units) = (self.frames.own(slot), self.units(offset, bytes));
        let run = (1..units).take_while(|n| self.frames.own(slot + n) == first + n).count() + 1;
        bytes.min((run << self.unit_shift) - within)
    }

    #[inline(never)]
    fn found_run(&self, line: u32, offset: usize, bytes: usize) -> usize {
        let (slot, within) = self.slot(line, offset);
        let (first, units) = (self.frames.get(slot), self.units(offset, bytes));
        let run = (1..units).take_while(|n| self.frames.get(slot + n) == first.map(|first| first + n)).count() + 1;
        bytes.min((run << self.unit_shift) - within)
    }

    /// How many units bytes of a line's data touch.
    fn units(&self, offset: usize, bytes: usize) -> usize {
        assert!(offset + bytes <= self.data_bytes, "bytes of a line lie in it");
        ((offset + bytes - 1) >> self.unit_shift) - (offset >> self.unit_shift) + 1
    }

    /// The slot of whose metadata a byte of a line is part, which byte of it, and how many of `bytes` there are from there on.
    fn metadata(&self, line: u32, offset: usize, bytes: usize) -> (usize, usize, usize) {
        if bytes == 0 {
            return (0, 0, 0);
        }
        let at = offset - self.data_bytes;
        let (unit, within) = (at / self.metadata_bytes, at % self.metadata_bytes);
        assert!(unit < self.units_per_line, "metadata of a line lies in it");
        ((line as usize) << self.slot_bits | unit, within, bytes.min(self.metadata_bytes - within))
    }

    fn metadata_of(&self, frame: usize, within: usize, bytes: usize) -> Range<usize> {
        frame * self.metadata_bytes + within..frame * self.metadata_bytes + within + bytes
    }

    fn copy_metadata(&mut self, from: (u32, usize), to: (u32, usize), bytes: usize) -> Result<(), StoreError> {
        let mut done = 0;
        while done < bytes {
            let (source, within, count) = self.metadata(from.0, from.1 + done, bytes - done);
            let (target, at, count) = self.metadata(to.0, to.1 + done, count);
            let found = self.frames.get(source).ok_or_else(|| nothing(from.0, from.1 + done))?;
            // What was moved has taken its metadata along.
            if self.frames.get(target) != Some(found) {
                let own = self.frames.own(target);
                let place = self.metadata_of(own, at, count).start;
                let found = self.metadata_of(found, within, count);
                self.rest.copy_within(found, place);
            }
            done += count;
        }
        Ok(())
    }

    /// Gives back the memory of those frames of a region that the bits name.
    fn give_back_region(&mut self, give_back: GiveBack, first: usize, frames: &[u64], whole: bool) {
        let region = first << self.unit_shift..((first + REGION) << self.unit_shift).min(self.data.len());
        if whole {
            if self.split.remove(&first) {
                self.data.prefer_huge_pages(region.clone(), true);
            }
        } else if self.split.insert(first) {
            self.data.prefer_huge_pages(region.clone(), false);
        }
        let given = |n: usize| frames[n / 64] >> (n % 64) & 1 == 1;
        let mut n = 0;
        while n < REGION {
            let run = (n..REGION).take_while(|&n| whole || given(n)).count();
            if run > 0 {
                let frames = first + n..first + n + run;
                give_back(&mut self.data[frames.start << self.unit_shift..frames.end << self.unit_shift]);
                give_back(&mut self.rest[frames.start * self.metadata_bytes..frames.end * self.metadata_bytes]);
            }
            n += run + 1;
        }
    }

    /// The pages that a range of metadata touches: page, first byte in it, and the part of the range.
    pub(super) fn pages(offset: u64, bytes: usize) -> impl Iterator<Item = (u64, usize, Range<usize>)> {
        let page = METADATA_PAGE as u64;
        let end = offset + bytes as u64;
        (offset / page..end.div_ceil(page)).map(move |number| {
            let from = offset.max(number * page);
            let to = end.min((number + 1) * page);
            let start = index(from - offset);
            (number, index(from - number * page), start..start + index(to - from))
        })
    }
}

/// Reads from a store whose bytes all lie in memory.
///
/// # Errors
/// Where nothing was staged.
pub(super) fn read_views(store: &impl Store, line: u32, offset: usize, into: &mut [u8]) -> Result<(), StoreError> {
    let mut done = 0;
    while done < into.len() {
        let from = store.view(line, offset + done, into.len() - done);
        let from = from.ok_or_else(|| nothing(line, offset + done))?;
        into[done..done + from.len()].copy_from_slice(from);
        done += from.len();
    }
    Ok(())
}

#[cold]
fn nothing(line: u32, offset: usize) -> StoreError {
    StoreError::Damaged(format!("nothing lies at byte {offset} of line {line}"))
}

impl MemoryStore {
    /// A line's header.
    pub(super) fn peek_header(&self, line: u32) -> LineHeader {
        self.lines[line as usize].header
    }

    /// The records of a line.
    pub(super) fn peek_records(&self, line: u32) -> &[Record] {
        &self.lines[line as usize].records
    }

    /// Bytes of a line, and zeroes where nothing was staged.
    pub(super) fn peek(&self, line: u32, offset: usize, into: &mut [u8]) {
        let mut done = 0;
        while done < into.len() {
            let at = offset + done;
            let piece = if at < self.data_bytes { 1 << self.unit_shift } else { self.metadata_bytes };
            let rest = piece - (if at < self.data_bytes { at } else { at - self.data_bytes }) % piece;
            match self.view(line, at, into.len() - done) {
                Some(bytes) => {
                    into[done..done + bytes.len()].copy_from_slice(bytes);
                    done += bytes.len();
                }
                None => done += rest,
            }
        }
    }

    /// Bytes of the metadata region.
    pub(super) fn peek_metadata(&self, offset: u64, into: &mut [u8]) {
        for (page, at, part) in Self::pages(offset, into.len()) {
            match self.metadata.get(&page) {
                Some(source) => into[part.clone()].copy_from_slice(&source[at..at + part.len()]),
                None => into[part].fill(0),
            }
        }
    }
}

impl Store for MemoryStore {
    const STAYS: bool = true;

    #[inline]
    fn stage(&mut self, line: u32, offset: usize, bytes: usize) -> &mut [u8] {
        if offset >= self.data_bytes {
            let (slot, within, bytes) = self.metadata(line, offset, bytes);
            let frame = if bytes == 0 { 0 } else { self.frames.own(slot) };
            let place = self.metadata_of(frame, within, bytes);
            return &mut self.rest[place];
        }
        let place = self.staged(line, offset, bytes);
        &mut self.data[place]
    }

    #[inline]
    fn view(&self, line: u32, offset: usize, bytes: usize) -> Option<&[u8]> {
        if offset >= self.data_bytes {
            let (slot, within, bytes) = self.metadata(line, offset, bytes);
            let frame = if bytes == 0 { 0 } else { self.frames.get(slot)? };
            return Some(&self.rest[self.metadata_of(frame, within, bytes)]);
        }
        Some(&self.data[self.found(line, offset, bytes)?])
    }

    #[inline]
    fn stage_unit(&mut self, place: PhysicalUnit, geometry: &Geometry) -> &mut [u8] {
        let start = self.frames.own(place.0 as usize).wrapping_shl(geometry.unit_shift);
        &mut self.data[start..start + geometry.unit_bytes()]
    }

    #[inline]
    fn stage_over(&mut self, old: Option<PhysicalUnit>, place: PhysicalUnit, geometry: &Geometry) -> Option<&mut [u8]> {
        let (shift, bytes) = (geometry.unit_shift, geometry.unit_bytes());
        let start = self.frames.own(place.0 as usize).wrapping_shl(shift);
        match old {
            Some(old) => {
                let from = self.frames.get(old.0 as usize)?.wrapping_shl(shift);
                self.data.copy_within(from..from + bytes, start);
            }
            None => self.data[start..start + bytes].fill(0),
        }
        Some(&mut self.data[start..start + bytes])
    }

    #[inline]
    fn unit(&self, place: PhysicalUnit, geometry: &Geometry) -> Option<&[u8]> {
        let start = self.frames.get(place.0 as usize)?.wrapping_shl(geometry.unit_shift);
        Some(&self.data[start..start + geometry.unit_bytes()])
    }

    fn read(&mut self, line: u32, offset: usize, into: &mut [u8]) -> Result<(), StoreError> {
        read_views(self, line, offset, into)
    }

    fn copy(&mut self, from: (u32, usize), to: (u32, usize), bytes: usize) -> Result<(), StoreError> {
        if from.1 >= self.data_bytes {
            return self.copy_metadata(from, to, bytes);
        }
        let mut done = 0;
        while done < bytes {
            let source = self.found(from.0, from.1 + done, bytes - done);
            let source = source.ok_or_else(|| nothing(from.0, from.1 + done))?;
            let target = self.staged(to.0, to.1 + done, source.len());
            self.data.copy_within(source.start..source.start + target.len(), target.start);
            done += target.len();
        }
        Ok(())
    }

    fn relocate(&mut self, from: (u32, usize), to: (u32, usize), bytes: usize) -> Result<(), StoreError> {
        let (source, target) = (self.slot(from.0, from.1), self.slot(to.0, to.1));
        let units = bytes.wrapping_shr(self.unit_shift);
        for n in 0..units {
            if !self.frames.share(source.0 + n, target.0 + n) {
                let moved = n << self.unit_shift;
                return self.copy((from.0, from.1 + moved), (to.0, to.1 + moved), bytes - moved);
            }
        }
        Ok(())
    }

    #[inline]
    fn share(&mut self, line: u32, slots: &[u32], to: (u32, u32)) -> usize {
        let base = |line: u32| (line as usize) << self.slot_bits;
        self.frames.share_each(base(line), slots, base(to.0) + to.1 as usize)
    }

    fn program(&mut self, line: u32, first_slot: u32, records: &[Record]) {
        let line = &mut self.lines[line as usize];
        if line.records.capacity() == 0 {
            let spare = self.spare_records.pop();
            line.records = spare.unwrap_or_else(|| Vec::with_capacity(self.units_per_line));
        }
        assert!(line.records.len() <= first_slot as usize, "slots are programmed once, in order");
        line.records.resize(first_slot as usize, Record { kind: Kind::Hole, ..Record::default() });
        line.records.extend_from_slice(records);
    }

    fn write_header(&mut self, line: u32, header: &LineHeader) {
        self.lines[line as usize].header = *header;
    }

    fn erase(&mut self, line: u32, header: &LineHeader) {
        let (first, _) = self.slot(line, 0);
        self.frames.release(first..first + self.units_per_line);
        let line = &mut self.lines[line as usize];
        line.header = *header;
        let mut records = std::mem::take(&mut line.records);
        if self.spare_records.len() < SPARE_RECORDS && records.capacity() > 0 {
            records.clear();
            self.spare_records.push(records);
        }
    }

    #[inline]
    fn forget(&mut self, places: impl Iterator<Item = PhysicalUnit>) -> usize {
        self.frames.let_go_each(places.map(|place| place.0 as usize))
    }

    fn forget_line(&mut self, line: u32, keep: &dyn Fn(PhysicalUnit) -> bool) {
        let (first, _) = self.slot(line, 0);
        for slot in first..first + self.units_per_line {
            if self.frames.get(slot).is_some() && !keep(PhysicalUnit(narrow(slot))) {
                self.frames.let_go(slot);
            }
        }
    }

    fn holds(&self, place: PhysicalUnit) -> bool {
        self.frames.get(place.0 as usize).is_some()
    }

    #[inline]
    fn room(&self) -> usize {
        self.frames.room()
    }

    fn limit(&self) -> Option<usize> {
        let most = self.frames.number();
        (most < self.lines.len() * self.units_per_line).then_some(most)
    }

    #[inline]
    fn excessive(&self) -> bool {
        self.give_back.is_some() && self.frames.excessive(self.units_per_line)
    }

    fn give_back(&mut self) {
        let Some(give_back) = self.give_back else { return };
        for _ in 0..REGIONS_AT_A_TIME {
            if !self.excessive() {
                return;
            }
            if let Some((first, frames, whole)) = self.frames.return_region() {
                self.give_back_region(give_back, first, &frames, whole);
            }
        }
    }

    fn header(&mut self, line: u32) -> Result<LineHeader, StoreError> {
        Ok(self.lines[line as usize].header)
    }

    fn records(&mut self, line: u32, into: &mut Vec<Record>) -> Result<(), StoreError> {
        into.clear();
        into.extend_from_slice(&self.lines[line as usize].records);
        Ok(())
    }

    fn write_metadata(&mut self, offset: u64, bytes: &[u8]) {
        for (page, at, part) in Self::pages(offset, bytes.len()) {
            let target = self.metadata.entry(page).or_insert_with(|| Box::new([0; METADATA_PAGE]));
            target[at..at + part.len()].copy_from_slice(&bytes[part]);
        }
    }

    fn read_metadata(&mut self, offset: u64, into: &mut [u8]) -> Result<(), StoreError> {
        self.peek_metadata(offset, into);
        Ok(())
    }

    fn take(&mut self) -> Self {
        let husk = Self {
            frames: Frames::new(0, 0).expect("some pages"),
            data: LargeMemory::zeroed(0).expect("a page"),
            rest: LargeMemory::zeroed(0).expect("a page"),
            split: BTreeSet::new(),
            lines: Vec::new(),
            spare_records: Vec::new(),
            metadata: BTreeMap::new(),
            ..*self
        };
        std::mem::replace(self, husk)
    }

    fn barrier(&mut self, _order: Order) {}

    fn sync(&mut self) -> u64 {
        self.syncs += 1;
        self.syncs
    }

    fn synced(&mut self) -> Result<u64, StoreError> {
        Ok(self.syncs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::GeometryConfig;

    fn store() -> MemoryStore {
        MemoryStore::new(&Geometry::new(GeometryConfig::default()).unwrap()).expect("memory")
    }

    #[test]
    fn metadata_is_bytes_at_any_offset() {
        let mut store = store();
        let bytes: Vec<u8> = (0..10_000u32).map(|n| n.to_le_bytes()[0]).collect();
        store.write_metadata(4000, &bytes);
        let mut back = vec![9; 10_200];
        store.read_metadata(3900, &mut back).unwrap();
        assert_eq!(&back[100..10_100], &bytes[..]);
        assert!(back[..100].iter().chain(&back[10_100..]).all(|&byte| byte == 0));
    }

    #[test]
    fn a_limit_is_a_number_of_units_and_one_at_least() {
        let geometry =
            Geometry::new(GeometryConfig { metadata_bytes_per_unit: 8, ..GeometryConfig::default() }).unwrap();
        let limit = |bytes| MemoryStore::limited_to(&geometry, bytes).expect("memory").limit();
        assert_eq!([0, 4104, 8207, 8208].map(limit), [1, 1, 1, 2].map(Some));
        assert_eq!(limit(u64::MAX), None, "it holds everything");
    }

    #[test]
    fn what_was_staged_is_where_it_stays() {
        let mut store = store();
        assert!(store.view(3, 0, 1).is_none(), "a line takes memory when it is used");
        store.stage(3, 4096, 4).copy_from_slice(b"unit");
        assert_eq!(store.view(3, 4096, 4), Some(&b"unit"[..]));
        store.copy((3, 4096), (4, 0), 4).unwrap();
        let mut back = [0; 4];
        store.read(4, 0, &mut back).unwrap();
        assert_eq!(&back, b"unit");
        assert!(store.read(5, 0, &mut back).is_err());
    }

    #[test]
    fn a_unit_that_moves_is_not_copied_and_stays_when_its_old_line_is_erased_and_written() {
        let mut store = store();
        store.stage_bytes(3, 0, &[7; 3 * 4096]);
        store.relocate((3, 4096), (4, 0), 2 * 4096).unwrap();
        let address = |store: &MemoryStore, line, offset| store.view(line, offset, 1).unwrap().as_ptr();
        assert_eq!(address(&store, 3, 4096), address(&store, 4, 0));
        assert_eq!(store.view(4, 100, 8192 - 100).unwrap(), &[7; 8192 - 100][..], "neighbours stay neighbours");
        store.erase(3, &LineHeader::default());
        assert!(store.view(3, 4096, 1).is_none(), "an erased line holds nothing");
        store.stage_bytes(3, 0, &[8; 3 * 4096]);
        let mut back = [0; 2 * 4096];
        store.read(4, 0, &mut back).unwrap();
        assert_eq!(back, [7; 2 * 4096]);
        store.copy((3, 4096 + 17), (4, 8192 + 17), 4000).unwrap();
        store.stage_bytes(3, 4096 + 17, &[9; 100]);
        assert_eq!(store.view(4, 8192 + 17, 4000), Some(&[8; 4000][..]), "a copy is one");
        assert!(store.relocate((5, 0), (4, 3 * 4096), 4096).is_err(), "nothing was staged there");
    }

    #[test]
    #[should_panic(expected = "programmed once")]
    fn a_slot_is_not_programmed_twice() {
        let mut store = store();
        store.program(0, 0, &[Record::PADDING]);
        store.program(0, 0, &[Record::PADDING]);
    }
}
