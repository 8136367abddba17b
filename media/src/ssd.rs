//! The solid-state drive: volumes over one translation layer, and the answers to requests. Owns which volume lies where, the write
//! cache's switch, and outcomes that are not due yet. Knows nothing of NVMe or virtio.

use std::collections::{BTreeMap, VecDeque};

use crate::fault::{ReadFaults, ReadVerdict};
use crate::ftl::gc::Tuning;
use crate::ftl::line::EraseCounts;
use crate::ftl::write::Span;
use crate::ftl::{CacheLimits, Ftl};
use crate::geometry::{ConfigError, Geometry, GeometryConfig, require};
use crate::journal::{Counters, VolumeEntry};
use crate::ledger::Ledger;
use crate::nand::Nand;
use crate::nand::timing::{NandTimes, Timing};
use crate::power::{Arming, Breaker, CutPolicy, Step, VolatileEntry};
use crate::recover::{RecoveryReport, recover};
use crate::store::{Store, StoreError};
use crate::unit::{Lba, LbaRange, LogicalUnit, Nanoseconds, index, narrow};
use crate::volume::{
    Fault, Media, MediaError, Outcome, Request, Sink, Source, Submitted, Token, VolumeId, VolumeShape,
};

/// A volume to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeConfig {
    /// Bytes of a logical block: a power of two from 512 to 65536, at most the unit.
    pub block_bytes: u32,
    /// Bytes of metadata beside each block: 0, 8, 16 or 64.
    pub metadata_bytes: u32,
    /// Its logical blocks.
    pub capacity_blocks: u64,
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
    /// Capacitors finish what is in the cache when power goes. They do not outlive the process: see [`Ssd::cut`].
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
            capacitors: false,
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
    /// The longest write that a loss of power leaves whole or undone, in bytes, at any alignment.
    pub power_atomic_bytes: u32,
    /// Erases that a block is rated for; what "percentage used" is a percentage of.
    pub rated_erases: u32,
    /// NAND times, or none: as fast as the machine allows.
    pub times: Option<NandTimes>,
}

impl Default for SsdConfig {
    /// A drive of 1 GiB with one volume of 4 KiB blocks.
    fn default() -> Self {
        Self {
            geometry: GeometryConfig::default(),
            volumes: vec![VolumeConfig { block_bytes: 4096, metadata_bytes: 0, capacity_blocks: (1 << 30) / 4096 }],
            tuning: Tuning::default(),
            cache: CacheConfig::default(),
            power_atomic_bytes: 64 << 10,
            rated_erases: 3000,
            times: None,
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
            units += volume.capacity_blocks.div_ceil(u64::from(config.unit_bytes / volume.block_bytes));
        }
        let geometry = Geometry::new(config)?;
        require!(
            units <= u64::from(geometry.user_units),
            "the volumes need {units} units, and there are {}",
            geometry.user_units
        );
        require!(self.tuning.reserve_lines >= 3, "reserve_lines must be at least 3");
        require!(self.tuning.journal_entries >= 128, "journal_entries must be at least 128");
        require!(self.tuning.journal_entries.is_multiple_of(128), "journal_entries must be a multiple of 128");
        require!(self.power_atomic_bytes > 0, "power_atomic_bytes must be at least one block");
        let atomic_units = self.power_atomic_bytes.div_ceil(geometry.config.unit_bytes) + 1;
        let most = geometry.units_per_line.min(u32::from(u16::MAX));
        require!(atomic_units <= most, "power_atomic_bytes may touch {atomic_units} units, and a line has {most}");
        Ok(geometry)
    }

    fn limits(&self, geometry: &Geometry) -> CacheLimits {
        let open = narrow(index(u64::from(self.cache.open_units)));
        let units = u32::try_from(self.cache.bytes >> geometry.unit_shift).unwrap_or(u32::MAX);
        CacheLimits { staged_units: units.max(open), open_units: index(u64::from(self.cache.open_units)) }
    }
}

