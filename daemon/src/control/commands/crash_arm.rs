//! `crash-arm`.

use std::cell::Cell;

use controller::power::PowerReport;
use media::Nanoseconds;
use media::power::{Arming, Cut};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::crash_point::CrashPoint;
use super::cut::{Policy, Profile, Words};
use super::{Device, LongCommand, Refusal};
use crate::options::Age;

/// Lets power go at a step, a command or by chance. It replaces what was armed before. With `wait` it is answered when power was lost, or
/// the time is over.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CrashArm {
    /// When: exactly one of its members, and `nth` beside `step`, `match` or `completed`.
    at: CrashPoint,
    /// Which of what was not durable survives; nothing if not given.
    #[serde(default)]
    policy: Policy,
    /// Where chance begins, for policy=random.
    seed: Option<u64>,
    /// Which pieces survive, oldest first, for policy=choose; those beyond the list are lost.
    survivors: Option<Vec<bool>>,
    /// Writes above the atomic unit may survive in part.
    #[serde(default)]
    tear: bool,
    /// What the blocks of such a write may then hold.
    #[serde(default)]
    profile: Profile,
    /// How long the answer waits for the power loss, such as 10s; if not given, not at all.
    #[schemars(with = "Option<String>")]
    wait: Option<Age>,
    /// What to do when that time is over.
    #[serde(default, rename = "else")]
    otherwise: Otherwise,
    #[serde(skip)]
    began: Cell<Option<Nanoseconds>>,
}

/// What to do where power was not lost in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Otherwise {
    /// Disarm, and say that nothing happened.
    #[default]
    Disarm,
    /// Cut power then.
    Cut,
}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Armed {
    /// With `wait`: whether power went at the crash point, and not because the time was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    tripped: Option<bool>,
    /// With `wait`: the power loss; absent where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<PowerReport>,
}

impl CrashArm {
    fn meaning(&self) -> Result<(Arming, Cut), Refusal> {
        let Self { policy, seed, tear, profile, .. } = *self;
        let cut = Words { policy, seed, survivors: self.survivors.clone(), tear, profile }.cut()?;
        Ok((self.at.clone().arming()?, cut))
    }
}

impl LongCommand for CrashArm {
    const NAME: &'static str = "crash-arm";
    type Answer = Armed;

    fn begin(&self, device: &mut Device<'_>) -> Result<(), Refusal> {
        if self.wait.is_none() && self.otherwise == Otherwise::Cut {
            return Err(Refusal::new("else=cut goes with wait only: without, nobody knows when"));
        }
        let (arming, cut) = self.meaning()?;
        if !device.subsystem.power_is_on() {
            return Err(Refusal::new("power is off: `power-restore` first"));
        }
        device.subsystem.crash_arm(arming, cut);
        self.began.set(Some(device.now));
        Ok(())
    }

    fn ended(&self, device: &mut Device<'_>) -> Option<Result<Armed, Refusal>> {
        let (Some(limit), Some(began)) = (self.wait, self.began.get()) else {
            return Some(Ok(Armed { tripped: None, report: None }));
        };
        if !device.subsystem.power_is_on() {
            return Some(Ok(Armed { tripped: Some(true), report: device.subsystem.crash().cloned() }));
        }
        let (arming, cut) = match self.meaning() {
            Ok(meaning) => meaning,
            Err(refusal) => return Some(Err(refusal)),
        };
        if device.subsystem.crash_armed() != Some(arming) {
            return Some(Err(Refusal::new("the crash point was disarmed or replaced while this waited for it")));
        }
        if device.now < began.plus(limit.0) {
            return None;
        }
        device.subsystem.crash_disarm();
        let report = (self.otherwise == Otherwise::Cut).then(|| device.subsystem.power_cut(&cut));
        Some(Ok(Armed { tripped: Some(false), report }))
    }
}
