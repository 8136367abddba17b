//! Asymmetric namespace access (rule MC5; the event in EVT's table, 2/03; NSM4; NVMe Base 2.1 sections 5.1.12.1.13 and 8.1.1, NVM Command
//! Set 1.1 section 5.1): groups of namespaces, the state of each controller's access to them, and which commands it lets pass.

use controller::ana::{AnaError, AnaState};
use controller::config::{DeviceOptions, NamespaceOptions};
use controller::{ControllerId, ControllerSet};
use media::Nanoseconds;
use media::power::Cut;
use nvme_host::admin::{IdentifyArguments, LogArguments, admin_command, get_feature_command, set_feature_command};
use nvme_host::io::block_command;
use nvme_host::reservation::register_command;
use nvme_host::{Host, HostError};
use nvme_spec::command::fuse;
use nvme_spec::feature::{EVENT_ACCESS_CHANGE, EVENT_NAMESPACE_ATTRIBUTE, FeatureId, select};
use nvme_spec::identify::{Cns, IndependentNamespace, Namespace};
use nvme_spec::log::{AccessGroup, AccessHeader, ErrorEntry, LogId, access_state};
use nvme_spec::opcode::{AdminOpcode, NvmOpcode};
use nvme_spec::reservation::register_action;
use nvme_spec::{Command, NSID_ALL, Status};
use spec_tests::golden::parsed;
use spec_tests::paths::Path;
use spec_tests::rig::Build;

use crate::namespace_management::{attachment, create, delete, wanted};
use crate::verbs::bare;

type Party = Host<Path>;

const BLOCK: usize = 512;
const LATENCY: Nanoseconds = Nanoseconds(1_000_000);
/// Completion dword 0 of an Asymmetric Namespace Access Change notice.
const ACCESS_CHANGED: u32 = 0x000c_0302;
/// How a command ends in a state, if it is not carried out.
const REFUSED: [(AnaState, Status); 3] = [
    (AnaState::Inaccessible, Status::ACCESS_INACCESSIBLE),
    (AnaState::Change, Status::ACCESS_TRANSITION),
    (AnaState::PersistentLoss, Status::ACCESS_LOST),
];

fn options() -> DeviceOptions {
    DeviceOptions { ana: true, ..DeviceOptions::default() }
}

/// Three namespaces: 1 and 3 in group 1, 2 in group 7.
fn build() -> Build {
    let seventh = NamespaceOptions { anagrpid: 7, ..NamespaceOptions::default() };
    let identities = vec![NamespaceOptions::default(), seventh];
    Build { device: options(), namespaces: vec![(512, 1024); 3], identities, ..Build::default() }
}

fn two_of(build: &Build) -> [Party; 2] {
    let mut hosts = build.hosts(2);
    hosts.iter_mut().for_each(|host| host.create_queue_pair(1, 64, Some(1)).expect("room"));
    hosts.try_into().unwrap_or_else(|_| unreachable!("two were asked for"))
}

fn two() -> [Party; 2] {
    two_of(&build())
}

/// The controller's access to a group is so from now on.
fn set(host: &Party, group: u32, state: AnaState) -> Result<(), AnaError> {
    let id = host.port().id;
    let set = host.port().world().subsystem.set_ana_state(id, group, state);
    host.port().world().run_until_idle();
    set
}

/// A group as the log has it: its number, state and count of changes, and its namespaces.
type Entry = (u32, u8, u64, Vec<u32>);

/// The change count of the log, and its groups.
fn log_of(host: &mut Party, arguments: LogArguments) -> (u64, Vec<Entry>) {
    let page = host.get_log(LogId::ASYMMETRIC_ACCESS, 1024, arguments).expect("supported");
    let header: AccessHeader = parsed(&page[..16]);
    let mut at = 16;
    let groups = (0..header.groups.get()).map(|_| {
        let group: AccessGroup = parsed(&page[at..at + 32]);
        let end = at + 32 + 4 * group.namespaces.get() as usize;
        let nsids = page[at + 32..end].as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
        at = end;
        (group.group.get(), group.state, group.change_count.get(), nsids)
    });
    let groups = groups.collect();
    assert!(page[at..].iter().all(|byte| *byte == 0), "nothing follows the last group");
    (header.change_count.get(), groups)
}

fn log(host: &mut Party) -> (u64, Vec<Entry>) {
    log_of(host, LogArguments { nsid: NSID_ALL, ..LogArguments::default() })
}

