//! A media that holds an image, for a checker that needs a drive: its first volume is the image, its second one a text. Another thread puts
//! up the next image while nobody uses this one. What was written meanwhile lies beside the image, and is dropped with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use media::{
    Health, Lba, LbaRange, Media, MediaError, Nanoseconds, Outcome, Request, Source, Submitted, Token, VolumeId,
    VolumeShape,
};

use crate::history::{Block, content};

/// The volume with the image.
const IMAGE: VolumeId = VolumeId(0);
/// The volume with the text.
const TEXT: VolumeId = VolumeId(1);

/// Blocks of both volumes.
#[derive(Default)]
struct Contents {
    /// What is durable at the place of the tape.
    durable: BTreeMap<u64, Block>,
    /// What the image has in place of that.
    image: BTreeMap<u64, Block>,
    /// What was written since the image was put up.
    written: BTreeMap<u64, Block>,
    text: BTreeMap<u64, Block>,
}

impl Contents {
    fn block(&self, volume: VolumeId, lba: u64) -> &Block {
        let layers = [&self.written, &self.image, &self.durable];
        let found = match volume {
            IMAGE => layers.into_iter().find_map(|layer| layer.get(&lba)),
            _ => self.text.get(&lba),
        };
        found.unwrap_or(&None)
    }

    fn put(&mut self, volume: VolumeId, lba: u64, block: Block) {
        let layer = if volume == IMAGE { &mut self.written } else { &mut self.text };
        layer.insert(lba, block);
    }
}

/// Puts up images. A clone is another hand at the same stand.
#[derive(Clone, Default)]
pub struct Changer(Arc<Mutex<Contents>>);

impl Changer {
    /// Where nothing is durable and the image is empty.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing is durable any more.
    pub fn clear(&self) {
        *self.contents() = Contents::default();
    }

    /// These blocks are durable from now on.
    pub fn follow(&self, blocks: &[(u64, Block)]) {
        self.contents().durable.extend(blocks.iter().cloned());
    }

    /// Puts up an image, as what differs from what is durable, and a text of blocks of so many bytes. What was written to the image before
    /// is gone.
    pub fn put_up(&self, image: &BTreeMap<u64, Block>, text: &[u8], text_block_bytes: u32) {
        let mut contents = self.contents();
        contents.written.clear();
        contents.image.clone_from(image);
        let bytes = text_block_bytes as usize;
        let whole = |part: &[u8]| {
            let mut block = part.to_vec();
            block.resize(bytes, 0);
            content(&block)
        };
        contents.text = (0..).zip(text.chunks(bytes).map(whole)).collect();
    }
}

/// The media.
pub struct Stand {
    changer: Changer,
    /// Bytes of a block, and blocks.
    shapes: [(u32, u64); 2],
}

impl Stand {
    /// Shows what the changer puts up. The image and the text have blocks of so many bytes, and so many of them.
    #[must_use]
    pub const fn new(changer: Changer, image: (u32, u64), text: (u32, u64)) -> Self {
        Self { changer, shapes: [image, text] }
    }

    fn shape_of(&self, volume: VolumeId) -> Result<(usize, u64), MediaError> {
        let shape = self.shapes.get(volume.0 as usize).ok_or(MediaError::NoSuchVolume)?;
        Ok((shape.0 as usize, shape.1))
    }

    /// The blocks of a range, if they are there, and the bytes of each.
    fn blocks(&self, volume: VolumeId, range: LbaRange) -> Result<(std::ops::Range<u64>, usize), MediaError> {
        let (bytes, blocks) = self.shape_of(volume)?;
        if !range.fits(blocks) {
            return Err(MediaError::OutOfRange);
        }
        Ok((range.start.0..range.start.0 + range.blocks, bytes))
    }

    fn read(&self, volume: VolumeId, range: LbaRange, take: &mut dyn FnMut(usize, &[u8]) -> Outcome) -> Outcome {
        let (blocks, bytes) = self.blocks(volume, range)?;
        let (contents, zeroes) = (self.changer.contents(), vec![0; bytes]);
        for (number, lba) in blocks.enumerate() {
            take(number * bytes, contents.block(volume, lba).as_deref().unwrap_or(&zeroes))?;
        }
        Ok(())
    }

