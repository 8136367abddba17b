//! What outlives what (table P of the rules, RES15; NVMe Base 2.3 section 8.1.24): registrations and reservations stay through every
//! reset, and go with power, since RESCAP offers no persistence; those of a host without a name go with its controller's reset.

use media::power::{Cut, CutPolicy};
use nvme_host::Port;
use nvme_spec::feature::{FeatureId, select};
use nvme_spec::{Command, NSID_ALL, Status, register};

use super::{CONFLICT, EA, OK, Party, acquire, generation, name, register, registering, some, summary};
use crate::verbs::bare;

/// The value with which a host asks for an NVM Subsystem Reset: "NVMe".
const SUBSYSTEM_RESET: u32 = 0x4e56_4d65;

#[derive(Clone, Copy, Debug)]
enum Reset {
    Controller,
    Function,
    Subsystem,
}

fn carry_out(host: &mut Party, reset: Reset) {
    match reset {
        Reset::Controller => host.port_mut().register_write(register::CC, &0_u32.to_le_bytes()),
        Reset::Function => {
            let id = host.port().id;
            host.port().world().subsystem.controller_mut(id).reset_function();
        }
        Reset::Subsystem => host.port_mut().register_write(register::NSSR, &SUBSYSTEM_RESET.to_le_bytes()),
    }
    host.port().world().run_until_idle();
}

fn come_up(host: &mut Party) {
    host.start().expect("it comes up again");
    host.create_queue_pair(1, 64, Some(1)).expect("room");
}

/// RES12, RES15: named registrations and what they hold stay; the host is itself again when it says who it is.
#[test]
fn reservations_outlive_every_reset() {
    for reset in [Reset::Controller, Reset::Function, Reset::Subsystem] {
        let [mut one, mut two] = some([1, 2]);
        assert_eq!((register(&mut one, 1), register(&mut two, 2), acquire(&mut one, 1, EA)), (OK, OK, OK));
        carry_out(&mut one, reset);
        come_up(&mut one);
        if matches!(reset, Reset::Subsystem) {
            come_up(&mut two);
            two.set_host_identifier(&name(2)).expect("cleared by the reset");
        }
        assert_eq!(bare(two.read(1, 0, 1).expect("answered").0), CONFLICT, "{reset:?}");
        assert_eq!(bare(one.read(1, 0, 1).expect("answered").0), CONFLICT, "it has no name, and is nobody");
        one.set_host_identifier(&name(1)).expect("cleared by the reset");
        assert_eq!(bare(one.read(1, 0, 1).expect("answered").0), OK, "{reset:?}");
        assert_eq!(summary(&mut two), (2, vec![(0, 1, true), (1, 2, false)]));
        assert_eq!(generation(&mut two), 2);
    }
}

/// RES12: what a host without a name has is gone with the reset of its controller, not with that of another.
#[test]
fn a_host_without_a_name_leaves_nothing_behind() {
    for reset in [Reset::Controller, Reset::Function, Reset::Subsystem] {
        let [mut one, mut two] = some([0, 2]);
        assert_eq!((register(&mut one, 1), register(&mut two, 2), acquire(&mut one, 1, EA)), (OK, OK, OK));
        if !matches!(reset, Reset::Subsystem) {
            carry_out(&mut two, reset);
            come_up(&mut two);
            assert_eq!(bare(two.read(1, 0, 1).expect("answered").0), CONFLICT);
            two.set_host_identifier(&name(2)).expect("cleared by the reset");
        }
        carry_out(&mut one, reset);
        if matches!(reset, Reset::Subsystem) {
            come_up(&mut two);
        }
        assert_eq!(bare(two.read(1, 0, 1).expect("answered").0), OK, "{reset:?}: nothing is held");
        assert_eq!(summary(&mut two).1.iter().map(|entry| entry.1).collect::<Vec<_>>(), [2]);
    }
}

/// RES15, RES10: without persistence a power loss takes all of it, and the generation begins at 0.
#[test]
fn a_power_loss_takes_what_does_not_persist() {
    let [mut one, mut two] = some([1, 2]);
    assert_eq!((register(&mut one, 1), register(&mut two, 2), acquire(&mut one, 1, EA)), (OK, OK, OK));
    one.mask_reservation_notifications(1, 0b1110).expect("a namespace");
    one.port().world().subsystem.power_cut(&Cut::from(CutPolicy::NoneSurvive));
    one.port().world().subsystem.power_restore(None).expect("power");
    for host in [&mut one, &mut two] {
        come_up(host);
        assert_eq!(summary(host), (0, vec![]));
        assert_eq!(generation(host), 0);
        assert_eq!(feature(host, 1, FeatureId::RESERVATION_NOTIFICATIONS), Ok(0));
        assert_eq!(bare(host.write(1, 0, &[1; 512], false).expect("answered")), OK);
        assert_eq!(bare(host.read(1, 0, 1).expect("answered").0), OK);
    }
}

