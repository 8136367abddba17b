//! A load of the user's own under power cuts, and the user's own check. The guest makes the load's file system anew for each cut, runs the
//! load until power goes, finds the drive again, and runs the check over it, beside a file of what the load said had been done. The guest
//! itself lives on: what the kernel holds of the drive is thrown away with the device.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use guest_harness::{Brownout, Kernel, Machine, scripts};
use media::Nanoseconds;
use serde_json::{Value, json};

use super::bench::Bench;
use super::plan::Plan;
use super::report::Outcome;
use super::{Subject, slots};
use crate::crash::Arguments;
use crate::machine::shell_word;
use crate::options::OptionError;

/// The drive, where nothing is said, and the namespace that the load writes what it has done to.
const NAMESPACE: &str = "size=128MiB,lba=4KiB";
const WITNESS: &str = "size=1MiB,lba=4KiB";
/// A check that takes longer is stuck.
const LIMIT: Duration = Duration::from_secs(120);
/// The guest gives up sooner, and says why.
const SET_UP: Duration = Duration::from_secs(900);
/// The guest's memory: databases, and what they are made from.
const MEMORY_MIB: u32 = 1024;
/// What a guest says that ends in the middle.
const LAST_WORDS: usize = 2000;

/// What only campaigns with guests have.
#[derive(Debug, Args)]
pub struct OfGuest {
    /// With --guest: run this script in the guest in place of our own load, and judge what is left with --check-guest
    #[arg(long, value_name = "SCRIPT", requires_all = ["guest", "check_guest"], hide_short_help = true)]
    load: Option<PathBuf>,
    /// With --load: words for the kernel's command line; the load finds NAME=VALUE in its environment
    #[arg(long, value_name = "STR", requires = "load", hide_short_help = true, allow_hyphen_values = true)]
    append: Option<String>,
    /// With --load: the namespace, as in serve --namespace [default: size=128MiB,lba=4KiB]
    #[arg(long, value_name = "OPTIONS", requires = "load", hide_short_help = true)]
    disk: Option<String>,
}

impl OfGuest {
    /// Whether the user brings a load.
    pub const fn has_load(&self) -> bool {
        self.load.is_some()
    }

    /// Whether what goes only with a load comes with one.
    ///
    /// # Errors
    /// It does not.
    pub fn check(&self, arguments: &Arguments) -> Result<(), OptionError> {
        let of_tape = &arguments.of_tape;
        let lone = [("--check-guest", of_tape.check_guest.as_ref()), ("--keep", of_tape.keep.as_ref())];
        let lone = lone.into_iter().find_map(|(name, path)| Some((name, path?)));
        match lone.filter(|_| !self.has_load()) {
            Some((name, path)) => {
                let remedy = "with --guest it goes with --load SCRIPT: what the guest does meanwhile";
                Err(OptionError::new(name, path.display().to_string(), remedy))
            }
            None => Ok(()),
        }
    }
}

/// A drive and a guest for a user's load.
pub struct Stack<'a> {
    bench: Bench,
    arguments: &'a Arguments,
    limit: Duration,
    check: PathBuf,
}

/// What the guest's check said.
enum Judged {
    Good,
    Bad(String),
}

