//! `crash-arm`.

use media::power::Arming;
use schemars::JsonSchema;
use serde::Deserialize;

use super::crash_point::CrashPoint;
use super::cut::{Policy, Profile, Words};
use super::{Device, Execute, Nothing, Refusal};

/// Lets power go at a step, a command or by chance. It replaces what was armed before.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CrashArm {
    /// When: exactly one of its members, and `nth` beside `step` or `match`.
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
}

impl Execute for CrashArm {
    const NAME: &'static str = "crash-arm";
    type Answer = Nothing;

    fn execute(self, device: &mut Device<'_>) -> Result<Nothing, Refusal> {
        let Self { at, policy, seed, survivors, tear, profile } = self;
        let cut = Words { policy, seed, survivors, tear, profile }.cut()?;
        let arming: Arming = at.arming()?;
        if !device.controller.power_is_on() {
            return Err(Refusal::new("power is off: `power-restore` first"));
        }
        device.controller.crash_arm(arming, cut);
        Ok(Nothing {})
    }
}