fn check_volume(number: usize, volume: &VolumeConfig, unit_bytes: u32) -> Result<(), ConfigError> {
    let block = volume.block_bytes;
    require!(block.is_power_of_two(), "volume {number}: block_bytes must be a power of two");
    require!((512..=65536).contains(&block), "volume {number}: block_bytes must be 512 to 65536, not {block}");
    require!(block <= unit_bytes, "volume {number}: a block of {block} bytes is larger than the unit of {unit_bytes}");
    let metadata = volume.metadata_bytes;
    require!([0, 8, 16, 64].contains(&metadata), "volume {number}: metadata_bytes must be 0, 8, 16 or 64");
    require!(volume.capacity_blocks > 0, "volume {number} has no blocks");
    Ok(())
}

/// The state of a drive, for logs, monitors and tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SsdStatus {
    /// Bytes programmed, by reason.
    pub ledger: Ledger,
    /// Counters of the media's life.
    pub counters: Counters,
    /// Wear.
    pub erase_counts: EraseCounts,
    /// Mean erases as a percentage of what blocks are rated for; may exceed 100, stops at 255.
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
    /// Spare ÷ user as it stands, in parts per million.
    pub spare_per_million_of_user: u64,
    /// Nothing can be written any more.
    pub read_only: bool,
    /// What the last recovery found.
    pub recovery: RecoveryReport,
}

/// What a loss of power did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CutReport {
    /// The entries of the volatile cache and their fate. Empty where a breaker tripped inside an operation: nothing survived then.
    pub entries: Vec<VolatileEntry>,
    /// The step at which the breaker tripped, if it was not cut from outside.
    pub step: Option<Step>,
}

struct Volume {
    entry: VolumeEntry,
    shape: VolumeShape,
    block_shift: u32,
    mapped_units: u64,
}

struct Waiting {
    ticket: u64,
    ready: Nanoseconds,
    token: Token,
}

/// A drive over a store.
pub struct Ssd<S: Store> {
    ftl: Ftl<S>,
    config: SsdConfig,
    volumes: Vec<Volume>,
    cache_enabled: bool,
    read_faults: ReadFaults,
    pending: BTreeMap<(Nanoseconds, u64), (Token, Outcome)>,
    waiting: VecDeque<Waiting>,
    ordinal: u64,
    staged_since: Option<Nanoseconds>,
    now: Nanoseconds,
    buffer_pages: usize,
    recovery: RecoveryReport,
    stuck: bool,
}

impl<S: Store> Ssd<S> {
    /// Makes a new, empty drive over an erased store. It is there after a failure of the host once a first flush is done.
    ///
    /// # Errors
    /// The first rule that the configuration breaks.
    pub fn create(config: SsdConfig, store: S) -> Result<Self, ConfigError> {
        let geometry = config.checked()?;
        let limits = config.limits(&geometry);
        let timing = config.times.map(|times| Timing::new(&geometry, times));
        let nand = Nand::new(&geometry, store, timing);
        let mut ftl = Ftl::new(geometry, nand, config.tuning, limits);
        let mut first_unit = 0;
        for volume in &config.volumes {
            let per_unit = u64::from(config.geometry.unit_bytes / volume.block_bytes);
            let units = narrow(index(volume.capacity_blocks.div_ceil(per_unit)));
            ftl.volumes.push(VolumeEntry {
                block_bytes: volume.block_bytes,
                metadata_bytes: volume.metadata_bytes,
                first_unit,
                units,
                capacity_blocks: volume.capacity_blocks,
            });
            first_unit += units;
        }
        ftl.counters.power_cycles = 1;
        ftl.write_root(false);
        ftl.nand.sync();
        Ok(Self::assemble(config, ftl, RecoveryReport { clean: true, ..RecoveryReport::default() }))
    }

    /// Opens the drive that a store holds. The volumes are those of the store; the rest of the configuration is as given, and its
    /// geometry must be the one the drive was made with.
    ///
    /// # Errors
    /// What recovery could not read.
    pub fn open(config: SsdConfig, store: S) -> Result<Self, StoreError> {
        Self::open_armed(config, store, None)
    }

