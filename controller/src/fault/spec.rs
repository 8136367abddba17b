//! A fault as data: whom it meets, when, how often, how long it stays, and what it does. Serialised, it is what the control socket and the
//! configuration file take. Checked once, when it is added.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::action::{Action, Place};
use super::error::{FaultError, refuse};
use super::named::NamedCommand;
use super::queue_kind::QueueKind;

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FaultSpec {
    /// Its number, by which it is removed; the smallest one that is free if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    /// Whom it meets: all conditions that are given must hold.
    #[serde(default, rename = "match", skip_serializing_if = "is_default")]
    pub matching: Matching,
    /// Which of those that it meets it hits.
    #[serde(default, skip_serializing_if = "is_default")]
    pub when: When,
    /// How many it hits; one if not given, and with `every` or `one-in` all, until it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<Times>,
    /// Whether it outlives a reset of the controller.
    #[serde(default, skip_serializing_if = "is_default")]
    pub scope: Scope,
    /// What it does.
    pub action: Action,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl FaultSpec {
    /// A fault that does this once, at the first occasion.
    #[must_use]
    pub fn new(action: Action) -> Self {
        let (matching, when) = (Matching::default(), When::default());
        Self { id: None, matching, when, times: None, scope: Scope::Kept, action }
    }

    /// The same for whom this matches.
    #[must_use]
    pub fn matching(self, matching: Matching) -> Self {
        Self { matching, ..self }
    }

    /// The same at other hits.
    #[must_use]
    pub fn when(self, when: When) -> Self {
        Self { when, ..self }
    }

    /// The same so many times.
    #[must_use]
    pub fn times(self, times: u64) -> Self {
        Self { times: Some(Times::Count(times)), ..self }
    }

    /// The same until it is removed.
    #[must_use]
    pub fn always(self) -> Self {
        Self { times: Some(Times::Word(Unlimited::UntilRemoved)), ..self }
    }

    /// How many hits it has at most.
    pub(super) fn limit(&self) -> u64 {
        let repeats = self.when.every.is_some() || self.when.one_in.is_some();
        match self.times {
            Some(Times::Count(times)) => times,
            Some(Times::Word(Unlimited::UntilRemoved)) => u64::MAX,
            None if repeats => u64::MAX,
            None => 1,
        }
    }

    /// Whether it can be.
    ///
    /// # Errors
    /// The first field that cannot.
    pub fn check(&self) -> Result<(), FaultError> {
        self.matching.check()?;
        self.when.check()?;
        if self.times == Some(Times::Count(0)) {
            return refuse("times", "0", "give at least 1, or until-removed");
        }
        self.action.check()?;
        let place = self.place();
        if place != Place::Command && self.matching.names_commands() {
            let name = self.action.name();
            return refuse("match", name, "this action happens to no command: give before-io and resets only");
        }
        if place != Place::Interrupt && self.matching.vector.is_some() {
            return refuse("match.vector", self.action.name(), "only interrupts have a vector");
        }
        if place == Place::Moment && self.when.counts() {
            let why = "without a command to match there is nothing to count: give match.queue, or after-ns";
            return refuse("when", self.action.name(), why);
        }
        Ok(())
    }

    /// Where it is asked for.
    pub(super) fn place(&self) -> Place {
        match self.action.place() {
            Place::Moment if self.matching.names_commands() => Place::Command,
            place => place,
        }
    }
}

/// Whom a fault meets. Conditions that are not given hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Matching {
    /// Commands of the admin queue, or of I/O queues.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueKind>,
    /// Commands of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<NamedCommand>,
    /// Commands with this opcode. Give `queue` too: both kinds of queues have opcodes of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opcode: Option<u8>,
    /// Commands that name this namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nsid: Option<u32>,
    /// I/O commands that name a block from this one on, see `blocks`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lba: Option<u64>,
    /// How many blocks that is; 1 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<u64>,
    /// Commands of this submission queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sqid: Option<u16>,
    /// Commands with this identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cid: Option<u16>,
    /// Commands whose dwords 10 to 15 are these, under a mask.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dwords: Vec<Dword>,
    /// Commands that transfer so many bytes at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_min: Option<u64>,
    /// Commands that transfer so many bytes at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<u64>,
    /// Messages of this interrupt vector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vector: Option<u16>,
    /// Only until the host has created an I/O queue.
    #[serde(skip_serializing_if = "is_default")]
    pub before_io: bool,
    /// Only when the controller was reset so many times since the fault was added.
    #[serde(skip_serializing_if = "is_default")]
    pub resets: u64,
}

