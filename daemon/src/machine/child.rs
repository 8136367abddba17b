//! QEMU as our child process: it has our terminal, it ends when we do, and we end when it does.

use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, getppid, pidfd_open, pidfd_send_signal, set_parent_process_death_signal,
};

use crate::clock::Clock;

/// Why the machine is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// QEMU ended, with this exit code.
    Qemu(u8),
    /// The device ended first, and QEMU was ended for that.
    Device,
    /// It ran for longer than it may, and was ended for that.
    TimedOut,
}

/// A machine whose time is over has so long to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs QEMU until it ends. A signal that arrives at `signals`, the end of the device at `device`, and the end of the time `limit` end it.
///
/// # Errors
/// It cannot be started or waited for.
pub fn run(
    program: &Path,
    arguments: &[OsString],
    signals: BorrowedFd<'_>,
    device: BorrowedFd<'_>,
    limit: Option<Duration>,
) -> anyhow::Result<Ended> {
    // Between fork and exec only unsafe code could run, so that this program goes in between: see `become_qemu`.
    let ourselves = std::env::current_exe().context("cannot find this program to start QEMU through")?;
    let parent = std::process::id().to_string();
    let mut child = Command::new(ourselves)
        .args(["become-qemu", &parent])
        .arg(program)
        .args(arguments)
        .spawn()
        .context("cannot start QEMU")?;
    let ended = attend(&mut child, signals, device, limit);
    if ended.is_err() {
        // The first error is the one to tell; a child that is already gone is what we want here.
        child.kill().ok();
    }
    let code = exit_code(child.wait().context("cannot wait for QEMU")?);
    Ok(ended?.unwrap_or(Ended::Qemu(code)))
}

/// Waits until the child is about to be reaped. Returns why it was ended, if the device or the time did it.
fn attend(
    child: &mut Child,
    signals: BorrowedFd<'_>,
    device: BorrowedFd<'_>,
    limit: Option<Duration>,
) -> anyhow::Result<Option<Ended>> {
    let clock = Clock::new();
    let mut deadline = limit;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a child without an identifier")?;
    let handle = pidfd_open(pid, PidfdFlags::empty()).context("cannot watch QEMU")?;
    let (mut cause, mut asked) = (None, false);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_sub(Duration::from_nanos(clock.now().0)));
        let left = left.map(Timespec::try_from).transpose().context("a time that no clock can count")?;
        let mut watched = vec![PollFd::new(&handle, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
        if cause != Some(Ended::Device) {
            watched.push(PollFd::new(&device, PollFlags::IN));
        }
        match poll(&mut watched, left.as_ref()) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other.context("cannot wait for QEMU")?,
        };
        let ready: Vec<bool> = watched.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready[0] {
            return Ok(cause);
        }
        if ready[1] {
            drain(signals);
        }
        if ready.get(2) == Some(&true) {
            cause = Some(Ended::Device);
        }
        if !asked && ready.iter().all(|ready| !ready) {
            cause = cause.or(Some(Ended::TimedOut));
        }
        // QEMU shuts down in order on SIGTERM, and leaves the terminal as it was. Who asks a second time has lost patience.
        let signal = if asked { Signal::KILL } else { Signal::TERM };
        pidfd_send_signal(&handle, signal).context("cannot end QEMU")?;
        asked = true;
        // Only where nobody is there to ask a second time.
        deadline = (cause == Some(Ended::TimedOut)).then(|| Duration::from_nanos(clock.now().0) + PATIENCE);
    }
}

/// Takes what is there, so that the next wait does not return for it.
fn drain(signals: BorrowedFd<'_>) {
    // One read suffices, and its outcome does not matter: what is left over only makes the loop turn once more.
    rustix::io::read(signals, &mut [0; 64]).ok();
}

/// As a shell reports it: 128 and the number of the signal where a signal ended the process.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// The hidden verb behind [`run`]: asks the kernel to kill this process when its parent dies, then turns into QEMU.
///
/// # Errors
/// The parent is dead already, or there is no such program; otherwise this does not return.
pub fn become_qemu(parent: u32, program: &Path, arguments: &[OsString]) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot tie QEMU to its parent")?;
    // The parent may have died before the kernel was asked.
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != i32::try_from(parent).ok() {
        bail!("the process that started QEMU is gone");
    }
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_qemus_own_or_says_which_signal() {
        assert_eq!(exit_code(ExitStatus::from_raw(0)), 0);
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(exit_code(ExitStatus::from_raw(9)), 137);
    }
}
