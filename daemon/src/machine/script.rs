//! A script that a guest runs: it travels in the initramfs, behind whatever the user has there, and its exit code comes back on the
//! second serial port. The guest needs a kernel with initramfs and 8250 ports, and a shell; nothing of it is installed on a disk.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use guest_harness::{Archive, Assets, Kernel, scripts};

use crate::options::OptionError;

/// What the kernel is told, before the user's own words: our first process, an end in place of a hang, and no log between the lines.
const WORDS: &str = "rdinit=/brownout-init panic=-1 no_timer_check quiet";

/// A kernel of this name is no file.
const STACKS: &str = "stacks";

/// A guest that runs a script.
pub struct Script {
    /// What it boots.
    pub kernel: PathBuf,
    /// The initramfs with the script.
    pub initrd: PathBuf,
    /// The kernel's command line.
    pub append: String,
    /// Where the exit code will be.
    pub answer: PathBuf,
}

impl Script {
    /// Puts the script into an initramfs in `folder`. What the user does not name is taken from what `make guest` unpacks.
    ///
    /// # Errors
    /// A file cannot be read or written; there are no guests here and they cannot be fetched.
    pub fn prepare(
        script: &Path,
        kernel: Option<PathBuf>,
        initrd: Option<PathBuf>,
        append: Option<&str>,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let text = fs::read(script).with_context(|| format!("cannot read the script {}", script.display()))?;
        let kernel = kernel.map_or_else(|| Assets::load()?.kernel(Kernel::Newest), Ok)?;
        let base = own_initrd(initrd)?;
        let mut archive = Archive::new();
        archive.file("brownout-init", scripts::EXEC.as_bytes());
        archive.file("brownout-script", &text);
        let target = folder.join("initrd");
        archive.write_behind(&base, &target)?;
        let append = [WORDS, append.unwrap_or_default()].join(" ").trim_end().to_owned();
        Ok(Self { kernel, initrd: target, append, answer: folder.join("exit-code") })
    }
}

/// Kernel and initramfs, where `stacks` in place of a kernel's path is the guest with file systems and databases, which is fetched when it
/// is first asked for.
///
/// # Errors
/// It cannot be fetched.
pub fn stacks(kernel: Option<PathBuf>, initrd: Option<PathBuf>) -> anyhow::Result<(Option<PathBuf>, Option<PathBuf>)> {
    if kernel.as_deref() != Some(Path::new(STACKS)) {
        return Ok((kernel, initrd));
    }
    let assets = Assets::for_kernel(Kernel::Stacks)?;
    let initrd = initrd.map_or_else(|| assets.initrd(Kernel::Stacks), Ok)?;
    Ok((Some(assets.kernel(Kernel::Stacks)?), Some(initrd)))
}

/// The initramfs behind which a script is put: the user's, or else one that has what scripts need.
///
/// # Errors
/// It cannot be fetched.
pub fn own_initrd(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    given.map_or_else(|| Assets::load()?.initrd(Kernel::Newest), Ok)
}

/// Whether a file that an option names can be read: a machine that does not start says nothing about what it was to try.
///
/// # Errors
/// It cannot; `remedy` says what would do.
pub fn readable(option: &'static str, path: &Path, remedy: &str) -> Result<(), OptionError> {
    let opened = fs::File::open(path).map(drop);
    opened.map_err(|error| {
        OptionError::new(option, path.display().to_string(), format!("{remedy} that can be read: {error}"))
    })
}

/// The script's exit code, if the guest came so far.
pub fn exit_code(answer: &Path) -> Option<u8> {
    fs::read_to_string(answer).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_lies_behind_the_users_own_initramfs() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("root"), b"12345").expect("written");
        fs::write(path("script"), b"#!/bin/sh\nexit 3\n").expect("written");
        let script = Script::prepare(
            &path("script"),
            Some("bzImage".into()),
            Some(path("root")),
            Some("loglevel=7"),
            folder.path(),
        )
        .expect("files");
        let initrd = fs::read(&script.initrd).expect("written");
        assert!(initrd.starts_with(b"12345\0\0\x00070701"), "an archive begins at a multiple of four");
        assert!(initrd.windows(17).any(|window| window == b"#!/bin/sh\nexit 3\n"));
        assert!(script.append.ends_with(" quiet loglevel=7"), "the user has the last word: {}", script.append);
        let missing = Script::prepare(&path("none"), None, None, None, folder.path());
        let error = missing.err().map(|error| format!("{error:#}")).expect("no such file");
        assert!(error.starts_with("cannot read the script "), "{error}");
    }

    #[test]
    fn only_a_whole_number_is_an_exit_code() {
        let folder = tempfile::tempdir().expect("a folder");
        let answer = folder.path().join("code");
        let said = |text: &str| {
            fs::write(&answer, text).expect("written");
            exit_code(&answer)
        };
        assert_eq!(
            [said("7\r\n"), said("0\n"), said(""), said("256\n"), said("x")],
            [Some(7), Some(0), None, None, None]
        );
    }
}
