//! What commands do to a device, and what is heard of it.

use serde_json::{Value, json};

use super::{Peer, Running};

#[test]
fn the_state_of_an_idle_device_can_be_read() {
    let device = Running::start();
    let mut peer = device.peer();
    let status = peer.ask("query-status", json!({})).expect("a status");
    assert_eq!(
        (&status["running"], &status["status"], &status["client-connected"]),
        (&json!(true), &json!("running"), &json!(false))
    );
    let controller = peer.ask("query-controller", json!({})).expect("a controller");
    assert_eq!(controller["identify"]["serial"], "brownout-0");
    assert_eq!(controller["registers"]["vs"], 0x0002_0100);
    assert_eq!((&controller["enabled"], &controller["shutdown"]), (&json!(false), &json!("no")));
    assert_eq!(peer.ask("query-queues", json!({})), Ok(json!({ "submission": [], "completion": [] })));
    let namespaces = peer.ask("query-namespaces", json!({})).expect("namespaces");
    let namespace = &namespaces[0];
    assert_eq!((&namespace["size-blocks"], &namespace["used-blocks"]), (&json!(32768), &json!(0)));
    assert_eq!(namespace["format"], json!({ "block-bytes": 512, "metadata-bytes": 0, "metadata-extended": false }));
    let media = peer.ask("query-media", json!({})).expect("a drive");
    let ledger = |name: &str| media["ledger"][name].as_u64().expect("a number");
    let reasons = ["host", "fill", "collected", "wear", "padding", "metadata"];
    assert_eq!(ledger("programs"), reasons.into_iter().map(ledger).sum::<u64>());
    assert_eq!(media["map-memory-bytes"].as_u64().map(|bytes| bytes >= 4 * 4096), Some(true));
    let features = peer.ask("query-features", json!({})).expect("features");
    let queues =
        features.as_array().expect("a list").iter().find(|feature| feature["id"] == 7).expect("there are queues");
    assert_eq!((&queues["name"], &queues["value"]), (&json!("number-of-queues"), &json!(63 << 16 | 63)));
    let log = peer.ask("query-log", json!({})).expect("logs");
    assert_eq!((&log["smart"]["power-cycles"], &log["errors"]), (&json!(1), &json!([])));
}

#[test]
fn orders_name_the_controller_that_is_meant() {
    let device = Running::with_controllers(2);
    let mut peer = device.peer();
    let listed = |peer: &mut Peer| peer.ask("query-controllers", json!({})).expect("a list");
    let all = listed(&mut peer);
    let identifiers: Vec<_> = all.as_array().expect("a list").iter().map(|one| one["controller"].clone()).collect();
    assert_eq!(identifiers, [json!(0), json!(1)]);
    let drop =
        json!({ "kind": "controller", "controller": 1, "match": { "command": "read" }, "action": { "kind": "drop" } });
    let added = peer.ask("fault-add", drop).expect("a fault");
    assert_eq!(added["id"], 1);
    let of = |peer: &mut Peer, controller: u16| {
        peer.ask("query-faults", json!({ "controller": controller })).expect("a list")
    };
    assert_eq!((of(&mut peer, 0), of(&mut peer, 1).as_array().map(Vec::len)), (json!([]), Some(1)));
    assert_eq!(peer.ask("fault-remove", json!({ "id": 1, "controller": 1 })), Ok(json!({ "removed": 1 })));
    for (command, arguments, why) in [
        ("query-queues", json!({ "controller": 2 }), "there is no controller 2: give one of 0, 1"),
        ("query-queues", json!({ "controller": "b" }), "`controller`"),
        ("query-status", json!({ "controller": 0 }), "there is no argument `controller`"),
        ("namespace-attach", json!({ "nsid": 1, "controller": 0 }), "controller 0 has the namespace already"),
        ("namespace-attach", json!({ "nsid": 2, "controller": 0 }), "there is no namespace 2"),
        ("namespace-detach", json!({ "nsid": 1, "controller": 7 }), "there is no controller 7"),
    ] {
        let refused = peer.ask(command, arguments).expect_err(command);
        assert!(refused.contains(why), "{command}: {refused}");
    }
    assert_eq!(peer.ask("namespace-detach", json!({ "nsid": 1, "controller": 1 })), Ok(json!({})));
    let has = |all: &Value| [all[0]["namespaces"].clone(), all[1]["namespaces"].clone()];
    assert_eq!(has(&listed(&mut peer)), [json!([1]), json!([])]);
    assert_eq!(peer.ask("namespace-attach", json!({ "nsid": 1, "controller": 1 })), Ok(json!({})));
    assert_eq!(has(&listed(&mut peer)), [json!([1]), json!([1])]);
}

