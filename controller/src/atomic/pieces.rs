//! What of a command is atomic: the whole of it, what lies between two boundaries, or each block by itself (NVM Command Set 1.1 sections
//! 2.1.4.2 to 2.1.4.5; B163 to B167).

use media::{Lba, LbaRange};

/// The units that hold at a time: those of normal operation, or those of a power loss where Disable Normal is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Units {
    /// Blocks that are atomic even across a boundary: the controller's unit.
    pub(crate) across_blocks: u32,
    /// Blocks that are atomic between two boundaries.
    pub(crate) blocks: u32,
    /// Blocks from one boundary to the next; 0 is none.
    pub(crate) boundary_blocks: u32,
    /// The block of the first boundary.
    pub(crate) offset: u64,
    /// A write that crosses boundaries is atomic between each two.
    pub(crate) multiple: bool,
}

/// The most pieces of a command: a host may have many commands of 65536 blocks under way.
const PIECES_MAX: usize = 256;

/// What a command falls apart into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pieces {
    /// Nothing: it is atomic, or its parts are not told from each other.
    Whole,
    /// What lies between two boundaries.
    Windows,
    /// Its blocks.
    Blocks,
}

impl Units {
    /// The last boundary at or before a block, if there is one.
    pub(super) fn boundary_before(&self, lba: u64) -> Option<u64> {
        let size = u64::from(self.boundary_blocks);
        let beyond = lba.checked_sub(self.offset).filter(|_| size != 0)?;
        Some(self.offset + beyond / size * size)
    }

    /// The first boundary behind a block.
    pub(super) fn next_boundary(&self, lba: u64) -> u64 {
        let size = u64::from(self.boundary_blocks);
        match lba.checked_sub(self.offset) {
            _ if size == 0 => u64::MAX,
            None => self.offset,
            Some(beyond) => self.offset.saturating_add((beyond / size + 1).saturating_mul(size)),
        }
    }

    /// Whether the boundaries are the same.
    pub(crate) fn has_edges_of(&self, other: &Self) -> bool {
        (self.boundary_blocks, self.offset) == (other.boundary_blocks, other.offset)
    }

    /// Whether a boundary lies inside the range.
    pub(crate) fn crosses(&self, range: LbaRange) -> bool {
        self.next_boundary(range.start.0) < range.start.0.saturating_add(range.blocks)
    }

    /// What a write falls apart into.
    pub(crate) fn of_write(&self, range: LbaRange) -> Pieces {
        let crosses = self.crosses(range);
        if range.blocks <= u64::from(self.across_blocks) || (range.blocks <= u64::from(self.blocks) && !crosses) {
            Pieces::Whole
        } else if self.multiple {
            Pieces::Windows
        } else {
            Pieces::Blocks
        }
    }

    /// What a read falls apart into, if no write that is atomic shall be seen in part: such a write may lie anywhere, unless it is one
    /// block or keeps between boundaries.
    pub(crate) fn of_read(&self, range: LbaRange) -> Pieces {
        if self.blocks <= 1 && !self.multiple && range.blocks > 1 {
            Pieces::Blocks
        } else if self.across_blocks <= 1 && self.crosses(range) {
            Pieces::Windows
        } else {
            Pieces::Whole
        }
    }

    /// The pieces of a range, in ascending order; neighbours stay together where they would be more than [`PIECES_MAX`].
    pub(crate) fn split(&self, range: LbaRange, pieces: Pieces) -> Vec<LbaRange> {
        let split = self.split_all(range, pieces);
        let together = split.len().div_ceil(PIECES_MAX).max(1);
        let join = |run: &[LbaRange]| LbaRange::new(run[0].start, run.iter().map(|piece| piece.blocks).sum());
        split.chunks(together).map(join).collect()
    }

