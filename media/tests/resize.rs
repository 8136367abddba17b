//! A volume that gets another size while the drive runs: power at every step on the way, every state that it may leave, and the file
//! that remembers it. Random resizes among everything else are in `model.rs`.
#![expect(clippy::cast_possible_truncation, reason = "tests know their numbers")]

mod settled;
mod small;

use std::collections::BTreeSet;

use media::power::{Arming, Cut, CutPolicy, Step};
use media::ssd::{Ssd, SsdConfig, VolumeConfig};
use media::store::{FileOptions, FileStore, MemoryStore, Store, inspect};
use media::testing::{Bytes, Fill};
use media::volume::{Media, MediaError, Outcome, Request, VolumeId};
use media::{Lba, LbaRange};
use settled::submit_to;

const BLOCK: usize = 4096;
/// Blocks of the first volume: at first, and as many as it may have. Neither is a whole number of units of 16 KiB.
const BLOCKS: u64 = 61;
const MOST: u64 = 122;

/// A volume with room, and behind it one that nothing may happen to.
fn config(unit_bytes: u32) -> SsdConfig {
    SsdConfig {
        geometry: small::geometry(unit_bytes),
        volumes: vec![VolumeConfig::new(4096, 0, BLOCKS).with_room(MOST), VolumeConfig::new(4096, 0, 16)],
        power_atomic_bytes: 3 * 4096,
        ..SsdConfig::default()
    }
}

fn drive(config: &SsdConfig) -> Ssd<MemoryStore> {
    Ssd::create(config.clone(), MemoryStore::new(&config.checked().unwrap()).unwrap()).unwrap()
}

fn submit<S: Store>(ssd: &mut Ssd<S>, request: Request<'_>) -> Outcome {
    submit_to(ssd, 0, request)
}

fn write<S: Store>(ssd: &mut Ssd<S>, lba: u64, blocks: u64, byte: u8, force: bool) {
    let request = Request::Write { range: LbaRange::new(Lba(lba), blocks), from: &mut Fill(byte), force };
    assert_eq!(submit(ssd, request), Ok(()));
}

fn resize<S: Store>(ssd: &mut Ssd<S>, blocks: u64) -> Outcome {
    submit(ssd, Request::Resize { blocks })
}

fn blocks<S: Store>(ssd: &Ssd<S>) -> u64 {
    ssd.shape(VolumeId(0)).unwrap().capacity_blocks
}

/// What each block of a volume shows.
fn contents_of<S: Store>(ssd: &mut Ssd<S>, volume: u32) -> Vec<u8> {
    let range = LbaRange::new(Lba(0), ssd.shape(VolumeId(volume)).unwrap().capacity_blocks);
    let mut bytes = Bytes(vec![0xff; range.blocks as usize * BLOCK]);
    assert_eq!(submit_to(ssd, volume, Request::Read { range, into: &mut bytes, force: false }), Ok(()));
    let whole = |block: &[u8]| {
        assert!(block.iter().all(|byte| *byte == block[0]), "a torn block");
        block[0]
    };
    bytes.0.chunks(BLOCK).map(whole).collect()
}

fn contents<S: Store>(ssd: &mut Ssd<S>) -> Vec<u8> {
    contents_of(ssd, 0)
}

