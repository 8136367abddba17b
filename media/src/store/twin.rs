//! A disk in memory that fails as a host's disk may: what was written after the last sync is there or not, write by write, and a
//! write may be torn between sectors. It may also have errors, as Linux tells them: a sector that could not be written is clean
//! afterwards, reads as it was written or as the disk has it, and no later sync speaks of it again; and where a block that was a hole
//! lies may not have been written down, so that nothing reaches it until it is made a hole again. For tests and the simulator; everything
//! it decides comes from a seed.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::backing::{StoreError, Trouble};
use super::disk::Disk;
use super::kept::Kept;
use super::schedule::{Bytes, Done, Operation, Platter, Schedule, Since};
use crate::power::Random;
use crate::unit::index;

/// Bytes that a disk writes wholly or not at all.
const SECTOR: usize = 512;
/// Bytes of a block, which is allocated as a whole.
const BLOCK: usize = 4096;

/// The disk: the schedule that a file follows too, and below it a platter that forgets.
pub struct TwinDisk {
    schedule: Schedule,
    platter: Memory,
    turns: u64,
    tickets: u64,
    pace: Random,
    /// How often it was found full since it is.
    full: Option<u64>,
    trouble: Option<Trouble>,
    /// What lies over the platter until a ticket is done.
    over: Option<(u64, Kept)>,
}

/// Bytes that are durable, bytes as they are read, and what was written in between.
struct Memory {
    durable: Vec<u8>,
    visible: Vec<u8>,
    unsynced: Vec<(u64, Vec<u8>)>,
    /// Blocks of which the system believes that it is known where they lie.
    astray: BTreeSet<usize>,
    order: Random,
    errors: Option<Errors>,
}

/// Errors to come.
struct Errors {
    random: Random,
    per_mille: u64,
    /// Something could not be written since the last sync, which will say so.
    late: bool,
}

impl Errors {
    fn strikes(&mut self) -> Result<(), StoreError> {
        if self.random.below(1000) >= self.per_mille {
            return Ok(());
        }
        Err(match self.random.below(2) {
            0 => full(),
            _ => StoreError::Failed("the disk fails, as the test wants it".into()),
        })
    }
}

impl Memory {
    /// Sectors of what was written reach the disk, or do not: then the system takes them for clean all the same.
    fn write_back(&mut self, offset: u64, count: usize, errors: Option<&mut Errors>) {
        let (mut at, end) = (index(offset), index(offset) + count);
        let mut errors = errors;
        self.durable.resize(self.durable.len().max(self.visible.len()), 0);
        while at < end {
            let next = end.min((at / SECTOR + 1) * SECTOR);
            let fate = errors.as_mut().map_or(0, |errors| errors.random.below(4));
            if fate > 1 && errors.as_mut().is_some_and(|errors| errors.random.below(4) == 0) {
                self.lead_astray(at / BLOCK);
            }
            match fate {
                0 | 1 if self.astray.contains(&(at / BLOCK)) => {}
                0 | 1 => self.durable[at..next].copy_from_slice(&self.visible[at..next]),
                2 => {}
                _ => self.visible[at..next].copy_from_slice(&self.durable[at..next]),
            }
            at = next;
        }
    }

    /// A block that was a hole, and of which it was not written down where it lies.
    fn lead_astray(&mut self, block: usize) {
        let end = self.durable.len().min((block + 1) * BLOCK);
        if self.durable[block * BLOCK..end].iter().all(|byte| *byte == 0) {
            self.astray.insert(block);
        }
    }

    fn read(&self, offset: u64, into: &mut [u8]) {
        into.fill(0);
        let from = self.visible.get(index(offset)..).unwrap_or_default();
        let count = from.len().min(into.len());
        into[..count].copy_from_slice(&from[..count]);
    }

    /// What is clean of this is read from the disk from now on.
    fn drop_cache(&mut self, since: &Since) {
        self.durable.resize(self.durable.len().max(self.visible.len()), 0);
        for (offset, bytes) in since.kept.writes() {
            let range = index(offset)..self.visible.len().min(index(offset) + bytes.len());
            if !range.is_empty() {
                self.visible[range.clone()].copy_from_slice(&self.durable[range]);
            }
        }
        for (offset, bytes) in &self.unsynced {
            apply(&mut self.visible, *offset, bytes);
        }
    }

    /// What the system does by itself: some of what was written is written back, well or not.
    fn write_some_back(&mut self) {
        let Some(mut errors) = self.errors.take() else { return };
        for (offset, bytes) in std::mem::take(&mut self.unsynced) {
            if errors.random.below(8) != 0 {
                self.unsynced.push((offset, bytes));
            } else if errors.strikes().is_err() {
                errors.late = true;
                self.write_back(offset, bytes.len(), Some(&mut errors));
            } else {
                self.write_back(offset, bytes.len(), None);
            }
        }
        self.errors = Some(errors);
    }
}

