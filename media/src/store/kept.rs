//! What was written since the last sync that succeeded, the newest bytes of each place: what must be written again where a sync fails,
//! because the system then takes pages for clean that did not reach the disk, and what is read in their place meanwhile. Owns bytes that
//! others still share; knows no order among places, since none of them is durable before the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::schedule::Bytes;
use crate::unit::index;

/// Writes that do not overlap, by place.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    writes: BTreeMap<u64, Bytes>,
    bytes: usize,
}

impl Kept {
    /// Something was written.
    pub fn write(&mut self, offset: u64, bytes: &Bytes) {
        if !bytes.is_empty() {
            self.forget(offset, bytes.len() as u64);
            self.put(offset, Arc::clone(bytes));
        }
    }

    /// Nobody needs what was written there.
    pub fn forget(&mut self, offset: u64, bytes: u64) {
        let end = offset.saturating_add(bytes);
        let before = self.writes.range(..offset).next_back();
        let first = before.filter(|(at, piece)| **at + piece.len() as u64 > offset).map_or(offset, |(at, _)| *at);
        let touched: Vec<u64> = self.writes.range(first..end).map(|(at, _)| *at).collect();
        for at in touched {
            let Some(piece) = self.writes.remove(&at) else { continue };
            self.bytes -= piece.len();
            let piece_end = at + piece.len() as u64;
            if at < offset {
                self.put(at, Bytes::new(piece[..index(offset - at)].to_vec()));
            }
            if piece_end > end {
                self.put(end, Bytes::new(piece[index(end - at)..].to_vec()));
            }
        }
    }

    fn put(&mut self, offset: u64, bytes: Bytes) {
        self.bytes += bytes.len();
        self.writes.insert(offset, bytes);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.writes.clear();
        self.bytes = 0;
    }

    /// How many bytes that is.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The writes, by place.
    #[must_use]
    pub fn writes(&self) -> Vec<(u64, Bytes)> {
        self.writes.iter().map(|(offset, bytes)| (*offset, Arc::clone(bytes))).collect()
    }

    /// Puts what was written over what was read at `offset`; returns how many bytes that were.
    pub fn lay_over(&self, offset: u64, into: &mut [u8]) -> usize {
        let end = offset + into.len() as u64;
        let first = self.writes.range(..offset).next_back().map_or(offset, |(at, _)| *at);
        let mut laid = 0;
        for (&at, piece) in self.writes.range(first..end) {
            let (from, to) = (at.max(offset), (at + piece.len() as u64).min(end));
            if from < to {
                into[index(from - offset)..index(to - offset)]
                    .copy_from_slice(&piece[index(from - at)..index(to - at)]);
                laid += index(to - from);
            }
        }
        laid
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::power::Random;

    /// Against an array of bytes, of which zero is what nobody wrote.
    #[test]
    fn the_newest_bytes_of_each_place_are_kept_however_writes_overlap() {
        for seed in 0..300 {
            let (mut random, mut kept, mut model) = (Random::new(seed), Kept::default(), [0u8; 64]);
            for value in 1..=40 {
                let offset = random.below(64);
                let count = random.below(65 - offset);
                let range = index(offset)..index(offset + count);
                if random.below(4) == 0 {
                    kept.forget(offset, count);
                    model[range].fill(0);
                } else {
                    kept.write(offset, &Bytes::new(vec![value; index(count)]));
                    model[range].fill(value);
                }
                let (mut read, from) = ([0; 64], index(random.below(64)));
                let laid = kept.lay_over(from as u64, &mut read[from..]);
                assert_eq!(read[from..], model[from..], "seed {seed}");
                assert_eq!(laid, model[from..].iter().filter(|byte| **byte != 0).count(), "seed {seed}");
                assert_eq!(kept.bytes(), model.iter().filter(|byte| **byte != 0).count(), "seed {seed}");
                assert_eq!(kept.writes().iter().map(|(_, bytes)| bytes.len()).sum::<usize>(), kept.bytes());
            }
            kept.clear();
            assert_eq!((kept.bytes(), kept.lay_over(0, &mut model)), (0, 0));
        }
    }
}
