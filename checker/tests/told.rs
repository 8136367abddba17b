//! A driver believes what it is told of the device, be it true or not: with faults that change Identify and CAP it is judged by that.

use checker::facts::Facts;
use checker::{Checker, Rule, Severity};
use controller::ControllerId;
use controller::fault::FaultSpec;
use controller::watch::Detail;
use machine::{Machine, MachineOptions};
use media::Nanoseconds;
use nvme_host::{Host, Setup};
use nvme_spec::feature::FeatureId;
use serde_json::{Value, json};

const SECOND: u64 = 1_000_000_000;
/// A controller's MDTS, and a namespace's size, in Identify data.
const MDTS: u32 = 77;
const NSZE: u32 = 0;

/// A driver and its judge.
struct Tried {
    host: Host<Machine>,
    checker: Checker,
}

impl Tried {
    /// Such faults are there from the beginning.
    fn with(faults: &[FaultSpec]) -> Self {
        let mut machine = Machine::new(&MachineOptions::default()).expect("a machine");
        machine.controller_mut().listen(Detail::Memory);
        let mut checker = Checker::new(Facts::of(&machine.subsystem, ControllerId::FIRST), Detail::Memory);
        checker.begin(true, true);
        for fault in faults {
            machine.controller_mut().fault_add(fault.clone()).expect("a possible fault");
        }
        let setup = Setup::new(machine.memory.first_range());
        let mut tried = Self { host: Host::enable(machine, setup).expect("enabled"), checker };
        tried.ask();
        tried.host.set_feature(FeatureId::NUMBER_OF_QUEUES, 0).expect("granted");
        tried
    }

    /// What a driver asks when it attaches.
    fn ask(&mut self) {
        self.host.identify_controller().expect("answered");
        self.host.identify_namespace(1).expect("answered");
    }

    fn queues(mut self, entries: u32) -> Self {
        self.host.create_queue_pair(1, entries, Some(1)).expect("made");
        self
    }

    fn wait(&mut self, nanoseconds: u64) {
        let until = Nanoseconds(self.host.port().now.0 + nanoseconds);
        self.host.port_mut().wait_until(until);
    }

    /// How bad each of these rules was broken.
    fn broken(&mut self) -> Vec<(Rule, Severity)> {
        for traced in self.host.port_mut().controller_mut().take_traced() {
            self.checker.observe(&traced);
        }
        let ours = [Rule::H2, Rule::H28, Rule::H42, Rule::H43];
        self.checker.violations().map(|it| (it.rule, it.severity)).filter(|(rule, _)| ours.contains(rule)).collect()
    }
}

fn always(matching: &Value, action: &Value) -> FaultSpec {
    let spec = json!({ "match": matching, "times": "until-removed", "action": action });
    serde_json::from_value(spec).expect("a fault")
}

/// Identify with this CNS brings these bytes.
fn identify(cns: u8, offset: u32, bytes: &str) -> FaultSpec {
    let dwords = json!([{ "number": 10, "mask": 0xff, "value": cns }]);
    always(
        &json!({ "queue": "admin", "opcode": 6, "dwords": dwords }),
        &json!({ "kind": "patch", "offset": offset, "bytes": bytes }),
    )
}

#[test]
fn a_transfer_above_the_limit_that_the_host_was_told_breaks_h42() {
    // Two pages.
    let mut tried = Tried::with(&[identify(1, MDTS, "01")]).queues(16);
    assert!(tried.host.write(1, 0, &[1; 8192], false).expect("answered").is_success());
    assert_eq!(tried.broken(), []);
    assert!(tried.host.write(1, 0, &[1; 12288], false).expect("answered").is_success());
    assert_eq!(tried.broken(), [(Rule::H42, Severity::Should)], "as soon as that it may have been on its way");
    tried.wait(2 * SECOND);
    tried.ask();
    assert!(tried.host.write(1, 0, &[1; 12288], false).expect("answered").is_success());
    assert_eq!(tried.broken(), [(Rule::H42, Severity::Must)], "asking again gives no more time");
}

#[test]
fn whoever_was_promised_more_is_not_to_blame_and_whoever_was_told_the_truth_again_is() {
    let fault = identify(1, MDTS, "00");
    let mut tried = Tried::with(&[fault]).queues(16);
    let long = vec![1; 4 << 20];
    assert!(!tried.host.write(1, 0, &long, false).expect("answered").is_success());
    assert_eq!(tried.broken(), []);
    let id = tried.host.port().controller().faults()[0].spec.id.expect("numbered");
    assert!(tried.host.port_mut().controller_mut().fault_remove(id));
    tried.ask();
    assert!(!tried.host.write(1, 0, &long, false).expect("answered").is_success());
    assert_eq!(tried.broken(), [(Rule::H42, Severity::Must)]);
}

#[test]
fn a_namespace_ends_where_the_host_was_told() {
    let mut tried = Tried::with(&[identify(0, NSZE, "4000000000000000")]).queues(16);
    tried.wait(2 * SECOND);
    assert!(tried.host.read(1, 63, 1).expect("answered").0.is_success());
    assert_eq!(tried.broken(), []);
    assert!(tried.host.read(1, 64, 1).expect("answered").0.is_success());
    assert_eq!(tried.broken(), [(Rule::H43, Severity::Must)]);

    let mut tried = Tried::with(&[identify(0, NSZE, "0000000000010000")]).queues(16);
    assert!(!tried.host.read(1, 1 << 39, 1).expect("answered").0.is_success());
    assert_eq!(tried.broken(), []);
}

#[test]
fn queues_are_as_long_as_cap_says_to_whoever_reads_it() {
    let shown = || always(&json!({}), &json!({ "kind": "register", "offset": 0, "mask": 0xffff, "value": 15 }));
    for (entries, found) in [(16, None), (17, Some((Rule::H28, Severity::Must)))] {
        let mut tried = Tried::with(&[shown()]).queues(entries);
        assert_eq!(tried.broken().first().copied(), found);
    }
}
