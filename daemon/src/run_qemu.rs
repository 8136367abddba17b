//! `brownout qemu`: device and machine together, the machine in the user's terminal.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use anyhow::{Context, anyhow};
use tempfile::Builder;

use crate::device_thread::DeviceThread;
use crate::failure::Failure;
use crate::machine::{self, Ended, Front, MACHINE_MEMORY, Machine, Search};
use crate::options::{Given, Settings};
use crate::serve::{check_disk, check_socket};
use crate::wiring::Places;
use crate::{cli, stop, wiring};

/// Runs a machine with the device until the machine ends; returns QEMU's exit code.
///
/// # Errors
/// A wrong option, no QEMU that will do, or a device that breaks.
pub fn run_qemu(arguments: cli::Qemu) -> Result<u8, Failure> {
    let cli::Qemu { kernel, initrd, append, gdb, kvm, memory, qemu, front, control, device, more } = arguments;
    if let Some(control) = &control {
        check_socket("--control", control)?;
    }
    let memory_mib = Machine::memory_mib(memory.unwrap_or(MACHINE_MEMORY))?;
    // Only we may enter the folder, and so only our child reaches the device.
    let folder = Builder::new().prefix("brownout-").tempdir().context("cannot create a folder for the socket")?;
    let socket = folder.path().join("cntrl");
    let sockets = [("its own socket", Some(socket.clone())), ("--control", control.clone())];
    let sockets = sockets.into_iter().filter_map(|(option, path)| Some((option, path?))).collect();
    let settings = Settings::read(&Given { sockets, ..device.into() })?;
    if front == Front::VhostUser {
        check_disk(&settings)?;
    }
    let qemu = Search::new(qemu, front).find()?;
    let version = Some(qemu.number);
    let machine = Machine { memory_mib, kernel, initrd, append, gdb, kvm, front, version, more };
    let arguments = machine.arguments(&socket)?;
    let signals = stop::on_signals().context("cannot listen for signals")?;
    let (stop, stopper) = UnixStream::pair().context("cannot create a pair of sockets")?;

    let (socket, vhost_user) = match front {
        Front::VfioUser => (Some(socket), None),
        Front::VhostUser => (None, Some(socket)),
    };
    let places = Places { socket, vhost_user, control, ..Places::default() };
    let device = DeviceThread::start(stop, move || wiring::open(settings, &places))?;
    tracing::info!(program = %qemu.program.display(), version = qemu.version, "starting QEMU");
    tracing::debug!(?arguments);
    let ended = machine::run(&qemu.program, &arguments, signals.as_fd(), device.ended());
    drop(stopper);
    let device = device.join();
    match ended? {
        Ended::Qemu(code) => device.map(|()| code).map_err(Failure::from),
        Ended::Device => Err(device.err().unwrap_or_else(|| anyhow!("the device ended before the machine did")).into()),
    }
}
