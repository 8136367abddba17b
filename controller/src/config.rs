//! The options of a controller, in QEMU's spellings, and what follows from them. [`DeviceOptions`] and [`NamespaceOptions`] are the raw
//! values; [`Config::check`] turns them into numbers that are known to be valid. Nothing else reads the raw ones.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

pub use atomic::{AtomicWishes, Atomics, ControllerAtomics};

use crate::ana::{ANA_GROUP_FIRST, ANA_GROUPS_MAX};
use crate::controllers::{ControllerId, ControllerSet};

mod atomic;

/// The largest number of I/O queue pairs: their doorbells and those of the admin queue fill the one page at 1000h.
pub const IO_QUEUE_PAIRS_MAX: u16 = 511;
/// The largest number of MSI-X vectors: their table fills the one page at 2000h.
pub const VECTORS_MAX: u16 = 256;
/// The largest transfer, as a power of two of pages: 2^9 pages of 4 KiB are 2 MiB.
pub const MDTS_MAX: u8 = 9;

/// How much metadata a block may have, in bytes.
pub const METADATA_BYTES: [u16; 4] = [0, 8, 16, 64];
/// What to do about any other amount.
pub const METADATA_REMEDY: &str = "give 0, 8, 16 or 64 bytes of metadata";

/// Whether a doorbell reaches the device by a message or by a store into a shared page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Doorbells {
    /// Every doorbell is a message (with shadow doorbells there are few). The device sleeps when there is none.
    #[default]
    Trapped,
    /// The guest stores into a page that the device polls.
    Mapped,
}

/// How closely the host is looked at: which rules of its driver are judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Checks {
    /// None.
    Off,
    /// Those that cost I/O commands nothing: registers, admin commands, and whatever is refused.
    #[default]
    Cheap,
    /// All. I/O commands leave the fast path.
    On,
    /// All, and the first rule that is broken ends the run.
    Strict,
}

/// Whether writes above the promised atomic units are atomic too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Interleave {
    /// Every command is atomic to every other, which is more than promised.
    #[default]
    None,
    /// A write that is above the atomic unit or crosses a boundary goes to the media piece by piece, in an order that follows from a
    /// seed, with other commands in between; so does a read where that can be told. Each piece counts in the SMART log.
    Seeded,
}

/// Options of the device: the names of QEMU's `-device nvme` where it has them. The comments are what `--device help` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeviceOptions {
    /// Serial number: 1 to 20 printable ASCII characters.
    pub serial: String,
    /// Model number: 1 to 40 printable ASCII characters.
    pub model: String,
    /// Firmware revision: 1 to 8 printable ASCII characters.
    #[serde(rename = "firmware-version")]
    pub firmware_version: String,
    /// NVMe Qualified Name of the subsystem.
    pub subnqn: String,
    /// PCI vendor ID.
    #[serde(rename = "x-pci-vendor-id")]
    pub vendor_id: u16,
    /// PCI device ID.
    #[serde(rename = "x-pci-device-id")]
    pub device_id: u16,
    /// Largest transfer, as a power of two of 4 KiB pages; 0 stands for the largest.
    pub mdts: u8,
    /// How many I/O queue pairs a host may create.
    pub max_ioqpairs: u16,
    /// How many MSI-X vectors; 0 leaves only the interrupt pin.
    pub msix_qsize: u16,
    /// How many entries a queue may have, less one.
    pub mqes: u16,
    /// Whether controllers may reach namespaces in different ways (ANA); `ana-set-state` sets how.
    pub ana: bool,
    /// How many Asynchronous Event Requests may wait, less one.
    pub aerl: u8,
    /// How many events are kept while none waits.
    pub aer_max_queued: u32,
    /// Whether Doorbell Buffer Config (shadow doorbells) is offered; with `doorbells=mapped` it never is.
    pub dbcs: bool,
    /// How doorbells arrive.
    pub doorbells: Doorbells,
    /// Disable Normal of the Write Atomicity Normal feature, as it is at power-on.
    #[serde(rename = "atomic.dn")]
    pub atomic_dn: bool,
    /// Atomic Write Unit Normal: blocks less one.
    #[serde(rename = "atomic.awun")]
    pub atomic_awun: u16,
    /// Atomic Write Unit Power Fail: blocks less one.
    #[serde(rename = "atomic.awupf")]
    pub atomic_awupf: u16,
    /// Atomic Compare and Write Unit: blocks less one.
    #[serde(rename = "atomic.acwu")]
    pub atomic_acwu: u16,
    /// Whether writes above the atomic unit are split into pieces.
    pub interleave: Interleave,
    /// The seed of the order of their pieces.
    pub interleave_seed: u32,
    /// Which rules the host's driver is held to.
    pub checks: Checks,
    /// How many times as slow as a real machine the host may be, for rules with a time limit.
    pub checks_slowness: u16,
}

