//! Faults of the device as data: which commands fail, hang or are answered wrongly, which registers lie, which interrupts are lost. Each
//! fault has a seeded stream of its own, so that adding one does not move the others, and counts whom it met and whom it hit. While none is
//! set, each place where one may be met costs a branch.
//!
//! `spec` and `action` say what a fault is, `matching` whom it meets, `commands` and `answers` what it does to commands, `states` to
//! registers and states, `interrupts` to messages; [`inject`] lets events happen. Faults of the media are the media's.

mod action;
mod answers;
mod commands;
mod error;
pub mod inject;
mod interrupts;
mod matching;
mod named;
mod queue_kind;
mod spec;
mod states;

use std::collections::BTreeMap;

use media::Nanoseconds;
use media::power::Random;

pub use action::{Action, CidChoice, HexBytes, Order, Whose};
pub use error::FaultError;
pub use inject::{InjectError, Injection};
pub use named::NamedCommand;
pub use queue_kind::QueueKind;
pub use spec::{Dword, FaultSpec, Matching, Scope, Times, Unlimited, When};

use crate::queue::Permit;
use crate::watch::{CommandName, TraceEvent};
use crate::{Controller, Effect};
use action::Place;
use answers::{Affliction, Early, Held, Patch, Poke};
use error::refuse;
use matching::Facts;
use states::Gate;

/// How many faults there may be at a time.
pub const FAULTS_MAX: usize = 4096;
/// What is never due.
const NEVER: Nanoseconds = Nanoseconds(u64::MAX);

/// A fault that was added, and what it did so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultState {
    /// The fault, with its number.
    pub spec: FaultSpec,
    /// How many it has met.
    pub met: u64,
    /// How many of them it has hit.
    pub hits: u64,
}

#[derive(Debug)]
struct Fault {
    id: u32,
    spec: FaultSpec,
    random: Random,
    /// When it was added, and after how many resets.
    since: Nanoseconds,
    resets_before: u64,
    met: u64,
    hits: u64,
}

impl Fault {
    /// Whether it can still hit anything.
    fn is_live(&self) -> bool {
        self.hits < self.spec.limit()
    }

    /// It met somebody: whether that is a hit.
    fn meet(&mut self, now: Nanoseconds) -> bool {
        let when = &self.spec.when;
        let begin = self.since.0.saturating_add(when.after_ns.unwrap_or(0));
        let end = when.for_ns.map_or(u64::MAX, |length| begin.saturating_add(length));
        if now.0 < begin || now.0 >= end {
            return false;
        }
        self.met += 1;
        let first = when.nth.or(when.every).unwrap_or(1);
        let behind = self.met.checked_sub(first);
        let chosen = match (behind, when.every, when.one_in) {
            (None, _, _) => false,
            (Some(_), _, Some(one_in)) => self.random.one_in(one_in),
            (Some(behind), every, None) => behind.is_multiple_of(every.unwrap_or(1)),
        };
        self.hits += u64::from(chosen);
        chosen
    }

    /// When its window opens.
    fn opens(&self) -> Nanoseconds {
        self.since.plus(Nanoseconds(self.spec.when.after_ns.unwrap_or(0)))
    }
}

