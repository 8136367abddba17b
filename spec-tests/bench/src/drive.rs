//! The device under the benches: a RAM-backed drive with its translation layer, full of stamped blocks, behind a controller with one
//! queue pair and doorbells in a page.

use anyhow::{Context as _, anyhow};
use controller::config::{Config, DeviceOptions, Doorbells, NamespaceOptions};
use controller::dma::{DoorbellPage, GuestMemory};
use controller::{ControllerId, InterruptMode, Subsystem};
use media::geometry::GeometryConfig;
use media::power::Random;
use media::ssd::{Ssd, SsdConfig, VolumeConfig};
use media::store::MemoryStore;
use media::volume::{Fault, Source};
use media::{Lba, LbaRange, Media, Nanoseconds, Request, Submitted, Token, VolumeId};
use nvme_host::admin::LogArguments;
use nvme_host::{Host, Port, Setup};
use nvme_spec::log::{LogId, OcpSmart, Smart};
use zerocopy::FromBytes;

use crate::ring::{BATCH, QUEUE, Ring, Work, stamp};

/// Guest memory that the host half uses, from address 0 on.
pub const GUEST_BYTES: usize = 64 << 20;
/// Entries of each queue of the pair.
const ENTRIES: u16 = 256;
/// Time that a batch is taken to last, where nobody measures it.
pub const BATCH_TIME: Nanoseconds = Nanoseconds(5_000);

/// A full drive. Small ones have small lines and much spare, so that the log fits a processor's cache and finds empty lines.
///
/// # Errors
/// There can be no such drive.
pub fn drive(user_bytes: u64) -> anyhow::Result<Ssd<MemoryStore>> {
    let small = user_bytes < 1 << 30;
    let (pages_per_block, spare_per_million_of_user) = if small { (4, 500_000) } else { (64, 125_000) };
    let config = SsdConfig {
        geometry: GeometryConfig {
            user_bytes,
            pages_per_block,
            spare_per_million_of_user,
            ..GeometryConfig::default()
        },
        volumes: vec![VolumeConfig::new(512, 0, user_bytes / Work::BLOCK as u64)],
        ..SsdConfig::default()
    };
    let geometry = config.checked().map_err(|error| anyhow!(error.0))?;
    let mut drive = Ssd::create(config, MemoryStore::new(&geometry)?).map_err(|error| anyhow!(error.0))?;
    fill(&mut drive, user_bytes)?;
    Ok(drive)
}

/// Blocks that hold their own numbers.
struct Stamps(u64);

impl Source for Stamps {
    fn fill(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        stamp(self.0 + (offset / Work::BLOCK) as u64, into);
        Ok(())
    }
}

fn fill(drive: &mut Ssd<MemoryStore>, bytes: u64) -> anyhow::Result<()> {
    let blocks = bytes / Work::BLOCK as u64;
    for first in (0..blocks).step_by(128) {
        let range = LbaRange::new(Lba(first), 128.min(blocks - first));
        let request = Request::Write { range, from: &mut Stamps(first), force: false };
        let submitted = drive.submit(Nanoseconds(0), Token(0), VolumeId(0), request);
        anyhow::ensure!(submitted == Submitted::Done(Ok(())), "the drive cannot be filled: {submitted:?}");
    }
    Ok(())
}

/// A controller, guest memory, doorbells, and a host's half that is up.
pub struct Device<M, D> {
    subsystem: Subsystem,
    memory: M,
    page: D,
    /// The host's half.
    pub ring: Ring,
    now: Nanoseconds,
}

