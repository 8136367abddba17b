//! Drivers and clients that mean no good: whatever they do ends in an answer, in a ring that stands still, or in the end of the
//! client; and the next client finds a device that works.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rust_vmm_vhost::vhost_user::message::VhostUserProtocolFeatures;
use rust_vmm_vhost::vhost_user::{Frontend, VhostUserFrontend};
use rust_vmm_vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use spec_tests::random::{Random, cases, seed};
use spec_tests::rig::Build;
use vmm_sys_util::eventfd::EventFd;

use crate::device::Device;
use crate::driver::{BUFFERS, Descriptor, Driver, GUEST, INDIRECT, MEMORY_BYTES, NEXT, USER, WRITE, Wishes, wait};

const IN: u32 = 0;
const OK: u8 = 0;
const IO_ERROR: u8 = 1;
/// A place for a header, one for data, one for a status byte, one for a table.
const HEADER: u64 = BUFFERS;
const DATA: u64 = BUFFERS + 0x1000;
const STATUS: u64 = BUFFERS + 0x10_0000;
const TABLE: u64 = BUFFERS + 0x20_0000;
/// Where nothing is, and where only the host inside the device may point.
const NOWHERE: u64 = 0x4000_0000;
const WINDOW: u64 = 1 << 62;

fn works(path: &Path) {
    let mut driver = Driver::connect(path, Wishes::default());
    assert_eq!(driver.request(1, 0, &[9; 512], 0).0, OK);
    assert_eq!(driver.request(IN, 0, &[], 512), (OK, vec![9; 512], 513));
}

fn header(kind: u32, sector: u64) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend([0; 4]);
    bytes.extend(sector.to_le_bytes());
    bytes
}

/// Offers a chain of these descriptors; whether it was answered, and with what. Otherwise the ring is broken.
fn offer(driver: &mut Driver, chain: &[Descriptor]) -> Option<u8> {
    let guest = &mut driver.guest;
    guest.write(STATUS, &[0xee]);
    for (index, descriptor) in (0..).zip(chain) {
        guest.describe(0, index, *descriptor);
    }
    guest.offer(0, 0);
    guest.kick(0);
    loop {
        if guest.take_used(0).is_some() {
            return Some(guest.read(STATUS, 1)[0]);
        }
        if guest.rings[0].error.read().is_ok() {
            return None;
        }
        wait(&guest.rings[0].call);
    }
}

#[test]
fn requests_that_cannot_be_are_answered_with_an_error() {
    let device = Device::start(Build::default());
    let mut driver = Driver::connect(&device.path(), Wishes::default());
    driver.guest.write(HEADER, &header(IN, 0));
    let head = Descriptor(HEADER, 16, NEXT, 1);
    let status = Descriptor(STATUS, 1, WRITE, 0);
    let data = |address, bytes, flags| [head, Descriptor(address, bytes, flags, 2), status];
    let chains: Vec<(&str, Vec<Descriptor>)> = vec![
        ("no bytes", data(DATA, 0, NEXT | WRITE).into()),
        ("four gigabytes", data(DATA, u32::MAX, NEXT | WRITE).into()),
        ("whole blocks of four gigabytes", data(DATA, u32::MAX - 511, NEXT | WRITE).into()),
        ("nowhere", data(NOWHERE, 512, NEXT | WRITE).into()),
        ("across the end", data(GUEST + MEMORY_BYTES - 256, 512, NEXT | WRITE).into()),
        ("past the last address", data(u64::MAX - 10, 512, NEXT | WRITE).into()),
        ("in the window of the host inside", data(WINDOW, 4096, NEXT | WRITE).into()),
        ("reaching into that window", data(WINDOW - 256, 512, NEXT | WRITE).into()),
        ("the wrong way", data(DATA, 512, NEXT).into()),
        ("half a header", vec![Descriptor(HEADER, 8, NEXT, 1), Descriptor(STATUS, 1, WRITE, 0)]),
        ("a header nowhere", vec![Descriptor(NOWHERE, 16, NEXT, 1), Descriptor(STATUS, 1, WRITE, 0)]),
        ("no header", vec![Descriptor(STATUS, 1, WRITE, 0)]),
        ("the other way round", vec![Descriptor(DATA, 512, NEXT | WRITE, 1), Descriptor(HEADER, 16, NEXT, 2), status]),
    ];
    for (what, chain) in chains {
        let answered = offer(&mut driver, &chain);
        assert_eq!(answered, Some(IO_ERROR), "{what}");
    }
    // Too many pieces for one request, and exactly as many as it may have.
    for (pieces, expected) in [(257_u16, IO_ERROR), (256, OK)] {
        let guest = &driver.guest;
        guest.write(TABLE, &head.bytes());
        for index in 1..=pieces {
            // Every other place, so that no two are neighbours.
            let piece = Descriptor(DATA + 4 * u64::from(index), 2, NEXT | WRITE, index + 1);
            guest.write(TABLE + 16 * u64::from(index), &piece.bytes());
        }
        guest.write(TABLE + 16 * u64::from(pieces + 1), &status.bytes());
        let table = Descriptor(TABLE, 16 * u32::from(pieces + 2), INDIRECT, 0);
        assert_eq!(offer(&mut driver, &[table]), Some(expected), "{pieces} pieces");
    }
    drop(driver);
    works(&device.path());
}