    /// As [`Ssd::open`], with the breaker armed for the steps of recovery.
    ///
    /// # Errors
    /// What recovery could not read.
    pub fn open_armed(config: SsdConfig, store: S, arming: Option<Arming>) -> Result<Self, StoreError> {
        let geometry = config.checked().map_err(|error| StoreError::Damaged(error.0))?;
        let limits = config.limits(&geometry);
        let timing = config.times.map(|times| Timing::new(&geometry, times));
        let nand = Nand::new(&geometry, store, timing);
        let (ftl, report) = recover(geometry, nand, config.tuning, limits, arming)?;
        if cfg!(debug_assertions) {
            ftl.assert_invariants();
        }
        Ok(Self::assemble(config, ftl, report))
    }

    fn assemble(config: SsdConfig, ftl: Ftl<S>, recovery: RecoveryReport) -> Self {
        let program_bytes = u64::from(ftl.geometry.units_per_program) << ftl.geometry.unit_shift;
        let mut ssd = Self {
            cache_enabled: config.cache.present && config.cache.enabled,
            buffer_pages: index((config.cache.bytes / program_bytes).max(1)),
            config,
            ftl,
            volumes: Vec::new(),
            read_faults: ReadFaults::default(),
            pending: BTreeMap::new(),
            waiting: VecDeque::new(),
            ordinal: 0,
            staged_since: None,
            now: Nanoseconds(0),
            recovery,
            stuck: false,
        };
        ssd.read_volumes();
        ssd
    }

    fn read_volumes(&mut self) {
        let unit_bytes = narrow(self.ftl.geometry.unit_bytes());
        let stripe = narrow(self.ftl.geometry.stripe_bytes()).max(unit_bytes);
        let atomic = self.config.power_atomic_bytes;
        let of = |entry: &VolumeEntry| VolumeShape {
            block_bytes: entry.block_bytes,
            capacity_blocks: entry.capacity_blocks,
            power_atomic_blocks: (atomic / entry.block_bytes).max(1),
            preferred_blocks: unit_bytes / entry.block_bytes,
            metadata_bytes: entry.metadata_bytes,
            optimal_blocks: stripe / entry.block_bytes,
        };
        self.volumes = self
            .ftl
            .volumes
            .iter()
            .map(|entry| Volume {
                entry: *entry,
                shape: of(entry),
                block_shift: entry.block_bytes.trailing_zeros(),
                mapped_units: self.ftl.mapped_units(entry.first_unit, entry.units),
            })
            .collect();
    }

    /// The translation layer, to look at.
    #[must_use]
    pub const fn ftl(&self) -> &Ftl<S> {
        &self.ftl
    }

    /// The store, to look at what lies under the drive.
    pub fn store(&mut self) -> &mut S {
        &mut self.ftl.nand.store
    }

    /// The breaker, to arm it.
    pub fn breaker(&mut self) -> &mut Breaker {
        &mut self.ftl.nand.power
    }

    /// Faults of reads, to set and lift.
    pub fn read_faults(&mut self) -> &mut ReadFaults {
        &mut self.read_faults
    }

    /// The n-th page program from now on (from 1) fails.
    pub fn fail_program(&mut self, nth: u64) {
        let ordinal = self.ftl.nand.page_programs() + nth;
        self.ftl.nand.faults.programs.insert(ordinal);
    }

    /// The n-th line erase from now on (from 1) fails in a plane.
    pub fn fail_erase(&mut self, nth: u64, plane: u32) {
        let ordinal = self.ftl.nand.line_erases() + nth;
        self.ftl.nand.faults.erases.insert(ordinal, plane);
    }

