//! Registrations that persist through a power loss (RES15, P1), on a drive whose media keeps them.

use media::power::{Arming, Cut};
use nvme_host::admin::admin_command;
use nvme_host::reservation::register_command;
use nvme_spec::feature::FeatureId;
use nvme_spec::opcode::AdminOpcode;
use nvme_spec::reservation::register_action;
use nvme_spec::{Command, NSID_ALL, Status};

use super::{CONFLICT, OK, Party, WE, acquire, name, register, summary};
use crate::namespace_management::{F512, build, delete, made};
use crate::verbs::bare;

/// CPTPL 11b: they persist from now on. 10b: no longer.
const PERSIST: u32 = 0b11;
const FORGET: u32 = 0b10;

/// Two hosts that share a namespace.
fn two() -> [Party; 2] {
    let mut hosts = build().hosts(2);
    for (host, number) in hosts.iter_mut().zip(1..) {
        host.create_queue_pair(1, 64, Some(1)).expect("room");
        host.set_host_identifier(&name(number)).expect("once");
    }
    assert_eq!(made(&mut hosts[0], 64, F512, &[0, 1]), 1);
    hosts.try_into().unwrap_or_else(|_| unreachable!("two were asked for"))
}

fn registering(host: &mut Party, persistence: u32, key: u64) -> Status {
    let command = register_command(1, register_action::REGISTER, false, persistence);
    bare(host.register_key(command, 0, key).expect("answered"))
}

/// CRKEY 0 and NRKEY.
fn keys(new: u64) -> Vec<u8> {
    [[0; 8], new.to_le_bytes()].concat()
}

/// Power goes and comes back; the hosts call themselves as before.
fn lose_power(hosts: &mut [Party; 2]) {
    hosts[0].port().world().subsystem.power_cut(&Cut::default());
    come_back(hosts);
}

fn come_back(hosts: &mut [Party; 2]) {
    hosts[0].port().world().subsystem.power_restore(None).expect("power");
    for (host, number) in hosts.iter_mut().zip(1..) {
        host.disable().expect("it stops");
        host.start().expect("it comes up");
        host.create_queue_pair(1, 64, Some(1)).expect("room");
        host.set_host_identifier(&name(number)).expect("once");
    }
}

#[test]
fn registrations_and_the_holder_outlive_power_if_they_shall() {
    let mut hosts = two();
    let [one, two] = &mut hosts;
    assert_eq!(one.identify_namespace(1).expect("active").rescap & 1, 1, "RESCAP: PTPL can be chosen");
    assert_eq!(registering(one, PERSIST, 5), OK);
    assert_eq!(one.get_feature(FeatureId::RESERVATION_PERSISTENCE, 0), Ok(1), "feature 83h says the same");
    assert_eq!(register(two, 6), OK);
    assert_eq!(acquire(one, 5, WE), OK);
    lose_power(&mut hosts);
    let [one, two] = &mut hosts;
    let (kind, registrants) = summary(one);
    assert_eq!((kind, registrants.len()), (WE.0, 2));
    assert_eq!(two.write(1, 0, &[1; 512], false).map(bare), Ok(CONFLICT));
    assert_eq!(one.write(1, 0, &[1; 512], false), Ok(OK));
    // What is set off is durable, too: nothing of it is there after the next power loss.
    let command = register_command(1, register_action::REPLACE, false, FORGET);
    assert_eq!(one.register_key(command, 5, 5).map(bare), Ok(OK));
    lose_power(&mut hosts);
    assert_eq!(summary(&mut hosts[0]), (0, vec![]));
    assert_eq!(hosts[1].write(1, 0, &[1; 512], false), Ok(OK));
}

/// P1, P2: a registration that was answered is there; one that power went in is there or is not.
#[test]
fn a_registration_is_durable_when_it_is_answered() {
    let mut seen = [false; 2];
    for nth in 1.. {
        let mut hosts = two();
        assert_eq!(registering(&mut hosts[0], PERSIST, 5), OK);
        hosts[0].port().world().subsystem.crash_arm(Arming::AnyStep(nth), Cut::default());
        let data = hosts[1].allocate(16).expect("room");
        hosts[1].write_memory(data, &keys(6));
        let command = register_command(1, register_action::REGISTER, false, 0);
        let cid = hosts[1].submit(1, Command { prp1: data.into(), ..command }).expect("room");
        for _ in 0..20 {
            hosts[0].port().world().step();
        }
        let answered = hosts[1].poll(1, cid).is_some();
        if hosts[0].port().world().subsystem.power_is_on() {
            assert!(answered);
            break;
        }
        come_back(&mut hosts);
        let registrants = summary(&mut hosts[0]).1.len();
        assert!(registrants == 2 || registrants == 1 && !answered, "step {nth}: {registrants}, answered: {answered}");
        seen[registrants - 1] = true;
    }
    assert_eq!(seen, [true, true], "both were met");
}

/// FMT9, NSM10: who may not write may neither format nor delete; a deleted namespace leaves no reservation to the next one.
#[test]
fn who_may_not_write_may_neither_format_nor_delete() {
    let mut hosts = two();
    let [one, two] = &mut hosts;
    assert_eq!((registering(one, PERSIST, 5), acquire(one, 5, WE)), (OK, OK));
    let format = Command { nsid: 1.into(), ..admin_command(AdminOpcode::FORMAT) };
    assert_eq!(bare(two.execute(0, format).expect("room").status()), CONFLICT);
    assert_eq!(delete(two, 1), Err(CONFLICT));
    assert_eq!(delete(two, NSID_ALL), Err(CONFLICT));
    assert_eq!(bare(one.execute(0, format).expect("room").status()), OK, "FMT10: the reservation stays");
    assert_eq!(summary(one).0, WE.0);
    assert_eq!(delete(one, 1), Ok(0));
    assert_eq!(made(one, 64, F512, &[0, 1]), 1);
    lose_power(&mut hosts);
    assert_eq!(summary(&mut hosts[0]), (0, vec![]));
}
