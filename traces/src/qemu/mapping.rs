//! Events of the controller become QEMU's. One may become none, or several: QEMU says of one access or command several things. What is
//! needed beyond the event itself is remembered here: the entries of commands under way, and what the host wrote to registers.

mod commands;
mod failures;
mod registers;

use std::collections::BTreeMap;

use controller::watch::{CommandName, FatalReason, ResetKind, ShutdownState, TraceEvent};
use nvme_spec::Command;
use nvme_spec::command::psdt;
use nvme_spec::register::Configuration;

use super::table::{Emitted, Name};
use crate::facts::{Facts, NamespaceFacts};
use crate::view::Argument;

/// An argument that is a number.
fn n(number: impl Into<u64>) -> Argument<'static> {
    Argument::Number(number.into())
}

/// See the file's text.
pub struct Mapping {
    facts: Facts,
    /// By queue and identifier.
    under_way: BTreeMap<(u16, u16), Command>,
}

/// Who takes what comes out.
type Emit<'a> = &'a mut dyn FnMut(Emitted);

impl Mapping {
    /// For a controller of which this is known.
    #[must_use]
    pub const fn new(facts: Facts) -> Self {
        Self { facts, under_way: BTreeMap::new() }
    }

    /// What QEMU would say of an event.
    pub fn take(&mut self, event: &TraceEvent, emit: Emit<'_>) {
        match *event {
            TraceEvent::RegisterRead { offset, bytes, refused, .. } => registers::read(offset, bytes, refused, emit),
            TraceEvent::RegisterWritten { offset, bytes, value, refused } => {
                registers::written(&mut self.facts, (offset, bytes, value), refused, emit);
            }
            TraceEvent::Doorbell { path, queue, tail, value, refused } => {
                registers::doorbell(path, (queue, tail, value), refused, emit);
            }
            TraceEvent::DoorbellRead { offset } => {
                emit(Emitted::new(Name::MmioRead, [n(offset), n(4_u32)]));
                emit(Emitted::new(Name::UbMmiordInvalidOfs, [n(offset)]));
            }
            TraceEvent::Fetched { command, entry } => {
                self.under_way.insert((command.queue, command.identifier), entry);
                commands::fetched(&self.facts, command, &entry, emit);
            }
            TraceEvent::Range { command, first, blocks } => {
                let copies = self.entry(command).is_some_and(|entry| commands::copies(command, entry));
                let name = if copies { Name::CopySourceRange } else { Name::DsmDeallocate };
                emit(Emitted::new(name, [n(first), n(blocks)]));
            }
            TraceEvent::Pointers { command, bytes, .. } => self.pointers(command, bytes, emit),
            TraceEvent::Piece { address, length, .. } => {
                emit(Emitted::new(Name::MapAddr, [n(address), n(length)]));
            }
            TraceEvent::Completed { .. } => self.completed(event, emit),
            TraceEvent::Message { vector } => emit(Emitted::new(Name::IrqMsix, [n(vector)])),
            TraceEvent::Reset { kind, .. } => self.reset(kind, emit),
            TraceEvent::Enabled { configuration, .. } => {
                self.enabled(configuration);
                emit(Emitted::new(Name::MmioStartSuccess, []));
            }
            TraceEvent::Fatal { reason, value, bound } => fatal(reason, value, bound, emit),
            TraceEvent::Shutdown { state: ShutdownState::Begun } => emit(Emitted::new(Name::MmioShutdownSet, [])),
            TraceEvent::Shutdown { state: ShutdownState::Cleared } => {
                emit(Emitted::new(Name::MmioShutdownCleared, []));
            }
            TraceEvent::EventRaised { event } => {
                let arguments = [n(event.kind), n(event.information), n(event.log.0)];
                emit(Emitted::new(Name::EnqueueEvent, arguments));
            }
            TraceEvent::EventReported { event } => {
                let arguments = [n(event.kind), n(event.information), n(event.log.0)];
                emit(Emitted::new(Name::AerPostCqe, arguments));
            }
            TraceEvent::InterruptMode { messages } => self.facts.messages = messages,
            TraceEvent::NamespaceChanged { nsid, blocks: 0, .. } => {
                self.facts.namespaces.remove(&nsid);
            }
            TraceEvent::NamespaceChanged { nsid, blocks, block_bytes, transfer_bytes } => {
                self.facts.namespaces.insert(nsid, NamespaceFacts { block_bytes, transfer_bytes, blocks });
            }
            // QEMU has no word for these: what follows from them, it has.
            TraceEvent::Data { .. }
            | TraceEvent::MediaBegun { .. }
            | TraceEvent::MediaEnded { .. }
            | TraceEvent::CompletionWritten { .. }
            | TraceEvent::AccessChanged { .. }
            | TraceEvent::Pin { .. }
            | TraceEvent::Shutdown { .. }
            | TraceEvent::StaleCompletions { .. }
            | TraceEvent::EntryChanged { .. }
            | TraceEvent::BusMaster { .. }
            | TraceEvent::FaultHit { .. }
            | TraceEvent::DataChanged { .. }
            | TraceEvent::PowerLost
            | TraceEvent::PowerRestored => {}
        }
    }

