//! Drives with several sockets: what is said of a controller names it.

use std::fs;

use nvme_spec::Status;
use serde_json::json;
use spec_tests::socket_host::SocketPort;

use crate::{Bench, filled};

/// Events, traces and the report of a power loss are of the controller that they name; what the other one does is not in them.
#[test]
fn the_second_controller_is_named_by_events_traces_and_power_reports() {
    let folder = tempfile::tempdir().expect("a folder");
    let (second, traces) = (folder.path().join("second.sock"), folder.path().join("traces"));
    fs::create_dir(&traces).expect("a folder");
    let [socket, place] = [&second, &traces].map(|path| path.to_str().expect("a path of ours"));
    let mut bench =
        Bench::with_arguments("size=16MiB,lba=4096,shared=on", &["--socket", socket, "--trace-folder", place]);
    let mut first = bench.host();
    assert_eq!(bench.peer.event("CLIENT_CONNECTED"), json!({ "controller": 0 }));
    assert_eq!(bench.peer.event("CONTROLLER_STATE")["controller"], 0);
    let mut host = SocketPort::host(&second, 64).expect("a host");
    assert_eq!(bench.peer.event("CLIENT_CONNECTED"), json!({ "controller": 1 }));
    let state = bench.peer.event("CONTROLLER_STATE");
    let ready = json!({ "controller": 1, "enabled": true, "ready": true, "fatal": false, "shutdown": "no" });
    assert_eq!(state, ready);
    let controllers = bench.peer.execute("query-controllers", &json!({})).expect("both");
    assert_eq!(
        (&controllers[0]["client-connected"], &controllers[1]["client-connected"]),
        (&json!(true), &json!(true))
    );

    let nobody = json!({ "controller": 2, "patterns": ["pci_nvme*"], "file": "c" });
    assert!(bench.peer.execute("trace-start", &nobody).expect_err("two").contains("there is no controller 2"));
    for (controller, file) in [(0, "a"), (1, "b")] {
        let order = json!({ "controller": controller, "patterns": ["pci_nvme_write"], "file": file });
        assert_eq!(bench.peer.execute("trace-start", &order).expect("a trace")["id"], controller);
    }
    let running = bench.peer.execute("query-traces", &json!({})).expect("two");
    assert_eq!((&running[0]["controller"], &running[1]["controller"]), (&json!(0), &json!(1)));
    assert_eq!(first.write(1, 7, &filled(1), false), Ok(Status::SUCCESS));
    for lba in [8, 9, 10] {
        assert_eq!(host.write(1, lba, &filled(2), false), Ok(Status::SUCCESS));
    }
    for (id, file, lines) in [(0, "a", 1), (1, "b", 3)] {
        bench.peer.execute("trace-stop", &json!({ "id": id })).expect("it ends");
        let text = fs::read_to_string(traces.join(file)).expect("a trace");
        assert_eq!(text.lines().count(), lines, "{text}");
    }

    let report = bench.peer.execute("power-cut", &json!({})).expect("a report");
    let lost = report["not-durable"].as_array().expect("a list").iter();
    let lost: Vec<_> = lost.map(|change| (change["range"]["first"].as_u64(), change["controller"].as_u64())).collect();
    assert_eq!(lost, [7, 8, 9, 10].map(|first| (Some(first), Some(u64::from(first != 7)))));
    bench.peer.execute("power-restore", &json!({})).expect("power");
    drop(host);
    assert_eq!(bench.peer.event("CLIENT_GONE"), json!({ "controller": 1 }));
}

