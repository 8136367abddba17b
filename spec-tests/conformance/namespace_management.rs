//! Namespaces that hosts make, delete, attach and detach, on a drive with a capacity of its own (rules NSM1 to NSM18; NVMe Base 2.1 sections
//! 5.1.20, 5.1.21 and 8.1.15). Formats are in `format`.

use controller::config::NamespaceOptions;
use media::geometry::GeometryConfig;
use media::power::{Arming, Cut, Random};
use media::ssd::SsdConfig;
use nvme_host::admin::{LogArguments, admin_command};
use nvme_host::io::block_command;
use nvme_host::{Host, Port};
use nvme_spec::feature::{EVENT_NAMESPACE_ATTRIBUTE, FeatureId};
use nvme_spec::identify::{self, Cns};
use nvme_spec::log::{CHANGED_NAMESPACES_BYTES, ErrorEntry, LogId};
use nvme_spec::opcode::{AdminOpcode, NvmOpcode};
use nvme_spec::{Command, IDENTIFY_BYTES, NSID_ALL, Status};
use spec_tests::golden::parsed;
use spec_tests::paths::Path;
use spec_tests::rig::{Build, Rig, small_drive};
use zerocopy::IntoBytes;

use crate::verbs::bare;

/// Bytes of the drive.
pub const CAPACITY: u64 = 4 << 20;
/// Its indirection unit.
pub const UNIT: u64 = 4096;
/// Namespaces that there may be.
pub const MOST: u32 = 5;
/// The numbers of LBA formats.
pub const F512: u8 = 0;
pub const F4096: u8 = 2;
/// Completion dword 0 of a Namespace Attribute Changed notice.
const NAMESPACE_CHANGED: u32 = 0x0004_0002;

/// A drive of which nothing is given out.
pub fn build() -> Build {
    let drive = small_drive(CAPACITY, 4096);
    let geometry = GeometryConfig { volumes_max: MOST, metadata_bytes_per_unit: 64, ..drive.geometry };
    Build { drive: Some(SsdConfig { geometry, ..drive }), namespaces: Vec::new(), ..Build::default() }
}

/// Its only host, with an I/O queue pair.
pub fn host() -> Host<Rig> {
    build().host()
}

fn two() -> [Host<Path>; 2] {
    let mut hosts = build().hosts(2);
    hosts.iter_mut().for_each(|host| host.create_queue_pair(1, 64, Some(1)).expect("room"));
    hosts.try_into().unwrap_or_else(|_| unreachable!("two were asked for"))
}

/// What a host asks for when it makes a namespace.
pub fn wanted(blocks: u64, format: u8) -> identify::Namespace {
    let mut wanted = identify::Namespace::zeroed();
    (wanted.nsze, wanted.ncap, wanted.flbas) = (blocks.into(), blocks.into(), format);
    wanted
}

/// Namespace Management, create.
pub fn create<P: Port>(host: &mut Host<P>, wanted: &identify::Namespace) -> Result<u32, Status> {
    let answer = host.execute_out(0, admin_command(AdminOpcode::NAMESPACE_MANAGEMENT), wanted.as_bytes());
    result(answer.expect("answered"))
}

fn result(answer: nvme_spec::Completion) -> Result<u32, Status> {
    if answer.status().is_success() { Ok(answer.dw0.get()) } else { Err(bare(answer.status())) }
}

/// Namespace Management, delete.
pub fn delete<P: Port>(host: &mut Host<P>, nsid: u32) -> Result<u32, Status> {
    let command = Command { nsid: nsid.into(), cdw10: 1.into(), ..admin_command(AdminOpcode::NAMESPACE_MANAGEMENT) };
    result(host.execute(0, command).expect("answered"))
}

/// Namespace Attachment: `select` is 0 to attach, 1 to detach.
pub fn attachment<P: Port>(host: &mut Host<P>, select: u32, nsid: u32, list: &[u16]) -> Result<u32, Status> {
    let mut data = [0; IDENTIFY_BYTES];
    let count = u16::try_from(list.len()).expect("few");
    for (place, word) in data.chunks_mut(2).zip([count].iter().chain(list)) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    let command = admin_command(AdminOpcode::NAMESPACE_ATTACHMENT);
    let command = Command { nsid: nsid.into(), cdw10: select.into(), ..command };
    result(host.execute_out(0, command, &data).expect("answered"))
}

