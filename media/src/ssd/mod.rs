//! The solid-state drive: volumes over one translation layer, and the answers to requests. Owns the placement of volumes, the write
//! cache's switch, and outcomes that are not due yet. Knows nothing of NVMe or virtio.

use std::collections::BTreeMap;

mod cut;
pub mod examine;
mod fast_path;
mod forkable;
pub mod images;
mod manage;
mod misbehave;
mod monitor;
mod patrol;
mod pieces;
mod request;
mod saved;

pub use crate::config::{CacheConfig, SsdConfig, VolumeConfig};
pub use crate::monitor::SsdStatus;
pub use examine::Findings;
pub use forkable::Forkable;
pub use images::Images;
use patrol::Patrol;

use crate::fault::{NandFaults, ReadFaults};
use crate::ftl::{CacheLimits, Ftl};
use crate::geometry::ConfigError;
use crate::monitor::Monitor;
use crate::nand::Nand;
use crate::nand::timing::Timing;
use crate::ordering::Order;
use crate::power::mutation::{Mutation, mutated};
use crate::power::{Arming, Breaker, Power, PowerAtomicity, RecoveryReport, Step};
use crate::recover::{Purpose, Unrecovered, recover};
use crate::root::VolumeEntry;
use crate::store::{Store, StoreError};
use crate::unit::{Lba, LbaRange, Nanoseconds, index, narrow};
use crate::volume::{
    EraseSpread, FastPath, Health, Media, MediaError, Outcome, Request, Space, Submitted, Token, VolumeId, VolumeShape,
};
use crate::warning::{WarningKind, Warnings};

struct Volume {
    entry: VolumeEntry,
    shape: VolumeShape,
    block_shift: u32,
    mapped_units: u64,
    /// What is promised of its writes across a power loss.
    promise: PowerAtomicity,
}

impl Volume {
    /// log2 of its block's bytes.
    fn shift(entry: &VolumeEntry) -> u32 {
        if entry.exists() { entry.block_bytes.trailing_zeros() } else { 0 }
    }
}

struct Waiting {
    ready: Nanoseconds,
    token: Token,
}

/// Where a request waits.
enum Place {
    /// In `pending`, under its time and its number.
    Due(Nanoseconds, u64),
    /// In `waiting`, under its ticket and its number.
    Ticket(u64, u64),
}

/// A drive over a store.
pub struct Ssd<S: Store> {
    ftl: Ftl<S>,
    config: SsdConfig,
    volumes: Vec<Volume>,
    cache_enabled: bool,
    read_faults: ReadFaults,
    pending: BTreeMap<(Nanoseconds, u64), (Token, Outcome)>,
    /// By ticket and number.
    waiting: BTreeMap<(u64, u64), Waiting>,
    /// Where those of both are.
    places: BTreeMap<Token, Place>,
    ordinal: u64,
    staged_since: Option<Nanoseconds>,
    /// When data becomes durable that was reported durable before: a misbehaving drive.
    late_commit: Option<Nanoseconds>,
    now: Nanoseconds,
    buffer_pages: usize,
    recovery: RecoveryReport,
    /// The store is stuck: the outcome of new requests until it recovers.
    stuck: Option<MediaError>,
    /// What is wrong, or was.
    warnings: Warnings,
    /// How much of the store's current trouble is already in it.
    troubles: u64,
    /// How much of the damage found is already in it.
    damage_told: u64,
    /// The warning that memory is full is active.
    memory_warned: bool,
    /// Power was lost, and the store is damaged.
    beyond_recovery: Option<StoreError>,
    /// What survived the last power loss and is not made yet, because the store could not be read.
    unmade: Vec<cut::Remnant>,
    /// The last power loss was resolved.
    resolved: bool,
    /// What was lost then, where nothing of it survived.
    loss: Option<cut::Loss>,
    patrol: Patrol,
    purging: Option<manage::Purging>,
    /// The store says that the drive was quiesced.
    quiesced: bool,
}

