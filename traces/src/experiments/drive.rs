//! The host of all experiments: it submits one request after the other, and where the drive has a timing profile it waits in virtual
//! time until each has ended.

use media::geometry::GeometryConfig;
use media::power::Random;
use media::ssd::{CacheConfig, Ssd, SsdConfig, VolumeConfig};
use media::store::{MemoryStore, Store};
use media::{Fault, Lba, LbaRange, Media, Nanoseconds, Request, Source, Submitted, Token, VolumeId};

use super::hollow::HollowStore;
use media::ledger::Ledger;

/// Fills nothing in: what was staged before, or zeroes, is as good as any data to a drive that nobody reads.
struct Whatever;

impl Source for Whatever {
    fn fill(&mut self, _offset: usize, _into: &mut [u8]) -> Result<(), Fault> {
        Ok(())
    }
}

/// A drive with a volume, and the time of its host.
pub(super) struct Drive<S: Store> {
    pub ssd: Ssd<S>,
    pub blocks: u64,
    pub now: Nanoseconds,
}

impl Drive<HollowStore> {
    /// A drive that forgets data.
    pub fn hollow(config: SsdConfig) -> Self {
        let geometry = config.checked().expect("an experiment's configuration is sound");
        Self::over(config, HollowStore::new(&geometry))
    }
}

impl Drive<MemoryStore> {
    /// A drive in memory.
    pub fn in_memory(config: SsdConfig) -> Self {
        let geometry = config.checked().expect("an experiment's configuration is sound");
        Self::over(config, MemoryStore::new(&geometry).expect("an experiment fits memory"))
    }
}

impl<S: Store> Drive<S> {
    /// A new drive over an empty store.
    pub fn over(config: SsdConfig, store: S) -> Self {
        let ssd = Ssd::create(config, store).expect("an experiment's configuration is sound");
        let blocks = ssd.shape(VolumeId(0)).expect("there is a volume").capacity_blocks;
        Self { ssd, blocks, now: Nanoseconds(0) }
    }

    /// Writes blocks and waits for the outcome.
    pub fn write(&mut self, first: u64, blocks: u64, force: bool) {
        let range = LbaRange::new(Lba(first), blocks);
        self.submit(Request::Write { range, from: &mut Whatever, force });
    }

    /// Makes everything durable.
    pub fn flush(&mut self) {
        self.submit(Request::Flush);
    }

    fn submit(&mut self, request: Request<'_>) {
        let mut ended = match self.ssd.submit(self.now, Token(0), VolumeId(0), request) {
            Submitted::Done(outcome) => Some(outcome),
            Submitted::Pending => None,
        };
        while ended.is_none() {
            self.now = self.now.max(self.ssd.next_event().expect("what is pending has a time"));
            self.ssd.poll(self.now, &mut |_, outcome| ended = Some(outcome));
        }
        assert_eq!(ended, Some(Ok(())), "nothing makes an experiment's request fail");
    }

    /// What has been programmed so far.
    pub fn ledger(&self) -> Ledger {
        let ledger = self.ssd.status().ledger;
        assert!(ledger.balances(), "every byte programmed has a reason: {ledger:?}");
        ledger
    }

    /// Writes every block once, in order, `at_once` of them with each request.
    pub fn fill(&mut self, blocks: u64, at_once: u64) {
        for first in (0..blocks).step_by(usize::try_from(at_once).expect("a request fits the memory")) {
            self.write(first, at_once.min(blocks - first), false);
        }
    }
}

/// Where single blocks are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// Anywhere, all places alike.
    Uniform,
    /// Nine of ten writes go to the first tenth of the space.
    NinetyTen,
}

impl Pattern {
    /// The next place.
    pub fn next(self, random: &mut Random, blocks: u64) -> u64 {
        let hot = blocks / 10;
        match self {
            Self::Uniform => random.below(blocks),
            Self::NinetyTen if random.below(10) != 0 => random.below(hot),
            Self::NinetyTen => hot + random.below(blocks - hot),
        }
    }
}

/// A drive of one die whose unit, page and block are one thing: what is left is lines, and units in them.
pub(super) fn plain(line_units: u32, user_lines: u32, spare_lines: u32) -> SsdConfig {
    const UNIT: u32 = 512;
    let user_bytes = u64::from(line_units) * u64::from(user_lines) * u64::from(UNIT);
    SsdConfig {
        geometry: GeometryConfig {
            channels: 1,
            dies_per_channel: 1,
            planes_per_die: 1,
            pages_per_block: line_units,
            page_bytes: UNIT,
            unit_bytes: UNIT,
            user_bytes,
            // Rounded down, and the drive rounds up to whole lines.
            spare_per_million_of_user: u32::try_from(u64::from(spare_lines) * 1_000_000 / u64::from(user_lines))
                .expect("the spare is of the order of the user's space"),
            replacement_blocks_per_plane: 0,
            factory_bad_blocks: 0,
            metadata_bytes_per_unit: 0,
            volumes_max: 0,
        },
        volumes: vec![volume(UNIT, user_bytes)],
        cache: CacheConfig { bytes: 0, open_units: 0, ..CacheConfig::default() },
        power_atomic_bytes: UNIT,
        ..SsdConfig::default()
    }
}

/// A volume over all of the user's space.
pub(super) fn volume(block_bytes: u32, user_bytes: u64) -> VolumeConfig {
    VolumeConfig::new(block_bytes, 0, user_bytes / u64::from(block_bytes))
}
