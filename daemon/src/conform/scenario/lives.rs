//! What becomes of a controller: it fails, is reset, goes away, comes back as another one, or never was what it should be.

use nvme_spec::opcode::AdminOpcode;
use serde_json::{Value, json};

use super::{Act, COPIED, Case, SECOND, Timeouts, attach, copied, copy, order, through};

/// C16 to C20, C23: the controller fails, is reset, goes away.
pub(super) fn lives(timeouts: Timeouts, _: u64) -> Vec<Case> {
    let during = |action: Value| {
        let fault = json!({ "match": { "queue": "io" }, "when": { "nth": 50 }, "action": action });
        through(vec![Act::Fault(fault)])
    };
    let gone = |seconds: u64| {
        let fault = json!({ "match": { "queue": "io" }, "when": { "nth": 50 },
            "action": { "kind": "gone", "for-ns": seconds * SECOND } });
        let acts = vec![
            attach(),
            Act::Fault(fault),
            Act::Try(format!("copy {COPIED} 65536")),
            Act::Wait(2 * timeouts.io.max(timeouts.admin)),
            Act::Heal,
            order("rescan"),
        ];
        [acts, copy(64 << 10).into()].concat()
    };
    let slow = |action: Value| {
        [vec![attach(), Act::Fault(json!({ "action": action })), order("resets 1"), Act::Heal], copy(65536).into()]
            .concat()
    };
    let resets = [vec![attach(), order("resets 50")], copy(64 << 10).into()].concat();
    let shutdown = json!({ "action": { "kind": "slow-shutdown", "delay-ns": SECOND } });
    vec![
        Case::new("C16", "CSTS.CFS under load", during(json!({ "kind": "fatal" }))),
        Case::new("C17", "CSTS.RDY falls under load", during(json!({ "kind": "not-ready" }))),
        Case::new("C18", "ready after two seconds", slow(json!({ "kind": "slow-ready", "delay-ns": 2 * SECOND })))
            .shell(),
        Case::new("C18", "disabled after two seconds", slow(json!({ "kind": "slow-disable", "delay-ns": 2 * SECOND })))
            .shell(),
        Case::new("C19", "gone for one second", gone(1)).shell(),
        Case::new("C20", "fifty controller resets under load", resets).shell(),
        Case::new("C20", "a subsystem reset under load", during(json!({ "kind": "subsystem-reset" }))),
        Case::new("C23", "a shutdown that takes a second", {
            [copied(64 << 10), vec![order("write 16"), Act::Fault(shutdown), order("off")]].concat()
        })
        .shell(),
    ]
}

/// A driver may give the device up, and a new look at the bus finds it well again.
fn found_again(acts: Vec<Act>, timeouts: Timeouts) -> Vec<Act> {
    let wait = Act::Wait(2 * timeouts.io.max(timeouts.admin));
    [acts, vec![wait, Act::Heal, order("rescan")], copy(64 << 10).into()].concat()
}

/// An admin command after a reset of the controller, and what becomes of it.
fn after_reset(opcode: AdminOpcode, action: &Value) -> Value {
    json!({ "match": { "queue": "admin", "opcode": opcode.0, "resets": 1 }, "action": action })
}

/// C21: the controller fails while it is brought up again, or shut down.
pub(super) fn within(timeouts: Timeouts, _: u64) -> Vec<Case> {
    let during_reset = |name: &str, opcode: AdminOpcode, action: Value| {
        let acts = vec![attach(), Act::Fault(after_reset(opcode, &action)), Act::Try("resets 1".to_owned())];
        Case::new("C21", name, found_again(acts, timeouts)).shell()
    };
    let fatal = || json!({ "kind": "fatal" });
    let deletion =
        json!({ "match": { "queue": "admin", "opcode": AdminOpcode::DELETE_SUBMISSION_QUEUE.0 }, "action": fatal() });
    let off = [copied(64 << 10), vec![Act::Fault(deletion), order("off")]].concat();
    vec![
        during_reset("CSTS.CFS while queues are created again", AdminOpcode::CREATE_SUBMISSION_QUEUE, fatal()),
        during_reset("CSTS.RDY falls at Identify after a reset", AdminOpcode::IDENTIFY, json!({ "kind": "not-ready" })),
        during_reset(
            "a subsystem reset while features are set again",
            AdminOpcode::SET_FEATURES,
            json!({ "kind": "subsystem-reset" }),
        ),
        Case::new("C21", "CSTS.CFS while queues are deleted for a shutdown", off).shell(),
    ]
}