    /// The state of the drive.
    #[must_use]
    pub fn status(&self) -> SsdStatus {
        let erase_counts = self.ftl.lines.erase_counts();
        let mean_per_cent = erase_counts.sum * 100 / u64::from(erase_counts.lines.max(1));
        SsdStatus {
            ledger: self.ftl.nand.ledger,
            counters: self.ftl.counters,
            percentage_used: u8::try_from(mean_per_cent / u64::from(self.config.rated_erases.max(1))).unwrap_or(255),
            erase_counts,
            available_spare_percent: self.ftl.nand.blocks.available_spare_percent(),
            bad_blocks: narrow(self.ftl.nand.blocks.bad().len()),
            lines: (self.ftl.geometry.lines, self.ftl.lines.free()),
            mapped_units: self.ftl.mapped,
            staged_units: self.ftl.streams[crate::ftl::HOST].staged(),
            spare_per_million_of_user: self.ftl.geometry.spare_per_million_of_user(),
            read_only: self.ftl.read_only,
            recovery: self.recovery,
        }
    }

    /// Shuts the drive down in order: everything is durable and the store says so when the returned ticket is synced (at once for a
    /// store in memory). Nothing may be submitted afterwards.
    pub fn shutdown(&mut self) -> u64 {
        if self.ftl.nand.power.lost() {
            return 0;
        }
        self.ftl.checkpoint_now();
        self.ftl.write_root(true);
        self.staged_since = None;
        let ticket = self.ftl.nand.sync();
        self.ftl.nand.power.cut();
        ticket
    }

    /// Whether the store has done what a ticket stands for.
    ///
    /// # Errors
    /// Where the store is stuck.
    pub fn synced(&mut self, ticket: u64) -> Result<bool, StoreError> {
        self.ftl.nand.store.synced().map(|done| done >= ticket)
    }

    /// Cuts power: the policy decides what the volatile cache leaves behind (with capacitors, everything), and nothing is answered
    /// until [`Ssd::restore`]. Where a breaker tripped before, nothing of the cache survived.
    pub fn cut(&mut self, policy: &CutPolicy) -> CutReport {
        let step = self.ftl.nand.power.tripped_at();
        let mut entries = Vec::new();
        if !self.ftl.nand.power.lost() {
            let policy = if self.config.cache.capacitors { &CutPolicy::AllSurvive } else { policy };
            entries = self.ftl.decide(policy);
            self.ftl.resolve_cache(&entries);
        }
        self.ftl.nand.power.cut();
        self.staged_since = None;
        CutReport { entries, step }
    }

    /// Brings power back: recovers, with the breaker armed for recovery's own steps where asked for. Pending requests are forgotten.
    ///
    /// # Errors
    /// What recovery could not read; the drive then stays without power.
    pub fn restore(&mut self, arming: Option<Arming>) -> Result<RecoveryReport, StoreError> {
        assert!(self.ftl.nand.power.lost(), "power comes back only after it went");
        let store = self.ftl.nand.store.take();
        let mut restored = Self::open_armed(self.config.clone(), store, arming)?;
        restored.read_faults = std::mem::take(&mut self.read_faults);
        restored.now = self.now;
        *self = restored;
        Ok(self.recovery)
    }

    /// Takes the store out of a drive that has lost power or was shut down.
    #[must_use]
    pub fn into_store(self) -> S {
        self.ftl.nand.store
    }