#[test]
fn chains_without_an_end_or_a_status_break_the_ring_and_nothing_else() {
    let device = Device::start(Build::default());
    let long: Vec<Descriptor> = (0..1025).map(|index| Descriptor(DATA, 1, NEXT, index + 1)).collect();
    let table = |bytes| vec![Descriptor(TABLE, bytes, INDIRECT, 0)];
    let chains: Vec<(&str, Vec<Descriptor>)> = vec![
        ("a circle", vec![Descriptor(HEADER, 16, NEXT, 1), Descriptor(DATA, 512, NEXT | WRITE, 0)]),
        ("itself", vec![Descriptor(HEADER, 16, NEXT, 0)]),
        ("out of the table", vec![Descriptor(HEADER, 16, NEXT, 128)]),
        ("far out of the table", vec![Descriptor(HEADER, 16, NEXT, u16::MAX)]),
        ("no status", vec![Descriptor(HEADER, 16, 0, 0)]),
        ("an empty status", vec![Descriptor(HEADER, 16, NEXT, 1), Descriptor(STATUS, 0, WRITE, 0)]),
        ("a status nowhere", vec![Descriptor(HEADER, 16, NEXT, 1), Descriptor(NOWHERE, 1, WRITE, 0)]),
        ("a status in the window", vec![Descriptor(HEADER, 16, NEXT, 1), Descriptor(WINDOW, 1, WRITE, 0)]),
        ("an empty table", table(0)),
        ("a table of half a descriptor", table(8)),
        ("a table of four gigabytes", table(!15)),
        ("a table that goes on", vec![Descriptor(TABLE, 16, INDIRECT | NEXT, 1)]),
        ("a table nowhere", vec![Descriptor(NOWHERE, 32, INDIRECT, 0)]),
        ("a table in a table", table(32)),
    ];
    for (what, chain) in chains {
        let mut driver = Driver::connect(&device.path(), Wishes::default());
        driver.guest.write(HEADER, &header(IN, 0));
        driver.guest.write(TABLE, &Descriptor(TABLE, 16, INDIRECT, 0).bytes());
        assert_eq!(offer(&mut driver, &chain), None, "{what}");
        // It stands still, and what is asked of the device is still answered.
        driver.begin(0, 3, IN, 0, &[], 512);
        driver.guest.kick(0);
        assert!(driver.frontend.get_features().is_ok());
        assert_eq!(driver.guest.take_used(0), None, "{what}");
    }
    let mut driver = Driver::connect(&device.path(), Wishes { size: 1024, ..Wishes::default() });
    for (index, descriptor) in (0..1025_u64).zip(&long) {
        driver.guest.write(TABLE + 16 * index, &descriptor.bytes());
    }
    assert_eq!(offer(&mut driver, &[Descriptor(TABLE, 1025 * 16, INDIRECT, 0)]), None, "an endless table");
    drop(driver);
    works(&device.path());
}

