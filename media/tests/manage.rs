//! Volumes that come and go while the drive runs, and their formats: the space that they take, power at every step on the way, the note
//! that is as old or as new as they are, a file that remembers all of it, and a purge after which nothing is left there.
#![expect(clippy::cast_possible_truncation, reason = "tests know their numbers")]

mod settled;
mod small;

use std::collections::{BTreeMap, BTreeSet};

use media::geometry::GeometryConfig;
use media::power::{Arming, Cut, CutPolicy, Random, Step};
use media::ssd::{Ssd, SsdConfig, VolumeConfig};
use media::store::{FileOptions, FileStore, MemoryStore, Store};
use media::testing::{Bytes, Fill};
use media::volume::{Media, MediaError, Outcome, Request, VolumeChange, VolumeId};
use media::{Lba, LbaRange};
use settled::submit_to;

const VOLUMES: u32 = 4;
const UNIT: u64 = 4096;
/// Units of user space.
const UNITS: u64 = 1024;

fn config() -> SsdConfig {
    SsdConfig {
        geometry: GeometryConfig {
            volumes_max: VOLUMES,
            metadata_bytes_per_unit: 64,
            pages_per_block: 8,
            ..small::geometry(UNIT as u32)
        },
        volumes: vec![VolumeConfig::new(4096, 0, 100)],
        power_atomic_bytes: 3 * 4096,
        note: b"first".to_vec(),
        ..SsdConfig::default()
    }
}

fn drive() -> Ssd<MemoryStore> {
    let config = config();
    Ssd::create(config.clone(), MemoryStore::new(&config.checked().unwrap()).unwrap()).unwrap()
}

fn manage<S: Store>(ssd: &mut Ssd<S>, volume: u32, change: VolumeChange, note: &str) -> Outcome {
    submit_to(ssd, volume, Request::Manage { change, note: Some(note.as_bytes()) })
}

fn create(block_bytes: u32, metadata_bytes: u32, blocks: u64) -> VolumeChange {
    VolumeChange::Create { block_bytes, metadata_bytes, blocks }
}

fn free<S: Store>(ssd: &Ssd<S>) -> u64 {
    ssd.space().unwrap().free_bytes / UNIT
}

fn write<S: Store>(ssd: &mut Ssd<S>, volume: u32, lba: u64, blocks: u64, byte: u8) {
    let request = Request::Write { range: LbaRange::new(Lba(lba), blocks), from: &mut Fill(byte), force: false };
    assert_eq!(submit_to(ssd, volume, request), Ok(()));
}

/// The first byte of each block, all of whose bytes are alike.
fn contents<S: Store>(ssd: &mut Ssd<S>, volume: u32) -> Vec<u8> {
    let shape = ssd.shape(VolumeId(volume)).unwrap();
    let range = LbaRange::new(Lba(0), shape.capacity_blocks);
    let mut bytes = Bytes(vec![0xff; (range.blocks * u64::from(shape.block_bytes)) as usize]);
    assert_eq!(submit_to(ssd, volume, Request::Read { range, into: &mut bytes, force: false }), Ok(()));
    let block = |block: &[u8]| {
        assert!(block.iter().all(|byte| *byte == block[0]), "a torn block");
        block[0]
    };
    bytes.0.chunks(shape.block_bytes as usize).map(block).collect()
}

