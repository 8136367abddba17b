//! Entries, one behind the other, in memory that is used again and again: what a write brings is put where it stays, and nothing is
//! cleared before.

use std::ops::Range;

use super::PIECE_BYTES;
use crate::entry::{Entry, FILL_BYTES, WriteHead};

/// Memory of this size is worth keeping.
const KEPT_BYTES_MAX: usize = 4 * PIECE_BYTES;

/// Entries, each with its length before it.
#[derive(Default)]
pub(super) struct Piece {
    /// Only the first of these are used; the others hold anything.
    bytes: Vec<u8>,
    used: usize,
    /// The entry that is appended.
    entry: Vec<u8>,
}

impl Piece {
    /// What was appended.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Forgets what was appended; whether its memory is worth keeping.
    pub(super) fn clear(&mut self) -> bool {
        self.used = 0;
        self.bytes.len() <= KEPT_BYTES_MAX
    }

    /// Appends an entry.
    pub(super) fn append(&mut self, entry: &Entry) {
        let mut bytes = std::mem::take(&mut self.entry);
        bytes.clear();
        entry.encode(&mut bytes);
        self.more(length_of(bytes.len()).len()).copy_from_slice(&length_of(bytes.len()));
        self.more(bytes.len()).copy_from_slice(&bytes);
        self.entry = bytes;
    }

    /// So many bytes more, which hold anything.
    #[inline]
    fn more(&mut self, count: usize) -> &mut [u8] {
        let place = self.used..self.used + count;
        if place.end > self.bytes.len() {
            self.bytes.resize(place.end.max(PIECE_BYTES + PIECE_BYTES / 4), 0);
        }
        self.used = place.end;
        &mut self.bytes[place]
    }
}

fn length_of(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).expect("an entry is as long as a command at most").to_le_bytes()
}

/// A write whose data is not there yet.
pub struct Record {
    piece: Piece,
    start: usize,
    data: Range<usize>,
    /// So much of the data, from its beginning, is no longer anything.
    filled: usize,
}

impl Record {
    #[inline]
    pub(super) fn new(mut piece: Piece, head: &WriteHead, bytes: usize) -> Self {
        let (start, head) = (piece.used, head.encode());
        piece.more(4).copy_from_slice(&length_of(head.len() + bytes));
        piece.more(head.len()).copy_from_slice(&head);
        let data = piece.used..piece.used + bytes;
        piece.more(bytes);
        Self { piece, start, data, filled: 0 }
    }

    /// The data's place for so many bytes from this offset on, if the write has so many. Whoever asks fills it.
    #[inline]
    pub fn data(&mut self, offset: usize, count: usize) -> Option<&mut [u8]> {
        let end = offset.checked_add(count).filter(|end| *end <= self.data.len())?;
        let place = self.data.start + offset..self.data.start + end;
        if offset > self.filled {
            self.piece.bytes[self.data.start + self.filled..place.start].fill(0);
        }
        self.filled = self.filled.max(end);
        self.piece.bytes.get_mut(place)
    }

    pub(super) fn keep(mut self, ended: bool) -> Piece {
        // Where the write failed before all of its data was there.
        self.piece.bytes[self.data.start + self.filled..self.data.end].fill(0);
        if ended {
            WriteHead::note_end(&mut self.piece.bytes[self.start + 4..self.data.start]);
        }
        self.shorten();
        self.piece
    }

    /// Of data that is one word again and again only that word is kept: it is in the processor's caches now, and it need not be carried to
    /// another one. Other data shows with its first words that it is none.
    #[inline]
    fn shorten(&mut self) {
        let data = &self.piece.bytes[self.data.clone()];
        let Some(word) = data.first_chunk().filter(|_| data.len() > FILL_BYTES && data[8..] == data[..data.len() - 8])
        else {
            return;
        };
        let fill = WriteHead::fill(*word, data.len());
        self.piece.used = self.data.start + fill.len();
        let length = length_of(self.piece.used - self.start - 4);
        let bytes = &mut self.piece.bytes[self.start..self.piece.used];
        bytes[..4].copy_from_slice(&length);
        WriteHead::note_fill(&mut bytes[4..]);
        let place = bytes.len() - fill.len();
        bytes[place..].copy_from_slice(&fill);
    }

    pub(super) fn forget(mut self) -> Piece {
        self.piece.used = self.start;
        self.piece
    }
}

#[cfg(test)]
mod tests {
    use media::{Lba, LbaRange, VolumeId};

    use super::*;
    use crate::entry::Change;

    #[test]
    fn a_write_has_what_it_was_given_and_nothing_of_what_was_there_before() {
        let range = LbaRange::new(Lba(7), 2);
        let head = WriteHead { request: 3, command: 9, volume: VolumeId(1), force: false, range };
        let mut piece = Piece::default();
        piece.more(4096).fill(0xee);
        assert!(piece.clear() && piece.is_empty());
        let mut record = Record::new(piece, &head, 1024);
        record.data(100, 100).expect("inside").fill(1);
        record.data(300, 10).expect("inside").fill(2);
        record.data(150, 10).expect("inside").fill(3);
        assert!(record.data(1000, 25).is_none() && record.data(usize::MAX, 2).is_none());
        let mut piece = record.keep(true);
        let dropped = Record::new(std::mem::take(&mut piece), &head, 1024);
        let piece = dropped.forget();
        let mut data = vec![0; 1024];
        data[100..200].fill(1);
        data[300..310].fill(2);
        data[150..160].fill(3);
        let (change, force) = (Change::Write { range, data }, false);
        let entry = Entry::Changed { request: 3, command: 9, volume: VolumeId(1), force, change };
        let (length, bytes) = piece.bytes().split_first_chunk().expect("a length");
        assert_eq!(u32::from_le_bytes(*length) as usize, bytes.len());
        let ended = Entry::Ended { request: 3, succeeded: true };
        assert!(Entry::decode(bytes) == Some((entry, Some(ended))));
    }

    #[test]
    fn data_that_is_one_word_again_and_again_takes_no_room() {
        let head =
            WriteHead { request: 3, command: 9, volume: VolumeId(1), force: true, range: LbaRange::new(Lba(7), 1) };
        let word = [1, 2, 3, 4, 5, 6, 7, 8];
        for (at, short) in [(4096, true), (4095, false), (8, false), (0, false)] {
            let mut record = Record::new(Piece::default(), &head, 4096);
            let data = record.data(0, 4096).expect("inside");
            data.chunks_mut(8).for_each(|place| place.copy_from_slice(&word));
            if let Some(byte) = data.get_mut(at) {
                *byte ^= 1;
            }
            let data = data.to_vec();
            let piece = record.keep(false);
            assert_eq!(piece.bytes().len() < 100, short, "{at}");
            let change = Change::Write { range: head.range, data };
            let entry = Entry::Changed { request: 3, command: 9, volume: VolumeId(1), force: true, change };
            assert!(Entry::decode(&piece.bytes()[4..]) == Some((entry, None)), "{at}");
            assert_eq!(Entry::decode(&piece.bytes()[4..piece.bytes().len() - 1]).is_some(), !short);
        }
    }
}
