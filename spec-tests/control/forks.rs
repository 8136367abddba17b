//! Forks of a drive in memory over the control socket: every image of one power loss, and going back to what was kept.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use nvme_host::Host;
use nvme_spec::Status;
use serde_json::{Value, json};
use spec_tests::socket_host::SocketPort;

use crate::{BLOCK, Bench, filled};

/// A drive in memory that keeps what it accepted in its cache, and makes files in its bench's folder.
fn bench(folder: &Path) -> Bench {
    let folder = folder.to_str().expect("a path of ours");
    Bench::with_arguments("size=16MiB,lba=4096", &["--media", "cache_age=none", "--trace-folder", folder])
}

fn write(host: &mut Host<SocketPort>, lba: u64, byte: u8) {
    assert_eq!(host.write(1, lba, &filled(byte), false), Ok(Status::SUCCESS));
}

fn block(host: &mut Host<SocketPort>, lba: u64) -> u8 {
    let (status, bytes) = host.read(1, lba, 1).expect("answered");
    assert_eq!(status, Status::SUCCESS);
    assert!(bytes.iter().all(|byte| *byte == bytes[0]));
    bytes[0]
}

/// The host sets the controller up again, as its driver would after a reset.
fn set_up_again(host: &mut Host<SocketPort>) {
    host.start().expect("enabled");
    host.create_queue_pair(1, 64, None).expect("a queue pair");
}

fn numbers(list: &Value) -> Vec<u64> {
    list.as_array().expect("a list").iter().map(|number| number.as_u64().expect("a number")).collect()
}

#[test]
fn all_images_of_a_loss_are_files_and_each_is_shown_to_the_host() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bench = bench(folder.path());
    let mut host = bench.host();
    write(&mut host, 0, 1);
    assert_eq!(host.flush(1), Ok(Status::SUCCESS));
    (0..3).for_each(|lba| write(&mut host, lba, 2));
    let refused = bench.peer.execute("crash-images", &json!({})).expect_err("power is on");
    assert!(refused.to_string().contains("power is on"), "{refused}");
    assert!(bench.peer.execute("crash-image", &json!({ "number": 0 })).is_err(), "of which loss?");
    bench.peer.execute("power-cut", &json!({})).expect("a report");
    let loss = bench.peer.execute("crash-images", &json!({ "name": "loss" })).expect("images");
    assert_eq!((&loss["states"], &loss["exhaustive"]), (&json!(8), &json!(true)));
    let changes = loss["not-durable"].as_array().expect("a list");
    assert_eq!(changes.len(), 3);
    assert!(changes.iter().all(|change| change["completed"] == true && change["fate"] == "lost"), "{loss}");
    let files = loss["files"].as_array().expect("a list");
    assert_eq!(files.len(), 8);
    for (number, file) in files.iter().enumerate() {
        let path = file["path"].as_str().expect("a path");
        let bytes = fs::read(path).expect("an image");
        assert_eq!(bytes.len(), 16 << 20);
        assert!(fs::metadata(path).expect("an image").blocks() * 512 < 1 << 20, "it is sparse");
        let survived = numbers(&file["survived"]);
        for lba in 0..3 {
            let expected = if survived.contains(&lba) { 2 } else { u8::from(lba == 0) };
            let at = usize::try_from(lba).expect("small") * BLOCK;
            assert!(bytes[at..at + BLOCK].iter().all(|byte| *byte == expected), "image {number}, block {lba}");
        }
        let shown = bench.peer.execute("crash-image", &json!({ "number": number })).expect("an image");
        assert_eq!(numbers(&shown["survived"]), survived);
        set_up_again(&mut host);
        for lba in 0..3 {
            let expected = if survived.contains(&lba) { 2 } else { u8::from(lba == 0) };
            assert_eq!(block(&mut host, lba), expected, "image {number}, block {lba}");
            write(&mut host, lba, 9);
        }
        assert_eq!(host.flush(1), Ok(Status::SUCCESS));
    }
    let report = fs::read_to_string(loss["report"].as_str().expect("a path")).expect("a report");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!((&report["files"], &report["not-durable"]), (&loss["files"], &loss["not-durable"]));
    let refused = bench.peer.execute("crash-image", &json!({ "number": 8 })).expect_err("there is none");
    assert!(refused.to_string().contains("has 8, from 0"), "{refused}");
    write(&mut host, 0, 7);
    assert_eq!(block(&mut host, 0), 7, "a refusal changes nothing");
    drop(host);
    bench.daemon.stop().expect("an orderly end");
}

