//! What the user requested, on the command line and in a file, as one checked configuration. The command line takes precedence over the
//! file: option by option for the device; as a whole list for namespaces.
//!
//! [`words`] reads text and TOML into named words, [`typed`] turns words into structures, and this file puts them together.

mod effect;
mod error;
mod faults;
mod foreign;
mod help;
mod identity;
mod media;
mod media_words;
mod namespaces;
mod size;
mod socket;
mod typed;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ::media::ssd::VolumeConfig;
use controller::ControllerSet;
use controller::config::{Config, ConfigError, DeviceOptions};
use controller::record::first_note;
use serde::Serialize;

pub use error::OptionError;
use faults::ConfiguredFault;
pub use help::Topic;
use identity::Identity;
pub use media::MediaSettings;
use media::{MediaWords, PrintedMedia};
use media_words::Store;
pub use media_words::{Age, HostCache, Share};
use namespaces::NamespaceWords;
pub use namespaces::kept;
pub use size::{About, Bytes};
pub use socket::check_socket;
use typed::Reader;
pub use words::split_at_commas;
use words::{Word, Words};

/// The options as they were given.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// `--device`.
    pub device: Option<String>,
    /// `--media`.
    pub media: Option<String>,
    /// The media file that a verb is about, in place of `store=`.
    pub store: Option<PathBuf>,
    /// Each `--namespace`.
    pub namespaces: Vec<String>,
    /// The sockets that are made, by their options. The first is one at which the device is to be had, and names a drive that has no
    /// other name.
    pub sockets: Vec<(&'static str, PathBuf)>,
}

impl Given {
    /// Refuses a path that is given for two things.
    fn distinct(&self, store: Option<&Store>) -> Result<(), OptionError> {
        let full = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let file = store.and_then(|store| if let Store::File(path) = store { Some(("the media", path)) } else { None });
        let mut seen: Vec<(&str, PathBuf)> = Vec::new();
        let sockets = self.sockets.iter().map(|(option, path)| (*option, path));
        for (option, path) in self.file.iter().map(|path| ("--config", path)).chain(file).chain(sockets) {
            if let Some((other, _)) = seen.iter().find(|(_, known)| *known == full(path)) {
                let remedy = format!("{other} has this path already: give another one");
                return Err(OptionError::new(option, path.display().to_string(), remedy));
            }
            seen.push((option, full(path)));
        }
        Ok(())
    }
}

/// The configuration after every check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// For the controller.
    pub controller: Config,
    /// For the media; volume n of it carries namespace n of the controller.
    pub media: MediaSettings,
    /// Faults that the device has from the start.
    pub faults: Vec<ConfiguredFault>,
    /// The sockets at which it is plugged in, in the order of their controllers.
    pub sockets: Vec<PathBuf>,
    device: DeviceOptions,
}

impl Settings {
    /// Reads and checks everything that was given.
    ///
    /// # Errors
    /// The first option that cannot be.
    pub fn read(given: &Given) -> Result<Self, OptionError> {
        given.distinct(None)?;
        let file = given.file.as_deref().map(read_file).transpose()?.unwrap_or_default();
        let device = Words::from_text("--device", Some("nvme"), given.device.as_deref().unwrap_or_default())?;
        let device = file.device.overridden_by(device);
        let media = Words::from_text("--media", None, given.media.as_deref().unwrap_or_default())?;
        let media = file.media.overridden_by(media);
        let namespaces = match given.namespaces.as_slice() {
            [] => file.namespaces,
            texts => texts.iter().map(|text| Words::from_text("--namespace", None, text)).collect::<Result<_, _>>()?,
        };
        let places = places(std::iter::once(&device).chain(&namespaces));

        let words = device.clone();
        let mut device = read_alone::<DeviceOptions>(device)?;
        effect::check_device(&device, &words)?;
        let mut media = MediaWords { given: media.by_name.clone(), options: read_alone(media)? };
        media.place(given.store.as_deref())?;
        let mut namespaces =
            namespaces.into_iter().map(NamespaceWords::read).collect::<Result<Vec<_>, OptionError>>()?;
        namespaces.iter().try_for_each(|namespace| namespace.move_to_media(&mut media))?;
        given.distinct(media.options.store.as_ref())?;
        let existing = media.existing()?;
        effect::check_media(&media, existing.as_ref())?;
        if given.namespaces.is_empty() && existing.as_ref().is_some_and(|file| file.geometry.volumes_max != 0) {
            // A configuration file says what the drive was made with; since then it keeps that itself.
            namespaces.clear();
        }
        let identity = Identity::of(
            media.options.store.as_ref(),
            existing.as_ref(),
            given.sockets.first().map(|(_, path)| path.as_path()),
        );
        if let Some(serial) = identity.serial().filter(|_| !places.contains_key("serial")) {
            device.serial = serial;
        }
        let volumes = namespaces::volumes(&mut namespaces, &media, existing.as_ref())?;
        let identities: Vec<_> = namespaces.into_iter().map(|namespace| namespace.identity).collect();
        let mut controller = Config::check(&device, &identities).map_err(|error| placed(&error, &places))?;
        if let Some(file) = existing.as_ref().filter(|file| file.geometry.volumes_max != 0) {
            controller.namespaces = kept(file).map(|(identity, _)| identity).collect();
        }
        let atomic_bytes = power_atomic_bytes(&controller, &volumes);
        let mut media = media.check(volumes, existing.as_ref(), atomic_bytes)?;
        media.identity = identity.kept();
        if media.has_capacity() {
            media.ssd.note = first_note(&controller.namespaces);
            media.check_identifiers(&controller.namespaces)?;
        }
        let plugs = given.sockets.iter().filter(|(option, _)| ["--socket", "--vhost-user"].contains(option));
        let sockets = plugs.map(|(_, path)| path.clone()).collect();
        let settings = Self { controller, media, faults: file.faults, sockets, device };
        settings.check_blocks().map_err(|error| placed(&error, &places))?;
        settings.check_atomics().map_err(|error| placed(&error, &places))?;
        Ok(settings)
    }

