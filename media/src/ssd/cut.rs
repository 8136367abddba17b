//! Resolves a power loss: what survives of the volatile cache, and the drive that is left. Does not know why power was cut.
//!
//! What was programmed when power went is in the store, and nothing else is. What else survives is written to the drive that recovers
//! from the store, in the order in which the host wrote it. So every state that the contract allows can be made, block by block, and
//! recovery itself meets exactly what a real loss leaves.

use super::pieces::{Disposal, Division, Survival, Terms, fate};
use super::saved::Saved;
use super::{Ssd, Volume};
use crate::ftl::Ftl;
use crate::ftl::cut::Held;
use crate::ftl::write::Span;
use crate::large_memory::copied;
use crate::monitor::{Finder, Monitor};
use crate::nand::Nand;
use crate::needs::Needs;
use crate::ordering::Order;
use crate::power::{
    Arming, Breaker, ChangeKind, Cut, CutPolicy, CutReport, Fate, Mark, Power, PowerAtomicity, Random, RecoveryReport,
    VolatileEntry,
};
use crate::recover::{Purpose, Unrecovered, recover};
use crate::root::VolumeEntry;
use crate::store::{Expected, Store, StoreError};
use crate::unit::{Lba, LbaRange, LogicalUnit, Nanoseconds, index, narrow};
use crate::volume::VolumeId;

/// An entry of the cache with what it holds.
pub(super) struct Backup {
    held: Held,
    first_block: u64,
    span: Span,
    saved: Saved,
    /// All of it could be read.
    readable: bool,
    /// The most blocks that are written as one group.
    group_blocks: u64,
}

/// A change to make once the drive has recovered.
pub(super) enum Remnant {
    /// Where and what, or nothing to make the blocks uncorrectable; and whether as one group.
    Write(Span, Option<Saved>, bool),
    Deallocation(Held),
    /// What could not be read.
    Unreadable,
}

/// What was volatile when power went, and how it can be divided.
pub(super) struct Loss {
    pub(super) entries: Vec<VolatileEntry>,
    pub(super) division: Division,
    backups: Vec<Backup>,
    unit_bytes: usize,
}

impl Loss {
    /// What is to be made of what survives, in the order in which the host made it.
    pub(super) fn remnants(&self, disposals: &[Disposal]) -> Vec<Remnant> {
        let surviving = disposals.iter().filter(|disposal| disposal.survival != Survival::Lost);
        surviving.map(|disposal| self.backups[disposal.entry].remnant(disposal, self.unit_bytes)).collect()
    }

    /// The entries with their fates.
    pub(super) fn fates(&self, disposals: &[Disposal]) -> Vec<VolatileEntry> {
        let with_fate = |(number, entry): (usize, &VolatileEntry)| VolatileEntry {
            fate: fate(number, entry.range, disposals),
            ..entry.clone()
        };
        self.entries.iter().enumerate().map(with_fate).collect()
    }
}

impl Backup {
    fn remnant(&self, disposal: &Disposal, unit_bytes: usize) -> Remnant {
        if self.held.deallocates() {
            return Remnant::Deallocation(self.held.clone());
        }
        if !self.readable {
            return Remnant::Unreadable;
        }
        let Span { block_shift, metadata_bytes, .. } = self.span;
        let (skip, blocks) = (index(disposal.range.start.0 - self.first_block), index(disposal.range.blocks));
        let (from, bytes) = (skip << block_shift, blocks << block_shift);
        let byte = self.span.offset + from;
        let first = LogicalUnit(self.span.first.0 + narrow(byte / unit_bytes));
        let grouped = disposal.range.blocks <= self.group_blocks;
        let span = Span { first, offset: byte % unit_bytes, bytes, ..self.span };
        if self.held.tag.uncorrectable && disposal.survival == Survival::Survives {
            return Remnant::Write(span, None, grouped);
        }
        let metadata = &self.saved.metadata[skip * metadata_bytes..(skip + blocks) * metadata_bytes];
        let (Ok(data), Ok(metadata)) = (copied(&self.saved.data[from..from + bytes]), copied(metadata)) else {
            return Remnant::Unreadable;
        };
        let mut saved = Saved::new(data, metadata);
        if let Survival::Mangled(seed) = disposal.survival {
            let mut random = Random::new(seed);
            for word in saved.data.chunks_mut(8).chain(saved.metadata.chunks_mut(8)) {
                let drawn = random.draw().to_le_bytes();
                word.copy_from_slice(&drawn[..word.len()]);
            }
        }
        Remnant::Write(span, Some(saved), grouped)
    }
}

