//! Gives the commands of a trace to a drive, at the times that it has them or as fast as the drive takes them, and says what came of it.
//!
//! Who waits is the [`Drive`]: time is the drive's, simulated or not. Commands are given one after the other in the order in which they
//! began, on one queue; what is larger than the drive takes at a time is split. A Compare is read, because what it would be compared with
//! is not known. Data that the trace does not hold is made up, the same each time.
//!
//! Map: [`Replay`] is the life of a replay; `target` turns a record into what the drive is asked; `buffers` keeps guest memory; `outcome`
//! is what came of it.

mod buffers;
mod outcome;
mod target;

use std::collections::BTreeMap;
use std::io::{self, Write};

use media::ledger::Ledger;
use nvme_host::admin::LogArguments;
use nvme_host::{Host, HostError, Port};
use nvme_spec::log::{LogId, OCP_SMART_GUID, OcpSmart};
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{Command, Completion};
use thiserror::Error;
use zerocopy::{FromBytes, IntoBytes};

use crate::ordered::Ordered;
use crate::record::{Entry, Namespaces, Record, Sample, Trace, TraceError};
use crate::recording::Recorder;
use crate::watched::{Begun, Ended};
use buffers::{Buffer, Buffers};
pub use outcome::Outcome;
use target::{Ask, Target};

/// The queue that is used.
const QUEUE: u16 = 1;
/// Rounds in which nothing moves and nothing is due, after which a drive is taken for dead.
const SILENCES_MAX: u32 = 60_000;

/// A drive with its time.
pub trait Drive: Port {
    /// What time it is, in nanoseconds.
    fn now_ns(&self) -> u64;

    /// Lets the drive run for a little. Where it has nothing to do, time moves on to when it has, and no further than `until_ns`. Returns
    /// false where nothing moved and nothing is due: the drive waits for something that is not time, or for ever.
    fn run(&mut self, until_ns: Option<u64>) -> bool;

    /// Bytes programmed so far, and the indirection unit, where that can be known.
    fn programmed(&mut self) -> Option<(Ledger, u32)>;
}

/// How fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// As the drive takes them.
    AsFastAsPossible,
    /// At the trace's times, divided by this, in thousandths: 2000 is twice as fast.
    Thousandths(u64),
}

/// How a trace is given to a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How fast.
    pub speed: Speed,
    /// Commands under way at most.
    pub depth: u32,
    /// What lies behind the end of a namespace goes round to its beginning.
    pub wrap: bool,
}

/// Why a replay did not come to its end.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The trace cannot be read.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The host cannot go on.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The recording of the replay cannot be written.
    #[error("the recording cannot be written: {0}")]
    Recording(io::Error),
    /// A command does not end.
    #[error("the drive does not answer: {0} commands are under way, and nothing moves")]
    Silent(usize),
    /// The drive cannot be given any trace.
    #[error("{0}")]
    Unfit(String),
    /// The drive does not have a namespace of the trace.
    #[error("the trace names namespace {0}, which the drive does not have")]
    NoNamespace(u32),
    /// The trace has blocks that the drive does not have.
    #[error("the trace has {length} bytes at {offset} of namespace {nsid}, which has {bytes} bytes on this drive")]
    Outside {
        /// Its namespace.
        nsid: u32,
        /// First byte.
        offset: u64,
        /// How many.
        length: u64,
        /// Bytes of the namespace.
        bytes: u128,
    },
}

/// A command that was given to the drive, or a part of one.
struct UnderWay {
    buffer: Option<Buffer>,
    reads: bool,
    /// Which command of the trace.
    job: u64,
}

/// A command of the trace of which parts are under way.
struct Job {
    record: Record,
    begin_ns: u64,
    parts: u32,
    status: u16,
}

/// See the file's text.
pub struct Replay<'a, P, W: Write> {
    host: &'a mut Host<P>,
    options: Options,
    target: Target,
    buffers: Buffers,
    recorder: Option<Recorder<W>>,
    under_way: BTreeMap<u16, UnderWay>,
    jobs: BTreeMap<u64, Job>,
    next_job: u64,
    outcome: Outcome,
}

impl<'a, P: Drive, W: Write> Replay<'a, P, W> {
    /// Prepares a controller that is up and has no I/O queue yet.
    ///
    /// # Errors
    /// The controller does not do what a replay needs.
    pub fn new(host: &'a mut Host<P>, options: Options, recorder: Option<Recorder<W>>) -> Result<Self, ReplayError> {
        let target = Target::of(host, options.wrap)?;
        // One entry of a queue stays empty, and a drive may not offer as many as are wanted.
        let entries = (options.depth + 1).clamp(2, u32::from(host.capabilities().mqes_z()) + 1);
        host.create_queue_pair(QUEUE, entries, None)?;
        let options = Options { depth: entries - 1, ..options };
        let mut replay = Self {
            host,
            options,
            target,
            buffers: Buffers::default(),
            recorder,
            under_way: BTreeMap::new(),
            jobs: BTreeMap::new(),
            next_job: 0,
            outcome: Outcome::default(),
        };
        for (nsid, block_bytes) in replay.target.namespaces() {
            replay.record(|recorder| recorder.namespace(nsid, block_bytes))?;
        }
        Ok(replay)
    }

