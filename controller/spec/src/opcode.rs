//! Opcodes of the admin and of the NVM command set (Base 2.1 figure 142 and section 5; NVM Command Set 1.1 section 3.3), with their names:
//! the specification's for people, and those that QEMU's trace events have.

macro_rules! opcodes {
    ($(#[$about:meta])* $type:ident, $unknown:literal: $($constant:ident = $value:literal, $name:literal, $qemu:literal;)*) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $type(pub u8);

        impl $type {
            $(#[doc = concat!($name, ".")] pub const $constant: Self = Self($value);)*

            /// All that have a name.
            pub const ALL: &[Self] = &[$(Self::$constant,)*];

            /// Its name in the specification, if it has one here.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$constant => Some($name),)*
                    _ => None,
                }
            }

            /// Its name in QEMU's trace events, which have one name for all that QEMU does not know.
            #[must_use]
            pub const fn qemu_name(self) -> &'static str {
                match self {
                    $(Self::$constant => $qemu,)*
                    _ => $unknown,
                }
            }
        }
    };
}

opcodes! {
    /// Opcode of an admin command.
    AdminOpcode, "NVME_ADM_CMD_UNKNOWN":
    DELETE_SUBMISSION_QUEUE = 0x00, "Delete I/O Submission Queue", "NVME_ADM_CMD_DELETE_SQ";
    CREATE_SUBMISSION_QUEUE = 0x01, "Create I/O Submission Queue", "NVME_ADM_CMD_CREATE_SQ";
    GET_LOG_PAGE = 0x02, "Get Log Page", "NVME_ADM_CMD_GET_LOG_PAGE";
    DELETE_COMPLETION_QUEUE = 0x04, "Delete I/O Completion Queue", "NVME_ADM_CMD_DELETE_CQ";
    CREATE_COMPLETION_QUEUE = 0x05, "Create I/O Completion Queue", "NVME_ADM_CMD_CREATE_CQ";
    IDENTIFY = 0x06, "Identify", "NVME_ADM_CMD_IDENTIFY";
    ABORT = 0x08, "Abort", "NVME_ADM_CMD_ABORT";
    SET_FEATURES = 0x09, "Set Features", "NVME_ADM_CMD_SET_FEATURES";
    GET_FEATURES = 0x0a, "Get Features", "NVME_ADM_CMD_GET_FEATURES";
    ASYNCHRONOUS_EVENT_REQUEST = 0x0c, "Asynchronous Event Request", "NVME_ADM_CMD_ASYNC_EV_REQ";
    NAMESPACE_MANAGEMENT = 0x0d, "Namespace Management", "NVME_ADM_CMD_UNKNOWN";
    NAMESPACE_ATTACHMENT = 0x15, "Namespace Attachment", "NVME_ADM_CMD_NS_ATTACHMENT";
    KEEP_ALIVE = 0x18, "Keep Alive", "NVME_ADM_CMD_UNKNOWN";
    DOORBELL_BUFFER_CONFIG = 0x7c, "Doorbell Buffer Config", "NVME_ADM_CMD_DBBUF_CONFIG";
    FORMAT = 0x80, "Format NVM", "NVME_ADM_CMD_FORMAT_NVM";
}

opcodes! {
    /// Opcode of a command of the NVM command set.
    NvmOpcode, "NVME_NVM_CMD_UNKNOWN":
    FLUSH = 0x00, "Flush", "NVME_NVM_CMD_FLUSH";
    WRITE = 0x01, "Write", "NVME_NVM_CMD_WRITE";
    READ = 0x02, "Read", "NVME_NVM_CMD_READ";
    WRITE_UNCORRECTABLE = 0x04, "Write Uncorrectable", "NVME_NVM_CMD_UNKNOWN";
    COMPARE = 0x05, "Compare", "NVME_NVM_CMD_COMPARE";
    WRITE_ZEROES = 0x08, "Write Zeroes", "NVME_NVM_CMD_WRITE_ZEROES";
    DATASET_MANAGEMENT = 0x09, "Dataset Management", "NVME_NVM_CMD_DSM";
    VERIFY = 0x0c, "Verify", "NVME_NVM_CMD_VERIFY";
    RESERVATION_REGISTER = 0x0d, "Reservation Register", "NVME_NVM_CMD_UNKNOWN";
    RESERVATION_REPORT = 0x0e, "Reservation Report", "NVME_NVM_CMD_UNKNOWN";
    RESERVATION_ACQUIRE = 0x11, "Reservation Acquire", "NVME_NVM_CMD_UNKNOWN";
    RESERVATION_RELEASE = 0x15, "Reservation Release", "NVME_NVM_CMD_UNKNOWN";
    COPY = 0x19, "Copy", "NVME_NVM_CMD_COPY";
}

impl NvmOpcode {
    /// Whether a command with this opcode names a range of blocks in dwords 10 to 12. (Dataset Management and Copy list theirs elsewhere.)
    #[must_use]
    pub const fn names_blocks(self) -> bool {
        matches!(
            self,
            Self::WRITE | Self::READ | Self::WRITE_UNCORRECTABLE | Self::COMPARE | Self::WRITE_ZEROES | Self::VERIFY
        )
    }
}

/// The name of an opcode of the admin queue, which is queue 0, or of an I/O queue; nothing if it has none here.
#[must_use]
pub const fn name(queue: u16, opcode: u8) -> Option<&'static str> {
    if queue == 0 { AdminOpcode(opcode).name() } else { NvmOpcode(opcode).name() }
}

/// The same as QEMU's trace events have it.
#[must_use]
pub const fn qemu_name(queue: u16, opcode: u8) -> &'static str {
    if queue == 0 { AdminOpcode(opcode).qemu_name() } else { NvmOpcode(opcode).qemu_name() }
}
