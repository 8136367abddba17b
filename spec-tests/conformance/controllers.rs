//! Several controllers of one subsystem: what they share and what each has for itself (rules MC1 to MC4, NSM13, NSM14; NVMe Base 2.1
//! sections 2.4.1 and 3.1.2). Atomicity across them is in `atomic_random`.

use controller::changes::ChangeError;
use controller::config::{DeviceOptions, NamespaceOptions};
use controller::plugs::PlugError;
use controller::{CONTROLLERS_MAX, ControllerId, ControllerSet};
use media::Nanoseconds;
use media::power::{Cut, CutPolicy};
use nvme_host::admin::{LogArguments, admin_command};
use nvme_host::io::block_command;
use nvme_host::{Host, Port};
use nvme_spec::feature::{EVENT_NAMESPACE_ATTRIBUTE, FeatureId, select};
use nvme_spec::identify::Cns;
use nvme_spec::log::{CHANGED_NAMESPACES_BYTES, LogId, Smart};
use nvme_spec::opcode::{AdminOpcode, NvmOpcode};
use nvme_spec::register;
use nvme_spec::{Command, Status};
use spec_tests::golden::parsed;
use spec_tests::paths::Path;
use spec_tests::rig::Build;

use crate::namespace_management::controllers;
use crate::verbs::bare;

const BLOCK: usize = 512;
const LATENCY: Nanoseconds = Nanoseconds(1_000_000);
/// Completion dword 0 of a Namespace Attribute Changed notice.
const NAMESPACE_CHANGED: u32 = 0x0004_0002;
/// The value with which a host asks for an NVM Subsystem Reset: "NVMe".
const SUBSYSTEM_RESET: u32 = 0x4e56_4d65;

fn build() -> Build {
    Build { namespaces: vec![(512, 1024); 2], ..Build::default() }
}

/// Two hosts with an I/O queue pair each.
fn two(build: &Build) -> [Host<Path>; 2] {
    let mut hosts = build.hosts(2);
    hosts.iter_mut().for_each(|host| host.create_queue_pair(1, 64, Some(1)).expect("room"));
    hosts.try_into().unwrap_or_else(|_| unreachable!("two were asked for"))
}

fn slow_down(host: &Host<Path>) {
    host.port().world().behaviour.borrow_mut().latency = Some(LATENCY);
}

/// Submits a command over these blocks with its data in a new page that is filled with `byte`; its identifier, and the page.
fn submit(host: &mut Host<Path>, opcode: NvmOpcode, nsid: u32, [lba, blocks]: [u32; 2], byte: u8) -> (u16, u64) {
    let page = host.allocate(4096).expect("room");
    host.write_memory(page, &[byte; 4096]);
    let command = block_command(opcode, nsid, lba.into(), blocks);
    let cid = host.submit(1, Command { prp1: page.into(), ..command }).expect("room");
    host.port().world().run_until_idle();
    (cid, page)
}

fn pass(host: &Host<Path>) {
    let mut world = host.port().world();
    world.now = world.now.plus(LATENCY);
    world.run_until_idle();
}

/// What has been answered to a host, with the identifiers.
fn answers(host: &mut Host<Path>) -> Vec<(u16, Status)> {
    std::iter::from_fn(|| host.reap(1)).map(|answer| (answer.cid.get(), bare(answer.status()))).collect()
}

/// MC1: CMIC and NMIC tell of several; CNTLIDs differ; all else is alike. One controller alone tells of none.
#[test]
fn identify_tells_one_subsystem_from_two_controllers() {
    let mut hosts = two(&build());
    let [one, two] = hosts.each_mut().map(|host| host.identify_controller().expect("mandatory"));
    assert_eq!((one.cmic, two.cmic), (0b11, 0b11), "several ports, several controllers, no functions, no ANA");
    assert_eq!((one.cntlid.get(), two.cntlid.get()), (0, 1));
    assert_eq!((one.subnqn, one.sn, one.mn, one.fr), (two.subnqn, two.sn, two.mn, two.fr));
    assert_eq!((one.nn, one.oacs, one.oncs, one.mdts), (two.nn, two.oacs, two.oncs, two.mdts));
    for nsid in [1, 2] {
        let [one, two] = hosts.each_mut().map(|host| host.identify_namespace(nsid).expect("active"));
        assert_eq!((one.nmic, two.nmic), (1, 1));
        assert_eq!((one.nguid, one.eui64, one.nsze), (two.nguid, two.eui64, two.nsze));
        let [one, two] = hosts.each_mut().map(|host| {
            let arguments = nvme_host::admin::IdentifyArguments { nsid, ..Default::default() };
            host.identify(Cns::NAMESPACE_DESCRIPTORS, arguments).expect("active")
        });
        assert_eq!(one, two, "the same identifiers");
    }
    let mut alone = build().hosts(1).pop().expect("one");
    let controller = alone.identify_controller().expect("mandatory");
    let namespace = alone.identify_namespace(1).expect("active");
    assert_eq!((controller.cmic, controller.cntlid.get(), namespace.nmic), (0, 0, 0));
}

