//! Where the bytes of the NAND lie. Knows lines, slots and bytes, and nothing of what they mean.

pub mod backing;
pub mod memory;

pub use backing::{Store, StoreError};
pub use memory::MemoryStore;
