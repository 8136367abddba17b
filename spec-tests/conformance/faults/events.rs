//! F40 to F49: events and the state of the device.

use controller::ControllerId;
use controller::fault::{Action, FaultSpec, InjectError, Injection};
use media::Nanoseconds;
use nvme_host::admin::LogArguments;
use nvme_spec::Status;
use nvme_spec::feature::FeatureId;
use nvme_spec::log::LogId;
use nvme_spec::register::ControllerStatus;
use spec_tests::rig::{Build, DriveFaults, small_drive};

use super::{add, begin_read, blocks, entries, prepared, writes};
use crate::verbs::{TestHost, Verbs as _};

fn inject(host: &mut TestHost, injection: Injection) {
    host.port_mut().subsystem.inject_event(ControllerId::FIRST, injection).expect("it happens");
    host.port_mut().run_until_idle();
}

/// A request that waits for events.
fn waiting(host: &mut TestHost) -> u16 {
    let cid = host.async_event_request().expect("submitted");
    host.port_mut().run_until_idle();
    assert!(host.poll(0, cid).is_none());
    cid
}

fn reported(host: &mut TestHost, cid: u16) -> Option<u32> {
    host.poll(0, cid).map(|completion| completion.dw0.get())
}

const QUIET: Injection =
    Injection::Smart { spare: false, temperature: false, reliability: false, read_only: false, kelvins: None };

/// F40: the SMART log says so, and the host hears of it if it asked; once until it has read the log.
#[test]
fn f40_smart_warns() {
    let mut host = Build::default().host();
    host.set_feature(FeatureId::ASYNCHRONOUS_EVENTS, 0b1011).expect("set");
    let cid = waiting(&mut host);
    let hot =
        Injection::Smart { spare: false, temperature: true, reliability: false, read_only: false, kelvins: Some(360) };
    inject(&mut host, hot);
    assert_eq!(reported(&mut host, cid), Some(0x0002_0101));
    let smart = host.smart();
    assert_eq!((smart.critical_warning, smart.composite_temperature_kelvins.get()), (0b10, 360));
    let cid = waiting(&mut host);
    inject(&mut host, hot);
    assert_eq!(reported(&mut host, cid), None, "it is not new");
    let spare =
        Injection::Smart { spare: true, temperature: false, reliability: true, read_only: false, kelvins: None };
    inject(&mut host, spare);
    assert_eq!((reported(&mut host, cid), host.smart().critical_warning), (Some(0x0002_0201), 0b101));
    let cid = waiting(&mut host);
    inject(&mut host, QUIET);
    assert_eq!((reported(&mut host, cid), host.smart().critical_warning), (None, 0));
}

