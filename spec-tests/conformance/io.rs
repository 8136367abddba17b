//! Commands of the NVM command set (rules B131–B149), and how failures of the media are told (B187, B188).

use media::{Lba, MediaError, Nanoseconds, VolumeId};
use nvme_host::admin::IdentifyArguments;
use nvme_host::io::{block_command, nvm_command};
use nvme_spec::identify::Cns;
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{Command, NSID_ALL, Status};
use spec_tests::rig::{Build, STEP};
use spec_tests::slow_media::Asked;

use crate::verbs::{TestHost, Verbs, bare, pattern, with_prp};

const FORCE: u32 = 1 << 30;
/// Commands that name blocks in the usual place.
const BLOCK_COMMANDS: [NvmOpcode; 5] =
    [NvmOpcode::READ, NvmOpcode::WRITE, NvmOpcode::COMPARE, NvmOpcode::WRITE_ZEROES, NvmOpcode::VERIFY];

fn small(blocks: u64) -> TestHost {
    Build { namespaces: vec![(512, blocks)], ..Build::default() }.host()
}

fn write(host: &mut TestHost, lba: u64, data: &[u8]) {
    assert_eq!(host.write(1, lba, data, false).expect("answered"), Status::SUCCESS);
}

fn contents(host: &mut TestHost, lba: u64, blocks: u32) -> Vec<u8> {
    let (status, data) = host.read(1, lba, blocks).expect("answered");
    assert_eq!(status, Status::SUCCESS);
    data
}

fn asked(host: &mut TestHost) -> Vec<Asked> {
    std::mem::take(&mut host.port_mut().behaviour.borrow_mut().asked)
}

/// B132: a read after a completed write returns it.
#[test]
fn read_returns_what_was_written() {
    let mut host = Build::default().host();
    let data: Vec<u8> = (0..8192_u32).map(|byte| byte.to_le_bytes()[0]).collect();
    assert_eq!(host.write(1, 100, &data, false).expect("answered"), Status::SUCCESS);
    let (status, read) = host.read(1, 100, 16).expect("answered");
    assert_eq!(status, Status::SUCCESS);
    assert!(read == data);
    let (_, before) = host.read(1, 99, 1).expect("answered");
    assert_eq!(before, [0; 512]);
}

/// B132: from any queue, in any split.
#[test]
fn read_returns_what_another_queue_wrote_in_other_pieces() {
    let mut host = small(256);
    (2..=4).for_each(|qid| host.create_queue_pair(qid, 16, Some(qid)).expect("room"));
    let data = pattern(1, 240 * 512);
    let mut lba = 0;
    for (index, blocks) in [1, 2, 3, 5, 8, 13, 21, 34, 55, 98].into_iter().enumerate() {
        host.use_io_queue([1, 2, 3, 4][index % 4]);
        write(&mut host, lba as u64, &data[lba * 512..][..blocks * 512]);
        lba += blocks;
    }
    for (qid, blocks) in [(4, 240), (3, 80), (2, 7), (1, 1)] {
        host.use_io_queue(qid);
        for first in (0..240 - blocks + 1).step_by(blocks as usize) {
            let start = first as usize * 512;
            let expected = &data[start..start + blocks as usize * 512];
            assert!(contents(&mut host, first.into(), blocks) == *expected, "{blocks} blocks from {first}");
        }
    }
}

