//! Read (NVM Command Set 1.1 section 3.3.4).

use media::{Request, Submitted};

use super::Context;
use crate::command::Access;
use crate::dma::GuestMemory;
use crate::reason::Reason;
use crate::shared::namespace::Namespace;

/// The data goes to guest memory while the media has the request; the completion comes when the media says so.
#[inline]
pub(super) fn start<M: GuestMemory>(
    context: &mut Context<'_, M>,
    namespace: &Namespace,
    access: Access,
) -> Result<Submitted, Reason> {
    let range = context.find_blocks(namespace, access)?;
    let range = context.piece_of(range);
    let (now, token) = (context.now, context.token);
    let (mut into, media) = context.user_buffer(namespace, access.blocks.start);
    Ok(media.submit(now, token, namespace.volume, Request::Read { range, into: &mut into, force: access.force }))
}
