//! A disk that gets another size while its client is there (vhost-user: VHOST_USER_BACKEND_CONFIG_CHANGE_MSG; virtio 1.3 section 5.2.5
//! "device configuration change").

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use controller::changes::{Change, NewNamespace};
use controller::{ControllerSet, Format};
use media::geometry::GeometryConfig;
use media::power::Cut;
use media::ssd::SsdConfig;
use rust_vmm_vhost::vhost_user::VhostUserFrontend;
use spec_tests::rig::{Build, small_drive};
use vhost::wire::{BlockStatus, request_type};

use crate::device::Device;
use crate::driver::{Driver, Wishes};

/// Blocks of 4 KiB, sectors of 512 bytes.
const SECTORS: u64 = 8;
const BLOCKS: u64 = 256;
const MOST: u64 = 512;

fn build() -> Build {
    let drive = small_drive(MOST * 4096, 16384);
    Build { namespaces: vec![(4096, BLOCKS)], room: vec![MOST], drive: Some(drive), ..Build::default() }
}

/// Gives the client's channel to the device; returns its own end.
fn open_channel(driver: &mut Driver) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    driver.frontend.set_backend_request_fd(&theirs).expect("a channel");
    ours.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit for a device that is broken");
    ours
}

/// The next message on the channel: code, flags, how many bytes follow.
fn heard(channel: &mut UnixStream) -> [u32; 3] {
    let mut message = [0; 12];
    channel.read_exact(&mut message).expect("a message");
    [0, 4, 8].map(|at| u32::from_le_bytes(message[at..at + 4].try_into().expect("four bytes")))
}

/// Whether nothing waits on the channel.
fn is_silent(channel: &UnixStream) -> bool {
    channel.set_nonblocking(true).expect("a socket");
    let silent = (&*channel).read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    channel.set_nonblocking(false).expect("a socket");
    silent
}

/// Blocks that the configuration space tells.
fn told(driver: &mut Driver) -> u64 {
    u64::from_le_bytes(driver.config()[..8].try_into().expect("eight bytes")) / SECTORS
}

/// Resizes, and waits for the end.
fn resize(device: &Device, blocks: u64) {
    device.ask(move |world| world.with_subsystem(|subsystem| subsystem.resize(1, blocks))).expect("begun");
    while device.ask(|world| world.with_subsystem(controller::Subsystem::changed)).is_none() {}
}

#[test]
fn a_client_is_told_of_another_size_and_finds_it_in_the_configuration() {
    let device = Device::start(build());
    let mut driver = Driver::connect(&device.path(), Wishes::default());
    let mut channel = open_channel(&mut driver);
    let before = driver.config();
    let block = vec![7; 4096];
    let last = |blocks: u64| (blocks - 1) * SECTORS;
    assert_eq!(driver.request(request_type::OUT, last(BLOCKS), &block, 0).0, BlockStatus::OK.0);
    assert_eq!(driver.request(request_type::OUT, last(MOST), &block, 0).0, BlockStatus::IO_ERROR.0);
    assert!(is_silent(&channel));
    for blocks in [MOST, 100, BLOCKS] {
        resize(&device, blocks);
        assert_eq!(heard(&mut channel), [2, 1, 0], "CONFIG_CHANGE_MSG, version 1, no reply, nothing follows");
        assert_eq!(told(&mut driver), blocks);
        // Nothing else of the disk is another.
        assert_eq!(driver.config()[8..], before[8..]);
        assert_eq!(driver.request(request_type::OUT, last(blocks), &block, 0).0, BlockStatus::OK.0);
        assert_eq!(driver.request(request_type::IN, last(blocks), &[], 4096).1, block);
        for (kind, out, into) in [(request_type::OUT, &block[..], 0), (request_type::IN, &[], 4096)] {
            assert_eq!(driver.request(kind, blocks * SECTORS, out, into).0, BlockStatus::IO_ERROR.0, "beyond the end");
        }
        assert!(is_silent(&channel), "told once");
    }
    resize(&device, BLOCKS);
    assert_eq!((told(&mut driver), is_silent(&channel)), (BLOCKS, true), "the same size is no change");
}

/// A client that opens its channel afterwards, or has none, finds the size all the same; one that closed its end is no harm.
#[test]
fn a_client_without_a_channel_is_not_disturbed() {
    let device = Device::start(build());
    let mut driver = Driver::connect(&device.path(), Wishes::default());
    resize(&device, 300);
    assert_eq!(told(&mut driver), 300);
    let mut channel = open_channel(&mut driver);
    driver.guest.kick(0);
    assert_eq!(heard(&mut channel), [2, 1, 0], "what it has missed");
    drop(channel);
    resize(&device, 301);
    resize(&device, 302);
    assert_eq!(told(&mut driver), 302);
    assert_eq!(driver.request(request_type::FLUSH, 0, &[], 0).0, BlockStatus::OK.0);
    let mut channel = open_channel(&mut driver);
    resize(&device, 303);
    assert_eq!((heard(&mut channel), told(&mut driver)), ([2, 1, 0], 303), "a new channel takes the old one's place");
}

