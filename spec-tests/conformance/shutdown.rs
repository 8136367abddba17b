//! Shutdown (rules B23–B30; NVMe Base 2.1 section 3.6).

use controller::ControllerId;
use machine::Machine;
use media::{MediaError, Nanoseconds};
use nvme_host::{Host, Port, Shutdown};
use nvme_spec::Status;
use nvme_spec::log::{LogId, Smart};
use nvme_spec::register::{self, Configuration, ControllerStatus};
use spec_tests::rig::{Build, Rig};
use spec_tests::slow_media::Asked;

use crate::support::{flush, slow_down};

const RUNNING: ControllerStatus = ControllerStatus::SHUTDOWN_RUNNING;
const COMPLETE: ControllerStatus = ControllerStatus::SHUTDOWN_COMPLETE;

fn shutdown_status(rig: &mut Rig) -> ControllerStatus {
    ControllerStatus::from_bits_retain(rig.register_read_32(register::CSTS)) & (RUNNING | COMPLETE)
}

fn ask(rig: &mut Rig, kind: u8) {
    let configuration = Configuration(rig.register_read_32(register::CC));
    rig.register_write_32(register::CC, configuration.with_shutdown(kind).0);
}

/// B23, B24: both kinds of shutdown go through 01b to 10b, and 10b does not come before a flush of everything is done.
#[test]
fn shutdown_is_complete_only_when_all_is_durable() {
    for kind in [1, 2] {
        let mut host = Build::default().host();
        slow_down(&host, Nanoseconds(50_000));
        let rig = host.port_mut();
        ask(rig, kind);
        assert_eq!(shutdown_status(rig), RUNNING, "at once");
        rig.behaviour.borrow_mut().asked.clear();
        rig.run_until_idle();
        assert_eq!(shutdown_status(rig), RUNNING, "the flush is still going on");
        rig.wait(Nanoseconds(50_000));
        rig.run_until_idle();
        assert_eq!(shutdown_status(rig), COMPLETE);
        assert_eq!(rig.behaviour.borrow().asked, [Asked::Quiesce]);
        assert!(host.status().contains(ControllerStatus::READY), "shutdown is not reset");
    }
}

/// B23: a shutdown whose flush fails never says that it is complete; a reset ends it.
#[test]
fn a_shutdown_that_cannot_flush_does_not_complete() {
    let mut host = Build::default().host();
    host.port_mut().behaviour.borrow_mut().failure = Some(MediaError::Internal);
    ask(host.port_mut(), 1);
    host.port_mut().run_until_idle();
    assert_eq!(shutdown_status(host.port_mut()), RUNNING);
    host.port_mut().behaviour.borrow_mut().failure = None;
    host.start().expect("reset and enabled");
    assert_eq!(shutdown_status(host.port_mut()), ControllerStatus::empty());
}

/// B25: commands that come during and after shutdown are answered with Commands Aborted due to Power Loss Notification, and are to
/// be retried; those that were in flight are answered too.
#[test]
fn commands_around_a_shutdown_are_all_answered() {
    let mut host = Build::default().host();
    slow_down(&host, Nanoseconds(50_000));
    let before = host.submit(1, flush()).expect("submitted");
    host.port_mut().step();
    ask(host.port_mut(), 1);
    let during = host.submit(1, flush()).expect("submitted");
    let status = host.wait(1, during).expect("answered").status();
    assert_eq!((status.kind(), status.do_not_retry()), ((0, 0x05), false));
    assert_eq!(host.wait(1, before).expect("answered").status(), Status::SUCCESS);
    host.shutdown(Shutdown::Normal).expect("complete");
    let after = host.execute(1, flush()).expect("answered").status();
    assert_eq!(after.kind(), (0, 0x05));
    host.identify_controller().expect("the admin queue answers");
}

