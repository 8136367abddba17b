//! The LBA formats that the media can do, the same list for all namespaces (NVM Command Set 1.1 section 4.1.5.1, LBAF). Hosts choose from
//! it by number when a namespace is made or formatted.

use media::{Space, VolumeShape};

use crate::config::{AtomicWishes, Config};

/// Blocks in the order in which they are offered: what is used most comes first, and with a number that every host can give.
const BLOCKS: [u32; 8] = [512, 4096, 1024, 2048, 8192, 16_384, 32_768, 65_536];
const METADATA: [u32; 4] = [0, 8, 16, 64];
/// What a host has numbers for that does not know of extended LBA formats.
const WITHOUT_EXTENDED: usize = 16;

/// An LBA format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Bytes of data of a block.
    pub block_bytes: u32,
    /// Bytes of metadata beside it.
    pub metadata_bytes: u32,
}

impl Format {
    /// That of a volume.
    #[must_use]
    pub const fn of(shape: &VolumeShape) -> Self {
        Self { block_bytes: shape.block_bytes, metadata_bytes: shape.metadata_bytes }
    }

    /// Whether the media has room for it, and a command can carry a block.
    fn is_possible(self, space: &Space, transfer_bytes_max: usize) -> bool {
        let metadata = space.unit_bytes / self.block_bytes * self.metadata_bytes;
        let carried = (self.block_bytes + self.metadata_bytes) as usize <= transfer_bytes_max;
        self.block_bytes <= space.unit_bytes && metadata <= space.metadata_bytes_per_unit && carried
    }

    /// The most blocks that the media commits as one.
    pub(crate) fn power_atomic_blocks(self, space: &Space) -> u32 {
        (space.power_atomic_bytes / self.block_bytes).max(1)
    }
}

/// The list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Formats(Vec<Format>);

impl Formats {
    /// Those of a media; none where it cannot be formatted.
    pub(crate) fn new(config: &Config, space: Option<Space>) -> Self {
        let Some(space) = space else { return Self::default() };
        let all = BLOCKS
            .iter()
            .flat_map(|&block_bytes| METADATA.map(|metadata_bytes| Format { block_bytes, metadata_bytes }));
        let keeps = |format: &Format| {
            let blocks = format.power_atomic_blocks(&space);
            AtomicWishes::default().resolve(config.atomics, blocks).is_ok()
        };
        let possible = |format: &Format| format.is_possible(&space, config.transfer_bytes_max());
        Self(all.filter(|format| possible(format) && keeps(format)).collect())
    }

    /// Those that a host sees, which has switched extended LBA formats on or has not (LBAFEE).
    pub(crate) fn seen(&self, extended: bool) -> &[Format] {
        if extended { &self.0 } else { &self.0[..self.0.len().min(WITHOUT_EXTENDED)] }
    }

    /// Whether there are none: the media cannot be formatted.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there are more than every host has numbers for.
    pub(crate) fn needs_extended(&self) -> bool {
        self.0.len() > WITHOUT_EXTENDED
    }

    /// The one with a number.
    pub(crate) fn get(&self, number: u8) -> Option<Format> {
        self.0.get(usize::from(number)).copied()
    }

    /// The number of one.
    pub(crate) fn number(&self, format: Format) -> Option<u8> {
        self.0.iter().position(|other| *other == format).and_then(|number| u8::try_from(number).ok())
    }

    /// Whether any has metadata.
    pub(crate) fn have_metadata(&self) -> bool {
        self.0.iter().any(|format| format.metadata_bytes != 0)
    }
}
