//! The fast path of ordinary Reads and Writes: it is taken, it meets commands under way, and data are there before completions are (B32).

use controller::dma::DoorbellPage;
use media::Nanoseconds;
use nvme_host::io::block_command;
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{Command, Status};
use spec_tests::rig::Build;
use spec_tests::variant::Variant;

use crate::support::{Access, reap_all, recorded_step};
use crate::verbs::{TestHost, bare, pattern, with_prp};

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
    }
    assert!(host.surprises().is_empty());
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