impl<M: GuestMemory, D: DoorbellPage> Device<M, D> {
    /// Brings a controller over a drive up, with one queue pair.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start(drive: impl Media + 'static, memory: M, page: D) -> anyhow::Result<Host<Self>> {
        Self::with_controllers(1, drive, memory, page)
    }

    /// The same with so many controllers: the host has the first.
    ///
    /// # Errors
    /// It does not come up.
    pub fn with_controllers(
        controllers: u16,
        drive: impl Media + 'static,
        memory: M,
        page: D,
    ) -> anyhow::Result<Host<Self>> {
        let options = DeviceOptions { doorbells: Doorbells::Mapped, ..DeviceOptions::default() };
        let volumes = (0..).take_while(|&volume| drive.shape(VolumeId(volume)).is_some()).count();
        let config = Config::check(&options, &vec![NamespaceOptions::default(); volumes])?;
        let mut subsystem = Subsystem::with_controllers(config, Box::new(drive), controllers);
        let controller = subsystem.controller_mut(ControllerId::FIRST);
        controller.set_bus_master(true);
        controller.set_interrupt_mode(InterruptMode::MsiX);
        let ring = Ring::new(0, 0, ENTRIES, 0);
        let device = Self { subsystem, memory, page, ring, now: Nanoseconds(0) };
        let mut host = Host::enable(device, Setup::new(4096..GUEST_BYTES as u64))?;
        host.create_queue_pair(QUEUE, ENTRIES.into(), Some(1))?;
        let submission = host.submission_queue(QUEUE).context("the queue was created")?.base;
        let completion = host.completion_queue(QUEUE).context("the queue was created")?.base;
        let buffers = host.allocate(usize::from(BATCH) * 4096)?;
        host.port_mut().ring = Ring::new(submission, completion, ENTRIES, buffers);
        Ok(host)
    }

    /// The host prepares a batch and moves the doorbells.
    pub fn prepare(&mut self, work: &Work, random: &mut Random) {
        self.ring.prepare(&self.memory, work, random);
        self.tell(QUEUE, self.ring.tail, self.ring.head);
    }

    /// Guest memory.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// The host moves the doorbells of a queue pair, and time passes.
    pub fn tell(&mut self, queue: u16, tail: u16, head: u16) {
        self.page.store(usize::from(2 * queue), tail.into());
        self.page.store(usize::from(2 * queue + 1), head.into());
        self.now = self.now.plus(BATCH_TIME);
    }

    /// The device's half of a batch: what is measured. It has a name of its own, by which the instruction counter finds it.
    #[inline(never)]
    pub fn device_half(&mut self) {
        self.subsystem.step(ControllerId::FIRST, self.now, &self.memory, Some(&self.page));
    }

    /// What the device does for controllers that no host has: a step of each, as in the device's loop.
    pub fn idle_half(&mut self) {
        for id in self.subsystem.ids().skip(1) {
            self.subsystem.step(id, self.now, &self.memory, None);
        }
    }

    /// The host takes the answers of a batch.
    pub fn reap(&mut self, work: &Work) {
        self.ring.reap(&self.memory, work);
        self.drop_effects();
    }

    /// Interrupts go nowhere.
    pub fn drop_effects(&mut self) {
        self.subsystem.controller_mut(ControllerId::FIRST).take_effects().for_each(drop);
    }
}

/// What was programmed and what the host wrote.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    programmed: u128,
    accepted: u128,
}

impl Written {
    /// As the drive's logs say it now.
    ///
    /// # Errors
    /// The drive does not answer.
    pub fn now<P: Port>(host: &mut Host<P>) -> anyhow::Result<Self> {
        let ocp = host.get_log(LogId::OCP_SMART, 512, LogArguments::default())?;
        let ocp = OcpSmart::read_from_bytes(&ocp).map_err(|_| anyhow!("a log of another size"))?;
        let smart = host.get_log(LogId::SMART, 512, LogArguments::default())?;
        let smart = Smart::read_from_bytes(&smart).map_err(|_| anyhow!("a log of another size"))?;
        // NVMe Base 2.1 figure 206: thousands of units of 512 bytes.
        let accepted = smart.data_units_written.get() * 512_000;
        Ok(Self { programmed: ocp.physical_bytes_written.get(), accepted })
    }

    /// Bytes programmed for each byte written since.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people to read")]
    pub fn amplification_since(self, before: Self) -> f64 {
        (self.programmed - before.programmed) as f64 / (self.accepted - before.accepted).max(1) as f64
    }
}

impl<M: GuestMemory, D: DoorbellPage> Port for Device<M, D> {
    fn register_read(&mut self, offset: u64, into: &mut [u8]) {
        self.subsystem.bar_read(ControllerId::FIRST, offset, into);
    }

    fn register_write(&mut self, offset: u64, from: &[u8]) {
        self.subsystem.bar_write(ControllerId::FIRST, offset, from);
    }

    fn memory_read(&self, address: u64, into: &mut [u8]) {
        self.memory.read(address, into).expect("the guest's memory is there");
    }

    fn memory_write(&mut self, address: u64, from: &[u8]) {
        self.memory.write(address, from).expect("the guest's memory is there");
    }

    fn relax(&mut self) -> bool {
        self.now = self.now.plus(BATCH_TIME);
        self.device_half();
        self.drop_effects();
        true
    }
}
