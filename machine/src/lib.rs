//! A subsystem with a controller, its guest's memory and its time in one value ([`Machine`]), to test a driver in its own process,
//! without a socket, a thread or a clock. A [`Host`] drives it as a kernel's driver would. To test a driver of your own, let it access
//! the machine's registers and memory through [`Port`].
//!
//! Everything is deterministic: time advances by [`Machine::step_time`] with each step of the device, and to the next due event when
//! nothing else is to be done.
//!
//! The documentation of the crate `brownout`, which re-exports this one, has examples.

#![forbid(unsafe_code)]

pub mod memory;
mod options;

use controller::config::{Config, Doorbells};
use controller::dma::{DoorbellPage, GuestMemory};
pub use controller::power::PowerReport;
use controller::{Controller, ControllerId, Effect, InterruptMode, Progress, Subsystem, bar};
pub use media::power::{Arming, Cut, CutPolicy, Profile};
use media::{Media, Nanoseconds};
use nvme_host::{Host, Port, Setup};

pub use memory::{PlainPage, SparseMemory};
pub use options::{DRIVE_BYTES_MIN, MEMORY, MachineError, MachineNamespace, MachineOptions};

/// How far time advances in a step, by default.
pub const STEP: Nanoseconds = Nanoseconds(1_000);
/// A device that still has work after this many steps never becomes idle.
const IDLE_STEPS_MAX: u32 = 10_000;

/// A subsystem that has just been powered on, the memory of its first controller's guest, and time.
pub struct Machine<M = SparseMemory> {
    /// The device.
    pub subsystem: Subsystem,
    /// The guest's memory.
    pub memory: M,
    /// The doorbell page that host and device share, with `doorbells=mapped`.
    pub page: Option<PlainPage>,
    /// The time of the last step.
    pub now: Nanoseconds,
    /// How far time advances in a step.
    pub step_time: Nanoseconds,
    /// Interrupts and events so far.
    pub effects: Vec<Effect>,
}

impl Machine {
    /// A machine over a new drive.
    ///
    /// # Errors
    /// Which of the options is invalid.
    pub fn new(options: &MachineOptions) -> Result<Self, MachineError> {
        let media = Box::new(options.drive()?);
        Ok(Self::over(options.config()?, media, SparseMemory::new(options.memory.clone())))
    }
}

impl<M: GuestMemory> Machine<M> {
    /// A machine over any media and any memory. Bus mastering and messages (MSI-X) are enabled.
    #[must_use]
    pub fn over(config: Config, media: Box<dyn Media>, memory: M) -> Self {
        let page = (config.doorbells == Doorbells::Mapped).then(PlainPage::default);
        let mut subsystem = Subsystem::new(config, media);
        let controller = subsystem.controller_mut(ControllerId::FIRST);
        controller.set_bus_master(true);
        controller.set_interrupt_mode(InterruptMode::MsiX);
        Self { subsystem, memory, page, now: Nanoseconds(0), step_time: STEP, effects: Vec::new() }
    }

    /// The first controller, to look at.
    #[must_use]
    pub fn controller(&self) -> &Controller {
        self.subsystem.controller(ControllerId::FIRST)
    }

    /// The first controller, as its transport has it.
    pub fn controller_mut(&mut self) -> &mut Controller {
        self.subsystem.controller_mut(ControllerId::FIRST)
    }

    /// One step of the device, after time has advanced by [`Machine::step_time`].
    pub fn step(&mut self) -> Progress {
        self.now = self.now.plus(self.step_time);
        let page = self.page.as_ref().map(|page| page as &dyn DoorbellPage);
        let progress = self.subsystem.step(ControllerId::FIRST, self.now, &self.memory, page);
        self.effects.extend(self.subsystem.controller_mut(ControllerId::FIRST).take_effects());
        progress
    }

    /// Executes `steps` steps.
    pub fn run(&mut self, steps: u32) {
        for _ in 0..steps {
            self.step();
        }
    }