impl<S: Store> Ssd<S> {
    /// What would be lost if power went now and nothing of it survived, oldest first.
    #[must_use]
    pub fn volatile(&self) -> Vec<VolatileEntry> {
        self.ftl.volatile().iter().filter(|held| self.is_of_host(held)).map(|held| self.entry(held)).collect()
    }

    /// Whether a volume has it: what a damaged map pointed at was given up without anybody's request.
    fn is_of_host(&self, held: &Held) -> bool {
        self.volumes.iter().any(|volume| {
            let VolumeEntry { first_unit, units, .. } = volume.entry;
            (first_unit..first_unit + units).contains(&held.first.0)
        })
    }

    fn entry(&self, held: &Held) -> VolatileEntry {
        let holds = |volume: &Volume| volume.entry.first_unit <= held.first.0;
        let volume = self.volumes.iter().rposition(holds).expect("a unit that was written lies in a volume");
        let of = &self.volumes[volume];
        let byte = (u64::from(held.first.0 - of.entry.first_unit) << self.ftl.geometry.unit_shift) + held.offset as u64;
        let start = byte >> of.block_shift;
        let blocks = ((held.bytes >> of.block_shift) as u64).min(of.shape.capacity_blocks.saturating_sub(start));
        let range = LbaRange::new(Lba(start), blocks);
        VolatileEntry {
            mark: if held.tag.mark.queue() == 0 { Mark::NONE } else { held.tag.mark },
            kind: match held.tag.uncorrectable {
                _ if held.deallocates() => ChangeKind::Deallocation,
                true => ChangeKind::Uncorrectable,
                false => ChangeKind::Write,
            },
            volume: VolumeId(narrow(volume)),
            range,
            sequence: held.sequence,
            atomic: held.deallocates() || (!held.tag.loose && of.promise.pieces(range).len() == 1),
            complete: held.complete,
            fate: Fate::Lost,
        }
    }

    /// Cuts power: see [`Power::cut`]. With capacitors everything survives that was in the cache.
    pub fn cut(&mut self, cut: &Cut) -> CutReport {
        let capacitors = Cut::from(CutPolicy::AllSurvive);
        let cut = if self.config.cache.capacitors { &capacitors } else { cut };
        let first = !std::mem::replace(&mut self.resolved, true);
        let loss = self.lose_power(cut);
        let mut disposals = loss.division.dispose(&loss.division.draw(&cut.policy));
        let remnants = loss.remnants(&disposals);
        let untouched = remnants.is_empty();
        // Where the store cannot be read now they are made before power comes back.
        if !remnants.is_empty()
            && let Ok(made) = self.repeat(remnants)
        {
            lose_rest(&mut disposals, made);
        }
        let (step, mark) = (self.ftl.nand.power.tripped_at(), self.ftl.nand.power.tripped_in());
        let entries = loss.fates(&disposals);
        if first {
            // While the store is as power left it, every image of the loss can be made.
            self.loss = untouched.then_some(loss);
        }
        CutReport { step, mark, entries }
    }

    /// Cuts power if that did not happen before; returns what was volatile then. Only once: after that nothing is.
    pub(super) fn lose_power(&mut self, cut: &Cut) -> Loss {
        let mut held = self.ftl.frozen.take().unwrap_or_else(|| self.ftl.volatile());
        held.retain(|held| self.is_of_host(held));
        self.ftl.frozen = Some(Vec::new());
        self.ftl.nand.power.cut();
        (self.staged_since, self.late_commit) = (None, None);
        let entries: Vec<_> = held.iter().map(|held| self.entry(held)).collect();
        let promises: Vec<_> = self.volumes.iter().map(|volume| volume.promise).collect();
        let terms = Terms {
            tear: cut.tear,
            profile: cut.profile,
            shorn: self.config.misbehaviour.shorn_write,
            interrupted: self.ftl.nand.power.tripped_in(),
            promises: &promises,
        };
        let division = Division::new(&entries, &held, &terms);
        let backups = held.into_iter().zip(&entries).map(|(held, entry)| self.save(held, entry)).collect();
        Loss { entries, division, backups, unit_bytes: self.ftl.geometry.unit_bytes() }
    }

