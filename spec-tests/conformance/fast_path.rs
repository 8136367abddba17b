//! The fast path of ordinary Reads and Writes: it is taken, it meets commands under way, and data are there before completions are (B32).

use controller::config::{DeviceOptions, Interleave};
use controller::dma::{DoorbellPage, Segment};
use media::Nanoseconds;
use nvme_host::io::block_command;
use nvme_spec::feature::FeatureId;
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::sgl::{SglDescriptor, SglType};
use nvme_spec::{Command, Status};
use spec_tests::rig::Build;
use spec_tests::variant::Variant;
use zerocopy::IntoBytes;

use crate::support::{Access, reap_all, recorded_step};
use crate::verbs::{TestHost, Verbs, bare, pattern, with_prp};

const BLOCKS: u32 = 8;
const BYTES: usize = BLOCKS as usize * 512;

fn build() -> Build {
    Build { variant: Variant { drive: true, fast: true, shadows: None }, ..Build::default() }
}

fn transfer(opcode: NvmOpcode, lba: u64, address: u64) -> Command {
    with_prp(block_command(opcode, 1, lba, BLOCKS), address, 0)
}

fn page(host: &mut TestHost, bytes: &[u8]) -> u64 {
    let address = host.allocate(BYTES).expect("room");
    host.write_memory(address, bytes);
    address
}

/// Nearly all commands in the field are ordinary: all of them take the fast path, alone and many at a time, and what they read is right.
#[test]
fn ordinary_commands_take_the_fast_path() {
    let mut host = build().host();
    let buffers: Vec<u64> = (0..16).map(|n| page(&mut host, &pattern(n, BYTES))).collect();
    let back = page(&mut host, &[0; BYTES]);
    for batch in [1, 2, 16] {
        host.port_mut().behaviour.borrow_mut().fast = 0;
        for opcode in [NvmOpcode::WRITE, NvmOpcode::READ] {
            for (lba, buffer) in (0..).step_by(BLOCKS as usize).zip(&buffers[..batch]) {
                let buffer = if opcode == NvmOpcode::READ { back } else { *buffer };
                host.submit_quietly(1, transfer(opcode, lba, buffer)).expect("room");
            }
            host.ring(1).expect("rung");
            host.port_mut().run_until_idle();
            let answers = reap_all(&mut host, 1);
            assert!(answers.len() == batch && answers.iter().all(|answer| answer.status().is_success()));
        }
        assert_eq!(host.read_memory(back, BYTES), pattern(u64::try_from(batch - 1).expect("small"), BYTES));
        let fast = host.port().behaviour.borrow().fast;
        assert_eq!(fast, 2 * batch as u64, "in a batch of {batch}");
        assert_eq!(
            host.port().behaviour.borrow().together,
            batch,
            "reads that follow each other are looked up together"
        );
    }
    assert!(host.surprises().is_empty());
}

/// B53 (NVMe Base 2.1 section 3.4.4.1): with a burst of n, each of eight full queues has its turn before any has given n more, also
/// where many are taken at a time.
#[test]
fn full_queues_have_their_turns_in_bursts_on_the_fast_path_too() {
    for exponent in [0, 1, 3] {
        let (burst, queues, each) = (1 << exponent, 1..=8_u16, 48);
        let mut host = build().admin_host();
        host.set_feature(FeatureId::ARBITRATION, exponent).expect("set");
        host.create_completion_queue(1, 1024, None).expect("made");
        queues.clone().for_each(|sqid| host.create_submission_queue(sqid, 64, 1, 0).expect("made"));
        let data = page(&mut host, &pattern(1, BYTES));
        assert_eq!(host.io_status(transfer(NvmOpcode::WRITE, 0, data)), Status::SUCCESS);
        host.port_mut().behaviour.borrow_mut().fast = 0;
        for sqid in queues.clone() {
            for _ in 0..each {
                host.submit_quietly(sqid, transfer(NvmOpcode::READ, 0, data)).expect("room");
            }
        }
        queues.clone().for_each(|sqid| host.ring(sqid).expect("rung"));
        host.port_mut().run_until_idle();
        let order: Vec<u16> = reap_all(&mut host, 1).iter().map(|completion| completion.sqid.get()).collect();
        assert_eq!((order.len(), host.port().behaviour.borrow().fast), (8 * each, 8 * each as u64));
        for turn in order.chunks(8 * burst) {
            for sqid in queues.clone() {
                let given = turn.iter().filter(|given| **given == sqid).count();
                assert_eq!(given, burst, "queue {sqid} in {turn:?}");
            }
        }
    }
}

