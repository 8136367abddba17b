//! Owns the map from logical to physical units: four bytes each, zero meaning "nothing here", so that a map never written to costs
//! no memory. Also which map pages changed since they were last written, and how many entries of each page are in use. Knows
//! neither lines nor volumes.

use crate::journal::{ENTRIES_PER_PAGE, METADATA_PAGE};
use crate::unit::{LogicalUnit, PhysicalUnit, narrow};

/// log2 of the entries of a map page.
const PAGE_SHIFT: u32 = ENTRIES_PER_PAGE.trailing_zeros();

/// The map.
pub struct Map {
    /// Physical unit + 1, or 0.
    entries: Vec<u32>,
    changed: Vec<u64>,
    used: Vec<u16>,
}

impl Map {
    /// An empty map.
    #[must_use]
    pub fn new(units: u32) -> Self {
        let pages = (units as usize).div_ceil(ENTRIES_PER_PAGE);
        Self { entries: vec![0; units as usize], changed: vec![0; pages.div_ceil(64)], used: vec![0; pages] }
    }

    /// Where a unit lies.
    #[must_use]
    #[inline]
    pub fn get(&self, unit: LogicalUnit) -> Option<PhysicalUnit> {
        self.entries[unit.0 as usize].checked_sub(1).map(PhysicalUnit)
    }

    /// Puts a unit somewhere; returns where it was.
    #[inline]
    pub fn set(&mut self, unit: LogicalUnit, place: PhysicalUnit) -> Option<PhysicalUnit> {
        let page = self.mark(unit);
        let old = std::mem::replace(&mut self.entries[unit.0 as usize], place.0 + 1);
        self.used[page] += u16::from(old == 0);
        old.checked_sub(1).map(PhysicalUnit)
    }

    /// Forgets a unit; returns where it was.
    pub fn clear(&mut self, unit: LogicalUnit) -> Option<PhysicalUnit> {
        let old = std::mem::replace(&mut self.entries[unit.0 as usize], 0).checked_sub(1)?;
        let page = self.mark(unit);
        self.used[page] -= 1;
        Some(PhysicalUnit(old))
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

    /// Hands out a page's bytes and takes it for unchanged.
    pub fn write_page(&mut self, page: usize, into: &mut [u8; METADATA_PAGE]) {
        self.changed[page / 64] &= !(1 << (page % 64));
        into.fill(0);
        let start = page * ENTRIES_PER_PAGE;
        let end = (start + ENTRIES_PER_PAGE).min(self.entries.len());
        for (bytes, entry) in into.chunks_exact_mut(4).zip(&self.entries[start..end]) {
            bytes.copy_from_slice(&entry.to_le_bytes());
        }
    }

    /// Takes a page's entries from bytes.
    pub fn read_page(&mut self, page: usize, from: &[u8; METADATA_PAGE]) {
        let start = page * ENTRIES_PER_PAGE;
        let end = (start + ENTRIES_PER_PAGE).min(self.entries.len());
        let empty = from.as_chunks::<8>().0.iter().fold(0, |any, word| any | u64::from_ne_bytes(*word)) == 0;
        if empty && self.used[page] == 0 {
            // Memory that nobody writes to costs nothing: the map of a large and empty drive is mostly that.
            return;
        }
        let mut used = 0;
        for (bytes, entry) in from.chunks_exact(4).zip(&mut self.entries[start..end]) {
            *entry = u32::from_le_bytes(bytes.try_into().expect("chunks of four"));
            used += u16::from(*entry != 0);
        }
        self.used[page] = used;
    }

    /// All mapped units with their places.
    pub fn iter(&self) -> impl Iterator<Item = (LogicalUnit, PhysicalUnit)> + '_ {
        let pages = self.used.iter().enumerate().filter(|(_, used)| **used != 0);
        pages.flat_map(move |(page, _)| {
            let start = page * ENTRIES_PER_PAGE;
            let end = (start + ENTRIES_PER_PAGE).min(self.entries.len());
            (start..end).filter_map(move |unit| {
                let place = self.entries[unit].checked_sub(1)?;
                Some((LogicalUnit(narrow(unit)), PhysicalUnit(place)))
            })
        })
    }

    /// Counts the entries that lie in each line, whose slots are given. One pass over flat memory, because recovery counts everything.
    ///
    /// # Errors
    /// The unit that lies in no slot of any line.
    pub fn count_by_line(&self, slot_bits: u32, slots: &[u32], into: &mut [u32]) -> Result<u64, LogicalUnit> {
        let (mask, mut mapped) = ((1 << slot_bits) - 1, 0);
        for (page, entries) in self.entries.chunks(ENTRIES_PER_PAGE).enumerate() {
            if self.used[page] == 0 {
                continue;
            }
            for (n, &entry) in entries.iter().enumerate() {
                let Some(place) = entry.checked_sub(1) else {
                    continue;
                };
                let line = (place >> slot_bits) as usize;
                match (into.get_mut(line), slots.get(line)) {
                    (Some(count), Some(slots)) if place & mask < *slots => *count += 1,
                    _ => return Err(LogicalUnit(narrow(page * ENTRIES_PER_PAGE + n))),
                }
                mapped += 1;
            }
        }
        Ok(mapped)
    }

    /// Bytes of memory that the map takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.entries.len() * 4 + self.changed.len() * 8 + self.used.len() * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_and_go_and_pages_remember_it() {
        let mut map = Map::new(3000);
        let unit = LogicalUnit(2999);
        assert_eq!(map.set(unit, PhysicalUnit(0)), None);
        assert_eq!(map.set(unit, PhysicalUnit(7)), Some(PhysicalUnit(0)));
        assert_eq!(map.next_changed(0), Some(2));
        assert_eq!(map.next_used(0, 3000), Some(2048));
        let mut page = [0; METADATA_PAGE];
        map.write_page(2, &mut page);
        assert_eq!(map.next_changed(0), None);
        let mut other = Map::new(3000);
        other.read_page(2, &page);
        assert_eq!(other.iter().collect::<Vec<_>>(), [(unit, PhysicalUnit(7))]);
        assert_eq!(map.clear(unit), Some(PhysicalUnit(7)));
        assert_eq!(map.clear(unit), None);
        assert_eq!(map.next_used(0, 3000), None);
        assert_eq!(map.next_changed(3), None);
    }

    #[test]
    fn a_unit_costs_little_more_than_four_bytes() {
        let map = Map::new(1 << 20);
        assert!(map.memory_bytes() < (1 << 20) * 4 + (1 << 14));
    }
}
