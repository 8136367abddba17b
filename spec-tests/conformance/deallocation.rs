//! Write Zeroes and Dataset Management (rules B139–B145), with the largest that a host may ask for (E9, E24, E49).

use std::time::Duration;

use nvme_host::io::{block_command, nvm_command};
use nvme_spec::command::{DATASET_DEALLOCATE, DatasetRange, WRITE_ZEROES_DEALLOCATE, WRITE_ZEROES_NAMESPACE};
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{Command, Status};
use spec_tests::rig::Build;
use spec_tests::slow_media::Asked;
use zerocopy::IntoBytes;

use crate::verbs::{TestHost, Verbs, bare, pattern, with_prp};

fn build(blocks: u64) -> Build {
    Build { namespaces: vec![(512, blocks)], ..Build::default() }
}

fn small(blocks: u64) -> TestHost {
    build(blocks).host()
}

fn fill(host: &mut TestHost, blocks: usize) -> Vec<u8> {
    let data = pattern(9, blocks * 512);
    assert_eq!(host.write(1, 0, &data, false).expect("answered"), Status::SUCCESS);
    data
}

fn contents(host: &mut TestHost, blocks: u32) -> Vec<u8> {
    let (status, data) = host.read(1, 0, blocks).expect("answered");
    assert_eq!(status, Status::SUCCESS);
    data
}

fn used(host: &mut TestHost) -> u64 {
    host.identify_namespace(1).expect("active").nuse.get()
}

/// Dataset Management with ranges as they are, an attribute dword and NR.
fn dataset(host: &mut TestHost, ranges: &[DatasetRange], attributes: u32, nr_z: u32) -> Status {
    let command =
        Command { cdw10: nr_z.into(), cdw11: attributes.into(), ..nvm_command(NvmOpcode::DATASET_MANAGEMENT, 1) };
    bare(host.execute_out(1, command, ranges.as_bytes()).expect("answered").status())
}

fn range(slba: u64, blocks: u32) -> DatasetRange {
    DatasetRange { slba: slba.into(), blocks: blocks.into(), ..DatasetRange::default() }
}

/// Runs a test's body and checks that it took no longer than a machine many times slower would need for it.
fn bounded(what: impl FnOnce()) {
    #[expect(clippy::disallowed_methods, reason = "a bound of real time is what is tested")]
    let start = std::time::Instant::now();
    what();
    assert!(start.elapsed() < Duration::from_secs(20), "it took {:?}", start.elapsed());
}

/// B139: after Write Zeroes the blocks read as zeroes, and those beside them as before; DEAC says whether space is given back.
#[test]
fn write_zeroes_leaves_zeroes_and_nothing_else() {
    for deallocate in [false, true] {
        let mut host = build(64).over_memory().host();
        let mut data = fill(&mut host, 64);
        assert_eq!(host.write_zeroes(1, 10, 20, deallocate).expect("answered"), Status::SUCCESS);
        data[10 * 512..30 * 512].fill(0);
        assert!(contents(&mut host, 64) == data);
        assert_eq!(used(&mut host), if deallocate { 44 } else { 64 });
        assert!(host.port_mut().behaviour.borrow().asked.contains(&Asked::WriteZeroes(deallocate, false)));
    }
}

/// B139: MDTS does not limit Write Zeroes, since nothing is transferred: its data pointer is not looked at.
#[test]
fn write_zeroes_is_not_limited_by_mdts() {
    let mut build = Build { namespaces: vec![(4096, 1 << 17)], ..Build::default() };
    build.device.mdts = 1;
    let mut host = build.host();
    host.write(1, 65535, &[1; 8192], false).expect("answered");
    let command = with_prp(block_command(NvmOpcode::WRITE_ZEROES, 1, 0, 65536), u64::MAX, u64::MAX);
    assert_eq!(host.io_status(command), Status::SUCCESS);
    let (_, after) = host.read(1, 65535, 2).expect("answered");
    assert!(after[..4096] == [0; 4096] && after[4096..] == [1; 4096]);
}

