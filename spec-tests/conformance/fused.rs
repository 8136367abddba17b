//! Fused Compare and Write (rules B61, B148, B167; NVM Command Set 1.1 section 2.1.3; NVMe Base 2.1 section 3.4.2).

use controller::config::{DeviceOptions, Interleave, NamespaceOptions};
use media::Nanoseconds;
use nvme_host::Port;
use nvme_host::io::block_command;
use nvme_spec::command::fuse;
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{Command, Status, identify};
use spec_tests::rig::{Build, STEP};

use crate::support::{reap_all, slow_down};
use crate::verbs::{TestHost, bare};

const BLOCK: usize = 512;

/// A namespace whose Compare and Write may have four blocks, with a boundary every eight.
fn build() -> Build {
    let namespace = NamespaceOptions {
        atomic_nawun: Some(7),
        atomic_nacwu: Some(3),
        atomic_nabsn: Some(7),
        ..NamespaceOptions::default()
    };
    Build { namespaces: vec![(512, 1024); 2], identities: vec![namespace], ..Build::default() }
}

fn fused(opcode: NvmOpcode, which: u8, nsid: u32, [lba, blocks]: [u32; 2], page: u64) -> Command {
    Command { flags: which, prp1: page.into(), ..block_command(opcode, nsid, lba.into(), blocks) }
}

pub fn page(host: &mut TestHost, byte: u8) -> u64 {
    let address = host.allocate(4096).expect("room");
    host.write_memory(address, &[byte; 4096]);
    address
}

/// Submits commands with one ring of the doorbell; their statuses, in order.
pub fn together(host: &mut TestHost, commands: &[Command]) -> Vec<Status> {
    let cids: Vec<_> = commands.iter().map(|command| host.submit_quietly(1, *command).expect("room")).collect();
    host.ring(1).expect("rung");
    cids.iter().map(|cid| bare(host.wait(1, *cid).expect("answered").status())).collect()
}

/// Compare with one page and write another, over blocks of namespace 1.
pub fn pair(blocks: [u32; 2], compared: u64, written: u64) -> [Command; 2] {
    let first = fused(NvmOpcode::COMPARE, fuse::FIRST, 1, blocks, compared);
    [first, fused(NvmOpcode::WRITE, fuse::SECOND, 1, blocks, written)]
}

/// B148: the Write happens if and only if the Compare succeeds.
#[test]
fn the_write_follows_a_compare_that_succeeds() {
    let mut host = build().host();
    let fuses = host.identify_controller().expect("mandatory").fuses.get();
    assert_eq!(fuses, identify::FusedOperations::COMPARE_AND_WRITE.bits());
    let (zeroes, ones) = (page(&mut host, 0), page(&mut host, 1));
    assert_eq!(together(&mut host, &pair([2, 3], zeroes, ones)), [Status::SUCCESS; 2]);
    assert_eq!(host.read(1, 1, 5).expect("answered").1[BLOCK..4 * BLOCK], [1; 3 * BLOCK]);
    let refused = [Status::COMPARE_FAILURE, Status::FAILED_FUSED];
    assert_eq!(together(&mut host, &pair([4, 2], ones, zeroes)), refused);
    assert_eq!(host.read(1, 4, 1).expect("answered").1, [1; BLOCK], "nothing was written");
}

/// B148: the second is the very next command of the queue. Without it the first is refused, and so is a second without a first;
/// whatever else is there is carried out.
#[test]
fn half_a_pair_is_refused() {
    let mut host = build().host();
    let zeroes = page(&mut host, 0);
    let [first, second] = pair([0, 1], zeroes, zeroes);
    let plain = block_command(NvmOpcode::READ, 1, 0, 1);
    let plain = Command { prp1: zeroes.into(), ..plain };
    let (missing, success) = (Status::MISSING_FUSED, Status::SUCCESS);
    assert_eq!(together(&mut host, &[first]), [missing]);
    assert_eq!(together(&mut host, &[second]), [missing]);
    assert_eq!(together(&mut host, &[first, plain]), [missing, success]);
    assert_eq!(together(&mut host, &[plain, second]), [success, missing]);
    assert_eq!(together(&mut host, &[first, plain, second]), [missing, success, missing]);
    assert_eq!(together(&mut host, &[first, first, second, second]), [missing, success, success, missing]);
    let reserved = Command { flags: 3, ..plain };
    assert_eq!(together(&mut host, &[first, reserved]), [missing, Status::INVALID_FIELD]);
}

