//! What the tests of a whole folder run over: a rig is made of other parts where the environment says so, and the same tests hold.

use machine::DRIVE_BYTES_MIN;
use media::ssd::SsdConfig;
use nvme_host::{AdminDoorbells, Setup};

use media::geometry::GeometryConfig;

/// The variable of the environment that names a [`Variant`]. Unset, rigs are the plain ones.
pub const VARIABLE: &str = "RIG";

/// See the file's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Variant {
    /// A drive with a flash translation layer, where a test asks for none and its namespaces fit one; else plain memory.
    pub drive: bool,
    /// Whether ordinary requests may take the media's fast path.
    pub fast: bool,
    /// The host sets up shadow doorbells as soon as the controller is up, and moves the admin queue's in this way.
    pub shadows: Option<AdminDoorbells>,
}

impl Variant {
    /// Plain memory that answers each request by itself, and registers.
    pub const PLAIN: Self = Self { drive: false, fast: false, shadows: None };

    /// Those that a whole folder of tests shall run over beside the plain one, each with its name.
    pub const OTHERS: [(&str, Self); 5] = [
        ("drive", Self { drive: true, ..Self::PLAIN }),
        ("fast", Self { drive: true, fast: true, shadows: None }),
        ("linux", Self { drive: true, fast: true, shadows: Some(AdminDoorbells::Registers) }),
        ("libvfn", Self { drive: true, fast: true, shadows: Some(AdminDoorbells::Shadows) }),
        ("alternating", Self { drive: true, fast: true, shadows: Some(AdminDoorbells::Alternating) }),
    ];

    /// The one that the environment names.
    ///
    /// # Panics
    /// If it names one that there is not.
    #[must_use]
    pub fn chosen() -> Self {
        let Ok(name) = std::env::var(VARIABLE) else { return Self::PLAIN };
        let found = Self::OTHERS.iter().find(|(other, _)| *other == name);
        found.unwrap_or_else(|| panic!("{VARIABLE}={name}: one of {:?}", Self::OTHERS.map(|(name, _)| name))).1
    }

    /// The same over plain memory: for tests of what a drive has and memory has not.
    #[must_use]
    pub const fn without_drive(self) -> Self {
        Self { drive: false, fast: false, ..self }
    }

    /// The same with registers alone: for tests of them.
    #[must_use]
    pub const fn without_shadows(self) -> Self {
        Self { shadows: None, ..self }
    }

    /// The host's part.
    #[must_use]
    pub fn setup(self, setup: Setup) -> Setup {
        match self.shadows {
            Some(admin_doorbells) => Setup { shadow_doorbells: true, admin_doorbells, ..setup },
            None => setup,
        }
    }

    /// The drive's part, for namespaces of this many bytes for each block and this many blocks.
    #[must_use]
    pub fn drive(self, namespaces: &[(u32, u64)]) -> Option<SsdConfig> {
        let bytes = namespaces
            .iter()
            .try_fold(0_u64, |sum, &(block_bytes, blocks)| sum.checked_add(blocks.checked_mul(block_bytes.into())?));
        let bytes = bytes.filter(|bytes| self.drive && *bytes <= DRIVE_BYTES_MAX)?;
        let block_bytes_max = namespaces.iter().map(|(block_bytes, _)| *block_bytes).max()?;
        Some(small_drive(bytes.max(DRIVE_BYTES_MIN), block_bytes_max.max(4096)))
    }
}

/// Of a drive that holds more than this the tests would see only the map.
const DRIVE_BYTES_MAX: u64 = 1 << 30;

/// A drive of this many bytes with few and short lines, so that little work meets all there is; it keeps 16 KiB together.
#[must_use]
pub fn small_drive(user_bytes: u64, unit_bytes: u32) -> SsdConfig {
    let geometry = GeometryConfig {
        user_bytes,
        channels: 2,
        dies_per_channel: 1,
        planes_per_die: 1,
        pages_per_block: 4,
        unit_bytes,
        spare_per_million_of_user: 250_000,
        ..GeometryConfig::default()
    };
    SsdConfig { geometry, power_atomic_bytes: 16 << 10, ..SsdConfig::default() }
}
