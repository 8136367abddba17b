//! What was found: violations, one for each rule and generation, with the evidence of the first time and a count of all.

use std::collections::{BTreeMap, VecDeque};

use controller::watch::{CommandName, Traced};
use media::Nanoseconds;
use nvme_spec::Command;

use crate::rules::{Rule, Severity};

/// How many events come before the one that broke a rule, as evidence.
pub const EVIDENCE_EVENTS: usize = 16;

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// How bad it is: at most what the rule says.
    pub severity: Severity,
    /// The life of the controller in which it was: counts resets and enables.
    pub generation: u64,
    /// How often, with all that were not told one by one.
    pub count: u64,
    /// When it was first.
    pub first: Nanoseconds,
    /// And when last.
    pub last: Nanoseconds,
    /// The command, where it was one, the first time.
    pub command: Option<(CommandName, Option<Command>)>,
    /// The queue, where it was none but a queue.
    pub queue: Option<u16>,
    /// What the host did, the first time.
    pub value: u64,
    /// And the bound that it broke.
    pub bound: u64,
    /// In words.
    pub detail: String,
    /// The last events up to it, oldest first.
    pub events: Vec<Traced>,
}

/// One finding, before it is counted.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    rule: Rule,
    severity: Severity,
    command: Option<(CommandName, Option<Command>)>,
    queue: Option<u16>,
    value: u64,
    bound: u64,
    detail: String,
}

impl Finding {
    pub(crate) fn new(rule: Rule, value: u64, bound: u64, detail: impl Into<String>) -> Self {
        Self { rule, severity: rule.severity(), command: None, queue: None, value, bound, detail: detail.into() }
    }

    /// Milder than the rule says.
    pub(crate) fn with_severity(self, severity: Severity) -> Self {
        Self { severity: severity.min(self.severity), ..self }
    }

    pub(crate) fn of(self, name: CommandName, entry: Option<Command>) -> Self {
        Self { command: Some((name, entry)), queue: Some(name.queue), ..self }
    }

    pub(crate) fn of_queue(self, queue: u16) -> Self {
        Self { queue: Some(queue), ..self }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Found {
    violations: BTreeMap<(Rule, u64), Violation>,
    /// Those that are worth telling again: the first of its kind, and then every time that its number doubled.
    news: Vec<(Rule, u64)>,
    recent: VecDeque<Traced>,
    now: Nanoseconds,
    generation: u64,
}

impl Found {
    /// An event that is about to be judged.
    pub(crate) fn at(&mut self, traced: &Traced) {
        if self.recent.len() == EVIDENCE_EVENTS {
            self.recent.pop_front();
        }
        self.recent.push_back(*traced);
        self.now = self.now.max(traced.time);
        self.generation = traced.generation;
    }

    /// Time went on without an event.
    pub(crate) fn until(&mut self, now: Nanoseconds) {
        self.now = self.now.max(now);
    }

    pub(crate) fn report(&mut self, finding: Finding) {
        let key = (finding.rule, self.generation);
        let (now, recent) = (self.now, &self.recent);
        let violation = self.violations.entry(key).or_insert_with(|| Violation {
            rule: finding.rule,
            severity: finding.severity,
            generation: key.1,
            count: 0,
            first: now,
            last: now,
            command: finding.command,
            queue: finding.queue,
            value: finding.value,
            bound: finding.bound,
            detail: finding.detail,
            events: recent.iter().copied().collect(),
        });
        violation.count += 1;
        violation.last = now;
        violation.severity = violation.severity.max(finding.severity);
        if violation.count.is_power_of_two() {
            self.news.push(key);
        }
    }

    pub(crate) fn violations(&self) -> impl Iterator<Item = &Violation> {
        self.violations.values()
    }

    pub(crate) fn take_news(&mut self) -> Vec<Violation> {
        let news = std::mem::take(&mut self.news);
        news.iter().filter_map(|key| self.violations.get(key).cloned()).collect()
    }
}
