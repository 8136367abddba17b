//! Numbers that stand for something: opcodes, status codes, features, Identify structures.

use nvme_spec::feature::{self, FeatureId};
use nvme_spec::identify::Cns;
use nvme_spec::opcode::{AdminOpcode, NvmOpcode};
use nvme_spec::{COMMAND_BYTES, COMPLETION_BYTES, IDENTIFY_BYTES, NSID_ALL, Status};

// Base 2.1 section 5, opcodes for admin commands.
#[test]
fn admin_opcodes() {
    let opcodes = [
        (AdminOpcode::DELETE_SUBMISSION_QUEUE, 0x00),
        (AdminOpcode::CREATE_SUBMISSION_QUEUE, 0x01),
        (AdminOpcode::GET_LOG_PAGE, 0x02),
        (AdminOpcode::DELETE_COMPLETION_QUEUE, 0x04),
        (AdminOpcode::CREATE_COMPLETION_QUEUE, 0x05),
        (AdminOpcode::IDENTIFY, 0x06),
        (AdminOpcode::ABORT, 0x08),
        (AdminOpcode::SET_FEATURES, 0x09),
        (AdminOpcode::GET_FEATURES, 0x0a),
        (AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST, 0x0c),
        (AdminOpcode::KEEP_ALIVE, 0x18),
        (AdminOpcode::DOORBELL_BUFFER_CONFIG, 0x7c),
    ];
    assert!(opcodes.iter().all(|&(opcode, figure)| opcode.0 == figure), "{opcodes:?}");
}

// NVM Command Set 1.1 section 3, opcodes for NVM commands; Base 2.1 section 7 for Flush, Base 2.3 for reservations.
#[test]
fn nvm_opcodes() {
    let opcodes = [
        (NvmOpcode::FLUSH, 0x00),
        (NvmOpcode::WRITE, 0x01),
        (NvmOpcode::READ, 0x02),
        (NvmOpcode::WRITE_UNCORRECTABLE, 0x04),
        (NvmOpcode::COMPARE, 0x05),
        (NvmOpcode::WRITE_ZEROES, 0x08),
        (NvmOpcode::DATASET_MANAGEMENT, 0x09),
        (NvmOpcode::VERIFY, 0x0c),
        (NvmOpcode::RESERVATION_REGISTER, 0x0d),
        (NvmOpcode::RESERVATION_REPORT, 0x0e),
        (NvmOpcode::RESERVATION_ACQUIRE, 0x11),
        (NvmOpcode::RESERVATION_RELEASE, 0x15),
        (NvmOpcode::COPY, 0x19),
    ];
    assert!(opcodes.iter().all(|&(opcode, figure)| opcode.0 == figure), "{opcodes:?}");
}

// Base 2.1 section 4.2.3 (status codes: generic, command specific, media and data integrity); NVM Command Set 1.1 section 3.1.2.
#[test]
fn status_codes() {
    let codes = [
        (Status::SUCCESS, (0, 0x00)),
        (Status::INVALID_OPCODE, (0, 0x01)),
        (Status::INVALID_FIELD, (0, 0x02)),
        (Status::COMMAND_ID_CONFLICT, (0, 0x03)),
        (Status::DATA_TRANSFER_ERROR, (0, 0x04)),
        (Status::ABORTED_POWER_LOSS, (0, 0x05)),
        (Status::INTERNAL_ERROR, (0, 0x06)),
        (Status::ABORT_REQUESTED, (0, 0x07)),
        (Status::ABORTED_QUEUE_DELETION, (0, 0x08)),
        (Status::FAILED_FUSED, (0, 0x09)),
        (Status::MISSING_FUSED, (0, 0x0a)),
        (Status::ATOMIC_UNIT_EXCEEDED, (0, 0x14)),
        (Status::INVALID_NAMESPACE, (0, 0x0b)),
        (Status::SEQUENCE_ERROR, (0, 0x0c)),
        (Status::INVALID_SGL_SEGMENT, (0, 0x0d)),
        (Status::INVALID_SGL_COUNT, (0, 0x0e)),
        (Status::INVALID_SGL_LENGTH, (0, 0x0f)),
        (Status::INVALID_SGL_TYPE, (0, 0x11)),
        (Status::INVALID_PRP_OFFSET, (0, 0x13)),
        (Status::HOST_IDENTIFIER_FORMAT, (0, 0x18)),
        (Status::ABORTED_PREEMPT, (0, 0x1b)),
        (Status::INTERRUPTED, (0, 0x21)),
        (Status::LBA_OUT_OF_RANGE, (0, 0x80)),
        (Status::CAPACITY_EXCEEDED, (0, 0x81)),
        (Status::RESERVATION_CONFLICT, (0, 0x83)),
        (Status::COMPLETION_QUEUE_INVALID, (1, 0x00)),
        (Status::INVALID_QUEUE_IDENTIFIER, (1, 0x01)),
        (Status::INVALID_QUEUE_SIZE, (1, 0x02)),
        (Status::EVENT_REQUEST_LIMIT, (1, 0x05)),
        (Status::INVALID_INTERRUPT_VECTOR, (1, 0x08)),
        (Status::INVALID_LOG_PAGE, (1, 0x09)),
        (Status::INVALID_QUEUE_DELETION, (1, 0x0c)),
        (Status::ACCESS_GROUP_INVALID, (1, 0x24)),
        (Status::ACCESS_ATTACH_FAILED, (1, 0x25)),
        (Status::FEATURE_NOT_SAVEABLE, (1, 0x0d)),
        (Status::FEATURE_NOT_CHANGEABLE, (1, 0x0e)),
        (Status::FEATURE_NOT_NAMESPACE_SPECIFIC, (1, 0x0f)),
        (Status::SIZE_LIMIT_EXCEEDED, (1, 0x83)),
        (Status::OVERLAPPING_RANGE, (1, 0x87)),
        (Status::WRITE_FAULT, (2, 0x80)),
        (Status::UNRECOVERED_READ, (2, 0x81)),
        (Status::COMPARE_FAILURE, (2, 0x85)),
        (Status::ACCESS_LOST, (3, 0x01)),
        (Status::ACCESS_INACCESSIBLE, (3, 0x02)),
        (Status::ACCESS_TRANSITION, (3, 0x03)),
    ];
    assert!(codes.iter().all(|&(status, figure)| status.kind() == figure), "{codes:?}");
}

