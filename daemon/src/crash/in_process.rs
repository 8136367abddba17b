//! The campaign without a guest: drives in parallel on all processors, counted in the order of their seeds, so that the result does not
//! depend on the number of processors.

use std::collections::BTreeMap;
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use anyhow::Context as _;
use media::fault::Misbehaviour;
use media::power::Step;
use oracle::simulator::{CUTS_OF_PART, Campaign, Judged, PARTS_MAX, Tally, Wishes};

use super::Arguments;
use super::bounds::{Bounds, INTERRUPTED};
use super::report::{Ended, Shrunk};
use super::shards::Shards;
use super::words;
use crate::failure::Failure;
use crate::options::OptionError;
use crate::progress::Progress;

/// After this many cuts wherever there is a step, each step was met: if not, something is wrong with the campaign.
const CUTS_TO_MEET_ALL: u64 = 20_000;
/// The name of a thread in which a drive may stop: the campaign says so, and nobody else need to.
const DRIVES: &str = "drives";
/// Drives that were judged and wait for an earlier one.
const WAITING_MAX: usize = 64;

/// Runs the campaign; returns the exit code.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let campaign = campaign(arguments);
    check_shard(&campaign)?;
    let mut report = arguments.report()?;
    report.begin(&arguments.identity()?)?;
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    silence_drives();
    let mut bounds = Bounds::new(arguments.time)?;
    let progress = Progress::new("cutting power", "cuts");
    let mut shrunk: Vec<Shrunk> = Vec::new();
    let tally = side_by_side(&campaign, jobs, |tally, judged| {
        let wanted = u32::try_from(campaign.cuts_wanted()).unwrap_or(u32::MAX);
        progress.within(tally.cuts, u64::from(wanted), bounds.elapsed(), arguments.time);
        let mut smaller = None;
        if let Err(failure) = &judged.outcome
            && shrunk.iter().all(|before| before.rule != failure.violation.rule.name())
        {
            // Of drives that break the same rule one is enough.
            let (history, failure) = in_drives_thread(|| campaign.shrunk(judged.seed, failure));
            shrunk.push(Shrunk {
                seed: judged.seed,
                rule: failure.violation.rule.name().to_owned(),
                failure: failure.to_string(),
                history: history.to_string(),
                again: command_again(arguments, judged.seed),
            });
            smaller = shrunk.last().map(|shrunk| (shrunk, failure));
        }
        report.drive(judged, smaller.as_ref().map(|(shrunk, failure)| (*shrunk, failure)))?;
        Ok(!bounds.over())
    })?;
    let missed = if bounds.interrupted() { Vec::new() } else { missed(&campaign, &tally) };
    let (time, interrupted, shards) = (bounds.elapsed(), bounds.interrupted(), &Shards::default());
    let ended =
        Ended { campaign: &campaign, tally: &tally, shrunk: &shrunk, missed: &missed, time, interrupted, shards };
    report.end(&ended)?;
    let failed = tally.illegal > 0 || !missed.is_empty();
    Ok(if interrupted && !failed { INTERRUPTED } else { u8::from(failed) })
}

/// Whether there is anything to run in this shard.
fn check_shard(campaign: &Campaign) -> Result<(), OptionError> {
    let ((index, of), parts) = (campaign.shard, campaign.parts());
    if of <= parts {
        return Ok(());
    }
    let remedy = match of.checked_mul(CUTS_OF_PART).filter(|_| of <= PARTS_MAX) {
        Some(cuts) => format!("give --cuts {cuts} or more: a shard makes {CUTS_OF_PART} cuts at least"),
        None => format!("give {PARTS_MAX} shards at most"),
    };
    Err(OptionError::new("--shard", format!("{}/{of}", index + 1), remedy))
}

pub(super) fn campaign(arguments: &Arguments) -> Campaign {
    let mut misbehaviour = Misbehaviour::default();
    for name in &arguments.misbehave {
        assert!(misbehaviour.switch_on(name), "the command line knows the names");
    }
    Campaign {
        seed: arguments.seed,
        cuts: arguments.cuts(),
        shard: arguments.shard,
        runs: arguments.runs,
        wishes: Wishes { points: arguments.points.clone(), policy: arguments.policy, misbehaviour },
        keep_going: arguments.keep_going,
    }
}

/// Steps that a campaign of this length must have met and has not.
pub(super) fn missed(campaign: &Campaign, tally: &Tally) -> Vec<&'static str> {
    let points = &campaign.wishes.points;
    let wanted = if points.is_empty() { Step::ALL } else { points };
    // Where one of these steps only was to be cut at, none at all is not enough, however short the campaign.
    let long_enough = tally.cuts >= CUTS_TO_MEET_ALL || (tally.cuts == 0 && !points.is_empty());
    if long_enough && tally.illegal == 0 { tally.counts.at.missed(wanted) } else { Vec::new() }
}

/// The command that runs this drive, and no other, again.
fn command_again(arguments: &Arguments, seed: u64) -> String {
    format!("brownout crash --in-process --cuts 1 --seed {seed}{}", words::line(&words::of_drives(arguments)))
}

/// What a drive says as it stops is in the report.
fn silence_drives() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |stopped| {
        if thread::current().name() != Some(DRIVES) {
            before(stopped);
        }
    }));
}

fn in_drives_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let worker = thread::Builder::new().name(DRIVES.to_owned()).spawn_scoped(scope, work);
        worker.expect("the system has room for a thread").join().expect("what stops in there is caught in there")
    })
}