impl Default for DeviceOptions {
    fn default() -> Self {
        Self {
            serial: "brownout-0".into(),
            model: "brownout NVMe SSD".into(),
            firmware_version: env!("CARGO_PKG_VERSION").into(),
            subnqn: String::new(),
            vendor_id: 0x1af4,
            device_id: 0x10f0,
            mdts: 7,
            max_ioqpairs: 64,
            msix_qsize: 65,
            mqes: 0x7ff,
            ana: false,
            aerl: 3,
            aer_max_queued: 64,
            dbcs: true,
            doorbells: Doorbells::Trapped,
            atomic_dn: false,
            atomic_awun: 0,
            atomic_awupf: 0,
            atomic_acwu: 0,
            interleave: Interleave::None,
            interleave_seed: 0,
            checks: Checks::Cheap,
            checks_slowness: 20,
        }
    }
}

/// Options of a namespace. Its size and block size are options of the media. The comments are what `--namespace help` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NamespaceOptions {
    /// Identifier from 1; 0 takes the next free one.
    pub nsid: u32,
    /// UUID: 32 hexadecimal digits.
    #[schemars(with = "Option<String>")]
    pub uuid: Option<Uuid>,
    /// Namespace Globally Unique Identifier: 32 hexadecimal digits.
    pub nguid: Option<String>,
    /// IEEE Extended Unique Identifier; 0 is none.
    pub eui64: u64,
    /// Bytes of metadata beside each block: 0, 8, 16 or 64. The media keeps them.
    pub ms: u16,
    /// Where the metadata is in guest memory: 0 in a buffer of its own, 1 behind each block.
    pub mset: u8,
    /// Namespace Atomic Write Unit Normal: blocks less one; 0 leaves it to the controller's, as in the next two.
    #[serde(rename = "atomic.nawun")]
    pub atomic_nawun: Option<u16>,
    /// Namespace Atomic Write Unit Power Fail: blocks less one.
    #[serde(rename = "atomic.nawupf")]
    pub atomic_nawupf: Option<u16>,
    /// Namespace Atomic Compare and Write Unit: blocks less one.
    #[serde(rename = "atomic.nacwu")]
    pub atomic_nacwu: Option<u16>,
    /// Namespace Atomic Boundary Size Normal: blocks less one; 0 is no boundary.
    #[serde(rename = "atomic.nabsn")]
    pub atomic_nabsn: Option<u16>,
    /// Namespace Atomic Boundary Size Power Fail: blocks less one; 0 is no boundary.
    #[serde(rename = "atomic.nabspf")]
    pub atomic_nabspf: Option<u16>,
    /// Namespace Atomic Boundary Offset: the block at which the first boundary lies.
    #[serde(rename = "atomic.nabo")]
    pub atomic_nabo: u16,
    /// Multiple Atomicity Mode: a write that crosses boundaries is atomic between each two.
    #[serde(rename = "atomic.mam")]
    pub atomic_mam: bool,
    /// Whether several controllers may have it at the same time.
    pub shared: bool,
    /// No controller has it at the start.
    pub detached: bool,
    /// The controllers that have it at the start, such as 0:2; otherwise all, or the first where it is not shared.
    pub controllers: Option<String>,
    /// ANA group, 1 to 32: the namespaces of a group are reached alike. 0 is group 1. Needs ana=on.
    pub anagrpid: u32,
}