/// B140: zeroing the whole namespace by one command is not offered.
#[test]
fn write_zeroes_of_the_whole_namespace_is_refused() {
    let mut host = small(64);
    let data = fill(&mut host, 64);
    for more in [0, WRITE_ZEROES_DEALLOCATE] {
        let mut command = block_command(NvmOpcode::WRITE_ZEROES, 1, 0, 1);
        command.cdw12 |= WRITE_ZEROES_NAMESPACE | more;
        assert_eq!(host.io_status(command), Status::INVALID_FIELD);
    }
    assert!(contents(&mut host, 64) == data);
}

/// B139, E49: 64 Ki blocks of 64 KiB, 256 times over a tebibyte, take neither their size in memory nor long.
#[test]
fn the_largest_write_zeroes_is_bounded() {
    let mut host = Build { namespaces: vec![(65536, 1 << 24)], ..Build::default() }.host();
    assert_eq!(host.write(1, 65535, &[1; 65536], false).expect("answered"), Status::SUCCESS);
    bounded(|| {
        for deallocate in [false, true] {
            for lba in (0..1 << 24).step_by(65536) {
                assert_eq!(host.write_zeroes(1, lba, 65536, deallocate).expect("answered"), Status::SUCCESS);
            }
            assert_eq!(used(&mut host), if deallocate { 0 } else { 1 << 24 });
        }
    });
    assert_eq!(host.read(1, 65535, 1).expect("answered").1, [0; 65536]);
}

/// B142: NR is zero-based, lengths are not: n + 1 ranges are deallocated, each of its blocks and no more.
#[test]
fn deallocation_takes_each_range_and_no_more() {
    let mut host = build(64).over_memory().host();
    let mut data = fill(&mut host, 64);
    let ranges = [range(3, 1), range(10, 5), range(12, 8), range(63, 1), range(0, 0), range(40, 10)];
    // The last range is not counted by NR.
    assert_eq!(dataset(&mut host, &ranges, DATASET_DEALLOCATE, 4), Status::SUCCESS);
    for gone in [3..4, 10..20, 63..64] {
        data[gone.start * 512..gone.end * 512].fill(0);
    }
    assert!(contents(&mut host, 64) == data);
    assert_eq!(used(&mut host), 64 - 12);
}

/// B142: a length of 0 is harmless.
#[test]
fn ranges_of_no_blocks_change_nothing() {
    let mut host = small(64);
    let data = fill(&mut host, 64);
    assert_eq!(dataset(&mut host, &[range(0, 0), range(63, 0)], DATASET_DEALLOCATE, 1), Status::SUCCESS);
    assert!(contents(&mut host, 64) == data);
    assert_eq!(used(&mut host), 64);
}

/// B142: a range that ends behind the namespace or wraps is refused, and then no range is touched.
#[test]
fn a_range_outside_the_namespace_refuses_all() {
    let mut host = small(64);
    let data = fill(&mut host, 64);
    for bad in
        [range(64, 1), range(63, 2), range(0, 65), range(u64::MAX, 1), range(u64::MAX, u32::MAX), range(0, u32::MAX)]
    {
        for ranges in [[range(0, 8), bad], [bad, range(0, 8)]] {
            assert_eq!(dataset(&mut host, &ranges, DATASET_DEALLOCATE, 1), Status::LBA_OUT_OF_RANGE, "{bad:?}");
        }
    }
    assert!(contents(&mut host, 64) == data);
}

/// B133, B142: without the deallocate attribute the ranges are hints, and nothing changes; context attributes are hints always.
#[test]
fn hints_of_dataset_management_change_nothing() {
    let mut host = small(64);
    let data = fill(&mut host, 64);
    let hints = DatasetRange { context_attributes: u32::MAX.into(), ..range(0, 64) };
    for attributes in [0, 1, 2, 3, !DATASET_DEALLOCATE] {
        assert_eq!(dataset(&mut host, &[hints], attributes, 0), Status::SUCCESS, "{attributes:#x}");
    }
    assert!(contents(&mut host, 64) == data);
    assert_eq!(dataset(&mut host, &[hints], DATASET_DEALLOCATE, 0), Status::SUCCESS);
    assert_eq!(used(&mut host), 0);
}

