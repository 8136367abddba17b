//! `namespace-remove`.

use controller::changes::Change;
use schemars::JsonSchema;
use serde::Deserialize;

use super::namespace_change::{ended, refusal};
use super::{Device, LongCommand, Nothing, Refusal};

/// Deletes a namespace of a drive that has a capacity of its own (`--media capacity=SIZE`), with everything in it: hosts are told, and its
/// space is free. Commands under way end first. It is answered when that is durable.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NamespaceRemove {
    /// Namespace identifier.
    nsid: u32,
}

impl LongCommand for NamespaceRemove {
    const NAME: &'static str = "namespace-remove";
    type Answer = Nothing;

    fn begin(&self, device: &mut Device<'_>) -> Result<(), Refusal> {
        let change = Change::Delete { nsid: Some(self.nsid) };
        device.subsystem.change(change).map_err(|error| refusal(device, self.nsid, error))
    }

    fn ended(&self, device: &mut Device<'_>) -> Option<Result<Nothing, Refusal>> {
        Some(ended(device, self.nsid)?.map(|_| Nothing {}))
    }
}
