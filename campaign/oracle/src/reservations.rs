//! Registrations and the reservation of one namespace, and what a host may know of them while commands that change them are under way (NVMe
//! Base 2.3 sections 7.5 to 7.8 and 8.1.24; rules RES2 to RES15 of our reference). Pure: no controller, no drive, no blocks.
//!
//! A command takes effect as a whole, at some moment between doorbell and answer. So there is a list of ways in which things may stand: an
//! answer, or a report, leaves of them those that explain it. Each way has the states that a power loss may bring back besides the last one:
//! what was answered is kept from then on if it is to persist, and what was not may be lost again, with all that came after it.

mod rules;

use std::collections::{BTreeMap, BTreeSet};

use crate::history::CommandId;

pub use rules::{Act, Action, Ending, Held, Host, Kind, Needs, Registrations};

/// How a command of which a reservation decides was answered, as far as that is of interest here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It was carried out.
    Granted,
    /// Reservation Conflict.
    Refused,
    /// Command Aborted due to Preempt and Abort.
    Aborted,
}

/// What a command under way has done.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Effect {
    ending: Ending,
    /// The place of the state that it left.
    place: usize,
    /// That state is durable once it is answered.
    is_kept: bool,
}

/// One of the ways in which things may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Possible {
    /// What may be there after a power loss, and last what is there now.
    states: Vec<Registrations>,
    /// Commands under way that have taken effect.
    done: BTreeMap<CommandId, Effect>,
}

impl Possible {
    fn now(&self) -> &Registrations {
        self.states.last().expect("something is there")
    }

    /// A command takes effect.
    fn carry_out(&mut self, id: CommandId, (host, act): &(Host, Act), persistent: bool) {
        let mut after = self.now().clone();
        let ending = after.act(*host, act, persistent);
        let changes = ending == Ending::Done && !matches!(act, Act::Leave);
        let is_kept = changes && (self.now().persists || after.persists);
        if after != *self.now() {
            self.states.push(after);
        }
        self.done.insert(id, Effect { ending, place: self.states.len() - 1, is_kept });
    }

    /// A command was answered: what it left is durable, if it is to persist or did before.
    fn answered(&mut self, id: CommandId) {
        let Some(Effect { place, is_kept, .. }) = self.done.remove(&id) else { return };
        // Of states none of which persists a power loss leaves the same.
        if is_kept || self.states[..=place].iter().all(|state| !state.persists) {
            self.states.drain(..place);
            self.done.values_mut().for_each(|other| other.place = other.place.saturating_sub(place));
        }
    }
}

/// A command under way of which a reservation decides.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asking {
    host: Host,
    needs: Needs,
    /// It may have found that it may.
    may_pass: bool,
    /// It may have found that it may not.
    may_be_refused: bool,
    /// Another host may have aborted it.
    may_be_aborted: bool,
}

impl Asking {
    /// It may find this.
    fn meet(&mut self, state: &Registrations) {
        let forbidden = state.forbids(self.host, self.needs);
        self.may_pass |= !forbidden;
        self.may_be_refused |= forbidden;
    }
}

/// What is known of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knowledge {
    /// Registrations can persist through a power loss.
    persistent: bool,
    /// The one in which least has happened comes first.
    possible: Vec<Possible>,
    under_way: BTreeMap<CommandId, (Host, Act)>,
    /// Commands about reservations that another host may have aborted.
    abortable: BTreeSet<CommandId>,
    asking: BTreeMap<CommandId, Asking>,
    /// Somebody was registered as power was lost.
    was_registered: bool,
}

impl Knowledge {
    /// A new namespace: nobody is registered. `persistent` says that registrations can persist through a power loss.
    #[must_use]
    pub fn new(persistent: bool) -> Self {
        let states = vec![Registrations::default()];
        Self {
            persistent,
            possible: vec![Possible { states, done: BTreeMap::new() }],
            under_way: BTreeMap::new(),
            abortable: BTreeSet::new(),
            asking: BTreeMap::new(),
            was_registered: false,
        }
    }

    /// A command is on its way: from now on it may take effect at any moment, and so may others after it.
    pub fn begin(&mut self, id: CommandId, host: Host, act: Act) {
        if self.aborts(host) {
            self.abortable.insert(id);
        }
        self.under_way.insert(id, (host, act));
        if matches!(act, Act::Preempt { abort: true, .. }) {
            let others = self.under_way.iter().filter(|(_, (other, _))| *other != host);
            self.abortable.extend(others.map(|(id, _)| *id));
            let others = self.asking.values_mut().filter(|asking| asking.host != host);
            others.for_each(|asking| asking.may_be_aborted = true);
        }
        let mut next = 0;
        while next < self.possible.len() {
            for (id, command) in &self.under_way {
                if self.possible[next].done.contains_key(id) {
                    continue;
                }
                let mut after = self.possible[next].clone();
                after.carry_out(*id, command, self.persistent);
                if !self.possible.contains(&after) {
                    self.possible.push(after);
                }
            }
            next += 1;
        }
        self.possible.sort_by_key(|possible| possible.done.len());
        for asking in self.asking.values_mut() {
            self.possible.iter().for_each(|possible| asking.meet(possible.now()));
        }
    }

