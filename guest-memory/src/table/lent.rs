//! The table as [`vm_memory::GuestMemory`], with its permissions: for crates that stand on that. What they do is done in
//! [`watch`](crate::watch), because they cannot tell that memory is gone.

use std::iter::FusedIterator;

use vm_memory::guest_memory::GuestMemorySliceIterator;
use vm_memory::{
    GuestAddress, GuestMemory, GuestMemoryError, GuestMemoryMmap, GuestMemoryResult, Permissions, VolatileSlice,
};

use super::Memory;

/// The pieces of a range, one for each mapping that it crosses.
struct Slices<'a> {
    memory: &'a Memory,
    address: u64,
    left: usize,
    needed: Permissions,
}

impl<'a> Slices<'a> {
    /// The piece at `address`, which is not lost.
    fn piece(&self) -> Option<VolatileSlice<'a>> {
        let (mapping, offset, available) = self.memory.locate(self.address, self.needed)?;
        mapping.lend(offset, available.min(self.left), self.needed)
    }
}

impl<'a> Iterator for Slices<'a> {
    type Item = GuestMemoryResult<VolatileSlice<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let Some(piece) = self.piece() else {
            self.left = 0;
            return Some(Err(GuestMemoryError::InvalidGuestAddress(GuestAddress(self.address))));
        };
        self.left -= piece.len();
        // What ends at the last address has nothing left.
        self.address = self.address.wrapping_add(piece.len() as u64);
        if self.address == 0 && self.left > 0 {
            self.left = 0;
            return Some(Err(GuestMemoryError::GuestAddressOverflow));
        }
        Some(Ok(piece))
    }
}

impl FusedIterator for Slices<'_> {}

impl<'a> GuestMemorySliceIterator<'a, ()> for Slices<'a> {}

impl GuestMemory for Memory {
    type PhysicalMemory = GuestMemoryMmap;
    type Bitmap = ();

    fn check_range(&self, address: GuestAddress, count: usize, access: Permissions) -> bool {
        Slices { memory: self, address: address.0, left: count, needed: access }.all(|piece| piece.is_ok())
    }

    fn get_slices<'a>(
        &'a self,
        address: GuestAddress,
        count: usize,
        access: Permissions,
    ) -> GuestMemoryResult<impl GuestMemorySliceIterator<'a, ()>> {
        Ok(Slices { memory: self, address: address.0, left: count, needed: access })
    }
}
