//! The breaker: one switch, shared by everything that a power loss stops, and the counting that trips it. While it is not armed, a step
//! costs one branch that always goes the same way.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::{Random, Step, Steps};
use crate::unit::LbaRange;

/// Identifies a command to whoever submits requests: queue, identifier, and how many commands were taken before it. Small enough to be
/// stored with everything that the command staged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

/// How many bits of a mark name the queue.
const QUEUE_BITS: u32 = 10;

impl Mark {
    /// No command.
    pub const NONE: Self = Self(0);

    /// The `ordinal`-th command that a controller has taken (from 1), from a queue and under an identifier. Of the ordinal the low 32 bits
    /// are kept, of the queue 10, and of the controller 6.
    #[must_use]
    #[inline]
    pub const fn new(controller: u16, queue: u16, identifier: u16, ordinal: u64) -> Self {
        let whose = (controller << QUEUE_BITS | queue) as u64;
        Self(ordinal << 32 | whose << 16 | identifier as u64)
    }

    /// That of a command with this identifier, so many behind one of the same queue whose identifier is 0.
    #[must_use]
    #[inline]
    pub const fn behind(self, commands: u64, identifier: u16) -> Self {
        Self(self.0.wrapping_add(commands << 32) | identifier as u64)
    }

    /// What no command asked for, by a number that nothing else has: it is of no queue.
    #[must_use]
    #[inline]
    pub const fn of_nobody(number: u64) -> Self {
        Self::new(0, 0, 0, number)
    }

    /// The controller.
    #[must_use]
    pub const fn controller(self) -> u16 {
        let [.., high, low, _, _] = self.0.to_be_bytes();
        u16::from_be_bytes([high, low]) >> QUEUE_BITS
    }

    /// The queue.
    #[must_use]
    pub const fn queue(self) -> u16 {
        let [.., high, low, _, _] = self.0.to_be_bytes();
        u16::from_be_bytes([high, low]) & ((1 << QUEUE_BITS) - 1)
    }

    /// The identifier.
    #[must_use]
    pub const fn identifier(self) -> u16 {
        let [.., high, low] = self.0.to_be_bytes();
        u16::from_be_bytes([high, low])
    }

    /// The ordinal, given that of the latest command.
    #[must_use]
    pub const fn ordinal(self, latest: u64) -> u64 {
        latest.wrapping_sub(latest.wrapping_sub(self.0 >> 32) & 0xffff_ffff)
    }

    /// Whether this names no command.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// What crash points know of a fetched command. The numbers have the meaning that the caller gives them: they are only compared here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The controller that took it.
    pub controller: u16,
    /// It came from an I/O queue, and not from the admin queue.
    pub io: bool,
    /// Its opcode.
    pub opcode: u8,
    /// Its namespace identifier.
    pub namespace: u32,
    /// The blocks that it names, if it names any.
    pub range: Option<LbaRange>,
}

/// Which I/O commands a crash point matches: all given conditions must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandMatch {
    /// The controller that took it.
    pub controller: Option<u16>,
    /// The opcode.
    pub opcode: Option<u8>,
    /// The namespace identifier.
    pub namespace: Option<u32>,
    /// Blocks of which the command names at least one.
    pub range: Option<LbaRange>,
}

impl CommandMatch {
    /// Whether a command matches.
    #[must_use]
    pub fn matches(&self, command: &Fetched) -> bool {
        command.io
            && self.controller.is_none_or(|controller| controller == command.controller)
            && self.opcode.is_none_or(|opcode| opcode == command.opcode)
            && self.namespace.is_none_or(|namespace| namespace == command.namespace)
            && self.range.is_none_or(|wanted| command.range.is_some_and(|named| wanted.overlaps(named)))
    }
}

/// When the breaker trips. Ordinals count from 1, from the moment of arming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arming {
    /// At the n-th time that a step is reached.
    Hit(Step, u64),
    /// At the n-th step of any kind.
    AnyStep(u64),
    /// When the n-th command, of whatever queue, was fetched.
    Command(u64),
    /// When the n-th command of an I/O queue was fetched.
    IoCommand(u64),
    /// When the n-th I/O command that matches was fetched.
    Match(CommandMatch, u64),
    /// When the n-th I/O command that matches has succeeded, and its answer is in the completion queue. The caller sees to that, see
    /// [`Breaker::completed`].
    Completed(CommandMatch, u64),
    /// When at least so many indirection units that the host wrote are in the volatile cache.
    VolatileAtLeast(u64),
    /// Before the n-th page is programmed.
    Program(u64),
    /// Before the n-th page of the deallocation journal is written.
    Journal(u64),
    /// At each step of a set with a chance of one in `one_in`, drawn from a seed.
    Rate {
        /// The seed.
        seed: u64,
        /// One in this many; at least 1.
        one_in: u64,
        /// Which steps draw.
        steps: Steps,
    },
}

