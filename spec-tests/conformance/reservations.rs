//! Reservations (rules RES1 to RES18; NVMe Base 2.3 sections 7.5 to 7.8 and 8.1.24): what each command does, by itself. The table of
//! conflicts, notifications, resets, Preempt and Abort, and random sequences against a model have files of their own.

mod aborts;
mod hosts;
mod model;
mod notifications;
mod persistence;
mod random;
mod survival;
mod table;

use nvme_host::Host;
use nvme_host::reservation::{
    Registered, Reported, acquire_command, register_command, release_command, report_command,
};
use nvme_spec::reservation::{
    NO_CONTROLLER, ReservationType, STATUS_HOLDS, acquire_action, register_action, release_action,
};
use nvme_spec::{Command, Status};
use spec_tests::paths::Path;
use spec_tests::rig::Build;

use crate::verbs::bare;

const OK: Status = Status::SUCCESS;
const CONFLICT: Status = Status::RESERVATION_CONFLICT;
const INVALID: Status = Status::INVALID_FIELD;
/// Types by their numbers: Write Exclusive, Exclusive Access, then both for registrants only, then both of all registrants.
const TYPES: [ReservationType; 6] = [
    ReservationType(1),
    ReservationType(2),
    ReservationType(3),
    ReservationType(4),
    ReservationType(5),
    ReservationType(6),
];
const WE: ReservationType = TYPES[0];
const EA: ReservationType = TYPES[1];

type Party = Host<Path>;

fn build() -> Build {
    Build { namespaces: vec![(512, 1024); 2], ..Build::default() }
}

/// A name of 64 bits.
fn name(number: u8) -> [u8; 8] {
    [number, 0, 0, 0, 0, 0, 0, 0x80]
}

/// A controller with a queue pair for each of these numbers; its host calls itself so, or nothing where it is 0.
fn parties(names: &[u8]) -> Vec<Party> {
    let mut hosts = build().hosts(u16::try_from(names.len()).expect("few"));
    for (host, number) in hosts.iter_mut().zip(names) {
        host.create_queue_pair(1, 64, Some(1)).expect("room");
        if *number != 0 {
            host.set_host_identifier(&name(*number)).expect("once");
        }
    }
    hosts
}

/// The same as an array.
fn some<const COUNT: usize>(names: [u8; COUNT]) -> [Party; COUNT] {
    parties(&names).try_into().unwrap_or_else(|_| unreachable!("as many as were asked for"))
}

fn register(host: &mut Party, key: u64) -> Status {
    registering(host, register_action::REGISTER, false, [0, key])
}

fn registering(host: &mut Party, action: u32, ignore: bool, [current, new]: [u64; 2]) -> Status {
    let command = register_command(1, action, ignore, 0);
    bare(host.register_key(command, current, new).expect("answered"))
}

fn acquire(host: &mut Party, key: u64, rtype: ReservationType) -> Status {
    let command = acquire_command(1, acquire_action::ACQUIRE, rtype);
    bare(host.acquire_reservation(command, key, 0).expect("answered"))
}

fn preempt(host: &mut Party, [key, preempted]: [u64; 2], rtype: ReservationType) -> Status {
    let command = acquire_command(1, acquire_action::PREEMPT, rtype);
    bare(host.acquire_reservation(command, key, preempted).expect("answered"))
}

fn release(host: &mut Party, key: u64, rtype: ReservationType) -> Status {
    bare(host.release_reservation(release_command(1, release_action::RELEASE, rtype), key).expect("answered"))
}

fn clear(host: &mut Party, key: u64) -> Status {
    let command = release_command(1, release_action::CLEAR, ReservationType(0));
    bare(host.release_reservation(command, key).expect("answered"))
}

fn report(host: &mut Party) -> Reported {
    host.reservation_report(1, false).expect("reported")
}

/// Type, and which controllers' entries have which key and hold it.
fn summary(host: &mut Party) -> (u8, Vec<(u16, u64, bool)>) {
    let report = report(host);
    let entry = |one: &Registered| (one.controller, one.key, one.status & STATUS_HOLDS != 0);
    (report.status.rtype, report.registered.iter().map(entry).collect())
}

fn generation(host: &mut Party) -> u32 {
    report(host).status.generation.get()
}

