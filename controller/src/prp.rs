//! PRP entries and lists → segments of guest memory (NVMe Base 2.1 section 4.1.1; rules B114–B120). It reads lists from guest memory
//! once each, in order, and never more of them than the length asks for.
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

use nvme_spec::Status;

use crate::dma::{GuestMemory, PrpEntries, Segment, append};

/// How many list entries are read at a time.
const BATCH: usize = 64;

/// Replaces `segments` by the pieces of guest memory that hold `length` bytes, neighbours joined. Pages are `1 << page_shift` bytes.
#[inline]
pub(crate) fn resolve<M: GuestMemory>(
    memory: &M,
    entries: PrpEntries,
    length: usize,
    page_shift: u32,
    segments: &mut Vec<Segment>,
) -> Result<(), Status> {
    segments.clear();
    let page = 1_u64 << page_shift;
    // NVMe Base 2.1 section 4.1.1: the offset of the first entry has its low two bits clear.
    if entries.prp1 & 0b11 != 0 {
        return Err(Status::INVALID_PRP_OFFSET);
    }
    let first = page - (entries.prp1 & (page - 1));
    if length as u64 <= first {
        append(segments, entries.prp1, length as u64);
        return Ok(());
    }
    append(segments, entries.prp1, first);
    resolve_rest(memory, entries.prp2, length as u64 - first, page, segments)
}

/// The data behind the first entry's.
#[inline(never)]
fn resolve_rest<M: GuestMemory>(
    memory: &M,
    prp2: u64,
    left: u64,
    page: u64,
    segments: &mut Vec<Segment>,
) -> Result<(), Status> {
    if left <= page { push_page(segments, prp2, left, page) } else { walk_list(memory, prp2, left, page, segments) }
}

/// Follows a list that begins at `pointer` and must describe `left` bytes.
fn walk_list<M: GuestMemory>(
    memory: &M,
    mut pointer: u64,
    mut left: u64,
    page: u64,
    segments: &mut Vec<Segment>,
) -> Result<(), Status> {
    // A list may begin at any quadword of its page.
    if !pointer.is_multiple_of(8) {
        return Err(Status::INVALID_PRP_OFFSET);
    }
    let mut bytes = [0; BATCH * 8];
    loop {
        let in_page = (page - pointer % page) / 8;
        let needed = left.div_ceil(page);
        let batch = in_page.min(needed).min(BATCH as u64);
        let bytes = bytes.get_mut(..to_index(batch) * 8).ok_or(Status::INTERNAL_ERROR)?;
        memory.read(pointer, bytes).map_err(|_| Status::DATA_TRANSFER_ERROR)?;
        // The last entry of a page is the address of the next list, unless the data ends with it.
        let chained = batch == in_page && needed > in_page;
        let entries = bytes.as_chunks::<8>().0.iter().map(|entry| u64::from_le_bytes(*entry));
        let mut next = pointer.wrapping_add(batch * 8);
        for (index, entry) in entries.enumerate() {
            if chained && index as u64 + 1 == batch {
                if entry % page != 0 {
                    return Err(Status::INVALID_PRP_OFFSET);
                }
                next = entry;
            } else {
                let piece = left.min(page);
                push_page(segments, entry, piece, page)?;
                left -= piece;
            }
        }
        if left == 0 {
            return Ok(());
        }
        // A chained list begins a page, so it describes at least one page before it can chain again: the walk ends.
        pointer = next;
    }
}

/// An entry that is not the first one begins its page.
fn push_page(segments: &mut Vec<Segment>, address: u64, length: u64, page: u64) -> Result<(), Status> {
    if !address.is_multiple_of(page) {
        return Err(Status::INVALID_PRP_OFFSET);
    }
    append(segments, address, length);
    Ok(())
}

/// A length inside one transfer as an index: transfers are a few megabytes at most.
fn to_index(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
