//! Faults of the media as data: which programs and erases fail, which blocks cannot be read. Overlays over bytes that stay as they
//! are, so that a fault can be lifted; empty by default, and then the code that runs is the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::unit::{Lba, LbaRange};
use crate::volume::VolumeId;

/// How many flipped bits of a block the error correction repairs.
pub const CORRECTABLE_BITS: u32 = 72;

/// Program and erase failures to come, by ordinal (from 1, counted since the media was opened).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NandFaults {
    /// Page programs that fail.
    pub programs: BTreeSet<u64>,
    /// Line erases that fail, and in which plane.
    pub erases: BTreeMap<u64, u32>,
}

/// Flipped bits per block: what a read of the block meets until the block is written again or the fault is lifted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadFaults {
    bits: BTreeMap<(VolumeId, u64), u32>,
}

/// The faults that a drive will meet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PendingFaults {
    /// Blocks with flipped bits, in order: volume, block, bits.
    pub reads: Vec<(VolumeId, Lba, u32)>,
    /// Page programs that will fail, in order: the n-th from now on, from 1.
    pub programs: Vec<u64>,
    /// Line erases that will fail, in order: the n-th from now on, from 1, and in which plane.
    pub erases: Vec<(u64, u32)>,
}

/// How a read of blocks ends under the overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadVerdict {
    /// Every block is readable; so many needed correction.
    Readable {
        /// Blocks that were corrected.
        corrected: u64,
    },
    /// This block, the first of its kind, is not.
    Unrecovered(Lba),
}

impl ReadFaults {
    /// Whether there is no fault at all: the only question that a healthy media asks.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bits.is_empty()
    }

    /// Flips `bits` bits of a block; more than [`CORRECTABLE_BITS`] make it unreadable. 0 lifts the fault.
    pub fn set(&mut self, volume: VolumeId, lba: Lba, bits: u32) {
        if bits == 0 {
            self.bits.remove(&(volume, lba.0));
        } else {
            self.bits.insert((volume, lba.0), bits);
        }
    }

    /// Lifts the faults of a range: its blocks were written or deallocated, or somebody asked for it.
    pub fn heal(&mut self, volume: VolumeId, range: LbaRange) {
        let end = range.start.0.saturating_add(range.blocks);
        let healed: Vec<_> = self.bits.range((volume, range.start.0)..(volume, end)).map(|(&key, _)| key).collect();
        for key in healed {
            self.bits.remove(&key);
        }
    }

    /// Every block with flipped bits, in order: volume, block, bits.
    pub fn iter(&self) -> impl Iterator<Item = (VolumeId, Lba, u32)> + '_ {
        self.bits.iter().map(|(&(volume, lba), &bits)| (volume, Lba(lba), bits))
    }

    /// What a read of a range meets.
    #[must_use]
    pub fn verdict(&self, volume: VolumeId, range: LbaRange) -> ReadVerdict {
        let end = range.start.0.saturating_add(range.blocks);
        let mut corrected = 0;
        for (&(_, lba), &bits) in self.bits.range((volume, range.start.0)..(volume, end)) {
            if bits > CORRECTABLE_BITS {
                return ReadVerdict::Unrecovered(Lba(lba));
            }
            corrected += 1;
        }
        ReadVerdict::Readable { corrected }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_corrected_up_to_the_budget_unreadable_above_it_and_heals() {
        let mut faults = ReadFaults::default();
        let volume = VolumeId(1);
        faults.set(volume, Lba(5), CORRECTABLE_BITS);
        faults.set(volume, Lba(7), CORRECTABLE_BITS + 1);
        assert_eq!(faults.verdict(volume, LbaRange::new(Lba(0), 7)), ReadVerdict::Readable { corrected: 1 });
        assert_eq!(faults.verdict(volume, LbaRange::new(Lba(0), 8)), ReadVerdict::Unrecovered(Lba(7)));
        assert_eq!(faults.verdict(VolumeId(0), LbaRange::new(Lba(0), 8)), ReadVerdict::Readable { corrected: 0 });
        faults.heal(volume, LbaRange::new(Lba(6), u64::MAX));
        assert_eq!(faults.verdict(volume, LbaRange::new(Lba(7), 1)), ReadVerdict::Readable { corrected: 0 });
        faults.set(volume, Lba(5), 0);
        assert!(faults.is_empty());
    }
}