    fn entry(&self, command: CommandName) -> Option<&Command> {
        self.under_way.get(&(command.queue, command.identifier))
    }

    /// Data pointers were followed.
    fn pointers(&self, command: CommandName, bytes: u64, emit: Emit<'_>) {
        let Some(entry) = self.entry(command) else { return };
        if entry.psdt() != psdt::PRP {
            let descriptor = entry.sgl1().identifier >> 4;
            return emit(Emitted::new(Name::MapSgl, [n(descriptor), n(bytes)]));
        }
        let shift = 12 + u32::from(self.facts.configuration.mps());
        let (first, second) = (entry.prp1.get(), entry.prp2.get());
        let left_in_page = (1 << shift) - (first & ((1 << shift) - 1));
        let pages = ((bytes >> shift) + 1).min(u64::from(u32::MAX >> 1));
        let length = bytes.min(u32::MAX.into());
        let arguments = [n(left_in_page.min(bytes)), n(length), n(first), n(second), n(pages)];
        emit(Emitted::new(Name::MapPrp, arguments));
    }

    /// A command was answered: what it has done or why it failed, and then the answer itself.
    fn completed(&mut self, event: &TraceEvent, emit: Emit<'_>) {
        let TraceEvent::Completed { command, opcode, nsid, status, result, reason } = *event else { return };
        let entry = self.under_way.remove(&(command.queue, command.identifier));
        if let Some(entry) = &entry {
            match reason {
                Some(reason) => failures::failed(&self.facts, command, entry, reason, emit),
                None if status.is_success() => commands::done(&mut self.facts, command, entry, result, emit),
                None => {}
            }
        }
        let cqid = self.facts.completion_queues.get(&command.queue).copied().unwrap_or(command.queue);
        let cid = command.identifier;
        emit(Emitted::new(Name::EnqueueReqCompletion, [n(cid), n(cqid), n(result), n(0_u32), n(status.0)]));
        if !status.is_success() {
            let (nsid, opcode) = entry.map_or((nsid, opcode), |entry| (entry.nsid.get(), entry.opcode));
            emit(Emitted::new(Name::ErrReqStatus, [n(cid), n(nsid), n(status.0), n(opcode)]));
        }
    }

    fn reset(&mut self, kind: ResetKind, emit: Emit<'_>) {
        self.under_way.clear();
        self.facts.completion_queues.clear();
        self.facts.mask = 0;
        match kind {
            ResetKind::Controller => emit(Emitted::new(Name::MmioStopped, [])),
            ResetKind::Function => emit(Emitted::new(Name::PciReset, [])),
            ResetKind::Subsystem => {}
        }
        if kind != ResetKind::Controller {
            (self.facts.admin_submission, self.facts.admin_completion) = (0, 0);
        }
    }

    fn enabled(&mut self, configuration: Configuration) {
        self.facts.configuration = configuration;
        self.facts.completion_queues.insert(0, 0);
    }
}

/// CSTS.CFS: the controller did not come up, or it failed later.
fn fatal(reason: FatalReason, value: u64, bound: u64, emit: Emit<'_>) {
    let small = |number: u64| n(number & 0xff);
    let why = match reason {
        FatalReason::AdminSubmissionSize => Emitted::new(Name::ErrStartfailAsqentSzZero, []),
        FatalReason::AdminCompletionSize => Emitted::new(Name::ErrStartfailAcqentSzZero, []),
        FatalReason::AdminSubmissionMisaligned => Emitted::new(Name::ErrStartfailAsqMisaligned, [n(value)]),
        FatalReason::AdminCompletionMisaligned => Emitted::new(Name::ErrStartfailAcqMisaligned, [n(value)]),
        FatalReason::PageSize => Emitted::new(Name::ErrStartfailPageTooLarge, [small(value), small(bound)]),
        FatalReason::CommandSet => Emitted::new(Name::ErrStartfailCss, [small(value)]),
        FatalReason::Arbitration => return emit(Emitted::new(Name::ErrStartfail, [])),
        FatalReason::AdminQueueMemory | FatalReason::KeepAlive | FatalReason::Injected => {
            return emit(Emitted::new(Name::ErrCfs, []));
        }
    };
    emit(why);
    emit(Emitted::new(Name::ErrStartfail, []));
}
