//! The smallest thing that a host can be tried on: a controller that believes every command, in the order the test wants. It checks
//! nothing and copies one block; the real controller is tried through the same host elsewhere.

use std::collections::BTreeMap;

use nvme_host::Port;
use nvme_host::doorbell::Doorbell;
use nvme_spec::identify::Namespace;
use nvme_spec::opcode::{AdminOpcode, NvmOpcode};
use nvme_spec::register::{self, Configuration};
use nvme_spec::{COMMAND_BYTES, Command, Completion, Status};
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of guest memory, from address 0.
pub const MEMORY_BYTES: usize = 1 << 20;
/// CAP: 64 entries, contiguous queues, 500 ms, doorbells 16 bytes apart, NVM command set, 4 KiB pages.
const CAP: u64 = 63 | 1 << 16 | 1 << 24 | 2 << 32 | 1 << 37;
const STRIDE: u8 = 2;

#[derive(Default)]
struct Ring {
    base: u64,
    entries: u32,
    at: u32,
    phase: bool,
    cqid: u16,
}

/// The controller, its memory and what happened to it.
pub struct Fake {
    memory: Vec<u8>,
    registers: BTreeMap<u64, u64>,
    submission: BTreeMap<u16, Ring>,
    completion: BTreeMap<u16, Ring>,
    /// Bytes of block 0.
    pub block: Vec<u8>,
    /// Doorbells of I/O queues that were written as registers, in order.
    pub rung: Vec<(Doorbell, u32)>,
    /// Shadow doorbells and event indices, once configured.
    pub shadow: Option<(u64, u64)>,
    /// Fatal status instead of ready.
    pub fatal: bool,
    /// Answers the last command first.
    pub backwards: bool,
    /// Steps left before the port gives up.
    pub patience: u32,
}

impl Fake {
    pub fn new() -> Self {
        Self {
            memory: vec![0; MEMORY_BYTES],
            registers: BTreeMap::new(),
            submission: BTreeMap::new(),
            completion: BTreeMap::new(),
            block: vec![0; 512],
            rung: Vec::new(),
            shadow: None,
            fatal: false,
            backwards: false,
            patience: u32::MAX,
        }
    }

    fn register(&self, offset: u64) -> u64 {
        self.registers.get(&offset).copied().unwrap_or(0)
    }

    /// CSTS.
    fn state(&self) -> u32 {
        let configuration = Configuration(self.register(register::CC) as u32);
        let ready = u32::from(configuration.enabled());
        ready | u32::from(self.fatal && ready == 1) << 1 | u32::from(configuration.shutdown() != 0) << 3
    }

    fn tail(&self, sqid: u16) -> u32 {
        let doorbell = Doorbell::SubmissionTail(sqid);
        match self.shadow {
            Some((doorbells, _)) if sqid != 0 => self.load(doorbells + doorbell.offset(STRIDE)),
            _ => u32::try_from(self.register(doorbell.register(STRIDE))).unwrap(),
        }
    }

