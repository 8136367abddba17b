//! Volumes in this process's memory, which cost what is written to them. It owns the bytes and the record of which blocks hold data;
//! it knows nothing of time, and everything that it accepts is as durable as it will ever be, so there is no volatile cache.

use std::collections::{BTreeMap, BTreeSet};

use crate::unit::{Lba, LbaRange, Nanoseconds};
use crate::volume::{
    Fault, Health, Media, MediaError, Outcome, Request, Sink, Source, Submitted, Token, VolumeId, VolumeShape,
};

/// Memory comes and goes in pieces of this many bytes: the size of a huge page, and a multiple of every block size.
const CHUNK_BYTES: usize = 2 << 20;

/// What a read of blocks that hold no data takes its zeroes from, one piece at a time.
static ZEROES: [u8; 65536] = [0; 65536];

/// A piece of a volume in which at least one block holds data.
struct Chunk {
    /// `None` while every block of the chunk reads as zeroes.
    bytes: Option<Box<[u8]>>,
    /// A bit for each block: it holds data.
    allocated: Box<[u64]>,
}

struct Volume {
    block_shift: u32,
    capacity_blocks: u64,
    capacity_blocks_max: u64,
    allocated_blocks: u64,
    /// By index of the chunk in the volume; a chunk without data is not here.
    chunks: BTreeMap<u64, Chunk>,
    uncorrectable: BTreeSet<u64>,
}

/// The part of a request that lies in one chunk.
struct Piece {
    chunk: u64,
    /// First block, counted from the start of the chunk.
    block: usize,
    blocks: usize,
    /// Where the piece begins, in bytes from the start of the request.
    offset: usize,
}

/// A media whose volumes live in memory.
pub struct RamMedia {
    volumes: Vec<Volume>,
    health: Health,
}

impl RamMedia {
    /// A media with a volume for each pair of block size (bytes, a power of two from 512 to 65536) and capacity (blocks, at least 1).
    ///
    /// # Panics
    /// If a block size or a capacity is not as said: the caller checks what users give.
    #[must_use]
    pub fn new(volumes: &[(u32, u64)]) -> Self {
        let volume = |&(block_bytes, capacity_blocks): &(u32, u64)| {
            assert!(block_bytes.is_power_of_two() && (512..=65536).contains(&block_bytes));
            assert!(capacity_blocks > 0 && capacity_blocks <= u64::MAX >> block_bytes.trailing_zeros());
            Volume {
                block_shift: block_bytes.trailing_zeros(),
                capacity_blocks,
                capacity_blocks_max: capacity_blocks,
                allocated_blocks: 0,
                chunks: BTreeMap::new(),
                uncorrectable: BTreeSet::new(),
            }
        };
        let health = Health { power_cycles: 1, available_spare_percent: 100, ..Health::default() };
        Self { volumes: volumes.iter().map(volume).collect(), health }
    }

    fn volume(&self, id: VolumeId) -> Option<&Volume> {
        self.volumes.get(id.0 as usize)
    }
}

impl Media for RamMedia {
    fn shape(&self, volume: VolumeId) -> Option<VolumeShape> {
        self.volume(volume).map(|volume| VolumeShape {
            capacity_blocks_max: volume.capacity_blocks_max,
            ..VolumeShape::plain(1 << volume.block_shift, volume.capacity_blocks)
        })
    }

    fn allocated_blocks(&self, volume: VolumeId) -> u64 {
        self.volume(volume).map_or(0, |volume| volume.allocated_blocks)
    }

    fn next_allocated(&self, volume: VolumeId, range: LbaRange) -> Option<Lba> {
        let volume = self.volume(volume).filter(|_| range.blocks > 0)?;
        let per_chunk = volume.blocks_per_chunk();
        let last = (range.start.0.saturating_add(range.blocks) - 1) / per_chunk;
        let (chunk, _) = volume.chunks.range(range.start.0 / per_chunk..=last).next()?;
        Some(Lba((chunk * per_chunk).max(range.start.0)))
    }

    fn health(&self) -> Health {
        self.health
    }

    fn write_cache(&self) -> Option<bool> {
        None
    }

    fn set_write_cache(&mut self, _now: Nanoseconds, _token: Token, _enabled: bool) -> Submitted {
        Submitted::Done(Ok(()))
    }

