//! How images are to be judged, as the command line has it.

use std::path::PathBuf;
use std::time::Duration;

use tape::Volume;

use super::guest::Station;
use super::judge::Judge;
use super::shell::Shell;
use crate::crash::system::System;

/// How images are to be judged.
#[derive(Clone, Debug)]
pub enum Check {
    /// By a command of this machine.
    Command(String),
    /// By a script in such a guest, which has so long for each.
    Guest(PathBuf, System, Duration),
}

impl Check {
    /// Somebody who does it, for images of a volume that held `base` as the tape began.
    ///
    /// # Errors
    /// What it takes is not there.
    pub fn judge(&self, volume: &Volume, base: Option<PathBuf>) -> anyhow::Result<Box<dyn Judge>> {
        Ok(match self {
            Self::Command(check) => Box::new(Shell::new(check, volume, base)?),
            Self::Guest(script, system, limit) => {
                Box::new(Station::start(script, system.clone(), *limit, volume, base)?)
            }
        })
    }
}
