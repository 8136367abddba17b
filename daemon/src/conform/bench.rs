//! One case, from the drive that it is about to the evidence that it leaves.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context as _;
use controller::fault::HexBytes;
use guest_harness::Brownout;
use media::Nanoseconds;
use regex_lite::Regex;
use serde_json::{Value, json};

use super::console::Silence;
use super::place::Place;
use super::scenario::{Act, Agent, Case, Timeouts};
use super::subject::{READY, Subject};
use super::told::{Guest, Orders};
use super::verdict::{Evidence, Verdict, judge};
use crate::clock::Clock;
use crate::ctl::client::Client;

/// What a console must not say, whoever writes it.
const FORBIDDEN: &[&str] = &["BUG: ", "Oops", "Kernel panic", "general protection fault", "WARNING: CPU", "Call Trace"];
/// What the guest says before its kernel fails because it was told to.
const TOLD_TO_FAIL: &str = "guest: failing on purpose";
/// Seeds of fillings are told apart by this.
const FILL_SEED: u64 = 0x5eed;
const WIPE_SEED: u64 = 0xdead;
/// So many events of the drive are kept of each case.
const TRACED: usize = 64;

/// What all cases of a run have in common.
pub struct Plan {
    /// Whose driver it is.
    pub subject: Subject,
    /// How long it waits for commands.
    pub timeouts: Timeouts,
    /// Rules that may be broken.
    pub allowed: BTreeSet<String>,
    /// Lines that must be on the console of an image that nobody can tell anything.
    pub expect: Vec<Regex>,
    /// Lines that must not.
    pub forbid: Vec<Regex>,
    /// More words for the device.
    pub profile: Option<String>,
}

/// A case that has ended.
pub struct Ended {
    /// What it is worth.
    pub verdict: Verdict,
    /// What was seen.
    pub evidence: Evidence,
    /// How long it took.
    pub time: Nanoseconds,
    /// The last lines of its console.
    pub console: String,
}

impl Plan {
    /// Runs a case. `go_on` is asked a few times a second.
    pub fn run(&self, case: &Case, go_on: &mut dyn FnMut() -> bool) -> Ended {
        let clock = Clock::new();
        let (mut evidence, mut console) = (Evidence::default(), String::new());
        if let Some(why) = self.subject.cannot(case).or_else(|| self.contradiction(case)) {
            return Ended { verdict: Verdict::Skipped(why), evidence, time: clock.now(), console };
        }
        let ran = self.carry_out(case, &mut evidence, &mut console, go_on);
        let verdict = match ran {
            Err(error) => Verdict::Error(format!("{error:#}")),
            Ok(()) => judge(&evidence, &self.allowed),
        };
        let last: Vec<&str> = console.lines().rev().take(40).collect();
        let console = last.into_iter().rev().collect::<Vec<_>>().join("\n");
        Ended { verdict, evidence, time: clock.now(), console }
    }

    fn carry_out(
        &self,
        case: &Case,
        evidence: &mut Evidence,
        console: &mut String,
        go_on: &mut dyn FnMut() -> bool,
    ) -> anyhow::Result<()> {
        let folder = tempfile::Builder::new().prefix("brownout-").tempdir().context("cannot make a folder")?;
        let control: PathBuf = folder.path().join("control");
        let drive = self.drive(case, &control)?;
        let mut orders = Client::connect(&control)?;
        let mut bench = Bench::new(&orders.execute("query-namespaces", &json!({}))?, |nsid, block_bytes| {
            self.subject.place(nsid, block_bytes)
        })?;
        bench.fill(&self.subject.disk(&bench.place)?, &mut orders)?;
        bench.bear(case, &mut orders)?;
        let mut running = self.subject.start(case, bench.place, self.timeouts, drive.socket().to_owned())?;
        let told = self.subject.agent() != Agent::None;
        self.live(case, told, (&mut running, &mut orders), &mut bench, evidence, go_on)?;
        *console = running.console();
        drop(running);
        drop(orders);
        drive.stop().map(drop)
    }

