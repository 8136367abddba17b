//! What the tests of commands, logs and features say often, in one word each.

use nvme_host::Host;
use nvme_host::admin::{LogArguments, admin_command, get_log_command};
use nvme_spec::log::{ErrorEntry, LogId, Smart};
use nvme_spec::opcode::{AdminOpcode, NvmOpcode};
use nvme_spec::{Command, Completion, Status};
use spec_tests::random::Random;
use spec_tests::rig::Rig;
use zerocopy::FromBytes;

pub type TestHost = Host<Rig>;

/// The verbs.
pub trait Verbs {
    /// The answer to an admin command.
    fn admin_answer(&mut self, command: Command) -> Completion;
    /// The status of an admin command, without More.
    fn admin_status(&mut self, command: Command) -> Status;
    /// The status of an I/O command, without More.
    fn io_status(&mut self, command: Command) -> Status;
    /// The status of Get Log Page over a fresh buffer, without More.
    fn log_status(&mut self, log: LogId, bytes: usize, arguments: LogArguments) -> Status;
    /// The SMART log.
    fn smart(&mut self) -> Smart;
    /// The used entries of the error log, newest first.
    fn error_log(&mut self) -> Vec<ErrorEntry>;
    /// Identify Controller is answered, and the controller is not in trouble.
    fn assert_alive(&mut self);
}

impl Verbs for TestHost {
    fn admin_answer(&mut self, command: Command) -> Completion {
        self.execute(0, command).expect("answered")
    }

    fn admin_status(&mut self, command: Command) -> Status {
        bare(self.admin_answer(command).status())
    }

    fn io_status(&mut self, command: Command) -> Status {
        bare(self.io(command).expect("answered"))
    }

    fn log_status(&mut self, log: LogId, bytes: usize, arguments: LogArguments) -> Status {
        let (completion, _) = self.execute_in(0, get_log_command(log, bytes, arguments), bytes).expect("answered");
        bare(completion.status())
    }

    fn smart(&mut self) -> Smart {
        let page = self.get_log(LogId::SMART, 512, LogArguments::default()).expect("a mandatory page");
        Smart::read_from_bytes(&page).expect("512 bytes")
    }

    fn error_log(&mut self) -> Vec<ErrorEntry> {
        let page = self.get_log(LogId::ERROR, 64 * 64, LogArguments::default()).expect("a mandatory page");
        let entries =
            page.as_chunks::<64>().0.iter().map(|entry| ErrorEntry::read_from_bytes(entry).expect("64 bytes"));
        entries.filter(|entry| entry.error_count.get() != 0).collect()
    }

    fn assert_alive(&mut self) {
        let identify = self.identify_controller().expect("Identify still answers");
        assert_eq!((identify.sqes, identify.cqes), (0x66, 0x44));
        assert!(self.surprises().is_empty(), "{:?}", self.surprises());
    }
}

/// A status without More: what fails and whether it may be tried again.
pub fn bare(status: Status) -> Status {
    let status = Status(status.0 & !(1 << 13));
    assert_eq!(status.0 & 0b11 << 11, 0, "no retry delay is offered");
    status
}

/// An admin opcode with a namespace.
pub fn admin(opcode: AdminOpcode, nsid: u32) -> Command {
    Command { nsid: nsid.into(), ..admin_command(opcode) }
}

/// A command with a data pointer.
pub fn with_prp(command: Command, prp1: u64, prp2: u64) -> Command {
    Command { prp1: prp1.into(), prp2: prp2.into(), ..command }
}

/// An Identify Controller, without data pointer.
pub fn identify_controller() -> Command {
    Command { cdw10: 1.into(), ..admin(AdminOpcode::IDENTIFY, 0) }
}

/// Bytes that belong to a seed.
pub fn pattern(seed: u64, length: usize) -> Vec<u8> {
    Random::new(seed).bytes(length)
}

/// All opcodes that move data between host and media.
pub const TRANSFERS: [NvmOpcode; 3] = [NvmOpcode::READ, NvmOpcode::WRITE, NvmOpcode::COMPARE];
