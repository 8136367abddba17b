//! What each command makes of registrations and reservation, sentence by sentence, and whom these forbid what.

use std::collections::BTreeMap;

/// Who has registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// All controllers whose host calls itself this.
    Named(u8),
    /// The host of one controller, which did not say who it is: until that controller is reset.
    Unnamed(u16),
}

/// A type of reservation: RTYPE, 1 to 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind(pub u8);

impl Kind {
    /// Reading is reserved as well: the exclusive access types.
    #[must_use]
    pub const fn reserves_reading(self) -> bool {
        matches!(self.0, 2 | 4 | 6)
    }

    /// Every registrant may do what the holder may.
    #[must_use]
    pub const fn is_for_registrants(self) -> bool {
        self.0 >= 3
    }

    /// Every registrant holds it.
    #[must_use]
    pub const fn is_of_all(self) -> bool {
        self.0 >= 5
    }
}

/// What a command needs of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// It reads.
    pub read: bool,
    /// It writes.
    pub write: bool,
}

/// A reservation that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// Its type.
    pub kind: Kind,
    /// By whom; nobody in particular where all registrants hold it.
    pub by: Option<Host>,
}

/// RREGA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Registers a key.
    Register,
    /// Takes the registration back.
    Unregister,
    /// Replaces the key.
    Replace,
}

/// A command of a host about a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Reservation Register.
    Register {
        /// RREGA.
        action: Action,
        /// IEKEY.
        ignores_key: bool,
        /// CRKEY.
        key: u64,
        /// NRKEY.
        new: u64,
        /// CPTPL.
        persistence: Option<bool>,
    },
    /// Reservation Acquire: acquire.
    Acquire {
        /// CRKEY.
        key: u64,
        /// RTYPE.
        kind: Kind,
    },
    /// Reservation Acquire: preempt.
    Preempt {
        /// CRKEY.
        key: u64,
        /// PRKEY.
        preempted: u64,
        /// RTYPE.
        kind: Kind,
        /// The commands of those that lose their registrations are aborted.
        abort: bool,
    },
    /// Reservation Release: release.
    Release {
        /// CRKEY.
        key: u64,
        /// RTYPE.
        kind: Kind,
    },
    /// Reservation Release: clear.
    Clear {
        /// CRKEY.
        key: u64,
    },
    /// Reservation Report.
    Report,
    /// No command: the controller of a host without a name is reset.
    Leave,
}

/// How it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With success.
    Done,
    /// Reservation Conflict.
    Conflict,
    /// Invalid Field in Command.
    Invalid,
    /// With success, and this was reported.
    Shown(Registrations),
}

/// All that there is of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registrations {
    /// Who is registered, with which key.
    pub keys: BTreeMap<Host, u64>,
    /// The reservation.
    pub held: Option<Held>,
    /// GEN.
    pub generation: u32,
    /// Persist Through Power Loss.
    pub persists: bool,
}

impl Registrations {
    /// Whether a host holds the reservation.
    #[must_use]
    pub fn holds(&self, host: Host) -> bool {
        self.held.is_some_and(|held| held.by == Some(host) || held.kind.is_of_all() && self.keys.contains_key(&host))
    }

    /// RES14: whether the reservation forbids a host what it needs.
    #[must_use]
    pub fn forbids(&self, host: Host, needs: Needs) -> bool {
        let Some(Held { kind, .. }) = self.held else { return false };
        let may = if kind.is_for_registrants() { self.keys.contains_key(&host) } else { self.holds(host) };
        !may && (needs.write || needs.read && kind.reserves_reading())
    }

    /// RES15: what of it is there after a power loss. Hosts without a name leave nothing, nor does what they hold.
    #[must_use]
    pub fn after_power_loss(&self) -> Self {
        if !self.persists {
            return Self::default();
        }
        let mut after = self.clone();
        after.keys.retain(|host, _| matches!(host, Host::Named(_)));
        after.held = self.held.filter(|held| match held.by {
            Some(by) => after.keys.contains_key(&by),
            None => !after.keys.is_empty(),
        });
        after
    }

    /// Carries out a command of a host, or says why not and changes nothing. `persistent` says that registrations can persist at all.
    pub fn act(&mut self, host: Host, act: &Act, persistent: bool) -> Ending {
        let own = self.keys.get(&host).copied();
        match *act {
            Act::Report => return Ending::Shown(self.clone()),
            Act::Leave => self.leave(host),
            Act::Register { persistence: Some(_), .. } if !persistent => return Ending::Invalid,
            Act::Register { action, ignores_key, key, new, persistence } => {
                let knows = ignores_key || own == Some(key);
                let allowed = match action {
                    Action::Register => own.is_none() || own == Some(new),
                    Action::Replace => knows,
                    Action::Unregister => own.is_some() && knows,
                };
                if !allowed {
                    return Ending::Conflict;
                }
                match action {
                    Action::Unregister => self.leave(host),
                    Action::Register | Action::Replace => drop(self.keys.insert(host, new)),
                }
                self.persists = persistence.unwrap_or(self.persists);
                self.generation = self.generation.wrapping_add(1);
            }
            Act::Acquire { key, .. } | Act::Preempt { key, .. } | Act::Release { key, .. } | Act::Clear { key, .. }
                if own != Some(key) =>
            {
                return Ending::Conflict;
            }
            Act::Acquire { kind, .. } => match self.held {
                None => self.take(host, kind),
                Some(held) if held.kind == kind && self.holds(host) => {}
                Some(_) => return Ending::Conflict,
            },
            Act::Preempt { preempted, kind, .. } => return self.preempt(host, preempted, kind),
            Act::Release { kind, .. } => match self.held {
                Some(held) if held.kind != kind => return Ending::Invalid,
                Some(_) if self.holds(host) => self.held = None,
                _ => {}
            },
            Act::Clear { .. } => {
                self.keys.clear();
                self.held = None;
                self.generation = self.generation.wrapping_add(1);
            }
        }
        Ending::Done
    }

    fn take(&mut self, host: Host, kind: Kind) {
        self.held = Some(Held { kind, by: (!kind.is_of_all()).then_some(host) });
    }

    /// RES4: with its holder's registration, or the last one of all that hold it, a reservation goes.
    fn leave(&mut self, host: Host) {
        self.keys.remove(&host);
        let goes = |held: Held| held.by.map_or(self.keys.is_empty(), |by| by == host);
        if self.held.is_some_and(goes) {
            self.held = None;
        }
    }

    /// RES6, RES7.
    fn preempt(&mut self, host: Host, preempted: u64, kind: Kind) -> Ending {
        let (takes, all) = match self.held {
            None => (false, false),
            Some(held) if held.kind.is_of_all() => (preempted == 0, preempted == 0),
            Some(_) if preempted == 0 => return Ending::Invalid,
            Some(held) => (held.by.and_then(|by| self.keys.get(&by)) == Some(&preempted), false),
        };
        if !all && !self.keys.values().any(|key| *key == preempted) {
            return Ending::Conflict;
        }
        self.keys.retain(|other, key| *other == host || !all && *key != preempted);
        if takes {
            self.take(host, kind);
        }
        self.generation = self.generation.wrapping_add(1);
        Ending::Done
    }
}
