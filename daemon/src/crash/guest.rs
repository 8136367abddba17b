//! The campaign with guests: a stock Linux writes atomically to a drive of this program, which another process serves; power goes and
//! comes back through the control socket, and the guest reports what it finds. One machine lives through most cuts: its driver loses
//! the drive and finds it again. Every tenth cut ends the machine too.
//!
//! Two things are judged: records of 16 KiB that fio wrote with RWF_ATOMIC to a file, each by its checksum; and slots that two writers
//! stamp, by the oracle ([`slots`]). The guest's half is a script beside the guest's other ones.

mod agent;
mod attach;
mod bench;
mod drive;
mod evidence;
mod options;
mod other_images;
mod plan;
mod report;
mod slots;
mod stack;

use std::ops::RangeInclusive;

use anyhow::Context as _;
use guest_harness::{Brownout, Kernel, Machine, scripts};
use oracle::checker::unsafe_shutdowns;
use oracle::verdict::Violation;
use serde_json::{Value, json};

use super::Arguments;
use super::bounds::{Bounds, INTERRUPTED};
use super::report::Report;
use crate::failure::Failure;
use crate::progress::Progress;
use bench::Bench;
pub use options::OfGuest;
use plan::Plan;
use report::{Outcome, Tally};
use slots::Slots;
use stack::Stack;

/// One namespace for each file system, and one for the slots: all promise 16 KiB.
const NAMESPACES: [&str; 3] = [
    "size=320MiB,lba=4KiB,atomic.nawupf=3",
    "size=16MiB,lba=4KiB,atomic.nawupf=3",
    "size=64MiB,lba=4KiB,atomic.nawupf=3",
];
/// Which of them has the slots.
const SLOTS_NAMESPACE: u32 = 2;

/// Runs the campaign; returns the exit code.
///
/// # Errors
/// No guest can be had, or one does not do what it is told; a report cannot be written.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    arguments.of_guest.check(arguments)?;
    let mut report = arguments.report()?;
    let mut tally = Tally::default();
    let mut bounds = Bounds::new(arguments.time)?;
    let ended = cut_all(arguments, &mut bounds, &mut report, &mut tally);
    // Who ends us may have ended the drive and the guest as well: the cut at hand came to nothing, the others count.
    let stopped = bounds.over() && bounds.interrupted();
    if stopped {
        tally.interrupt();
    } else if let Err(error) = &ended {
        tally.fail(&format!("{error:#}"));
    }
    tally.demand(arguments.min_met);
    let time = bounds.elapsed();
    report.line(|| tally.json(arguments.seed, time))?;
    let misbehave = arguments.misbehave.join(", ");
    let promised = if misbehave.is_empty() {
        misbehave
    } else {
        format!("the drive broke promises as it was told to: {misbehave}\n")
    };
    let text = format!("{promised}{}", tally.text(arguments.seed, time));
    report.close(tally.xml(arguments.seed, time), &text, || tally.page(arguments, time))?;
    if !stopped {
        ended?;
    }
    Ok(match tally.has_failed() {
        true => 1,
        false if stopped => INTERRUPTED,
        false => 0,
    })
}

/// Makes the cuts, as many as there is time for.
fn cut_all(arguments: &Arguments, bounds: &mut Bounds, report: &mut Report, tally: &mut Tally) -> anyhow::Result<()> {
    let progress = Progress::new("cutting the power of guests", "cuts");
    let passes = arguments.only.map_or_else(|| passes(arguments.cuts(), arguments.shard), |only| only..=only);
    let wanted = u64::from(passes.end() - passes.start()) + 1;
    let mut subject: Box<dyn Subject + '_> = if arguments.of_guest.has_load() {
        Box::new(Stack::start(arguments)?)
    } else {
        Box::new(Records::start(arguments)?)
    };
    for (done, pass) in (0..).zip(passes) {
        progress.within(done, wanted, bounds.elapsed(), arguments.time);
        let plan = subject.plan(pass);
        let outcome = subject.cut(&plan).with_context(|| format!("cut {pass} of seed {}", arguments.seed))?;
        report::cut(report, &plan, &outcome)?;
        tally.count(&plan, &outcome);
        if bounds.over() || (tally.illegal() > 0 && !arguments.keep_going) {
            break;
        }
    }
    subject.end()
}

/// The cuts of the `shard`-th of `of` shards, numbered from 1: neighbours, since every second one is of the other file system, and every
/// tenth one kills the machine.
fn passes(cuts: u64, (shard, of): (u64, u64)) -> RangeInclusive<u32> {
    let end = |shard: u64| u32::try_from(u128::from(cuts) * u128::from(shard) / u128::from(of)).unwrap_or(u32::MAX);
    end(shard) + 1..=end(shard + 1)
}

