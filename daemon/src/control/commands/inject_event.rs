//! `inject-event`.

use controller::fault::Injection;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Device, Execute, Nothing, Refusal};

/// Lets something happen that a drive tells its host of: a warning, an error, a notice. The host hears of it if it waits for events.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct InjectEvent(Injection);

impl Execute for InjectEvent {
    const NAME: &'static str = "inject-event";
    type Answer = Nothing;

    fn execute(self, device: &mut Device<'_>) -> Result<Nothing, Refusal> {
        let injected = device.subsystem.inject_event(device.id, self.0);
        injected.map(|()| Nothing {}).map_err(|error| Refusal::new(error.to_string()))
    }
}
