//! Owns the moving of units out of the victim: which of its slots the map points at, and what it takes to let the map point elsewhere.
//! Does not know when that is done, nor what becomes of the line.
//!
//! Where nothing is to be met on the way, slots are looked at and moved a batch at a time: each part of the work then goes through its own
//! table in order. Units that are checked go one by one, and so do all while a crash point is armed, which wants each to be a step.

use super::line::LineState;
use super::{Ftl, MOVED};
use crate::journal::{Kind, Record};
use crate::power::Step;
use crate::store::{Expected, Store, StoreError};
use crate::unit::{LogicalUnit, PhysicalUnit, narrow};

/// Slots of a batch.
pub(super) const BATCH: u32 = 16;
/// A batch is at most such a part of a line.
const BATCHES_PER_LINE: u32 = 16;

impl<S: Store> Ftl<S> {
    /// How many slots are best looked at together.
    #[inline]
    pub(super) fn batch(&self) -> u32 {
        let single = S::CHECKS || self.nand.power.attentive();
        if single { 1 } else { BATCH.min(self.geometry.units_per_line / BATCHES_PER_LINE).max(1) }
    }

    /// Looks at up to `most` slots of the victim, at least at one, and moves what is valid of them; returns how many that was.
    #[inline]
    pub(super) fn collect_slots(&mut self, most: u64) -> u32 {
        let Some(line) = self.collector.victim else {
            return 1;
        };
        let first = self.collector.next_slot;
        let left = narrow(self.collector.records.len()).saturating_sub(first);
        if left == 0 || self.lines.get(line).valid == 0 {
            self.drain_victim(line);
            return 1;
        }
        let most = u32::try_from(most).unwrap_or(u32::MAX).min(self.batch()).min(left);
        let end = first + most;
        self.find_valid(line, first, end);
        self.collector.next_slot = if self.collector.moving.is_empty() { end } else { self.move_units(line, end) };
        self.collector.next_slot - first
    }

    /// Puts down which of some slots of the victim the map points at.
    #[inline]
    fn find_valid(&mut self, line: u32, first: u32, end: u32) {
        self.collector.moving.clear();
        let records = &self.collector.records[first as usize..end as usize];
        let places = self.geometry.physical(line, first).0..;
        for ((slot, place), record) in (first..).zip(places).zip(records) {
            let unit = LogicalUnit(record.logical);
            let points_here = || self.geometry.holds(unit) && self.map.get(unit) == Some(PhysicalUnit(place));
            if record.kind.holds_unit() && points_here() {
                self.collector.moving.push(slot);
            }
        }
    }

    /// Moves the units that were found below `end`, as many as find room in one line; returns the slot to go on with.
    fn move_units(&mut self, line: u32, end: u32) -> u32 {
        let found = narrow(self.collector.moving.len());
        let Some((target, count)) = self.take_moved_slots(found) else {
            self.read_only = true;
            self.collector.victim = None;
            self.lines.set_state(line, LineState::Closed);
            return end;
        };
        let to = (self.streams[MOVED].line, target);
        let moved = self.take_along(line, to, count);
        if moved == 0 {
            return end;
        }
        self.reached(Step::UnitCopied);
        self.point_there(line, to, moved);
        self.reached(Step::UnitMoved);
        self.program_moved();
        if count < found { self.collector.moving[count as usize] } else { end }
    }

    /// Lets slots of the stream of moved units from `to` on hold the first `count` units that were found; returns how many do. A unit that
    /// cannot be read is given up, and so is the drive where it is not the unit's fault.
    #[inline]
    fn take_along(&mut self, line: u32, to: (u32, u32), count: u32) -> u32 {
        let kind = if self.collector.wear { Kind::Wear } else { Kind::Collected };
        let moved = &mut self.streams[MOVED].records[to.1 as usize..(to.1 + count) as usize];
        for (moved, slot) in moved.iter_mut().zip(&self.collector.moving) {
            let record = &self.collector.records[*slot as usize];
            *moved = Record { kind, position: 0, length: 1, host_sectors: 0, ..*record };
        }
        self.nand.time_moved_reads(&self.geometry, &self.collector.moving[..count as usize]);
        let shared = narrow(self.nand.share(line, &self.collector.moving[..count as usize], to));
        for n in shared..count {
            let slot = self.collector.moving[n as usize];
            let unit = LogicalUnit(self.collector.records[slot as usize].logical);
            let expected = Expected { unit, uncorrectable: self.map.is_uncorrectable(unit) };
            let Err(error) = self.relocate_unit((line, slot), (to.0, to.1 + n), expected) else { continue };
            self.streams[MOVED].records[(to.1 + n) as usize..(to.1 + count) as usize].fill(Record::PADDING);
            let damaged = matches!(error, StoreError::Damaged(_)) && self.give_up(unit, line);
            if !damaged {
                (self.read_only, self.unread) = (true, Some(error));
            }
            return n;
        }
        count
    }

    /// Lets the map point at the first `count` units that were found where they are now.
    #[inline]
    fn point_there(&mut self, line: u32, to: (u32, u32), count: u32) {
        let places = self.geometry.physical(to.0, to.1).0..;
        for (place, slot) in places.zip(&self.collector.moving[..count as usize]) {
            let unit = LogicalUnit(self.collector.records[*slot as usize].logical);
            let old = self.map.repoint(unit, PhysicalUnit(place));
            assert_eq!(old, Some(self.geometry.physical(line, *slot)), "a unit moves from where it is");
        }
        self.lines.move_valid(line, to.0, count);
    }

    /// Programs the pages of moved units that are full, but for the last of them.
    #[inline]
    fn program_moved(&mut self) {
        let page = self.geometry.units_per_program;
        let moved = &self.streams[MOVED];
        let pages = moved.staged().saturating_sub(1) / page;
        if pages == 0 {
            return;
        }
        let (line, first, end) = (moved.line, moved.programmed, moved.programmed + pages * page);
        let records = &moved.records[first as usize..end as usize];
        if self.nand.program_run(line, first, records) {
            let last = super::alloc::last_sequence(records);
            return self.page_programmed(MOVED, first, end, last);
        }
        while self.streams[MOVED].staged() > page {
            self.program_page(MOVED);
        }
    }
}
