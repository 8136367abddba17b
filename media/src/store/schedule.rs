//! In which order a disk does what it was called to do, and when it must sync in between. Owns the queues; does not know what writes
//! and syncs: the file and the failing disk of the tests run the same schedule, so the order that is tested is the order that is used.
//!
//! *Free* writes may reach the disk before or after anything else; they are done first, many at a time. Everything else waits for its
//! *turn*. A sync costs milliseconds, so one is made only where a promise needs it: before a claim if anything that the claim is about
//! is not durable yet. Claims that follow each other without that share one sync.
//!
//! A sync that fails leaves pages of which nobody can say whether they are on the disk, and which the system takes for clean: the next
//! sync would succeed without them. So what was written since the last good sync is kept, and after any failure it is written again,
//! synced and read back before anything else is done. A loss of the host meanwhile leaves what one at the time of the failure could have
//! left: any of the newest bytes of each place, what was there at the last good sync, or, claims apart, a hole.

use std::collections::VecDeque;
use std::sync::Arc;

use super::backing::StoreError;
pub use super::kept::Bytes;
use super::kept::Kept;
use crate::ordering::Order;

/// This many bytes are kept for the case that a sync fails; then there is one, whether a promise needs it or not.
const KEPT_BYTES: usize = 64 << 20;

/// This many of the newest bytes that a sync covered are kept for a while: a disk may tell too late that it lost them.
const PAST_BYTES: usize = 16 << 20;

/// What a disk is called to do.
#[derive(Clone, Debug)]
pub enum Operation {
    /// A write that may reach the disk before or after anything else.
    Free(u64, Bytes),
    /// A write after everything that took its turn before. What is in the place is needed no more, as with free writes: until it is
    /// durable, a failure may leave zeroes there.
    Turn(u64, Bytes),
    /// As [`Operation::Turn`], once everything called before is durable. Adjoining claims are not ordered among themselves.
    Claim {
        /// What it comes after.
        order: Order,
        /// Where it is written.
        offset: u64,
        /// What is written.
        bytes: Bytes,
        /// Free writes called afterwards mean nothing without it, so the next claim waits until it is durable.
        opens: bool,
    },
    /// Nothing needs the bytes from here on, this many of them; they may read as zeroes or as they are, and nobody waits for that.
    Discard(u64, u64),
    /// What takes its turn later does so once everything called before is durable.
    Barrier(Order),
    /// As a barrier; its ticket is done then.
    Sync(u64),
    /// Its ticket is done when everything called before was written, durable or not.
    Notice(u64),
}

impl Operation {
    /// How many bytes it writes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Free(_, bytes) | Self::Turn(_, bytes) | Self::Claim { bytes, .. } => bytes.len(),
            Self::Discard(..) | Self::Barrier(_) | Self::Sync(_) | Self::Notice(_) => 0,
        }
    }
}

/// What does the work.
pub trait Platter {
    /// Takes out the free writes to do next, at least one.
    fn choose(&mut self, free: &mut Vec<(u64, Bytes)>) -> Vec<(u64, Bytes)>;

    /// Writes.
    ///
    /// # Errors
    /// Where it could not write everything; it is asked again with the same writes.
    fn write(&mut self, writes: &[(u64, Bytes)]) -> Result<(), StoreError>;

    /// Makes durable what was written.
    ///
    /// # Errors
    /// Where it could not. Of what was written since the last success anything may be missing then, also after a later success.
    fn sync(&mut self) -> Result<(), StoreError>;

    /// Gives the room of some bytes back.
    ///
    /// # Errors
    /// Where it could not.
    fn discard(&mut self, offset: u64, bytes: u64) -> Result<(), StoreError>;

    /// Makes durable what was written since the last good sync, although nothing is to be believed of that: neither what the system
    /// holds for clean nor where it believes bytes to lie.
    ///
    /// # Errors
    /// Where it could not; it is asked again.
    fn renew(&mut self, since: &Since) -> Result<(), StoreError> {
        self.write(&since.past.writes())?;
        self.write(&since.kept.writes())?;
        self.sync()
    }
}

