//! Memory of lines: what is staged and programmed, what was read ahead, and how a program is encoded. Knows no disk.

use std::sync::Arc;

use super::places::Places;
use super::schedule::Bytes;
use crate::codec::{Writer, checksum};
use crate::journal::{RECORD_BYTES, Record, fold};

/// The part of a line that is in memory.
pub(super) struct StagedLine {
    /// Segments of data, then as many of metadata.
    pub(super) segments: Vec<Option<Bytes>>,
    /// Records from this slot on are in `records`; those before it are from before the image was opened.
    pub(super) first: u32,
    pub(super) records: Vec<Record>,
    /// The encoded records that were handed to the disk.
    pub(super) handed: Vec<Bytes>,
}

impl StagedLine {
    /// Whether the disk has let go of everything, which it does when that is written.
    pub(super) fn written(&mut self) -> bool {
        // Not by counting references: seeing that there is no other must also mean seeing that the write is over.
        let mut all = self.segments.iter_mut().flatten().chain(&mut self.handed);
        all.all(|bytes| Arc::get_mut(bytes).is_some())
    }
}

/// What was read ahead of a line that lies on the disk alone.
#[derive(Default)]
pub(super) struct Window {
    pub(super) line: u32,
    pub(super) offset: usize,
    pub(super) bytes: Vec<u8>,
}

impl Window {
    /// The bytes from an offset of a line on, if they were read ahead.
    pub(super) fn get(&self, from: (u32, usize), bytes: usize) -> Option<&[u8]> {
        let at = from.1.checked_sub(self.offset).filter(|_| self.line == from.0)?;
        self.bytes.get(at..at + bytes)
    }

    /// Forgets what was read of a line.
    pub(super) fn forget(&mut self, line: u32) {
        if self.line == line {
            self.bytes.clear();
        }
    }
}

/// The encoded records of a program, each with the check of its data. `opened` is the life of the line.
pub(super) fn encode_records(
    places: &Places,
    opened: u64,
    records: &[Record],
    data: Option<&Bytes>,
    metadata: Option<&Bytes>,
) -> Vec<u8> {
    let (unit_shift, per_unit) = (places.unit_shift, places.metadata_per_unit);
    let mut encoded = Writer(Vec::with_capacity(records.len() * RECORD_BYTES));
    for (n, record) in records.iter().enumerate() {
        let unit = data.map_or(&[][..], |data| &data[n << unit_shift..(n + 1) << unit_shift]);
        let rest = metadata.map_or(&[][..], |bytes| &bytes[n * per_unit..(n + 1) * per_unit]);
        let check = if record.kind.holds_unit() { data_check(unit, rest) } else { 0 };
        record.encode(opened, check, &mut encoded);
    }
    encoded.0
}

/// Clears the slots of a page that hold no unit: recycled memory of other data is nobody's business there.
pub(super) fn blank_empty(segment: Option<&mut Bytes>, records: &[Record], unit_shift: u32) {
    let Some(memory) = segment.and_then(Arc::get_mut) else {
        return;
    };
    for (unit, record) in memory.chunks_exact_mut(1 << unit_shift).zip(records) {
        if !record.kind.holds_unit() {
            unit.fill(0);
        }
    }
}

pub(super) fn data_check(data: &[u8], metadata: &[u8]) -> u32 {
    let sum = checksum(1, data);
    fold(if metadata.is_empty() { sum } else { checksum(sum, metadata) })
}
