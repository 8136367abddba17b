//! A drive whose flush of one volume leaves what was written to others volatile: what may then survive is counted and made, and all of it
//! is what the contract allows.

mod small;

use std::collections::BTreeSet;

use media::power::{Cut, Random};
use media::ssd::{CacheConfig, Ssd, SsdConfig, VolumeConfig};
use media::store::{MemoryStore, Store};
use media::testing::{Bytes, Fill};
use media::volume::{Media, Request, Submitted, Token, VolumeId};
use media::{Lba, LbaRange, Nanoseconds};

const BLOCK: usize = 4096;
/// Blocks of each volume that histories work on.
const BLOCKS: u64 = 6;
const A: u32 = 0;
const B: u32 = 1;

/// The volume, and what is done to it: first block, blocks.
#[derive(Clone, Copy, Debug)]
enum Op {
    Write(u32, u64, u64),
    Forced(u32, u64, u64),
    Deallocate(u32, u64, u64),
    Flush(u32),
    FlushAll,
    ForcedRead(u32),
}
use Op::{Deallocate, Flush, FlushAll, Forced, ForcedRead, Write};

fn drive(unit_bytes: u32, flush_apart: bool) -> Ssd<MemoryStore> {
    let forgets_nothing = CacheConfig { age_max: Nanoseconds(u64::MAX), ..CacheConfig::default() };
    let config = SsdConfig {
        geometry: small::geometry(unit_bytes),
        volumes: vec![VolumeConfig::new(4096, 0, 256), VolumeConfig::new(4096, 0, 256)],
        cache: CacheConfig { open_units: 0, flush_apart, ..forgets_nothing },
        power_atomic_bytes: 3 * 4096,
        ..SsdConfig::default()
    };
    let store = MemoryStore::new(&config.checked().expect("legal")).expect("memory");
    Ssd::create(config, store).expect("a drive")
}

fn submit<S: Store>(ssd: &mut Ssd<S>, volume: u32, request: Request<'_>) {
    assert_eq!(ssd.submit(Nanoseconds(0), Token(1), VolumeId(volume), request), Submitted::Done(Ok(())));
}

/// The n-th operation (from 1) writes n.
fn carry_out(ssd: &mut Ssd<MemoryStore>, history: &[Op]) {
    for (number, op) in (1_u64..).zip(history) {
        let byte = u8::try_from(number % 256).expect("a byte");
        let range = |lba, blocks| LbaRange::new(Lba(lba), blocks);
        match *op {
            Write(volume, lba, blocks) => {
                submit(ssd, volume, Request::Write { range: range(lba, blocks), from: &mut Fill(byte), force: false });
            }
            Forced(volume, lba, blocks) => {
                submit(ssd, volume, Request::Write { range: range(lba, blocks), from: &mut Fill(byte), force: true });
            }
            Deallocate(volume, lba, blocks) => {
                submit(ssd, volume, Request::Deallocate { ranges: &[range(lba, blocks)] });
            }
            Flush(volume) => submit(ssd, volume, Request::Flush),
            FlushAll => submit(ssd, A, Request::FlushAll),
            ForcedRead(volume) => {
                let mut into = Bytes(vec![0; BLOCK]);
                submit(ssd, volume, Request::Read { range: range(0, 1), into: &mut into, force: true });
            }
        }
        ssd.ftl().assert_invariants();
    }
}

/// What each block of both volumes shows.
fn contents<S: Store>(ssd: &mut Ssd<S>) -> Vec<u8> {
    let mut all = Vec::new();
    for volume in [A, B] {
        let mut bytes = Bytes(vec![0; usize::try_from(BLOCKS).expect("few") * BLOCK]);
        submit(ssd, volume, Request::Read { range: LbaRange::new(Lba(0), BLOCKS), into: &mut bytes, force: false });
        all.extend(bytes.0.chunks(BLOCK).map(|block| block[0]));
    }
    all
}

/// Which states there are, and what they show.
fn states(ssd: Ssd<MemoryStore>) -> (u128, BTreeSet<Vec<u8>>) {
    let images = ssd.into_images(&Cut::default(), 0, 0);
    (images.states(), images.map(|image| contents(&mut image.expect("it recovers").drive)).collect())
}

