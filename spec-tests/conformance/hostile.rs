//! Hosts that mean harm or are broken (rules B181–B184; section E). Random commands are in `fuzz`.

use controller::ControllerId;
use nvme_host::Piece;
use nvme_host::admin::{LogArguments, get_log_command};
use nvme_host::io::{block_command, nvm_command};
use nvme_spec::command::{DATASET_DEALLOCATE, DatasetRange};
use nvme_spec::log::LogId;
use nvme_spec::opcode::{AdminOpcode, NvmOpcode};
use nvme_spec::sgl::{SglDescriptor, SglType};
use nvme_spec::{COMMAND_BYTES, Command, Completion, Status};
use spec_tests::racing::RacingMemory;
use spec_tests::random::{Random, cases};
use spec_tests::rig::Build;
use zerocopy::IntoBytes;

use crate::verbs::{TestHost, Verbs, admin, bare, identify_controller, pattern, with_prp};

/// Executes a command while somebody replaces the bytes at `watched` by `after` as soon as the device has read them once. Returns the
/// answer and how often it read them.
fn race(host: &mut TestHost, sqid: u16, command: Command, watched: Option<u64>, after: &[u8]) -> (Completion, u32) {
    let queue = host.submission_queue(sqid).expect("the queue is there");
    let watched = watched.unwrap_or(queue.slot(queue.tail));
    let cid = host.submit(sqid, command).expect("room");
    let rig = &mut host.port_mut().machine;
    let memory = RacingMemory::new(&rig.memory, watched, after);
    for _ in 0..4 {
        rig.subsystem.step(ControllerId::FIRST, rig.now, &memory, None);
    }
    let reads = memory.reads();
    (host.poll(sqid, cid).expect("answered under its own identifier"), reads)
}

/// B184, E48: an entry is read once: what the host makes of it afterwards is nobody's business.
#[test]
fn an_entry_that_changes_after_it_was_read_is_not_read_again() {
    let mut host = Build { namespaces: vec![(4096, 64)], ..Build::default() }.host();
    host.write(1, 7, &[7; 4096], false).expect("answered");
    let [buffer, other] = [0; 2].map(|_| host.allocate(4096).expect("room"));
    let read = with_prp(block_command(NvmOpcode::READ, 1, 7, 1), buffer, 0);
    let changes = [
        Command { opcode: NvmOpcode::WRITE.0, ..read },
        Command { cdw12: 0xffff.into(), ..read },
        Command { cdw10: u32::MAX.into(), ..read },
        Command { nsid: 9.into(), ..read },
        Command { flags: 0xff, ..read },
        Command { cid: 0x7777.into(), ..read },
        with_prp(read, other, 0),
    ];
    for changed in changes {
        host.write_memory(buffer, &[0; 4096]);
        let (answer, reads) = race(&mut host, 1, read, None, changed.as_bytes());
        assert_eq!((answer.status(), reads), (Status::SUCCESS, 1));
        assert!(host.read_memory(buffer, 4096) == [7; 4096] && host.read_memory(other, 4096) == [0; 4096]);
    }
    assert_eq!(host.read(1, 7, 1).expect("answered").1, [7; 4096]);
    let identify = with_prp(identify_controller(), buffer, 0);
    let (answer, reads) = race(&mut host, 0, identify, None, &[0xff; COMMAND_BYTES]);
    assert_eq!((answer.status(), reads), (Status::SUCCESS, 1));
}

/// B184, E48: so is a PRP list.
#[test]
fn a_list_that_changes_after_it_was_read_is_not_read_again() {
    let mut host = Build { namespaces: vec![(4096, 64)], ..Build::default() }.host();
    let data = pattern(1, 8 * 4096);
    host.write(1, 0, &data, false).expect("answered");
    let pages: Vec<u64> = (0..8).map(|_| host.allocate(4096).expect("room")).collect();
    let mapping = host.map_pages(&pages, 0).expect("room");
    let command = mapping.on(block_command(NvmOpcode::READ, 1, 0, 8));
    let (answer, reads) = race(&mut host, 1, command, Some(mapping.pointer.prp2), &[0xff; 7 * 8]);
    assert_eq!((answer.status(), reads), (Status::SUCCESS, 1));
    for (page, expected) in pages.iter().zip(data.as_chunks::<4096>().0) {
        assert!(host.read_memory(*page, 4096) == expected);
    }
}

