//! Small drives over a disk that forgets, from consecutive seeds, through one loss after the other: all of them keep their promises, and
//! whatever ordering is left out, one of them does not. `ORDER=name` leaves out one alone, `SEED=n` runs one seed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::lines::Lines;
use super::{Order, leave_out};
use crate::config::Tuning;
use crate::geometry::GeometryConfig;
use crate::power::{Cut, CutPolicy, Random};
use crate::ssd::{CacheConfig, Ssd, SsdConfig, VolumeConfig};
use crate::store::disk::Disk;
use crate::store::{Caching, ImageStore, Store, TwinDisk};
use crate::testing::Bytes;
use crate::unit::index;
use crate::volume::{Fault, Media, MediaError, Outcome, Request, Source, Submitted, Token, VolumeId};
use crate::{Lba, LbaRange, Nanoseconds};

const BLOCK: usize = 512;
const BLOCKS: u64 = 96;
const UNIT: u32 = 1024;
/// Seeds that keep their promises.
const KEPT: u64 = 400;
/// Seeds within which whatever is left out is found, whatever a later change makes of the random numbers.
const FOUND: u64 = 20_000;

type Drive = Ssd<ImageStore<TwinDisk>>;

/// Few lines of a few units, so that lines are closed, collected, erased and opened again all the time.
fn config(random: &mut Random) -> SsdConfig {
    SsdConfig {
        geometry: GeometryConfig {
            channels: 1,
            dies_per_channel: 1,
            planes_per_die: 1,
            pages_per_block: random.pick(&[4, 4, 8, 32]),
            page_bytes: UNIT,
            unit_bytes: UNIT,
            user_bytes: BLOCKS * BLOCK as u64,
            spare_per_million_of_user: random.pick(&[0, 0, 300_000]),
            ..GeometryConfig::default()
        },
        volumes: vec![VolumeConfig::new(512, 0, BLOCKS)],
        cache: CacheConfig { bytes: u64::from(UNIT) * random.pick(&[1, 4, 16]), ..CacheConfig::default() },
        tuning: Tuning {
            reserve_lines: 4,
            journal_entries: 128,
            checkpoint_units: random.pick(&[8, 30, 100, 1000]),
            ..Tuning::default()
        },
        power_atomic_bytes: UNIT * random.pick(&[1, 3]),
        ..SsdConfig::default()
    }
}

/// Blocks that say of which request they are, and where they belong; of request 0 they are zeroes.
struct Stamp(u64, u64);

fn word(value: u64, lba: u64, at: usize) -> u64 {
    match at {
        _ if value == 0 => 0,
        0 => value,
        _ => value * 31 + lba + at as u64,
    }
}

impl Source for Stamp {
    fn fill(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        for (n, bytes) in into.chunks_exact_mut(8).enumerate() {
            let byte = offset + n * 8;
            bytes.copy_from_slice(&word(self.0, self.1 + (byte / BLOCK) as u64, byte % BLOCK).to_le_bytes());
        }
        Ok(())
    }
}

/// What a block may show, oldest first: at least the first.
#[derive(Clone, Debug)]
struct Block {
    running: Vec<u64>,
    /// After a loss of what was not promised.
    promised: Vec<u64>,
}

impl Block {
    fn of(value: u64) -> Self {
        Self { running: vec![value], promised: vec![value] }
    }
}

/// What is special about some histories. A third of them have nothing special.
#[derive(Clone, Copy)]
enum Kind {
    /// The disk has errors at times, and power is cut within the process.
    Errors,
    /// Their lives are short, so that one recovery meets what the one before left.
    Hurry,
}

impl Kind {
    const COUNT: u64 = 3;

    const fn is_of(self, seed: u64) -> bool {
        seed % Self::COUNT == self as u64
    }

    /// What a history must be so that it tells whether an ordering is kept, if it is not in all of them.
    const fn of(order: Order) -> Option<Self> {
        match order {
            Order::TakenAfterSync => Some(Self::Errors),
            Order::ProgramAfterRecovery => Some(Self::Hurry),
            _ => None,
        }
    }
}

