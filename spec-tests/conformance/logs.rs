//! Log pages (rules B82–B92).

use nvme_host::admin::{LogArguments, get_log_command};
use nvme_host::doorbell::Doorbell;
use nvme_host::io::{block_command, nvm_command};
use nvme_spec::command::{CopyRange, DatasetRange};
use nvme_spec::log::{
    CHANGED_NAMESPACES_BYTES, COMMAND_EFFECTS_BYTES, COMMAND_EFFECTS_IO_OFFSET, FEATURE_EFFECTS_BYTES, LogId,
    MANAGEMENT_EFFECTS_BYTES, SUPPORTED_BYTES, effects,
};
use nvme_spec::opcode::{AdminOpcode, NvmOpcode};
use nvme_spec::{Command, NSID_ALL, Status};
use spec_tests::rig::Build;
use zerocopy::IntoBytes;

use crate::verbs::{TRANSFERS, TestHost, Verbs, admin, bare, with_prp};

/// Every page that there is, with its size.
const PAGES: [(LogId, usize); 11] = [
    (LogId::SUPPORTED, SUPPORTED_BYTES),
    (LogId::ERROR, 64 * 64),
    (LogId::SMART, 512),
    (LogId::FIRMWARE_SLOT, 512),
    (LogId::CHANGED_NAMESPACES, CHANGED_NAMESPACES_BYTES),
    (LogId::COMMAND_EFFECTS, COMMAND_EFFECTS_BYTES),
    (LogId::ENDURANCE_GROUP, 512),
    (LogId::FEATURE_EFFECTS, FEATURE_EFFECTS_BYTES),
    (LogId::MANAGEMENT_EFFECTS, MANAGEMENT_EFFECTS_BYTES),
    (LogId::RESERVATION, 64),
    (LogId::OCP_SMART, 512),
];

/// From an offset on, of the one endurance group where the page is of a group.
fn at(offset: u64) -> LogArguments {
    LogArguments { offset, specific_identifier: 1, ..LogArguments::default() }
}

/// The dwords of a page of dwords.
fn dwords(host: &mut TestHost, log: LogId, bytes: usize) -> Vec<u32> {
    let page = host.get_log(log, bytes, LogArguments::default()).expect("supported");
    page.as_chunks::<4>().0.iter().map(|dword| u32::from_le_bytes(*dword)).collect()
}

/// B82: the mandatory pages are there.
#[test]
fn mandatory_pages_are_answered() {
    let mut host = Build::default().admin_host();
    for lid in [0x00, 0x01, 0x02, 0x03, 0x05, 0x12] {
        assert_eq!(host.log_status(LogId(lid), 512, LogArguments::default()), Status::SUCCESS, "{lid:#x}");
    }
}

/// B82: the firmware log names the active slot and the revision that Identify names.
#[test]
fn firmware_log_agrees_with_identify() {
    let mut host = Build::default().admin_host();
    let page = host.get_log(LogId::FIRMWARE_SLOT, 512, LogArguments::default()).expect("mandatory");
    let identify = host.identify_controller().expect("mandatory");
    let slot = usize::from(page[0] & 0b111);
    assert!((1..=7).contains(&slot));
    assert_eq!(page[slot * 8..][..8], identify.fr);
    // FRMW: bits 3:1 say how many slots there are.
    assert!(slot <= usize::from(identify.frmw >> 1 & 0b111));
}

/// B83, B91: over all identifiers, page 00h says supported exactly where the page is not refused as an invalid log page.
#[test]
fn supported_pages_are_those_that_are_answered() {
    let mut host = Build::default().admin_host();
    let supported = dwords(&mut host, LogId::SUPPORTED, SUPPORTED_BYTES);
    for lid in 0..=u8::MAX {
        let expected = match supported[usize::from(lid)] & effects::SUPPORTED {
            0 => Status::INVALID_LOG_PAGE,
            _ => Status::SUCCESS,
        };
        assert_eq!(host.log_status(LogId(lid), 64, at(0)), expected, "LID {lid:#x}");
        assert_eq!(PAGES.iter().any(|(page, _)| page.0 == lid), expected.is_success(), "LID {lid:#x} in this test");
    }
}

