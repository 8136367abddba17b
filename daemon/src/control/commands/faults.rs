//! Faults as the socket speaks of them. The lists of media and controller are the only ones: what is shown is what will be met.

use controller::fault::FaultSpec;
use media::fault::CORRECTABLE_BITS;
use media::monitor::Monitor;
use media::{Lba, LbaRange, VolumeId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Device, Refusal};

/// How many blocks one fault may stand for.
pub const BLOCKS_MAX: u64 = 1 << 16;
/// How many faults of the media there may be at a time; a faulty block is one.
pub const FAULTS_MAX: u64 = 1 << 20;

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// Blocks that cannot be read until they are written again.
    UnrecoveredRead {
        /// The namespace.
        nsid: u32,
        /// The first block.
        lba: u64,
        /// How many blocks; 1 if not given.
        #[serde(default = "one")]
        blocks: u64,
    },
    /// Blocks with flipped bits, until they are written again. Up to 72 in a block are corrected and counted; more make it unreadable.
    BitFlips {
        /// The namespace.
        nsid: u32,
        /// The first block.
        lba: u64,
        /// How many blocks; 1 if not given.
        #[serde(default = "one")]
        blocks: u64,
        /// How many bits of each block.
        bits: u32,
    },
    /// A page program that fails: the block goes out of use, its data elsewhere.
    ProgramFailure {
        /// The n-th program from now on; 1, the next one, if not given.
        #[serde(default = "one")]
        nth: u64,
    },
    /// A line erase that fails: the block of one plane goes out of use.
    EraseFailure {
        /// The n-th erase from now on; 1, the next one, if not given.
        #[serde(default = "one")]
        nth: u64,
        /// The plane; 0 if not given.
        #[serde(default)]
        plane: u32,
    },
    /// A fault of the device: of commands, answers, registers, states or interrupts.
    Controller(Box<FaultSpec>),
}

const fn one() -> u64 {
    1
}

/// The volume of a namespace, if the blocks lie in it.
///
/// # Errors
/// There is no such namespace, or there are no such blocks.
pub fn place(device: &mut Device<'_>, nsid: u32, lba: u64, blocks: u64) -> Result<(VolumeId, LbaRange), Refusal> {
    let Some(volume) = device.subsystem.volume_of(nsid) else {
        return Err(Refusal::new(format!("nsid={nsid}: {}", super::namespace_change::known(device))));
    };
    if !(1..=BLOCKS_MAX).contains(&blocks) {
        return Err(Refusal::new(format!("blocks={blocks}: give 1 to {BLOCKS_MAX}")));
    }
    let capacity = device.subsystem.media().shape(volume).map_or(0, |shape| shape.capacity_blocks);
    let range = LbaRange::new(Lba(lba), blocks);
    if !range.fits(capacity) {
        return Err(Refusal::new(format!("lba={lba}, blocks={blocks}: namespace {nsid} has {capacity} blocks")));
    }
    Ok((volume, range))
}

/// The faults that the media will meet. Neighbouring blocks with as many flipped bits are one fault.
pub fn list(monitor: &dyn Monitor, nsid_of: impl Fn(VolumeId) -> u32) -> Vec<Fault> {
    let pending = monitor.faults();
    let mut runs: Vec<(VolumeId, u64, u64, u32)> = Vec::new();
    for (volume, lba, bits) in pending.reads {
        match runs.last_mut() {
            Some((of, first, blocks, flipped)) if *of == volume && *first + *blocks == lba.0 && *flipped == bits => {
                *blocks += 1;
            }
            _ => runs.push((volume, lba.0, 1, bits)),
        }
    }
    let reads = runs.into_iter().map(|(volume, lba, blocks, bits)| {
        let nsid = nsid_of(volume);
        if bits == UNREADABLE_BITS {
            Fault::UnrecoveredRead { nsid, lba, blocks }
        } else {
            Fault::BitFlips { nsid, lba, blocks, bits }
        }
    });
    let programs = pending.programs.into_iter().map(|nth| Fault::ProgramFailure { nth });
    let erases = pending.erases.into_iter().map(|(nth, plane)| Fault::EraseFailure { nth, plane });
    reads.chain(programs).chain(erases).collect()
}

/// How many bits are flipped in a block that shall not be readable: more than could be flipped by count.
pub const UNREADABLE_BITS: u32 = u32::MAX;
const _: () = assert!(UNREADABLE_BITS > CORRECTABLE_BITS);
