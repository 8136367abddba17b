//! Why a command failed: the one list of reasons, each with the status that the host is told, and the field of the command that is to
//! blame. Whoever refuses a command names a reason; the status, the parameter location of the error log, the trace and the control socket
//! follow from it.

use nvme_spec::Status;

/// A field of a submission queue entry: the byte and the bit where it begins (NVMe Base 2.1 section 5.1.12.1.2, Parameter Error Location).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Byte of the entry, 0 to 63.
    pub byte: u8,
    /// Bit of that byte, 0 to 7.
    pub bit: u8,
}

impl Field {
    /// As the error log has it: the byte in bits 7:0, the bit in bits 10:8.
    #[must_use]
    pub fn location(self) -> u16 {
        u16::from(self.byte) | u16::from(self.bit) << 8
    }
}

/// The field that begins so many bits into the dword whose first byte this is.
const fn field(dword_byte: u8, bit: u8) -> Option<Field> {
    Some(Field { byte: dword_byte + bit / 8, bit: bit % 8 })
}

const OPCODE: Option<Field> = field(0, 0);
const FUSE: Option<Field> = field(0, 8);
const PSDT: Option<Field> = field(0, 14);
const NSID: Option<Field> = field(4, 0);
const MPTR: Option<Field> = field(16, 0);
const PRP1: Option<Field> = field(24, 0);
const PRP2: Option<Field> = field(32, 0);
const CDW10: u8 = 40;
const CDW11: u8 = 44;
const CDW12: u8 = 48;
const CDW14: u8 = 56;

