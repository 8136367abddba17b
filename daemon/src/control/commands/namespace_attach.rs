//! `namespace-attach`.

use controller::ControllerId;
use schemars::JsonSchema;
use serde::Deserialize;

use super::namespace_change::{ended, refusal};
use super::{Device, LongCommand, Nothing, Refusal};

/// Attaches a namespace to a controller: its host is told, and finds the namespace. Where namespaces come and go the media keeps it;
/// otherwise it lasts as long as the process, through power losses too. A namespace with `shared=off` is for one controller at a time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamespaceAttach {
    /// Namespace identifier.
    nsid: u32,
    /// CNTLID of the controller.
    controller: u16,
}

impl LongCommand for NamespaceAttach {
    const NAME: &'static str = "namespace-attach";
    type Answer = Nothing;

    fn begin(&self, device: &mut Device<'_>) -> Result<(), Refusal> {
        let begun = device.subsystem.attach(self.nsid, ControllerId(self.controller));
        begun.map_err(|error| refusal(device, self.nsid, error))
    }

    fn ended(&self, device: &mut Device<'_>) -> Option<Result<Nothing, Refusal>> {
        Some(ended(device, self.nsid)?.map(|_| Nothing {}))
    }
}
