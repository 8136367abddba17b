//! A disk in memory that fails as a host's disk may: what was written after the last sync is there or not, write by write, and a
//! write may be torn between sectors. For tests and the simulator; everything it decides comes from a seed.

use std::collections::VecDeque;
use std::sync::Arc;

use super::backing::StoreError;
use super::image::{Disk, Done};
use crate::power::Random;
use crate::unit::index;

/// Bytes that a disk writes wholly or not at all.
const SECTOR: usize = 512;

enum Operation {
    Write(u64, Arc<Vec<u8>>),
    Barrier,
    Sync(u64),
}

/// The disk: bytes that are durable, bytes as they are read, and what lies between.
pub struct TwinDisk {
    durable: Vec<u8>,
    visible: Vec<u8>,
    /// Called, and not visible yet.
    queue: VecDeque<Operation>,
    /// Visible, and not durable yet.
    unsynced: Vec<Operation>,
    done: Done,
    tickets: u64,
    pace: Random,
    full: bool,
}

impl TwinDisk {
    /// An empty disk; `seed` decides how fast it works.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            durable: Vec::new(),
            visible: Vec::new(),
            queue: VecDeque::new(),
            unsynced: Vec::new(),
            done: Done::default(),
            tickets: 0,
            pace: Random::new(seed),
            full: false,
        }
    }

    /// Makes the disk full, or gives it room again.
    pub fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    fn work(&mut self, operations: u64) {
        for _ in 0..operations {
            let Some(operation) = self.queue.pop_front() else {
                return;
            };
            match &operation {
                Operation::Write(offset, bytes) => {
                    apply(&mut self.visible, *offset, bytes);
                    self.done.writes += 1;
                    self.unsynced.push(operation);
                }
                Operation::Barrier => self.unsynced.push(operation),
                Operation::Sync(ticket) => {
                    self.done.ticket = *ticket;
                    self.unsynced.clear();
                    self.durable.clone_from(&self.visible);
                }
            }
        }
    }

    /// The process dies: what was handed over to the disk is there, and of what still waited a beginning.
    pub fn kill(&mut self, seed: u64) {
        let mut random = Random::new(seed);
        self.work(random.below(self.queue.len() as u64 + 1));
        self.queue.clear();
        self.start_over();
    }

    /// The host fails: between two barriers any of the writes are there, none behind them, and sectors are whole.
    pub fn fail(&mut self, seed: u64) {
        let mut random = Random::new(seed);
        self.work(random.below(self.queue.len() as u64 + 1));
        self.queue.clear();
        let barriers = self.unsynced.iter().filter(|operation| matches!(operation, Operation::Barrier)).count();
        let mut whole = random.below(barriers as u64 + 1);
        let chance = 1 + random.below(8);
        for operation in std::mem::take(&mut self.unsynced) {
            match operation {
                Operation::Write(offset, bytes) if whole > 0 => apply(&mut self.durable, offset, &bytes),
                Operation::Write(offset, bytes) => tear(&mut self.durable, offset, &bytes, &mut random, chance),
                Operation::Barrier if whole > 0 => whole -= 1,
                Operation::Barrier | Operation::Sync(_) => break,
            }
        }
        self.visible.clone_from(&self.durable);
        self.start_over();
    }

    fn start_over(&mut self) {
        self.unsynced.clear();
        self.durable.clone_from(&self.visible);
        self.done = Done::default();
        self.tickets = 0;
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
    fn write(&mut self, offset: u64, bytes: Arc<Vec<u8>>) {
        self.queue.push_back(Operation::Write(offset, bytes));
        if !self.full {
            let pace = self.pace.below(3);
            self.work(pace);
        }
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), StoreError> {
        into.fill(0);
        let from = self.visible.get(index(offset)..).unwrap_or_default();
        let count = from.len().min(into.len());
        into[..count].copy_from_slice(&from[..count]);
        Ok(())
    }

    fn barrier(&mut self) {
        self.queue.push_back(Operation::Barrier);
    }

    fn sync(&mut self) -> u64 {
        self.tickets += 1;
        self.queue.push_back(Operation::Sync(self.tickets));
        self.tickets
    }

    fn done(&mut self) -> Result<Done, StoreError> {
        if self.full {
            return Err(StoreError::NoSpace);
        }
        let pace = self.pace.below(4);
        self.work(pace);
        Ok(self.done)
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
            disk.write(0, Arc::new(vec![1; 512]));
            let ticket = disk.sync();
            while disk.done().unwrap().ticket < ticket {}
            disk.write(512, Arc::new(vec![2; 512]));
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
            disk.write(0, Arc::new(vec![1; 512]));
            disk.barrier();
            disk.write(512, Arc::new(vec![2; 512]));
            disk.fail(seed);
            assert!(read(&mut disk, 512) == 0 || read(&mut disk, 0) == 1);
        }
    }
}
