//! Blocks that go to the media one slice at a time, because all of them at once would delay everything else.

use media::{Lba, LbaRange};

use super::Units;

/// What is left of some ranges. Nothing is kept of the slices themselves, of which there may be thousands for each command.
#[derive(Debug, Default)]
pub(crate) struct Slices {
    /// The last is the next.
    left: Vec<LbaRange>,
    /// Blocks of a slice, a multiple of `step`.
    blocks: u64,
    /// Where a slice may end: at multiples of this many blocks,
    step: u64,
    /// or at boundaries.
    windows: Option<Units>,
}

impl Slices {
    /// Ranges in slices of about this many blocks, which end at multiples of `step` blocks.
    pub(crate) fn new(mut ranges: Vec<LbaRange>, blocks: u64, step: u64) -> Self {
        ranges.retain(|range| range.blocks != 0);
        ranges.reverse();
        let step = step.max(1);
        Self { left: ranges, blocks: blocks.max(1).next_multiple_of(step), step, windows: None }
    }

    /// The same, where what lies between two boundaries stays whole.
    pub(crate) fn of_windows(range: LbaRange, blocks: u64, windows: Units) -> Self {
        Self { windows: Some(windows), ..Self::new(vec![range], blocks, 1) }
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// Skips blocks at the beginning of the next range: `first` names the first block of a range that matters. False if the range has none;
    /// it is then skipped as a whole.
    pub(crate) fn pass_over(&mut self, first: impl FnOnce(LbaRange) -> Option<Lba>) -> bool {
        let Some(range) = self.left.pop() else { return false };
        let Some(Lba(first)) = first(range) else { return false };
        // Not into the middle of a unit, whose other blocks may count too.
        let start = (first / self.step * self.step).max(range.start.0);
        self.left.push(LbaRange::new(Lba(start), range.start.0.saturating_add(range.blocks) - start));
        true
    }

    /// The next slice.
    pub(crate) fn next(&mut self) -> Option<LbaRange> {
        let range = self.left.pop()?;
        let (start, end) = (range.start.0, range.start.0.saturating_add(range.blocks));
        let cut = self.cut(start).min(end);
        // A rest that is not worth a slice of its own goes along.
        let cut = if self.windows.is_none() && end - cut < self.blocks / 2 { end } else { cut };
        if cut < end {
            self.left.push(LbaRange::new(Lba(cut), end - cut));
        }
        Some(LbaRange::new(range.start, cut - start))
    }

    /// Where a slice that begins at `start` ends.
    fn cut(&self, start: u64) -> u64 {
        let wanted = start.saturating_add(self.blocks);
        match &self.windows {
            None => wanted / self.step * self.step,
            Some(units) => match units.boundary_before(wanted) {
                Some(boundary) if boundary > start => boundary,
                _ => units.next_boundary(start),
            },
        }
    }
}

/// The ranges without those that lie inside another one: a host may name the same blocks as often as it likes.
pub(crate) fn distinct(ranges: &[LbaRange]) -> Vec<LbaRange> {
    let end = |range: &LbaRange| range.start.0.saturating_add(range.blocks);
    let mut sorted: Vec<LbaRange> = ranges.iter().copied().filter(|range| range.blocks != 0).collect();
    sorted.sort_unstable_by_key(|range| (range.start, std::cmp::Reverse(range.blocks)));
    let mut furthest = None;
    sorted.retain(|range| {
        let inside = furthest.is_some_and(|furthest| end(range) <= furthest);
        furthest = furthest.max(Some(end(range)));
        !inside
    });
    sorted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(start: u64, blocks: u64) -> LbaRange {
        LbaRange::new(Lba(start), blocks)
    }

    fn all(mut slices: Slices) -> Vec<LbaRange> {
        std::iter::from_fn(|| slices.next()).collect()
    }

    #[test]
    fn slices_end_where_units_do_and_the_last_is_not_a_small_one() {
        assert_eq!(all(Slices::new(vec![range(3, 40)], 15, 8)), [range(3, 13), range(16, 16), range(32, 11)]);
        assert_eq!(all(Slices::new(vec![range(3, 40), range(0, 0), range(90, 1)], 16, 8)).last(), Some(&range(90, 1)));
        assert_eq!(all(Slices::new(vec![range(0, 24)], 16, 8)), [range(0, 16), range(16, 8)]);
        assert_eq!(all(Slices::new(vec![range(0, 23)], 16, 8)), [range(0, 23)]);
    }

    #[test]
    fn what_lies_between_boundaries_stays_whole() {
        let units = Units { across_blocks: 1, blocks: 4, boundary_blocks: 4, offset: 2, multiple: true };
        assert_eq!(all(Slices::of_windows(range(3, 20), 9, units)), [range(3, 7), range(10, 8), range(18, 5)]);
        assert_eq!(all(Slices::of_windows(range(3, 6), 1, units)), [range(3, 3), range(6, 3)]);
    }

    #[test]
    fn what_does_not_count_is_passed_over() {
        let mut slices = Slices::new(vec![range(3, 400), range(500, 10)], 16, 8);
        assert!(slices.pass_over(|whole| (whole == range(3, 400)).then_some(Lba(101))));
        assert_eq!(slices.next(), Some(range(96, 16)));
        assert!(slices.pass_over(|_| Some(Lba(112))) && !slices.pass_over(|_| None));
        assert_eq!(slices.next(), Some(range(500, 10)));
        assert!(!slices.pass_over(|_| Some(Lba(0))) && slices.is_empty());
    }

    #[test]
    fn blocks_that_are_named_again_are_left_out() {
        let named = [range(8, 4), range(0, 100), range(0, 100), range(90, 20), range(5, 0), range(95, 5)];
        assert_eq!(distinct(&named), [range(0, 100), range(90, 20)]);
        assert_eq!(distinct(&[]), []);
    }

    proptest! {
        #[test]
        fn no_block_is_left_out_or_done_twice(
            start in 0..1000_u64, blocks in 1..3000_u64, size in 1..300_u64, step in 1..40_u64,
            boundary in 1..50_u32, offset in 0..50_u64, windows: bool,
        ) {
            let units = Units { across_blocks: 1, blocks: 1, boundary_blocks: boundary, offset, multiple: true };
            let slices = if windows {
                Slices::of_windows(range(start, blocks), size, units)
            } else {
                Slices::new(vec![range(start, blocks)], size, step)
            };
            let mut at = start;
            for slice in all(slices) {
                prop_assert!(slice.start.0 == at && slice.blocks > 0);
                at += slice.blocks;
                prop_assert!(at == start + blocks || !windows || units.next_boundary(at - 1) == at);
            }
            prop_assert_eq!(at, start + blocks);
        }

        #[test]
        fn leaving_out_loses_nothing(named in prop::collection::vec((0..60_u64, 0..20_u64), 0..12)) {
            let named: Vec<_> = named.into_iter().map(|(start, blocks)| range(start, blocks)).collect();
            let kept = distinct(&named);
            for block in 0..100 {
                let has = |ranges: &[LbaRange]| ranges.iter().any(|other| other.overlaps(range(block, 1)));
                prop_assert_eq!(has(&named), has(&kept));
            }
            prop_assert!(kept.iter().all(|range| named.contains(range)));
        }
    }
}
