//! F6: how long power needs to come back. Drives of a unit of 4 KiB lie on a disk in memory, as a file does in a warm page cache, and
//! lose power when as much has been written since the last checkpoint as ever is. Power goes and comes back some times, and the least
//! counts: the drive does the same work each time, and whatever is more is the machine's other work.

use std::fmt;

use media::geometry::GeometryConfig;
use media::needs::{Needs, Part};
use media::power::{CutPolicy, Random};
use media::root::Layout;
use media::ssd::SsdConfig;
use media::store::ImageStore;
use media::unit::Nanoseconds;
use serde_json::{Value, json};

use super::drive::{Drive, volume};
use super::sparse::SparseDisk;
use super::{Size, verdict};

const UNIT: u32 = 4 << 10;
/// Units written at once while a drive is filled.
const AT_ONCE: u64 = 256;
const GIB: u64 = 1 << 30;
/// How often power comes back.
const TIMES: u32 = 3;

/// What the caller's clocks show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// The time.
    pub time: Nanoseconds,
    /// The time that processors have spent on this process.
    pub processor: Nanoseconds,
}

/// A drive that loses power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    user_bytes: u64,
    /// From the beginning of the drive; then places in it are overwritten.
    written_bytes: u64,
}

/// How a drive came back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recovered {
    case: Case,
    /// The least time that it took.
    pub time: Nanoseconds,
    /// The least time that a processor spent on it.
    pub processor: Nanoseconds,
    /// Units and deallocations that were repeated over the checkpoint.
    pub replayed: u64,
    /// Lines whose records were read.
    pub lines_scanned: u32,
}

/// What is measured: full drives, and a large one that is nearly empty.
pub fn cases(size: Size) -> Vec<Case> {
    let full = |user_bytes| Case { user_bytes, written_bytes: user_bytes };
    match size {
        Size::Full => {
            let large = Case { user_bytes: 1024 * GIB, written_bytes: GIB };
            [1, 4, 16, 64].map(|gib| full(gib * GIB)).into_iter().chain([large]).collect()
        }
        Size::Coarse => vec![full(GIB / 8)],
    }
}

/// A full drive of any size: a tebibyte takes about 16 GiB of memory and some minutes. [`None`] where no drive has that size.
pub fn full_drive(user_bytes: u64) -> Option<Case> {
    let case = Case { user_bytes, written_bytes: user_bytes };
    (user_bytes >= UNIT.into() && case.config().checked().is_ok()).then_some(case)
}

/// A disk that forgets data keeps a 64th of what is written: records, and pages of the map.
const BYTES_PER_BYTE_KEPT: u64 = 64;

impl Case {
    /// The memory that it takes: beside the drive's, what its disk keeps of each unit that is written.
    ///
    /// # Panics
    /// Never: a case is a possible drive.
    #[must_use]
    pub fn needs(self) -> Needs {
        let geometry = self.config().checked().expect("an experiment's configuration is sound");
        Needs::of_layer(&geometry).with(Part::Data, self.written_bytes / BYTES_PER_BYTE_KEPT)
    }

    /// Fills the drive, overwrites places at random until a checkpoint is due, cuts power, and takes the time of the way back by the
    /// caller's clocks.
    ///
    /// # Panics
    /// If the drive does not come back.
    pub fn run(self, seed: u64, clock: &mut dyn FnMut() -> Moment) -> Recovered {
        let mut drive = self.drive();
        let blocks = self.written_bytes / u64::from(UNIT);
        drive.fill(blocks, AT_ONCE);
        // A checkpoint is taken after as many units as a 32nd of the map, at least 4096.
        let mut random = Random::new(seed);
        for _ in 0..(drive.blocks / 32).max(4096).min(blocks) {
            drive.write(random.below(blocks), 1, false);
        }
        drive.flush();
        let mapped = drive.ssd.status().mapped_units;
        let mut recovered: Option<Recovered> = None;
        for _ in 0..TIMES {
            drive.ssd.cut(&CutPolicy::NoneSurvive.into());
            let begun = clock();
            let report = drive.ssd.restore(None).expect("a drive that lost power comes back");
            let ended = clock();
            assert_eq!(drive.ssd.status().mapped_units, mapped, "everything was durable, and is there");
            let (time, processor) = (since(begun.time, ended.time), since(begun.processor, ended.processor));
            let (replayed, lines_scanned) = (report.replayed, report.lines_scanned);
            let best = recovered.get_or_insert(Recovered { case: self, time, processor, replayed, lines_scanned });
            assert_eq!((best.replayed, best.lines_scanned), (replayed, lines_scanned), "no checkpoint came between");
            (best.time, best.processor) = (best.time.min(time), best.processor.min(processor));
        }
        recovered.expect("power came back")
    }

    fn config(self) -> SsdConfig {
        SsdConfig {
            geometry: GeometryConfig { user_bytes: self.user_bytes, unit_bytes: UNIT, ..GeometryConfig::default() },
            volumes: vec![volume(UNIT, self.user_bytes)],
            ..SsdConfig::default()
        }
    }

    fn drive(self) -> Drive<ImageStore<SparseDisk>> {
        let config = self.config();
        let geometry = config.checked().expect("an experiment's configuration is sound");
        let layout = Layout::of(&geometry, config.tuning.journal_entries);
        Drive::over(
            config,
            ImageStore::create(&geometry, layout.bytes, SparseDisk::default()).expect("an experiment fits memory"),
        )
    }
}

fn since(begun: Nanoseconds, ended: Nanoseconds) -> Nanoseconds {
    Nanoseconds(ended.0.saturating_sub(begun.0))
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes >> 20;
        write!(formatter, "recovery of {} MiB on a drive of {} MiB", mib(self.written_bytes), mib(self.user_bytes))
    }
}

impl Recovered {
    /// The bar: a second, and half a second for each tebibyte written.
    pub fn seconds_max(&self) -> f64 {
        1.0 + 0.5 * self.case.written_bytes as f64 / (1024 * GIB) as f64
    }

    /// Seconds that it took.
    pub fn seconds(&self) -> f64 {
        self.time.0 as f64 / 1e9
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        json!({
            "size": self.case.user_bytes, "written": self.case.written_bytes, "replayed": self.replayed,
            "lines-scanned": self.lines_scanned, "processor-ns": self.processor.0, "time-ns": self.time.0,
            "seconds-max": self.seconds_max(), "kept": self.holds(),
        })
    }

    /// Whether the bar is kept.
    pub fn holds(&self) -> bool {
        self.seconds() <= self.seconds_max()
    }
}

/// The line above some [`Recovered`].
pub const HEAD: &str = "F6  seconds until a drive that lost power is back, unit 4 KiB, from a warm cache: the least of three\n\
    \x20   drive, GiB  written  replayed  lines read  processor  seconds  bar";

impl fmt::Display for Recovered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gib = |bytes: u64| bytes as f64 / GIB as f64;
        let (drive, written) = (gib(self.case.user_bytes), gib(self.case.written_bytes));
        let Self { replayed, lines_scanned, .. } = self;
        let (seconds, seconds_max, kept) = (self.seconds(), self.seconds_max(), verdict(self.holds()));
        let processor = self.processor.0 as f64 / 1e9;
        write!(
            formatter,
            "    {drive:10}  {written:7}  {replayed:8}  {lines_scanned:10}  {processor:9.3}  {seconds:7.3}  \
             at most {seconds_max:.3}: {kept}"
        )
    }
}
