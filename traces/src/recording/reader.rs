//! Reads a recording as a stream: at most one chunk is in memory, and no more than the file really has of it. Whatever the bytes, what
//! comes out has been checked, or is an error that says where.

use std::io::{self, Read};

use media::codec::checksum;

use super::entry::{Before, Entries};
use super::{CHUNK_BYTES_MAX, CHUNK_HEAD_BYTES, HEAD_BYTES, HEAD_SEED, MAGIC, VERSION, WITH_DATA, seed};
use crate::record::{self, Entry, Trace, TraceError};

/// Reads a recording.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    with_data: bool,
    /// Bytes of the file that were read.
    byte: u64,
    ordinal: u64,
    chunk: Vec<u8>,
    /// Entries of the chunk that are left, and its bytes.
    left: (u32, usize),
    before: Before,
    entries: u64,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the head of a recording.
    ///
    /// # Errors
    /// It is none, or of a version that is not known here.
    pub fn open(mut from: R) -> Result<Self, TraceError> {
        let mut head = Vec::new();
        from.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head)?;
        let wrong = |byte, why: &str| TraceError::Byte { byte, why: why.to_owned() };
        let Ok(head) = <[u8; HEAD_BYTES]>::try_from(head) else {
            return Err(wrong(0, "too short for a recording of brownout"));
        };
        if head[..8] != MAGIC {
            return Err(wrong(0, "not a recording of brownout"));
        }
        let word = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        if word(8) != VERSION {
            let why = format!("version {} of a recording, and only version {VERSION} is known here", word(8));
            return Err(TraceError::Byte { byte: 8, why });
        }
        if head[16..] != checksum(HEAD_SEED, &head[..16]).to_le_bytes() {
            return Err(wrong(16, "the head of the recording is damaged"));
        }
        Ok(Self {
            from,
            with_data: word(10) & WITH_DATA != 0,
            byte: HEAD_BYTES as u64,
            ordinal: 0,
            chunk: Vec::new(),
            left: (0, 0),
            before: Before::default(),
            entries: 0,
            ended: false,
        })
    }

    /// Whether commands may have data.
    pub const fn with_data(&self) -> bool {
        self.with_data
    }

    /// Reads the next chunk; false at the mark that ends the recording.
    fn read_chunk(&mut self) -> Result<bool, TraceError> {
        let at = self.byte;
        let damaged = |why: &str| TraceError::Byte { byte: at, why: why.to_owned() };
        let head = self.take(CHUNK_HEAD_BYTES)?;
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (length, entries) = (word(0) as usize, word(4));
        if length > CHUNK_BYTES_MAX {
            return Err(damaged("a chunk longer than any that is written: the recording is damaged"));
        }
        let sum = [head[8], head[9], head[10], head[11], head[12], head[13], head[14], head[15]];
        self.chunk = self.take(length)?;
        if checksum(seed(self.ordinal, entries), &self.chunk).to_le_bytes() != sum {
            return Err(damaged("a chunk that is not what was written: the recording is damaged"));
        }
        self.ordinal += 1;
        self.left = (entries, length);
        self.before = Before::default();
        if entries == 0 && length != 0 {
            return Err(damaged("a chunk of bytes that belong to no entry"));
        }
        Ok(length != 0)
    }

    /// So many bytes of the file, which are not asked for before they are there.
    fn take(&mut self, count: usize) -> Result<Vec<u8>, TraceError> {
        let mut bytes = Vec::new();
        self.from.by_ref().take(count as u64).read_to_end(&mut bytes)?;
        self.byte += bytes.len() as u64;
        if bytes.len() < count {
            return Err(TraceError::Unfinished { entries: self.entries });
        }
        Ok(bytes)
    }

    fn entry_of_chunk(&mut self) -> Result<Entry, String> {
        let (left, bytes) = self.left;
        let rest = &self.chunk[self.chunk.len() - bytes..];
        let mut entries =
            if bytes == self.chunk.len() { Entries::new(rest) } else { Entries::resume(rest, self.before) };
        let entry = entries.next()?;
        let (bytes, before) = entries.state();
        if left == 1 && bytes != 0 {
            return Err("a chunk of bytes that belong to no entry".to_owned());
        }
        self.left = (left - 1, bytes);
        self.before = before;
        record::check(&entry)?;
        Ok(entry)
    }

    fn advance(&mut self) -> Result<Option<Entry>, TraceError> {
        if self.left.0 == 0 && !self.read_chunk()? {
            let mut behind = [0];
            let more = self.from.read(&mut behind).or_else(|error| match error.kind() {
                io::ErrorKind::Interrupted => Ok(0),
                _ => Err(error),
            })?;
            if more != 0 {
                return Err(TraceError::Byte { byte: self.byte, why: "something lies behind the end".to_owned() });
            }
            return Ok(None);
        }
        let (byte, ordinal) = (self.byte, self.entries);
        let damaged = |why: String| TraceError::Byte { byte, why: format!("entry {ordinal}: {why}") };
        let entry = self.entry_of_chunk().map_err(damaged)?;
        self.entries += 1;
        Ok(Some(entry))
    }
}

impl<R: Read> Trace for Reader<R> {
    fn next(&mut self) -> Result<Option<Entry>, TraceError> {
        if self.ended {
            return Ok(None);
        }
        let next = self.advance();
        self.ended = !matches!(next, Ok(Some(_)));
        next
    }
}