    fn load(&self, address: u64) -> u32 {
        let mut bytes = [0; 4];
        self.memory_read(address, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn enable(&mut self) {
        let attributes = register::AdminQueueAttributes(u32::try_from(self.register(register::AQA)).unwrap());
        let (submission, completion) = (self.register(register::ASQ), self.register(register::ACQ));
        self.add_submission(0, submission, u32::from(attributes.submission_z()) + 1, 0);
        self.add_completion(0, completion, u32::from(attributes.completion_z()) + 1);
    }

    fn add_submission(&mut self, sqid: u16, base: u64, entries: u32, cqid: u16) {
        self.submission.insert(sqid, Ring { base, entries, cqid, ..Ring::default() });
    }

    fn add_completion(&mut self, cqid: u16, base: u64, entries: u32) {
        self.completion.insert(cqid, Ring { base, entries, phase: true, ..Ring::default() });
    }

    fn fetch(&mut self) -> Vec<(u16, Command)> {
        let queues: Vec<u16> = self.submission.keys().copied().collect();
        let mut found = Vec::new();
        for sqid in queues {
            let tail = self.tail(sqid);
            let ring = self.submission.get_mut(&sqid).unwrap();
            while ring.at != tail {
                let slot = usize::try_from(ring.base).unwrap() + ring.at as usize * COMMAND_BYTES;
                found.push((sqid, Command::read_from_bytes(&self.memory[slot..slot + COMMAND_BYTES]).unwrap()));
                ring.at = (ring.at + 1) % ring.entries;
            }
        }
        found
    }

    fn execute(&mut self, sqid: u16, command: &Command) -> Status {
        let (low, high) = (command.cdw10.get() as u16, command.cdw10.get() >> 16);
        let prp1 = command.prp1.get();
        if sqid != 0 {
            match NvmOpcode(command.opcode) {
                NvmOpcode::READ => self.memory_write(prp1, &self.block.clone()),
                NvmOpcode::WRITE => self.block = self.memory[usize::try_from(prp1).unwrap()..][..512].to_vec(),
                _ => {}
            }
            return Status::SUCCESS;
        }
        match AdminOpcode(command.opcode) {
            AdminOpcode::CREATE_SUBMISSION_QUEUE => {
                self.add_submission(low, prp1, high + 1, (command.cdw11.get() >> 16) as u16);
            }
            AdminOpcode::CREATE_COMPLETION_QUEUE => self.add_completion(low, prp1, high + 1),
            AdminOpcode::DELETE_SUBMISSION_QUEUE => drop(self.submission.remove(&low)),
            AdminOpcode::DELETE_COMPLETION_QUEUE => drop(self.completion.remove(&low)),
            AdminOpcode::DOORBELL_BUFFER_CONFIG => self.shadow = Some((prp1, command.prp2.get())),
            AdminOpcode::IDENTIFY => {
                let mut namespace = Namespace::zeroed();
                namespace.lbaf[0].lbads = 9;
                self.memory_write(prp1, namespace.as_bytes());
            }
            _ => return Status::INVALID_OPCODE,
        }
        Status::SUCCESS
    }

    /// Answers a command, whether it was ever sent or not.
    pub fn complete(&mut self, sqid: u16, cid: u16, status: Status) {
        let Some(sq) = self.submission.get(&sqid) else { return };
        let (head, cqid) = (u16::try_from(sq.at).unwrap(), sq.cqid);
        let ring = self.completion.get_mut(&cqid).unwrap();
        let entry = Completion {
            sqid: sqid.into(),
            cid: cid.into(),
            sq_head: head.into(),
            status_and_phase: (status.0 << 1 | u16::from(ring.phase)).into(),
            ..Completion::default()
        };
        let slot = ring.base + u64::from(ring.at) * 16;
        ring.at = (ring.at + 1) % ring.entries;
        ring.phase ^= ring.at == 0;
        self.memory_write(slot, entry.as_bytes());
    }
}

impl Port for Fake {
    fn register_read(&mut self, offset: u64, into: &mut [u8]) {
        let value = match offset {
            register::CAP => CAP,
            register::CSTS => self.state().into(),
            _ => self.register(offset),
        };
        into.copy_from_slice(&value.to_le_bytes()[..into.len()]);
    }

    fn register_write(&mut self, offset: u64, from: &[u8]) {
        let mut bytes = [0; 8];
        bytes[..from.len()].copy_from_slice(from);
        let value = u64::from_le_bytes(bytes);
        let enabled = self.register(register::CC) & 1 != 0;
        self.registers.insert(offset, value);
        if offset == register::CC && !enabled && value & 1 != 0 {
            self.enable();
        }
        if let Some(index) = offset.checked_sub(register::DOORBELLS + (8 << STRIDE)) {
            let index = index / (4 << STRIDE) + 2;
            let qid = u16::try_from(index / 2).unwrap();
            let doorbell =
                if index.is_multiple_of(2) { Doorbell::SubmissionTail(qid) } else { Doorbell::CompletionHead(qid) };
            self.rung.push((doorbell, u32::try_from(value).unwrap()));
        }
    }

    fn memory_read(&self, address: u64, into: &mut [u8]) {
        let start = usize::try_from(address).unwrap();
        into.copy_from_slice(&self.memory[start..start + into.len()]);
    }

    fn memory_write(&mut self, address: u64, from: &[u8]) {
        let start = usize::try_from(address).unwrap();
        self.memory[start..start + from.len()].copy_from_slice(from);
    }

    fn relax(&mut self) -> bool {
        if self.patience == 0 {
            return false;
        }
        self.patience -= 1;
        let mut commands = self.fetch();
        if self.backwards {
            commands.reverse();
        }
        for (sqid, command) in commands {
            if command.opcode == AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST.0 {
                continue;
            }
            let status = self.execute(sqid, &command);
            self.complete(sqid, command.cid.get(), status);
        }
        true
    }
}
