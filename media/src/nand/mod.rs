//! The NAND array: what can be programmed, when, at which cost in time and wear. Knows lines and slots, not logical units.

pub mod array;
pub mod timing;
pub mod wear;

pub use array::Nand;
