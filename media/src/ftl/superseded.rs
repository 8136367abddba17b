//! Owns what was overwritten or deallocated, where each unit takes memory of its own, until no power loss can bring it back: then the
//! store forgets it. Does not know who overwrote it.
//!
//! A change is final once it is committed: recovery repeats it then, and nothing reads what lay there before. So places wait here in the
//! order of the changes, and those whose changes are committed go when the host's line is full, at the latest: a page at a time would cost
//! twice as much.

use std::collections::BTreeMap;

use super::line::LineState;
use super::{Ftl, MOVED};
use crate::large_memory::filled;
use crate::power::mutation::{Mutation, mutated};
use crate::store::Store;
use crate::unit::{LogicalUnit, PhysicalUnit, index};

/// Places that are done with are kept in the list until there are this many of them, and they are most of it.
const DONE_MIN: usize = 1024;

/// Where units lay until a change that may not be committed yet.
#[derive(Default)]
pub(crate) struct Superseded {
    places: Vec<Place>,
    /// Those before this one are forgotten.
    done: usize,
    /// Many may have been committed at once, by a deallocation.
    pub(super) due: bool,
}

#[derive(Clone, Copy)]
struct Place {
    /// The sequence number of the change.
    sequence: u64,
    place: PhysicalUnit,
}

impl<S: Store> Ftl<S> {
    /// A unit does not lie here any more, by the change with this sequence number.
    #[inline]
    pub(super) fn supersede(&mut self, place: PhysicalUnit, sequence: u64) {
        let left = self.lines.invalidate(self.geometry.line_of(place), sequence);
        if S::STAYS {
            self.superseded.places.push(Place { sequence, place });
            // What is known of an empty line takes memory too.
            if left == 0 {
                self.trimmed = true;
            }
        }
    }

    /// Lets the store forget what no power loss can bring back any more.
    #[inline]
    pub(super) fn settle(&mut self) {
        if !S::STAYS || self.nand.power.lost() {
            return;
        }
        let committed = if mutated(Mutation::ForgetUncommitted) { u64::MAX } else { self.committed };
        self.superseded.due = false;
        let Superseded { places, done, .. } = &mut self.superseded;
        let due = places[*done..].iter().take_while(|place| place.sequence <= committed);
        *done += self.nand.store.forget(due.map(|due| due.place));
        if *done > DONE_MIN.max(places.len() / 2) {
            places.drain(..*done);
            *done = 0;
        }
    }

    /// Lets the store forget a unit that nothing leads to.
    pub(super) fn forget(&mut self, place: PhysicalUnit) {
        if !self.nand.power.lost() {
            self.nand.store.forget(std::iter::once(place));
        }
    }

    /// What waits to be forgotten lies elsewhere in the meantime.
    pub(super) fn supersede_elsewhere(&mut self, from: PhysicalUnit, to: PhysicalUnit) {
        let Superseded { places, done, .. } = &mut self.superseded;
        if let Some(waiting) = places[*done..].iter_mut().find(|waiting| waiting.place == from) {
            waiting.place = to;
        }
    }

    /// Changes have other sequence numbers now, of which the least was `first`: what they overwrote can be brought back for longer.
    pub(super) fn supersede_later(&mut self, first: u64, numbers: &BTreeMap<u64, u64>) {
        let Superseded { places, done, .. } = &mut self.superseded;
        for place in &mut places[*done..] {
            place.sequence = numbers.get(&place.sequence).copied().unwrap_or(place.sequence);
        }
        places[*done..].sort_by_key(|place| place.sequence);
        // Which lines it lay in is not known of every store.
        let last = self.sequence - 1;
        for line in 0..self.geometry.lines {
            if self.lines.get(line).invalidated >= first {
                self.lines.get_mut(line).invalidated = last;
            }
        }
    }

    /// After a recovery: lets the store forget whatever the map does not show.
    pub(crate) fn forget_unmapped(&mut self) {
        if !S::STAYS || self.nand.power.lost() {
            return;
        }
        let numbers = index(u64::from(self.geometry.lines) << self.geometry.slot_bits);
        // What is not forgotten costs memory, and nothing else.
        let Ok(mut shown) = filled(0u64, numbers.div_ceil(64)) else { return };
        for (_, place) in self.map.iter() {
            shown[place.0 as usize / 64] |= 1 << (place.0 % 64);
        }
        let is_shown = |place: PhysicalUnit| shown[place.0 as usize / 64] >> (place.0 % 64) & 1 == 1;
        for (line, _) in self.lines.iter().filter(|(_, line)| line.state != LineState::Free) {
            self.nand.store.forget_line(line, &is_shown);
        }
    }

    /// Makes memory for units from `first` on, where a store may have less memory than lines: what was overwritten may take some of it
    /// until that is committed. A reserve is kept for what replaces other units, so that a host can go on, and make room.
    ///
    /// Returns whether there is enough.
    #[cold]
    pub(super) fn make_memory_room(&mut self, first: LogicalUnit, units: u32) -> bool {
        let replaces = (first.0..first.0 + units).all(|unit| self.map.get(LogicalUnit(unit)).is_some());
        let wanted = units as usize + if replaces { 0 } else { self.memory_reserve };
        if self.nand.store.room() < wanted {
            self.commit();
            // What was moved and then overwritten takes memory until the line is erased that it was moved out of.
            self.program_staged(MOVED);
            self.release_drained();
        }
        let fits = self.nand.store.room() >= wanted;
        if !replaces {
            self.memory_full = !fits;
        }
        fits
    }

    /// Whether the last unit that was to be new did not fit, and would not yet.
    pub(crate) fn is_memory_full(&self) -> bool {
        self.memory_full && self.nand.store.room() <= self.memory_reserve
    }
}
