//! Power loss in the controller: what stops, what is reported, and how it comes back. The media decides what survives in it. The
//! breaker, which media and controller share, knows whether power is on.

use std::cell::RefCell;

use media::power::{Breaker, Fetched, Mark, Step};
use media::{Lba, LbaRange};
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{Command, Completion, Status};

use crate::Controller;
use crate::dma::{DmaFault, GuestMemory};
use crate::inflight::Origin;
use crate::queue::{CompletionQueue, Permit};
use crate::shared::Shared;
pub use crate::shared::power::{BlockRange, Change, FateName, NotDurable, Observable, PowerReport};
pub use crate::watch::CommandName;
use crate::watch::TraceEvent;

/// Guest memory that is out of reach once power is lost, even in the middle of a step.
pub(crate) struct Powered<'a, M> {
    pub(crate) memory: &'a M,
    pub(crate) breaker: &'a Breaker,
}

impl<M: GuestMemory> Powered<'_, M> {
    fn reach(&self, address: u64) -> Result<&M, DmaFault> {
        if self.breaker.lost() { Err(DmaFault { address }) } else { Ok(self.memory) }
    }
}

impl<M: GuestMemory> GuestMemory for Powered<'_, M> {
    #[inline]
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        self.reach(address)?.read(address, into)
    }

    #[inline]
    fn read_non_temporal(&self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        self.reach(address)?.read_non_temporal(address, into)
    }

    #[inline]
    fn store_fence(&self) {
        self.memory.store_fence();
    }

    #[inline]
    fn prefetch(&self, bytes: &[u8]) {
        self.memory.prefetch(bytes);
    }

    #[inline]
    fn write(&self, address: u64, from: &[u8]) -> Result<(), DmaFault> {
        self.reach(address)?.write(address, from)
    }

    #[inline]
    fn load_u32(&self, address: u64) -> Result<u32, DmaFault> {
        self.reach(address)?.load_u32(address)
    }

    #[inline]
    fn store_u32(&self, address: u64, value: u32) -> Result<(), DmaFault> {
        self.reach(address)?.store_u32(address, value)
    }

    fn exchange_u32(&self, address: u64, current: u32, new: u32) -> Result<u32, DmaFault> {
        self.reach(address)?.exchange_u32(address, current, new)
    }

    #[inline]
    fn store_u64(&self, address: u64, value: u64) -> Result<(), DmaFault> {
        self.reach(address)?.store_u64(address, value)
    }

    #[inline]
    fn store_pairs(&self, address: u64, pairs: &[[u64; 2]]) -> Result<(), DmaFault> {
        self.reach(address)?.store_pairs(address, pairs)
    }

    #[inline]
    fn is_mapped(&self, address: u64, length: u64) -> bool {
        self.memory.is_mapped(address, length)
    }

    fn generation(&self) -> u64 {
        self.memory.generation()
    }
}

/// A controller's line to the supply of power, which is the subsystem's.
#[derive(Debug)]
pub(crate) struct Supply {
    pub(crate) breaker: Breaker,
    /// Of which controller: marks say so.
    id: u16,
    /// Power goes when the answer to this command is in its completion queue.
    awaited: Option<Mark>,
    /// The loss was noticed here.
    dark: bool,
}

impl Supply {
    pub(crate) const fn new(breaker: Breaker, id: u16) -> Self {
        Self { breaker, id, awaited: None, dark: false }
    }

    /// The media's name for a command.
    #[inline]
    pub(crate) fn mark(&self, permit: &Permit) -> Mark {
        Mark::new(self.id, permit.sqid(), permit.cid(), permit.ordinal())
    }

    /// Tells the media which command it works for from now on.
    #[inline]
    pub(crate) fn work_on(&self, permit: &Permit) {
        self.breaker.work_on(self.mark(permit));
    }

    /// Writes the answers that wait while somebody counts steps: each is one.
    #[cold]
    pub(crate) fn publish<M: GuestMemory>(
        &self,
        queue: &mut CompletionQueue,
        memory: &M,
    ) -> Result<u32, (u32, DmaFault)> {
        let entries = RefCell::new(queue.preview().into_iter());
        let each = || self.completion_written(entries.borrow_mut().next().map(|(_, entry)| entry).as_ref());
        queue.publish(memory, Some(&each))
    }

