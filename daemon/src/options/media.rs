//! The media of the device: `--media`, `[media]`, and the media's options on namespaces. Owns the defaults, the checks, and the
//! agreement with an existing media file; does not open the media.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use controller::config::NamespaceConfig;
use media::Nanoseconds;
use media::config::Endurance;
use media::geometry::{ConfigError, Geometry, GeometryConfig, VOLUMES_MAX};
use media::nand::timing::NandTimes;
use media::needs::Part as Needed;
use media::ssd::{CacheConfig, SsdConfig, VolumeConfig};
use media::store::{Inspection, inspect};
use serde::Serialize;

use super::error::OptionError;
use super::media_words::{
    Age, Collection, FlushDomain, HostCache, Life, MediaOptions, Misbehaving, Part, Patrol, Share, Store,
};
use super::size::Bytes;
use super::words::Word;

/// The longest write that a power loss leaves whole or undone, unless asked otherwise and where lines are long enough for it.
pub const POWER_ATOMIC_BYTES: u64 = 64 << 10;
/// The largest line that is chosen without being asked for: what lies in an open line lies in memory.
const LINE_BYTES_MAX: u64 = 16 << 20;
/// Erases of each block before a drive is worn out. A week of writing a drive of 64 MiB at 1 GiB a second, with a write amplification of 10,
/// takes fewer.
const ERASES_RATED: u32 = 100_000_000;
/// A drive has at least so many lines, if that leaves them long enough. With far fewer, the seven that it needs to work are a large part of
/// the spare that was asked for, and collection moves more than it would have to.
const LINES_WANTED: u64 = 1024;
/// Units that a line has at least.
const UNITS_MIN: u64 = 8;
/// Dies of a channel, planes of a die, and bytes of a page, from large drives to small ones: a block should have a few pages.
const SHAPES: [(u32, u32, u32); 5] =
    [(2, 2, 16 << 10), (2, 1, 16 << 10), (1, 1, 16 << 10), (1, 1, 8 << 10), (1, 1, 4 << 10)];
const PAGES_WANTED: u64 = 4;
/// Namespaces that come and go, unless somebody says how many.
const NAMESPACES: u32 = 16;
/// Room for their metadata: 8 bytes for each block of 512, or 64 for one of 4096.
const METADATA: Bytes = Bytes(64);

/// The words of the media with the places that they came from.
#[derive(Clone, Debug, Default)]
pub struct MediaWords {
    /// The values.
    pub options: MediaOptions,
    /// As they were written.
    pub given: BTreeMap<String, Word>,
}

/// A media that can exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaSettings {
    /// Where the bytes lie.
    pub store: Store,
    /// Everything that the drive is made from.
    pub ssd: SsdConfig,
    /// Whether data is asked to be on the host's disk.
    pub cache: HostCache,
    /// What its file keeps to be told from others.
    pub identity: [u8; 16],
    /// Bytes of data that a drive in memory may hold.
    pub memory_max: Option<u64>,
    life: Life,
    timing: Part,
    patrol: Patrol,
    exists: bool,
}

impl MediaWords {
    /// A refusal of a word, wherever it was given; of its default if it was not.
    pub fn refuse(&self, name: &str, value: &str, remedy: impl Into<String>) -> OptionError {
        match self.given.get(name) {
            Some(word) => OptionError::new(&word.place, format!("{name}={}", word.text), remedy),
            None => OptionError::new("--media", format!("{name}={value}"), remedy),
        }
    }

    /// Puts the media into the file that a verb is about.
    ///
    /// # Errors
    /// Another store was given as well.
    pub fn place(&mut self, file: Option<&Path>) -> Result<(), OptionError> {
        let Some(file) = file.map(|file| Store::File(file.into())) else { return Ok(()) };
        match &self.options.store {
            Some(given) if !same_place(given, &file) => {
                let remedy = format!("the command is about {file}: leave store out");
                Err(self.refuse("store", &given.to_string(), remedy))
            }
            _ => {
                self.options.store = Some(file);
                Ok(())
            }
        }
    }

