//! Traces of a served drive: on the command line and by orders, confined as a drive is; and what becomes of a disk that is full.

mod served;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use served::{BROWNOUT, Daemon};

/// Writes of 64 KiB and 4 KiB, a deallocation, and a read.
const WORK: &str = "fio version 3 iolog\n0 d add\n0 d open\n0 d write 0 65536\n1 d write 1048576 4096\n2 d write 4096 4096\n\
                    3 d trim 65536 8192\n4 d read 4096 4096\n5 d close\n";

/// A drive, killed when dropped.
struct Served {
    daemon: Daemon,
    // Gone last.
    folder: TempDir,
}

impl Served {
    fn start(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("traces")).expect("a folder");
        let words = ["--socket", "nvme.sock", "--control", "control.sock", "--trace-folder", "traces"];
        let drive = ["--namespace", "size=16MiB,lba=4KiB", "--media", "iu=16KiB"];
        let daemon = Daemon::start(folder.path(), &[&words, &drive[..], more].concat());
        Self { daemon, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(BROWNOUT).args(arguments).current_dir(self.folder.path()).output().expect("the program starts")
    }

    /// What a command of this program prints that goes well.
    fn printed(&self, arguments: &[&str]) -> Value {
        let Output { status, stdout, stderr } = self.run(arguments);
        assert!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
        serde_json::from_slice(&stdout).expect("JSON")
    }

    fn ctl(&self, arguments: &[&str]) -> Value {
        self.printed(&[&["ctl", "control.sock"], arguments].concat())
    }

    /// Why a command was not carried out.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(&[&["ctl", "control.sock"], arguments].concat());
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).expect("text")
    }

    /// Gives the drive its work.
    fn work(&self) {
        fs::write(self.path("work.log"), WORK).expect("a file");
        let outcome =
            self.printed(&["trace", "replay", "work.log", "--socket", "nvme.sock", "--speed", "asap", "--json"]);
        assert_eq!((&outcome["commands"], &outcome["failed"]), (&json!(5), &json!({})), "{outcome}");
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a trace")
    }

    /// Orderly, with what it said to people.
    fn end(&mut self) -> String {
        self.daemon.end()
    }
}

fn count(text: &str, start: &str) -> usize {
    text.lines().filter(|line| line.starts_with(start)).count()
}

#[test]
fn every_form_is_written_from_the_command_line() {
    let mut served = Served::start(&[
        "--trace",
        "pci_nvme*,file=all.log",
        "--trace",
        "-pci_nvme_mmio*,file=all.log,timestamp=on",
        "--trace",
        "pci_nvme_read",
        "--trace",
        "pci_nvme*,format=simple,file=all.bin",
        "--trace",
        "format=chrome,file=all.json",
        "--trace",
        "format=pcap,file=all.pcap",
        "--trace",
        "format=recording,file=all.trace",
    ]);
    served.work();
    let errors = served.end();
    assert_eq!(count(&errors, "pci_nvme_read cid "), 1, "{errors}");
    assert!(!errors.contains("pci_nvme_write"), "{errors}");

    let log = served.text("all.log");
    let lines: Vec<(&str, &str)> = log.lines().map(|line| line.split_once(' ').expect("a time")).collect();
    assert!(lines.iter().all(|(time, _)| time.len() == 27 && time.ends_with('Z')), "{log}");
    let of = |name: &str| lines.iter().filter(|(_, line)| line.starts_with(name)).count();
    assert_eq!([of("pci_nvme_write "), of("pci_nvme_read "), of("pci_nvme_dsm ")], [3, 1, 1], "{log}");
    assert_eq!((of("pci_nvme_mmio"), of("pci_nvme_dsm_deallocate slba 16 nlb 2")), (0, 1), "{log}");
    let taken = of("pci_nvme_io_cmd ") + of("pci_nvme_admin_cmd ");
    assert!(taken > 10 && of("pci_nvme_enqueue_req_completion ") == taken, "{log}");

    let simple = fs::read(served.path("all.bin")).expect("a trace");
    assert_eq!(simple[..8], [0xff; 8]);
    let chrome: Value = serde_json::from_str(&served.text("all.json")).expect("JSON");
    let events = chrome["traceEvents"].as_array().expect("a list");
    let begun = events.iter().filter(|event| event["ph"] == "b").count();
    assert_eq!((begun, events.iter().filter(|event| event["ph"] == "e").count()), (taken, taken));
    assert!(events.iter().any(|event| event["ph"] == "i" && event["name"] == "enabled"));
    let work = |name: &str, what: &str| {
        let slices = events.iter().filter(|event| event["ph"] == "X" && event["name"] == name);
        slices.map(|slice| slice["args"][what].as_u64().expect("a number")).sum::<u64>()
    };
    assert_eq!(work("program", "host bytes"), 65536 + 2 * 4096, "what the drive programs for the host has its slices");
    // A unit of 16 KiB that holds 4 KiB is filled up with what it held, or with nothing.
    assert!(work("program", "fill bytes") + work("program", "padding bytes") >= 12288);
    let volatile = |event: &&Value| event["ph"] == "C" && event["name"] == "volatile write cache";
    let bytes: Vec<u64> = events.iter().filter(volatile).filter_map(|event| event["args"]["bytes"].as_u64()).collect();
    assert!(bytes.iter().any(|bytes| *bytes > 0) && bytes.last() == Some(&0), "{bytes:?}");
    assert_eq!(fs::read(served.path("all.pcap")).expect("a trace")[..4], [0x4d, 0x3c, 0xb2, 0xa1]);

    let analysis = served.printed(&["trace", "analyse", "all.trace", "--json", "--iu", "16KiB"]);
    assert_eq!(analysis["kinds"]["write"]["bytes"], 65536 + 2 * 4096);
    assert_eq!(analysis["kinds"]["deallocate"]["commands"], 1);
    assert_eq!(analysis["measured"]["bytes"]["host"], 65536 + 2 * 4096, "{analysis}");
}

