//! Owns how numbers become bytes in metadata, and the checksum over them. Little-endian, no platform-sized integers. Knows nothing
//! of what the numbers mean.

use twox_hash::XxHash3_64;

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Spreads a word over all its bits (an odd multiplication and two folds, bijective).
#[must_use]
pub const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 32)).wrapping_mul(MULTIPLIER);
    (word ^ (word >> 29)).wrapping_mul(MULTIPLIER)
}

/// A checksum of 64 bits over bytes (XXH3), different for each seed. It finds damage, not malice.
#[must_use]
pub fn checksum(seed: u64, bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(seed, bytes)
}

/// Appends numbers to bytes.
#[derive(Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    /// Appends one byte.
    pub fn u8(&mut self, number: u8) {
        self.0.push(number);
    }

    /// Appends two bytes.
    pub fn u16(&mut self, number: u16) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// Appends four bytes.
    pub fn u32(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// Appends eight bytes.
    pub fn u64(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// Appends several numbers of eight bytes.
    pub fn words(&mut self, numbers: &[u64]) {
        self.0.reserve(8 * numbers.len());
        for &number in numbers {
            self.u64(number);
        }
    }
}

/// Takes numbers from bytes; [`None`] once they run out.
pub struct Reader<'a>(pub &'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    /// Takes one byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    /// Takes two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    /// Takes four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    /// Takes eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// Takes several numbers of eight bytes.
    pub fn words<const N: usize>(&mut self) -> Option<[u64; N]> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            *number = self.u64()?;
        }
        Some(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_they_went() {
        let mut writer = Writer::default();
        writer.u8(1);
        writer.u16(2);
        writer.u32(3);
        writer.words(&[4, 5]);
        let mut reader = Reader(&writer.0);
        assert_eq!((reader.u8(), reader.u16(), reader.u32()), (Some(1), Some(2), Some(3)));
        assert_eq!(reader.words::<2>(), Some([4, 5]));
        assert_eq!(reader.u8(), None);
    }

    #[test]
    fn every_flipped_bit_and_every_length_changes_the_checksum() {
        let bytes: Vec<u8> = (0..100u8).collect();
        let sum = checksum(7, &bytes);
        assert_ne!(sum, checksum(8, &bytes));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(sum, checksum(7, &damaged), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_ne!(sum, checksum(7, &bytes[..length]), "length {length}");
        }
    }
}
