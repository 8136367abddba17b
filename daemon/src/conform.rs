//! `brownout conform`: a host's NVMe driver on trial. Scenarios run one after the other, each with a drive and a machine of its own; the
//! drive sees what the driver does, and judges it. [`scenario`] is the list, [`subject`] whose driver it is, [`bench`] runs a case,
//! [`verdict`] judges it, [`report`] writes it down.

mod bench;
mod console;
mod firmware;
mod place;
mod report;
mod scenario;
mod subject;
mod verdict;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context as _;
use checker::Rule;
use clap::{Args, ValueEnum};
use guest_harness::Kernel;
use regex_lite::Regex;

use crate::crash::bounds::{Bounds, INTERRUPTED};
use crate::crash::shard;
use crate::failure::Failure;
use crate::number::number;
use crate::options::OptionError;
use crate::progress::Progress;
use bench::Plan;
use firmware::Firmware;
use report::Report;
use scenario::{Case, Timeouts};
use subject::Subject;
use verdict::Verdict;

/// The help, without the blank line behind its title: it has as many lines as a screen.
pub use crate::crash::TEMPLATE;

/// What the help ends with.
pub const AFTER: &str = "Example:\n  brownout conform --linux newest --junit conform.xml";

/// `brownout conform`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Stock Linux, fetched: 6.12, newest (default)
    #[arg(long, value_enum, value_name = "VERSION", hide_possible_values = true, conflicts_with_all = ["kernel", "firmware"])]
    linux: Option<Linux>,
    /// Your kernel, judged from outside
    #[arg(long, value_name = "BZIMAGE", conflicts_with = "firmware")]
    kernel: Option<PathBuf>,
    /// Its initramfs
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// Words for its command line
    #[arg(long, value_name = "STR", requires = "kernel", allow_hyphen_values = true)]
    append: Vec<String>,
    /// seabios, ovmf, u-boot
    #[arg(long, value_enum, value_name = "NAME", hide_possible_values = true)]
    firmware: Option<Firmware>,
    /// Your build of that firmware
    #[arg(long, value_name = "FILE", requires = "firmware")]
    rom: Option<PathBuf>,
    /// A line that your image must print
    #[arg(long, value_name = "REGEX")]
    expect: Vec<Regex>,
    /// A line that must not be printed
    #[arg(long, value_name = "REGEX")]
    forbid: Vec<Regex>,
    /// Only these: C11,C12; help lists all
    #[arg(long, value_name = "C,...", value_delimiter = ',')]
    only: Vec<String>,
    /// More --device properties in every scenario
    #[arg(long, value_name = "K=V,...")]
    profile: Option<String>,
    /// Rules that may be broken: H29
    #[arg(long, value_name = "RULE,...", value_delimiter = ',', value_parser = rule)]
    allow: Vec<Rule>,
    /// [default: io=10,admin=10,boot=60,slowness=20]
    #[arg(long, value_name = "K=N,...", value_parser = timeouts)]
    timeouts: Option<Timeouts>,
    /// Determines everything random
    #[arg(long, value_name = "S", default_value_t = 1, value_parser = number)]
    seed: u64,
    /// Shard I of N, from 1
    #[arg(long, value_name = "I/N", default_value = "1/1", value_parser = shard)]
    shard: (u64, u64),
    /// JSON Lines: one line per scenario and a summary
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Linux {
    /// Debian's 6.12.
    #[value(name = "6.12")]
    Debian612,
    /// The newest that Debian has.
    Newest,
}

fn rule(text: &str) -> Result<Rule, String> {
    Rule::named(text).ok_or_else(|| format!("give a rule, from {} to S11", Rule::ALL[0].id()))
}

fn timeouts(text: &str) -> Result<Timeouts, String> {
    let mut timeouts = TIMEOUTS;
    for word in text.split(',') {
        let seconds = |text: &str| text.parse().ok().filter(|seconds| (1..=3600).contains(seconds));
        match word.split_once('=').map(|(name, value)| (name, seconds(value))) {
            Some(("io", Some(value))) => timeouts.io = value,
            Some(("admin", Some(value))) => timeouts.admin = value,
            Some(("boot", Some(value))) => timeouts.boot = value,
            Some(("slowness", Some(value))) => timeouts.slowness = value,
            _ => return Err("give io=N,admin=N,boot=N in seconds and slowness=N, each from 1 to 3600".to_owned()),
        }
    }
    Ok(timeouts)
}

/// What Linux is given, so that a lost command does not take a minute; an emulated machine needs as long for ordinary ones.
const TIMEOUTS: Timeouts = Timeouts { io: 10, admin: 10, boot: 60, slowness: 20 };

