//! A load of the user's own under power cuts, and the user's own check. The guest runs the load until power goes, finds the drive again, or
//! is booted again, and runs the check over it, beside a file of what the load said had been done; over other images of the same loss too,
//! if that is wanted. A guest that lives on has thrown away what the kernel held of the drive, with the device.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use guest_harness::{Brownout, scripts};
use media::Nanoseconds;
use oracle::simulator::Policy;
use serde_json::{Value, json};

use super::bench::{Bench, PATIENCE};
use super::evidence::Evidence;
use super::other_images::OtherImages;
use super::plan::Plan;
use super::report::Outcome;
use super::{Subject, slots};
use crate::crash::Arguments;

/// The drive, where nothing is said, and the namespace that the load writes what it has done to.
const NAMESPACE: &str = "size=128MiB,lba=4KiB";
const WITNESS: &str = "size=1MiB,lba=4KiB";
/// Nothing becomes durable that the specification does not ask for: no block by its age, and none because another one has to be.
const MEDIA: [&str; 2] = ["cache_age=none", "flush=namespace"];
/// A check that takes longer is stuck.
const LIMIT: Duration = Duration::from_secs(120);
/// So long a load or a set-up may take until it has begun, or is done. On a machine that does much else, a database takes minutes.
const SET_UP: Duration = Duration::from_secs(600);
/// The guest's memory: databases, and what they are made from.
const MEMORY_MIB: u32 = 1024;
/// What a guest says that ends in the middle.
const LAST_WORDS: usize = 2000;
/// And one that says where everything is stuck.
const STUCK_WORDS: usize = 12_000;
/// Where a machine that is booted after a power loss has what was acknowledged.
const ACKS: &str = "user-acks";

/// A drive and a guest for a user's load.
pub struct Stack<'a> {
    bench: Bench,
    arguments: &'a Arguments,
    limit: Duration,
    /// The guest gives a load up sooner, and says why.
    set_up_limit: Duration,
    evidence: Evidence,
    /// Each cut begins from what the drive held before the first.
    forked: bool,
}

/// A state that the check did not like.
struct Bad {
    why: String,
    said: String,
    again: Option<String>,
}

/// A script of the user's, for the guest.
fn read(option: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read the script {}: {option}", path.display()))
}

impl<'a> Stack<'a> {
    /// Boots a guest with the load and the check, and has it do the set-up, if there is one.
    ///
    /// # Errors
    /// They cannot be read; no guest can be had; the set-up fails.
    pub fn start(arguments: &'a Arguments) -> anyhow::Result<Self> {
        let (of_guest, of_tape) = (&arguments.of_guest, &arguments.of_tape);
        let load = of_guest.load.as_deref().context("--load SCRIPT is missing")?;
        let check = of_tape.check_guest.as_deref().context("--check-guest SCRIPT is missing")?;
        let mut scripts = vec![("user-load", read("--load", load)?), ("user-check", read("--check-guest", check)?)];
        if let Some(setup) = &of_guest.setup {
            scripts.push(("user-setup", read("--setup", setup)?));
        }
        let evidence = Evidence::new(arguments, check)?;
        let limit = of_tape.guest_timeout.map_or(LIMIT, |Nanoseconds(limit)| Duration::from_nanos(limit));
        let set_up = SET_UP.max(limit);
        let machine = of_tape.system.machine(scripts::STACK)?.memory_mib(MEMORY_MIB);
        let machine = machine.environment("LOAD_SECONDS", &set_up.as_secs().to_string());
        let machine = scripts.iter().fold(machine, |machine, (name, text)| machine.file(name, text));
        let machine = of_guest.append.iter().fold(machine, |machine, words| machine.kernel_argument(words));
        let drive = Brownout::builder().namespace(of_guest.disk.as_deref().unwrap_or(NAMESPACE)).namespace(WITNESS);
        let drive = match evidence.folder() {
            Some(folder) => {
                let folder = folder.to_str().context("the folder for what is kept is not UTF-8: --keep")?;
                drive.argument("--trace-folder").argument(folder)
            }
            None => drive,
        };
        let folder = tempfile::Builder::new().prefix("brownout-").tempdir().context("cannot create a folder")?;
        let bench = Bench::start(drive, &MEDIA.map(str::to_owned), &arguments.misbehave, machine, folder)?;
        let forked = of_guest.setup.is_some() || of_tape.images.is_some();
        let mut stack = Self { bench, arguments, limit, set_up_limit: set_up + PATIENCE, evidence, forked };
        stack.set_up()?;
        Ok(stack)
    }

    /// What is done once, and kept.
    fn set_up(&mut self) -> anyhow::Result<()> {
        if self.arguments.of_guest.setup.is_some() {
            let said = self.bench.tell_within("setup", "set-up", self.set_up_limit)?;
            let code = code(&said)?;
            ensure!(code == 0, "the set-up ended with code {code}:\n{}", tail(&said, LAST_WORDS));
        } else if self.forked {
            self.bench.tell("leave", "left")?;
        }
        if self.forked {
            self.bench.order("media-fork", &json!({}))?;
        }
        Ok(())
    }

