//! Each rule that is marked must or should: a host that breaks it is told so, and one that comes near does not. The events are written down
//! here, so that time and order are exact.

use checker::facts::{Facts, NamespaceFacts};
use checker::{Checker, End, Rule, Severity};
use controller::reason::Reason;
use controller::watch::{
    CommandName, Detail, DoorbellPath, DoorbellRefusal, FatalReason, RegisterRefusal, ResetKind, ShutdownState,
    TraceEvent, Traced,
};
use media::Nanoseconds;
use nvme_spec::feature::FeatureId;
use nvme_spec::log::Event;
use nvme_spec::opcode::{AdminOpcode, NvmOpcode};
use nvme_spec::register::{self, Capabilities, Configuration};
use nvme_spec::{Command, Completion, Status};

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const CC_ENABLED: u64 = ENABLED as u64;
const ENABLED: u32 = 0x0046_0001;
const CAP: u64 = 20 << 24 | 1 << 16 | 63;

/// A host that is put together from events.
struct Trial {
    checker: Checker,
    now: u64,
    generation: u64,
    ordinal: u64,
}

impl Trial {
    fn new() -> Self {
        let namespace = NamespaceFacts { nsid: 1, blocks: 1000, block_bytes: 4096, preferred_blocks: 1 };
        let facts = Facts {
            capabilities: Capabilities(CAP),
            version: register::VERSION_2_1,
            transfer_bytes_max: 512 << 10,
            event_requests_max: 4,
            aborts_max: 4,
            write_cache: true,
            notices: true,
            namespaces: vec![namespace],
            namespaces_max: 1,
        };
        let mut checker = Checker::new(facts, Detail::Memory);
        checker.begin(true, true);
        Self { checker, now: 1, generation: 0, ordinal: 0 }
    }

    /// A host that has enabled the controller, waits for events, and has queue pair 1 of `entries` entries.
    fn running(entries: u32) -> Self {
        let mut trial = Self::new();
        trial.enable();
        trial.admin(event_request(), 100, None);
        trial.set_feature(FeatureId::NUMBER_OF_QUEUES);
        trial.queue_pair(1, entries, 0x10_0000);
        trial
    }

    fn event(&mut self, event: TraceEvent) -> &mut Self {
        if matches!(event, TraceEvent::Reset { .. } | TraceEvent::Enabled { .. }) {
            self.generation += 1;
        }
        self.now += 1;
        self.checker.observe(&Traced { time: Nanoseconds(self.now), generation: self.generation, event });
        self
    }

    fn wait(&mut self, nanoseconds: u64) -> &mut Self {
        self.now += nanoseconds;
        self.checker.tick(Nanoseconds(self.now));
        self
    }

    fn write(&mut self, offset: u64, value: u64, refused: Option<RegisterRefusal>) -> &mut Self {
        self.event(TraceEvent::RegisterWritten { offset, bytes: 4, value, refused })
    }

    fn enable(&mut self) -> &mut Self {
        self.write(register::CC, CC_ENABLED, None);
        self.enabled(0x1000, 0x2000)
    }

    fn enabled(&mut self, submission: u64, completion: u64) -> &mut Self {
        let configuration = Configuration(ENABLED);
        self.event(TraceEvent::Enabled { configuration, attributes: 31 << 16 | 31, submission, completion })
    }

    fn disable(&mut self) -> &mut Self {
        self.write(register::CC, 0, None);
        self.event(TraceEvent::Reset { kind: ResetKind::Controller, dropped: 0 })
    }

    fn name(&mut self, queue: u16, identifier: u16) -> CommandName {
        self.ordinal += 1;
        CommandName { queue, identifier, ordinal: self.ordinal }
    }

    fn fetch(&mut self, queue: u16, identifier: u16, entry: Command) -> CommandName {
        let command = self.name(queue, identifier);
        self.event(TraceEvent::Fetched { command, entry });
        command
    }

    /// The command is answered, and its completion written.
    fn answer(&mut self, command: CommandName, entry: Command, reason: Option<Reason>) -> &mut Self {
        let status = reason.map_or(Status::SUCCESS, Reason::status);
        let (opcode, nsid) = (entry.opcode, entry.nsid.get());
        self.event(TraceEvent::Completed { command, opcode, nsid, status, result: 0, reason })
    }

    fn written(&mut self, queue: u16, slot: u32, sq_head: u16) -> &mut Self {
        let entry = Completion { sqid: queue.into(), sq_head: sq_head.into(), ..Completion::default() };
        self.event(TraceEvent::CompletionWritten { queue, slot, entry })
    }

