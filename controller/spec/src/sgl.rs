//! Scatter Gather Lists (Base 2.1 section 4.3.2): the descriptor, and the kinds of it.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Size of a descriptor in bytes.
pub const DESCRIPTOR_BYTES: usize = 16;

/// A descriptor with an address and a length, which all kinds but the keyed one have: 16 bytes, any bit pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SglDescriptor {
    /// Where the data, or the next segment, begins.
    pub address: U64,
    /// How many bytes it has.
    pub length: U32,
    /// Reserved.
    pub reserved_12: [u8; 3],
    /// Type in bits 7:4, subtype in bits 3:0.
    pub identifier: u8,
}
crate::assert_size!(SglDescriptor, DESCRIPTOR_BYTES);

impl SglDescriptor {
    /// A descriptor whose address is one of memory.
    #[must_use]
    pub fn new(kind: SglType, address: u64, length: u32) -> Self {
        let identifier = kind.0 << 4 | SglSubtype::ADDRESS.0;
        Self { address: address.into(), length: length.into(), reserved_12: [0; 3], identifier }
    }

    /// The descriptor that lies in memory as these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; DESCRIPTOR_BYTES]) -> Self {
        zerocopy::transmute!(bytes)
    }

    /// What is described.
    #[must_use]
    pub const fn kind(&self) -> SglType {
        SglType(self.identifier >> 4)
    }

    /// How the place is given.
    #[must_use]
    pub const fn subtype(&self) -> SglSubtype {
        SglSubtype(self.identifier & 0xf)
    }
}

/// SGL Descriptor Type: four bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SglType(pub u8);

impl SglType {
    /// Data.
    pub const DATA_BLOCK: Self = Self(0x0);
    /// Data of a read that nobody wants.
    pub const BIT_BUCKET: Self = Self(0x1);
    /// The next segment, after which there is another.
    pub const SEGMENT: Self = Self(0x2);
    /// The next segment, which is the last.
    pub const LAST_SEGMENT: Self = Self(0x3);
    /// Data with a key, for fabrics.
    pub const KEYED_DATA_BLOCK: Self = Self(0x4);
    /// Data that the transport finds, for fabrics.
    pub const TRANSPORT_DATA_BLOCK: Self = Self(0x5);
    /// The vendor's.
    pub const VENDOR: Self = Self(0xf);
}

/// SGL Descriptor Subtype: four bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SglSubtype(pub u8);

impl SglSubtype {
    /// The address is one of memory.
    pub const ADDRESS: Self = Self(0x0);
    /// The address is an offset into what the command brings along, for fabrics.
    pub const OFFSET: Self = Self(0x1);
}
