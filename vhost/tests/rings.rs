//! A ring by itself: what `virtio-queue` leaves to its callers, and memory that goes away underneath it.

use std::os::fd::OwnedFd;

use controller::dma::GuestMemory as _;
use guest_memory::{MapRequest, Memory, PAGE_BYTES, Permissions};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vhost::ring::{Places, RING_SIZE_MAX, Ring, RingError};

const SIZE: u16 = 8;
const PLACES: Places = Places { descriptors: PAGE_BYTES, available: PAGE_BYTES + 0x400, used: PAGE_BYTES + 0x800 };
const NO_INTERRUPT: u16 = 1;

/// A ring that runs, the memory that it lies in, and that memory's file.
fn running(event_index: bool) -> (Ring, Memory, OwnedFd) {
    let file = memfd_create("ring", MemfdFlags::CLOEXEC).expect("memfd");
    ftruncate(&file, PAGE_BYTES).expect("truncate");
    let mut memory = Memory::default();
    let request = MapRequest { address: PAGE_BYTES, length: PAGE_BYTES, access: Permissions::ReadWrite, offset: 0 };
    memory.map(&request, Some(file.try_clone().expect("a copy"))).expect("mapped");
    let mut ring = Ring::default();
    assert!(ring.set_size(RING_SIZE_MAX + 1).is_err() && ring.set_size(6).is_err() && ring.set_size(0).is_err());
    ring.set_size(SIZE).expect("a power of two");
    assert!(!ring.is_set_up());
    for wrong in [PLACES.available + 1, u64::MAX] {
        assert!(ring.place(Places { available: wrong, ..PLACES }).is_err());
    }
    ring.place(PLACES).expect("aligned");
    assert!(ring.is_set_up() && !ring.runs());
    ring.prepare(&memory, event_index).expect("it is there");
    ring.set_running(true);
    (ring, memory, file)
}

fn number(memory: &Memory, address: u64) -> u16 {
    let mut bytes = [0; 2];
    memory.read(address, &mut bytes).expect("mapped");
    u16::from_le_bytes(bytes)
}

/// Puts a head into the available ring as its `index`th.
fn offer(memory: &Memory, index: u16, head: u16) {
    let place = PLACES.available + 4 + 2 * u64::from(index % SIZE);
    memory.write(place, &head.to_le_bytes()).expect("mapped");
    memory.write(PLACES.available + 2, &(index + 1).to_le_bytes()).expect("mapped");
}

#[test]
fn heads_go_out_and_come_back() {
    let (mut ring, memory, _file) = running(false);
    assert!(matches!(ring.take(&memory), Ok(None)));
    for index in 0..3 * SIZE {
        offer(&memory, index, index % SIZE);
        assert_eq!(ring.take(&memory).expect("sound"), Some(index % SIZE));
        assert_eq!(ring.next_available(), index + 1);
        ring.put(&memory, index % SIZE, 7).expect("there");
        assert_eq!((ring.used(), number(&memory, PLACES.used + 2)), (index + 1, index + 1));
    }
    assert_eq!(number(&memory, PLACES.used + 4), 0, "the first entry is that of head 0 again");
    assert_eq!(number(&memory, PLACES.used + 8), 7);
}

#[test]
fn a_head_outside_of_the_table_is_not_taken() {
    let (mut ring, memory, _file) = running(false);
    offer(&memory, 0, SIZE);
    assert!(matches!(ring.take(&memory), Err(RingError::Head(SIZE))));
    assert_eq!(ring.next_available(), 0);
    offer(&memory, SIZE, 0);
    assert!(matches!(ring.take(&memory), Err(RingError::Queue(_))), "more than the ring holds");
}

#[test]
fn a_driver_that_wants_no_interrupt_gets_none_and_one_that_waits_for_an_entry_gets_that() {
    let (mut ring, memory, _file) = running(false);
    ring.put(&memory, 0, 1).expect("there");
    assert!(ring.wants_interrupt(&memory).expect("there"));
    memory.write(PLACES.available, &NO_INTERRUPT.to_le_bytes()).expect("mapped");
    ring.put(&memory, 0, 1).expect("there");
    assert!(!ring.wants_interrupt(&memory).expect("there"));

    let (mut ring, memory, _file) = running(true);
    memory.write(PLACES.available, &NO_INTERRUPT.to_le_bytes()).expect("mapped");
    let wish = PLACES.available + 4 + 2 * u64::from(SIZE);
    memory.write(wish, &2_u16.to_le_bytes()).expect("mapped");
    let told: Vec<bool> = (0..4)
        .map(|_| {
            ring.put(&memory, 0, 1).expect("there");
            ring.wants_interrupt(&memory).expect("there")
        })
        .collect();
    assert_eq!(told, [false, false, true, false], "for the third entry, whatever the flag says");
}

#[test]
fn whoever_listens_learns_of_what_is_there_and_is_quiet_once() {
    let (mut ring, memory, _file) = running(false);
    ring.disable_notifications(&memory).expect("there");
    assert_eq!(number(&memory, PLACES.used), 1);
    assert!(!ring.enable_notifications(&memory).expect("there"));
    assert_eq!(number(&memory, PLACES.used), 0);
    offer(&memory, 0, 0);
    assert!(ring.enable_notifications(&memory).expect("there"), "something came meanwhile");
}

/// `virtio-queue` reads zeroes then, and would go on with them.
#[test]
fn a_ring_whose_memory_vanishes_is_broken_whatever_it_was_doing() {
    for act in 0..5 {
        let (mut ring, memory, file) = running(act % 2 == 0);
        offer(&memory, 0, 0);
        ftruncate(&file, 0).expect("cut");
        let outcome = match act {
            0 => ring.take(&memory).map(drop),
            1 => ring.put(&memory, 0, 1),
            2 => ring.enable_notifications(&memory).map(drop),
            3 => ring.disable_notifications(&memory),
            _ => ring.wants_interrupt(&memory).map(drop),
        };
        assert!(matches!(outcome, Err(RingError::Gone)), "{act}: {outcome:?}");
        assert!(ring.take(&memory).is_err(), "and stays so");
    }
}
