//! A media file that changes under the drive: bits flip, ranges are overwritten, the end is cut off, while the drive runs and before it
//! is opened. No block is wrong without being told: a read returns what was written last, or that it cannot.
//!
//! `MEDIA_SEED=n` and `MEDIA_CASES=n` as elsewhere.

mod settled;

use media::config::Tuning;
use media::geometry::{Geometry, GeometryConfig};
use media::power::Random;
use media::root::{Layout, Root};
use media::ssd::{CacheConfig, Ssd, SsdConfig, VolumeConfig};
use media::store::ImageStore;
use media::testing::Bytes;
use media::testing::OpenDisk;
use media::volume::{Fault, Media, MediaError, Outcome, Request, Sink, Source};
use media::{Lba, LbaRange, Nanoseconds, WarningKind};
use settled::submit_to;

type Drive = Ssd<ImageStore<OpenDisk>>;

const BLOCKS: u64 = 512;
const BLOCK: usize = 4096;
/// Blocks of a unit.
const PER_UNIT: u64 = 2;

fn config(metadata: u32) -> SsdConfig {
    SsdConfig {
        geometry: GeometryConfig {
            channels: 1,
            dies_per_channel: 1,
            planes_per_die: 2,
            pages_per_block: 8,
            page_bytes: 16384,
            unit_bytes: 8192,
            user_bytes: BLOCKS * 4096,
            spare_per_million_of_user: 250_000,
            replacement_blocks_per_plane: 2,
            factory_bad_blocks: 0,
            metadata_bytes_per_unit: 0,
            volumes_max: 0,
        },
        volumes: vec![VolumeConfig::new(4096, metadata, BLOCKS)],
        cache: CacheConfig { bytes: 32 << 10, ..CacheConfig::default() },
        tuning: Tuning { journal_entries: 128, checkpoint_units: 300, ..Tuning::default() },
        power_atomic_bytes: 16 << 10,
        ..SsdConfig::default()
    }
}

/// A write with this number: each word of each block, and of its metadata, says which.
struct Stamp(u64, u64);

fn word(number: u64, lba: u64, n: u64) -> u64 {
    if number == 0 { 0 } else { (number << 32 | lba << 12 | n).wrapping_mul(0x9e37_79b9_7f4a_7c15) }
}

impl Source for Stamp {
    fn fill(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        for (n, bytes) in (offset as u64 / 8..).zip(into.chunks_exact_mut(8)) {
            bytes.copy_from_slice(&word(self.0, self.1 + n / 512, n % 512).to_le_bytes());
        }
        Ok(())
    }

    fn fill_metadata(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        for (n, bytes) in (offset as u64 / 8..).zip(into.chunks_exact_mut(8)) {
            bytes.copy_from_slice(&word(self.0, self.1 + n, 600).to_le_bytes());
        }
        Ok(())
    }
}

/// A block that is read, with its metadata.
#[derive(Default)]
struct Block(Vec<u8>, Vec<u8>);

impl Sink for Block {
    fn take(&mut self, offset: usize, from: &[u8]) -> Result<(), Fault> {
        self.0.resize(BLOCK, 0);
        self.0[offset..offset + from.len()].copy_from_slice(from);
        Ok(())
    }

    fn take_metadata(&mut self, offset: usize, from: &[u8]) -> Result<(), Fault> {
        self.1.resize(8, 0);
        self.1[offset..offset + from.len()].copy_from_slice(from);
        Ok(())
    }
}

/// What the host knows: the last write of each block.
#[derive(Clone)]
struct Host {
    written: Vec<u64>,
    order: u64,
    metadata: u32,
    random: Random,
}

impl Host {
    fn new(metadata: u32, seed: u64) -> Self {
        let written = vec![0; usize::try_from(BLOCKS).unwrap()];
        Self { written, order: 0, metadata, random: Random::new(seed) }
    }