    /// Gives a volume another block format. Everything in it is deallocated; durable when the returned ticket is synced.
    ///
    /// # Errors
    /// The first rule that the format breaks; nothing was done then.
    pub fn reformat(&mut self, volume: VolumeId, block_bytes: u32, metadata_bytes: u32) -> Result<u64, ConfigError> {
        require!((volume.0 as usize) < self.volumes.len(), "there is no volume {}", volume.0);
        let unit_bytes = narrow(self.ftl.geometry.unit_bytes());
        let entry = self.volumes[volume.0 as usize].entry;
        let bytes = entry.capacity_blocks * u64::from(entry.block_bytes);
        let format =
            VolumeConfig { block_bytes, metadata_bytes, capacity_blocks: bytes / u64::from(block_bytes.max(1)) };
        check_volume(volume.0 as usize, &format, unit_bytes)?;
        let room = self.ftl.geometry.config.metadata_bytes_per_unit;
        require!(
            unit_bytes / block_bytes * metadata_bytes <= room,
            "the media has no room for {metadata_bytes} bytes of metadata"
        );
        self.ftl.deallocate(LogicalUnit(entry.first_unit), entry.units);
        self.ftl.commit();
        let capacity_blocks = format.capacity_blocks;
        self.ftl.volumes[volume.0 as usize] = VolumeEntry { block_bytes, metadata_bytes, capacity_blocks, ..entry };
        self.ftl.write_root(false);
        self.read_volumes();
        self.read_faults.heal(volume, LbaRange::new(Lba(0), u64::MAX));
        Ok(self.ftl.nand.sync())
    }
}

struct Zeroes;

impl Source for Zeroes {
    fn fill(&mut self, _offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        into.fill(0);
        Ok(())
    }
}

/// What a finished request waits for.
#[derive(Clone, Copy)]
enum Wait {
    Nothing,
    Until(Nanoseconds),
    Synced,
}

impl<S: Store> Ssd<S> {
    #[inline]
    fn span(&self, volume: usize, range: LbaRange) -> Result<Span, MediaError> {
        let volume = &self.volumes[volume];
        if !range.fits(volume.shape.capacity_blocks) {
            return Err(MediaError::OutOfRange);
        }
        let byte = range.start.0 << volume.block_shift;
        let unit = u32::try_from(byte >> self.ftl.geometry.unit_shift).map_err(|_| MediaError::OutOfRange)?;
        let bytes = usize::try_from(range.blocks << volume.block_shift).map_err(|_| MediaError::OutOfRange)?;
        Ok(Span {
            first: LogicalUnit(volume.entry.first_unit + unit),
            offset: index(byte & (self.ftl.geometry.unit_bytes() as u64 - 1)),
            bytes,
            block_shift: volume.block_shift,
            metadata_bytes: volume.shape.metadata_bytes as usize,
        })
    }

    fn read(&mut self, volume: usize, range: LbaRange, into: &mut dyn Sink, force: bool) -> Result<Wait, MediaError> {
        let span = self.span(volume, range)?;
        let forced = force && self.ftl.has_uncommitted();
        if forced {
            self.ftl.commit();
        }
        if !self.read_faults.is_empty() {
            self.meet_read_faults(volume, range)?;
        }
        self.ftl.nand.reads_finish = self.now;
        self.ftl.read(&span, into).map_err(|error| at(error, range.start))?;
        self.ftl.counters.host_reads += 1;
        self.ftl.counters.host_read_bytes += span.bytes as u64;
        Ok(if forced { Wait::Synced } else { self.until(self.ftl.nand.reads_finish) })
    }

    #[cold]
    fn meet_read_faults(&mut self, volume: usize, range: LbaRange) -> Result<(), MediaError> {
        match self.read_faults.verdict(VolumeId(narrow(volume)), range) {
            ReadVerdict::Readable { corrected } => {
                self.ftl.counters.corrected_reads += corrected;
                Ok(())
            }
            ReadVerdict::Unrecovered(first) => {
                self.ftl.counters.media_errors += 1;
                Err(MediaError::UnrecoveredRead { first })
            }
        }
    }

    fn write(
        &mut self,
        volume: usize,
        range: LbaRange,
        from: &mut dyn Source,
        force: bool,
    ) -> Result<Wait, MediaError> {
        let span = self.span(volume, range)?;
        if range.blocks == 0 {
            return Ok(Wait::Nothing);
        }
        self.check_store()?;
        let grouped = range.blocks <= u64::from(self.volumes[volume].shape.power_atomic_blocks);
        self.ftl.nand.reads_finish = self.now;
        let written = self.ftl.write(&span, from, grouped);
        if let Err(error) = written {
            self.ftl.counters.media_errors += u64::from(error != MediaError::HostMemory);
            return Err(at(error, range.start));
        }
        self.ftl.counters.host_writes += 1;
        self.ftl.counters.host_write_bytes += span.bytes as u64;
        self.accepted(volume, range, force)
    }