/// B91: over all admin opcodes, page 05h says supported exactly where the opcode is not refused.
#[test]
fn supported_admin_opcodes_are_those_that_are_carried_out() {
    for shadow_doorbells in [false, true] {
        let mut build = Build::default();
        build.device.dbcs = shadow_doorbells;
        let mut host = build.admin_host();
        let supported = dwords(&mut host, LogId::COMMAND_EFFECTS, COMMAND_EFFECTS_BYTES);
        for opcode in 0..=u8::MAX {
            let cid = host.submit(0, admin(AdminOpcode(opcode), 0)).expect("room");
            host.port_mut().run_until_idle();
            let refused = host.poll(0, cid).is_some_and(|answer| bare(answer.status()) == Status::INVALID_OPCODE);
            let marked = supported[usize::from(opcode)] & effects::SUPPORTED != 0;
            assert_eq!(marked, !refused, "admin opcode {opcode:#x}");
        }
        let doorbells = usize::from(AdminOpcode::DOORBELL_BUFFER_CONFIG.0);
        assert_eq!(supported[doorbells] & effects::SUPPORTED != 0, shadow_doorbells);
    }
}

/// B91, B59: over all I/O opcodes, page 05h says supported exactly where the opcode is not refused.
#[test]
fn supported_io_opcodes_are_those_that_are_carried_out() {
    let mut host = Build::default().host();
    let supported = dwords(&mut host, LogId::COMMAND_EFFECTS, COMMAND_EFFECTS_BYTES);
    let buffer = host.allocate(4096).expect("room");
    let mut uncorrectable = false;
    for opcode in 0..=u8::MAX {
        let status = host.io_status(with_prp(nvm_command(NvmOpcode(opcode), 1), buffer, 0));
        let marked = supported[COMMAND_EFFECTS_IO_OFFSET / 4 + usize::from(opcode)] & effects::SUPPORTED != 0;
        let expected = match NvmOpcode(opcode) {
            _ if !marked => Status::INVALID_OPCODE,
            // What the sweep made uncorrectable it cannot read.
            NvmOpcode::COMPARE | NvmOpcode::VERIFY if uncorrectable => Status::UNRECOVERED_READ,
            // There is no reservation of type 0.
            NvmOpcode::RESERVATION_ACQUIRE | NvmOpcode::RESERVATION_RELEASE => Status::INVALID_FIELD,
            _ => Status::SUCCESS,
        };
        uncorrectable |= opcode == NvmOpcode::WRITE_UNCORRECTABLE.0;
        uncorrectable &= ![NvmOpcode::WRITE_ZEROES.0, NvmOpcode::WRITE.0].contains(&opcode);
        assert_eq!(status, expected, "I/O opcode {opcode:#x}");
    }
}

/// B91: ONCS and OACS name what page 05h names.
#[test]
fn identify_and_the_effects_log_name_the_same_optional_commands() {
    let mut host = Build::default().admin_host();
    let supported = dwords(&mut host, LogId::COMMAND_EFFECTS, COMMAND_EFFECTS_BYTES);
    let identify = host.identify_controller().expect("mandatory");
    let oncs = identify.oncs.get();
    let io = [(0, 0x05), (1, 0x04), (2, 0x09), (3, 0x08), (5, 0x0d), (7, 0x0c), (8, 0x19)];
    for (bit, opcode) in io {
        let marked = supported[COMMAND_EFFECTS_IO_OFFSET / 4 + opcode] & effects::SUPPORTED != 0;
        assert_eq!(oncs & 1 << bit != 0, marked, "ONCS bit {bit}");
    }
    let oacs = identify.oacs.get();
    let admin = [(0, 0x81), (1, 0x80), (2, 0x10), (3, 0x0d), (4, 0x14), (5, 0x19), (7, 0x1c), (8, 0x7c)];
    for (bit, opcode) in admin {
        assert_eq!(oacs & 1 << bit != 0, supported[opcode] & effects::SUPPORTED != 0, "OACS bit {bit}");
    }
}