#[test]
fn volumes_come_and_go_and_their_space_is_accounted_for() {
    let mut ssd = drive();
    assert_eq!((free(&ssd), ssd.note()), (UNITS - 100, b"first".to_vec()));
    write(&mut ssd, 0, 0, 100, 1);
    // 1001 blocks of 512 bytes are 125 units and an eighth.
    assert_eq!(manage(&mut ssd, 2, create(512, 8, 1001), "second"), Ok(()));
    assert_eq!((free(&ssd), ssd.note()), (UNITS - 100 - 126, b"second".to_vec()));
    assert_eq!((ssd.shape(VolumeId(1)), ssd.shape(VolumeId(3))), (None, None));
    let shape = ssd.shape(VolumeId(2)).unwrap();
    assert_eq!((shape.capacity_blocks, shape.block_bytes, shape.metadata_bytes), (1001, 512, 8));
    assert_eq!(shape.capacity_blocks_max, (UNITS - 100) * 8, "all that no other has");
    assert_eq!(contents(&mut ssd, 2), [0; 1001]);
    write(&mut ssd, 2, 1000, 1, 2);
    // Nothing else fits, and nothing is done.
    let left = free(&ssd);
    for (volume, change, error) in [
        (1, create(4096, 0, left + 1), MediaError::OutOfRange),
        (1, create(4096, 0, 0), MediaError::OutOfRange),
        (1, create(8192, 0, 1), MediaError::OutOfRange),
        (1, create(512, 16, 1), MediaError::OutOfRange),
        (0, create(4096, 0, 1), MediaError::NoSuchVolume),
        (VOLUMES, create(4096, 0, 1), MediaError::NoSuchVolume),
        (1, VolumeChange::Delete, MediaError::NoSuchVolume),
        (3, VolumeChange::Format { block_bytes: 512, metadata_bytes: 0 }, MediaError::NoSuchVolume),
        (0, VolumeChange::Format { block_bytes: 512, metadata_bytes: 64 }, MediaError::OutOfRange),
    ] {
        assert_eq!(manage(&mut ssd, volume, change, "no"), Err(error), "{volume} {change:?}");
    }
    assert_eq!((free(&ssd), ssd.note()), (left, b"second".to_vec()));
    assert_eq!(manage(&mut ssd, 1, create(4096, 64, left), "full"), Ok(()));
    write(&mut ssd, 1, 0, left, 3);
    assert_eq!(free(&ssd), 0);
    assert_eq!(ssd.shape(VolumeId(0)).unwrap().capacity_blocks_max, 100);
    assert_eq!(submit_to(&mut ssd, 0, Request::Resize { blocks: 101 }), Err(MediaError::OutOfRange));
    assert_eq!(submit_to(&mut ssd, 0, Request::Resize { blocks: 90 }), Ok(()));
    assert_eq!(free(&ssd), 10);
    assert_eq!(manage(&mut ssd, 1, VolumeChange::Delete, "gone"), Ok(()));
    assert_eq!((ssd.allocated_blocks(VolumeId(1)), free(&ssd)), (0, left + 10));
    let mut bytes = Bytes(vec![0; 4096]);
    let read = Request::Read { range: LbaRange::new(Lba(0), 1), into: &mut bytes, force: false };
    assert_eq!(submit_to(&mut ssd, 1, read), Err(MediaError::NoSuchVolume));
    // A volume in the same place shows nothing of the one before, in whatever format.
    assert_eq!(manage(&mut ssd, 1, create(512, 0, left * 8), "again"), Ok(()));
    assert_eq!(contents(&mut ssd, 1), vec![0; left as usize * 8]);
    assert_eq!(contents(&mut ssd, 0), [1; 90]);
    let format = VolumeChange::Format { block_bytes: 512, metadata_bytes: 8 };
    assert_eq!(manage(&mut ssd, 0, format, "formatted"), Ok(()));
    let shape = ssd.shape(VolumeId(0)).unwrap();
    assert_eq!((shape.capacity_blocks, shape.block_bytes, shape.metadata_bytes), (720, 512, 8));
    assert_eq!((contents(&mut ssd, 0), ssd.allocated_blocks(VolumeId(0))), (vec![0; 720], 0));
    assert_eq!(contents(&mut ssd, 2)[1000], 2, "the others stay");
    ssd.cut(&CutPolicy::NoneSurvive.into());
    assert_eq!(manage(&mut ssd, 0, VolumeChange::Keep, "no"), Err(MediaError::PowerLost));
    ssd.restore(None).unwrap();
    assert_eq!((ssd.note(), free(&ssd)), (b"formatted".to_vec(), 10));
    ssd.ftl().assert_invariants();
    let long = vec![0; ssd.space().unwrap().note_bytes_max + 1];
    let request = |note| Request::Manage { change: VolumeChange::Keep, note: Some(note) };
    assert_eq!(submit_to(&mut ssd, 0, request(&long)), Err(MediaError::OutOfRange));
    assert_eq!(submit_to(&mut ssd, 0, request(&long[1..])), Ok(()), "the longest note fits the root");
}