/// What was done since the last sync that succeeded.
#[derive(Clone, Debug, Default)]
pub struct Since {
    /// What was written.
    pub kept: Kept,
    /// Whose room was given back: offsets and bytes.
    pub discarded: Vec<(u64, u64)>,
    /// What was written shortly before, and synced well: a disk may have said so of what it lost. Nothing of it is in `kept`.
    pub past: Kept,
    /// The places of `past`, oldest first.
    order: VecDeque<(u64, u64)>,
}

impl Since {
    fn write(&mut self, offset: u64, bytes: &Bytes, in_place: bool) {
        self.past.forget(offset, bytes.len() as u64);
        self.kept.write(offset, bytes, in_place);
    }

    fn discard(&mut self, offset: u64, bytes: u64) {
        self.past.forget(offset, bytes);
        self.kept.forget(offset, bytes);
        if self.discarded.last() != Some(&(offset, bytes)) {
            self.discarded.push((offset, bytes));
        }
    }

    /// Everything is durable, as far as the disk says. Copies are kept, since lines wait for their memory.
    fn synced(&mut self) {
        let writes = self.kept.writes();
        self.kept.clear();
        self.discarded.clear();
        for (offset, bytes) in &writes {
            self.past.write(*offset, &Bytes::new(bytes.to_vec()), true);
            self.order.push_back((*offset, bytes.len() as u64));
            while self.past.bytes() > PAST_BYTES
                && let Some((offset, bytes)) = self.order.pop_front()
            {
                self.past.forget(offset, bytes);
            }
        }
    }
}

/// How far a disk has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// How many operations that take turns are durable.
    pub durable_turns: u64,
    /// The largest ticket that is done.
    pub ticket: u64,
}

/// The queues of a disk.
#[derive(Default)]
pub struct Schedule {
    free: Vec<(u64, Bytes)>,
    /// Free writes taken out of `free`, being written.
    chosen: Vec<(u64, Bytes)>,
    turns: VecDeque<Operation>,
    /// Turns done.
    taken: u64,
    /// Anything written since the last sync,
    dirty: bool,
    /// and anything that a claim would be about.
    claimed_dirty: bool,
    /// What was done since then.
    since: Since,
    /// No sync of a new disk succeeded yet: nothing in it is needed, claims included.
    unborn: bool,
    /// Something failed, and what was done since the last good sync was not renewed.
    distrusted: bool,
    /// What failed last and was not done since.
    failing: Option<Failing>,
    done: Done,
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failing {
    Chosen,
    Turn,
}

impl Schedule {
    /// Of a disk on which nothing durable is yet.
    #[must_use]
    pub fn of_new_disk() -> Self {
        Self { unborn: true, ..Self::default() }
    }

    /// Takes an operation in.
    pub fn accept(&mut self, operation: Operation) {
        match operation {
            Operation::Free(offset, bytes) => self.free.push((offset, bytes)),
            turn => self.turns.push_back(turn),
        }
    }

    /// How far it has come.
    #[must_use]
    pub const fn done(&self) -> Done {
        self.done
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.free.is_empty() && self.chosen.is_empty() && self.turns.is_empty() && !self.distrusted
    }

    /// Whether something failed that was not done since.
    #[must_use]
    pub const fn failing(&self) -> bool {
        self.failing.is_some()
    }

    /// What is written and not known to be durable, and what is still to be written.
    #[must_use]
    pub fn undurable(&self) -> Kept {
        let mut all = self.since.kept.clone();
        for (offset, bytes) in self.chosen.iter().chain(&self.free) {
            all.write(*offset, bytes, false);
        }
        for turn in &self.turns {
            if let Operation::Turn(offset, bytes) | Operation::Claim { offset, bytes, .. } = turn {
                all.write(*offset, bytes, matches!(turn, Operation::Claim { .. }));
            }
        }
        all
    }

    /// How many operations are left to do.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.free.len() + self.chosen.len() + self.turns.len()
    }

    /// Does a little of what is left; returns the bytes that were written.
    ///
    /// # Errors
    /// What the platter reports; nothing is lost, and the next step tries again.
    pub fn step(&mut self, platter: &mut impl Platter) -> Result<usize, StoreError> {
        let tried = if self.chosen.is_empty() && self.free.is_empty() { Failing::Turn } else { Failing::Chosen };
        if self.distrusted {
            platter.renew(&self.since)?;
            self.synced();
            self.distrusted = false;
            if self.idle() {
                self.failing = None;
            }
            return Ok(0);
        }
        let done = self.go_on(platter);
        match &done {
            Err(_) => {
                self.distrusted = true;
                self.failing = Some(tried);
            }
            Ok(_) if self.failing == Some(tried) => self.failing = None,
            Ok(_) => {}
        }
        done
    }

