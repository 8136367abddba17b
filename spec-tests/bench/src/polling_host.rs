//! A host that does as little as a host can for each command: entries are prepared, the completion's phase is polled, doorbells are
//! stores. Nothing here is in the way of measuring the device, and nothing is left out that a driver must do.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use hdrhistogram::Histogram;
use nvme_host::doorbell::Doorbell;
use nvme_host::io::block_command;
use nvme_host::{Host, Piece, Port as _};
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{COMMAND_BYTES, COMPLETION_BYTES, Command, Completion};
use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::clock;
use crate::mapped_port::MappedPort;
use media::power::Random;

/// The first queue pair, and the namespace whose blocks are like those of all.
const QUEUE: u16 = 1;
const NAMESPACE: u32 = 1;
/// Entries of both queues, unless more are asked for: twice the deepest use.
const ENTRIES: u16 = 256;
/// How many empty looks pass between two looks at the clock.
const LOOKS_PER_CLOCK: u32 = 1 << 16;
/// What a table of ratios has written, byte for byte: some processors have a shorter way for zeroes.
const PATTERN: u8 = 0xa5;
/// A device that does not answer for so long is stuck.
const PATIENCE: Duration = Duration::from_secs(5);
/// The words of an entry that change with each command: opcode and identifier, and the first block.
const OPCODE_WORD: usize = 0;
const LBA_WORD: usize = 5;

/// How the data of a command is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Description {
    /// Pages, with a list where they are more than two.
    Prp,
    /// One data block.
    Sgl,
}

/// Which blocks commands name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Any.
    Random,
    /// One behind the other.
    Sequential,
}

/// Among what commands are spread evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Queue pairs.
    pub pairs: u16,
    /// The first namespace.
    pub first: u32,
    /// How many of them.
    pub namespaces: u32,
}

impl Spread {
    /// One queue pair, and the first namespace.
    pub const ONE: Self = Self { pairs: 1, first: NAMESPACE, namespaces: 1 };
}

/// What is asked of the device.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Reads in a hundred commands.
    pub read_percent: u32,
    /// Which blocks.
    pub order: Order,
    /// Blocks of a command.
    pub blocks: u32,
    /// How data is described.
    pub description: Description,
    /// Commands under way, in all queue pairs together.
    pub depth: u16,
    /// Where they go.
    pub spread: Spread,
}

/// What a load came to.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Commands that were answered within the time.
    pub commands: u64,
    /// The time.
    pub elapsed: Duration,
    /// Nanoseconds from an entry to its answer, as the host sees both.
    pub latency: Histogram<u64>,
}

impl Measured {
    /// Commands a second.
    pub fn rate(&self) -> f64 {
        self.commands as f64 / self.elapsed.as_secs_f64()
    }
}

/// Queue pairs of a host and the commands that go through them.
pub struct PollingHost {
    host: Host<MappedPort>,
    block_bytes: u32,
    /// Of each namespace.
    capacity_blocks: u64,
    namespaces: u32,
    entries: u16,
    writes_pattern: bool,
    lanes: Vec<Lane>,
    random: Random,
}

/// Where the rings of a queue pair stand; they go on from one load to the next.
#[derive(Clone, Copy, Debug)]
struct Lane {
    entries: u16,
    tail: u16,
    head: u16,
    phase: u64,
}

/// The rings as the loop uses them.
struct Rings<'a> {
    entries: Vec<[&'a AtomicU64; COMMAND_BYTES / 8]>,
    /// The second half of each answer: head, queue, identifier, status and phase.
    answers: Vec<&'a AtomicU64>,
    tail: &'a AtomicU32,
    head: &'a AtomicU32,
}

impl PollingHost {
    /// A host with a queue pair over a controller that is enabled.
    ///
    /// # Errors
    /// The controller refuses.
    pub fn new(host: Host<MappedPort>) -> Result<Self> {
        Self::with_queues(host, ENTRIES, false)
    }

