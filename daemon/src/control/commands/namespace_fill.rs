//! `namespace-fill`.

use std::cell::Cell;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Device, LongCommand, Refusal};
use crate::stamps;

/// Bytes that are done between two steps of the device.
pub(super) const SLICE_BYTES: u64 = 256 << 10;

/// Fills blocks with stamps that say which block each is, past the host. `namespace-verify` finds out later where they got to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NamespaceFill {
    /// Namespace identifier.
    nsid: u32,
    /// The first block.
    #[serde(default)]
    lba: u64,
    /// How many.
    blocks: u64,
    /// Tells this filling from others.
    #[serde(default)]
    seed: u64,
    /// Blocks that are done.
    #[serde(skip)]
    done: Cell<u64>,
}

/// What was filled.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Filled {
    /// Blocks.
    blocks: u64,
    /// Bytes of each.
    block_bytes: u64,
}

/// Bytes of a block of a namespace that has so many.
pub(super) fn block_bytes(device: &Device<'_>, nsid: u32, lba: u64, blocks: u64) -> Result<u64, Refusal> {
    let data = device.subsystem.identify_namespace(nsid).ok_or_else(|| {
        Refusal::new(format!("there is no namespace {nsid}: {}", super::namespace_change::known(device)))
    })?;
    let most = data.nsze.get();
    if blocks == 0 || lba.checked_add(blocks).is_none_or(|end| end > most) {
        return Err(Refusal::new(format!("namespace {nsid} has {most} blocks: give lba and blocks within it")));
    }
    Ok(1 << data.format().lbads)
}

/// The same as an index.
pub(super) fn index(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

impl LongCommand for NamespaceFill {
    const NAME: &'static str = "namespace-fill";
    type Answer = Filled;

    fn begin(&self, device: &mut Device<'_>) -> Result<(), Refusal> {
        block_bytes(device, self.nsid, self.lba, self.blocks).map(|_| ())
    }

    fn ended(&self, device: &mut Device<'_>) -> Option<Result<Filled, Refusal>> {
        let mut step = || {
            let block_bytes = block_bytes(device, self.nsid, self.lba, self.blocks)?;
            let (done, slice) = (self.done.get(), (SLICE_BYTES / block_bytes).max(1));
            let count = slice.min(self.blocks - done);
            let mut bytes = vec![0; index(count * block_bytes)];
            stamps::fill(&mut bytes, index(block_bytes), self.nsid, self.lba + done, self.seed);
            let written = device.subsystem.write_blocks(self.nsid, self.lba + done, &bytes);
            written.map_err(|error| Refusal::new(error.to_string()))?;
            self.done.set(done + count);
            Ok((done + count == self.blocks).then_some(Filled { blocks: self.blocks, block_bytes }))
        };
        step().transpose()
    }
}
