//! Commands of I/O queues: one file each. They resolve the namespace, check the range, and pass the work to the media.

mod acquire;
mod buffer;
mod compare;
mod copy;
mod dataset;
mod flush;
mod read;
mod register;
mod release;
mod report;
mod reservation;
mod uncorrectable;
mod verify;
mod write;
mod zeroes;

use media::{Lba, LbaRange, Media, Nanoseconds, Request, Submitted, Token};

use buffer::UserBuffer;

use crate::atomic::Claim;
use crate::command::{Access, Blocks, IoCommand};
use crate::controllers::ControllerId;
use crate::dma::{DataPointer, GuestMemory, Segment, Transfer, append};
use crate::inflight::Origin;
use crate::reason::Reason;
use crate::shared::namespace::{Namespace, Namespaces};
use crate::shared::reservations::Reservations;
use crate::{prp, sgl};

/// All that a command may touch while it is started.
pub(crate) struct Context<'a, M> {
    pub(crate) now: Nanoseconds,
    pub(crate) memory: &'a M,
    pub(crate) media: &'a mut dyn Media,
    pub(crate) namespaces: &'a Namespaces,
    pub(crate) reservations: &'a mut Reservations,
    /// The controller that carries it out.
    pub(crate) id: ControllerId,
    /// Scratch: the data of the command, once its pointer is resolved.
    pub(crate) segments: &'a mut Vec<Segment>,
    /// Scratch: the metadata of the command, where it is apart.
    pub(crate) metadata: &'a mut Vec<Segment>,
    /// log2 of the memory page size.
    pub(crate) page_shift: u32,
    /// MDTS in bytes.
    pub(crate) transfer_bytes_max: usize,
    /// Under which the media will report, if it takes its time.
    pub(crate) token: Token,
    /// What the command leaves for its completion to know.
    pub(crate) origin: &'a mut Origin,
    /// The ranges of a Dataset Management command, or the target of a Copy and its sources; those of one that was started before are
    /// taken from here.
    pub(crate) listed: &'a mut Vec<LbaRange>,
    /// Of all blocks that the command names, those that it is about now.
    pub(crate) piece: Option<LbaRange>,
}

/// What a command holds while it is under way, or while a piece of it is; `None` if it has no ranges, or names some that are refused when it is started.
pub(crate) fn claim<'a>(
    namespaces: &Namespaces,
    nsid: u32,
    command: &IoCommand,
    piece: Option<LbaRange>,
    listed: &'a [LbaRange],
    single: &'a mut [LbaRange; 1],
) -> Option<Claim<'a>> {
    let namespace = namespaces.get(nsid)?;
    let (changes, blocks) = match command {
        IoCommand::Flush | IoCommand::DatasetManagement { deallocate: false, .. } => return None,
        IoCommand::Register(_) | IoCommand::Acquire(_) | IoCommand::Release(_) | IoCommand::Report(_) => return None,
        IoCommand::Read(access) | IoCommand::Compare(access) => (false, access.blocks),
        IoCommand::Write(access) => (true, access.blocks),
        IoCommand::Verify { blocks, .. } => (false, *blocks),
        IoCommand::WriteZeroes { blocks, .. } | IoCommand::WriteUncorrectable { blocks } => (true, *blocks),
        IoCommand::DatasetManagement { .. } => {
            return Some(Claim { volume: namespace.volume, exclusive: listed.len(), ranges: listed });
        }
        IoCommand::Copy { .. } => return Some(Claim { volume: namespace.volume, exclusive: 1, ranges: listed }),
    };
    let range = LbaRange::new(Lba(blocks.start), u64::from(blocks.count));
    *single = [piece.unwrap_or(range)];
    let claim = Claim { volume: namespace.volume, exclusive: usize::from(changes), ranges: single };
    range.fits(namespace.shape.capacity_blocks).then_some(claim)
}

/// Reads what a command is about from guest memory, as far as that is there: before anybody asks whom it has to wait for, and once.
pub(crate) fn list<M: GuestMemory>(context: &mut Context<'_, M>, nsid: u32, command: &IoCommand) -> Result<(), Reason> {
    match *command {
        IoCommand::DatasetManagement { ranges, data, .. } => {
            dataset::list(context, context.namespaces.resolve(nsid)?, ranges, data)
        }
        IoCommand::Copy { ranges, to, data, .. } => {
            copy::list(context, context.namespaces.resolve(nsid)?, ranges, to, data)
        }
        _ => Ok(()),
    }
}

/// Starts a command, or a piece of it: it fails with a status, or the media has it. Its ranges were listed before.
#[inline]
pub(crate) fn start<M: GuestMemory>(
    context: &mut Context<'_, M>,
    nsid: u32,
    command: &IoCommand,
) -> Result<Submitted, Reason> {
    if matches!(command, IoCommand::Flush) {
        return flush::start(context, nsid);
    }
    let namespace = context.namespaces.resolve(nsid)?;
    match *command {
        IoCommand::Flush => flush::start(context, nsid),
        IoCommand::Read(access) => read::start(context, namespace, access),
        IoCommand::Write(access) => write::start(context, namespace, access),
        IoCommand::Compare(access) => compare::start(context, namespace, access),
        IoCommand::Verify { blocks, force } => verify::start(context, namespace, blocks, force),
        IoCommand::WriteZeroes { blocks, force, deallocate } => {
            zeroes::start(context, namespace, blocks, force, deallocate)
        }
        IoCommand::WriteUncorrectable { blocks } => uncorrectable::start(context, namespace, blocks),
        IoCommand::Copy { force, .. } => Ok(copy::start(context, namespace, force)),
        IoCommand::DatasetManagement { deallocate, .. } => Ok(dataset::start(context, namespace, deallocate)),
        IoCommand::Register(command) => register::start(context, nsid, command).map(|()| Submitted::Done(Ok(()))),
        IoCommand::Acquire(command) => acquire::start(context, nsid, command).map(|()| Submitted::Done(Ok(()))),
        IoCommand::Release(command) => release::start(context, nsid, command).map(|()| Submitted::Done(Ok(()))),
        IoCommand::Report(command) => report::start(context, nsid, command).map(|()| Submitted::Done(Ok(()))),
    }
}