    /// What happens to a guest, and what the drive and the console say of it. With one that cannot be `told` anything, everything goes
    /// wrong from the start.
    pub(super) fn live(
        &self,
        case: &Case,
        told: bool,
        (guest, orders): (&mut dyn Guest, &mut dyn Orders),
        bench: &mut Bench,
        evidence: &mut Evidence,
        go_on: &mut dyn FnMut() -> bool,
    ) -> anyhow::Result<()> {
        if !told {
            bench.add_all(case, orders)?;
        }
        let acted = match guest.come_up(go_on).context("it does not come up") {
            Err(error) => Err(error),
            Ok(()) if told => bench.act(case, guest, orders, evidence, go_on),
            Ok(()) => {
                let mut expected = |line: &str| self.expect.iter().any(|expect| expect.is_match(line));
                guest.until(self.timeouts.boot, &mut expected, go_on);
                Ok(())
            }
        };
        // Also of a run that came to nothing: what the drive saw is why.
        bench.collect(orders, evidence)?;
        evidence.broken.retain(|broken| !self.subject.is_of_firmware(broken));
        self.read_console(&guest.console(), evidence);
        match acted {
            Err(error) if error.is::<Silence>() => evidence.late.push(format!("{error:#}")),
            acted => acted?,
        }
        Ok(())
    }

    /// A case about a property of the drive that the profile gives another value says nothing.
    fn contradiction(&self, case: &Case) -> Option<String> {
        let name = |word: &str| word.split('=').next().unwrap_or_default().to_owned();
        let about: Vec<String> = case.device.split(',').filter(|word| !word.is_empty()).map(name).collect();
        let profile = self.profile.as_deref().unwrap_or_default();
        let given = profile.split(',').find(|word| about.contains(&name(word)))?;
        Some(format!("it is about {}, and the profile says {given}", case.device))
    }

    fn drive(&self, case: &Case, control: &std::path::Path) -> anyhow::Result<Brownout> {
        let ourselves = std::env::current_exe().context("cannot find this program to start the drive")?;
        let mut drive = Brownout::builder().name("conform").binary(&ourselves);
        drive = drive.device(&format!("checks=on,checks_slowness={}", self.timeouts.slowness));
        for words in [Some(case.device.as_str()), self.profile.as_deref()].into_iter().flatten() {
            if !words.is_empty() {
                drive = drive.device(words);
            }
        }
        if !case.media.is_empty() {
            drive = drive.argument("--media").argument(&case.media);
        }
        drive = case.namespaces.iter().fold(drive, |drive, namespace| drive.namespace(namespace));
        drive = drive.argument("--control").argument(control.to_str().context("the temporary folder is not UTF-8")?);
        drive.start()
    }

    fn read_console(&self, console: &str, evidence: &mut Evidence) {
        let bad = |line: &&str| {
            FORBIDDEN.iter().any(|word| line.contains(word)) || self.forbid.iter().any(|forbid| forbid.is_match(line))
        };
        // From where a kernel was told to fail to where the next one is up.
        let mut told_to_fail = false;
        let judged = |line: &&str| {
            told_to_fail = (told_to_fail || line.contains(TOLD_TO_FAIL)) && !line.contains(READY);
            !told_to_fail
        };
        evidence.forbidden.extend(console.lines().filter(judged).filter(bad).take(8).map(str::to_owned));
        let missing = self.expect.iter().filter(|expect| !console.lines().any(|line| expect.is_match(line)));
        evidence.missing.extend(missing.map(ToString::to_string));
    }
}

/// What a run has to remember.
pub(super) struct Bench {
    /// Faults that were added: identifier, whether the driver has to meet it, what it says.
    faults: Vec<(u64, bool, String)>,
    pub(super) place: Place,
    /// The guest's system has switched the machine off.
    switched_off: bool,
}

