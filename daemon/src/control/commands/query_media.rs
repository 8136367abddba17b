//! `query-media`.

use media::geometry::Geometry;
use media::ledger::Ledger as BytesProgrammed;
use media::monitor::Monitor;
use media::power::RecoveryReport;
use media::root::Counters as LifeCounters;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Device, Execute, Refusal};
use crate::control::warnings::{WarningState, warning_states};
use crate::options::Settings;

/// The drive behind the controller: shape, bytes programmed and why, wear, lines, memory, and what the last recovery found.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryMedia {}

/// A drive.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Media {
    /// Where the bytes lie: `ram`, or `file:` and a path.
    store: String,
    geometry: Shape,
    cache: Cache,
    ledger: Ledger,
    /// Bytes programmed ÷ bytes that the host wrote, without what the drive notes for itself.
    write_amplification: f64,
    /// The same with it.
    write_amplification_with_metadata: f64,
    counters: Counters,
    wear: Wear,
    lines: Lines,
    /// Indirection units that hold data.
    mapped_units: u64,
    /// Bytes of memory that the map takes.
    map_memory_bytes: u64,
    /// Spare ÷ user as it stands, in parts per million.
    spare_per_million_of_user: u64,
    /// The longest write that a power loss leaves whole or undone, in bytes.
    power_atomic_bytes: u32,
    /// Nothing can be written any more.
    read_only: bool,
    /// What is wrong, and of what is over the last of each kind.
    warnings: Vec<WarningState>,
    /// `memory_max` is reached: what would be new is refused until something is deallocated.
    memory_full: bool,
    recovery: Recovery,
    integrity: Integrity,
}

/// What was found not to be what was written, since the process began. A store in memory is not looked at.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Integrity {
    /// Indirection units found damaged that still are: nobody wrote them since.
    damaged_units: u64,
    /// The first of them, by namespace and block.
    damaged: Vec<Damaged>,
    /// Damaged units found by reads of the host,
    found_by_reads: u64,
    /// by writes of a part of them,
    found_by_writes: u64,
    /// by collection, which leaves their blocks uncorrectable,
    found_by_collection: u64,
    /// and by the patrol.
    found_by_patrol: u64,
    /// Pages of the map that were damaged on the host's disk, and are written again.
    damaged_map_pages: u64,
    patrol: Option<Patrol>,
}

/// Blocks that cannot be read.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Damaged {
    nsid: u32,
    lba: u64,
    blocks: u64,
}

/// The background reading of everything that lies in the file.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Patrol {
    /// How long a pass takes at the shortest.
    period_seconds: u64,
    /// Passes finished since the process began.
    passes: u64,
    /// How far the pass at hand has come.
    progress_percent: u8,
}

/// How many damaged units are named.
const NAMED: usize = 32;

fn integrity(monitor: &dyn Monitor) -> Integrity {
    let report = monitor.integrity();
    let [found_by_reads, found_by_writes, found_by_collection, found_by_patrol] = report.integrity.found;
    let period = monitor.config().patrol;
    let damaged = report.damaged.iter().take(NAMED).map(|(volume, range)| Damaged {
        nsid: volume.0 + 1,
        lba: range.start.0,
        blocks: range.blocks,
    });
    Integrity {
        damaged_units: report.damaged_units,
        damaged: damaged.collect(),
        found_by_reads,
        found_by_writes,
        found_by_collection,
        found_by_patrol,
        damaged_map_pages: report.integrity.map_pages,
        patrol: report.patrol.zip(period).map(|(patrol, period)| Patrol {
            period_seconds: period.0 / 1_000_000_000,
            passes: patrol.passes,
            progress_percent: patrol.percent,
        }),
    }
}

/// The shape of the NAND.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Shape {
    channels: u32,
    dies_per_channel: u32,
    planes_per_die: u32,
    pages_per_block: u32,
    page_bytes: u32,
    /// The indirection unit.
    unit_bytes: u32,
    units_per_line: u32,
    line_bytes: u64,
    user_units: u32,
    metadata_bytes_per_unit: u32,
}

/// The volatile write cache.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Cache {
    present: bool,
    /// The host has it switched on.
    enabled: bool,
    /// Bytes that may wait in it.
    bytes: u64,
    /// Indirection units that wait in it.
    staged_units: u32,
    /// Capacitors finish what is in it when power goes.
    capacitors: bool,
}

/// Bytes programmed, by reason; the first is the sum of the others.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Ledger {
    programs: u64,
    /// What the host wrote.
    host: u64,
    /// Programmed again only because a part of its unit was written.
    fill: u64,
    /// Moved by garbage collection, and out of blocks that failed.
    collected: u64,
    /// Moved by wear levelling.
    wear: u64,
    /// Programmed with nothing in it.
    padding: u64,
    /// Journal, checkpoints, roots, headers.
    metadata: u64,
}