impl Default for NamespaceOptions {
    fn default() -> Self {
        Self {
            nsid: 0,
            uuid: None,
            nguid: None,
            eui64: 0,
            ms: 0,
            mset: 0,
            atomic_nawun: None,
            atomic_nawupf: None,
            atomic_nacwu: None,
            atomic_nabsn: None,
            atomic_nabspf: None,
            atomic_nabo: 0,
            atomic_mam: false,
            shared: true,
            detached: false,
            controllers: None,
            anagrpid: 0,
        }
    }
}

impl NamespaceOptions {
    /// The controllers that have it at the start.
    fn attached(&self) -> Result<ControllerSet, ConfigError> {
        let Some(text) = &self.controllers else {
            let usual = if self.shared { ControllerSet::ALL } else { ControllerSet::one(ControllerId::FIRST) };
            return Ok(if self.detached { ControllerSet::NONE } else { usual });
        };
        let list = ControllerSet::parse(text)
            .ok_or_else(|| refuse("controllers", text, "give identifiers from 0 to 63, ascending, such as 0:2"))?;
        if self.detached {
            return Err(refuse(
                "controllers",
                text,
                "detached=on leaves the namespace to no controller: give one of the two",
            ));
        }
        if !self.shared && list.count() > 1 {
            return Err(refuse("controllers", text, "with shared=off one controller at a time has it: name one"));
        }
        Ok(list)
    }

    /// Its ANA group.
    fn group(&self, ana: bool) -> Result<u32, ConfigError> {
        match self.anagrpid {
            0 => Ok(ANA_GROUP_FIRST),
            given if !ana => Err(refuse("anagrpid", given, "there are groups with --device ana=on only")),
            given if given <= ANA_GROUPS_MAX => Ok(given),
            given => Err(refuse("anagrpid", given, format!("give 1 to {ANA_GROUPS_MAX}"))),
        }
    }

    fn atomics(&self) -> AtomicWishes {
        AtomicWishes {
            nawun_z: self.atomic_nawun,
            nawupf_z: self.atomic_nawupf,
            nacwu_z: self.atomic_nacwu,
            nabsn_z: self.atomic_nabsn,
            nabspf_z: self.atomic_nabspf,
            nabo: self.atomic_nabo,
            multiple: self.atomic_mam,
        }
    }
}

/// The checked configuration of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceConfig {
    /// From 1 up, unique.
    pub nsid: u32,
    /// Never nil.
    pub uuid: Uuid,
    /// All zero if there is none.
    pub nguid: [u8; 16],
    /// 0 if there is none.
    pub eui64: u64,
    /// Metadata, where there is any, follows each block instead of being apart.
    pub extended_metadata: bool,
    /// Its atomic units, as far as they were given; [`Config::atomics`] says what they come to.
    pub atomics: AtomicWishes,
    /// Several controllers may have it at the same time.
    pub shared: bool,
    /// Those that have it at the start; some need not exist.
    pub attached: ControllerSet,
    /// Its ANA group, from 1; told to hosts only with [`Config::ana`].
    pub anagrpid: u32,
}