impl Arguments {
    fn subject(&self) -> Subject {
        match (&self.kernel, self.firmware, self.linux) {
            (Some(kernel), ..) => Subject::Own {
                kernel: kernel.clone(),
                initrd: self.initrd.clone(),
                append: self.append.iter().flat_map(|words| words.split(' ')).map(str::to_owned).collect(),
            },
            (None, Some(firmware), _) => Subject::Firmware(firmware, self.rom.clone()),
            (None, None, Some(Linux::Debian612)) => Subject::Linux(Kernel::Debian612),
            (None, None, _) => Subject::Linux(Kernel::Newest),
        }
    }

    /// When the driver gives up a command: as given, or as this driver does.
    fn waits(&self) -> Timeouts {
        self.timeouts.unwrap_or_else(|| self.subject().timeouts(TIMEOUTS))
    }

    /// A machine that does not start says nothing about a driver.
    fn check_files(&self) -> Result<(), OptionError> {
        let files = [("--kernel", &self.kernel), ("--initrd", &self.initrd), ("--rom", &self.rom)];
        for (option, path) in files.into_iter().filter_map(|(option, path)| Some((option, path.as_ref()?))) {
            let opened = std::fs::File::open(path);
            opened.map_err(|error| {
                OptionError::new(option, path.display().to_string(), format!("give a file that can be read: {error}"))
            })?;
        }
        Ok(())
    }

    /// The cases that were asked for.
    fn cases(&self) -> Result<Vec<Case>, Failure> {
        let all = scenario::all(self.waits(), self.seed);
        for wanted in &self.only {
            if !all.iter().any(|case| case.id.eq_ignore_ascii_case(wanted)) {
                let known: BTreeSet<&str> = all.iter().map(|case| case.id).collect();
                let known = known.into_iter().collect::<Vec<_>>().join(", ");
                return Err(OptionError::new("--only", wanted, format!("the scenarios are {known}")).into());
            }
        }
        let wanted = |case: &Case| self.only.is_empty() || self.only.iter().any(|id| case.id.eq_ignore_ascii_case(id));
        let cases = all.into_iter().filter(wanted);
        let (shard, of) = self.shard;
        Ok((0..).zip(cases).filter(|(number, _)| number % of == shard).map(|(_, case)| case).collect())
    }
}

/// Runs the scenarios; returns the exit code: 0 where none failed, 1 where some did, 130 where the run was told to end before.
///
/// # Errors
/// A wrong option, or a report that cannot be written.
pub fn conform(arguments: &Arguments) -> Result<u8, Failure> {
    let subject = arguments.subject();
    if arguments.only.iter().any(|wanted| wanted == "help") {
        let all = scenario::all(arguments.waits(), arguments.seed);
        all.iter().for_each(|case| println!("{:4} {}", case.id, case.name));
        return Ok(0);
    }
    let cases = arguments.cases()?;
    arguments.check_files()?;
    let plan = Plan {
        timeouts: arguments.waits(),
        allowed: arguments.allow.iter().chain(subject.known()).map(|rule| rule.id().to_owned()).collect(),
        expect: arguments.expect.clone(),
        forbid: arguments.forbid.clone(),
        profile: arguments.profile.clone(),
        subject,
    };
    let mut report = Report::create(&plan, arguments.seed, arguments.json.as_deref(), arguments.junit.as_deref())?;
    let mut bounds = Bounds::new(None).context("cannot listen for signals")?;
    let progress = Progress::new("scenarios", "cases");
    for (done, case) in (0..).zip(&cases) {
        progress.at(done, cases.len() as u64);
        let ended = plan.run(case, &mut || !bounds.asked());
        if bounds.asked() {
            break;
        }
        report.case(case, &ended)?;
    }
    let interrupted = bounds.asked();
    drop(progress);
    report.close(interrupted)?;
    Ok(match report.failed() {
        true => 1,
        false if interrupted => INTERRUPTED,
        false => 0,
    })
}

/// Whether a verdict makes the run fail.
const fn fails(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Fail(..) | Verdict::Error(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_outs_are_seconds() {
        assert_eq!(timeouts("io=30,admin=60"), Ok(Timeouts { io: 30, admin: 60, ..TIMEOUTS }));
        assert_eq!(timeouts("admin=5,boot=9"), Ok(Timeouts { admin: 5, boot: 9, ..TIMEOUTS }));
        for wrong in ["", "io", "io=0", "io=x", "disk=4"] {
            assert!(timeouts(wrong).is_err(), "{wrong}");
        }
        assert_eq!(rule("h29"), Ok(Rule::H29));
        assert!(rule("H21x").is_err());
    }
}
