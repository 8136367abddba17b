//! The completion queue entry and the status field (Base 2.1 section 4.2, figures 97 to 104).

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A completion queue entry: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Completion {
    /// Command specific.
    pub dw0: U32,
    /// Command specific.
    pub dw1: U32,
    /// Where the controller's head of the submission queue is.
    pub sq_head: U16,
    /// Which submission queue the command came from.
    pub sqid: U16,
    /// Which command.
    pub cid: U16,
    /// Bit 0 phase, bits 15:1 status.
    pub status_and_phase: U16,
}
crate::assert_size!(Completion, crate::COMPLETION_BYTES);

impl Completion {
    /// The status, without the phase.
    #[must_use]
    pub fn status(&self) -> Status {
        Status(self.status_and_phase.get() >> 1)
    }

    /// The phase bit.
    #[must_use]
    pub fn phase(&self) -> bool {
        self.status_and_phase.get() & 1 != 0
    }
}

/// The status field: bits 15:1 of the last word, moved down by one. SC in bits 7:0, SCT in 10:8, CRD in 12:11, More in 13, DNR in 14.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Status(pub u16);

impl core::fmt::Debug for Status {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let dnr = if self.do_not_retry() { " dnr" } else { "" };
        write!(formatter, "{:x}/{:02x}h{dnr}", self.code_type(), self.code())
    }
}

impl Status {
    /// More, as a bit of this number.
    pub const MORE: u16 = 1 << 13;
    /// DNR, as a bit of this number.
    pub const DNR: u16 = 1 << 14;

    const fn generic(code: u8) -> Self {
        Self(code as u16 | Self::DNR)
    }

    const fn specific(code: u8) -> Self {
        Self(1 << 8 | code as u16 | Self::DNR)
    }

    const fn media(code: u8) -> Self {
        Self(2 << 8 | code as u16 | Self::DNR)
    }

    /// A path may have failed where another one has not: a host that has one may try that, so DNR stays 0.
    const fn path(code: u8) -> Self {
        Self(3 << 8 | code as u16)
    }

    const fn retry(self) -> Self {
        Self(self.0 & !Self::DNR)
    }

