//! Copy (rules B147, B166, E9, E24, E49; NVM Command Set 1.1 section 3.3.2).

use controller::config::{DeviceOptions, NamespaceOptions};
use media::Nanoseconds;
use media::power::{Arming, Cut, CutPolicy};
use nvme_host::io::{block_command, copy_command};
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{Command, Completion, Status};
use spec_tests::rig::{Build, small_drive};
use zerocopy::IntoBytes;

use crate::support::{reap_all, slow_down};
use crate::verbs::{TestHost, bare, pattern, with_prp};

const BLOCK: usize = 512;

/// Eight blocks to a unit, and 16 KiB that stay together.
fn build() -> Build {
    Build { namespaces: vec![(512, 4096)], drive: Some(small_drive(2 << 20, 4096)), ..Build::default() }
}

fn filled(build: &Build) -> (TestHost, Vec<u8>) {
    let mut host = build.host();
    let data = pattern(5, 64 * BLOCK);
    assert_eq!(host.write(1, 0, &data, false), Ok(Status::SUCCESS));
    (host, data)
}

fn status(host: &mut TestHost, sources: &[(u64, u32)], to: u64) -> Status {
    let completion = host.copy(1, sources, to, false).expect("answered");
    assert_eq!(completion.dw0.get(), 0, "of a copy that fails nothing was copied");
    bare(completion.status())
}

fn contents(host: &mut TestHost, lba: u64, blocks: u32) -> Vec<u8> {
    let (status, data) = host.read(1, lba, blocks).expect("answered");
    assert_eq!(status, Status::SUCCESS);
    data
}

/// Lets a slow media come to its end, and returns what was answered.
fn finish(host: &mut TestHost) -> Vec<Completion> {
    for _ in 0..3 {
        host.port_mut().wait(Nanoseconds(2_000_000));
        host.port_mut().run_until_idle();
    }
    reap_all(host, 1)
}

/// B147: the sources lie one behind the other at the target, in the order given, on a drive and on plain memory.
#[test]
fn sources_are_copied_one_behind_the_other() {
    for build in [build(), Build { drive: None, ..build() }] {
        let (mut host, data) = filled(&build);
        // The last source was never written.
        assert_eq!(status(&mut host, &[(40, 3), (7, 10), (41, 1), (3000, 2)], 1001), Status::SUCCESS);
        let expected = [&data[40 * BLOCK..43 * BLOCK], &data[7 * BLOCK..17 * BLOCK], &data[41 * BLOCK..42 * BLOCK]];
        let expected = [&expected.concat()[..], &[0; 2 * BLOCK]].concat();
        assert_eq!(contents(&mut host, 1001, 16), expected);
        assert_eq!(contents(&mut host, 1000, 1), [0; BLOCK]);
        assert_eq!(contents(&mut host, 1017, 1), [0; BLOCK]);
        assert_eq!(contents(&mut host, 0, 64), data);
    }
}

/// The metadata goes with its block.
#[test]
fn metadata_goes_with_its_block() {
    let identities = vec![NamespaceOptions { ms: 8, mset: 1, ..NamespaceOptions::default() }];
    let mut host = Build { identities, ..build() }.host();
    let data = pattern(6, 4 * (BLOCK + 8));
    let address = host.allocate(4096).expect("room");
    host.write_memory(address, &data);
    let transfer = |opcode, lba| with_prp(block_command(opcode, 1, lba, 4), address, 0);
    assert_eq!(host.io(transfer(NvmOpcode::WRITE, 0)), Ok(Status::SUCCESS));
    assert_eq!(status(&mut host, &[(0, 4)], 20), Status::SUCCESS);
    assert_eq!(host.io(transfer(NvmOpcode::COMPARE, 20)), Ok(Status::SUCCESS));
}

/// B147: what Identify names is the limit, each with its status, and nothing is written.
#[test]
fn what_is_above_a_limit_is_refused() {
    let build = Build { device: DeviceOptions { mdts: 3, ..DeviceOptions::default() }, ..build() };
    let (mut host, _) = filled(&build);
    let limits = host.identify_namespace(1).expect("active");
    let (range, all) = (u32::from(limits.mssrl.get()), limits.mcl.get());
    assert_eq!((limits.msrc_z, range, all), (127, 64, 64), "MDTS is 32 KiB");
    assert_eq!(status(&mut host, &[(0, range)], 2000), Status::SUCCESS);
    assert_eq!(status(&mut host, &[(0, range + 1)], 3000), Status::SIZE_LIMIT_EXCEEDED);
    assert_eq!(status(&mut host, &[(0, 20), (0, all - 19)], 3000), Status::SIZE_LIMIT_EXCEEDED);
    assert_eq!(status(&mut host, &[(0, 1); 129], 3000), Status::SIZE_LIMIT_EXCEEDED);
    assert_eq!(status(&mut host, &[(0, 1); 256], 3000), Status::SIZE_LIMIT_EXCEEDED);
    assert_eq!(contents(&mut host, 3000, 64), [0; 64 * BLOCK]);
}

