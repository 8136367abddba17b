//! Blocks that fail one after the other until there is no line left to write to: the drive then takes nothing more, says so, and keeps
//! what it promised, whatever happens to it afterwards.
//!
//! `MEDIA_SEED=n` and `MEDIA_CASES=n` as elsewhere.

use media::geometry::GeometryConfig;
use media::power::{CutPolicy, Random};
use media::ssd::{CacheConfig, Ssd, SsdConfig, VolumeConfig};
use media::store::MemoryStore;
use media::testing::{Bytes, Fill};
use media::volume::{Media, MediaError, Outcome, Request, Submitted, Token, VolumeId};
use media::{Lba, LbaRange, Nanoseconds};

const BLOCK: usize = 4096;
const BLOCKS: u64 = 256;

/// Lines of 32 units, and twice as many as the user's space takes.
fn config(random: &mut Random) -> SsdConfig {
    SsdConfig {
        geometry: GeometryConfig {
            channels: 1,
            dies_per_channel: 1,
            planes_per_die: 2,
            pages_per_block: if random.below(2) == 0 { 16 } else { 4 },
            page_bytes: 4096,
            user_bytes: BLOCKS * BLOCK as u64,
            spare_per_million_of_user: 1_000_000,
            ..GeometryConfig::default()
        },
        volumes: vec![VolumeConfig::new(4096, 0, BLOCKS)],
        cache: CacheConfig { bytes: BLOCK as u64 * random.below(20), ..CacheConfig::default() },
        tuning: media::config::Tuning {
            reserve_lines: 4,
            journal_entries: 128,
            checkpoint_units: 50 + random.below(1000),
            ..media::config::Tuning::default()
        },
        power_atomic_bytes: 3 * 4096,
        ..SsdConfig::default()
    }
}

/// A drive, and what each of its blocks may show: what was promised last, and everything since.
struct Story {
    ssd: Ssd<MemoryStore>,
    versions: Vec<Vec<u8>>,
    writes: u8,
    refused: u32,
}

impl Story {
    fn submit(&mut self, request: Request<'_>) -> Outcome {
        match self.ssd.submit(Nanoseconds(0), Token(1), VolumeId(0), request) {
            Submitted::Done(outcome) => outcome,
            Submitted::Pending => panic!("nothing waits here"),
        }
    }

    fn change(&mut self, range: LbaRange, deallocate: bool, force: bool) {
        self.writes = self.writes % 250 + 1;
        let (value, ended) = if deallocate {
            (0, self.submit(Request::Deallocate { ranges: &[range] }))
        } else {
            (self.writes, self.submit(Request::Write { range, from: &mut Fill(self.writes), force }))
        };
        assert!(matches!(ended, Ok(()) | Err(MediaError::WriteFailed { .. })), "{ended:?}");
        let blocks = usize::try_from(range.start.0).unwrap()..usize::try_from(range.start.0 + range.blocks).unwrap();
        // Looked at where something failed, and now and then.
        let shown = (ended.is_err() || self.writes.is_multiple_of(8)).then(|| self.shown());
        for lba in blocks {
            // What was accepted and could not be promised may be there; what was not accepted is not.
            let there = |shown: &Vec<u8>| force && shown[lba] == value && self.versions[lba].last() != Some(&value);
            if ended.is_ok() || shown.as_ref().is_some_and(there) {
                self.versions[lba].push(value);
            }
            if ended.is_ok() && force && !deallocate {
                self.versions[lba] = vec![value];
            }
        }
        self.refused += u32::from(ended.is_err());
        if let Some(shown) = shown {
            self.check_last(&shown);
        }
    }

    fn flush(&mut self) {
        match self.submit(Request::Flush) {
            Ok(()) => self.promise(),
            Err(error) => {
                assert!(matches!(error, MediaError::WriteFailed { .. }), "{error:?}");
                assert!(self.ssd.status().read_only, "only a drive that takes nothing more breaks off a flush");
                self.refused += 1;
            }
        }
    }

    fn promise(&mut self) {
        for versions in &mut self.versions {
            versions.drain(..versions.len() - 1);
        }
    }

