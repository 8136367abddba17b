//! Checks a drive from the inside: whether every unit is where the map says and what its record says; and lists lines, map and journal.
//! Changes nothing.

use super::Ssd;
use crate::ftl::line::Line;
use crate::journal::{Deallocation, RECORD_BYTES};
use crate::store::{Store, StoreError};
use crate::unit::{LogicalUnit, PhysicalUnit};

/// What an examination found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Units that the map points at.
    pub mapped: u64,
    /// Of these, units that lie where the map says, as they were written.
    pub recorded: u64,
    /// Of these, units that are not what was written, or that are not where the map says: the unit, its line and its slot.
    pub damaged: Vec<(LogicalUnit, u32, u32)>,
}

impl Findings {
    /// Whether everything is as it should be.
    #[must_use]
    pub const fn sound(&self) -> bool {
        self.damaged.is_empty()
    }
}

/// Units read between two words about progress.
const UNITS_PER_WORD: u32 = 4096;

impl<S: Store> Ssd<S> {
    /// Reads every unit that the map points at, and compares what is there with its record and the map, as the patrol does. `progress` is
    /// told the units done and the units there are. In memory there is nothing to compare.
    ///
    /// # Errors
    /// Where the store fails.
    pub fn examine(&mut self, progress: &mut dyn FnMut(u32, u32)) -> Result<Findings, StoreError> {
        let (mut unit, units) = (0, self.ftl.geometry.logical_units);
        while unit < units {
            progress(unit, units);
            unit = self.ftl.patrol_units(unit, UNITS_PER_WORD)?;
        }
        progress(units, units);
        let geometry = &self.ftl.geometry;
        let place = |(unit, place)| (unit, geometry.line_of(place), geometry.slot_of(place));
        let damaged: Vec<_> = self.ftl.damaged_units().map(place).collect();
        Ok(Findings { mapped: self.ftl.mapped, recorded: self.ftl.mapped - damaged.len() as u64, damaged })
    }

    /// The lines with their numbers.
    pub fn lines(&self) -> impl Iterator<Item = (u32, &Line)> + '_ {
        self.ftl.lines.iter()
    }

    /// Every mapped unit with its place.
    pub fn mapping(&self) -> impl Iterator<Item = (LogicalUnit, PhysicalUnit)> + '_ {
        self.ftl.map.iter()
    }

    /// The deallocations that a recovery would replay, with their positions in the journal.
    ///
    /// # Errors
    /// Where the store fails.
    pub fn journal(&mut self) -> Result<Vec<(u64, Deallocation)>, StoreError> {
        let mut entries = Vec::new();
        let end = self.ftl.journal_end;
        for position in end - self.ftl.journal_used()..end {
            let mut bytes = [0; RECORD_BYTES];
            self.ftl.nand.store.read_metadata(self.ftl.layout.journal_at(position), &mut bytes)?;
            entries.extend(Deallocation::decode(position, &bytes).map(|(entry, _)| (position, entry)));
        }
        Ok(entries)
    }
}
