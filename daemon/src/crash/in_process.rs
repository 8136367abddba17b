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
use oracle::simulator::{Campaign, Judged, Tally, Wishes};

use super::Arguments;
use super::bounds::{Bounds, INTERRUPTED};
use super::report::Shrunk;
use crate::failure::Failure;
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
    let mut report = arguments.report()?;
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
            && shrunk.iter().all(|before| before.failure.violation.rule != failure.violation.rule)
        {
            // Of drives that break the same rule one is enough.
            let (history, failure) = in_drives_thread(|| campaign.shrunk(judged.seed, failure));
            let again = command_again(arguments, judged.seed);
            shrunk.push(Shrunk { seed: judged.seed, failure, history: history.to_string(), again });
            smaller = shrunk.last();
        }
        report.drive(judged, smaller)?;
        Ok(!bounds.over())
    })?;
    let missed = if bounds.interrupted() { Vec::new() } else { missed(&campaign, &tally) };
    report.end(&campaign, &tally, &shrunk, &missed, bounds.elapsed(), bounds.interrupted())?;
    let failed = tally.illegal > 0 || !missed.is_empty();
    Ok(if bounds.interrupted() && !failed { INTERRUPTED } else { u8::from(failed) })
}

fn campaign(arguments: &Arguments) -> Campaign {
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
fn missed(campaign: &Campaign, tally: &Tally) -> Vec<&'static str> {
    let points = &campaign.wishes.points;
    let wanted = if points.is_empty() { Step::ALL } else { points };
    // Where one of these steps only was to be cut at, none at all is not enough, however short the campaign.
    let long_enough = tally.cuts >= CUTS_TO_MEET_ALL || (tally.cuts == 0 && !points.is_empty());
    if long_enough && tally.illegal == 0 { tally.counts.at.missed(wanted) } else { Vec::new() }
}

/// The command that runs this drive, and no other, again.
fn command_again(arguments: &Arguments, seed: u64) -> String {
    let mut command = format!("brownout crash --in-process --cuts 1 --seed {seed}");
    if !arguments.points.is_empty() {
        let names: Vec<_> = arguments.points.iter().map(|step| step.name()).collect();
        command.push_str(&format!(" --points {}", names.join(",")));
    }
    if let Some(policy) = arguments.policy {
        let named = oracle::simulator::Policy::NAMES.into_iter().find(|(_, named)| *named == policy);
        command.push_str(&format!(" --policy {}", named.map_or("random", |(name, _)| name)));
    }
    if !arguments.misbehave.is_empty() {
        command.push_str(&format!(" --misbehave {}", arguments.misbehave.join("+")));
    }
    if arguments.runs > 1 {
        command.push_str(&format!(" --runs {}", arguments.runs));
    }
    command
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
    let (next, over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(WAITING_MAX);
        for _ in 0..jobs {
            let sender = sender.clone();
            let (next, over) = (&next, &over);
            let worker = thread::Builder::new().name(DRIVES.to_owned());
            worker
                .spawn_scoped(scope, move || judge(campaign, next, over, &sender))
                .context("cannot start a thread")?;
        }
        drop(sender);
        let tally = in_order(campaign, &receiver, &mut each);
        over.store(true, Ordering::Relaxed);
        // Whoever waits to hand over what nobody wants any more is let go.
        drop(receiver);
        tally
    })
}

fn judge(campaign: &Campaign, next: &AtomicU64, over: &AtomicBool, judged: &SyncSender<(u64, Judged)>) {
    while !over.load(Ordering::Relaxed) {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if judged.send((number, campaign.judge(number))).is_err() {
            return;
        }
    }
}

fn in_order(
    campaign: &Campaign,
    judged: &Receiver<(u64, Judged)>,
    each: &mut impl FnMut(&Tally, &Judged) -> anyhow::Result<bool>,
) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let mut early = BTreeMap::new();
    let mut number = 0;
    for (found, of_drive) in judged {
        early.insert(found, of_drive);
        while let Some(judged) = early.remove(&number) {
            number += 1;
            let goes_on = campaign.count(&mut tally, &judged);
            if !each(&tally, &judged)? || !goes_on {
                return Ok(tally);
            }
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
    fn shards_have_their_own_drives() {
        let of = |shard| Campaign { shard: (shard, 2), ..campaign(10, 9) };
        assert_eq!((0..3).map(|number| of(0).seed_of(number)).collect::<Vec<_>>(), [10, 12, 14]);
        assert_eq!((0..3).map(|number| of(1).seed_of(number)).collect::<Vec<_>>(), [11, 13, 15]);
        assert_eq!(of(0).cuts_wanted(), 5);
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
