//! What the process gives up once it knows what it will need: files and folders other than its own (Landlock), system calls other than
//! those of a drive (seccomp), and new privileges (no_new_privs). It does so before there is a second thread, so that every thread
//! inherits it. A refused call fails as if the right were missing, and ends nothing.

use std::path::{Path, PathBuf};

use crate::wiring::Places;
use anyhow::Context;
use clap::ValueEnum;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
    RulesetStatus, Scope, path_beneath_rules,
};

mod calls;

/// Whether the process confines itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Sandbox {
    /// As far as the kernel lets it.
    #[default]
    On,
    /// Not at all: for tools that attach to it, and kernels that break.
    Off,
}

/// The newest Landlock that we know. An older kernel enforces what it has.
const LANDLOCK: ABI = ABI::V6;

/// Gives up what is not needed to serve at these places with this media file and tape, for this thread and those that it makes. What is in force, in
/// words for the operator. `becomes_user` leaves the calls by which root becomes another user.
///
/// # Errors
/// A place has no folder, or the kernel refuses a filter that it says it has.
pub fn enter(places: &Places, media: Option<&Path>, tape: Option<&Path>, becomes_user: bool) -> anyhow::Result<String> {
    rustix::thread::set_no_new_privs(true).context("cannot set no_new_privs")?;
    let files = restrict_files(places, media, tape).context("cannot restrict files (--sandbox off does without)")?;
    let more = if becomes_user { calls::TO_BECOME_A_USER } else { &[] };
    let calls = match calls::restrict(more).context("cannot restrict system calls (--sandbox off does without)")? {
        true => "system calls: a drive's own (seccomp)",
        false => "system calls: no filter for this processor",
    };
    Ok(format!("{files}; {calls}; no new privileges"))
}

fn restrict_files(places: &Places, media: Option<&Path>, tape: Option<&Path>) -> anyhow::Result<&'static str> {
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    let sockets = places.by_option().into_iter().map(|(_, path)| folder_of(&path));
    let sockets: Vec<PathBuf> = sockets.chain(places.socket_folder.clone()).collect();
    let media: Vec<PathBuf> = media.into_iter().flat_map(folders_of_file).collect();
    let traces: Vec<&PathBuf> = places.traces.iter().collect();
    let in_media = reading | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::RemoveFile;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::Signal)?
        .create()?
        // What the system tells of itself, and the folder of a program that shall say where it panicked.
        .add_rules(path_beneath_rules(["/proc", "/sys"], reading))?
        .add_rules(path_beneath_rules(std::env::current_exe(), reading))?
        .add_rules(path_beneath_rules(["/dev/null"], AccessFs::ReadFile | AccessFs::WriteFile))?
        .add_rules(path_beneath_rules(sockets, AccessFs::MakeSock | AccessFs::RemoveFile))?
        .add_rules(path_beneath_rules(media, in_media))?
        .add_rules(path_beneath_rules(traces, AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::RemoveFile))?
        // A tape of which nothing comes goes again.
        .add_rules(path_beneath_rules(tape.map(folder_of), AccessFs::RemoveFile))?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => "files and network: Landlock",
        RulesetStatus::PartiallyEnforced => "files: Landlock, as far as this kernel has it",
        RulesetStatus::NotEnforced => "files: this kernel has no Landlock",
    })
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

