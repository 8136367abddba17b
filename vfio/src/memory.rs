//! Guest memory: a sorted table from guest address to mapping, fed by DMA_MAP and DMA_UNMAP.
//!
//! The device holds guest addresses only and looks them up at each access, so memory that goes away (firmware unmaps and remaps
//! all low memory while queues are live) is a [`DmaFault`] until it is back, and never a dangling pointer.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use controller::dma::{DmaFault, GuestMemory};
use rustix::fs::{FileType, fstat, fstatfs};
use tracing::warn;

use crate::PAGE_BYTES;
use crate::limit::Limit;
use crate::mapping::{self, Access, FilePart, Lost, Mapping};
use crate::message::{DmaMap, DmaUnmap, Errno};

/// How many ranges a client may map: the protocol's default.
pub const MAPS_MAX: usize = 65_535;
/// How many of them may be shared memory. Linux gives a process 65530 mappings, and our own allocations need some.
pub const SHARED_MAPS_MAX: usize = 32_768;
/// Bytes of shared memory that may be mapped at a time: far more than a guest has, far less than our address space.
pub const SHARED_BYTES_MAX: u64 = 1 << 44;
/// Bytes of the longest range.
pub const RANGE_BYTES_MAX: u64 = 1 << 48;

/// Flags of DMA_MAP: the device may read, the device may write.
const MAP_READ: u32 = 1 << 0;
const MAP_WRITE: u32 = 1 << 1;
/// Flags of DMA_UNMAP: report dirty pages (not offered), unmap all.
const UNMAP_DIRTY_BITMAP: u32 = 1 << 0;
const UNMAP_ALL: u32 = 1 << 1;

/// What fstatfs says of a file on hugetlbfs, memory files of huge pages included.
const HUGETLBFS_MAGIC: rustix::fs::FsWord = 0x9584_58f6;

#[derive(Debug)]
struct Range {
    first: u64,
    /// Inclusive, so that a range may reach the last address.
    last: u64,
    access: Access,
    /// None if the client sent no descriptor: there is something, but only the client can reach it.
    mapping: Option<Mapping>,
}

/// The table. Not shared between threads; moves between them.
#[derive(Debug, Default)]
pub struct Memory {
    /// In ascending order, not overlapping.
    ranges: Vec<Range>,
    /// Index of the range that was found last: accesses come in runs.
    recent: Cell<usize>,
    generation: u64,
    shared_bytes: u64,
    shared_maps: usize,
    unshared: Limit,
    unreachable: Limit,
    lost: Limit,
}

impl Memory {
    /// How many ranges there are, and how many bytes of them are shared memory.
    #[must_use]
    pub fn extent(&self) -> (usize, u64) {
        (self.ranges.len(), self.shared_bytes)
    }

    /// DMA_MAP. The descriptor is closed in any case; the mapping keeps the file.
    ///
    /// # Errors
    /// The errno of the error reply; the table is unchanged.
    pub fn map(&mut self, request: &DmaMap, descriptor: Option<OwnedFd>) -> Result<(), Errno> {
        let (last, access) = check(request)?;
        let index = self.ranges.partition_point(|range| range.last < request.address);
        if self.ranges.get(index).is_some_and(|range| range.first <= last) {
            return Err(Errno::EXIST);
        }
        if self.ranges.len() >= MAPS_MAX {
            return Err(Errno::NOSPC);
        }
        let mapping = match descriptor {
            Some(file) => Some(self.share(request, access, &file)?),
            None => {
                self.note_unshared(request);
                None
            }
        };
        self.ranges.insert(index, Range { first: request.address, last, access, mapping });
        self.generation += 1;
        Ok(())
    }

    fn share(&mut self, request: &DmaMap, access: Access, file: &OwnedFd) -> Result<Mapping, Errno> {
        let total = self.shared_bytes.saturating_add(request.length);
        if self.shared_maps >= SHARED_MAPS_MAX || total > SHARED_BYTES_MAX {
            return Err(Errno::NOSPC);
        }
        let part = file_part(request, file)?;
        let mapping = Mapping::new(file.as_fd(), &part, access).map_err(|error| errno(&error))?;
        self.shared_bytes = total;
        self.shared_maps += 1;
        Ok(mapping)
    }

