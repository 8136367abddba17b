//! What the controller tells whoever looks on: one typed event for each hop of a command, for each access of the host to registers,
//! and for each change of state. Traces, the checker of the host's rules, counters and statistics are consumers of these events; the
//! controller knows none of them.
//!
//! The last [`RECENT`] events are always kept. Unless somebody listens ([`Controller::listen`]), the hops of I/O commands that succeed are
//! not among them: these cost a branch each, and commands keep to the fast path. Where somebody listens, all go the scheduled path.

mod data;
mod detail;
mod entries;

use std::collections::VecDeque;

use media::Nanoseconds;
use nvme_spec::log::Event;
use nvme_spec::register::Configuration;
use nvme_spec::{COMPLETION_BYTES, Command, Completion, Status};
use schemars::JsonSchema;
use serde::Serialize;
use zerocopy::IntoBytes;

use crate::ana::AnaState;
use crate::dma::GuestMemory;
use crate::inflight::{Origin, Reply};
use crate::queue::{CompletionQueue, Permit};
use crate::reason::Reason;
use crate::{Controller, Effect};
use data::DataWatch;
pub use detail::Detail;
use entries::{Entries, Kept};

/// How many events are kept for whoever asks later.
pub const RECENT: usize = 1000;
/// As many events wait for a listener who does not come; later ones are counted and dropped.
const WAITING_MAX: usize = 1 << 17;

/// A command by its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct CommandName {
    /// Submission queue.
    pub queue: u16,
    /// Identifier that the host gave it.
    pub identifier: u16,
    /// How many commands this controller has taken since its power-on, with this one, of all queues.
    pub ordinal: u64,
}

/// An event and when it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traced {
    /// The time of the step or, where the transport tells it ([`Controller::tell_time`]), of the access.
    pub time: Nanoseconds,
    /// Counts resets and enables since power-on: what belongs to one life of the controller has one number.
    pub generation: u64,
    /// What happened.
    pub event: TraceEvent,
}

/// How the host moved a doorbell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoorbellPath {
    /// By a write to its register.
    Register,
    /// In the page that both sides share (`doorbells=mapped`). Only the latest value is seen.
    Page,
    /// In the shadow buffer. Only the latest value is seen.
    Shadow,
}

/// Why a doorbell had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoorbellRefusal {
    /// CC.EN or CSTS.RDY is 0, or CSTS.CFS is 1.
    NotRunning,
    /// There is no such queue (an Asynchronous Event 00h tells of it).
    NoQueue,
    /// The value is not inside the queue, or a head passes the tail (an Asynchronous Event 01h tells of it).
    BadValue,
    /// With shadow buffers the value counts that lies there; the register's only wakes the device.
    Nudge,
    /// Power is off.
    NoPower,
}

/// Why a register access had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterRefusal {
    /// Neither 4 nor 8 bytes at a multiple of that.
    Width,
    /// No register is there.
    Reserved,
    /// The register can only be read.
    ReadOnly,
    /// AQA, ASQ and ACQ, and CC but for EN and SHN, do not change while CC.EN is 1.
    WhileEnabled,
    /// NSSR takes 4E564D65h only.
    Key,
    /// Power is off: everything reads as all ones.
    NoPower,
}

/// Why CSTS.CFS was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FatalReason {
    /// AQA.ASQS is 0: the admin submission queue has one entry.
    AdminSubmissionSize,
    /// AQA.ACQS is 0.
    AdminCompletionSize,
    /// ASQ is not aligned to CC.MPS.
    AdminSubmissionMisaligned,
    /// ACQ is not aligned to CC.MPS.
    AdminCompletionMisaligned,
    /// CC.MPS is above CAP.MPSMAX.
    PageSize,
    /// CC.CSS names command sets that CAP.CSS does not offer.
    CommandSet,
    /// CC.AMS asks for an arbitration that CAP.AMS does not offer.
    Arbitration,
    /// The memory of the admin queue pair was not there, and did not come back in time.
    AdminQueueMemory,
    /// The Keep Alive Timer ran out.
    KeepAlive,
    /// A fault that was added wants it (`fault`).
    Injected,
}

