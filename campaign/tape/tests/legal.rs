//! The images of a tape beside those of a drive with the same history: whatever the drive can leave, the tape has; where nothing was
//! combined in the cache, it has nothing else. One knows the contract only, the other one is a flash translation layer.

use std::collections::BTreeSet;
use std::fs::File;

use media::geometry::GeometryConfig;
use media::power::{Cut, PowerAtomicity, Random};
use media::ssd::{CacheConfig, Ssd, SsdConfig, VolumeConfig};
use media::store::MemoryStore;
use media::testing::{Bytes, Fill};
use media::volume::{Media, Request, Submitted, Token};
use media::{Lba, LbaRange, Nanoseconds, VolumeId};
use tape::{Choices, Entry, History, Image, Reader, Taped, Writer};

const BLOCK: usize = 4096;
/// Blocks that histories work on.
const BLOCKS: u64 = 12;
/// Of which 215 cuts a deallocation in two: its blocks lie in two units.
const SEEDS: std::ops::Range<u64> = 190..240;
const VOLUME: VolumeId = VolumeId(0);
const OTHER: VolumeId = VolumeId(1);

#[derive(Clone, Debug)]
enum Step {
    Write(u64, u64, u8, bool),
    Zeroes(u64, u64),
    Deallocate(u64, u64),
    Copy(u64, u64, u64),
    Flush,
    /// A write to the other volume, and a flush of that.
    Elsewhere,
}

/// A drive of two volumes in blocks of 4 KiB that keeps three blocks together, makes nothing durable by itself, and of a flush no more
/// than it must.
fn config(unit_bytes: u32) -> SsdConfig {
    let never = Nanoseconds(u64::MAX);
    let cache = CacheConfig { age_max: never, open_units: 0, flush_apart: true, ..CacheConfig::default() };
    let geometry = GeometryConfig {
        channels: 2,
        dies_per_channel: 1,
        planes_per_die: 1,
        pages_per_block: 16,
        page_bytes: 16 << 10,
        unit_bytes,
        user_bytes: 4 << 20,
        spare_per_million_of_user: 500_000,
        ..GeometryConfig::default()
    };
    let volumes = vec![VolumeConfig::new(4096, 0, 512), VolumeConfig::new(4096, 0, 512)];
    SsdConfig { geometry, volumes, cache, power_atomic_bytes: 3 * 4096, ..SsdConfig::default() }
}

fn drive(unit_bytes: u32) -> Ssd<MemoryStore> {
    let config = config(unit_bytes);
    let store = MemoryStore::new(&config.checked().expect("legal")).expect("memory");
    Ssd::create(config, store).expect("a drive")
}

fn carry_out(media: &mut dyn Media, step: &Step) {
    let range = |lba, blocks| LbaRange::new(Lba(lba), blocks);
    let submitted = match *step {
        Step::Write(lba, blocks, byte, force) => {
            let request = Request::Write { range: range(lba, blocks), from: &mut Fill(byte), force };
            media.submit(Nanoseconds(0), Token(1), VOLUME, request)
        }
        Step::Zeroes(lba, blocks) => {
            let request = Request::WriteZeroes { range: range(lba, blocks), deallocate: false, force: false };
            media.submit(Nanoseconds(0), Token(1), VOLUME, request)
        }
        Step::Deallocate(lba, blocks) => {
            let ranges = [range(lba, blocks)];
            media.submit(Nanoseconds(0), Token(1), VOLUME, Request::Deallocate { ranges: &ranges })
        }
        Step::Copy(from, blocks, to) => {
            let sources = [range(from, blocks)];
            let request = Request::Copy { sources: &sources, to: Lba(to), force: false };
            media.submit(Nanoseconds(0), Token(1), VOLUME, request)
        }
        Step::Flush => media.submit(Nanoseconds(0), Token(1), VOLUME, Request::Flush),
        Step::Elsewhere => {
            let request = Request::Write { range: range(0, 1), from: &mut Fill(9), force: false };
            assert_eq!(media.submit(Nanoseconds(0), Token(1), OTHER, request), Submitted::Done(Ok(())));
            media.submit(Nanoseconds(0), Token(1), OTHER, Request::Flush)
        }
    };
    assert_eq!(submitted, Submitted::Done(Ok(())), "{step:?}");
}

/// The first byte of each block.
fn contents(media: &mut dyn Media) -> Vec<u8> {
    let blocks = usize::try_from(BLOCKS).expect("few");
    let mut bytes = Bytes(vec![0; blocks * BLOCK]);
    let request = Request::Read { range: LbaRange::new(Lba(0), BLOCKS), into: &mut bytes, force: false };
    assert_eq!(media.submit(Nanoseconds(0), Token(1), VOLUME, request), Submitted::Done(Ok(())));
    bytes.0.chunks(BLOCK).map(|block| block[0]).collect()
}

