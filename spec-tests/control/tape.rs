//! A drive's tape, and what `brownout crash --tape` makes of it: a host commits records, and a check wants that a record that is marked as
//! committed is there. With a flush in between it always is; without it is not, and the pieces that it takes are named.

use std::path::Path;
use std::process::Output;

use guest_harness::Brownout;
use nvme_host::Host;
use nvme_spec::Status;
use serde_json::{Value, json};
use spec_tests::socket_host::SocketPort;

use crate::{Bench, filled};

/// Block 0 says which record was written last; the record is in block 1. Both are full of its number. What was acknowledged is there.
const CHECK: &str = r#"#!/bin/sh
byte() { od -An -tu1 -j "$(($1 * 4096))" -N 1 "$2" | tr -d ' '; }
said=$(byte 0 "$1")
there=$(byte 1 "$1")
[ "$said" -le "$there" ] || { echo "record $said is committed, and $there is there"; exit 3; }
acknowledged=$(tail -n 1 "$2")
[ "${acknowledged:-0}" -le "$said" ] || { echo "$acknowledged was acknowledged, and $said is committed"; exit 4; }
"#;

/// Commits four records, with or without a flush between record and mark, and acknowledges each.
fn commit(bench: &mut Bench, host: &mut Host<SocketPort>, ordered: bool) {
    for record in 1..=4 {
        assert_eq!(host.write(1, 1, &filled(record), false), Ok(Status::SUCCESS));
        if ordered {
            assert_eq!(host.flush(1), Ok(Status::SUCCESS));
        }
        assert_eq!(host.write(1, 0, &filled(record), false), Ok(Status::SUCCESS));
        assert_eq!(host.flush(1), Ok(Status::SUCCESS));
        bench.peer.execute("tape-mark", &json!({ "text": record.to_string() })).expect("a tape");
    }
}

/// The campaign over a tape, with its JSON.
fn campaign(folder: &Path, more: &[&str]) -> (Output, Value) {
    let path = |name: &str| folder.join(name).display().to_string();
    std::fs::write(folder.join("check.sh"), CHECK).expect("written");
    let check = format!("sh {} {{image}} {{acks}}", path("check.sh"));
    let (tape, report, keep) = (path("tape"), path("report.json"), path("kept"));
    let words = ["crash", "--tape", &tape, "--check", &check, "--json", &report, "--keep", &keep];
    let output = Brownout::run(&[&words, more].concat()).expect("it starts");
    let text = std::fs::read_to_string(folder.join("report.json")).unwrap_or_default();
    (output, serde_json::from_str(text.lines().last().unwrap_or("null")).unwrap_or_default())
}

fn taped(ordered: bool) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let tape = folder.path().join("tape").display().to_string();
    let mut bench = Bench::with_arguments("size=16MiB,lba=4096", &["--tape", &tape, "--media", "cache_age=none"]);
    let mut host = bench.host();
    commit(&mut bench, &mut host, ordered);
    drop(host);
    bench.daemon.stop().expect("an orderly end");
    folder
}

