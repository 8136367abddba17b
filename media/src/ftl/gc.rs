//! Owns the collection of lines: when it works, how much of it each write of the host pays for, and when a collected line may be
//! erased. Does not know why the host writes.
//!
//! *Pay as you go.* A victim with `v` of `n` units valid gives back `n - v` slots, so while it is collected each unit of the host
//! pays for `n / (n - v)` slots of it: when the host has used up what the victim gives, the victim is done. Slots that were padded to
//! program a page early are used up as well. A line moved for the sake of wear gives nothing, and waits while room is wanted. So no
//! unit that is written waits for more than one line.
//!
//! *When a line may be erased.* A power loss brings back the state that was committed. So a drained line waits until the units
//! moved out of it are programmed, and until the changes that made its other units invalid are committed.

use super::line::{Evenness, LineState};
use super::moves::BATCH;
use super::{Ftl, HOST, MOVED};
use crate::config::FLOOR_LINES;
use crate::geometry::Geometry;
use crate::journal::{HeaderState, Record};
use crate::large_memory::{OutOfMemory, room};
use crate::ledger::EraseCounts;
use crate::monitor::Finder;
use crate::power::Step;
use crate::power::mutation::{Mutation, mutated};
use crate::store::Store;
use crate::unit::{Lba, LogicalUnit, narrow};
use crate::volume::MediaError;

/// Lines that are erased at a time because they are empty: some milliseconds.
const EMPTY_LINES: u32 = 1024;

/// The line being collected.
pub struct Collector {
    pub(super) victim: Option<u32>,
    pub(super) wear: bool,
    pub(super) next_slot: u32,
    /// Those of the victim.
    pub(super) records: Vec<Record>,
    /// Slots of it that are to be moved next.
    pub(super) moving: Vec<u32>,
    /// Slots that the host has paid for, times the units of a line.
    credit: u64,
    cost: u64,
    /// What must be paid before more slots are looked at.
    due: u64,
    /// Slots used up by padding since the host paid last.
    pub(crate) padded: u32,
    next_wear: Option<u32>,
}

impl Collector {
    /// A collector without a victim.
    ///
    /// # Errors
    /// Where the system has no memory for the records of one.
    pub fn new(geometry: &Geometry) -> Result<Self, OutOfMemory> {
        Ok(Self {
            victim: None,
            wear: false,
            next_slot: 0,
            records: room(geometry.units_per_line as usize)?,
            moving: room(BATCH as usize)?,
            credit: 0,
            cost: 1,
            due: 0,
            padded: 0,
            next_wear: None,
        })
    }

    /// Bytes of memory that a collector takes over lines of this many units.
    #[must_use]
    pub(crate) const fn bytes_for(units: usize) -> usize {
        units * size_of::<Record>() + BATCH as usize * size_of::<u32>()
    }

    /// Bytes of memory that the collector takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.records.capacity() * size_of::<Record>() + self.moving.capacity() * size_of::<u32>()
    }
}

