//! The driver on trial. [`Checker`] is given the events of a controller ([`controller::watch`]) and says which rules its host broke, with
//! the evidence. It is a state machine: no thread, no clock, nothing random; what it finds follows from the events alone.
//!
//! Rules that need the hops of I/O commands are silent at [`Detail::Rare`]; those that need to see memory, below [`Detail::Memory`].
//!
//! Map of the crate: [`rules`] is the list; [`facts`] what the device offers; `host` what the host has done; then one file for each family
//! of rules: `registers`, `doorbells`, `commands`, `memory`, `attention` (interrupts, events, retries), `lifecycle` (features,
//! durability), `smells`; and `told`, what a host believes whom a
//! fault told something else. [`found`] counts what they find.

#![forbid(unsafe_code)]

mod attention;
mod commands;
pub mod describe;
mod doorbells;
pub mod facts;
pub mod found;
mod host;
mod lifecycle;
mod limits;
mod memory;
mod registers;
pub mod rules;
mod smells;
mod told;

use controller::watch::{Detail, TraceEvent, Traced};
use media::Nanoseconds;

use attention::Attention;
use commands::Commands;
use doorbells::Doorbells;
use facts::Facts;
use found::Found;
use host::HostState;
use lifecycle::Lifecycle;
use limits::Limits;
use registers::Registers;
use smells::Smells;
use told::Told;

pub use found::Violation;
pub use lifecycle::End;
pub use rules::{Rule, Severity};

/// Judges a host by what its controller saw.
#[derive(Debug)]
pub struct Checker {
    facts: Facts,
    told: Told,
    detail: Detail,
    limits: Limits,
    host: HostState,
    registers: Registers,
    doorbells: Doorbells,
    commands: Commands,
    attention: Attention,
    lifecycle: Lifecycle,
    smells: Smells,
    found: Found,
}

impl Checker {
    /// A judge who hears events of this detail. Time limits are those of a real machine.
    #[must_use]
    pub fn new(facts: Facts, detail: Detail) -> Self {
        Self {
            told: Told::new(&facts),
            facts,
            detail,
            limits: Limits { slowness: 1 },
            host: HostState::default(),
            registers: Registers::default(),
            doorbells: Doorbells::default(),
            commands: Commands::default(),
            attention: Attention::default(),
            lifecycle: Lifecycle::default(),
            smells: Smells::default(),
            found: Found::default(),
        }
    }

    /// For a machine so many times as slow as a real one: a guest under emulation is 10 to 50 times as slow.
    #[must_use]
    pub fn with_slowness(mut self, slowness: u64) -> Self {
        self.limits.slowness = slowness.max(1);
        self
    }

    /// What the controller was before anybody listened: bus master and the host's choice of interrupts.
    pub fn begin(&mut self, bus_master: bool, messages: bool) {
        (self.host.bus_master, self.host.messages) = (bus_master, messages);
    }

    /// Judges an event. Events come in the order in which they happened.
    pub fn observe(&mut self, traced: &Traced) {
        self.host.now = self.host.now.max(traced.time);
        self.tick(traced.time);
        self.found.at(traced);
        let (host, facts, limits, found) = (&self.host, &self.facts, &self.limits, &mut self.found);
        self.registers.judge(host, facts, traced, found);
        self.doorbells.judge(host, limits, traced, found);
        self.commands.judge(host, (facts, &self.told), limits, traced, found);
        self.told.judge(facts, limits, traced, found);
        memory::judge(host, traced, found);
        self.attention.judge(host, facts, limits, traced, found);
        self.lifecycle.judge(host, facts, traced, found);
        if let TraceEvent::Fetched { command, .. } = traced.event {
            Registers::fetched(host, limits, command.queue, found);
        }
        self.smells.count(host, facts, traced);
        if let TraceEvent::NamespaceChanged { nsid, blocks, block_bytes, .. } = traced.event {
            self.facts.change_namespace(nsid, blocks, block_bytes);
        }
        self.facts.capabilities = self.told.capabilities(self.facts.capabilities, traced);
        self.told.apply(traced);
        self.host.apply(traced);
    }

    /// Time went on: what should have happened by now, and has not? To be called a few times a second while the guest runs; while it is
    /// paused it is not to be called.
    pub fn tick(&mut self, now: Nanoseconds) {
        self.host.now = self.host.now.max(now);
        self.found.until(now);
        let (host, limits, found) = (&self.host, &self.limits, &mut self.found);
        if host.powerless.is_some() {
            return;
        }
        self.attention.tick(host, &self.facts, limits, self.detail, found);
        if self.detail >= Detail::Commands {
            self.doorbells.tick(host, limits, found);
            self.lifecycle.tick(host, limits, found);
        }
    }

    /// The run is over: what was left undone, and what was slow.
    pub fn finish(&mut self, end: End) {
        self.lifecycle.finish(&self.host, end, &mut self.found);
        self.smells.finish(&self.facts, &mut self.found);
    }

    /// Everything that was found, by rule and generation.
    pub fn violations(&self) -> impl Iterator<Item = &Violation> {
        self.found.violations()
    }

    /// What is new since the last call: the first of its kind, and then every time that its number has doubled.
    pub fn take_news(&mut self) -> Vec<Violation> {
        self.found.take_news()
    }
}