    /// The file to open, if there is one.
    ///
    /// # Errors
    /// It is there and is no media file.
    pub fn existing(&self) -> Result<Option<Inspection>, OptionError> {
        let Some(Store::File(path)) = &self.options.store else { return Ok(None) };
        if !exists(path) {
            return Ok(None);
        }
        inspect(path).map(Some).map_err(|error| {
            let remedy = format!("{error}: give a media file, or a path where there is nothing yet");
            self.refuse("store", &format!("file:{}", path.display()), remedy)
        })
    }

    /// Checks the words, for volumes that were checked before; a file that exists decides what was not given. Writes of up to
    /// `atomic_bytes` are committed as one, as far as a line can hold them.
    ///
    /// # Errors
    /// The first word that cannot be, or that the file contradicts.
    pub fn check(
        self,
        volumes: Vec<VolumeConfig>,
        file: Option<&Inspection>,
        atomic_bytes: u64,
    ) -> Result<MediaSettings, OptionError> {
        let geometry = match file {
            Some(file) => self.geometry_of(file)?,
            None => self.new_geometry(&volumes, atomic_bytes)?,
        };
        let timing = self.options.timing.unwrap_or_default();
        let patrol = self.options.patrol.unwrap_or_default();
        let cache = self.cache(line_bytes(&geometry))?;
        let mut ssd = SsdConfig {
            power_atomic_bytes: u32::try_from(power_atomic_bytes(&geometry, atomic_bytes)).unwrap_or(u32::MAX),
            geometry,
            volumes,
            cache,
            times: timing.times(),
            patrol: patrol.0.map(|seconds| Nanoseconds(u64::from(seconds) * 1_000_000_000)),
            misbehaviour: self.options.misbehave.map(|given| given.0).unwrap_or_default(),
            ..SsdConfig::default()
        };
        let life = self.life();
        ssd.endurance = endurance(life, &ssd);
        ssd.tuning.policy = self.options.gc.unwrap_or_default().policy();
        ssd.checked().map_err(|error| self.refuse_geometry(&error))?;
        let memory_max = self.memory_max(&ssd)?;
        Ok(MediaSettings {
            store: self.options.store.unwrap_or_default(),
            ssd,
            cache: self.options.cache.unwrap_or_default(),
            identity: [0; 16],
            memory_max,
            life,
            timing,
            patrol,
            exists: file.is_some(),
        })
    }

    /// The geometry of a drive that does not exist yet.
    fn new_geometry(&self, volumes: &[VolumeConfig], atomic_bytes: u64) -> Result<GeometryConfig, OptionError> {
        let largest = volumes.iter().map(|volume| volume.block_bytes).max().unwrap_or(512);
        let unit = self.options.iu.unwrap_or(Bytes(u64::from(largest.max(4096))));
        let possible = unit.0.is_power_of_two() && (u64::from(largest)..=64 << 20).contains(&unit.0);
        let Some(unit_bytes) = u32::try_from(unit.0).ok().filter(|_| possible) else {
            let remedy = format!("give a power of two from {}, the largest lba, to 64MiB", Bytes(u64::from(largest)));
            return Err(self.refuse("iu", &unit.to_string(), remedy));
        };
        let taken = volumes.iter().map(|volume| volume.units(unit_bytes)).fold(0, u64::saturating_add);
        let (user_units, volumes_max, metadata) = self.pool(unit, taken)?;
        let options = &self.options;
        let base = GeometryConfig::default();
        let unshaped = GeometryConfig {
            channels: self.count("channels", options.channels, base.channels, 256)?,
            unit_bytes,
            user_bytes: user_units.saturating_mul(unit.0),
            spare_per_million_of_user: options.op.unwrap_or_default().0,
            volumes_max,
            metadata_bytes_per_unit: metadata,
            factory_bad_blocks: options.bad_blocks.unwrap_or(base.factory_bad_blocks),
            ..base
        };
        let (least, wanted) = self.line_wanted(&unshaped, atomic_bytes);
        let shaped = |(dies, planes, page): (u32, u32, u32)| {
            Ok(GeometryConfig {
                dies_per_channel: self.count("dies", options.dies, dies, 256)?,
                planes_per_die: self.count("planes", options.planes, planes, 16)?,
                page_bytes: self.page_bytes(page)?,
                ..unshaped.clone()
            })
        };
        let shapes = SHAPES.into_iter().map(shaped).collect::<Result<Vec<_>, _>>()?;
        let fits = |shape: &&GeometryConfig| stripe_bytes(shape).saturating_mul(PAGES_WANTED) <= wanted;
        let mut geometry = shapes.iter().find(fits).or(shapes.last()).cloned().unwrap_or(unshaped);
        geometry.pages_per_block =
            self.count("pages", options.pages, pages_wanted(stripe_bytes(&geometry), least, wanted), 65536)?;
        Ok(geometry)
    }