/// B84, E3: an offset behind the page is refused; one inside gives the tail.
#[test]
fn offsets_give_the_tail_and_never_what_is_behind_the_page() {
    let mut host = Build::default().host();
    // Something in the error log, so that its pages differ.
    let _ = host.io_status(nvm_command(NvmOpcode::READ, 0));
    for (log, size) in PAGES {
        let whole = host.get_log(log, size, LogArguments { retain_event: true, ..at(0) }).expect("supported");
        for offset in [4, 64, size / 2, size - 4].into_iter().filter(|offset| *offset < size) {
            let tail = host.get_log(log, size - offset, at(offset as u64)).expect("inside");
            assert!(tail == whole[offset..], "{log:?} from {offset}");
        }
        let size = size as u64;
        for offset in [size + 4, 1 << 32, (1 << 32) + 4, 1 << 63, u64::MAX - 3] {
            assert_eq!(host.log_status(log, 512, at(offset)), Status::INVALID_FIELD, "{log:?} from {offset:#x}");
        }
    }
}

/// B84: the low two bits of the offset are zero, and an offset as an index is not offered.
#[test]
fn crooked_offsets_are_refused() {
    let mut host = Build::default().admin_host();
    for offset in 1..4 {
        assert_eq!(host.log_status(LogId::SMART, 512, at(offset)), Status::INVALID_FIELD);
    }
    let mut command = get_log_command(LogId::SMART, 512, at(0));
    command.cdw14 = (1 << 23).into();
    assert_eq!(host.admin_status(command), Status::INVALID_FIELD);
}

/// B84, B85, E3, E4, E43: every identifier at every edge with the most that a transfer may be: never a byte from behind the page.
#[test]
fn long_reads_at_every_edge_leak_nothing() {
    let mut host = Build::default().admin_host();
    let most = Build::default().device.mdts;
    let length = 4096 << most;
    let buffer = host.allocate(length).expect("room");
    let mapping = host.map(buffer, length).expect("room");
    for lid in 0..=u8::MAX {
        let size = PAGES.iter().find(|(page, _)| page.0 == lid).map_or(512, |(_, size)| *size) as u64;
        for offset in [size - 4, size, size + 4, 1 << 32, u64::MAX - 3] {
            host.write_memory(buffer, &vec![0xee; length]);
            let command = get_log_command(LogId(lid), length, at(offset));
            let status = host.admin_status(mapping.on(command));
            let bytes = host.read_memory(buffer, length);
            let supported = PAGES.iter().any(|(page, _)| page.0 == lid);
            let expected = match supported {
                false => Status::INVALID_LOG_PAGE,
                true if offset > size => Status::INVALID_FIELD,
                true => Status::SUCCESS,
            };
            assert_eq!(status, expected, "LID {lid:#x} from {offset:#x}");
            let untouched = if status.is_success() { 0 } else { 0xee };
            assert!(bytes[4..].iter().all(|byte| *byte == untouched), "LID {lid:#x} from {offset:#x}");
        }
    }
}

/// B85: behind the end of a page there are zeroes, and NUMDU counts: 128 KiB are transferred and no more.
#[test]
fn a_length_above_64_kib_uses_both_halves() {
    let mut host = Build::default().admin_host();
    let (length, guard) = (128 << 10, 4096);
    let buffer = host.allocate(length + guard).expect("room");
    host.write_memory(buffer, &vec![0xee; length + guard]);
    let mapping = host.map(buffer, length).expect("room");
    let command = get_log_command(LogId::SMART, length, at(0));
    assert_eq!(host.admin_status(mapping.on(command)), Status::SUCCESS);
    let bytes = host.read_memory(buffer, length + guard);
    assert!(bytes[512..length].iter().all(|byte| *byte == 0));
    assert!(bytes[length..].iter().all(|byte| *byte == 0xee));
}

