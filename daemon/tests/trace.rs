//! `brownout trace` from outside: what it prints, what it writes, what it refuses; and a replay against a served drive.

mod served;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use served::{BROWNOUT, Daemon};

fn example(name: &str) -> String {
    format!("{}/../traces/examples-data/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn trace(arguments: &[&str]) -> Output {
    Command::new(BROWNOUT).arg("trace").args(arguments).output().expect("the program starts")
}

fn printed(arguments: &[&str]) -> String {
    let output = trace(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&printed(arguments)).expect("JSON")
}

/// Exit code, and what is said of it.
fn refusal(arguments: &[&str]) -> (Option<i32>, String) {
    let output = trace(arguments);
    (output.status.code(), String::from_utf8(output.stderr).expect("text"))
}

fn path_of(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().expect("a plain path").to_owned()
}

#[test]
fn analyse_says_what_the_example_of_a_format_costs() {
    let table = printed(&["analyse", &example("fio-v3.txt"), "--iu", "16KiB"]);
    assert!(table.starts_with("5 commands in 0.001291 s, 1 namespaces\n"), "{table}");
    assert!(table.contains("    16KiB              1.6           1.6            1.6  1.600 to "), "{table}");
    let of =
        json(&["analyse", &example("msr.csv"), "--format", "msr", "--json", "--iu", "4KiB,16KiB", "--spare", "28%"]);
    assert_eq!((&of["commands"], &of["kinds"]["write"]["bytes"]), (&4.into(), &24576.into()));
    assert_eq!(of["write-amplification"][1]["commands"]["exact"], serde_json::json!([2, 1]));
    let predicted = of["write-amplification"][1]["predicted"][1].as_f64().expect("a number");
    assert!((predicted - 2.0 * 2.481).abs() < 0.01, "{predicted}");
}

#[test]
fn a_trace_is_drawn_in_three_ways() {
    let folder = tempfile::tempdir().expect("a folder");
    for figure in ["waf", "depth", "sizes"] {
        let file = path_of(folder.path(), &format!("{figure}.svg"));
        printed(&["analyse", &example("blkparse.txt"), "--plot", &file, "--figure", figure]);
        assert!(fs::read(&file).expect("drawn").starts_with(b"<svg"), "{figure}");
    }
    let file = path_of(folder.path(), "no.svg");
    let (code, said) = refusal(&["analyse", &example("alibaba.csv"), "--plot", &file, "--figure", "depth"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("no command says when it ended: give another --figure"), "{said}");
}

#[test]
fn a_conversion_and_back_says_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let [ours, text] = ["a.trace", "a.txt"].map(|name| path_of(folder.path(), name));
    let said = printed(&["convert", &example("blkparse.txt"), &ours]);
    assert_eq!(said, format!("6 commands in {ours}\n"));
    printed(&["convert", &ours, &text, "--to", "blkparse"]);
    let of = |file: &str| json(&["analyse", file, "--json"])["kinds"].clone();
    assert_eq!(of(&ours), of(&example("blkparse.txt")));
    assert_eq!(of(&text), of(&ours));
    for (to, beginning) in
        [("chrome", &b"{\"displayTimeUnit\""[..]), ("pcap", b"\x4d\x3c\xb2\xa1"), ("fio", b"fio version 3")]
    {
        let out = path_of(folder.path(), to);
        printed(&["convert", &ours, &out, "--to", to]);
        assert!(fs::read(&out).expect("written").starts_with(beginning), "{to}");
    }
    let (code, said) = refusal(&["convert", &example("spc.csv"), &ours]);
    assert_eq!(code, Some(1));
    assert!(said.contains("cannot write") && said.contains("exists"), "{said}");
}

#[test]
fn what_cannot_be_read_is_said_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let (wrong, out) = (path_of(folder.path(), "wrong.csv"), path_of(folder.path(), "out.trace"));
    fs::write(&wrong, "419,W,0,4096,1\n419,W,100,4096,2\n").expect("a file");
    let expected = format!("brownout: {wrong}: line 2: offset 100 is not a multiple of 512 bytes\n");
    assert_eq!(refusal(&["convert", &wrong, &out]), (Some(1), expected.clone()));
    assert!(!Path::new(&out).exists());
    assert_eq!(refusal(&["replay", &wrong, "--record", &out]), (Some(1), expected.clone()));
    assert!(!Path::new(&out).exists());
    let output = trace(&["analyse", &wrong]);
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()), (Some(1), expected));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("1 commands"), "what came before is told");

    let empty = path_of(folder.path(), "empty");
    fs::write(&empty, "").expect("a file");
    let (code, said) = refusal(&["analyse", &empty]);
    assert_eq!(code, Some(1));
    assert!(said.contains("it is empty: name its format with --format, one of recording, fio,"), "{said}");
    for (arguments, word) in [
        (&["analyse", "x", "--format", "pcap"][..], "blkparse"),
        (&["analyse", "x", "--spare", "0%"], "give more than 0%"),
        (&["analyse", "x", "--iu", "3000"], "give a power of two"),
        (&["replay", "x", "--speed", "warp"], "such as 2x"),
        (&["replay", "x", "--socket", "y", "--media", "iu=4KiB"], "cannot be used with"),
    ] {
        let (code, said) = refusal(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
    }
}

