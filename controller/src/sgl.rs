//! Scatter Gather Lists → segments of guest memory (NVMe Base 2.1 section 4.3.2; rules B123–B127). It reads descriptors from guest
//! memory once each, in order, and stops where the data ends: what lies behind is not looked at.
//!
//! A list may be any number of descriptors without a byte of data, or go on in itself. Neither memory nor time grows with what it
//! claims to be: descriptors are read in batches, and there is an end after [`DESCRIPTORS_MAX`] of them.
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

use nvme_spec::sgl::{DESCRIPTOR_BYTES, SglSubtype, SglType};
use nvme_spec::{SglDescriptor, Status};

use crate::dma::{GuestMemory, Segment, append};

/// How many descriptors are read at a time.
const BATCH: u32 = 64;
/// How many descriptors one command may take. No driver needs a hundredth of it, and a step has an end.
const DESCRIPTORS_MAX: u32 = 1 << 17;
/// A shorter read counts as this many descriptors, since it takes as long: a chain of tiny segments ends sooner.
const READ_COST: u32 = 16;
const BYTES: u32 = 16;
const _: () = assert!(BYTES as usize == DESCRIPTOR_BYTES);

/// Replaces `segments` by the pieces of guest memory that hold `length` bytes, neighbours joined. `first` is the descriptor that the
/// command carries.
pub(crate) fn resolve<M: GuestMemory>(
    memory: &M,
    first: SglDescriptor,
    length: usize,
    segments: &mut Vec<Segment>,
) -> Result<(), Status> {
    segments.clear();
    let mut walk = Walk { missing: length as u64, descriptors_left: DESCRIPTORS_MAX, segments };
    let mut next = walk.take(first)?;
    while let Some(list) = next
        && walk.missing > 0
    {
        next = walk.follow(memory, list)?;
    }
    // An SGL that describes more than the data is accepted, as SGLS says; one that describes less is not.
    if walk.missing == 0 { Ok(()) } else { Err(Status::INVALID_SGL_LENGTH) }
}

/// A segment of the list: descriptors that lie in memory one behind the other.
#[derive(Clone, Copy)]
struct List {
    address: u64,
    descriptors: u32,
    /// It was announced as the last one, so it must not go on.
    last: bool,
}

impl List {
    /// The segment that a segment or last segment descriptor points to.
    fn new(descriptor: &SglDescriptor, last: bool) -> Result<Self, Status> {
        let (address, length) = (descriptor.address.get(), descriptor.length.get());
        // NVMe Base 2.1 section 4.3.2: a segment is one or more whole descriptors and begins at a quadword.
        if length == 0 || !length.is_multiple_of(BYTES) || !address.is_multiple_of(8) {
            return Err(Status::INVALID_SGL_SEGMENT);
        }
        Ok(Self { address, descriptors: length / BYTES, last })
    }
}

/// How far the list has been followed.
struct Walk<'a> {
    /// Bytes of the data that no descriptor has described yet.
    missing: u64,
    /// How many descriptors may still be read.
    descriptors_left: u32,
    segments: &'a mut Vec<Segment>,
}

impl Walk<'_> {
    /// Takes one descriptor: data is noted, and a segment is where to go on. Addresses are those of memory; bit buckets, keys and
    /// offsets are not offered (B123, B126).
    fn take(&mut self, descriptor: SglDescriptor) -> Result<Option<List>, Status> {
        match (descriptor.kind(), descriptor.subtype()) {
            (SglType::DATA_BLOCK, SglSubtype::ADDRESS) => {
                let length = u64::from(descriptor.length.get()).min(self.missing);
                append(self.segments, descriptor.address.get(), length);
                self.missing -= length;
                Ok(None)
            }
            (SglType::SEGMENT, SglSubtype::ADDRESS) => List::new(&descriptor, false).map(Some),
            (SglType::LAST_SEGMENT, SglSubtype::ADDRESS) => List::new(&descriptor, true).map(Some),
            _ => Err(Status::INVALID_SGL_TYPE),
        }
    }

    /// Takes the descriptors of a segment, up to the end of the data; says where the list goes on, if it does.
    fn follow<M: GuestMemory>(&mut self, memory: &M, list: List) -> Result<Option<List>, Status> {
        let mut bytes = [0; BATCH as usize * DESCRIPTOR_BYTES];
        let mut done = 0;
        while done < list.descriptors && self.missing > 0 {
            let count = (list.descriptors - done).min(BATCH);
            // NVMe Base 2.1 section 4.2.3: too many descriptors are what Invalid Number of SGL Descriptors is for.
            let cost = count.max(READ_COST);
            self.descriptors_left = self.descriptors_left.checked_sub(cost).ok_or(Status::INVALID_SGL_COUNT)?;
            let batch = bytes.get_mut(..count as usize * DESCRIPTOR_BYTES).ok_or(Status::INTERNAL_ERROR)?;
            let offset = u64::from(done) * u64::from(BYTES);
            let address = list.address.checked_add(offset).ok_or(Status::DATA_TRANSFER_ERROR)?;
            memory.read(address, batch).map_err(|_| Status::DATA_TRANSFER_ERROR)?;
            done += count;
            if let Some(next) = self.take_batch(batch, (done == list.descriptors).then_some(list))? {
                return Ok(Some(next));
            }
        }
        Ok(None)
    }

    /// Takes descriptors that were read together. They are the last of the segment that `ending` names.
    fn take_batch(&mut self, batch: &[u8], ending: Option<List>) -> Result<Option<List>, Status> {
        let mut descriptors = batch.as_chunks().0.iter().map(|bytes| SglDescriptor::from_bytes(*bytes)).peekable();
        while let Some(descriptor) = descriptors.next()
            && self.missing > 0
        {
            let Some(next) = self.take(descriptor)? else { continue };
            return match ending {
                Some(list) if descriptors.peek().is_none() => {
                    if list.last {
                        Err(Status::INVALID_SGL_SEGMENT)
                    } else {
                        Ok(Some(next))
                    }
                }
                // B124: a segment goes on with its last descriptor only.
                _ => Err(Status::INVALID_SGL_COUNT),
            };
        }
        Ok(None)
    }
}
