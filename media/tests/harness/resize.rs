//! Resizing in the model: a volume has the old size or the new one, and what a smaller one dropped never comes back.

use media::volume::{Media, MediaError, Request, VolumeId};
use media::{Lba, LbaRange};

use super::{Block, Crash, Harness};

impl<S: Crash> Harness<S> {
    /// Gives a volume another size, or the one that it has.
    pub(super) fn resize(&mut self, volume: usize) {
        let old = self.config.volumes[volume].capacity_blocks;
        let most = self.blocks[volume].len() as u64;
        let blocks = match self.random.below(4) {
            0 => most,
            1 => old,
            _ => 1 + self.random.below(most),
        };
        self.order += 1;
        let outcome = self.submit(volume, Request::Resize { blocks });
        self.note(format!("{}: resize {volume} from {old} to {blocks}: {outcome:?}", self.order));
        let dropped = LbaRange::new(Lba(blocks.min(old)), old.saturating_sub(blocks));
        match outcome {
            Ok(()) => {
                self.durable();
                self.config.volumes[volume].capacity_blocks = blocks;
                self.forget_beyond(volume);
                self.check_beyond(volume);
            }
            Err(MediaError::PowerLost) => {
                let atomic = self.atomic.len();
                self.changed(volume, dropped, &vec![0; dropped.blocks as usize]);
                self.atomic.truncate(atomic);
                self.resizing = Some((volume, blocks));
            }
            Err(other) => self.fail(&format!("a resize ended with {other:?}")),
        }
    }

    /// After a power loss: each volume has its size, and one that was resized then may have the new one.
    pub(super) fn learn_sizes(&mut self) {
        let resizing = self.resizing.take();
        for volume in 0..self.config.volumes.len() {
            let shown = self.ssd().shape(VolumeId(volume as u32)).unwrap().capacity_blocks;
            let known = self.config.volumes[volume].capacity_blocks;
            if shown != known && resizing != Some((volume, shown)) {
                self.fail(&format!("volume {volume} has {shown} blocks, not {known}"));
            }
            self.config.volumes[volume].capacity_blocks = shown;
            self.forget_beyond(volume);
        }
    }

    /// What a volume no longer has reads as zeroes should it have it again.
    fn forget_beyond(&mut self, volume: usize) {
        let end = self.config.volumes[volume].capacity_blocks;
        self.blocks[volume][end as usize..].fill(Block { versions: vec![(0, 0)] });
        self.atomic.retain(|wrote| wrote.volume != volume || wrote.range.start.0 + wrote.range.blocks <= end);
    }

    /// Nothing is read beyond the end.
    fn check_beyond(&mut self, volume: usize) {
        let end = self.config.volumes[volume].capacity_blocks;
        let range = LbaRange::new(Lba(end - 1), 2);
        let mut buffer = self.buffer(volume, range);
        let outcome = self.submit(volume, Request::Read { range, into: &mut buffer, force: false });
        if !matches!(outcome, Err(MediaError::OutOfRange | MediaError::PowerLost)) {
            self.fail(&format!("a read over the end of volume {volume} ended with {outcome:?}"));
        }
    }
}
