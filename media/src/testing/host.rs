//! The simplest hosts: one whose data is one byte, and one that keeps what it is given.

use crate::volume::{Fault, Sink, Source};

/// A host whose data is one byte, again and again.
#[derive(Clone, Copy, Debug)]
pub struct Fill(pub u8);

impl Source for Fill {
    fn fill(&mut self, _offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        into.fill(self.0);
        Ok(())
    }
}

/// A host that keeps what it is given, as far as it has room.
#[derive(Clone, Debug)]
pub struct Bytes(pub Vec<u8>);

impl Sink for Bytes {
    fn take(&mut self, offset: usize, from: &[u8]) -> Result<(), Fault> {
        self.0[offset..offset + from.len()].copy_from_slice(from);
        Ok(())
    }
}
