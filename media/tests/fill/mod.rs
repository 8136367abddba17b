//! A host whose data is one byte, again and again.

use media::volume::{Fault, Source};

#[derive(Clone, Copy)]
pub struct Fill(pub u8);

impl Source for Fill {
    fn fill(&mut self, _offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        into.fill(self.0);
        Ok(())
    }
}
