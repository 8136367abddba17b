//! Scatter Gather Lists → segments of guest memory (NVMe Base 2.1 section 4.3.2; rules B123–B127). It reads descriptors from guest
//! memory once each, in order, and stops where the data ends: what lies behind is not looked at.
//!
//! A list may be any number of descriptors without a byte of data, or go on in itself. Neither memory nor time grows with what it
//! claims to be: descriptors are read in batches, and there is an end after [`DESCRIPTORS_MAX`] of them.
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

use nvme_spec::SglDescriptor;
use nvme_spec::sgl::{DESCRIPTOR_BYTES, SglSubtype, SglType};

use crate::dma::{GuestMemory, Segment, append};
use crate::reason::Reason;

/// How many descriptors are read at a time.
const BATCH: u32 = 64;
/// How many descriptors one command may take. No driver needs a hundredth of it, and following them all takes a few milliseconds at
/// most.
const DESCRIPTORS_MAX: u32 = 1 << 17;
/// A shorter read counts as this many descriptors, since it takes as long: a chain of tiny segments ends sooner.
const READ_COST: u32 = 16;
/// Descriptors of a short list: as many as a page has room for.
const SHORT: u32 = 256;
const BYTES: u32 = 16;
const _: () = assert!(BYTES as usize == DESCRIPTOR_BYTES);

/// Replaces `segments` by the pieces of guest memory that hold `length` bytes, neighbours joined. `first` is the descriptor that the
/// command carries.
pub(crate) fn resolve<M: GuestMemory>(
    memory: &M,
    first: SglDescriptor,
    length: usize,
    segments: &mut Vec<Segment>,
) -> Result<(), Reason> {
    segments.clear();
    let mut walk = Walk { missing: length as u64, descriptors_left: DESCRIPTORS_MAX, segments };
    let mut next = walk.take(first)?;
    while let Some(list) = next
        && walk.missing > 0
    {
        next = walk.follow(memory, list)?;
    }
    // An SGL that describes more than the data is accepted, as SGLS says; one that describes less is not.
    if walk.missing == 0 { Ok(()) } else { Err(Reason::SglTooShort) }
}