/// A command whose data an SGL data block descriptor describes.
fn described(command: Command, address: u64, length: usize) -> Command {
    let length = u32::try_from(length).expect("small");
    command.with_sgl1(SglDescriptor::new(SglType::DATA_BLOCK, address, length))
}

/// A page, with none beside it.
fn aligned(host: &mut TestHost) -> u64 {
    host.allocate(2 * 4096).expect("room").next_multiple_of(4096)
}

/// Where data of so many bytes may lie: for each, its pieces, and the command with its data pointer.
fn placed(host: &mut TestHost, command: Command, bytes: usize) -> Vec<(&'static str, Vec<Segment>, Command)> {
    let room: Vec<u64> = (0..=bytes.div_ceil(4096)).map(|_| aligned(host)).collect();
    // From the middle of the first page on, over pages that do not follow each other.
    let mut left = bytes;
    let mut apart = Vec::new();
    for page in &room {
        let (address, most) = if apart.is_empty() { (page + 512, 4096 - 512) } else { (*page, 4096) };
        let length = most.min(left);
        apart.push(Segment { address, length });
        left -= length;
    }
    apart.retain(|segment| segment.length > 0);
    let list = aligned(host);
    for (place, segment) in (list..).step_by(8).zip(&apart[1..]) {
        host.write_memory(place, &segment.address.to_le_bytes());
    }
    let behind = if apart.len() == 2 { apart[1].address } else { list };
    let whole = host.allocate(bytes + 4).expect("room") + 4;
    let (descriptors, last) = (aligned(host), apart.len() * 16);
    for (place, segment) in (descriptors..).step_by(16).zip(&apart) {
        let length = u32::try_from(segment.length).expect("small");
        host.write_memory(place, SglDescriptor::new(SglType::DATA_BLOCK, segment.address, length).as_bytes());
    }
    let last = SglDescriptor::new(SglType::LAST_SEGMENT, descriptors, u32::try_from(last).expect("small"));
    vec![
        ("pages", apart.clone(), with_prp(command, apart[0].address, behind)),
        ("one block of an SGL", vec![Segment { address: whole, length: bytes }], described(command, whole, bytes)),
        (
            "more of an SGL than is needed",
            vec![Segment { address: whole, length: bytes }],
            described(command, whole, bytes + 9),
        ),
        ("blocks of an SGL", apart, command.with_sgl1(last)),
    ]
}

/// Wherever its data lies, a Read or Write takes the fast path, and every byte goes where it belongs (B114 to B127).
#[test]
fn data_in_pages_and_sgls_takes_the_fast_path_too() {
    for blocks in [1, BLOCKS, 3 * BLOCKS + 1, 4 * BLOCKS] {
        let bytes = blocks as usize * 512;
        let mut host = build().host();
        for seed in 0..4_u64 {
            let writes = placed(&mut host, block_command(NvmOpcode::WRITE, 1, 7 * seed, blocks), bytes);
            let (what, pieces, command) = &writes[usize::try_from(seed).expect("small")];
            let data = pattern(seed, bytes);
            let mut at = 0;
            for Segment { address, length } in pieces {
                host.write_memory(*address, &data[at..at + length]);
                at += length;
            }
            host.port_mut().behaviour.borrow_mut().fast = 0;
            assert_eq!(host.io_status(*command), Status::SUCCESS, "{blocks} blocks, {what}");
            assert_eq!(host.port().behaviour.borrow().fast, 1, "a Write of {blocks} blocks, {what}");
            for (what, pieces, command) in placed(&mut host, block_command(NvmOpcode::READ, 1, 7 * seed, blocks), bytes)
            {
                host.port_mut().behaviour.borrow_mut().fast = 0;
                assert_eq!(host.io_status(command), Status::SUCCESS, "{blocks} blocks, {what}");
                assert_eq!(host.port().behaviour.borrow().fast, 1, "a Read of {blocks} blocks, {what}");
                assert_eq!(gathered(&host, &pieces), data, "{blocks} blocks, {what}");
            }
        }
    }
}

fn gathered(host: &TestHost, pieces: &[Segment]) -> Vec<u8> {
    pieces.iter().flat_map(|piece| host.read_memory(piece.address, piece.length)).collect()
}

