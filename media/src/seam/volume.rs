//! The seam between the command set and the media. It carries the whole contract; nothing else of this crate is visible to the
//! controller.
//!
//! # What a media guarantees
//!
//! * It never panics for any request: a range outside the volume, a volume that does not exist, a fault of the host's memory are
//!   outcomes.
//! * Every request that was submitted gets exactly one outcome: from [`Media::submit`] itself, or later from [`Media::poll`].
//! * [`Source`] and [`Sink`] are used only inside `submit`, never kept: guest memory may be gone when `submit` returns.
//! * A failed request changes nothing outside its own range. A write whose source fails in the middle leaves each block of its
//!   range old or new.
//! * Reads return the last accepted write of each block. Of blocks never written, or deallocated, they return zeroes, the same at
//!   each read until the next write; of blocks that were made uncorrectable nothing, until they are written or deallocated.
//! * Durability is per verb, see [`Request`]. A request of at most [`VolumeShape::power_atomic_blocks`] blocks survives a power loss
//!   wholly or not at all; of a longer one, and of a deallocation, each block is old or new.
//! * [`Media::poll`] delivers an outcome once `now` has reached its time and never before; [`Media::next_event`] names the earliest
//!   such time, so that a caller without work may sleep until then. An outcome that waits for something other than time (the host's
//!   disk) is not in it: the media wakes the caller by the means given at its creation, and the caller then polls.
//!
//! # What a caller guarantees
//!
//! * `now` never goes back.
//! * A [`Token`] is not used again while a request that carries it is pending.
//! * Requests that overlap and are pending at the same time have no order among themselves unless the caller makes one by waiting.

use std::fmt;

use super::monitor::Monitor;
use super::power::{Mark, Power};
pub use super::unit::VolumeId;
use super::unit::{Lba, LbaRange, Nanoseconds};
use super::warning::Warnings;

/// The caller's name for a pending request, returned with its outcome. Where several callers share a media, the upper half says whose
/// request it is, and the lower half is that caller's own number for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

impl Token {
    /// An owner's request with this number of its own.
    #[must_use]
    #[inline]
    pub const fn of(owner: u16, number: u32) -> Self {
        Self((owner as u64) << 32 | number as u64)
    }

    /// Whose it is.
    #[must_use]
    #[inline]
    pub const fn owner(self) -> usize {
        (self.0 >> 32) as usize
    }

    /// The owner's number for it.
    #[must_use]
    #[inline]
    pub const fn number(self) -> usize {
        (self.0 & 0xffff_ffff) as usize
    }
}

/// The host's memory could not be read or written: the request failed for that reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;

/// Where a request's data comes from. Offsets are bytes from the first byte of the request's first block.
pub trait Source {
    /// Fills `into` with the bytes from `offset` on.
    ///
    /// # Errors
    /// [`Fault`] where the memory is not there; `into` then holds anything.
    fn fill(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault>;

    /// The same for an `into` that will not be read soon: it need not be loaded into the processor's caches.
    ///
    /// # Errors
    /// As [`Source::fill`].
    #[inline]
    fn fill_non_temporal(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        self.fill(offset, into)
    }

    /// Fills `into` with metadata of the request's blocks, starting at byte `offset` of all their metadata, concatenated. Only
    /// called for volumes whose blocks have metadata; a source without any leaves zeroes.
    ///
    /// # Errors
    /// As [`Source::fill`].
    fn fill_metadata(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        let _ = offset;
        into.fill(0);
        Ok(())
    }
}

/// Where a request's data goes to. Offsets as in [`Source`].
pub trait Sink {
    /// Takes `from`, which belongs at `offset`.
    ///
    /// # Errors
    /// [`Fault`] where the memory is not there, or where the sink has seen enough (a comparison that failed).
    fn take(&mut self, offset: usize, from: &[u8]) -> Result<(), Fault>;