    fn admin(&mut self, entry: Command, identifier: u16, end: Option<Option<Reason>>) -> &mut Self {
        let command = self.fetch(0, identifier, entry);
        if let Some(reason) = end {
            self.answer(command, entry, reason);
        }
        self
    }

    fn set_feature(&mut self, feature: FeatureId) -> &mut Self {
        let entry = Command { cdw10: u32::from(feature.0).into(), ..admin(AdminOpcode::SET_FEATURES) };
        self.admin(entry, 1, Some(None))
    }

    fn queue_pair(&mut self, id: u16, entries: u32, base: u64) -> &mut Self {
        let shape = u32::from(id) | (entries - 1) << 16;
        let completion = Command {
            cdw10: shape.into(),
            cdw11: (0b11 | u32::from(id) << 16).into(),
            prp1: (base + 0x8000).into(),
            ..admin(AdminOpcode::CREATE_COMPLETION_QUEUE)
        };
        self.admin(completion, 2, Some(None));
        let submission = Command {
            cdw10: shape.into(),
            cdw11: (1 | u32::from(id) << 16).into(),
            prp1: base.into(),
            ..admin(AdminOpcode::CREATE_SUBMISSION_QUEUE)
        };
        self.admin(submission, 3, Some(None))
    }

    fn io(&mut self, entry: Command, identifier: u16, end: Option<Reason>) -> &mut Self {
        let command = self.fetch(1, identifier, entry);
        self.answer(command, entry, end)
    }

    fn ring(&mut self, queue: u16, tail: bool, value: u32, refused: Option<DoorbellRefusal>) -> &mut Self {
        self.event(TraceEvent::Doorbell { path: DoorbellPath::Register, queue, tail, value, refused })
    }

    /// How bad the rule was broken, if it was.
    fn broken(&self, rule: Rule) -> Option<Severity> {
        self.checker.violations().filter(|violation| violation.rule == rule).map(|violation| violation.severity).max()
    }
}

fn admin(opcode: AdminOpcode) -> Command {
    Command { opcode: opcode.0, ..Command::default() }
}

fn event_request() -> Command {
    admin(AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST)
}

fn nvm(opcode: NvmOpcode, slba: u32) -> Command {
    Command { opcode: opcode.0, nsid: 1.into(), cdw10: slba.into(), prp1: 0x100_0000.into(), ..Command::default() }
}

fn read(slba: u32) -> Command {
    nvm(NvmOpcode::READ, slba)
}

fn write(slba: u32) -> Command {
    nvm(NvmOpcode::WRITE, slba)
}

fn flush() -> Command {
    nvm(NvmOpcode::FLUSH, 0)
}

/// A rule, a host that breaks it, and one that comes near.
type Case = (Rule, Severity, fn(&mut Trial), fn(&mut Trial));

/// A command of queue 1 that is refused for a reason, and one that is refused for another or succeeds.
macro_rules! refused {
    ($rule:ident, $reason:ident) => {
        (
            Rule::$rule,
            Rule::$rule.severity(),
            |t| _ = t.io(read(1), 7, Some(Reason::$reason)),
            |t| {
                t.io(read(1), 7, None).io(read(2), 8, Some(Reason::UnrecoveredRead));
            },
        )
    };
    (admin $rule:ident, $reason:ident) => {
        (
            Rule::$rule,
            Rule::$rule.severity(),
            |t| _ = t.admin(admin(AdminOpcode::CREATE_COMPLETION_QUEUE), 9, Some(Some(Reason::$reason))),
            |t| _ = t.admin(admin(AdminOpcode::GET_FEATURES), 9, Some(Some(Reason::FeatureUnknown))),
        )
    };
}

const M: Severity = Severity::Must;
const S: Severity = Severity::Should;

fn fatal(trial: &mut Trial, reason: FatalReason) {
    trial.disable().write(register::CC, CC_ENABLED, None);
    trial.event(TraceEvent::Fatal { reason, value: 1, bound: 2 });
}

fn entry_with(entry: Command, change: impl FnOnce(&mut Command)) -> Command {
    let mut entry = entry;
    change(&mut entry);
    entry
}

