//! A completion queue: the controller moves the tail, the host moves the head. Slots are held before commands are taken.

use nvme_spec::{COMPLETION_BYTES, Completion};

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

    pub(crate) fn entries(&self) -> u32 {
        self.entries
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

    /// What is about to be written, with the place of each entry.
    pub(crate) fn preview(&self) -> Vec<(u32, Completion)> {
        let entry = |(number, pair): (u32, &[u64; 2])| {
            let place = self.tail + number;
            let (slot, phase) =
                if place < self.entries { (place, self.phase) } else { (place - self.entries, !self.phase) };
            let [first, second] = *pair;
            (slot, zerocopy::transmute!([first, if phase { second ^ PHASE.to_le() } else { second }]))
        };
        (0..).zip(&self.waiting).map(entry).collect()
    }

    /// Writes the waiting answers; returns how many. With `each`, one by one, and it is told of each before the next is written. Stops
    /// where the memory is not there: those stay.
    ///
    /// # Errors
    /// The fault, if not all could be written.
    #[inline]
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
        let phase = if self.phase { PHASE.to_le() } else { 0 };
        // An entry that has the bit already gets the wrong phase.
        let turn = |run: &mut [[u64; 2]]| run.iter_mut().for_each(|[_, second]| *second ^= phase);
        turn(run);
        let address = self.base.wrapping_add(u64::from(self.tail) * COMPLETION_BYTES as u64);
        // Entries may be written a second time with what they hold already: nobody reuses their slots before they are counted here.
        let count = match memory.store_pairs(address, run) {
            Ok(()) => most,
            Err(_) => {
                // Those that stay get their phase when their turn comes.
                turn(&mut run[1..]);
                memory.store_pairs(address, &run[..1]).inspect_err(|_| turn(&mut run[..1]))?;
                1
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::FlatMemory;

    /// An entry that can be told from others, without its phase.
    fn entry(number: u64) -> [u64; 2] {
        [number.to_le(), (number << 32).to_le()]
    }

    /// The number and the phase of the entry that lies in a slot.
    fn written(memory: &FlatMemory, slot: usize) -> (u64, bool) {
        let bytes = memory.bytes();
        let number = |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("eight bytes"));
        (number(slot * COMPLETION_BYTES), number(slot * COMPLETION_BYTES + 8) & PHASE != 0)
    }

    /// Head, tail, phase and reserved slots, as they are shown; and the free slots.
    fn account(queue: &CompletionQueue) -> (u32, u32, bool, u32, usize) {
        let state = queue.state(5);
        assert_eq!((state.id, state.entries), (5, 4));
        (state.head, state.tail, state.phase, state.reserved, queue.free())
    }

    #[test]
    fn each_slot_is_free_or_held_or_holds_an_entry() {
        let memory = FlatMemory::new(vec![0; 4 * COMPLETION_BYTES]);
        let mut queue = CompletionQueue::new(0, 4, 3, true);
        assert_eq!(account(&queue), (0, 0, true, 0, 3), "one slot stays empty");
        assert!(queue.reserve() && queue.reserve());
        assert_eq!(account(&queue), (0, 0, true, 2, 1));
        queue.release();
        assert_eq!(account(&queue), (0, 0, true, 1, 2));
        queue.push(entry(10), 70);
        let waiting = queue.hold(2, 71);
        waiting.extend([entry(11), entry(12)]);
        assert_eq!(account(&queue), (0, 0, true, 3, 0));
        assert!(!queue.reserve(), "none is free");
        assert_eq!(
            (69..74).map(|ordinal| queue.awaits_writing(ordinal)).collect::<Vec<_>>(),
            [false, true, true, true, false]
        );
        assert_eq!((queue.publish(&memory, None), queue.unseen()), (Ok(3), 3));
        assert_eq!(account(&queue), (0, 3, true, 0, 0));
        assert!(!queue.awaits_writing(71));
        assert_eq!([0, 1, 2].map(|slot| written(&memory, slot)), [(10, true), (11, true), (12, true)]);
    }

    #[test]
    fn entries_go_around_the_end_with_the_other_phase() {
        let memory = FlatMemory::new(vec![0; 4 * COMPLETION_BYTES]);
        let mut queue = CompletionQueue::new(0, 4, 0, true);
        queue.hold(3, 1).extend([entry(1), entry(2), entry(3)]);
        assert_eq!(queue.publish(&memory, None), Ok(3));
        queue.ring(2).expect("between head and tail");
        queue.hold(2, 4).extend([entry(4), entry(5)]);
        assert_eq!((queue.publish(&memory, None), queue.unseen()), (Ok(2), 3));
        assert_eq!(queue.head(), 2);
        assert_eq!(account(&queue), (2, 1, false, 0, 0));
        assert_eq!([3, 0, 1].map(|slot| written(&memory, slot)), [(4, true), (5, false), (2, true)]);
        queue.ring(3).expect("between head and tail");
        assert_eq!(
            queue.ring(4),
            Err(BadDoorbell::BadValue),
            "there is no such slot, though two entries are not taken"
        );
        queue.ring(1).expect("around the end");
        assert_eq!((account(&queue), queue.unseen(), queue.head()), ((1, 1, false, 0, 3), 0, 1));
    }

    #[test]
    fn a_head_is_taken_up_to_the_tail_and_no_further() {
        let memory = FlatMemory::new(vec![0; 4 * COMPLETION_BYTES]);
        let mut queue = CompletionQueue::new(0, 4, 0, true);
        queue.hold(2, 1).extend([entry(1), entry(2)]);
        assert_eq!(queue.publish(&memory, None), Ok(2));
        for head in [3, 4, u16::MAX] {
            assert_eq!(queue.ring(head), Err(BadDoorbell::BadValue), "{head}");
        }
        assert_eq!((queue.ring(1), queue.ring(0)), (Ok(()), Err(BadDoorbell::BadValue)), "never back");
        assert_eq!(account(&queue), (1, 2, true, 0, 2));
        assert_eq!((queue.ring(1), queue.ring(2)), (Ok(()), Ok(())));
        assert_eq!(account(&queue), (2, 2, true, 0, 3));
    }

    #[test]
    fn answers_whose_memory_is_gone_stay_and_those_before_them_do_not() {
        // Slots 0 and 1 are there.
        let memory = FlatMemory::new(vec![0; 2 * COMPLETION_BYTES]);
        let mut queue = CompletionQueue::new(0, 4, 0, true);
        queue.hold(3, 20).extend([entry(1), entry(2), entry(3)]);
        assert!(matches!(queue.publish(&memory, None), Err((2, _))));
        assert_eq!((account(&queue), queue.unseen()), ((0, 2, true, 1, 0), 2));
        assert!(!queue.awaits_writing(21) && queue.awaits_writing(22));
        assert!(matches!(queue.publish(&memory, None), Err((0, _))), "nothing more");
        assert_eq!([0, 1].map(|slot| written(&memory, slot)), [(1, true), (2, true)]);
    }

    #[test]
    fn each_entry_is_told_of_before_the_next_is_written() {
        let memory = FlatMemory::new(vec![0; 4 * COMPLETION_BYTES]);
        let mut queue = CompletionQueue::new(0, 4, 0, true);
        queue.hold(3, 1).extend([entry(1), entry(2), entry(3)]);
        let seen = std::cell::RefCell::new(Vec::new());
        let each = || seen.borrow_mut().push((0..4).filter(|slot| written(&memory, *slot).1).count());
        assert_eq!(queue.publish(&memory, Some(&each)), Ok(3));
        assert_eq!(*seen.borrow(), [1, 2, 3]);
    }

    #[test]
    fn a_queue_holds_two_commands_from_three_entries_on() {
        let holds_two = |entries| CompletionQueue::new(0, entries, 0, true).holds_two();
        assert_eq!([2, 3, 4, 65536].map(holds_two), [false, true, true, true]);
    }

    #[test]
    fn a_vector_is_raised_only_with_interrupts() {
        assert_eq!(CompletionQueue::new(0, 2, 7, true).vector(), Some(7));
        assert_eq!(CompletionQueue::new(0, 2, 7, false).vector(), None);
    }
}
