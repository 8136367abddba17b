//! Ring arithmetic of the two kinds of queue. A ring knows where its entries lie and where it stands, but reads and writes nothing:
//! memory and doorbells are the host's.

use std::collections::BTreeMap;

use nvme_spec::{COMMAND_BYTES, COMPLETION_BYTES, Completion};

/// The most entries a queue may have: its size is a 16-bit zero-based number.
pub const ENTRIES_MAX: u32 = 1 << 16;

/// A number of entries as the commands and registers want it.
///
/// # Panics
/// If a queue cannot have this many entries.
#[must_use]
pub fn entries_z(entries: u32) -> u16 {
    entries.checked_sub(1).and_then(|z| u16::try_from(z).ok()).expect("a queue has 1 to 65536 entries")
}

/// The position after `at` in a ring of `entries`.
fn after(at: u16, entries: u32) -> u16 {
    if u32::from(at) + 1 == entries { 0 } else { at + 1 }
}

/// A submission queue, from the host's side.
#[derive(Clone, Debug)]
pub struct SubmissionQueue {
    /// Guest address of entry 0.
    pub base: u64,
    /// Number of entries; one of them always stays empty.
    pub entries: u32,
    /// The completion queue that answers.
    pub cqid: u16,
    /// The entry to be written next.
    pub tail: u16,
    /// The tail that the controller was last told.
    pub tail_told: u16,
    /// The controller's head, from the last completion.
    pub head: u16,
    next_cid: u16,
    /// How many commands of each identifier wait for their completion: 1, unless a test reuses one.
    outstanding: BTreeMap<u16, u32>,
}

impl SubmissionQueue {
    /// An empty queue.
    #[must_use]
    pub const fn new(base: u64, entries: u32, cqid: u16) -> Self {
        Self { base, entries, cqid, tail: 0, tail_told: 0, head: 0, next_cid: 0, outstanding: BTreeMap::new() }
    }

    /// Whether the next entry would make the queue look empty.
    #[must_use]
    pub fn is_full(&self) -> bool {
        after(self.tail, self.entries) == self.head
    }

    /// How many commands wait for their completion.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding.values().map(|&count| count as usize).sum()
    }

    /// A command identifier that nobody has. FFFFh is left out: in the error log it stands for no command.
    ///
    /// # Panics
    /// If all are taken, which a queue of at most 65536 entries allows only to a test that wants it.
    pub fn fresh_cid(&mut self) -> u16 {
        for _ in 0..u16::MAX {
            let cid = self.next_cid;
            self.next_cid = if cid == u16::MAX - 1 { 0 } else { cid + 1 };
            if !self.outstanding.contains_key(&cid) {
                return cid;
            }
        }
        panic!("every command identifier is taken");
    }

    /// Guest address of the entry at `index`.
    #[must_use]
    pub const fn slot(&self, index: u16) -> u64 {
        self.base + index as u64 * COMMAND_BYTES as u64
    }

    /// Takes the entry at the tail for the command `cid`, and says where it is.
    pub fn push(&mut self, cid: u16) -> u64 {
        let slot = self.slot(self.tail);
        self.tail = after(self.tail, self.entries);
        *self.outstanding.entry(cid).or_insert(0) += 1;
        slot
    }

    /// Notes a completion. False if no command of that identifier was waiting or the head is not a position of this queue.
    pub fn complete(&mut self, completion: &Completion) -> bool {
        let head = completion.sq_head.get();
        if u32::from(head) >= self.entries {
            return false;
        }
        self.head = head;
        let Some(count) = self.outstanding.get_mut(&completion.cid.get()) else { return false };
        *count -= 1;
        if *count == 0 {
            self.outstanding.remove(&completion.cid.get());
        }
        true
    }
}

/// A completion queue, from the host's side.
#[derive(Clone, Debug)]
pub struct CompletionQueue {
    /// Guest address of entry 0.
    pub base: u64,
    /// Number of entries.
    pub entries: u32,
    /// The entry to be read next.
    pub head: u16,
    /// The head that the controller was last told.
    pub head_told: u16,
    /// What the phase bit of a new entry is in this round; 1 in the first.
    pub phase: bool,
}

impl CompletionQueue {
    /// An empty queue, whose memory must be zero.
    #[must_use]
    pub const fn new(base: u64, entries: u32) -> Self {
        Self { base, entries, head: 0, head_told: 0, phase: true }
    }

    /// Guest address of the entry at the head.
    #[must_use]
    pub const fn slot(&self) -> u64 {
        self.base + self.head as u64 * COMPLETION_BYTES as u64
    }

    /// Moves the head past one entry.
    pub fn advance(&mut self) {
        self.head = after(self.head, self.entries);
        if self.head == 0 {
            self.phase = !self.phase;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CompletionQueue, SubmissionQueue, entries_z};
    use nvme_spec::Completion;

    fn completion(cid: u16, sq_head: u16) -> Completion {
        Completion { cid: cid.into(), sq_head: sq_head.into(), ..Completion::default() }
    }

    #[test]
    fn one_entry_of_a_submission_queue_stays_empty() {
        let mut queue = SubmissionQueue::new(0x1000, 3, 1);
        assert_eq!((queue.push(0), queue.is_full()), (0x1000, false));
        assert_eq!((queue.push(1), queue.is_full()), (0x1040, true));
        assert!(queue.complete(&completion(0, 1)));
        assert_eq!((queue.push(2), queue.is_full()), (0x1080, true));
        assert_eq!((queue.tail, queue.outstanding()), (0, 2));
    }

    #[test]
    fn identifiers_in_use_are_skipped() {
        let mut queue = SubmissionQueue::new(0, 8, 1);
        queue.push(1);
        queue.push(2);
        assert_eq!([queue.fresh_cid(), queue.fresh_cid(), queue.fresh_cid()], [0, 3, 4]);
        queue.next_cid = u16::MAX - 1;
        assert_eq!([queue.fresh_cid(), queue.fresh_cid()], [u16::MAX - 1, 0]);
    }

    #[test]
    fn a_completion_of_nothing_or_with_an_impossible_head_is_noticed() {
        let mut queue = SubmissionQueue::new(0, 4, 1);
        queue.push(7);
        assert!(!queue.complete(&completion(8, 1)));
        assert!(!queue.complete(&completion(7, 4)));
        assert!(queue.complete(&completion(7, 1)));
        assert!(!queue.complete(&completion(7, 1)));
    }

    #[test]
    fn the_phase_turns_with_each_round() {
        let mut queue = CompletionQueue::new(0x2000, 2);
        let seen: Vec<(u64, bool)> = std::iter::repeat_with(|| {
            let place = (queue.slot(), queue.phase);
            queue.advance();
            place
        })
        .take(4)
        .collect();
        assert_eq!(seen, [(0x2000, true), (0x2010, true), (0x2000, false), (0x2010, false)]);
    }

    #[test]
    fn the_largest_queue_keeps_its_arithmetic() {
        let mut queue = SubmissionQueue::new(0, 65536, 1);
        queue.tail = u16::MAX;
        queue.push(0);
        assert_eq!((queue.tail, entries_z(65536)), (0, 65535));
    }
}
