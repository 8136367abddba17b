//! The table of guest memory: from guest address to mapping, in order. Its owner changes it between two steps of the device.
//!
//! The device holds guest addresses only and looks them up at each access. So memory that goes away (firmware unmaps and remaps all low
//! memory while queues are live) is a [`DmaFault`] until it is back, and never a dangling pointer.
//!
//! `vm-memory`'s own collection of regions is copied for each change, has no ranges that only the client can reach or that the device
//! may only read, and no number that shows that it changed; a guest with an IOMMU changes a table of thousands of maps for each
//! command.

mod lent;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use controller::dma::{DmaFault, GuestMemory};
use rustix::fs::{FileType, fstat, fstatfs};
use thiserror::Error;
use tracing::warn;
use vm_memory::{AtomicAccess, Permissions};

use crate::PAGE_BYTES;
use crate::limit::Limit;
use crate::mapping::{self, FilePart, Lost, Mapping, allows};

/// How many ranges a client may map: the default of vfio-user.
pub const MAPS_MAX: usize = 65_535;
/// How many of them may be shared memory. Linux gives a process 65530 mappings, and our own allocations need some.
pub const SHARED_MAPS_MAX: usize = 32_768;
/// Bytes of shared memory that may be mapped at a time: far more than a guest has, far less than our address space.
pub const SHARED_BYTES_MAX: u64 = 1 << 44;
/// Bytes of the longest range.
pub const RANGE_BYTES_MAX: u64 = 1 << 48;

/// What fstatfs says of a file on hugetlbfs, memory files of huge pages included.
const HUGETLBFS_MAGIC: rustix::fs::FsWord = 0x9584_58f6;

/// A range of guest memory that a client shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapRequest {
    /// Guest address: a multiple of [`PAGE_BYTES`].
    pub address: u64,
    /// Bytes: a multiple of [`PAGE_BYTES`], not 0.
    pub length: u64,
    /// What the device may do.
    pub access: Permissions,
    /// Where the range begins in its file: a multiple of [`PAGE_BYTES`].
    pub offset: u64,
}

/// The table stays as it is: why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MapError {
    /// Not whole pages, empty, absurdly long, beyond the last address or for no use; a file that is none or is shorter; or a range to
    /// take away that cuts another.
    #[error("such a range cannot be")]
    Impossible,
    /// Some of it is mapped already.
    #[error("a part of the range is mapped already")]
    Overlap,
    /// There are as many ranges, or as many bytes, as there may be.
    #[error("there are as many ranges, or bytes of them, as there may be")]
    Full,
    /// The system does not map the file: its error number.
    #[error("the file cannot be mapped: {}", io::Error::from_raw_os_error(*.0))]
    System(i32),
}

#[derive(Debug)]
struct Range {
    first: u64,
    /// Inclusive, so that a range may reach the last address.
    last: u64,
    access: Permissions,
    /// None if the client sent no descriptor: there is something, but only the client can reach it.
    mapping: Option<Mapping>,
}

/// The table.
#[derive(Debug, Default)]
pub struct Memory {
    /// In ascending order, not overlapping.
    ranges: Vec<Range>,
    /// Index of the range that was found last: accesses come in runs.
    recent: AtomicUsize,
    generation: u64,
    shared_bytes: u64,
    shared_maps: usize,
    unshared: Limit,
    unreachable: Limit,
    lost: Limit,
}

impl Memory {
    /// An empty table that takes the place of this one, as one change.
    #[must_use]
    pub fn successor(&self) -> Self {
        Self { generation: self.generation + 1, ..Self::default() }
    }

    /// How many ranges there are, and how many bytes of them are shared memory.
    #[must_use]
    pub fn extent(&self) -> (usize, u64) {
        (self.ranges.len(), self.shared_bytes)
    }

    /// Adds a range: one that only the client can reach, if there is no file. The descriptor is closed in any case; the mapping keeps
    /// the file.
    ///
    /// # Errors
    /// [`MapError`]; the table is unchanged.
    pub fn map(&mut self, request: &MapRequest, file: Option<OwnedFd>) -> Result<(), MapError> {
        let last = check(request).ok_or(MapError::Impossible)?;
        let index = self.ranges.partition_point(|range| range.last < request.address);
        if self.ranges.get(index).is_some_and(|range| range.first <= last) {
            return Err(MapError::Overlap);
        }
        if self.ranges.len() >= MAPS_MAX {
            return Err(MapError::Full);
        }
        let mapping = match file {
            Some(file) => Some(self.share(request, &file)?),
            None => {
                self.note_unshared(request);
                None
            }
        };
        self.ranges.insert(index, Range { first: request.address, last, access: request.access, mapping });
        self.generation += 1;
        Ok(())
    }

