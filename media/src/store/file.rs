//! A disk that is a file, with a thread that does what may block. Owns the file, its lock and the thread; does not know what the
//! bytes mean. Nothing here is waited for, except when a drive is taken apart, and reads: what is in the host's page cache takes a
//! microsecond, and what is not takes as long as the host's disk does, with everything else of the drive waiting behind it.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rustix::fs::{Advice, fadvise};
use rustix::io::Errno;

use super::backing::{StoreError, Trouble};
use super::disk::Disk;
use super::header::ImageHeader;
use super::image::{Caching, ImageStore};
use super::kept::Kept;
use super::platter::FilePlatter;
pub(super) use super::platter::read_at;
use super::schedule::{Done, Operation, Schedule};
use crate::geometry::{Geometry, GeometryConfig};
use crate::journal::METADATA_PAGE;
use crate::root::Layout;

/// Bytes that may wait for the thread before writers are asked to wait.
const BACKLOG_BYTES: usize = 128 << 20;
/// So much is worth waking the thread for, if nobody waits for what is there.
const BATCH_BYTES: usize = 1 << 20;
/// How long the thread waits for a batch to grow.
const GATHER: Duration = Duration::from_millis(1);
/// How long the thread waits before it tries again what failed: at first, and, since each try writes everything again that is not known
/// to be durable, twice as long each time up to the other.
const RETRY: Duration = Duration::from_millis(50);
const RETRY_MOST: Duration = Duration::from_millis(800);
/// How often a file is synced before it is given up.
const OPENING_SYNCS: u32 = 3;
/// A new file is its owner's alone; a stricter umask makes it stricter.
const NEW_FILE_MODE: u32 = 0o600;

/// How a file is used.
pub struct FileOptions {
    /// Never ask the host to put data on its disk (QEMU's word for it): a failure of the host may lose anything.
    pub cache_unsafe: bool,
    /// Called from the thread whenever a ticket is done or something failed: how a sleeping device loop is woken.
    pub waker: Option<Box<dyn Fn() + Send>>,
    /// What is kept for the sake of speed.
    pub caching: Caching,
    /// What tells a file that is made from all others: its creator draws it by lot. All zeroes are none.
    pub identity: [u8; 16],
}

impl Default for FileOptions {
    /// Safe, with nobody to wake; a little memory, and the lines that collection keeps in reserve keep their room.
    fn default() -> Self {
        let caching = Caching { cache_bytes: 64 << 20, kept_lines: 8 };
        Self { cache_unsafe: false, waker: None, caching, identity: [0; 16] }
    }
}

#[derive(Default)]
struct Shared {
    mailbox: Mutex<Mailbox>,
    /// For the thread: there is something to do.
    called: Condvar,
    /// For who waits for the thread: something changed.
    changed: Condvar,
    /// How often something failed since it last went on: the same as `error`, without the lock.
    failures: AtomicU64,
}

