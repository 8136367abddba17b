//! Doorbell Buffer Config (NVMe Base 2.1 section 5.2.5): the host keeps its doorbells in memory, and writes the registers only when
//! asked to.

use nvme_spec::Command;

use super::Done;
use crate::Controller;
use crate::dma::GuestMemory;
use crate::reason::Reason;

/// Both buffers are a page, aligned to one (B56).
pub(super) fn configure<M: GuestMemory>(
    controller: &mut Controller,
    memory: &M,
    command: &Command,
) -> Result<Done, Reason> {
    let page = 1_u64 << controller.registers.page_shift();
    let (doorbells, event_indexes) = (command.prp1.get(), command.prp2.get());
    if !doorbells.is_multiple_of(page) || !event_indexes.is_multiple_of(page) {
        return Err(Reason::DoorbellBufferOffset);
    }
    if doorbells == event_indexes {
        return Err(Reason::DoorbellBufferSame);
    }
    if !memory.is_mapped(doorbells, page) || !memory.is_mapped(event_indexes, page) {
        return Err(Reason::DoorbellBufferUnreachable);
    }
    controller.doorbells.set_shadow(memory, &controller.queues, doorbells, event_indexes);
    controller.doorbells.arm(memory, &controller.queues, true);
    Ok(Done::Now(0))
}