/// A history, and how many states its end has: with flushes of all, and with flushes apart.
const HISTORIES: &[(&[Op], u128, u128)] = &[
    (&[Write(B, 0, 1), Write(B, 1, 1), Write(A, 0, 1), Flush(A)], 1, 4),
    (&[Write(A, 0, 1), Write(B, 0, 3), Flush(A), Write(A, 1, 1)], 2, 4),
    (&[Write(B, 0, 1), Flush(A)], 1, 2),
    (&[Write(B, 0, 1), Write(A, 0, 1), FlushAll], 1, 1),
    (&[Write(B, 0, 1), Write(A, 0, 1), Flush(A), Flush(B)], 1, 1),
    (&[Write(B, 0, 1), Write(A, 0, 1), ForcedRead(A)], 1, 2),
    // A forced write covers itself, and what it lies over.
    (&[Write(A, 0, 1), Write(A, 1, 1), Forced(A, 1, 1)], 1, 2),
    (&[Write(A, 0, 2), Write(A, 1, 2), Write(A, 4, 1), Forced(A, 2, 1)], 1, 2),
    // Of a write that is not kept together, those blocks become durable that a forced write lies over.
    (&[Write(A, 0, 5), Forced(A, 4, 1)], 1, 2),
    // A deallocation does not stay volatile, nor what it lies over.
    (&[Write(B, 0, 1), Write(B, 1, 1), Deallocate(B, 1, 1), Write(B, 1, 1), Write(A, 0, 1), Flush(A)], 1, 4),
    // The same blocks again and again.
    (&[Write(B, 0, 1), Write(B, 0, 1), Write(A, 0, 1), Flush(A), Write(B, 0, 1), Flush(A)], 1, 8),
];

#[test]
fn a_flush_of_a_volume_and_a_forced_write_leave_everything_else_volatile() {
    for &(history, together, apart) in HISTORIES {
        for (flush_apart, expected) in [(false, together), (true, apart)] {
            let mut ssd = drive(4096, flush_apart);
            carry_out(&mut ssd, history);
            let (states, shown) = states(ssd);
            assert_eq!(states, expected, "{history:?}, apart: {flush_apart}");
            // What nothing lies over shows whether it survived.
            assert!(shown.len() as u128 <= states && shown.len() > usize::from(states > 1), "{history:?}: {shown:?}");
        }
    }
}

/// Changes of a volume from some number on, which may survive or not; those before are there.
fn allowed(history: &[Op], volume: u32, lba: u64) -> BTreeSet<u8> {
    let mut values = BTreeSet::from([0]);
    let mut volatile = BTreeSet::new();
    for (number, op) in (1..).zip(history) {
        let (value, covers, durable) = match *op {
            Write(of, first, blocks) => (number, of == volume && (first..first + blocks).contains(&lba), false),
            Forced(of, first, blocks) => (number, of == volume && (first..first + blocks).contains(&lba), true),
            Deallocate(of, first, blocks) => (0, of == volume && (first..first + blocks).contains(&lba), false),
            Flush(of) | ForcedRead(of) if of == volume => {
                values = volatile.iter().next_back().map_or(values, |&(_, value)| BTreeSet::from([value]));
                volatile.clear();
                continue;
            }
            FlushAll => {
                values = volatile.iter().next_back().map_or(values, |&(_, value)| BTreeSet::from([value]));
                volatile.clear();
                continue;
            }
            Flush(_) | ForcedRead(_) => continue,
        };
        if covers && durable {
            (values, volatile) = (BTreeSet::from([value]), BTreeSet::new());
        } else if covers {
            volatile.insert((number, value));
        }
    }
    values.extend(volatile.into_iter().map(|(_, value)| value));
    values
}

/// A thousand changes of two volumes, through many lines: what is left of any of them is what may be.
#[test]
fn however_long_it_goes_on_each_block_is_what_may_be_there() {
    let mut volatile_at_end = 0;
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let mut op = || {
            let (volume, lba, blocks) = ([A, B][random.index(2)], random.below(BLOCKS - 4), 1 + random.below(4));
            match random.below(16) {
                0..=1 => Flush(A),
                2 => Flush(volume),
                3 => Forced(volume, lba, blocks),
                4 => Deallocate(volume, lba, blocks),
                5 => ForcedRead(volume),
                _ => Write(volume, lba, blocks),
            }
        };
        let mut history: Vec<Op> = (0..200).map(|_| op()).collect();
        history.extend([Write(A, 0, 1), Flush(A)]);
        let mut ssd = drive(if seed % 2 == 0 { 4096 } else { 16384 }, true);
        carry_out(&mut ssd, &history);
        let images = ssd.into_images(&Cut::default(), seed, 40);
        volatile_at_end += images.entries().len();
        for image in images.take(40) {
            let shown = contents(&mut image.expect("it recovers").drive);
            for (number, value) in (0..).zip(shown) {
                let (volume, lba) = (u32::from(number >= BLOCKS), number % BLOCKS);
                let allowed = allowed(&history, volume, lba);
                assert!(allowed.contains(&value), "seed {seed}: block {lba} of {volume} is {value}, not {allowed:?}");
            }
        }
    }
    assert!(volatile_at_end > 60, "{volatile_at_end}");
}
