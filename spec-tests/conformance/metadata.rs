//! Metadata beside each block, apart and behind it (NVM Command Set 1.1 section 2.1.6; rules B107, B121, B129, B136, B139).

use controller::config::NamespaceOptions;
use media::geometry::GeometryConfig;
use media::ssd::SsdConfig;
use nvme_host::Host;
use nvme_host::io::block_command;
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{Command, Status, identify};
use spec_tests::rig::{Build, Rig};

const BLOCK: usize = 512;

/// A namespace of 8 MiB with `ms` bytes of metadata, apart (`mset` 0) or behind each block (1).
fn host(ms: u16, mset: u8) -> Host<Rig> {
    let geometry = GeometryConfig { user_bytes: 8 << 20, pages_per_block: 8, ..GeometryConfig::default() };
    let drive = SsdConfig { geometry, ..SsdConfig::default() };
    let identities = vec![NamespaceOptions { ms, mset, ..NamespaceOptions::default() }];
    Build { namespaces: vec![(512, 16 << 10)], drive: Some(drive), identities, ..Build::default() }.host()
}

/// A command on `blocks` blocks from `lba`, whose metadata is at `metadata`.
fn command(opcode: NvmOpcode, lba: u64, blocks: u32, metadata: u64) -> Command {
    Command { mptr: metadata.into(), ..block_command(opcode, 1, lba, blocks) }
}

/// Bytes that differ from each other and by `seed`.
fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length).zip((0..251_u8).cycle()).map(|(_, byte)| byte ^ seed).collect()
}

/// B107: the format says how much metadata there is, and where it goes.
#[test]
fn the_format_names_the_metadata() {
    use identify::{FormattedSize, MetadataCapabilities as Places};
    let (separate, extended) = (Places::SEPARATE.bits(), Places::EXTENDED.bits());
    for (ms, mset, mc, flbas) in [(0, 0, 0, 0), (8, 0, separate, 0), (64, 1, extended, FormattedSize::EXTENDED.bits())]
    {
        let data = host(ms, mset).identify_namespace(1).expect("active");
        let places = data.flbas & FormattedSize::EXTENDED.bits();
        assert_eq!((data.format().ms.get(), data.mc, places), (ms, mc, flbas));
    }
}

/// Metadata that is apart comes back with its blocks, whatever part of them is read.
#[test]
fn metadata_apart_comes_back_with_its_blocks() {
    for ms in [8, 16, 64] {
        let mut host = host(ms, 0);
        let size = usize::from(ms);
        let (data, metadata) = (pattern(24 * BLOCK, 1), pattern(24 * size, 2));
        let buffer = host.allocate(metadata.len()).expect("room");
        host.write_memory(buffer, &metadata);
        let written = host.execute_out(1, command(NvmOpcode::WRITE, 5, 24, buffer), &data).expect("answered");
        assert_eq!(written.status(), Status::SUCCESS);
        for (first, count) in [(0_usize, 24_usize), (3, 7), (23, 1)] {
            host.write_memory(buffer, &vec![0xee; metadata.len()]);
            let read = command(NvmOpcode::READ, 5 + first as u64, u32::try_from(count).expect("small"), buffer);
            let (completion, bytes) = host.execute_in(1, read, count * BLOCK).expect("answered");
            assert_eq!(completion.status(), Status::SUCCESS);
            assert!(bytes == data[first * BLOCK..][..count * BLOCK]);
            let back = host.read_memory(buffer, metadata.len());
            assert!(back[..count * size] == metadata[first * size..][..count * size], "{count} blocks of {size}");
            assert!(back[count * size..].iter().all(|byte| *byte == 0xee), "nothing behind it is touched");
        }
    }
}

