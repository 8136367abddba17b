//! Owns the check of what is read from a disk: a unit is believed only if its record is one of this life of its line, names the unit that
//! is expected, and holds the checksum of the data and metadata that were read. Records are read in pages, of which the last few stay in
//! memory: neighbours are read together, and to keep the checksums of all units would double what the map takes.

use super::backing::{Expected, Store, StoreError, Wanted};
use super::disk::Disk;
use super::image::ImageStore;
use super::record_pages::PER_PAGE;
use super::staging::data_check;
use crate::geometry::Geometry;
use crate::journal::{METADATA_PAGE, RECORD_BYTES, Record};
use crate::large_memory::grow;
use crate::power::mutation::{Mutation, mutated};
use crate::unit::narrow;

impl<D: Disk> ImageStore<D> {
    /// The record of a slot as it is on the disk.
    fn stored_record(&mut self, line: u32, slot: u32) -> Result<Option<(Record, u32)>, StoreError> {
        let (number, at) = (narrow(slot as usize / PER_PAGE), slot as usize % PER_PAGE * RECORD_BYTES);
        let opened = self.opened[line as usize];
        let decode = |page: &[u8; METADATA_PAGE]| Record::decode(opened, &page[at..at + RECORD_BYTES]);
        if let Some(page) = self.record_pages.get(line, number) {
            return Ok(decode(page));
        }
        let mut page = Box::new([0; METADATA_PAGE]);
        self.disk.read(self.places.record_at(line, number * narrow(PER_PAGE)), &mut page[..])?;
        let record = decode(&page);
        self.record_pages.keep(line, number, page);
        Ok(record)
    }

    /// Whether data and metadata that were read from a slot are those of the unit that is expected there.
    fn check(&mut self, at: (u32, u32), expected: Expected, data: &[u8], metadata: &[u8]) -> Result<(), StoreError> {
        let record = self.stored_record(at.0, at.1)?;
        let what = match record {
            None => "has no record",
            Some((record, _)) if !record.kind.holds_unit() || record.logical != expected.unit.0 => "holds another unit",
            Some((record, _)) if record.uncorrectable != expected.uncorrectable => "holds a unit of another kind",
            Some((_, check)) if check != data_check(data, metadata) => "holds what was not written",
            Some(_) => return Ok(()),
        };
        Err(StoreError::Damaged(format!("slot {} of line {} {what}", at.1, at.0)))
    }

    /// Whether a slot's data lies in memory.
    fn in_memory(&self, at: (u32, u32), geometry: &Geometry) -> bool {
        self.view(at.0, geometry.data_offset(at.1), 1).is_some()
    }

    /// A unit that lies in memory.
    fn read_from_memory(&self, at: (u32, u32), geometry: &Geometry, data: &mut [u8], metadata: &mut [u8]) {
        let bytes = self.view(at.0, geometry.data_offset(at.1), data.len()).expect("it lies in memory");
        data.copy_from_slice(bytes);
        match self.view(at.0, geometry.metadata_offset(at.1), metadata.len()) {
            Some(bytes) => metadata.copy_from_slice(bytes),
            // No volume staged any.
            None => metadata.fill(0),
        }
    }

    /// Reads a unit of a line whose neighbours are read next.
    fn read_ahead(&mut self, line: u32, offset: usize, into: &mut [u8]) -> Result<(), StoreError> {
        if self.lines[line as usize].is_some() || into.len() > super::image::WINDOW_BYTES {
            return self.disk.read(self.places.byte_at(line, offset), into);
        }
        self.fill_window((line, offset), into.len())?;
        let bytes = self.window.get((line, offset), into.len()).expect("it was just read");
        into.copy_from_slice(bytes);
        Ok(())
    }

    pub(super) fn read_checked(&mut self, unit: &Wanted<'_>, into: &mut [u8]) -> Result<(), StoreError> {
        let Wanted { at, expected, geometry, neighbours } = *unit;
        let (data, metadata) = into.split_at_mut(geometry.unit_bytes());
        if self.in_memory(at, geometry) {
            self.read_from_memory(at, geometry, data, metadata);
            return Ok(());
        }
        if neighbours {
            self.read_ahead(at.0, geometry.data_offset(at.1), data)?;
        } else {
            self.disk.read(self.places.byte_at(at.0, geometry.data_offset(at.1)), data)?;
        }
        if !metadata.is_empty() {
            self.disk.read(self.places.byte_at(at.0, geometry.metadata_offset(at.1)), metadata)?;
        }
        self.check(at, expected, data, metadata)
    }

    pub(super) fn copy_checked(&mut self, wanted: &Wanted<'_>, to: (u32, u32)) -> Result<(), StoreError> {
        let geometry = wanted.geometry;
        // By way of a buffer: source and target may lie in one segment, and only what was checked is staged.
        let (unit, metadata) = (geometry.unit_bytes(), geometry.config.metadata_bytes_per_unit as usize);
        grow(&mut self.scratch, unit + metadata)?;
        let mut buffer = std::mem::take(&mut self.scratch);
        let read = self.read_checked(wanted, &mut buffer[..unit + metadata]);
        if read.is_ok() {
            self.stage_bytes(to.0, geometry.data_offset(to.1), &buffer[..unit]);
            if !mutated(Mutation::MovedMetadata) {
                self.stage_bytes(to.0, geometry.metadata_offset(to.1), &buffer[unit..unit + metadata]);
            }
        }
        self.scratch = buffer;
        read
    }
}
