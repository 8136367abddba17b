//! Write Uncorrectable (rules B139 to B141, E49; NVM Command Set 1.1 section 3.3.7).

use controller::config::DeviceOptions;
use controller::power::{Change, FateName};
use media::Nanoseconds;
use media::power::{Cut, CutPolicy};
use nvme_host::Shutdown;
use nvme_host::io::block_command;
use nvme_spec::Status;
use nvme_spec::opcode::NvmOpcode;
use spec_tests::rig::{Build, small_drive};
use spec_tests::slow_media::Asked;

use crate::support::reap_all;
use crate::verbs::{TestHost, Verbs, bare, pattern};

const BLOCK: usize = 512;

/// Four blocks of 512 bytes to a unit.
fn build() -> Build {
    Build { namespaces: vec![(512, 4096)], drive: Some(small_drive(2 << 20, 2048)), ..Build::default() }
}

fn filled(build: &Build, blocks: usize) -> (TestHost, Vec<u8>) {
    let mut host = build.host();
    let data = pattern(5, blocks * BLOCK);
    assert_eq!(host.write(1, 0, &data, false), Ok(Status::SUCCESS));
    (host, data)
}

fn mark(host: &mut TestHost, lba: u64, blocks: u32) {
    assert_eq!(host.write_uncorrectable(1, lba, blocks), Ok(Status::SUCCESS));
}

/// Which of the first blocks can be read; those show `data`.
fn readable(host: &mut TestHost, data: &[u8]) -> Vec<bool> {
    let read = |(lba, expected): (u64, &[u8])| {
        let (status, read) = host.read(1, lba, 1).expect("answered");
        assert!(status != Status::SUCCESS || read == expected, "block {lba}");
        assert!(status == Status::SUCCESS || bare(status) == Status::UNRECOVERED_READ, "{status:?}");
        status == Status::SUCCESS
    };
    (0..).zip(data.chunks(BLOCK)).map(read).collect()
}

/// B141: Read, Compare, Verify and Copy of the blocks end with Unrecovered Read Error, the error log names the first; blocks beside them
/// are as before, on a drive and on plain memory alike.
#[test]
fn uncorrectable_blocks_cannot_be_read_and_those_beside_them_can() {
    for build in [build(), Build { drive: None, ..build() }] {
        let (mut host, data) = filled(&build, 16);
        mark(&mut host, 5, 6);
        let expected: Vec<_> = (0..16).map(|lba| !(5..11).contains(&lba)).collect();
        assert_eq!(readable(&mut host, &data), expected);
        assert_eq!(bare(host.read(1, 2, 9).expect("answered").0), Status::UNRECOVERED_READ);
        assert_eq!(host.error_log()[0].lba.get(), 5);
        assert_eq!(
            bare(host.compare(1, 10, &data[10 * BLOCK..12 * BLOCK]).expect("answered")),
            Status::UNRECOVERED_READ
        );
        assert_eq!(host.error_log()[0].lba.get(), 10);
        assert_eq!(host.io_status(block_command(NvmOpcode::VERIFY, 1, 9, 1)), Status::UNRECOVERED_READ);
        let copied = host.copy(1, &[(0, 2), (7, 1)], 100, false).expect("answered");
        assert_eq!((bare(copied.status()), copied.dw0.get()), (Status::UNRECOVERED_READ, 0));
        assert_eq!(
            host.read(1, 100, 2).expect("answered"),
            (Status::SUCCESS, vec![0; 2 * BLOCK]),
            "nothing was copied"
        );
    }
}

/// B141: Write and Write Zeroes make the blocks readable again, each its own; a deallocation as well, and then they are zeroes.
#[test]
fn writing_or_deallocating_the_blocks_makes_them_readable() {
    for build in [build(), Build { drive: None, ..build() }] {
        let (mut host, mut data) = filled(&build, 16);
        mark(&mut host, 0, 16);
        assert_eq!(host.write(1, 3, &data[3 * BLOCK..6 * BLOCK], false), Ok(Status::SUCCESS));
        assert_eq!(host.write_zeroes(1, 7, 1, false), Ok(Status::SUCCESS));
        assert_eq!(host.write_zeroes(1, 9, 1, true), Ok(Status::SUCCESS));
        assert_eq!(host.deallocate(1, &[(10, 5)]), Ok(Status::SUCCESS));
        data[7 * BLOCK..8 * BLOCK].fill(0);
        data[9 * BLOCK..15 * BLOCK].fill(0);
        let gone = [0, 1, 2, 6, 8, 15];
        let expected: Vec<_> = (0..16).map(|lba| !gone.contains(&lba)).collect();
        assert_eq!(readable(&mut host, &data), expected);
    }
}

/// B131: a range that is not all inside is refused, and marks nothing.
#[test]
fn a_range_beyond_the_end_is_refused_and_marks_nothing() {
    let (mut host, data) = filled(&build(), 16);
    for (lba, blocks) in [(4095, 2), (u64::MAX, 1)] {
        let command = block_command(NvmOpcode::WRITE_UNCORRECTABLE, 1, lba, blocks);
        assert_eq!(host.io_status(command), Status::LBA_OUT_OF_RANGE);
    }
    assert_eq!(readable(&mut host, &data), [true; 16]);
    assert_eq!(host.read(1, 4095, 1).expect("answered").0, Status::SUCCESS);
}

