//! Commands as they are fetched, and what those that succeeded have done.

use controller::watch::CommandName;
use nvme_spec::Command;
use nvme_spec::feature::{FeatureId, select};
use nvme_spec::identify::Cns;
use nvme_spec::opcode::{self, AdminOpcode, NvmOpcode};

use super::{Emit, n};
use crate::facts::Facts;
use crate::qemu::table::{Emitted, Name};
use crate::view::Argument;

/// Enables the interrupts of a completion queue: dword 11 of its creation.
const INTERRUPTS_ENABLED: u32 = 1 << 1;

/// Bits of a dword.
pub(super) fn bits(dword: u32, from: u32, count: u32) -> u32 {
    dword >> from & ((1 << count) - 1)
}

/// Whether it is a Copy.
pub(super) fn copies(command: CommandName, entry: &Command) -> bool {
    command.queue != 0 && NvmOpcode(entry.opcode) == NvmOpcode::COPY
}

/// A command was fetched: that it is there, and what it asks for.
pub(super) fn fetched(facts: &Facts, command: CommandName, entry: &Command, emit: Emit<'_>) {
    let CommandName { queue, identifier, .. } = command;
    let name = Argument::Text(opcode::qemu_name(queue, entry.opcode));
    let (cid, nsid, sqid, code) = (n(identifier), n(entry.nsid.get()), n(queue), n(entry.opcode));
    if queue == 0 {
        emit(Emitted::new(Name::AdminCmd, [cid, sqid, code, name]));
        admin(cid, entry, emit);
    } else {
        emit(Emitted::new(Name::IoCmd, [cid, nsid, sqid, code, name]));
        io(facts, cid, entry, emit);
    }
}

fn io(facts: &Facts, cid: Argument<'static>, entry: &Command, emit: Emit<'_>) {
    let nsid = entry.nsid.get();
    let opcode = NvmOpcode(entry.opcode);
    if opcode == NvmOpcode::FLUSH {
        let flushed = facts.namespaces.keys().filter(|&&known| nsid == known || nsid == u32::MAX);
        return flushed.for_each(|&known| emit(Emitted::new(Name::FlushNs, [n(known)])));
    }
    // Of a namespace that is not there, nothing is done.
    let Some(namespace) = facts.namespaces.get(&nsid) else { return };
    let blocks = u32::from(entry.nlb_z()) + 1;
    let count = u64::from(blocks) * u64::from(namespace.transfer_bytes);
    let (first, dword_10, dword_12) = (n(entry.slba()), entry.cdw10.get(), entry.cdw12.get());
    emit(match opcode {
        NvmOpcode::READ => Emitted::new(Name::Read, [cid, n(nsid), n(blocks), n(count), first]),
        NvmOpcode::WRITE | NvmOpcode::WRITE_ZEROES => {
            let verb = Argument::Text(opcode.qemu_name());
            Emitted::new(Name::Write, [cid, verb, n(nsid), n(blocks), n(count), first])
        }
        NvmOpcode::COMPARE => Emitted::new(Name::Compare, [cid, n(nsid), first, n(blocks)]),
        NvmOpcode::VERIFY => Emitted::new(Name::Verify, [cid, n(nsid), first, n(blocks)]),
        NvmOpcode::COPY => {
            let ranges = bits(dword_12, 0, 8) + 1;
            Emitted::new(Name::Copy, [cid, n(nsid), n(ranges), n(bits(dword_12, 8, 4))])
        }
        NvmOpcode::DATASET_MANAGEMENT => Emitted::new(Name::Dsm, [n(bits(dword_10, 0, 8) + 1), n(entry.cdw11.get())]),
        _ => return,
    });
}

fn admin(cid: Argument<'static>, entry: &Command, emit: Emit<'_>) {
    let (dword_10, dword_11) = (entry.cdw10.get(), entry.cdw11.get());
    let (low_10, high_10) = (n(bits(dword_10, 0, 16)), n(dword_10 >> 16));
    let (low_11, high_11) = (n(bits(dword_11, 0, 16)), n(dword_11 >> 16));
    let (nsid, address) = (n(entry.nsid.get()), n(entry.prp1.get()));
    emit(match AdminOpcode(entry.opcode) {
        AdminOpcode::CREATE_SUBMISSION_QUEUE => {
            Emitted::new(Name::CreateSq, [address, low_10, high_11, high_10, low_11])
        }
        AdminOpcode::CREATE_COMPLETION_QUEUE => {
            let enabled = n(u32::from(dword_11 & INTERRUPTS_ENABLED != 0));
            Emitted::new(Name::CreateCq, [address, low_10, high_11, high_10, low_11, enabled])
        }
        AdminOpcode::IDENTIFY => {
            let (structure, set) = (n(bits(dword_10, 0, 8)), n(dword_11 >> 24));
            emit(Emitted::new(Name::Identify, [cid, structure, high_10, set]));
            return identify(entry, emit);
        }
        AdminOpcode::GET_LOG_PAGE => {
            let dwords_z = u64::from(dword_10 >> 16) | u64::from(bits(dword_11, 0, 16)) << 16;
            let bytes = ((dwords_z + 1) * 4) & 0xffff_ffff;
            let offset = u64::from(entry.cdw12.get()) | u64::from(entry.cdw13.get()) << 32;
            let (page, specific, retain) = (bits(dword_10, 0, 8), bits(dword_10, 8, 4), bits(dword_10, 15, 1));
            Emitted::new(Name::GetLog, [cid, n(page), n(specific), n(retain), n(bytes), n(offset)])
        }
        AdminOpcode::GET_FEATURES => {
            let (id, select) = (n(bits(dword_10, 0, 8)), n(bits(dword_10, 8, 3)));
            Emitted::new(Name::Getfeat, [cid, nsid, id, select, n(dword_11)])
        }
        AdminOpcode::SET_FEATURES => {
            let (id, save) = (n(bits(dword_10, 0, 8)), n(dword_10 >> 31));
            Emitted::new(Name::Setfeat, [cid, nsid, id, save, n(dword_11)])
        }
        AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST => Emitted::new(Name::Aer, [cid]),
        _ => return,
    });
}