/// Reads whose data lies in several ways may follow each other; neighbours that are not plain are looked up together too.
#[test]
fn reads_of_all_kinds_go_together() {
    let mut host = build().host();
    let all: Vec<_> = (0..24_u64).map(|number| pattern(number, BYTES)).collect();
    for (lba, data) in (0..).step_by(BLOCKS as usize).zip(&all) {
        assert_eq!(host.write(1, lba, data, false), Ok(Status::SUCCESS));
    }
    host.port_mut().behaviour.borrow_mut().fast = 0;
    let mut expected = Vec::new();
    for (number, data) in all.iter().enumerate() {
        let read = block_command(NvmOpcode::READ, 1, number as u64 * u64::from(BLOCKS), BLOCKS);
        let alone = aligned(&mut host);
        let mut kinds = placed(&mut host, read, BYTES);
        kinds.push(("a page", vec![Segment { address: alone, length: BYTES }], with_prp(read, alone, 0)));
        let (_, pieces, command) = kinds.swap_remove([0, 4, 0, 1, 4, 2][number % 6]);
        host.submit_quietly(1, command).expect("room");
        expected.push((pieces, data));
    }
    host.ring(1).expect("rung");
    host.port_mut().run_until_idle();
    let answers: Vec<_> = reap_all(&mut host, 1).iter().map(|answer| answer.status()).collect();
    assert_eq!(answers, vec![Status::SUCCESS; all.len()]);
    for (pieces, data) in expected {
        assert!(gathered(&host, &pieces) == *data);
    }
    let behaviour = host.port().behaviour.borrow();
    assert_eq!((behaviour.fast, behaviour.together), (all.len() as u64, 2));
}

/// What is not plain takes the long way, and is answered there as it must be.
#[test]
fn what_is_not_plain_does_not_take_the_fast_path() {
    let mut host = build().host();
    let data = pattern(5, BYTES);
    assert_eq!(host.write(1, 0, &data, false), Ok(Status::SUCCESS));
    let first = page(&mut host, &[0; BYTES]) & !4095;
    let read = || block_command(NvmOpcode::READ, 1, 0, BLOCKS);
    let long = || block_command(NvmOpcode::READ, 1, 0, 4 * BLOCKS);
    let forced = |command: Command| Command { cdw12: (command.cdw12.get() | 1 << 30).into(), ..command };
    let fused = |command: Command| Command { flags: 1, ..command };
    let cases = [
        ("a second page with an offset", with_prp(read(), first + 512, first + 8), Status::INVALID_PRP_OFFSET),
        ("a list that is not there", with_prp(long(), first, 0x7000_0000_0000), Status::DATA_TRANSFER_ERROR),
        ("an SGL that is too short", described(read(), first, BYTES - 1), Status::INVALID_SGL_LENGTH),
        ("an odd address", with_prp(read(), first + 2, 0), Status::INVALID_PRP_OFFSET),
        (
            "an odd address behind which it fits",
            with_prp(block_command(NvmOpcode::READ, 1, 0, 1), first + 1, 0),
            Status::INVALID_PRP_OFFSET,
        ),
        (
            "a namespace that is not there",
            with_prp(Command { nsid: 2.into(), ..read() }, first, 0),
            Status::INVALID_NAMESPACE,
        ),
        (
            "another command",
            with_prp(block_command(NvmOpcode::COMPARE, 1, 0, BLOCKS), first, 0),
            Status::COMPARE_FAILURE,
        ),
        ("a forced one", forced(with_prp(read(), first, 0)), Status::SUCCESS),
        ("a forced one with an SGL", forced(described(read(), first, BYTES)), Status::SUCCESS),
    ];
    for (what, command, expected) in cases {
        host.port_mut().behaviour.borrow_mut().fast = 0;
        assert_eq!(host.io_status(command), expected, "{what}");
        assert_eq!(host.port().behaviour.borrow().fast, 0, "{what}");
    }
    let id = host.submit(1, fused(with_prp(read(), first, 0))).expect("room");
    host.port_mut().run_until_idle();
    let _ = host.poll(1, id);
    assert_eq!(host.port().behaviour.borrow().fast, 0, "half of a pair");
}

/// `interleave=seeded` cuts commands up, which the fast path does not.
#[test]
fn no_command_takes_the_fast_path_where_commands_are_to_be_cut_up() {
    let device = DeviceOptions { interleave: Interleave::Seeded, ..DeviceOptions::default() };
    let mut host = Build { device, ..build() }.host();
    let buffer = page(&mut host, &pattern(1, BYTES));
    for opcode in [NvmOpcode::WRITE, NvmOpcode::READ] {
        assert_eq!(host.io_status(transfer(opcode, 0, buffer)), Status::SUCCESS);
    }
    assert_eq!(host.port().behaviour.borrow().fast, 0);
}

