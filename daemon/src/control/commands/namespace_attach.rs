//! `namespace-attach`.

use controller::ControllerId;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Device, Execute, Nothing, Refusal};

/// Attaches a namespace to a controller: its host is told, and finds the namespace. It lasts as long as the process, through power losses
/// too. A namespace with `shared=off` is for one controller at a time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamespaceAttach {
    /// Namespace identifier.
    nsid: u32,
    /// CNTLID of the controller.
    controller: u16,
}

impl Execute for NamespaceAttach {
    const NAME: &'static str = "namespace-attach";
    type Answer = Nothing;

    fn execute(self, device: &mut Device<'_>) -> Result<Nothing, Refusal> {
        let done = device.subsystem.attach(self.nsid, ControllerId(self.controller));
        done.map(|()| Nothing {}).map_err(|error| Refusal::new(error.to_string()))
    }
}
