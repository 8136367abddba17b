//! The patrol: when it reads how much, and its progress. One pass reads all units and all pages of the map that are on the disk, a few
//! at a time, spread over the requested period.

use super::Ssd;
use crate::monitor::PatrolReport;
use crate::store::{Store, StoreError};
use crate::unit::{Lba, LbaRange, LogicalUnit, Nanoseconds};
use crate::volume::VolumeId;
use crate::warning::WarningKind;

/// Units read at a time: about a millisecond where each has to come from an SSD.
const UNITS_PER_STEP: u32 = 16;
/// The shortest time between two steps: a pass takes longer than asked for rather than more than 1600 units a second.
const STEP_MIN: u64 = 10_000_000;
/// The longest: so that a drive which fills is noticed.
const STEP_MAX: u64 = 60_000_000_000;

/// How far the patrol has come.
#[derive(Clone, Copy, Default)]
pub(super) struct Patrol {
    /// The next unit; beyond the last one pages of the map follow.
    next: u32,
    due: Option<Nanoseconds>,
    /// The root that counted at the last step: what it names is on the disk by now.
    generation: u64,
    /// What had been found when this pass began.
    found_before: u64,
    /// Passes that were finished.
    passes: u64,
}

impl<S: Store> Ssd<S> {
    /// How far the patrol has come; nothing where there is none.
    #[must_use]
    pub fn patrol(&self) -> Option<PatrolReport> {
        let all = u64::from(self.ftl.geometry.logical_units) + u64::from(self.ftl.map_pages());
        let done = u64::from(self.patrol.next) * 100 / all.max(1);
        let (percent, passes) = (u8::try_from(done).unwrap_or(100), self.patrol.passes);
        self.patrol_period().map(|_| PatrolReport { percent, passes })
    }

    fn patrol_period(&self) -> Option<Nanoseconds> {
        self.config.patrol.filter(|_| S::CHECKS)
    }

    /// When the patrol goes on.
    pub(super) fn patrol_due(&self) -> Option<Nanoseconds> {
        self.patrol.due.filter(|_| !self.ftl.nand.power.lost())
    }

    /// Reads what is due.
    #[inline]
    pub(super) fn go_on_patrol(&mut self) {
        if self.config.patrol.is_some() && self.patrol.due.is_none_or(|due| due <= self.now) {
            self.patrol_step();
        }
    }

    #[cold]
    fn patrol_step(&mut self) {
        let Some(period) = self.patrol_period() else { return };
        if self.ftl.nand.power.lost() {
            return;
        }
        let steps = (self.ftl.mapped / u64::from(UNITS_PER_STEP)).max(1);
        self.patrol.due = Some(self.now.plus(Nanoseconds((period.0 / steps).clamp(STEP_MIN, STEP_MAX))));
        // A store that fails is told of by those who need it; the patrol comes round again.
        let _ = self.patrol_some();
    }

    fn patrol_some(&mut self) -> Result<(), StoreError> {
        let units = self.ftl.geometry.logical_units;
        if self.patrol.next < units {
            self.patrol.next = self.ftl.patrol_units(self.patrol.next, UNITS_PER_STEP)?;
            return Ok(());
        }
        // What the store has not written yet is not there to be looked at.
        let settled = self.patrol.generation == self.ftl.generation() && self.stuck.is_none();
        self.patrol.generation = self.ftl.generation();
        if !settled {
            return Ok(());
        }
        let end = (self.patrol.next + UNITS_PER_STEP).min(units + self.ftl.map_pages());
        for page in self.patrol.next..end {
            self.ftl.patrol_map_page(page - units)?;
        }
        self.patrol.next = end;
        if end == units + self.ftl.map_pages() {
            self.end_patrol_pass();
        }
        Ok(())
    }

    /// A whole pass that met no damage ends the warning of it.
    fn end_patrol_pass(&mut self) {
        self.patrol.next = 0;
        self.patrol.passes += 1;
        let found = self.ftl.integrity.all();
        if found == self.patrol.found_before && self.ftl.damaged_units().next().is_none() {
            self.warnings.end(WarningKind::MediaDamaged, self.now);
        }
        self.patrol.found_before = found;
    }

    /// Warns of what was found to be damaged since it was last looked at.
    #[inline]
    pub(super) fn heed_damage(&mut self) {
        if S::CHECKS && self.ftl.integrity.all() != self.damage_told {
            self.warn_of_damage();
        }
    }

    #[cold]
    fn warn_of_damage(&mut self) {
        let (units, pages) = (self.ftl.integrity.total(), self.ftl.integrity.map_pages);
        let new = self.ftl.integrity.all() - std::mem::replace(&mut self.damage_told, units + pages);
        let detail = format!(
            "what lies in the media file is not what was written: {units} indirection units and {pages} pages of the map so far; \
             query-media says where"
        );
        self.warnings.meet_times(WarningKind::MediaDamaged, new, self.now, detail);
    }

    /// The blocks of a unit: nothing where no volume has it.
    #[must_use]
    pub fn blocks_of(&self, unit: LogicalUnit) -> Option<(VolumeId, LbaRange)> {
        let numbered = (0..).zip(&self.volumes);
        let (number, volume) = numbered.into_iter().find(|(_, volume)| {
            (volume.entry.first_unit..volume.entry.first_unit + volume.entry.units).contains(&unit.0)
        })?;
        let per_unit = u64::from(volume.shape.preferred_blocks);
        let start = u64::from(unit.0 - volume.entry.first_unit) * per_unit;
        let blocks = per_unit.min(volume.shape.capacity_blocks.saturating_sub(start));
        Some((VolumeId(number), LbaRange::new(Lba(start), blocks)))
    }
}