fn identify(entry: &Command, emit: Emit<'_>) {
    let (structure, nsid) = (bits(entry.cdw10.get(), 0, 8), entry.nsid.get());
    let set = n(entry.cdw11.get() >> 24);
    // The active ones, and (10h, 11h, 1ah, 1bh) those that there are at all.
    emit(match Cns(u8::try_from(structure).expect("8 bits")) {
        Cns::NAMESPACE | Cns(0x11) => Emitted::new(Name::IdentifyNs, [n(nsid)]),
        Cns::CONTROLLER => Emitted::new(Name::IdentifyCtrl, []),
        Cns::ACTIVE_NAMESPACES | Cns(0x10) => Emitted::new(Name::IdentifyNslist, [n(nsid)]),
        Cns::NAMESPACE_DESCRIPTORS => Emitted::new(Name::IdentifyNsDescrList, [n(nsid)]),
        Cns::COMMAND_SET_NAMESPACE | Cns(0x1b) => Emitted::new(Name::IdentifyNsCsi, [n(nsid), set]),
        Cns::COMMAND_SET_CONTROLLER => Emitted::new(Name::IdentifyCtrlCsi, [set]),
        Cns::COMMAND_SET_ACTIVE_NAMESPACES | Cns(0x1a) => {
            Emitted::new(Name::IdentifyNslistCsi, [n(nsid & 0xffff), set])
        }
        Cns::INDEPENDENT_NAMESPACE => Emitted::new(Name::IdentifyNsInd, [n(nsid)]),
        Cns(0x12 | 0x13) => Emitted::new(Name::IdentifyCtrlList, [n(structure), n(entry.cdw10.get() >> 16)]),
        Cns::COMMAND_SETS => Emitted::new(Name::IdentifyCmdSet, []),
        _ => return,
    });
}

/// A command has succeeded: what QEMU says once it is done.
pub(super) fn done(facts: &mut Facts, command: CommandName, entry: &Command, result: u32, emit: Emit<'_>) {
    if command.queue != 0 {
        return;
    }
    let queue = nvme_spec::command::low16(entry.cdw10.get());
    match AdminOpcode(entry.opcode) {
        AdminOpcode::CREATE_SUBMISSION_QUEUE => {
            let completion_queue = nvme_spec::command::low16(entry.cdw11.get() >> 16);
            facts.completion_queues.insert(queue, completion_queue);
        }
        AdminOpcode::DELETE_SUBMISSION_QUEUE => emit(Emitted::new(Name::DelSq, [n(queue)])),
        AdminOpcode::DELETE_COMPLETION_QUEUE => emit(Emitted::new(Name::DelCq, [n(queue)])),
        AdminOpcode::DOORBELL_BUFFER_CONFIG => {
            emit(Emitted::new(Name::DbbufConfig, [n(entry.prp1.get()), n(entry.prp2.get())]));
        }
        AdminOpcode::GET_FEATURES => feature_told(entry, result, emit),
        AdminOpcode::SET_FEATURES if feature_of(entry) == FeatureId::NUMBER_OF_QUEUES => {
            let (asked, granted) = (entry.cdw11.get(), result);
            let [low, high] = [0, 16].map(|from| [asked, granted].map(|dword| n(bits(dword, from, 16) + 1)));
            // Submission queues are counted in the lower half.
            emit(Emitted::new(Name::SetfeatNumq, [high[0], low[0], high[1], low[1]]));
        }
        _ => {}
    }
}

fn feature_of(entry: &Command) -> FeatureId {
    FeatureId(u8::try_from(bits(entry.cdw10.get(), 0, 8)).expect("8 bits"))
}

fn feature_told(entry: &Command, result: u32, emit: Emit<'_>) {
    if bits(entry.cdw10.get(), 8, 3) == select::CAPABILITIES {
        return;
    }
    match feature_of(entry) {
        FeatureId::VOLATILE_WRITE_CACHE => {
            let state = if result & 1 != 0 { "enabled" } else { "disabled" };
            emit(Emitted::new(Name::GetfeatVwcache, [Argument::Text(state)]));
        }
        FeatureId::NUMBER_OF_QUEUES => emit(Emitted::new(Name::GetfeatNumq, [n(result)])),
        _ => {}
    }
}
