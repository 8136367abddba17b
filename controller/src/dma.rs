//! Guest memory as the controller sees it. Whoever holds the mappings implements the trait (the vfio-user server, the vhost front, a
//! test); the controller itself never holds an address of this process.

mod flat;

use nvme_spec::SglDescriptor;

pub use flat::FlatMemory;

/// An access to guest memory failed: part of it is not mapped, may not be accessed that way, or wraps past the last address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaFault {
    /// The guest address at which the access began.
    pub address: u64,
}

/// Guest memory: a table of mappings that does not change during one step of the controller.
///
/// An access may cross from one mapping into the next; it fails as a whole if any byte of it cannot be reached, and may then have
/// moved some of the bytes. Memory is shared with the guest's processors, which may change it at any time: a caller copies once
/// and decides on the copy. The device's own BAR is never part of the table, so that a command cannot reach back into the
/// controller.
pub trait GuestMemory {
    /// Copies from guest memory.
    ///
    /// # Errors
    /// [`DmaFault`] if any byte cannot be read.
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), DmaFault>;

    /// The same for an `into` that will not be read soon: it need not be loaded into the processor's caches. This thread sees the bytes at
    /// once, others after [`GuestMemory::store_fence`].
    ///
    /// # Errors
    /// As [`GuestMemory::read`].
    #[inline]
    fn read_non_temporal(&self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        self.read(address, into)
    }

    /// Orders the stores of earlier non-temporal reads before everything that this thread stores from now on.
    fn store_fence(&self) {}

    /// The bytes will be written to guest memory soon: they may be prefetched.
    #[inline]
    fn prefetch(&self, bytes: &[u8]) {
        let _ = bytes;
    }

    /// Copies to guest memory.
    ///
    /// # Errors
    /// [`DmaFault`] if any byte cannot be written.
    fn write(&self, address: u64, from: &[u8]) -> Result<(), DmaFault>;

    /// One load of a naturally aligned 32-bit little-endian number, with acquire ordering.
    ///
    /// # Errors
    /// [`DmaFault`] if it cannot be read or is not aligned.
    fn load_u32(&self, address: u64) -> Result<u32, DmaFault>;

    /// One store of a naturally aligned 32-bit little-endian number, with release ordering.
    ///
    /// # Errors
    /// [`DmaFault`] if it cannot be written or is not aligned.
    fn store_u32(&self, address: u64, value: u32) -> Result<(), DmaFault>;

    /// Replaces a naturally aligned 32-bit little-endian number by `new` if it is `current`, and returns what was there: one atomic
    /// operation where others may write at the same time. This default is enough for memory that is not shared.
    ///
    /// # Errors
    /// [`DmaFault`] if it cannot be read and written or is not aligned.
    fn exchange_u32(&self, address: u64, current: u32, new: u32) -> Result<u32, DmaFault> {
        let found = self.load_u32(address)?;
        if found == current {
            self.store_u32(address, new)?;
        }
        Ok(found)
    }

    /// One store of a naturally aligned 64-bit little-endian number, with release ordering: what was written before is visible to
    /// whoever sees this number.
    ///
    /// # Errors
    /// [`DmaFault`] if it cannot be written or is not aligned.
    fn store_u64(&self, address: u64, value: u64) -> Result<(), DmaFault>;

    /// Stores consecutive pairs of little-endian 64-bit numbers, starting at a multiple of 16. Whoever sees the second number of a pair
    /// also sees the first and everything that was written before. The numbers are passed as they shall be in memory.
    ///
    /// # Errors
    /// [`DmaFault`] if any cannot be written or `address` is not aligned; some pairs may have been stored then.
    fn store_pairs(&self, address: u64, pairs: &[[u64; 2]]) -> Result<(), DmaFault> {
        for (index, [first, second]) in pairs.iter().enumerate() {
            let at = address.checked_add(index as u64 * 16).ok_or(DmaFault { address })?;
            self.store_u64(at, u64::from_le(*first))?;
            self.store_u64(at + 8, u64::from_le(*second))?;
        }
        Ok(())
    }

    /// Whether all of `length` bytes from `address` on are mapped, readable and writable. True for an empty range.
    fn is_mapped(&self, address: u64, length: u64) -> bool;

    /// A number that changes whenever the table of mappings does.
    fn generation(&self) -> u64;
}

/// The page of doorbells that the guest may store to without notification (`doorbells=mapped`).
pub trait DoorbellPage {
    /// The 32-bit value at doorbell `index` (index 0 is at BAR0 offset 1000h, with a stride of 4 bytes), with acquire ordering.
    fn load(&self, index: usize) -> u32;

    /// The place in `watched`, a list of doorbells, of the first one that does not hold what was `seen` there, by doorbell.
    fn first_changed(&self, watched: &[u16], seen: &[u32]) -> Option<usize> {
        watched.iter().position(|&index| seen[usize::from(index)] != self.load(usize::from(index)))
    }

