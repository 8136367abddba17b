//! Log pages (Base 2.1 section 5.1.12).

use zerocopy::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Log page identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogId(pub u8);

impl LogId {
    /// Supported Log Pages.
    pub const SUPPORTED: Self = Self(0x00);
    /// Error Information.
    pub const ERROR: Self = Self(0x01);
    /// SMART / Health Information.
    pub const SMART: Self = Self(0x02);
    /// Firmware Slot Information.
    pub const FIRMWARE_SLOT: Self = Self(0x03);
    /// Changed Attached Namespace List.
    pub const CHANGED_NAMESPACES: Self = Self(0x04);
    /// Commands Supported and Effects.
    pub const COMMAND_EFFECTS: Self = Self(0x05);
    /// Endurance Group Information.
    pub const ENDURANCE_GROUP: Self = Self(0x09);
    /// Asymmetric Namespace Access.
    pub const ASYMMETRIC_ACCESS: Self = Self(0x0c);
    /// Feature Identifiers Supported and Effects.
    pub const FEATURE_EFFECTS: Self = Self(0x12);
    /// NVMe-MI Commands Supported and Effects.
    pub const MANAGEMENT_EFFECTS: Self = Self(0x13);
    /// Reservation Notification.
    pub const RESERVATION: Self = Self(0x80);
    /// SMART / Health Information Extended, of the OCP Datacenter NVMe SSD specification (vendor specific range).
    pub const OCP_SMART: Self = Self(0xc0);
}

/// One entry of the Error Information log: 64 bytes (figure 206).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ErrorEntry {
    /// Rising number of the error, from 1; 0 marks an unused entry.
    pub error_count: U64,
    /// Submission queue of the command.
    pub sqid: U16,
    /// The command; FFFFh when the error belongs to none.
    pub cid: U16,
    /// Status field as in the completion, in bits 15:1.
    pub status: U16,
    /// Byte and bit of the command that is to blame; FFFFh if none is named.
    pub parameter_location: U16,
    /// First bad block.
    pub lba: U64,
    /// Namespace of the command.
    pub nsid: U32,
    /// Identifier of a vendor's log with more, or 0.
    pub vendor_log: u8,
    /// Transport type, or 0.
    pub transport: u8,
    /// Command set, valid from version 1 of the entry.
    pub command_set: u8,
    /// Opcode, valid from version 1 of the entry.
    pub opcode: u8,
    /// Command specific.
    pub command_specific: U64,
    /// Transport specific.
    pub transport_specific: U16,
    /// Reserved.
    pub reserved: [u8; 21],
    /// Version of this entry's layout.
    pub version: u8,
}
crate::assert_size!(ErrorEntry, 64);

/// The SMART / Health Information log: 512 bytes (figure 207).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Smart {
    /// Critical warnings.
    pub critical_warning: u8,
    /// Composite temperature in kelvins.
    pub composite_temperature_kelvins: U16,
    /// Spare left, in percent.
    pub available_spare_percent: u8,
    /// Below this a warning is raised, in percent.
    pub available_spare_threshold_percent: u8,
    /// Life used, in percent; may exceed 100.
    pub percentage_used: u8,
    /// Warnings of endurance groups.
    pub endurance_group_warning: u8,
    /// Reserved.
    pub reserved_7: [u8; 25],
    /// Data read by the host, in thousands of 512 bytes, rounded up.
    pub data_units_read: U128,
    /// Data written by the host, likewise.
    pub data_units_written: U128,
    /// Commands that read.
    pub host_read_commands: U128,
    /// Commands that wrote.
    pub host_write_commands: U128,
    /// Minutes in which I/O was outstanding.
    pub controller_busy_minutes: U128,
    /// Power cycles.
    pub power_cycles: U128,
    /// Hours with power.
    pub power_on_hours: U128,
    /// Power losses without a completed shutdown.
    pub unsafe_shutdowns: U128,
    /// Media and data integrity errors.
    pub media_errors: U128,
    /// Errors ever entered into the error log.
    pub error_log_entries: U128,
    /// Minutes above the warning temperature.
    pub warning_temperature_minutes: U32,
    /// Minutes above the critical temperature.
    pub critical_temperature_minutes: U32,
    /// Temperature sensors in kelvins; 0 where there is none.
    pub temperature_sensors_kelvins: [U16; 8],
    /// Thermal management counts and the rest of the page.
    pub reserved_216: [u8; 296],
}
crate::assert_size!(Smart, 512);

impl Smart {
    /// A page of zeroes.
    #[must_use]
    pub fn zeroed() -> Self {
        Self::new_zeroed()
    }
}

/// SMART critical warning bit: the spare is below its threshold.
pub const WARNING_SPARE: u8 = 1 << 0;
/// SMART critical warning bit: the subsystem is less reliable than it was.
pub const WARNING_RELIABILITY: u8 = 1 << 2;
/// SMART critical warning bit: the media can only be read.
pub const WARNING_READ_ONLY: u8 = 1 << 3;
/// SMART critical warning bit: temperature above or below a threshold.
pub const WARNING_TEMPERATURE: u8 = 1 << 1;

