//! PRP entries and lists → segments of guest memory (NVMe Base 2.1 section 4.1.1; rules B114–B120). It reads lists from guest memory
//! once each, in order, and never more of them than the length asks for.
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

use crate::dma::{GuestMemory, PrpEntries, Segment, append};
use crate::reason::Reason;

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
) -> Result<(), Reason> {
    segments.clear();
    let page = 1_u64 << page_shift;
    // NVMe Base 2.1 section 4.1.1: the offset of the first entry has its low two bits clear.
    if entries.prp1 & 0b11 != 0 {
        return Err(Reason::PrpOffset);
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
) -> Result<(), Reason> {
    if left <= page {
        push_page(segments, prp2, left, page).map_err(|_| Reason::Prp2Offset)
    } else {
        walk_list(memory, prp2, left, page, segments)
    }
}

/// Follows a list that begins at `pointer` and must describe `left` bytes.
fn walk_list<M: GuestMemory>(
    memory: &M,
    mut pointer: u64,
    mut left: u64,
    page: u64,
    segments: &mut Vec<Segment>,
) -> Result<(), Reason> {
    // A list may begin at any quadword of its page.
    if !pointer.is_multiple_of(8) {
        return Err(Reason::PrpListOffset);
    }
    let mut bytes = [0; BATCH * 8];
    loop {
        let in_page = (page - pointer % page) / 8;
        let needed = left.div_ceil(page);
        let batch = in_page.min(needed).min(BATCH as u64);
        let bytes = bytes.get_mut(..to_index(batch) * 8).ok_or(Reason::Internal)?;
        memory.read(pointer, bytes).map_err(|_| Reason::PrpListUnreadable)?;
        // The last entry of a page is the address of the next list, unless the data ends with it.
        let chained = batch == in_page && needed > in_page;
        let entries = bytes.as_chunks::<8>().0.iter().map(|entry| u64::from_le_bytes(*entry));
        let mut next = pointer.wrapping_add(batch * 8);
        for (index, entry) in entries.enumerate() {
            if chained && index as u64 + 1 == batch {
                if entry % page != 0 {
                    return Err(Reason::PrpListEntryOffset);
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
fn push_page(segments: &mut Vec<Segment>, address: u64, length: u64, page: u64) -> Result<(), Reason> {
    if !address.is_multiple_of(page) {
        return Err(Reason::PrpListEntryOffset);
    }
    append(segments, address, length);
    Ok(())
}

/// A length inside one transfer as an index: transfers are a few megabytes at most.
fn to_index(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use nvme_spec::Status;

    use super::*;
    use crate::dma::FlatMemory;

    const SHIFT: u32 = 12;
    const PAGE: u64 = 1 << SHIFT;

    /// Memory of four pages with these list entries at these places.
    fn memory(lists: &[(u64, &[u64])]) -> FlatMemory {
        let memory = FlatMemory::new(vec![0xff; 4 * 4096]);
        for (at, entries) in lists {
            for (entry, place) in entries.iter().zip((*at..).step_by(8)) {
                memory.write(place, &entry.to_le_bytes()).expect("it lies inside");
            }
        }
        memory
    }

    /// Address and length of each piece.
    fn pieces(memory: &FlatMemory, prp1: u64, prp2: u64, length: u64) -> Result<Vec<(u64, u64)>, Status> {
        let mut segments = vec![Segment { address: 1, length: 1 }];
        let length = usize::try_from(length).expect("a length");
        resolve(memory, PrpEntries { prp1, prp2 }, length, SHIFT, &mut segments).map_err(Reason::status)?;
        Ok(segments.iter().map(|segment| (segment.address, segment.length as u64)).collect())
    }

    #[test]
    fn the_first_entry_goes_to_the_end_of_its_page_and_the_second_is_a_page() {
        let none = memory(&[]);
        let far = 0x9000_0000;
        assert_eq!(pieces(&none, far + 4, 7, PAGE - 4), Ok(vec![(far + 4, PAGE - 4)]), "the second is not looked at");
        assert_eq!(pieces(&none, far + 4, 0, PAGE), Ok(vec![(far + 4, PAGE - 4), (0, 4)]));
        assert_eq!(pieces(&none, far, far + PAGE, 2 * PAGE), Ok(vec![(far, 2 * PAGE)]), "neighbours are one");
        assert_eq!(pieces(&none, far, far + 9 * PAGE, 2 * PAGE), Ok(vec![(far, PAGE), (far + 9 * PAGE, PAGE)]));
        for (prp1, prp2) in [(far + 1, 0), (far + 2, 0), (far, 4), (far, far + 2048)] {
            assert_eq!(pieces(&none, prp1, prp2, 2 * PAGE), Err(Status::INVALID_PRP_OFFSET), "{prp1:x} {prp2:x}");
        }
    }

    #[test]
    fn a_list_begins_at_any_quadword_and_its_last_entry_in_a_page_leads_on() {
        let far = |page: u64| 0x9000_0000 + 2 * page * PAGE;
        let whole = |count: u64| (0..count).map(|page| (far(page), PAGE)).collect::<Vec<_>>();
        let short = memory(&[(8, &[far(1), far(2)])]);
        assert_eq!(pieces(&short, far(0), 8, 3 * PAGE), Ok(whole(3)));
        let mut cut = whole(3);
        cut[2].1 = 4;
        assert_eq!(pieces(&short, far(0), 8, 2 * PAGE + 4), Ok(cut), "the last is as long as what is left");
        // Two entries fit the first page, and the third place is the way to the second page.
        let chained = memory(&[(PAGE - 16, &[far(1), 2 * PAGE]), (2 * PAGE, &[far(2), far(3)])]);
        assert_eq!(pieces(&chained, far(0), PAGE - 16, 4 * PAGE), Ok(whole(4)));
        let ends = memory(&[(PAGE - 16, &[far(1), far(2)])]);
        assert_eq!(pieces(&ends, far(0), PAGE - 16, 3 * PAGE), Ok(whole(3)), "data, if it ends with it");
    }

    #[test]
    fn a_list_is_read_in_batches_and_not_beyond_the_data() {
        let far = |page: u64| 0x9000_0000 + 2 * page * PAGE;
        let entries: Vec<u64> = (1..=200).map(far).collect();
        let long = memory(&[(4 * PAGE - 200 * 8, &entries)]);
        let whole: Vec<_> = (0..201).map(|page| (far(page), PAGE)).collect();
        for count in [64, 65, 66, 129, 201] {
            let expected = whole[..to_index(count)].to_vec();
            assert_eq!(pieces(&long, far(0), 4 * PAGE - 200 * 8, count * PAGE), Ok(expected), "{count} pages");
        }
        let last = pieces(&long, far(0), 4 * PAGE - 8, 2 * PAGE + 1);
        assert_eq!(last, Err(Status::DATA_TRANSFER_ERROR), "it leads on to where no memory is");
    }

    #[test]
    fn a_list_that_cannot_be_is_refused() {
        let far = 0x9000_0000;
        let lists = memory(&[
            (0, &[far + 4, far]),
            (64, &[far, far + 2048]),
            (PAGE - 16, &[far, 2 * PAGE + 8]),
            (2 * PAGE - 16, &[far, 4 * PAGE]),
        ]);
        for (list, why) in
            [(4, "between quadwords"), (0, "an offset"), (64, "an offset"), (PAGE - 16, "a chain's offset")]
        {
            assert_eq!(pieces(&lists, far, list, 4 * PAGE), Err(Status::INVALID_PRP_OFFSET), "{why}");
        }
        assert_eq!(pieces(&lists, far, 4 * PAGE, 4 * PAGE), Err(Status::DATA_TRANSFER_ERROR), "no memory");
        assert_eq!(pieces(&lists, far, 2 * PAGE - 16, 4 * PAGE), Err(Status::DATA_TRANSFER_ERROR), "behind the chain");
    }
}
