//! Sizes and alignment of accesses.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// As many sizes are told apart.
const SIZES_MAX: usize = 4096;
/// Alignments that are told apart: 512 bytes to 1 MiB, as powers of two.
pub(super) const SHIFTS: std::ops::RangeInclusive<u32> = 9..=20;

/// See the file's text.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    sizes: BTreeMap<u64, u64>,
    /// Accesses whose size is none of these.
    other_sizes: u64,
    /// By the largest power of two that divides offset and length.
    aligned: BTreeMap<u32, u64>,
    accesses: u64,
}

impl Shape {
    /// An access of at least a byte.
    pub fn access(&mut self, offset: u64, length: u64) {
        self.accesses += 1;
        let shift = (offset | length).trailing_zeros().clamp(*SHIFTS.start(), *SHIFTS.end());
        *self.aligned.entry(shift).or_default() += 1;
        let room = self.sizes.len() < SIZES_MAX;
        match self.sizes.entry(length) {
            Entry::Occupied(mut count) => *count.get_mut() += 1,
            Entry::Vacant(new) if room => *new.insert(0) += 1,
            Entry::Vacant(_) => self.other_sizes += 1,
        }
    }

    pub const fn accesses(&self) -> u64 {
        self.accesses
    }

    /// Sizes with their counts, ascending, and the accesses of other sizes.
    pub fn sizes(&self) -> (impl Iterator<Item = (u64, u64)>, u64) {
        (self.sizes.iter().map(|(size, count)| (*size, *count)), self.other_sizes)
    }

    /// The sizes that are met most often, the most frequent first.
    pub fn frequent(&self, most: usize) -> Vec<(u64, u64)> {
        let mut all: Vec<(u64, u64)> = self.sizes().0.collect();
        all.sort_by_key(|&(size, count)| (std::cmp::Reverse(count), size));
        all.truncate(most);
        all
    }

    /// How many accesses are aligned to 2^`shift` bytes or more, offset and length.
    pub fn aligned(&self, shift: u32) -> u64 {
        self.aligned.range(shift..).map(|(_, count)| count).sum()
    }
}
