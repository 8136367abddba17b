//! F20 to F30: registers, states, interrupts, resets.

use controller::fault::{Action, FaultSpec, Matching, When};
use controller::watch::{FatalReason, TraceEvent};
use controller::{Effect, InterruptMode};
use media::Nanoseconds;
use nvme_host::{Port as _, Shutdown};
use nvme_spec::Status;
use nvme_spec::register::{self, ControllerStatus};
use spec_tests::rig::Build;

use super::{add, begin_read, blocks, builds, entries, hits, listen, of_reads, prepared, reads};
use crate::verbs::{TestHost, Verbs as _};

const MILLISECOND: u64 = 1_000_000;

/// Lets time pass, and the device with it.
fn pass(host: &mut TestHost, nanoseconds: u64) {
    host.port_mut().wait(Nanoseconds(nanoseconds));
    host.port_mut().run_until_idle();
}

fn set_configuration(host: &mut TestHost, value: u32) {
    host.port_mut().register_write_32(register::CC, value);
    host.port_mut().run_until_idle();
}

/// F20: ready late or never, and once the host has given up, ready at once.
#[test]
fn f20_ready_is_late_or_never() {
    let mut host = Build::default().with_registers().host();
    let configuration = host.port_mut().register_read_32(register::CC);
    for delay in [Some(3 * MILLISECOND), None] {
        host.disable().expect("disabled");
        let id = add(&mut host, FaultSpec::new(Action::SlowReady { delay_ns: delay }));
        set_configuration(&mut host, configuration);
        assert!(!host.status().contains(ControllerStatus::READY));
        pass(&mut host, 2 * MILLISECOND);
        assert!(!host.status().contains(ControllerStatus::READY));
        pass(&mut host, 60_000 * MILLISECOND);
        assert_eq!(host.status().contains(ControllerStatus::READY), delay.is_some());
        assert_eq!(hits(&host, id), 1);
        host.start().expect("the next time it is ready at once");
        host.assert_alive();
    }
}

/// F20: CSTS.RDY stays 1 after CC.EN went to 0, and goes when the fault does; a function level reset gets through.
#[test]
fn f20_ready_does_not_go() {
    let mut host = Build::default().with_registers().host();
    let configuration = host.port_mut().register_read_32(register::CC);
    add(&mut host, FaultSpec::new(Action::SlowDisable { delay_ns: Some(3 * MILLISECOND) }));
    set_configuration(&mut host, configuration & !1);
    pass(&mut host, 2 * MILLISECOND);
    assert!(host.status().contains(ControllerStatus::READY));
    pass(&mut host, MILLISECOND);
    assert!(!host.status().contains(ControllerStatus::READY));
    host.start().expect("enabled");

    let id = add(&mut host, FaultSpec::new(Action::SlowDisable { delay_ns: None }));
    set_configuration(&mut host, configuration & !1);
    pass(&mut host, 60_000 * MILLISECOND);
    assert!(host.status().contains(ControllerStatus::READY));
    assert!(host.port_mut().controller_mut().fault_remove(id));
    host.port_mut().run_until_idle();
    assert!(!host.status().contains(ControllerStatus::READY));
    host.start().expect("enabled");

    add(&mut host, FaultSpec::new(Action::SlowDisable { delay_ns: None }));
    set_configuration(&mut host, configuration & !1);
    host.port_mut().controller_mut().reset_function();
    host.port_mut().run_until_idle();
    assert!(!host.status().contains(ControllerStatus::READY));
    host.start().expect("enabled");
}

/// F21: at a command, or after a time: CSTS.CFS, with its reason; nothing is answered any more, and a reset is the cure.
#[test]
fn f21_the_controller_fails() {
    for build in builds() {
        let mut host = prepared(&build);
        listen(&mut host);
        let at_third = FaultSpec::new(Action::Fatal {}).matching(reads()).when(When::nth(3));
        let id = add(&mut host, at_third);
        let sent: Vec<u16> = (0..5).map(|lba| begin_read(&mut host, lba).0).collect();
        let came: Vec<u16> = entries(&mut host).iter().map(|entry| entry.cid.get()).collect();
        assert!(came.len() <= 2 && sent.starts_with(&came), "{came:?}");
        assert!(host.status().contains(ControllerStatus::FATAL));
        let fatal = |event| matches!(event, TraceEvent::Fatal { reason: FatalReason::Injected, value, .. } if value == u64::from(id));
        assert!(host.port_mut().controller_mut().take_traced().into_iter().any(|traced| fatal(traced.event)));
        host.start().expect("reset and enabled");
        host.create_queue_pair(1, 64, Some(1)).expect("queues");
        assert_eq!(host.read(1, 3, 1), Ok((Status::SUCCESS, blocks(3, 1))));

        let soon = When { after_ns: Some(MILLISECOND), ..When::default() };
        add(&mut host, FaultSpec::new(Action::Fatal {}).when(soon));
        host.port_mut().run_until_idle();
        assert!(!host.status().contains(ControllerStatus::FATAL));
        pass(&mut host, MILLISECOND);
        assert!(host.status().contains(ControllerStatus::FATAL));
        host.start().expect("reset and enabled");
    }
}

