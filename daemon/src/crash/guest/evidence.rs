//! What is kept of a state that a check did not like: the namespace as it was before anybody looked, what was acknowledged, what was said,
//! the drive's report, and the command that judges it again.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::drive::Drive;
use crate::crash::Arguments;
use crate::machine::shell_word;

/// A folder for evidence, if one is wanted.
pub struct Evidence {
    folder: Option<PathBuf>,
    /// The options of the command that judges again: what judges, and in which guest.
    judge: String,
}

impl Evidence {
    /// Makes the folder.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(arguments: &Arguments, check: &Path) -> anyhow::Result<Self> {
        let folder = arguments.of_tape.keep.clone();
        folder.as_deref().map_or(Ok(()), |folder| {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}: --keep", folder.display()))
        })?;
        let judge = format!("--check-guest {}{}", word(check), arguments.of_tape.system.line());
        Ok(Self { folder, judge })
    }

    /// Where the drive makes files.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Saves what the drive holds, which no guest knows at the moment.
    ///
    /// # Errors
    /// The drive cannot save it.
    pub fn take(&self, drive: &mut Drive, name: &str) -> anyhow::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let file = saved(name);
        remove(&folder.join(&file))?;
        drive.order("media-save", &json!({ "file": file })).map(drop)
    }

    /// What was saved was good.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn forget(&self, name: &str) -> anyhow::Result<()> {
        self.folder.as_ref().map_or(Ok(()), |folder| remove(&folder.join(saved(name))))
    }

    /// Keeps what was saved, with what belongs to it. The command that judges it again.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn keep(
        &self,
        name: &str,
        (acks, said, why): (&str, &str, &str),
        report: &Value,
    ) -> anyhow::Result<Option<String>> {
        let Some(folder) = &self.folder else { return Ok(None) };
        let own = folder.join(name);
        let cannot_write = || format!("cannot write to {}", own.display());
        fs::create_dir_all(&own).with_context(cannot_write)?;
        let (image, acks_file) = (own.join("image"), own.join("acks"));
        fs::rename(folder.join(saved(name)), &image).with_context(cannot_write)?;
        let again = format!("brownout crash --image {} --acks {} {}", word(&image), word(&acks_file), self.judge);
        for (name, text) in [
            ("acks", acks),
            ("log", said),
            ("crash.json", &format!("{report:#}\n")),
            ("report", &format!("{why}\n{again}\n")),
        ] {
            fs::write(own.join(name), text).with_context(cannot_write)?;
        }
        Ok(Some(again))
    }
}

fn saved(name: &str) -> String {
    format!("{name}.raw")
}

/// The drive makes no file over another.
fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn word(path: &Path) -> String {
    shell_word(&path.display().to_string()).into_owned()
}