/// What kind of reset it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetKind {
    /// CC.EN went from 1 to 0.
    Controller,
    /// Function level reset, device reset, or a new client of the transport.
    Function,
    /// NSSR.
    Subsystem,
}

/// How far a shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownState {
    /// CC.SHN asked for it.
    Begun,
    /// Everything is durable; CSTS.SHST is 10b.
    Complete,
    /// The media could not flush; CSTS.SHST stays 01b.
    Failed,
    /// The controller was enabled again.
    Cleared,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TraceEvent {
    /// The host read BAR0, doorbells not among it.
    RegisterRead {
        /// Offset in bytes.
        offset: u64,
        /// Length of the access in bytes.
        bytes: u8,
        /// What was answered, little-endian.
        value: u64,
        /// Why nothing but zeroes was.
        refused: Option<RegisterRefusal>,
    },
    /// The host wrote BAR0, doorbells not among it.
    RegisterWritten {
        /// Offset in bytes.
        offset: u64,
        /// Length of the access in bytes.
        bytes: u8,
        /// What was written, little-endian.
        value: u64,
        /// Why it had no effect.
        refused: Option<RegisterRefusal>,
    },
    /// The host moved a doorbell.
    Doorbell {
        /// How.
        path: DoorbellPath,
        /// Queue identifier.
        queue: u16,
        /// The tail of a submission queue, or the head of a completion queue.
        tail: bool,
        /// What was written.
        value: u32,
        /// Why it had no effect.
        refused: Option<DoorbellRefusal>,
    },
    /// The host read a doorbell, which reads as 0.
    DoorbellRead {
        /// Offset in bytes.
        offset: u64,
    },
    /// A submission queue entry was read.
    Fetched {
        /// Its name.
        command: CommandName,
        /// All 64 bytes of it.
        entry: Command,
    },
    /// A Dataset Management or a Copy names these blocks: one event for each range, behind that of its entry.
    Range {
        /// Whose.
        command: CommandName,
        /// The first block.
        first: u64,
        /// How many.
        blocks: u32,
    },
    /// PRPs or SGLs were followed.
    Pointers {
        /// Whose.
        command: CommandName,
        /// Pieces of guest memory, neighbours joined.
        pieces: u32,
        /// Their bytes.
        bytes: u64,
    },
    /// One of these pieces; told only with [`Detail::Memory`].
    Piece {
        /// Whose.
        command: CommandName,
        /// Guest address.
        address: u64,
        /// Bytes.
        length: u64,
        /// It is the separate metadata's.
        metadata: bool,
    },
    /// What a command carries was read; told only with [`Controller::listen_to_data`], and [`Controller::take_traced_data`] has it.
    Data {
        /// Whose.
        command: CommandName,
        /// Bytes, separate metadata not among them.
        length: u64,
        /// It is what the host gets.
        to_host: bool,
    },
    /// The media has the command, or a part of it, and will report.
    MediaBegun {
        /// Which.
        command: CommandName,
    },
    /// The media is done with it.
    MediaEnded {
        /// Which.
        command: CommandName,
        /// Whether it succeeded.
        succeeded: bool,
    },
    /// A command was answered. The entry is written at the end of the step.
    Completed {
        /// Which.
        command: CommandName,
        /// The opcode that it had.
        opcode: u8,
        /// What it named as its namespace.
        nsid: u32,
        /// What the host is told.
        status: Status,
        /// Dword 0.
        result: u32,
        /// Why it failed.
        reason: Option<Reason>,
    },
    /// A completion queue entry was written.
    CompletionWritten {
        /// Completion queue.
        queue: u16,
        /// Its place in the queue.
        slot: u32,
        /// All 16 bytes of it.
        entry: Completion,
    },
    /// A message of MSI-X was sent.
    Message {
        /// Its vector.
        vector: u16,
    },
    /// INTx changed.
    Pin {
        /// Its level.
        asserted: bool,
    },
    /// A reset was carried out.
    Reset {
        /// How far it reached.
        kind: ResetKind,
        /// Commands that were under way, and are not answered any more.
        dropped: u32,
    },
    /// CC.EN went from 0 to 1 and the controller became ready.
    Enabled {
        /// CC.
        configuration: Configuration,
        /// AQA.
        attributes: u32,
        /// ASQ.
        submission: u64,
        /// ACQ.
        completion: u64,
    },
    /// CSTS.CFS was set.
    Fatal {
        /// Why.
        reason: FatalReason,
        /// The value that is to blame.
        value: u64,
        /// What it should have been: a bound, or an alignment in bytes.
        bound: u64,
    },
    /// A shutdown went on.
    Shutdown {
        /// How far it is.
        state: ShutdownState,
    },
    /// Something happened that an Asynchronous Event Request may tell of.
    EventRaised {
        /// What.
        event: Event,
    },
    /// An Asynchronous Event Request told of it.
    EventReported {
        /// What.
        event: Event,
    },
    /// The memory of a completion queue that was just created holds entries that look new to a host: their phase is 1.
    StaleCompletions {
        /// Completion queue.
        queue: u16,
        /// How many of its entries.
        entries: u32,
        /// The first of them.
        first: u32,
    },
    /// A submission queue entry that was fetched is another one now, before the host was told that it was fetched.
    EntryChanged {
        /// Whose it was.
        command: CommandName,
        /// What is there now.
        entry: Command,
    },
    /// The host chose between messages and the pin.
    InterruptMode {
        /// MSI-X is on.
        messages: bool,
    },
    /// PCI command register, bus master.
    BusMaster {
        /// Whether the function may reach memory.
        enabled: bool,
    },
    /// A fault changed what an admin command is answered with: bytes that the host finds in its buffer.
    DataChanged {
        /// Which.
        command: CommandName,
        /// Its opcode,
        opcode: u8,
        /// what it names as its namespace,
        nsid: u32,
        /// and its dword 10.
        dword10: u32,
        /// Offset of the first byte in the data.
        offset: u32,
        /// The bytes, of which the first `count` count; longer changes are told in parts.
        bytes: [u8; 16],
        /// How many.
        count: u8,
    },
    /// A fault that was added has hit (`fault`): what follows is its doing.
    FaultHit {
        /// Its number.
        fault: u32,
        /// The command that it met.
        command: Option<CommandName>,
    },
    /// Power was lost.
    PowerLost,
    /// Power is back.
    PowerRestored,
    /// The controller's access to an ANA group of its namespaces is another one.
    AccessChanged {
        /// ANA Group Identifier.
        group: u32,
        /// The state now.
        state: AnaState,
    },
    /// A namespace that the controller has is another one now, in size or format; or it got it, or lost it.
    NamespaceChanged {
        /// Namespace identifier.
        nsid: u32,
        /// Its logical blocks now; 0 where the controller does not have it any more.
        blocks: u64,
        /// Bytes of data of a block.
        block_bytes: u32,
        /// Bytes that are transferred for a block: with its metadata, where that lies behind it.
        transfer_bytes: u32,
    },
}