    fn submit(&mut self, _now: Nanoseconds, _token: Token, volume: VolumeId, request: Request<'_>) -> Submitted {
        if matches!(request, Request::FlushAll | Request::Quiesce) {
            return Submitted::Done(Ok(()));
        }
        let Some(volume) = self.volumes.get_mut(volume.0 as usize) else {
            return Submitted::Done(Err(MediaError::NoSuchVolume));
        };
        let health = &mut self.health;
        Submitted::Done(match request {
            Request::Read { range, into, force: _ } => volume.read(range, into).inspect(|()| {
                health.reads += 1;
                health.read_bytes += range.blocks << volume.block_shift;
            }),
            Request::Write { range, from, force: _ } => volume.write(range, from).inspect(|()| {
                health.writes += 1;
                health.written_bytes += range.blocks << volume.block_shift;
            }),
            Request::WriteZeroes { range, deallocate, force: _ } => volume.write_zeroes(range, deallocate),
            Request::WriteUncorrectable { range } => volume.write_uncorrectable(range),
            Request::Copy { sources, to, force: _ } => volume
                .copy(sources, to)
                .inspect(|blocks| {
                    health.reads += sources.len() as u64;
                    health.writes += 1;
                    health.read_bytes += blocks << volume.block_shift;
                    health.written_bytes += blocks << volume.block_shift;
                })
                .map(|_| ()),
            Request::Deallocate { ranges } => volume.deallocate(ranges),
            Request::Resize { blocks } => volume.resize(blocks),
            Request::Manage { .. } | Request::Purge => Err(MediaError::OutOfRange),
            Request::Flush | Request::FlushAll | Request::Quiesce => Ok(()),
        })
    }

    fn poll(&mut self, _now: Nanoseconds, _outcome: &mut dyn FnMut(Token, Outcome)) {}

    fn cancel(&mut self, _token: Token) -> bool {
        false
    }

    fn next_event(&self) -> Option<Nanoseconds> {
        None
    }
}

impl Volume {
    fn read(&self, range: LbaRange, into: &mut dyn Sink) -> Outcome {
        let pieces = self.pieces(range)?;
        if let Some(&first) = self.uncorrectable.range(range.start.0..range.start.0 + range.blocks).next() {
            return Err(MediaError::UnrecoveredRead { first: Lba(first) });
        }
        for piece in pieces {
            let bytes = self.chunks.get(&piece.chunk).and_then(|chunk| chunk.bytes.as_ref());
            match bytes {
                Some(bytes) => into.take(piece.offset, &bytes[self.span(&piece)]).map_err(host_memory)?,
                None => take_zeroes(into, piece.offset, piece.blocks << self.block_shift)?,
            }
        }
        Ok(())
    }

    fn write(&mut self, range: LbaRange, from: &mut dyn Source) -> Outcome {
        for piece in self.pieces(range)? {
            let span = self.span(&piece);
            let chunk = self.chunks.entry(piece.chunk).or_insert_with(|| Chunk::empty(self.block_shift));
            let filled = from.fill(piece.offset, &mut chunk.bytes_mut()[span]);
            // A source that fails may have filled a part: those blocks hold data now, whatever it is.
            self.allocated_blocks += chunk.mark(piece.block, piece.blocks);
            filled.map_err(host_memory)?;
            let first = range.start.0 + (piece.offset as u64 >> self.block_shift);
            self.forget_uncorrectable(first, piece.blocks as u64);
        }
        Ok(())
    }

    fn write_uncorrectable(&mut self, range: LbaRange) -> Outcome {
        self.write_zeroes(range, false)?;
        self.uncorrectable.extend(range.start.0..range.start.0 + range.blocks);
        Ok(())
    }

    fn forget_uncorrectable(&mut self, first: u64, blocks: u64) {
        let mut rest = self.uncorrectable.split_off(&first);
        self.uncorrectable.append(&mut rest.split_off(&(first + blocks)));
    }

    /// Returns how many blocks that were.
    fn copy(&mut self, sources: &[LbaRange], to: Lba) -> Result<u64, MediaError> {
        let blocks = sources.iter().fold(0, |sum: u64, source| sum.saturating_add(source.blocks));
        let _ = self.pieces(LbaRange::new(to, blocks))?;
        let mut copied = Copied { bytes: Vec::new(), begin: 0 };
        for source in sources {
            copied.begin = copied.bytes.len();
            self.read(*source, &mut copied)?;
        }
        self.write(LbaRange::new(to, blocks), &mut copied)?;
        Ok(blocks)
    }

    fn write_zeroes(&mut self, range: LbaRange, deallocate: bool) -> Outcome {
        if deallocate {
            return self.deallocate(&[range]);
        }
        for piece in self.pieces(range)? {
            let span = self.span(&piece);
            let chunk = self.chunks.entry(piece.chunk).or_insert_with(|| Chunk::empty(self.block_shift));
            chunk.zero(span);
            self.allocated_blocks += chunk.mark(piece.block, piece.blocks);
        }
        self.forget_uncorrectable(range.start.0, range.blocks);
        Ok(())
    }

