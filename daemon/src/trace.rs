//! `brownout trace`: what was done to a drive, from a file. The formats, the arithmetic and the replay lie in [`traces`]; this file knows
//! the options and opens files, and there is a module for each verb.

mod analyse;
mod convert;
mod drive;
mod input;
mod record;
mod replay;
mod served;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use traces::analysis::Figure;
use traces::export::Target;
use traces::import::Format;
use traces::replay::Speed;

use crate::device_arguments::DeviceArguments;
use crate::failure::Failure;
use crate::number::time;
use crate::options::{Bytes, Share};

/// What the help ends with.
pub const AFTER: &str = "Example:\n  brownout trace analyse disk.trace --iu 16KiB";
const AFTER_ANALYSE: &str = "Example:\n  brownout trace analyse disk.trace --iu 4KiB,16KiB --plot waf.svg";
const AFTER_REPLAY: &str = "Example:\n  brownout trace replay disk.trace --media iu=16KiB,timing=tlc --speed asap";
const AFTER_RECORD: &str = "Example:\n  brownout trace record disk.trace --control control.sock --for 10s";
const AFTER_CONVERT: &str = "Example:\n  brownout trace convert blkparse.txt disk.trace";

/// `brownout trace`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    pub verb: TraceVerb,
}

/// What to do with a trace.
#[derive(Debug, Subcommand)]
pub enum TraceVerb {
    /// Say what a trace is like, and what its writes cost drives
    #[command(after_help = AFTER_ANALYSE)]
    Analyse(Analyse),
    /// Give the commands of a trace to a drive
    #[command(after_help = AFTER_REPLAY)]
    Replay(Box<Replay>),
    /// Have a running drive record its commands
    #[command(after_help = AFTER_RECORD)]
    Record(Record),
    /// Read a trace and write it in another format
    #[command(after_help = AFTER_CONVERT)]
    Convert(Convert),
}

/// A trace.
#[derive(Clone, Debug, Args)]
pub struct TraceFile {
    /// A recording, or a trace of another tool
    pub file: PathBuf,
    /// Its format [default: what it looks like]
    #[arg(long, value_name = "NAME", hide_possible_values = true, long_help = format_help(),
        value_parser = named(&Format::NAMES, Format::named))]
    pub format: Option<Format>,
}

/// `brownout trace analyse`.
#[derive(Debug, Args)]
pub struct Analyse {
    #[command(flatten)]
    pub trace: TraceFile,
    /// Indirection units of the drives that are compared
    #[arg(long, value_name = "SIZE,...", value_delimiter = ',', default_values = ["4KiB", "16KiB", "64KiB"])]
    pub iu: Vec<Bytes>,
    /// Over-provisioning of the drive that is predicted, as op= of --media
    #[arg(long, value_name = "SHARE", default_value = "7%", value_parser = share)]
    pub spare: Share,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
    /// Draw a figure: .svg or .png
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Which one: waf (default), depth or sizes
    #[arg(long, value_name = "NAME", requires = "plot", default_value = "waf", hide_possible_values = true,
        hide_default_value = true, value_parser = named(&Figure::NAMES, Figure::named))]
    pub figure: Figure,
}

/// `brownout trace replay`.
#[derive(Debug, Args)]
pub struct Replay {
    #[command(flatten)]
    pub trace: TraceFile,
    /// recorded (default), asap, or a factor such as 2x
    #[arg(long, value_name = "SPEED", default_value = "recorded", hide_default_value = true, value_parser = speed)]
    pub speed: Speed,
    /// Commands under way at most
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4095))]
    pub depth: u32,
    /// Write the whole drive before
    #[arg(long)]
    pub fill: bool,
    /// What lies behind the end of a namespace goes round to its beginning
    #[arg(long, hide_short_help = true)]
    pub wrap: bool,
    /// Record the replay
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
    /// A served drive, instead of one in this process
    #[arg(long, value_name = "PATH", conflicts_with_all = ["config", "device", "media", "namespace"])]
    pub socket: Option<PathBuf>,
    #[command(flatten)]
    pub device: DeviceArguments,
}

