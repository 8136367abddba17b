//! The NVM subsystem and its controllers as values: they take register accesses and the time, work on guest memory and a media, and return
//! the interrupts to send. They have no thread, clock, socket or random number inside, so a run is a function of its inputs.
//!
//! `shared` has what the controllers of a subsystem share: media, namespaces, the order of overlapping commands, power. `subsystem` joins
//! that and the controllers for whoever runs a device. Everything else is of one controller.
//!
//! Map of the crate, in the order in which a command passes: [`bar`] and `doorbell` (where the host writes), `state` (CC and CSTS),
//! `arbiter` and `queue` (a completion slot, then the entry), `command` (typed, or a status), `io` and `admin` (one file for each
//! command or family) with `prp`, `sgl` and [`dma`] (guest memory), then the media; and back up: `inflight`, `queue`, [`irq`](Effect).
//! Overlapping commands: `atomic` and `scheduling`. Whether one may have its namespace: `reach`, `reservations`.
//!
//! Not implemented yet: protection information, Sanitize, firmware download, weighted arbitration.

#![forbid(unsafe_code)]

mod absence;
mod access;
mod admin;
pub mod ana;
mod answered;
mod arbiter;
mod atomic;
pub mod bar;
mod budget;
mod command;
pub mod config;
mod controllers;
pub mod dma;
mod doorbell;
mod effects;
mod fast_path;
pub mod fault;
mod health;
mod inflight;
pub mod inspect;
mod io;
mod irq;
mod notices;
mod outcome;
pub mod power;
mod prp;
mod queue;
mod reach;
pub mod reason;
mod reservations;
mod scheduling;
mod sgl;
mod shared;
mod shutdown;
mod state;
mod subsystem;
mod warning;
pub mod watch;

use std::collections::{BTreeSet, VecDeque};

use media::power::{Mark, Step};
use media::{LbaRange, Token, VolumeId};
use nvme_spec::Command;

use absence::Absence;
use admin::Done;
use admin::events::Events;
use admin::features::Features;
use answered::Answered;
use arbiter::Arbiter;
use budget::Budget;
use command::IoCommand;
use dma::{DoorbellPage, GuestMemory, Segment};
use doorbell::Doorbells;
use fast_path::{Apart, Then};
use fault::Faults;
use health::Health;
use inflight::{InFlight, InFlightTable, Origin, Reply};
use irq::Interrupts;
use power::{Powered, Supply};
use queue::{Blocked, CompletionQueue, IdSet, Permit, Queues, SubmissionQueue, Take};
use reason::Reason;
use reservations::Notifications;
use shared::Shared;
use shared::mail::{Ended, Notice};
use shared::namespace::Namespaces;
use state::{Fatal, Registers, Reset, Shutdown};
use warning::WarningsSeen;
use watch::{FatalReason, ResetKind, TraceEvent, Watch};

pub use budget::Clock;
pub use command::reservation::ReservationKind;
pub use controllers::{CONTROLLERS_MAX, ControllerId, ControllerSet};
pub use irq::{Effect, InterruptMode};
/// The time that [`Subsystem::step`] is told.
pub use media::Nanoseconds;
pub use shared::reservations::host::HostIdentifier;
pub use shared::reservations::{RegistrantState, ReservationState};
pub use shared::{changes, formats::Format, record};
pub use subsystem::{Subsystem, attach, direct, plugs};

/// A command's data counts as another one for this many pieces of guest memory: a host can describe half a megabyte one byte at a time.
const PIECES_PER_WORK: usize = 64;
/// And for this many bytes.
const BYTES_PER_WORK: usize = 64 << 10;
/// What the data of a command counts for beside the command.
fn work(data: &[Segment]) -> usize {
    let bytes: usize = data.iter().map(|segment| segment.length).sum();
    data.len() / PIECES_PER_WORK + bytes / BYTES_PER_WORK
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Something moved: another step may find more to do.
    pub worked: bool,
    /// When a step is due even if nobody rings.
    pub next_event: Option<Nanoseconds>,
}

