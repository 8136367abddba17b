//! Power loss in the controller: what stops, what is reported, and how it comes back. The media decides what survives in it. The
//! breaker, which media and controller share, knows whether power is on.

use std::cell::RefCell;

use media::power::{
    Arming, Breaker, ChangeKind, Cut, CutReport, Fate, Fetched, Mark, RecoveryReport, Step, VolatileEntry,
};
use media::{
    Health, Lba, LbaRange, Media, MediaError, Nanoseconds, Outcome, Request, Submitted, Token, VolumeId, VolumeShape,
};
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{Command, Completion, Status};
use schemars::JsonSchema;
use serde::Serialize;

use crate::Controller;
use crate::dma::{DmaFault, GuestMemory};
use crate::inflight::Origin;
use crate::queue::{CompletionQueue, Permit};
pub use crate::watch::CommandName;
use crate::watch::TraceEvent;

/// Logical blocks of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BlockRange {
    /// The first block.
    pub first: u64,
    /// How many.
    pub blocks: u64,
}

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// A write of data or of zeroes.
    Write,
    /// A Write Uncorrectable.
    Uncorrectable,
    /// A deallocation, or a write of zeroes that was carried out as one.
    Deallocation,
}

/// The fate of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FateName {
    /// All of it is there.
    Survived,
    /// None of it is there.
    Lost,
    /// The blocks in `survived` are there; those in `mangled` hold neither it nor anything older.
    Torn,
}

/// What a host may find, by the contract, in the blocks of a change that was not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Observable {
    /// What was there before: not all of the change had arrived, and it survives or is lost as a whole.
    Old,
    /// All blocks new, or none.
    Either,
    /// Each block new or old.
    PerBlock,
    /// Anything: only under the literal profile.
    Anything,
}

/// A write or deallocation that was not durable when power went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct NotDurable {
    /// Its kind.
    pub change: Change,
    /// Namespace identifier.
    pub namespace: u32,
    /// Its blocks that were not durable; others of the same command may have been.
    pub range: BlockRange,
    /// The command, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandName>,
    /// Whether its completion was in the completion queue.
    pub completed: bool,
    /// Its fate.
    pub fate: FateName,
    /// The blocks of it that survived, if it is torn.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub survived: Vec<BlockRange>,
    /// Blocks that hold neither it nor anything older.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mangled: Vec<BlockRange>,
    /// What a host may find, by the contract.
    pub observable: Observable,
}

/// What a power loss did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PowerReport {
    /// The step at which the crash point tripped; absent where power was cut from outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<&'static str>,
    /// The command that was being executed then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandName>,
    /// Commands taken since power-on.
    pub commands: u64,
    /// The time of the controller's step, in nanoseconds.
    pub time_ns: u64,
    /// Everything that was not durable, oldest first.
    pub not_durable: Vec<NotDurable>,
}

/// Guest memory that is out of reach once power is lost, even in the middle of a step.
pub(crate) struct Powered<'a, M> {
    pub(crate) memory: &'a M,
    pub(crate) breaker: &'a Breaker,
}

impl<M: GuestMemory> Powered<'_, M> {
    fn reach(&self, address: u64) -> Result<&M, DmaFault> {
        if self.breaker.lost() { Err(DmaFault { address }) } else { Ok(self.memory) }
    }
}

impl<M: GuestMemory> GuestMemory for Powered<'_, M> {
    #[inline]
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        self.reach(address)?.read(address, into)
    }

    #[inline]
    fn read_non_temporal(&self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        self.reach(address)?.read_non_temporal(address, into)
    }

    #[inline]
    fn store_fence(&self) {
        self.memory.store_fence();
    }

    #[inline]
    fn prefetch(&self, bytes: &[u8]) {
        self.memory.prefetch(bytes);
    }

    #[inline]
    fn write(&self, address: u64, from: &[u8]) -> Result<(), DmaFault> {
        self.reach(address)?.write(address, from)
    }

    #[inline]
    fn load_u32(&self, address: u64) -> Result<u32, DmaFault> {
        self.reach(address)?.load_u32(address)
    }

    #[inline]
    fn store_u32(&self, address: u64, value: u32) -> Result<(), DmaFault> {
        self.reach(address)?.store_u32(address, value)
    }

    fn exchange_u32(&self, address: u64, current: u32, new: u32) -> Result<u32, DmaFault> {
        self.reach(address)?.exchange_u32(address, current, new)
    }

    #[inline]
    fn store_u64(&self, address: u64, value: u64) -> Result<(), DmaFault> {
        self.reach(address)?.store_u64(address, value)
    }

    #[inline]
    fn store_pairs(&self, address: u64, pairs: &[[u64; 2]]) -> Result<(), DmaFault> {
        self.reach(address)?.store_pairs(address, pairs)
    }

    #[inline]
    fn is_mapped(&self, address: u64, length: u64) -> bool {
        self.memory.is_mapped(address, length)
    }

    fn generation(&self) -> u64 {
        self.memory.generation()
    }
}