    fn shown(&mut self) -> Vec<u8> {
        let mut bytes = Bytes(vec![0xaa; usize::try_from(BLOCKS).unwrap() * BLOCK]);
        let range = LbaRange::new(Lba(0), BLOCKS);
        assert_eq!(self.submit(Request::Read { range, into: &mut bytes, force: false }), Ok(()));
        let value = |block: &[u8]| {
            assert!(block == vec![block[0]; BLOCK], "a torn block");
            block[0]
        };
        bytes.0.chunks(BLOCK).map(value).collect()
    }

    fn check_last(&self, shown: &[u8]) {
        for (lba, (shown, versions)) in shown.iter().zip(&self.versions).enumerate() {
            assert_eq!(Some(shown), versions.last(), "block {lba} of {versions:?}");
        }
    }

    /// After power was gone.
    fn check_any(&mut self) {
        self.ssd.ftl().assert_invariants();
        let shown = self.shown();
        for (lba, (shown, versions)) in shown.iter().zip(&mut self.versions).enumerate() {
            assert!(versions.contains(shown), "block {lba} shows {shown}, allowed are {versions:?}");
            *versions = vec![*shown];
        }
    }

    fn work(&mut self, random: &mut Random, requests: u64) {
        for _ in 0..requests {
            let lba = random.below(BLOCKS - 4);
            let range = LbaRange::new(Lba(lba), 1 + random.below(4));
            match random.below(16) {
                0 => self.flush(),
                1 => self.change(range, true, false),
                2 => self.change(range, false, true),
                _ => self.change(range, false, false),
            }
        }
    }
}

/// Returns whether the drive took nothing more in the end.
fn run(seed: u64) -> bool {
    let mut random = Random::new(seed);
    let config = config(&mut random);
    let ssd = Ssd::create(config.clone(), MemoryStore::new(&config.checked().unwrap()).unwrap()).unwrap();
    let mut story = Story { ssd, versions: vec![vec![0]; 256], writes: 0, refused: 0 };
    for lba in 0..BLOCKS {
        story.change(LbaRange::new(Lba(lba), 1), false, false);
    }
    let before = random.below(600);
    story.work(&mut random, before);
    let (first, gap) = (1 + random.below(20), 1 + random.below(2));
    for n in 0..3 + random.below(12) {
        story.ssd.fail_program(first + n * gap);
    }
    story.work(&mut random, 150);
    let status = story.ssd.status();
    let (read_only, spare) = (status.read_only, status.available_spare_percent);
    // A write is refused as well where one line after the other fails under it, and the next one finds room again.
    let few = u64::from(story.refused) < status.counters.program_failures;
    assert!(read_only || spare == 0 || story.refused == 0 || few, "a drive refuses that has room: {status:?}");
    story.ssd.ftl().assert_invariants();
    match random.below(4) {
        0 => {
            let report = story.ssd.cut(&CutPolicy::AllSurvive.into());
            if report.entries.iter().all(media::power::VolatileEntry::survives) {
                story.promise();
            }
            story.ssd.restore(None).unwrap();
        }
        1 => {
            story.ssd.cut(&CutPolicy::Random(seed).into());
            story.ssd.restore(None).unwrap();
        }
        2 => {
            story.ssd.cut(&CutPolicy::NoneSurvive.into());
            story.ssd.restore(None).unwrap();
        }
        _ => {
            story.ssd.shutdown();
            story.ssd = Ssd::open(config, story.ssd.into_store()).unwrap();
            if story.ssd.status().recovery.clean {
                story.promise();
            }
        }
    }
    story.check_any();
    story.work(&mut random, 100);
    story.ssd.ftl().assert_invariants();
    read_only
}

#[test]
fn a_drive_whose_blocks_fail_until_no_line_is_left_takes_nothing_more_and_keeps_its_promises() {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match variable("MEDIA_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("MEDIA_CASES").unwrap_or(150),
    };
    let mut read_only = 0;
    for seed in seeds.clone() {
        println!("MEDIA_SEED={seed}");
        read_only += u32::from(run(seed));
    }
    println!("{read_only} took nothing more");
    assert!(seeds.end - seeds.start < 100 || read_only > 0, "no drive came to its end");
}