    /// Writes every block of every namespace once, in order, so that what follows overwrites.
    ///
    /// # Errors
    /// The drive does not answer.
    pub fn fill(&mut self) -> Result<(), ReplayError> {
        // It is no part of the trace, and not of its recording either.
        let recorder = self.recorder.take();
        for ask in self.target.fill() {
            self.job(&Record { opcode: ask.command.opcode, ..Record::default() }, &[ask])?;
        }
        self.drain()?;
        self.flush()?;
        self.outcome = Outcome::default();
        self.recorder = recorder;
        Ok(())
    }

    /// Gives the drive the whole trace, waits for the last answer, and then has the drive write what is in its cache.
    ///
    /// # Errors
    /// The trace cannot be read, does not fit, or the drive does not answer.
    pub fn run(mut self, trace: impl Trace) -> Result<Outcome, ReplayError> {
        let mut trace = Ordered::new(trace);
        let mut namespaces = Namespaces::default();
        let start_ns = self.host.port().now_ns();
        let mut first_ns = None;
        let before = self.sample()?;
        let physical_before = self.physical(before.is_some());
        while let Some(entry) = trace.next()? {
            match entry {
                Entry::Namespace(namespace) => namespaces.note(namespace)?,
                Entry::Sample(_) => {}
                Entry::Command(record) => {
                    let since = record.begin_ns.saturating_sub(*first_ns.get_or_insert(record.begin_ns));
                    self.wait_for(start_ns, since)?;
                    match self.target.asks(&record, namespaces.block_bytes(record.nsid))? {
                        Some(asks) => self.job(&record, &asks)?,
                        None => self.outcome.left_out(record.kind()),
                    }
                }
            }
        }
        self.drain()?;
        self.outcome.duration_ns = self.host.port().now_ns() - start_ns;
        self.outcome.out_of_order = trace.late();
        self.flush()?;
        let after = self.sample()?;
        self.outcome.measure(before, after);
        let physical = self.physical(after.is_some());
        self.outcome.physical_bytes =
            physical.zip(physical_before).and_then(|(after, before)| after.checked_sub(before));
        if let Some(recorder) = self.recorder.take() {
            recorder.finish().map_err(ReplayError::Recording)?;
        }
        Ok(self.outcome)
    }

    /// Waits until a command is due, and notes how late it is then.
    fn wait_for(&mut self, start_ns: u64, since_ns: u64) -> Result<(), ReplayError> {
        let Speed::Thousandths(thousandths) = self.options.speed else { return Ok(()) };
        let scaled = u128::from(since_ns) * 1000 / u128::from(thousandths.max(1));
        let due = start_ns.saturating_add(u64::try_from(scaled).unwrap_or(u64::MAX));
        let mut silences = 0;
        while self.host.port().now_ns() < due {
            let ran = self.host.port_mut().run(Some(due));
            silences = if ran { 0 } else { silences + 1 };
            self.reap()?;
            if silences > SILENCES_MAX {
                return Err(ReplayError::Silent(self.under_way.len()));
            }
        }
        let late = self.host.port().now_ns() - due;
        self.outcome.late_ns_max = self.outcome.late_ns_max.max(late);
        Ok(())
    }

    /// Gives a command to the drive, in as many parts as it takes.
    fn job(&mut self, record: &Record, asks: &[Ask]) -> Result<(), ReplayError> {
        let job = self.next_job;
        self.next_job += 1;
        let parts = u32::try_from(asks.len()).expect("few parts");
        self.outcome.split += u64::from(parts > 1);
        let record = Record { data: None, ranges: Vec::new(), ..record.clone() };
        let begin_ns = self.host.port().now_ns();
        self.jobs.insert(job, Job { record, begin_ns, parts, status: 0 });
        asks.iter().try_for_each(|ask| self.submit(ask, job))
    }

    fn submit(&mut self, ask: &Ask, job: u64) -> Result<(), ReplayError> {
        self.wait_until(|replay| replay.under_way.len() < replay.options.depth as usize)?;
        if NvmOpcode(ask.command.opcode) == NvmOpcode::WRITE {
            self.outcome.written_bytes = self.outcome.written_bytes.saturating_add(ask.bytes as u64);
        }
        let buffer = if ask.bytes == 0 { None } else { Some(self.buffer(ask.bytes)?) };
        let mut command = ask.command;
        if let Some(buffer) = &buffer {
            command = buffer.on(command);
            if let Some(data) = &ask.data {
                self.host.write_memory(buffer.address(), data);
            }
        }
        let cid = self.host.submit(QUEUE, command)?;
        command.cid = cid.into();
        let now = self.host.port().now_ns();
        self.record_begin(now, &command, ask.data.as_deref())?;
        self.under_way.insert(cid, UnderWay { buffer, reads: ask.reads, job });
        if self.options.speed != Speed::AsFastAsPossible {
            self.reap()?;
        }
        Ok(())
    }

