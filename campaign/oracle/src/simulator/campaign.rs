//! A campaign: drives from consecutive seeds, each run to its end, until power was cut often enough. Owns which seeds are run and what
//! is counted of them; who runs them, and how many at a time, is the caller's business.

use super::{Counts, Failure, Scenario, Wishes, attempt, scenario, shrink};
use crate::verdict::{Rule, Violation};

/// After this many drives without a cut, a step that power shall go at is not going to come.
const DRIVES_TO_CUT_ONE: u64 = 20_000;

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Campaign {
    /// The seed of the first drive.
    pub seed: u64,
    /// How often power goes at least.
    pub cuts: u64,
    /// Of this many shards this one, from 0: each has its own drives, and its part of the cuts.
    pub shard: (u64, u64),
    /// How often each drive is run; each time the same must happen.
    pub runs: u64,
    /// What is asked of every drive.
    pub wishes: Wishes,
    /// Goes on behind a drive that broke a rule.
    pub keep_going: bool,
}

/// A drive that was run to its end, or to the rule that it broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Its seed: the same seed and the same wishes make the same drive.
    pub seed: u64,
    /// What was done, or which rule was broken.
    pub outcome: Result<Counts, Box<Failure>>,
}

/// What came of the drives so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub drives: u64,
    /// What was done with those that broke no rule.
    pub counts: Counts,
    /// Power losses, those included after which a rule was found broken.
    pub cuts: u64,
    /// Drives that broke a rule.
    pub illegal: u64,
}

impl Campaign {
    /// The seed of the n-th drive, from 0.
    #[must_use]
    pub const fn seed_of(&self, number: u64) -> u64 {
        let (shard, shards) = self.shard;
        self.seed.wrapping_add(shard).wrapping_add(number.wrapping_mul(shards))
    }

    /// How often power goes in this shard at least.
    #[must_use]
    pub const fn cuts_wanted(&self) -> u64 {
        self.cuts.div_ceil(self.shard.1)
    }

    /// What happens to the drive of a seed.
    #[must_use]
    pub fn scenario(&self, seed: u64) -> Scenario {
        scenario(seed, &self.wishes)
    }

    /// Runs the n-th drive, from 0.
    #[must_use]
    pub fn judge(&self, number: u64) -> Judged {
        let seed = self.seed_of(number);
        let scenario = self.scenario(seed);
        let outcome = attempt(&scenario);
        let differs = (1..self.runs).map(|_| attempt(&scenario)).find(|again| *again != outcome);
        let Some(again) = differs else { return Judged { seed, outcome } };
        let found = format!("{again:?}, and before {outcome:?}");
        let violation =
            Violation { rule: Rule::Unrepeatable, commands: Vec::new(), nsid: 0, blocks: Vec::new(), found };
        Judged { seed, outcome: Err(Box::new(Failure { pass: 0, violation })) }
    }

    /// The shortest history found that breaks the same rule as the drive of a seed did, and how it does.
    #[must_use]
    pub fn shrunk(&self, seed: u64, failure: &Failure) -> (Scenario, Failure) {
        let scenario = self.scenario(seed);
        // What does not repeat cannot be made smaller.
        if failure.violation.rule == Rule::Unrepeatable {
            (scenario, failure.clone())
        } else {
            shrink(&scenario, failure)
        }
    }

    /// Counts the next drive, in the order of their numbers; returns whether the campaign goes on.
    pub fn count(&self, tally: &mut Tally, judged: &Judged) -> bool {
        tally.drives += 1;
        match &judged.outcome {
            Ok(counts) => {
                tally.counts.add(counts);
                tally.cuts += counts.cuts;
            }
            Err(failure) => {
                tally.illegal += 1;
                tally.cuts += if self.wishes.points.is_empty() { failure.pass as u64 + 1 } else { 1 };
            }
        }
        let hopeless = tally.cuts == 0 && tally.drives >= DRIVES_TO_CUT_ONE;
        tally.cuts < self.cuts_wanted() && !hopeless && (self.keep_going || tally.illegal == 0)
    }

    /// Runs drives one after the other until the campaign is over.
    pub fn run(&self, mut each: impl FnMut(&Judged)) -> Tally {
        let mut tally = Tally::default();
        for number in 0.. {
            let judged = self.judge(number);
            each(&judged);
            if !self.count(&mut tally, &judged) {
                break;
            }
        }
        tally
    }
}
