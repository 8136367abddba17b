//! UEFI's shell, started from a FAT file system on the drive, copies one file onto another.

use std::fs;

use anyhow::Context as _;
use guest_harness::Assets;

use super::{Disk, Place, fat};
use crate::conform::console::Console;

const PROMPT: &str = "Shell> ";

/// A file system with the shell where firmware looks for it.
///
/// # Errors
/// The shell cannot be had.
pub fn disk(place: &Place) -> anyhow::Result<Disk> {
    let path = Assets::load()?.uefi_shell()?;
    let shell = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(fat::disk(place, &shell))
}

/// Waits for the shell; a key ends its wait for a script.
///
/// # Errors
/// It does not come up, or the machine broke.
pub fn come_up(console: &mut Console<'_>) -> anyhow::Result<()> {
    console.says("seconds to skip")?;
    console.ask("", "\r", PROMPT).map(drop)
}

/// Types what an order stands for.
///
/// # Errors
/// It does not answer, or the machine broke.
pub fn order(console: &mut Console<'_>, words: &[&str]) -> anyhow::Result<bool> {
    match words {
        ["attach"] => Ok(ask(console, "ls fs0:\\")?.contains(fat::SOURCE)),
        // Its own buffer decides how long the commands are. Like a file system, it tries again.
        ["copy", ..] => {
            for _ in 0..3 {
                if ask(console, &format!("cp -q fs0:\\{} fs0:\\{}", fat::SOURCE, fat::TARGET))?.contains("[ok]") {
                    return Ok(true);
                }
                // Half a copy has all the clusters there are.
                ask(console, &format!("rm -q fs0:\\{}", fat::TARGET))?;
            }
            Ok(false)
        }
        ["off"] => {
            console.type_line("reset -s", "\r")?;
            console.is_off()
        }
        _ => anyhow::bail!("the shell cannot be told to {}", words.join(" ")),
    }
}

fn ask(console: &mut Console<'_>, line: &str) -> anyhow::Result<String> {
    console.ask(line, "\r", PROMPT)
}