/// MC2, MC1: what one writes the other reads; the log of the media is one, the error log and the features are each controller's own.
#[test]
fn data_and_health_are_shared_and_errors_and_features_are_not() {
    let [mut one, mut two] = two(&build());
    assert!(one.write(1, 7, &[0xa5; BLOCK], false).expect("carried").is_success());
    assert_eq!(two.read(1, 7, 1).expect("carried"), (Status::SUCCESS, vec![0xa5; BLOCK]));
    let smart = |host: &mut Host<Path>| -> Smart {
        let page = host.get_log(LogId::SMART, size_of::<Smart>(), LogArguments::default()).expect("mandatory");
        parsed(&page)
    };
    for host in [&mut one, &mut two] {
        let page = smart(host);
        assert_eq!((page.host_write_commands.get(), page.host_read_commands.get()), (1, 1));
    }
    let refused = one.read(1, 5000, 1).expect("carried").0;
    assert!(!refused.is_success());
    assert_eq!((smart(&mut one).error_log_entries.get(), smart(&mut two).error_log_entries.get()), (1, 0));
    one.set_feature(FeatureId::ARBITRATION, 5).expect("changeable");
    assert_eq!(one.get_feature(FeatureId::ARBITRATION, select::CURRENT), Ok(5));
    assert_eq!(two.get_feature(FeatureId::ARBITRATION, select::CURRENT), Ok(3));
}

/// MC4, B168: a command waits for those of the other controller over its blocks, and for no others; it goes on when they are done.
#[test]
fn commands_over_the_same_blocks_take_turns_across_controllers() {
    let [mut one, mut two] = two(&build());
    slow_down(&one);
    let (write, _) = submit(&mut one, NvmOpcode::WRITE, 1, [10, 4], 1);
    let (overlapping, page) = submit(&mut two, NvmOpcode::READ, 1, [12, 2], 0);
    let (apart, _) = submit(&mut two, NvmOpcode::READ, 1, [20, 2], 0);
    let (elsewhere, _) = submit(&mut two, NvmOpcode::READ, 2, [10, 4], 0);
    pass(&one);
    assert_eq!(answers(&mut one), [(write, Status::SUCCESS)]);
    assert_eq!(answers(&mut two), [(apart, Status::SUCCESS), (elsewhere, Status::SUCCESS)]);
    pass(&one);
    assert_eq!(answers(&mut two), [(overlapping, Status::SUCCESS)]);
    assert_eq!(two.read_memory(page, 2 * BLOCK), [1; 2 * BLOCK]);
}

/// MC3: a Controller Reset ends the commands of its controller only; whoever waited for their blocks goes on.
#[test]
fn a_controller_reset_keeps_to_its_controller() {
    let [mut one, mut two] = two(&build());
    slow_down(&one);
    submit(&mut one, NvmOpcode::WRITE, 1, [10, 4], 1);
    let (waits, _) = submit(&mut two, NvmOpcode::WRITE, 1, [12, 4], 2);
    let (free, _) = submit(&mut two, NvmOpcode::WRITE, 1, [100, 4], 3);
    one.port_mut().register_write(register::CC, &0_u32.to_le_bytes());
    one.port().world().run_until_idle();
    pass(&two);
    pass(&two);
    let mut done = answers(&mut two);
    done.sort_by_key(|answer| answer.0);
    assert_eq!(done, [(waits, Status::SUCCESS), (free, Status::SUCCESS)]);
    one.start().expect("it comes up again");
    one.create_queue_pair(1, 64, Some(1)).expect("room");
    assert_eq!(one.read(1, 12, 1).expect("carried").1, [2; BLOCK]);
}

