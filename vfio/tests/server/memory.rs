//! Guest memory through DMA_MAP and DMA_UNMAP, and what the device sees of it.

use std::os::fd::OwnedFd;

use controller::dma::{DmaFault, GuestMemory};
use proptest::prelude::*;
use vfio::Doorbells;
use vfio::Memory;
use vfio::message::{DmaMap, DmaUnmap, Errno};

use crate::common::{Rig, memory_file};

pub const PAGE: u64 = 4096;

pub fn map(
    memory: &mut Memory,
    flags: u32,
    offset: u64,
    address: u64,
    length: u64,
    file: Option<&OwnedFd>,
) -> Result<(), Errno> {
    let file = file.map(|file| file.try_clone().expect("a descriptor"));
    memory.map(&DmaMap { flags, offset, address, length }, file)
}

pub fn unmap(memory: &mut Memory, flags: u32, address: u64, length: u64) -> Result<(), Errno> {
    memory.unmap(&DmaUnmap { argument_bytes: 24, flags, address, length })
}

/// E40.
#[test]
fn maps_that_cannot_be_are_refused_and_change_nothing() {
    let mut memory = Memory::default();
    let file = memory_file(16 * PAGE);
    map(&mut memory, 3, 0, 8 * PAGE, 4 * PAGE, Some(&file)).expect("map");
    let generation = memory.generation();
    let refused = [
        (3, 0, 0, 0, Errno::INVAL, "empty"),
        (3, 0, 1, PAGE, Errno::INVAL, "address between pages"),
        (3, 0, 0, PAGE + 1, Errno::INVAL, "length between pages"),
        (3, 512, 0, PAGE, Errno::INVAL, "offset between pages"),
        (3, 0, 0u64.wrapping_sub(PAGE), 2 * PAGE, Errno::INVAL, "wraps"),
        (3, 0u64.wrapping_sub(PAGE), 0, PAGE, Errno::INVAL, "the file's offset wraps"),
        (3, 0u64.wrapping_sub(PAGE), 0, 2 * PAGE, Errno::INVAL, "the file's offset wraps"),
        (3, 0, 1 << 49, 1 << 49, Errno::INVAL, "absurdly long"),
        (3, 0, 0, 0u64.wrapping_sub(PAGE), Errno::INVAL, "all that there is"),
        (0, 0, 0, PAGE, Errno::INVAL, "for no use"),
        (7, 0, 0, PAGE, Errno::INVAL, "for unknown uses"),
        (3, 0, 32 * PAGE, 17 * PAGE, Errno::INVAL, "longer than its file"),
        (3, 16 * PAGE, 0, PAGE, Errno::INVAL, "behind its file"),
        (3, 0, 8 * PAGE, 4 * PAGE, Errno::EXIST, "again"),
        (3, 0, 11 * PAGE, 2 * PAGE, Errno::EXIST, "overlaps the end"),
        (3, 0, 7 * PAGE, 2 * PAGE, Errno::EXIST, "overlaps the beginning"),
        (3, 0, 9 * PAGE, PAGE, Errno::EXIST, "inside"),
        (3, 0, 7 * PAGE, 8 * PAGE, Errno::EXIST, "around"),
    ];
    for (flags, offset, address, length, errno, why) in refused {
        assert_eq!(map(&mut memory, flags, offset, address, length, Some(&file)), Err(errno), "{why}");
    }
    assert_eq!((memory.generation(), memory.extent()), (generation, (1, 4 * PAGE)));
    map(&mut memory, 3, 0, 7 * PAGE, PAGE, Some(&file)).expect("just before");
    map(&mut memory, 3, 0, 12 * PAGE, PAGE, Some(&file)).expect("just after");
    map(&mut memory, 3, 0, 0u64.wrapping_sub(PAGE), PAGE, Some(&file)).expect("the last page that there is");
    assert_ne!(memory.generation(), generation);
    assert!(memory.is_mapped(u64::MAX, 1) && !memory.is_mapped(u64::MAX, 2));
    assert_eq!(memory.write(u64::MAX - 1, &[1; 4]), Err(DmaFault { address: u64::MAX - 1 }), "wraps");
}

