//! A host's disk that has errors: of writes, of syncs, told late, of holes; pages that failed are clean afterwards and read as new or old.
//! Whatever happens, what was promised is there after the process or the host is gone, and while neither is.
//!
//! `MEDIA_SEED=n` and `MEDIA_CASES=n` as elsewhere.

use media::geometry::GeometryConfig;
use media::power::{Cut, CutPolicy, Random};
use media::ssd::{CacheConfig, Ssd, SsdConfig, VolumeConfig};
use media::store::{ImageStore, TwinDisk};
use media::testing::Bytes;
use media::volume::{Fault, Media, MediaError, Outcome, Request, Source, Submitted, Token, VolumeId};
use media::{Lba, LbaRange, Nanoseconds};

const BLOCK: usize = 4096;
const BLOCKS: u64 = 128;

type Drive = Ssd<ImageStore<TwinDisk>>;

/// Few small lines, so that lines are closed, collected and erased all the time.
fn config() -> SsdConfig {
    SsdConfig {
        geometry: GeometryConfig {
            channels: 1,
            dies_per_channel: 1,
            planes_per_die: 2,
            pages_per_block: 8,
            page_bytes: 4096,
            unit_bytes: 4096,
            user_bytes: BLOCKS * BLOCK as u64,
            spare_per_million_of_user: 1_000_000,
            ..GeometryConfig::default()
        },
        volumes: vec![VolumeConfig::new(4096, 0, BLOCKS)],
        cache: CacheConfig { bytes: 8 * BLOCK as u64, ..CacheConfig::default() },
        tuning: media::config::Tuning {
            reserve_lines: 4,
            journal_entries: 128,
            checkpoint_units: 100,
            ..media::config::Tuning::default()
        },
        power_atomic_bytes: 4 * 4096,
        ..SsdConfig::default()
    }
}

/// A block that says which request it is of, and where it belongs; of request 0 it is zeroes.
struct Stamp(u64, u64);

impl Source for Stamp {
    fn fill(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        for (n, word) in into.chunks_exact_mut(8).enumerate() {
            let byte = (offset + n * 8) as u64;
            let lba = self.1 + byte / BLOCK as u64;
            let value =
                if byte.is_multiple_of(BLOCK as u64) { self.0 } else { self.0 * 31 + lba + byte % BLOCK as u64 };
            word.copy_from_slice(&value.to_le_bytes());
        }
        Ok(())
    }
}

/// What a block may show: requests in their order, with what they leave (a deallocation leaves 0).
#[derive(Clone, Debug)]
struct Block {
    /// Of a request that ended well, and of later ones that did not: the first is what is there at least.
    running: Vec<(u64, u64)>,
    /// The same after a loss of everything that was not promised.
    promised: Vec<(u64, u64)>,
}

/// What happened before blocks are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Errors,
    /// A power loss in the process.
    Cut,
    Kill,
    /// Of the host.
    Failure,
}

struct History {
    seed: u64,
    random: Random,
    drive: Drive,
    blocks: Vec<Block>,
    order: u64,
    flushes: u64,
    failures: u64,
}

impl History {
    fn new(seed: u64) -> Self {
        let config = config();
        let geometry = config.checked().expect("a legal drive");
        let drive =
            Ssd::create(config, ImageStore::create(&geometry, 4 << 20, TwinDisk::new(seed)).unwrap()).expect("a drive");
        let block = Block { running: vec![(0, 0)], promised: vec![(0, 0)] };
        let blocks = vec![block; usize::try_from(BLOCKS).expect("few")];
        let mut history = Self { seed, random: Random::new(seed), drive, blocks, order: 0, flushes: 0, failures: 0 };
        assert_eq!(history.submit(Request::Flush), Ok(()), "a sound disk");
        history
    }

    fn submit(&mut self, request: Request<'_>) -> Outcome {
        match self.drive.submit(Nanoseconds(0), Token(1), VolumeId(0), request) {
            Submitted::Done(outcome) => outcome,
            Submitted::Pending => {
                let mut ended = None;
                for _ in 0..100_000 {
                    self.drive.poll(Nanoseconds(0), &mut |_, outcome| ended = Some(outcome));
                    if let Some(outcome) = ended {
                        return outcome;
                    }
                }
                panic!("seed {}: a request never ended", self.seed);
            }
        }
    }