    fn write(&mut self, drive: &mut Drive, lba: u64, blocks: u64) -> Outcome {
        self.order += 1;
        let range = LbaRange::new(Lba(lba), blocks);
        let written = submit_to(drive, 0, Request::Write { range, from: &mut Stamp(self.order, lba), force: false });
        if written.is_ok() {
            let at = usize::try_from(lba).unwrap();
            self.written[at..at + usize::try_from(blocks).unwrap()].fill(self.order);
        }
        written
    }

    fn deallocate(&mut self, drive: &mut Drive, lba: u64, blocks: u64) {
        let range = LbaRange::new(Lba(lba), blocks);
        if submit_to(drive, 0, Request::Deallocate { ranges: &[range] }).is_ok() {
            let at = usize::try_from(lba).unwrap();
            self.written[at..at + usize::try_from(blocks).unwrap()].fill(0);
        }
    }

    /// Whether a block can be read; what is read must be what was written.
    fn reads(&self, drive: &mut Drive, lba: u64) -> bool {
        let mut block = Block::default();
        let range = LbaRange::new(Lba(lba), 1);
        let read = submit_to(drive, 0, Request::Read { range, into: &mut block, force: false });
        if read == Err(MediaError::UnrecoveredRead { first: Lba(lba) }) {
            return false;
        }
        assert_eq!(read, Ok(()), "block {lba}");
        let mut expected = Block(vec![0; BLOCK], vec![0; if self.metadata == 0 { 0 } else { 8 }]);
        let number = self.written[usize::try_from(lba).unwrap()];
        Stamp(number, lba).fill(0, &mut expected.0).unwrap();
        Stamp(number, lba).fill_metadata(0, &mut expected.1).unwrap();
        let shown = u64::from_le_bytes(block.0[..8].try_into().unwrap());
        let whole = block.0 == expected.0 && block.1 == expected.1;
        assert!(whole, "block {lba} is wrong, and nobody was told: {shown:x} for write {number}");
        true
    }

    /// The blocks that cannot be read.
    fn lost(&self, drive: &mut Drive) -> Vec<u64> {
        (0..BLOCKS).filter(|lba| !self.reads(drive, *lba)).collect()
    }

    /// Some requests; what is written is old or new where it is refused, so it is written until it is not.
    fn use_it(&mut self, drive: &mut Drive, requests: u64) {
        for _ in 0..requests {
            let blocks = 1 + self.random.below(5);
            let lba = self.random.below(BLOCKS - blocks + 1);
            match self.random.below(12) {
                0 => self.deallocate(drive, lba, blocks),
                1 => assert_eq!(submit_to(drive, 0, Request::Flush), Ok(())),
                2..5 => drop(self.reads(drive, lba)),
                _ => assert_eq!(self.write(drive, lba, blocks), Ok(())),
            }
        }
    }
}

/// A drive that was used until lines are collected.
fn used(metadata: u32, seed: u64) -> (Drive, OpenDisk, Host, Geometry) {
    let config = config(metadata);
    let geometry = config.checked().unwrap();
    let disk = OpenDisk::default();
    let mut drive = Ssd::create(config, ImageStore::create(&geometry, 1 << 20, disk.clone()).unwrap()).unwrap();
    let mut host = Host::new(metadata, seed);
    host.use_it(&mut drive, 1500);
    assert_eq!(submit_to(&mut drive, 0, Request::Flush), Ok(()));
    assert!(drive.status().counters.victims > 0);
    assert_eq!(host.lost(&mut drive), [0; 0]);
    (drive, disk, host, geometry)
}

/// Where a unit's first byte, and its record, lie in the image.
fn places(drive: &Drive, geometry: &Geometry, unit: u32) -> (usize, usize) {
    let (_, place) = drive.mapping().find(|(mapped, _)| mapped.0 == unit).expect("it is mapped");
    let (line, slot) = (geometry.line_of(place) as usize, geometry.slot_of(place) as usize);
    let records = (geometry.units_per_line as usize * 32).next_multiple_of(4096);
    let stride = 4096 + records + geometry.line_bytes.next_multiple_of(4096);
    let start = 4096 + (1 << 20) + line * stride + 4096;
    (start + records + slot * geometry.unit_bytes(), start + slot * 32)
}

