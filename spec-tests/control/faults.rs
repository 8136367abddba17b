//! Faults of the media that are added over the control socket, as the host meets them.

use nvme_host::Host;
use nvme_spec::Status;
use serde_json::json;
use spec_tests::socket_host::SocketPort;

use crate::{Bench, filled};

/// An unreadable block fails its reads, is counted and logged, and is healed by a write.
#[test]
fn a_block_that_cannot_be_read_fails_until_it_is_written() {
    let mut bench = Bench::start();
    let mut host = bench.host();
    assert_eq!(host.write(1, 7, &filled(7), true), Ok(Status::SUCCESS));
    bench
        .peer
        .execute("fault-add", &json!({ "kind": "unrecovered-read", "nsid": 1, "lba": 6, "blocks": 3 }))
        .expect("a fault");
    assert_eq!(host.read(1, 7, 1).expect("answered").0.kind(), (2, 0x81));
    let log = bench.peer.execute("query-log", &json!({})).expect("logs");
    let entry = &log["errors"][0];
    assert_eq!((&entry["status-code-type"], &entry["status-code"]), (&json!(2), &json!(0x81)));
    assert_eq!((&entry["lba"], &entry["nsid"], &entry["sqid"]), (&json!(7), &json!(1), &json!(1)));
    assert_eq!(log["smart"]["media-errors"], 1);

    assert_eq!(host.write(1, 7, &filled(8), true), Ok(Status::SUCCESS));
    assert_eq!(host.read(1, 7, 1), Ok((Status::SUCCESS, filled(8))));
    let left = bench.peer.execute("query-faults", &json!({})).expect("faults");
    assert_eq!(left.as_array().map(Vec::len), Some(2), "its neighbours are still broken: {left}");
    assert_eq!(bench.peer.execute("fault-remove", &json!({ "all": true })), Ok(json!({ "removed": 2 })));
    assert_eq!(host.read(1, 6, 1).expect("answered").0, Status::SUCCESS);
}

/// Flipped bits within the budget are corrected, and a program that fails is written elsewhere: the host notices neither.
#[test]
fn what_the_drive_repairs_only_the_control_socket_shows() {
    let mut bench = Bench::start();
    let mut host = bench.host();
    assert_eq!(host.write(1, 0, &filled(1), true), Ok(Status::SUCCESS));
    bench.peer.execute("fault-add", &json!({ "kind": "bit-flips", "nsid": 1, "lba": 0, "bits": 5 })).expect("a fault");
    assert_eq!(host.read(1, 0, 1), Ok((Status::SUCCESS, filled(1))));
    bench.peer.execute("fault-add", &json!({ "kind": "program-failure" })).expect("a fault");
    assert_eq!(host.write(1, 1, &filled(2), true), Ok(Status::SUCCESS));
    assert_eq!(host.read(1, 1, 1), Ok((Status::SUCCESS, filled(2))));
    let media = bench.peer.execute("query-media", &json!({})).expect("a drive");
    assert_eq!((&media["counters"]["corrected-reads"], &media["counters"]["program-failures"]), (&json!(1), &json!(1)));
    assert_eq!(media["wear"]["bad-blocks"], 0);
    // The block is replaced when its line is collected.
    fill_until(&mut host, || {
        bench.peer.execute("query-media", &json!({})).expect("a drive")["wear"]["bad-blocks"] == 1
    });
    assert_eq!(host.read(1, 0, 1), Ok((Status::SUCCESS, filled(3))));
}

/// Writes the whole drive, again and again, until something has come of it.
fn fill_until(host: &mut Host<SocketPort>, mut done: impl FnMut() -> bool) {
    let data = filled(3).repeat(32);
    for write in 0..4096 {
        assert_eq!(host.write(1, write * 32 % 4096, &data, false), Ok(Status::SUCCESS));
        if write % 128 == 127 && done() {
            return;
        }
    }
    panic!("the drive was written 32 times, and nothing came of it");
}

/// The media's warning reaches whoever listens, without a question.
#[test]
fn a_drive_that_runs_out_of_replacements_warns() {
    // Each plane has four replacement blocks. A replacement may fail as well.
    let mut bench = Bench::start();
    let mut host = bench.host();
    let log = bench.peer.execute("query-log", &json!({})).expect("logs");
    assert_eq!((&log["smart"]["available-spare-percent"], &log["smart"]["critical-warning"]), (&json!(100), &json!(0)));
    for nth in 1..=4 {
        let fault = json!({ "kind": "erase-failure", "nth": nth, "plane": 2 });
        bench.peer.execute("fault-add", &fault).expect("a fault");
    }
    fill_until(&mut host, || {
        bench.peer.execute("query-media", &json!({})).expect("a drive")["counters"]["erase-failures"] == 4
    });
    let warning = bench.peer.event("MEDIA_WARNING");
    let expected = json!({
        "warnings": [], "degraded": false, "spare-low": true, "read-only": false, "available-spare-percent": 0
    });
    assert_eq!(warning, expected);
}

