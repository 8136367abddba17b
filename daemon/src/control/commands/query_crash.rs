//! `query-crash`.

use controller::power::PowerReport;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::crash_point::CrashPoint;
use super::{Device, Execute, Refusal};

/// What is armed, and the report of the last power loss.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryCrash {}

/// Crash point and report.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Crash {
    /// The crash point that is armed.
    armed: Option<CrashPoint>,
    /// How often what is armed was met so far; with `volatile-at-least`, the most units that were volatile.
    #[serde(skip_serializing_if = "Option::is_none")]
    met: Option<u64>,
    /// The last power loss, also after power came back.
    report: Option<PowerReport>,
}

impl Execute for QueryCrash {
    const NAME: &'static str = "query-crash";
    type Answer = Crash;

    fn execute(self, device: &mut Device<'_>) -> Result<Crash, Refusal> {
        let armed = device.subsystem.crash_armed();
        Ok(Crash {
            armed: armed.map(CrashPoint::from),
            met: armed.map(|_| device.subsystem.crash_met()),
            report: device.subsystem.crash().cloned(),
        })
    }
}
