//! Atomic writes: what is promised, and that it is kept (rules B158 to B168; NVM Command Set 1.1 section 2.1.4).

use controller::config::{DeviceOptions, NamespaceOptions};
use media::Nanoseconds;
use media::geometry::GeometryConfig;
use media::ssd::SsdConfig;
use nvme_host::Port;
use nvme_host::io::{block_command, nvm_command};
use nvme_spec::command::{DATASET_DEALLOCATE, DatasetRange};
use nvme_spec::feature::{FeatureId, select};
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::register::{self, Configuration};
use nvme_spec::{Command, Completion, Status, identify};
use spec_tests::rig::Build;
use zerocopy::IntoBytes;

use crate::support::{reap_all, slow_down};
use crate::verbs::{TestHost, bare};

/// A drive of 16 MiB in blocks of 4 KiB that commits up to 16 blocks as one.
fn build(device: DeviceOptions, namespace: NamespaceOptions) -> Build {
    let geometry = GeometryConfig { user_bytes: 16 << 20, pages_per_block: 16, ..GeometryConfig::default() };
    let drive = SsdConfig { geometry, power_atomic_bytes: 64 << 10, ..SsdConfig::default() };
    Build {
        device,
        namespaces: vec![(4096, 4096)],
        identities: vec![namespace],
        drive: Some(drive),
        ..Build::default()
    }
}

/// B158 to B161, and profiles P3 to P5 of section D: Identify says what was configured.
#[test]
fn identify_reports_the_configured_units() {
    let device = DeviceOptions { atomic_awun: 7, atomic_awupf: 3, atomic_acwu: 1, ..DeviceOptions::default() };
    let namespace = NamespaceOptions {
        atomic_nawun: Some(15),
        atomic_nawupf: Some(7),
        atomic_nacwu: Some(3),
        atomic_nabsn: Some(31),
        atomic_nabspf: Some(11),
        atomic_nabo: 5,
        ..NamespaceOptions::default()
    };
    let mut host = build(device, namespace).admin_host();
    let controller = host.identify_controller().expect("mandatory");
    assert_eq!((controller.awun_z.get(), controller.awupf_z.get(), controller.acwu_z.get()), (7, 3, 1));
    let data = host.identify_namespace(1).expect("active");
    assert_eq!((data.nawun_z.get(), data.nawupf_z.get(), data.nacwu_z.get()), (15, 7, 3));
    assert_eq!((data.nabsn_z.get(), data.nabspf_z.get(), data.nabo.get()), (31, 11, 5));
    assert!(data.features().contains(identify::NamespaceFeatures::OWN_ATOMICS));
    assert!(!data.features().contains(identify::NamespaceFeatures::MULTIPLE_ATOMICITY));

    let device = DeviceOptions { atomic_awun: 7, atomic_awupf: 7, ..DeviceOptions::default() };
    let namespace = NamespaceOptions { atomic_nawun: Some(0), atomic_nawupf: Some(0), ..NamespaceOptions::default() };
    let data = build(device, namespace).admin_host().identify_namespace(1).expect("active");
    assert!(!data.features().contains(identify::NamespaceFeatures::OWN_ATOMICS), "the controller's hold");
    assert_eq!((data.nawun_z.get(), data.nawupf_z.get(), data.nacwu_z.get()), (0, 0, 0));
}

/// B162: Multiple Atomicity Mode has one size for all.
#[test]
fn multiple_atomicity_has_one_size() {
    let namespace = NamespaceOptions { atomic_mam: true, atomic_nabspf: Some(3), ..NamespaceOptions::default() };
    let data = build(DeviceOptions::default(), namespace).admin_host().identify_namespace(1).expect("active");
    assert!(data.features().contains(identify::NamespaceFeatures::MULTIPLE_ATOMICITY));
    assert_eq!([data.nabsn_z, data.nabspf_z, data.nawun_z, data.nawupf_z].map(|size_z| size_z.get()), [3; 4]);
}

/// B100, B12: Disable Normal is off unless the device says otherwise; it can be changed, and a reset brings the device's word back.
#[test]
fn disable_normal_begins_as_the_device_says() {
    for given in [false, true] {
        let device = DeviceOptions { atomic_dn: given, ..DeviceOptions::default() };
        let mut host = build(device, NamespaceOptions::default()).admin_host();
        let feature = FeatureId::WRITE_ATOMICITY;
        assert_eq!(host.get_feature(feature, select::CURRENT), Ok(u32::from(given)));
        assert_eq!(host.get_feature(feature, select::DEFAULT), Ok(u32::from(given)));
        host.set_feature(feature, u32::from(!given)).expect("changeable");
        assert_eq!(host.get_feature(feature, select::CURRENT), Ok(u32::from(!given)));
        host.start().expect("reset and enabled");
        assert_eq!(host.get_feature(feature, select::CURRENT), Ok(u32::from(given)));
    }
}