/// B85, E19: the largest NUMD is more than MDTS and is refused, without an overflow.
#[test]
fn the_largest_number_of_dwords_is_refused() {
    let mut host = Build::default().admin_host();
    for (numdl, numdu) in [(0xffff, 0xffff), (0, 0xffff), (0xffff, 0x7fff), (0xffff, 0x3fff), (0, 0x8000)] {
        for (log, _) in PAGES {
            let mut command = get_log_command(log, 4, at(0));
            command.cdw10 = (u32::from(log.0) | numdl << 16).into();
            command.cdw11 = numdu.into();
            assert_eq!(host.admin_status(command), Status::INVALID_FIELD, "{log:?} {numdu:x}{numdl:x}h");
        }
    }
    host.assert_alive();
}

/// B68, E23: a page may begin at any dword and go on in another page of memory.
#[test]
fn a_page_may_be_split_at_every_dword() {
    let mut host = Build::default().admin_host();
    let whole = host.get_log(LogId::COMMAND_EFFECTS, 4096, at(0)).expect("supported");
    let [first, second] = [0; 2].map(|_| host.allocate(4096).expect("room"));
    for offset in (0..4096_usize).step_by(4) {
        let command = get_log_command(LogId::COMMAND_EFFECTS, 4096, at(0));
        host.write_memory(second, &[0xee; 4096]);
        assert_eq!(host.admin_status(with_prp(command, first + offset as u64, second)), Status::SUCCESS);
        let head = host.read_memory(first + offset as u64, 4096 - offset);
        let tail = host.read_memory(second, 4096);
        assert!(head == whole[..4096 - offset] && tail[..offset] == whole[4096 - offset..], "split at {offset}");
        assert!(tail[offset..].iter().all(|byte| *byte == 0xee));
    }
}

/// B86: SMART is of the controller; a namespace has none of its own.
#[test]
fn smart_of_one_namespace_is_refused() {
    let mut host = Build::default().admin_host();
    for (nsid, expected) in [(0, Status::SUCCESS), (NSID_ALL, Status::SUCCESS), (1, Status::INVALID_FIELD)] {
        assert_eq!(host.log_status(LogId::SMART, 512, LogArguments { nsid, ..at(0) }), expected, "NSID {nsid:x}h");
    }
    // LPA bit 0 says whether there is one for each namespace.
    assert_eq!(host.identify_controller().expect("mandatory").lpa & 1, 0);
}

/// B87: data units are thousands of 512 bytes, rounded up; Compare counts as a read, Flush, Write Zeroes and DSM move nothing.
#[test]
fn smart_counts_what_was_moved() {
    let mut host = Build::default().host();
    assert_eq!(host.smart().data_units_read.get(), 0);
    let data = vec![7; 500 << 9];
    assert_eq!(host.write(1, 0, &data, false).expect("answered"), Status::SUCCESS);
    let smart = host.smart();
    assert_eq!((smart.data_units_written.get(), smart.host_write_commands.get()), (1, 1));
    assert_eq!(host.write(1, 0, &data, false).expect("answered"), Status::SUCCESS);
    assert_eq!(host.smart().data_units_written.get(), 1);
    assert_eq!(host.write(1, 0, &data[..512], false).expect("answered"), Status::SUCCESS);
    let smart = host.smart();
    assert_eq!((smart.data_units_written.get(), smart.host_write_commands.get()), (2, 3));

    assert!(host.read(1, 0, 1000).expect("answered").0.is_success());
    assert_eq!(host.compare(1, 0, &data[..512]).expect("answered"), Status::SUCCESS);
    assert_eq!(host.flush(1).expect("answered"), Status::SUCCESS);
    assert_eq!(host.write_zeroes(1, 0, 65536 / 2, false).expect("answered"), Status::SUCCESS);
    assert_eq!(host.deallocate(1, &[(0, 100)]).expect("answered"), Status::SUCCESS);
    let smart = host.smart();
    assert_eq!((smart.data_units_read.get(), smart.host_read_commands.get()), (2, 2));
    assert_eq!((smart.data_units_written.get(), smart.host_write_commands.get()), (2, 3));
}

