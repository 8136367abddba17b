//! Physical Region Pages (Base 2.1 section 4.3.1): a buffer as two entries and, beyond two pages, chained lists. Pure functions
//! from addresses to numbers; who owns the memory and who writes the lists is another file's business.

use thiserror::Error;

/// Size of a PRP entry in bytes.
pub const ENTRY_BYTES: u64 = 8;

/// The data pointer of a command: two PRP entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataPointer {
    /// PRP entry 1: the first page, with an offset.
    pub prp1: u64,
    /// PRP entry 2: unused (0), the second page, or the address of the first list.
    pub prp2: u64,
}

/// One list to be written to guest memory: at most a page of entries, the last of which may point to the next list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrpList {
    /// Where the first entry goes; a multiple of 8 bytes.
    pub address: u64,
    /// The entries.
    pub entries: Vec<u64>,
}

impl PrpList {
    /// The list as it lies in memory.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.entries.iter().flat_map(|entry| entry.to_le_bytes()).collect()
    }
}

/// Why a buffer cannot be described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PrpError {
    /// The places given for lists do not suffice.
    #[error("{missing} more entries than the lists have room for")]
    ListsTooShort {
        /// Entries that found no room.
        missing: usize,
    },
    /// A list may begin at any multiple of 8 bytes only.
    #[error("a list at {address:#x}, which is not a multiple of 8")]
    ListUnaligned {
        /// Where the list was to be.
        address: u64,
    },
}

/// The pages that `length` bytes at `address` touch: the first with its offset, the others aligned. Empty for no bytes.
///
/// # Panics
/// If `page_bytes` is not a power of two, or the buffer wraps past the last address.
#[must_use]
pub fn pages(address: u64, length: u64, page_bytes: u64) -> Vec<u64> {
    assert!(page_bytes.is_power_of_two(), "a page of {page_bytes} bytes");
    let Some(last_byte) = length.checked_sub(1).map(|more| address.checked_add(more).expect("the buffer wraps")) else {
        return Vec::new();
    };
    let first_page = address & !(page_bytes - 1);
    let more = (last_byte - first_page) / page_bytes;
    std::iter::once(address).chain((1..=more).map(|index| first_page + index * page_bytes)).collect()
}

/// How many entries fit from `address` to the end of its page.
#[must_use]
pub const fn list_room(address: u64, page_bytes: u64) -> usize {
    ((page_bytes - (address & (page_bytes - 1))) / ENTRY_BYTES) as usize
}

/// How many lists `pages` data pages need, when the first list begins `first_offset` bytes into its page and the others at the
/// start of theirs. None for up to two pages.
#[must_use]
pub fn lists_needed(pages: usize, first_offset: u64, page_bytes: u64) -> usize {
    if pages <= 2 {
        return 0;
    }
    let mut left = pages - 1;
    let mut room = list_room(first_offset, page_bytes);
    let mut lists = 1;
    // A list that is not the last gives its last entry to the pointer to the next.
    while left > room {
        left -= room - 1;
        room = list_room(0, page_bytes);
        lists += 1;
    }
    lists
}

/// Describes data in `pages` (the first may have an offset; they need not be contiguous) with the help of lists placed at
/// `list_places`, each of which reaches to the end of its page at most. Places that are not needed stay unused.
///
/// # Errors
/// If a place is not a multiple of 8 bytes, or the places do not suffice.
pub fn describe(pages: &[u64], list_places: &[u64], page_bytes: u64) -> Result<(DataPointer, Vec<PrpList>), PrpError> {
    match *pages {
        [] => Ok((DataPointer::default(), Vec::new())),
        [prp1] => Ok((DataPointer { prp1, prp2: 0 }, Vec::new())),
        [prp1, prp2] => Ok((DataPointer { prp1, prp2 }, Vec::new())),
        [prp1, ref rest @ ..] => {
            let lists = chain(rest, list_places, page_bytes)?;
            let prp2 = lists.first().map_or(0, |list| list.address);
            Ok((DataPointer { prp1, prp2 }, lists))
        }
    }
}

/// Spreads `entries` over lists at `places`; the last entry of a full list points to the next.
fn chain(entries: &[u64], places: &[u64], page_bytes: u64) -> Result<Vec<PrpList>, PrpError> {
    let mut left = entries;
    let mut lists = Vec::new();
    let mut places = places.iter().copied().peekable();
    while !left.is_empty() {
        let address = places.next().ok_or(PrpError::ListsTooShort { missing: left.len() })?;
        if !address.is_multiple_of(ENTRY_BYTES) {
            return Err(PrpError::ListUnaligned { address });
        }
        let room = list_room(address, page_bytes);
        let (here, later) = if left.len() <= room { (left, &left[..0]) } else { left.split_at(room - 1) };
        let mut list = PrpList { address, entries: here.to_vec() };
        if !later.is_empty() {
            list.entries.push(*places.peek().ok_or(PrpError::ListsTooShort { missing: later.len() })?);
        }
        lists.push(list);
        left = later;
    }
    Ok(lists)
}

#[cfg(test)]
mod tests {
    use super::{DataPointer, PrpError, PrpList, describe, list_room, lists_needed, pages};

    const PAGE: u64 = 4096;