/// A unit that lies on the disk alone, and all of whose blocks were written.
fn on_disk(drive: &Drive, host: &Host) -> u32 {
    let geometry = &drive.ftl().geometry;
    let open: Vec<u32> = drive.lines().filter(|(_, line)| line.used == 0).map(|(number, _)| number).collect();
    let whole = |unit: u32| (0..2).all(|n| host.written[unit as usize * 2 + n] != 0);
    let found = drive.mapping().find(|(unit, place)| !open.contains(&geometry.line_of(*place)) && whole(unit.0));
    found.expect("most units").0.0
}

#[test]
fn a_flipped_bit_is_an_unrecovered_read_of_its_unit_alone_until_it_is_overwritten() {
    for metadata in [0, 8] {
        let (mut drive, disk, mut host, geometry) = used(metadata, 1);
        let unit = on_disk(&drive, &host);
        let (data, _) = places(&drive, &geometry, unit);
        disk.bytes()[data + 5000] ^= 8;
        let first = u64::from(unit) * PER_UNIT;
        assert_eq!(host.lost(&mut drive), [first, first + 1]);
        assert_eq!(drive.ftl().integrity.found, [1, 0, 0, 0], "found once, by a read");
        assert_eq!(drive.health().media_errors, 2, "two commands failed");
        let told: Vec<_> = drive.ftl().damaged_units().map(|(damaged, _)| damaged.0).collect();
        assert_eq!((told, drive.health().damage_found), (vec![unit], 1));
        assert_eq!(warned(&mut drive), Some((true, 1)), "found once, told once");
        assert!(drive.health().degraded);
        // A longer read fails with the first such block, and a copy of it is no copy.
        let mut all = Bytes(vec![0; 6 * BLOCK]);
        let range = LbaRange::new(Lba(first.saturating_sub(1)), 6.min(BLOCKS - first));
        let read = submit_to(&mut drive, 0, Request::Read { range, into: &mut all, force: false });
        assert_eq!(read, Err(MediaError::UnrecoveredRead { first: Lba(first) }));
        let sources = [LbaRange::new(Lba(first + 1), 1)];
        let copied = submit_to(&mut drive, 0, Request::Copy { sources: &sources, to: Lba(0), force: false });
        assert_eq!(copied, Err(MediaError::UnrecoveredRead { first: Lba(first + 1) }));
        // Writing one of its blocks makes that one readable, and no other.
        assert_eq!(host.write(&mut drive, first + 1, 1), Ok(()));
        assert_eq!(host.lost(&mut drive), [first]);
        assert_eq!(drive.ftl().damaged_units().count(), 0, "what is left of it lies elsewhere");
        assert_eq!(host.write(&mut drive, first, 2), Ok(()));
        assert_eq!(host.lost(&mut drive), [0; 0]);
        drive.ftl().assert_invariants();
    }
}

#[test]
fn a_partial_write_over_a_damaged_unit_does_not_make_the_rest_of_it_good() {
    for metadata in [0, 8] {
        let (mut drive, disk, mut host, geometry) = used(metadata, 2);
        let unit = on_disk(&drive, &host);
        let (data, _) = places(&drive, &geometry, unit);
        disk.bytes()[data + 10] ^= 1;
        let first = u64::from(unit) * PER_UNIT;
        assert_eq!(host.write(&mut drive, first, 1), Ok(()), "nobody had read it before");
        assert_eq!(drive.ftl().integrity.found, [0, 1, 0, 0]);
        assert_eq!(host.lost(&mut drive), [first + 1]);
        assert_eq!(submit_to(&mut drive, 0, Request::Flush), Ok(()));
        let mut drive = reopened(drive, &disk, metadata);
        assert_eq!(host.lost(&mut drive), [first + 1], "nor after a power loss");
    }
}

