//! What faults do to a command that was just fetched: it is answered, dropped or changed before anybody carries it out, or it is noted
//! what its answer will suffer.

use media::Nanoseconds;
use nvme_spec::command::low16;
use nvme_spec::feature::FeatureId;
use nvme_spec::opcode::{AdminOpcode, NvmOpcode};
use nvme_spec::{Command, Status};

use super::NEVER;
use super::action::{Action, Place, status};
use super::answers::{Affliction, Held};
use crate::Controller;
use crate::dma::GuestMemory;
use crate::inflight::{Origin, Reply};
use crate::queue::Permit;
use crate::shared::Shared;
use crate::{Effect, Fatal, FatalReason};

/// What becomes of a command instead of being carried out.
#[derive(Clone, Copy)]
enum Instead {
    /// It is answered.
    Answered(Status),
    /// It is not, unless an Abort of it succeeds.
    Dropped { fault: u32, abortable: bool },
    /// It is begun at that time.
    Postponed { fault: u32, until: Nanoseconds },
}

impl Controller {
    /// A command that was just taken meets faults. Returns what is to be carried out, if anything is.
    #[cold]
    pub(crate) fn meet_faults(&mut self, permit: Permit, mut command: Command) -> Option<(Permit, Command)> {
        let facts = self.facts_of(permit.sqid(), &command);
        let bytes = facts.bytes;
        let hits = self.fault_hits(Place::Command, &facts, Some(permit.name()));
        let mut instead = None;
        let mut afflictions = Vec::new();
        for (fault, action) in hits {
            match action {
                Action::Status { sct, sc, dnr, more, crd, carried_out: false } => {
                    instead.get_or_insert(Instead::Answered(status(sct, sc, [dnr, more], crd)));
                }
                Action::NoData {} => _ = instead.get_or_insert(Instead::Answered(Status::SUCCESS)),
                Action::Drop { abortable, carried_out: false } => {
                    instead.get_or_insert(Instead::Dropped { fault, abortable });
                }
                Action::Postpone { delay_ns } => {
                    let until = self.later(delay_ns);
                    instead.get_or_insert(Instead::Postponed { fault, until });
                }
                Action::ShortData { blocks } => shorten(&mut command, permit.sqid(), blocks),
                Action::OtherBlock { lba } => misdirect(&mut command, permit.sqid(), lba),
                Action::FewerQueues { queues } => grant_fewer(&mut command, permit.sqid(), queues),
                Action::Stall { for_ns } => {
                    let until = for_ns.map_or(NEVER, |length| self.health.now.plus(Nanoseconds(length)));
                    self.faults.stalls.push((fault, permit.sqid(), until));
                }
                Action::Fatal {} => {
                    self.fatal(Fatal { reason: FatalReason::Injected, value: fault.into(), bound: 0 });
                    instead = Some(Instead::Dropped { fault, abortable: false });
                }
                Action::NotReady {} | Action::Gone { .. } | Action::SubsystemReset {} => {
                    self.faults.due.push((fault, action));
                    instead = Some(Instead::Dropped { fault, abortable: false });
                }
                Action::Interrupt { vector, count } => self.send_messages(vector, count),
                Action::StuckPin { .. } => self.faults.due.push((fault, action)),
                Action::EarlyInterrupt { delay_ns } => {
                    self.interrupt_early(&permit);
                    let action = Action::Delay { delay_ns };
                    afflictions.push(Affliction { fault, action, entry: command, bytes });
                }
                action => afflictions.push(Affliction { fault, action, entry: command, bytes }),
            }
        }
        if !afflictions.is_empty() {
            self.faults.afflicted.insert(permit.ordinal(), afflictions);
        }
        match instead {
            None => {
                self.faults.refresh();
                return Some((permit, command));
            }
            Some(instead) => self.do_instead(permit, command, instead),
        }
        self.faults.refresh();
        None
    }