/// The Endurance Group Information log: 512 bytes (figure 219). Amounts of data are in units of a billion bytes, rounded up.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct EnduranceGroup {
    /// Critical warnings of the group.
    pub critical_warning: u8,
    /// Features of the group.
    pub features: U16,
    /// Spare left, in percent.
    pub available_spare_percent: u8,
    /// Below this a warning is raised, in percent.
    pub available_spare_threshold_percent: u8,
    /// Life used, in percent.
    pub percentage_used: u8,
    /// Domain.
    pub domain: U16,
    /// Reserved.
    pub reserved_8: [u8; 24],
    /// What may be written in the group's life; 0 if not reported.
    pub endurance_estimate: U128,
    /// Data read by hosts.
    pub data_units_read: U128,
    /// Data written by hosts.
    pub data_units_written: U128,
    /// Data written to the media, by hosts and by the device itself.
    pub media_units_written: U128,
    /// Commands that read.
    pub host_read_commands: U128,
    /// Commands that wrote.
    pub host_write_commands: U128,
    /// Media and data integrity errors.
    pub media_errors: U128,
    /// Errors entered into the error log.
    pub error_log_entries: U128,
    /// Bytes of the group.
    pub total_capacity_bytes: U128,
    /// Bytes of the group that no namespace has.
    pub unallocated_capacity_bytes: U128,
    /// Reserved.
    pub reserved_192: [u8; 320],
}
crate::assert_size!(EnduranceGroup, 512);

/// What stands in bytes 511:496 of the OCP SMART log, so that a host knows the layout.
pub const OCP_SMART_GUID: [u8; 16] =
    [0xc5, 0xaf, 0x10, 0x28, 0xea, 0xbf, 0xf2, 0xa4, 0x9c, 0x4f, 0x6f, 0x7c, 0xc9, 0x14, 0xd5, 0xaf];

/// The SMART / Health Information Extended log: 512 bytes (OCP Datacenter NVMe SSD 2.0 section 4.8.4). What this device does not
/// count is in reserved space and zero.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct OcpSmart {
    /// Bytes programmed into the media, for whatever reason.
    pub physical_bytes_written: U128,
    /// Bytes read from the media; 0 here: not counted.
    pub physical_bytes_read: U128,
    /// Bad blocks, 48 bits.
    pub bad_user_blocks: [u8; 6],
    /// Bad blocks, normalized: 100 when there are none.
    pub bad_user_blocks_normalized: U16,
    /// Blocks of the device's own, and recoveries that we do not have.
    pub reserved_40: [u8; 16],
    /// Reads that could not be corrected.
    pub uncorrectable_reads: U64,
    /// Corrections and refreshes that we do not count.
    pub reserved_64: [u8; 24],
    /// Erases of the line erased most.
    pub erases_most: U32,
    /// Erases of the line erased least.
    pub erases_fewest: U32,
    /// Throttling, version and link errors.
    pub reserved_96: [u8; 16],
    /// Power losses without a completed shutdown.
    pub incomplete_shutdowns: U32,
    /// What else we do not count.
    pub reserved_116: [u8; 378],
    /// Version of the layout.
    pub version: U16,
    /// [`OCP_SMART_GUID`].
    pub guid: [u8; 16],
}
crate::assert_size!(OcpSmart, 512);

/// The Firmware Slot Information log: 512 bytes (figure 209).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FirmwareSlots {
    /// Bits 2:0 the active slot, bits 6:4 the next one.
    pub active: u8,
    /// Reserved.
    pub reserved_1: [u8; 7],
    /// Revision in each slot, from slot 1.
    pub revisions: [[u8; 8]; 7],
    /// Reserved.
    pub reserved_64: [u8; 448],
}
crate::assert_size!(FirmwareSlots, 512);

/// Size of the Supported Log Pages log: a dword for each identifier.
pub const SUPPORTED_BYTES: usize = 1024;
/// Size of the Commands Supported and Effects log: a dword for each admin and each I/O opcode, the rest reserved.
pub const COMMAND_EFFECTS_BYTES: usize = 4096;
/// Where the I/O opcodes begin in that log.
pub const COMMAND_EFFECTS_IO_OFFSET: usize = 1024;
/// Size of the Feature Identifiers Supported and Effects log.
pub const FEATURE_EFFECTS_BYTES: usize = 1024;
/// Size of the Changed Attached Namespace List: 1024 identifiers.
pub const CHANGED_NAMESPACES_BYTES: usize = 4096;
/// Size of the NVMe-MI Commands Supported and Effects log.
pub const MANAGEMENT_EFFECTS_BYTES: usize = 4096;

