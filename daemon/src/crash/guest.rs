//! The campaign with guests: a stock Linux writes atomically to a drive of this program, which another process serves; power goes and
//! comes back through the control socket, and the guest reports what it finds. One machine lives through most cuts: its driver loses
//! the drive and finds it again. Every tenth cut ends the machine too.
//!
//! Two things are judged: records of 16 KiB that fio wrote with RWF_ATOMIC to a file, each by its checksum; and slots that two writers
//! stamp, by the oracle ([`slots`]). The guest's half is a script beside the guest's other ones.

mod plan;
mod report;
mod slots;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use guest_harness::{ASKED_EVERY, Brownout, Device, Guest, Kernel, Machine, scripts};
use media::Nanoseconds;
use oracle::checker::unsafe_shutdowns;
use oracle::verdict::Violation;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Arguments;
use super::bounds::{Bounds, INTERRUPTED};
use super::report::Report;
use crate::ctl::client::Client;
use crate::failure::Failure;
use crate::progress::Progress;
use plan::Plan;
use report::{Outcome, Tally};
use slots::Slots;

/// One namespace for each file system, and one for the slots: all promise 16 KiB.
const NAMESPACES: [&str; 3] = [
    "size=320MiB,lba=4KiB,atomic.nawupf=3",
    "size=16MiB,lba=4KiB,atomic.nawupf=3",
    "size=64MiB,lba=4KiB,atomic.nawupf=3",
];
/// Which of them has the slots.
const SLOTS_NAMESPACE: u32 = 2;
/// A guest that takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often to look whether the guest makes progress, while a point is waited for, and how often in between whether to go on at all.
const LOOK_EVERY: Nanoseconds = Nanoseconds(2_000_000_000);
const ASKED_PER_LOOK: u32 = 8;
/// A guest whose writes do not go on for this many looks does nothing any more: the point is not going to be met.
const LOOKS_WITHOUT_PROGRESS: u32 = 30;
/// A point that was not met by this many writes is not going to be: any of those that are planned comes within some thousands.
const WRITES_MAX: u64 = 60_000;
/// Why the cut at hand comes to nothing.
const TOLD_TO_END: &str = "the campaign was told to end";
/// What was cut has been told by then.
const EVENT_PATIENCE: Nanoseconds = Nanoseconds(60_000_000_000);

/// Runs the campaign; returns the exit code.
///
/// # Errors
/// No guest can be had, or one does not do what it is told; a report cannot be written.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let mut report = Report::create(arguments.json.as_deref(), arguments.junit.as_deref())?;
    let mut bounds = Bounds::new(arguments.time)?;
    let mut tally = Tally::default();
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
    report.close(&tally.xml(arguments.seed, time), &format!("{promised}{}", tally.text(arguments.seed, time)))?;
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
    let mut bench = Bench::start(arguments, bounds)?;
    for (done, pass) in (0..).zip(passes) {
        progress.within(done, wanted, bench.bounds.elapsed(), arguments.time);
        let plan = Plan::new(arguments.seed, pass, &arguments.points, arguments.policy);
        let outcome = bench.cut(&plan).with_context(|| format!("cut {pass} of seed {}", arguments.seed))?;
        report::cut(report, &plan, &outcome)?;
        tally.count(&plan, &outcome);
        if bench.bounds.over() || (tally.illegal() > 0 && !arguments.keep_going) {
            break;
        }
    }
    bench.end()
}

/// The cuts of the `shard`-th of `of` shards, numbered from 1: neighbours, since every second one is of the other file system, and every
/// tenth one kills the machine.
fn passes(cuts: u64, (shard, of): (u64, u64)) -> RangeInclusive<u32> {
    let end = |shard: u64| u32::try_from(u128::from(cuts) * u128::from(shard) / u128::from(of)).unwrap_or(u32::MAX);
    end(shard) + 1..=end(shard + 1)
}

/// A drive, who orders it about, and a guest that uses it.
struct Bench<'a> {
    // In this order they go.
    guest: Option<Guest>,
    orders: Client,
    events: Client,
    drive: Brownout,
    _folder: TempDir,
    slots: Slots,
    /// Asked while the guest is waited for: it may take minutes.
    bounds: &'a mut Bounds,
}

impl<'a> Bench<'a> {
    fn start(arguments: &Arguments, bounds: &'a mut Bounds) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("brownout-").tempdir().context("cannot create a folder")?;
        let control: PathBuf = folder.path().join("control");
        let ourselves = std::env::current_exe().context("cannot find this program to start the drive")?;
        let mut drive = Brownout::builder().name("crash").binary(&ourselves);
        drive = drive.argument("--control").argument(control.to_str().context("the temporary folder is not UTF-8")?);
        if !arguments.misbehave.is_empty() {
            let words = format!("misbehave={}", arguments.misbehave.join("+"));
            drive = drive.argument("--media").argument(&words);
        }
        let drive = NAMESPACES.iter().fold(drive, |drive, namespace| drive.namespace(namespace)).start()?;
        let (orders, events) = (Client::connect(&control)?, Client::connect(&control)?);
        let mut bench = Self { guest: None, orders, events, drive, _folder: folder, slots: Slots::new(), bounds };
        bench.boot()?;
        bench.tell("make", "made")?;
        Ok(bench)
    }

    fn boot(&mut self) -> anyhow::Result<()> {
        let machine = Machine::new(Kernel::Newest).name("crash").script(scripts::CAMPAIGN);
        let device = Device::VfioUser { socket: self.drive.socket().to_owned() };
        let guest = machine.device(device).timeout(PATIENCE).spawn()?;
        self.guest = Some(guest);
        self.hears("guest: ready")
    }

