//! Changes of the inventory of namespaces: what can be asked for, by a host or by whoever runs the device, and what waits for its turn.
//! They are carried out one after the other, each as a whole.

use std::collections::VecDeque;

use media::{MediaError, Token, VolumeChange, VolumeId};
use thiserror::Error;

use super::formats::Format;
use super::record::Record;
use crate::atomic::Slices;
use crate::controllers::{ControllerId, ControllerSet};
use crate::outcome;
use crate::reason::Reason;

/// A change of the namespaces of a subsystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A namespace gets so many blocks.
    Resize {
        /// Which.
        nsid: u32,
        /// How many.
        blocks: u64,
    },
    /// A namespace is made.
    Create(NewNamespace),
    /// A namespace goes, or all do.
    Delete {
        /// Which; nothing for all.
        nsid: Option<u32>,
    },
    /// Namespaces get another format, and are empty afterwards.
    Format {
        /// Which: each that can be found.
        nsids: Vec<u32>,
        /// The format.
        format: Format,
        /// Metadata follows each block.
        extended: bool,
        /// Nothing of the data is left in the media.
        erase: bool,
    },
    /// A namespace is attached to controllers, or detached from them, in this order, up to the first where that cannot be.
    Attachment {
        /// Which.
        nsid: u32,
        /// The controllers.
        controllers: Vec<u16>,
        /// Attached, or else detached.
        attach: bool,
    },
    /// What hosts have registered of a namespace changed, and persists through a power loss.
    Registrations {
        /// Which.
        nsid: u32,
    },
}

/// A namespace that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewNamespace {
    /// Its format.
    pub format: Format,
    /// Metadata follows each block.
    pub extended: bool,
    /// How many blocks.
    pub blocks: u64,
    /// Several controllers may have it at the same time.
    pub shared: bool,
    /// The controllers that have it from the start.
    pub attached: ControllerSet,
    /// Its ANA group.
    pub anagrpid: u32,
}

/// Why a change was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ChangeError {
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
    /// Another change that was asked for in the same way is under way.
    #[error("another change is under way")]
    Busy,
    /// Power is off, or was lost meanwhile: the old state is there then, or the new one.
    #[error("power is off")]
    NoPower,
    /// The media failed meanwhile.
    #[error("the media did not take it: {0}")]
    Media(MediaError),
    /// The namespaces are those that the drive was made with.
    #[error(
        "this drive keeps the namespaces that it was made with: namespaces come and go on one that is made with --media capacity=SIZE"
    )]
    Fixed,
    /// There is not as much space.
    #[error("{needed} bytes are needed, and {free} are free")]
    Capacity {
        /// Bytes that the namespace takes.
        needed: u64,
        /// Bytes that no namespace has.
        free: u64,
    },
    /// Every identifier is taken.
    #[error("there are {0} namespaces, as many as there may be")]
    NoIdentifier(u32),
    /// The media has no such format.
    #[error("the media has no blocks of {} bytes with {} of metadata", .0.block_bytes, .0.metadata_bytes)]
    NoSuchFormat(Format),
    /// Whoever has it in this process knows it by its blocks.
    #[error(
        "namespace {0} is a virtio disk, whose blocks stay as they are: format it with its own format, or serve it as NVMe only"
    )]
    BlocksStay(u32),
    /// There is no such controller.
    #[error("there is no controller {0}")]
    NoSuchController(u16),
    /// It has the namespace already.
    #[error("controller {0} has the namespace already")]
    Attached(u16),
    /// It has not.
    #[error("controller {0} does not have the namespace")]
    NotAttached(u16),
    /// The namespace is for one controller at a time.
    #[error("the namespace has shared=off, and controller {0} has it: detach it there first")]
    Private(u16),
    /// The controller will never reach it.
    #[error("controller {0} has lost ANA group {1}, in which the namespace is, for good")]
    AccessLost(u16, u32),
}

impl ChangeError {
    /// What a host is told.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::NoSuchNamespace(_) => Reason::NamespaceUnallocated,
            Self::Size { .. } => Reason::NamespaceSize,
            Self::Busy | Self::Fixed => Reason::Internal,
            Self::NoPower => Reason::MediaPowerLost,
            Self::Media(error) => outcome::reason(error),
            Self::Capacity { .. } => Reason::NoCapacity,
            Self::NoIdentifier(_) => Reason::NoIdentifier,
            Self::NoSuchFormat(_) => Reason::FormatUnavailable,
            Self::BlocksStay(_) => Reason::FormatStays,
            Self::NoSuchController(_) => Reason::ControllerList,
            Self::Attached(_) => Reason::AttachedAlready,
            Self::NotAttached(_) => Reason::NotAttached,
            Self::Private(_) => Reason::NamespacePrivate,
            Self::AccessLost(..) => Reason::AccessAttach,
        }
    }
}