/// A namespace of so many blocks, attached to the controllers.
pub fn made<P: Port>(host: &mut Host<P>, blocks: u64, format: u8, list: &[u16]) -> u32 {
    let wanted = identify::Namespace { nmic: u8::from(list.len() > 1), ..wanted(blocks, format) };
    let nsid = create(host, &wanted).expect("there is room");
    if !list.is_empty() {
        attachment(host, 0, nsid, list).expect("it can be attached");
    }
    nsid
}

fn list_of<P: Port>(host: &mut Host<P>, cns: Cns, nsid: u32, from: u16) -> Result<Vec<u8>, Status> {
    let command = Command { nsid: nsid.into(), ..admin_command(AdminOpcode::IDENTIFY) };
    let command = Command { cdw10: (u32::from(cns.0) | u32::from(from) << 16).into(), ..command };
    let (answer, bytes) = host.execute_in(0, command, IDENTIFY_BYTES).expect("answered");
    result(answer).map(|_| bytes)
}

/// Identifiers of a namespace list.
fn identifiers<P: Port>(host: &mut Host<P>, cns: Cns, above: u32) -> Result<Vec<u32>, Status> {
    let bytes = list_of(host, cns, above, 0)?;
    let all = bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
    Ok(all.take_while(|nsid| *nsid != 0).collect())
}

/// Identifiers of a controller list.
pub fn controllers<P: Port>(host: &mut Host<P>, cns: Cns, nsid: u32, from: u16) -> Result<Vec<u16>, Status> {
    let bytes = list_of(host, cns, nsid, from)?;
    let mut words = bytes.as_chunks::<2>().0.iter().map(|word| u16::from_le_bytes(*word));
    let count = words.next().expect("a count");
    Ok(words.take(count.into()).collect())
}

fn allocated<P: Port>(host: &mut Host<P>, nsid: u32) -> identify::Namespace {
    parsed(&list_of(host, Cns::ALLOCATED_NAMESPACE, nsid, 0).expect("offered"))
}

fn last_error<P: Port>(host: &mut Host<P>) -> ErrorEntry {
    parsed(&host.get_log(LogId::ERROR, size_of::<ErrorEntry>(), LogArguments::default()).expect("mandatory"))
}

/// NSM5: every byte belongs to a namespace or to none.
fn assert_accounted<P: Port>(host: &mut Host<P>) {
    let controller = host.identify_controller().expect("mandatory");
    let all = identifiers(host, Cns::ALLOCATED_NAMESPACES, 0).expect("offered");
    let taken: u128 = all.iter().map(|nsid| allocated(host, *nsid).nvmcap.get()).sum();
    assert_eq!(controller.tnvmcap.get(), u128::from(CAPACITY));
    assert_eq!(taken + controller.unvmcap.get(), u128::from(CAPACITY));
}