impl<S: Store> Ssd<S> {
    /// Makes a new, empty drive over an erased store. It survives a failure of the host once a first flush is done.
    ///
    /// # Errors
    /// The first rule that the configuration breaks; that the system has no memory for such a drive.
    pub fn create(config: SsdConfig, store: S) -> Result<Self, ConfigError> {
        let geometry = config.checked()?;
        let limits = CacheLimits::new(&config.cache, &geometry);
        let timing = config.times.map(|times| Timing::new(&geometry, times));
        let nand = Nand::new(&geometry, store, timing)?;
        let mut ftl = Ftl::new(geometry, nand, config.tuning, limits)?;
        let mut next = 0;
        for (number, volume) in (0..).zip(&config.volumes) {
            let first_unit = if ftl.geometry.window_units == 0 { next } else { ftl.geometry.window(number).0 };
            let units = narrow(index(volume.units(config.geometry.unit_bytes)));
            ftl.volumes.push(VolumeEntry {
                block_bytes: volume.block_bytes,
                metadata_bytes: volume.metadata_bytes,
                first_unit,
                units,
                capacity_blocks: volume.capacity_blocks,
            });
            next += units;
        }
        ftl.note.clone_from(&config.note);
        ftl.counters.power_cycles = 1;
        ftl.write_root(false);
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
        Self::open_with(config, store, &Breaker::default(), arming).map_err(|unrecovered| unrecovered.error)
    }

    fn open_with(config: SsdConfig, store: S, power: &Breaker, arming: Option<Arming>) -> Result<Self, Unrecovered<S>> {
        let geometry = match config.checked() {
            Ok(geometry) => geometry,
            Err(error) => return Err(Unrecovered { error: StoreError::Refused(error.0), store: Some(store) }),
        };
        let limits = CacheLimits::new(&config.cache, &geometry);
        let timing = config.times.map(|times| Timing::new(&geometry, times));
        let mut nand = Nand::new(&geometry, store, timing)?;
        nand.power = power.clone();
        let (ftl, report) =
            recover(geometry, nand, config.tuning, limits, Purpose::Use(arming, config.misbehaviour.stale_map))?;
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
            waiting: BTreeMap::new(),
            places: BTreeMap::new(),
            ordinal: 0,
            staged_since: None,
            late_commit: None,
            now: Nanoseconds(0),
            recovery,
            stuck: None,
            warnings: Warnings::default(),
            troubles: 0,
            damage_told: 0,
            memory_warned: false,
            beyond_recovery: None,
            unmade: Vec::new(),
            resolved: false,
            loss: None,
            patrol: Patrol::default(),
            purging: None,
            quiesced: false,
        };
        ssd.read_volumes();
        ssd
    }

    fn read_volumes(&mut self) {
        let of = |entry: &VolumeEntry| {
            let shape = self.shape_of_entry(entry);
            Volume {
                entry: *entry,
                shape,
                block_shift: Volume::shift(entry),
                mapped_units: self.ftl.mapped_units(entry.first_unit, entry.units),
                promise: PowerAtomicity::anywhere(u64::from(shape.power_atomic_blocks)),
            }
        };
        self.volumes = self.ftl.volumes.iter().map(of).collect();
    }

    /// The translation layer, for inspection.
    #[must_use]
    pub const fn ftl(&self) -> &Ftl<S> {
        &self.ftl
    }

    /// The store below the drive, for inspection.
    pub fn store(&mut self) -> &mut S {
        &mut self.ftl.nand.store
    }

    /// A handle to the breaker.
    #[must_use]
    pub fn breaker(&self) -> Breaker {
        self.ftl.nand.power.clone()
    }

    /// The configuration that the drive was made from.
    #[must_use]
    pub const fn config(&self) -> &SsdConfig {
        &self.config
    }

    /// Faults of programs and erases to come.
    pub(crate) fn nand_faults(&mut self) -> &mut NandFaults {
        &mut self.ftl.nand.faults
    }

    /// The blocks with flipped bits.
    pub(crate) const fn flipped_bits(&self) -> &ReadFaults {
        &self.read_faults
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
        let written = self.ftl.counters.host_write_bytes;
        SsdStatus {
            ledger: self.ftl.nand.ledger,
            counters: self.ftl.counters,
            percentage_used: self.config.endurance.percentage_used(erase_counts.sum, erase_counts.lines, written),
            erase_counts,
            available_spare_percent: self.ftl.nand.blocks.available_spare_percent(),
            bad_blocks: narrow(self.ftl.nand.blocks.bad().len()),
            lines: (self.ftl.geometry.lines, self.ftl.lines.free()),
            mapped_units: self.ftl.mapped,
            staged_units: self.ftl.streams[crate::ftl::HOST].staged(),
            spare_per_million_of_user: self.ftl.geometry.spare_per_million_of_user(),
            read_only: self.ftl.read_only,
            memory_full: self.ftl.is_memory_full(),
            recovery: self.recovery,
        }
    }

    /// What is wrong with it, or was; finders of damage add to it.
    pub const fn warnings_mut(&mut self) -> &mut Warnings {
        &mut self.warnings
    }

    /// Records the store's warnings about what it lies on.
    fn heed_store(&mut self) {
        if S::STAYS {
            return self.heed_memory();
        }
        let trouble = self.ftl.nand.store.trouble();
        if trouble.is_none() && self.troubles == 0 {
            return;
        }
        let kind = trouble.as_ref().map(|trouble| trouble.error.warning());
        for other in [WarningKind::HostDiskFull, WarningKind::HostDiskFailed] {
            if kind != Some(other) {
                self.warnings.end(other, self.now);
            }
        }
        let times = trouble.as_ref().map_or(0, |trouble| trouble.times);
        if let Some(trouble) = trouble.filter(|trouble| trouble.times != self.troubles) {
            let more = trouble.times.checked_sub(self.troubles).unwrap_or(trouble.times);
            self.warnings.meet_times(trouble.error.warning(), more, self.now, trouble.error.to_string());
        }
        self.troubles = times;
    }

    /// Records that `memory_max` was reached, or no longer is.
    #[inline]
    fn heed_memory(&mut self) {
        if self.ftl.memory_reserve == 0 || self.ftl.is_memory_full() == self.memory_warned {
            return;
        }
        self.memory_warned = !self.memory_warned;
        if self.memory_warned {
            let detail =
                "the drive holds as much data as memory_max allows: writes of new blocks end with Capacity Exceeded";
            self.warnings.meet(WarningKind::MemoryFull, self.now, detail);
        } else {
            self.warnings.end(WarningKind::MemoryFull, self.now);
        }
    }

    /// Shuts the drive down cleanly: everything is durable and the store says so when the returned ticket is synced (at once for a
    /// store in memory). Nothing may be submitted afterwards. What a read-only drive could not program is lost, and the store does not
    /// say that the shutdown was clean.
    pub fn shutdown(&mut self) -> u64 {
        if self.ftl.nand.power.lost() {
            return 0;
        }
        self.settle();
        let ticket = self.ftl.nand.sync(Order::EndAfterSync);
        self.ftl.nand.power.cut();
        ticket
    }

    /// Makes everything durable, and the store say so, as [`Ssd::shutdown`] does; the drive goes on.
    fn settle(&mut self) {
        self.ftl.checkpoint_now();
        self.ftl.write_root(!self.ftl.has_uncommitted());
        self.staged_since = None;
    }

    /// Whether the store has done what a ticket stands for.
    ///
    /// # Errors
    /// Where the store is stuck.
    pub fn synced(&mut self, ticket: u64) -> Result<bool, StoreError> {
        self.ftl.nand.store.synced().map(|done| done >= ticket)
    }

    /// Takes the store out of a drive that has lost power or was shut down.
    #[must_use]
    pub fn into_store(self) -> S {
        self.ftl.nand.store
    }
}

