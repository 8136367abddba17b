//! The seam between the host and the world. Implemented by a test around a controller in this process, by a vfio-user client, by
//! the vhost front; it must not know queues or commands.

/// What a host needs of the world: registers, memory the device can reach, and a way to let the device run.
///
/// Accesses take effect in program order, as seen by the device: what [`Port::memory_write`] wrote is visible before a later
/// register write is, and a later [`Port::memory_read`] does not see older bytes than an earlier one did.
pub trait Port {
    /// Reads the register at a byte `offset` of BAR0, little-endian: 4 or 8 bytes.
    fn register_read(&mut self, offset: u64, into: &mut [u8]);

    /// Writes the register at a byte `offset` of BAR0, little-endian: 4 or 8 bytes.
    fn register_write(&mut self, offset: u64, from: &[u8]);

    /// Copies from guest memory. The host only passes addresses from the range it was given.
    fn memory_read(&self, address: u64, into: &mut [u8]);

    /// Copies to guest memory. The host only passes addresses from the range it was given.
    fn memory_write(&mut self, address: u64, from: &[u8]);

    /// Lets the device run for a little (in process: one step, time moves on). Returns false when the port has given up: the
    /// peer is gone, or the time a test allows is over.
    fn relax(&mut self) -> bool;

    /// Reads the 32-bit register at a byte `offset` of BAR0.
    fn register_read_32(&mut self, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        self.register_read(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// Reads the 64-bit register at a byte `offset` of BAR0.
    fn register_read_64(&mut self, offset: u64) -> u64 {
        let mut bytes = [0; 8];
        self.register_read(offset, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Writes the 32-bit register at a byte `offset` of BAR0.
    fn register_write_32(&mut self, offset: u64, value: u32) {
        self.register_write(offset, &value.to_le_bytes());
    }

    /// Writes the 64-bit register at a byte `offset` of BAR0.
    fn register_write_64(&mut self, offset: u64, value: u64) {
        self.register_write(offset, &value.to_le_bytes());
    }
}

/// A borrowed port is a port, so that a test keeps its own while a host works over it.
impl<P: Port + ?Sized> Port for &mut P {
    fn register_read(&mut self, offset: u64, into: &mut [u8]) {
        (**self).register_read(offset, into);
    }

    fn register_write(&mut self, offset: u64, from: &[u8]) {
        (**self).register_write(offset, from);
    }

    fn memory_read(&self, address: u64, into: &mut [u8]) {
        (**self).memory_read(address, into);
    }

    fn memory_write(&mut self, address: u64, from: &[u8]) {
        (**self).memory_write(address, from);
    }

    fn relax(&mut self) -> bool {
        (**self).relax()
    }
}
