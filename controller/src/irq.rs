//! Interrupts: vectors with coalescing, or the pin with its mask (NVMe over PCIe Transport 1.1 section 3.5). Decides *whether* to
//! interrupt; the transport delivers, and keeps what is masked in the MSI-X table.

use media::Nanoseconds;
use nvme_spec::log::Event;

use crate::queue::IdSet;
use crate::reason::Reason;

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

/// This many completions are told in any case: of a deep queue the host submits the rest while the message is on its way.
const BATCH_MAX: u32 = 16;

/// A host that submits nothing for this many times the usual gap pauses. (An emulated processor is not steady.)
const PAUSE: u64 = 6;

/// How long a message waits at most for a host that goes on submitting.
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

    /// Whether messages reach the host.
    pub(crate) fn sends_messages(&self) -> bool {
        self.mode == InterruptMode::MsiX
    }

    pub(crate) fn mode(&self) -> InterruptMode {
        self.mode
    }

    pub(crate) fn set_mode(&mut self, mode: InterruptMode) {
        self.mode = mode;
    }

    /// The way to the host was closed, and what was sent meanwhile may never have arrived: each vector is sent again, at once and whatever
    /// an earlier message waits for, whose queues hold entries that the host has not taken.
    pub(crate) fn send_again(&mut self, now: Nanoseconds, unseen: impl Fn(Option<u16>) -> u32) {
        for index in (0_u16..).take(self.vectors.len()) {
            if unseen(Some(index)) > 0 {
                self.pending.insert(index);
                let vector = &mut self.vectors[usize::from(index)];
                if vector.pending == 0 {
                    vector.since = now;
                }
                (vector.pending, vector.urgent) = (vector.pending.max(1), true);
                vector.unanswered = None;
            }
        }
    }

    /// Which vectors a completion queue may name (B35): those of the table, also while messages are off. A host that polls never switches
    /// them on, and numbers its queues all the same.
    pub(crate) fn check_vector(&self, vector: u16) -> Result<(), Reason> {
        if usize::from(vector) < self.vectors.len() { Ok(()) } else { Err(Reason::QueueVector) }
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
    #[inline]
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

#[cfg(test)]
mod tests {
    use super::*;

    const MICROSECOND: u64 = 1_000;

    /// Interrupts of four vectors, and how many entries the host has not taken of each.
    struct Bench {
        interrupts: Interrupts,
        unseen: [u32; 4],
    }

    impl Bench {
        fn new(mode: InterruptMode) -> Self {
            let mut interrupts = Interrupts::new(4);
            interrupts.set_mode(mode);
            Self { interrupts, unseen: [0; 4] }
        }

        fn complete(&mut self, at: u64, vector: u16, count: u32) {
            self.unseen[usize::from(vector)] += count;
            self.interrupts.raise(Nanoseconds(at), vector, count, vector == 0);
        }

        fn deliver(&mut self, at: u64) -> Vec<Effect> {
            let mut effects = Vec::new();
            let unseen = self.unseen;
            let of = |vector: Option<u16>| vector.map_or(unseen.iter().sum(), |vector| unseen[usize::from(vector)]);
            self.interrupts.deliver(Nanoseconds(at), of, &mut effects);
            effects
        }

        /// Which vectors have sent a message.
        fn messages(&mut self, at: u64) -> Vec<u16> {
            let vector = |effect| match effect {
                Effect::Message { vector } => vector,
                other => panic!("{other:?} is no message"),
            };
            self.deliver(at).into_iter().map(vector).collect()
        }

        fn due(&self) -> Option<u64> {
            self.interrupts.next_event().map(|at| at.0)
        }

        /// Feature 08h.
        fn coalesce(&mut self, threshold_z: u8, time: u8) {
            self.interrupts.set_coalescing(u32::from_le_bytes([threshold_z, time, 0, 0]));
        }
    }

    #[test]
    fn a_message_is_sent_once_and_only_for_what_the_host_has_not_taken() {
        let mut bench = Bench::new(InterruptMode::MsiX);
        assert_eq!((bench.messages(5), bench.due()), (vec![], None));
        bench.complete(10, 2, 1);
        assert!(!bench.interrupts.awaits_heads());
        assert_eq!((bench.messages(10), bench.messages(10), bench.due()), (vec![2], vec![], None));
        bench.unseen[2] = 0;
        bench.complete(20, 3, 1);
        bench.unseen[3] = 0;
        assert_eq!((bench.messages(20), bench.due()), (vec![], None), "it looked by itself");
        bench.complete(30, 9 % 4, 1);
        bench.interrupts.raise(Nanoseconds(30), 9, 1, false);
        assert_eq!(bench.messages(30), [1], "there is no vector 9");
    }

    #[test]
    fn what_comes_while_the_host_has_not_answered_waits_for_it_or_for_200_microseconds() {
        let mut bench = Bench::new(InterruptMode::MsiX);
        bench.complete(0, 1, 1);
        assert_eq!(bench.messages(0), [1]);
        bench.complete(10 * MICROSECOND, 1, 1);
        assert_eq!(bench.messages(10 * MICROSECOND), [] as [u16; 0]);
        assert!(bench.interrupts.awaits_heads());
        assert_eq!(bench.due(), Some(200 * MICROSECOND));
        assert_eq!(bench.messages(200 * MICROSECOND - 1), [] as [u16; 0]);
        assert_eq!(bench.messages(200 * MICROSECOND), [1]);
        bench.complete(210 * MICROSECOND, 1, 1);
        assert_eq!(bench.messages(210 * MICROSECOND), [] as [u16; 0]);
        bench.unseen[1] -= 2;
        // It took two at once, so a second is waited for: six times the usual gap, which is ((0 + 10) / 2 + 200) / 2 by now.
        assert_eq!(bench.messages(211 * MICROSECOND), [] as [u16; 0]);
        assert_eq!(bench.due(), Some(210 * MICROSECOND + 6 * 102_500));
        assert_eq!(bench.messages(825 * MICROSECOND - 1), [] as [u16; 0]);
        assert_eq!(bench.messages(825 * MICROSECOND), [1]);
    }

    #[test]
    fn the_admin_queue_is_never_held_back() {
        let mut bench = Bench::new(InterruptMode::MsiX);
        bench.coalesce(9, 200);
        bench.complete(0, 0, 1);
        assert_eq!(bench.messages(0), [0]);
        bench.complete(5, 0, 1);
        assert_eq!((bench.due(), bench.messages(5)), (Some(5), vec![0]), "though the first is not answered");
    }

    /// NVMe Base 2.1 section 5.1.25.2.5: a message when there are as many as the threshold, or when the time is over.
    #[test]
    fn coalescing_waits_for_the_threshold_or_the_time() {
        let mut bench = Bench::new(InterruptMode::MsiX);
        bench.coalesce(2, 3);
        bench.complete(0, 1, 2);
        assert_eq!((bench.messages(299 * MICROSECOND), bench.due()), (vec![], Some(300 * MICROSECOND)));
        assert_eq!(bench.messages(300 * MICROSECOND), [1], "three times 100 microseconds");
        bench.unseen[1] = 0;
        bench.complete(600 * MICROSECOND, 1, 2);
        assert_eq!(bench.messages(600 * MICROSECOND), [] as [u16; 0]);
        bench.complete(610 * MICROSECOND, 1, 1);
        assert_eq!(bench.messages(610 * MICROSECOND), [1], "three of them");
    }

    /// A threshold of one completion waits for nothing, and is no reason to forget that the host submits many at once.
    #[test]
    fn a_threshold_of_one_leaves_it_to_the_drive_when_to_tell() {
        let due = |threshold_z, time| {
            let mut bench = Bench::new(InterruptMode::MsiX);
            bench.coalesce(threshold_z, time);
            for at in [0, 10, 200, 210] {
                bench.complete(at * MICROSECOND, 1, 1);
                bench.messages(at * MICROSECOND);
            }
            bench.unseen[1] -= 2;
            (bench.messages(211 * MICROSECOND), bench.due())
        };
        assert_eq!(due(0, 3), due(0, 0));
        assert!(due(0, 3).0.is_empty(), "as many as it took are waited for");
        assert_ne!(due(0, 3), due(1, 3));
    }

    #[test]
    fn no_threshold_or_no_time_is_no_coalescing_and_a_vector_can_be_exempt() {
        for (threshold_z, time) in [(0, 3), (3, 0)] {
            let mut bench = Bench::new(InterruptMode::MsiX);
            bench.coalesce(threshold_z, time);
            bench.complete(0, 1, 1);
            assert_eq!(bench.messages(0), [1], "{threshold_z} {time}");
        }
        let mut bench = Bench::new(InterruptMode::MsiX);
        bench.coalesce(3, 3);
        *bench.interrupts.immediate_mut(1).expect("it exists") = true;
        assert!(bench.interrupts.immediate_mut(4).is_none());
        bench.complete(7, 1, 1);
        bench.complete(7, 2, 1);
        assert_eq!(bench.messages(7), [1]);
    }

    /// A host that took many at once gets its next message when as many came again, or when it pauses.
    #[test]
    fn a_host_that_takes_many_at_once_is_told_of_as_many_again() {
        let mut bench = Bench::new(InterruptMode::MsiX);
        bench.complete(0, 1, 4);
        assert_eq!(bench.messages(0), [1]);
        bench.unseen[1] = 0;
        bench.complete(100 * MICROSECOND, 1, 1);
        let early = bench.messages(100 * MICROSECOND);
        bench.complete(110 * MICROSECOND, 1, 1);
        bench.complete(110 * MICROSECOND, 1, 1);
        bench.complete(110 * MICROSECOND, 1, 1);
        assert_eq!((early, bench.messages(110 * MICROSECOND)), (vec![1], vec![]), "the first gap is not known");
        bench.unseen[1] = 0;
        assert_eq!(bench.messages(111 * MICROSECOND), [] as [u16; 0]);
        assert_eq!(bench.due(), None);
    }

    /// Two that came together came at half the distance.
    #[test]
    fn completions_that_come_together_shorten_the_usual_gap() {
        let mut bench = Bench::new(InterruptMode::MsiX);
        bench.complete(0, 1, 4);
        assert_eq!(bench.messages(0), [1]);
        bench.complete(80 * MICROSECOND, 1, 2);
        assert_eq!(bench.messages(80 * MICROSECOND), [] as [u16; 0]);
        bench.unseen[1] -= 4;
        assert_eq!(bench.messages(90 * MICROSECOND), [] as [u16; 0]);
        // (0 + 80) / 2, and half of that.
        assert_eq!(bench.due(), Some(80 * MICROSECOND + 6 * 20 * MICROSECOND));
    }

    #[test]
    fn no_message_waits_longer_than_a_millisecond() {
        let mut bench = Bench::new(InterruptMode::MsiX);
        bench.complete(0, 1, 16);
        assert_eq!(bench.messages(0), [1]);
        bench.unseen[1] = 0;
        let mut told = Vec::new();
        // A steady host, slower than would fill a batch.
        for at in (1..=40).map(|n| n * 150 * MICROSECOND) {
            bench.complete(at, 1, 1);
            if bench.messages(at) == [1] {
                told.push(at);
                bench.unseen[1] = 0;
            }
            assert!(bench.due().is_none_or(|due| due <= at + 1_000 * MICROSECOND), "{at}: {:?}", bench.due());
        }
        assert!(told.windows(2).all(|pair| pair[1] - pair[0] <= 1_150 * MICROSECOND) && told.len() > 3, "{told:?}");
    }

    #[test]
    fn the_pin_follows_what_is_unseen_and_the_mask() {
        let mut bench = Bench::new(InterruptMode::Pin);
        let level = |asserted| vec![Effect::Pin { asserted }];
        bench.complete(0, 1, 1);
        assert_eq!((bench.deliver(0), bench.deliver(1)), (level(true), vec![]));
        assert!(bench.interrupts.asserted() && bench.due().is_none());
        bench.interrupts.change_mask(0b11, 0);
        assert_eq!((bench.interrupts.mask(), bench.deliver(2)), (0b11, level(false)));
        bench.interrupts.change_mask(0, 0b01);
        assert_eq!(
            (bench.interrupts.mask(), bench.deliver(3)),
            (0b10, level(true)),
            "other vectors' bits are not the pin's"
        );
        bench.unseen[1] = 0;
        assert_eq!((bench.deliver(4), bench.interrupts.asserted()), (level(false), false));
        bench.complete(5, 1, 1);
        assert_eq!(bench.deliver(5), level(true));
        bench.interrupts.set_mode(InterruptMode::MsiX);
        assert_eq!(
            (bench.interrupts.mode(), bench.deliver(6)),
            (InterruptMode::MsiX, level(false)),
            "nothing is pending"
        );
        bench.interrupts.change_mask(0b100, 0);
        assert_eq!(bench.interrupts.mask(), 0b10, "messages have no mask here (B18)");
    }

    #[test]
    fn a_reset_leaves_nothing() {
        let mut bench = Bench::new(InterruptMode::Pin);
        bench.coalesce(3, 3);
        bench.complete(0, 1, 1);
        bench.interrupts.change_mask(0b10, 0);
        assert_eq!(bench.deliver(0).len(), 1);
        bench.complete(0, 1, 1);
        let mut effects = Vec::new();
        bench.interrupts.reset(&mut effects);
        assert_eq!((effects, bench.interrupts.mask(), bench.due()), (vec![Effect::Pin { asserted: false }], 0, None));
        bench.interrupts.set_mode(InterruptMode::MsiX);
        bench.complete(1, 1, 1);
        assert_eq!(bench.messages(1), [1], "no coalescing is left");
    }

    #[test]
    fn a_completion_queue_names_a_vector_that_exists() {
        let mut bench = Bench::new(InterruptMode::MsiX);
        let bad = Err(Reason::QueueVector);
        assert_eq!([0, 3, 4].map(|vector| bench.interrupts.check_vector(vector)), [Ok(()), Ok(()), bad]);
        bench.interrupts.set_mode(InterruptMode::Pin);
        assert_eq!(
            [0, 3, 4].map(|vector| bench.interrupts.check_vector(vector)),
            [Ok(()), Ok(()), bad],
            "a host that polls"
        );
        assert_eq!(Interrupts::new(0).check_vector(0), Ok(()), "there is always one");
    }
}
