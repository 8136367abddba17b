//! Reservation Release (NVMe Base 2.3 section 7.7).

use nvme_spec::reservation::ReleaseData;

use super::Context;
use crate::command::IoCommand;
use crate::command::reservation::Release;
use crate::dma::GuestMemory;
use crate::reason::Reason;

pub(super) fn start<M: GuestMemory>(context: &mut Context<'_, M>, nsid: u32, release: Release) -> Result<(), Reason> {
    let key: ReleaseData = zerocopy::transmute!(context.receive::<8>(release.data)?);
    context.reservations.carry_out(context.id, nsid, &IoCommand::Release(release), [key.crkey.get(), 0])
}
