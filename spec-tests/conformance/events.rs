//! Asynchronous Event Requests (rules B73–B76; NVMe Base 2.1 section 5.1.2).

use controller::config::DeviceOptions;
use media::{Nanoseconds, WarningKind};
use nvme_host::admin::{LogArguments, admin_command, get_log_command};
use nvme_host::doorbell::Doorbell;
use nvme_host::{Host, HostError, Setup};
use nvme_spec::feature::FeatureId;
use nvme_spec::log::{LogId, Smart, WARNING_RELIABILITY, WARNING_TEMPERATURE};
use nvme_spec::opcode::AdminOpcode;
use nvme_spec::{Command, Status};
use spec_tests::rig::{Build, Rig};

use crate::support::{NOWHERE, SUCCESS, admin_kind, reap_all};
use crate::verbs::Verbs as _;

const INVALID_REGISTER: u32 = 0x0001_0000;
const INVALID_VALUE: u32 = 0x0001_0100;
const TEMPERATURE: u32 = 0x0002_0101;
const RELIABILITY: u32 = 0x0002_0001;

fn ring_nothing(host: &mut Host<Rig>) {
    host.write_doorbell(Doorbell::SubmissionTail(50), 0);
    host.port_mut().run_until_idle();
}

fn ring_too_far(host: &mut Host<Rig>) {
    host.write_doorbell(Doorbell::SubmissionTail(0), 0xffff);
    host.port_mut().run_until_idle();
}

fn read_log(host: &mut Host<Rig>, log: LogId, retain_event: bool) {
    host.get_log(log, 64, LogArguments { retain_event, ..LogArguments::default() }).expect("read");
    host.port_mut().run_until_idle();
}

/// A request and what it reports already.
fn request(host: &mut Host<Rig>) -> (u16, Option<u32>) {
    let cid = host.async_event_request().expect("submitted");
    host.port_mut().run_until_idle();
    (cid, reported(host, cid))
}

fn reported(host: &mut Host<Rig>, cid: u16) -> Option<u32> {
    host.poll(0, cid).map(|completion| completion.dw0.get())
}

/// B73: AERL + 1 requests wait, the next is refused, and the others still wait. They hold no completion slot.
#[test]
fn as_many_requests_wait_as_identify_says() {
    for aerl in [0, 3, 100] {
        let device = DeviceOptions { aerl, ..DeviceOptions::default() };
        let setup = Setup { admin_entries: 256, ..Build::default().setup };
        let mut host = Build { device, setup, ..Build::default() }.with_registers().admin_host();
        assert_eq!(host.identify_controller().expect("identified").aerl_z, aerl);
        let cids: Vec<u16> = (0..=aerl).map(|_| request(&mut host).0).collect();
        for _ in 0..3 {
            let status =
                host.execute(0, admin_command(AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST)).expect("refused").status();
            assert_eq!(status.kind(), (1, 0x05));
        }
        assert!(cids.iter().all(|cid| host.poll(0, *cid).is_none()), "the others still wait");
        ring_nothing(&mut host);
        assert_eq!(reported(&mut host, cids[0]), Some(INVALID_REGISTER), "the oldest reports");
        assert_eq!(request(&mut host).1, None, "there is room for one again");
    }
}

/// E29: requests are forgotten at a reset, so that as many fit again, time after time.
#[test]
fn requests_end_with_a_reset() {
    let mut host = Build::default().admin_host();
    for _ in 0..20 {
        for _ in 0..4 {
            assert_eq!(request(&mut host).1, None);
        }
        host.start().expect("reset and enabled");
        assert!(reap_all(&mut host, 0).is_empty());
    }
}

/// B74: events that nobody waits for are kept, each kind once, and reported in turn.
#[test]
fn events_wait_for_requests() {
    let mut host = Build::default().with_registers().admin_host();
    for _ in 0..1000 {
        ring_nothing(&mut host);
    }
    ring_too_far(&mut host);
    assert!(reap_all(&mut host, 0).is_empty());
    assert_eq!(request(&mut host).1, Some(INVALID_REGISTER));
    let (cid, none) = request(&mut host);
    assert_eq!(none, None, "the type is masked now");
    read_log(&mut host, LogId::ERROR, false);
    assert_eq!(reported(&mut host, cid), Some(INVALID_VALUE));
    read_log(&mut host, LogId::ERROR, false);
    assert_eq!(request(&mut host).1, None, "a thousand of a kind are one");
}