/// S, RES: what Identify says of reservations; of one controller alone it is the same.
#[test]
fn identify_offers_reservations_of_all_types() {
    for controllers in [1, 2] {
        for mut host in build().hosts(controllers) {
            let controller = host.identify_controller().expect("mandatory");
            assert_eq!(controller.oncs.get() >> 5 & 1, 1, "reservations");
            assert_eq!(controller.ctratt.get() & (1 << 18 | 1), 1, "identifiers of 128 bits, and none is required");
            let namespace = host.identify_namespace(1).expect("active");
            assert_eq!(namespace.rescap, 0b1111_1110, "six types, IEKEY, no persistence");
            let arguments = nvme_host::admin::IdentifyArguments { nsid: 1, ..Default::default() };
            let page = host.identify(nvme_spec::identify::Cns::INDEPENDENT_NAMESPACE, arguments).expect("active");
            assert_eq!(page[2], 0b1111_1110);
        }
    }
}

/// RES1: what is reserved or not offered is refused, and a command that fails changes nothing.
#[test]
fn what_is_reserved_is_refused_and_changes_nothing() {
    let [mut one] = some([1]);
    assert_eq!((register(&mut one, 7), acquire(&mut one, 7, WE)), (OK, OK));
    let before = (generation(&mut one), summary(&mut one));
    for action in 3..8 {
        assert_eq!(registering(&mut one, action, false, [7, 8]), INVALID, "RREGA {action}");
        let command = acquire_command(1, action, WE);
        assert_eq!(bare(one.acquire_reservation(command, 7, 7).expect("answered")), INVALID, "RACQA {action}");
    }
    for action in 2..8 {
        let command = release_command(1, action, WE);
        assert_eq!(bare(one.release_reservation(command, 7).expect("answered")), INVALID, "RRELA {action}");
    }
    // CPTPL: 1 is reserved, 2 and 3 are for who offers persistence.
    for persistence in 1..4 {
        let command = register_command(1, register_action::REPLACE, false, persistence);
        assert_eq!(bare(one.register_key(command, 7, 8).expect("answered")), INVALID, "CPTPL {persistence}");
    }
    for rtype in [0, 7, 0xff].map(ReservationType) {
        assert_eq!(acquire(&mut one, 7, rtype), INVALID, "{rtype:?}");
        assert_eq!(preempt(&mut one, [7, 7], rtype), INVALID, "{rtype:?}");
        assert_eq!(release(&mut one, 7, rtype), INVALID, "{rtype:?}");
    }
    let ignoring = |command: Command| Command { cdw10: (command.cdw10.get() | 1 << 3).into(), ..command };
    let command = ignoring(acquire_command(1, acquire_action::ACQUIRE, WE));
    assert_eq!(bare(one.acquire_reservation(command, 7, 0).expect("answered")), INVALID);
    let command = ignoring(release_command(1, release_action::CLEAR, WE));
    assert_eq!(bare(one.release_reservation(command, 7).expect("answered")), INVALID);
    assert_eq!((generation(&mut one), summary(&mut one)), before);
}

/// B106: the namespace must be one, and the broadcast identifier is none.
#[test]
fn the_namespace_must_be_there() {
    let [mut one] = some([1]);
    for (nsid, expected) in
        [(0, Status::INVALID_NAMESPACE), (9, Status::INVALID_NAMESPACE), (u32::MAX, Status::INVALID_NAMESPACE)]
    {
        let command = register_command(nsid, register_action::REGISTER, false, 0);
        assert_eq!(bare(one.register_key(command, 0, 1).expect("answered")), expected, "NSID {nsid:x}h");
        let command = acquire_command(nsid, acquire_action::ACQUIRE, WE);
        assert_eq!(bare(one.acquire_reservation(command, 0, 1).expect("answered")), expected);
        let command = release_command(nsid, release_action::CLEAR, WE);
        assert_eq!(bare(one.release_reservation(command, 0).expect("answered")), expected);
        let (answer, _) = one.execute_in(1, report_command(nsid, 64, false), 64).expect("answered");
        assert_eq!(bare(answer.status()), expected);
    }
}

