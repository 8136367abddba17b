//! Where the bytes lie.

mod ram;

pub use ram::RamMedia;