/// An NVMe controller of a [`Subsystem`]: one function with its registers and queues.
pub struct Controller {
    id: ControllerId,
    supply: Supply,
    /// Those that it has attached, as they are in this step.
    namespaces: Namespaces,
    registers: Registers,
    queues: Queues,
    arbiter: Arbiter,
    doorbells: Doorbells,
    in_flight: InFlightTable,
    /// Commands that go to the media piece by piece and have no piece there.
    scattered: Vec<Token>,
    /// Commands that go to the media slice by slice and have no slice there, in turn. Some may have left since: those that are meant
    /// know it.
    sliced: VecDeque<Token>,
    interrupts: Interrupts,
    events: Events,
    features: Features,
    health: Health,
    answered: Answered,
    warnings_seen: WarningsSeen,
    notifications: Notifications,
    /// When the host must have shown that it lives, if it set a timer.
    keep_alive: Option<Nanoseconds>,
    bus_master: bool,
    /// Messages may have been lost: see [`Controller::send_messages_again`].
    send_again: bool,
    /// Namespaces whose Identify data changed since the host read the Changed Attached Namespace List.
    changed_namespaces: BTreeSet<u32>,
    /// Completion queues with answers to write.
    unpublished: IdSet,
    /// The table of mappings that blocked queues failed with.
    memory_generation: u64,
    /// The reset of the subsystem that is asked for was heard of from another controller: all know it.
    reset_is_known: bool,
    /// Of the admin queue's memory.
    absence: Absence,
    effects: Vec<Effect>,
    /// MDTS in bytes.
    transfer_bytes_max: usize,
    /// Scratch for the data of one command, or of several reads.
    segments: Vec<Segment>,
    /// Scratch for those reads.
    reads: Vec<(VolumeId, LbaRange)>,
    apart: Apart,
    /// Scratch for its metadata.
    metadata: Vec<Segment>,
    /// Scratch for the ranges of one Dataset Management command.
    listed: Vec<LbaRange>,
    watch: Watch,
    faults: Faults,
    /// Why CSTS.CFS was set the last time.
    last_fatal: Option<Fatal>,
}

impl Controller {
    /// A controller as it is at power-on.
    fn new(id: ControllerId, shared: &Shared) -> Self {
        let config = &shared.config;
        let queues = Queues::new(config.io_queue_pairs);
        Self {
            id,
            supply: Supply::new(shared.power.breaker(), id.0),
            namespaces: shared.namespaces.of(id),
            registers: Registers::new(config),
            arbiter: Arbiter::default(),
            doorbells: Doorbells::new(queues.count()),
            queues,
            in_flight: InFlightTable::new(id.0),
            scattered: Vec::new(),
            sliced: VecDeque::new(),
            interrupts: Interrupts::new(config.vectors),
            events: Events::new(usize::from(config.aerl_z) + 1, config.events_kept),
            features: Features::new(config),
            health: Health::default(),
            answered: Answered::default(),
            warnings_seen: WarningsSeen::default(),
            notifications: Notifications::default(),
            keep_alive: None,
            bus_master: false,
            send_again: false,
            changed_namespaces: BTreeSet::new(),
            unpublished: IdSet::default(),
            memory_generation: 0,
            reset_is_known: false,
            absence: Absence::default(),
            effects: Vec::new(),
            segments: Vec::new(),
            reads: Vec::new(),
            apart: Apart::default(),
            metadata: Vec::new(),
            listed: Vec::new(),
            watch: Watch::default(),
            faults: Faults::default(),
            last_fatal: None,
            transfer_bytes_max: config.transfer_bytes_max(),
        }
    }

    /// A reset from outside the registers: of the function, or because the host is gone. The next step executes it.
    pub fn reset_function(&mut self) {
        self.registers.ask_reset(Reset::Function);
    }

    /// The same where a host asks for it: a fault may keep it from having any effect. Not for hosts that are gone: of them nothing stays.
    pub fn reset_by_host(&mut self) {
        if !self.ignores_reset() {
            self.reset_function();
        }
    }

    /// PCI command register, bus master: without it the controller accesses no guest memory and raises no interrupts (B21).
    ///
    /// A host that switches it off does so before we hear of it, and a message that was on its way then is lost (PCI Local Bus 3.0 section
    /// 6.8.3.4: a message is a memory write). So the step after it was switched on tells of all entries that the host has not taken.
    pub fn set_bus_master(&mut self, enabled: bool) {
        if enabled != self.bus_master {
            self.watch.tell(TraceEvent::BusMaster { enabled });
        }
        self.send_again |= enabled && !self.bus_master;
        self.bus_master = enabled;
    }

