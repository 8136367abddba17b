//! Owns what is done about a unit that is not what was written: who found it, how often, and that it stays lost until it is written. Does
//! not know how it is found out, nor who is told.
//!
//! A unit that is damaged where it lies is not moved, because at its new place it would get a checksum that is right: what is left of it
//! becomes a unit whose blocks are all uncorrectable, in a new version of its own.

use std::collections::BTreeMap;

use super::cut::Tag;
use super::uncorrectable::Unit;
use super::{Ftl, HOST};
use crate::large_memory::grow;
use crate::monitor::Finder;
use crate::store::{Expected, Store, StoreError, Wanted};
use crate::unit::{LogicalUnit, PhysicalUnit};

/// Damaged units that are remembered one by one; beyond them a unit may be counted again.
const REMEMBERED: usize = 1 << 16;

/// Where the damaged units were found that are remembered.
pub type Places = BTreeMap<u32, PhysicalUnit>;

impl<S: Store> Ftl<S> {
    /// Damaged units found that still lie where they were found, and where that is.
    pub fn damaged_units(&self) -> impl Iterator<Item = (LogicalUnit, PhysicalUnit)> + '_ {
        let known = self.damaged_places.iter().map(|(&unit, &place)| (LogicalUnit(unit), place));
        known.filter(|&(unit, place)| self.map.get(unit) == Some(place))
    }

    /// Notes that a unit is damaged where it lies.
    #[cold]
    pub(crate) fn note_damage(&mut self, unit: LogicalUnit, place: PhysicalUnit, finder: Finder) {
        let new = self.damaged_places.get(&unit.0) != Some(&place);
        if new {
            self.integrity.found[finder as usize] += 1;
            if self.damaged_places.len() < REMEMBERED {
                self.damaged_places.insert(unit.0, place);
            }
        }
        self.counters.media_errors += u64::from(new || finder == Finder::Read);
    }

    /// Reads a unit and its metadata from its place into `scratch`, and notes where it is damaged.
    ///
    /// # Errors
    /// Those of [`Store::read_unit`].
    pub(crate) fn fetch(&mut self, place: PhysicalUnit, expected: Expected, finder: Finder) -> Result<(), StoreError> {
        let at = (self.geometry.line_of(place), self.geometry.slot_of(place));
        let bytes = self.geometry.unit_bytes() + self.geometry.config.metadata_bytes_per_unit as usize;
        grow(&mut self.scratch, bytes)?;
        let wanted = Wanted { at, expected, geometry: &self.geometry, neighbours: false };
        let read = self.nand.store.read_unit(&wanted, &mut self.scratch[..bytes]);
        if let Err(StoreError::Damaged(_)) = read {
            self.note_damage(expected.unit, place, finder);
        }
        read
    }

    /// Puts down that all blocks of a damaged unit are lost; `false` where there is no room even for that.
    #[cold]
    pub(crate) fn lose_unit(&mut self, unit: LogicalUnit) -> bool {
        let Ok(lost) = Unit::lost(self.geometry.unit_bytes()) else { return false };
        let Some(slot) = self.take_slot(HOST) else { return false };
        let (line, sequence, tag) = (self.streams[HOST].line, self.sequence, self.tag);
        let (data, _) = lost.encode();
        self.nand.stage(line, self.geometry.data_offset(slot), data.len()).copy_from_slice(&data);
        self.blank_metadata(line, slot);
        self.tag = Tag { uncorrectable: true, ..self.tag_of_request(true) };
        self.note_single(slot, unit, 0);
        self.streams[HOST].records[slot as usize].uncorrectable = true;
        self.tag = tag;
        self.show(unit, self.geometry.physical(line, slot), sequence);
        self.map.set_uncorrectable(unit);
        true
    }

    /// Clears the metadata of a slot that is staged.
    pub(crate) fn blank_metadata(&mut self, line: u32, slot: u32) {
        let metadata = self.geometry.config.metadata_bytes_per_unit as usize;
        self.nand.stage(line, self.geometry.metadata_offset(slot), metadata).fill(0);
    }
}
