//! A submission queue: the host moves the tail, we move the head.

use nvme_spec::{COMMAND_BYTES, Command};
use zerocopy::FromBytes;

use super::BadDoorbell;
use crate::dma::{DmaFault, GuestMemory};
use crate::inspect::SubmissionQueueState;

pub(crate) struct SubmissionQueue {
    base: u64,
    entries: u32,
    head: u32,
    tail: u32,
    cqid: u16,
}

impl SubmissionQueue {
    /// A queue of `entries` entries (2 to 65536) at guest address `base`, answered in completion queue `cqid`.
    pub(crate) fn new(base: u64, entries: u32, cqid: u16) -> Self {
        assert!((2..=65536).contains(&entries));
        Self { base, entries, head: 0, tail: 0, cqid }
    }

    pub(crate) fn completion_queue(&self) -> u16 {
        self.cqid
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// Index of the next entry to take, as completions report it.
    pub(crate) fn head(&self) -> u16 {
        u16::try_from(self.head).expect("an index is below 65536")
    }

    pub(crate) fn tail(&self) -> u32 {
        self.tail
    }

    /// What there is to see of it, under its identifier.
    pub(crate) fn state(&self, id: u16) -> SubmissionQueueState {
        let Self { base, entries, head, tail, cqid } = *self;
        SubmissionQueueState { id, base, entries, head, tail, completion_queue: cqid }
    }

    /// Moves the tail where the host says it is.
    pub(crate) fn ring(&mut self, tail: u16) -> Result<(), BadDoorbell> {
        let tail = u32::from(tail);
        if tail >= self.entries {
            return Err(BadDoorbell::BadValue);
        }
        self.tail = tail;
        Ok(())
    }

    /// Copies the next entry, once, and moves the head. The queue must not be empty.
    pub(super) fn fetch<M: GuestMemory>(&mut self, memory: &M) -> Result<Command, DmaFault> {
        assert!(!self.is_empty());
        let mut bytes = [0; COMMAND_BYTES];
        let address = self.base.wrapping_add(u64::from(self.head) * COMMAND_BYTES as u64);
        memory.read(address, &mut bytes)?;
        self.head = if self.head + 1 == self.entries { 0 } else { self.head + 1 };
        Ok(Command::read_from_bytes(&bytes).expect("the sizes agree"))
    }
}
