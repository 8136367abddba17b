//! What this controller supports, in one place: the dispatchers and the log pages 00h, 05h and 12h use the same lists, and a test tries
//! all identifiers to see that they agree (B91).

use nvme_spec::feature::FeatureId;
use nvme_spec::log::{LogId, effects};
use nvme_spec::opcode::{AdminOpcode, NvmOpcode};

/// What most admin commands are.
const OF_CONTROLLER: u32 = effects::SUPPORTED | effects::SCOPE_CONTROLLER;

/// Admin commands, with what the effects log says of each. Some count only where the configuration or the media offers them.
pub(crate) const ADMIN: [(AdminOpcode, u32); 15] = [
    (AdminOpcode::DELETE_SUBMISSION_QUEUE, OF_CONTROLLER),
    (AdminOpcode::CREATE_SUBMISSION_QUEUE, OF_CONTROLLER),
    (AdminOpcode::GET_LOG_PAGE, OF_CONTROLLER),
    (AdminOpcode::DELETE_COMPLETION_QUEUE, OF_CONTROLLER),
    (AdminOpcode::CREATE_COMPLETION_QUEUE, OF_CONTROLLER),
    (AdminOpcode::IDENTIFY, OF_CONTROLLER),
    (AdminOpcode::ABORT, OF_CONTROLLER),
    (AdminOpcode::SET_FEATURES, OF_CONTROLLER),
    (AdminOpcode::GET_FEATURES, OF_CONTROLLER),
    (AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST, OF_CONTROLLER),
    (AdminOpcode::NAMESPACE_MANAGEMENT, effects::SUPPORTED | effects::INVENTORY_CHANGE | effects::SCOPE_SUBSYSTEM),
    (AdminOpcode::NAMESPACE_ATTACHMENT, effects::SUPPORTED | effects::INVENTORY_CHANGE | effects::SCOPE_SUBSYSTEM),
    (AdminOpcode::KEEP_ALIVE, OF_CONTROLLER),
    (AdminOpcode::DOORBELL_BUFFER_CONFIG, OF_CONTROLLER),
    (
        AdminOpcode::FORMAT,
        effects::SUPPORTED
            | effects::CONTENT_CHANGE
            | effects::CAPABILITY_CHANGE
            | effects::ALONE_IN_NAMESPACE
            | effects::SCOPE_NAMESPACE,
    ),
];

/// Commands of the NVM command set, with what the effects log says of each.
pub(crate) const NVM: [(NvmOpcode, u32); 13] = [
    (NvmOpcode::FLUSH, effects::SUPPORTED),
    (NvmOpcode::WRITE, effects::SUPPORTED | effects::CONTENT_CHANGE),
    (NvmOpcode::READ, effects::SUPPORTED),
    (NvmOpcode::WRITE_UNCORRECTABLE, effects::SUPPORTED | effects::CONTENT_CHANGE),
    (NvmOpcode::COMPARE, effects::SUPPORTED),
    (NvmOpcode::WRITE_ZEROES, effects::SUPPORTED | effects::CONTENT_CHANGE),
    (NvmOpcode::DATASET_MANAGEMENT, effects::SUPPORTED | effects::CONTENT_CHANGE),
    (NvmOpcode::VERIFY, effects::SUPPORTED),
    (NvmOpcode::COPY, effects::SUPPORTED | effects::CONTENT_CHANGE),
    (NvmOpcode::RESERVATION_REGISTER, effects::SUPPORTED),
    (NvmOpcode::RESERVATION_REPORT, effects::SUPPORTED),
    (NvmOpcode::RESERVATION_ACQUIRE, effects::SUPPORTED),
    (NvmOpcode::RESERVATION_RELEASE, effects::SUPPORTED),
];

/// Features, with their scope. Volatile Write Cache counts only where the media has one.
pub(crate) const FEATURES: [(FeatureId, u32); 15] = [
    (FeatureId::ARBITRATION, effects::SCOPE_CONTROLLER),
    (FeatureId::POWER_MANAGEMENT, effects::SCOPE_CONTROLLER),
    (FeatureId::TEMPERATURE_THRESHOLD, effects::SCOPE_CONTROLLER),
    (FeatureId::ERROR_RECOVERY, effects::SCOPE_NAMESPACE),
    (FeatureId::VOLATILE_WRITE_CACHE, effects::SCOPE_CONTROLLER),
    (FeatureId::NUMBER_OF_QUEUES, effects::SCOPE_CONTROLLER),
    (FeatureId::INTERRUPT_COALESCING, effects::SCOPE_CONTROLLER),
    (FeatureId::INTERRUPT_VECTOR, effects::SCOPE_CONTROLLER),
    (FeatureId::WRITE_ATOMICITY, effects::SCOPE_CONTROLLER),
    (FeatureId::ASYNCHRONOUS_EVENTS, effects::SCOPE_CONTROLLER),
    (FeatureId::KEEP_ALIVE_TIMER, effects::SCOPE_CONTROLLER),
    (FeatureId::HOST_BEHAVIOR, effects::SCOPE_CONTROLLER),
    (FeatureId::HOST_IDENTIFIER, effects::SCOPE_CONTROLLER),
    (FeatureId::RESERVATION_NOTIFICATIONS, effects::SCOPE_NAMESPACE),
    (FeatureId::RESERVATION_PERSISTENCE, effects::SCOPE_NAMESPACE),
];

/// Log pages. Some count only where the configuration offers them.
pub(crate) const LOGS: [LogId; 12] = [
    LogId::SUPPORTED,
    LogId::ERROR,
    LogId::SMART,
    LogId::FIRMWARE_SLOT,
    LogId::CHANGED_NAMESPACES,
    LogId::COMMAND_EFFECTS,
    LogId::ENDURANCE_GROUP,
    LogId::ASYMMETRIC_ACCESS,
    LogId::FEATURE_EFFECTS,
    LogId::MANAGEMENT_EFFECTS,
    LogId::RESERVATION,
    LogId::OCP_SMART,
];