#[test]
fn rings_that_jump_are_broken() {
    let device = Device::start(Build::default());
    for jump in [129, 1000, u16::MAX] {
        let mut driver = Driver::connect(&device.path(), Wishes::default());
        driver.guest.set_available(0, jump);
        driver.guest.kick(0);
        assert!(wait(&driver.guest.rings[0].error), "an index of {jump}");
    }
    let mut driver = Driver::connect(&device.path(), Wishes::default());
    driver.guest.offer(0, 128);
    driver.guest.kick(0);
    assert!(wait(&driver.guest.rings[0].error), "a head outside of the table");
    drop(driver);
    works(&device.path());
}

#[test]
fn memory_that_was_just_taken_away_is_an_error_or_a_broken_ring() {
    let device = Device::start(Build::default());
    let mut driver = Driver::connect(&device.path(), Wishes::default());
    let extra = rustix::fs::memfd_create("extra", rustix::fs::MemfdFlags::CLOEXEC).expect("memory");
    rustix::fs::ftruncate(&extra, 0x10_0000).expect("room");
    let region = VhostUserMemoryRegionInfo {
        guest_phys_addr: NOWHERE,
        memory_size: 0x10_0000,
        userspace_addr: USER + MEMORY_BYTES,
        mmap_offset: 0,
        mmap_handle: extra.as_raw_fd(),
    };
    driver.guest.write(HEADER, &header(IN, 0));
    let chain =
        [Descriptor(HEADER, 16, NEXT, 1), Descriptor(NOWHERE, 512, NEXT | WRITE, 2), Descriptor(STATUS, 1, WRITE, 0)];
    driver.frontend.add_mem_region(&region).expect("memory");
    assert_eq!(offer(&mut driver, &chain), Some(OK));
    driver.frontend.remove_mem_region(&region).expect("gone");
    assert_eq!(offer(&mut driver, &chain), Some(IO_ERROR));
    // The file cut short under the device.
    driver.frontend.add_mem_region(&region).expect("memory");
    rustix::fs::ftruncate(&extra, 0).expect("cut");
    assert_eq!(offer(&mut driver, &chain), Some(IO_ERROR));
    // And with the rings themselves in it.
    rustix::fs::ftruncate(&driver.guest.memory, 0).expect("cut");
    driver.guest.kick(0);
    assert!(driver.frontend.get_features().is_ok(), "the device lives");
    drop(driver);
    works(&device.path());
}

#[test]
fn messages_out_of_order_end_the_client_or_are_refused() {
    let device = Device::start(Build::default());
    let connect = || Frontend::connect(device.path(), 64).expect("a connection");
    let bad = VringConfigData {
        queue_max_size: 128,
        queue_size: 128,
        flags: 0,
        desc_table_addr: USER,
        used_ring_addr: USER + 0x1000,
        avail_ring_addr: USER + 0x2000,
        log_addr: None,
    };
    // Addresses without memory; a ring that is not there; a size that cannot be: the client is gone afterwards.
    let wrong: [&dyn Fn(&mut Frontend) -> bool; 6] = [
        &|frontend| frontend.set_vring_addr(0, &bad).is_ok(),
        &|frontend| frontend.set_vring_num(0, 100).is_ok(),
        &|frontend| {
            frontend.set_vring_base(63, 0).and_then(|()| frontend.get_vring_base(63)).is_ok_and(|base| base != 0)
        },
        &|frontend| frontend.set_vring_num(0, 2048).is_ok(),
        &|frontend| frontend.set_features(1 << 40).is_ok(),
        &|frontend| frontend.set_owner().and_then(|()| frontend.set_owner()).is_ok(),
    ];
    for (index, act) in wrong.iter().enumerate() {
        let mut frontend = connect();
        let _ = frontend.get_features().expect("features");
        let protocol = frontend.get_protocol_features().expect("protocol features");
        frontend.set_protocol_features(protocol & VhostUserProtocolFeatures::REPLY_ACK).expect("protocol features");
        frontend.set_hdr_flags(rust_vmm_vhost::vhost_user::message::VhostUserHeaderFlag::NEED_REPLY);
        assert!(!act(&mut frontend), "case {index}");
    }
    // Kicks before there is a ring, stops of what does not run.
    let frontend = connect();
    let _ = frontend.get_features().expect("features");
    let kick = EventFd::new(0x800).expect("a descriptor");
    frontend.set_vring_kick(0, &kick).expect("noted");
    kick.write(1).expect("a kick");
    assert_eq!(frontend.get_vring_base(0).expect("a base"), 0);
    drop(frontend);
    works(&device.path());
}

