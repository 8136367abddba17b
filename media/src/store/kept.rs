//! What was written since the last sync that succeeded, the newest bytes of each place: what must be written again where a sync fails,
//! because the system then takes pages for clean that did not reach the disk, and what is read in their place meanwhile. Owns bytes that
//! others still share; knows no order among places, since none of them is durable before the others.
//!
//! To write in the same place again is not enough. A file system may have failed to write down *where* the bytes lie (an extent, the
//! block of a tree, a bitmap), take that for clean too, and see nothing to change when the same place is written. So a block that holds
//! nothing but what is kept is made a hole first ([`Kept::renewable`]): then it is allocated anew, and all of that is written again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::backing::StoreError;
use crate::unit::index;

/// Bytes to write, shared with whoever may still read them.
pub type Bytes = Arc<Vec<u8>>;

/// Writes that do not overlap, by place.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    writes: BTreeMap<u64, Piece>,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Piece {
    bytes: Bytes,
    /// The old bytes or the new ones must be there at any time, never a hole.
    in_place: bool,
}

impl Kept {
    /// Something was written. `in_place`: a failure may leave the old bytes or the new ones, and nothing else.
    pub fn write(&mut self, offset: u64, bytes: &Bytes, in_place: bool) {
        if !bytes.is_empty() {
            self.forget(offset, bytes.len() as u64);
            self.put(offset, Arc::clone(bytes), in_place);
        }
    }

    /// Nobody needs what was written there.
    pub fn forget(&mut self, offset: u64, bytes: u64) {
        let end = offset.saturating_add(bytes);
        let before = self.writes.range(..offset).next_back();
        let first = before.filter(|(at, piece)| **at + piece.bytes.len() as u64 > offset).map_or(offset, |(at, _)| *at);
        let touched: Vec<u64> = self.writes.range(first..end).map(|(at, _)| *at).collect();
        for at in touched {
            let Some(Piece { bytes: piece, in_place }) = self.writes.remove(&at) else { continue };
            self.bytes -= piece.len();
            let piece_end = at + piece.len() as u64;
            if at < offset {
                self.put(at, Bytes::new(piece[..index(offset - at)].to_vec()), in_place);
            }
            if piece_end > end {
                self.put(end, Bytes::new(piece[index(end - at)..].to_vec()), in_place);
            }
        }
    }

    fn put(&mut self, offset: u64, bytes: Bytes, in_place: bool) {
        self.bytes += bytes.len();
        self.writes.insert(offset, Piece { bytes, in_place });
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
        self.writes.iter().map(|(offset, piece)| (*offset, Arc::clone(&piece.bytes))).collect()
    }

