//! A part of a file that the client also maps.
//!
//! The client changes its bytes at any time and may truncate the file. So nothing here forms a reference to bytes: `vm-memory` copies
//! them and loads and stores numbers atomically, and each access is followed by a check whether the kernel had no page for it
//! (`rescue`).
#![expect(
    unsafe_code,
    reason = "describing a mapping to vm-memory, and the copies that it does not have; nothing else in the crate may"
)]

mod caches;
mod rescue;

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

pub use caches::copy_past_caches;
pub(crate) use caches::{prefetch, store_fence};
use memmap2::{MmapOptions, MmapRaw};
use rescue::Registered;
pub use rescue::watch;
use vm_memory::{AtomicAccess, Bytes as _, MmapRegion, Permissions, VolatileMemory as _, VolatileSlice};

const _: () = assert!(size_of::<usize>() == size_of::<u64>(), "guest addresses and lengths are converted both ways");

/// Whether `given` includes all of `needed`.
#[inline]
pub(crate) const fn allows(given: Permissions, needed: Permissions) -> bool {
    given as u8 & needed as u8 == needed as u8
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilePart {
    /// In bytes, a multiple of 4 KiB.
    pub offset: u64,
    /// In bytes, not 0.
    pub length: u64,
    /// What the kernel maps this file in multiples of: more than 4 KiB for huge pages, and then a guest's firmware still has small
    /// pieces of them mapped.
    pub page_bytes: u64,
}

/// The memory is gone: its file was cut short, or the machine could not supply the page. It stays gone for this mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

/// Some pages of a file, mapped shared. Unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    /// What was asked for, as `vm-memory` sees it.
    region: MmapRegion,
    access: Permissions,
    /// Ends before `_pages` does: fields are dropped in this order.
    registered: Registered,
    /// All that is mapped; what was asked for may begin behind its beginning. `MmapRegion` could own it, but would keep the descriptor
    /// of the file with it, and there may be more mappings than descriptors.
    _pages: MmapRaw,
}