/// The state of the power supply.
#[derive(Debug, Default)]
pub(crate) struct Supply {
    pub(crate) breaker: Breaker,
    /// How an armed crash point resolves the cache.
    cut: Cut,
    /// The power loss was resolved and reported.
    resolved: bool,
    misbehaviour: Vec<&'static str>,
    report: Option<PowerReport>,
    /// Power goes when the answer to this command is in its completion queue.
    awaited: Option<Mark>,
}

impl Supply {
    /// Tells the media which command it works for from now on.
    #[inline]
    pub(crate) fn work_on(&self, permit: &Permit) {
        self.breaker.work_on(Mark::new(permit.sqid(), permit.cid(), permit.ordinal()));
    }

    /// Writes the answers that wait while somebody counts steps: each is one.
    #[cold]
    pub(crate) fn publish<M: GuestMemory>(
        &self,
        queue: &mut CompletionQueue,
        memory: &M,
    ) -> Result<u32, (u32, DmaFault)> {
        let entries = RefCell::new(queue.preview().into_iter());
        let each = || self.completion_written(entries.borrow_mut().next().map(|(_, entry)| entry).as_ref());
        queue.publish(memory, Some(&each))
    }

    fn completion_written(&self, entry: Option<&Completion>) {
        let is =
            |mark: &Mark, entry: &Completion| mark.queue() == entry.sqid.get() && mark.identifier() == entry.cid.get();
        match self.awaited.filter(|mark| entry.is_some_and(|entry| is(mark, entry))) {
            Some(mark) => {
                self.breaker.work_on(mark);
                self.breaker.trip(Step::CompletionWritten);
            }
            None => _ = self.breaker.reached(Step::CompletionWritten),
        }
    }

    /// A reset: an answer that the host never sees is not one that power goes after.
    pub(crate) fn forget_answer(&mut self) {
        if self.awaited.take().is_some() {
            self.breaker.uncompleted();
        }
    }

    /// A command was fetched; returns whether power is lost.
    #[inline]
    pub(crate) fn fetched(&self, permit: &Permit, command: &Command) -> bool {
        self.work_on(permit);
        self.breaker.attentive() && self.breaker.fetched(&fetched(permit, command))
    }

    pub(crate) fn new(media: &mut dyn Media) -> Self {
        let Some(power) = media.power() else { return Self::default() };
        Self { breaker: power.breaker(), misbehaviour: power.misbehaviour(), ..Self::default() }
    }
}

impl Controller {
    /// Whether power is on.
    #[must_use]
    pub fn power_is_on(&self) -> bool {
        !self.supply.breaker.lost()
    }

    /// Cuts power now: from here on nothing reaches the host, registers read as all ones, and what was volatile is resolved as `cut`
    /// says. Where power was off already nothing changes, and the report is that of the loss.
    pub fn power_cut(&mut self, cut: &Cut) -> PowerReport {
        if self.power_is_on() {
            self.supply.cut = cut.clone();
            self.supply.breaker.work_on(Mark::NONE);
            self.supply.breaker.cut();
        }
        self.notice_power();
        self.supply.report.clone().expect("a power loss has its report")
    }

    /// Arms a power cut at a step, a command or by chance: when it happens, the cache is resolved as `cut` says. Replaces what was armed
    /// before; does nothing while power is off.
    pub fn crash_arm(&mut self, arming: Arming, cut: Cut) {
        if self.power_is_on() {
            self.supply.cut = cut;
            self.supply.awaited = None;
            self.supply.breaker.arm(arming);
        }
    }