/// RES2: two controllers with one host identifier act as one registrant; each has its entry in the report.
#[test]
fn the_controllers_of_a_host_share_its_registration() {
    let [mut one, mut same, mut other] = some([1, 1, 2]);
    assert_eq!(register(&mut one, 7), OK);
    assert_eq!(acquire(&mut same, 7, EA), OK);
    assert_eq!(acquire(&mut one, 7, EA), OK, "it holds it already");
    assert_eq!(summary(&mut other), (2, vec![(0, 7, true), (1, 7, true)]));
    for host in [&mut one, &mut same] {
        assert_eq!(bare(host.write(1, 0, &[1; 512], false).expect("answered")), OK);
    }
    assert_eq!(bare(other.read(1, 0, 1).expect("answered").0), CONFLICT);
    assert_eq!(registering(&mut same, register_action::UNREGISTER, false, [7, 0]), OK);
    assert_eq!(summary(&mut one), (0, vec![]));
}

/// RES3: when a registration is accepted, for each action, by what the host's key is.
#[test]
fn a_registration_needs_the_right_key() {
    // Action, IEKEY, whether it was registered with key 7, current key, new key: how it ends, and its key then.
    let cases = [
        (0, false, false, 9, 7, OK, Some(7)),
        (0, false, true, 9, 7, OK, Some(7)),
        (0, false, true, 7, 8, CONFLICT, Some(7)),
        (0, true, true, 7, 8, CONFLICT, Some(7)),
        (1, false, true, 7, 0, OK, None),
        (1, false, true, 8, 0, CONFLICT, Some(7)),
        (1, true, true, 8, 0, OK, None),
        (1, false, false, 0, 0, CONFLICT, None),
        (1, true, false, 0, 0, CONFLICT, None),
        (2, false, true, 7, 8, OK, Some(8)),
        (2, false, true, 8, 9, CONFLICT, Some(7)),
        (2, true, true, 9, 8, OK, Some(8)),
        (2, false, false, 7, 8, CONFLICT, None),
        (2, true, false, 7, 8, OK, Some(8)),
    ];
    for (action, ignore, registered, current, new, expected, key) in cases {
        let [mut one] = some([1]);
        if registered {
            assert_eq!(register(&mut one, 7), OK);
        }
        let case = format!("action {action}, IEKEY {ignore}, registered {registered}, {current} -> {new}");
        assert_eq!(registering(&mut one, action, ignore, [current, new]), expected, "{case}");
        let keys: Vec<u64> = report(&mut one).registered.iter().map(|entry| entry.key).collect();
        assert_eq!(keys, Vec::from_iter(key), "{case}");
    }
}

/// RES4: the holder's registration ends the reservation with it; where all registrants hold it, that of the last.
#[test]
fn a_holder_that_unregisters_releases() {
    for rtype in TYPES {
        let [mut one, mut two] = some([1, 2]);
        assert_eq!((register(&mut one, 1), register(&mut two, 2)), (OK, OK));
        assert_eq!(acquire(&mut one, 1, rtype), OK);
        assert_eq!(registering(&mut one, register_action::UNREGISTER, false, [1, 0]), OK);
        let left = if rtype.0 >= 5 { rtype.0 } else { 0 };
        assert_eq!(summary(&mut two), (left, vec![(1, 2, left != 0)]), "{rtype:?}");
        assert_eq!(registering(&mut two, register_action::UNREGISTER, false, [2, 0]), OK);
        assert_eq!(summary(&mut two), (0, vec![]), "{rtype:?}");
    }
}

/// RES5: who may acquire. The holder keeps its reservation when it replaces its key.
#[test]
fn only_a_registrant_acquires_and_only_what_is_free() {
    for rtype in TYPES {
        let [mut one, mut two, mut none] = some([1, 2, 0]);
        assert_eq!((register(&mut one, 1), register(&mut two, 2)), (OK, OK));
        assert_eq!(acquire(&mut none, 1, rtype), CONFLICT, "not registered");
        assert_eq!(acquire(&mut one, 2, rtype), CONFLICT, "with the key of another");
        assert_eq!(acquire(&mut one, 1, rtype), OK);
        assert_eq!(acquire(&mut one, 1, rtype), OK, "again");
        for other in TYPES.into_iter().filter(|other| *other != rtype) {
            assert_eq!(acquire(&mut one, 1, other), CONFLICT, "{rtype:?} to {other:?}");
        }
        let by_all = if rtype.0 >= 5 { OK } else { CONFLICT };
        assert_eq!(acquire(&mut two, 2, rtype), by_all, "{rtype:?}");
        assert_eq!(registering(&mut one, register_action::REPLACE, false, [1, 5]), OK);
        assert_eq!(summary(&mut none).1[0], (0, 5, true));
    }
}

