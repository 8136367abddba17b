//! Registrations and the reservation of one namespace, as a value: which host may do what, and what of it others hear (NVMe Base 2.3
//! section 8.1.24). Knows no controller, command or clock. A call that fails has changed nothing.

use crate::command::Needs;
use crate::command::reservation::{RegisterAction, ReservationKind};
use crate::reason::Reason;

use super::host::Host;

/// As many registrants as a namespace has at most: twice as many as there can be controllers. See [`Registrations::shed`].
pub(crate) const REGISTRANTS_MAX: usize = 128;

/// What a host hears of a reservation that it did not change itself. The numbers are those of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notification {
    RegistrationPreempted = 1,
    Released = 2,
    ReservationPreempted = 3,
}

/// Who hears what.
pub(crate) type Notices = Vec<(Host, Notification)>;

/// A host that is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Registrant {
    pub(crate) host: Host,
    pub(crate) key: u64,
}

/// The reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) kind: ReservationKind,
    /// By whom: nobody in particular where all registrants hold it.
    pub(crate) by: Option<Host>,
}

impl Held {
    pub(crate) const fn new(kind: ReservationKind, by: Host) -> Self {
        Self { kind, by: if kind.is_held_by_all() { None } else { Some(by) } }
    }
}

/// Of one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Registrations {
    /// In the order in which they registered.
    pub(crate) registrants: Vec<Registrant>,
    pub(crate) held: Option<Held>,
    pub(crate) generation: u32,
    /// Persist Through Power Loss.
    pub(crate) persists: bool,
}

impl Registrations {
    fn key_of(&self, host: Host) -> Option<u64> {
        self.registrants.iter().find(|registrant| registrant.host == host).map(|registrant| registrant.key)
    }

    /// Whether a host holds the reservation.
    pub(crate) fn holds(&self, host: Host) -> bool {
        self.held.is_some_and(|held| held.by.map_or_else(|| self.key_of(host).is_some(), |by| by == host))
    }

    /// Whether the reservation forbids a host what it needs (RES14).
    pub(crate) fn forbids(&self, host: Host, needs: Needs) -> bool {
        let Some(held) = self.held else { return false };
        let may = if held.kind.is_for_registrants() { self.key_of(host).is_some() } else { held.by == Some(host) };
        !may && (needs.write || needs.read && held.kind.reserves_reading())
    }

    /// Registers a host, takes its registration back, or replaces its key (RES3).
    pub(crate) fn register(
        &mut self,
        host: Host,
        action: RegisterAction,
        ignores_key: bool,
        [current, new]: [u64; 2],
    ) -> Result<Notices, Reason> {
        let own = self.key_of(host);
        let allowed = match action {
            RegisterAction::Register => own.is_none_or(|own| own == new),
            RegisterAction::Replace => ignores_key || own == Some(current),
            RegisterAction::Unregister => own.is_some_and(|own| ignores_key || own == current),
        };
        if !allowed {
            return Err(Reason::ReservationConflict);
        }
        let notices = match action {
            RegisterAction::Unregister => self.unregister(host),
            RegisterAction::Register | RegisterAction::Replace => {
                match self.registrants.iter_mut().find(|registrant| registrant.host == host) {
                    Some(registrant) => registrant.key = new,
                    None => self.registrants.push(Registrant { host, key: new }),
                }
                Notices::new()
            }
        };
        self.generation = self.generation.wrapping_add(1);
        Ok(notices)
    }

    /// A registration is gone, and with that of its holder, or of the last of all holders, the reservation (RES4).
    pub(crate) fn unregister(&mut self, host: Host) -> Notices {
        self.registrants.retain(|registrant| registrant.host != host);
        let ends = self.held.is_some_and(|held| held.by.map_or(self.registrants.is_empty(), |by| by == host));
        if ends { self.end(host) } else { Notices::new() }
    }

    /// The reservation ends; registrants to whom it gave something hear of it, but not whose doing it is (RES16).
    fn end(&mut self, by: Host) -> Notices {
        let ended = self.held.take().filter(|held| held.kind.is_for_registrants());
        ended.map_or_else(Notices::new, |_| self.others(by, Notification::Released))
    }