#[test]
fn a_volume_grows_and_shrinks_and_what_a_shrink_dropped_does_not_come_back() {
    for unit in [4096, 16384] {
        let mut ssd = drive(&config(unit));
        write(&mut ssd, 0, BLOCKS, 1, false);
        assert_eq!(ssd.shape(VolumeId(0)).unwrap().capacity_blocks_max, MOST.next_multiple_of(u64::from(unit) / 4096));
        assert_eq!(resize(&mut ssd, MOST), Ok(()));
        let grown: Vec<u8> = (0..MOST).map(|lba| u8::from(lba < BLOCKS)).collect();
        assert_eq!(contents(&mut ssd), grown);
        write(&mut ssd, BLOCKS, MOST - BLOCKS, 2, false);
        assert_eq!(resize(&mut ssd, 10), Ok(()));
        assert_eq!((blocks(&ssd), contents(&mut ssd)), (10, vec![1; 10]));
        assert!(ssd.allocated_blocks(VolumeId(0)) <= 10);
        let beyond = LbaRange::new(Lba(9), 2);
        let mut bytes = Bytes(vec![0; 2 * BLOCK]);
        let read = Request::Read { range: beyond, into: &mut bytes, force: false };
        assert_eq!(submit(&mut ssd, read), Err(MediaError::OutOfRange));
        assert_eq!(submit(&mut ssd, Request::Deallocate { ranges: &[beyond] }), Err(MediaError::OutOfRange));
        ssd.cut(&CutPolicy::NoneSurvive.into());
        ssd.restore(None).unwrap();
        assert_eq!((blocks(&ssd), contents(&mut ssd)), (10, vec![1; 10]), "durable when it was answered");
        assert_eq!(resize(&mut ssd, MOST), Ok(()));
        let zeroed: Vec<u8> = (0..MOST).map(|lba| u8::from(lba < 10)).collect();
        assert_eq!(contents(&mut ssd), zeroed);
        ssd.ftl().assert_invariants();
    }
}

#[test]
fn a_size_that_cannot_be_is_refused_and_nothing_is_done() {
    let mut ssd = drive(&config(16384));
    write(&mut ssd, 0, BLOCKS, 1, true);
    // As many as fit the units that are kept.
    for impossible in [0, 125, u64::MAX] {
        assert_eq!(resize(&mut ssd, impossible), Err(MediaError::OutOfRange));
    }
    assert_eq!(submit_to(&mut ssd, 2, Request::Resize { blocks: 1 }), Err(MediaError::NoSuchVolume));
    // The second volume has no room but the end of its unit.
    assert_eq!(submit_to(&mut ssd, 1, Request::Resize { blocks: 17 }), Err(MediaError::OutOfRange));
    assert_eq!((blocks(&ssd), contents(&mut ssd)), (BLOCKS, vec![1; BLOCKS as usize]));
    let more = SsdConfig { volumes: vec![VolumeConfig::new(4096, 0, 2).with_room(1)], ..config(4096) };
    assert!(more.checked().unwrap_err().0.contains("more blocks than the 1 that it may have"));
    let all = SsdConfig { volumes: vec![VolumeConfig::new(4096, 0, 1).with_room(1025)], ..config(4096) };
    assert!(all.checked().unwrap_err().0.contains("need 1025 units"), "room counts as used");
    ssd.cut(&CutPolicy::NoneSurvive.into());
    assert_eq!(resize(&mut ssd, 1), Err(MediaError::PowerLost));
}

/// The drive in front of a resize: durable data, data in the cache on both sides of the new end, and a deallocation.
fn prepared(unit_bytes: u32) -> Ssd<MemoryStore> {
    let mut ssd = drive(&config(unit_bytes));
    for (lba, byte) in (0..BLOCKS).zip(1..) {
        write(&mut ssd, lba, 1, byte, false);
    }
    let other = Request::Write { range: LbaRange::new(Lba(0), 16), from: &mut Fill(7), force: true };
    assert_eq!(submit_to(&mut ssd, 1, other), Ok(()));
    write(&mut ssd, 28, 4, 102, false);
    write(&mut ssd, 50, 1, 103, false);
    let ranges = &[LbaRange::new(Lba(12), 4)];
    assert_eq!(submit(&mut ssd, Request::Deallocate { ranges }), Ok(()));
    ssd
}

/// Whether a block may show this, where the cache's part of a change may be there or not.
fn may_show(lba: u64, byte: u8) -> bool {
    let newer = match lba {
        12..16 => 0,
        28..32 => 102,
        50 => 103,
        _ => lba as u8 + 1,
    };
    byte == newer || byte == lba as u8 + 1
}

