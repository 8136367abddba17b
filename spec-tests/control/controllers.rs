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