/// The drive after the process was killed.
fn reopened(drive: Drive, disk: &OpenDisk, metadata: u32) -> Drive {
    let config = config(metadata);
    let geometry = drive.ftl().geometry.clone();
    let disk = OpenDisk::holding(disk.bytes().clone());
    drop(drive);
    Ssd::open(config, ImageStore::open(&geometry, disk).unwrap()).unwrap()
}

/// Damage of the data, of the record, a record of another unit, and of all there is, in turn; then everything is collected.
#[test]
fn collection_moves_no_damage_to_a_place_where_it_would_look_good() {
    for (metadata, how) in [(0, 0), (8, 0), (0, 1), (0, 2), (8, 3)] {
        let (mut drive, disk, mut host, geometry) = used(metadata, 3);
        let unit = on_disk(&drive, &host);
        let (data, record) = places(&drive, &geometry, unit);
        {
            let mut bytes = disk.bytes();
            match how {
                0 => bytes[data + 77] ^= 2,
                1 => bytes[record + 3] ^= 2,
                2 => bytes.copy_within(record + 32..record + 64, record),
                _ => bytes[data..data + 8192].fill(0),
            }
        }
        let first = u64::from(unit) * PER_UNIT;
        // Everything else is written again and again, until the line is gone.
        let before = places(&drive, &geometry, unit);
        for round in 0..20 {
            let other = |unit: u64| unit * PER_UNIT != first && !(unit + round).is_multiple_of(3);
            for unit in (0..BLOCKS / PER_UNIT).filter(|unit| other(*unit)) {
                assert_eq!(host.write(&mut drive, unit * PER_UNIT, PER_UNIT), Ok(()));
            }
        }
        assert_ne!(places(&drive, &geometry, unit), before, "it was collected");
        assert_eq!(drive.ftl().integrity.found, [0, 0, 1, 0], "case {how}");
        assert_eq!(host.lost(&mut drive), [first, first + 1], "case {how}");
        assert!(!drive.status().read_only);
        drive.ftl().assert_invariants();
        assert_eq!(submit_to(&mut drive, 0, Request::Flush), Ok(()));
        let mut drive = reopened(drive, &disk, metadata);
        assert_eq!(host.lost(&mut drive), [first, first + 1], "nor after a power loss, case {how}");
        assert_eq!(host.write(&mut drive, first, PER_UNIT), Ok(()));
        assert_eq!(host.lost(&mut drive), [0; 0]);
    }
}