    /// What every change ends with: faults of overwritten blocks heal, and durability is arranged for.
    #[inline]
    fn accepted(&mut self, volume: usize, range: LbaRange, force: bool) -> Result<Wait, MediaError> {
        if !self.read_faults.is_empty() {
            self.read_faults.heal(VolumeId(narrow(volume)), range);
        }
        if force || !self.cache_enabled {
            return self.commit();
        }
        if self.staged_since.is_none() {
            self.staged_since = Some(self.now);
        }
        if self.ftl.nand.store.backlogged() {
            return Ok(Wait::Synced);
        }
        if self.ftl.nand.timing.is_none() {
            return Ok(Wait::Nothing);
        }
        let buffered = self.ftl.nand.buffer_free(self.buffer_pages);
        Ok(self.until(buffered.max(self.ftl.nand.reads_finish)))
    }

    fn commit(&mut self) -> Result<Wait, MediaError> {
        self.ftl.nand.power.reached(Step::FlushBegun);
        self.ftl.commit();
        self.staged_since = None;
        self.ftl.nand.power.reached(Step::FlushProgrammed);
        if self.ftl.has_uncommitted() {
            return Err(MediaError::WriteFailed { first: Lba(0) });
        }
        Ok(Wait::Synced)
    }

    /// While the store is stuck nothing new is taken in: memory would fill with what cannot be written.
    fn check_store(&mut self) -> Result<(), MediaError> {
        if self.stuck {
            self.stuck = self.ftl.nand.store.synced().is_err();
        }
        if self.stuck { Err(MediaError::NoSpace) } else { Ok(()) }
    }

    fn deallocate(&mut self, volume: usize, range: LbaRange) -> Result<Wait, MediaError> {
        let span = self.span(volume, range)?;
        if range.blocks == 0 {
            return Ok(Wait::Nothing);
        }
        self.check_store()?;
        self.zero_edges_and_deallocate(volume, range, &span)?;
        self.accepted(volume, range, false)
    }

    /// Whole units leave the map; of units covered in part, the blocks are written with zeroes where the unit holds anything.
    fn zero_edges_and_deallocate(&mut self, volume: usize, range: LbaRange, span: &Span) -> Result<(), MediaError> {
        let shift = self.ftl.geometry.unit_shift;
        let units = span.units(shift);
        let to_end = range.start.0 + range.blocks == self.volumes[volume].shape.capacity_blocks;
        let covers = |n: usize| {
            let part = span.part(n, shift);
            part.bytes == 1 << shift || (part.offset == 0 && to_end && n + 1 == units)
        };
        let first_whole = usize::from(!covers(0));
        let end_whole = if units > 1 && !covers(units - 1) { units - 1 } else { units };
        for n in [0, units - 1] {
            let edge = n < first_whole || n >= end_whole;
            if edge && (n == 0 || units > 1) && self.ftl.mapped_units(span.first.0 + narrow(n), 1) != 0 {
                let part = span.part(n, shift);
                let zeroed = Span { first: part.unit, offset: part.offset, bytes: part.bytes, ..*span };
                self.ftl.write(&zeroed, &mut Zeroes, true).map_err(|error| at(error, range.start))?;
            }
        }
        if end_whole > first_whole {
            self.ftl.deallocate(LogicalUnit(span.first.0 + narrow(first_whole)), narrow(end_whole - first_whole));
        }
        Ok(())
    }

