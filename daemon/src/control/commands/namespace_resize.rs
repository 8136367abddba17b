//! `namespace-resize`.

use controller::changes::ChangeError;
use schemars::JsonSchema;
use serde::Deserialize;

use super::namespace_change::{Size, Sized, block_shift, ended, refusal};
use super::{Device, LongCommand, Refusal};
use crate::options::Bytes;

/// Gives a namespace another size while the host uses it, and tells the host. Commands under way end first. What a smaller size drops is
/// deallocated. It is answered when the new size is durable; a power loss before that leaves the old size or the new one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NamespaceResize {
    /// Namespace identifier.
    nsid: u32,
    /// The new size: a multiple of the block size, and at most the `size_max` that the namespace was made with; where namespaces come and
    /// go, what no other has besides.
    size: Size,
}

impl LongCommand for NamespaceResize {
    const NAME: &'static str = "namespace-resize";
    type Answer = Sized;

    fn begin(&self, device: &mut Device<'_>) -> Result<(), Refusal> {
        let Bytes(bytes) = self.size.bytes("size")?;
        let shift = block_shift(device, self.nsid)
            .ok_or_else(|| refusal(device, self.nsid, ChangeError::NoSuchNamespace(self.nsid)))?;
        if !bytes.is_multiple_of(1 << shift) {
            let block = Bytes(1 << shift);
            return Err(Refusal::new(format!("size={}: give a multiple of the block size, {block}", Bytes(bytes))));
        }
        device.subsystem.resize(self.nsid, bytes >> shift).map_err(|error| refusal(device, self.nsid, error))
    }

    fn ended(&self, device: &mut Device<'_>) -> Option<Result<Sized, Refusal>> {
        Some(ended(device, self.nsid)?.map(|_| Sized::of(device, self.nsid)))
    }
}