const REGISTERS: &[Case] = &[
    (
        Rule::H1,
        M,
        |t| _ = t.write(0x15, 1, Some(RegisterRefusal::Width)),
        |t| {
            t.event(TraceEvent::RegisterRead { offset: 0, bytes: 8, value: CAP, refused: None });
        },
    ),
    (
        Rule::H2,
        M,
        |t| _ = t.write(register::VS, 7, Some(RegisterRefusal::ReadOnly)),
        |t| {
            // What was read is written back.
            t.write(register::VS, register::VERSION_2_1.into(), Some(RegisterRefusal::ReadOnly));
        },
    ),
    (
        Rule::H3,
        M,
        |t| fatal(t, FatalReason::AdminSubmissionMisaligned),
        |t| {
            // A controller reset keeps the registers: nobody has to write them again.
            t.disable().enable();
        },
    ),
    (Rule::H3, M, |t| _ = t.disable().enabled(0x1000, 0x1400), |t| _ = t.disable().enabled(0x1000, 0x1800)),
    (
        Rule::H4,
        M,
        |t| _ = t.write(register::ASQ, 0x9000, Some(RegisterRefusal::WhileEnabled)),
        |t| {
            t.event(TraceEvent::RegisterRead { offset: register::ASQ, bytes: 8, value: 0x1000, refused: None });
        },
    ),
    (Rule::H5, M, |t| fatal(t, FatalReason::PageSize), |t| _ = t.disable().enable()),
    refused!(admin H5, QueueEntrySize),
    (
        Rule::H6,
        M,
        |t| _ = t.write(register::CC, CC_ENABLED | 1 << 7, Some(RegisterRefusal::WhileEnabled)),
        |t| {
            // First the fields, then EN: two writes.
            t.disable().write(register::CC, CC_ENABLED & !1, None);
            t.enable();
        },
    ),
    (
        Rule::H7,
        M,
        |t| _ = t.write(register::CC, 0, None).write(register::CC, CC_ENABLED, None),
        |t| {
            t.disable().write(register::CC, 0, None).enable();
        },
    ),
    (
        Rule::H8,
        M,
        |t| {
            t.disable().write(register::CC, CC_ENABLED, None);
            t.ring(0, true, 1, Some(DoorbellRefusal::NotRunning));
        },
        |t| _ = t.disable().enable().ring(0, true, 1, None),
    ),
    (
        Rule::H9,
        S,
        |t| {
            t.disable().write(register::CC, CC_ENABLED, None);
            t.wait(2 * SECOND).write(register::CC, 0, None);
        },
        |t| {
            t.disable().write(register::CC, CC_ENABLED, None);
            t.wait(10 * SECOND).write(register::CC, 0, None);
        },
    ),
    (
        Rule::H10,
        S,
        |t| {
            t.event(TraceEvent::Fatal { reason: FatalReason::KeepAlive, value: 0, bound: 0 });
            t.wait(2 * MILLISECOND).ring(1, true, 1, Some(DoorbellRefusal::NotRunning));
        },
        |t| {
            // It was on its way.
            t.event(TraceEvent::Fatal { reason: FatalReason::KeepAlive, value: 0, bound: 0 });
            t.ring(1, true, 1, Some(DoorbellRefusal::NotRunning));
        },
    ),
    (
        Rule::H12,
        M,
        |t| {
            t.event(TraceEvent::Shutdown { state: ShutdownState::Begun });
            t.wait(2 * MILLISECOND).io(write(1), 7, Some(Reason::PowerLost));
        },
        |t| {
            t.io(write(1), 7, None).event(TraceEvent::Shutdown { state: ShutdownState::Begun });
            t.wait(2 * MILLISECOND).set_feature(FeatureId::ARBITRATION);
            t.event(TraceEvent::Shutdown { state: ShutdownState::Complete }).disable();
        },
    ),
    (
        Rule::H12,
        S,
        |t| _ = t.event(TraceEvent::Shutdown { state: ShutdownState::Begun }).disable(),
        |t| _ = t.disable(),
    ),
    (
        Rule::H13,
        M,
        |t| _ = t.write(register::NSSR, 1, Some(RegisterRefusal::Key)),
        |t| {
            t.write(register::NSSR, register::NSSR_KEY.into(), None);
        },
    ),
    (
        Rule::H14,
        M,
        |t| {
            t.event(TraceEvent::PowerLost);
            let refused = Some(RegisterRefusal::NoPower);
            t.event(TraceEvent::RegisterRead { offset: 0x1c, bytes: 4, value: u64::MAX, refused });
            t.ring(1, true, 1, Some(DoorbellRefusal::NoPower));
        },
        |t| {
            // Nobody has read anything yet.
            t.event(TraceEvent::PowerLost).ring(1, true, 1, Some(DoorbellRefusal::NoPower));
        },
    ),
    (
        Rule::H15,
        M,
        |t| {
            t.fetch(1, 7, read(1));
            t.event(TraceEvent::BusMaster { enabled: false });
        },
        |t| {
            t.io(read(1), 7, None).disable().event(TraceEvent::BusMaster { enabled: false });
            t.event(TraceEvent::BusMaster { enabled: true }).enable();
        },
    ),
    (
        Rule::H15,
        M,
        |t| {
            t.disable().event(TraceEvent::BusMaster { enabled: false });
            t.enable();
        },
        |t| _ = t.disable().enable(),
    ),
    (
        Rule::H57,
        M,
        |t| _ = t.write(register::INTMS, 1, None),
        |t| {
            t.event(TraceEvent::InterruptMode { messages: false }).write(register::INTMS, 1, None);
        },
    ),
];