    fn write(&self, volume: VolumeId, range: LbaRange, from: &mut dyn Source) -> Outcome {
        let (blocks, bytes) = self.blocks(volume, range)?;
        let mut data = vec![0; usize::try_from(range.blocks).map_err(|_| MediaError::OutOfRange)? * bytes];
        from.fill(0, &mut data).map_err(|_| MediaError::HostMemory)?;
        let mut contents = self.changer.contents();
        blocks.zip(data.chunks(bytes)).for_each(|(lba, block)| contents.put(volume, lba, content(block)));
        Ok(())
    }

    fn clear(&self, volume: VolumeId, ranges: &[LbaRange]) -> Outcome {
        let all: Vec<_> = ranges
            .iter()
            .map(|range| self.blocks(volume, *range).map(|(blocks, _)| blocks))
            .collect::<Result<_, _>>()?;
        let mut contents = self.changer.contents();
        all.into_iter().flatten().for_each(|lba| contents.put(volume, lba, None));
        Ok(())
    }

    fn copy(&self, volume: VolumeId, sources: &[LbaRange], to: Lba) -> Outcome {
        let mut copied: Vec<Block> = Vec::new();
        for source in sources {
            let (blocks, _) = self.blocks(volume, *source)?;
            let contents = self.changer.contents();
            copied.extend(blocks.map(|lba| contents.block(volume, lba).clone()));
        }
        let (blocks, _) = self.blocks(volume, LbaRange::new(to, copied.len() as u64))?;
        let mut contents = self.changer.contents();
        blocks.zip(copied).for_each(|(lba, block)| contents.put(volume, lba, block));
        Ok(())
    }
}

impl Media for Stand {
    fn shape(&self, volume: VolumeId) -> Option<VolumeShape> {
        let &(block_bytes, blocks) = self.shapes.get(volume.0 as usize)?;
        Some(VolumeShape::plain(block_bytes, blocks))
    }

    fn allocated_blocks(&self, volume: VolumeId) -> u64 {
        let contents = self.changer.contents();
        let lbas: std::collections::BTreeSet<u64> = match volume {
            IMAGE => {
                contents.durable.keys().chain(contents.image.keys()).chain(contents.written.keys()).copied().collect()
            }
            TEXT => contents.text.keys().copied().collect(),
            _ => return 0,
        };
        lbas.into_iter().filter(|lba| contents.block(volume, *lba).is_some()).count() as u64
    }

    fn health(&self) -> Health {
        Health { power_cycles: 1, available_spare_percent: 100, ..Health::default() }
    }

    fn write_cache(&self) -> Option<bool> {
        None
    }

    fn set_write_cache(&mut self, _now: Nanoseconds, _token: Token, _enabled: bool) -> Submitted {
        Submitted::Done(Ok(()))
    }

