//! A disk in memory that fails as a host's disk may: what was done after the last sync is there or not, sector by sector. It may also
//! have errors, as Linux tells them: a sector that could not be written is clean afterwards, reads as it was written or as the disk has
//! it, and no later sync speaks of it again; and where a block that was a hole lies may not have been written down, so that nothing
//! reaches it until it is made a hole again. For tests and the simulator; everything it decides comes from a seed.

use super::backing::{StoreError, Trouble};
use super::disk::Disk;
use super::forgetful::{Forgetful, Loss, full};
use super::kept::Kept;
use super::schedule::{Done, Operation, Schedule};
use crate::power::Random;

/// The disk: the schedule that a file follows too, and below it a platter that forgets.
pub struct TwinDisk {
    schedule: Schedule,
    platter: Forgetful,
    turns: u64,
    tickets: u64,
    pace: Random,
    /// Fewer steps than this many are done of what is called before more is called; more when it is asked how far it has come.
    speed: u64,
    /// How often it was found full since it is.
    full: Option<u64>,
    trouble: Option<Trouble>,
    /// What lies over the platter until a ticket is done.
    over: Option<(u64, Kept)>,
    loss: Loss,
}

impl TwinDisk {
    /// An empty disk; `seed` decides how fast it works, and in which order where it may choose.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut pace = Random::new(seed);
        Self {
            schedule: Schedule::of_new_disk(),
            platter: Forgetful::new(seed),
            turns: 0,
            tickets: 0,
            speed: pace.pick(&[1, 2, 4, 4]),
            pace,
            full: None,
            trouble: None,
            over: None,
            loss: Loss::default(),
        }
    }

    /// How long the file is.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.platter.length()
    }

    /// What the last failure of the host left.
    #[must_use]
    pub const fn loss(&self) -> &Loss {
        &self.loss
    }

    /// Makes the disk full, or gives it room again.
    pub fn set_full(&mut self, full: bool) {
        self.full = full.then_some(0);
    }

    /// This many of a thousand writes, syncs and discards fail from now on, by this seed; none if there is no such number.
    pub fn set_errors(&mut self, errors: Option<(u64, u64)>) {
        self.platter.set_errors(errors);
    }

    /// Works until it is done, for this many steps, or until something fails.
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

    /// The host fails: of what was done after the last sync anything is there, in any order, and sectors are whole.
    pub fn fail(&mut self, seed: u64) {
        let mut random = Random::new(seed);
        let steps = random.below(2 * self.schedule.waiting() as u64 + 1);
        self.work(steps);
        self.loss = self.platter.forget(&mut random);
        self.start_over();
    }

    fn start_over(&mut self) {
        self.schedule = Schedule::default();
        self.platter.open_again();
        (self.turns, self.tickets, self.trouble, self.over) = (0, 0, None, None);
    }
}

impl Disk for TwinDisk {
    fn call(&mut self, operation: Operation) -> u64 {
        self.turns += u64::from(!matches!(operation, Operation::Free(..)));
        self.schedule.accept(operation);
        if self.full.is_none() {
            let pace = self.pace.below(self.speed);
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

    fn set_length(&mut self, bytes: u64) -> Result<(), StoreError> {
        self.platter.set_length(bytes);
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
        // As a file does: in one process nothing that was handed over is lost.
        let ticket = self.last_ticket();
        self.work(u64::MAX);
        if !self.schedule.idle() {
            self.over = Some((ticket, self.schedule.undurable()));
        }
        std::mem::replace(self, Self::new(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ordering::Order;

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
            disk.call(Operation::Barrier(Order::RootAfterAll));
            disk.write(512, vec![2; 512]);
            disk.fail(seed);
            assert!(read(&mut disk, 512) == 0 || read(&mut disk, 0) == 1);
        }
    }
}