    /// The same with queues of so many entries, whose writes do or do not carry something other than zeroes.
    ///
    /// # Errors
    /// The controller refuses, or its namespaces are not alike.
    pub fn with_queues(mut host: Host<MappedPort>, entries: u16, writes_pattern: bool) -> Result<Self> {
        let words = |error| anyhow!("{error}");
        let active = host.active_namespaces(0).map_err(words)?;
        let capacity_blocks = host.identify_namespace(NAMESPACE).map_err(words)?.nsze.get();
        let block_bytes = u32::try_from(host.block_bytes(NAMESPACE).map_err(words)?)?;
        for &nsid in &active {
            let namespace = host.identify_namespace(nsid).map_err(words)?;
            ensure!(namespace.nsze.get() == capacity_blocks, "namespace {nsid} is not like the first");
        }
        let namespaces = u32::try_from(active.len())?;
        let (lanes, random) = (Vec::new(), Random::new(1));
        let mut host = Self { host, block_bytes, capacity_blocks, namespaces, entries, writes_pattern, lanes, random };
        host.have_pairs(1)?;
        Ok(host)
    }

    /// Makes and deletes queue pairs, so that there are as many: an idle one costs the device something too.
    fn have_pairs(&mut self, pairs: u16) -> Result<()> {
        let words = |error| anyhow!("queue pair: {error}");
        while self.lanes.len() < pairs.into() {
            let id = QUEUE + u16::try_from(self.lanes.len())?;
            self.host.create_queue_pair(id, self.entries.into(), None).map_err(words)?;
            self.lanes.push(Lane { entries: self.entries, tail: 0, head: 0, phase: 1 });
        }
        while self.lanes.len() > pairs.into() {
            self.lanes.pop();
            self.host.delete_queue_pair(QUEUE + u16::try_from(self.lanes.len())?).map_err(words)?;
        }
        Ok(())
    }

    /// Bytes of a block.
    pub fn block_bytes(&self) -> u32 {
        self.block_bytes
    }

    /// Bytes of all namespaces.
    pub fn bytes(&self) -> u64 {
        self.capacity_blocks * u64::from(self.block_bytes) * u64::from(self.namespaces)
    }

    /// Writes every block once.
    ///
    /// # Errors
    /// The device fails a command, or does not answer.
    pub fn fill(&mut self) -> Result<()> {
        let blocks = (128 << 10) / self.block_bytes;
        let commands = self.capacity_blocks.div_ceil(blocks.into());
        let order = Order::Sequential;
        (1..=self.namespaces).try_for_each(|first| {
            let spread = Spread { first, ..Spread::ONE };
            let load = Load { read_percent: 0, order, blocks, description: Description::Prp, depth: 32, spread };
            self.run(&load, |measured| measured.commands >= commands).map(drop)
        })
    }

    /// Keeps the device under a load until so many commands were answered.
    ///
    /// # Errors
    /// The device fails a command, or does not answer.
    pub fn run_commands(&mut self, load: &Load, commands: u64) -> Result<()> {
        self.run(load, |measured| measured.commands >= commands).map(drop)
    }

    /// Keeps the device under a load for a time. `look` is called after the first answers and after the last of that time: at both
    /// moments, and all the time between them, commands are outstanding.
    ///
    /// # Errors
    /// The device fails a command, or does not answer.
    pub fn run_for(&mut self, load: &Load, time: Duration, mut look: impl FnMut()) -> Result<Measured> {
        let mut begun = false;
        self.run(load, |measured| {
            let over = measured.elapsed >= time;
            if over || !begun {
                look();
                begun = true;
            }
            over
        })
    }

    /// Keeps the device under a load until `over`, which is asked whenever answers have come, says that it is; with what was measured up to
    /// then, of which it may take something away.
    ///
    /// # Errors
    /// The device fails a command, or does not answer; or there is no such load.
    pub fn run(&mut self, load: &Load, over: impl FnMut(&mut Measured) -> bool) -> Result<Measured> {
        let pairs = load.spread.pairs;
        ensure!(pairs > 0 && load.depth.is_multiple_of(pairs), "{} commands on {pairs} queue pairs", load.depth);
        ensure!(load.depth / pairs < self.entries, "{} commands do not fit {} entries", load.depth, self.entries);
        self.have_pairs(pairs)?;
        let prepared = self.prepare(load)?;
        let rings = (QUEUE..QUEUE + pairs).map(|queue| self.rings(queue)).collect::<Result<Vec<_>>>()?;
        let mut turn = Turn {
            load,
            templates: prepared.commands.iter().map(words).collect(),
            submitted: vec![Duration::ZERO; prepared.commands.len()],
            places: self.capacity_blocks / u64::from(load.blocks),
            next: 0,
            random: self.random.clone(),
            lanes: self.lanes.clone(),
        };
        let measured = turn.run(&rings, over);
        (self.random, self.lanes) = (turn.random, turn.lanes);
        prepared.release(&mut self.host);
        measured
    }

