//! Why a command failed, as far as QEMU has an event for the reason.

use controller::reason::Reason;
use controller::watch::CommandName;
use nvme_spec::Command;
use nvme_spec::opcode::AdminOpcode;

use super::commands::bits;
use super::{Emit, n};
use crate::facts::Facts;
use crate::qemu::table::{Emitted, Name};

/// A command failed.
pub(super) fn failed(facts: &Facts, command: CommandName, entry: &Command, reason: Reason, emit: Emit<'_>) {
    let blocks = u64::from(entry.nlb_z()) + 1;
    let namespace = facts.namespaces.get(&entry.nsid.get());
    let (dword_10, dword_11) = (entry.cdw10.get(), entry.cdw11.get());
    let is_admin = command.queue == 0;
    emit(match reason {
        Reason::UnknownOpcode if is_admin => Emitted::new(Name::ErrInvalidAdminOpc, [n(entry.opcode)]),
        Reason::UnknownOpcode => Emitted::new(Name::ErrInvalidOpc, [n(entry.opcode)]),
        Reason::Prp2Offset => Emitted::new(Name::ErrInvalidPrp2Align, [n(entry.prp2.get())]),
        Reason::SglTooShort => Emitted::new(Name::ErrInvalidDma, []),
        Reason::TransferTooLong => {
            let Some(namespace) = namespace else { return };
            Emitted::new(Name::ErrMdts, [n(blocks * u64::from(namespace.transfer_bytes))])
        }
        Reason::LogLength => {
            let dwords_z = u64::from(dword_10 >> 16) | u64::from(bits(dword_11, 0, 16)) << 16;
            Emitted::new(Name::ErrMdts, [n((dwords_z + 1) * 4)])
        }
        Reason::OutOfRange => {
            let Some(namespace) = namespace else { return };
            Emitted::new(Name::ErrInvalidLbaRange, [n(entry.slba()), n(blocks), n(namespace.blocks)])
        }
        Reason::CopyFormat => Emitted::new(Name::ErrCopyInvalidFormat, [n(bits(entry.cdw12.get(), 8, 4))]),
        Reason::IdentifyStructure => Emitted::new(Name::ErrInvalidIdentifyCns, [n(bits(dword_10, 0, 8))]),
        Reason::LogPage => Emitted::new(Name::ErrInvalidLogPage, [n(command.identifier), n(bits(dword_10, 0, 8))]),
        Reason::FeatureUnknown | Reason::FeatureSelect => match AdminOpcode(entry.opcode) {
            AdminOpcode::SET_FEATURES => Emitted::new(Name::ErrInvalidSetfeat, [n(dword_10)]),
            _ => Emitted::new(Name::ErrInvalidGetfeat, [n(dword_10)]),
        },
        Reason::EventRequestLimit => Emitted::new(Name::AerAerlExceeded, []),
        _ => return queue_failed(facts, entry, reason, emit),
    });
}

/// A queue was not created, or not deleted.
fn queue_failed(facts: &Facts, entry: &Command, reason: Reason, emit: Emit<'_>) {
    let (dword_10, dword_11) = (entry.cdw10.get(), entry.cdw11.get());
    let (queue, size) = (n(bits(dword_10, 0, 16)), n(dword_10 >> 16));
    let (flags, other) = (n(bits(dword_11, 0, 16)), n(dword_11 >> 16));
    let address = n(entry.prp1.get());
    let (name, argument) = match (AdminOpcode(entry.opcode), reason) {
        (AdminOpcode::DELETE_SUBMISSION_QUEUE, Reason::QueueIdentifier | Reason::QueueMissing) => {
            (Name::ErrInvalidDelSq, queue)
        }
        (AdminOpcode::DELETE_COMPLETION_QUEUE, Reason::QueueIdentifier | Reason::QueueMissing) => {
            (Name::ErrInvalidDelCqCqid, queue)
        }
        (AdminOpcode::DELETE_COMPLETION_QUEUE, Reason::CompletionQueueInUse) => (Name::ErrInvalidDelCqNotempty, queue),
        (AdminOpcode::CREATE_SUBMISSION_QUEUE, Reason::CompletionQueueIdentifier | Reason::CompletionQueueMissing) => {
            (Name::ErrInvalidCreateSqCqid, other)
        }
        (AdminOpcode::CREATE_SUBMISSION_QUEUE, Reason::QueueIdentifier | Reason::QueueExists) => {
            (Name::ErrInvalidCreateSqSqid, queue)
        }
        (AdminOpcode::CREATE_SUBMISSION_QUEUE, Reason::QueueSize) => (Name::ErrInvalidCreateSqSize, size),
        (AdminOpcode::CREATE_SUBMISSION_QUEUE, Reason::QueueMisaligned) => (Name::ErrInvalidCreateSqAddr, address),
        (AdminOpcode::CREATE_SUBMISSION_QUEUE, Reason::QueueScattered) => (Name::ErrInvalidCreateSqQflags, flags),
        (AdminOpcode::CREATE_COMPLETION_QUEUE, Reason::QueueIdentifier | Reason::QueueExists) => {
            (Name::ErrInvalidCreateCqCqid, queue)
        }
        (AdminOpcode::CREATE_COMPLETION_QUEUE, Reason::QueueSize) => (Name::ErrInvalidCreateCqSize, size),
        (AdminOpcode::CREATE_COMPLETION_QUEUE, Reason::QueueMisaligned) => (Name::ErrInvalidCreateCqAddr, address),
        (AdminOpcode::CREATE_COMPLETION_QUEUE, Reason::QueueVector) => (Name::ErrInvalidCreateCqVector, other),
        (AdminOpcode::CREATE_COMPLETION_QUEUE, Reason::QueueScattered) => (Name::ErrInvalidCreateCqQflags, flags),
        (AdminOpcode::CREATE_COMPLETION_QUEUE, Reason::QueueEntrySize) => {
            let (submission, completion) =
                (facts.configuration.io_sq_entry_shift(), facts.configuration.io_cq_entry_shift());
            let arguments = [n(submission), n(completion)];
            return emit(Emitted::new(Name::ErrInvalidCreateCqEntrySize, arguments));
        }
        _ => return,
    };
    emit(Emitted::new(name, [argument]));
}
