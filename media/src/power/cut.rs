//! What a loss of power leaves behind, in words: how it is chosen, and what is reported of it. Owns no state.

use super::{Arming, Breaker, Mark, Step};
use crate::unit::LbaRange;
use crate::volume::VolumeId;

/// Which of what was not durable survives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CutPolicy {
    /// Nothing.
    #[default]
    NoneSurvive,
    /// Everything that was wholly in the cache (as capacitors would have it).
    AllSurvive,
    /// Each piece by a draw from the seed.
    Random(u64),
    /// Piece by piece, in the order of the report; pieces beyond the list are lost. Without tears an entry is one piece; with tears an
    /// entry that may tear is as many pieces as it has blocks.
    Choose(Vec<bool>),
}

/// What may become of a write above the atomic unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Each block is old or new, and can be read.
    #[default]
    Strict,
    /// The letter of the specification, which promises nothing of such blocks: they may read as anything.
    Literal,
}

/// How a loss of power is resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// What survives.
    pub policy: CutPolicy,
    /// Whether a write above the atomic unit may survive in part.
    pub tear: bool,
    /// What its blocks may then hold.
    pub profile: Profile,
}

impl From<CutPolicy> for Cut {
    fn from(policy: CutPolicy) -> Self {
        Self { policy, ..Self::default() }
    }
}

/// What a change was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// A write, of data or of zeroes.
    Write,
    /// A deallocation, or a write of zeroes that was carried out as one.
    Deallocation,
}

/// What became of a change that was not durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// All of it is there.
    Survived,
    /// None of it is there.
    Lost,
    /// A part of it is there.
    Torn {
        /// Blocks that hold it.
        survived: Vec<LbaRange>,
        /// Blocks that hold neither it nor anything older; only under [`Profile::Literal`].
        mangled: Vec<LbaRange>,
    },
}

/// A change, or the part of it that was not durable when power went: an entry of the volatile cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolatileEntry {
    /// The command that made it, where one was named.
    pub mark: Mark,
    /// What it was.
    pub kind: ChangeKind,
    /// The volume.
    pub volume: VolumeId,
    /// Its blocks that were not durable.
    pub range: LbaRange,
    /// Its place in the order of everything the host did.
    pub sequence: u64,
    /// It stands or falls as a whole; otherwise each block may.
    pub atomic: bool,
    /// All of it had reached the cache: what had not cannot survive.
    pub complete: bool,
    /// What became of it.
    pub fate: Fate,
}

impl VolatileEntry {
    /// Whether all of it is there after the cut.
    #[must_use]
    pub fn survives(&self) -> bool {
        self.fate == Fate::Survived
    }
}

/// What a loss of power did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CutReport {
    /// The step at which the breaker tripped, if power was not cut from outside.
    pub step: Option<Step>,
    /// The command that was worked on then.
    pub mark: Mark,
    /// Everything that was not durable, oldest first, and its fate.
    pub entries: Vec<VolatileEntry>,
}

/// What recovery found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The media had been shut down in order.
    pub clean: bool,
    /// Units and deallocations that were replayed over the checkpoint.
    pub replayed: u64,
    /// Sequence numbers given up because their group was not whole, or a gap came before them.
    pub given_up: u64,
    /// Lines whose records were read.
    pub lines_scanned: u32,
    /// Units whose record was there and whose data was not.
    pub torn: u64,
}

/// A media whose power can go and come back.
pub trait Power {
    /// A handle of the switch, the same for the life of the media. Whoever else stops when power goes takes its steps with it.
    fn breaker(&self) -> Breaker;

    /// Resolves a loss of power: cuts now where the breaker has not tripped before. What was volatile when power went survives as `cut`
    /// says, and nothing is answered until [`Power::restore`]. A second cut of the same loss changes nothing and reports nothing.
    fn cut(&mut self, cut: &Cut) -> CutReport;

    /// Brings power back: recovers, with the breaker armed for recovery's own steps where asked for. Pending requests are forgotten. It
    /// may trip again on the way: then power is lost, as the breaker says, and may be brought back again.
    ///
    /// # Errors
    /// What recovery could not read; the media then stays without power.
    fn restore(&mut self, arming: Option<Arming>) -> Result<RecoveryReport, String>;
}