    fn others(&self, but: Host, hear: Notification) -> Notices {
        let hosts = self.registrants.iter().map(|registrant| registrant.host);
        hosts.filter(|host| *host != but).map(|host| (host, hear)).collect()
    }

    /// Only a registrant that knows its key may do what follows.
    fn check(&self, host: Host, key: u64) -> Result<(), Reason> {
        if self.key_of(host) == Some(key) { Ok(()) } else { Err(Reason::ReservationConflict) }
    }

    /// Acquires the reservation (RES5).
    pub(crate) fn acquire(&mut self, host: Host, key: u64, kind: ReservationKind) -> Result<(), Reason> {
        self.check(host, key)?;
        match self.held {
            None => self.held = Some(Held::new(kind, host)),
            Some(held) if held.kind == kind && self.holds(host) => {}
            Some(_) => return Err(Reason::ReservationConflict),
        }
        Ok(())
    }

    /// Takes registrations of others away, and the reservation where it is theirs (RES6, RES7). The hosts that hear of a preempted
    /// registration are those that are no longer registered.
    pub(crate) fn preempt(
        &mut self,
        host: Host,
        [current, preempted]: [u64; 2],
        kind: ReservationKind,
    ) -> Result<Notices, Reason> {
        self.check(host, current)?;
        let (takes_over, from_all) = match self.held {
            None => (false, false),
            Some(Held { by: None, .. }) => (preempted == 0, preempted == 0),
            Some(_) if preempted == 0 => return Err(Reason::ReservationKey),
            Some(Held { by: Some(by), .. }) => (self.key_of(by) == Some(preempted), false),
        };
        let is_meant = |registrant: &Registrant| from_all || registrant.key == preempted;
        if !self.registrants.iter().any(is_meant) {
            return Err(Reason::ReservationConflict);
        }
        let (gone, stay) =
            self.registrants.iter().partition(|registrant| registrant.host != host && is_meant(registrant));
        self.registrants = stay;
        let gone: Vec<Registrant> = gone;
        let mut notices: Notices =
            gone.into_iter().map(|registrant| (registrant.host, Notification::RegistrationPreempted)).collect();
        if takes_over {
            let before = self.held.replace(Held::new(kind, host));
            if before.is_some_and(|held| held.kind.is_for_registrants() && held.kind != kind) {
                notices.extend(self.others(host, Notification::Released));
            }
        }
        self.generation = self.generation.wrapping_add(1);
        Ok(notices)
    }

    /// Releases the reservation; who does not hold it releases nothing (RES9).
    pub(crate) fn release(&mut self, host: Host, key: u64, kind: ReservationKind) -> Result<Notices, Reason> {
        self.check(host, key)?;
        match self.held {
            Some(held) if held.kind != kind => Err(Reason::ReservationKind),
            Some(_) if self.holds(host) => Ok(self.end(host)),
            _ => Ok(Notices::new()),
        }
    }

    /// Takes reservation and all registrations away (RES9).
    pub(crate) fn clear(&mut self, host: Host, key: u64) -> Result<Notices, Reason> {
        self.check(host, key)?;
        let notices = self.others(host, Notification::ReservationPreempted);
        self.registrants.clear();
        self.held = None;
        self.generation = self.generation.wrapping_add(1);
        Ok(notices)
    }

    /// With more registrants than there is room for, the one goes that registered first among those that hold nothing and that no
    /// controller serves: a host that is here always finds room (RES18), and the one that is not loses rights, never data.
    pub(crate) fn shed(&mut self, is_here: impl Fn(Host) -> bool) {
        if self.registrants.len() > REGISTRANTS_MAX {
            let holds = |host| self.held.is_some_and(|held| held.by == Some(host));
            let idle = |registrant: &Registrant| !is_here(registrant.host) && !holds(registrant.host);
            let place = self.registrants.iter().position(idle).expect("fewer controllers than registrants");
            self.registrants.remove(place);
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
