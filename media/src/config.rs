//! What a drive is made from: checked once, and where the numbers that follow from it are derived.

use crate::fault::Misbehaviour;
use crate::geometry::{ConfigError, Geometry, GeometryConfig, require};
use crate::nand::timing::NandTimes;
use crate::root::note_bytes_max;
use crate::unit::Nanoseconds;

/// A volume to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeConfig {
    /// Bytes of a logical block: a power of two from 512 to 65536, at most the unit.
    pub block_bytes: u32,
    /// Bytes of metadata beside each block: 0, 8, 16 or 64.
    pub metadata_bytes: u32,
    /// Its logical blocks.
    pub capacity_blocks: u64,
    /// As many as it may ever have: the drive keeps map and spare for all of them.
    pub capacity_blocks_max: u64,
}

impl VolumeConfig {
    /// A volume without room to grow.
    #[must_use]
    pub const fn new(block_bytes: u32, metadata_bytes: u32, capacity_blocks: u64) -> Self {
        Self { block_bytes, metadata_bytes, capacity_blocks, capacity_blocks_max: capacity_blocks }
    }

    /// The same volume, with room for this many blocks.
    #[must_use]
    pub const fn with_room(self, capacity_blocks_max: u64) -> Self {
        Self { capacity_blocks_max, ..self }
    }

    /// The units of this many bytes that are kept for it.
    #[must_use]
    pub const fn units(&self, unit_bytes: u32) -> u64 {
        self.capacity_blocks_max.div_ceil((unit_bytes / self.block_bytes) as u64)
    }
}

/// The volatile write cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// There is a cache.
    pub present: bool,
    /// It is switched on at the start.
    pub enabled: bool,
    /// Bytes that may wait in it; above that the oldest pages are programmed.
    pub bytes: u64,
    /// How long data may wait in it.
    pub age_max: Nanoseconds,
    /// Partly written units that stay open for further parts.
    pub open_units: u32,
    /// A flush of one volume, and a forced request, make no more durable than they must; otherwise they do so with everything.
    pub flush_apart: bool,
    /// Capacitors finish what is in the cache when power goes. They do not outlive the process: see [`crate::ssd::Ssd::cut`].
    pub capacitors: bool,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            present: true,
            enabled: true,
            bytes: 1 << 20,
            age_max: Nanoseconds(100_000_000),
            open_units: 4,
            flush_apart: false,
            capacitors: false,
        }
    }
}

/// How the next line to collect is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VictimPolicy {
    /// The line with the fewest valid units.
    Greedy,
    /// The line with the best (age × invalid) ÷ (2 × valid): hot lines get time to empty themselves.
    #[default]
    CostBenefit,
    /// The line that was opened first. Bad, but its write amplification is known in closed form: the oracle for theory.
    Fifo,
}

/// The knobs of collection, wear levelling and checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// How victims are chosen.
    pub policy: VictimPolicy,
    /// Collection works while fewer lines than this are free; at least 4, and fewer than the spare has beside the
    /// two open lines.
    pub reserve_lines: u32,
    /// Static wear levelling works while the erase counts of two lines differ by more than this many, plus
    pub wear_gap: u32,
    /// this many parts per thousand of their mean.
    pub wear_gap_per_thousand: u32,
    /// How many times as much a victim counts under cost-benefit that lags by just that.
    pub wear_strength: u32,
    /// Entries of the journal's ring.
    pub journal_entries: u64,
    /// Units the host writes between two checkpoints; 0: a number in proportion to the map, such that checkpoints cost at most 3 %.
    pub checkpoint_units: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            policy: VictimPolicy::CostBenefit,
            reserve_lines: 5,
            wear_gap: 4,
            wear_gap_per_thousand: 100,
            wear_strength: 4,
            journal_entries: 16_384,
            checkpoint_units: 0,
        }
    }
}

/// Free lines that host writes leave to the collector: one to move units to, one in case that a block of it fails.
pub(crate) const FLOOR_LINES: u32 = 2;

/// The least reserve: a collector that began when the host may take no line any more would be late always.
pub(crate) const RESERVE_MIN: u32 = FLOOR_LINES + 2;

/// How much a drive may be written in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endurance {
    /// It does not wear out.
    Endless,
    /// So many erases of each block.
    Erases(u32),
    /// So many bytes written by hosts.
    HostBytes(u64),
}

impl Endurance {
    /// Life used, in percent: may exceed 100, and saturates at 255. `erases` is the sum over `lines`.
    #[must_use]
    pub fn percentage_used(self, erases: u64, lines: u32, host_write_bytes: u64) -> u8 {
        let (used, rated) = match self {
            Self::Endless => return 0,
            Self::Erases(each) => (u128::from(erases), u128::from(each) * u128::from(lines)),
            Self::HostBytes(bytes) => (u128::from(host_write_bytes), u128::from(bytes)),
        };
        u8::try_from(used * 100 / rated.max(1)).unwrap_or(u8::MAX)
    }

    /// Bytes that a drive with `raw_bytes` of NAND may be written in its life if its write amplification is 1; 0 for no end.
    #[must_use]
    pub fn bytes(self, raw_bytes: u64) -> u64 {
        match self {
            Self::Endless => 0,
            Self::Erases(each) => raw_bytes.saturating_mul(each.into()),
            Self::HostBytes(bytes) => bytes,
        }
    }
}