    /// Takes metadata of the request's blocks, which belongs at byte `offset` of all their metadata, concatenated. Only
    /// called for volumes whose blocks have metadata; a sink may ignore it.
    ///
    /// # Errors
    /// As [`Sink::take`].
    fn take_metadata(&mut self, offset: usize, from: &[u8]) -> Result<(), Fault> {
        let _ = (offset, from);
        Ok(())
    }
}

/// One request. Ranges are in logical blocks of the volume.
pub enum Request<'a> {
    /// Pass the blocks to `into`. With `force`, data not yet durable is made durable first.
    Read {
        /// The blocks.
        range: LbaRange,
        /// Where they go.
        into: &'a mut dyn Sink,
        /// Make what is read durable before it is returned.
        force: bool,
    },
    /// Replace the blocks with the contents of `from`. With `force`, or without a volatile cache, durable when the outcome is `Ok`;
    /// otherwise when a later flush is.
    Write {
        /// The blocks.
        range: LbaRange,
        /// Where the new contents come from.
        from: &'a mut dyn Source,
        /// Durable before the outcome.
        force: bool,
    },
    /// Make the blocks read as zeroes. Durability as for a write. With `deallocate`, the space is released where possible.
    WriteZeroes {
        /// The blocks.
        range: LbaRange,
        /// Release the space.
        deallocate: bool,
        /// Durable before the outcome.
        force: bool,
    },
    /// Make the blocks uncorrectable: a read of one is [`MediaError::UnrecoveredRead`], until it is written, with data or zeroes, or
    /// deallocated. Durability as for a write without `force`.
    WriteUncorrectable {
        /// The blocks.
        range: LbaRange,
    },
    /// Copy blocks of the volume, in the order given, to those from `to` on. All sources are read before anything is written, and if one
    /// cannot be read, nothing is written; so they may overlap each other and the target. The write is like one [`Request::Write`].
    /// The data of all sources is held in memory meanwhile: the caller limits how much that is.
    Copy {
        /// The blocks to read.
        sources: &'a [LbaRange],
        /// The first block to write.
        to: Lba,
        /// Durable before the outcome.
        force: bool,
    },
    /// The host no longer needs the blocks. They read as zeroes from the outcome on. Durability as for a write without `force`; after a
    /// power loss before that each block is old or zeroes. A range outside the volume fails the request before anything is done.
    Deallocate {
        /// The ranges of blocks; they may overlap.
        ranges: &'a [LbaRange],
    },
    /// Give the volume this many blocks, from 1 to [`VolumeShape::capacity_blocks_max`]; any other number is [`MediaError::OutOfRange`].
    /// From then on requests are checked against them. Blocks beyond a smaller size are deallocated, and read as zeroes should the volume
    /// grow again. Durable when the outcome is `Ok`, with everything that was accepted before. A power loss before that, or a failure,
    /// leaves the old size or the new one; of the blocks that both have nothing is lost, and of those that only the old one has, each
    /// holds what it held or zeroes. The caller sees to it that nothing else is pending on the volume.
    Resize {
        /// How many.
        blocks: u64,
    },
    /// Change the volumes themselves, and keep `note`, if one is given, instead of the present one ([`Media::note`]). Both together are
    /// durable when the outcome is `Ok`, with everything that was accepted before; a power loss before that, or a failure, leaves both as
    /// they were or both as they were to be. What cannot be is [`MediaError::OutOfRange`] or [`MediaError::NoSuchVolume`], and nothing was
    /// done. The caller sees to it that nothing else is pending on the volume.
    Manage {
        /// What becomes of the volume.
        change: VolumeChange,
        /// At most [`Space::note_bytes_max`] bytes.
        note: Option<&'a [u8]>,
    },
    /// Do a part of a purge, which begins with the first: everything that was deallocated or replaced before it began leaves the store.
    /// [`Media::stale`] says how many parts are left; the purge is durable when that is 0 and the outcome of the last part is `Ok`. Other
    /// requests may come in between. The volume does not matter. A power loss ends it.
    Purge,
    /// Make durable everything of this volume whose outcome was delivered before this request was submitted.
    Flush,
    /// The same for every volume of the media; the volume given with the request does not matter.
    FlushAll,
    /// As [`Request::FlushAll`]; besides, a power loss from the outcome on, until the next request that changes anything, is a
    /// clean shutdown and not an unsafe one. The media goes on answering.
    Quiesce,
}

/// What becomes of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeChange {
    /// Nothing.
    Keep,
    /// It is made, and is empty. Only where volumes come and go, and under a number that none has.
    Create {
        /// Bytes of a logical block.
        block_bytes: u32,
        /// Bytes of metadata beside each.
        metadata_bytes: u32,
        /// How many blocks; the units that they fill in part are kept as a whole.
        blocks: u64,
    },
    /// It goes with everything in it. Only where volumes come and go. A power loss meanwhile may leave it with blocks that are zeroes.
    Delete,
    /// It gets blocks of another kind, of as many bytes together, and is empty. A power loss meanwhile may leave the old format, with
    /// blocks that are zeroes.
    Format {
        /// Bytes of a logical block.
        block_bytes: u32,
        /// Bytes of metadata beside each.
        metadata_bytes: u32,
    },
}