fn admin(host: &mut Party, opcode: AdminOpcode, nsid: u32, dword: u32) -> Status {
    let command = Command { nsid: nsid.into(), cdw10: dword.into(), ..admin_command(opcode) };
    bare(host.execute(0, command).expect("answered").status())
}

/// MC5: without the option nothing of it is there: no bit of CMIC, ANACAP and OAES, no log, no bit of the feature, no group of a namespace,
/// no group for a new one, and no state to set.
#[test]
fn nothing_of_it_is_there_unless_it_was_asked_for() {
    let mut host = Build::default().hosts(1).pop().expect("one");
    let own = host.identify_controller().expect("mandatory");
    assert_eq!((own.cmic, own.oaes.get() & 0x800, own.mnan.get()), (0, 0, 0));
    assert_eq!((own.anacap, own.anatt, own.anagrpmax.get(), own.nanagrpid.get()), (0, 0, 0, 0));
    assert_eq!(host.identify_namespace(1).expect("active").anagrpid.get(), 0);
    let refused = host.get_log(LogId::ASYMMETRIC_ACCESS, 16, LogArguments::default());
    assert!(
        matches!(refused, Err(HostError::Refused(status)) if bare(status) == Status::INVALID_LOG_PAGE),
        "{refused:?}"
    );
    let supported = host.get_log(LogId::SUPPORTED, 1024, LogArguments::default()).expect("mandatory");
    assert_eq!(supported[0x0c * 4..0x0d * 4], [0; 4]);
    host.set_feature(FeatureId::ASYNCHRONOUS_EVENTS, EVENT_ACCESS_CHANGE).expect("what is not there is not kept");
    assert_eq!(host.get_feature(FeatureId::ASYNCHRONOUS_EVENTS, select::CURRENT), Ok(0));
    assert_eq!(set(&host, 1, AnaState::Inaccessible), Err(AnaError::Off));
}

/// MC5, 5.1.13: where there is, Identify says so of the controller and gives each namespace its group, in all of its structures.
#[test]
fn identify_and_the_log_tell_of_states_and_groups() {
    let [mut one, mut two] = two();
    for host in [&mut one, &mut two] {
        let own = host.identify_controller().expect("mandatory");
        assert_eq!((own.cmic, own.oaes.get() & 0x800), (0b1011, 0x800));
        // All five states; a namespace stays in its group. Hosts make none here, and so cannot choose one.
        assert_eq!((own.anacap, own.anatt), (0b0101_1111, 10));
        assert_eq!((own.anagrpmax.get(), own.nanagrpid.get()), (32, 32));
        // 5.1.13.2.1: with ANA there is a limit of namespaces, at most NN; Linux takes no other.
        assert_eq!((own.mnan.get(), own.nn.get()), (3, 3));
        assert_eq!(log(host), (0, vec![(1, 1, 0, vec![1, 3]), (7, 1, 0, vec![2])]));
        let supported = host.get_log(LogId::SUPPORTED, 1024, LogArguments::default()).expect("mandatory");
        assert_eq!(supported[0x0c * 4], 1);
    }
    for (nsid, group) in [(1, 1), (2, 7), (3, 1)] {
        let arguments = IdentifyArguments { nsid, ..IdentifyArguments::default() };
        let [plain, allocated]: [Namespace; 2] = [Cns::NAMESPACE, Cns::ALLOCATED_NAMESPACE]
            .map(|cns| parsed(&one.identify(cns, arguments).expect("it is there")));
        let independent: IndependentNamespace =
            parsed(&one.identify(Cns::INDEPENDENT_NAMESPACE, arguments).expect("active"));
        let groups = [plain.anagrpid.get(), allocated.anagrpid.get(), independent.anagrpid.get()];
        assert_eq!(groups, [group; 3], "namespace {nsid}");
    }
}

