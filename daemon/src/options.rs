//! What the user asked for, from the command line and from a file, as one checked configuration. The command line wins over the
//! file: word by word for the device; for namespaces as a whole list.
//!
//! [`words`] reads text and TOML into named words, [`typed`] turns words into structures, and this file puts them together.

mod error;
mod size;
mod typed;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use controller::config::{Config, ConfigError, DeviceOptions, NamespaceOptions};
use serde::{Deserialize, Serialize};

pub use error::OptionError;
pub use size::Bytes;
use typed::Reader;
use words::{Word, Words};

/// The options as they were given.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// `--device`.
    pub device: Option<String>,
    /// Each `--namespace`.
    pub namespaces: Vec<String>,
}

/// Where a namespace's bytes lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub enum Store {
    /// In the memory of this process: gone with it.
    #[default]
    #[serde(rename = "ram")]
    Ram,
}

impl TryFrom<String> for Store {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "ram" => Ok(Self::Ram),
            file if file.starts_with("file:") => Err("namespaces in files do not exist yet: give ram"),
            _ => Err("give ram"),
        }
    }
}

/// What the media is told of a namespace. What the controller is told is in [`NamespaceOptions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeOptions {
    /// Capacity: a multiple of the block size.
    pub size: Bytes,
    /// Logical block size: a power of two from 512 to 65536 bytes. 512 as in QEMU: every firmware and system boots from it.
    pub lba: Bytes,
    /// Where the bytes lie.
    pub store: Store,
}

impl Default for VolumeOptions {
    fn default() -> Self {
        Self { size: Bytes::mib(1024), lba: Bytes(512), store: Store::Ram }
    }
}

/// A volume that can exist; volume n carries namespace n of the controller's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeConfig {
    /// A power of two from 512 to 65536.
    pub block_bytes: u32,
    /// At least 1.
    pub capacity_blocks: u64,
    /// Where the bytes lie.
    pub store: Store,
}

/// The configuration after every check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// For the controller.
    pub controller: Config,
    /// For the media, one for each namespace.
    pub volumes: Vec<VolumeConfig>,
    device: DeviceOptions,
}

impl Settings {
    /// Reads and checks everything that was given.
    ///
    /// # Errors
    /// The first option that cannot be.
    pub fn read(given: &Given) -> Result<Self, OptionError> {
        let file = given.file.as_deref().map(read_file).transpose()?.unwrap_or_default();
        let device = Words::from_text("--device", Some("nvme"), given.device.as_deref().unwrap_or_default())?;
        let device = file.device.overridden_by(device);
        let namespaces = match given.namespaces.as_slice() {
            [] if file.namespaces.is_empty() => vec![Words::default()],
            [] => file.namespaces,
            texts => texts.iter().map(|text| Words::from_text("--namespace", None, text)).collect::<Result<_, _>>()?,
        };
        let places = places(std::iter::once(&device).chain(&namespaces));

        let mut reader = Reader::new(device);
        let device: DeviceOptions = reader.take()?;
        reader.finish()?;
        let namespaces = namespaces.into_iter().map(read_namespace).collect::<Result<Vec<_>, _>>()?;
        let (volumes, identities): (Vec<_>, Vec<_>) = namespaces.into_iter().unzip();
        let controller = Config::check(&device, &identities).map_err(|error| placed(&error, &places))?;
        Ok(Self { controller, volumes, device })
    }

    /// The configuration as TOML that `--config` reads back.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let device = DeviceOptions { mdts: self.controller.mdts, ..self.device.clone() };
        let namespace =
            self.volumes.iter().zip(&self.controller.namespaces).map(|(volume, identity)| PrintedNamespace {
                size: Bytes(volume.capacity_blocks * u64::from(volume.block_bytes)),
                lba: Bytes(volume.block_bytes.into()),
                store: volume.store,
                nsid: identity.nsid,
                uuid: identity.uuid.to_string(),
                nguid: (identity.nguid != [0; 16]).then(|| uuid::Uuid::from_bytes(identity.nguid).simple().to_string()),
                // As text: TOML's integers have a sign, and half of the identifiers would not fit.
                eui64: (identity.eui64 != 0).then(|| format!("{:#018x}", identity.eui64)),
            });
        toml::to_string(&PrintedFile { device, namespace: namespace.collect() })
    }
}

#[derive(Serialize)]
struct PrintedFile {
    device: DeviceOptions,
    namespace: Vec<PrintedNamespace>,
}