impl Mapping {
    /// Maps the bytes of `file` that `part` names.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(file: BorrowedFd<'_>, part: &FilePart, access: Permissions) -> io::Result<Self> {
        rescue::install()?;
        let lead = part.offset % part.page_bytes;
        let size = |bytes: u64| usize::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput);
        let length =
            (lead + part.length).checked_next_multiple_of(part.page_bytes).ok_or(io::ErrorKind::InvalidInput)?;
        let (length, lead, usable) = (size(length)?, size(lead)?, size(part.length)?);
        let mut options = MmapOptions::new();
        options.offset(part.offset - part.offset % part.page_bytes).len(length);
        let (pages, protection) = match access {
            Permissions::No => return Err(io::ErrorKind::InvalidInput.into()),
            Permissions::Read => (options.map_raw_read_only(file.as_raw_fd())?, libc::PROT_READ),
            _ => (options.map_raw(file.as_raw_fd())?, libc::PROT_READ | libc::PROT_WRITE),
        };
        let start = pages.as_mut_ptr().wrapping_add(lead);
        // SAFETY: `usable` bytes from `start` on lie inside `pages`, which live as long as this value. (The handler of `rescue` may put
        // other pages there, but never takes them away.)
        let region = unsafe { MmapRegion::build_raw(start, usable, protection, libc::MAP_SHARED) };
        let region = region.map_err(|_| io::ErrorKind::InvalidInput)?;
        let registered = Registered::new(pages.as_mut_ptr(), length);
        Ok(Self { region, access, registered, _pages: pages })
    }

    /// A range, if it lies inside and allows `needed`.
    #[inline]
    fn slice(&self, offset: usize, length: usize, needed: Permissions) -> Option<VolatileSlice<'_>> {
        if !allows(self.access, needed) {
            return None;
        }
        self.region.get_slice(offset, length).ok()
    }

    /// The same, for whoever touches it by `vm-memory`'s ways; `None` too if it is lost.
    pub(crate) fn lend(&self, offset: usize, length: usize, needed: Permissions) -> Option<VolatileSlice<'_>> {
        self.check().ok().and_then(|()| self.slice(offset, length, needed))
    }

    /// Copies `into.len()` bytes from `offset` on; `None` where they do not lie inside or may not be read.
    #[inline]
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Option<Result<(), Lost>> {
        let from = self.slice(offset, into.len(), Permissions::Read)?;
        from.copy_to(into);
        Some(self.check())
    }

    /// The same to where nobody looks soon: past the processor's caches. This thread sees the bytes at once, others once it has called
    /// [`controller::dma::GuestMemory::store_fence`].
    #[inline]
    pub fn read_non_temporal(&self, offset: usize, into: &mut [u8]) -> Option<Result<(), Lost>> {
        let from = self.slice(offset, into.len(), Permissions::Read)?;
        // SAFETY: as many bytes are inside the mapping; `into` is borrowed for us alone and cannot overlap it, since nobody holds a
        // reference into a mapping.
        unsafe { caches::copy_non_temporal(from.ptr_guard().as_ptr(), into.as_mut_ptr(), into.len()) };
        Some(self.check())
    }

    /// Copies `from` to `offset` and on; `None` where that does not lie inside or may not be written.
    #[inline]
    pub fn write(&self, offset: usize, from: &[u8]) -> Option<Result<(), Lost>> {
        let to = self.slice(offset, from.len(), Permissions::Write)?;
        to.copy_from(from);
        Some(self.check())
    }

    /// Loads a number with acquire ordering. `offset` is a multiple of its size.
    ///
    /// # Errors
    /// [`Lost`].
    ///
    /// # Panics
    /// If the number does not lie inside, is not aligned or may not be read.
    #[inline]
    pub fn load<T: AtomicAccess>(&self, offset: usize) -> Result<T, Lost> {
        let number = self.inside(offset, size_of::<T>(), Permissions::Read).load(0, Ordering::Acquire);
        self.check().map(|()| aligned(number))
    }

    /// Stores a number with release ordering. `offset` is a multiple of its size.
    ///
    /// # Errors
    /// [`Lost`].
    ///
    /// # Panics
    /// As [`Mapping::load`], if it may not be written.
    #[inline]
    pub fn store<T: AtomicAccess>(&self, offset: usize, value: T) -> Result<(), Lost> {
        aligned(self.inside(offset, size_of::<T>(), Permissions::Write).store(value, 0, Ordering::Release));
        self.check()
    }

    /// Replaces `current` by `new`, both as they lie in memory; what was found. `offset` is a multiple of 4.
    pub(crate) fn exchange_u32(&self, offset: usize, current: u32, new: u32) -> Result<u32, Lost> {
        let place = self.inside(offset, size_of::<u32>(), Permissions::ReadWrite);
        let number = aligned(place.get_atomic_ref::<AtomicU32>(0));
        let found = number.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire);
        self.check().map(|()| found.unwrap_or_else(|other| other))
    }

    /// Stores pairs of numbers, as they shall lie in memory, in order; the second number of each with release ordering. `offset` is a
    /// multiple of 8.
    #[inline]
    pub(crate) fn store_pairs(&self, offset: usize, pairs: &[[u64; 2]]) -> Result<(), Lost> {
        let place = self.inside(offset, size_of_val(pairs), Permissions::Write);
        let mut number = place.ptr_guard_mut().as_ptr().cast::<u64>();
        assert!(number.is_aligned(), "numbers are aligned");
        for [first, second] in pairs {
            // SAFETY: all pairs lie inside `place`, and the first number is aligned, so all are; whoever else has them in this process
            // has them as atomic numbers too. `vm-memory` would look at each number's place anew, which is a third of the work.
            unsafe {
                AtomicU64::from_ptr(number).store(*first, Ordering::Relaxed);
                AtomicU64::from_ptr(number.wrapping_add(1)).store(*second, Ordering::Release);
            }
            number = number.wrapping_add(2);
        }
        self.check()
    }

    /// A range of which our callers have looked.
    #[inline]
    fn inside(&self, offset: usize, length: usize, needed: Permissions) -> VolatileSlice<'_> {
        self.slice(offset, length, needed).unwrap_or_else(|| self.outside(offset, length, needed))
    }

    #[cold]
    fn outside(&self, offset: usize, length: usize, needed: Permissions) -> ! {
        panic!(
            "{offset} + {length} is outside, or {needed:?} is too much: a mapping of {} for {:?}",
            self.region.size(),
            self.access
        );
    }

    /// Whether all pages were there so far.
    #[inline]
    fn check(&self) -> Result<(), Lost> {
        if self.registered.is_lost() { Err(Lost) } else { Ok(()) }
    }
}

