//! Blocks that are made uncorrectable, and copies, in the model: what a block shows is the order of the write that its contents come from,
//! and the block for which they were written where that is another one.

use media::volume::{MediaError, Request};
use media::{Lba, LbaRange};

use super::{Crash, Harness, word};

/// What an uncorrectable block shows.
pub const UNCORRECTABLE: u64 = u64::MAX;

/// Below this bit is the order of a write, above it the block that it was for, plus one.
const ORIGIN_SHIFT: u32 = 40;

/// What a block shows that holds what was written to block `origin`.
pub fn shown(order: u64, origin: u64, lba: u64) -> u64 {
    if order == 0 || origin == lba { order } else { order | (origin + 1) << ORIGIN_SHIFT }
}

/// The block for which the contents of `data` were made, if it is one of `volume` at all.
pub fn origin(data: &[u8], volume: usize, lba: u64) -> u64 {
    let [order, next] = [0, 8].map(|at| u64::from_le_bytes(data[at..at + 8].try_into().unwrap()));
    if order == 0 {
        return lba;
    }
    (next.wrapping_sub(1) ^ word(order, volume, 0, 1).wrapping_sub(1)) >> 8
}

impl<S: Crash> Harness<S> {
    pub fn uncorrectable(&mut self, volume: usize) {
        let range = self.random_range(volume);
        self.order += 1;
        let outcome = self.submit(volume, Request::WriteUncorrectable { range });
        self.note(format!("{}: uncorrectable {volume} {range:?}: {outcome:?}", self.order));
        self.after_change(volume, range, UNCORRECTABLE, false, outcome);
    }

    pub fn copy(&mut self, volume: usize) {
        let sources: Vec<_> = (0..=self.random.below(3)).map(|_| self.random_range(volume)).collect();
        let blocks = sources.iter().map(|source| source.blocks).sum();
        let capacity = self.config.volumes[volume].capacity_blocks;
        if blocks > capacity {
            return;
        }
        let to = self.random.below(capacity - blocks + 1);
        let force = self.random.below(8) == 0;
        self.order += 1;
        let outcome = self.submit(volume, Request::Copy { sources: &sources, to: Lba(to), force });
        self.note(format!("{}: copy {volume} {sources:?} to {to} force {force}: {outcome:?}", self.order));
        let lbas = sources.iter().flat_map(|source| source.start.0..source.start.0 + source.blocks);
        let held: Vec<_> =
            lbas.map(|lba| (lba, self.blocks[volume][lba as usize].versions.last().unwrap().1)).collect();
        if let Some(&(lba, _)) = held.iter().find(|(_, value)| *value == UNCORRECTABLE) {
            let unread = Err(MediaError::UnrecoveredRead { first: Lba(lba) });
            if outcome != unread && outcome != Err(MediaError::PowerLost) {
                self.fail(&format!("an uncorrectable block was copied: {outcome:?}"));
            }
            return;
        }
        let order = |value: u64| value & ((1 << ORIGIN_SHIFT) - 1);
        let from = |lba: u64, value: u64| (value >> ORIGIN_SHIFT).checked_sub(1).unwrap_or(lba);
        let values = (to..).zip(held).map(|(target, (lba, value))| shown(order(value), from(lba, value), target));
        let values: Vec<_> = values.collect();
        self.after_changes(volume, LbaRange::new(Lba(to), blocks), &values, force, outcome);
    }
}