/// What goes between the caller and the thread.
#[derive(Default)]
struct Mailbox {
    operations: Vec<Operation>,
    /// Bytes of `operations`, and of all that are not done.
    bytes: usize,
    waiting_bytes: usize,
    /// Somebody waits for a ticket.
    urgent: bool,
    asleep: bool,
    done: Done,
    idle: bool,
    error: Option<StoreError>,
    /// Somebody waits for what is not durable,
    asked: bool,
    /// and here it is.
    undurable: Option<Kept>,
    stop: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Mailbox> {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file and its thread.
pub struct FileDisk {
    file: Option<Arc<File>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
    tickets: u64,
    turns: u64,
    /// What lies over the file until a ticket is done: what did not reach it when the drive was taken apart.
    over: Option<(u64, Kept)>,
}

pub(super) fn failed(what: &str, path: &Path, error: &io::Error) -> StoreError {
    StoreError::of_system(&format!("cannot {what} {}", path.display()), error)
}

/// The bytes that the metadata region of a drive takes.
fn metadata_bytes(geometry: &Geometry, journal_entries: u64) -> u64 {
    Layout::of(geometry, journal_entries).bytes
}

impl ImageStore<FileDisk> {
    /// Bytes of memory that a store for a geometry takes: for its lines, and for what is in those that are open or on their way to the
    /// disk. Beyond an open line in each of two streams writers wait for the disk.
    #[must_use]
    pub(crate) fn bytes_for(geometry: &Geometry) -> (usize, usize) {
        let kept = FileOptions::default().caching.cache_bytes + BACKLOG_BYTES;
        (Self::bytes_of_lines(geometry), (2 * geometry.line_bytes).saturating_add(kept))
    }

    /// Makes a media file, which must not exist yet. It is sparse: it takes room as it is written.
    ///
    /// # Errors
    /// Where the file exists or cannot be made.
    pub fn create_file(
        path: &Path,
        geometry: &Geometry,
        journal_entries: u64,
        options: FileOptions,
    ) -> Result<Self, StoreError> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(NEW_FILE_MODE).open(path);
        let file = file.map_err(|error| failed("create", path, &error))?;
        let made = Self::create_in(&file, path, geometry, journal_entries, options);
        if made.is_err() {
            // Ours, and nothing is in it. That it cannot be removed is less worth telling than why.
            let _ = std::fs::remove_file(path);
        }
        made
    }

    fn create_in(
        file: &File,
        path: &Path,
        geometry: &Geometry,
        journal_entries: u64,
        options: FileOptions,
    ) -> Result<Self, StoreError> {
        lock(file, path)?;
        let (caching, cache_unsafe, identity) = (options.caching, options.cache_unsafe, options.identity);
        let disk = FileDisk::new(file.try_clone().map_err(|error| failed("use", path, &error))?, true, options)?;
        let mut store = Self::create_named(geometry, metadata_bytes(geometry, journal_entries), identity, disk)?;
        store.set_caching(caching);
        store.extend()?;
        if !cache_unsafe {
            sync_folder(path).map_err(|error| failed("sync the folder of", path, &error))?;
        }
        Ok(store)
    }

    /// Opens a media file, for this process alone.
    ///
    /// # Errors
    /// Where it is missing, in use, read-only, damaged, cut off, of another version, or of another geometry, or where what an earlier
    /// process left in the system's memory does not reach the disk. It is not touched then.
    pub fn open_file(path: &Path, geometry: &Geometry, options: FileOptions) -> Result<Self, StoreError> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(|error| failed("open", path, &error))?;
        lock(&file, path)?;
        let length = file.metadata().map_err(|error| failed("examine", path, &error))?.len();
        if !options.cache_unsafe {
            read_the_disk(&file).map_err(|error| failed("sync", path, &error))?;
        }
        let caching = options.caching;
        let mut store = Self::open_whole(geometry, FileDisk::new(file, false, options)?, length)?;
        store.set_caching(caching);
        Ok(store)
    }
}

/// What a media file's header says, without opening it for use.
///
/// # Errors
/// Where the file cannot be read or is no media file.
pub fn inspect_file(path: &Path) -> Result<GeometryConfig, StoreError> {
    let file = File::open(path).map_err(|error| failed("open", path, &error))?;
    let mut bytes = [0; METADATA_PAGE];
    read_at(&file, 0, &mut bytes).map_err(|error| failed("read", path, &error))?;
    ImageHeader::decode(&bytes).map(|header| header.geometry)
}

fn lock(file: &File, path: &Path) -> Result<(), StoreError> {
    file.try_lock().map_err(|_| StoreError::Refused(format!("{} is in use by another process", path.display())))
}

/// Sees to it that what is read from now on is what the disk has. Pages that an earlier process wrote and that did not reach the disk may
/// be in the system's memory, taken for clean: they are dropped, and what waits to be written is written.
pub(super) fn read_the_disk(file: &File) -> io::Result<()> {
    let mut synced = Ok(());
    for _ in 0..OPENING_SYNCS {
        synced = match file.sync_data() {
            // Nothing can have been written where nothing can be.
            Err(error)
                if matches!(error.raw_os_error().map(Errno::from_raw_os_error), Some(Errno::ROFS | Errno::INVAL)) =>
            {
                Ok(())
            }
            other => other,
        };
        // A failure that was told may be one of the past: the pages that it was about are dropped, and the next sync is about the rest.
        fadvise(file, 0, None, Advice::DontNeed)?;
        if synced.is_ok() {
            break;
        }
    }
    synced
}

