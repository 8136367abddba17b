//! `crash-image`.

use media::power::ImageNumber;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::crash_images::Survivors;
use super::power_restore::Restored;
use super::{Device, Execute, Refusal};

/// Brings power back with one of the images of the power loss that `crash-images` was asked about last. Where power is on it goes first: so
/// each image can be looked at in turn, and what was written to the one before is dropped. The controller is as at power-on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CrashImage {
    /// Which, from 0.
    number: u64,
    /// Where chance begins, if there are too many for all: as with `crash-images`.
    #[serde(default)]
    seed: u64,
}

/// The image that is shown.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Shown {
    #[serde(flatten)]
    survivors: Survivors,
    #[serde(flatten)]
    restored: Restored,
}

impl Execute for CrashImage {
    const NAME: &'static str = "crash-image";
    type Answer = Shown;

    fn execute(self, device: &mut Device<'_>) -> Result<Shown, Refusal> {
        let Self { number, seed } = self;
        let entries = device.forks()?.show(ImageNumber { number, seed }).map_err(Refusal::new)?;
        Ok(Shown { survivors: Survivors::of(&entries), restored: Restored::after_power_off(device)? })
    }
}