    fn deallocate(&mut self, ranges: &[LbaRange]) -> Outcome {
        if ranges.iter().any(|range| !range.fits(self.capacity_blocks)) {
            return Err(MediaError::OutOfRange);
        }
        ranges.iter().filter(|range| range.blocks > 0).for_each(|range| self.deallocate_one(*range));
        Ok(())
    }

    fn resize(&mut self, blocks: u64) -> Outcome {
        if !(1..=self.capacity_blocks_max).contains(&blocks) {
            return Err(MediaError::OutOfRange);
        }
        let dropped = self.capacity_blocks.saturating_sub(blocks);
        self.deallocate(&[LbaRange::new(Lba(blocks), dropped)])?;
        self.capacity_blocks = blocks;
        Ok(())
    }

    /// Visits only the chunks that exist: a range may span terabytes of nothing.
    fn deallocate_one(&mut self, range: LbaRange) {
        let per_chunk = self.blocks_per_chunk();
        let (first, behind) = (range.start.0, range.start.0 + range.blocks);
        let mut freed = 0;
        let mut emptied = Vec::new();
        for (&index, chunk) in self.chunks.range_mut(first / per_chunk..=(behind - 1) / per_chunk) {
            let base = index * per_chunk;
            let from = to_index(first.max(base) - base);
            let to = to_index(behind.min(base + per_chunk) - base);
            freed += chunk.unmark(from, to - from);
            if chunk.allocated.iter().all(|word| *word == 0) {
                emptied.push(index);
            } else {
                chunk.zero(from << self.block_shift..to << self.block_shift);
            }
        }
        for index in emptied {
            self.chunks.remove(&index);
        }
        self.allocated_blocks -= freed;
        self.forget_uncorrectable(range.start.0, range.blocks);
    }

    fn blocks_per_chunk(&self) -> u64 {
        CHUNK_BYTES as u64 >> self.block_shift
    }

    /// The bytes of a piece inside its chunk.
    fn span(&self, piece: &Piece) -> std::ops::Range<usize> {
        piece.block << self.block_shift..(piece.block + piece.blocks) << self.block_shift
    }

    /// The pieces of a range, in order.
    fn pieces(&self, range: LbaRange) -> Result<impl Iterator<Item = Piece> + use<>, MediaError> {
        if !range.fits(self.capacity_blocks) {
            return Err(MediaError::OutOfRange);
        }
        let per_chunk = self.blocks_per_chunk();
        let block_shift = self.block_shift;
        let mut done = 0;
        Ok(std::iter::from_fn(move || {
            (done < range.blocks).then(|| {
                let at = range.start.0 + done;
                let blocks = (per_chunk - at % per_chunk).min(range.blocks - done);
                let piece = Piece {
                    chunk: at / per_chunk,
                    block: to_index(at % per_chunk),
                    blocks: to_index(blocks),
                    offset: to_index(done << block_shift),
                };
                done += blocks;
                piece
            })
        }))
    }
}

/// What is copied: sources one behind the other.
struct Copied {
    bytes: Vec<u8>,
    begin: usize,
}

impl Sink for Copied {
    fn take(&mut self, offset: usize, from: &[u8]) -> Result<(), Fault> {
        let end = self.begin + offset + from.len();
        self.bytes.resize(self.bytes.len().max(end), 0);
        self.bytes[self.begin + offset..end].copy_from_slice(from);
        Ok(())
    }
}

impl Source for Copied {
    fn fill(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        into.copy_from_slice(self.bytes.get(offset..offset + into.len()).ok_or(Fault)?);
        Ok(())
    }
}

impl Chunk {
    fn empty(block_shift: u32) -> Self {
        let blocks = CHUNK_BYTES >> block_shift;
        Self { bytes: None, allocated: vec![0; blocks.div_ceil(64)].into_boxed_slice() }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes.get_or_insert_with(|| vec![0; CHUNK_BYTES].into_boxed_slice())
    }

    fn zero(&mut self, span: std::ops::Range<usize>) {
        if span.len() == CHUNK_BYTES {
            self.bytes = None;
        } else if let Some(bytes) = &mut self.bytes {
            bytes[span].fill(0);
        }
    }

    /// Notes that the blocks hold data; returns how many did not before.
    fn mark(&mut self, block: usize, blocks: usize) -> u64 {
        self.for_words(block, blocks, |word, mask| {
            let new = mask & !*word;
            *word |= mask;
            new
        })
    }