    /// The units of the drive, how many namespaces come and go, and the room for their metadata; `taken` units are those of the namespaces
    /// that it has at first.
    fn pool(&self, unit: Bytes, taken: u64) -> Result<(u64, u32, u32), OptionError> {
        let Some(capacity) = self.options.capacity else { return Ok((taken, 0, 0)) };
        let units = capacity.0 / unit.0;
        if units == 0 || !capacity.0.is_multiple_of(unit.0) || capacity.0 > 1 << 50 {
            let remedy = format!("give a multiple of {unit}, the indirection unit, up to 1PiB");
            return Err(self.refuse("capacity", &capacity.to_string(), remedy));
        }
        if units < taken {
            let remedy = format!("the namespaces take {}: give at least that", Bytes(taken.saturating_mul(unit.0)));
            return Err(self.refuse("capacity", &capacity.to_string(), remedy));
        }
        let most =
            u32::try_from(u64::from(u32::MAX - 1) / units.next_multiple_of(1024)).unwrap_or(u32::MAX).min(VOLUMES_MAX);
        let namespaces = self.options.namespaces.unwrap_or(NAMESPACES.min(most));
        if !(1..=most).contains(&namespaces) {
            let remedy = if most == 0 {
                format!("give at most {}, or a larger iu", Bytes((u64::from(u32::MAX) - 1024).saturating_mul(unit.0)))
            } else {
                format!("give 1 to {most}; with a larger iu there may be more")
            };
            let (name, value) =
                if most == 0 { ("capacity", capacity.to_string()) } else { ("namespaces", namespaces.to_string()) };
            return Err(self.refuse(name, &value, remedy));
        }
        let metadata = self.options.metadata.unwrap_or(METADATA);
        let metadata_bytes =
            u32::try_from(metadata.0).ok().filter(|bytes| bytes.is_multiple_of(8) && *bytes <= 64 << 10);
        let refusal = || self.refuse("metadata", &metadata.to_string(), "give a multiple of 8 bytes, at most 64KiB");
        Ok((units, namespaces, metadata_bytes.ok_or_else(refusal)?))
    }

    /// Bytes that a line must have at least, and should have: it holds what a power loss leaves whole or undone, the cache that was asked
    /// for, and where nothing grows old in the cache as much as a cache usually has.
    fn line_wanted(&self, geometry: &GeometryConfig, atomic_bytes: u64) -> (u64, u64) {
        let unit = u64::from(geometry.unit_bytes);
        let usual = if self.options.cache_age == Some(Age::NONE) { CacheConfig::default().bytes } else { 0 };
        let cache = self.options.cache_size.map_or(usual, |size| size.0);
        let asked = atomic_bytes.saturating_add(unit).max(cache).min(LINE_BYTES_MAX);
        let least = unit.saturating_mul(UNITS_MIN).max(asked.next_multiple_of(unit));
        (least, (geometry.raw_bytes() / LINES_WANTED).min(LINE_BYTES_MAX).max(least))
    }

