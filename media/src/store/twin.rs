//! A disk in memory that fails as a host's disk may: what was written after the last sync is there or not, write by write, and a
//! write may be torn between sectors. For tests and the simulator; everything it decides comes from a seed.

use std::sync::Arc;

use super::backing::StoreError;
use super::disk::Disk;
use super::schedule::{Bytes, Done, Operation, Platter, Schedule};
use crate::power::Random;
use crate::unit::index;

/// Bytes that a disk writes wholly or not at all.
const SECTOR: usize = 512;

/// The disk: the schedule that a file follows too, and below it a platter that forgets.
pub struct TwinDisk {
    schedule: Schedule,
    platter: Memory,
    turns: u64,
    tickets: u64,
    pace: Random,
    full: bool,
}

/// Bytes that are durable, bytes as they are read, and what was written in between.
struct Memory {
    durable: Vec<u8>,
    visible: Vec<u8>,
    unsynced: Vec<(u64, Vec<u8>)>,
    order: Random,
}

impl Platter for Memory {
    /// Any one: free writes have no order.
    fn choose(&mut self, free: &mut Vec<(u64, Bytes)>) -> Vec<(u64, Bytes)> {
        let at = index(self.order.below(free.len() as u64));
        vec![free.swap_remove(at)]
    }

    fn write(&mut self, writes: &[(u64, Bytes)]) -> Result<(), StoreError> {
        for (offset, bytes) in writes {
            apply(&mut self.visible, *offset, bytes);
            // A copy: the bytes are let go of when they are written.
            self.unsynced.push((*offset, bytes.to_vec()));
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.unsynced.clear();
        self.durable.clone_from(&self.visible);
        Ok(())
    }

    fn discard(&mut self, offset: u64, bytes: u64) -> Result<(), StoreError> {
        self.write(&[(offset, Arc::new(vec![0; index(bytes)]))])
    }
}

impl TwinDisk {
    /// An empty disk; `seed` decides how fast it works, and in which order where it may choose.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let order = Random::new(seed ^ 1);
        Self {
            schedule: Schedule::default(),
            platter: Memory { durable: Vec::new(), visible: Vec::new(), unsynced: Vec::new(), order },
            turns: 0,
            tickets: 0,
            pace: Random::new(seed),
            full: false,
        }
    }

    /// Makes the disk full, or gives it room again.
    pub fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    fn work(&mut self, steps: u64) {
        for _ in 0..steps {
            if self.schedule.idle() {
                return;
            }
            self.schedule.step(&mut self.platter).expect("memory takes everything");
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

    fn start_over(&mut self) {
        self.schedule = Schedule::default();
        self.platter.unsynced.clear();
        self.platter.durable.clone_from(&self.platter.visible);
        (self.turns, self.tickets) = (0, 0);
    }
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
        if !self.full {
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
        into.fill(0);
        let from = self.platter.visible.get(index(offset)..).unwrap_or_default();
        let count = from.len().min(into.len());
        into[..count].copy_from_slice(&from[..count]);
        Ok(())
    }

    fn done(&mut self) -> Result<Done, StoreError> {
        if self.full {
            return Err(StoreError::NoSpace);
        }
        let pace = self.pace.below(4);
        self.work(pace);
        Ok(self.schedule.done())
    }

    fn take(&mut self) -> Self {
        // In one process nothing that was handed over is lost.
        self.work(u64::MAX);
        self.start_over();
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
