//! A store that forgets data. Where units lie, what their records say and how lines are worn is all that write amplification and wear
//! depend on; without the data a drive of gigabytes takes megabytes, and moving a unit costs what deciding about it costs.

use media::geometry::Geometry;
use media::journal::{Kind, LineHeader, Record};
use media::ordering::Order;
use media::store::{Store, StoreError};

/// Lines of records without data, and a metadata region that holds nothing: a drive on it cannot recover.
pub struct HollowStore {
    staging: Vec<u8>,
    lines: Vec<HollowLine>,
    syncs: u64,
}

#[derive(Clone, Default)]
struct HollowLine {
    records: Vec<Record>,
    header: LineHeader,
}

impl HollowStore {
    /// An empty store for a geometry.
    #[must_use]
    pub fn new(geometry: &Geometry) -> Self {
        Self {
            // Zeroed memory comes from the system untouched: it costs what the host's writes fill, and that is the same each time.
            staging: vec![0; geometry.line_bytes],
            lines: vec![HollowLine::default(); geometry.lines as usize],
            syncs: 0,
        }
    }
}

impl Store for HollowStore {
    fn stage(&mut self, _line: u32, _offset: usize, bytes: usize) -> &mut [u8] {
        &mut self.staging[..bytes]
    }

    fn view(&self, _line: u32, _offset: usize, bytes: usize) -> Option<&[u8]> {
        self.staging.get(..bytes)
    }

    fn read(&mut self, _line: u32, _offset: usize, into: &mut [u8]) -> Result<(), StoreError> {
        into.fill(0);
        Ok(())
    }

    fn copy(&mut self, _from: (u32, usize), _to: (u32, usize), _bytes: usize) -> Result<(), StoreError> {
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

    fn write_metadata(&mut self, _offset: u64, _bytes: &[u8]) {}

    fn read_metadata(&mut self, _offset: u64, into: &mut [u8]) -> Result<(), StoreError> {
        into.fill(0);
        Ok(())
    }

    fn take(&mut self) -> Self {
        let husk = Self { staging: Vec::new(), lines: Vec::new(), ..*self };
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
