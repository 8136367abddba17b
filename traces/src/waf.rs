//! Write amplification by the indirection unit: a drive that maps whole units programs every unit that a write touches, so that
//! WAF_IU = (roundup(offset + length) - rounddown(offset)) / length.
//!
//! This is the formula's value for one command. A write cache that combines commands does better, and garbage collection multiplies it.
//! All of it is exact: a value is a pair of integers until somebody draws it.

mod figure;
mod ratio;

use std::iter;
use std::num::NonZeroU64;

pub use figure::figure;
pub use ratio::Ratio;

/// What a drive maps as a whole, in bytes: a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IndirectionUnit(u64);

/// What hosts align to, in bytes: a power of two. The offsets over which a worst case and a mean are taken are its multiples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grid(u64);

/// A write of a host: its first byte and how many follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// First byte.
    pub offset: u64,
    /// How many bytes; a write of nothing amplifies nothing, so that it cannot be expressed.
    pub length: NonZeroU64,
}

/// What a length costs over all offsets of a grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Length of the write in bytes.
    pub length: NonZeroU64,
    /// At the worst offset.
    pub worst: Ratio,
    /// At an offset picked evenly.
    pub mean: Ratio,
}

impl IndirectionUnit {
    /// None if `bytes` is not a power of two.
    pub const fn new(bytes: u64) -> Option<Self> {
        if bytes.is_power_of_two() { Some(Self(bytes)) } else { None }
    }

    /// Its size.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Bytes that are programmed for a write: those of all units that it touches. Wider than 64 bits, because the end of the last
    /// unit may lie behind the last offset that 64 bits can name.
    pub fn touched(self, write: Write) -> u128 {
        let unit = u128::from(self.0);
        let begin = u128::from(write.offset);
        let end = begin + u128::from(write.length.get());
        end.next_multiple_of(unit) - (begin - begin % unit)
    }

    /// Bytes programmed for each byte written.
    pub fn waf(self, write: Write) -> Ratio {
        Ratio::new(self.touched(write), write.length)
    }

    /// The largest WAF of a length over the offsets of a grid.
    pub fn worst(self, length: NonZeroU64, grid: Grid) -> Ratio {
        // What is touched grows with the distance from the last boundary; the last offset of the grid before the next one is it.
        self.waf(Write { offset: self.0 - self.step(grid), length })
    }

    /// The mean WAF of a length over the offsets of a grid.
    pub fn mean(self, length: NonZeroU64, grid: Grid) -> Ratio {
        let step = self.step(grid);
        let offsets = self.0 / step;
        let whole_units = (length.get() - 1) / self.0;
        // 1 to a unit: what of the write lies behind its last whole unit.
        let rest = length.get() - whole_units * self.0;
        // The first of them are at 0, step, 2 * step and so on, and the rest ends in the unit that it began in.
        let within = (self.0 - rest) / step + 1;
        let units = u128::from(offsets) * u128::from(whole_units + 2) - u128::from(within);
        // units * unit / (offsets * length), with the unit divided by the offsets first so that nothing can overflow.
        Ratio::new(units * u128::from(step), length)
    }

    /// Worst case and mean for each length of the grid up to `length_max`.
    pub fn curve(self, grid: Grid, length_max: u64) -> impl Iterator<Item = Point> {
        let lengths = iter::successors(NonZeroU64::new(grid.0), move |length| length.checked_add(grid.0));
        lengths.take_while(move |length| length.get() <= length_max).map(move |length| Point {
            length,
            worst: self.worst(length, grid),
            mean: self.mean(length, grid),
        })
    }

    /// How far apart the grid's offsets lie within a unit. A grid that is coarser than the unit only ever hits its beginning.
    fn step(self, grid: Grid) -> u64 {
        self.0.min(grid.0)
    }
}

impl Grid {
    /// None if `bytes` is not a power of two.
    pub const fn new(bytes: u64) -> Option<Self> {
        if bytes.is_power_of_two() { Some(Self(bytes)) } else { None }
    }

    /// Its step.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests;
