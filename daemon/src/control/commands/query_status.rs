//! `query-status`.

use controller::ControllerSet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Device, Execute, Refusal};
use crate::control::warnings::{WarningState, warning_states};

/// Whether the device runs, for how long, and whether anybody uses it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryStatus {}

/// The state of the device as a whole.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// It has power and works.
    running: bool,
    /// The same in a word.
    status: Condition,
    /// A virtual machine has plugged it in.
    client_connected: bool,
    /// Since it was made, in seconds.
    uptime_seconds: u64,
    /// What is wrong with the media, and of what is over the last of each kind.
    warnings: Vec<WarningState>,
}

/// What the device does.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// It works.
    Running,
    /// It has lost power: registers read as all ones, and the host's memory is left alone.
    PowerOff,
}

impl Execute for QueryStatus {
    const NAME: &'static str = "query-status";
    type Answer = Status;

    fn execute(self, device: &mut Device<'_>) -> Result<Status, Refusal> {
        let running = device.subsystem.power_is_on();
        Ok(Status {
            running,
            status: if running { Condition::Running } else { Condition::PowerOff },
            client_connected: device.clients != ControllerSet::NONE,
            uptime_seconds: device.now.0 / 1_000_000_000,
            warnings: warning_states(device.subsystem.media_warnings(), device.now),
        })
    }
}
