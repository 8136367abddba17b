//! `query-traces`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::trace_start::FormatName;
use super::{Device, Execute, Refusal};
use crate::tracer::Trace;

/// The traces that are being written. `query-trace` tells the last events themselves.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryTraces {}

/// A trace.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TraceState {
    id: u32,
    /// CNTLID of the controller whose trace it is.
    controller: u16,
    format: FormatName,
    /// None where it goes to standard error.
    file: Option<String>,
    /// The data of commands is kept.
    data: bool,
    /// Events that are missing, because they came faster than they could be written.
    dropped: u64,
    /// It was stopped, and its file is not complete yet.
    ending: bool,
}

impl From<&Trace> for TraceState {
    fn from(trace: &Trace) -> Self {
        let order = &trace.order;
        Self {
            id: trace.id,
            controller: order.controller.0,
            format: order.format.into(),
            file: order.file.as_ref().map(|path| path.display().to_string()),
            data: order.data,
            dropped: trace.dropped(),
            ending: trace.ending,
        }
    }
}

impl Execute for QueryTraces {
    const NAME: &'static str = "query-traces";
    type Answer = Vec<TraceState>;

    fn execute(self, device: &mut Device<'_>) -> Result<Vec<TraceState>, Refusal> {
        Ok(device.audience.tracers.running().iter().map(TraceState::from).collect())
    }
}
