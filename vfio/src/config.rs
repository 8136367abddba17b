//! The configuration of a server: the function that it presents. Owns no state.

use guest_memory::GuestFiles;

/// How doorbells reach the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Doorbells {
    /// Each is a message; QEMU does not wait for a reply.
    #[default]
    Trapped,
    /// The guest stores into a page that the device has to look at. (They may come as messages all the same: QEMU gives the mapping
    /// up when the interrupt pin is used.)
    Mapped,
}

/// What the PCI function is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// PCI vendor.
    pub vendor_id: u16,
    /// PCI device.
    pub device_id: u16,
    /// PCI subsystem vendor.
    pub subsystem_vendor_id: u16,
    /// PCI subsystem.
    pub subsystem_id: u16,
    /// PCI revision.
    pub revision: u8,
    /// PCI class, subclass and programming interface: 010802h for NVMe.
    pub class: u32,
    /// MSI-X vectors, at most 256; 0 leaves only the pin.
    pub vectors: u16,
    /// How doorbells arrive.
    pub doorbells: Doorbells,
    /// What a guest's memory may lie in.
    pub guest_files: GuestFiles,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            vendor_id: 0x1af4,
            device_id: 0x10f0,
            subsystem_vendor_id: 0x1af4,
            subsystem_id: 0x1100,
            revision: 1,
            class: 0x01_0802,
            vectors: 65,
            doorbells: Doorbells::Trapped,
            guest_files: GuestFiles::Memory,
        }
    }
}
