//! Where the bytes of the NAND lie. Knows lines, slots and bytes, and nothing of what they mean. [`RamMedia`] is apart from the rest: a
//! media of its own without any NAND, for tests of what stands above the seam.

pub mod backing;
mod checked;
pub mod disk;
pub mod file;
mod forgetful;
pub mod fork;
mod frames;
pub mod header;
pub mod image;
pub mod inspect;
mod kept;
pub mod memory;
pub mod overlay;
mod places;
mod platter;
mod ram;
mod record_pages;
pub mod schedule;
mod staging;
mod trial;
pub mod twin;

pub use backing::{Expected, Store, StoreError, Trouble, Wanted};
pub use file::{FileDisk, FileOptions, inspect_file};
pub use forgetful::Loss;
pub use fork::{Base, ForkStore};
pub use image::{Caching, ImageStore};
pub use inspect::{Inspection, inspect};
pub use memory::{GiveBack, MemoryStore};
pub use overlay::OverlayDisk;
pub use ram::RamMedia;
pub use twin::TwinDisk;

/// A store in a file.
pub type FileStore = ImageStore<FileDisk>;

/// A store in a file that is only looked at.
pub type OverlayStore = ImageStore<OverlayDisk>;