/// Everything a drive is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SsdConfig {
    /// The NAND and its over-provisioning. `metadata_bytes_per_unit` is raised to what the volumes need.
    pub geometry: GeometryConfig,
    /// The volumes.
    pub volumes: Vec<VolumeConfig>,
    /// Collection, wear levelling, checkpoints.
    pub tuning: Tuning,
    /// The write cache.
    pub cache: CacheConfig,
    /// The longest write that a power loss leaves whole or undone, in bytes, at any alignment.
    pub power_atomic_bytes: u32,
    /// What "percentage used" is a percentage of.
    pub endurance: Endurance,
    /// NAND times, or none: as fast as the machine allows.
    pub times: Option<NandTimes>,
    /// How long a pass of the patrol takes; none without one. A store in memory needs none.
    pub patrol: Option<Nanoseconds>,
    /// What a new drive keeps for its user: see [`crate::volume::Media::note`].
    pub note: Vec<u8>,
    /// The promises that the drive breaks: none, unless somebody tests what stands above it.
    pub misbehaviour: Misbehaviour,
}

impl Default for SsdConfig {
    /// A drive of 1 GiB with one volume of 4 KiB blocks.
    fn default() -> Self {
        Self {
            geometry: GeometryConfig::default(),
            volumes: vec![VolumeConfig::new(4096, 0, (1 << 30) / 4096)],
            tuning: Tuning::default(),
            cache: CacheConfig::default(),
            power_atomic_bytes: 64 << 10,
            endurance: Endurance::Erases(3000),
            times: None,
            patrol: None,
            note: Vec::new(),
            misbehaviour: Misbehaviour::default(),
        }
    }
}

impl SsdConfig {
    /// The checked geometry, with room for the volumes' metadata.
    ///
    /// # Errors
    /// The first rule that the configuration breaks.
    pub fn checked(&self) -> Result<Geometry, ConfigError> {
        let mut config = self.geometry.clone();
        let mut units = 0u64;
        for (number, volume) in self.volumes.iter().enumerate() {
            check_volume(number, volume, config.unit_bytes)?;
            let per_unit = config.unit_bytes / volume.block_bytes * volume.metadata_bytes;
            config.metadata_bytes_per_unit = config.metadata_bytes_per_unit.max(per_unit);
            units = units.saturating_add(volume.units(config.unit_bytes));
        }
        let geometry = Geometry::new(config)?;
        let most = geometry.config.volumes_max;
        let count = self.volumes.len();
        require!(most == 0 || count <= most as usize, "there are {count} volumes, and there may be {most}");
        let note = note_bytes_max(&geometry);
        require!(self.note.len() <= note, "the note has {} bytes, and may have {note}", self.note.len());
        require!(
            units <= u64::from(geometry.user_units),
            "the volumes need {units} units, and there are {}",
            geometry.user_units
        );
        // Two lines are open.
        let user_lines = geometry.user_units.div_ceil(geometry.units_per_line);
        let most = geometry.lines - user_lines - 2;
        require!(
            (RESERVE_MIN..=most).contains(&self.tuning.reserve_lines),
            "reserve_lines must be {RESERVE_MIN} to {most} on a drive of so much spare"
        );
        require!(self.tuning.journal_entries >= 128, "journal_entries must be at least 128");
        require!(self.tuning.journal_entries.is_multiple_of(128), "journal_entries must be a multiple of 128");
        require!(self.power_atomic_bytes > 0, "power_atomic_bytes must be at least one block");
        let atomic_units = self.power_atomic_bytes.div_ceil(geometry.config.unit_bytes) + 1;
        let most = geometry.units_per_line.min(u32::from(u16::MAX));
        require!(atomic_units <= most, "power_atomic_bytes may touch {atomic_units} units, and a line has {most}");
        Ok(geometry)
    }

    /// The least memory for units and their metadata that a drive of this shape can work with.
    ///
    /// # Errors
    /// The first rule that the configuration breaks.
    pub fn memory_min(&self) -> Result<u64, ConfigError> {
        let geometry = self.checked()?;
        let unit = geometry.unit_bytes() + geometry.config.metadata_bytes_per_unit as usize;
        Ok(2 * geometry.memory_reserve() as u64 * unit as u64)
    }
}

pub(crate) fn check_volume(number: usize, volume: &VolumeConfig, unit_bytes: u32) -> Result<(), ConfigError> {
    let block = volume.block_bytes;
    require!(block.is_power_of_two(), "volume {number}: block_bytes must be a power of two");
    require!((512..=65536).contains(&block), "volume {number}: block_bytes must be 512 to 65536, not {block}");
    require!(block <= unit_bytes, "volume {number}: a block of {block} bytes is larger than the unit of {unit_bytes}");
    let metadata = volume.metadata_bytes;
    require!([0, 8, 16, 64].contains(&metadata), "volume {number}: metadata_bytes must be 0, 8, 16 or 64");
    require!(volume.capacity_blocks > 0, "volume {number} has no blocks");
    let most = volume.capacity_blocks_max;
    require!(volume.capacity_blocks <= most, "volume {number} has more blocks than the {most} that it may have");
    Ok(())
}
