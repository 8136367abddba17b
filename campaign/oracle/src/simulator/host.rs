//! The host's side of a simulated pass: it brings the controller up, queues and rings commands over stamped buffers, reaps, and tells
//! the recorder. What reads return is judged at once; what follows from a power loss is not its business.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash as _;

use nvme_host::io::{block_command, copy_command, nvm_command};
use nvme_host::queue::SubmissionQueue;
use nvme_host::{Host, HostError, Mapping, Port as _, Setup, Shutdown};
use nvme_spec::command::{DATASET_DEALLOCATE, DatasetRange, WRITE_ZEROES_DEALLOCATE, fuse};
use nvme_spec::feature::{FeatureId, select};
use nvme_spec::log::{LogId, Smart};
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{Command, Completion, NSID_ALL, Status, identify};
use zerocopy::{FromBytes, IntoBytes};

use super::outcome::Outcomes;
use super::{Fingerprint, FlatMachine, Guess};
use crate::checker::{Answer, Image, is_mixed, judge_answer};
use crate::history::{CommandId, History, Verb};
use crate::parameters::{Blocks, Fields, Parameters};
use crate::stamp::{Found, Stamp};
use crate::verdict::{Rule, Violation};

/// Guest memory begins here and is so long.
pub const MEMORY: std::ops::Range<u64> = 0..8 << 20;
/// Force Unit Access: dword 12 bit 30.
const FORCE_UNIT_ACCESS: u32 = 1 << 30;
/// Entries of an I/O queue.
const ENTRIES: u32 = 64;
/// Steps after which a command counts as never answered.
const STEPS_MAX: u32 = 20_000;
/// Bytes of a read of everything.
const READ_BYTES: usize = 128 << 10;

/// Why a pass ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Power is lost.
    PowerLost,
    /// A rule was broken.
    Broken(Violation),
}

impl From<Violation> for Stop {
    fn from(violation: Violation) -> Self {
        Self::Broken(violation)
    }
}

fn unanswered(found: String) -> Violation {
    Violation { rule: Rule::Unanswered, commands: Vec::new(), nsid: 0, blocks: Vec::new(), found }
}

/// What Identify says of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its blocks.
    pub blocks: u64,
    /// Its effective atomic sizes.
    pub parameters: Parameters,
    /// The controller has a volatile write cache.
    pub cached: bool,
    block_bytes: usize,
    metadata_bytes: usize,
    extended: bool,
}

impl Known {
    fn of(controller: &identify::Controller, namespace: &identify::Namespace) -> Self {
        let format = namespace.format();
        Self {
            blocks: namespace.nsze.get(),
            parameters: Fields::of(controller, namespace).into(),
            cached: controller.write_cache().contains(identify::WriteCache::PRESENT),
            block_bytes: 1 << format.lbads,
            metadata_bytes: format.ms.get().into(),
            extended: namespace.has_extended_metadata(),
        }
    }

    /// Bytes from one block to the next in a data buffer, and those of the metadata that is apart.
    const fn strides(&self) -> (usize, usize) {
        if self.extended {
            (self.block_bytes + self.metadata_bytes, 0)
        } else {
            (self.block_bytes, self.metadata_bytes)
        }
    }

    /// Data, and metadata that is apart, of blocks of zeroes and stamps.
    fn stamped(&self, blocks: impl ExactSizeIterator<Item = Found>) -> (Vec<u8>, Vec<u8>) {
        let (stride, apart) = self.strides();
        let (mut data, mut metadata) = (vec![0; blocks.len() * stride], vec![0; blocks.len() * apart]);
        for (n, block) in blocks.enumerate() {
            let (stamp, beside_it) = match block {
                Found::Stamp(stamp) => (stamp, stamp),
                Found::WrongMetadata(stamp) => (stamp, Stamp { command: !stamp.command, ..stamp }),
                _ => continue,
            };
            let (bytes, beside) = data[n * stride..][..stride].split_at_mut(self.block_bytes);
            stamp.fill(bytes);
            beside_it.fill_metadata(if self.extended { beside } else { &mut metadata[n * apart..][..apart] });
        }
        (data, metadata)
    }