/// What a media has for volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes of data that all volumes may have together.
    pub bytes: u64,
    /// Bytes of them that no volume has.
    pub free_bytes: u64,
    /// The unit in which they are given out.
    pub unit_bytes: u32,
    /// The longest write that a power loss leaves whole or undone, in bytes.
    pub power_atomic_bytes: u32,
    /// Room for metadata beside each unit, in bytes.
    pub metadata_bytes_per_unit: u32,
    /// Volumes come and go, under numbers below this one; 0: they are what the media was made with.
    pub volumes_max: u32,
    /// The longest note, in bytes.
    pub note_bytes_max: usize,
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaError {
    /// The range does not lie inside the volume. Nothing was done.
    OutOfRange,
    /// There is no such volume. Nothing was done.
    NoSuchVolume,
    /// The source or the sink reported a fault.
    HostMemory,
    /// The block could not be read back.
    UnrecoveredRead {
        /// The first such block.
        first: Lba,
    },
    /// The block could not be written; it holds its old contents.
    WriteFailed {
        /// The first such block.
        first: Lba,
    },
    /// The host's disk behind the media is full; the range holds its old contents.
    NoSpace,
    /// The host's disk behind the media failed: nothing became durable. The blocks of a forced write hold their new contents or their
    /// old ones, and of a flush nothing can be said.
    NotStored,
    /// The media has lost power and answers nothing until it is restored.
    PowerLost,
    /// An internal error; the request may be tried again.
    Internal,
}

impl fmt::Display for MediaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfRange => "the blocks lie outside the volume",
            Self::NoSuchVolume => "there is no such volume",
            Self::HostMemory => "the memory of the data cannot be reached",
            Self::UnrecoveredRead { .. } => "a block cannot be read",
            Self::WriteFailed { .. } => "a block cannot be written",
            Self::NoSpace => "the host's disk under the media is full",
            Self::NotStored => "the host's disk under the media failed",
            Self::PowerLost => "the media has lost power",
            Self::Internal => "the host does not let the media be written, or the media failed inside",
        })
    }
}

impl std::error::Error for MediaError {}

/// How a request ended.
pub type Outcome = Result<(), MediaError>;

/// What became of a submitted request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// It is finished.
    Done(Outcome),
    /// Its outcome comes from [`Media::poll`], under its token.
    Pending,
}

/// The properties of a volume. Sizes in blocks are in the volume's own logical blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VolumeShape {
    /// Logical block size: a power of two from 512 to 65536 bytes.
    pub block_bytes: u32,
    /// The number of logical blocks, which [`Request::Resize`] changes.
    pub capacity_blocks: u64,
    /// The largest number that it may ever have.
    pub capacity_blocks_max: u64,
    /// The most blocks, at any alignment, that a power loss leaves wholly old or wholly new; at least 1.
    pub power_atomic_blocks: u32,
    /// The unit in which the media writes without reading first, and deallocates, in blocks; at least 1.
    pub preferred_blocks: u32,
    /// Bytes of metadata beside each block; 0, 8, 16 or 64.
    pub metadata_bytes: u32,
    /// The blocks that one stripe over all dies holds: a write of a multiple of it keeps all of them busy; at least 1.
    pub optimal_blocks: u32,
}

impl VolumeShape {
    /// Blocks without metadata, each of which is written by itself, and stands or falls by itself; as many as there ever will be.
    #[must_use]
    pub const fn plain(block_bytes: u32, capacity_blocks: u64) -> Self {
        Self {
            block_bytes,
            capacity_blocks,
            capacity_blocks_max: capacity_blocks,
            power_atomic_blocks: 1,
            preferred_blocks: 1,
            metadata_bytes: 0,
            optimal_blocks: 1,
        }
    }
}

/// Counters of a media's life. They continue over power cycles if the store outlives them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Power-ons.
    pub power_cycles: u64,
    /// Power losses without having been quiesced.
    pub unsafe_shutdowns: u64,
    /// Bytes that reads returned.
    pub read_bytes: u64,
    /// Bytes that writes accepted; writes of zeroes carry none.
    pub written_bytes: u64,
    /// Reads.
    pub reads: u64,
    /// Writes that carried data.
    pub writes: u64,
    /// Requests that failed because of the media.
    pub media_errors: u64,
    /// Units, and pages of the map, that were found damaged since the process started.
    pub damage_found: u64,
    /// Life used, in percent of the endurance that the drive states; may exceed 100, saturates at 255.
    pub percentage_used: u8,
    /// Bytes that may be written in the drive's life if write amplification is 1; 0 if it states none.
    pub endurance_bytes: u64,
    /// Replacement blocks left, in percent.
    pub available_spare_percent: u8,
    /// Bytes programmed into the NAND, for whatever reason; 0 where there is no NAND.
    pub programmed_bytes: u64,
    /// Blocks out of use.
    pub bad_blocks: u64,
    /// Fewest, most and total erases of a line, and how many lines there are.
    pub erases: EraseSpread,
    /// Nothing can be written any more.
    pub read_only: bool,
    /// One of [`Media::warnings`] stands.
    pub degraded: bool,
}

/// How evenly lines were erased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EraseSpread {
    /// Erases of the line that was erased least.
    pub fewest: u64,
    /// Erases of the line that was erased most.
    pub most: u64,
    /// Erases of all lines together.
    pub total: u64,
    /// Lines.
    pub lines: u64,
}