/// A message of the control socket takes so many bytes and more.
const WRITTEN_AT_ONCE: usize = 16 << 10;

impl Bench {
    /// What a drive says of its namespaces; the guest copies within the first.
    pub(super) fn new(namespaces: &Value, place: impl FnOnce(u64, u64) -> Place) -> anyhow::Result<Self> {
        let first = &namespaces[0];
        let nsid = first["nsid"].as_u64().context("a namespace has an identifier")?;
        let block_bytes = first["format"]["block-bytes"].as_u64().context("a namespace has a format")?;
        Ok(Self { faults: Vec::new(), place: place(nsid, block_bytes), switched_off: false })
    }

    /// Stamps on what will be copied; zeroes may be anywhere. What firmware boots from is beside them.
    pub(super) fn fill(&mut self, disk: &[(u64, Vec<u8>)], orders: &mut dyn Orders) -> anyhow::Result<()> {
        let Place { nsid, from, .. } = self.place;
        let arguments = json!({ "nsid": nsid, "lba": from, "blocks": self.place.blocks(), "seed": FILL_SEED });
        orders.execute("namespace-fill", &arguments)?;
        for (offset, piece) in disk {
            for (offset, bytes) in (*offset..).step_by(WRITTEN_AT_ONCE).zip(piece.chunks(WRITTEN_AT_ONCE)) {
                let arguments = json!({ "nsid": nsid, "offset": offset, "bytes": HexBytes(bytes.to_vec()) });
                orders.execute("namespace-write", &arguments)?;
            }
        }
        Ok(())
    }

    fn act(
        &mut self,
        case: &Case,
        guest: &mut dyn Guest,
        orders: &mut dyn Orders,
        evidence: &mut Evidence,
        go_on: &mut dyn FnMut() -> bool,
    ) -> anyhow::Result<()> {
        for act in &case.acts {
            match act {
                Act::Order(line) => {
                    let done = guest.order(line, go_on).with_context(|| format!("the guest was told to {line}"))?;
                    if !done {
                        evidence.failed_orders.push(format!("the guest could not {line}"));
                    }
                    self.switched_off |= done && line == "off";
                }
                Act::Try(line) => {
                    guest.order(line, go_on).with_context(|| format!("the guest was told to {line}"))?;
                }
                Act::Fault(fault) => self.add(orders, fault, true)?,
                Act::Chance(fault) => self.add(orders, fault, false)?,
                Act::Heal => self.heal(orders, evidence)?,
                Act::Control(command, arguments) => {
                    orders.execute(command, arguments)?;
                }
                Act::Wait(seconds) => guest.until(*seconds, &mut |_| false, go_on),
                Act::Compare => self.compare(orders, evidence)?,
                Act::Whole(bytes) => self.records(*bytes, orders, evidence)?,
                Act::Restore => self.restore(orders, evidence)?,
            }
            anyhow::ensure!(go_on(), "the run was told to end");
        }
        Ok(())
    }

    /// Faults that are there from the beginning.
    pub(super) fn bear(&mut self, case: &Case, orders: &mut dyn Orders) -> anyhow::Result<()> {
        case.born.iter().try_for_each(|fault| self.add(orders, fault, true))
    }

