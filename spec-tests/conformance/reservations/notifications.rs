//! What other hosts hear (RES16, RES17, EVT1 to EVT3; NVMe Base 2.3 section 8.1.24).

use nvme_host::admin::LogArguments;
use nvme_spec::log::LogId;
use nvme_spec::reservation::{NotificationPage, notification};
use spec_tests::golden::parsed;

use super::{OK, Party, TYPES, WE, acquire, clear, preempt, register, registering, release, some, summary};

/// Completion dword 0 of the event: type 6, information 0, log 80h.
const AVAILABLE: u32 = 0x0080_0006;
const PREEMPTED: u8 = notification::REGISTRATION_PREEMPTED;
const RELEASED: u8 = notification::RELEASED;
const CLEARED: u8 = notification::RESERVATION_PREEMPTED;

/// The log: count, type, how many are left, namespace.
pub fn page(host: &mut Party, retain_event: bool) -> (u64, u8, u8, u32) {
    let arguments = LogArguments { retain_event, ..LogArguments::default() };
    let page = host.get_log(LogId::RESERVATION, 64, arguments).expect("supported");
    let page: NotificationPage = parsed(&page);
    host.port().world().run_until_idle();
    (page.count.get(), page.kind, page.left, page.nsid.get())
}

/// The types of all that a host has not read; it has read them then.
pub fn heard(host: &mut Party) -> Vec<u8> {
    std::iter::from_fn(|| Some(page(host, false).1).filter(|kind| *kind != notification::NONE)).collect()
}

/// Registers hosts 1 to 3 of four, with their numbers as keys; the first acquires.
fn reserved(rtype: nvme_spec::reservation::ReservationType) -> [Party; 4] {
    let mut hosts = some([1, 2, 3, 4]);
    for (host, key) in hosts.iter_mut().zip(1..4) {
        assert_eq!(register(host, key), OK);
    }
    assert_eq!(acquire(&mut hosts[0], 1, rtype), OK);
    hosts
}

fn all_heard(hosts: &mut [Party; 4]) -> [Vec<u8>; 4] {
    hosts.each_mut().map(heard)
}

/// RES16: who hears of a release: registrants but the one that did it, where the type gave them something.
#[test]
fn registrants_hear_of_a_release() {
    for rtype in TYPES {
        for unregisters in [false, true] {
            let mut hosts = reserved(rtype);
            let status = if unregisters {
                registering(&mut hosts[0], 1, false, [1, 0])
            } else {
                release(&mut hosts[0], 1, rtype)
            };
            assert_eq!(status, OK);
            // RES4: where all hold it, one that goes ends nothing.
            let ends = rtype.0 >= 3 && !(unregisters && rtype.0 >= 5);
            let told = if ends { vec![RELEASED] } else { vec![] };
            assert_eq!(all_heard(&mut hosts), [vec![], told.clone(), told, vec![]], "{rtype:?}, {unregisters}");
        }
    }
}

/// RES16: who is preempted hears of that; others hear if a type that gave them something becomes another.
#[test]
fn hosts_hear_that_they_are_preempted() {
    for rtype in TYPES {
        for new in TYPES {
            let mut hosts = reserved(rtype);
            // Of all registrants the third goes first, by its key.
            let only = preempt(&mut hosts[1], [2, 3], new);
            assert_eq!((only, all_heard(&mut hosts)), (OK, [vec![], vec![], vec![PREEMPTED], vec![]]));
            assert_eq!(register(&mut hosts[2], 3), OK);
            let key = if rtype.0 >= 5 { 0 } else { 1 };
            assert_eq!(preempt(&mut hosts[1], [2, key], new), OK);
            let third = match rtype.0 {
                5.. => vec![PREEMPTED],
                3.. if rtype != new => vec![RELEASED],
                _ => vec![],
            };
            assert_eq!(all_heard(&mut hosts), [vec![PREEMPTED], vec![], third, vec![]], "{rtype:?} to {new:?}");
        }
    }
}

