//! Read access to a controller's state, as values, for observers other than the host. Where the host gets the same information, it
//! comes from the same place. Changes nothing; faults are injected into the media, through [`Subsystem::media`](crate::Subsystem::media).

use nvme_spec::identify;
use nvme_spec::log::{ErrorEntry, Smart};
use nvme_spec::register::{self, Capabilities, Configuration, ControllerStatus};
use zerocopy::FromBytes;

use crate::admin::{features, identify as pages, logs};
use crate::shared::Shared;
use crate::{Controller, InterruptMode, effects};

pub use crate::admin::features::FeatureState;
pub use crate::answered::{AnsweredState, ServiceTimes};
pub use crate::queue::{CompletionQueueState, SubmissionQueueState};
use crate::watch::FatalReason;

/// The state of a controller's registers, as its host sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LifeState {
    /// CC.
    pub configuration: Configuration,
    /// CSTS.
    pub status: ControllerStatus,
    /// Bus mastering is enabled.
    pub bus_master: bool,
}

impl Controller {
    /// The state of the registers.
    #[must_use]
    pub fn life(&self) -> LifeState {
        LifeState {
            configuration: self.registers.configuration,
            status: self.registers.status_bits(),
            bus_master: self.bus_master,
        }
    }

    /// The host's choice between messages and the pin.
    #[must_use]
    pub fn interrupt_mode(&self) -> InterruptMode {
        self.interrupts.mode()
    }

    /// CAP.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.registers.capabilities()
    }

    /// What the register at `offset`, a multiple of 4, would read as. The host has not read it.
    #[must_use]
    pub fn peek_register(&self, offset: u64) -> u32 {
        match offset {
            register::INTMS | register::INTMC => self.interrupts.mask(),
            _ => self.registers.read(offset),
        }
    }

    /// Why CSTS.CFS was set the last time since power-on, with the value that is to blame and the bound or alignment that it broke.
    #[must_use]
    pub fn last_fatal(&self) -> Option<(FatalReason, u64, u64)> {
        self.last_fatal.map(|why| (why.reason, why.value, why.bound))
    }

    /// Commands that were answered since the controller was made, by queue, opcode and status.
    #[must_use]
    pub fn answered(&self) -> Vec<AnsweredState> {
        self.answered.states()
    }

    /// How long those of I/O queues took.
    #[must_use]
    pub const fn service_times(&self) -> &ServiceTimes {
        self.answered.times()
    }

    /// The error log, newest first.
    pub fn error_log(&self) -> impl Iterator<Item = &ErrorEntry> {
        self.health.errors()
    }

    /// The submission queues that exist, ascending.
    pub fn submission_queues(&self) -> impl Iterator<Item = SubmissionQueueState> {
        self.queues.submissions().map(|(id, queue)| queue.state(id))
    }

    /// The completion queues that exist, ascending.
    pub fn completion_queues(&self) -> impl Iterator<Item = CompletionQueueState> {
        self.queues.completions().map(|(id, queue)| queue.state(id))
    }

    /// Commands that were taken and are not answered yet; those that wait for an event are not among them.
    #[must_use]
    pub fn commands_in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Asynchronous Event Requests that wait.
    #[must_use]
    pub fn event_requests_waiting(&self) -> usize {
        self.events.waiting()
    }
}

/// Identify Controller.
pub(crate) fn identify_controller(controller: &Controller, shared: &Shared) -> identify::Controller {
    identify::Controller::read_from_bytes(&pages::this_controller(controller, shared)).expect("a page is a structure")
}

/// Identify Namespace of an active namespace.
pub(crate) fn identify_namespace(shared: &Shared, nsid: u32) -> Option<identify::Namespace> {
    shared.namespaces.get(nsid)?;
    let page = pages::namespace(&shared.namespaces, shared, nsid, shared.formats.seen(true), false).ok()?;
    Some(identify::Namespace::read_from_bytes(&page).expect("a page is a structure"))
}

/// The SMART log.
pub(crate) fn smart(controller: &Controller, shared: &Shared) -> Smart {
    logs::smart_of_controller(controller, shared)
}

/// Every value of every feature that the host can get, except those of single interrupt vectors.
pub(crate) fn features(controller: &Controller, shared: &Shared) -> Vec<FeatureState> {
    let offered = effects::FEATURES.iter().map(|(id, _)| *id).filter(|id| controller.has_feature(shared, *id));
    offered.flat_map(|id| features::states(controller, shared, id)).collect()
}
