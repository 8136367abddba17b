//! The values of `--media` as users write them, and the structure that they fill. Nothing here is checked against anything else.

use std::fmt;
use std::path::PathBuf;

use media::Nanoseconds;
use media::config::VictimPolicy;
use media::fault::Misbehaviour;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::size::Bytes;

/// What was given of the media; what was not comes from the file or from defaults. The comments are what `--media help` prints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MediaOptions {
    /// Where namespaces are stored: in memory, or in a file that is created or recovered.
    pub store: Option<Store>,
    /// Capacity of the drive itself, out of which namespaces are made and deleted while it runs; otherwise it is that of its namespaces.
    pub capacity: Option<Bytes>,
    /// How many namespaces there may be at a time, with capacity: 1 to 128.
    pub namespaces: Option<u32>,
    /// Bytes of metadata that there is room for beside each indirection unit, with capacity: 0 to 64KiB.
    pub metadata: Option<Bytes>,
    /// Indirection unit, what one entry of the map stands for: a power of two from the largest lba to 64MiB.
    pub iu: Option<Bytes>,
    /// Over-provisioning: spare divided by user, 0% to 10000%. Drives for clients have 7%.
    pub op: Option<Share>,
    /// How garbage collection chooses its victims.
    pub gc: Option<Collection>,
    /// Whether there is a volatile write cache.
    pub vwc: Option<bool>,
    /// Power-loss protection: capacitors finish what is in the cache when power goes.
    pub plp: Option<bool>,
    /// Whether what is durable for the guest is asked to be on the host's disk.
    pub cache: Option<HostCache>,
    /// How much data may wait in the volatile cache, at most a line; a new drive gets lines that long, up to 16MiB.
    pub cache_size: Option<Bytes>,
    /// How long data may wait in the volatile cache: 1us to 1440min.
    pub cache_age: Option<Age>,
    /// What a flush of one namespace makes durable.
    pub flush: Option<FlushDomain>,
    /// How much data a drive in memory may hold, of all namespaces.
    pub memory_max: Option<Bytes>,
    /// Partly written units that stay open for further parts: an SD card has few.
    pub open_units: Option<u32>,
    /// How long the NAND takes: no time, or the times of a kind of NAND.
    pub timing: Option<Part>,
    /// Channels of the NAND.
    pub channels: Option<u32>,
    /// Dies behind each channel; small drives have fewer.
    pub dies: Option<u32>,
    /// Planes of each die; small drives have fewer.
    pub planes: Option<u32>,
    /// Pages of each block, such that there are about a thousand lines or more.
    pub pages: Option<u32>,
    /// Size of a page of the NAND, what one program writes; small drives have smaller ones.
    pub page_size: Option<Bytes>,
    /// Factory bad blocks, each with a replacement.
    pub bad_blocks: Option<u32>,
    /// How much the drive may be written until it is worn out.
    pub endurance: Option<Life>,
    /// How long a patrol takes to read a whole file for damage: 1s to 365d.
    pub patrol: Option<Patrol>,
    /// Promises that the drive breaks, to test software above it; several are joined by +.
    pub misbehave: Option<Misbehaving>,
}

/// How long the background reading of everything in a file takes, in seconds; `off` for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("values" = "off|TIME"))]
pub struct Patrol(pub Option<u32>);

impl Default for Patrol {
    /// A week.
    fn default() -> Self {
        Self(Some(7 * 86_400))
    }
}