    /// Puts `value` where the guest would read it back; used at reset and for doorbells that arrive by message.
    fn store(&self, index: usize, value: u32);
}

/// A command's data pointer, as selected by PSDT.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DataPointer {
    Prp(PrpEntries),
    Sgl(SglDescriptor),
}

/// The data pointer of a command that uses PRPs (NVMe Base 2.1 section 4.1.1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct PrpEntries {
    pub(crate) prp1: u64,
    pub(crate) prp2: u64,
}

/// A contiguous piece of guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Guest address.
    pub address: u64,
    /// Length in bytes, at least 1.
    pub length: usize,
}

/// Adds the next piece of a command's data. A piece that continues the last one is merged with it; an empty one is dropped.
#[inline]
pub(crate) fn append(segments: &mut Vec<Segment>, address: u64, length: u64) {
    // Transfers are a few megabytes at most.
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length == 0 {
        return;
    }
    if let Some(last) = segments.last_mut()
        && last.address.checked_add(last.length as u64) == Some(address)
    {
        last.length += length;
        return;
    }
    segments.push(Segment { address, length });
}

/// The data of one command in guest memory: a source and sink for the media, which does not know where it is.
pub(crate) struct Transfer<'a, M> {
    memory: &'a M,
    segments: &'a [Segment],
    /// Where the last access ended: index of a segment, and the offset in the data at which it begins.
    cursor: (usize, usize),
}

impl<'a, M: GuestMemory> Transfer<'a, M> {
    #[inline]
    pub(crate) fn new(memory: &'a M, segments: &'a [Segment]) -> Self {
        Self { memory, segments, cursor: (0, 0) }
    }

    /// Calls `access` with each guest address that belongs to `length` bytes from `offset` on, and its part of that range.
    #[inline(never)]
    fn visit(
        &mut self,
        offset: usize,
        length: usize,
        mut access: impl FnMut(&M, u64, std::ops::Range<usize>) -> Result<(), DmaFault>,
    ) -> Result<(), media::Fault> {
        let (mut index, mut base) = if offset < self.cursor.1 { (0, 0) } else { self.cursor };
        let mut done = 0;
        while done < length {
            let segment = self.segments.get(index).ok_or(media::Fault)?;
            let inside = offset + done - base;
            if inside >= segment.length {
                index += 1;
                base += segment.length;
                continue;
            }
            let piece = (segment.length - inside).min(length - done);
            let address = segment.address.checked_add(inside as u64).ok_or(media::Fault)?;
            access(self.memory, address, done..done + piece).map_err(|_| media::Fault)?;
            done += piece;
        }
        self.cursor = (index, base);
        Ok(())
    }
}

impl<M: GuestMemory> media::Source for Transfer<'_, M> {
    #[inline]
    fn fill(&mut self, offset: usize, into: &mut [u8]) -> Result<(), media::Fault> {
        self.visit(offset, into.len(), |memory, address, part| memory.read(address, &mut into[part]))
    }

    #[inline]
    fn fill_non_temporal(&mut self, offset: usize, into: &mut [u8]) -> Result<(), media::Fault> {
        self.visit(offset, into.len(), |memory, address, part| memory.read_non_temporal(address, &mut into[part]))
    }
}

impl<M: GuestMemory> media::Sink for Transfer<'_, M> {
    #[inline]
    fn take(&mut self, offset: usize, from: &[u8]) -> Result<(), media::Fault> {
        self.visit(offset, from.len(), |memory, address, part| memory.write(address, &from[part]))
    }
}

/// The data of a command in one piece.
pub(crate) struct Piece<'a, M> {
    memory: &'a M,
    segment: Segment,
}

impl<'a, M: GuestMemory> Piece<'a, M> {
    #[inline]
    pub(crate) fn new(memory: &'a M, segment: Segment) -> Self {
        Self { memory, segment }
    }

    /// The guest address of `length` bytes from `offset` on.
    #[inline]
    fn address(&self, offset: usize, length: usize) -> Result<u64, media::Fault> {
        if length > self.segment.length || offset > self.segment.length - length {
            return Err(media::Fault);
        }
        self.segment.address.checked_add(offset as u64).ok_or(media::Fault)
    }
}

impl<M: GuestMemory> media::Source for Piece<'_, M> {
    #[inline]
    fn fill(&mut self, offset: usize, into: &mut [u8]) -> Result<(), media::Fault> {
        self.memory.read(self.address(offset, into.len())?, into).map_err(|_| media::Fault)
    }

    #[inline]
    fn fill_non_temporal(&mut self, offset: usize, into: &mut [u8]) -> Result<(), media::Fault> {
        self.memory.read_non_temporal(self.address(offset, into.len())?, into).map_err(|_| media::Fault)
    }
}

impl<M: GuestMemory> media::Sink for Piece<'_, M> {
    #[inline]
    fn take(&mut self, offset: usize, from: &[u8]) -> Result<(), media::Fault> {
        self.memory.write(self.address(offset, from.len())?, from).map_err(|_| media::Fault)
    }
}
