//! Scenarios from seeds: small drives of every shape, and passes that mix what our contract asks for (C6): sizes around the atomic unit,
//! starts around its edges, forced and flushed and toggled, many queues over few blocks. Owns the dice; runs nothing.

use controller::config::NamespaceOptions;
use media::Nanoseconds;
use media::ftl::gc::Tuning;
use media::ftl::line::VictimPolicy;
use media::geometry::GeometryConfig;
use media::nand::timing::NandTimes;
use media::power::{Arming, Cut, CutPolicy, Profile, Random, Step, Steps};
use media::ssd::{CacheConfig, SsdConfig, VolumeConfig};

use super::{Ground, Operation, Pass, Scenario};
use crate::history::Verb;
use crate::parameters::Blocks;

/// How many losses of power one drive lives through, at the most.
const PASSES: u64 = 24;

/// What is asked of every scenario of a campaign.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Where power goes: any of these steps; anywhere if there are none.
    pub points: Vec<Step>,
    /// What the cache leaves behind, if it is always the same.
    pub cut: Option<Cut>,
}

/// The scenario of a seed.
#[must_use]
pub fn scenario(seed: u64, wishes: &Wishes) -> Scenario {
    let mut dice = Dice(Random::new(seed));
    let mut namespaces = Vec::new();
    let mut drive = dice.drive();
    for volume in &mut drive.volumes {
        volume.metadata_bytes = dice.pick(&[0, 0, 0, 8, 16, 64]);
        let ms = u16::try_from(volume.metadata_bytes).expect("at most 64");
        namespaces.push(NamespaceOptions { ms, mset: u8::from(dice.chance(2)), ..NamespaceOptions::default() });
    }
    let ground = if dice.chance(6) { Ground::ForgetfulDisk(dice.0.draw()) } else { Ground::Memory };
    let queues = dice.pick(&[1, 2, 2, 3]);
    let count = 1 + dice.below(PASSES);
    let shape = Shape::of(&drive);
    let passes = (0..count).map(|_| dice.pass(&shape, queues, wishes)).collect();
    Scenario { drive, ground, namespaces, queues, passes }
}

/// What the operations need to know of the drive.
struct Shape {
    /// By namespace: blocks, blocks of the atomic unit, blocks of the indirection unit, blocks of the largest write.
    namespaces: Vec<(u64, u64, u64, u64)>,
    cached: bool,
    bytes: u64,
}

impl Shape {
    fn of(drive: &SsdConfig) -> Self {
        let of = |volume: &VolumeConfig| {
            let block = u64::from(volume.block_bytes);
            let atomic = (u64::from(drive.power_atomic_bytes) / block).max(1);
            let most = (64 << 10) / (block + u64::from(volume.metadata_bytes));
            (volume.capacity_blocks, atomic, u64::from(drive.geometry.unit_bytes) / block, most.max(1))
        };
        let bytes = drive.geometry.user_bytes;
        Self { namespaces: drive.volumes.iter().map(of).collect(), cached: drive.cache.present, bytes }
    }
}

