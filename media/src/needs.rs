//! What a drive takes of memory by the sizes that it is made from, part by part, so that a drive that cannot be is refused before
//! anything of it is made. Owns the list; each part takes its memory itself, and a test compares the two.

use std::fmt;

use crate::ftl::alloc::Stream;
use crate::ftl::gc::Collector;
use crate::ftl::line::Lines;
use crate::ftl::map::LineCount;
use crate::geometry::Geometry;
use crate::journal::{LineHeader, METADATA_PAGE};
use crate::large_memory::{LargeMemory, OutOfMemory};
use crate::root::Layout;
use crate::store::{FileStore, MemoryStore};
use crate::unit::{PhysicalUnit, index};

/// A part of a drive whose memory follows from the numbers that somebody gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What is written, and where it lies: addresses, which take memory as they are used.
    Data,
    /// The map, four bytes for each unit, and what is kept for each page of it.
    Map,
    /// What is kept for each line and each block.
    Lines,
    /// What is kept of lines that are open: of each unit, and for a file the data itself.
    OpenLines,
}

/// Bytes of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Need {
    part: Part,
    bytes: usize,
    /// They take memory only where they are used.
    sparse: bool,
}

/// What a drive needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs(Vec<Need>);

/// The system does not give what a drive needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The part that needs most,
    pub part: Part,
    /// its bytes,
    pub bytes: u64,
    /// and those of all parts.
    pub bytes_of_all: u64,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        OutOfMemory { bytes: self.bytes_of_all }.fmt(f)
    }
}

impl std::error::Error for Lack {}

impl Needs {
    /// What the translation layer needs, wherever its bytes lie.
    #[must_use]
    pub fn of_layer(geometry: &Geometry) -> Self {
        let (units, lines) = (geometry.units_per_line as usize, geometry.lines as usize);
        let layout = Layout::of(geometry, 0);
        let pages = index(layout.map_pages);
        let replacements = geometry.planes as usize * geometry.config.replacement_blocks_per_plane as usize;
        let mut needs = Self(Vec::new());
        needs.add(Part::Map, pages * METADATA_PAGE, true);
        // Changed pages, entries in use; homes and checksums, of this checkpoint and of the next.
        needs.add(Part::Map, pages.div_ceil(64) * 8 + pages * 2 + 2 * (pages.div_ceil(64) + pages) * 8, false);
        let of_line = Lines::bytes_each() + size_of::<u32>() + size_of::<LineHeader>() + size_of::<LineCount>();
        // Lines and how far each is programmed; while the log is read, their headers and counts, and a root.
        needs.add(Part::Lines, lines * of_line + replacements * 4 + index(layout.root_bytes), false);
        // Two streams, the line that is collected, a group.
        needs.add(
            Part::OpenLines,
            2 * Stream::bytes_for(units) + Collector::bytes_for(units) + units * size_of::<PhysicalUnit>(),
            false,
        );
        needs
    }

    /// What a drive in memory needs.
    #[must_use]
    pub fn in_memory(geometry: &Geometry) -> Self {
        let mut needs = Self::of_layer(geometry);
        let (sparse, dense) = MemoryStore::bytes_for(geometry);
        needs.add(Part::Data, sparse, true);
        needs.add(Part::Lines, dense, false);
        needs
    }

    /// What a drive in a file needs: the data of its open lines lies in memory until the host's disk has it.
    #[must_use]
    pub fn in_file(geometry: &Geometry) -> Self {
        let mut needs = Self::of_layer(geometry);
        let (per_line, staged) = FileStore::bytes_for(geometry);
        needs.add(Part::Lines, per_line, false);
        needs.add(Part::OpenLines, staged, false);
        needs
    }

    /// With this many bytes more of a part, which are used.
    #[must_use]
    pub fn with(mut self, part: Part, bytes: u64) -> Self {
        self.add(part, index(bytes), false);
        self
    }

    fn add(&mut self, part: Part, bytes: usize, sparse: bool) {
        self.0.push(Need { part, bytes, sparse });
    }

    fn sum(&self, of: impl Fn(&Need) -> bool) -> usize {
        self.0.iter().filter(|need| of(need)).fold(0, |sum: usize, need| sum.saturating_add(need.bytes))
    }

    /// The bytes of a part: those that are used at once, and those with them that may be.
    #[must_use]
    pub fn of(&self, part: Part) -> (usize, usize) {
        (self.sum(|need| need.part == part && !need.sparse), self.sum(|need| need.part == part))
    }

