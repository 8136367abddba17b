//! Scenarios from seeds: small drives of every shape, and passes that mix what our contract asks for (C6): sizes around the atomic unit,
//! starts around its edges, forced and flushed and toggled, many queues over few blocks. Owns the choices; runs nothing.

mod device;
mod manage;
mod patterns;
mod reserve;

use std::ops::{Deref, DerefMut};

use controller::config::NamespaceOptions;
use media::fault::Misbehaviour;
use media::power::{Arming, CommandMatch, Cut, CutPolicy, Profile, Random, Step, Steps};
use media::ssd::{SsdConfig, VolumeConfig};
use media::{Lba, LbaRange};
use nvme_spec::opcode::NvmOpcode;

use super::{Ground, Guess, Operation, Pass, Queue, Scenario};
use crate::history::Verb;
use crate::parameters::Blocks;

/// How many power losses one drive lives through, at most.
const PASSES: u64 = 24;

/// How often what is chosen.
const POLICIES: [Policy; 4] = [Policy::NoneSurvive, Policy::AllSurvive, Policy::Random, Policy::Random];

/// Commands at which power goes.
const MATCHED: [NvmOpcode; 8] = [
    NvmOpcode::WRITE,
    NvmOpcode::READ,
    NvmOpcode::WRITE_ZEROES,
    NvmOpcode::FLUSH,
    NvmOpcode::COMPARE,
    NvmOpcode::VERIFY,
    NvmOpcode::WRITE_UNCORRECTABLE,
    NvmOpcode::COPY,
];

/// What is asked of every scenario of a campaign.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Where power goes: any of these steps and nowhere else; anywhere if there are none. What a drive recovers from before a step of
    /// recovery is not counted.
    pub points: Vec<Step>,
    /// What the cache leaves behind, if it is always chosen the same way.
    pub policy: Option<Policy>,
    /// The promises that the drives break.
    pub misbehaviour: Misbehaviour,
}

/// How it is chosen what the cache leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Nothing.
    NoneSurvive,
    /// Everything.
    AllSurvive,
    /// By chance.
    Random,
}

