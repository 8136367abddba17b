//! Where bytes lie in an image, and how a line's memory is cut up. Owns numbers only.

use crate::geometry::Geometry;
use crate::journal::{METADATA_PAGE, RECORD_BYTES};

/// The unit in which regions of an image are aligned.
pub(super) const PAGE: u64 = METADATA_PAGE as u64;

/// The numbers of an image's layout.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    pub(super) metadata_bytes: u64,
    pub(super) unit_shift: u32,
    pub(super) segment_units: u32,
    pub(super) units_per_line: u32,
    /// Bytes of data of a line.
    pub(super) data_bytes: usize,
    pub(super) metadata_per_unit: usize,
    pub(super) line_stride: u64,
    pub(super) records_bytes: u64,
}

impl Places {
    pub(super) fn new(geometry: &Geometry, metadata_bytes: u64) -> Self {
        let records_bytes = (u64::from(geometry.units_per_line) * RECORD_BYTES as u64).next_multiple_of(PAGE);
        let line_bytes = (geometry.line_bytes as u64).next_multiple_of(PAGE);
        Self {
            metadata_bytes,
            unit_shift: geometry.unit_shift,
            segment_units: geometry.units_per_program,
            units_per_line: geometry.units_per_line,
            data_bytes: geometry.line_data_bytes,
            metadata_per_unit: geometry.config.metadata_bytes_per_unit as usize,
            line_stride: PAGE + records_bytes + line_bytes,
            records_bytes,
        }
    }

    pub(super) fn line_at(&self, line: u32) -> u64 {
        PAGE + self.metadata_bytes.next_multiple_of(PAGE) + u64::from(line) * self.line_stride
    }

    pub(super) fn byte_at(&self, line: u32, offset: usize) -> u64 {
        self.line_at(line) + PAGE + self.records_bytes + offset as u64
    }

    pub(super) fn segment_data_bytes(&self) -> usize {
        (self.segment_units as usize) << self.unit_shift
    }

    pub(super) fn segments_per_line(&self) -> usize {
        (self.units_per_line / self.segment_units) as usize
    }

    /// The bytes of a segment of data or of metadata, whichever an offset lies in.
    pub(super) fn segment_size(&self, offset: usize) -> usize {
        if offset < self.data_bytes {
            self.segment_data_bytes()
        } else {
            self.segment_units as usize * self.metadata_per_unit
        }
    }

    /// The segment of an offset, and the offset in it.
    pub(super) fn segment_of(&self, offset: usize) -> (usize, usize) {
        let size = self.segment_size(offset);
        if offset < self.data_bytes {
            return (offset / size, offset % size);
        }
        if size == 0 {
            return (0, 0);
        }
        let offset = offset - self.data_bytes;
        (self.segments_per_line() + offset / size, offset % size)
    }

    /// Where a slot's record lies.
    pub(super) fn record_at(&self, line: u32, slot: u32) -> u64 {
        self.line_at(line) + PAGE + u64::from(slot) * RECORD_BYTES as u64
    }
}
