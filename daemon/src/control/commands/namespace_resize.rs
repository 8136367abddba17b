//! `namespace-resize`.

use controller::resize::ResizeError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Device, LongCommand, Refusal};
use crate::options::Bytes;

/// Gives a namespace another size while the host uses it, and tells the host. Commands under way end first. What a smaller size drops is
/// deallocated. It is answered when the new size is durable; a power loss before that leaves the old size or the new one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NamespaceResize {
    /// Namespace identifier.
    nsid: u32,
    /// The new size: a multiple of the block size, and at most the `size_max` that the namespace was made with.
    size: Size,
}

/// Bytes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "give a number of bytes, or a size such as 512MiB, 2GiB, 1GB or 4096B")]
enum Size {
    /// A number of bytes.
    Number(u64),
    /// With a unit, such as 512MiB, 2GiB, 1GB or 4096B.
    Text(String),
}

/// What the namespace is like now.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Resized {
    /// NSZE.
    size_blocks: u64,
    /// The same in bytes.
    size_bytes: u64,
}

impl LongCommand for NamespaceResize {
    const NAME: &'static str = "namespace-resize";
    type Answer = Resized;

    fn begin(&self, device: &mut Device<'_>) -> Result<(), Refusal> {
        let Bytes(bytes) = self.size.bytes()?;
        let shift = block_shift(device, self.nsid)
            .ok_or_else(|| refusal(self.nsid, ResizeError::NoSuchNamespace(self.nsid), device))?;
        if !bytes.is_multiple_of(1 << shift) {
            let block = Bytes(1 << shift);
            return Err(Refusal::new(format!("size={}: give a multiple of the block size, {block}", Bytes(bytes))));
        }
        device.subsystem.resize(self.nsid, bytes >> shift).map_err(|error| refusal(self.nsid, error, device))
    }

    fn ended(&self, device: &mut Device<'_>) -> Option<Result<Resized, Refusal>> {
        let ended = device.subsystem.resized()?;
        Some(ended.map_err(|error| refusal(self.nsid, error, device)).map(|()| {
            let data = device.subsystem.identify_namespace(self.nsid);
            let size_blocks = data.map_or(0, |data| data.nsze.get());
            let shift = block_shift(device, self.nsid).unwrap_or(0);
            Resized { size_blocks, size_bytes: size_blocks << shift }
        }))
    }
}

impl Size {
    fn bytes(&self) -> Result<Bytes, Refusal> {
        match self {
            Self::Number(bytes) => Ok(Bytes(*bytes)),
            Self::Text(text) => text.parse().map_err(|remedy| Refusal::new(format!("size={text}: {remedy}"))),
        }
    }
}

/// log2 of a namespace's block size.
fn block_shift(device: &Device<'_>, nsid: u32) -> Option<u32> {
    let data = device.subsystem.identify_namespace(nsid)?;
    Some(data.lbaf[usize::from(data.flbas & 0xf)].lbads.into())
}

/// In the words of this command.
fn refusal(nsid: u32, error: ResizeError, device: &Device<'_>) -> Refusal {
    let shift = block_shift(device, nsid).unwrap_or(0);
    Refusal::new(match error {
        ResizeError::Size { blocks, most } => {
            let (asked, most) = (Bytes(blocks << shift), Bytes(most << shift));
            format!(
                "size={asked}: namespace {nsid} can have at most {most}, and at least a block; one that is made with \
                 size_max has room to grow"
            )
        }
        ResizeError::NoSuchNamespace(_) => {
            let namespaces = &device.subsystem.config().namespaces;
            let known: Vec<String> = namespaces.iter().map(|namespace| namespace.nsid.to_string()).collect();
            format!("there is no namespace {nsid}: the namespaces are {}", known.join(", "))
        }
        ResizeError::NoPower => "power is off: `power-restore` brings it back".to_owned(),
        other => other.to_string(),
    })
}