const BLOCK: usize = 512;
/// How long the media takes below.
const LATENCY: Nanoseconds = Nanoseconds(1_000_000);
/// All commands that carry a range.
const RANGED: [NvmOpcode; 7] = [
    NvmOpcode::READ,
    NvmOpcode::WRITE,
    NvmOpcode::COMPARE,
    NvmOpcode::VERIFY,
    NvmOpcode::WRITE_ZEROES,
    NvmOpcode::WRITE_UNCORRECTABLE,
    NvmOpcode::DATASET_MANAGEMENT,
];

/// Two namespaces, two queues with one completion queue each, and a slow media.
fn slow() -> TestHost {
    let mut host = Build { namespaces: vec![(512, 1024); 2], ..Build::default() }.host();
    host.create_queue_pair(2, 64, Some(2)).expect("room");
    slow_down(&host, LATENCY);
    host
}

/// A page with this many blocks of a byte.
fn page(host: &mut TestHost, byte: u8) -> u64 {
    let address = host.allocate(4096).expect("room");
    host.write_memory(address, &[byte; 4096]);
    address
}

/// Submits a command over up to eight blocks, with its data in a page, and lets the device take it.
fn submit(host: &mut TestHost, sqid: u16, opcode: NvmOpcode, nsid: u32, [lba, blocks]: [u32; 2], page: u64) -> u16 {
    let mut command = block_command(opcode, nsid, lba.into(), blocks);
    if opcode == NvmOpcode::DATASET_MANAGEMENT {
        let range = DatasetRange { slba: u64::from(lba).into(), blocks: blocks.into(), ..Default::default() };
        host.write_memory(page, range.as_bytes());
        command = Command { cdw11: DATASET_DEALLOCATE.into(), ..nvm_command(opcode, nsid) };
    }
    let cid = host.submit(sqid, Command { prp1: page.into(), ..command }).expect("room");
    host.port_mut().run_until_idle();
    cid
}

/// What has been answered after the media's latency, with queue and identifier.
fn later(host: &mut TestHost) -> Vec<(u16, u16, Status)> {
    host.port_mut().wait(LATENCY);
    host.port_mut().run_until_idle();
    let tell = |answer: &Completion| (answer.sqid.get(), answer.cid.get(), bare(answer.status()));
    (1..=2).flat_map(|cqid| reap_all(host, cqid)).map(|answer| tell(&answer)).collect()
}

/// B163, and issue "waiting per command": a command waits for earlier ones over its blocks, one after the other; others of the same
/// queue, and of another namespace, do not wait with it.
#[test]
fn commands_over_the_same_blocks_take_turns_and_others_pass() {
    let mut host = slow();
    let (ones, twos) = (page(&mut host, 1), page(&mut host, 2));
    let [first, second, far] = [(); 3].map(|()| page(&mut host, 0xee));
    let write = submit(&mut host, 1, NvmOpcode::WRITE, 1, [0, 8], ones);
    let read = submit(&mut host, 1, NvmOpcode::READ, 1, [4, 8], first);
    let overwrite = submit(&mut host, 2, NvmOpcode::WRITE, 1, [6, 1], twos);
    let last = submit(&mut host, 1, NvmOpcode::READ, 1, [6, 1], second);
    let apart = submit(&mut host, 1, NvmOpcode::READ, 1, [100, 8], far);
    let other = submit(&mut host, 2, NvmOpcode::WRITE, 2, [0, 8], ones);
    let success = |sqid, cid| (sqid, cid, Status::SUCCESS);
    assert_eq!(later(&mut host), [success(1, write), success(1, apart), success(2, other)]);
    assert_eq!(later(&mut host), [success(1, read)]);
    assert_eq!(later(&mut host), [success(2, overwrite)]);
    assert_eq!(later(&mut host), [success(1, last)]);
    assert_eq!(host.read_memory(first, 4 * BLOCK), [1; 4 * BLOCK], "as the first write left it");
    assert_eq!(host.read_memory(first + 4 * BLOCK as u64, 4 * BLOCK), [0; 4 * BLOCK]);
    assert_eq!(host.read_memory(second, BLOCK), [2; BLOCK], "as the second write left it");
}

/// B163, for every command that carries a range: two that only look pass each other, and where one changes something they take turns.
#[test]
fn every_command_with_a_range_takes_its_turn() {
    for first in RANGED {
        for second in RANGED {
            let mut host = slow();
            let zeroes = page(&mut host, 0);
            let list = page(&mut host, 0);
            submit(&mut host, 1, first, 1, [0, 8], if first == NvmOpcode::DATASET_MANAGEMENT { list } else { zeroes });
            let buffer = if second == NvmOpcode::DATASET_MANAGEMENT { list } else { zeroes };
            submit(&mut host, 2, second, 1, [7, 1], buffer);
            let looks = |opcode| matches!(opcode, NvmOpcode::READ | NvmOpcode::COMPARE | NvmOpcode::VERIFY);
            let together = looks(first) && looks(second);
            assert_eq!(later(&mut host).len(), if together { 2 } else { 1 }, "{first:?}, {second:?}");
            assert_eq!(later(&mut host).len(), if together { 0 } else { 1 }, "{first:?}, {second:?}");
        }
    }
}

