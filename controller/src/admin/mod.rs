//! Commands of the admin queue: one file for each family, one line for each command below. A handler gets the controller and the entry.
//! It returns how the command ended, or that it waits.

pub(crate) mod abort;
pub(crate) mod doorbell_buffer;
pub(crate) mod events;
pub(crate) mod features;
pub(crate) mod format;
mod host_features;
pub(crate) mod identify;
pub(crate) mod keep_alive;
pub(crate) mod logs;
pub(crate) mod namespace_attachment;
pub(crate) mod namespace_management;
pub(crate) mod queues;

use media::{Sink as _, Token};
use nvme_spec::Command;
use nvme_spec::feature::FeatureId;
use nvme_spec::log::LogId;
use nvme_spec::opcode::AdminOpcode;

use crate::Controller;
use crate::command::admin_data;
use crate::dma::{GuestMemory, Transfer};
use crate::inflight::Parked;
use crate::prp;
use crate::reason::Reason;
use crate::shared::Shared;

/// How a command went, if it did not fail.
pub(crate) enum Done {
    /// It is finished; completion dword 0.
    Now(u32),
    /// It waits without a completion slot, and somebody remembers it by its identifier.
    Parked,
    /// The media has it under the token.
    Pending,
    /// It waits for others under the token, with its slot.
    Waits(Box<Parked>),
}

/// Carries out one admin command.
pub(crate) fn execute<M: GuestMemory>(
    controller: &mut Controller,
    shared: &mut Shared,
    memory: &M,
    command: &Command,
    token: Token,
) -> Result<Done, Reason> {
    let opcode = AdminOpcode(command.opcode);
    if !controller.supports(shared, opcode) {
        return Err(Reason::UnknownOpcode);
    }
    admin_data(command)?;
    match opcode {
        AdminOpcode::DELETE_SUBMISSION_QUEUE => queues::delete_submission(controller, shared, command),
        AdminOpcode::CREATE_SUBMISSION_QUEUE => queues::create_submission(controller, shared, command),
        AdminOpcode::GET_LOG_PAGE => logs::get(controller, shared, memory, command),
        AdminOpcode::DELETE_COMPLETION_QUEUE => queues::delete_completion(controller, command),
        AdminOpcode::CREATE_COMPLETION_QUEUE => queues::create_completion(controller, shared, memory, command),
        AdminOpcode::IDENTIFY => identify::get(controller, shared, memory, command),
        AdminOpcode::ABORT => Ok(abort::abort(controller, shared, command)),
        AdminOpcode::SET_FEATURES => features::set(controller, shared, memory, command, token),
        AdminOpcode::GET_FEATURES => features::get(controller, shared, memory, command),
        AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST => controller.events.park(command.cid.get()).map(|()| Done::Parked),
        AdminOpcode::NAMESPACE_MANAGEMENT => namespace_management::manage(controller, shared, memory, command, token),
        AdminOpcode::NAMESPACE_ATTACHMENT => namespace_attachment::attach(controller, shared, memory, command, token),
        AdminOpcode::FORMAT => format::format(controller, shared, command, token),
        AdminOpcode::KEEP_ALIVE => Ok(keep_alive::touch(controller)),
        AdminOpcode::DOORBELL_BUFFER_CONFIG => doorbell_buffer::configure(controller, memory, command),
        _ => Err(Reason::UnknownOpcode),
    }
}

impl Controller {
    /// Whether the opcode is one that we carry out.
    pub(crate) fn supports(&self, shared: &Shared, opcode: AdminOpcode) -> bool {
        let offered = match opcode {
            AdminOpcode::DOORBELL_BUFFER_CONFIG => shared.config.shadow_doorbells,
            AdminOpcode::FORMAT => !shared.formats.is_empty(),
            AdminOpcode::NAMESPACE_MANAGEMENT | AdminOpcode::NAMESPACE_ATTACHMENT => shared.namespaces.is_kept(),
            _ => true,
        };
        offered && crate::effects::ADMIN.iter().any(|(known, _)| *known == opcode)
    }

    /// Whether the command asks for a structure, page or feature that does not exist here: the way in which hosts find out.
    pub(crate) fn is_probe(&self, shared: &Shared, command: &Command) -> bool {
        let [named, ..] = command.cdw10.get().to_le_bytes();
        match AdminOpcode(command.opcode) {
            AdminOpcode::IDENTIFY => !identify::is_offered(shared, command),
            AdminOpcode::GET_LOG_PAGE => !logs::is_offered(shared, LogId(named)),
            AdminOpcode::GET_FEATURES | AdminOpcode::SET_FEATURES => !self.has_feature(shared, FeatureId(named)),
            _ => false,
        }
    }

    /// Hands `bytes` to the host where the command's data pointer says.
    fn send<M: GuestMemory>(&mut self, memory: &M, command: &Command, bytes: &[u8]) -> Result<(), Reason> {
        self.send_padded(memory, command, bytes, bytes.len())
    }

    /// The same, and zeroes behind it up to `length`.
    fn send_padded<M: GuestMemory>(
        &mut self,
        memory: &M,
        command: &Command,
        bytes: &[u8],
        length: usize,
    ) -> Result<(), Reason> {
        const ZEROES: [u8; 4096] = [0; 4096];
        self.resolve(memory, command, length)?;
        let mut into = Transfer::new(memory, &self.segments);
        let mut send = |at, bytes: &[u8]| into.take(at, bytes).map_err(|_| Reason::DataUnreachable);
        send(0, bytes)?;
        (bytes.len()..length)
            .step_by(ZEROES.len())
            .try_for_each(|at| send(at, &ZEROES[..ZEROES.len().min(length - at)]))
    }

    /// Takes `bytes` from the host, from where the command's data pointer says.
    fn receive<M: GuestMemory>(&mut self, memory: &M, command: &Command, bytes: &mut [u8]) -> Result<(), Reason> {
        self.resolve(memory, command, bytes.len())?;
        let mut from = Transfer::new(memory, &self.segments);
        media::Source::fill(&mut from, 0, bytes).map_err(|_| Reason::DataUnreachable)
    }

    fn resolve<M: GuestMemory>(&mut self, memory: &M, command: &Command, length: usize) -> Result<(), Reason> {
        prp::resolve(memory, admin_data(command)?, length, self.registers.page_shift(), &mut self.segments)
    }
}
