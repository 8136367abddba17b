//! `brownout trace convert`: from any format that is read to one that is written.

use std::fs::{self, OpenOptions};
use std::io::BufWriter;

use anyhow::Context as _;
use traces::export;

use super::Convert;
use super::input::Input;
use crate::failure::Failure;

/// Converts; returns the exit code. A trace that is wrong somewhere leaves no file.
pub fn convert(arguments: &Convert) -> Result<u8, Failure> {
    let mut input = Input::open(&arguments.trace, "converting")?;
    let out = &arguments.out;
    let cannot = || format!("cannot write {}", out.display());
    let file = OpenOptions::new().write(true).create_new(true).open(out).with_context(cannot)?;
    let converted = export::convert(&mut input.trace, arguments.to, !arguments.no_data, BufWriter::new(file));
    let converted = match converted {
        Ok(converted) => converted,
        Err(error) => {
            // Ours, and half of it.
            fs::remove_file(out).with_context(|| format!("cannot remove {} again", out.display()))?;
            return Err(input.failed(error).into());
        }
    };
    println!("{} commands in {}", converted.commands, out.display());
    for (kind, count) in converted.left_out {
        println!("{count} left out, because the format has no word for them: {}", kind.name());
    }
    Ok(0)
}