    fn sync(&mut self, platter: &mut impl Platter) -> Result<(), StoreError> {
        platter.sync()?;
        self.synced();
        Ok(())
    }

    fn synced(&mut self) {
        (self.dirty, self.claimed_dirty, self.unborn) = (false, false, false);
        self.since.synced();
        self.done.durable_turns = self.taken;
    }

    fn go_on(&mut self, platter: &mut impl Platter) -> Result<usize, StoreError> {
        if self.since.kept.bytes() > KEPT_BYTES {
            self.sync(platter)?;
        }
        let free_first = self.turns.is_empty() || Order::FreeBeforeTurns.kept();
        if self.chosen.is_empty() && !self.free.is_empty() && free_first {
            self.chosen = platter.choose(&mut self.free);
            assert!(!self.chosen.is_empty(), "a platter chooses at least one write");
        }
        if self.chosen.is_empty() {
            return self.turn(platter);
        }
        // Also what fails half-way is not to be believed.
        for (offset, bytes) in &self.chosen {
            self.since.write(*offset, bytes, false);
        }
        platter.write(&self.chosen)?;
        (self.dirty, self.claimed_dirty) = (true, true);
        Ok(self.chosen.drain(..).map(|(_, bytes)| bytes.len()).sum())
    }

    /// Does the next turn, or the sync that it needs. All free writes that were called before it are written.
    fn turn(&mut self, platter: &mut impl Platter) -> Result<usize, StoreError> {
        let Some(next) = self.turns.front() else {
            return Ok(0);
        };
        let sync = match next {
            Operation::Barrier(order) => self.dirty && order.kept(),
            Operation::Sync(_) => self.dirty && Order::TicketAfterSync.kept(),
            Operation::Claim { order, .. } => self.claimed_dirty && order.kept(),
            _ => false,
        };
        if sync {
            self.sync(platter)?;
            return Ok(0);
        }
        let bytes = next.bytes();
        match next {
            Operation::Free(..) => unreachable!("a free write takes no turn"),
            Operation::Turn(offset, bytes) | Operation::Claim { offset, bytes, .. } => {
                let in_place = matches!(next, Operation::Claim { .. }) && !self.unborn;
                self.since.write(*offset, bytes, in_place);
                platter.write(&[(*offset, Arc::clone(bytes))])?;
                self.claimed_dirty |= match next {
                    Operation::Claim { opens, .. } => *opens,
                    _ => Order::TurnsBeforeClaims.kept(),
                };
                self.dirty = true;
            }
            Operation::Discard(offset, bytes) => {
                self.since.discard(*offset, *bytes);
                platter.discard(*offset, *bytes)?;
            }
            Operation::Barrier(_) => {}
            Operation::Sync(ticket) | Operation::Notice(ticket) => {
                assert!(*ticket > self.done.ticket, "tickets grow");
                self.done.ticket = *ticket;
            }
        }
        self.turns.pop_front();
        self.taken += 1;
        if !self.dirty {
            self.done.durable_turns = self.taken;
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes what it is asked to do.
    #[derive(Default)]
    struct Paper(Vec<String>);

    impl Platter for Paper {
        fn choose(&mut self, free: &mut Vec<(u64, Bytes)>) -> Vec<(u64, Bytes)> {
            std::mem::take(free)
        }
        fn write(&mut self, writes: &[(u64, Bytes)]) -> Result<(), StoreError> {
            self.0.extend(writes.iter().map(|(offset, _)| offset.to_string()));
            Ok(())
        }
        fn sync(&mut self) -> Result<(), StoreError> {
            self.0.push("sync".into());
            Ok(())
        }
        fn discard(&mut self, offset: u64, _bytes: u64) -> Result<(), StoreError> {
            self.0.push(format!("discard {offset}"));
            Ok(())
        }
    }

    fn order(operations: Vec<Operation>) -> (String, Done) {
        let (mut schedule, mut paper) = (Schedule::default(), Paper::default());
        operations.into_iter().for_each(|operation| schedule.accept(operation));
        while !schedule.idle() {
            schedule.step(&mut paper).unwrap();
        }
        (paper.0.join(" "), schedule.done())
    }

    fn claim(offset: u64, opens: bool) -> Operation {
        Operation::Claim { order: Order::HeaderAfterPrograms, offset, bytes: Bytes::default(), opens }
    }

    fn free(offset: u64) -> Operation {
        Operation::Free(offset, Bytes::default())
    }

    #[test]
    fn one_sync_serves_many_claims_until_one_opens_something() {
        let (order, done) = order(vec![free(1), claim(2, false), free(3), claim(4, true), claim(5, false)]);
        assert_eq!(order, "1 3 sync 2 4 sync 5");
        assert_eq!(done.durable_turns, 2, "what came after the last sync is not durable");
    }

    #[test]
    fn barriers_and_syncs_order_turns_and_cost_nothing_where_nothing_was_written() {
        let turn = |offset| Operation::Turn(offset, Bytes::default());
        let barrier = || Operation::Barrier(Order::RootAfterAll);
        let (order, done) = order(vec![turn(1), barrier(), barrier(), turn(2), Operation::Sync(7)]);
        assert_eq!(order, "1 sync 2 sync");
        assert_eq!(done, Done { durable_turns: 5, ticket: 7 });
    }

    #[test]
    fn a_notice_costs_no_sync() {
        let (order, done) = order(vec![free(1), Operation::Notice(3), Operation::Discard(9, 1)]);
        assert_eq!((order.as_str(), done.ticket), ("1 discard 9", 3));
    }

    /// Fails the n-th call, and then works.
    struct Failing {
        paper: Paper,
        calls: usize,
        fails: usize,
    }

    impl Failing {
        fn call(&mut self) -> Result<(), StoreError> {
            self.calls += 1;
            if self.calls == self.fails { Err(StoreError::Failed("meant to".into())) } else { Ok(()) }
        }
    }

    impl Platter for Failing {
        fn choose(&mut self, free: &mut Vec<(u64, Bytes)>) -> Vec<(u64, Bytes)> {
            self.paper.choose(free)
        }
        fn write(&mut self, writes: &[(u64, Bytes)]) -> Result<(), StoreError> {
            self.call().and_then(|()| self.paper.write(writes))
        }
        fn sync(&mut self) -> Result<(), StoreError> {
            self.call().and_then(|()| self.paper.sync())
        }
        fn discard(&mut self, offset: u64, bytes: u64) -> Result<(), StoreError> {
            self.call().and_then(|()| self.paper.discard(offset, bytes))
        }
    }

    /// Every call fails in turn: what was written since the last good sync is written again, and synced, before anything else is done.
    #[test]
    fn whatever_fails_nothing_since_the_last_good_sync_is_believed() {
        let one = || Bytes::new(vec![1]);
        let operations = [
            Operation::Free(1, one()),
            Operation::Turn(2, one()),
            Operation::Discard(9, 1),
            Operation::Sync(1),
            Operation::Turn(3, one()),
        ];
        let orders = [
            (1, "1 sync 1 2 discard 9 sync 3"),
            (2, "1 1 2 sync 2 discard 9 sync 3"),
            (3, "1 2 1 2 sync discard 9 3"),
            (4, "1 2 discard 9 1 2 sync 3"),
            (5, "1 2 discard 9 sync 1 2 3 sync 3"),
        ];
        for (fails, expected) in orders {
            let mut schedule = Schedule::default();
            let mut platter = Failing { paper: Paper::default(), calls: 0, fails };
            operations.iter().cloned().for_each(|operation| schedule.accept(operation));
            let mut failures = 0;
            while !schedule.idle() {
                failures += u32::from(schedule.step(&mut platter).is_err());
            }
            assert_eq!(
                (platter.paper.0.join(" ").as_str(), failures, schedule.failing()),
                (expected, 1, false),
                "{fails}"
            );
            assert_eq!(schedule.done().ticket, 1);
        }
    }

    /// Notes what a renewal is about.
    #[derive(Default)]
    struct Renewing(Vec<(u64, u64)>, Vec<(u64, u64)>, u32);

    impl Platter for Renewing {
        fn choose(&mut self, free: &mut Vec<(u64, Bytes)>) -> Vec<(u64, Bytes)> {
            std::mem::take(free)
        }
        fn write(&mut self, _writes: &[(u64, Bytes)]) -> Result<(), StoreError> {
            Ok(())
        }
        fn sync(&mut self) -> Result<(), StoreError> {
            self.2 += 1;
            if self.2 == 2 { Err(StoreError::Failed("meant to".into())) } else { Ok(()) }
        }
        fn discard(&mut self, _offset: u64, _bytes: u64) -> Result<(), StoreError> {
            Ok(())
        }
        fn renew(&mut self, since: &Since) -> Result<(), StoreError> {
            let places = |kept: &Kept| kept.writes().iter().map(|(at, bytes)| (*at, bytes.len() as u64)).collect();
            (self.0, self.1) = (places(&since.past), places(&since.kept));
            assert_eq!(since.discarded, [(30, 10)]);
            Ok(())
        }
    }

    /// A disk may say of what it lost that it is durable: what was synced shortly before is renewed too, where it was not overwritten or
    /// discarded since.
    #[test]
    fn what_was_synced_shortly_before_a_failure_is_not_believed_either() {
        let (mut schedule, mut platter) = (Schedule::default(), Renewing::default());
        let turn = |offset, count| Operation::Turn(offset, Bytes::new(vec![1; count]));
        let mut operations = vec![turn(0, 10), turn(20, 20), Operation::Sync(1), turn(5, 5)];
        operations.extend([Operation::Discard(30, 10), Operation::Sync(2)]);
        operations.into_iter().for_each(|operation| schedule.accept(operation));
        let mut failures = 0;
        while !schedule.idle() {
            failures += u32::from(schedule.step(&mut platter).is_err());
        }
        assert_eq!((failures, platter.0, platter.1), (1, vec![(0, 5), (20, 10)], vec![(5, 5)]));
    }

    /// What a claim replaces is needed until the claim is durable; what anything else replaces is not, nor is anything of a new disk.
    #[test]
    fn a_claim_is_written_in_place_and_nothing_else_is_nor_a_claim_on_a_new_disk() {
        let places = |mut schedule: Schedule, done: bool| {
            let bytes = || Bytes::new(vec![1; 8]);
            let header = Order::HeaderAfterPrograms;
            let claim = Operation::Claim { order: header, offset: 0, bytes: bytes(), opens: false };
            for operation in [claim, Operation::Turn(8, bytes()), Operation::Free(16, bytes())] {
                schedule.accept(operation);
            }
            let mut paper = Paper::default();
            // The free one first, then a sync, then each.
            (0..4).filter(|_| done).for_each(|_| _ = schedule.step(&mut paper).expect("nothing fails"));
            let kept = schedule.undurable();
            kept.renewable(8, |_, _| panic!("all of it is kept")).expect("nothing is read")
        };
        assert_eq!(places(Schedule::default(), true), [(8, 8)], "the free one is durable by then");
        assert_eq!(places(Schedule::default(), false), [(8, 16)]);
        assert_eq!(
            places(Schedule::of_new_disk(), false),
            [(8, 16)],
            "what is not done yet may be done after the first sync"
        );
        let mut schedule = Schedule::of_new_disk();
        schedule.accept(Operation::Claim {
            order: Order::HeaderAfterPrograms,
            offset: 0,
            bytes: Bytes::new(vec![1; 8]),
            opens: false,
        });
        schedule.step(&mut Paper::default()).expect("nothing fails");
        assert_eq!(schedule.undurable().renewable(8, |_, _| panic!("all of it is kept")), Ok(vec![(0, 8)]));
    }

    #[test]
    fn what_is_kept_for_a_sync_that_may_fail_is_bounded() {
        let (mut schedule, mut paper) = (Schedule::default(), Paper::default());
        for piece in 0..200_u64 {
            schedule.accept(Operation::Free(piece << 20, Bytes::new(vec![0; 1 << 20])));
            while !schedule.idle() {
                schedule.step(&mut paper).unwrap();
            }
            assert!(schedule.since.kept.bytes() <= KEPT_BYTES + (1 << 20));
            assert!(schedule.since.past.bytes() <= PAST_BYTES);
        }
        assert_eq!(paper.0.iter().filter(|done| *done == "sync").count(), 3);
    }
}
