//! Owns the map from logical to physical units: four bytes each, zero meaning "nothing here", so that a map never written to costs
//! no memory. Also which map pages changed since they were last written, and how many entries of each page are in use. Knows
//! neither lines nor volumes.

use crate::journal::{ENTRIES_PER_PAGE, METADATA_PAGE};
use crate::large_memory::{LargeMemory, OutOfMemory, filled};
use crate::unit::{LogicalUnit, PhysicalUnit, narrow};

/// Bytes of an entry.
const ENTRY: usize = 4;

/// Set in the entry of a unit that holds uncorrectable blocks. [`Geometry`](crate::geometry::Geometry) leaves it free.
const UNCORRECTABLE: u32 = 1 << 31;

/// log2 of the entries of a map page.
const PAGE_SHIFT: u32 = ENTRIES_PER_PAGE.trailing_zeros();

/// The map.
pub struct Map {
    /// For each unit its place + 1 (and whether it holds uncorrectable blocks), or 0; whole pages, as they are on the media.
    bytes: LargeMemory,
    units: usize,
    changed: Vec<u64>,
    used: Vec<u16>,
}

impl Map {
    /// An empty map.
    ///
    /// # Errors
    /// Where the system has no memory for it.
    pub fn new(units: u32) -> Result<Self, OutOfMemory> {
        let pages = (units as usize).div_ceil(ENTRIES_PER_PAGE);
        Ok(Self {
            bytes: LargeMemory::zeroed(pages * METADATA_PAGE)?,
            units: units as usize,
            changed: filled(0, pages.div_ceil(64))?,
            used: filled(0, pages)?,
        })
    }

    #[inline]
    fn entry(&self, unit: LogicalUnit) -> u32 {
        u32::from_le_bytes(self.bytes.as_chunks::<ENTRY>().0[unit.0 as usize])
    }

    #[inline]
    fn change(&mut self, unit: LogicalUnit, change: impl FnOnce(u32) -> u32) -> u32 {
        let entry = &mut self.bytes.as_chunks_mut::<ENTRY>().0[unit.0 as usize];
        let old = u32::from_le_bytes(*entry);
        *entry = change(old).to_le_bytes();
        old
    }