/// F41: the notice, and the namespace in the list of changed ones. (A size that really changes is in `resize`.)
#[test]
fn f41_a_namespace_is_said_to_have_changed() {
    let mut host = Build::default().host();
    host.set_feature(FeatureId::ASYNCHRONOUS_EVENTS, 1 << 8).expect("set");
    let cid = waiting(&mut host);
    inject(&mut host, Injection::NamespaceChanged { nsid: 1 });
    assert_eq!(reported(&mut host, cid), Some(0x0004_0002));
    let list = host.get_log(LogId::CHANGED_NAMESPACES, 4096, LogArguments::default()).expect("read");
    assert_eq!(list[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
    let unknown = host.port_mut().subsystem.inject_event(ControllerId::FIRST, Injection::NamespaceChanged { nsid: 9 });
    assert_eq!(unknown, Err(InjectError::Namespace(9)));
}

/// F42: the notice, CSTS.PP, and no command is fetched until the time is over. The log of firmware slots makes the next notice heard.
#[test]
fn f42_firmware_is_activated_and_commands_wait() {
    let mut host = prepared(&Build::default());
    for _ in 0..2 {
        let cid = waiting(&mut host);
        inject(&mut host, Injection::FirmwareActivation { for_ns: 3_000_000 });
        assert_eq!(reported(&mut host, cid), Some(0x0003_0102));
        assert!(host.status().contains(ControllerStatus::PROCESSING_PAUSED | ControllerStatus::READY));
        let (waits, _) = begin_read(&mut host, 1);
        assert!(entries(&mut host).is_empty());
        host.port_mut().wait(Nanoseconds(3_000_000));
        assert_eq!(entries(&mut host).iter().map(|entry| entry.cid.get()).collect::<Vec<_>>(), [waits]);
        assert!(!host.status().contains(ControllerStatus::PROCESSING_PAUSED));
        host.get_log(LogId::FIRMWARE_SLOT, 512, LogArguments::default()).expect("read");
    }
}

/// F43, F44: an entry in the error log and an event, also that of a persistent internal error.
#[test]
fn f43_f44_errors_are_reported() {
    let mut host = Build::default().host();
    for information in [0, 1, 2, 3, 4] {
        let cid = waiting(&mut host);
        let errors = host.error_log().len();
        inject(&mut host, Injection::Error { information });
        assert_eq!(reported(&mut host, cid), Some(0x0001_0000 | u32::from(information) << 8));
        assert_eq!(host.error_log().len(), errors + 1, "and reading it makes the next one heard");
    }
}

/// F45: what a drive says that formats or sanitises: a status for whatever comes meanwhile.
#[test]
fn f45_commands_fail_while_a_format_or_sanitize_is_said_to_run() {
    let mut host = prepared(&Build::default());
    for sc in [0x84, 0x1d] {
        let action = Action::Status { sct: 0, sc, dnr: false, more: false, crd: 0, carried_out: false };
        let id = add(&mut host, FaultSpec::new(action).matching(controller::fault::Matching::io()).always());
        assert_eq!(host.read(1, 1, 1).map(|read| read.0.kind()), Ok((0, sc)));
        assert_eq!(host.flush(1).map(Status::kind), Ok((0, sc)));
        host.assert_alive();
        assert!(host.port_mut().controller_mut().fault_remove(id));
        assert_eq!(host.read(1, 1, 1), Ok((Status::SUCCESS, blocks(1, 1))));
    }
}

/// F46: the warning, writes that fail with Namespace is Write Protected, and reads that do not.
#[test]
fn f46_the_drive_can_only_be_read() {
    let mut host = prepared(&Build::default());
    inject(
        &mut host,
        Injection::Smart { spare: false, temperature: false, reliability: false, read_only: true, kelvins: None },
    );
    let protected = Action::Status { sct: 0, sc: 0x20, dnr: true, more: false, crd: 0, carried_out: false };
    add(&mut host, FaultSpec::new(protected).matching(writes()).always());
    assert_eq!(host.smart().critical_warning, 0b1000);
    assert_eq!(host.write(1, 1, &[1; 512], false).map(Status::kind), Ok((0, 0x20)));
    assert_eq!(host.read(1, 1, 1), Ok((Status::SUCCESS, blocks(1, 1))));
}

/// F47: a block of the media cannot be read until it is written, and only that one. (The faults of the media have tests of their own.)
#[test]
fn f47_a_block_cannot_be_read_until_it_is_written() {
    let faults = DriveFaults { flipped: vec![(1, 3, u32::MAX)], ..DriveFaults::default() };
    let mut host = Build { drive: Some(small_drive(64 << 20, 4096)), faults, ..Build::default() }.host();
    assert_eq!(host.read(1, 3, 1).map(|read| read.0.kind()), Ok((2, 0x81)));
    assert_eq!(host.read(1, 2, 1).map(|read| read.0), Ok(Status::SUCCESS));
    assert_eq!(host.write(1, 3, &[1; 512], true), Ok(Status::SUCCESS));
    assert_eq!(host.read(1, 3, 1), Ok((Status::SUCCESS, vec![1; 512])));
}

/// F49: notices that the host never asked for come all the same: telemetry, ANA, LBA status, endurance; and any other.
#[test]
fn f49_events_come_that_nobody_asked_for() {
    for (event_type, information, log) in
        [(2, 2, 0x07), (2, 3, 0x0c), (2, 5, 0x0e), (2, 6, 0x0f), (6, 0, 0x81), (7, 9, 0xc0)]
    {
        let mut host = Build::default().host();
        let cid = waiting(&mut host);
        inject(&mut host, Injection::Event { event_type, information, log });
        let expected = u32::from(event_type) | u32::from(information) << 8 | u32::from(log) << 16;
        assert_eq!(reported(&mut host, cid), Some(expected));
        host.assert_alive();
    }
    let mut rig = Build::default().rig();
    let event = |event_type| Injection::Event { event_type, information: 0, log: 0 };
    assert_eq!(rig.subsystem.inject_event(ControllerId::FIRST, event(1)), Err(InjectError::NotRunning));
    let mut host = Build::default().host();
    assert_eq!(host.port_mut().subsystem.inject_event(ControllerId::FIRST, event(8)), Err(InjectError::EventType(8)));
}
