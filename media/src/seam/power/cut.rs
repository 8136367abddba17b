//! How it is chosen what a power loss leaves behind, and what is reported of it. Owns no state.

mod forks;

pub use forks::{Forks, ImageNumber, LossImages, Take};

use super::mutation::{Mutation, mutated};
use super::{Arming, Breaker, Mark, Step};
use crate::unit::{Lba, LbaRange};
use crate::volume::VolumeId;

/// Which of the changes that were not durable survive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CutPolicy {
    /// Nothing.
    #[default]
    NoneSurvive,
    /// Everything that was completely in the cache, as with capacitors.
    AllSurvive,
    /// Each piece by a draw from the seed.
    Random(u64),
    /// Piece by piece, in the order of the report; pieces beyond the list are lost. Without tears an entry is one piece; with tears an
    /// entry that may tear is as many pieces as it has blocks.
    Choose(Vec<bool>),
}

/// What may happen to a write above the atomic unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Each block is old or new, and readable.
    #[default]
    Strict,
    /// The letter of the specification, which promises nothing about such blocks: they may read as anything.
    Literal,
}

/// How a power loss is resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// What survives.
    pub policy: CutPolicy,
    /// Whether a write above the atomic unit may survive partly.
    pub tear: bool,
    /// What its blocks may then hold.
    pub profile: Profile,
}

impl From<CutPolicy> for Cut {
    fn from(policy: CutPolicy) -> Self {
        Self { policy, ..Self::default() }
    }
}

/// Atomic boundaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// Blocks from one boundary to the next; at least 1.
    pub blocks: u64,
    /// The first boundary.
    pub offset: u64,
}

/// What is promised of a volume's writes across a power loss. A media keeps more together where it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerAtomicity {
    /// Writes of this many blocks are whole or undone, wherever they lie.
    pub anywhere_blocks: u64,
    /// And writes of this many blocks that cross no boundary.
    pub inside_blocks: u64,
    /// Boundaries, if there are any.
    pub boundary: Option<Boundary>,
    /// A longer write is whole or undone from boundary to boundary, and not only in each block.
    pub multiple: bool,
}

impl PowerAtomicity {
    /// This many blocks at any place.
    #[must_use]
    pub const fn anywhere(blocks: u64) -> Self {
        Self { anywhere_blocks: blocks, inside_blocks: blocks, boundary: None, multiple: false }
    }

    /// The parts of a write that each survive or are lost as a whole.
    #[must_use]
    pub fn pieces(&self, range: LbaRange) -> Vec<LbaRange> {
        let edges = self.edges(range);
        let crosses = !edges.is_empty() || (mutated(Mutation::Boundary) && self.ends_at_edge(range));
        let whole = range.blocks <= self.anywhere_blocks || (range.blocks <= self.inside_blocks && !crosses);
        if whole {
            return vec![range];
        }
        let end = range.start.0 + range.blocks;
        let cuts: Vec<u64> = if self.multiple { edges } else { (range.start.0 + 1..end).collect() };
        let starts = std::iter::once(range.start.0).chain(cuts.iter().copied());
        let ends = cuts.iter().copied().chain(std::iter::once(end));
        starts.zip(ends).map(|(start, end)| LbaRange::new(Lba(start), end - start)).collect()
    }

    /// The parts of a piece of a write that is longer than what is kept together.
    #[must_use]
    pub fn torn(&self, range: LbaRange) -> Vec<LbaRange> {
        Self { anywhere_blocks: 0, inside_blocks: 0, ..*self }.pieces(range)
    }

    /// Whether the block behind a range is the first behind a boundary.
    fn ends_at_edge(&self, range: LbaRange) -> bool {
        let behind = range.start.0 + range.blocks;
        self.boundary
            .is_some_and(|edges| behind.checked_sub(edges.offset).is_some_and(|at| at.is_multiple_of(edges.blocks)))
    }

    /// The boundaries inside a range.
    fn edges(&self, range: LbaRange) -> Vec<u64> {
        let Some(Boundary { blocks, offset }) = self.boundary else {
            return Vec::new();
        };
        let end = range.start.0 + range.blocks;
        let behind = range.start.0 + 1;
        let first = if behind <= offset { offset } else { offset + (behind - offset).next_multiple_of(blocks) };
        std::iter::successors(Some(first), |edge| edge.checked_add(blocks)).take_while(|edge| *edge < end).collect()
    }
}

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// A write, of data or of zeroes.
    Write,
    /// Blocks were made uncorrectable.
    Uncorrectable,
    /// A deallocation, or a write of zeroes that was carried out as one.
    Deallocation,
}