    fn share(&mut self, request: &MapRequest, file: &OwnedFd) -> Result<Mapping, MapError> {
        let total = self.shared_bytes.saturating_add(request.length);
        if self.shared_maps >= SHARED_MAPS_MAX || total > SHARED_BYTES_MAX {
            return Err(MapError::Full);
        }
        let part = file_part(request, file).ok_or(MapError::Impossible)?;
        let mapping = Mapping::new(file.as_fd(), &part, request.access)
            .map_err(|error| error.raw_os_error().map_or(MapError::Impossible, MapError::System))?;
        self.shared_bytes = total;
        self.shared_maps += 1;
        Ok(mapping)
    }

    /// Firmware flash, frame buffers and the registers of other devices come without a descriptor too, and need none. What begins
    /// at address 0 and may be written is the guest's main memory.
    fn note_unshared(&self, request: &MapRequest) {
        let is_main_memory = request.access.has_write() && request.address == 0;
        if is_main_memory && let Some(times) = self.unshared.admit() {
            warn!(bytes = request.length, times, "the guest's memory is not shared with us: is share=on missing?");
        }
    }

    /// Takes away all ranges that lie inside the given one. None inside is no error (an IOMMU's client unmaps more than it mapped), one
    /// that is cut by its border is.
    ///
    /// # Errors
    /// [`MapError::Impossible`]; the table is unchanged.
    pub fn unmap(&mut self, address: u64, length: u64) -> Result<(), MapError> {
        let last = last_address(address, length).ok_or(MapError::Impossible)?;
        let from = self.ranges.partition_point(|range| range.last < address);
        let to = self.ranges.partition_point(|range| range.first <= last);
        let cut = |range: &Range| range.first < address || range.last > last;
        if self.ranges.get(from..to).is_none_or(|inside| inside.iter().any(cut)) {
            return Err(MapError::Impossible);
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
        self.recent = AtomicUsize::default();
        self.shared_bytes = 0;
        self.shared_maps = 0;
        self.generation += 1;
    }

    /// The mapping that was found last, and the offset that an address has in it: one beyond any mapping, where it lies before it.
    #[inline]
    fn in_recent(&self, address: u64) -> Option<(&Mapping, usize)> {
        let range = self.ranges.get(self.recent.load(Ordering::Relaxed))?;
        Some((range.mapping.as_ref()?, usize::try_from(address.wrapping_sub(range.first)).ok()?))
    }

    fn find(&self, address: u64) -> Option<&Range> {
        let holds = |range: &&Range| range.first <= address && address <= range.last;
        if let Some(range) = self.ranges.get(self.recent.load(Ordering::Relaxed)).filter(holds) {
            return Some(range);
        }
        let index = self.ranges.partition_point(|range| range.last < address);
        let range = self.ranges.get(index).filter(holds)?;
        self.recent.store(index, Ordering::Relaxed);
        Some(range)
    }

    /// The mapping at `address`, the offset into it, and how many bytes it has from there on.
    fn locate(&self, address: u64, needed: Permissions) -> Option<(&Mapping, usize, usize)> {
        let range = self.find(address).filter(|range| allows(range.access, needed))?;
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
        needed: Permissions,
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
        self.pieces(address, into.len(), Permissions::Read, |mapping, offset, part| {
            read(mapping, offset, &mut into[part]).expect("a piece lies inside its mapping")
        })
    }

    /// One aligned number.
    fn number<T: AtomicAccess, R>(
        &self,
        address: u64,
        needed: Permissions,
        access: impl FnOnce(&Mapping, usize) -> Result<R, Lost>,
    ) -> Result<R, DmaFault> {
        let fault = DmaFault { address };
        if !address.is_multiple_of(size_of::<T>() as u64) {
            return Err(fault);
        }
        // Ranges are whole pages, so an aligned number lies in one of them.
        let (mapping, offset, _) = self.locate(address, needed).ok_or(fault)?;
        access(mapping, offset).map_err(|lost| self.report(address, lost))
    }

    /// One load of a naturally aligned number as it lies in memory, with acquire ordering.
    ///
    /// # Errors
    /// [`DmaFault`] if it cannot be read or is not aligned.
    pub fn load_number<T: AtomicAccess>(&self, address: u64) -> Result<T, DmaFault> {
        self.number::<T, _>(address, Permissions::Read, Mapping::load::<T>)
    }

    /// One store of a naturally aligned number as it shall lie in memory, with release ordering.
    ///
    /// # Errors
    /// [`DmaFault`] if it cannot be written or is not aligned.
    pub fn store_number<T: AtomicAccess>(&self, address: u64, value: T) -> Result<(), DmaFault> {
        self.number::<T, _>(address, Permissions::Write, |mapping, offset| mapping.store(offset, value))
    }

    fn report(&self, address: u64, _: Lost) -> DmaFault {
        if let Some(times) = self.lost.admit() {
            warn!(address = format_args!("{address:#x}"), times, "guest memory vanished: its file was truncated");
        }
        DmaFault { address }
    }
}

/// The last address of a range that is whole pages, not empty, not absurdly long, and does not wrap.
fn last_address(address: u64, length: u64) -> Option<u64> {
    let whole = address.is_multiple_of(PAGE_BYTES) && length.is_multiple_of(PAGE_BYTES);
    (whole && length > 0).then(|| address.checked_add(length - 1)).flatten()
}

/// The last address of a range that can be.
fn check(request: &MapRequest) -> Option<u64> {
    let last = last_address(request.address, request.length)?;
    let wraps = request.offset.checked_add(request.length).is_none();
    let possible = !wraps && request.access != Permissions::No && request.length <= RANGE_BYTES_MAX;
    possible.then_some(last)
}

/// A file that is shorter than the range would be memory that is not there (SPDK without single-file segments sends such). The descriptor
/// was vetted: that of an unknown file would not be asked anything.
fn file_part(request: &MapRequest, file: &OwnedFd) -> Option<FilePart> {
    if !request.offset.is_multiple_of(PAGE_BYTES) {
        return None;
    }
    let status = fstat(file).ok()?;
    let length = u64::try_from(status.st_size).unwrap_or(0);
    let plausible = match FileType::from_raw_mode(status.st_mode) {
        // The rest of a file's last page is there as well.
        FileType::RegularFile => request.offset + request.length <= length.next_multiple_of(PAGE_BYTES),
        _ => false,
    };
    plausible.then(|| FilePart { offset: request.offset, length: request.length, page_bytes: page_bytes(file) })
}

/// What a file is mapped in multiples of: huge pages if it consists of such.
fn page_bytes(file: &OwnedFd) -> u64 {
    let huge = fstatfs(file).ok().filter(|status| status.f_type == HUGETLBFS_MAGIC);
    huge.and_then(|status| u64::try_from(status.f_bsize).ok()).map_or(PAGE_BYTES, |bytes| bytes.max(PAGE_BYTES))
}

impl GuestMemory for Memory {
    #[inline]
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        self.read_by(address, into, Mapping::read)
    }