/// MC5, 5.1.12.1.13: a change shows at the controller that it is of, in the counts of the log and of the group; groups alone come without
/// namespaces. A reset of the controller sets the counts to 0, and no state.
#[test]
fn a_change_shows_in_the_log_of_its_controller() {
    let [mut one, mut two] = two();
    for (state, number) in [
        (AnaState::NonOptimized, access_state::NON_OPTIMIZED),
        (AnaState::Change, access_state::CHANGE),
        (AnaState::Inaccessible, access_state::INACCESSIBLE),
    ] {
        let (before, _) = log(&mut one);
        set(&one, 7, state).expect("possible");
        let (count, groups) = log(&mut one);
        assert_eq!(count, before + 1);
        assert_eq!(groups, [(1, 1, 0, vec![1, 3]), (7, number, count, vec![2])]);
    }
    assert_eq!(log(&mut two), (0, vec![(1, 1, 0, vec![1, 3]), (7, 1, 0, vec![2])]));
    set(&one, 7, AnaState::Inaccessible).expect("it is so already");
    set(&one, 9, AnaState::Inaccessible).expect("a group of no namespace");
    // LSP bit 0: RGO.
    let groups_only = LogArguments { nsid: NSID_ALL, specific: 1, ..LogArguments::default() };
    assert_eq!(log_of(&mut one, groups_only), (3, vec![(1, 1, 0, vec![]), (7, 3, 3, vec![])]));
    one.start().expect("reset and enabled");
    assert_eq!(log(&mut one), (0, vec![(1, 1, 0, vec![1, 3]), (7, 3, 0, vec![2])]));
}

/// MC5, 8.1.1.6 to 8.1.1.8: every command that needs a namespace that is not reached ends with the status of the state, without DNR, and
/// does nothing; other namespaces and the other controller go on. The error log has it.
#[test]
fn commands_to_what_is_not_reached_are_refused_and_others_are_not() {
    for (state, status) in REFUSED {
        let [mut one, mut two] = two();
        assert_eq!(one.write(2, 5, &[1; BLOCK], false), Ok(Status::SUCCESS));
        assert_eq!(one.read(2, 5, 1), Ok((Status::SUCCESS, vec![1; BLOCK])));
        set(&one, 7, state).expect("possible");
        let register = register_command(2, register_action::REGISTER, false, 0);
        let ends = [
            one.read(2, 5, 1).map(|(status, _)| status),
            one.write(2, 5, &[2; BLOCK], false),
            one.compare(2, 5, &[1; BLOCK]),
            one.write_zeroes(2, 5, 1, true),
            one.write_uncorrectable(2, 5, 1),
            one.copy(2, &[(5, 1)], 9, false).map(|answer| answer.status()),
            one.deallocate(2, &[(5, 1)]),
            one.io(block_command(NvmOpcode::VERIFY, 2, 5, 1)),
            one.flush(2),
            one.flush(NSID_ALL),
            one.register_key(register, 0, 7),
        ];
        assert_eq!(ends.map(|end| bare(end.expect("answered"))), [status; 11], "{state:?}");
        assert!(!status.do_not_retry(), "another path may do, or this one later");
        let entries = one.get_log(LogId::ERROR, 64, LogArguments::default()).expect("mandatory");
        let entry: ErrorEntry = parsed(&entries);
        assert_eq!((entry.nsid.get(), Status(entry.status.get() >> 1).kind()), (2, status.kind()));
        assert_eq!(one.write(1, 5, &[3; BLOCK], false), Ok(Status::SUCCESS), "a namespace of another group");
        assert_eq!(one.read(3, 5, 1), Ok((Status::SUCCESS, vec![0; BLOCK])));
        assert_eq!(two.read(2, 5, 1), Ok((Status::SUCCESS, vec![1; BLOCK])), "the other controller");
        assert_eq!(two.read(2, 9, 1), Ok((Status::SUCCESS, vec![0; BLOCK])), "nothing was copied");
        if state != AnaState::PersistentLoss {
            set(&one, 7, AnaState::NonOptimized).expect("possible");
            assert_eq!(one.write(2, 5, &[4; BLOCK], false), Ok(Status::SUCCESS));
            assert_eq!(two.read(2, 5, 1), Ok((Status::SUCCESS, vec![4; BLOCK])));
        }
    }
}

/// MC5, B148: of a fused pair the first gets the status, and nothing is written.
#[test]
fn a_fused_pair_is_refused_as_a_whole() {
    let [mut one, mut two] = two();
    set(&one, 1, AnaState::Inaccessible).expect("possible");
    let page = one.allocate(4096).expect("room");
    let of = |opcode, which| {
        let command = block_command(opcode, 1, 0, 1);
        Command { flags: which, prp1: page.into(), ..command }
    };
    one.write_memory(page, &[0; 4096]);
    let pair = [of(NvmOpcode::COMPARE, fuse::FIRST), of(NvmOpcode::WRITE, fuse::SECOND)];
    let cids = pair.map(|command| one.submit_quietly(1, command).expect("room"));
    one.ring(1).expect("rung");
    let ends = cids.map(|cid| bare(one.wait(1, cid).expect("answered").status()));
    assert_eq!(ends, [Status::ACCESS_INACCESSIBLE, Status::FAILED_FUSED]);
    assert_eq!(two.read(1, 0, 1), Ok((Status::SUCCESS, vec![0; BLOCK])));
}