    /// Whether commands carry what the namespaces consist of.
    fn check_blocks(&self) -> Result<(), ConfigError> {
        let mut volumes = self.volumes().iter().enumerate();
        volumes
            .try_for_each(|(index, volume)| self.controller.carries(index, volume.block_bytes, volume.metadata_bytes))
    }

    /// Whether the log commits what the namespaces promise: its lines may be too short for it.
    fn check_atomics(&self) -> Result<(), ConfigError> {
        for (index, volume) in self.volumes().iter().enumerate() {
            self.controller.atomics(index, (self.media.ssd.power_atomic_bytes / volume.block_bytes).max(1))?;
        }
        Ok(())
    }

    /// The configuration as TOML that `--config` reads back.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let subnqn = String::from_utf8_lossy(&self.controller.subnqn).trim_end_matches('\0').to_owned();
        let device = DeviceOptions {
            mdts: self.controller.mdts,
            dbcs: self.controller.shadow_doorbells,
            subnqn,
            ..self.device.clone()
        };
        let namespace =
            self.volumes().iter().zip(&self.controller.namespaces).map(|(volume, identity)| PrintedNamespace {
                size: Bytes(volume.capacity_blocks * u64::from(volume.block_bytes)),
                size_max: (volume.capacity_blocks_max > volume.capacity_blocks)
                    .then(|| Bytes(volume.capacity_blocks_max * u64::from(volume.block_bytes))),
                lba: Bytes(volume.block_bytes.into()),
                ms: volume.metadata_bytes,
                mset: u8::from(identity.extended_metadata),
                nsid: identity.nsid,
                uuid: identity.uuid.to_string(),
                nguid: (identity.nguid != [0; 16]).then(|| uuid::Uuid::from_bytes(identity.nguid).simple().to_string()),
                // As text: TOML's integers have a sign, and half of the identifiers would not fit.
                eui64: (identity.eui64 != 0).then(|| format!("{:#018x}", identity.eui64)),
                nawun: identity.atomics.nawun_z,
                nawupf: identity.atomics.nawupf_z,
                nacwu: identity.atomics.nacwu_z,
                nabsn: identity.atomics.nabsn_z,
                nabspf: identity.atomics.nabspf_z,
                nabo: identity.atomics.nabo,
                mam: identity.atomics.multiple,
                shared: identity.shared,
                detached: identity.attached == ControllerSet::NONE,
                controllers: Some(identity.attached)
                    .filter(|set| ![ControllerSet::NONE, ControllerSet::ALL].contains(set))
                    .map(|set| set.to_string()),
                anagrpid: self.controller.ana.then_some(identity.anagrpid),
            });
        let (media, namespace, fault) = (self.media.printed(), namespace.collect(), self.faults.clone());
        toml::to_string(&PrintedFile { device, media, namespace, fault })
    }

    fn volumes(&self) -> &[VolumeConfig] {
        &self.media.ssd.volumes
    }
}

#[derive(Serialize)]
struct PrintedFile {
    device: DeviceOptions,
    media: PrintedMedia,
    namespace: Vec<PrintedNamespace>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fault: Vec<ConfiguredFault>,
}