/// B184, E48: and a segment of an SGL.
#[test]
fn a_segment_that_changes_after_it_was_read_is_not_read_again() {
    let mut host = Build { namespaces: vec![(4096, 64)], ..Build::default() }.host();
    let data = pattern(1, 4 * 4096);
    host.write(1, 0, &data, false).expect("answered");
    let pages: Vec<u64> = (0..4).map(|_| host.allocate(8192).expect("room")).collect();
    let pieces: Vec<Piece> = pages.iter().map(|page| Piece { address: *page + 1, length: 4096 }).collect();
    let mapping = host.map_sgl(&pieces, 64).expect("room");
    let command = mapping.on(block_command(NvmOpcode::READ, 1, 0, 4));
    let (answer, reads) = race(&mut host, 1, command, Some(mapping.first.address.get()), &[0xff; 4 * 16]);
    assert_eq!((answer.status(), reads), (Status::SUCCESS, 1));
    for (page, expected) in pages.iter().zip(data.as_chunks::<4096>().0) {
        assert!(host.read_memory(*page + 1, 4096) == expected);
    }
}

/// B127: a segment that leads to itself is read so often that a step stays short, and no more.
#[test]
fn a_segment_that_leads_to_itself_is_left_soon() {
    let mut host = Build::default().host();
    let list = host.allocate(4096).expect("room");
    let itself = SglDescriptor::new(SglType::SEGMENT, list, 16);
    host.write_memory(list, itself.as_bytes());
    let command = block_command(NvmOpcode::READ, 1, 0, 1).with_sgl1(itself);
    let (answer, reads) = race(&mut host, 1, command, Some(list), itself.as_bytes());
    assert_eq!(bare(answer.status()), Status::INVALID_SGL_COUNT);
    assert!(reads < 10_000, "{reads} reads");
}

/// B184, E48: and so are the ranges of Dataset Management: what was checked is what is done.
#[test]
fn ranges_that_change_after_they_were_read_are_not_read_again() {
    let mut host = Build { namespaces: vec![(512, 64)], ..Build::default() }.over_memory().host();
    host.write(1, 0, &[1; 64 * 512], false).expect("answered");
    let buffer = host.allocate(4096).expect("room");
    let range =
        |slba: u64, blocks: u32| DatasetRange { slba: slba.into(), blocks: blocks.into(), ..Default::default() };
    host.write_memory(buffer, range(0, 1).as_bytes());
    let command = Command {
        cdw11: DATASET_DEALLOCATE.into(),
        ..with_prp(nvm_command(NvmOpcode::DATASET_MANAGEMENT, 1), buffer, 0)
    };
    let (answer, reads) = race(&mut host, 1, command, Some(buffer), range(1, u32::MAX).as_bytes());
    assert_eq!((answer.status(), reads), (Status::SUCCESS, 1));
    assert_eq!(host.identify_namespace(1).expect("active").nuse.get(), 63);
}

/// B184: data of a Write may change while it is copied; each block then holds bytes that were there, and the answer is a success.
#[test]
fn data_is_copied_once() {
    let mut host = Build::default().host();
    let buffer = host.allocate(4096).expect("room");
    host.write_memory(buffer, &[1; 4096]);
    let command = with_prp(block_command(NvmOpcode::WRITE, 1, 0, 8), buffer, 0);
    let (answer, reads) = race(&mut host, 1, command, Some(buffer), &[2; 4096]);
    assert_eq!((answer.status(), reads), (Status::SUCCESS, 1));
    assert_eq!(host.read(1, 0, 8).expect("answered").1, [1; 4096]);
}

/// B70, E22: Identify and logs write what they are, whatever room the host describes behind it.
#[test]
fn structures_do_not_write_behind_themselves() {
    let mut host = Build::default().admin_host();
    let buffer = host.allocate(3 * 4096).expect("room");
    let mapping = host.map(buffer, 3 * 4096).expect("room");
    host.write_memory(buffer, &[0xee; 3 * 4096]);
    assert_eq!(host.admin_status(mapping.on(identify_controller())), Status::SUCCESS);
    assert_eq!(host.read_memory(buffer + 4096, 8192), [0xee; 8192]);
    host.write_memory(buffer, &[0xee; 3 * 4096]);
    let log = get_log_command(LogId::SMART, 512, LogArguments::default());
    assert_eq!(host.admin_status(mapping.on(log)), Status::SUCCESS);
    assert_eq!(host.read_memory(buffer + 512, 4096 - 512), [0xee; 4096 - 512]);
}

/// E5, B81: each optional command that is not offered is an invalid opcode, with any arguments.
#[test]
fn commands_that_are_not_offered_are_refused_with_any_arguments() {
    let mut host = Build::default().over_memory().host();
    let mut random = Random::new(5);
    for _ in 0..50 {
        for opcode in
            [0x0d, 0x10, 0x11, 0x14, 0x15, 0x19, 0x1a, 0x1c, 0x1d, 0x20, 0x24, 0x80, 0x81, 0x82, 0x84, 0x86, 0xc0]
        {
            let arguments = garbage(&mut random);
            let command = Command { opcode, flags: 0, ..arguments };
            assert_eq!(host.admin_status(command), Status::INVALID_OPCODE, "admin {opcode:#x}");
        }
        for opcode in [0x03, 0x0f, 0x10, 0x12, 0x14, 0x16, 0x18, 0x1a, 0x79, 0x7d, 0x80, 0xff] {
            let command = Command { opcode, flags: 0, ..garbage(&mut random) };
            assert_eq!(host.io_status(command), Status::INVALID_OPCODE, "I/O {opcode:#x}");
        }
    }
    host.assert_alive();
}