impl Arming {
    /// Whether the step counts, and the wanted count; a count of 0 means that chance decides.
    fn counts(self, step: Step) -> Option<u64> {
        match self {
            Self::Hit(wanted, nth) => (wanted == step).then_some(nth),
            Self::AnyStep(nth) => Some(nth),
            Self::Program(nth) => (step == Step::PageProgram).then_some(nth),
            Self::Journal(nth) => (step == Step::JournalAppend).then_some(nth),
            Self::Rate { steps, .. } => steps.contains(step).then_some(0),
            Self::Command(_)
            | Self::IoCommand(_)
            | Self::Match(..)
            | Self::Completed(..)
            | Self::VolatileAtLeast(_) => None,
        }
    }

    /// The wanted count, if the command counts.
    fn counts_command(self, command: &Fetched) -> Option<u64> {
        match self {
            Self::Command(nth) => Some(nth),
            Self::IoCommand(nth) => command.io.then_some(nth),
            Self::Match(wanted, nth) => wanted.matches(command).then_some(nth),
            _ => None,
        }
    }
}

/// Whether anything of this is there: without, nothing can be armed or cut. For measuring what that costs, and nothing else. (Marks
/// stay: a power cut from outside wants to know who wrote what too.)
const PRESENT: bool = !cfg!(feature = "without-steps");

const ARMED: u8 = 1;
const LOST: u8 = 2;

#[derive(Debug, Default)]
struct Switch {
    flags: Cell<u8>,
    mark: Cell<Mark>,
    counting: RefCell<Counting>,
}

#[derive(Debug, Default)]
struct Counting {
    arming: Option<Arming>,
    hits: u64,
    random: Random,
    tripped: Option<(Step, Mark)>,
}

/// The switch between a drive and its power supply. A clone is another handle to the same switch.
#[derive(Clone, Debug, Default)]
pub struct Breaker(Rc<Switch>);

impl Breaker {
    /// Arms the breaker; counting starts now.
    ///
    /// # Panics
    /// If a rate is one in zero.
    pub fn arm(&self, arming: Arming) {
        let mut counting = self.0.counting.borrow_mut();
        if let Arming::Rate { seed, one_in, .. } = arming {
            assert!(one_in > 0, "a rate is one in at least one");
            counting.random = Random::new(seed);
        }
        counting.arming = Some(arming);
        counting.hits = 0;
        self.0.flags.set(self.0.flags.get() | ARMED);
    }

    /// Disarms it.
    pub fn disarm(&self) {
        self.0.counting.borrow_mut().arming = None;
        self.0.flags.set(self.0.flags.get() & !ARMED);
    }

    /// Cuts power now.
    pub fn cut(&self) {
        self.0.flags.set(LOST);
    }

    /// Power is back, and nothing is armed.
    pub fn restore(&self) {
        *self.0.counting.borrow_mut() = Counting::default();
        self.0.mark.set(Mark::NONE);
        self.0.flags.set(0);
    }

    /// Whether power is lost.
    #[must_use]
    #[inline]
    pub fn lost(&self) -> bool {
        PRESENT && self.0.flags.get() & LOST != 0
    }

    /// Whether a crash point is armed.
    #[must_use]
    #[inline]
    pub fn armed(&self) -> bool {
        PRESENT && self.0.flags.get() & ARMED != 0
    }

    /// Whether steps must be counted or refused: power is lost, or a crash point is armed.
    #[must_use]
    #[inline]
    pub fn attentive(&self) -> bool {
        PRESENT && self.0.flags.get() != 0
    }

    /// What is armed.
    #[must_use]
    pub fn arming(&self) -> Option<Arming> {
        self.0.counting.borrow().arming
    }

    /// The step at which the breaker tripped, if it did.
    #[must_use]
    pub fn tripped_at(&self) -> Option<Step> {
        self.0.counting.borrow().tripped.map(|(step, _)| step)
    }