const DOORBELLS: &[Case] = &[
    (Rule::H16, M, |t| _ = t.ring(1, true, 64, Some(DoorbellRefusal::BadValue)), |t| _ = t.ring(1, true, 15, None)),
    (Rule::H17, M, |t| _ = t.ring(5, true, 1, Some(DoorbellRefusal::NoQueue)), |t| _ = t.ring(1, true, 1, None)),
    (
        Rule::H17,
        S,
        |t| {
            t.admin(entry_with(admin(AdminOpcode::DELETE_SUBMISSION_QUEUE), |it| it.cdw10 = 1.into()), 4, Some(None));
            t.ring(1, true, 1, Some(DoorbellRefusal::NoQueue));
        },
        |t| _ = t.ring(1, true, 1, None),
    ),
    (
        Rule::H18,
        M,
        |t| {
            t.disable().wait(2 * MILLISECOND).ring(1, true, 1, Some(DoorbellRefusal::NotRunning));
        },
        |t| _ = t.disable().ring(1, true, 1, Some(DoorbellRefusal::NotRunning)),
    ),
    (
        Rule::H19,
        M,
        |t| _ = t.ring(1, true, 15, None).ring(1, true, 3, None),
        |t| {
            t.ring(1, true, 15, None);
            (0..15).for_each(|cid| _ = t.io(read(1), cid, None).written(1, cid.into(), cid + 1));
            t.ring(1, true, 3, None);
        },
    ),
    (
        Rule::H19,
        S,
        |t| {
            // All were fetched, and no completion has said so.
            t.ring(1, true, 15, None);
            (0..15).for_each(|cid| _ = t.fetch(1, cid, read(1)));
            t.ring(1, true, 3, None);
        },
        |t| _ = t.ring(1, true, 15, None),
    ),
    (
        Rule::H20,
        M,
        |t| _ = t.ring(1, false, 3, Some(DoorbellRefusal::BadValue)),
        |t| {
            t.written(1, 0, 1).ring(1, false, 1, None);
        },
    ),
    (
        Rule::H22,
        S,
        |t| {
            (0..15).for_each(|slot| _ = t.written(1, slot, 1));
            t.wait(3 * SECOND);
        },
        |t| {
            // A slot is free, however long it takes.
            (0..14).for_each(|slot| _ = t.written(1, slot, 1));
            t.wait(3 * SECOND);
        },
    ),
    (Rule::H24, S, |t| _ = t.ring(1, true, 0x1_0001, None), |t| _ = t.ring(1, true, 1, None)),
    (
        Rule::H25,
        M,
        |t| {
            t.admin(admin(AdminOpcode::DOORBELL_BUFFER_CONFIG), 4, Some(None));
            t.ring(1, true, 1, Some(DoorbellRefusal::Nudge)).wait(2 * MILLISECOND);
        },
        |t| {
            t.admin(admin(AdminOpcode::DOORBELL_BUFFER_CONFIG), 4, Some(None));
            t.ring(1, true, 1, Some(DoorbellRefusal::Nudge));
            t.event(TraceEvent::Doorbell { path: DoorbellPath::Shadow, queue: 1, tail: true, value: 1, refused: None });
            t.wait(2 * MILLISECOND);
        },
    ),
    (
        Rule::H73,
        S,
        |t| {
            t.event(TraceEvent::PowerLost);
            let refused = Some(RegisterRefusal::NoPower);
            t.event(TraceEvent::RegisterRead { offset: 0x1c, bytes: 4, value: u64::MAX, refused });
            t.now += 2 * SECOND;
            t.ring(1, true, 1, Some(DoorbellRefusal::NoPower));
        },
        |t| {
            t.event(TraceEvent::PowerLost);
            let refused = Some(RegisterRefusal::NoPower);
            t.event(TraceEvent::RegisterRead { offset: 0x1c, bytes: 4, value: u64::MAX, refused });
            t.ring(1, true, 1, Some(DoorbellRefusal::NoPower));
        },
    ),
];

