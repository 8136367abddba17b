//! `namespace-detach`.

use controller::ControllerId;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Device, Execute, Nothing, Refusal};

/// Detaches a namespace from a controller: its host is told, and what it has under way there ends with Invalid Field, as whatever it sends
/// from now on. The data stays.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamespaceDetach {
    /// Namespace identifier.
    nsid: u32,
    /// CNTLID of the controller.
    controller: u16,
}

impl Execute for NamespaceDetach {
    const NAME: &'static str = "namespace-detach";
    type Answer = Nothing;

    fn execute(self, device: &mut Device<'_>) -> Result<Nothing, Refusal> {
        let done = device.subsystem.detach(self.nsid, ControllerId(self.controller));
        done.map(|()| Nothing {}).map_err(|error| Refusal::new(error.to_string()))
    }
}
