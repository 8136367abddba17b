//! Sets of flags in what Identify returns (Base 2.1 figure 312; NVM Command Set 1.1 figure 97). Fields are numbers: bits that a revision
//! to come defines stay in them.

use bitflags::bitflags;

bitflags! {
    /// Which optional asynchronous events there are.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct OptionalEvents: u32 {
        /// Namespace Attribute Notices are supported.
        const NAMESPACE_ATTRIBUTE = 1 << 8;
        /// Asymmetric Namespace Access Change Notices are supported.
        const ACCESS_CHANGE = 1 << 11;
    }

    /// What several paths to a subsystem there are (CMIC).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Multipath: u8 {
        /// The subsystem may have several ports.
        const SEVERAL_PORTS = 1 << 0;
        /// It may have several controllers.
        const SEVERAL_CONTROLLERS = 1 << 1;
        /// Asymmetric Namespace Access is reported.
        const ASYMMETRIC_ACCESS = 1 << 3;
    }

    /// What of Asymmetric Namespace Access there is (ANACAP).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct AccessCapabilities: u8 {
        /// The state ANA Optimized is reported.
        const OPTIMIZED = 1 << 0;
        /// ANA Non-Optimized is.
        const NON_OPTIMIZED = 1 << 1;
        /// ANA Inaccessible is.
        const INACCESSIBLE = 1 << 2;
        /// ANA Persistent Loss is.
        const PERSISTENT_LOSS = 1 << 3;
        /// ANA Change is.
        const CHANGE = 1 << 4;
        /// A namespace stays in its group while a controller has it.
        const GROUP_STAYS = 1 << 6;
        /// A host that makes a namespace may choose its group.
        const GROUP_CHOSEN = 1 << 7;
    }

    /// Which optional admin commands there are.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct AdminCommands: u16 {
        /// Format NVM is supported.
        const FORMAT = 1 << 1;
        /// Namespace Management and Namespace Attachment are supported.
        const NAMESPACE_MANAGEMENT = 1 << 3;
        /// Doorbell Buffer Config is supported.
        const DOORBELL_BUFFER = 1 << 8;
    }

    /// Which optional I/O commands there are.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct OptionalCommands: u16 {
        /// Compare is supported.
        const COMPARE = 1 << 0;
        /// Write Uncorrectable is supported, of any size.
        const WRITE_UNCORRECTABLE = 1 << 1;
        /// Dataset Management is supported.
        const DATASET_MANAGEMENT = 1 << 2;
        /// Write Zeroes is supported.
        const WRITE_ZEROES = 1 << 3;
        /// The Save and Select fields of the feature commands are supported.
        const SELECT = 1 << 4;
        /// Reservations are supported.
        const RESERVATIONS = 1 << 5;
        /// Verify is supported.
        const VERIFY = 1 << 7;
        /// Copy is supported.
        const COPY = 1 << 8;
        /// What a Copy writes is one write (NVMCSA).
        const COPY_SINGLE_ATOMICITY = 1 << 9;
    }

    /// Which commands can be fused.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct FusedOperations: u16 {
        /// Compare and Write can be fused.
        const COMPARE_AND_WRITE = 1 << 0;
    }

    /// What Format NVM does (FNA): where none of it says so, one namespace after the other, and all if all are named.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct FormatAttributes: u8 {
        /// A cryptographic erase can be had.
        const CRYPTOGRAPHIC_ERASE = 1 << 2;
    }

    /// What log pages are like.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct LogPages: u8 {
        /// Commands Supported and Effects is supported.
        const COMMAND_EFFECTS = 1 << 1;
        /// Lengths and offsets of 32 bits and more are supported.
        const EXTENDED = 1 << 2;
        /// Pages 00h, 12h and 13h are supported, and scopes are given in page 05h.
        const MISCELLANEOUS = 1 << 5;
    }

    /// The volatile write cache.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct WriteCache: u8 {
        /// There is a volatile write cache.
        const PRESENT = 1 << 0;
        /// Flush takes the broadcast namespace identifier.
        const FLUSH_ALL = 0b11 << 1;
    }

    /// What SGLs may have.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct SglSupport: u32 {
        /// Bits 1:0: SGLs are supported, whatever the alignment and the length of data blocks.
        const ANY_ALIGNMENT = 0b01;
        /// Bits 1:0: SGLs are supported, if data blocks are aligned to four bytes and as many long.
        const DWORD_ALIGNMENT = 0b10;
        /// Keyed data blocks are supported.
        const KEYED = 1 << 2;
        /// Bit buckets are supported.
        const BIT_BUCKET = 1 << 16;
        /// Metadata in one piece may begin at any byte.
        const METADATA_ANY_ALIGNMENT = 1 << 17;
        /// An SGL may describe more than the data.
        const EXCESS_LENGTH = 1 << 18;
        /// The metadata pointer may be that of an SGL.
        const METADATA_SGL = 1 << 19;
        /// Addresses may be offsets.
        const OFFSET = 1 << 20;
        /// Transport data blocks are supported.
        const TRANSPORT = 1 << 21;
    }

    /// Where metadata can be.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct MetadataCapabilities: u8 {
        /// Metadata can follow each block.
        const EXTENDED = 1 << 0;
        /// Metadata can be in a buffer of its own.
        const SEPARATE = 1 << 1;
    }

    /// The bits beside the number of the format.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct FormattedSize: u8 {
        /// Metadata follows each block.
        const EXTENDED = 1 << 4;
    }

    /// What the namespace tells of itself.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct NamespaceFeatures: u8 {
        /// The namespace's own atomic sizes are meant (NSABP).
        const OWN_ATOMICS = 1 << 1;
        /// OPTPERF (bits 5:4) = 11b: the preferred sizes are given, those of deallocation in both widths.
        const PREFERRED_SIZES = 0b11 << 4;
        /// A write that crosses atomic boundaries is atomic between each two (MAM).
        const MULTIPLE_ATOMICITY = 1 << 6;
    }

    /// What the controller is like.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ControllerAttributes: u32 {
        /// Host identifiers may have 128 bits.
        const HOST_IDENTIFIER_128 = 1 << 0;
        /// There are endurance groups.
        const ENDURANCE_GROUPS = 1 << 4;
        /// Granularities of namespaces are reported.
        const NAMESPACE_GRANULARITY = 1 << 7;
        /// There are more than sixteen LBA formats, for hosts that know of it (ELBAS).
        const EXTENDED_FORMATS = 1 << 15;
    }

    /// What reservations there are of a namespace.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ReservationCapabilities: u8 {
        /// They can persist through a power loss.
        const PERSISTENCE = 1 << 0;
        /// All six types.
        const ALL_TYPES = 0b11_1111 << 1;
        /// IEKEY has the meaning that it has since revision 1.3.
        const IGNORE_KEY = 1 << 7;
    }

    /// The state of the namespace.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct NamespaceStatus: u8 {
        /// The namespace is ready.
        const READY = 1 << 0;
    }
}