/// MC3: an NVM Subsystem Reset meets every controller (NVMe Base 2.1 section 3.7.1).
#[test]
fn a_subsystem_reset_meets_all() {
    let [mut one, mut two] = two(&build());
    slow_down(&one);
    submit(&mut two, NvmOpcode::WRITE, 1, [10, 4], 1);
    one.port_mut().register_write(register::NSSR, &SUBSYSTEM_RESET.to_le_bytes());
    one.port().world().run_until_idle();
    for host in [&mut one, &mut two] {
        let status = host.status();
        assert!(status.bits() & 1 == 0 && status.bits() >> 4 & 1 == 1, "not ready, NSSRO: {status:?}");
        host.start().expect("it comes up again");
        host.create_queue_pair(1, 64, Some(1)).expect("room");
    }
    pass(&two);
    assert!(answers(&mut two).is_empty(), "what was under way is never answered");
}

/// MC3: a power loss hits all at one instant, and is reported once, with whose command it was.
#[test]
fn a_power_loss_hits_all_at_once() {
    let [mut one, mut two] = two(&Build { drive: Some(spec_tests::rig::small_drive(4 << 20, 16384)), ..build() });
    assert!(one.write(1, 0, &[1; BLOCK], false).expect("carried").is_success());
    assert!(two.write(1, 64, &[2; BLOCK], false).expect("carried").is_success());
    let report = one.port().world().subsystem.power_cut(&Cut::from(CutPolicy::NoneSurvive));
    let lost: Vec<(u64, bool, bool)> =
        report.not_durable.iter().map(|lost| (lost.range.first, lost.command.is_some(), lost.completed)).collect();
    assert_eq!(lost, [(0, true, true), (64, true, true)], "both were told that their writes are done");
    for host in [&mut one, &mut two] {
        assert_eq!(host.port_mut().register_read_32(register::CSTS), u32::MAX, "nobody answers");
    }
    one.port().world().subsystem.power_restore(None).expect("power");
    for host in [&mut one, &mut two] {
        host.start().expect("it comes up again");
        host.create_queue_pair(1, 64, Some(1)).expect("room");
        assert_eq!(host.read(1, 0, 1).expect("carried").1, [0; BLOCK], "it was volatile");
    }
}

/// A namespace with `shared=off` is one controller's, and to the other as one that is not there (B64, B106).
#[test]
fn a_private_namespace_is_inactive_elsewhere() {
    let private = NamespaceOptions { shared: false, ..NamespaceOptions::default() };
    let second = NamespaceOptions { controllers: Some("1".into()), ..NamespaceOptions::default() };
    let [mut one, mut two] = two(&Build { identities: vec![private, second], ..build() });
    assert_eq!(one.active_namespaces(0), Ok(vec![1]));
    assert_eq!(two.active_namespaces(0), Ok(vec![2]));
    assert_eq!(
        (one.identify_namespace(1).expect("active").nmic, two.identify_namespace(2).expect("active").nmic),
        (0, 1)
    );
    assert_eq!(two.identify_namespace(1).expect("valid").nsze.get(), 0, "zeroes");
    let (status, _) = (submit(&mut two, NvmOpcode::READ, 1, [0, 1], 0), ());
    assert_eq!(answers(&mut two), [(status.0, Status::INVALID_FIELD)]);
    let mut world = one.port().world();
    assert_eq!(world.subsystem.attach(1, ControllerId(1)), Err(ChangeError::Private(0)), "NSM13: 1/19h");
    assert_eq!(world.subsystem.attach(1, ControllerId(0)), Err(ChangeError::Attached(0)));
    assert_eq!(world.subsystem.detach(1, ControllerId(1)), Err(ChangeError::NotAttached(1)));
    assert_eq!(world.subsystem.attach(9, ControllerId(0)), Err(ChangeError::NoSuchNamespace(9)));
    assert_eq!(world.subsystem.attach(1, ControllerId(2)), Err(ChangeError::NoSuchController(2)));
    assert_eq!(world.subsystem.attached(1), Some(ControllerSet::one(ControllerId(0))));
}