/// S1: what is advertised is there; a drive of fixed namespaces advertises none of it. A drive without any namespace is one.
#[test]
fn a_drive_with_a_capacity_says_so_and_begins_without_namespaces() {
    let mut host = host();
    let data = host.identify_controller().expect("mandatory");
    assert_eq!(data.oacs.get() & 0b1010, 0b1010, "Format, and namespace management and attachment");
    assert_eq!((data.nn.get(), data.mnan.get()), (MOST, MOST), "NSM9");
    assert_eq!((data.tnvmcap.get(), data.unvmcap.get()), (CAPACITY.into(), CAPACITY.into()));
    assert_eq!(host.active_namespaces(0), Ok(vec![]));
    assert_eq!(identifiers(&mut host, Cns::ALLOCATED_NAMESPACES, 0), Ok(vec![]));
    assert_eq!(host.flush(1).map(bare), Ok(Status::INVALID_FIELD));
    assert_eq!(host.flush(NSID_ALL), Ok(Status::SUCCESS));
    // NSM17: what a new one has is told of all; NSM18: in which units it takes space.
    let common = host.identify_namespace(NSID_ALL).expect("it answers");
    assert_eq!((common.nlbaf_z, common.lbaf[usize::from(F4096)].lbads, common.nsze.get()), (11, 12, 0));
    let granularity = list_of(&mut host, Cns::GRANULARITIES, 0, 0).expect("offered");
    assert_eq!((&granularity[..5], &granularity[32..40]), ([0; 5].as_slice(), UNIT.to_le_bytes().as_slice()));

    let mut fixed = Build { namespaces: vec![(512, 8192)], ..Build::default() }.over_memory().host();
    assert_eq!(fixed.identify_controller().expect("mandatory").oacs.get() & 0b1010, 0);
    assert_eq!(create(&mut fixed, &wanted(1, 0)), Err(Status::INVALID_OPCODE));
    assert_eq!(list_of(&mut fixed, Cns::GRANULARITIES, 0, 0), Err(Status::INVALID_FIELD));
}

/// NSM1, NSM5, NSM8: the lowest free identifier, attached to nobody, empty, a name that none had before.
#[test]
fn a_namespace_is_made_attached_used_and_deleted() {
    let mut host = host();
    assert_eq!(create(&mut host, &wanted(1001, F512)), Ok(1));
    assert_eq!(host.active_namespaces(0), Ok(vec![]), "NSM1: attached to nobody");
    assert_eq!(host.identify_namespace(1).expect("valid").nsze.get(), 0);
    let data = allocated(&mut host, 1);
    assert_eq!((data.nsze.get(), data.ncap.get(), data.nuse.get(), data.flbas), (1001, 1001, 0, F512));
    assert_eq!(data.nvmcap.get(), 126 * u128::from(UNIT), "NSM5: whole units");
    assert_accounted(&mut host);
    assert_eq!(host.flush(1).map(bare), Ok(Status::INVALID_FIELD));
    assert_eq!(attachment(&mut host, 0, 1, &[0]), Ok(0));
    assert_eq!(host.active_namespaces(0), Ok(vec![1]));
    assert_eq!(host.write(1, 1000, &[7; 512], false), Ok(Status::SUCCESS));
    assert_eq!(host.read(1, 1000, 1), Ok((Status::SUCCESS, vec![7; 512])));
    assert_eq!(host.write(1, 1001, &[7; 512], false).map(bare), Ok(Status::LBA_OUT_OF_RANGE));
    assert_eq!(made(&mut host, 16, F4096, &[0]), 2);
    let names = |host: &mut Host<Rig>, nsid| list_of(host, Cns::NAMESPACE_DESCRIPTORS, nsid, 0).expect("active");
    let first = names(&mut host, 1);
    assert_ne!(first, names(&mut host, 2));
    assert_eq!(delete(&mut host, 1), Ok(0));
    assert_eq!(host.active_namespaces(0), Ok(vec![2]), "NSM6: detached everywhere");
    assert_eq!(bare(host.read(1, 1000, 1).expect("answered").0), Status::INVALID_FIELD);
    assert_accounted(&mut host);
    assert_eq!(made(&mut host, 1001, F512, &[0]), 1, "NSM1: the lowest that is free");
    assert_eq!(host.read(1, 1000, 1), Ok((Status::SUCCESS, vec![0; 512])), "nothing of the one before");
    assert_ne!(first, names(&mut host, 1), "NSM8: another one under an old identifier");
    assert_eq!(delete(&mut host, NSID_ALL), Ok(0));
    assert_eq!(identifiers(&mut host, Cns::ALLOCATED_NAMESPACES, 0), Ok(vec![]));
    assert_eq!(delete(&mut host, NSID_ALL), Ok(0), "NSM6: success if there is none");
    assert_accounted(&mut host);
}

