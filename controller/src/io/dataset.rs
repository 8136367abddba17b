//! Dataset Management (NVM Command Set 1.1 section 3.3.3): deallocation; the other attributes are hints that change nothing here.

use media::{Lba, LbaRange, Request, Source, Submitted};
use nvme_spec::command::DatasetRange;
use zerocopy::FromBytes;

use super::Context;
use crate::dma::{DataPointer, GuestMemory, Transfer};
use crate::reason::Reason;
use crate::shared::namespace::Namespace;

const RANGE_BYTES: usize = size_of::<DatasetRange>();
/// NR has eight bits.
const RANGES_MAX: usize = 256;

/// Reads the ranges, once. Every one is checked before the first is touched (B142).
pub(super) fn list<M: GuestMemory>(
    context: &mut Context<'_, M>,
    namespace: &Namespace,
    ranges: u16,
    data: DataPointer,
) -> Result<(), Reason> {
    let count = usize::from(ranges).min(RANGES_MAX);
    let mut bytes = [0; RANGES_MAX * RANGE_BYTES];
    let bytes = &mut bytes[..count * RANGE_BYTES];
    context.resolve(data, bytes.len())?;
    Transfer::new(context.memory, context.segments).fill(0, bytes).map_err(|_| Reason::DataUnreachable)?;

    context.listed.clear();
    for range in bytes.as_chunks::<RANGE_BYTES>().0 {
        let range = DatasetRange::read_from_bytes(range).map_err(|_| Reason::Internal)?;
        let range = LbaRange::new(Lba(range.slba.get()), u64::from(range.blocks.get()));
        if !range.fits(namespace.shape.capacity_blocks) {
            return Err(Reason::DatasetOutOfRange);
        }
        context.listed.push(range);
    }
    Ok(())
}

/// Deallocates the ranges that were listed; the other attributes need nothing done.
pub(super) fn start<M: GuestMemory>(
    context: &mut Context<'_, M>,
    namespace: &Namespace,
    deallocate: bool,
) -> Submitted {
    if !deallocate {
        return Submitted::Done(Ok(()));
    }
    context.media.submit(context.now, context.token, namespace.volume, Request::Deallocate { ranges: context.listed })
}
