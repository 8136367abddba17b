//! The NVM subsystem as whoever runs a device has it: the controllers, and what they share. What concerns one controller names it.
//!
//! Map: [`power`] is its loss and return, [`changes`], [`attach`] and [`ana`] change namespaces and their access while hosts are there,
//! [`plugs`] is for controllers that come and go, [`direct`] and [`quiesce`] serve whoever runs the device.

mod ana;
pub mod attach;
mod changes;
pub mod direct;
pub mod plugs;
mod power;
mod quiesce;

use media::power::Breaker;
use media::{Media, Nanoseconds, VolumeId, Warnings};
use nvme_spec::identify;
use nvme_spec::log::Smart;

use crate::budget::{Clock, Still};
use crate::config::{Config, NamespaceConfig};
use crate::controllers::{CONTROLLERS_MAX, ControllerId};
use crate::dma::{DoorbellPage, GuestMemory};
use crate::fault::{InjectError, Injection};
use crate::inspect::FeatureState;
use crate::shared::Shared;
use crate::shared::reservations::ReservationState;
use crate::{Controller, Progress, inspect};

/// An NVM subsystem: a drive with its controllers, each of one function, and its namespaces.
pub struct Subsystem {
    shared: Shared,
    /// The place of each is its identifier.
    controllers: Vec<Controller>,
}

impl Subsystem {
    /// A subsystem as it is at power-on, with one controller. Namespace n of the configuration stands on volume n of the media.
    ///
    /// # Panics
    /// If the media has fewer volumes than there are namespaces, or breaks a rule of [`Config::atomics`].
    #[must_use]
    pub fn new(config: Config, media: Box<dyn Media>) -> Self {
        Self::with_controllers(config, media, 1)
    }

    /// The same with so many controllers, 1 to [`CONTROLLERS_MAX`], all alike; each sees every namespace.
    ///
    /// # Panics
    /// As [`Self::new`], or if the number is outside of its bounds.
    #[must_use]
    pub fn with_controllers(config: Config, media: Box<dyn Media>, controllers: u16) -> Self {
        assert!((1..=CONTROLLERS_MAX).contains(&controllers), "{controllers} controllers");
        let shared = Shared::new(config, media, controllers);
        let controllers = (0..controllers).map(|id| Controller::new(ControllerId(id), &shared)).collect();
        Self { shared, controllers }
    }

    /// The configuration that this subsystem was made with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Its controllers, ascending.
    pub fn ids(&self) -> impl Iterator<Item = ControllerId> + use<> {
        self.shared.mail.controllers().iter()
    }

    /// A controller, to look at.
    ///
    /// # Panics
    /// If there is no such controller.
    #[must_use]
    pub fn controller(&self, id: ControllerId) -> &Controller {
        &self.controllers[id.index()]
    }

    /// A controller, for what its transport says to it and hears from it.
    ///
    /// # Panics
    /// If there is no such controller.
    pub fn controller_mut(&mut self, id: ControllerId) -> &mut Controller {
        &mut self.controllers[id.index()]
    }

    /// A controller works up to a bound: resets and enables as requested, takes and completes commands, and decides what to interrupt.
    /// Without power it does nothing; if power goes during a step, nothing reaches a host from that moment on. Time stands still meanwhile.
    pub fn step<M: GuestMemory>(
        &mut self,
        id: ControllerId,
        now: Nanoseconds,
        memory: &M,
        page: Option<&dyn DoorbellPage>,
    ) -> Progress {
        self.step_by(id, now, &Still(now), memory, page)
    }

    /// The same from `now` on, with a clock that shows how time passes: a step ends after about a millisecond, whatever the host asks for.
    pub fn step_by<M: GuestMemory>(
        &mut self,
        id: ControllerId,
        now: Nanoseconds,
        clock: &dyn Clock,
        memory: &M,
        page: Option<&dyn DoorbellPage>,
    ) -> Progress {
        let changed = self.shared.changes.any() && self.go_on_changing(now, clock);
        let mut progress = self.controllers[id.index()].step_by(&mut self.shared, now, clock, memory, page);
        progress.worked |= changed;
        if self.notice_power() {
            progress.next_event = None;
        }
        progress
    }

    /// What the hosts do is dated when it arrives: now.
    pub fn tell_time(&mut self, now: Nanoseconds) {
        self.controllers.iter_mut().for_each(|controller| controller.tell_time(now));
    }

