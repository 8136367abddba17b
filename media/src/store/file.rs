//! A disk that is a file, with a thread that does what may block. Owns the file, its lock and the thread; does not know what the
//! bytes mean. Nothing here is waited for, except when a drive is taken apart.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::backing::StoreError;
use super::image::{Disk, Done, ImageHeader, ImageStore};
use crate::geometry::{Geometry, GeometryConfig};
use crate::journal::METADATA_PAGE;
use crate::root::Layout;

/// Bytes that may wait for the thread before writers are asked to wait.
const BACKLOG_BYTES: u64 = 256 << 20;
/// How long the thread waits before it tries again what failed.
const RETRY: Duration = Duration::from_millis(50);

/// How a file is used.
#[derive(Default)]
pub struct FileOptions {
    /// Never ask the host to put data on its disk (QEMU's word for it): a failure of the host may lose anything.
    pub cache_unsafe: bool,
    /// Called from the thread whenever a sync is done or something failed: how a sleeping device loop is woken.
    pub waker: Option<Box<dyn Fn() + Send>>,
}

enum Operation {
    Write(u64, Arc<Vec<u8>>),
    Barrier,
    Sync(u64),
}

#[derive(Default)]
struct Shared {
    writes: AtomicU64,
    ticket: AtomicU64,
    waiting_bytes: AtomicU64,
    /// Operations called and not done.
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    operations: u64,
    error: Option<StoreError>,
    stop: bool,
}

/// A file and its thread.
pub struct FileDisk {
    file: Option<Arc<File>>,
    queue: Option<Sender<Operation>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
    tickets: u64,
}

pub(super) fn failed(what: &str, path: &Path, error: &io::Error) -> StoreError {
    StoreError::Failed(format!("cannot {what} {}: {error}", path.display()))
}

/// The bytes that the metadata region of a drive takes.
fn metadata_bytes(geometry: &Geometry, journal_entries: u64) -> u64 {
    Layout::new(geometry.user_units, geometry.blocks(), journal_entries).bytes
}

impl ImageStore<FileDisk> {
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
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
        let file = file.map_err(|error| failed("create", path, &error))?;
        lock(&file, path)?;
        let disk = FileDisk::new(file.try_clone().map_err(|error| failed("use", path, &error))?, options);
        let store = Self::create(geometry, metadata_bytes(geometry, journal_entries), disk);
        file.set_len(store.image_bytes()).map_err(|error| failed("extend", path, &error))?;
        Ok(store)
    }

    /// Opens a media file, for this process alone.
    ///
    /// # Errors
    /// Where it is missing, in use, read-only, damaged, cut off, of another version, or of another geometry. It is not touched then.
    pub fn open_file(path: &Path, geometry: &Geometry, options: FileOptions) -> Result<Self, StoreError> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(|error| failed("open", path, &error))?;
        lock(&file, path)?;
        let length = file.metadata().map_err(|error| failed("examine", path, &error))?.len();
        let store = Self::open(geometry, FileDisk::new(file, options))?;
        store.check_length(length)?;
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
    file.try_lock().map_err(|_| StoreError::Failed(format!("{} is in use by another process", path.display())))
}

