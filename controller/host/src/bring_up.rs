//! Bring-up, reset and shutdown (Base 2.1 sections 3.5.1, 3.6.1 and 3.7.2).

use nvme_spec::register::{self, AdminQueueAttributes, Configuration, ControllerStatus};
use nvme_spec::{COMMAND_BYTES, COMPLETION_BYTES};

use crate::host::{Awaited, Host, HostError};
use crate::port::Port;
use crate::queue::{CompletionQueue, SubmissionQueue, entries_z};
use crate::setup::Setup;

/// The two kinds of shutdown that a host asks for with CC.SHN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Everything is quiesced.
    Normal,
    /// Power is about to go.
    Abrupt,
}

impl<P: Port> Host<P> {
    /// Attaches to a controller and brings it up, with admin queues and no others.
    ///
    /// # Errors
    /// Those of [`Host::start`].
    pub fn enable(port: P, setup: Setup) -> Result<Self, HostError> {
        let mut host = Self::attach(port, setup);
        host.start()?;
        Ok(host)
    }

    /// Brings the controller up, after disabling it if it is not disabled. Queues from before are forgotten.
    ///
    /// # Errors
    /// [`HostError::Unsupported`] if CAP does not allow the setup, [`HostError::Fatal`], [`HostError::TimedOut`],
    /// [`HostError::OutOfMemory`]; with [`Setup::shadow_doorbells`] those of [`Host::use_shadow_doorbells`].
    pub fn start(&mut self) -> Result<(), HostError> {
        if let Some(what) = self.setup.unsupported(self.capabilities) {
            return Err(HostError::Unsupported(what));
        }
        self.disable()?;
        self.place_admin_queues()?;
        self.port.register_write_32(register::CC, self.setup.configuration().0);
        self.wait_ready(true)?;
        if self.setup.shadow_doorbells && self.offers_shadow_doorbells()? {
            self.use_shadow_doorbells()?;
        }
        Ok(())
    }

    /// Tells the controller where the admin queues are.
    fn place_admin_queues(&mut self) -> Result<(), HostError> {
        let entries = u32::from(self.setup.admin_entries);
        let attributes = AdminQueueAttributes::new(entries_z(entries), entries_z(entries));
        let submission = self.allocate_zeroed(u64::from(entries) * COMMAND_BYTES as u64)?;
        let completion = self.allocate_zeroed(u64::from(entries) * COMPLETION_BYTES as u64)?;
        self.port.register_write_32(register::AQA, attributes.0);
        self.port.register_write_64(register::ASQ, submission);
        self.port.register_write_64(register::ACQ, completion);
        self.submission.insert(0, SubmissionQueue::new(submission, entries, 0));
        self.completion.insert(0, CompletionQueue::new(completion, entries));
        Ok(())
    }

    /// Disables the controller (a controller reset) and forgets every queue, buffer and shadow doorbell.
    ///
    /// # Errors
    /// [`HostError::TimedOut`] if CSTS.RDY does not go away.
    pub fn disable(&mut self) -> Result<(), HostError> {
        let configuration = Configuration(self.port.register_read_32(register::CC));
        if configuration.enabled() {
            // SHN goes with EN: what is left in it would ask for a shutdown of the next life.
            self.port.register_write_32(register::CC, configuration.with_shutdown(0).0 & !1);
        }
        self.wait_ready(false)?;
        self.forget_everything();
        Ok(())
    }

    /// Asks for a shutdown and waits until it is complete. The controller stays enabled; [`Host::start`] brings it back.
    ///
    /// # Errors
    /// [`HostError::TimedOut`] if CSTS.SHST does not get there.
    pub fn shutdown(&mut self, kind: Shutdown) -> Result<(), HostError> {
        let shutdown = match kind {
            Shutdown::Normal => 1,
            Shutdown::Abrupt => 2,
        };
        let configuration = Configuration(self.port.register_read_32(register::CC));
        self.port.register_write_32(register::CC, configuration.with_shutdown(shutdown).0);
        let both = ControllerStatus::SHUTDOWN_RUNNING | ControllerStatus::SHUTDOWN_COMPLETE;
        self.relax_until(Awaited::Shutdown, |host| {
            (host.status() & both == ControllerStatus::SHUTDOWN_COMPLETE).then_some(())
        })
    }

    /// Waits for CSTS.RDY. A fatal status ends the wait for readiness, not the one for a disabled controller: reset is its cure.
    fn wait_ready(&mut self, ready: bool) -> Result<(), HostError> {
        self.relax_until(Awaited::Ready(ready), |host| {
            let status = host.status();
            if ready && status.contains(ControllerStatus::FATAL) {
                return Some(Err(HostError::Fatal));
            }
            (status.contains(ControllerStatus::READY) == ready).then_some(Ok(()))
        })?
    }
}
