//! Experiments on the drive: the translation layer of [`media`] is driven as a host would, and what it did is held against theory or
//! against a bar that the project set itself. Each is a function of its arguments, and of a seed where there is chance in it.
//!
//! Map: `drive` is the host of all experiments, `hollow` and `sparse` are stores for drives whose data nobody reads. [`theory`] is write
//! amplification under random overwrites (F1, F2), [`served`] the same on drives as they are served,
//! [`card`] an SD card's allocation units, [`grid`] the cost of an indirection unit
//! for each offset and length (F3), [`maps`] what maps take of memory (F5), [`recovery`] how long power needs to come back (F6),
//! [`wear`] how evenly lines are erased (F7).

pub mod card;
mod drive;
pub mod grid;
mod hollow;
pub mod maps;
pub mod recovery;
pub mod served;
mod sparse;
pub mod theory;
pub mod wear;

pub use hollow::HollowStore;

/// How much is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Enough for the bars to mean something.
    Full,
    /// A tenth of that or less, to see that it works: what comes out is coarse and not judged.
    Coarse,
}

/// A word for whether a bar was kept.
const fn verdict(kept: bool) -> &'static str {
    if kept { "kept" } else { "MISSED" }
}