impl<'a, M: GuestMemory> Context<'a, M> {
    /// What the command is about now, of all its blocks.
    #[inline]
    fn piece_of(&self, all: LbaRange) -> LbaRange {
        self.piece.unwrap_or(all)
    }

    /// The blocks as a range of the namespace's volume, if they are all inside (B131).
    #[inline]
    fn range(&self, namespace: &Namespace, blocks: Blocks) -> Result<LbaRange, Reason> {
        let range = LbaRange::new(Lba(blocks.start), u64::from(blocks.count));
        if range.fits(namespace.shape.capacity_blocks) { Ok(range) } else { Err(Reason::OutOfRange) }
    }

    /// The length in bytes of a transfer of this many blocks, with the metadata that travels among them, if it is within MDTS (B121).
    #[inline]
    fn length(&self, namespace: &Namespace, blocks: Blocks) -> Result<usize, Reason> {
        let bytes = u64::from(blocks.count) * u64::from(namespace.buffer_block_bytes);
        usize::try_from(bytes).ok().filter(|bytes| *bytes <= self.transfer_bytes_max).ok_or(Reason::TransferTooLong)
    }

    /// Refuses a Verify above VSL, which is as much as MDTS: reading gigabytes would hold everything up.
    fn check_verify_size(&self, namespace: &Namespace, blocks: Blocks) -> Result<(), Reason> {
        let bytes = u64::from(blocks.count) << namespace.block_shift();
        if bytes <= self.transfer_bytes_max as u64 { Ok(()) } else { Err(Reason::VerifyTooLong) }
    }

    /// The blocks of a Read, Write or Compare in the volume, and in guest memory: their data, and their metadata if it is apart.
    #[inline]
    fn find_blocks(&mut self, namespace: &Namespace, access: Access) -> Result<LbaRange, Reason> {
        let range = self.range(namespace, access.blocks)?;
        let length = self.length(namespace, access.blocks)?;
        self.resolve(access.data, length)?;
        self.metadata.clear();
        if namespace.shape.metadata_bytes > 0 && !namespace.identity.extended_metadata {
            let apart = u64::from(access.blocks.count) * u64::from(namespace.shape.metadata_bytes);
            // NVMe Base 2.1 section 4.1.1: the metadata pointer is dword aligned (B129).
            if access.metadata & 0b11 != 0 {
                return Err(Reason::MetadataPointer);
            }
            append(self.metadata, access.metadata, apart);
        }
        Ok(range)
    }

    /// Finds the command's data in guest memory.
    #[inline]
    fn resolve(&mut self, data: DataPointer, length: usize) -> Result<(), Reason> {
        match data {
            DataPointer::Prp(entries) => prp::resolve(self.memory, entries, length, self.page_shift, self.segments),
            DataPointer::Sgl(first) => sgl::resolve(self.memory, first, length, self.segments),
        }
    }

    /// Refuses data that cannot all be read, before the media has seen any: a write that stopped inside a block would leave that block
    /// neither old nor new (B119).
    #[inline]
    fn check_readable(&self) -> Result<(), Reason> {
        let memory = self.memory;
        let mut all = self.segments.iter().chain(&*self.metadata);
        let readable = all.all(|segment| {
            // Memory that may be read and not written does not count as mapped: only reading it tells.
            memory.is_mapped(segment.address, segment.length as u64) || can_be_read(memory, *segment)
        });
        if readable { Ok(()) } else { Err(Reason::DataUnreachable) }
    }

    /// The blocks of a Read, Write or Compare that begins at `start`, once found, and the media to give them to.
    #[inline]
    fn user_buffer(&mut self, namespace: &Namespace, start: u64) -> (UserBuffer<'_, M>, &mut dyn Media) {
        let data = Transfer::new(self.memory, self.segments);
        let shape = &namespace.shape;
        let buffer = match shape.metadata_bytes as usize {
            0 => UserBuffer::plain(data),
            metadata if namespace.identity.extended_metadata => {
                UserBuffer::extended(data, shape.block_bytes as usize, metadata)
            }
            _ => UserBuffer::separate(data, Transfer::new(self.memory, self.metadata)),
        };
        // A piece lies behind the blocks before it.
        let skipped = self.piece.map_or(0, |piece| usize::try_from(piece.start.0 - start).unwrap_or(usize::MAX));
        let buffer = buffer.behind(skipped, shape.block_bytes as usize, shape.metadata_bytes as usize);
        (buffer, self.media)
    }

    /// A request without data.
    fn submit(&mut self, namespace: &Namespace, request: Request<'_>) -> Submitted {
        self.media.submit(self.now, self.token, namespace.volume, request)
    }
}

/// Whether all of a segment can be read, a page at a time: a guest's length asks for no memory here.
fn can_be_read<M: GuestMemory>(memory: &M, segment: Segment) -> bool {
    const PAGE: usize = 4096;
    let mut page = [0; PAGE];
    (0..segment.length).step_by(PAGE).all(|at| {
        let bytes = &mut page[..PAGE.min(segment.length - at)];
        segment.address.checked_add(at as u64).is_some_and(|from| memory.read(from, bytes).is_ok())
    })
}