const COMMANDS: &[Case] = &[
    refused!(admin H26, CompletionQueueMissing),
    refused!(admin H26, CompletionQueueInUse),
    refused!(admin H27, QueueExists),
    refused!(admin H28, QueueSize),
    (
        Rule::H29,
        S,
        |t| _ = t.disable().enable().queue_pair(1, 16, 0x20_0000),
        |t| {
            t.disable().enable().set_feature(FeatureId::NUMBER_OF_QUEUES).queue_pair(1, 16, 0x20_0000);
        },
    ),
    (
        Rule::H30,
        M,
        |t| {
            t.fetch(1, 7, read(1));
            t.fetch(1, 7, read(2));
        },
        |t| _ = t.io(read(1), 7, None).fetch(1, 7, read(2)),
    ),
    (Rule::H31, S, |t| _ = t.fetch(1, 0xffff, read(1)), |t| _ = t.fetch(1, 0xfffe, read(1))),
    (
        Rule::H34,
        M,
        |t| _ = t.event(TraceEvent::StaleCompletions { queue: 1, entries: 3, first: 0 }),
        |t| {
            t.queue_pair(2, 16, 0x20_0000);
        },
    ),
    (
        Rule::H34,
        S,
        |t| _ = t.event(TraceEvent::StaleCompletions { queue: 0, entries: 3, first: 0 }),
        |t| {
            t.disable().enable();
        },
    ),
    refused!(admin H35, QueueMisaligned),
    (Rule::H35, M, |t| _ = t.queue_pair(2, 16, 0x10_0100), |t| _ = t.queue_pair(2, 16, 0x10_0400)),
    refused!(admin H36, QueueVector),
    (
        Rule::H37,
        S,
        |t| {
            t.io(nvm(NvmOpcode(0x55), 0), 7, Some(Reason::UnknownOpcode));
            t.io(nvm(NvmOpcode(0x55), 0), 7, Some(Reason::UnknownOpcode));
        },
        |t| _ = t.io(nvm(NvmOpcode(0x55), 0), 7, Some(Reason::UnknownOpcode)),
    ),
    (Rule::H38, S, |t| _ = t.fetch(1, 7, entry_with(read(1), |it| it.cdw2 = 5.into())), |t| _ = t.fetch(1, 7, read(1))),
    refused!(H39, NamespaceInvalid),
    refused!(H40, FusedAlone),
    refused!(H41, ReservedPsdt),
    refused!(H42, TransferTooLong),
    refused!(H43, OutOfRange),
    refused!(H44, PrpOffset),
    refused!(H45, PrpListEntryOffset),
    refused!(H46, SglTooShort),
    refused!(H47, MetadataPointer),
    (
        Rule::H49,
        M,
        |t| _ = t.fetch(1, 7, entry_with(read(1), |it| it.cdw12 = (1 << 26).into())),
        |t| {
            t.fetch(1, 7, entry_with(read(1), |it| it.cdw12 = (1 << 30).into()));
        },
    ),
    refused!(H50, DataUnreachable),
    refused!(H51, HostMemory),
    (
        Rule::H63,
        M,
        |t| _ = t.admin(event_request(), 101, Some(Some(Reason::EventRequestLimit))),
        |t| {
            t.admin(event_request(), 101, None);
        },
    ),
    refused!(admin H75, QueuesTooLate),
    (
        Rule::H76,
        M,
        |t| {
            t.event(TraceEvent::NamespaceChanged { nsid: 1, blocks: 10, block_bytes: 512, transfer_bytes: 512 });
            t.wait(6 * SECOND).io(read(500), 7, Some(Reason::OutOfRange));
        },
        |t| {
            // The host cannot know yet.
            t.event(TraceEvent::NamespaceChanged { nsid: 1, blocks: 10, block_bytes: 512, transfer_bytes: 512 }).io(
                read(500),
                7,
                Some(Reason::OutOfRange),
            );
        },
    ),
];

