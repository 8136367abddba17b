//! Entries of submission queues are the controller's until the host is told that their slots are free (NVMe Base 2.1 section 3.3.1.2):
//! until then they are held against memory once more. The first completion whose SQ Head Pointer has passed a slot gives it back, whether
//! it is of the command in that slot or of a later one.

use std::collections::{BTreeMap, VecDeque};

use nvme_spec::{Command, Completion};

use super::CommandName;

/// An entry that was fetched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub(super) command: CommandName,
    /// Where it lies in guest memory.
    pub(super) address: u64,
    pub(super) entry: Command,
    /// The head of its queue from then on.
    head: u16,
}

/// Those of each submission queue that were not given back, oldest first.
#[derive(Debug, Default)]
pub(super) struct Entries {
    of: BTreeMap<u16, VecDeque<Kept>>,
}

impl Entries {
    /// An entry was fetched, and the head of its queue has moved to `head`.
    pub(super) fn fetched(&mut self, command: CommandName, address: u64, entry: Command, head: u16) {
        let queue = self.of.entry(command.queue).or_default();
        // What is left of a slot that is in use again, after a completion with a wrong head.
        if let Some(same) = queue.iter().position(|kept| kept.head == head) {
            queue.drain(..=same);
        }
        queue.push_back(Kept { command, address, entry, head });
    }

    /// A completion is about to tell the host how far the head of a queue has moved: what it gives back by that.
    pub(super) fn given_back(&mut self, completion: &Completion) -> Vec<Kept> {
        let Some(queue) = self.of.get_mut(&completion.sqid.get()) else { return Vec::new() };
        let passed = queue.iter().position(|kept| kept.head == completion.sq_head.get());
        passed.map(|last| queue.drain(..=last).collect()).unwrap_or_default()
    }

    /// A queue is gone.
    pub(super) fn forget(&mut self, queue: u16) {
        self.of.remove(&queue);
    }

    pub(super) fn clear(&mut self) {
        self.of.clear();
    }
}
