//! A queue's state, for observers other than the host.

/// A submission queue that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubmissionQueueState {
    /// Its identifier; 0 is the admin queue.
    pub id: u16,
    /// Guest address of its first entry.
    pub base: u64,
    /// Its entries.
    pub entries: u32,
    /// Index of the next entry to take.
    pub head: u32,
    /// Index behind the last entry that the host wrote.
    pub tail: u32,
    /// The completion queue that answers it.
    pub completion_queue: u16,
}

/// A completion queue that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompletionQueueState {
    /// Its identifier; 0 is the admin queue.
    pub id: u16,
    /// Guest address of its first entry.
    pub base: u64,
    /// Its entries.
    pub entries: u32,
    /// Index of the next entry that the host will see.
    pub head: u32,
    /// Index of the next entry to write.
    pub tail: u32,
    /// The phase bit of the next entry.
    pub phase: bool,
    /// Slots held for commands that are not answered yet.
    pub reserved: u32,
    /// Its interrupt vector, if it interrupts.
    pub vector: Option<u16>,
}
