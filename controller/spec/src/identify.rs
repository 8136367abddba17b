//! Data structures of Identify (Base 2.1 section 5.1.13; NVM Command Set 1.1 section 4.1.5).

use zerocopy::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Controller or Namespace Structure: which data structure is asked for, dword 10 bits 7:0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cns(pub u8);

impl Cns {
    /// Identify Namespace of the NVM command set.
    pub const NAMESPACE: Self = Self(0x00);
    /// Identify Controller.
    pub const CONTROLLER: Self = Self(0x01);
    /// Active namespace identifiers.
    pub const ACTIVE_NAMESPACES: Self = Self(0x02);
    /// Namespace identification descriptors.
    pub const NAMESPACE_DESCRIPTORS: Self = Self(0x03);
    /// Identify Namespace of a given command set.
    pub const COMMAND_SET_NAMESPACE: Self = Self(0x05);
    /// Identify Controller of a given command set.
    pub const COMMAND_SET_CONTROLLER: Self = Self(0x06);
    /// Active namespace identifiers of a given command set.
    pub const COMMAND_SET_ACTIVE_NAMESPACES: Self = Self(0x07);
    /// Identify Namespace, independent of the command set.
    pub const INDEPENDENT_NAMESPACE: Self = Self(0x08);
    /// Endurance groups.
    pub const ENDURANCE_GROUPS: Self = Self(0x19);
    /// Combinations of command sets.
    pub const COMMAND_SETS: Self = Self(0x1c);
}

/// Identify Controller: 4096 bytes (Base 2.1 figure 313).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are those of the figure, in lower case")]
pub struct Controller {
    pub vid: U16,
    pub ssvid: U16,
    pub sn: [u8; 20],
    pub mn: [u8; 40],
    pub fr: [u8; 8],
    pub rab: u8,
    pub ieee: [u8; 3],
    pub cmic: u8,
    pub mdts: u8,
    pub cntlid: U16,
    pub ver: U32,
    pub rtd3r: U32,
    pub rtd3e: U32,
    pub oaes: U32,
    pub ctratt: U32,
    pub rrls: U16,
    pub reserved_102: [u8; 9],
    pub cntrltype: u8,
    pub fguid: [u8; 16],
    pub crdt: [U16; 3],
    pub reserved_134: [u8; 122],
    pub oacs: U16,
    pub acl_z: u8,
    pub aerl_z: u8,
    pub frmw: u8,
    pub lpa: u8,
    pub elpe_z: u8,
    pub npss_z: u8,
    pub avscc: u8,
    pub apsta: u8,
    pub wctemp: U16,
    pub cctemp: U16,
    pub mtfa: U16,
    pub hmpre: U32,
    pub hmmin: U32,
    pub tnvmcap: U128,
    pub unvmcap: U128,
    pub rpmbs: U32,
    pub edstt: U16,
    pub dsto: u8,
    pub fwug: u8,
    pub kas: U16,
    pub hctma: U16,
    pub mntmt: U16,
    pub mxtmt: U16,
    pub sanicap: U32,
    pub hmminds: U32,
    pub hmmaxd: U16,
    pub nsetidmax: U16,
    pub endgidmax: U16,
    pub anatt: u8,
    pub anacap: u8,
    pub anagrpmax: U32,
    pub nanagrpid: U32,
    pub pels: U32,
    pub reserved_356: [u8; 156],
    pub sqes: u8,
    pub cqes: u8,
    pub maxcmd: U16,
    pub nn: U32,
    pub oncs: U16,
    pub fuses: U16,
    pub fna: u8,
    pub vwc: u8,
    pub awun_z: U16,
    pub awupf_z: U16,
    pub icsvscc: u8,
    pub nwpc: u8,
    pub acwu_z: U16,
    pub cdfs: U16,
    pub sgls: U32,
    pub mnan: U32,
    pub reserved_544: [u8; 224],
    pub subnqn: [u8; 256],
    pub reserved_1024: [u8; 1024],
    pub psd: [PowerState; 32],
    pub vendor: [u8; 1024],
}
crate::assert_size!(Controller, crate::IDENTIFY_BYTES);

impl Controller {
    /// All zero.
    #[must_use]
    pub fn zeroed() -> Self {
        Self::new_zeroed()
    }
}

