//! Which states a drive may show after a power loss, and whether ours ever shows any other.
//!
//! Map of the crate. The pure half: [`parameters`] (effective atomic sizes, and the pieces of a command), [`stamp`] (the contents of a
//! block), [`history`] (the recorder), [`inventory`] (which namespaces there may be), [`reservations`] (who may
//! have registered, and hold them), [`durability`] (what is guaranteed), [`checker`] and
//! [`verdict`] (whether it is legal, and which rule is broken). The other half is the [`simulator`], which knows controllers and a drive,
//! and passes what it sees to the pure half.

#![forbid(unsafe_code)]

pub mod checker;
pub mod durability;
pub mod history;
pub mod inventory;
pub mod parameters;
pub mod reservations;
pub mod simulator;
pub mod stamp;
pub mod verdict;
mod versions;