/// A command of random bytes.
fn garbage(random: &mut Random) -> Command {
    let mut command = Command::default();
    command.as_mut_bytes().copy_from_slice(&random.bytes(COMMAND_BYTES));
    command
}

/// E44: commands of namespaces that cannot be leave nothing behind: their queue can be deleted and made again.
#[test]
fn invalid_namespaces_leave_nothing_in_their_queue() {
    let mut host = Build::default().host();
    for _ in 0..cases(2000) {
        flood(&mut host, 1, |_| nvm_command(NvmOpcode::READ, 0xffff), Some(Status::INVALID_NAMESPACE));
        host.port_mut().take_vectors();
    }
    host.delete_queue_pair(1).expect("nothing is left in it");
    host.create_queue_pair(1, 64, Some(1)).expect("the identifier is free again");
    assert_eq!(host.read(1, 0, 1).expect("answered").0, Status::SUCCESS);
}

/// Fills half a queue with commands and takes their answers.
fn flood(host: &mut TestHost, sqid: u16, mut command: impl FnMut(u16) -> Command, expected: Option<Status>) {
    let cids: Vec<u16> = (0..16).map(|index| host.submit_quietly(sqid, command(index)).expect("room")).collect();
    host.ring(sqid).expect("the queue is there");
    for cid in cids {
        let status = bare(host.wait(sqid, cid).expect("answered").status());
        assert!(!status.is_success());
        assert!(expected.is_none_or(|expected| status == expected), "{status:?}");
    }
}

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number of pages");
    pages * 4096
}

/// B181, E16: a hundred thousand commands that fail, in every way that a command can, leave memory as it was and the device alive.
/// Memory is measured in a process of its own, since other tests of this one use it as they like.
#[test]
fn a_hundred_thousand_invalid_commands_cost_no_memory() {
    const ALONE: &str = "BROWNOUT_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "hostile::a_hundred_thousand_invalid_commands_cost_no_memory";
        let this = std::env::current_exe().expect("the test has a file");
        let child = std::process::Command::new(this).args(["--exact", name, "--nocapture"]).env(ALONE, "1").output();
        let output = child.expect("it runs once more");
        let told = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && told.contains("1 passed"), "{told}");
        return;
    }
    let mut host = Build::default().host();
    let mut before = 0;
    let total = cases(100_000) / 80;
    for round in 0..total {
        let absent = |opcode| move |_| nvm_command(opcode, 77);
        flood(
            &mut host,
            1,
            |index| nvm_command(NvmOpcode(0x80 | index.to_le_bytes()[0]), 1),
            Some(Status::INVALID_OPCODE),
        );
        flood(&mut host, 1, absent(NvmOpcode::READ), Some(Status::INVALID_NAMESPACE));
        flood(&mut host, 1, |_| block_command(NvmOpcode::WRITE, 1, u64::MAX, 1), Some(Status::LBA_OUT_OF_RANGE));
        let unmapped = |_| with_prp(block_command(NvmOpcode::READ, 1, 0, 1024), 1 << 44, 1 << 45);
        flood(&mut host, 1, unmapped, Some(Status::DATA_TRANSFER_ERROR));
        flood(&mut host, 0, |index| admin(AdminOpcode(0xc0 | index.to_le_bytes()[0]), 1), Some(Status::INVALID_OPCODE));
        host.port_mut().take_vectors();
        // The first tenth fills what is allowed to fill: error log, tables, the allocator's own.
        if round == total / 10 {
            before = resident();
        }
    }
    let after = resident();
    assert!(after < before + (1 << 20), "{before} bytes after a tenth of the commands, {after} after all");
    host.assert_alive();
}

/// B181, E49: a host that describes its data one byte at a time gets few commands a step, so that no step takes long.
#[test]
fn commands_in_tens_of_thousands_of_pieces_are_spread_over_steps() {
    let mut host = Build::default().host();
    let pieces: Vec<Piece> = (0..32_768).map(|piece| Piece { address: 0x300_0000 + piece * 2, length: 1 }).collect();
    let mapping = host.map_sgl(&pieces, 256).expect("room");
    for _ in 0..16 {
        host.submit_quietly(1, mapping.on(block_command(NvmOpcode::READ, 1, 0, 64))).expect("room");
    }
    host.ring(1).expect("the queue exists");
    let mut steps = 0;
    let mut answered = 0;
    while answered < 16 {
        steps += 1;
        host.port_mut().step();
        while host.reap(1).is_some() {
            answered += 1;
        }
        assert!(steps < 1000);
    }
    assert_eq!(steps, 16, "one such command a step");
}