#[test]
fn traces_are_started_and_stopped_by_orders() {
    let mut served = Served::start(&[]);
    let started = served.ctl(&["trace-start", "patterns=pci_nvme_*,-pci_nvme_mmio_*", "file=one.log"]);
    assert_eq!((&started["id"], &started["path"]), (&json!(0), &json!(served.path("traces/one.log"))));
    assert_eq!(served.ctl(&["trace-start", "format=recording", "data=on", "file=two.trace"])["id"], 1);
    let traces = served.ctl(&["query-traces"]);
    assert_eq!(traces[1]["file"], "two.trace");
    let state = |name: &str| served.ctl(&["trace-event-get-state", &format!("name={name}")]);
    assert_eq!(state("pci_nvme_mmio_cfg"), json!([{ "name": "pci_nvme_mmio_cfg", "state": "disabled" }]));
    assert_eq!(state("pci_nvme_open_zone"), json!([{ "name": "pci_nvme_open_zone", "state": "unavailable" }]));
    served.ctl(&["trace-event-set-state", "name=pci_nvme_mmio_c?g", "enable=on"]);
    assert_eq!(state("pci_nvme_mmio_cfg"), json!([{ "name": "pci_nvme_mmio_cfg", "state": "enabled" }]));
    served.work();
    for id in ["id=0", "id=1"] {
        assert_eq!(served.ctl(&["trace-stop", id]), json!({}));
    }
    assert_eq!(served.ctl(&["query-traces"]), json!([]));
    let log = served.text("traces/one.log");
    assert_eq!((count(&log, "pci_nvme_write "), count(&log, "pci_nvme_mmio_cfg ") > 0), (3, true), "{log}");
    assert_eq!(count(&log, "pci_nvme_mmio_write "), 0, "{log}");
    let analysis = served.printed(&["trace", "analyse", "traces/two.trace", "--json"]);
    assert_eq!(analysis["kinds"]["write"]["commands"], 3);
    // Nobody listens any more.
    served.work();
    assert_eq!(served.text("traces/one.log"), log);

    for (arguments, why) in [
        (&["trace-stop", "id=0"][..], "there is no trace 0"),
        (&["trace-start", "patterns=pci_nvme_*", "file=one.log"], "exists"),
        (&["trace-start", "patterns=pci_nvme_*", "file=../one.log"], "give one without /"),
        (&["trace-start", "format=pcap"], "give file="),
        (&["trace-start", "format=chrome", "file=x", "data=on"], "chrome holds no data"),
        (&["trace-start", "format=pcap", "file=x", "patterns=pci_nvme_*"], "leave the patterns out"),
        (&["trace-start", "patterns=pci_nvme_raed", "file=x"], "pci_nvme_read"),
        (&["trace-event-set-state", "name=pci_nvme_open_zone", "enable=on"], "needs zoned namespaces"),
        (&["trace-event-get-state", "name=pci_nvme_opne"], "no event matches"),
    ] {
        let refused = served.refused(arguments);
        assert!(refused.contains(why), "{arguments:?}: {refused}");
    }
    served.ctl(&["trace-event-set-state", "name=pci_nvme_open_zone", "enable=on", "ignore-unavailable=on"]);
    assert_eq!(served.ctl(&["query-traces"]), json!([]));
    // As QEMU's do, events go to standard error where nothing else is said.
    served.ctl(&["trace-event-set-state", "name=pci_nvme_dsm*", "enable=on"]);
    served.work();
    let errors = served.end();
    assert_eq!(count(&errors, "pci_nvme_dsm"), 2, "{errors}");
}

