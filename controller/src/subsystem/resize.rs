//! A namespace changes its size while the host uses it, on request of whoever runs the device, as namespace management by the subsystem
//! would do it. Owns the order among commands, and what the host is told. The media knows where the blocks lie.
//!
//! Commands that were taken before finish first, under the old size. Until the media is done, no other command is taken from an I/O
//! queue of any controller, so each command knows one size. The admin queues continue.

use media::{Lba, LbaRange, MediaError, Nanoseconds, Outcome, Request, Submitted, Token, VolumeShape};

use super::Subsystem;
use crate::atomic::Slices;
use crate::budget::{Budget, Clock};
use crate::scheduling::FORGOTTEN_UNITS;
use crate::shared::Shared;
use crate::shared::mail::Notice;
use crate::shared::resizing::{ResizeError, UnderWay};

/// No command has this token.
const RESIZE_TOKEN: Token = Token(u64::MAX - 3);

impl Subsystem {
    /// Begins to give a namespace this many blocks. [`Self::resized`] tells how it ended; steps carry it out.
    ///
    /// # Errors
    /// It is not possible; nothing was begun.
    pub fn resize(&mut self, nsid: u32, blocks: u64) -> Result<(), ResizeError> {
        if !self.power_is_on() {
            return Err(ResizeError::NoPower);
        }
        let Shared { namespaces, resizing, .. } = &mut self.shared;
        if resizing.under_way.is_some() {
            return Err(ResizeError::Busy);
        }
        let namespace = namespaces.get(nsid).ok_or(ResizeError::NoSuchNamespace(nsid))?;
        let most = namespace.shape.capacity_blocks_max;
        if !(1..=most).contains(&blocks) {
            return Err(ResizeError::Size { blocks, most });
        }
        let volume = namespace.volume;
        resizing.under_way = Some(UnderWay { nsid, volume, blocks, at_media: false, dropping: None });
        resizing.ended = None;
        Ok(())
    }

    /// How the resize that was begun last has ended, once; `None` while it is under way.
    ///
    /// # Errors
    /// The namespace may have its old size.
    pub fn resized(&mut self) -> Option<Result<(), ResizeError>> {
        let resizing = &mut self.shared.resizing;
        if !self.shared.power.breaker.lost() && resizing.under_way.is_some() {
            return None;
        }
        // A power loss forgets it.
        Some(resizing.ended.take().unwrap_or(Err(ResizeError::NoPower)))
    }

    /// Hands the resize to the media when no controller has anything under way: first what a smaller size drops, slice by slice, because
    /// that may be most of a large drive. `true` if something was done.
    #[cold]
    pub(super) fn go_on_resizing(&mut self, now: Nanoseconds, clock: &dyn Clock) -> bool {
        if self.breaker().lost() {
            return false;
        }
        let budget = &mut Budget::new(clock, now);
        self.shared.mail.collect(self.shared.media.as_mut(), now);
        if let Some(outcome) = self.shared.mail.take_own(RESIZE_TOKEN) {
            self.end_resize(outcome);
            budget.spend(1);
        }
        while budget.left() > 0 {
            let quiet = self.controllers.iter().all(|controller| controller.in_flight.len() == 0);
            let Shared { media, resizing, .. } = &mut self.shared;
            let Some(resize) = resizing.under_way.as_mut().filter(|resize| quiet && !resize.at_media) else {
                break;
            };
            resize.at_media = true;
            let (volume, blocks) = (resize.volume, resize.blocks);
            let shape = media.shape(volume).expect("a volume stays");
            let dropping = resize.dropping.get_or_insert_with(|| dropped(&shape, blocks));
            dropping.pass_over(|range| media.next_allocated(volume, range));
            let submitted = match dropping.next() {
                Some(slice) => media.submit(now, RESIZE_TOKEN, volume, Request::Deallocate { ranges: &[slice] }),
                None => {
                    resize.dropping = None;
                    media.submit(now, RESIZE_TOKEN, volume, Request::Resize { blocks })
                }
            };
            if let Submitted::Done(outcome) = submitted {
                self.end_resize(outcome);
            }
            budget.spend_long(16);
        }
        budget.worked()
    }

    /// The media is done with what it had of a resize.
    fn end_resize(&mut self, outcome: Outcome) {
        let Some(resize) = &mut self.shared.resizing.under_way else { return };
        if outcome.is_ok() && resize.dropping.is_some() {
            resize.at_media = false;
            return;
        }
        let Some(resize) = self.shared.resizing.under_way.take() else { return };
        // The namespace is as the media says now, also where it failed on the way.
        self.shared.resizing.ended = Some(outcome.map_err(|error| match error {
            MediaError::PowerLost => ResizeError::NoPower,
            other => ResizeError::Media(other),
        }));
        self.shared.mail.tell_others(None, Notice::GoOn);
        let shape = self.shared.media.shape(resize.volume).expect("a volume stays");
        if self.shared.namespaces.reshape(resize.nsid, shape) {
            let told = Notice::Resized { nsid: resize.nsid, blocks: shape.capacity_blocks };
            self.shared.mail.tell_others(None, told);
        }
    }
}

/// The blocks that a volume of another size has no longer, where they are so many that the media should not drop them at once.
fn dropped(shape: &VolumeShape, blocks: u64) -> Slices {
    let range = LbaRange::new(Lba(blocks), shape.capacity_blocks.saturating_sub(blocks));
    let step = u64::from(shape.preferred_blocks);
    let at_once = u64::from(FORGOTTEN_UNITS) * step;
    if range.blocks <= at_once { Slices::default() } else { Slices::new(vec![range], at_once, step) }
}
