//! How each controller reaches the namespaces: asymmetric namespace access, as whoever runs the device sets it.

use super::Subsystem;
use crate::ana::{ANA_GROUPS_MAX, AnaError, AnaGroup, AnaState};
use crate::controllers::ControllerId;
use crate::shared::mail::Notice;

impl Subsystem {
    /// A controller's access to a group is in this state from now on: its host hears of it, and the next command is taken or refused by
    /// it. Commands that were taken before end as they would have. A state lasts until it is set again, or the power goes.
    ///
    /// # Errors
    /// It cannot be; nothing has changed.
    pub fn set_ana_state(&mut self, id: ControllerId, group: u32, state: AnaState) -> Result<(), AnaError> {
        if !self.shared.config.ana {
            return Err(AnaError::Off);
        }
        if !self.power_is_on() {
            return Err(AnaError::NoPower);
        }
        if !(1..=ANA_GROUPS_MAX).contains(&group) {
            return Err(AnaError::NoSuchGroup(group));
        }
        let shared = &mut self.shared;
        let before = shared.ana.state(id, group);
        if before == state {
            return Ok(());
        }
        if before == AnaState::PersistentLoss {
            return Err(AnaError::Lost(id.0, group));
        }
        shared.ana.set(id, group, state);
        shared.namespaces.set_barred(group, shared.ana.barred(group));
        if shared.namespaces.iter().any(|own| own.identity.anagrpid == group && own.attached.has(id)) {
            shared.ana.changed(id, group);
            shared.mail.tell(id, Notice::Access { group, state });
        }
        Ok(())
    }

    /// The groups of which a controller has namespaces, ascending, as its host can read them; none where access is the same by every
    /// controller.
    #[must_use]
    pub fn ana_groups(&self, id: ControllerId) -> Vec<AnaGroup> {
        if self.shared.config.ana { self.shared.ana_groups(id) } else { Vec::new() }
    }

    /// How often the log of these groups has changed since the controller was reset.
    #[must_use]
    pub fn ana_changes(&self, id: ControllerId) -> u64 {
        self.shared.ana.changes(id)
    }
}
