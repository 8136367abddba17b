//! Where the parts meet: media, controller and transport become one [`Drive`](crate::device_loop::Drive).

use std::convert::Infallible;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use media::Nanoseconds;

use crate::device_loop::{Drive, Turn};
use crate::options::Settings;

/// Makes the device and listens at `socket`. Runs in the thread that will attend to it.
///
/// # Errors
/// The socket cannot be made.
pub fn open(_settings: &Settings, _socket: &Path) -> anyhow::Result<Wired> {
    anyhow::bail!("this build has no transport yet")
}

/// The device of this build.
pub struct Wired(Infallible);

impl Drive for Wired {
    fn service(&mut self) -> io::Result<bool> {
        match self.0 {}
    }

    fn step(&mut self, _now: Nanoseconds) -> Turn {
        match self.0 {}
    }

    fn arm(&mut self) -> bool {
        match self.0 {}
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        match self.0 {}
    }

    fn must_be_polled(&self) -> bool {
        match self.0 {}
    }
}
