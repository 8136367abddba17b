//! Reads a tape. What is damaged or cut off ends it there, and says so: everything before is good.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use twox_hash::XxHash3_64;

use crate::entry::Entry;
use crate::writer::{MAGIC, MAGIC_BEFORE};

/// No piece is longer: an entry is as long as a command's data at most.
const PIECE_BYTES_MAX: u32 = 1 << 30;

/// Why something is no tape.
#[derive(Debug)]
pub enum TapeError {
    /// It cannot be read.
    Io(io::Error),
    /// It does not begin as one.
    NoTape,
}

impl std::fmt::Display for TapeError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => write!(formatter, "{error}"),
            Self::NoTape => formatter.write_str("it is no tape: give a file that --tape has written"),
        }
    }
}

impl std::error::Error for TapeError {}

impl From<io::Error> for TapeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The entries of a tape, in order.
pub struct Reader<R = BufReader<File>> {
    from: R,
    ready: VecDeque<Entry>,
    cut_off: Option<&'static str>,
}

impl Reader {
    /// Opens a tape.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn open(path: &Path) -> Result<Self, TapeError> {
        Self::new(BufReader::new(File::open(path)?))
    }
}

impl<R: Read> Reader<R> {
    /// Reads a tape from its first byte on.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn new(mut from: R) -> Result<Self, TapeError> {
        let mut magic = [0; MAGIC.len()];
        match from.read_exact(&mut magic) {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error.into()),
            _ => {}
        }
        if &magic != MAGIC && &magic != MAGIC_BEFORE {
            return Err(TapeError::NoTape);
        }
        Ok(Self { from, ready: VecDeque::new(), cut_off: None })
    }

    /// Why the tape ended before its end, if it did.
    #[must_use]
    pub const fn cut_off(&self) -> Option<&'static str> {
        self.cut_off
    }

    /// The next piece's entries. `None` at the end.
    fn piece(&mut self) -> Option<()> {
        let mut head = [0; 12];
        let mut have = 0;
        while have < head.len() {
            match self.from.read(&mut head[have..]) {
                Ok(0) if have == 0 => return None,
                Ok(0) => return self.ends("it is cut off in the middle of a piece"),
                Ok(count) => have += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.ends("it cannot be read on"),
            }
        }
        let (length, checksum) = head.split_at(4);
        let length = u32::from_le_bytes(length.try_into().expect("four bytes"));
        let checksum = u64::from_le_bytes(checksum.try_into().expect("eight bytes"));
        let mut packed = Vec::new();
        let whole = (&mut self.from).take(u64::from(length.min(PIECE_BYTES_MAX))).read_to_end(&mut packed);
        if whole.is_err() || packed.len() != length as usize {
            return self.ends("it is cut off in the middle of a piece");
        }
        if XxHash3_64::oneshot(&packed) != checksum {
            return self.ends("a piece is damaged");
        }
        let Ok(piece) = lz4_flex::decompress_size_prepended(&packed) else { return self.ends("a piece is damaged") };
        let mut rest = &piece[..];
        while let Some((length, behind)) = rest.split_first_chunk() {
            let length = u32::from_le_bytes(*length) as usize;
            let Some((entry, end)) = behind.get(..length).and_then(Entry::decode) else {
                return self.ends("it has an entry that this release does not know");
            };
            self.ready.push_back(entry);
            self.ready.extend(end);
            rest = &behind[length..];
        }
        Some(())
    }

    fn ends(&mut self, why: &'static str) -> Option<()> {
        self.cut_off = Some(why);
        None
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        while self.ready.is_empty() && self.cut_off.is_none() {
            self.piece()?;
        }
        self.ready.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Change, Volume};
    use crate::writer::Writer;
    use media::{Lba, LbaRange, VolumeId};

    fn entries() -> Vec<Entry> {
        let volume = VolumeId(0);
        let first = Entry::Volume(Volume { volume, block_bytes: 512, blocks: 1000, has_data: false });
        let write = |request: u64| {
            let data = vec![u8::try_from(request % 251).expect("a byte"); 8192];
            let range = LbaRange::new(Lba(request), 16);
            Entry::Changed { request, command: 0, volume, force: false, change: Change::Write { range, data } }
        };
        let rest = (1..200).flat_map(|request| [write(request), Entry::Ended { request, succeeded: true }]);
        std::iter::once(first).chain(rest).collect()
    }

    fn tape() -> Vec<u8> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tape");
        let mut writer = Writer::new(File::create(&path).expect("a file")).expect("a writer");
        entries().iter().for_each(|entry| writer.put(entry));
        writer.end().expect("written");
        std::fs::read(path).expect("a file")
    }

    #[test]
    fn a_tape_is_read_as_it_was_written_and_is_smaller() {
        let tape = tape();
        assert!(tape.len() < 200 * 8192 / 4, "{} bytes", tape.len());
        let mut reader = Reader::new(&tape[..]).expect("a tape");
        let read: Vec<Entry> = reader.by_ref().collect();
        assert!(read == entries());
        assert_eq!(reader.cut_off(), None);
        // A tape of the release before has the same entries.
        let before = [MAGIC_BEFORE, &tape[MAGIC.len()..]].concat();
        assert!(Reader::new(&before[..]).expect("a tape").eq(entries()));
    }

    #[test]
    fn a_tape_that_is_cut_off_or_damaged_is_good_up_to_there() {
        let whole = tape();
        for length in (MAGIC.len()..whole.len()).step_by(97) {
            let mut reader = Reader::new(&whole[..length]).expect("a tape");
            let read: Vec<Entry> = reader.by_ref().collect();
            assert!(read == entries()[..read.len()]);
        }
        let mut damaged = whole.clone();
        *damaged.last_mut().expect("bytes") ^= 1;
        let mut reader = Reader::new(&damaged[..]).expect("a tape");
        let read: Vec<Entry> = reader.by_ref().collect();
        assert!(read.len() < entries().len() && read == entries()[..read.len()]);
        assert_eq!(reader.cut_off(), Some("a piece is damaged"));
        assert!(matches!(Reader::new(&b"fio version 2 iolog"[..]), Err(TapeError::NoTape)));
        assert!(matches!(Reader::new(&b""[..]), Err(TapeError::NoTape)));
    }
}