impl Platter for Memory {
    /// Any one: free writes have no order.
    fn choose(&mut self, free: &mut Vec<(u64, Bytes)>) -> Vec<(u64, Bytes)> {
        let at = index(self.order.below(free.len() as u64));
        vec![free.swap_remove(at)]
    }

    fn write(&mut self, writes: &[(u64, Bytes)]) -> Result<(), StoreError> {
        self.write_some_back();
        for (offset, bytes) in writes {
            self.errors.as_mut().map_or(Ok(()), Errors::strikes)?;
            apply(&mut self.visible, *offset, bytes);
            // A copy: what is below the process does not share its memory.
            self.unsynced.push((*offset, bytes.to_vec()));
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.write_some_back();
        let mut errors = self.errors.take();
        let struck = errors.as_mut().map_or(Ok(()), Errors::strikes);
        for (offset, bytes) in std::mem::take(&mut self.unsynced) {
            self.write_back(offset, bytes.len(), errors.as_mut().filter(|_| struck.is_err()));
        }
        let late = errors.as_mut().is_some_and(|errors| std::mem::take(&mut errors.late));
        self.errors = errors;
        if late { struck.and(Err(full())) } else { struck }
    }

    fn discard(&mut self, offset: u64, bytes: u64) -> Result<(), StoreError> {
        self.write(&[(offset, Arc::new(vec![0; index(bytes)]))])?;
        let whole = index(offset).div_ceil(BLOCK)..index(offset + bytes) / BLOCK;
        self.astray.retain(|block| !whole.contains(block));
        Ok(())
    }

    /// As a file does.
    fn renew(&mut self, since: &Since) -> Result<(), StoreError> {
        self.drop_cache(since);
        let blocks = since.kept.renewable(BLOCK as u64, |offset, into| {
            self.read(offset, into);
            Ok(())
        })?;
        for (offset, bytes) in blocks.iter().chain(&since.discarded) {
            self.discard(*offset, *bytes)?;
        }
        self.write(&since.past.writes())?;
        self.write(&since.kept.writes())?;
        self.sync()?;
        self.drop_cache(since);
        since.kept.compare(|offset, into| {
            self.read(offset, into);
            Ok(())
        })
    }
}

impl TwinDisk {
    /// An empty disk; `seed` decides how fast it works, and in which order where it may choose.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let order = Random::new(seed ^ 1);
        Self {
            schedule: Schedule::of_new_disk(),
            platter: Memory {
                durable: Vec::new(),
                visible: Vec::new(),
                unsynced: Vec::new(),
                astray: BTreeSet::new(),
                order,
                errors: None,
            },
            turns: 0,
            tickets: 0,
            pace: Random::new(seed),
            full: None,
            trouble: None,
            over: None,
        }
    }

    /// Makes the disk full, or gives it room again.
    pub fn set_full(&mut self, full: bool) {
        self.full = full.then_some(0);
    }

    /// So many of a thousand writes, syncs and discards fail from now on, by this seed; none if there is no such number.
    pub fn set_errors(&mut self, errors: Option<(u64, u64)>) {
        let late = self.platter.errors.as_ref().is_some_and(|errors| errors.late);
        let of = |(seed, per_mille)| Errors { random: Random::new(seed), per_mille, late };
        // What went wrong before is told by the next sync, whether or not more does.
        self.platter.errors = errors.or(late.then_some((0, 0))).map(of);
    }

    /// Works until it is done, for so many steps, or until something fails.
    fn work(&mut self, steps: u64) {
        for _ in 0..steps {
            if self.schedule.idle() {
                return;
            }
            match self.schedule.step(&mut self.platter) {
                Ok(_) if self.schedule.failing() => {}
                Ok(_) => self.trouble = None,
                Err(error) => {
                    let times = self.trouble.as_ref().map_or(0, |trouble| trouble.times) + 1;
                    self.trouble = Some(Trouble { error, times });
                    return;
                }
            }
        }
    }

    /// The process dies: what was handed over to the disk is there, and of what still waited a part.
    pub fn kill(&mut self, seed: u64) {
        let steps = Random::new(seed).below(2 * self.schedule.waiting() as u64 + 1);
        self.work(steps);
        self.start_over();
    }

    /// The host fails: any of what was written after the last sync is there, in any order, and sectors are whole.
    pub fn fail(&mut self, seed: u64) {
        let mut random = Random::new(seed);
        let steps = random.below(2 * self.schedule.waiting() as u64 + 1);
        self.work(steps);
        let chance = 1 + random.below(8);
        for (offset, bytes) in std::mem::take(&mut self.platter.unsynced) {
            tear(&mut self.platter.durable, offset, &bytes, &mut random, chance);
        }
        self.platter.visible.clone_from(&self.platter.durable);
        self.start_over();
    }

