//! `brownout crash`: cuts power repeatedly, and lets the oracle judge what is left. One module for each way to do it: [`in_process`]
//! needs no guest, [`guest`] boots them, [`tape`] takes what a drive has put down. This module reads the arguments ([`words`] makes them
//! again), [`system`] is what the user's guests boot; [`report`] writes the results, [`identity`] says in them what was run, and [`merge`]
//! makes one of those of several [`shards`].

mod acknowledged;
pub mod bounds;
mod guest;
mod identity;
mod in_process;
mod junit;
mod merge;
mod report;
mod shards;
mod system;
mod tape;
mod words;

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{ArgGroup, Args};
use media::Nanoseconds;
use media::fault::Misbehaviour;
use media::power::Step;
use oracle::simulator::Policy;

use crate::failure::Failure;
use crate::number::{count, number};
use identity::Identity;
use report::Report;

/// Cuts of a campaign of which nothing is said.
const CUTS: u64 = 10_000;
/// More than there is time for.
const CUTS_WITHOUT_END: u64 = 1 << 40;

/// The help, without the blank line behind its title: it has as many lines as a screen.
pub const TEMPLATE: &str = "{about-with-newline}{usage-heading} {usage}\n\n{all-args}{after-help}";

/// What the help ends with.
pub const AFTER: &str = "Example:\n  brownout crash --in-process --cuts 100000 --seed 1";

/// `brownout crash`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("where").required(true)))]
pub struct Arguments {
    /// Drives of every shape, in this process
    #[arg(long, group = "where")]
    in_process: bool,
    /// Linux guests; fetches what they need
    #[arg(long, group = "where", conflicts_with = "runs")]
    guest: bool,
    /// Every image that a drive may have left, by its tape
    #[arg(long, value_name = "FILE", group = "where")]
    tape: Option<PathBuf>,
    /// With --tape: judge an image: 'fsck.sh {image} {acks}'
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["in_process", "guest"])]
    check: Option<String>,
    #[command(flatten)]
    of_tape: tape::OfTape,
    #[command(flatten)]
    of_guest: guest::OfGuest,
    /// One image, for the checks that tapes have: what --keep has kept
    #[arg(long, value_name = "RAW", group = "where", hide_short_help = true)]
    image: Option<PathBuf>,
    /// With --image: what was acknowledged
    #[arg(long, value_name = "FILE", requires = "image", conflicts_with_all = ["tape", "guest", "in_process"], hide_short_help = true)]
    acks: Option<PathBuf>,
    /// Make one report of those that shards wrote with --json, whole or not, and say which shards are missing
    #[arg(long, value_name = "REPORT", num_args = 1.., group = "where", hide_short_help = true, conflicts_with_all = ["cuts", "time",
        "seed", "points", "policy", "misbehave", "runs", "shard", "keep_going", "check", "check_guest", "keep", "images"])]
    merge: Vec<PathBuf>,
    /// Print the agent of --guest --attach: a script for your machine
    #[arg(long, group = "where", hide_short_help = true)]
    print_agent: bool,
    /// Minimum number of power cuts [default: 10000]
    #[arg(long, value_name = "N", value_parser = count)]
    cuts: Option<u64>,
    /// Maximum duration: 90s, 10m, 2h
    #[arg(long = "for", value_name = "TIME", value_parser = bounds::duration)]
    time: Option<Nanoseconds>,
    /// With --guest: only this cut, by its number
    #[arg(long, value_name = "CUT", requires = "guest", conflicts_with_all = ["cuts", "shard"],
        value_parser = clap::value_parser!(u32).range(1..))]
    only: Option<u32>,
    /// Percentage of guest points to meet [default: 80]
    #[arg(long, value_name = "PERCENT", requires = "guest", default_value_t = 80, hide_default_value = true, hide_short_help = true,
        value_parser = clap::value_parser!(u8).range(0..=100))]
    min_met: u8,
    /// Seed of the first drive
    #[arg(long, value_name = "S", default_value_t = 1, value_parser = number)]
    seed: u64,
    /// Cut at these steps only: flush-synced,line-erased,...
    #[arg(long, value_name = "STEP,...", value_delimiter = ',', hide_possible_values = true, value_parser = steps())]
    points: Vec<Step>,
    /// none-survive, all-survive, random [default: all]
    #[arg(long, hide_possible_values = true, value_parser = policies())]
    policy: Option<Policy>,
    /// Promises to break, as in --media; joined by +
    #[arg(long, value_name = "MODE", value_delimiter = '+', hide_possible_values = true,
        value_parser = PossibleValuesParser::new(Misbehaviour::NAMES))]
    misbehave: Vec<String>,
    /// Runs of each drive, all alike
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count, hide_short_help = true)]
    runs: u64,
    /// Run only shard I of N
    #[arg(long, value_name = "I/N", default_value = "1/1", value_parser = shard)]
    shard: (u64, u64),
    /// Continue after a failure
    #[arg(long)]
    keep_going: bool,
    /// Write a JSON line for each drive, and a summary
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a JUnit report
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write a report that a browser shows; needs nothing else
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    html: Option<PathBuf>,
}

