//! Compare (NVM Command Set 1.1 section 3.3.1): a read whose data is held against the host's instead of being handed over.

use media::{Fault, MediaError, Request, Sink, Source, Submitted};
use nvme_spec::Status;

use super::Context;
use crate::command::Blocks;
use crate::dma::{DataPointer, GuestMemory, Transfer};
use crate::namespace::Namespace;

/// Compares what the media gives with the host's data, and stops at the first difference.
struct Comparison<'a, M> {
    expected: Transfer<'a, M>,
    differs: bool,
}

impl<M: GuestMemory> Sink for Comparison<'_, M> {
    fn take(&mut self, offset: usize, from: &[u8]) -> Result<(), Fault> {
        let mut expected = [0; 4096];
        let mut done = 0;
        while done < from.len() {
            let piece = (from.len() - done).min(expected.len());
            self.expected.fill(offset + done, &mut expected[..piece])?;
            if expected[..piece] != from[done..done + piece] {
                self.differs = true;
                return Err(Fault);
            }
            done += piece;
        }
        Ok(())
    }
}

/// Counts as a read (B87); a difference is Compare Failure (B136).
pub(super) fn start<M: GuestMemory>(
    context: &mut Context<'_, M>,
    namespace: &Namespace,
    blocks: Blocks,
    force: bool,
    data: DataPointer,
) -> Result<Submitted, Status> {
    let range = context.range(namespace, blocks)?;
    let length = context.length(namespace, blocks)?;
    context.resolve(data, length)?;
    context.counts.read_commands += 1;
    context.counts.bytes_read += length as u128;
    let (now, token) = (context.now, context.token);
    let (expected, media) = context.transfer();
    let mut comparison = Comparison { expected, differs: false };
    let submitted = media.submit(now, token, namespace.volume, Request::Read { range, into: &mut comparison, force });
    match submitted {
        Submitted::Done(Err(MediaError::HostMemory)) if comparison.differs => Err(Status::COMPARE_FAILURE),
        submitted => Ok(submitted),
    }
}
