//! A submission queue: the host moves the tail, the controller moves the head. Entries are read many at a time, into a buffer.

use nvme_spec::{COMMAND_BYTES, Command};
use zerocopy::IntoBytes;

use super::{BadDoorbell, SubmissionQueueState};
use crate::dma::{DmaFault, GuestMemory};

/// How many entries are read at a time.
const AHEAD_MAX: usize = 32;

pub(crate) struct SubmissionQueue {
    base: u64,
    entries: u32,
    head: u32,
    tail: u32,
    cqid: u16,
    /// The first `read` of these are entries that were read, and those from `taken` on are the ones from `head` on.
    ahead: Box<[Command; AHEAD_MAX]>,
    read: usize,
    taken: usize,
}

impl SubmissionQueue {
    /// A queue of `entries` entries (2 to 65536) at guest address `base`, answered in completion queue `cqid`.
    pub(crate) fn new(base: u64, entries: u32, cqid: u16) -> Self {
        assert!((2..=65536).contains(&entries));
        let ahead = Box::new([Command::default(); AHEAD_MAX]);
        Self { base, entries, head: 0, tail: 0, cqid, ahead, read: 0, taken: 0 }
    }

    #[inline]
    pub(crate) fn completion_queue(&self) -> u16 {
        self.cqid
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// Index of the next entry to take, as completions report it.
    #[inline]
    pub(crate) fn head(&self) -> u16 {
        (self.head & 0xffff) as u16
    }

    pub(crate) fn tail(&self) -> u32 {
        self.tail
    }

    pub(crate) fn entries(&self) -> u32 {
        self.entries
    }

    /// What there is to see of it, under its identifier.
    pub(crate) fn state(&self, id: u16) -> SubmissionQueueState {
        let Self { base, entries, head, tail, cqid, .. } = *self;
        SubmissionQueueState { id, base, entries, head, tail, completion_queue: cqid }
    }

    /// Moves the tail where the host says it is.
    pub(crate) fn ring(&mut self, tail: u16) -> Result<(), BadDoorbell> {
        let tail = u32::from(tail);
        if tail >= self.entries {
            return Err(BadDoorbell::BadValue);
        }
        self.tail = tail;
        if self.waiting() < self.read - self.taken {
            // A tail that went back took away what was read: it may be other entries when the tail comes by again.
            self.forget_ahead();
        }
        Ok(())
    }

    /// Copies the next entry, once, and moves the head. The queue must not be empty.
    #[inline]
    pub(super) fn fetch<M: GuestMemory>(&mut self, memory: &M) -> Result<&Command, DmaFault> {
        self.peek(memory)?;
        self.advance();
        Ok(self.latest())
    }

    /// The entry that was copied last and left behind.
    #[inline]
    pub(super) fn latest(&self) -> &Command {
        &self.ahead[self.taken - 1]
    }

    /// Where the entry lies that was taken last.
    pub(crate) fn address_of_latest(&self) -> u64 {
        let index = self.head.checked_sub(1).unwrap_or(self.entries - 1);
        self.base.wrapping_add(u64::from(index) * COMMAND_BYTES as u64)
    }

    /// Copies the next entry and leaves it where it is. The queue must not be empty.
    #[inline]
    pub(super) fn peek<M: GuestMemory>(&mut self, memory: &M) -> Result<&Command, DmaFault> {
        if self.taken == self.read {
            self.read_ahead(memory)?;
        }
        Ok(&self.ahead[self.taken])
    }

    /// Moves the head behind the next entry, which was copied.
    #[inline]
    pub(super) fn advance(&mut self) {
        self.head = if self.head + 1 == self.entries { 0 } else { self.head + 1 };
        self.taken += 1;
    }

    /// The next entries, `most` at most and as far as they were read together; none where there are none or they cannot be read.
    #[inline]
    pub(super) fn look<M: GuestMemory>(&mut self, memory: &M, most: usize) -> &[Command] {
        if self.taken == self.read && (self.is_empty() || self.read_ahead(memory).is_err()) {
            return &[];
        }
        &self.ahead[self.taken..self.read.min(self.taken + most)]
    }

    /// Moves the head behind this many of the entries that [`Self::look`] showed; of each, its identifier and where the head was then.
    #[inline]
    pub(super) fn take(&mut self, count: usize) -> impl Iterator<Item = (u16, u16)> {
        // They lie in one piece, so that the head comes round behind the last of them at the earliest.
        let (mut head, entries) = (self.head, self.entries);
        let end = head + u32::try_from(count).expect("no more than there are entries");
        self.head = if end == entries { 0 } else { end };
        let taken = &self.ahead[self.taken..self.taken + count];
        self.taken += count;
        taken.iter().map(move |entry| {
            let next = head.wrapping_add(1);
            head = if next == entries { 0 } else { next };
            (entry.cid.get(), (head & 0xffff) as u16)
        })
    }

    /// Moves the head back to the entry that was fetched last, which nobody has been told of.
    pub(super) fn step_back(&mut self) {
        self.head = self.head.checked_sub(1).unwrap_or(self.entries - 1);
        match self.taken.checked_sub(1) {
            Some(taken) => self.taken = taken,
            // The entry behind it was read since.
            None => self.forget_ahead(),
        }
    }

    /// Reads the entries that are there, as far as they lie in one piece and fit the buffer; where that cannot be done, one.
    #[inline(never)]
    fn read_ahead<M: GuestMemory>(&mut self, memory: &M) -> Result<(), DmaFault> {
        assert!(!self.is_empty());
        let to_end = (self.entries - self.head) as usize;
        let most = self.waiting().min(to_end).min(AHEAD_MAX);
        let address = self.base.wrapping_add(u64::from(self.head) * COMMAND_BYTES as u64);
        self.forget_ahead();
        // The end of what is asked for may lie in memory that is gone; the next entry may not.
        self.read = match memory.read(address, self.ahead[..most].as_mut_bytes()) {
            Ok(()) => most,
            Err(_) => memory.read(address, self.ahead[0].as_mut_bytes()).map(|()| 1)?,
        };
        Ok(())
    }

    fn forget_ahead(&mut self) {
        (self.read, self.taken) = (0, 0);
    }

    /// How many entries the host has put there.
    fn waiting(&self) -> usize {
        let (head, tail) = (self.head, self.tail);
        (if tail >= head { tail - head } else { tail + self.entries - head }) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::FlatMemory;

    fn taken(queue: &mut SubmissionQueue, memory: &FlatMemory) -> Vec<u16> {
        let mut cids = Vec::new();
        while !queue.is_empty() {
            cids.push(queue.fetch(memory).expect("the queue is there").cid.get());
        }
        cids
    }

    fn put(memory: &FlatMemory, index: usize, cid: u16) {
        let command = Command { cid: cid.into(), ..Command::default() };
        memory.bytes()[index * COMMAND_BYTES..][..COMMAND_BYTES].copy_from_slice(command.as_bytes());
    }

    #[test]
    fn entries_are_taken_in_order_around_the_end_of_the_queue() {
        let memory = FlatMemory::new(vec![0; 8 * COMMAND_BYTES]);
        let mut queue = SubmissionQueue::new(0, 8, 1);
        for (index, cid) in (0..8).zip(100..) {
            put(&memory, index, cid);
        }
        queue.ring(6).expect("inside");
        assert_eq!(taken(&mut queue, &memory), [100, 101, 102, 103, 104, 105]);
        queue.ring(3).expect("inside");
        assert_eq!(taken(&mut queue, &memory), [106, 107, 100, 101, 102]);
    }

    #[test]
    fn a_tail_that_goes_back_and_forth_does_not_bring_old_entries() {
        let memory = FlatMemory::new(vec![0; 8 * COMMAND_BYTES]);
        let mut queue = SubmissionQueue::new(0, 8, 1);
        queue.ring(4).expect("inside");
        assert_eq!(queue.fetch(&memory).expect("there").cid.get(), 0);
        queue.ring(2).expect("inside");
        put(&memory, 1, 7);
        put(&memory, 2, 8);
        assert_eq!(taken(&mut queue, &memory), [7]);
        queue.ring(3).expect("inside");
        assert_eq!(taken(&mut queue, &memory), [8]);
    }

    #[test]
    fn what_can_be_read_of_a_queue_is_taken_where_its_end_is_gone() {
        let memory = FlatMemory::new(vec![0; 2 * COMMAND_BYTES]);
        let mut queue = SubmissionQueue::new(0, 8, 1);
        queue.ring(4).expect("inside");
        assert!(queue.fetch(&memory).is_ok() && queue.fetch(&memory).is_ok());
        assert!(queue.fetch(&memory).is_err());
        assert_eq!(queue.head(), 2);
    }

    #[test]
    fn the_first_of_a_pair_goes_back_also_after_the_second_was_looked_at() {
        let memory = FlatMemory::new(vec![0; 8 * COMMAND_BYTES]);
        let mut queue = SubmissionQueue::new(0, 8, 1);
        for (index, cid) in (0..8).zip(100..) {
            put(&memory, index, cid);
        }
        // The second lies at the start of the queue's memory, and is read by itself.
        queue.ring(7).expect("inside");
        assert_eq!(taken(&mut queue, &memory).len(), 7);
        queue.ring(1).expect("inside");
        assert_eq!(queue.fetch(&memory).expect("there").cid.get(), 107);
        assert_eq!(queue.peek(&memory).expect("there").cid.get(), 100);
        queue.step_back();
        assert_eq!(queue.head(), 7);
        assert_eq!(taken(&mut queue, &memory), [107, 100]);
    }

    /// What the fast path sees of a queue: commands that are looked at and then taken together.
    #[test]
    fn entries_taken_together_say_where_the_head_was_behind_each() {
        let memory = FlatMemory::new(vec![0; 8 * COMMAND_BYTES]);
        let mut queue = SubmissionQueue::new(0, 8, 1);
        (0..8).zip(100..).for_each(|(index, cid)| put(&memory, index, cid));
        queue.ring(5).expect("inside");
        assert_eq!(queue.look(&memory, 3).len(), 3);
        assert_eq!(queue.take(2).collect::<Vec<_>>(), [(100, 1), (101, 2)]);
        assert_eq!((queue.head(), queue.is_empty()), (2, false));
        queue.ring(2 + 8 - 3).expect("inside");
        assert_eq!(queue.look(&memory, 8).len(), 3, "what was read together");
        assert_eq!(queue.take(3).collect::<Vec<_>>(), [(102, 3), (103, 4), (104, 5)]);
        queue.ring(2).expect("around the end");
        let shown: Vec<u16> = queue.look(&memory, 8).iter().map(|entry| entry.cid.get()).collect();
        assert_eq!(shown, [105, 106, 107], "up to the end of the queue's memory");
        assert_eq!(queue.take(3).collect::<Vec<_>>(), [(105, 6), (106, 7), (107, 0)]);
        assert_eq!((queue.head(), queue.tail()), (0, 2));
        assert_eq!(queue.look(&memory, 8).len(), 2);
        assert_eq!(queue.take(2).collect::<Vec<_>>(), [(100, 1), (101, 2)]);
        assert!(queue.is_empty() && queue.look(&memory, 8).is_empty());
    }

    #[test]
    fn the_head_of_the_largest_queue_comes_round_to_zero() {
        const ENTRIES: usize = 65536;
        let memory = FlatMemory::new(vec![0; ENTRIES * COMMAND_BYTES]);
        let mut queue = SubmissionQueue::new(0, 65536, 1);
        put(&memory, ENTRIES - 1, 9);
        queue.ring(u16::MAX).expect("inside");
        assert_eq!(taken(&mut queue, &memory).len(), ENTRIES - 1);
        assert_eq!(queue.head(), u16::MAX);
        queue.ring(0).expect("around the end");
        assert_eq!(queue.look(&memory, 32).len(), 1);
        assert_eq!(queue.take(1).collect::<Vec<_>>(), [(9, 0)]);
        assert_eq!((queue.head(), queue.state(4).head), (0, 0));
    }

    #[test]
    fn a_tail_lies_inside_the_queue() {
        let mut queue = SubmissionQueue::new(0, 8, 1);
        assert_eq!(queue.ring(8), Err(BadDoorbell::BadValue));
        assert_eq!((queue.ring(7), queue.tail(), queue.is_empty()), (Ok(()), 7, false));
        assert_eq!((queue.ring(0), queue.is_empty()), (Ok(()), true));
    }

    #[test]
    fn entries_are_read_where_they_lie_and_so_many_at_a_time() {
        let memory = FlatMemory::new(vec![0; 66 * COMMAND_BYTES]);
        let mut queue = SubmissionQueue::new(2 * COMMAND_BYTES as u64, 64, 1);
        (2..66).zip(0..).for_each(|(index, cid)| put(&memory, index, cid));
        queue.ring(63).expect("inside");
        assert_eq!(queue.look(&memory, 64).len(), AHEAD_MAX);
        let cids = taken(&mut queue, &memory);
        assert_eq!(cids, (0..63).collect::<Vec<_>>());
    }
}
