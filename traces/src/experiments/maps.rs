//! F5: memory that the translation layer takes for each unit of the user's space, counted from what its structures hold.

use std::fmt;

use media::geometry::GeometryConfig;
use media::ssd::SsdConfig;
use serde_json::{Value, json};

use super::drive::{Drive, volume};
use super::verdict;

const UNIT: u32 = 4 << 10;
/// The sizes of drives that are looked at, in GiB.
const SIZES_GIB: [u64; 3] = [1, 64, 1024];
/// The bars, in bytes for each unit.
const MAP_MAX: f64 = 4.0;
const ALL_MAX: f64 = 6.0;

/// What maps take, for drives of some sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Row {
    gib: u64,
    /// The map from logical to physical units, in bytes for each unit.
    map: f64,
    /// With what is kept for each line, frontier and checkpoint.
    all: f64,
}

impl Row {
    fn keeps(&self) -> bool {
        self.map <= MAP_MAX && self.all <= ALL_MAX
    }
}

/// Counts on drives of a unit of 4 KiB. Their maps are made and never filled, so that a large one costs nothing.
pub fn count() -> Memory {
    let rows = SIZES_GIB.map(|gib| {
        let user_bytes = gib << 30;
        let drive = Drive::hollow(SsdConfig {
            geometry: GeometryConfig { user_bytes, unit_bytes: UNIT, ..GeometryConfig::default() },
            volumes: vec![volume(UNIT, user_bytes)],
            ..SsdConfig::default()
        });
        let (map, all) = drive.ssd.ftl().map_bytes_per_unit();
        Row { gib, map, all }
    });
    Memory { rows: rows.to_vec() }
}

impl Memory {
    /// An entry for each drive, for programs: bytes of memory for each unit.
    pub fn json(&self) -> Value {
        let row =
            |row: &Row| json!({ "size": row.gib << 30, "map": row.map, "all-maps": row.all, "kept": row.keeps() });
        self.rows.iter().map(row).collect()
    }

    /// Whether the bars are kept.
    pub fn holds(&self) -> bool {
        self.rows.iter().all(Row::keeps)
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "F5  bytes of memory for each unit of 4 KiB")?;
        writeln!(formatter, "    drive     map    all maps  bar: {MAP_MAX} and {ALL_MAX}")?;
        for row in &self.rows {
            writeln!(formatter, "    {:4} GiB  {:.3}  {:8.3}  {}", row.gib, row.map, row.all, verdict(row.keeps()))?;
        }
        Ok(())
    }
}
