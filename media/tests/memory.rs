//! What a drive in memory takes of it: what it shows and what may still be lost, whatever was written before.

mod bytes;
mod fill;
mod small;

use std::cell::Cell;
use std::ops::Range;

use bytes::Bytes;
use fill::Fill;
use media::power::{CutPolicy, Random};
use media::ssd::{CacheConfig, Ssd, SsdConfig, VolumeConfig};
use media::store::MemoryStore;
use media::volume::{Fault, Media, MediaError, Outcome, Request, Source, Submitted, Token, VolumeId};
use media::{Lba, LbaRange, Nanoseconds, WarningKind};

const BLOCK: usize = 4096;

/// A host whose memory fails behind so many bytes.
struct Failing(usize);

impl Source for Failing {
    fn fill(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        if offset + into.len() > self.0 {
            return Err(Fault);
        }
        into.fill(0xff);
        Ok(())
    }
}

fn config(geometry: media::geometry::GeometryConfig, metadata_bytes: u32) -> SsdConfig {
    let blocks = geometry.user_bytes / BLOCK as u64;
    SsdConfig {
        geometry,
        volumes: vec![VolumeConfig::new(BLOCK as u32, metadata_bytes, blocks)],
        cache: CacheConfig { bytes: 64 << 10, ..CacheConfig::default() },
        power_atomic_bytes: 32 << 10,
        ..SsdConfig::default()
    }
}

fn drive(metadata_bytes: u32) -> Ssd<MemoryStore> {
    let config = config(small::geometry(BLOCK as u32), metadata_bytes);
    let store = MemoryStore::new(&config.checked().expect("possible"));
    Ssd::create(config, store).expect("a drive")
}

fn submit(drive: &mut Ssd<MemoryStore>, request: Request<'_>) -> Outcome {
    match drive.submit(Nanoseconds(0), Token(1), VolumeId(0), request) {
        Submitted::Done(outcome) => outcome,
        Submitted::Pending => panic!("nothing waits here"),
    }
}

fn write(drive: &mut Ssd<MemoryStore>, blocks: Range<u64>, from: &mut dyn Source) -> Outcome {
    let range = LbaRange::new(Lba(blocks.start), blocks.end - blocks.start);
    submit(drive, Request::Write { range, from, force: false })
}

fn deallocate(drive: &mut Ssd<MemoryStore>, blocks: Range<u64>) {
    let ranges = &[LbaRange::new(Lba(blocks.start), blocks.end - blocks.start)];
    assert_eq!(submit(drive, Request::Deallocate { ranges }), Ok(()));
}

fn shown(drive: &mut Ssd<MemoryStore>, block: u64) -> u8 {
    let mut into = Bytes(vec![0xee; BLOCK]);
    let request = Request::Read { range: LbaRange::new(Lba(block), 1), into: &mut into, force: false };
    assert_eq!(submit(drive, request), Ok(()));
    assert!(into.0.iter().all(|byte| *byte == into.0[0]), "a block is written as a whole");
    into.0[0]
}

/// What is shown, twice what may be in the cache (it and what it replaces), the open lines (the host's, the collector's, and the one
/// that a write has just filled), and a quarter of all that.
fn most(drive: &Ssd<MemoryStore>) -> usize {
    let geometry = &drive.ftl().geometry;
    let status = drive.status();
    let units = usize::try_from(status.mapped_units).expect("few") + 2 * 32 + 3 * geometry.units_per_line as usize;
    units * 5 / 4 * (geometry.unit_bytes() + geometry.config.metadata_bytes_per_unit as usize)
}

#[test]
fn overwriting_takes_no_more_memory_than_what_is_shown_and_what_may_be_lost() {
    for seed in 0..24 {
        let mut random = Random::new(seed);
        let mut drive = drive(if seed % 2 == 0 { 0 } else { 8 });
        let blocks = drive.shape(VolumeId(0)).expect("a volume").capacity_blocks;
        let hot = 1 + random.below(blocks - 32);
        let mut versions = vec![0; usize::try_from(blocks).expect("few")];
        for step in 0..3_000u64 {
            let length = 1 + random.below(if step % 50 == 0 { 24 } else { 3 });
            let first = random.below(hot);
            let (range, byte) = (first..first + length, u8::try_from(step % 251 + 1).expect("below 252"));
            let touched = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            match random.below(40) {
                0 => {
                    deallocate(&mut drive, range);
                    versions[touched].fill(0);
                }
                1 => {
                    let held = usize::try_from(random.below(length)).expect("few") * BLOCK;
                    // Longer ones are not atomic: what came before the fault may have been taken.
                    if length <= 8 {
                        let outcome = write(&mut drive, range, &mut Failing(held));
                        assert_eq!(outcome, Err(MediaError::HostMemory));
                    }
                }
                2 => assert_eq!(submit(&mut drive, Request::Flush), Ok(())),
                3 if step % 3 == 0 => {
                    drive.cut(&CutPolicy::AllSurvive.into());
                    drive.restore(None).expect("recovered");
                }
                _ => {
                    assert_eq!(write(&mut drive, range, &mut Fill(byte)), Ok(()));
                    versions[touched].fill(byte);
                }
            }
            drive.poll(Nanoseconds(0), &mut |_, _| {});
            let (held, most) = (drive.store().held_bytes(), most(&drive));
            // A deallocation waits for what came before it, as an overwritten unit does.
            let waiting = drive.volatile().iter().map(|entry| entry.range.blocks).sum::<u64>();
            let most = most + 2 * usize::try_from(waiting).expect("few") * BLOCK;
            assert!(held <= most, "seed {seed} step {step}: {held} bytes are held, {most} would do");
        }
        for (block, version) in (0..).zip(&versions) {
            assert_eq!(shown(&mut drive, block), *version, "seed {seed} block {block}");
        }
        drive.ftl().assert_invariants();
    }
}

