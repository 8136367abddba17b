//! Whether the host pays attention: interrupts (H58, H59), events (H62, H64, H65), notices (H77), repetition (H67, H68, H70, H74).

use std::collections::{BTreeMap, VecDeque};

use controller::reason::Reason;
use controller::watch::{CommandName, Detail, TraceEvent, Traced};
use media::Nanoseconds;
use nvme_spec::log::{Event, LogId};
use nvme_spec::opcode::AdminOpcode;
use nvme_spec::{Command, Status};

use crate::facts::Facts;
use crate::found::{Finding, Found};
use crate::host::HostState;
use crate::limits::{Limits, SECOND};
use crate::rules::{Rule, Severity};

/// An interrupt is answered within this.
const DEAF: u64 = 2 * SECOND;
/// The log of an event is read within this, and the list of namespaces after a notice.
const UNREAD: u64 = 5 * SECOND;
/// A driver that tries again does so within this; somebody who asks again takes longer.
const RETRY: u64 = 10_000_000;
/// How often one command may be tried.
const TRIES: u32 = 16;
/// Reads of one unreadable block in a second.
const READS: usize = 10;

/// So many failures are remembered at most; a host that has more starts anew.
const REMEMBERED: usize = 4096;

/// What makes two commands the same.
type Same = (bool, u8, u32, [u32; 3]);

/// What is remembered for these rules alone.
#[derive(Debug, Default)]
pub(crate) struct Attention {
    /// When the pin was asserted, while it is.
    pin: Option<Nanoseconds>,
    ready: Option<Nanoseconds>,
    without_requests: Option<Nanoseconds>,
    told_without: bool,
    /// Events that were reported and whose log was not read.
    unread: BTreeMap<u8, (Event, Nanoseconds)>,
    notice: Option<Nanoseconds>,
    /// Commands that failed, with when, whether with DNR, and how often in a row.
    failed: BTreeMap<Same, (Nanoseconds, bool, u32)>,
    /// Unreadable blocks, with when they were read.
    unreadable: BTreeMap<(u32, u64), VecDeque<Nanoseconds>>,
    /// Completion queues whose host did not hear an interrupt, with when it was told.
    deaf: BTreeMap<u16, Nanoseconds>,
    /// Asynchronous Event Requests that were refused with DNR, lately.
    refused_requests: VecDeque<Nanoseconds>,
}

impl Attention {
    pub(crate) fn judge(
        &mut self,
        host: &HostState,
        facts: &Facts,
        limits: &Limits,
        traced: &Traced,
        found: &mut Found,
    ) {
        let now = host.now;
        match traced.event {
            TraceEvent::Pin { asserted } => self.pin = asserted.then_some(now),
            TraceEvent::Doorbell { tail: false, refused: None, .. } => self.pin = self.pin.map(|_| now),
            TraceEvent::Enabled { .. } => self.ready = Some(now),
            TraceEvent::Reset { .. } | TraceEvent::PowerLost | TraceEvent::Fatal { .. } => {
                *self = Self { failed: std::mem::take(&mut self.failed), ..Self::default() };
            }
            TraceEvent::EventReported { event } => {
                self.unread.insert(event.kind, (event, now));
                if event == Event::NAMESPACE_CHANGED {
                    self.notice = Some(now);
                }
            }
            TraceEvent::Fetched { command, entry } => self.fetched(host, facts, limits, command, &entry, found),
            TraceEvent::Completed { command, status, reason, .. } => {
                let known = host.outstanding.get(&(command.queue, command.identifier)).map(|known| known.entry);
                if let Some(entry) = known {
                    self.completed(now, limits, command, &entry, status, reason, found);
                }
            }
            _ => {}
        }
    }

    fn fetched(
        &mut self,
        host: &HostState,
        facts: &Facts,
        limits: &Limits,
        name: CommandName,
        entry: &Command,
        found: &mut Found,
    ) {
        if let Some(&(at, do_not_retry, count)) = self.failed.get(&same(name, entry)) {
            let soon = !limits.passed(at, host.now, RETRY);
            if do_not_retry && soon {
                let text = format!("a command that failed with DNR was sent again, {count} times by now");
                found.report(Finding::new(Rule::H67, count.into(), 0, text).of(name, Some(*entry)));
            } else if count > TRIES {
                let text = format!("a command that fails was sent {count} times");
                found.report(Finding::new(Rule::H68, count.into(), TRIES.into(), text).of(name, Some(*entry)));
            }
        }
        if name.queue != 0 {
            return;
        }
        match AdminOpcode(entry.opcode) {
            AdminOpcode::ABORT => {
                let aborts =
                    host.outstanding_of(0).filter(|other| other.entry.opcode == AdminOpcode::ABORT.0).count() + 1;
                if aborts > facts.aborts_max {
                    let text = format!("{aborts} Aborts are outstanding, and ACL allows {}", facts.aborts_max);
                    let bound = facts.aborts_max as u64;
                    found.report(Finding::new(Rule::H70, aborts as u64, bound, text).of(name, Some(*entry)));
                }
            }
            AdminOpcode::IDENTIFY if matches!(entry.cdw10.get() & 0xff, 0x02 | 0x07) => self.notice = None,
            AdminOpcode::GET_LOG_PAGE if entry.cdw10.get() & 1 << 15 == 0 => {
                let [log, ..] = entry.cdw10.get().to_le_bytes();
                self.unread.retain(|_, (event, _)| event.log != LogId(log));
            }
            AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST => {
                (self.without_requests, self.told_without) = (None, false);
                while self.refused_requests.front().is_some_and(|at| limits.passed(*at, host.now, SECOND)) {
                    self.refused_requests.pop_front();
                }
                if let Some(since) = self.refused_requests.len().checked_sub(1) {
                    let severity = if since >= 100 { Severity::Must } else { Severity::Should };
                    let text = "an Asynchronous Event Request was sent again after one failed with DNR";
                    let finding = Finding::new(Rule::H65, since as u64 + 1, 0, text).of(name, Some(*entry));
                    found.report(finding.with_severity(severity));
                }
            }
            _ => {}
        }
    }