    /// The faults of a case, before anybody is there to meet them.
    fn add_all(&mut self, case: &Case, orders: &mut dyn Orders) -> anyhow::Result<()> {
        for act in &case.acts {
            match act {
                Act::Fault(fault) => self.add(orders, fault, true)?,
                Act::Chance(fault) => self.add(orders, fault, false)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn add(&mut self, orders: &mut dyn Orders, fault: &Value, must: bool) -> anyhow::Result<()> {
        let mut arguments = fault.clone();
        arguments["kind"] = json!("controller");
        let answer = orders.execute("fault-add", &arguments)?;
        let id = answer["id"].as_u64().context("a fault has an identifier")?;
        self.faults.push((id, must, fault["action"].to_string()));
        Ok(())
    }

    /// Faults go; whether they were met is looked at before.
    fn heal(&mut self, orders: &mut dyn Orders, evidence: &mut Evidence) -> anyhow::Result<()> {
        let listed = orders.execute("query-faults", &json!({}))?;
        for (id, must, text) in self.faults.drain(..) {
            let state = listed.as_array().into_iter().flatten().find(|fault| fault["id"].as_u64() == Some(id));
            let hits = state.and_then(|fault| fault["hits"].as_u64()).unwrap_or(0);
            evidence.fault_hits += hits;
            if must && hits == 0 {
                evidence.unmet.push(text);
            }
            if state.is_some() {
                orders.execute("fault-remove", &json!({ "id": id }))?;
            }
        }
        Ok(())
    }

    /// Power comes back. If it was not lost, the case proves nothing.
    fn restore(&mut self, orders: &mut dyn Orders, evidence: &mut Evidence) -> anyhow::Result<()> {
        let armed = orders.execute("query-crash", &json!({}))?["armed"].take();
        if !armed.is_null() {
            evidence.unmet.push(format!("a power loss at {armed}"));
            return orders.execute("crash-disarm", &json!({})).map(drop);
        }
        orders.execute("power-restore", &json!({}))?;
        // Nobody has flushed what the guest is to copy.
        self.fill(&[], orders)
    }

    /// Records are what the drive keeps together, if the driver lets it.
    fn records(&self, bytes: u64, orders: &mut dyn Orders, evidence: &mut Evidence) -> anyhow::Result<()> {
        let Place { nsid, from, to, block_bytes } = self.place;
        let blocks = bytes / block_bytes;
        for record in (0..self.place.blocks()).step_by(usize::try_from(blocks)?) {
            let arguments = json!({ "nsid": nsid, "lba": to + record, "of-lba": from + record, "blocks": blocks,
                "seed": FILL_SEED });
            let wrong = orders.execute("namespace-verify", &arguments)?["wrong"].as_u64().context("a count")?;
            if wrong != 0 && wrong != blocks {
                let text =
                    format!("of {blocks} blocks from {} that the drive writes as one, {wrong} are old", to + record);
                evidence.wrong_data.push(text);
            }
        }
        Ok(())
    }

    fn compare(&self, orders: &mut dyn Orders, evidence: &mut Evidence) -> anyhow::Result<()> {
        let Place { nsid, from, to, .. } = self.place;
        let blocks = self.place.blocks();
        let arguments = json!({ "nsid": nsid, "lba": to, "of-lba": from, "blocks": blocks, "seed": FILL_SEED });
        let found = orders.execute("namespace-verify", &arguments)?;
        let wrong = found["wrong"].as_u64().context("a comparison counts")?;
        if wrong > 0 {
            let first = &found["first"][0];
            evidence.wrong_data.push(format!(
                "{wrong} of {blocks} blocks that were copied are wrong; block {} holds {}",
                first["lba"],
                first["holds"].as_str().unwrap_or_default()
            ));
        }
        // What one copy left must not pass for what the next one wrote.
        let arguments = json!({ "nsid": nsid, "lba": to, "blocks": blocks, "seed": WIPE_SEED });
        orders.execute("namespace-fill", &arguments).map(drop)
    }

    fn collect(&mut self, orders: &mut dyn Orders, evidence: &mut Evidence) -> anyhow::Result<()> {
        self.heal(orders, evidence)?;
        let violations = orders.execute("query-violations", &json!({ "switched-off": self.switched_off }))?;
        evidence.broken = serde_json::from_value(violations).context("violations have another shape")?;
        let trace = orders.execute("query-trace", &json!({ "last": TRACED }))?;
        evidence.trace = serde_json::from_value(trace).context("events have another shape")?;
        Ok(())
    }
}
