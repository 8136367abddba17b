//! Drives, controllers and namespaces by chance: of every shape, and with every kind of promise (C6 of our contract).

use controller::config::{Config, DeviceOptions, Interleave, NamespaceOptions};
use media::Nanoseconds;
use media::config::{Tuning, VictimPolicy};
use media::geometry::GeometryConfig;
use media::nand::timing::NandTimes;
use media::ssd::{CacheConfig, SsdConfig, VolumeConfig};

use super::Choices;

impl Choices {
    /// What the controller and the namespaces are told; metadata is as large in the drive's volumes.
    pub(super) fn device(&mut self, drive: &mut SsdConfig) -> (DeviceOptions, Vec<NamespaceOptions>) {
        let mut device = DeviceOptions { max_ioqpairs: self.pick(&[1, 2, 2, 3]), ..DeviceOptions::default() };
        device.atomic_dn = self.one_in(4);
        if self.one_in(if device.atomic_dn { 2 } else { 3 }) {
            device.interleave = Interleave::Seeded;
            device.interleave_seed = u32::try_from(self.below(1 << 32)).expect("32 bits");
        }
        let plain: Vec<_> = drive.volumes.iter_mut().map(|volume| self.metadata(volume)).collect();
        let mut promised = plain.clone();
        for (volume, options) in drive.volumes.iter().zip(&mut promised) {
            self.promises((drive.power_atomic_bytes / volume.block_bytes).max(1), options);
        }
        if self.one_in(8) {
            device.atomic_awupf = self.pick(&[0, 1, 2]);
            device.atomic_awun = device.atomic_awupf + self.pick(&[0, 1, 5]);
        }
        if self.one_in(6) {
            device.atomic_acwu = self.pick(&[1, 3, 7]);
        }
        if possible(drive, &device, &promised) {
            return (device, promised);
        }
        (DeviceOptions { atomic_awupf: 0, atomic_awun: 0, atomic_acwu: 0, ..device }, plain)
    }

    fn metadata(&mut self, volume: &mut VolumeConfig) -> NamespaceOptions {
        volume.metadata_bytes = self.pick(&[0, 0, 0, 8, 16, 64]);
        let ms = u16::try_from(volume.metadata_bytes).expect("at most 64");
        NamespaceOptions { ms, mset: u8::from(self.one_in(2)), ..NamespaceOptions::default() }
    }

    /// Units and boundaries of a namespace whose drive keeps this many blocks together.
    fn promises(&mut self, blocks: u32, options: &mut NamespaceOptions) {
        let blocks = u16::try_from(blocks).unwrap_or(u16::MAX);
        let raw = u16::try_from(self.below(blocks.into())).expect("below a u16");
        let wider = raw + self.pick(&[0, 1, 2, 5]);
        match self.below(10) {
            0 => options.atomic_nawupf = Some(raw),
            // A boundary as large as the unit, or of any size above it.
            1..=3 => {
                (options.atomic_nawupf, options.atomic_nabspf) = (Some(raw), Some(wider));
                if self.one_in(2) {
                    options.atomic_nawun = Some(raw);
                    options.atomic_nabsn = Some(wider);
                    options.atomic_nabo = u16::try_from(self.below(u64::from(wider) + 1)).expect("below a u16");
                }
            }
            4 | 5 if blocks > 1 => {
                let window = raw.max(1);
                options.atomic_mam = true;
                options.atomic_nabspf = Some(window);
                options.atomic_nabo = u16::try_from(self.below(u64::from(window) + 1)).expect("below a u16");
            }
            // More in normal operation than after a power loss: what Disable Normal takes away.
            6 | 7 => (options.atomic_nawupf, options.atomic_nawun) = (Some(raw), Some(wider)),
            _ => {}
        }
        if self.one_in(6) {
            options.atomic_nacwu = Some(raw + self.pick(&[0, 1, 3]));
        }
    }

