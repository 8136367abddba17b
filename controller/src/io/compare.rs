//! Compare (NVM Command Set 1.1 section 3.3.1): a read whose data is compared with the host's instead of being returned.

use media::power::mutation::{Mutation, mutated};
use media::{Fault, LbaRange, Request, Sink, Source, Submitted};

use super::Context;
use super::buffer::UserBuffer;
use crate::command::Access;
use crate::dma::GuestMemory;
use crate::reason::Reason;
use crate::shared::namespace::Namespace;

/// Compares what the media gives with the host's data, up to the first difference. A difference is no fault of memory: the media goes
/// on, and what it says of the read comes first.
struct Comparison<'a, M> {
    expected: UserBuffer<'a, M>,
    differs: bool,
}

impl<M: GuestMemory> Comparison<'_, M> {
    /// Holds `from` against what `expect` gives, piece by piece.
    fn compare(
        &mut self,
        from: &[u8],
        mut expect: impl FnMut(&mut UserBuffer<'_, M>, usize, &mut [u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut expected = [0; 4096];
        let mut done = 0;
        while done < from.len() && !self.differs {
            let piece = (from.len() - done).min(expected.len());
            expect(&mut self.expected, done, &mut expected[..piece])?;
            self.differs = expected[..piece] != from[done..done + piece];
            done += piece;
        }
        Ok(())
    }
}

impl<M: GuestMemory> Sink for Comparison<'_, M> {
    fn take(&mut self, offset: usize, from: &[u8]) -> Result<(), Fault> {
        self.compare(from, |expected, done, into| expected.fill(offset + done, into))
    }

    fn take_metadata(&mut self, offset: usize, from: &[u8]) -> Result<(), Fault> {
        if mutated(Mutation::CompareMetadata) {
            return Ok(());
        }
        self.compare(from, |expected, done, into| expected.fill_metadata(offset + done, into))
    }
}

/// Counts as a read (B87); a difference of data or metadata is Compare Failure (B136).
pub(super) fn start<M: GuestMemory>(
    context: &mut Context<'_, M>,
    namespace: &Namespace,
    access: Access,
) -> Result<Submitted, Reason> {
    let range = context.find_blocks(namespace, access)?;
    let range = context.piece_of(range);
    let range = if mutated(Mutation::CompareFirst) { LbaRange::new(range.start, 1) } else { range };
    let (now, token) = (context.now, context.token);
    let (expected, media) = context.user_buffer(namespace, access.blocks.start);
    let mut comparison = Comparison { expected, differs: false };
    let submitted =
        media.submit(now, token, namespace.volume, Request::Read { range, into: &mut comparison, force: access.force });
    context.origin.differs = comparison.differs;
    Ok(submitted)
}
