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