/// B75: once an event is reported its type is silent until its log page is read without Retain Asynchronous Event; a read with it, of
/// another page, or one that failed does not count.
#[test]
fn a_reported_type_is_silent_until_its_log_is_read() {
    let mut host = Build::default().with_registers().admin_host();
    ring_nothing(&mut host);
    assert_eq!(request(&mut host).1, Some(INVALID_REGISTER));
    ring_too_far(&mut host);
    let (cid, none) = request(&mut host);
    assert_eq!(none, None);
    read_log(&mut host, LogId::ERROR, true);
    assert_eq!(reported(&mut host, cid), None, "retained");
    read_log(&mut host, LogId::SMART, false);
    assert_eq!(reported(&mut host, cid), None, "another page");
    let nowhere = Command { prp1: NOWHERE.into(), ..get_log_command(LogId::ERROR, 64, LogArguments::default()) };
    assert_ne!(admin_kind(&mut host, nowhere), SUCCESS);
    let crooked = LogArguments { offset: 1 << 40, ..LogArguments::default() };
    assert!(matches!(host.get_log(LogId::ERROR, 64, crooked), Err(HostError::Refused(_))));
    assert_eq!(reported(&mut host, cid), None, "failed reads");
    read_log(&mut host, LogId::ERROR, false);
    assert_eq!(reported(&mut host, cid), Some(INVALID_VALUE));
}

/// B75: other types are heard meanwhile.
#[test]
fn types_are_masked_one_by_one() {
    let mut host = Build::default().with_registers().admin_host();
    ring_nothing(&mut host);
    assert_eq!(request(&mut host).1, Some(INVALID_REGISTER));
    host.set_feature(FeatureId::ASYNCHRONOUS_EVENTS, WARNING_TEMPERATURE.into()).expect("set");
    host.set_feature(FeatureId::TEMPERATURE_THRESHOLD, 300).expect("set");
    assert_eq!(request(&mut host).1, Some(TEMPERATURE));
}

/// B76: a temperature that crosses its threshold, over or under, is an event if Asynchronous Event Configuration asks for it, and a
/// critical warning in any case.
#[test]
fn a_temperature_beyond_its_threshold_is_an_event_if_asked_for() {
    for (threshold, asked) in [(300, true), (300, false), (400 | 1 << 20, true), (400 | 1 << 20, false)] {
        let mut host = Build::default().admin_host();
        let (cid, _) = request(&mut host);
        let gate = if asked { WARNING_TEMPERATURE } else { !WARNING_TEMPERATURE };
        host.set_feature(FeatureId::ASYNCHRONOUS_EVENTS, gate.into()).expect("set");
        host.port_mut().run_until_idle();
        assert_eq!(reported(&mut host, cid), None, "all is well");
        host.set_feature(FeatureId::TEMPERATURE_THRESHOLD, threshold).expect("set");
        host.port_mut().run_until_idle();
        assert_eq!(reported(&mut host, cid), asked.then_some(TEMPERATURE), "{threshold:#x}");
        let log = host.get_log(LogId::SMART, 512, LogArguments::default()).expect("read");
        assert_eq!(spec_tests::golden::parsed::<Smart>(&log).critical_warning, WARNING_TEMPERATURE);
    }
}

