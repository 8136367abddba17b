//! What the host was told of the device where that is not what the device is: faults change registers and answers to Identify, and a
//! driver has to believe them. H28, H42, H43 by what it believes.

use std::collections::BTreeMap;

use controller::watch::{CommandName, TraceEvent, Traced};
use media::Nanoseconds;
use nvme_spec::Command;
use nvme_spec::command::high16;
use nvme_spec::opcode::{AdminOpcode, NvmOpcode};
use nvme_spec::register::{self, Capabilities};

use crate::facts::Facts;
use crate::found::{Finding, Found};
use crate::limits::{Limits, SECOND};
use crate::rules::{Rule, Severity};

/// An answer to Identify: CNS, and the namespace where it is about one.
type Subject = (u8, u32);
/// Bytes that a fault put into it, by their offsets.
type Changes = BTreeMap<u32, u8>;

const NAMESPACE: u8 = 0;
const CONTROLLER: u8 = 1;
/// Identify Controller, byte 77: MDTS (NVMe Base 2.1 figure 313).
const MDTS: u32 = 77;

/// What the host believes.
#[derive(Debug)]
pub(crate) struct Told {
    /// CAP as it is.
    capabilities: Capabilities,
    /// Changed answers, since when.
    identify: BTreeMap<Subject, (Nanoseconds, Changes)>,
    /// Identify commands under way, and what was changed in their answers so far.
    asked: BTreeMap<u16, (Subject, Changes)>,
}

impl Told {
    pub(crate) fn new(facts: &Facts) -> Self {
        Self { capabilities: facts.capabilities, identify: BTreeMap::new(), asked: BTreeMap::new() }
    }

    /// CAP as the host has read it, after this event.
    pub(crate) fn capabilities(&self, so_far: Capabilities, traced: &Traced) -> Capabilities {
        let TraceEvent::RegisterRead { offset, bytes, value, refused: None } = traced.event else { return so_far };
        if value == u64::MAX || bytes == 4 && value == u64::from(u32::MAX) {
            return so_far;
        }
        let (low, high) = (so_far.0 & 0xffff_ffff, so_far.0 & !0xffff_ffff);
        match (offset, bytes) {
            (register::CAP, 8) => Capabilities(value),
            (register::CAP, 4) => Capabilities(high | value),
            (0x04, 4) => Capabilities(value << 32 | low),
            _ => so_far,
        }
    }

    /// Judges a command by what its host believes.
    pub(crate) fn judge(&self, facts: &Facts, limits: &Limits, traced: &Traced, found: &mut Found) {
        let TraceEvent::Fetched { command, entry } = traced.event else { return };
        if command.queue == 0 {
            return self.queue(facts, command, &entry, found);
        }
        if !matches!(NvmOpcode(entry.opcode), NvmOpcode::READ | NvmOpcode::WRITE | NvmOpcode::COMPARE) {
            return;
        }
        let Some(namespace) = facts.namespace(entry.nsid.get()) else { return };
        let blocks = u64::from(entry.nlb_z()) + 1;
        let (bytes, end) = (blocks * u64::from(namespace.block_bytes), entry.slba().saturating_add(blocks));
        let mut beyond = |rule, told: Option<(u64, Nanoseconds)>, real: u64, value: u64, text: &str| {
            let Some((bound, since)) = told.filter(|(bound, _)| value > *bound && value <= real) else { return };
            // What was begun before is on its way, and so is a driver's new limit.
            let soon = !limits.passed(since, traced.time, SECOND);
            let finding = Finding::new(rule, value, bound, format!("{text}, of {bound} as the host was told"));
            let severity = if soon { Severity::Should } else { Severity::Must };
            found.report(finding.of(command, Some(entry)).with_severity(severity));
        };
        let told = self.transfer_bytes_max(facts);
        beyond(Rule::H42, told, facts.transfer_bytes_max, bytes, &format!("a transfer of {bytes} bytes"));
        let told = self.blocks(entry.nsid.get(), namespace.blocks);
        beyond(Rule::H43, told, namespace.blocks, end, &format!("a command up to block {end}"));
    }

