//! The table of mappings by itself: its limits and accounts, accesses of every kind at the edges of ranges, and what it says aloud.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use controller::dma::{DmaFault, GuestMemory};
use guest_memory::{MapError, MapRequest, Memory, PAGE_BYTES as PAGE, Permissions};
use proptest::prelude::*;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

/// As `guest_memory::table` has them.
const SHARED_MAPS_MAX: u64 = 32_768;
const SHARED_BYTES_MAX: u64 = 1 << 44;
const RANGE_BYTES_MAX: u64 = 1 << 48;

fn memory_file(length: u64) -> OwnedFd {
    let file = memfd_create("test", MemfdFlags::CLOEXEC).expect("memfd");
    ftruncate(&file, length).expect("truncate");
    file
}

/// Bit 0 of `access`: the device may read; bit 1: it may write.
fn map(
    memory: &mut Memory,
    access: u32,
    offset: u64,
    address: u64,
    length: u64,
    file: Option<&OwnedFd>,
) -> Result<(), MapError> {
    let access = [Permissions::No, Permissions::Read, Permissions::Write, Permissions::ReadWrite][access as usize];
    let file = file.map(|file| file.try_clone().expect("a descriptor"));
    memory.map(&MapRequest { address, length, access, offset }, file)
}

/// Two readable and writable pages from two files, then a page that may only be read, then a gap.
fn two_pages_and_one_to_read() -> Memory {
    let mut memory = Memory::default();
    let files = [memory_file(PAGE), memory_file(PAGE), memory_file(PAGE)];
    for (page, (flags, file)) in (0..).zip([3, 3, 1].into_iter().zip(&files)) {
        map(&mut memory, flags, 0, page * PAGE, PAGE, Some(file)).expect("map");
    }
    memory
}

/// Makes the last page the one that was found last, so that an access elsewhere has to look.
fn look_away(memory: &Memory) {
    memory.read(2 * PAGE, &mut [0]).expect("it may be read");
}

#[test]
fn exactly_so_many_maps_may_be_shared_however_they_come_and_go() {
    let mut memory = Memory::default();
    let file = memory_file(PAGE);
    let share = |memory: &mut Memory, page: u64| map(memory, 3, 0, page * PAGE, PAGE, Some(&file));
    for page in 0..SHARED_MAPS_MAX {
        assert_eq!(share(&mut memory, page), Ok(()), "page {page}");
    }
    assert_eq!(share(&mut memory, SHARED_MAPS_MAX), Err(MapError::Full));
    map(&mut memory, 3, 0, SHARED_MAPS_MAX * PAGE, PAGE, None).expect("one that is not shared costs nothing");
    memory.unmap(SHARED_MAPS_MAX * PAGE, PAGE).expect("unmap");
    assert_eq!(share(&mut memory, SHARED_MAPS_MAX), Err(MapError::Full), "and gives nothing back");
    memory.unmap(0, 2 * PAGE).expect("unmap two");
    assert_eq!(memory.extent(), (32_766, 32_766 * PAGE));
    assert_eq!([0, 1, SHARED_MAPS_MAX].map(|page| share(&mut memory, page)), [Ok(()), Ok(()), Err(MapError::Full)]);
    memory.clear();
    assert_eq!(memory.extent(), (0, 0));
    assert_eq!(share(&mut memory, 0), Ok(()), "nothing is left of the old ones");
}

#[test]
fn a_range_that_nobody_may_reach_is_none_with_a_file_or_without() {
    let mut memory = Memory::default();
    let file = memory_file(PAGE);
    for file in [Some(&file), None] {
        assert_eq!(map(&mut memory, 0, 0, 0, PAGE, file), Err(MapError::Impossible));
    }
    assert_eq!(memory.extent(), (0, 0));
}

