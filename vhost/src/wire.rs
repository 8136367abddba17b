//! Numbers and layouts of virtio 1.3 that a block device needs: features and requests of block devices (sections 5.2.3 to 5.2.6), feature
//! bits of every device (section 6). A test holds them against the kernel's. Rings and descriptors are `virtio-queue`'s.

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

bitflags! {
    /// Feature bits. A driver's may hold some that nobody knows.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Features: u64 {
        /// The configuration tells the largest segment.
        const SIZE_MAX = 1 << 1;
        /// The configuration tells how many segments a request may have.
        const SEG_MAX = 1 << 2;
        /// Nothing can be written.
        const RO = 1 << 5;
        /// The configuration tells the block size.
        const BLK_SIZE = 1 << 6;
        /// There is a flush.
        const FLUSH = 1 << 9;
        /// The configuration tells preferred sizes.
        const TOPOLOGY = 1 << 10;
        /// The write cache can be switched.
        const CONFIG_WCE = 1 << 11;
        /// There is more than one queue.
        const MQ = 1 << 12;
        /// There is a discard.
        const DISCARD = 1 << 13;
        /// There is a write of zeroes.
        const WRITE_ZEROES = 1 << 14;
        /// A descriptor may point to a table of descriptors.
        const INDIRECT_DESC = 1 << 28;
        /// Both sides say from where on they want to be notified.
        const EVENT_IDX = 1 << 29;
        /// vhost-user: there are protocol features.
        const PROTOCOL_FEATURES = 1 << 30;
        /// The device follows virtio 1.0 or later.
        const VERSION_1 = 1 << 32;
    }
}

/// Types of requests.
pub mod request_type {
    /// Read.
    pub const IN: u32 = 0;
    /// Write.
    pub const OUT: u32 = 1;
    /// Make durable.
    pub const FLUSH: u32 = 4;
    /// Tell the serial number.
    pub const GET_ID: u32 = 8;
    /// Deallocate.
    pub const DISCARD: u32 = 11;
    /// Write zeroes.
    pub const WRITE_ZEROES: u32 = 13;
}

/// The byte that answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockStatus(pub u8);

impl BlockStatus {
    /// Done.
    pub const OK: Self = Self(0);
    /// Failed.
    pub const IO_ERROR: Self = Self(1);
    /// There is no such request here.
    pub const UNSUPPORTED: Self = Self(2);
}

/// A sector is 512 bytes, whatever the block size.
pub const SECTOR_SHIFT: u32 = 9;
/// How long the serial number is that a request may ask for.
pub const ID_BYTES: usize = 20;

/// Flag of the available ring: do not interrupt the driver.
pub const AVAILABLE_NO_INTERRUPT: u16 = 1;
/// WRITE_ZEROES and DISCARD: the segment may be deallocated.
pub const SEGMENT_UNMAP: u32 = 1;

/// What a request begins with.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RequestHeader {
    /// See [`request_type`].
    pub kind: U32,
    /// Once a priority.
    pub reserved: U32,
    /// First sector.
    pub sector: U64,
}
/// Size of a request's header.
pub const HEADER_BYTES: usize = size_of::<RequestHeader>();
const _: () = assert!(HEADER_BYTES == 16);

/// What DISCARD and WRITE_ZEROES carry.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Segment {
    /// First sector.
    pub sector: U64,
    /// Number of sectors.
    pub sectors: U32,
    /// Bit 0 is [`SEGMENT_UNMAP`].
    pub flags: U32,
}
/// Size of a segment.
pub const SEGMENT_BYTES: usize = size_of::<Segment>();
const _: () = assert!(SEGMENT_BYTES == 16);

/// The configuration space, up to the fields that are served.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are those of the specification")]
pub struct BlockConfig {
    pub capacity: U64,
    pub size_max: U32,
    pub seg_max: U32,
    pub geometry: [u8; 4],
    pub blk_size: U32,
    pub physical_block_exp: u8,
    pub alignment_offset: u8,
    pub min_io_size: U16,
    pub opt_io_size: U32,
    pub writeback: u8,
    pub unused_33: u8,
    pub num_queues: U16,
    pub max_discard_sectors: U32,
    pub max_discard_seg: U32,
    pub discard_sector_alignment: U32,
    pub max_write_zeroes_sectors: U32,
    pub max_write_zeroes_seg: U32,
    pub write_zeroes_may_unmap: u8,
    pub unused_57: [u8; 3],
}
const _: () = assert!(size_of::<BlockConfig>() == 60);
/// Where the byte lies that switches the write cache: the only one that a driver may write.
pub const CONFIG_WRITEBACK_OFFSET: u32 = 32;