#[test]
fn unmapping_takes_whole_ranges_and_nothing_less() {
    let mut memory = Memory::default();
    let file = memory_file(16 * PAGE);
    for page in [2, 4, 5, 9] {
        map(&mut memory, 3, page * PAGE, page * PAGE, PAGE, Some(&file)).expect("map");
    }
    map(&mut memory, 3, 0, 20 * PAGE, 4 * PAGE, Some(&file)).expect("map");
    assert_eq!(unmap(&mut memory, 0, 21 * PAGE, PAGE), Err(Errno::INVAL), "in the middle");
    assert_eq!(unmap(&mut memory, 0, 8 * PAGE, 13 * PAGE), Err(Errno::INVAL), "one whole and one cut");
    assert_eq!(unmap(&mut memory, 1, 2 * PAGE, PAGE), Err(Errno::INVAL), "dirty pages are not tracked (E32)");
    assert_eq!(unmap(&mut memory, 4, 2 * PAGE, PAGE), Err(Errno::INVAL), "unknown flag");
    assert_eq!(unmap(&mut memory, 2, 0, PAGE), Err(Errno::INVAL), "all means all");
    assert_eq!(unmap(&mut memory, 0, 2 * PAGE, 0), Err(Errno::INVAL), "empty");
    assert_eq!(unmap(&mut memory, 0, 0u64.wrapping_sub(PAGE), 2 * PAGE), Err(Errno::INVAL), "wraps");
    assert_eq!(memory.extent(), (5, 8 * PAGE));
    unmap(&mut memory, 0, 3 * PAGE, 4 * PAGE).expect("two of them");
    unmap(&mut memory, 0, 3 * PAGE, 4 * PAGE).expect("none is no error");
    assert_eq!(memory.extent(), (3, 6 * PAGE));
    assert!(memory.is_mapped(2 * PAGE, PAGE) && !memory.is_mapped(4 * PAGE, 1) && memory.is_mapped(9 * PAGE, PAGE));
    unmap(&mut memory, 2, 0, 0).expect("all");
    assert_eq!(memory.extent(), (0, 0));
}

#[test]
fn permissions_alignment_and_gaps_are_faults() {
    let mut memory = Memory::default();
    let file = memory_file(16 * PAGE);
    map(&mut memory, 1, 0, 0, PAGE, Some(&file)).expect("read only");
    map(&mut memory, 2, PAGE, PAGE, PAGE, Some(&file)).expect("write only");
    map(&mut memory, 3, 2 * PAGE, 2 * PAGE, PAGE, Some(&file)).expect("both");
    map(&mut memory, 3, 0, 4 * PAGE, PAGE, None).expect("not shared");
    let fault = |address| Err(DmaFault { address });
    assert_eq!(memory.read(0, &mut [0; 16]), Ok(()));
    assert_eq!(memory.write(0, &[0; 16]), fault(0));
    assert_eq!(memory.read(PAGE, &mut [0; 16]), fault(PAGE));
    assert_eq!(memory.write(PAGE, &[0; 16]), Ok(()));
    assert_eq!(memory.store_u32(2 * PAGE + 4, 5), Ok(()));
    assert_eq!(memory.load_u32(2 * PAGE + 4), Ok(5));
    assert_eq!(memory.load_u32(2 * PAGE + 2), Err(DmaFault { address: 2 * PAGE + 2 }), "not aligned");
    assert_eq!(memory.store_u64(2 * PAGE + 4, 5), fault(2 * PAGE + 4));
    assert_eq!(memory.store_u32(4, 5), fault(4));
    assert_eq!(memory.write(3 * PAGE - 8, &[0; 16]), fault(3 * PAGE - 8), "into a gap");
    assert_eq!(memory.write(4 * PAGE, &[0; 16]), fault(4 * PAGE), "only the client can reach it");
    assert!(memory.is_mapped(2 * PAGE, PAGE) && !memory.is_mapped(PAGE, 2 * PAGE) && !memory.is_mapped(4 * PAGE, 1));
    assert!(memory.is_mapped(77, 0));
    assert_eq!(memory.read(u64::MAX, &mut []), Ok(()), "nothing is everywhere");
}

