//! A host that does as little as a host can for each command: entries are prepared, the completion's phase is polled, doorbells are
//! stores. Nothing here is in the way of measuring the device, and nothing is left out that a driver must do.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use hdrhistogram::Histogram;
use nvme_host::doorbell::Doorbell;
use nvme_host::io::block_command;
use nvme_host::{Host, Piece};
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{COMMAND_BYTES, COMPLETION_BYTES, Command, Completion};
use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::clock;
use crate::mapped_port::MappedPort;
use media::power::Random;

/// What a command names.
const QUEUE: u16 = 1;
const NAMESPACE: u32 = 1;
/// Entries of both queues: twice the deepest use.
const ENTRIES: u16 = 256;
/// How many empty looks pass between two looks at the clock.
const LOOKS_PER_CLOCK: u32 = 1 << 16;
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
    /// Commands under way.
    pub depth: u16,
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

/// A queue pair of a host and the commands that go through it.
pub struct PollingHost {
    host: Host<MappedPort>,
    block_bytes: u32,
    capacity_blocks: u64,
    /// Where both rings stand; they go on from one load to the next.
    tail: u16,
    head: u16,
    phase: u64,
    random: Random,
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
    pub fn new(mut host: Host<MappedPort>) -> Result<Self> {
        let namespace = host.identify_namespace(NAMESPACE).map_err(|error| anyhow!("{error}"))?;
        let block_bytes = u32::try_from(host.block_bytes(NAMESPACE).map_err(|error| anyhow!("{error}"))?)?;
        host.create_queue_pair(QUEUE, ENTRIES.into(), None).map_err(|error| anyhow!("{error}"))?;
        let capacity_blocks = namespace.nsze.get();
        Ok(Self { host, block_bytes, capacity_blocks, tail: 0, head: 0, phase: 1, random: Random::new(1) })
    }

    /// Bytes of a block.
    pub fn block_bytes(&self) -> u32 {
        self.block_bytes
    }

    /// Writes every block once.
    ///
    /// # Errors
    /// The device fails a command, or does not answer.
    pub fn fill(&mut self) -> Result<()> {
        let load = Load {
            read_percent: 0,
            order: Order::Sequential,
            blocks: (128 << 10) / self.block_bytes,
            description: Description::Prp,
            depth: 32,
        };
        let commands = self.capacity_blocks.div_ceil(load.blocks.into());
        self.run(&load, |measured| measured.commands >= commands).map(drop)
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

    fn run(&mut self, load: &Load, over: impl FnMut(&Measured) -> bool) -> Result<Measured> {
        ensure!(load.depth < ENTRIES, "{} commands do not fit a queue of {ENTRIES}", load.depth);
        let prepared = self.prepare(load)?;
        let rings = self.rings()?;
        let mut turn = Turn {
            load,
            templates: prepared.commands.iter().map(words).collect(),
            submitted: vec![Duration::ZERO; prepared.commands.len()],
            places: self.capacity_blocks / u64::from(load.blocks),
            next: 0,
            random: self.random.clone(),
            tail: self.tail,
            head: self.head,
            phase: self.phase,
        };
        let measured = turn.run(&rings, over);
        (self.random, self.tail, self.head, self.phase) = (turn.random, turn.tail, turn.head, turn.phase);
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
            let mut command = block_command(NvmOpcode::READ, NAMESPACE, 0, load.blocks);
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

    fn rings(&self) -> Result<Rings<'_>> {
        let port = self.host.port();
        let stride = self.host.capabilities().doorbell_stride();
        let (Some(submission), Some(completion)) =
            (self.host.submission_queue(QUEUE), self.host.completion_queue(QUEUE))
        else {
            bail!("the queue pair was created");
        };
        let entry = |index: u16| std::array::from_fn(|word| port.number_64(submission.slot(index) + 8 * word as u64));
        let answer = |index: u16| port.number_64(completion.base + u64::from(index) * COMPLETION_BYTES as u64 + 8);
        Ok(Rings {
            entries: (0..ENTRIES).map(entry).collect(),
            answers: (0..ENTRIES).map(answer).collect(),
            tail: port.doorbell(Doorbell::SubmissionTail(QUEUE).register(stride))?,
            head: port.doorbell(Doorbell::CompletionHead(QUEUE).register(stride))?,
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
    tail: u16,
    head: u16,
    phase: u64,
}

impl Turn<'_> {
    fn run(&mut self, rings: &Rings<'_>, mut over: impl FnMut(&Measured) -> bool) -> Result<Measured> {
        let mut measured =
            Measured { commands: 0, elapsed: Duration::ZERO, latency: Histogram::new_with_max(10_000_000_000, 3)? };
        let begun = clock::now();
        let mut under_way = self.load.depth;
        (0..self.load.depth).for_each(|cid| self.submit(rings, cid, Duration::ZERO));
        rings.tail.store(self.tail.into(), Ordering::Release);
        let mut ending = false;
        let mut last_answer = Duration::ZERO;
        let mut looks = 0_u32;
        while under_way > 0 {
            let Some(first) = self.look(rings) else {
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
                    self.submit(rings, cid, now);
                }
                answer = self.look(rings);
            }
            rings.head.store(self.head.into(), Ordering::Release);
            if !ending {
                rings.tail.store(self.tail.into(), Ordering::Release);
                measured.elapsed = now;
                ending = over(&measured);
            }
        }
        Ok(measured)
    }

    /// The second half of the answer at the head, if it is new; the head moves.
    fn look(&mut self, rings: &Rings<'_>) -> Option<u64> {
        let answer = rings.answers[usize::from(self.head)].load(Ordering::Acquire);
        if answer >> 48 & 1 != self.phase {
            return None;
        }
        self.head = (self.head + 1) % ENTRIES;
        self.phase ^= u64::from(self.head == 0);
        Some(answer)
    }

    fn submit(&mut self, rings: &Rings<'_>, cid: u16, now: Duration) {
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
        let slot = &rings.entries[usize::from(self.tail)];
        for (to, word) in slot.iter().zip(entry) {
            to.store(word, Ordering::Relaxed);
        }
        self.tail = (self.tail + 1) % ENTRIES;
        self.submitted[usize::from(cid)] = now;
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