/// Whether the list ends with this descriptor, or with the few that it leads to.
pub(crate) fn is_short(first: &SglDescriptor) -> bool {
    match first.kind() {
        SglType::DATA_BLOCK => true,
        SglType::LAST_SEGMENT => first.length.get() <= SHORT * BYTES,
        _ => false,
    }
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
    fn new(descriptor: &SglDescriptor, last: bool) -> Result<Self, Reason> {
        let (address, length) = (descriptor.address.get(), descriptor.length.get());
        // NVMe Base 2.1 section 4.3.2: a segment is one or more whole descriptors and begins at a quadword.
        if length == 0 || !length.is_multiple_of(BYTES) || !address.is_multiple_of(8) {
            return Err(Reason::SglSegment);
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
    fn take(&mut self, descriptor: SglDescriptor) -> Result<Option<List>, Reason> {
        match (descriptor.kind(), descriptor.subtype()) {
            (SglType::DATA_BLOCK, SglSubtype::ADDRESS) => {
                let length = u64::from(descriptor.length.get()).min(self.missing);
                append(self.segments, descriptor.address.get(), length);
                self.missing -= length;
                Ok(None)
            }
            (SglType::SEGMENT, SglSubtype::ADDRESS) => List::new(&descriptor, false).map(Some),
            (SglType::LAST_SEGMENT, SglSubtype::ADDRESS) => List::new(&descriptor, true).map(Some),
            _ => Err(Reason::SglType),
        }
    }

    /// Takes the descriptors of a segment, up to the end of the data; says where the list goes on, if it does.
    fn follow<M: GuestMemory>(&mut self, memory: &M, list: List) -> Result<Option<List>, Reason> {
        let mut bytes = [0; BATCH as usize * DESCRIPTOR_BYTES];
        let mut done = 0;
        while done < list.descriptors && self.missing > 0 {
            let count = (list.descriptors - done).min(BATCH);
            // NVMe Base 2.1 section 4.2.3: too many descriptors are what Invalid Number of SGL Descriptors is for.
            let cost = count.max(READ_COST);
            self.descriptors_left = self.descriptors_left.checked_sub(cost).ok_or(Reason::SglCount)?;
            let batch = bytes.get_mut(..count as usize * DESCRIPTOR_BYTES).ok_or(Reason::Internal)?;
            let offset = u64::from(done) * u64::from(BYTES);
            let address = list.address.checked_add(offset).ok_or(Reason::SglUnreadable)?;
            memory.read(address, batch).map_err(|_| Reason::SglUnreadable)?;
            done += count;
            if let Some(next) = self.take_batch(batch, (done == list.descriptors).then_some(list))? {
                return Ok(Some(next));
            }
        }
        Ok(None)
    }

    /// Takes descriptors that were read together. They are the last of the segment that `ending` names.
    fn take_batch(&mut self, batch: &[u8], ending: Option<List>) -> Result<Option<List>, Reason> {
        // Thousands of data blocks without a byte are gone through as fast as they can be read.
        let empty = |bytes: &&[u8; DESCRIPTOR_BYTES]| bytes.last_chunk() == Some(&[0_u8; 8]);
        let (all, _) = batch.as_chunks::<DESCRIPTOR_BYTES>();
        let passed = all.iter().take_while(empty).count();
        let left = all.iter().skip(passed);
        let mut descriptors = left.map(|bytes| SglDescriptor::from_bytes(*bytes)).peekable();
        while let Some(descriptor) = descriptors.next()
            && self.missing > 0
        {
            let Some(next) = self.take(descriptor)? else { continue };
            return match ending {
                Some(list) if descriptors.peek().is_none() => {
                    if list.last {
                        Err(Reason::SglSegment)
                    } else {
                        Ok(Some(next))
                    }
                }
                // B124: a segment goes on with its last descriptor only.
                _ => Err(Reason::SglCount),
            };
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use nvme_spec::Status;

    use super::*;
    use crate::dma::FlatMemory;
    use zerocopy::IntoBytes;

    const FAR: u64 = 0x9000_0000;

    fn data(n: u64, length: u32) -> SglDescriptor {
        SglDescriptor::new(SglType::DATA_BLOCK, FAR + 0x10000 * n, length)
    }

    fn segment(address: u64, descriptors: u32) -> SglDescriptor {
        SglDescriptor::new(SglType::SEGMENT, address, descriptors * BYTES)
    }

    fn last(address: u64, descriptors: u32) -> SglDescriptor {
        SglDescriptor::new(SglType::LAST_SEGMENT, address, descriptors * BYTES)
    }

    /// Memory of 64 KiB with these lists in it.
    fn memory(lists: &[(usize, &[SglDescriptor])]) -> FlatMemory {
        let memory = FlatMemory::new(vec![0; 1 << 16]);
        for (at, list) in lists {
            memory.bytes()[*at..][..list.len() * DESCRIPTOR_BYTES].copy_from_slice(list.as_bytes());
        }
        memory
    }

    /// Which blocks of data a list describes, and how long each is.
    fn pieces(memory: &FlatMemory, first: SglDescriptor, length: usize) -> Result<Vec<(u64, usize)>, Status> {
        let mut segments = vec![Segment { address: 1, length: 1 }];
        resolve(memory, first, length, &mut segments).map_err(Reason::status)?;
        Ok(segments.iter().map(|segment| ((segment.address - FAR) / 0x10000, segment.length)).collect())
    }

    #[test]
    fn one_block_describes_as_much_as_is_asked_for_or_too_little() {
        let none = memory(&[]);
        assert_eq!(pieces(&none, data(1, 512), 512), Ok(vec![(1, 512)]));
        assert_eq!(pieces(&none, data(1, 513), 512), Ok(vec![(1, 512)]), "the rest is ignored");
        assert_eq!(pieces(&none, data(1, 511), 512), Err(Status::INVALID_SGL_LENGTH));
        for identifier in [0x10, 0x40, 0x0f, 0x01, 0xf0] {
            let strange = SglDescriptor { identifier, ..data(1, 512) };
            assert_eq!(pieces(&none, strange, 512), Err(Status::INVALID_SGL_TYPE), "{identifier:x}");
        }
    }

    #[test]
    fn segments_lead_on_with_their_last_descriptor() {
        let lists = memory(&[(0x100, &[data(1, 100), segment(0x208, 2)]), (0x208, &[data(2, 200), last(0x300, 2)])]);
        lists.write(0x300, [data(3, 10), data(4, 20)].as_bytes()).expect("it lies inside");
        let (all, first) = (vec![(1, 100), (2, 200), (3, 10), (4, 20)], segment(0x100, 2));
        assert_eq!(pieces(&lists, first, 330), Ok(all.clone()));
        assert_eq!(pieces(&lists, first, 331), Err(Status::INVALID_SGL_LENGTH));
        assert_eq!(pieces(&lists, first, 300), Ok(all[..2].to_vec()), "what is not needed is not read");
        assert_eq!(pieces(&lists, last(0x300, 1), 20), Err(Status::INVALID_SGL_LENGTH), "one descriptor only");
    }

    #[test]
    fn a_list_that_goes_on_where_it_must_not_is_refused() {
        let lists = memory(&[(0x100, &[data(1, 100), segment(0x200, 1), data(2, 100)]), (0x200, &[data(3, 300)])]);
        assert_eq!(pieces(&lists, segment(0x100, 3), 300), Err(Status::INVALID_SGL_COUNT), "in the middle (B124)");
        assert_eq!(pieces(&lists, last(0x100, 2), 300), Err(Status::INVALID_SGL_SEGMENT), "from the last segment");
        assert_eq!(pieces(&lists, segment(0x100, 2), 400), Ok(vec![(1, 100), (3, 300)]));
    }

    #[test]
    fn a_segment_is_whole_descriptors_at_a_quadword_of_memory_that_is_there() {
        let lists = memory(&[(0x100, &[data(1, 100)])]);
        let with = |address, length| SglDescriptor::new(SglType::LAST_SEGMENT, address, length);
        for (address, length) in [(0x100, 0), (0x100, 15), (0x100, 24), (0x104, 16)] {
            let status = pieces(&lists, with(address, length), 100);
            assert_eq!(status, Err(Status::INVALID_SGL_SEGMENT), "{address:x} {length}");
        }
        assert_eq!(pieces(&lists, with(0x100, 16), 100), Ok(vec![(1, 100)]));
        for address in [1 << 16, u64::MAX - 7] {
            assert_eq!(pieces(&lists, with(address, 16), 100), Err(Status::DATA_TRANSFER_ERROR), "{address:x}");
        }
    }

    #[test]
    fn long_segments_are_read_in_batches() {
        let list: Vec<SglDescriptor> = (0..200).map(|n| data(n, 8)).collect();
        let lists = memory(&[(0x1000, &list)]);
        for count in [63, 64, 65, 128, 129, 200_usize] {
            let expected: Vec<_> = (0..count as u64).map(|n| (n, 8)).collect();
            assert_eq!(pieces(&lists, last(0x1000, 200), count * 8), Ok(expected), "{count} blocks");
        }
        // The second batch would lie beyond the memory, and the data ends before it.
        let at_end = memory(&[((1 << 16) - 64 * DESCRIPTOR_BYTES, &list[..64])]);
        let first = last((1 << 16) - 64 * u64::from(BYTES), 65);
        assert_eq!(pieces(&at_end, first, 64 * 8).map(|pieces| pieces.len()), Ok(64));
        assert_eq!(pieces(&at_end, first, 65 * 8), Err(Status::DATA_TRANSFER_ERROR));
    }

    #[test]
    fn a_list_without_an_end_has_one_after_so_many_descriptors() {
        // A segment of one empty block and itself again: each turn counts as a read does at least.
        let circle = memory(&[(0x100, &[data(0, 0), segment(0x100, 2)])]);
        assert_eq!(pieces(&circle, segment(0x100, 2), 1), Err(Status::INVALID_SGL_COUNT));
        let reads = std::cell::Cell::new(0);
        let mut segments = Vec::new();
        let mut walk = Walk { missing: 1, descriptors_left: 3 * READ_COST, segments: &mut segments };
        let again = List::new(&segment(0x100, 2), false).expect("a segment");
        while walk.follow(&circle, again).is_ok() {
            reads.set(reads.get() + 1);
        }
        assert_eq!(reads.get(), 3);
    }
}
