//! Fixed histories, and what they cost: bytes programmed by reason, erases, what recovery found, and a sum over every outcome on the way.
//! Whoever changes how the drive collects, checkpoints, levels wear or recovers sees here by how much, and says so by a new table:
//! `MEDIA_FIGURES=write` writes it. Nothing in it is a promise by itself; that it changes unnoticed is what must not be.

use std::fmt::Write as _;
use std::fs;

use media::config::{Tuning, VictimPolicy};
use media::geometry::{Geometry, GeometryConfig};
use media::nand::timing::NandTimes;
use media::ordering::Order;
use media::power::{Arming, Random, Step};
use media::ssd::{CacheConfig, Ssd, SsdConfig, VolumeConfig};
use media::store::disk::Disk;
use media::store::schedule::Operation;
use media::store::{Caching, ImageStore, MemoryStore, Store, TwinDisk};
use media::testing::OpenDisk;
use media::volume::{Media, Request, Submitted, Token, VolumeId};
use media::{Lba, LbaRange, Nanoseconds};

use crate::harness::{Crash, Harness, sum};
use media::testing::Fill;

fn memory(geometry: &Geometry) -> MemoryStore {
    MemoryStore::new(geometry).expect("memory")
}

fn image(geometry: &Geometry) -> ImageStore<OpenDisk> {
    let mut store = ImageStore::create(geometry, 4 << 20, OpenDisk::default()).expect("memory");
    store.set_caching(Caching { cache_bytes: 200 << 10, kept_lines: 2 });
    store
}

fn failing(geometry: &Geometry) -> ImageStore<TwinDisk> {
    ImageStore::create(geometry, 4 << 20, TwinDisk::new(geometry.config.user_bytes)).expect("memory")
}

/// The lines of a table, against those that are kept.
struct Table {
    path: String,
    known: std::vec::IntoIter<String>,
    written: Option<String>,
}

impl Table {
    fn new(kind: &str) -> Self {
        let path = format!("{}/tests/figures/{kind}.txt", env!("CARGO_MANIFEST_DIR"));
        let known: Vec<String> = fs::read_to_string(&path).unwrap_or_default().lines().map(str::to_owned).collect();
        let written = std::env::var("MEDIA_FIGURES").is_ok().then(String::new);
        Self { path, known: known.into_iter(), written }
    }

    fn line(&mut self, line: &str) {
        match &mut self.written {
            Some(table) => writeln!(table, "{line}").expect("a string takes everything"),
            None => assert_eq!(self.known.next().as_deref(), Some(line), "{} says something else", self.path),
        }
    }

    fn end(self) {
        if let Some(table) = self.written {
            fs::create_dir_all(format!("{}/tests/figures", env!("CARGO_MANIFEST_DIR"))).expect("a folder");
            fs::write(&self.path, table).expect("a file");
        }
    }
}

fn compare<S: Crash>(kind: &str, make: fn(&Geometry) -> S, seeds: u64, steps: u64) {
    let mut table = Table::new(kind);
    for seed in 0..seeds {
        let mut harness = Harness::new(seed, make);
        for _ in 0..steps {
            harness.step();
        }
        harness.finish();
        table.line(&format!("{seed}: {}", harness.figures()));
    }
    table.end();
}

#[test]
fn a_drive_in_memory_costs_what_it_did() {
    compare("memory", memory, 60, 300);
}

#[test]
fn a_drive_on_a_disk_costs_what_it_did() {
    compare("image", image, 40, 200);
}

#[test]
fn a_drive_on_a_disk_that_fails_costs_what_it_did() {
    compare("failing", failing, 40, 200);
}

/// A host that does the same kind of thing for long.
struct Life {
    name: &'static str,
    tuning: Tuning,
    times: Option<NandTimes>,
    /// So many of a thousand requests are deallocations of so many blocks.
    trims: (u64, u64),
    /// Blocks of a write.
    blocks: u64,
    /// Most writes go to one block in so many.
    hot: u64,
    metadata_bytes: u32,
    requests: u64,
}

