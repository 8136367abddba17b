//! Clients that hand over what a call waits for: none of them can hold up the server's thread.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command as Process};

use guest_memory::GuestFiles;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use vfio::message::{Command, Errno};
use vfio::{Doorbells, ServerConfig};

use crate::common::{PATIENCE, RawClient, Rig, event, memory_file, numbers, pause, signals};

const EVENT_TRIGGER: u32 = 4 | 32;
const EVENT_UNMASK: u32 = 4 | 16;
const PIN: u32 = 0;
const MSIX: u32 = 2;

/// The attack: hand over a descriptor that does not block, then clear O_NONBLOCK and fill the counter.
fn spoil(event: &OwnedFd) {
    let flags = fcntl_getfl(event).expect("flags");
    rustix::io::write(event, &(u64::MAX - 1).to_ne_bytes()).expect("filled");
    fcntl_setfl(event, flags - OFlags::NONBLOCK).expect("it blocks now");
}

#[test]
fn a_descriptor_that_blocks_once_it_is_attached_does_not_stop_the_server() {
    let rig = Rig::new(Doorbells::Trapped);
    let mut client = rig.ready_client();
    let (message, pin) = (event(), event());
    client.set_irqs([EVENT_TRIGGER, MSIX, 0, 1], &[], &[&message]).expect("attach");
    client.set_irqs([EVENT_TRIGGER, PIN, 0, 1], &[], &[&pin]).expect("attach");
    spoil(&message);
    spoil(&pin);
    for _ in 0..300 {
        rig.with(|server, _| {
            server.signal_message(0);
            server.set_pin(true);
        });
    }
    assert_eq!(client.read(7, 0, 2), Ok(vec![0xf4, 0x1a]), "the server goes on");
    assert_eq!((signals(&message), signals(&pin)), (u64::MAX, u64::MAX), "full, and nothing worse");
    rig.with(|server, _| server.signal_message(0));
    assert_eq!(signals(&message), 1, "and good for whoever reads it");
}

/// The server reads what unmasks the pin: a client that empties it in between must not make it wait.
#[test]
fn an_unmask_descriptor_that_blocks_does_not_stop_the_server() {
    let rig = Rig::new(Doorbells::Trapped);
    let mut client = rig.ready_client();
    let unmask = eventfd(0, EventfdFlags::CLOEXEC).expect("an event descriptor that blocks");
    client.set_irqs([EVENT_UNMASK, PIN, 0, 1], &[], &[&unmask]).expect("attach");
    for _ in 0..500 {
        rustix::io::write(&unmask, &1_u64.to_ne_bytes()).expect("unmask");
        let taken = rustix::io::preadv2(
            &unmask,
            &mut [std::io::IoSliceMut::new(&mut [0; 8])],
            u64::MAX,
            rustix::io::ReadWriteFlags::NOWAIT,
        );
        assert!(matches!(taken, Ok(8) | Err(rustix::io::Errno::AGAIN)));
    }
    assert_eq!(client.read(7, 0, 2), Ok(vec![0xf4, 0x1a]));
}

/// Timers, pipes, sockets and devices are no memory and no interrupt, and the message that brings one is refused whole.
#[test]
fn descriptors_of_other_kinds_are_refused_with_their_message() {
    let rig = Rig::new(Doorbells::Trapped);
    let mut client = rig.ready_client();
    let (pipe, _other) = std::io::pipe().expect("a pipe");
    let pipe: OwnedFd = pipe.into();
    let device: OwnedFd = File::open("/dev/zero").expect("opened").into();
    let socket: OwnedFd = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound").into();
    for harmful in [pipe, device, socket] {
        assert_eq!(client.map(3, 0, 0, 0x1000, Some(&harmful)), Err(Errno::INVAL), "{harmful:?}");
        assert_eq!(client.set_irqs([EVENT_TRIGGER, MSIX, 0, 1], &[], &[&harmful]), Err(Errno::INVAL), "{harmful:?}");
    }
    client.map(3, 0, 0, 0x1000, Some(&memory_file(0x1000))).expect("memory is");
    assert_eq!(client.map(3, 0, 0x1000, 0x1000, Some(&event())), Err(Errno::INVAL), "an event is no memory");
    assert_eq!(
        client.set_irqs([EVENT_TRIGGER, MSIX, 0, 1], &[], &[&memory_file(8)]),
        Err(Errno::INVAL),
        "and memory no event"
    );
}

/// What QEMU's memory backends have: a memfd, a file on /dev/shm, huge pages of either. A file on a disk is memory only if asked for.
#[test]
fn memory_of_every_backend_of_qemu_is_accepted() {
    let disk = tempfile::tempfile().expect("a file");
    disk.set_len(0x1000).expect("its length");
    // Where the folder for temporary files lies in memory, it is as good as /dev/shm.
    let disk_is_memory = rustix::fs::fcntl_get_seals(&disk).is_ok();
    let disk: OwnedFd = disk.into();
    let shared = tempfile::tempfile_in("/dev/shm").expect("a file on tmpfs");
    shared.set_len(0x1000).expect("its length");
    let shared: OwnedFd = shared.into();
    for guest_files in [GuestFiles::Memory, GuestFiles::LocalDisk] {
        let rig = Rig::with_config(&ServerConfig { guest_files, ..ServerConfig::default() });
        let mut client = rig.ready_client();
        client.map(3, 0, 0, 0x1000, Some(&memory_file(0x1000))).expect("a memfd");
        client.map(3, 0, 0x1000, 0x1000, Some(&shared)).expect("a file on /dev/shm");
        let answer = client.map(3, 0, 0x2000, 0x1000, Some(&disk));
        if guest_files == GuestFiles::Memory && !disk_is_memory {
            assert_eq!(answer, Err(Errno::INVAL), "a file on a disk is not asked for");
        }
        if let Ok(huge) = rustix::fs::memfd_create("huge", rustix::fs::MemfdFlags::HUGETLB) {
            rustix::fs::ftruncate(&huge, 2 << 20).expect("its length");
            let answer = client.map(3, 0, 1 << 30, 2 << 20, Some(&huge));
            assert!(matches!(answer, Ok(()) | Err(Errno(12))), "there may be no huge pages: {answer:?}");
        }
    }
}