/// The folder in which a file is named, and that in which it lies if the name is a link.
fn folders_of_file(path: &Path) -> Vec<PathBuf> {
    let target = path.canonicalize().ok().map(|path| folder_of(&path));
    [Some(folder_of(path)), target].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::net::{TcpListener, UdpSocket};
    use std::os::fd::AsFd as _;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::process::Command;

    use rustix::io::Errno;

    use super::*;

    /// This test's program is started once more, to run the test below alone: what a process gave up it does not get back.
    fn confined(name: &str) {
        let folder = tempfile::tempdir().expect("a folder");
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder.path())
            .output()
            .expect("started");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }

    const FOLDER: &str = "BROWNOUT_CONFINED_FOLDER";

    #[test]
    fn a_confined_process_does_what_a_drive_does_and_nothing_else() {
        confined("sandbox::tests::inside");
    }

    /// Every attempt in a thread that is made after, as the device's is.
    #[test]
    #[ignore = "not a test by itself: gives up the rights of its process"]
    fn inside() {
        let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
        let places = Places { sockets: vec![folder.join("drive.sock")], ..Places::default() };
        let media = folder.join("media");
        std::fs::create_dir(&media).expect("a folder");
        // In a container the session's leader may lie outside, and rustix does not expect the identifier 0 that getsid answers then.
        rustix::process::setsid().expect("a session of its own");
        let without = others(&folder).into_iter().filter(|(_, outcome)| *outcome != Err(Errno::PERM)).count();
        assert!(without >= 30, "without a filter few calls are refused, but only {without} are not");
        let active = enter(&places, Some(&media.join("disk.img")), None, false).expect("confined");
        std::thread::spawn(move || {
            drive_works(&folder, &media);
            let files = active.contains("Landlock") && !active.contains("no Landlock");
            others_are_refused(files, active.contains("seccomp"));
        })
        .join()
        .expect("all as it should be");
    }

    fn drive_works(folder: &Path, media: &Path) {
        let mut image = File::create_new(media.join("disk.img")).expect("a media file is made");
        image.write_all(&[1; 4096]).and_then(|()| image.sync_data()).expect("written");
        image.set_len(1 << 20).expect("longer");
        File::open(media).and_then(|folder| folder.sync_all()).expect("its folder is synced");
        std::fs::remove_file(media.join("disk.img")).expect("removed");
        let path = folder.join("drive.sock");
        let listener = UnixListener::bind(&path).expect("a socket is made");
        let mut client = UnixStream::connect(&path).expect("somebody listens");
        client.write_all(&[7]).expect("sent");
        let mut byte = [0];
        listener.accept().expect("a client").0.read_exact(&mut byte).expect("received");
        std::fs::remove_file(&path).expect("removed");
        std::thread::available_parallelism().expect("counted");
        File::open("/proc/self/status").expect("what the system tells");
    }

    /// Calls that no drive makes, each with arguments with which it does no harm: those that libraries make for us without more ado. The
    /// folder is one in which nothing is.
    fn others(folder: &Path) -> Vec<(&'static str, Result<(), Errno>)> {
        use rustix::fs::{self as files, AtFlags, CWD, FileType, Mode, XattrFlags};
        use rustix::net::{AddressFamily, SocketType, socket};
        use rustix::process as processes;
        use rustix::thread as threads;
        use rustix::time::{ClockId, TimerfdClockId, TimerfdFlags, Timespec, clock_settime, timerfd_create};

        let (nothing, nowhere) = (folder.join("nothing"), folder.join("no/where"));
        let null = File::open("/dev/null").expect("it is always there");
        let parent = processes::getppid().expect("there is one");
        let limit = processes::getrlimit(processes::Resource::Nofile);
        let network = |family| socket(family, SocketType::STREAM, None).map(drop);
        let no_time = Timespec { tv_sec: 0, tv_nsec: -1 };
        vec![
            ("kill", processes::kill_process(parent, processes::Signal::URG)),
            ("pidfd_open", processes::pidfd_open(parent, processes::PidfdFlags::empty()).map(drop)),
            ("prlimit64 of another", processes::prlimit(Some(parent), processes::Resource::Nofile, limit).map(drop)),
            ("getpriority", processes::getpriority_process(None).map(drop)),
            (
                "setpriority",
                processes::getpriority_process(None).and_then(|own| processes::setpriority_process(None, own)),
            ),
            ("getpgid", processes::getpgid(None).map(drop)),
            ("getsid", processes::getsid(None).map(drop)),
            ("chroot", processes::chroot(&nowhere)),
            ("pivot_root", processes::pivot_root(&nowhere, &nowhere)),
            ("chdir", processes::chdir(&nowhere)),
            ("fchdir", processes::fchdir(&null)),
            ("waitid", processes::waitid(processes::WaitId::All, processes::WaitIdOptions::EXITED).map(drop)),
            ("getgroups", processes::getgroups().map(drop)),
            ("prctl dumpable", processes::dumpable_behavior().map(drop)),
            ("prctl subreaper", processes::child_subreaper().map(drop)),
            ("prctl death signal", processes::parent_process_death_signal().map(drop)),
            ("prctl timer slack", threads::current_timer_slack().map(drop)),
            ("prctl no new privileges", threads::no_new_privs().map(drop)),
            ("setns", threads::move_into_link_name_space(null.as_fd(), None)),
            (
                "sched_setaffinity",
                threads::sched_getaffinity(None).and_then(|own| threads::sched_setaffinity(None, &own)),
            ),
            ("inotify_init1", files::inotify::init(files::inotify::CreateFlags::CLOEXEC).map(drop)),
            ("sendfile", files::sendfile(&null, &null, None, 0).map(drop)),
            ("copy_file_range", files::copy_file_range(&null, None, &null, None, 0).map(drop)),
            ("symlinkat", files::symlinkat("target", CWD, &nowhere)),
            ("linkat", files::linkat(CWD, &nothing, CWD, &nowhere, AtFlags::empty())),
            ("renameat", files::renameat(CWD, &nothing, CWD, &nowhere)),
            ("mkdirat", files::mkdirat(CWD, &nowhere, Mode::RWXU)),
            ("mknodat", files::mknodat(CWD, &nowhere, FileType::Fifo, Mode::RWXU, 0)),
            ("fchownat", files::chownat(CWD, &nothing, None, None, AtFlags::empty())),
            ("fchown", files::fchown(&null, None, None)),
            ("fchmodat", files::chmodat(CWD, &nothing, Mode::RWXU, AtFlags::empty())),
            ("setxattr", files::setxattr(&nothing, "user.name", b"value", XattrFlags::empty())),
            ("getxattr", files::getxattr(&nothing, "user.name", &mut [0_u8; 8][..]).map(drop)),
            ("syncfs", files::syncfs(&null)),
            ("ioctl FIOCLEX", rustix::io::ioctl_fioclex(&null)),
            ("timerfd_create", timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC).map(drop)),
            ("clock_settime", clock_settime(ClockId::Realtime, no_time)),
            ("socket of the Internet", network(AddressFamily::INET)),
            ("socket of its newer version", network(AddressFamily::INET6)),
        ]
    }

    fn others_are_refused(files: bool, calls: bool) {
        let refused = |outcome: std::io::Result<()>, what: &str| {
            assert_eq!(outcome.expect_err(what).kind(), ErrorKind::PermissionDenied, "{what}");
        };
        if files {
            refused(File::open("/etc/passwd").map(|_| ()), "another file");
            refused(File::create("/tmp/brownout-outside").map(|_| ()), "a file in another folder");
            refused(std::fs::read_dir("/").map(|_| ()), "another folder");
        }
        if calls {
            refused(Command::new("/bin/true").status().map(|_| ()), "a program");
            refused(TcpListener::bind("127.0.0.1:0").map(|_| ()), "a network");
            refused(UdpSocket::bind("127.0.0.1:0").map(|_| ()), "a network");
            for (call, outcome) in others(Path::new("/nowhere")) {
                assert_eq!(outcome, Err(Errno::PERM), "{call}");
            }
        }
    }
}
