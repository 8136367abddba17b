//! A driver that works breaks no rule: the host of this project, on a controller in this process, with every event looked at.

use checker::facts::Facts;
use checker::{Checker, End, Rule, Severity};
use controller::ControllerId;
use controller::fault::{Action, FaultSpec, Matching};
use controller::watch::Detail;
use machine::{Machine, MachineOptions};
use media::Nanoseconds;
use nvme_host::io::block_command;
use nvme_host::{Host, Port, Shutdown};
use nvme_spec::Command;
use nvme_spec::feature::FeatureId;
use nvme_spec::opcode::{AdminOpcode, NvmOpcode};

/// A host that is judged, and its judge.
fn judged() -> (Host<Machine>, Checker) {
    let mut machine = Machine::new(&MachineOptions::default()).expect("a machine");
    machine.controller_mut().listen(Detail::Memory);
    let mut checker = Checker::new(Facts::of(&machine.subsystem, ControllerId::FIRST), Detail::Memory);
    checker.begin(true, true);
    let setup = nvme_host::Setup::new(machine.memory.first_range());
    (Host::enable(machine, setup).expect("enabled"), checker)
}

fn judge(host: &mut Host<Machine>, checker: &mut Checker) {
    for traced in host.port_mut().controller_mut().take_traced() {
        checker.observe(&traced);
    }
}

fn broken(checker: &Checker) -> Vec<(Rule, Severity, String)> {
    let told = |it: &checker::Violation| (it.rule, it.severity, it.detail.clone());
    checker.violations().filter(|it| it.severity > Severity::Performance).map(told).collect()
}

#[test]
fn a_driver_that_works_breaks_no_rule() {
    let (mut host, mut checker) = judged();
    for round in 0..3 {
        host.async_event_request().expect("sent");
        host.set_feature(FeatureId::NUMBER_OF_QUEUES, 0x0003_0003).expect("granted");
        host.create_queue_pair(1, 16, Some(1)).expect("made");
        host.create_queue_pair(2, 2, Some(2)).expect("made");
        for number in 0..200_u64 {
            let bytes = vec![u8::try_from(number % 251).expect("a byte"); 4096 << (number % 5)];
            assert!(host.write(1, number, &bytes, number % 7 == 0).expect("answered").is_success());
            assert_eq!(host.read(1, number, 1).expect("answered").1, bytes[..4096]);
        }
        assert!(host.flush(1).expect("answered").is_success());
        judge(&mut host, &mut checker);
        if round == 1 {
            host.shutdown(Shutdown::Normal).expect("complete");
        }
        host.start().expect("enabled again");
    }
    host.shutdown(Shutdown::Normal).expect("complete");
    judge(&mut host, &mut checker);
    checker.finish(End::PowerDown);
    assert_eq!(broken(&checker), []);
    assert_eq!(host.port_mut().controller().traced_dropped(), 0);
}

/// What this host leaves out is found in events of a real controller too, not only in those that a test has written down.
#[test]
fn what_a_driver_leaves_out_is_found() {
    let (mut host, mut checker) = judged();
    host.create_queue_pair(1, 16, Some(1)).expect("made");
    assert!(host.write(1, 0, &[1; 4096], false).expect("answered").is_success());
    assert!(!host.read(1, 1 << 40, 1).expect("answered").0.is_success());
    judge(&mut host, &mut checker);
    checker.tick(Nanoseconds(10_000_000_000));
    checker.tick(Nanoseconds(20_000_000_000));
    checker.finish(End::PowerDown);
    let rules: Vec<Rule> = broken(&checker).into_iter().map(|(rule, ..)| rule).collect();
    assert_eq!(rules, [Rule::H11, Rule::H29, Rule::H43, Rule::H62, Rule::H79]);
}

/// Completion queues whose memory was not cleared, only memory tells.
#[test]
fn what_only_memory_tells_is_found() {
    let (mut host, mut checker) = judged();
    host.set_feature(FeatureId::NUMBER_OF_QUEUES, 0).expect("granted");
    let dirty = host.allocate(4096).expect("memory");
    host.port_mut().memory_write(dirty + 32, &[0xff; 16]);
    let create = Command {
        opcode: AdminOpcode::CREATE_COMPLETION_QUEUE.0,
        prp1: dirty.into(),
        cdw10: (1 | 15 << 16).into(),
        cdw11: 1.into(),
        ..Command::default()
    };
    assert!(host.admin(create).expect("answered").status().is_success());
    judge(&mut host, &mut checker);
    let stale = "1 entries of completion queue 1 had phase 1 when it was created".to_owned();
    assert_eq!(broken(&checker), [(Rule::H34, Severity::Must, stale)]);
}

/// While a fault holds an answer back, the host has not heard of it: whoever uses its identifier again does not wait for it.
#[test]
fn a_command_whose_answer_is_held_back_is_under_way() {
    let reads = |action| FaultSpec::new(action).matching(Matching::io_opcode(NvmOpcode::READ.0));
    let delay = Action::Delay { delay_ns: 60_000_000_000 };
    let drop = Action::Drop { abortable: false, carried_out: true };
    for (action, patience, found) in [
        (delay.clone(), 100, Rule::H30),
        (delay, 5000, Rule::H71),
        (drop.clone(), 100, Rule::H30),
        (drop, 5000, Rule::H71),
    ] {
        let (mut host, mut checker) = judged();
        host.set_feature(FeatureId::NUMBER_OF_QUEUES, 0).expect("granted");
        host.create_queue_pair(1, 16, Some(1)).expect("made");
        let fault = host.port_mut().controller_mut().fault_add(reads(action)).expect("possible");
        let buffer = host.allocate(4096).expect("room");
        let read = Command { prp1: buffer.into(), ..block_command(NvmOpcode::READ, 1, 0, 1) };
        let late = host.submit(1, read).expect("there is an identifier");
        for _ in 0..4 {
            host.port_mut().step();
        }
        let now = host.port().now.0;
        host.port_mut().wait_until(Nanoseconds(now + patience * 1_000_000));
        host.submit_as_is(1, &Command { cid: late.into(), ..read }).expect("there is a slot");
        host.ring(1).expect("a queue");
        for _ in 0..4 {
            host.port_mut().step();
        }
        assert_eq!(
            host.port().controller().faults().iter().find(|it| it.spec.id == Some(fault)).map(|it| it.hits),
            Some(1)
        );
        judge(&mut host, &mut checker);
        let of_identifiers = |rule: &Rule| matches!(rule, Rule::H30 | Rule::H71);
        assert_eq!(broken(&checker).iter().map(|it| it.0).filter(of_identifiers).collect::<Vec<_>>(), [found]);
    }
}
