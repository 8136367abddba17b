//! Owns the rules of the NAND: a slot is programmed once, in order, and only after its line was erased. Counts every byte
//! programmed, says when each operation ends, and is the place where a power loss takes effect. Knows no logical unit.

use std::collections::VecDeque;

use super::timing::Timing;
use super::wear::Blocks;
use crate::fault::NandFaults;
use crate::geometry::Geometry;
use crate::journal::{HeaderState, Kind, LineHeader, METADATA_PAGE, Record};
use crate::large_memory::{OutOfMemory, filled};
use crate::ledger::Ledger;
use crate::ordering::Order;
use crate::power::{Breaker, Step};
use crate::store::{Store, StoreError, Wanted};
use crate::unit::{Nanoseconds, narrow};

/// A page could not be programmed: the block in this plane has failed, and nothing more can be programmed in its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramFailed {
    /// The plane of the failed block.
    pub plane: u32,
}

/// An erase failed in this plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EraseFailed {
    /// The plane of the failed block.
    pub plane: u32,
}

/// The NAND array over a store.
pub struct Nand<S: Store> {
    /// Where the bytes lie.
    pub store: S,
    /// The switch between the array and its supply.
    pub power: Breaker,
    /// Everything programmed so far.
    pub ledger: Ledger,
    /// Faults to come.
    pub faults: NandFaults,
    /// Which blocks stand behind the lines.
    pub blocks: Blocks,
    /// The busy times, where there is a timing profile.
    pub timing: Option<Timing>,
    /// The time of the request being worked on.
    pub now: Nanoseconds,
    /// The finish of the last program so far.
    pub programs_finish: Nanoseconds,
    /// The finish of the last read on behalf of the request being worked on.
    pub reads_finish: Nanoseconds,
    /// The next event's number; see [`LineHeader::event`].
    pub next_event: u64,
    in_flight: VecDeque<Nanoseconds>,
    next_slot: Vec<u32>,
    page_programs: u64,
    line_erases: u64,
    unit_shift: u32,
    units_per_program: u32,
    units_per_line: u32,
    page_bytes: usize,
    planes: u32,
    blackout: Vec<u8>,
}

impl<S: Store> Nand<S> {
    /// An array whose lines are all erased.
    ///
    /// # Errors
    /// Where the system has no memory for what is kept of each line.
    pub fn new(geometry: &Geometry, store: S, timing: Option<Timing>) -> Result<Self, OutOfMemory> {
        Ok(Self {
            store,
            power: Breaker::default(),
            ledger: Ledger::default(),
            faults: NandFaults::default(),
            blocks: Blocks::new(geometry),
            timing,
            now: Nanoseconds(0),
            programs_finish: Nanoseconds(0),
            reads_finish: Nanoseconds(0),
            next_event: 1,
            in_flight: VecDeque::new(),
            next_slot: filled(0, geometry.lines as usize)?,
            page_programs: 0,
            line_erases: 0,
            unit_shift: geometry.unit_shift,
            units_per_program: geometry.units_per_program,
            units_per_line: geometry.units_per_line,
            page_bytes: geometry.config.page_bytes as usize,
            planes: geometry.planes,
            blackout: Vec::new(),
        })
    }

