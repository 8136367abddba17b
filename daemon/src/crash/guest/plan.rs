//! What one cut of a campaign with guests shall be: everything that chance decides, from one seed. What the guest does meanwhile is the
//! guest's affair, so that the same plan meets it elsewhere each time.

use media::power::{Random, Step};
use oracle::simulator::Policy;
use serde_json::{Value, json};

/// Every so manieth cut takes the machine with it.
const KILL_EVERY: u64 = 10;
/// One in this many recoveries loses power itself.
const RECOVERY_CUT_ONE_IN: u64 = 4;
/// What a load of the user's own is called in place of a file system.
pub const LOAD: &str = "load";
/// How many steps a load takes in a second or two, at least.
const STEPS_OF_A_LOAD: u64 = 12_000;
/// The same of a load of the user's own, which may sync more than it writes.
const STEPS_OF_ANY_LOAD: u64 = 2_000;
/// A point that was not met by this many writes is not going to be: any of those that are planned comes within some thousands.
const WRITES_MAX: u64 = 60_000;
/// A load that syncs is slow, and a cut at another moment is a cut.
const WRITES_MAX_OF_ANY_LOAD: u64 = 2_000;
/// What a load uses, and where it says what it does and has done.
const DISK: u32 = 1;
pub const WITNESS: u32 = 2;
/// How many flushes a load takes before power goes, at most.
const FLUSHES: u64 = 16;
/// The lines with which a load begins: its set-up is done, and something is tried.
const FIRST_LINES: u64 = 2;
/// Power goes at one of so many lines behind these. Consecutive cuts at the witness are so many lines apart: where one operation in a load
/// that repeats itself leaves nothing at stake, the next cut meets another one.
const LINES: u64 = 12;
const LINES_APART: u64 = 5;
/// Steps that every write of a guest takes.
const FREQUENT: [Step; 13] = [
    Step::DoorbellSeen,
    Step::CommandFetched,
    Step::CommandAccepted,
    Step::CommandSubmitted,
    Step::CompletionQueued,
    Step::CompletionWritten,
    Step::CompletionsPublished,
    Step::InterruptRaised,
    Step::RequestTaken,
    Step::DataTransferred,
    Step::UnitStaged,
    Step::GroupStaged,
    Step::PageProgram,
];
/// Steps that come now and then.
const RARE: [Step; 7] = [
    Step::PageHalfProgrammed,
    Step::PageProgrammed,
    Step::LineOpened,
    Step::LineClosed,
    Step::FlushBegun,
    Step::FlushProgrammed,
    Step::FlushSynced,
];
/// Steps of recovery, at which power may go once more.
const IN_RECOVERY: [Step; 5] =
    [Step::RecoveryBegun, Step::RecoveryScanned, Step::RecoveryReplayed, Step::RecoveryRoot, Step::RecoveryDone];

/// One cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// From 1; also the pass in the stamps.
    pub pass: u32,
    /// Where the guest's atomic writes go.
    pub file_system: &'static str,
    /// When power goes, as `crash-arm` takes it.
    pub at: Value,
    /// What survives, as `crash-arm` and `power-cut` take it.
    pub policy: Value,
    /// The machine is killed with it, and another one booted.
    pub kill: bool,
    /// A point that was not met by this many writes is not going to be.
    pub writes_max: u64,
    /// Where power goes again while the drive recovers.
    pub again: Option<&'static str>,
    /// The point counts from before the load begins, so that chance has no part in where it is.
    pub from_start: bool,
}

impl Plan {
    /// The cut of a pass, of a campaign that begins at `seed`.
    #[must_use]
    pub fn new(seed: u64, pass: u32, points: &[Step], policy: Option<Policy>) -> Self {
        let mut random = Random::new(seed.wrapping_add(u64::from(pass)).wrapping_mul(0x9e37_79b9));
        let at = point(&mut random, points, STEPS_OF_A_LOAD);
        let policy = policy.unwrap_or_else(|| random.pick(&Policy::NAMES.map(|(_, policy)| policy)));
        let named = Policy::NAMES.into_iter().find(|(_, named)| *named == policy);
        let mut words = json!({ "policy": named.map(|(name, _)| name), "tear": random.below(2) == 0 });
        if policy == Policy::Random {
            words["seed"] = json!(random.draw() >> 1);
        }
        let again = random.below(RECOVERY_CUT_ONE_IN) == 0;
        Self {
            pass,
            file_system: if pass.is_multiple_of(2) { "ext4" } else { "xfs" },
            at,
            policy: words,
            kill: u64::from(pass).is_multiple_of(KILL_EVERY),
            writes_max: WRITES_MAX,
            again: again.then(|| random.pick(&IN_RECOVERY).name()),
            from_start: false,
        }
    }

    /// The cut of a pass under a load of the user's own, which the guest lives through unless somebody says otherwise. Without points that
    /// were asked for, every odd cut is one at the witness.
    #[must_use]
    pub fn of_load(seed: u64, pass: u32, points: &[Step], policy: Option<Policy>) -> Self {
        let plan = Self {
            file_system: LOAD,
            kill: false,
            writes_max: WRITES_MAX_OF_ANY_LOAD,
            ..Self::new(seed, pass, points, policy)
        };
        let mut random = Random::new(seed.wrapping_add(u64::from(pass)).wrapping_mul(0x9e37_79b9));
        if !points.is_empty() {
            return Self { at: point(&mut random, points, STEPS_OF_ANY_LOAD), ..plan };
        }
        if pass.is_multiple_of(2) {
            let at = match random.below(2) {
                // There is much to lose: nothing since the flush before is durable.
                0 => json!({ "match": { "opcode": "flush", "nsid": DISK }, "nth": 1 + random.below(FLUSHES) }),
                _ => point(&mut random, points, STEPS_OF_ANY_LOAD),
            };
            return Self { at, ..plan };
        }
        let nth_of_witness = u64::from(pass / 2);
        // What was acknowledged last must be there although all that can be lost is. Now and then only some of it is.
        let all_is_lost = policy.is_none() && nth_of_witness % 4 < 2;
        let policy = if all_is_lost { json!({ "policy": "none-survive", "tear": false }) } else { plan.policy.clone() };
        Self { at: at_witness(seed, nth_of_witness), policy, from_start: true, ..plan }
    }

