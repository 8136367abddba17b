//! The buffers of a chain → a typed request, or its refusal (virtio 1.3 section 5.2.6). A driver may split a request into buffers as it
//! likes (section 2.7.4): only the sequences of bytes to read and of bytes to write count.
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

use controller::dma::GuestMemory;
use nvme_host::Piece;
use thiserror::Error;
use zerocopy::{FromBytes, IntoBytes};

use crate::chain::Buffer;
use crate::memory::WINDOW_START;
use crate::wire::{
    BlockStatus, HEADER_BYTES, ID_BYTES, RequestHeader, SECTOR_SHIFT, SEGMENT_BYTES, SEGMENT_UNMAP, Segment,
    request_type,
};

/// How many pieces of memory the data of a request may have: as many descriptors fit a page, in which they go to the controller.
pub const PIECES_MAX: usize = 256;
/// How many segments a DISCARD may have: as many ranges as Dataset Management takes.
pub const DISCARD_SEGMENTS_MAX: usize = 256;
/// How many segments a WRITE_ZEROES may have.
pub const ZEROES_SEGMENTS_MAX: usize = 1;

/// What a disk can do: the numbers that requests are checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// log2 of the logical block size, 9 to 16.
    pub block_shift: u32,
    /// How many logical blocks there are.
    pub blocks: u64,
    /// The largest transfer of a request, in bytes.
    pub bytes_max: u64,
}

/// Logical blocks of the disk: all of them exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The first.
    pub first: u64,
    /// How many; at least 1.
    pub count: u64,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Blocks go to the pieces.
    Read(Range),
    /// The pieces go to blocks.
    Write(Range),
    /// What was written becomes durable.
    Flush,
    /// The serial number goes to the pieces.
    Identify,
    /// The ranges are no longer needed.
    Discard,
    /// The ranges read as zeroes.
    WriteZeroes {
        /// Their space may be given back.
        unmap: bool,
    },
}

/// A request that can be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked for.
    pub operation: Operation,
    /// Guest address of the status byte.
    pub status: u64,
    /// How many bytes are written if it succeeds, the status among them.
    pub written: u32,
}

/// What belongs to a request and has no fixed size. Reused from one to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Guest memory of the data.
    pub pieces: Vec<Piece>,
    /// Blocks of a Discard or WriteZeroes.
    pub ranges: Vec<Range>,
}

/// A request that cannot be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It is answered.
    #[error("{why}")]
    Answered {
        /// With this.
        answer: BlockStatus,
        /// Guest address of the status byte.
        status: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// There is no byte to answer with: the ring is broken.
    #[error("a request without a status byte")]
    Mute,
}

/// Reads a request. `extent` is filled with its data.
///
/// # Errors
/// [`Refusal`].
pub fn parse<M: GuestMemory>(
    memory: &M,
    buffers: &[Buffer],
    limits: &Limits,
    extent: &mut Extent,
) -> Result<Request, Refusal> {
    extent.pieces.clear();
    extent.ranges.clear();
    let last = buffers.last().filter(|last| last.writable && last.length > 0).ok_or(Refusal::Mute)?;
    let status = last.address.checked_add(u64::from(last.length) - 1).ok_or(Refusal::Mute)?;
    let refuse = |answer, why| Refusal::Answered { answer, status, why };
    match read(memory, buffers, limits, extent) {
        Ok((operation, written)) => Ok(Request { operation, status, written }),
        Err(Wrong::Unsupported) => Err(refuse(BlockStatus::UNSUPPORTED, "there is no such request")),
        Err(Wrong::Because(why)) => Err(refuse(BlockStatus::IO_ERROR, why)),
    }
}