#[test]
fn media_faults_are_added_listed_and_removed() {
    let device = Running::start();
    let mut peer = device.peer();
    let unreadable = json!({ "kind": "unrecovered-read", "nsid": 1, "lba": 8, "blocks": 4 });
    let flipped = json!({ "kind": "bit-flips", "nsid": 1, "lba": 100, "blocks": 2, "bits": 72 });
    let program = json!({ "kind": "program-failure", "nth": 5 });
    let erase = json!({ "kind": "erase-failure", "nth": 2, "plane": 1 });
    for fault in [&unreadable, &flipped, &program, &erase] {
        assert_eq!(peer.ask("fault-add", fault.clone()), Ok(json!({})));
    }
    assert_eq!(peer.ask("query-faults", json!({})), Ok(json!([unreadable, flipped, program, erase])));
    assert_eq!(peer.ask("fault-remove", json!({ "fault": flipped })), Ok(json!({ "removed": 2 })));
    assert_eq!(peer.ask("fault-remove", json!({ "fault": program })), Ok(json!({ "removed": 1 })));
    let gone = peer.ask("fault-remove", json!({ "fault": program })).expect_err("it is gone");
    assert!(gone.contains("query-faults"), "{gone}");
    peer.ask("fault-add", flipped.clone()).expect("a fault");
    peer.ask("fault-add", json!({ "kind": "bit-flips", "nsid": 1, "lba": 101, "bits": 1 }))
        .expect("a fault in its place");
    assert_eq!(peer.ask("query-faults", json!({})).expect("a list").as_array().map(Vec::len), Some(4));
    for (vague, why) in [(json!({}), "or all=true"), (json!({ "all": false }), "or all=true")] {
        assert!(peer.ask("fault-remove", vague).expect_err("nothing was named").contains(why));
    }
    let both = json!({ "all": true, "fault": erase });
    assert!(peer.ask("fault-remove", both).expect_err("which of them?").contains("not both"));
    assert_eq!(peer.ask("query-faults", json!({})).expect("a list").as_array().map(Vec::len), Some(4));
    assert_eq!(peer.ask("fault-remove", json!({ "all": true })), Ok(json!({ "removed": 7 })));
    assert_eq!(peer.ask("query-faults", json!({})), Ok(json!([])));
}

#[test]
fn faults_that_cannot_be_are_refused_and_change_nothing() {
    let device = Running::start();
    let mut peer = device.peer();
    for (fault, why) in [
        (json!({ "kind": "unrecovered-read", "nsid": 2, "lba": 0 }), "the namespaces are 1"),
        (json!({ "kind": "unrecovered-read", "nsid": 1, "lba": 32768 }), "has 32768 blocks"),
        (json!({ "kind": "unrecovered-read", "nsid": 1, "lba": u64::MAX, "blocks": 2 }), "has 32768 blocks"),
        (json!({ "kind": "bit-flips", "nsid": 1, "lba": 0, "bits": 0 }), "give at least 1"),
        (json!({ "kind": "bit-flips", "nsid": 1, "lba": 0, "blocks": 0, "bits": 1 }), "give 1 to 65536"),
        (json!({ "kind": "program-failure", "nth": 0 }), "give 1 to"),
        (json!({ "kind": "program-failure", "nth": u64::MAX }), "give 1 to"),
        (json!({ "kind": "erase-failure", "plane": 16 }), "the planes are 0 to 3"),
        (json!({ "kind": "slow-read" }), "there is no choice `slow-read`: give `unrecovered-read`, `bit-flips`, "),
        (json!({ "kind": "program-failure", "nsid": 1 }), "there is no argument `nsid`: give `nth`"),
        (json!({ "lba": 1 }), "`kind` is missing"),
        (
            json!({ "kind": "bit-flips", "nsid": 1, "lba": "x", "bits": 1 }),
            "string \"x\" is not valid here: give a whole number from 0",
        ),
        (
            json!({ "kind": "bit-flips", "nsid": -1, "lba": 0, "bits": 1 }),
            "integer `-1` is not valid here: give a whole number from 0 to 4294967295",
        ),
    ] {
        let refused = peer.ask("fault-add", fault).expect_err("impossible");
        assert!(refused.contains(why), "{refused}");
    }
    assert_eq!(peer.ask("query-faults", json!({})), Ok(json!([])));
}