    #[test]
    fn pages_of_a_buffer() {
        assert_eq!(pages(0x1000, 0, PAGE), []);
        assert_eq!(pages(0x1000, 4096, PAGE), [0x1000]);
        assert_eq!(pages(0x1004, 4092, PAGE), [0x1004]);
        assert_eq!(pages(0x1004, 4093, PAGE), [0x1004, 0x2000]);
        assert_eq!(pages(0x1ffc, 8192, PAGE), [0x1ffc, 0x2000, 0x3000]);
        assert_eq!(pages(0x1_0000, 0x1_0001, 0x1_0000), [0x1_0000, 0x2_0000]);
        assert_eq!(pages(0xffff_ffff_ffff_f000, 4096, PAGE), [0xffff_ffff_ffff_f000]);
    }

    #[test]
    fn one_and_two_pages_need_no_list() {
        assert_eq!(describe(&[], &[], PAGE), Ok((DataPointer::default(), vec![])));
        assert_eq!(describe(&[0x1004], &[], PAGE), Ok((DataPointer { prp1: 0x1004, prp2: 0 }, vec![])));
        assert_eq!(describe(&[0x1004, 0x9000], &[], PAGE), Ok((DataPointer { prp1: 0x1004, prp2: 0x9000 }, vec![])));
    }

    #[test]
    fn three_pages_need_a_list_even_when_it_is_short() {
        let (pointer, lists) = describe(&[0x1004, 0x9000, 0x5000], &[0x20_0ff0], PAGE).unwrap();
        assert_eq!(pointer, DataPointer { prp1: 0x1004, prp2: 0x20_0ff0 });
        assert_eq!(lists, [PrpList { address: 0x20_0ff0, entries: vec![0x9000, 0x5000] }]);
        assert_eq!(lists[0].bytes()[..8], [0x00, 0x90, 0, 0, 0, 0, 0, 0]);
    }

    // Base 2.1 section 4.3.1: when a list does not end the transfer, its last entry in the page points to the next list.
    #[test]
    fn the_last_entry_of_a_page_is_data_when_the_list_ends_there_and_a_pointer_otherwise() {
        let ends = describe(&pages(0, 3 * PAGE, PAGE), &[0x10_0ff0], PAGE).unwrap().1;
        assert_eq!(ends, [PrpList { address: 0x10_0ff0, entries: vec![0x1000, 0x2000] }]);
        let goes_on = describe(&pages(0, 4 * PAGE, PAGE), &[0x10_0ff0, 0x20_0000], PAGE).unwrap().1;
        let first = PrpList { address: 0x10_0ff0, entries: vec![0x1000, 0x20_0000] };
        let second = PrpList { address: 0x20_0000, entries: vec![0x2000, 0x3000] };
        assert_eq!(goes_on, [first, second]);
    }

    #[test]
    fn a_first_list_of_one_entry_is_only_a_pointer() {
        let lists = describe(&pages(0, 3 * PAGE, PAGE), &[0x10_0ff8, 0x20_0000], PAGE).unwrap().1;
        assert_eq!(lists[0].entries, [0x20_0000]);
        assert_eq!(lists[1].entries, [0x1000, 0x2000]);
    }

    #[test]
    fn every_length_and_list_offset_walks_back_to_the_same_pages() {
        for count in (0..1600).step_by(7).chain([2, 3, 513, 514, 1024, 1025]) {
            for offset in [0, 8, 2048, 4080, 4088] {
                let data: Vec<u64> = (0..count).map(|page| 0x1_0000_0000 + page * 2 * PAGE).collect();
                let needed = lists_needed(data.len(), offset, PAGE);
                let places: Vec<u64> = (0..needed as u64).map(|i| i * PAGE + if i == 0 { offset } else { 0 }).collect();
                let (pointer, lists) = describe(&data, &places, PAGE).unwrap();
                assert_eq!(lists.len(), needed, "{count} pages, list at {offset}");
                assert_eq!(walk(pointer, &lists, data.len()), data, "{count} pages, list at {offset}");
            }
        }
    }

    /// The slow oracle: reads the entries as the figures of section 4.3.1 tell, one at a time.
    fn walk(pointer: DataPointer, lists: &[PrpList], count: usize) -> Vec<u64> {
        if count <= 2 {
            return [pointer.prp1, pointer.prp2][..count].to_vec();
        }
        let load = |address: u64| {
            let list = lists.iter().find(|list| list.address / PAGE == address / PAGE).unwrap();
            list.entries[usize::try_from((address - list.address) / 8).unwrap()]
        };
        let (mut found, mut at) = (vec![pointer.prp1], pointer.prp2);
        while found.len() < count {
            if at % PAGE == PAGE - 8 && found.len() + 1 < count {
                at = load(at);
            } else {
                found.push(load(at));
                at += 8;
            }
        }
        found
    }

    #[test]
    fn too_few_or_crooked_places_are_refused() {
        let data = pages(0, 4 * PAGE, PAGE);
        assert_eq!(describe(&data, &[], PAGE), Err(PrpError::ListsTooShort { missing: 3 }));
        assert_eq!(describe(&data, &[0xff0], PAGE), Err(PrpError::ListsTooShort { missing: 2 }));
        assert_eq!(describe(&data, &[0xff4], PAGE), Err(PrpError::ListUnaligned { address: 0xff4 }));
    }

    #[test]
    fn room_of_a_list() {
        assert_eq!(list_room(0, PAGE), 512);
        assert_eq!(list_room(0x7ff8, PAGE), 1);
    }
}
