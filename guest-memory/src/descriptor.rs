//! File descriptors from a peer, vetted before anything else is done with them: a call on one may last as long as whoever serves its
//! file likes. That is true of `fstat`, `fstatfs`, `poll` and `mmap` on a FUSE file, of touching its pages, and of closing it. So only
//! questions that the kernel answers alone are asked here, and what is not known to be harmless is closed on a thread that nothing
//! waits for.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SendError, Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::fs::{AtFlags, StatxFlags, fcntl_get_seals, statx};
use rustix::net::{AddressFamily, Shutdown, shutdown};
use tracing::warn;

use crate::event;
use crate::limit::Limit;

/// What a guest's memory may lie in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GuestFiles {
    /// Memory with a descriptor: memfd, tmpfs, hugetlbfs.
    #[default]
    Memory,
    /// Also files on the disks of this host, whose pages come as soon as the disk has them.
    LocalDisk,
}

/// File systems whose files come from a disk of this host. Network file systems, overlays and those that a process serves are not here.
const LOCAL_FILE_SYSTEMS: [&str; 8] = ["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "bcachefs", "zfs"];

/// Descriptors of unknown kinds that wait to be closed. At this many, somebody hands them over who does not let us close them.
const WAITING_MAX: usize = 16;
static WAITING: AtomicUsize = AtomicUsize::new(0);
static CLOSER: OnceLock<Sender<(OwnedFd, bool)>> = OnceLock::new();

/// Closes a descriptor of a peer, and waits for nobody: the last close of a file may take as long as whoever serves it likes, that of a
/// connection as long as it lingers, and that of a socket as long as what was sent into it and never received.
pub fn discard(descriptor: impl Into<OwnedFd>) {
    close_later(descriptor.into(), false);
}

/// The thread that closes, which lives as long as the process.
fn closer() -> &'static Sender<(OwnedFd, bool)> {
    CLOSER.get_or_init(|| {
        let (closer, closing) = channel::<(OwnedFd, bool)>();
        let body = move || {
            for (descriptor, unknown) in closing {
                drop(descriptor);
                WAITING.fetch_sub(usize::from(unknown), Ordering::Relaxed);
            }
        };
        // Without the thread everything is kept open, up to the limit.
        let _ = std::thread::Builder::new().name("closer".to_owned()).spawn(body);
        closer
    })
}

/// `unknown` descriptors are counted: those of clients that come and go are not, however many wait at a time.
fn close_later(descriptor: OwnedFd, unknown: bool) {
    let closer = closer();
    WAITING.fetch_add(usize::from(unknown), Ordering::Relaxed);
    if let Err(SendError((descriptor, _))) = closer.send((descriptor, unknown)) {
        let _ = descriptor.into_raw_fd();
    }
}

/// Ends a connection: the peer learns of it now, the descriptor is closed when it can be.
pub fn hang_up(stream: impl Into<OwnedFd>) {
    let stream = stream.into();
    let _ = shutdown(&stream, Shutdown::Both);
    discard(stream);
}

/// Whether so many descriptors wait to be closed that no more may be taken from anybody.
#[must_use]
pub fn is_choked() -> bool {
    WAITING.load(Ordering::Relaxed) >= WAITING_MAX
}

/// Judges descriptors.
#[derive(Debug)]
pub struct Vetting {
    /// Which file systems are mounted; `None` if files on disks are refused.
    mounts: Option<Mutex<File>>,
    refusals: Limit,
}

impl Vetting {
    /// Opens and starts what it will need, as long as it can.
    ///
    /// # Errors
    /// The system does not tell which file systems are mounted, and files on disks are to be accepted.
    pub fn new(files: GuestFiles) -> io::Result<Self> {
        event::prepare();
        closer();
        let mounts = match files {
            GuestFiles::Memory => None,
            GuestFiles::LocalDisk => Some(Mutex::new(File::open("/proc/self/mountinfo")?)),
        };
        Ok(Self { mounts, refusals: Limit::default() })
    }

    /// The descriptor, if no call on it can be held up by a peer: an event descriptor, shared memory, a file as far as they are accepted.
    /// Any other is closed, and a line of the log says which it was.
    #[must_use]
    pub fn admit(&self, descriptor: OwnedFd) -> Option<OwnedFd> {
        if self.is_harmless(descriptor.as_fd()) {
            return Some(descriptor);
        }
        if let Some(times) = self.refusals.admit() {
            let name = event::name_of(descriptor.as_fd()).unwrap_or_default();
            warn!(
                file = %String::from_utf8_lossy(&name).escape_debug(),
                times,
                "refused a descriptor: guest memory lies in a memfd, on /dev/shm or on hugetlbfs (on a local disk with \
                 --guest-memory files), interrupts are event descriptors"
            );
        }
        close_later(descriptor, true);
        None
    }