#[test]
fn exactly_so_many_bytes_may_be_shared() {
    let mut memory = Memory::default();
    let (file, page) = (memory_file(SHARED_BYTES_MAX + PAGE), memory_file(PAGE));
    assert_eq!(map(&mut memory, 3, 0, 0, SHARED_BYTES_MAX + PAGE, Some(&file)), Err(MapError::Full));
    map(&mut memory, 3, 0, 0, SHARED_BYTES_MAX, Some(&file)).expect("as many as there may be");
    assert_eq!(memory.extent(), (1, SHARED_BYTES_MAX));
    assert_eq!(map(&mut memory, 3, 0, SHARED_BYTES_MAX, PAGE, Some(&page)), Err(MapError::Full));
    memory.clear();
    map(&mut memory, 3, 0, SHARED_BYTES_MAX, PAGE, Some(&page)).expect("map");
    assert_eq!(memory.extent(), (1, PAGE));
}

#[test]
fn a_range_may_have_the_greatest_length_and_no_page_more() {
    let mut memory = Memory::default();
    assert_eq!(map(&mut memory, 3, 0, 0, RANGE_BYTES_MAX + PAGE, None), Err(MapError::Impossible));
    assert_eq!(map(&mut memory, 3, 0, 0, RANGE_BYTES_MAX, None), Ok(()));
    assert_eq!(memory.extent(), (1, 0), "what is not shared takes no bytes");
}

#[test]
fn numbers_of_two_bytes_are_aligned_and_respect_permissions() {
    let memory = two_pages_and_one_to_read();
    assert_eq!(memory.store_number::<u16>(PAGE - 2, 0x0201), Ok(()));
    assert_eq!(memory.load_number::<u16>(PAGE - 2), Ok(0x0201));
    let mut bytes = [0; 2];
    memory.read(PAGE - 2, &mut bytes).expect("read");
    assert_eq!(u16::from_ne_bytes(bytes), 0x0201, "as it lies in memory");
    assert_eq!(memory.store_number::<u16>(PAGE - 1, 5), Err(DmaFault { address: PAGE - 1 }), "not aligned");
    assert_eq!(memory.load_number::<u16>(PAGE - 1), Err(DmaFault { address: PAGE - 1 }), "not aligned");
    assert_eq!(memory.load_number::<u16>(2 * PAGE), Ok(0));
    assert_eq!(memory.store_number::<u16>(2 * PAGE, 5), Err(DmaFault { address: 2 * PAGE }), "read only");
    assert_eq!(memory.load_number::<u16>(3 * PAGE), Err(DmaFault { address: 3 * PAGE }), "a gap");
}

#[test]
fn numbers_of_four_and_eight_bytes_land_where_they_were_sent() {
    let memory = two_pages_and_one_to_read();
    assert_eq!((memory.store_u32(PAGE - 4, 7), memory.load_u32(PAGE - 4)), (Ok(()), Ok(7)));
    assert_eq!(memory.store_u64(PAGE - 16, 0x0000_0009_0000_0008), Ok(()));
    assert_eq!((memory.load_u32(PAGE - 16), memory.load_u32(PAGE - 12)), (Ok(8), Ok(9)));
    for address in [PAGE + 2, PAGE + 4] {
        assert_eq!(memory.store_u64(address, 1), Err(DmaFault { address }), "not aligned");
    }
    assert_eq!(memory.store_u32(PAGE + 2, 1), Err(DmaFault { address: PAGE + 2 }), "not aligned");
}