impl<S: Store> Media for Ssd<S> {
    fn shape(&self, volume: VolumeId) -> Option<VolumeShape> {
        self.volumes.get(volume.0 as usize).map(|volume| volume.shape).filter(|shape| shape.capacity_blocks != 0)
    }

    fn space(&self) -> Option<Space> {
        Some(self.space_of())
    }

    fn note(&self) -> Vec<u8> {
        self.ftl.note.clone()
    }

    fn stale(&self) -> u64 {
        self.stale_parts()
    }

    fn allocated_blocks(&self, volume: VolumeId) -> u64 {
        let Some(volume) = self.volumes.get(volume.0 as usize) else {
            return 0;
        };
        let blocks = volume.mapped_units * u64::from(volume.shape.preferred_blocks);
        blocks.min(volume.shape.capacity_blocks)
    }

    fn next_allocated(&self, volume: VolumeId, range: LbaRange) -> Option<Lba> {
        let volume = self.volumes.get(volume.0 as usize).filter(|volume| volume.entry.exists())?;
        let per_unit = u64::from(volume.shape.preferred_blocks);
        let unit =
            |block: u64| volume.entry.first_unit + narrow(index(block.min(volume.shape.capacity_blocks) / per_unit));
        let end = range.start.0.saturating_add(range.blocks).saturating_add(per_unit - 1);
        let found =
            self.ftl.first_mapped(unit(range.start.0), unit(end).min(volume.entry.first_unit + volume.entry.units))?;
        Some(Lba((u64::from(found - volume.entry.first_unit) * per_unit).max(range.start.0)))
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
        if !switched_off || mutated(Mutation::CacheSwitch) {
            return Submitted::Done(Ok(()));
        }
        let ended = self.check_store().and_then(|()| self.commit());
        self.answer(token, ended)
    }

