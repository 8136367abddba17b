//! Power that is cut over the control socket, as the host lives it.

use nvme_host::io::block_command;
use nvme_host::{Host, Port};
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{Status, register};
use serde_json::{Value, json};
use spec_tests::qmp::Qmp;
use spec_tests::socket_host::SocketPort;

use crate::{BLOCK, Bench, filled};

/// Submits a write without waiting for it.
fn submit_write(host: &mut Host<SocketPort>, lba: u64, byte: u8) -> u16 {
    let buffer = host.allocate(BLOCK).expect("guest memory");
    host.write_memory(buffer, &filled(byte));
    let mapping = host.map(buffer, BLOCK).expect("guest memory");
    host.submit(1, mapping.on(block_command(NvmOpcode::WRITE, 1, lba, 1))).expect("room in the queue")
}

/// The host finds nobody behind the registers, over a connection that stands.
fn assert_dead(host: &mut Host<SocketPort>) {
    for offset in [register::CAP, register::VS, register::CC, register::CSTS] {
        assert_eq!(host.port_mut().register_read_32(offset), u32::MAX);
    }
}

/// The host sets the controller up again, as its driver would after a reset.
fn set_up_again(host: &mut Host<SocketPort>) {
    host.start().expect("enabled");
    host.create_queue_pair(1, 64, None).expect("a queue pair");
}

/// What is in a block now.
fn contents(host: &mut Host<SocketPort>, lba: u64) -> Vec<u8> {
    let (status, bytes) = host.read(1, lba, 1).expect("answered");
    assert_eq!(status, Status::SUCCESS);
    bytes
}

/// The one change in the report.
fn only_change(report: &Value) -> &Value {
    let [change] = &report["not-durable"].as_array().expect("a list")[..] else { panic!("one change: {report}") };
    change
}

/// A cut with the cache full: what was flushed stays, what was only accepted goes or stays as the policy says, and no connection is lost.
#[test]
fn what_was_only_accepted_survives_as_the_policy_says() {
    for (policy, survives) in [("none-survive", false), ("all-survive", true)] {
        let mut bench = Bench::start();
        let mut host = bench.host();
        assert_eq!(host.write(1, 0, &filled(1), true), Ok(Status::SUCCESS));
        // A power cut must not meet the destage that comes by itself: arm it for the moment in which the write is staged.
        let arm = json!({ "at": { "step": "completions-published" }, "policy": policy });
        bench.peer.execute("crash-arm", &arm).expect("armed");
        let write = submit_write(&mut host, 0, 2);
        let cut = bench.peer.event("POWER_CUT");
        assert_eq!(cut, json!({ "step": "completions-published" }));
        assert_dead(&mut host);
        assert_eq!(host.poll(1, write).map(|completion| completion.status()), Some(Status::SUCCESS), "it was answered");
        let crash = bench.peer.execute("query-crash", &json!({})).expect("a report");
        let change = only_change(&crash["report"]);
        assert_eq!(change["range"], json!({ "first": 0, "blocks": 1 }));
        assert_eq!((&change["completed"], &change["change"]), (&json!(true), &json!("write")));
        assert_eq!(change["fate"], if survives { "survived" } else { "lost" });

        bench.peer.execute("power-restore", &json!({})).expect("power");
        assert_eq!(host.port_mut().register_read_32(register::CSTS), 0, "as at power-on");
        set_up_again(&mut host);
        assert_eq!(contents(&mut host, 0), filled(if survives { 2 } else { 1 }), "{policy}");
    }
}