/// MC5: a command that was taken before the change is carried out as a whole, the one behind it that waits for its blocks too; what comes
/// after is refused.
#[test]
fn commands_under_way_end_as_they_would_have() {
    let [mut one, mut two] = two();
    one.port().world().behaviour.borrow_mut().latency = Some(LATENCY);
    let submit = |host: &mut Party, byte: u8| {
        let page = host.allocate(4096).expect("room");
        host.write_memory(page, &[byte; 4096]);
        let command = Command { prp1: page.into(), ..block_command(NvmOpcode::WRITE, 2, 8, 8) };
        let cid = host.submit(1, command).expect("room");
        host.port().world().run_until_idle();
        cid
    };
    let [first, second] = [1, 2].map(|byte| submit(&mut one, byte));
    set(&one, 7, AnaState::Inaccessible).expect("possible");
    let late = submit(&mut one, 3);
    let answers = |host: &mut Party| -> Vec<(u16, Status)> {
        std::iter::from_fn(|| host.reap(1)).map(|answer| (answer.cid.get(), bare(answer.status()))).collect()
    };
    assert_eq!(answers(&mut one), [(late, Status::ACCESS_INACCESSIBLE)]);
    for _ in 0..3 {
        let mut world = one.port().world();
        world.now = world.now.plus(LATENCY);
        world.run_until_idle();
    }
    assert_eq!(answers(&mut one), [(first, Status::SUCCESS), (second, Status::SUCCESS)]);
    one.port().world().behaviour.borrow_mut().latency = None;
    assert_eq!(two.read(2, 8, 8), Ok((Status::SUCCESS, vec![2; 8 * BLOCK])));
}

/// MC5, 8.1.1.6, 8.1.1.7: Identify tells no capacity of what is not reached, and its size all the same; in the state Change it tells both.
#[test]
fn identify_hides_the_capacity_of_what_is_not_reached() {
    let [mut one, mut two] = two();
    assert_eq!(one.write(2, 5, &[1; BLOCK], false), Ok(Status::SUCCESS));
    let seen = |host: &mut Party| {
        let arguments = IdentifyArguments { nsid: 2, ..IdentifyArguments::default() };
        [Cns::NAMESPACE, Cns::ALLOCATED_NAMESPACE].map(|cns| {
            let data: Namespace = parsed(&host.identify(cns, arguments).expect("it is there"));
            (data.nsze.get(), data.ncap.get(), data.nuse.get(), data.nvmcap.get())
        })
    };
    let known = seen(&mut one);
    assert!(known[0].2 > 0 && known[0].3 > 0, "{known:?}");
    for (state, hidden) in [
        (AnaState::Change, false),
        (AnaState::Inaccessible, true),
        (AnaState::NonOptimized, false),
        (AnaState::PersistentLoss, true),
    ] {
        set(&one, 7, state).expect("possible");
        let expected = if hidden { [(1024, 1024, 0, 0); 2] } else { known };
        assert_eq!(seen(&mut one), expected, "{state:?}");
        assert_eq!(seen(&mut two), known);
    }
}

/// MC5, 8.1.1.10: features of a namespace that is not reached are not available, nor those of all; those of the controller are, and so are
/// the logs. (Format and management: see the test of new namespaces.)
#[test]
fn admin_commands_that_need_what_is_not_reached_are_refused() {
    const OF_NAMESPACES: [FeatureId; 3] =
        [FeatureId::ERROR_RECOVERY, FeatureId::RESERVATION_NOTIFICATIONS, FeatureId::RESERVATION_PERSISTENCE];
    for (state, status) in REFUSED {
        let [mut one, mut two] = two();
        set(&one, 7, state).expect("possible");
        for feature in OF_NAMESPACES {
            let get = |nsid: u32| Command { nsid: nsid.into(), ..get_feature_command(feature, select::CURRENT) };
            let put = |nsid: u32| Command { nsid: nsid.into(), ..set_feature_command(feature, 0) };
            let mut end = |command| bare(one.execute(0, command).expect("answered").status());
            assert_eq!([get(2), put(2), put(NSID_ALL)].map(&mut end), [status; 3], "{state:?}, {feature:?}");
            assert_eq!([get(1), put(1)].map(&mut end), [Status::SUCCESS; 2]);
            assert_eq!(bare(two.execute(0, put(NSID_ALL)).expect("answered").status()), Status::SUCCESS);
        }
        assert_eq!(one.set_feature(FeatureId::ARBITRATION, 5), Ok(0));
        assert!(one.get_log(LogId::SMART, 512, LogArguments::default()).is_ok());
    }
}