#[test]
fn a_drive_of_fixed_volumes_formats_them_and_makes_none() {
    let config = SsdConfig { geometry: small::geometry(4096), note: Vec::new(), ..config() };
    let mut ssd = Ssd::create(config.clone(), MemoryStore::new(&config.checked().unwrap()).unwrap()).unwrap();
    write(&mut ssd, 0, 0, 100, 1);
    assert_eq!(ssd.space().unwrap().volumes_max, 0);
    assert_eq!(manage(&mut ssd, 1, create(4096, 0, 1), "no"), Err(MediaError::NoSuchVolume));
    assert_eq!(manage(&mut ssd, 0, VolumeChange::Delete, "no"), Err(MediaError::NoSuchVolume));
    let format = VolumeChange::Format { block_bytes: 512, metadata_bytes: 0 };
    assert_eq!(manage(&mut ssd, 0, format, "yes"), Ok(()));
    assert_eq!(contents(&mut ssd, 0), [0; 800]);
    ssd.cut(&CutPolicy::NoneSurvive.into());
    ssd.restore(None).unwrap();
    assert_eq!(ssd.note(), *b"yes");
    assert_eq!(contents(&mut ssd, 0), [0; 800]);
}

/// What a drive may look like: its note and, for each volume, its shape in short.
fn look<S: Store>(ssd: &Ssd<S>) -> (String, Vec<Option<(u32, u64)>>) {
    let shape = |volume| ssd.shape(VolumeId(volume)).map(|shape| (shape.block_bytes, shape.capacity_blocks));
    (String::from_utf8(ssd.note()).unwrap(), (0..VOLUMES).map(shape).collect())
}

#[test]
fn power_that_goes_at_any_step_leaves_the_old_volumes_and_note_or_the_new_ones() {
    let (mut images, mut steps) = (0u64, BTreeSet::new());
    for change in [
        (1, create(512, 0, 800)),
        (0, VolumeChange::Delete),
        (0, VolumeChange::Format { block_bytes: 512, metadata_bytes: 8 }),
        (2, VolumeChange::Keep),
    ] {
        let mut met = BTreeSet::new();
        for nth in 1.. {
            let mut ssd = drive();
            assert_eq!(manage(&mut ssd, 3, create(4096, 0, 20), "before"), Ok(()));
            write(&mut ssd, 3, 0, 20, 9);
            assert_eq!(submit_to(&mut ssd, 3, Request::Flush), Ok(()));
            write(&mut ssd, 0, 0, 60, 1);
            let before = look(&ssd);
            ssd.breaker().arm(Arming::AnyStep(nth));
            let outcome = manage(&mut ssd, change.0, change.1, "after");
            let Some(step) = ssd.breaker().tripped_at() else {
                assert_eq!((outcome, ssd.note()), (Ok(()), b"after".to_vec()));
                break;
            };
            assert_eq!(outcome, Err(MediaError::PowerLost));
            steps.insert(step);
            let mut whole = drive();
            assert_eq!(manage(&mut whole, 3, create(4096, 0, 20), "before"), Ok(()));
            assert_eq!(manage(&mut whole, change.0, change.1, "after"), Ok(()));
            let after = look(&whole);
            for image in ssd.into_images(&Cut { tear: true, ..Cut::default() }, 0, 0).take(60) {
                let mut image = image.unwrap();
                let found = look(&image.drive);
                assert!(found == before || found == after, "{change:?}, step {nth}, {step:?}: {found:?}");
                met.insert(found == after);
                assert_eq!(contents(&mut image.drive, 3), [9; 20]);
                let shape = image.drive.shape(VolumeId(0));
                if shape.is_some_and(|shape| shape.block_bytes == 4096) {
                    assert!(contents(&mut image.drive, 0).iter().all(|byte| *byte <= 1));
                } else if shape.is_some() {
                    assert_eq!(contents(&mut image.drive, 0), [0; 800], "nothing of the old format is seen in the new");
                }
                image.drive.ftl().assert_invariants();
                images += 1;
            }
        }
        assert_eq!(met, BTreeSet::from([false, true]), "{change:?}: both were met");
    }
    assert!(images > 100, "{images}");
    assert!(steps.contains(&Step::FlushProgrammed) && steps.contains(&Step::FlushSynced), "{steps:?}");
}

