//! Forks of a drive in memory: it goes back to what it held, and shows every image that one power loss may leave, one after the other.

#![expect(clippy::cast_possible_truncation, reason = "tests know their numbers")]

mod small;

use std::collections::BTreeSet;

use media::monitor::Monitor;
use media::power::{Arming, Cut, CutPolicy, Fate, Forks, ImageNumber, Power as _, Step};
use media::ssd::{CacheConfig, Forkable, Ssd, SsdConfig, VolumeConfig};
use media::store::MemoryStore;
use media::testing::{Bytes, Fill};
use media::volume::{Media, Outcome, Request, Submitted, Token, VolumeId};
use media::{Lba, LbaRange, Nanoseconds};

const BLOCK: usize = 4096;
/// Blocks that are looked at.
const BLOCKS: u64 = 16;

fn drive_with(cache: CacheConfig) -> Forkable {
    let config = SsdConfig {
        geometry: small::geometry(4096),
        volumes: vec![VolumeConfig::new(4096, 0, (4 << 20) / 4096)],
        cache,
        ..SsdConfig::default()
    };
    let store = MemoryStore::new(&config.checked().expect("a configuration")).expect("memory");
    Forkable::new(Ssd::create(config, store).expect("a drive"))
}

fn drive() -> Forkable {
    drive_with(CacheConfig::default())
}

fn submit(drive: &mut Forkable, request: Request<'_>) -> Outcome {
    match drive.submit(Nanoseconds(0), Token(1), VolumeId(0), request) {
        Submitted::Done(outcome) => outcome,
        Submitted::Pending => panic!("nothing waits here"),
    }
}

fn write(drive: &mut Forkable, lba: u64, byte: u8) {
    let range = LbaRange::new(Lba(lba), 1);
    assert_eq!(submit(drive, Request::Write { range, from: &mut Fill(byte), force: false }), Ok(()));
}

fn flush(drive: &mut Forkable) {
    assert_eq!(submit(drive, Request::Flush), Ok(()));
}

/// The first byte of each block.
fn contents(drive: &mut Forkable) -> Vec<u8> {
    let mut bytes = Bytes(vec![0; BLOCKS as usize * BLOCK]);
    let range = LbaRange::new(Lba(0), BLOCKS);
    assert_eq!(submit(drive, Request::Read { range, into: &mut bytes, force: false }), Ok(()));
    bytes.0.chunks(BLOCK).map(|block| block[0]).collect()
}

fn forks(drive: &mut Forkable) -> &mut dyn Forks {
    drive.power().and_then(|power| power.forks()).expect("a drive in memory has forks")
}

fn cut(drive: &mut Forkable) {
    drive.cut(&Cut::default());
}

fn restore(drive: &mut Forkable) {
    drive.restore(None).expect("recovered");
}

const fn image(number: u64) -> ImageNumber {
    ImageNumber { number, seed: 5 }
}

/// What an image holds.
fn held(drive: &mut Forkable, number: u64) -> Vec<u8> {
    let mut all = vec![0; BLOCKS as usize];
    let mut take = |lba: Lba, bytes: &[u8]| {
        for (block, bytes) in (lba.0 as usize..).zip(bytes.chunks(BLOCK)) {
            if let Some(byte) = all.get_mut(block) {
                *byte = bytes[0];
            }
        }
        Ok(())
    };
    forks(drive).contents(image(number), VolumeId(0), &mut take).expect("an image");
    all
}

#[test]
fn a_drive_goes_back_to_what_it_held_as_often_as_wanted() {
    let mut drive = drive();
    assert!(forks(&mut drive).rewind().expect_err("nothing was kept").contains("fork the media first"));
    (0..8).for_each(|lba| write(&mut drive, lba, 1));
    forks(&mut drive).fork().expect("a fork");
    let kept = contents(&mut drive);
    for round in 2..5 {
        // Enough that lines are collected and erased, over what is kept.
        for turn in 0..40 {
            (0..1000).for_each(|lba| write(&mut drive, lba, round + turn));
            flush(&mut drive);
        }
        assert_eq!(contents(&mut drive)[15], round + 39);
        forks(&mut drive).rewind().expect("it was kept");
        assert_eq!(contents(&mut drive)[15], round + 39, "nothing changes while power is on");
        cut(&mut drive);
        restore(&mut drive);
        assert_eq!(contents(&mut drive), kept, "round {round}");
    }
    // Only once: a power loss after that is one like any other.
    write(&mut drive, 0, 9);
    flush(&mut drive);
    cut(&mut drive);
    restore(&mut drive);
    assert_eq!(contents(&mut drive)[0], 9);
    // And a fork of a fork.
    forks(&mut drive).fork().expect("a fork");
    write(&mut drive, 0, 10);
    flush(&mut drive);
    cut(&mut drive);
    forks(&mut drive).rewind().expect("it was kept");
    restore(&mut drive);
    assert_eq!((contents(&mut drive)[0], contents(&mut drive)[1..].to_vec()), (9, kept[1..].to_vec()));
}