#[test]
fn a_host_that_flushes_in_time_keeps_its_promises_in_every_image() {
    let folder = taped(true);
    for at in ["flush", "command"] {
        let (output, report) = campaign(folder.path(), &["--at", at]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!((&report["bad"], &report["ends-early"]), (&json!([]), &Value::Null), "{report}");
        assert!(report["images"].as_u64() >= Some(8), "{report}");
    }
    // The check would notice a drive that does not: a control.
    let (output, report) = campaign(folder.path(), &["--flushes-kept", "100"]);
    assert_eq!(output.status.code(), Some(1), "{report}");
}

#[test]
fn a_flush_that_is_missing_is_found_and_the_pieces_that_matter_are_named() {
    let folder = taped(false);
    let (output, report) = campaign(folder.path(), &["--images", "100"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the check ended with code 3"), "{said}");
    assert!(said.contains("broken where there is piece 1: write of block 0, command "), "{said}");
    assert!(said.contains("and where there is not piece 0: write of block 1, command "), "{said}");
    let kept = folder.path().join("kept").join("place-1");
    assert!(["durable", "image", "acks", "log", "pieces", "report"].iter().all(|name| kept.join(name).exists()));
    let log = std::fs::read_to_string(kept.join("log")).expect("kept");
    assert_eq!(log, "record 1 is committed, and 0 is there\n");

    // And again, by its name.
    let again = report["bad"][0]["again"].as_str().expect("a command").to_owned();
    let shown = again.split(" --show ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a name");
    let (output, _) = campaign(folder.path(), &["--show", shown]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("record 1 is committed, and 0 is there\nthe check ended with code 3"), "{said}");
}

/// The check runs in a group of processes of its own: Ctrl-C in a terminal ends the campaign, and makes no image bad.
#[test]
fn what_a_terminal_sends_does_not_reach_the_check() {
    let folder = taped(true);
    let path = folder.path().join("tape").display().to_string();
    let check = "read -r _ _ _ _ own _ < /proc/$$/stat; read -r _ _ _ _ ours _ < /proc/$PPID/stat; [ $own != $ours ]";
    let output = Brownout::run(&["crash", "--tape", &path, "--check", check, "--jobs", "1"]).expect("it starts");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}

/// What a namespace held before is under every image, and the pieces have their names there too.
#[test]
fn a_namespace_that_held_data_needs_its_base() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let media = format!("store=file:{},cache_age=none", path("disk.img"));
    let before = Bench::with_arguments("size=1MiB,lba=4096", &["--media", &media]);
    let mut host = before.host();
    assert_eq!(host.write(1, 5, &filled(7), true), Ok(Status::SUCCESS));
    drop(host);
    before.daemon.stop().expect("an orderly end");
    let mut bench = Bench::with_arguments("size=1MiB,lba=4096", &["--media", &media, "--tape", &path("tape")]);
    let mut host = bench.host();
    commit(&mut bench, &mut host, false);
    drop(host);
    bench.daemon.stop().expect("an orderly end");

    let (output, _) = campaign(folder.path(), &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("give --base RAW with what it held"), "{said}");
    let mut base = vec![0; 1 << 20];
    base[5 * 4096..6 * 4096].fill(7);
    std::fs::write(folder.path().join("base"), &base).expect("written");
    let (output, _) = campaign(folder.path(), &["--base", &path("base"), "--keep-going", "--images", "100"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("broken where there is piece 1: write of block 0, command "), "{said}");
    let image = std::fs::read(folder.path().join("kept/place-1/image")).expect("kept");
    assert!(image.len() == base.len() && image[5 * 4096..] == base[5 * 4096..]);
    for (option, value) in [("--namespace", "9"), ("--witness", "9"), ("--show", "99:")] {
        let (output, _) = campaign(folder.path(), &["--base", &path("base"), option, value]);
        assert_eq!(output.status.code(), Some(2), "{option}");
    }
}

#[test]
fn what_is_no_tape_or_cannot_be_one_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("tape"), "fio version 2 iolog").expect("written");
    let (output, _) = campaign(folder.path(), &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(1) && said.contains("it is no tape: give a file that --tape has written"),
        "{said}"
    );
    let path = folder.path().join("tape").display().to_string();
    let output = Brownout::run(&["crash", "--tape", &path]).expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    let socket = folder.path().join("socket").display().to_string();
    let output = Brownout::run(&["serve", "--socket", &socket, "--tape", &path]).expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("give a path where there is nothing yet"), "{said}");
    let mut bench = Bench::start();
    let refused = bench.peer.execute("tape-mark", &json!({ "text": "x" }));
    assert_eq!(
        refused,
        Err("there is no tape: `tape-start` begins one, or start the drive with --tape FILE".to_owned())
    );
}