/// B87: a command that is refused before it moves anything is not counted.
#[test]
fn smart_counts_nothing_that_was_refused() {
    let mut host = Build::default().host();
    let buffer = host.allocate(4096).expect("room");
    let last = host.identify_namespace(1).expect("active").nsze.get() - 1;
    for opcode in TRANSFERS {
        for lba in [last, u64::MAX] {
            let command = with_prp(block_command(opcode, 1, lba, 2), buffer, 0);
            assert_eq!(host.io_status(command), Status::LBA_OUT_OF_RANGE);
        }
    }
    let smart = host.smart();
    assert_eq!((smart.host_read_commands.get(), smart.host_write_commands.get()), (0, 0));
    assert_eq!((smart.data_units_read.get(), smart.data_units_written.get()), (0, 0));
}

/// B88: newest first, counts rise by one from 1, and each entry names its command.
#[test]
fn error_entries_name_the_command_newest_first() {
    let mut host = Build::default().host();
    let first = host.submit(1, block_command(NvmOpcode::READ, 1, 0x1234_5678_9abc, 1)).expect("room");
    let answer = host.wait(1, first).expect("answered");
    assert_eq!(host.admin_status(admin(AdminOpcode(0xff), 5)), Status::INVALID_OPCODE);
    let entries = host.error_log();
    assert_eq!(entries.iter().map(|entry| entry.error_count.get()).collect::<Vec<_>>(), [2, 1]);
    let read = entries[1];
    assert_eq!((read.sqid.get(), read.cid.get()), (1, first));
    assert_eq!((read.lba.get(), read.nsid.get(), read.opcode), (0x1234_5678_9abc, 1, NvmOpcode::READ.0));
    assert_eq!(bare(Status(read.status.get() >> 1)), bare(answer.status()));
    assert_eq!((entries[0].sqid.get(), entries[0].nsid.get(), entries[0].opcode), (0, 5, 0xff));
}

/// B88: ELPE + 1 entries are kept; the counts go on rising. B90: SMART tells how many there ever were.
#[test]
fn the_error_log_keeps_the_newest_and_counts_all() {
    let mut host = Build::default().host();
    let kept = usize::from(host.identify_controller().expect("mandatory").elpe_z) + 1;
    let total = kept + 36;
    for lba in 0..total {
        let command = block_command(NvmOpcode::READ, 1, 1 << 40 | lba as u64, 1);
        assert_eq!(host.io_status(command), Status::LBA_OUT_OF_RANGE);
    }
    let entries = host.error_log();
    assert_eq!(entries.len(), kept);
    for (entry, number) in entries.iter().zip((1..=total as u64).rev()) {
        assert_eq!((entry.error_count.get(), entry.lba.get()), (number, 1 << 40 | (number - 1)));
    }
    assert_eq!(host.smart().error_log_entries.get(), total as u128);
}

/// B88, E6: offset 64 gives the second newest entry.
#[test]
fn the_error_log_honours_the_offset() {
    let mut host = Build::default().host();
    for lba in [1 << 40, 2 << 40] {
        let _ = host.io_status(block_command(NvmOpcode::READ, 1, lba, 1));
    }
    let entry = host.get_log(LogId::ERROR, 64, at(64)).expect("inside");
    assert_eq!((entry[0], u64::from_le_bytes(entry[16..24].try_into().expect("eight bytes"))), (1, 1 << 40));
}

/// B88: an error without a command has FFFFh as its identifiers.
#[test]
fn an_error_of_no_command_names_none() {
    let mut host = Build::default().with_registers().host();
    host.write_doorbell(Doorbell::SubmissionTail(40), 1);
    host.port_mut().run_until_idle();
    let entries = host.error_log();
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].sqid.get(), entries[0].cid.get()), (0xffff, 0xffff));
}

/// B89: an answer that says More has an entry, and a success says no More.
#[test]
fn more_is_said_where_the_log_has_more() {
    let mut host = Build::default().host();
    let good = host.execute(1, nvm_command(NvmOpcode::FLUSH, 1)).expect("answered");
    assert!(!good.status().more());
    assert_eq!(host.smart().error_log_entries.get(), 0);
    let bad = host.execute(1, nvm_command(NvmOpcode::FLUSH, 9)).expect("answered");
    assert!(bad.status().more());
    assert_eq!(host.error_log()[0].cid.get(), bad.cid.get());
}

