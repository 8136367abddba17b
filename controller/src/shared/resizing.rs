//! A namespace that gets another size: which, and how far that is.

use media::{MediaError, VolumeId};
use thiserror::Error;

use crate::atomic::Slices;

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
pub(crate) struct UnderWay {
    pub(crate) nsid: u32,
    pub(crate) volume: VolumeId,
    pub(crate) blocks: u64,
    pub(crate) at_media: bool,
    /// What a smaller size drops, so far as it was not dropped yet.
    pub(crate) dropping: Option<Slices>,
}

/// The state of resizing.
#[derive(Debug, Default)]
pub(crate) struct Resizing {
    pub(crate) under_way: Option<UnderWay>,
    pub(crate) ended: Option<Result<(), ResizeError>>,
}

impl Resizing {
    /// Whether commands of I/O queues stay there.
    #[inline]
    pub(crate) const fn holds_back(&self) -> bool {
        self.under_way.is_some()
    }
}
