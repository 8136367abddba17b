//! The model, the random requests and the checker, for any store.
#![expect(clippy::cast_possible_truncation, reason = "tests know their numbers")]

mod figures;
mod others;
mod resize;

use std::collections::BTreeMap;

use media::config::{Tuning, VictimPolicy};
use media::fault::CORRECTABLE_BITS;
use media::geometry::{Geometry, GeometryConfig};
use media::power::{Arming, Cut, CutPolicy, Random, Step};
use media::ssd::{CacheConfig, Ssd, SsdConfig, VolumeConfig};
use media::store::disk::Disk;
use media::store::{ImageStore, MemoryStore, Store, TwinDisk};
use media::testing::OpenDisk;
use media::volume::{Fault, Media, MediaError, Outcome, Request, Sink, Source, Submitted, Token, VolumeId};
use media::{Lba, LbaRange, Nanoseconds};

pub use figures::sum;
use others::{UNCORRECTABLE, origin, shown};

pub fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A store that can lose what its disk had not synced yet.
pub trait Crash: Store {
    /// Whether it can lose what a cut let survive.
    const LOSES: bool;
    fn crash(&mut self, seed: u64);
    /// A sum over everything that lies on the disk.
    fn sum(&mut self) -> u64 {
        0
    }
}

impl Crash for MemoryStore {
    const LOSES: bool = false;
    fn crash(&mut self, _seed: u64) {}
}

impl Crash for ImageStore<TwinDisk> {
    const LOSES: bool = true;
    fn crash(&mut self, seed: u64) {
        if seed.is_multiple_of(2) {
            self.disk().kill(seed);
        } else {
            self.disk().fail(seed);
        }
        // What the process held in memory is gone as well.
        *self = self.take();
    }
    fn sum(&mut self) -> u64 {
        let mut bytes = vec![0; self.disk().length() as usize];
        self.disk().read(0, &mut bytes).unwrap();
        sum(&bytes)
    }
}

#[derive(Clone, Debug, Default)]
struct Block {
    /// Versions that may be read after a power loss, oldest first; the last is what is read now. 0 is zeroes.
    /// (order, value): value 0 for zeroes, otherwise the order of the write.
    versions: Vec<(u64, u64)>,
}

struct Wrote {
    order: u64,
    volume: usize,
    range: LbaRange,
}

pub struct Harness<S: Crash> {
    seed: u64,
    random: Random,
    config: SsdConfig,
    ssd: Option<Ssd<S>>,
    blocks: Vec<Vec<Block>>,
    /// Atomic writes since the last time everything was durable.
    atomic: Vec<Wrote>,
    order: u64,
    now: u64,
    log: Vec<String>,
    /// Of everything that was ever noted.
    sum: u64,
    cuts: u64,
    faults: u32,
    /// A resize that power went in: volume, and the other size that it may have.
    resizing: Option<(usize, u64)>,
}

fn word(value: u64, volume: usize, lba: u64, n: usize) -> u64 {
    if value == 0 {
        return 0;
    }
    if n == 0 {
        return value;
    }
    (value.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (lba << 8) ^ volume as u64).wrapping_add(n as u64)
}

struct Pattern {
    value: u64,
    volume: usize,
    first: u64,
    block_bytes: usize,
    metadata_bytes: usize,
    fail_at: usize,
}

fn pattern_bytes(value: u64, volume: usize, first: u64, block: usize, offset: usize, into: &mut [u8]) {
    assert!(offset.is_multiple_of(8) && into.len().is_multiple_of(8));
    for (n, chunk) in into.chunks_exact_mut(8).enumerate() {
        let at = offset + n * 8;
        let lba = first + (at / block) as u64;
        chunk.copy_from_slice(&word(value, volume, lba, at % block / 8).to_le_bytes());
    }
}

impl Source for Pattern {
    fn fill(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        pattern_bytes(self.value, self.volume, self.first, self.block_bytes, offset, into);
        if offset + into.len() > self.fail_at {
            into.fill(0xee);
            return Err(Fault);
        }
        Ok(())
    }
    fn fill_metadata(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        pattern_bytes(self.value, self.volume, self.first, self.metadata_bytes, offset, into);
        Ok(())
    }
}

#[derive(Default)]
struct Buffer {
    data: Vec<u8>,
    metadata: Vec<u8>,
}