/// A number whose place was found inside, so that nothing but its alignment can be wrong.
#[inline]
fn aligned<T>(number: Result<T, vm_memory::VolatileMemoryError>) -> T {
    number.unwrap_or_else(|error| misaligned(&error))
}

#[cold]
fn misaligned(error: &vm_memory::VolatileMemoryError) -> ! {
    panic!("numbers are aligned: {error}");
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, OwnedFd};

    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;

    fn file(length: u64) -> OwnedFd {
        let file = memfd_create("test", MemfdFlags::CLOEXEC).expect("memfd");
        ftruncate(&file, length).expect("truncate");
        file
    }

    fn whole(file: &OwnedFd, length: u64, access: Permissions) -> Mapping {
        Mapping::new(file.as_fd(), &FilePart { offset: 0, length, page_bytes: 4096 }, access).expect("map")
    }

    #[test]
    fn a_file_cut_short_is_lost_memory_and_not_a_dead_process() {
        let (short, other) = (file(8192), file(8192));
        let lost = whole(&short, 8192, Permissions::ReadWrite);
        let kept = whole(&other, 8192, Permissions::ReadWrite);
        lost.write(8000, &[1; 192]).expect("it lies inside").expect("still there");
        ftruncate(&short, 4096).expect("cut");
        let mut into = [0; 16];
        assert_eq!(lost.read(4090, &mut into), Some(Err(Lost)), "the second page is gone");
        assert_eq!(lost.read(0, &mut into), Some(Err(Lost)), "and the mapping with it");
        assert_eq!(lost.store::<u64>(0, 1), Err(Lost));
        kept.write(0, &[2; 16]).expect("it lies inside").expect("other memory is untouched");
        kept.read(0, &mut into).expect("it lies inside").expect("and readable");
        assert_eq!(into, [2; 16]);
    }

    /// More mappings than the handler's list begins with, and others in the places of those that were lost, on several threads at once.
    #[test]
    fn whoever_loses_memory_loses_no_other() {
        let lose = || {
            let kept: Vec<Mapping> = (0..150).map(|_| whole(&file(4096), 4096, Permissions::ReadWrite)).collect();
            for round in 0..20 {
                let short = file(8192);
                let lost = whole(&short, 8192, Permissions::ReadWrite);
                lost.store(4096, 7_u32).expect("a mapping in the place of a lost one is whole");
                ftruncate(&short, 4096).expect("cut");
                assert_eq!(lost.load::<u32>(4096), Err(Lost), "round {round}");
            }
            assert!(kept.iter().all(|mapping| mapping.store(0, 1_u32).is_ok()));
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(lose);
            }
        });
    }

    /// As with huge pages, of which firmware has small pieces mapped: the kernel maps more than was asked for.
    #[test]
    fn a_part_of_a_large_page_begins_where_it_was_asked_to() {
        let file = file(4 << 20);
        let part = FilePart { offset: 0xc_0000, length: 0x2_0000, page_bytes: 2 << 20 };
        let piece = Mapping::new(file.as_fd(), &part, Permissions::ReadWrite).expect("map");
        piece.write(0, b"piece").expect("it lies inside").expect("write");
        piece.store::<u32>(0x1_fffc, 7).expect("store");
        let mut into = [0; 5];
        whole(&file, 4 << 20, Permissions::Read).read(0xc_0000, &mut into).expect("it lies inside").expect("read");
        assert_eq!(&into, b"piece");
        assert_eq!(whole(&file, 4 << 20, Permissions::Read).load::<u32>(0xd_fffc), Ok(7));
        assert_eq!(
            (piece._pages.len(), piece.region.as_ptr().addr() - piece._pages.as_ptr().addr()),
            (2 << 20, 0xc_0000)
        );
        let huge = FilePart { offset: 0, length: u64::MAX - 4095, page_bytes: 2 << 20 };
        assert!(Mapping::new(file.as_fd(), &huge, Permissions::ReadWrite).is_err());
    }

    #[test]
    fn stores_atomics_and_writes_survive_the_loss_too() {
        for access in 0..7 {
            let short = file(4096);
            let mapping = whole(&short, 4096, Permissions::ReadWrite);
            ftruncate(&short, 0).expect("cut");
            let outcome = match access {
                0 => mapping.write(0, &[1; 4096]).expect("it lies inside"),
                5 => mapping.read_non_temporal(0, &mut [0; 4096]).expect("it lies inside"),
                1 => mapping.load::<u32>(8).map(|_| ()),
                2 => mapping.store::<u32>(8, 1),
                6 => mapping.exchange_u32(8, 0, 1).map(|_| ()),
                3 => mapping.store_pairs(16, &[[1, 2]]),
                _ => mapping.store::<u64>(8, 1),
            };
            assert_eq!(outcome, Err(Lost));
        }
    }

    #[test]
    fn numbers_are_little_endian_and_shared() {
        let shared = file(4096);
        let one = whole(&shared, 4096, Permissions::ReadWrite);
        let other = whole(&shared, 4096, Permissions::Read);
        one.store::<u32>(4, 0x0403_0201).expect("store");
        one.store::<u64>(8, 0x0807_0605_0403_0201).expect("store");
        let mut bytes = [0; 12];
        other.read(4, &mut bytes).expect("it lies inside").expect("read");
        assert_eq!(bytes, [1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(other.load::<u32>(4), Ok(0x0403_0201));
        one.store::<u16>(2, 0x0201).expect("store");
        assert_eq!(one.exchange_u32(4, 1, 9), Ok(0x0403_0201), "something else is there");
        assert_eq!(one.exchange_u32(4, 0x0403_0201, 9), Ok(0x0403_0201));
        assert_eq!(other.load::<u32>(4), Ok(9));
        assert_eq!((other.load::<u16>(2), other.load::<u32>(0)), (Ok(0x0201), Ok(0x0201_0000)));
        one.store_pairs(16, &[[1_u64.to_le(), 2_u64.to_le()], [3_u64.to_le(), 4_u64.to_le()]]).expect("store");
        assert_eq!((other.load::<u32>(24), other.load::<u32>(32), other.load::<u32>(40)), (Ok(2), Ok(3), Ok(4)));
    }

    #[test]
    #[should_panic(expected = "is outside")]
    fn a_range_outside_is_our_own_mistake() {
        let mapping = whole(&file(4096), 4096, Permissions::ReadWrite);
        assert_eq!(mapping.read(4095, &mut [0; 2]), None);
        let _ = mapping.load::<u32>(4096);
    }

    #[test]
    #[should_panic(expected = "is too much")]
    fn so_is_a_write_to_what_is_read_only() {
        let mapping = whole(&file(4096), 4096, Permissions::Read);
        assert_eq!(mapping.write(0, &[0]), None);
        let _ = mapping.store::<u32>(0, 0);
    }
}