    /// The command that was being executed when it tripped.
    #[must_use]
    pub fn tripped_in(&self) -> Mark {
        self.0.counting.borrow().tripped.map_or(Mark::NONE, |(_, mark)| mark)
    }

    /// How many matching steps or commands were counted since arming; for [`Arming::VolatileAtLeast`], the most units that were there.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.0.counting.borrow().hits
    }

    /// Sets the command that is executed from now on; [`Mark::NONE`] for none.
    #[inline]
    pub fn work_on(&self, mark: Mark) {
        self.0.mark.set(mark);
    }

    /// The command that is being executed.
    #[must_use]
    #[inline]
    pub fn mark(&self) -> Mark {
        self.0.mark.get()
    }

    /// Records that a step was reached; returns whether power is lost.
    #[inline]
    pub fn reached(&self, step: Step) -> bool {
        self.attentive() && self.count(step)
    }

    /// Records that a command was fetched, which is a step too; returns whether power is lost.
    #[cold]
    pub fn fetched(&self, command: &Fetched) -> bool {
        if self.armed() {
            let arming = self.0.counting.borrow().arming;
            if let Some(nth) = arming.and_then(|arming| arming.counts_command(command)) {
                self.hit(Step::CommandFetched, nth);
            }
        }
        self.reached(Step::CommandFetched)
    }

    /// Records that a command has succeeded. True if power is to go when its answer was written: the caller then calls [`Self::trip`].
    #[cold]
    pub fn completed(&self, command: &Fetched) -> bool {
        let mut counting = self.0.counting.borrow_mut();
        let Some(Arming::Completed(wanted, nth)) = counting.arming.filter(|_| self.armed()) else { return false };
        if wanted.matches(command) {
            counting.hits += 1;
        }
        wanted.matches(command) && counting.hits == nth
    }

    /// Takes back the last [`Self::completed`]: the answer is not going to be written.
    #[cold]
    pub fn uncompleted(&self) {
        let mut counting = self.0.counting.borrow_mut();
        counting.hits = counting.hits.saturating_sub(1);
    }

    /// Records how many units are in the volatile cache, at a step that staged one.
    #[cold]
    pub fn volatile(&self, units: u64, step: Step) {
        let arming = self.0.counting.borrow().arming;
        let Some(Arming::VolatileAtLeast(wanted)) = arming.filter(|_| self.armed()) else { return };
        let most = self.hits().max(units);
        self.0.counting.borrow_mut().hits = most;
        if units >= wanted {
            self.trip(step);
        }
    }

    /// Power goes now, at this step.
    pub fn trip(&self, step: Step) {
        self.0.counting.borrow_mut().tripped = Some((step, self.0.mark.get()));
        self.cut();
    }

    #[cold]
    fn count(&self, step: Step) -> bool {
        if self.armed() {
            let arming = self.0.counting.borrow().arming;
            if let Some(nth) = arming.and_then(|arming| arming.counts(step)) {
                self.hit(step, nth);
            }
        }
        self.lost()
    }

    fn hit(&self, step: Step, nth: u64) {
        let mut counting = self.0.counting.borrow_mut();
        counting.hits += 1;
        let trips = match counting.arming {
            Some(Arming::Rate { one_in, .. }) => counting.random.below(one_in) == 0,
            _ => counting.hits == nth,
        };
        drop(counting);
        if trips {
            self.trip(step);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::Lba;

    #[test]
    fn the_breaker_trips_at_the_nth_hit_of_its_step() {
        let breaker = Breaker::default();
        assert!(!breaker.reached(Step::LineErased));
        breaker.arm(Arming::Hit(Step::LineErased, 2));
        let other = breaker.clone();
        assert!(!other.reached(Step::LineErased));
        assert!(!breaker.reached(Step::LineOpened));
        breaker.work_on(Mark::new(2, 3, 4, 5));
        assert!(other.reached(Step::LineErased));
        assert_eq!(breaker.tripped_at(), Some(Step::LineErased));
        assert_eq!(breaker.tripped_in(), Mark::new(2, 3, 4, 5));
        assert!(breaker.reached(Step::LineOpened), "lost power stays lost");
        other.restore();
        assert!(!breaker.reached(Step::LineErased), "and nothing is armed when it comes back");
    }

    #[test]
    fn a_rate_is_repeatable_by_its_seed_and_draws_at_its_steps_only() {
        let trip = |seed, steps| {
            let breaker = Breaker::default();
            breaker.arm(Arming::Rate { seed, one_in: 10, steps });
            while !breaker.reached(Step::UnitStaged) && !breaker.reached(Step::LineErased) {}
            (breaker.hits(), breaker.tripped_at())
        };
        assert_eq!(trip(1, Steps::ALL), trip(1, Steps::ALL));
        assert!((0..20).any(|seed| trip(seed, Steps::ALL) != trip(1, Steps::ALL)));
        let erased = Steps::of(&[Step::LineErased]);
        assert!((0..20).all(|seed| trip(seed, erased).1 == Some(Step::LineErased)));
    }

    #[test]
    fn commands_are_counted_by_queue_and_by_what_they_ask_for() {
        let admin = Fetched { controller: 2, io: false, opcode: 1, namespace: 1, range: None };
        let write = |lba| Fetched { io: true, range: Some(LbaRange::new(Lba(lba), 4)), ..admin };
        let trips_at = |arming, commands: &[Fetched]| {
            let breaker = Breaker::default();
            breaker.arm(arming);
            commands.iter().position(|command| breaker.fetched(command))
        };
        let commands = [admin, write(0), write(8), admin, write(10), write(40)];
        assert_eq!(trips_at(Arming::Command(2), &commands), Some(1));
        assert_eq!(trips_at(Arming::IoCommand(2), &commands), Some(2));
        let range = Some(LbaRange::new(Lba(11), 1));
        let wanted = CommandMatch { controller: Some(2), opcode: Some(1), namespace: Some(1), range };
        assert_eq!(trips_at(Arming::Match(wanted, 2), &commands), Some(4));
        assert_eq!(trips_at(Arming::Match(CommandMatch { namespace: Some(2), ..wanted }, 1), &commands), None);
        assert_eq!(trips_at(Arming::Match(CommandMatch { controller: Some(1), ..wanted }, 1), &commands), None);
        assert_eq!(trips_at(Arming::Hit(Step::CommandFetched, 3), &commands), Some(2));
    }

    #[test]
    fn completions_are_counted_apart_from_fetches() {
        let flush = |namespace| Fetched { controller: 0, io: true, opcode: 0, namespace, range: None };
        let breaker = Breaker::default();
        assert!(!breaker.completed(&flush(2)), "nothing is armed");
        let wanted = CommandMatch { opcode: Some(0), namespace: Some(2), ..CommandMatch::default() };
        breaker.arm(Arming::Completed(wanted, 2));
        let trips =
            [1, 2, 1, 2, 2].map(|namespace| (breaker.fetched(&flush(namespace)), breaker.completed(&flush(namespace))));
        assert_eq!(trips, [(false, false), (false, false), (false, false), (false, true), (false, false)]);
        assert!(!breaker.lost(), "the answer is not written yet");
        breaker.trip(Step::CompletionWritten);
        assert_eq!((breaker.lost(), breaker.tripped_at()), (true, Some(Step::CompletionWritten)));
    }

    #[test]
    fn what_is_volatile_trips_when_there_is_enough_of_it() {
        let breaker = Breaker::default();
        breaker.volatile(100, Step::UnitStaged);
        breaker.arm(Arming::VolatileAtLeast(8));
        for units in [3, 7, 2] {
            breaker.volatile(units, Step::UnitStaged);
        }
        assert_eq!((breaker.lost(), breaker.hits()), (false, 7));
        breaker.volatile(8, Step::GroupStaged);
        assert_eq!((breaker.lost(), breaker.tripped_at()), (true, Some(Step::GroupStaged)));
    }

    #[test]
    fn a_mark_gives_back_what_it_was_made_of() {
        let latest = (7 << 32) + 5;
        for ordinal in [latest, latest - 1, latest - 100] {
            let mark = Mark::new(63, 513, 0xfffe, ordinal);
            assert_eq!((mark.controller(), mark.queue(), mark.identifier()), (63, 513, 0xfffe));
            assert_eq!(mark.ordinal(latest), ordinal);
            assert_eq!(Mark::new(63, 513, 0, ordinal).behind(7, 0xfffe), Mark::new(63, 513, 0xfffe, ordinal + 7));
        }
        assert!(Mark::NONE.is_none());
    }
}