    fn submit(&mut self, _now: Nanoseconds, _token: Token, volume: VolumeId, request: Request<'_>) -> Submitted {
        Submitted::Done(match request {
            Request::Read { range, into, force: _ } => self
                .read(volume, range, &mut |offset, bytes| into.take(offset, bytes).map_err(|_| MediaError::HostMemory)),
            Request::Write { range, from, force: _ } => self.write(volume, range, from),
            Request::WriteZeroes { range, .. } | Request::WriteUncorrectable { range } => self.clear(volume, &[range]),
            Request::Deallocate { ranges } => self.clear(volume, ranges),
            Request::Copy { sources, to, force: _ } => self.copy(volume, sources, to),
            Request::Resize { .. } | Request::Manage { .. } | Request::Purge => Err(MediaError::OutOfRange),
            Request::Flush => self.shape_of(volume).map(|_| ()),
            Request::FlushAll | Request::Quiesce => Ok(()),
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

#[cfg(test)]
mod tests {
    use media::{Fault, Sink};

    use super::*;

    struct Bytes(Vec<u8>);

    impl Sink for Bytes {
        fn take(&mut self, offset: usize, from: &[u8]) -> Result<(), Fault> {
            self.0.get_mut(offset..offset + from.len()).ok_or(Fault)?.copy_from_slice(from);
            Ok(())
        }
    }

    impl Source for Bytes {
        fn fill(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
            into.copy_from_slice(self.0.get(offset..offset + into.len()).ok_or(Fault)?);
            Ok(())
        }
    }

    fn submit(stand: &mut Stand, volume: VolumeId, request: Request<'_>) -> Outcome {
        match stand.submit(Nanoseconds(0), Token(0), volume, request) {
            Submitted::Done(outcome) => outcome,
            Submitted::Pending => panic!("memory does not wait"),
        }
    }

    /// The first byte of each of the first four blocks.
    fn first_bytes(stand: &mut Stand, volume: VolumeId) -> Vec<u8> {
        let mut into = Bytes(vec![0xee; 4 * 512]);
        let request = Request::Read { range: LbaRange::new(Lba(0), 4), into: &mut into, force: false };
        assert_eq!(submit(stand, volume, request), Ok(()));
        into.0.chunks(512).map(|block| block[0]).collect()
    }

    fn image(blocks: &[(u64, u8)]) -> BTreeMap<u64, Block> {
        blocks.iter().map(|(lba, byte)| (*lba, content(&[*byte; 512]))).collect()
    }

    #[test]
    fn an_image_lies_over_what_is_durable_and_what_was_written_is_dropped_with_it() {
        let changer = Changer::new();
        let mut stand = Stand::new(changer.clone(), (512, 8), (512, 4));
        assert_eq!(first_bytes(&mut stand, IMAGE), [0; 4]);
        changer.follow(&[(0, content(&[1; 512])), (1, content(&[1; 512]))]);
        changer.put_up(&image(&[(1, 2), (2, 2)]), b"acknowledged", 512);
        assert_eq!(first_bytes(&mut stand, IMAGE), [1, 2, 2, 0]);
        assert_eq!(first_bytes(&mut stand, TEXT), [b'a', 0, 0, 0]);
        assert_eq!((stand.allocated_blocks(IMAGE), stand.allocated_blocks(TEXT)), (3, 1));

        let mut from = Bytes(vec![9; 2 * 512]);
        let write = Request::Write { range: LbaRange::new(Lba(2), 2), from: &mut from, force: false };
        assert_eq!(submit(&mut stand, IMAGE, write), Ok(()));
        let ranges = [LbaRange::new(Lba(0), 1)];
        assert_eq!(submit(&mut stand, IMAGE, Request::Deallocate { ranges: &ranges }), Ok(()));
        assert_eq!(first_bytes(&mut stand, IMAGE), [0, 2, 9, 9]);
        let sources = [LbaRange::new(Lba(3), 1), LbaRange::new(Lba(1), 1)];
        assert_eq!(submit(&mut stand, IMAGE, Request::Copy { sources: &sources, to: Lba(0), force: false }), Ok(()));
        assert_eq!(first_bytes(&mut stand, IMAGE), [9, 2, 9, 9]);

        changer.put_up(&image(&[(3, 3)]), b"", 512);
        assert_eq!(first_bytes(&mut stand, IMAGE), [1, 1, 0, 3]);
        assert_eq!(first_bytes(&mut stand, TEXT), [0; 4]);
        // A durable block replaces an older one, and zeroes are contents too.
        changer.follow(&[(0, None), (1, content(&[4; 512]))]);
        assert_eq!(first_bytes(&mut stand, IMAGE), [0, 4, 0, 3]);
        changer.clear();
        assert_eq!(first_bytes(&mut stand, IMAGE), [0; 4]);
    }

    #[test]
    fn what_lies_outside_is_refused() {
        let mut stand = Stand::new(Changer::new(), (512, 8), (512, 4));
        let mut short = Bytes(vec![1; 512]);
        let range = LbaRange::new(Lba(7), 2);
        let write = Request::Write { range, from: &mut short, force: false };
        assert_eq!(submit(&mut stand, IMAGE, write), Err(MediaError::OutOfRange));
        let range = LbaRange::new(Lba(0), 2);
        let write = Request::Write { range, from: &mut short, force: false };
        assert_eq!(submit(&mut stand, IMAGE, write), Err(MediaError::HostMemory));
        assert_eq!(submit(&mut stand, VolumeId(2), Request::Flush), Err(MediaError::NoSuchVolume));
        assert_eq!(submit(&mut stand, IMAGE, Request::Resize { blocks: 4 }), Err(MediaError::OutOfRange));
        let ranges = [LbaRange::new(Lba(0), 1), LbaRange::new(Lba(8), 1)];
        assert_eq!(submit(&mut stand, IMAGE, Request::Deallocate { ranges: &ranges }), Err(MediaError::OutOfRange));
        assert_eq!(first_bytes(&mut stand, IMAGE), [0; 4]);
    }
}