/// B131, E50: a range that ends behind the namespace or wraps is refused, by each command, and nothing is moved.
#[test]
fn ranges_outside_the_namespace_are_refused() {
    for block_bytes in [512, 65536] {
        let mut host = Build { namespaces: vec![(block_bytes, 64)], ..Build::default() }.host();
        let block = block_bytes as usize;
        host.write(1, 56, &vec![1; 8 * block], false).expect("answered");
        let buffer = host.allocate(8 * block).expect("room");
        let mapping = host.map(buffer, 8 * block).expect("room");
        host.write_memory(buffer, &vec![9; 8 * block]);
        let wraps = [u64::MAX, u64::MAX - 6, 1 << 63, 1 << 48, 1 << 47, 1 << 55];
        for lba in [57, 63, 64, 65].into_iter().chain(wraps) {
            for opcode in BLOCK_COMMANDS {
                let status = host.io_status(mapping.on(block_command(opcode, 1, lba, 8)));
                assert_eq!(status, Status::LBA_OUT_OF_RANGE, "{opcode:?} of 8 blocks from {lba:#x}");
            }
        }
        assert!(host.read_memory(buffer, 8 * block) == vec![9; 8 * block]);
        assert!(contents(&mut host, 56, 8) == vec![1; 8 * block]);
        for opcode in [NvmOpcode::READ, NvmOpcode::COMPARE, NvmOpcode::WRITE_ZEROES, NvmOpcode::WRITE] {
            assert_eq!(host.io_status(mapping.on(block_command(opcode, 1, 56, 8))), Status::SUCCESS, "{opcode:?}");
        }
        assert_eq!(host.io_status(block_command(NvmOpcode::WRITE_ZEROES, 1, u64::MAX, 1)), Status::LBA_OUT_OF_RANGE);
    }
}

/// B133: hints and reserved fields change nothing.
#[test]
fn hints_and_reserved_fields_are_ignored() {
    let mut host = small(64);
    let buffer = host.allocate(4096).expect("room");
    let data = pattern(3, 512);
    let decorate = |command: Command| Command {
        cdw2: 0x1111_1111.into(),
        cdw3: 0x2222_2222.into(),
        // LR, and for Read and Write the reserved bits 19:16.
        cdw12: (command.cdw12.get() | 1 << 31 | 0xf << 16).into(),
        cdw13: 0x0000_00ff.into(),
        cdw14: 0x3333_3333.into(),
        cdw15: 0x4444_4444.into(),
        ..command
    };
    host.write_memory(buffer, &data);
    let write = decorate(block_command(NvmOpcode::WRITE, 1, 5, 1));
    assert_eq!(host.io_status(with_prp(write, buffer, 0)), Status::SUCCESS);
    host.write_memory(buffer, &[0; 512]);
    let read = decorate(block_command(NvmOpcode::READ, 1, 5, 1));
    assert_eq!(host.io_status(with_prp(read, buffer, 0)), Status::SUCCESS);
    assert_eq!(host.read_memory(buffer, 512), data);
    let flush = Command { cdw10: u32::MAX.into(), ..decorate(nvm_command(NvmOpcode::FLUSH, 1)) };
    assert_eq!(host.io_status(with_prp(flush, u64::MAX, u64::MAX)), Status::SUCCESS);
}

/// B134: FUA reaches the media with every command that carries it, and only where it is set.
#[test]
fn force_unit_access_reaches_the_media() {
    let mut host = small(64);
    let buffer = host.allocate(4096).expect("room");
    for force in [false, true] {
        for (opcode, expected) in [
            (NvmOpcode::WRITE, Asked::Write(force)),
            (NvmOpcode::READ, Asked::Read(force)),
            (NvmOpcode::COMPARE, Asked::Read(force)),
            (NvmOpcode::VERIFY, Asked::Read(force)),
            (NvmOpcode::WRITE_ZEROES, Asked::WriteZeroes(false, force)),
        ] {
            let mut command = block_command(opcode, 1, 0, 8);
            command.cdw12 |= if force { FORCE } else { 0 };
            assert_eq!(host.io_status(with_prp(command, buffer, 0)), Status::SUCCESS);
            assert_eq!(asked(&mut host), [expected], "{opcode:?}");
        }
    }
}

