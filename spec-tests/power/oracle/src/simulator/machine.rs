//! A controller, flat guest memory and time, joined so that a host can drive them. Owns no opinion about what is legal.

use std::cell::RefCell;

use controller::config::{Config, ConfigError, DeviceOptions, NamespaceOptions};
use controller::dma::{DmaFault, GuestMemory};
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

/// Flat memory.
struct Memory(RefCell<Vec<u8>>);

impl Memory {
    fn with<T>(&self, address: u64, length: usize, work: impl FnOnce(&mut [u8]) -> T) -> Result<T, DmaFault> {
        let fault = DmaFault { address };
        let start = usize::try_from(address).map_err(|_| fault)?;
        let end = start.checked_add(length).ok_or(fault)?;
        self.0.borrow_mut().get_mut(start..end).map(work).ok_or(fault)
    }
}

impl GuestMemory for Memory {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        self.with(address, into.len(), |bytes| into.copy_from_slice(bytes))
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), DmaFault> {
        self.with(address, from.len(), |bytes| bytes.copy_from_slice(from))
    }

    fn load_u32(&self, address: u64) -> Result<u32, DmaFault> {
        let mut bytes = [0; 4];
        self.read(address, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn store_u32(&self, address: u64, value: u32) -> Result<(), DmaFault> {
        self.write(address, &value.to_le_bytes())
    }

    fn store_u64(&self, address: u64, value: u64) -> Result<(), DmaFault> {
        self.write(address, &value.to_le_bytes())
    }

    fn is_mapped(&self, address: u64, length: u64) -> bool {
        address.checked_add(length).is_some_and(|end| end <= MEMORY.end)
    }

    fn generation(&self) -> u64 {
        1
    }
}

/// A controller that was just given power, its guest's memory, and time.
pub struct Machine {
    controller: Controller,
    memory: Memory,
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
        let memory = Memory(RefCell::new(vec![0; usize::try_from(MEMORY.end).unwrap_or(usize::MAX)]));
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
    fn register_read_32(&mut self, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        self.controller.bar_read(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn register_read_64(&mut self, offset: u64) -> u64 {
        let mut bytes = [0; 8];
        self.controller.bar_read(offset, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn register_write_32(&mut self, offset: u64, value: u32) {
        self.controller.bar_write(offset, &value.to_le_bytes());
    }

    fn register_write_64(&mut self, offset: u64, value: u64) {
        self.controller.bar_write(offset, &value.to_le_bytes());
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