/// The events, until somebody takes them.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    detail: Detail,
    now: Nanoseconds,
    generation: u64,
    recent: VecDeque<Traced>,
    /// For the listener: none if nobody listens.
    waiting: Option<Vec<Traced>>,
    dropped: u64,
    /// Only with [`Detail::Memory`].
    entries: Entries,
    data: DataWatch,
}

impl Watch {
    /// Whether hops of I/O commands are told.
    #[inline]
    pub(crate) fn hops(&self) -> bool {
        self.detail != Detail::Rare
    }

    /// Whether pieces of memory are.
    #[inline]
    pub(crate) fn memory(&self) -> bool {
        self.detail == Detail::Memory
    }

    /// Time goes on.
    pub(crate) fn at(&mut self, now: Nanoseconds) {
        self.now = self.now.max(now);
    }

    /// Something that is told to whoever wants to hear of every command.
    #[inline]
    pub(crate) fn hop(&mut self, event: impl FnOnce() -> TraceEvent) {
        if self.hops() {
            self.tell(event());
        }
    }

    /// Something that is always told.
    #[cold]
    pub(crate) fn tell(&mut self, event: TraceEvent) {
        self.tell_listener(event);
    }

    /// The same. Whether a listener will hear it.
    fn tell_listener(&mut self, event: TraceEvent) -> bool {
        if matches!(event, TraceEvent::Reset { .. } | TraceEvent::Enabled { .. }) {
            self.generation += 1;
            self.entries.clear();
            self.data.clear();
        }
        let traced = Traced { time: self.now, generation: self.generation, event };
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(traced);
        match &mut self.waiting {
            Some(waiting) if waiting.len() < WAITING_MAX => waiting.push(traced),
            Some(_) => {
                self.dropped += 1;
                return false;
            }
            None => return false,
        }
        true
    }
}