    /// A drive of a few lines, of every shape that there is.
    pub(super) fn drive(&mut self) -> SsdConfig {
        let block_bytes = self.pick(&[512, 512, 512, 512, 512, 512, 4096, 4096, 4096, 16384]);
        let unit_bytes = (block_bytes << self.below(4)).min(65536);
        let page_bytes = self.pick(&[512, 2048, 4096]);
        let program = unit_bytes.max(page_bytes);
        let planes = self.pick(&[1, 2]);
        let pages_per_block = (program / page_bytes * self.pick(&[2_u32, 4, 8])).div_ceil(planes).max(2);
        let pages_per_block = pages_per_block.next_multiple_of(program / page_bytes);
        let line = pages_per_block * page_bytes * planes;
        let units = (12 + self.below(30)).max(u64::from(line / unit_bytes));
        let user_bytes = u64::from(unit_bytes) * units;
        let count = 1 + self.below(2);
        let mut volumes = Vec::new();
        for _ in 0..count {
            let per_unit = u64::from(unit_bytes / block_bytes);
            let short = self.below(per_unit);
            let capacity_blocks = units / count * per_unit - short;
            volumes.push(VolumeConfig::new(block_bytes, 0, capacity_blocks));
        }
        let line_units = u64::from(line / unit_bytes);
        let atomic_units = (1 + self.below(4)).min(line_units - 1).max(1);
        let blocks = self.pick(&[1, 1, atomic_units * u64::from(unit_bytes / block_bytes)]);
        let atomic = u32::try_from(blocks).expect("a few units") * block_bytes;
        SsdConfig {
            geometry: GeometryConfig {
                channels: 1,
                dies_per_channel: 1,
                planes_per_die: planes,
                pages_per_block,
                page_bytes,
                unit_bytes,
                user_bytes,
                spare_per_million_of_user: self.pick(&[0, 100_000, 300_000]),
                replacement_blocks_per_plane: 2,
                factory_bad_blocks: self.pick(&[0, 0, 1]),
                metadata_bytes_per_unit: 0,
                volumes_max: 0,
            },
            volumes,
            tuning: Tuning {
                policy: self.pick(&[VictimPolicy::Greedy, VictimPolicy::CostBenefit, VictimPolicy::Fifo]),
                reserve_lines: 4,
                journal_entries: 128,
                checkpoint_units: self.pick(&[0, 20, 50, 200]),
                ..Tuning::default()
            },
            cache: self.cache(unit_bytes),
            power_atomic_bytes: if line_units < 3 { block_bytes } else { atomic },
            times: self.times(),
            ..SsdConfig::default()
        }
    }

    /// None, switched off, or on; of a few units.
    fn cache(&mut self, unit_bytes: u32) -> CacheConfig {
        CacheConfig {
            present: !self.one_in(6),
            enabled: !self.one_in(5),
            bytes: u64::from(unit_bytes) * self.below(24),
            open_units: u32::try_from(self.below(3)).expect("below 3"),
            age_max: Nanoseconds(self.pick(&[10_000, 100_000, 100_000_000])),
            capacitors: self.one_in(12),
            flush_apart: self.one_in(3),
        }
    }

    fn times(&mut self) -> Option<NandTimes> {
        let times = NandTimes { read_ns: 2_000, program_ns: 9_000, erase_ns: 30_000, channel_bytes_per_us: 4_000 };
        self.one_in(4).then_some(times)
    }
}

/// Whether a controller can be made of the options.
pub(super) fn possible(drive: &SsdConfig, device: &DeviceOptions, namespaces: &[NamespaceOptions]) -> bool {
    Config::check(device, namespaces).is_ok_and(|config| {
        drive.volumes.iter().enumerate().all(|(number, volume)| {
            config.atomics(number, (drive.power_atomic_bytes / volume.block_bytes).max(1)).is_ok()
        })
    })
}
