//! A guest that is running: its console, its process, and its end.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::clock;
use crate::folder::RunFolder;
use crate::process::{Process, tail};
use crate::report::{self, GuestReport};

/// How often who waits for a guest is asked whether to go on.
pub const ASKED_EVERY: Duration = Duration::from_millis(250);

/// A running QEMU. Killed with SIGKILL when dropped.
pub struct Guest {
    // Declared before the folder, so that the process is gone before its files are.
    process: Process,
    folder: RunFolder,
    started: Instant,
    timeout: Duration,
}

impl Guest {
    pub(crate) fn new(process: Process, folder: RunFolder, started: Instant, timeout: Duration) -> Self {
        Self { process, folder, started, timeout }
    }

    /// QEMU's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The run's files: `console.log`, `console.stderr`, `console.command`, `test.sh`.
    #[must_use]
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// Everything on the console so far.
    #[must_use]
    pub fn console(&self) -> String {
        self.process.text()
    }

    /// Waits until the text appears on the console, behind what the last call found; returns its line up to there.
    ///
    /// # Errors
    /// When QEMU ends or the time passes without it; the logs are kept then.
    pub fn wait_for(&mut self, pattern: &str, timeout: Duration) -> Result<String> {
        let result = self.process.wait_for(pattern, timeout);
        if result.is_err() {
            self.folder.keep();
        }
        result.with_context(|| self.qemu_errors())
    }

    /// As [`Guest::wait_for`], as long as `go_on` says so, which is asked a few times a second; nothing where it says no.
    ///
    /// # Errors
    /// As [`Guest::wait_for`].
    pub fn wait_for_while(
        &mut self,
        pattern: &str,
        timeout: Duration,
        mut go_on: impl FnMut() -> bool,
    ) -> Result<Option<String>> {
        let deadline = clock::now() + timeout;
        loop {
            let left = clock::remaining(deadline);
            if left <= ASKED_EVERY {
                return self.wait_for(pattern, left).map(Some);
            }
            match self.process.look_for(pattern, ASKED_EVERY) {
                Ok(None) if go_on() => {}
                Ok(found) => return Ok(found),
                // It has ended, and that is said with what QEMU said.
                Err(_) => return self.wait_for(pattern, left).map(Some),
            }
        }
    }

    /// Whether the machine is off within this time.
    ///
    /// # Errors
    /// When the system refuses to wait for the process.
    pub fn is_off_within(&mut self, time: Duration) -> Result<bool> {
        Ok(self.process.wait_until(clock::now() + time)?.is_some())
    }

    /// Whether QEMU came to an end that nobody in the guest asked for: a signal, or a code.
    ///
    /// # Errors
    /// When the system refuses to say.
    pub fn broke(&mut self) -> Result<bool> {
        Ok(self.process.status()?.is_some_and(|status| !status.success()))
    }

    /// Types letters on the console, as they are.
    ///
    /// # Errors
    /// When QEMU has ended.
    pub fn type_text(&mut self, text: &str) -> Result<()> {
        self.process.send(text.as_bytes())
    }

    /// Types a line on the console.
    ///
    /// # Errors
    /// When QEMU has ended.
    pub fn send_line(&mut self, line: &str) -> Result<()> {
        self.process.send_line(line)
    }

    /// Kills QEMU with SIGKILL, as if it had crashed, and waits until it is gone.
    ///
    /// # Errors
    /// When the system refuses to wait for the process.
    pub fn kill(mut self) -> Result<()> {
        self.process.kill()?;
        Ok(())
    }

    /// Waits until the machine has switched itself off, at most as long as its time-out says, and reads the verdict.
    ///
    /// # Errors
    /// When it took too long, or ended without a verdict; the logs are kept then.
    pub fn wait(self) -> Result<GuestReport> {
        let deadline = self.started + self.timeout;
        self.wait_until(deadline)
    }

    /// As [`Guest::wait`], at most so long from now on: for a machine that was told to switch itself off, however long it has been on.
    ///
    /// # Errors
    /// As [`Guest::wait`].
    pub fn wait_within(self, time: Duration) -> Result<GuestReport> {
        self.wait_until(clock::now() + time)
    }

    fn wait_until(mut self, deadline: Instant) -> Result<GuestReport> {
        let ended = self.process.wait_until(deadline)?;
        let duration = self.started.elapsed();
        let console = self.process.text();
        let Some(status) = ended else {
            self.process.kill()?;
            self.folder.keep();
            bail!("the guest was not done after {} s; last lines:\n{}", duration.as_secs(), tail(console.as_bytes()));
        };
        let Some(report) = GuestReport::from_console(&console, duration) else {
            self.folder.keep();
            bail!(
                "QEMU ended ({status}) without a verdict of the guest{}\nlast lines:\n{}",
                self.qemu_errors(),
                tail(console.as_bytes())
            );
        };
        if report.exit_code != 0 {
            self.folder.keep();
        }
        Ok(report.in_folder(self.folder))
    }

    /// As [`Guest::wait`], and writes what the script says to `target` while it says it. For people who watch.
    ///
    /// # Errors
    /// As [`Guest::wait`], or when `target` does not take the text.
    pub fn wait_showing(mut self, target: &mut impl Write) -> Result<GuestReport> {
        let deadline = self.started + self.timeout;
        let mut shown = false;
        // The end of QEMU and of the time both end the loop as errors; wait() tells them apart.
        while let Ok(line) = self.process.wait_for("\n", clock::remaining(deadline)) {
            let line = line.trim_end();
            if line.starts_with(report::START) {
                shown = true;
            } else if line.starts_with(report::DMESG_BEGIN) {
                shown = false;
            } else if shown {
                writeln!(target, "{line}")?;
                target.flush()?;
            }
        }
        self.wait()
    }

    fn qemu_errors(&self) -> String {
        let errors = std::fs::read_to_string(self.folder.path().join("console.stderr")).unwrap_or_default();
        if errors.trim().is_empty() { String::new() } else { format!("; QEMU said:\n{}", errors.trim_end()) }
    }
}