    fn is_harmless(&self, descriptor: BorrowedFd<'_>) -> bool {
        // Only files of shared memory and of huge pages have seals, and the kernel alone knows them.
        fcntl_get_seals(descriptor).is_ok() || event::is_event(descriptor) || self.is_on_local_disk(descriptor)
    }

    /// Whether a file lies on a file system that is mounted where we see it, and is known to be served by nobody but the kernel.
    fn is_on_local_disk(&self, descriptor: BorrowedFd<'_>) -> bool {
        let Some(mounts) = &self.mounts else { return false };
        // What the kernel remembers: the file system is not asked.
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let Ok(status) = statx(descriptor, "", flags, StatxFlags::MNT_ID) else { return false };
        let mut text = String::new();
        let mut mounts = mounts.lock().unwrap_or_else(PoisonError::into_inner);
        let read = mounts.rewind().and_then(|()| mounts.read_to_string(&mut text));
        read.is_ok() && file_system_of(&text, status.stx_mnt_id).is_some_and(|name| LOCAL_FILE_SYSTEMS.contains(&name))
    }
}

/// Whether a descriptor is a unix socket: calls on it wait only as we ask for.
#[must_use]
pub fn is_unix_socket(descriptor: BorrowedFd<'_>) -> bool {
    rustix::net::sockopt::socket_domain(descriptor).is_ok_and(|family| family == AddressFamily::UNIX)
}

/// The type of the file system that has a number among the mounted ones (proc_pid_mountinfo(5): a line begins with the number, and the
/// type follows a dash).
fn file_system_of(mounts: &str, number: u64) -> Option<&str> {
    let line = mounts.lines().find(|line| line.split(' ').next().and_then(|word| word.parse().ok()) == Some(number))?;
    line.split_once(" - ")?.1.split(' ').next()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use rustix::event::{EventfdFlags, eventfd};
    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    #[test]
    fn memory_and_events_are_admitted_and_everything_else_is_not() {
        let vetting = Vetting::new(GuestFiles::Memory).expect("nothing to open");
        let harmless: [OwnedFd; 3] = [
            eventfd(0, EventfdFlags::CLOEXEC).expect("an event descriptor"),
            memfd_create("memory", MemfdFlags::CLOEXEC).expect("memfd"),
            tempfile::tempfile_in("/dev/shm").expect("a file on tmpfs").into(),
        ];
        for descriptor in harmless {
            assert!(vetting.admit(descriptor).is_some());
        }
        let (stream, _other) = UnixStream::pair().expect("a pair");
        let harmful: [OwnedFd; 4] = [
            stream.into(),
            File::open("/dev/zero").expect("opened").into(),
            File::open("/proc/self/status").expect("opened").into(),
            std::net::UdpSocket::bind("127.0.0.1:0").expect("bound").into(),
        ];
        for descriptor in harmful {
            let name = format!("{descriptor:?}");
            assert!(vetting.admit(descriptor).is_none(), "{name}");
        }
    }

    /// The type is looked up by the number of the mount: not all of a list's file systems are on every machine.
    #[test]
    fn the_file_system_of_a_mount_is_found_by_its_number() {
        let mounts = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
                      220 22 0:34 / /home/a\\040-\\040b rw master:2 - fuse.sshfs host: rw\n";
        assert_eq!(file_system_of(mounts, 22), Some("ext4"));
        assert_eq!(file_system_of(mounts, 220), Some("fuse.sshfs"));
        assert_eq!(file_system_of(mounts, 2), None, "another's mount");
    }

    #[test]
    fn a_file_is_admitted_where_files_are_and_its_file_system_is_known() {
        let vetting = Vetting::new(GuestFiles::LocalDisk).expect("the mounts are told");
        let file = tempfile::tempfile().expect("a file");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("told");
        let flags = AtFlags::EMPTY_PATH;
        let number = statx(&file, "", flags, StatxFlags::MNT_ID).expect("known").stx_mnt_id;
        let local = file_system_of(&mounts, number).is_some_and(|name| LOCAL_FILE_SYSTEMS.contains(&name));
        let memory = fcntl_get_seals(&file).is_ok();
        assert_eq!(vetting.admit(file.into()).is_some(), local || memory);
        assert!(vetting.admit(File::open("/proc/self/status").expect("opened").into()).is_none(), "no disk");
    }

    #[test]
    fn whoever_is_hung_up_on_hears_it() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        hang_up(ours);
        assert_eq!((&theirs).read(&mut [0]).expect("the end"), 0);
    }
}