/// Whether every register of the device reads as all ones.
fn registers_are_ones(peer: &mut Peer) -> bool {
    let registers = peer.ask("query-controller", json!({})).expect("a controller")["registers"].clone();
    let ones = |value: &Value| value == u64::from(u32::MAX) || value == u64::MAX;
    registers.as_object().expect("registers").values().all(ones)
}

#[test]
fn power_goes_and_comes_back_and_all_peers_hear_of_it() {
    let device = Running::start();
    let (mut peer, mut listener) = (device.peer(), device.peer());
    let before = peer.ask("query-log", json!({})).expect("logs");
    let report = peer.ask("power-cut", json!({ "policy": "random", "seed": 7, "tear": true })).expect("a report");
    assert_eq!((&report["commands"], &report["not-durable"]), (&json!(0), &json!([])));
    assert_eq!(listener.event(), ("POWER_CUT".into(), json!({ "step": null })));
    let (name, summary) = listener.event();
    assert_eq!((name.as_str(), &summary["not-durable"]), ("CRASH_REPORT", &json!(0)));
    assert_eq!(peer.ask("query-status", json!({})).expect("a status")["status"], "power-off");
    assert!(registers_are_ones(&mut peer));
    assert!(peer.ask("power-cut", json!({})).expect_err("it is off").contains("power-restore"));
    assert!(peer.ask("crash-arm", json!({ "at": { "program": 1 } })).expect_err("it is off").contains("power-restore"));

    let restored = peer.ask("power-restore", json!({})).expect("power");
    assert_eq!(restored["recovery"]["torn"], 0);
    assert_eq!(listener.event(), ("POWER_RESTORED".into(), json!({})));
    assert!(!registers_are_ones(&mut peer));
    assert!(peer.ask("power-restore", json!({})).is_err(), "power is on");
    let after = peer.ask("query-log", json!({})).expect("logs");
    let count = |log: &Value, name: &str| log["smart"][name].as_u64().expect("a number");
    assert_eq!(count(&after, "power-cycles"), count(&before, "power-cycles") + 1);
    assert_eq!(count(&after, "unsafe-shutdowns"), count(&before, "unsafe-shutdowns") + 1);
    assert_eq!(peer.ask("query-crash", json!({})).expect("a report")["report"], report, "it is kept");
}

#[test]
fn recovery_itself_may_lose_power_and_is_brought_back_again() {
    let device = Running::start();
    let (mut peer, mut listener) = (device.peer(), device.peer());
    peer.ask("power-cut", json!({})).expect("a report");
    let again = peer.ask("power-restore", json!({ "at": { "step": "recovery-root" } })).expect_err("it goes again");
    assert!(again.contains("recovery-root"), "{again}");
    assert_eq!(peer.ask("query-status", json!({})).expect("a status")["running"], false);
    let wrong =
        peer.ask("power-restore", json!({ "at": { "step": "command-fetched" } })).expect_err("no such step there");
    assert!(wrong.contains("recovery takes no step of the controller"), "{wrong}");
    peer.ask("power-restore", json!({})).expect("power");
    let heard: Vec<String> = (0..3).map(|_| listener.event().0).collect();
    assert_eq!(heard, ["POWER_CUT", "CRASH_REPORT", "POWER_RESTORED"]);
}

#[test]
fn a_crash_point_is_armed_shown_and_taken_back() {
    let device = Running::start();
    let mut peer = device.peer();
    let at = json!({ "step": "line-erased", "nth": 3 });
    peer.ask("crash-arm", json!({ "at": at, "policy": "choose", "survivors": [true, false] })).expect("armed");
    assert_eq!(peer.ask("query-crash", json!({})), Ok(json!({ "armed": at, "met": 0, "report": null })));
    assert_eq!(peer.ask("crash-disarm", json!({})), Ok(json!({})));
    assert_eq!(peer.ask("crash-disarm", json!({})), Err("nothing is armed".into()));
    for (words, why) in [
        (json!({ "policy": "random" }), "needs a seed"),
        (json!({ "policy": "choose" }), "needs survivors"),
        (json!({ "seed": 1 }), "goes with policy=random only"),
        (json!({ "policy": "all-survive", "survivors": [] }), "go with policy=choose only"),
        (json!({ "policy": "some-survive" }), "there is no choice `some-survive`"),
    ] {
        let refused = peer.ask("power-cut", words).expect_err("words that do not go together");
        assert!(refused.contains(why), "{refused}");
    }
    assert_eq!(peer.ask("query-status", json!({})).expect("a status")["running"], true);
}