struct History {
    random: Random,
    config: SsdConfig,
    caching: Caching,
    drive: Drive,
    blocks: Vec<Block>,
    value: u64,
    /// What is written and deallocated lies before this block.
    hot: u64,
    errors: bool,
    hurries: bool,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let config = config(&mut random);
        let geometry = config.checked().expect("a legal drive");
        let mut store = ImageStore::create(&geometry, 1 << 20, TwinDisk::new(seed)).expect("there is memory");
        let caching = Caching { cache_bytes: 0, kept_lines: index(random.below(2)) };
        store.set_caching(caching);
        store.extend().expect("there is room");
        let drive = Ssd::create(config.clone(), store).expect("a drive");
        let hot = random.pick(&[8, 24, BLOCKS]);
        let (errors, hurries) = (Kind::Errors.is_of(seed), Kind::Hurry.is_of(seed));
        let blocks = vec![Block::of(0); index(BLOCKS)];
        let mut history = Self { random, config, caching, drive, blocks, value: 0, hot, errors, hurries };
        if history.random.below(2) == 0 {
            history.flush();
        } else {
            history.settle_by_itself();
        }
        history
    }

    /// Waits until the disk has nothing left to do.
    fn settle_by_itself(&mut self) {
        let ticket = self.drive.store().notice();
        self.settle(ticket);
    }

    fn submit(&mut self, request: Request<'_>) -> Outcome {
        let mut ended = match self.drive.submit(Nanoseconds(0), Token(1), VolumeId(0), request) {
            Submitted::Done(outcome) => Some(outcome),
            Submitted::Pending => None,
        };
        let mut polls = 0;
        while ended.is_none() {
            self.drive.poll(Nanoseconds(0), &mut |_, outcome| ended = Some(outcome));
            polls += 1;
            assert!(polls < 100_000, "a request never ended");
        }
        let outcome = ended.expect("it ended");
        let told = [Ok(()), Err(MediaError::NoSpace), Err(MediaError::NotStored)];
        assert!(outcome.is_ok() || (self.errors && told.contains(&outcome)), "{outcome:?}");
        outcome
    }

    fn range(&mut self, most: u64) -> LbaRange {
        let blocks = 1 + self.random.below(most.min(self.hot));
        LbaRange::new(Lba(self.random.below(self.hot - blocks + 1)), blocks)
    }

    fn changed(&mut self, range: LbaRange, value: u64, ended: Outcome, forced: bool) {
        for block in &mut self.blocks[index(range.start.0)..index(range.start.0 + range.blocks)] {
            if ended.is_ok() {
                block.running.clear();
            }
            if ended.is_ok() && forced {
                block.promised.clear();
            }
            block.running.push(value);
            block.promised.push(value);
        }
    }

    fn write(&mut self) {
        self.value += 1;
        let (value, range, force) = (self.value, self.range(6), self.random.below(8) == 0);
        let ended = self.submit(Request::Write { range, from: &mut Stamp(value, range.start.0), force });
        self.changed(range, value, ended, force);
    }

    fn deallocate(&mut self) {
        let range = self.range(24);
        let ended = self.submit(Request::Deallocate { ranges: &[range] });
        self.changed(range, 0, ended, false);
    }

    fn flush(&mut self) {
        if self.submit(Request::Flush).is_ok() {
            self.promise();
        }
    }

    /// What is there is promised.
    fn promise(&mut self) {
        self.blocks.iter_mut().for_each(|block| block.promised.clone_from(&block.running));
    }

    /// Waits until the store has done what a ticket stands for.
    fn settle(&mut self, ticket: u64) {
        let done = (0..100_000).any(|_| self.drive.synced(ticket).expect("a sound disk"));
        assert!(done, "it never got to the disk");
    }

    fn fail_at_times(&mut self) {
        let (seed, per_mille) = (self.random.draw(), 20 + self.random.below(400));
        self.drive.store().disk().set_errors(Some((seed, per_mille)));
    }

    /// Every block is read, and shows what it may; that is what it holds from now on.
    fn look(&mut self, legal: fn(&mut Block) -> &mut Vec<u64>) {
        for lba in 0..BLOCKS {
            let mut bytes = Bytes(vec![0; BLOCK]);
            let range = LbaRange::new(Lba(lba), 1);
            assert_eq!(self.submit(Request::Read { range, into: &mut bytes, force: false }), Ok(()), "block {lba}");
            let value = u64::from_le_bytes(bytes.0[..8].try_into().expect("eight bytes"));
            let mut whole = vec![0; BLOCK];
            Stamp(value, lba).fill(0, &mut whole).expect("it can be made");
            let loss = self.drive.store().disk().loss();
            assert!(bytes.0 == whole, "block {lba} is torn, of {value}; the host left\n{loss}");
            let legal = legal(&mut self.blocks[index(lba)]);
            assert!(legal.contains(&value), "block {lba} shows {value}, of {legal:?}; the host left\n{loss}");
            *legal = vec![value];
        }
    }

    /// The host or the process dies, and the drive is opened again.
    fn die(&mut self, host: bool) {
        if self.random.below(2) == 0 {
            self.ask();
        }
        let (seed, disk) = (self.random.draw(), self.drive.store().disk());
        if host {
            disk.fail(seed);
        } else {
            disk.kill(seed);
        }
        disk.set_errors(None);
        let disk = self.drive.store().take().disk().take();
        let length = disk.length();
        let geometry = self.config.checked().expect("a legal drive");
        let mut store = ImageStore::open_whole(&geometry, disk, length).expect("it is whole");
        store.set_caching(self.caching);
        self.drive = Ssd::open(self.config.clone(), store).expect("it opens");
        self.drive.ftl().assert_invariants();
        self.look(|block| &mut block.promised);
        self.blocks.iter_mut().for_each(|block| block.running.clone_from(&block.promised));
    }

    /// Asks for a flush, and does not wait for it.
    fn ask(&mut self) {
        if self.drive.submit(Nanoseconds(0), Token(2), VolumeId(0), Request::Flush) == Submitted::Done(Ok(())) {
            self.promise();
        }
    }

    /// Power goes and comes back within the process; what survived is durable some time later.
    fn cut(&mut self) {
        self.drive.cut(&Cut::from(CutPolicy::AllSurvive));
        if !self.errors && self.random.below(2) == 0 {
            self.settle_by_itself();
            self.promise();
            return self.die(true);
        }
        if self.errors {
            self.fail_at_times();
        }
        self.drive.restore(None).expect("nothing that is read fails");
        for _ in 0..4 {
            self.look(|block| &mut block.running);
            // The disk goes on, well or not.
            let _ = self.drive.store().synced();
        }
    }

    /// The drive is shut down, or given its format again, and when that is over the host dies.
    fn end_in_order(&mut self) {
        if self.random.below(2) == 0 {
            let ticket = self.drive.shutdown();
            self.settle(ticket);
        } else {
            let ticket = self.drive.reformat(VolumeId(0), 512, 0).expect("a legal format");
            self.settle(ticket);
            self.blocks.fill(Block::of(0));
        }
        self.promise();
        self.die(true);
    }

    fn live(&mut self) {
        let most = if self.hurries { 3 } else { self.random.pick(&[2, 8, 60]) };
        for _ in 0..=self.random.below(most) {
            match self.random.below(40) {
                0..3 if self.errors => self.fail_at_times(),
                3 => self.drive.store().disk().set_errors(None),
                4..6 if self.errors => self.cut(),
                6 if self.random.below(4) == 0 => self.cut(),
                7..10 => self.flush(),
                10..14 => self.deallocate(),
                _ => self.write(),
            }
        }
        match self.random.below(12) {
            0 if !self.errors => self.end_in_order(),
            1 | 2 => self.die(false),
            _ => self.die(true),
        }
    }
}

