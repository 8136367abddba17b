//! Owns the shape of the NAND: the numbers that were given, the numbers that follow from them, and the packing of a physical
//! unit. Knows nothing of what is stored where.
//!
//! A *line* is the same block of every plane of every die, programmed as one stripe: page 0 of every plane, then page 1 of every
//! plane, and so on. So a line is also a flat array of bytes that is only ever written upwards, and every NAND rule (pages in order
//! inside a block) follows from one program pointer per line.

use std::fmt;

use crate::journal::ENTRIES_PER_PAGE;
use crate::large_memory::OutOfMemory;
use crate::unit::{LogicalUnit, PhysicalUnit, index};

/// A geometry or a configuration that cannot be built, with the rule that it breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl From<OutOfMemory> for ConfigError {
    fn from(lack: OutOfMemory) -> Self {
        Self(lack.to_string())
    }
}

/// Returns a [`ConfigError`] with the formatted rule unless the condition holds.
macro_rules! require {
    ($condition:expr, $($rule:tt)+) => {
        if !$condition {
            return Err($crate::geometry::ConfigError(format!($($rule)+)));
        }
    };
}
pub(crate) use require;

/// The numbers that describe a NAND array and its over-provisioning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeometryConfig {
    /// Channels, each able to transfer one page at a time.
    pub channels: u32,
    /// Dies behind each channel, each able to do one array operation at a time.
    pub dies_per_channel: u32,
    /// Planes of a die; the planes of a die program and erase together.
    pub planes_per_die: u32,
    /// Pages of an erase block.
    pub pages_per_block: u32,
    /// Bytes of a page (what one program writes); a power of two.
    pub page_bytes: u32,
    /// Bytes of an indirection unit (what one map entry stands for); a power of two of at least 512.
    pub unit_bytes: u32,
    /// Bytes that volumes may use together.
    pub user_bytes: u64,
    /// Over-provisioning as spare ÷ user, in parts per million: 70_000 is 7 % of user (6.5 % of raw). The lines that the FTL needs
    /// to work at all come out of it, and are added where it is too little for them.
    pub spare_per_million_of_user: u32,
    /// Blocks kept per plane, on top of the over-provisioning, to replace blocks that fail.
    pub replacement_blocks_per_plane: u32,
    /// Blocks that are bad at birth, scattered over planes and lines; each has a replacement already.
    pub factory_bad_blocks: u32,
    /// Bytes beside each unit that hold its blocks' metadata; the most that any volume needs.
    pub metadata_bytes_per_unit: u32,
    /// How many volumes there may be at a time, if volumes come and go: each then has logical units enough for all that hosts may use,
    /// and together they take no more than that. 0: the volumes are those that the drive is made with, one behind another.
    pub volumes_max: u32,
}

/// As many volumes as may come and go.
pub const VOLUMES_MAX: u32 = 128;

impl Default for GeometryConfig {
    /// A 1 GiB drive with a 4 KiB unit: 4 channels × 2 dies × 2 planes, 16 KiB pages, lines of 16 MiB, 12.5 % spare of user.
    fn default() -> Self {
        Self {
            channels: 4,
            dies_per_channel: 2,
            planes_per_die: 2,
            pages_per_block: 64,
            page_bytes: 16 << 10,
            unit_bytes: 4 << 10,
            user_bytes: 1 << 30,
            spare_per_million_of_user: 125_000,
            replacement_blocks_per_plane: 4,
            factory_bad_blocks: 0,
            metadata_bytes_per_unit: 0,
            volumes_max: 0,
        }
    }
}

impl GeometryConfig {
    /// Bytes of user space and the spare that was asked for.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        let spare = u128::from(self.user_bytes) * u128::from(self.spare_per_million_of_user) / 1_000_000;
        self.user_bytes.saturating_add(u64::try_from(spare).unwrap_or(u64::MAX))
    }
}