    fn write_zeroes(
        &mut self,
        volume: usize,
        range: LbaRange,
        deallocate: bool,
        force: bool,
    ) -> Result<Wait, MediaError> {
        let span = self.span(volume, range)?;
        let unit_mask = self.ftl.geometry.unit_bytes() - 1;
        let atomic = range.blocks <= u64::from(self.volumes[volume].shape.power_atomic_blocks);
        // One journal entry is as atomic as one group; a mixture of both is not.
        let whole_units = (span.offset | span.bytes) & unit_mask == 0;
        if range.blocks != 0 && deallocate && (whole_units || !atomic) {
            self.check_store()?;
            self.zero_edges_and_deallocate(volume, range, &span)?;
            return self.accepted(volume, range, force);
        }
        self.write(volume, range, &mut Zeroes, force)
    }

    fn until(&self, time: Nanoseconds) -> Wait {
        if time <= self.now { Wait::Nothing } else { Wait::Until(time) }
    }

    fn execute(&mut self, volume: usize, request: Request<'_>) -> Result<Wait, MediaError> {
        if volume >= self.volumes.len() {
            return Err(MediaError::NoSuchVolume);
        }
        let before = self.ftl.mapped;
        let wait = match request {
            Request::Read { range, into, force } => return self.read(volume, range, into, force),
            Request::Flush => return self.flush(),
            Request::Write { range, from, force } => self.write(volume, range, from, force),
            Request::WriteZeroes { range, deallocate, force } => self.write_zeroes(volume, range, deallocate, force),
            Request::Deallocate { range } => self.deallocate(volume, range),
        };
        let mapped = &mut self.volumes[volume].mapped_units;
        *mapped = *mapped + self.ftl.mapped - before;
        wait
    }

    fn flush(&mut self) -> Result<Wait, MediaError> {
        self.check_store()?;
        self.commit()
    }

    #[inline]
    fn answer(&mut self, token: Token, ended: Result<Wait, MediaError>) -> Submitted {
        if self.ftl.nand.power.lost() {
            return Submitted::Done(Err(MediaError::PowerLost));
        }
        match ended {
            Ok(Wait::Nothing) => Submitted::Done(Ok(())),
            Err(error) => Submitted::Done(Err(error)),
            Ok(Wait::Until(time)) => self.pend(time, token, Ok(())),
            Ok(Wait::Synced) => self.await_sync(token),
        }
    }

    fn pend(&mut self, time: Nanoseconds, token: Token, outcome: Outcome) -> Submitted {
        self.ordinal += 1;
        self.pending.insert((time, self.ordinal), (token, outcome));
        Submitted::Pending
    }

    fn await_sync(&mut self, token: Token) -> Submitted {
        let ticket = self.ftl.nand.sync();
        self.ftl.nand.power.reached(Step::FlushSynced);
        if self.ftl.nand.power.lost() {
            return Submitted::Done(Err(MediaError::PowerLost));
        }
        let ready = self.ftl.nand.programs_finish.max(self.ftl.nand.reads_finish);
        match self.ftl.nand.store.synced() {
            Ok(done) if done >= ticket && ready <= self.now => Submitted::Done(Ok(())),
            Ok(done) if done >= ticket => self.pend(ready, token, Ok(())),
            Ok(_) => {
                self.waiting.push_back(Waiting { ticket, ready, token });
                Submitted::Pending
            }
            Err(error) => {
                self.stuck = true;
                Submitted::Done(Err(of_store(&error)))
            }
        }
    }

    /// Moves requests whose sync is done (or has failed) to those that only wait for their time.
    fn collect_synced(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let (done, failed) = match self.ftl.nand.store.synced() {
            Ok(done) => (done, None),
            Err(error) => (u64::MAX, Some(of_store(&error))),
        };
        self.stuck |= failed.is_some();
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.ticket <= done) {
            self.pend(waiting.ready, waiting.token, failed.map_or(Ok(()), Err));
        }
    }

    /// Programs what has waited in the cache for too long.
    fn destage_old(&mut self) {
        let due = self.staged_since.map(|since| since.plus(self.config.cache.age_max));
        if due.is_some_and(|due| due <= self.now) && !self.ftl.nand.power.lost() {
            self.ftl.commit();
            self.ftl.release_drained();
            self.staged_since = None;
        }
    }

    /// Without power nothing pending ends well.
    fn fail_all_pending(&mut self) {
        let tokens: Vec<_> = self.pending.values().map(|(token, _)| *token).collect();
        let waiting = self.waiting.drain(..).map(|waiting| waiting.token);
        let all: Vec<_> = tokens.into_iter().chain(waiting).collect();
        self.pending.clear();
        for token in all {
            self.pend(self.now, token, Err(MediaError::PowerLost));
        }
    }
}