/// Reads what is there, and zeroes behind the end.
pub(super) fn read_at(file: &File, offset: u64, into: &mut [u8]) -> io::Result<()> {
    let mut at = 0;
    while at < into.len() {
        match file.read_at(&mut into[at..], offset + at as u64) {
            Ok(0) => {
                into[at..].fill(0);
                return Ok(());
            }
            Ok(count) => at += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl FileDisk {
    fn new(file: File, options: FileOptions) -> Self {
        let (queue, operations) = channel();
        let (file, shared) = (Arc::new(file), Arc::new(Shared::default()));
        let worker = Worker { file: Arc::clone(&file), shared: Arc::clone(&shared), options };
        let thread = std::thread::spawn(move || worker.run(&operations));
        Self { file: Some(file), queue: Some(queue), thread: Some(thread), shared, tickets: 0 }
    }

    fn call(&mut self, operation: Operation) {
        self.lock_waiting().operations += 1;
        if let Some(queue) = &self.queue {
            // The thread ends only after the queue does.
            let sent = queue.send(operation);
            assert!(sent.is_ok(), "the disk's thread outlives its queue");
        }
    }

    fn lock_waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nothing is left to do or the disk is stuck. Only for taking a drive apart.
    ///
    /// # Errors
    /// Where the disk is stuck.
    pub fn settle(&self) -> Result<(), StoreError> {
        let mut waiting = self.lock_waiting();
        while waiting.operations > 0 && waiting.error.is_none() {
            waiting = self.shared.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.error.clone().map_or(Ok(()), Err)
    }
}

impl Drop for FileDisk {
    /// Lets the thread finish what it was given, unless it is stuck.
    fn drop(&mut self) {
        self.lock_waiting().stop = true;
        self.shared.changed.notify_all();
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has already said so.
            let _ = thread.join();
        }
    }
}

struct Worker {
    file: Arc<File>,
    shared: Arc<Shared>,
    options: FileOptions,
}

impl Worker {
    fn run(&self, operations: &Receiver<Operation>) {
        while let Ok(operation) = operations.recv() {
            if !self.insist(&operation) {
                return;
            }
            self.finish(&operation);
        }
    }

    /// Does an operation, again and again until it succeeds; `false` where it was told to stop instead.
    fn insist(&self, operation: &Operation) -> bool {
        while let Err(error) = self.attempt(operation) {
            let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
            let error = if full { StoreError::NoSpace } else { StoreError::Failed(error.to_string()) };
            let mut waiting = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.error = Some(error);
            if waiting.stop {
                return false;
            }
            self.shared.changed.notify_all();
            drop(waiting);
            self.wake();
            let waiting = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.shared.changed.wait_timeout(waiting, RETRY));
        }
        true
    }

    fn attempt(&self, operation: &Operation) -> io::Result<()> {
        match operation {
            Operation::Write(offset, bytes) => self.file.write_all_at(bytes, *offset),
            Operation::Barrier | Operation::Sync(_) if self.options.cache_unsafe => Ok(()),
            Operation::Barrier | Operation::Sync(_) => self.file.sync_data(),
        }
    }

    fn finish(&self, operation: &Operation) {
        match operation {
            Operation::Write(_, bytes) => {
                self.shared.writes.fetch_add(1, Ordering::Release);
                self.shared.waiting_bytes.fetch_sub(bytes.len() as u64, Ordering::Relaxed);
            }
            Operation::Barrier => {}
            Operation::Sync(ticket) => self.shared.ticket.store(*ticket, Ordering::Release),
        }
        let mut waiting = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.operations -= 1;
        waiting.error = None;
        drop(waiting);
        self.shared.changed.notify_all();
        if matches!(operation, Operation::Sync(_)) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(wake) = &self.options.waker {
            wake();
        }
    }
}

impl Disk for FileDisk {
    fn write(&mut self, offset: u64, bytes: Arc<Vec<u8>>) {
        self.shared.waiting_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.call(Operation::Write(offset, bytes));
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), StoreError> {
        let Some(file) = &self.file else {
            return Err(StoreError::Failed("the file was closed".into()));
        };
        read_at(file, offset, into).map_err(|error| StoreError::Failed(error.to_string()))
    }

    fn barrier(&mut self) {
        self.call(Operation::Barrier);
    }

    fn sync(&mut self) -> u64 {
        self.tickets += 1;
        self.call(Operation::Sync(self.tickets));
        self.tickets
    }

    fn backlogged(&self) -> bool {
        self.shared.waiting_bytes.load(Ordering::Relaxed) > BACKLOG_BYTES
    }

    fn done(&mut self) -> Result<Done, StoreError> {
        if let Some(error) = self.lock_waiting().error.clone() {
            return Err(error);
        }
        let writes = self.shared.writes.load(Ordering::Acquire);
        Ok(Done { writes, ticket: self.shared.ticket.load(Ordering::Acquire) })
    }

    fn take(&mut self) -> Self {
        // In one process nothing that was handed over is lost; where the disk is stuck, recovery will say what is missing.
        let _ = self.settle();
        self.shared.writes.store(0, Ordering::Release);
        let husk = Self { file: None, queue: None, thread: None, shared: Arc::default(), tickets: 0 };
        std::mem::replace(self, husk)
    }
}
