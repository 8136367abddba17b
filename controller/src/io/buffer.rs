//! A command's data and metadata in guest memory, passed to the media separately. In guest memory they are separate too, or each block
//! is followed by its metadata (NVM Command Set 1.1 section 2.1.6).

use media::{Fault, Sink, Source};

use crate::dma::{GuestMemory, Transfer};

/// Where the metadata is.
enum Metadata<'a, M> {
    /// The namespace has none.
    None,
    /// In a buffer of its own.
    Separate(Transfer<'a, M>),
    /// Behind each block, in the buffer of the data: sizes of both in bytes.
    Extended { block: usize, metadata: usize },
}

/// The host's side of a Read, Write or Compare.
pub(super) struct UserBuffer<'a, M> {
    data: Transfer<'a, M>,
    metadata: Metadata<'a, M>,
    /// Where the blocks in question begin, in bytes of data and of metadata.
    base: [usize; 2],
}

impl<'a, M: GuestMemory> UserBuffer<'a, M> {
    /// Data alone.
    pub(super) fn plain(data: Transfer<'a, M>) -> Self {
        Self { data, metadata: Metadata::None, base: [0, 0] }
    }

    /// The same without its first blocks.
    pub(super) fn behind(self, blocks: usize, block: usize, metadata: usize) -> Self {
        Self { base: [blocks * block, blocks * metadata], ..self }
    }

    /// Data, and metadata elsewhere.
    pub(super) fn separate(data: Transfer<'a, M>, metadata: Transfer<'a, M>) -> Self {
        Self { data, metadata: Metadata::Separate(metadata), base: [0, 0] }
    }

    /// Blocks of `block` bytes, each followed by `metadata` bytes of metadata.
    pub(super) fn extended(data: Transfer<'a, M>, block: usize, metadata: usize) -> Self {
        assert!(block > 0 && metadata > 0);
        Self { data, metadata: Metadata::Extended { block, metadata }, base: [0, 0] }
    }
}

/// Calls `access` with the place of each piece in an extended buffer, and its part of `length` bytes: pieces are `own` bytes long, of a
/// stride of `own + other`, and begin `shift` bytes into it; the first byte is at `offset` of all pieces laid end to end.
fn interleaved(
    [own, other, shift]: [usize; 3],
    offset: usize,
    length: usize,
    mut access: impl FnMut(usize, std::ops::Range<usize>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut done = 0;
    while done < length {
        let (block, within) = ((offset + done) / own, (offset + done) % own);
        let piece = (own - within).min(length - done);
        access(block * (own + other) + shift + within, done..done + piece)?;
        done += piece;
    }
    Ok(())
}

impl<M: GuestMemory> Source for UserBuffer<'_, M> {
    fn fill(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        let offset = self.base[0] + offset;
        let Metadata::Extended { block, metadata } = self.metadata else { return self.data.fill(offset, into) };
        interleaved([block, metadata, 0], offset, into.len(), |at, part| self.data.fill(at, &mut into[part]))
    }

    fn fill_non_temporal(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        match self.metadata {
            Metadata::Extended { .. } => self.fill(offset, into),
            Metadata::None | Metadata::Separate(_) => self.data.fill_non_temporal(self.base[0] + offset, into),
        }
    }

    fn fill_metadata(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        let offset = self.base[1] + offset;
        match &mut self.metadata {
            Metadata::None => {
                into.fill(0);
                Ok(())
            }
            Metadata::Separate(transfer) => transfer.fill(offset, into),
            Metadata::Extended { block, metadata } => {
                let shape = [*metadata, *block, *block];
                interleaved(shape, offset, into.len(), |at, part| self.data.fill(at, &mut into[part]))
            }
        }
    }
}

impl<M: GuestMemory> Sink for UserBuffer<'_, M> {
    fn take(&mut self, offset: usize, from: &[u8]) -> Result<(), Fault> {
        let offset = self.base[0] + offset;
        let Metadata::Extended { block, metadata } = self.metadata else { return self.data.take(offset, from) };
        interleaved([block, metadata, 0], offset, from.len(), |at, part| self.data.take(at, &from[part]))
    }

    fn take_metadata(&mut self, offset: usize, from: &[u8]) -> Result<(), Fault> {
        let offset = self.base[1] + offset;
        match &mut self.metadata {
            Metadata::None => Ok(()),
            Metadata::Separate(transfer) => transfer.take(offset, from),
            Metadata::Extended { block, metadata } => {
                let shape = [*metadata, *block, *block];
                interleaved(shape, offset, from.len(), |at, part| self.data.take(at, &from[part]))
            }
        }
    }
}