const MEMORY: &[Case] = &[
    (
        Rule::H52,
        S,
        |t| {
            let one = t.fetch(1, 7, read(1));
            t.event(TraceEvent::Piece { command: one, address: 0x5000, length: 4096, metadata: false });
            let other = t.fetch(1, 8, read(2));
            t.event(TraceEvent::Piece { command: other, address: 0x5800, length: 4096, metadata: false });
        },
        |t| {
            // Writes may share their source.
            let one = t.fetch(1, 7, write(1));
            t.event(TraceEvent::Piece { command: one, address: 0x5000, length: 4096, metadata: false });
            let other = t.fetch(1, 8, write(2));
            t.event(TraceEvent::Piece { command: other, address: 0x5800, length: 4096, metadata: false });
            let beside = t.fetch(1, 9, read(2));
            t.event(TraceEvent::Piece { command: beside, address: 0x6800, length: 4096, metadata: false });
        },
    ),
    (
        Rule::H53,
        M,
        |t| {
            let command = t.fetch(1, 7, read(1));
            t.event(TraceEvent::Piece { command, address: 0x10_03c0, length: 4096, metadata: false });
        },
        |t| {
            let command = t.fetch(1, 7, read(1));
            t.event(TraceEvent::Piece { command, address: 0x10_0400, length: 4096, metadata: false });
        },
    ),
    (
        Rule::H55,
        M,
        |t| {
            let command = t.fetch(1, 7, read(1));
            t.event(TraceEvent::EntryChanged { command, entry: write(1) });
        },
        |t| _ = t.io(read(1), 7, None),
    ),
];

const ATTENTION: &[Case] = &[
    (
        Rule::H58,
        S,
        |t| {
            t.written(1, 0, 1).event(TraceEvent::Message { vector: 1 });
            t.wait(3 * SECOND);
        },
        |t| {
            t.written(1, 0, 1).event(TraceEvent::Message { vector: 1 });
            t.ring(1, false, 1, None).wait(3 * SECOND);
        },
    ),
    (
        Rule::H59,
        S,
        |t| _ = t.event(TraceEvent::Pin { asserted: true }).wait(2 * SECOND),
        |t| {
            t.event(TraceEvent::Pin { asserted: true }).event(TraceEvent::Pin { asserted: false }).wait(2 * SECOND);
        },
    ),
    (
        Rule::H62,
        S,
        |t| _ = t.disable().enable().wait(MILLISECOND).wait(2 * SECOND),
        |t| {
            t.disable().enable().admin(event_request(), 100, None).wait(2 * SECOND);
        },
    ),
    (
        Rule::H64,
        S,
        |t| _ = t.event(TraceEvent::EventReported { event: Event::NAMESPACE_CHANGED }).wait(6 * SECOND),
        |t| {
            t.event(TraceEvent::EventReported { event: Event::NAMESPACE_CHANGED });
            t.admin(entry_with(admin(AdminOpcode::GET_LOG_PAGE), |it| it.cdw10 = 4.into()), 4, Some(None))
                .wait(6 * SECOND);
        },
    ),
    (
        Rule::H65,
        S,
        |t| {
            t.admin(event_request(), 101, Some(Some(Reason::EventRequestLimit))).admin(event_request(), 101, None);
        },
        |t| _ = t.admin(event_request(), 101, Some(None)).admin(event_request(), 101, None),
    ),
    (
        Rule::H67,
        S,
        |t| _ = t.io(read(9), 7, Some(Reason::OutOfRange)).io(read(9), 8, Some(Reason::OutOfRange)),
        |t| {
            // Somebody asks again: a driver's retry comes sooner.
            t.io(read(9), 7, Some(Reason::OutOfRange)).wait(SECOND).io(read(9), 8, Some(Reason::OutOfRange));
        },
    ),
    (
        Rule::H68,
        S,
        |t| (0..18).for_each(|_| _ = t.io(write(9), 7, Some(Reason::MediaInternal)).wait(SECOND)),
        |t| {
            (0..16).for_each(|_| _ = t.io(write(9), 7, Some(Reason::MediaInternal)).wait(SECOND));
        },
    ),
    (
        Rule::H70,
        S,
        |t| (0..5).for_each(|cid| _ = t.admin(admin(AdminOpcode::ABORT), 50 + cid, None)),
        |t| {
            (0..4).for_each(|cid| _ = t.admin(admin(AdminOpcode::ABORT), 50 + cid, None));
        },
    ),
    (
        Rule::H71,
        S,
        |t| {
            t.fetch(1, 7, read(1));
            t.wait(6 * SECOND).fetch(1, 7, read(2));
        },
        |t| {
            t.fetch(1, 7, read(1));
            t.wait(6 * SECOND).admin(
                entry_with(admin(AdminOpcode::ABORT), |it| it.cdw10 = (1 | 7 << 16).into()),
                9,
                Some(None),
            );
            t.fetch(1, 8, read(2));
        },
    ),
    (
        Rule::H71,
        S,
        |t| {
            // Its slot: all entries are in use.
            t.ring(1, true, 15, None);
            (0..15).for_each(|cid| _ = t.fetch(1, cid, read(1)));
            t.wait(2 * SECOND).ring(1, true, 0, None);
        },
        |t| {
            t.ring(1, true, 15, None);
            (0..15).for_each(|cid| _ = t.fetch(1, cid, read(1)));
            t.ring(1, true, 0, None);
        },
    ),
    (
        Rule::H74,
        S,
        |t| (0..11).for_each(|_| _ = t.io(read(9), 7, Some(Reason::UnrecoveredRead)).wait(20 * MILLISECOND)),
        |t| {
            (0..11).for_each(|_| _ = t.io(read(9), 7, Some(Reason::UnrecoveredRead)).wait(120 * MILLISECOND));
        },
    ),
    (
        Rule::H77,
        S,
        |t| _ = t.event(TraceEvent::EventReported { event: Event::NAMESPACE_CHANGED }).wait(6 * SECOND),
        |t| {
            t.event(TraceEvent::EventReported { event: Event::NAMESPACE_CHANGED });
            t.admin(entry_with(admin(AdminOpcode::IDENTIFY), |it| it.cdw10 = 2.into()), 4, Some(None)).wait(6 * SECOND);
        },
    ),
];

