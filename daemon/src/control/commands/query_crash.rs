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
    /// The last power loss, also after power came back.
    report: Option<PowerReport>,
}

impl Execute for QueryCrash {
    const NAME: &'static str = "query-crash";
    type Answer = Crash;

    fn execute(self, device: &mut Device<'_>) -> Result<Crash, Refusal> {
        Ok(Crash {
            armed: device.controller.crash_armed().map(CrashPoint::from),
            report: device.controller.crash().cloned(),
        })
    }
}
