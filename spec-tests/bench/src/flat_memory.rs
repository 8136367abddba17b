//! Guest memory of the benches: one flat buffer of huge pages, as cheap as guest memory can be.

use std::cell::Cell;

use anyhow::Context as _;
use controller::dma::{DoorbellPage, FlatMemory};
use memmap2::{Advice, MmapMut};

/// Zeroed memory of huge pages, where the system has them to give.
///
/// # Errors
/// There is not so much memory.
pub fn huge(bytes: usize) -> anyhow::Result<MmapMut> {
    let memory = MmapMut::map_anon(bytes).with_context(|| format!("no {bytes} bytes of memory"))?;
    // A system without huge pages gives small ones, and the figures are what they are.
    let _ = memory.advise(Advice::HugePage);
    Ok(memory)
}

/// Guest memory of huge pages.
pub type HugeMemory = FlatMemory<MmapMut>;

/// This many bytes of it.
///
/// # Errors
/// There is not so much memory.
pub fn guest_memory(bytes: usize) -> anyhow::Result<HugeMemory> {
    huge(bytes).map(FlatMemory::new)
}

/// A page of doorbells.
pub struct FlatPage(Vec<Cell<u32>>);

impl Default for FlatPage {
    fn default() -> Self {
        Self(vec![Cell::new(0); 1024])
    }
}

impl DoorbellPage for FlatPage {
    #[inline]
    fn load(&self, index: usize) -> u32 {
        self.0[index].get()
    }

    #[inline]
    fn store(&self, index: usize, value: u32) {
        self.0[index].set(value);
    }
}