impl Sink for Buffer {
    fn take(&mut self, offset: usize, from: &[u8]) -> Result<(), Fault> {
        self.data[offset..offset + from.len()].copy_from_slice(from);
        Ok(())
    }
    fn take_metadata(&mut self, offset: usize, from: &[u8]) -> Result<(), Fault> {
        self.metadata[offset..offset + from.len()].copy_from_slice(from);
        Ok(())
    }
}

fn random_config(random: &mut Random) -> SsdConfig {
    let unit_bytes = random.pick(&[512, 1024, 4096, 4096, 16384, 65536]);
    let page_bytes = random.pick(&[512, 2048, 4096, 16384]);
    let program = unit_bytes.max(page_bytes);
    let planes = random.pick(&[1, 2, 4]);
    let pages_per_block = (program / page_bytes * random.pick(&[2u32, 4, 8])).div_ceil(planes).max(2);
    // A line must be a whole number of programs.
    let pages_per_block = pages_per_block.next_multiple_of((program / page_bytes).max(1));
    let line = pages_per_block * page_bytes * planes;
    let user_lines = 4 + random.below(12);
    let user_bytes = u64::from(line) * user_lines + u64::from(unit_bytes) * random.below(3);
    let count = 1 + random.below(3);
    let mut volumes = Vec::new();
    let units = user_bytes / u64::from(unit_bytes) / count;
    for _ in 0..count {
        let block_bytes = random.pick(&[512, 1024, 4096, 16384, 65536]).min(unit_bytes);
        let blocks = units * u64::from(unit_bytes / block_bytes);
        let short = random.below(u64::from(unit_bytes / block_bytes)).min(blocks - 1);
        let metadata_bytes = random.pick(&[0, 0, 8, 16, 64]);
        let most = blocks - short;
        let capacity = if random.below(2) == 0 { most } else { 1 + random.below(most) };
        volumes.push(VolumeConfig::new(block_bytes, metadata_bytes, capacity).with_room(most));
    }
    let line_units = line / unit_bytes;
    let atomic = (u64::from(unit_bytes) * (1 + random.below(3))).min(u64::from(unit_bytes) * u64::from(line_units - 1));
    SsdConfig {
        geometry: GeometryConfig {
            channels: 1,
            dies_per_channel: 1,
            planes_per_die: planes,
            pages_per_block,
            page_bytes,
            unit_bytes,
            user_bytes,
            spare_per_million_of_user: random.pick(&[0, 100_000, 300_000]),
            replacement_blocks_per_plane: 3,
            factory_bad_blocks: random.pick(&[0, 0, 1, 3]),
            metadata_bytes_per_unit: 0,
            volumes_max: 0,
        },
        volumes,
        tuning: Tuning {
            policy: random.pick(&[VictimPolicy::Greedy, VictimPolicy::CostBenefit, VictimPolicy::Fifo]),
            reserve_lines: 4 + random.below(2) as u32,
            journal_entries: 128,
            checkpoint_units: random.pick(&[0, 50, 200, 1000]),
            ..Tuning::default()
        },
        cache: CacheConfig {
            enabled: random.below(4) != 0,
            bytes: u64::from(unit_bytes) * random.below(20),
            open_units: random.below(3) as u32,
            age_max: Nanoseconds(10_000),
            ..CacheConfig::default()
        },
        power_atomic_bytes: u32::try_from(atomic).unwrap(),
        ..SsdConfig::default()
    }
}

impl Crash for ImageStore<OpenDisk> {
    const LOSES: bool = false;
    fn crash(&mut self, _seed: u64) {
        *self = self.take();
    }
    fn sum(&mut self) -> u64 {
        sum(&self.disk().bytes())
    }
}

impl<S: Crash> Harness<S> {
    pub fn new(seed: u64, make: fn(&Geometry) -> S) -> Self {
        let mut random = Random::new(seed);
        let mut config = random_config(&mut random);
        let geometry = config.checked().unwrap_or_else(|error| panic!("seed {seed}: {error}: {config:?}"));
        let ssd = Ssd::create(config.clone(), make(&geometry)).unwrap();
        let start = Block { versions: vec![(0, 0)] };
        // Beyond the end of a volume there are zeroes.
        for (n, volume) in (0..).zip(&mut config.volumes) {
            volume.capacity_blocks_max = ssd.shape(VolumeId(n)).unwrap().capacity_blocks_max;
        }
        let blocks = config.volumes.iter().map(|v| vec![start.clone(); v.capacity_blocks_max as usize]).collect();
        let mut harness = Self {
            seed,
            random,
            config,
            ssd: Some(ssd),
            blocks,
            atomic: Vec::new(),
            order: 0,
            now: 0,
            log: Vec::new(),
            sum: 0,
            cuts: 0,
            faults: 0,
            resizing: None,
        };
        // A drive is made when its making is durable.
        assert_eq!(harness.submit(0, Request::Flush), Ok(()));
        harness
    }

