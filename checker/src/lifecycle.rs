//! What a driver does over a life of the controller and at its end: features (H29, H72), durability (H11, H79, H80).

use std::collections::{BTreeMap, BTreeSet};

use controller::watch::{ResetKind, ShutdownState, TraceEvent, Traced};
use media::Nanoseconds;
use nvme_spec::Command;
use nvme_spec::feature::FeatureId;
use nvme_spec::opcode::{AdminOpcode, NvmOpcode};

use crate::facts::Facts;
use crate::found::{Finding, Found};
use crate::host::HostState;
use crate::limits::{Limits, SECOND};
use crate::rules::{Rule, Severity};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The machine was switched off by its own system, which had time for a shutdown.
    PowerDown,
    /// Somebody killed it, or the run is over while it goes on: nobody's fault.
    Killed,
}

/// Doorbell Buffer Config is remembered beside the features.
const SHADOW: u8 = 0xff;

/// What is remembered for these rules alone.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    /// Features that were set in this life, and in the one before that a controller reset ended.
    set: BTreeSet<u8>,
    before: BTreeSet<u8>,
    /// When the first I/O command came; nothing once its life was looked at.
    first_io: Option<Nanoseconds>,
    io_seen: bool,
    io_queue_made: bool,
    /// Whoever had the controller went, without a shutdown, and nobody has come since.
    left_running: bool,
    /// Writes that were answered since the last Flush, and whether a shutdown has made them durable.
    written: u64,
    flushed_ever: bool,
    /// A Flush that was sent while writes of its queue were under way: when, and how many.
    early_flush: BTreeMap<u16, (Nanoseconds, usize)>,
}

impl Lifecycle {
    pub(crate) fn judge(&mut self, host: &HostState, facts: &Facts, traced: &Traced, found: &mut Found) {
        match traced.event {
            TraceEvent::Reset { kind, .. } => {
                self.reset(kind);
                self.left_running = kind == ResetKind::Function && is_left_running(host);
            }
            TraceEvent::RegisterWritten { .. } | TraceEvent::Enabled { .. } => self.left_running = false,
            TraceEvent::PowerLost => *self = Self::default(),
            TraceEvent::Shutdown { state: ShutdownState::Complete } => self.written = 0,
            TraceEvent::Fetched { command, entry } if command.queue == 0 => {
                if let AdminOpcode::CREATE_COMPLETION_QUEUE = AdminOpcode(entry.opcode)
                    && !std::mem::replace(&mut self.io_queue_made, true)
                    && !self.set.contains(&FeatureId::NUMBER_OF_QUEUES.0)
                {
                    let text = "an I/O queue is created, and Number of Queues was not set before";
                    found.report(Finding::new(Rule::H29, 0, 1, text).of(command, Some(entry)));
                }
            }
            TraceEvent::Fetched { command, entry } => {
                self.io_fetched(host, command.queue, &entry);
                if !std::mem::replace(&mut self.io_seen, true) {
                    self.first_io = Some(host.now);
                }
            }
            TraceEvent::Completed { command, status, .. } if status.is_success() => {
                let Some(known) = host.outstanding.get(&(command.queue, command.identifier)) else { return };
                if command.queue == 0 {
                    self.administered(&known.entry);
                } else if facts.write_cache {
                    self.io_done(&known.entry);
                }
            }
            _ => {}
        }
    }

    fn reset(&mut self, kind: ResetKind) {
        // After anything else than a controller reset another driver may come.
        let before = if kind == ResetKind::Controller { std::mem::take(&mut self.set) } else { BTreeSet::new() };
        let kept =
            if before.is_empty() && kind == ResetKind::Controller { std::mem::take(&mut self.before) } else { before };
        *self = Self { before: kept, written: self.written, flushed_ever: self.flushed_ever, ..Self::default() };
    }

    fn administered(&mut self, entry: &Command) {
        match AdminOpcode(entry.opcode) {
            AdminOpcode::SET_FEATURES => {
                let [feature, ..] = entry.cdw10.get().to_le_bytes();
                self.set.insert(feature);
            }
            AdminOpcode::DOORBELL_BUFFER_CONFIG => {
                self.set.insert(SHADOW);
            }
            _ => {}
        }
    }

    fn check_features(&self, found: &mut Found) {
        for feature in self.before.difference(&self.set) {
            let text = if *feature == SHADOW {
                "Doorbell Buffer Config was used before the reset and was not sent again".to_owned()
            } else {
                format!("feature {feature:02x}h was set before the reset and is not set again")
            };
            found.report(Finding::new(Rule::H72, (*feature).into(), 0, text));
        }
    }

    fn io_fetched(&mut self, host: &HostState, queue: u16, entry: &Command) {
        if NvmOpcode(entry.opcode) != NvmOpcode::FLUSH {
            return;
        }
        // Judged only where one queue is in use: other writers are not covered, and need not be.
        let busy: BTreeSet<u16> =
            host.outstanding.keys().map(|(queue, _)| *queue).filter(|queue| *queue != 0).collect();
        let writes = host.outstanding_of(queue).filter(|other| writes(&other.entry)).count();
        if writes > 0 && busy.len() == 1 {
            self.early_flush.insert(queue, (host.now, writes));
        } else {
            self.early_flush.remove(&queue);
        }
    }

    fn io_done(&mut self, entry: &Command) {
        if NvmOpcode(entry.opcode) == NvmOpcode::FLUSH {
            (self.written, self.flushed_ever) = (0, true);
        } else if writes(entry) && !entry.force_unit_access() {
            self.written += 1;
        }
    }

    pub(crate) fn tick(&mut self, host: &HostState, limits: &Limits, found: &mut Found) {
        let now = host.now;
        // Linux lets I/O go on before it has set them all.
        if self.first_io.is_some_and(|first| limits.passed(first, now, SECOND)) {
            self.first_io = None;
            self.check_features(found);
        }
        for (queue, (_, writes)) in self.early_flush.extract_if(.., |_, (at, _)| limits.passed(*at, now, SECOND)) {
            let text = format!("a Flush was sent while {writes} writes of its queue were under way, and none followed");
            found.report(Finding::new(Rule::H80, writes as u64, 0, text).of_queue(queue));
        }
    }

    /// The run is over.
    pub(crate) fn finish(&mut self, host: &HostState, end: End, found: &mut Found) {
        if end != End::PowerDown || host.powerless.is_some() {
            return;
        }
        // A machine that ends may reset the function before anybody hears that it has ended.
        if self.left_running || is_left_running(host) {
            let text = "the machine was switched off without a shutdown by CC.SHN, or before it was complete";
            found.report(Finding::new(Rule::H11, 0, 1, text));
        }
        if self.written > 0 {
            let text = format!("{} writes were acknowledged and never flushed", self.written);
            let severity = if self.flushed_ever { Severity::Performance } else { Severity::Should };
            found.report(Finding::new(Rule::H79, self.written, 0, text).with_severity(severity));
        }
    }
}

fn is_left_running(host: &HostState) -> bool {
    host.ready && !host.shutdown.is_some_and(|(state, _)| state == ShutdownState::Complete)
}

fn writes(entry: &Command) -> bool {
    matches!(NvmOpcode(entry.opcode), NvmOpcode::WRITE | NvmOpcode::WRITE_ZEROES)
}
