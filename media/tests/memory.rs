//! What a drive in memory takes of it: what it shows and what may still be lost, whatever was written before.

mod small;

use std::cell::Cell;
use std::ops::Range;

use media::power::{CutPolicy, Random};
use media::ssd::{CacheConfig, Ssd, SsdConfig, VolumeConfig};
use media::store::MemoryStore;
use media::testing::{Bytes, Fill};
use media::volume::{Fault, Media, MediaError, Outcome, Request, Source, Submitted, Token, VolumeId};
use media::{Lba, LbaRange, Nanoseconds, WarningKind};

const BLOCK: usize = 4096;
const BLOCK_BYTES: u32 = 4096;

/// A host whose memory fails behind this many bytes.
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
        volumes: vec![VolumeConfig::new(BLOCK_BYTES, metadata_bytes, blocks)],
        cache: CacheConfig { bytes: 64 << 10, ..CacheConfig::default() },
        power_atomic_bytes: 32 << 10,
        ..SsdConfig::default()
    }
}

/// A drive that gives memory back to nobody.
fn drive(metadata_bytes: u32) -> Ssd<MemoryStore> {
    let geometry = media::geometry::GeometryConfig { user_bytes: 16 << 20, ..small::geometry(BLOCK_BYTES) };
    let config = config(geometry, metadata_bytes);
    let store = MemoryStore::new(&config.checked().expect("possible")).expect("memory").giving_back(spoil);
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

/// Units that a power loss may take or bring back: those of every change that is not committed.
fn losable(drive: &Ssd<MemoryStore>) -> usize {
    usize::try_from(drive.volatile().iter().map(|entry| entry.range.blocks).sum::<u64>()).expect("few")
}

fn mapped(drive: &Ssd<MemoryStore>) -> usize {
    usize::try_from(drive.status().mapped_units).expect("few")
}

/// The units for which there is memory, against the bound that README and docs state: what the map shows, what may still be lost,
/// and three lines (the host's, the collector's, and the one that is collected), a quarter more where memory is only kept.
fn check_memory(drive: &mut Ssd<MemoryStore>, what: &str) {
    let open = 3 * drive.ftl().geometry.units_per_line as usize;
    let most = mapped(drive) + losable(drive) + open;
    let (held, resident) = drive.store().units_held();
    assert!(held <= most, "{what}: {held} units are held, {most} would do");
    assert!(resident <= most * 5 / 4, "{what}: {resident} units have memory, {most} would do");
}

/// Lets the drive do what it does by itself.
fn idle(drive: &mut Ssd<MemoryStore>) {
    drive.poll(Nanoseconds(0), &mut |_, _| {});
    while let Some(next) = drive.next_event().filter(|next| *next <= Nanoseconds(0)) {
        drive.poll(next, &mut |_, _| {});
    }
}

#[test]
fn memory_is_bounded_by_what_is_shown_and_may_be_lost_whatever_was_written_before() {
    for seed in 0..12 {
        let mut random = Random::new(seed);
        let mut drive = drive(if seed % 2 == 0 { 0 } else { 8 });
        let blocks = drive.shape(VolumeId(0)).expect("a volume").capacity_blocks;
        let hot = 1 + random.below([blocks - 32, 600][usize::from(seed % 4 < 3)]);
        let mut versions = vec![0; usize::try_from(blocks).expect("few")];
        let mut failures = 0;
        for step in 0..5_000u64 {
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
                3 if step % 3 == 1 => {
                    assert_eq!(submit(&mut drive, Request::Flush), Ok(()));
                    // What nobody was told of is lost.
                    for first in first..first + 4 {
                        assert_eq!(write(&mut drive, first..first + 1, &mut Fill(255)), Ok(()));
                    }
                    drive.cut(&CutPolicy::NoneSurvive.into());
                    drive.restore(None).expect("recovered");
                    for block in first..first + 4 {
                        assert_eq!(shown(&mut drive, block), versions[usize::try_from(block).unwrap()], "seed {seed}");
                    }
                }
                // A block fails now and then, for which there is another one.
                4 if step > 1_500 * (failures + 1) => {
                    failures += 1;
                    drive.fail_program(1 + random.below(3));
                }
                _ => {
                    assert_eq!(write(&mut drive, range, &mut Fill(byte)), Ok(()));
                    versions[touched].fill(byte);
                }
            }
            idle(&mut drive);
            check_memory(&mut drive, &format!("seed {seed} step {step}"));
        }
        for (block, version) in (0..).zip(&versions) {
            assert_eq!(shown(&mut drive, block), *version, "seed {seed} block {block}");
        }
        drive.ftl().assert_invariants();
    }
}

#[test]
fn sixteen_mebibytes_written_again_and_again_take_the_memory_of_once() {
    let geometry = media::geometry::GeometryConfig { user_bytes: 1 << 30, pages_per_block: 16, ..Default::default() };
    let config = config(geometry, 0);
    let mut drive =
        Ssd::create(config.clone(), MemoryStore::new(&config.checked().expect("possible")).expect("memory"))
            .expect("a drive");
    for _ in 0..64 {
        for first in (0..(16 << 20) / BLOCK as u64).step_by(32) {
            assert_eq!(write(&mut drive, first..first + 32, &mut Fill(1)), Ok(()));
        }
        check_memory(&mut drive, "after a round");
    }
}

#[test]
fn a_drive_with_less_memory_than_room_refuses_what_does_not_fit_and_goes_on() {
    let config = config(small::geometry(BLOCK_BYTES), 0);
    let geometry = config.checked().expect("possible");
    let least = config.memory_min().expect("possible");
    let most = least + (1 << 20);
    assert!(most < 4 << 20, "the drive could hold more: {most}");
    let mut drive = Ssd::create(config, MemoryStore::limited_to(&geometry, most).expect("memory")).expect("a drive");
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
    assert!(drive.store().units_held().0 * BLOCK <= usize::try_from(most).expect("little"));
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
    // What is in the cache survives where it must, however full memory is.
    let mut next = taken + taken / 4;
    while write(&mut drive, next..next + 1, &mut Fill(98)) == Ok(()) {
        next += 1;
    }
    drive.cut(&CutPolicy::AllSurvive.into());
    drive.restore(None).expect("recovered");
    assert_eq!(shown(&mut drive, next - 1), 98);
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
    let store = MemoryStore::new(&config.checked().expect("possible")).expect("memory").giving_back(spoil);
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
    check_memory(&mut drive, "after most was deallocated");
    let line = drive.ftl().geometry.line_data_bytes;
    let touched = (128 << 20) - GIVEN_BACK.get();
    assert!(touched <= ((8 << 20) + 3 * line) * 5 / 4, "{touched} bytes are still there");
    for block in (0..blocks / 2).step_by(8) {
        assert_eq!((shown(&mut drive, block), shown(&mut drive, block + 1)), (1, 0));
    }
    for first in (0..blocks).step_by(8) {
        assert_eq!(write(&mut drive, first..first + 8, &mut Fill(2)), Ok(()));
    }
    assert!((0..blocks).all(|block| shown(&mut drive, block) == 2));
}
