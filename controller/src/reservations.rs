//! What a command about a reservation means for other controllers: their hosts hear of it, and Preempt and Abort waits until their
//! commands have ended. `shared::reservations` decides who may do what.

use std::collections::VecDeque;

use media::power::mutation::{Mutation, mutated};
use media::{Nanoseconds, Token};
use nvme_spec::log::Event;
use nvme_spec::reservation::NotificationPage;
use zerocopy::FromZeros;

use crate::Controller;
use crate::admin::Done;
use crate::command::IoCommand;
use crate::command::reservation::AcquireAction;
use crate::controllers::{ControllerId, ControllerSet};
use crate::dma::GuestMemory;
use crate::inflight::{Aborting, Origin, Parked};
use crate::reason::Reason;
use crate::shared::Shared;
use crate::shared::changes::{By, Change};
use crate::shared::mail::Notice;
use crate::shared::reservations::{Notification, Told};

/// As many notifications are kept for a host: one, and as many as the log says are left.
const NOTIFICATIONS_MAX: usize = 256;

/// A notification that the host has not read.
#[derive(Clone, Copy, Debug)]
struct Entry {
    count: u64,
    what: Notification,
    nsid: u32,
}

/// The Reservation Notification log of a controller.
#[derive(Debug, Default)]
pub(crate) struct Notifications {
    /// The oldest first.
    entries: VecDeque<Entry>,
    /// How many there were since the reset, with those that found no place.
    count: u64,
}

impl Notifications {
    /// Notes one; those that nobody fetches are lost, and counted (RES16).
    fn note(&mut self, what: Notification, nsid: u32) {
        self.count = self.count.wrapping_add(1);
        if self.entries.len() < NOTIFICATIONS_MAX {
            self.entries.push_back(Entry { count: self.count, what, nsid });
        }
    }

    /// LID 80h: the oldest, and how many more there are; zeroes if there is none.
    pub(crate) fn page(&self) -> NotificationPage {
        let mut page = NotificationPage::new_zeroed();
        if let Some(entry) = self.entries.front() {
            page.count = entry.count.into();
            page.kind = entry.what as u8;
            page.left = u8::try_from(self.entries.len() - 1).unwrap_or(u8::MAX);
            page.nsid = entry.nsid.into();
        }
        page
    }
}

impl Controller {
    /// Carries out a command about a reservation.
    #[cold]
    pub(crate) fn reserve<M: GuestMemory>(
        &mut self,
        shared: &mut Shared,
        now: Nanoseconds,
        memory: &M,
        command: &IoCommand,
        (token, origin): (Token, &mut Origin),
    ) -> Result<Done, Reason> {
        let nsid = origin.nsid;
        self.check_reach(shared, nsid)?;
        let persisted = shared.reservations.persists(nsid);
        self.start(shared, now, memory, command, (token, origin), None)?;
        let told = shared.reservations.take_told();
        self.reservation_changed(shared, nsid);
        self.tell_hosts(shared, &told);
        let aborts = matches!(command, IoCommand::Acquire(acquire) if acquire.action == AcquireAction::PreemptAndAbort);
        let left = if aborts { abort_commands(shared, self.id, nsid, &told) } else { None };
        let Some(left) = left else {
            let kept = persisted || shared.reservations.persists(nsid);
            if kept && mutated(Mutation::PtplLost) {
                shared.changes.ask(Change::Registrations { nsid }, By::Nobody);
                return Ok(Done::Now(0));
            }
            return Ok(if kept { keep_registrations(shared, nsid, self.id, token) } else { Done::Now(0) });
        };
        Ok(Done::Waits(Box::new(Parked { aborting: Some(left), ..Parked::new(*command) })))
    }

    /// From here on plain commands of the namespace take the path on which reservations are asked, or no longer.
    #[cold]
    fn reservation_changed(&mut self, shared: &mut Shared, nsid: u32) {
        shared.namespaces.set_reserved(nsid, shared.reservations.is_held(nsid));
        self.namespaces.follow(&shared.namespaces, self.id);
    }