/// An error of the translation layer, which knows no blocks, named by the request's first block.
fn at(error: MediaError, first: Lba) -> MediaError {
    match error {
        MediaError::WriteFailed { .. } => MediaError::WriteFailed { first },
        MediaError::UnrecoveredRead { .. } => MediaError::UnrecoveredRead { first },
        other => other,
    }
}

fn of_store(error: &StoreError) -> MediaError {
    match error {
        StoreError::NoSpace => MediaError::NoSpace,
        StoreError::Failed(_) | StoreError::Damaged(_) => MediaError::Internal,
    }
}

impl<S: Store> Media for Ssd<S> {
    fn shape(&self, volume: VolumeId) -> Option<VolumeShape> {
        self.volumes.get(volume.0 as usize).map(|volume| volume.shape)
    }

    fn allocated_blocks(&self, volume: VolumeId) -> u64 {
        let Some(volume) = self.volumes.get(volume.0 as usize) else {
            return 0;
        };
        let blocks = volume.mapped_units * u64::from(volume.shape.preferred_blocks);
        blocks.min(volume.shape.capacity_blocks)
    }

    fn write_cache(&self) -> Option<bool> {
        self.config.cache.present.then_some(self.cache_enabled)
    }

    fn set_write_cache(&mut self, now: Nanoseconds, token: Token, enabled: bool) -> Submitted {
        self.now = now;
        self.ftl.nand.now = now;
        if self.ftl.nand.power.lost() {
            return Submitted::Done(Err(MediaError::PowerLost));
        }
        let switched_off = self.cache_enabled && !enabled;
        self.cache_enabled = enabled && self.config.cache.present;
        if !switched_off {
            return Submitted::Done(Ok(()));
        }
        let ended = self.flush();
        self.answer(token, ended)
    }

    fn submit(&mut self, now: Nanoseconds, token: Token, volume: VolumeId, request: Request<'_>) -> Submitted {
        self.now = now;
        self.ftl.nand.now = now;
        if self.ftl.nand.power.reached(Step::RequestTaken) {
            return Submitted::Done(Err(MediaError::PowerLost));
        }
        let ended = self.execute(volume.0 as usize, request);
        self.answer(token, ended)
    }

    fn poll(&mut self, now: Nanoseconds, outcome: &mut dyn FnMut(Token, Outcome)) {
        self.now = now;
        self.ftl.nand.now = now;
        self.destage_old();
        self.collect_synced();
        if self.ftl.nand.power.lost() && !(self.pending.is_empty() && self.waiting.is_empty()) {
            self.fail_all_pending();
        }
        while let Some(entry) = self.pending.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let (token, ended) = entry.remove();
            outcome(token, ended);
        }
    }

    fn cancel(&mut self, token: Token) -> bool {
        let before = self.pending.len() + self.waiting.len();
        self.pending.retain(|_, (pending, _)| *pending != token);
        self.waiting.retain(|waiting| waiting.token != token);
        self.pending.len() + self.waiting.len() < before
    }

    fn next_event(&self) -> Option<Nanoseconds> {
        let due = self.pending.first_key_value().map(|(key, _)| key.0);
        let destage = self.staged_since.map(|since| since.plus(self.config.cache.age_max));
        // A request that waits for the host's disk may be done at any time: looking again now is the only answer.
        let disk = (!self.waiting.is_empty()).then_some(self.now);
        [due, destage, disk].into_iter().flatten().min()
    }
}
