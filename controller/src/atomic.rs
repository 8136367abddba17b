//! Range locks for atomicity in normal operation (NVM Command Set 1.1 section 2.1.4): which commands must wait for which others, and
//! into which pieces a write may be split. Knows ranges of blocks and tokens, but neither commands nor the media.
//!
//! A command that is under way or waiting holds its ranges, shared or exclusively. A later command that overlaps, where either is
//! exclusive, waits until every such earlier one has left: each command for itself and in the order of arrival, whatever queue it came
//! from. So nothing starves, there are no deadlocks, and a queue never stalls behind a command that waits.

mod coarse;
mod pieces;
mod ranges;
mod slices;

use std::collections::VecDeque;

use media::power::mutation::{Mutation, mutated};
use media::{LbaRange, Token, VolumeId};

use coarse::Coarse;
pub(crate) use pieces::{Pieces, Units};
use ranges::RangeSet;
pub(crate) use slices::{Slices, distinct};

/// What a command holds while it is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) volume: VolumeId,
    /// The blocks of this many ranges it changes; those of the ranges behind them it only looks at.
    pub(crate) exclusive: usize,
    pub(crate) ranges: &'a [LbaRange],
}

/// What is held on a volume.
#[derive(Debug, Default)]
struct Held {
    exclusive: RangeSet,
    shared: RangeSet,
}

impl Held {
    fn set(&mut self, exclusive: bool) -> &mut RangeSet {
        if exclusive { &mut self.exclusive } else { &mut self.shared }
    }
}

/// A command that holds ranges.
#[derive(Debug)]
struct Entry {
    volume: VolumeId,
    exclusive: usize,
    /// The serial number of the first range; those of the others follow.
    serial: u64,
    first: LbaRange,
    rest: Vec<LbaRange>,
    /// The last of those that it waits for, until that one leaves.
    waits_for: Option<Token>,
    /// Who has this one for `waits_for`, and some who had and have left since.
    waiters: Vec<Token>,
    /// How many of them have left.
    left: usize,
}

impl Entry {
    /// The ranges with their serial numbers, and whether they are held exclusively.
    fn ranges(&self) -> impl Iterator<Item = (LbaRange, u64, bool)> {
        let all = std::iter::once(self.first).chain(self.rest.iter().copied()).enumerate();
        let each = all.zip(self.serial..).map(|((n, range), serial)| (range, serial, n < self.exclusive));
        each.filter(|(range, ..)| range.blocks != 0)
    }
}

/// So many waiters that have left stay in a list in any case.
const LEFT_MAX: usize = 16;

/// The order of the commands that hold ranges.
#[derive(Debug, Default)]
pub(crate) struct RangeLocks {
    /// By volume.
    held: Vec<Held>,
    /// The same of all of them, coarsely.
    coarse: Coarse,
    /// By whose command it is.
    of: Vec<Own>,
    count: usize,
    /// The serial number of the next range.
    serial: u64,
}

/// What is known of one controller's commands.
#[derive(Debug, Default)]
struct Own {
    /// By the number of its token.
    entries: Vec<Option<Entry>>,
    /// Commands whom nobody is known to hold up, in turn. Some may have left since: those that are meant are marked in `marked`.
    ready: VecDeque<Token>,
    /// By the number of its token.
    marked: Vec<bool>,
}

impl RangeLocks {
    /// Nobody holds anything, so nobody has to wait.
    pub(crate) fn is_idle(&self) -> bool {
        self.count == 0
    }

    /// Whether something is held that may overlap a range: never told wrongly that nothing is.
    #[inline]
    pub(crate) fn may_meet(&self, volume: VolumeId, range: LbaRange) -> bool {
        self.coarse.may_overlap(volume, range)
    }

    /// Whether a command with this claim that came now would not have to wait.
    pub(crate) fn is_free(&self, token: Token, claim: &Claim<'_>) -> bool {
        let Some(held) = self.held.get(index(claim.volume)) else { return true };
        let mut all = claim.ranges.iter().enumerate();
        all.all(|(n, range)| {
            last_before(held, *range, n < claim.exclusive, u64::MAX).is_none_or(|last| forgets(token, last))
        })
    }

