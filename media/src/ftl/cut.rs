//! Owns what becomes of the volatile cache when power goes: its entries, which of them survive under a policy, and the log that such
//! a loss leaves behind. Does not know who cut.

use super::{Ftl, HOST};
use crate::journal::{Deallocation, Kind};
use crate::power::{CutPolicy, Random, VolatileEntry};
use crate::store::Store;

impl<S: Store> Ftl<S> {
    /// The entries of the volatile cache, oldest first.
    #[must_use]
    pub fn volatile_entries(&self) -> Vec<VolatileEntry> {
        let mut entries: Vec<VolatileEntry> = Vec::new();
        let host = &self.streams[HOST];
        for slot in host.programmed as usize..host.next as usize {
            let (record, depends) = (host.records[slot], host.depends[slot]);
            if record.kind != Kind::Host {
                continue;
            }
            let group = record.sequence - u64::from(record.position);
            match entries.last_mut().filter(|last| last.sequence == group) {
                Some(last) => last.depends = last.depends.max(depends),
                None => entries.push(VolatileEntry {
                    sequence: group,
                    first: record.logical - u32::from(record.position),
                    units: u32::from(record.length),
                    deallocation: false,
                    depends,
                    survives: false,
                }),
            }
        }
        entries.extend(self.deallocations.iter().map(|entry| VolatileEntry {
            sequence: entry.sequence,
            first: entry.first,
            units: entry.units,
            deallocation: true,
            depends: 0,
            survives: false,
        }));
        entries.sort_by_key(|entry| entry.sequence);
        entries
    }

    /// Decides which entries survive; an entry that holds data of a lost one is lost as well.
    #[must_use]
    pub fn decide(&self, policy: &CutPolicy) -> Vec<VolatileEntry> {
        let mut entries = self.volatile_entries();
        let mut random = Random::new(if let CutPolicy::Random(seed) = policy { *seed } else { 0 });
        let mut lost_upto: Vec<(u64, u64)> = Vec::new();
        for (n, entry) in entries.iter_mut().enumerate() {
            let wanted = match policy {
                CutPolicy::NoneSurvive => false,
                CutPolicy::AllSurvive => true,
                CutPolicy::Random(_) => random.below(2) == 1,
                CutPolicy::Choose(choice) => choice.get(n).copied().unwrap_or(false),
            };
            // A dependency names any number of the group it means.
            let broken = lost_upto.iter().any(|&(from, to)| entry.depends >= from && entry.depends <= to);
            entry.survives = wanted && !broken;
            if !entry.survives {
                let numbers = if entry.deallocation { 1 } else { u64::from(entry.units) };
                lost_upto.push((entry.sequence, entry.sequence + numbers - 1));
            }
        }
        entries
    }

    /// Leaves the log as a loss of power would, in which just these entries of the cache made it.
    pub fn resolve_cache(&mut self, entries: &[VolatileEntry]) {
        self.nand.power.disarm();
        if self.nand.power.lost() || entries.iter().all(|entry| !entry.survives) {
            return;
        }
        for lost in entries.iter().filter(|entry| !entry.survives) {
            self.lose(lost);
        }
        self.commit();
    }

    /// Lets the log say that an entry never took effect, without a gap in its numbers.
    fn lose(&mut self, entry: &VolatileEntry) {
        if entry.deallocation {
            if let Some(deallocation) = self.deallocations.iter_mut().find(|d| d.sequence == entry.sequence) {
                *deallocation = Deallocation { units: 0, ..*deallocation };
            }
            return;
        }
        let end = entry.sequence + u64::from(entry.units);
        let host = &mut self.streams[HOST];
        let mut staged = 0;
        for slot in host.programmed as usize..host.next as usize {
            let record = &mut host.records[slot];
            if (entry.sequence..end).contains(&record.sequence) {
                record.kind = Kind::Abandoned;
                staged += 1;
            }
        }
        if staged < entry.units {
            self.voids.push((entry.sequence, end - 1));
            self.write_root(false);
        }
    }
}
