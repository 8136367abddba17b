//! The control socket from outside: `brownout ctl`, and a client that knows nothing of us.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

const BROWNOUT: &str = env!("CARGO_BIN_EXE_brownout");

/// A device with a control socket, killed when dropped.
struct Served {
    folder: TempDir,
    daemon: Child,
    said: BufReader<ChildStdout>,
}

impl Served {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut daemon = Command::new(BROWNOUT)
            .args(["serve", "--socket", "nvme.sock", "--control", "control.sock", "--namespace", "size=16MiB"])
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let said = BufReader::new(daemon.stdout.take().expect("a pipe"));
        let mut served = Self { folder, daemon, said };
        while !served.line().starts_with("# ready: ") {}
        served
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let count = self.said.read_line(&mut line).expect("text");
        assert!(count > 0, "the device ended before it was ready");
        line
    }

    fn control(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    fn ctl(&self, arguments: &[&str]) -> Output {
        Command::new(BROWNOUT).arg("ctl").arg(self.control()).args(arguments).output().expect("the program starts")
    }

    /// What a command prints that goes well.
    fn answer(&self, arguments: &[&str]) -> Value {
        let output = self.ctl(arguments);
        assert!(output.status.success(), "{}", errors(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn one_command_prints_what_it_gives_and_its_words_are_typed() {
    let served = Served::start();
    assert_eq!(served.answer(&["query-status"])["status"], "running");
    let printed = served.ctl(&["query-status"]).stdout;
    assert!(printed.starts_with(b"{\n  \"running\": true,\n"), "{}", String::from_utf8_lossy(&printed));
    let table = served.ctl(&["--table", "query-status"]).stdout;
    assert!(table.starts_with(b"running  "), "{}", String::from_utf8_lossy(&table));
    assert_eq!(served.answer(&["fault-add", "kind=unrecovered-read", "nsid=1", "lba=0x10", "blocks=2"]), json!({}));
    let faults = json!([{ "kind": "unrecovered-read", "nsid": 1, "lba": 16, "blocks": 2 }]);
    assert_eq!(served.answer(&["query-faults"]), faults);
    served.answer(&["crash-arm", "at.step=line-erased", "at.nth=3", "policy=random", "seed=7"]);
    assert_eq!(served.answer(&["query-crash"])["armed"], json!({ "step": "line-erased", "nth": 3 }));
    served.answer(&["crash-disarm"]);
    served.answer(&["crash-arm", "at.match.opcode=write", "at.match.nsid=1"]);
    assert_eq!(served.answer(&["query-crash"])["armed"]["match"], json!({ "opcode": 1, "nsid": 1 }));
    let help = served.ctl(&["help"]).stdout;
    assert!(String::from_utf8_lossy(&help).contains("\nquery-media "), "{}", String::from_utf8_lossy(&help));
    let help = served.ctl(&["help", "namespace-resize"]).stdout;
    assert!(
        String::from_utf8_lossy(&help).contains("\n  size=NUMBER|TEXT, required\n"),
        "{}",
        String::from_utf8_lossy(&help)
    );
    assert_eq!(served.answer(&["power-cut"])["not-durable"], json!([]));
    assert_eq!(served.answer(&["query-status"])["status"], "power-off");
}

#[test]
fn a_command_that_is_not_done_is_1_and_wrong_use_is_2() {
    let served = Served::start();
    for (words, why) in [
        (&["power-restore"][..], "power-restore: power is on"),
        (&["fault-add", "kind=program-failure", "nth=0"], "nth=0: give 1 to"),
        (&["fault-add", "kind=program-failure", "nth=x"], "nth=x: give a whole number"),
        (&["fault-add", "kind=lunch"], "give one of unrecovered-read, bit-flips, program-failure, erase-failure"),
        (&["make-coffee"], "there is no command \"make-coffee\""),
        (&["qurey-status"], "query-status is the nearest"),
        (&["fault-remove"], "give id or fault, as `query-faults` shows it, or all=true"),
        (&["help", "make-coffee"], "there is no command \"make-coffee\""),
        (&["help", "power-cut", "power-restore"], "one command at a time"),
    ] {
        let output = served.ctl(words);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert!(errors(&output).contains(why) && output.stdout.is_empty(), "{}", errors(&output));
    }
    let nobody = Command::new(BROWNOUT).args(["ctl", "/nowhere/control.sock", "query-status"]).output();
    let nobody = nobody.expect("the program starts");
    assert_eq!(nobody.status.code(), Some(1));
    assert!(errors(&nobody).contains("no device has a control socket at /nowhere/control.sock"), "{}", errors(&nobody));
    assert_eq!(served.ctl(&[]).status.code(), Some(2));
    assert_eq!(served.ctl(&["--watch", "query-status"]).status.code(), Some(2));
}

/// The drive's own socket waits for a machine to speak first, and so would we: it is left again, and free.
#[test]
fn a_socket_that_is_none_of_ours_is_left_within_two_seconds() {
    let served = Served::start();
    let nvme = served.folder.path().join("nvme.sock");
    let output = Command::new(BROWNOUT).arg("ctl").arg(&nvme).arg("query-status").output().expect("it ends");
    let said = errors(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("nvme.sock is no control socket of ours") && said.contains("within two seconds"), "{said}");
    for _ in 0..10_000 {
        if served.answer(&["query-status"])["client-connected"] == json!(false) {
            return;
        }
    }
    panic!("the drive's only place is still taken");
}

#[test]
fn whoever_speaks_but_is_no_drive_is_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, greeting, why) in [
        ("http", "HTTP/1.1 400 Bad Request\r\n", "it does not speak QMP: HTTP/1.1"),
        ("closing", "", "closed the connection without a greeting"),
        ("qemu", "{\"QMP\": {\"version\": {\"package\": \"Debian 1:11\"}}}\r\n", "something else speaks QMP there"),
        ("busy", "{\"error\": {\"desc\": \"too many peers\"}}\r\n", "too many peers"),
    ] {
        let path = folder.path().join(name);
        let listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
        let output = std::thread::scope(|scope| {
            let ctl = scope.spawn(|| Command::new(BROWNOUT).arg("ctl").arg(&path).arg("query-status").output());
            let (mut stream, _) = listener.accept().expect("it comes");
            stream.write_all(greeting.as_bytes()).expect("it listens");
            drop(stream);
            ctl.join().expect("no panic").expect("it ends")
        });
        assert_eq!(output.status.code(), Some(1));
        assert!(
            errors(&output).contains(why) && errors(&output).contains("is no control socket of ours"),
            "{}",
            errors(&output)
        );
    }
}

#[test]
fn a_socket_at_which_nobody_takes_connections_is_given_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("stuck");
    let listener = rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None);
    let listener = listener.expect("a socket");
    rustix::net::bind(&listener, &rustix::net::SocketAddrUnix::new(&path).expect("an address")).expect("bound");
    rustix::net::listen(&listener, 0).expect("listening");
    let _waiting = std::os::unix::net::UnixStream::connect(&path).expect("there is room for one");
    let output = Command::new(BROWNOUT).arg("ctl").arg(&path).arg("query-status").output().expect("it ends");
    assert!(errors(&output).contains("nobody took the connection within two seconds"), "{}", errors(&output));
}

