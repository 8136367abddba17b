//! Controller properties in BAR0 (Base 2.1 section 3.1.4). Offsets in bytes.

use bitflags::bitflags;

/// Controller Capabilities, 64 bits.
pub const CAP: u64 = 0x00;
/// Version, 32 bits.
pub const VS: u64 = 0x08;
/// Interrupt Mask Set, 32 bits.
pub const INTMS: u64 = 0x0c;
/// Interrupt Mask Clear, 32 bits.
pub const INTMC: u64 = 0x10;
/// Controller Configuration, 32 bits.
pub const CC: u64 = 0x14;
/// Controller Status, 32 bits.
pub const CSTS: u64 = 0x1c;
/// NVM Subsystem Reset, 32 bits.
pub const NSSR: u64 = 0x20;
/// Admin Queue Attributes, 32 bits.
pub const AQA: u64 = 0x24;
/// Admin Submission Queue Base Address, 64 bits.
pub const ASQ: u64 = 0x28;
/// Admin Completion Queue Base Address, 64 bits.
pub const ACQ: u64 = 0x30;
/// Controller Ready Timeouts, 32 bits.
pub const CRTO: u64 = 0x68;
/// Doorbells begin here.
pub const DOORBELLS: u64 = 0x1000;

/// What NSSR must be written with: "NVMe".
pub const NSSR_KEY: u32 = 0x4e56_4d65;

/// Version 2.1, as in VS and in Identify Controller.
pub const VERSION_2_1: u32 = 0x0002_0100;

/// Controller Capabilities (figure 36). Fields that we always leave zero have no parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// NVM command set (CSS bit 0).
    pub const CSS_NVM: u64 = 1 << 37;
    /// One or more I/O command sets, selected by CC.CSS = 110b (CSS bit 6).
    pub const CSS_IO: u64 = 1 << 43;
    /// NVM subsystem reset supported.
    pub const NSSRS: u64 = 1 << 36;
    /// Controller Ready With Media supported (CRMS bit 0).
    pub const CRWMS: u64 = 1 << 59;
    /// Contiguous queues required.
    pub const CQR: u64 = 1 << 16;

    /// MQES, zero-based entries of the largest queue.
    #[must_use]
    pub const fn mqes_z(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// TO, in units of 500 ms.
    #[must_use]
    pub const fn timeout_half_seconds(self) -> u8 {
        (self.0 >> 24 & 0xff) as u8
    }

    /// DSTRD: doorbells are 4 << DSTRD bytes apart.
    #[must_use]
    pub const fn doorbell_stride(self) -> u8 {
        (self.0 >> 32 & 0xf) as u8
    }

    /// MPSMIN: the smallest page is 2^(12 + MPSMIN) bytes.
    #[must_use]
    pub const fn mps_min(self) -> u8 {
        (self.0 >> 48 & 0xf) as u8
    }

    /// MPSMAX.
    #[must_use]
    pub const fn mps_max(self) -> u8 {
        (self.0 >> 52 & 0xf) as u8
    }
}

/// Controller Configuration (figure 41).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Configuration(pub u32);

impl Configuration {
    /// Enable.
    #[must_use]
    pub const fn enabled(self) -> bool {
        self.0 & 1 != 0
    }

    /// CSS: selected command set.
    #[must_use]
    pub const fn command_set(self) -> u8 {
        (self.0 >> 4 & 0x7) as u8
    }

    /// MPS: the page is 2^(12 + MPS) bytes.
    #[must_use]
    pub const fn mps(self) -> u8 {
        (self.0 >> 7 & 0xf) as u8
    }

    /// AMS: arbitration.
    #[must_use]
    pub const fn arbitration(self) -> u8 {
        (self.0 >> 11 & 0x7) as u8
    }

    /// SHN: 0 none, 1 normal, 2 abrupt.
    #[must_use]
    pub const fn shutdown(self) -> u8 {
        (self.0 >> 14 & 0x3) as u8
    }

    /// IOSQES: a submission entry is 2^n bytes.
    #[must_use]
    pub const fn io_sq_entry_shift(self) -> u8 {
        (self.0 >> 16 & 0xf) as u8
    }

    /// IOCQES: a completion entry is 2^n bytes.
    #[must_use]
    pub const fn io_cq_entry_shift(self) -> u8 {
        (self.0 >> 20 & 0xf) as u8
    }

    /// A configuration with 4 KiB pages, round robin and the usual entry sizes.
    #[must_use]
    pub const fn usual(enabled: bool, command_set: u8) -> Self {
        Self(enabled as u32 | (command_set as u32) << 4 | 6 << 16 | 4 << 20)
    }

    /// The same with MPS set to `mps`.
    #[must_use]
    pub const fn with_mps(self, mps: u8) -> Self {
        Self(self.0 & !(0xf << 7) | (mps as u32 & 0xf) << 7)
    }

    /// The same with AMS set to `arbitration`.
    #[must_use]
    pub const fn with_arbitration(self, arbitration: u8) -> Self {
        Self(self.0 & !(0x7 << 11) | (arbitration as u32 & 0x7) << 11)
    }

    /// The same with SHN set to `shutdown`.
    #[must_use]
    pub const fn with_shutdown(self, shutdown: u8) -> Self {
        Self(self.0 & !(0x3 << 14) | (shutdown as u32 & 0x3) << 14)
    }
}

bitflags! {
    /// Controller Status (figure 42).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ControllerStatus: u32 {
        /// RDY.
        const READY = 1 << 0;
        /// CFS.
        const FATAL = 1 << 1;
        /// SHST 01b: shutdown is going on.
        const SHUTDOWN_RUNNING = 1 << 2;
        /// SHST 10b: shutdown is complete.
        const SHUTDOWN_COMPLETE = 1 << 3;
        /// NSSRO: an NVM subsystem reset happened.
        const SUBSYSTEM_RESET = 1 << 4;
        /// PP: no command is processed for a while.
        const PROCESSING_PAUSED = 1 << 5;
    }
}

/// Admin Queue Attributes (figure 48): sizes zero-based.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdminQueueAttributes(pub u32);

impl AdminQueueAttributes {
    /// Both sizes; only their low 12 bits fit.
    #[must_use]
    pub const fn new(submission_z: u16, completion_z: u16) -> Self {
        Self(submission_z as u32 & 0xfff | (completion_z as u32 & 0xfff) << 16)
    }

    /// ASQS.
    #[must_use]
    pub const fn submission_z(self) -> u16 {
        (self.0 & 0xfff) as u16
    }

    /// ACQS.
    #[must_use]
    pub const fn completion_z(self) -> u16 {
        (self.0 >> 16 & 0xfff) as u16
    }
}
