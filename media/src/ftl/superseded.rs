//! Owns what was overwritten or deallocated, where each unit takes memory of its own, until no loss of power can bring it back: then the
//! store forgets it. Does not know who overwrote it.
//!
//! A change is final once it is committed: recovery repeats it then, and nothing reads what lay there before. A write pays nothing for
//! that. When the host's line is full, everything in it is programmed; if more memory is held then than the map shows and a share of it,
//! the lines that hold most of what is stale are gone through. As they hold at least that share, what a line of writes costs is bounded.

use super::line::{Line, LineState};
use super::{Ftl, HOST};
use crate::journal::Record;
use crate::power::mutation::{Mutation, mutated};
use crate::store::Store;
use crate::unit::{LogicalUnit, PhysicalUnit, index, narrow};

/// The share of what the map shows that may be held besides: one part of so many. A full drive with less spare than that, by which all
/// that is stale is bounded, never looks for it.
const STALE_SHARE: u64 = 8;
/// Lines gone through when a line is full: what the share asks for, and some.
const LINES_AT_A_TIME: u32 = 16;

/// When there is something to look for.
#[derive(Default)]
pub(crate) struct Superseded {
    /// Memory may have become free.
    pub(crate) due: bool,
    /// Something was deallocated that is not committed.
    deallocated: bool,
    /// Lines with units of a write that is being done: the map does not show them yet.
    busy: Vec<u32>,
    places: Vec<PhysicalUnit>,
    records: Vec<Record>,
}

impl Superseded {
    /// Units were deallocated.
    #[inline]
    pub(crate) const fn deallocated(&mut self) {
        self.deallocated = true;
    }

    /// All that was done is committed.
    #[inline]
    pub(crate) const fn committed(&mut self) {
        self.due |= self.deallocated;
        self.deallocated = false;
    }
}

impl<S: Store> Ftl<S> {
    /// The host's line was closed.
    pub(crate) fn forget_at_line_end(&mut self) {
        if !S::STAYS || self.nand.power.lost() || self.read_only {
            return;
        }
        self.superseded.due = true;
        let mut busy = std::mem::take(&mut self.superseded.busy);
        busy.extend(self.group.iter().map(|&place| self.geometry.line_of(place)));
        busy.dedup();
        self.superseded.busy = busy;
        for _ in 0..LINES_AT_A_TIME {
            if !self.holds_too_much() || !self.forget_stalest() {
                break;
            }
        }
        self.superseded.busy.clear();
    }

    /// Gives memory back that nothing needs any more, a little at a time.
    #[cold]
    pub(crate) fn tidy_memory(&mut self) {
        self.superseded.due = false;
        if !S::STAYS || self.nand.power.lost() || self.read_only {
            return;
        }
        let more = self.holds_too_much() && self.forget_stalest();
        self.nand.store.give_back();
        self.superseded.due = more || self.nand.store.excessive();
    }

    /// Whether the last unit that was to be new did not fit, and would not yet.
    pub(crate) fn is_memory_full(&self) -> bool {
        self.memory_full && self.nand.store.room() <= self.memory_reserve
    }

    /// Lets the store forget all that it may.
    #[cold]
    pub(crate) fn forget_all(&mut self) {
        while !self.read_only && !self.nand.power.lost() && self.forget_stalest() {}
    }

    /// Whether more is held than the map shows, a share of that, and what is in hand: the open lines, and what is drained.
    fn holds_too_much(&self) -> bool {
        let in_hand = 2 * self.geometry.units_per_program + self.streams[HOST].staged();
        self.nand.store.held() as u64 > self.mapped + self.mapped / STALE_SHARE + u64::from(in_hand)
    }

    /// How many programmed slots of a line may hold what nothing will ever read.
    fn stale_units(&self, number: u32, line: &Line) -> u32 {
        let used = match line.state {
            LineState::Closed if line.failed_plane.is_none() => line.used,
            LineState::Open => {
                self.streams.iter().find(|stream| stream.line == number).map_or(0, |stream| stream.programmed)
            }
            _ => 0,
        };
        let settled =
            line.last_sequence.max(line.invalidated) <= self.committed || mutated(Mutation::ForgetUncommitted);
        if settled && !self.superseded.busy.contains(&number) {
            used.saturating_sub(line.valid + line.forgotten)
        } else {
            0
        }
    }

    /// Goes through the line that holds most of what is stale; `false` where there is none.
    #[inline(never)]
    fn forget_stalest(&mut self) -> bool {
        let stale = self.lines.iter().map(|(number, line)| (self.stale_units(number, line), number));
        match stale.max_by_key(|&(units, number)| (units, u32::MAX - number)) {
            Some((units, line)) if units > 0 => self.forget_stale(line),
            _ => false,
        }
    }

    /// Lets the store forget what is stale in a line whose changes are committed.
    fn forget_stale(&mut self, number: u32) -> bool {
        let mut records = std::mem::take(&mut self.superseded.records);
        let used = match self.streams.iter().find(|stream| stream.line == number) {
            Some(stream) => {
                records.clear();
                records.extend_from_slice(&stream.records[..stream.programmed as usize]);
                stream.programmed
            }
            None if self.nand.store.records(number, &mut records).is_err() => return false,
            None => self.lines.get(number).used,
        };
        let mut places = std::mem::take(&mut self.superseded.places);
        places.clear();
        let first = self.geometry.physical(number, 0).0;
        for (slot, record) in (first..first + used).zip(&records) {
            let (unit, place) = (LogicalUnit(record.logical), PhysicalUnit(slot));
            if !(record.kind.holds_unit() && self.geometry.holds(unit) && self.map.get(unit) == Some(place)) {
                places.push(place);
            }
        }
        let entry = self.lines.get(number);
        let shown = used - narrow(places.len());
        assert!(
            entry.state == LineState::Open || shown == entry.valid,
            "what the map shows of a line is in its records"
        );
        self.nand.store.forget(&places);
        self.lines.get_mut(number).forgotten = narrow(places.len());
        self.superseded.places = places;
        self.superseded.records = records;
        true
    }

    /// After a recovery: whatever the map does not show, no recovery will.
    pub(crate) fn forget_unmapped(&mut self) {
        if !S::STAYS || self.nand.power.lost() {
            return;
        }
        let numbers = index(u64::from(self.geometry.lines) << self.geometry.slot_bits);
        let mut kept = vec![0u64; numbers.div_ceil(64)];
        for (_, place) in self.map.iter() {
            kept[place.0 as usize / 64] |= 1 << (place.0 % 64);
        }
        self.nand.store.forget_others(&kept);
    }
}