/// Requests that the driver made before it heard of a smaller disk fail cleanly, also where they were taken before.
#[test]
fn requests_beyond_the_new_end_fail_and_the_ring_goes_on() {
    let device = Device::start(build());
    let mut driver = Driver::connect(&device.path(), Wishes::default());
    let mut channel = open_channel(&mut driver);
    device.ask(|world| world.with_subsystem(|subsystem| subsystem.resize(1, 100))).expect("begun");
    for (number, block) in (0..20).zip([99, 100, 255, 98].into_iter().cycle()) {
        driver.begin(0, number * 3, request_type::IN, block * SECTORS, &[], 4096);
    }
    driver.guest.kick(0);
    let mut answers = std::collections::BTreeMap::new();
    for _ in 0..20 {
        let (head, _) = driver.guest.wait_used(0).expect("every request is answered");
        answers.insert(head, driver.outcome(head, 0).0);
    }
    for (number, block) in (0..20).zip([99, 100, 255, 98].into_iter().cycle()) {
        let expected = if block < 100 { BlockStatus::OK } else { BlockStatus::IO_ERROR };
        assert_eq!(answers[&(number * 3)], expected.0, "block {block}");
    }
    assert_eq!((heard(&mut channel), told(&mut driver)), ([2, 1, 0], 100));
}

/// Power that goes with a resize: when it is back the client is told of the size that there is then.
#[test]
fn a_size_that_changed_around_a_power_loss_is_told_when_power_is_back() {
    let device = Device::start(build());
    let mut driver = Driver::connect(&device.path(), Wishes::default());
    let mut channel = open_channel(&mut driver);
    device.ask(|world| {
        world.with_subsystem(|subsystem| {
            let at = media::power::Arming::Hit(media::power::Step::FlushSynced, 1);
            subsystem.crash_arm(at, Cut::default());
            subsystem.resize(1, 200).expect("begun");
        });
    });
    let ended = |device: &Device| device.ask(|world| world.with_subsystem(controller::Subsystem::changed));
    while ended(&device).is_none() {}
    assert_eq!(told(&mut driver), BLOCKS, "a dead disk is as it was last seen");
    device.ask(|world| world.with_subsystem(|subsystem| subsystem.power_restore(None).map(|_| ()))).expect("power");
    assert_eq!(heard(&mut channel), [2, 1, 0]);
    assert_eq!(told(&mut driver), 200, "the new size was durable already");
    assert_eq!(driver.request(request_type::IN, 199 * SECTORS, &[], 4096).0, BlockStatus::OK.0);
    resize(&device, 201);
    assert_eq!((heard(&mut channel), told(&mut driver)), ([2, 1, 0], 201), "and it is listened for again");
}

/// A channel that is no socket, or none at all, ends the client and nothing else.
#[test]
fn a_channel_that_cannot_be_ends_its_client() {
    let device = Device::start(build());
    let mut driver = Driver::connect(&device.path(), Wishes::default());
    let no_socket = std::fs::File::open("/dev/null").expect("it is there");
    assert!(driver.frontend.set_backend_request_fd(&no_socket).is_err());
    drop(driver);
    let mut driver = Driver::connect(&device.path(), Wishes::default());
    let mut channel = open_channel(&mut driver);
    resize(&device, 300);
    assert_eq!((heard(&mut channel), told(&mut driver)), ([2, 1, 0], 300));
}

/// A namespace that is deleted is a disk without blocks, and so is another one with its identifier and other blocks: no request goes to
/// blocks of another size. With blocks like before the disk is there again, empty.
#[test]
fn another_namespace_with_the_same_identifier_is_the_disk_only_with_the_same_blocks() {
    let drive = small_drive(MOST * 4096, 16384);
    let geometry = GeometryConfig { volumes_max: 2, ..drive.geometry };
    let drive = Some(SsdConfig { geometry, ..drive });
    let device = Device::start(Build { namespaces: vec![(4096, BLOCKS)], drive, ..Build::default() });
    let mut driver = Driver::connect(&device.path(), Wishes::default());
    let block = vec![7; 4096];
    assert_eq!(driver.request(request_type::OUT, 0, &block, 0).0, BlockStatus::OK.0);
    let change = |change: Change| {
        device.ask(move |world| world.with_subsystem(|subsystem| subsystem.change(change))).expect("begun");
        loop {
            if let Some(ended) = device.ask(|world| world.with_subsystem(controller::Subsystem::changed)) {
                return ended;
            }
        }
    };
    let new = |block_bytes: u32, blocks: u64| {
        let format = Format { block_bytes, metadata_bytes: 0 };
        NewNamespace { format, extended: false, blocks, shared: true, attached: ControllerSet::ALL, anagrpid: 1 }
    };
    for (block_bytes, blocks, there) in [(512, BLOCKS * 8, false), (512, 8, false), (4096, BLOCKS, true)] {
        assert_eq!(change(Change::Delete { nsid: Some(1) }), Ok(0));
        assert_eq!(told(&mut driver), 0, "deleted");
        assert_eq!(driver.request(request_type::IN, 0, &[], 4096).0, BlockStatus::IO_ERROR.0);
        assert_eq!(change(Change::Create(new(block_bytes, blocks))), Ok(1));
        assert_eq!(told(&mut driver), if there { blocks } else { 0 });
        let (status, data, _) = driver.request(request_type::IN, 0, &[], 4096);
        assert_eq!(status, if there { BlockStatus::OK.0 } else { BlockStatus::IO_ERROR.0 });
        assert!(!there || data == vec![0; 4096]);
        let written = driver.request(request_type::OUT, 0, &block, 0).0;
        assert_eq!(written, if there { BlockStatus::OK.0 } else { BlockStatus::IO_ERROR.0 });
    }
}
