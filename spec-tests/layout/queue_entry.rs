//! Submission and completion queue entries, the status field, and what commands carry (Base 2.1 sections 4.1 and 4.2).

use nvme_spec::command::{self, CopyRange, DatasetRange};
use nvme_spec::{Command, Completion, Status};
use spec_tests::fields_at;
use spec_tests::golden::parsed;

// Base 2.1 section 4.1, common command format: dword 0 is opcode, FUSE and PSDT, CID; NSID is dword 1.
#[test]
fn a_command_lies_as_the_common_format_says() {
    fields_at!(Command, 64 bytes, {
        opcode: 0, 1;
        flags: 1, 1;
        cid: 2, 2;
        nsid: 4, 4;
        cdw2: 8, 4;
        cdw3: 12, 4;
        mptr: 16, 8;
        prp1: 24, 8;
        prp2: 32, 8;
        cdw10: 40, 4;
        cdw11: 44, 4;
        cdw12: 48, 4;
        cdw13: 52, 4;
        cdw14: 56, 4;
        cdw15: 60, 4;
    }, reserved {});
}

// A Write of 8 blocks at 1_2345_6789h with FUA, as a driver puts it into memory.
#[test]
fn a_whole_write_command_reads_back() {
    #[rustfmt::skip]
    let raw: [u8; 64] = [
        0x01, 0x00, 0x34, 0x12, 0x01, 0x00, 0x00, 0x00, // opcode, flags, CID, NSID
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // dwords 2 and 3
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // MPTR
        0x00, 0x10, 0x00, 0xc0, 0x07, 0x00, 0x00, 0x00, // PRP1
        0x00, 0x20, 0x00, 0xc0, 0x07, 0x00, 0x00, 0x00, // PRP2
        0x89, 0x67, 0x45, 0x23, 0x01, 0x00, 0x00, 0x00, // SLBA
        0x07, 0x00, 0x00, 0x40, 0x00, 0x00, 0x00, 0x00, // NLB zero-based, FUA in bit 30; dword 13
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // dwords 14 and 15
    ];
    let write: Command = parsed(&raw);
    assert_eq!((write.opcode, write.cid.get(), write.nsid.get()), (0x01, 0x1234, 1));
    assert_eq!((write.prp1.get(), write.prp2.get()), (0x7_c000_1000, 0x7_c000_2000));
    assert_eq!((write.slba(), write.nlb_z(), write.force_unit_access()), (0x1_2345_6789, 7, true));
    assert_eq!((write.fuse(), write.psdt()), (0, 0));
}

// Byte 1 of the command: FUSE in bits 1:0 (dword 0 bits 9:8), PSDT in bits 7:6 (dword 0 bits 15:14).
#[test]
fn fuse_and_psdt_share_a_byte_with_nothing_between() {
    let flags = |flags: u8| Command { flags, ..Command::default() };
    assert_eq!((flags(0b0000_0010).fuse(), flags(0b0000_0010).psdt()), (2, 0));
    assert_eq!((flags(0b0100_0000).fuse(), flags(0b0100_0000).psdt()), (0, 1));
    assert_eq!((flags(0b0011_1100).fuse(), flags(0b0011_1100).psdt()), (0, 0));
    assert_eq!((flags(0xff).fuse(), flags(0xff).psdt()), (3, 3));
}

// NVM Command Set 1.1 section 3.3.8 (Write Zeroes dword 12) and 3.3.3 (Dataset Management dword 11).
#[test]
fn bits_of_io_commands() {
    assert_eq!(command::WRITE_ZEROES_DEALLOCATE, 0x0200_0000);
    assert_eq!(command::WRITE_ZEROES_NAMESPACE, 0x0080_0000);
    assert_eq!(command::DATASET_DEALLOCATE, 0x0000_0004);
    assert_eq!((command::low16(0x1234_5678), command::high16(0x1234_5678)), (0x5678, 0x1234));
}

// NVM Command Set 1.1 section 3.3.3: context attributes, length in blocks, starting LBA.
#[test]
fn a_dataset_range_lies_as_its_figure_says() {
    fields_at!(DatasetRange, 16 bytes, {
        context_attributes: 0, 4;
        blocks: 4, 4;
        slba: 8, 8;
    }, reserved {});
}

// NVM Command Set 1.1 section 3.3.2, source range entries of descriptor format 0h.
#[test]
fn a_copy_range_lies_as_its_figure_says() {
    fields_at!(CopyRange, 32 bytes, {
        slba: 8, 8;
        nlb_z: 16, 2;
        options: 20, 4;
        reference_tag: 24, 4;
        application_tag: 28, 2;
        application_tag_mask: 30, 2;
    }, reserved { reserved_0, reserved_18 });
}

// Base 2.1 section 4.2, common completion format.
#[test]
fn a_completion_lies_as_the_common_format_says() {
    fields_at!(Completion, 16 bytes, {
        dw0: 0, 4;
        dw1: 4, 4;
        sq_head: 8, 2;
        sqid: 10, 2;
        cid: 12, 2;
        status_and_phase: 14, 2;
    }, reserved {});
}

// Base 2.1 section 4.2.3: in dword 3, bit 16 is the phase, SC 24:17, SCT 27:25, CRD 29:28, M 30, DNR 31.
#[test]
fn the_status_field_has_its_bits_where_dword_3_has_them() {
    let with_dword_3 = |dword: u32| {
        let mut raw = [0; 16];
        raw[12..].copy_from_slice(&dword.to_le_bytes());
        parsed::<Completion>(&raw)
    };
    assert!(with_dword_3(1 << 16).phase() && with_dword_3(1 << 16).status().is_success());
    assert!(!with_dword_3(!(1 << 16)).phase());
    assert_eq!(with_dword_3(0xffff).cid.get(), 0xffff);
    assert_eq!(with_dword_3(0xffff).status(), Status::SUCCESS);
    assert_eq!(with_dword_3(0xa5 << 17).status().code(), 0xa5);
    assert_eq!(with_dword_3(0xa5 << 17).status().code_type(), 0);
    assert_eq!(with_dword_3(0x5 << 25).status().kind(), (5, 0));
    assert!(!with_dword_3(0b11 << 28).status().more() && !with_dword_3(0b11 << 28).status().do_not_retry());
    assert!(with_dword_3(1 << 30).status().more() && !with_dword_3(1 << 30).status().do_not_retry());
    assert!(with_dword_3(1 << 31).status().do_not_retry() && !with_dword_3(1 << 31).status().more());
}

// Invalid Field with More, DNR and a phase of 1 is C005h in the last word: SC 02h moved up by one, bits 14 and 15, bit 0.
#[test]
fn a_whole_completion_reads_back() {
    let raw = [0x78, 0x56, 0x34, 0x12, 0, 0, 0, 0, 0x05, 0x00, 0x03, 0x00, 0x07, 0x00, 0x05, 0xc0];
    let completion: Completion = parsed(&raw);
    assert_eq!(completion.dw0.get(), 0x1234_5678);
    assert_eq!((completion.sq_head.get(), completion.sqid.get(), completion.cid.get()), (5, 3, 7));
    assert!(completion.phase());
    assert_eq!(completion.status(), Status::INVALID_FIELD.with_more());
    assert_eq!(completion.status().kind(), (0, 0x02));
}
