//! U-Boot can be told to scan, and to move blocks through its memory.

use anyhow::Context as _;

use super::Place;
use crate::conform::console::Console;
use crate::conform::place::COPIED;

/// It moves so many bytes at a time: far from its limit, and long enough for lists.
const STEP: u64 = 256 << 10;
const MEMORY: u64 = 0x0400_0000;
const PROMPT: &str = "=> ";
/// What comes when a command is over. It is typed otherwise, so that the echo is something else.
const OVER: &str = "over:";

/// Stops what it would boot.
///
/// # Errors
/// It does not come up, or the machine broke.
pub fn come_up(console: &mut Console<'_>) -> anyhow::Result<()> {
    console.says("Hit any key to stop autoboot")?;
    console.ask("", "\n", PROMPT).map(drop)
}

/// Types what an order stands for.
///
/// # Errors
/// It does not answer, or the machine broke.
pub fn order(console: &mut Console<'_>, place: &Place, words: &[&str]) -> anyhow::Result<bool> {
    match words {
        ["attach"] => {
            ask(console, "nvme scan")?;
            Ok(ask(console, "nvme info")?.contains("Capacity"))
        }
        ["copy", bytes, _] => {
            let bytes: u64 = bytes.parse().context("a number of bytes")?;
            anyhow::ensure!(bytes <= COPIED, "{bytes} bytes are more than were filled");
            let count = STEP / place.block_bytes;
            for block in (0..bytes / place.block_bytes).step_by(usize::try_from(count)?) {
                let (from, to) = (place.from + block, place.to + block);
                // A driver that is told of an error tries again, as a file system would.
                let done = again(console, &format!("nvme read {MEMORY:x} {from:x} {count:x}"))?
                    && again(console, &format!("nvme write {MEMORY:x} {to:x} {count:x}"))?;
                if !done {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        ["off"] => {
            // It has no word for it; a machine that is not to start again ends.
            console.type_line("reset", "\n")?;
            console.is_off()
        }
        _ => anyhow::bail!("U-Boot cannot be told to {}", words.join(" ")),
    }
}

fn again(console: &mut Console<'_>, line: &str) -> anyhow::Result<bool> {
    for _ in 0..3 {
        if ask(console, line)?.contains(": OK") {
            return Ok(true);
        }
    }
    Ok(false)
}

fn ask(console: &mut Console<'_>, line: &str) -> anyhow::Result<String> {
    let said = console.ask(&format!("{line}; echo ov\"\"er:"), "\n", OVER)?;
    console.says(PROMPT)?;
    Ok(said)
}
