//! Guest memory of the benches: one flat buffer of huge pages, as cheap as guest memory can be.

use std::cell::{Cell, RefCell, RefMut};

use anyhow::Context as _;
use controller::dma::{DmaFault, DoorbellPage, GuestMemory};
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

/// Memory from guest address 0 on, all of it readable and writable.
pub struct FlatMemory(RefCell<MmapMut>);

impl FlatMemory {
    /// So many bytes.
    ///
    /// # Errors
    /// There is not so much memory.
    pub fn new(bytes: usize) -> anyhow::Result<Self> {
        huge(bytes).map(|memory| Self(RefCell::new(memory)))
    }

    /// All of it, for whoever needs no translation.
    pub fn bytes(&self) -> RefMut<'_, MmapMut> {
        self.0.borrow_mut()
    }

    fn place(address: u64, length: usize) -> std::ops::Range<usize> {
        // An address that does not fit lies outside of any buffer.
        let start = usize::try_from(address).unwrap_or(usize::MAX);
        start..start.saturating_add(length)
    }
}

impl GuestMemory for FlatMemory {
    #[inline]
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        let memory = self.0.borrow();
        into.copy_from_slice(memory.get(Self::place(address, into.len())).ok_or(DmaFault { address })?);
        Ok(())
    }

    #[inline]
    fn write(&self, address: u64, from: &[u8]) -> Result<(), DmaFault> {
        let mut memory = self.0.borrow_mut();
        memory.get_mut(Self::place(address, from.len())).ok_or(DmaFault { address })?.copy_from_slice(from);
        Ok(())
    }

    #[inline]
    fn load_u32(&self, address: u64) -> Result<u32, DmaFault> {
        let mut bytes = [0; 4];
        self.read(address, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    #[inline]
    fn store_u32(&self, address: u64, value: u32) -> Result<(), DmaFault> {
        self.write(address, &value.to_le_bytes())
    }

    #[inline]
    fn store_u64(&self, address: u64, value: u64) -> Result<(), DmaFault> {
        self.write(address, &value.to_le_bytes())
    }

    #[inline]
    fn is_mapped(&self, address: u64, length: u64) -> bool {
        let end = self.0.borrow().len() as u64;
        address.checked_add(length).is_some_and(|behind| behind <= end)
    }

    fn generation(&self) -> u64 {
        0
    }
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
