//! Memory by sizes that somebody chose: had, or told not to be there. What is large and looked into anywhere is one mapping of zeroes, in
//! huge pages where the system gives them, so that a look costs no walk through page tables. Knows nothing of what lies in it.

use std::fmt;
use std::ops::{Deref, DerefMut, Range};

use memmap2::{Advice, MmapMut, MmapOptions};

/// The system does not give this many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory {
    /// As many as were wanted.
    pub bytes: u64,
}

impl OutOfMemory {
    pub(crate) const fn of(bytes: usize) -> Self {
        Self { bytes: bytes as u64 }
    }
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the system does not give {} bytes of memory", self.bytes)
    }
}

impl std::error::Error for OutOfMemory {}

/// Bytes that are zero until something is written to them, and cost nothing until then.
pub struct LargeMemory(MmapMut);

impl LargeMemory {
    /// This many zeroes, at least one.
    ///
    /// # Errors
    /// Where the system has no addresses for them.
    pub fn zeroed(bytes: usize) -> Result<Self, OutOfMemory> {
        // Not reserved: a large drive is mostly empty for long, and what it takes is accounted for when it is written.
        let mapping = MmapOptions::new().len(bytes.max(1)).no_reserve_swap().map_anon();
        let mapping = mapping.map_err(|_| OutOfMemory::of(bytes))?;
        // A system without huge pages has ordinary ones, which do as well.
        let _ = mapping.advise(Advice::HugePage);
        Ok(Self(mapping))
    }

    /// As many zeroes, which the system sets aside.
    ///
    /// # Errors
    /// Where it has not this many.
    pub(crate) fn reserved(bytes: usize) -> Result<Self, OutOfMemory> {
        MmapMut::map_anon(bytes.max(1)).map(Self).map_err(|_| OutOfMemory::of(bytes))
    }
}

/// An empty list with room for this many.
///
/// # Errors
/// Where the system has no memory for them.
pub fn room<T>(count: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut list = Vec::new();
    list.try_reserve_exact(count).map_err(|_| OutOfMemory::of(count.saturating_mul(size_of::<T>())))?;
    Ok(list)
}

/// This many of the same.
///
/// # Errors
/// Where the system has no memory for them.
pub fn filled<T: Clone>(of: T, count: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut list = room(count)?;
    list.resize(count, of);
    Ok(list)
}

/// Makes a buffer of bytes at least as long as this.
///
/// # Errors
/// Where the system has no memory for it.
pub fn grow(buffer: &mut Vec<u8>, bytes: usize) -> Result<(), OutOfMemory> {
    if buffer.len() < bytes {
        buffer.try_reserve(bytes - buffer.len()).map_err(|_| OutOfMemory::of(bytes))?;
        buffer.resize(bytes, 0);
    }
    Ok(())
}

/// The same bytes once more.
///
/// # Errors
/// Where the system has no memory for them.
pub fn copied(bytes: &[u8]) -> Result<Vec<u8>, OutOfMemory> {
    let mut copy = room(bytes.len())?;
    copy.extend_from_slice(bytes);
    Ok(copy)
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
        let mut memory = LargeMemory::zeroed(1 << 40).expect("addresses");
        memory[(1 << 40) - 1] = 7;
        assert_eq!((memory.len(), memory[0], memory[(1 << 40) - 1]), (1 << 40, 0, 7));
        assert_eq!(LargeMemory::zeroed(0).expect("a byte")[..], [0]);
    }

    #[test]
    fn what_the_system_does_not_give_is_an_error_with_its_bytes() {
        const BYTES: usize = 1 << 60;
        assert_eq!(LargeMemory::zeroed(BYTES).err(), Some(OutOfMemory::of(BYTES)));
        assert_eq!(LargeMemory::reserved(BYTES).err(), Some(OutOfMemory::of(BYTES)));
        assert_eq!(filled(0_u64, BYTES / 8).err(), Some(OutOfMemory::of(BYTES)));
        assert_eq!(room::<u64>(usize::MAX).err(), Some(OutOfMemory { bytes: u64::MAX }));
    }
}
