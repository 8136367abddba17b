//! `trace-stop`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Device, LongCommand, Nothing, Refusal};

/// Ends a trace, and answers when its file is complete.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TraceStop {
    /// The number that `trace-start` gave, or `query-traces`.
    id: u32,
}

impl LongCommand for TraceStop {
    const NAME: &'static str = "trace-stop";
    type Answer = Nothing;

    fn begin(&self, device: &mut Device<'_>) -> Result<(), Refusal> {
        if !device.audience.tracers.stop(self.id, device.subsystem, device.now) {
            return Err(Refusal::new(format!("there is no trace {}: `query-traces` lists them", self.id)));
        }
        Ok(())
    }

    fn ended(&self, device: &mut Device<'_>) -> Option<Result<Nothing, Refusal>> {
        (!device.audience.tracers.is_running(self.id)).then_some(Ok(Nothing {}))
    }
}