/// It is as durable as any write: lost with the cache as a whole or there as a whole, as the report says, kept by a Flush, and by an end
/// in order.
#[test]
fn it_survives_a_power_loss_as_any_write_does() {
    for (flush, policy, there) in [
        (false, CutPolicy::NoneSurvive, false),
        (false, CutPolicy::AllSurvive, true),
        (true, CutPolicy::NoneSurvive, true),
    ] {
        let (mut host, data) = filled(&build(), 16);
        assert_eq!(host.flush(1), Ok(Status::SUCCESS));
        mark(&mut host, 2, 5);
        if flush {
            assert_eq!(host.flush(1), Ok(Status::SUCCESS));
        }
        let report = host.port_mut().subsystem.power_cut(&Cut::from(policy));
        let listed: Vec<_> =
            report.not_durable.iter().map(|entry| (entry.change, entry.range.first, entry.fate)).collect();
        let fate = if there { FateName::Survived } else { FateName::Lost };
        assert_eq!(listed, if flush { vec![] } else { vec![(Change::Uncorrectable, 2, fate)] });
        host.port_mut().subsystem.power_restore(None).expect("the drive recovers");
        host.start().expect("a controller at power-on");
        host.create_queue_pair(1, 64, Some(1)).expect("room");
        let expected: Vec<_> = (0..16).map(|lba| !(there && (2..7).contains(&lba))).collect();
        assert_eq!(readable(&mut host, &data), expected);
    }
    let (mut host, data) = filled(&build(), 16);
    mark(&mut host, 9, 1);
    host.shutdown(Shutdown::Normal).expect("it completes");
    host.port_mut().subsystem.power_cut(&Cut::default());
    host.port_mut().subsystem.power_restore(None).expect("the drive recovers");
    host.start().expect("a controller at power-on");
    host.create_queue_pair(1, 64, Some(1)).expect("room");
    assert!(!readable(&mut host, &data)[9]);
}

/// E49: what is above WUSL, which is a recommendation where ONCS says that the command is there, is done in parts, between which others
/// are answered; all of it is done when it is answered.
#[test]
fn a_large_one_is_done_in_parts_and_others_are_not_held_up() {
    let device = DeviceOptions { mdts: 1, ..DeviceOptions::default() };
    let build =
        Build { device, namespaces: vec![(512, 65536 + 8)], drive: Some(small_drive(64 << 20, 4096)), ..build() };
    let mut host = build.host();
    let long = host.submit_quietly(1, block_command(NvmOpcode::WRITE_UNCORRECTABLE, 1, 0, 65536)).expect("room");
    let short = host.submit_quietly(1, block_command(NvmOpcode::WRITE_ZEROES, 1, 65536, 8)).expect("room");
    host.ring(1).expect("rung");
    host.port_mut().run_until_idle();
    let answers = reap_all(&mut host, 1);
    assert_eq!(answers.iter().map(|answer| answer.cid.get()).collect::<Vec<_>>(), [short, long]);
    assert!(answers.iter().all(|answer| answer.status() == Status::SUCCESS));
    let asked = |host: &TestHost| {
        let asked = &host.port().behaviour.borrow().asked;
        asked.iter().filter(|asked| **asked == Asked::WriteUncorrectable).count()
    };
    assert!((64..=256).contains(&asked(&host)), "{} parts", asked(&host));
    for lba in [0, 1, 32767, 65535] {
        assert_eq!(bare(host.read(1, lba, 1).expect("answered").0), Status::UNRECOVERED_READ, "block {lba}");
    }
    assert_eq!(host.read(1, 65536, 8).expect("answered").0, Status::SUCCESS);
}

/// One that is under way in parts is aborted, or goes with its queue, and leaves nothing behind.
#[test]
fn a_large_one_can_be_withdrawn_in_the_middle() {
    let device = DeviceOptions { mdts: 1, ..DeviceOptions::default() };
    let build = Build { device, namespaces: vec![(512, 65536)], drive: Some(small_drive(64 << 20, 4096)), ..build() };
    let mut host = build.host();
    let command = block_command(NvmOpcode::WRITE_UNCORRECTABLE, 1, 0, 65536);
    host.submit(1, command).expect("room");
    host.ring(1).expect("rung");
    host.port_mut().run(5);
    assert_eq!(host.port().controller().commands_in_flight(), 1);
    host.delete_submission_queue(1).expect("deleted");
    assert_eq!(host.port().controller().commands_in_flight(), 0);
    host.port_mut().wait(Nanoseconds(1_000_000));
    host.port_mut().run_until_idle();
    host.start().expect("reset");
    host.create_queue_pair(1, 64, Some(1)).expect("room");
    assert_eq!(bare(host.read(1, 0, 1).expect("answered").0), Status::UNRECOVERED_READ, "the first part was done");
    assert_eq!(host.read(1, 65535, 1).expect("answered").0, Status::SUCCESS, "the last was not");
}