/// F22: CSTS.RDY is 0 and CFS is too, CC.EN is still 1, and nothing is answered until the host resets; what was acknowledged is there.
#[test]
fn f22_ready_falls_by_itself() {
    for build in builds() {
        let mut host = prepared(&build);
        add(&mut host, FaultSpec::new(Action::NotReady {}).matching(reads()));
        begin_read(&mut host, 1);
        begin_read(&mut host, 2);
        pass(&mut host, 60_000 * MILLISECOND);
        assert_eq!(host.status(), ControllerStatus::empty());
        assert_eq!(host.port_mut().register_read_32(register::CC) & 1, 1);
        host.start().expect("reset and enabled");
        host.create_queue_pair(1, 64, Some(1)).expect("queues");
        assert_eq!(host.read(1, 0, 8), Ok((Status::SUCCESS, blocks(0, 8))));
    }
}

/// F23: all registers read as all ones, writes go nowhere, memory is not touched; when the link is back the device is as after a reset of
/// the function.
#[test]
fn f23_the_device_is_gone_and_comes_back() {
    for build in builds() {
        let mut host = prepared(&build);
        let id = add(&mut host, FaultSpec::new(Action::Gone { for_ns: Some(10 * MILLISECOND) }));
        host.port_mut().run_until_idle();
        let all_ones = |host: &mut TestHost| {
            let rig = host.port_mut();
            (0..0x40).step_by(4).all(|offset| rig.register_read_32(offset) == u32::MAX)
        };
        assert!(all_ones(&mut host));
        let (_, address) = begin_read(&mut host, 1);
        host.port_mut().register_write_32(register::CC, 0);
        assert!(entries(&mut host).is_empty());
        assert_eq!(host.read_memory(address, 512), [0; 512]);
        pass(&mut host, 9 * MILLISECOND);
        assert!(all_ones(&mut host));
        pass(&mut host, MILLISECOND);
        assert_eq!(host.status(), ControllerStatus::empty());
        assert_eq!(host.port_mut().register_read_32(register::CC), 0);
        host.start().expect("enabled");
        host.create_queue_pair(1, 64, Some(1)).expect("queues");
        assert_eq!((host.read(1, 0, 8), hits(&host, id)), (Ok((Status::SUCCESS, blocks(0, 8))), 1));

        let id = add(&mut host, FaultSpec::new(Action::Gone { for_ns: None }).matching(reads()));
        begin_read(&mut host, 1);
        pass(&mut host, 60_000 * MILLISECOND);
        assert!(all_ones(&mut host));
        assert!(host.port_mut().controller_mut().fault_remove(id));
        host.port_mut().run_until_idle();
        assert!(!all_ones(&mut host));
        host.start().expect("enabled");
    }
}

/// F24: SHST stays 01b for a time, or for good.
#[test]
fn f24_a_shutdown_is_late_or_never_complete() {
    for delay in [Some(5 * MILLISECOND), None] {
        let mut host = Build::default().host();
        add(&mut host, FaultSpec::new(Action::SlowShutdown { delay_ns: delay }));
        let configuration = host.port_mut().register_read_32(register::CC);
        set_configuration(&mut host, configuration | 1 << 14);
        pass(&mut host, 4 * MILLISECOND);
        assert!(host.status().contains(ControllerStatus::SHUTDOWN_RUNNING));
        pass(&mut host, 60_000 * MILLISECOND);
        let complete = host.status().contains(ControllerStatus::SHUTDOWN_COMPLETE);
        assert_eq!(complete, delay.is_some());
        host.start().expect("enabled again");
        host.shutdown(Shutdown::Normal).expect("the next one completes");
    }
}

