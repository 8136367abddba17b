//! A host with many queue pairs over a device in this thread: commands of a batch are spread over pairs and namespaces.

use anyhow::{Context as _, Result, anyhow, ensure};
use controller::dma::GuestMemory as _;
use media::power::Random;
use media::ssd::Ssd;
use media::store::Store;
use nvme_host::Host;
use nvme_host::io::block_command;
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{COMMAND_BYTES, COMPLETION_BYTES, Completion, Status};
use std::time::Duration;
use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::clock;
use crate::drive::{Device, GUEST_BYTES};
use crate::flat_memory::{FlatPage, HugeMemory, guest_memory};
use crate::ring::QUEUE;

/// Entries of both queues of a pair.
const ENTRIES: u16 = 256;
/// Bytes of a command's data.
const BYTES: u64 = 4096;
/// This many buffers are used in turn.
const BUFFERS: u64 = 64;

/// Where the host stands in a queue pair.
#[derive(Clone, Debug)]
struct Lane {
    id: u16,
    submission: u64,
    completion: u64,
    tail: u16,
    head: u16,
    phase: bool,
}

/// A device with its host.
pub struct Lanes {
    host: Host<Device<HugeMemory, FlatPage>>,
    lanes: Vec<Lane>,
    namespaces: u64,
    /// Places for commands in each namespace.
    places: u64,
    blocks: u32,
    buffers: u64,
    random: Random,
}

impl Lanes {
    /// A host with this many pairs over a drive, whose commands go to the first `extent` bytes of each namespace. The drive has so many
    /// controllers; one of them has a host.
    ///
    /// # Errors
    /// The device does not come up.
    pub fn new<S: Store + 'static>(drive: Ssd<S>, controllers: u16, pairs: u16, extent: u64) -> Result<Self> {
        let words = |error| anyhow!("{error}");
        let mut host = Device::with_controllers(controllers, drive, guest_memory(GUEST_BYTES)?, FlatPage::default())?;
        host.delete_queue_pair(QUEUE).map_err(words)?;
        let mut lanes = Vec::new();
        for id in 1..=pairs {
            host.create_queue_pair(id, ENTRIES.into(), Some(1)).map_err(words)?;
            let submission = host.submission_queue(id).context("the queue was created")?.base;
            let completion = host.completion_queue(id).context("the queue was created")?.base;
            lanes.push(Lane { id, submission, completion, tail: 0, head: 0, phase: true });
        }
        let namespaces = host.active_namespaces(0).map_err(words)?.len() as u64;
        let block_bytes = host.block_bytes(1).map_err(words)? as u64;
        let buffers = host.allocate(usize::try_from(BUFFERS * BYTES)?).map_err(words)?;
        let (places, blocks) = (extent / BYTES, u32::try_from(BYTES / block_bytes)?);
        Ok(Self { host, lanes, namespaces, places, blocks, buffers, random: Random::new(1) })
    }

    /// Writes every place once.
    ///
    /// # Errors
    /// A command fails.
    pub fn fill(&mut self) -> Result<()> {
        for namespace in 0..self.namespaces {
            for place in 0..self.places {
                let nsid = u32::try_from(namespace + 1)?;
                self.put(0, NvmOpcode::WRITE, nsid, place, 0)?;
                self.run(1)?;
            }
        }
        Ok(())
    }

    /// Executes commands at random places in batches of `depth`, spread over all pairs; what the device's half took for a command, in
    /// the best of the batches' tenths.
    ///
    /// # Errors
    /// A command fails.
    pub fn measure(&mut self, opcode: NvmOpcode, depth: u64, commands: u64) -> Result<f64> {
        let mut times = Vec::new();
        for _ in 0..commands.div_ceil(depth) {
            for number in 0..depth {
                let lane = usize::try_from(number)? % self.lanes.len();
                let nsid = u32::try_from(self.random.below(self.namespaces) + 1)?;
                let place = self.random.below(self.places);
                self.put(lane, opcode, nsid, place, number % BUFFERS)?;
            }
            times.push(self.run(depth)?);
        }
        // Batches that were held up by others say nothing of us.
        times.sort_unstable();
        let quick = &times[..times.len().div_ceil(2)];
        Ok(quick.iter().sum::<Duration>().as_secs_f64() * 1e9 / (quick.len() as f64 * depth as f64))
    }

    fn put(&mut self, lane: usize, opcode: NvmOpcode, nsid: u32, place: u64, buffer: u64) -> Result<()> {
        let lane = &mut self.lanes[lane];
        let mut command = block_command(opcode, nsid, place * u64::from(self.blocks), self.blocks);
        command.cid = lane.tail.into();
        command.prp1 = (self.buffers + buffer * BYTES).into();
        let slot = lane.submission + u64::from(lane.tail) * COMMAND_BYTES as u64;
        self.host.port().memory().write(slot, command.as_bytes()).map_err(|_| anyhow!("the queue is there"))?;
        lane.tail = (lane.tail + 1) % ENTRIES;
        Ok(())
    }

    /// Rings, lets the device work until all answers are there, and takes them; how long the device worked.
    fn run(&mut self, commands: u64) -> Result<Duration> {
        let device = self.host.port_mut();
        for lane in &self.lanes {
            device.tell(lane.id, lane.tail, lane.head);
        }
        let mut taken = Duration::ZERO;
        let mut answered = 0;
        while answered < commands {
            let begun = clock::now();
            device.device_half();
            device.idle_half();
            taken += begun.elapsed();
            device.drop_effects();
            let before = answered;
            for lane in &mut self.lanes {
                while let Some(completion) = lane.answer(device.memory())? {
                    ensure!(completion.status() == Status::SUCCESS, "the device answered {:?}", completion.status());
                    answered += 1;
                }
            }
            ensure!(answered > before, "the device works and answers nothing");
        }
        Ok(taken)
    }
}

impl Lane {
    fn answer(&mut self, memory: &HugeMemory) -> Result<Option<Completion>> {
        let mut bytes = [0; COMPLETION_BYTES];
        let slot = self.completion + u64::from(self.head) * COMPLETION_BYTES as u64;
        memory.read(slot, &mut bytes).map_err(|_| anyhow!("the queue is there"))?;
        let completion = Completion::read_from_bytes(&bytes).map_err(|_| anyhow!("an answer has 16 bytes"))?;
        if completion.phase() != self.phase {
            return Ok(None);
        }
        self.head = (self.head + 1) % ENTRIES;
        self.phase ^= self.head == 0;
        Ok(Some(completion))
    }
}