    #[inline]
    fn read_non_temporal(&self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        self.read_by(address, into, Mapping::read_non_temporal)
    }

    #[inline]
    fn store_fence(&self) {
        mapping::store_fence();
    }

    #[inline]
    fn prefetch(&self, bytes: &[u8]) {
        mapping::prefetch(bytes);
    }

    #[inline]
    fn write(&self, address: u64, from: &[u8]) -> Result<(), DmaFault> {
        let recent = self.in_recent(address).and_then(|(mapping, offset)| mapping.write(offset, from));
        if let Some(written) = recent {
            return written.map_err(|lost| self.report(address, lost));
        }
        self.pieces(address, from.len(), Permissions::Write, |mapping, offset, part| {
            mapping.write(offset, &from[part]).expect("a piece lies inside its mapping")
        })
    }

    fn load_u32(&self, address: u64) -> Result<u32, DmaFault> {
        self.load_number(address).map(u32::from_le)
    }

    fn store_u32(&self, address: u64, value: u32) -> Result<(), DmaFault> {
        self.store_number(address, value.to_le())
    }

    fn exchange_u32(&self, address: u64, current: u32, new: u32) -> Result<u32, DmaFault> {
        let (current, new) = (current.to_le(), new.to_le());
        let exchange = |mapping: &Mapping, offset| mapping.exchange_u32(offset, current, new);
        self.number::<u32, _>(address, Permissions::ReadWrite, exchange).map(u32::from_le)
    }

    fn store_u64(&self, address: u64, value: u64) -> Result<(), DmaFault> {
        self.store_number(address, value.to_le())
    }

    fn store_pairs(&self, address: u64, pairs: &[[u64; 2]]) -> Result<(), DmaFault> {
        if !address.is_multiple_of(16) {
            return Err(DmaFault { address });
        }
        // Ranges are whole pages, so a pair lies in one of them.
        self.pieces(address, size_of_val(pairs), Permissions::Write, |mapping, offset, part| {
            mapping.store_pairs(offset, &pairs[part.start / 16..part.end / 16])
        })
    }

    fn is_mapped(&self, address: u64, length: u64) -> bool {
        let Some(last_z) = length.checked_sub(1) else { return true };
        let Some(last) = address.checked_add(last_z) else { return false };
        let mut at = address;
        loop {
            let Some(range) =
                self.find(at).filter(|range| range.mapping.is_some() && range.access == Permissions::ReadWrite)
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
