//! `namespace-detach`.

use controller::ControllerId;
use schemars::JsonSchema;
use serde::Deserialize;

use super::namespace_change::{ended, refusal};
use super::{Device, LongCommand, Nothing, Refusal};

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

impl LongCommand for NamespaceDetach {
    const NAME: &'static str = "namespace-detach";
    type Answer = Nothing;

    fn begin(&self, device: &mut Device<'_>) -> Result<(), Refusal> {
        let begun = device.subsystem.detach(self.nsid, ControllerId(self.controller));
        begun.map_err(|error| refusal(device, self.nsid, error))
    }

    fn ended(&self, device: &mut Device<'_>) -> Option<Result<Nothing, Refusal>> {
        Some(ended(device, self.nsid)?.map(|_| Nothing {}))
    }
}