    fn look(&self, data: &[u8], metadata: &[u8]) -> Vec<Found> {
        let (stride, apart) = self.strides();
        let each = data.chunks_exact(stride).enumerate();
        each.map(|(n, bytes)| {
            let (block, beside) = bytes.split_at(self.block_bytes);
            Found::look(block, if self.extended { beside } else { &metadata[n * apart..][..apart] })
        })
        .collect()
    }
}

/// A command on its way, and its memory.
struct Sent {
    id: CommandId,
    data: Option<(u64, usize, Mapping)>,
    metadata: Option<(u64, usize)>,
}

/// A host with its queues.
pub struct Session {
    host: Host<FlatMachine>,
    queues: u16,
    known: Vec<Known>,
    sent: BTreeMap<(u16, u16), Sent>,
    /// Commands whose doorbell was not rung, by queue.
    quiet: BTreeMap<u16, Vec<CommandId>>,
    /// How commands ended.
    pub outcomes: Outcomes,
    /// Writes of pairs that a read showed.
    shown: BTreeSet<CommandId>,
    /// What the host saw.
    pub seen: Fingerprint,
}

impl Session {
    /// Brings the controller up, with this many queue pairs.
    ///
    /// # Errors
    /// [`Stop::PowerLost`], or the controller does not come up.
    pub fn start(machine: FlatMachine, queues: u16, known: &[Known]) -> Result<Self, Stop> {
        let mut session = Self {
            host: Host::attach(machine, Setup::new(MEMORY.start + (1 << 12)..MEMORY.end)),
            queues,
            known: known.to_vec(),
            sent: BTreeMap::new(),
            quiet: BTreeMap::new(),
            outcomes: Outcomes::default(),
            shown: BTreeSet::new(),
            seen: Fingerprint::default(),
        };
        session.bring_up()?;
        Ok(session)
    }

    /// Gives the machine back.
    #[must_use]
    pub fn into_machine(self) -> FlatMachine {
        self.host.into_port()
    }

    /// The machine, for time to pass.
    pub const fn machine(&mut self) -> &mut FlatMachine {
        self.host.port_mut()
    }