    fn completion_written(&self, entry: Option<&Completion>) {
        let is =
            |mark: &Mark, entry: &Completion| mark.queue() == entry.sqid.get() && mark.identifier() == entry.cid.get();
        match self.awaited.filter(|mark| entry.is_some_and(|entry| is(mark, entry))) {
            Some(mark) => {
                self.breaker.work_on(mark);
                self.breaker.trip(Step::CompletionWritten);
            }
            None => _ = self.breaker.reached(Step::CompletionWritten),
        }
    }

    /// A reset: an answer that the host never sees is not one that power goes after.
    pub(crate) fn forget_answer(&mut self) {
        if self.awaited.take().is_some() {
            self.breaker.uncompleted();
        }
    }

    /// A command was fetched; returns whether power is lost.
    #[inline]
    pub(crate) fn fetched(&self, permit: &Permit, command: &Command) -> bool {
        self.work_on(permit);
        self.breaker.attentive() && self.breaker.fetched(&fetched(self.id, permit, command))
    }
}

impl Controller {
    /// Whether power is on.
    #[must_use]
    pub fn power_is_on(&self) -> bool {
        !self.supply.breaker.lost()
    }

    /// A crash point was armed or disarmed.
    pub(crate) fn forget_awaited(&mut self) {
        self.supply.awaited = None;
    }

    /// An answer was put where it waits for its completion queue, while a crash point is armed.
    #[cold]
    pub(crate) fn completion_queued(&mut self, mark: Mark, origin: Origin, status: Status) {
        let Origin { opcode, nsid: namespace, .. } = origin;
        let command = Fetched { controller: mark.controller(), io: mark.queue() != 0, opcode, namespace, range: None };
        if status == Status::SUCCESS && self.supply.breaker.completed(&command) {
            self.supply.awaited = Some(mark);
        }
        self.reached(Step::CompletionQueued);
    }

    /// Records that a step was reached; returns whether power is lost.
    #[inline]
    pub(crate) fn reached(&self, step: Step) -> bool {
        self.supply.breaker.reached(step)
    }

    /// Power is gone: nothing that was raised reaches the host.
    #[cold]
    pub(crate) fn power_failed(&mut self) {
        if !std::mem::replace(&mut self.supply.dark, true) {
            self.watch.tell(TraceEvent::PowerLost);
            self.interrupts.reset(&mut self.effects);
        }
    }

    /// Power is back: everything is as a new controller has it. Bus mastering and the choice of interrupts are the transport's and stay as
    /// it last said.
    pub(crate) fn power_on(&mut self, shared: &Shared) {
        let (bus_master, mode, now) = (self.bus_master, self.interrupts.mode(), self.health.now);
        let watch = std::mem::take(&mut self.watch);
        let mut faults = std::mem::take(&mut self.faults);
        faults.power_on();
        *self = Self::new(self.id, shared);
        (self.watch, self.faults) = (watch, faults);
        self.watch.tell(TraceEvent::PowerRestored);
        self.bus_master = bus_master;
        self.interrupts.set_mode(mode);
        self.health.now = now;
    }

    /// Whether a command's completion was not written: it is under way, or its answer waits.
    pub(crate) fn is_unanswered(&self, ordinal: u64) -> bool {
        let under_way = |command: &crate::inflight::InFlight| command.permit.ordinal() == ordinal;
        !self.in_flight.tokens(under_way).is_empty()
            || self.faults.holds(ordinal)
            || self.queues.awaits_writing(ordinal)
    }

    /// Of the interrupts raised in this step, those stand that came before the power loss.
    pub(crate) fn raise_until_lost(&mut self, before: usize) {
        let raised = self.effects.len();
        for number in before..raised {
            if self.reached(Step::InterruptRaised) {
                self.effects.truncate(number + 1);
                return;
            }
        }
    }
}

pub(crate) fn command_name(mark: Mark, latest: u64) -> Option<CommandName> {
    let name = || CommandName { queue: mark.queue(), identifier: mark.identifier(), ordinal: mark.ordinal(latest) };
    (!mark.is_none()).then(name)
}

/// What a crash point may ask of a command. The blocks are those of the commands that name a range in the usual place.
fn fetched(controller: u16, permit: &Permit, command: &Command) -> Fetched {
    let io = permit.sqid() != 0;
    let range = LbaRange::new(Lba(command.slba()), u64::from(command.nlb_z()) + 1);
    let named = io && NvmOpcode(command.opcode).names_blocks();
    Fetched { controller, io, opcode: command.opcode, namespace: command.nsid.get(), range: named.then_some(range) }
}
