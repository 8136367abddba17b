//! The thread of one device: started, watched and stopped here.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};

use anyhow::{Context, anyhow};

use crate::clock::Clock;
use crate::device_loop::{self, Drive, Policy, System};
use crate::watchdog::{self, Patience, WatchdogGuard, Watched};

/// A device that is being attended to.
pub struct DeviceThread {
    thread: JoinHandle<anyhow::Result<()>>,
    /// Closed at its other end when the thread ends, in whatever way.
    alive: UnixStream,
}

impl DeviceThread {
    /// Makes a device in a thread of its own and attends to it until `stop` is readable. Returns once the device is made: what it
    /// consists of never leaves its thread.
    ///
    /// # Errors
    /// The device could not be made.
    pub fn start<D: Drive>(
        stop: UnixStream,
        make: impl FnOnce() -> anyhow::Result<D> + Send + 'static,
    ) -> anyhow::Result<Self> {
        Self::start_watched(stop, Patience::REAL, watchdog::end_process, make)
    }

    /// The same with another watchdog: how patient it is, and what it does about a device that is stuck.
    ///
    /// # Errors
    /// As [`DeviceThread::start`].
    pub fn start_watched<D: Drive>(
        stop: UnixStream,
        patience: Patience,
        end: impl FnOnce(&str) + Send + 'static,
        make: impl FnOnce() -> anyhow::Result<D> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (alive, held) = UnixStream::pair().context("cannot watch the device's thread")?;
        let (tell, told) = mpsc::sync_channel(1);
        let body = move || {
            let _held = held;
            let told_too = stop.try_clone().context("cannot listen for the request to stop")?;
            let guard = WatchdogGuard::start(told_too, patience, end).context("cannot watch the device's thread")?;
            let mut drive = Watched::new(make()?, guard.heartbeat());
            // The receiver waits until this message or the end of this thread.
            tell.send(()).context("nothing waits for the device")?;
            let mut system = Watched::new(System::new(Clock::new(), stop), guard.heartbeat());
            let ran = device_loop::run(&mut drive, &mut system, Policy::for_this_machine());
            // Also where the transport broke: what was accepted is kept.
            let quiesced = device_loop::quiesce(&mut drive, &mut system);
            ran.context("the device stopped")?;
            quiesced.context("the shutdown was not clean; the next start will recover")
        };
        let thread =
            Builder::new().name("device".to_owned()).spawn(body).context("cannot start the device's thread")?;
        let device = Self { thread, alive };
        match told.recv() {
            Ok(()) => Ok(device),
            Err(_) => Err(device.join().err().unwrap_or_else(|| anyhow!("the device ended before it started"))),
        }
    }

    /// A descriptor that is readable once the thread has ended.
    pub fn ended(&self) -> BorrowedFd<'_> {
        self.alive.as_fd()
    }

    /// Waits for the end of the thread.
    ///
    /// # Errors
    /// What ended it, if that was not the order to stop.
    pub fn join(self) -> anyhow::Result<()> {
        self.thread.join().map_err(|_| anyhow!("the device's thread panicked; see its message above"))?
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::testing::Doubled;

    /// A device that hears nothing, or fails as soon as it is spoken to.
    fn deaf(descriptor: UnixStream) -> Doubled<fn()> {
        Doubled { descriptor, service: || Err(io::Error::other("the socket broke")), step: || () }
    }

    #[test]
    fn a_device_runs_until_it_is_told_to_stop() {
        let (stop, stopper) = UnixStream::pair().expect("a pair of sockets");
        let (descriptor, _peer) = UnixStream::pair().expect("a pair of sockets");
        let device = DeviceThread::start(stop, move || Ok(deaf(descriptor))).expect("a device");
        drop(stopper);
        device.join().expect("an orderly end");
    }

    #[test]
    fn a_device_that_cannot_be_made_or_breaks_says_why() {
        let (stop, _stopper) = UnixStream::pair().expect("a pair of sockets");
        let failed =
            DeviceThread::start::<Doubled<fn()>>(stop.try_clone().expect("a copy"), || Err(anyhow!("no such path")));
        assert_eq!(failed.err().expect("not made").to_string(), "no such path");

        let (descriptor, peer) = UnixStream::pair().expect("a pair of sockets");
        let device = DeviceThread::start(stop, move || Ok(deaf(descriptor))).expect("a device");
        drop(peer);
        let error = device.join().expect_err("its socket broke");
        assert_eq!(format!("{error:#}"), "the device stopped: the socket broke");
    }
}