    /// Each controller of those hosts that has the namespace will hear of it, unless its mask says no (RES16, RES17).
    fn tell_hosts(&self, shared: &mut Shared, told: &[Told]) {
        for one in told.iter().filter(|one| !shared.reservations.is_masked(**one)) {
            let Some(attached) = shared.namespaces.get(one.nsid).map(|namespace| namespace.attached) else { continue };
            for id in shared.reservations.controllers_of(one.host).filter(|id| attached.has(*id)) {
                shared.mail.tell(id, Notice::Reservation { nsid: one.nsid, what: one.what });
            }
        }
    }

    /// A reset: the host has no name any more.
    pub(crate) fn forget_host(&mut self, shared: &mut Shared) {
        self.notifications = Notifications::default();
        shared.ana.reset(self.id);
        for nsid in shared.reservations.reset(self.id) {
            self.reservation_changed(shared, nsid);
        }
        let told = shared.reservations.take_told();
        self.tell_hosts(shared, &told);
    }

    /// Another host changed a reservation.
    pub(crate) fn hear_of_reservation(&mut self, nsid: u32, what: Notification) {
        self.notifications.note(what, nsid);
        self.raise(Event::RESERVATION);
    }

    /// The host read the oldest notification and did not ask to retain it. If it was the last, there is nothing to tell of.
    pub(crate) fn notification_read(&mut self) {
        self.notifications.entries.pop_front();
        if self.notifications.entries.is_empty() {
            self.events.forget(Event::RESERVATION);
        } else {
            self.raise(Event::RESERVATION);
        }
    }

    /// Another host preempted this one: what it has under way on the namespace ends (RES8).
    pub(crate) fn preempted(&mut self, shared: &mut Shared, nsid: u32, by: ControllerId, number: u64) {
        // What the media has finished has ended as it did; a command that would go on slice by slice is still under way.
        self.finish(shared, self.health.now);
        if self.end_on(shared, nsid, Reason::Preempted) {
            shared.mail.tell(by, Notice::Aborted { number, by: self.id });
        } else {
            shared.mail.tell(self.id, Notice::Preempted { nsid, by, number });
        }
    }

    /// The commands of another controller have ended for a Preempt and Abort: the last of them ends it.
    pub(crate) fn others_aborted(&mut self, shared: &mut Shared, number: u64, by: ControllerId) {
        let aborting = |parked: &Parked| parked.aborting.is_some_and(|aborting| aborting.number == number);
        let found = self.in_flight.tokens(|command| command.parked.as_deref().is_some_and(aborting));
        let Some(token) = found.first().copied() else { return };
        let Some(command) = self.in_flight.get_mut(token) else { return };
        let nsid = command.origin.nsid;
        let Some(parked) = command.parked.as_mut() else { return };
        let Some(aborting) = parked.aborting.as_mut() else { return };
        aborting.left.set(by, false);
        if aborting.left != ControllerSet::NONE {
            return;
        }
        if shared.reservations.persists(nsid) {
            (parked.aborting, parked.at_media) = (None, true);
            keep_registrations(shared, nsid, self.id, token);
        } else {
            self.piece_done(shared, token, Ok(0));
        }
    }
}

/// The media keeps what hosts have registered of a namespace; the command is answered when that is durable (RES15).
fn keep_registrations(shared: &mut Shared, nsid: u32, by: ControllerId, token: Token) -> Done {
    shared.changes.ask(Change::Registrations { nsid }, By::Host(by, token));
    Done::Pending
}

/// Has the commands of preempted hosts ended on all their controllers that have the namespace; nothing if there are none.
fn abort_commands(shared: &mut Shared, by: ControllerId, nsid: u32, told: &[Told]) -> Option<Aborting> {
    let attached = shared.namespaces.get(nsid)?.attached;
    let gone = told.iter().filter(|told| told.what == Notification::RegistrationPreempted);
    let mut left = ControllerSet::NONE;
    for id in gone.flat_map(|told| shared.reservations.controllers_of(told.host)).filter(|id| attached.has(*id)) {
        left.set(id, true);
    }
    if left == ControllerSet::NONE {
        return None;
    }
    let number = shared.reservations.next_abort();
    left.iter().for_each(|id| shared.mail.tell(id, Notice::Preempted { nsid, by, number }));
    Some(Aborting { number, left })
}