/// The checked configuration of a controller, with all derived numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Padded with spaces, as on the wire.
    pub serial: [u8; 20],
    /// Padded with spaces.
    pub model: [u8; 40],
    /// Padded with spaces.
    pub firmware: [u8; 8],
    /// Padded with zeroes.
    pub subnqn: [u8; 256],
    /// PCI vendor.
    pub vendor_id: u16,
    /// PCI device.
    pub device_id: u16,
    /// As reported: never 0.
    pub mdts: u8,
    /// I/O queue pairs a host may create.
    pub io_queue_pairs: u16,
    /// MSI-X vectors; 0 leaves the pin.
    pub vectors: u16,
    /// CAP.MQES: entries of the largest queue, less one.
    pub mqes_z: u16,
    /// Whether asymmetric namespace access is reported.
    pub ana: bool,
    /// Asynchronous Event Request Limit, zero-based.
    pub aerl_z: u8,
    /// How many events are kept.
    pub events_kept: usize,
    /// Whether shadow doorbells are offered.
    pub shadow_doorbells: bool,
    /// How doorbells arrive.
    pub doorbells: Doorbells,
    /// The atomic units of all namespaces.
    pub atomics: ControllerAtomics,
    /// The seed of the order of pieces, if commands above the atomic unit are split.
    pub interleave: Option<u32>,
    /// Which rules the host's driver is held to. The controller itself judges nothing.
    pub checks: Checks,
    /// How many times as slow as a real machine the host may be: at least 1.
    pub checks_slowness: u16,
    /// In ascending order of their identifiers; the n-th stands on the media's volume n.
    pub namespaces: Vec<NamespaceConfig>,
}

/// An invalid option: its name, its value, and what is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{option}={value}: {remedy}")]
pub struct ConfigError {
    /// The option's name as the user wrote it.
    pub option: &'static str,
    /// The value given.
    pub value: String,
    /// What is accepted.
    pub remedy: String,
}

fn refuse(option: &'static str, value: impl std::fmt::Display, remedy: impl Into<String>) -> ConfigError {
    ConfigError { option, value: value.to_string(), remedy: remedy.into() }
}

impl Config {
    /// The largest transfer in bytes: 2^MDTS pages of 4 KiB (CAP.MPSMIN is 0).
    #[must_use]
    pub const fn transfer_bytes_max(&self) -> usize {
        4096 << self.mdts
    }

    /// The atomic units of a namespace on a media that commits up to `power_atomic_blocks` of its blocks as one.
    ///
    /// # Errors
    /// The first rule of NVM Command Set 1.1 section 2.1.4 that is broken, by the option that breaks it.
    ///
    /// # Panics
    /// If there is no such namespace.
    pub fn atomics(&self, namespace: usize, power_atomic_blocks: u32) -> Result<Atomics, ConfigError> {
        self.namespaces[namespace].atomics.resolve(self.atomics, power_atomic_blocks)
    }

    /// Whether a command can carry a block of a namespace, given its bytes of data and of metadata: otherwise nothing could ever be read or
    /// written. A transfer counts metadata that lies among the data, and no other (NVMe Base 2.1 section 5.1.13.2.1, MDTS).
    ///
    /// # Errors
    /// It cannot; the larger of what each of both options would have to be.
    ///
    /// # Panics
    /// If there is no such namespace.
    pub fn carries(&self, namespace: usize, block_bytes: u32, metadata_bytes: u32) -> Result<(), ConfigError> {
        let NamespaceConfig { nsid, extended_metadata, .. } = self.namespaces[namespace];
        let among = if extended_metadata { metadata_bytes } else { 0 };
        let bytes = u64::from(block_bytes) + u64::from(among);
        if bytes <= self.transfer_bytes_max() as u64 {
            return Ok(());
        }
        let enough = bytes.div_ceil(4096).next_power_of_two().trailing_zeros();
        let (with, without) = match among {
            0 => (String::new(), ""),
            _ => (format!(" and ms={among} with mset=1"), ", or mset=0"),
        };
        let remedy = format!(
            "a command carries at most {} bytes then, and a block of namespace {nsid} with lba={block_bytes}{with} has {bytes}: \
             give mdts={enough} or more, or a smaller lba{without}",
            self.transfer_bytes_max()
        );
        Err(refuse("mdts", self.mdts, remedy))
    }