#[test]
fn a_second_client_is_turned_away_and_the_first_one_stays() {
    let device = Device::start(Build::default());
    let mut driver = Driver::connect(&device.path(), Wishes::default());
    let mut second = UnixStream::connect(device.path()).expect("a connection");
    assert_eq!(second.read(&mut [0]).expect("the end"), 0);
    assert_eq!(driver.request(1, 0, &[1; 512], 0).0, OK);
}

#[test]
fn garbage_ends_the_client_and_half_a_message_waits_without_stopping_the_device() {
    let device = Device::start(Build::default());
    let mut random = Random::new(seed(1));
    for _ in 0..cases(60) {
        let mut stream = UnixStream::connect(device.path()).expect("a connection");
        let messages = 1 + random.below(8);
        for _ in 0..messages {
            let length = u32::try_from(random.below(64)).expect("small");
            let mut bytes = u32::try_from(random.below(45)).expect("small").to_le_bytes().to_vec();
            bytes.extend(u32::try_from(1 + random.below(16)).expect("small").to_le_bytes());
            bytes.extend(length.to_le_bytes());
            bytes.extend((0..length).map(|_| u8::try_from(random.below(256)).expect("a byte")));
            if random.below(4) == 0 {
                bytes.truncate(usize::try_from(random.below(bytes.len() as u64)).expect("small"));
            }
            if stream.write_all(&bytes).is_err() {
                break;
            }
        }
        // Alive: it takes a wish, whatever lies in the socket.
        device.ask(|_| ());
    }
    let mut stream = UnixStream::connect(device.path()).expect("a connection");
    stream.write_all(&[1, 0, 0, 0, 1, 0]).expect("half a header");
    device.ask(|_| ());
    drop(stream);
    works(&device.path());
}

/// Memory is what the kernel alone serves: whoever brings a device, a pipe, a connection or a file on a disk loses the device before any of
/// them is asked anything, and the next client has it.
#[test]
fn descriptors_that_are_no_memory_end_the_client() {
    let device = Device::start(Build::default());
    let disk = tempfile::tempfile().expect("a file");
    disk.set_len(0x1000).expect("its length");
    let (pipe, _writer) = std::io::pipe().expect("a pipe");
    let zero = std::fs::File::open("/dev/zero").expect("opened");
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
    // Where the folder for temporary files lies in memory, a file there is memory.
    let disk_is_memory = rustix::fs::fcntl_get_seals(&disk).is_ok();
    let mut harmful = vec![pipe.as_raw_fd(), zero.as_raw_fd(), udp.as_raw_fd()];
    harmful.extend((!disk_is_memory).then_some(disk.as_raw_fd()));
    for descriptor in harmful {
        let frontend = Frontend::connect(device.path(), 1).expect("a connection");
        let _ = frontend.get_features().expect("features");
        let region = VhostUserMemoryRegionInfo {
            guest_phys_addr: GUEST,
            memory_size: 0x1000,
            userspace_addr: USER,
            mmap_offset: 0,
            mmap_handle: descriptor,
        };
        let _ = frontend.set_mem_table(&[region]);
        assert!(frontend.get_features().is_err(), "descriptor {descriptor}: the client is gone");
        drop(frontend);
        works(&device.path());
    }
}