    /// A command for each identifier, with its buffer.
    fn prepare(&mut self, load: &Load) -> Result<Prepared> {
        let bytes = load.blocks as usize * self.block_bytes as usize;
        let mut prepared = Prepared::default();
        let host = &mut self.host;
        let words = |error| anyhow!("guest memory: {error}");
        for cid in 0..load.depth {
            let buffer = host.allocate(bytes).map_err(words)?;
            prepared.buffers.push(buffer);
            if self.writes_pattern {
                host.port_mut().memory_write(buffer, &vec![PATTERN; bytes]);
            }
            // Spread over the namespaces among the commands of each queue pair.
            let nsid = load.spread.first + u32::from(cid / load.spread.pairs) % load.spread.namespaces;
            let mut command = block_command(NvmOpcode::READ, nsid, 0, load.blocks);
            command.cid = cid.into();
            prepared.commands.push(match load.description {
                Description::Prp => {
                    let mapping = host.map(buffer, bytes).map_err(words)?;
                    let command = mapping.on(command);
                    prepared.mappings.push(mapping);
                    command
                }
                Description::Sgl => {
                    let piece = Piece { address: buffer, length: u32::try_from(bytes)? };
                    host.map_sgl(&[piece], 1).map_err(words)?.on(command)
                }
            });
        }
        Ok(prepared)
    }

    fn rings(&self, queue: u16) -> Result<Rings<'_>> {
        let port = self.host.port();
        let stride = self.host.capabilities().doorbell_stride();
        let (Some(submission), Some(completion)) =
            (self.host.submission_queue(queue), self.host.completion_queue(queue))
        else {
            bail!("the queue pair was created");
        };
        let entry = |index: u16| std::array::from_fn(|word| port.number_64(submission.slot(index) + 8 * word as u64));
        let answer = |index: u16| port.number_64(completion.base + u64::from(index) * COMPLETION_BYTES as u64 + 8);
        Ok(Rings {
            entries: (0..self.entries).map(entry).collect(),
            answers: (0..self.entries).map(answer).collect(),
            tail: port.doorbell(Doorbell::SubmissionTail(queue).register(stride))?,
            head: port.doorbell(Doorbell::CompletionHead(queue).register(stride))?,
        })
    }
}

#[derive(Default)]
struct Prepared {
    commands: Vec<Command>,
    buffers: Vec<u64>,
    mappings: Vec<nvme_host::Mapping>,
}

impl Prepared {
    fn release(self, host: &mut Host<MappedPort>) {
        self.mappings.into_iter().for_each(|mapping| host.unmap(mapping));
        self.buffers.into_iter().for_each(|buffer| host.release(buffer));
    }
}

fn words(command: &Command) -> [u64; COMMAND_BYTES / 8] {
    let (chunks, _) = command.as_bytes().as_chunks::<8>();
    std::array::from_fn(|word| u64::from_le_bytes(chunks[word]))
}

/// A load under way.
struct Turn<'a> {
    load: &'a Load,
    templates: Vec<[u64; COMMAND_BYTES / 8]>,
    /// When each command was submitted, since the beginning.
    submitted: Vec<Duration>,
    /// How many places the drive has for commands of this length.
    places: u64,
    next: u64,
    random: Random,
    lanes: Vec<Lane>,
}