/// Units of time, the largest first.
const PERIODS: [(&str, u32); 4] = [("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)];

impl TryFrom<String> for Patrol {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const REMEDY: &str = "give off, or a period of 1s to 365d such as 7d, 12h, 30min or 90s";
        if text == "off" {
            return Ok(Self(None));
        }
        let with_unit = PERIODS.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
        let (digits, seconds) = with_unit.ok_or(REMEDY)?;
        let whole = digits.bytes().all(|byte| byte.is_ascii_digit());
        let count: u32 = digits.parse().ok().filter(|_| whole).ok_or(REMEDY)?;
        let period = count.checked_mul(*seconds).filter(|period| (1..=365 * 86_400).contains(period));
        period.map(|period| Self(Some(period))).ok_or(REMEDY)
    }
}

impl From<Patrol> for String {
    fn from(patrol: Patrol) -> Self {
        let Some(period) = patrol.0 else { return "off".to_owned() };
        let (unit, seconds) = PERIODS.into_iter().find(|(_, seconds)| period % seconds == 0).unwrap_or(("s", 1));
        format!("{}{unit}", period / seconds)
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A decimal fraction with so many places at most, as a whole number of the last place: exact, no floating point.
fn decimal(text: &str, places: usize) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    if !is_digits(whole) || !is_digits(part) || part.len() > places {
        return None;
    }
    format!("{whole}{part:0<places$}").parse().ok()
}

/// A number of the last of so many places, written as [`decimal`] reads it.
struct Decimal(u32, usize);

impl fmt::Display for Decimal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number, places) = *self;
        let one = 10_u32.pow(u32::try_from(places).unwrap_or(u32::MAX));
        let part = format!(".{:0places$}", number % one);
        write!(formatter, "{}{}", number / one, part.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// How much a drive may be written in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("values" = "none|N|N.NNdwpd"))]
pub enum Life {
    /// As much as anybody likes.
    Endless,
    /// So many erases of each block.
    Erases(u32),
    /// Drive writes per day for five years, in hundredths.
    DriveWrites(u32),
}

impl Life {
    /// What a drive is rated for, of which the days are counted.
    pub const DAYS: u64 = 5 * 365;
    const DRIVE_WRITES: &str = "dwpd";
}

impl TryFrom<String> for Life {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const REMEDY: &str = "give none, erases of each block such as 3000, or drive writes a day for five years such as 1dwpd or 0.3dwpd";
        if text == "none" {
            return Ok(Self::Endless);
        }
        let Some(daily) = text.strip_suffix(Self::DRIVE_WRITES) else {
            let erases = text.parse().ok().filter(|erases| is_digits(&text) && *erases > 0);
            return erases.map(Self::Erases).ok_or(REMEDY);
        };
        let hundredths = decimal(daily, 2).filter(|hundredths| *hundredths > 0);
        hundredths.map(Self::DriveWrites).ok_or(REMEDY)
    }
}

impl From<Life> for String {
    fn from(life: Life) -> Self {
        match life {
            Life::Endless => "none".to_owned(),
            Life::Erases(erases) => erases.to_string(),
            Life::DriveWrites(hundredths) => format!("{}{}", Decimal(hundredths, 2), Life::DRIVE_WRITES),
        }
    }
}

/// The promises that a drive breaks, for testing what stands above it: their names, joined by `+`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("values" = Misbehaviour::NAMES.join("|")))]
pub struct Misbehaving(pub Misbehaviour);

impl TryFrom<String> for Misbehaving {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut misbehaviour = Misbehaviour::default();
        for name in text.split('+') {
            if !misbehaviour.switch_on(name) {
                return Err(format!("give one of {}, or several joined by +", Misbehaviour::NAMES.join(", ")));
            }
        }
        Ok(Self(misbehaviour))
    }
}

impl From<Misbehaving> for String {
    fn from(misbehaving: Misbehaving) -> Self {
        misbehaving.0.names().join("+")
    }
}

/// Where the bytes of the media lie.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("values" = "ram|file:PATH"))]
pub enum Store {
    /// In the memory of this process: gone with it.
    #[default]
    Ram,
    /// In a file.
    File(PathBuf),
}

impl TryFrom<String> for Store {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.strip_prefix("file:") {
            Some("") => Err("give file: and the path of the file"),
            Some(path) => Ok(Self::File(path.into())),
            None if text == "ram" => Ok(Self::Ram),
            None => Err("give ram or file:PATH"),
        }
    }
}

impl From<Store> for String {
    fn from(store: Store) -> Self {
        store.to_string()
    }
}

impl fmt::Display for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ram => formatter.write_str("ram"),
            Self::File(path) => write!(formatter, "file:{}", path.display()),
        }
    }
}

/// A share in parts per million, written in percent: exact, no floating point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("values" = "PERCENT%"))]
pub struct Share(pub u32);

impl Default for Share {
    /// What drives for servers have that are written a lot; those for clients have 7 %.
    fn default() -> Self {
        Self(280_000)
    }
}

impl TryFrom<String> for Share {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const REMEDY: &str = "give a share of the user's space such as 7% or 12.5%, of 0% to 10000%, to four decimals";
        let parts = text.strip_suffix('%').and_then(|number| decimal(number, 4)).ok_or(REMEDY)?;
        if parts > 100_000_000 { Err(REMEDY) } else { Ok(Self(parts)) }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}%", Decimal(self.0, 4))
    }
}

impl From<Share> for String {
    fn from(share: Share) -> Self {
        share.to_string()
    }
}

/// How long something may wait, or for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("values" = "none|TIME"))]
pub struct Age(pub Nanoseconds);

impl Age {
    /// For ever.
    pub const NONE: Self = Self(Nanoseconds(u64::MAX));
    const UNITS: [(&str, u64); 4] = [("ms", 1_000_000), ("us", 1_000), ("min", 60_000_000_000), ("s", 1_000_000_000)];
    /// A day: who wants more wants none.
    const MOST: u64 = 86_400_000_000_000;
}

impl TryFrom<String> for Age {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const REMEDY: &str = "give a time such as 100ms, 30s or 5min, of 1us to 1440min, or none";
        if text == "none" {
            return Ok(Self::NONE);
        }
        let with_unit = Self::UNITS.iter().find_map(|(unit, of)| Some((text.strip_suffix(unit)?, of)));
        let (digits, of) = with_unit.ok_or(REMEDY)?;
        let number = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let time = number.and_then(|digits| digits.parse::<u64>().ok()).and_then(|number| number.checked_mul(*of));
        time.filter(|time| (1_000..=Self::MOST).contains(time)).map(|time| Self(Nanoseconds(time))).ok_or(REMEDY)
    }
}

