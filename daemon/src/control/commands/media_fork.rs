//! `media-fork`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Device, Execute, Nothing, Refusal};

/// Keeps what the drive holds now, for `media-restore`. Everything is made durable first. The host notices nothing; what it changes from
/// here on is written beside what is kept, so that this takes milliseconds however much that is. Only of a drive in memory.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MediaFork {}

impl Execute for MediaFork {
    const NAME: &'static str = "media-fork";
    type Answer = Nothing;

    fn execute(self, device: &mut Device<'_>) -> Result<Nothing, Refusal> {
        device.forks()?.fork().map_err(Refusal::new)?;
        Ok(Nothing {})
    }
}