/// NSM14: a controller that loses or gets a namespace tells its host, and lists it; commands under way there end; others hear nothing.
#[test]
fn attaching_and_detaching_is_told_to_whom_it_concerns() {
    let [mut one, mut two] = two(&build());
    for host in [&mut one, &mut two] {
        host.set_feature(FeatureId::ASYNCHRONOUS_EVENTS, EVENT_NAMESPACE_ATTRIBUTE).expect("changeable");
    }
    let requests = [&mut one, &mut two].map(|host| host.async_event_request().expect("room"));
    slow_down(&one);
    let (ends, _) = submit(&mut two, NvmOpcode::WRITE, 2, [10, 4], 1);
    let (stays, _) = submit(&mut two, NvmOpcode::WRITE, 1, [10, 4], 1);
    let (other, _) = submit(&mut one, NvmOpcode::WRITE, 2, [10, 4], 7);
    one.port().world().subsystem.detach(2, ControllerId(1)).expect("it was attached");
    one.port().world().run_until_idle();
    assert_eq!(answers(&mut two), [(ends, Status::INVALID_FIELD)]);
    assert_eq!(two.active_namespaces(0), Ok(vec![1]));
    assert_eq!(two.poll(0, requests[1]).expect("told").dw0.get(), NAMESPACE_CHANGED);
    assert_eq!(one.poll(0, requests[0]), None, "nothing of it concerns the other");
    let listed = two.get_log(LogId::CHANGED_NAMESPACES, CHANGED_NAMESPACES_BYTES, LogArguments::default());
    assert_eq!(listed.expect("mandatory")[..8], [2, 0, 0, 0, 0, 0, 0, 0]);
    pass(&one);
    pass(&one);
    assert_eq!(answers(&mut two), [(stays, Status::SUCCESS)]);
    assert_eq!(answers(&mut one), [(other, Status::SUCCESS)], "it waited for nobody who is gone");
    let again = two.async_event_request().expect("room");
    one.port().world().subsystem.attach(2, ControllerId(1)).expect("it is free");
    one.port().world().run_until_idle();
    assert_eq!(two.poll(0, again).expect("told").dw0.get(), NAMESPACE_CHANGED);
    one.port().world().behaviour.borrow_mut().latency = None;
    assert_eq!(two.read(2, 10, 1).expect("carried"), (Status::SUCCESS, vec![7; BLOCK]), "the data is there");
    one.port().world().subsystem.power_cut(&Cut::default());
    one.port().world().subsystem.power_restore(None).expect("power");
    assert_eq!(one.port().world().subsystem.attached(2), Some(ControllerSet::first(2)));
}

/// A resize waits for the commands of every controller, and is told to all that have the namespace.
#[test]
fn a_resize_waits_for_all_controllers_and_is_told_to_all() {
    let drive = Some(spec_tests::rig::small_drive(4 << 20, 16384));
    let second = NamespaceOptions { controllers: Some("0".into()), ..NamespaceOptions::default() };
    let identities = vec![NamespaceOptions::default(), second];
    let [mut one, mut two] = two(&Build { drive, room: vec![2048, 2048], identities, ..build() });
    for host in [&mut one, &mut two] {
        host.set_feature(FeatureId::ASYNCHRONOUS_EVENTS, EVENT_NAMESPACE_ATTRIBUTE).expect("changeable");
    }
    let requests = [&mut one, &mut two].map(|host| host.async_event_request().expect("room"));
    slow_down(&one);
    let (write, _) = submit(&mut two, NvmOpcode::WRITE, 1, [10, 4], 1);
    one.port().world().subsystem.resize(1, 2048).expect("begun");
    one.port().world().run_until_idle();
    assert_eq!(one.port().world().subsystem.changed(), None, "the other controller's command comes first");
    pass(&one);
    assert_eq!(answers(&mut two), [(write, Status::SUCCESS)]);
    pass(&one);
    assert_eq!(one.port().world().subsystem.changed(), Some(Ok(0)));
    for (host, cid) in [&mut one, &mut two].into_iter().zip(requests) {
        assert_eq!(host.poll(0, cid).expect("told").dw0.get(), NAMESPACE_CHANGED);
        assert_eq!(host.identify_namespace(1).expect("active").nsze.get(), 2048);
    }
    one.port().world().behaviour.borrow_mut().latency = None;
    one.port().world().subsystem.resize(2, 2048).expect("begun");
    one.port().world().run_until_idle();
    let listed = two.get_log(LogId::CHANGED_NAMESPACES, CHANGED_NAMESPACES_BYTES, LogArguments::default());
    assert_eq!(
        listed.expect("mandatory")[..8],
        [1, 0, 0, 0, 0, 0, 0, 0],
        "a namespace that it does not have is none of its business"
    );
}

