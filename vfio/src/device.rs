//! The device behind the server: a controller of a subsystem, or in a test a toy.

pub use controller::InterruptMode;
use controller::{Controller, ControllerId, Subsystem};

/// A PCI function behind BAR0, as a value. Every call returns at once: the client's virtual processor, and with QEMU the whole
/// virtual machine, stands still until it does.
pub trait Device {
    /// Reads BAR0: registers at 0..1000h, doorbells at 1000h..2000h. Any offset below 2000h and any length up to its end may be
    /// asked for, aligned or not.
    fn bar_read(&mut self, offset: u64, into: &mut [u8]);

    /// Writes BAR0, with the same freedom.
    fn bar_write(&mut self, offset: u64, from: &[u8]);

    /// Back to the registers of power-on: the host asked for a reset (of the device, or of the function by its PCI Express
    /// capability), or the client is gone.
    fn reset(&mut self);

    /// The same because a host asks for it. A device that is to be faulty need not heed it.
    fn reset_by_host(&mut self) {
        self.reset();
    }

    /// Whether the host lets the device reach memory (PCI command register, bit 2).
    fn set_bus_master(&mut self, enabled: bool);

    /// Which kind of interrupt the host wants.
    fn set_interrupt_mode(&mut self, mode: InterruptMode);

    /// The host has unmasked all MSI-X vectors together: messages that were sent before may never have reached it.
    fn send_messages_again(&mut self);
}

/// A controller of a subsystem, as a PCI function.
pub struct Function<'a> {
    /// Whose controller it is.
    pub subsystem: &'a mut Subsystem,
    /// Which.
    pub id: ControllerId,
}

impl Function<'_> {
    fn own(&mut self) -> &mut Controller {
        self.subsystem.controller_mut(self.id)
    }
}

impl Device for Function<'_> {
    fn bar_read(&mut self, offset: u64, into: &mut [u8]) {
        self.subsystem.bar_read(self.id, offset, into);
    }

    fn bar_write(&mut self, offset: u64, from: &[u8]) {
        self.subsystem.bar_write(self.id, offset, from);
    }

    fn reset(&mut self) {
        self.own().reset_function();
    }

    fn reset_by_host(&mut self) {
        self.own().reset_by_host();
    }

    fn set_bus_master(&mut self, enabled: bool) {
        self.own().set_bus_master(enabled);
    }

    fn set_interrupt_mode(&mut self, mode: InterruptMode) {
        self.own().set_interrupt_mode(mode);
    }

    fn send_messages_again(&mut self) {
        self.own().send_messages_again();
    }
}
