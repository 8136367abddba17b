//! `brownout conform`: a host's NVMe driver on trial. Scenarios run one after the other, each with a drive and a machine of its own; the
//! drive sees what the driver does, and judges it. [`scenario`] is the list, [`subject`] whose driver it is, [`bench`] runs a case,
//! [`verdict`] judges it, [`report`] writes it down.

mod bench;
mod console;
mod firmware;
mod place;
#[cfg(test)]
mod rehearsal;
mod report;
mod scenario;
mod subject;
mod told;
mod verdict;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use checker::Rule;
use clap::{Args, ValueEnum};
use guest_harness::Kernel;
use regex_lite::Regex;

use crate::crash::bounds::{Bounds, INTERRUPTED};
use crate::crash::shard;
use crate::failure::Failure;
use crate::machine::{readable, shell_word};
use crate::number::number;
use crate::options::{Given, OptionError, Settings};
use crate::progress::Progress;
use bench::Plan;
use firmware::Firmware;
use report::{Files, Report};
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
    /// seabios, ovmf, u-boot; NAME=FILE: your build
    #[arg(long, value_name = "NAME", value_parser = firmware)]
    firmware: Option<(Firmware, Option<PathBuf>)>,
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
    /// A report that a browser shows; needs nothing else
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    html: Option<PathBuf>,
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

fn firmware(text: &str) -> Result<(Firmware, Option<PathBuf>), String> {
    let (name, image) = text.split_once('=').map_or((text, None), |(name, image)| (name, Some(PathBuf::from(image))));
    let known = Firmware::ALL.into_iter().find(|known| known.name() == name);
    let names = Firmware::ALL.map(Firmware::name).join(", ");
    known.map(|known| (known, image)).ok_or_else(|| format!("give one of {names}, or NAME=FILE"))
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
        match (&self.kernel, &self.firmware, self.linux) {
            (Some(kernel), ..) => Subject::Own {
                kernel: kernel.clone(),
                initrd: self.initrd.clone(),
                append: self.append.iter().flat_map(|words| words.split(' ')).map(str::to_owned).collect(),
            },
            (None, Some((firmware, image)), _) => Subject::Firmware(*firmware, image.clone()),
            (None, None, Some(Linux::Debian612)) => Subject::Linux(Kernel::Debian612),
            (None, None, _) => Subject::Linux(Kernel::Newest),
        }
    }

    /// When the driver gives up a command: as given, or as this driver does.
    fn waits(&self) -> Timeouts {
        self.timeouts.unwrap_or_else(|| self.subject().timeouts(TIMEOUTS))
    }

    /// The command line that repeats a case, but for which one.
    fn again(&self) -> String {
        let mut words = vec!["brownout conform".to_owned()];
        let mut say = |option: &str, value: &str| words.push(format!("{option} {}", shell_word(value)));
        match self.subject() {
            Subject::Linux(Kernel::Debian612) => say("--linux", "6.12"),
            Subject::Linux(Kernel::Newest) => say("--linux", "newest"),
            Subject::Linux(Kernel::Stacks) => say("--linux", "stacks"),
            Subject::Own { kernel, initrd, .. } => {
                say("--kernel", &kernel.display().to_string());
                initrd.iter().for_each(|path| say("--initrd", &path.display().to_string()));
                self.append.iter().for_each(|text| say("--append", text));
            }
            Subject::Firmware(firmware, None) => say("--firmware", firmware.name()),
            Subject::Firmware(firmware, Some(image)) => {
                say("--firmware", &format!("{}={}", firmware.name(), image.display()));
            }
        }
        self.expect.iter().for_each(|regex| say("--expect", regex.as_str()));
        self.forbid.iter().for_each(|regex| say("--forbid", regex.as_str()));
        self.profile.iter().for_each(|profile| say("--profile", profile));
        self.allow.iter().for_each(|rule| say("--allow", rule.id()));
        if let Some(Timeouts { io, admin, boot, slowness }) = self.timeouts {
            say("--timeouts", &format!("io={io},admin={admin},boot={boot},slowness={slowness}"));
        }
        say("--seed", &self.seed.to_string());
        words.join(" ")
    }

    /// A machine that does not start says nothing about a driver.
    fn check_files(&self) -> Result<(), OptionError> {
        let image = self.firmware.as_ref().and_then(|(_, image)| image.as_ref());
        let files = [("--kernel", self.kernel.as_ref()), ("--initrd", self.initrd.as_ref()), ("--firmware", image)];
        let mut named = files.into_iter().filter_map(|(option, path)| Some((option, path?)));
        named.try_for_each(|(option, path)| readable(option, path, "give a file"))
    }

    /// A profile that no device can have is wrong in every case.
    fn check_profile(&self) -> Result<(), OptionError> {
        let given = Given { device: self.profile.clone(), ..Given::default() };
        Settings::read(&given)
            .map(drop)
            .map_err(|error| OptionError::new("--profile", self.profile.clone().unwrap_or_default(), error.to_string()))
    }

    /// The cases that were asked for.
    fn cases(&self) -> Result<Vec<Case>, Failure> {
        let all = scenario::all(self.waits(), self.seed);
        for wanted in &self.only {
            if !all.iter().any(|case| case.is(wanted)) {
                let number = |case: &Case| case.id[1..].parse::<u32>().unwrap_or(0);
                let known: BTreeMap<u32, &str> = all.iter().map(|case| (number(case), case.id)).collect();
                let known = known.into_values().collect::<Vec<_>>().join(", ");
                let remedy = format!("the scenarios are {known}; C12.2 is one form, and `--only help` lists all");
                return Err(OptionError::new("--only", wanted, remedy).into());
            }
        }
        let wanted = |case: &Case| self.only.is_empty() || self.only.iter().any(|wanted| case.is(wanted));
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
        all.iter().for_each(|case| println!("{:6} {}", case.number(), case.name));
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
    arguments.check_profile()?;
    let files =
        Files { json: arguments.json.as_deref(), junit: arguments.junit.as_deref(), html: arguments.html.as_deref() };
    let mut report = Report::create(&plan, arguments.seed, arguments.again(), &files)?;
    let mut bounds = Bounds::new(None).context("cannot listen for signals")?;
    let progress = Progress::new("scenarios", "cases");
    for (done, case) in (0..).zip(&cases) {
        progress.at(done, cases.len() as u64);
        let ended = plan.run(case, &mut || !bounds.asked());
        if bounds.asked() {
            break;
        }
        report.case(case, ended)?;
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

/// The forms of all scenarios: number and name.
pub fn forms() -> Vec<(String, String)> {
    scenario::all(TIMEOUTS, 1).into_iter().map(|case| (case.number(), case.name)).collect()
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
        assert_eq!(firmware("u-boot=a.rom"), Ok((Firmware::UBoot, Some("a.rom".into()))));
        assert_eq!(firmware("ovmf"), Ok((Firmware::Ovmf, None)));
        assert!(firmware("bios").is_err_and(|why| why.contains("seabios")));
        assert_eq!(rule("h29"), Ok(Rule::H29));
        assert!(rule("H21x").is_err());
    }

    #[test]
    fn a_case_can_be_repeated_by_a_line_that_a_shell_takes() {
        assert_eq!(shell_word("io=3,admin=6"), "io=3,admin=6");
        assert_eq!(shell_word("it's login:"), r"'it'\''s login:'");
    }
}
