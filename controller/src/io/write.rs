//! Write (NVM Command Set 1.1 section 3.3.6).

use media::{Request, Submitted};

use super::Context;
use crate::command::Access;
use crate::dma::GuestMemory;
use crate::reason::Reason;
use crate::shared::namespace::Namespace;

/// The data is copied once, from guest memory to where the media will keep it.
#[inline]
pub(super) fn start<M: GuestMemory>(
    context: &mut Context<'_, M>,
    namespace: &Namespace,
    access: Access,
) -> Result<Submitted, Reason> {
    let range = context.find_blocks(namespace, access)?;
    let range = context.piece_of(range);
    context.check_readable()?;
    let (now, token) = (context.now, context.token);
    let (mut from, media) = context.user_buffer(namespace, access.blocks.start);
    Ok(media.submit(now, token, namespace.volume, Request::Write { range, from: &mut from, force: access.force }))
}