/// The rule of EVT's table for 2/03 (8.1.1.9): a change of access is told to the host of its controller that asked for it (AEC bit 11), at
/// its end and not when it begins; the type is silent until the log was read without Retain Asynchronous Event.
#[test]
fn a_change_is_an_event_for_who_asked_for_it() {
    let [mut one, mut two] = two();
    one.set_feature(FeatureId::ASYNCHRONOUS_EVENTS, EVENT_ACCESS_CHANGE).expect("changeable");
    two.set_feature(FeatureId::ASYNCHRONOUS_EVENTS, EVENT_NAMESPACE_ATTRIBUTE).expect("changeable");
    assert_eq!(one.get_feature(FeatureId::ASYNCHRONOUS_EVENTS, select::CURRENT), Ok(EVENT_ACCESS_CHANGE));
    let requests = [&mut one, &mut two].map(|host| host.async_event_request().expect("room"));
    let told = |host: &mut Party, cid| host.poll(0, cid).map(|answer| answer.dw0.get());
    set(&one, 7, AnaState::Change).expect("possible");
    assert_eq!(told(&mut one, requests[0]), None, "it has only begun");
    set(&one, 9, AnaState::Inaccessible).expect("possible");
    assert_eq!(told(&mut one, requests[0]), None, "the controller has no namespace of that group");
    set(&one, 7, AnaState::Inaccessible).expect("possible");
    assert_eq!(told(&mut one, requests[0]), Some(ACCESS_CHANGED));
    set(&two, 1, AnaState::NonOptimized).expect("possible");
    assert_eq!(told(&mut two, requests[1]), None, "it asked for other notices");
    // The request comes before the cause or after it: the type is silent in either case until the log is read.
    let again = one.async_event_request().expect("room");
    set(&one, 1, AnaState::NonOptimized).expect("possible");
    assert_eq!(told(&mut one, again), None);
    log_of(&mut one, LogArguments { nsid: NSID_ALL, retain_event: true, ..LogArguments::default() });
    one.port().world().run_until_idle();
    assert_eq!(told(&mut one, again), None, "RAE");
    log(&mut one);
    one.port().world().run_until_idle();
    assert_eq!(told(&mut one, again), Some(ACCESS_CHANGED));
    // A reset forgets events, and the mask.
    set(&one, 1, AnaState::Optimized).expect("possible");
    one.start().expect("reset and enabled");
    let last = one.async_event_request().expect("room");
    set(&one, 1, AnaState::NonOptimized).expect("possible");
    one.port().world().run_until_idle();
    assert_eq!(told(&mut one, last), None);
}

/// MC5, 8.1.1.7: no state follows a persistent loss, and no controller gets a namespace that way (1/25h); a power loss ends it. Wrong
/// numbers change nothing.
#[test]
fn a_persistent_loss_is_for_good() {
    let [mut one, two] = two();
    set(&one, 7, AnaState::PersistentLoss).expect("possible");
    assert_eq!(set(&one, 7, AnaState::Optimized), Err(AnaError::Lost(0, 7)));
    for group in [0, 33] {
        assert_eq!(set(&one, group, AnaState::Change), Err(AnaError::NoSuchGroup(group)));
    }
    one.start().expect("reset and enabled");
    one.create_queue_pair(1, 64, Some(1)).expect("room");
    assert_eq!(one.read(2, 0, 1).map(|(status, _)| bare(status)), Ok(Status::ACCESS_LOST), "a reset is no help");
    {
        let mut world = two.port().world();
        world.subsystem.power_cut(&Cut::default());
        assert_eq!(world.subsystem.set_ana_state(ControllerId(0), 1, AnaState::Change), Err(AnaError::NoPower));
        world.subsystem.power_restore(None).expect("power");
    }
    let id = one.port().id;
    one.port().world().subsystem.controller_mut(id).set_bus_master(true);
    one.start().expect("enabled");
    one.create_queue_pair(1, 64, Some(1)).expect("room");
    assert_eq!(log(&mut one).1, [(1, 1, 0, vec![1, 3]), (7, 1, 0, vec![2])]);
    assert!(one.read(2, 0, 1).is_ok_and(|(status, _)| status.is_success()));
}