    /// Bytes of memory that are kept for its lines.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn memory_bytes(&self) -> usize {
        self.next_slot.capacity() * size_of::<u32>()
    }

    /// Page programs since the media was opened.
    #[must_use]
    pub const fn page_programs(&self) -> u64 {
        self.page_programs
    }

    /// Line erases since the media was opened.
    #[must_use]
    pub const fn line_erases(&self) -> u64 {
        self.line_erases
    }

    /// Says how far a line was found programmed.
    pub fn found_programmed(&mut self, line: u32, slots: u32) {
        self.next_slot[line as usize] = slots;
    }

    /// The memory of slots that are not programmed yet, from `offset` (in the line) on: see [`Store::stage`].
    #[inline]
    pub fn stage(&mut self, line: u32, offset: usize, bytes: usize) -> &mut [u8] {
        if self.power.lost() {
            return self.blackout(bytes);
        }
        self.store.stage(line, offset, bytes)
    }

    /// The line may still hold what the host was promised: nothing may touch it any more.
    #[cold]
    fn blackout(&mut self, bytes: usize) -> &mut [u8] {
        self.blackout.resize(bytes.max(self.blackout.len()), 0);
        &mut self.blackout[..bytes]
    }

    /// Copies bytes of a line to the staging memory of another, and counts the read's time.
    ///
    /// # Errors
    /// Where the store fails.
    pub fn copy(&mut self, from: (u32, usize), to: (u32, usize), bytes: usize) -> Result<(), StoreError> {
        if self.power.lost() {
            return Ok(());
        }
        self.store.copy(from, to, bytes)
    }

    /// Copies a unit from a slot of a line to one of another: see [`Store::copy_unit`].
    ///
    /// # Errors
    /// Where the store fails, or the unit is not what was written.
    pub fn copy_unit(&mut self, unit: &Wanted<'_>, to: (u32, u32)) -> Result<(), StoreError> {
        if self.power.lost() {
            return Ok(());
        }
        self.store.copy_unit(unit, to)
    }

    /// Copies whole units of a line out of which they are moved: see [`Store::relocate`].
    ///
    /// # Errors
    /// Where the store fails.
    pub fn relocate(&mut self, from: (u32, usize), to: (u32, usize), bytes: usize) -> Result<(), StoreError> {
        if self.power.lost() {
            return Ok(());
        }
        self.store.relocate(from, to, bytes)
    }

    /// Lets slots of an open line have the memory of units that are moved: see [`Store::share`]. After a power loss nothing happens any more.
    #[inline]
    pub fn share(&mut self, line: u32, slots: &[u32], to: (u32, u32)) -> usize {
        if self.power.lost() { slots.len() } else { self.store.share(line, slots, to) }
    }

    /// Counts the time of reading bytes of a line.
    #[inline]
    pub fn time_read(&mut self, offset: usize, bytes: usize) {
        if let Some(timing) = &mut self.timing {
            self.reads_finish = self.reads_finish.max(timing.read(self.now, offset as u64, bytes as u64));
        }
    }

    /// Counts the time of reading bytes of a line on nobody's behalf: dies and channels are busy, no request waits for it.
    #[inline]
    pub fn time_moved_reads(&mut self, geometry: &Geometry, slots: &[u32]) {
        if let Some(timing) = &mut self.timing {
            for slot in slots {
                timing.read(self.now, geometry.data_offset(*slot) as u64, geometry.unit_bytes() as u64);
            }
        }
    }

    /// When the request at hand may be told that its data is in the buffer: when all programs but the last `buffer` are finished.
    pub fn buffer_free(&mut self, buffer: usize) -> Nanoseconds {
        while self.in_flight.front().is_some_and(|finish| *finish <= self.now) {
            self.in_flight.pop_front();
        }
        let excess = self.in_flight.len().checked_sub(buffer + 1);
        excess.map_or(self.now, |last| self.in_flight[last])
    }

    /// Programs one page: slots from `first_slot` on.
    ///
    /// # Errors
    /// [`ProgramFailed`], after which the rest of the line cannot be programmed.
    #[inline]
    pub fn program(&mut self, line: u32, first_slot: u32, records: &[Record]) -> Result<(), ProgramFailed> {
        let attentive = self.power.attentive();
        if attentive && self.power.reached(Step::PageProgram) {
            return Ok(());
        }
        assert_eq!(self.next_slot[line as usize], first_slot, "pages are programmed in order, once, after an erase");
        assert_eq!(records.len(), self.units_per_program as usize, "a program writes a whole page");
        self.page_programs += 1;
        if !self.faults.programs.is_empty() && self.faults.programs.remove(&self.page_programs) {
            self.next_slot[line as usize] = u32::MAX;
            return Err(ProgramFailed { plane: self.plane_of(first_slot) });
        }
        if attentive && self.power.reached(Step::PageHalfProgrammed) {
            self.store.program(line, first_slot, &records[..records.len() / 2]);
            return Ok(());
        }
        self.store.program(line, first_slot, records);
        self.next_slot[line as usize] = first_slot + self.units_per_program;
        count_page(&mut self.ledger, records, 1 << self.unit_shift);
        self.time_program(first_slot);
        if attentive {
            self.power.reached(Step::PageProgrammed);
        }
        Ok(())
    }

    /// Programs several pages at once, where nothing is met on the way: no crash point, no failure, no time, and no store that knows its
    /// pages. `false` where something may be, and nothing was programmed.
    pub fn program_run(&mut self, line: u32, first_slot: u32, records: &[Record]) -> bool {
        if !S::STAYS || self.power.attentive() || !self.faults.programs.is_empty() || self.timing.is_some() {
            return false;
        }
        assert_eq!(self.next_slot[line as usize], first_slot, "pages are programmed in order, once, after an erase");
        let slots = narrow(records.len());
        assert!(slots.is_multiple_of(self.units_per_program), "whole pages are programmed");
        self.page_programs += u64::from(slots / self.units_per_program);
        self.store.program(line, first_slot, records);
        self.next_slot[line as usize] = first_slot + slots;
        count_page(&mut self.ledger, records, 1 << self.unit_shift);
        true
    }

    fn time_program(&mut self, first_slot: u32) {
        if let Some(timing) = &mut self.timing {
            let offset = u64::from(first_slot) << self.unit_shift;
            let bytes = u64::from(self.units_per_program) << self.unit_shift;
            self.programs_finish = self.programs_finish.max(timing.program(self.now, offset, bytes));
            // The largest finish so far: those behind it are not waited for any longer than it.
            self.in_flight.push_back(self.programs_finish);
        }
    }

    /// The plane of a slot's first page.
    #[must_use]
    pub fn plane_of(&self, slot: u32) -> u32 {
        let page = ((slot as usize) << self.unit_shift) / self.page_bytes;
        narrow(page % self.planes as usize)
    }

    /// Writes a line's header: event number and ledger are filled in here. Returns the event's number.
    pub fn write_header(&mut self, line: u32, header: LineHeader) -> u64 {
        let header = self.stamped(header);
        if !self.power.lost() {
            self.store.write_header(line, &header);
        }
        header.event
    }

    fn stamped(&mut self, header: LineHeader) -> LineHeader {
        let event = self.next_event;
        self.next_event += 1;
        if !self.power.lost() {
            self.ledger.count_metadata(METADATA_PAGE as u64);
        }
        let opened = if header.state == HeaderState::Open { event } else { header.opened };
        LineHeader { event, opened, ledger: self.ledger, ..header }
    }

    /// Erases a line.
    ///
    /// # Errors
    /// [`EraseFailed`]; the line is then as it was.
    pub fn erase(&mut self, line: u32, header: LineHeader) -> Result<(), EraseFailed> {
        if self.power.reached(Step::LineErase) {
            return Ok(());
        }
        self.line_erases += 1;
        if let Some(plane) = self.faults.erases.remove(&self.line_erases) {
            return Err(EraseFailed { plane: plane % self.planes });
        }
        assert_ne!(self.next_slot[line as usize], 0, "an erased line is not erased again");
        let header = self.stamped(header);
        self.store.erase(line, &header);
        self.next_slot[line as usize] = 0;
        if let Some(timing) = &mut self.timing {
            timing.erase(self.now);
        }
        self.power.reached(Step::LineErased);
        Ok(())
    }

    /// A program failure closed the line for programming; from now on it counts as programmed to its end.
    pub fn seal(&mut self, line: u32) {
        self.next_slot[line as usize] = self.units_per_line;
    }

    /// Writes bytes of the metadata region, counting the pages touched.
    pub fn write_metadata(&mut self, offset: u64, bytes: &[u8]) {
        if self.power.lost() {
            return;
        }
        let page = METADATA_PAGE as u64;
        let pages = (offset + bytes.len() as u64).div_ceil(page) - offset / page;
        self.ledger.count_metadata(pages * page);
        self.store.write_metadata(offset, bytes);
    }

    /// Orders the store's disk: see [`Store::barrier`].
    pub fn barrier(&mut self, order: Order) {
        if !self.power.lost() {
            self.store.barrier(order);
        }
    }

    /// Lets no program pass what came before: see [`Store::hold_programs`].
    pub fn hold_programs(&mut self, order: Order) {
        if !self.power.lost() {
            self.store.hold_programs(order);
        }
    }

    /// Asks for a sync, before something: see [`Store::sync`].
    pub fn sync(&mut self, order: Order) -> u64 {
        match self.power.lost() {
            true => u64::MAX,
            // Of what was asked before, and is done.
            false if !order.kept() => 0,
            false => self.store.sync(),
        }
    }

    /// Asks for a notice: see [`Store::notice`].
    pub fn notice(&mut self) -> u64 {
        if self.power.lost() { u64::MAX } else { self.store.notice() }
    }
}