    /// The arguments of `crash-arm`.
    #[must_use]
    pub fn arming(&self) -> Value {
        let mut words = self.policy.clone();
        words["at"] = self.at.clone();
        words
    }
}

/// As the witness has taken a line and the guest has the answer: what was acknowledged last has nothing behind it, whether the line says
/// that it was done, or that the next thing is tried.
fn at_witness(seed: u64, nth_of_witness: u64) -> Value {
    let first = Random::new(seed.wrapping_mul(0x9e37_79b9)).below(LINES);
    let line = first.wrapping_add(nth_of_witness.wrapping_mul(LINES_APART)) % LINES;
    json!({ "completed": { "opcode": "write", "nsid": WITNESS }, "nth": FIRST_LINES + 1 + line })
}

/// A point that a load meets which takes so many steps in a second or two.
fn point(random: &mut Random, points: &[Step], steps: u64) -> Value {
    if !points.is_empty() {
        let step = random.pick(points);
        return named(random, step, steps);
    }
    match random.below(4) {
        0 | 1 => json!({ "any-step": 1 + random.below(steps) }),
        2 => {
            let step = random.pick(&FREQUENT);
            named(random, step, steps)
        }
        _ => {
            let step = random.pick(&RARE);
            named(random, step, steps)
        }
    }
}

fn named(random: &mut Random, step: Step, steps: u64) -> Value {
    let most = if FREQUENT.contains(&step) { steps / 24 } else { 4 };
    json!({ "step": step.name(), "nth": 1 + random.below(most) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_plans_again_and_another_one_does_not() {
        let plans = |seed| (1..=50).map(|pass| Plan::new(seed, pass, &[], None)).collect::<Vec<_>>();
        assert_eq!(plans(7), plans(7));
        assert_ne!(plans(7), plans(8));
        assert_eq!(plans(1).iter().filter(|plan| plan.kill).count(), 5);
        assert_eq!(plans(1).iter().filter(|plan| plan.file_system == "xfs").count(), 25);
        assert!(plans(1).iter().any(|plan| plan.again.is_some()));
    }

    #[test]
    fn under_a_load_of_the_users_own_every_odd_cut_comes_when_a_line_of_the_witness_is_acknowledged() {
        for seed in 0..50 {
            let plans: Vec<_> = (1..=200).map(|pass| Plan::of_load(seed, pass, &[], None)).collect();
            assert!(plans.iter().all(|plan| !plan.kill && plan.file_system == LOAD));
            assert_eq!(plans, (1..=200).map(|pass| Plan::of_load(seed, pass, &[], None)).collect::<Vec<_>>());
            let (odd, even): (Vec<&Plan>, Vec<&Plan>) = plans.iter().partition(|plan| !plan.pass.is_multiple_of(2));
            let lines: Vec<u64> = odd.iter().map(|plan| plan.at["nth"].as_u64().expect("a number")).collect();
            assert!(
                odd.iter()
                    .all(|plan| plan.at["completed"] == json!({ "opcode": "write", "nsid": 2 }) && plan.from_start)
            );
            // A load has begun by then; and neighbours do not meet the same operation of a load that takes two lines for each.
            assert!(lines.iter().all(|line| (3..=14).contains(line)));
            assert!(lines.windows(2).all(|pair| pair[0].abs_diff(pair[1]) > 2), "{lines:?}");
            assert!((3..=14).all(|line| lines.contains(&line)), "each comes");
            assert!(odd[..2].iter().all(|plan| plan.policy["policy"] == "none-survive"));
            assert!(odd.iter().any(|plan| plan.policy["policy"] == "random"));
            assert!(even.iter().all(|plan| plan.at["completed"].is_null() && !plan.from_start));
            assert!(
                even.iter().filter(|plan| plan.at["match"] == json!({ "opcode": "flush", "nsid": 1 })).count() > 25
            );
        }
    }

    #[test]
    fn what_is_asked_for_holds_at_the_witness_too() {
        for pass in 1..=8 {
            let policy = Plan::of_load(5, pass, &[], Some(Policy::AllSurvive)).policy;
            assert_eq!(policy["policy"], "all-survive");
            let named = Plan::of_load(5, pass, &[Step::FlushSynced], Some(Policy::AllSurvive));
            assert_eq!((&named.at["step"], &named.policy["policy"]), (&json!("flush-synced"), &json!("all-survive")));
            assert!(!named.from_start);
        }
    }

    #[test]
    fn wishes_are_kept() {
        for pass in 1..=20 {
            let plan = Plan::new(3, pass, &[Step::FlushSynced], Some(Policy::NoneSurvive));
            assert_eq!((&plan.at["step"], &plan.policy["policy"]), (&json!("flush-synced"), &json!("none-survive")));
            assert_eq!(plan.policy.get("seed"), None);
        }
    }
}
