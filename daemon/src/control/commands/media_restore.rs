//! `media-restore`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::power_restore::Restored;
use super::{Device, Execute, Refusal};

/// Brings power back with what the drive held at the last `media-fork`. Where power is on it goes first. The controller is as at power-on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MediaRestore {}

impl Execute for MediaRestore {
    const NAME: &'static str = "media-restore";
    type Answer = Restored;

    fn execute(self, device: &mut Device<'_>) -> Result<Restored, Refusal> {
        device.forks()?.rewind().map_err(Refusal::new)?;
        Restored::after_power_off(device)
    }
}
