//! What the tests of this crate share: a whole device in this process, with its sockets in a folder of its own; and a stub of a device.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use media::Nanoseconds;
use tempfile::TempDir;

use crate::device_loop::{Drive, StepResult};
use crate::device_thread::DeviceThread;
use crate::options::{Given, Settings};
use crate::wiring::{self, Files, Places};

/// A device in memory; when it is dropped it ends, and in good order.
pub struct Running {
    folder: TempDir,
    device: Option<DeviceThread>,
    stopper: Option<UnixStream>,
}

impl Running {
    /// A device of one namespace, with the sockets that `places` chooses in its folder.
    pub fn start(namespace: &str, places: impl FnOnce(&Path) -> Places) -> Self {
        Self::with_files(namespace, Files::default(), places)
    }

    /// The same with files, or a port, that were opened before.
    pub fn with_files(namespace: &str, files: Files, places: impl FnOnce(&Path) -> Places) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let given = Given { namespaces: vec![namespace.into()], ..Given::default() };
        let settings = Settings::read(&given).expect("possible");
        let (stop, stopper) = UnixStream::pair().expect("a pair of sockets");
        let places = places(folder.path());
        let device = DeviceThread::start(stop, move || wiring::open(settings, &places, files)).expect("a device");
        Self { folder, device: Some(device), stopper: Some(stopper) }
    }

    /// Where a socket of this name is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A connection to it.
    pub fn connect(&self, name: &str) -> UnixStream {
        UnixStream::connect(self.path(name)).expect("somebody listens")
    }

    /// Ends the device, and says whether that was orderly.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        drop(self.stopper.take());
        self.device.take().map_or(Ok(()), DeviceThread::join)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let ended = self.stop();
        assert!(ended.is_ok() || std::thread::panicking(), "{ended:?}");
    }
}

/// A device of which a test needs its steps alone. It would end at once, in good order.
pub struct Doubled<S> {
    /// What it waits for between steps.
    pub descriptor: UnixStream,
    /// What serving its sockets brings.
    pub service: fn() -> io::Result<bool>,
    /// What it does in a step.
    pub step: S,
}

impl<S: FnMut()> Drive for Doubled<S> {
    fn service(&mut self, _now: Nanoseconds) -> io::Result<bool> {
        (self.service)()
    }

    fn step(&mut self, _now: Nanoseconds, _clock: &dyn controller::Clock) -> StepResult {
        (self.step)();
        StepResult::default()
    }

    fn arm(&mut self) -> bool {
        true
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    fn quiesce(&mut self, _now: Nanoseconds) -> Option<Result<(), String>> {
        Some(Ok(()))
    }

    fn must_be_polled(&self) -> bool {
        false
    }
}
