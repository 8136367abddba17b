//! The namespaces: `--namespace` and `[[namespace]]`. Separates the media's options from the controller's, and fills in what was not
//! given: from an existing media file, or with defaults.

use std::collections::BTreeMap;

use controller::config::{METADATA_BYTES, METADATA_REMEDY, NamespaceConfig, NamespaceOptions};
use controller::record;
use media::root::VolumeEntry;
use media::ssd::VolumeConfig;
use media::store::Inspection;
use schemars::JsonSchema;
use serde::Deserialize;

use super::error::OptionError;
use super::media::{MediaWords, same_place};
use super::media_words::Store;
use super::size::Bytes;
use super::typed::Reader;
use super::words::{Word, Words};

/// What the media is told of a namespace. What the controller is told is in [`NamespaceOptions`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct VolumeOptions {
    /// Capacity: a multiple of the block size.
    size: Option<Bytes>,
    /// As much as it may grow to while the device runs.
    size_max: Option<Bytes>,
    /// Logical block size: a power of two from 512 to 65536 bytes.
    lba: Option<Bytes>,
    /// As in --media: all namespaces share one.
    store: Option<Store>,
    /// Indirection unit, as in --media: all namespaces share one.
    iu: Option<Bytes>,
}

/// One namespace as it was given.
#[derive(Clone, Debug, Default)]
pub struct NamespaceWords {
    volume: VolumeOptions,
    /// For the controller.
    pub identity: NamespaceOptions,
    given: BTreeMap<String, Word>,
}

impl NamespaceWords {
    /// Reads the words of one namespace.
    ///
    /// # Errors
    /// The first that is unknown or has an impossible value.
    pub fn read(words: Words) -> Result<Self, OptionError> {
        let given = words.by_name.clone();
        let mut reader = Reader::new(words);
        let (volume, identity) = (reader.take()?, reader.take()?);
        reader.finish()?;
        Ok(Self { volume, identity, given })
    }

    fn refuse(&self, name: &str, value: &str, remedy: impl Into<String>) -> OptionError {
        match self.given.get(name) {
            Some(word) => OptionError::new(&word.place, format!("{name}={}", word.text), remedy),
            None => OptionError::new("--namespace", format!("{name}={value}"), remedy),
        }
    }

    /// Moves what a namespace says of the media to the media: all namespaces of a device share one.
    ///
    /// # Errors
    /// Another place says something else.
    pub fn move_to_media(&self, media: &mut MediaWords) -> Result<(), OptionError> {
        let store = (media.options.store.clone(), self.volume.store.clone());
        media.options.store = self.agree(media, "store", store, same_place)?;
        let unit = (media.options.iu, self.volume.iu);
        media.options.iu = self.agree(media, "iu", unit, PartialEq::eq)?;
        for name in ["store", "iu"] {
            if let Some(word) = self.given.get(name) {
                media.given.entry(name.to_owned()).or_insert_with(|| word.clone());
            }
        }
        Ok(())
    }

    fn agree<T: ToString>(
        &self,
        media: &MediaWords,
        name: &str,
        (there, here): (Option<T>, Option<T>),
        same: impl Fn(&T, &T) -> bool,
    ) -> Result<Option<T>, OptionError> {
        if let (Some(there), Some(here)) = (&there, &here)
            && !same(there, here)
        {
            let place = media.given.get(name).map_or("--media", |word| word.place.as_str());
            let remedy = format!(
                "{place} says {name}={}, and all namespaces share one media: give {name} once",
                there.to_string()
            );
            return Err(self.refuse(name, &here.to_string(), remedy));
        }
        Ok(there.or(here))
    }

    /// Bytes of metadata beside each block: the file's, if there is one.
    fn metadata_bytes(&self, there: Option<&VolumeEntry>, file: &str) -> Result<u32, OptionError> {
        if !METADATA_BYTES.contains(&self.identity.ms) {
            return Err(self.refuse("ms", &self.identity.ms.to_string(), METADATA_REMEDY));
        }
        let wanted = u32::from(self.identity.ms);
        match there {
            Some(entry) if self.given.contains_key("ms") && entry.metadata_bytes != wanted => {
                let remedy = format!("{file} has ms={}: leave ms out, or give another file", entry.metadata_bytes);
                Err(self.refuse("ms", &wanted.to_string(), remedy))
            }
            Some(entry) => Ok(entry.metadata_bytes),
            None => Ok(wanted),
        }
    }