    /// Asks the system for all of it, and gives it back.
    ///
    /// # Errors
    /// What it has not.
    pub fn probe(&self) -> Result<(), Lack> {
        let had = LargeMemory::reserved(self.sum(|need| !need.sparse)).and_then(|reserved| {
            let sparse = LargeMemory::zeroed(self.sum(|need| need.sparse))?;
            drop((reserved, sparse));
            Ok(())
        });
        had.map_err(|_| {
            let bytes_of = |part: Part| self.sum(|need| need.part == part);
            let parts = [Part::Data, Part::Map, Part::Lines, Part::OpenLines];
            let part = parts.into_iter().max_by_key(|part| bytes_of(*part)).unwrap_or(Part::Data);
            Lack { part, bytes: bytes_of(part) as u64, bytes_of_all: self.sum(|_| true) as u64 }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::GeometryConfig;
    use crate::ssd::{Ssd, SsdConfig, VolumeConfig};
    use crate::store::{ImageStore, TwinDisk};

    fn config(geometry: GeometryConfig) -> SsdConfig {
        let blocks = geometry.user_bytes / u64::from(geometry.unit_bytes.min(4096));
        let volumes = vec![VolumeConfig::new(geometry.unit_bytes.min(4096), 0, blocks)];
        SsdConfig { geometry, volumes, power_atomic_bytes: 512, ..SsdConfig::default() }
    }

    fn shapes() -> Vec<SsdConfig> {
        let base = GeometryConfig::default;
        let shapes = [
            base(),
            GeometryConfig { unit_bytes: 1 << 20, pages_per_block: 256, ..base() },
            GeometryConfig { unit_bytes: 512, page_bytes: 512, user_bytes: 64 << 20, ..base() },
            GeometryConfig { channels: 1, dies_per_channel: 1, planes_per_die: 1, pages_per_block: 16, ..base() },
            GeometryConfig { metadata_bytes_per_unit: 64, ..base() },
        ];
        shapes.into_iter().map(config).collect()
    }

    #[test]
    fn a_drive_takes_what_it_was_said_to_need() {
        for config in shapes() {
            let geometry = config.checked().expect("a drive");
            let needs = Needs::in_memory(&geometry);
            let store = MemoryStore::new(&geometry).expect("memory");
            assert_eq!(MemoryStore::bytes_for(&geometry), store.memory_bytes(), "{geometry:?}");
            let drive = Ssd::create(config, store).expect("a drive");
            let ftl = drive.ftl();
            let map = ftl.map.memory_bytes() + ftl.checkpoint.memory_bytes();
            assert_eq!(needs.of(Part::Map).1, map, "{geometry:?}");
            let lines = ftl.lines.memory_bytes() + ftl.nand.memory_bytes() + MemoryStore::bytes_for(&geometry).1;
            let opening = geometry.lines as usize * (size_of::<LineHeader>() + size_of::<LineCount>());
            let least = lines + opening;
            let blocks = index(ftl.layout.root_bytes) + index(geometry.blocks()) * 4;
            assert!((least..=least + blocks).contains(&needs.of(Part::Lines).1), "{geometry:?}");
            let open = ftl.streams.iter().map(Stream::memory_bytes).sum::<usize>() + ftl.collector.memory_bytes();
            let group = ftl.group.capacity() * size_of::<PhysicalUnit>();
            assert_eq!(needs.of(Part::OpenLines).1, open + group, "{geometry:?}");
        }
    }

    #[test]
    fn a_drive_in_a_file_takes_what_it_was_said_to_need() {
        for config in shapes() {
            let geometry = config.checked().expect("a drive");
            let store = ImageStore::create(&geometry, 64 << 20, TwinDisk::new(1)).expect("memory");
            assert_eq!(FileStore::bytes_for(&geometry).0, store.memory_bytes_of_lines(), "{geometry:?}");
        }
    }

    #[test]
    fn what_cannot_be_had_is_named_by_the_part_that_needs_most() {
        let geometry = |config: GeometryConfig| Geometry::new(config).expect("a geometry");
        let data =
            GeometryConfig { user_bytes: 1 << 50, unit_bytes: 64 << 20, pages_per_block: 8192, ..Default::default() };
        let data = geometry(data);
        let lack = Needs::in_memory(&data).probe().expect_err("no machine has a pebibyte");
        assert_eq!((lack.part, lack.bytes >> 50), (Part::Data, 1));
        assert!(lack.bytes_of_all > lack.bytes);
        let open = GeometryConfig {
            user_bytes: 1 << 49,
            unit_bytes: 64 << 20,
            pages_per_block: 1 << 16,
            channels: 256,
            ..Default::default()
        };
        let lack =
            Needs::in_file(&geometry(GeometryConfig { dies_per_channel: 64, planes_per_die: 16, ..open })).probe();
        assert_eq!(lack.map_err(|lack| lack.part), Err(Part::OpenLines));
        assert_eq!(Needs::in_memory(&geometry(GeometryConfig::default())).probe(), Ok(()));
    }
}
