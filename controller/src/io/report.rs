//! Reservation Report (NVMe Base 2.3 section 7.8).

use super::Context;
use crate::command::reservation::Report;
use crate::dma::GuestMemory;
use crate::reason::Reason;

/// The host gets as much as there is and as it has room for; nothing is written behind that (RES11).
pub(super) fn start<M: GuestMemory>(context: &mut Context<'_, M>, nsid: u32, report: Report) -> Result<(), Reason> {
    let room = usize::try_from(report.bytes).unwrap_or(usize::MAX);
    if room > context.transfer_bytes_max {
        return Err(Reason::ReservationReportLength);
    }
    let page = context.reservations.report(context.id, nsid, report.extended)?;
    context.give(report.data, &page[..page.len().min(room)])
}
