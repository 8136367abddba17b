//! The seam between the image and what it lies on. Owns no state.

use super::backing::{StoreError, Trouble};
use super::schedule::{Bytes, Done, Operation};
use crate::ordering::Order;

/// A disk that works behind the caller's back; [`Operation`] says in which order.
pub trait Disk {
    /// Does an operation, some time. Returns how many operations that take turns were called so far.
    fn call(&mut self, operation: Operation) -> u64;

    /// Asks that everything called so far be durable (or only written); returns the ticket.
    fn ticket(&mut self, durable: bool) -> u64;

    /// The ticket of everything that was called before the drive was taken apart: until it is done, the rest lies over what is read.
    fn last_ticket(&mut self) -> u64 {
        self.ticket(Order::TakenAfterSync.kept())
    }

    /// Reads at `offset` what was written (the caller knows what was: its bytes are no longer shared); zeroes beyond the end.
    ///
    /// # Errors
    /// Where the disk fails.
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), StoreError>;

    /// Makes it so long, at once: what is not written of it is a hole.
    ///
    /// # Errors
    /// Where it cannot be that long.
    fn set_length(&mut self, bytes: u64) -> Result<(), StoreError> {
        let _ = bytes;
        Ok(())
    }

    /// Whether more waits to be written than should.
    fn backlogged(&self) -> bool {
        false
    }

    /// What keeps it from going on.
    fn trouble(&mut self) -> Option<Trouble> {
        None
    }

    /// How far it has come.
    ///
    /// # Errors
    /// Where the disk is stuck; nothing is lost, and it tries again.
    fn done(&mut self) -> Result<Done, StoreError>;

    /// Takes everything out; leaves a disk that holds nothing.
    #[must_use]
    fn take(&mut self) -> Self
    where
        Self: Sized;

    /// A write in turn.
    fn write(&mut self, offset: u64, bytes: Vec<u8>) -> u64 {
        self.call(Operation::Turn(offset, Bytes::new(bytes)))
    }
}

/// How far a disk has come that does everything as soon as it is called, and so keeps every order.
#[derive(Clone, Copy, Debug, Default)]
pub struct AtOnce {
    done: Done,
}

impl AtOnce {
    /// Does an operation: `write` is handed what it writes, and where. Answers as [`Disk::call`] does.
    pub fn call(&mut self, operation: Operation, write: impl FnOnce(u64, &[u8])) -> u64 {
        self.done.durable_turns += u64::from(!matches!(operation, Operation::Free(..)));
        match operation {
            Operation::Free(offset, bytes)
            | Operation::Turn(offset, bytes)
            | Operation::Claim { offset, bytes, .. } => {
                write(offset, &bytes);
            }
            Operation::Discard(..) | Operation::Barrier(_) | Operation::Sync(_) | Operation::Notice(_) => {}
        }
        self.done.durable_turns
    }

    /// Answers as [`Disk::ticket`] does.
    pub fn ticket(&mut self) -> u64 {
        self.done.durable_turns += 1;
        self.done.ticket += 1;
        self.done.ticket
    }

    /// Answers as [`Disk::done`] does.
    #[must_use]
    pub const fn done(&self) -> Done {
        self.done
    }
}