/// Every damaged unit is found by the patrol, in the time that was asked for and at no other, and a map page is written again.
#[test]
fn the_patrol_finds_what_nobody_reads() {
    let (drive, disk, mut host, geometry) = used(0, 4);
    drop(drive);
    let disk = OpenDisk::holding(disk.bytes().clone());
    let period = Nanoseconds(600_000_000_000);
    let config = SsdConfig { patrol: Some(period), ..config(0) };
    let mut drive = Ssd::open(config, ImageStore::open(&geometry, disk.clone()).unwrap()).unwrap();
    let units: Vec<u32> = (0..3).map(|n| on_disk(&drive, &host) + 7 * n).collect();
    for unit in &units {
        disk.bytes()[places(&drive, &geometry, *unit).0 + 100] ^= 1;
    }
    let pass = |drive: &mut Drive, begun: Nanoseconds| {
        let (passes, mut now) = (drive.patrol().unwrap().passes, begun);
        while drive.patrol().unwrap().passes == passes {
            drive.poll(now, &mut |_, _| panic!("nobody asked for anything"));
            now = now.max(drive.next_event().expect("the patrol goes on"));
        }
        now
    };
    let end = pass(&mut drive, Nanoseconds(1));
    assert!(end < period.plus(period), "a pass took {end:?}");
    assert!(end > Nanoseconds(period.0 / 2), "a pass took {end:?}");
    assert_eq!(drive.ftl().integrity.found, [0, 0, 0, 3]);
    assert_eq!(drive.health().media_errors, 3);
    assert_eq!(warned(&mut drive), Some((true, 3)));
    let lost: Vec<u64> = units.iter().flat_map(|unit| [u64::from(*unit) * 2, u64::from(*unit) * 2 + 1]).collect();
    assert_eq!(host.lost(&mut drive), lost);
    // The map: its page in the store is damaged, and the drive is none the worse for it, now and after a restart.
    let root = inspect_root(&disk, &geometry);
    let at = 4096 + usize::try_from(layout(&geometry).map_at(0, root.basis.homes[0] & 1 == 1)).unwrap();
    disk.bytes()[at + 9] ^= 4;
    let end = pass(&mut drive, end);
    pass(&mut drive, end);
    assert_eq!(drive.ftl().integrity.map_pages, 2, "once in each pass until it is written again");
    assert_eq!(warned(&mut drive), Some((true, 5)), "a pass that met damage does not end the warning");
    host.use_it(&mut drive, 700);
    assert_eq!(submit_to(&mut drive, 0, Request::Quiesce), Ok(()));
    let mut drive = reopened(drive, &disk, 0);
    let left = host.lost(&mut drive);
    assert!(left.iter().all(|lba| lost.contains(lba)), "{left:?} of {lost:?}");
}

/// What the drive says of damage: whether it stands, and how much it is.
fn warned(drive: &mut Drive) -> Option<(bool, u64)> {
    drive.poll(Nanoseconds(0), &mut |_, _| panic!("nothing is owed"));
    let told = drive.warnings().all().iter().find(|warning| warning.kind == WarningKind::MediaDamaged);
    told.map(|warning| (warning.stands(), warning.count))
}

/// Damage that was overwritten is over once the patrol has read everything and met none.
#[test]
fn the_warning_of_damage_is_over_after_a_pass_that_meets_none() {
    let (drive, disk, mut host, geometry) = used(0, 5);
    drop(drive);
    let disk = OpenDisk::holding(disk.bytes().clone());
    let config = SsdConfig { patrol: Some(Nanoseconds(1_000_000_000)), ..config(0) };
    let mut drive = Ssd::open(config, ImageStore::open(&geometry, disk.clone()).unwrap()).unwrap();
    let unit = on_disk(&drive, &host);
    disk.bytes()[places(&drive, &geometry, unit).0] ^= 1;
    let mut now = Nanoseconds(1);
    let mut passes = |drive: &mut Drive, count: u64| {
        let wanted = drive.patrol().unwrap().passes + count;
        while drive.patrol().unwrap().passes < wanted {
            drive.poll(now, &mut |_, _| panic!("nobody asked for anything"));
            now = now.max(drive.next_event().expect("the patrol goes on"));
        }
    };
    passes(&mut drive, 3);
    assert_eq!(warned(&mut drive), Some((true, 1)), "it lies there still, and counts once");
    assert_eq!(host.write(&mut drive, u64::from(unit) * PER_UNIT, PER_UNIT), Ok(()));
    passes(&mut drive, 2);
    assert_eq!(warned(&mut drive), Some((false, 1)));
    assert!(!drive.health().degraded);
    assert_eq!(host.lost(&mut drive), [0; 0]);
}

fn layout(geometry: &Geometry) -> Layout {
    Layout::of(geometry, 128)
}

fn inspect_root(disk: &OpenDisk, geometry: &Geometry) -> Root {
    let at = |generation| 4096 + usize::try_from(layout(geometry).root_at(generation)).unwrap();
    let roots = [0, 1].map(|generation| Root::decode(&disk.bytes()[at(generation)..]));
    roots.into_iter().flatten().max_by_key(|root| root.generation).expect("a root")
}

