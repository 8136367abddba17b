//! Where the bytes of the NAND lie. Knows lines, slots and bytes, and nothing of what they mean. [`RamMedia`] is apart from the rest: a
//! media of its own without any NAND, for tests of what stands above the seam.

pub mod backing;
pub mod disk;
pub mod file;
pub mod header;
pub mod image;
pub mod memory;
mod places;
mod ram;
pub mod schedule;
mod staging;
pub mod twin;

pub use backing::{Store, StoreError};
pub use file::{FileDisk, FileOptions, inspect_file};
pub use image::{Habits, ImageStore};
pub use memory::MemoryStore;
pub use ram::RamMedia;
pub use twin::TwinDisk;

/// A store in a file.
pub type FileStore = ImageStore<FileDisk>;
