//! What a write brings, on its way to the media by way of the tape.

use media::{Fault, Source};

use crate::writer::Record;

/// Copies bytes to as many others.
pub type CopyBytes = fn(&[u8], &mut [u8]);

/// A source whose data is kept: the guest's memory is read once, to the tape, and from there to the media. What reads of the media return
/// is on the tape, even if the guest changes its memory meanwhile.
pub(super) struct Tee<'a> {
    pub(super) from: &'a mut dyn Source,
    pub(super) record: &'a mut Record,
    pub(super) copy_non_temporal: CopyBytes,
}

impl Tee<'_> {
    #[inline]
    fn fill_by(&mut self, offset: usize, into: &mut [u8], copy: CopyBytes) -> Result<(), Fault> {
        let Some(kept) = self.record.data(offset, into.len()) else { return self.from.fill(offset, into) };
        self.from.fill(offset, kept)?;
        copy(kept, into);
        Ok(())
    }
}

impl Source for Tee<'_> {
    fn fill(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        self.fill_by(offset, into, copy)
    }

    fn fill_non_temporal(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        self.fill_by(offset, into, self.copy_non_temporal)
    }

    fn fill_metadata(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        self.from.fill_metadata(offset, into)
    }
}

pub(super) fn copy(from: &[u8], into: &mut [u8]) {
    into.copy_from_slice(from);
}