/// A tape that begins and ends while the drive runs needs nothing beside it: what the namespace held comes first on it.
#[test]
fn a_tape_may_begin_and_end_while_the_drive_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().display().to_string();
    let words = ["--trace-folder", &place, "--media", "cache_age=none"];
    let mut bench = Bench::with_arguments("size=1MiB,size_max=2MiB,lba=4096", &words);
    let mut host = bench.host();
    let no_tape = Err("there is no tape: `tape-start` begins one".to_owned());
    assert_eq!(bench.peer.execute("tape-stop", &json!({})), no_tape);
    // Not flushed: a tape begins with nothing volatile.
    assert_eq!(host.write(1, 5, &filled(7), false), Ok(Status::SUCCESS));
    let begun = bench.peer.execute("tape-start", &json!({ "file": "tape" })).expect("a tape");
    assert_eq!(begun["path"], folder.path().join("tape").display().to_string());
    let again = bench.peer.execute("tape-start", &json!({ "file": "other" }));
    assert_eq!(again, Err("there is a tape already: `tape-stop` ends it".to_owned()));
    commit(&mut bench, &mut host, false);
    assert_eq!(bench.peer.execute("tape-stop", &json!({})), Ok(json!({})));
    assert_eq!(bench.peer.execute("tape-stop", &json!({})), no_tape);
    assert_eq!(host.write(1, 5, &filled(8), true), Ok(Status::SUCCESS));

    let (output, report) = campaign(folder.path(), &["--keep-going", "--images", "100"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(report["ends-early"], Value::Null, "{report}");
    assert!(said.contains("broken where there is piece 1: write of block 0, command "), "{said}");
    let image = std::fs::read(folder.path().join("kept/place-1/image")).expect("kept");
    assert!(image.len() == 1 << 20 && image[5 * 4096..6 * 4096].iter().all(|byte| *byte == 7));

    // A name is taken once; and a tape cannot be followed beyond a resize.
    assert!(bench.peer.execute("tape-start", &json!({ "file": "tape" })).is_err_and(|why| why.contains("exists")));
    let begun = bench.peer.execute("tape-start", &json!({ "file": "second" })).expect("a tape");
    bench.peer.execute("namespace-resize", &json!({ "nsid": 1, "size": 2 << 20 })).expect("larger");
    let ended = bench.peer.event("TAPE_ENDED");
    assert_eq!(ended, json!({ "file": begun["path"], "reason": "a namespace got another size" }));
    assert!(bench.peer.execute("tape-mark", &json!({ "text": "x" })).is_err());
    bench.peer.execute("tape-start", &json!({ "file": "third" })).expect("there is room again");
    drop(host);
    bench.daemon.stop().expect("an orderly end");
    assert!(std::fs::metadata(folder.path().join("third")).expect("a tape").len() > 64, "with what the namespace held");
}

/// Where nothing comes of the drive, nothing is left of its tape.
#[test]
fn a_drive_that_does_not_start_leaves_no_tape() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::create_dir(folder.path().join("taken")).expect("a folder");
    for (socket, control) in [("socket", "taken"), ("nowhere/socket", "control")] {
        let words = ["serve", "--socket", &path(socket), "--control", &path(control), "--tape", &path("tape")];
        let output = Brownout::run(&words).expect("it starts");
        assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(!folder.path().join("tape").exists(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_check_in_a_guest_needs_its_script_before_anything_boots() {
    let folder = taped(true);
    let tape = folder.path().join("tape").display().to_string();
    let run = |more: &[&str]| {
        let output = Brownout::run(&[&["crash", "--tape", &tape], more].concat()).expect("it starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = run(&["--check-guest", "/nowhere/check.sh"]);
    assert!(code == Some(1) && said.contains("cannot read the script /nowhere/check.sh: --check-guest"), "{said}");
    let (code, said) = run(&[]);
    assert!(code == Some(2) && said.contains("or --check-guest SCRIPT: what judges an image"), "{said}");
    assert_eq!(run(&["--check-guest", "/dev/null", "--check", "true"]).0, Some(2));
    assert_eq!(run(&["--check", "true", "--guest-timeout", "5s"]).0, Some(2));
}

#[test]
fn a_load_and_its_check_go_together_and_a_kept_image_is_judged_without_a_tape() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let run = |words: &[&str]| {
        let output = Brownout::run(&[&["crash"], words].concat()).expect("it starts");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    for lone in [&["--guest", "--check-guest", "/dev/null"][..], &["--guest", "--images", "3"]] {
        let (code, said) = run(lone);
        assert!(code == Some(2) && said.contains("it goes with --load SCRIPT"), "{said}");
    }
    let load = ["--guest", "--load", "/dev/null", "--check-guest", "/dev/null"];
    for (more, remedy) in [
        (&["--kernel", "5.4"][..], "give 6.12, newest, stacks, or the file of a kernel that can be read"),
        (&["--kernel", "/dev/null", "--initrd", "/nowhere/initrd"], "give a file that can be read"),
        (&["--kernel", "/dev/null", "--root", "/nowhere/root"], "give a file that can be read"),
        (&["--kernel", "newest", "--initrd", "/dev/null"], "it goes with --kernel FILE"),
        (&["--images", "3", "--policy", "random"], "leave out --policy"),
        (&["--back", "never"], "[possible values: live, boot, both]"),
    ] {
        let (code, said) = run(&[&load[..], more].concat());
        assert!(code == Some(2) && said.contains(remedy), "{more:?}: {said}");
    }
    let (code, said) = run(&[&load[..], &["--setup", "/nowhere/setup.sh"]].concat());
    assert!(code == Some(1) && said.contains("cannot read the script /nowhere/setup.sh: --setup"), "{said}");
    for wrong in [
        &["--guest", "--load", "/dev/null"][..],
        &["--guest", "--check", "true"],
        &["--in-process", "--check-guest", "/dev/null"],
        &["--tape", "x", "--check-guest", "/dev/null", "--kernel", "5.4"],
        &["--tape", "x", "--check", "true", "--acks", "x"],
    ] {
        assert_eq!(run(wrong).0, Some(2), "{wrong:?}");
    }
    let (code, said) = run(&["--guest", "--load", "/nowhere/load.sh", "--check-guest", "/dev/null"]);
    assert!(code == Some(1) && said.contains("cannot read the script /nowhere/load.sh: --load"), "{said}");

    std::fs::write(folder.path().join("image"), [7; 10_000]).expect("written");
    std::fs::write(folder.path().join("acks"), "did 1\n").expect("written");
    let (image, acks) = (path("image"), path("acks"));
    let judge = |check: &str| run(&["--image", &image, "--acks", &acks, "--check", check]);
    let same = format!("grep -q 'did 1' {{acks}} && head -c 10000 {{image}} | cmp - {image}");
    let (code, said) = judge(&same);
    assert!(code == Some(0) && said.ends_with("good\n"), "{said}");
    let (code, said) = judge("echo broken; exit 3");
    assert!(code == Some(1) && said.ends_with("broken\nthe check ended with code 3\n"), "{said}");
    let (code, said) = run(&["--image", &image]);
    assert!(code == Some(2) && said.contains("--image"), "{said}");
    assert_eq!(run(&["--image", &path("none"), "--check", "true"]).0, Some(1));
}

/// Shards go along the whole tape; each judges its own images, and together they judge what one process does.
#[test]
fn shards_of_a_tape_find_together_what_one_process_finds() {
    let folder = taped(false);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let bound = ["--keep-going", "--budget", "40"];
    let (alone, found) = campaign(folder.path(), &bound);
    assert_eq!(alone.status.code(), Some(1));
    let mut reports = Vec::new();
    for shard in 1..=3 {
        campaign(folder.path(), &[&bound[..], &["--shard", &format!("{shard}/3")]].concat());
        reports.push(path(&format!("{shard}.json")));
        std::fs::rename(path("report.json"), &reports[shard - 1]).expect("a report");
    }
    let merge = |reports: &[String], more: &[&str]| {
        let words = ["crash", "--merge"].into_iter().chain(reports.iter().map(String::as_str));
        let output = Brownout::run(&words.chain(more.iter().copied()).collect::<Vec<_>>()).expect("it starts");
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (json, junit, html) = (path("all.json"), path("all.xml"), path("all.html"));
    let (code, said) = merge(&reports, &["--json", &json, "--junit", &junit, "--html", &html]);
    assert_eq!(code, Some(1), "{said}");
    let text = std::fs::read_to_string(json).expect("a report");
    let merged: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    for counted in ["places", "exhaustive", "images", "equal", "by-place"] {
        assert_eq!(merged[counted], found[counted], "{counted}");
    }
    let bad = |report: &Value| {
        report["bad"].as_array().expect("a list").iter().map(|bad| bad["place"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(bad(&merged), bad(&found));
    assert!(std::fs::read_to_string(html).expect("a page").contains("what was done is images"));
    let told = std::fs::read_to_string(junit).expect("a report");
    assert_eq!(told.matches("<failure").count(), bad(&found).len());
    // Without one of them it is known how to judge its images, by the same folder and check.
    let (code, said) = merge(&reports[1..], &[]);
    let again = format!("--keep {} --shard 1/3 --json {}", path("kept"), reports[0]);
    assert!(code == Some(1) && said.contains("shard 1 is missing") && said.contains(&again), "{said}");
    // A tape that has changed since is another campaign.
    let changed = std::fs::read_to_string(&reports[0]).expect("a report").replace("\"tape\":\"", "\"tape\":\"0");
    std::fs::write(&reports[0], changed).expect("written");
    let (code, said) = merge(&reports, &[]);
    assert!(code == Some(2) && said.contains("the tape's fingerprint is"), "{said}");
}
