//! Memory shared with the client: the one module of the crate with `unsafe` in it.
//!
//! A [`Mapping`] is bytes of a file that the client also maps. The client changes them at any time and may cut the file short
//! underneath us, so nothing here forms a reference into a mapping: bytes are copied, numbers are loaded and stored atomically, and
//! each access is guarded against the signal that a missing page raises ([`guard`]).
#![expect(
    unsafe_code,
    reason = "mapping files and touching them is what this module is for; nothing else in the crate may"
)]

mod caches;
mod give_back;
mod guard;

use std::cell::Cell;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

pub(crate) use caches::{bring_near, settle};
pub use give_back::give_back;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

const _: () = assert!(size_of::<usize>() == size_of::<u64>(), "guest addresses and lengths are converted both ways");

/// What the device may do with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

impl Access {
    pub(crate) const READ: Self = Self { read: true, write: false };
    pub(crate) const WRITE: Self = Self { read: false, write: true };
    pub(crate) const BOTH: Self = Self { read: true, write: true };

    /// Whether this includes all of `needed`.
    #[inline]
    pub(crate) const fn allows(self, needed: Self) -> bool {
        (self.read || !needed.read) && (self.write || !needed.write)
    }
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FilePart {
    /// In bytes, a multiple of 4 KiB.
    pub(crate) offset: u64,
    /// In bytes, not 0.
    pub(crate) length: u64,
    /// What the kernel maps this file in multiples of: more than 4 KiB for huge pages, and then a guest's firmware still has small
    /// pieces of them mapped.
    pub(crate) page_bytes: u64,
}

/// The memory is gone: its file was cut short, or the machine could not supply the page. It stays gone for this mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost;

/// Some pages of a file, mapped shared. Unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    /// All that is mapped, in bytes.
    length: usize,
    /// The first byte that was asked for: what the kernel maps may begin before it.
    start: NonNull<u8>,
    /// How many bytes were asked for.
    usable: usize,
    access: Access,
    lost: Cell<bool>,
}

