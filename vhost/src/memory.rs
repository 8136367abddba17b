//! What the device can reach: the memory that the client shares, by guest address, and beside it a window of our own that no guest
//! address reaches, in which the in-process host keeps its queues. The controller sees both; the guest's descriptors may name only the
//! first.

use std::cell::RefCell;
use std::ops::Range;
use std::os::fd::OwnedFd;

use controller::dma::{DmaFault, GuestMemory};
use guest_memory::{MapError, MapRequest, Memory, PAGE_BYTES, Permissions};
use zerocopy::IntoBytes;

/// Where guest addresses end and the window begins.
pub const WINDOW_START: u64 = 1 << 62;
/// How many regions a client may share.
pub const REGIONS_MAX: usize = 509;

/// A piece of memory that a client shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Guest address.
    pub guest: u64,
    /// Bytes.
    pub length: u64,
    /// Where the client itself has it: rings are named by such addresses.
    pub user: u64,
    /// Where it begins in the descriptor's file.
    pub offset: u64,
}

/// A region cannot be: why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegionError {
    /// It is empty, wraps, or reaches into the window.
    #[error("a region of {0} bytes lies where none can be")]
    Extent(u64),
    /// There are as many as there may be.
    #[error("there are {REGIONS_MAX} regions already")]
    TooMany,
    /// It overlaps another, or its file cannot be mapped.
    #[error("a region cannot be mapped: {0}")]
    Refused(#[from] MapError),
    /// There is no such region.
    #[error("there is no such region")]
    Unknown,
}

/// The memory that the client shares.
#[derive(Debug, Default)]
pub struct Shared {
    table: Memory,
    regions: Vec<Region>,
}

impl Shared {
    /// Maps one more region.
    ///
    /// # Errors
    /// [`RegionError`]; nothing has changed then.
    pub fn add(&mut self, region: Region, file: OwnedFd) -> Result<(), RegionError> {
        let end = region.guest.checked_add(region.length).filter(|end| *end <= WINDOW_START);
        if region.length == 0 || end.is_none() || region.user.checked_add(region.length).is_none() {
            return Err(RegionError::Extent(region.length));
        }
        if self.regions.len() >= REGIONS_MAX {
            return Err(RegionError::TooMany);
        }
        // Rings of libblkio end within a page; what is mapped are whole ones.
        let length = region.length.next_multiple_of(PAGE_BYTES);
        let access = Permissions::ReadWrite;
        let request = MapRequest { address: region.guest, length, access, offset: region.offset };
        self.table.map(&request, Some(file))?;
        self.regions.push(region);
        Ok(())
    }

    /// Takes a region away.
    ///
    /// # Errors
    /// [`RegionError::Unknown`].
    pub fn remove(&mut self, guest: u64, length: u64, user: u64) -> Result<(), RegionError> {
        let same = |region: &Region| (region.guest, region.length, region.user) == (guest, length, user);
        let index = self.regions.iter().position(same).ok_or(RegionError::Unknown)?;
        self.table.unmap(guest, length.next_multiple_of(PAGE_BYTES))?;
        self.regions.swap_remove(index);
        Ok(())
    }

    /// No regions, in place of these as one change.
    #[must_use]
    pub fn successor(&self) -> Self {
        Self { table: self.table.successor(), regions: Vec::new() }
    }

    /// The guest address of what the client has at `user`.
    #[must_use]
    pub fn guest_address(&self, user: u64) -> Option<u64> {
        let region = self.regions.iter().find(|region| (region.user..region.user + region.length).contains(&user))?;
        Some(region.guest + (user - region.user))
    }

    /// The table, by guest address.
    #[must_use]
    pub const fn table(&self) -> &Memory {
        &self.table
    }
}

/// Memory of our own, at addresses from [`WINDOW_START`] on.
#[derive(Debug)]
pub struct Window(RefCell<Vec<u8>>);

impl Window {
    /// This many zero bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(RefCell::new(vec![0; bytes]))
    }

    fn range(&self, address: u64, length: usize) -> Result<Range<usize>, DmaFault> {
        let fault = DmaFault { address };
        let first = address.checked_sub(WINDOW_START).and_then(|offset| usize::try_from(offset).ok()).ok_or(fault)?;
        let end = first.checked_add(length).filter(|end| *end <= self.0.borrow().len()).ok_or(fault)?;
        Ok(first..end)
    }

    pub(crate) fn read(&self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        let range = self.range(address, into.len())?;
        into.copy_from_slice(&self.0.borrow()[range]);
        Ok(())
    }

    pub(crate) fn write(&self, address: u64, from: &[u8]) -> Result<(), DmaFault> {
        let range = self.range(address, from.len())?;
        self.0.borrow_mut()[range].copy_from_slice(from);
        Ok(())
    }
}

/// All that the controller can reach.
#[derive(Debug)]
pub struct Reach {
    /// The client's.
    pub guest: Shared,
    /// Ours.
    pub window: Window,
}

/// Whether an address is in the window.
const fn is_ours(address: u64) -> bool {
    address >= WINDOW_START
}

