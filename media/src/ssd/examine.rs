//! A drive looked at from inside, for a person who doubts it: whether every unit is where the map says and what its record says, and
//! listings of lines, map and journal. Changes nothing.

use super::Ssd;
use crate::ftl::line::Line;
use crate::journal::{Deallocation, Kind, RECORD_BYTES};
use crate::store::{Store, StoreError};
use crate::unit::{LogicalUnit, PhysicalUnit};

/// What an examination found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Units that the map points at.
    pub mapped: u64,
    /// Of these, units whose record is where it should be and says so.
    pub recorded: u64,
    /// Of these, units whose data is not what was written: the unit, its line and its slot.
    pub damaged: Vec<(LogicalUnit, u32, u32)>,
}

impl Findings {
    /// Whether everything is as it should be.
    #[must_use]
    pub fn sound(&self) -> bool {
        self.mapped == self.recorded && self.damaged.is_empty()
    }
}

impl<S: Store> Ssd<S> {
    /// Reads every line that holds valid units, and compares what is there with the records and the map. `progress` is told the
    /// lines done and the lines there are. A store without checksums of data has nothing to compare data with.
    ///
    /// # Errors
    /// Where the store fails.
    pub fn examine(&mut self, progress: &mut dyn FnMut(u32, u32)) -> Result<Findings, StoreError> {
        let mut findings = Findings { mapped: self.ftl.mapped, ..Findings::default() };
        let mut records = Vec::new();
        for line in 0..self.ftl.geometry.lines {
            progress(line, self.ftl.geometry.lines);
            if self.ftl.lines.get(line).valid == 0 {
                continue;
            }
            self.ftl.nand.store.records(line, &mut records)?;
            let stated = records.clone();
            self.ftl.nand.store.verify_data(line, 0, &mut records)?;
            for (slot, (stated, found)) in (0..).zip(stated.iter().zip(&records)) {
                let unit = LogicalUnit(stated.logical);
                let here = self.ftl.geometry.physical(line, slot);
                let mapped = self.ftl.geometry.holds(unit) && self.ftl.map.get(unit) == Some(here);
                if !stated.kind.holds_unit() || !mapped {
                    continue;
                }
                findings.recorded += 1;
                if found.kind == Kind::Hole {
                    findings.damaged.push((unit, line, slot));
                }
            }
        }
        progress(self.ftl.geometry.lines, self.ftl.geometry.lines);
        Ok(findings)
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