#[test]
fn a_running_drive_is_recorded_for_a_time_or_until_a_signal() {
    let mut served = Served::start(&[]);
    let mut recorder = Command::new(BROWNOUT);
    recorder.args(["trace", "record", "run.trace", "--control", "control.sock", "--data"]);
    let mut recorder = recorder.current_dir(served.folder.path()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut said = BufReader::new(recorder.stderr.take().expect("a pipe"));
    let mut line = String::new();
    said.read_line(&mut line).expect("text");
    assert!(line.starts_with("recording into ") && line.ends_with("run.trace until SIGINT or SIGTERM\n"), "{line}");
    served.work();
    kill_process(Pid::from_child(&recorder), Signal::INT).expect("told to end");
    assert_eq!(recorder.wait().expect("it ends").code(), Some(0));
    let run = served.printed(&["trace", "analyse", "traces/run.trace", "--json", "--iu", "16KiB"]);
    assert_eq!((&run["kinds"]["write"]["commands"], &run["measured"]["bytes"]["host"]), (&json!(3), &json!(73_728)));
    let replay = served.printed(&["trace", "replay", "traces/run.trace", "--media", "iu=16KiB", "--json"]);
    assert_eq!(replay["measured"]["amplification"], run["measured"]["amplification"], "{replay}");

    let short = served.run(&["trace", "record", "short.trace", "--control", "control.sock", "--for", "10ms"]);
    assert!(short.status.success(), "{}", String::from_utf8_lossy(&short.stderr));
    assert!(served.path("traces/short.trace").exists() && short.stdout.ends_with(b"/traces/short.trace\n"));
    let again = served.run(&["trace", "record", "short.trace", "--control", "control.sock"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("exists"), "{again:?}");
    served.end();
}

#[test]
fn a_full_disk_ends_the_trace_and_not_the_drive() {
    let mut served = Served::start(&["--trace", "pci_nvme*,file=/dev/full"]);
    let mut peer = BufReader::new(UnixStream::connect(served.path("control.sock")).expect("somebody listens"));
    peer.get_mut().write_all(b"{\"execute\":\"qmp_capabilities\"}").expect("sent");
    served.work();
    let ended = loop {
        let mut line = String::new();
        assert!(peer.read_line(&mut line).expect("text") > 0, "the drive ended");
        let message: Value = serde_json::from_str(&line).expect("JSON");
        if message["event"] == "TRACE_ENDED" {
            break message["data"].clone();
        }
        // It is noticed with the next event of the host.
        if message["event"] == "CLIENT_GONE" {
            served.work();
        }
    };
    assert_eq!((&ended["id"], &ended["file"]), (&json!(0), &json!("/dev/full")), "{ended}");
    assert!(ended["reason"].as_str().expect("text").contains("No space left"), "{ended}");
    assert_eq!(served.ctl(&["query-traces"]), json!([]));
    served.work();
    let errors = served.end();
    assert!(errors.contains("a trace ended; the drive goes on"), "{errors}");
}

#[test]
fn help_lists_the_events_and_what_is_wrong_is_2() {
    let run = |arguments: &[&str]| Command::new(BROWNOUT).args(arguments).output().expect("the program starts");
    let help = run(&["serve", "--trace", "help"]);
    assert_eq!(help.status.code(), Some(0));
    let text = String::from_utf8(help.stdout).expect("text");
    assert!(text.lines().count() > 100 && text.lines().any(|line| line == "pci_nvme_admin_cmd"), "{text}");
    for verb in [&["serve", "--socket", "x"][..], &["qemu"]] {
        let wrong = run(&[verb, &["--trace", "pci_nvme_raed"]].concat());
        assert_eq!(wrong.status.code(), Some(2));
        let said = String::from_utf8(wrong.stderr).expect("text");
        assert!(said.starts_with("brownout: --trace pci_nvme_raed: no event matches"), "{said}");
    }
}
