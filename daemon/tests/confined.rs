//! A drive that has given up its rights does all that a drive does. (The other tests of the program serve confined too: it is the default.)

mod served;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output};

use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use serde_json::Value;
use tempfile::TempDir;

use served::{BROWNOUT, Daemon};

/// A drive in a file, killed when dropped.
struct Served {
    daemon: Daemon,
    control: PathBuf,
}

impl Served {
    fn start(folder: &TempDir, more: &[&str]) -> Self {
        let words = ["--socket", "nvme.sock", "--vhost-user", "disk.sock", "--control", "control.sock"];
        let drive = ["--namespace", "size=16MiB,size_max=32MiB", "--media", "store=file:disk.img"];
        let daemon = Daemon::start(folder.path(), &[&words, &drive[..], more].concat());
        Self { daemon, control: folder.path().join("control.sock") }
    }

    fn ctl(&self, arguments: &[&str]) -> Value {
        let output = Command::new(BROWNOUT).arg("ctl").arg(&self.control).args(arguments).output();
        let Output { status, stdout, stderr } = output.expect("the program starts");
        assert!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
        serde_json::from_slice(&stdout).expect("JSON")
    }

    /// A line of what the system says of each thread.
    fn of_each_thread(&self, name: &str) -> Vec<String> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.daemon.process.id())).expect("threads");
        let mut lines = Vec::new();
        for thread in threads {
            let text = fs::read_to_string(thread.expect("a thread").path().join("status")).expect("its status");
            let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("it is told");
            lines.push(line.split_whitespace().collect::<Vec<_>>().join(" "));
        }
        assert!(lines.len() > 2, "the device, its watchdog, its file's");
        lines
    }

    /// Orderly, with what it said to people.
    fn end(mut self) -> String {
        self.daemon.end()
    }
}

/// Every kind of order, among them those that remake the drive or reach its file.
fn take_orders(served: &Served) {
    for query in ["query-status", "query-media", "query-controller", "query-namespaces", "query-queues", "query-faults"]
    {
        served.ctl(&[query]);
    }
    served.ctl(&["namespace-resize", "nsid=1", "size=32MiB"]);
    served.ctl(&["fault-add", "kind=unrecovered-read", "nsid=1", "lba=0", "blocks=8"]);
    for _ in 0..3 {
        served.ctl(&["power-cut"]);
        served.ctl(&["power-restore"]);
    }
    // As the next start expects it.
    served.ctl(&["namespace-resize", "nsid=1", "size=16MiB"]);
    served.ctl(&["query-schema"]);
}

#[test]
fn a_confined_drive_takes_every_order_and_its_file_is_sound() {
    let folder = tempfile::tempdir().expect("a folder");
    for _ in 0..2 {
        let served = Served::start(&folder, &[]);
        for (name, value) in [("NoNewPrivs:", "1"), ("Seccomp:", "2")] {
            assert!(served.of_each_thread(name).iter().all(|of_thread| of_thread == value), "{name}");
        }
        take_orders(&served);
        let errors = served.end();
        assert!(
            errors.contains("confined: ") && !errors.contains("denied") && !errors.contains("not permitted"),
            "{errors}"
        );
        for socket in ["nvme.sock", "disk.sock", "control.sock"] {
            assert!(!folder.path().join(socket).exists(), "{socket} is removed");
        }
    }
    let check = Command::new(BROWNOUT).args(["media", "check"]).arg(folder.path().join("disk.img")).output();
    assert!(check.expect("the program starts").status.success());
}

#[test]
fn a_confined_drive_tells_its_figures_at_a_port_and_at_a_path() {
    let folder = tempfile::tempdir().expect("a folder");
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let read = |mut stream: Box<dyn Stream>| {
        let mut text = String::new();
        stream.write_all(request).and_then(|()| stream.read_to_string(&mut text)).expect("an answer");
        assert!(text.starts_with("HTTP/1.1 200 ") && text.contains("\nbrownout_power_on 1\n"), "{text}");
    };
    let served = Served::start(&folder, &["--http", &port.to_string()]);
    (0..3).for_each(|_| read(Box::new(TcpStream::connect(port).expect("somebody listens"))));
    take_orders(&served);
    let errors = served.end();
    let invited = format!("\nhttp://{port}/#");
    assert!(errors.contains(&invited) && !errors.contains("not permitted"), "{errors}");
    let served = Served::start(&folder, &["--http", "unix:web.sock"]);
    (0..3).for_each(|_| read(Box::new(UnixStream::connect(folder.path().join("web.sock")).expect("somebody listens"))));
    served.end();
    assert!(!folder.path().join("web.sock").exists(), "it is removed");
}