    /// Notes that the blocks hold no data; returns how many did before.
    fn unmark(&mut self, block: usize, blocks: usize) -> u64 {
        self.for_words(block, blocks, |word, mask| {
            let old = mask & *word;
            *word &= !mask;
            old
        })
    }

    /// Calls `change` with each word of the bitmap and the bits of it that belong to the blocks; counts the bits it returns.
    fn for_words(&mut self, block: usize, blocks: usize, mut change: impl FnMut(&mut u64, u64) -> u64) -> u64 {
        let behind = block + blocks;
        let mut at = block;
        let mut count = 0;
        while at < behind {
            let bits = (64 - at % 64).min(behind - at);
            let mask = (u64::MAX >> (64 - bits)) << (at % 64);
            count += u64::from(change(&mut self.allocated[at / 64], mask).count_ones());
            at += bits;
        }
        count
    }
}

fn take_zeroes(into: &mut dyn Sink, offset: usize, length: usize) -> Outcome {
    let mut done = 0;
    while done < length {
        let piece = (length - done).min(ZEROES.len());
        into.take(offset + done, &ZEROES[..piece]).map_err(host_memory)?;
        done += piece;
    }
    Ok(())
}

fn host_memory(_: Fault) -> MediaError {
    MediaError::HostMemory
}

/// A number of blocks inside a chunk, or of bytes inside a request, as an index: both are far below what an index holds.
fn to_index(number: u64) -> usize {
    usize::try_from(number).expect("a request is shorter than the address space")
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "tests use small numbers")]
mod tests {
    use super::*;
    use crate::unit::Lba;
    use proptest::prelude::*;

    struct Bytes(Vec<u8>);

    impl Source for Bytes {
        fn fill(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
            into.copy_from_slice(self.0.get(offset..offset + into.len()).ok_or(Fault)?);
            Ok(())
        }
    }

    impl Sink for Bytes {
        fn take(&mut self, offset: usize, from: &[u8]) -> Result<(), Fault> {
            self.0.get_mut(offset..offset + from.len()).ok_or(Fault)?.copy_from_slice(from);
            Ok(())
        }
    }

    fn now(media: &mut RamMedia, request: Request<'_>) -> Outcome {
        match media.submit(Nanoseconds(0), Token(0), VolumeId(0), request) {
            Submitted::Done(outcome) => outcome,
            Submitted::Pending => panic!("memory does not wait"),
        }
    }

    fn write(media: &mut RamMedia, start: u64, blocks: u64, block_bytes: usize, fill: u8) -> Outcome {
        let mut from = Bytes(vec![fill; blocks as usize * block_bytes]);
        now(media, Request::Write { range: LbaRange::new(Lba(start), blocks), from: &mut from, force: false })
    }

    fn read(media: &mut RamMedia, start: u64, blocks: u64, block_bytes: usize) -> Result<Vec<u8>, MediaError> {
        let mut into = Bytes(vec![0xee; blocks as usize * block_bytes]);
        now(media, Request::Read { range: LbaRange::new(Lba(start), blocks), into: &mut into, force: false })?;
        Ok(into.0)
    }

    #[test]
    fn what_was_read_and_written_is_counted_in_bytes() {
        let mut media = RamMedia::new(&[(4096, 1 << 30)]);
        assert_eq!(write(&mut media, 5, 3, 4096, 1), Ok(()));
        assert!(read(&mut media, 5, 2, 4096).is_ok());
        let sources = [LbaRange::new(Lba(5), 2), LbaRange::new(Lba(6), 1)];
        assert_eq!(now(&mut media, Request::Copy { sources: &sources, to: Lba(100), force: false }), Ok(()));
        let Health { reads, writes, read_bytes, written_bytes, power_cycles, .. } = media.health();
        assert_eq!((reads, read_bytes, writes, written_bytes, power_cycles), (3, 5 * 4096, 2, 6 * 4096, 1));
        assert!(read(&mut media, 1 << 30, 1, 4096).is_err() && media.health().reads == 3);
    }

    #[test]
    fn what_may_be_allocated_is_found_where_it_begins() {
        let mut media = RamMedia::new(&[(4096, 1 << 30)]);
        let per_chunk = media.volumes[0].blocks_per_chunk();
        assert_eq!(write(&mut media, 3 * per_chunk + 1, 1, 4096, 1), Ok(()));
        let next =
            |start, blocks| media.next_allocated(VolumeId(0), LbaRange::new(Lba(start), blocks)).map(|lba| lba.0);
        let first = 3 * per_chunk;
        assert_eq!((next(0, first), next(0, first + 1), next(first, 1)), (None, Some(first), Some(first)));
        assert_eq!(
            (next(first + 5, 1), next(first + 5, 0), next(first + per_chunk, 1 << 20)),
            (Some(first + 5), None, None)
        );
        assert_eq!(next(first + per_chunk - 1, 1), Some(first + per_chunk - 1));
    }