impl Arguments {
    /// How many cuts were asked for.
    fn cuts(&self) -> u64 {
        self.cuts.unwrap_or(if self.time.is_some() { CUTS_WITHOUT_END } else { CUTS })
    }

    /// What is run, for whoever reads the report.
    fn identity(&self) -> anyhow::Result<Identity> {
        match &self.tape {
            Some(path) => {
                let words = [tape::words::of_tape(self, path), words::of_bounds(self, None)].concat();
                Identity::new(words, tape::words::of_machine(self), self.shard).over(path)
            }
            None => {
                let cuts = self.cuts.or_else(|| self.time.is_none().then_some(CUTS));
                let words = [vec!["--in-process".to_owned()], words::of_bounds(self, cuts), words::of_drives(self)];
                Ok(Identity::new(words.concat(), Vec::new(), self.shard))
            }
        }
    }

    /// The reports that were asked for, begun.
    fn report(&self) -> anyhow::Result<Report> {
        Report::create(self.json.as_deref(), self.junit.as_deref(), self.html.as_deref())
    }
}

fn steps() -> impl clap::builder::TypedValueParser<Value = Step> {
    PossibleValuesParser::new(Step::ALL.iter().map(|step| step.name()))
        .map(|name| Step::named(&name).expect("one of the possible names"))
}

fn policies() -> impl clap::builder::TypedValueParser<Value = Policy> {
    PossibleValuesParser::new(Policy::NAMES.map(|(name, _)| name)).map(|given| {
        let named = Policy::NAMES.into_iter().find(|(name, _)| *name == given);
        named.map(|(_, policy)| policy).expect("one of the possible names")
    })
}

/// Reads `I/N`, I from 1 to N; returns it from 0.
pub fn shard(text: &str) -> Result<(u64, u64), String> {
    let numbers = text.split_once('/').and_then(|(one, of)| Some((one.parse::<u64>().ok()?, of.parse::<u64>().ok()?)));
    match numbers {
        Some((one, of)) if (1..=of).contains(&one) => Ok((one - 1, of)),
        _ => Err("give I/N with I from 1 to N, as in 2/4".to_owned()),
    }
}

/// Runs the campaign that was asked for; returns the exit code: 0 where nothing illegal was found, 1 where something was, 130 where it was
/// told to end before, 75 where shards are missing.
///
/// # Errors
/// A report that cannot be written.
pub fn crash(arguments: &Arguments) -> Result<u8, Failure> {
    if arguments.print_agent {
        std::io::stdout().write_all(guest_harness::scripts::AGENT.as_bytes()).context("cannot print")?;
        return Ok(0);
    }
    arguments.of_tape.system.check()?;
    if !arguments.merge.is_empty() {
        return merge::run(arguments, &arguments.merge);
    }
    match (&arguments.tape, &arguments.image) {
        (Some(path), _) => tape::run(arguments, path),
        (None, Some(image)) => tape::judge_file(arguments, image, arguments.acks.as_deref()),
        (None, None) if arguments.guest => guest::run(arguments),
        (None, None) => in_process::run(arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::shard;

    #[test]
    fn a_shard_is_one_of_some() {
        assert_eq!(shard("2/4"), Ok((1, 4)));
        for wrong in ["0/4", "5/4", "1/0", "1", "a/b", "1/2/3"] {
            assert!(shard(wrong).is_err(), "{wrong}");
        }
    }
}