/// B61, B148: another pair than Compare and Write, other blocks and another namespace are invalid fields; what is wrong with one of them
/// is told by that one.
#[test]
fn a_pair_that_is_none_is_refused() {
    let mut host = build().host();
    let zeroes = page(&mut host, 0);
    let of = |opcode, which, nsid, blocks| fused(opcode, which, nsid, blocks, zeroes);
    let invalid = [Status::INVALID_FIELD; 2];
    for (one, other) in [
        (NvmOpcode::WRITE, NvmOpcode::COMPARE),
        (NvmOpcode::COMPARE, NvmOpcode::COMPARE),
        (NvmOpcode::READ, NvmOpcode::WRITE),
        (NvmOpcode::COMPARE, NvmOpcode::WRITE_ZEROES),
        (NvmOpcode::FLUSH, NvmOpcode::FLUSH),
    ] {
        let commands = [of(one, fuse::FIRST, 1, [0, 1]), of(other, fuse::SECOND, 1, [0, 1])];
        assert_eq!(together(&mut host, &commands), invalid, "{one:?}, {other:?}");
    }
    let compare = of(NvmOpcode::COMPARE, fuse::FIRST, 1, [4, 2]);
    for (nsid, blocks) in [(1, [4, 1]), (1, [5, 2]), (2, [4, 2])] {
        let write = of(NvmOpcode::WRITE, fuse::SECOND, nsid, blocks);
        assert_eq!(together(&mut host, &[compare, write]), invalid, "{nsid}, {blocks:?}");
    }
    let far = pair([1023, 2], zeroes, zeroes);
    assert_eq!(together(&mut host, &far), [Status::LBA_OUT_OF_RANGE, Status::FAILED_FUSED]);
    let unknown = pair([0, 1], zeroes, zeroes).map(|command| Command { nsid: 9.into(), ..command });
    assert_eq!(together(&mut host, &unknown), [Status::INVALID_NAMESPACE, Status::FAILED_FUSED]);
    let [first, second] = pair([0, 1], zeroes, zeroes);
    let strange = Command { opcode: 0x7f, ..first };
    assert_eq!(together(&mut host, &[strange, second]), [Status::INVALID_OPCODE, Status::FAILED_FUSED]);
    let strange = Command { opcode: 0x7f, ..second };
    assert_eq!(together(&mut host, &[first, strange]), [Status::FAILED_FUSED, Status::INVALID_OPCODE]);
}

/// B148: up to NACWU within a boundary, or up to ACWU anywhere; above that the pair is refused and nothing happens.
#[test]
fn a_pair_above_the_unit_is_refused() {
    let mut host = build().host();
    let (zeroes, ones) = (page(&mut host, 0), page(&mut host, 1));
    let refused = [Status::ATOMIC_UNIT_EXCEEDED, Status::FAILED_FUSED];
    assert_eq!(together(&mut host, &pair([0, 5], zeroes, ones)), refused);
    assert_eq!(together(&mut host, &pair([6, 3], zeroes, ones)), refused);
    assert_eq!(host.read(1, 0, 16).expect("answered").1, [0; 16 * BLOCK]);
    assert_eq!(together(&mut host, &pair([4, 4], zeroes, ones)), [Status::SUCCESS; 2]);
    let device = DeviceOptions { atomic_acwu: 1, ..DeviceOptions::default() };
    let mut host = Build { device, ..build() }.host();
    let (zeroes, ones) = (page(&mut host, 0), page(&mut host, 1));
    assert_eq!(together(&mut host, &pair([7, 2], zeroes, ones)), [Status::SUCCESS; 2], "within ACWU");
    assert_eq!(together(&mut host, &pair([14, 3], zeroes, ones)), refused);
}

