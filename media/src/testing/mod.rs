//! What tests and fuzzers share: a disk that others reach, images that somebody has been at, and the simplest hosts. Not part of the crate's interface.

mod choices;
mod disk;
mod forge;
mod fuzz;
mod host;

pub use choices::Choices;
pub use disk::OpenDisk;
pub use forge::{Forge, damage};
pub use fuzz::fuzz_entry;
pub use host::{Bytes, Fill};