impl Permit {
    /// The command's names, as events and reports have them.
    pub(crate) fn name(&self) -> CommandName {
        CommandName { queue: self.sqid(), identifier: self.cid(), ordinal: self.ordinal() }
    }
}

impl Controller {
    /// A command was fetched, from this index of its queue.
    #[cold]
    pub(crate) fn tell_fetched(&mut self, command: CommandName, entry: Command) {
        self.watch.tell(TraceEvent::Fetched { command, entry });
        self.watch.data.fetched(command, entry.opcode);
        if self.watch.memory()
            && let Some(queue) = self.queues.submission(command.queue)
        {
            self.watch.entries.fetched(command, queue.address_of_latest(), entry, queue.head());
        }
    }

    /// The ranges of a command were read.
    #[cold]
    pub(crate) fn tell_ranges(&mut self, command: CommandName, copies: bool) {
        // The target of a Copy, which its entry names, comes first.
        for range in &self.listed[usize::from(copies)..] {
            let blocks = u32::try_from(range.blocks).unwrap_or(u32::MAX);
            self.watch.tell(TraceEvent::Range { command, first: range.start.0, blocks });
        }
    }

    /// Data pointers were followed, and the media has the command, or had it: what `result` says, if it says anything yet.
    #[cold]
    pub(crate) fn tell_begun<M: GuestMemory>(
        &mut self,
        command: CommandName,
        memory: &M,
        result: Result<bool, Reason>,
    ) {
        let bytes = self.segments.iter().map(|segment| segment.length as u64).sum();
        if bytes > 0 {
            let pieces = u32::try_from(self.segments.len()).unwrap_or(u32::MAX);
            self.watch.tell(TraceEvent::Pointers { command, pieces, bytes });
        }
        if self.watch.memory() {
            let apart = self.metadata.iter().map(|segment| (segment, true));
            for (segment, metadata) in self.segments.iter().map(|segment| (segment, false)).chain(apart) {
                let (address, length) = (segment.address, segment.length as u64);
                self.watch.tell(TraceEvent::Piece { command, address, length, metadata });
            }
        }
        if self.tells_data() {
            self.data_found(command, memory);
        }
        if command.queue == 0 {
            return;
        }
        let over = match result {
            Ok(pending) => (!pending).then_some(true),
            Err(reason) if reason.is_of_media() => Some(false),
            Err(_) => return,
        };
        self.watch.tell(TraceEvent::MediaBegun { command });
        if let Some(succeeded) = over {
            self.watch.tell(TraceEvent::MediaEnded { command, succeeded });
        }
    }

    /// A command's answer goes into its queue.
    #[cold]
    pub(crate) fn tell_completed(&mut self, permit: &Permit, origin: Origin, reply: Reply) {
        let (opcode, nsid) = (origin.opcode, origin.nsid);
        let (Reply { reason, result, .. }, status) = (reply, reply.status.without_more());
        self.watch.tell(TraceEvent::Completed { command: permit.name(), opcode, nsid, status, result, reason });
    }

    /// What is about to be written to a completion queue, where somebody wants to hear of it. Entries of submission queues that
    /// this gives back are looked at once more, if a listener wants that.
    #[inline]
    pub(crate) fn preview_completions<M: GuestMemory>(&mut self, id: u16, memory: &M) -> Vec<(u32, Completion)> {
        if self.watch.hops() || id == 0 { self.preview_told(id, memory) } else { Vec::new() }
    }