const LIFECYCLE: &[Case] = &[
    (
        Rule::H11,
        S,
        |t| t.checker.finish(End::PowerDown),
        |t| {
            t.event(TraceEvent::Shutdown { state: ShutdownState::Begun });
            t.event(TraceEvent::Shutdown { state: ShutdownState::Complete });
            t.checker.finish(End::PowerDown);
        },
    ),
    (Rule::H11, S, |t| t.checker.finish(End::PowerDown), |t| t.checker.finish(End::Killed)),
    (
        // The machine's end is heard of as a reset.
        Rule::H11,
        S,
        |t| {
            t.event(TraceEvent::Reset { kind: ResetKind::Function, dropped: 0 });
            t.checker.finish(End::PowerDown);
        },
        |t| {
            // Somebody else came, and did not bring it up.
            t.event(TraceEvent::Reset { kind: ResetKind::Function, dropped: 0 });
            t.write(register::AQA, 31 << 16 | 31, None);
            t.checker.finish(End::PowerDown);
        },
    ),
    (
        Rule::H72,
        M,
        |t| {
            t.set_feature(FeatureId::ASYNCHRONOUS_EVENTS).disable().enable();
            t.set_feature(FeatureId::NUMBER_OF_QUEUES)
                .queue_pair(1, 16, 0x20_0000)
                .io(read(1), 7, None)
                .wait(2 * SECOND);
        },
        |t| {
            // Linux lets I/O go on before it has set them all.
            t.set_feature(FeatureId::ASYNCHRONOUS_EVENTS).disable().enable();
            t.set_feature(FeatureId::NUMBER_OF_QUEUES).queue_pair(1, 16, 0x20_0000).io(read(1), 7, None);
            t.set_feature(FeatureId::ASYNCHRONOUS_EVENTS).wait(2 * SECOND);
        },
    ),
    (
        Rule::H72,
        M,
        |t| {
            t.set_feature(FeatureId::ASYNCHRONOUS_EVENTS).disable().enable();
            t.set_feature(FeatureId::NUMBER_OF_QUEUES)
                .queue_pair(1, 16, 0x20_0000)
                .io(read(1), 7, None)
                .wait(2 * SECOND);
        },
        |t| {
            // Another driver may come after a reset of the function.
            t.set_feature(FeatureId::ASYNCHRONOUS_EVENTS).write(register::CC, 0, None);
            t.event(TraceEvent::Reset { kind: ResetKind::Function, dropped: 0 }).enable();
            t.set_feature(FeatureId::NUMBER_OF_QUEUES)
                .queue_pair(1, 16, 0x20_0000)
                .io(read(1), 7, None)
                .wait(2 * SECOND);
        },
    ),
    (
        Rule::H79,
        S,
        |t| {
            t.io(write(1), 7, None);
            t.checker.finish(End::PowerDown);
        },
        |t| {
            t.io(write(1), 7, None).io(flush(), 8, None);
            t.checker.finish(End::PowerDown);
        },
    ),
    (
        Rule::H80,
        S,
        |t| {
            let command = t.fetch(1, 7, write(1));
            t.io(flush(), 8, None).answer(command, write(1), None).wait(2 * SECOND);
        },
        |t| {
            let command = t.fetch(1, 7, write(1));
            t.io(flush(), 8, None).answer(command, write(1), None).io(flush(), 9, None).wait(2 * SECOND);
        },
    ),
];

