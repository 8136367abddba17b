//! Shards of a campaign without a guest: their counts are added, and of each rule that was broken the drive of the first seed is shown.

use std::collections::BTreeMap;

use anyhow::Context as _;
use media::power::Step;
use oracle::simulator::{AtSteps, Counts, Outcome, Tally};
use serde_json::Value;

use super::super::Arguments;
use super::super::in_process::{campaign, missed};
use super::super::report::{Ended, Shrunk};
use super::super::shards::{Missing, Shards};
use super::given::Given;
use crate::failure::Failure;

/// Tells of all shards as of one campaign; returns whether it failed.
pub fn tell(to: &Arguments, asked: &Arguments, whole: &[&Given], missing: Vec<Missing>) -> Result<bool, Failure> {
    let campaign = campaign(asked);
    let (mut tally, mut there, mut broken) = (Tally::default(), Vec::new(), BTreeMap::new());
    for given in whole {
        let of_shard = of(&given.end).with_context(|| format!("cannot understand {}", given.path.display()))?;
        there.push(given.shard(of_shard.cuts, of_shard.illegal));
        tally.add(&of_shard);
        broken.extend(given.lines.iter().filter_map(shrunk).map(|drive| (drive.seed, drive)));
    }
    let mut first: Vec<Shrunk> = Vec::new();
    for drive in broken.into_values() {
        if first.iter().all(|before| before.rule != drive.rule) {
            first.push(drive);
        }
    }
    let shards = Shards { work: "cuts", there, missing };
    let missed = if shards.missing.is_empty() { missed(&campaign, &tally) } else { Vec::new() };
    let (time, interrupted) = (shards.time(), !shards.missing.is_empty());
    let (campaign, tally, missed, shards) = (&campaign, &tally, missed.as_slice(), &shards);
    to.report()?.end(&Ended { campaign, tally, shrunk: &first, missed, time, interrupted, shards })?;
    Ok(tally.illegal > 0 || !missed.is_empty())
}

/// What a report's last line says.
fn of(end: &Value) -> Option<Tally> {
    let number = |value: &Value, name: &str| value[name].as_u64();
    let did = &end["did"];
    let outcomes = Outcome::ALL.iter().map(|outcome| Some((*outcome, number(&did["ends"], outcome.name())?)));
    let at = Step::ALL.iter().map(|step| Some((*step, number(&end["steps"], step.name())?)));
    let counts = Counts {
        cuts: number(did, "cuts")?,
        unmet: number(did, "unmet")?,
        at: at.collect::<Option<AtSteps>>()?,
        images: number(did, "images")?,
        commands: number(did, "commands")?,
        outcomes: outcomes.collect::<Option<_>>()?,
        fingerprint: did["fingerprint"].as_str()?.parse().ok()?,
    };
    let (drives, cuts, illegal) = (number(end, "drives")?, number(end, "cuts")?, number(end, "illegal")?);
    Some(Tally { drives, counts, cuts, illegal, ..Tally::default() })
}

/// A drive that broke a rule, as its line tells it.
fn shrunk(line: &Value) -> Option<Shrunk> {
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    let small = &line["shrunk"];
    Some(Shrunk {
        seed: line["seed"].as_u64()?,
        rule: text(&small["illegal"]["rule"])?,
        failure: text(&small["illegal"]["text"])?,
        history: text(&small["history"])?,
        again: text(&line["again"])?,
    })
}
