//! What the commands of reservations have in common: their data are keys.

use media::{Sink as _, Source as _};

use super::Context;
use crate::dma::{DataPointer, GuestMemory, Transfer};
use crate::reason::Reason;

impl<M: GuestMemory> Context<'_, M> {
    /// The command's data.
    pub(super) fn receive<const BYTES: usize>(&mut self, data: DataPointer) -> Result<[u8; BYTES], Reason> {
        let mut bytes = [0; BYTES];
        self.resolve(data, BYTES)?;
        Transfer::new(self.memory, self.segments).fill(0, &mut bytes).map_err(|_| Reason::DataUnreachable)?;
        Ok(bytes)
    }

    /// Gives the host the command's data.
    pub(super) fn give(&mut self, data: DataPointer, bytes: &[u8]) -> Result<(), Reason> {
        self.resolve(data, bytes.len())?;
        Transfer::new(self.memory, self.segments).take(0, bytes).map_err(|_| Reason::DataUnreachable)
    }
}
