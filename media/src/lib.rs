//! The storage behind the command set. This crate knows no NVMe and no virtio, and has no clock, thread, socket or random number of its
//! own (a file store's thread excepted): time is an argument, [`Nanoseconds`]; data comes and goes through [`Source`] and [`Sink`].
//!
//! What is promised about durability, in short (the full contract is in [`volume`]):
//!
//! * A write is *accepted* when its outcome is `Ok`; from then on every read returns it, until the next write of those blocks.
//! * It is *durable* when it was forced (`force`), when a later [`Request::Flush`] finished, or when the volume has no volatile cache.
//! * A deallocation and a write of zeroes follow the same rule as a write.
//! * A single block is never torn: it is wholly old or wholly new, whatever happens.
//!
//! Map of the crate, from the seam downwards. [`volume`] is the seam and [`mod@unit`] its units. [`ssd`] is the drive behind it: volumes,
//! requests, outcomes. [`ftl`] is the flash translation layer: map, lines, frontiers, collection, checkpoints. [`nand`] keeps the rules
//! of the array, its times and its wear; [`ledger`] counts every byte programmed. [`journal`] and [`root`] are the log's own records, and
//! [`recover`] rebuilds the drive from them. [`power`] cuts power, [`mod@fault`] injects faults, [`monitor`] observes, [`warning`] has the
//! warnings that a drive raises by itself, and [`needs`] the memory that all of this takes. [`named!`] makes lists of things with external
//! names. [`store`] is where bytes are kept, in memory or in a file; [`ordering`] names what must reach the host's disk before what.

#![forbid(unsafe_code)]

pub mod codec;
pub mod config;
pub mod fault;
pub mod ftl;
pub mod geometry;
pub mod journal;
mod large_memory;
pub mod ledger;
mod named;
pub mod nand;
pub mod needs;
pub mod ordering;
pub mod plausible;
pub mod recover;
pub mod root;
mod seam;
pub mod ssd;
pub mod store;
pub mod testing;

pub use seam::{monitor, power, unit, volume, warning};
pub use unit::{Lba, LbaRange, Nanoseconds, VolumeId};
pub use volume::{
    EraseSpread, Fault, Health, Media, MediaError, Outcome, Request, Sink, Source, Space, Submitted, Token,
    VolumeChange, VolumeShape,
};
pub use warning::{MediaWarning, WarningKind, Warnings};
