//! Owns durability in part: of what is staged, some is programmed, and the rest is staged once more behind it, where it stays volatile.
//! Knows units; not whose they are, nor why only those are wanted.
//!
//! The log is durable up to a place, never in the middle of it. So what is to stay volatile leaves its slots, which count as abandoned, for
//! new ones with new sequence numbers, and the log is programmed up to them. That must not turn the order of changes round: whatever a
//! change that becomes durable has overwritten becomes durable with it. Deallocations do so always, and so does a group of which a part is
//! programmed already.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Ftl, HOST};
use crate::journal::{Kind, Record};
use crate::power::mutation::{Mutation, mutated};
use crate::store::Store;

/// Units that changes lie over: ranges by their beginning, with their ends, none beside another.
#[derive(Default)]
struct Covered(BTreeMap<u32, u32>);

impl Covered {
    fn overlaps(&self, units: &Range<u32>) -> bool {
        self.0.range(..units.end).next_back().is_some_and(|(_, end)| *end > units.start)
    }

    fn add(&mut self, units: &Range<u32>) {
        let (mut start, mut end) = (units.start, units.end);
        while let Some((first, last)) = self.0.range(..=end).next_back().filter(|(_, last)| **last >= start) {
            let (first, last) = (*first, *last);
            (start, end) = (start.min(first), end.max(last));
            self.0.remove(&first);
        }
        self.0.insert(start, end);
    }
}

/// A change that is not committed.
struct Uncommitted {
    sequence: u64,
    units: Range<u32>,
    /// Its slots, if it can be staged once more.
    slots: Option<Range<u32>>,
}

impl<S: Store> Ftl<S> {
    /// Makes everything durable that the host did to these units, and of what it did to others no more than it must: see above. Where
    /// there is no room to stage the rest once more, all of it becomes durable. Returns whether it is done: a drive may become read-only.
    pub(crate) fn commit_units(&mut self, units: &Range<u32>) -> bool {
        if self.nand.power.lost() || !self.has_uncommitted() {
            return self.commit_all();
        }
        let (now, later) = self.divide(units);
        if now == 0 {
            return true;
        }
        let slots: u32 = later.iter().map(|slots| slots.end - slots.start).sum();
        let padded = self.streams[HOST].next.next_multiple_of(self.geometry.units_per_program);
        if slots == 0 || padded + slots > self.geometry.units_per_line || self.read_only {
            return self.commit_all();
        }
        self.open_units.clear();
        let last = self.sequence - 1;
        self.pad(HOST);
        let staged = &self.streams[HOST].records[self.streams[HOST].programmed as usize..padded as usize];
        let last_staged = staged.iter().rfind(|record| record.sequence != 0).map_or(0, |record| record.sequence);
        self.postpone(later);
        while self.committed < last_staged && !self.read_only && !self.nand.power.lost() {
            self.program_page(HOST);
        }
        self.journal_through(last);
        let done = self.committed >= last;
        assert!(done || self.read_only || self.nand.power.lost(), "what is wanted is committed");
        self.settle();
        done
    }

    fn commit_all(&mut self) -> bool {
        self.commit();
        !self.has_uncommitted()
    }

    /// How many changes must be committed so that those to these units are, and which slots need not be, oldest first.
    fn divide(&self, units: &Range<u32>) -> (usize, Vec<Range<u32>>) {
        let (mut covered, mut now, mut later) = (Covered::default(), 0, Vec::new());
        for change in self.uncommitted().into_iter().rev() {
            let inside = change.units.start < units.end && units.start < change.units.end;
            let wanted = inside != mutated(Mutation::FlushOther);
            let below = covered.overlaps(&change.units) && !mutated(Mutation::PostponedOrder);
            match change.slots {
                Some(slots) if !wanted && !below => later.push(slots),
                _ => {
                    covered.add(&change.units);
                    now += 1;
                }
            }
        }
        later.reverse();
        (now, later)
    }

    /// The groups and deallocations that are not committed, oldest first.
    fn uncommitted(&self) -> Vec<Uncommitted> {
        let host = &self.streams[HOST];
        let is_new = |record: &Record| record.kind == Kind::Host && record.sequence > self.committed;
        let mut changes: Vec<Uncommitted> = Vec::new();
        for slot in host.programmed..host.next {
            let record = &host.records[slot as usize];
            let behind = slot - host.programmed;
            match changes.last_mut().filter(|_| record.position > 0) {
                _ if !is_new(record) => {}
                Some(group) if behind > 0 => {
                    group.units.end = record.logical + 1;
                    group.slots = group.slots.clone().map(|slots| slots.start..slot + 1);
                }
                _ => {
                    let whole = record.position == 0;
                    let first = record.logical - u32::from(record.position);
                    let (units, slots) = (first..record.logical + 1, whole.then_some(slot..slot + 1));
                    changes.push(Uncommitted { sequence: record.sequence, units, slots });
                }
            }
        }
        let entries = self.journaled.iter().filter(|(entry, _)| entry.sequence > self.committed);
        changes.extend(entries.chain(&self.deallocations).map(|(entry, _)| Uncommitted {
            sequence: entry.sequence,
            units: entry.first..entry.first + entry.units,
            slots: None,
        }));
        changes.sort_by_key(|change| change.sequence);
        changes
    }

    /// Stages what lies in these slots once more, behind everything else.
    fn postpone(&mut self, slots: Vec<Range<u32>>) {
        let line = self.streams[HOST].line;
        let first = slots.first().map_or(0, |group| self.streams[HOST].records[group.start as usize].sequence);
        let mut numbers = BTreeMap::new();
        for old in slots.into_iter().flatten() {
            let new = self.streams[HOST].next;
            self.restage(HOST, line, old);
            let records = &mut self.streams[HOST].records;
            records[old as usize].kind = Kind::Abandoned;
            numbers.insert(records[new as usize].sequence, self.sequence);
            records[new as usize].sequence = self.sequence;
            self.sequence += 1;
            self.forget(self.geometry.physical(line, old));
        }
        for part in &mut self.parts {
            part.renumber(&numbers);
        }
        if !mutated(Mutation::PostponedErase) {
            self.supersede_later(first, &numbers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_covered_is_the_union_of_what_was_added() {
        let ranges = [3..5, 9..12, 5..6, 0..1, 4..10, 20..21, 19..20, 0..0];
        let mut covered = Covered::default();
        let mut each = [false; 24];
        for range in ranges {
            covered.add(&range);
            each[range.start as usize..range.end as usize].fill(true);
            for start in 0..23 {
                for end in start + 1..24 {
                    let is = each[start as usize..end as usize].contains(&true);
                    assert_eq!(covered.overlaps(&(start..end)), is, "{start} to {end} in {:?}", covered.0);
                }
            }
        }
    }
}
