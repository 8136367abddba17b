//! Commands and their data pointers, as far as one command alone tells: H5, H26 to H31, H35 to H51, H63, H75, H76.

use std::collections::BTreeMap;

use controller::reason::Reason;
use controller::watch::{CommandName, TraceEvent, Traced};
use media::Nanoseconds;
use nvme_spec::opcode::{AdminOpcode, NvmOpcode};
use nvme_spec::{Command, NSID_ALL};

use crate::facts::Facts;
use crate::found::{Finding, Found};
use crate::host::{HostState, names_one_namespace};
use crate::limits::{Limits, SECOND};
use crate::rules::{Rule, Severity};
use crate::told::Told;

/// What is remembered for these rules alone.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    /// Opcodes that were refused, by whether they are admin commands: one try is a question.
    tried: BTreeMap<(bool, u8), u32>,
    /// Namespaces that changed their size, and when.
    resized: BTreeMap<u32, Nanoseconds>,
}

impl Commands {
    pub(crate) fn judge(
        &mut self,
        host: &HostState,
        (facts, told): (&Facts, &Told),
        limits: &Limits,
        traced: &Traced,
        found: &mut Found,
    ) {
        match traced.event {
            TraceEvent::Fetched { command, entry } => {
                identifier(host, command, &entry, found);
                reserved(facts, command, &entry, found);
                placed(host, command, &entry, found);
            }
            TraceEvent::Completed { command, reason: Some(reason), .. } => {
                let entry = host.outstanding.get(&(command.queue, command.identifier)).map(|known| known.entry);
                let Some((rule, severity)) = self.rule(host, limits, command, entry, reason) else { return };
                if !told.promised_too_much(facts, rule, entry.as_ref()) {
                    refused(command, entry, reason, (rule, severity), found);
                }
            }
            TraceEvent::StaleCompletions { queue, entries, first } => {
                let text = format!("{entries} entries of completion queue {queue} had phase 1 when it was created");
                // Linux clears the admin queue after CC.EN is set, and before its first command: nothing comes of that.
                let severity = if queue == 0 { Severity::Should } else { Severity::Must };
                let finding = Finding::new(Rule::H34, first.into(), 0, text).of_queue(queue);
                found.report(finding.with_severity(severity));
            }
            TraceEvent::NamespaceChanged { nsid, .. } => {
                self.resized.insert(nsid, host.now);
            }
            TraceEvent::Reset { .. } | TraceEvent::PowerLost => self.tried.clear(),
            _ => {}
        }
    }

    /// Which rule a refusal is about, if it is the host's fault.
    fn rule(
        &mut self,
        host: &HostState,
        limits: &Limits,
        name: CommandName,
        entry: Option<Command>,
        reason: Reason,
    ) -> Option<(Rule, Severity)> {
        let nsid = entry.map_or(0, |entry| entry.nsid.get());
        let must = |rule: Rule| Some((rule, rule.severity()));
        match reason {
            Reason::UnknownOpcode => {
                let tries = self.tried.entry((name.queue == 0, entry?.opcode)).or_default();
                *tries += 1;
                (*tries > 1).then_some((Rule::H37, Severity::Should))
            }
            Reason::ReservedFuse | Reason::FusedAlone | Reason::FusedNotAPair | Reason::FusedTooLong => must(Rule::H40),
            Reason::ReservedPsdt | Reason::AdminSgl | Reason::AdminFused => must(Rule::H41),
            Reason::NamespaceInvalid | Reason::NamespaceInactive if name.queue == 0 => {
                Some((Rule::H39, Severity::Performance))
            }
            Reason::NamespaceInvalid | Reason::NamespaceInactive => must(Rule::H39),
            Reason::PrpOffset | Reason::Prp2Offset | Reason::PrpListOffset => must(Rule::H44),
            Reason::PrpListEntryOffset => must(Rule::H45),
            Reason::SglTooShort | Reason::SglSegment | Reason::SglType | Reason::SglCount => must(Rule::H46),
            Reason::MetadataPointer => must(Rule::H47),
            Reason::PrpListUnreadable
            | Reason::SglUnreadable
            | Reason::DataUnreachable
            | Reason::DoorbellBufferUnreachable => must(Rule::H50),
            Reason::HostMemory => {
                let reads = entry.is_some_and(|entry| name.queue != 0 && NvmOpcode(entry.opcode) == NvmOpcode::READ);
                must(if reads { Rule::H51 } else { Rule::H50 })
            }
            Reason::TransferTooLong | Reason::VerifyTooLong | Reason::CopyTooLong | Reason::LogLength => {
                must(Rule::H42)
            }
            Reason::OutOfRange | Reason::DatasetOutOfRange | Reason::CopyOutOfRange => {
                Some(self.beyond(host, limits, nsid))
            }
            Reason::QueueIdentifier | Reason::QueueExists | Reason::QueueMissing => must(Rule::H27),
            Reason::CompletionQueueIdentifier | Reason::CompletionQueueMissing | Reason::CompletionQueueInUse => {
                must(Rule::H26)
            }
            Reason::QueueSize => must(Rule::H28),
            Reason::QueueEntrySize => must(Rule::H5),
            Reason::QueueScattered | Reason::QueueMisaligned => must(Rule::H35),
            Reason::QueueVector => must(Rule::H36),
            Reason::EventRequestLimit => must(Rule::H63),
            Reason::QueuesTooLate | Reason::FeatureSave => must(Rule::H75),
            _ => None,
        }
    }

