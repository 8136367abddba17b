//! Controllers that come and go while the subsystem runs. One that has gone keeps its place, and whoever comes next may have it: the media
//! and the order of ranges name controllers by their places.

use thiserror::Error;

use super::Subsystem;
use crate::Controller;
use crate::controllers::{CONTROLLERS_MAX, ControllerId};

/// Why a controller cannot go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PlugError {
    /// It is not there.
    #[error("there is no controller {0}")]
    Absent(u16),
    /// A subsystem has one at least.
    #[error("controller {0} is the last one")]
    Last(u16),
    /// What its host asked for is under way.
    #[error("commands of controller {0} are under way")]
    Busy(u16),
}

impl Subsystem {
    /// From now on hosts are told that there may be several controllers (CMIC, and NMIC of namespaces that may be shared), because
    /// [`Self::add_controller`] will be called. Before the first host comes: what it was told stays as it was.
    pub fn announce_more(&mut self) {
        self.shared.grows = true;
    }

    /// The blocks of a namespace stay as they are from now on, because its host is in this process and has commands on the way that know
    /// them. A Format that would change them is refused.
    pub fn keep_blocks(&mut self, nsid: u32) {
        self.shared.blocks_stay = Some(nsid);
    }

    /// One more controller, as at power-on, with the lowest identifier that is free. It has the namespaces that are attached to it, which
    /// are those of every controller of this identifier before it. Nothing if there are as many as there can be.
    pub fn add_controller(&mut self) -> Option<ControllerId> {
        let there = self.shared.mail.controllers();
        let id = (0..CONTROLLERS_MAX).map(ControllerId).find(|id| !there.has(*id))?;
        self.shared.mail.set_there(id, true);
        self.shared.reservations.make_room(id);
        self.shared.welcome_access(id);
        let controller = Controller::new(id, &self.shared);
        match self.controllers.get_mut(id.index()) {
            Some(place) => *place = controller,
            None => self.controllers.push(controller),
        }
        Some(id)
    }

    /// Takes a controller away whose host has gone: it was reset, and has nothing under way. Registrations of a host that said who it is
    /// (NVMe Base 2.1 section 8.1.22) stay, and so do attachments.
    ///
    /// # Errors
    /// Why not yet, or not at all.
    pub fn remove_controller(&mut self, id: ControllerId) -> Result<(), PlugError> {
        let there = self.shared.mail.controllers();
        if !there.has(id) {
            return Err(PlugError::Absent(id.0));
        }
        if there.count() == 1 {
            return Err(PlugError::Last(id.0));
        }
        let controller = &self.controllers[id.index()];
        if controller.registers.configuration.enabled() || controller.commands_in_flight() > 0 {
            return Err(PlugError::Busy(id.0));
        }
        self.shared.mail.set_there(id, false);
        Ok(())
    }
}