    /// Runs the check. A guest that does not come back has judged too; another one takes its place.
    fn check(&mut self, acks: &str) -> anyhow::Result<(Option<String>, String)> {
        let before = self.bench.guest()?.console().len();
        match self.bench.tell_within("check", "checked", self.limit) {
            Ok(said) => {
                let why = Some(code(&said)?).filter(|code| *code != 0);
                Ok((why.map(|code| format!("the check ended with code {code}")), said))
            }
            Err(error) => {
                ensure!(!self.bench.asked(), "{error:#}");
                let said = self.bench.guest()?.console().split_off(before);
                self.bench.kill()?;
                self.bench.boot_with(&[(ACKS, acks)])?;
                Ok((Some(format!("the guest did not end the check within {} s", self.limit.as_secs())), said))
            }
        }
    }

    /// Judges what the drive holds, which was saved under this name, and keeps it if it is bad.
    fn judge(&mut self, name: &str, acks: &str, report: &Value) -> anyhow::Result<Option<Bad>> {
        let (why, said) = self.check(acks)?;
        let Some(why) = why else {
            self.evidence.forget(name)?;
            return Ok(None);
        };
        let again = self.evidence.keep(name, (acks, &said, &why), report)?;
        Ok(Some(Bad { why, said, again }))
    }

    /// The load until power goes: the drive's report, and what was acknowledged.
    fn lose_power(&mut self, plan: &Plan) -> anyhow::Result<(Value, String)> {
        if self.forked {
            self.bench.order("media-restore", &json!({}))?;
        }
        if plan.from_start {
            self.bench.arm(plan)?;
        }
        let said = self.bench.tell_within("load", "loaded", self.set_up_limit)?;
        let running = slots::lines(&said).any(|line| line == "running");
        ensure!(running, "the load did not begin, or ended before power went:\n{}", tail(&said, STUCK_WORDS));
        if !plan.from_start {
            self.bench.arm(plan)?;
        }
        let report = self.bench.lose_power(plan)?;
        let said = if plan.kill { self.bench.tell("acks", "told")? } else { self.bench.tell("cut", "gone")? };
        if plan.kill {
            self.bench.kill()?;
        }
        let acks = slots::lines(&said).filter_map(|line| line.strip_prefix("ack "));
        Ok((report, acks.map(|ack| format!("{ack}\n")).collect()))
    }

    /// Judges other images of the same loss, one after the other. How many there were.
    fn judge_others(
        &mut self,
        plan: &Plan,
        others: &OtherImages,
        acks: &str,
        report: &Value,
        bad: &mut Vec<Bad>,
    ) -> anyhow::Result<u64> {
        let mut judged = 0;
        for number in others.numbers() {
            self.bench.tell("leave", "left")?;
            others.show(&mut self.bench, number)?;
            let name = format!("cut-{}-image-{number}", plan.pass);
            self.evidence.take(&mut self.bench, &name)?;
            let found = self.judge(&name, acks, report)?;
            bad.extend(found.map(|bad| Bad { why: format!("image {number}: {}", bad.why), ..bad }));
            judged += 1;
        }
        Ok(judged)
    }
}

impl Subject for Stack<'_> {
    fn plan(&self, pass: u32) -> Plan {
        let Arguments { seed, points, policy, of_guest, of_tape, .. } = self.arguments;
        let kill = of_guest.back.unwrap_or_default().kills(pass);
        if of_tape.images.is_none() {
            return Plan { kill, ..Plan::of_load(*seed, pass, points, *policy) };
        }
        // What survives is what the images differ in; and a second loss would have images of its own.
        Plan { kill, again: None, ..Plan::of_load(*seed, pass, points, Some(Policy::NoneSurvive)) }
    }

    fn cut(&mut self, plan: &Plan) -> anyhow::Result<Outcome> {
        let (report, acks) = self.lose_power(plan)?;
        let others = self.arguments.of_tape.images.map_or_else(
            || Ok(OtherImages::default()),
            |wanted| OtherImages::of_loss(&mut self.bench, wanted, self.arguments.seed ^ u64::from(plan.pass)),
        )?;
        let again = self.bench.restore(plan)?;
        let name = format!("cut-{}", plan.pass);
        self.evidence.take(&mut self.bench, &name)?;
        if plan.kill {
            self.bench.boot_with(&[(ACKS, &acks)])?;
        }
        let mut bad: Vec<Bad> = self.judge(&name, &acks, &report)?.into_iter().collect();
        let images = self.judge_others(plan, &others, &acks, &report, &mut bad)?;
        if self.forked {
            self.bench.tell("leave", "left")?;
        }
        let illegal: Vec<_> = bad.iter().map(Bad::told).collect();
        let evidence = bad.first().map_or(
            Value::Null,
            |first| json!({ "acks": acks, "said": tail(&first.said, LAST_WORDS), "report": report, "again": first.again }),
        );
        Ok(Outcome { images, ..Outcome::new(&report, again, illegal, evidence) })
    }

    fn end(self: Box<Self>) -> anyhow::Result<()> {
        self.bench.end()
    }
}

impl Bad {
    /// For people.
    fn told(&self) -> String {
        let Self { why, again, .. } = self;
        again.as_ref().map_or_else(|| why.clone(), |again| format!("{why}\n  again: {again}"))
    }
}

/// How a script of the user's ended, as the guest says.
fn code(said: &str) -> anyhow::Result<i32> {
    let code = slots::lines(said).find_map(|line| line.strip_prefix("code ")?.parse().ok());
    code.with_context(|| format!("the guest says {said:?}"))
}

/// The end of what was said.
fn tail(said: &str, bytes: usize) -> &str {
    let mut start = said.len().saturating_sub(bytes);
    while !said.is_char_boundary(start) {
        start += 1;
    }
    &said[start..]
}
