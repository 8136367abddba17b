//! `namespace-format`.

use controller::changes::Change;
use schemars::JsonSchema;
use serde::Deserialize;

use super::namespace_add::{extended, format};
use super::namespace_change::{Size, Sized, ended, refusal};
use super::{Device, LongCommand, Refusal};

/// Gives a namespace another LBA format, as a host's Format NVM does: it is empty afterwards, and hosts are told. Commands under way end
/// first. It is answered when it is durable, and with `erase` when nothing of the old data is left in the media.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NamespaceFormat {
    /// Namespace identifier.
    nsid: u32,
    /// Logical block size; 512 bytes if it is not given.
    lba: Option<Size>,
    /// Bytes of metadata beside each block: 0, 8, 16 or 64.
    #[serde(default)]
    ms: u32,
    /// Where the metadata is in guest memory: 0 in a buffer of its own, 1 behind each block.
    #[serde(default)]
    mset: u8,
    /// Erase what it held.
    #[serde(default)]
    erase: bool,
}

impl LongCommand for NamespaceFormat {
    const NAME: &'static str = "namespace-format";
    type Answer = Sized;

    fn begin(&self, device: &mut Device<'_>) -> Result<(), Refusal> {
        if device.subsystem.volume_of(self.nsid).is_none() {
            let error = controller::changes::ChangeError::NoSuchNamespace(self.nsid);
            return Err(refusal(device, self.nsid, error));
        }
        let format = format(self.lba.as_ref(), self.ms)?;
        let (nsids, extended) = (vec![self.nsid], extended(self.mset)?);
        let change = Change::Format { nsids, format, extended, erase: self.erase };
        device.subsystem.change(change).map_err(|error| refusal(device, self.nsid, error))
    }

    fn ended(&self, device: &mut Device<'_>) -> Option<Result<Sized, Refusal>> {
        Some(ended(device, self.nsid)?.map(|_| Sized::of(device, self.nsid)))
    }
}
