//! A port to a daemon over its real socket, without a guest and without QEMU: rust-vmm's vfio-user client, which is not ours, and a
//! memory file as guest memory. A daemon that dies leaves a port whose registers read as all ones and whose waits give up.

use std::path::Path;
use std::time::Duration;

use nvme_host::{Host, HostError, Port, Setup};
use nvme_spec::register;
use vfio::client::Client;

/// Guest memory: 32 MiB from 1 MiB on.
const MEMORY: std::ops::Range<u64> = 0x10_0000..0x210_0000;
/// How many waits pass between two looks at whether the daemon lives.
const WAITS_PER_LOOK: u32 = 64;
/// How long one wait is.
const WAIT: Duration = Duration::from_micros(50);

/// See the file's text.
pub struct SocketPort {
    client: Client,
    waits: u32,
}

impl SocketPort {
    /// Connects to a daemon's socket and shares guest memory with it.
    ///
    /// # Errors
    /// In words: the daemon is not there, or does not agree.
    pub fn connect(socket: &Path) -> Result<Self, String> {
        let client = Client::connect(socket, MEMORY).map_err(|error| error.to_string())?;
        Ok(Self { client, waits: 0 })
    }

    /// A host with one I/O queue pair of `entries` entries, over a new connection.
    ///
    /// # Errors
    /// In words: no connection, or the controller does not come up.
    pub fn host(socket: &Path, entries: u32) -> Result<Host<Self>, String> {
        let port = Self::connect(socket)?;
        // Waits are short here, and a disk of the host's may take seconds.
        let setup = Setup { relax_max: 1_000_000, ..Setup::new(MEMORY) };
        let words = |error: HostError| format!("{error:?}");
        let mut host = Host::enable(port, setup).map_err(words)?;
        host.create_queue_pair(1, entries, None).map_err(words)?;
        Ok(host)
    }
}

impl Port for SocketPort {
    fn register_read(&mut self, offset: u64, into: &mut [u8]) {
        self.client.register_read(offset, into);
    }

    fn register_write(&mut self, offset: u64, from: &[u8]) {
        self.client.register_write(offset, from);
    }

    fn memory_read(&self, address: u64, into: &mut [u8]) {
        self.client.memory_read(address, into);
    }

    fn memory_write(&mut self, address: u64, from: &[u8]) {
        self.client.memory_write(address, from);
    }

    fn relax(&mut self) -> bool {
        self.waits += 1;
        if self.waits.is_multiple_of(WAITS_PER_LOOK) {
            self.register_read_32(register::CSTS);
        }
        if self.waits.is_multiple_of(2) {
            std::thread::park_timeout(WAIT);
        } else {
            std::thread::yield_now();
        }
        self.client.is_alive()
    }
}