/// The fate of a change that was not durable.
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
    /// Its kind.
    pub kind: ChangeKind,
    /// The volume.
    pub volume: VolumeId,
    /// Its blocks that were not durable.
    pub range: LbaRange,
    /// Its place in the order of everything the host did.
    pub sequence: u64,
    /// It survives or is lost as a whole; otherwise each block does.
    pub atomic: bool,
    /// All of it had reached the cache: what had not cannot survive.
    pub complete: bool,
    /// Its fate.
    pub fate: Fate,
}

impl VolatileEntry {
    /// Whether all of it is there after the cut.
    #[must_use]
    pub fn survives(&self) -> bool {
        self.fate == Fate::Survived
    }
}

/// What a power loss did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CutReport {
    /// The step at which the breaker tripped, if power was not cut from outside.
    pub step: Option<Step>,
    /// The command that was being executed then.
    pub mark: Mark,
    /// Everything that was not durable, oldest first, and its fate.
    pub entries: Vec<VolatileEntry>,
}

/// What recovery found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The media had been shut down cleanly.
    pub clean: bool,
    /// Units and deallocations that were replayed over the checkpoint.
    pub replayed: u64,
    /// Sequence numbers discarded because their group was incomplete, or a gap came before them.
    pub given_up: u64,
    /// Lines whose records were read.
    pub lines_scanned: u32,
    /// Units whose record was there but whose data was not.
    pub torn: u64,
}

/// Control of a media's power.
pub trait Power {
    /// A handle to the switch, the same for the life of the media. Others that stop at a power loss share it.
    fn breaker(&self) -> Breaker;

    /// Sets what is promised of a volume's writes: at most what, by its shape, the media keeps together, which is also the default.
    fn promise(&mut self, volume: VolumeId, atomicity: PowerAtomicity) {
        let _ = (volume, atomicity);
    }

    /// The promises that the media breaks, by name: none, unless configured.
    fn misbehaviour(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// Resolves a power loss: cuts now where the breaker has not tripped before. What was volatile when power went survives as `cut`
    /// says, and nothing is answered until [`Power::restore`]. A second cut of the same loss changes nothing and reports nothing.
    fn cut(&mut self, cut: &Cut) -> CutReport;

    /// Brings power back: recovers, with the breaker armed for recovery's own steps where asked for. Pending requests are forgotten. It
    /// may trip again on the way: then power is lost, as the breaker says, and may be brought back again.
    ///
    /// # Errors
    /// What recovery could not read; the media then stays without power.
    fn restore(&mut self, arming: Option<Arming>) -> Result<RecoveryReport, String>;

    /// Its forks, where it can have any.
    fn forks(&mut self) -> Option<&mut dyn Forks> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_as_many_pieces_as_the_contract_says() {
        let pieces = |atomicity: PowerAtomicity, start, blocks| {
            let pieces = atomicity.pieces(LbaRange::new(Lba(start), blocks));
            pieces.iter().map(|piece| (piece.start.0, piece.blocks)).collect::<Vec<_>>()
        };
        let plain = PowerAtomicity::anywhere(4);
        assert_eq!(pieces(plain, 3, 4), [(3, 4)]);
        assert_eq!(pieces(plain, 3, 5).len(), 5);
        let boundary = Some(Boundary { blocks: 6, offset: 2 });
        let bounded = PowerAtomicity { anywhere_blocks: 1, inside_blocks: 4, boundary, multiple: false };
        assert_eq!(pieces(bounded, 2, 4), [(2, 4)], "begins at an edge");
        assert_eq!(pieces(bounded, 4, 4), [(4, 4)], "ends at an edge");
        assert_eq!(pieces(bounded, 5, 4).len(), 4, "crosses the edge at 8");
        assert_eq!(pieces(bounded, 0, 3).len(), 3, "crosses the first edge");
        assert_eq!(pieces(bounded, 7, 1), [(7, 1)]);
        let multiple = PowerAtomicity { multiple: true, inside_blocks: 6, ..bounded };
        assert_eq!(pieces(multiple, 0, 16), [(0, 2), (2, 6), (8, 6), (14, 2)]);
    }
}