impl Turn<'_> {
    fn run(&mut self, rings: &[Rings<'_>], mut over: impl FnMut(&mut Measured) -> bool) -> Result<Measured> {
        let mut measured =
            Measured { commands: 0, elapsed: Duration::ZERO, latency: Histogram::new_with_max(10_000_000_000, 3)? };
        let begun = clock::now();
        let mut under_way = self.load.depth;
        let pairs = self.load.spread.pairs;
        for cid in 0..under_way {
            let number = usize::from(cid % pairs);
            self.submit(number, &rings[number], cid, Duration::ZERO);
        }
        rings.iter().zip(&self.lanes).for_each(|(rings, lane)| rings.tail.store(lane.tail.into(), Ordering::Release));
        let mut ending = false;
        let mut last_answer = Duration::ZERO;
        let mut looks = 0_u32;
        while under_way > 0 {
            for (number, rings) in rings.iter().enumerate() {
                let Some(first) = self.lanes[number].look(rings) else {
                    looks = looks.wrapping_add(1);
                    if looks.is_multiple_of(LOOKS_PER_CLOCK) && begun.elapsed() > last_answer + PATIENCE {
                        bail!("the device does not answer: {under_way} commands are under way");
                    }
                    continue;
                };
                let now = begun.elapsed();
                last_answer = now;
                let mut answer = Some(first);
                while let Some(found) = answer {
                    let cid = answered(found)?;
                    let taken = now - self.submitted[usize::from(cid)];
                    measured.latency.saturating_record(u64::try_from(taken.as_nanos())?);
                    if ending {
                        under_way -= 1;
                    } else {
                        measured.commands += 1;
                        self.submit(number, rings, cid, now);
                    }
                    answer = self.lanes[number].look(rings);
                }
                rings.head.store(self.lanes[number].head.into(), Ordering::Release);
                if !ending {
                    rings.tail.store(self.lanes[number].tail.into(), Ordering::Release);
                    measured.elapsed = now;
                    ending = over(&mut measured);
                }
            }
        }
        Ok(measured)
    }

    /// A command goes to the queue pair in which its identifier was before.
    fn submit(&mut self, number: usize, rings: &Rings<'_>, cid: u16, now: Duration) {
        let place = match self.load.order {
            Order::Random => self.random.below(self.places),
            Order::Sequential => {
                let place = self.next;
                self.next = if place + 1 == self.places { 0 } else { place + 1 };
                place
            }
        };
        let is_read = self.load.read_percent == 100
            || self.load.read_percent > 0 && self.random.below(100) < u64::from(self.load.read_percent);
        let opcode = if is_read { NvmOpcode::READ } else { NvmOpcode::WRITE };
        let mut entry = self.templates[usize::from(cid)];
        entry[OPCODE_WORD] = entry[OPCODE_WORD] & !0xff | u64::from(opcode.0);
        entry[LBA_WORD] = place * u64::from(self.load.blocks);
        let lane = &mut self.lanes[number];
        let slot = &rings.entries[usize::from(lane.tail)];
        for (to, word) in slot.iter().zip(entry) {
            to.store(word, Ordering::Relaxed);
        }
        lane.tail = if lane.tail + 1 == lane.entries { 0 } else { lane.tail + 1 };
        self.submitted[usize::from(cid)] = now;
    }
}

impl Lane {
    /// The second half of the answer at the head, if it is new; the head moves.
    fn look(&mut self, rings: &Rings<'_>) -> Option<u64> {
        let answer = rings.answers[usize::from(self.head)].load(Ordering::Acquire);
        if answer >> 48 & 1 != self.phase {
            return None;
        }
        self.head = if self.head + 1 == self.entries { 0 } else { self.head + 1 };
        self.phase ^= u64::from(self.head == 0);
        Some(answer)
    }
}

/// The command that an answer is for; an error if it says that the command failed.
fn answered(half: u64) -> Result<u16> {
    let mut bytes = [0; COMPLETION_BYTES];
    bytes[8..].copy_from_slice(&half.to_le_bytes());
    let completion = Completion::read_from_bytes(&bytes).map_err(|_| anyhow!("an answer has 16 bytes"))?;
    ensure!(completion.status().0 == 0, "the device answered {:?}", completion.status());
    Ok(completion.cid.get())
}
