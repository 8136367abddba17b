//! The entry that the fuzzer and the seeded test share: an image is forged, opened, used, damaged while it is in use, loses power, and is
//! opened again. Whatever it says, that is an error or works; it never brings the process down.

use std::sync::OnceLock;

use super::choices::Choices;
use super::disk::OpenDisk;
use super::forge::{Forge, damage};
use crate::config::Tuning;
use crate::geometry::{Geometry, GeometryConfig};
use crate::power::{Cut, CutPolicy, Random};
use crate::ssd::{CacheConfig, Ssd, SsdConfig, VolumeConfig};
use crate::store::{ImageStore, StoreError};
use crate::unit::{Lba, LbaRange, Nanoseconds};
use crate::volume::{Fault, Media, Outcome, Request, Sink, Source, Submitted, Token, VolumeId};

type Drive = Ssd<ImageStore<OpenDisk>>;

const METADATA_BYTES: u64 = 256 << 10;
const BLOCKS: u64 = 150;
const JOURNAL_ENTRIES: u64 = 128;

/// A drive on which little work meets everything: lines of 16 units, two volumes, one with metadata.
fn config() -> SsdConfig {
    SsdConfig {
        geometry: GeometryConfig {
            channels: 1,
            dies_per_channel: 1,
            planes_per_die: 2,
            pages_per_block: 8,
            page_bytes: 1024,
            unit_bytes: 1024,
            user_bytes: BLOCKS * 1024,
            spare_per_million_of_user: 250_000,
            replacement_blocks_per_plane: 2,
            factory_bad_blocks: 1,
            metadata_bytes_per_unit: 0,
            volumes_max: 0,
        },
        volumes: vec![VolumeConfig::new(512, 8, BLOCKS), VolumeConfig::new(1024, 0, BLOCKS / 2)],
        cache: CacheConfig { bytes: 8 << 10, ..CacheConfig::default() },
        tuning: Tuning { journal_entries: JOURNAL_ENTRIES, checkpoint_units: 100, ..Tuning::default() },
        power_atomic_bytes: 4 << 10,
        ..SsdConfig::default()
    }
}

/// Data that does not matter.
struct Blank;

impl Source for Blank {
    fn fill(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        into.fill(u8::try_from(offset % 251).unwrap_or(0));
        Ok(())
    }
}

impl Sink for Blank {
    fn take(&mut self, _offset: usize, _from: &[u8]) -> Result<(), Fault> {
        Ok(())
    }
}

fn submit(drive: &mut Drive, volume: u32, request: Request<'_>) -> Option<Outcome> {
    match drive.submit(Nanoseconds(0), Token(0), VolumeId(volume), request) {
        Submitted::Done(outcome) => Some(outcome),
        Submitted::Pending => {
            let mut ended = None;
            drive.poll(Nanoseconds(0), &mut |_, outcome| ended = Some(outcome));
            ended
        }
    }
}

/// Random requests; those that fail fail.
fn use_it(drive: &mut Drive, random: &mut Random, requests: u64) {
    for _ in 0..requests {
        let volume = if random.below(3) == 0 { 1 } else { 0 };
        let capacity = drive.shape(VolumeId(volume)).map_or(1, |shape| shape.capacity_blocks).min(1 << 40);
        let blocks = (1 + random.below(5)).min(capacity);
        let range = LbaRange::new(Lba(random.below(capacity - blocks + 1)), blocks);
        let force = random.below(8) == 0;
        let ended = match random.below(32) {
            0 | 1 => submit(drive, volume, Request::Deallocate { ranges: &[range] }),
            2..6 => submit(drive, volume, Request::Read { range, into: &mut Blank, force }),
            6 => submit(drive, volume, Request::Flush),
            7 => submit(drive, volume, Request::WriteUncorrectable { range }),
            8 => submit(drive, volume, Request::WriteZeroes { range, deallocate: force, force: false }),
            9 => submit(drive, volume, Request::Copy { sources: &[range], to: Lba(0), force }),
            10 if force => submit(drive, volume, Request::Resize { blocks: range.start.0 }),
            11 if force => submit(drive, volume, Request::Quiesce),
            _ => submit(drive, volume, Request::Write { range, from: &mut Blank, force }),
        };
        assert!(ended.is_some(), "this disk is never late");
    }
}

/// What images are forged from: one of a drive that was killed, one that was killed soon after it was opened, one that was quiesced.
struct Originals {
    geometry: Geometry,
    images: [Vec<u8>; 3],
}

fn originals() -> &'static Originals {
    static ORIGINALS: OnceLock<Originals> = OnceLock::new();
    ORIGINALS.get_or_init(|| {
        let geometry = config().checked().expect("a configuration of ours");
        let disk = OpenDisk::default();
        let store = ImageStore::create(&geometry, METADATA_BYTES, disk.clone()).expect("memory");
        let mut drive = Ssd::create(config(), store).expect("a configuration of ours");
        use_it(&mut drive, &mut Random::new(1), 2000);
        drive.fail_program(1);
        use_it(&mut drive, &mut Random::new(2), 70);
        let killed = disk.bytes().clone();
        let disk = OpenDisk::holding(killed.clone());
        let mut drive = open(&geometry, disk.clone()).expect("an image of ours");
        use_it(&mut drive, &mut Random::new(3), 30);
        let young = disk.bytes().clone();
        drive.shutdown();
        let resting = disk.bytes().clone();
        Originals { geometry, images: [killed, young, resting] }
    })
}

fn open(geometry: &Geometry, disk: OpenDisk) -> Result<Drive, StoreError> {
    Ssd::open(config(), ImageStore::open(geometry, disk)?)
}

/// Forges an image as the input says and lives with it. Returns whether it could be opened.
///
/// # Panics
/// If anything in the drive does.
pub fn fuzz_entry(input: &[u8]) -> bool {
    let Originals { geometry, images } = originals();
    let mut choices = Choices::new(input);
    let mut random = choices.random();
    let mut image = images[choices.below(3)].clone();
    let mut forge = Forge::new(&mut image, geometry, JOURNAL_ENTRIES, METADATA_BYTES);
    for _ in 0..=choices.below(4) {
        forge.change(&mut choices);
    }
    let disk = OpenDisk::holding(image);
    let Ok(mut drive) = open(geometry, disk.clone()) else { return false };
    drive.ftl().assert_invariants();
    use_it(&mut drive, &mut random, 250);
    for _ in 0..choices.below(3) {
        damage(&mut disk.bytes(), &mut choices);
        use_it(&mut drive, &mut random, 60);
    }
    drive.ftl().assert_invariants();
    if choices.below(2) == 0 {
        drive.cut(&Cut::from(CutPolicy::Random(random.draw())));
        if drive.restore(None).is_err() {
            return true;
        }
        use_it(&mut drive, &mut random, 60);
    }
    drop(drive);
    if let Ok(mut drive) = open(geometry, OpenDisk::holding(disk.bytes().clone())) {
        use_it(&mut drive, &mut random, 120);
        drive.ftl().assert_invariants();
    }
    true
}