    /// The entries of a page.
    fn entries(&self, page: usize) -> impl Iterator<Item = u32> + '_ {
        self.page(page).as_chunks::<ENTRY>().0.iter().map(|entry| u32::from_le_bytes(*entry))
    }

    /// Where a unit lies.
    #[must_use]
    #[inline]
    pub fn get(&self, unit: LogicalUnit) -> Option<PhysicalUnit> {
        place(self.entry(unit))
    }

    /// Where a unit lies whose blocks can all be read.
    #[must_use]
    #[inline]
    pub fn correctable(&self, unit: LogicalUnit) -> Option<PhysicalUnit> {
        // Below it there is nothing, and above it what is uncorrectable: one comparison tells both.
        let place = self.entry(unit).wrapping_sub(1);
        (place < UNCORRECTABLE).then_some(PhysicalUnit(place))
    }

    /// Where a unit lies, and whether it holds uncorrectable blocks.
    #[must_use]
    #[inline]
    pub fn look(&self, unit: LogicalUnit) -> (Option<PhysicalUnit>, bool) {
        let entry = self.entry(unit);
        (place(entry), entry & UNCORRECTABLE != 0)
    }

    /// Whether a unit holds uncorrectable blocks.
    #[must_use]
    #[inline]
    pub fn is_uncorrectable(&self, unit: LogicalUnit) -> bool {
        self.entry(unit) & UNCORRECTABLE != 0
    }

    /// A unit that lies somewhere holds uncorrectable blocks, until it is put somewhere else.
    pub fn set_uncorrectable(&mut self, unit: LogicalUnit) {
        self.mark(unit);
        self.change(unit, |entry| entry | UNCORRECTABLE);
    }

    /// Puts a unit that lies somewhere elsewhere as it is; returns where it was.
    #[inline]
    pub fn repoint(&mut self, unit: LogicalUnit, to: PhysicalUnit) -> Option<PhysicalUnit> {
        self.mark(unit);
        place(self.change(unit, |entry| (to.0 + 1) | (entry & UNCORRECTABLE)))
    }

    /// Puts a unit somewhere; returns where it was.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a quarter of it would be the call, for each write")]
    pub fn set(&mut self, unit: LogicalUnit, place: PhysicalUnit) -> Option<PhysicalUnit> {
        let page = self.mark(unit);
        let old = self.change(unit, |_| place.0 + 1);
        if old == 0 {
            self.used[page] += 1;
        }
        self::place(old)
    }

    /// Forgets a unit; returns where it was.
    pub fn clear(&mut self, unit: LogicalUnit) -> Option<PhysicalUnit> {
        let old = place(self.change(unit, |_| 0))?;
        let page = self.mark(unit);
        self.used[page] -= 1;
        Some(old)
    }

    #[inline]
    fn mark(&mut self, unit: LogicalUnit) -> usize {
        let page = (unit.0 >> PAGE_SHIFT) as usize;
        self.changed[page / 64] |= 1 << (page % 64);
        page
    }

    /// The first unit at or after `from`, below `end`, that may be mapped: pages without entries are passed over.
    #[must_use]
    pub fn next_used(&self, from: u32, end: u32) -> Option<u32> {
        let mut unit = from;
        while unit < end {
            let page = (unit >> PAGE_SHIFT) as usize;
            if self.used[page] != 0 {
                return Some(unit);
            }
            unit = (narrow(page) + 1) << PAGE_SHIFT;
        }
        None
    }

    /// The first unit at or after `from`, below `end`, that is mapped.
    #[must_use]
    pub fn next_mapped(&self, from: u32, end: u32) -> Option<u32> {
        /// Entries that are looked at together.
        const RUN: u32 = 16;
        let mut unit = self.next_used(from, end)?;
        while unit < end {
            let behind = (unit / RUN + 1) * RUN;
            let run = &self.bytes.as_chunks::<ENTRY>().0[unit as usize..behind.min(end) as usize];
            if let Some(n) = run.iter().position(|entry| *entry != [0; ENTRY]) {
                return Some(unit + narrow(n));
            }
            unit = behind;
            // A page in which nothing is left is passed over.
            if unit.is_multiple_of(narrow(ENTRIES_PER_PAGE)) {
                unit = self.next_used(unit, end)?;
            }
        }
        None
    }

    /// How many pages the map has.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.used.len()
    }

    /// The first changed page at or after `from`.
    #[must_use]
    pub fn next_changed(&self, from: usize) -> Option<usize> {
        let mut word = from / 64;
        let mut bits = self.changed.get(word)? & (u64::MAX << (from % 64));
        while bits == 0 {
            word += 1;
            bits = *self.changed.get(word)?;
        }
        Some(word * 64 + bits.trailing_zeros() as usize)
    }

    /// A page's bytes.
    ///
    /// # Panics
    /// Where the map has no such page.
    #[must_use]
    pub fn page(&self, page: usize) -> &[u8; METADATA_PAGE] {
        &self.bytes.as_chunks().0[page]
    }

    /// Lets a page be written with the next checkpoint.
    pub fn change_page(&mut self, page: usize) {
        self.changed[page / 64] |= 1 << (page % 64);
    }

    /// Hands out a page's bytes and takes it for unchanged; [`None`] where nothing is mapped in it.
    pub fn write_page(&mut self, page: usize) -> Option<&[u8; METADATA_PAGE]> {
        self.changed[page / 64] &= !(1 << (page % 64));
        (self.used[page] != 0).then(|| self.page(page))
    }

    /// The memory of neighbouring pages, to read them into. Each must be counted afterwards.
    pub fn pages_mut(&mut self, first: usize, pages: usize) -> &mut [u8] {
        &mut self.bytes[first * METADATA_PAGE..(first + pages) * METADATA_PAGE]
    }

    /// Counts the entries of a page that was read.
    pub fn count_page(&mut self, page: usize) {
        // What lies behind the last unit is nothing, whatever the media says.
        let end = self.units * ENTRY;
        if (page + 1) * METADATA_PAGE > end {
            self.bytes[end..].fill(0);
        }
        // Not by an iterator's count, whose numbers are wider than the entries.
        self.used[page] = self.entries(page).fold(0, |used, entry| used + u16::from(entry != 0));
    }

    /// All mapped units with their places.
    pub fn iter(&self) -> impl Iterator<Item = (LogicalUnit, PhysicalUnit)> + '_ {
        let pages = self.used.iter().enumerate().filter(|(_, used)| **used != 0);
        pages.flat_map(move |(page, _)| {
            let units = narrow(page * ENTRIES_PER_PAGE)..;
            units.zip(self.entries(page)).filter_map(|(unit, entry)| Some((LogicalUnit(unit), place(entry)?)))
        })
    }

    /// Counts the entries that lie in each line. One pass over flat memory, because recovery counts everything.
    ///
    /// # Errors
    /// The unit that lies in no slot of any line.
    pub fn count_by_line(&self, slot_bits: u32, lines: &mut [LineCount]) -> Result<u64, LogicalUnit> {
        let (mask, mut mapped) = ((1 << slot_bits) - 1, 0);
        // Neighbours mostly lie in one line: they are counted together. At first there is no line.
        let (mut last, mut run) = (usize::MAX, LineCount::default());
        for (page, used) in self.used.iter().enumerate() {
            if *used == 0 {
                continue;
            }
            mapped += u64::from(*used);
            for (n, entry) in self.entries(page).enumerate() {
                let Some(PhysicalUnit(place)) = place(entry) else {
                    continue;
                };
                let line = (place >> slot_bits) as usize;
                if line != last {
                    add(lines, last, run.valid);
                    (last, run.valid) = (line, 0);
                    run.slots = lines.get(line).map_or(0, |count| count.slots);
                }
                if place & mask >= run.slots {
                    return Err(LogicalUnit(narrow(page * ENTRIES_PER_PAGE + n)));
                }
                run.valid += 1;
            }
        }
        add(lines, last, run.valid);
        Ok(mapped)
    }

    /// Bytes of memory that the map takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.bytes.len() + self.changed.len() * 8 + self.used.len() * 2
    }
}