#[test]
fn whoever_breaks_a_rule_is_told_so_and_who_comes_near_is_not() {
    for cases in [REGISTERS, DOORBELLS, COMMANDS, MEMORY, ATTENTION, LIFECYCLE] {
        for (number, (rule, severity, breaks, comes_near)) in cases.iter().enumerate() {
            let mut trial = Trial::running(16);
            assert_eq!(trial.checker.violations().map(|one| one.rule).collect::<Vec<_>>(), [], "the usual start");
            breaks(&mut trial);
            assert_eq!(trial.broken(*rule), Some(*severity), "{rule:?}, case {number}");
            let mut trial = Trial::running(16);
            comes_near(&mut trial);
            assert_eq!(trial.broken(*rule).filter(|found| found >= severity), None, "{rule:?}, near miss {number}");
        }
    }
}

#[test]
fn every_rule_that_is_not_about_speed_has_its_case() {
    let cases = [REGISTERS, DOORBELLS, COMMANDS, MEMORY, ATTENTION, LIFECYCLE].concat();
    let tried = |rule: &Rule| cases.iter().any(|(tried, ..)| tried == rule);
    let missing: Vec<_> =
        Rule::ALL.iter().filter(|rule| rule.severity() > Severity::Performance && !tried(rule)).collect();
    assert_eq!(missing, Vec::<&Rule>::new());
}

#[test]
fn a_violation_carries_its_evidence_and_is_counted_without_end() {
    let mut trial = Trial::running(16);
    (0..8).for_each(|cid| _ = trial.io(read(1), cid, None));
    for _ in 0..100 {
        trial.io(read(5000), 7, Some(Reason::OutOfRange)).wait(SECOND);
    }
    let told: Vec<u64> =
        trial.checker.take_news().iter().filter(|it| it.rule == Rule::H43).map(|it| it.count).collect();
    assert_eq!(told, [100; 7], "at 1, 2, 4 … 64: each tells the number of its moment");
    let found = trial.checker.violations().find(|it| it.rule == Rule::H43).expect("found");
    assert_eq!((found.count, found.severity), (100, Severity::Must));
    assert!(found.first < found.last && found.events.len() == 16);
    let (name, entry) = found.command.expect("it was a command");
    assert_eq!((name.queue, name.identifier, entry.expect("known").slba()), (1, 7, 5000));
    assert!(found.detail.contains("NSZE"), "{}", found.detail);
}

#[test]
fn lives_of_a_controller_are_kept_apart() {
    let mut trial = Trial::running(16);
    trial.ring(1, true, 64, Some(DoorbellRefusal::BadValue)).disable().enable();
    trial.set_feature(FeatureId::NUMBER_OF_QUEUES).queue_pair(1, 16, 0x20_0000);
    trial.ring(1, true, 64, Some(DoorbellRefusal::BadValue));
    let lives: Vec<u64> =
        trial.checker.violations().filter(|it| it.rule == Rule::H16).map(|it| it.generation).collect();
    assert_eq!(lives, [1, 3]);
}

#[test]
fn a_slow_machine_has_more_time() {
    let deaf = |slowness| {
        let mut trial = Trial::running(16);
        trial.checker = trial.checker.with_slowness(slowness);
        trial.written(1, 0, 1).event(TraceEvent::Message { vector: 1 });
        trial.wait(3 * SECOND).broken(Rule::H58)
    };
    assert_eq!([deaf(1), deaf(20)], [Some(S), None]);
    // That a driver is hasty does not come from its machine.
    let hasty = |slowness| {
        let mut trial = Trial::running(16);
        trial.checker = trial.checker.with_slowness(slowness);
        trial.fetch(1, 7, read(1));
        trial.wait(3 * SECOND).fetch(1, 7, read(2));
        [Rule::H71, Rule::H30].map(|rule| trial.broken(rule))
    };
    assert_eq!([hasty(1), hasty(20)], [[Some(S), None]; 2]);
}