    /// Firmware flash, frame buffers and the registers of other devices come without a descriptor too, and need none. What begins
    /// at address 0 and may be written is the guest's main memory.
    fn note_unshared(&self, request: &DmaMap) {
        let is_main_memory = request.flags & MAP_WRITE != 0 && request.address == 0;
        if is_main_memory && let Some(times) = self.unshared.admit() {
            warn!(bytes = request.length, times, "the guest's memory is not shared with us: is share=on missing?");
        }
    }

    /// DMA_UNMAP: all ranges that lie inside the given one go. None inside is no error (an IOMMU's client unmaps more than it
    /// mapped), one that is cut by its border is.
    ///
    /// # Errors
    /// The errno of the error reply; the table is unchanged.
    pub fn unmap(&mut self, request: &DmaUnmap) -> Result<(), Errno> {
        if request.flags & UNMAP_DIRTY_BITMAP != 0 || request.flags & !UNMAP_ALL != 0 {
            return Err(Errno::INVAL);
        }
        if request.flags & UNMAP_ALL != 0 {
            if request.address != 0 || request.length != 0 {
                return Err(Errno::INVAL);
            }
            self.clear();
            return Ok(());
        }
        let last = last_address(request.address, request.length).ok_or(Errno::INVAL)?;
        let from = self.ranges.partition_point(|range| range.last < request.address);
        let to = self.ranges.partition_point(|range| range.first <= last);
        let cut = |range: &Range| range.first < request.address || range.last > last;
        if self.ranges.get(from..to).is_none_or(|inside| inside.iter().any(cut)) {
            return Err(Errno::INVAL);
        }
        for range in self.ranges.drain(from..to) {
            if range.mapping.is_some() {
                self.shared_maps -= 1;
                self.shared_bytes -= range.last - range.first + 1;
            }
        }
        self.generation += 1;
        Ok(())
    }

    /// Forgets and unmaps everything.
    pub fn clear(&mut self) {
        self.ranges = Vec::new();
        self.recent.set(0);
        self.shared_bytes = 0;
        self.shared_maps = 0;
        self.generation += 1;
    }

    /// The mapping that was found last, and the offset that an address has in it: one beyond any mapping, where it lies before it.
    #[inline]
    fn in_recent(&self, address: u64) -> Option<(&Mapping, usize)> {
        let range = self.ranges.get(self.recent.get())?;
        Some((range.mapping.as_ref()?, usize::try_from(address.wrapping_sub(range.first)).ok()?))
    }

    fn find(&self, address: u64) -> Option<&Range> {
        let holds = |range: &&Range| range.first <= address && address <= range.last;
        if let Some(range) = self.ranges.get(self.recent.get()).filter(holds) {
            return Some(range);
        }
        let index = self.ranges.partition_point(|range| range.last < address);
        let range = self.ranges.get(index).filter(holds)?;
        self.recent.set(index);
        Some(range)
    }

    /// The mapping at `address`, the offset into it, and how many bytes it has from there on.
    fn locate(&self, address: u64, needed: Access) -> Option<(&Mapping, usize, usize)> {
        let range = self.find(address).filter(|range| range.access.allows(needed))?;
        let Some(mapping) = &range.mapping else {
            if let Some(times) = self.unreachable.admit() {
                warn!(
                    address = format_args!("{address:#x}"),
                    times, "DMA to memory that is not shared with us: is share=on missing?"
                );
            }
            return None;
        };
        let offset = usize::try_from(address - range.first).ok()?;
        let available = usize::try_from(range.last - address).ok()?.checked_add(1)?;
        Some((mapping, offset, available))
    }

