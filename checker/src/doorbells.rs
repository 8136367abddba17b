//! Doorbells: H8, H10, H14, H16 to H25, H73.

use std::collections::BTreeMap;

use controller::watch::{DoorbellPath, DoorbellRefusal, TraceEvent, Traced};
use media::Nanoseconds;
use nvme_spec::Command;
use nvme_spec::command::low16;
use nvme_spec::opcode::AdminOpcode;

use crate::found::{Finding, Found};
use crate::host::HostState;
use crate::limits::{Limits, RACE, SECOND};
use crate::rules::{Rule, Severity};

/// A full completion queue that nobody empties is one that the host has forgotten.
const STUCK: u64 = 2 * SECOND;

/// What is remembered for these rules alone.
#[derive(Debug, Default)]
pub(crate) struct Doorbells {
    /// Register writes whose value the shadow buffer did not hold yet: by queue and side, the value and when.
    ahead: BTreeMap<(u16, bool), (u32, Nanoseconds)>,
    /// The last value seen in the shadow buffer.
    shadow: BTreeMap<(u16, bool), u32>,
    /// Completion queues that were reported as full.
    stuck: BTreeMap<u16, Nanoseconds>,
}

impl Doorbells {
    pub(crate) fn judge(&mut self, host: &HostState, limits: &Limits, traced: &Traced, found: &mut Found) {
        match traced.event {
            TraceEvent::DoorbellRead { offset } => {
                found.report(Finding::new(Rule::H23, offset, 0, "a doorbell was read"));
            }
            TraceEvent::Doorbell { path, queue, tail, value, refused } => {
                if value > 0xffff {
                    let text = format!("{value:#x} was written to a doorbell of queue {queue}");
                    found.report(Finding::new(Rule::H24, value.into(), 0xffff, text).of_queue(queue));
                }
                match refused {
                    Some(why) => self.refused(host, limits, (queue, tail, value), why, found),
                    None => self.accepted(host, path, (queue, tail, value), found),
                }
            }
            TraceEvent::Fetched { command, entry } if command.queue == 0 => self.administered(&entry),
            TraceEvent::Reset { .. } | TraceEvent::PowerLost => *self = Self::default(),
            _ => {}
        }
    }

    /// A queue that is made again begins at 0.
    fn administered(&mut self, entry: &Command) {
        let tail = match AdminOpcode(entry.opcode) {
            AdminOpcode::CREATE_SUBMISSION_QUEUE => true,
            AdminOpcode::CREATE_COMPLETION_QUEUE => false,
            _ => return,
        };
        let key = (low16(entry.cdw10.get()), tail);
        self.shadow.remove(&key);
        self.ahead.remove(&key);
    }

    fn refused(
        &mut self,
        host: &HostState,
        limits: &Limits,
        (queue, tail, value): (u16, bool, u32),
        why: DoorbellRefusal,
        found: &mut Found,
    ) {
        let side = if tail { "tail" } else { "head" };
        let what = format!("the {side} doorbell of queue {queue} was rung with {value}");
        let mut report = |rule, bound, text: String, severity| {
            found.report(Finding::new(rule, value.into(), bound, text).of_queue(queue).with_severity(severity));
        };
        match why {
            DoorbellRefusal::NotRunning if host.reset_alone => {}
            DoorbellRefusal::NotRunning => {
                let since = host.now.0.saturating_sub(host.changed.0);
                if let Some((_, at)) = host.fatal {
                    if limits.passed(at, host.now, RACE) {
                        report(Rule::H10, 0, format!("{what} while CSTS.CFS is 1"), Severity::Should);
                    }
                } else if host.configuration.enabled() && !host.ready {
                    report(Rule::H8, 0, format!("{what} before CSTS.RDY was 1"), Severity::Must);
                } else if since > limits.scaled(RACE) {
                    report(Rule::H18, 0, format!("{what} while CC.EN is 0"), Severity::Must);
                }
            }
            DoorbellRefusal::NoQueue => {
                let deleted = host.deleted.get(&(tail, queue));
                let racing = deleted.is_some_and(|at| !limits.passed(*at, host.now, RACE));
                let severity = if racing { Severity::Should } else { Severity::Must };
                report(Rule::H17, 0, format!("{what}, and no such queue exists"), severity);
            }
            DoorbellRefusal::BadValue if tail => {
                let entries = host.submissions.get(&queue).map_or(0, |submission| submission.entries);
                report(Rule::H16, entries.into(), format!("{what}, of {entries} entries"), Severity::Must);
            }
            DoorbellRefusal::BadValue => {
                let (entries, unseen) =
                    host.completions.get(&queue).map_or((0, 0), |queue| (queue.entries, queue.unseen()));
                let text = format!("{what}, of {entries} entries, {unseen} of them posted and not taken");
                report(Rule::H20, unseen.into(), text, Severity::Must);
            }
            DoorbellRefusal::Nudge => {
                if self.is_ahead(host, queue, tail, value & 0xffff) {
                    self.ahead.insert((queue, tail), (value & 0xffff, host.now));
                }
            }
            DoorbellRefusal::NoPower => {
                if let Some(at) = host.saw_all_ones {
                    report(Rule::H14, 0, format!("{what} after registers had read as all ones"), Severity::Must);
                    if limits.passed(at, host.now, SECOND) {
                        let text = format!("{what} a second after registers had read as all ones");
                        report(Rule::H73, 0, text, Severity::Should);
                    }
                }
            }
        }
    }

