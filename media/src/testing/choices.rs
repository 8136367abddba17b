//! Decisions taken from the bytes of an input: the same input, the same decisions, and a shorter one ends sooner.

use crate::power::Random;

/// Bytes that are used up one decision after the other; behind them every decision is 0.
pub struct Choices<'a> {
    bytes: &'a [u8],
}

impl<'a> Choices<'a> {
    /// Decisions from these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.bytes.split_off_first().copied().unwrap_or(0)
    }

    /// A number below `most`, which is at least 1.
    pub fn below(&mut self, most: usize) -> usize {
        let [low, high] = [self.byte(), if most > 256 { self.byte() } else { 0 }];
        usize::from(u16::from_le_bytes([low, high])) % most
    }

    /// A number of the kind that breaks things: at the edges of a range, near `usual`, or any.
    pub fn number(&mut self, usual: u64) -> u64 {
        let shift = u32::from(self.byte() % 64);
        match self.byte() % 9 {
            0 => 0,
            1 => u64::MAX >> shift,
            2 => 1 << shift,
            3 => usual.wrapping_add(1 << (shift % 8)),
            4 => usual.wrapping_sub(1 << (shift % 8)),
            5 => u64::from(self.byte()),
            6 => u64::from(u32::MAX) - u64::from(self.byte() % 4),
            7 => usual ^ (1 << shift),
            _ => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    /// As [`Choices::number`], cut down to what fits.
    #[expect(clippy::cast_possible_truncation, reason = "cutting down is what it is for")]
    pub fn small(&mut self, usual: u32) -> u32 {
        self.number(usual.into()) as u32
    }

    /// A generator for what is not worth a byte of its own.
    pub fn random(&mut self) -> Random {
        Random::new(u64::from_le_bytes(std::array::from_fn(|_| self.byte())))
    }
}