/// RES16: all others that a clear unregisters hear of it, whatever was held.
#[test]
fn hosts_hear_of_a_clear() {
    for rtype in TYPES {
        let mut hosts = reserved(rtype);
        assert_eq!(clear(&mut hosts[1], 2), OK);
        assert_eq!(all_heard(&mut hosts), [vec![CLEARED], vec![], vec![CLEARED], vec![]], "{rtype:?}");
    }
    let mut hosts = reserved(WE);
    assert_eq!((release(&mut hosts[0], 1, WE), clear(&mut hosts[1], 2)), (OK, OK));
    assert_eq!(all_heard(&mut hosts), [vec![CLEARED], vec![], vec![CLEARED], vec![]], "nothing was held");
}

/// RES16, B75: the log gives the oldest, and says how many follow; a read that retains takes nothing; a reset empties it.
#[test]
fn the_log_is_read_one_by_one() {
    let [mut one, mut two] = some([1, 2]);
    assert_eq!(page(&mut two, false), (0, 0, 0, 0));
    assert_eq!(register(&mut one, 1), OK);
    for _ in 0..3 {
        assert_eq!((register(&mut two, 2), preempt(&mut one, [1, 2], WE)), (OK, OK));
    }
    assert_eq!(page(&mut two, true), (1, PREEMPTED, 2, 1));
    assert_eq!(page(&mut two, false), (1, PREEMPTED, 2, 1));
    assert_eq!(page(&mut two, false), (2, PREEMPTED, 1, 1));
    assert_eq!(page(&mut two, false), (3, PREEMPTED, 0, 1));
    assert_eq!(page(&mut two, false), (0, 0, 0, 0));
    for _ in 0..300 {
        assert_eq!((register(&mut two, 2), preempt(&mut one, [1, 2], WE)), (OK, OK));
    }
    assert_eq!(page(&mut two, false), (4, PREEMPTED, 255, 1), "there are more than it keeps");
    assert_eq!(1 + heard(&mut two).len(), 256, "as many as it can say");
    assert_eq!((register(&mut two, 2), preempt(&mut one, [1, 2], WE)), (OK, OK));
    assert_eq!(page(&mut two, false).0, 304, "those that found no place are counted");
    assert_eq!((register(&mut two, 2), preempt(&mut one, [1, 2], WE)), (OK, OK));
    two.start().expect("reset and enabled");
    two.create_queue_pair(1, 64, Some(1)).expect("room");
    two.set_host_identifier(&super::name(2)).expect("cleared by the reset");
    assert_eq!(page(&mut two, false), (0, 0, 0, 0));
    assert_eq!((register(&mut two, 2), preempt(&mut one, [1, 2], WE)), (OK, OK));
    assert_eq!(page(&mut two, false).0, 1, "from 0 after a reset");
}

/// RES16, RES2: each controller of a host has a log of its own; a controller that does not have the namespace hears nothing.
#[test]
fn each_controller_of_a_host_hears() {
    let [mut one, mut two, mut same, mut without] = some([1, 2, 2, 2]);
    let id = without.port().id;
    without.port().world().subsystem.detach(1, id).expect("attached");
    assert_eq!((register(&mut one, 1), register(&mut two, 2)), (OK, OK));
    assert_eq!(preempt(&mut one, [1, 2], WE), OK);
    assert_eq!([&mut two, &mut same, &mut without].map(heard), [vec![PREEMPTED], vec![PREEMPTED], vec![]]);
}

