//! Interrupts: vectors with coalescing, or the pin with its mask (NVMe over PCIe Transport 1.1 section 3.5). It decides *whether*; the
//! transport delivers, and holds what is masked in the MSI-X table.

use media::Nanoseconds;
use nvme_spec::Status;
use nvme_spec::log::Event;

use crate::queue::IdSet;

/// How the host wants to be interrupted: its MSI-X enable bit says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InterruptMode {
    /// INTx.
    #[default]
    Pin,
    /// MSI-X messages.
    MsiX,
}

/// What comes out of a step: what the transport shall do, and what the host was told of its own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send the message of a vector.
    Message {
        /// Index into the MSI-X table.
        vector: u16,
    },
    /// Drive INTx.
    Pin {
        /// The level.
        asserted: bool,
    },
    /// Nothing to do: an Asynchronous Event Request was answered with this event.
    EventReported(Event),
}

#[derive(Clone, Copy, Debug, Default)]
struct Vector {
    /// Completions since the last message.
    pending: u32,
    /// When the first of them came.
    since: Nanoseconds,
    /// Interrupt Vector Configuration, CD: no coalescing here.
    immediate: bool,
    /// One of them is the admin queue's: no waiting for the host.
    urgent: bool,
    /// The last message, if the host has not answered it yet.
    unanswered: Option<Told>,
}

/// What a message told of.
#[derive(Clone, Copy, Debug)]
struct Told {
    at: Nanoseconds,
    /// The heads of the vector's queues at that time, added up: when the host has taken something, they are others.
    heads: u64,
}

/// The completion queues of one vector.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    /// Their heads, added up.
    pub(crate) sum: u64,
    /// Whether one holds entries that the host has not taken.
    pub(crate) unseen: bool,
}

/// How long a message waits for the host to take what an earlier one told of. A driver that takes entries and moves no head for so long
/// is told again; others take the new entries along, and the second message would have been for nothing.
const ANSWER_MAX: Nanoseconds = Nanoseconds(200_000);

impl Vector {
    /// When the message for what is pending is due.
    fn due(&self, threshold: u32, aggregation: Nanoseconds) -> Nanoseconds {
        let gathered = if self.pending >= threshold.max(1) { Nanoseconds(0) } else { self.since.plus(aggregation) };
        match self.unanswered {
            Some(told) if !self.urgent => gathered.max(told.at.plus(ANSWER_MAX)),
            _ => gathered,
        }
    }
}

/// State of all interrupts of a controller.
#[derive(Debug)]
pub(crate) struct Interrupts {
    mode: InterruptMode,
    vectors: Vec<Vector>,
    /// Vectors with completions that no message told of.
    pending: IdSet,
    /// INTMS/INTMC: one bit for each vector, only for the pin.
    mask: u32,
    asserted: bool,
    /// Aggregation threshold, completions; 0 or 1 means none.
    threshold: u32,
    /// Aggregation time; 0 means none.
    aggregation: Nanoseconds,
}

impl Interrupts {
    pub(crate) fn new(vectors: u16) -> Self {
        Self {
            mode: InterruptMode::Pin,
            vectors: vec![Vector::default(); usize::from(vectors.max(1))],
            pending: IdSet::default(),
            mask: 0,
            asserted: false,
            threshold: 0,
            aggregation: Nanoseconds(0),
        }
    }

    /// Back to what a controller reset leaves: no mask, no coalescing, nothing pending.
    pub(crate) fn reset(&mut self, effects: &mut Vec<Effect>) {
        self.vectors.fill(Vector::default());
        self.pending = IdSet::default();
        self.mask = 0;
        self.threshold = 0;
        self.aggregation = Nanoseconds(0);
        self.drive_pin(false, effects);
    }

    pub(crate) fn mode(&self) -> InterruptMode {
        self.mode
    }

    pub(crate) fn set_mode(&mut self, mode: InterruptMode) {
        self.mode = mode;
    }

    /// Which vectors a completion queue may name (B35).
    pub(crate) fn check_vector(&self, vector: u16) -> Result<(), Status> {
        let fits = match self.mode {
            InterruptMode::Pin => vector == 0,
            InterruptMode::MsiX => usize::from(vector) < self.vectors.len(),
        };
        if fits { Ok(()) } else { Err(Status::INVALID_INTERRUPT_VECTOR) }
    }