    /// Calls `copy` with each piece of `address..address + length`: the mapping, the offset in it, and which of the bytes.
    #[inline(never)]
    fn pieces(
        &self,
        address: u64,
        length: usize,
        needed: Access,
        mut copy: impl FnMut(&Mapping, usize, std::ops::Range<usize>) -> Result<(), Lost>,
    ) -> Result<(), DmaFault> {
        let fault = DmaFault { address };
        let mut done = 0;
        while done < length {
            let at = address.checked_add(done as u64).ok_or(fault)?;
            let (mapping, offset, available) = self.locate(at, needed).ok_or(fault)?;
            let count = available.min(length - done);
            copy(mapping, offset, done..done + count).map_err(|lost| self.report(at, lost))?;
            done += count;
        }
        Ok(())
    }

    #[inline]
    fn read_by(
        &self,
        address: u64,
        into: &mut [u8],
        read: impl Fn(&Mapping, usize, &mut [u8]) -> Option<Result<(), Lost>>,
    ) -> Result<(), DmaFault> {
        let recent = self.in_recent(address).and_then(|(mapping, offset)| read(mapping, offset, into));
        if let Some(done) = recent {
            return done.map_err(|lost| self.report(address, lost));
        }
        self.pieces(address, into.len(), Access::READ, |mapping, offset, part| {
            read(mapping, offset, &mut into[part]).expect("a piece lies inside its mapping")
        })
    }

    /// One aligned number of `N` bytes.
    fn number<const N: u64, T>(
        &self,
        address: u64,
        needed: Access,
        access: impl FnOnce(&Mapping, usize) -> Result<T, Lost>,
    ) -> Result<T, DmaFault> {
        let fault = DmaFault { address };
        if !address.is_multiple_of(N) {
            return Err(fault);
        }
        // Ranges are whole pages, so an aligned number lies in one of them.
        let (mapping, offset, _) = self.locate(address, needed).ok_or(fault)?;
        access(mapping, offset).map_err(|lost| self.report(address, lost))
    }

    /// One load of a naturally aligned 16-bit little-endian number, with acquire ordering.
    ///
    /// # Errors
    /// [`DmaFault`] if it cannot be read or is not aligned.
    pub fn load_u16(&self, address: u64) -> Result<u16, DmaFault> {
        self.number::<2, _>(address, Access::READ, Mapping::load_u16)
    }

    /// One store of a naturally aligned 16-bit little-endian number, with release ordering.
    ///
    /// # Errors
    /// [`DmaFault`] if it cannot be written or is not aligned.
    pub fn store_u16(&self, address: u64, value: u16) -> Result<(), DmaFault> {
        self.number::<2, _>(address, Access::WRITE, |mapping, offset| mapping.store_u16(offset, value))
    }

    fn report(&self, address: u64, _: Lost) -> DmaFault {
        if let Some(times) = self.lost.admit() {
            warn!(address = format_args!("{address:#x}"), times, "guest memory vanished: its file was cut short");
        }
        DmaFault { address }
    }
}

/// The last address of a range that is whole pages, not empty, not absurdly long, and does not wrap.
fn last_address(address: u64, length: u64) -> Option<u64> {
    let whole = address.is_multiple_of(PAGE_BYTES) && length.is_multiple_of(PAGE_BYTES);
    (whole && length > 0).then(|| address.checked_add(length - 1)).flatten()
}

fn check(request: &DmaMap) -> Result<(u64, Access), Errno> {
    let last = last_address(request.address, request.length).ok_or(Errno::INVAL)?;
    let wraps = request.offset.checked_add(request.length).is_none();
    let access = Access { read: request.flags & MAP_READ != 0, write: request.flags & MAP_WRITE != 0 };
    let strange = request.flags & !(MAP_READ | MAP_WRITE) != 0 || !(access.read || access.write);
    if wraps || strange || request.length > RANGE_BYTES_MAX {
        return Err(Errno::INVAL);
    }
    Ok((last, access))
}

