//! A load of the user's own under power cuts, and the user's own check. The guest runs the load until power goes, finds the drive again, or
//! is booted again, and runs the check over it, beside a file of what the load said had been done; over other images of the same loss too,
//! if that is wanted. A guest that lives on has thrown away what the kernel held of the drive, with the device.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use guest_harness::{Brownout, BrownoutBuilder, scripts};
use media::Nanoseconds;
use oracle::simulator::Policy;
use serde_json::{Value, json};

use super::agent::{Agent, Answer};
use super::drive::{Drive, PATIENCE};
use super::evidence::Evidence;
use super::other_images::OtherImages;
use super::plan::{self, Plan};
use super::report::Outcome;
use super::{Subject, attach};
use crate::crash::Arguments;
use crate::crash::acknowledged::{Acknowledged, Found};

/// The drive, where nothing is said, and the namespace that the load writes what it has done to.
const NAMESPACE: &str = "size=128MiB,lba=4KiB";
const WITNESS: &str = "size=1MiB,lba=4KiB";
/// By this the agent knows the drive among others of the machine.
const DEVICE: &str = "serial=brownout-crash";
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

/// A drive and a guest for a user's load.
pub struct Stack<'a> {
    // In this order they go.
    agent: Agent,
    drive: Drive,
    arguments: &'a Arguments,
    limit: Duration,
    /// The guest gives a load up sooner, and says why.
    set_up_limit: Duration,
    evidence: Evidence,
    /// Each cut begins from what the drive held before the first.
    forked: bool,
    /// What was found after the cuts before, where each goes on from there.
    found: Found,
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
    /// Has a guest with the load and the check, booted by us or by the user, and has it do the set-up, if there is one.
    ///
    /// # Errors
    /// They cannot be read; no guest can be had; the set-up fails.
    pub fn start(arguments: &'a Arguments) -> anyhow::Result<Self> {
        let (of_guest, of_tape) = (&arguments.of_guest, &arguments.of_tape);
        let load = of_guest.load.as_deref().context("--load SCRIPT is missing")?;
        let check = of_tape.check_guest.as_deref().context("--check-guest SCRIPT is missing")?;
        let mut scripts = vec![("load", read("--load", load)?), ("check", read("--check-guest", check)?)];
        if let Some(setup) = &of_guest.setup {
            scripts.push(("setup", read("--setup", setup)?));
        }
        let evidence = Evidence::new(arguments, check)?;
        let limit = of_tape.guest_timeout.map_or(LIMIT, |Nanoseconds(limit)| Duration::from_nanos(limit));
        let set_up = SET_UP.max(limit);
        let folder = tempfile::Builder::new().prefix("brownout-").tempdir().context("cannot create a folder")?;
        let drive =
            Drive::start(drive(arguments, &evidence)?, &MEDIA.map(str::to_owned), &arguments.misbehave, folder)?;
        let mut agent = match &of_guest.attach {
            Some(path) => {
                let agent = Agent::users(path, of_guest.restart.as_deref())?;
                eprint!("{}", attach::invitation(path)?);
                agent
            }
            None => {
                let machine = of_tape.system.machine(scripts::AGENT)?.memory_mib(MEMORY_MIB);
                let machine = of_guest.append.iter().fold(machine, |machine, words| machine.kernel_argument(words));
                Agent::ours(machine, &drive.folder().join("agent"))?
            }
        };
        scripts.into_iter().for_each(|(name, content)| agent.file(name, content));
        of_guest.variables().for_each(|(name, value)| agent.variable(name, value));
        agent.variable("LOAD_SECONDS", &set_up.as_secs().to_string());
        let forked = of_guest.setup.is_some() || of_tape.images.is_some();
        let (set_up_limit, found) = (set_up + PATIENCE, Found::default());
        let mut stack = Self { agent, drive, arguments, limit, set_up_limit, evidence, forked, found };
        stack.agent.begin(&mut stack.drive)?;
        stack.set_up()?;
        Ok(stack)
    }

    fn tell(&mut self, order: &str, limit: Duration) -> anyhow::Result<Answer> {
        self.agent.tell(&mut self.drive, order, limit)
    }

    /// What is done once, and kept.
    fn set_up(&mut self) -> anyhow::Result<()> {
        if self.arguments.of_guest.setup.is_some() {
            let answer = self.tell("setup", self.set_up_limit)?;
            let code = code(&answer)?;
            ensure!(code == 0, "the set-up ended with code {code}:\n{}", tail(&answer.said, LAST_WORDS));
        } else if self.forked {
            self.tell("leave", PATIENCE)?;
        }
        if self.forked {
            self.drive.order("media-fork", &json!({}))?;
        }
        Ok(())
    }

    /// Judges what the drive holds, which was saved under this name, and keeps it if it is bad. A guest that does not come back from the
    /// check has judged too; another one takes its place.
    fn judge(&mut self, name: &str, acks: &str, report: &Value) -> anyhow::Result<Result<Answer, Bad>> {
        let answer = self.tell("check", self.limit);
        let (why, said) = match &answer {
            Ok(answer) => (self.wrong(answer, acks)?, &answer.said),
            Err(error) => {
                self.drive.go_on()?;
                (Some(format!("the guest did not end the check: {error:#}")), &String::new())
            }
        };
        let Some(why) = why else {
            self.evidence.forget(name)?;
            return Ok(Ok(answer?));
        };
        let why = Answer::mark(acks).map_or_else(|| why.clone(), |mark| format!("{why} (behind the mark {mark:?})"));
        let again = self.evidence.keep(name, (acks, said, &why), report)?;
        let bad = Bad { why, said: said.clone(), again };
        if answer.is_err() {
            self.agent.begin_again(&mut self.drive, acks).with_context(|| bad.why.clone())?;
        }
        Ok(Err(bad))
    }

    /// What is wrong, by the check and by what it found.
    fn wrong(&self, answer: &Answer, acks: &str) -> anyhow::Result<Option<String>> {
        let code = code(answer)?;
        let ended = (code != 0).then(|| format!("the check ended with code {code}"));
        let illegal = answer.illegal().map(str::to_owned);
        let found = Acknowledged::new(acks, &self.found).judge(&answer.told);
        let wrong: Vec<_> = ended.into_iter().chain(illegal).chain(found).collect();
        Ok(Some(wrong.join("; ")).filter(|wrong| !wrong.is_empty()))
    }

    /// The load until power goes: the drive's report, and what was acknowledged.
    fn lose_power(&mut self, plan: &Plan) -> anyhow::Result<(Value, String)> {
        if self.forked {
            self.drive.order("media-restore", &json!({}))?;
        }
        if plan.from_start {
            self.drive.arm(plan)?;
        }
        let answer = self.tell("load", self.set_up_limit)?;
        let said = tail(&answer.said, STUCK_WORDS);
        ensure!(answer.running, "the load did not begin, or ended before power went:\n{said}");
        if !plan.from_start {
            self.drive.arm(plan)?;
        }
        let report = self.drive.lose_power(plan)?;
        // A machine of the user's lives on until it is started again, and by then the drive has power.
        let order = if plan.kill && !self.agent.is_users() { "acks" } else { "cut" };
        let answer = self.tell(order, PATIENCE)?;
        if plan.kill {
            self.agent.end_machine()?;
        }
        Ok((report, answer.acks))
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
            self.tell("leave", PATIENCE)?;
            others.show(&mut self.drive, number)?;
            let name = format!("cut-{}-image-{number}", plan.pass);
            self.evidence.take(&mut self.drive, &name)?;
            let found = self.judge(&name, acks, report)?.err();
            bad.extend(found.map(|bad| Bad { why: format!("image {number}: {}", bad.why), ..bad }));
            judged += 1;
        }
        Ok(judged)
    }
}