    fn queue(&self, facts: &Facts, name: CommandName, entry: &Command, found: &mut Found) {
        let creates = [AdminOpcode::CREATE_SUBMISSION_QUEUE, AdminOpcode::CREATE_COMPLETION_QUEUE];
        let (entries_z, told_z) = (high16(entry.cdw10.get()), facts.capabilities.mqes_z());
        if creates.contains(&AdminOpcode(entry.opcode)) && entries_z > told_z && entries_z <= self.capabilities.mqes_z()
        {
            let text = format!("a queue of {} entries; CAP.MQES was read as {told_z}", u32::from(entries_z) + 1);
            let finding = Finding::new(Rule::H28, u64::from(entries_z) + 1, u64::from(told_z) + 1, text);
            found.report(finding.of(name, Some(*entry)));
        }
    }

    /// Whether the host was promised more than the device keeps, so that a refusal is not its fault.
    pub(crate) fn promised_too_much(&self, facts: &Facts, rule: Rule, entry: Option<&Command>) -> bool {
        let more = |told: Option<(u64, Nanoseconds)>, real: u64| told.is_some_and(|(told, _)| told > real);
        match (rule, entry) {
            (Rule::H28, _) => facts.capabilities.mqes_z() > self.capabilities.mqes_z(),
            (Rule::H42, _) => more(self.transfer_bytes_max(facts), facts.transfer_bytes_max),
            (Rule::H43, Some(entry)) => {
                let real = facts.namespace(entry.nsid.get()).map_or(0, |namespace| namespace.blocks);
                more(self.blocks(entry.nsid.get(), real), real)
            }
            _ => false,
        }
    }

    fn transfer_bytes_max(&self, facts: &Facts) -> Option<(u64, Nanoseconds)> {
        let (since, changes) = self.identify.get(&(CONTROLLER, 0))?;
        let shift = u32::from(*changes.get(&MDTS)?) + 12 + u32::from(facts.capabilities.mps_min());
        let unlimited = changes[&MDTS] == 0;
        Some((if unlimited { u64::MAX } else { 1_u64.checked_shl(shift).unwrap_or(u64::MAX) }, *since))
    }

    /// NSZE is the first quadword of Identify Namespace (NVM Command Set 1.1 figure 114).
    fn blocks(&self, nsid: u32, real: u64) -> Option<(u64, Nanoseconds)> {
        let (since, changes) = self.identify.get(&(NAMESPACE, nsid))?;
        let mut bytes = real.to_le_bytes();
        let told: Vec<(&u32, &u8)> = changes.range(..8).collect();
        for (offset, byte) in &told {
            bytes[**offset as usize] = **byte;
        }
        (!told.is_empty()).then_some((u64::from_le_bytes(bytes), *since))
    }

    /// Notes what the host is told.
    pub(crate) fn apply(&mut self, traced: &Traced) {
        match traced.event {
            TraceEvent::Fetched { command, entry } if command.queue == 0 => {
                if let Some(subject) = subject(entry.opcode, entry.nsid.get(), entry.cdw10.get()) {
                    self.asked.insert(command.identifier, (subject, Changes::new()));
                }
            }
            TraceEvent::DataChanged { command, offset, bytes, count, .. } => {
                if let Some((_, changes)) = self.asked.get_mut(&command.identifier) {
                    changes.extend((offset..).zip(bytes.into_iter().take(count.into())));
                }
            }
            TraceEvent::CompletionWritten { entry, .. } if entry.sqid.get() == 0 => {
                let Some((subject, changes)) = self.asked.remove(&entry.cid.get()) else { return };
                if changes.is_empty() {
                    self.identify.remove(&subject);
                } else if self.identify.get(&subject).is_none_or(|(_, known)| *known != changes) {
                    self.identify.insert(subject, (traced.time, changes));
                }
            }
            TraceEvent::Reset { .. } => self.asked.clear(),
            _ => {}
        }
    }
}

fn subject(opcode: u8, nsid: u32, dword10: u32) -> Option<Subject> {
    let [cns, ..] = dword10.to_le_bytes();
    let about = match cns {
        NAMESPACE => nsid,
        CONTROLLER => 0,
        _ => return None,
    };
    (AdminOpcode(opcode) == AdminOpcode::IDENTIFY).then_some((cns, about))
}