/// C26, C27: limits and identity that change over a reset, or are odd from the beginning. The driver is judged by what it is told.
pub(super) fn limits(timeouts: Timeouts, _: u64) -> Vec<Case> {
    let forever = |mut fault: Value, resets: u64| {
        fault["times"] = json!("until-removed");
        fault["match"]["resets"] = json!(resets);
        fault
    };
    let identify = |cns: u8, offset: u32, bytes: &str, resets: u64| {
        let dwords = json!([{ "number": 10, "mask": 0xff, "value": cns }]);
        let fault = json!({ "match": { "queue": "admin", "opcode": AdminOpcode::IDENTIFY.0, "dwords": dwords },
            "action": { "kind": "patch", "offset": offset, "bytes": bytes } });
        forever(fault, resets)
    };
    let register = |offset: u32, mask: u32, value: u32| {
        forever(json!({ "action": { "kind": "register", "offset": offset, "mask": mask, "value": value } }), 0)
    };
    // A driver has to go on with less.
    let lives_on = |name: &str, fault: Value| {
        let acts = vec![attach(), Act::Fault(fault), order("resets 1")];
        Case::new("C26", name, [acts, copy(64 << 10).into(), vec![Act::Heal], copy(64 << 10).into()].concat()).shell()
    };
    // It may take it for another device.
    let changes = |name: &str, fault: Value| {
        let acts = vec![attach(), Act::Fault(fault), Act::Try("resets 1".to_owned())];
        Case::new("C26", name, found_again(acts, timeouts)).shell()
    };
    let fewer = json!({ "match": { "queue": "admin", "opcode": AdminOpcode::SET_FEATURES.0 },
        "action": { "kind": "fewer-queues", "queues": 1 } });
    let born = |name: &str, fault: Value| Case::new("C27", name, copied(64 << 10)).born(fault);
    // It may refuse what cannot be.
    let cannot_be = |name: &str, fault: Value| {
        let acts = vec![Act::Try("attach".to_owned()), Act::Heal, order("rescan")];
        Case::new("C27", name, [acts, copy(64 << 10).into()].concat()).born(fault).shell()
    };
    vec![
        lives_on("MDTS is 8 KiB after a reset", identify(1, 77, "01", 1)),
        lives_on("one queue pair is granted after a reset", forever(fewer, 1)),
        lives_on("the namespace is half as large after a reset", identify(0, 0, "0000010000000000", 1)),
        changes("another identifier of the namespace after a reset", identify(3, 4, "99", 1)),
        changes("another serial number after a reset", identify(1, 4, "4f54484552", 1)),
        born("MDTS is 8 KiB", identify(1, 77, "01", 0)),
        born("CAP.MQES is 3", register(0, 0xffff, 3)),
        born("CAP.TO is 0", register(0, 0xff00_0000, 0)),
        born("NN is 1024", identify(1, 516, "00040000", 0)),
        cannot_be("a namespace of no blocks", identify(0, 0, "0000000000000000", 0)),
        cannot_be("blocks of 256 bytes", identify(0, 130, "08", 0)),
        cannot_be("blocks of 2 GiB", identify(0, 130, "1f", 0)),
        cannot_be("entries of 128 and 32 bytes", identify(1, 512, "7755", 0)),
    ]
}
