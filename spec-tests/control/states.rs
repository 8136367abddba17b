//! What the host does is what the control socket shows.

use nvme_host::doorbell::Doorbell;
use nvme_spec::Status;
use nvme_spec::feature::FeatureId;
use serde_json::json;

use crate::{Bench, filled};

/// The controller's life, its queues, its features and its namespaces follow the host.
#[test]
fn queries_and_events_follow_the_host() {
    let mut bench = Bench::start();
    let mut host = bench.host();
    bench.peer.event("CLIENT_CONNECTED");
    let state = bench.peer.event("CONTROLLER_STATE");
    assert_eq!(state, json!({ "controller": 0, "enabled": true, "ready": true, "fatal": false, "shutdown": "no" }));
    let controller = bench.peer.execute("query-controller", &json!({})).expect("a controller");
    assert_eq!((&controller["ready"], &controller["bus-master"]), (&json!(true), &json!(true)));
    assert_eq!(controller["registers"]["csts"], 1);

    assert_eq!(host.write(1, 0, &filled(1), true), Ok(Status::SUCCESS));
    let queues = bench.peer.execute("query-queues", &json!({})).expect("queues");
    let [admin, io] = &queues["submission"].as_array().expect("a list")[..] else { panic!("two queues: {queues}") };
    assert_eq!((&admin["id"], &io["id"], &io["completion-queue"]), (&json!(0), &json!(1), &json!(1)));
    assert_eq!((&io["entries"], &io["head"], &io["tail"]), (&json!(64), &json!(1), &json!(1)));
    assert_eq!(queues["completion"][1]["tail"], 1);

    host.set_feature(FeatureId::VOLATILE_WRITE_CACHE, 0).expect("switched off");
    let features = bench.peer.execute("query-features", &json!({})).expect("features");
    let cache = features.as_array().expect("a list").iter().find(|feature| feature["id"] == 6);
    assert_eq!(cache.expect("there is a cache")["value"], 0);
    let media = bench.peer.execute("query-media", &json!({})).expect("a drive");
    assert_eq!((&media["cache"]["enabled"], &media["ledger"]["host"]), (&json!(false), &json!(4096)));
    let namespaces = bench.peer.execute("query-namespaces", &json!({})).expect("namespaces");
    assert_eq!((&namespaces[0]["used-blocks"], &namespaces[0]["size-blocks"]), (&json!(1), &json!(4096)));

    drop(host);
    bench.peer.event("CLIENT_GONE");
    let queues = bench.peer.execute("query-queues", &json!({})).expect("queues");
    assert_eq!(queues, json!({ "submission": [], "completion": [] }), "the device was reset");
}

/// Commands of all paths through the controller are counted, with what they were answered and how long they took; lines by their states.
#[test]
fn what_was_answered_is_counted() {
    let mut bench = Bench::start();
    let mut host = bench.host();
    for block in 0..3 {
        assert_eq!(host.write(1, block, &filled(1), false), Ok(Status::SUCCESS), "the fast path");
    }
    assert_eq!(host.write(1, 3, &filled(1), true), Ok(Status::SUCCESS), "FUA: the scheduled path");
    assert_eq!(host.read(1, 0, 1).expect("read").1, filled(1));
    assert_eq!(host.write(1, 1 << 40, &filled(1), false), Ok(Status::LBA_OUT_OF_RANGE.with_more()));
    let counters = bench.peer.execute("query-counters", &json!({})).expect("counters");
    let commands = counters["commands"].as_array().expect("a list");
    let count = |name: &str, code: u64| {
        let found = commands.iter().find(|it| it["admin"] == false && it["name"] == name && it["status-code"] == code);
        found.map_or(0, |it| it["count"].as_u64().expect("a number"))
    };
    assert_eq!([count("Write", 0), count("Read", 0), count("Write", 0x80)], [4, 1, 1], "{counters}");
    assert!(commands.iter().any(|it| it["admin"] == true && it["name"] == "Identify"), "{counters}");
    let buckets = counters["service-times"]["buckets"].as_array().expect("a list");
    let timed: u64 = buckets.iter().map(|bucket| bucket["count"].as_u64().expect("a number")).sum();
    assert_eq!(timed, 6, "{counters}");
    assert!(counters["service-times"]["sum-ns"].as_u64().expect("a number") > 0, "no step takes no time: {counters}");
    let lines = bench.peer.execute("query-lines", &json!({})).expect("lines");
    let open = lines["open"].as_u64().expect("a number");
    let letters = lines["states"].as_str().expect("letters");
    assert!(open > 0 && letters.matches('O').count() as u64 == open, "{lines}");
    assert_eq!(letters.len() as u64, lines["total"].as_u64().expect("a number"), "{lines}");
}

/// An asynchronous event that the host is told of is an event here too; so is a controller that fails.
#[test]
fn asynchronous_events_are_heard_on_both_sides() {
    let mut bench = Bench::start();
    let mut host = bench.host();
    let request = host.async_event_request().expect("submitted");
    host.write_doorbell(Doorbell::SubmissionTail(50), 0);
    let told = host.wait(0, request).expect("an event").dw0.get();
    assert_eq!(told, 0x0001_0000);
    assert_eq!(bench.peer.event("AER"), json!({ "controller": 0, "kind": 0, "information": 0, "log": 1 }));
    let log = bench.peer.execute("query-log", &json!({})).expect("logs");
    assert_eq!(log["errors"][0]["sqid"], 0xffff, "no command is to blame: {log}");
}