/// A dword of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dword {
    /// Which: 10 to 15.
    pub number: u8,
    /// The bits that are looked at; all if not given.
    #[serde(default = "all_bits")]
    pub mask: u32,
    /// What they are.
    pub value: u32,
}

const fn all_bits() -> u32 {
    u32::MAX
}

impl Matching {
    /// Any I/O command.
    #[must_use]
    pub fn io() -> Self {
        Self { queue: Some(QueueKind::Io), ..Self::default() }
    }

    /// I/O commands with this opcode.
    #[must_use]
    pub fn io_opcode(opcode: u8) -> Self {
        Self { opcode: Some(opcode), ..Self::io() }
    }

    /// Admin commands with this opcode.
    #[must_use]
    pub fn admin_opcode(opcode: u8) -> Self {
        Self { queue: Some(QueueKind::Admin), opcode: Some(opcode), ..Self::default() }
    }

    /// Whether it asks something that only a command can answer.
    pub(super) fn names_commands(&self) -> bool {
        let Self { vector: _, before_io: _, resets: _, .. } = self;
        let of_all = Self { vector: self.vector, before_io: self.before_io, resets: self.resets, ..Self::default() };
        *self != of_all
    }

    /// Whether a command of an I/O queue may match.
    pub(super) fn may_match_io(&self) -> bool {
        let named = self.command.map(|command| command.opcode().0);
        self.queue != Some(QueueKind::Admin) && named != Some(QueueKind::Admin) && self.sqid != Some(0)
    }

    fn check(&self) -> Result<(), FaultError> {
        if self.blocks.is_some() && self.lba.is_none() {
            return refuse("match.blocks", "", "blocks goes with lba");
        }
        if self.blocks == Some(0) {
            return refuse("match.blocks", "0", "give at least 1");
        }
        if let Some(dword) = self.dwords.iter().find(|dword| !(10..=15).contains(&dword.number)) {
            return refuse("match.dwords.number", &dword.number.to_string(), "give 10 to 15");
        }
        if let (Some(min), Some(max)) = (self.bytes_min, self.bytes_max)
            && min > max
        {
            return refuse("match.bytes-min", &min.to_string(), "give no more than bytes-max");
        }
        Ok(())
    }
}

/// Which of those whom a fault meets it hits, counted from when it was added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct When {
    /// The first one that is hit, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nth: Option<u64>,
    /// One after each so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// By chance, one in so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub one_in: Option<u64>,
    /// Where chance begins; each fault has its own. The fault's number if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Not before so many nanoseconds are over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_ns: Option<u64>,
    /// From then on for so many nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_ns: Option<u64>,
}

impl When {
    /// The n-th.
    #[must_use]
    pub fn nth(nth: u64) -> Self {
        Self { nth: Some(nth), ..Self::default() }
    }

    /// One after each so many.
    #[must_use]
    pub fn every(every: u64) -> Self {
        Self { every: Some(every), ..Self::default() }
    }

    /// One in so many, by chance from a seed.
    #[must_use]
    pub fn one_in(one_in: u64, seed: u64) -> Self {
        Self { one_in: Some(one_in), seed: Some(seed), ..Self::default() }
    }

    fn counts(&self) -> bool {
        self.nth.is_some() || self.every.is_some() || self.one_in.is_some()
    }

    fn check(&self) -> Result<(), FaultError> {
        for (field, number) in [("when.nth", self.nth), ("when.every", self.every), ("when.one-in", self.one_in)] {
            if number == Some(0) {
                return refuse(field, "0", "give at least 1");
            }
        }
        if self.one_in.is_some() && self.every.is_some() {
            return refuse("when.one-in", "", "give one-in or every, and not both");
        }
        if self.seed.is_some() && self.one_in.is_none() {
            return refuse("when.seed", "", "seed goes with one-in");
        }
        if self.for_ns == Some(0) {
            return refuse("when.for-ns", "0", "give at least 1");
        }
        Ok(())
    }
}

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Times {
    /// So many times.
    Count(u64),
    /// Without an end.
    Word(Unlimited),
}

/// Without an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unlimited {
    /// Until somebody removes it.
    UntilRemoved,
}

/// How long a fault stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Until it is removed.
    #[default]
    Kept,
    /// Until the controller is reset.
    UntilReset,
}