    #[expect(clippy::too_many_arguments, reason = "an answer has these parts, and they are used here alone")]
    fn completed(
        &mut self,
        now: Nanoseconds,
        limits: &Limits,
        name: CommandName,
        entry: &Command,
        status: Status,
        reason: Option<Reason>,
        found: &mut Found,
    ) {
        if self.failed.len() > REMEMBERED || self.unreadable.len() > REMEMBERED {
            self.failed.clear();
            self.unreadable.clear();
        }
        let key = same(name, entry);
        if status.is_success() {
            self.failed.remove(&key);
            return;
        }
        let requested = name.queue == 0 && entry.opcode == AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST.0;
        if requested && status.do_not_retry() {
            self.refused_requests.push_back(now);
        }
        if !matches!(reason, Some(Reason::AbortRequested | Reason::QueueDeleted | Reason::PowerLost)) && !requested {
            let failed = self.failed.entry(key).or_insert((now, false, 0));
            *failed = (now, status.do_not_retry(), failed.2 + 1);
        }
        if reason == Some(Reason::UnrecoveredRead) {
            let reads = self.unreadable.entry((entry.nsid.get(), entry.slba())).or_default();
            reads.push_back(now);
            while reads.front().is_some_and(|at| limits.passed(*at, now, SECOND)) {
                reads.pop_front();
            }
            if reads.len() > READS {
                let text = format!("a block that cannot be read was read {} times in a second", reads.len());
                let finding = Finding::new(Rule::H74, reads.len() as u64, READS as u64, text);
                found.report(finding.of(name, Some(*entry)));
            }
        }
    }

    pub(crate) fn tick(&mut self, host: &HostState, facts: &Facts, limits: &Limits, detail: Detail, found: &mut Found) {
        let now = host.now;
        self.requests(host, facts, limits, found);
        self.logs(now, limits, found);
        if detail < Detail::Commands {
            return;
        }
        if let Some(since) = self.pin.filter(|since| limits.passed(*since, now, SECOND)) {
            self.pin = Some(now);
            let text = "the interrupt pin was asserted for a second, and no completion was taken";
            found.report(Finding::new(Rule::H59, now.0 - since.0, limits.scaled(SECOND), text));
        }
        for (id, queue) in &host.completions {
            let Some(since) = queue.told.filter(|since| limits.passed(*since, now, DEAF)) else { continue };
            if self.deaf.insert(*id, since) != Some(since) {
                let text =
                    format!("{} entries of completion queue {id} wait since an interrupt told of them", queue.unseen());
                let finding = Finding::new(Rule::H58, now.0 - since.0, limits.scaled(DEAF), text);
                found.report(finding.of_queue(*id));
            }
        }
    }

    /// Somebody has to be there whom events can be told.
    fn requests(&mut self, host: &HostState, facts: &Facts, limits: &Limits, found: &mut Found) {
        let now = host.now;
        let requests =
            host.outstanding_of(0).any(|other| other.entry.opcode == AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST.0);
        if host.ready && facts.notices && !requests && self.ready.is_some() {
            let since = *self.without_requests.get_or_insert(now);
            if limits.passed(since, now, SECOND) && !std::mem::replace(&mut self.told_without, true) {
                let text = "no Asynchronous Event Request is outstanding: the host hears of nothing";
                found.report(Finding::new(Rule::H62, 0, 1, text));
            }
        } else {
            self.without_requests = None;
        }
    }

    /// What events are about is to be read.
    fn logs(&mut self, now: Nanoseconds, limits: &Limits, found: &mut Found) {
        for (_, (event, at)) in self.unread.extract_if(.., |_, (_, at)| limits.passed(*at, now, UNREAD)) {
            // Linux leaves all logs but those of notices to user space.
            let severity = if event.kind == Event::NOTICE { Severity::Should } else { Severity::Performance };
            let text =
                format!("log page {:02x}h was not read after its event: others of its type stay silent", event.log.0);
            found.report(Finding::new(Rule::H64, now.0 - at.0, limits.scaled(UNREAD), text).with_severity(severity));
        }
        if let Some(since) = self.notice.filter(|since| limits.passed(*since, now, UNREAD)) {
            self.notice = None;
            let text = "the list of namespaces was not read after a notice that it changed";
            found.report(Finding::new(Rule::H77, now.0 - since.0, limits.scaled(UNREAD), text));
        }
    }
}

fn same(name: CommandName, entry: &Command) -> Same {
    let dwords = [entry.cdw10.get(), entry.cdw11.get(), entry.cdw12.get()];
    (name.queue == 0, entry.opcode, entry.nsid.get(), dwords)
}
