//! Verify (NVM Command Set 1.1 section 3.3.5): a read that returns no data. Counts as a read (B87).

use media::power::mutation::{Mutation, mutated};
use media::{Fault, Request, Sink, Submitted};

use super::Context;
use crate::command::Blocks;
use crate::dma::GuestMemory;
use crate::reason::Reason;
use crate::shared::namespace::Namespace;

/// Takes everything and keeps nothing.
struct Nowhere;

impl Sink for Nowhere {
    fn take(&mut self, _offset: usize, _from: &[u8]) -> Result<(), Fault> {
        Ok(())
    }
}

/// No data moves, so MDTS does not apply; the Verify Size Limit, which is the same here, does (B138).
pub(super) fn start<M: GuestMemory>(
    context: &mut Context<'_, M>,
    namespace: &Namespace,
    blocks: Blocks,
    force: bool,
) -> Result<Submitted, Reason> {
    let range = context.range(namespace, blocks)?;
    context.check_verify_size(namespace, blocks)?;
    let range = context.piece_of(range);
    if mutated(Mutation::VerifyNothing) {
        return Ok(Submitted::Done(Ok(())));
    }
    Ok(context.submit(namespace, Request::Read { range, into: &mut Nowhere, force }))
}