/// B71: aborting either ends both, the other as one whose partner failed, and nothing is written.
#[test]
fn an_abort_of_either_ends_both() {
    for first in [true, false] {
        for waits in [true, false] {
            let mut host = build().host();
            let (zeroes, ones) = (page(&mut host, 0), page(&mut host, 1));
            slow_down(&host, Nanoseconds(1_000_000));
            if waits {
                let read = block_command(NvmOpcode::READ, 1, 0, 1);
                host.submit(1, Command { prp1: zeroes.into(), ..read }).expect("room");
            }
            let cids = pair([0, 1], zeroes, ones).map(|command| host.submit_quietly(1, command).expect("room"));
            host.ring(1).expect("rung");
            host.port_mut().run_until_idle();
            let [aborted, other] = if first { cids } else { [cids[1], cids[0]] };
            assert_eq!(host.abort(1, aborted), Ok(true));
            let mut status = |cid| host.poll(1, cid).map(|answer| bare(answer.status()));
            assert_eq!(status(aborted), Some(Status::ABORT_REQUESTED), "first {first}, waits {waits}");
            assert_eq!(status(other), Some(Status::FAILED_FUSED), "first {first}, waits {waits}");
            host.port_mut().wait(Nanoseconds(2_000_000));
            host.port_mut().run_until_idle();
            host.port_mut().behaviour.borrow_mut().latency = None;
            assert_eq!(host.read(1, 0, 1).expect("answered").1, [0; BLOCK]);
        }
    }
}

/// B43: a pair ends with its queue, whatever it was doing.
#[test]
fn a_pair_ends_with_its_queue() {
    for steps in [1, 5, 1_005] {
        let mut host = build().host();
        let (zeroes, ones) = (page(&mut host, 0), page(&mut host, 1));
        slow_down(&host, Nanoseconds(1_000 * STEP.0));
        let [first, second] = pair([0, 1], zeroes, ones);
        host.submit_quietly(1, first).expect("room");
        host.submit(1, second).expect("room");
        for _ in 0..steps {
            host.port_mut().step();
        }
        host.delete_submission_queue(1).expect("deleted");
        assert_eq!(reap_all(&mut host, 1).len(), 2, "after {steps} steps");
        assert!(host.surprises().is_empty());
    }
}

/// B148, B45: a pair needs two completion slots at a time, takes none while it lacks one, and its two entries may lie at both ends of the
/// queue. A completion queue that can never hold two makes no pairs.
#[test]
fn a_pair_waits_for_both_slots() {
    let mut host = build().admin_host();
    host.create_completion_queue(1, 4, None).expect("made");
    host.create_submission_queue(1, 5, 1, 0).expect("made");
    let zeroes = page(&mut host, 0);
    let [first, second] = pair([0, 1], zeroes, zeroes);
    let plain = Command { flags: 0, ..first };
    for round in 0..10 {
        for command in [plain, plain, first, second] {
            host.submit_quietly(1, command).expect("room");
        }
        host.ring(1).expect("rung");
        host.port_mut().run_until_idle();
        // Three slots: two are taken by the plain commands, and one is too few.
        let mut answered = 0;
        while host.reap_quietly(1).is_some() {
            answered += 1;
        }
        assert_eq!(answered, 2, "round {round}");
        host.ring_completion(1).expect("rung");
        host.port_mut().run_until_idle();
        let statuses: Vec<_> = reap_all(&mut host, 1).iter().map(|answer| bare(answer.status())).collect();
        assert_eq!(statuses, [Status::SUCCESS; 2], "round {round}");
    }
    host.create_completion_queue(2, 2, None).expect("made");
    host.create_submission_queue(2, 8, 2, 0).expect("made");
    host.submit_quietly(2, first).expect("room");
    let last = host.submit(2, second).expect("room");
    let cid = host.wait(2, last).expect("answered");
    assert_eq!(bare(cid.status()), Status::MISSING_FUSED);
    assert!(host.port_mut().relax());
}