#[test]
fn a_replay_makes_a_drive_that_the_trace_fits_on_and_can_be_recorded() {
    let folder = tempfile::tempdir().expect("a folder");
    let record = path_of(folder.path(), "again.trace");
    let file = example("blkparse.txt");
    let outcome = json(&["replay", &file, "--json", "--media", "iu=16KiB,timing=tlc", "--record", &record]);
    assert_eq!((&outcome["commands"], &outcome["failed"]), (&6.into(), &serde_json::json!({})));
    assert_eq!(outcome["measured"]["bytes"]["host"], 20992);
    // Two units of 16 KiB for the 20 KiB, and one for the 512 bytes.
    assert_eq!(outcome["measured"]["bytes"]["fill"], 3 * 16384 - 20992);
    let again = json(&["analyse", &record, "--json", "--iu", "16KiB"]);
    let first = json(&["analyse", &file, "--json", "--iu", "16KiB"]);
    assert_eq!(again["write-amplification"], first["write-amplification"]);
    assert_eq!(again["measured"], outcome["measured"]);
    assert_eq!(again["kinds"]["write"]["fua"], 1);
}

#[test]
fn a_trace_that_is_larger_than_the_drive_is_refused_or_goes_round() {
    let arguments = ["replay", &example("msr.csv"), "--namespace", "size=16MiB", "--namespace", "size=16MiB"];
    let (code, said) = refusal(&arguments);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("32768 bytes at 383496192 of namespace 2, which has 16777216 bytes") && said.contains("--wrap"),
        "{said}"
    );
    let (code, said) = refusal(&arguments[..4]);
    assert_eq!(code, Some(1));
    assert!(said.contains("namespace 2, which the drive does not have: give a --namespace for each"), "{said}");
    let outcome = json(&[&arguments[..], &["--wrap", "--json", "--speed", "asap"]].concat());
    assert_eq!((&outcome["commands"], &outcome["failed"]), (&4.into(), &serde_json::json!({})));
}

#[test]
fn a_media_file_keeps_what_a_replay_wrote_and_time_stands_still_while_its_disk_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let media = format!("store=file:{},iu=16KiB", path_of(folder.path(), "disk.img"));
    let replay =
        |more: &[&str]| json(&[&["replay", &example("fio-v3.txt"), "--json", "--media", &media], more].concat());
    let made = replay(&["--namespace", "size=64MiB,lba=4KiB"]);
    assert_eq!((&made["commands"], &made["failed"]), (&5.into(), &serde_json::json!({})));
    assert_eq!(made["measured"]["bytes"]["host"], 20480);
    for outcome in [made, replay(&[])] {
        let duration = outcome["duration-ns"].as_u64().expect("a number");
        assert!((1_291_000..100_000_000).contains(&duration), "{outcome:#}");
    }
}

#[test]
fn a_served_drive_takes_a_replay_over_its_socket() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = path_of(folder.path(), "disk.sock");
    let namespaces = ["--namespace", "size=16MiB,lba=512", "--namespace", "size=16MiB,lba=512"];
    let words = [&["--socket", &socket, "--media", "iu=16KiB"], &namespaces[..]].concat();
    let mut daemon = Daemon::start(folder.path(), &words);
    let outcome = trace(&["replay", &example("blkparse.txt"), "--socket", &socket, "--json"]);
    daemon.end();
    assert_eq!(outcome.status.code(), Some(0), "{}", String::from_utf8_lossy(&outcome.stderr));
    let outcome: Value = serde_json::from_slice(&outcome.stdout).expect("JSON");
    assert_eq!((&outcome["commands"], &outcome["written-bytes"]), (&6.into(), &20992.into()));
    let programmed = outcome["physical-bytes"].as_u64().expect("the drive's log says it");
    assert!(programmed >= 3 * 16384, "{programmed}");

    let (code, said) = refusal(&["replay", &example("blkparse.txt"), "--socket", &path_of(folder.path(), "none.sock")]);
    assert_eq!(code, Some(1));
    assert!(said.contains("none.sock"), "{said}");
}

/// Its registers read as all ones then, and nothing that it was told will be answered.
#[test]
fn a_replay_ends_as_its_drive_loses_power() {
    let folder = tempfile::tempdir().expect("a folder");
    let words = ["--socket", "nvme.sock", "--control", "control.sock", "--namespace", "size=16MiB,lba=512"];
    let namespace = ["--namespace", "size=16MiB,lba=512"];
    let mut daemon = Daemon::start(folder.path(), &[&words[..], &namespace].concat());
    let mut armed = Command::new(BROWNOUT);
    armed.arg("ctl").arg(folder.path().join("control.sock")).args(["crash-arm", "at.match.opcode=write", "at.nth=2"]);
    assert!(armed.output().expect("the program starts").status.success());
    let socket = path_of(folder.path(), "nvme.sock");
    let (code, said) = refusal(&["replay", &example("blkparse.txt"), "--socket", &socket, "--speed", "asap"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("the drive has no power"), "{said}");
    let (code, said) = refusal(&["replay", &example("blkparse.txt"), "--socket", &socket]);
    assert!(code == Some(1) && said.contains("nvme.sock"), "there still is none: {said}");
    daemon.end();
}
