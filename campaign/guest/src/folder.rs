//! The folder of one run: temporary while it goes well, kept under `guest-logs/` when it does not.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result};
use tempfile::TempDir;

/// Files larger than this are disks and initramfs images, not logs.
const LARGEST_LOG: u64 = 8 << 20;

/// A temporary folder whose logs are kept if the run, or the test around it, fails.
#[derive(Debug)]
pub struct RunFolder {
    folder: TempDir,
    name: String,
    kept: AtomicBool,
}

impl RunFolder {
    pub(crate) fn new(name: Option<&str>) -> Result<Self> {
        // Short and in the system's temporary folder, because a socket's path must stay below 108 bytes.
        let folder = tempfile::Builder::new().prefix("guest-").tempdir().context("cannot create a temporary folder")?;
        let name = name.map_or_else(|| thread::current().name().unwrap_or("unnamed").to_owned(), str::to_owned);
        Ok(Self { folder, name: file_name(&name), kept: AtomicBool::new(false) })
    }

    /// Where the files of the run are while it lives.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Copies the logs to `guest-logs/NAME-N`, in cargo's target folder or the current one, and says where; the second time it does nothing.
    pub fn keep(&self) {
        if self.kept.swap(true, Ordering::SeqCst) {
            return;
        }
        match self.copy_logs() {
            Ok(path) => eprintln!("guest logs: {}", path.display()),
            Err(error) => eprintln!("guest logs could not be kept: {error:#}"),
        }
    }

    fn copy_logs(&self) -> Result<PathBuf> {
        let target = numbered_folder(&logs_folder(), &self.name)?;
        for entry in fs::read_dir(self.path())? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_file() && metadata.len() <= LARGEST_LOG {
                fs::copy(entry.path(), target.join(entry.file_name()))?;
            }
        }
        Ok(target)
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if thread::panicking() {
            self.keep();
        }
    }
}

/// Makes `PARENT/NAME-1`, or the next number that is free. Making the folder is what claims the number, so runs side by
/// side never share one.
fn numbered_folder(parent: &Path, name: &str) -> Result<PathBuf> {
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let mut number = 1_u32;
    loop {
        let path = parent.join(format!("{name}-{number}"));
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot make {}", path.display()));
            }
        }
    }
}

fn file_name(name: &str) -> String {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() || letter == '_' { letter } else { '-' }).collect()
}

/// In cargo's target folder where cargo runs the tests, or the environment names it; in the current folder otherwise.
fn logs_folder() -> PathBuf {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let of_tests = || {
        let manifest = variable("CARGO_MANIFEST_DIR")?;
        let root = manifest.ancestors().find(|folder| folder.join("Cargo.lock").is_file())?;
        Some(root.join("target"))
    };
    variable("CARGO_TARGET_DIR").or_else(of_tests).unwrap_or_default().join("guest-logs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_claimed_one_after_the_other() -> Result<()> {
        let parent = tempfile::tempdir()?;
        assert!(numbered_folder(parent.path(), "a")?.ends_with("a-1"));
        assert!(numbered_folder(parent.path(), "a")?.ends_with("a-2"));
        Ok(())
    }

    #[test]
    fn a_test_name_becomes_a_file_name() {
        assert_eq!(file_name("tests::guest/boots"), "tests--guest-boots");
    }
}
