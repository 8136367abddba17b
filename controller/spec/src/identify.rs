//! Data structures of Identify (Base 2.1 section 5.1.13; NVM Command Set 1.1 section 4.1.5).

mod flags;

pub use flags::{
    AccessCapabilities, AdminCommands, ControllerAttributes, FormatAttributes, FormattedSize, FusedOperations,
    LogPages, MetadataCapabilities, Multipath, NamespaceFeatures, NamespaceStatus, OptionalCommands, OptionalEvents,
    ReservationCapabilities, SglSupport, WriteCache,
};
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
    /// Allocated namespace identifiers.
    pub const ALLOCATED_NAMESPACES: Self = Self(0x10);
    /// Identify Namespace of an allocated namespace.
    pub const ALLOCATED_NAMESPACE: Self = Self(0x11);
    /// The controllers that have a namespace.
    pub const ATTACHED_CONTROLLERS: Self = Self(0x12);
    /// The controllers of the subsystem.
    pub const CONTROLLERS: Self = Self(0x13);
    /// Namespace granularities.
    pub const GRANULARITIES: Self = Self(0x16);
    /// Endurance groups.
    pub const ENDURANCE_GROUPS: Self = Self(0x19);
    /// Allocated namespace identifiers of a given command set.
    pub const COMMAND_SET_ALLOCATED_NAMESPACES: Self = Self(0x1a);
    /// Identify Namespace of an allocated namespace and a given command set.
    pub const COMMAND_SET_ALLOCATED_NAMESPACE: Self = Self(0x1b);
    /// Combinations of command sets.
    pub const COMMAND_SETS: Self = Self(0x1c);
    /// Identify Namespace of an allocated namespace, independent of the command set.
    pub const INDEPENDENT_ALLOCATED_NAMESPACE: Self = Self(0x1f);
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
    /// VWC.
    #[must_use]
    pub const fn write_cache(&self) -> WriteCache {
        WriteCache::from_bits_retain(self.vwc)
    }

    /// All zero.
    #[must_use]
    pub fn zeroed() -> Self {
        Self::new_zeroed()
    }
}

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
    /// NSFEAT.
    #[must_use]
    pub const fn features(&self) -> NamespaceFeatures {
        NamespaceFeatures::from_bits_retain(self.nsfeat)
    }

    /// The number of the LBA format among [`Self::lbaf`]: FLBAS bits 3:0, and above them 6:5.
    #[must_use]
    pub const fn format_index(&self) -> u8 {
        self.flbas & 0xf | (self.flbas >> 5 & 0b11) << 4
    }

    /// The LBA format.
    #[must_use]
    pub fn format(&self) -> LbaFormat {
        self.lbaf[usize::from(self.format_index())]
    }

    /// FLBAS beside the number of the format: whether metadata follows each block.
    #[must_use]
    pub const fn has_extended_metadata(&self) -> bool {
        FormattedSize::from_bits_retain(self.flbas).contains(FormattedSize::EXTENDED)
    }

    /// All zero: what an inactive namespace reports.
    #[must_use]
    pub fn zeroed() -> Self {
        Self::new_zeroed()
    }
}

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
