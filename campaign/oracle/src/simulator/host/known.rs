//! What a host knows of a namespace from Identify, and how its blocks lie in a buffer.

use nvme_spec::identify;

use crate::inventory::Format;
use crate::parameters::{Fields, Parameters};
use crate::stamp::{Found, Stamp};

/// RESCAP: Persist Through Power Loss.
const PERSISTENCE: u8 = 1 << 0;

/// What Identify says of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its blocks.
    pub blocks: u64,
    /// Its effective atomic sizes.
    pub parameters: Parameters,
    /// The controller has a volatile write cache.
    pub cached: bool,
    /// Its registrations can persist through a power loss.
    pub persistent: bool,
    block_bytes: usize,
    metadata_bytes: usize,
    extended: bool,
}

impl Known {
    pub(super) fn of(controller: &identify::Controller, namespace: &identify::Namespace) -> Self {
        let format = namespace.format();
        Self {
            blocks: namespace.nsze.get(),
            parameters: Fields::of(controller, namespace).into(),
            cached: controller.write_cache().contains(identify::WriteCache::PRESENT),
            persistent: namespace.rescap & PERSISTENCE != 0,
            block_bytes: 1 << format.lbads,
            metadata_bytes: format.ms.get().into(),
            extended: namespace.has_extended_metadata(),
        }
    }

    /// Bytes from one block to the next in a data buffer, and those of the metadata that is apart.
    pub(super) const fn strides(&self) -> (usize, usize) {
        if self.extended {
            (self.block_bytes + self.metadata_bytes, 0)
        } else {
            (self.block_bytes, self.metadata_bytes)
        }
    }

    /// Data, and metadata that is apart, of blocks of zeroes and stamps.
    pub(super) fn stamped(&self, blocks: impl ExactSizeIterator<Item = Found>) -> (Vec<u8>, Vec<u8>) {
        let (stride, apart) = self.strides();
        let (mut data, mut metadata) = (vec![0; blocks.len() * stride], vec![0; blocks.len() * apart]);
        for (n, block) in blocks.enumerate() {
            let (stamp, beside_it) = match block {
                Found::Stamp(stamp) => (stamp, stamp),
                Found::WrongMetadata(stamp) => (stamp, Stamp { command: !stamp.command, ..stamp }),
                _ => continue,
            };
            let (bytes, beside) = data[n * stride..][..stride].split_at_mut(self.block_bytes);
            stamp.fill(bytes);
            beside_it.fill_metadata(if self.extended { beside } else { &mut metadata[n * apart..][..apart] });
        }
        (data, metadata)
    }

    pub(super) fn look(&self, data: &[u8], metadata: &[u8]) -> Vec<Found> {
        let (stride, apart) = self.strides();
        let each = data.chunks_exact(stride).enumerate();
        each.map(|(n, bytes)| {
            let (block, beside) = bytes.split_at(self.block_bytes);
            Found::look(block, if self.extended { beside } else { &metadata[n * apart..][..apart] })
        })
        .collect()
    }

    /// Whether its blocks have metadata.
    pub(super) const fn has_metadata(&self) -> bool {
        self.metadata_bytes != 0
    }

    /// Its format.
    pub(super) fn format(&self) -> Format {
        let bytes = |count: usize| u32::try_from(count).expect("a block is small");
        Format {
            block_bytes: bytes(self.block_bytes),
            metadata_bytes: bytes(self.metadata_bytes),
            extended: self.extended,
        }
    }
}