/// What is written to and read from.
trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

#[test]
fn a_drive_that_root_starts_becomes_another_user_for_good() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    const NOBODY: u32 = 65534;
    let folder = tempfile::tempdir().expect("a folder");
    chown(folder.path(), Some(NOBODY), None).expect("a folder of that user");
    for sandbox in ["on", "off"] {
        let served = Served::start(&folder, &["--user", "nobody", "--sandbox", sandbox]);
        let identity = [NOBODY; 4].map(|id| id.to_string()).join(" ");
        assert!(served.of_each_thread("Uid:").iter().all(|user| *user == identity), "every thread is that user's");
        assert!(served.of_each_thread("Gid:").iter().all(|group| *group == identity));
        for rights in ["CapPrm:", "CapEff:"] {
            assert!(served.of_each_thread(rights).iter().all(|set| set.trim_matches('0').is_empty()), "{rights}");
        }
        assert!(served.of_each_thread("Groups:").iter().all(|groups| !groups.split(' ').any(|group| group == "0")));
        for socket in ["nvme.sock", "disk.sock", "control.sock"] {
            let metadata = fs::symlink_metadata(folder.path().join(socket)).expect("a socket");
            assert_eq!((metadata.uid(), metadata.permissions().mode() & 0o777), (NOBODY, 0o600), "{socket}");
        }
        let image = fs::metadata(folder.path().join("disk.img")).expect("the file");
        assert_eq!(image.uid(), 0, "what was opened by root stays root's");
        take_orders(&served);
        let errors = served.end();
        assert!(errors.contains("dropped root privileges"), "{errors}");
        assert!(!folder.path().join("nvme.sock").exists(), "the folder is theirs");
    }
}

#[test]
fn a_user_who_does_not_exist_is_wrong_use_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(BROWNOUT)
        .args(["serve", "--socket", "nvme.sock", "--media", "store=file:disk.img", "--user", "nobody-of-this-name"])
        .current_dir(folder.path())
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("brownout: --user nobody-of-this-name: there is no such user"), "{said}");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

/// Another user of the machine, who can enter the folder, opens no socket and no file of the drive, and puts nothing in their place.
#[test]
fn another_user_reaches_nothing_of_a_drive() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    const NOBODY: u32 = 65534;
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a folder that others may enter");
    let served = Served::start(&folder, &["--http", "unix:web.sock"]);
    let path = folder.path().to_owned();
    let attack = std::thread::spawn(move || {
        // The identity is this thread's alone.
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        set_thread_groups(&[]).expect("root may");
        set_thread_res_gid(group, group, group).expect("root may");
        set_thread_res_uid(user, user, user).expect("root may");
        for socket in ["nvme.sock", "disk.sock", "control.sock", "web.sock"] {
            let refused = |why: std::io::Error| assert_eq!(why.kind(), ErrorKind::PermissionDenied, "{socket}");
            refused(UnixStream::connect(path.join(socket)).expect_err("it is not theirs"));
            refused(fs::remove_file(path.join(socket)).expect_err("nor is the folder"));
            let mode = fs::Permissions::from_mode(0o666);
            refused(fs::set_permissions(path.join(socket), mode).expect_err("nor its mode"));
        }
        for open in [fs::File::open(path.join("disk.img")), fs::File::create(path.join("disk.img"))] {
            assert_eq!(open.expect_err("nor the file").kind(), ErrorKind::PermissionDenied);
        }
        assert!(fs::write(path.join("other.sock"), "").is_err());
    });
    attack.join().expect("nothing but refusals");
    assert_eq!(served.ctl(&["query-status"])["running"], true);
    served.end();
}