macro_rules! reasons {
    ($($(#[$meta:meta])* $name:ident, $status:ident, $field:expr, $slug:literal, $text:literal;)*) => {
        /// Why a command failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Reason {
            $(#[doc = $text] $name,)*
        }

        impl Reason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What the host is told.
            #[must_use]
            #[inline]
            pub const fn status(self) -> Status {
                match self { $(Self::$name => Status::$status,)* }
            }

            /// The field that is to blame, if one is.
            #[must_use]
            pub const fn field(self) -> Option<Field> {
                match self { $(Self::$name => $field,)* }
            }

            /// A short name, in words joined by hyphens. It does not change from release to release.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $slug,)* }
            }

            /// One sentence without a full stop.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reasons! {
    // The entry as such.
    UnknownOpcode, INVALID_OPCODE, OPCODE, "unknown-opcode", "the controller does not implement this opcode";
    ReservedPsdt, INVALID_FIELD, PSDT, "reserved-psdt", "PSDT is 11b, which is reserved";
    AdminSgl, INVALID_FIELD, PSDT, "admin-sgl", "PSDT asks for an SGL, and admin commands over PCIe use PRPs";
    AdminFused, INVALID_FIELD, FUSE, "admin-fused", "FUSE is not 00b, and no admin command can be fused";
    ReservedFuse, INVALID_FIELD, FUSE, "reserved-fuse", "FUSE is 11b, which is reserved";
    FusedAlone, MISSING_FUSED, FUSE, "fused-alone", "the other command of the fused pair is not in the next slot of the queue";
    FusedNotAPair, INVALID_FIELD, FUSE, "fused-not-a-pair", "a fused pair is a Compare and a Write of the same blocks of one namespace";
    FusedPartner, FAILED_FUSED, None, "fused-partner", "the other command of the fused pair failed";
    FusedTooLong, ATOMIC_UNIT_EXCEEDED, field(CDW12, 0), "fused-too-long",
        "the fused pair is longer than ACWU or NACWU, or crosses a boundary";
    NamespaceInvalid, INVALID_NAMESPACE, NSID, "namespace-invalid", "NSID is 0, above NN, or FFFFFFFFh where that is not taken";
    NamespaceInactive, INVALID_FIELD, NSID, "namespace-inactive", "NSID names no active namespace";
    NamespaceListStart, INVALID_NAMESPACE, NSID, "namespace-list-start", "a list of namespaces above FFFFFFFEh is asked for";
    // Where the data is.
    PrpOffset, INVALID_PRP_OFFSET, PRP1, "prp1-offset", "PRP1 is not aligned to a dword";
    Prp2Offset, INVALID_PRP_OFFSET, PRP2, "prp2-offset", "PRP2 is not aligned to a page";
    PrpListOffset, INVALID_PRP_OFFSET, PRP2, "prp-list-offset", "PRP2 points to a PRP list and is not aligned to a quadword";
    PrpListEntryOffset, INVALID_PRP_OFFSET, PRP2, "prp-list-entry-offset", "an entry of the PRP list is not aligned to a page";
    PrpListUnreadable, DATA_TRANSFER_ERROR, PRP2, "prp-list-unreadable", "the PRP list lies where the device can read no memory";
    SglUnreadable, DATA_TRANSFER_ERROR, PRP1, "sgl-unreadable", "a segment of the SGL lies where the device can read no memory";
    SglTooShort, INVALID_SGL_LENGTH, PRP1, "sgl-too-short", "the SGL describes less memory than the command transfers";
    SglSegment, INVALID_SGL_SEGMENT, PRP1, "sgl-segment",
        "a segment's length is not a multiple of 16, its address no multiple of 8, or the last segment goes on";
    SglType, INVALID_SGL_TYPE, PRP1, "sgl-type", "an SGL descriptor has a type or subtype that SGLS does not offer";
    SglCount, INVALID_SGL_COUNT, PRP1, "sgl-count", "an SGL has too many descriptors, or goes on from the middle of a segment";
    DataUnreachable, DATA_TRANSFER_ERROR, PRP1, "data-unreachable", "the data lies where the device can reach no memory";
    MetadataPointer, INVALID_FIELD, MPTR, "metadata-pointer", "MPTR is not aligned to a dword";
    TransferTooLong, INVALID_FIELD, field(CDW12, 0), "transfer-too-long", "the transfer is longer than MDTS";
    VerifyTooLong, INVALID_FIELD, field(CDW12, 0), "verify-too-long", "Verify covers more than VSL";
    OutOfRange, LBA_OUT_OF_RANGE, field(CDW10, 0), "lba-out-of-range", "SLBA + NLB lies beyond NSZE";
    ZeroNamespace, INVALID_FIELD, field(CDW12, 23), "zero-namespace", "Write Zeroes of a whole namespace is not offered";
    DatasetOutOfRange, LBA_OUT_OF_RANGE, None, "range-out-of-range", "a range of Dataset Management lies beyond NSZE";
    CopyFormat, INVALID_FIELD, field(CDW12, 8), "copy-format", "the descriptor format of Copy is not 0h, the only one offered";
    CopyTooLong, SIZE_LIMIT_EXCEEDED, field(CDW12, 0), "copy-too-long", "Copy exceeds MSRC, MSSRL or MCL";
    CopyOutOfRange, LBA_OUT_OF_RANGE, None, "copy-out-of-range", "a source range or the target of Copy lies beyond NSZE";
    // Reservations.
    ReservationAction, INVALID_FIELD, field(CDW10, 0), "reservation-action", "RREGA, RACQA or RRELA is reserved";
    ReservationIgnoresKey, INVALID_FIELD, field(CDW10, 3), "reservation-ignores-key",
        "IEKEY is 1, and only Reservation Register can ignore a key";
    ReservationKind, INVALID_FIELD, field(CDW10, 8), "reservation-type",
        "RTYPE is none of the six types, or not that of the reservation to release";
    ReservationPersistence, INVALID_FIELD, field(CDW10, 30), "reservation-persistence",
        "CPTPL is 01b, or asks for what RESCAP does not offer";
    ReservationKey, INVALID_FIELD, PRP1, "reservation-key", "PRKEY is 0, and the reservation is not one of all registrants";
    ReservationReportLength, INVALID_FIELD, field(CDW10, 0), "reservation-report-length", "NUMD is more than MDTS";
    ReservationConflict, RESERVATION_CONFLICT, None, "reservation-conflict",
        "the reservation forbids it, or the host is not registered with this key";
    HostIdentifierFormat, HOST_IDENTIFIER_FORMAT, field(CDW11, 0), "host-identifier-format",
        "host identifiers of the subsystem have the other of the two lengths";
    HostIdentifierSet, SEQUENCE_ERROR, PRP1, "host-identifier-set",
        "the host identifier was set and only a reset clears it, or the host without one is registered";
    // Queues.
    QueueIdentifier, INVALID_QUEUE_IDENTIFIER, field(CDW10, 0), "queue-identifier", "QID is 0 or more than Number of Queues granted";
    QueueExists, INVALID_QUEUE_IDENTIFIER, field(CDW10, 0), "queue-exists", "a queue with this QID exists";
    QueueMissing, INVALID_QUEUE_IDENTIFIER, field(CDW10, 0), "queue-missing", "no queue has this QID";
    QueueSize, INVALID_QUEUE_SIZE, field(CDW10, 16), "queue-size", "QSIZE is 0 or more than CAP.MQES";
    QueueEntrySize, INVALID_QUEUE_SIZE, None, "queue-entry-size", "CC.IOSQES is not 6 or CC.IOCQES is not 4";
    QueueScattered, INVALID_FIELD, field(CDW11, 0), "queue-scattered", "PC is 0, and CAP.CQR wants queues that are contiguous";
    QueueMisaligned, INVALID_PRP_OFFSET, PRP1, "queue-misaligned", "the queue's address is not aligned to a page";
    QueueVector, INVALID_INTERRUPT_VECTOR, field(CDW11, 16), "queue-vector", "the MSI-X table has no vector IV";
    CompletionQueueIdentifier, INVALID_QUEUE_IDENTIFIER, field(CDW11, 16), "cqid", "CQID is 0 or more than Number of Queues granted";
    CompletionQueueMissing, COMPLETION_QUEUE_INVALID, field(CDW11, 16), "completion-queue-missing",
        "no completion queue has the identifier CQID";
    CompletionQueueInUse, INVALID_QUEUE_DELETION, field(CDW10, 0), "completion-queue-in-use",
        "a submission queue uses this completion queue";
    // Identify, log pages, features, and the rest.
    IdentifyStructure, INVALID_FIELD, field(CDW10, 0), "identify-structure", "the controller has no structure with this CNS";
    IdentifyCommandSet, INVALID_FIELD, field(CDW11, 24), "identify-command-set", "CSI is not 0h, the only command set offered";
    LogPage, INVALID_LOG_PAGE, field(CDW10, 0), "log-page", "the controller has no log page with this LID";
    LogOffset, INVALID_FIELD, field(CDW12, 0), "log-offset", "LPO is not a multiple of 4 or beyond the end of the page";
    LogOffsetType, INVALID_FIELD, field(CDW14, 23), "log-offset-type", "OT is 1, and offsets by index are not offered";
    LogLength, INVALID_FIELD, field(CDW10, 16), "log-length", "NUMD is more than MDTS";
    LogNamespace, INVALID_FIELD, NSID, "log-namespace", "the SMART log is of the controller, not of a namespace";
    LogEnduranceGroup, INVALID_FIELD, field(CDW11, 16), "log-endurance-group", "there is no such endurance group";
    FeatureUnknown, INVALID_FIELD, field(CDW10, 0), "feature-unknown", "the controller has no feature with this FID";
    FeatureSelect, INVALID_FIELD, field(CDW10, 8), "feature-select", "SEL is reserved";
    FeatureSave, FEATURE_NOT_SAVEABLE, field(CDW10, 31), "feature-save", "SV is 1, and no feature can be saved";
    FeatureOfController, FEATURE_NOT_NAMESPACE_SPECIFIC, NSID, "feature-of-controller",
        "NSID names a namespace, and the feature is of the controller";
    FeatureVector, INVALID_FIELD, field(CDW11, 0), "feature-vector", "the MSI-X table has no vector IV";
    PowerState, INVALID_FIELD, field(CDW11, 0), "power-state", "PS is not 0, the only power state";
    TemperatureSensor, INVALID_FIELD, field(CDW11, 16), "temperature-sensor", "TMPSEL or THSEL names no sensor or threshold";
    DeallocatedError, INVALID_FIELD, field(CDW11, 16), "deallocated-error",
        "DULBE is 1, and no namespace reports errors on deallocated blocks";
    QueuesTooLate, SEQUENCE_ERROR, field(CDW10, 0), "queues-too-late", "Number of Queues is set after an I/O queue was created";
    QueuesTooMany, INVALID_FIELD, field(CDW11, 0), "queues-too-many", "NSQR or NCQR is FFFFh";
    HostBehavior, INVALID_FIELD, PRP1, "host-behavior", "a switch of the Host Behavior Support structure is neither 0 nor 1";
    EventRequestLimit, EVENT_REQUEST_LIMIT, OPCODE, "event-request-limit", "more Asynchronous Event Requests wait than AERL allows";
    ReservationFeatureOfAll, INVALID_FIELD, NSID, "reservation-feature-of-all",
        "NSID names all namespaces, and what is asked for is that of one";
    ReservationFeaturePersistence, INVALID_FIELD, field(CDW11, 0), "reservation-feature-persistence",
        "PTPL is 1, and RESCAP does not offer that";
    DoorbellBufferOffset, INVALID_PRP_OFFSET, PRP1, "doorbell-buffer-offset", "PRP1 or PRP2 is not aligned to a page";
    DoorbellBufferSame, INVALID_FIELD, PRP2, "doorbell-buffer-same", "both doorbell buffers have the same address";
    DoorbellBufferUnreachable, DATA_TRANSFER_ERROR, PRP1, "doorbell-buffer-unreachable",
        "a doorbell buffer lies where the device can reach no memory";
    // Namespaces that come and go, and their formats.
    NamespaceUnallocated, INVALID_FIELD, NSID, "namespace-unallocated", "NSID names no allocated namespace";
    ManagementSelect, INVALID_FIELD, field(CDW10, 0), "management-select", "SEL is reserved";
    NamespaceSize, INVALID_FIELD, PRP1, "namespace-size", "NSZE is 0, more than there may be, or less than NCAP";
    NamespaceFields, INVALID_FIELD, PRP1, "namespace-fields",
        "NVMSETID, ENDGID or NMIC of the new namespace says what cannot be";
    ThinProvisioning, THIN_PROVISIONING, PRP1, "thin-provisioning", "NCAP is less than NSZE, and thin provisioning is not offered";
    AccessGroup, ACCESS_GROUP_INVALID, PRP1, "access-group", "ANAGRPID is not 0, and there is no such group";
    CommandSetUnsupported, COMMAND_SET_UNSUPPORTED, field(CDW11, 24), "command-set", "CSI is not 0h, the only command set offered";
    NoCapacity, INSUFFICIENT_CAPACITY, None, "no-capacity", "the namespace is larger than the capacity that no other one has";
    NoIdentifier, NAMESPACE_IDENTIFIER_UNAVAILABLE, None, "no-identifier", "there are as many namespaces as there may be";
    ControllerList, CONTROLLER_LIST_INVALID, PRP1, "controller-list",
        "the controller list is empty, not ascending, or names a controller that is not there";
    AttachedAlready, NAMESPACE_ALREADY_ATTACHED, NSID, "attached-already", "the controller has the namespace already";
    NotAttached, NAMESPACE_NOT_ATTACHED, NSID, "not-attached", "the controller does not have the namespace";
    NamespacePrivate, NAMESPACE_PRIVATE, NSID, "namespace-private", "NMIC does not let a second controller have the namespace";
    AccessAttach, ACCESS_ATTACH_FAILED, NSID, "access-attach", "the controller has lost the namespace's ANA group for good";
    FormatUnavailable, INVALID_FORMAT, field(CDW10, 0), "format-unavailable", "the LBA format is none that this namespace can have";
    FormatStays, INVALID_FORMAT, field(CDW10, 0), "format-stays", "the namespace is a virtio disk, whose blocks stay as they are";
    FormatExtended, INVALID_NAMESPACE, field(CDW10, 12), "format-extended",
        "the LBA format is one of those that a host sees that sets LBAFEE";
    FormatProtection, INVALID_FORMAT, field(CDW10, 5), "format-protection", "protection information is not offered";
    FormatErase, INVALID_FIELD, field(CDW10, 9), "format-erase", "SES is reserved";
    // Asymmetric namespace access.
    AccessInaccessible, ACCESS_INACCESSIBLE, NSID, "access-inaccessible",
        "the controller does not reach the namespace now: its ANA state is inaccessible";
    AccessLost, ACCESS_LOST, NSID, "access-lost", "the controller does not reach the namespace any more: its ANA state is persistent loss";
    AccessChange, ACCESS_TRANSITION, NSID, "access-change", "the ANA state of the controller's access to the namespace is changing";
    // How commands end that were carried out, or were to be.
    MediaOutOfRange, LBA_OUT_OF_RANGE, field(CDW10, 0), "media-out-of-range", "the media has no such blocks";
    HostMemory, DATA_TRANSFER_ERROR, PRP1, "host-memory", "guest memory could not be reached while data was transferred";
    UnrecoveredRead, UNRECOVERED_READ, None, "unrecovered-read", "the media could not read a block, or its checksum is wrong";
    WriteFailed, WRITE_FAULT, None, "write-failed", "the media could not write a block";
    NotStored, WRITE_FAULT, None, "not-stored", "the host's disk under the media failed, and data written before is not durable";
    NoSpace, CAPACITY_EXCEEDED, None, "no-space", "the media has no space left";
    Difference, COMPARE_FAILURE, None, "difference", "Compare found other data";
    PowerLost, ABORTED_POWER_LOSS, None, "power-lost", "the controller is shutting down, or has lost power";
    MediaPowerLost, INTERNAL_ERROR, None, "media-power-lost", "the media has lost power";
    MediaInternal, INTERNAL_ERROR, None, "media-internal", "the media failed for a reason of its own";
    Internal, INTERNAL_ERROR, None, "internal", "the controller broke a rule of its own";
    AbortRequested, ABORT_REQUESTED, None, "abort-requested", "the host aborted the command";
    Preempted, ABORTED_PREEMPT, None, "preempted", "another host preempted this one and aborted its commands";
    QueueDeleted, ABORTED_QUEUE_DELETION, None, "queue-deleted", "the host deleted the submission queue";
}

impl Reason {
    /// Whether the media had the command when it failed.
    #[must_use]
    pub const fn is_of_media(self) -> bool {
        matches!(
            self,
            Self::MediaOutOfRange
                | Self::HostMemory
                | Self::UnrecoveredRead
                | Self::WriteFailed
                | Self::NotStored
                | Self::NoSpace
                | Self::Difference
                | Self::MediaPowerLost
                | Self::MediaInternal
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_a_name_of_its_own_and_fails_a_command() {
        let names: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert!(!reason.status().is_success(), "{reason:?}");
            assert!(!reason.text().is_empty() && !reason.text().ends_with('.'), "{reason:?}");
            assert!(
                reason.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            );
        }
    }

    /// NVMe Base 2.1 section 5.1.12.1.2: of an Invalid Field in Command the location says which field.
    #[test]
    fn every_invalid_field_is_a_field() {
        let nameless = |reason: &&Reason| reason.status() == Status::INVALID_FIELD && reason.field().is_none();
        assert_eq!(Reason::ALL.iter().find(nameless), None);
        assert_eq!(Reason::CopyFormat.field().map(Field::location), Some(49));
        assert_eq!(Reason::ReservedPsdt.field().map(Field::location), Some(6 << 8 | 1));
    }
}
