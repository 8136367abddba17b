//! Owns reading what nobody asked for: units and map pages in turn, to find what is damaged before somebody needs it. Does not know when
//! that is due.

use super::Ftl;
use crate::journal::{METADATA_PAGE, map_page_checksum};
use crate::monitor::Finder;
use crate::store::{Expected, Store, StoreError};
use crate::unit::{LogicalUnit, narrow};

/// Entries of the map that are passed over for each unit that may be read.
const PASSED_OVER: u32 = 64;

impl<S: Store> Ftl<S> {
    /// Reads up to `most` units that lie on the disk, from the unit `from` on, and notes those that are damaged. Returns where to go on:
    /// behind the last unit there is nothing left.
    ///
    /// # Errors
    /// Where the store fails.
    pub(crate) fn patrol_units(&mut self, from: u32, most: u32) -> Result<u32, StoreError> {
        let end = self.geometry.logical_units;
        let (mut unit, mut read, mut looked) = (from, 0, 0);
        while read < most && looked < most.saturating_mul(PASSED_OVER) {
            let Some(next) = self.map.next_used(unit, end) else { return Ok(end) };
            unit = next + 1;
            looked += 1;
            let (Some(place), uncorrectable) = self.map.look(LogicalUnit(next)) else { continue };
            if self.nand.store.unit(place, &self.geometry).is_some() {
                continue;
            }
            read += 1;
            match self.fetch(place, Expected { unit: LogicalUnit(next), uncorrectable }, Finder::Patrol) {
                Ok(()) | Err(StoreError::Damaged(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(unit)
    }

    /// How many pages the map has.
    pub(crate) fn map_pages(&self) -> u32 {
        narrow(self.map.pages())
    }

    /// Which root counts.
    pub(crate) const fn generation(&self) -> u64 {
        self.checkpoint.generation
    }

    /// Compares a page of the map in the store with what the root says of it. One that is damaged is written again with the next
    /// checkpoint: the map in memory is right.
    ///
    /// # Errors
    /// Where the store fails.
    pub(crate) fn patrol_map_page(&mut self, page: u32) -> Result<(), StoreError> {
        let basis = &self.checkpoint.basis;
        let at = page as usize;
        if basis.sums[at] == 0 {
            return Ok(());
        }
        let second = basis.homes[at / 64] >> (at % 64) & 1 == 1;
        let mut bytes = [0; METADATA_PAGE];
        self.nand.store.read_metadata(self.layout.map_at(page.into(), second), &mut bytes)?;
        if map_page_checksum(page.into(), &bytes) != basis.sums[at] {
            self.integrity.map_pages += 1;
            self.map.change_page(at);
        }
        Ok(())
    }
}
