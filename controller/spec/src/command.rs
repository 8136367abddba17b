//! The submission queue entry (Base 2.1 section 4.1, figure 92).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::sgl::SglDescriptor;

/// A submission queue entry: 64 bytes, any bit pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Command {
    /// What to do.
    pub opcode: u8,
    /// Bits 1:0 fused operation, bits 7:6 PRP or SGL.
    pub flags: u8,
    /// The host's name for the command.
    pub cid: U16,
    /// Namespace identifier.
    pub nsid: U32,
    /// Command dword 2.
    pub cdw2: U32,
    /// Command dword 3.
    pub cdw3: U32,
    /// Metadata pointer.
    pub mptr: U64,
    /// First half of the data pointer: PRP entry 1.
    pub prp1: U64,
    /// Second half of the data pointer: PRP entry 2.
    pub prp2: U64,
    /// Command dword 10.
    pub cdw10: U32,
    /// Command dword 11.
    pub cdw11: U32,
    /// Command dword 12.
    pub cdw12: U32,
    /// Command dword 13.
    pub cdw13: U32,
    /// Command dword 14.
    pub cdw14: U32,
    /// Command dword 15.
    pub cdw15: U32,
}
crate::assert_size!(Command, crate::COMMAND_BYTES);

impl Command {
    /// All 64 bytes of it, as they lie in a queue.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; crate::COMMAND_BYTES] {
        zerocopy::transmute!(*self)
    }

    /// FUSE: one of [`fuse`]'s; 3 is reserved.
    #[must_use]
    pub const fn fuse(&self) -> u8 {
        self.flags & 0b11
    }

    /// PSDT: one of [`psdt`]'s; 3 is reserved.
    #[must_use]
    pub const fn psdt(&self) -> u8 {
        self.flags >> 6
    }

    /// SGL1: the data pointer of a command whose PSDT says that it is an SGL.
    #[must_use]
    pub const fn sgl1(&self) -> SglDescriptor {
        zerocopy::transmute!([self.prp1, self.prp2])
    }

    /// This command with an SGL as its data pointer, and a PSDT that says so.
    #[must_use]
    pub const fn with_sgl1(self, descriptor: SglDescriptor) -> Self {
        let [prp1, prp2]: [U64; 2] = zerocopy::transmute!(descriptor);
        Self { flags: self.flags & 0x3f | psdt::SGL << 6, prp1, prp2, ..self }
    }

    /// Starting LBA of the commands that carry one: dwords 10 and 11.
    #[must_use]
    pub fn slba(&self) -> u64 {
        u64::from(self.cdw10.get()) | u64::from(self.cdw11.get()) << 32
    }

    /// Number of logical blocks of the commands that carry one, zero-based: dword 12 bits 15:0.
    #[must_use]
    pub fn nlb_z(&self) -> u16 {
        low16(self.cdw12.get())
    }

    /// Force Unit Access of the commands that carry it: dword 12 bit 30.
    #[must_use]
    pub fn force_unit_access(&self) -> bool {
        self.cdw12.get() & 1 << 30 != 0
    }
}

/// Fused Operation: which command of a pair this is (Base 2.1 figure 92).
pub mod fuse {
    /// Of none.
    pub const NONE: u8 = 0b00;
    /// The first.
    pub const FIRST: u8 = 0b01;
    /// The second.
    pub const SECOND: u8 = 0b10;
}

/// PRP or SGL for Data Transfer: what the data pointer and the metadata pointer are (Base 2.1 figure 92).
pub mod psdt {
    /// PRP entries.
    pub const PRP: u8 = 0;
    /// An SGL; metadata, where a command has it, lies in one piece.
    pub const SGL: u8 = 1;
    /// An SGL; metadata has one as well.
    pub const SGL_AND_METADATA_SGL: u8 = 2;
}

/// Write Zeroes, dword 12 bit 25: deallocate where reads then return zeroes (NVM Command Set 1.1 section 3.3.8).
pub const WRITE_ZEROES_DEALLOCATE: u32 = 1 << 25;
/// Write Zeroes, dword 12 bit 23: zero the whole namespace.
pub const WRITE_ZEROES_NAMESPACE: u32 = 1 << 23;
/// Dataset Management, dword 11 bit 2: deallocate the ranges (NVM Command Set 1.1 section 3.3.3).
pub const DATASET_DEALLOCATE: u32 = 1 << 2;

/// How source ranges of a Copy are described: dword 12 bits 11:8 (NVM Command Set 1.1 section 3.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyFormat(pub u8);

impl CopyFormat {
    /// Format 0h: [`CopyRange`]s of the command's own namespace, without or with a 16-bit guard.
    pub const PLAIN: Self = Self(0);
}

/// One source range of a Copy in format 0h: 32 bytes (NVM Command Set 1.1 figure 39).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CopyRange {
    /// Reserved.
    pub reserved_0: U64,
    /// First logical block.
    pub slba: U64,
    /// Length in logical blocks, zero-based.
    pub nlb_z: U16,
    /// Reserved.
    pub reserved_18: U16,
    /// Source options, and reserved.
    pub options: U32,
    /// Expected reference and storage tags.
    pub reference_tag: U32,
    /// Expected application tag.
    pub application_tag: U16,
    /// Mask of the application tag.
    pub application_tag_mask: U16,
}
crate::assert_size!(CopyRange, 32);

/// One range of Dataset Management: 16 bytes (NVM Command Set 1.1 figure 46).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DatasetRange {
    /// Hints about the use of the range.
    pub context_attributes: U32,
    /// Length in logical blocks, one-based.
    pub blocks: U32,
    /// First logical block.
    pub slba: U64,
}
crate::assert_size!(DatasetRange, 16);

/// Bits 15:0 of a dword.
#[must_use]
pub const fn low16(dword: u32) -> u16 {
    (dword & 0xffff) as u16
}

/// Bits 31:16 of a dword.
#[must_use]
pub const fn high16(dword: u32) -> u16 {
    (dword >> 16) as u16
}
