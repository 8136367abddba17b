//! What faults do to answers: other bytes in the completion queue entry or in the data, more entries, later ones.

use media::Nanoseconds;
use nvme_spec::{COMPLETION_BYTES, Command, Completion, Status};
use zerocopy::IntoBytes;

use super::NEVER;
use super::action::{Action, CidChoice, HexBytes, Order, Whose, status};
use super::matching::gives_data;
use crate::Controller;
use crate::command::{admin_data, data};
use crate::dma::{DataPointer, GuestMemory, Segment, Transfer};
use crate::inflight::{Origin, Reply};
use crate::queue::Permit;
use crate::reason::Reason;
use crate::watch::{CommandName, TraceEvent};
use crate::{prp, sgl};

/// The phase bit of an entry.
const PHASE: u16 = 1;
/// What of an entry lies before the status and the phase.
const BEFORE_STATUS: usize = COMPLETION_BYTES - 2;

/// What the answer to a command will suffer.
#[derive(Debug)]
pub(super) struct Affliction {
    pub(super) fault: u32,
    pub(super) action: Action,
    /// The command, and how many bytes it transfers.
    pub(super) entry: Command,
    pub(super) bytes: u64,
}

/// Entries for one command: its answer, and those that come behind it.
#[derive(Debug)]
pub(super) struct Answer {
    entry: Completion,
    extra: Vec<Completion>,
    /// Why it failed.
    reason: Option<Reason>,
}

/// See [`Controller::hold`].
type Hold = (u32, Option<(u32, Order)>, Nanoseconds, bool);

/// A command with its slot that is not answered yet.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) permit: Permit,
    pub(super) origin: Origin,
    /// Nothing for a command that was dropped or is not begun.
    pub(super) answer: Option<Answer>,
    /// It is not begun.
    pub(super) command: Option<Box<Command>>,
    pub(super) until: Nanoseconds,
    pub(super) fault: u32,
    /// An Abort of it succeeds.
    pub(super) abortable: bool,
    /// It waits for so many others of the same fault.
    pub(super) batch: Option<(u32, Order)>,
}

impl Held {
    /// A command that nobody answers, as far as this fault goes, until an Abort of it succeeds.
    pub(super) fn dropped(permit: Permit, origin: Origin, fault: u32, abortable: bool) -> Self {
        Self { permit, origin, answer: None, command: None, until: NEVER, fault, abortable, batch: None }
    }
}

/// Bytes of a command's data that are to be others.
#[derive(Debug)]
pub(super) struct Patch {
    entry: Command,
    name: CommandName,
    length: u64,
    offset: u32,
    bytes: HexBytes,
    xor: bool,
}

/// Bytes that are to be written to guest memory later.
#[derive(Debug)]
pub(super) struct Poke {
    pub(super) at: Nanoseconds,
    address: u64,
    bytes: Vec<u8>,
}

/// An entry whose phase is to be there before the rest.
#[derive(Debug)]
pub(super) struct Early {
    cqid: u16,
    entry: Completion,
    delay: Nanoseconds,
    /// Where it will lie, once that is known, and what is there before.
    place: Option<(u64, [u8; BEFORE_STATUS])>,
}

impl Controller {
    /// Whether faults have something to do with the answer to this command.
    #[inline]
    pub(crate) fn is_afflicted(&self, permit: &Permit) -> bool {
        !self.faults.is_idle() && self.faults.afflicted.contains_key(&permit.ordinal())
    }

    /// Answers a command as faults want it.
    #[cold]
    pub(crate) fn answer_afflicted(&mut self, permit: Permit, origin: Origin, reply: Reply) {
        let Reply { status: told, reason, result } = reply;
        let afflictions = self.faults.afflicted.remove(&permit.ordinal()).unwrap_or_default();
        let mut answer = Answer { entry: self.queues.entry(&permit, told, result), extra: Vec::new(), reason };
        let (mut copies, mut held) = (0, None);
        for Affliction { fault, action, entry: command, bytes } in afflictions {
            let entry = &mut answer.entry;
            match action {
                Action::Status { sct, sc, dnr, more, crd, .. } => {
                    entry.status_and_phase = (status(sct, sc, [dnr, more], crd).0 << 1).into();
                }
                Action::Drop { abortable, .. } => held = Some((fault, None, NEVER, abortable)),
                Action::Delay { delay_ns } => {
                    held.get_or_insert((fault, None, self.later(delay_ns), false));
                }
                Action::Hold { commands, most_ns, order } => {
                    held.get_or_insert((fault, Some((commands, order)), self.later(most_ns), false));
                }
                Action::Duplicate { copies: more } => copies += more,
                Action::WrongCid { cid } => {
                    if let Some(cid) = self.choose_cid(&permit, cid) {
                        entry.cid = cid.into();
                    }
                }
                Action::WrongSqid { sqid } => entry.sqid = sqid.into(),
                Action::WrongSqHead { head } => entry.sq_head = head.into(),
                Action::Result { dword } => entry.dw0 = dword.into(),
                Action::OldPhase {} => entry.status_and_phase = (entry.status_and_phase.get() ^ PHASE).into(),
                Action::EarlyPhase { delay_ns } => {
                    let delay = Nanoseconds(delay_ns);
                    let cqid = self.queues.submission(permit.sqid()).map_or(0, |queue| queue.completion_queue());
                    self.faults.early.push(Early { cqid, entry: *entry, delay, place: None });
                }
                Action::Stray { cid } => {
                    if let Some(cid) = self.choose_cid(&permit, cid) {
                        let status_and_phase = (Status::SUCCESS.0 << 1).into();
                        answer.extra.push(Completion { cid: cid.into(), status_and_phase, ..*entry });
                    }
                }
                Action::Patch { offset, bytes: patch, xor } if told.is_success() => {
                    let (entry, name, length) = (command, permit.name(), bytes);
                    self.faults.patches.push(Patch { entry, name, length, offset, bytes: patch, xor });
                }
                _ => {}
            }
        }
        answer.extra.extend(std::iter::repeat_n(answer.entry, copies.into()));
        self.hold(permit, origin, answer, held);
        self.faults.refresh();
    }