    /// A command holds its ranges from now on. `true` if it may start; otherwise [`Self::try_ready`] names it when it may.
    pub(crate) fn enter(&mut self, token: Token, claim: &Claim<'_>) -> bool {
        let Some((first, rest)) = claim.ranges.split_first() else { return true };
        let entry = Entry {
            volume: claim.volume,
            exclusive: claim.exclusive,
            serial: self.serial,
            first: *first,
            rest: rest.to_vec(),
            waits_for: None,
            waiters: Vec::new(),
            left: 0,
        };
        self.serial += claim.ranges.len() as u64;
        if self.held.len() <= index(claim.volume) {
            self.held.resize_with(index(claim.volume) + 1, Held::default);
        }
        let held = &mut self.held[index(claim.volume)];
        for (range, serial, exclusive) in entry.ranges() {
            held.set(exclusive).insert(range, serial, token);
            self.coarse.insert(claim.volume, range);
        }
        let (entries, place) = (&mut self.own(token).entries, token.number());
        if entries.len() <= place {
            entries.resize_with(place + 1, || None);
        }
        assert!(entries[place].is_none(), "a command enters once");
        entries[place] = Some(entry);
        self.count += 1;
        !self.wait(token)
    }

    /// A command holds nothing any longer; one that never did is not missed. Those that waited for it alone become ready.
    pub(crate) fn leave(&mut self, token: Token) {
        let Some(own) = self.of.get_mut(token.owner()) else { return };
        let Some(entry) = own.entries.get_mut(token.number()).and_then(Option::take) else { return };
        if let Some(marked) = own.marked.get_mut(token.number()) {
            *marked = false;
        }
        self.count -= 1;
        let held = &mut self.held[index(entry.volume)];
        for (range, serial, exclusive) in entry.ranges() {
            held.set(exclusive).remove(range, serial);
            self.coarse.remove(entry.volume, range);
        }
        if let Some(other) = entry.waits_for {
            self.one_left(other);
        }
        // Thousands may have waited: whom they have to wait for now each of them asks when its turn has come.
        for waiter in entry.waiters {
            if let Some(waiting) = self.entry_mut(waiter).filter(|other| other.waits_for == Some(token)) {
                waiting.waits_for = None;
                self.make_ready(waiter);
            }
        }
    }

    /// One of those that waited for a command is gone. Those are forgotten together, once they are many.
    fn one_left(&mut self, token: Token) {
        let entry = self.entry_mut(token).expect("who is waited for has not left");
        entry.left += 1;
        if entry.left > LEFT_MAX && entry.left > entry.waiters.len() / 2 {
            let mut waiters = std::mem::take(&mut entry.waiters);
            entry.left = 0;
            let waits = |waiter: &Token| self.entry(*waiter).is_some_and(|it| it.waits_for == Some(token));
            waiters.retain(waits);
            waiters.sort_unstable();
            waiters.dedup();
            self.entry_mut(token).expect("it was just looked at").waiters = waiters;
        }
    }

    /// Lets a command wait for the last of those before it that overlap; `false` if there is none.
    fn wait(&mut self, token: Token) -> bool {
        let entry = self.entry(token).expect("who waits has entered");
        let held = &self.held[index(entry.volume)];
        let limit = entry.serial;
        let before = |(range, _, exclusive)| last_before(held, range, exclusive, limit);
        let last = entry.ranges().filter_map(before).filter(|last| !forgets(token, *last)).max();
        let waits_for = last.map(|(_, other)| other);
        self.entry_mut(token).expect("who waits has entered").waits_for = waits_for;
        let Some(other) = waits_for else { return false };
        self.entry_mut(other).expect("who holds a range has entered").waiters.push(token);
        true
    }

    /// Looks at an owner's next command that may be ready: the command if its waiting is over.
    pub(crate) fn try_ready(&mut self, owner: u16) -> Option<Token> {
        loop {
            let own = self.of.get_mut(usize::from(owner))?;
            let token = own.ready.pop_front()?;
            if std::mem::take(&mut own.marked[token.number()]) {
                return (!self.wait(token)).then_some(token);
            }
        }
    }

    /// A command that holds its ranges goes on at the next opportunity.
    pub(crate) fn make_ready(&mut self, token: Token) {
        let (own, place) = (self.own(token), token.number());
        if own.marked.len() <= place {
            own.marked.resize(place + 1, false);
        }
        own.marked[place] = true;
        own.ready.push_back(token);
    }

    /// Whether [`Self::try_ready`] has something to look at.
    #[inline]
    pub(crate) fn has_ready(&self, owner: u16) -> bool {
        self.of.get(usize::from(owner)).is_some_and(|own| !own.ready.is_empty())
    }

    fn own(&mut self, token: Token) -> &mut Own {
        if self.of.len() <= token.owner() {
            self.of.resize_with(token.owner() + 1, Own::default);
        }
        &mut self.of[token.owner()]
    }