/// RES6: nothing is held: all with that key are unregistered, if there are any; I stay (RES7).
#[test]
fn preempting_without_a_reservation_unregisters() {
    let [mut one, mut two, mut three] = some([1, 2, 3]);
    assert_eq!([register(&mut one, 7), register(&mut two, 7), register(&mut three, 9)], [OK; 3]);
    assert_eq!(preempt(&mut one, [7, 8], WE), CONFLICT, "nobody has that key");
    assert_eq!(preempt(&mut one, [8, 9], WE), CONFLICT, "mine is another");
    assert_eq!(preempt(&mut one, [7, 7], WE), OK);
    assert_eq!(summary(&mut one), (0, vec![(0, 7, false), (2, 9, false)]));
    assert_eq!(preempt(&mut one, [7, 9], WE), OK);
    assert_eq!(summary(&mut one), (0, vec![(0, 7, false)]));
    assert_eq!(preempt(&mut two, [7, 7], WE), CONFLICT, "it is no registrant any more");
}

/// RES6: one host holds it: with its key the reservation is taken over in one step, with another key only registrations go.
#[test]
fn preempting_a_holder_takes_the_reservation_over() {
    for rtype in &TYPES[..4] {
        for new in TYPES {
            let [mut one, mut two, mut three, mut four] = some([1, 2, 3, 4]);
            let keys = [register(&mut one, 1), register(&mut two, 2), register(&mut three, 1), register(&mut four, 4)];
            assert_eq!(keys, [OK; 4]);
            assert_eq!(acquire(&mut one, 1, *rtype), OK);
            assert_eq!(preempt(&mut two, [2, 0], new), INVALID);
            assert_eq!(preempt(&mut two, [2, 9], new), CONFLICT, "nobody has that key");
            assert_eq!(preempt(&mut two, [2, 4], new), OK);
            let holder = vec![(0, 1, true), (1, 2, false), (2, 1, false)];
            assert_eq!(summary(&mut two), (rtype.0, holder), "the reservation stays");
            assert_eq!(preempt(&mut two, [2, 1], new), OK);
            assert_eq!(summary(&mut two), (new.0, vec![(1, 2, true)]), "{rtype:?} to {new:?}");
        }
    }
}

/// RES6: all registrants hold it: with key 0 all others go and the reservation is mine, with another key only registrations go.
#[test]
fn preempting_all_registrants_takes_key_zero() {
    for rtype in &TYPES[4..] {
        for new in TYPES {
            let [mut one, mut two, mut three] = some([1, 2, 3]);
            assert_eq!([register(&mut one, 1), register(&mut two, 2), register(&mut three, 3)], [OK; 3]);
            assert_eq!(acquire(&mut one, 1, *rtype), OK);
            assert_eq!(preempt(&mut two, [2, 9], new), CONFLICT);
            assert_eq!(preempt(&mut two, [2, 1], new), OK);
            assert_eq!(summary(&mut two), (rtype.0, vec![(1, 2, true), (2, 3, true)]));
            assert_eq!(preempt(&mut two, [2, 0], new), OK);
            assert_eq!(summary(&mut two), (new.0, vec![(1, 2, true)]), "{rtype:?} to {new:?}");
        }
    }
}

/// RES7: a holder that preempts its own key changes the type and stays registered.
#[test]
fn preempting_my_own_key_changes_the_type() {
    for rtype in &TYPES[..4] {
        for new in TYPES {
            let [mut one] = some([1]);
            assert_eq!((register(&mut one, 1), acquire(&mut one, 1, *rtype)), (OK, OK));
            assert_eq!(preempt(&mut one, [1, 1], new), OK);
            assert_eq!(summary(&mut one), (new.0, vec![(0, 1, true)]), "{rtype:?} to {new:?}");
        }
    }
}