/// The ranges of a deallocation that waits are those that it came with: the host's memory is read once (E48).
#[test]
fn a_list_is_read_once() {
    let mut host = slow();
    let (ones, list) = (page(&mut host, 1), page(&mut host, 0));
    submit(&mut host, 1, NvmOpcode::WRITE, 1, [100, 8], ones);
    submit(&mut host, 1, NvmOpcode::WRITE, 1, [0, 8], ones);
    submit(&mut host, 2, NvmOpcode::DATASET_MANAGEMENT, 1, [0, 8], list);
    let other = DatasetRange { slba: 100.into(), blocks: 8.into(), ..Default::default() };
    host.write_memory(list, other.as_bytes());
    assert_eq!((later(&mut host).len(), later(&mut host).len()), (2, 1));
    host.port_mut().behaviour.borrow_mut().latency = None;
    assert_eq!(host.read(1, 0, 8).expect("answered"), (Status::SUCCESS, vec![0; 8 * BLOCK]));
    assert_eq!(host.read(1, 100, 8).expect("answered"), (Status::SUCCESS, vec![1; 8 * BLOCK]));
}

/// B71: a command that waits can be aborted, and those that wait for it go on.
#[test]
fn an_aborted_waiter_lets_the_next_one_go() {
    let mut host = slow();
    let (ones, twos) = (page(&mut host, 1), page(&mut host, 2));
    let write = submit(&mut host, 1, NvmOpcode::WRITE, 1, [0, 4], ones);
    let both = submit(&mut host, 1, NvmOpcode::WRITE, 1, [2, 8], twos);
    let waiting = submit(&mut host, 2, NvmOpcode::READ, 1, [8, 1], ones);
    assert_eq!(host.abort(1, both), Ok(true));
    assert_eq!(host.poll(1, both).map(|answer| bare(answer.status())), Some(Status::ABORT_REQUESTED));
    assert_eq!(later(&mut host), [(1, write, Status::SUCCESS), (2, waiting, Status::SUCCESS)]);
    host.port_mut().behaviour.borrow_mut().latency = None;
    assert_eq!(host.read(1, 4, 1).expect("answered").1, [0; BLOCK], "the aborted write was never begun");
}

/// B43: commands that wait end with their queue, and those of other queues that waited for them go on.
#[test]
fn deleting_a_queue_ends_its_waiters() {
    let mut host = slow();
    let (ones, twos) = (page(&mut host, 1), page(&mut host, 2));
    let write = submit(&mut host, 1, NvmOpcode::WRITE, 1, [0, 4], ones);
    let cids = [0, 1, 2].map(|lba| submit(&mut host, 2, NvmOpcode::WRITE, 1, [lba, 8], twos));
    let last = submit(&mut host, 1, NvmOpcode::WRITE, 1, [9, 1], twos);
    host.delete_submission_queue(2).expect("deleted");
    let ended: Vec<_> = reap_all(&mut host, 2).iter().map(|answer| (answer.cid.get(), bare(answer.status()))).collect();
    let mut expected = cids.map(|cid| (cid, Status::ABORTED_QUEUE_DELETION));
    expected.sort_unstable_by_key(|(cid, _)| *cid);
    assert_eq!(ended, expected);
    assert_eq!(later(&mut host), [(1, write, Status::SUCCESS), (1, last, Status::SUCCESS)]);
}

/// B11, B43: a reset forgets those that wait, and the next life begins with an empty table.
#[test]
fn a_reset_forgets_waiters() {
    let mut host = slow();
    let ones = page(&mut host, 1);
    for lba in 0..20 {
        submit(&mut host, 1, NvmOpcode::WRITE, 1, [lba, 8], ones);
    }
    host.start().expect("reset and enabled");
    host.create_queue_pair(1, 64, Some(1)).expect("room");
    host.port_mut().behaviour.borrow_mut().latency = None;
    assert_eq!(host.write(1, 0, &[3; 8 * BLOCK], false), Ok(Status::SUCCESS));
    assert_eq!(host.read(1, 0, 8).expect("answered"), (Status::SUCCESS, vec![3; 8 * BLOCK]));
    host.port_mut().wait(LATENCY);
    host.port_mut().run_until_idle();
    assert!(host.surprises().is_empty());
}

/// B25: commands that wait when a shutdown begins end with it and change nothing.
#[test]
fn a_shutdown_ends_waiters() {
    let mut host = slow();
    let (ones, twos) = (page(&mut host, 1), page(&mut host, 2));
    submit(&mut host, 1, NvmOpcode::WRITE, 1, [0, 8], ones);
    let waiting = submit(&mut host, 1, NvmOpcode::WRITE, 1, [0, 8], twos);
    let configuration = Configuration(host.port_mut().register_read_32(register::CC));
    host.port_mut().register_write_32(register::CC, configuration.with_shutdown(1).0);
    host.port_mut().run_until_idle();
    assert!(later(&mut host).contains(&(1, waiting, Status::ABORTED_POWER_LOSS)));
}