/// At a crash point inside a command nothing more reaches the host: no completion, although the command was taken.
#[test]
fn a_command_in_which_power_goes_is_never_answered() {
    let mut bench = Bench::start();
    let mut host = bench.host();
    assert_eq!(host.write(1, 8, &filled(1), true), Ok(Status::SUCCESS));
    let arm = json!({ "at": { "match": { "opcode": 1, "lba": 8 }, "nth": 2 }, "policy": "all-survive" });
    bench.peer.execute("crash-arm", &arm).expect("armed");
    assert_eq!(host.write(1, 9, &filled(3), false), Ok(Status::SUCCESS), "another block");
    assert_eq!(host.write(1, 8, &filled(2), true), Ok(Status::SUCCESS), "the first match");
    let write = submit_write(&mut host, 8, 4);
    let report = bench.peer.event("CRASH_REPORT");
    assert_eq!(report["step"], "command-fetched");
    assert!(host.poll(1, write).is_none());
    assert_dead(&mut host);
    bench.peer.execute("power-restore", &json!({})).expect("power");
    set_up_again(&mut host);
    assert_eq!(contents(&mut host, 8), filled(2), "it had not begun");
}

/// `crash-arm` with `wait` answers with the power loss, and cuts power itself, or gives up, where nothing came in time.
#[test]
fn whoever_arms_a_crash_point_may_wait_for_it() {
    let mut bench = Bench::start();
    let mut host = bench.host();
    let arm = json!({ "at": { "step": "line-erased" }, "wait": "1ms" });
    assert_eq!(bench.peer.execute("crash-arm", &arm), Ok(json!({ "tripped": false })));
    assert_eq!(bench.peer.execute("query-crash", &json!({})).expect("nothing")["armed"], Value::Null);

    let arm = json!({ "at": { "completed": { "opcode": "flush", "nsid": 2 } }, "wait": "1ms", "else": "cut" });
    let answer = bench.peer.execute("crash-arm", &arm).expect("cut");
    assert_eq!((&answer["tripped"], answer["report"]["step"].as_str()), (&json!(false), None));
    assert_dead(&mut host);
    bench.peer.execute("power-restore", &json!({})).expect("power");
    set_up_again(&mut host);

    bench.peer.execute("crash-arm", &json!({ "at": { "completed": { "opcode": "flush" }, "nth": 2 } })).expect("armed");
    assert_eq!(host.flush(1), Ok(Status::SUCCESS));
    assert_eq!(bench.peer.execute("query-crash", &json!({})).expect("armed")["met"], 1);

    // It waits while the guest works: a peer of its own.
    let at = json!({ "completed": { "opcode": "write" }, "nth": 3 });
    let mut waiting = Qmp::connect(&bench.control());
    let waits = std::thread::spawn(move || waiting.execute("crash-arm", &json!({ "at": at, "wait": "5min" })));
    while bench.peer.execute("query-crash", &json!({})).expect("armed")["armed"]["completed"]["opcode"] != 1 {
        std::thread::yield_now();
    }
    let written = (0..8).take_while(|_| host.write(1, 3, &filled(9), false) == Ok(Status::SUCCESS)).count();
    assert_eq!(written, 3);
    let answer = waits.join().expect("no panic").expect("cut");
    assert_eq!((&answer["tripped"], &answer["report"]["step"]), (&json!(true), &json!("completion-written")));

    let refused = bench.peer.execute("crash-arm", &json!({ "at": { "any-step": 1 }, "else": "cut" }));
    assert_eq!(refused, Err("else=cut goes with wait only: without, nobody knows when".to_owned()));
}

/// Cuts one behind the other, each with a host that goes on where it was.
#[test]
fn a_drive_goes_on_after_many_power_losses() {
    let mut bench = Bench::start();
    let mut host = bench.host();
    for round in 1..=20_u8 {
        assert_eq!(host.write(1, 3, &filled(round), true), Ok(Status::SUCCESS));
        bench.peer.execute("power-cut", &json!({ "policy": "random", "seed": round, "tear": true })).expect("a cut");
        assert_dead(&mut host);
        bench.peer.execute("power-restore", &json!({})).expect("power");
        set_up_again(&mut host);
        assert_eq!(contents(&mut host, 3), filled(round));
    }
    let log = bench.peer.execute("query-log", &json!({})).expect("logs");
    assert_eq!((&log["smart"]["unsafe-shutdowns"], &log["smart"]["power-cycles"]), (&json!(20), &json!(21)));
}
