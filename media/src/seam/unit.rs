//! Units of the media and their only conversions. A number whose unit matters is one of these types.

/// A point in time, or a length of time, in nanoseconds since an origin that the caller chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nanoseconds(pub u64);

impl Nanoseconds {
    /// The earlier of two optional times.
    #[must_use]
    #[inline]
    pub fn earliest(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// This time moved `delta` into the future; it saturates.
    #[must_use]
    pub const fn plus(self, delta: Self) -> Self {
        Self(self.0.saturating_add(delta.0))
    }
}

/// Which volume of a media: the index given at its creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VolumeId(pub u32);

/// A logical block address inside one volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lba(pub u64);

/// `blocks` logical blocks from `start` on. May be empty, and may lie outside any volume: see [`LbaRange::end`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LbaRange {
    /// The first block.
    pub start: Lba,
    /// How many blocks.
    pub blocks: u64,
}

impl LbaRange {
    /// The range of `blocks` blocks from `start`.
    #[must_use]
    pub const fn new(start: Lba, blocks: u64) -> Self {
        Self { start, blocks }
    }

    /// The first block behind the range, or `None` where that does not fit 64 bits (such a range fits no volume).
    #[must_use]
    #[inline]
    pub const fn end(self) -> Option<Lba> {
        match self.start.0.checked_add(self.blocks) {
            Some(end) => Some(Lba(end)),
            None => None,
        }
    }

    /// Whether every block of the range lies below `capacity_blocks`.
    #[must_use]
    #[inline]
    pub const fn fits(self, capacity_blocks: u64) -> bool {
        match self.end() {
            Some(end) => end.0 <= capacity_blocks,
            None => false,
        }
    }

    /// Whether a block lies in both ranges. (An empty one overlaps what reaches over its start.)
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        let (end, other_end) = (self.start.0.saturating_add(self.blocks), other.start.0.saturating_add(other.blocks));
        self.start.0 < other_end && other.start.0 < end
    }
}

/// The index of an indirection unit as the host sees it: the volumes of a media follow each other, each beginning at a whole unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogicalUnit(pub u32);

/// Where a unit lies on the NAND: a line and a slot in it, packed by [`Geometry::physical`](crate::geometry::Geometry::physical).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PhysicalUnit(pub u32);

/// An index or a byte count as the machine addresses memory.
///
/// # Panics
/// Where the machine's addresses are narrower than the number: such a geometry is refused long before.
#[must_use]
#[inline]
pub fn index(number: u64) -> usize {
    usize::try_from(number).expect("a checked geometry fits the machine's addresses")
}

/// A count that a checked geometry keeps below 2^32.
///
/// # Panics
/// If it does not, which is a bug.
#[must_use]
#[inline]
pub fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("a checked geometry keeps this below 2^32")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_wraps_fits_nowhere() {
        assert!(!LbaRange::new(Lba(u64::MAX), 1).fits(u64::MAX));
        assert!(LbaRange::new(Lba(u64::MAX - 1), 1).fits(u64::MAX));
        assert!(LbaRange::new(Lba(7), 0).fits(7));
        assert!(!LbaRange::new(Lba(8), 0).fits(7));
    }
}