/// Faults of a configuration file, and crash points that are commands, are of the controller that they name.
#[test]
fn faults_of_a_file_and_crash_points_are_of_one_controller() {
    let folder = tempfile::tempdir().expect("a folder");
    let (second, file) = (folder.path().join("second.sock"), folder.path().join("drive.toml"));
    let table =
        "[[fault]]\ncontroller = 1\nmatch = { command = \"flush\" }\naction = { kind = \"status\", sct = 0, sc = 6 }\n";
    fs::write(&file, table).expect("written");
    let [socket, config] = [&second, &file].map(|path| path.to_str().expect("a path of ours"));
    let mut bench = Bench::with_arguments("size=16MiB,lba=4096", &["--socket", socket, "--config", config]);
    let (mut first, mut host) = (bench.host(), SocketPort::host(&second, 64).expect("a host"));
    let mut count = |controller| {
        let faults = bench.peer.execute("query-faults", &json!({ "controller": controller })).expect("a list");
        faults.as_array().expect("a list").len()
    };
    assert_eq!((count(0), count(1)), (0, 1));
    assert_eq!(first.flush(1), Ok(Status::SUCCESS));
    assert_eq!(host.flush(1).map(Status::kind), Ok((0, 6)));

    let point = json!({ "match": { "controller": 1, "opcode": "write" }, "nth": 2 });
    bench.peer.execute("crash-arm", &json!({ "at": point })).expect("armed");
    assert_eq!(bench.peer.execute("query-crash", &json!({})).expect("armed")["armed"]["match"]["controller"], 1);
    for lba in 0..5 {
        assert_eq!(first.write(1, lba, &filled(1), false), Ok(Status::SUCCESS));
    }
    assert_eq!(host.write(1, 5, &filled(2), false), Ok(Status::SUCCESS));
    assert_eq!(first.write(1, 6, &filled(1), false), Ok(Status::SUCCESS));
    host.write(1, 7, &filled(2), false).expect_err("power is off");
    let report = bench.peer.execute("query-crash", &json!({})).expect("a report");
    assert_eq!(report["report"]["controller"], 1, "{report}");
}

/// A controller comes with a socket of its own while the drive runs, and goes again with it; who has the other one notices nothing.
#[test]
fn controllers_come_and_go_with_their_sockets() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().to_str().expect("a path of ours");
    let mut bench = Bench::with_arguments("size=16MiB,lba=4096,shared=on", &["--socket-folder", place]);
    let mut first = bench.host();
    assert_eq!(first.write(1, 7, &filled(1), false), Ok(Status::SUCCESS));
    for refused in ["a/b", "..", "", &"x".repeat(107)] {
        bench.peer.execute("controller-add", &json!({ "socket": refused })).expect_err("no name of a socket");
    }
    let last = bench.peer.execute("controller-remove", &json!({ "controller": 0 })).expect_err("the last");
    assert!(last.contains("controller 0 is the last one"), "{last}");
    for round in 0..3_u8 {
        let added = bench.peer.execute("controller-add", &json!({ "socket": "second.sock" })).expect("it comes");
        let socket = folder.path().join("second.sock");
        assert_eq!(added, json!({ "controller": 1, "socket": socket }));
        let taken = bench.peer.execute("controller-add", &json!({ "socket": "second.sock" })).expect_err("taken");
        assert!(taken.contains("second.sock"), "{taken}");
        let mut host = SocketPort::host(&socket, 64).expect("a host");
        assert_eq!(host.read(1, 7, 1).expect("read").1, filled(1 + round));
        assert_eq!(host.write(1, 7, &filled(2 + round), false), Ok(Status::SUCCESS));
        let queues = bench.peer.execute("query-queues", &json!({ "controller": 1 })).expect("its own");
        assert_eq!(queues["submission"].as_array().map(Vec::len), Some(2));
        bench.peer.execute("controller-remove", &json!({ "controller": 1 })).expect("it goes");
        assert!(!socket.exists(), "its socket went with it");
        let left = bench.peer.execute("query-controllers", &json!({})).expect("one");
        assert_eq!(left.as_array().map(Vec::len), Some(1));
        let gone = bench.peer.execute("query-queues", &json!({ "controller": 1 })).expect_err("gone");
        assert!(gone.contains("there is no controller 1: give one of 0"), "{gone}");
        assert_eq!(first.read(1, 7, 1).expect("read").1, filled(2 + round));
    }
    // The first may go as well, while there is another.
    bench.peer.execute("controller-add", &json!({ "socket": "second.sock" })).expect("it comes");
    bench.peer.execute("controller-remove", &json!({ "controller": 0 })).expect("it goes");
    drop(first);
    let mut host = SocketPort::host(&folder.path().join("second.sock"), 64).expect("a host");
    assert_eq!(host.read(1, 7, 1).expect("read").1, filled(4));
    let status = bench.peer.execute("query-status", &json!({})).expect("it runs");
    assert_eq!(status["client-connected"], true);
}

/// Without a folder for their sockets no controllers come, and hosts are told of one.
#[test]
fn without_a_folder_no_controller_comes() {
    let mut bench = Bench::start();
    let refused = bench.peer.execute("controller-add", &json!({ "socket": "a" })).expect_err("no folder");
    assert!(refused.contains("--socket-folder"), "{refused}");
    assert_eq!(bench.host().identify_controller().expect("mandatory").cmic, 0);
}