/// The head of the Asymmetric Namespace Access log: 16 bytes (Base 2.1 section 5.1.12.1.13). Descriptors of groups follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct AccessHeader {
    /// Rises when anything in the log changes; 0 after a reset of the controller.
    pub change_count: U64,
    /// How many descriptors follow.
    pub groups: U16,
    /// Reserved.
    pub reserved_10: [u8; 6],
}
crate::assert_size!(AccessHeader, 16);

/// The descriptor of a group in that log: 32 bytes. The identifiers of its namespaces follow, ascending, four bytes each, unless groups
/// only were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct AccessGroup {
    /// ANA Group Identifier, from 1.
    pub group: U32,
    /// How many identifiers follow.
    pub namespaces: U32,
    /// The change count of the log when this group last changed.
    pub change_count: U64,
    /// The state, in bits 3:0: see [`access_state`].
    pub state: u8,
    /// Reserved.
    pub reserved_17: [u8; 15],
}
crate::assert_size!(AccessGroup, 32);

/// Get Log Page of that log, dword 10 bit 8: descriptors without namespaces (RGO).
pub const ACCESS_GROUPS_ONLY: u32 = 1 << 8;

/// Asymmetric namespace access states (Base 2.1 section 8.1.1.3).
pub mod access_state {
    /// ANA Optimized.
    pub const OPTIMIZED: u8 = 0x1;
    /// ANA Non-Optimized.
    pub const NON_OPTIMIZED: u8 = 0x2;
    /// ANA Inaccessible.
    pub const INACCESSIBLE: u8 = 0x3;
    /// ANA Persistent Loss.
    pub const PERSISTENT_LOSS: u8 = 0x4;
    /// ANA Change.
    pub const CHANGE: u8 = 0xf;
}

/// Bits of an entry of the effects logs (figures 211, 264).
pub mod effects {
    /// The command, feature or page is supported.
    pub const SUPPORTED: u32 = 1 << 0;
    /// Changes the contents of logical blocks.
    pub const CONTENT_CHANGE: u32 = 1 << 1;
    /// Changes what a namespace is like: hosts ask again (NCC).
    pub const CAPABILITY_CHANGE: u32 = 1 << 2;
    /// Changes which namespaces there are (NIC).
    pub const INVENTORY_CHANGE: u32 = 1 << 3;
    /// No other command should be given to the namespace meanwhile (CSE 001b).
    pub const ALONE_IN_NAMESPACE: u32 = 0b001 << 16;
    /// A command of the subsystem.
    pub const SCOPE_SUBSYSTEM: u32 = 1 << 24;
    /// A feature of a namespace.
    pub const SCOPE_NAMESPACE: u32 = 1 << 20;
    /// A command or feature of the controller.
    pub const SCOPE_CONTROLLER: u32 = 1 << 21;
}

/// An asynchronous event as completion dword 0 carries it (Base 2.1 figure 150): type, information, log page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Type: bits 2:0.
    pub kind: u8,
    /// Information: bits 15:8.
    pub information: u8,
    /// Log page that holds more and whose reading re-arms the type: bits 23:16.
    pub log: LogId,
}

impl Event {
    /// Type 0: errors.
    pub const ERROR: u8 = 0;
    /// Type 1: SMART / health.
    pub const HEALTH: u8 = 1;
    /// Type 2: notices.
    pub const NOTICE: u8 = 2;
    /// Type 6: specific to the I/O command set.
    pub const IO_COMMAND_SET: u8 = 6;

    /// A doorbell of a queue that does not exist was written.
    pub const INVALID_DOORBELL_REGISTER: Self = Self { kind: Self::ERROR, information: 0, log: LogId::ERROR };
    /// A doorbell was written with a value that cannot be.
    pub const INVALID_DOORBELL_VALUE: Self = Self { kind: Self::ERROR, information: 1, log: LogId::ERROR };
    /// The subsystem is less reliable than it was, or can only be read.
    pub const RELIABILITY: Self = Self { kind: Self::HEALTH, information: 0, log: LogId::SMART };
    /// The spare fell below its threshold.
    pub const SPARE: Self = Self { kind: Self::HEALTH, information: 2, log: LogId::SMART };
    /// A temperature crossed its threshold.
    pub const TEMPERATURE: Self = Self { kind: Self::HEALTH, information: 1, log: LogId::SMART };
    /// What Identify says of a namespace has changed.
    pub const NAMESPACE_CHANGED: Self = Self { kind: Self::NOTICE, information: 0, log: LogId::CHANGED_NAMESPACES };
    /// The controller's access to a group of namespaces is another one.
    pub const ACCESS_CHANGED: Self = Self { kind: Self::NOTICE, information: 3, log: LogId::ASYMMETRIC_ACCESS };
    /// The Reservation Notification log has something.
    pub const RESERVATION: Self = Self { kind: Self::IO_COMMAND_SET, information: 0, log: LogId::RESERVATION };

    /// Completion dword 0.
    #[must_use]
    pub const fn dword(self) -> u32 {
        self.kind as u32 | (self.information as u32) << 8 | (self.log.0 as u32) << 16
    }
}