/// The vectors of messages that a Read on its own queue brings, time and again.
fn vectors_of_reads(host: &mut TestHost, reads: u64) -> Vec<Vec<u16>> {
    host.port_mut().run_until_idle();
    host.port_mut().take_vectors();
    let one = |lba| {
        let (cid, _) = begin_read(host, lba);
        pass(host, MILLISECOND);
        let vectors = host.port_mut().take_vectors();
        assert!(host.poll(1, cid).is_some(), "the entry is there");
        vectors
    };
    (0..reads).map(one).collect()
}

/// F25: once, every n-th, or all of one vector. The entries are there.
#[test]
fn f25_messages_are_lost() {
    for build in builds() {
        let of_vector = |vector| Matching { vector: Some(vector), ..Matching::default() };
        let lose = || FaultSpec::new(Action::LoseInterrupt {});
        let mut host = prepared(&build);
        add(&mut host, lose().matching(of_vector(1)));
        assert_eq!(vectors_of_reads(&mut host, 3), [vec![], vec![1], vec![1]]);
        let every = add(&mut host, lose().matching(of_vector(1)).when(When::every(2)));
        assert_eq!(vectors_of_reads(&mut host, 4), [vec![1], vec![], vec![1], vec![]]);
        assert!(host.port_mut().controller_mut().fault_remove(every));
        let dead = add(&mut host, lose().matching(of_vector(1)).always());
        assert_eq!(vectors_of_reads(&mut host, 3), [[0_u16; 0]; 3]);
        host.identify_controller().expect("answered");
        assert_eq!(host.port_mut().take_vectors(), [0], "the admin queue's vector lives");
        assert_eq!(hits(&host, dead), 3);
    }
}

/// F26: of another vector, later, from nowhere, many, before the entry.
#[test]
fn f26_messages_are_wrong_late_spurious_many_or_early() {
    for build in builds() {
        let mut host = prepared(&build);
        let of_first = Matching { vector: Some(1), ..Matching::default() };
        add(&mut host, FaultSpec::new(Action::WrongVector { vector: 3 }).matching(of_first.clone()));
        assert_eq!(vectors_of_reads(&mut host, 2), [[3], [1]]);
        add(&mut host, FaultSpec::new(Action::LateInterrupt { delay_ns: 5 * MILLISECOND }).matching(of_first));
        assert_eq!(vectors_of_reads(&mut host, 1), [[0_u16; 0]]);
        pass(&mut host, 5 * MILLISECOND);
        assert_eq!(host.port_mut().take_vectors(), [1]);

        add(&mut host, FaultSpec::new(Action::Interrupt { vector: 2, count: 1 }));
        host.port_mut().run_until_idle();
        assert_eq!(host.port_mut().take_vectors(), [2]);
        add(&mut host, of_reads(Action::Interrupt { vector: 2, count: 500 }));
        assert_eq!(vectors_of_reads(&mut host, 1), [[&[2; 500][..], &[1]].concat()]);
        add(&mut host, FaultSpec::new(Action::Interrupt { vector: 2047, count: 1 }));
        host.port_mut().run_until_idle();
        assert_eq!(host.port_mut().take_vectors(), [0; 0], "there is no such vector");

        add(&mut host, of_reads(Action::EarlyInterrupt { delay_ns: 5 * MILLISECOND }));
        begin_read(&mut host, 1);
        assert!(entries(&mut host).is_empty());
        assert_eq!(host.port_mut().take_vectors(), [1], "an interrupt, and nothing to see");
        pass(&mut host, 5 * MILLISECOND);
        assert_eq!(entries(&mut host).len(), 1);
    }
}

/// F25, F26 with the pin: it is not asserted for an entry that is there, and the next time it is; it is asserted for nothing.
#[test]
fn f25_f26_the_pin_is_silent_or_stuck() {
    for build in builds() {
        let mut host = prepared(&build);
        host.port_mut().controller_mut().set_interrupt_mode(InterruptMode::Pin);
        host.port_mut().run_until_idle();
        let pin = |host: &TestHost| host.port().controller().pin_asserted();
        let id = add(&mut host, FaultSpec::new(Action::LoseInterrupt {}));
        for expected in [false, true] {
            host.port_mut().effects.clear();
            begin_read(&mut host, 1);
            host.port_mut().run_until_idle();
            assert_eq!(pin(&host), expected);
            assert_eq!(host.port().effects.contains(&Effect::Pin { asserted: true }), expected);
            assert_eq!(entries(&mut host).len(), 1, "it is there");
            host.port_mut().run_until_idle();
            assert!(!pin(&host));
        }
        assert_eq!(hits(&host, id), 1);
        add(&mut host, FaultSpec::new(Action::StuckPin { for_ns: Some(MILLISECOND) }));
        host.port_mut().effects.clear();
        host.port_mut().run_until_idle();
        assert!(pin(&host) && entries(&mut host).is_empty());
        begin_read(&mut host, 1);
        assert_eq!(entries(&mut host).len(), 1);
        host.port_mut().run_until_idle();
        assert!(pin(&host), "whatever the host takes");
        pass(&mut host, MILLISECOND);
        assert!(!pin(&host));
        assert_eq!(host.port().effects, [true, false].map(|asserted| Effect::Pin { asserted }));
    }
}