    /// Recovers quietly, makes the changes, and lets go of everything but the store; says how many of them it could make. Where it cannot
    /// recover they are kept.
    ///
    /// # Errors
    /// The store cannot be read, or is not what was written any more.
    fn repeat(&mut self, mut remnants: Vec<Remnant>) -> Result<usize, StoreError> {
        let (store, geometry) = (self.ftl.nand.store.take(), self.ftl.geometry.clone());
        let recovered = Nand::new(&geometry, store, None)
            .map_err(Unrecovered::from)
            .and_then(|nand| recover(geometry, nand, self.config.tuning, self.ftl.limits, Purpose::Cut));
        match recovered {
            Ok((mut ftl, _)) => {
                let made = make(&mut ftl, &mut remnants);
                ftl.nand.sync(Order::SurvivorsSync);
                self.ftl.nand.store = ftl.nand.store;
                // Made again, all of them make the same.
                ftl.unread.map_or(Ok(made), |error| {
                    self.unmade = remnants;
                    Err(error)
                })
            }
            Err(unrecovered) => {
                let refused = matches!(unrecovered.error, StoreError::Refused(_));
                assert!(S::CHECKS || refused, "the drive cannot recover from its own log: {}", unrecovered.error);
                self.unmade = remnants;
                Err(self.put_back(unrecovered))
            }
        }
    }

    /// A drive that could not be brought back is as it was: it can be tried again, unless its store is gone.
    fn put_back(&mut self, unrecovered: Unrecovered<S>) -> StoreError {
        match unrecovered.store {
            Some(store) => self.ftl.nand.store = store,
            None => self.beyond_recovery = Some(unrecovered.error.clone()),
        }
        unrecovered.error
    }

    /// Copies a held write out of the cache.
    fn save(&mut self, held: Held, entry: &VolatileEntry) -> Backup {
        let volume = &self.volumes[entry.volume.0 as usize];
        let (block_shift, metadata_bytes) = (volume.block_shift, volume.shape.metadata_bytes as usize);
        let group_blocks = u64::from(volume.shape.power_atomic_blocks);
        let span = Span { first: held.first, offset: held.offset, bytes: held.bytes, block_shift, metadata_bytes };
        let bytes = if held.deallocates() { 0 } else { held.bytes };
        let mut saved = Saved::default();
        let mut readable = saved.extend(&Span { bytes, ..span }).is_ok();
        let (unit_bytes, of) = (self.ftl.geometry.unit_bytes(), |bytes: usize| (bytes >> block_shift) * metadata_bytes);
        let mut done = 0;
        while readable && done < bytes {
            let byte = held.offset + done;
            let (position, within) = (byte / unit_bytes, byte % unit_bytes);
            let count = (unit_bytes - within).min(bytes - done);
            let (place, uncorrectable) = held.places[position];
            let expected = Expected { unit: LogicalUnit(held.first.0 + narrow(position)), uncorrectable };
            // A line that was closed may have left memory before all of it was committed.
            let Ok(unit) = self.ftl.load_sound(place, expected, Finder::Collection) else {
                readable = false;
                continue;
            };
            saved.data[done..done + count].copy_from_slice(&unit.data[within..within + count]);
            let metadata = &self.ftl.scratch[unit_bytes + of(within)..][..of(count)];
            saved.metadata[of(done)..of(done + count)].copy_from_slice(metadata);
            done += count;
        }
        Backup { held, first_block: entry.range.start.0, span, saved, readable, group_blocks }
    }

