//! The flash translation layer: a log over lines, a map into it, and what keeps both going. It knows logical units (not volumes or
//! blocks), and does not know who asks or when an answer is due.
//!
//! Life of a unit: it is staged in the host stream's open line ([`mod@write`]), the map points at it, a page of it is programmed
//! ([`alloc`]), its line fills and is closed, becomes a victim, and what is still valid moves to the other stream ([`gc`]); the line
//! waits until nothing that a power loss would bring back lies in it any more, and is erased.

pub mod alloc;
pub mod checkpoint;
pub mod cut;
pub mod damage;
pub mod gc;
pub mod line;
pub mod map;
mod moves;
pub mod parts;
mod patrol;
mod postpone;
pub mod purge;
pub mod read;
mod superseded;
pub mod trim;
pub mod uncorrectable;
pub mod write;

use std::collections::VecDeque;

use alloc::Stream;
use checkpoint::Checkpoint;
use gc::Collector;
use line::{LineState, Lines};
use map::Map;
use parts::OpenUnit;
use superseded::Superseded;

use crate::config::{CacheConfig, Tuning};
use crate::geometry::Geometry;
use crate::journal::Deallocation;
use crate::large_memory::{OutOfMemory, room};
use crate::monitor::Integrity;
use crate::nand::Nand;
use crate::root::{Counters, Layout, VolumeEntry};
use crate::store::{Store, StoreError};
use crate::unit::{LogicalUnit, PhysicalUnit, index, narrow};

/// The stream of the host's own writes.
pub const HOST: usize = 0;
/// The stream of moved units.
pub const MOVED: usize = 1;

/// How much may wait in the volatile cache, and how writes are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Units that may be staged before the oldest pages are programmed.
    pub staged_units: u32,
    /// Partly written units that are kept open for further parts.
    pub open_units: usize,
    /// Units of one request may be committed at different times.
    pub apart: bool,
}

impl CacheLimits {
    /// Those of a cache, in units of a drive.
    #[must_use]
    pub fn new(cache: &CacheConfig, geometry: &Geometry) -> Self {
        let open = narrow(index(u64::from(cache.open_units)));
        let units = u32::try_from(cache.bytes >> geometry.unit_shift).unwrap_or(u32::MAX);
        Self { staged_units: units.max(open), open_units: index(u64::from(cache.open_units)), apart: cache.flush_apart }
    }
}

/// The flash translation layer over a store.
pub struct Ftl<S: Store> {
    /// The shape of the NAND.
    pub geometry: Geometry,
    /// The array.
    pub nand: Nand<S>,
    pub(crate) map: Map,
    pub(crate) lines: Lines,
    pub(crate) streams: [Stream; 2],
    /// The next sequence number; the first is 1.
    pub(crate) sequence: u64,
    /// Every group and deallocation up to this number is programmed.
    pub(crate) committed: u64,
    /// Deallocations that are not in the journal yet, oldest first.
    pub(crate) deallocations: VecDeque<(Deallocation, cut::Tag)>,
    /// Those that are in the journal already and come after something that is not programmed yet: they do not count before it does.
    pub(crate) journaled: VecDeque<(Deallocation, cut::Tag)>,
    pub(crate) journal_end: u64,
    pub(crate) layout: Layout,
    pub(crate) collector: Collector,
    pub(crate) tuning: Tuning,
    pub(crate) limits: CacheLimits,
    pub(crate) open_units: Vec<OpenUnit>,
    pub(crate) checkpoint: Checkpoint,
    superseded: Superseded,
    /// Units of a store's memory that are kept for what replaces others; 0 where there is as much memory as there are lines.
    pub(crate) memory_reserve: usize,
    /// The last unit that was to be new did not fit beside them.
    memory_full: bool,
    pub(crate) group: Vec<PhysicalUnit>,
    /// Those units of the group that hold uncorrectable blocks.
    pub(crate) uncorrectable: Vec<LogicalUnit>,
    pub(crate) scratch: Vec<u8>,
    pub(crate) voids: Vec<(u64, u64)>,
    /// Which parts of a unit were written, and by whom, where it was not the whole of it.
    pub(crate) parts: Vec<cut::PartNote>,
    /// How many parts of units were written, to tell which open unit was used last.
    parts_written: u64,
    /// Who is writing.
    pub(crate) tag: cut::Tag,
    /// What was volatile when power went.
    pub(crate) frozen: Option<Vec<cut::Held>>,
    /// How often staged units had to go to another line because a program failed.
    pub(crate) restages: u64,
    /// Nothing can be written any more: no line is left to write to.
    pub(crate) read_only: bool,
    /// Why, where it is because the store could not be read.
    pub(crate) unread: Option<StoreError>,
    pub(crate) mapped: u64,
    /// What was found to be damaged.
    pub integrity: Integrity,
    /// Where.
    pub(crate) damaged_places: damage::Places,
    /// Lines may have become empty since they were last looked through for such.
    pub(crate) trimmed: bool,
    /// Counters of the media's life.
    pub counters: Counters,
    /// The volumes, kept in the root.
    pub volumes: Vec<VolumeEntry>,
    /// What whoever uses the drive keeps there.
    pub note: Vec<u8>,
}