impl Life {
    fn all() -> Vec<Self> {
        let usual = || Self {
            name: "usual",
            tuning: Tuning { journal_entries: 128, ..Tuning::default() },
            times: None,
            trims: (10, 3),
            blocks: 4,
            hot: 1,
            metadata_bytes: 0,
            requests: 6000,
        };
        let greedy = Tuning { policy: VictimPolicy::Greedy, wear_gap: 2, wear_gap_per_thousand: 50, ..usual().tuning };
        let fifo = Tuning { policy: VictimPolicy::Fifo, reserve_lines: 6, ..usual().tuning };
        vec![
            usual(),
            Self { name: "hot", hot: 16, requests: 12_000, ..usual() },
            Self { name: "hot and even", tuning: greedy, hot: 16, requests: 12_000, ..usual() },
            Self { name: "in turn", tuning: fifo, blocks: 9, ..usual() },
            Self { name: "deallocating", trims: (700, 1), ..usual() },
            Self { name: "deallocating much", trims: (60, 700), metadata_bytes: 8, ..usual() },
            Self { name: "in time", times: Some(NandTimes::TLC), requests: 3000, ..usual() },
            Self {
                name: "in time, with metadata",
                times: Some(NandTimes::SLC),
                metadata_bytes: 16,
                requests: 3000,
                ..usual()
            },
        ]
    }

    fn config(&self) -> SsdConfig {
        // More units than a page of the map has, and than its pages have bits in a word.
        let user_bytes = 4096 * 512;
        SsdConfig {
            geometry: GeometryConfig {
                channels: 2,
                dies_per_channel: 2,
                planes_per_die: 1,
                pages_per_block: 8,
                page_bytes: 2048,
                unit_bytes: 512,
                user_bytes,
                spare_per_million_of_user: 300_000,
                replacement_blocks_per_plane: 2,
                factory_bad_blocks: 1,
                metadata_bytes_per_unit: 0,
                volumes_max: 0,
            },
            volumes: vec![VolumeConfig::new(512, self.metadata_bytes, user_bytes / 512)],
            tuning: self.tuning,
            cache: CacheConfig { bytes: 16 << 10, ..CacheConfig::default() },
            power_atomic_bytes: 4096,
            times: self.times,
            ..SsdConfig::default()
        }
    }

