//! Commands of I/O queues: one file each. They resolve the namespace, check the range, and hand the work to the media.

mod compare;
mod dataset;
mod flush;
mod read;
mod write;
mod zeroes;

use media::{Lba, LbaRange, Media, Nanoseconds, Request, Source, Submitted, Token};
use nvme_spec::Status;

use crate::command::{Blocks, IoCommand};
use crate::dma::{DataPointer, GuestMemory, Segment, Transfer};
use crate::inflight::Origin;
use crate::namespace::{Namespace, Namespaces};
use crate::{prp, sgl};

/// All that a command may touch while it is started.
pub(crate) struct Context<'a, M> {
    pub(crate) now: Nanoseconds,
    pub(crate) memory: &'a M,
    pub(crate) media: &'a mut dyn Media,
    pub(crate) namespaces: &'a Namespaces,
    /// Scratch: the data of the command, once its pointer is resolved.
    pub(crate) segments: &'a mut Vec<Segment>,
    /// log2 of the memory page size.
    pub(crate) page_shift: u32,
    /// MDTS in bytes.
    pub(crate) transfer_bytes_max: usize,
    /// Under which the media will report, if it takes its time.
    pub(crate) token: Token,
    /// What the command leaves for its completion to know.
    pub(crate) origin: &'a mut Origin,
}

/// Starts a command: it fails with a status, or the media has it.
pub(crate) fn start<M: GuestMemory>(
    context: &mut Context<'_, M>,
    nsid: u32,
    command: &IoCommand,
) -> Result<Submitted, Status> {
    if matches!(command, IoCommand::Flush) {
        return flush::start(context, nsid);
    }
    let namespace = context.namespaces.resolve(nsid)?;
    match *command {
        IoCommand::Flush => flush::start(context, nsid),
        IoCommand::Read { blocks, force, data } => read::start(context, namespace, blocks, force, data),
        IoCommand::Write { blocks, force, data } => write::start(context, namespace, blocks, force, data),
        IoCommand::Compare { blocks, force, data } => compare::start(context, namespace, blocks, force, data),
        IoCommand::WriteZeroes { blocks, force, deallocate } => {
            zeroes::start(context, namespace, blocks, force, deallocate)
        }
        IoCommand::DatasetManagement { ranges, deallocate, data } => {
            dataset::start(context, namespace, ranges, deallocate, data)
        }
    }
}

impl<'a, M: GuestMemory> Context<'a, M> {
    /// The blocks as a range of the namespace's volume, if they are all inside (B131).
    fn range(&self, namespace: &Namespace, blocks: Blocks) -> Result<LbaRange, Status> {
        let range = LbaRange::new(Lba(blocks.start), u64::from(blocks.count));
        if range.fits(namespace.shape.capacity_blocks) { Ok(range) } else { Err(Status::LBA_OUT_OF_RANGE) }
    }

    /// The length in bytes of a transfer of this many blocks, if it is within MDTS (B121).
    fn length(&self, namespace: &Namespace, blocks: Blocks) -> Result<usize, Status> {
        let bytes = u64::from(blocks.count) << namespace.block_shift();
        usize::try_from(bytes).ok().filter(|bytes| *bytes <= self.transfer_bytes_max).ok_or(Status::INVALID_FIELD)
    }

    /// Finds the command's data in guest memory.
    fn resolve(&mut self, data: DataPointer, length: usize) -> Result<(), Status> {
        match data {
            DataPointer::Prp(entries) => prp::resolve(self.memory, entries, length, self.page_shift, self.segments),
            DataPointer::Sgl(first) => sgl::resolve(self.memory, first, length, self.segments),
        }
    }

    /// Refuses data that cannot all be read, before the media has seen any: a write that stopped inside a block would leave that block
    /// neither old nor new (B119).
    fn check_readable(&mut self, length: usize) -> Result<(), Status> {
        let memory = self.memory;
        if self.segments.iter().all(|segment| memory.is_mapped(segment.address, segment.length as u64)) {
            return Ok(());
        }
        // Memory that may be read and not written does not count as mapped: only reading it tells.
        self.transfer().0.fill(0, &mut vec![0; length]).map_err(|_| Status::DATA_TRANSFER_ERROR)
    }

    /// The command's data, once resolved, and the media to give it to.
    fn transfer(&mut self) -> (Transfer<'_, M>, &mut dyn Media) {
        (Transfer::new(self.memory, self.segments), self.media)
    }

    /// A request without data.
    fn submit(&mut self, namespace: &Namespace, request: Request<'_>) -> Submitted {
        self.media.submit(self.now, self.token, namespace.volume, request)
    }
}
