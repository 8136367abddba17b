//! `query-trace`.

use checker::describe::describe;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Device, Execute, Refusal};

/// The last events of the controller, oldest first: accesses to registers, admin commands, resets, failures; with `checks=on`, each hop of
/// every command.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct QueryTrace {
    /// At most this many, of the thousand that are kept.
    #[serde(default = "all")]
    last: usize,
}

const fn all() -> usize {
    controller::watch::RECENT
}

/// An event.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TracedEvent {
    /// Nanoseconds since the device was made.
    time_ns: u64,
    /// Counts resets and enables since power-on.
    generation: u64,
    /// What happened, in words.
    text: String,
}

impl From<&controller::watch::Traced> for TracedEvent {
    fn from(traced: &controller::watch::Traced) -> Self {
        Self { time_ns: traced.time.0, generation: traced.generation, text: describe(&traced.event) }
    }
}

impl Execute for QueryTrace {
    const NAME: &'static str = "query-trace";
    type Answer = Vec<TracedEvent>;

    fn execute(self, device: &mut Device<'_>) -> Result<Vec<TracedEvent>, Refusal> {
        let mut events: Vec<TracedEvent> =
            device.controller().recent().rev().take(self.last).map(TracedEvent::from).collect();
        events.reverse();
        Ok(events)
    }
}