/// E49: as many ranges as there may be, and as many blocks.
#[test]
fn the_largest_copy_is_carried_out() {
    let (mut host, data) = filled(&build());
    let sources: Vec<_> = (0..128).map(|n| (n % 57, 8)).collect();
    assert_eq!(status(&mut host, &sources, 2048), Status::SUCCESS);
    let expected: Vec<u8> = sources
        .iter()
        .flat_map(|&(lba, _)| &data[usize::try_from(lba).expect("small") * BLOCK..][..8 * BLOCK])
        .copied()
        .collect();
    assert_eq!(contents(&mut host, 2048, 1024), expected);
}

/// B131, B147: sources and target that are not all inside are refused before anything is done.
#[test]
fn ranges_outside_are_refused() {
    let (mut host, data) = filled(&build());
    for (sources, to) in
        [(vec![(0, 1), (4095, 2)], 100), (vec![(u64::MAX, 1)], 100), (vec![(0, 4)], 4093), (vec![(0, 1)], u64::MAX)]
    {
        assert_eq!(status(&mut host, &sources, to), Status::LBA_OUT_OF_RANGE, "{sources:?} to {to}");
    }
    assert_eq!(contents(&mut host, 0, 64), data);
}

/// B147 (NVM Command Set 1.1 section 3.3.2): sources of format 0h may overlap each other and the target, and what is written is what they
/// held before, on a drive and on plain memory, with a cache and without, beside others that wait for the blocks.
#[test]
fn sources_that_overlap_the_target_are_what_they_were_before() {
    for (sources, to) in [
        (vec![(0, 1)], 0),
        (vec![(8, 4)], 11),
        (vec![(8, 4)], 5),
        (vec![(8, 20)], 9),
        (vec![(8, 20)], 3),
        (vec![(60, 2), (8, 4)], 6),
        (vec![(8, 4), (8, 4)], 12),
        (vec![(8, 4), (10, 4), (0, 16)], 2),
    ] {
        for build in [build(), Build { drive: None, ..build() }] {
            let (mut host, mut expected) = filled(&build);
            let copied: Vec<u8> = (sources.iter())
                .flat_map(|&(lba, blocks)| &expected[lba * BLOCK..][..blocks * BLOCK])
                .copied()
                .collect();
            expected[to * BLOCK..][..copied.len()].copy_from_slice(&copied);
            let narrow = |&(lba, blocks): &(usize, usize)| (lba as u64, u32::try_from(blocks).expect("small"));
            let list: Vec<_> = sources.iter().map(narrow).collect();
            assert_eq!(status(&mut host, &list, to as u64), Status::SUCCESS, "{sources:?} to {to}");
            assert_eq!(contents(&mut host, 0, 64), expected, "{sources:?} to {to}");
        }
    }
}

/// B147: formats that Identify does not name are refused (1h is for protection information, 2h and 3h need Host Behavior Support).
#[test]
fn formats_that_are_not_offered_are_refused() {
    let (mut host, data) = filled(&build());
    assert_eq!(host.identify_controller().expect("mandatory").cdfs.get(), 0b1);
    let (command, list) = copy_command(1, &[(0, 1)], 10, false);
    for format in 1..16 {
        let command = Command { cdw12: (command.cdw12.get() | format << 8).into(), ..command };
        let completion = host.execute_out(1, command, list.as_bytes()).expect("answered");
        assert_eq!(bare(completion.status()), Status::INVALID_FIELD, "format {format:x}h");
    }
    assert_eq!(contents(&mut host, 0, 64), data);
}

/// E24: a list that is not all in memory is no list.
#[test]
fn a_list_outside_memory_is_a_transfer_error() {
    let (mut host, data) = filled(&build());
    let (command, _) = copy_command(1, &[(0, 1); 100], 100, false);
    let end = spec_tests::rig::MEMORY.end;
    for address in [end - 64, end + 4096] {
        let completion = host.execute(1, with_prp(command, address, 0)).expect("answered");
        assert_eq!(bare(completion.status()), Status::DATA_TRANSFER_ERROR);
    }
    assert_eq!(contents(&mut host, 0, 64), data);
}