/// OAES: Namespace Attribute Notices are supported.
pub const OAES_NAMESPACE_ATTRIBUTE: u32 = 1 << 8;
/// OACS: Doorbell Buffer Config is supported.
pub const OACS_DOORBELL_BUFFER: u16 = 1 << 8;
/// ONCS: Compare is supported.
pub const ONCS_COMPARE: u16 = 1 << 0;
/// ONCS: Write Uncorrectable is supported, of any size.
pub const ONCS_WRITE_UNCORRECTABLE: u16 = 1 << 1;
/// ONCS: Dataset Management is supported.
pub const ONCS_DATASET_MANAGEMENT: u16 = 1 << 2;
/// ONCS: Write Zeroes is supported.
pub const ONCS_WRITE_ZEROES: u16 = 1 << 3;
/// ONCS: the Save and Select fields of the feature commands are supported.
pub const ONCS_SELECT: u16 = 1 << 4;
/// ONCS: Verify is supported.
pub const ONCS_VERIFY: u16 = 1 << 7;
/// ONCS: Copy is supported.
pub const ONCS_COPY: u16 = 1 << 8;
/// ONCS: what a Copy writes is one write (NVMCSA).
pub const ONCS_COPY_SINGLE_ATOMICITY: u16 = 1 << 9;
/// FUSES: Compare and Write can be fused.
pub const FUSES_COMPARE_AND_WRITE: u16 = 1 << 0;
/// LPA: Commands Supported and Effects is supported.
pub const LPA_COMMAND_EFFECTS: u8 = 1 << 1;
/// LPA: lengths and offsets of 32 bits and more are supported.
pub const LPA_EXTENDED: u8 = 1 << 2;
/// LPA: pages 00h, 12h and 13h are supported, and scopes are given in page 05h.
pub const LPA_MISCELLANEOUS: u8 = 1 << 5;
/// VWC: there is a volatile write cache.
pub const VWC_PRESENT: u8 = 1 << 0;
/// VWC: Flush takes the broadcast namespace identifier.
pub const VWC_FLUSH_ALL: u8 = 0b11 << 1;

/// SGLS, bits 1:0: SGLs are supported, whatever the alignment and the length of data blocks.
pub const SGLS_ANY_ALIGNMENT: u32 = 0b01;
/// SGLS, bits 1:0: SGLs are supported, if data blocks are aligned to four bytes and as many long.
pub const SGLS_DWORD_ALIGNMENT: u32 = 0b10;
/// SGLS: keyed data blocks are supported.
pub const SGLS_KEYED: u32 = 1 << 2;
/// SGLS: bit buckets are supported.
pub const SGLS_BIT_BUCKET: u32 = 1 << 16;
/// SGLS: metadata in one piece may begin at any byte.
pub const SGLS_METADATA_ANY_ALIGNMENT: u32 = 1 << 17;
/// SGLS: an SGL may describe more than the data.
pub const SGLS_EXCESS_LENGTH: u32 = 1 << 18;
/// SGLS: the metadata pointer may be that of an SGL.
pub const SGLS_METADATA_SGL: u32 = 1 << 19;
/// SGLS: addresses may be offsets.
pub const SGLS_OFFSET: u32 = 1 << 20;
/// SGLS: transport data blocks are supported.
pub const SGLS_TRANSPORT: u32 = 1 << 21;

/// Power State Descriptor: 32 bytes (Base 2.1 figure 314).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct PowerState {
    /// Maximum power in hundredths of a watt; 0 if not reported.
    pub maximum_power_centiwatts: U16,
    /// Reserved.
    pub reserved_2: [u8; 30],
}
crate::assert_size!(PowerState, 32);

/// LBA Format: 4 bytes (NVM Command Set 1.1 figure 98).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LbaFormat {
    /// Metadata bytes.
    pub ms: U16,
    /// The block is 2^n bytes.
    pub lbads: u8,
    /// Relative performance: 0 is best.
    pub rp: u8,
}
crate::assert_size!(LbaFormat, 4);

