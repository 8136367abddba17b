//! Where the bytes of the NAND lie. Knows lines, slots and bytes, and nothing of what they mean.

pub mod backing;
pub mod file;
pub mod image;
pub mod memory;
pub mod twin;

pub use backing::{Store, StoreError};
pub use file::{FileDisk, FileOptions, inspect_file};
pub use image::ImageStore;
pub use memory::MemoryStore;
pub use twin::TwinDisk;

/// A store in a file.
pub type FileStore = ImageStore<FileDisk>;