/// Makes it durable that a file of this path exists.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // A file system that knows no such thing, and a folder that may be written and not read.
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::InvalidInput) => Ok(()),
        other => other,
    }
}

impl FileDisk {
    fn new(file: File, new: bool, options: FileOptions) -> Result<Self, StoreError> {
        let (file, shared) = (Arc::new(file), Arc::new(Shared::default()));
        shared.lock().idle = true;
        let platter = FilePlatter { file: Arc::clone(&file), cache_unsafe: options.cache_unsafe };
        let worker = Worker { platter, new, shared: Arc::clone(&shared), options };
        let thread = Builder::new().spawn(move || worker.run());
        let thread = thread
            .map_err(|error| StoreError::of_system("cannot start the thread that writes the media file", &error))?;
        Ok(Self { file: Some(file), thread: Some(thread), shared, tickets: 0, turns: 0, over: None })
    }

    /// Waits until nothing is left to do or the disk is stuck. Only for taking a drive apart.
    ///
    /// # Errors
    /// Where the disk is stuck.
    pub fn settle(&self) -> Result<(), StoreError> {
        let mut mailbox = self.shared.lock();
        mailbox.urgent = true;
        self.shared.called.notify_all();
        while !mailbox.idle && mailbox.error.is_none() {
            mailbox = self.shared.changed.wait(mailbox).unwrap_or_else(PoisonError::into_inner);
        }
        mailbox.error.clone().map_or(Ok(()), Err)
    }

    /// What was called and is not durable.
    fn undurable(&self) -> Kept {
        let mut mailbox = self.shared.lock();
        mailbox.asked = true;
        self.shared.called.notify_all();
        loop {
            if let Some(undurable) = mailbox.undurable.take() {
                return undurable;
            }
            mailbox = self.shared.changed.wait(mailbox).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for FileDisk {
    /// Lets the thread finish what it was given, unless it is stuck.
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.called.notify_all();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has already said so.
            let _ = thread.join();
        }
    }
}

impl Disk for FileDisk {
    fn call(&mut self, operation: Operation) -> u64 {
        self.turns += u64::from(!matches!(operation, Operation::Free(..)));
        let mut mailbox = self.shared.lock();
        let (before, bytes) = (mailbox.bytes, operation.bytes());
        mailbox.bytes += bytes;
        mailbox.waiting_bytes += bytes;
        mailbox.urgent |= matches!(operation, Operation::Sync(_) | Operation::Notice(_));
        mailbox.operations.push(operation);
        let grown = before < BATCH_BYTES && mailbox.bytes >= BATCH_BYTES;
        // A thread that gathers is woken once more, when there is enough or somebody waits.
        let wake = mailbox.asleep && (mailbox.idle || mailbox.urgent || grown);
        mailbox.idle = false;
        drop(mailbox);
        if wake {
            self.shared.called.notify_one();
        }
        self.turns
    }

    fn ticket(&mut self, durable: bool) -> u64 {
        self.tickets += 1;
        self.call(if durable { Operation::Sync(self.tickets) } else { Operation::Notice(self.tickets) });
        self.tickets
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), StoreError> {
        let Some(file) = &self.file else {
            return Err(StoreError::Refused("the media file is closed".into()));
        };
        let read = read_at(file, offset, into);
        if let Some((ticket, over)) = &self.over {
            if self.shared.lock().done.ticket < *ticket {
                if over.lay_over(offset, into) == into.len() {
                    return Ok(());
                }
            } else {
                self.over = None;
            }
        }
        read.map_err(|error| StoreError::of_system("cannot read the media file", &error))
    }

    fn set_length(&mut self, bytes: u64) -> Result<(), StoreError> {
        let extended = self.file.as_ref().map_or(Ok(()), |file| file.set_len(bytes));
        extended.map_err(|error| StoreError::of_system("cannot extend the media file", &error))
    }

    fn backlogged(&self) -> bool {
        self.shared.lock().waiting_bytes > BACKLOG_BYTES
    }

    fn trouble(&mut self) -> Option<Trouble> {
        let times = self.shared.failures.load(Ordering::Acquire);
        let error = if times == 0 { None } else { self.shared.lock().error.clone() };
        error.map(|error| Trouble { error, times })
    }