/// B135: Flush of one namespace flushes its volume; the broadcast flushes all, as VWC says; without a cache both succeed.
#[test]
fn flush_reaches_the_volumes_that_it_names() {
    for cache in [None, Some(true), Some(false)] {
        let mut host = Build { namespaces: vec![(512, 64); 2], ..Build::default() }.host();
        host.port_mut().behaviour.borrow_mut().cache = cache;
        assert_eq!(host.identify_controller().expect("mandatory").vwc >> 1 & 0b11, 0b11);
        for nsid in [1, 2, NSID_ALL] {
            assert_eq!(host.flush(nsid).expect("answered"), Status::SUCCESS, "NSID {nsid:x}h");
        }
        assert_eq!(asked(&mut host), [Asked::Flush(VolumeId(0)), Asked::Flush(VolumeId(1)), Asked::FlushAll]);
    }
}

/// B135: Flush is answered when the media is done, and no sooner.
#[test]
fn flush_waits_for_the_media() {
    for nsid in [1, NSID_ALL] {
        let mut host = small(64);
        host.port_mut().behaviour.borrow_mut().latency = Some(Nanoseconds(STEP.0 * 20));
        let cid = host.submit(1, nvm_command(NvmOpcode::FLUSH, nsid)).expect("room");
        for _ in 0..19 {
            host.port_mut().step();
            assert_eq!(host.poll(1, cid), None);
        }
        assert_eq!(host.wait(1, cid).expect("in time").status(), Status::SUCCESS);
    }
}

/// B136: Compare says whether any byte differs, wherever it is, and changes nothing.
#[test]
fn compare_finds_a_difference_anywhere() {
    for latency in [None, Some(Nanoseconds(STEP.0 * 3))] {
        let mut host = small(1024);
        let data = pattern(4, 32 * 512);
        write(&mut host, 8, &data);
        host.port_mut().behaviour.borrow_mut().latency = latency;
        assert_eq!(host.compare(1, 8, &data).expect("answered"), Status::SUCCESS);
        for at in [0, 1, 511, 512, 4095, 4096, 8191, data.len() - 1] {
            let mut other = data.clone();
            other[at] ^= 0x80;
            let status = bare(host.compare(1, 8, &other).expect("answered"));
            assert_eq!(status, Status::COMPARE_FAILURE, "byte {at}, latency {latency:?}");
        }
        assert!(contents(&mut host, 8, 32) == data);
    }
}

/// B136: blocks that hold no data compare as zeroes, and memory that is not there is a data transfer error, soon or late.
#[test]
fn compare_tells_a_difference_from_missing_memory() {
    for latency in [None, Some(STEP)] {
        let mut host = small(64);
        host.port_mut().behaviour.borrow_mut().latency = latency;
        assert_eq!(host.compare(1, 0, &[0; 4096]).expect("answered"), Status::SUCCESS);
        assert_eq!(bare(host.compare(1, 0, &[1; 4096]).expect("answered")), Status::COMPARE_FAILURE);
        let command = with_prp(block_command(NvmOpcode::COMPARE, 1, 0, 8), 1 << 46, 0);
        assert_eq!(host.io_status(command), Status::DATA_TRANSFER_ERROR);
    }
}

/// B136, B187: where the media cannot read, Compare says that, not that something differs.
#[test]
fn compare_of_unreadable_blocks_is_a_read_error() {
    for latency in [None, Some(STEP)] {
        let mut host = small(64);
        host.port_mut().behaviour.borrow_mut().latency = latency;
        host.port_mut().behaviour.borrow_mut().failure = Some(MediaError::UnrecoveredRead { first: Lba(0) });
        assert_eq!(bare(host.compare(1, 0, &[0; 512]).expect("answered")), Status::UNRECOVERED_READ);
    }
}