/// Section 2.1.4: a Copy waits for a write of its source and for a read of its target, and a write of either waits for the Copy; a read
/// of a source does not.
#[test]
fn sources_are_held_as_by_a_read_and_the_target_as_by_a_write() {
    let (mut host, _) = filled(&build());
    slow_down(&host, Nanoseconds(1_000_000));
    let page = host.allocate(4096).expect("room");
    let (copy, list) = copy_command(1, &[(0, 8), (16, 8)], 100, false);
    host.write_memory(page, list.as_bytes());
    let data = host.allocate(4096).expect("room");
    let over = |opcode, lba| with_prp(block_command(opcode, 1, lba, 1), data, 0);
    for (other, waits) in [
        (over(NvmOpcode::READ, 17), false),
        (over(NvmOpcode::WRITE, 17), true),
        (over(NvmOpcode::WRITE, 9), false),
        (over(NvmOpcode::READ, 115), true),
        (over(NvmOpcode::READ, 116), false),
    ] {
        for order in [[with_prp(copy, page, 0), other], [other, with_prp(copy, page, 0)]] {
            let asked = host.port().behaviour.borrow().asked.len();
            for command in order {
                host.submit_quietly(1, command).expect("room");
            }
            host.ring(1).expect("rung");
            host.port_mut().run(4);
            let started = host.port().behaviour.borrow().asked.len() - asked;
            assert_eq!(started, if waits { 1 } else { 2 }, "{other:?}");
            assert_eq!(finish(&mut host).len(), 2);
        }
    }
}

/// E9: a Copy at the media is withdrawn with its queue, and nothing of it stays behind.
#[test]
fn a_copy_is_withdrawn_with_its_queue() {
    let (mut host, _) = filled(&build());
    slow_down(&host, Nanoseconds(1_000_000));
    let page = host.allocate(4096).expect("room");
    let (copy, list) = copy_command(1, &[(0, 8)], 100, false);
    host.write_memory(page, list.as_bytes());
    for _ in 0..2 {
        host.submit_quietly(1, with_prp(copy, page, 0)).expect("room");
    }
    host.ring(1).expect("rung");
    host.port_mut().run(4);
    assert_eq!(host.port().controller().commands_in_flight(), 2, "one at the media, and one that waits for it");
    host.delete_submission_queue(1).expect("deleted");
    assert_eq!(host.port().controller().commands_in_flight(), 0);
}

/// B166: what is written within the power-fail unit is there as a whole or not at all, wherever power goes.
#[test]
fn a_copy_is_one_write_to_a_power_loss() {
    let mut seen = [false; 2];
    for nth in 1..40 {
        let (mut host, data) = filled(&build());
        assert_eq!(host.flush(1), Ok(Status::SUCCESS));
        let page = host.allocate(4096).expect("room");
        let (copy, list) = copy_command(1, &[(3, 13), (30, 19)], 101, nth % 2 == 0);
        host.write_memory(page, list.as_bytes());
        let policy = if nth % 4 < 2 { CutPolicy::NoneSurvive } else { CutPolicy::AllSurvive };
        host.port_mut().subsystem.crash_arm(Arming::AnyStep(nth), Cut { tear: true, ..Cut::from(policy) });
        host.submit(1, with_prp(copy, page, 0)).expect("room");
        let _ = host.ring(1);
        host.port_mut().run(20);
        if host.port().subsystem.power_is_on() {
            host.port_mut().subsystem.power_cut(&Cut::default());
        }
        host.port_mut().subsystem.power_restore(None).expect("the drive recovers");
        host.start().expect("a controller at power-on");
        host.create_queue_pair(1, 64, Some(1)).expect("room");
        let copied = [&data[3 * BLOCK..16 * BLOCK], &data[30 * BLOCK..49 * BLOCK]].concat();
        let there = contents(&mut host, 101, 32);
        assert!(there == copied || there == [0; 32 * BLOCK], "step {nth}: torn");
        seen[usize::from(there == copied)] = true;
    }
    assert_eq!(seen, [true; 2], "both were seen");
}

/// A Copy forced to the media is there after a power loss.
#[test]
fn a_forced_copy_is_durable() {
    let (mut host, data) = filled(&build());
    assert_eq!(host.copy(1, &[(0, 8)], 100, true).expect("answered").status(), Status::SUCCESS);
    host.port_mut().subsystem.power_cut(&Cut::default());
    host.port_mut().subsystem.power_restore(None).expect("the drive recovers");
    host.start().expect("a controller at power-on");
    host.create_queue_pair(1, 64, Some(1)).expect("room");
    assert_eq!(contents(&mut host, 100, 8), data[..8 * BLOCK]);
}