#[test]
fn a_fork_under_a_host_is_not_noticed() {
    let mut drive = drive();
    write(&mut drive, 3, 7);
    drive.promise(VolumeId(0), media::power::PowerAtomicity::anywhere(1));
    assert_eq!(drive.set_write_cache(Nanoseconds(0), Token(1), false), Submitted::Done(Ok(())));
    let monitor: &mut dyn Monitor = drive.monitor().expect("a drive");
    monitor.flip_bits(VolumeId(0), LbaRange::new(Lba(9), 1), 3);
    monitor.fail_program(1000);
    let faults = monitor.faults();
    drive.breaker().arm(Arming::Hit(Step::PageProgram, 1));
    assert!(forks(&mut drive).fork().expect_err("it might be met").contains("crash-disarm"));
    drive.breaker().disarm();
    forks(&mut drive).fork().expect("a fork");
    assert_eq!(drive.write_cache(), Some(false));
    assert_eq!(drive.monitor().expect("a drive").faults(), faults);
    assert_eq!(contents(&mut drive)[3], 7);
    drive.breaker().cut();
    assert!(forks(&mut drive).fork().expect_err("no power").contains("bring it back first"));
}

#[test]
fn forks_do_not_lie_below_each_other_without_end() {
    let mut drive = drive();
    let forked = (0..100).take_while(|_| forks(&mut drive).fork().is_ok()).count();
    assert!((8..50).contains(&forked), "{forked} forks");
    write(&mut drive, 0, 1);
    assert_eq!(contents(&mut drive)[0], 1);
}

#[test]
fn each_image_of_a_loss_is_shown_in_turn_and_what_was_written_to_it_is_dropped() {
    for forked in [false, true] {
        let mut drive = drive();
        write(&mut drive, 5, 1);
        if forked {
            forks(&mut drive).fork().expect("a fork");
        }
        flush(&mut drive);
        (0..4).for_each(|lba| write(&mut drive, lba, 2));
        assert!(forks(&mut drive).images().expect_err("power is on").contains("power is on"));
        cut(&mut drive);
        let loss = forks(&mut drive).images().expect("a loss");
        assert_eq!((loss.states, loss.exhaustive, loss.entries.len()), (16, true, 4));
        assert_eq!(forks(&mut drive).images(), Ok(loss), "asked again it is the same");
        let mut shown = BTreeSet::new();
        for number in 0..16 {
            let as_held = held(&mut drive, number);
            let entries = forks(&mut drive).show(image(number)).expect("an image");
            // Where power is on it goes first.
            cut(&mut drive);
            restore(&mut drive);
            let found = contents(&mut drive);
            assert_eq!(found, as_held, "image {number}");
            for (entry, byte) in entries.iter().zip(&found) {
                assert_eq!(entry.fate == Fate::Survived, *byte == 2, "image {number}");
            }
            assert_eq!(found[5], 1);
            shown.insert(found);
            (0..16).for_each(|lba| write(&mut drive, lba, 99));
            flush(&mut drive);
        }
        assert_eq!(shown.len(), 16);
        assert!(forks(&mut drive).show(image(16)).expect_err("no such image").contains("has 16, from 0"));
    }
}

#[test]
fn power_comes_back_without_an_image_too_and_the_next_loss_is_another() {
    let mut drive = drive();
    write(&mut drive, 0, 1);
    cut(&mut drive);
    assert_eq!(forks(&mut drive).images().expect("a loss").states, 2);
    // The drive without its store still says how it is.
    assert!(drive.monitor().expect("a drive").status().lines.0 > 0);
    cut(&mut drive);
    assert_eq!(forks(&mut drive).images().expect("the same loss").states, 2);
    restore(&mut drive);
    assert_eq!(contents(&mut drive)[0], 0, "nothing survived");
    (0..3).for_each(|lba| write(&mut drive, lba, 2));
    drive.cut(&Cut { policy: CutPolicy::AllSurvive, ..Cut::default() });
    assert!(forks(&mut drive).images().expect_err("it is made").contains("policy=none-survive"));
    assert_eq!(held(&mut drive, 1)[0], 1, "an image of the loss before");
    restore(&mut drive);
    assert_eq!(contents(&mut drive)[..3], [2, 2, 2]);
    (0..3).for_each(|lba| write(&mut drive, lba, 3));
    cut(&mut drive);
    assert_eq!(forks(&mut drive).images().expect("a loss").states, 8);
    assert_eq!(held(&mut drive, 7)[..3], [3, 3, 3]);
}

#[test]
fn of_more_images_than_have_numbers_the_first_two_are_nothing_and_all_and_the_others_are_drawn() {
    let mut drive = drive_with(CacheConfig { open_units: 0, ..CacheConfig::default() });
    (0..20).for_each(|lba| write(&mut drive, lba, 1));
    cut(&mut drive);
    let loss = forks(&mut drive).images().expect("a loss");
    assert_eq!((loss.states, loss.exhaustive), (1 << 20, false));
    let sum = |bytes: Vec<u8>| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    assert_eq!((sum(held(&mut drive, 0)), sum(held(&mut drive, 1))), (0, 16));
    let drawn: BTreeSet<_> = (2..12).map(|number| held(&mut drive, number)).collect();
    assert!(drawn.len() > 5);
    assert_eq!(held(&mut drive, 7), held(&mut drive, 7));
}
