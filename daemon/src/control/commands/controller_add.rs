//! `controller-add`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Device, Execute, Refusal};

/// One more controller, with a socket at which a machine plugs it in, in the folder that `--socket-folder` names. It has the lowest CNTLID
/// that is free, and the namespaces that are attached to that one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ControllerAdd {
    /// The socket's name, without a folder.
    socket: PathBuf,
}

/// The new controller.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Added {
    /// CNTLID.
    controller: u16,
    /// Its socket with the folder.
    socket: String,
}

impl Execute for ControllerAdd {
    const NAME: &'static str = "controller-add";
    type Answer = Added;

    fn execute(self, device: &mut Device<'_>) -> Result<Added, Refusal> {
        if !device.subsystem.power_is_on() {
            return Err(Refusal::new("power is off: `power-restore` first"));
        }
        let path = device.ports.place(&self.socket).map_err(Refusal::new)?;
        let added = device.subsystem.add_controller();
        let id = added.ok_or_else(|| Refusal::new("there are as many controllers as there can be"))?;
        let socket = std::path::absolute(&path).unwrap_or_else(|_| path.clone()).display().to_string();
        if let Err(why) = device.ports.open(path, id) {
            device.subsystem.remove_controller(id).expect("nobody has it");
            return Err(Refusal::new(why));
        }
        device.audience.arrived(device.subsystem, id);
        Ok(Added { controller: id.0, socket })
    }
}
