//! Guest memory as crates see it that stand on `vm-memory`: with permissions, across ranges, and gone when it is gone.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use guest_memory::{MapRequest, Memory, PAGE_BYTES as PAGE, Permissions, watch};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vm_memory::{Bytes, GuestAddress, GuestMemory};

fn map(memory: &mut Memory, address: u64, access: Permissions) -> OwnedFd {
    let file = memfd_create("test", MemfdFlags::CLOEXEC).expect("memfd");
    ftruncate(&file, PAGE).expect("truncate");
    let request = MapRequest { address, length: PAGE, access, offset: 0 };
    memory.map(&request, Some(file.try_clone().expect("a copy"))).expect("mapped");
    file
}

#[test]
fn ranges_that_follow_each_other_are_one_and_permissions_count() {
    let mut memory = Memory::default();
    for (page, access) in [Permissions::ReadWrite, Permissions::ReadWrite, Permissions::Read].into_iter().enumerate() {
        map(&mut memory, page as u64 * PAGE, access);
    }
    memory.write_slice(b"across", GuestAddress(PAGE - 3)).expect("both may be written");
    let mut into = [0; 6];
    memory.read_slice(&mut into, GuestAddress(PAGE - 3)).expect("and read");
    assert_eq!(&into, b"across");
    assert!(memory.write_slice(b"across", GuestAddress(2 * PAGE - 3)).is_err(), "the third may not be written");
    assert!(memory.read_slice(&mut into, GuestAddress(2 * PAGE - 3)).is_ok());
    assert!(memory.read_slice(&mut into, GuestAddress(3 * PAGE - 3)).is_err(), "nothing follows");
    assert!(memory.store(7_u32, GuestAddress(2 * PAGE), Ordering::Relaxed).is_err());
    assert!(memory.load::<u32>(GuestAddress(2 * PAGE), Ordering::Relaxed).is_ok());
    assert!(memory.check_range(GuestAddress(0), 3 * 4096, Permissions::Read));
    assert!(!memory.check_range(GuestAddress(0), 3 * 4096, Permissions::ReadWrite));
}

#[test]
fn the_last_address_is_an_end() {
    let mut memory = Memory::default();
    map(&mut memory, 0, Permissions::ReadWrite);
    map(&mut memory, 0_u64.wrapping_sub(PAGE), Permissions::ReadWrite);
    let last = GuestAddress(u64::MAX - 3);
    assert!(memory.write_slice(&[1; 4], last).is_ok());
    assert!(memory.write_slice(&[1; 5], last).is_err(), "memory does not go round");
}

#[test]
fn memory_that_vanishes_is_told_once_by_whoever_watches_and_is_not_there_any_more() {
    let mut memory = Memory::default();
    let short = map(&mut memory, 0, Permissions::ReadWrite);
    map(&mut memory, PAGE, Permissions::ReadWrite);
    let read = |at| watch(|| memory.load::<u32>(GuestAddress(at), Ordering::Relaxed).is_ok());
    assert_eq!((read(0), read(PAGE)), (Ok(true), Ok(true)));
    ftruncate(&short, 0).expect("cut");
    assert!(read(0).is_err(), "it vanished under this access");
    assert_eq!((read(0), read(PAGE)), (Ok(false), Ok(true)), "and is a gap from then on");
}

#[test]
fn a_successor_is_empty_and_another_generation() {
    let mut memory = Memory::default();
    map(&mut memory, 0, Permissions::ReadWrite);
    let mut next = memory.successor();
    assert_eq!((next.extent(), memory.extent()), ((0, 0), (1, PAGE)));
    map(&mut next, 0, Permissions::Read);
    let generation = |memory: &Memory| controller::dma::GuestMemory::generation(memory);
    assert!(generation(&next) > generation(&memory));
}