/// Counts programmed slots, those of pages of the host's, or of collected units, all at once.
fn count_page(ledger: &mut Ledger, records: &[Record], unit_bytes: u64) {
    let first = records.first().map_or(Kind::Hole, |record| record.kind);
    let (mut sectors, mut same) = (0, true);
    for record in records {
        sectors += u64::from(record.host_sectors);
        same &= record.kind == first;
    }
    let bytes = records.len() as u64 * unit_bytes;
    match first {
        Kind::Host if same => ledger.count_host(sectors * 512, bytes),
        Kind::Collected if same => ledger.count_collected(bytes),
        _ => records.iter().for_each(|record| count(ledger, record, unit_bytes)),
    }
}

/// Counts a programmed slot.
pub fn count(ledger: &mut Ledger, record: &Record, unit_bytes: u64) {
    match record.kind {
        Kind::Hole => {}
        Kind::Padding | Kind::Abandoned => ledger.count_padding(unit_bytes),
        Kind::Host => ledger.count_host(u64::from(record.host_sectors) * 512, unit_bytes),
        Kind::Collected => ledger.count_collected(unit_bytes),
        Kind::Wear => ledger.count_wear(unit_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::GeometryConfig;
    use crate::power::Arming;
    use crate::store::MemoryStore;

    fn nand() -> Nand<MemoryStore> {
        let geometry = Geometry::new(GeometryConfig::default()).unwrap();
        Nand::new(&geometry, MemoryStore::new(&geometry).expect("memory"), None).expect("memory")
    }

    #[test]
    fn nothing_is_moved_after_a_power_loss() {
        let (mut nand, geometry) = (nand(), Geometry::new(GeometryConfig::default()).unwrap());
        nand.stage(0, 0, geometry.unit_bytes()).fill(7);
        assert_eq!(nand.share(0, &[0], (1, 0)), 1);
        nand.power.arm(Arming::AnyStep(1));
        assert!(nand.power.reached(Step::UnitCopied));
        assert_eq!(nand.share(0, &[0], (1, 1)), 1, "nobody is told of a failure");
        let holds = |slot| nand.store.holds(geometry.physical(1, slot));
        assert_eq!((holds(0), holds(1)), (true, false));
    }

    #[test]
    #[should_panic(expected = "in order")]
    fn a_page_is_not_programmed_out_of_order() {
        let _ = nand().program(0, 4, &[Record::PADDING; 4]);
    }

    #[test]
    #[should_panic(expected = "in order")]
    fn a_page_is_not_programmed_twice() {
        let mut nand = nand();
        nand.program(0, 0, &[Record::PADDING; 4]).unwrap();
        let _ = nand.program(0, 0, &[Record::PADDING; 4]);
    }

    #[test]
    #[should_panic(expected = "not erased again")]
    fn an_erased_line_is_not_erased() {
        let _ = nand().erase(0, LineHeader::default());
    }

    #[test]
    fn the_power_that_goes_in_the_middle_of_a_page_leaves_half_of_it() {
        let mut nand = nand();
        nand.power.arm(Arming::Hit(Step::PageHalfProgrammed, 2));
        nand.program(0, 0, &[Record::PADDING; 4]).unwrap();
        nand.program(0, 4, &[Record::PADDING; 4]).unwrap();
        nand.program(0, 8, &[Record::PADDING; 4]).unwrap();
        let mut records = Vec::new();
        nand.store.records(0, &mut records).unwrap();
        assert_eq!(records.len(), 6);
    }

    #[test]
    fn a_program_that_fails_is_not_counted_and_ends_its_line() {
        let mut nand = nand();
        nand.faults.programs.insert(2);
        nand.program(3, 0, &[Record::PADDING; 4]).unwrap();
        assert_eq!(nand.program(3, 4, &[Record::PADDING; 4]), Err(ProgramFailed { plane: 1 }));
        assert_eq!(nand.ledger.padding, 4 * 4096);
        assert!(nand.ledger.balances());
    }
}