/// NSM2, NSM3, NSM4: what cannot be made, and how that is told.
#[test]
fn a_namespace_that_cannot_be_is_refused_and_nothing_is_taken() {
    let mut host = host();
    let change = |change: &dyn Fn(&mut identify::Namespace)| {
        let mut wanted = wanted(8, F512);
        change(&mut wanted);
        wanted
    };
    for (wanted, status) in [
        (change(&|wanted| wanted.ncap = 7.into()), Status::THIN_PROVISIONING),
        (change(&|wanted| wanted.ncap = 9.into()), Status::INVALID_FIELD),
        (change(&|wanted| (wanted.nsze, wanted.ncap) = (0.into(), 0.into())), Status::INVALID_FIELD),
        (change(&|wanted| wanted.flbas = 12), Status::INVALID_FORMAT),
        (change(&|wanted| wanted.flbas = 0b110_1111), Status::INVALID_FORMAT),
        (change(&|wanted| wanted.dps = 1), Status::INVALID_FORMAT),
        (change(&|wanted| wanted.anagrpid = 1.into()), Status::ACCESS_GROUP_INVALID),
        (change(&|wanted| wanted.nvmsetid = 1.into()), Status::INVALID_FIELD),
        (change(&|wanted| wanted.endgid = 2.into()), Status::INVALID_FIELD),
        (change(&|wanted| wanted.nmic = 2), Status::INVALID_FIELD),
        (
            change(&|wanted| (wanted.nsze, wanted.ncap) = (u64::MAX.into(), u64::MAX.into())),
            Status::INSUFFICIENT_CAPACITY,
        ),
    ] {
        assert_eq!(create(&mut host, &wanted), Err(status), "{:?}", wanted.as_bytes()[..32].to_vec());
    }
    let command = admin_command(AdminOpcode::NAMESPACE_MANAGEMENT);
    let other_set = Command { cdw11: (2 << 24).into(), ..command };
    let answer = host.execute_out(0, other_set, wanted(8, F512).as_bytes()).expect("answered");
    assert_eq!(bare(answer.status()), Status::COMMAND_SET_UNSUPPORTED);
    assert_eq!(
        bare(host.execute(0, Command { cdw10: 2.into(), ..command }).expect("answered").status()),
        Status::INVALID_FIELD
    );
    // NSM3: the error log says how much would be needed.
    let blocks = CAPACITY / 4096;
    assert_eq!(create(&mut host, &wanted(blocks + 1, F4096)), Err(Status::INSUFFICIENT_CAPACITY));
    assert_eq!(last_error(&mut host).command_specific.get(), CAPACITY + 4096);
    assert_eq!(create(&mut host, &wanted(blocks - 1, F4096)), Ok(1));
    assert_eq!(create(&mut host, &wanted(9, F512)), Err(Status::INSUFFICIENT_CAPACITY), "a unit and an eighth");
    assert_eq!(create(&mut host, &wanted(8, F512)), Ok(2));
    assert_eq!(host.identify_controller().expect("mandatory").unvmcap.get(), 0);
    assert_accounted(&mut host);
    assert_eq!(delete(&mut host, 1), Ok(0));
    for nsid in [1, 3, 4, 5] {
        assert_eq!(create(&mut host, &wanted(8, F512)), Ok(nsid));
    }
    assert_eq!(create(&mut host, &wanted(8, F512)), Err(Status::NAMESPACE_IDENTIFIER_UNAVAILABLE));
    for (nsid, status) in [(0, Status::INVALID_NAMESPACE), (MOST + 1, Status::INVALID_NAMESPACE)] {
        assert_eq!(delete(&mut host, nsid), Err(status));
    }
    assert_eq!(delete(&mut host, 3), Ok(0));
    assert_eq!(delete(&mut host, 3), Err(Status::INVALID_FIELD), "valid and not allocated");
    assert_accounted(&mut host);
}

