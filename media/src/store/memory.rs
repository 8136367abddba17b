//! A store in memory: the lines lie one behind the other in one large mapping, of which the system gives what is used; staging memory
//! is where the unit stays. Programmed means durable: it survives everything but the end of the process.

use std::collections::BTreeMap;
use std::ops::Range;

use super::backing::{Store, StoreError};
use crate::geometry::Geometry;
use crate::journal::{Kind, LineHeader, METADATA_PAGE, Record};
use crate::large_memory::LargeMemory;
use crate::unit::index;

/// Lines in memory.
pub struct MemoryStore {
    /// From one line to the next.
    stride: usize,
    data_bytes: usize,
    memory: LargeMemory,
    /// By line: something was staged in it.
    used: Vec<bool>,
    lines: Vec<MemoryLine>,
    metadata: BTreeMap<u64, Box<[u8; METADATA_PAGE]>>,
    syncs: u64,
}

#[derive(Clone, Default)]
struct MemoryLine {
    records: Vec<Record>,
    header: LineHeader,
}

impl MemoryStore {
    /// An empty store for a geometry. Memory is taken as lines are used.
    #[must_use]
    pub fn new(geometry: &Geometry) -> Self {
        let (lines, stride) = (geometry.lines as usize, geometry.line_bytes.next_multiple_of(METADATA_PAGE));
        Self {
            stride,
            data_bytes: geometry.line_data_bytes,
            memory: LargeMemory::zeroed(lines * stride),
            used: vec![false; lines],
            lines: vec![MemoryLine::default(); lines],
            metadata: BTreeMap::new(),
            syncs: 0,
        }
    }

    /// Where bytes of a line lie.
    #[inline]
    fn place(&self, line: u32, offset: usize, bytes: usize) -> Range<usize> {
        assert!(offset + bytes <= self.stride, "bytes of a line lie in it");
        let start = line as usize * self.stride + offset;
        start..start + bytes
    }

    /// Where bytes of a line lie in which something was staged.
    fn filled(&self, line: u32, offset: usize, bytes: usize) -> Result<Range<usize>, StoreError> {
        match self.used.get(line as usize) {
            Some(true) => Ok(self.place(line, offset, bytes)),
            _ => Err(StoreError::Damaged(format!("line {line} is empty"))),
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

impl MemoryStore {
    /// A line's header.
    pub(super) fn peek_header(&self, line: u32) -> LineHeader {
        self.lines[line as usize].header
    }

    /// The records of a line.
    pub(super) fn peek_records(&self, line: u32) -> &[Record] {
        &self.lines[line as usize].records
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
    fn segment_bytes(&self) -> usize {
        self.data_bytes
    }

    #[inline]
    fn stage(&mut self, line: u32, offset: usize, bytes: usize) -> &mut [u8] {
        self.used[line as usize] = true;
        let place = self.place(line, offset, bytes);
        &mut self.memory[place]
    }

    #[inline]
    fn view(&self, line: u32, offset: usize, bytes: usize) -> Option<&[u8]> {
        self.used[line as usize].then(|| &self.memory[self.place(line, offset, bytes)])
    }

    fn read(&mut self, line: u32, offset: usize, into: &mut [u8]) -> Result<(), StoreError> {
        let place = self.filled(line, offset, into.len())?;
        into.copy_from_slice(&self.memory[place]);
        Ok(())
    }

    fn copy(&mut self, from: (u32, usize), to: (u32, usize), bytes: usize) -> Result<(), StoreError> {
        let source = self.filled(from.0, from.1, bytes)?;
        let target = self.place(to.0, to.1, bytes);
        self.used[to.0 as usize] = true;
        self.memory.copy_within(source, target.start);
        Ok(())
    }

    fn program(&mut self, line: u32, first_slot: u32, records: &[Record]) {
        let line = &mut self.lines[line as usize];
        assert!(line.records.len() <= first_slot as usize, "slots are programmed once, in order");
        line.records.resize(first_slot as usize, Record { kind: Kind::Hole, ..Record::default() });
        line.records.extend_from_slice(records);
    }

    fn write_header(&mut self, line: u32, header: &LineHeader) {
        self.lines[line as usize].header = *header;
    }

    fn erase(&mut self, line: u32, header: &LineHeader) {
        let line = &mut self.lines[line as usize];
        line.records.clear();
        line.header = *header;
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
            memory: LargeMemory::zeroed(0),
            used: Vec::new(),
            lines: Vec::new(),
            metadata: BTreeMap::new(),
            ..*self
        };
        std::mem::replace(self, husk)
    }

    fn barrier(&mut self) {}

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
        MemoryStore::new(&Geometry::new(GeometryConfig::default()).unwrap())
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
    #[should_panic(expected = "programmed once")]
    fn a_slot_is_not_programmed_twice() {
        let mut store = store();
        store.program(0, 0, &[Record::PADDING]);
        store.program(0, 0, &[Record::PADDING]);
    }
}