/// B187, B188: each failure of the media has its status, at once or later, and says whether trying again may help.
#[test]
fn media_failures_have_their_statuses() {
    let failures = [
        (MediaError::UnrecoveredRead { first: Lba(3) }, (2, 0x81), true),
        (MediaError::WriteFailed { first: Lba(3) }, (2, 0x80), true),
        (MediaError::NoSpace, (0, 0x81), true),
        (MediaError::NotStored, (2, 0x80), true),
        (MediaError::OutOfRange, (0, 0x80), true),
        (MediaError::HostMemory, (0, 0x04), true),
        (MediaError::PowerLost, (0, 0x06), false),
        (MediaError::NoSuchVolume, (0, 0x06), false),
        (MediaError::Internal, (0, 0x06), false),
    ];
    for latency in [None, Some(Nanoseconds(STEP.0 * 5))] {
        let mut host = small(64);
        host.port_mut().behaviour.borrow_mut().latency = latency;
        let buffer = host.allocate(4096).expect("room");
        for (failure, kind, final_) in failures {
            host.port_mut().behaviour.borrow_mut().failure = Some(failure);
            for opcode in [NvmOpcode::READ, NvmOpcode::WRITE, NvmOpcode::WRITE_ZEROES, NvmOpcode::FLUSH] {
                let status = host.io_status(with_prp(block_command(opcode, 1, 0, 8), buffer, 0));
                assert_eq!(status.kind(), kind, "{opcode:?}, {failure:?}");
                assert_eq!(status.do_not_retry(), final_, "{opcode:?}, {failure:?}");
            }
        }
        host.port_mut().behaviour.borrow_mut().failure = None;
        assert_eq!(host.io_status(with_prp(block_command(NvmOpcode::READ, 1, 0, 8), buffer, 0)), Status::SUCCESS);
    }
}

/// B187, B88, B89: a failure of the media is in the error log, with the first bad block, and counted by SMART.
#[test]
fn media_failures_are_logged_with_the_first_bad_block() {
    for latency in [None, Some(STEP)] {
        let mut host = small(64);
        host.port_mut().behaviour.borrow_mut().latency = latency;
        host.port_mut().behaviour.borrow_mut().failure = Some(MediaError::UnrecoveredRead { first: Lba(13) });
        let buffer = host.allocate(4096).expect("room");
        let answer = host.execute(1, with_prp(block_command(NvmOpcode::READ, 1, 10, 8), buffer, 0)).expect("answered");
        assert!(answer.status().more());
        host.port_mut().behaviour.borrow_mut().failure = None;
        let entry = host.error_log()[0];
        assert_eq!((entry.sqid.get(), entry.cid.get()), (1, answer.cid.get()));
        assert_eq!((entry.lba.get(), entry.nsid.get(), entry.opcode), (13, 1, NvmOpcode::READ.0));
        assert_eq!(host.smart().media_errors.get(), 1);
        // A comparison that fails is no error of the media.
        assert_eq!(bare(host.compare(1, 0, &[1; 512]).expect("answered")), Status::COMPARE_FAILURE);
        let smart = host.smart();
        assert_eq!((smart.media_errors.get(), smart.error_log_entries.get()), (1, 2));
    }
}

/// B138, B87: Verify reads and hands nothing over, whatever its data pointer says; above the Verify Size Limit it is refused. It counts as
/// a read.
#[test]
fn verify_reads_and_moves_nothing() {
    let mut host = small(4096);
    let page = host.identify(Cns::COMMAND_SET_CONTROLLER, IdentifyArguments::default()).expect("mandatory");
    let limit = (4096 << page[0]) / 512;
    let before = host.smart();
    for (prp1, prp2) in [(0, 0), (u64::MAX, u64::MAX), (3, 5)] {
        let verify = with_prp(block_command(NvmOpcode::VERIFY, 1, 0, limit), prp1, prp2);
        assert_eq!(host.io_status(verify), Status::SUCCESS);
    }
    assert_eq!(host.io_status(block_command(NvmOpcode::VERIFY, 1, 0, limit + 1)), Status::INVALID_FIELD);
    let after = host.smart();
    assert_eq!(after.host_read_commands.get() - before.host_read_commands.get(), 3);
    assert!(after.data_units_read.get() > before.data_units_read.get());
    host.port_mut().behaviour.borrow_mut().failure = Some(MediaError::UnrecoveredRead { first: Lba(7) });
    assert_eq!(host.io_status(block_command(NvmOpcode::VERIFY, 1, 0, 16)), Status::UNRECOVERED_READ);
    assert_eq!(host.error_log()[0].lba.get(), 7);
}