    fn done(&mut self) -> Result<Done, StoreError> {
        let mailbox = self.shared.lock();
        mailbox.error.clone().map_or(Ok(mailbox.done), Err)
    }

    fn take(&mut self) -> Self {
        // In one process nothing that was handed over is lost. What the system's memory holds of it may be dropped where the disk fails,
        // so it is made durable; where that cannot be, it lies over what is read until it is.
        let ticket = self.last_ticket();
        let over = self.settle().is_err().then(|| (ticket, self.undurable()));
        let husk = Self { file: None, thread: None, shared: Arc::default(), tickets: 0, turns: 0, over: None };
        self.over = over;
        // What is durable is counted on: whoever opens the store again asks where that stands.
        std::mem::replace(self, husk)
    }
}

struct Worker {
    platter: FilePlatter,
    /// Nothing durable is in it yet.
    new: bool,
    shared: Arc<Shared>,
    options: FileOptions,
}

impl Worker {
    fn run(mut self) {
        let mut schedule = if self.new { Schedule::of_new_disk() } else { Schedule::default() };
        let mut pause = RETRY;
        while self.receive(&mut schedule) {
            let before = schedule.done();
            match schedule.step(&mut self.platter) {
                Ok(written) => {
                    if !schedule.failing() {
                        pause = RETRY;
                    }
                    self.tell(&schedule, written, schedule.done().ticket != before.ticket);
                }
                Err(error) => {
                    if !self.report(error, pause) {
                        return;
                    }
                    pause = RETRY_MOST.min(pause * 2);
                }
            }
        }
    }

    /// Takes in what was called, waiting for it where nothing is left to do; `false` where nothing will come any more.
    fn receive(&self, schedule: &mut Schedule) -> bool {
        let mut mailbox = self.shared.lock();
        if schedule.idle() {
            while mailbox.operations.is_empty() && !mailbox.asked {
                if mailbox.stop {
                    return false;
                }
                mailbox.asleep = true;
                mailbox = self.shared.called.wait(mailbox).unwrap_or_else(PoisonError::into_inner);
                mailbox.asleep = false;
            }
            let more = |mailbox: &mut Mailbox| {
                !mailbox.urgent && !mailbox.asked && !mailbox.stop && mailbox.bytes < BATCH_BYTES
            };
            mailbox.asleep = true;
            let gathered = self.shared.called.wait_timeout_while(mailbox, GATHER, more);
            mailbox = gathered.unwrap_or_else(PoisonError::into_inner).0;
            mailbox.asleep = false;
        }
        let operations = std::mem::take(&mut mailbox.operations);
        (mailbox.bytes, mailbox.urgent) = (0, false);
        let asked = std::mem::take(&mut mailbox.asked);
        drop(mailbox);
        operations.into_iter().for_each(|operation| schedule.accept(operation));
        if asked {
            self.shared.lock().undurable = Some(schedule.undurable());
            self.shared.changed.notify_all();
        }
        true
    }

    /// Notes a failure and waits a little; `false` where it was told to stop.
    fn report(&self, error: StoreError, pause: Duration) -> bool {
        let mut mailbox = self.shared.lock();
        mailbox.error = Some(error);
        self.shared.failures.fetch_add(1, Ordering::Release);
        if mailbox.stop {
            return false;
        }
        self.shared.changed.notify_all();
        drop(mailbox);
        self.wake();
        let mailbox = self.shared.lock();
        drop(self.shared.called.wait_timeout_while(mailbox, pause, |mailbox| !mailbox.stop && !mailbox.asked));
        true
    }

