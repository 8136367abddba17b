//! Blocks held in memory between the place that they were read from and the place that they go to.

use crate::ftl::write::Span;
use crate::large_memory::{OutOfMemory, grow};
use crate::volume::{Fault, Sink, Source};

/// Data and metadata of blocks.
#[derive(Clone, Default)]
pub(super) struct Saved {
    pub(super) data: Vec<u8>,
    pub(super) metadata: Vec<u8>,
    /// Where the blocks that are taken begin, in data and in metadata.
    begin: (usize, usize),
}

impl Saved {
    pub(super) fn new(data: Vec<u8>, metadata: Vec<u8>) -> Self {
        Self { data, metadata, begin: (0, 0) }
    }

    /// Makes room behind what is there for the blocks of a span, which are taken next.
    ///
    /// # Errors
    /// Where the system has no memory for them.
    pub(super) fn extend(&mut self, span: &Span) -> Result<(), OutOfMemory> {
        self.begin = (self.data.len(), self.metadata.len());
        grow(&mut self.data, self.begin.0 + span.bytes)?;
        grow(&mut self.metadata, self.begin.1 + (span.bytes >> span.block_shift) * span.metadata_bytes)
    }
}

impl Source for Saved {
    fn fill(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        into.copy_from_slice(self.data.get(offset..offset + into.len()).ok_or(Fault)?);
        Ok(())
    }

    fn fill_metadata(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        into.copy_from_slice(self.metadata.get(offset..offset + into.len()).ok_or(Fault)?);
        Ok(())
    }
}

impl Sink for Saved {
    fn take(&mut self, offset: usize, from: &[u8]) -> Result<(), Fault> {
        let at = self.begin.0 + offset;
        self.data.get_mut(at..at + from.len()).ok_or(Fault)?.copy_from_slice(from);
        Ok(())
    }

    fn take_metadata(&mut self, offset: usize, from: &[u8]) -> Result<(), Fault> {
        let at = self.begin.1 + offset;
        self.metadata.get_mut(at..at + from.len()).ok_or(Fault)?.copy_from_slice(from);
        Ok(())
    }
}