/// RES9: a release names the type; who does not hold it releases nothing; a clear takes everything.
#[test]
fn a_release_is_of_the_type_that_is_held() {
    for rtype in TYPES {
        let [mut one, mut two, mut none] = some([1, 2, 0]);
        assert_eq!((register(&mut one, 1), register(&mut two, 2)), (OK, OK));
        assert_eq!(release(&mut one, 1, rtype), OK, "nothing is held");
        assert_eq!(acquire(&mut one, 1, rtype), OK);
        for other in TYPES.into_iter().filter(|other| *other != rtype) {
            assert_eq!(release(&mut one, 1, other), INVALID, "{other:?} of {rtype:?}");
        }
        assert_eq!(release(&mut one, 2, rtype), CONFLICT, "another key");
        assert_eq!((release(&mut none, 1, rtype), clear(&mut none, 1)), (CONFLICT, CONFLICT), "not registered");
        assert_eq!(release(&mut two, 2, rtype), OK);
        let left = if rtype.0 >= 5 { 0 } else { rtype.0 };
        assert_eq!(report(&mut none).status.rtype, left, "{rtype:?}: all registrants are holders, or one is");
        assert_eq!(release(&mut one, 1, rtype), OK);
        assert_eq!(report(&mut none).status.rtype, 0);
        assert_eq!(acquire(&mut one, 1, rtype), OK);
        assert_eq!(clear(&mut two, 1), CONFLICT, "another key");
        assert_eq!(clear(&mut two, 2), OK, "by any registrant");
        assert_eq!(summary(&mut none), (0, vec![]));
    }
}

/// RES10: what the generation counts, and what it does not.
#[test]
fn the_generation_counts_changes_of_registrations() {
    let [mut one, mut two] = some([1, 2]);
    let mut expected = 0;
    let mut step = |host: &mut Party, counts: bool, status: Status, expected_status: Status| {
        expected += u32::from(counts);
        assert_eq!(status, expected_status);
        assert_eq!(generation(host), expected);
    };
    let status = register(&mut one, 1);
    step(&mut one, true, status, OK);
    let status = register(&mut one, 1);
    step(&mut one, true, status, OK);
    let status = register(&mut two, 2);
    step(&mut one, true, status, OK);
    let status = registering(&mut one, register_action::REPLACE, false, [1, 3]);
    step(&mut one, true, status, OK);
    let status = registering(&mut one, register_action::REPLACE, false, [1, 3]);
    step(&mut one, false, status, CONFLICT);
    let status = acquire(&mut one, 3, WE);
    step(&mut one, false, status, OK);
    let status = preempt(&mut two, [2, 9], WE);
    step(&mut one, false, status, CONFLICT);
    let status = preempt(&mut two, [2, 3], WE);
    step(&mut one, true, status, OK);
    let status = release(&mut two, 2, WE);
    step(&mut one, false, status, OK);
    let status = clear(&mut two, 2);
    step(&mut one, true, status, OK);
    let status = register(&mut one, 1);
    step(&mut one, true, status, OK);
    let status = registering(&mut one, register_action::UNREGISTER, false, [1, 0]);
    step(&mut one, true, status, OK);
}

/// RES11: the report, byte for byte, in both structures.
#[test]
fn a_report_lies_as_its_figures_say() {
    for extended in [false, true] {
        let mut hosts = build().hosts(3);
        let wide = [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 9, 10, 11, 12, 13, 14, 15, 16];
        let own = if extended { &wide[..] } else { &wide[..8] };
        for (index, host) in hosts.iter_mut().enumerate() {
            host.create_queue_pair(1, 64, Some(1)).expect("room");
            if index < 2 {
                host.set_host_identifier(own).expect("once");
            }
        }
        assert_eq!(register(&mut hosts[0], 0x0102_0304_0506_0708), OK);
        assert_eq!(acquire(&mut hosts[1], 0x0102_0304_0506_0708, ReservationType(4)), OK);
        assert_eq!(register(&mut hosts[2], 5), OK);
        let (header, entry) = if extended { (64, 64) } else { (24, 24) };
        let (answer, page) = hosts[0].execute_in(1, report_command(1, 512, extended), 512).expect("answered");
        assert_eq!(bare(answer.status()), OK);
        let mut expected = vec![0; header + 3 * entry];
        expected[0] = 2;
        expected[4] = 4;
        expected[5] = 3;
        for controller in [0, 1_u8] {
            let at = header + usize::from(controller) * entry;
            expected[at] = controller;
            expected[at + 2] = 1;
            let (key, host) = if extended { (at + 8, at + 16) } else { (at + 16, at + 8) };
            expected[key..key + 8].copy_from_slice(&[8, 7, 6, 5, 4, 3, 2, 1]);
            expected[host..host + own.len()].copy_from_slice(own);
        }
        // The third has no name, and holds nothing.
        expected[header + 2 * entry] = 2;
        expected[header + 2 * entry + if extended { 8 } else { 16 }] = 5;
        assert_eq!(page[..expected.len()], expected, "EDS {extended}");
        // A host without a name may ask for either, if the names of the others find room in it.
        for (index, host) in hosts.iter_mut().enumerate() {
            let (answer, page) = host.execute_in(1, report_command(1, 512, !extended), 512).expect("answered");
            let fits = index == 2 && !extended;
            assert_eq!(bare(answer.status()), if fits { OK } else { Status::HOST_IDENTIFIER_FORMAT });
            if fits {
                assert_eq!((&page[64 + 16..][..8], &page[64 + 24..][..8]), (&wide[..8], &[0; 8][..]));
            }
        }
    }
}

