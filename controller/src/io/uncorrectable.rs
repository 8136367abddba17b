//! Write Uncorrectable (NVM Command Set 1.1 section 3.3.7): the blocks cannot be read until they are written again (B141). No data moves,
//! so MDTS does not apply; what WUSL recommends is not exceeded by one request to the media (`scheduling` sees to that).

use media::{Request, Submitted};

use super::Context;
use crate::command::Blocks;
use crate::dma::GuestMemory;
use crate::reason::Reason;
use crate::shared::namespace::Namespace;

pub(super) fn start<M: GuestMemory>(
    context: &mut Context<'_, M>,
    namespace: &Namespace,
    blocks: Blocks,
) -> Result<Submitted, Reason> {
    let range = context.range(namespace, blocks)?;
    let range = context.piece_of(range);
    Ok(context.submit(namespace, Request::WriteUncorrectable { range }))
}
