//! `trace-event-set-state`, as QEMU has it.

use schemars::JsonSchema;
use serde::Deserialize;
use traces::qemu::{Selection, UnknownPattern};

use super::{Device, Execute, Nothing, Refusal};
use crate::tracer::order::Order;

/// Switches events on or off, by a name or by a pattern with `*` and `?`, in all traces that consist of events. If none is written and
/// events are switched on, those of controller 0 go to the device's standard error, as QEMU's do.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TraceEventSetState {
    /// Name or pattern. A pattern passes over events that are QEMU's alone.
    name: String,
    /// On, or off.
    enable: bool,
    /// An event that is QEMU's alone is no error.
    #[serde(default)]
    ignore_unavailable: bool,
}

impl Execute for TraceEventSetState {
    const NAME: &'static str = "trace-event-set-state";
    type Answer = Nothing;

    fn execute(self, device: &mut Device<'_>) -> Result<Nothing, Refusal> {
        let mut selection = Selection::default();
        match selection.set(&self.name, true) {
            Ok(()) => {}
            Err(UnknownPattern::Unavailable { .. }) if self.ignore_unavailable => return Ok(Nothing {}),
            Err(error) => return Err(Refusal::new(error.to_string())),
        }
        let tracers = &mut device.audience.tracers;
        if !tracers.set(&self.name, self.enable).map_err(Refusal::new)? && self.enable {
            let order = Order { selection, ..Order::default() };
            tracers.start(order, device.subsystem, device.now).map_err(Refusal::new)?;
        }
        device.audience.listen(device.subsystem);
        Ok(Nothing {})
    }
}
