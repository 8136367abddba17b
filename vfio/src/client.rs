//! The other side: a host of a served device in this process, for replays and tests. rust-vmm's client, which is not ours, speaks the
//! protocol; guest memory is a file that both sides see. A device that is gone has registers that read as all ones.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

/// Of the PCI function, by vfio's numbers.
const BAR0: u32 = 0;
const CONFIGURATION: u32 = 7;
/// The PCI command register: memory space and bus master.
const COMMAND: (u64, [u8; 2]) = (4, [6, 4]);

/// A connection to a served device.
pub struct Client {
    client: vfio_user::Client,
    memory: File,
    range: Range<u64>,
    alive: bool,
}

impl Client {
    /// Connects, shares guest memory at these addresses, which is there once it is used, and enables the function.
    ///
    /// # Errors
    /// Nobody listens, the device does not agree, or there is no memory to share.
    pub fn connect(socket: &Path, range: Range<u64>) -> io::Result<Self> {
        let memory = memfd_create("brownout-guest", MemfdFlags::CLOEXEC)?;
        ftruncate(&memory, range.end - range.start)?;
        let memory = File::from(memory);
        let said = |error: vfio_user::Error| io::Error::other(error.to_string());
        let mut client = vfio_user::Client::new(socket).map_err(said)?;
        client.dma_map(0, range.start, range.end - range.start, memory.as_raw_fd()).map_err(said)?;
        client.region_write(CONFIGURATION, COMMAND.0, &COMMAND.1).map_err(said)?;
        Ok(Self { client, memory, range, alive: true })
    }

    /// Whether every message so far was answered.
    #[must_use]
    pub const fn is_alive(&self) -> bool {
        self.alive
    }

    /// Reads BAR0.
    pub fn register_read(&mut self, offset: u64, into: &mut [u8]) {
        self.alive = self.alive && self.client.region_read(BAR0, offset, into).is_ok();
        if !self.alive {
            into.fill(0xff);
        }
    }

    /// Writes BAR0.
    pub fn register_write(&mut self, offset: u64, from: &[u8]) {
        self.alive = self.alive && self.client.region_write(BAR0, offset, from).is_ok();
    }

    /// Reads guest memory.
    ///
    /// # Panics
    /// If the address is not in the memory that was shared.
    pub fn memory_read(&self, address: u64, into: &mut [u8]) {
        self.memory.read_exact_at(into, self.place(address)).expect("the host stays in the memory that it was given");
    }

    /// Writes guest memory.
    ///
    /// # Panics
    /// If the address is not in the memory that was shared.
    pub fn memory_write(&mut self, address: u64, from: &[u8]) {
        self.memory.write_all_at(from, self.place(address)).expect("the host stays in the memory that it was given");
    }

    fn place(&self, address: u64) -> u64 {
        assert!(self.range.contains(&address), "{address:#x} is no guest memory");
        address - self.range.start
    }
}