    /// Steps until the device has no work, at most 10,000 times.
    ///
    /// # Panics
    /// If it still has work then.
    pub fn run_until_idle(&mut self) {
        assert!((0..IDLE_STEPS_MAX).any(|_| !self.step().worked), "the device never becomes idle");
    }

    /// Advances time without a step.
    pub fn wait(&mut self, delta: Nanoseconds) {
        self.now = self.now.plus(delta);
    }

    /// Advances time to `time`, unless that is past.
    pub fn wait_until(&mut self, time: Nanoseconds) {
        self.now = self.now.max(time);
    }

    /// Returns the vectors that were signalled since the last call.
    pub fn take_vectors(&mut self) -> Vec<u16> {
        let vector = |effect: Effect| match effect {
            Effect::Message { vector } => Some(vector),
            Effect::Pin { .. } | Effect::EventReported(_) => None,
        };
        std::mem::take(&mut self.effects).into_iter().filter_map(vector).collect()
    }

    /// Arms a power cut at a step, a command, or by chance; what is volatile is then resolved as `cut` says.
    pub fn arm_power_cut(&mut self, arming: Arming, cut: &Cut) {
        self.subsystem.crash_arm(arming, cut.clone());
    }

    /// Cuts power, unless it was lost before. Reports what was not durable, and its fate.
    pub fn cut_power(&mut self, cut: &Cut) -> PowerReport {
        self.subsystem.power_cut(cut)
    }

    /// Restores power, with an optional crash point among the steps of recovery. Guest memory keeps its contents; the host has to bring the
    /// controller up again.
    ///
    /// # Errors
    /// The report of a power loss during recovery.
    ///
    /// # Panics
    /// If power is on, or the drive fails to recover for another reason than a power loss.
    pub fn restore_power(&mut self, arming: Option<Arming>) -> Result<(), PowerReport> {
        let restored = self.subsystem.power_restore(arming);
        assert_eq!(restored.is_ok(), self.subsystem.power_is_on(), "{restored:?}");
        restored.map(drop).map_err(|why| self.subsystem.crash().cloned().expect(&why))
    }

    /// Whether power is lost.
    #[must_use]
    pub fn power_lost(&self) -> bool {
        !self.subsystem.power_is_on()
    }
}

impl Machine {
    /// A host that has brought the controller up, with admin queues of 32 entries and an I/O queue pair of 64 on vector 1.
    ///
    /// # Errors
    /// The controller does not come up with these options.
    pub fn host(self) -> Result<Host<Self>, MachineError> {
        let setup = Setup::new(self.memory.first_range());
        let mut host = Host::enable(self, setup)?;
        host.create_queue_pair(1, 64, Some(1))?;
        Ok(host)
    }
}

/// Registers and memory as a host accesses them. While a host waits, the device steps; if nothing is due before some time, time advances
/// to it. Without power nothing happens any more.
impl<M: GuestMemory> Port for Machine<M> {
    fn register_read(&mut self, offset: u64, into: &mut [u8]) {
        self.subsystem.bar_read(ControllerId::FIRST, offset, into);
    }

    fn register_write(&mut self, offset: u64, from: &[u8]) {
        match (&self.page, <[u8; 4]>::try_from(from)) {
            // A guest with the page mapped stores to it, and nobody is told.
            (Some(page), Ok(value)) if (bar::DOORBELLS_OFFSET..bar::MSIX_TABLE_OFFSET).contains(&offset) => {
                let index = usize::try_from((offset - bar::DOORBELLS_OFFSET) / 4).expect("a page has 1024 doorbells");
                page.store(index, u32::from_le_bytes(value));
            }
            _ => self.subsystem.bar_write(ControllerId::FIRST, offset, from),
        }
    }

    fn memory_read(&self, address: u64, into: &mut [u8]) {
        self.memory.read(address, into).expect("the host stays in the memory that it was given");
    }

    fn memory_write(&mut self, address: u64, from: &[u8]) {
        self.memory.write(address, from).expect("the host stays in the memory that it was given");
    }

    fn relax(&mut self) -> bool {
        if let Some(due) = self.step().next_event {
            self.wait_until(due);
        }
        !self.power_lost()
    }
}