    fn entry(&self, token: Token) -> Option<&Entry> {
        self.of[token.owner()].entries[token.number()].as_ref()
    }

    fn entry_mut(&mut self, token: Token) -> Option<&mut Entry> {
        self.of[token.owner()].entries[token.number()].as_mut()
    }
}

/// The last command with a serial number below `limit` that a claim of `range` has to wait for.
fn last_before(held: &Held, range: LbaRange, exclusive: bool, limit: u64) -> Option<(u64, Token)> {
    if range.blocks == 0 {
        return None;
    }
    let shared = if exclusive { held.shared.last_before(range, limit) } else { None };
    shared.max(held.exclusive.last_before(range, limit))
}

/// Whether a command does not wait for another one that it should wait for: a mistake made on purpose.
fn forgets(token: Token, (_, last): (u64, Token)) -> bool {
    mutated(Mutation::OrderAcross) && token.owner() != last.owner()
}

fn index(volume: VolumeId) -> usize {
    usize::try_from(volume.0).expect("an index of a volume")
}

#[cfg(test)]
mod tests {
    use media::Lba;
    use proptest::prelude::*;

    use super::*;

    /// A command of the model: token, volume, how many ranges exclusively, ranges.
    type Command = (Token, u32, usize, Vec<LbaRange>);

    fn conflict(one: &Command, other: &Command) -> bool {
        let overlap = |a: &LbaRange, b: &LbaRange| a.blocks != 0 && b.blocks != 0 && a.overlaps(*b);
        let exclusive = |m: usize, n: usize| m < one.2 || n < other.2;
        let meets = |m: usize, a| other.3.iter().enumerate().any(|(n, b)| exclusive(m, n) && overlap(a, b));
        one.1 == other.1 && one.3.iter().enumerate().any(|(m, a)| meets(m, a))
    }

    #[derive(Clone, Debug)]
    enum Action {
        Arrive(u32, usize, Vec<(u64, u64)>),
        /// The n-th of those under way ends.
        End(usize),
        /// The n-th of those that wait is aborted.
        Abort(usize),
    }

    fn action() -> impl Strategy<Value = Action> {
        let ranges = prop::collection::vec((0..64_u64, 0..12_u64), 1..4);
        prop_oneof![
            4 => (0..2_u32, 0..4_usize, ranges).prop_map(|(volume, exclusive, ranges)| Action::Arrive(volume, exclusive, ranges)),
            3 => any::<usize>().prop_map(Action::End),
            1 => any::<usize>().prop_map(Action::Abort),
        ]
    }

    /// What the fast path asks instead of taking its turn.
    #[test]
    fn a_range_may_meet_what_is_held_there_and_nothing_far_away() {
        let mut locks = RangeLocks::default();
        let range = |start, blocks| LbaRange::new(Lba(start), blocks);
        let (held, far) = (range(1000, 8), range(9000, 8));
        assert!(locks.is_idle() && !locks.may_meet(VolumeId(0), held));
        let claim = |ranges| Claim { volume: VolumeId(0), exclusive: 0, ranges };
        assert!(locks.enter(Token(3), &claim(&[held])));
        assert!(locks.may_meet(VolumeId(0), range(1007, 1)) && locks.may_meet(VolumeId(0), range(990, 11)));
        assert!(!locks.is_idle() && !locks.may_meet(VolumeId(0), far) && !locks.may_meet(VolumeId(1), held));
        locks.leave(Token(3));
        assert!(locks.is_idle() && !locks.may_meet(VolumeId(0), held));
    }

    #[test]
    fn who_is_made_ready_is_ready_once_and_not_when_it_has_left() {
        let mut locks = RangeLocks::default();
        let claim = Claim { volume: VolumeId(0), exclusive: 1, ranges: &[LbaRange::new(Lba(0), 1)] };
        assert!(locks.enter(Token(0), &claim) && !locks.enter(Token(1), &claim));
        assert!(!locks.has_ready(0));
        locks.make_ready(Token(0));
        assert!(locks.has_ready(0));
        assert_eq!((locks.try_ready(0), locks.try_ready(0), locks.has_ready(0)), (Some(Token(0)), None, false));
        locks.make_ready(Token(0));
        locks.leave(Token(0));
        assert_eq!((locks.try_ready(0), locks.try_ready(0)), (Some(Token(1)), None), "the other's turn has come");
        assert!(locks.enter(Token(2), &Claim { ranges: &[], ..claim }), "who wants nothing waits for nobody");
    }

