//! What NVMe looks like on the wire, and nothing else: register fields, the two queue entries, the data structures of Identify, of
//! features and of log pages. Revision: NVMe Base 2.1 and NVM Command Set 1.1; sections are cited in our own words.
//!
//! Every type that is filled from memory accepts every bit pattern: a number with named constants, never an enum. Zero-based fields
//! end in `_z`. Reserved space has no name beyond `reserved` and is zero when we write it.

#![no_std]
#![forbid(unsafe_code)]

pub mod command;
pub mod completion;
pub mod feature;
pub mod identify;
pub mod log;
pub mod opcode;
pub mod register;
pub mod reservation;
pub mod sgl;

pub use command::Command;
pub use completion::{Completion, Status};
pub use sgl::SglDescriptor;

/// A broadcast namespace identifier: all namespaces, where a command allows it (Base 2.1 section 3.2.1.2).
pub const NSID_ALL: u32 = 0xffff_ffff;

/// Size of a submission queue entry in bytes.
pub const COMMAND_BYTES: usize = 64;
/// Size of a completion queue entry in bytes.
pub const COMPLETION_BYTES: usize = 16;
/// Size of the Identify data structures in bytes.
pub const IDENTIFY_BYTES: usize = 4096;

/// Fails to compile unless a type has exactly this many bytes.
#[macro_export]
macro_rules! assert_size {
    ($type:ty, $bytes:expr) => {
        const _: () = assert!(::core::mem::size_of::<$type>() == $bytes);
    };
}
