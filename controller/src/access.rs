//! What the host does to us directly: it reads and writes registers, and rings doorbells, wherever these lie. Nothing is carried out here:
//! what the host wants is noted, and the next step does it.

use media::power::Step;
use nvme_spec::log::Event;
use nvme_spec::register;

use crate::Controller;
use crate::bar::{self, Target};
use crate::dma::{DoorbellPage, GuestMemory};
use crate::doorbell::{Rung, Told};
use crate::queue::BadDoorbell;
use crate::watch::{DoorbellPath, DoorbellRefusal, RegisterRefusal, TraceEvent};

impl Controller {
    /// The host reads BAR0. What cannot be read gives zeroes; without power everything reads as all ones, as nobody answers.
    pub(crate) fn bar_read(&mut self, offset: u64, into: &mut [u8]) {
        if !self.power_is_on() || self.is_gone() {
            into.fill(0xff);
            let (bytes, refused) = (length(into), Some(RegisterRefusal::NoPower));
            return self.watch.hop(|| TraceEvent::RegisterRead { offset, bytes, value: u64::MAX, refused });
        }
        into.fill(0);
        let target = bar::target(offset, into.len());
        if let Some(Target::Register(first)) = target {
            for (offset, dword) in (first..).step_by(4).zip(into.as_chunks_mut::<4>().0) {
                *dword = self.register(offset).to_le_bytes();
            }
        }
        self.watch.hop(|| read_event(target, offset, into));
    }

    fn register(&mut self, offset: u64) -> u32 {
        let value = match offset {
            register::INTMS | register::INTMC => self.interrupts.mask(),
            _ => self.registers.read(offset),
        };
        if self.faults.is_idle() { value } else { self.register_under_faults(offset, value) }
    }

    /// The host writes BAR0. This only notes what the host wants; [`Self::step`] does it. Without power it goes nowhere.
    pub(crate) fn bar_write(&mut self, offset: u64, from: &[u8]) {
        if !self.power_is_on() || self.is_gone() {
            return self.tell_powerless(offset, from);
        }
        let written = match bar::target(offset, from.len()) {
            Some(Target::Doorbell(index)) => {
                let value = from.first_chunk().map_or(0, |dword| u32::from_le_bytes(*dword));
                return self.ring(index, value);
            }
            Some(Target::Register(first)) => {
                let dwords = (first..).step_by(4).zip(from.as_chunks::<4>().0);
                dwords
                    .map(|(offset, dword)| self.write_register(offset, u32::from_le_bytes(*dword)))
                    .fold(Ok(()), Result::and)
            }
            None => Err(RegisterRefusal::Width),
        };
        let (bytes, value) = (length(from), low_bytes(from));
        self.watch.tell(TraceEvent::RegisterWritten { offset, bytes, value, refused: written.err() });
    }

    #[cold]
    fn tell_powerless(&mut self, offset: u64, from: &[u8]) {
        let (bytes, value) = (length(from), low_bytes(from));
        let event = match bar::target(offset, from.len()) {
            Some(Target::Doorbell(index)) => TraceEvent::Doorbell {
                path: DoorbellPath::Register,
                queue: index / 2,
                tail: index.is_multiple_of(2),
                value: from.first_chunk().map_or(0, |dword| u32::from_le_bytes(*dword)),
                refused: Some(DoorbellRefusal::NoPower),
            },
            _ => TraceEvent::RegisterWritten { offset, bytes, value, refused: Some(RegisterRefusal::NoPower) },
        };
        self.watch.tell(event);
    }

    fn write_register(&mut self, offset: u64, value: u32) -> Result<(), RegisterRefusal> {
        match offset {
            register::INTMS => self.interrupts.change_mask(value, 0),
            register::INTMC => self.interrupts.change_mask(0, value),
            _ => return self.registers.write(offset, value),
        }
        Ok(())
    }

    fn ring(&mut self, index: u16, value: u32) {
        let path = DoorbellPath::Register;
        if !self.registers.is_running() {
            let (queue, tail) = (index / 2, index.is_multiple_of(2));
            let refused = Some(DoorbellRefusal::NotRunning);
            return self.watch.tell(TraceEvent::Doorbell { path, queue, tail, value, refused });
        }
        self.doorbells.wake();
        if self.doorbells.is_nudge(index) {
            let (queue, tail) = (index / 2, index.is_multiple_of(2));
            let refused = Some(DoorbellRefusal::Nudge);
            return self.watch.hop(|| TraceEvent::Doorbell { path, queue, tail, value, refused });
        }
        let moved = self.doorbells.register_written(&mut self.queues, &mut self.arbiter, index, value);
        if moved.is_err() || self.watch.hops() {
            self.rung(Rung { path, index, value, moved });
        }
        self.reached(Step::DoorbellSeen);
    }

    #[cold]
    fn rung(&mut self, Rung { path, index, value, moved }: Rung) {
        let refused = moved.err().map(|bad| match bad {
            BadDoorbell::NoQueue => DoorbellRefusal::NoQueue,
            BadDoorbell::BadValue => DoorbellRefusal::BadValue,
        });
        let (queue, tail) = (index / 2, index.is_multiple_of(2));
        self.watch.tell(TraceEvent::Doorbell { path, queue, tail, value, refused });
        let event = match moved {
            Ok(()) => return,
            Err(BadDoorbell::NoQueue) => Event::INVALID_DOORBELL_REGISTER,
            Err(BadDoorbell::BadValue) => Event::INVALID_DOORBELL_VALUE,
        };
        self.health.log_event();
        self.raise(event);
    }

    /// Looks at the doorbells that lie in memory.
    pub(crate) fn poll_doorbells<M: GuestMemory>(&mut self, memory: &M, page: Option<&dyn DoorbellPage>) -> bool {
        let mut rung = Vec::new();
        let told = &mut Told { all: self.watch.hops(), tell: &mut |one| rung.push(one) };
        let moved = self.doorbells.poll(memory, page, &mut self.queues, &mut self.arbiter, told);
        for one in rung {
            self.rung(one);
        }
        if moved {
            self.reached(Step::DoorbellSeen);
        }
        moved
    }

    /// Something happened that the host may want to hear of.
    pub(crate) fn raise(&mut self, event: Event) {
        self.watch.tell(TraceEvent::EventRaised { event });
        self.events.raise(event);
    }
}

fn read_event(target: Option<Target>, offset: u64, answered: &[u8]) -> TraceEvent {
    let refused = match target {
        Some(Target::Doorbell(_)) => return TraceEvent::DoorbellRead { offset },
        Some(Target::Register(_)) => None,
        None => Some(RegisterRefusal::Width),
    };
    TraceEvent::RegisterRead { offset, bytes: length(answered), value: low_bytes(answered), refused }
}

fn length(access: &[u8]) -> u8 {
    u8::try_from(access.len()).unwrap_or(u8::MAX)
}

fn low_bytes(access: &[u8]) -> u64 {
    access.iter().take(8).rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