    /// A write or a deallocation of a few blocks.
    fn change(&mut self) {
        self.order += 1;
        let (order, blocks) = (self.order, 1 + self.random.below(4));
        let lba = self.random.below(BLOCKS - blocks);
        let (range, force) = (LbaRange::new(Lba(lba), blocks), self.random.below(4) == 0);
        let deallocates = self.random.below(8) == 0;
        let outcome = if deallocates {
            self.submit(Request::Deallocate { ranges: &[range] })
        } else {
            self.submit(Request::Write { range, from: &mut Stamp(order, lba), force })
        };
        let change = (order, if deallocates { 0 } else { order });
        for block in &mut self.blocks[usize::try_from(lba).expect("few")..][..usize::try_from(blocks).expect("few")] {
            if outcome.is_ok() {
                block.running.clear();
            }
            block.running.push(change);
            if outcome.is_ok() && force && !deallocates {
                block.promised.clear();
            }
            block.promised.push(change);
        }
        self.note(outcome);
    }

    fn note(&mut self, outcome: Outcome) {
        let expected = [Ok(()), Err(MediaError::NoSpace), Err(MediaError::NotStored)];
        assert!(expected.contains(&outcome), "seed {}: {outcome:?}", self.seed);
        self.failures += u64::from(outcome.is_err());
    }

    fn flush(&mut self) {
        let outcome = self.submit(Request::Flush);
        if outcome.is_ok() {
            self.flushes += 1;
            for block in &mut self.blocks {
                block.promised.clone_from(&block.running);
            }
        }
        self.note(outcome);
    }

    /// Reads every block; each shows what it may, and from then on that is what it holds.
    fn look(&mut self, after: After) {
        for lba in 0..BLOCKS {
            let mut bytes = Bytes(vec![0; BLOCK]);
            let range = LbaRange::new(Lba(lba), 1);
            let read = self.submit(Request::Read { range, into: &mut bytes, force: false });
            assert_eq!(read, Ok(()), "seed {}: block {lba} after {after:?}", self.seed);
            let value = u64::from_le_bytes(bytes.0[..8].try_into().expect("eight bytes"));
            let mut whole = vec![0; BLOCK];
            if value != 0 {
                Stamp(value, lba).fill(0, &mut whole).expect("it can be made");
            }
            assert!(bytes.0 == whole, "seed {}: block {lba} after {after:?} is torn, of {value}", self.seed);
            let block = &mut self.blocks[usize::try_from(lba).expect("few")];
            let legal = if after == After::Errors { &block.running } else { &block.promised };
            let Some(shown) = legal.iter().rev().find(|change| change.1 == value).copied() else {
                panic!("seed {}: block {lba} after {after:?} shows {value}, and may show {legal:?}", self.seed);
            };
            match after {
                After::Errors => {}
                After::Cut => block.running = vec![shown],
                After::Kill | After::Failure => *block = Block { running: vec![shown], promised: vec![shown] },
            }
        }
    }

    /// Power goes and comes back within the process, perhaps while the disk fails: nothing that was handed to it is lost.
    fn cut_in_process(&mut self) {
        self.drive.cut(&Cut::from(CutPolicy::AllSurvive));
        self.drive.restore(None).expect("nothing that is read fails");
        self.look(After::Cut);
    }

    /// The process dies, or the host does, and the drive is opened again.
    fn die(&mut self) {
        let (kills, seed) = (self.random.below(2) == 0, self.random.draw());
        let disk = self.drive.store().disk();
        if kills {
            disk.kill(seed);
        } else {
            disk.fail(seed);
        }
        disk.set_errors(None);
        let mut store = media::store::Store::take(self.drive.store());
        store.disk().set_errors(None);
        self.drive = Ssd::open(config(), store).unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        self.drive.ftl().assert_invariants();
        self.look(if kills { After::Kill } else { After::Failure });
    }

    fn run(&mut self) {
        for _ in 0..2 {
            for _ in 0..120 {
                match self.random.below(40) {
                    0..2 => {
                        let (seed, per_mille) = (self.random.draw(), 20 + self.random.below(400));
                        self.drive.store().disk().set_errors(Some((seed, per_mille)));
                    }
                    2 => self.drive.store().disk().set_errors(None),
                    3..7 => self.flush(),
                    7 => self.look(After::Errors),
                    8 if self.random.below(4) == 0 => self.cut_in_process(),
                    _ => self.change(),
                }
            }
            self.die();
        }
    }
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn no_error_of_the_disk_loses_what_was_promised() {
    let (seed, cases) = (variable("MEDIA_SEED", 1), variable("MEDIA_CASES", 600));
    println!("MEDIA_SEED={seed} MEDIA_CASES={cases}");
    let (mut flushes, mut failures) = (0, 0);
    for case in 0..cases {
        let mut history = History::new(seed + case);
        history.run();
        flushes += history.flushes;
        failures += history.failures;
    }
    println!("{flushes} flushes succeeded, {failures} requests failed");
    assert!(flushes > cases && failures > cases, "the disk failed, and not always");
}