    /// How many blocks of a namespace the media must be able to commit as one, and whether more would be of use: unless the
    /// user set it, the media may choose.
    ///
    /// # Panics
    /// If there is no such namespace.
    #[must_use]
    pub fn power_atomic_blocks(&self, namespace: usize) -> (u32, bool) {
        let asked = self.namespaces[namespace].atomics.power_fail_z();
        (u32::from(asked.unwrap_or(0).max(self.atomics.awupf_z)) + 1, asked.is_none())
    }

    /// Checks the options.
    ///
    /// # Errors
    /// The first option that is invalid.
    pub fn check(device: &DeviceOptions, namespaces: &[NamespaceOptions]) -> Result<Self, ConfigError> {
        if device.mdts > MDTS_MAX {
            return Err(refuse("mdts", device.mdts, format!("a power of two of 4 KiB pages, at most {MDTS_MAX}")));
        }
        if device.max_ioqpairs == 0 || device.max_ioqpairs > IO_QUEUE_PAIRS_MAX {
            return Err(refuse("max_ioqpairs", device.max_ioqpairs, format!("give 1 to {IO_QUEUE_PAIRS_MAX}")));
        }
        if device.msix_qsize > VECTORS_MAX {
            return Err(refuse(
                "msix_qsize",
                device.msix_qsize,
                format!("give at most {VECTORS_MAX}; 0 leaves only INTx"),
            ));
        }
        if device.mqes == 0 {
            return Err(refuse(
                "mqes",
                device.mqes,
                "a queue has at least 2 entries, and mqes is one less: give 1 to 65535",
            ));
        }
        if device.checks_slowness == 0 {
            return Err(refuse("checks_slowness", 0, "give 1 for a real machine, 20 for one that is emulated"));
        }
        // Before what is made from it.
        let serial = padded("serial", &device.serial)?;
        let subnqn = match device.subnqn.as_str() {
            // A serial number may hold spaces, a name may not.
            "" => format!("nqn.2026-11.io.brownout:{}", device.serial.replace(' ', "-")),
            given => given.to_owned(),
        };
        if !subnqn.starts_with("nqn.") || subnqn.len() > 223 || !subnqn.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refuse(
                "subnqn",
                subnqn,
                "give a name that starts with nqn. and has at most 223 printable characters",
            ));
        }
        let mut nqn = [0; 256];
        nqn[..subnqn.len()].copy_from_slice(subnqn.as_bytes());
        Ok(Self {
            serial,
            model: padded("model", &device.model)?,
            firmware: padded("firmware-version", &device.firmware_version)?,
            subnqn: nqn,
            vendor_id: device.vendor_id,
            device_id: device.device_id,
            mdts: if device.mdts == 0 { MDTS_MAX } else { device.mdts },
            io_queue_pairs: device.max_ioqpairs,
            vectors: device.msix_qsize,
            mqes_z: device.mqes,
            ana: device.ana,
            aerl_z: device.aerl,
            events_kept: usize::try_from(device.aer_max_queued).unwrap_or(usize::MAX),
            // Where doorbells are stores into a page that we poll, shadow buffers would only be a second place to look.
            shadow_doorbells: device.dbcs && device.doorbells == Doorbells::Trapped,
            doorbells: device.doorbells,
            atomics: ControllerAtomics {
                disable_normal: device.atomic_dn,
                awun_z: device.atomic_awun,
                awupf_z: device.atomic_awupf,
                acwu_z: device.atomic_acwu,
            }
            .checked()?,
            interleave: (device.interleave == Interleave::Seeded).then_some(device.interleave_seed),
            checks: device.checks,
            checks_slowness: device.checks_slowness,
            namespaces: check_namespaces(device, namespaces)?,
        })
    }
}

