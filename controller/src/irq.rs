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
    /// Of them, those that came since the last look.
    fresh: u32,
    /// When the first of them came,
    since: Nanoseconds,
    /// and the last.
    last: Nanoseconds,
    /// All completions ever, wrapping.
    completions: u32,
    /// Interrupt Vector Configuration, CD: no coalescing here.
    immediate: bool,
    /// One of them is the admin queue's: no waiting for the host.
    urgent: bool,
    /// The last message, if the host has not answered it yet.
    unanswered: Option<Told>,
    /// How many entries the host took at its last answer.
    batch: u32,
    /// The time between completions while the host goes on submitting.
    gap: Nanoseconds,
}

/// A message that was sent.
#[derive(Clone, Copy, Debug)]
struct Told {
    at: Nanoseconds,
    /// How many entries the host had taken by then.
    taken: u32,
}

/// Interrupt Coalescing as the host asked for it.
#[derive(Clone, Copy, Debug, Default)]
struct Coalescing {
    /// Completions; 0 or 1 means none.
    threshold: u32,
    /// 0 means none.
    time: Nanoseconds,
}

/// How long a message waits for the host to take what an earlier one told of. A driver that takes entries and moves no head for so long
/// is told again; others take the new entries along, and the second message would have been for nothing.
const ANSWER_MAX: Nanoseconds = Nanoseconds(200_000);

/// So many completions are told in any case: of a deep queue the host submits the rest while the message is on its way.
const BATCH_MAX: u32 = 16;

/// A host that submits nothing for so many times the usual gap pauses. (An emulated processor is not steady.)
const PAUSE: u64 = 6;

/// How long a message waits at the most for a host that goes on submitting.
const GATHERING_MAX: Nanoseconds = Nanoseconds(1_000_000);

impl Vector {
    /// When the message for what is pending is due.
    fn due(&self, coalescing: Coalescing) -> Nanoseconds {
        let gathered = if self.urgent || self.immediate {
            self.since
        } else if coalescing.threshold > 1 && coalescing.time.0 > 0 {
            if self.pending >= coalescing.threshold { self.last } else { self.since.plus(coalescing.time) }
        } else if self.pending >= self.batch {
            self.last
        } else {
            // A host that took many at once has many under way. It is told when as many came again, or when it pauses.
            self.last.plus(Nanoseconds(PAUSE * self.gap.0)).min(self.since.plus(GATHERING_MAX))
        };
        match self.unanswered {
            Some(told) if !self.urgent => gathered.max(told.at.plus(ANSWER_MAX)),
            _ => gathered,
        }
    }

    /// Learns from what came and what was taken how the host submits; returns how many entries it has taken ever, wrapping.
    fn look(&mut self, now: Nanoseconds, unseen: u32) -> u32 {
        let taken = self.completions.wrapping_sub(unseen);
        if let Some(told) = self.unanswered
            && told.taken != taken
        {
            self.unanswered = None;
            self.batch = taken.wrapping_sub(told.taken).max(self.batch / 2).min(BATCH_MAX);
        }
        if self.fresh > 0 {
            // Only while nothing was taken in between: otherwise it is the host's pause that is measured.
            let goes_on = self.pending > self.fresh || self.unanswered.is_some();
            if goes_on {
                let since_last = now.0.saturating_sub(self.last.0).min(GATHERING_MAX.0);
                self.gap = Nanoseconds((self.gap.0 + since_last) / 2);
            }
            if self.fresh > 1 {
                self.gap = Nanoseconds(self.gap.0 / 2);
            }
            (self.last, self.fresh) = (now, 0);
        }
        taken
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
    coalescing: Coalescing,
}

impl Interrupts {
    pub(crate) fn new(vectors: u16) -> Self {
        Self {
            mode: InterruptMode::Pin,
            vectors: vec![Vector::default(); usize::from(vectors.max(1))],
            pending: IdSet::default(),
            mask: 0,
            asserted: false,
            coalescing: Coalescing::default(),
        }
    }

    /// Back to what a controller reset leaves: no mask, no coalescing, nothing pending.
    pub(crate) fn reset(&mut self, effects: &mut Vec<Effect>) {
        self.vectors.fill(Vector::default());
        self.pending = IdSet::default();
        self.mask = 0;
        self.coalescing = Coalescing::default();
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
        self.coalescing =
            Coalescing { threshold: u32::from(threshold_z) + 1, time: Nanoseconds(u64::from(time) * 100_000) };
    }

    /// Interrupt Vector Configuration, feature 09h: `None` for a vector that does not exist.
    pub(crate) fn immediate_mut(&mut self, vector: u16) -> Option<&mut bool> {
        self.vectors.get_mut(usize::from(vector)).map(|vector| &mut vector.immediate)
    }

    /// `count` completions were written to a queue with this vector. Those of the admin queue are never held back (B55).
    pub(crate) fn raise(&mut self, now: Nanoseconds, index: u16, count: u32, admin: bool) {
        let Some(vector) = self.vectors.get_mut(usize::from(index)) else { return };
        self.pending.insert(index);
        if vector.pending == 0 {
            vector.since = now;
        }
        vector.pending = vector.pending.saturating_add(count);
        vector.fresh = vector.fresh.saturating_add(count);
        vector.completions = vector.completions.wrapping_add(count);
        vector.urgent |= admin;
    }

    /// Whether a message waits for the host to move a head.
    pub(crate) fn awaits_heads(&self) -> bool {
        self.pending.iter().any(|index| self.vectors[usize::from(index)].unanswered.is_some())
    }

    /// Sends the messages that are due. `unseen` tells how many entries the host has not taken from the completion queues with
    /// interrupts that have a vector; of all of them without one.
    pub(crate) fn deliver(&mut self, now: Nanoseconds, unseen: impl Fn(Option<u16>) -> u32, effects: &mut Vec<Effect>) {
        match self.mode {
            InterruptMode::MsiX => {
                self.drive_pin(false, effects);
                self.send_due(now, unseen, effects);
            }
            InterruptMode::Pin => {
                for index in std::mem::take(&mut self.pending).iter() {
                    let vector = &mut self.vectors[usize::from(index)];
                    (vector.pending, vector.fresh) = (0, 0);
                }
                let level = self.mask & 1 == 0 && unseen(None) > 0;
                self.drive_pin(level, effects);
            }
        }
    }

    fn send_due(&mut self, now: Nanoseconds, unseen: impl Fn(Option<u16>) -> u32, effects: &mut Vec<Effect>) {
        for index in self.pending.iter() {
            let unseen = unseen(Some(index));
            let vector = &mut self.vectors[usize::from(index)];
            let taken = vector.look(now, unseen);
            // The host may have looked by itself meanwhile, and then there is nothing to tell.
            if unseen > 0 && now < vector.due(self.coalescing) {
                continue;
            }
            (vector.pending, vector.urgent) = (0, false);
            self.pending.remove(index);
            if unseen > 0 {
                vector.unanswered = Some(Told { at: now, taken });
                effects.push(Effect::Message { vector: index });
            }
        }
    }

    /// When the next message that is held back becomes due.
    pub(crate) fn next_event(&self) -> Option<Nanoseconds> {
        let due = |index| self.vectors[usize::from(index)].due(self.coalescing);
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