    /// The host's choice between messages and the pin. What happened while messages were off, no message told of; what the pin told of, the
    /// host may not have looked at.
    pub fn set_interrupt_mode(&mut self, mode: InterruptMode) {
        if self.interrupts.mode() != mode {
            self.watch.tell(TraceEvent::InterruptMode { messages: mode == InterruptMode::MsiX });
        }
        self.send_again |= mode == InterruptMode::MsiX && self.interrupts.mode() != mode;
        self.interrupts.set_mode(mode);
    }

    /// Messages may have been lost on their way to the host, or withheld: the next step repeats each message whose queues hold entries that
    /// the host has not taken.
    pub fn send_messages_again(&mut self) {
        self.send_again = true;
    }

    /// The level of INTx after the last step.
    #[must_use]
    pub fn pin_asserted(&self) -> bool {
        self.pin_under_faults(self.interrupts.asserted())
    }

    /// Interrupts to deliver, in order, since the last call.
    pub fn take_effects(&mut self) -> impl Iterator<Item = Effect> + '_ {
        self.effects.drain(..)
    }

    /// See [`Subsystem::step_by`].
    #[inline]
    fn step_by<M: GuestMemory>(
        &mut self,
        shared: &mut Shared,
        now: Nanoseconds,
        clock: &dyn Clock,
        memory: &M,
        page: Option<&dyn DoorbellPage>,
    ) -> Progress {
        let breaker = self.supply.breaker.clone();
        let mut worked = false;
        if !breaker.lost() {
            worked = self.work(shared, now, clock, &Powered { memory, breaker: &breaker }, page);
        }
        if breaker.lost() {
            return Progress { worked, next_event: None };
        }
        // A command that nobody remembers would never be answered.
        let known = self.in_flight.len() + self.faults.held();
        assert_eq!(self.queues.owed(), known, "every permit belongs to a command under way");
        Progress { worked, next_event: self.next_event(shared) }
    }

    /// The last step has ended now, with all that its caller did for it: that long its commands took, for whoever asks.
    #[inline]
    pub fn step_ended(&mut self, now: Nanoseconds) {
        self.answered.step_ended(self.health.now, now);
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "its one caller knows page and memory: two percent of a read")]
    fn work<M: GuestMemory>(
        &mut self,
        shared: &mut Shared,
        mut now: Nanoseconds,
        clock: &dyn Clock,
        memory: &Powered<'_, M>,
        page: Option<&dyn DoorbellPage>,
    ) -> bool {
        self.health.now = now;
        self.watch.at(now);
        self.namespaces.follow(&shared.namespaces, self.id);
        if shared.mail.has_notices(self.id) {
            self.read_notices(shared);
        }
        if !self.faults.is_idle() && !self.tend_faults(shared, page) {
            return false;
        }
        let mut worked = self.change_state(shared, memory, page);
        worked |= self.finish(shared, now);
        if self.registers.is_running() && self.bus_master {
            self.check_keep_alive(now);
            self.notice_new_memory(memory);
            worked |= self.poll_doorbells(memory, page);
            let mut budget = Budget::new(clock, now);
            self.take_commands(shared, now, &mut budget, memory);
            worked |= budget.worked();
            let mut rest = Budget::new(clock, budget.latest());
            worked |= self.go_on(shared, now, &mut rest, memory);
            // The host hears of it now, not when the step began.
            now = rest.latest();
            self.doorbells.clear_fresh(page);
            let shut_down = self.registers.shutdown == Shutdown::Complete;
            if !shut_down {
                self.report_events();
            }
            if !self.faults.is_idle() {
                self.work_for_faults(shared, now, memory);
            }
            worked |= self.publish(now, memory);
            self.absence.end_if_due(now);
            self.deliver_interrupts(now, memory);
            if shut_down {
                worked |= self.rest(memory, page);
            }
            memory.store_fence();
        }
        worked
    }

    /// A host that has seen its shutdown complete gives its memory to others, shadow buffers too, and may take a long time until it
    /// resets us. It is asked to ring, and nothing is looked at before it does. Whether it came first.
    fn rest<M: GuestMemory>(&mut self, memory: &Powered<'_, M>, page: Option<&dyn DoorbellPage>) -> bool {
        if self.doorbells.is_resting() {
            return false;
        }
        self.doorbells.arm(memory, &self.queues, true);
        let moved = self.poll_doorbells(memory, page);
        if !moved {
            self.doorbells.rest();
        }
        moved
    }

    /// See [`Subsystem::arm`].
    fn arm<M: GuestMemory>(&mut self, memory: &M, page: Option<&dyn DoorbellPage>) -> bool {
        if !self.power_is_on() || !self.registers.is_running() || !self.bus_master || self.is_gone() {
            return true;
        }
        // A head that moves is worth a message of the host only where something waits for it.
        let heads = self.arbiter.any_blocked() || self.interrupts.awaits_heads();
        self.doorbells.arm(memory, &self.queues, heads);
        !self.poll_doorbells(memory, page)
    }

    /// Resets, enables and shuts down as the host asked.
    fn change_state<M: GuestMemory>(
        &mut self,
        shared: &mut Shared,
        memory: &M,
        page: Option<&dyn DoorbellPage>,
    ) -> bool {
        let mut worked = false;
        if self.registers.asked_reset().is_some()
            && self.may_reset()
            && let Some(reset) = self.registers.take_reset()
        {
            self.reset(shared, reset, page);
            self.faults.reset();
            self.reached(Step::ControllerReset);
            worked = true;
        }
        if self.registers.wants_enable() && self.may_enable() {
            self.leave_shutdown(shared);
            // What was rung in the shared page while EN was 0 does not count (B10).
            self.doorbells.reset(page);
            self.enable();
            if self.bus_master {
                self.check_stale(0, memory);
            }
            self.reached(Step::ControllerEnabled);
            worked = true;
        }
        worked |= self.begin_shutdown(shared);
        worked
    }

    /// All queues and everything under way are gone; no answer is written any more (B11).
    #[cold]
    #[inline(never)]
    fn reset(&mut self, shared: &mut Shared, reset: Reset, page: Option<&dyn DoorbellPage>) {
        let kind = match reset {
            Reset::Controller => ResetKind::Controller,
            Reset::Function => ResetKind::Function,
            Reset::Subsystem => ResetKind::Subsystem,
        };
        let dropped = u32::try_from(self.in_flight.len()).unwrap_or(u32::MAX);
        self.watch.tell(TraceEvent::Reset { kind, dropped });
        for token in self.in_flight.tokens(|_| true) {
            shared.cancel(self.id, token);
            shared.range_locks.leave(token);
            self.in_flight.remove(token);
        }
        shared.mail.forget_finished(self.id);
        if reset == Reset::Subsystem && !std::mem::take(&mut self.reset_is_known) {
            shared.mail.tell_others(Some(self.id), Notice::SubsystemReset);
        }
        self.scattered.clear();
        self.sliced.clear();
        shared.media.cancel(self.shutdown_token());
        self.restore_write_cache(shared);
        self.queues.clear();
        self.arbiter = Arbiter::default();
        self.doorbells.reset(page);
        self.unpublished = IdSet::default();
        self.supply.forget_answer();
        self.absence.over();
        self.events.reset();
        self.features = Features::new(&shared.config);
        self.forget_host(shared);
        self.interrupts.reset(&mut self.effects);
        self.keep_alive = None;
        self.registers.apply_reset(reset);
    }

    fn enable(&mut self) {
        if let Err(why) = self.registers.enable() {
            return self.fatal(why);
        }
        let attributes = self.registers.admin_attributes;
        self.watch.tell(TraceEvent::Enabled {
            configuration: self.registers.configuration,
            attributes: attributes.0,
            submission: self.registers.admin_submission,
            completion: self.registers.admin_completion,
        });
        let entries = |size_z: u16| u32::from(size_z) + 1;
        let completion =
            CompletionQueue::new(self.registers.admin_completion, entries(attributes.completion_z()), 0, true);
        let submission = SubmissionQueue::new(self.registers.admin_submission, entries(attributes.submission_z()), 0);
        self.queues.insert_completion(0, completion);
        self.queues.insert_submission(0, submission);
    }

    /// Takes what the media has finished.
    fn finish(&mut self, shared: &mut Shared, now: Nanoseconds) -> bool {
        shared.mail.collect(shared.media.as_mut(), now);
        self.heed_media(shared);
        if !shared.mail.has_finished(self.id) {
            return false;
        }
        self.take_finished(shared);
        true
    }

    /// What has ended, whatever it was.
    #[inline(never)]
    fn take_finished(&mut self, shared: &mut Shared) {
        let finished = shared.mail.take_finished(self.id);
        for (token, ended) in finished {
            match ended {
                Ended::Media(outcome) => self.finished(shared, token, outcome),
                Ended::Change(answer) => self.change_ended(shared, token, answer),
            }
        }
    }

    /// The media is done with what it had under a token.
    fn finished(&mut self, shared: &mut Shared, token: Token, outcome: media::Outcome) {
        if token == self.shutdown_token() {
            self.registers.shutdown = self.shutdown_ended(outcome);
        } else if let Some(command) = self.in_flight.get_mut(token) {
            let name = command.permit.name();
            self.watch.hop(|| TraceEvent::MediaEnded { command: name, succeeded: outcome.is_ok() });
            let result = outcome::conclude(outcome, &mut command.origin);
            self.piece_done(shared, token, result);
        }
    }

    /// Queues whose memory was gone are tried again when the mappings change, and once more before that becomes fatal.
    fn notice_new_memory<M: GuestMemory>(&mut self, memory: &M) {
        if memory.generation() != self.memory_generation || self.absence.is_due(self.health.now) {
            self.memory_generation = memory.generation();
            self.arbiter.unblock();
        }
    }

    /// Takes commands in turn from the queues that have some, as long as the budget lasts.
    fn take_commands<M: GuestMemory>(
        &mut self,
        shared: &mut Shared,
        now: Nanoseconds,
        budget: &mut Budget<'_>,
        memory: &Powered<'_, M>,
    ) {
        let burst = self.features.burst();
        if !self.registers.is_running() {
            return;
        }
        loop {
            let left = budget.left();
            if left == 0 {
                break;
            }
            // Power stays on the fast path.
            let (done, next) = self.take_fast(shared, now, memory.memory, burst, [budget.until_look(), left]);
            budget.spend(done);
            let id = match next {
                Then::Nothing => break,
                Then::Look => continue,
                Then::Special(id) => match self.take_special(shared, now, memory.memory, id, left - done) {
                    0 => id,
                    taken => {
                        budget.spend(taken);
                        continue;
                    }
                },
                Then::Long(id) => id,
            };
            if id != 0 && shared.changes.holds_back() || self.is_stalled(id) {
                self.arbiter.block(id);
                continue;
            }
            match self.queues.take(id, memory) {
                Take::Command(permit, first) if id != 0 && scheduling::begins_pair(first) => {
                    let first = *first;
                    match self.take_pair(shared, memory, permit, &first) {
                        Ok(()) => budget.spend_long(2),
                        Err(by) => self.hold_back(id, &by),
                    }
                }
                Take::Command(permit, command) => {
                    let command = *command;
                    if self.watch.hops() || id == 0 {
                        self.tell_fetched(permit.name(), command);
                    }
                    if self.supply.fetched(&permit, &command) {
                        break;
                    }
                    self.segments.clear();
                    self.execute(shared, now, memory, permit, command);
                    let work = self.work_of_data();
                    self.arbiter.took(work);
                    budget.spend_long(work);
                }
                Take::Empty => self.arbiter.idle(id),
                Take::Blocked(by) => self.hold_back(id, &by),
            }
            // What happens on the admin queue can end the life of the queues, and so can a fault.
            if !self.registers.is_running() {
                break;
            }
        }
        self.supply.breaker.work_on(Mark::NONE);
    }

    /// What the command that was just begun counts for.
    fn work_of_data(&self) -> usize {
        1 + work(&self.segments)
    }

    /// A queue is not asked again until what holds it back is over.
    fn hold_back(&mut self, id: u16, by: &Blocked) {
        self.arbiter.block(id);
        if matches!(by, Blocked::MemoryGone) {
            self.memory_gone(id);
        }
    }

    /// Carries out a command that was just taken, unless faults have taken it.
    #[inline]
    fn execute<M: GuestMemory>(
        &mut self,
        shared: &mut Shared,
        now: Nanoseconds,
        memory: &M,
        permit: Permit,
        command: Command,
    ) {
        let met = if self.faults.is_idle() { Some((permit, command)) } else { self.meet_faults(permit, command) };
        let Some((permit, command)) = met else { return };
        self.carry_out(shared, now, memory, permit, command);
    }

    #[inline]
    fn carry_out<M: GuestMemory>(
        &mut self,
        shared: &mut Shared,
        now: Nanoseconds,
        memory: &M,
        permit: Permit,
        command: Command,
    ) {
        let origin = Origin::of(&command, self.health.now);
        if permit.sqid() == 0 {
            self.absence.over();
            self.execute_admin(shared, memory, permit, &command, origin);
        } else {
            let command = IoCommand::parse(&command);
            self.execute_io(shared, now, memory, permit, command, origin);
        }
    }

    fn execute_admin<M: GuestMemory>(
        &mut self,
        shared: &mut Shared,
        memory: &M,
        permit: Permit,
        command: &Command,
        origin: Origin,
    ) {
        self.segments.clear();
        let token = self.in_flight.next_token();
        let result = admin::execute(self, shared, memory, command, token);
        if self.watch.hops() {
            self.tell_begun(permit.name(), memory, result.as_ref().map(|_| false).map_err(|reason| *reason));
        }
        match result {
            Err(reason) if self.is_probe(shared, command) => self.complete_probe(permit, origin, reason),
            result => self.settle(permit, origin, result),
        }
    }

    /// What was begun is answered now, or the media has it, or it waits.
    #[inline]
    fn settle(&mut self, permit: Permit, origin: Origin, result: Result<Done, Reason>) {
        match result {
            Ok(Done::Now(dw0)) => self.complete(permit, origin, Ok(dw0)),
            Ok(Done::Pending) => self.in_flight.insert(InFlight { permit, origin, parked: None }),
            Ok(Done::Waits(parked)) => self.in_flight.insert(InFlight { permit, origin, parked: Some(parked) }),
            Ok(Done::Parked) => {
                self.faults.spare(&permit);
                self.queues.abandon(permit);
            }
            Err(reason) => self.complete(permit, origin, Err(reason)),
        }
    }

    /// Answers a command; a failure goes into the error log, and the answer says so (B89).
    #[inline]
    fn complete(&mut self, permit: Permit, origin: Origin, result: Result<u32, Reason>) {
        match result {
            Ok(dw0) => self.answer(permit, origin, Reply { result: dw0, ..Reply::default() }),
            Err(reason) => self.complete_failed(permit, origin, reason),
        }
    }

    /// Answers a question for something that is not there. Hosts ask at each start what there is, and that is no error of anybody: the
    /// log that operators watch holds none of it (NVMe Base 2.1 section 5.1.12.1.2 leaves that to the controller).
    #[cold]
    fn complete_probe(&mut self, permit: Permit, origin: Origin, reason: Reason) {
        self.answer(permit, origin, Reply::failed(reason));
    }

    #[cold]
    fn complete_failed(&mut self, permit: Permit, origin: Origin, reason: Reason) {
        self.health.log_command(permit.sqid(), permit.cid(), origin, reason);
        self.answer(permit, origin, Reply { status: reason.status().with_more(), ..Reply::failed(reason) });
    }

    #[inline]
    fn answer(&mut self, permit: Permit, origin: Origin, reply: Reply) {
        let times = [origin.taken, self.health.now];
        self.answered.note(permit.sqid() == 0, origin.opcode, reply.status, times);
        if self.is_afflicted(&permit) {
            return self.answer_afflicted(permit, origin, reply);
        }
        if self.watch.hops() || permit.sqid() == 0 || !reply.status.is_success() {
            self.tell_completed(&permit, origin, reply);
        }
        let mark = self.supply.mark(&permit);
        let cqid = self.queues.complete(permit, reply.status, reply.result);
        self.unpublished.insert(cqid);
        if self.supply.breaker.attentive() {
            self.completion_queued(mark, origin, reply.status);
        }
    }

    /// Events meet requests, as far as there are completion slots.
    fn report_events(&mut self) {
        while let Some((cid, event)) = self.events.due() {
            let Some(permit) = self.queues.renew(cid) else { return };
            self.events.reported(event);
            self.watch.tell(TraceEvent::EventReported { event });
            self.effects.push(Effect::EventReported(event));
            self.complete(permit, Origin::of_event_request(), Ok(event.dword()));
        }
    }

    /// Writes the answers, each queue's together, and notes whom to interrupt.
    fn publish<M: GuestMemory>(&mut self, now: Nanoseconds, memory: &M) -> bool {
        let mut worked = false;
        let mut gone_for_now = IdSet::default();
        // The admin queue last: a deletion or an abort is answered after the commands that it ended (B43, B71).
        while let Some(id) = self.unpublished.take_last() {
            let preview = self.preview_completions(id, memory);
            let Some(queue) = self.queues.completion_mut(id) else { continue };
            let breaker = &self.supply.breaker;
            let published =
                if breaker.attentive() { self.supply.publish(queue, memory) } else { queue.publish(memory, None) };
            let (written, gone) = match published {
                Ok(written) => (written, false),
                Err((written, _)) => (written, true),
            };
            if written > 0 {
                breaker.reached(Step::CompletionsPublished);
            }
            if let (Some(vector), 1..) = (queue.vector(), written) {
                self.interrupts.raise(now, vector, written, id == 0);
            }
            if !preview.is_empty() {
                self.tell_written(id, &preview, written);
            }
            if gone {
                gone_for_now.insert(id);
                self.memory_gone(id);
            } else if id == 0 {
                self.absence.over();
            }
            worked |= written > 0;
        }
        self.unpublished.absorb(&mut gone_for_now);
        worked
    }

    /// The memory of a queue is not there. An I/O queue waits for it; for the admin queue there is a limit (B20).
    fn memory_gone(&mut self, id: u16) {
        if id == 0 && self.absence.noticed(self.health.now) {
            let value = self.registers.admin_submission;
            self.fatal(Fatal { reason: FatalReason::AdminQueueMemory, value, bound: 0 });
        }
    }

    /// CSTS.CFS: nothing more is done until the host resets us (B20). The last reason is kept for whoever asks.
    #[cold]
    fn fatal(&mut self, why: Fatal) {
        self.registers.set_fatal();
        self.last_fatal = Some(why);
        self.watch.tell(TraceEvent::Fatal { reason: why.reason, value: why.value, bound: why.bound });
    }

    fn deliver_interrupts<M: GuestMemory>(&mut self, now: Nanoseconds, memory: &M) {
        if self.interrupts.mode() == InterruptMode::Pin {
            self.doorbells.announce_heads(memory, &self.queues);
        }
        if !self.power_is_on() {
            return;
        }
        let before = self.effects.len();
        let queues = &self.queues;
        let unseen = |vector: Option<u16>| queues.completions_of(vector).map(CompletionQueue::unseen).sum();
        if std::mem::take(&mut self.send_again) {
            self.interrupts.send_again(now, unseen);
        }
        self.interrupts.deliver(now, unseen, &mut self.effects);
        if !self.faults.is_idle() {
            self.undo_early(memory);
            self.meet_interrupt_faults(before);
        }
        self.raise_until_lost(before);
        if self.watch.hops() {
            self.tell_effects(before);
        }
    }

    fn next_event(&self, shared: &Shared) -> Option<Nanoseconds> {
        let mut media = shared.media.next_event();
        if !self.faults.is_idle() {
            media = Nanoseconds::earliest(media, self.faults.next_event(self.health.now));
        }
        if !self.registers.is_running() || !self.bus_master {
            return media;
        }
        let waits = Nanoseconds::earliest(self.keep_alive, self.absence.end_of_patience());
        Nanoseconds::earliest(Nanoseconds::earliest(media, self.interrupts.next_event()), waits)
    }
}