    /// A host that aborts what waits, and sends it again, does not make the list of those who wait grow.
    #[test]
    fn who_waited_and_left_is_forgotten_once_there_are_many_and_nobody_else_is() {
        let mut order = RangeLocks::default();
        let claim = Claim { volume: VolumeId(0), exclusive: 1, ranges: &[LbaRange::new(Lba(0), 1)] };
        let shared = Claim { exclusive: 0, ..claim };
        let waiters = |order: &RangeLocks| order.of[0].entries[0].as_ref().expect("it is there").waiters.len();
        assert!(order.enter(Token(0), &claim));
        (1..=100).for_each(|token| assert!(!order.enter(Token(token), &shared)));
        assert_eq!(waiters(&order), 100);
        (1..=50).for_each(|token| order.leave(Token(token)));
        assert_eq!(waiters(&order), 100, "half of them");
        // A place that is used again is in the list twice.
        assert!(!order.enter(Token(1), &shared));
        order.leave(Token(51));
        assert_eq!(waiters(&order), 50, "those that still wait, each once");
        (52..=76).for_each(|token| order.leave(Token(token)));
        assert_eq!(waiters(&order), 50, "half of them");
        order.leave(Token(77));
        assert_eq!(waiters(&order), 24);
        order.leave(Token(0));
        let mut ready: Vec<u64> = std::iter::from_fn(|| order.try_ready(0)).map(|token| token.0).collect();
        ready.sort_unstable();
        assert_eq!(ready, [1].into_iter().chain(78..=100).collect::<Vec<_>>());
    }

    #[test]
    fn few_that_left_are_not_worth_looking_for() {
        let mut order = RangeLocks::default();
        let claim = Claim { volume: VolumeId(0), exclusive: 1, ranges: &[LbaRange::new(Lba(0), 1)] };
        let shared = Claim { exclusive: 0, ..claim };
        let waiters = |order: &RangeLocks| order.of[0].entries[0].as_ref().expect("it is there").waiters.len();
        assert!(order.enter(Token(0), &claim));
        for round in 1..=2 * LEFT_MAX + 2 {
            assert!(!order.enter(Token(1), &shared));
            order.leave(Token(1));
            assert_eq!(waiters(&order), round % (LEFT_MAX + 1), "in round {round}");
        }
    }

    proptest! {
        /// A command is under way exactly when nothing that came before it, and is still there, conflicts with it: so nothing that
        /// conflicts is under way together, and nobody is passed by a later one or forgotten.
        #[test]
        fn commands_run_as_in_a_list_in_the_order_of_arrival(actions in prop::collection::vec(action(), 1..300)) {
            let mut locks = RangeLocks::default();
            let mut list: Vec<Command> = Vec::new();
            let mut running: Vec<Token> = Vec::new();
            let mut free: Vec<Token> = (0..400).rev().map(Token).collect();
            for action in actions {
                match action {
                    Action::Arrive(volume, exclusive, ranges) => {
                        let ranges: Vec<_> =
                            ranges.into_iter().map(|(start, blocks)| LbaRange::new(Lba(start), blocks)).collect();
                        let token = free.pop().expect("fewer commands than tokens");
                        let claim = Claim { volume: VolumeId(volume), exclusive, ranges: &ranges };
                        let is_free = locks.is_free(token, &claim);
                        prop_assert_eq!(locks.enter(token, &claim), is_free);
                        if is_free {
                            running.push(token);
                        }
                        list.push((token, volume, exclusive, ranges));
                    }
                    Action::End(_) if running.is_empty() => {}
                    Action::End(n) => {
                        let token = running.swap_remove(n % running.len());
                        locks.leave(token);
                        list.retain(|command| command.0 != token);
                        free.push(token);
                    }
                    Action::Abort(n) => {
                        let waiting: Vec<_> = list.iter().map(|command| command.0).filter(|token| !running.contains(token)).collect();
                        if let Some(&token) = waiting.get(n % waiting.len().max(1)) {
                            locks.leave(token);
                            list.retain(|command| command.0 != token);
                            free.push(token);
                        }
                    }
                }
                while locks.has_ready(0) {
                    running.extend(locks.try_ready(0));
                }
                for (index, command) in list.iter().enumerate() {
                    let held_up = list[..index].iter().any(|earlier| conflict(earlier, command));
                    prop_assert_eq!(running.contains(&command.0), !held_up, "{:?} in {:?}", command, list);
                }
                prop_assert_eq!(locks.is_idle(), list.is_empty());
            }
        }
    }
}