/// Looks at a drive after power went in a resize from `BLOCKS` to `new`: returns the size that it has.
fn check<S: Store>(ssd: &mut Ssd<S>, new: u64, when: &str) -> u64 {
    let size = blocks(ssd);
    assert!(size == BLOCKS || size == new, "{when}: {size} blocks");
    let shown = contents(ssd);
    for (lba, byte) in (0..).zip(shown.iter().copied()) {
        let kept = lba < BLOCKS.min(new);
        let possible = if kept { may_show(lba, byte) } else { byte == 0 || (lba < BLOCKS && may_show(lba, byte)) };
        assert!(possible, "{when}: block {lba} of {size} shows {byte}");
    }
    assert_eq!(contents_of(ssd, 1), [7; 16], "{when}: the other volume");
    ssd.ftl().assert_invariants();
    // And what is not there now never comes back, whatever happens next.
    assert_eq!(resize(ssd, MOST), Ok(()));
    let mut grown = shown;
    grown.resize(MOST as usize, 0);
    assert_eq!(contents(ssd), grown, "{when}: grown");
    ssd.cut(&CutPolicy::NoneSurvive.into());
    ssd.restore(None).unwrap();
    assert_eq!(contents(ssd), grown, "{when}: grown, and power lost");
    size
}

#[test]
fn power_that_goes_at_any_step_of_a_resize_leaves_the_old_size_or_the_new_one() {
    let (mut images, mut steps) = (0u64, BTreeSet::new());
    for (unit, new) in [(4096, 30), (16384, 29), (16384, MOST)] {
        let mut sizes = BTreeSet::new();
        for nth in 1.. {
            let mut ssd = prepared(unit);
            ssd.breaker().arm(Arming::AnyStep(nth));
            let outcome = resize(&mut ssd, new);
            let Some(step) = ssd.breaker().tripped_at() else {
                assert_eq!((outcome, blocks(&ssd)), (Ok(()), new));
                break;
            };
            assert_eq!(outcome, Err(MediaError::PowerLost));
            steps.insert(step);
            let all = ssd.into_images(&Cut { tear: true, ..Cut::default() }, 0, 0);
            assert!(all.exhaustive());
            for image in all {
                let mut image = image.unwrap();
                let when = format!("to {new} with units of {unit}, step {nth}, {step:?}, state {}", image.state);
                sizes.insert(check(&mut image.drive, new, &when));
                images += 1;
            }
        }
        assert_eq!(sizes, BTreeSet::from([BLOCKS, new]), "both were met");
    }
    println!("{images} images of {} steps", steps.len());
    assert!(images > 300, "{images}");
    for step in [Step::RequestTaken, Step::PageProgram, Step::JournalAppend, Step::FlushProgrammed, Step::FlushSynced] {
        assert!(steps.contains(&step), "{step:?}");
    }
}

#[test]
fn a_file_remembers_the_size_and_an_orderly_end_stays_one() {
    let path = std::env::temp_dir().join(format!("brownout-media-{}-resize", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let config = config(4096);
    let geometry = config.checked().unwrap();
    let options = || FileOptions { cache_unsafe: true, ..FileOptions::default() };
    let store = FileStore::create_file(&path, &geometry, config.tuning.journal_entries, options()).unwrap();
    let mut ssd = Ssd::create(config.clone(), store).unwrap();
    write(&mut ssd, 0, BLOCKS, 1, false);
    assert_eq!(submit(&mut ssd, Request::Quiesce), Ok(()));
    for (size, clean) in [(100, false), (40, true), (90, false)] {
        assert_eq!(resize(&mut ssd, size), Ok(()));
        if clean {
            assert_eq!(submit(&mut ssd, Request::Quiesce), Ok(()));
        }
        let ticket = ssd.store().sync();
        while ssd.store().synced().unwrap() < ticket {
            std::thread::yield_now();
        }
        drop(ssd);
        let found = inspect(&path).unwrap();
        assert_eq!((found.root.volumes[0].capacity_blocks, found.root.volumes[0].units), (size, MOST as u32));
        assert_eq!(found.root.clean, clean, "a resize is a change, also of a quiesced drive");
        let store = FileStore::open_file(&path, &geometry, options()).unwrap();
        // What the configuration says of the size does not matter to the drive.
        ssd = Ssd::open(config.clone(), store).unwrap();
        let least = BLOCKS.min(size).min(if size == 90 { 40 } else { MOST });
        let expected: Vec<u8> = (0..size).map(|lba| u8::from(lba < least)).collect();
        assert_eq!(contents(&mut ssd), expected);
    }
    std::fs::remove_file(&path).unwrap();
}
