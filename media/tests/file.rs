//! The store in a file: what is refused and in which words, and that a process that is killed loses nothing that was promised.
//!
//! `MEDIA_KILLS=n` kills more often; `MEDIA_SEED=n` takes another seed.

mod settled;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use media::geometry::GeometryConfig;
use media::journal::METADATA_PAGE;
use media::power::Random;
use media::root::Layout;
use media::ssd::{CacheConfig, Ssd, SsdConfig, VolumeConfig};
use media::store::{Caching, FileOptions, FileStore, StoreError, inspect, inspect_file};
use media::testing::Bytes;
use media::volume::{Fault, Outcome, Request, Source};
use media::{Lba, LbaRange};
use settled::submit_to;

const BLOCKS: u64 = 1024;

/// A path of this test alone, and nothing there.
fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("brownout-media-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

fn config() -> SsdConfig {
    SsdConfig {
        geometry: GeometryConfig {
            channels: 1,
            dies_per_channel: 1,
            planes_per_die: 2,
            pages_per_block: 32,
            page_bytes: 8192,
            unit_bytes: 4096,
            user_bytes: BLOCKS * 4096,
            spare_per_million_of_user: 250_000,
            replacement_blocks_per_plane: 1,
            factory_bad_blocks: 0,
            metadata_bytes_per_unit: 0,
            volumes_max: 0,
        },
        volumes: vec![VolumeConfig::new(4096, 0, BLOCKS)],
        cache: CacheConfig { bytes: 128 << 10, ..CacheConfig::default() },
        power_atomic_bytes: 16 << 10,
        ..SsdConfig::default()
    }
}

/// A line of this drive is small, so few are kept.
fn options() -> FileOptions {
    let caching = Caching { cache_bytes: 1 << 20, kept_lines: 1 };
    FileOptions { cache_unsafe: true, caching, ..FileOptions::default() }
}

fn create(path: &Path) -> Ssd<FileStore> {
    let config = config();
    let geometry = config.checked().unwrap();
    let entries = config.tuning.journal_entries;
    let store = FileStore::create_file(path, &geometry, entries, options()).unwrap();
    let mut ssd = Ssd::create(config, store).unwrap();
    assert_eq!(submit(&mut ssd, Request::Flush), Ok(()));
    ssd
}

fn open(path: &Path) -> Result<Ssd<FileStore>, StoreError> {
    let config = config();
    let geometry = config.checked().unwrap();
    let store = FileStore::open_file(path, &geometry, options())?;
    Ssd::open(config, store)
}

fn submit(ssd: &mut Ssd<FileStore>, request: Request<'_>) -> Outcome {
    submit_to(ssd, 0, request)
}

/// A block that says which write it is, where it belongs, and that it is whole.
struct Stamp(u64, u64);

impl Source for Stamp {
    fn fill(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        for (n, word) in into.chunks_exact_mut(8).enumerate() {
            let byte = offset + n * 8;
            let lba = self.1 + byte as u64 / 4096;
            let value =
                if byte.is_multiple_of(4096) { self.0 } else { self.0.wrapping_mul(31) ^ lba ^ (byte as u64 % 4096) };
            word.copy_from_slice(&value.to_le_bytes());
        }
        Ok(())
    }
}

/// The write that a block shows; the block must be whole.
fn shown(ssd: &mut Ssd<FileStore>, lba: u64) -> u64 {
    let mut block = Bytes(vec![0; 4096]);
    let range = LbaRange::new(Lba(lba), 1);
    assert_eq!(submit(ssd, Request::Read { range, into: &mut block, force: false }), Ok(()));
    let value = u64::from_le_bytes(block.0[..8].try_into().unwrap());
    let mut expected = vec![0; 4096];
    if value != 0 {
        Stamp(value, lba).fill(0, &mut expected).unwrap();
    }
    assert!(block.0 == expected, "block {lba} shows write {value} and is torn or misplaced");
    value
}

fn refused(path: &Path) -> String {
    open(path).err().expect("it is refused").to_string()
}

#[test]
fn a_shut_down_drive_opens_clean_with_everything_in_it() {
    let path = scratch("clean");
    let mut ssd = create(&path);
    for lba in 0..BLOCKS {
        let range = LbaRange::new(Lba(lba), 1);
        assert_eq!(submit(&mut ssd, Request::Write { range, from: &mut Stamp(lba + 1, lba), force: false }), Ok(()));
    }
    let ticket = ssd.shutdown();
    while !ssd.synced(ticket).unwrap() {
        std::thread::yield_now();
    }
    let before = ssd.status();
    drop(ssd);
    let mut ssd = open(&path).unwrap();
    let status = ssd.status();
    assert!(status.recovery.clean);
    assert_eq!(status.counters.host_writes, before.counters.host_writes);
    assert_eq!((status.counters.power_cycles, status.counters.unsafe_shutdowns), (2, 0));
    assert_eq!(status.ledger.host, before.ledger.host);
    assert!((0..BLOCKS).all(|lba| shown(&mut ssd, lba) == lba + 1));
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_file_in_use_existing_missing_foreign_newer_damaged_cut_off_or_of_another_geometry_is_refused() {
    let path = scratch("refused");
    assert!(refused(&path).contains("cannot open"));
    let mut ssd = create(&path);
    assert!(refused(&path).contains("in use"));
    let geometry = config().checked().unwrap();
    let again = FileStore::create_file(&path, &geometry, 128, FileOptions::default());
    assert!(again.err().unwrap().to_string().contains("cannot create"));
    let range = LbaRange::new(Lba(3), 1);
    assert_eq!(submit(&mut ssd, Request::Write { range, from: &mut Stamp(9, 3), force: true }), Ok(()));
    drop(ssd);
    assert_eq!(inspect_file(&path).unwrap(), geometry.config);
    let good = std::fs::read(&path).unwrap();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        std::fs::write(&path, &bytes).unwrap();
        let words = refused(&path);
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "a refused file is not touched");
        words
    };
    assert!(with(&|bytes| bytes[0] = b'x').contains("not a brownout"));
    assert!(with(&|bytes| bytes[8] = 9).contains("format version 9"));
    assert!(with(&|bytes| bytes[14] ^= 1).contains("checksum"));
    assert!(with(&|bytes| bytes.truncate(bytes.len() / 2)).contains("cut off"));
    assert!(with(&|bytes| bytes.truncate(100)).contains("damaged"));
    assert!(with(&|bytes| bytes[4096..4096 + 300_000].fill(0x5a)).contains("neither root"));
    std::fs::write(&path, &good).unwrap();
    let mut other = config();
    other.geometry.spare_per_million_of_user = 500_000;
    let geometry = other.checked().unwrap();
    let words = FileStore::open_file(&path, &geometry, FileOptions::default()).err().unwrap().to_string();
    assert!(words.contains("another geometry"));
    assert_eq!(shown(&mut open(&path).unwrap(), 3), 9, "and after all that nothing was lost");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_damaged_map_is_refused_and_the_file_stays_as_it_is() {
    let path = scratch("map");
    let mut ssd = create(&path);
    let range = LbaRange::new(Lba(0), BLOCKS);
    assert_eq!(submit(&mut ssd, Request::Write { range, from: &mut Stamp(5, 0), force: false }), Ok(()));
    let ticket = ssd.shutdown();
    while !ssd.synced(ticket).unwrap() {
        std::thread::yield_now();
    }
    drop(ssd);
    let good = std::fs::read(&path).unwrap();
    let basis = inspect(&path).unwrap().root.basis;
    let geometry = config().checked().unwrap();
    let layout = Layout::of(&geometry, config().tuning.journal_entries);
    let mut bytes = good.clone();
    bytes[METADATA_PAGE + usize::try_from(layout.map_at(0, basis.homes[0] & 1 == 1)).unwrap() + 77] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert!(refused(&path).contains("the map of units 0 to 1023 is not what was written"));
    assert!(std::fs::read(&path).unwrap() == bytes, "a refused file is not touched");
    std::fs::write(&path, &good).unwrap();
    let mut ssd = open(&path).unwrap();
    assert!((0..BLOCKS).all(|lba| shown(&mut ssd, lba) == 5));
    std::fs::remove_file(&path).unwrap();
}

/// The part of the next test that is killed: writes, and says what was promised.
#[test]
#[ignore = "started by the test that kills it"]
fn victim() {
    let Ok(path) = std::env::var("MEDIA_VICTIM") else {
        return;
    };
    let seed: u64 = std::env::var("MEDIA_SEED").unwrap().parse().unwrap();
    let mut order: u64 = std::env::var("MEDIA_ORDER").unwrap().parse().unwrap();
    let mut random = Random::new(seed);
    let mut ssd = open(Path::new(&path)).unwrap();
    let mut out = std::io::stdout().lock();
    loop {
        order += 1;
        let blocks = 1 + random.below(4);
        let lba = random.below(BLOCKS - blocks);
        let range = LbaRange::new(Lba(lba), blocks);
        let force = random.below(4) == 0;
        writeln!(out, "begun {order} {lba} {blocks}").unwrap();
        let outcome = submit(&mut ssd, Request::Write { range, from: &mut Stamp(order, lba), force });
        assert_eq!(outcome, Ok(()));
        writeln!(out, "{} {order} {lba} {blocks}", if force { "forced" } else { "written" }).unwrap();
        if random.below(16) == 0 {
            assert_eq!(submit(&mut ssd, Request::Flush), Ok(()));
            writeln!(out, "flushed {order} 0 0").unwrap();
        }
        out.flush().unwrap();
    }
}

/// What the killed process said: for each block the oldest write that may be shown, and all writes that were begun.
struct Promises {
    least: Vec<u64>,
    accepted: Vec<u64>,
    begun: Vec<(u64, u64, u64)>,
}

impl Promises {
    fn note(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let what = words.next().unwrap_or_default().to_owned();
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
        let (Some(order), Some(lba), Some(blocks)) = (number(), number(), number()) else {
            return;
        };
        for block in lba..lba + blocks {
            let at = usize::try_from(block).unwrap();
            match what.as_str() {
                "forced" => (self.accepted[at], self.least[at]) = (order, order),
                "written" => self.accepted[at] = order,
                _ => {}
            }
        }
        match what.as_str() {
            "flushed" => self.least.clone_from(&self.accepted),
            "begun" => self.begun.push((order, lba, blocks)),
            _ => {}
        }
    }
}

#[test]
fn a_killed_process_loses_nothing_that_was_forced_or_flushed_and_tears_no_atomic_write() {
    let seed = std::env::var("MEDIA_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let kills: u64 = std::env::var("MEDIA_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(12);
    println!("MEDIA_SEED={seed}");
    let path = scratch("killed");
    drop(create(&path));
    let blocks = usize::try_from(BLOCKS).unwrap();
    let mut promises = Promises { least: vec![0; blocks], accepted: vec![0; blocks], begun: Vec::new() };
    let mut random = Random::new(seed);
    for round in 0..kills {
        let order = promises.begun.last().map_or(0, |last| last.0);
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["victim", "--exact", "--ignored", "--nocapture"])
            .env("MEDIA_VICTIM", &path)
            .env("MEDIA_SEED", (seed * 1000 + round).to_string())
            .env("MEDIA_ORDER", order.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = random.below(6000);
        let mut reader = BufReader::new(victim.stdout.take().unwrap()).lines();
        for line in reader.by_ref().take(usize::try_from(lines).unwrap()) {
            promises.note(&line.unwrap());
        }
        victim.kill().unwrap();
        // What it still said before it died counts as well; its last line may be cut off.
        let rest: Vec<_> = reader.map_while(Result::ok).collect();
        for line in rest.split_last().map_or(&[][..], |(_, whole)| whole) {
            promises.note(line);
        }
        victim.wait().unwrap();
        check(&path, &mut promises, round);
    }
    std::fs::remove_file(&path).unwrap();
}

fn check(path: &Path, promises: &mut Promises, round: u64) {
    let mut ssd = open(path).unwrap();
    assert!(ssd.status().ledger.balances());
    ssd.ftl().assert_invariants();
    let shown: Vec<u64> = (0..BLOCKS).map(|lba| shown(&mut ssd, lba)).collect();
    for (lba, (shown, least)) in shown.iter().zip(&promises.least).enumerate() {
        assert!(shown >= least, "round {round}: block {lba} shows {shown}, and {least} was promised");
    }
    for &(order, lba, blocks) in &promises.begun {
        let range = usize::try_from(lba).unwrap()..usize::try_from(lba + blocks).unwrap();
        let there = shown[range.clone()].contains(&order);
        let missing = shown[range].iter().any(|shown| *shown < order);
        assert!(!(there && missing), "round {round}: write {order} is torn");
    }
    // From here on that is what the drive holds.
    promises.least.clone_from(&shown);
    promises.accepted = shown;
}

/// Bytes of the host's disk that a file takes.
fn room(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).unwrap().blocks() * 512
}

#[test]
fn what_is_deallocated_gives_its_room_back_to_the_host() {
    let path = scratch("room");
    let mut ssd = create(&path);
    let empty = room(&path);
    let range = LbaRange::new(Lba(0), BLOCKS);
    let bytes = BLOCKS * 4096;
    assert_eq!(submit(&mut ssd, Request::Write { range, from: &mut Stamp(1, 0), force: true }), Ok(()));
    let full = room(&path);
    assert!(full >= empty + bytes, "{full} bytes hold {bytes}");
    assert_eq!(submit(&mut ssd, Request::Deallocate { ranges: &[range] }), Ok(()));
    // The first flush erases, and what is erased gives its room back once that is durable.
    for _ in 0..3 {
        assert_eq!(submit(&mut ssd, Request::Flush), Ok(()));
    }
    let left = room(&path);
    // The line that was open, those that are kept for what is written next, and the metadata.
    assert!(left < full - bytes / 2, "{left} of {full} bytes are left");
    assert!((0..BLOCKS).all(|lba| shown(&mut ssd, lba) == 0));
    drop(ssd);
    let mut ssd = open(&path).unwrap();
    assert!((0..BLOCKS).all(|lba| shown(&mut ssd, lba) == 0));
    assert_eq!(submit(&mut ssd, Request::Write { range, from: &mut Stamp(7, 0), force: true }), Ok(()));
    drop(ssd);
    let mut ssd = open(&path).unwrap();
    assert!((0..BLOCKS).all(|lba| shown(&mut ssd, lba) == 7));
    std::fs::remove_file(&path).unwrap();
}