    /// Waits until the guest says this, unless the campaign is told to end.
    fn hears(&mut self, words: &str) -> anyhow::Result<()> {
        let guest = self.guest.as_mut().context("there is no guest")?;
        guest.wait_for_while(words, PATIENCE, || !self.bounds.asked())?.context(TOLD_TO_END).map(drop)
    }

    fn guest(&mut self) -> anyhow::Result<&mut Guest> {
        self.guest.as_mut().context("there is no guest")
    }

    /// Gives the guest an order, waits until it says that it is done, and returns what it said meanwhile.
    fn tell(&mut self, order: &str, done: &str) -> anyhow::Result<String> {
        let guest = self.guest()?;
        let before = guest.console().len();
        guest.send_line(order)?;
        self.hears(&format!("guest: {done}")).with_context(|| format!("the guest was told to {order}"))?;
        Ok(self.guest()?.console().split_off(before))
    }

    /// One power loss, from the load before it to the verdict after it.
    fn cut(&mut self, plan: &Plan) -> anyhow::Result<Outcome> {
        let before = self.unsafe_shutdowns()?;
        let said_before = self.guest()?.console().len();
        self.tell(&format!("load {} {}", plan.file_system, plan.pass), "loaded")?;
        let report = self.lose_power(plan)?;
        if !plan.kill {
            self.tell("cut", "gone")?;
        }
        // In one piece: the writers talk while we look.
        let did = self.guest()?.console().split_off(said_before);
        if plan.kill {
            self.guest.take().context("there is no guest")?.kill()?;
        }
        let again = self.restore(plan)?;
        if plan.kill {
            self.boot()?;
        }
        let mut found = self.tell(&format!("check {}", plan.file_system), "checked")?;
        if plan.kill {
            found.push_str(&self.tell("repair", "repaired")?);
        }
        let mut illegal = told(&did, &found);
        // The oracle knows the slots as the only namespace; to everybody else they are in the second.
        let of_slots = self.slots.pass(plan.pass, &did, &found, plan.kill).err();
        illegal.extend(of_slots.map(|violation| Violation { nsid: SLOTS_NAMESPACE, ..violation }.to_string()));
        if !again {
            let counted = unsafe_shutdowns(before, self.unsafe_shutdowns()?, false);
            illegal.extend(counted.err().map(|violation| violation.to_string()));
        }
        let step = report["step"].as_str().map(str::to_owned);
        let not_durable = report["not-durable"].as_array().map_or(0, Vec::len);
        let evidence = if illegal.is_empty() {
            Value::Null
        } else {
            let said = |text: &str| slots::lines(text).collect::<Vec<_>>().join("\n");
            json!({ "before": said(&did), "after": said(&found), "report": report })
        };
        Ok(Outcome { step, not_durable, again, illegal, evidence })
    }

    fn unsafe_shutdowns(&mut self) -> anyhow::Result<u64> {
        let log = self.orders.execute("query-log", &json!({}))?;
        log["smart"]["unsafe-shutdowns"].as_u64().context("the drive counts its unsafe shutdowns")
    }

    /// How many writes of the guest the drive has carried out.
    fn writes(&mut self) -> anyhow::Result<u64> {
        let log = self.orders.execute("query-log", &json!({}))?;
        log["smart"]["host-write-commands"].as_u64().context("the drive counts what it writes")
    }

    /// Waits until the point that was chosen is met, for as long as the guest goes on writing, however slowly that is. False if it was not.
    fn meets_point(&mut self) -> anyhow::Result<bool> {
        let (begun, mut before, mut looks) = (self.writes()?, 0, 0);
        while looks < LOOKS_WITHOUT_PROGRESS {
            for _ in 0..ASKED_PER_LOOK {
                let time = Nanoseconds(LOOK_EVERY.0 / u64::from(ASKED_PER_LOOK));
                if self.events.event_within("POWER_CUT", time)?.is_some() {
                    return Ok(true);
                }
                ensure!(!self.bounds.asked(), TOLD_TO_END);
            }
            let writes = self.writes()?.saturating_sub(begun);
            if writes > WRITES_MAX {
                break;
            }
            looks = if writes > before { 0 } else { looks + 1 };
            before = writes;
        }
        Ok(false)
    }

    /// Waits for the point that was chosen, and cuts where it does not come. Returns the drive's report.
    fn lose_power(&mut self, plan: &Plan) -> anyhow::Result<Value> {
        self.orders.execute("crash-arm", &plan.arming())?;
        if !self.meets_point()? {
            // If the point comes just now, neither of these is done; the event says that power is gone.
            let _ = self.orders.execute("crash-disarm", &json!({}));
            let _ = self.orders.execute("power-cut", &plan.policy);
            self.events.event_within("POWER_CUT", EVENT_PATIENCE)?.context("power does not go")?;
        }
        let mut crash = self.orders.execute("query-crash", &json!({}))?;
        Ok(crash["report"].take())
    }

    /// Power comes back; true where it went once more before it stayed.
    fn restore(&mut self, plan: &Plan) -> anyhow::Result<bool> {
        let mut again = false;
        if let Some(step) = plan.again {
            again = self.orders.execute("power-restore", &json!({ "at": { "step": step } })).is_err();
        }
        if again || plan.again.is_none() {
            self.orders.execute("power-restore", &json!({})).context("the drive does not come back")?;
        }
        Ok(again)
    }

    fn end(mut self) -> anyhow::Result<()> {
        self.guest()?.send_line("off")?;
        while !self.guest()?.is_off_within(ASKED_EVERY)? {
            ensure!(!self.bounds.asked(), TOLD_TO_END);
        }
        self.guest.take().context("there is no guest")?.wait_within(PATIENCE)?.require_success()?;
        drop((self.orders, self.events));
        self.drive.stop().map(drop)
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
