//! Reservations of all namespaces, and which host each controller serves. What other hosts hear of a change is collected here; whoever
//! carried it out delivers it.

pub(crate) mod host;
mod kept;
mod registrations;

use std::collections::BTreeMap;

use nvme_spec::reservation::{
    ExtendedRegistrant, ExtendedStatus, NO_CONTROLLER, Registrant, ReservationStatus, STATUS_HOLDS,
};
use zerocopy::{FromZeros, IntoBytes};

use crate::command::reservation::{AcquireAction, RegisterAction, ReleaseAction, ReservationKind};
use crate::command::{IoCommand, Needs};
use crate::controllers::ControllerId;
use crate::reason::Reason;
use host::{Host, HostIdentifier};
use registrations::Registrations;

pub(crate) use registrations::Notification;

/// Something that a host hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) nsid: u32,
    pub(crate) host: Host,
    pub(crate) what: Notification,
}

/// Bits of Reservation Notification Mask: one for each notification.
const MASK: u32 = 1 << Notification::RegistrationPreempted as u32
    | 1 << Notification::Released as u32
    | 1 << Notification::ReservationPreempted as u32;

/// Those of a subsystem.
#[derive(Debug)]
pub(crate) struct Reservations {
    /// What the host of each controller calls itself, by controller.
    identifiers: Vec<Option<HostIdentifier>>,
    /// By namespace; those that are not here are as they were made.
    of: BTreeMap<u32, Registrations>,
    /// By namespace: which notifications nobody hears; none unless it is here.
    masks: BTreeMap<u32, u32>,
    /// They can persist through a power loss: RESCAP says so.
    persistent: bool,
    told: Vec<Told>,
    /// How many Preempt and Abort there were.
    aborts: u64,
}

impl Reservations {
    pub(crate) fn new(controllers: u16) -> Self {
        Self {
            identifiers: vec![None; usize::from(controllers)],
            of: BTreeMap::new(),
            masks: BTreeMap::new(),
            persistent: false,
            told: Vec::new(),
            aborts: 0,
        }
    }

    /// For how many controllers there is room.
    pub(crate) fn controllers(&self) -> u16 {
        u16::try_from(self.identifiers.len()).expect("at most 64 controllers")
    }

    /// There is room for a controller.
    pub(crate) fn make_room(&mut self, id: ControllerId) {
        self.identifiers.resize(self.identifiers.len().max(id.index() + 1), None);
    }

    /// Whether they can persist through a power loss.
    pub(crate) const fn are_persistent(&self) -> bool {
        self.persistent
    }

    /// Who the host of a controller is.
    pub(crate) fn host(&self, id: ControllerId) -> Host {
        self.identifiers[id.index()].map_or(Host::Unnamed(id), Host::Named)
    }

    /// What it calls itself.
    pub(crate) fn identifier(&self, id: ControllerId) -> Option<HostIdentifier> {
        self.identifiers[id.index()]
    }

    /// The controllers that serve a host, ascending.
    pub(crate) fn controllers_of(&self, host: Host) -> impl Iterator<Item = ControllerId> + use<> {
        serving(&self.identifiers, host)
    }

    /// Whether host identifiers of this subsystem have 128 bits, if any host has one: those of controllers, and of registrants.
    fn are_extended(&self) -> Option<bool> {
        let registered = self.of.values().flat_map(|of| &of.registrants);
        let registered = registered.filter_map(|registrant| registrant.host.identifier());
        self.identifiers.iter().copied().flatten().chain(registered).next().map(|identifier| identifier.is_extended())
    }

    /// A host says who it is. It may do so once; one that has registered without a name stays without (RES12).
    pub(crate) fn identify(&mut self, id: ControllerId, bytes: &[u8]) -> Result<(), Reason> {
        let (before, new) = (self.identifier(id), HostIdentifier::of(bytes));
        if before == new {
            return Ok(());
        }
        let is_registered = |of: &Registrations| of.registrants.iter().any(|one| one.host == Host::Unnamed(id));
        let Some(new) = new.filter(|_| before.is_none() && !self.of.values().any(is_registered)) else {
            return Err(Reason::HostIdentifierSet);
        };
        if self.are_extended().is_some_and(|extended| extended != new.is_extended()) {
            return Err(Reason::HostIdentifierFormat);
        }
        self.identifiers[id.index()] = Some(new);
        Ok(())
    }