/// A fault of the device has a number, hits the host, counts, and goes by its number alone.
#[test]
fn a_fault_of_the_device_is_added_counted_and_removed() {
    let mut bench = Bench::start();
    let mut host = bench.host();
    assert_eq!(host.write(1, 7, &filled(7), true), Ok(Status::SUCCESS));
    let fault = json!({
        "kind": "controller",
        "match": { "queue": "io", "opcode": 2, "lba": 6, "blocks": 3 },
        "when": { "nth": 2 },
        "times": "until-removed",
        "action": { "kind": "status", "sct": 2, "sc": 0x81, "dnr": true }
    });
    let added = bench.peer.execute("fault-add", &fault).expect("a fault");
    assert_eq!(added, json!({ "id": 1 }));
    let mut read = |lba| host.read(1, lba, 1).expect("answered").0.kind();
    assert_eq!([read(7), read(9), read(7), read(6)], [(0, 0), (0, 0), (2, 0x81), (2, 0x81)]);
    let mut shown = fault.clone();
    for (name, value) in [("id", json!(1)), ("met", json!(3)), ("hits", json!(2))] {
        shown[name] = value;
    }
    assert_eq!(bench.peer.execute("query-faults", &json!({})).expect("faults"), json!([without_defaults(shown)]));
    for nothing in [json!({}), json!({ "id": 1, "all": true }), json!({ "id": 2 }), json!({ "all": false })] {
        assert!(bench.peer.execute("fault-remove", &nothing).is_err(), "{nothing}");
    }
    assert_eq!(bench.peer.execute("fault-remove", &json!({ "id": 1 })), Ok(json!({ "removed": 1 })));
    assert_eq!(host.read(1, 7, 1), Ok((Status::SUCCESS, filled(7))));
    bench.peer.execute("fault-add", &fault).expect("a fault");
    bench.peer.execute("fault-add", &json!({ "kind": "program-failure" })).expect("a fault");
    assert_eq!(bench.peer.execute("fault-remove", &json!({ "all": true })), Ok(json!({ "removed": 2 })));
}

/// As it is shown: with what was not given and is no default of a match.
fn without_defaults(mut fault: serde_json::Value) -> serde_json::Value {
    for (name, value) in [("more", json!(false)), ("crd", json!(0)), ("carried-out", json!(false))] {
        fault["action"][name] = value;
    }
    fault
}

/// What is wrong is named; nothing was added then.
#[test]
fn a_fault_that_cannot_be_is_refused_by_its_field() {
    let mut bench = Bench::start();
    for (fault, expected) in [
        (json!({ "kind": "controller", "action": { "kind": "explode" } }), "explode"),
        (json!({ "kind": "controller", "action": { "kind": "drop" }, "often": 2 }), "often"),
        (json!({ "kind": "controller", "match": { "opcod": 2 }, "action": { "kind": "drop" } }), "opcod"),
        (json!({ "kind": "controller", "when": { "nth": 0 }, "action": { "kind": "drop" } }), "when.nth=0"),
        (json!({ "kind": "controller", "action": { "kind": "status", "sct": 9, "sc": 0 } }), "action.sct"),
        (json!({ "kind": "controller" }), "action"),
    ] {
        let refused = bench.peer.execute("fault-add", &fault).expect_err("impossible");
        assert!(format!("{refused:?}").contains(expected), "{refused:?}");
    }
    assert_eq!(bench.peer.execute("query-faults", &json!({})).expect("faults"), json!([]));
}

/// What happens by order of the socket is an event to the host, and to whoever listens there.
#[test]
fn an_event_is_injected() {
    let mut bench = Bench::start();
    let refused = bench.peer.execute("inject-event", &json!({ "kind": "error", "information": 3 }));
    assert!(format!("{refused:?}").contains("not running"), "{refused:?}");
    let mut host = bench.host();
    let cid = host.async_event_request().expect("submitted");
    bench.peer.execute("inject-event", &json!({ "kind": "error", "information": 3 })).expect("it happens");
    assert_eq!(host.wait(0, cid).expect("told").dw0.get(), 0x0001_0300);
    assert_eq!(bench.peer.event("AER"), json!({ "controller": 0, "kind": 0, "information": 3, "log": 1 }));
    let smart = json!({ "kind": "smart", "read-only": true, "kelvins": 300 });
    bench.peer.execute("inject-event", &smart).expect("it happens");
    let log = bench.peer.execute("query-log", &json!({})).expect("logs");
    assert_eq!(log["smart"]["critical-warning"], 8);
}
