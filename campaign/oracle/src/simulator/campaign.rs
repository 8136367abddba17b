//! A campaign: drives from consecutive seeds, each run to its end, until power was cut often enough. It consists of parts, which follow
//! from the number of cuts alone; each has drives and cuts of its own. A shard runs some of the parts, so that all shards together run
//! what one process would, however many they are. Owns which seeds are run and what is counted of them; who runs them, and how many at
//! a time, is the caller's business.

use std::collections::BTreeMap;

use super::{Counts, Failure, Scenario, Wishes, attempt, scenario, shrink};
use crate::verdict::{Rule, Violation};

/// After this many drives without a cut, a step that power shall go at is not going to come.
const DRIVES_TO_CUT_ONE: u64 = 20_000;
/// Power losses of a part at least, where a campaign has more than one part.
pub const CUTS_OF_PART: u64 = 1_000;
/// The most parts of a campaign.
pub const PARTS_MAX: u64 = 1_024;

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Campaign {
    /// The seed of the first drive.
    pub seed: u64,
    /// How often power goes at least.
    pub cuts: u64,
    /// Of this many shards this one, from 0: no more than there are parts.
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
    /// Power losses of each part.
    pub of_part: BTreeMap<u64, u64>,
    /// Parts that have lost power as often as they had to.
    pub over: u64,
}

impl Tally {
    /// What shards counted, all of them.
    pub fn add(&mut self, other: &Self) {
        self.drives += other.drives;
        self.counts.add(&other.counts);
        self.cuts += other.cuts;
        self.illegal += other.illegal;
    }
}

impl Campaign {
    /// How many parts the campaign has: no more shards can share it.
    #[must_use]
    pub fn parts(&self) -> u64 {
        (self.cuts / CUTS_OF_PART).clamp(1, PARTS_MAX)
    }

    /// How many of the parts are this shard's.
    #[must_use]
    pub fn parts_of_shard(&self) -> u64 {
        let (shard, shards) = self.shard;
        self.parts().saturating_sub(shard).div_ceil(shards)
    }

    /// The part that the shard's n-th drive belongs to, from 0.
    fn part_of(&self, number: u64) -> u64 {
        let (shard, shards) = self.shard;
        shard + number % self.parts_of_shard() * shards
    }

    /// How often power goes in a part at least.
    fn cuts_of(&self, part: u64) -> u64 {
        // Without a product that may be too large.
        let (share, rest) = (self.cuts / self.parts(), self.cuts % self.parts());
        share + u64::from(part < rest)
    }

    /// The seed of the shard's n-th drive, from 0.
    #[must_use]
    pub fn seed_of(&self, number: u64) -> u64 {
        let round = number / self.parts_of_shard();
        self.seed.wrapping_add(round.wrapping_mul(self.parts())).wrapping_add(self.part_of(number))
    }

    /// How often power goes in this shard at least.
    #[must_use]
    pub fn cuts_wanted(&self) -> u64 {
        (0..self.parts_of_shard()).map(|number| self.cuts_of(self.part_of(number))).sum()
    }

    /// Whether the n-th drive belongs to a part that still has to lose power.
    #[must_use]
    pub fn wants(&self, tally: &Tally, number: u64) -> bool {
        let part = self.part_of(number);
        tally.of_part.get(&part).is_none_or(|cuts| *cuts < self.cuts_of(part))
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

    /// Counts the n-th drive, which was wanted, in the order of their numbers; returns whether the campaign goes on.
    pub fn count(&self, tally: &mut Tally, number: u64, judged: &Judged) -> bool {
        tally.drives += 1;
        let cuts = match &judged.outcome {
            Ok(counts) => {
                tally.counts.add(counts);
                counts.cuts
            }
            Err(failure) => {
                tally.illegal += 1;
                if self.wishes.points.is_empty() { failure.pass as u64 + 1 } else { 1 }
            }
        };
        tally.cuts += cuts;
        *tally.of_part.entry(self.part_of(number)).or_default() += cuts;
        tally.over += u64::from(!self.wants(tally, number));
        let hopeless = tally.cuts == 0 && tally.drives >= DRIVES_TO_CUT_ONE;
        tally.over < self.parts_of_shard() && !hopeless && (self.keep_going || tally.illegal == 0)
    }

    /// Runs drives one after the other until the campaign is over.
    pub fn run(&self, mut each: impl FnMut(&Judged)) -> Tally {
        let mut tally = Tally::default();
        for number in 0.. {
            if !self.wants(&tally, number) {
                continue;
            }
            let judged = self.judge(number);
            each(&judged);
            if !self.count(&mut tally, number, &judged) {
                break;
            }
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn campaign(seed: u64, cuts: u64, shard: (u64, u64)) -> Campaign {
        Campaign { seed, cuts, shard, runs: 1, wishes: Wishes::default(), keep_going: false }
    }

    #[test]
    fn shards_have_the_parts_of_one_campaign_and_no_drive_twice() {
        for (cuts, shards) in [(10_500, 3), (10_500, 10), (1 << 40, 7), (8_000, 8)] {
            let whole = campaign(10, cuts, (0, 1));
            let seeds: Vec<_> = (0..whole.parts() * 3).map(|number| whole.seed_of(number)).collect();
            assert!(seeds.iter().copied().eq(10..10 + whole.parts() * 3));
            let shards: Vec<_> = (0..shards).map(|shard| campaign(10, cuts, (shard, shards))).collect();
            assert_eq!(shards.iter().map(Campaign::cuts_wanted).sum::<u64>(), cuts);
            let of = |shard: &Campaign| (0..shard.parts_of_shard() * 3).map(|n| shard.seed_of(n)).collect::<Vec<_>>();
            let mut together: Vec<_> = shards.iter().flat_map(of).collect();
            together.sort_unstable();
            assert_eq!(together, seeds);
        }
    }

    #[test]
    fn a_short_campaign_has_one_part() {
        assert_eq!(campaign(1, 1, (0, 1)).parts(), 1);
        assert_eq!(campaign(1, 1_999, (0, 1)).parts(), 1);
        assert_eq!(campaign(1, 2_000, (1, 2)).parts_of_shard(), 1);
        assert_eq!(campaign(1, 1_999, (1, 2)).parts_of_shard(), 0);
    }

    #[test]
    fn shards_count_together_what_one_process_counts() {
        let whole = campaign(1, 3_000, (0, 1)).run(|_| ());
        for shards in [2, 3] {
            let mut together = Tally::default();
            (0..shards).for_each(|shard| together.add(&campaign(1, 3_000, (shard, shards)).run(|_| ())));
            let counted = |tally: &Tally| (tally.drives, tally.cuts, tally.illegal, tally.counts);
            assert_eq!(counted(&together), counted(&whole));
        }
    }
}
