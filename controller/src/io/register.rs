//! Reservation Register (NVMe Base 2.3 section 7.6).

use nvme_spec::reservation::RegisterData;

use super::Context;
use crate::command::IoCommand;
use crate::command::reservation::Register;
use crate::dma::GuestMemory;
use crate::reason::Reason;

pub(super) fn start<M: GuestMemory>(context: &mut Context<'_, M>, nsid: u32, register: Register) -> Result<(), Reason> {
    let keys: RegisterData = zerocopy::transmute!(context.receive::<16>(register.data)?);
    let keys = [keys.crkey.get(), keys.nrkey.get()];
    context.reservations.carry_out(context.id, nsid, &IoCommand::Register(register), keys)
}
