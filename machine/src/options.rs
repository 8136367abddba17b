//! The options of a machine, checked by the crates that own the rules.

use std::ops::Range;

use controller::config::{Config, ConfigError, DeviceOptions, NamespaceOptions};
use media::geometry::{self, GeometryConfig};
use media::ssd::{Ssd, SsdConfig, VolumeConfig};
use media::store::MemoryStore;
use nvme_host::HostError;
use thiserror::Error;

/// Why there is no machine, or no host on it.
#[derive(Debug, Error)]
pub enum MachineError {
    /// The options of the device or of a namespace are invalid.
    #[error(transparent)]
    Device(#[from] ConfigError),
    /// The options of the drive are invalid.
    #[error(transparent)]
    Drive(#[from] geometry::ConfigError),
    /// The host failed.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// A namespace of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineNamespace {
    /// Bytes of a logical block: a power of two from 512 to 65536.
    pub block_bytes: u32,
    /// Its logical blocks.
    pub blocks: u64,
    /// The namespace's options; its metadata size is also the media's.
    pub options: NamespaceOptions,
}

impl MachineNamespace {
    /// A namespace without metadata.
    #[must_use]
    pub fn new(block_bytes: u32, blocks: u64) -> Self {
        Self { block_bytes, blocks, options: NamespaceOptions::default() }
    }
}

/// Default guest memory of a machine: 64 MiB, starting at 1 MiB.
pub const MEMORY: Range<u64> = 0x10_0000..0x410_0000;

/// The options of a machine. Change fields of the default, and call [`crate::Machine::new`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineOptions {
    /// The device's options, named as in `--device`.
    pub device: DeviceOptions,
    /// Its namespaces, from identifier 1 on.
    pub namespaces: Vec<MachineNamespace>,
    /// The drive behind them. Its volumes and size follow from the namespaces: `volumes` and the geometry's `user_bytes` are replaced.
    pub drive: SsdConfig,
    /// Guest addresses at which there is memory.
    pub memory: Range<u64>,
}

impl Default for MachineOptions {
    /// One namespace of 64 MiB with blocks of 4 KiB, and 64 MiB of memory from 1 MiB on.
    fn default() -> Self {
        Self {
            device: DeviceOptions::default(),
            namespaces: vec![MachineNamespace::new(4096, 16 << 10)],
            drive: SsdConfig::default(),
            memory: MEMORY,
        }
    }
}

/// Bytes: a drive smaller than this has too few lines.
pub const DRIVE_BYTES_MIN: u64 = 4 << 20;

impl MachineOptions {
    pub(crate) fn config(&self) -> Result<Config, ConfigError> {
        let namespaces: Vec<NamespaceOptions> =
            self.namespaces.iter().map(|namespace| namespace.options.clone()).collect();
        Config::check(&self.device, &namespaces)
    }

    pub(crate) fn drive(&self) -> Result<Ssd<MemoryStore>, geometry::ConfigError> {
        let volume = |namespace: &MachineNamespace| {
            VolumeConfig::new(namespace.block_bytes, u32::from(namespace.options.ms), namespace.blocks)
        };
        let volumes: Vec<VolumeConfig> = self.namespaces.iter().map(volume).collect();
        let unit_bytes = self.drive.geometry.unit_bytes;
        let units = volumes.iter().map(|volume| volume.units(unit_bytes)).fold(0, u64::saturating_add);
        let user_bytes = units.saturating_mul(unit_bytes.into()).max(DRIVE_BYTES_MIN);
        let geometry = GeometryConfig { user_bytes, ..self.drive.geometry.clone() };
        let config = SsdConfig { geometry, volumes, ..self.drive.clone() };
        let geometry = config.checked()?;
        Ssd::create(config, MemoryStore::new(&geometry)?)
    }
}