    /// Whether another host is about to abort what this one has under way.
    fn aborts(&self, host: Host) -> bool {
        let aborts = |(other, act): &(Host, Act)| *other != host && matches!(act, Act::Preempt { abort: true, .. });
        self.under_way.values().any(aborts)
    }

    /// A command was answered: with this, it took effect before.
    ///
    /// # Errors
    /// No order of the commands explains the answer: how it could have ended instead.
    ///
    /// # Panics
    /// If it is not under way.
    pub fn end(&mut self, id: CommandId, ending: &Ending) -> Result<(), Vec<Ending>> {
        self.under_way.remove(&id).expect("it is under way");
        self.abortable.remove(&id);
        let explains = |possible: &Possible| possible.done.get(&id).is_some_and(|effect| effect.ending == *ending);
        if !self.possible.iter().any(explains) {
            let endings = self.possible.iter().filter_map(|possible| possible.done.get(&id));
            return Err(endings.map(|effect| effect.ending.clone()).collect());
        }
        self.possible.retain(explains);
        self.possible.iter_mut().for_each(|possible| possible.answered(id));
        self.forget_equal();
        Ok(())
    }

    /// A command was aborted by another host, and has taken effect or never will.
    ///
    /// # Errors
    /// No other host has asked for that.
    pub fn abort(&mut self, id: CommandId) -> Result<(), Vec<Ending>> {
        let asked = self.abortable.contains(&id);
        self.abandon(id);
        if asked { Ok(()) } else { Err(Vec::new()) }
    }

    /// A command will not be answered any more: it has taken effect or never will.
    pub fn abandon(&mut self, id: CommandId) {
        self.under_way.remove(&id);
        self.abortable.remove(&id);
        self.asking.remove(&id);
        for possible in &mut self.possible {
            possible.done.remove(&id);
        }
        self.forget_equal();
    }

    fn forget_equal(&mut self) {
        let mut different: Vec<Possible> = Vec::new();
        for possible in std::mem::take(&mut self.possible) {
            if !different.contains(&possible) {
                different.push(possible);
            }
        }
        self.possible = different;
    }

    /// A command is on its way that a reservation may forbid.
    pub fn ask(&mut self, id: CommandId, host: Host, needs: Needs) {
        let may_be_aborted = self.aborts(host);
        let mut asking = Asking { host, needs, may_pass: false, may_be_refused: false, may_be_aborted };
        self.possible.iter().for_each(|possible| asking.meet(possible.now()));
        self.asking.insert(id, asking);
    }

    /// It was answered: whether that can be.
    pub fn answer(&mut self, id: CommandId, access: Access) -> bool {
        self.asking.remove(&id).is_none_or(|asking| match access {
            Access::Granted => asking.may_pass,
            Access::Refused => asking.may_be_refused,
            Access::Aborted => asking.may_be_aborted,
        })
    }

    /// How things stand if everything has happened that is under way.
    #[must_use]
    pub fn likely(&self) -> &Registrations {
        self.possible.last().expect("one is always possible").now()
    }

    /// How things may stand.
    pub fn may_be(&self) -> impl Iterator<Item = &Registrations> {
        self.possible.iter().map(Possible::now)
    }

    /// Power is lost: nothing is under way, and what is there now follows from what may have been durable.
    pub fn lose_power(&mut self) {
        self.was_registered = !self.likely().keys.is_empty();
        let states = self.possible.iter().flat_map(|possible| &possible.states);
        let after = states.map(|state| Possible { states: vec![state.after_power_loss()], done: BTreeMap::new() });
        self.possible = after.collect();
        self.forget_equal();
        self.under_way.clear();
        self.abortable.clear();
        self.asking.clear();
    }

    /// Whether anybody was registered as power was lost last.
    #[must_use]
    pub const fn was_registered(&self) -> bool {
        self.was_registered
    }

    /// Nothing is under way, and the drive reports this.
    ///
    /// # Errors
    /// It cannot be; these are possible.
    pub fn settle(&mut self, seen: &Registrations) -> Result<(), Vec<Registrations>> {
        if !self.may_be().any(|possible| possible == seen) {
            return Err(self.may_be().cloned().collect());
        }
        self.possible = vec![Possible { states: vec![seen.clone()], done: BTreeMap::new() }];
        Ok(())
    }
}
