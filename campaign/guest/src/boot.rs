//! What a machine starts, and the arguments of QEMU for it.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::assets::{Assets, Kernel};
use crate::scripts;

/// The first process of a guest of somebody's own, which runs the script.
const FIRST_PROCESS: &str = "brownout-init";
/// How a disk image of QEMU's own kind begins.
const QCOW2: [u8; 4] = *b"QFI\xfb";

/// What a machine starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Boot {
    /// One of our kernels, with our first process, which runs the script.
    Stock(Kernel),
    /// Somebody's kernel and initramfs, where our first process runs the script; in a root image, if there is one.
    Own { kernel: PathBuf, initrd: PathBuf, root: Option<PathBuf> },
    /// Somebody's kernel and initramfs, as they are.
    Images { kernel: PathBuf, initrd: Option<PathBuf> },
    /// No kernel: firmware, and whatever it finds on the devices.
    Firmware(Firmware),
}

/// What starts a machine that has no kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// QEMU's own.
    SeaBios,
    /// Debian's, for UEFI.
    Ovmf,
    /// Debian's, for x86_64.
    UBoot,
    /// A ROM in a file.
    Rom(PathBuf),
}

impl Boot {
    /// What it needs of what is fetched.
    pub(crate) fn assets(&self) -> Result<Assets> {
        match self {
            Self::Stock(kernel) => Assets::for_kernel(*kernel),
            Self::Own { .. } | Self::Images { .. } | Self::Firmware(_) => Assets::load(),
        }
    }

    /// The initramfs behind which the script is put, where one runs.
    pub(crate) fn base(&self, assets: &Assets) -> Result<Option<PathBuf>> {
        match self {
            Self::Stock(kernel) => assets.initrd(*kernel).map(Some),
            Self::Own { initrd, .. } => Ok(Some(initrd.clone())),
            Self::Images { .. } | Self::Firmware(_) => Ok(None),
        }
    }

    /// What the initramfs needs besides the script.
    pub(crate) const fn files(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Own { .. } => &[(FIRST_PROCESS, scripts::EXEC), ("brownout-script", scripts::OWN)],
            Self::Stock(_) | Self::Images { .. } | Self::Firmware(_) => &[],
        }
    }

    /// The arguments of QEMU; `words` are the user's, for the kernel's command line.
    pub(crate) fn arguments(&self, assets: &Assets, folder: &Path, words: &[String]) -> Result<Vec<String>> {
        // An emulated timer is late on a busy machine, and kernels take that for broken hardware.
        let mut command_line = vec!["console=ttyS0 panic=-1 no_timer_check".to_owned()];
        let mut arguments = Vec::new();
        let (kernel, initrd) = match self {
            Self::Stock(kernel) => (assets.kernel(*kernel)?, Some(folder.join("initrd"))),
            Self::Own { kernel, root, .. } => {
                command_line.push(format!("rdinit=/{FIRST_PROCESS}"));
                if let Some(root) = root {
                    arguments.extend(root_arguments(root)?);
                    command_line.push("BROWNOUT_ROOT=/dev/vda".to_owned());
                }
                (kernel.clone(), Some(folder.join("initrd")))
            }
            Self::Images { kernel, initrd } => (kernel.clone(), initrd.clone()),
            Self::Firmware(firmware) => return firmware_arguments(firmware, assets, folder),
        };
        command_line.extend(words.iter().cloned());
        arguments.extend(["-kernel", &text(&kernel)?, "-append", &command_line.join(" ")].map(str::to_owned));
        if let Some(initrd) = initrd {
            arguments.extend(["-initrd".to_owned(), text(&initrd)?]);
        }
        Ok(arguments)
    }
}

/// A disk whose changes are dropped, so that a machine that is killed leaves the image as it was.
fn root_arguments(image: &Path) -> Result<Vec<String>> {
    let mut magic = Vec::new();
    let opened = File::open(image).and_then(|file| file.take(4).read_to_end(&mut magic));
    opened.with_context(|| format!("cannot read {}", image.display()))?;
    let format = if magic == QCOW2 { "qcow2" } else { "raw" };
    let drive = format!("if=none,id=root,snapshot=on,format={format},file={}", text(image)?.replace(',', ",,"));
    Ok(["-drive", &drive, "-device", "virtio-blk-pci,drive=root"].map(str::to_owned).to_vec())
}

fn firmware_arguments(firmware: &Firmware, assets: &Assets, folder: &Path) -> Result<Vec<String>> {
    let flash = |path: &Path, more: &str| -> Result<String> {
        Ok(format!("if=pflash,format=raw,file={}{more}", text(path)?.replace(',', ",,")))
    };
    Ok(match firmware {
        Firmware::SeaBios => Vec::new(),
        Firmware::Rom(image) => vec!["-bios".to_owned(), text(image)?],
        Firmware::UBoot => vec!["-bios".to_owned(), text(&assets.u_boot()?)?],
        Firmware::Ovmf => {
            // Its variables are this machine's own.
            let (code, variables) = assets.ovmf()?;
            let copy = folder.join("variables");
            fs::copy(&variables, &copy).with_context(|| format!("cannot copy {}", variables.display()))?;
            let (code, copy) = (flash(&code, ",readonly=on")?, flash(&copy, "")?);
            vec!["-drive".to_owned(), code, "-drive".to_owned(), copy]
        }
    })
}

/// A path, as a word of a command line that is text.
pub(crate) fn text(path: &Path) -> Result<String> {
    let text = path.to_str().with_context(|| format!("{} is not valid UTF-8", path.display()))?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_a_disk_of_its_own_kind_that_keeps_nothing() -> Result<()> {
        let folder = tempfile::tempdir()?;
        for (name, magic, format) in [("a,b", &b"QFI\xfb\0\0"[..], "qcow2"), ("raw", b"QF", "raw")] {
            let image = folder.path().join(name);
            fs::write(&image, magic)?;
            let arguments = root_arguments(&image)?.join(" ");
            assert!(arguments.contains(&format!("snapshot=on,format={format},file=")), "{arguments}");
            assert!(arguments.contains(&name.replace(',', ",,")), "{arguments}");
        }
        assert!(root_arguments(&folder.path().join("none")).is_err());
        Ok(())
    }
}
