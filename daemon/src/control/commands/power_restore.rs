//! `power-restore`.

use media::power::{Arming, Cut};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::crash_point::RecoveryStep;
use super::query_media::Recovery;
use super::{Device, Execute, Refusal};
use crate::watchdog::{self, Place};

/// Brings power back: the media recovers, and the controller is as at power-on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PowerRestore {
    /// Lets power go again at this step of the recovery; the last report is then that of the second loss.
    at: Option<RecoveryStep>,
}

/// What was found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Restored {
    recovery: Recovery,
}

impl Execute for PowerRestore {
    const NAME: &'static str = "power-restore";
    type Answer = Restored;

    fn execute(self, device: &mut Device<'_>) -> Result<Restored, Refusal> {
        let arming = self.at.map(RecoveryStep::arming).transpose()?;
        Restored::by(device, arming)
    }
}

impl Restored {
    fn by(device: &mut Device<'_>, arming: Option<Arming>) -> Result<Self, Refusal> {
        let found = watchdog::during(Place::PowerRestore, || device.subsystem.power_restore(arming));
        Ok(Self { recovery: Recovery::of(&found.map_err(Refusal::new)?) })
    }

    /// Takes power away, unless it is off, and brings it back.
    pub(super) fn after_power_off(device: &mut Device<'_>) -> Result<Self, Refusal> {
        if device.subsystem.power_is_on() {
            device.subsystem.power_cut(&Cut::default());
        }
        Self::by(device, None)
    }
}
