//! `ana-set-state` and `query-ana`: how each controller reaches the namespaces (MC5).

use nvme_host::admin::LogArguments;
use nvme_spec::log::LogId;
use nvme_spec::{NSID_ALL, Status};
use serde_json::{Value, json};
use spec_tests::socket_host::SocketPort;

use super::Bench;

fn group(group: u32, state: &str, count: u64, namespaces: &[u32]) -> Value {
    json!({ "group": group, "state": state, "change-count": count, "namespaces": namespaces })
}

#[test]
fn states_are_set_by_controller_and_group_and_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let second = folder.path().join("second.sock");
    let more = ["--device", "ana=on", "--namespace", "size=8MiB,lba=4096,anagrpid=2", "--socket"];
    let more = [more.as_slice(), &[second.to_str().expect("UTF-8")]].concat();
    let mut bench = Bench::with_arguments("size=8MiB,lba=4096", &more);
    let mut one = bench.host();
    let mut two = SocketPort::host(&second, 64).expect("a host");
    for state in ["non-optimized", "inaccessible", "change", "persistent-loss"] {
        let arguments = json!({ "controller": 1, "group": 2, "state": state });
        assert_eq!(bench.peer.execute("ana-set-state", &arguments), Ok(json!({})));
    }
    let optimized = group(1, "optimized", 0, &[1]);
    let shown = json!([
        { "controller": 0, "change-count": 0, "groups": [optimized, group(2, "optimized", 0, &[2])] },
        { "controller": 1, "change-count": 4, "groups": [optimized, group(2, "persistent-loss", 4, &[2])] },
    ]);
    assert_eq!(bench.peer.execute("query-ana", &json!({})), Ok(shown));
    assert_eq!(one.write(2, 0, &[7; 4096], false), Ok(Status::SUCCESS));
    let refused = two.read(2, 0, 1).expect("answered").0;
    assert_eq!((refused.kind(), refused.do_not_retry()), ((3, 0x01), false));
    let page = two.get_log(LogId::ASYMMETRIC_ACCESS, 128, LogArguments { nsid: NSID_ALL, ..LogArguments::default() });
    // Two groups, of a namespace each: a head of 16 bytes, and 36 for either.
    assert_eq!(page.expect("supported")[16 + 36 + 16], 4);
    for (arguments, why) in [
        (json!({ "controller": 1, "group": 2, "state": "optimized" }), "controller 1 has lost group 2 for good"),
        (json!({ "controller": 2, "group": 2, "state": "optimized" }), "there is no controller 2"),
        (json!({ "controller": 0, "group": 33, "state": "optimized" }), "groups have numbers from 1 to 32"),
        (json!({ "controller": 0, "group": 1, "state": "lost" }), "lost"),
    ] {
        let said = format!("{:?}", bench.peer.execute("ana-set-state", &arguments).expect_err("it cannot be"));
        assert!(said.contains(why), "{said}");
    }
    drop((one, two));
    bench.daemon.stop().expect("it ends");
}

#[test]
fn a_drive_that_was_made_without_says_so() {
    let mut bench = Bench::start();
    let arguments = json!({ "controller": 0, "group": 1, "state": "change" });
    let said = format!("{:?}", bench.peer.execute("ana-set-state", &arguments).expect_err("it cannot be"));
    assert!(said.contains("--device ana=on"), "{said}");
    let none = json!([{ "controller": 0, "change-count": 0, "groups": [] }]);
    assert_eq!(bench.peer.execute("query-ana", &json!({})), Ok(none));
    let said = format!("{:?}", bench.peer.execute("namespace-add", &json!({ "size": "1MiB", "anagrpid": 2 })));
    assert!(said.contains("anagrpid=2"), "{said}");
    bench.daemon.stop().expect("it ends");
}