    /// Gives an answer now, or keeps it: by which fault, for which batch, until when, and whether an Abort ends it.
    fn hold(&mut self, permit: Permit, origin: Origin, answer: Answer, held: Option<Hold>) {
        let Some((fault, batch, until, abortable)) = held else { return self.give(permit, origin, &answer) };
        let dropped = Held::dropped(permit, origin, fault, abortable);
        self.faults.held.push(match (batch, until) {
            (None, NEVER) => dropped,
            (batch, until) => Held { answer: Some(answer), until, batch, ..dropped },
        });
    }

    pub(super) fn later(&self, by: u64) -> Nanoseconds {
        // A delay that never ends would be a dropped command.
        Nanoseconds(self.health.now.plus(Nanoseconds(by)).0.min(NEVER.0 - 1))
    }

    /// The command identifier that is meant.
    fn choose_cid(&self, permit: &Permit, choice: CidChoice) -> Option<u16> {
        let sqid = permit.sqid();
        let under_way = |cid: u16| {
            let is = |other: &Permit| other.sqid() == sqid && other.cid() == cid;
            !self.in_flight.tokens(|command| is(&command.permit)).is_empty()
                || self.faults.held.iter().any(|held| is(&held.permit))
                || (sqid == 0 && self.events.is_parked(cid))
                || cid == permit.cid()
        };
        match choice {
            CidChoice::Number(cid) => Some(cid),
            CidChoice::Whose(Whose::Free) => (0..=u16::MAX).find(|cid| !under_way(*cid)),
            CidChoice::Whose(Whose::InFlight) => (0..=u16::MAX).find(|cid| *cid != permit.cid() && under_way(*cid)),
            CidChoice::Whose(Whose::Event) => self.events.first_parked(),
        }
    }

    /// The answer goes into its queue, and those behind it as far as there are slots.
    fn give(&mut self, permit: Permit, origin: Origin, answer: &Answer) {
        let status = Status(answer.entry.status_and_phase.get() >> 1);
        self.tell_completed(&permit, origin, Reply { status, reason: answer.reason, result: answer.entry.dw0.get() });
        let mark = self.supply.mark(&permit);
        let cqid = self.queues.complete_as(permit, answer.entry);
        for extra in &answer.extra {
            if !self.queues.complete_nothing(cqid, *extra) {
                break;
            }
        }
        self.unpublished.insert(cqid);
        if self.supply.breaker.attentive() {
            self.completion_queued(mark, origin, status);
        }
    }

    /// What was held back long enough, and batches that are complete, are answered.
    pub(super) fn release_held(&mut self) {
        let now = self.health.now;
        let held = &self.faults.held;
        let full = |of: &Held| {
            of.batch.is_some_and(|(wanted, _)| {
                held.iter().filter(|other| other.fault == of.fault && other.batch.is_some()).count() >= wanted as usize
            })
        };
        // One that is due takes its batch along.
        let batches: Vec<u32> =
            held.iter().filter(|of| of.batch.is_some() && (of.until <= now || full(of))).map(|of| of.fault).collect();
        let goes =
            |of: &Held| of.command.is_none() && (of.until <= now || of.batch.is_some() && batches.contains(&of.fault));
        let released: Vec<Held> = self.faults.held.extract_if(.., |of| goes(of)).collect();
        let (mut batched, alone): (Vec<Held>, Vec<Held>) = released.into_iter().partition(|of| of.batch.is_some());
        self.end_held(alone);
        while let Some(Held { fault, batch: Some((_, order)), .. }) = batched.first() {
            let (fault, order) = (*fault, *order);
            let mut batch: Vec<Held> = batched.extract_if(.., |of| of.fault == fault).collect();
            match order {
                Order::Same => {}
                Order::Reversed => batch.reverse(),
                Order::Shuffled => {
                    if let Some(own) = self.faults.list.iter_mut().find(|own| own.id == fault) {
                        own.random.shuffle(&mut batch);
                    }
                }
            }
            self.end_held(batch);
        }
    }