/// `brownout trace record`.
#[derive(Debug, Args)]
pub struct Record {
    /// File to make, in the folder of serve --trace-folder
    pub file: String,
    /// Control socket of the drive
    #[arg(long, value_name = "PATH")]
    pub control: PathBuf,
    /// Keep what commands write and read
    #[arg(long)]
    pub data: bool,
    /// How long: 10s, 5min [default: until SIGINT]
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    pub time: Option<Duration>,
}

/// `brownout trace convert`.
#[derive(Debug, Args)]
pub struct Convert {
    #[command(flatten)]
    pub trace: TraceFile,
    /// The file to write; nothing may be there yet
    pub out: PathBuf,
    /// Its format: recording (default), fio, blkparse, chrome, pcap
    #[arg(long, value_name = "NAME", default_value = "recording", hide_possible_values = true, hide_default_value = true,
        value_parser = named(&Target::NAMES, Target::named))]
    pub to: Target,
    /// Leave the data of commands out
    #[arg(long)]
    pub no_data: bool,
}

fn format_help() -> String {
    format!("Its format: {} [default: what it looks like]", Format::NAMES.join(", "))
}

/// One of several names.
fn named<T: Clone + Send + Sync + 'static>(
    names: &'static [&'static str],
    find: fn(&str) -> Option<T>,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(names).map(move |name| find(&name).expect("one of the possible names"))
}

fn share(text: &str) -> Result<Share, String> {
    let share = Share::try_from(text.to_owned()).map_err(str::to_owned)?;
    if share.0 == 0 {
        Err("give more than 0%: without a spare nothing can be written twice".to_owned())
    } else {
        Ok(share)
    }
}

/// Reads a speed.
fn speed(text: &str) -> Result<Speed, String> {
    let remedy = || "give recorded, asap, or a factor from 0.001x to 1000000x, such as 2x or 0.5x".to_owned();
    match text {
        "recorded" => return Ok(Speed::Thousandths(1000)),
        "asap" => return Ok(Speed::AsFastAsPossible),
        _ => {}
    }
    let number = text.strip_suffix('x').ok_or_else(remedy)?;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| (1..=7).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 3 {
        return Err(remedy());
    }
    let [whole, part]: [u64; 2] =
        [whole.parse().map_err(|_| remedy())?, format!("{part:0<3}").parse().map_err(|_| remedy())?];
    let thousandths = whole * 1000 + part;
    if (1..=1_000_000_000).contains(&thousandths) { Ok(Speed::Thousandths(thousandths)) } else { Err(remedy()) }
}

/// Does what was asked for; returns the exit code.
///
/// # Errors
/// A wrong option, a trace that cannot be read, or a file that cannot be written.
pub fn trace(verb: TraceVerb) -> Result<u8, Failure> {
    match verb {
        TraceVerb::Analyse(arguments) => analyse::analyse(&arguments),
        TraceVerb::Replay(arguments) => replay::replay(*arguments),
        TraceVerb::Record(arguments) => record::record(&arguments),
        TraceVerb::Convert(arguments) => convert::convert(&arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_a_word_or_an_exact_factor() {
        assert_eq!(speed("recorded"), Ok(Speed::Thousandths(1000)));
        assert_eq!(speed("asap"), Ok(Speed::AsFastAsPossible));
        let factors = [("2x", 2000), ("0.5x", 500), ("1.25x", 1250), ("1000000x", 1_000_000_000), ("0.001x", 1)];
        for (text, thousandths) in factors {
            assert_eq!(speed(text), Ok(Speed::Thousandths(thousandths)), "{text}");
        }
        for wrong in ["", "x", "2", "0x", "-1x", "1e3x", "1000001x", "0.0001x", "fast", "99999999x", "1.x"] {
            assert!(speed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_prediction_needs_a_spare() {
        assert_eq!(share("12.5%"), Ok(Share(125_000)));
        for wrong in ["0%", "7", "-1%", "x%"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