    /// Disarms the crash point.
    pub fn crash_disarm(&mut self) {
        self.supply.awaited = None;
        self.supply.breaker.disarm();
    }

    /// How often what is armed was met so far: steps, commands, or units that were volatile at most.
    #[must_use]
    pub fn crash_met(&self) -> u64 {
        self.supply.breaker.hits()
    }

    /// The crash point that is armed.
    #[must_use]
    pub fn crash_armed(&self) -> Option<Arming> {
        self.supply.breaker.arming()
    }

    /// The promises that the media breaks, by name: none, unless configured.
    #[must_use]
    pub fn misbehaviour(&self) -> &[&'static str] {
        &self.supply.misbehaviour
    }

    /// The report of the last power loss, also after power came back.
    #[must_use]
    pub fn crash(&self) -> Option<&PowerReport> {
        self.supply.report.as_ref()
    }

    /// Brings power back: the media recovers, with a crash point among recovery's own steps where asked for, and the controller is as at
    /// power-on. Bus mastering and the choice of interrupts are the transport's and stay as it last said.
    ///
    /// # Errors
    /// Power is on; the media cannot be recovered; or power went again on the way, which is the last report then. Power stays off.
    pub fn power_restore(&mut self, arming: Option<Arming>) -> Result<RecoveryReport, String> {
        if self.power_is_on() {
            return Err("power is on".to_owned());
        }
        self.notice_power();
        let report = self.supply.report.take();
        let recovered = match self.media.power() {
            Some(power) => power.restore(arming),
            None => {
                self.supply.breaker.restore();
                Ok(RecoveryReport::default())
            }
        };
        if !self.power_is_on() {
            if recovered.is_err() {
                self.supply.report = report;
                return recovered;
            }
            self.supply.resolved = false;
            self.notice_power();
            let step = self.supply.breaker.tripped_at().map_or("an unnamed step", Step::name);
            return Err(format!("power went again at {step}"));
        }
        self.supply.breaker.disarm();
        self.power_on();
        self.supply.report = report;
        recovered
    }

    /// Everything is as a new controller has it.
    fn power_on(&mut self) {
        let media = std::mem::replace(&mut self.media, Box::new(Unplugged));
        let (bus_master, mode, now) = (self.bus_master, self.interrupts.mode(), self.health.now);
        let watch = std::mem::take(&mut self.watch);
        let mut faults = std::mem::take(&mut self.faults);
        faults.power_on();
        *self = Self::new(self.config.clone(), media);
        (self.watch, self.faults) = (watch, faults);
        self.watch.tell(TraceEvent::PowerRestored);
        self.bus_master = bus_master;
        self.interrupts.set_mode(mode);
        self.health.now = now;
    }

    /// An answer was put where it waits for its completion queue, while a crash point is armed.
    #[cold]
    pub(crate) fn completion_queued(&mut self, mark: Mark, origin: Origin, status: Status) {
        let Origin { opcode, nsid: namespace, .. } = origin;
        let command = Fetched { io: mark.queue() != 0, opcode, namespace, range: None };
        if status == Status::SUCCESS && self.supply.breaker.completed(&command) {
            self.supply.awaited = Some(mark);
        }
        self.reached(Step::CompletionQueued);
    }

    /// Records that a step was reached; returns whether power is lost.
    #[inline]
    pub(crate) fn reached(&self, step: Step) -> bool {
        self.supply.breaker.reached(step)
    }

    /// After a call that may have tripped the breaker: resolves the loss and puts the report together, once.
    #[inline]
    pub(crate) fn notice_power(&mut self) {
        if self.supply.breaker.lost() {
            self.power_failed();
        }
    }

    #[cold]
    fn power_failed(&mut self) {
        if std::mem::replace(&mut self.supply.resolved, true) {
            return;
        }
        self.watch.tell(TraceEvent::PowerLost);
        self.interrupts.reset(&mut self.effects);
        let breaker = self.supply.breaker.clone();
        let resolved = match self.media.power() {
            Some(power) => power.cut(&self.supply.cut),
            None => CutReport { step: breaker.tripped_at(), mark: breaker.tripped_in(), entries: Vec::new() },
        };
        breaker.disarm();
        let commands = self.queues.taken();
        let name = |mark: Mark| command_name(mark, commands);
        let not_durable = resolved.entries.iter().map(|entry| self.not_durable(entry)).collect();
        self.supply.report = Some(PowerReport {
            step: resolved.step.map(Step::name),
            command: name(resolved.mark),
            commands,
            time_ns: self.health.now.0,
            not_durable,
        });
    }