/// There is no line left to write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl<S: Store> Ftl<S> {
    /// Makes room for a group of units from `first` on: pays for collection, and collects whole lines where that was not enough.
    ///
    /// # Errors
    /// [`MediaError::WriteFailed`] where nothing can be collected any more, [`MediaError::NoSpace`] where the store has no memory for more
    /// units than it holds.
    #[inline]
    pub(crate) fn make_room(&mut self, first: LogicalUnit, units: u32) -> Result<(), MediaError> {
        let scarce = self.memory_reserve != 0 && self.nand.store.room() < units as usize + self.memory_reserve;
        if scarce && !self.make_memory_room(first, units) {
            return Err(MediaError::NoSpace);
        }
        // While no line is collected and enough are free there is nothing to pay.
        if self.collector.victim.is_some() || self.lines.free() + self.lines.drained() < self.tuning.reserve_lines {
            self.pay(units);
        }
        if self.needs_line(units) || self.read_only {
            self.make_room_for_line(units).map_err(|NoRoom| MediaError::WriteFailed { first: Lba(0) })?;
        }
        Ok(())
    }

    #[inline(never)]
    fn make_room_for_line(&mut self, units: u32) -> Result<(), NoRoom> {
        if S::STAYS {
            self.release_empty();
        }
        let mut rounds = 4 * self.geometry.lines;
        while self.needs_line(units) && self.lines.free() <= FLOOR_LINES {
            rounds = rounds.checked_sub(1).ok_or(NoRoom)?;
            if !self.collect_line() {
                return Err(NoRoom);
            }
        }
        if self.read_only { Err(NoRoom) } else { Ok(()) }
    }

    #[inline]
    fn needs_line(&self, units: u32) -> bool {
        let host = &self.streams[HOST];
        host.line == super::alloc::NO_LINE || self.geometry.units_per_line - host.next < units
    }

    #[inline]
    fn pay(&mut self, units: u32) {
        let used = u64::from(units + std::mem::take(&mut self.collector.padded));
        let line = u64::from(self.geometry.units_per_line);
        // Chance makes the collector late now and then, and nothing would make up for it: twice as fast for a missing line.
        let behind = (self.tuning.reserve_lines - 1).saturating_sub(self.lines.free() + self.lines.drained());
        self.collector.credit += used * line * u64::from(1 + behind);
        if self.collector.victim.is_none() || self.collector.credit >= self.collector.due {
            self.collect_paid(units);
        }
    }

    /// Does what was paid for.
    #[inline(never)]
    fn collect_paid(&mut self, units: u32) {
        // A victim that is nearly full gives nothing however much is paid.
        let mut most = u64::from(units) * u64::from(self.geometry.units_per_line);
        // One line at a time is moved for the sake of wear: it gives no room.
        let mut wear = true;
        while !self.read_only && (self.collector.victim.is_some() || self.find_work(wear)) {
            wear = false;
            while self.collector.victim.is_some() {
                self.collector.due = self.collector.cost * self.next_batch();
                if self.collector.credit < self.collector.due || most == 0 || self.read_only {
                    return;
                }
                let paid = self.collector.credit / self.collector.cost;
                let collected = u64::from(self.collect_slots(paid.min(most)));
                most -= collected;
                self.collector.credit -= collected * self.collector.cost;
            }
        }
        self.collector.credit = 0;
    }

    /// How many slots must be paid for before any is looked at.
    fn next_batch(&self) -> u64 {
        let left = narrow(self.collector.records.len()).saturating_sub(self.collector.next_slot);
        u64::from(self.batch().min(left).max(1))
    }

    /// Chooses a victim where too few lines are free.
    fn find_work(&mut self, wear: bool) -> bool {
        if self.lines.free() + self.lines.drained() >= self.tuning.reserve_lines {
            return false;
        }
        if self.lines.drained() > 0 {
            self.release_drained();
        }
        // Nor is one where the collector is late.
        self.choose_victim(wear && self.lines.free() + self.lines.drained() + 1 == self.tuning.reserve_lines)
    }

    /// Chooses the next victim, with `wear` also one that gives no room; `false` where there is none.
    fn choose_victim(&mut self, wear: bool) -> bool {
        assert!(self.collector.victim.is_none(), "one line is collected at a time");
        if self.nand.power.lost() {
            // What was closed since is not in the store: its records could not be read.
            return false;
        }
        let wear = if wear { self.collector.next_wear.take() } else { None };
        let wear = wear.filter(|&line| self.lines.get(line).state == LineState::Closed);
        let evenness = self.evenness(self.lines.erase_counts());
        let victim =
            wear.or_else(|| self.lines.choose_victim(self.tuning.policy, self.sequence, self.committed, evenness));
        let Some(line) = victim else {
            return false;
        };
        if let Err(error) = self.nand.store.records(line, &mut self.collector.records) {
            (self.read_only, self.unread) = (true, Some(error));
            return false;
        }
        self.collector.wear = wear.is_some();
        self.lines.set_state(line, LineState::Victim);
        self.collector.victim = Some(line);
        self.collector.next_slot = 0;
        let entry = self.lines.get(line);
        self.collector.cost = u64::from(self.geometry.units_per_line.saturating_sub(entry.valid).max(1));
        self.counters.victims += 1;
        self.reached(Step::VictimChosen);
        true
    }

    /// Neighbouring slots for units to be moved. Where no line is free, drained lines may only wait for what is staged: that is
    /// programmed then, whatever it costs, because a collector that cannot go on would be the end of all writing.
    pub(super) fn take_moved_slots(&mut self, most: u32) -> Option<(u32, u32)> {
        let slots = self.take_slots(MOVED, most);
        if slots.is_some() || self.read_only || self.lines.drained() == 0 {
            return slots;
        }
        self.commit();
        self.release_drained();
        self.take_slots(MOVED, most)
    }

    /// Whether a line is being collected.
    pub(crate) const fn is_collecting(&self) -> bool {
        self.collector.victim.is_some()
    }

    /// Makes a closed line the victim, whatever it gives.
    ///
    /// # Errors
    /// It cannot be collected: its records cannot be read, or power is lost.
    pub(crate) fn collect_next(&mut self, line: u32) -> Result<(), NoRoom> {
        self.collector.next_wear = Some(line);
        if self.choose_victim(true) { Ok(()) } else { Err(NoRoom) }
    }

    /// Collects the victim, if there is one, to its end.
    ///
    /// # Errors
    /// Nothing can be moved any more.
    #[inline(never)]
    pub(crate) fn finish_victim(&mut self) -> Result<(), NoRoom> {
        while self.collector.victim.is_some() && !self.read_only {
            self.collect_slots(u64::MAX);
        }
        if self.read_only { Err(NoRoom) } else { Ok(()) }
    }

    pub(super) fn drain_victim(&mut self, line: u32) {
        self.collector.victim = None;
        if self.lines.get(line).valid != 0 && !self.give_up_rest(line) {
            self.lines.set_state(line, LineState::Closed);
            self.read_only = true;
            return;
        }
        self.lines.set_state(line, LineState::Drained);
        self.lines.get_mut(line).moved = self.streams[MOVED].staged_total;
        self.reached(Step::VictimDrained);
        self.release_drained();
    }

    /// A unit of the victim is damaged; `false` where that cannot be put down.
    #[cold]
    pub(super) fn give_up(&mut self, unit: LogicalUnit, line: u32) -> bool {
        let Some(place) = self.map.get(unit).filter(|&place| self.geometry.line_of(place) == line) else { return true };
        self.note_damage(unit, place, Finder::Collection);
        self.lose_unit(unit)
    }

    /// The map points at slots of the victim whose records are not there, or say something else.
    #[cold]
    fn give_up_rest(&mut self, line: u32) -> bool {
        assert!(S::CHECKS, "a drained line holds nothing valid");
        let left = self.map.iter().filter(|&(_, place)| self.geometry.line_of(place) == line);
        let left: Vec<_> = left.map(|(unit, _)| unit).collect();
        left.into_iter().all(|unit| self.give_up(unit, line))
    }

    /// Erases the drained lines that nothing needs any more.
    pub(crate) fn release_drained(&mut self) {
        // What waits to be forgotten must not be so in the next life of its line.
        self.settle();
        let mut passed = 0;
        while let Some(&line) = self.lines.drained_lines().get(passed) {
            let entry = self.lines.get(line);
            let committed = entry.invalidated <= self.committed || mutated(Mutation::EraseInvalidated);
            let programmed = entry.moved <= self.streams[MOVED].programmed_total || mutated(Mutation::EraseMoved);
            if committed && programmed {
                self.release(line);
            }
            // One that was released is drained no longer, unless it could not be.
            passed += usize::from(self.lines.drained_lines().get(passed) == Some(&line));
        }
    }

    /// Erases lines of which nothing is left, so that a store may give their room back; a bounded number at a time.
    pub fn release_empty(&mut self) {
        if !std::mem::take(&mut self.trimmed) || self.nand.power.lost() {
            return;
        }
        let mut most = EMPTY_LINES;
        for line in 0..self.geometry.lines {
            let entry = self.lines.get(line);
            if entry.state != LineState::Closed || entry.valid != 0 {
                continue;
            }
            let committed = entry.last_sequence.max(entry.invalidated) <= self.committed;
            if most == 0 || !committed {
                self.trimmed = true;
                continue;
            }
            most -= 1;
            // Nothing was moved out of it, so it waits for nothing.
            self.lines.set_state(line, LineState::Drained);
            self.lines.get_mut(line).moved = 0;
        }
        self.release_drained();
    }

    /// Erases a line; retires a block that failed, or the line where no replacement is left.
    fn release(&mut self, line: u32) {
        if let Some(plane) = self.lines.get_mut(line).failed_plane.take()
            && !self.retire_block(line, plane)
        {
            return;
        }
        let erase_count = self.lines.get(line).erase_count + 1;
        let header = self.header(HeaderState::Erased, HOST, erase_count);
        let erased = self.nand.erase(line, header);
        if self.nand.power.lost() {
            self.freeze();
        }
        if let Err(failed) = erased {
            self.counters.erase_failures += 1;
            if self.retire_block(line, failed.plane) {
                self.release(line);
            }
            return;
        }
        self.counters.erases += 1;
        self.lines.wear(line);
        self.lines.set_state(line, LineState::Free);
        self.consider_wear();
    }

    /// Replaces a block; `false` where the line had to be retired instead.
    fn retire_block(&mut self, line: u32, plane: u32) -> bool {
        let replaced = self.nand.blocks.retire(line, plane);
        if !replaced {
            let erase_count = self.lines.get(line).erase_count;
            let header = self.header(HeaderState::Retired, HOST, erase_count);
            self.nand.write_header(line, header);
            self.lines.set_state(line, LineState::Retired);
        }
        self.write_root(false);
        self.reached(Step::BlockRetired);
        replaced
    }

    fn evenness(&self, counts: EraseCounts) -> Evenness {
        let mean = counts.sum / u64::from(counts.lines.max(1));
        let allowed = u64::from(self.tuning.wear_gap) + mean * u64::from(self.tuning.wear_gap_per_thousand) / 1000;
        let allowed = u32::try_from(allowed).unwrap_or(u32::MAX);
        Evenness { most: counts.most, allowed, strength: self.tuning.wear_strength }
    }

    /// Makes the coldest line the next victim where wear has become uneven.
    fn consider_wear(&mut self) {
        let counts = self.lines.erase_counts();
        if counts.most - counts.least <= self.evenness(counts).allowed || self.collector.next_wear.is_some() {
            return;
        }
        let coldest = self.lines.choose_coldest(self.committed);
        self.collector.next_wear = coldest.filter(|&line| self.lines.get(line).erase_count == counts.least);
    }

    /// Does what drained lines wait for; `false` where it is better to let them wait for another victim.
    fn force_release(&mut self) -> bool {
        let waiting = self.lines.drained();
        if self.lines.drained_lines().iter().any(|&line| self.lines.get(line).invalidated > self.committed) {
            self.commit();
        }
        self.release_drained();
        if self.lines.drained() < waiting {
            return true;
        }
        // Padding the page of moved units would take as much room as a victim of a small line gives: fill it with the next one's
        // units while there is a line for them.
        if self.lines.free() < FLOOR_LINES || self.lines.drained() > 1 {
            self.program_staged(MOVED);
            self.release_drained();
            return true;
        }
        false
    }

    /// Collects one line to its end, or releases what is drained; `false` where nothing can be gained.
    fn collect_line(&mut self) -> bool {
        if self.read_only {
            // Moved units may be left behind in a line where no page could be programmed: what they were moved from stays.
            return false;
        }
        if self.lines.drained() > 0 && self.force_release() {
            return true;
        }
        if self.collector.victim.is_none() && !self.choose_victim(false) {
            // What is closed may only wait for a commit to become collectable.
            if !self.has_uncommitted() {
                // What is drained may only wait for moved units that do not fill a page.
                let waiting = self.lines.drained();
                self.program_staged(MOVED);
                self.release_drained();
                return self.lines.drained() < waiting;
            }
            self.commit();
            return self.choose_victim(false);
        }
        self.finish_victim().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use crate::geometry::GeometryConfig;
    use crate::ssd::{CacheConfig, Ssd, SsdConfig, VolumeConfig};
    use crate::store::MemoryStore;
    use crate::volume::{Fault, Media, Request, Source, Submitted, Token, VolumeId};
    use crate::{Lba, LbaRange, Nanoseconds};

    struct Zeroes;

    impl Source for Zeroes {
        fn fill(&mut self, _offset: usize, into: &mut [u8]) -> Result<(), Fault> {
            into.fill(0);
            Ok(())
        }
    }

    fn config() -> SsdConfig {
        let user_bytes = 1024 * 4096;
        SsdConfig {
            geometry: GeometryConfig {
                channels: 2,
                dies_per_channel: 1,
                planes_per_die: 1,
                pages_per_block: 32,
                page_bytes: 4096,
                unit_bytes: 4096,
                user_bytes,
                spare_per_million_of_user: 250_000,
                replacement_blocks_per_plane: 2,
                factory_bad_blocks: 0,
                metadata_bytes_per_unit: 0,
                volumes_max: 0,
            },
            volumes: vec![VolumeConfig::new(4096, 0, user_bytes / 4096)],
            cache: CacheConfig { bytes: 16 * 4096, open_units: 0, ..CacheConfig::default() },
            power_atomic_bytes: 4096,
            ..SsdConfig::default()
        }
    }

    #[test]
    fn a_line_is_needed_just_when_the_open_one_has_too_few_slots() {
        let config = config();
        let geometry = config.checked().expect("a configuration");
        let mut ssd = Ssd::create(config, MemoryStore::new(&geometry).expect("memory")).expect("a drive");
        assert!(ssd.ftl().needs_line(1), "no line is open");
        let line = u64::from(geometry.units_per_line);
        for blocks in [1, line - 2] {
            let range = LbaRange::new(Lba(0), blocks);
            let request = Request::Write { range, from: &mut Zeroes, force: false };
            assert_eq!(ssd.submit(Nanoseconds(0), Token(1), VolumeId(0), request), Submitted::Done(Ok(())));
            let left = geometry.units_per_line - ssd.ftl().streams[super::HOST].next;
            assert!(!ssd.ftl().needs_line(left) && ssd.ftl().needs_line(left + 1), "{left} slots are left");
        }
    }
}
