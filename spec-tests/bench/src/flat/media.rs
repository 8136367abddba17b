//! A media that is nothing but memory: block n lies at n times its size, and nothing is remembered but that. No translation, no cache, no
//! collection, no power. It takes the fast path as the drive does, so what the drive costs beyond it is what an SSD inside costs.

use ::media::power::Mark;
use ::media::volume::{FastPath, Health, Outcome, Sink, Sinks, Source, VolumeShape};
use ::media::{Lba, LbaRange, Media, MediaError, Nanoseconds, Request, Submitted, Token, VolumeId};
use memmap2::MmapMut;

use crate::flat_memory::huge;

/// A volume to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Bytes of a block: a power of two.
    pub block_bytes: u32,
    /// How many blocks.
    pub blocks: u64,
}

struct Volume {
    block_shift: u32,
    blocks: u64,
    bytes: MmapMut,
}

/// See the file's text.
pub struct FlatMedia {
    volumes: Vec<Volume>,
    health: Health,
}

impl FlatMedia {
    /// Volumes of zeroes, in huge pages where the system has them.
    ///
    /// # Errors
    /// There is not so much memory.
    pub fn new(sizes: &[Size]) -> anyhow::Result<Self> {
        let volume = |size: &Size| {
            let block_shift = size.block_bytes.trailing_zeros();
            let bytes = huge(usize::try_from(size.blocks << block_shift)?)?;
            Ok(Volume { block_shift, blocks: size.blocks, bytes })
        };
        let volumes = sizes.iter().map(volume).collect::<anyhow::Result<_>>()?;
        Ok(Self { volumes, health: Health { power_cycles: 1, available_spare_percent: 100, ..Health::default() } })
    }

    fn volume(&self, id: VolumeId) -> Option<&Volume> {
        self.volumes.get(id.0 as usize)
    }

    fn volume_mut(&mut self, id: VolumeId) -> Result<&mut Volume, MediaError> {
        self.volumes.get_mut(id.0 as usize).ok_or(MediaError::NoSuchVolume)
    }

    fn read_whole(&mut self, id: VolumeId, range: LbaRange, into: &mut dyn Sink) -> Outcome {
        let volume = self.volume(id).ok_or(MediaError::NoSuchVolume)?;
        let bytes = volume.view(range).ok_or(MediaError::OutOfRange)?;
        into.take(0, bytes).map_err(|_| MediaError::HostMemory)?;
        let taken = bytes.len();
        self.count_reads(1, taken);
        Ok(())
    }

    fn write_whole(&mut self, id: VolumeId, range: LbaRange, from: &mut dyn Source) -> Outcome {
        let bytes = self.volume_mut(id)?.view_mut(range).ok_or(MediaError::OutOfRange)?;
        from.fill_non_temporal(0, bytes).map_err(|_| MediaError::HostMemory)?;
        let taken = bytes.len();
        self.health.writes += 1;
        self.health.written_bytes += taken as u64;
        Ok(())
    }

    fn zero(&mut self, id: VolumeId, ranges: &[LbaRange]) -> Outcome {
        let volume = self.volume_mut(id)?;
        if ranges.iter().any(|range| volume.view(*range).is_none()) {
            return Err(MediaError::OutOfRange);
        }
        for range in ranges {
            volume.view_mut(*range).ok_or(MediaError::OutOfRange)?.fill(0);
        }
        Ok(())
    }

    fn count_reads(&mut self, reads: usize, bytes: usize) {
        self.health.reads += reads as u64;
        self.health.read_bytes += bytes as u64;
    }
}

impl Volume {
    /// Where the blocks lie, if they are there.
    #[inline]
    fn place(&self, range: LbaRange) -> Option<std::ops::Range<usize>> {
        let end = range.start.0.checked_add(range.blocks).filter(|end| *end <= self.blocks)?;
        let byte = |block: u64| usize::try_from(block << self.block_shift).ok();
        Some(byte(range.start.0)?..byte(end)?)
    }

    #[inline]
    fn view(&self, range: LbaRange) -> Option<&[u8]> {
        self.bytes.get(self.place(range)?)
    }

    #[inline]
    fn view_mut(&mut self, range: LbaRange) -> Option<&mut [u8]> {
        let place = self.place(range)?;
        self.bytes.get_mut(place)
    }
}

impl FastPath for FlatMedia {
    fn read(&mut self, reads: &[(VolumeId, LbaRange)], into: &mut dyn Sinks) -> (usize, Option<MediaError>) {
        let find = |number: usize| {
            let (id, range) = reads.get(number)?;
            self.volume(*id)?.view(*range)
        };
        let (mut done, mut taken, mut failed) = (0, 0, None);
        let mut found = find(0);
        while let Some(bytes) = found {
            let next = find(done + 1);
            if into.take(done, bytes, next.unwrap_or_default()).is_err() {
                failed = Some(MediaError::HostMemory);
                break;
            }
            taken += bytes.len();
            done += 1;
            found = next;
        }
        self.count_reads(done, taken);
        (done, failed)
    }

    fn read_long(&mut self, volume: VolumeId, range: LbaRange, into: &mut dyn Sink) -> Option<Outcome> {
        Some(self.read_whole(volume, range, into))
    }

