//! The supply of power, and what is reported of its loss.

use media::Media;
use media::power::{Breaker, Cut};
use schemars::JsonSchema;
use serde::Serialize;

use crate::watch::CommandName;

/// Logical blocks of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BlockRange {
    /// The first block.
    pub first: u64,
    /// How many.
    pub blocks: u64,
}

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// A write of data or of zeroes.
    Write,
    /// A Write Uncorrectable.
    Uncorrectable,
    /// A deallocation, or a write of zeroes that was carried out as one.
    Deallocation,
}

/// The fate of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FateName {
    /// All of it is there.
    Survived,
    /// None of it is there.
    Lost,
    /// The blocks in `survived` are there; those in `mangled` hold neither it nor anything older.
    Torn,
}

/// What a host may find, by the contract, in the blocks of a change that was not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Observable {
    /// What was there before: not all of the change had arrived, and it survives or is lost as a whole.
    Old,
    /// All blocks new, or none.
    Either,
    /// Each block new or old.
    PerBlock,
    /// Anything: only under the literal profile.
    Anything,
}

/// A write or deallocation that was not durable when power went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct NotDurable {
    /// Its kind.
    pub change: Change,
    /// Namespace identifier.
    pub namespace: u32,
    /// Its blocks that were not durable; others of the same command may have been.
    pub range: BlockRange,
    /// The controller (CNTLID) that took the command, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controller: Option<u16>,
    /// The command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandName>,
    /// Whether its completion was in the completion queue.
    pub completed: bool,
    /// Its fate.
    pub fate: FateName,
    /// The blocks of it that survived, if it is torn.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub survived: Vec<BlockRange>,
    /// Blocks that hold neither it nor anything older.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mangled: Vec<BlockRange>,
    /// What a host may find, by the contract.
    pub observable: Observable,
}

/// What a power loss did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PowerReport {
    /// The step at which the crash point tripped; absent where power was cut from outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<&'static str>,
    /// The controller (CNTLID) whose command was being executed then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controller: Option<u16>,
    /// That command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandName>,
    /// Commands taken since power-on.
    pub commands: u64,
    /// The time of the controller's step, in nanoseconds.
    pub time_ns: u64,
    /// Everything that was not durable, oldest first.
    pub not_durable: Vec<NotDurable>,
}

/// The state of the supply.
#[derive(Debug, Default)]
pub(crate) struct Power {
    pub(crate) breaker: Breaker,
    /// How an armed crash point resolves the cache.
    pub(crate) cut: Cut,
    /// The power loss was resolved and reported.
    pub(crate) resolved: bool,
    pub(crate) misbehaviour: Vec<&'static str>,
    pub(crate) report: Option<PowerReport>,
}

impl Power {
    pub(crate) fn new(media: &mut dyn Media) -> Self {
        let Some(power) = media.power() else { return Self::default() };
        Self { breaker: power.breaker(), misbehaviour: power.misbehaviour(), ..Self::default() }
    }

    /// A controller's handle to the switch.
    pub(crate) fn breaker(&self) -> Breaker {
        self.breaker.clone()
    }

    /// Power is back. The last report stays.
    pub(crate) fn restored(&mut self) {
        (self.cut, self.resolved) = (Cut::default(), false);
    }
}
