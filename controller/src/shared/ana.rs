//! In which state the access of each controller to each group of namespaces is. Whoever runs the device sets the states. They last until
//! the power goes: then every access is optimized again.

use std::collections::{BTreeMap, BTreeSet};

use crate::ana::{AnaGroup, AnaState};
use crate::controllers::{ControllerId, ControllerSet};
use crate::shared::Shared;
use crate::shared::record::Record;

/// Of one controller: groups that are not here are as at power-on.
#[derive(Debug, Default)]
struct Access {
    states: BTreeMap<u32, AnaState>,
    /// The change count when each group changed, since the last reset of the controller.
    changed: BTreeMap<u32, u64>,
    /// How often anything in the log changed since then.
    changes: u64,
}

/// The access of all controllers.
#[derive(Debug)]
pub(crate) struct AnaStates {
    of: Vec<Access>,
}

impl AnaStates {
    pub(crate) fn new(controllers: u16) -> Self {
        Self { of: (0..controllers).map(|_| Access::default()).collect() }
    }

    /// A controller has come: its access is as at power-on, whatever that of one before it in the same place was.
    fn welcome(&mut self, id: ControllerId) {
        self.of.resize_with(self.of.len().max(id.index() + 1), Access::default);
        self.of[id.index()] = Access::default();
    }

    /// The state of a controller's access to a group.
    pub(crate) fn state(&self, id: ControllerId, group: u32) -> AnaState {
        self.of[id.index()].states.get(&group).copied().unwrap_or_default()
    }

    /// It is another one from now on.
    pub(crate) fn set(&mut self, id: ControllerId, group: u32, state: AnaState) {
        self.of[id.index()].states.insert(group, state);
    }

    /// The controllers that cannot reach a group now.
    pub(crate) fn barred(&self, group: u32) -> ControllerSet {
        let mut barred = ControllerSet::NONE;
        for (id, access) in (0..).map(ControllerId).zip(&self.of) {
            let state = access.states.get(&group).copied().unwrap_or_default();
            barred.set(id, state.refusal().is_some());
        }
        barred
    }

    /// What the log of a controller says of a group is something else now.
    pub(crate) fn changed(&mut self, id: ControllerId, group: u32) {
        let access = &mut self.of[id.index()];
        access.changes = access.changes.wrapping_add(1);
        access.changed.insert(group, access.changes);
    }

    /// A reset of a controller: its log has changed no more.
    pub(crate) fn reset(&mut self, id: ControllerId) {
        let access = &mut self.of[id.index()];
        access.changes = 0;
        access.changed.clear();
    }

    /// How often the log of a controller changed since its last reset.
    pub(crate) fn changes(&self, id: ControllerId) -> u64 {
        self.of[id.index()].changes
    }
}

impl Shared {
    /// A controller has come that reaches every group.
    pub(crate) fn welcome_access(&mut self, id: ControllerId) {
        self.ana.welcome(id);
        self.bar_namespaces();
    }

    /// The namespaces are these from now on, each as reachable as its group is.
    pub(crate) fn renew_namespaces(&mut self, record: Record) {
        self.namespaces.renew(&self.config, self.media.as_mut(), record);
        self.bar_namespaces();
    }

    /// Each namespace is as reachable as its group is.
    fn bar_namespaces(&mut self) {
        let groups: BTreeSet<u32> = self.namespaces.iter().map(|own| own.identity.anagrpid).collect();
        for group in groups {
            self.namespaces.set_barred(group, self.ana.barred(group));
        }
    }

    /// The groups of which a controller has namespaces, ascending.
    pub(crate) fn ana_groups(&self, id: ControllerId) -> Vec<AnaGroup> {
        let mut groups: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for own in self.namespaces.iter().filter(|own| own.attached.has(id)) {
            groups.entry(own.identity.anagrpid).or_default().push(own.identity.nsid);
        }
        let of = |(group, namespaces)| AnaGroup {
            group,
            state: self.ana.state(id, group),
            changes: self.ana.of[id.index()].changed.get(&group).copied().unwrap_or(0),
            namespaces,
        };
        groups.into_iter().map(of).collect()
    }
}