/// As the documentation has it: each image by NBD, copy-on-write.
#[test]
fn an_image_is_handed_on_by_nbd_and_stays_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bench = bench(folder.path());
    let mut host = bench.host();
    write(&mut host, 0, 0x11);
    bench.peer.execute("power-cut", &json!({})).expect("a report");
    bench.peer.execute("crash-images", &json!({ "name": "loss" })).expect("images");
    drop(host);
    bench.daemon.stop().expect("an orderly end");
    if Command::new("qemu-nbd").arg("--version").output().is_err() {
        println!("without qemu-nbd there is nothing to look at");
        return;
    }
    for (number, byte) in [(0, "0"), (1, "0x11")] {
        let image = folder.path().join(format!("loss-{number:05}.raw"));
        let before = fs::read(&image).expect("an image");
        let socket = folder.path().join(format!("nbd-{number}"));
        // It is there when the command comes back, and ends with its first client.
        let mut nbd = Command::new("qemu-nbd");
        nbd.args(["--snapshot", "--fork", "--format=raw", "--socket"]).arg(&socket).arg(&image);
        let nbd = nbd.status().expect("it starts");
        assert!(nbd.success(), "qemu-nbd: {nbd}");
        let address = format!("nbd+unix:///?socket={}", socket.display());
        let read = format!("read -P {byte} 0 4096");
        let words = ["-f", "raw", "-c", &read, "-c", "write -P 7 0 4096", "-c", "read -P 7 0 4096", &address];
        let output = Command::new("qemu-io").args(words).output().expect("it comes with qemu-nbd");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && !said.contains("failed"), "{said}");
        assert!(fs::read(&image).expect("an image") == before, "image {number} stays as it is");
    }
}

#[test]
fn names_that_cannot_be_are_refused_and_leave_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bench = bench(folder.path());
    bench.peer.execute("power-cut", &json!({})).expect("a report");
    for (arguments, why) in [
        (json!({ "name": "../x" }), "no name of a file"),
        (json!({ "name": "x", "images": 5000 }), "at most 4096"),
        (json!({ "nsid": 2 }), "there is no namespace 2"),
    ] {
        let refused = bench.peer.execute("crash-images", &arguments).expect_err("impossible");
        assert!(refused.to_string().contains(why), "{refused}");
    }
    // The second of its files is there.
    fs::write(folder.path().join("y.json"), "somebody's").expect("written");
    bench.peer.execute("crash-images", &json!({ "name": "y" })).expect_err("it exists");
    assert_eq!(fs::read_to_string(folder.path().join("y.json")).expect("a file"), "somebody's");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    bench.daemon.stop().expect("an orderly end");
}

#[test]
fn each_round_begins_from_what_was_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bench = bench(folder.path());
    let mut host = bench.host();
    assert!(bench.peer.execute("media-restore", &json!({})).is_err(), "nothing was kept");
    (0..100).for_each(|lba| write(&mut host, lba, 1));
    bench.peer.execute("media-fork", &json!({})).expect("a fork");
    // The host goes on.
    for round in 2..5 {
        (0..50).for_each(|lba| write(&mut host, lba, round));
        let file = format!("round-{round}");
        let saved = bench.peer.execute("media-save", &json!({ "file": file })).expect("saved");
        assert_eq!((&saved["bytes"], &saved["data"]), (&json!(16 << 20), &json!(100 * BLOCK)));
        let bytes = fs::read(folder.path().join(&file)).expect("a file");
        assert_eq!((bytes[0], bytes[99 * BLOCK], bytes.len()), (round, 1, 16 << 20));
        bench.peer.execute("media-save", &json!({ "file": file })).expect_err("it exists");
        bench.peer.execute("media-restore", &json!({})).expect("power");
        set_up_again(&mut host);
        assert_eq!((block(&mut host, 0), block(&mut host, 99)), (1, 1));
    }
    bench.peer.execute("power-cut", &json!({})).expect("a report");
    assert!(bench.peer.execute("media-save", &json!({ "file": "x" })).is_err(), "power is off");
    bench.peer.execute("media-restore", &json!({})).expect("power");
    set_up_again(&mut host);
    assert_eq!(block(&mut host, 0), 1);
    drop(host);
    bench.daemon.stop().expect("an orderly end");
}

#[test]
fn a_drive_in_a_file_has_no_forks_and_says_what_would_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("size=16MiB,lba=4096,store=file:{}", folder.path().join("media").display());
    let mut bench = Bench::with(&store);
    for (command, arguments) in [
        ("media-fork", json!({})),
        ("media-restore", json!({})),
        ("crash-images", json!({})),
        ("crash-image", json!({ "number": 0 })),
    ] {
        let refused = bench.peer.execute(command, &arguments).expect_err("a file").to_string();
        assert!(refused.contains("is in a file") && refused.contains("start one in memory"), "{refused}");
    }
    bench.daemon.stop().expect("an orderly end");
}
