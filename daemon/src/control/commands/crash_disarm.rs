//! `crash-disarm`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Device, Execute, Nothing, Refusal};

/// Takes an armed crash point back.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CrashDisarm {}

impl Execute for CrashDisarm {
    const NAME: &'static str = "crash-disarm";
    type Answer = Nothing;

    fn execute(self, device: &mut Device<'_>) -> Result<Nothing, Refusal> {
        if device.subsystem.crash_armed().is_none() {
            return Err(Refusal::new("nothing is armed"));
        }
        device.subsystem.crash_disarm();
        Ok(Nothing {})
    }
}
