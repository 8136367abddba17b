//! What a drive may hold after a power loss, and whether ours ever holds anything else.
//!
//! Map of the crate. The pure half: [`parameters`] (effective atomic sizes, and the pieces of a command), [`stamp`] (what a block holds),
//! [`history`] (the recorder), [`durability`] (what is guaranteed), [`checker`] and [`verdict`] (is it legal, and which rule is broken).
//! The other half is the [`simulator`], which knows a controller and a drive, and hands what it sees to the pure half.

#![forbid(unsafe_code)]

pub mod checker;
pub mod durability;
pub mod history;
pub mod parameters;
pub mod simulator;
pub mod stamp;
pub mod verdict;
mod versions;
