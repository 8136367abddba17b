//! Which controllers have a namespace.
//!
//! A host whose controller loses a namespace is told, and finds it inactive from the next command on (NVMe Base 2.1 section 8.1.15.3).

use super::Subsystem;
use crate::controllers::{ControllerId, ControllerSet};
use crate::shared::changes::{Change, ChangeError};

impl Subsystem {
    /// The controllers that have a namespace; nothing if there is no such namespace.
    #[must_use]
    pub fn attached(&self, nsid: u32) -> Option<ControllerSet> {
        let attached = self.shared.namespaces.get(nsid)?.attached;
        Some(attached.and(self.shared.mail.controllers()))
    }

    /// Begins to attach a namespace to a controller: see [`Change::Attachment`].
    ///
    /// # Errors
    /// As for [`Self::change`].
    pub fn attach(&mut self, nsid: u32, id: ControllerId) -> Result<(), ChangeError> {
        self.change(Change::Attachment { nsid, controllers: vec![id.0], attach: true })
    }

    /// Begins to detach a namespace from a controller: see [`Change::Attachment`].
    ///
    /// # Errors
    /// As for [`Self::change`].
    pub fn detach(&mut self, nsid: u32, id: ControllerId) -> Result<(), ChangeError> {
        self.change(Change::Attachment { nsid, controllers: vec![id.0], attach: false })
    }
}