/// B119, E24: 256 ranges over a buffer that ends before they do are an error, and nothing changes.
#[test]
fn ranges_that_cannot_all_be_read_change_nothing() {
    let mut host = small(64);
    let data = fill(&mut host, 64);
    let page = host.allocate(4096).expect("room");
    let list: Vec<DatasetRange> = (0..128).map(|_| range(0, 64)).collect();
    host.write_memory(page + 2048, list.as_bytes());
    let command = Command {
        cdw10: 0xff.into(),
        cdw11: DATASET_DEALLOCATE.into(),
        ..nvm_command(NvmOpcode::DATASET_MANAGEMENT, 1)
    };
    assert_eq!(host.io_status(with_prp(command, page + 2048, 1 << 46)), Status::DATA_TRANSFER_ERROR);
    assert_eq!(host.io_status(with_prp(command, page + 2048, page + 4)), Status::INVALID_PRP_OFFSET);
    assert!(contents(&mut host, 64) == data);
    // Reserved bits of dword 10 do not count towards NR.
    let one = Command { cdw10: 0xffff_ff00_u32.into(), ..command };
    assert_eq!(host.io_status(with_prp(one, page + 2048, 0)), Status::SUCCESS);
}

/// B143, E49: no limit on ranges is reported, so 256 ranges of 2^32 − 1 blocks each are taken: at once, on a namespace of a tebibyte and
/// more of which little is written.
#[test]
fn the_largest_dataset_command_is_bounded() {
    let mut host = Build { namespaces: vec![(512, 1 << 40)], ..Build::default() }.host();
    for index in 0..64_u64 {
        assert_eq!(host.write(1, index << 30, &[1; 4096], false).expect("answered"), Status::SUCCESS);
    }
    bounded(|| {
        let apart: Vec<(u64, u32)> = (0..256).map(|index| (index << 32, u32::MAX)).collect();
        let same: Vec<(u64, u32)> = (0..256).map(|_| (0, u32::MAX)).collect();
        for ranges in [same, apart] {
            for _ in 0..20 {
                assert_eq!(host.deallocate(1, &ranges).expect("answered"), Status::SUCCESS);
            }
        }
    });
    assert_eq!(used(&mut host), 0);
    let (status, data) = host.read(1, 63 << 30, 8).expect("answered");
    assert_eq!((status, data), (Status::SUCCESS, vec![0; 4096]));
}

/// B143: Identify says that there are no limits (all of DMRL, DMRSL, DMSL are 0).
#[test]
fn no_limits_of_dataset_management_are_reported() {
    use nvme_host::admin::IdentifyArguments;
    use nvme_spec::identify::Cns;
    let mut host = small(64);
    let page = host.identify(Cns::COMMAND_SET_CONTROLLER, IdentifyArguments::default()).expect("mandatory");
    // NVM Command Set 1.1 figure 105: WZSL at byte 1, DMRL at 3, DMRSL at 4, DMSL at 8.
    assert_eq!((page[1], &page[3..16]), (0, &[0; 13][..]));
}

/// B144: DLFEAT says that blocks without data read as zeroes; so they do, again and again, and reading does not change that.
#[test]
fn blocks_without_data_read_as_zeroes() {
    let mut host = small(64);
    assert_eq!(host.identify_namespace(1).expect("active").dlfeat, 0b0_1001);
    assert!(contents(&mut host, 64) == vec![0; 64 * 512]);
    fill(&mut host, 64);
    assert_eq!(host.deallocate(1, &[(0, 64)]).expect("answered"), Status::SUCCESS);
    for _ in 0..3 {
        assert!(contents(&mut host, 64) == vec![0; 64 * 512]);
        assert_eq!(host.compare(1, 0, &[0; 4096]).expect("answered"), Status::SUCCESS);
        assert_eq!(used(&mut host), 0);
    }
}