impl GuestMemory for Reach {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        if is_ours(address) { self.window.read(address, into) } else { self.guest.table.read(address, into) }
    }

    fn read_non_temporal(&self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        if is_ours(address) {
            self.window.read(address, into)
        } else {
            self.guest.table.read_non_temporal(address, into)
        }
    }

    fn store_fence(&self) {
        self.guest.table.store_fence();
    }

    fn prefetch(&self, bytes: &[u8]) {
        self.guest.table.prefetch(bytes);
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), DmaFault> {
        if is_ours(address) { self.window.write(address, from) } else { self.guest.table.write(address, from) }
    }

    fn load_u32(&self, address: u64) -> Result<u32, DmaFault> {
        if !is_ours(address) {
            return self.guest.table.load_u32(address);
        }
        let mut bytes = [0; 4];
        self.window.read(address, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn store_u32(&self, address: u64, value: u32) -> Result<(), DmaFault> {
        if is_ours(address) {
            return self.window.write(address, &value.to_le_bytes());
        }
        self.guest.table.store_u32(address, value)
    }

    fn exchange_u32(&self, address: u64, current: u32, new: u32) -> Result<u32, DmaFault> {
        if !is_ours(address) {
            return self.guest.table.exchange_u32(address, current, new);
        }
        let found = self.load_u32(address)?;
        if found == current {
            self.store_u32(address, new)?;
        }
        Ok(found)
    }

    fn store_u64(&self, address: u64, value: u64) -> Result<(), DmaFault> {
        if is_ours(address) {
            return self.window.write(address, &value.to_le_bytes());
        }
        self.guest.table.store_u64(address, value)
    }

    fn store_pairs(&self, address: u64, pairs: &[[u64; 2]]) -> Result<(), DmaFault> {
        if is_ours(address) {
            return self.window.write(address, pairs.as_bytes());
        }
        self.guest.table.store_pairs(address, pairs)
    }

    fn is_mapped(&self, address: u64, length: u64) -> bool {
        if !is_ours(address) {
            return self.guest.table.is_mapped(address, length);
        }
        usize::try_from(length).is_ok_and(|length| self.window.range(address, length).is_ok())
    }

    fn generation(&self) -> u64 {
        self.guest.table.generation()
    }
}

#[cfg(test)]
mod tests {
    use controller::dma::GuestMemory;
    use guest_memory::MapError;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::{Reach, Region, RegionError, Shared, WINDOW_START, Window};

    fn file(length: u64) -> std::os::fd::OwnedFd {
        let file = memfd_create("test", MemfdFlags::CLOEXEC).expect("memfd");
        ftruncate(&file, length).expect("truncate");
        file
    }

    #[test]
    fn the_window_lies_beside_guest_memory() {
        let mut guest = Shared::default();
        let region = Region { guest: 0x10_0000, length: 0x2000, user: 0x7000_0000, offset: 0x1000 };
        guest.add(region, file(0x3000)).expect("mapped");
        assert_eq!(guest.add(region, file(0x3000)), Err(RegionError::Refused(MapError::Overlap)));
        assert_eq!(guest.guest_address(0x7000_1fff), Some(0x10_1fff));
        assert_eq!(guest.guest_address(0x7000_2000), None);
        let reach = Reach { guest, window: Window::new(0x1000) };
        reach.store_u32(WINDOW_START + 0xffc, 7).expect("ours");
        assert!(reach.store_u32(WINDOW_START + 0xffd, 7).is_err());
        reach.store_u64(0x10_0008, 9).expect("the guest's");
        let mut bytes = [0; 2];
        assert!(reach.read(0x10_1fff, &mut bytes).is_err());
        assert!(reach.is_mapped(WINDOW_START, 0x1000) && !reach.is_mapped(WINDOW_START, 0x1001));
        assert!(reach.is_mapped(0x10_0000, 0x2000) && !reach.is_mapped(0x10_0000, 0x2001));
    }

    #[test]
    fn a_region_may_end_within_a_page() {
        let mut guest = Shared::default();
        let region = Region { guest: 0x10_0000, length: 15_120, user: 0x7000_0000, offset: 0 };
        guest.add(region, file(15_120)).expect("mapped");
        guest.table().write(0x10_0000 + 15_119, &[1]).expect("its last byte");
        guest.remove(0x10_0000, 15_120, 0x7000_0000).expect("gone");
        assert!(!guest.table().is_mapped(0x10_0000, 1));
        let longer = Region { length: 16_385, ..region };
        assert_eq!(guest.add(longer, file(15_120)), Err(RegionError::Refused(MapError::Impossible)));
    }

    #[test]
    fn no_region_reaches_into_the_window() {
        let mut guest = Shared::default();
        let high = Region { guest: WINDOW_START - 0x1000, length: 0x2000, user: 0, offset: 0 };
        assert_eq!(guest.add(high, file(0x2000)), Err(RegionError::Extent(0x2000)));
        assert_eq!(guest.remove(0, 1, 2), Err(RegionError::Unknown));
    }
}
