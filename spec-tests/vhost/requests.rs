//! What each request does, and what the driver is told of the disk.

use controller::Nanoseconds;
use controller::config::DeviceOptions;
use rust_vmm_vhost::vhost_user::VhostUserFrontend;
use rust_vmm_vhost::vhost_user::message::VhostUserConfigFlags;
use spec_tests::rig::Build;
use spec_tests::slow_media::Asked;

use crate::device::Device;
use crate::driver::{CONFIG_WCE, Driver, EVENT_IDX, FLUSH, INDIRECT_DESC, Wishes};

const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH_REQUEST: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const SECURE_ERASE: u32 = 14;
const WRITE_ZEROES: u32 = 13;
const OK: u8 = 0;
const IO_ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;

fn pattern(seed: u8, length: usize) -> Vec<u8> {
    (0..=250).cycle().map(|byte| seed.wrapping_add(byte)).take(length).collect()
}

fn segment(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
    let mut bytes = sector.to_le_bytes().to_vec();
    bytes.extend(sectors.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes
}

#[test]
fn what_is_written_is_read_with_every_kind_of_notification() {
    let device = Device::start(Build::default());
    for without in [0, EVENT_IDX, INDIRECT_DESC, EVENT_IDX | INDIRECT_DESC] {
        let mut driver = Driver::connect(&device.path(), Wishes { without, ..Wishes::default() });
        for round in 0..300_u64 {
            let data = pattern(round.to_le_bytes()[0], 4096);
            assert_eq!(driver.request(OUT, round * 8, &data, 0), (OK, vec![], 1), "round {round}");
            assert_eq!(driver.request(IN, round * 8, &[], 4096), (OK, data, 4097), "round {round}");
        }
        assert_eq!(driver.request(FLUSH_REQUEST, 0, &[], 0), (OK, vec![], 1));
    }
}

#[test]
fn a_request_above_mdts_is_several_commands_and_one_answer() {
    let device = DeviceOptions { mdts: 1, ..DeviceOptions::default() };
    let device = Device::start(Build { device, ..Build::default() });
    let mut driver = Driver::connect(&device.path(), Wishes::default());
    let data = pattern(7, 100 * 1024);
    assert_eq!(driver.request(OUT, 3, &data, 0).0, OK);
    assert_eq!(driver.request(IN, 3, &[], data.len()), (OK, data, 100 * 1024 + 1));
    let asked = device.ask(|world| world.behaviour.borrow().asked.clone());
    let count = |wanted| asked.iter().filter(|found| **found == wanted).count();
    assert_eq!((count(Asked::Write(false)), count(Asked::Read(false))), (13, 13), "8 KiB at a time");
}

#[test]
fn the_serial_number_is_told() {
    let options = DeviceOptions { serial: "drive 7".into(), ..DeviceOptions::default() };
    let device = Device::start(Build { device: options, ..Build::default() });
    let mut driver = Driver::connect(&device.path(), Wishes::default());
    let (status, data, written) = driver.request(GET_ID, 0, &[], 20);
    assert_eq!((status, written), (OK, 21));
    assert_eq!(data, *b"drive 7\0\0\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(driver.request(GET_ID, 0, &[], 5).1, *b"drive");
}

/// With one entry in the controller's queue there is one identifier: a read has it, a second one lacks it, and who asks for the serial
/// number needs none.
#[test]
fn the_serial_number_is_told_while_others_wait_for_the_controller() {
    let options = DeviceOptions { mqes: 1, ..DeviceOptions::default() };
    let device = Device::start(Build { device: options, ..Build::default() });
    let mut driver = Driver::connect(&device.path(), Wishes::default());
    device.ask(|world| world.behaviour.borrow_mut().latency = Some(Nanoseconds(u64::MAX / 4)));
    driver.begin(0, 0, IN, 0, &[], 512);
    driver.begin(0, 3, IN, 1, &[], 512);
    driver.begin(0, 6, IN, 2, &[], 512);
    driver.begin(0, 9, GET_ID, 0, &[], 20);
    driver.guest.kick(0);
    assert_eq!(driver.guest.wait_used(0), Some((9, 21)), "before the reads");
    assert_eq!(driver.outcome(9, 20).0, OK);
}

#[test]
fn discarded_and_zeroed_blocks_read_as_zeroes() {
    let device = Device::start(Build::default());
    let mut driver = Driver::connect(&device.path(), Wishes::default());
    assert_eq!(driver.request(OUT, 0, &pattern(1, 64 * 512), 0).0, OK);
    let mut two = segment(8, 8, 0);
    two.extend(segment(32, 4, 0));
    assert_eq!(driver.request(DISCARD, 0, &two, 0), (OK, vec![], 1));
    assert_eq!(driver.request(WRITE_ZEROES, 0, &segment(48, 2, 1), 0).0, OK);
    assert_eq!(driver.request(WRITE_ZEROES, 0, &segment(50, 2, 0), 0).0, OK);
    let mut expected = pattern(1, 64 * 512);
    for range in [8..16, 32..36, 48..52] {
        expected[range.start * 512..range.end * 512].fill(0);
    }
    assert_eq!(driver.request(IN, 0, &[], 64 * 512).1, expected);
    let asked = device.ask(|world| world.behaviour.borrow().asked.clone());
    let others = |found: &&Asked| !matches!(found, Asked::Read(_) | Asked::Write(_));
    let expected = [Asked::Deallocate(2), Asked::WriteZeroes(true, false), Asked::WriteZeroes(false, false)];
    assert_eq!(asked.iter().filter(others).copied().collect::<Vec<_>>(), expected);
}

#[test]
fn what_cannot_be_is_refused_and_nothing_is_done() {
    let device = Device::start(Build { namespaces: vec![(4096, 4096)], ..Build::default() });
    let mut driver = Driver::connect(&device.path(), Wishes::default());
    let sectors = 4096 * 8;
    let cases: [(u32, u64, Vec<u8>, usize, u8); 14] = [
        (SECURE_ERASE, 0, segment(0, 8, 0), 0, UNSUPPORTED),
        (99, 0, vec![], 0, UNSUPPORTED),
        (DISCARD, 0, segment(0, 8, 1), 0, UNSUPPORTED),
        (WRITE_ZEROES, 0, segment(0, 8, 2), 0, UNSUPPORTED),
        (WRITE_ZEROES, 0, [segment(0, 8, 0), segment(8, 8, 0)].concat(), 0, IO_ERROR),
        (DISCARD, 0, segment(0, 8, 0)[..15].to_vec(), 0, IO_ERROR),
        (DISCARD, 0, segment(sectors, 8, 0), 0, IO_ERROR),
        (DISCARD, 0, segment(4, 8, 0), 0, IO_ERROR),
        (IN, sectors, vec![], 4096, IO_ERROR),
        (IN, u64::MAX - 7, vec![], 4096, IO_ERROR),
        (IN, 1, vec![], 4096, IO_ERROR),
        (IN, 0, vec![], 512, IO_ERROR),
        (OUT, 0, vec![], 4096, IO_ERROR),
        (FLUSH_REQUEST, 0, vec![1; 512], 0, IO_ERROR),
    ];
    for (kind, sector, out, into, expected) in cases {
        let (status, _, written) = driver.request(kind, sector, &out, into);
        assert_eq!((status, written), (expected, 1), "request {kind} at {sector}");
    }
    assert_eq!(device.ask(|world| world.behaviour.borrow().asked.clone()), []);
    assert_eq!(driver.request(IN, sectors - 8, &[], 4096).0, OK);
}

#[test]
fn the_configuration_tells_the_namespace() {
    let device = Device::start(Build { namespaces: vec![(4096, 4096)], ..Build::default() });
    let mut driver = Driver::connect(&device.path(), Wishes::default());
    let config = driver.config();
    let number = |at: usize| u32::from_le_bytes(config[at..at + 4].try_into().expect("four bytes"));
    assert_eq!((number(0), number(4)), (4096 * 8, 0), "capacity in sectors");
    assert_eq!((number(8), number(12)), (512 * 1024, 126), "size_max, seg_max");
    assert_eq!(number(20), 4096, "blk_size");
    assert_eq!(config[34..36], [64, 0], "num_queues");
    assert_eq!((number(36), number(40)), (u32::MAX / 8 * 8, 256), "discard");
    assert_eq!((number(48), number(52), config[56]), (u32::MAX / 8 * 8, 1, 1), "write zeroes");
    // Behind what is served lie zeroes up to what vhost-user lets a client ask for. (The client library does not survive a refusal.)
    let behind = driver.frontend.get_config(200, 56, VhostUserConfigFlags::empty(), &[0; 56]).expect("the end");
    assert_eq!(behind.1, [0; 56]);
    assert_eq!(vhost::offer::read_config(&vhost::wire::BlockConfig::default(), 240, 32), None, "beyond the end");
    assert_eq!(driver.frontend.get_queue_num().expect("queues"), 64);
}

#[test]
fn the_write_cache_is_the_controllers() {
    let device = Device::start(Build::default());
    device.ask(|world| world.behaviour.borrow_mut().cache = Some(true));
    let switched = |device: &Device| {
        let asked = device.ask(|world| std::mem::take(&mut world.behaviour.borrow_mut().asked));
        let cache = |found: &Asked| if let Asked::WriteCache(on) = found { Some(*on) } else { None };
        asked.iter().filter_map(cache).collect::<Vec<_>>()
    };
    let mut driver = Driver::connect(&device.path(), Wishes::default());
    assert!(driver.features & CONFIG_WCE != 0);
    assert_eq!(driver.config()[32], 1);
    assert_eq!(switched(&device), [false; 0]);
    driver.frontend.set_config(32, VhostUserConfigFlags::WRITABLE, &[0]).expect("switched off");
    assert_eq!(switched(&device), [false]);
    assert_eq!(driver.config()[32], 0);
    // Whoever comes next, the driver has chosen.
    let guest = driver.hang_up();
    device.ask(super::device::World::die_and_start_again);
    let mut driver = Driver::resume(&device.path(), guest);
    assert_eq!(driver.request(OUT, 0, &[1; 512], 0).0, OK);
    assert_eq!(driver.config()[32], 0);
    assert_eq!(switched(&device).last(), Some(&false));
    driver.frontend.set_config(32, VhostUserConfigFlags::WRITABLE, &[1]).expect("switched on");
    assert_eq!(switched(&device), [true]);
    assert!(driver.frontend.set_config(0, VhostUserConfigFlags::WRITABLE, &[1]).is_err(), "nothing else is writable");
    drop(driver);
    // A driver that cannot flush has no cache to flush.
    let _driver = Driver::connect(&device.path(), Wishes { without: FLUSH, ..Wishes::default() });
    assert_eq!(switched(&device).last(), Some(&false));
}
