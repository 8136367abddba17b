//! What a guest of `brownout crash` boots, where the user brings the script: one of our kernels by its name, or a kernel of the user's own,
//! with an initramfs and, if wanted, a root image.

use std::path::{Path, PathBuf};

use clap::Args;
use guest_harness::{Kernel, Machine};

use crate::machine::{own_initrd, readable, shell_word};
use crate::options::OptionError;

/// `--kernel`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// One of ours.
    Stock(Kernel),
    /// Somebody's, in a file.
    File(PathBuf),
}

impl Choice {
    fn name(&self) -> String {
        match self {
            Self::Stock(kernel) => {
                let named = Kernel::NAMES.iter().find(|(_, named)| named == kernel);
                named.expect("each has a name").0.to_owned()
            }
            Self::File(path) => path.display().to_string(),
        }
    }
}

impl From<&str> for Choice {
    fn from(text: &str) -> Self {
        let named = Kernel::NAMES.into_iter().find(|(name, _)| *name == text);
        named.map_or_else(|| Self::File(text.into()), |(_, kernel)| Self::Stock(kernel))
    }
}

/// The guest that runs the user's scripts.
#[derive(Clone, Debug, Default, Args)]
pub struct System {
    /// With --check-guest: what the guest is: 6.12, newest (default), stacks, with all file systems and with databases; or a kernel's file
    #[arg(long, value_name = "KERNEL", requires = "check_guest", conflicts_with = "check", hide_short_help = true)]
    kernel: Option<Choice>,
    /// With --kernel FILE: its initramfs, with a shell and what the scripts need [default: the one of newest]
    #[arg(long, value_name = "FILE", requires = "kernel", hide_short_help = true)]
    initrd: Option<PathBuf>,
    /// With --kernel FILE: a disk image, raw or qcow2, in which the scripts run; what they write to it is dropped
    #[arg(long, value_name = "IMAGE", requires = "kernel", hide_short_help = true)]
    root: Option<PathBuf>,
}

impl System {
    /// The files that the user names.
    fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        [("--initrd", &self.initrd), ("--root", &self.root)]
            .into_iter()
            .filter_map(|(option, path)| Some((option, path.as_deref()?)))
    }

    /// Whether all that is named is there, and goes together.
    ///
    /// # Errors
    /// It is not, or does not.
    pub fn check(&self) -> Result<(), OptionError> {
        match &self.kernel {
            Some(Choice::File(kernel)) => {
                let remedy = "give 6.12, newest, stacks, or the file of a kernel";
                readable("--kernel", kernel, remedy)?;
                self.files().try_for_each(|(option, path)| readable(option, path, "give a file"))
            }
            _ => self.files().next().map_or(Ok(()), |(option, path)| {
                let remedy = "it goes with --kernel FILE, a kernel of your own: ours have theirs";
                Err(OptionError::new(option, path.display().to_string(), remedy))
            }),
        }
    }

    /// A machine that runs this script.
    ///
    /// # Errors
    /// There is no initramfs for it, and none can be fetched.
    pub fn machine(&self, script: &str) -> anyhow::Result<Machine> {
        let machine = match &self.kernel {
            Some(Choice::File(kernel)) => {
                let initrd = own_initrd(self.initrd.clone())?;
                Machine::with_script_in(kernel.clone(), initrd, self.root.clone())
            }
            Some(Choice::Stock(kernel)) => Machine::new(*kernel),
            None => Machine::new(Kernel::Newest),
        };
        Ok(machine.name("crash").script(script))
    }

    /// Whether its initramfs, or what is in memory besides, may be large.
    pub fn is_large(&self) -> bool {
        !matches!(self.kernel, None | Some(Choice::Stock(Kernel::Newest | Kernel::Debian612)))
    }

    /// The words that ask for it again; without the option where nothing was said.
    pub fn words(&self) -> Vec<(&'static str, String)> {
        let kernel = self.kernel.iter().map(|kernel| ("--kernel", kernel.name()));
        kernel.chain(self.files().map(|(option, path)| (option, path.display().to_string()))).collect()
    }

    /// The same, as a shell reads them.
    pub fn line(&self) -> String {
        self.words().iter().map(|(option, value)| format!(" {option} {}", shell_word(value))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_one_of_ours_or_a_file_that_can_be_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, "").expect("written");
            path
        };
        let system = |kernel: &str| System { kernel: Some(kernel.into()), ..System::default() };
        for (name, kernel) in Kernel::NAMES {
            assert_eq!(Choice::from(name), Choice::Stock(kernel));
            assert_eq!(system(name).line(), format!(" --kernel {name}"));
            assert!(system(name).check().is_ok());
            let error = System { initrd: Some(file("initrd")), ..system(name) }.check().expect_err("it has one");
            assert!(error.to_string().contains("goes with --kernel FILE"), "{error}");
        }
        let error = system("5.4").check().expect_err("there is no such file").to_string();
        assert!(error.contains("6.12, newest, stacks, or the file of a kernel"), "{error}");
        let own = System { initrd: Some(file("my initrd")), ..system(&file("bzImage").display().to_string()) };
        assert!(own.check().is_ok() && own.is_large());
        assert!(own.line().ends_with("/my initrd'") && own.line().starts_with(" --kernel /"), "{}", own.line());
        let rootless = System { root: Some(folder.path().join("none")), ..own };
        assert!(rootless.check().expect_err("it is not there").to_string().contains("--root"));
        assert_eq!(System::default().line(), "");
    }
}
