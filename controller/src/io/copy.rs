//! Copy (NVM Command Set 1.1 section 3.3.2): writes what some blocks of the namespace hold to other blocks of it. All sources are read
//! before anything is written, and there is one write (NVMCSA; B166). So when a Copy fails, source range 0 is the first that was not
//! copied, which is what dword 0 says (B147).

use media::{Lba, LbaRange, Request, Source, Submitted};
use nvme_spec::command::CopyRange;
use zerocopy::FromBytes;

use super::Context;
use crate::dma::{DataPointer, GuestMemory, Transfer};
use crate::reason::Reason;
use crate::shared::namespace::{COPY_RANGES_MAX, Namespace};

const RANGE_BYTES: usize = size_of::<CopyRange>();

/// Reads the source ranges, once, and checks them: the target comes first in the list, then the sources (B147).
pub(super) fn list<M: GuestMemory>(
    context: &mut Context<'_, M>,
    namespace: &Namespace,
    ranges: u16,
    to: u64,
    data: DataPointer,
) -> Result<(), Reason> {
    let limits = namespace.copy_limits(context.transfer_bytes_max);
    if ranges > COPY_RANGES_MAX {
        return Err(Reason::CopyTooLong);
    }
    let mut bytes = [0; COPY_RANGES_MAX as usize * RANGE_BYTES];
    let bytes = &mut bytes[..usize::from(ranges) * RANGE_BYTES];
    context.resolve(data, bytes.len())?;
    Transfer::new(context.memory, context.segments).fill(0, bytes).map_err(|_| Reason::DataUnreachable)?;

    context.listed.clear();
    context.listed.push(LbaRange::default());
    let mut total = 0;
    for range in bytes.as_chunks::<RANGE_BYTES>().0 {
        let range = CopyRange::read_from_bytes(range).map_err(|_| Reason::Internal)?;
        let range = LbaRange::new(Lba(range.slba.get()), u64::from(range.nlb_z.get()) + 1);
        total += range.blocks;
        if range.blocks > u64::from(limits.range_blocks) || total > u64::from(limits.blocks) {
            return Err(Reason::CopyTooLong);
        }
        context.listed.push(range);
    }
    let target = LbaRange::new(Lba(to), total);
    context.listed[0] = target;
    if !context.listed.iter().all(|range| range.fits(namespace.shape.capacity_blocks)) {
        return Err(Reason::CopyOutOfRange);
    }
    // Sources of format 0h may overlap the target (section 3.3.2): what they held before is what is written.
    Ok(())
}

/// Copies what was listed.
pub(super) fn start<M: GuestMemory>(context: &mut Context<'_, M>, namespace: &Namespace, force: bool) -> Submitted {
    let (target, sources) = context.listed.split_first().expect("a target and its sources were listed");
    let request = Request::Copy { sources, to: target.start, force };
    context.media.submit(context.now, context.token, namespace.volume, request)
}