/// All faults, and what they have under way.
#[derive(Debug)]
pub(crate) struct Faults {
    /// There is none, and nothing is under way.
    idle: bool,
    /// No command of an I/O queue may take the fast path.
    slow: bool,
    list: Vec<Fault>,
    resets: u64,
    /// What answers suffer, by the ordinals of their commands.
    afflicted: BTreeMap<u64, Vec<Affliction>>,
    held: Vec<Held>,
    patches: Vec<Patch>,
    pokes: Vec<Poke>,
    early: Vec<Early>,
    /// Submission queues that nothing is fetched from: by which fault, and until when.
    stalls: Vec<(u32, u16, Nanoseconds)>,
    /// Messages that come later.
    late: Vec<(Nanoseconds, Effect)>,
    /// The pin should be asserted and is not.
    pin_lost: bool,
    /// The pin is asserted whatever there is: by which fault, and until when.
    pin_stuck: Option<(u32, Nanoseconds)>,
    /// What is to happen at the next step: by which fault.
    due: Vec<(u32, Action)>,
    /// Whether the next enable, disable and shutdown may pass.
    gates: [Gate; 3],
    /// The device is gone: by which fault, and until when.
    gone: Option<(u32, Nanoseconds)>,
    /// CSTS.PP is 1 until then.
    paused: Option<Nanoseconds>,
    /// Critical warnings that stand besides those of the media, and another temperature.
    pub(crate) warnings: u8,
    pub(crate) temperature: Option<u16>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            idle: true,
            slow: false,
            list: Vec::new(),
            resets: 0,
            afflicted: BTreeMap::new(),
            held: Vec::new(),
            patches: Vec::new(),
            pokes: Vec::new(),
            early: Vec::new(),
            stalls: Vec::new(),
            late: Vec::new(),
            pin_lost: false,
            pin_stuck: None,
            due: Vec::new(),
            gates: [Gate::default(); 3],
            gone: None,
            paused: None,
            warnings: 0,
            temperature: None,
        }
    }
}

impl Faults {
    /// Whether there is no fault and none has anything under way: the only question that a healthy device asks.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.idle
    }

    /// Whether commands of I/O queues may be met.
    #[inline]
    pub(crate) fn keep_off_fast_path(&self) -> bool {
        self.slow
    }

    /// How many commands are held back, with their slots.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// Whether the command with this ordinal is held back.
    pub(crate) fn holds(&self, ordinal: u64) -> bool {
        self.held.iter().any(|held| held.permit.ordinal() == ordinal)
    }

    /// A command waits without its slot: its answer will be somebody else's.
    pub(crate) fn spare(&mut self, permit: &Permit) {
        self.afflicted.remove(&permit.ordinal());
    }

    /// Power came back.
    pub(crate) fn power_on(&mut self) {
        (self.gone, self.pin_stuck) = (None, None);
        self.reset();
    }

    /// Looks once more whether anything is there.
    fn refresh(&mut self) {
        let meets_io = |fault: &Fault| {
            fault.is_live() && fault.spec.place() == Place::Command && fault.spec.matching.may_match_io()
        };
        self.slow = self.list.iter().any(meets_io) || !self.stalls.is_empty() || self.paused.is_some();
        self.idle = self.list.is_empty()
            && self.afflicted.is_empty()
            && self.held.is_empty()
            && self.patches.is_empty()
            && self.pokes.is_empty()
            && self.early.is_empty()
            && self.stalls.is_empty()
            && self.late.is_empty()
            && !self.pin_lost
            && self.pin_stuck.is_none()
            && self.due.is_empty()
            && self.gates.iter().all(Gate::is_free)
            && self.gone.is_none()
            && self.paused.is_none();
    }

    /// What goes with a reset of the controller, and what goes with the queues.
    fn forget(&mut self) {
        self.afflicted.clear();
        self.held.clear();
        self.patches.clear();
        self.pokes.clear();
        self.early.clear();
        self.stalls.clear();
        self.late.clear();
        self.pin_lost = false;
        self.due.clear();
        self.paused = None;
    }

    /// The controller was reset.
    pub(crate) fn reset(&mut self) {
        self.resets += 1;
        self.forget();
        self.gates = [Gate::default(); 3];
        self.list.retain(|fault| fault.spec.scope == Scope::Kept);
        self.refresh();
    }

    /// Those that meet somebody at this place and hit.
    fn hits(&mut self, place: Place, now: Nanoseconds, facts: &Facts<'_>) -> Vec<(u32, Action)> {
        let resets = self.resets;
        let mut hits = Vec::new();
        for fault in &mut self.list {
            let meets = fault.is_live()
                && fault.spec.place() == place
                && resets - fault.resets_before >= fault.spec.matching.resets
                && fault.spec.action.concerns(facts.register)
                && facts.match_all(&fault.spec.matching);
            if meets && fault.meet(now) {
                hits.push((fault.id, fault.spec.action.clone()));
            }
        }
        if !hits.is_empty() {
            self.refresh();
        }
        hits
    }

    /// When something is due.
    pub(crate) fn next_event(&self, now: Nanoseconds) -> Option<Nanoseconds> {
        let opens = self.list.iter().filter(|fault| fault.is_live() && fault.spec.place() == Place::Moment);
        opens
            .map(Fault::opens)
            .chain(self.held.iter().map(|held| held.until))
            .chain(self.pokes.iter().map(|poke| poke.at))
            .chain(self.stalls.iter().map(|stall| stall.2))
            .chain(self.late.iter().map(|late| late.0))
            .chain(self.gates.iter().filter_map(Gate::until))
            .chain(self.gone.map(|gone| gone.1))
            .chain(self.pin_stuck.map(|stuck| stuck.1))
            .chain(self.paused)
            // What is due by now was looked after, or cannot be yet.
            .filter(|due| *due > now && *due != NEVER)
            .min()
    }
}