#[test]
fn a_non_temporal_read_is_a_read() {
    let memory = two_pages_and_one_to_read();
    let content: Vec<u8> = (0..2 * 4096_u32).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
    memory.write(0, &content).expect("write");
    for (from, to) in [(0, 64), (4096, 8192), (4000, 4200), (0, 8192), (1, 4096)] {
        let mut into = vec![0xee; to - from];
        look_away(&memory);
        assert_eq!(memory.read_non_temporal(from as u64, &mut into), Ok(()), "{from}..{to}");
        memory.store_fence();
        assert!(into == content[from..to], "{from}..{to}");
    }
    let mut into = [0; 64];
    assert_eq!(
        memory.read_non_temporal(3 * PAGE - 32, &mut into),
        Err(DmaFault { address: 3 * PAGE - 32 }),
        "runs into the gap"
    );
    let mut memory = memory;
    map(&mut memory, 2, 0, 3 * PAGE, PAGE, Some(&memory_file(PAGE))).expect("map");
    assert_eq!(
        memory.read_non_temporal(3 * PAGE, &mut into),
        Err(DmaFault { address: 3 * PAGE }),
        "may only be written"
    );
}

#[test]
fn pairs_go_across_ranges_and_nowhere_else() {
    let memory = two_pages_and_one_to_read();
    let pairs: Vec<[u64; 2]> = (0..4).map(|pair: u64| [(2 * pair + 1).to_le(), (2 * pair + 2).to_le()]).collect();
    look_away(&memory);
    assert_eq!(memory.store_pairs(PAGE - 32, &pairs), Ok(()));
    let numbers: Vec<u32> = (0..8).map(|number| memory.load_u32(PAGE - 32 + 8 * number).expect("load")).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8]);
    for address in [8, PAGE - 8] {
        assert_eq!(memory.store_pairs(address, &pairs), Err(DmaFault { address }), "a pair is aligned as a whole");
    }
    assert_eq!(memory.load_u32(8), Ok(0), "nothing was written");
    let last = 2 * PAGE - 16;
    assert_eq!(memory.store_pairs(last, &pairs), Err(DmaFault { address: last }), "the rest may only be read");
    assert_eq!(memory.load_u32(last), Ok(1), "what comes before is written");
}

#[test]
fn memory_is_mapped_as_far_as_ranges_follow_each_other() {
    let mut memory = two_pages_and_one_to_read();
    assert!(memory.is_mapped(0, 2 * PAGE) && memory.is_mapped(PAGE - 1, 2) && memory.is_mapped(2 * PAGE - 1, 1));
    assert!(!memory.is_mapped(0, 2 * PAGE + 1), "a page that may only be read is not");
    assert!(!memory.is_mapped(2 * PAGE, 1) && !memory.is_mapped(3 * PAGE, 1));
    map(&mut memory, 3, 0, 3 * PAGE, PAGE, None).expect("map");
    assert!(!memory.is_mapped(3 * PAGE, 1), "nor is one that is not shared");
    assert!(memory.is_mapped(5 * PAGE, 0), "nothing is everywhere");
}

#[test]
fn the_generation_counts_every_change_and_nothing_else() {
    let mut memory = Memory::default();
    let file = memory_file(PAGE);
    let first = memory.generation();
    map(&mut memory, 3, 0, 0, PAGE, Some(&file)).expect("map");
    memory.write(0, &[1]).expect("write");
    assert_eq!(memory.generation(), first + 1);
    assert!(map(&mut memory, 3, 0, 0, PAGE, Some(&file)).is_err() && memory.unmap(1, PAGE).is_err());
    assert_eq!(memory.generation(), first + 1, "what was refused changed nothing");
    memory.unmap(0, PAGE).expect("unmap");
    assert_eq!(memory.generation(), first + 2);
    memory.clear();
    assert_eq!(memory.generation(), first + 3);
}

#[test]
fn the_last_byte_of_a_file_counts_as_a_page_and_no_more() {
    let mut memory = Memory::default();
    let file = memory_file(PAGE + 1);
    assert_eq!(map(&mut memory, 3, 0, 0, 3 * PAGE, Some(&file)), Err(MapError::Impossible));
    assert_eq!(map(&mut memory, 3, PAGE, 0, 2 * PAGE, Some(&file)), Err(MapError::Impossible));
    assert_eq!(map(&mut memory, 3, 0, 0, 2 * PAGE, Some(&file)), Ok(()));
    assert_eq!(map(&mut memory, 3, PAGE, 2 * PAGE, PAGE, Some(&file)), Ok(()));
    memory.write(2 * PAGE, b"same").expect("write");
    let mut into = [0; 4];
    memory.read(PAGE, &mut into).expect("read");
    assert_eq!(&into, b"same", "both are the second page of the file");
}