/// `text` as ASCII, padded with spaces to the field's length (NVMe Base 2.1 section 1.4.2: ASCII strings are left justified).
fn padded<const N: usize>(option: &'static str, text: &str) -> Result<[u8; N], ConfigError> {
    let printable = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if text.is_empty() || text.len() > N || !printable {
        return Err(refuse(option, text, format!("give 1 to {N} printable ASCII characters")));
    }
    let mut field = [b' '; N];
    field[..text.len()].copy_from_slice(text.as_bytes());
    Ok(field)
}

fn check_namespaces(device: &DeviceOptions, options: &[NamespaceOptions]) -> Result<Vec<NamespaceConfig>, ConfigError> {
    let mut checked: Vec<NamespaceConfig> = Vec::with_capacity(options.len());
    for option in options {
        let next = checked.last().map_or(1, |last| last.nsid + 1);
        let nsid = if option.nsid == 0 { next } else { option.nsid };
        if nsid < next || nsid > 1024 {
            return Err(refuse(
                "nsid",
                nsid,
                format!("identifiers ascend from 1 to 1024; the next free one is {next}"),
            ));
        }
        let uuid = option.uuid.unwrap_or_else(|| derived_uuid(device.serial.as_bytes(), nsid, 0));
        if uuid.is_nil() {
            return Err(refuse("uuid", uuid, "leave it away, or give one that is not all zeroes"));
        }
        let nguid = match &option.nguid {
            None => [0; 16],
            Some(text) => {
                let nguid = Uuid::try_parse(text).ok().filter(|nguid| !nguid.is_nil());
                let remedy = "give 32 hexadecimal digits that are not all zero, or leave it away";
                *nguid.ok_or_else(|| refuse("nguid", text, remedy))?.as_bytes()
            }
        };
        if !METADATA_BYTES.contains(&option.ms) {
            return Err(refuse("ms", option.ms, METADATA_REMEDY));
        }
        if option.mset > 1 {
            return Err(refuse(
                "mset",
                option.mset,
                "give 0 for metadata in a buffer of its own, 1 for metadata behind each block",
            ));
        }
        let extended_metadata = option.mset == 1;
        let atomics = option.atomics();
        checked.push(NamespaceConfig {
            nsid,
            uuid,
            nguid,
            eui64: option.eui64,
            extended_metadata,
            atomics,
            shared: option.shared,
            attached: option.attached()?,
            anagrpid: option.group(device.ana)?,
        });
    }
    for (index, namespace) in checked.iter().enumerate() {
        checked[..index].iter().try_for_each(|other| tell_apart(other, namespace))?;
    }
    Ok(checked)
}

/// A name that is unique in the world names one namespace: hosts leave the second one out.
fn tell_apart(one: &NamespaceConfig, other: &NamespaceConfig) -> Result<(), ConfigError> {
    let remedy = format!("namespaces {} and {} both have it: each needs its own", one.nsid, other.nsid);
    if one.uuid == other.uuid {
        return Err(refuse("uuid", other.uuid, remedy));
    }
    if one.nguid == other.nguid && one.nguid != [0; 16] {
        return Err(refuse("nguid", Uuid::from_bytes(other.nguid).simple(), remedy));
    }
    if one.eui64 == other.eui64 && one.eui64 != 0 {
        return Err(refuse("eui64", format_args!("{:#018x}", other.eui64), remedy));
    }
    Ok(())
}