    fn count(&self, name: &str, given: Option<u32>, default: u32, most: u32) -> Result<u32, OptionError> {
        let number = given.unwrap_or(default);
        if (1..=most).contains(&number) {
            return Ok(number);
        }
        Err(self.refuse(name, &number.to_string(), format!("give 1 to {most}")))
    }

    fn page_bytes(&self, default: u32) -> Result<u32, OptionError> {
        let Some(page) = self.options.page_size else { return Ok(default) };
        let possible = page.0.is_power_of_two() && (512..=1 << 20).contains(&page.0);
        u32::try_from(page.0)
            .ok()
            .filter(|_| possible)
            .ok_or_else(|| self.refuse("page_size", &page.to_string(), "give a power of two from 512 to 1MiB"))
    }

    /// The cache is the part of the open line that is not programmed yet: a line that is full is programmed.
    fn cache(&self, line_bytes: u64) -> Result<CacheConfig, OptionError> {
        let base = CacheConfig::default();
        let size = self.options.cache_size.unwrap_or(Bytes(base.bytes.min(line_bytes)));
        if size.0 > line_bytes {
            let line = Bytes(line_bytes);
            let remedy = format!(
                "the cache is in the open line, and a line of this drive holds {line}: give at most that, or longer lines (channels, dies, \
                 planes, pages, page_size)"
            );
            return Err(self.refuse("cache_size", &size.to_string(), remedy));
        }
        Ok(CacheConfig {
            present: self.options.vwc.unwrap_or(true),
            capacitors: self.options.plp.unwrap_or(false),
            flush_apart: self.options.flush == Some(FlushDomain::Namespace),
            bytes: size.0,
            age_max: self.options.cache_age.map_or(base.age_max, |age| age.0),
            open_units: self.count("open_units", self.options.open_units, base.open_units, 1024)?,
            ..base
        })
    }

    /// How much the drive may be written, unless somebody says it: one that is nothing but memory does not wear out, and others outlive a
    /// week of any load.
    fn life(&self) -> Life {
        let memory = !matches!(self.options.store, Some(Store::File(_)));
        let usual = || {
            let timed = self.options.timing.unwrap_or_default().times().is_some();
            if memory && !timed { Life::Endless } else { Life::Erases(ERASES_RATED) }
        };
        self.options.endurance.unwrap_or_else(usual)
    }

    /// How much data a drive in memory may hold: at least enough to work with.
    fn memory_max(&self, ssd: &SsdConfig) -> Result<Option<u64>, OptionError> {
        let Some(most) = self.options.memory_max else { return Ok(None) };
        if let Some(Store::File(_)) = &self.options.store {
            return Err(self.refuse("memory_max", &most.to_string(), "it is for store=ram: leave it out for a file"));
        }
        let least = ssd.memory_min().map_err(|error| self.refuse_geometry(&error))?;
        if most.0 < least {
            let least = Bytes(least.next_multiple_of(1 << 20));
            let remedy = format!("give at least {least}, what this drive needs to work, or fewer pages");
            return Err(self.refuse("memory_max", &most.to_string(), remedy));
        }
        Ok(Some(most.0))
    }

    /// A rule that several words break together.
    fn refuse_geometry(&self, error: &ConfigError) -> OptionError {
        let words: Vec<_> = ["iu", "channels", "dies", "planes", "pages", "page_size", "bad_blocks"]
            .into_iter()
            .filter_map(|name| self.given.get(name).map(|word| format!("{name}={}", word.text)))
            .collect();
        let shown = if words.is_empty() { "geometry".to_owned() } else { words.join(",") };
        OptionError::new(
            "--media",
            shown,
            format!("{error}: give other channels, dies, planes, pages, page_size, bad_blocks or iu"),
        )
    }