/// QEMU with hugetlb=on: whole pages first, then pieces of them when firmware remaps low memory.
#[test]
fn pieces_of_huge_pages_can_be_mapped() {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB;
    let Ok(file) = memfd_create("huge", flags) else { return };
    ftruncate(&file, 4 << 20).expect("length");
    let mut memory = Memory::default();
    if map(&mut memory, 3, 0, 0, 4 << 20, Some(&file)) == Err(MapError::System(12)) {
        // This machine has no huge pages set aside; `Mapping` has a test that needs none.
        return;
    }
    memory.write(0xc_0000, b"whole").expect("write");
    memory.clear();
    map(&mut memory, 3, 0xc_0000, 0xc_0000, 0x2_0000, Some(&file)).expect("a piece");
    let mut into = [0; 5];
    memory.read(0xc_0000, &mut into).expect("read");
    assert_eq!(&into, b"whole");
}

/// Sixty-five thousand small maps, as a guest with an IOMMU makes them, and one more.
#[test]
fn the_number_of_maps_is_bounded() {
    let mut memory = Memory::default();
    for page in 0..65_535 {
        map(&mut memory, 3, 0, page * PAGE, PAGE, None).expect("map");
    }
    assert_eq!(map(&mut memory, 3, 0, 65_535 * PAGE, PAGE, None), Err(MapError::Full));
    assert_eq!(memory.extent(), (65_535, 0));
    memory.unmap(0, PAGE).expect("unmap");
    map(&mut memory, 3, 0, 65_535 * PAGE, PAGE, None).expect("there is room for one again");
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panics here").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that are logged while `run` runs.
fn logged(run: impl FnOnce()) -> Vec<String> {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, run);
    let bytes = log.0.lock().expect("nobody panics here").clone();
    String::from_utf8(bytes).expect("text").lines().map(str::to_owned).collect()
}

#[test]
fn main_memory_that_is_not_shared_is_complained_of_and_nothing_else_is() {
    let mapped =
        |flags: u32, address: u64| logged(|| map(&mut Memory::default(), flags, 0, address, PAGE, None).expect("map"));
    let said = mapped(3, 0);
    assert_eq!(said.len(), 1);
    assert!(said[0].contains("share=on") && said[0].contains("bytes=4096") && said[0].contains("times=1"), "{said:?}");
    assert_eq!(mapped(2, 0).len(), 1, "may be written");
    assert!(mapped(1, 0).is_empty(), "firmware flash may not");
    assert!(mapped(3, PAGE).is_empty(), "a frame buffer lies elsewhere");
    let shared = logged(|| map(&mut Memory::default(), 3, 0, 0, PAGE, Some(&memory_file(PAGE))).expect("map"));
    assert!(shared.is_empty());
}

#[test]
fn an_access_to_memory_that_is_not_shared_or_vanished_is_said_with_its_address() {
    let mut memory = Memory::default();
    let file = memory_file(PAGE);
    map(&mut memory, 3, 0, PAGE, PAGE, None).expect("map");
    map(&mut memory, 3, 0, 2 * PAGE, PAGE, Some(&file)).expect("map");
    let said = logged(|| assert!(memory.read(PAGE + 8, &mut [0]).is_err()));
    assert!(said.len() == 1 && said[0].contains("share=on") && said[0].contains("0x1008"), "{said:?}");
    assert!(logged(|| assert!(memory.read(0, &mut [0]).is_err())).is_empty(), "nobody said that there is something");
    ftruncate(&file, 0).expect("cut");
    let said = logged(|| assert_eq!(memory.load_u32(2 * PAGE + 4), Err(DmaFault { address: 2 * PAGE + 4 })));
    assert!(said.len() == 1 && said[0].contains("vanished") && said[0].contains("0x2004"), "{said:?}");
}