/// Runs the drives of a campaign, `jobs` at a time; `each` sees them in order, until it says that it has seen enough.
fn side_by_side(
    campaign: &Campaign,
    jobs: usize,
    mut each: impl FnMut(&Tally, &Judged) -> anyhow::Result<bool>,
) -> anyhow::Result<Tally> {
    let pace = Pace::new(campaign);
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(WAITING_MAX);
        for _ in 0..jobs {
            let (sender, pace) = (sender.clone(), &pace);
            let worker = thread::Builder::new().name(DRIVES.to_owned());
            worker.spawn_scoped(scope, move || judge(campaign, pace, &sender)).context("cannot start a thread")?;
        }
        drop(sender);
        let tally = in_order(campaign, &pace, &receiver, &mut each);
        pace.over.store(true, Ordering::Relaxed);
        // Whoever waits to hand over what nobody wants any more is let go.
        drop(receiver);
        tally
    })
}

/// What is to be run next.
struct Pace {
    next: AtomicU64,
    over: AtomicBool,
    /// Of each part of the shard, in order: no more of its drives are wanted.
    parts_over: Vec<AtomicBool>,
}

impl Pace {
    fn new(campaign: &Campaign) -> Self {
        let parts_over = (0..campaign.parts_of_shard()).map(|_| AtomicBool::new(false)).collect();
        Self { next: AtomicU64::new(0), over: AtomicBool::new(false), parts_over }
    }

    fn part_over(&self, number: u64) -> &AtomicBool {
        let parts = self.parts_over.len() as u64;
        &self.parts_over[usize::try_from(number % parts).expect("there are so many")]
    }
}

/// A drive by its number; nothing of one that is not wanted any more.
type Numbered = (u64, Option<Judged>);

fn judge(campaign: &Campaign, pace: &Pace, judged: &SyncSender<Numbered>) {
    while !pace.over.load(Ordering::Relaxed) {
        let number = pace.next.fetch_add(1, Ordering::Relaxed);
        let of_drive = (!pace.part_over(number).load(Ordering::Relaxed)).then(|| campaign.judge(number));
        if judged.send((number, of_drive)).is_err() {
            return;
        }
    }
}

fn in_order(
    campaign: &Campaign,
    pace: &Pace,
    judged: &Receiver<Numbered>,
    each: &mut impl FnMut(&Tally, &Judged) -> anyhow::Result<bool>,
) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let mut early = BTreeMap::new();
    let mut number = 0;
    for (found, of_drive) in judged {
        early.insert(found, of_drive);
        while let Some(judged) = early.remove(&number) {
            if campaign.wants(&tally, number) {
                let judged = judged.expect("a drive that is wanted is run");
                let goes_on = campaign.count(&mut tally, number, &judged);
                if !each(&tally, &judged)? || !goes_on {
                    return Ok(tally);
                }
                pace.part_over(number).store(!campaign.wants(&tally, number), Ordering::Relaxed);
            }
            number += 1;
        }
    }
    anyhow::bail!("the drives ended before the campaign did")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn campaign(seed: u64, cuts: u64) -> Campaign {
        Campaign { seed, cuts, shard: (0, 1), runs: 1, wishes: Wishes::default(), keep_going: false }
    }

    #[test]
    fn what_comes_out_does_not_depend_on_how_many_work() {
        let campaign = campaign(1, 300);
        let alone = campaign.run(|_| ());
        for jobs in [1, 4] {
            let mut seeds = Vec::new();
            let tally = side_by_side(&campaign, jobs, |_, judged| {
                seeds.push(judged.seed);
                Ok(true)
            });
            assert_eq!(tally.expect("nothing to write"), alone);
            assert!(seeds.iter().copied().eq(1..=alone.drives), "{seeds:?}");
        }
    }

    #[test]
    fn a_campaign_that_is_told_to_end_has_counted_what_it_saw() {
        let mut seen = 0;
        let tally = side_by_side(&campaign(1, 1_000_000), 2, |_, _| {
            seen += 1;
            Ok(seen < 3)
        });
        let tally = tally.expect("nothing to write");
        assert_eq!((tally.drives, seen, tally.illegal), (3, 3, 0));
    }

    #[test]
    fn parts_that_have_enough_are_left_out_alike_by_all() {
        let campaign = Campaign { shard: (1, 2), ..campaign(5, 4_000) };
        let alone = campaign.run(|_| ());
        assert!(campaign.parts_of_shard() == 2 && alone.cuts >= 2_000, "{alone:?}");
        assert_eq!(side_by_side(&campaign, 3, |_, _| Ok(true)).expect("nothing to write"), alone);
    }

    #[test]
    fn a_shard_has_a_thousand_cuts_at_least() {
        let of = |cuts, of| {
            check_shard(&Campaign { shard: (of - 1, of), ..campaign(1, cuts) }).map_err(|error| error.to_string())
        };
        assert_eq!(of(4_000, 4), Ok(()));
        assert_eq!(of(1, 1), Ok(()));
        let few = "--shard 5/5: give --cuts 5000 or more: a shard makes 1000 cuts at least";
        assert_eq!(of(4_000, 5), Err(few.to_owned()));
        assert_eq!(of(1 << 40, 1025), Err("--shard 1025/1025: give 1024 shards at most".to_owned()));
    }

    #[test]
    fn a_long_campaign_must_have_met_every_step_that_was_asked_for() {
        let long = Tally { cuts: CUTS_TO_MEET_ALL, ..Tally::default() };
        assert_eq!(missed(&campaign(1, 1), &long).len(), Step::ALL.len());
        let mut of_one = campaign(1, 1);
        of_one.wishes.points = vec![Step::FlushSynced];
        assert_eq!(missed(&of_one, &long), ["flush-synced"]);
        assert!(missed(&of_one, &Tally { cuts: CUTS_TO_MEET_ALL - 1, ..Tally::default() }).is_empty());
        assert_eq!(missed(&of_one, &Tally::default()), ["flush-synced"]);
    }
}