    /// The volume, with the file's for what was not given.
    fn volume(&self, there: Option<&VolumeEntry>, file: &str, unit: Option<u64>) -> Result<VolumeConfig, OptionError> {
        let agreed = |name: &str, given: Option<Bytes>, there: Option<u64>, default: Bytes| match (given, there) {
            (Some(given), Some(there)) if given.0 != there => {
                let there = Bytes(there);
                let remedy = format!("{file} has {name}={there}: leave {name} out, or give another file");
                Err(self.refuse(name, &given.to_string(), remedy))
            }
            (given, there) => Ok(given.or(there.map(Bytes)).unwrap_or(default)),
        };
        // As in QEMU: every firmware and system boots from it.
        let lba = agreed("lba", self.volume.lba, there.map(|entry| entry.block_bytes.into()), Bytes(512))?;
        let bytes = there.map(|entry| entry.capacity_blocks * u64::from(entry.block_bytes));
        let size = agreed("size", self.volume.size, bytes, Bytes::mib(1024))?;
        let metadata_bytes = self.metadata_bytes(there, file)?;
        if metadata_bytes == 0 && self.identity.mset == 1 {
            let remedy =
                "without metadata there is none to lie behind a block: give ms=8, 16 or 64 with it, or leave it out";
            return Err(self.refuse("mset", "1", remedy));
        }
        let block_bytes =
            u32::try_from(lba.0).ok().filter(|bytes| bytes.is_power_of_two() && (512..=65536).contains(bytes));
        let Some(block_bytes) = block_bytes else {
            return Err(self.refuse("lba", &lba.to_string(), "give a power of two from 512 to 65536"));
        };
        if size.0 == 0 || !size.0.is_multiple_of(lba.0) {
            let nearest = (size.0 - size.0 % lba.0).max(lba.0);
            let remedy = format!("give a multiple of the block size, {lba}, such as {nearest}");
            return Err(self.refuse("size", &size.to_string(), remedy));
        }
        if size.0 > 1 << 50 {
            return Err(self.refuse("size", &size.to_string(), "give at most 1PiB"));
        }
        let volume = VolumeConfig::new(block_bytes, metadata_bytes, size.0 / lba.0);
        Ok(volume.with_room(self.room(&volume, there, file, unit)? / lba.0))
    }

    /// The bytes that the namespace may grow to: in a file that exists they were decided when it was made, in whole units.
    fn room(
        &self,
        volume: &VolumeConfig,
        there: Option<&VolumeEntry>,
        file: &str,
        unit: Option<u64>,
    ) -> Result<u64, OptionError> {
        let (lba, size) = (u64::from(volume.block_bytes), volume.capacity_blocks * u64::from(volume.block_bytes));
        let there = there.zip(unit).map(|(entry, unit)| (u64::from(entry.units) * unit, unit));
        match (self.volume.size_max, there) {
            (Some(most), Some((kept, unit))) if most.0.div_ceil(unit) != kept / unit => {
                let remedy = format!("{file} has size_max={}: leave size_max out, or give another file", Bytes(kept));
                Err(self.refuse("size_max", &most.to_string(), remedy))
            }
            (_, Some((kept, _))) => Ok(kept),
            (Some(most), None) if most.0 < size || most.0 > 1 << 50 || !most.0.is_multiple_of(lba) => {
                let remedy = format!("give a multiple of {}, the block size, from size to 1PiB", Bytes(lba));
                Err(self.refuse("size_max", &most.to_string(), remedy))
            }
            (most, None) => Ok(most.map_or(size, |most| most.0)),
        }
    }
}

/// The volumes of all namespaces. A file that exists says how many there are.
///
/// # Errors
/// The first namespace that cannot be, or that the file contradicts.
pub fn volumes(
    namespaces: &mut Vec<NamespaceWords>,
    media: &MediaWords,
    file: Option<&Inspection>,
) -> Result<Vec<VolumeConfig>, OptionError> {
    if media.options.capacity.is_some() || file.is_some_and(|file| file.geometry.volumes_max != 0) {
        return volumes_of_capacity(namespaces, media, file);
    }
    let there = file.map_or(&[][..], |file| &file.root.volumes);
    if namespaces.is_empty() {
        namespaces.resize(there.len().max(1), NamespaceWords::default());
    }
    if file.is_some() && there.len() != namespaces.len() {
        let remedy = format!("{} has {}: give each of them, or no --namespace at all", media.file_name(), there.len());
        return Err(OptionError::new("--namespace", format!("given {} times", namespaces.len()), remedy));
    }
    let name = media.file_name();
    let unit = file.map(|file| u64::from(file.geometry.unit_bytes));
    namespaces.iter().enumerate().map(|(index, words)| words.volume(there.get(index), &name, unit)).collect()
}

/// The volumes of a drive whose namespaces come and go: those that it is made with, of which there need not be any; later, those that its
/// file knows of.
fn volumes_of_capacity(
    namespaces: &[NamespaceWords],
    media: &MediaWords,
    file: Option<&Inspection>,
) -> Result<Vec<VolumeConfig>, OptionError> {
    let Some(file) = file else {
        let sizes = namespaces.iter().filter(|words| words.volume.size_max.is_some());
        if let Some(words) = sizes.into_iter().next() {
            let remedy = "with capacity a namespace can grow to all that no other has: leave size_max out";
            let most = words.volume.size_max.unwrap_or(Bytes(0));
            return Err(words.refuse("size_max", &most.to_string(), remedy));
        }
        return namespaces.iter().map(|words| words.volume(None, "", None)).collect();
    };
    if !namespaces.is_empty() {
        let remedy = format!("{} keeps its namespaces itself: leave --namespace out", media.file_name());
        return Err(OptionError::new("--namespace", format!("given {} times", namespaces.len()), remedy));
    }
    let kept = kept(file);
    Ok(kept
        .map(|(_, entry)| VolumeConfig::new(entry.block_bytes, entry.metadata_bytes, entry.capacity_blocks))
        .collect())
}

/// The namespaces that a file keeps, with their volumes.
pub fn kept(file: &Inspection) -> impl Iterator<Item = (NamespaceConfig, VolumeEntry)> + '_ {
    let of = |(identity, volume): (NamespaceConfig, u32)| {
        let entry = file.root.volumes.get(volume as usize).filter(|entry| entry.exists())?;
        Some((identity, *entry))
    };
    record::namespaces_of(&file.root.note).unwrap_or_default().into_iter().filter_map(of)
}