impl Controller {
    /// Adds a fault; returns its number.
    ///
    /// # Errors
    /// The fault cannot be; nothing was added.
    pub fn fault_add(&mut self, spec: FaultSpec) -> Result<u32, FaultError> {
        spec.check()?;
        let list = &mut self.faults.list;
        if list.len() >= FAULTS_MAX {
            return refuse("id", "", "there are 4096 faults already: remove some");
        }
        let taken = |id: u32| list.iter().any(|fault| fault.id == id);
        let id = match spec.id {
            Some(id) if taken(id) => return refuse("id", &id.to_string(), "there is a fault with this number"),
            Some(id) => id,
            None => (1..).find(|id| !taken(*id)).expect("there are more numbers than faults"),
        };
        let random = Random::new(spec.when.seed.unwrap_or(id.into()));
        let (since, resets_before) = (self.health.now, self.faults.resets);
        let spec = FaultSpec { id: Some(id), ..spec };
        list.push(Fault { id, spec, random, since, resets_before, met: 0, hits: 0 });
        list.sort_by_key(|fault| fault.id);
        self.faults.refresh();
        Ok(id)
    }

    /// Removes a fault, and ends what it has under way: what it holds back is answered, and what it stopped goes on. A command that it
    /// dropped stays dropped. `false` if there is no such fault.
    pub fn fault_remove(&mut self, id: u32) -> bool {
        let before = self.faults.list.len();
        self.faults.list.retain(|fault| fault.id != id);
        if self.faults.list.len() == before {
            return false;
        }
        self.end_fault(id);
        self.faults.refresh();
        true
    }

    /// All faults, by their numbers.
    #[must_use]
    pub fn faults(&self) -> Vec<FaultState> {
        let state = |fault: &Fault| FaultState { spec: fault.spec.clone(), met: fault.met, hits: fault.hits };
        self.faults.list.iter().map(state).collect()
    }

    /// Those of this place that hit, each told.
    fn fault_hits(&mut self, place: Place, facts: &Facts<'_>, command: Option<CommandName>) -> Vec<(u32, Action)> {
        let hits = self.faults.hits(place, self.health.now, facts);
        for (fault, _) in &hits {
            self.watch.tell(TraceEvent::FaultHit { fault: *fault, command });
        }
        hits
    }

    /// What a fault holds back or stopped is over.
    fn end_fault(&mut self, id: u32) {
        for held in &mut self.faults.held {
            if held.fault == id && (held.answer.is_some() || held.command.is_some()) {
                held.until = Nanoseconds(0);
            }
        }
        let own = |stall: &(u32, u16, Nanoseconds)| stall.0 == id;
        if self.faults.stalls.iter().any(own) {
            self.faults.stalls.retain(|stall| !own(stall));
            self.arbiter.unblock();
        }
        self.faults.gates.iter_mut().for_each(|gate| gate.open_if_of(id));
        for lasting in [&mut self.faults.gone, &mut self.faults.pin_stuck] {
            if let Some((_, until)) = lasting.as_mut().filter(|lasting| lasting.0 == id) {
                *until = Nanoseconds(0);
            }
        }
    }
}
