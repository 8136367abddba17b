//! `namespace-verify`.

use std::cell::{Cell, RefCell};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::namespace_fill::{SLICE_BYTES, block_bytes, index};
use super::{Device, LongCommand, Refusal};
use crate::stamps;

/// As many wrong blocks are described.
const DESCRIBED: usize = 16;

/// Looks, past the host, whether blocks hold the stamps of others: of those that a host was to copy there.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NamespaceVerify {
    /// Namespace identifier.
    nsid: u32,
    /// The first block to look at.
    #[serde(default)]
    lba: u64,
    /// How many.
    blocks: u64,
    /// The block whose stamp the first one should hold; the first one itself if not given.
    of_lba: Option<u64>,
    /// The namespace of those blocks; the same one if not given.
    of_nsid: Option<u32>,
    /// The seed that they were filled with.
    #[serde(default)]
    seed: u64,
    #[serde(skip)]
    done: Cell<u64>,
    #[serde(skip)]
    wrong: Cell<u64>,
    #[serde(skip)]
    described: RefCell<Vec<WrongBlock>>,
}

/// A block that holds something else.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct WrongBlock {
    lba: u64,
    /// What it holds.
    holds: String,
}

/// What was found.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Verified {
    /// Blocks that were looked at.
    blocks: u64,
    /// How many of them hold something else.
    wrong: u64,
    /// The first of those.
    first: Vec<WrongBlock>,
}

impl LongCommand for NamespaceVerify {
    const NAME: &'static str = "namespace-verify";
    type Answer = Verified;

    fn begin(&self, device: &mut Device<'_>) -> Result<(), Refusal> {
        block_bytes(device, self.nsid, self.lba, self.blocks).map(|_| ())
    }

    fn ended(&self, device: &mut Device<'_>) -> Option<Result<Verified, Refusal>> {
        let mut step = || {
            let block_bytes = block_bytes(device, self.nsid, self.lba, self.blocks)?;
            let (done, slice) = (self.done.get(), (SLICE_BYTES / block_bytes).max(1));
            let count = slice.min(self.blocks - done);
            let mut bytes = vec![0; index(count * block_bytes)];
            let first = self.lba + done;
            let read = device.subsystem.read_blocks(self.nsid, first, &mut bytes);
            read.map_err(|error| Refusal::new(error.to_string()))?;
            let (of, nsid) = (self.of_lba.unwrap_or(self.lba) + done, self.of_nsid.unwrap_or(self.nsid));
            for (number, holds) in stamps::wrong(&bytes, index(block_bytes), nsid, of, self.seed) {
                self.wrong.set(self.wrong.get() + 1);
                let mut described = self.described.borrow_mut();
                if described.len() < DESCRIBED {
                    described.push(WrongBlock { lba: first + number, holds });
                }
            }
            self.done.set(done + count);
            let over = done + count == self.blocks;
            Ok(over.then(|| Verified { blocks: self.blocks, wrong: self.wrong.get(), first: self.described.take() }))
        };
        step().transpose()
    }
}