/// Lines the FTL cannot work without: two open ones, four free ones when a victim is chosen, and one whose units have room to move.
pub const WORKING_LINES: u32 = 7;

/// A checked geometry and everything derived from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// What was asked for.
    pub config: GeometryConfig,
    /// log2 of the unit's bytes.
    pub unit_shift: u32,
    /// Bits of a physical unit that hold the slot; the line is above them.
    pub slot_bits: u32,
    /// Bytes of a unit, and the bits that hold the slot: derived once, because every command asks.
    unit_bytes: usize,
    slot_mask: u32,
    /// Units that a line holds.
    pub units_per_line: u32,
    /// Units that one program writes: the units of a page, or one where the unit is larger than the page.
    pub units_per_program: u32,
    /// Lines in use at the start (replacement blocks are outside).
    pub lines: u32,
    /// Units that volumes may use together.
    pub user_units: u32,
    /// Logical units of a volume that may come and go; 0 where none does. Whole pages of the map.
    pub window_units: u32,
    /// Entries of the map.
    pub logical_units: u32,
    /// Planes over which a line is striped.
    pub planes: u32,
    /// Bytes of data in a line.
    pub line_data_bytes: usize,
    /// Bytes of data and metadata in a line.
    pub line_bytes: usize,
}

impl Geometry {
    /// Checks the numbers and derives the others.
    ///
    /// # Errors
    /// The first rule that they break.
    pub fn new(config: GeometryConfig) -> Result<Self, ConfigError> {
        Self::check(&config)?;
        let planes = config.channels * config.dies_per_channel * config.planes_per_die;
        let replacements = u64::from(planes) * u64::from(config.replacement_blocks_per_plane);
        require!(
            u64::from(config.factory_bad_blocks) <= replacements,
            "{} blocks are bad at birth, and {replacements} can be replaced",
            config.factory_bad_blocks
        );
        let line_data = u64::from(planes) * u64::from(config.pages_per_block) * u64::from(config.page_bytes);
        let unit = u64::from(config.unit_bytes);
        let program = unit.max(u64::from(config.page_bytes));
        require!(line_data.is_multiple_of(program), "a line of {line_data} bytes is not a whole number of units");
        require!(line_data / program >= 2, "a line must hold at least two programs of {program} bytes");
        let units_per_line = line_data / unit;
        let user_units = config.user_bytes.div_ceil(unit);
        let user_lines = config.user_bytes.div_ceil(line_data);
        let lines = config.raw_bytes().div_ceil(line_data).max(user_lines + u64::from(WORKING_LINES));
        let (window, logical) = logical_units(user_units, config.volumes_max)?;
        let slot_bits = u64::BITS - (units_per_line - 1).leading_zeros();
        require!(
            lines.checked_shl(slot_bits).is_some_and(|top| lines < 1 << 31 && top < 1 << 31),
            "{lines} lines of {units_per_line} units do not fit 31-bit physical addresses: use a larger unit"
        );
        let data = usize::try_from(line_data).map_err(|_| ConfigError("a line does not fit memory".into()))?;
        let metadata = usize::try_from(units_per_line * u64::from(config.metadata_bytes_per_unit))
            .map_err(|_| ConfigError("a line's metadata does not fit memory".into()))?;
        Ok(Self {
            unit_shift: config.unit_bytes.trailing_zeros(),
            slot_bits,
            unit_bytes: usize::try_from(unit).map_err(|_| ConfigError("a unit does not fit memory".into()))?,
            slot_mask: (1 << slot_bits) - 1,
            units_per_line: u32::try_from(units_per_line).map_err(|_| ConfigError("too many units a line".into()))?,
            units_per_program: u32::try_from(program / unit).map_err(|_| ConfigError("page too large".into()))?,
            lines: u32::try_from(lines).map_err(|_| ConfigError("too many lines".into()))?,
            user_units: u32::try_from(user_units).map_err(|_| ConfigError("too many units".into()))?,
            window_units: window,
            logical_units: logical,
            planes,
            line_data_bytes: data,
            line_bytes: data + metadata,
            config,
        })
    }