/// The drive of such a campaign.
fn drive(arguments: &Arguments, evidence: &Evidence) -> anyhow::Result<BrownoutBuilder> {
    let of_guest = &arguments.of_guest;
    let drive = Brownout::builder().namespace(of_guest.disk.as_deref().unwrap_or(NAMESPACE)).namespace(WITNESS);
    let drive =
        of_guest.attach.iter().fold(drive.device(DEVICE), |drive, path| drive.socket(&attach::drive_socket(path)));
    let Some(folder) = evidence.folder() else { return Ok(drive) };
    let folder = folder.to_str().context("the folder for what is kept is not UTF-8: --keep")?;
    Ok(drive.argument("--trace-folder").argument(folder))
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
            |wanted| OtherImages::of_loss(&mut self.drive, wanted, self.arguments.seed ^ u64::from(plan.pass)),
        )?;
        let again = self.drive.restore(plan)?;
        let name = format!("cut-{}", plan.pass);
        self.evidence.take(&mut self.drive, &name)?;
        if plan.kill {
            self.agent.begin_again(&mut self.drive, &acks)?;
        }
        let mut bad = Vec::new();
        match self.judge(&name, &acks, &report)? {
            Ok(answer) if !self.forked => self.found.remember(&answer.told),
            Ok(_) => {}
            Err(first) => bad.push(first),
        }
        let images = self.judge_others(plan, &others, &acks, &report, &mut bad)?;
        if self.forked {
            self.tell("leave", PATIENCE)?;
        }
        let illegal: Vec<_> = bad.iter().map(Bad::told).collect();
        let evidence = bad.first().map_or(
            Value::Null,
            |first| json!({ "acks": acks, "said": tail(&first.said, LAST_WORDS), "report": report, "again": first.again }),
        );
        let not_durable = at_stake(&report);
        Ok(Outcome { images, not_durable, ..Outcome::new(&report, again, illegal, evidence) })
    }

    fn end(self: Box<Self>) -> anyhow::Result<()> {
        let Self { agent, mut drive, .. } = *self;
        agent.end(&mut drive)?;
        drive.stop()
    }
}

impl Bad {
    /// For people.
    fn told(&self) -> String {
        let Self { why, again, .. } = self;
        again.as_ref().map_or_else(|| why.clone(), |again| format!("{why}\n  again: {again}"))
    }
}

/// Writes that were not durable, by the drive's report, without the lines of the witness: nobody flushes them.
fn at_stake(report: &Value) -> usize {
    let of_load = |entry: &&Value| entry["namespace"] != plan::WITNESS;
    report["not-durable"].as_array().map_or(0, |entries| entries.iter().filter(of_load).count())
}

/// How a script of the user's ended, as the guest says.
fn code(answer: &Answer) -> anyhow::Result<i32> {
    answer.code.with_context(|| format!("the guest does not say how the script ended: {:?}", answer.said))
}

/// The end of what was said.
fn tail(said: &str, bytes: usize) -> &str {
    let mut start = said.len().saturating_sub(bytes);
    while !said.is_char_boundary(start) {
        start += 1;
    }
    &said[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_the_witness_are_not_at_stake() {
        let report =
            json!({ "not-durable": [{ "namespace": 1 }, { "namespace": 2 }, { "namespace": 1 }, { "namespace": 2 }] });
        assert_eq!(at_stake(&report), 2);
        assert_eq!(at_stake(&json!({ "not-durable": [{ "namespace": 2 }] })), 0);
        assert_eq!(at_stake(&json!({})), 0);
    }
}
