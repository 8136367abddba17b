//! A completion queue: we move the tail, the host moves the head. Slots are held before commands are taken.

use nvme_spec::COMPLETION_BYTES;

use super::{BadDoorbell, CompletionQueueState};
use crate::dma::{DmaFault, GuestMemory};

pub(crate) struct CompletionQueue {
    base: u64,
    entries: u32,
    head: u32,
    tail: u32,
    phase: bool,
    /// Slots that no entry is in and no command holds.
    free: u32,
    /// Slots held for commands that are not answered yet, and for `waiting`.
    reserved: u32,
    /// Answers not written yet, as two little-endian quadwords each; their phase, which depends on where they go, they get when they
    /// are written.
    waiting: Vec<[u64; 2]>,
    /// The ordinals of the commands that wait there.
    ordinals: Vec<u64>,
    vector: u16,
    interrupts: bool,
}

/// The phase bit in the second quadword of an entry.
const PHASE: u64 = 1 << 48;

impl CompletionQueue {
    /// A queue of `entries` entries (2 to 65536) at guest address `base`; with `interrupts`, `vector` is raised for it.
    pub(crate) fn new(base: u64, entries: u32, vector: u16, interrupts: bool) -> Self {
        assert!((2..=65536).contains(&entries));
        Self {
            base,
            entries,
            head: 0,
            tail: 0,
            phase: true,
            free: entries - 1,
            reserved: 0,
            waiting: Vec::new(),
            ordinals: Vec::new(),
            vector,
            interrupts,
        }
    }

    /// The vector to raise, if any.
    pub(crate) fn vector(&self) -> Option<u16> {
        self.interrupts.then_some(self.vector)
    }

    /// How many of the entries that were written the host has not taken.
    pub(crate) fn unseen(&self) -> u32 {
        self.distance(self.head, self.tail)
    }

    pub(crate) fn head(&self) -> u32 {
        self.head
    }

    /// What there is to see of it, under its identifier.
    pub(crate) fn state(&self, id: u16) -> CompletionQueueState {
        let Self { base, entries, head, tail, phase, reserved, .. } = *self;
        CompletionQueueState { id, base, entries, head, tail, phase, reserved, vector: self.vector() }
    }

    /// Moves the head where the host says it is: between the old head and the tail.
    pub(crate) fn ring(&mut self, head: u16) -> Result<(), BadDoorbell> {
        let head = u32::from(head);
        if head >= self.entries {
            return Err(BadDoorbell::BadValue);
        }
        let seen = self.distance(self.head, head);
        if seen > self.distance(self.head, self.tail) {
            return Err(BadDoorbell::BadValue);
        }
        self.head = head;
        self.free += seen;
        Ok(())
    }

    /// Holds a slot, if one is free.
    #[inline]
    pub(super) fn reserve(&mut self) -> bool {
        let Some(free) = self.free.checked_sub(1) else { return false };
        self.free = free;
        self.reserved += 1;
        true
    }

    /// How many slots are free.
    #[inline]
    pub(super) fn free(&self) -> usize {
        self.free as usize
    }

    /// Takes slots for answers to the commands with ordinals from `first` on; they are to be put into what is returned.
    #[inline]
    pub(super) fn hold(&mut self, count: usize, first: u64) -> &mut Vec<[u64; 2]> {
        let slots = u32::try_from(count).expect("no more than there are entries");
        self.free -= slots;
        self.reserved += slots;
        self.ordinals.extend(first..first + count as u64);
        &mut self.waiting
    }

    /// Whether two commands at once can ever have their slots.
    pub(super) fn holds_two(&self) -> bool {
        self.entries > 2
    }

    /// Gives a held slot back.
    pub(super) fn release(&mut self) {
        assert!(self.reserved > 0);
        self.reserved -= 1;
        self.free += 1;
    }

    /// Takes an answer whose slot is held, as two little-endian quadwords.
    #[inline]
    pub(super) fn push(&mut self, entry: [u64; 2], ordinal: u64) {
        assert!(self.waiting.len() < self.reserved as usize, "an answer has a slot");
        self.waiting.push(entry);
        self.ordinals.push(ordinal);
    }

    /// Whether the answer to the command with this ordinal waits.
    pub(super) fn awaits_writing(&self, ordinal: u64) -> bool {
        self.ordinals.contains(&ordinal)
    }

    /// Writes the waiting answers; returns how many. With `each`, one by one, and it is told of each before the next is written. Stops
    /// where the memory is not there: those stay.
    ///
    /// # Errors
    /// The fault, if not all could be written.
    pub(crate) fn publish<M: GuestMemory>(
        &mut self,
        memory: &M,
        each: Option<&dyn Fn()>,
    ) -> Result<u32, (u32, DmaFault)> {
        let mut written = 0;
        while !self.waiting.is_empty() {
            written += self.publish_run(memory, each.is_none()).map_err(|fault| (written, fault))?;
            if let Some(each) = each {
                each();
            }
        }
        Ok(written)
    }

    /// Writes the answers up to the end of the queue's memory together; if that fails, the first of them.
    ///
    /// NVMe Base 2.1 section 4.2.4: the phase tells the host that the entry is there, so it becomes visible last (B32).
    fn publish_run<M: GuestMemory>(&mut self, memory: &M, together: bool) -> Result<u32, DmaFault> {
        let to_end = self.entries - self.tail;
        let most = if together { self.waiting.len().min(to_end as usize) } else { 1 };
        let run = &mut self.waiting[..most];
        if self.phase {
            run.iter_mut().for_each(|[_, second]| *second |= PHASE.to_le());
        }
        let address = self.base.wrapping_add(u64::from(self.tail) * COMPLETION_BYTES as u64);
        // Entries may be written a second time with what they hold already: nobody reuses their slots before they are counted here.
        let count = match memory.store_pairs(address, run) {
            Ok(()) => most,
            Err(_) => memory.store_pairs(address, &run[..1]).map(|()| 1)?,
        };
        if count == self.waiting.len() {
            self.waiting.clear();
            self.ordinals.clear();
        } else {
            self.waiting.drain(..count);
            self.ordinals.drain(..count);
        }
        let count = u32::try_from(count).expect("no more than there are entries");
        self.reserved -= count;
        self.tail += count;
        if self.tail == self.entries {
            self.tail = 0;
            self.phase = !self.phase;
        }
        Ok(count)
    }

    /// How far it is from index `from` forward to index `to`.
    fn distance(&self, from: u32, to: u32) -> u32 {
        if to >= from { to - from } else { to + self.entries - from }
    }
}