/// A way to use the drive, and to judge what a power loss has left.
trait Subject {
    /// What a cut shall be.
    fn plan(&self, pass: u32) -> Plan;

    /// One power loss, from the load before it to the verdict after it.
    fn cut(&mut self, plan: &Plan) -> anyhow::Result<Outcome>;

    /// The guest is switched off, and the drive stopped.
    fn end(self: Box<Self>) -> anyhow::Result<()>;
}

/// What comes with this program: atomic records of fio on two file systems, and slots.
struct Records<'a> {
    bench: Bench,
    slots: Slots,
    arguments: &'a Arguments,
}

impl<'a> Records<'a> {
    fn start(arguments: &'a Arguments) -> anyhow::Result<Self> {
        let drive = NAMESPACES.iter().fold(Brownout::builder(), |drive, namespace| drive.namespace(namespace));
        let machine = Machine::new(Kernel::Newest).name("crash").script(scripts::CAMPAIGN);
        let folder = tempfile::Builder::new().prefix("brownout-").tempdir().context("cannot create a folder")?;
        let mut bench = Bench::start(drive, &arguments.misbehave, machine, folder)?;
        bench.tell("make", "made")?;
        Ok(Self { bench, slots: Slots::new(), arguments })
    }
}

impl Subject for Records<'_> {
    fn plan(&self, pass: u32) -> Plan {
        Plan::new(self.arguments.seed, pass, &self.arguments.points, self.arguments.policy)
    }

    fn cut(&mut self, plan: &Plan) -> anyhow::Result<Outcome> {
        let bench = &mut self.bench;
        let before = bench.drive.unsafe_shutdowns()?;
        let said_before = bench.guest()?.console().len();
        bench.tell(&format!("load {} {}", plan.file_system, plan.pass), "loaded")?;
        bench.drive.arm(plan)?;
        let report = bench.drive.lose_power(plan)?;
        if !plan.kill {
            bench.tell("cut", "gone")?;
        }
        // In one piece: the writers talk while we look.
        let did = bench.guest()?.console().split_off(said_before);
        if plan.kill {
            bench.kill()?;
        }
        let again = bench.drive.restore(plan)?;
        if plan.kill {
            bench.boot()?;
        }
        let mut found = bench.tell(&format!("check {}", plan.file_system), "checked")?;
        if plan.kill {
            found.push_str(&bench.tell("repair", "repaired")?);
        }
        let mut illegal = told(&did, &found);
        // The oracle knows the slots as the only namespace; to everybody else they are in the second.
        let of_slots = self.slots.pass(plan.pass, &did, &found, plan.kill).err();
        illegal.extend(of_slots.map(|violation| Violation { nsid: SLOTS_NAMESPACE, ..violation }.to_string()));
        if !again {
            let counted = unsafe_shutdowns(before, self.bench.drive.unsafe_shutdowns()?, false);
            illegal.extend(counted.err().map(|violation| violation.to_string()));
        }
        let evidence = if illegal.is_empty() {
            Value::Null
        } else {
            let said = |text: &str| slots::lines(text).collect::<Vec<_>>().join("\n");
            json!({ "before": said(&did), "after": said(&found), "report": report })
        };
        Ok(Outcome::new(&report, again, illegal, evidence))
    }

    fn end(self: Box<Self>) -> anyhow::Result<()> {
        self.bench.end()
    }
}

/// What the guest itself finds wrong.
fn told(did: &str, found: &str) -> Vec<String> {
    let wrong = |line: &&str| line.starts_with("torn ") || line.starts_with("broken ");
    slots::lines(did).chain(slots::lines(found)).filter(wrong).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_has_its_part_of_all_that_there_is() {
        let shards: Vec<Vec<_>> = (0..4).map(|shard| passes(102, (shard, 4)).collect()).collect();
        assert_eq!(shards.concat(), (1..=102).collect::<Vec<_>>());
        for shard in shards {
            let plans: Vec<_> = shard.iter().map(|pass| Plan::new(1, *pass, &[], None)).collect();
            let of = |file_system| plans.iter().filter(|plan| plan.file_system == file_system).count();
            assert!(of("xfs").abs_diff(of("ext4")) <= 1, "{shard:?}");
            assert!((2..=3).contains(&plans.iter().filter(|plan| plan.kill).count()), "{shard:?}");
        }
        assert_eq!(passes(500, (0, 1)), 1..=500);
    }

    #[test]
    fn torn_records_and_broken_file_systems_are_told() {
        let did = "guest: loaded\nguest: broken xfs cannot be mounted\n";
        let found = "guest: slots 8192 p000000 w000000\nguest: torn 16384\r\nguest: checked\n";
        assert_eq!(told(did, found), ["broken xfs cannot be mounted", "torn 16384"]);
        assert_eq!(told("torn 1\n", "guest: checked\n"), [""; 0]);
    }
}
