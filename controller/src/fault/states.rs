//! What faults do to registers and states: ready late or never, fatal, not ready any more, gone; and when what is under way is over.

use media::Nanoseconds;

use super::NEVER;
use super::action::{Action, Place};
use super::matching::Facts;
use crate::dma::DoorbellPage;
use crate::shared::Shared;
use crate::state::Reset;
use crate::{Controller, Fatal, FatalReason};

/// Whether a change of state that the host asked for may happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Gate {
    /// Nobody asked.
    #[default]
    Free,
    /// It may happen at this time; a fault decided, if any did.
    Decided(Option<u32>, Nanoseconds),
}

impl Gate {
    pub(super) fn is_free(&self) -> bool {
        *self == Self::Free
    }

    pub(super) fn until(&self) -> Option<Nanoseconds> {
        if let Self::Decided(_, until) = self { Some(*until) } else { None }
    }

    /// The fault that decided is gone.
    pub(super) fn open_if_of(&mut self, id: u32) {
        if let Self::Decided(Some(fault), until) = self
            && *fault == id
        {
            *until = Nanoseconds(0);
        }
    }
}

const ENABLE: usize = 0;
const DISABLE: usize = 1;
const SHUTDOWN: usize = 2;

impl Controller {
    /// Whether the controller may become ready now. Where it may, that is done with.
    #[inline]
    pub(crate) fn may_enable(&mut self) -> bool {
        self.faults.is_idle() || self.passes(ENABLE, Place::Enable)
    }

    /// Whether a reset may be carried out now. None but the controller's own waits.
    #[inline]
    pub(crate) fn may_reset(&mut self) -> bool {
        self.faults.is_idle()
            || match self.registers.asked_reset() {
                Some(Reset::Controller) => self.passes(DISABLE, Place::Disable),
                _ => true,
            }
    }

    /// Whether a shutdown that was asked for may be carried out now.
    #[inline]
    pub(crate) fn may_shut_down(&mut self) -> bool {
        self.faults.is_idle() || self.passes(SHUTDOWN, Place::Shutdown)
    }

    #[cold]
    fn passes(&mut self, gate: usize, place: Place) -> bool {
        let now = self.health.now;
        if self.faults.gates[gate].is_free() {
            let facts = self.facts();
            let mut decided = (None, now);
            for (fault, action) in self.fault_hits(place, &facts, None) {
                if let Action::SlowReady { delay_ns }
                | Action::SlowDisable { delay_ns }
                | Action::SlowShutdown { delay_ns } = action
                {
                    decided = (Some(fault), delay_ns.map_or(NEVER, |delay| now.plus(Nanoseconds(delay))));
                }
            }
            self.faults.gates[gate] = Gate::Decided(decided.0, decided.1);
        }
        let open = self.faults.gates[gate].until().is_none_or(|until| until <= now);
        if open {
            self.faults.gates[gate] = Gate::Free;
        }
        self.faults.refresh();
        open
    }

    /// Whether a reset of the function has no effect.
    pub(crate) fn ignores_reset(&mut self) -> bool {
        let facts = self.facts();
        !self.faults.is_idle() && !self.fault_hits(Place::Reset, &facts, None).is_empty()
    }

    /// What a register reads as.
    #[cold]
    pub(crate) fn register_under_faults(&mut self, offset: u64, value: u32) -> u32 {
        let facts = Facts { register: Some(offset), ..self.facts() };
        let hits = self.fault_hits(Place::Read, &facts, None);
        let change = |value: u32, (_, action): &(u32, Action)| match action {
            Action::Register { mask, value: other, .. } => value & !mask | other & mask,
            _ => value,
        };
        hits.iter().fold(value, change)
    }

    /// Whether the device is gone: nobody answers.
    #[inline]
    pub(crate) fn is_gone(&self) -> bool {
        self.faults.gone.is_some()
    }

    /// Whether commands wait because processing is paused, or because of a fault that keeps this queue from being fetched.
    #[inline]
    pub(crate) fn is_stalled(&self, id: u16) -> bool {
        !self.faults.is_idle() && (self.faults.paused.is_some() || self.faults.stalls.iter().any(|stall| stall.1 == id))
    }

    /// At the start of a step: ends what is over, and does what is due. `false` while the device is gone.
    #[cold]
    pub(crate) fn tend_faults(&mut self, shared: &mut Shared, page: Option<&dyn DoorbellPage>) -> bool {
        let now = self.health.now;
        let facts = self.facts();
        let mut due = std::mem::take(&mut self.faults.due);
        due.extend(self.fault_hits(Place::Moment, &facts, None));
        for (fault, action) in due {
            self.happen(shared, fault, &action, page);
        }
        if self.faults.gone.is_some_and(|(_, until)| until <= now) {
            self.faults.gone = None;
            self.registers.ask_reset(Reset::Function);
        }
        if self.faults.paused.is_some_and(|until| until <= now) {
            self.faults.paused = None;
            self.registers.set_paused(false);
            self.arbiter.unblock();
        }
        if self.faults.pin_stuck.is_some_and(|(_, until)| until <= now || self.interrupts.sends_messages()) {
            self.hold_pin(None);
        }
        let stalls = self.faults.stalls.len();
        self.faults.stalls.retain(|stall| stall.2 > now);
        if self.faults.stalls.len() < stalls {
            self.arbiter.unblock();
        }
        let late = self.faults.late.extract_if(.., |late| late.0 <= now).map(|(_, effect)| effect);
        self.effects.extend(late);
        self.release_held();
        self.faults.refresh();
        !self.is_gone()
    }

    fn happen(&mut self, shared: &mut Shared, fault: u32, action: &Action, page: Option<&dyn DoorbellPage>) {
        match action {
            Action::Fatal {} => self.fatal(Fatal { reason: FatalReason::Injected, value: fault.into(), bound: 0 }),
            Action::NotReady {} => {
                self.reset(shared, Reset::Controller, page);
                self.faults.forget();
                self.faults.gates[ENABLE] = Gate::Decided(None, NEVER);
            }
            Action::Gone { for_ns } => {
                let until = for_ns.map_or(NEVER, |length| self.health.now.plus(Nanoseconds(length)));
                self.hold_pin(None);
                self.interrupts.reset(&mut self.effects);
                self.faults.late.clear();
                self.faults.gone = Some((fault, until));
            }
            Action::SubsystemReset {} => self.registers.ask_reset(Reset::Subsystem),
            Action::Interrupt { vector, count } => self.send_messages(*vector, *count),
            Action::StuckPin { for_ns } if !self.interrupts.sends_messages() => {
                let until = for_ns.map_or(NEVER, |length| self.health.now.plus(Nanoseconds(length)));
                self.hold_pin(Some((fault, until)));
            }
            _ => {}
        }
    }
}
