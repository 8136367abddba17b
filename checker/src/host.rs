//! What the host has done so far, as far as it can be seen: registers, queues, commands under way. It judges nothing.

use std::collections::BTreeMap;

use controller::watch::{CommandName, FatalReason, ShutdownState, TraceEvent, Traced};
use media::Nanoseconds;
use nvme_spec::command::{high16, low16};
use nvme_spec::opcode::AdminOpcode;
use nvme_spec::register::{self, AdminQueueAttributes, Configuration};
use nvme_spec::{Command, NSID_ALL};

use crate::limits::SECOND;

/// Interrupts enabled, in dword 11 of Create I/O Completion Queue.
const INTERRUPTS: u32 = 1 << 1;

/// A command that was fetched and is not answered.
#[derive(Clone, Debug)]
pub(crate) struct Outstanding {
    pub(crate) name: CommandName,
    pub(crate) entry: Command,
    pub(crate) fetched: Nanoseconds,
    /// An Abort named it.
    pub(crate) aborted: bool,
    /// Guest memory of its data, with whether it is metadata.
    pub(crate) pieces: Vec<(u64, u64)>,
}

impl Outstanding {
    /// Whether its driver must have given it up if it used it again now: no driver is as hasty by mistake, however slow its machine is.
    /// Of a silence no more than a second counts, so that it takes less than that.
    pub(crate) fn given_up(&self, now: Nanoseconds) -> bool {
        !self.aborted && now.0.saturating_sub(self.fetched.0) > SECOND / 2
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Submission {
    pub(crate) base: u64,
    pub(crate) entries: u32,
    pub(crate) tail: u32,
    /// Where the controller is.
    pub(crate) fetched: u32,
    /// Where completions said it is.
    pub(crate) reported: u32,
    /// Commands fetched since it was made.
    pub(crate) commands: u64,
    /// Times that its doorbell was rung.
    pub(crate) rings: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Completions {
    pub(crate) base: u64,
    pub(crate) entries: u32,
    pub(crate) head: u32,
    pub(crate) tail: u32,
    pub(crate) vector: Option<u16>,
    /// When an entry was written or the head moved last.
    pub(crate) moved: Nanoseconds,
    /// When the host was told of entries that it has not taken.
    pub(crate) told: Option<Nanoseconds>,
}

impl Completions {
    pub(crate) fn unseen(&self) -> u32 {
        (self.tail + self.entries - self.head) % self.entries
    }
}

#[derive(Debug, Default)]
pub(crate) struct HostState {
    pub(crate) now: Nanoseconds,
    pub(crate) configuration: Configuration,
    pub(crate) ready: bool,
    pub(crate) reset_pending: bool,
    /// The controller was reset without the host, which cannot know of it before it looks.
    pub(crate) reset_alone: bool,
    pub(crate) fatal: Option<(FatalReason, Nanoseconds)>,
    /// When CC.EN, CSTS.RDY or CSTS.CFS changed last.
    pub(crate) changed: Nanoseconds,
    pub(crate) shutdown: Option<(ShutdownState, Nanoseconds)>,
    pub(crate) bus_master: bool,
    pub(crate) messages: bool,
    pub(crate) powerless: Option<Nanoseconds>,
    /// When the host read all ones first, without power.
    pub(crate) saw_all_ones: Option<Nanoseconds>,
    pub(crate) submissions: BTreeMap<u16, Submission>,
    pub(crate) completions: BTreeMap<u16, Completions>,
    /// When a queue was deleted, by whether it was a submission queue, and its identifier.
    pub(crate) deleted: BTreeMap<(bool, u16), Nanoseconds>,
    pub(crate) outstanding: BTreeMap<(u16, u16), Outstanding>,
    pub(crate) shadow_doorbells: bool,
}

impl HostState {
    pub(crate) fn outstanding_of(&self, queue: u16) -> impl Iterator<Item = &Outstanding> {
        self.outstanding.range((queue, 0)..=(queue, u16::MAX)).map(|(_, command)| command)
    }

    /// What follows from an event; after it was judged.
    pub(crate) fn apply(&mut self, traced: &Traced) {
        self.now = self.now.max(traced.time);
        match traced.event {
            TraceEvent::RegisterWritten { offset: register::CC, value, refused: None, .. } => {
                let new = Configuration(u32::try_from(value & 0xffff_ffff).unwrap_or(0));
                self.reset_pending |= self.configuration.enabled() && !new.enabled();
                if new.enabled() != self.configuration.enabled() {
                    self.changed = self.now;
                }
                self.configuration = new;
                self.reset_alone = false;
            }
            TraceEvent::Enabled { configuration, attributes, submission, completion } => {
                self.configuration = configuration;
                (self.ready, self.changed) = (true, self.now);
                let attributes = AdminQueueAttributes(attributes);
                self.add_submission(0, submission, u32::from(attributes.submission_z()) + 1);
                self.add_completion(0, completion, u32::from(attributes.completion_z()) + 1, Some(0));
            }
            TraceEvent::Reset { .. } => self.reset(),
            TraceEvent::Fatal { reason, .. } => {
                (self.fatal, self.changed) = (Some((reason, self.now)), self.now);
            }
            TraceEvent::Shutdown { state: ShutdownState::Cleared } => self.shutdown = None,
            TraceEvent::Shutdown { state } => self.shutdown = Some((state, self.now)),
            TraceEvent::BusMaster { enabled } => self.bus_master = enabled,
            TraceEvent::InterruptMode { messages } => self.messages = messages,
            TraceEvent::PowerLost => {
                self.reset();
                self.powerless = Some(self.now);
            }
            TraceEvent::PowerRestored => (self.powerless, self.saw_all_ones) = (None, None),
            TraceEvent::RegisterRead { refused: Some(_), value: u64::MAX, .. } if self.powerless.is_some() => {
                self.saw_all_ones.get_or_insert(self.now);
            }
            TraceEvent::Doorbell { queue, tail, value, refused: None, .. } => self.ring(queue, tail, value),
            TraceEvent::Fetched { command, entry } => self.fetched(command, entry),
            TraceEvent::Piece { command, address, length, .. } => {
                if let Some(outstanding) = self.outstanding.get_mut(&(command.queue, command.identifier)) {
                    outstanding.pieces.push((address, length));
                }
            }
            TraceEvent::Completed { command, status, .. } => self.completed(command, status.is_success()),
            TraceEvent::CompletionWritten { queue, slot, entry } => {
                let now = self.now;
                if let Some(completions) = self.completions.get_mut(&queue) {
                    completions.tail = (slot + 1) % completions.entries;
                    completions.moved = now;
                }
                if let Some(submission) = self.submissions.get_mut(&entry.sqid.get()) {
                    submission.reported = entry.sq_head.get().into();
                }
            }
            TraceEvent::Message { vector } => {
                let now = self.now;
                for completions in self.completions.values_mut().filter(|queue| queue.vector == Some(vector)) {
                    if completions.unseen() > 0 {
                        completions.told.get_or_insert(now);
                    }
                }
            }
            _ => {}
        }
    }

    fn reset(&mut self) {
        if self.configuration.enabled() && !self.reset_pending {
            self.reset_alone = true;
            self.configuration = Configuration(self.configuration.0 & !1);
        }
        (self.ready, self.reset_pending, self.fatal, self.shutdown) = (false, false, None, None);
        self.changed = self.now;
        self.submissions.clear();
        self.completions.clear();
        self.deleted.clear();
        self.outstanding.clear();
        self.shadow_doorbells = false;
    }

    fn ring(&mut self, queue: u16, tail: bool, value: u32) {
        let (value, now) = (value & 0xffff, self.now);
        if tail {
            if let Some(submission) = self.submissions.get_mut(&queue) {
                submission.tail = value;
                submission.rings += 1;
            }
        } else if let Some(completions) = self.completions.get_mut(&queue) {
            completions.head = value;
            completions.moved = now;
            completions.told = None;
        }
    }

    fn fetched(&mut self, name: CommandName, entry: Command) {
        let fetched = self.now;
        if let Some(submission) = self.submissions.get_mut(&name.queue) {
            submission.fetched = (submission.fetched + 1) % submission.entries;
            submission.commands += 1;
        }
        if name.queue == 0 && AdminOpcode(entry.opcode) == AdminOpcode::ABORT {
            let dword = entry.cdw10.get();
            if let Some(named) = self.outstanding.get_mut(&(low16(dword), high16(dword))) {
                named.aborted = true;
            }
        }
        let outstanding = Outstanding { name, entry, fetched, aborted: false, pieces: Vec::new() };
        self.outstanding.insert((name.queue, name.identifier), outstanding);
    }

    fn completed(&mut self, name: CommandName, succeeded: bool) {
        let Some(command) = self.outstanding.remove(&(name.queue, name.identifier)) else { return };
        if name.queue == 0 && succeeded {
            self.administered(&command.entry);
        }
    }

    /// What an admin command that succeeded did to queues.
    fn administered(&mut self, entry: &Command) {
        let (dword10, dword11) = (entry.cdw10.get(), entry.cdw11.get());
        let (id, entries) = (low16(dword10), u32::from(high16(dword10)) + 1);
        match AdminOpcode(entry.opcode) {
            AdminOpcode::CREATE_COMPLETION_QUEUE => {
                let vector = (dword11 & INTERRUPTS != 0).then(|| high16(dword11));
                self.add_completion(id, entry.prp1.get(), entries, vector);
            }
            AdminOpcode::CREATE_SUBMISSION_QUEUE => self.add_submission(id, entry.prp1.get(), entries),
            AdminOpcode::DELETE_COMPLETION_QUEUE => {
                self.completions.remove(&id);
                self.deleted.insert((false, id), self.now);
            }
            AdminOpcode::DELETE_SUBMISSION_QUEUE => {
                self.submissions.remove(&id);
                self.deleted.insert((true, id), self.now);
            }
            AdminOpcode::DOORBELL_BUFFER_CONFIG => self.shadow_doorbells = true,
            _ => {}
        }
    }

    fn add_submission(&mut self, id: u16, base: u64, entries: u32) {
        let made = Submission { base, entries, tail: 0, fetched: 0, reported: 0, commands: 0, rings: 0 };
        self.submissions.insert(id, made);
    }

    fn add_completion(&mut self, id: u16, base: u64, entries: u32, vector: Option<u16>) {
        let moved = self.now;
        self.completions.insert(id, Completions { base, entries, head: 0, tail: 0, vector, moved, told: None });
    }
}

/// Whether a command names a namespace that it uses.
pub(crate) fn names_one_namespace(entry: &Command) -> bool {
    entry.nsid.get() != 0 && entry.nsid.get() != NSID_ALL
}
