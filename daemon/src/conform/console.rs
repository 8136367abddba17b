//! The console of a machine on trial: what is typed on it, and what it says.

use std::time::Duration;

use anyhow::Context as _;
use guest_harness::{ASKED_EVERY, Guest};
use thiserror::Error;

use crate::clock::Clock;

/// An order may meet several time-outs of the driver.
pub const ORDER_PATIENCE: Duration = Duration::from_secs(300);

/// A guest that was to say something, and did not: that is the driver's doing, and no fault of the machine's.
#[derive(Debug, Error)]
#[error("the guest did not say {0:?}{1}")]
pub struct Silence(String, &'static str);

impl Silence {
    /// It was to say this.
    #[cfg(test)]
    pub fn of(words: &str) -> Self {
        Self(words.to_owned(), " in time")
    }
}

/// A machine's console, for as long as somebody waits for it.
pub struct Console<'a> {
    guest: &'a mut Guest,
    clock: Clock,
    patience: Duration,
    go_on: &'a mut dyn FnMut() -> bool,
}

impl<'a> Console<'a> {
    /// Everything that is waited for has to be there within `patience`. `go_on` is asked a few times a second.
    pub fn new(guest: &'a mut Guest, patience: Duration, go_on: &'a mut dyn FnMut() -> bool) -> Self {
        Self { guest, clock: Clock::new(), patience, go_on }
    }

    fn left(&self) -> Duration {
        self.patience.saturating_sub(Duration::from_nanos(self.clock.now().0))
    }

    /// Waits for words behind those that were waited for last; the line that they are in, up to them.
    ///
    /// # Errors
    /// [`Silence`]; or the machine broke, or the run was told to end.
    pub fn says(&mut self, words: &str) -> anyhow::Result<String> {
        let found = self.guest.wait_for_while(words, self.left(), &mut *self.go_on);
        match found {
            Ok(Some(line)) => Ok(line),
            Ok(None) => anyhow::bail!("the run was told to end"),
            Err(error) if self.guest.broke()? => Err(error).context("the machine broke"),
            Err(_) => {
                let off = self.guest.is_off_within(Duration::ZERO)?;
                Err(Silence(words.to_owned(), if off { ", and switched itself off" } else { " in time" }).into())
            }
        }
    }

    /// Types a line.
    ///
    /// # Errors
    /// As [`Console::says`].
    pub fn type_line(&mut self, line: &str, end: &str) -> anyhow::Result<()> {
        match self.guest.type_text(&format!("{line}{end}")) {
            Err(error) if self.guest.broke()? => Err(error).context("the machine broke"),
            Err(_) => Err(Silence("anything".to_owned(), ": it is off").into()),
            Ok(()) => Ok(()),
        }
    }

    /// Types a line, and waits for the prompt behind it; what was said in between.
    ///
    /// # Errors
    /// As [`Console::says`].
    pub fn ask(&mut self, line: &str, end: &str, prompt: &str) -> anyhow::Result<String> {
        let before = self.guest.console().len();
        self.type_line(line, end)?;
        self.says(prompt)?;
        Ok(self.guest.console().get(before..).unwrap_or_default().to_owned())
    }

    /// Waits until the machine is off; whether it is.
    ///
    /// # Errors
    /// As [`Console::says`].
    pub fn is_off(&mut self) -> anyhow::Result<bool> {
        while !self.guest.is_off_within(ASKED_EVERY)? {
            anyhow::ensure!((self.go_on)(), "the run was told to end");
            if self.left().is_zero() {
                return Ok(false);
            }
        }
        anyhow::ensure!(!self.guest.broke()?, "the machine broke");
        Ok(true)
    }
}