    fn write(&mut self, _mark: Mark, volume: VolumeId, range: LbaRange, from: &mut dyn Source) -> Option<Outcome> {
        Some(self.write_whole(volume, range, from))
    }
}

impl Media for FlatMedia {
    fn shape(&self, volume: VolumeId) -> Option<VolumeShape> {
        self.volume(volume).map(|volume| VolumeShape::plain(1 << volume.block_shift, volume.blocks))
    }

    fn allocated_blocks(&self, volume: VolumeId) -> u64 {
        self.volume(volume).map_or(0, |volume| volume.blocks)
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
        Submitted::Done(match request {
            Request::Read { range, into, force: _ } => self.read_whole(volume, range, into),
            Request::Write { range, from, force: _ } => self.write_whole(volume, range, from),
            Request::WriteZeroes { range, .. } => self.zero(volume, &[range]),
            Request::Deallocate { ranges } => self.zero(volume, ranges),
            Request::Flush | Request::FlushAll | Request::Quiesce => Ok(()),
            // The bench asks for none of these.
            Request::WriteUncorrectable { .. }
            | Request::Copy { .. }
            | Request::Resize { .. }
            | Request::Manage { .. }
            | Request::Purge => Err(MediaError::Internal),
        })
    }

    fn fast_path(&mut self, _now: Nanoseconds) -> Option<&mut dyn FastPath> {
        Some(self)
    }

    fn poll(&mut self, _now: Nanoseconds, _outcome: &mut dyn FnMut(Token, Outcome)) {}

    fn cancel(&mut self, _token: Token) -> bool {
        false
    }

    fn next_event(&self) -> Option<Nanoseconds> {
        None
    }

    fn next_allocated(&self, _volume: VolumeId, range: LbaRange) -> Option<Lba> {
        (range.blocks > 0).then_some(range.start)
    }
}

#[cfg(test)]
mod tests {
    use ::media::Fault;
    use ::media::volume::Collected;

    use super::*;

    const ONE: VolumeId = VolumeId(0);

    struct Byte(u8);

    impl Source for Byte {
        fn fill(&mut self, _offset: usize, into: &mut [u8]) -> Result<(), Fault> {
            into.fill(self.0);
            Ok(())
        }
    }

    /// Takes reads, and what was announced to follow them.
    #[derive(Default)]
    struct Taken(Vec<(u8, Option<u8>)>);

    impl Sinks for Taken {
        fn take(&mut self, number: usize, from: &[u8], next: &[u8]) -> Result<(), Fault> {
            assert_eq!(number, self.0.len());
            self.0.push((from[0], next.first().copied()));
            Ok(())
        }
    }

    fn range(first: u64, blocks: u64) -> LbaRange {
        LbaRange::new(Lba(first), blocks)
    }

    fn written() -> FlatMedia {
        let mut media = FlatMedia::new(&[Size { block_bytes: 512, blocks: 8 }]).expect("some memory");
        for block in 0..8 {
            let value = u8::try_from(block).expect("small");
            let done = FastPath::write(&mut media, Mark::default(), ONE, range(block, 1), &mut Byte(value));
            assert_eq!(done, Some(Ok(())));
        }
        media
    }

    #[test]
    fn what_was_written_is_read_by_both_paths() {
        let mut media = written();
        let mut fast = Collected(vec![0; 1024]);
        assert_eq!(media.read_long(ONE, range(2, 2), &mut fast), Some(Ok(())));
        let mut slow = Collected(vec![0; 1024]);
        let request = Request::Read { range: range(2, 2), into: &mut slow, force: false };
        assert_eq!(media.submit(Nanoseconds(0), Token(0), ONE, request), Submitted::Done(Ok(())));
        assert_eq!(fast.0, slow.0);
        assert_eq!((fast.0[0], fast.0[1023]), (2, 3));
    }

    #[test]
    fn reads_are_passed_on_with_what_follows_up_to_the_first_that_is_not_there() {
        let mut media = written();
        let mut taken = Taken::default();
        let reads = [(ONE, range(3, 1)), (ONE, range(1, 1)), (ONE, range(8, 1)), (ONE, range(0, 1))];
        assert_eq!(media.read(&reads, &mut taken), (2, None));
        assert_eq!(taken.0, [(3, Some(1)), (1, None)]);
    }

    #[test]
    fn blocks_beyond_the_end_are_refused_and_zeroed_ones_are_zero() {
        let mut media = written();
        assert_eq!(media.write_whole(ONE, range(7, 2), &mut Byte(9)), Err(MediaError::OutOfRange));
        assert_eq!(media.write_whole(ONE, range(u64::MAX, 2), &mut Byte(9)), Err(MediaError::OutOfRange));
        assert_eq!(media.zero(ONE, &[range(0, 1), range(7, 2)]), Err(MediaError::OutOfRange));
        let mut all = Collected(vec![9; 4096]);
        assert_eq!(media.zero(ONE, &[range(5, 1)]), Ok(()));
        assert_eq!(media.read_whole(ONE, range(0, 8), &mut all), Ok(()));
        let firsts: Vec<u8> = all.0.iter().step_by(512).copied().collect();
        assert_eq!(firsts, [0, 1, 2, 3, 4, 0, 6, 7]);
    }
}