    #[cold]
    fn preview_told<M: GuestMemory>(&mut self, id: u16, memory: &M) -> Vec<(u32, Completion)> {
        let preview = self.queues.completion(id).map(CompletionQueue::preview).unwrap_or_default();
        for (_, entry) in &preview {
            if self.tells_data() {
                self.data_ready((entry.sqid.get(), entry.cid.get()), memory);
            }
            for Kept { command, address, entry: fetched, .. } in self.watch.entries.given_back(entry) {
                let mut now = Command::default();
                if memory.read(address, now.as_mut_bytes()).is_ok() && now.as_bytes() != fetched.as_bytes() {
                    self.watch.tell(TraceEvent::EntryChanged { command, entry: now });
                }
            }
        }
        preview
    }

    /// The first `count` of these were written.
    #[cold]
    pub(crate) fn tell_written(&mut self, queue: u16, preview: &[(u32, Completion)], count: u32) {
        for &(slot, entry) in preview.iter().take(count as usize) {
            self.watch.tell(TraceEvent::CompletionWritten { queue, slot, entry });
        }
    }

    /// The memory of a completion queue that was just made: entries with phase 1 would look new to the host.
    pub(crate) fn check_stale<M: GuestMemory>(&mut self, queue: u16, memory: &M) {
        let Some(state) = self.queues.completion(queue).filter(|_| self.watch.memory()).map(|made| made.state(queue))
        else {
            return;
        };
        let looks_new = |index: &u32| {
            let mut entry = Completion::default();
            let address = state.base.wrapping_add(u64::from(*index) * COMPLETION_BYTES as u64);
            memory.read(address, entry.as_mut_bytes()).is_ok() && entry.status_and_phase.get() & 1 != 0
        };
        let stale: Vec<u32> = (0..state.entries).filter(looks_new).collect();
        if let Some(&first) = stale.first() {
            let entries = u32::try_from(stale.len()).unwrap_or(u32::MAX);
            self.watch.tell(TraceEvent::StaleCompletions { queue, entries, first });
        }
    }

    /// What was done for the host's interrupts since there were `before` effects.
    #[cold]
    pub(crate) fn tell_effects(&mut self, before: usize) {
        for effect in &self.effects[before..] {
            match *effect {
                Effect::Message { vector } => self.watch.tell(TraceEvent::Message { vector }),
                Effect::Pin { asserted } => self.watch.tell(TraceEvent::Pin { asserted }),
                Effect::EventReported(_) => {}
            }
        }
    }

    /// A submission queue is gone, and with it what lay in its memory.
    pub(crate) fn forget_entries(&mut self, queue: u16) {
        self.watch.entries.forget(queue);
    }

    /// From now on events wait for [`Self::take_traced`]. More detail than [`Detail::Rare`] makes every I/O command slower.
    pub fn listen(&mut self, detail: Detail) {
        self.watch.detail = detail;
        self.watch.entries.clear();
        self.watch.waiting.get_or_insert_default();
    }

    /// Nobody listens any more.
    pub fn listen_no_more(&mut self) {
        self.watch.detail = Detail::Rare;
        self.watch.waiting = None;
        self.watch.entries.clear();
    }

    /// What a listener hears.
    #[must_use]
    pub fn detail(&self) -> Option<Detail> {
        self.watch.waiting.as_ref().map(|_| self.watch.detail)
    }

    /// The time of what the host does from now on, until the next step. A transport that does not tell it dates accesses to registers as
    /// the last step.
    pub fn tell_time(&mut self, now: Nanoseconds) {
        self.watch.at(now);
    }

    /// Events since the last call, oldest first; none unless [`Self::listen`] was called.
    pub fn take_traced(&mut self) -> Vec<Traced> {
        self.watch.waiting.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Whether [`Self::take_traced`] has any.
    #[must_use]
    pub fn has_traced(&self) -> bool {
        self.watch.waiting.as_ref().is_some_and(|waiting| !waiting.is_empty())
    }

    /// How many events found no place because nobody took the others.
    #[must_use]
    pub fn traced_dropped(&self) -> u64 {
        self.watch.dropped
    }

    /// The last events, oldest first, at most [`RECENT`].
    pub fn recent(&self) -> impl DoubleEndedIterator<Item = &Traced> {
        self.watch.recent.iter()
    }
}
