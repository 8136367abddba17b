//! Whom a fault meets: what there is to know of a command, a message or a register, held against its conditions.

use media::{Lba, LbaRange};
use nvme_spec::Command;
use nvme_spec::command::{high16, low16};
use nvme_spec::opcode::{AdminOpcode, NvmOpcode};

use super::queue_kind::QueueKind;
use super::spec::Matching;
use crate::Controller;

/// What is known of whoever is met.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts<'a> {
    /// The command, and its submission queue.
    pub(super) command: Option<(u16, &'a Command)>,
    /// The blocks that it names in the usual place.
    pub(super) blocks: Option<LbaRange>,
    /// How many bytes it transfers.
    pub(super) bytes: u64,
    /// The vector of a message.
    pub(super) vector: Option<u16>,
    /// The offset of a register.
    pub(super) register: Option<u64>,
    /// There is an I/O queue.
    pub(super) any_io: bool,
}

impl Facts<'_> {
    /// Whether all conditions hold.
    pub(super) fn match_all(&self, matching: &Matching) -> bool {
        if matching.before_io && self.any_io {
            return false;
        }
        if matching.vector.is_some() && matching.vector != self.vector {
            return false;
        }
        match self.command {
            Some((sqid, command)) => self.match_command(matching, sqid, command),
            None => !matching.names_commands(),
        }
    }

    fn match_command(&self, matching: &Matching, sqid: u16, command: &Command) -> bool {
        let is = |wanted: Option<u32>, found: u32| wanted.is_none_or(|wanted| wanted == found);
        let queue = if sqid == 0 { QueueKind::Admin } else { QueueKind::Io };
        let overlaps = matching.lba.is_none_or(|first| {
            let wanted = LbaRange::new(Lba(first), matching.blocks.unwrap_or(1));
            self.blocks.is_some_and(|blocks| overlap(blocks, wanted))
        });
        matching.queue.is_none_or(|wanted| wanted == queue)
            && matching.command.is_none_or(|named| named.opcode() == (queue, command.opcode))
            && is(matching.opcode.map(u32::from), command.opcode.into())
            && is(matching.nsid, command.nsid.get())
            && is(matching.sqid.map(u32::from), sqid.into())
            && is(matching.cid.map(u32::from), command.cid.get().into())
            && matching
                .dwords
                .iter()
                .all(|wanted| dword(command, wanted.number) & wanted.mask == wanted.value & wanted.mask)
            && matching.bytes_min.is_none_or(|min| self.bytes >= min)
            && matching.bytes_max.is_none_or(|max| self.bytes <= max)
            && overlaps
    }
}

fn overlap(one: LbaRange, other: LbaRange) -> bool {
    let end = |range: LbaRange| range.start.0.saturating_add(range.blocks);
    one.start.0 < end(other) && other.start.0 < end(one)
}

/// Command dwords 10 to 15.
fn dword(command: &Command, number: u8) -> u32 {
    match number {
        10 => command.cdw10.get(),
        11 => command.cdw11.get(),
        12 => command.cdw12.get(),
        13 => command.cdw13.get(),
        14 => command.cdw14.get(),
        _ => command.cdw15.get(),
    }
}

impl Controller {
    /// What is known without a command.
    pub(super) fn facts(&self) -> Facts<'static> {
        Facts { any_io: self.queues.any_io(), ..Facts::default() }
    }

    /// What is known of a command.
    pub(super) fn facts_of<'a>(&self, sqid: u16, command: &'a Command) -> Facts<'a> {
        let blocks = (sqid != 0 && NvmOpcode(command.opcode).names_blocks())
            .then(|| LbaRange::new(Lba(command.slba()), u64::from(command.nlb_z()) + 1));
        let bytes = if sqid == 0 { admin_bytes(command) } else { self.io_bytes(command, blocks) };
        Facts { command: Some((sqid, command)), blocks, bytes, ..self.facts() }
    }

    fn io_bytes(&self, command: &Command, blocks: Option<LbaRange>) -> u64 {
        let block_bytes =
            self.namespaces.get(command.nsid.get()).map_or(0, |found| u64::from(found.buffer_block_bytes));
        match NvmOpcode(command.opcode) {
            NvmOpcode::READ | NvmOpcode::WRITE | NvmOpcode::COMPARE => {
                blocks.map_or(0, |range| range.blocks) * block_bytes
            }
            NvmOpcode::DATASET_MANAGEMENT => (u64::from(command.cdw10.get() & 0xff) + 1) * 16,
            NvmOpcode::RESERVATION_REGISTER | NvmOpcode::RESERVATION_ACQUIRE => 16,
            NvmOpcode::RESERVATION_RELEASE => 8,
            NvmOpcode::RESERVATION_REPORT => (u64::from(command.cdw10.get()) + 1) * 4,
            NvmOpcode::COPY => (u64::from(command.cdw12.get() & 0xff) + 1) * 32,
            _ => 0,
        }
    }
}

fn admin_bytes(command: &Command) -> u64 {
    match AdminOpcode(command.opcode) {
        AdminOpcode::IDENTIFY => 4096,
        AdminOpcode::GET_LOG_PAGE => {
            let dwords_z = u64::from(high16(command.cdw10.get())) | u64::from(low16(command.cdw11.get())) << 16;
            (dwords_z + 1) * 4
        }
        // What features have that have data at all.
        AdminOpcode::GET_FEATURES | AdminOpcode::SET_FEATURES if command.prp1.get() != 0 => 512,
        _ => 0,
    }
}

/// Whether a command gives data to the host.
pub(super) fn gives_data(sqid: u16, opcode: u8) -> bool {
    match sqid {
        0 => {
            matches!(AdminOpcode(opcode), AdminOpcode::IDENTIFY | AdminOpcode::GET_LOG_PAGE | AdminOpcode::GET_FEATURES)
        }
        _ => NvmOpcode(opcode) == NvmOpcode::READ,
    }
}
