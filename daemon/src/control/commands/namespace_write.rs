//! `namespace-write`.

use controller::fault::HexBytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::namespace_fill::{block_bytes, index};
use super::{Device, Execute, Refusal};

/// Writes bytes, past the host: a boot sector, or a file system for firmware to boot from. A message limits how many at once.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NamespaceWrite {
    /// Namespace identifier.
    nsid: u32,
    /// The first byte. The rest of its block, and of the last one, stays as it is.
    #[serde(default)]
    offset: u64,
    /// Pairs of hexadecimal digits.
    bytes: HexBytes,
}

/// What was written.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Written {
    /// Bytes.
    bytes: u64,
}

impl Execute for NamespaceWrite {
    const NAME: &'static str = "namespace-write";
    type Answer = Written;

    fn execute(self, device: &mut Device<'_>) -> Result<Written, Refusal> {
        let Self { nsid, offset, bytes: HexBytes(bytes) } = self;
        let block = block_bytes(device, nsid, 0, 1)?;
        let (count, first) = (bytes.len() as u64, offset / block);
        let Some(end) = offset.checked_add(count).filter(|_| count > 0) else {
            return Err(Refusal::new("give bytes, and where the first goes"));
        };
        let blocks = end.div_ceil(block) - first;
        block_bytes(device, nsid, first, blocks)?;
        let refuse = |error: controller::direct::DirectError| Refusal::new(error.to_string());
        let mut whole = vec![0; index(blocks * block)];
        device.subsystem.read_blocks(nsid, first, &mut whole).map_err(refuse)?;
        whole[index(offset - first * block)..][..bytes.len()].copy_from_slice(&bytes);
        device.subsystem.write_blocks(nsid, first, &whole).map_err(refuse)?;
        Ok(Written { bytes: count })
    }
}