    /// A controller is reset: its host has no name, and what it did without one is gone (NVMe Base 2.3 section 5.2.26.1.32). The
    /// namespaces that may be no longer reserved.
    pub(crate) fn reset(&mut self, id: ControllerId) -> Vec<u32> {
        for (nsid, of) in &mut self.of {
            let told = of.unregister(Host::Unnamed(id));
            self.told.extend(told.into_iter().map(|(host, what)| Told { nsid: *nsid, host, what }));
        }
        self.identifiers[id.index()] = None;
        if self.identifiers.len() == 1 {
            // With other controllers, the features of namespaces are no single controller's.
            self.masks.clear();
        }
        self.of.keys().copied().collect()
    }

    /// A namespace is deleted: what is said of its identifier later is of another one.
    pub(crate) fn forget_namespace(&mut self, nsid: u32) {
        self.of.remove(&nsid);
        self.masks.remove(&nsid);
    }

    /// Whether reservations let the host of a controller change all of some namespaces, by a Format or a deletion (FMT9, NSM10).
    pub(crate) fn check_change(&self, id: ControllerId, nsids: impl IntoIterator<Item = u32>) -> Result<(), Reason> {
        nsids.into_iter().try_for_each(|nsid| self.check(id, nsid, Needs { read: false, write: true }))
    }

    /// Whether a reservation of the namespace is held.
    pub(crate) fn is_held(&self, nsid: u32) -> bool {
        self.of.get(&nsid).is_some_and(|of| of.held.is_some())
    }

    /// Whether a reservation lets the host of a controller have what it needs of a namespace (RES13, RES14).
    pub(crate) fn check(&self, id: ControllerId, nsid: u32, needs: Needs) -> Result<(), Reason> {
        let forbidden = self.of.get(&nsid).is_some_and(|of| of.forbids(self.host(id), needs));
        if forbidden { Err(Reason::ReservationConflict) } else { Ok(()) }
    }

    /// Carries out Register, Acquire or Release with its keys.
    pub(crate) fn carry_out(
        &mut self,
        id: ControllerId,
        nsid: u32,
        command: &IoCommand,
        [current, other]: [u64; 2],
    ) -> Result<(), Reason> {
        let (host, persistent) = (self.host(id), self.persistent);
        let of = self.of.entry(nsid).or_default();
        let told = match command {
            IoCommand::Register(register) => {
                if register.persists.is_some() && !persistent {
                    return Err(Reason::ReservationPersistence);
                }
                let told = of.register(host, register.action, register.ignores_key, [current, other])?;
                of.persists = register.persists.unwrap_or(of.persists);
                if register.action != RegisterAction::Unregister {
                    of.shed(|host| serving(&self.identifiers, host).next().is_some());
                }
                told
            }
            IoCommand::Acquire(acquire) if acquire.action == AcquireAction::Acquire => {
                of.acquire(host, current, acquire.kind).map(|()| Vec::new())?
            }
            IoCommand::Acquire(acquire) => of.preempt(host, [current, other], acquire.kind)?,
            IoCommand::Release(release) => match release.action {
                ReleaseAction::Release(kind) => of.release(host, current, kind)?,
                ReleaseAction::Clear => of.clear(host, current)?,
            },
            _ => return Err(Reason::Internal),
        };
        self.told.extend(told.into_iter().map(|(host, what)| Told { nsid, host, what }));
        Ok(())
    }

    /// What others are to hear, once.
    pub(crate) fn take_told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// A number that no other Preempt and Abort has.
    pub(crate) fn next_abort(&mut self) -> u64 {
        self.aborts += 1;
        self.aborts
    }

    /// Whether nobody hears of it, by the mask of the namespace.
    pub(crate) fn is_masked(&self, told: Told) -> bool {
        self.mask(told.nsid) >> told.what as u32 & 1 != 0
    }

    /// Reservation Notification Mask.
    pub(crate) fn mask(&self, nsid: u32) -> u32 {
        self.masks.get(&nsid).copied().unwrap_or(0)
    }

    /// Sets it; bits that are reserved stay zero.
    pub(crate) fn set_mask(&mut self, nsid: u32, mask: u32) {
        self.masks.insert(nsid, mask & MASK);
    }

    /// Persist Through Power Loss.
    pub(crate) fn persists(&self, nsid: u32) -> bool {
        self.of.get(&nsid).is_some_and(|of| of.persists)
    }

    /// Sets it.
    pub(crate) fn set_persists(&mut self, nsid: u32, persists: bool) -> Result<(), Reason> {
        if persists && !self.persistent {
            return Err(Reason::ReservationFeaturePersistence);
        }
        self.of.entry(nsid).or_default().persists = persists;
        Ok(())
    }