    fn fail(&self, what: &str) -> ! {
        let lines = self.ssd.as_ref().map(|ssd| ssd.ftl().describe_lines()).unwrap_or_default();
        println!("{lines}");
        let tail = &self.log[self.log.len().saturating_sub(40)..];
        panic!("MEDIA_SEED={}: {what}\nconfig {:#?}\nlast steps:\n{}", self.seed, self.config, tail.join("\n"));
    }

    fn ssd(&mut self) -> &mut Ssd<S> {
        self.ssd.as_mut().unwrap()
    }

    fn submit(&mut self, volume: usize, request: Request<'_>) -> Outcome {
        self.now += 100;
        let now = Nanoseconds(self.now);
        let ssd = self.ssd.as_mut().unwrap();
        match ssd.submit(now, Token(7), VolumeId(volume as u32), request) {
            Submitted::Done(outcome) => outcome,
            Submitted::Pending => self.wait(),
        }
    }

    fn wait(&mut self) -> Outcome {
        for _ in 0..1_000_000 {
            let ssd = self.ssd.as_mut().unwrap();
            let mut ended = None;
            if let Some(next) = ssd.next_event() {
                self.now = self.now.max(next.0);
            }
            ssd.poll(Nanoseconds(self.now), &mut |token, outcome| {
                assert_eq!(token, Token(7));
                ended = Some(outcome);
            });
            if let Some(outcome) = ended {
                return outcome;
            }
            std::thread::yield_now();
        }
        self.fail("a pending request never ended")
    }

    fn random_range(&mut self, volume: usize) -> LbaRange {
        let shape = &self.config.volumes[volume];
        let per_unit = u64::from(self.config.geometry.unit_bytes / shape.block_bytes);
        let start = self.random.below(shape.capacity_blocks);
        let most = match self.random.below(4) {
            0 => 1,
            1 => per_unit,
            2 => per_unit * 3,
            _ => per_unit * 9,
        };
        let blocks = 1 + self.random.below(most.min(64));
        let aligned = self.random.below(2) == 0;
        let start = if aligned { start / per_unit * per_unit } else { start };
        LbaRange::new(Lba(start), blocks.min(shape.capacity_blocks - start))
    }

    pub fn step(&mut self) {
        if self.random.below(60) == 0 {
            self.arm();
        }
        let volume = self.random.below(self.config.volumes.len() as u64) as usize;
        match self.random.below(100) {
            0..=50 => self.write(volume),
            51..=52 => self.uncorrectable(volume),
            53..=54 => self.copy(volume),
            55..=60 => self.zeroes(volume),
            61..=68 => self.deallocate(volume),
            69..=84 => self.read(volume),
            85..=90 => self.flush(volume),
            91 => self.toggle_cache(),
            92 => self.fault(volume),
            93 => self.shutdown(),
            94..=95 => self.cut(),
            96 => self.failing_write(volume),
            97 => self.resize(volume),
            _ => self.poll(),
        }
        if self.ssd.as_mut().unwrap().breaker().lost() {
            self.power_back();
        }
        let status = self.ssd().status();
        if !status.ledger.balances() {
            self.fail("the ledger does not balance");
        }
        if status.read_only {
            self.fail("the drive became read-only");
        }
        if self.random.below(16) == 0 {
            self.ssd().ftl().assert_invariants();
            self.check_allocated();
        }
    }

    pub fn finish(&mut self) {
        self.cut();
        self.power_back();
        self.check_all("at the end", false);
        self.shutdown();
        self.check_all("after a clean shutdown", false);
        if self.ssd().status().counters.unsafe_shutdowns > self.cuts {
            self.fail("unsafe shutdowns are counted too often");
        }
    }