/// F27: CAP.MQES, CAP.TO, CAP.MPSMIN and CAP.CSS read as something else; the other bits do not.
#[test]
fn f27_capabilities_are_wrong() {
    let mut rig = Build::default().rig();
    let right = rig.register_read_64(register::CAP);
    for (offset, mask, value) in [(0, 0xffff, 1), (0, 0xff << 24, 0), (4, 0xf << 16, 5 << 16), (4, 0xff << 5, 0)] {
        let id = rig
            .controller_mut()
            .fault_add(FaultSpec::new(Action::Register { offset, mask, value }).always())
            .expect("possible");
        let shift = 8 * u64::from(offset);
        let expected = right & !(u64::from(mask) << shift) | u64::from(value) << shift;
        assert_eq!(rig.register_read_64(register::CAP), expected);
        assert!(rig.controller_mut().fault_remove(id));
        assert_eq!(rig.register_read_64(register::CAP), right);
    }
}

/// F28: a function level reset, or that of the slot, has no effect; that of a host that is gone has.
#[test]
fn f28_a_reset_has_no_effect() {
    let mut host = prepared(&Build::default());
    let id = add(&mut host, FaultSpec::new(Action::IgnoreReset {}));
    host.port_mut().controller_mut().reset_by_host();
    host.port_mut().run_until_idle();
    assert!(host.status().contains(ControllerStatus::READY));
    assert_eq!((host.read(1, 1, 1), hits(&host, id)), (Ok((Status::SUCCESS, blocks(1, 1))), 1));
    host.port_mut().controller_mut().reset_by_host();
    host.port_mut().run_until_idle();
    assert_eq!(host.status(), ControllerStatus::empty(), "the second one has");
    host.start().expect("enabled");
    add(&mut host, FaultSpec::new(Action::IgnoreReset {}));
    host.port_mut().controller_mut().reset_function();
    host.port_mut().run_until_idle();
    assert_eq!(host.status(), ControllerStatus::empty());
}

/// F29: AQA and ASQ read back wrong, and are right for the device.
#[test]
fn f29_the_admin_queue_registers_read_back_wrong() {
    let mut host = Build::default().with_registers().admin_host();
    let attributes = u16::try_from(register::AQA).expect("small");
    let address = u16::try_from(register::ASQ).expect("small");
    let id = add(&mut host, FaultSpec::new(Action::Register { offset: attributes, mask: u32::MAX, value: 0 }));
    add(&mut host, FaultSpec::new(Action::Register { offset: address, mask: 0xff << 16, value: 0xaa << 16 }).always());
    let right = host.port_mut().register_read_32(register::ACQ);
    assert_eq!(host.port_mut().register_read_32(register::AQA), 0);
    assert_ne!(host.port_mut().register_read_32(register::AQA), 0, "once");
    assert_eq!(host.port_mut().register_read_32(register::ASQ) >> 16 & 0xff, 0xaa);
    assert_eq!(host.port_mut().register_read_32(register::ACQ), right);
    assert_eq!(hits(&host, id), 1, "reads of other registers are none");
    host.assert_alive();
}

/// F30: a subsystem reset from outside: CSTS.NSSRO is 1, and the controller is to be set up again.
#[test]
fn f30_the_subsystem_is_reset_from_outside() {
    let mut host = prepared(&Build::default());
    add(&mut host, FaultSpec::new(Action::SubsystemReset {}).matching(reads()));
    begin_read(&mut host, 1);
    host.port_mut().run_until_idle();
    assert_eq!(host.status(), ControllerStatus::SUBSYSTEM_RESET);
    assert_eq!(host.port_mut().register_read_32(register::AQA), 0);
    host.start().expect("enabled");
    assert!(host.status().contains(ControllerStatus::SUBSYSTEM_RESET), "until the host clears it");
}
