//! Bring-up, reset and shutdown (Base 2.1 sections 3.5.1, 3.6.1 and 3.7.2).

use std::ops::Range;

use nvme_spec::register::{self, AdminQueueAttributes, Capabilities, Configuration, ControllerStatus};
use nvme_spec::{COMMAND_BYTES, COMPLETION_BYTES};

use crate::host::{Awaited, Host, HostError};
use crate::port::Port;
use crate::queue::{CompletionQueue, SubmissionQueue, entries_z};

/// How a host moves the doorbells of the admin queue after Doorbell Buffer Config.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdminDoorbells {
    /// By register alone, as Linux does: the admin queue is used before the buffers are known and after they are forgotten.
    #[default]
    Registers,
    /// By their shadows, as those of every other queue, as libvfn does.
    Shadows,
    /// Some moves in one way, some in the other.
    Alternating,
}

/// How a host wants its controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Guest addresses that the host may use for queues, lists and buffers.
    pub memory: Range<u64>,
    /// Entries of each of the two admin queues: 2 to 4096.
    pub admin_entries: u16,
    /// A page is 2^n bytes, 12 to 27.
    pub page_shift: u8,
    /// CC.CSS: 0 is the NVM command set, 6 all I/O command sets.
    pub command_set: u8,
    /// CC.AMS: 0 is round robin, 1 weighted round robin with urgent class.
    pub arbitration: u8,
    /// Whether the doorbells get shadows as soon as the controller is up, where it offers them.
    pub shadow_doorbells: bool,
    /// How the admin queue's doorbells are moved while they have shadows.
    pub admin_doorbells: AdminDoorbells,
    /// How many times a wait lets the device run before it gives up.
    pub relax_max: u32,
}

impl Setup {
    /// Admin queues of 32 entries, 4 KiB pages, the NVM command set, and waits that nobody reaches by accident.
    #[must_use]
    pub const fn new(memory: Range<u64>) -> Self {
        Self {
            memory,
            admin_entries: 32,
            page_shift: 12,
            command_set: 0,
            arbitration: 0,
            shadow_doorbells: false,
            admin_doorbells: AdminDoorbells::Registers,
            relax_max: 100_000,
        }
    }

    /// Size of a page in bytes.
    #[must_use]
    pub const fn page_bytes(&self) -> u64 {
        1 << self.page_shift
    }

    pub(crate) const fn page_bytes_usize(&self) -> usize {
        1 << self.page_shift
    }

    /// CC as this setup wants it, with EN set.
    #[must_use]
    pub const fn configuration(&self) -> Configuration {
        Configuration::usual(true, self.command_set)
            .with_mps(self.page_shift.saturating_sub(12))
            .with_arbitration(self.arbitration)
    }

    /// What of this the controller does not offer.
    fn unsupported(&self, offered: Capabilities) -> Option<&'static str> {
        let sets = if self.command_set == 6 { Capabilities::CSS_IO } else { Capabilities::CSS_NVM };
        if offered.0 & sets == 0 {
            return Some("the command set");
        }
        let pages = 12 + offered.mps_min()..=12 + offered.mps_max();
        (!pages.contains(&self.page_shift)).then_some("the page size")
    }
}

/// The two kinds of shutdown that a host asks for with CC.SHN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Everything is brought to rest.
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