/// Why a request fails.
enum Wrong {
    Unsupported,
    Because(&'static str),
}

fn wrong<T>(why: &'static str) -> Result<T, Wrong> {
    Err(Wrong::Because(why))
}

fn read<M: GuestMemory>(
    memory: &M,
    buffers: &[Buffer],
    limits: &Limits,
    extent: &mut Extent,
) -> Result<(Operation, u32), Wrong> {
    let data = Parts::new(buffers)?;
    let mut bytes = [0; HEADER_BYTES];
    gather(memory, data.readable, 0, &mut bytes)?;
    let header = RequestHeader::read_from_bytes(&bytes).map_err(|_| Wrong::Unsupported)?;
    let outgoing = data.readable_bytes - HEADER_BYTES as u64;
    let incoming = data.writable_bytes - 1;
    let (sector, kind) = (header.sector.get(), header.kind.get());
    match kind {
        request_type::IN | request_type::OUT => {
            let is_read = kind == request_type::IN;
            let (bytes, others) = if is_read { (incoming, outgoing) } else { (outgoing, incoming) };
            if others > 0 {
                return wrong("data that goes the other way");
            }
            let range = transfer(sector, bytes, limits)?;
            if is_read {
                pieces(data.writable, 0, bytes, &mut extent.pieces)?;
                let written = u32::try_from(bytes + 1).map_err(|_| Wrong::Because("more than can be told"))?;
                return Ok((Operation::Read(range), written));
            }
            pieces(data.readable, HEADER_BYTES as u64, bytes, &mut extent.pieces)?;
            Ok((Operation::Write(range), 1))
        }
        request_type::FLUSH if outgoing == 0 && incoming == 0 => Ok((Operation::Flush, 1)),
        request_type::FLUSH => wrong("a flush with data"),
        request_type::GET_ID => {
            if incoming == 0 || outgoing > 0 {
                return wrong("no room for the serial number");
            }
            let bytes = incoming.min(ID_BYTES as u64);
            pieces(data.writable, 0, bytes, &mut extent.pieces)?;
            // The status lies behind all of the room.
            let told = if bytes == incoming { bytes + 1 } else { bytes };
            Ok((Operation::Identify, u32::try_from(told).map_err(|_| Wrong::Unsupported)?))
        }
        request_type::DISCARD | request_type::WRITE_ZEROES => {
            if incoming > 0 {
                return wrong("data that goes the other way");
            }
            segments(memory, &data, kind, limits, &mut extent.ranges)
        }
        _ => Err(Wrong::Unsupported),
    }
}

/// The blocks of a transfer of `bytes` bytes.
fn transfer(sector: u64, bytes: u64, limits: &Limits) -> Result<Range, Wrong> {
    if bytes == 0 || bytes > limits.bytes_max {
        return wrong("no data, or more than a request may have");
    }
    if !bytes.is_multiple_of(1 << limits.block_shift) {
        return wrong("data that is not whole blocks");
    }
    range(sector, bytes >> SECTOR_SHIFT, limits)
}

/// Sectors as blocks of the disk.
fn range(sector: u64, sectors: u64, limits: &Limits) -> Result<Range, Wrong> {
    let shift = limits.block_shift - SECTOR_SHIFT;
    let whole = |sectors: u64| sectors.is_multiple_of(1 << shift);
    if !whole(sector) || !whole(sectors) {
        return wrong("sectors that are not whole blocks");
    }
    let range = Range { first: sector >> shift, count: sectors >> shift };
    match range.first.checked_add(range.count) {
        Some(end) if end <= limits.blocks => Ok(range),
        _ => wrong("sectors beyond the end"),
    }
}

/// The segments of a Discard or WriteZeroes. Every one is checked before anything is done; empty ones are none.
fn segments<M: GuestMemory>(
    memory: &M,
    data: &Parts<'_>,
    kind: u32,
    limits: &Limits,
    ranges: &mut Vec<Range>,
) -> Result<(Operation, u32), Wrong> {
    let discard = kind == request_type::DISCARD;
    let most = if discard { DISCARD_SEGMENTS_MAX } else { ZEROES_SEGMENTS_MAX };
    let bytes = data.readable_bytes - HEADER_BYTES as u64;
    let count = usize::try_from(bytes).unwrap_or(usize::MAX) / SEGMENT_BYTES;
    if bytes == 0 || !bytes.is_multiple_of(SEGMENT_BYTES as u64) || count > most {
        return wrong("no segments, half ones, or too many");
    }
    let mut list = [Segment::default(); DISCARD_SEGMENTS_MAX];
    let list = list.get_mut(..count).ok_or(Wrong::Unsupported)?;
    gather(memory, data.readable, HEADER_BYTES as u64, list.as_mut_bytes())?;
    let mut unmap = false;
    for segment in list {
        // virtio 1.3 section 5.2.6.2: flags that are not known, and unmap where it is implied, are unsupported.
        if segment.flags.get() & !SEGMENT_UNMAP != 0 || discard && segment.flags.get() != 0 {
            return Err(Wrong::Unsupported);
        }
        unmap = segment.flags.get() != 0;
        let range = range(segment.sector.get(), segment.sectors.get().into(), limits)?;
        if range.count > 0 {
            ranges.push(range);
        }
    }
    Ok((if discard { Operation::Discard } else { Operation::WriteZeroes { unmap } }, 1))
}

/// The buffers of a request: first what is read, then what is written.
struct Parts<'a> {
    readable: &'a [Buffer],
    readable_bytes: u64,
    writable: &'a [Buffer],
    writable_bytes: u64,
}