/// A UUID of version 8 (our own recipe) that is the same whenever serial number and identifier are, and differs where they differ. A
/// namespace that is made later has its number among those, `born`; 0 for those that were there first.
pub(crate) fn derived_uuid(serial: &[u8], nsid: u32, born: u64) -> Uuid {
    let serial = serial.trim_ascii_end();
    let hash = |basis: u64| {
        let born = born.to_le_bytes().into_iter().take(if born == 0 { 0 } else { 8 });
        let text = serial.iter().copied().chain(nsid.to_le_bytes()).chain(born);
        text.fold(basis, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    };
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&hash(0xcbf2_9ce4_8422_2325).to_be_bytes());
    bytes[8..].copy_from_slice(&hash(0x6c62_272e_07bb_0142).to_be_bytes());
    Uuid::new_v8(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_possible_and_namespaces_get_numbers_and_identities() {
        let config =
            Config::check(&DeviceOptions::default(), &[NamespaceOptions::default(), NamespaceOptions::default()])
                .expect("the defaults are meant to work");
        assert_eq!(config.namespaces.iter().map(|namespace| namespace.nsid).collect::<Vec<_>>(), [1, 2]);
        assert_ne!(config.namespaces[0].uuid, config.namespaces[1].uuid);
        assert_eq!(&config.serial, b"brownout-0          ");
        assert_eq!(config.transfer_bytes_max(), 512 * 1024);
    }

    #[test]
    fn the_refusal_names_option_value_and_remedy() {
        let options = DeviceOptions { max_ioqpairs: 0, ..DeviceOptions::default() };
        let error = Config::check(&options, &[]).expect_err("no queue pairs is no device");
        assert_eq!(error.to_string(), "max_ioqpairs=0: give 1 to 511");
        let options = DeviceOptions { serial: "x".repeat(21), ..DeviceOptions::default() };
        assert_eq!(Config::check(&options, &[]).expect_err("too long").option, "serial");
        let grouped = NamespaceOptions { anagrpid: 33, ..NamespaceOptions::default() };
        let error = Config::check(&DeviceOptions::default(), std::slice::from_ref(&grouped)).expect_err("no groups");
        assert_eq!(error.to_string(), "anagrpid=33: there are groups with --device ana=on only");
        let options = DeviceOptions { ana: true, ..DeviceOptions::default() };
        let error = Config::check(&options, &[grouped]).expect_err("too high");
        assert_eq!(error.to_string(), "anagrpid=33: give 1 to 32");
        let taken = NamespaceOptions { nsid: 3, ..NamespaceOptions::default() };
        let error = Config::check(&DeviceOptions::default(), &[taken.clone(), taken]).expect_err("taken twice");
        assert_eq!(error.option, "nsid");
    }

    #[test]
    fn namespaces_of_one_name_are_refused_and_unnamed_ones_are_not() {
        let named = |change: fn(&mut NamespaceOptions)| {
            let mut options = NamespaceOptions::default();
            change(&mut options);
            let error = Config::check(&DeviceOptions::default(), &[options.clone(), options]).expect_err("one name");
            assert!(error.remedy.starts_with("namespaces 1 and 2 both have it"), "{error}");
            error.to_string()
        };
        assert!(named(|options| options.eui64 = 0x10).starts_with("eui64=0x0000000000000010: "));
        let text = "00112233445566778899aabbccddeeff";
        assert!(named(|options| options.nguid = Some("00112233445566778899AABBCCDDEEFF".into())).contains(text));
        assert!(named(|options| options.uuid = Some(Uuid::from_u128(7))).starts_with("uuid=0000"));
    }

    #[test]
    fn a_serial_number_that_cannot_be_is_not_blamed_on_the_name_made_from_it() {
        for serial in ["é", "", "\n", "a serial number of 21"] {
            let options = DeviceOptions { serial: serial.into(), ..DeviceOptions::default() };
            assert_eq!(Config::check(&options, &[]).expect_err("impossible").option, "serial", "{serial:?}");
        }
    }

    #[test]
    fn derived_identities_are_stable() {
        assert_eq!(derived_uuid(b"a", 1, 0), derived_uuid(b"a", 1, 0));
        assert_ne!(derived_uuid(b"a", 1, 0), derived_uuid(b"a", 2, 0));
        assert_ne!(derived_uuid(b"a", 1, 0), derived_uuid(b"b", 1, 0));
    }
}
