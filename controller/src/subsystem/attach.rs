//! Which controllers have a namespace, changed by whoever runs the device while hosts are there.
//!
//! A host whose controller loses a namespace is told, and finds it inactive from the next command on (NVMe Base 2.1 section 8.1.15.3);
//! what it had under way there ends as if it had come later.

use thiserror::Error;

use super::Subsystem;
use crate::controllers::{ControllerId, ControllerSet};
use crate::shared::mail::Notice;

/// Why a namespace was neither attached nor detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AttachError {
    /// There is no such namespace.
    #[error("there is no namespace {0}")]
    NoSuchNamespace(u32),
    /// There is no such controller.
    #[error("there is no controller {0}")]
    NoSuchController(u16),
    /// It has it already.
    #[error("controller {0} has the namespace already")]
    Attached(u16),
    /// It has not.
    #[error("controller {0} does not have the namespace")]
    NotAttached(u16),
    /// The namespace is for one controller at a time.
    #[error("the namespace has shared=off, and controller {0} has it: detach it there first")]
    Private(u16),
    /// Power is off.
    #[error("power is off")]
    NoPower,
}

impl Subsystem {
    /// The controllers that have a namespace; nothing if there is no such namespace.
    #[must_use]
    pub fn attached(&self, nsid: u32) -> Option<ControllerSet> {
        let attached = self.shared.namespaces.get(nsid)?.attached;
        Some(attached.below(self.shared.mail.count()))
    }

    /// Attaches a namespace to a controller.
    ///
    /// # Errors
    /// It cannot be attached there; nothing was done.
    pub fn attach(&mut self, nsid: u32, id: ControllerId) -> Result<(), AttachError> {
        let (attached, shared) = self.attachment(nsid, id)?;
        if attached.has(id) {
            return Err(AttachError::Attached(id.0));
        }
        if let Some(other) = attached.iter().next().filter(|_| !shared) {
            return Err(AttachError::Private(other.0));
        }
        self.change(nsid, id, true);
        Ok(())
    }

    /// Detaches a namespace from a controller.
    ///
    /// # Errors
    /// It was not attached there; nothing was done.
    pub fn detach(&mut self, nsid: u32, id: ControllerId) -> Result<(), AttachError> {
        let (attached, _) = self.attachment(nsid, id)?;
        if !attached.has(id) {
            return Err(AttachError::NotAttached(id.0));
        }
        self.change(nsid, id, false);
        Ok(())
    }

    fn attachment(&self, nsid: u32, id: ControllerId) -> Result<(ControllerSet, bool), AttachError> {
        if !self.power_is_on() {
            return Err(AttachError::NoPower);
        }
        if id.0 >= self.shared.mail.count() {
            return Err(AttachError::NoSuchController(id.0));
        }
        let namespace = self.shared.namespaces.get(nsid).ok_or(AttachError::NoSuchNamespace(nsid))?;
        Ok((namespace.attached.below(self.shared.mail.count()), namespace.identity.shared))
    }

    fn change(&mut self, nsid: u32, id: ControllerId, attached: bool) {
        self.shared.namespaces.attach(nsid, id, attached);
        self.shared.mail.tell(id, Notice::Attachment { nsid, attached });
    }
}