impl<'a> Parts<'a> {
    fn new(buffers: &'a [Buffer]) -> Result<Self, Wrong> {
        let middle = buffers.iter().position(|buffer| buffer.writable).unwrap_or(buffers.len());
        let (readable, writable) = buffers.split_at_checked(middle).unwrap_or((buffers, &[]));
        if writable.iter().any(|buffer| !buffer.writable) {
            return wrong("what is read follows what is written");
        }
        // Nothing may lie, or reach, where only the host in this process may point.
        let inside = |buffer: &Buffer| {
            let end = buffer.address.checked_add(buffer.length.into());
            buffer.length > 0 && end.is_some_and(|end| end <= WINDOW_START)
        };
        if !buffers.iter().all(inside) {
            return wrong("a buffer that is empty or lies nowhere");
        }
        let bytes = |part: &[Buffer]| part.iter().map(|buffer| u64::from(buffer.length)).sum();
        let parts = Self { readable, readable_bytes: bytes(readable), writable, writable_bytes: bytes(writable) };
        if parts.readable_bytes < HEADER_BYTES as u64 || parts.writable_bytes == 0 {
            return wrong("a request without a header");
        }
        Ok(parts)
    }
}

/// Calls `take` with the parts of `buffers` that make up `length` bytes from `offset` on. They are there: the caller has counted.
fn visit(
    buffers: &[Buffer],
    mut offset: u64,
    mut length: u64,
    mut take: impl FnMut(u64, u32) -> Result<(), Wrong>,
) -> Result<(), Wrong> {
    for buffer in buffers {
        let available = u64::from(buffer.length);
        if offset >= available {
            offset -= available;
            continue;
        }
        let part = (available - offset).min(length);
        if part == 0 {
            break;
        }
        let bytes = u32::try_from(part).map_err(|_| Wrong::Because("a buffer that is too long"))?;
        take(buffer.address + offset, bytes)?;
        offset = 0;
        length -= part;
    }
    Ok(())
}

/// Copies bytes out of the buffers.
fn gather<M: GuestMemory>(memory: &M, buffers: &[Buffer], offset: u64, into: &mut [u8]) -> Result<(), Wrong> {
    let length = into.len() as u64;
    let mut rest = into;
    visit(buffers, offset, length, |address, bytes| {
        let (part, later) =
            std::mem::take(&mut rest).split_at_mut_checked(bytes as usize).ok_or(Wrong::Because("too many bytes"))?;
        rest = later;
        memory.read(address, part).map_err(|_| Wrong::Because("memory that is not there"))
    })
}

/// Lists the memory of the data; neighbours are joined.
fn pieces(buffers: &[Buffer], offset: u64, length: u64, pieces: &mut Vec<Piece>) -> Result<(), Wrong> {
    visit(buffers, offset, length, |address, length| {
        if let Some(last) = pieces.last_mut()
            && last.address + u64::from(last.length) == address
            && let Some(joined) = last.length.checked_add(length)
        {
            last.length = joined;
            return Ok(());
        }
        if pieces.len() >= PIECES_MAX {
            return wrong("data in too many pieces");
        }
        pieces.push(Piece { address, length });
        Ok(())
    })
}
