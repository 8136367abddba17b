//! What tests and fuzzers share: a disk that others reach, and images that somebody has been at. Not part of the crate's interface.

mod choices;
mod disk;
mod forge;
mod fuzz;

pub use choices::Choices;
pub use disk::OpenDisk;
pub use forge::{Forge, damage};
pub use fuzz::fuzz_entry;