/// What a volume should show.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    format: (u32, u32),
    /// By block.
    bytes: Vec<u8>,
}

impl Model {
    fn units(&self) -> u64 {
        (self.bytes.len() as u64).div_ceil(UNIT / u64::from(self.format.0))
    }
}

/// Volumes at random, over a drive that is collected meanwhile; now and then power goes with nothing volatile surviving.
#[test]
fn volumes_at_random_hold_what_was_written_and_nothing_else() {
    let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().expect("SEED is a number"));
    println!("SEED={seed}");
    let mut random = Random::new(seed);
    let mut ssd = drive();
    let mut model = BTreeMap::from([(0, Model { format: (4096, 0), bytes: vec![0; 100] })]);
    for round in 0..2000u32 {
        let note = round.to_string();
        let volume = random.below(u64::from(VOLUMES)) as u32;
        let format = random.pick(&[(512, 0), (512, 8), (1024, 16), (4096, 0), (4096, 64)]);
        let used: u64 = model.values().map(Model::units).sum();
        match (random.below(8), model.get_mut(&volume)) {
            (0 | 1, None) => {
                let blocks = 1 + random.below((UNITS / 3) * (UNIT / u64::from(format.0)));
                let new = Model { format, bytes: vec![0; blocks as usize] };
                let fits = used + new.units() <= UNITS;
                let outcome = manage(&mut ssd, volume, create(format.0, format.1, blocks), &note);
                assert_eq!(outcome, if fits { Ok(()) } else { Err(MediaError::OutOfRange) }, "seed {seed}, {round}");
                if fits {
                    model.insert(volume, new);
                }
            }
            (0, Some(_)) => {
                assert_eq!(manage(&mut ssd, volume, VolumeChange::Delete, &note), Ok(()), "seed {seed}, {round}");
                model.remove(&volume);
            }
            (1, Some(there)) => {
                let bytes = there.bytes.len() as u64 * u64::from(there.format.0);
                let change = VolumeChange::Format { block_bytes: format.0, metadata_bytes: format.1 };
                let blocks = bytes / u64::from(format.0);
                let outcome = manage(&mut ssd, volume, change, &note);
                assert_eq!(outcome, if blocks == 0 { Err(MediaError::OutOfRange) } else { Ok(()) });
                if blocks != 0 {
                    *there = Model { format, bytes: vec![0; blocks as usize] };
                }
            }
            (2, Some(there)) => {
                let kept = random.below(there.bytes.len() as u64).max(1);
                assert_eq!(submit_to(&mut ssd, volume, Request::Resize { blocks: kept }), Ok(()));
                there.bytes.truncate(kept as usize);
            }
            (3, _) if random.below(8) == 0 => {
                assert_eq!(submit_to(&mut ssd, 0, Request::FlushAll), Ok(()));
                ssd.cut(&CutPolicy::NoneSurvive.into());
                ssd.restore(None).unwrap();
            }
            (3.., Some(there)) => {
                let first = random.below(there.bytes.len() as u64);
                let blocks = 1 + random.below(there.bytes.len() as u64 - first).min(200);
                let byte = 1 + random.below(250) as u8;
                write(&mut ssd, volume, first, blocks, byte);
                there.bytes[first as usize..(first + blocks) as usize].fill(byte);
            }
            _ => {}
        }
        let used: u64 = model.values().map(Model::units).sum();
        // A format may leave more units than its blocks need; a volume never has fewer.
        assert!(free(&ssd) <= UNITS - used, "seed {seed}, {round}");
        let there: Vec<_> = (0..VOLUMES).filter(|volume| ssd.shape(VolumeId(*volume)).is_some()).collect();
        assert_eq!(there, model.keys().copied().collect::<Vec<_>>(), "seed {seed}, {round}");
        if let Some(there) = model.get(&volume) {
            assert_eq!(contents(&mut ssd, volume), there.bytes, "seed {seed}, {round}");
        }
        if round % 100 == 0 {
            ssd.ftl().assert_invariants();
        }
    }
}

fn on_disk(path: &std::path::Path, marker: &[u8]) -> usize {
    let bytes = std::fs::read(path).unwrap();
    bytes.chunks(512).filter(|chunk| chunk.starts_with(marker)).count()
}