/// A file that is shorter than the range would be memory that is not there (SPDK without single-file segments sends such). The descriptor
/// was vetted: that of an unknown file would not be asked anything.
fn file_part(request: &DmaMap, file: &OwnedFd) -> Result<FilePart, Errno> {
    if !request.offset.is_multiple_of(PAGE_BYTES) {
        return Err(Errno::INVAL);
    }
    let status = fstat(file).map_err(|_| Errno::INVAL)?;
    let length = u64::try_from(status.st_size).unwrap_or(0);
    let plausible = match FileType::from_raw_mode(status.st_mode) {
        // The rest of a file's last page is there as well.
        FileType::RegularFile => request.offset + request.length <= length.next_multiple_of(PAGE_BYTES),
        _ => false,
    };
    if !plausible {
        return Err(Errno::INVAL);
    }
    Ok(FilePart { offset: request.offset, length: request.length, page_bytes: page_bytes(file) })
}

/// What a file is mapped in multiples of: huge pages if it consists of such.
fn page_bytes(file: &OwnedFd) -> u64 {
    let huge = fstatfs(file).ok().filter(|status| status.f_type == HUGETLBFS_MAGIC);
    huge.and_then(|status| u64::try_from(status.f_bsize).ok()).map_or(PAGE_BYTES, |bytes| bytes.max(PAGE_BYTES))
}

fn errno(error: &io::Error) -> Errno {
    let code = error.raw_os_error().and_then(|code| u32::try_from(code).ok());
    code.map_or(Errno::INVAL, Errno)
}

impl GuestMemory for Memory {
    #[inline]
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        self.read_by(address, into, Mapping::read)
    }

    #[inline]
    fn read_far(&self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        self.read_by(address, into, Mapping::read_far)
    }

    #[inline]
    fn settle(&self) {
        mapping::settle();
    }

    #[inline]
    fn bring_near(&self, bytes: &[u8]) {
        mapping::bring_near(bytes);
    }

    #[inline]
    fn write(&self, address: u64, from: &[u8]) -> Result<(), DmaFault> {
        let recent = self.in_recent(address).and_then(|(mapping, offset)| mapping.write(offset, from));
        if let Some(written) = recent {
            return written.map_err(|lost| self.report(address, lost));
        }
        self.pieces(address, from.len(), Access::WRITE, |mapping, offset, part| {
            mapping.write(offset, &from[part]).expect("a piece lies inside its mapping")
        })
    }

    fn load_u32(&self, address: u64) -> Result<u32, DmaFault> {
        self.number::<4, _>(address, Access::READ, Mapping::load_u32)
    }

    fn store_u32(&self, address: u64, value: u32) -> Result<(), DmaFault> {
        self.number::<4, _>(address, Access::WRITE, |mapping, offset| mapping.store_u32(offset, value))
    }

    fn exchange_u32(&self, address: u64, current: u32, new: u32) -> Result<u32, DmaFault> {
        self.number::<4, _>(address, Access::BOTH, |mapping, offset| mapping.exchange_u32(offset, current, new))
    }

    fn store_u64(&self, address: u64, value: u64) -> Result<(), DmaFault> {
        self.number::<8, _>(address, Access::WRITE, |mapping, offset| mapping.store_u64(offset, value))
    }

    fn store_pairs(&self, address: u64, pairs: &[[u64; 2]]) -> Result<(), DmaFault> {
        if !address.is_multiple_of(16) {
            return Err(DmaFault { address });
        }
        // Ranges are whole pages, so a pair lies in one of them.
        self.pieces(address, size_of_val(pairs), Access::WRITE, |mapping, offset, part| {
            mapping.store_pairs(offset, &pairs[part.start / 16..part.end / 16])
        })
    }

    fn is_mapped(&self, address: u64, length: u64) -> bool {
        let Some(last_z) = length.checked_sub(1) else { return true };
        let Some(last) = address.checked_add(last_z) else { return false };
        let mut at = address;
        loop {
            let Some(range) = self.find(at).filter(|range| range.mapping.is_some() && range.access == Access::BOTH)
            else {
                return false;
            };
            if range.last >= last {
                return true;
            }
            at = range.last + 1;
        }
    }

    fn generation(&self) -> u64 {
        self.generation
    }
}