    /// Beyond the end of a namespace; not so bad while the host may not know yet that it shrank.
    fn beyond(&self, host: &HostState, limits: &Limits, nsid: u32) -> (Rule, Severity) {
        match self.resized.get(&nsid) {
            Some(at) if !limits.passed(*at, host.now, SECOND) => (Rule::H43, Severity::Should),
            Some(at) if !limits.passed(*at, host.now, 5 * SECOND) => (Rule::H76, Severity::Should),
            Some(_) => (Rule::H76, Severity::Must),
            None => (Rule::H43, Severity::Must),
        }
    }
}

fn refused(
    name: CommandName,
    entry: Option<Command>,
    reason: Reason,
    (rule, severity): (Rule, Severity),
    found: &mut Found,
) {
    let opcode = entry.map_or(0, |entry| entry.opcode);
    let kind = if name.queue == 0 { "admin command" } else { "I/O command" };
    let text = format!("{kind} {opcode:02x}h: {}", reason.text());
    found.report(Finding::new(rule, opcode.into(), 0, text).of(name, entry).with_severity(severity));
}

fn identifier(host: &HostState, name: CommandName, entry: &Command, found: &mut Found) {
    if name.identifier == u16::MAX {
        let text = "command identifier FFFFh stands for no command in the error log";
        found.report(Finding::new(Rule::H31, 0xffff, 0xfffe, text).of(name, Some(*entry)));
    }
    let Some(other) = host.outstanding.get(&(name.queue, name.identifier)) else { return };
    let text = format!(
        "command {} of queue {} was under way for {} ms when its identifier was used again",
        name.identifier,
        name.queue,
        host.now.0.saturating_sub(other.fetched.0) / 1_000_000
    );
    // Whoever gave a command up without an Abort or a reset takes its late completion for the next one's.
    let rule = if other.given_up(host.now) { Rule::H71 } else { Rule::H30 };
    found.report(Finding::new(rule, name.identifier.into(), 0, text).of(name, Some(*entry)));
}

/// A queue that shares memory with another one.
fn placed(host: &HostState, name: CommandName, entry: &Command, found: &mut Found) {
    let bytes = match (name.queue, AdminOpcode(entry.opcode)) {
        (0, AdminOpcode::CREATE_SUBMISSION_QUEUE) => 64,
        (0, AdminOpcode::CREATE_COMPLETION_QUEUE) => 16,
        _ => return,
    };
    let entries = u64::from(nvme_spec::command::high16(entry.cdw10.get())) + 1;
    let (start, end) = (entry.prp1.get(), entry.prp1.get().saturating_add(entries * bytes));
    let submissions = host.submissions.iter().map(|(id, queue)| (*id, queue.base, u64::from(queue.entries) * 64));
    let completions = host.completions.iter().map(|(id, queue)| (*id, queue.base, u64::from(queue.entries) * 16));
    for (id, base, length) in submissions.chain(completions) {
        if base < end && start < base.saturating_add(length) {
            let text = format!("the new queue at {start:#x} lies in the memory of queue {id}");
            found.report(Finding::new(Rule::H35, start, base, text).of(name, Some(*entry)));
        }
    }
}

/// Reserved dwords of the commands that drivers send; 0 is what a later revision expects.
fn reserved(facts: &Facts, name: CommandName, entry: &Command, found: &mut Found) {
    let mut report = |rule, value: u32, text: &str| {
        found.report(Finding::new(rule, value.into(), 0, text).of(name, Some(*entry)));
    };
    if name.queue == 0 {
        if AdminOpcode(entry.opcode) == AdminOpcode::IDENTIFY && entry.cdw10.get() & 0xff == 1 && entry.nsid.get() != 0
        {
            report(Rule::H38, entry.nsid.get(), "NSID is reserved in Identify Controller");
        }
        if entry.flags & 0b0011_1100 != 0 {
            report(Rule::H38, entry.flags.into(), "reserved bits of the command's flags are set");
        }
        return;
    }
    if entry.flags & 0b0011_1100 != 0 {
        report(Rule::H38, entry.flags.into(), "reserved bits of the command's flags are set");
    }
    let moves = matches!(NvmOpcode(entry.opcode), NvmOpcode::READ | NvmOpcode::WRITE | NvmOpcode::COMPARE);
    if moves && names_one_namespace(entry) && facts.namespace(entry.nsid.get()).is_some() {
        let reserved = entry.cdw2.get() | entry.cdw3.get();
        if reserved != 0 {
            report(Rule::H38, reserved, "dwords 2 and 3 are reserved without protection information");
        }
        let protection = entry.cdw12.get() >> 26 & 0xf;
        if protection != 0 {
            report(Rule::H49, protection, "PRINFO is set, and the format has no protection information");
        }
    }
    if NvmOpcode(entry.opcode) == NvmOpcode::FLUSH && entry.nsid.get() == 0 {
        report(Rule::H39, 0, "Flush names namespace 0");
    }
    if moves && entry.nsid.get() == NSID_ALL {
        report(Rule::H39, NSID_ALL, "a command that moves data names all namespaces");
    }
}
