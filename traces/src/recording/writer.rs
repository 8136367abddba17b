//! Writes a recording as a stream: at most one chunk is in memory.

use std::io::{self, Write};

use media::codec::checksum;

use super::entry::{self, Before};
use super::{CHUNK_BYTES, CHUNK_HEAD_BYTES, HEAD_BYTES, HEAD_SEED, MAGIC, VERSION, WITH_DATA, seed};
use crate::record::Entry;

/// Writes a recording. What [`Writer::finish`] has not ended can be read up to its last whole chunk.
#[derive(Debug)]
pub struct Writer<W: Write> {
    into: W,
    with_data: bool,
    chunk: Vec<u8>,
    entries: u32,
    ordinal: u64,
    before: Before,
}

impl<W: Write> Writer<W> {
    /// Begins a recording; with `with_data` the data of its commands is kept.
    ///
    /// # Errors
    /// Those of `into`.
    pub fn create(mut into: W, with_data: bool) -> io::Result<Self> {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.extend(MAGIC);
        head.extend(VERSION.to_le_bytes());
        head.extend((if with_data { WITH_DATA } else { 0 }).to_le_bytes());
        head.extend([0; 4]);
        head.extend(checksum(HEAD_SEED, &head).to_le_bytes());
        into.write_all(&head)?;
        let chunk = Vec::with_capacity(2 * CHUNK_BYTES);
        Ok(Self { into, with_data, chunk, entries: 0, ordinal: 0, before: Before::default() })
    }

    /// Whether data is kept.
    pub const fn with_data(&self) -> bool {
        self.with_data
    }

    /// Appends an entry. Data that the recording does not keep is left out.
    ///
    /// # Errors
    /// Those of what is written to.
    ///
    /// # Panics
    /// If a command has more ranges or data than one can have.
    pub fn put(&mut self, entry: &Entry) -> io::Result<()> {
        match entry {
            Entry::Command(record) if record.data.is_some() && !self.with_data => {
                let record = crate::record::Record { data: None, ..record.clone() };
                entry::put(&Entry::Command(record), &mut self.before, &mut self.chunk);
            }
            _ => entry::put(entry, &mut self.before, &mut self.chunk),
        }
        self.entries += 1;
        if self.chunk.len() >= CHUNK_BYTES { self.write_chunk() } else { Ok(()) }
    }

    /// Writes what waits in memory, so that a reader finds it.
    ///
    /// # Errors
    /// Those of what is written to.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.entries != 0 {
            self.write_chunk()?;
        }
        self.into.flush()
    }

    /// Ends the recording.
    ///
    /// # Errors
    /// Those of what is written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        self.write_chunk()?;
        self.into.flush()?;
        Ok(self.into)
    }

    fn write_chunk(&mut self) -> io::Result<()> {
        let length = u32::try_from(self.chunk.len()).expect("a chunk is some megabytes at most");
        let mut head = [0; CHUNK_HEAD_BYTES];
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4..8].copy_from_slice(&self.entries.to_le_bytes());
        head[8..].copy_from_slice(&checksum(seed(self.ordinal, self.entries), &self.chunk).to_le_bytes());
        self.into.write_all(&head)?;
        self.into.write_all(&self.chunk)?;
        self.chunk.clear();
        self.entries = 0;
        self.ordinal += 1;
        self.before = Before::default();
        Ok(())
    }
}
