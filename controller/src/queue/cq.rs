//! A completion queue: we move the tail, the host moves the head. Slots are held before commands are taken.

use std::collections::VecDeque;

use nvme_spec::{COMPLETION_BYTES, Completion};
use zerocopy::IntoBytes;

use super::BadDoorbell;
use crate::dma::{DmaFault, GuestMemory};
use crate::inspect::CompletionQueueState;

pub(crate) struct CompletionQueue {
    base: u64,
    entries: u32,
    head: u32,
    tail: u32,
    phase: bool,
    /// Slots held for commands that are not answered yet, and for `waiting`.
    reserved: u32,
    /// Answers not written yet, with the ordinals of their commands.
    waiting: VecDeque<(Completion, u64)>,
    vector: u16,
    interrupts: bool,
}

impl CompletionQueue {
    /// A queue of `entries` entries (2 to 65536) at guest address `base`; with `interrupts`, `vector` is raised for it.
    pub(crate) fn new(base: u64, entries: u32, vector: u16, interrupts: bool) -> Self {
        assert!((2..=65536).contains(&entries));
        Self { base, entries, head: 0, tail: 0, phase: true, reserved: 0, waiting: VecDeque::new(), vector, interrupts }
    }

    /// The vector to raise, if any.
    pub(crate) fn vector(&self) -> Option<u16> {
        self.interrupts.then_some(self.vector)
    }

    /// Whether the host has seen all that was written.
    pub(crate) fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    pub(crate) fn head(&self) -> u32 {
        self.head
    }

    /// What there is to see of it, under its identifier.
    pub(crate) fn state(&self, id: u16) -> CompletionQueueState {
        let Self { base, entries, head, tail, phase, reserved, .. } = *self;
        CompletionQueueState { id, base, entries, head, tail, phase, reserved, vector: self.vector() }
    }

    /// Whether no further command can be taken until the host moves the head.
    pub(crate) fn is_full(&self) -> bool {
        self.occupied() + self.reserved >= self.entries - 1
    }

    /// Moves the head where the host says it is: between the old head and the tail.
    pub(crate) fn ring(&mut self, head: u16) -> Result<(), BadDoorbell> {
        let head = u32::from(head);
        if head >= self.entries || self.distance(self.head, head) > self.occupied() {
            return Err(BadDoorbell::BadValue);
        }
        self.head = head;
        Ok(())
    }

    /// Holds a slot, if one is free.
    pub(super) fn reserve(&mut self) -> bool {
        let free = !self.is_full();
        self.reserved += u32::from(free);
        free
    }

    /// Gives a held slot back.
    pub(super) fn release(&mut self) {
        assert!(self.reserved > 0);
        self.reserved -= 1;
    }

    /// Takes an answer whose slot is held.
    pub(super) fn push(&mut self, entry: Completion, ordinal: u64) {
        assert!(self.waiting.len() < self.reserved as usize);
        self.waiting.push_back((entry, ordinal));
    }

    /// Whether the answer to the command with this ordinal waits.
    pub(super) fn awaits_writing(&self, ordinal: u64) -> bool {
        self.waiting.iter().any(|(_, waiting)| *waiting == ordinal)
    }

    /// Writes the waiting answers; returns how many. `on_written` is told of each. Stops where the memory is not there: those stay.
    ///
    /// # Errors
    /// The fault, if not all could be written.
    pub(crate) fn publish<M: GuestMemory>(
        &mut self,
        memory: &M,
        mut on_written: impl FnMut(),
    ) -> Result<u32, (u32, DmaFault)> {
        let mut written = 0;
        while let Some((entry, _)) = self.waiting.front() {
            self.write(memory, *entry).map_err(|fault| (written, fault))?;
            self.waiting.pop_front();
            self.release();
            written += 1;
            on_written();
        }
        Ok(written)
    }

    /// NVMe Base 2.1 section 4.2.4: the phase tells the host that the entry is there, so it becomes visible last (B32).
    fn write<M: GuestMemory>(&mut self, memory: &M, mut entry: Completion) -> Result<(), DmaFault> {
        entry.status_and_phase = (entry.status_and_phase.get() & !1 | u16::from(self.phase)).into();
        let [first, second] = *entry.as_bytes().as_chunks::<8>().0 else {
            unreachable!("an entry is two quadwords");
        };
        let address = self.base.wrapping_add(u64::from(self.tail) * COMPLETION_BYTES as u64);
        memory.write(address, &first)?;
        memory.store_u64(address.wrapping_add(8), u64::from_le_bytes(second))?;
        self.tail += 1;
        if self.tail == self.entries {
            self.tail = 0;
            self.phase = !self.phase;
        }
        Ok(())
    }

    fn occupied(&self) -> u32 {
        self.distance(self.head, self.tail)
    }

    /// How far it is from index `from` forward to index `to`.
    fn distance(&self, from: u32, to: u32) -> u32 {
        if to >= from { to - from } else { to + self.entries - from }
    }
}
