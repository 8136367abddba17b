//! Reservations (Base 2.3 sections 7.5 to 7.8 and 8.1.24): what the four commands carry, and what Reservation Report gives.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Reservation Register Action: dword 10 bits 2:0 of Reservation Register.
pub mod register_action {
    /// Registers a key.
    pub const REGISTER: u32 = 0;
    /// Takes the registration back.
    pub const UNREGISTER: u32 = 1;
    /// Replaces the key.
    pub const REPLACE: u32 = 2;
}

/// Reservation Acquire Action: dword 10 bits 2:0 of Reservation Acquire.
pub mod acquire_action {
    /// Acquires the reservation.
    pub const ACQUIRE: u32 = 0;
    /// Takes reservation or registrations of others away.
    pub const PREEMPT: u32 = 1;
    /// The same, and aborts their commands.
    pub const PREEMPT_AND_ABORT: u32 = 2;
}

/// Reservation Release Action: dword 10 bits 2:0 of Reservation Release.
pub mod release_action {
    /// Releases the reservation.
    pub const RELEASE: u32 = 0;
    /// Takes reservation and registrations of all away.
    pub const CLEAR: u32 = 1;
}

/// The bits of the action in dword 10.
pub const ACTION: u32 = 0b111;
/// Ignore Existing Key: dword 10 bit 3.
pub const IGNORE_KEY: u32 = 1 << 3;
/// Change Persist Through Power Loss State, dword 10 bits 31:30 of Reservation Register: no change.
pub const PERSISTENCE_KEPT: u32 = 0;
/// It is cleared.
pub const PERSISTENCE_CLEARED: u32 = 2;
/// It is set.
pub const PERSISTENCE_SET: u32 = 3;
/// Extended Data Structure: dword 11 bit 0 of Reservation Report.
pub const EXTENDED: u32 = 1 << 0;

/// The controller identifier of a registrant that no controller serves.
pub const NO_CONTROLLER: u16 = 0xfffd;
/// Reservation Status of a registrant: it holds the reservation.
pub const STATUS_HOLDS: u8 = 1 << 0;

/// Reservation type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReservationType(pub u8);

impl ReservationType {
    /// Write Exclusive.
    pub const WRITE_EXCLUSIVE: Self = Self(1);
    /// Exclusive Access.
    pub const EXCLUSIVE_ACCESS: Self = Self(2);
    /// Write Exclusive - Registrants Only.
    pub const WRITE_EXCLUSIVE_REGISTRANTS: Self = Self(3);
    /// Exclusive Access - Registrants Only.
    pub const EXCLUSIVE_ACCESS_REGISTRANTS: Self = Self(4);
    /// Write Exclusive - All Registrants.
    pub const WRITE_EXCLUSIVE_ALL: Self = Self(5);
    /// Exclusive Access - All Registrants.
    pub const EXCLUSIVE_ACCESS_ALL: Self = Self(6);
}

/// Data of Reservation Register: 16 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RegisterData {
    /// Current key.
    pub crkey: U64,
    /// New key.
    pub nrkey: U64,
}
crate::assert_size!(RegisterData, 16);

/// Data of Reservation Acquire: 16 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct AcquireData {
    /// Current key.
    pub crkey: U64,
    /// Key of those that are preempted.
    pub prkey: U64,
}
crate::assert_size!(AcquireData, 16);

/// Data of Reservation Release: 8 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ReleaseData {
    /// Current key.
    pub crkey: U64,
}
crate::assert_size!(ReleaseData, 8);

/// Reservation Status: 24 bytes, then a [`Registrant`] for each controller of each registrant.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ReservationStatus {
    /// Generation.
    pub generation: U32,
    /// [`ReservationType`]; 0 if there is no reservation.
    pub rtype: u8,
    /// How many structures follow.
    pub registrants: U16,
    /// Reserved.
    pub reserved_7: [u8; 2],
    /// Persist Through Power Loss State.
    pub ptpls: u8,
    /// Reserved.
    pub reserved_10: [u8; 14],
}
crate::assert_size!(ReservationStatus, 24);

/// Reservation Status Extended: 64 bytes, then an [`ExtendedRegistrant`] for each controller of each registrant.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ExtendedStatus {
    /// What comes first in both.
    pub status: ReservationStatus,
    /// Reserved.
    pub reserved_24: [u8; 40],
}
crate::assert_size!(ExtendedStatus, 64);

/// Registrant: 24 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Registrant {
    /// Controller.
    pub cntlid: U16,
    /// [`STATUS_HOLDS`].
    pub rcsts: u8,
    /// Reserved.
    pub reserved_3: [u8; 5],
    /// Host Identifier.
    pub hostid: [u8; 8],
    /// Key.
    pub rkey: U64,
}
crate::assert_size!(Registrant, 24);

/// Registrant, extended: 64 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ExtendedRegistrant {
    /// Controller.
    pub cntlid: U16,
    /// [`STATUS_HOLDS`].
    pub rcsts: u8,
    /// Reserved.
    pub reserved_3: [u8; 5],
    /// Key.
    pub rkey: U64,
    /// Host Identifier.
    pub hostid: [u8; 16],
    /// Reserved.
    pub reserved_32: [u8; 32],
}
crate::assert_size!(ExtendedRegistrant, 64);

/// The Reservation Notification log: 64 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct NotificationPage {
    /// Number of this notification; it rises with each.
    pub count: U64,
    /// [`notification`].
    pub kind: u8,
    /// How many more there are.
    pub left: u8,
    /// Reserved.
    pub reserved_10: [u8; 2],
    /// Namespace.
    pub nsid: U32,
    /// Reserved.
    pub reserved_16: [u8; 48],
}
crate::assert_size!(NotificationPage, 64);

/// Types of notifications. Bit n of the feature Reservation Notification Mask is for type n.
pub mod notification {
    /// There is none.
    pub const NONE: u8 = 0;
    /// The host's registration was preempted.
    pub const REGISTRATION_PREEMPTED: u8 = 1;
    /// The reservation was released.
    pub const RELEASED: u8 = 2;
    /// The reservation was taken away, with all registrations.
    pub const RESERVATION_PREEMPTED: u8 = 3;
}
