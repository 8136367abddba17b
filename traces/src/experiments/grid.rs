//! F3: what an indirection unit makes of a write, on the drive itself, for every offset and every length of a grid: the bytes programmed
//! are those that the formula of [`crate::waf`] says, to the byte.

use std::fmt;
use std::num::NonZeroU64;

use media::geometry::GeometryConfig;
use media::ssd::{CacheConfig, SsdConfig};
use serde_json::{Value, json};

use super::drive::{Drive, volume};
use super::verdict;
use crate::waf::{IndirectionUnit, Ratio, Write};

/// Unit and logical block, in bytes.
const GRIDS: [(u32, u32); 7] = [
    (4 << 10, 512),
    (4 << 10, 4096),
    (8 << 10, 4096),
    (16 << 10, 512),
    (16 << 10, 4096),
    (32 << 10, 4096),
    (64 << 10, 4096),
];

/// The drive held against the formula.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    rows: Vec<Row>,
    /// 20 KiB at 12 KiB on a unit of 16 KiB, measured.
    example: Ratio,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    unit_bytes: u32,
    block_bytes: u32,
    writes: u64,
    /// The first write that costs something else than the formula says: offset, length, bytes programmed.
    first_wrong: Option<(u64, u64, u64)>,
}

/// Writes at each offset of a unit, in each length up to a little over two units, on drives of all units and block sizes that are tried.
pub fn compare() -> Comparison {
    let rows = GRIDS.iter().map(|&(unit_bytes, block_bytes)| compare_grid(unit_bytes, block_bytes)).collect();
    let mut drive = Drive::in_memory(config(16 << 10, 4096));
    let length = NonZeroU64::new(20 << 10).expect("twenty is not zero");
    let example = Ratio::new(u128::from(programmed(&mut drive, 3, 5)), length);
    Comparison { rows, example }
}

fn compare_grid(unit_bytes: u32, block_bytes: u32) -> Row {
    let mut drive = Drive::in_memory(config(unit_bytes, block_bytes));
    // Every unit holds something, so that what a write leaves out has to be read and copied.
    drive.fill(drive.blocks, u64::from(unit_bytes / block_bytes));
    drive.flush();
    let unit = IndirectionUnit::new(u64::from(unit_bytes)).expect("units are powers of two");
    let (per_unit, block) = (u64::from(unit_bytes / block_bytes), u64::from(block_bytes));
    let mut row = Row { unit_bytes, block_bytes, writes: 0, first_wrong: None };
    for offset in 0..per_unit {
        for blocks in 1..=2 * per_unit + 1 {
            let (first, bytes) = (offset * block, blocks * block);
            let length = NonZeroU64::new(bytes).expect("at least one block");
            let cost = programmed(&mut drive, offset, blocks);
            let right = u128::from(cost) == unit.touched(Write { offset: first, length });
            row.first_wrong = row.first_wrong.or((!right).then_some((first, bytes, cost)));
            row.writes += 1;
        }
    }
    row
}

/// Bytes programmed for a write, collection apart.
fn programmed(drive: &mut Drive<impl media::store::Store>, first: u64, blocks: u64) -> u64 {
    let before = drive.ledger();
    drive.write(first, blocks, true);
    let ledger = drive.ledger().since(&before);
    ledger.host + ledger.fill
}

fn config(unit_bytes: u32, block_bytes: u32) -> SsdConfig {
    let user_bytes = 16 * 32 * u64::from(unit_bytes);
    SsdConfig {
        geometry: GeometryConfig {
            channels: 1,
            dies_per_channel: 1,
            planes_per_die: 2,
            pages_per_block: 16,
            page_bytes: unit_bytes,
            unit_bytes,
            user_bytes,
            spare_per_million_of_user: 250_000,
            replacement_blocks_per_plane: 0,
            factory_bad_blocks: 0,
            metadata_bytes_per_unit: 0,
            volumes_max: 0,
        },
        volumes: vec![volume(block_bytes, user_bytes)],
        // No unit stays open: each write pays for itself.
        cache: CacheConfig { open_units: 0, ..CacheConfig::default() },
        power_atomic_bytes: unit_bytes,
        ..SsdConfig::default()
    }
}

impl Comparison {
    /// An entry for each unit and grid, for programs; the first write that costs something else than the formula says, if there is one.
    pub fn json(&self) -> Value {
        let wrong =
            |(offset, length, programmed)| json!({ "offset": offset, "length": length, "programmed": programmed });
        let row = |row: &Row| {
            let first_wrong = row.first_wrong.map(wrong);
            json!({ "iu": row.unit_bytes, "grid": row.block_bytes, "writes": row.writes, "first-wrong": first_wrong })
        };
        self.rows.iter().map(row).collect()
    }

    /// Whether every write cost what the formula says, and the example is 1.6.
    pub fn holds(&self) -> bool {
        self.rows.iter().all(|row| row.first_wrong.is_none())
            && (self.example.numerator(), self.example.denominator()) == (8, 5)
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "F3  bytes programmed for a write, on the drive, beside the formula: every offset and length of a grid"
        )?;
        writeln!(formatter, "    unit    grid    writes  bar: each exact")?;
        for row in &self.rows {
            let unit = format!("{} KiB", row.unit_bytes >> 10);
            write!(
                formatter,
                "    {unit:6}  {:4} B  {:6}  {}",
                row.block_bytes,
                row.writes,
                verdict(row.first_wrong.is_none())
            )?;
            if let Some((offset, length, cost)) = row.first_wrong {
                write!(formatter, ": {length} bytes at {offset} programmed {cost}")?;
            }
            writeln!(formatter)?;
        }
        writeln!(formatter, "    20 KiB at 12 KiB on a unit of 16 KiB: WAF {}", self.example)
    }
}
