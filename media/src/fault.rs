//! Faults of the media as data: which programs and erases fail, which blocks cannot be read, which promises are broken. They are overlays:
//! the bytes below stay as they are, so a fault can be lifted. By default there are none, and then the same code runs.

use std::collections::{BTreeMap, BTreeSet};

use crate::unit::{Lba, LbaRange, Nanoseconds};
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

/// Ways in which a drive breaks its promises, for testing what stands above it. All off is the only honest drive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Misbehaviour {
    /// A flush is answered, and nothing is made durable.
    pub ignored_flush: bool,
    /// A forced write is answered as if it were durable, and stays in the cache.
    pub ignored_fua: bool,
    /// A power loss tears writes inside the atomic unit: the first half of their blocks is there.
    pub shorn_write: bool,
    /// Writes that meet in the cache mix: of the later one every second block is dropped.
    pub unserialisable: bool,
    /// One write in [`MISDIRECTED_ONE_IN`] goes to the blocks beside its own.
    pub misdirected_write: bool,
    /// Recovery forgets the younger half of what it should repeat.
    pub stale_map: bool,
    /// What a flush or a forced write promises is durable only [`LATE_LOSS_WINDOW`] later.
    pub late_loss: bool,
}

/// See [`Misbehaviour::misdirected_write`].
pub const MISDIRECTED_ONE_IN: u64 = 16;
/// See [`Misbehaviour::late_loss`].
pub const LATE_LOSS_WINDOW: Nanoseconds = Nanoseconds(10_000_000);

impl Misbehaviour {
    /// The names of all ways to misbehave.
    pub const NAMES: [&'static str; 7] = [
        "ignored-flush",
        "ignored-fua",
        "shorn-write",
        "unserialisable",
        "misdirected-write",
        "stale-map",
        "late-loss",
    ];

    /// Whether writes are carried out otherwise than asked.
    #[must_use]
    #[inline]
    pub const fn changes_writes(&self) -> bool {
        self.unserialisable || self.misdirected_write
    }

    /// The switch of a name.
    fn switch(&mut self, name: &str) -> Option<&mut bool> {
        let switches = [
            &mut self.ignored_flush,
            &mut self.ignored_fua,
            &mut self.shorn_write,
            &mut self.unserialisable,
            &mut self.misdirected_write,
            &mut self.stale_map,
            &mut self.late_loss,
        ];
        Self::NAMES.into_iter().zip(switches).find(|(of, _)| *of == name).map(|(_, switch)| switch)
    }

    /// Switches one on by its name; `false` where there is no such name.
    pub fn switch_on(&mut self, name: &str) -> bool {
        self.switch(name).map(|switch| *switch = true).is_some()
    }

    /// The names of those that are on.
    #[must_use]
    pub fn names(mut self) -> Vec<&'static str> {
        Self::NAMES.into_iter().filter(|name| self.switch(name).is_some_and(|switch| *switch)).collect()
    }
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
    /// Every block is readable; this many needed correction.
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
    fn each_misbehaviour_has_a_name_and_is_off_until_it_is_named() {
        assert!(Misbehaviour::default().names().is_empty());
        for name in Misbehaviour::NAMES {
            let mut misbehaviour = Misbehaviour::default();
            assert!(misbehaviour.switch_on(name) && !misbehaviour.switch_on("honest"));
            assert_eq!(misbehaviour.names(), [name]);
        }
    }

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