fn feature(host: &mut Party, nsid: u32, feature: FeatureId) -> Result<u32, Status> {
    let command = nvme_host::admin::get_feature_command(feature, select::CURRENT);
    let answer = host.execute(0, Command { nsid: nsid.into(), ..command }).expect("answered");
    if bare(answer.status()) == OK { Ok(answer.dw0.get()) } else { Err(bare(answer.status())) }
}

fn set(host: &mut Party, nsid: u32, feature: FeatureId, value: u32) -> Status {
    let command = nvme_host::admin::set_feature_command(feature, value);
    bare(host.execute(0, Command { nsid: nsid.into(), ..command }).expect("answered").status())
}

/// RES17: both features are of namespaces, one or all; Get asks for one. The mask of a namespace is the same on all controllers (MC2).
#[test]
fn the_features_of_reservations_are_of_namespaces() {
    let [mut one, mut two] = some([1, 2]);
    let (mask, persistence) = (FeatureId::RESERVATION_NOTIFICATIONS, FeatureId::RESERVATION_PERSISTENCE);
    for id in [mask, persistence] {
        assert_eq!(feature(&mut one, 1, id), Ok(0));
        assert_eq!(feature(&mut one, NSID_ALL, id), Err(Status::INVALID_FIELD));
        assert_eq!(feature(&mut one, 9, id), Err(Status::INVALID_NAMESPACE));
        assert_eq!(set(&mut one, 9, id, 0), Status::INVALID_NAMESPACE);
        let saving = nvme_host::admin::set_feature_command(id, 0);
        let saving = Command { nsid: 1.into(), cdw10: (u32::from(id.0) | 1 << 31).into(), ..saving };
        assert_eq!(bare(one.execute(0, saving).expect("answered").status()), Status::FEATURE_NOT_SAVEABLE);
    }
    assert_eq!(set(&mut one, 1, mask, u32::MAX), OK);
    assert_eq!((feature(&mut one, 1, mask), feature(&mut one, 2, mask)), (Ok(0b1110), Ok(0)), "three bits count");
    assert_eq!(feature(&mut two, 1, mask), Ok(0b1110));
    assert_eq!(set(&mut two, NSID_ALL, mask, 0b0100), OK);
    assert_eq!((feature(&mut one, 1, mask), feature(&mut one, 2, mask)), (Ok(0b0100), Ok(0b0100)));
    // Table P: of a namespace on several controllers, it is no single one's to reset.
    carry_out(&mut one, Reset::Controller);
    come_up(&mut one);
    assert_eq!(feature(&mut one, 1, mask), Ok(0b0100));
    // What RESCAP does not offer cannot be switched on.
    for nsid in [1, NSID_ALL] {
        assert_eq!(set(&mut one, nsid, persistence, 1), Status::INVALID_FIELD);
        assert_eq!(set(&mut one, nsid, persistence, 0), OK);
    }
    assert_eq!(feature(&mut one, 1, persistence), Ok(0));
    let [mut alone] = some([1]);
    assert_eq!(set(&mut alone, 1, mask, 0b0100), OK);
    carry_out(&mut alone, Reset::Controller);
    come_up(&mut alone);
    assert_eq!(feature(&mut alone, 1, mask), Ok(0), "with one controller its reset is the subsystem's");
}

/// A namespace that a controller loses and gets again has its reservation still, and it counts from the first command on.
#[test]
fn a_reservation_stays_with_its_namespace() {
    let [mut one, mut two] = some([1, 2]);
    assert_eq!((register(&mut one, 1), acquire(&mut one, 1, EA)), (OK, OK));
    assert_eq!(bare(two.read(1, 0, 1).expect("answered").0), CONFLICT);
    let id = two.port().id;
    two.port().world().subsystem.detach(1, id).expect("attached");
    assert_eq!(bare(two.read(1, 0, 1).expect("answered").0), Status::INVALID_FIELD);
    assert_eq!(bare(two.flush(NSID_ALL).expect("answered")), OK, "what it does not have does not count");
    two.port().world().subsystem.attach(1, id).expect("detached");
    assert_eq!(bare(two.read(1, 0, 1).expect("answered").0), CONFLICT);
    assert_eq!(registering(&mut one, 1, false, [1, 0]), OK);
    assert_eq!(bare(two.read(1, 0, 1).expect("answered").0), OK);
}
