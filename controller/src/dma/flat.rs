//! Guest memory that is one buffer of this process: for hosts in the same process, benches and tests.

use std::cell::{RefCell, RefMut};
use std::ops::{DerefMut, Range};

use super::{DmaFault, GuestMemory};

/// Memory from guest address 0 on, all of it readable and writable, whatever keeps the bytes.
#[derive(Debug)]
pub struct FlatMemory<B = Vec<u8>>(RefCell<B>);

impl<B: DerefMut<Target = [u8]>> FlatMemory<B> {
    /// These bytes.
    pub const fn new(bytes: B) -> Self {
        Self(RefCell::new(bytes))
    }

    /// All of them, for whoever needs no translation.
    ///
    /// # Panics
    /// While somebody else has them.
    pub fn bytes(&self) -> RefMut<'_, B> {
        self.0.borrow_mut()
    }

    fn place(address: u64, length: usize) -> Range<usize> {
        // An address that does not fit lies outside of any buffer.
        let start = usize::try_from(address).unwrap_or(usize::MAX);
        start..start.saturating_add(length)
    }
}

impl<B: DerefMut<Target = [u8]>> GuestMemory for FlatMemory<B> {
    #[inline]
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        let bytes = self.0.borrow();
        into.copy_from_slice(bytes.get(Self::place(address, into.len())).ok_or(DmaFault { address })?);
        Ok(())
    }

    #[inline]
    fn write(&self, address: u64, from: &[u8]) -> Result<(), DmaFault> {
        let mut bytes = self.0.borrow_mut();
        bytes.get_mut(Self::place(address, from.len())).ok_or(DmaFault { address })?.copy_from_slice(from);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_outside_faults_and_the_end_is_inside() {
        let memory = FlatMemory::new(vec![0; 16]);
        assert_eq!(memory.write(12, &[1, 2, 3, 4]), Ok(()));
        assert_eq!(memory.load_u32(12), Ok(0x0403_0201));
        for address in [13, 16, u64::MAX - 1] {
            assert_eq!(memory.load_u32(address), Err(DmaFault { address }));
            assert!(!memory.is_mapped(address, 4));
        }
        assert!(memory.is_mapped(12, 4) && memory.is_mapped(16, 0));
        assert_eq!(memory.bytes()[12..], [1, 2, 3, 4]);
    }
}
