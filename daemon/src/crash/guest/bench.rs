//! A drive and a guest with its console, over which it is told what to do: what the campaign needs whose load comes with this program.

use anyhow::{Context as _, ensure};
use guest_harness::{ASKED_EVERY, BrownoutBuilder, Guest, Machine};
use tempfile::TempDir;

use super::drive::{Drive, PATIENCE, TOLD_TO_END};

/// A drive, and a guest that uses it.
pub struct Bench {
    // In this order they go.
    guest: Option<Guest>,
    /// The drive.
    pub drive: Drive,
    machine: Machine,
}

impl Bench {
    /// Starts a drive, which has a folder for the campaign, and boots a guest on it.
    ///
    /// # Errors
    /// A drive or a guest cannot be had.
    pub fn start(
        drive: BrownoutBuilder,
        misbehave: &[String],
        machine: Machine,
        folder: TempDir,
    ) -> anyhow::Result<Self> {
        let drive = Drive::start(drive, &[], misbehave, folder)?;
        let mut bench = Self { guest: None, drive, machine };
        bench.boot()?;
        Ok(bench)
    }

    /// Boots the guest.
    ///
    /// # Errors
    /// It does not come up.
    pub fn boot(&mut self) -> anyhow::Result<()> {
        let machine = self.drive.plugged_into(self.machine.clone()).timeout(PATIENCE);
        self.guest = Some(machine.spawn()?);
        self.hears("guest: ready")
    }

    /// Kills the guest, if there is one.
    ///
    /// # Errors
    /// The system refuses.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.guest.take().map_or(Ok(()), Guest::kill)
    }

    /// Waits until the guest says this, unless the campaign is told to end.
    fn hears(&mut self, words: &str) -> anyhow::Result<()> {
        let guest = self.guest.as_mut().context("there is no guest")?;
        guest.wait_for_while(words, PATIENCE, || !self.drive.asked())?.context(TOLD_TO_END).map(drop)
    }

    /// The guest that runs.
    ///
    /// # Errors
    /// There is none.
    pub fn guest(&mut self) -> anyhow::Result<&mut Guest> {
        self.guest.as_mut().context("there is no guest")
    }

    /// Gives the guest an order, waits until it says that it is done, and returns what it said meanwhile.
    ///
    /// # Errors
    /// It does not say so.
    pub fn tell(&mut self, order: &str, done: &str) -> anyhow::Result<String> {
        let guest = self.guest()?;
        let before = guest.console().len();
        guest.send_line(order)?;
        self.hears(&format!("guest: {done}")).with_context(|| format!("the guest was told to {order}"))?;
        Ok(self.guest()?.console().split_off(before))
    }

    /// The guest is switched off, and the drive stopped.
    ///
    /// # Errors
    /// They do not end as they should.
    pub fn end(mut self) -> anyhow::Result<()> {
        self.guest()?.send_line("off")?;
        while !self.guest()?.is_off_within(ASKED_EVERY)? {
            ensure!(!self.drive.asked(), TOLD_TO_END);
        }
        self.guest.take().context("there is no guest")?.wait_within(PATIENCE)?.require_success()?;
        self.drive.stop()
    }
}
