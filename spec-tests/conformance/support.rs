//! What several chapters need: commands put together by hand, a random number that can be replayed, and memory that notes every
//! access of the device.

use controller::ControllerId;
use std::cell::RefCell;

use controller::dma::{DmaFault, DoorbellPage, GuestMemory};
use machine::{Machine, SparseMemory};
use media::Nanoseconds;
use nvme_host::admin::admin_command;
use nvme_host::io::{block_command, nvm_command};
use nvme_host::{Host, Port};
use nvme_spec::opcode::{AdminOpcode, NvmOpcode};
use nvme_spec::{Command, Completion};
use spec_tests::rig::Rig;

/// SCT and SC of Successful Completion.
pub const SUCCESS: (u8, u8) = (0, 0x00);
/// Invalid Field in Command.
pub const INVALID_FIELD: (u8, u8) = (0, 0x02);
/// Invalid Queue Identifier.
pub const INVALID_QUEUE_IDENTIFIER: (u8, u8) = (1, 0x01);
/// Create Queue, dword 11 bit 0.
pub const CONTIGUOUS: u32 = 1;
/// A guest address that is nowhere near the rig's memory: where the device's own BAR might be, or nothing.
pub const NOWHERE: u64 = 0xfebf_0000;

/// The last page of the address space, where there is no memory either.
pub const LAST_PAGE: u64 = !0xfff;

/// How an admin command ends.
pub fn admin_kind(host: &mut Host<Rig>, command: Command) -> (u8, u8) {
    host.execute(0, command).expect("every command is answered").status().kind()
}

/// Dword 10 of the four queue commands.
pub fn queue_dword(id: u16, size_z: u16) -> u32 {
    u32::from(id) | u32::from(size_z) << 16
}

/// Create I/O Completion Queue without interrupts.
pub fn create_completion(id: u16, size_z: u16, base: u64) -> Command {
    Command {
        prp1: base.into(),
        cdw10: queue_dword(id, size_z).into(),
        cdw11: CONTIGUOUS.into(),
        ..admin_command(AdminOpcode::CREATE_COMPLETION_QUEUE)
    }
}

/// Create I/O Submission Queue on completion queue `cqid`.
pub fn create_submission(id: u16, size_z: u16, base: u64, cqid: u16) -> Command {
    Command {
        prp1: base.into(),
        cdw10: queue_dword(id, size_z).into(),
        cdw11: (CONTIGUOUS | u32::from(cqid) << 16).into(),
        ..admin_command(AdminOpcode::CREATE_SUBMISSION_QUEUE)
    }
}

/// Delete I/O Completion Queue or Delete I/O Submission Queue.
pub fn delete_queue(opcode: AdminOpcode, id: u16) -> Command {
    Command { cdw10: queue_dword(id, 0).into(), ..admin_command(opcode) }
}

/// Flush of namespace 1.
pub fn flush() -> Command {
    nvm_command(NvmOpcode::FLUSH, 1)
}

/// Read of one block of namespace 1 to `address`.
pub fn read_block(lba: u64, address: u64) -> Command {
    Command { prp1: address.into(), ..block_command(NvmOpcode::READ, 1, lba, 1) }
}

/// Makes every request of the media take so long from now on.
pub fn slow_down(host: &Host<Rig>, latency: Nanoseconds) {
    host.port().behaviour.borrow_mut().latency = Some(latency);
}

/// All completions that are there, without letting the device run.
pub fn reap_all(host: &mut Host<Rig>, cqid: u16) -> Vec<Completion> {
    std::iter::from_fn(|| host.reap(cqid)).collect()
}

/// Every register below the doorbells, as dwords.
pub fn registers(rig: &mut Rig) -> Vec<u32> {
    (0..0x1000).step_by(4).map(|offset| rig.register_read_32(offset)).collect()
}

/// One access of the device to guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Address and length.
    Read(u64, usize),
    /// Address and length.
    Write(u64, usize),
}

/// The rig's memory, noting accesses in their order.
struct Recorder<'a> {
    inner: &'a SparseMemory,
    accesses: RefCell<Vec<Access>>,
}

impl Recorder<'_> {
    fn note(&self, access: Access) {
        self.accesses.borrow_mut().push(access);
    }
}

impl GuestMemory for Recorder<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        self.note(Access::Read(address, into.len()));
        self.inner.read(address, into)
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), DmaFault> {
        self.note(Access::Write(address, from.len()));
        self.inner.write(address, from)
    }

    fn load_u32(&self, address: u64) -> Result<u32, DmaFault> {
        self.note(Access::Read(address, 4));
        self.inner.load_u32(address)
    }

    fn store_u32(&self, address: u64, value: u32) -> Result<(), DmaFault> {
        self.note(Access::Write(address, 4));
        self.inner.store_u32(address, value)
    }

    fn store_u64(&self, address: u64, value: u64) -> Result<(), DmaFault> {
        self.note(Access::Write(address, 8));
        self.inner.store_u64(address, value)
    }

    fn is_mapped(&self, address: u64, length: u64) -> bool {
        self.inner.is_mapped(address, length)
    }

    fn generation(&self) -> u64 {
        self.inner.generation()
    }
}

/// One step of the device; returns what it did to guest memory.
pub fn recorded_step(rig: &mut Rig) -> Vec<Access> {
    let rig = &mut rig.machine;
    rig.now = rig.now.plus(spec_tests::rig::STEP);
    let recorder = Recorder { inner: &rig.memory, accesses: RefCell::default() };
    let page = rig.page.as_ref().map(|page| page as &dyn DoorbellPage);
    rig.subsystem.step(ControllerId::FIRST, rig.now, &recorder, page);
    let accesses = recorder.accesses.into_inner();
    let Machine { subsystem, effects, .. } = rig;
    effects.extend(subsystem.controller_mut(ControllerId::FIRST).take_effects());
    accesses
}

/// The host's doorbell accepts what the device says in `arm`: whether the device may sleep now.
pub fn arm(rig: &mut Rig) -> bool {
    let rig = &mut rig.machine;
    let page = rig.page.as_ref().map(|page| page as &dyn DoorbellPage);
    rig.subsystem.arm(ControllerId::FIRST, &rig.memory, page)
}
