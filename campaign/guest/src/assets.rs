//! Where QEMU, the kernels and the initramfs images lie. The script `recipe/assets` makes them; it is part of this program, which
//! runs it and reads its answer.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

/// Which stock kernel a guest boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kernel {
    /// Debian 13's own cloud kernel, 6.12.
    Debian612,
    /// The newest cloud kernel of Debian 13's backports.
    Newest,
    /// Debian 13's general kernel, which has every file system, and an initramfs with databases: fetched when it is first asked for.
    Stacks,
}

impl Kernel {
    /// The two cloud kernels, for tests that must hold with either.
    pub const ALL: [Self; 2] = [Self::Debian612, Self::Newest];
    /// By their names on a command line.
    pub const NAMES: [(&str, Self); 3] =
        [("6.12", Self::Debian612), ("newest", Self::Newest), ("stacks", Self::Stacks)];

    fn suffix(self) -> &'static str {
        match self {
            Self::Debian612 => "6_12",
            Self::Newest => "NEWEST",
            Self::Stacks => "STACKS",
        }
    }
}

/// Which QEMU runs the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Emulator {
    /// The one that can be a vfio-user client.
    #[default]
    Newest,
    /// Debian 12's own, which is too old for that.
    Old,
}

/// Paths and versions of everything a guest is made of.
#[derive(Clone, Debug)]
pub struct Assets {
    values: BTreeMap<String, String>,
}

/// The files of the recipe.
const RECIPE: [(&str, &str); 3] = [
    ("assets", include_str!("../recipe/assets")),
    ("init", include_str!("../recipe/init")),
    ("stacks", include_str!("../recipe/stacks")),
];

// Loaded once per process: tests run side by side, and each of them asks. A failure is not kept, so that a machine
// without network does not need a new process to try again.
static LOADED: Mutex<Option<Assets>> = Mutex::new(None);

impl Assets {
    /// Makes the assets if they are not there yet (a minute on a new machine, milliseconds later) and returns them.
    ///
    /// # Errors
    /// When the script fails; it has then said why on standard error.
    pub fn load() -> Result<Self> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(assets) = loaded.as_ref() {
            return Ok(assets.clone());
        }
        let assets = Self { values: parse_environment(&run_recipe("assets")?) };
        assets.qemu()?;
        for kernel in Kernel::ALL {
            assets.kernel(kernel)?;
            assets.initrd(kernel)?;
        }
        assets.ovmf()?;
        assets.uefi_shell()?;
        assets.u_boot()?;
        *loaded = Some(assets.clone());
        Ok(assets)
    }

    /// The same, with what one kernel needs that others do not.
    ///
    /// # Errors
    /// When a script fails; it has then said why on standard error.
    pub fn for_kernel(kernel: Kernel) -> Result<Self> {
        let mut assets = Self::load()?;
        if kernel == Kernel::Stacks && assets.value("KERNEL_STACKS").is_none() {
            assets.values.extend(parse_environment(&run_recipe("stacks")?));
            assets.kernel(kernel)?;
            assets.initrd(kernel)?;
            *LOADED.lock().unwrap_or_else(PoisonError::into_inner) = Some(assets.clone());
        }
        Ok(assets)
    }

    /// The QEMU to run: 10.1 or later, with `vfio-user-pci`.
    ///
    /// # Errors
    /// When the script did not name it.
    pub fn qemu(&self) -> Result<PathBuf> {
        self.path("QEMU")
    }

    /// The QEMU for a machine.
    ///
    /// # Errors
    /// When the script did not name it.
    pub fn emulator(&self, emulator: Emulator) -> Result<PathBuf> {
        match emulator {
            Emulator::Newest => self.qemu(),
            Emulator::Old => self.path("OLD_QEMU"),
        }
    }

    /// One of QEMU's tools for disks without a machine: `qemu-img`, `qemu-io` or `qemu-storage-daemon`.
    ///
    /// # Errors
    /// When the script did not name it.
    pub fn tool(&self, name: &str) -> Result<PathBuf> {
        self.path(&name.to_uppercase().replace('-', "_"))
    }

    /// The kernel image.
    ///
    /// # Errors
    /// When the script did not name it.
    pub fn kernel(&self, kernel: Kernel) -> Result<PathBuf> {
        self.path(&format!("KERNEL_{}", kernel.suffix()))
    }

    /// The initramfs that belongs to the kernel.
    ///
    /// # Errors
    /// When the script did not name it.
    pub fn initrd(&self, kernel: Kernel) -> Result<PathBuf> {
        self.path(&format!("INITRD_{}", kernel.suffix()))
    }

    /// U-Boot's ROM for x86_64.
    ///
    /// # Errors
    /// When the script did not name it.
    pub fn u_boot(&self) -> Result<PathBuf> {
        self.path("U_BOOT")
    }

    /// UEFI's firmware: its code, and its variables as a new machine has them.
    ///
    /// # Errors
    /// When the script did not name them.
    pub fn ovmf(&self) -> Result<(PathBuf, PathBuf)> {
        Ok((self.path("OVMF_CODE")?, self.path("OVMF_VARS")?))
    }

    /// UEFI's shell, for a disk to boot.
    ///
    /// # Errors
    /// When the script did not name it.
    pub fn uefi_shell(&self) -> Result<PathBuf> {
        self.path("UEFI_SHELL")
    }

    /// A value as the script printed it, for instance `QEMU_VERSION`.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    fn path(&self, key: &str) -> Result<PathBuf> {
        let value = self.value(key).with_context(|| format!("the assets script did not print {key}"))?;
        Ok(PathBuf::from(value))
    }
}

/// Runs a script of the recipe, and returns what it printed.
fn run_recipe(script: &str) -> Result<String> {
    let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
    for (name, text) in RECIPE {
        fs::write(folder.path().join(name), text).context("cannot write the recipe of the guests")?;
    }
    let mut command = Command::new("bash");
    command.arg(folder.path().join(script)).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().context("cannot run bash to fetch QEMU, kernels and initramfs images")?;
    if !output.status.success() {
        bail!("cannot fetch QEMU, kernels and initramfs images ({}); see the messages above", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Lines of the form `NAME=value`; anything else is passed over.
pub(crate) fn parse_environment(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.trim_end().split_once('='))
        .filter(|(key, _)| is_name(key))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_name_and_value_lines_are_read() {
        let values = parse_environment("QEMU=/a/b=c\nnot a line\n1X=2\nEMPTY=\r\nwith space=3\n");
        assert_eq!(values.get("QEMU").map(String::as_str), Some("/a/b=c"));
        assert_eq!(values.get("EMPTY").map(String::as_str), Some(""));
        assert_eq!(values.len(), 2);
    }
}