    /// The file's geometry, if nothing that was given contradicts it.
    fn geometry_of(&self, file: &Inspection) -> Result<GeometryConfig, OptionError> {
        let options = &self.options;
        let there = &file.geometry;
        let size = |bytes: u32| Bytes(bytes.into()).to_string();
        let text = |number: Option<u32>| number.map(|number| number.to_string());
        let pairs = [
            ("iu", options.iu.map(|iu| iu.to_string()), size(there.unit_bytes)),
            ("capacity", options.capacity.map(|bytes| bytes.to_string()), Bytes(there.user_bytes).to_string()),
            ("namespaces", text(options.namespaces), there.volumes_max.to_string()),
            ("metadata", options.metadata.map(|bytes| bytes.to_string()), size(there.metadata_bytes_per_unit)),
            ("op", options.op.map(|op| op.to_string()), Share(there.spare_per_million_of_user).to_string()),
            ("channels", text(options.channels), there.channels.to_string()),
            ("dies", text(options.dies), there.dies_per_channel.to_string()),
            ("planes", text(options.planes), there.planes_per_die.to_string()),
            ("pages", text(options.pages), there.pages_per_block.to_string()),
            ("page_size", options.page_size.map(|page| page.to_string()), size(there.page_bytes)),
            ("bad_blocks", text(options.bad_blocks), there.factory_bad_blocks.to_string()),
        ];
        for (name, given, there) in pairs {
            if let Some(given) = given.filter(|given| *given != there) {
                let remedy = format!("{} has {name}={there}: leave {name} out, or give another file", self.file_name());
                return Err(self.refuse(name, &given, remedy));
            }
        }
        Ok(there.clone())
    }

    /// The file's name for messages.
    pub fn file_name(&self) -> String {
        match &self.options.store {
            Some(Store::File(path)) => path.display().to_string(),
            _ => String::new(),
        }
    }
}