/// B91: what page 05h says of the logical blocks' contents is so.
#[test]
fn commands_that_change_contents_are_marked() {
    let mut host = Build::default().host();
    let supported = dwords(&mut host, LogId::COMMAND_EFFECTS, COMMAND_EFFECTS_BYTES);
    let buffer = host.allocate(4096).expect("room");
    for (index, dword) in supported[COMMAND_EFFECTS_IO_OFFSET / 4..].iter().take(256).enumerate() {
        if dword & effects::SUPPORTED == 0 {
            continue;
        }
        assert_eq!(host.write(1, 0, &[5; 512], false).expect("answered"), Status::SUCCESS);
        host.write_memory(buffer, DatasetRange { blocks: 1.into(), ..Default::default() }.as_bytes());
        let opcode = NvmOpcode(u8::try_from(index).expect("below 256"));
        let mut command = nvm_command(opcode, 1);
        if opcode == NvmOpcode::DATASET_MANAGEMENT {
            command = Command { cdw11: 4.into(), ..command };
        }
        if opcode == NvmOpcode::COPY {
            host.write_memory(buffer, CopyRange { slba: 1.into(), ..Default::default() }.as_bytes());
        }
        let _ = host.io_status(with_prp(command, buffer, 0));
        let changed = host.read(1, 0, 1).expect("answered").1 != [5; 512];
        assert_eq!(changed, dword & effects::CONTENT_CHANGE != 0, "I/O opcode {index:#x}");
    }
}

/// B92 (ours): a page read in two parts with RAE is the page as it is at each read; reading does not change it.
#[test]
fn reading_a_page_does_not_change_it() {
    let mut host = Build::default().host();
    let _ = host.io_status(nvm_command(NvmOpcode::FLUSH, 9));
    for (log, size) in PAGES {
        let read = |host: &mut TestHost| host.get_log(log, size, LogArguments { retain_event: true, ..at(0) });
        let (first, second) = (read(&mut host).expect("supported"), read(&mut host).expect("supported"));
        assert!(first == second, "{log:?}");
    }
}

/// A host that asks for what is not there is told so, and the error log, which operators watch, holds nothing of it: of Identify, every
/// structure and command set; every log page; every feature, got and set. What is wrong about what is there goes on being an error.
#[test]
fn probes_leave_nothing_in_the_error_log() {
    let mut host = Build::default().admin_host();
    let buffer = host.allocate(4096).expect("room");
    let mut refused = 0;
    for named in 0..=u32::from(u8::MAX) {
        for (opcode, command_set) in [
            (AdminOpcode::IDENTIFY, 0),
            (AdminOpcode::IDENTIFY, 2),
            (AdminOpcode::GET_LOG_PAGE, 0),
            (AdminOpcode::GET_FEATURES, 0),
            (AdminOpcode::SET_FEATURES, 0),
        ] {
            let command = Command {
                nsid: 1.into(),
                cdw10: named.into(),
                cdw11: (command_set << 24).into(),
                ..with_prp(admin(opcode, 0), buffer, 0)
            };
            // These are there, and want no namespace or a group.
            let want_more = match opcode {
                AdminOpcode::SET_FEATURES => matches!(named, 0x01 | 0x02 | 0x04 | 0x06..=0x0b | 0x0f | 0x16 | 0x81),
                AdminOpcode::GET_LOG_PAGE => matches!(named, 0x02 | 0x09),
                _ => false,
            };
            if want_more {
                continue;
            }
            let status = host.admin_answer(command).status();
            let absent = [Status::INVALID_FIELD, Status::INVALID_LOG_PAGE].contains(&bare(status));
            refused += usize::from(absent);
            assert!(absent || status.is_success(), "{opcode:?} {named:#x}: {status:?}");
            assert!(!status.more(), "{opcode:?} {named:#x}: the log has nothing of it");
        }
    }
    assert!(refused > 5 * 200, "{refused}");
    assert_eq!((host.error_log().len(), host.smart().error_log_entries.get()), (0, 0));
    let bad_offset = LogArguments { offset: 2, ..LogArguments::default() };
    assert_eq!(host.log_status(LogId::ERROR, 64, bad_offset), Status::INVALID_FIELD);
    assert_eq!(host.error_log().len(), 1, "this page is there");
}