/// Whatever is under way holds its blocks against the fast path too: a Read or Write of one of them waits, and one beside them does not.
#[test]
fn the_fast_path_waits_for_commands_under_way_over_its_blocks() {
    for under_way in [NvmOpcode::WRITE, NvmOpcode::READ] {
        for ordinary in [NvmOpcode::READ, NvmOpcode::WRITE] {
            let mut host = build().host();
            let [old, new, newest] = [1, 2, 3].map(|seed| pattern(seed, BYTES));
            assert_eq!(host.write(1, 0, &old, false), Ok(Status::SUCCESS));
            let slow_buffer = page(&mut host, &new);
            let fast_buffer = page(&mut host, &newest);
            let beside_buffer = page(&mut host, &old);
            {
                let mut behaviour = host.port_mut().behaviour.borrow_mut();
                (behaviour.latency, behaviour.halves) = (Some(Nanoseconds(1_000_000)), true);
            }
            let slow = host.submit(1, transfer(under_way, 0, slow_buffer)).expect("room");
            host.port_mut().run_until_idle();
            host.port_mut().behaviour.borrow_mut().latency = None;
            // Half of a slow write can be seen already, if nobody keeps others away.
            let met = host.submit(1, transfer(ordinary, 4, fast_buffer)).expect("room");
            let beside = host.submit(1, transfer(NvmOpcode::WRITE, 64, beside_buffer)).expect("room");
            host.port_mut().run_until_idle();
            let both_read = under_way == NvmOpcode::READ && ordinary == NvmOpcode::READ;
            assert_eq!(host.poll(1, met).is_some(), both_read, "{under_way:?}, then {ordinary:?}");
            assert!(host.poll(1, beside).is_some(), "nobody has its blocks");
            host.port_mut().wait(Nanoseconds(2_000_000));
            host.port_mut().run_until_idle();
            assert_eq!(host.poll(1, slow).map(|answer| bare(answer.status())), Some(Status::SUCCESS));
            if !both_read {
                assert_eq!(host.poll(1, met).map(|answer| bare(answer.status())), Some(Status::SUCCESS));
            }
            let stored = if under_way == NvmOpcode::WRITE { &new } else { &old };
            let (_, after) = host.read(1, 0, BLOCKS).expect("answered");
            let expected = match ordinary {
                NvmOpcode::WRITE => [&stored[..BYTES / 2], &newest[..BYTES / 2]].concat(),
                _ => stored.clone(),
            };
            assert_eq!(after, expected, "{under_way:?}, then {ordinary:?}");
            if ordinary == NvmOpcode::READ {
                let seen = host.read_memory(fast_buffer, BYTES / 2);
                assert!(seen == stored[BYTES / 2..], "{under_way:?}, then a Read: of one moment");
            }
        }
    }
}

/// B32: data are in guest memory before the completion that tells of them, and those of a write are taken before.
#[test]
fn data_come_before_completions() {
    for variant in [Variant::PLAIN, Variant { drive: true, fast: true, shadows: None }] {
        let mut host = Build { variant, ..Build::default() }.host();
        assert!(host.port().page.as_ref().map(|page| page as &dyn DoorbellPage).is_none());
        let buffers: Vec<u64> = (0..16).map(|n| page(&mut host, &pattern(n, BYTES))).collect();
        let queue = host.completion_queue(1).expect("there").base;
        let entries = queue..queue + 64 * 16;
        for opcode in [NvmOpcode::WRITE, NvmOpcode::READ] {
            for (lba, buffer) in (0..).step_by(BLOCKS as usize).zip(&buffers) {
                host.submit_quietly(1, transfer(opcode, lba, *buffer)).expect("room");
            }
            host.ring(1).expect("rung");
            let accesses = recorded_step(host.port_mut());
            let first =
                accesses.iter().position(|access| matches!(access, Access::Write(at, _) if entries.contains(at)));
            let first = first.expect("completions were written");
            let of_data = |access: &Access| match (opcode, access) {
                (NvmOpcode::READ, Access::Write(at, _)) | (_, Access::Read(at, _)) => {
                    buffers.iter().any(|buffer| (*buffer..*buffer + BYTES as u64).contains(at))
                }
                _ => false,
            };
            assert!(accesses[..first].iter().filter(|access| of_data(access)).count() >= buffers.len());
            assert!(!accesses[first..].iter().any(of_data), "{opcode:?}: data behind a completion");
            host.port_mut().run_until_idle();
            assert_eq!(reap_all(&mut host, 1).len(), buffers.len());
        }
    }
}