    fn accepted(
        &mut self,
        host: &HostState,
        path: DoorbellPath,
        (queue, tail, value): (u16, bool, u32),
        found: &mut Found,
    ) {
        let value = value & 0xffff;
        if path == DoorbellPath::Shadow {
            // Whatever is there now was stored after the register was rung, or with it.
            self.shadow.insert((queue, tail), value);
            self.ahead.remove(&(queue, tail));
        }
        // Of doorbells in memory only the latest value is seen, so that a step back cannot be told from a round.
        if path != DoorbellPath::Register {
            return;
        }
        if tail {
            Self::tail(host, queue, value, found);
        } else if host.completions.get(&queue).is_some_and(|completions| completions.head == value) {
            let text = format!("the head of queue {queue} is {value} already");
            found.report(Finding::new(Rule::H21, value.into(), value.into(), text).of_queue(queue));
        }
    }

    /// Whether a register write says more than its shadow did. One that comes late says less: half of a round back is behind.
    fn is_ahead(&self, host: &HostState, queue: u16, tail: bool, value: u32) -> bool {
        let entries = if tail {
            host.submissions.get(&queue).map(|submission| submission.entries)
        } else {
            host.completions.get(&queue).map(|completions| completions.entries)
        };
        let Some(entries) = entries else { return false };
        let known = self.shadow.get(&(queue, tail)).copied().unwrap_or(0);
        let forward = (value + entries - known % entries) % entries;
        (1..=entries / 2).contains(&forward)
    }

    fn tail(host: &HostState, queue: u16, value: u32, found: &mut Found) {
        let Some(submission) = host.submissions.get(&queue) else { return };
        let entries = submission.entries;
        if submission.tail == value {
            let text = format!("the tail of queue {queue} is {value} already");
            return found.report(Finding::new(Rule::H21, value.into(), value.into(), text).of_queue(queue));
        }
        let distance = |from: u32, to: u32| (to + entries - from) % entries;
        let new = distance(submission.tail, value);
        let [untaken, unreported] =
            [submission.fetched, submission.reported].map(|head| distance(head, submission.tail) + new);
        if unreported >= entries {
            // Entries that were read already are overwritten without harm; it is wrong all the same.
            let severity = if untaken >= entries { Severity::Must } else { Severity::Should };
            let text = format!(
                "the tail of queue {queue} went from {} to {value}; of its {entries} entries {} are not given back by a completion",
                submission.tail,
                unreported - new,
            );
            let finding = Finding::new(Rule::H19, unreported.into(), (entries - 1).into(), text).of_queue(queue);
            found.report(finding.with_severity(severity));
            // The slots that are used again are those of the oldest commands.
            if let Some(oldest) = host.outstanding_of(queue).min_by_key(|other| other.fetched)
                && oldest.given_up(host.now)
            {
                let text = format!(
                    "command {} of queue {queue} was under way, and neither aborted nor reset, when its slot was used again",
                    oldest.name.identifier
                );
                let finding = Finding::new(Rule::H71, oldest.name.identifier.into(), 0, text);
                found.report(finding.of(oldest.name, Some(oldest.entry)));
            }
        }
    }

    pub(crate) fn tick(&mut self, host: &HostState, limits: &Limits, found: &mut Found) {
        let now = host.now;
        for ((queue, tail), (value, _)) in self.ahead.extract_if(.., |_, (_, at)| limits.passed(*at, now, RACE)) {
            let side = if tail { "tail" } else { "head" };
            let text = format!(
                "the {side} doorbell of queue {queue} was rung with {value}, and its shadow does not hold that"
            );
            found.report(Finding::new(Rule::H25, value.into(), 0, text).of_queue(queue));
        }
        for (id, queue) in &host.completions {
            let full = queue.unseen() + 1 == queue.entries && limits.passed(queue.moved, now, STUCK);
            if full && self.stuck.insert(*id, queue.moved) != Some(queue.moved) {
                let text = format!("completion queue {id} is full, and its head does not move");
                found.report(Finding::new(Rule::H22, queue.unseen().into(), STUCK, text).of_queue(*id));
            }
        }
    }
}