#[derive(Serialize)]
struct PrintedNamespace {
    size: Bytes,
    lba: Bytes,
    store: Store,
    nsid: u32,
    uuid: String,
    nguid: Option<String>,
    eui64: Option<String>,
}

/// The words of a configuration file.
#[derive(Default)]
struct FileWords {
    device: Words,
    namespaces: Vec<Words>,
}

/// The tables of a configuration file, before their words are looked at.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FileTables {
    device: toml::Table,
    namespace: Vec<toml::Table>,
}

fn read_file(path: &Path) -> Result<FileWords, OptionError> {
    let place = path.display().to_string();
    let refuse = |remedy: String| OptionError::new("--config", &place, remedy);
    let text =
        std::fs::read_to_string(path).map_err(|error| refuse(format!("give a file that can be read: {error}")))?;
    let tables: FileTables = toml::from_str(&text).map_err(|error| {
        refuse(format!("give TOML with [device] and [[namespace]]: {}", error.to_string().trim_end()))
    })?;
    let namespaces = tables
        .namespace
        .iter()
        .enumerate()
        .map(|(index, table)| Words::from_table(&format!("{place} [[namespace]] {}", index + 1), table));
    Ok(FileWords {
        device: Words::from_table(&format!("{place} [device]"), &tables.device)?,
        namespaces: namespaces.collect::<Result<_, _>>()?,
    })
}

fn read_namespace(words: Words) -> Result<(VolumeConfig, NamespaceOptions), OptionError> {
    let given = words.by_name.clone();
    let mut reader = Reader::new(words);
    let volume: VolumeOptions = reader.take()?;
    let identity = reader.take()?;
    reader.finish()?;
    Ok((check_volume(volume, &given)?, identity))
}

fn check_volume(options: VolumeOptions, given: &BTreeMap<String, Word>) -> Result<VolumeConfig, OptionError> {
    let VolumeOptions { size, lba, store } = options;
    let refuse = |name: &str, value: Bytes, remedy: String| match given.get(name) {
        Some(word) => OptionError::new(&word.place, format!("{name}={}", word.text), remedy),
        None => OptionError::new("--namespace", format!("{name}={value}"), remedy),
    };
    let block_bytes =
        u32::try_from(lba.0).ok().filter(|bytes| bytes.is_power_of_two() && (512..=65536).contains(bytes));
    let Some(block_bytes) = block_bytes else {
        return Err(refuse("lba", lba, "give a power of two from 512 to 65536".to_owned()));
    };
    if size.0 == 0 || !size.0.is_multiple_of(lba.0) {
        let nearest = (size.0 - size.0 % lba.0).max(lba.0);
        return Err(refuse("size", size, format!("give a multiple of the block size, {lba}, such as {nearest}")));
    }
    Ok(VolumeConfig { block_bytes, capacity_blocks: size.0 / lba.0, store })
}

/// Where each option was given.
fn places<'a>(lists: impl IntoIterator<Item = &'a Words>) -> BTreeMap<String, String> {
    let all = lists.into_iter().flat_map(|words| &words.by_name);
    all.map(|(name, word)| (name.clone(), word.place.clone())).collect()
}

/// The controller's refusal with the place that it knows nothing of; none if the option kept its default.
fn placed(error: &ConfigError, places: &BTreeMap<String, String>) -> OptionError {
    let place = places.get(error.option).cloned().unwrap_or_default();
    OptionError::new(place, format!("{}={}", error.option, error.value), error.remedy.clone())
}

#[cfg(test)]
mod tests {
    use controller::config::Doorbells;

    use super::*;

    fn given(device: &str, namespaces: &[&str]) -> Given {
        let namespaces = namespaces.iter().map(|text| (*text).to_owned()).collect();
        Given { file: None, device: Some(device.to_owned()), namespaces }
    }

    fn refusal(device: &str, namespaces: &[&str]) -> String {
        Settings::read(&given(device, namespaces)).expect_err("meant to be refused").to_string()
    }