    /// Whoever opens the disk has what is in the system's memory written, and reads what the disk has then.
    fn start_over(&mut self) {
        self.schedule = Schedule::default();
        for (offset, bytes) in std::mem::take(&mut self.platter.unsynced) {
            self.platter.write_back(offset, bytes.len(), None);
        }
        self.platter.visible.clone_from(&self.platter.durable);
        // The file system is mounted again: it believes what is written.
        self.platter.astray.clear();
        (self.turns, self.tickets, self.trouble, self.over) = (0, 0, None, None);
    }
}

fn full() -> StoreError {
    StoreError::NoSpace("the disk is full, as the test wants it".into())
}

fn apply(image: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = index(offset);
    image.resize(image.len().max(start + bytes.len()), 0);
    image[start..start + bytes.len()].copy_from_slice(bytes);
}

/// Writes each sector, or not.
fn tear(image: &mut Vec<u8>, offset: u64, bytes: &[u8], random: &mut Random, chance: u64) {
    let whole = random.below(3);
    let mut at = 0;
    while at < bytes.len() {
        let count = (SECTOR - index(offset + at as u64) % SECTOR).min(bytes.len() - at);
        let there = match whole {
            0 => true,
            1 => false,
            _ => random.below(chance) != 0,
        };
        if there {
            apply(image, offset + at as u64, &bytes[at..at + count]);
        }
        at += count;
    }
}

impl Disk for TwinDisk {
    fn call(&mut self, operation: Operation) -> u64 {
        self.turns += u64::from(!matches!(operation, Operation::Free(..)));
        self.schedule.accept(operation);
        if self.full.is_none() {
            let pace = self.pace.below(4);
            self.work(pace);
        }
        self.turns
    }

    fn ticket(&mut self, durable: bool) -> u64 {
        self.tickets += 1;
        self.schedule.accept(if durable { Operation::Sync(self.tickets) } else { Operation::Notice(self.tickets) });
        self.turns += 1;
        self.tickets
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), StoreError> {
        self.platter.read(offset, into);
        if let Some((ticket, over)) = &self.over {
            if self.schedule.done().ticket < *ticket {
                over.lay_over(offset, into);
            } else {
                self.over = None;
            }
        }
        Ok(())
    }

    fn trouble(&mut self) -> Option<Trouble> {
        let full = self.full.filter(|times| *times > 0).map(|times| Trouble { error: full(), times });
        full.or_else(|| self.trouble.clone())
    }

    fn done(&mut self) -> Result<Done, StoreError> {
        if let Some(times) = &mut self.full {
            *times += 1;
            return Err(full());
        }
        let pace = self.pace.below(4);
        self.work(pace);
        self.trouble.as_ref().map_or_else(|| Ok(self.schedule.done()), |trouble| Err(trouble.error.clone()))
    }

    fn take(&mut self) -> Self {
        // In one process nothing that was handed over is lost: it is made durable, or lies over what is read until it is.
        let ticket = self.ticket(true);
        self.work(u64::MAX);
        if self.schedule.idle() {
            self.start_over();
        } else {
            self.over = Some((ticket, self.schedule.undurable()));
        }
        std::mem::replace(self, Self::new(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(disk: &mut TwinDisk, offset: u64) -> u8 {
        let mut byte = [0];
        disk.read(offset, &mut byte).unwrap();
        byte[0]
    }

    #[test]
    fn what_was_synced_is_there_after_the_host_failed_and_what_was_not_may_be_gone() {
        let (mut lost, mut kept) = (0, 0);
        for seed in 0..50 {
            let mut disk = TwinDisk::new(seed);
            disk.write(0, vec![1; 512]);
            let ticket = disk.ticket(true);
            while disk.done().unwrap().ticket < ticket {}
            disk.write(512, vec![2; 512]);
            disk.fail(seed);
            assert_eq!(read(&mut disk, 0), 1);
            match read(&mut disk, 512) {
                0 => lost += 1,
                _ => kept += 1,
            }
        }
        assert!(lost > 0 && kept > 0, "{lost} lost, {kept} kept");
    }

    #[test]
    fn nothing_behind_a_barrier_is_there_unless_everything_before_it_is() {
        for seed in 0..200 {
            let mut disk = TwinDisk::new(seed);
            disk.write(0, vec![1; 512]);
            disk.call(Operation::Barrier);
            disk.write(512, vec![2; 512]);
            disk.fail(seed);
            assert!(read(&mut disk, 512) == 0 || read(&mut disk, 0) == 1);
        }
    }
}
