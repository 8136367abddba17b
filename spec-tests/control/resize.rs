//! `namespace-resize`: a namespace gets another size while a host uses it, and the host is told.

use nvme_host::admin::LogArguments;
use nvme_spec::Status;
use nvme_spec::feature::{EVENT_NAMESPACE_ATTRIBUTE, FeatureId};
use nvme_spec::log::LogId;
use serde_json::{Value, json};
use spec_tests::qmp::Qmp;

use crate::{BLOCK, Bench, filled};

fn size_of(peer: &mut Qmp) -> (u64, u64) {
    let namespaces = peer.execute("query-namespaces", &json!({})).expect("namespaces");
    let number = |key: &str| namespaces[0][key].as_u64().expect("a number");
    (number("size-blocks"), number("size-blocks-max"))
}

fn resize(peer: &mut Qmp, size: &Value) -> Result<Value, String> {
    peer.execute("namespace-resize", &json!({ "nsid": 1, "size": size }))
}

/// In whatever words the size is given; the host's next command knows it, and the notice comes.
#[test]
fn a_host_sees_the_size_that_its_namespace_was_given() {
    let mut bench = Bench::with("size=16MiB,lba=4096,size_max=64MiB");
    let mut host = bench.host();
    host.set_feature(FeatureId::ASYNCHRONOUS_EVENTS, EVENT_NAMESPACE_ATTRIBUTE).expect("set");
    let request = host.async_event_request().expect("submitted");
    assert_eq!(host.write(1, 4095, &filled(1), false), Ok(Status::SUCCESS));
    let grown = resize(&mut bench.peer, &json!("64MiB")).expect("resized");
    assert_eq!(grown, json!({ "size-blocks": 16384, "size-bytes": 64 << 20 }));
    assert_eq!(host.wait(0, request).expect("an event").dw0.get(), 0x0004_0002);
    assert_eq!(bench.peer.event("AER"), json!({ "controller": 0, "kind": 2, "information": 0, "log": 4 }));
    let list = host.get_log(LogId::CHANGED_NAMESPACES, 4096, LogArguments::default()).expect("supported");
    assert_eq!(list[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(host.identify_namespace(1).expect("active").nsze.get(), 16384);
    assert_eq!(host.write(1, 16383, &filled(2), false), Ok(Status::SUCCESS));
    assert_eq!(size_of(&mut bench.peer), (16384, 16384));
    let shrunk = resize(&mut bench.peer, &json!(4096 * 100)).expect("resized");
    assert_eq!(shrunk["size-blocks"], 100);
    assert_eq!(host.read(1, 100, 1).expect("answered").0.kind(), Status::LBA_OUT_OF_RANGE.kind());
    assert_eq!(resize(&mut bench.peer, &json!("16M")).expect("resized")["size-blocks"], 4096);
    let (status, bytes) = host.read(1, 4095, 1).expect("answered");
    assert_eq!((status, bytes), (Status::SUCCESS, vec![0; BLOCK]), "dropped is dropped");
}

#[test]
fn what_cannot_be_is_refused_with_what_would_do() {
    let mut bench = Bench::with("size=16MiB,lba=4096,size_max=64MiB");
    let refused = |peer: &mut Qmp, size: Value| resize(peer, &size).expect_err("impossible");
    let too_large = refused(&mut bench.peer, json!("65MiB"));
    assert!(too_large.contains("size=65MiB: namespace 1 can have at most 64MiB"), "{too_large}");
    assert!(refused(&mut bench.peer, json!(0)).contains("at least a block"));
    let crooked = refused(&mut bench.peer, json!(5000));
    assert!(crooked.contains("size=5000: give a multiple of the block size, 4KiB"), "{crooked}");
    assert!(refused(&mut bench.peer, json!("1.5GiB")).contains("size=1.5GiB: give a size such as 512MiB"));
    assert!(refused(&mut bench.peer, json!(-1)).contains("give a number of bytes, or a size such as"));
    let nobody = bench.peer.execute("namespace-resize", &json!({ "nsid": 7, "size": 4096 })).expect_err("none");
    assert!(nobody.contains("there is no namespace 7"), "{nobody}");
    bench.peer.execute("power-cut", &json!({})).expect("a cut");
    assert!(refused(&mut bench.peer, json!("32MiB")).contains("power is off"));
    bench.peer.execute("power-restore", &json!({})).expect("power");
    assert_eq!(size_of(&mut bench.peer), (4096, 16384), "nothing was done");
}

/// A power cut at a step of the resize: whoever ordered it is answered, and afterwards the size is one of both.
#[test]
fn power_that_goes_in_a_resize_is_its_answer() {
    for (step, size) in [("request-taken", 4096), ("flush-synced", 8192)] {
        let mut bench = Bench::with("size=16MiB,lba=4096,size_max=64MiB");
        let arm = json!({ "at": { "step": step }, "policy": "none-survive" });
        bench.peer.execute("crash-arm", &arm).expect("armed");
        let failed = resize(&mut bench.peer, &json!("32MiB")).expect_err("power went");
        assert!(failed.contains("power is off"), "{failed}");
        bench.peer.execute("power-restore", &json!({})).expect("power");
        assert_eq!(size_of(&mut bench.peer), (size, 16384), "{step}");
        resize(&mut bench.peer, &json!("64MiB")).expect("resized");
    }
}

/// By the command line, as a user does.
#[test]
fn a_word_with_a_unit_reaches_the_command() {
    let mut bench = Bench::with("size=16MiB,lba=4096,size_max=64MiB");
    let control = bench.control();
    let words = ["ctl", control.to_str().expect("a path of ours"), "namespace-resize", "nsid=1", "size=48MiB"];
    let output = guest_harness::Brownout::run(&words).expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("12288"), "{said} {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(size_of(&mut bench.peer), (12288, 16384));
}

/// What was answered is on the disk: a killed daemon's file has the new size, knows how far it may grow, and contradicts the old words.
#[test]
fn a_size_that_was_answered_outlives_a_killed_daemon() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("a path of ours").to_owned();
    let (control, media) = (path("control.sock"), format!("store=file:{}", path("disk.img")));
    let start = |namespace: Option<&str>| {
        let builder = guest_harness::Brownout::builder().argument("--media").argument(&media);
        let builder = builder.argument("--control").argument(&control);
        let builder = namespace.into_iter().fold(builder, guest_harness::BrownoutBuilder::namespace);
        let daemon = builder.start().expect("a daemon");
        (daemon, Qmp::connect(std::path::Path::new(&control)))
    };
    let (daemon, mut peer) = start(Some("size=16MiB,lba=4096,size_max=64MiB"));
    for (size, blocks) in [("48MiB", 12288), ("8MiB", 2048), ("40MiB", 10240)] {
        assert_eq!(resize(&mut peer, &json!(size)).expect("resized")["size-blocks"], blocks);
    }
    daemon.kill().expect("killed");
    let (daemon, mut peer) = start(None);
    assert_eq!(size_of(&mut peer), (10240, 16384));
    assert!(daemon.stop().expect("stopped").success());
    let run = |words: &[&str]| guest_harness::Brownout::run(words).expect("it runs");
    let info = run(&["media", "info", &path("disk.img")]);
    let said = String::from_utf8_lossy(&info.stdout).into_owned();
    assert!(said.contains("namespace 1: 40MiB of at most 64MiB, in blocks of 4KiB"), "{said}");
    let socket = path("device.sock");
    for (words, there) in [("size=16MiB", "size=40MiB"), ("size_max=128MiB", "size_max=64MiB")] {
        let refused = run(&["serve", "--socket", &socket, "--media", &media, "--namespace", words]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && said.contains(there) && said.contains(words), "{said}");
    }
}
