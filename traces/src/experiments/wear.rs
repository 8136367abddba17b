//! F7: how evenly lines are erased when nine of ten writes go to a tenth of the space, and what evenness costs.

use std::fmt;

use media::config::Tuning;
use media::ledger::EraseCounts;
use media::power::Random;
use serde_json::{Value, json};

use super::drive::{Drive, Pattern, plain};
use super::{Size, verdict};

/// Writes beyond those without levelling that levelling may cost, in percent.
const EXTRA_MAX: f64 = 2.0;

/// A run with or without levelling: a measurement that stands by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    levelling: bool,
    line_units: u32,
    user_lines: u32,
    drive_writes: u64,
}

/// What a run left behind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Worn {
    /// How often lines were erased.
    pub erases: EraseCounts,
    /// Bytes programmed for each byte written.
    pub amplification: f64,
}

/// What is measured: with levelling and without.
pub fn cases(size: Size) -> [Case; 2] {
    let (line_units, user_lines, drive_writes) = match size {
        Size::Full => (256, 256, 100),
        Size::Coarse => (32, 64, 20),
    };
    [true, false].map(|levelling| Case { levelling, line_units, user_lines, drive_writes })
}

impl Case {
    /// Fills a drive and overwrites it as often as the case says.
    pub fn run(&self, seed: u64) -> Worn {
        let default = Tuning::default();
        let tuning = if self.levelling { default } else { Tuning { wear_gap: u32::MAX / 2, ..default } };
        let mut config = plain(self.line_units, self.user_lines, self.user_lines / 8 + tuning.reserve_lines);
        config.tuning = tuning;
        let mut drive = Drive::hollow(config);
        let mut random = Random::new(seed);
        drive.fill(drive.blocks, 1);
        let before = drive.ledger();
        for _ in 0..self.drive_writes * drive.blocks {
            drive.write(Pattern::NinetyTen.next(&mut random, drive.blocks), 1, false);
        }
        let amplification = drive.ledger().since(&before).amplification(false);
        Worn { erases: drive.ssd.status().erase_counts, amplification }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} drive writes, {} levelling",
            self.drive_writes,
            if self.levelling { "with" } else { "without" }
        )
    }
}

/// A drive that levels wear beside one that does not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    size: Size,
    levelled: Worn,
    plain: Worn,
}

impl Comparison {
    /// Of the results of both [`cases`] of a size.
    pub const fn new(size: Size, [levelled, plain]: [Worn; 2]) -> Self {
        Self { size, levelled, plain }
    }

    /// Both drives, for programs. Of a coarse run, `kept` is null.
    pub fn json(&self) -> Value {
        let worn = |worn: &Worn| {
            let (erases, mean) = (worn.erases, worn.mean());
            json!({ "fewest": erases.least, "most": erases.most, "mean": mean, "write-amplification": worn.amplification })
        };
        let kept = (self.size == Size::Full).then(|| self.keeps());
        json!({
            "levelled": worn(&self.levelled), "plain": worn(&self.plain), "spread-max": self.levelled.spread_max(),
            "kept": kept,
        })
    }

    /// Whether the bars are kept. A coarse run has none.
    pub fn holds(&self) -> bool {
        self.size == Size::Coarse || self.keeps()
    }

    fn keeps(&self) -> bool {
        f64::from(self.levelled.spread()) <= self.levelled.spread_max() && self.extra_percent() <= EXTRA_MAX
    }

    fn extra_percent(&self) -> f64 {
        (self.levelled.amplification / self.plain.amplification - 1.0) * 100.0
    }
}

impl Worn {
    /// Erases by which the line erased most is ahead of the one erased least.
    pub const fn spread(&self) -> u32 {
        self.erases.most - self.erases.least
    }

    fn mean(&self) -> f64 {
        self.erases.sum as f64 / f64::from(self.erases.lines)
    }

    fn spread_max(&self) -> f64 {
        self.mean() * 0.05 + 2.0
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = if self.size == Size::Coarse { "not judged" } else { verdict(self.keeps()) };
        writeln!(formatter, "F7  erases of lines with 90 % of the writes to 10 % of the space")?;
        writeln!(formatter, "    levelling  fewest  most  mean    spread  WAF")?;
        for (name, worn) in [("yes", self.levelled), ("no", self.plain)] {
            let (erases, mean) = (worn.erases, worn.mean());
            let (spread, waf) = (worn.spread(), worn.amplification);
            writeln!(
                formatter,
                "    {name:9}  {:6}  {:4}  {mean:6.1}  {spread:6}  {waf:.3}",
                erases.least, erases.most
            )?;
        }
        let (spread_max, extra) = (self.levelled.spread_max(), self.extra_percent());
        writeln!(
            formatter,
            "    bar: spread {spread_max:.1} (5 % of the mean, + 2); writes for levelling {extra:+.2} % of {EXTRA_MAX} %: {kept}"
        )
    }
}
