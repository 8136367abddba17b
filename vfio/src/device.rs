//! What the server serves. The controller implements it; a test may bring a toy.

/// Which way a device tells the host that it has news, as the MSI-X capability's enable bit says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InterruptMode {
    /// The level-triggered interrupt pin.
    #[default]
    Pin,
    /// Messages, one event descriptor for each vector.
    MsiX,
}

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

    /// Whether the host lets the device reach memory (PCI command register, bit 2).
    fn set_bus_master(&mut self, enabled: bool);

    /// Which kind of interrupt the host wants.
    fn set_interrupt_mode(&mut self, mode: InterruptMode);

    /// Whether the pin ought to be asserted now. Asked after every access and reset.
    fn pin_asserted(&self) -> bool;
}