    /// What the media says of a change that was not durable, in a host's words: as long as power is off.
    #[must_use]
    pub fn not_durable(&self, entry: &VolatileEntry) -> NotDurable {
        let blocks = |range: &LbaRange| BlockRange { first: range.start.0, blocks: range.blocks };
        let all = |ranges: &[LbaRange]| ranges.iter().map(blocks).collect();
        let (fate, survived, mangled) = match &entry.fate {
            Fate::Survived => (FateName::Survived, Vec::new(), Vec::new()),
            Fate::Lost => (FateName::Lost, Vec::new(), Vec::new()),
            Fate::Torn { survived, mangled } => (FateName::Torn, all(survived), all(mangled)),
        };
        let command = command_name(entry.mark, self.queues.taken());
        NotDurable {
            change: match entry.kind {
                ChangeKind::Write => Change::Write,
                ChangeKind::Uncorrectable => Change::Uncorrectable,
                ChangeKind::Deallocation => Change::Deallocation,
            },
            namespace: self.namespaces.of_volume(entry.volume),
            range: blocks(&entry.range),
            command,
            completed: command.is_some_and(|command| !self.is_unanswered(command.ordinal)),
            fate,
            survived,
            mangled,
            observable: match (entry.atomic, entry.complete) {
                (true, true) => Observable::Either,
                (true, false) => Observable::Old,
                (false, _) if self.supply.cut.profile == media::power::Profile::Literal => Observable::Anything,
                (false, _) => Observable::PerBlock,
            },
        }
    }

    /// Whether a command's completion was not written: it is under way, or its answer waits.
    fn is_unanswered(&self, ordinal: u64) -> bool {
        let under_way = |command: &crate::inflight::InFlight| command.permit.ordinal() == ordinal;
        !self.in_flight.tokens(under_way).is_empty()
            || self.faults.holds(ordinal)
            || self.queues.awaits_writing(ordinal)
    }

    /// Of the interrupts raised in this step, those stand that came before the power loss.
    pub(crate) fn raise_until_lost(&mut self, before: usize) {
        let raised = self.effects.len();
        for number in before..raised {
            if self.reached(Step::InterruptRaised) {
                self.effects.truncate(number + 1);
                return;
            }
        }
    }
}

fn command_name(mark: Mark, latest: u64) -> Option<CommandName> {
    let name = || CommandName { queue: mark.queue(), identifier: mark.identifier(), ordinal: mark.ordinal(latest) };
    (!mark.is_none()).then(name)
}

/// What a crash point may ask of a command. The blocks are those of the commands that name a range in the usual place.
fn fetched(permit: &Permit, command: &Command) -> Fetched {
    let io = permit.sqid() != 0;
    let range = LbaRange::new(Lba(command.slba()), u64::from(command.nlb_z()) + 1);
    let named = io && NvmOpcode(command.opcode).names_blocks();
    Fetched { io, opcode: command.opcode, namespace: command.nsid.get(), range: named.then_some(range) }
}

/// What stands in the place of the media while the controller is made anew.
struct Unplugged;

impl Media for Unplugged {
    fn shape(&self, _volume: VolumeId) -> Option<VolumeShape> {
        None
    }

    fn allocated_blocks(&self, _volume: VolumeId) -> u64 {
        0
    }

    fn health(&self) -> Health {
        Health::default()
    }

    fn write_cache(&self) -> Option<bool> {
        None
    }

    fn set_write_cache(&mut self, _now: Nanoseconds, _token: Token, _enabled: bool) -> Submitted {
        Submitted::Done(Err(MediaError::PowerLost))
    }

    fn submit(&mut self, _now: Nanoseconds, _token: Token, _volume: VolumeId, _request: Request<'_>) -> Submitted {
        Submitted::Done(Err(MediaError::PowerLost))
    }

    fn poll(&mut self, _now: Nanoseconds, _outcome: &mut dyn FnMut(Token, Outcome)) {}

    fn cancel(&mut self, _token: Token) -> bool {
        false
    }

    fn next_event(&self) -> Option<Nanoseconds> {
        None
    }
}
