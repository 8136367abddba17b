//! `power-cut`.

use controller::power::PowerReport;
use schemars::JsonSchema;
use serde::Deserialize;

use super::cut::{Policy, Profile, Words};
use super::{Device, Execute, Refusal};

/// Cuts power now. From here on registers read as all ones, and nothing reaches the host; `power-restore` ends it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PowerCut {
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

impl Execute for PowerCut {
    const NAME: &'static str = "power-cut";
    type Answer = PowerReport;

    fn execute(self, device: &mut Device<'_>) -> Result<PowerReport, Refusal> {
        let Self { policy, seed, survivors, tear, profile } = self;
        let cut = Words { policy, seed, survivors, tear, profile }.cut()?;
        if !device.subsystem.power_is_on() {
            return Err(Refusal::new("power is off already: `query-crash` has the report, `power-restore` ends it"));
        }
        Ok(device.subsystem.power_cut(&cut))
    }
}
