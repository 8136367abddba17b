//! Volumes that are made, deleted and formatted while the drive runs, the note that goes with them, and the purge of what they held.
//! Every change is one root: after a power loss the old state is there, or the new one.

use super::request::Wait;
use super::{Ssd, Volume};
use crate::config::check_volume;
use crate::ftl::line::LineState;
use crate::ftl::purge::Purge;
use crate::ordering::Order;
use crate::power::PowerAtomicity;
use crate::power::mutation::{Mutation, mutated};
use crate::root::{VolumeEntry, note_bytes_max};
use crate::ssd::VolumeConfig;
use crate::store::Store;
use crate::unit::{Lba, LbaRange, LogicalUnit, VolumeId, index, narrow};
use crate::volume::{MediaError, Space, VolumeChange, VolumeShape};

/// A purge that was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purging {
    lines: Purge,
    /// Lines are done; the store was told to give away what erased ones still hold.
    store_told: bool,
}

impl<S: Store> Ssd<S> {
    /// What there is for volumes.
    pub(super) fn space_of(&self) -> Space {
        let geometry = &self.ftl.geometry;
        let unit_bytes = narrow(geometry.unit_bytes());
        let bytes = |units: u32| u64::from(units) * u64::from(unit_bytes);
        Space {
            bytes: bytes(geometry.user_units),
            free_bytes: bytes(self.free_units()),
            unit_bytes,
            power_atomic_bytes: self.config.power_atomic_bytes,
            metadata_bytes_per_unit: geometry.config.metadata_bytes_per_unit,
            volumes_max: geometry.config.volumes_max,
            note_bytes_max: note_bytes_max(geometry),
        }
    }

    /// Units that no volume has.
    fn free_units(&self) -> u32 {
        let used: u64 = self.ftl.volumes.iter().map(|volume| u64::from(volume.units)).sum();
        u32::try_from(u64::from(self.ftl.geometry.user_units) - used).expect("fewer than there are")
    }

    /// How many units a volume may have: all that no other has, where volumes come and go.
    pub(super) fn units_max(&self, entry: &VolumeEntry) -> u32 {
        if self.ftl.geometry.window_units == 0 { entry.units } else { entry.units + self.free_units() }
    }

    /// Whether there is such a volume.
    #[inline]
    pub(super) fn exists(&self, volume: usize) -> bool {
        self.volumes.get(volume).is_some_and(|volume| volume.shape.capacity_blocks != 0)
    }

    /// Changes a volume, and the note with it.
    pub(super) fn manage(
        &mut self,
        volume: usize,
        change: VolumeChange,
        note: Option<&[u8]>,
    ) -> Result<Wait, MediaError> {
        if note.is_some_and(|note| note.len() > note_bytes_max(&self.ftl.geometry)) {
            return Err(MediaError::OutOfRange);
        }
        let entry = self.changed(volume, change)?;
        self.check_store()?;
        let (deletes, formats) =
            (matches!(change, VolumeChange::Delete), matches!(change, VolumeChange::Format { .. }));
        let late = formats && mutated(Mutation::FormatFirst);
        if formats && !late || deletes && !mutated(Mutation::DeletedData) {
            self.empty(volume)?;
        }
        let wait = self.commit()?;
        if self.ftl.nand.power.lost() {
            return Err(MediaError::PowerLost);
        }
        if self.ftl.read_only {
            return Err(MediaError::WriteFailed { first: Lba(0) });
        }
        if let Some(entry) = entry {
            let volumes = &mut self.ftl.volumes;
            while volumes.len() <= volume {
                volumes.push(VolumeEntry::absent(self.ftl.geometry.window(narrow(volumes.len())).0));
            }
            volumes[volume] = entry;
        }
        if let Some(note) = note {
            self.ftl.note = note.to_vec();
        }
        self.ftl.write_root(false);
        if late {
            self.empty(volume)?;
        }
        self.renew_volume(volume, entry);
        Ok(wait)
    }

    /// What a change makes of the volume's entry; nothing where it stays.
    fn changed(&self, volume: usize, change: VolumeChange) -> Result<Option<VolumeEntry>, MediaError> {
        let geometry = &self.ftl.geometry;
        let there = self.ftl.volumes.get(volume).filter(|entry| entry.exists()).copied();
        match change {
            VolumeChange::Keep => Ok(None),
            VolumeChange::Create { block_bytes, metadata_bytes, blocks } => {
                if volume >= geometry.config.volumes_max as usize || there.is_some() {
                    return Err(MediaError::NoSuchVolume);
                }
                let config = self.possible(VolumeConfig::new(block_bytes, metadata_bytes, blocks))?;
                let units = config.units(geometry.config.unit_bytes);
                let units = u32::try_from(units).ok().filter(|units| *units <= self.free_units());
                let units = units.ok_or(MediaError::OutOfRange)?;
                let first_unit = geometry.window(narrow(volume)).0;
                Ok(Some(VolumeEntry { block_bytes, metadata_bytes, first_unit, units, capacity_blocks: blocks }))
            }
            VolumeChange::Delete => {
                let there = there.filter(|_| geometry.window_units != 0).ok_or(MediaError::NoSuchVolume)?;
                Ok(Some(VolumeEntry::absent(there.first_unit)))
            }
            VolumeChange::Format { block_bytes, metadata_bytes } => {
                let there = there.ok_or(MediaError::NoSuchVolume)?;
                let bytes = there.capacity_blocks * u64::from(there.block_bytes);
                let capacity_blocks = bytes / u64::from(block_bytes.max(1));
                self.possible(VolumeConfig::new(block_bytes, metadata_bytes, capacity_blocks))?;
                Ok(Some(VolumeEntry { block_bytes, metadata_bytes, capacity_blocks, ..there }))
            }
        }
    }