/// NSM4, 5.1.21: a host that makes a namespace chooses its group, or leaves that to the controller; a group that cannot be is refused with
/// 1/24h. A new namespace is as reachable as its group is, from its first moment on. Attaching changes the log.
#[test]
fn new_namespaces_have_a_group_and_its_state() {
    let [mut one, mut two] = two_of(&Build { device: options(), ..crate::namespace_management::build() });
    assert_eq!(one.identify_controller().expect("mandatory").anacap, 0b1101_1111);
    set(&two, 7, AnaState::Inaccessible).expect("possible");
    let in_group = |group: u32| Namespace { anagrpid: group.into(), nmic: 1, ..wanted(64, 0) };
    assert_eq!(create(&mut one, &in_group(33)), Err(Status::ACCESS_GROUP_INVALID));
    let first = create(&mut one, &in_group(0)).expect("room");
    let second = create(&mut one, &in_group(7)).expect("room");
    for nsid in [first, second] {
        assert_eq!(attachment(&mut one, 0, nsid, &[0, 1]), Ok(0));
    }
    assert_eq!(log(&mut two), (2, vec![(1, 1, 1, vec![first]), (7, 3, 2, vec![second])]));
    assert_eq!(one.read(second, 0, 1).map(|(status, _)| bare(status)), Ok(Status::SUCCESS));
    assert_eq!(two.read(second, 0, 1).map(|(status, _)| bare(status)), Ok(Status::ACCESS_INACCESSIBLE));
    assert_eq!(delete(&mut two, second), Err(Status::ACCESS_INACCESSIBLE));
    let formats = [second, NSID_ALL, first].map(|nsid| admin(&mut two, AdminOpcode::FORMAT, nsid, 0));
    assert_eq!(formats, [Status::ACCESS_INACCESSIBLE, Status::ACCESS_INACCESSIBLE, Status::SUCCESS]);
    assert_eq!(attachment(&mut two, 1, second, &[1]), Err(Status::ACCESS_INACCESSIBLE));
    assert_eq!(attachment(&mut one, 1, second, &[1]), Ok(0), "by the other controller it can be detached");
    assert_eq!(log(&mut two), (3, vec![(1, 1, 1, vec![first])]));
    set(&two, 7, AnaState::PersistentLoss).expect("possible");
    assert_eq!(attachment(&mut one, 0, second, &[1]), Err(Status::ACCESS_ATTACH_FAILED));
    assert_eq!(one.port().world().subsystem.attached(second), Some(ControllerSet::one(ControllerId(0))));
    assert_eq!(delete(&mut one, second), Ok(0));
}

/// NSM4: the media keeps the group of a namespace over a power loss.
#[test]
fn a_group_outlives_the_power() {
    let build = Build { device: options(), ..crate::namespace_management::build() };
    let mut host = build.hosts(1).pop().expect("one");
    let nsid = create(&mut host, &Namespace { anagrpid: 9.into(), ..wanted(64, 0) }).expect("room");
    attachment(&mut host, 0, nsid, &[0]).expect("free");
    {
        let mut world = host.port().world();
        world.subsystem.power_cut(&Cut::default());
        world.subsystem.power_restore(None).expect("power");
        world.subsystem.controller_mut(ControllerId(0)).set_bus_master(true);
    }
    host.start().expect("enabled");
    assert_eq!(host.identify_namespace(nsid).expect("active").anagrpid.get(), 9);
}

/// A controller that comes reaches every namespace, whatever became of the one that had its place.
#[test]
fn a_controller_that_comes_reaches_what_the_one_before_it_had_lost() {
    let path = build().world(1).pop().expect("one");
    path.world().subsystem.announce_more();
    for state in [AnaState::PersistentLoss, AnaState::Inaccessible, AnaState::Optimized] {
        let path = path.one_more();
        let mut host = Host::enable(path.clone(), build().setup).expect("it comes up");
        host.create_queue_pair(1, 64, Some(1)).expect("room");
        assert_eq!(log(&mut host), (0, vec![(1, 1, 0, vec![1, 3]), (7, 1, 0, vec![2])]));
        assert_eq!(host.read(2, 0, 1).map(|(status, _)| bare(status)), Ok(Status::SUCCESS));
        set(&host, 7, state).expect("possible");
        path.world().subsystem.controller_mut(path.id).reset_function();
        path.world().run_until_idle();
        path.world().subsystem.remove_controller(path.id).expect("its host has gone");
    }
}
