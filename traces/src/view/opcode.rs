//! Names of opcodes for people.

use nvme_spec::opcode::{AdminOpcode, NvmOpcode};

/// The name of an opcode of the admin queue, or of an I/O queue; nothing if it has none here.
#[must_use]
pub const fn opcode_name(queue: u16, opcode: u8) -> Option<&'static str> {
    if queue == 0 { admin(AdminOpcode(opcode)) } else { nvm(NvmOpcode(opcode)) }
}

const fn admin(opcode: AdminOpcode) -> Option<&'static str> {
    Some(match opcode {
        AdminOpcode::DELETE_SUBMISSION_QUEUE => "Delete I/O SQ",
        AdminOpcode::CREATE_SUBMISSION_QUEUE => "Create I/O SQ",
        AdminOpcode::GET_LOG_PAGE => "Get Log Page",
        AdminOpcode::DELETE_COMPLETION_QUEUE => "Delete I/O CQ",
        AdminOpcode::CREATE_COMPLETION_QUEUE => "Create I/O CQ",
        AdminOpcode::IDENTIFY => "Identify",
        AdminOpcode::ABORT => "Abort",
        AdminOpcode::SET_FEATURES => "Set Features",
        AdminOpcode::GET_FEATURES => "Get Features",
        AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST => "Asynchronous Event Request",
        AdminOpcode::KEEP_ALIVE => "Keep Alive",
        AdminOpcode::DOORBELL_BUFFER_CONFIG => "Doorbell Buffer Config",
        _ => return None,
    })
}

const fn nvm(opcode: NvmOpcode) -> Option<&'static str> {
    Some(match opcode {
        NvmOpcode::FLUSH => "Flush",
        NvmOpcode::WRITE => "Write",
        NvmOpcode::READ => "Read",
        NvmOpcode::WRITE_UNCORRECTABLE => "Write Uncorrectable",
        NvmOpcode::COMPARE => "Compare",
        NvmOpcode::WRITE_ZEROES => "Write Zeroes",
        NvmOpcode::DATASET_MANAGEMENT => "Dataset Management",
        NvmOpcode::VERIFY => "Verify",
        NvmOpcode::COPY => "Copy",
        _ => return None,
    })
}
