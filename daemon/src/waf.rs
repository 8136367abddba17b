//! `brownout waf`: what a write costs on a drive with a large indirection unit, as a number or as a curve. The arithmetic and the
//! drawing lie in [`traces`]; this file knows the options and the terminal, and `experiments` how long experiments are run.

mod experiments;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::num::NonZeroU64;
use std::path::Path;

use anyhow::Context as _;
use serde_json::json;
use traces::plot::COLOURS_MAX;
use traces::waf::{Grid, IndirectionUnit, Write, figure};

use crate::cli;
use crate::failure::Failure;
use crate::figure_file::FigureFile;
use crate::options::{Bytes, OptionError};
use experiments::Experiment;

/// The smallest and the largest unit that is believed: a logical block, and more than an SD card's allocation unit.
const UNITS: (Bytes, Bytes) = (Bytes(512), Bytes(1 << 30));
const GRID: Bytes = Bytes(4096);
const LENGTH_MAX: Bytes = Bytes::mib(1);
/// More points than pixels; a curve of millions would only fill the disk.
const POINTS_MAX: u64 = 1 << 14;

/// Prints what one write costs, draws what all lengths cost, or runs an experiment; returns the exit code.
///
/// # Errors
/// A wrong option, or a file that cannot be written.
pub fn waf(arguments: &cli::Waf) -> Result<u8, Failure> {
    if let Some(experiment) = Experiment::asked_for(arguments) {
        return experiment.run();
    }
    let units = arguments.iu.iter().map(|&bytes| unit(bytes)).collect::<Result<Vec<_>, _>>()?;
    let said = match (&arguments.plot, arguments.offset, arguments.len) {
        (Some(_), ..) if arguments.json => {
            let remedy = "leave it out: a curve is a file, and an experiment or one write (--offset, --len) has JSON";
            return Err(OptionError::new("--json", "", remedy).into());
        }
        (Some(path), ..) => draw(path, &units, grid(arguments.grid)?, arguments.max_len.unwrap_or(LENGTH_MAX))?,
        (None, Some(offset), Some(length)) => {
            check_unplotted(arguments)?;
            let write = write(offset, length)?;
            if arguments.json { costs_json(&units, write) } else { costs(&units, write) }
        }
        (None, ..) => unreachable!("the command line asks for either"),
    };
    say(&said)?;
    Ok(0)
}

fn say(said: &str) -> anyhow::Result<()> {
    io::stdout().write_all(said.as_bytes()).context("cannot print the result")
}

/// Refuses what only a curve has: one write has no grid.
fn check_unplotted(arguments: &cli::Waf) -> Result<(), OptionError> {
    let given = [("--grid", arguments.grid), ("--max-len", arguments.max_len)];
    given.into_iter().find_map(|(option, bytes)| Some((option, bytes?))).map_or(Ok(()), |(option, bytes)| {
        Err(OptionError::new(
            option,
            bytes.to_string(),
            "give --plot FILE instead of --offset and --len, or leave it out",
        ))
    })
}

fn write(offset: Bytes, length: Bytes) -> Result<Write, OptionError> {
    let remedy = "give at least 1: what nothing amplifies has no number";
    let length = NonZeroU64::new(length.0).ok_or_else(|| OptionError::new("--len", length.to_string(), remedy))?;
    Ok(Write { offset: offset.0, length })
}

/// The same numbers for programs; the ratio is exact, as two whole numbers.
fn costs_json(units: &[IndirectionUnit], write: Write) -> String {
    let cost = |unit: &IndirectionUnit| {
        let (touched, ratio) = (unit.touched(write), unit.waf(write));
        json!({ "iu": unit.bytes(), "touched": touched, "waf": [ratio.numerator(), ratio.denominator()] })
    };
    let units: Vec<_> = units.iter().map(cost).collect();
    format!("{:#}\n", json!({ "offset": write.offset, "length": write.length, "units": units }))
}

/// A line for each unit.
fn costs(units: &[IndirectionUnit], write: Write) -> String {
    let mut lines = String::new();
    for unit in units {
        let (name, touched) = (Bytes(unit.bytes()), unit.touched(write));
        writeln!(lines, "{name}: {touched} bytes touched, WAF {}", unit.waf(write)).expect("a string takes everything");
    }
    lines
}

fn draw(path: &Path, units: &[IndirectionUnit], grid: Grid, length_max: Bytes) -> Result<String, Failure> {
    let twice = units.iter().enumerate().find(|(index, unit)| units[..*index].contains(unit));
    if let Some((_, unit)) = twice {
        return Err(OptionError::new("--iu", Bytes(unit.bytes()).to_string(), "it is given twice").into());
    }
    if units.len() > COLOURS_MAX {
        let remedy = format!("give at most {COLOURS_MAX}: no more are told apart in one figure");
        return Err(OptionError::new("--iu", format!("given {} times", units.len()), remedy).into());
    }
    let file = FigureFile::new(path)?;
    check_length_max(length_max, grid)?;
    file.write(|format| figure(units, grid, length_max.0).render(format))
}

/// An indirection unit of an option `--iu`.
///
/// # Errors
/// What would do.
pub fn unit(bytes: Bytes) -> Result<IndirectionUnit, OptionError> {
    believed("--iu", bytes, IndirectionUnit::new)
}

fn grid(bytes: Option<Bytes>) -> Result<Grid, OptionError> {
    believed("--grid", bytes.unwrap_or(GRID), Grid::new)
}

fn believed<T>(option: &str, bytes: Bytes, new: fn(u64) -> Option<T>) -> Result<T, OptionError> {
    let (least, most) = UNITS;
    let accepted = Some(bytes).filter(|bytes| (least..=most).contains(bytes)).and_then(|bytes| new(bytes.0));
    let remedy = || format!("give a power of two from {least} to {most}");
    accepted.ok_or_else(|| OptionError::new(option, bytes.to_string(), remedy()))
}

/// A curve has a beginning and an end, and can be drawn in a moment.
fn check_length_max(length_max: Bytes, grid: Grid) -> Result<(), OptionError> {
    let (least, most) = (Bytes(2 * grid.bytes()), Bytes(POINTS_MAX * grid.bytes()));
    if (least..=most).contains(&length_max) {
        return Ok(());
    }
    let remedy =
        format!("give {least} to {most}, which are 2 and {POINTS_MAX} steps of --grid {}", Bytes(grid.bytes()));
    Err(OptionError::new("--max-len", length_max.to_string(), remedy))
}
