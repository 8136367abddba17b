//! A store in memory over another one that stays as it is: what is written goes into copies of the pieces that are touched. For trying
//! out many ends of one history, each at the cost of what it changes.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::backing::{Store, StoreError};
use super::memory::{MemoryStore, read_views};
use crate::geometry::Geometry;
use crate::journal::{Kind, LineHeader, METADATA_PAGE, Record};
use crate::ordering::Order;
use crate::unit::index;

/// About this many bytes are copied at a time.
const SEGMENT_BYTES: usize = 64 << 10;

/// A store in memory that stays as it is, below forks.
pub trait Base {
    /// Bytes of a line, and zeroes where nothing was staged.
    fn peek(&self, line: u32, offset: usize, into: &mut [u8]);

    /// Bytes of a line where they lie, as [`Store::view`].
    fn look(&self, line: u32, offset: usize, bytes: usize) -> Option<&[u8]>;

    /// The records of a line.
    fn peek_records(&self, line: u32) -> &[Record];

    /// A line's header.
    fn peek_header(&self, line: u32) -> LineHeader;

    /// Bytes of the metadata region.
    fn peek_metadata(&self, offset: u64, into: &mut [u8]);

    /// How many forks lie below each other.
    fn depth(&self) -> usize;
}

/// A fork of a store in memory.
pub struct ForkStore {
    below: Rc<dyn Base>,
    /// Pieces of lines that were touched, by line and number: of the data, then of the units' metadata.
    segments: BTreeMap<(u32, usize), Vec<u8>>,
    records: BTreeMap<u32, Vec<Record>>,
    headers: BTreeMap<u32, LineHeader>,
    pages: BTreeMap<u64, Box<[u8; METADATA_PAGE]>>,
    data_bytes: usize,
    line_bytes: usize,
    segment_data: usize,
    segment_metadata: usize,
    syncs: u64,
}

impl ForkStore {
    /// A fork of `below`, which has this geometry.
    #[must_use]
    pub fn new(below: Rc<dyn Base>, geometry: &Geometry) -> Self {
        let unit = geometry.unit_bytes();
        // Whole units, and neither more nor less than a line.
        let units = (SEGMENT_BYTES / unit).clamp(1, geometry.units_per_line as usize);
        let metadata = geometry.config.metadata_bytes_per_unit as usize;
        Self {
            below,
            segments: BTreeMap::new(),
            records: BTreeMap::new(),
            headers: BTreeMap::new(),
            pages: BTreeMap::new(),
            data_bytes: geometry.line_data_bytes,
            line_bytes: geometry.line_bytes,
            segment_data: units * unit,
            segment_metadata: (units * metadata).max(1),
            syncs: 0,
        }
    }

    /// The segment in which an offset lies: its number, where it begins, how long it is.
    fn segment(&self, offset: usize) -> (usize, usize, usize) {
        let (number, start, bytes, end) = if offset < self.data_bytes {
            let number = offset / self.segment_data;
            (number, number * self.segment_data, self.segment_data, self.data_bytes)
        } else {
            let number = (offset - self.data_bytes) / self.segment_metadata;
            let start = self.data_bytes + number * self.segment_metadata;
            (self.data_bytes.div_ceil(self.segment_data) + number, start, self.segment_metadata, self.line_bytes)
        };
        (number, start, bytes.min(end - start))
    }

    fn page(&self, page: u64) -> Box<[u8; METADATA_PAGE]> {
        let mut bytes = Box::new([0; METADATA_PAGE]);
        self.below.peek_metadata(page * METADATA_PAGE as u64, &mut bytes[..]);
        bytes
    }
}

impl Store for ForkStore {
    fn stage(&mut self, line: u32, offset: usize, bytes: usize) -> &mut [u8] {
        let (number, start, length) = self.segment(offset);
        let below = &self.below;
        let segment = self.segments.entry((line, number)).or_insert_with(|| {
            let mut segment = vec![0; length];
            below.peek(line, start, &mut segment);
            segment
        });
        &mut segment[offset - start..length.min(offset - start + bytes)]
    }

    fn view(&self, line: u32, offset: usize, bytes: usize) -> Option<&[u8]> {
        let (number, start, length) = self.segment(offset);
        let bytes = bytes.min(start + length - offset);
        match self.segments.get(&(line, number)) {
            Some(segment) => segment.get(offset - start..offset - start + bytes),
            None => self.below.look(line, offset, bytes),
        }
    }

    fn read(&mut self, line: u32, offset: usize, into: &mut [u8]) -> Result<(), StoreError> {
        read_views(self, line, offset, into)
    }

