//! Create and Delete I/O Queue (NVMe Base 2.1 sections 5.2.1 to 5.2.4).

use nvme_spec::Command;
use nvme_spec::command::{high16, low16};

use super::Done;
use crate::Controller;
use crate::dma::GuestMemory;
use crate::queue::{CompletionQueue, SubmissionQueue};
use crate::reason::Reason;
use crate::shared::Shared;

/// Dword 11 bit 0: the queue is contiguous.
const CONTIGUOUS: u32 = 1 << 0;
/// Create I/O Completion Queue, dword 11 bit 1: interrupts enabled.
const INTERRUPTS: u32 = 1 << 1;
/// CC.IOSQES and CC.IOCQES that we work with, as in Identify Controller.
const ENTRY_SHIFTS: (u8, u8) = (6, 4);

pub(super) fn create_completion<M: GuestMemory>(
    controller: &mut Controller,
    shared: &mut Shared,
    memory: &M,
    command: &Command,
) -> Result<Done, Reason> {
    let id = new_identifier(command, controller.features.completion_queues)?;
    if controller.queues.completion(id).is_some() {
        return Err(Reason::QueueExists);
    }
    let entries = check_shape(controller, shared, command)?;
    let vector = high16(command.cdw11.get());
    controller.interrupts.check_vector(vector)?;
    let interrupts = command.cdw11.get() & INTERRUPTS != 0;
    let queue = CompletionQueue::new(command.prp1.get(), entries, vector, interrupts);
    controller.queues.insert_completion(id, queue);
    controller.doorbells.completion_created(id);
    controller.check_stale(id, memory);
    Ok(Done::Now(0))
}

pub(super) fn create_submission(
    controller: &mut Controller,
    shared: &mut Shared,
    command: &Command,
) -> Result<Done, Reason> {
    let id = new_identifier(command, controller.features.submission_queues)?;
    if controller.queues.submission(id).is_some() {
        return Err(Reason::QueueExists);
    }
    let cqid = high16(command.cdw11.get());
    if cqid == 0 || cqid > controller.features.completion_queues {
        return Err(Reason::CompletionQueueIdentifier);
    }
    if controller.queues.completion(cqid).is_none() {
        return Err(Reason::CompletionQueueMissing);
    }
    let entries = check_shape(controller, shared, command)?;
    controller.queues.insert_submission(id, SubmissionQueue::new(command.prp1.get(), entries, cqid));
    controller.doorbells.submission_created(id);
    Ok(Done::Now(0))
}

/// Commands under way are answered first, with a status that says why they ended (B43).
pub(super) fn delete_submission(
    controller: &mut Controller,
    shared: &mut Shared,
    command: &Command,
) -> Result<Done, Reason> {
    let id = low16(command.cdw10.get());
    if id == 0 || controller.queues.submission(id).is_none() {
        return Err(Reason::QueueMissing);
    }
    for token in controller.in_flight.tokens(|command| command.permit.sqid() == id) {
        controller.withdraw(shared, token, Reason::QueueDeleted);
    }
    controller.release_queue(id);
    controller.queues.remove_submission(id);
    controller.forget_entries(id);
    controller.arbiter.idle(id);
    Ok(Done::Now(0))
}

pub(super) fn delete_completion(controller: &mut Controller, command: &Command) -> Result<Done, Reason> {
    let id = low16(command.cdw10.get());
    if id == 0 || controller.queues.completion(id).is_none() {
        return Err(Reason::QueueMissing);
    }
    if controller.queues.submissions().any(|(_, queue)| queue.completion_queue() == id) {
        return Err(Reason::CompletionQueueInUse);
    }
    controller.queues.remove_completion(id);
    Ok(Done::Now(0))
}

/// An identifier that was granted (B33, B52).
fn new_identifier(command: &Command, granted: u16) -> Result<u16, Reason> {
    let id = low16(command.cdw10.get());
    if id == 0 || id > granted { Err(Reason::QueueIdentifier) } else { Ok(id) }
}

/// Size, place and entry sizes (B15, B34, B36, B37). Returns the number of entries.
fn check_shape(controller: &Controller, shared: &Shared, command: &Command) -> Result<u32, Reason> {
    let configuration = controller.registers.configuration;
    let size_z = high16(command.cdw10.get());
    let shifts = (configuration.io_sq_entry_shift(), configuration.io_cq_entry_shift());
    if size_z == 0 || size_z > shared.config.mqes_z {
        return Err(Reason::QueueSize);
    }
    if shifts != ENTRY_SHIFTS {
        return Err(Reason::QueueEntrySize);
    }
    if command.cdw11.get() & CONTIGUOUS == 0 {
        return Err(Reason::QueueScattered);
    }
    if command.prp1.get().trailing_zeros() < controller.registers.page_shift() {
        return Err(Reason::QueueMisaligned);
    }
    Ok(u32::from(size_z) + 1)
}