impl fmt::Display for Age {
    /// In the largest unit that divides it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return formatter.write_str("none");
        }
        let fitting = Self::UNITS.iter().filter(|(_, of)| self.0.0.is_multiple_of(*of));
        match fitting.max_by_key(|(_, of)| *of) {
            Some((unit, of)) => write!(formatter, "{}{unit}", self.0.0 / of),
            None => write!(formatter, "{}ns", self.0.0),
        }
    }
}

impl From<Age> for String {
    fn from(age: Age) -> Self {
        age.to_string()
    }
}

/// How the next line to collect is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Collection {
    /// The one with the fewest valid units.
    Greedy,
    /// The one with the best ratio of benefit to cost.
    #[default]
    CostBenefit,
    /// The oldest.
    Fifo,
}

impl Collection {
    /// As the media calls it.
    pub const fn policy(self) -> VictimPolicy {
        match self {
            Self::Greedy => VictimPolicy::Greedy,
            Self::CostBenefit => VictimPolicy::CostBenefit,
            Self::Fifo => VictimPolicy::Fifo,
        }
    }

    /// As the user calls it.
    pub const fn of(policy: VictimPolicy) -> Self {
        match policy {
            VictimPolicy::Greedy => Self::Greedy,
            VictimPolicy::CostBenefit => Self::CostBenefit,
            VictimPolicy::Fifo => Self::Fifo,
        }
    }
}

/// QEMU's words for what is asked of the host's disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HostCache {
    /// What is durable for the guest is on the host's disk.
    #[default]
    Writeback,
    /// A failure of the host may lose anything.
    Unsafe,
}

/// What a flush of one namespace, and a forced request, make durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FlushDomain {
    /// Everything that the drive was told.
    Device,
    /// What the specification asks for.
    Namespace,
}

impl FlushDomain {
    /// That of a drive.
    #[must_use]
    pub const fn of(flush_apart: bool) -> Self {
        if flush_apart { Self::Namespace } else { Self::Device }
    }
}

impl fmt::Display for FlushDomain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if *self == Self::Device { "device" } else { "namespace" })
    }
}

/// Whose times the NAND takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// As fast as the machine allows.
    #[default]
    None,
    /// One bit a cell.
    Slc,
    /// Three bits a cell.
    Tlc,
    /// Four bits a cell.
    Qlc,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact_and_read_back_as_themselves() {
        for (text, parts) in [("7%", 70_000), ("12.5%", 125_000), ("0.0001%", 1), ("0%", 0), ("10000%", 100_000_000)] {
            assert_eq!(Share::try_from(text.to_owned()), Ok(Share(parts)));
            assert_eq!(Share(parts).to_string(), text);
        }
        for text in ["", "%", "7", "7 %", "1.%", ".5%", "-1%", "1.00001%", "10001%", "99999999999%", "1e3%"] {
            assert!(Share::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn ages_are_exact_and_read_back_as_themselves() {
        for (text, time) in [("100ms", 100_000_000), ("30s", 30_000_000_000), ("7us", 7_000), ("1440min", Age::MOST)] {
            assert_eq!(Age::try_from(text.to_owned()), Ok(Age(Nanoseconds(time))));
            assert_eq!(Age(Nanoseconds(time)).to_string(), text);
        }
        assert_eq!(Age::try_from("60s".to_owned()).map(String::from), Ok("1min".to_owned()));
        assert_eq!(Age::try_from("none".to_owned()).map(String::from), Ok("none".to_owned()));
        for text in ["", "s", "100", "0s", "-1s", "1.5s", "1441min", "99999999999999999999s", "1h", "never"] {
            assert!(Age::try_from(text.to_owned()).is_err_and(|remedy| remedy.contains("or none")), "{text}");
        }
    }

    #[test]
    fn patrols_are_off_or_a_period_and_read_back_as_themselves() {
        for (text, period) in [("off", None), ("7d", Some(604_800)), ("90min", Some(5400)), ("1s", Some(1))] {
            assert_eq!(Patrol::try_from(text.to_owned()), Ok(Patrol(period)));
            assert_eq!(String::from(Patrol(period)), text);
        }
        assert_eq!(String::from(Patrol::default()), "7d");
        for text in ["", "d", "7", "0s", "366d", "-1h", "+1h", "1.5h", "7 d", "30m", "99999999999d", "7w", "é"] {
            assert!(Patrol::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn misbehaviours_are_named_exactly_or_refused() {
        let read = |text: &str| Misbehaving::try_from(text.to_owned());
        assert_eq!(read("shorn-write+ignored-flush").map(String::from), Ok("ignored-flush+shorn-write".to_owned()));
        for text in ["", "all", "shorn", "shorn-write,stale-map", "shorn-write+"] {
            assert!(read(text).is_err_and(|remedy| remedy.contains("give one of ignored-flush, ")), "{text}");
        }
    }

    #[test]
    fn stores_are_ram_or_a_path() {
        assert_eq!(Store::try_from("file:a:b".to_owned()), Ok(Store::File("a:b".into())));
        assert_eq!(Store::try_from("ram".to_owned()), Ok(Store::Ram));
        assert!(Store::try_from("file:".to_owned()).is_err());
        assert!(Store::try_from("disk".to_owned()).is_err());
    }
}