    fn health(&self) -> Health {
        let SsdStatus { ledger, counters, erase_counts, percentage_used, available_spare_percent, .. } = self.status();
        Health {
            power_cycles: counters.power_cycles,
            unsafe_shutdowns: counters.unsafe_shutdowns,
            read_bytes: counters.host_read_bytes,
            written_bytes: counters.host_write_bytes,
            reads: counters.host_reads,
            writes: counters.host_writes,
            media_errors: counters.media_errors,
            damage_found: self.ftl.integrity.all(),
            percentage_used,
            available_spare_percent: u8::try_from(available_spare_percent).unwrap_or(100),
            endurance_bytes: self.config.endurance.bytes(self.ftl.geometry.config.raw_bytes()),
            programmed_bytes: ledger.programs,
            bad_blocks: self.ftl.nand.blocks.bad().len() as u64,
            erases: EraseSpread {
                fewest: erase_counts.least.into(),
                most: erase_counts.most.into(),
                total: erase_counts.sum,
                lines: erase_counts.lines.into(),
            },
            read_only: self.ftl.read_only,
            degraded: self.warnings.standing().next().is_some(),
        }
    }

    fn warnings(&self) -> &Warnings {
        &self.warnings
    }

    fn submit(&mut self, now: Nanoseconds, token: Token, volume: VolumeId, request: Request<'_>) -> Submitted {
        self.now = now;
        self.ftl.nand.now = now;
        if self.ftl.reached(Step::RequestTaken) {
            return Submitted::Done(Err(MediaError::PowerLost));
        }
        let ended = self.execute(volume.0 as usize, request);
        self.answer(token, ended)
    }

    fn fast_path(&mut self, now: Nanoseconds) -> Option<&mut dyn FastPath> {
        let special = self.ftl.nand.power.attentive() || self.ftl.nand.timing.is_some() || !self.read_faults.is_empty();
        if special {
            return None;
        }
        self.now = now;
        self.ftl.nand.now = now;
        Some(self)
    }

    fn poll(&mut self, now: Nanoseconds, outcome: &mut dyn FnMut(Token, Outcome)) {
        self.now = now;
        self.ftl.nand.now = now;
        self.commit_late();
        self.destage_old();
        self.give_memory_back();
        self.collect_synced();
        self.heed_store();
        self.go_on_patrol();
        self.heed_damage();
        if self.ftl.nand.power.lost() && !(self.pending.is_empty() && self.waiting.is_empty()) {
            self.fail_all_pending();
        }
        while let Some(entry) = self.pending.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let (token, ended) = entry.remove();
            self.places.remove(&token);
            outcome(token, ended);
        }
    }

    fn cancel(&mut self, token: Token) -> bool {
        match self.places.remove(&token) {
            Some(Place::Due(time, ordinal)) => self.pending.remove(&(time, ordinal)).is_some(),
            Some(Place::Ticket(ticket, ordinal)) => self.waiting.remove(&(ticket, ordinal)).is_some(),
            None => false,
        }
    }

    fn power(&mut self) -> Option<&mut dyn Power> {
        Some(self)
    }

    fn next_event(&self) -> Option<Nanoseconds> {
        let due = self.pending.first_key_value().map(|(key, _)| key.0);
        let age_max = self.config.cache.age_max;
        let destage = self.staged_since.map(|since| since.plus(age_max)).filter(|due| due.0 != u64::MAX);
        // What waits for the host's disk has no time: the store's waker says when to look again.
        let soon = Nanoseconds::earliest(Nanoseconds::earliest(due, destage), self.late_commit);
        let excess = self.ftl.nand.store.excessive().then_some(self.now);
        Nanoseconds::earliest(soon, Nanoseconds::earliest(self.patrol_due(), excess))
    }

    fn monitor(&mut self) -> Option<&mut dyn Monitor> {
        Some(self)
    }
}
