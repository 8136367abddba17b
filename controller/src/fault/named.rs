//! Commands by name, for people: each says whose queue it belongs to, and its opcode there.

use nvme_spec::opcode::{AdminOpcode, NvmOpcode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::queue_kind::QueueKind;

macro_rules! named {
    ($($(#[doc = $text:literal])* $name:ident => $kind:ident $opcode:ident;)*) => {
        /// A command.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "kebab-case")]
        pub enum NamedCommand {
            $($(#[doc = $text])* $name,)*
        }

        impl NamedCommand {
            /// Whose queue, and which opcode.
            #[must_use]
            pub const fn opcode(self) -> (QueueKind, u8) {
                match self { $(Self::$name => named!(@ $kind $opcode),)* }
            }
        }
    };
    (@ Io $opcode:ident) => { (QueueKind::Io, NvmOpcode::$opcode.0) };
    (@ Admin $opcode:ident) => { (QueueKind::Admin, AdminOpcode::$opcode.0) };
}

named! {
    /// I/O: Flush.
    Flush => Io FLUSH;
    /// I/O: Write.
    Write => Io WRITE;
    /// I/O: Read.
    Read => Io READ;
    /// I/O: Write Uncorrectable.
    WriteUncorrectable => Io WRITE_UNCORRECTABLE;
    /// I/O: Compare.
    Compare => Io COMPARE;
    /// I/O: Write Zeroes.
    WriteZeroes => Io WRITE_ZEROES;
    /// I/O: Dataset Management.
    DatasetManagement => Io DATASET_MANAGEMENT;
    /// I/O: Verify.
    Verify => Io VERIFY;
    /// I/O: Copy.
    Copy => Io COPY;
    /// I/O: Reservation Register.
    ReservationRegister => Io RESERVATION_REGISTER;
    /// I/O: Reservation Report.
    ReservationReport => Io RESERVATION_REPORT;
    /// I/O: Reservation Acquire.
    ReservationAcquire => Io RESERVATION_ACQUIRE;
    /// I/O: Reservation Release.
    ReservationRelease => Io RESERVATION_RELEASE;
    /// Admin: Delete I/O Submission Queue.
    DeleteSubmissionQueue => Admin DELETE_SUBMISSION_QUEUE;
    /// Admin: Create I/O Submission Queue.
    CreateSubmissionQueue => Admin CREATE_SUBMISSION_QUEUE;
    /// Admin: Get Log Page.
    GetLogPage => Admin GET_LOG_PAGE;
    /// Admin: Delete I/O Completion Queue.
    DeleteCompletionQueue => Admin DELETE_COMPLETION_QUEUE;
    /// Admin: Create I/O Completion Queue.
    CreateCompletionQueue => Admin CREATE_COMPLETION_QUEUE;
    /// Admin: Identify.
    Identify => Admin IDENTIFY;
    /// Admin: Abort.
    Abort => Admin ABORT;
    /// Admin: Set Features.
    SetFeatures => Admin SET_FEATURES;
    /// Admin: Get Features.
    GetFeatures => Admin GET_FEATURES;
    /// Admin: Asynchronous Event Request.
    AsynchronousEventRequest => Admin ASYNCHRONOUS_EVENT_REQUEST;
    /// Admin: Keep Alive.
    KeepAlive => Admin KEEP_ALIVE;
    /// Admin: Doorbell Buffer Config.
    DoorbellBufferConfig => Admin DOORBELL_BUFFER_CONFIG;
}
