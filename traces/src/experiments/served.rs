//! F1 on drives as they are served: the geometry that a drive gets to which nothing but its size is told, its own policy, its cache and
//! its wear levelling, beside theory with all of the spare that it claims. What a drive keeps for itself lifts it above theory; short lines,
//! which differ more in what is still valid in them, lower it.

use std::fmt;

use media::power::Random;
use media::ssd::SsdConfig;
use serde_json::{Value, json};

use super::drive::{Drive, Pattern};
use super::theory::closed_form;
use super::{Size, verdict};

/// How far above theory a drive with the default spare may be, in percent.
const EXCESS_MAX: f64 = 3.0;

/// A drive to measure.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is asked for by, as in `size=1GiB`.
    pub words: String,
    /// What comes of it.
    pub config: SsdConfig,
    /// Whether the bar stands for it.
    pub judged: bool,
}

impl Case {
    /// Bytes programmed per byte written by the host, once that no longer changes.
    pub fn run(&self, seed: u64) -> f64 {
        let mut drive = Drive::hollow(self.config.clone());
        let mut random = Random::new(seed);
        let per_unit = u64::from(self.config.geometry.unit_bytes / self.config.volumes[0].block_bytes);
        let units = drive.blocks / per_unit;
        drive.fill(drive.blocks, per_unit);
        let mut overwrite = |drive: &mut Drive<_>, times: u64| {
            for _ in 0..times * units {
                drive.write(Pattern::Uniform.next(&mut random, units) * per_unit, per_unit, false);
            }
            drive.ledger()
        };
        let before = overwrite(&mut drive, 2);
        overwrite(&mut drive, 1).since(&before).amplification(false)
    }

    /// Write amplification by theory, with the whole spare.
    fn theory(&self) -> f64 {
        closed_form(1.0 + f64::from(self.config.geometry.spare_per_million_of_user) / 1e6)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a drive as served, {}", self.words)
    }
}

/// Everything measured, beside theory.
#[derive(Clone, Debug)]
pub struct Table<'a> {
    size: Size,
    rows: Vec<(&'a Case, f64)>,
}

impl<'a> Table<'a> {
    /// Puts a result beside each case.
    pub fn new(size: Size, cases: &'a [Case], results: &[f64]) -> Self {
        Self { size, rows: cases.iter().zip(results.iter().copied()).collect() }
    }

    /// Whether all bars were kept. A coarse run has none.
    pub fn holds(&self) -> bool {
        self.rows.iter().all(|&(case, measured)| !self.judges(case) || keeps(case, measured))
    }

    /// An entry for each drive, for programs. Of what has no bar, `kept` is null.
    pub fn json(&self) -> Value {
        let drive = |&(case, measured): &(&Case, f64)| {
            let kept = self.judges(case).then(|| keeps(case, measured));
            json!({ "drive": case.words, "theory": case.theory(), "measured": measured, "kept": kept })
        };
        self.rows.iter().map(drive).collect()
    }

    fn judges(&self, case: &Case) -> bool {
        self.size == Size::Full && case.judged
    }
}

/// In percent.
fn deviation(case: &Case, measured: f64) -> f64 {
    (measured / case.theory() - 1.0) * 100.0
}

fn keeps(case: &Case, measured: f64) -> bool {
    deviation(case, measured) <= EXCESS_MAX
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "F1  the same on drives as they are served")?;
        writeln!(
            formatter,
            "    drive                   theory  measured         bar: at most 3 % above, with the default spare"
        )?;
        for &(case, measured) in &self.rows {
            let bar = if self.judges(case) { verdict(keeps(case, measured)) } else { "not judged" };
            let beside = format!("{measured:.3} ({:+.2} %)", deviation(case, measured));
            writeln!(formatter, "    {:22}  {:6.3}  {beside:15}  {bar}", case.words, case.theory())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::drive::plain;
    use super::*;

    #[test]
    fn the_bar_is_missed_above_theory_where_it_stands() {
        let case = |judged| Case { words: "size=1GiB".to_owned(), config: plain(32, 100, 28), judged };
        let cases = [case(true), case(false)];
        for (factor, holds) in [(1.0, true), (1.029, true), (1.031, false), (0.9, true)] {
            let results = [cases[0].theory() * factor, 9.0];
            let table = Table::new(Size::Full, &cases, &results);
            assert_eq!(table.holds(), holds, "{factor}\n{table}");
            assert!(Table::new(Size::Coarse, &cases, &results).holds(), "a coarse run is not judged");
        }
    }
}