/// Identify Namespace of the NVM command set: 4096 bytes (NVM Command Set 1.1 figure 97).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are those of the figure, in lower case")]
pub struct Namespace {
    pub nsze: U64,
    pub ncap: U64,
    pub nuse: U64,
    pub nsfeat: u8,
    pub nlbaf_z: u8,
    pub flbas: u8,
    pub mc: u8,
    pub dpc: u8,
    pub dps: u8,
    pub nmic: u8,
    pub rescap: u8,
    pub fpi: u8,
    pub dlfeat: u8,
    pub nawun_z: U16,
    pub nawupf_z: U16,
    pub nacwu_z: U16,
    pub nabsn_z: U16,
    pub nabo: U16,
    pub nabspf_z: U16,
    pub noiob: U16,
    pub nvmcap: U128,
    pub npwg_z: U16,
    pub npwa_z: U16,
    pub npdg_z: U16,
    pub npda_z: U16,
    pub nows_z: U16,
    pub mssrl: U16,
    pub mcl: U32,
    pub msrc_z: u8,
    pub kpios: u8,
    pub nulbaf: u8,
    pub reserved_83: [u8; 9],
    pub anagrpid: U32,
    pub reserved_96: [u8; 3],
    pub nsattr: u8,
    pub nvmsetid: U16,
    pub endgid: U16,
    pub nguid: [u8; 16],
    pub eui64: [u8; 8],
    pub lbaf: [LbaFormat; 64],
    pub vendor: [u8; 3712],
}
crate::assert_size!(Namespace, crate::IDENTIFY_BYTES);

impl Namespace {
    /// All zero: what an inactive namespace reports.
    #[must_use]
    pub fn zeroed() -> Self {
        Self::new_zeroed()
    }
}

/// MC: metadata can follow each block.
pub const MC_EXTENDED: u8 = 1 << 0;
/// MC: metadata can be in a buffer of its own.
pub const MC_SEPARATE: u8 = 1 << 1;
/// FLBAS: metadata follows each block.
pub const FLBAS_EXTENDED: u8 = 1 << 4;
/// NSFEAT: the namespace's own atomic sizes are meant (NSABP).
pub const NSFEAT_OWN_ATOMICS: u8 = 1 << 1;
/// NSFEAT, OPTPERF (bits 5:4) = 11b: the preferred sizes are given, those of deallocation in both widths.
pub const NSFEAT_PREFERRED_SIZES: u8 = 0b11 << 4;
/// NSFEAT: a write that crosses atomic boundaries is atomic between each two (MAM).
pub const NSFEAT_MULTIPLE_ATOMICITY: u8 = 1 << 6;
/// DLFEAT: deallocated blocks read as zeroes (bits 2:0 = 001b), and Write Zeroes may deallocate (bit 3).
pub const DLFEAT_ZEROES_AND_DEALLOCATE: u8 = 0b1001;

/// Identify Namespace for the NVM command set (CNS 05h): 4096 bytes (NVM Command Set 1.1 figure 100).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are those of the figure, in lower case")]
pub struct NvmNamespace {
    pub lbstm: U64,
    pub pic: u8,
    pub reserved_9: [u8; 3],
    pub elbaf: [U32; 64],
    pub npdgl: U32,
    pub nprg: U32,
    pub npra: U32,
    pub nors: U32,
    pub npdal: U32,
    pub reserved_288: [u8; 3808],
}
crate::assert_size!(NvmNamespace, crate::IDENTIFY_BYTES);

impl NvmNamespace {
    /// All zero.
    #[must_use]
    pub fn zeroed() -> Self {
        Self::new_zeroed()
    }
}

/// CTRATT: there are endurance groups.
pub const CTRATT_ENDURANCE_GROUPS: u32 = 1 << 4;

/// Identify Namespace, independent of the command set: 4096 bytes (Base 2.1 figure 320).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are those of the figure, in lower case")]
pub struct IndependentNamespace {
    pub nsfeat: u8,
    pub nmic: u8,
    pub rescap: u8,
    pub fpi: u8,
    pub anagrpid: U32,
    pub nsattr: u8,
    pub reserved_9: u8,
    pub nvmsetid: U16,
    pub endgid: U16,
    pub nstat: u8,
    pub reserved_15: [u8; 4081],
}
crate::assert_size!(IndependentNamespace, crate::IDENTIFY_BYTES);

impl IndependentNamespace {
    /// All zero.
    #[must_use]
    pub fn zeroed() -> Self {
        Self::new_zeroed()
    }
}

/// NSTAT: the namespace is ready.
pub const NSTAT_READY: u8 = 1 << 0;

/// Kinds of namespace identification descriptors (Base 2.1 figure 316).
pub mod descriptor {
    /// IEEE Extended Unique Identifier, 8 bytes.
    pub const EUI64: u8 = 1;
    /// Namespace Globally Unique Identifier, 16 bytes.
    pub const NGUID: u8 = 2;
    /// UUID, 16 bytes.
    pub const UUID: u8 = 3;
    /// Command Set Identifier, 1 byte.
    pub const COMMAND_SET: u8 = 4;
}
