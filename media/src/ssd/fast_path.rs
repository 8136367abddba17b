//! The fast path: reads within one unit and writes within one group, while nothing special is the case. It does what `request` does for
//! them, without the checks that can only matter there.

use super::Ssd;
use super::request::behind;
use crate::ftl::cut::Tag;
use crate::power::Mark;
use crate::store::Store;
use crate::unit::LbaRange;
use crate::volume::{FastPath, MediaError, Outcome, Sink, Sinks, Source, VolumeId};

/// This many reads are looked up together.
const RUN: usize = 16;

impl<S: Store> Ssd<S> {
    /// Up to [`RUN`] reads. All are looked up before any is copied: map and memory answer late, and then several at a time.
    #[inline]
    fn read_run(
        &mut self,
        first: usize,
        reads: &[(VolumeId, LbaRange)],
        into: &mut dyn Sinks,
    ) -> (usize, Option<MediaError>) {
        let mut found: [&[u8]; RUN] = [&[]; RUN];
        let mut count = 0;
        for (found, (volume, range)) in found.iter_mut().zip(reads) {
            let bytes = self.span(volume.0 as usize, *range).ok().and_then(|span| self.ftl.in_memory(&span));
            let Some(bytes) = bytes else { break };
            *found = bytes;
            count += 1;
        }
        let (mut done, mut bytes, mut failed) = (0, 0, None);
        while done < count {
            let next = found.get(done + 1).copied().unwrap_or_default();
            if into.take(first + done, found[done], next).is_err() {
                failed = Some(MediaError::HostMemory);
                break;
            }
            bytes += found[done].len();
            done += 1;
        }
        self.count_reads(done as u64, bytes as u64);
        (done, failed)
    }
}

impl<S: Store> FastPath for Ssd<S> {
    fn read(&mut self, reads: &[(VolumeId, LbaRange)], into: &mut dyn Sinks) -> (usize, Option<MediaError>) {
        let mut done = 0;
        for run in reads.chunks(RUN) {
            let (count, failed) = self.read_run(done, run, into);
            done += count;
            if count < run.len() {
                return (done, failed);
            }
        }
        (done, None)
    }

    fn read_long(&mut self, volume: VolumeId, range: LbaRange, into: &mut dyn Sink) -> Option<Outcome> {
        let span = self.span(volume.0 as usize, range).ok().filter(|span| span.metadata_bytes == 0)?;
        let read = self.ftl.read(&span, into).map_err(|error| behind(error, range.start));
        if read.is_ok() {
            self.count_reads(1, span.bytes as u64);
        }
        Some(read)
    }

    fn write(&mut self, mark: Mark, volume: VolumeId, range: LbaRange, from: &mut dyn Source) -> Option<Outcome> {
        let special =
            self.stuck.is_some() | self.quiesced | !self.cache_enabled | self.config.misbehaviour.changes_writes();
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
