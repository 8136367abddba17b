//! Guest memory that somebody else writes to while the device works: after a watched range was read for the first time, it holds
//! something else. A device that reads twice sees both.

use std::cell::Cell;

use controller::dma::{DmaFault, GuestMemory};

use machine::SparseMemory;

/// See the file's text.
#[derive(Debug)]
pub struct RacingMemory<'a> {
    inner: &'a SparseMemory,
    address: u64,
    /// What the range holds after its first read.
    after: &'a [u8],
    reads: Cell<u32>,
}

impl<'a> RacingMemory<'a> {
    /// Watches the bytes at `address` that `after` will replace.
    #[must_use]
    pub const fn new(inner: &'a SparseMemory, address: u64, after: &'a [u8]) -> Self {
        Self { inner, address, after, reads: Cell::new(0) }
    }

    /// How many reads touched the watched range.
    #[must_use]
    pub const fn reads(&self) -> u32 {
        self.reads.get()
    }

    fn has_read(&self, address: u64, length: u64) {
        if address < self.address + self.after.len() as u64 && self.address < address + length {
            self.reads.set(self.reads.get() + 1);
            self.inner.poke(self.address, self.after);
        }
    }
}

impl GuestMemory for RacingMemory<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        self.inner.read(address, into)?;
        self.has_read(address, into.len() as u64);
        Ok(())
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), DmaFault> {
        self.inner.write(address, from)
    }

    fn load_u32(&self, address: u64) -> Result<u32, DmaFault> {
        let value = self.inner.load_u32(address)?;
        self.has_read(address, 4);
        Ok(value)
    }

    fn store_u32(&self, address: u64, value: u32) -> Result<(), DmaFault> {
        self.inner.store_u32(address, value)
    }

    fn store_u64(&self, address: u64, value: u64) -> Result<(), DmaFault> {
        self.inner.store_u64(address, value)
    }

    fn is_mapped(&self, address: u64, length: u64) -> bool {
        self.inner.is_mapped(address, length)
    }

    fn generation(&self) -> u64 {
        self.inner.generation()
    }
}
