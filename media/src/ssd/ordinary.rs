//! Owns the short way: reads of what lies in one unit, and writes within one group, while nothing is the case but the ordinary. It
//! does what `request` does for them and leaves out what can only be otherwise elsewhere.

use super::Ssd;
use crate::ftl::cut::Tag;
use crate::power::Mark;
use crate::store::Store;
use crate::unit::LbaRange;
use crate::volume::{Fault, MediaError, Ordinary, Outcome, Sink, Source, VolumeId};

impl<S: Store> Ordinary for Ssd<S> {
    fn read(&mut self, volume: VolumeId, range: LbaRange, into: &mut dyn Sink) -> Option<Outcome> {
        let span = self.span(volume.0 as usize, range).ok()?;
        let taken = into.take(0, self.ftl.in_memory(&span)?);
        if taken == Err(Fault) {
            return Some(Err(MediaError::HostMemory));
        }
        self.count_read(span.bytes as u64);
        Some(Ok(()))
    }

    fn write(&mut self, mark: Mark, volume: VolumeId, range: LbaRange, from: &mut dyn Source) -> Option<Outcome> {
        let special = self.stuck | self.at_rest | !self.cache_enabled | self.config.misbehaviour.changes_writes();
        if special || self.ftl.nand.store.backlogged() {
            return None;
        }
        let index = volume.0 as usize;
        let span = self.span(index, range).ok()?;
        let longer = range.blocks > u64::from(self.volumes[index].shape.power_atomic_blocks);
        if longer || span.metadata_bytes != 0 {
            return None;
        }
        let before = self.ftl.mapped;
        let written = self.ftl.write_ordinary(&span, from, Tag { mark, loose: false, uncorrectable: false });
        self.note_mapped(index, before);
        if let Err(error) = written {
            return Some(Err(self.write_failed(error, range.start)));
        }
        self.count_write(span.bytes as u64);
        self.staged_since.get_or_insert(self.now);
        Some(Ok(()))
    }
}