    /// One request after the other; a line each so often.
    fn lead<S: Store>(&self, kind: &str, mut ssd: Ssd<S>, table: &mut Table) {
        let capacity = ssd.shape(VolumeId(0)).expect("it is there").capacity_blocks;
        let mut random = Random::new(self.requests ^ self.blocks);
        let (mut now, mut waited) = (0, 0);
        for n in 1..=self.requests {
            let hot = if random.below(10) == 0 { capacity } else { capacity / self.hot };
            let start = random.below(hot - self.blocks);
            let range = LbaRange::new(Lba(start), self.blocks);
            let trimmed = [LbaRange::new(Lba(start), self.trims.1.min(capacity - start))];
            let mut data = Fill(n.to_le_bytes()[0]);
            let request = match random.below(1000) {
                choice if choice < self.trims.0 => Request::Deallocate { ranges: &trimmed },
                choice if choice > 990 => Request::Flush,
                choice => Request::Write { range, from: &mut data, force: choice > 970 },
            };
            if n == self.requests / 2 {
                (1..4).for_each(|nth| ssd.fail_program(nth * 40));
                ssd.fail_erase(3, 1);
            }
            let mut pending = ssd.submit(Nanoseconds(now), Token(1), VolumeId(0), request) == Submitted::Pending;
            while pending {
                let next = ssd.next_event().expect("it ends").0;
                (waited, now) = (waited + next - now, next);
                ssd.poll(Nanoseconds(now), &mut |_, outcome| {
                    assert_eq!(outcome, Ok(()));
                    pending = false;
                });
            }
            now += 1000;
            ssd.poll(Nanoseconds(now), &mut |_, _| {});
            if n % (self.requests / 6) == 0 {
                let status = ssd.status();
                let lines = ssd.ftl().describe_lines();
                let sum = lines.bytes().fold(0, |sum: u64, byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
                table.line(&format!(
                    "{kind}, {}: {:?} counters {:?} erased {:?} free {} mapped {} bad {} waited {waited} {sum:016x}",
                    self.name,
                    status.ledger.to_words(),
                    status.counters.to_words(),
                    status.erase_counts,
                    status.lines.1,
                    status.mapped_units,
                    status.bad_blocks,
                ));
            }
        }
        ssd.ftl().assert_invariants();
    }
}

#[test]
fn long_lives_cost_what_they_did() {
    let mut table = Table::new("lives");
    for life in Life::all() {
        let geometry = life.config().checked().expect("a configuration");
        life.lead("memory", Ssd::create(life.config(), memory(&geometry)).expect("a drive"), &mut table);
        life.lead("image", Ssd::create(life.config(), image(&geometry)).expect("a drive"), &mut table);
    }
    table.end();
}

/// How often each named step is reached.
#[test]
fn a_life_has_as_many_steps_of_each_kind_as_it_had() {
    let mut table = Table::new("steps");
    for &step in Step::ALL.iter().filter(|step| !step.is_of_controller() && !step.is_of_recovery()) {
        let life = Life { requests: 3000, ..Life::all().swap_remove(2) };
        let geometry = life.config().checked().expect("a configuration");
        let ssd = Ssd::create(life.config(), memory(&geometry)).expect("a drive");
        let breaker = ssd.breaker();
        breaker.arm(Arming::Hit(step, u64::MAX));
        let mut lives = Table { path: String::new(), known: Vec::new().into_iter(), written: Some(String::new()) };
        life.lead("memory", ssd, &mut lives);
        table.line(&format!("{step:?}: {}", breaker.hits()));
    }
    table.end();
}

/// A disk that errs errs the same each time: what fails, what is there afterwards, and what a failure of the host leaves.
#[test]
fn a_disk_that_errs_by_a_seed_errs_as_it_did() {
    let mut table = Table::new("errors");
    for seed in 0..60 {
        let (mut disk, mut random) = (TwinDisk::new(seed), Random::new(seed));
        let mut line = String::new();
        for round in 0..6 {
            disk.set_errors([Some((seed + round, 100)), Some((seed, 500)), None][random.index(3)]);
            disk.set_full(random.below(5) == 0);
            for _ in 0..12 {
                let at = random.below(16) * 4096 + random.pick(&[0, 0, 512, 700]);
                let count = 1 + random.index(9000);
                let bytes = random.bytes(count);
                match random.below(8) {
                    0 => _ = disk.call(Operation::Discard(at & !4095, 8192)),
                    1 => _ = disk.call(Operation::Barrier(Order::RootAfterAll)),
                    2..=4 => _ = disk.call(Operation::Free(at, bytes.into())),
                    _ => _ = disk.write(at, bytes),
                }
            }
            let ticket = disk.ticket(random.coin());
            let failed = (0..40).filter(|_| disk.done().is_err()).count();
            let times = disk.trouble().map_or(0, |trouble| trouble.times);
            disk.set_full(false);
            let done = disk.done().map_or(0, |done| done.ticket);
            let what = random.below(4);
            match what {
                0 => disk.kill(seed + round),
                1 => disk.fail(seed + round),
                2 => disk = disk.take(),
                _ => {}
            }
            let mut bytes = vec![0; 100_000];
            disk.read(0, &mut bytes).expect("it can be read");
            let loss = if what == 1 { disk.loss().to_string().lines().count() } else { 0 };
            let sum = sum(&bytes);
            write!(
                line,
                " {ticket}/{done} failed {failed} trouble {times} loss {loss} length {} {sum:016x}",
                disk.length()
            )
            .expect("a string takes everything");
        }
        table.line(&format!("{seed}:{line}"));
    }
    table.end();
}

/// Each program and each erase of a short life fails in turn.
#[test]
fn whatever_block_fails_costs_what_it_did() {
    let mut table = Table::new("failures");
    let shapes = [0, 5].map(|which| Life { requests: 600, ..Life::all().swap_remove(which) });
    for (life, nth) in shapes.iter().flat_map(|life| (1..130).step_by(2).map(move |nth| (life, nth))) {
        let geometry = life.config().checked().expect("a configuration");
        let mut ssd = Ssd::create(life.config(), image(&geometry)).expect("a drive");
        ssd.fail_program(nth);
        ssd.fail_program(nth + 1 + nth % 7);
        ssd.fail_erase(1 + nth % 9, 2);
        let mut lines = Table { path: String::new(), known: Vec::new().into_iter(), written: Some(String::new()) };
        life.lead("image", ssd, &mut lines);
        let last = lines.written.unwrap_or_default();
        table.line(&format!("{nth} {}", last.lines().last().expect("there are six")));
    }
    table.end();
}
