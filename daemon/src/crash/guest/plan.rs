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
/// Where a load says what it does and has done, and how many of these lines it takes before power goes, at most.
const WITNESS: u32 = 2;
const WORDS_OF_A_LOAD: u64 = 12;
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
        }
    }

    /// The cut of a pass under a load of the user's own, which the guest lives through unless somebody says otherwise.
    #[must_use]
    pub fn of_load(seed: u64, pass: u32, points: &[Step], policy: Option<Policy>) -> Self {
        let plan = Self::new(seed, pass, points, policy);
        let mut random = Random::new(seed.wrapping_add(u64::from(pass)).wrapping_mul(0x9e37_79b9));
        let at = match random.below(4) {
            // What was acknowledged last has nothing behind it.
            0 | 1 if points.is_empty() => {
                json!({ "match": { "opcode": "write", "nsid": WITNESS }, "nth": 1 + random.below(WORDS_OF_A_LOAD) })
            }
            // There is much to lose.
            2 if points.is_empty() => json!({ "volatile-at-least": 2 << random.below(4) }),
            _ => point(&mut random, points, STEPS_OF_ANY_LOAD),
        };
        Self { at, file_system: LOAD, kill: false, writes_max: WRITES_MAX_OF_ANY_LOAD, ..plan }
    }

    /// The arguments of `crash-arm`.
    #[must_use]
    pub fn arming(&self) -> Value {
        let mut words = self.policy.clone();
        words["at"] = self.at.clone();
        words
    }
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
    fn under_a_load_of_the_users_own_power_goes_at_its_witness_as_often_as_elsewhere() {
        let plans: Vec<_> = (1..=200).map(|pass| Plan::of_load(5, pass, &[], None)).collect();
        let at_witness = plans.iter().filter(|plan| plan.at["match"]["nsid"] == 2).count();
        assert!((70..=130).contains(&at_witness), "{at_witness}");
        assert!(plans.iter().filter(|plan| !plan.at["volatile-at-least"].is_null()).count() > 25);
        assert!(plans.iter().all(|plan| !plan.kill && plan.file_system == LOAD));
        assert_eq!(plans, (1..=200).map(|pass| Plan::of_load(5, pass, &[], None)).collect::<Vec<_>>());
        let named = Plan::of_load(5, 1, &[Step::FlushSynced], Some(Policy::AllSurvive));
        assert_eq!((&named.at["step"], &named.policy["policy"]), (&json!("flush-synced"), &json!("all-survive")));
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