struct Dice(Random);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0.below(limit)
    }

    /// True once in `times`.
    fn chance(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).expect("an index")]
    }

    /// A drive of a few lines, of every shape that there is.
    fn drive(&mut self) -> SsdConfig {
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
            volumes.push(VolumeConfig { block_bytes, metadata_bytes: 0, capacity_blocks });
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
            present: !self.chance(6),
            enabled: !self.chance(5),
            bytes: u64::from(unit_bytes) * self.below(24),
            open_units: u32::try_from(self.below(3)).expect("below 3"),
            age_max: Nanoseconds(self.pick(&[10_000, 100_000, 100_000_000])),
            capacitors: self.chance(12),
        }
    }

    fn times(&mut self) -> Option<NandTimes> {
        let times = NandTimes { read_ns: 2_000, program_ns: 9_000, erase_ns: 30_000, channel_bytes_per_us: 4_000 };
        self.chance(4).then_some(times)
    }

    fn pass(&mut self, shape: &Shape, queues: u16, wishes: &Wishes) -> Pass {
        let mut operations = Vec::new();
        for _ in 0..1 + self.below(6) {
            self.burst(shape, queues, &mut operations);
        }
        if self.chance(12) {
            operations.extend((1..=queues).map(|queue| Operation::Ring { queue }));
            operations.extend([Operation::Finish, Operation::Shutdown { abrupt: self.chance(2) }]);
        } else if self.chance(20) {
            operations.push(Operation::AskShutdown);
        }
        let policy = match self.below(4) {
            0 => CutPolicy::NoneSurvive,
            1 => CutPolicy::AllSurvive,
            _ => CutPolicy::Random(self.0.draw()),
        };
        let look_again = self.chance(if shape.bytes > 256 << 10 { 16 } else { 6 });
        Pass {
            arming: self.arming(wishes),
            operations,
            cut: wishes.cut.clone().unwrap_or(Cut { policy, tear: self.chance(2), profile: Profile::Strict }),
            disk_seed: self.0.draw(),
            recoveries: (0..self.below(16).saturating_sub(13)).map(|_| self.recovery()).collect(),
            look_again,
        }
    }

    fn arming(&mut self, wishes: &Wishes) -> Option<Arming> {
        if !wishes.points.is_empty() {
            return Some(Arming::Hit(self.pick(&wishes.points), 1 + self.below(8)));
        }
        Some(match self.below(16) {
            0 => return None,
            1 => Arming::Rate { seed: self.0.draw(), one_in: 1 + self.below(200), steps: Steps::ALL },
            2 => Arming::IoCommand(1 + self.below(20)),
            3 => Arming::Program(1 + self.below(20)),
            4 => Arming::Journal(1 + self.below(3)),
            5..=8 => Arming::Hit(self.pick(Step::ALL), 1 + self.below(6)),
            _ => {
                let within = 1 + self.below(300);
                Arming::AnyStep(1 + self.below(within))
            }
        })
    }

    fn recovery(&mut self) -> Arming {
        Arming::AnyStep(1 + self.below(8))
    }

    /// A few commands together, their doorbells in any order or never, and some time for the device.
    fn burst(&mut self, shape: &Shape, queues: u16, operations: &mut Vec<Operation>) {
        let focus = self.place(shape);
        for _ in 0..1 + self.below(7) {
            operations.push(self.command(shape, queues, focus));
        }
        for _ in 0..1 + self.below(u64::from(queues)) {
            operations.push(Operation::Ring { queue: self.queue(queues) });
        }
        match self.below(10) {
            0..=4 => operations.push(Operation::Run { steps: 1 + u32::try_from(self.below(3)).expect("few") }),
            5..=7 => operations.push(Operation::Finish),
            8 => operations.push(Operation::Wait { nanoseconds: self.below(200_000) }),
            _ if shape.cached && self.chance(2) => operations.push(Operation::SetCache(self.chance(2))),
            _ if self.chance(4) => operations.push(Operation::Reset),
            _ => {}
        }
    }

    fn queue(&mut self, queues: u16) -> u16 {
        1 + u16::try_from(self.below(queues.into())).expect("a queue")
    }

    /// A namespace, and a block of it around which a burst happens.
    fn place(&mut self, shape: &Shape) -> (u32, u64) {
        let namespace = self.below(shape.namespaces.len() as u64);
        let (blocks, atomic, ..) = shape.namespaces[usize::try_from(namespace).expect("few")];
        let block = self.below(blocks);
        let block = if self.chance(2) { block / atomic * atomic } else { block };
        (u32::try_from(namespace).expect("few") + 1, block)
    }

    fn command(&mut self, shape: &Shape, queues: u16, focus: (u32, u64)) -> Operation {
        let (nsid, near) = if self.chance(4) { self.place(shape) } else { focus };
        let queue = self.queue(queues);
        let force = self.chance(6);
        let verb = match self.below(40) {
            0..=23 => Verb::Write,
            24..=30 => Verb::Read,
            31 | 32 => Verb::Zeroes { deallocate: self.chance(2) },
            33 => Verb::Deallocate,
            34 => Verb::FlushAll,
            _ => Verb::Flush,
        };
        let blocks = match verb {
            Verb::Flush | Verb::FlushAll => Blocks::new(0, 0),
            _ => self.blocks(shape.namespaces[nsid as usize - 1], near),
        };
        Operation::Queue {
            queue,
            verb,
            nsid,
            blocks,
            force: force && !matches!(verb, Verb::Deallocate | Verb::Flush | Verb::FlushAll),
        }
    }

    /// One block, the unit, one less, one more, twice, much; at the place, one before, one behind.
    fn blocks(&mut self, (capacity, atomic, unit, most): (u64, u64, u64, u64), near: u64) -> Blocks {
        let count = match self.below(8) {
            0 => 1,
            1 => atomic.saturating_sub(1),
            2 | 3 => atomic,
            4 => atomic + 1,
            5 => atomic * 2,
            6 => unit,
            _ => most,
        };
        let start = match self.below(4) {
            0 => near.saturating_sub(1),
            1 => near + 1,
            _ => near,
        };
        let start = start.min(capacity - 1);
        Blocks::new(start, count.clamp(1, most).min(capacity - start))
    }
}