/// What a drive did wrong, if it did.
fn attempt(order: Option<Order>, seed: u64) -> Result<(), String> {
    leave_out(order);
    let ended = catch_unwind(AssertUnwindSafe(|| {
        (0..8).for_each(|number| Lines::live(8 * seed + number));
        let mut history = History::new(seed);
        (0..if history.hurries { 40 } else { 12 }).for_each(|_| history.live());
    }));
    leave_out(None);
    ended.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
    })
}

fn seeds(most: u64) -> std::ops::Range<u64> {
    let given = std::env::var("SEED").ok().map(|text| text.parse().expect("SEED is a number"));
    given.map_or(0..most, |seed| seed..seed + 1)
}

#[test]
fn no_drive_breaks_a_promise_whatever_the_host_left_of_it() {
    for seed in seeds(KEPT) {
        attempt(None, seed).unwrap_or_else(|what| panic!("SEED={seed}: {what}"));
    }
}

#[test]
fn whatever_ordering_is_left_out_some_drive_breaks_a_promise() {
    let wanted = std::env::var("ORDER").ok();
    let mut missed = Vec::new();
    std::panic::set_hook(Box::new(|_| {}));
    for &order in Order::ALL.iter().filter(|order| wanted.as_ref().is_none_or(|name| name == order.name())) {
        let mut tell = seeds(FOUND).filter(|&seed| Kind::of(order).is_none_or(|kind| kind.is_of(seed)));
        let found = tell.find_map(|seed| attempt(Some(order), seed).err().map(|what| (seed, what)));
        match found {
            Some((seed, what)) => {
                println!("{:24} SEED={seed}: {}", order.name(), what.lines().next().unwrap_or_default());
            }
            None => missed.push(order.name()),
        }
    }
    drop(std::panic::take_hook());
    assert!(missed.is_empty(), "not found: {missed:?}");
}