    /// Successful Completion.
    pub const SUCCESS: Self = Self(0);
    /// Invalid Command Opcode.
    pub const INVALID_OPCODE: Self = Self::generic(0x01);
    /// Invalid Field in Command.
    pub const INVALID_FIELD: Self = Self::generic(0x02);
    /// Command ID Conflict.
    pub const COMMAND_ID_CONFLICT: Self = Self::generic(0x03);
    /// Data Transfer Error.
    pub const DATA_TRANSFER_ERROR: Self = Self::generic(0x04);
    /// Commands Aborted due to Power Loss Notification, also used after shutdown has begun.
    pub const ABORTED_POWER_LOSS: Self = Self::generic(0x05).retry();
    /// Internal Error.
    pub const INTERNAL_ERROR: Self = Self::generic(0x06).retry();
    /// Command Abort Requested.
    pub const ABORT_REQUESTED: Self = Self::generic(0x07).retry();
    /// Command Aborted due to SQ Deletion.
    pub const ABORTED_QUEUE_DELETION: Self = Self::generic(0x08).retry();
    /// Command Aborted due to Failed Fused Command.
    pub const FAILED_FUSED: Self = Self::generic(0x09).retry();
    /// Command Aborted due to Missing Fused Command.
    pub const MISSING_FUSED: Self = Self::generic(0x0a);
    /// Invalid Namespace or Format.
    pub const INVALID_NAMESPACE: Self = Self::generic(0x0b);
    /// Command Sequence Error.
    pub const SEQUENCE_ERROR: Self = Self::generic(0x0c);
    /// Invalid SGL Segment Descriptor.
    pub const INVALID_SGL_SEGMENT: Self = Self::generic(0x0d);
    /// Invalid Number of SGL Descriptors.
    pub const INVALID_SGL_COUNT: Self = Self::generic(0x0e);
    /// Data SGL Length Invalid.
    pub const INVALID_SGL_LENGTH: Self = Self::generic(0x0f);
    /// SGL Descriptor Type Invalid.
    pub const INVALID_SGL_TYPE: Self = Self::generic(0x11);
    /// PRP Offset Invalid.
    pub const INVALID_PRP_OFFSET: Self = Self::generic(0x13);
    /// Atomic Write Unit Exceeded.
    pub const ATOMIC_UNIT_EXCEEDED: Self = Self::generic(0x14);
    /// Host Identifier Inconsistent Format.
    pub const HOST_IDENTIFIER_FORMAT: Self = Self::generic(0x18);
    /// Command Aborted due to Preempt and Abort.
    pub const ABORTED_PREEMPT: Self = Self::generic(0x1b).retry();
    /// Command Interrupted: try again.
    pub const INTERRUPTED: Self = Self::generic(0x21).retry();
    /// LBA Out of Range.
    pub const LBA_OUT_OF_RANGE: Self = Self::generic(0x80);
    /// Capacity Exceeded.
    pub const CAPACITY_EXCEEDED: Self = Self::generic(0x81);
    /// Reservation Conflict.
    pub const RESERVATION_CONFLICT: Self = Self::generic(0x83);
    /// Completion Queue Invalid.
    pub const COMPLETION_QUEUE_INVALID: Self = Self::specific(0x00);
    /// Invalid Queue Identifier.
    pub const INVALID_QUEUE_IDENTIFIER: Self = Self::specific(0x01);
    /// Invalid Queue Size.
    pub const INVALID_QUEUE_SIZE: Self = Self::specific(0x02);
    /// Asynchronous Event Request Limit Exceeded.
    pub const EVENT_REQUEST_LIMIT: Self = Self::specific(0x05);
    /// Invalid Interrupt Vector.
    pub const INVALID_INTERRUPT_VECTOR: Self = Self::specific(0x08);
    /// Invalid Log Page.
    pub const INVALID_LOG_PAGE: Self = Self::specific(0x09);
    /// Invalid Queue Deletion.
    pub const INVALID_QUEUE_DELETION: Self = Self::specific(0x0c);
    /// Invalid Format.
    pub const INVALID_FORMAT: Self = Self::specific(0x0a);
    /// Namespace Insufficient Capacity.
    pub const INSUFFICIENT_CAPACITY: Self = Self::specific(0x15);
    /// Namespace Identifier Unavailable.
    pub const NAMESPACE_IDENTIFIER_UNAVAILABLE: Self = Self::specific(0x16);
    /// Namespace Already Attached.
    pub const NAMESPACE_ALREADY_ATTACHED: Self = Self::specific(0x18);
    /// Namespace Is Private.
    pub const NAMESPACE_PRIVATE: Self = Self::specific(0x19);
    /// Namespace Not Attached.
    pub const NAMESPACE_NOT_ATTACHED: Self = Self::specific(0x1a);
    /// Thin Provisioning Not Supported.
    pub const THIN_PROVISIONING: Self = Self::specific(0x1b);
    /// Controller List Invalid.
    pub const CONTROLLER_LIST_INVALID: Self = Self::specific(0x1c);
    /// ANA Group Identifier Invalid.
    pub const ACCESS_GROUP_INVALID: Self = Self::specific(0x24);
    /// ANA Attach Failed.
    pub const ACCESS_ATTACH_FAILED: Self = Self::specific(0x25);
    /// I/O Command Set Not Supported.
    pub const COMMAND_SET_UNSUPPORTED: Self = Self::specific(0x29);
    /// Feature Identifier Not Saveable.
    pub const FEATURE_NOT_SAVEABLE: Self = Self::specific(0x0d);
    /// Feature Not Changeable.
    pub const FEATURE_NOT_CHANGEABLE: Self = Self::specific(0x0e);
    /// Feature Not Namespace Specific.
    pub const FEATURE_NOT_NAMESPACE_SPECIFIC: Self = Self::specific(0x0f);
    /// Command Size Limit Exceeded.
    pub const SIZE_LIMIT_EXCEEDED: Self = Self::specific(0x83);
    /// Overlapping I/O Range.
    pub const OVERLAPPING_RANGE: Self = Self::specific(0x87);
    /// Write Fault.
    pub const WRITE_FAULT: Self = Self::media(0x80);
    /// Unrecovered Read Error.
    pub const UNRECOVERED_READ: Self = Self::media(0x81);
    /// Compare Failure.
    pub const COMPARE_FAILURE: Self = Self::media(0x85);
    /// Asymmetric Access Persistent Loss.
    pub const ACCESS_LOST: Self = Self::path(0x01);
    /// Asymmetric Access Inaccessible.
    pub const ACCESS_INACCESSIBLE: Self = Self::path(0x02);
    /// Asymmetric Access Transition.
    pub const ACCESS_TRANSITION: Self = Self::path(0x03);

    /// Whether this is Successful Completion.
    #[must_use]
    pub const fn is_success(self) -> bool {
        self.code_type() == 0 && self.code() == 0
    }

    /// Nothing to say for success, or this status as an error.
    ///
    /// # Errors
    /// The status itself, unless it is Successful Completion.
    pub const fn into_result(self) -> Result<u32, Self> {
        if self.is_success() { Ok(0) } else { Err(self) }
    }

    /// SC.
    #[must_use]
    pub const fn code(self) -> u8 {
        (self.0 & 0xff) as u8
    }

    /// SCT.
    #[must_use]
    pub const fn code_type(self) -> u8 {
        (self.0 >> 8 & 0x7) as u8
    }

    /// DNR: trying again will not help.
    #[must_use]
    pub const fn do_not_retry(self) -> bool {
        self.0 & Self::DNR != 0
    }

    /// More: the error log tells more.
    #[must_use]
    pub const fn more(self) -> bool {
        self.0 & Self::MORE != 0
    }

    /// This status with More set.
    #[must_use]
    pub const fn with_more(self) -> Self {
        Self(self.0 | Self::MORE)
    }

    /// This status with More cleared.
    #[must_use]
    pub const fn without_more(self) -> Self {
        Self(self.0 & !Self::MORE)
    }

    /// This status without More and DNR: what a test compares.
    #[must_use]
    pub const fn kind(self) -> (u8, u8) {
        (self.code_type(), self.code())
    }
}