const PAGES: u64 = 24;

#[derive(Clone, Debug)]
enum Step {
    Map { page: u64, count: u64, flags: u32 },
    Unmap { page: u64, count: u64 },
    Write { address: u64, length: usize },
    Read { address: u64, length: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let range = || (0..PAGES, 1..6_u64);
    let bytes = || (0..PAGES * PAGE, 1..3 * 4096_usize);
    prop_oneof![
        (range(), 1..4_u32).prop_map(|((page, count), flags)| Step::Map { page, count, flags }),
        range().prop_map(|(page, count)| Step::Unmap { page, count }),
        bytes().prop_map(|(address, length)| Step::Write { address, length }),
        bytes().prop_map(|(address, length)| Step::Read { address, length }),
    ]
}

/// What memory ought to be: for each page, the flags and the first page of the range that covers it.
#[derive(Default)]
struct Model {
    pages: std::collections::BTreeMap<u64, (u32, u64, u64)>,
    bytes: std::collections::BTreeMap<u64, u8>,
}

impl Model {
    fn allows(&self, address: u64, length: usize, flag: u32) -> bool {
        let last = (address + length as u64 - 1) / PAGE;
        (address / PAGE..=last).all(|page| self.pages.get(&page).is_some_and(|(flags, ..)| flags & flag != 0))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The table against a map from page to permission; the file behind it is one, so that bytes survive unmapping.
    #[test]
    fn any_sequence_of_maps_and_accesses_matches_the_model(steps in proptest::collection::vec(step(), 1..60)) {
        let file = memory_file((PAGES + 8) * PAGE);
        let mut memory = Memory::default();
        let mut model = Model::default();
        for (number, step) in (1_u8..).zip(steps) {
            match step {
                Step::Map { page, count, flags } => {
                    let free = (page..page + count).all(|page| !model.pages.contains_key(&page));
                    let outcome = map(&mut memory, flags, page * PAGE, page * PAGE, count * PAGE, Some(&file));
                    prop_assert_eq!(outcome, if free { Ok(()) } else { Err(MapError::Overlap) });
                    if free {
                        model.pages.extend((page..page + count).map(|at| (at, (flags, page, count))));
                    }
                }
                Step::Unmap { page, count } => {
                    let inside = page..page + count;
                    let whole = inside.clone().filter_map(|at| model.pages.get(&at))
                        .all(|(_, first, count)| inside.contains(first) && first + count <= inside.end);
                    let outcome = memory.unmap(page * PAGE, count * PAGE);
                    prop_assert_eq!(outcome, if whole { Ok(()) } else { Err(MapError::Impossible) });
                    if whole {
                        model.pages.retain(|at, _| !inside.contains(at));
                    }
                }
                Step::Write { address, length } => {
                    let allowed = model.allows(address, length, 2);
                    // A fault may have moved some bytes, so only write what is allowed.
                    if allowed {
                        prop_assert_eq!(memory.write(address, &vec![number; length]), Ok(()));
                        model.bytes.extend((address..address + length as u64).map(|at| (at, number)));
                    } else if !model.allows(address, 1, 2) {
                        prop_assert!(memory.write(address, &vec![number; length]).is_err());
                    }
                }
                Step::Read { address, length } => {
                    let mut into = vec![0; length];
                    let outcome = memory.read(address, &mut into);
                    prop_assert_eq!(outcome.is_ok(), model.allows(address, length, 1));
                    if outcome.is_ok() {
                        let expected: Vec<u8> = (address..address + length as u64)
                            .map(|at| model.bytes.get(&at).copied().unwrap_or(0)).collect();
                        prop_assert!(into == expected, "bytes differ");
                    }
                }
            }
        }
    }
}
