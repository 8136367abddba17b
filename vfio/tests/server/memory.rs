//! Guest memory through DMA_MAP and DMA_UNMAP, and what the device sees of it.

use std::os::fd::OwnedFd;

use controller::dma::{DmaFault, GuestMemory};
use guest_memory::Memory;
use vfio::message::flags::{DmaMapFlags, DmaUnmapFlags};
use vfio::message::{DmaMap, DmaUnmap, Errno};
use vfio::{Doorbells, dma};

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
    let flags = DmaMapFlags::from_bits_retain(flags);
    dma::map(memory, &DmaMap { flags, offset, address, length }, file)
}

pub fn unmap(memory: &mut Memory, flags: u32, address: u64, length: u64) -> Result<(), Errno> {
    let flags = DmaUnmapFlags::from_bits_retain(flags);
    dma::unmap(memory, &DmaUnmap { argument_bytes: 24, flags, address, length })
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