    /// A buffer, if need be after others have come back.
    fn buffer(&mut self, bytes: usize) -> Result<Buffer, ReplayError> {
        loop {
            if let Some(buffer) = self.buffers.take(self.host, bytes)? {
                return Ok(buffer);
            }
            let before = self.under_way.len();
            if before == 0 {
                return Err(HostError::OutOfMemory(bytes as u64).into());
            }
            self.wait_until(|replay| replay.under_way.len() < before)?;
        }
    }

    fn wait_until(&mut self, come: impl Fn(&Self) -> bool) -> Result<(), ReplayError> {
        let mut silences = 0;
        while !come(self) {
            let ran = self.host.port_mut().run(None);
            silences = if self.reap()? || ran { 0 } else { silences + 1 };
            if silences > SILENCES_MAX {
                return Err(ReplayError::Silent(self.under_way.len()));
            }
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), ReplayError> {
        self.wait_until(|replay| replay.under_way.is_empty())
    }

    /// Has the drive write what is in its cache. It is not a command of the trace, and a recording has it nevertheless.
    fn flush(&mut self) -> Result<(), ReplayError> {
        let counted = self.outcome.clone();
        for ask in self.target.flush() {
            self.job(&Record::default(), &[ask])?;
        }
        self.drain()?;
        self.outcome = counted;
        Ok(())
    }

    /// Takes the completions that are there; whether there was one.
    fn reap(&mut self) -> Result<bool, ReplayError> {
        let mut any = false;
        while let Some(completion) = self.host.reap_quietly(QUEUE) {
            any = true;
            self.completed(&completion)?;
        }
        if any {
            self.host.ring_completion(QUEUE)?;
        }
        Ok(any)
    }

    fn completed(&mut self, completion: &Completion) -> Result<(), ReplayError> {
        let Some(UnderWay { buffer, reads, job }) = self.under_way.remove(&completion.cid.get()) else { return Ok(()) };
        let now = self.host.port().now_ns();
        let wanted = reads && self.recorder.as_ref().is_some_and(Recorder::with_data);
        let data = buffer.as_ref().filter(|_| wanted).map(|buffer| buffer.read(self.host));
        if let Some(buffer) = buffer {
            self.buffers.give_back(buffer);
        }
        let bytes: &[u8; 16] = completion.as_bytes().try_into().expect("an entry has 16 bytes");
        self.record(|recorder| {
            recorder.command_ended(&Ended { time_ns: now, controller: 0, completion: bytes, data: data.as_deref() })
        })?;
        let of_job = self.jobs.get_mut(&job).expect("a job lasts as long as its parts");
        of_job.parts -= 1;
        if !completion.status().is_success() {
            of_job.status = completion.status().0;
        }
        if of_job.parts == 0 {
            let Job { record, begin_ns, status, .. } = self.jobs.remove(&job).expect("it was there just now");
            self.outcome.ended(record.kind(), now - begin_ns, status);
        }
        Ok(())
    }

    fn record_begin(&mut self, time_ns: u64, command: &Command, data: Option<&[u8]>) -> Result<(), ReplayError> {
        let command: &[u8; 64] = command.as_bytes().try_into().expect("an entry has 64 bytes");
        self.record(|recorder| recorder.command_begun(&Begun { time_ns, controller: 0, queue: QUEUE, command, data }))
    }

    fn record(&mut self, write: impl FnOnce(&mut Recorder<W>) -> io::Result<()>) -> Result<(), ReplayError> {
        self.recorder.as_mut().map_or(Ok(()), write).map_err(ReplayError::Recording)
    }

    /// Bytes programmed, from the log page that data centre drives have; what is `known` better is not asked for.
    fn physical(&mut self, known: bool) -> Option<u64> {
        if known {
            return None;
        }
        let page = self.host.get_log(LogId::OCP_SMART, size_of::<OcpSmart>(), LogArguments::default()).ok()?;
        let page = OcpSmart::read_from_bytes(&page).ok().filter(|page| page.guid == OCP_SMART_GUID)?;
        u64::try_from(page.physical_bytes_written.get()).ok()
    }

    /// What the drive has programmed so far; noted in the recording.
    fn sample(&mut self) -> Result<Option<(Ledger, u32)>, ReplayError> {
        let programmed = self.host.port_mut().programmed();
        if let Some((ledger, unit_bytes)) = programmed {
            let time_ns = self.host.port().now_ns();
            self.record(|recorder| recorder.sample(Sample { time_ns, unit_bytes, ledger }))?;
        }
        Ok(programmed)
    }
}