/// Metadata that follows each block travels in the buffer of the data, and counts for the length.
#[test]
fn metadata_behind_each_block_travels_with_the_data() {
    let mut host = host(16, 1);
    let bytes = pattern(9 * (BLOCK + 16), 3);
    let written = host.execute_out(1, command(NvmOpcode::WRITE, 2, 9, 0), &bytes).expect("answered");
    assert_eq!(written.status(), Status::SUCCESS);
    let (completion, back) = host.execute_in(1, command(NvmOpcode::READ, 2, 9, 0), bytes.len()).expect("answered");
    assert_eq!(completion.status(), Status::SUCCESS);
    assert!(back == bytes);
    let (_, one) = host.execute_in(1, command(NvmOpcode::READ, 6, 1, 0), BLOCK + 16).expect("answered");
    assert!(one == bytes[4 * (BLOCK + 16)..5 * (BLOCK + 16)]);
}

/// B121: the metadata in the buffer of the data counts: 1024 blocks are MDTS without it and too long with it.
#[test]
fn metadata_behind_each_block_counts_for_mdts() {
    let mut host = host(8, 1);
    let longest = host.execute_in(1, command(NvmOpcode::READ, 0, 1008, 0), 1008 * (BLOCK + 8)).expect("answered");
    assert_eq!(longest.0.status(), Status::SUCCESS);
    let too_long = host.execute_in(1, command(NvmOpcode::READ, 0, 1009, 0), 1009 * (BLOCK + 8)).expect("answered");
    assert_eq!(too_long.0.status().kind(), Status::INVALID_FIELD.kind());
}

/// B129: a metadata pointer that is not dword aligned is an invalid field; one to nowhere is a data transfer error and writes nothing.
#[test]
fn metadata_pointers_are_checked() {
    let mut host = host(8, 0);
    let data = pattern(BLOCK, 4);
    for offset in 1..4 {
        let crooked =
            host.execute_out(1, command(NvmOpcode::WRITE, 0, 1, 0x10_0000 + offset), &data).expect("answered");
        assert_eq!(crooked.status().kind(), Status::INVALID_FIELD.kind());
    }
    let nowhere = host.execute_out(1, command(NvmOpcode::WRITE, 0, 1, 0xdead_0000), &data).expect("answered");
    assert_eq!(nowhere.status().kind(), Status::DATA_TRANSFER_ERROR.kind());
    let buffer = host.allocate(4096).expect("room");
    let (completion, bytes) = host.execute_in(1, command(NvmOpcode::READ, 0, 1, buffer), BLOCK).expect("answered");
    assert_eq!(completion.status(), Status::SUCCESS);
    assert_eq!(bytes, [0; BLOCK]);
}

/// B136: metadata is compared too. B139: after Write Zeroes and after deallocation it is zero.
#[test]
fn metadata_is_compared_and_zeroed() {
    let mut host = host(8, 0);
    let data = pattern(8 * BLOCK, 5);
    let buffer = host.allocate(4096).expect("room");
    host.write_memory(buffer, &pattern(64, 6));
    let status = |host: &mut Host<Rig>, opcode| {
        host.execute_out(1, command(opcode, 8, 8, buffer), &data).expect("answered").status()
    };
    assert_eq!(status(&mut host, NvmOpcode::WRITE), Status::SUCCESS);
    assert_eq!(status(&mut host, NvmOpcode::COMPARE), Status::SUCCESS);
    host.write_memory(buffer + 63, &[0xff]);
    assert_eq!(status(&mut host, NvmOpcode::COMPARE).kind(), Status::COMPARE_FAILURE.kind());
    for deallocate in [false, true] {
        host.write_memory(buffer, &pattern(64, 6));
        assert_eq!(status(&mut host, NvmOpcode::WRITE), Status::SUCCESS);
        assert_eq!(host.write_zeroes(1, 8, 8, deallocate).expect("answered"), Status::SUCCESS);
        let (completion, _) = host.execute_in(1, command(NvmOpcode::READ, 8, 8, buffer), 8 * BLOCK).expect("answered");
        assert_eq!(completion.status(), Status::SUCCESS);
        assert_eq!(host.read_memory(buffer, 64), [0; 64], "deallocate={deallocate}");
    }
}
