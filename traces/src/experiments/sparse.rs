//! A disk in memory that keeps only what is not zero, as a sparse file in the page cache does: drives of a tebibyte whose data is zeroes
//! cost their maps, records and headers.

use std::collections::BTreeMap;

use media::store::StoreError;
use media::store::disk::{AtOnce, Disk};
use media::store::schedule::{Done, Operation};
use media::unit::index;

/// What is kept or not as a whole.
const CHUNK_BYTES: usize = 16 << 10;

/// The disk. Everything is durable as soon as it was written.
#[derive(Default)]
pub(super) struct SparseDisk {
    chunks: BTreeMap<u64, Box<[u8; CHUNK_BYTES]>>,
    progress: AtOnce,
}

/// The chunks that a range of bytes touches: number, first byte in it, and the part of the range that lies there.
fn pieces(offset: u64, bytes: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let place = offset + at as u64;
        let inside = index(place % CHUNK_BYTES as u64);
        let end = bytes.min(at + CHUNK_BYTES - inside);
        let part = at..end;
        at = end;
        (!part.is_empty()).then_some((place / CHUNK_BYTES as u64, inside, part))
    })
}

/// Without a branch for each byte: this is asked of every byte that a drive programs.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |sum, byte| sum | byte) == 0
}

impl SparseDisk {
    fn keep(&mut self, offset: u64, bytes: &[u8]) {
        for (number, inside, part) in pieces(offset, bytes.len()) {
            let source = &bytes[part];
            if !self.chunks.contains_key(&number) && is_zero(source) {
                continue;
            }
            let chunk = self.chunks.entry(number).or_insert_with(|| Box::new([0; CHUNK_BYTES]));
            chunk[inside..inside + source.len()].copy_from_slice(source);
        }
    }
}

impl Disk for SparseDisk {
    fn call(&mut self, operation: Operation) -> u64 {
        let mut progress = self.progress;
        let turns = progress.call(operation, |offset, bytes| self.keep(offset, bytes));
        self.progress = progress;
        turns
    }

    fn ticket(&mut self, _durable: bool) -> u64 {
        self.progress.ticket()
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), StoreError> {
        for (number, inside, part) in pieces(offset, into.len()) {
            let target = &mut into[part];
            match self.chunks.get(&number) {
                Some(chunk) => target.copy_from_slice(&chunk[inside..inside + target.len()]),
                None => target.fill(0),
            }
        }
        Ok(())
    }

    fn done(&mut self) -> Result<Done, StoreError> {
        Ok(self.progress.done())
    }

    fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_zeroes_take_nothing() {
        let mut disk = SparseDisk::default();
        disk.write(5, vec![0; 100_000]);
        assert!(disk.chunks.is_empty());
        let bytes: Vec<u8> = (0..40_000u32).map(|n| n.to_le_bytes()[0]).collect();
        disk.write(10_000, bytes.clone());
        disk.write(30_000, vec![0; 10]);
        let mut back = vec![9; 50_000];
        disk.take().read(5_000, &mut back).expect("memory does not fail");
        assert!(is_zero(&back[..5_000]) && is_zero(&back[25_000..25_010]) && is_zero(&back[45_000..]));
        assert_eq!((&back[5_000..25_000], &back[25_010..45_000]), (&bytes[..20_000], &bytes[20_010..]));
    }
}