/// RES11: nothing is written behind the structure, nor behind what the host has room for.
#[test]
fn a_report_ends_where_it_ends() {
    let [mut one] = some([1]);
    assert_eq!(register(&mut one, 7), OK);
    let whole = one.execute_in(1, report_command(1, 48, false), 48).expect("answered").1;
    let page = one.allocate(4096).expect("room");
    for (asked, written) in [(4, 4), (24, 24), (28, 28), (48, 48), (52, 48), (4096, 48)] {
        one.write_memory(page, &[0xee; 4096]);
        let command = Command { prp1: page.into(), ..report_command(1, asked, false) };
        assert_eq!(bare(one.io(command).expect("answered")), OK);
        let bytes = one.read_memory(page, 4096);
        assert_eq!(bytes[..written], whole[..written], "{asked} bytes");
        assert!(bytes[written..].iter().all(|byte| *byte == 0xee), "{asked} bytes");
    }
    let huge = report_command(1, 1 << 30, false);
    assert_eq!(bare(one.io(Command { prp1: page.into(), ..huge }).expect("answered")), INVALID, "above MDTS");
}

/// RES11: who is registered and has no controller now has an entry all the same.
#[test]
fn a_registrant_without_a_controller_is_reported() {
    let [mut one, mut two] = some([1, 2]);
    assert_eq!((register(&mut one, 7), register(&mut two, 8)), (OK, OK));
    one.start().expect("reset and enabled");
    let report = report(&mut two);
    assert_eq!((report.registered[0].controller, report.registered[0].key), (NO_CONTROLLER, 7));
    assert_eq!(report.registered[0].host[..8], name(1));
    assert_eq!((report.registered[1].controller, report.registered[1].key), (1, 8));
}

/// B114 to B127: the keys may lie anywhere a command's data may, and where there is no memory nothing happens.
#[test]
fn keys_that_cannot_be_read_change_nothing() {
    let [mut one] = some([1]);
    for command in [
        register_command(1, register_action::REGISTER, false, 0),
        acquire_command(1, acquire_action::ACQUIRE, WE),
        release_command(1, release_action::CLEAR, WE),
        report_command(1, 64, false),
    ] {
        let nowhere = Command { prp1: 0xfebf_0000_u64.into(), ..command };
        assert_eq!(bare(one.io(nowhere).expect("answered")), Status::DATA_TRANSFER_ERROR);
    }
    assert_eq!((generation(&mut one), summary(&mut one)), (0, (0, vec![])));
    // The first eight bytes at the end of a page, the others in another one.
    let pages = [0; 2].map(|_| one.allocate(4096).expect("room"));
    one.write_memory(pages[0] + 4088, &0_u64.to_le_bytes());
    one.write_memory(pages[1], &0x77_u64.to_le_bytes());
    let command = register_command(1, register_action::REGISTER, false, 0);
    let command = Command { prp1: (pages[0] + 4088).into(), prp2: pages[1].into(), ..command };
    assert_eq!(bare(one.io(command).expect("answered")), OK);
    assert_eq!(summary(&mut one).1, [(0, 0x77, false)]);
}