impl<'a> Stack<'a> {
    /// Boots a guest with the load and the check.
    ///
    /// # Errors
    /// They cannot be read; no guest can be had.
    pub fn start(arguments: &'a Arguments) -> anyhow::Result<Self> {
        let (of_guest, of_tape) = (&arguments.of_guest, &arguments.of_tape);
        let read = |name: &str, path: &Option<PathBuf>| {
            let path = path.as_ref().with_context(|| format!("{name} SCRIPT is missing"))?;
            let text = fs::read(path).with_context(|| format!("cannot read the script {}: {name}", path.display()))?;
            anyhow::Ok((path.clone(), text))
        };
        let (_, load) = read("--load", &of_guest.load)?;
        let (check, text) = read("--check-guest", &of_tape.check_guest)?;
        of_tape.keep.as_deref().map_or(Ok(()), |folder| {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}: --keep", folder.display()))
        })?;
        let mut machine = Machine::new(of_tape.kernel.unwrap_or(Kernel::Newest)).name("crash").script(scripts::STACK);
        machine = machine.memory_mib(MEMORY_MIB).file("user-load", &load).file("user-check", &text);
        machine = of_guest.append.iter().fold(machine, |machine, words| machine.kernel_argument(words));
        let drive = Brownout::builder().namespace(of_guest.disk.as_deref().unwrap_or(NAMESPACE)).namespace(WITNESS);
        let limit = of_tape.guest_timeout.map_or(LIMIT, |Nanoseconds(limit)| Duration::from_nanos(limit));
        // In a file, of which there can be copies: evidence.
        let store = tempfile::Builder::new().prefix("brownout-").tempdir().context("cannot create a folder")?;
        let media = vec![format!("store=file:{}", store.path().join(DISK).display()), "cache_age=none".to_owned()];
        let bench = Bench::start(drive, &media, &arguments.misbehave, machine, store)?;
        Ok(Self { bench, arguments, limit, check })
    }

    /// A copy of the drive while it has no power.
    fn copy(&self) -> anyhow::Result<()> {
        let folder = self.bench.folder();
        let mut command = Command::new("cp");
        command.args(["--sparse=always", "--reflink=auto"]).args([folder.join(DISK), folder.join(COPY)]);
        let output = command.output().context("cannot run cp")?;
        ensure!(output.status.success(), "cannot copy the drive: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    /// Runs the check. A guest that does not come back has judged too; another one takes its place.
    fn judge(&mut self) -> anyhow::Result<(Judged, String)> {
        let before = self.bench.guest()?.console().len();
        match self.bench.tell_within("check", "checked", self.limit) {
            Ok(said) => {
                let code = slots::lines(&said).find_map(|line| line.strip_prefix("code ")?.parse::<i32>().ok());
                let code = code.with_context(|| format!("the guest says {said:?}"))?;
                let verdict = match code {
                    0 => Judged::Good,
                    code => Judged::Bad(format!("the check ended with code {code}")),
                };
                Ok((verdict, said))
            }
            Err(error) => {
                ensure!(!self.bench.asked(), "{error:#}");
                let said = self.bench.guest()?.console().split_off(before);
                self.bench.kill()?;
                self.bench.boot()?;
                let verdict = format!("the guest did not end the check within {} s", self.limit.as_secs());
                Ok((Judged::Bad(verdict), said))
            }
        }
    }

    /// Keeps the drive as it was before anybody looked, what was acknowledged, what was said, and how to judge it again.
    fn keep(&self, plan: &Plan, acks: &str, said: &str, report: &Value, why: &str) -> anyhow::Result<Option<String>> {
        let Some(folder) = &self.arguments.of_tape.keep else { return Ok(None) };
        let own = folder.join(format!("cut-{}", plan.pass));
        let cannot_write = || format!("cannot write to {}", own.display());
        fs::create_dir_all(&own).with_context(cannot_write)?;
        let again = self.again(&own);
        for (name, text) in [
            ("acks", acks),
            ("log", said),
            ("crash.json", &format!("{report:#}\n")),
            ("report", &format!("{why}\n{again}\n")),
        ] {
            fs::write(own.join(name), text).with_context(cannot_write)?;
        }
        export(&self.bench.folder().join(COPY), &own.join("image"))?;
        Ok(Some(again))
    }

    /// The command that judges what is kept once more, without the load.
    fn again(&self, own: &Path) -> String {
        let word = |path: &Path| shell_word(&path.display().to_string()).into_owned();
        let kernel = self.arguments.of_tape.kernel.unwrap_or(Kernel::Newest);
        let name = Kernel::NAMES.iter().find(|(_, named)| *named == kernel).map_or("newest", |(name, _)| name);
        let (image, acks) = (word(&own.join("image")), word(&own.join("acks")));
        format!("brownout crash --image {image} --acks {acks} --check-guest {} --kernel {name}", word(&self.check))
    }
}

impl Subject for Stack<'_> {
    fn plan(&self, pass: u32) -> Plan {
        Plan::of_load(self.arguments.seed, pass, &self.arguments.points, self.arguments.policy)
    }

    fn cut(&mut self, plan: &Plan) -> anyhow::Result<Outcome> {
        let said = self.bench.tell_within("load", "loaded", SET_UP)?;
        ensure!(
            slots::lines(&said).any(|line| line == "running"),
            "the load ended before power went:\n{}",
            tail(&said)
        );
        let report = self.bench.lose_power(plan)?;
        let gone = self.bench.tell("cut", "gone")?;
        let acks: String =
            slots::lines(&gone).filter_map(|line| line.strip_prefix("ack ")).map(|ack| format!("{ack}\n")).collect();
        if self.arguments.of_tape.keep.is_some() {
            self.copy()?;
        }
        let again = self.bench.restore(plan)?;
        let (judged, said) = self.judge()?;
        let Judged::Bad(why) = judged else { return Ok(Outcome::new(&report, again, Vec::new(), Value::Null)) };
        let shown = self.keep(plan, &acks, &said, &report, &why)?;
        let illegal = vec![shown.as_ref().map_or_else(|| why.clone(), |shown| format!("{why}\n  again: {shown}"))];
        let evidence = json!({ "acks": acks, "said": tail(&said), "report": report, "again": shown });
        Ok(Outcome::new(&report, again, illegal, evidence))
    }

    fn end(self: Box<Self>) -> anyhow::Result<()> {
        self.bench.end()
    }
}

/// The drive's file, and its copy.
const DISK: &str = "disk.img";
const COPY: &str = "copy.img";

/// What the first namespace of a media file holds, as a raw image.
fn export(file: &Path, image: &Path) -> anyhow::Result<()> {
    let ourselves = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(ourselves);
    command.args(["media", "export", "--force"]).args([file, image]);
    let output = command.output().context("cannot export the drive")?;
    ensure!(output.status.success(), "cannot export the drive: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// The end of what was said.
fn tail(said: &str) -> &str {
    let mut start = said.len().saturating_sub(LAST_WORDS);
    while !said.is_char_boundary(start) {
        start += 1;
    }
    &said[start..]
}
