//! `trace-event-get-state`, as QEMU has it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use traces::qemu::{Selection, State};

use super::{Device, Execute, Refusal};

/// Which of QEMU's trace events are written: by a name, or by a pattern with `*` and `?`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TraceEventGetState {
    /// Name or pattern.
    name: String,
}

/// An event.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TraceEventInfo {
    name: String,
    state: StateName,
}

/// Whether it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StateName {
    /// It is QEMU's alone.
    Unavailable,
    /// No trace has it.
    Disabled,
    /// A trace has it.
    Enabled,
}

impl From<State> for StateName {
    fn from(state: State) -> Self {
        match state {
            State::Unavailable => Self::Unavailable,
            State::Disabled => Self::Disabled,
            State::Enabled => Self::Enabled,
        }
    }
}

impl Execute for TraceEventGetState {
    const NAME: &'static str = "trace-event-get-state";
    type Answer = Vec<TraceEventInfo>;

    fn execute(self, device: &mut Device<'_>) -> Result<Vec<TraceEventInfo>, Refusal> {
        let mut all = Selection::default();
        let running = device.audience.tracers.running();
        running
            .iter()
            .filter(|trace| trace.order.format.has_events())
            .for_each(|trace| all.join(&trace.order.selection));
        let info = |(name, state): (String, State)| TraceEventInfo { name, state: state.into() };
        let found: Vec<TraceEventInfo> = all.states(&self.name).map(info).collect();
        if found.is_empty() {
            let refused = all.set(&self.name, true).map_err(|error| Refusal::new(error.to_string()));
            return refused.map(|()| Vec::new());
        }
        Ok(found)
    }
}