// SAFETY: the mapping belongs to this value alone and to no thread in particular; the guard against signals is set up anew by
// whichever thread makes an access.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps the bytes of `file` that `part` names.
    pub(crate) fn new(file: BorrowedFd<'_>, part: &FilePart, access: Access) -> io::Result<Self> {
        guard::install()?;
        let lead = part.offset % part.page_bytes;
        let size = |bytes: u64| usize::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput);
        let length =
            (lead + part.length).checked_next_multiple_of(part.page_bytes).ok_or(io::ErrorKind::InvalidInput)?;
        let (length, lead, usable) = (size(length)?, size(lead)?, size(part.length)?);
        let mut protection = ProtFlags::empty();
        protection.set(ProtFlags::READ, access.read);
        protection.set(ProtFlags::WRITE, access.write);
        let offset = part.offset - part.offset % part.page_bytes;
        // SAFETY: without MAP_FIXED the kernel picks a free place, so no memory of this process is replaced; the result is touched
        // only by this value's methods and unmapped only in its drop.
        let base = unsafe { mmap(ptr::null_mut(), length, protection, MapFlags::SHARED, file, offset) }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let start = NonNull::new(base.as_ptr().wrapping_add(lead)).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, length, start, usable, access, lost: Cell::new(false) })
    }

    /// Copies `into.len()` bytes from `offset` on; `None` where they do not lie inside or may not be read.
    #[inline]
    pub(crate) fn read(&self, offset: usize, into: &mut [u8]) -> Option<Result<(), Lost>> {
        let from = self.inside(offset, into.len(), Access::READ)?;
        Some(self.guarded(|| {
            // SAFETY: the range was found inside the mapping and readable; `into` is borrowed for us alone and cannot overlap it,
            // since nobody holds a reference into a mapping.
            unsafe { ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) }
        }))
    }

    /// The same to where nobody looks soon: past the processor's caches. This thread sees the bytes at once, others once it has called
    /// [`settle`].
    #[inline]
    pub(crate) fn read_far(&self, offset: usize, into: &mut [u8]) -> Option<Result<(), Lost>> {
        let from = self.inside(offset, into.len(), Access::READ)?;
        Some(self.guarded(|| {
            // SAFETY: as in `read`.
            unsafe { caches::copy_past(from, into.as_mut_ptr(), into.len()) }
        }))
    }

    /// Copies `from` to `offset` and on; `None` where that does not lie inside or may not be written.
    #[inline]
    pub(crate) fn write(&self, offset: usize, from: &[u8]) -> Option<Result<(), Lost>> {
        let to = self.inside(offset, from.len(), Access::WRITE)?;
        Some(self.guarded(|| {
            // SAFETY: as in `read`, with the range found writable.
            unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) }
        }))
    }

    /// Loads with acquire ordering. `offset` is a multiple of 2.
    pub(crate) fn load_u16(&self, offset: usize) -> Result<u16, Lost> {
        let number = self.aligned::<u16>(offset, Access::READ);
        self.guarded(|| {
            // SAFETY: as in `load_u32`.
            u16::from_le(unsafe { AtomicU16::from_ptr(number) }.load(Ordering::Acquire))
        })
    }

    /// Stores with release ordering. `offset` is a multiple of 2.
    pub(crate) fn store_u16(&self, offset: usize, value: u16) -> Result<(), Lost> {
        let number = self.aligned::<u16>(offset, Access::WRITE);
        self.guarded(|| {
            // SAFETY: as in `store_u32`.
            unsafe { AtomicU16::from_ptr(number) }.store(value.to_le(), Ordering::Release);
        })
    }

    /// Loads with acquire ordering. `offset` is a multiple of 4.
    #[inline]
    pub(crate) fn load_u32(&self, offset: usize) -> Result<u32, Lost> {
        let number = self.aligned::<u32>(offset, Access::READ);
        self.guarded(|| {
            // SAFETY: inside the mapping, readable and aligned; this process makes no non-atomic access at the same time, because
            // a mapping is not shared between threads.
            u32::from_le(unsafe { AtomicU32::from_ptr(number) }.load(Ordering::Acquire))
        })
    }

    /// Stores with release ordering. `offset` is a multiple of 4.
    #[inline]
    pub(crate) fn store_u32(&self, offset: usize, value: u32) -> Result<(), Lost> {
        let number = self.aligned::<u32>(offset, Access::WRITE);
        self.guarded(|| {
            // SAFETY: as in `load_u32`, with the range found writable.
            unsafe { AtomicU32::from_ptr(number) }.store(value.to_le(), Ordering::Release);
        })
    }

    /// Replaces `current` by `new`; what was found. `offset` is a multiple of 4.
    pub(crate) fn exchange_u32(&self, offset: usize, current: u32, new: u32) -> Result<u32, Lost> {
        let number = self.aligned::<u32>(offset, Access::BOTH);
        self.guarded(|| {
            // SAFETY: as in `load_u32`, with the range found writable too.
            let number = unsafe { AtomicU32::from_ptr(number) };
            let found = number.compare_exchange(current.to_le(), new.to_le(), Ordering::AcqRel, Ordering::Acquire);
            u32::from_le(found.unwrap_or_else(|other| other))
        })
    }

    /// Stores with release ordering. `offset` is a multiple of 8.
    #[inline]
    pub(crate) fn store_u64(&self, offset: usize, value: u64) -> Result<(), Lost> {
        let number = self.aligned::<u64>(offset, Access::WRITE);
        self.guarded(|| {
            // SAFETY: as in `store_u32`.
            unsafe { AtomicU64::from_ptr(number) }.store(value.to_le(), Ordering::Release);
        })
    }

    /// Stores pairs of numbers, as they shall lie in memory, in order; the second number of each with release ordering. `offset` is a
    /// multiple of 8.
    #[inline]
    pub(crate) fn store_pairs(&self, offset: usize, pairs: &[[u64; 2]]) -> Result<(), Lost> {
        let start = self.at(offset, size_of_val(pairs), Access::WRITE).cast::<u64>();
        assert!(start.is_aligned(), "numbers are aligned");
        self.guarded(|| {
            let mut number = start;
            for [first, second] in pairs {
                // SAFETY: `at` found all of the pairs inside the mapping and writable, and the first number is aligned, so all are;
                // otherwise as in `store_u32`.
                unsafe {
                    AtomicU64::from_ptr(number).store(*first, Ordering::Relaxed);
                    AtomicU64::from_ptr(number.wrapping_add(1)).store(*second, Ordering::Release);
                }
                number = number.wrapping_add(2);
            }
        })
    }

    /// The address of a range, if it lies inside the mapping and allows `needed`.
    #[inline]
    fn inside(&self, offset: usize, length: usize, needed: Access) -> Option<*mut u8> {
        let fits = length <= self.usable && offset <= self.usable - length;
        (fits && self.access.allows(needed)).then(|| self.start.as_ptr().wrapping_add(offset))
    }

    /// The same of one of which our callers have looked.
    #[inline]
    fn at(&self, offset: usize, length: usize, needed: Access) -> *mut u8 {
        self.inside(offset, length, needed).unwrap_or_else(|| self.outside(offset, length, needed))
    }

    #[cold]
    fn outside(&self, offset: usize, length: usize, needed: Access) -> ! {
        panic!(
            "{offset} + {length} is outside, or {needed:?} is too much: a mapping of {} for {:?}",
            self.usable, self.access
        );
    }

    #[inline]
    fn aligned<T>(&self, offset: usize, needed: Access) -> *mut T {
        let number = self.at(offset, size_of::<T>(), needed).cast::<T>();
        assert!(number.is_aligned(), "numbers are aligned");
        number
    }

    #[inline]
    fn guarded<T>(&self, access: impl FnOnce() -> T) -> Result<T, Lost> {
        if self.lost.get() {
            return Err(Lost);
        }
        let (value, hit) = guard::during(self.base.as_ptr(), self.length, access);
        if hit {
            self.lost.set(true);
            return Err(Lost);
        }
        Ok(value)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `new` mapped exactly this range (the guard may have put other pages there, never elsewhere), and no pointer into
        // it outlives the method that made it. A failure would leave the range mapped, which is safe.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.length) };
    }
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

    fn whole(file: &OwnedFd, length: u64, access: Access) -> Mapping {
        Mapping::new(file.as_fd(), &FilePart { offset: 0, length, page_bytes: 4096 }, access).expect("map")
    }

    #[test]
    fn a_file_cut_short_is_lost_memory_and_not_a_dead_process() {
        let (short, other) = (file(8192), file(8192));
        let lost = whole(&short, 8192, Access::BOTH);
        let kept = whole(&other, 8192, Access::BOTH);
        lost.write(8000, &[1; 192]).expect("it lies inside").expect("still there");
        ftruncate(&short, 4096).expect("cut");
        let mut into = [0; 16];
        assert_eq!(lost.read(4090, &mut into), Some(Err(Lost)), "the second page is gone");
        assert_eq!(lost.read(0, &mut into), Some(Err(Lost)), "and the mapping with it");
        assert_eq!(lost.store_u64(0, 1), Err(Lost));
        kept.write(0, &[2; 16]).expect("it lies inside").expect("other memory is untouched");
        kept.read(0, &mut into).expect("it lies inside").expect("and readable");
        assert_eq!(into, [2; 16]);
    }

    /// As with huge pages, of which firmware has small pieces mapped: the kernel maps more than was asked for.
    #[test]
    fn a_part_of_a_large_page_begins_where_it_was_asked_to() {
        let file = file(4 << 20);
        let part = FilePart { offset: 0xc_0000, length: 0x2_0000, page_bytes: 2 << 20 };
        let piece = Mapping::new(file.as_fd(), &part, Access::BOTH).expect("map");
        piece.write(0, b"piece").expect("it lies inside").expect("write");
        piece.store_u32(0x1_fffc, 7).expect("store");
        let mut into = [0; 5];
        whole(&file, 4 << 20, Access::READ).read(0xc_0000, &mut into).expect("it lies inside").expect("read");
        assert_eq!(&into, b"piece");
        assert_eq!(whole(&file, 4 << 20, Access::READ).load_u32(0xd_fffc), Ok(7));
        assert_eq!((piece.length, piece.start.addr().get() - piece.base.addr().get()), (2 << 20, 0xc_0000));
        let huge = FilePart { offset: 0, length: u64::MAX - 4095, page_bytes: 2 << 20 };
        assert!(Mapping::new(file.as_fd(), &huge, Access::BOTH).is_err());
    }

    #[test]
    fn stores_atomics_and_writes_survive_the_loss_too() {
        for access in 0..7 {
            let short = file(4096);
            let mapping = whole(&short, 4096, Access::BOTH);
            ftruncate(&short, 0).expect("cut");
            let outcome = match access {
                0 => mapping.write(0, &[1; 4096]).expect("it lies inside"),
                5 => mapping.read_far(0, &mut [0; 4096]).expect("it lies inside"),
                1 => mapping.load_u32(8).map(|_| ()),
                2 => mapping.store_u32(8, 1),
                6 => mapping.exchange_u32(8, 0, 1).map(|_| ()),
                3 => mapping.store_pairs(16, &[[1, 2]]),
                _ => mapping.store_u64(8, 1),
            };
            assert_eq!(outcome, Err(Lost));
        }
    }

    #[test]
    fn numbers_are_little_endian_and_shared() {
        let shared = file(4096);
        let one = whole(&shared, 4096, Access::BOTH);
        let other = whole(&shared, 4096, Access::READ);
        one.store_u32(4, 0x0403_0201).expect("store");
        one.store_u64(8, 0x0807_0605_0403_0201).expect("store");
        let mut bytes = [0; 12];
        other.read(4, &mut bytes).expect("it lies inside").expect("read");
        assert_eq!(bytes, [1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(other.load_u32(4), Ok(0x0403_0201));
        one.store_u16(2, 0x0201).expect("store");
        assert_eq!(one.exchange_u32(4, 1, 9), Ok(0x0403_0201), "something else is there");
        assert_eq!(one.exchange_u32(4, 0x0403_0201, 9), Ok(0x0403_0201));
        assert_eq!(other.load_u32(4), Ok(9));
        assert_eq!((other.load_u16(2), other.load_u32(0)), (Ok(0x0201), Ok(0x0201_0000)));
        one.store_pairs(16, &[[1_u64.to_le(), 2_u64.to_le()], [3_u64.to_le(), 4_u64.to_le()]]).expect("store");
        assert_eq!((other.load_u32(24), other.load_u32(32), other.load_u32(40)), (Ok(2), Ok(3), Ok(4)));
    }

    #[test]
    #[should_panic(expected = "is outside")]
    fn a_range_outside_is_our_own_mistake() {
        let mapping = whole(&file(4096), 4096, Access::BOTH);
        assert_eq!(mapping.read(4095, &mut [0; 2]), None);
        let _ = mapping.load_u32(4096);
    }

    #[test]
    #[should_panic(expected = "is too much")]
    fn so_is_a_write_to_what_is_read_only() {
        let mapping = whole(&file(4096), 4096, Access::READ);
        assert_eq!(mapping.write(0, &[0]), None);
        let _ = mapping.store_u32(0, 0);
    }
}
