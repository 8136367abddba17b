//! What the driver is offered: feature bits and the configuration space (virtio 1.3 sections 5.2.3 and 5.2.4), from the namespace's
//! properties. Only what is implemented is offered.

use zerocopy::IntoBytes;

use crate::geometry::{Geometry, SEGMENTS_MAX};
use crate::request::{DISCARD_SEGMENTS_MAX, ZEROES_SEGMENTS_MAX};
use crate::wire::{BlockConfig, CONFIG_WRITEBACK_OFFSET, Features, SECTOR_SHIFT};

/// How much of a configuration space vhost-user lets a client ask for.
const CONFIG_BYTES_MAX: usize = 256;

/// The feature bits for a disk with this many rings.
#[must_use]
pub fn features(geometry: &Geometry, rings: u16) -> Features {
    let always = Features::SIZE_MAX
        | Features::SEG_MAX
        | Features::BLK_SIZE
        | Features::TOPOLOGY
        | Features::FLUSH
        | Features::INDIRECT_DESC
        | Features::EVENT_IDX
        | Features::PROTOCOL_FEATURES
        | Features::VERSION_1;
    let when = |condition, bits| if condition { bits } else { Features::empty() };
    always
        | when(geometry.write_cache.is_some(), Features::CONFIG_WCE)
        | when(rings > 1, Features::MQ)
        | when(geometry.read_only, Features::RO)
        | when(!geometry.read_only, Features::DISCARD | Features::WRITE_ZEROES)
}

/// The configuration space, with the write cache as it is.
#[must_use]
pub fn config(geometry: &Geometry, rings: u16, writeback: bool) -> BlockConfig {
    let shift = geometry.limits.block_shift;
    let sectors = |blocks: u64| blocks << (shift - SECTOR_SHIFT);
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let block_sectors = sectors(1);
    // The longest length of a segment is 32 bits of sectors, in whole blocks.
    let sectors_max = u64::from(u32::MAX) / block_sectors * block_sectors;
    BlockConfig {
        capacity: sectors(geometry.limits.blocks).into(),
        size_max: narrow(geometry.transfer_bytes_max).into(),
        seg_max: SEGMENTS_MAX.into(),
        blk_size: (1_u32 << shift).into(),
        physical_block_exp: u8::try_from(geometry.physical_blocks.ilog2()).unwrap_or(0),
        min_io_size: u16::try_from(geometry.minimum_blocks).unwrap_or(u16::MAX).into(),
        opt_io_size: narrow(geometry.optimal_blocks).into(),
        writeback: writeback.into(),
        num_queues: rings.into(),
        max_discard_sectors: narrow(sectors_max).into(),
        max_discard_seg: narrow(DISCARD_SEGMENTS_MAX as u64).into(),
        discard_sector_alignment: narrow(sectors(geometry.discard_blocks)).into(),
        max_write_zeroes_sectors: narrow(sectors_max).into(),
        max_write_zeroes_seg: narrow(ZEROES_SEGMENTS_MAX as u64).into(),
        write_zeroes_may_unmap: 1,
        ..BlockConfig::default()
    }
}

/// A part of the configuration space; behind the fields that are served it is zero.
#[must_use]
pub fn read_config(config: &BlockConfig, offset: u32, length: u32) -> Option<Vec<u8>> {
    let mut space = [0; CONFIG_BYTES_MAX];
    let served = config.as_bytes();
    space.get_mut(..served.len())?.copy_from_slice(served);
    let first = usize::try_from(offset).ok()?;
    let end = first.checked_add(usize::try_from(length).ok()?)?;
    space.get(first..end).map(<[u8]>::to_vec)
}

/// What a write to the configuration space makes of the write cache: only that byte may be written.
#[must_use]
pub fn written_cache(offset: u32, bytes: &[u8]) -> Option<bool> {
    match (offset, bytes) {
        (CONFIG_WRITEBACK_OFFSET, [enabled]) => Some(*enabled != 0),
        _ => None,
    }
}