#[derive(Serialize)]
struct PrintedNamespace {
    size: Bytes,
    size_max: Option<Bytes>,
    lba: Bytes,
    ms: u32,
    mset: u8,
    nsid: u32,
    uuid: String,
    nguid: Option<String>,
    eui64: Option<String>,
    #[serde(rename = "atomic.nawun")]
    nawun: Option<u16>,
    #[serde(rename = "atomic.nawupf")]
    nawupf: Option<u16>,
    #[serde(rename = "atomic.nacwu")]
    nacwu: Option<u16>,
    #[serde(rename = "atomic.nabsn")]
    nabsn: Option<u16>,
    #[serde(rename = "atomic.nabspf")]
    nabspf: Option<u16>,
    #[serde(rename = "atomic.nabo")]
    nabo: u16,
    #[serde(rename = "atomic.mam")]
    mam: bool,
    shared: bool,
    detached: bool,
    controllers: Option<String>,
    anagrpid: Option<u32>,
}

/// The words of a configuration file.
#[derive(Default)]
struct FileWords {
    device: Words,
    media: Words,
    namespaces: Vec<Words>,
    faults: Vec<ConfiguredFault>,
}

fn read_file(path: &Path) -> Result<FileWords, OptionError> {
    let place = path.display().to_string();
    let refuse = |remedy: String| OptionError::new("--config", &place, remedy);
    let text =
        std::fs::read_to_string(path).map_err(|error| refuse(format!("give a file that can be read: {error}")))?;
    let tables: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        refuse(format!(
            "give TOML with [device], [media], [[namespace]] and [[fault]]: {}",
            error.to_string().trim_end()
        ))
    })?;
    let mut words = FileWords::default();
    for (name, value) in &tables {
        let in_file = format!("{place} [{name}]");
        match (name.as_str(), value) {
            ("device", toml::Value::Table(table)) => words.device = Words::from_table(&in_file, table)?,
            ("media", toml::Value::Table(table)) => words.media = Words::from_table(&in_file, table)?,
            ("namespace", toml::Value::Array(tables)) => words.namespaces = namespaces_of(&place, tables)?,
            ("fault", toml::Value::Array(tables)) => words.faults = faults::read(&place, tables)?,
            ("device" | "media", _) => {
                return Err(refuse(format!("{name} is a table: give [{name}] and options below it")));
            }
            ("namespace", _) => return Err(refuse("namespaces are a list: give [[namespace]], once for each".into())),
            ("fault", _) => return Err(refuse("faults are a list: give [[fault]], once for each".into())),
            _ => {
                return Err(refuse(format!(
                    "there is no [{name}]: give [device], [media], [[namespace]] or [[fault]]"
                )));
            }
        }
    }
    Ok(words)
}

fn namespaces_of(place: &str, tables: &[toml::Value]) -> Result<Vec<Words>, OptionError> {
    let words = tables.iter().enumerate().map(|(index, table)| {
        let place = format!("{place} [[namespace]] {}", index + 1);
        let refuse = || OptionError::new(&place, table.to_string(), "give [[namespace]] and options below it");
        Words::from_table(&place, table.as_table().ok_or_else(refuse)?)
    });
    words.collect()
}

/// The longest write that must be whole or undone after a power loss: what was asked for, and where nothing was, what drives have.
fn power_atomic_bytes(controller: &Config, volumes: &[VolumeConfig]) -> u64 {
    let asked = volumes.iter().enumerate().map(|(index, volume)| {
        let (blocks, free) = controller.power_atomic_blocks(index);
        (u64::from(blocks) * u64::from(volume.block_bytes)).max(if free { media::POWER_ATOMIC_BYTES } else { 0 })
    });
    asked.max().unwrap_or(media::POWER_ATOMIC_BYTES)
}

/// A list of words that fills one structure.
fn read_alone<T: serde::de::DeserializeOwned>(words: Words) -> Result<T, OptionError> {
    let mut reader = Reader::new(words);
    let options = reader.take()?;
    reader.finish()?;
    Ok(options)
}

/// What was given, by name, with its place.
fn places<'a>(lists: impl IntoIterator<Item = &'a Words>) -> BTreeMap<String, Word> {
    let all = lists.into_iter().flat_map(|words| &words.by_name);
    all.map(|(name, word)| (name.clone(), word.clone())).collect()
}

/// The controller's refusal with the place that it knows nothing of. An atomic unit that was not given follows from those that were: they
/// are what there is to change.
fn placed(error: &ConfigError, given: &BTreeMap<String, Word>) -> OptionError {
    let option = format!("{}={}", error.option, error.value);
    if let Some(word) = given.get(error.option) {
        return OptionError::new(&word.place, option, error.remedy.clone());
    }
    let kind = "atomic.";
    let from: Vec<_> =
        given.iter().filter(|(name, _)| error.option.starts_with(kind) && name.starts_with(kind)).collect();
    let Some((_, first)) = from.first() else { return OptionError::new("", option, error.remedy.clone()) };
    let words: Vec<_> = from.iter().map(|(name, word)| format!("{name}={}", word.text)).collect();
    OptionError::new(&first.place, words.join(","), format!("{option} follows from that, and {}", error.remedy))
}

#[cfg(test)]
mod tests;
