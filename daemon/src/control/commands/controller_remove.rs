//! `controller-remove`.

use controller::ControllerId;
use controller::plugs::PlugError;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Device, LongCommand, Nothing, Refusal, no_controller};

/// Takes a controller away: its machine is cut off, as if the device had been pulled out, and its socket goes. What it had under way
/// ends first. Namespaces stay attached to its CNTLID, and reservations of its host stay.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ControllerRemove {
    /// CNTLID of the controller.
    controller: u16,
}

impl LongCommand for ControllerRemove {
    const NAME: &'static str = "controller-remove";
    type Answer = Nothing;

    fn begin(&self, device: &mut Device<'_>) -> Result<(), Refusal> {
        let id = ControllerId(self.controller);
        if !device.subsystem.power_is_on() {
            return Err(Refusal::new("power is off: `power-restore` first"));
        }
        if device.subsystem.ids().all(|there| there != id) {
            return Err(no_controller(device, id));
        }
        if device.ports.is_disk(id) {
            return Err(Refusal::new(format!("controller {} is that of the virtio disk, which stays", id.0)));
        }
        if device.ports.path(id).is_none() {
            return Err(Refusal::new(format!("controller {} is being removed already", id.0)));
        }
        if device.subsystem.ids().filter(|there| device.ports.path(*there).is_some()).eq([id]) {
            return Err(Refusal::new(format!("controller {} is the last one", id.0)));
        }
        device.ports.close(id);
        Ok(())
    }

    fn ended(&self, device: &mut Device<'_>) -> Option<Result<Nothing, Refusal>> {
        let id = ControllerId(self.controller);
        if device.ports.is_closing(id) {
            return None;
        }
        match device.subsystem.remove_controller(id) {
            Err(PlugError::Busy(_)) => None,
            Err(error) => Some(Err(Refusal::new(error.to_string()))),
            Ok(()) => {
                device.audience.left(device.subsystem, id, device.now);
                Some(Ok(Nothing {}))
            }
        }
    }
}
