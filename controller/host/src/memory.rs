//! Which guest addresses are in use: a first-fit allocator of whole pages over one range. It holds addresses only, never bytes, and
//! gives out the same addresses for the same calls.

use std::collections::BTreeMap;
use std::ops::Range;

/// Gives out page-aligned pieces of a range of guest addresses.
#[derive(Clone, Debug)]
pub struct Memory {
    page_bytes: u64,
    /// Free pieces: start to length in bytes, neither empty nor touching each other.
    free: BTreeMap<u64, u64>,
    /// Pieces in use: start to length in bytes.
    used: BTreeMap<u64, u64>,
}

impl Memory {
    /// An allocator over the whole pages within `range`.
    ///
    /// # Panics
    /// If `page_bytes` is not a power of two.
    #[must_use]
    pub fn new(range: Range<u64>, page_bytes: u64) -> Self {
        assert!(page_bytes.is_power_of_two(), "a page of {page_bytes} bytes");
        let start = range.start.next_multiple_of(page_bytes);
        let end = range.end & !(page_bytes - 1);
        let mut free = BTreeMap::new();
        if start < end {
            free.insert(start, end - start);
        }
        Self { page_bytes, free, used: BTreeMap::new() }
    }

    /// Size of a page in bytes.
    #[must_use]
    pub const fn page_bytes(&self) -> u64 {
        self.page_bytes
    }

    /// How many bytes are not in use.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.free.values().sum()
    }

    /// The address of `bytes` contiguous bytes, page-aligned and rounded up to whole pages (at least one), from the lowest place
    /// where they fit. The bytes themselves are whatever they were.
    pub fn allocate(&mut self, bytes: u64) -> Option<u64> {
        let bytes = bytes.max(1).checked_next_multiple_of(self.page_bytes)?;
        let (&start, &length) = self.free.iter().find(|&(_, &length)| length >= bytes)?;
        self.free.remove(&start);
        if length > bytes {
            self.free.insert(start + bytes, length - bytes);
        }
        self.used.insert(start, bytes);
        Some(start)
    }

    /// Takes back what [`Memory::allocate`] gave.
    ///
    /// # Panics
    /// If `address` is not the start of a piece in use.
    pub fn release(&mut self, address: u64) {
        let bytes = self.used.remove(&address).unwrap_or_else(|| panic!("{address:#x} is not in use"));
        let mut piece = address..address + bytes;
        if let Some((&start, &length)) = self.free.range(..address).next_back()
            && start + length == piece.start
        {
            self.free.remove(&start);
            piece.start = start;
        }
        if let Some(length) = self.free.remove(&piece.end) {
            piece.end += length;
        }
        self.free.insert(piece.start, piece.end - piece.start);
    }
}

#[cfg(test)]
mod tests {
    use super::Memory;

    #[test]
    fn pieces_are_whole_pages_from_the_lowest_address() {
        let mut memory = Memory::new(0x1800..0x6000, 0x1000);
        assert_eq!(memory.allocate(1), Some(0x2000));
        assert_eq!(memory.allocate(0x1001), Some(0x3000));
        assert_eq!(memory.allocate(0x1001), None);
        assert_eq!(memory.allocate(0), Some(0x5000));
        assert_eq!(memory.free_bytes(), 0);
    }

    #[test]
    fn neighbours_grow_together_when_released() {
        let mut memory = Memory::new(0..0x4000, 0x1000);
        let pieces: Vec<u64> = (0..4).map(|_| memory.allocate(0x1000).unwrap()).collect();
        for index in [1, 3, 2, 0] {
            memory.release(pieces[index]);
        }
        assert_eq!(memory.allocate(0x4000), Some(0));
    }

    #[test]
    #[should_panic(expected = "is not in use")]
    fn releasing_twice_is_a_mistake_of_ours() {
        let mut memory = Memory::new(0..0x1000, 0x1000);
        let address = memory.allocate(1).unwrap();
        memory.release(address);
        memory.release(address);
    }

    #[test]
    fn a_range_without_a_whole_page_is_empty() {
        assert_eq!(Memory::new(0x800..0x1800, 0x1000).free_bytes(), 0);
    }
}