    /// Gives a drive that was made from the store what does not lie there.
    pub(super) fn hand_over<T: Store>(&mut self, restored: &mut Ssd<T>) {
        let faults = Monitor::faults(self);
        restored.read_faults = std::mem::take(&mut self.read_faults);
        restored.ftl.integrity = std::mem::take(&mut self.ftl.integrity);
        restored.ftl.damaged_places = std::mem::take(&mut self.ftl.damaged_places);
        restored.patrol = self.patrol;
        faults.programs.into_iter().for_each(|nth| restored.fail_program(nth));
        faults.erases.into_iter().for_each(|(nth, plane)| restored.fail_erase(nth, plane));
        for (volume, old) in restored.volumes.iter_mut().zip(&self.volumes) {
            volume.promise = old.promise;
        }
        restored.now = Nanoseconds(self.now.0);
        restored.memory_warned = self.memory_warned;
        (restored.warnings, restored.troubles) = (std::mem::take(&mut self.warnings), self.troubles);
        restored.damage_told = self.damage_told;
    }

    /// Brings power back: see [`Power::restore`].
    ///
    /// # Errors
    /// What recovery could not read; the drive then stays without power, and can be asked again.
    ///
    /// # Panics
    /// Where power is there.
    pub fn restore(&mut self, arming: Option<Arming>) -> Result<RecoveryReport, StoreError> {
        assert!(self.ftl.nand.power.lost(), "power comes back only after it went");
        if let Some(error) = &self.beyond_recovery {
            return Err(error.clone());
        }
        // Before the store changes hands: a drive without power can be asked again.
        Needs::of_layer(&self.ftl.geometry).probe().map_err(|lack| StoreError::Refused(lack.to_string()))?;
        if !self.unmade.is_empty() {
            let unmade = std::mem::take(&mut self.unmade);
            self.repeat(unmade)?;
        }
        let store = self.ftl.nand.store.take();
        let power = self.ftl.nand.power.clone();
        power.restore();
        let mut restored = match Self::open_with(self.config.clone(), store, &power, arming) {
            Ok(restored) => restored,
            Err(unrecovered) => {
                power.disarm();
                power.cut();
                return Err(self.put_back(unrecovered));
            }
        };
        self.hand_over(&mut restored);
        *self = restored;
        Ok(self.recovery)
    }
}

impl<S: Store> Power for Ssd<S> {
    fn breaker(&self) -> Breaker {
        self.ftl.nand.power.clone()
    }

    fn promise(&mut self, volume: VolumeId, atomicity: PowerAtomicity) {
        if let Some(volume) = self.volumes.get_mut(volume.0 as usize) {
            volume.promise = atomicity;
        }
    }

    fn misbehaviour(&self) -> Vec<&'static str> {
        self.config.misbehaviour.names()
    }

    fn cut(&mut self, cut: &Cut) -> CutReport {
        Self::cut(self, cut)
    }

    fn restore(&mut self, arming: Option<Arming>) -> Result<RecoveryReport, String> {
        Self::restore(self, arming).map_err(|error| error.to_string())
    }
}

/// Makes the changes that survived, durably; returns how many: all, unless blocks failed until there was no room for what was in the
/// cache.
pub(super) fn make<S: Store>(ftl: &mut Ftl<S>, remnants: &mut [Remnant]) -> usize {
    let mut made = 0;
    for remnant in remnants {
        let done = match remnant {
            Remnant::Write(span, Some(saved), grouped) => {
                let tag = ftl.tag_of_request(*grouped);
                ftl.write(span, saved, tag).is_ok()
            }
            Remnant::Unreadable => false,
            Remnant::Write(span, None, grouped) => ftl.write_uncorrectable(span, *grouped).is_ok(),
            Remnant::Deallocation(held) => {
                ftl.deallocate(held.first, narrow(held.bytes >> ftl.geometry.unit_shift)).is_ok()
            }
        };
        if !done {
            break;
        }
        made += 1;
    }
    ftl.commit();
    made
}

/// What survives beyond this many changes does not.
pub(super) fn lose_rest(disposals: &mut [Disposal], made: usize) {
    let surviving = disposals.iter_mut().filter(|disposal| disposal.survival != Survival::Lost);
    surviving.skip(made).for_each(|disposal| disposal.survival = Survival::Lost);
}