    fn with_file(text: &str, mut given: Given) -> Result<Settings, OptionError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("drive.toml");
        std::fs::write(&path, text).expect("a file");
        given.file = Some(path);
        Settings::read(&given).map_err(|error| OptionError {
            place: error.place.replace(&folder.path().display().to_string(), ""),
            option: error.option.replace(&folder.path().display().to_string(), ""),
            ..error
        })
    }

    #[test]
    fn nothing_given_is_one_namespace_of_a_gibibyte() {
        let settings = Settings::read(&Given::default()).expect("the defaults are meant to work");
        let volume = VolumeConfig { block_bytes: 512, capacity_blocks: 2 << 20, store: Store::Ram };
        assert_eq!(settings.volumes, [volume]);
        assert_eq!(settings.controller.namespaces.len(), 1);
    }

    #[test]
    fn qemu_spellings_reach_the_controller_and_the_media() {
        let device = "nvme,serial=S1,mdts=5,doorbells=mapped,dbcs=off,x-pci-vendor-id=0x1234,firmware-version=1.0";
        let settings = Settings::read(&given(device, &["size=1GB,lba=512", "size=64MiB,lba=16KiB,eui64=0x10,nsid=7"]))
            .expect("all legal");
        let controller = &settings.controller;
        assert_eq!(&controller.serial[..3], b"S1 ");
        assert_eq!((controller.mdts, controller.doorbells, controller.vendor_id), (5, Doorbells::Mapped, 0x1234));
        assert!(!controller.shadow_doorbells);
        assert_eq!(settings.volumes[0].capacity_blocks, 1_000_000_000 / 512);
        assert_eq!(settings.volumes[1], VolumeConfig { block_bytes: 16384, capacity_blocks: 4096, store: Store::Ram });
        assert_eq!((controller.namespaces[1].nsid, controller.namespaces[1].eui64), (7, 16));
    }

    #[test]
    fn a_refusal_names_place_option_value_and_remedy() {
        assert_eq!(refusal("", &["lba=3000"]), "--namespace lba=3000: give a power of two from 512 to 65536");
        let remedy = "--namespace size=1GB: give a multiple of the block size, 4KiB, such as 999997440";
        assert_eq!(refusal("", &["size=1GB,lba=4096"]), remedy);
        assert_eq!(
            refusal("", &["store=file:a"]),
            "--namespace store=file:a: namespaces in files do not exist yet: give ram"
        );
        assert_eq!(refusal("max_ioqpairs=0", &[]), "--device max_ioqpairs=0: give 1 to 511");
        assert!(refusal("", &["size=lots"]).starts_with("--namespace size=lots: give a size such as 512MiB"));
        assert!(refusal("", &["uuid=7"]).starts_with("--namespace uuid=7: "));
        assert!(refusal("", &["sise=1GiB"]).starts_with("--namespace sise: no such option; known are size, "));
        assert!(refusal("mtds=3", &[]).starts_with("--device mtds: no such option; known are mdts, "));
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let file =
            "[device]\nserial = \"from-file\"\nmdts = 3\n[[namespace]]\nsize = \"2MiB\"\n[[namespace]]\nsize = 4096\n";
        let settings = with_file(file, given("mdts=4", &[])).expect("legal");
        assert_eq!((&settings.controller.serial[..9], settings.controller.mdts), (b"from-file".as_slice(), 4));
        assert_eq!(settings.volumes.iter().map(|volume| volume.capacity_blocks).collect::<Vec<_>>(), [4096, 8]);
        let settings = with_file(file, given("", &["lba=4096"])).expect("legal");
        assert_eq!(settings.volumes.len(), 1);
    }

    #[test]
    fn a_refusal_of_a_file_names_the_file() {
        let refusal = |text| with_file(text, Given::default()).expect_err(text).to_string();
        assert_eq!(
            refusal("[device]\nmqes = 0"),
            "/drive.toml [device] mqes=0: a queue has at least 2 entries, and mqes is one less: give 1 to 65535"
        );
        assert_eq!(
            refusal("[[namespace]]\nlba = 1"),
            "/drive.toml [[namespace]] 1 lba=1: give a power of two from 512 to 65536"
        );
        assert!(refusal("[drive]\n").contains("unknown field `drive`"));
        assert!(refusal("device").starts_with("--config /drive.toml: give TOML with [device] and [[namespace]]: "));
        let absent = Given { file: Some("/nowhere/drive.toml".into()), ..Given::default() };
        let error = Settings::read(&absent).expect_err("no such file").to_string();
        assert!(error.starts_with("--config /nowhere/drive.toml: give a file that can be read: "), "{error}");
    }

    #[test]
    fn the_printed_configuration_reads_back_as_itself() {
        let options =
            given("mdts=0,serial=ab", &["size=8MB,nguid=00112233445566778899aabbccddeeff", "eui64=0xffffffffffffffff"]);
        let settings = Settings::read(&options).expect("legal");
        let printed = settings.to_toml().expect("printable");
        let again = with_file(&printed, Given::default()).expect(&printed);
        assert_eq!((again.controller, again.volumes), (settings.controller, settings.volumes));
    }
}