impl<S: Store> Ftl<S> {
    /// An empty translation layer over an erased array.
    ///
    /// # Errors
    /// Where the system has no memory for its maps.
    pub fn new(geometry: Geometry, nand: Nand<S>, tuning: Tuning, limits: CacheLimits) -> Result<Self, OutOfMemory> {
        let layout = Layout::of(&geometry, tuning.journal_entries);
        let streams = [Stream::new(&geometry)?, Stream::new(&geometry)?];
        let mut ftl = Self {
            map: Map::new(geometry.logical_units)?,
            lines: Lines::new(&geometry)?,
            streams,
            sequence: 1,
            committed: 0,
            deallocations: VecDeque::new(),
            journaled: VecDeque::new(),
            journal_end: 0,
            collector: Collector::new(&geometry)?,
            checkpoint: Checkpoint::new(&layout)?,
            superseded: Superseded::default(),
            memory_reserve: nand.store.limit().map_or(0, |most| geometry.memory_reserve().max(most / 16)),
            memory_full: false,
            layout,
            tuning,
            limits,
            open_units: Vec::with_capacity(limits.open_units + 1),
            group: room(geometry.units_per_line as usize)?,
            uncorrectable: Vec::new(),
            scratch: Vec::new(),
            voids: Vec::new(),
            parts: Vec::new(),
            parts_written: 0,
            tag: cut::Tag::default(),
            frozen: None,
            restages: 0,
            read_only: false,
            unread: None,
            mapped: 0,
            integrity: Integrity::default(),
            damaged_places: damage::Places::new(),
            trimmed: false,
            counters: Counters::default(),
            volumes: Vec::new(),
            note: Vec::new(),
            geometry,
            nand,
        };
        ftl.schedule_checkpoint();
        Ok(ftl)
    }

    /// Bytes that the maps take per unit of the user's space: the map itself, and with everything kept per line.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people to read")]
    pub fn map_bytes_per_unit(&self) -> (f64, f64) {
        let all = self.map.memory_bytes() + self.lines.memory_bytes() + self.checkpoint.memory_bytes();
        let streams = self.streams.iter().map(Stream::memory_bytes).sum::<usize>() + self.collector.memory_bytes();
        let units = f64::from(self.geometry.user_units);
        (4.0, (all + streams) as f64 / units)
    }

    /// The lines and frontiers in words, for the report of a failed test.
    #[must_use]
    pub fn describe_lines(&self) -> String {
        let mut text = format!("sequence {} committed {}\n", self.sequence, self.committed);
        for stream in &self.streams {
            text += &format!("stream: line {} next {} programmed {}\n", stream.line, stream.next, stream.programmed);
        }
        for (number, line) in self.lines.iter() {
            text += &format!("line {number}: {line:?}\n");
        }
        text
    }

    /// Checks everything that must be true between two requests: used by tests, and at the end of each recovery.
    ///
    /// # Panics
    /// Where something is not.
    pub fn assert_invariants(&self) {
        let mut valid = vec![0u32; self.geometry.lines as usize];
        let mut mapped = 0;
        for (unit, place) in self.map.iter() {
            let (line, slot) = (self.geometry.line_of(place), self.geometry.slot_of(place));
            assert!(line < self.geometry.lines && slot < self.geometry.units_per_line, "{unit:?} lies nowhere");
            valid[line as usize] += 1;
            mapped += 1;
        }
        assert_eq!(mapped, self.mapped, "the count of mapped units");
        let mut free = 0;
        for (number, line) in self.lines.iter() {
            assert_eq!(line.valid, valid[number as usize], "valid units of line {number}, {:?}", line.state);
            let unused = matches!(line.state, LineState::Free | LineState::Drained | LineState::Retired);
            assert!(!unused || line.valid == 0, "line {number} is {:?} and holds {}", line.state, line.valid);
            free += u32::from(line.state == LineState::Free);
        }
        assert_eq!(free, self.lines.free());
        let drained = self.lines.iter().filter(|(_, line)| line.state == LineState::Drained).map(|(line, _)| line);
        assert!(drained.eq(self.lines.drained_lines().iter().copied()));
        assert!(self.nand.ledger.balances(), "{:?}", self.nand.ledger);
        assert!(self.committed < self.sequence);
    }
}
