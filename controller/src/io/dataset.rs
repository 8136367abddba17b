//! Dataset Management (NVM Command Set 1.1 section 3.3.3): deallocation; the other attributes are hints that change nothing here.

use media::{Lba, LbaRange, Request, Source, Submitted};
use nvme_spec::Status;
use nvme_spec::command::DatasetRange;
use zerocopy::FromBytes;

use super::Context;
use crate::dma::{DataPointer, GuestMemory, Transfer};
use crate::namespace::Namespace;

const RANGE_BYTES: usize = size_of::<DatasetRange>();
/// NR has eight bits.
const RANGES_MAX: usize = 256;

/// Every range is checked before the first is touched (B142).
pub(super) fn start<M: GuestMemory>(
    context: &mut Context<'_, M>,
    namespace: &Namespace,
    ranges: u16,
    deallocate: bool,
    data: DataPointer,
) -> Result<Submitted, Status> {
    let count = usize::from(ranges).min(RANGES_MAX);
    let mut bytes = [0; RANGES_MAX * RANGE_BYTES];
    let bytes = &mut bytes[..count * RANGE_BYTES];
    context.resolve(data, bytes.len())?;
    Transfer::new(context.memory, context.segments).fill(0, bytes).map_err(|_| Status::DATA_TRANSFER_ERROR)?;

    let mut list = [LbaRange::default(); RANGES_MAX];
    for (place, range) in list.iter_mut().zip(bytes.as_chunks::<RANGE_BYTES>().0) {
        let range = DatasetRange::read_from_bytes(range).map_err(|_| Status::INTERNAL_ERROR)?;
        *place = LbaRange::new(Lba(range.slba.get()), u64::from(range.blocks.get()));
        if !place.fits(namespace.shape.capacity_blocks) {
            return Err(Status::LBA_OUT_OF_RANGE);
        }
    }
    if !deallocate {
        return Ok(Submitted::Done(Ok(())));
    }
    Ok(context.submit(namespace, Request::Deallocate { ranges: &list[..count] }))
}