/// One unplugged host disturbs nothing: its controller is reset by its transport while the other writes on.
#[test]
fn a_host_that_is_gone_disturbs_nobody() {
    let device = DeviceOptions::default();
    let [mut one, mut two] = two(&Build { device, ..build() });
    slow_down(&one);
    for round in 0..20 {
        submit(&mut one, NvmOpcode::WRITE, 1, [round, 8], 1);
        let (cid, _) = submit(&mut two, NvmOpcode::WRITE, 1, [round + 4, 8], 2);
        let id = one.port().id;
        one.port().world().subsystem.controller_mut(id).reset_function();
        one.port().world().run_until_idle();
        pass(&two);
        pass(&two);
        assert_eq!(answers(&mut two), [(cid, Status::SUCCESS)], "round {round}");
        one.start().expect("plugged in again");
        one.create_queue_pair(1, 64, Some(1)).expect("room");
    }
}

/// MC1, MC2: a controller that comes while others are at work is like them: it has an identifier of its own in the same subsystem, what is
/// attached to it, and its place in the lists; when it has gone nobody waits for it, and its place can be had again.
#[test]
fn a_controller_comes_while_another_works_and_goes_again() {
    let path = build().world(1).pop().expect("one");
    path.world().subsystem.announce_more();
    let setup = |path| Host::enable(path, build().setup).expect("it comes up");
    let mut one = setup(path.clone());
    one.create_queue_pair(1, 64, Some(1)).expect("room");
    let several = identify_bytes(&mut one)[76];
    assert_eq!(several & 0b11, 0b11, "CMIC says from the start that there may be others");
    assert_eq!(one.identify_namespace(1).expect("active").nmic & 1, 1);
    submit(&mut one, NvmOpcode::WRITE, 1, [3, 1], 0x33);
    for round in 0..3_u8 {
        let path = path.one_more();
        assert_eq!(path.id, ControllerId(1), "the lowest that is free");
        let mut two = setup(path.clone());
        two.create_queue_pair(1, 64, Some(1)).expect("room");
        let [first, second] = [identify_bytes(&mut one), identify_bytes(&mut two)];
        assert_eq!(
            (&first[768..1024], &first[78..80], &second[78..80]),
            (&second[768..1024], &[0, 0][..], &[1, 0][..])
        );
        assert_eq!(controllers(&mut one, Cns::ATTACHED_CONTROLLERS, 1, 0), Ok(vec![0, 1]));
        assert_eq!(two.read(1, 3, 1).expect("read").1, [0x33 + round; BLOCK]);
        assert_eq!(two.write(1, 3, &[0x34 + round; BLOCK], false), Ok(Status::SUCCESS));
        let refused = path.world().subsystem.remove_controller(path.id);
        assert_eq!(refused, Err(PlugError::Busy(1)), "its host has not gone");
        // Its host goes in the middle of something.
        slow_down(&two);
        submit(&mut two, NvmOpcode::WRITE, 1, [9, 1], 0x99);
        path.world().subsystem.controller_mut(path.id).reset_function();
        path.world().run_until_idle();
        path.world().behaviour.borrow_mut().latency = None;
        pass(&one);
        assert_eq!(path.world().subsystem.remove_controller(path.id), Ok(()));
        assert_eq!(path.world().subsystem.remove_controller(path.id), Err(PlugError::Absent(1)));
        assert_eq!(controllers(&mut one, Cns::ATTACHED_CONTROLLERS, 1, 0), Ok(vec![0]));
        // Nobody waits for one that has gone: neither another size of a namespace nor blocks that it held.
        assert_eq!(one.write(1, 9, &[round; BLOCK], false), Ok(Status::SUCCESS));
        let attach = path.world().subsystem.attach(1, path.id);
        assert_eq!(attach, Err(ChangeError::NoSuchController(1)));
    }
    assert_eq!(path.world().subsystem.remove_controller(ControllerId::FIRST), Err(PlugError::Last(0)));
    let ids: Vec<_> = (1..CONTROLLERS_MAX).map(|_| path.one_more().id.0).collect();
    assert_eq!(ids, (1..CONTROLLERS_MAX).collect::<Vec<_>>());
    assert_eq!(path.world().subsystem.add_controller(), None, "as many as there can be");
}

/// Identify Controller.
fn identify_bytes(host: &mut Host<Path>) -> Vec<u8> {
    let command = Command { cdw10: u32::from(Cns::CONTROLLER.0).into(), ..admin_command(AdminOpcode::IDENTIFY) };
    host.execute_in(0, command, 4096).expect("answered").1
}