impl Policy {
    /// The names of the policies.
    pub const NAMES: [(&'static str, Self); 3] =
        [("none-survive", Self::NoneSurvive), ("all-survive", Self::AllSurvive), ("random", Self::Random)];
}

/// The scenario of a seed. Half of the drives have one controller and the namespaces that they were made with.
#[must_use]
pub fn scenario(seed: u64, wishes: &Wishes) -> Scenario {
    let mut choices = Choices(Random::new(seed));
    let mut drive = choices.drive();
    drive.misbehaviour = wishes.misbehaviour;
    let (mut device, mut namespaces) = choices.device(&mut drive);
    let ground = if choices.one_in(4) { Ground::ForgetfulDisk(choices.draw()) } else { Ground::Memory };
    let mut controllers = 1;
    if choices.one_in(2) {
        controllers = choices.subsystem(&mut drive, &mut device, &mut namespaces);
    }
    let count = 1 + choices.below(PASSES);
    // Drives whose hosts do not register are those that they would be if none ever did.
    let names = Choices(Random::new(!seed)).names(controllers);
    let shape =
        Shape { reserves: !names.is_empty(), ..Shape::of(&drive, &namespaces, controllers, device.max_ioqpairs) };
    let mut passes: Vec<_> = (0..count).map(|_| choices.pass(&shape, wishes)).collect();
    if choices.one_in(4) {
        choices.fail_a_block(&mut passes, wishes);
    }
    if wishes.points.is_empty() && choices.one_in(6) {
        let at = choices.index(passes.len());
        let interrupted = choices.interrupted_again_and_again(&shape, wishes);
        passes.splice(at..at, interrupted);
    }
    Scenario { drive, ground, controllers, device, namespaces, names, passes }
}

/// What the operations need to know of a namespace.
#[derive(Clone, Copy)]
struct NamespaceShape {
    blocks: u64,
    /// Blocks of the atomic unit.
    atomic: u64,
    /// Blocks of that of normal operation.
    normal: u64,
    /// Blocks of the indirection unit.
    unit: u64,
    /// Blocks of the largest write.
    most: u64,
    /// The first edge, and blocks from one to the next.
    edges: (u64, u64),
    /// Blocks have metadata.
    metadata: bool,
}

/// What the operations need to know of the drive.
struct Shape {
    namespaces: Vec<NamespaceShape>,
    cached: bool,
    bytes: u64,
    controllers: u16,
    /// Of each controller.
    queues: u16,
    /// Namespaces come and go.
    managed: bool,
    /// They can be formatted, as each has the atomic sizes that the drive gives it.
    formats: bool,
    /// Indirection units of the drive.
    units: u64,
    /// Hosts register with namespaces.
    reserves: bool,
}

impl Shape {
    fn all_queues(&self) -> impl Iterator<Item = Queue> + use<> {
        let queues = self.queues;
        (0..self.controllers).flat_map(move |controller| (1..=queues).map(move |number| Queue { controller, number }))
    }

    fn of(drive: &SsdConfig, namespaces: &[NamespaceOptions], controllers: u16, queues: u16) -> Self {
        let of = |(volume, options): (&VolumeConfig, &NamespaceOptions)| {
            let block = u64::from(volume.block_bytes);
            let media = (u64::from(drive.power_atomic_bytes) / block).max(1);
            let atomic = options.atomic_nawupf.filter(|raw| *raw != 0).map_or(media, |raw| u64::from(raw) + 1);
            let most = (64 << 10) / (block + u64::from(volume.metadata_bytes));
            let size = options.atomic_nabspf.filter(|raw| *raw != 0).map_or(atomic, |raw| u64::from(raw) + 1);
            NamespaceShape {
                blocks: volume.capacity_blocks,
                atomic,
                normal: options.atomic_nawun.map_or(atomic, |raw| u64::from(raw) + 1),
                unit: u64::from(drive.geometry.unit_bytes) / block,
                most: most.max(1),
                edges: (options.atomic_nabo.into(), size),
                metadata: volume.metadata_bytes != 0,
            }
        };
        let bytes = drive.geometry.user_bytes;
        let mut shapes: Vec<_> = drive.volumes.iter().zip(namespaces).map(of).collect();
        let most = drive.geometry.volumes_max;
        let usual = VolumeConfig::new(512.min(drive.geometry.unit_bytes), 0, bytes / 3 / 512);
        shapes.resize_with(shapes.len().max(most as usize), || of((&usual, &NamespaceOptions::default())));
        Self {
            namespaces: shapes,
            cached: drive.cache.present,
            bytes,
            controllers,
            queues,
            managed: most != 0,
            formats: controllers > 1 && namespaces.iter().all(has_usual_units) || most != 0,
            units: bytes / u64::from(drive.geometry.unit_bytes),
            reserves: false,
        }
    }
}

/// Whether a namespace has no atomic sizes of its own, so that each format will do.
fn has_usual_units(options: &NamespaceOptions) -> bool {
    *options == manage::plain(options)
}

/// What a scenario is made of, by chance.
struct Choices(Random);

impl Deref for Choices {
    type Target = Random;

    fn deref(&self) -> &Random {
        &self.0
    }
}

impl DerefMut for Choices {
    fn deref_mut(&mut self) -> &mut Random {
        &mut self.0
    }
}

impl Choices {
    fn pass(&mut self, shape: &Shape, wishes: &Wishes) -> Pass {
        let mut operations = Vec::new();
        let bursts = if self.one_in(4) { 1 } else { 1 + self.below(6) };
        for _ in 0..bursts {
            self.burst(shape, &mut operations);
        }
        if self.one_in(12) {
            operations.extend(shape.all_queues().map(|queue| Operation::Ring { queue }));
            operations.push(Operation::Finish);
            // One controller that shuts down quiesces the drive for all; others may do so after it.
            let first = self.controller(shape);
            let others = if self.one_in(2) { shape.controllers } else { 1 };
            for nth in 0..others {
                let controller = (first + nth) % shape.controllers;
                operations.push(Operation::Shutdown { controller, abrupt: self.one_in(2) });
            }
        } else if self.one_in(20) {
            // Where power goes at a step only, the host waits for the end of it.
            let controller = self.controller(shape);
            operations.extend(wishes.points.is_empty().then_some(Operation::AskShutdown { controller }));
        } else if shape.cached && self.one_in(12) {
            let controller = self.controller(shape);
            operations.extend([Operation::Finish, Operation::SetCache { controller, enabled: false }]);
        }
        if shape.reserves && self.one_in(8) {
            operations.push(self.rename(shape));
        }
        let look_again = self.one_in(if shape.bytes > 256 << 10 { 16 } else { 6 });
        let (arming, recoveries) = match self.point(wishes) {
            None => (self.arming(shape), (0..self.below(16).saturating_sub(13)).map(|_| self.recovery()).collect()),
            Some(step) if step.is_of_recovery() => (None, vec![Arming::Hit(step, 1)]),
            Some(step) => {
                let within = 1 + self.below(8);
                (Some(Arming::Hit(step, 1 + self.below(within))), Vec::new())
            }
        };
        let (cut, disk_seed) = (self.cut(wishes), self.draw());
        let armed_only = !wishes.points.is_empty();
        Pass { arming, armed_only, operations, cut, disk_seed, recoveries, look_again }
    }

    fn cut(&mut self, wishes: &Wishes) -> Cut {
        let policy = match wishes.policy.unwrap_or_else(|| self.pick(&POLICIES)) {
            Policy::NoneSurvive => CutPolicy::NoneSurvive,
            Policy::AllSurvive => CutPolicy::AllSurvive,
            Policy::Random => CutPolicy::Random(self.draw()),
        };
        Cut { policy, tear: self.one_in(2), profile: Profile::Strict }
    }

    /// One of the steps that were asked for, if any were.
    fn point(&mut self, wishes: &Wishes) -> Option<Step> {
        if wishes.points.is_empty() { None } else { Some(self.pick(&wishes.points)) }
    }

    fn arming(&mut self, shape: &Shape) -> Option<Arming> {
        Some(match self.below(18) {
            0 => return None,
            1 => Arming::Rate { seed: self.draw(), one_in: 1 + self.below(200), steps: Steps::ALL },
            2 => Arming::IoCommand(1 + self.below(20)),
            3 => Arming::Program(1 + self.below(20)),
            4 => Arming::Journal(1 + self.below(3)),
            5..=8 => {
                let within = 1 + self.below(6);
                Arming::Hit(self.pick(Step::ALL), 1 + self.below(within))
            }
            9 => Arming::Command(1 + self.below(24)),
            10 => {
                let (nsid, near) = self.place(shape);
                let range = LbaRange::new(Lba(near), 1 + self.below(8));
                let opcode = self.pick(&MATCHED);
                let range = Some(range).filter(|_| opcode != NvmOpcode::FLUSH);
                let wanted =
                    CommandMatch { opcode: Some(opcode.0), namespace: Some(nsid), range, ..CommandMatch::default() };
                Arming::Match(wanted, 1 + self.below(4))
            }
            _ => {
                let within = 1 + self.below(300);
                Arming::AnyStep(1 + self.below(within))
            }
        })
    }

    fn recovery(&mut self) -> Arming {
        Arming::AnyStep(1 + self.below(8))
    }

    /// One block of the drive fails, not more: that would leave no replacements.
    fn fail_a_block(&mut self, passes: &mut [Pass], wishes: &Wishes) {
        let number = self.index(passes.len());
        let operations = &mut passes[number].operations;
        let nth = 1 + self.below(20);
        let fault = if self.one_in(2) { Operation::FailProgram { nth } } else { Operation::FailErase { nth } };
        operations.insert(self.index(operations.len()), fault);
        for pass in &mut passes[number..] {
            if wishes.points.is_empty() && self.one_in(3) {
                pass.arming = Some(Arming::Hit(Step::BlockRetired, 1));
            }
        }
    }

    /// A few commands together, their doorbells in any order or never, and some time for the device.
    fn burst(&mut self, shape: &Shape, operations: &mut Vec<Operation>) {
        let focus = self.place(shape);
        if self.one_in(12) {
            self.read_what_grew_old(shape, focus, operations);
            return;
        }
        if self.one_in(24) {
            self.read_beside_a_write(shape, focus, operations);
            return;
        }
        if shape.reserves && self.one_in(2) {
            self.reserve(shape, focus.0, operations);
        }
        if self.one_in(40) {
            let (nsid, near) = focus;
            let blocks = self.blocks(shape.namespaces[nsid as usize - 1], near);
            operations.push(Operation::Damage { nsid, blocks });
        }
        for _ in 0..1 + self.below(7) {
            operations.push(self.command(shape, focus));
        }
        let queues = u64::from(shape.queues) * u64::from(shape.controllers);
        for _ in 0..1 + self.below(queues) {
            operations.push(Operation::Ring { queue: self.queue(shape) });
        }
        if shape.formats && self.one_in(2) {
            self.administer(shape, focus.0, operations);
        }
        let controller = self.controller(shape);
        match self.below(10) {
            0..=2 if shape.controllers > 1 => {
                let steps = 1 + u32::try_from(self.below(3)).expect("few");
                operations.push(Operation::RunOne { controller, steps });
            }
            0..=4 => operations.push(Operation::Run { steps: 1 + u32::try_from(self.below(3)).expect("few") }),
            5..=7 => operations.push(Operation::Finish),
            8 => operations.push(Operation::Wait { nanoseconds: self.below(200_000) }),
            _ if shape.cached && self.one_in(2) => {
                operations.push(Operation::SetCache { controller, enabled: self.one_in(2) });
            }
            _ if self.one_in(4) => operations.push(Operation::Reset { controller }),
            _ if self.one_in(3) => {
                operations.push(Operation::DisableNormal { controller, disabled: self.one_in(2) });
            }
            _ => {}
        }
    }

    fn controller(&mut self, shape: &Shape) -> u16 {
        if shape.controllers == 1 {
            return 0;
        }
        u16::try_from(self.below(shape.controllers.into())).expect("a controller")
    }

    fn queue(&mut self, shape: &Shape) -> Queue {
        let controller = self.controller(shape);
        Queue { controller, number: 1 + u16::try_from(self.below(shape.queues.into())).expect("a queue") }
    }

    /// A namespace, and a block of it around which a burst happens.
    fn place(&mut self, shape: &Shape) -> (u32, u64) {
        let namespace = self.below(shape.namespaces.len() as u64);
        let NamespaceShape { blocks, edges: (first, size), .. } =
            shape.namespaces[usize::try_from(namespace).expect("few")];
        let block = self.below(blocks);
        let block = if self.one_in(2) { (block / size * size + first).min(blocks - 1) } else { block };
        (u32::try_from(namespace).expect("few") + 1, block)
    }

    fn command(&mut self, shape: &Shape, focus: (u32, u64)) -> Operation {
        let (nsid, near) = if self.one_in(4) { self.place(shape) } else { focus };
        let queue = self.queue(shape);
        let force = self.one_in(6);
        let verb = match self.below(52) {
            0..=23 => Verb::Write,
            24..=30 => Verb::Read,
            31 | 32 => Verb::Zeroes { deallocate: self.one_in(2) },
            33 => Verb::Deallocate,
            34 => Verb::FlushAll,
            35..=40 => Verb::Flush,
            41 | 42 => Verb::Verify,
            49 => Verb::Uncorrectable,
            50 | 51 => return self.copy(shape.namespaces[nsid as usize - 1], (queue, nsid, near, force)),
            kind => {
                let shape = shape.namespaces[nsid as usize - 1];
                let (blocks, guess) = (self.compared(shape, near), self.guess(shape));
                let write = kind > 44;
                return Operation::Compare { queue, nsid, blocks, force: force && self.one_in(3), guess, write };
            }
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
            force: match verb {
                Verb::Deallocate | Verb::Uncorrectable | Verb::Flush | Verb::FlushAll => false,
                // What is forced makes everything durable, and hides what other commands should have.
                Verb::Verify => force && self.one_in(3),
                _ => force,
            },
        }
    }

    /// A Copy, of fewer blocks where source and target would overlap.
    fn copy(&mut self, shape: NamespaceShape, (queue, nsid, near, force): (Queue, u32, u64, bool)) -> Operation {
        let blocks = self.blocks(shape, near);
        let start = blocks.start;
        // Behind the target or before it.
        let (behind, before) = ((shape.blocks - start) / 2, start);
        let count = blocks.count().min(behind.max(before)).max(1);
        let blocks = Blocks::new(start, count);
        let verb = if count <= behind {
            Verb::Copy { from: start + count + self.below(shape.blocks - start - 2 * count + 1) }
        } else if count <= before {
            Verb::Copy { from: self.below(before - count + 1) }
        } else {
            Verb::Write
        };
        Operation::Queue { queue, verb, nsid, blocks, force }
    }

    /// Blocks for a Compare or a pair, most of them few: what is too much is refused.
    fn compared(&mut self, shape: NamespaceShape, near: u64) -> Blocks {
        let blocks = self.blocks(shape, near);
        let most = if self.one_in(4) { u64::MAX } else { self.pick(&[1, shape.atomic, shape.normal]) };
        Blocks::new(blocks.start, blocks.count().min(most))
    }

    /// Mostly right: of what is wrong little is learned.
    fn guess(&mut self, shape: NamespaceShape) -> Guess {
        match self.below(8) {
            0..=3 => Guess::Answered,
            4..=6 => Guess::Queued,
            _ if shape.metadata && self.one_in(2) => Guess::Metadata { block: self.below(64) },
            _ => Guess::Never { block: self.below(64) },
        }
    }

    /// One block, the unit, one less, one more, twice, much; at the place, one before, one behind.
    fn blocks(&mut self, shape: NamespaceShape, near: u64) -> Blocks {
        let NamespaceShape { blocks: capacity, atomic, normal, unit, most, .. } = shape;
        let count = match self.below(9) {
            0 => 1,
            1 => atomic.saturating_sub(1),
            2 | 3 => atomic,
            4 => atomic + 1,
            5 => atomic * 2,
            6 => unit,
            7 => normal,
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