impl ChangeError {
    /// What the error log says besides: the bytes that are needed (NVMe Base 2.1 section 5.1.21).
    pub(crate) const fn specific(self) -> u64 {
        match self {
            Self::Capacity { needed, .. } => needed,
            _ => 0,
        }
    }
}

/// Who asked for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// Whoever runs the device.
    Operator,
    /// A command of a host: of which controller, under which token.
    Host(ControllerId, Token),
    /// A host that is not interested any more.
    Nobody,
}

/// What the media is asked for in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Another size.
    Resize { blocks: u64 },
    /// A change of the volume itself, or none.
    Volume(VolumeChange),
}

/// What a change comes to, or that of one namespace among several.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) nsid: u32,
    pub(crate) volume: VolumeId,
    pub(crate) effect: Effect,
    /// The inventory afterwards, where the media keeps it.
    pub(crate) record: Option<Record>,
    /// The controllers that have the namespace afterwards.
    pub(crate) attached: ControllerSet,
    /// Whether metadata follows each block afterwards.
    pub(crate) extended: bool,
    /// Completion dword 0.
    pub(crate) result: u32,
    /// Why the rest of it cannot be done, with what the error log says besides.
    pub(crate) failed: Option<(ChangeError, u64)>,
}

/// How far a change is, whose turn it is.
#[derive(Debug, Default)]
pub(crate) enum Stage {
    /// Not begun, or not with the next of several namespaces.
    #[default]
    Waiting,
    /// Blocks are dropped that there will be no more, slice by slice; then it is submitted.
    Dropping { plan: Box<Plan>, slices: Slices },
    /// The media has it.
    Committing(Box<Plan>),
    /// What was deleted leaves the media.
    Purging,
}

/// A change that waits, or is carried out.
#[derive(Debug)]
pub(crate) struct UnderWay {
    pub(crate) change: Change,
    pub(crate) by: By,
    pub(crate) stage: Stage,
    /// The media was asked for something, and has not answered.
    pub(crate) at_media: bool,
    /// Namespaces that are done, of several.
    pub(crate) done: usize,
    /// Commands of I/O queues must end first, and stay there.
    pub(crate) holds_back: bool,
}

/// The changes.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// The first is the one whose turn it is.
    pub(crate) queue: VecDeque<UnderWay>,
    /// How the operator's last one ended.
    pub(crate) ended: Option<Result<u32, ChangeError>>,
    /// That of the first.
    holds_back: bool,
    /// There is one.
    any: bool,
}

impl Changes {
    /// Whether there is anything to do.
    #[inline]
    pub(crate) const fn any(&self) -> bool {
        self.any
    }

    /// Whether commands of I/O queues stay there.
    #[inline]
    pub(crate) const fn holds_back(&self) -> bool {
        self.holds_back
    }

    /// Lets a change wait for its turn.
    pub(crate) fn ask(&mut self, change: Change, by: By) {
        let keeps = matches!(change, Change::Registrations { .. });
        let holds_back = !keeps && !matches!(change, Change::Create(_) | Change::Attachment { .. });
        let change = UnderWay { change, by, stage: Stage::Waiting, at_media: false, done: 0, holds_back };
        // A command about a reservation waits for it, and is one of those that others wait for.
        let begun = |change: &UnderWay| change.at_media || !matches!(change.stage, Stage::Waiting);
        let place = usize::from(self.queue.front().is_some_and(begun));
        if keeps {
            self.queue.insert(place, change);
        } else {
            self.queue.push_back(change);
        }
        self.look();
    }

    /// Whether one of whoever runs the device is there.
    pub(crate) fn has_operators(&self) -> bool {
        self.queue.iter().any(|change| change.by == By::Operator)
    }

    /// Takes the first one out, if something can be done for it now: `quiet` says that no command of an I/O queue is under way, if that
    /// matters. It is put back, or over.
    pub(crate) fn take_first(&mut self, quiet: bool) -> Option<UnderWay> {
        if self.queue.front()?.at_media || !quiet {
            return None;
        }
        self.queue.pop_front()
    }

    /// The first one goes on.
    pub(crate) fn put_back(&mut self, first: UnderWay) {
        self.queue.push_front(first);
        self.look();
    }

    /// Whether the one that is the first now holds commands back.
    pub(crate) fn look(&mut self) {
        self.holds_back = self.queue.front().is_some_and(|first| first.holds_back);
        self.any = !self.queue.is_empty();
    }

    /// A command is not interested any more: what was not begun is not done. Whether there was one.
    pub(crate) fn forget(&mut self, by: ControllerId, token: Token) -> bool {
        let asked = By::Host(by, token);
        let Some(place) = self.queue.iter().position(|change| change.by == asked) else { return false };
        let begun = place == 0 && (self.queue[0].at_media || !matches!(self.queue[0].stage, Stage::Waiting));
        if begun {
            self.queue[0].by = By::Nobody;
        } else {
            self.queue.remove(place);
            self.look();
        }
        true
    }
}