    fn split_all(&self, range: LbaRange, pieces: Pieces) -> Vec<LbaRange> {
        let end = range.start.0 + range.blocks;
        let mut split = Vec::new();
        let mut at = range.start.0;
        while at < end {
            let next = match pieces {
                Pieces::Whole => end,
                Pieces::Windows => self.next_boundary(at).min(end),
                Pieces::Blocks => at + 1,
            };
            split.push(LbaRange::new(Lba(at), next - at));
            at = next;
        }
        split
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Units = Units { across_blocks: 1, blocks: 4, boundary_blocks: 0, offset: 0, multiple: false };

    fn range(start: u64, blocks: u64) -> LbaRange {
        LbaRange::new(Lba(start), blocks)
    }

    /// B163, B164: up to the unit a write is whole, above it is not.
    #[test]
    fn a_write_up_to_the_unit_is_whole() {
        assert_eq!(PLAIN.of_write(range(1, 4)), Pieces::Whole);
        assert_eq!(PLAIN.of_write(range(1, 5)), Pieces::Blocks);
        assert_eq!(PLAIN.split(range(7, 3), Pieces::Blocks), [range(7, 1), range(8, 1), range(9, 1)]);
    }

    /// C1: edges lie at the offset and at every size from there; blocks below the offset form a short first window. Sizes need not be
    /// powers of two.
    #[test]
    fn a_write_that_crosses_a_boundary_is_not_whole() {
        let units = Units { boundary_blocks: 6, offset: 5, ..PLAIN };
        for (start, blocks, crosses) in [(0, 4, false), (1, 4, false), (2, 4, true), (5, 4, false), (7, 4, false)] {
            assert_eq!(units.crosses(range(start, blocks)), crosses, "{start} {blocks}");
        }
        assert!(units.crosses(range(8, 4)) && !units.crosses(range(11, 4)));
        assert_eq!(units.of_write(range(8, 4)), Pieces::Blocks);
        let across = Units { across_blocks: 3, ..units };
        assert_eq!(across.of_write(range(9, 3)), Pieces::Whole, "the controller's unit holds across boundaries");
        assert_eq!(across.of_write(range(8, 4)), Pieces::Blocks);
        let last = range(u64::MAX - 3, 2);
        assert!(!Units { boundary_blocks: 65536, ..PLAIN }.crosses(last), "no wrap");
    }

    /// B162: in Multiple Atomicity Mode what lies between two boundaries is whole.
    #[test]
    fn multiple_atomicity_splits_at_boundaries() {
        let units = Units { boundary_blocks: 4, offset: 2, multiple: true, ..PLAIN };
        assert_eq!(units.of_write(range(3, 9)), Pieces::Windows);
        assert_eq!(units.split(range(3, 9), Pieces::Windows), [range(3, 3), range(6, 4), range(10, 2)]);
        assert_eq!(units.of_read(range(3, 9)), Pieces::Windows);
    }

    /// B163: a read is split only where no atomic write can be seen in part.
    #[test]
    fn a_read_is_split_where_no_atomic_write_is() {
        assert_eq!(PLAIN.of_read(range(0, 100)), Pieces::Whole);
        assert_eq!(Units { blocks: 1, ..PLAIN }.of_read(range(0, 100)), Pieces::Blocks);
        let bounded = Units { boundary_blocks: 4, ..PLAIN };
        assert_eq!(bounded.of_read(range(0, 100)), Pieces::Windows);
        assert_eq!(Units { across_blocks: 2, ..bounded }.of_read(range(0, 100)), Pieces::Whole);
    }

    #[test]
    fn a_long_command_has_a_bounded_number_of_pieces() {
        let split = PLAIN.split(range(5, 65536), Pieces::Blocks);
        assert_eq!((split.len(), split[0], split[255]), (256, range(5, 256), range(5 + 255 * 256, 256)));
        assert_eq!(PLAIN.split(range(0, 257), Pieces::Blocks).iter().map(|piece| piece.blocks).sum::<u64>(), 257);
    }

    #[test]
    fn edges_are_the_same_where_size_and_offset_are() {
        let units = Units { boundary_blocks: 6, offset: 5, ..PLAIN };
        assert!(units.has_edges_of(&Units { blocks: 9, multiple: true, ..units }));
        assert!(!units.has_edges_of(&Units { offset: 4, ..units }));
        assert!(!units.has_edges_of(&Units { boundary_blocks: 7, ..units }));
    }
}