/// A file system of ours that answers two questions and no other: its root is a file, which can be opened. It lives in a process of its
/// own, because whoever waits for it can be ended by nothing but its end.
struct FileSystem {
    process: Child,
    folder: tempfile::TempDir,
}

const PLACE: &str = "BROWNOUT_STALLING_FILE_SYSTEM";

impl FileSystem {
    /// Nothing where there is no FUSE, or we may not mount.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        File::create(folder.path().join("file")).expect("where to mount");
        let mut process = Process::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "stalling::the_file_system", "--ignored", "--nocapture"])
            .env(PLACE, folder.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("started");
        while process.try_wait().expect("known").is_none() {
            if folder.path().join("mounted").exists() {
                return Some(Self { process, folder });
            }
            pause();
        }
        None
    }

    fn open(&self) -> OwnedFd {
        File::options().read(true).write(true).open(self.folder.path().join("file")).expect("opened").into()
    }

    fn end(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("gone");
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = rustix::mount::unmount(self.folder.path().join("file"), rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
#[ignore = "not a test: the process that another test starts"]
fn the_file_system() {
    let Some(folder) = std::env::var_os(PLACE) else { return };
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).expect("set");
    serve_files(Path::new(&folder));
}

/// Mounts, answers INIT and OPEN, hears everything else and says nothing; at most for 20 seconds (FUSE 7.31, `linux/fuse.h`).
fn serve_files(folder: &Path) {
    const INIT: u32 = 26;
    const OPEN: u32 = 14;
    let device = File::options().read(true).write(true).open("/dev/fuse").expect("FUSE");
    let options = format!("fd={},rootmode=100644,user_id=0,group_id=0", device.as_raw_fd());
    let options = std::ffi::CString::new(options).expect("no zero byte");
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("stalling", folder.join("file"), "fuse", flags, options.as_c_str()).expect("mounted");
    File::create(folder.join("mounted")).expect("told");
    let mut request = vec![0; 1 << 20];
    let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
    while poll(&mut [PollFd::new(&device, PollFlags::IN)], Some(&limit)) == Ok(1) {
        let length = rustix::io::read(&device, &mut request).expect("a request");
        assert!(length >= 40, "a request has a header");
        let operation = u32::from_le_bytes(request[4..8].try_into().expect("four bytes"));
        let body = match operation {
            INIT => [numbers(&[7, 31, 0, 0, 0, 1 << 16], &[]), vec![0; 40]].concat(),
            OPEN => vec![0; 16],
            _ => continue,
        };
        let size = u32::try_from(16 + body.len()).expect("short");
        let reply = [numbers(&[size, 0], &[]), request[8..16].to_vec(), body].concat();
        rustix::io::write(&device, &reply).expect("answered");
    }
}

/// Asks for memory in the file; whether the server stayed with the client.
fn is_refused(client: &mut RawClient, file: &OwnedFd) -> bool {
    use std::io::Read as _;
    let payload = numbers(&[32, 3], &[0, 0, 0x1000]);
    let message = client.message(Command::DMA_MAP, 0, &payload);
    client.send_with(&message, &[file.as_fd()]);
    let mut head = [0; 16];
    let stays = client.stream.read_exact(&mut head).is_ok();
    assert!(!stays || head[12..] == Errno::INVAL.0.to_le_bytes(), "refused");
    stays
}

/// Even closing such a file waits for its file system. The server refuses it, goes on, and when too many of them wait to be closed it has
/// no client until they are.
#[test]
fn a_file_whose_file_system_never_answers_does_not_stop_the_server() {
    let Some(mut files) = FileSystem::mount() else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    let file = files.open();
    for guest_files in [GuestFiles::Memory, GuestFiles::LocalDisk] {
        let rig = Rig::with_config(&ServerConfig { guest_files, ..ServerConfig::default() });
        let mut client = rig.ready_client();
        assert!(is_refused(&mut client, &file), "as memory");
        assert_eq!(client.set_irqs([EVENT_TRIGGER, MSIX, 0, 1], &[], &[&file]), Err(Errno::INVAL), "as an interrupt");
        assert_eq!(client.set_irqs([EVENT_UNMASK, PIN, 0, 1], &[], &[&file]), Err(Errno::INVAL));
        assert_eq!(client.read(7, 0, 2), Ok(vec![0xf4, 0x1a]), "the server goes on");
    }
    let rig = Rig::new(Doorbells::Trapped);
    let mut client = rig.ready_client();
    assert!((0..64).any(|_| !is_refused(&mut client, &file)), "in the end the client goes");
    assert!(!rig.with(|server, _| server.client_connected()), "and no other comes");
    assert_eq!(std::io::Read::read(&mut &rig.client().stream, &mut [0]).expect("the end"), 0);
    files.end();
    drop(file);
    // A pause is a millisecond, or longer.
    let heard = (0..PATIENCE.as_millis()).any(|_| {
        pause();
        let mut client = rig.client();
        let message = client.message(Command::VERSION, 0, &[0; 4]);
        std::io::Write::write_all(&mut client.stream, &message).is_ok()
            && matches!(std::io::Read::read(&mut client.stream, &mut [0]), Ok(1))
    });
    assert!(heard, "clients come again once the files can be closed");
}