    /// Resets the controller and brings it up. Nothing that is under way is answered any more.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn bring_up(&mut self) -> Result<(), Stop> {
        let came_up = self.host.start();
        // Where power goes before the queues are forgotten, what was answered until then can still be found in them.
        self.admin(came_up)?;
        self.sent.clear();
        self.quiet.clear();
        for queue in 1..=self.queues {
            let made = self.host.create_queue_pair(queue, ENTRIES, Some(queue));
            self.admin(made)?;
        }
        Ok(())
    }

    /// What Identify says of the namespaces, from 1 to `count`.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn learn(&mut self, count: u32) -> Result<Vec<Known>, Stop> {
        let controller = self.host.identify_controller();
        let controller = self.admin(controller)?;
        for nsid in 1..=count {
            let namespace = self.host.identify_namespace(nsid);
            let namespace = self.admin(namespace)?;
            self.known.push(Known::of(&controller, &namespace));
        }
        Ok(self.known.clone())
    }

    /// What an admin command ended with; without power nothing is an error of the controller.
    fn admin<T>(&mut self, ended: Result<T, HostError>) -> Result<T, Stop> {
        if self.host.port().power_lost() {
            return Err(Stop::PowerLost);
        }
        ended.map_err(|error| unanswered(error.to_string()).into())
    }

    /// Puts a command into a queue; `false` if the queue is full.
    ///
    /// # Errors
    /// A host error that a full queue is not.
    pub fn queue(
        &mut self,
        history: &mut History,
        queue: u16,
        (verb, nsid, blocks, force): (Verb, u32, Blocks, bool),
    ) -> Result<bool, Stop> {
        if self.host.submission_queue(queue).is_none_or(SubmissionQueue::is_full) {
            return Ok(false);
        }
        let id = history.queue(verb, nsid, blocks, force);
        self.put(history, queue, id)?;
        Ok(true)
    }

    /// Puts a Compare into a queue, and with `write` the Write of a fused pair behind it; `false` if the queue has no room.
    ///
    /// # Errors
    /// As [`Session::queue`].
    pub fn queue_compare(
        &mut self,
        history: &mut History,
        queue: u16,
        (nsid, blocks, force): (u32, Blocks, bool),
        (guess, write): (Guess, bool),
    ) -> Result<bool, Stop> {
        let room = |queue: &SubmissionQueue| {
            queue.entries - 1 - (u32::from(queue.tail) + queue.entries - u32::from(queue.head)) % queue.entries
        };
        if self.host.submission_queue(queue).map_or(0, room) < 2 {
            return Ok(false);
        }
        let expected = guess.expected(history, nsid, blocks);
        let id = history.queue_compare(nsid, blocks, force, expected, write);
        self.put(history, queue, id)?;
        if write {
            self.put(history, queue, id + 1)?;
        }
        Ok(true)
    }

    fn put(&mut self, history: &History, queue: u16, id: CommandId) -> Result<(), Stop> {
        let (mut command, sent) = self.describe(history, id).map_err(|error| unanswered(error.to_string()))?;
        let recorded = history.command(id).expect("just recorded");
        if recorded.fused {
            command.flags |= if recorded.verb == Verb::Compare { fuse::FIRST } else { fuse::SECOND };
        }
        let cid = self.host.submit_quietly(queue, command).map_err(|error| unanswered(error.to_string()))?;
        self.sent.insert((queue, cid), sent);
        self.quiet.entry(queue).or_default().push(id);
        Ok(())
    }

    fn describe(&mut self, history: &History, id: CommandId) -> Result<(Command, Sent), HostError> {
        let command = *history.command(id).expect("just recorded");
        let (nsid, blocks) = (command.nsid, command.blocks);
        let over = |opcode: NvmOpcode, more: u32| {
            let count = u32::try_from(blocks.count()).expect("a command names few blocks");
            let entry = block_command(opcode, nsid, blocks.start, count);
            let force = if command.force { FORCE_UNIT_ACCESS } else { 0 };
            Command { cdw12: (entry.cdw12.get() | force | more).into(), ..entry }
        };
        let sent = Sent { id, data: None, metadata: None };
        Ok(match command.verb {
            Verb::Write => {
                let stamps: Vec<_> = blocks.each().map(|lba| Found::Stamp(history.stamp(id, nsid, lba))).collect();
                let (data, metadata) = self.known[nsid as usize - 1].stamped(stamps.into_iter());
                self.with_buffers(over(NvmOpcode::WRITE, 0), id, &data, &metadata)?
            }
            Verb::Compare => {
                let expected = history.expected(id).iter().copied();
                let (data, metadata) = self.known[nsid as usize - 1].stamped(expected);
                self.with_buffers(over(NvmOpcode::COMPARE, 0), id, &data, &metadata)?
            }
            Verb::Uncorrectable => (over(NvmOpcode::WRITE_UNCORRECTABLE, 0), sent),
            Verb::Copy { from } => {
                let count = u32::try_from(blocks.count()).expect("a command names few blocks");
                let (entry, list) = copy_command(nsid, &[(from, count)], blocks.start, command.force);
                self.with_buffers(entry, id, list.as_bytes(), &[])?
            }
            Verb::Verify => (over(NvmOpcode::VERIFY, 0), sent),
            Verb::Read => {
                let (stride, apart) = self.known[nsid as usize - 1].strides();
                let count = index(blocks.count());
                self.with_buffers(over(NvmOpcode::READ, 0), id, &vec![0; count * stride], &vec![0; count * apart])?
            }
            Verb::Zeroes { deallocate } => {
                (over(NvmOpcode::WRITE_ZEROES, if deallocate { WRITE_ZEROES_DEALLOCATE } else { 0 }), sent)
            }
            Verb::Deallocate => {
                let count = u32::try_from(blocks.count()).expect("a command names few blocks");
                let range = DatasetRange { slba: blocks.start.into(), blocks: count.into(), ..Default::default() };
                let entry =
                    Command { cdw11: DATASET_DEALLOCATE.into(), ..nvm_command(NvmOpcode::DATASET_MANAGEMENT, nsid) };
                self.with_buffers(entry, id, range.as_bytes(), &[])?
            }
            Verb::Flush => (nvm_command(NvmOpcode::FLUSH, nsid), sent),
            Verb::FlushAll => (nvm_command(NvmOpcode::FLUSH, NSID_ALL), sent),
            Verb::SetCache(_) | Verb::DisableNormal(_) | Verb::Damage | Verb::Shutdown => {
                unreachable!("not a verb of an I/O queue")
            }
        })
    }

    fn with_buffers(
        &mut self,
        command: Command,
        id: CommandId,
        data: &[u8],
        metadata: &[u8],
    ) -> Result<(Command, Sent), HostError> {
        let address = self.host.allocate(data.len())?;
        self.host.write_memory(address, data);
        let mapping = self.host.map(address, data.len())?;
        let mut command = mapping.on(command);
        let mut beside = None;
        if !metadata.is_empty() {
            let address = self.host.allocate(metadata.len())?;
            self.host.write_memory(address, metadata);
            command.mptr = address.into();
            beside = Some((address, metadata.len()));
        }
        Ok((command, Sent { id, data: Some((address, data.len(), mapping)), metadata: beside }))
    }

    /// Rings a queue's doorbell; the recorder knows before the device does.
    ///
    /// # Errors
    /// There is no such queue.
    pub fn ring(&mut self, history: &mut History, queue: u16) -> Result<(), Stop> {
        for id in self.quiet.remove(&queue).unwrap_or_default() {
            history.ring(id);
        }
        self.host.ring(queue).map_err(|error| unanswered(error.to_string()).into())
    }

    /// One step of the device, and a look at the completion queues. What is there was posted, also if power has gone since.
    ///
    /// # Errors
    /// [`Stop::PowerLost`], a command that failed, or a read that no conforming drive returns.
    pub fn step(&mut self, history: &mut History) -> Result<(), Stop> {
        self.host.port_mut().relax();
        self.reap(history)?;
        if self.host.port().power_lost() { Err(Stop::PowerLost) } else { Ok(()) }
    }

    /// Looks at the completion queues.
    ///
    /// # Errors
    /// As [`Session::step`], but power may be lost.
    pub fn reap(&mut self, history: &mut History) -> Result<(), Stop> {
        // A reset that power cut short leaves a host without queues.
        for queue in (1..=self.queues).filter(|queue| self.host.completion_queue(*queue).is_some()).collect::<Vec<_>>()
        {
            while let Some(completion) = self.host.reap(queue) {
                self.completed(history, queue, &completion)?;
            }
        }
        Ok(())
    }

    fn completed(&mut self, history: &mut History, queue: u16, completion: &Completion) -> Result<(), Stop> {
        let Some(sent) = self.sent.remove(&(queue, completion.cid.get())) else {
            return Err(unanswered(format!("{completion:?} answers nothing")).into());
        };
        let answer = answer_of(completion.status());
        history.end(sent.id, answer == Answer::Success);
        (queue, sent.id, history.now()).hash(&mut self.seen);
        let (mut data, mut metadata) = (Vec::new(), Vec::new());
        if let Some((address, length, mapping)) = sent.data {
            data = self.host.read_memory(address, length);
            self.host.unmap(mapping);
            self.host.release(address);
        }
        if let Some((address, length)) = sent.metadata {
            metadata = self.host.read_memory(address, length);
            self.host.release(address);
        }
        let command = *history.command(sent.id).expect("it was recorded");
        if answer == Answer::Other {
            let found = format!("{:?} of {:?} ended with {:?}", command.verb, command.blocks, completion.status());
            return Err(Violation { commands: vec![sent.id], nsid: command.nsid, ..unanswered(found) }.into());
        }
        let mut found = Vec::new();
        if command.verb == Verb::Read && answer == Answer::Success {
            found = self.known[command.nsid as usize - 1].look(&data, &metadata);
            found.hash(&mut self.seen);
        }
        if matches!(command.verb, Verb::Copy { .. }) && answer != Answer::Success {
            // All sources are read before anything is written.
            history.undo(sent.id);
        }
        if command.reads().count() > 0 && answer != Answer::Success {
            answer.hash(&mut self.seen);
        }
        judge_answer(history, sent.id, answer, &found)?;
        let mixed = !found.is_empty() && is_mixed(history, sent.id, &found);
        self.outcomes.count(&command, answer, mixed);
        self.judge_pair(history, sent.id, answer, &found)
    }

    /// What is learned of pairs: the Write of one whose Compare failed must not be there, and must not have been.
    fn judge_pair(
        &mut self,
        history: &mut History,
        id: CommandId,
        answer: Answer,
        found: &[Found],
    ) -> Result<(), Stop> {
        for stamp in found.iter().filter_map(|found| found.stamp().filter(|stamp| stamp.pass == history.pass)) {
            if history.partner(stamp.command).is_some() {
                self.shown.insert(stamp.command);
            }
        }
        let compare = history.command(id).filter(|command| command.verb == Verb::Compare);
        let Some((compare, write)) = compare.copied().zip(history.partner(id)) else { return Ok(()) };
        if answer == Answer::Success {
            return Ok(());
        }
        history.undo(write);
        if self.shown.contains(&write) {
            let found = format!("the Write of Compare {id}, which failed, was read");
            let (commands, nsid, blocks) = (vec![id, write], compare.nsid, compare.blocks.each().collect());
            return Err(Violation { rule: Rule::Pair, commands, nsid, blocks, found }.into());
        }
        Ok(())
    }

    /// Lets the device run until every rung command has ended.
    ///
    /// # Errors
    /// As [`Session::step`]; a command that does not end.
    pub fn finish(&mut self, history: &mut History) -> Result<(), Stop> {
        for _ in 0..STEPS_MAX {
            let waiting = |sent: &Sent| history.command(sent.id).is_some_and(|command| command.rung.is_some());
            if !self.sent.values().any(waiting) {
                return Ok(());
            }
            self.step(history)?;
        }
        let commands = self.sent.values().map(|sent| sent.id).collect();
        Err(Violation { commands, ..unanswered("no end".into()) }.into())
    }

    /// Switches the volatile write cache and waits for the answer.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn set_cache(&mut self, history: &mut History, enabled: bool) -> Result<(), Stop> {
        let id = history.submit(Verb::SetCache(enabled), 0, Blocks::new(0, 0), false);
        let ended = self.host.set_feature(FeatureId::VOLATILE_WRITE_CACHE, enabled.into());
        self.admin(ended)?;
        history.end(id, true);
        Ok(())
    }

    /// Sets Disable Normal or takes it back, and waits for the answer.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn disable_normal(&mut self, history: &mut History, disabled: bool) -> Result<(), Stop> {
        let id = history.submit(Verb::DisableNormal(disabled), 0, Blocks::new(0, 0), false);
        let ended = self.host.set_feature(FeatureId::WRITE_ATOMICITY, disabled.into());
        self.admin(ended)?;
        history.end(id, true);
        Ok(())
    }

    /// Whether the volatile write cache is enabled, if there is one.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn cache_enabled(&mut self) -> Result<bool, Stop> {
        if !self.known.iter().any(|known| known.cached) {
            return Ok(false);
        }
        let value = self.host.get_feature(FeatureId::VOLATILE_WRITE_CACHE, select::CURRENT);
        self.admin(value).map(|value| value & 1 == 1)
    }

    /// Shuts down and waits for the end of it.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn shutdown(&mut self, history: &mut History, abrupt: bool) -> Result<(), Stop> {
        let id = history.submit(Verb::Shutdown, 0, Blocks::new(0, 0), false);
        let ended = self.host.shutdown(if abrupt { Shutdown::Abrupt } else { Shutdown::Normal });
        self.admin(ended)?;
        history.end(id, true);
        Ok(())
    }

    /// Asks for a shutdown and does not wait.
    pub fn ask_shutdown(&mut self, history: &mut History) {
        history.submit(Verb::Shutdown, 0, Blocks::new(0, 0), false);
        use nvme_host::Port as _;
        use nvme_spec::register::{CC, Configuration};
        let machine = self.host.port_mut();
        let configuration = Configuration(machine.register_read_32(CC));
        machine.register_write_32(CC, configuration.with_shutdown(1).0);
    }

    /// Reads every block of every namespace.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn read_everything(&mut self) -> Result<Image, Stop> {
        let namespaces = u32::try_from(self.known.len()).expect("few namespaces");
        (1..=namespaces).map(|nsid| self.read_namespace(nsid)).collect()
    }

    fn read_namespace(&mut self, nsid: u32) -> Result<Vec<Found>, Stop> {
        let known = self.known[nsid as usize - 1];
        let most = (READ_BYTES / known.strides().0) as u64;
        let mut found = Vec::new();
        while (found.len() as u64) < known.blocks {
            let start = found.len() as u64;
            let blocks = Blocks::new(start, most.min(known.blocks - start));
            match self.read(&known, nsid, blocks)? {
                Some(mut read) => found.append(&mut read),
                // Which of them cannot be read, one by one.
                None => {
                    for block in blocks.each() {
                        let read = self.read(&known, nsid, Blocks::new(block, 1))?;
                        found.push(read.map_or(Found::Unreadable, |read| read[0]));
                    }
                }
            }
        }
        Ok(found)
    }

    /// What the blocks hold; nothing if they cannot be read.
    fn read(&mut self, known: &Known, nsid: u32, blocks: Blocks) -> Result<Option<Vec<Found>>, Stop> {
        let (stride, apart) = known.strides();
        let count = index(blocks.count());
        let command = block_command(NvmOpcode::READ, nsid, blocks.start, u32::try_from(count).expect("few blocks"));
        let described = self.with_buffers(command, 0, &vec![0; count * stride], &vec![0; count * apart]);
        let (command, sent) = self.admin(described)?;
        let ended = self.host.execute(1, command);
        let completion = self.admin(ended)?;
        let (address, length, mapping) = sent.data.expect("a read has a buffer");
        let data = self.host.read_memory(address, length);
        self.host.unmap(mapping);
        self.host.release(address);
        let mut metadata = Vec::new();
        if let Some((address, length)) = sent.metadata {
            metadata = self.host.read_memory(address, length);
            self.host.release(address);
        }
        Ok(completion.status().is_success().then(|| known.look(&data, &metadata)))
    }

    /// The count of unsafe shutdowns, from the SMART log.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn unsafe_shutdowns(&mut self) -> Result<u64, Stop> {
        let log = self.host.get_log(LogId::SMART, size_of::<Smart>(), nvme_host::admin::LogArguments::default());
        let log = self.admin(log)?;
        let smart = Smart::read_from_bytes(&log).map_err(|_| unanswered("a short SMART log".into()))?;
        Ok(u64::try_from(smart.unsafe_shutdowns.get()).unwrap_or(u64::MAX))
    }
}

/// What a status means to the checker.
fn answer_of(status: Status) -> Answer {
    let known = [
        (Status::SUCCESS, Answer::Success),
        (Status::COMPARE_FAILURE, Answer::Differs),
        (Status::UNRECOVERED_READ, Answer::Unreadable),
        (Status::FAILED_FUSED, Answer::PartnerFailed),
        (Status::ATOMIC_UNIT_EXCEEDED, Answer::TooLarge),
    ];
    let meant = known.iter().find(|(known, _)| known.kind() == status.kind());
    meant.map_or(Answer::Other, |(_, answer)| *answer)
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("a simulated drive is small")
}