#[test]
fn events_are_followed_until_the_device_ends() {
    let mut served = Served::start();
    let mut watch = Command::new(BROWNOUT)
        .arg("ctl")
        .arg(served.control())
        .arg("--watch")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut events = BufReader::new(watch.stdout.take().expect("a pipe")).lines();
    let mut next = || -> Value { serde_json::from_str(&events.next().expect("a line").expect("text")).expect("JSON") };
    // Nobody says when the watcher listens: cut and restore until it has heard.
    let enough = AtomicBool::new(false);
    let heard = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !enough.load(Ordering::Relaxed) {
                served.answer(&["power-cut"]);
                served.answer(&["power-restore"]);
            }
        });
        let first = next();
        enough.store(true, Ordering::Relaxed);
        first
    });
    assert!(["POWER_CUT", "CRASH_REPORT", "POWER_RESTORED"].contains(&heard["event"].as_str().expect("a name")));
    assert!(heard["timestamp"]["seconds"].as_u64().is_some_and(|seconds| seconds > 1_600_000_000));
    served.daemon.kill().expect("killed");
    assert!(watch.wait().expect("it ends").success());
}

#[test]
fn the_control_sockets_path_is_checked_as_any_option_is() {
    let path = "x".repeat(108);
    let output = Command::new(BROWNOUT).args(["serve", "--socket", "a.sock", "--control", &path]).output();
    let output = output.expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).starts_with("brownout: --control xxx"), "{}", errors(&output));
    let output =
        Command::new(BROWNOUT).args(["serve", "--socket", "/nowhere/a.sock", "--control", "/nowhere/b.sock"]).output();
    assert_eq!(output.expect("the program starts").status.code(), Some(1));
}

/// QEMU's own client, unchanged: `qmp-shell` of the package `qemu.qmp`. `.ci/qmp-shell` says where it is.
#[test]
fn qmp_shell_works_as_with_a_machine() {
    let Some(shell) = std::env::var_os("BROWNOUT_QMP_SHELL") else {
        eprintln!("SKIPPED: BROWNOUT_QMP_SHELL does not name a qmp-shell (.ci/qmp-shell prints the path of one)");
        return;
    };
    let served = Served::start();
    let mut shell = Command::new(shell)
        .arg(served.control())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let words = "query-version\nquery-status\nfault-add kind=bit-flips nsid=1 lba=3 bits=5\nquery-faults\n\
                 crash-arm at={\"step\":\"line-erased\"}\nquery-crash\npower-cut policy=none-survive\nmake-coffee\n";
    shell.stdin.take().expect("a pipe").write_all(words.as_bytes()).expect("it listens");
    let output = shell.wait_with_output().expect("it ends");
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{said}");
    for part in [
        "Connected to QEMU 0.1.0",
        "\"package\": \"brownout 0.1.0\"",
        "\"status\": \"running\"",
        "{\"kind\": \"bit-flips\", \"nsid\": 1, \"lba\": 3, \"blocks\": 1, \"bits\": 5}",
        "\"armed\": {\"step\": \"line-erased\", \"nth\": 1}",
        "\"not-durable\": []",
        "\"class\": \"CommandNotFound\"",
    ] {
        assert!(said.contains(part), "{part}:\n{said}");
    }
}