#[test]
fn a_purge_leaves_no_byte_in_the_file_of_what_was_formatted_deleted_or_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("drive.brownout");
    let config = config();
    let geometry = config.checked().unwrap();
    let options = || FileOptions { cache_unsafe: true, ..FileOptions::default() };
    let store = FileStore::create_file(&path, &geometry, config.tuning.journal_entries, options()).unwrap();
    let mut ssd = Ssd::create(config.clone(), store).unwrap();
    let marker = [0xa7; 64];
    assert_eq!(manage(&mut ssd, 1, create(4096, 0, 700), "two"), Ok(()));
    // Neighbours in the same lines, and versions of the same block.
    for lba in 0..100 {
        write(&mut ssd, 0, lba, 1, 0x11);
        write(&mut ssd, 1, lba * 7, 7, 0xa7);
        write(&mut ssd, 1, lba * 7, 2, 0xa7);
    }
    assert_eq!(submit_to(&mut ssd, 0, Request::FlushAll), Ok(()));
    assert!(on_disk(&path, &marker) > 1000);
    // Erased lines keep their bytes for a while.
    for lba in 0..100 {
        write(&mut ssd, 1, lba * 7, 7, 0xa7);
    }
    let format = VolumeChange::Format { block_bytes: 4096, metadata_bytes: 0 };
    assert_eq!(manage(&mut ssd, 1, format, "formatted"), Ok(()));
    assert!(on_disk(&path, &marker) > 0, "otherwise there is nothing to show");
    let mut parts = 0;
    loop {
        assert_eq!(submit_to(&mut ssd, 1, Request::Purge), Ok(()));
        parts += 1;
        let left = ssd.stale();
        if left == 0 {
            break;
        }
        assert!(parts < 1000, "{left} parts are left");
        // The host goes on.
        write(&mut ssd, 0, parts % 100, 1, 0x11);
    }
    let ticket = ssd.store().sync();
    while ssd.store().synced().unwrap() < ticket {
        std::thread::yield_now();
    }
    assert_eq!(on_disk(&path, &marker), 0);
    assert_eq!((contents(&mut ssd, 0), contents(&mut ssd, 1)), (vec![0x11; 100], vec![0; 700]));
    ssd.ftl().assert_invariants();
    drop(ssd);
    let store = FileStore::open_file(&path, &geometry, options()).unwrap();
    let mut ssd = Ssd::open(config, store).unwrap();
    assert_eq!(look(&ssd), ("formatted".to_owned(), vec![Some((4096, 100)), Some((4096, 700)), None, None]));
    assert_eq!(contents(&mut ssd, 0), [0x11; 100]);
}

/// A power loss may leave a line open in which nothing was programmed: a purge leaves it alone, since an erased line is not erased again.
#[test]
fn a_purge_after_a_power_loss_at_any_step_of_another_ends() {
    let purge = |ssd: &mut Ssd<MemoryStore>| {
        for _ in 0..1000 {
            let outcome = submit_to(ssd, 0, Request::Purge);
            if outcome.is_err() || ssd.stale() == 0 {
                return outcome;
            }
        }
        panic!("a purge ends");
    };
    let mut steps = BTreeSet::new();
    for nth in 1.. {
        let mut ssd = drive();
        for byte in 1..4 {
            (0..100).for_each(|lba| write(&mut ssd, 0, lba, 1, byte));
        }
        assert_eq!(submit_to(&mut ssd, 0, Request::FlushAll), Ok(()));
        ssd.breaker().arm(Arming::AnyStep(nth));
        let _ = purge(&mut ssd);
        let Some(step) = ssd.breaker().tripped_at() else { break };
        steps.insert(step);
        ssd.cut(&CutPolicy::NoneSurvive.into());
        ssd.restore(None).unwrap();
        for byte in 4..8 {
            assert_eq!(purge(&mut ssd), Ok(()), "step {nth}, {step:?}");
            assert_eq!(contents(&mut ssd, 0), [byte - 1; 100], "step {nth}, {step:?}");
            (0..100).for_each(|lba| write(&mut ssd, 0, lba, 1, byte));
        }
        ssd.ftl().assert_invariants();
    }
    assert!(steps.contains(&Step::UnitCopied), "{steps:?}");
}
