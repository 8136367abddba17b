//! Features (Base 2.1 section 5.1.25 and 5.2.26; NVM Command Set 1.1 section 4.1.3).

/// Feature identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeatureId(pub u8);

impl FeatureId {
    /// Arbitration.
    pub const ARBITRATION: Self = Self(0x01);
    /// Power Management.
    pub const POWER_MANAGEMENT: Self = Self(0x02);
    /// Temperature Threshold.
    pub const TEMPERATURE_THRESHOLD: Self = Self(0x04);
    /// Error Recovery.
    pub const ERROR_RECOVERY: Self = Self(0x05);
    /// Volatile Write Cache.
    pub const VOLATILE_WRITE_CACHE: Self = Self(0x06);
    /// Number of Queues.
    pub const NUMBER_OF_QUEUES: Self = Self(0x07);
    /// Interrupt Coalescing.
    pub const INTERRUPT_COALESCING: Self = Self(0x08);
    /// Interrupt Vector Configuration.
    pub const INTERRUPT_VECTOR: Self = Self(0x09);
    /// Write Atomicity Normal.
    pub const WRITE_ATOMICITY: Self = Self(0x0a);
    /// Asynchronous Event Configuration.
    pub const ASYNCHRONOUS_EVENTS: Self = Self(0x0b);
    /// Keep Alive Timer.
    pub const KEEP_ALIVE_TIMER: Self = Self(0x0f);
    /// Host Behavior Support.
    pub const HOST_BEHAVIOR: Self = Self(0x16);
    /// Host Identifier.
    pub const HOST_IDENTIFIER: Self = Self(0x81);
    /// Reservation Notification Mask.
    pub const RESERVATION_NOTIFICATIONS: Self = Self(0x82);
    /// Reservation Persistence.
    pub const RESERVATION_PERSISTENCE: Self = Self(0x83);
}

/// Size in bytes of the Host Behavior Support data structure (Base 2.1 figure 406).
pub const HOST_BEHAVIOR_BYTES: usize = 512;

/// Host Identifier, dword 11 bit 0: it has 128 bits, not 64 (EXHID).
pub const EXTENDED_HOST_IDENTIFIER: u32 = 1 << 0;

/// Get Features, Select: dword 10 bits 10:8.
pub mod select {
    /// The value in force.
    pub const CURRENT: u32 = 0;
    /// The value after a reset without a saved one.
    pub const DEFAULT: u32 = 1;
    /// The saved value.
    pub const SAVED: u32 = 2;
    /// What can be done with the feature.
    pub const CAPABILITIES: u32 = 3;
}

/// What Get Features answers to Select 3: bit 2, the feature can be changed.
pub const CAPABILITY_CHANGEABLE: u32 = 1 << 2;
/// Bit 1: the feature is of a namespace.
pub const CAPABILITY_NAMESPACE: u32 = 1 << 1;

/// Bits of Asynchronous Event Configuration: the low byte gates critical warnings, in the order of the SMART byte.
pub const EVENT_SMART_MASK: u32 = 0xff;
/// Asynchronous Event Configuration: Namespace Attribute Notices.
pub const EVENT_NAMESPACE_ATTRIBUTE: u32 = 1 << 8;
/// Asynchronous Event Configuration: Asymmetric Namespace Access Change Notices.
pub const EVENT_ACCESS_CHANGE: u32 = 1 << 11;