/// B76: what is wrong with the media, or with the host's disk under it, is a critical warning while it stands, and an event when it begins,
/// once, if Asynchronous Event Configuration asks for it.
#[test]
fn a_warning_of_the_media_is_an_event_when_it_begins_and_a_bit_while_it_stands() {
    for kind in WarningKind::ALL {
        for asked in [true, false] {
            let mut host = Build::default().admin_host();
            let gate = if asked { WARNING_RELIABILITY } else { !WARNING_RELIABILITY };
            host.set_feature(FeatureId::ASYNCHRONOUS_EVENTS, gate.into()).expect("set");
            let (cid, none) = request(&mut host);
            assert_eq!(none, None, "all is well");
            for _ in 0..3 {
                host.port_mut().behaviour.borrow_mut().warnings.meet(*kind, Nanoseconds(0), "met");
                host.port_mut().run_until_idle();
            }
            assert_eq!(reported(&mut host, cid), asked.then_some(RELIABILITY), "{kind:?}");
            assert_eq!(host.smart().critical_warning, WARNING_RELIABILITY);
            read_log(&mut host, LogId::SMART, false);
            host.port_mut().behaviour.borrow_mut().warnings.end(*kind, Nanoseconds(0));
            host.port_mut().run_until_idle();
            assert_eq!(host.smart().critical_warning, 0, "it is over");
            if asked {
                let (cid, none) = request(&mut host);
                assert_eq!(none, None, "told once");
                host.port_mut().behaviour.borrow_mut().warnings.meet(*kind, Nanoseconds(0), "again");
                host.port_mut().run_until_idle();
                assert_eq!(reported(&mut host, cid), Some(RELIABILITY), "and once more when it begins again");
            }
        }
    }
}

/// B76: configuring the events after the fact reports what is already so.
#[test]
fn an_event_that_is_switched_on_late_is_reported() {
    let mut host = Build::default().admin_host();
    let (cid, _) = request(&mut host);
    host.set_feature(FeatureId::TEMPERATURE_THRESHOLD, 300).expect("set");
    host.port_mut().run_until_idle();
    assert_eq!(reported(&mut host, cid), None);
    host.set_feature(FeatureId::ASYNCHRONOUS_EVENTS, WARNING_TEMPERATURE.into()).expect("set");
    host.port_mut().run_until_idle();
    assert_eq!(reported(&mut host, cid), Some(TEMPERATURE));
}

/// B74: an event does not need a completion slot that is taken: it waits for one.
#[test]
fn an_event_waits_for_a_completion_slot() {
    let mut host = Build::default().with_registers().admin_host();
    let (cid, _) = request(&mut host);
    host.admin(admin_command(AdminOpcode::KEEP_ALIVE)).expect("answered");
    for _ in 0..31 {
        host.submit(0, admin_command(AdminOpcode::KEEP_ALIVE)).expect("submitted");
    }
    ring_nothing(&mut host);
    let mut answers = Vec::new();
    while let Some(answer) = host.reap(0) {
        answers.push((answer.cid.get(), answer.status()));
        host.port_mut().run_until_idle();
    }
    assert_eq!(answers.len(), 32);
    assert!(answers.contains(&(cid, Status::SUCCESS)));
}

/// B74: a queue without places takes nothing from an event that a request waits for; only what meets none is dropped.
#[test]
fn an_event_that_meets_a_request_needs_no_place_in_the_queue() {
    for aer_max_queued in [0, 1] {
        let device = DeviceOptions { aer_max_queued, ..DeviceOptions::default() };
        let mut host = Build { device, ..Build::default() }.with_registers().admin_host();
        for _ in 0..3 {
            let (cid, none) = request(&mut host);
            assert_eq!(none, None);
            ring_nothing(&mut host);
            assert_eq!(reported(&mut host, cid), Some(INVALID_REGISTER), "{aer_max_queued} places");
            read_log(&mut host, LogId::ERROR, false);
        }
        // Nobody waits: as many are kept as there are places.
        ring_nothing(&mut host);
        ring_too_far(&mut host);
        let (cid, first) = request(&mut host);
        assert_eq!(first.is_some(), aer_max_queued == 1);
        read_log(&mut host, LogId::ERROR, false);
        let waiting = if first.is_some() { request(&mut host) } else { (cid, None) };
        assert_eq!(waiting.1, None, "the second found no place");
        // Its type is silent until the log is read: so it would have to wait, with or without a request.
        ring_too_far(&mut host);
        assert_eq!(reported(&mut host, waiting.0), Some(INVALID_VALUE));
        let (silent, none) = request(&mut host);
        ring_nothing(&mut host);
        assert_eq!((none, reported(&mut host, silent)), (None, None), "masked");
        read_log(&mut host, LogId::ERROR, false);
        assert_eq!(reported(&mut host, silent), (aer_max_queued == 1).then_some(INVALID_REGISTER));
    }
}