    /// Says how far it came.
    fn tell(&self, schedule: &Schedule, written: usize, ticket: bool) {
        let mut mailbox = self.shared.lock();
        mailbox.done = schedule.done();
        mailbox.waiting_bytes -= written;
        let recovered = mailbox.error.is_some() && !schedule.failing();
        if recovered {
            mailbox.error = None;
            self.shared.failures.store(0, Ordering::Release);
        }
        mailbox.idle = schedule.idle() && mailbox.operations.is_empty();
        let idle = mailbox.idle;
        drop(mailbox);
        if idle {
            self.shared.changed.notify_all();
        }
        if ticket || recovered {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(wake) = &self.options.waker {
            wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schedule::Bytes;

    fn disk(folder: &tempfile::TempDir) -> FileDisk {
        let path = folder.path().join("file");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).expect("a file");
        FileDisk::new(file, true, FileOptions { cache_unsafe: true, ..FileOptions::default() }).expect("a thread")
    }

    #[test]
    fn a_file_is_used_with_care_and_a_little_memory_unless_something_else_is_asked_for() {
        let FileOptions { cache_unsafe, waker, caching, identity } = FileOptions::default();
        assert_eq!(caching, Caching { cache_bytes: 64 << 20, kept_lines: 8 });
        assert!(!cache_unsafe && waker.is_none() && identity == [0; 16]);
    }

    #[test]
    fn writers_wait_once_more_than_the_backlog_waits() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = disk(&folder);
        for (waiting, backlogged) in [(0, false), (BACKLOG_BYTES, false), (BACKLOG_BYTES + 1, true)] {
            disk.shared.lock().waiting_bytes = waiting;
            assert_eq!(disk.backlogged(), backlogged, "{waiting}");
        }
        disk.shared.lock().waiting_bytes = 0;
    }

    #[test]
    fn what_waits_is_counted_until_it_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut disk = disk(&folder);
        for at in 0..20 {
            disk.call(Operation::Free(at << 20, Bytes::new(vec![3; 300_000])));
            disk.call(Operation::Turn((at << 20) + (512 << 10), Bytes::new(vec![4; 1000])));
        }
        let ticket = disk.ticket(true);
        disk.settle().expect("nothing fails");
        let done = disk.done().expect("nothing fails");
        assert_eq!((done.ticket, done.durable_turns, disk.turns), (ticket, 21, 21));
        let mailbox = disk.shared.lock();
        assert_eq!((mailbox.waiting_bytes, mailbox.bytes, mailbox.idle), (0, 0, true));
        drop(mailbox);
        let mut byte = [0; 2];
        disk.read((7 << 20) + 299_999, &mut byte).expect("it is there");
        assert_eq!(byte, [3, 0]);
    }

    /// The thread says that it is idle only if nothing was called while it worked.
    #[test]
    fn a_thread_is_not_idle_while_something_waits_that_it_has_not_taken_in() {
        let shared = Arc::new(Shared::default());
        let folder = tempfile::tempdir().expect("a folder");
        let file = Arc::new(File::create(folder.path().join("file")).expect("a file"));
        let platter = FilePlatter { file, cache_unsafe: true };
        let rung = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&rung);
        let waker: Option<Box<dyn Fn() + Send>> = Some(Box::new(move || _ = counter.fetch_add(1, Ordering::Relaxed)));
        let options = FileOptions { waker, ..FileOptions::default() };
        let worker = Worker { platter, new: true, shared: Arc::clone(&shared), options };
        let mut schedule = Schedule::default();
        let tell = |schedule: &Schedule, ticket| {
            worker.tell(schedule, 0, ticket);
            (shared.lock().idle, rung.load(Ordering::Relaxed))
        };
        assert_eq!(tell(&schedule, false), (true, 0));
        shared.lock().operations.push(Operation::Notice(1));
        assert_eq!(tell(&schedule, false), (false, 0));
        assert!(worker.receive(&mut schedule));
        assert_eq!(tell(&schedule, false), (false, 0), "it is taken in, and not done");
        assert_eq!(tell(&Schedule::default(), true), (true, 1), "whoever waits for a ticket is woken");
        assert!(worker.report(StoreError::Failed("meant to".into()), Duration::ZERO));
        assert_eq!((shared.failures.load(Ordering::Relaxed), rung.load(Ordering::Relaxed)), (1, 2));
        assert_eq!(tell(&Schedule::default(), false), (true, 3), "and so is whoever waits for the end of trouble");
        assert_eq!((shared.failures.load(Ordering::Relaxed), shared.lock().error.is_none()), (0, true));
        shared.lock().stop = true;
        assert!(!worker.report(StoreError::Failed("meant to".into()), Duration::ZERO));
        assert!(!worker.receive(&mut Schedule::default()));
    }
}
