//! What `serve` prints is what it reads: standard output goes back in as `--config`, for every kind of drive, and prints itself.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

const BROWNOUT: &str = env!("CARGO_BIN_EXE_brownout");

/// The options of one drive of each kind.
const KINDS: &[&[&str]] = &[
    &[],
    &["--vhost-user", "disk.sock"],
    &["--vhost-user", "disk.sock", "--control", "a control.sock", "--namespace", "size=16MiB,lba=4KiB"],
    &["--media", "store=file:fresh.img", "--namespace", "size=16MiB"],
    &["--media", "store=file:growing,, it's \"one\".img", "--namespace", "size=16MiB,size_max=64MiB,lba=4KiB"],
    &[
        "--device",
        "nvme,serial=a\"b\\c'd=,,e,model=#1 [device],firmware-version=9.9,subnqn=nqn.2014-08.org:x,mdts=0,max_ioqpairs=3,\
         msix_qsize=0,mqes=1,aerl=0,aer_max_queued=0,dbcs=off,x-pci-vendor-id=0xffff,x-pci-device-id=0",
        "--namespace",
        "size=1024000",
    ],
    &["--device", "doorbells=mapped,interleave=seeded,interleave_seed=4294967295", "--namespace", "size=16MiB"],
    &[
        "--device",
        "atomic.dn=on,atomic.awun=7,atomic.awupf=3,atomic.acwu=1",
        "--namespace",
        "size=16MiB,lba=4KiB,atomic.nawupf=15,atomic.nabspf=15",
        "--namespace",
        "size=16MiB,nsid=7,ms=8,mset=1,nguid=00112233445566778899aabbccddeeff,eui64=0xffffffffffffffff",
        "--namespace",
        "size=16MiB,lba=4KiB,uuid=00112233-4455-6677-8899-aabbccddeeff,atomic.mam=on,atomic.nabsn=7",
    ],
    &[
        "--media",
        "iu=16KiB,op=12.5%,gc=fifo,cache_size=512KiB,open_units=1,timing=tlc,channels=2,dies=1,planes=1,pages=32,\
         page_size=8KiB,bad_blocks=3,misbehave=shorn-write+stale-map",
        "--namespace",
        "size=64MiB,lba=4KiB",
    ],
    &["--media", "vwc=off,gc=greedy", "--namespace", "size=16MiB"],
    &["--media", "plp=on,timing=qlc,store=file:unsafe.img,cache=unsafe", "--namespace", "size=16MiB"],
];

/// Serves until it is ready, with its standard output in a file; what is in the file then.
fn serve(folder: &Path, output: &str, options: &[&str]) -> String {
    let front: &[&str] = if options.contains(&"--vhost-user") { &[] } else { &["--socket", "nvme.sock"] };
    let path = folder.join(output);
    let mut daemon = Command::new(BROWNOUT)
        .arg("serve")
        .args(front)
        .args(options)
        .current_dir(folder)
        .stdout(File::create(&path).expect("a file"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut errors = BufReader::new(daemon.stderr.take().expect("a pipe"));
    let mut said = String::new();
    let text = loop {
        let text = fs::read_to_string(&path).expect("text");
        if text.lines().next_back().is_some_and(|line| line.starts_with("# ready: ") && text.ends_with('\n')) {
            break text;
        }
        if daemon.try_wait().expect("a child").is_some() {
            while errors.read_line(&mut said).expect("text") > 0 {}
            panic!("serve {options:?} ended: {said}");
        }
        std::thread::yield_now();
    };
    let id = rustix::process::Pid::from_child(&daemon);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it lives");
    assert!(daemon.wait().expect("an end").success(), "{options:?}");
    text
}

#[test]
fn what_serve_prints_is_a_configuration_of_the_same_drive() {
    for options in KINDS {
        let folder = tempfile::tempdir().expect("a folder");
        let first = serve(folder.path(), "drive.toml", options);
        let tables: toml::Table = first.parse().unwrap_or_else(|error| panic!("{options:?}: {error}\n{first}"));
        assert!(tables.contains_key("device") && tables.contains_key("media"), "{first}");
        let front: &[&str] = if options.contains(&"--vhost-user") { &["--vhost-user", "disk.sock"] } else { &[] };
        let again = serve(folder.path(), "again.toml", &[front, &["--config", "drive.toml"]].concat());
        assert_eq!(again, first, "{options:?}");
    }
}

/// Serial number, subsystem name and UUIDs of a drive.
fn names(printed: &str) -> Vec<String> {
    let tables: toml::Table = printed.parse().expect("TOML");
    let text = |value: &toml::Value| value.as_str().expect("a text").to_owned();
    let mut names = vec![text(&tables["device"]["serial"]), text(&tables["device"]["subnqn"])];
    names.extend(tables["namespace"].as_array().expect("a list").iter().map(|namespace| text(&namespace["uuid"])));
    names
}

/// Rule 113: no two drives have a name in common, and a drive keeps its names.
#[test]
fn each_drive_has_names_of_its_own_and_keeps_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let namespaces = ["--namespace", "size=16MiB", "--namespace", "size=16MiB"];
    let in_memory =
        |socket| names(&serve(folder.path(), "out", &[&["--vhost-user", socket], &namespaces[..]].concat()));
    let made = |media| names(&serve(folder.path(), "out", &[&["--media", media], &namespaces[..]].concat()));
    let kept = |media| names(&serve(folder.path(), "out", &["--vhost-user", "elsewhere.sock", "--media", media]));
    let drives = [in_memory("a.sock"), in_memory("b.sock"), made("store=file:one.img"), made("store=file:two.img")];
    let all: Vec<_> = drives.iter().flatten().collect();
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!((distinct.len(), all.len()), (16, 16), "{drives:?}");

    assert_eq!(in_memory("a.sock"), drives[0]);
    assert_eq!(in_memory("./b.sock"), drives[1]);
    assert_eq!(kept("store=file:one.img"), drives[2]);
    fs::rename(folder.path().join("two.img"), folder.path().join("moved.img")).expect("moved");
    assert_eq!(kept("store=file:moved.img"), drives[3]);

    let name = |device| names(&serve(folder.path(), "out", &["--device", device, "--media", "store=file:one.img"]));
    assert_eq!(name("serial=mine")[0], "mine", "a name that was given wins");
}

/// What is to be pasted into a shell is on standard error, where a shell's redirection leaves it in sight.
#[test]
fn the_arguments_for_qemu_stay_in_sight() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut daemon = Command::new(BROWNOUT)
        .args(["serve", "--socket", "nvme.sock", "--vhost-user", "disk.sock", "--namespace", "size=16MiB"])
        .current_dir(folder.path())
        .stdout(File::create(folder.path().join("drive.toml")).expect("a file"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let lines = BufReader::new(daemon.stderr.take().expect("a pipe")).lines().map(|line| line.expect("text"));
    let mut wanted = vec!["-device vhost-user-blk-pci,", "\"driver\":\"vfio-user-pci\""];
    for line in lines {
        wanted.retain(|part| !line.contains(part));
        if wanted.is_empty() {
            break;
        }
    }
    daemon.kill().expect("it lives");
    daemon.wait().expect("an end");
    assert_eq!(wanted, Vec::<&str>::new());
}