    /// INTMS and INTMC change the mask only while messages are off (B18).
    pub(crate) fn change_mask(&mut self, set: u32, clear: u32) {
        if self.mode == InterruptMode::Pin {
            self.mask = (self.mask | set) & !clear;
        }
    }

    pub(crate) fn mask(&self) -> u32 {
        self.mask
    }

    /// Interrupt Coalescing, feature 08h: threshold zero-based, time in units of 100 µs (Base 2.1 section 5.1.25.2.5).
    pub(crate) fn set_coalescing(&mut self, dword: u32) {
        let [threshold_z, time, ..] = dword.to_le_bytes();
        self.threshold = u32::from(threshold_z) + 1;
        self.aggregation = Nanoseconds(u64::from(time) * 100_000);
    }

    /// Interrupt Vector Configuration, feature 09h: `None` for a vector that does not exist.
    pub(crate) fn immediate_mut(&mut self, vector: u16) -> Option<&mut bool> {
        self.vectors.get_mut(usize::from(vector)).map(|vector| &mut vector.immediate)
    }

    /// `count` completions were written to a queue with this vector. Those of the admin queue are never held back (B55).
    pub(crate) fn raise(&mut self, now: Nanoseconds, index: u16, count: u32, admin: bool) {
        let held_back = self.holds_back(index) && !admin;
        let Some(vector) = self.vectors.get_mut(usize::from(index)) else { return };
        self.pending.insert(index);
        if vector.pending == 0 {
            vector.since = now;
        }
        vector.pending = if held_back { vector.pending.saturating_add(count) } else { u32::MAX };
        vector.urgent |= admin;
    }

    /// Whether a message waits for the host to move a head.
    pub(crate) fn awaits_heads(&self) -> bool {
        self.pending.iter().any(|index| self.vectors[usize::from(index)].unanswered.is_some())
    }

    fn holds_back(&self, vector: u16) -> bool {
        let immediate = self.vectors.get(usize::from(vector)).is_none_or(|vector| vector.immediate);
        !immediate && self.threshold > 1 && self.aggregation.0 > 0
    }

    /// Sends the messages that are due. `heads` tells of the completion queues with interrupts that have a vector; of all of them
    /// without one.
    pub(crate) fn deliver(
        &mut self,
        now: Nanoseconds,
        heads: impl Fn(Option<u16>) -> Heads,
        effects: &mut Vec<Effect>,
    ) {
        match self.mode {
            InterruptMode::MsiX => {
                self.drive_pin(false, effects);
                self.send_due(now, heads, effects);
            }
            InterruptMode::Pin => {
                for index in std::mem::take(&mut self.pending).iter() {
                    self.vectors[usize::from(index)].pending = 0;
                }
                let level = self.mask & 1 == 0 && heads(None).unseen;
                self.drive_pin(level, effects);
            }
        }
    }

    fn send_due(&mut self, now: Nanoseconds, heads: impl Fn(Option<u16>) -> Heads, effects: &mut Vec<Effect>) {
        for index in self.pending.iter() {
            let heads = heads(Some(index));
            let vector = &mut self.vectors[usize::from(index)];
            if vector.unanswered.is_some_and(|told| told.heads != heads.sum) {
                vector.unanswered = None;
            }
            if now >= vector.due(self.threshold, self.aggregation) {
                *vector = Vector { pending: 0, urgent: false, ..*vector };
                // The host may have looked by itself meanwhile, and then it has nothing to answer.
                vector.unanswered = heads.unseen.then_some(Told { at: now, heads: heads.sum });
                self.pending.remove(index);
                effects.push(Effect::Message { vector: index });
            }
        }
    }

    /// When the next message that is held back becomes due.
    pub(crate) fn next_event(&self) -> Option<Nanoseconds> {
        let due = |index| self.vectors[usize::from(index)].due(self.threshold, self.aggregation);
        self.pending.iter().map(due).min()
    }

    /// The level of the pin.
    pub(crate) fn asserted(&self) -> bool {
        self.asserted
    }

    fn drive_pin(&mut self, level: bool, effects: &mut Vec<Effect>) {
        if self.asserted != level {
            self.asserted = level;
            effects.push(Effect::Pin { asserted: level });
        }
    }
}