/// NSM11, NSM12, NSM13: which namespaces and controllers there are, in order, up to the first that cannot be.
#[test]
fn attachment_goes_by_the_list_up_to_the_first_error() {
    let [mut one, mut two] = two();
    assert_eq!(create(&mut one, &identify::Namespace { nmic: 1, ..wanted(8, F512) }), Ok(1));
    assert_eq!(create(&mut two, &wanted(8, F512)), Ok(2), "NMIC: for one controller");
    for (nsid, status) in [
        (0, Status::INVALID_NAMESPACE),
        (NSID_ALL, Status::INVALID_NAMESPACE),
        (MOST + 1, Status::INVALID_NAMESPACE),
        (3, Status::INVALID_FIELD),
    ] {
        assert_eq!(attachment(&mut one, 0, nsid, &[0]), Err(status), "NSM11: {nsid}");
    }
    for list in [&[][..], &[1, 0], &[1, 1]] {
        assert_eq!(attachment(&mut one, 0, 1, list), Err(Status::CONTROLLER_LIST_INVALID), "{list:?}");
    }
    assert_eq!(attachment(&mut one, 2, 1, &[0]), Err(Status::INVALID_FIELD));
    assert_eq!(attachment(&mut one, 0, 1, &[0, 2]), Err(Status::CONTROLLER_LIST_INVALID));
    assert_eq!(last_error(&mut one).command_specific.get(), 4, "NSM12: the byte of the second entry");
    assert_eq!(one.active_namespaces(0), Ok(vec![1]), "the first entry is done");
    assert_eq!(attachment(&mut one, 0, 1, &[0, 1]), Err(Status::NAMESPACE_ALREADY_ATTACHED));
    assert_eq!(two.active_namespaces(0), Ok(vec![]), "nothing behind the error is");
    assert_eq!(attachment(&mut one, 0, 1, &[1]), Ok(0));
    assert_eq!(attachment(&mut two, 0, 2, &[1]), Ok(0));
    assert_eq!(attachment(&mut two, 0, 2, &[0]), Err(Status::NAMESPACE_PRIVATE));
    assert_eq!(attachment(&mut one, 1, 2, &[0]), Err(Status::NAMESPACE_NOT_ATTACHED));
    // NSM16.
    assert_eq!(controllers(&mut one, Cns::ATTACHED_CONTROLLERS, 1, 0), Ok(vec![0, 1]));
    assert_eq!(controllers(&mut one, Cns::ATTACHED_CONTROLLERS, 1, 1), Ok(vec![1]));
    assert_eq!(controllers(&mut one, Cns::ATTACHED_CONTROLLERS, 2, 0), Ok(vec![1]));
    assert_eq!(controllers(&mut one, Cns::ATTACHED_CONTROLLERS, 3, 0), Ok(vec![]));
    assert_eq!(controllers(&mut one, Cns::ATTACHED_CONTROLLERS, NSID_ALL, 0), Err(Status::INVALID_FIELD));
    assert_eq!(controllers(&mut one, Cns::CONTROLLERS, 0, 0), Ok(vec![0, 1]));
    assert_eq!(controllers(&mut one, Cns::CONTROLLERS, 0, 2), Ok(vec![]));
    assert_eq!(identifiers(&mut one, Cns::ALLOCATED_NAMESPACES, 1), Ok(vec![2]));
    assert_eq!(identifiers(&mut one, Cns::ALLOCATED_NAMESPACES, NSID_ALL - 1), Err(Status::INVALID_NAMESPACE));
    assert!(list_of(&mut one, Cns::ALLOCATED_NAMESPACE, NSID_ALL, 0).is_ok(), "NSM17");
    assert_eq!(allocated(&mut one, 3).nsze.get(), 0);
}