/// The place in an entry.
#[inline]
fn place(entry: u32) -> Option<PhysicalUnit> {
    Some(PhysicalUnit(entry.checked_sub(1)? & !UNCORRECTABLE))
}

/// What is counted of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCount {
    /// Slots in which a unit may lie.
    pub slots: u32,
    /// Units that lie in it.
    pub valid: u32,
}

fn add(lines: &mut [LineCount], line: usize, units: u32) {
    if let Some(count) = lines.get_mut(line) {
        count.valid += units;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_and_go_and_pages_remember_it() {
        let mut map = Map::new(3000).expect("memory");
        let unit = LogicalUnit(2999);
        assert_eq!(map.set(unit, PhysicalUnit(0)), None);
        assert_eq!(map.set(unit, PhysicalUnit(7)), Some(PhysicalUnit(0)));
        assert_eq!(map.next_changed(0), Some(2));
        assert_eq!(map.next_used(0, 3000), Some(2048));
        let mut page = *map.write_page(2).unwrap();
        assert_eq!(map.next_changed(0), None);
        page[METADATA_PAGE - 1] = 1;
        let mut other = Map::new(3000).expect("memory");
        other.pages_mut(2, 1).copy_from_slice(&page);
        other.count_page(2);
        assert_eq!(other.iter().collect::<Vec<_>>(), [(unit, PhysicalUnit(7))], "and nothing behind the last unit");
        assert_eq!(other.write_page(1), None);
        assert_eq!(map.clear(unit), Some(PhysicalUnit(7)));
        assert_eq!(map.clear(unit), None);
        assert_eq!(map.next_used(0, 3000), None);
        assert_eq!(map.next_changed(3), None);
    }

    #[test]
    fn pages_change_and_are_found_in_order_wherever_in_a_word_they_are() {
        let pages = 130;
        let mut map = Map::new(narrow(pages * ENTRIES_PER_PAGE)).expect("memory");
        let changed = |map: &Map| {
            let next = |from: &usize| map.next_changed(*from).map(|page| page + 1);
            std::iter::successors(next(&0), next).map(|behind| behind - 1).collect::<Vec<_>>()
        };
        for page in [129, 64, 0, 63, 65] {
            map.change_page(page);
        }
        assert_eq!(changed(&map), [0, 63, 64, 65, 129]);
        assert_eq!((map.next_changed(66), map.next_changed(130), map.next_changed(1000)), (Some(129), None, None));
        assert_eq!(map.write_page(64), None, "nothing is mapped in it");
        assert_eq!(changed(&map), [0, 63, 65, 129]);
        map.change_page(63);
        map.write_page(63);
        map.write_page(63);
        assert_eq!(changed(&map), [0, 65, 129]);
    }

    /// Against a list, from and to any unit.
    #[test]
    fn the_next_mapped_unit_is_found_from_anywhere() {
        let units = narrow(3 * ENTRIES_PER_PAGE + 5);
        let mut map = Map::new(units).expect("memory");
        let mapped = [3, 15, 16, 17, 1023, 2048, 2050, units - 1];
        mapped.iter().for_each(|unit| _ = map.set(LogicalUnit(*unit), PhysicalUnit(unit * 3)));
        let edges = [
            0,
            1,
            3,
            4,
            15,
            16,
            17,
            18,
            31,
            32,
            1022,
            1023,
            1024,
            1500,
            2047,
            2048,
            2049,
            2051,
            3000,
            units - 1,
            units,
        ];
        for from in edges {
            for end in edges {
                let expected = mapped.iter().copied().find(|unit| (from..end).contains(unit));
                assert_eq!(map.next_mapped(from, end), expected, "{from} to {end}");
                let page = |unit: u32| unit as usize / ENTRIES_PER_PAGE;
                let used = (from..end).find(|unit| mapped.iter().any(|one| page(*one) == page(*unit)));
                assert_eq!(map.next_used(from, end), used, "{from} to {end}");
            }
        }
        assert_eq!(
            map.iter().map(|(unit, place)| (unit.0, place.0)).collect::<Vec<_>>(),
            mapped.map(|unit| (unit, unit * 3))
        );
        assert_eq!((map.pages(), map.memory_bytes()), (4, 4 * METADATA_PAGE + 8 + 4 * 2));
    }

    #[test]
    fn units_are_counted_by_line_and_one_that_lies_nowhere_is_found() {
        let mut map = Map::new(3000).expect("memory");
        for (unit, place) in [(0, 5), (1, 6), (2, 17), (1500, 7), (2999, 18)] {
            map.set(LogicalUnit(unit), PhysicalUnit(place));
        }
        let count = |slots: [u32; 2]| {
            let mut lines = slots.map(|slots| LineCount { slots, valid: 0 });
            map.count_by_line(4, &mut lines).map(|mapped| (mapped, lines.map(|line| line.valid)))
        };
        assert_eq!(count([16, 16]), Ok((5, [3, 2])));
        assert_eq!(count([8, 3]), Ok((5, [3, 2])));
        assert_eq!(count([7, 3]), Err(LogicalUnit(1500)), "slot 7 of 7");
        assert_eq!(count([8, 2]), Err(LogicalUnit(2999)));
        let mut lines = [LineCount { slots: 16, valid: 0 }];
        assert_eq!(map.count_by_line(4, &mut lines), Err(LogicalUnit(2)), "there is no second line");
    }

    #[test]
    fn a_unit_is_uncorrectable_until_it_is_put_elsewhere_and_where_it_lies_is_told_all_the_same() {
        let mut map = Map::new(10).expect("memory");
        let (unit, place) = (LogicalUnit(3), PhysicalUnit(5));
        assert_eq!((map.correctable(unit), map.is_uncorrectable(unit)), (None, false));
        map.set(unit, place);
        assert_eq!((map.correctable(unit), map.get(unit)), (Some(place), Some(place)));
        map.set_uncorrectable(unit);
        assert_eq!((map.correctable(unit), map.get(unit)), (None, Some(place)));
        assert_eq!(map.repoint(unit, PhysicalUnit(7)), Some(place));
        assert!(map.is_uncorrectable(unit));
        let mut lines = [LineCount { slots: 16, valid: 0 }];
        assert_eq!((map.count_by_line(4, &mut lines), lines[0].valid), (Ok(1), 1));
        assert_eq!(map.iter().collect::<Vec<_>>(), [(unit, PhysicalUnit(7))]);
        assert_eq!(map.set(unit, place), Some(PhysicalUnit(7)));
        assert_eq!(map.correctable(unit), Some(place));
        map.set_uncorrectable(unit);
        assert_eq!((map.clear(unit), map.get(unit)), (Some(place), None));
    }

    #[test]
    fn a_unit_costs_little_more_than_four_bytes() {
        let map = Map::new(1 << 20).expect("memory");
        assert!(map.memory_bytes() < (1 << 20) * 4 + (1 << 14));
    }
}