/// E40: files that are shorter than the client says, at once or later.
#[test]
fn a_file_that_is_cut_short_faults_and_the_rest_works() {
    let rig = Rig::new(Doorbells::Trapped);
    let mut client = rig.ready_client();
    let (short, whole) = (memory_file(16 * PAGE), memory_file(16 * PAGE));
    client.map(3, 0, 0, 16 * PAGE, Some(&short)).expect("map");
    client.map(3, 0, 16 * PAGE, 16 * PAGE, Some(&whole)).expect("map");
    rustix::fs::ftruncate(&short, 4 * PAGE).expect("cut");
    let outcome = rig.with(|server, _| server.memory().write(15 * PAGE, &[1; 8192]));
    assert!(outcome.is_err());
    assert_eq!(rig.with(|server, _| server.memory().write(16 * PAGE, &[1; 8192])), Ok(()));
    assert_eq!(client.read(7, 0, 2), Ok(vec![0xf4, 0x1a]));
    client.unmap(0, 0, 16 * PAGE).expect("unmap");
    assert_eq!(client.map(3, 0, 0, 16 * PAGE, Some(&short)), Err(Errno::INVAL));
    client.map(3, 0, 0, 4 * PAGE, Some(&short)).expect("what is left of it");
    assert_eq!(rig.with(|server, _| server.memory().write(0, &[1; 8192])), Ok(()));
}

/// QEMU with hugetlb=on: whole pages first, then pieces of them when firmware remaps low memory.
#[test]
fn pieces_of_huge_pages_can_be_mapped() {
    let flags = rustix::fs::MemfdFlags::CLOEXEC | rustix::fs::MemfdFlags::HUGETLB | rustix::fs::MemfdFlags::HUGE_2MB;
    let Ok(file) = rustix::fs::memfd_create("huge", flags) else { return };
    rustix::fs::ftruncate(&file, 4 << 20).expect("length");
    let mut memory = Memory::default();
    if map(&mut memory, 3, 0, 0, 4 << 20, Some(&file)) == Err(Errno::NOMEM) {
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

#[test]
fn what_is_no_memory_is_refused() {
    let rig = Rig::new(Doorbells::Trapped);
    let mut client = rig.ready_client();
    let event = crate::common::event();
    assert_eq!(client.map(3, 0, 0, PAGE, Some(&event)), Err(Errno::INVAL));
    let (reader, _writer) = std::io::pipe().expect("pipe");
    assert_eq!(client.map(3, 0, 0, PAGE, Some(&reader.into())), Err(Errno::INVAL));
    let null = std::fs::File::open("/dev/null").expect("open").into();
    assert!(client.map(3, 0, 0, PAGE, Some(&null)).is_err());
    let memory = memory_file(PAGE);
    let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&memory));
    let read_only: OwnedFd = std::fs::File::open(again).expect("open").into();
    assert_eq!(client.map(3, 0, 0, PAGE, Some(&read_only)), Err(Errno(13)), "a file that may not be written");
    assert_eq!(rig.with(|server, _| server.memory().extent()), (0, 0));
}

/// Sixty-five thousand small maps, as a guest with an IOMMU makes them, and one more.
#[test]
fn the_number_of_maps_is_bounded() {
    let mut memory = Memory::default();
    for page in 0..65_535 {
        map(&mut memory, 3, 0, page * PAGE, PAGE, None).expect("map");
    }
    assert_eq!(map(&mut memory, 3, 0, 65_535 * PAGE, PAGE, None), Err(Errno::NOSPC));
    assert_eq!(memory.extent(), (65_535, 0));
    unmap(&mut memory, 0, 0, PAGE).expect("unmap");
    map(&mut memory, 3, 0, 65_535 * PAGE, PAGE, None).expect("there is room for one again");
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
                    prop_assert_eq!(outcome, if free { Ok(()) } else { Err(Errno::EXIST) });
                    if free {
                        model.pages.extend((page..page + count).map(|at| (at, (flags, page, count))));
                    }
                }
                Step::Unmap { page, count } => {
                    let inside = page..page + count;
                    let whole = inside.clone().filter_map(|at| model.pages.get(&at))
                        .all(|(_, first, count)| inside.contains(first) && first + count <= inside.end);
                    let outcome = unmap(&mut memory, 0, page * PAGE, count * PAGE);
                    prop_assert_eq!(outcome, if whole { Ok(()) } else { Err(Errno::INVAL) });
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