#[test]
fn a_client_that_comes_and_goes_is_heard() {
    let device = Running::start();
    let mut peer = device.peer();
    let client = device.0.connect("nvme0.sock");
    assert_eq!(peer.event(), ("CLIENT_CONNECTED".into(), json!({ "controller": 0 })));
    drop(client);
    assert_eq!(peer.event(), ("CLIENT_GONE".into(), json!({ "controller": 0 })));
}

/// The operator fills blocks and finds out where a host copied them to; here nobody copied anything.
#[test]
fn blocks_are_filled_and_looked_at_past_the_host() {
    let device = Running::start();
    let mut peer = device.peer();
    let filled = peer.ask("namespace-fill", json!({ "nsid": 1, "lba": 8, "blocks": 4000, "seed": 7 }));
    assert_eq!(filled, Ok(json!({ "blocks": 4000, "block-bytes": 512 })));
    let found = peer.ask("namespace-verify", json!({ "nsid": 1, "lba": 8, "blocks": 4000, "seed": 7 }));
    assert_eq!(found, Ok(json!({ "blocks": 4000, "wrong": 0, "first": [] })));
    let shifted = json!({ "nsid": 1, "lba": 9, "of-lba": 8, "blocks": 2, "seed": 7 });
    let found = peer.ask("namespace-verify", shifted).expect("looked at");
    assert_eq!((&found["wrong"], &found["first"][0]["lba"]), (&json!(2), &json!(9)));
    assert_eq!(found["first"][0]["holds"], "at byte 0: namespace 1 block 9 byte 0");
    for (bad, why) in [
        (json!({ "nsid": 3, "blocks": 1 }), "there is no namespace 3: the namespaces are 1"),
        (json!({ "nsid": 1, "blocks": 0 }), "give lba and blocks within it"),
        (json!({ "nsid": 1, "lba": 32767, "blocks": 2 }), "namespace 1 has 32768 blocks"),
    ] {
        for command in ["namespace-fill", "namespace-verify"] {
            let refused = peer.ask(command, bad.clone()).expect_err("refused");
            assert!(refused.contains(why), "{refused}");
        }
    }
}

/// A disk that firmware boots from gets there without a host; what is beside the bytes stays.
#[test]
fn bytes_are_written_past_the_host() {
    let device = Running::start();
    let mut peer = device.peer();
    peer.ask("namespace-fill", json!({ "nsid": 1, "blocks": 4, "seed": 7 })).expect("filled");
    let written = peer.ask("namespace-write", json!({ "nsid": 1, "offset": 1000, "bytes": "5a".repeat(32) }));
    assert_eq!(written, Ok(json!({ "bytes": 32 })));
    let found = peer.ask("namespace-verify", json!({ "nsid": 1, "blocks": 4, "seed": 7 })).expect("looked at");
    assert_eq!(found["wrong"], json!(2), "the last bytes of a block, and the first of another");
    assert_eq!(found["first"][0]["holds"], "at byte 448: no stamp");
    assert_eq!(found["first"][1]["holds"], "at byte 0: no stamp");
    for (bad, why) in [
        (json!({ "nsid": 3, "bytes": "00" }), "there is no namespace 3: the namespaces are 1"),
        (json!({ "nsid": 1, "bytes": "" }), "give bytes, and where the first goes"),
        (json!({ "nsid": 1, "bytes": "0" }), "give pairs of hexadecimal digits"),
        (json!({ "nsid": 1, "offset": u64::MAX, "bytes": "00" }), "give bytes, and where the first goes"),
        (json!({ "nsid": 1, "offset": 32768 * 512 - 1, "bytes": "0000" }), "namespace 1 has 32768 blocks"),
    ] {
        let refused = peer.ask("namespace-write", bad).expect_err("refused");
        assert!(refused.contains(why), "{refused}");
    }
}

/// A host that has done nothing has broken nothing, and what an operator does is no event of the host's.
#[test]
fn violations_and_events_can_be_read() {
    let device = Running::start();
    let mut peer = device.peer();
    assert_eq!(peer.ask("query-violations", json!({ "severity": "must" })), Ok(json!([])));
    peer.ask("power-cut", json!({})).expect("cut");
    peer.ask("power-restore", json!({})).expect("restored");
    let events = peer.ask("query-trace", json!({ "last": 2 })).expect("events");
    let texts: Vec<_> = events.as_array().expect("a list").iter().map(|event| event["text"].clone()).collect();
    assert_eq!(texts, [json!("power lost"), json!("power restored")]);
    assert_eq!(peer.ask("query-controller", json!({})).expect("a controller").get("last-fatal"), None);
}
