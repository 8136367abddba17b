//! Reservation Acquire (NVMe Base 2.3 section 7.5). Of Preempt and Abort the part that is done at once: `reservations` waits for the rest.

use nvme_spec::reservation::AcquireData;

use super::Context;
use crate::command::IoCommand;
use crate::command::reservation::Acquire;
use crate::dma::GuestMemory;
use crate::reason::Reason;

pub(super) fn start<M: GuestMemory>(context: &mut Context<'_, M>, nsid: u32, acquire: Acquire) -> Result<(), Reason> {
    let keys: AcquireData = zerocopy::transmute!(context.receive::<16>(acquire.data)?);
    let keys = [keys.crkey.get(), keys.prkey.get()];
    context.reservations.carry_out(context.id, nsid, &IoCommand::Acquire(acquire), keys)
}
