//! What observers other than the host may ask of a drive and do to it: its state, and its injected faults. A drive provides it through
//! [`crate::Media::monitor`], so that users of the seam need not know what kind of drive, or of store, it is.

use super::power::RecoveryReport;
use super::unit::{LbaRange, VolumeId};
use crate::config::SsdConfig;
use crate::fault::PendingFaults;
use crate::geometry::Geometry;
use crate::ledger::{Counters, EraseCounts, Ledger};

/// The state of a drive, for logs, monitors and tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SsdStatus {
    /// Bytes programmed, by reason.
    pub ledger: Ledger,
    /// Counters of the media's life.
    pub counters: Counters,
    /// Wear.
    pub erase_counts: EraseCounts,
    /// Life used, in percent of the endurance that the drive states; may exceed 100, saturates at 255.
    pub percentage_used: u8,
    /// Replacement blocks left, in percent.
    pub available_spare_percent: u32,
    /// Blocks out of use.
    pub bad_blocks: u32,
    /// Lines: all, free.
    pub lines: (u32, u32),
    /// Units that hold data.
    pub mapped_units: u64,
    /// Units that wait in the volatile cache.
    pub staged_units: u32,
    /// Current spare ÷ user, in parts per million.
    pub spare_per_million_of_user: u64,
    /// Nothing can be written any more.
    pub read_only: bool,
    /// The store had no memory for the last new unit.
    pub memory_full: bool,
    /// What the last recovery found.
    pub recovery: RecoveryReport,
}

/// What a line is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LineState {
    /// Erased.
    #[default]
    Free,
    /// A stream writes it.
    Open,
    /// Full, or given up.
    Closed,
    /// Being collected.
    Victim,
    /// Holds nothing the map needs, but a power loss might still need it.
    Drained,
    /// Out of use.
    Retired,
}

/// A line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineReport {
    /// What it is doing.
    pub state: LineState,
    /// Its units that the map points at.
    pub valid: u32,
    /// Erases so far.
    pub erases: u32,
}

/// What found a damaged unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finder {
    /// A command that read its blocks.
    Read,
    /// A write of some of its blocks, which needs the others.
    Write,
    /// The collection of its line.
    Collection,
    /// The patrol, or an examination of the drive.
    Patrol,
}

/// What was found since the drive's first power-on in this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Integrity {
    /// Damaged units found, by [`Finder`]; each counts once while it lies where it was found.
    pub found: [u64; 4],
    /// Damaged pages of the map in the store. The drive continues from memory, and writes them again.
    pub map_pages: u64,
}

impl Integrity {
    /// Damaged units found.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.found.iter().sum()
    }

    /// Everything found: damaged units, and pages of the map as often as they were met.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.total() + self.map_pages
    }
}

/// Progress of the patrol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PatrolReport {
    /// This pass, in percent.
    pub percent: u8,
    /// Completed passes.
    pub passes: u64,
}

/// The damage found, and the progress of the patrol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntegrityReport {
    /// What was found, and by whom.
    pub integrity: Integrity,
    /// Units found that are still damaged.
    pub damaged_units: u64,
    /// The blocks of the first of them.
    pub damaged: Vec<(VolumeId, LbaRange)>,
    /// The patrol; nothing where there is none.
    pub patrol: Option<PatrolReport>,
}

/// Inspection and fault injection of a drive. Nothing here changes what the host stored.
pub trait Monitor {
    /// The state of the drive.
    fn status(&self) -> SsdStatus;

    /// The configuration it was made from.
    fn config(&self) -> &SsdConfig;

    /// Its lines, by number.
    fn lines(&self, each: &mut dyn FnMut(LineReport));

    /// Its geometry.
    fn geometry(&self) -> &Geometry;

    /// Bytes of memory that its map takes.
    fn map_bytes(&self) -> u64;

    /// What was found to be damaged.
    fn integrity(&self) -> IntegrityReport;

    /// The injected faults.
    fn faults(&self) -> PendingFaults;

    /// Flips `bits` bits of each block of a range, until the block is written again; 0 lifts the fault. Above
    /// [`crate::fault::CORRECTABLE_BITS`] a block cannot be read.
    fn flip_bits(&mut self, volume: VolumeId, range: LbaRange, bits: u32);

    /// The n-th page program from now on (from 1) fails.
    fn fail_program(&mut self, nth: u64);

    /// The n-th line erase from now on (from 1) fails in a plane.
    fn fail_erase(&mut self, nth: u64, plane: u32);

    /// Takes [`Monitor::fail_program`] back; `false` if the n-th program from now on was not going to fail.
    fn spare_program(&mut self, nth: u64) -> bool;

    /// Takes [`Monitor::fail_erase`] back; `false` if the n-th erase from now on was not going to fail.
    fn spare_erase(&mut self, nth: u64) -> bool;
}
