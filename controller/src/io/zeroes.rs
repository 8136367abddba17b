//! Write Zeroes (NVM Command Set 1.1 section 3.3.8). No data moves, so MDTS does not apply (B139).

use media::{Request, Submitted};

use super::Context;
use crate::command::Blocks;
use crate::dma::GuestMemory;
use crate::reason::Reason;
use crate::shared::namespace::Namespace;

/// With `deallocate` the space is given back: deallocated blocks read as zeroes here, as DLFEAT says.
pub(super) fn start<M: GuestMemory>(
    context: &mut Context<'_, M>,
    namespace: &Namespace,
    blocks: Blocks,
    force: bool,
    deallocate: bool,
) -> Result<Submitted, Reason> {
    let range = context.range(namespace, blocks)?;
    let range = context.piece_of(range);
    Ok(context.submit(namespace, Request::WriteZeroes { range, deallocate, force }))
}
