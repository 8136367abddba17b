//! What a process may not have more of: a file's length, processor time, descriptors. Each is told, nothing is lost, and the end comes when
//! it is asked for.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use tempfile::TempDir;

const BROWNOUT: &str = env!("CARGO_BIN_EXE_brownout");

/// A drive under limits, killed when dropped.
struct Limited {
    folder: TempDir,
    daemon: Child,
}

impl Limited {
    /// With a file of its own, which was made before.
    fn start(limits: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let made = run(folder.path(), &["media", "create", "disk.img", "--namespace", "size=16MiB,size_max=32MiB"]);
        assert!(made.0, "{}", made.1);
        let serve =
            "serve --socket nvme.sock --vhost-user disk.sock --control control.sock --media store=file:disk.img";
        let mut daemon = Command::new("sh")
            .args(["-c", &format!("{limits}; exec \"$0\" {serve}"), BROWNOUT])
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(folder.path().join("said")).expect("a file"))
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(daemon.stdout.take().expect("a pipe")).lines();
        while !lines.next().expect("it gets ready").expect("text").starts_with("# ready: ") {}
        Self { folder, daemon }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.daemon), signal).expect("it runs");
    }

    /// Its exit code, if it ends within a minute, and all that it said.
    fn end(&mut self) -> (Option<i32>, String) {
        for _ in 0..1200 {
            if let Some(status) = self.daemon.try_wait().expect("it is ours") {
                return (status.code(), self.said());
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        panic!("it does not end: {}", self.said());
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("said")).expect("text")
    }

    /// The file is sound, and says this of its last end.
    fn assert_sound(&self, last_end: &str) {
        let (sound, said) = run(self.folder.path(), &["media", "check", "disk.img"]);
        assert!(sound && said.contains(&format!("last end: {last_end}")), "{said}");
    }

    fn connect(&self) -> BufReader<UnixStream> {
        BufReader::new(UnixStream::connect(self.folder.path().join("control.sock")).expect("somebody listens"))
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// Whether it went well, and what was said.
fn run(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(BROWNOUT).args(arguments).current_dir(folder).output().expect("the program starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

fn ask(peer: &mut BufReader<UnixStream>, command: &str) -> Option<String> {
    let mut line = String::new();
    let written = writeln!(peer.get_mut(), "{{\"execute\": \"{command}\"}}");
    // An event may come first.
    loop {
        line.clear();
        let heard = written.as_ref().ok().and_then(|()| peer.read_line(&mut line).ok());
        match heard {
            None | Some(0) => return None,
            Some(_) if line.starts_with("{\"event\"") => {}
            Some(_) => return Some(line),
        }
    }
}

/// Nothing can be written any more: the end is asked for, comes at once and says what it could not do. What is in the file stays.
#[test]
fn a_drive_whose_file_takes_nothing_ends_when_it_is_told_and_says_what_is_missing() {
    let mut drive = Limited::start("ulimit -f 8");
    drive.signal(Signal::TERM);
    let (code, said) = drive.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the media did not quiesce: the host's disk under the media is full"), "{said}");
    assert!(said.contains("what was written since the last flush that succeeded may be lost"), "{said}");
    drive.assert_sound("clean");
}

/// Who has had all its processor time is told so before it is killed, and uses what is left for an orderly end.
#[test]
fn a_drive_without_processor_time_ends_in_order() {
    let mut drive = Limited::start("ulimit -S -t 1");
    let mut peer = drive.connect();
    peer.read_line(&mut String::new()).expect("a greeting");
    ask(&mut peer, "qmp_capabilities").expect("an answer");
    // Work without end: the largest answer that there is.
    while ask(&mut peer, "query-schema").is_some() {}
    let (code, said) = drive.end();
    assert_eq!(code, Some(0), "{said}");
    drive.assert_sound("clean");
}

/// Without descriptors nobody new is served; who is there is, and who waits is as soon as others go.
#[test]
fn a_drive_without_descriptors_serves_those_it_has_and_the_others_later() {
    let mut drive = Limited::start(":");
    let process = Pid::from_child(&drive.daemon);
    let has = fs::read_dir(format!("/proc/{}/fd", drive.daemon.id())).expect("its descriptors").count();
    let limit = Rlimit { current: Some(has as u64 + 3), ..getrlimit(Resource::Nofile) };
    prlimit(Some(process), Resource::Nofile, limit).expect("it is ours");
    let mut first = drive.connect();
    first.read_line(&mut String::new()).expect("a greeting");
    ask(&mut first, "qmp_capabilities").expect("an answer");
    let mut crowd: Vec<_> = (0..8).map(|_| drive.connect()).collect();
    // A guest's clients find nobody to talk to meanwhile, and end nothing.
    let clients = ["nvme.sock", "disk.sock"].map(|name| UnixStream::connect(drive.folder.path().join(name)));
    let told = |drive: &Limited| drive.said().contains("cannot accept");
    assert!(
        (0..1200).any(|_| told(&drive) || {
            std::thread::park_timeout(Duration::from_millis(50));
            false
        }),
        "it is told"
    );
    assert!(ask(&mut first, "query-status").is_some_and(|answer| answer.contains("return")));
    let mut last = crowd.pop().expect("there is a crowd");
    drop((crowd, clients));
    let mut greeting = [0; 6];
    last.read_exact(&mut greeting).expect("there is room now");
    assert_eq!(&greeting, b"{\"QMP\"");
    drive.signal(Signal::TERM);
    let (code, said) = drive.end();
    assert_eq!(code, Some(0), "{said}");
    drive.assert_sound("clean");
}