/// Counts over the life of the media.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Counters {
    power_cycles: u64,
    unsafe_shutdowns: u64,
    host_read_bytes: u64,
    host_write_bytes: u64,
    host_reads: u64,
    host_writes: u64,
    media_errors: u64,
    /// Reads that the error correction repaired.
    corrected_reads: u64,
    program_failures: u64,
    erase_failures: u64,
    /// Lines erased.
    erases: u64,
    /// Times a line was chosen by garbage collection.
    victims: u64,
}

/// How worn it is.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Wear {
    percentage_used: u8,
    available_spare_percent: u32,
    bad_blocks: u32,
    erases_fewest: u32,
    erases_most: u32,
    erases_total: u64,
}

/// Lines.
#[derive(Debug, Serialize, JsonSchema)]
struct Lines {
    total: u32,
    free: u32,
}

/// What the last recovery found.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Recovery {
    /// The media had been shut down in order.
    clean: bool,
    /// Units and deallocations replayed over the checkpoint.
    replayed: u64,
    /// Sequence numbers given up because their group was not whole.
    given_up: u64,
    lines_scanned: u32,
    /// Units whose record was there and whose data was not.
    torn: u64,
}

impl Recovery {
    /// The report of a recovery.
    pub fn of(report: &RecoveryReport) -> Self {
        let RecoveryReport { clean, replayed, given_up, lines_scanned, torn } = *report;
        Self { clean, replayed, given_up, lines_scanned, torn }
    }
}

impl Execute for QueryMedia {
    const NAME: &'static str = "query-media";
    type Answer = Media;

    fn execute(self, device: &mut Device<'_>) -> Result<Media, Refusal> {
        let store = store(device.settings);
        let warnings = warning_states(device.subsystem.media_warnings(), device.now);
        let cache_enabled = device.subsystem.media().write_cache() == Some(true);
        let monitor = device.monitor()?;
        let status = monitor.status();
        let integrity = integrity(monitor);
        let cache = monitor.config().cache;
        Ok(Media {
            store,
            geometry: shape(monitor.geometry()),
            cache: Cache {
                present: cache.present,
                enabled: cache_enabled,
                bytes: cache.bytes,
                staged_units: status.staged_units,
                capacitors: cache.capacitors,
            },
            ledger: ledger(&status.ledger),
            write_amplification: status.ledger.amplification(false),
            write_amplification_with_metadata: status.ledger.amplification(true),
            counters: counters(&status.counters),
            wear: Wear {
                percentage_used: status.percentage_used,
                available_spare_percent: status.available_spare_percent,
                bad_blocks: status.bad_blocks,
                erases_fewest: status.erase_counts.least,
                erases_most: status.erase_counts.most,
                erases_total: status.erase_counts.sum,
            },
            lines: Lines { total: status.lines.0, free: status.lines.1 },
            mapped_units: status.mapped_units,
            map_memory_bytes: monitor.map_bytes(),
            spare_per_million_of_user: status.spare_per_million_of_user,
            power_atomic_bytes: monitor.config().power_atomic_bytes,
            read_only: status.read_only,
            warnings,
            memory_full: status.memory_full,
            recovery: Recovery::of(&status.recovery),
            integrity,
        })
    }
}

fn store(settings: &Settings) -> String {
    settings.media.store.to_string()
}

fn shape(geometry: &Geometry) -> Shape {
    let config = &geometry.config;
    Shape {
        channels: config.channels,
        dies_per_channel: config.dies_per_channel,
        planes_per_die: config.planes_per_die,
        pages_per_block: config.pages_per_block,
        page_bytes: config.page_bytes,
        unit_bytes: config.unit_bytes,
        units_per_line: geometry.units_per_line,
        line_bytes: geometry.line_data_bytes as u64,
        user_units: geometry.user_units,
        metadata_bytes_per_unit: config.metadata_bytes_per_unit,
    }
}

fn ledger(from: &BytesProgrammed) -> Ledger {
    let BytesProgrammed { programs, host, fill, collected, wear, padding, metadata } = *from;
    Ledger { programs, host, fill, collected, wear, padding, metadata }
}

fn counters(from: &LifeCounters) -> Counters {
    Counters {
        power_cycles: from.power_cycles,
        unsafe_shutdowns: from.unsafe_shutdowns,
        host_read_bytes: from.host_read_bytes,
        host_write_bytes: from.host_write_bytes,
        host_reads: from.host_reads,
        host_writes: from.host_writes,
        media_errors: from.media_errors,
        corrected_reads: from.corrected_reads,
        program_failures: from.program_failures,
        erase_failures: from.erase_failures,
        erases: from.erases,
        victims: from.victims,
    }
}