/// A destination in memory, as long as what it is to take.
#[derive(Clone, Debug)]
pub struct Collected(pub Vec<u8>);

impl Sink for Collected {
    fn take(&mut self, offset: usize, from: &[u8]) -> Result<(), Fault> {
        self.0.get_mut(offset..offset + from.len()).ok_or(Fault)?.copy_from_slice(from);
        Ok(())
    }
}

/// The destination of the data of several reads.
pub trait Sinks {
    /// Takes all of the data of the read with this number. `next` will be passed after it, and may be prefetched meanwhile; it is
    /// empty if nothing is known to follow.
    ///
    /// # Errors
    /// As [`Sink::take`].
    fn take(&mut self, number: usize, from: &[u8], next: &[u8]) -> Result<(), Fault>;
}

/// The fast path of a media: a request is completed at once or, with [`None`] and nothing done, left to [`Media::submit`]. The effect is
/// that of `submit`, on behalf of the named command.
pub trait FastPath {
    /// [`Request::Read`]s without `force`, in order. Returns how many were completed; the next one was left, or it failed with the
    /// returned error.
    fn read(&mut self, reads: &[(VolumeId, LbaRange)], into: &mut dyn Sinks) -> (usize, Option<MediaError>);

    /// A [`Request::Read`] without `force`, of any length.
    fn read_long(&mut self, volume: VolumeId, range: LbaRange, into: &mut dyn Sink) -> Option<Outcome> {
        let _ = (volume, range, into);
        None
    }

    /// A [`Request::Write`] without `force`.
    fn write(&mut self, mark: Mark, volume: VolumeId, range: LbaRange, from: &mut dyn Source) -> Option<Outcome>;
}

/// A media: volumes that take requests. See the module's text for the contract.
pub trait Media {
    /// The shape of a volume, fixed for its life but for what [`Request::Resize`] and [`Request::Manage`] change; `None` if there is no
    /// such volume.
    fn shape(&self, volume: VolumeId) -> Option<VolumeShape>;

    /// What it has for volumes; `None` where they can be neither formatted nor made.
    fn space(&self) -> Option<Space> {
        None
    }

    /// What the user of the media keeps with it: empty until a request says something else.
    fn note(&self) -> Vec<u8> {
        Vec::new()
    }

    /// How many parts of a purge are left to do.
    fn stale(&self) -> u64 {
        0
    }

    /// How many blocks of the volume hold data (were written and not deallocated since); 0 if there is no such volume.
    fn allocated_blocks(&self, volume: VolumeId) -> u64;

    /// The first block of a range that may hold data, if there is one: what a deallocation of the range need not begin before.
    fn next_allocated(&self, volume: VolumeId, range: LbaRange) -> Option<Lba> {
        let _ = volume;
        Some(range.start)
    }

    /// The media's counters.
    fn health(&self) -> Health;

    /// What is wrong with it, or was. Costs nothing to ask; the caller is woken for a new warning as for an outcome.
    fn warnings(&self) -> &Warnings {
        Warnings::NONE
    }

    /// Whether accepted writes may wait in a volatile cache: `None` when there is none to switch on.
    fn write_cache(&self) -> Option<bool>;

    /// Switches the volatile cache. Switching it off ends as [`Request::FlushAll`] does, with an outcome under `token`.
    /// Without a cache this does nothing and is done.
    fn set_write_cache(&mut self, now: Nanoseconds, token: Token, enabled: bool) -> Submitted;

    /// Starts a request, and completes it if that needs no waiting.
    fn submit(&mut self, now: Nanoseconds, token: Token, volume: VolumeId, request: Request<'_>) -> Submitted;

    /// The fast path for requests that need no waiting, valid until the next call. [`None`] while every request must take the regular
    /// path: power is lost, a crash point is armed, faults are set, or time is modelled.
    fn fast_path(&mut self, now: Nanoseconds) -> Option<&mut dyn FastPath> {
        let _ = now;
        None
    }

    /// Delivers the outcomes that are due at `now`, in a repeatable order.
    fn poll(&mut self, now: Nanoseconds, outcome: &mut dyn FnMut(Token, Outcome));

    /// Withdraws a pending request: no outcome will come for it. Its effect on its range is that of a failed request.
    /// `false` if no such request is pending.
    fn cancel(&mut self, token: Token) -> bool;

    /// Control of its power; `None` if it has none.
    fn power(&mut self) -> Option<&mut dyn Power> {
        None
    }

    /// The earliest time at which [`Media::poll`] will have something to do, if anything waits for a time.
    fn next_event(&self) -> Option<Nanoseconds>;

    /// Inspection and fault injection, if there is a drive inside.
    fn monitor(&mut self) -> Option<&mut dyn Monitor> {
        None
    }
}