    fn note(&mut self, what: String) {
        self.sum = what.bytes().fold(self.sum, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        self.log.push(what);
        if self.log.len() > 400 {
            self.log.drain(..200);
        }
    }

    /// Notes a change of a range; `done` when it was accepted (otherwise power went meanwhile, and it may or may not be there).
    fn changed(&mut self, volume: usize, range: LbaRange, values: &[u64]) {
        for (lba, &value) in (range.start.0..).zip(values) {
            self.blocks[volume][lba as usize].versions.push((self.order, value));
        }
        let shape = &self.config.volumes[volume];
        let atomic = u64::from(self.config.power_atomic_bytes / shape.block_bytes).max(1);
        if range.blocks <= atomic {
            self.atomic.push(Wrote { order: self.order, volume, range });
        }
    }

    /// Everything accepted so far is durable.
    fn durable(&mut self) {
        for block in self.blocks.iter_mut().flatten() {
            let last = block.versions.len() - 1;
            block.versions.drain(..last);
        }
        self.atomic.clear();
    }

    fn write(&mut self, volume: usize) {
        let range = self.random_range(volume);
        let force = self.random.below(8) == 0;
        self.order += 1;
        let value = self.order;
        let shape = self.config.volumes[volume];
        let mut source = Pattern {
            value,
            volume,
            first: range.start.0,
            block_bytes: shape.block_bytes as usize,
            metadata_bytes: shape.metadata_bytes as usize,
            fail_at: usize::MAX,
        };
        let outcome = self.submit(volume, Request::Write { range, from: &mut source, force });
        self.note(format!("{value}: write {volume} {range:?} force {force}: {outcome:?}"));
        self.after_change(volume, range, value, force, outcome);
    }

    fn after_change(&mut self, volume: usize, range: LbaRange, value: u64, force: bool, outcome: Outcome) {
        self.after_changes(volume, range, &vec![value; range.blocks as usize], force, outcome);
    }

    /// The same with a value for each block.
    fn after_changes(&mut self, volume: usize, range: LbaRange, values: &[u64], force: bool, outcome: Outcome) {
        match outcome {
            Ok(()) => {
                self.changed(volume, range, values);
                if force || self.ssd().write_cache() == Some(false) {
                    // Forcing commits everything, but only this range is promised: promise what the contract promises.
                    self.promise(volume, range);
                }
            }
            Err(MediaError::PowerLost) => self.changed(volume, range, values),
            Err(other) => self.fail(&format!("a change ended with {other:?}")),
        }
    }

    fn promise(&mut self, volume: usize, range: LbaRange) {
        for lba in range.start.0..range.start.0 + range.blocks {
            let versions = &mut self.blocks[volume][lba as usize].versions;
            let last = versions.len() - 1;
            versions.drain(..last);
        }
    }

    fn failing_write(&mut self, volume: usize) {
        let range = self.random_range(volume);
        self.order += 1;
        let shape = self.config.volumes[volume];
        let bytes = range.blocks * u64::from(shape.block_bytes);
        let mut source = Pattern {
            value: self.order,
            volume,
            first: range.start.0,
            block_bytes: shape.block_bytes as usize,
            metadata_bytes: shape.metadata_bytes as usize,
            fail_at: self.random.below(bytes) as usize,
        };
        let outcome = self.submit(volume, Request::Write { range, from: &mut source, force: false });
        self.note(format!("{}: failing write {volume} {range:?}: {outcome:?}", self.order));
        match outcome {
            Err(MediaError::HostMemory) => self.adopt(volume, range, self.order),
            // What came before the fault may have been accepted, block by block.
            Err(MediaError::PowerLost) => {
                let atomic = self.atomic.len();
                self.changed(volume, range, &vec![self.order; range.blocks as usize]);
                self.atomic.truncate(atomic);
            }
            other => self.fail(&format!("a write whose source failed ended with {other:?}")),
        }
    }

    /// After a failed write each block is old or new, and a write of at most the atomic unit left all of them old.
    fn adopt(&mut self, volume: usize, range: LbaRange, value: u64) {
        let shape = self.config.volumes[volume];
        let atomic = range.blocks <= u64::from(self.config.power_atomic_bytes / shape.block_bytes).max(1);
        let Some(values) = self.values(volume, range, "after a write whose source failed") else {
            return;
        };
        for (lba, shown) in (range.start.0..).zip(values) {
            let versions = &mut self.blocks[volume][lba as usize].versions;
            if shown == value && !atomic {
                versions.push((value, value));
            } else if !atomic && shown == versions.last().unwrap().1 {
                // Of a failed write above the atomic unit a power loss may still bring up some blocks.
                versions.insert(versions.len() - 1, (value, value));
            } else if shown != versions.last().unwrap().1 {
                self.fail(&format!("after a failed write block {lba} shows {shown}"));
            }
        }
    }

    fn zeroes(&mut self, volume: usize) {
        let range = self.random_range(volume);
        let (deallocate, force) = (self.random.below(2) == 0, self.random.below(8) == 0);
        self.order += 1;
        let outcome = self.submit(volume, Request::WriteZeroes { range, deallocate, force });
        self.note(format!(
            "{}: zeroes {volume} {range:?} deallocate {deallocate} force {force}: {outcome:?}",
            self.order
        ));
        self.after_change(volume, range, 0, force, outcome);
    }

    fn deallocate(&mut self, volume: usize) {
        let mut range = self.random_range(volume);
        if self.random.below(10) == 0 {
            range = LbaRange::new(Lba(0), self.config.volumes[volume].capacity_blocks);
        }
        self.order += 1;
        let outcome = self.submit(volume, Request::Deallocate { ranges: &[range] });
        self.note(format!("{}: deallocate {volume} {range:?}: {outcome:?}", self.order));
        let atomic = self.atomic.len();
        self.after_change(volume, range, 0, false, outcome);
        // A deallocation need not be atomic.
        self.atomic.truncate(atomic);
    }

    fn read(&mut self, volume: usize) {
        let range = self.random_range(volume);
        self.verify(volume, range, "in a read");
    }

    fn poll(&mut self) {
        self.now += self.random.below(20_000);
        let now = Nanoseconds(self.now);
        self.ssd().poll(now, &mut |_, _| {});
    }

    fn flush(&mut self, volume: usize) {
        let outcome = self.submit(volume, Request::Flush);
        self.note(format!("flush: {outcome:?}"));
        match outcome {
            Ok(()) => self.durable_volume(volume),
            Err(MediaError::PowerLost) => {}
            Err(other) => self.fail(&format!("a flush ended with {other:?}")),
        }
    }

    fn durable_volume(&mut self, volume: usize) {
        let capacity = self.config.volumes[volume].capacity_blocks;
        self.promise(volume, LbaRange::new(Lba(0), capacity));
        self.atomic.retain(|wrote| wrote.volume != volume);
    }

    fn toggle_cache(&mut self) {
        let enabled = self.random.below(2) == 0;
        let now = Nanoseconds(self.now);
        let was = self.ssd().write_cache();
        let outcome = match self.ssd().set_write_cache(now, Token(7), enabled) {
            Submitted::Done(outcome) => outcome,
            Submitted::Pending => self.wait(),
        };
        self.note(format!("cache {enabled}: {outcome:?}"));
        if outcome.is_ok() && was == Some(true) && !enabled {
            self.durable();
        }
    }

    fn fault(&mut self, volume: usize) {
        let range = self.random_range(volume);
        let nth = 1 + self.random.below(4);
        match self.random.below(8) {
            // More than the replacements would retire lines, and small drives have none to spare.
            0 | 1 if self.faults == 3 || self.ssd().status().lines.1 < 3 => {}
            0 => {
                self.faults += 1;
                self.ssd().fail_program(nth);
            }
            1 => {
                self.faults += 1;
                self.ssd().fail_erase(nth, 0);
            }
            2 => {
                self.ssd().read_faults().set(VolumeId(volume as u32), range.start, CORRECTABLE_BITS);
                self.verify(volume, range, "with a corrected read");
                self.ssd().read_faults().heal(VolumeId(volume as u32), range);
            }
            _ => {
                self.ssd().read_faults().set(VolumeId(volume as u32), range.start, CORRECTABLE_BITS + 1);
                let mut buffer = self.buffer(volume, range);
                let outcome = self.submit(volume, Request::Read { range, into: &mut buffer, force: false });
                let unread = Err(MediaError::UnrecoveredRead { first: range.start });
                if outcome != unread && outcome != Err(MediaError::PowerLost) {
                    self.fail(&format!("an unreadable block was read: {outcome:?}"));
                }
                self.ssd().read_faults().heal(VolumeId(volume as u32), range);
            }
        }
        self.note("fault".into());
    }

    fn shutdown(&mut self) {
        self.now += 1;
        if self.ssd().breaker().lost() {
            return;
        }
        let ticket = self.ssd().shutdown();
        if self.ssd().breaker().tripped_at().is_some() {
            return;
        }
        while !self.ssd().synced(ticket).unwrap() {
            std::thread::yield_now();
        }
        self.note("clean shutdown".into());
        self.durable();
        let store = self.ssd.take().unwrap().into_store();
        let ssd = Ssd::open(self.config.clone(), store);
        self.ssd = Some(ssd.unwrap_or_else(|error| self.fail(&format!("after a clean shutdown: {error}"))));
        if !self.ssd().status().recovery.clean {
            self.fail("a clean shutdown was not seen as one");
        }
    }

    fn arm(&mut self) {
        let arming = match self.random.below(3) {
            0 => Arming::AnyStep(1 + self.random.below(200)),
            _ => Arming::Hit(self.random.pick(Step::ALL), 1 + self.random.below(4)),
        };
        self.note(format!("armed {arming:?}"));
        self.ssd().breaker().arm(arming);
    }

    fn cut(&mut self) {
        let policy = match self.random.below(4) {
            0 => CutPolicy::NoneSurvive,
            1 => CutPolicy::AllSurvive,
            _ => CutPolicy::Random(self.random.draw()),
        };
        self.ssd().breaker().disarm();
        let cut = Cut { policy: policy.clone(), tear: self.random.below(2) == 0, ..Cut::default() };
        let report = self.ssd().cut(&cut);
        self.note(format!("cut {policy:?}: {report:?}"));
        if policy == CutPolicy::AllSurvive {
            if !report.entries.iter().all(|entry| entry.survives()) {
                self.fail("everything was to survive");
            }
            if !S::LOSES {
                self.durable();
            }
        }
    }

    fn power_back(&mut self) {
        self.cuts += 1;
        let step = self.ssd().breaker().tripped_at();
        self.note(format!("power back (lost at {step:?})"));
        let policy = CutPolicy::Random(self.random.draw());
        let cut = Cut { policy, tear: self.random.below(2) == 0, ..Cut::default() };
        let report = self.ssd().cut(&cut);
        self.note(format!("resolved by {cut:?}: {report:?}"));
        loop {
            let arming = match self.random.below(6) {
                0 => Some(Arming::Hit(Step::RecoveryRoot, 1)),
                1 => Some(Arming::Hit(Step::RecoveryDone, 1)),
                _ => None,
            };
            let seed = self.random.draw();
            let mut store = self.ssd.take().unwrap().into_store();
            store.crash(seed);
            let ssd = match Ssd::open_armed(self.config.clone(), store, arming) {
                Ok(ssd) => ssd,
                Err(error) => self.fail(&format!("recovery failed: {error}")),
            };
            let lost = ssd.breaker().lost();
            ssd.breaker().disarm();
            self.ssd = Some(ssd);
            if !lost {
                break;
            }
            self.cuts += 1;
        }
        let report = self.ssd().status().recovery;
        self.note(format!("recovered {report:?}"));
        self.ssd().ftl().assert_invariants();
        self.learn_sizes();
        self.check_all("after a power loss", true);
    }

    fn buffer(&self, volume: usize, range: LbaRange) -> Buffer {
        let shape = &self.config.volumes[volume];
        let blocks = range.blocks as usize;
        Buffer {
            data: vec![0xaa; blocks * shape.block_bytes as usize],
            metadata: vec![0xaa; blocks * shape.metadata_bytes as usize],
        }
    }

    /// The value that each block of a range shows; fails where one is torn or misplaced.
    fn values(&mut self, volume: usize, range: LbaRange, when: &str) -> Option<Vec<u64>> {
        let mut buffer = self.buffer(volume, range);
        match self.submit(volume, Request::Read { range, into: &mut buffer, force: false }) {
            Ok(()) => {}
            Err(MediaError::PowerLost) => return None,
            Err(MediaError::UnrecoveredRead { first }) => return self.values_around(volume, range, first, when),
            Err(other) => self.fail(&format!("{when}: a read of {range:?} ended with {other:?}")),
        }
        let shape = self.config.volumes[volume];
        let (block, metadata) = (shape.block_bytes as usize, shape.metadata_bytes as usize);
        let mut values = Vec::new();
        for n in 0..range.blocks as usize {
            let lba = range.start.0 + n as u64;
            let data = &buffer.data[n * block..(n + 1) * block];
            let value = u64::from_le_bytes(data[..8].try_into().unwrap());
            let of = origin(data, volume, lba);
            let mut expected = vec![0; block];
            pattern_bytes(value, volume, of, block, 0, &mut expected);
            if data != expected {
                self.fail(&format!("{when}: volume {volume} block {lba} shows {value} and is torn or misplaced"));
            }
            let mut expected = vec![0; metadata];
            if metadata != 0 {
                pattern_bytes(value, volume, of, metadata, 0, &mut expected);
            }
            if buffer.metadata[n * metadata..(n + 1) * metadata] != expected {
                self.fail(&format!("{when}: metadata of volume {volume} block {lba} is not that of {value}"));
            }
            values.push(shown(value, of, lba));
        }
        Some(values)
    }

    /// The same block by block, where a read of the whole said that `first` is the first that cannot be read.
    fn values_around(&mut self, volume: usize, range: LbaRange, first: Lba, when: &str) -> Option<Vec<u64>> {
        if range.blocks == 1 && first == range.start {
            return Some(vec![UNCORRECTABLE]);
        }
        let lbas = range.start.0..range.start.0 + range.blocks;
        let one = |lba| self.values(volume, LbaRange::new(Lba(lba), 1), when).map(|values| values[0]);
        let values = lbas.map(one).collect::<Option<Vec<_>>>()?;
        if values.iter().position(|value| *value == UNCORRECTABLE).map(|n| range.start.0 + n as u64) != Some(first.0) {
            self.fail(&format!("{when}: the first block of {range:?} that cannot be read is not {first:?}"));
        }
        Some(values)
    }

    fn verify(&mut self, volume: usize, range: LbaRange, when: &str) {
        let Some(values) = self.values(volume, range, when) else {
            return;
        };
        for (lba, value) in (range.start.0..).zip(values) {
            let expected = self.blocks[volume][lba as usize].versions.last().unwrap().1;
            if value != expected {
                self.fail(&format!("{when}: volume {volume} block {lba} shows {value}, not {expected}"));
            }
        }
    }

    /// Reads everything. After a power loss each block may show any version that the model still allows, and from then on that.
    fn check_all(&mut self, when: &str, lost: bool) {
        let mut shown: BTreeMap<(usize, u64), Vec<u64>> = BTreeMap::new();
        for volume in 0..self.blocks.len() {
            let capacity = self.config.volumes[volume].capacity_blocks;
            let range = LbaRange::new(Lba(0), capacity);
            if !lost {
                self.verify(volume, range, when);
                continue;
            }
            let values = self.values(volume, range, when).expect("power is there");
            for (lba, value) in (0..).zip(values) {
                let versions = &self.blocks[volume][lba as usize].versions;
                let orders: Vec<u64> = versions.iter().filter(|v| v.1 == value).map(|v| v.0).collect();
                if orders.is_empty() {
                    self.fail(&format!("{when}: volume {volume} block {lba} shows {value}, allowed are {versions:?}"));
                }
                shown.insert((volume, lba), orders);
            }
        }
        if lost {
            self.check_atomic(&shown, when);
            for &(volume, lba) in shown.keys() {
                let value = {
                    let orders = &shown[&(volume, lba)];
                    let versions = &self.blocks[volume][lba as usize].versions;
                    versions.iter().find(|v| v.0 == orders[0]).unwrap().1
                };
                self.blocks[volume][lba as usize].versions = vec![(0, value)];
            }
            self.atomic.clear();
        }
    }

    fn check_atomic(&self, shown: &BTreeMap<(usize, u64), Vec<u64>>, when: &str) {
        for wrote in &self.atomic {
            let lbas = wrote.range.start.0..wrote.range.start.0 + wrote.range.blocks;
            let there = lbas.clone().any(|lba| shown[&(wrote.volume, lba)] == [wrote.order]);
            let missing =
                lbas.clone().find(|lba| shown[&(wrote.volume, *lba)].iter().all(|order| *order < wrote.order));
            if let (true, Some(lba)) = (there, missing) {
                self.fail(&format!("{when}: write {} is torn: block {lba} shows something older", wrote.order));
            }
        }
    }

    fn check_allocated(&mut self) {
        for volume in 0..self.config.volumes.len() {
            let id = VolumeId(volume as u32);
            let used = self.blocks[volume].iter().filter(|b| b.versions.last().unwrap().1 != 0).count() as u64;
            let allocated = self.ssd().allocated_blocks(id);
            if allocated < used {
                self.fail(&format!("volume {volume} holds {used} blocks and says {allocated}"));
            }
        }
    }
}