/// B148, B168: a counter that four queues raise by Compare and Write loses no step, over a media that shows writes by half.
#[test]
fn counting_by_compare_and_write_loses_nothing() {
    let mut host = build().host();
    (2..=4).for_each(|qid| host.create_queue_pair(qid, 64, Some(qid)).expect("room"));
    slow_down(&host, Nanoseconds(3 * STEP.0));
    host.port_mut().behaviour.borrow_mut().halves = true;
    let buffers: Vec<_> = (0..4).map(|_| [page(&mut host, 0), page(&mut host, 0)]).collect();
    let (mut raised, mut lost) = (0_u64, 0);
    let mut known = [0_u64; 4];
    for _ in 0..200 {
        let mut cids = Vec::new();
        for (index, [old, new]) in buffers.iter().enumerate() {
            host.write_memory(*old, &known[index].to_le_bytes().repeat(4 * BLOCK / 8));
            host.write_memory(*new, &(known[index] + 1).to_le_bytes().repeat(4 * BLOCK / 8));
            let sqid = u16::try_from(index + 1).expect("small");
            let [first, second] = pair([0, 4], *old, *new);
            host.submit_quietly(sqid, first).expect("room");
            cids.push((index, sqid, host.submit(sqid, second).expect("room")));
        }
        for (index, sqid, cid) in cids {
            if bare(host.wait(sqid, cid).expect("answered").status()) == Status::SUCCESS {
                raised += 1;
                known[index] += 1;
            } else {
                lost += 1;
                known[index] = raised;
            }
        }
        let highest = *known.iter().max().expect("four");
        known.fill(highest);
        (1..=4).for_each(|cqid| drop(reap_all(&mut host, cqid)));
    }
    host.port_mut().behaviour.borrow_mut().latency = None;
    let (_, data) = host.read(1, 0, 4).expect("answered");
    assert_eq!(data, raised.to_le_bytes().repeat(4 * BLOCK / 8));
    assert!(raised >= 200 && lost >= 200, "{raised} raised, {lost} refused");
}

/// B163, B167: the Write of a pair is atomic to every read, up to ACWU or NACWU, also where a Write of that size by itself is not: with
/// `interleave=seeded` no read falls apart around it, be the unit of a Write smaller or Normal disabled.
#[test]
fn no_read_sees_half_of_a_pair() {
    let small = NamespaceOptions { atomic_nawun: Some(0), ..NamespaceOptions::default() };
    let seeded = DeviceOptions { interleave: Interleave::Seeded, ..DeviceOptions::default() };
    for (device, namespace) in [
        (seeded.clone(), NamespaceOptions { atomic_nacwu: Some(3), ..small.clone() }),
        (DeviceOptions { atomic_acwu: 3, ..seeded.clone() }, small),
        (
            DeviceOptions { atomic_dn: true, ..seeded },
            NamespaceOptions { atomic_nawun: Some(3), atomic_nawupf: Some(0), ..NamespaceOptions::default() },
        ),
    ] {
        let mut host = Build { device, identities: vec![namespace], ..build() }.over_memory().host();
        host.create_queue_pair(2, 64, Some(2)).expect("room");
        let buffers = [0, 1, 0].map(|byte| page(&mut host, byte));
        let [mut old, mut new, seen] = buffers;
        for round in 0..100 {
            let read = Command { prp1: seen.into(), ..block_command(NvmOpcode::READ, 1, 4, 4) };
            let before = host.submit(2, read).expect("room");
            for _ in 0..1 + round % 3 {
                host.port_mut().step();
            }
            for command in pair([4, 4], old, new) {
                host.submit_quietly(1, command).expect("room");
            }
            host.ring(1).expect("rung");
            assert_eq!(bare(host.wait(2, before).expect("answered").status()), Status::SUCCESS);
            let bytes = host.read_memory(seen, 4 * BLOCK);
            assert!(bytes.iter().all(|byte| *byte == bytes[0]), "round {round}: {bytes:?}");
            host.port_mut().run_until_idle();
            let statuses: Vec<_> = reap_all(&mut host, 1).iter().map(|answer| bare(answer.status())).collect();
            assert_eq!(statuses, [Status::SUCCESS; 2], "round {round}");
            (old, new) = (new, old);
        }
    }
}
