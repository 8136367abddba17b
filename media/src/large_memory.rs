//! Memory that is large and looked into anywhere: one mapping of zeroes, in huge pages where the system gives them, so that a look
//! costs no walk through page tables. Knows nothing of what lies in it.

use std::ops::{Deref, DerefMut, Range};

use memmap2::{Advice, MmapMut, MmapOptions};

/// Bytes that are zero until something is written to them, and cost nothing until then.
pub struct LargeMemory(MmapMut);

impl LargeMemory {
    /// So many zeroes, at least one.
    ///
    /// # Panics
    /// Where the system has no addresses for them, as it aborts where memory runs out.
    #[must_use]
    pub fn zeroed(bytes: usize) -> Self {
        // Not reserved: a large drive is mostly empty for long, and what it takes is accounted for when it is written.
        let mapping = MmapOptions::new().len(bytes.max(1)).no_reserve_swap().map_anon();
        let mapping = mapping.unwrap_or_else(|error| panic!("cannot have {bytes} bytes of memory: {error}"));
        // A system without huge pages has ordinary ones, which do as well.
        let _ = mapping.advise(Advice::HugePage);
        Self(mapping)
    }
}

impl LargeMemory {
    /// Says whether a part shall lie in huge pages. Where a part of a huge page was given back, it must not: the system would fill it up
    /// again.
    pub fn prefer_huge_pages(&self, part: Range<usize>, huge: bool) {
        let advice = if huge { Advice::HugePage } else { Advice::NoHugePage };
        // Advice: nothing but memory depends on it.
        let _ = self.0.advise_range(advice, part.start, part.len());
    }
}

impl Deref for LargeMemory {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for LargeMemory {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_machine_has_costs_nothing_until_it_is_written() {
        let mut memory = LargeMemory::zeroed(1 << 40);
        memory[(1 << 40) - 1] = 7;
        assert_eq!((memory.len(), memory[0], memory[(1 << 40) - 1]), (1 << 40, 0, 7));
        assert_eq!(LargeMemory::zeroed(0)[..], [0]);
    }
}