/// NSM7, NSM14: whom it concerns is told, and not who asked for it by deleting.
#[test]
fn hosts_are_told_of_what_others_do() {
    let [mut one, mut two] = two();
    for host in [&mut one, &mut two] {
        host.set_feature(FeatureId::ASYNCHRONOUS_EVENTS, EVENT_NAMESPACE_ATTRIBUTE).expect("changeable");
    }
    let nsid = create(&mut one, &identify::Namespace { nmic: 1, ..wanted(8, F512) }).expect("room");
    let mut requests = [&mut one, &mut two].map(|host| host.async_event_request().expect("room"));
    assert_eq!(attachment(&mut one, 0, nsid, &[0, 1]), Ok(0));
    one.port().world().run_until_idle();
    for (host, request) in [&mut one, &mut two].into_iter().zip(&mut requests) {
        assert_eq!(host.poll(0, *request).expect("told").dw0.get(), NAMESPACE_CHANGED);
        let listed = host.get_log(LogId::CHANGED_NAMESPACES, CHANGED_NAMESPACES_BYTES, LogArguments::default());
        assert_eq!(listed.expect("mandatory")[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
        *request = host.async_event_request().expect("room");
    }
    assert_eq!(delete(&mut one, nsid), Ok(0));
    one.port().world().run_until_idle();
    assert_eq!(two.poll(0, requests[1]).expect("told").dw0.get(), NAMESPACE_CHANGED);
    assert_eq!(one.poll(0, requests[0]), None, "it has asked for it");
    assert_eq!((one.active_namespaces(0), two.active_namespaces(0)), (Ok(vec![]), Ok(vec![])));
}

/// NSM6: a deletion waits for commands that were taken, of every controller; those that come later find no namespace.
#[test]
fn a_deletion_waits_for_commands_under_way() {
    let [mut one, mut two] = two();
    let nsid = made(&mut one, 64, F4096, &[0, 1]);
    let other = made(&mut one, 64, F4096, &[1]);
    one.port().world().behaviour.borrow_mut().latency = Some(media::Nanoseconds(1_000_000));
    let page = two.allocate(4096).expect("room");
    let write = |nsid: u32| Command { prp1: page.into(), ..block_command(NvmOpcode::WRITE, nsid, 0, 1) };
    let taken = two.submit(1, write(nsid)).expect("room");
    one.port().world().run_until_idle();
    let command = Command { nsid: nsid.into(), cdw10: 1.into(), ..admin_command(AdminOpcode::NAMESPACE_MANAGEMENT) };
    let deletion = one.submit(0, command).expect("room");
    one.port().world().run_until_idle();
    let later = [two.submit(1, write(nsid)).expect("room"), two.submit(1, write(other)).expect("room")];
    one.port().world().run_until_idle();
    assert_eq!((one.poll(0, deletion), two.poll(1, taken)), (None, None));
    for _ in 0..10 {
        let mut world = one.port().world();
        world.now = world.now.plus(media::Nanoseconds(1_000_000));
        world.run_until_idle();
    }
    assert_eq!(two.poll(1, taken).expect("answered").status(), Status::SUCCESS);
    assert_eq!(one.poll(0, deletion).expect("answered").status(), Status::SUCCESS);
    let ends = later.map(|cid| bare(two.poll(1, cid).expect("answered").status()));
    assert_eq!(ends, [Status::INVALID_FIELD, Status::SUCCESS], "the other namespace goes on");
}

/// P1, P2: what was answered is there after a power loss; one that comes in between leaves the old inventory or the new one.
#[test]
fn the_inventory_outlives_power_whenever_that_goes() {
    let mut seen = [false; 2];
    for nth in 1.. {
        let mut host = host();
        let kept = made(&mut host, 100, F512, &[0]);
        assert_eq!(host.write(kept, 0, &[9; 512], true), Ok(Status::SUCCESS));
        let data = host.allocate(4096).expect("room");
        host.write_memory(data, wanted(64, F4096).as_bytes());
        let command = admin_command(AdminOpcode::NAMESPACE_MANAGEMENT);
        let command = Command { prp1: data.into(), ..command };
        let Some((mut host, answered)) = cut_at(host, nth, command) else { break };
        let all = identifiers(&mut host, Cns::ALLOCATED_NAMESPACES, 0).expect("offered");
        assert!(all == [kept] && !answered || all == [kept, 2], "step {nth}: {all:?}, answered: {answered}");
        seen[all.len() - 1] = true;
        assert_eq!(host.active_namespaces(0), Ok(vec![kept]), "attachments stay");
        assert_eq!(host.read(kept, 0, 1), Ok((Status::SUCCESS, vec![9; 512])));
        assert_accounted(&mut host);
    }
    assert_eq!(seen, [true, true], "both were met");
}

/// P1, P2: the same of a deletion. What is left of the namespace is whole, and whoever makes another one there finds nothing of it.
#[test]
fn a_deletion_has_happened_or_has_not_whenever_power_goes() {
    let mut seen = [false; 2];
    for nth in 1.. {
        let mut host = host();
        let gone = made(&mut host, 64, F4096, &[0]);
        assert_eq!(host.write(gone, 0, &[9; 4096], true), Ok(Status::SUCCESS));
        let command =
            Command { nsid: gone.into(), cdw10: 1.into(), ..admin_command(AdminOpcode::NAMESPACE_MANAGEMENT) };
        let Some((mut host, answered)) = cut_at(host, nth, command) else { break };
        let all = identifiers(&mut host, Cns::ALLOCATED_NAMESPACES, 0).expect("offered");
        assert!(all == [gone] && !answered || all.is_empty(), "step {nth}: {all:?}, answered: {answered}");
        seen[all.len()] = true;
        assert_accounted(&mut host);
        if all.is_empty() {
            assert_eq!(made(&mut host, 64, F4096, &[0]), gone);
            assert_eq!(host.read(gone, 0, 1), Ok((Status::SUCCESS, vec![0; 4096])), "step {nth}");
        }
    }
    assert_eq!(seen, [true, true], "both were met");
}

/// Power goes at the n-th step of an admin command and comes back: the machine then, and whether the command was answered. Nothing where the
/// command takes fewer steps; then it was answered.
fn cut_at(mut host: Host<Rig>, nth: u64, command: Command) -> Option<(Host<Rig>, bool)> {
    host.port_mut().subsystem.crash_arm(Arming::AnyStep(nth), Cut::default());
    let cid = host.submit(0, command).expect("room");
    for _ in 0..20 {
        host.port_mut().step();
    }
    let answered = host.poll(0, cid).is_some();
    if host.port_mut().subsystem.power_is_on() {
        assert!(answered);
        return None;
    }
    Some((restored(host.into_port()), answered))
}

/// The same machine after its power came back, with a host.
fn restored(mut rig: Rig) -> Host<Rig> {
    rig.subsystem.power_restore(None).expect("recovered");
    let mut host = Host::enable(rig, build().setup).expect("the controller comes up");
    host.create_queue_pair(1, 64, Some(1)).expect("room");
    host
}

/// Namespaces at random by two hosts, while each writes and reads what it has: nothing fails that should not, space is accounted for after
/// each change, and no data of one is ever seen in another.
#[test]
fn namespaces_at_random_are_accounted_for_and_hold_what_was_written() {
    let seed = std::env::var("SEED").map_or(3, |seed| seed.parse().expect("SEED is a number"));
    println!("SEED={seed}");
    let mut random = Random::new(seed);
    let mut hosts = two();
    // By identifier: blocks, the controllers that have it, and what lies in the first block.
    let mut model = std::collections::BTreeMap::<u32, (u64, Vec<u16>, u8)>::new();
    for round in 0..400_u32 {
        let by = usize::try_from(random.below(2)).expect("two");
        let host = &mut hosts[by];
        let nsid = 1 + u32::try_from(random.below(MOST.into())).expect("few");
        match (random.below(5), model.get_mut(&nsid)) {
            (0 | 1, None) => {
                let format = random.pick(&[F512, F4096]);
                let blocks = 1 + random.below(CAPACITY / 3 / if format == F512 { 512 } else { 4096 });
                let free = host.identify_controller().expect("mandatory").unvmcap.get();
                let needed = (blocks * if format == F512 { 512 } else { 4096 }).next_multiple_of(UNIT);
                let wanted = identify::Namespace { nmic: 1, ..wanted(blocks, format) };
                match create(host, &wanted) {
                    Ok(nsid) => drop(model.insert(nsid, (blocks, Vec::new(), 0))),
                    Err(status) => {
                        assert_eq!(status, Status::INSUFFICIENT_CAPACITY, "seed {seed}, round {round}");
                        assert!(u128::from(needed) > free, "seed {seed}, round {round}");
                    }
                }
            }
            (0, Some(_)) => {
                assert_eq!(delete(host, nsid), Ok(0), "seed {seed}, round {round}");
                model.remove(&nsid);
            }
            (1, Some((_, has, _))) => {
                let id = u16::try_from(random.below(2)).expect("two");
                let select = u32::from(has.contains(&id));
                assert_eq!(attachment(host, select, nsid, &[id]), Ok(0), "seed {seed}, round {round}");
                if select == 1 { has.retain(|other| *other != id) } else { has.push(id) }
            }
            (_, Some((blocks, has, byte))) if has.contains(&u16::try_from(by).expect("two")) => {
                // The host that keeps in mind how large blocks are does not know that it is another namespace.
                let bytes = 1 << host.identify_namespace(nsid).expect("active").format().lbads;
                let (answer, data) =
                    host.execute_in(1, block_command(NvmOpcode::READ, nsid, 0, 1), bytes).expect("room");
                assert!(answer.status().is_success() && data == vec![*byte; bytes], "seed {seed}, round {round}");
                *byte = 1 + u8::try_from(round % 255).expect("small");
                for lba in [0, *blocks - 1] {
                    let write = block_command(NvmOpcode::WRITE, nsid, lba, 1);
                    let answer = host.execute_out(1, write, &vec![*byte; bytes]).expect("room");
                    assert!(answer.status().is_success(), "seed {seed}, round {round}");
                }
            }
            (_, Some(_)) => {
                assert_eq!(host.flush(nsid).map(bare), Ok(Status::INVALID_FIELD), "seed {seed}, round {round}");
            }
            _ => {}
        }
        assert_accounted(&mut hosts[by]);
        for (id, host) in (0..).zip(&mut hosts) {
            let has: Vec<_> =
                model.iter().filter(|(_, (_, has, _))| has.contains(&id)).map(|(nsid, _)| *nsid).collect();
            assert_eq!(host.active_namespaces(0), Ok(has), "seed {seed}, round {round}");
        }
    }
}

/// A drive that is made with namespaces has them, and may make more.
#[test]
fn a_drive_may_begin_with_namespaces() {
    let second = NamespaceOptions { nsid: 3, detached: true, ..NamespaceOptions::default() };
    let identities = vec![NamespaceOptions::default(), second];
    let mut host = Build { namespaces: vec![(512, 64), (4096, 8)], identities, ..build() }.host();
    assert_eq!(host.active_namespaces(0), Ok(vec![1]));
    assert_eq!(identifiers(&mut host, Cns::ALLOCATED_NAMESPACES, 0), Ok(vec![1, 3]));
    assert_eq!(create(&mut host, &wanted(8, F512)), Ok(2));
    assert_eq!(attachment(&mut host, 0, 3, &[0]), Ok(0));
    assert_eq!(host.identify_namespace(3).expect("active").flbas, F4096);
    assert_accounted(&mut host);
}

/// NSM15: data that crosses a page go on where PRP2 says, which is a page and no list of pages.
#[test]
fn data_across_two_pages_are_read_from_both() {
    let mut host = host();
    let wanted = wanted(100, F512);
    for offset in [0, 4, 12, 384, 512, 4092] {
        let pages = [(); 2].map(|()| host.allocate(4096).expect("room"));
        let (first, second) = wanted.as_bytes().split_at(4096 - offset);
        host.write_memory(pages[0] + offset as u64, first);
        host.write_memory(pages[1], second);
        let [prp1, prp2] = [(pages[0] + offset as u64).into(), pages[1].into()];
        let command = Command { prp1, prp2, ..admin_command(AdminOpcode::NAMESPACE_MANAGEMENT) };
        let nsid = result(host.execute(0, command).expect("answered")).expect("it is made");
        let found = identifiers(&mut host, Cns::ALLOCATED_NAMESPACES, nsid - 1).expect("a list");
        assert_eq!(found, [nsid], "offset {offset}");
        attachment(&mut host, 0, nsid, &[0]).expect("attached");
        assert_eq!(host.identify_namespace(nsid).expect("active").nsze.get(), 100);
        assert_eq!(delete(&mut host, nsid), Ok(0));
        pages.into_iter().for_each(|page| host.release(page));
    }
}