/// What the drive may leave behind these steps.
fn of_drive(unit_bytes: u32, steps: &[Step]) -> BTreeSet<Vec<u8>> {
    let mut ssd = drive(unit_bytes);
    steps.iter().for_each(|step| carry_out(&mut ssd, step));
    let images = ssd.into_images(&Cut { tear: true, ..Cut::default() }, 1, 500);
    images.take(300).map(|image| contents(&mut image.expect("it recovers").drive)).collect()
}

/// The tape of these steps.
fn tape(unit_bytes: u32, steps: &[Step]) -> Vec<Entry> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tape");
    let writer = Writer::new(File::create(&path).expect("a file")).expect("a writer");
    let mut taped = Taped::new(Box::new(drive(unit_bytes)), writer);
    taped.power().expect("it has power").promise(VOLUME, PowerAtomicity::anywhere(3));
    steps.iter().for_each(|step| carry_out(&mut taped, step));
    drop(taped);
    Reader::open(&path).expect("a tape").collect()
}

/// What the tape says that a drive may leave at its end; and whether it has all of that.
fn of_tape(entries: &[Entry]) -> (BTreeSet<Vec<u8>>, bool) {
    let volume = entries.iter().find_map(|entry| if let Entry::Volume(volume) = entry { Some(*volume) } else { None });
    let mut history = History::new(volume.expect("a volume"), None);
    entries.iter().for_each(|entry| history.follow(entry));
    let durable: std::collections::BTreeMap<_, _> = history.take_news().into_iter().collect();
    let choices = Choices::new(history.volatile().count(), 1 << 11, 1);
    let exhaustive = choices.exhaustive();
    let image = |survives| {
        let image = Image::new(&history, survives);
        let block = |lba| image.blocks.get(&lba).or_else(|| durable.get(&lba)).cloned().flatten();
        (0..BLOCKS).map(|lba| block(lba).map_or(0, |block| block[0])).collect()
    };
    (choices.map(image).collect(), exhaustive)
}

fn steps(random: &mut Random, count: u64) -> Vec<Step> {
    let mut byte = 0;
    let mut step = |random: &mut Random| {
        let lba = random.below(BLOCKS - 4);
        let blocks = 1 + random.below(4);
        byte = byte % 250 + 1;
        match random.below(13) {
            0 => Step::Zeroes(lba, blocks),
            1 => Step::Deallocate(lba, blocks),
            2 => Step::Copy(random.below(BLOCKS - 4), blocks, lba),
            3 => Step::Flush,
            4 => Step::Write(lba, blocks, byte, true),
            5 => Step::Elsewhere,
            _ => Step::Write(lba, blocks, byte, false),
        }
    };
    (0..count).map(|_| step(random)).collect()
}

#[test]
fn whatever_a_drive_may_leave_the_tape_has_too() {
    for seed in SEEDS {
        let mut random = Random::new(seed);
        let unit_bytes = [4096, 16384][random.index(2)];
        let count = 1 + random.below(9);
        let steps = steps(&mut random, count);
        let (allowed, exhaustive) = of_tape(&tape(unit_bytes, &steps));
        let left = of_drive(unit_bytes, &steps);
        let more: Vec<_> = left.difference(&allowed).collect();
        assert!(!exhaustive || more.is_empty(), "seed {seed}, units of {unit_bytes}: {steps:?}: {more:?}");
    }
}

#[test]
fn where_nothing_is_combined_both_have_the_same() {
    let histories: &[&[Step]] = &[
        &[],
        &[Step::Write(0, 3, 1, false)],
        &[Step::Write(0, 4, 1, false)],
        &[Step::Write(0, 3, 1, false), Step::Flush, Step::Write(1, 1, 2, false)],
        &[Step::Write(0, 2, 1, true), Step::Deallocate(0, 1), Step::Write(0, 1, 4, false)],
        &[Step::Write(0, 2, 1, true), Step::Write(3, 1, 2, false), Step::Copy(3, 1, 5)],
        &[Step::Write(0, 2, 1, false), Step::Elsewhere, Step::Write(1, 1, 2, false)],
        &[Step::Write(0, 1, 1, false), Step::Write(3, 3, 2, false), Step::Write(8, 1, 3, true), Step::Elsewhere],
    ];
    for steps in histories {
        assert_eq!(of_tape(&tape(4096, steps)), (of_drive(4096, steps), true), "{steps:?}");
    }
}

/// The control: a flush that promises nothing shows states that the drive never leaves.
#[test]
fn a_tape_without_its_flushes_has_more() {
    let steps = [Step::Write(0, 1, 1, false), Step::Flush, Step::Write(1, 1, 2, false)];
    let mut entries = tape(4096, &steps);
    let with = of_tape(&entries).0;
    entries.retain(|entry| !matches!(entry, Entry::Flush { .. }));
    let without = of_tape(&entries).0;
    assert!(with.is_subset(&without) && with.len() == 2 && without.len() == 4);
}
