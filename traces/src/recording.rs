//! Our own file of I/O commands: compact, checked, written and read as a stream.
//!
//! A head of 24 bytes: the magic bytes, a version, flags, and a checksum of them. Then chunks of at most [`CHUNK_BYTES`] or one entry,
//! whichever is more: length, number of entries, a checksum that depends on the chunk's place, and the entries. An empty chunk ends the
//! file. All numbers of head and chunks are little-endian; within entries they are of variable length, and times and blocks are differences
//! to the command before in the same chunk. A plain command of a deep queue takes about a dozen bytes.
//!
//! A chunk stands by itself: what comes before a damaged or missing one can be read.

mod entry;
mod reader;
mod recorder;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::Reader;
pub use recorder::Recorder;
pub use writer::Writer;

/// What a recording begins with.
pub const MAGIC: [u8; 8] = *b"\x89BRNTRC\n";
/// The version that is written, and the only one that is read.
pub const VERSION: u16 = 1;
/// A chunk is written once it is as long as this.
pub const CHUNK_BYTES: usize = 64 << 10;
/// The longest chunk that is believed: one entry with all the data that there may be, behind others.
const CHUNK_BYTES_MAX: usize = crate::record::DATA_BYTES_MAX + 2 * CHUNK_BYTES;

const HEAD_BYTES: usize = 24;
const CHUNK_HEAD_BYTES: usize = 16;
const HEAD_SEED: u64 = u64::MAX;
/// Flag of the head: commands may have data.
const WITH_DATA: u16 = 1;

/// What the checksum of a chunk begins from, so that no chunk can stand in for another.
fn seed(ordinal: u64, entries: u32) -> u64 {
    ordinal << 32 ^ u64::from(entries)
}