fn endurance(life: Life, ssd: &SsdConfig) -> Endurance {
    match life {
        Life::Endless => Endurance::Endless,
        Life::Erases(erases) => Endurance::Erases(erases),
        Life::DriveWrites(hundredths) => {
            let day = ssd.geometry.user_bytes.saturating_mul(hundredths.into()) / 100;
            Endurance::HostBytes(day.saturating_mul(Life::DAYS).max(1))
        }
    }
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// What a write may touch must fit a line, however it lies, and its units are counted in 16 bits.
fn power_atomic_bytes(geometry: &GeometryConfig, asked: u64) -> u64 {
    let unit = u64::from(geometry.unit_bytes);
    let units = (line_bytes(geometry) / unit).min(u16::MAX.into());
    asked.min(units.saturating_sub(1) * unit).max(1)
}

fn line_bytes(geometry: &GeometryConfig) -> u64 {
    stripe_bytes(geometry).saturating_mul(geometry.pages_per_block.into())
}

fn stripe_bytes(geometry: &GeometryConfig) -> u64 {
    [geometry.channels, geometry.dies_per_channel, geometry.planes_per_die, geometry.page_bytes]
        .into_iter()
        .fold(1, |product, number| product * u64::from(number))
}

/// Pages of a block, for lines of about `wanted` bytes, and not below `least`.
fn pages_wanted(stripe: u64, least: u64, wanted: u64) -> u32 {
    // The largest power of two in it: whole units then fill whole lines.
    let pages = 1 << (wanted / stripe).max(2).ilog2();
    u32::try_from(least.div_ceil(stripe).max(pages)).unwrap_or(u32::MAX)
}

impl MediaSettings {
    /// The geometry and what follows from it.
    ///
    /// # Panics
    /// Never: the settings were checked.
    pub fn geometry(&self) -> Geometry {
        self.ssd.checked().expect("the settings were checked")
    }

    /// Whether there was something at the file's place when the settings were read.
    pub const fn exists(&self) -> bool {
        self.exists
    }

    /// The file that the media lies in, if it does.
    pub fn file(&self) -> Option<&Path> {
        match &self.store {
            Store::Ram => None,
            Store::File(path) => Some(path),
        }
    }

    /// The options that decide how much memory a part of the drive needs, with their values, and what would make it less.
    pub fn sizes_of(&self, part: Needed) -> (String, &'static str) {
        let geometry = &self.ssd.geometry;
        let iu = Bytes(geometry.unit_bytes.into());
        let sizes: u64 =
            self.ssd.volumes.iter().map(|volume| volume.capacity_blocks_max * u64::from(volume.block_bytes)).sum();
        let size = Bytes(sizes);
        let file = self.file().map_or_else(String::new, |path| format!("{}: ", path.display()));
        let (options, remedy) = match part {
            Needed::Data => {
                let op = Share(geometry.spare_per_million_of_user);
                (
                    format!("--namespace size={size} --media op={op}"),
                    "give a smaller size or size_max, less op, or --media store=file:PATH",
                )
            }
            Needed::Map => {
                (format!("--namespace size={size} --media iu={iu}"), "give a larger iu, or a smaller size or size_max")
            }
            Needed::Lines | Needed::OpenLines => {
                let GeometryConfig { channels, dies_per_channel, planes_per_die, pages_per_block, .. } = geometry;
                let page = Bytes(geometry.page_bytes.into());
                let options = format!(
                    "--namespace size={size} --media iu={iu},channels={channels},dies={dies_per_channel},planes={planes_per_die},\
                     pages={pages_per_block},page_size={page}"
                );
                let remedy = if part == Needed::Lines {
                    "give more pages, for fewer and longer lines, or a smaller size"
                } else {
                    "give fewer channels, dies, planes or pages, for shorter lines, or a larger iu"
                };
                (options, remedy)
            }
        };
        // What a file was made with it keeps.
        if self.exists { (format!("{file}{options}"), "make another file that needs less") } else { (options, remedy) }
    }

    /// What a power loss takes at most.
    fn volatile(&self) -> String {
        let cache = &self.ssd.cache;
        match (cache.present, Age(cache.age_max)) {
            (false, _) => "volatile: nothing that was completed".to_owned(),
            (true, Age::NONE) => format!("volatile: up to {} of data, until they are flushed", Bytes(cache.bytes)),
            (true, age) => format!("volatile: up to {} of data, for {age}", Bytes(cache.bytes)),
        }
    }

    /// As a table that [`MediaOptions`] reads back.
    pub fn printed(&self) -> PrintedMedia {
        let (geometry, cache) = (&self.ssd.geometry, &self.ssd.cache);
        let bytes = |number: u32| Bytes(number.into());
        PrintedMedia {
            store: self.store.clone(),
            capacity: self.has_capacity().then_some(Bytes(geometry.user_bytes)),
            namespaces: self.has_capacity().then_some(geometry.volumes_max),
            metadata: self.has_capacity().then(|| bytes(geometry.metadata_bytes_per_unit)),
            iu: bytes(geometry.unit_bytes),
            op: Share(geometry.spare_per_million_of_user),
            gc: Collection::of(self.ssd.tuning.policy),
            vwc: cache.present,
            plp: cache.capacitors,
            cache: self.cache,
            cache_size: cache.present.then_some(Bytes(cache.bytes)),
            cache_age: cache.present.then_some(Age(cache.age_max)),
            flush: cache.present.then_some(FlushDomain::of(cache.flush_apart)),
            open_units: cache.present.then_some(cache.open_units),
            memory_max: self.memory_max.map(Bytes),
            timing: self.timing,
            channels: geometry.channels,
            dies: geometry.dies_per_channel,
            planes: geometry.planes_per_die,
            pages: geometry.pages_per_block,
            page_size: bytes(geometry.page_bytes),
            bad_blocks: geometry.factory_bad_blocks,
            endurance: self.life,
            patrol: self.patrol,
            misbehave: Some(Misbehaving(self.ssd.misbehaviour)).filter(|of| !of.0.names().is_empty()),
        }
    }

    /// Whether identifiers are among those that there may be.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check_identifiers(&self, namespaces: &[NamespaceConfig]) -> Result<(), OptionError> {
        let most = self.ssd.geometry.volumes_max;
        let beyond = namespaces.iter().find(|namespace| namespace.nsid > most);
        beyond.map_or(Ok(()), |namespace| {
            let remedy = format!(
                "identifiers are 1 to {most} with --media namespaces={most}: give a smaller one, or more namespaces"
            );
            Err(OptionError::new("--namespace", format!("nsid={}", namespace.nsid), remedy))
        })
    }

    /// Whether namespaces come and go.
    pub const fn has_capacity(&self) -> bool {
        self.ssd.geometry.volumes_max != 0
    }

    /// The numbers that follow from the settings, for people: one line each.
    pub fn figures(&self) -> Vec<String> {
        let geometry = self.geometry();
        let user = u64::from(geometry.user_units) << geometry.unit_shift;
        let raw = u64::from(geometry.lines) * geometry.line_data_bytes as u64;
        let share = |part: u64, of: u64| {
            let hundredths = u128::from(part) * 10_000 / u128::from(of.max(1));
            format!("{}.{:02} %", hundredths / 100, hundredths % 100)
        };
        let map = u64::from(geometry.user_units) * 4;
        let memory = self.memory_max.filter(|most| *most < user).map(|most| {
            let (most, user) = (Bytes(most), Bytes(user));
            format!(
                "memory: {most} of data at most, of {user}; when it is full, writes of more end with Capacity Exceeded"
            )
        });
        let figures = vec![
            format!("L2P: {map} bytes, 4 for each unit of {}", Bytes(1 << geometry.unit_shift)),
            format!(
                "over-provisioning: spare/user {}, spare/raw {}",
                share(raw.saturating_sub(user), user),
                share(raw.saturating_sub(user), raw)
            ),
            format!(
                "lines: {} of {}, {} units each",
                geometry.lines,
                Bytes(geometry.line_data_bytes as u64),
                geometry.units_per_line
            ),
            format!("power-atomic: writes of up to {}", Bytes(self.ssd.power_atomic_bytes.into())),
            self.volatile(),
        ];
        figures.into_iter().chain(memory).collect()
    }
}