    /// The last step of each controller has ended now, with all that its caller did for it: that long its commands took, for whoever asks.
    #[inline]
    pub fn step_ended(&mut self, now: Nanoseconds) {
        self.controllers.iter_mut().for_each(|controller| controller.step_ended(now));
    }

    /// Before the caller sleeps: asks the host of a controller to ring doorbells for whatever it does from now on, and checks once more.
    /// `false` means that there is work, and the caller must step again instead.
    pub fn arm<M: GuestMemory>(&mut self, id: ControllerId, memory: &M, page: Option<&dyn DoorbellPage>) -> bool {
        let quiet = self.shared.mail.is_empty(id) && !self.shared.range_locks.has_ready(id.0);
        let idle = self.controllers[id.index()].arm(memory, page);
        self.notice_power();
        quiet && idle
    }

    /// The host of a controller reads BAR0. What cannot be read gives zeroes; without power everything reads as all ones, as nobody
    /// answers.
    pub fn bar_read(&mut self, id: ControllerId, offset: u64, into: &mut [u8]) {
        self.controllers[id.index()].bar_read(offset, into);
    }

    /// The host of a controller writes BAR0. This only notes what the host wants; [`Self::step`] does it. Without power it goes nowhere.
    pub fn bar_write(&mut self, id: ControllerId, offset: u64, from: &[u8]) {
        self.controllers[id.index()].bar_write(offset, from);
        self.notice_power();
    }

    /// Lets something happen to a controller. Its host is told at the next step, if it waits for events.
    ///
    /// # Errors
    /// Why it cannot happen; nothing did.
    pub fn inject_event(&mut self, id: ControllerId, injection: Injection) -> Result<(), InjectError> {
        self.controllers[id.index()].inject_event(&mut self.shared, injection)
    }

    /// Identify Controller.
    #[must_use]
    pub fn identify_controller(&self, id: ControllerId) -> identify::Controller {
        inspect::identify_controller(self.controller(id), &self.shared)
    }

    /// All allocated namespaces, ascending, whoever has them.
    pub fn namespaces(&self) -> impl Iterator<Item = &NamespaceConfig> {
        self.shared.namespaces.iter().map(|namespace| &namespace.identity)
    }

    /// Identify Namespace of an allocated namespace, as a host sees it that knows of all LBA formats.
    #[must_use]
    pub fn identify_namespace(&self, nsid: u32) -> Option<identify::Namespace> {
        inspect::identify_namespace(&self.shared, nsid)
    }

    /// The largest number of blocks that an active namespace can have.
    #[must_use]
    pub fn namespace_blocks_max(&self, nsid: u32) -> Option<u64> {
        let volume = self.shared.namespaces.get(nsid)?.volume;
        self.shared.media.shape(volume).map(|shape| shape.capacity_blocks_max)
    }

    /// The SMART log of a controller.
    #[must_use]
    pub fn smart(&self, id: ControllerId) -> Smart {
        inspect::smart(self.controller(id), &self.shared)
    }

    /// Every value of every feature that a controller's host can get, except those of single interrupt vectors.
    #[must_use]
    pub fn features(&self, id: ControllerId) -> Vec<FeatureState> {
        inspect::features(self.controller(id), &self.shared)
    }

    /// The reservation of a namespace, and who is registered; nothing if there is no such namespace.
    #[must_use]
    pub fn reservation(&self, nsid: u32) -> Option<ReservationState> {
        self.shared.namespaces.get(nsid).map(|_| self.shared.reservations.state(nsid))
    }

    /// The volume that a namespace stands on.
    #[must_use]
    pub fn volume_of(&self, nsid: u32) -> Option<VolumeId> {
        self.shared.namespaces.get(nsid).map(|namespace| namespace.volume)
    }

    /// The media, for inspection and fault injection. Requests go through the controllers only.
    pub fn media(&mut self) -> &mut dyn Media {
        self.shared.media.as_mut()
    }

    /// What is wrong with the media, and was.
    #[must_use]
    pub fn media_warnings(&self) -> &Warnings {
        self.shared.media.warnings()
    }

    /// The switch that media and controllers share.
    fn breaker(&self) -> &Breaker {
        &self.shared.power.breaker
    }
}