    fn check(config: &GeometryConfig) -> Result<(), ConfigError> {
        for (name, number, most) in [
            ("channels", config.channels, 256),
            ("dies_per_channel", config.dies_per_channel, 256),
            ("planes_per_die", config.planes_per_die, 16),
            ("pages_per_block", config.pages_per_block, 65536),
        ] {
            require!((1..=most).contains(&number), "{name} must be 1 to {most}, not {number}");
        }
        for (name, number, most) in [
            ("replacement_blocks_per_plane", config.replacement_blocks_per_plane, 4096),
            ("factory_bad_blocks", config.factory_bad_blocks, 65536),
        ] {
            require!(number <= most, "{name} must be at most {most}, not {number}");
        }
        require!(config.page_bytes.is_power_of_two(), "page_bytes must be a power of two");
        require!((512..=1 << 20).contains(&config.page_bytes), "page_bytes must be 512 to 1 MiB");
        require!(config.unit_bytes.is_power_of_two(), "unit_bytes must be a power of two");
        require!((512..=64 << 20).contains(&config.unit_bytes), "unit_bytes must be 512 to 64 MiB");
        require!(config.user_bytes >= u64::from(config.unit_bytes), "user_bytes must hold at least one unit");
        require!(config.user_bytes <= 1 << 50, "user_bytes must be at most 1 PiB");
        require!(config.spare_per_million_of_user <= 100_000_000, "the spare must be at most a hundred times user");
        require!(config.metadata_bytes_per_unit <= 64 << 20, "metadata_bytes_per_unit is out of reason");
        require!(config.volumes_max <= VOLUMES_MAX, "volumes_max must be at most {VOLUMES_MAX}");
        Ok(())
    }

    /// Erase blocks, replacements included.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        u64::from(self.lines + self.config.replacement_blocks_per_plane) * u64::from(self.planes)
    }

    /// Units that a host may write over others when memory is full: a group or a part of a write, beside what a line that is collected
    /// keeps.
    #[must_use]
    pub const fn memory_reserve(&self) -> usize {
        2 * self.units_per_line as usize
    }

    /// Bytes of a unit.
    #[must_use]
    #[inline]
    pub const fn unit_bytes(&self) -> usize {
        self.unit_bytes
    }

    // These are asked for by every command, and shift by fewer bits than there are, as `new` has seen: the shifts are those that
    // are not checked again.

    /// The physical unit at a line's slot.
    #[must_use]
    #[inline]
    pub const fn physical(&self, line: u32, slot: u32) -> PhysicalUnit {
        PhysicalUnit(line.wrapping_shl(self.slot_bits) | slot)
    }

    /// The unit that holds a byte, both counted from the same place.
    #[must_use]
    #[inline]
    pub const fn unit_at(&self, byte: u64) -> u64 {
        byte.wrapping_shr(self.unit_shift)
    }

    /// Where in its unit a byte lies.
    #[must_use]
    #[inline]
    pub fn offset_at(&self, byte: u64) -> usize {
        index(byte) & self.unit_bytes.wrapping_sub(1)
    }

    /// The line of a physical unit.
    #[must_use]
    #[inline]
    pub const fn line_of(&self, unit: PhysicalUnit) -> u32 {
        unit.0.wrapping_shr(self.slot_bits)
    }

    /// The slot of a physical unit in its line.
    #[must_use]
    #[inline]
    pub const fn slot_of(&self, unit: PhysicalUnit) -> u32 {
        unit.0 & self.slot_mask
    }

    /// The first byte of a slot's data in its line.
    #[must_use]
    #[inline]
    pub const fn data_offset(&self, slot: u32) -> usize {
        (slot as usize).wrapping_shl(self.unit_shift)
    }

    /// The first byte of a slot's metadata in its line.
    #[must_use]
    #[inline]
    pub const fn metadata_offset(&self, slot: u32) -> usize {
        self.line_data_bytes + slot as usize * self.config.metadata_bytes_per_unit as usize
    }

    /// The spare that really stands there, as spare ÷ user in parts per million (lines are whole).
    #[must_use]
    pub fn spare_per_million_of_user(&self) -> u64 {
        let raw = self.lines as usize * self.line_data_bytes;
        let user = u128::from(self.config.user_bytes);
        u64::try_from((raw as u128 - user) * 1_000_000 / user).unwrap_or(u64::MAX)
    }

    /// Bytes of the stripe over all planes: what NOWS should say.
    #[must_use]
    pub const fn stripe_bytes(&self) -> usize {
        self.planes as usize * self.config.page_bytes as usize
    }

    /// Whether a logical unit exists.
    #[must_use]
    #[inline]
    pub const fn holds(&self, unit: LogicalUnit) -> bool {
        unit.0 < self.logical_units
    }

    /// The first logical unit of a volume that may come and go.
    #[must_use]
    pub const fn window(&self, volume: u32) -> LogicalUnit {
        LogicalUnit(volume * self.window_units)
    }
}