    fn do_instead(&mut self, permit: Permit, command: Command, instead: Instead) {
        let origin = Origin::of(&command, self.health.now);
        match instead {
            Instead::Answered(status) => self.answer_injected(permit, origin, status),
            Instead::Dropped { fault, abortable } => {
                // It keeps its slot, as a command under way does.
                self.faults.afflicted.remove(&permit.ordinal());
                self.faults.held.push(Held::dropped(permit, origin, fault, abortable));
            }
            Instead::Postponed { fault, until } => {
                let dropped = Held::dropped(permit, origin, fault, true);
                self.faults.held.push(Held { until, command: Some(Box::new(command)), ..dropped });
            }
        }
    }

    /// Answers a command that was not carried out.
    fn answer_injected(&mut self, permit: Permit, origin: Origin, status: Status) {
        if status.more() {
            self.health.log_status(permit.sqid(), permit.cid(), origin, status);
        }
        self.answer(permit, origin, Reply { status, ..Reply::default() });
    }

    /// Behind the commands of a step, before their answers are written.
    #[cold]
    pub(crate) fn work_for_faults<M: GuestMemory>(&mut self, shared: &mut Shared, now: Nanoseconds, memory: &M) {
        if self.registers.is_running() {
            self.begin_postponed(shared, now, memory);
        }
        self.patch_data(memory);
        self.find_early(memory);
    }

    /// Begins what was postponed long enough.
    fn begin_postponed<M: GuestMemory>(&mut self, shared: &mut Shared, now: Nanoseconds, memory: &M) {
        let due = |held: &mut Held| held.command.is_some() && held.until <= now;
        for held in self.faults.held.extract_if(.., due).collect::<Vec<_>>() {
            if let Some(command) = held.command {
                self.carry_out(shared, now, memory, held.permit, *command);
            }
        }
        self.faults.refresh();
    }

    /// The message of the command's completion queue, with nothing to tell of yet.
    fn interrupt_early(&mut self, permit: &Permit) {
        let cqid = self.queues.submission(permit.sqid()).map_or(0, |queue| queue.completion_queue());
        if let Some(vector) = self.queues.completion(cqid).and_then(|queue| queue.vector()) {
            self.send_messages(vector, 1);
        }
    }

    /// Messages that nothing asks for.
    pub(super) fn send_messages(&mut self, vector: u16, count: u16) {
        if self.interrupts.check_vector(vector).is_ok() && self.interrupts.sends_messages() {
            self.effects.extend(std::iter::repeat_n(Effect::Message { vector }, count.into()));
        }
    }

    /// An Abort asks for a command that faults hold back: whether it could be aborted.
    pub(crate) fn abort_held(&mut self, sqid: u16, cid: u16) -> bool {
        let held = &mut self.faults.held;
        let meant =
            held.iter().position(|held| held.permit.sqid() == sqid && held.permit.cid() == cid && held.abortable);
        let Some(index) = meant else { return false };
        let Held { permit, origin, .. } = held.remove(index);
        self.answer(permit, origin, Reply::failed(crate::Reason::AbortRequested));
        self.faults.refresh();
        true
    }
}

/// Fewer blocks are moved.
fn shorten(command: &mut Command, sqid: u16, blocks: u16) {
    if sqid != 0 && NvmOpcode(command.opcode).names_blocks() {
        let short = command.nlb_z().min(blocks - 1);
        command.cdw12 = (command.cdw12.get() & 0xffff_0000 | u32::from(short)).into();
    }
}

/// Other blocks are meant.
fn misdirect(command: &mut Command, sqid: u16, lba: u64) {
    if sqid != 0 && NvmOpcode(command.opcode).names_blocks() {
        let [a, b, c, d, e, f, g, h] = lba.to_le_bytes();
        command.cdw10 = u32::from_le_bytes([a, b, c, d]).into();
        command.cdw11 = u32::from_le_bytes([e, f, g, h]).into();
    }
}

/// Number of Queues, dword 11: both counts are zero-based.
fn grant_fewer(command: &mut Command, sqid: u16, queues: u16) {
    let sets = sqid == 0 && AdminOpcode(command.opcode) == AdminOpcode::SET_FEATURES;
    let [feature, ..] = command.cdw10.get().to_le_bytes();
    if sets && FeatureId(feature) == FeatureId::NUMBER_OF_QUEUES {
        let most = u32::from(queues - 1);
        let asked = command.cdw11.get();
        command.cdw11 = (u32::from(low16(asked)).min(most) | (asked >> 16).min(most) << 16).into();
    }
}
