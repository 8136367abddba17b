//! A coarse count of held ranges of blocks: a check of a few instructions that saves most commands the exact one.

use media::{LbaRange, VolumeId};

/// Counters; a power of two.
const PLACES: usize = 1024;
/// log2 of the neighbouring blocks that share a counter.
const BLOCKS_SHIFT: u32 = 6;
/// A range over more counters counts as everywhere.
const COUNTERS_MAX: u64 = 64;

/// How many ranges are held in each of some places, onto which the blocks of all volumes are folded. No range is overlooked; one that
/// lies elsewhere may be taken for one that overlaps.
#[derive(Debug)]
pub(super) struct Coarse {
    held: Box<[u32; PLACES]>,
    everywhere: u32,
}

impl Default for Coarse {
    fn default() -> Self {
        Self { held: Box::new([0; PLACES]), everywhere: 0 }
    }
}

impl Coarse {
    pub(super) fn insert(&mut self, volume: VolumeId, range: LbaRange) {
        match counters(range) {
            Some((first, last)) => (first..=last).for_each(|counter| self.held[place(volume, counter)] += 1),
            None => self.everywhere += 1,
        }
    }

    /// Takes away a range that was inserted.
    pub(super) fn remove(&mut self, volume: VolumeId, range: LbaRange) {
        match counters(range) {
            Some((first, last)) => (first..=last).for_each(|counter| self.held[place(volume, counter)] -= 1),
            None => self.everywhere -= 1,
        }
    }

    /// Whether a range that is held may overlap this one.
    #[inline]
    pub(super) fn may_overlap(&self, volume: VolumeId, range: LbaRange) -> bool {
        let Some((first, last)) = counters(range) else { return true };
        self.everywhere != 0 || (first..=last).any(|counter| self.held[place(volume, counter)] != 0)
    }
}

/// The first and the last counter of a range of at least one block; `None` where there are too many.
#[inline]
fn counters(range: LbaRange) -> Option<(u64, u64)> {
    let last = range.start.0.saturating_add(range.blocks.saturating_sub(1));
    let (first, last) = (range.start.0 >> BLOCKS_SHIFT, last >> BLOCKS_SHIFT);
    (last - first < COUNTERS_MAX).then_some((first, last))
}

/// Where a counter of a volume lies: neighbours side by side, the volumes apart.
#[inline]
fn place(volume: VolumeId, counter: u64) -> usize {
    let apart = u64::from(volume.0).wrapping_mul(0x9e37_79b9);
    usize::try_from(counter.wrapping_add(apart) % PLACES as u64).expect("there are not so many places")
}

#[cfg(test)]
mod tests {
    use media::Lba;
    use proptest::prelude::*;

    use super::*;

    fn range() -> impl Strategy<Value = (VolumeId, LbaRange)> {
        let start = prop_oneof![0..500_u64, Just(u64::MAX - 5), any::<u64>()];
        let blocks = prop_oneof![1..10_u64, 1..20_000_u64];
        (0..3_u32, start, blocks)
            .prop_map(|(volume, start, blocks)| (VolumeId(volume), LbaRange::new(Lba(start), blocks)))
    }

    proptest! {
        #[test]
        fn nothing_that_overlaps_is_overlooked(held in proptest::collection::vec(range(), 0..20), asked in range(), gone in 0_usize..20) {
            let mut coarse = Coarse::default();
            held.iter().for_each(|(volume, range)| coarse.insert(*volume, *range));
            let gone = gone.min(held.len());
            held[..gone].iter().for_each(|(volume, range)| coarse.remove(*volume, *range));
            let overlaps = held[gone..].iter().any(|(volume, range)| *volume == asked.0 && range.overlaps(asked.1));
            prop_assert!(!overlaps || coarse.may_overlap(asked.0, asked.1));
            held[gone..].iter().for_each(|(volume, range)| coarse.remove(*volume, *range));
            prop_assert!(coarse.everywhere == 0 && coarse.held.iter().all(|count| *count == 0), "each is counted once");
        }
    }

    #[test]
    fn the_last_block_of_a_range_counts_and_so_does_a_part_of_the_range_asked_about() {
        let mut coarse = Coarse::default();
        let range = |start, blocks| LbaRange::new(Lba(start), blocks);
        coarse.insert(VolumeId(0), range(63, 2));
        assert!(coarse.may_overlap(VolumeId(0), range(64, 1)), "its last block is the first of the next counter");
        assert!(coarse.may_overlap(VolumeId(0), range(0, 64 * 10)), "most of it meets nothing");
        assert!(!coarse.may_overlap(VolumeId(0), range(128, 64)));
    }

    #[test]
    fn what_lies_elsewhere_is_mostly_told_apart() {
        let mut coarse = Coarse::default();
        let write = |n: u64| LbaRange::new(Lba(n * 100_000), 8);
        (0..64).for_each(|n| coarse.insert(VolumeId(0), write(n)));
        let met = (0..10_000).filter(|n| coarse.may_overlap(VolumeId(0), LbaRange::new(Lba(n * 977), 8))).count();
        assert!((1..1_500).contains(&met), "{met}");
        assert!(
            !coarse.may_overlap(VolumeId(0), LbaRange::new(Lba(64), 8)) && coarse.may_overlap(VolumeId(0), write(3))
        );
    }
}