    /// What was held back is answered, what was not begun never is begun, and what was dropped gives its slot back.
    fn end_held(&mut self, held: Vec<Held>) {
        for Held { permit, origin, answer, command, .. } in held {
            match (answer, command) {
                (Some(answer), _) => self.give(permit, origin, &answer),
                (None, Some(_)) => self.answer(permit, origin, Reply::failed(Reason::QueueDeleted)),
                (None, None) => self.queues.abandon(permit),
            }
        }
    }

    /// A submission queue is about to go: what faults hold of it is answered, or given up.
    pub(crate) fn release_queue(&mut self, sqid: u16) {
        if self.faults.is_idle() {
            return;
        }
        let gone: Vec<Held> = self.faults.held.extract_if(.., |held| held.permit.sqid() == sqid).collect();
        self.end_held(gone);
        self.faults.stalls.retain(|stall| stall.1 != sqid);
        self.faults.refresh();
    }

    /// Changes data that the host was given, before it is told that they are there.
    pub(super) fn patch_data<M: GuestMemory>(&mut self, memory: &M) {
        let now = self.health.now;
        for poke in self.faults.pokes.extract_if(.., |poke| poke.at <= now) {
            // Memory that is gone has nothing to be wrong.
            let _ = memory.write(poke.address, &poke.bytes);
        }
        for patch in std::mem::take(&mut self.faults.patches) {
            if let Ok(bytes) = self.patch(memory, &patch)
                && patch.name.queue == 0
            {
                self.tell_patched(&patch, &bytes);
            }
        }
        self.faults.refresh();
    }

    fn tell_patched(&mut self, patch: &Patch, bytes: &[u8]) {
        let Patch { name: command, entry, .. } = patch;
        let (command, opcode, nsid, dword10) = (*command, entry.opcode, entry.nsid.get(), entry.cdw10.get());
        for (offset, part) in (patch.offset..).step_by(16).zip(bytes.chunks(16)) {
            let (mut bytes, mut count) = ([0; 16], 0);
            for (byte, new) in bytes.iter_mut().zip(part) {
                (*byte, count) = (*new, count + 1);
            }
            self.watch.tell(TraceEvent::DataChanged { command, opcode, nsid, dword10, offset, bytes, count });
        }
    }

    /// Returns what is there now.
    fn patch<M: GuestMemory>(&self, memory: &M, patch: &Patch) -> Result<Vec<u8>, Reason> {
        let (offset, count) = (patch.offset as usize, patch.bytes.0.len());
        let length = usize::try_from(patch.length).unwrap_or(0);
        if !gives_data(patch.name.queue, patch.entry.opcode) || offset + count > length {
            return Ok(Vec::new());
        }
        let mut segments: Vec<Segment> = Vec::new();
        let pointer =
            if patch.name.queue == 0 { DataPointer::Prp(admin_data(&patch.entry)?) } else { data(&patch.entry)? };
        match pointer {
            DataPointer::Prp(entries) => {
                prp::resolve(memory, entries, length, self.registers.page_shift(), &mut segments)?;
            }
            DataPointer::Sgl(first) => sgl::resolve(memory, first, length, &mut segments)?,
        }
        let mut transfer = Transfer::new(memory, &segments);
        let mut bytes = patch.bytes.0.clone();
        if patch.xor {
            let mut old = vec![0; count];
            media::Source::fill(&mut transfer, offset, &mut old).map_err(|_| Reason::DataUnreachable)?;
            bytes.iter_mut().zip(old).for_each(|(byte, old)| *byte ^= old);
        }
        media::Sink::take(&mut transfer, offset, &bytes).map_err(|_| Reason::DataUnreachable)?;
        Ok(bytes)
    }

    /// Entries are about to be written: what is there before those whose phase shall come first.
    pub(super) fn find_early<M: GuestMemory>(&mut self, memory: &M) {
        for early in self.faults.early.iter_mut().filter(|early| early.place.is_none()) {
            let Some(queue) = self.queues.completion(early.cqid) else { continue };
            let (base, preview) = (queue.state(early.cqid).base, queue.preview());
            let same = |entry: &Completion| (entry.sqid, entry.cid) == (early.entry.sqid, early.entry.cid);
            let Some((slot, entry)) = preview.iter().find(|(_, entry)| same(entry)) else { continue };
            let address = base.wrapping_add(u64::from(*slot) * COMPLETION_BYTES as u64);
            let mut before = [0; BEFORE_STATUS];
            if memory.read(address, &mut before).is_ok() {
                (early.entry, early.place) = (*entry, Some((address, before)));
            }
        }
    }

    /// They were written: all but the phase is undone for a while.
    pub(crate) fn undo_early<M: GuestMemory>(&mut self, memory: &M) {
        let now = self.health.now;
        let placed = self.faults.early.extract_if(.., |early| early.place.is_some()).collect::<Vec<_>>();
        for Early { entry, delay, place, .. } in placed {
            let Some((address, before)) = place else { continue };
            if memory.write(address, &before).is_ok() {
                let bytes = entry.as_bytes()[..BEFORE_STATUS].to_vec();
                self.faults.pokes.push(Poke { at: now.plus(delay), address, bytes });
            }
        }
        self.faults.refresh();
    }
}
