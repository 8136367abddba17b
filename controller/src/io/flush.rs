//! Flush (NVMe Base 2.1 section 7.2): what was completed before is durable. It is the smallest command and a model for others.

use media::{Request, Submitted, VolumeId};
use nvme_spec::NSID_ALL;

use super::Context;
use crate::dma::GuestMemory;
use crate::reason::Reason;

/// One namespace, or all of them: VWC says that the broadcast identifier is taken (B135).
pub(super) fn start<M: GuestMemory>(context: &mut Context<'_, M>, nsid: u32) -> Result<Submitted, Reason> {
    if nsid == NSID_ALL {
        return Ok(context.media.submit(context.now, context.token, VolumeId(0), Request::FlushAll));
    }
    let namespace = context.namespaces.resolve(nsid)?;
    Ok(context.submit(namespace, Request::Flush))
}