/// The logical units of a volume that may come and go, and those of all.
fn logical_units(user_units: u64, volumes_max: u32) -> Result<(u32, u32), ConfigError> {
    let few = |units: u64| u32::try_from(units).ok().filter(|units| *units < u32::MAX);
    let lack = || ConfigError(format!("{user_units} units are too many for their numbers: use a larger unit"));
    if volumes_max == 0 {
        return few(user_units).map(|all| (0, all)).ok_or_else(lack);
    }
    let window = user_units.next_multiple_of(ENTRIES_PER_PAGE as u64);
    let all = few(window.saturating_mul(volumes_max.into())).ok_or_else(|| {
        let most = u64::from(u32::MAX) / window;
        ConfigError(format!(
            "{volumes_max} volumes of up to {user_units} units are too many: at most {most}, or a larger unit"
        ))
    })?;
    Ok((all / volumes_max, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_what_its_text_says() {
        let geometry = Geometry::new(GeometryConfig::default()).unwrap();
        assert_eq!(geometry.line_data_bytes, 16 << 20);
        assert_eq!(geometry.units_per_line, 4096);
        assert_eq!(geometry.units_per_program, 4);
        assert_eq!(geometry.lines, 72);
        assert_eq!(geometry.spare_per_million_of_user(), 125_000);
        assert_eq!(geometry.stripe_bytes(), 256 << 10);
    }

    #[test]
    fn packing_takes_any_number_of_units_a_line() {
        let config = GeometryConfig { pages_per_block: 3, planes_per_die: 3, ..GeometryConfig::default() };
        let geometry = Geometry::new(config).unwrap();
        let slot = geometry.units_per_line - 1;
        let unit = geometry.physical(7, slot);
        assert_eq!((geometry.line_of(unit), geometry.slot_of(unit)), (7, slot));
    }

    #[test]
    fn a_spare_too_small_to_work_is_raised() {
        let config = GeometryConfig { spare_per_million_of_user: 0, ..GeometryConfig::default() };
        assert_eq!(Geometry::new(config).unwrap().lines, 64 + WORKING_LINES);
    }

    #[test]
    fn impossible_numbers_are_refused_with_the_rule() {
        let odd = GeometryConfig { unit_bytes: 3000, ..GeometryConfig::default() };
        assert!(Geometry::new(odd).unwrap_err().0.contains("power of two"));
        let huge = GeometryConfig { unit_bytes: 512, user_bytes: 1 << 45, ..GeometryConfig::default() };
        assert!(Geometry::new(huge).unwrap_err().0.contains("larger unit"));
        let none = GeometryConfig { channels: 0, ..GeometryConfig::default() };
        assert!(Geometry::new(none).unwrap_err().0.contains("channels"));
    }
}