/// EVT2, EVT3, B75: the event comes once, is silent until the log is read, and comes again while the log has more.
#[test]
fn the_event_tells_of_the_log() {
    let [mut one, mut two] = some([1, 2]);
    let first = two.async_event_request().expect("room");
    assert_eq!((register(&mut one, 1), register(&mut two, 2)), (OK, OK));
    two.port().world().run_until_idle();
    assert!(two.poll(0, first).is_none(), "nothing happened");
    assert_eq!(preempt(&mut one, [1, 2], WE), OK);
    two.port().world().run_until_idle();
    assert_eq!(two.poll(0, first).expect("told").dw0.get(), AVAILABLE);
    let second = two.async_event_request().expect("room");
    assert_eq!((register(&mut two, 2), preempt(&mut one, [1, 2], WE)), (OK, OK));
    two.port().world().run_until_idle();
    assert!(two.poll(0, second).is_none(), "silent");
    assert_eq!(page(&mut two, true).2, 1);
    assert!(two.poll(0, second).is_none(), "retained");
    assert_eq!(page(&mut two, false).2, 1);
    assert_eq!(two.poll(0, second).expect("told").dw0.get(), AVAILABLE, "there is another one");
    let third = two.async_event_request().expect("room");
    assert_eq!(page(&mut two, false).2, 0);
    assert!(two.poll(0, third).is_none(), "all is read");
    // The cause before the request.
    assert_eq!((register(&mut two, 2), preempt(&mut one, [1, 2], WE)), (OK, OK));
    two.port().world().run_until_idle();
    assert_eq!(two.poll(0, third).expect("told").dw0.get(), AVAILABLE);
    assert_eq!(page(&mut two, false).1, PREEMPTED);
    // One event for two of them: while the log has more, it comes again.
    for _ in 0..2 {
        assert_eq!((register(&mut two, 2), preempt(&mut one, [1, 2], WE)), (OK, OK));
    }
    let [both, again] = [0; 2].map(|_| {
        let cid = two.async_event_request().expect("room");
        two.port().world().run_until_idle();
        cid
    });
    assert_eq!((two.poll(0, both).is_some(), two.poll(0, again).is_some()), (true, false), "merged");
    assert_eq!(page(&mut two, false).2, 1);
    assert_eq!(two.poll(0, again).expect("told").dw0.get(), AVAILABLE);
    assert_eq!(page(&mut two, false).2, 0);
    // An event for which nobody waited is gone when the log was read.
    assert_eq!((register(&mut two, 2), preempt(&mut one, [1, 2], WE)), (OK, OK));
    assert_eq!(page(&mut two, false).1, PREEMPTED);
    let fourth = two.async_event_request().expect("room");
    two.port().world().run_until_idle();
    assert!(two.poll(0, fourth).is_none(), "there is nothing to read");
}

/// RES17, EVT1: what is masked is neither told nor kept nor counted; each type has its bit.
#[test]
fn what_is_masked_is_not_kept() {
    for masked in [PREEMPTED, RELEASED, CLEARED] {
        let [mut one, mut two] = some([1, 2]);
        let request = two.async_event_request().expect("room");
        two.mask_reservation_notifications(1, 1 << masked).expect("a namespace");
        let registrants = TYPES[2];
        assert_eq!([register(&mut one, 1), register(&mut two, 2), acquire(&mut one, 1, registrants)], [OK; 3]);
        assert_eq!(release(&mut one, 1, registrants), OK);
        assert_eq!(preempt(&mut one, [1, 2], WE), OK);
        assert_eq!((register(&mut two, 2), clear(&mut one, 1)), (OK, OK));
        let rest: Vec<u8> = [RELEASED, PREEMPTED, CLEARED].into_iter().filter(|kind| *kind != masked).collect();
        assert_eq!(page(&mut two, true).0, 1);
        assert_eq!(heard(&mut two), rest);
        assert!(two.poll(0, request).is_some(), "the others are heard");
    }
    let [mut one, mut two] = some([1, 2]);
    let request = two.async_event_request().expect("room");
    two.mask_reservation_notifications(1, 0b1110).expect("a namespace");
    assert_eq!([register(&mut one, 1), register(&mut two, 2), clear(&mut one, 1)], [OK; 3]);
    two.port().world().run_until_idle();
    assert_eq!((heard(&mut two), two.poll(0, request).is_some()), (vec![], false));
}

/// Table P: the registration of a host without a name ends with its controller's reset, and with it what others had of the reservation.
#[test]
fn registrants_hear_that_a_host_without_a_name_is_gone() {
    for rtype in TYPES {
        let [mut one, mut two] = some([0, 2]);
        assert_eq!([register(&mut one, 1), register(&mut two, 2), acquire(&mut one, 1, rtype)], [OK; 3]);
        one.start().expect("reset and enabled");
        let told = if matches!(rtype.0, 3 | 4) { vec![RELEASED] } else { vec![] };
        assert_eq!(heard(&mut two), told, "{rtype:?}");
        let left = if rtype.0 >= 5 { rtype.0 } else { 0 };
        assert_eq!(summary(&mut two).0, left);
    }
}