    /// The blocks of this many bytes that may become holes before they are written again, neighbours as one: (offset, bytes). Nothing
    /// durable is in them: what is not kept of them is zeroes by what `read` says.
    ///
    /// # Errors
    /// What `read` reports.
    pub fn renewable(
        &self,
        block: u64,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), StoreError>,
    ) -> Result<Vec<(u64, u64)>, StoreError> {
        let (mut blocks, mut next): (Vec<(u64, u64)>, _) = (Vec::new(), 0);
        let mut buffer = vec![0; index(block)];
        for (&at, piece) in &self.writes {
            let last = (at + piece.bytes.len() as u64 - 1) / block;
            for number in (at / block).max(next)..=last {
                if !self.holds_nothing_else(number * block, &mut buffer, &mut read)? {
                    continue;
                }
                match blocks.last_mut() {
                    Some(run) if run.0 + run.1 == number * block => run.1 += block,
                    _ => blocks.push((number * block, block)),
                }
            }
            next = last + 1;
        }
        Ok(blocks)
    }

    fn holds_nothing_else(
        &self,
        at: u64,
        buffer: &mut [u8],
        read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        if self.pieces(at, buffer.len()).any(|(_, piece)| piece.in_place) {
            return Ok(false);
        }
        if self.lay_over(at, buffer) == buffer.len() {
            return Ok(true);
        }
        read(at, buffer)?;
        for (offset, piece) in self.pieces(at, buffer.len()) {
            let (from, to) = (offset.max(at), (offset + piece.bytes.len() as u64).min(at + buffer.len() as u64));
            buffer[index(from - at)..index(to - at)].fill(0);
        }
        Ok(buffer.iter().all(|byte| *byte == 0))
    }

    /// Refuses what is read if it is not what was written.
    ///
    /// # Errors
    /// Where it is not, and what `read` reports.
    pub fn compare(&self, mut read: impl FnMut(u64, &mut [u8]) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut buffer = Vec::new();
        for (&at, piece) in &self.writes {
            buffer.resize(piece.bytes.len(), 0);
            read(at, &mut buffer)?;
            if buffer != **piece.bytes {
                let what =
                    format!("a sync succeeded, and bytes {at} to {} are not there", at + buffer.len() as u64 - 1);
                return Err(StoreError::Failed(what));
            }
        }
        Ok(())
    }

    /// What overlaps with a range.
    fn pieces(&self, offset: u64, bytes: usize) -> impl Iterator<Item = (u64, &Piece)> {
        let end = offset + bytes as u64;
        let first = self.writes.range(..offset).next_back().map_or(offset, |(at, _)| *at);
        let all = self.writes.range(first..end).map(|(at, piece)| (*at, piece));
        all.filter(move |(at, piece)| at + piece.bytes.len() as u64 > offset)
    }

    /// Puts what was written over what was read at `offset`; returns how many bytes that were.
    pub fn lay_over(&self, offset: u64, into: &mut [u8]) -> usize {
        let end = offset + into.len() as u64;
        let mut laid = 0;
        for (at, Piece { bytes, .. }) in self.pieces(offset, into.len()) {
            let (from, to) = (at.max(offset), (at + bytes.len() as u64).min(end));
            into[index(from - offset)..index(to - offset)].copy_from_slice(&bytes[index(from - at)..index(to - at)]);
            laid += index(to - from);
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
                    kept.write(offset, &Bytes::new(vec![value; index(count)]), false);
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

    #[test]
    fn a_block_becomes_a_hole_only_if_nothing_durable_is_in_it() {
        let mut kept = Kept::default();
        for (offset, bytes) in [(0, 8), (8, 4), (12, 4), (17, 3), (26, 2), (32, 8)] {
            kept.write(offset, &Bytes::new(vec![1; bytes]), offset == 32);
        }
        // Blocks of eight bytes: the third and the fourth are not wholly kept, and something else is in the fourth; the fifth is a claim's.
        let mut disk = [0; 40];
        disk[30] = 7;
        let mut asked = Vec::new();
        let blocks = kept.renewable(8, |at, into| {
            asked.push(at);
            into.copy_from_slice(&disk[index(at)..index(at) + 8]);
            Ok(())
        });
        assert_eq!((blocks, asked), (Ok(vec![(0, 24)]), vec![16, 24]));
    }

    #[test]
    fn a_block_is_no_hole_where_anything_in_it_is_a_claim() {
        for claim in 0..2 {
            let mut kept = Kept::default();
            kept.write(0, &Bytes::new(vec![1; 4]), claim == 0);
            kept.write(4, &Bytes::new(vec![1; 4]), claim == 1);
            kept.write(8, &Bytes::new(vec![1; 8]), false);
            let blocks = kept.renewable(8, |_, _| panic!("all of it is kept"));
            assert_eq!(blocks, Ok(vec![(8, 8)]));
        }
    }

    #[test]
    fn what_is_read_back_must_be_what_was_written() {
        let mut kept = Kept::default();
        kept.write(3, &Bytes::new(vec![1, 2]), false);
        let read = |second| {
            move |_, into: &mut [u8]| -> Result<(), StoreError> {
                into.copy_from_slice(&[1, second]);
                Ok(())
            }
        };
        assert_eq!(kept.compare(read(2)), Ok(()));
        assert!(kept.compare(read(0)).unwrap_err().to_string().contains("bytes 3 to 4 are not there"));
    }
}