    /// Reservation Report for the host of a controller (RES11).
    pub(crate) fn report(&self, id: ControllerId, nsid: u32, extended: bool) -> Result<Vec<u8>, Reason> {
        // NVMe Base 2.3 section 7.8: a host asks for the structure of its own identifier. One that has none may have either, if those of
        // others find room in it.
        let right = match self.identifier(id) {
            Some(own) => own.is_extended() == extended,
            None => extended || self.are_extended() != Some(true),
        };
        if !right {
            return Err(Reason::HostIdentifierFormat);
        }
        let state = self.state(nsid);
        let entries = state.registrants.iter().flat_map(|registrant| {
            let served = registrant.controllers.iter().map(|id| id.0);
            let nobody = registrant.controllers.is_empty().then_some(NO_CONTROLLER);
            served.chain(nobody).map(move |cntlid| (cntlid, registrant))
        });
        let entries: Vec<_> = entries.collect();
        let status = ReservationStatus {
            generation: state.generation.into(),
            rtype: state.kind.map_or(0, ReservationKind::number),
            registrants: u16::try_from(entries.len()).unwrap_or(u16::MAX).into(),
            ptpls: u8::from(state.persists),
            ..ReservationStatus::default()
        };
        let mut page = Vec::new();
        if extended {
            page.extend(ExtendedStatus { status, reserved_24: [0; 40] }.as_bytes());
            entries.iter().for_each(|(cntlid, one)| page.extend(extended_entry(*cntlid, one).as_bytes()));
        } else {
            page.extend(status.as_bytes());
            entries.iter().for_each(|(cntlid, one)| page.extend(entry(*cntlid, one).as_bytes()));
        }
        Ok(page)
    }

    /// What there is of a namespace, for whoever looks.
    pub(crate) fn state(&self, nsid: u32) -> ReservationState {
        let of = self.of.get(&nsid).cloned().unwrap_or_default();
        let registrants = of.registrants.iter().map(|registrant| RegistrantState {
            identifier: registrant.host.identifier(),
            key: registrant.key,
            holds: of.holds(registrant.host),
            controllers: self.controllers_of(registrant.host).collect(),
        });
        ReservationState {
            kind: of.held.map(|held| held.kind),
            generation: of.generation,
            persists: of.persists,
            registrants: registrants.collect(),
        }
    }
}

/// The controllers that serve a host, given what each host calls itself.
fn serving(identifiers: &[Option<HostIdentifier>], host: Host) -> impl Iterator<Item = ControllerId> + use<> {
    let ids = (0..).map(ControllerId);
    let serves = |(id, named): &(ControllerId, &Option<HostIdentifier>)| match host {
        Host::Named(identifier) => **named == Some(identifier),
        Host::Unnamed(unnamed) => named.is_none() && unnamed == *id,
    };
    let all: Vec<ControllerId> = ids.zip(identifiers).filter(serves).map(|(id, _)| id).collect();
    all.into_iter()
}

fn entry(cntlid: u16, registrant: &RegistrantState) -> Registrant {
    let mut entry = Registrant {
        cntlid: cntlid.into(),
        rcsts: if registrant.holds { STATUS_HOLDS } else { 0 },
        rkey: registrant.key.into(),
        ..Registrant::default()
    };
    if let Some(HostIdentifier::Short(bytes)) = registrant.identifier {
        entry.hostid = bytes;
    }
    entry
}

fn extended_entry(cntlid: u16, registrant: &RegistrantState) -> ExtendedRegistrant {
    let mut entry = ExtendedRegistrant::new_zeroed();
    entry.cntlid = cntlid.into();
    entry.rcsts = if registrant.holds { STATUS_HOLDS } else { 0 };
    entry.rkey = registrant.key.into();
    if let Some(identifier) = registrant.identifier {
        // One of 64 bits comes first.
        entry.hostid[..identifier.bytes().len()].copy_from_slice(identifier.bytes());
    }
    entry
}

/// The reservation of a namespace and who is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservationState {
    /// Its type, if one is held.
    pub kind: Option<ReservationKind>,
    /// Rises with each registration, preemption and clearing; wraps.
    pub generation: u32,
    /// Persist Through Power Loss.
    pub persists: bool,
    /// In the order in which they registered.
    pub registrants: Vec<RegistrantState>,
}

/// A host that is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrantState {
    /// What it calls itself; nothing if it did not say.
    pub identifier: Option<HostIdentifier>,
    /// Its key.
    pub key: u64,
    /// It holds the reservation, alone or with others.
    pub holds: bool,
    /// The controllers that serve it now.
    pub controllers: Vec<ControllerId>,
}