/// How many files were damaged, and what came of it.
#[derive(Debug, Default)]
struct Tally {
    refused: u64,
    lost: u64,
    harmless: u64,
}

#[derive(Clone, Copy, Debug)]
enum Harm {
    Flip,
    Truncate,
    Overwrite,
}

impl Harm {
    fn come(self, bytes: &mut Vec<u8>, random: &mut Random) {
        let length = bytes.len() as u64;
        let from = usize::try_from(random.below(length)).unwrap();
        match self {
            Self::Flip => bytes[from] ^= 1 << random.below(8),
            Self::Truncate => bytes.truncate(from),
            Self::Overwrite => {
                let end = bytes.len().min(from + 1 + usize::try_from(random.below(64 << 10)).unwrap());
                let zeroes = random.below(2) == 0;
                bytes[from..end].fill_with(|| if zeroes { 0 } else { random.draw().to_le_bytes()[0] });
            }
        }
    }
}

/// A file that was closed cleanly is damaged and then opened, or opened and then damaged while it is in use. Every block that can be read
/// is what was written, and every block that cannot be read is reported.
fn harmed(rest: &[u8], host: &Host, (harm, running): (Harm, bool), seed: u64, tally: &mut Tally) {
    let (mut random, mut host) = (Random::new(seed), host.clone());
    host.random = Random::new(!seed);
    let disk = OpenDisk::holding(rest.to_vec());
    if !running {
        harm.come(&mut disk.bytes(), &mut random);
    }
    let config = config(host.metadata);
    let geometry = config.checked().unwrap();
    let Ok(mut drive) = ImageStore::open(&geometry, disk.clone()).and_then(|store| Ssd::open(config, store)) else {
        assert!(!running, "nobody has touched it");
        tally.refused += 1;
        return;
    };
    if running {
        host.use_it(&mut drive, 20);
        harm.come(&mut disk.bytes(), &mut random);
        host.use_it(&mut drive, 20);
    }
    let lost = host.lost(&mut drive).len() as u64;
    let told = warned(&mut drive).filter(|(stands, _)| *stands).map_or(0, |(_, count)| count);
    assert!(told * PER_UNIT >= lost, "{lost} blocks are lost, and {told} units were told of");
    assert_eq!(told, drive.health().damage_found);
    *(if lost == 0 { &mut tally.harmless } else { &mut tally.lost }) += 1;
}

fn harm_many(cases: [(Harm, u64); 3]) {
    for metadata in [0, 8] {
        let (mut drive, disk, host, _) = used(metadata, 6);
        drive.shutdown();
        let rest = disk.bytes().clone();
        let ways = [false, true].into_iter().flat_map(|running| cases.map(|case| (running, case)));
        for (running, (harm, count)) in ways {
            let mut tally = Tally::default();
            for seed in (0..count).filter(|seed| (seed % 2 == 0) == (metadata == 0)) {
                let how = (harm, running);
                let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    harmed(&rest, &host, how, seed, &mut tally);
                }));
                assert!(ended.is_ok(), "{harm:?}, running {running}, metadata {metadata}, seed {seed}");
            }
            println!("{harm:?}, running {running}, metadata {metadata}: {tally:?}, 0 wrong blocks");
            assert!(tally.lost + tally.refused > 0, "none of them met anything");
        }
    }
}

#[test]
fn no_block_is_wrong_in_a_file_that_was_damaged_anywhere() {
    harm_many([(Harm::Flip, 300), (Harm::Truncate, 30), (Harm::Overwrite, 30)]);
}

#[test]
#[ignore = "minutes"]
fn no_block_is_wrong_in_many_files_that_were_damaged_anywhere() {
    harm_many([(Harm::Flip, 10_000), (Harm::Truncate, 1_000), (Harm::Overwrite, 1_000)]);
}