    fn copy(&mut self, from: (u32, usize), to: (u32, usize), bytes: usize) -> Result<(), StoreError> {
        let mut copied = vec![0; bytes];
        self.read(from.0, from.1, &mut copied)?;
        self.stage_bytes(to.0, to.1, &copied);
        Ok(())
    }

    fn program(&mut self, line: u32, first_slot: u32, records: &[Record]) {
        let below = &self.below;
        let own = self.records.entry(line).or_insert_with(|| below.peek_records(line).to_vec());
        assert!(own.len() <= first_slot as usize, "slots are programmed once, in order");
        own.resize(first_slot as usize, Record { kind: Kind::Hole, ..Record::default() });
        own.extend_from_slice(records);
    }

    fn write_header(&mut self, line: u32, header: &LineHeader) {
        self.headers.insert(line, *header);
    }

    fn erase(&mut self, line: u32, header: &LineHeader) {
        self.records.insert(line, Vec::new());
        self.headers.insert(line, *header);
    }

    fn header(&mut self, line: u32) -> Result<LineHeader, StoreError> {
        Ok(self.peek_header(line))
    }

    fn records(&mut self, line: u32, into: &mut Vec<Record>) -> Result<(), StoreError> {
        into.clear();
        into.extend_from_slice(self.peek_records(line));
        Ok(())
    }

    fn write_metadata(&mut self, offset: u64, bytes: &[u8]) {
        for (page, at, part) in MemoryStore::pages(offset, bytes.len()) {
            if !self.pages.contains_key(&page) {
                self.pages.insert(page, self.page(page));
            }
            if let Some(target) = self.pages.get_mut(&page) {
                target[at..at + part.len()].copy_from_slice(&bytes[part]);
            }
        }
    }

    fn read_metadata(&mut self, offset: u64, into: &mut [u8]) -> Result<(), StoreError> {
        self.peek_metadata(offset, into);
        Ok(())
    }

    fn take(&mut self) -> Self {
        let husk = Self {
            below: Rc::clone(&self.below),
            segments: BTreeMap::new(),
            records: BTreeMap::new(),
            headers: BTreeMap::new(),
            pages: BTreeMap::new(),
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

impl Base for ForkStore {
    fn peek(&self, line: u32, offset: usize, into: &mut [u8]) {
        let mut done = 0;
        while done < into.len() {
            let (number, start, length) = self.segment(offset + done);
            let within = offset + done - start;
            let count = (length - within).min(into.len() - done);
            let part = &mut into[done..done + count];
            match self.segments.get(&(line, number)) {
                Some(segment) => part.copy_from_slice(&segment[within..within + count]),
                None => self.below.peek(line, offset + done, part),
            }
            done += count;
        }
    }

    fn look(&self, line: u32, offset: usize, bytes: usize) -> Option<&[u8]> {
        self.view(line, offset, bytes)
    }

    fn peek_records(&self, line: u32) -> &[Record] {
        self.records.get(&line).map_or_else(|| self.below.peek_records(line), Vec::as_slice)
    }

    fn peek_header(&self, line: u32) -> LineHeader {
        self.headers.get(&line).copied().unwrap_or_else(|| self.below.peek_header(line))
    }

    fn peek_metadata(&self, offset: u64, into: &mut [u8]) {
        self.below.peek_metadata(offset, into);
        let page_bytes = METADATA_PAGE as u64;
        let touched = offset / page_bytes..(offset + into.len() as u64).div_ceil(page_bytes);
        for (&page, bytes) in self.pages.range(touched) {
            let from = offset.max(page * page_bytes);
            let to = (offset + into.len() as u64).min((page + 1) * page_bytes);
            let target = index(from - offset)..index(to - offset);
            into[target].copy_from_slice(&bytes[index(from - page * page_bytes)..index(to - page * page_bytes)]);
        }
    }

    fn depth(&self) -> usize {
        self.below.depth() + 1
    }
}

impl Base for MemoryStore {
    fn peek(&self, line: u32, offset: usize, into: &mut [u8]) {
        Self::peek(self, line, offset, into);
    }

    fn look(&self, line: u32, offset: usize, bytes: usize) -> Option<&[u8]> {
        self.view(line, offset, bytes)
    }

    fn peek_records(&self, line: u32) -> &[Record] {
        Self::peek_records(self, line)
    }

    fn peek_header(&self, line: u32) -> LineHeader {
        Self::peek_header(self, line)
    }

    fn peek_metadata(&self, offset: u64, into: &mut [u8]) {
        Self::peek_metadata(self, offset, into);
    }

    fn depth(&self) -> usize {
        0
    }
}
