//! A drive that `brownout serve` has at a vfio-user socket, for a replay, and the time of the clock. Completions are looked for, not
//! waited for.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use media::ledger::Ledger;
use nvme_host::{Host, Port, Setup};
use traces::replay::Drive;
use vfio::client::Client;

use crate::clock::Clock;

/// Guest memory: 1 GiB from 1 MiB on, there once it is used.
const MEMORY: std::ops::Range<u64> = 0x10_0000..0x4010_0000;
/// CSTS; a look at it shows whether the drive is there.
const STATUS: u64 = nvme_spec::register::CSTS;
/// Waits between two looks at whether the drive is there.
const WAITS_PER_LOOK: u32 = 1024;
/// How long a wait is, once there was nothing for a while.
const WAIT: Duration = Duration::from_micros(50);
/// How long an answer is waited for.
const PATIENCE_NS: u64 = 60_000_000_000;
/// Waits without a pause: an answer that comes at once is not missed.
const WAITS_AWAKE: u32 = 200;

/// See the file's text.
pub struct Served {
    client: Client,
    waits: u32,
    clock: Clock,
    /// When the drive was told something last.
    told_ns: u64,
    /// Registers read as all ones: the drive has no power, or was pulled out.
    gone: bool,
}

impl Served {
    /// A host over a served drive, up and without I/O queues.
    ///
    /// # Errors
    /// Nobody listens, or the controller does not come up.
    pub fn host(socket: &Path) -> anyhow::Result<Host<Self>> {
        let at = || format!("--socket {}", socket.display());
        let client = Client::connect(socket, MEMORY).with_context(at)?;
        let port = Self { client, waits: 0, clock: Clock::new(), told_ns: 0, gone: false };
        // Waits are short here, and a disk of the host's may take seconds.
        let setup = Setup { relax_max: 1_000_000, ..Setup::new(MEMORY) };
        Host::enable(port, setup).with_context(at)
    }

    /// Whether the drive was found without power. Nothing that it was told will be answered, even if power comes back.
    pub fn is_gone(&self) -> bool {
        self.gone
    }
}

impl Port for Served {
    fn register_read(&mut self, offset: u64, into: &mut [u8]) {
        self.client.register_read(offset, into);
    }

    fn register_write(&mut self, offset: u64, from: &[u8]) {
        (self.waits, self.told_ns) = (0, self.now_ns());
        self.client.register_write(offset, from);
    }

    fn memory_read(&self, address: u64, into: &mut [u8]) {
        self.client.memory_read(address, into);
    }

    fn memory_write(&mut self, address: u64, from: &[u8]) {
        self.client.memory_write(address, from);
    }

    fn relax(&mut self) -> bool {
        self.waits = self.waits.wrapping_add(1);
        if self.waits.is_multiple_of(WAITS_PER_LOOK) {
            self.gone |= self.register_read_32(STATUS) == u32::MAX;
        }
        if self.waits > WAITS_AWAKE {
            thread::park_timeout(WAIT);
        } else {
            thread::yield_now();
        }
        self.client.is_alive() && !self.gone
    }
}

impl Drive for Served {
    fn now_ns(&self) -> u64 {
        self.clock.now().0
    }

    fn run(&mut self, until_ns: Option<u64>) -> bool {
        let left = until_ns.map(|until| Duration::from_nanos(until.saturating_sub(self.now_ns())));
        match left {
            // A completion may come meanwhile, and its time is wanted.
            Some(left) if left < WAIT => {
                thread::yield_now();
                self.client.is_alive()
            }
            Some(_) => self.relax(),
            None => self.relax() && self.now_ns() - self.told_ns < PATIENCE_NS,
        }
    }

    fn programmed(&mut self) -> Option<(Ledger, u32)> {
        None
    }
}
