//! Abort (NVMe Base 2.1 section 5.1.1): withdraws a command if it is still waiting.

use nvme_spec::Command;
use nvme_spec::command::{high16, low16};

use super::Done;
use crate::Controller;
use crate::inflight::Origin;
use crate::reason::Reason;
use crate::shared::Shared;

/// Completion dword 0 bit 0: the command was not aborted.
const NOT_ABORTED: u32 = 1;

/// The aborted command is answered before the Abort is (B71).
pub(super) fn abort(controller: &mut Controller, shared: &mut Shared, command: &Command) -> Done {
    let sqid = low16(command.cdw10.get());
    let cid = high16(command.cdw10.get());
    let aborted = abort_event_request(controller, sqid, cid)
        || abort_in_flight(controller, shared, sqid, cid)
        || controller.abort_held(sqid, cid);
    Done::Now(if aborted { 0 } else { NOT_ABORTED })
}

/// An Asynchronous Event Request waits without a completion slot: it is aborted only if there is one for its answer.
fn abort_event_request(controller: &mut Controller, sqid: u16, cid: u16) -> bool {
    if sqid != 0 || !controller.events.is_parked(cid) {
        return false;
    }
    let Some(permit) = controller.queues.renew(cid) else { return false };
    controller.events.unpark(cid);
    controller.complete(permit, Origin::of_event_request(), Err(Reason::AbortRequested));
    true
}

fn abort_in_flight(controller: &mut Controller, shared: &mut Shared, sqid: u16, cid: u16) -> bool {
    let wanted = controller.in_flight.tokens(|command| command.permit.sqid() == sqid && command.permit.cid() == cid);
    let Some(token) = wanted.first() else { return false };
    controller.withdraw(shared, *token, Reason::AbortRequested)
}