// Base 2.1 section 4.2.3: what may succeed when tried again must not carry DNR.
#[test]
fn only_what_trying_again_may_cure_leaves_do_not_retry_clear() {
    let may_retry = [
        Status::ABORTED_POWER_LOSS,
        Status::INTERNAL_ERROR,
        Status::ABORT_REQUESTED,
        Status::ABORTED_QUEUE_DELETION,
        Status::ABORTED_PREEMPT,
        Status::INTERRUPTED,
        Status::ACCESS_LOST,
        Status::ACCESS_INACCESSIBLE,
        Status::ACCESS_TRANSITION,
    ];
    assert!(may_retry.iter().all(|status| !status.do_not_retry()));
    assert!(Status::INVALID_FIELD.do_not_retry() && Status::COMPARE_FAILURE.do_not_retry());
    assert_eq!(Status::INVALID_FIELD.0, 0x4002);
    assert_eq!(Status::COMPARE_FAILURE.0, 0x4285);
}

// Base 2.1 section 5.1.25, feature identifiers; NVM Command Set 1.1 section 4.1.3 for 05h and 0Ah.
#[test]
fn feature_identifiers() {
    let ids = [
        (FeatureId::ARBITRATION, 0x01),
        (FeatureId::POWER_MANAGEMENT, 0x02),
        (FeatureId::TEMPERATURE_THRESHOLD, 0x04),
        (FeatureId::ERROR_RECOVERY, 0x05),
        (FeatureId::VOLATILE_WRITE_CACHE, 0x06),
        (FeatureId::NUMBER_OF_QUEUES, 0x07),
        (FeatureId::INTERRUPT_COALESCING, 0x08),
        (FeatureId::INTERRUPT_VECTOR, 0x09),
        (FeatureId::WRITE_ATOMICITY, 0x0a),
        (FeatureId::ASYNCHRONOUS_EVENTS, 0x0b),
        (FeatureId::KEEP_ALIVE_TIMER, 0x0f),
        (FeatureId::HOST_BEHAVIOR, 0x16),
        (FeatureId::HOST_IDENTIFIER, 0x81),
        (FeatureId::RESERVATION_NOTIFICATIONS, 0x82),
        (FeatureId::RESERVATION_PERSISTENCE, 0x83),
    ];
    assert!(ids.iter().all(|&(id, figure)| id.0 == figure), "{ids:?}");
    assert_eq!((feature::HOST_BEHAVIOR_BYTES, feature::EXTENDED_HOST_IDENTIFIER), (512, 1));
}

// Base 2.1 section 5.1.11: Select in dword 10 bits 10:8, and what the capabilities answer.
#[test]
fn what_get_features_selects_and_answers() {
    use nvme_spec::feature::select::{CAPABILITIES, CURRENT, DEFAULT, SAVED};
    assert_eq!([CURRENT, DEFAULT, SAVED, CAPABILITIES], [0, 1, 2, 3]);
    assert_eq!((feature::CAPABILITY_NAMESPACE, feature::CAPABILITY_CHANGEABLE), (0b010, 0b100));
    assert_eq!(feature::EVENT_SMART_MASK, 0x0000_00ff);
    // Base 2.1 section 5.1.25.1.5: Namespace Attribute Notices.
    assert_eq!(feature::EVENT_NAMESPACE_ATTRIBUTE, 0x0000_0100);
    // The same: Asymmetric Namespace Access Change Notices.
    assert_eq!(feature::EVENT_ACCESS_CHANGE, 0x0000_0800);
}

// Base 2.1 section 5.1.13, CNS values.
#[test]
fn identify_structures() {
    let structures = [
        (Cns::NAMESPACE, 0x00),
        (Cns::CONTROLLER, 0x01),
        (Cns::ACTIVE_NAMESPACES, 0x02),
        (Cns::NAMESPACE_DESCRIPTORS, 0x03),
        (Cns::COMMAND_SET_NAMESPACE, 0x05),
        (Cns::COMMAND_SET_CONTROLLER, 0x06),
        (Cns::COMMAND_SET_ACTIVE_NAMESPACES, 0x07),
        (Cns::INDEPENDENT_NAMESPACE, 0x08),
        (Cns::COMMAND_SETS, 0x1c),
    ];
    assert!(structures.iter().all(|&(cns, figure)| cns.0 == figure), "{structures:?}");
}

#[test]
fn sizes_and_the_broadcast_namespace() {
    assert_eq!((COMMAND_BYTES, COMPLETION_BYTES, IDENTIFY_BYTES), (64, 16, 4096));
    assert_eq!(NSID_ALL, 0xffff_ffff);
}