/// B25: a write that is refused because of the shutdown has not been carried out.
#[test]
fn a_write_after_shutdown_changes_nothing() {
    let mut host = Build::default().host();
    assert_eq!(host.write(1, 0, &[1; 512], false), Ok(Status::SUCCESS));
    host.shutdown(Shutdown::Abrupt).expect("complete");
    assert_eq!(host.write(1, 0, &[2; 512], false).expect("answered").kind(), (0, 0x05));
    host.start().expect("enabled");
    host.create_queue_pair(1, 8, None).expect("a queue pair");
    assert_eq!(host.read(1, 0, 1), Ok((Status::SUCCESS, vec![1; 512])));
}

/// B26: Asynchronous Event Requests stay where they are.
#[test]
fn event_requests_outlive_a_shutdown() {
    let mut host = Build::default().host();
    let aer = host.async_event_request().expect("submitted");
    host.shutdown(Shutdown::Normal).expect("complete with a request outstanding");
    host.port_mut().run_until_idle();
    assert_eq!(host.poll(0, aer), None);
    assert!(host.abort(0, aer).expect("answered"));
}

/// Ours, beside B25 and B26: whoever has seen SHST = 10b gives the memory of queues and of shadow doorbells to others, as Linux does when
/// a function is removed. What they write there rings nothing, and nothing of theirs changes, until the host rings a register.
#[test]
fn after_a_shutdown_memory_is_left_alone() {
    for content in [0, 1, 0x5a, 0xff] {
        let mut host = Build::default().with_registers().host();
        host.use_shadow_doorbells().expect("offered");
        host.async_event_request().expect("submitted");
        assert_eq!(host.flush(1), Ok(Status::SUCCESS));
        host.shutdown(Shutdown::Normal).expect("complete");
        let rig = host.port_mut();
        rig.run_until_idle();
        rig.controller_mut().set_bus_master(false);
        let range = rig.memory.first_range();
        let mut others = vec![content; usize::try_from(range.end - range.start).expect("small")];
        rig.memory.poke(range.start, &others);
        rig.controller_mut().set_bus_master(true);
        for _ in 0..4 {
            rig.run(20);
            let Machine { subsystem, memory, .. } = &mut rig.machine;
            assert!(subsystem.arm(ControllerId::FIRST, memory, None), "there is nothing to do");
        }
        rig.memory.peek(range.start, &mut others);
        assert!(others.iter().all(|byte| *byte == content), "somebody's memory that holds {content:#x}");
    }
}

/// B25, B56: a host with shadow doorbells is heard after a shutdown too, by the register that it is asked to ring.
#[test]
fn shadow_doorbells_are_heard_after_a_shutdown() {
    let mut host = Build::default().with_registers().host();
    host.use_shadow_doorbells().expect("offered");
    host.shutdown(Shutdown::Normal).expect("complete");
    host.port_mut().run(5);
    for _ in 0..3 {
        assert_eq!(host.execute(1, flush()).expect("answered").status().kind(), (0, 0x05));
        host.identify_controller().expect("the admin queue answers");
        host.port_mut().run(5);
    }
}

/// B27: a reset, and nothing else, leaves the shutdown; then SHST is 00b and I/O works.
#[test]
fn only_a_reset_leaves_shutdown() {
    for kind in [Shutdown::Normal, Shutdown::Abrupt] {
        let mut host = Build::default().host();
        host.shutdown(kind).expect("complete");
        for other in [0, 2, 1, 0] {
            ask(host.port_mut(), other);
            host.port_mut().run_until_idle();
            assert_eq!(shutdown_status(host.port_mut()), COMPLETE);
        }
        host.start().expect("reset and enabled");
        assert_eq!(shutdown_status(host.port_mut()), ControllerStatus::empty());
        host.create_queue_pair(1, 8, None).expect("a queue pair");
        assert_eq!(host.flush(1), Ok(Status::SUCCESS));
    }
}