#[test]
fn a_drive_with_less_memory_than_room_refuses_what_does_not_fit_and_goes_on() {
    let config = config(small::geometry(BLOCK as u32), 0);
    let geometry = config.checked().expect("possible");
    let least = config.memory_min().expect("possible");
    let most = least + (1 << 20);
    assert!(most < 4 << 20, "the drive could hold more: {most}");
    let mut drive = Ssd::create(config, MemoryStore::limited_to(&geometry, most)).expect("a drive");
    let mut taken = 0;
    while write(&mut drive, taken..taken + 1, &mut Fill(1)) == Ok(()) {
        taken += 1;
    }
    assert_eq!(write(&mut drive, taken..taken + 1, &mut Fill(1)), Err(MediaError::NoSpace));
    assert!(taken * BLOCK as u64 >= most - least, "{taken} blocks were taken of {most} bytes");
    // What is there can be replaced as often as one likes, in pieces of any length; that is how a file system makes room.
    for round in 2..40 {
        for first in (0..taken - 8).step_by(7) {
            assert_eq!(write(&mut drive, first..first + 1 + first % 8, &mut Fill(round)), Ok(()));
        }
    }
    assert!(drive.store().held_bytes() as u64 <= most);
    assert!(drive.status().memory_full, "the last new block did not fit");
    let told = |drive: &mut Ssd<MemoryStore>| {
        drive.poll(Nanoseconds(0), &mut |_, _| {});
        drive
            .warnings_mut()
            .all()
            .iter()
            .map(|warning| (warning.kind, warning.count, warning.stands()))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&mut drive), [(WarningKind::MemoryFull, 1, true)]);
    assert_eq!(told(&mut drive), [(WarningKind::MemoryFull, 1, true)], "the operator is told once");
    deallocate(&mut drive, 0..taken / 2);
    assert_eq!(write(&mut drive, taken..taken + taken / 4, &mut Fill(99)), Ok(()));
    assert!(!drive.status().memory_full);
    assert_eq!(told(&mut drive), [(WarningKind::MemoryFull, 1, false)]);
    assert_eq!((shown(&mut drive, 0), shown(&mut drive, taken)), (0, 99));
    drive.ftl().assert_invariants();
}

thread_local! {
    static GIVEN_BACK: Cell<usize> = const { Cell::new(0) };
}

fn spoil(bytes: &mut [u8]) {
    bytes.fill(0xdd);
    GIVEN_BACK.set(GIVEN_BACK.get() + bytes.len());
}

#[test]
fn memory_of_what_was_deallocated_is_given_back_and_nothing_else_is_touched() {
    let geometry = media::geometry::GeometryConfig { user_bytes: 128 << 20, pages_per_block: 4, ..Default::default() };
    let config = config(geometry, 0);
    let store = MemoryStore::new(&config.checked().expect("possible")).giving_back(spoil);
    let mut drive = Ssd::create(config, store).expect("a drive");
    let blocks = (128 << 20) / BLOCK as u64;
    for first in (0..blocks).step_by(8) {
        assert_eq!(write(&mut drive, first..first + 8, &mut Fill(1)), Ok(()));
    }
    // Of the first half every eighth block stays, of the second none.
    (0..blocks / 2).step_by(8).for_each(|first| deallocate(&mut drive, first + 1..first + 8));
    deallocate(&mut drive, blocks / 2..blocks);
    assert_eq!(submit(&mut drive, Request::Flush), Ok(()));
    while let Some(next) = drive.next_event() {
        drive.poll(next, &mut |_, _| {});
    }
    let live = drive.store().held_bytes();
    assert!(live <= (8 << 20) + (2 << 20), "{live} bytes are held");
    let touched = (128 << 20) - GIVEN_BACK.get();
    assert!(touched <= live + live / 4 + (16 << 20), "{touched} bytes are still there, {live} of them in use");
    for block in (0..blocks / 2).step_by(8) {
        assert_eq!((shown(&mut drive, block), shown(&mut drive, block + 1)), (1, 0));
    }
    for first in (0..blocks).step_by(8) {
        assert_eq!(write(&mut drive, first..first + 8, &mut Fill(2)), Ok(()));
    }
    assert!((0..blocks).all(|block| shown(&mut drive, block) == 2));
}