    /// The same volume, if the drive can have one like it.
    fn possible(&self, volume: VolumeConfig) -> Result<VolumeConfig, MediaError> {
        let geometry = &self.ftl.geometry.config;
        check_volume(0, &volume, geometry.unit_bytes).map_err(|_| MediaError::OutOfRange)?;
        let metadata = geometry.unit_bytes / volume.block_bytes * volume.metadata_bytes;
        if metadata <= geometry.metadata_bytes_per_unit { Ok(volume) } else { Err(MediaError::OutOfRange) }
    }

    /// Deallocates all of a volume.
    fn empty(&mut self, volume: usize) -> Result<(), MediaError> {
        let VolumeEntry { first_unit, units, .. } = self.ftl.volumes[volume];
        let emptied = self.ftl.deallocate(LogicalUnit(first_unit), units);
        emptied.map_err(|_| MediaError::WriteFailed { first: Lba(0) })?;
        self.read_faults.heal(VolumeId(narrow(volume)), LbaRange::new(Lba(0), u64::MAX));
        Ok(())
    }

    /// After a change of a volume: what hangs on the entries of all. A new or formatted volume promises as much as any may, until its owner
    /// asks for something else.
    fn renew_volume(&mut self, volume: usize, entry: Option<VolumeEntry>) {
        while self.volumes.len() < self.ftl.volumes.len() {
            let (entry, shape, promise) = (VolumeEntry::default(), VolumeShape::default(), PowerAtomicity::anywhere(1));
            self.volumes.push(Volume { entry, shape, block_shift: 0, mapped_units: 0, promise });
        }
        for number in 0..self.volumes.len() {
            let entry = self.ftl.volumes[number];
            let shape = self.shape_of_entry(&entry);
            let volume = &mut self.volumes[number];
            (volume.entry, volume.shape, volume.block_shift) = (entry, shape, Volume::shift(&entry));
        }
        if entry.is_some() {
            let volume = &mut self.volumes[volume];
            volume.promise = PowerAtomicity::anywhere(u64::from(volume.shape.power_atomic_blocks));
        }
    }

    /// What users see of a volume with this entry: nothing of one that is not there.
    pub(super) fn shape_of_entry(&self, entry: &VolumeEntry) -> VolumeShape {
        if !entry.exists() {
            return VolumeShape::default();
        }
        let unit_bytes = narrow(self.ftl.geometry.unit_bytes());
        let stripe = narrow(self.ftl.geometry.stripe_bytes()).max(unit_bytes);
        VolumeShape {
            block_bytes: entry.block_bytes,
            capacity_blocks: entry.capacity_blocks,
            capacity_blocks_max: u64::from(self.units_max(entry)) * u64::from(unit_bytes / entry.block_bytes),
            power_atomic_blocks: (self.config.power_atomic_bytes / entry.block_bytes).max(1),
            preferred_blocks: unit_bytes / entry.block_bytes,
            metadata_bytes: entry.metadata_bytes,
            optimal_blocks: stripe / entry.block_bytes,
        }
    }

    /// A volume gets another size: the units that it keeps for it, where volumes come and go.
    pub(super) fn set_size(&mut self, volume: usize, blocks: u64) {
        let entry = &mut self.ftl.volumes[volume];
        entry.capacity_blocks = blocks;
        if self.ftl.geometry.window_units != 0 {
            let per_unit = self.ftl.geometry.config.unit_bytes / entry.block_bytes;
            entry.units = narrow(index(blocks.div_ceil(u64::from(per_unit))));
        }
        self.ftl.write_root(false);
        self.renew_volume(volume, None);
    }

    /// One step of a purge: it begins with the first, and [`Media::stale`](crate::Media::stale) says what is left.
    pub(super) fn purge(&mut self) -> Result<Wait, MediaError> {
        self.check_store()?;
        let purging = match self.purging {
            Some(purging) => purging,
            None => Purging { lines: self.ftl.begin_purge(), store_told: false },
        };
        self.purging = Some(purging);
        let failed = |_| MediaError::WriteFailed { first: Lba(0) };
        if self.ftl.stale_lines(purging.lines) > 0 {
            self.ftl.purge_line(purging.lines).map_err(failed)?;
        }
        if self.ftl.nand.power.lost() {
            return Err(MediaError::PowerLost);
        }
        if self.ftl.stale_lines(purging.lines) > 0 {
            return Ok(Wait::Nothing);
        }
        let lines = &self.ftl.lines;
        let mut unused = lines
            .iter()
            .filter(|(_, line)| matches!(line.state, LineState::Free | LineState::Retired))
            .map(|(number, _)| number);
        if self.ftl.nand.store.discard_all(&mut unused) {
            self.purging = None;
        } else {
            self.purging = Some(Purging { store_told: true, ..purging });
        }
        // What was erased is durably so, and what is discarded next can be.
        Ok(Wait::Synced)
    }

    /// How many steps are left of a purge.
    pub(super) fn stale_parts(&self) -> u64 {
        self.purging.map_or(0, |purging| self.ftl.stale_lines(purging.lines) + 1 + u64::from(!purging.store_told))
    }

    /// Gives a volume another block format, as [`VolumeChange::Format`] does; durable when the returned ticket is synced.
    ///
    /// # Errors
    /// As for the request.
    pub fn reformat(&mut self, volume: VolumeId, block_bytes: u32, metadata_bytes: u32) -> Result<u64, MediaError> {
        self.manage(volume.0 as usize, VolumeChange::Format { block_bytes, metadata_bytes }, None)?;
        Ok(self.ftl.nand.sync(Order::FormatAfterSync))
    }
}