impl Part {
    const fn times(self) -> Option<NandTimes> {
        match self {
            Self::None => None,
            Self::Slc => Some(NandTimes::SLC),
            Self::Tlc => Some(NandTimes::TLC),
            Self::Qlc => Some(NandTimes::QLC),
        }
    }
}

/// `[media]` as it is printed.
#[derive(Serialize)]
pub struct PrintedMedia {
    store: Store,
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespaces: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Bytes>,
    iu: Bytes,
    op: Share,
    gc: Collection,
    vwc: bool,
    plp: bool,
    cache: HostCache,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_size: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_age: Option<Age>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flush: Option<FlushDomain>,
    #[serde(skip_serializing_if = "Option::is_none")]
    open_units: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_max: Option<Bytes>,
    timing: Part,
    channels: u32,
    dies: u32,
    planes: u32,
    pages: u32,
    page_size: Bytes,
    bad_blocks: u32,
    endurance: Life,
    patrol: Patrol,
    #[serde(skip_serializing_if = "Option::is_none")]
    misbehave: Option<Misbehaving>,
}

/// Where a store given with a namespace and one given with the media are the same.
pub fn same_place(one: &Store, other: &Store) -> bool {
    let full = |store: &Store| match store {
        Store::Ram => None,
        Store::File(path) => Some(std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path))),
    };
    full(one) == full(other)
}