    #[test]
    fn a_volume_of_a_tebibyte_costs_what_is_written() {
        let mut media = RamMedia::new(&[(4096, 1 << 28)]);
        write(&mut media, (1 << 28) - 1, 1, 4096, 7).expect("the last block");
        assert_eq!(read(&mut media, (1 << 28) - 1, 1, 4096).expect("the last block"), [7; 4096]);
        assert_eq!(media.volumes[0].chunks.len(), 1);
        assert_eq!(media.allocated_blocks(VolumeId(0)), 1);
        let all = [LbaRange::new(Lba(0), 1 << 28)];
        now(&mut media, Request::Deallocate { ranges: &all }).expect("the whole volume");
        assert!(media.volumes[0].chunks.is_empty());
        assert_eq!(media.allocated_blocks(VolumeId(0)), 0);
    }

    #[test]
    fn what_lies_outside_is_refused_before_anything_is_done() {
        let mut media = RamMedia::new(&[(512, 8)]);
        assert_eq!(write(&mut media, 7, 2, 512, 1), Err(MediaError::OutOfRange));
        assert_eq!(read(&mut media, u64::MAX, 1, 512), Err(MediaError::OutOfRange));
        write(&mut media, 0, 8, 512, 1).expect("inside");
        let ranges = [LbaRange::new(Lba(0), 4), LbaRange::new(Lba(8), 1)];
        assert_eq!(now(&mut media, Request::Deallocate { ranges: &ranges }), Err(MediaError::OutOfRange));
        assert_eq!(media.allocated_blocks(VolumeId(0)), 8);
        let absent = media.submit(Nanoseconds(0), Token(0), VolumeId(1), Request::Flush);
        assert_eq!(absent, Submitted::Done(Err(MediaError::NoSuchVolume)));
    }

    #[test]
    fn a_source_that_fails_leaves_the_rest_alone() {
        let mut media = RamMedia::new(&[(512, 16)]);
        write(&mut media, 0, 16, 512, 1).expect("inside");
        let mut short = Bytes(vec![2; 512]);
        let request = Request::Write { range: LbaRange::new(Lba(4), 4), from: &mut short, force: false };
        assert_eq!(now(&mut media, request), Err(MediaError::HostMemory));
        assert_eq!(read(&mut media, 0, 4, 512).expect("before"), [1; 2048]);
        assert_eq!(read(&mut media, 8, 8, 512).expect("behind"), [1; 4096]);
    }

    /// Verb, first block, number of blocks, byte to write.
    fn operations() -> impl Strategy<Value = Vec<(u8, u64, u64, u8)>> {
        proptest::collection::vec((0_u8..4, 0_u64..9000, 0_u64..5000, 1_u8..255), 1..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
        // The oracle is a plain array: one optional byte for each block, 9000 blocks of 512 bytes over three chunks.
        #[test]
        fn behaves_as_a_plain_array(operations in operations()) {
            let mut media = RamMedia::new(&[(512, 9000)]);
            let mut model: Vec<Option<u8>> = vec![None; 9000];
            for (verb, start, blocks, fill) in operations {
                let range = LbaRange::new(Lba(start), blocks);
                let outcome = match verb {
                    0 => write(&mut media, start, blocks, 512, fill),
                    1 => now(&mut media, Request::WriteZeroes { range, deallocate: false, force: false }),
                    2 => now(&mut media, Request::WriteZeroes { range, deallocate: true, force: true }),
                    _ => now(&mut media, Request::Deallocate { ranges: &[range] }),
                };
                prop_assert_eq!(outcome.is_ok(), start + blocks <= 9000);
                if outcome.is_ok() {
                    let value = [Some(fill), Some(0), None, None][usize::from(verb)];
                    model[start as usize..(start + blocks) as usize].fill(value);
                }
                prop_assert_eq!(media.allocated_blocks(VolumeId(0)), model.iter().flatten().count() as u64);
            }
            let bytes = read(&mut media, 0, 9000, 512).expect("the whole volume");
            for (block, expected) in model.iter().enumerate() {
                prop_assert!(bytes[block * 512..][..512].iter().all(|byte| *byte == expected.unwrap_or(0)));
            }
        }
    }
}