/// B28 (ours), B27: a disabled controller can be shut down too, in one write with EN = 0 or later; enabling leaves the shutdown,
/// even one that is still going on.
#[test]
fn a_disabled_controller_shuts_down_and_comes_back() {
    for (with_disable, finished) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut host = Build::default().admin_host();
        slow_down(&host, Nanoseconds(50_000));
        if with_disable {
            host.port_mut().register_write_32(register::CC, Configuration(0).with_shutdown(1).0);
        } else {
            host.disable().expect("disabled");
            ask(host.port_mut(), 1);
        }
        host.port_mut().run_until_idle();
        assert_eq!(shutdown_status(host.port_mut()), RUNNING);
        if finished {
            host.port_mut().wait(Nanoseconds(60_000));
            host.port_mut().run_until_idle();
            assert_eq!(shutdown_status(host.port_mut()), COMPLETE);
        }
        let rig = host.into_port();
        let mut host = Host::enable(rig, Build::default().setup).expect("enabled");
        host.create_queue_pair(1, 8, None).expect("a queue pair");
        assert_eq!(host.flush(1), Ok(Status::SUCCESS), "with the disable: {with_disable}, finished: {finished}");
        assert_eq!(shutdown_status(host.port_mut()), ControllerStatus::empty());
    }
}

/// B29: no reset and no shutdown counts as an unsafe shutdown.
#[test]
fn resets_are_not_unsafe_shutdowns() {
    let mut host = Build::default().host();
    host.shutdown(Shutdown::Normal).expect("complete");
    host.start().expect("enabled");
    host.disable().expect("disabled");
    host.port_mut().register_write_32(register::NSSR, register::NSSR_KEY);
    host.port_mut().run_until_idle();
    host.port_mut().controller_mut().reset_function();
    host.port_mut().run_until_idle();
    host.start().expect("enabled");
    let log = host.get_log(LogId::SMART, 512, nvme_host::admin::LogArguments::default()).expect("read");
    assert_eq!(spec_tests::golden::parsed::<Smart>(&log).unsafe_shutdowns.get(), 0);
}

/// B30: with RTD3E = 0 a host waits for a second or less; a shutdown of idle memory is there at once.
#[test]
fn shutdown_is_complete_within_the_time_that_identify_names() {
    let mut host = Build::default().host();
    let limit = match host.identify_controller().expect("identified").rtd3e.get() {
        0 => 1_000_000,
        microseconds => u64::from(microseconds),
    };
    let begin = host.port().now.0;
    host.shutdown(Shutdown::Normal).expect("complete");
    assert!(host.port().now.0 - begin <= limit * 1000);
}

/// The process ends, and no host said so: the media is quiesced, once, and says when and how that ended.
#[test]
fn the_process_brings_the_media_to_rest_before_it_ends() {
    let mut host = Build::default().host();
    let rig = host.port_mut();
    rig.behaviour.borrow_mut().asked.clear();
    assert_eq!(rig.machine.subsystem.quiesce(rig.machine.now), Some(Ok(())), "nothing to wait for");
    rig.behaviour.borrow_mut().latency = Some(Nanoseconds(1_000));
    assert_eq!(rig.machine.subsystem.quiesce(rig.machine.now), None);
    assert_eq!(
        rig.machine.subsystem.quiesce(rig.machine.now.plus(Nanoseconds(999))),
        None,
        "asked once and waited for"
    );
    assert_eq!(rig.machine.subsystem.quiesce(rig.machine.now.plus(Nanoseconds(1_000))), Some(Ok(())));
    assert_eq!(rig.behaviour.borrow().asked, [Asked::Quiesce, Asked::Quiesce]);
    rig.behaviour.borrow_mut().failure = Some(MediaError::NoSpace);
    assert_eq!(rig.machine.subsystem.quiesce(rig.machine.now), None);
    assert_eq!(rig.machine.subsystem.quiesce(rig.machine.now.plus(Nanoseconds(1_000))), Some(Err(MediaError::NoSpace)));
}
