//! What a drive does that breaks its promises: see [`Misbehaviour`](crate::fault::Misbehaviour). When it is off, none of this runs.

use super::Ssd;
use super::request::{Domain, Wait};
use crate::fault::{LATE_LOSS_WINDOW, MISDIRECTED_ONE_IN};
use crate::store::Store;
use crate::unit::{Lba, LbaRange, narrow};
use crate::volume::{MediaError, Source, VolumeId};

impl<S: Store> Ssd<S> {
    /// What makes everything durable that was accepted; a drive that loses it late only says so.
    pub(super) fn keep_promise(&mut self, of: Domain) -> Result<Wait, MediaError> {
        if !self.config.misbehaviour.late_loss {
            return self.commit_domain(of);
        }
        if self.late_commit.is_none() {
            self.late_commit = Some(self.now.plus(LATE_LOSS_WINDOW));
        }
        Ok(Wait::Nothing)
    }

    /// Does what was promised long ago.
    pub(super) fn commit_late(&mut self) {
        if self.late_commit.is_some_and(|due| due <= self.now) && !self.ftl.nand.power.lost() {
            self.late_commit = None;
            // Nobody waits for it: what fails is seen by the next promise.
            let _ = self.commit();
        }
    }

    /// A write that goes astray, or mixes with what it overwrites.
    pub(super) fn write_badly(
        &mut self,
        volume: usize,
        range: LbaRange,
        from: &mut dyn Source,
        force: bool,
    ) -> Result<Wait, MediaError> {
        let misbehaviour = self.config.misbehaviour;
        if misbehaviour.unserialisable && range.blocks > 1 && self.meets_volatile(volume, range) {
            for n in (0..range.blocks).step_by(2) {
                self.write_part(volume, range.start, LbaRange::new(Lba(range.start.0 + n), 1), from)?;
            }
            return self.accepted(volume, range, force);
        }
        let nth = (self.ftl.counters.host_writes + 1).is_multiple_of(MISDIRECTED_ONE_IN);
        let astray = if misbehaviour.misdirected_write && nth { self.beside(volume, range) } else { range };
        let span = self.span(volume, astray)?;
        self.write_span(volume, astray, &span, from)?;
        self.accepted(volume, astray, force)
    }

    /// Whether a range meets a write that is still in the cache.
    fn meets_volatile(&self, volume: usize, range: LbaRange) -> bool {
        let of_volume = VolumeId(narrow(volume));
        self.volatile().iter().any(|entry| entry.volume == of_volume && entry.range.overlaps(range))
    }

    /// The range behind, or before, one; itself where the volume has no room for either.
    fn beside(&self, volume: usize, range: LbaRange) -> LbaRange {
        let behind = LbaRange::new(Lba(range.start.0 + range.blocks), range.blocks);
        if behind.fits(self.volumes[volume].shape.capacity_blocks) {
            return behind;
        }
        range.start.0.checked_sub(range.blocks).map_or(range, |start| LbaRange::new(Lba(start), range.blocks))
    }
}
