//! A host that keeps what it is given.

use media::volume::{Fault, Sink};

pub struct Bytes(pub Vec<u8>);

impl Sink for Bytes {
    fn take(&mut self, offset: usize, from: &[u8]) -> Result<(), Fault> {
        self.0[offset..offset + from.len()].copy_from_slice(from);
        Ok(())
    }
}
