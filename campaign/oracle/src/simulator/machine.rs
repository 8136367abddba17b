//! A controller, flat guest memory and time, joined so that a host can drive them. Owns no opinion about what is legal.

use controller::config::{Config, ConfigError, DeviceOptions, NamespaceOptions};
use controller::dma::{FlatMemory, GuestMemory};
use controller::power::PowerReport;
use controller::{Controller, InterruptMode};
use media::Nanoseconds;
use media::power::{Arming, Cut};
use nvme_host::Port;

use super::drive::SharedDrive;

/// Guest memory begins here and is so long.
pub const MEMORY: std::ops::Range<u64> = 0..8 << 20;
/// How far time moves in a step.
const STEP: u64 = 1_000;

/// A controller that was just given power, its guest's memory, and time.
pub struct Machine {
    controller: Controller,
    memory: FlatMemory,
    now: u64,
}

impl Machine {
    /// Gives power to a controller over a drive that has it.
    ///
    /// # Errors
    /// What of the options cannot be.
    pub fn new(
        drive: &SharedDrive,
        device: &DeviceOptions,
        namespaces: &[NamespaceOptions],
    ) -> Result<Self, ConfigError> {
        let config = Config::check(device, namespaces)?;
        let memory = FlatMemory::new(vec![0; usize::try_from(MEMORY.end).unwrap_or(usize::MAX)]);
        let mut controller = Controller::new(config, Box::new(drive.clone()));
        controller.set_bus_master(true);
        controller.set_interrupt_mode(InterruptMode::MsiX);
        Ok(Self { controller, memory, now: 0 })
    }

    /// Lets power go at a step.
    pub fn arm(&mut self, arming: Arming, cut: &Cut) {
        self.controller.crash_arm(arming, cut.clone());
    }

    /// Cuts power, if it did not go before; says what was lost.
    pub fn cut(&mut self, cut: &Cut) -> PowerReport {
        self.controller.power_cut(cut)
    }

    /// Brings power back; says what was lost if it did not stay. Guest memory holds what it held.
    ///
    /// # Errors
    /// The report of the loss on the way.
    pub fn restore(&mut self, arming: Option<Arming>) -> Result<(), PowerReport> {
        let restored = self.controller.power_restore(arming);
        assert_eq!(restored.is_ok(), self.controller.power_is_on(), "{restored:?}");
        restored.map(|_| ()).map_err(|_| self.controller.crash().cloned().expect("a loss of power has its report"))
    }

    /// Whether power is lost.
    #[must_use]
    pub fn lost(&self) -> bool {
        !self.controller.power_is_on()
    }

    /// One step of the device; returns when the next is due if nothing is rung, and if anything is.
    pub fn step(&mut self) -> Option<Nanoseconds> {
        self.now += STEP;
        let progress = self.controller.step(Nanoseconds(self.now), &self.memory, None);
        self.controller.take_effects().for_each(drop);
        progress.next_event
    }

    /// Time passes without a step.
    pub fn wait(&mut self, nanoseconds: u64) {
        self.now += nanoseconds;
    }

    /// Moves time to a moment that is not past.
    pub fn wait_until(&mut self, time: Nanoseconds) {
        self.now = self.now.max(time.0);
    }
}

impl Port for Machine {
    fn register_read(&mut self, offset: u64, into: &mut [u8]) {
        self.controller.bar_read(offset, into);
    }

    fn register_write(&mut self, offset: u64, from: &[u8]) {
        self.controller.bar_write(offset, from);
    }

    fn memory_read(&self, address: u64, into: &mut [u8]) {
        self.memory.read(address, into).expect("the host stays in the memory it was given");
    }

    fn memory_write(&mut self, address: u64, from: &[u8]) {
        self.memory.write(address, from).expect("the host stays in the memory it was given");
    }

    /// Without power nothing moves any more, and the host need not wait.
    fn relax(&mut self) -> bool {
        if let Some(due) = self.step() {
            self.wait_until(due);
        }
        !self.lost()
    }
}
