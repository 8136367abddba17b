//! A namespace changes its size while the host uses it, on request of whoever runs the device, as namespace management by the subsystem
//! would do it. Owns the order among commands, and what the host is told. The media knows where the blocks lie.
//!
//! Commands that were taken before finish first, under the old size. Until the media is done, no other command is taken from an I/O
//! queue, so each command knows one size. The admin queue continues.

use std::collections::BTreeSet;

use media::{Lba, LbaRange, MediaError, Nanoseconds, Outcome, Request, Submitted, Token, VolumeId, VolumeShape};
use nvme_spec::log::{CHANGED_NAMESPACES_BYTES, Event};
use thiserror::Error;

use crate::Controller;
use crate::atomic::Slices;
use crate::budget::Budget;
use crate::scheduling::FORGOTTEN_UNITS;
use crate::watch::TraceEvent;

/// No command has this token.
pub(crate) const RESIZE_TOKEN: Token = Token(u64::MAX - 3);

/// Why a namespace was not resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ResizeError {
    /// There is no such namespace.
    #[error("there is no namespace {0}")]
    NoSuchNamespace(u32),
    /// It cannot have this many blocks.
    #[error("{blocks} blocks: this namespace can have 1 to {most}")]
    Size {
        /// The requested number.
        blocks: u64,
        /// The largest possible number.
        most: u64,
    },
    /// Another resize is under way.
    #[error("another resize is under way")]
    Busy,
    /// Power is off, or was lost meanwhile: the namespace then has the old size or the new one.
    #[error("power is off")]
    NoPower,
    /// The media failed meanwhile. Identify reports the actual size.
    #[error("the media did not take it: {0}")]
    Media(MediaError),
}

/// One that was begun.
#[derive(Debug)]
struct UnderWay {
    nsid: u32,
    volume: VolumeId,
    blocks: u64,
    at_media: bool,
    /// What a smaller size drops, so far as it was not dropped yet.
    dropping: Option<Slices>,
}

/// The state of resizing.
#[derive(Debug, Default)]
pub(crate) struct Resizing {
    under_way: Option<UnderWay>,
    ended: Option<Result<(), ResizeError>>,
    /// Namespaces whose Identify data changed since the host read the Changed Attached Namespace List.
    changed: BTreeSet<u32>,
}

impl Resizing {
    /// Whether commands of I/O queues stay there.
    #[inline]
    pub(crate) const fn holds_back(&self) -> bool {
        self.under_way.is_some()
    }

    /// The host read the list and did not ask to retain the event.
    pub(crate) fn log_read(&mut self) {
        self.changed.clear();
    }

    /// The Changed Attached Namespace List (Base 2.1 section 5.1.12.1.5). There are never more namespaces than it has room for.
    pub(crate) fn list(&self) -> Vec<u8> {
        let mut page: Vec<u8> = self.changed.iter().flat_map(|nsid| nsid.to_le_bytes()).collect();
        assert!(page.len() <= CHANGED_NAMESPACES_BYTES, "at most 1024 namespaces");
        page.resize(CHANGED_NAMESPACES_BYTES, 0);
        page
    }
}

impl Controller {
    /// Begins to give a namespace this many blocks. [`Self::resized`] tells how it ended; steps carry it out.
    ///
    /// # Errors
    /// It is not possible; nothing was begun.
    pub fn resize(&mut self, nsid: u32, blocks: u64) -> Result<(), ResizeError> {
        if !self.power_is_on() {
            return Err(ResizeError::NoPower);
        }
        if self.resizing.under_way.is_some() {
            return Err(ResizeError::Busy);
        }
        let namespace = self.namespaces.get(nsid).ok_or(ResizeError::NoSuchNamespace(nsid))?;
        let most = namespace.shape.capacity_blocks_max;
        if !(1..=most).contains(&blocks) {
            return Err(ResizeError::Size { blocks, most });
        }
        let volume = namespace.volume;
        self.resizing.under_way = Some(UnderWay { nsid, volume, blocks, at_media: false, dropping: None });
        self.resizing.ended = None;
        Ok(())
    }

    /// How the resize that was begun last has ended, once; `None` while it is under way.
    ///
    /// # Errors
    /// The namespace may have its old size.
    pub fn resized(&mut self) -> Option<Result<(), ResizeError>> {
        if self.power_is_on() && self.resizing.under_way.is_some() {
            return None;
        }
        // A power loss forgets it.
        Some(self.resizing.ended.take().unwrap_or(Err(ResizeError::NoPower)))
    }

    /// Hands the resize to the media when nothing else is under way: first what a smaller size drops, slice by slice, because that may be
    /// most of a large drive.
    pub(crate) fn go_on_resizing(&mut self, now: Nanoseconds, budget: &mut Budget<'_>) -> bool {
        while budget.left() > 0 {
            let quiet = self.in_flight.len() == 0;
            let Some(resize) = self.resizing.under_way.as_mut().filter(|resize| quiet && !resize.at_media) else {
                break;
            };
            resize.at_media = true;
            let (volume, blocks) = (resize.volume, resize.blocks);
            let shape = self.media.shape(volume).expect("a volume stays");
            let dropping = resize.dropping.get_or_insert_with(|| dropped(&shape, blocks));
            dropping.pass_over(|range| self.media.next_allocated(volume, range));
            let submitted = match dropping.next() {
                Some(slice) => self.media.submit(now, RESIZE_TOKEN, volume, Request::Deallocate { ranges: &[slice] }),
                None => {
                    resize.dropping = None;
                    self.media.submit(now, RESIZE_TOKEN, volume, Request::Resize { blocks })
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
    pub(crate) fn end_resize(&mut self, outcome: Outcome) {
        let Some(resize) = &mut self.resizing.under_way else { return };
        if outcome.is_ok() && resize.dropping.is_some() {
            resize.at_media = false;
            return;
        }
        let Some(resize) = self.resizing.under_way.take() else { return };
        // The namespace is as the media says now, also where it failed on the way.
        self.resizing.ended = Some(outcome.map_err(|error| match error {
            MediaError::PowerLost => ResizeError::NoPower,
            other => ResizeError::Media(other),
        }));
        self.arbiter.unblock();
        let shape = self.media.shape(resize.volume).expect("a volume stays");
        if self.namespaces.reshape(resize.nsid, shape) {
            self.watch.tell(TraceEvent::Resized { nsid: resize.nsid, blocks: shape.capacity_blocks });
            self.announce_change(resize.nsid);
        }
    }

    /// B78: what changed of a namespace is listed, and told to a host that wants to hear of it.
    pub(crate) fn announce_change(&mut self, nsid: u32) {
        self.resizing.changed.insert(nsid);
        if self.features.hears_of_namespaces() {
            self.raise(Event::NAMESPACE_CHANGED);
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
