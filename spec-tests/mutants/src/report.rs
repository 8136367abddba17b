//! What a run found, as a table for each file and a list of what was missed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::equivalent::one_line;
use crate::sites::Mutant;
use crate::trial::Verdict;

/// What became of a mutant that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was run.
    Tried(Verdict),
    /// Nobody could notice it, for this reason.
    Equivalent(String),
}

/// Counts of one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// A test failed.
    pub caught: usize,
    /// No test failed.
    pub missed: usize,
    /// Of those, no test even reaches it.
    pub unreached: usize,
    /// In the kept list.
    pub equivalent: usize,
}

/// A run's outcomes.
#[derive(Debug, Default)]
pub struct Report {
    files: BTreeMap<PathBuf, Counts>,
    lines: Vec<String>,
}

impl Report {
    /// Adds one mutant.
    pub fn add(&mut self, path: &Path, mutant: &Mutant, outcome: &Outcome) {
        let counts = self.files.entry(path.to_owned()).or_default();
        match outcome {
            Outcome::Tried(Verdict::Caught { .. }) => counts.caught += 1,
            Outcome::Tried(Verdict::Missed { .. }) => counts.missed += 1,
            Outcome::Tried(Verdict::Unreached) => {
                counts.missed += 1;
                counts.unreached += 1;
            }
            Outcome::Equivalent(_) => counts.equivalent += 1,
        }
        self.lines.push(line(path, mutant, outcome));
    }

    /// All files together.
    #[must_use]
    pub fn total(&self) -> Counts {
        self.files.values().fold(Counts::default(), |sum, counts| Counts {
            caught: sum.caught + counts.caught,
            missed: sum.missed + counts.missed,
            unreached: sum.unreached + counts.unreached,
            equivalent: sum.equivalent + counts.equivalent,
        })
    }

    /// One line for each mutant, in the order of the files.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table =
            String::from("| file | caught | missed | of them unreached | equivalent | caught of the rest |\n");
        table.push_str("|---|---:|---:|---:|---:|---:|\n");
        let total = (PathBuf::from("all"), self.total());
        for (path, counts) in self.files.iter().chain([(&total.0, &total.1)]) {
            let Counts { caught, missed, unreached, equivalent } = counts;
            let share = counts.share().map_or_else(|| "-".into(), |share| format!("{share:.1} %"));
            writeln!(table, "| {} | {caught} | {missed} | {unreached} | {equivalent} | {share} |", path.display())
                .expect("a string takes everything");
        }
        table
    }
}

impl Counts {
    /// Caught of those that are not equivalent, in percent, if there are any.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        let tried = self.caught + self.missed;
        let percent = |part: usize| f64::from(u32::try_from(part).unwrap_or(u32::MAX)) * 100.0;
        (tried > 0).then(|| percent(self.caught) / percent(tried) * 100.0)
    }
}

/// Where and what: `file:line function: original → replacement`.
#[must_use]
pub fn description(path: &Path, mutant: &Mutant) -> String {
    let Mutant { function, line, original, replacement } = mutant;
    format!("{}:{line} {function}: {} → {}", path.display(), one_line(original), one_line(replacement))
}

/// The same with what became of it in front.
#[must_use]
pub fn line(path: &Path, mutant: &Mutant, outcome: &Outcome) -> String {
    let (word, remark) = match outcome {
        Outcome::Tried(Verdict::Caught { by }) => ("caught", format!("by {by}")),
        Outcome::Tried(Verdict::Missed { tests, skipped: 0 }) => ("MISSED", format!("by {tests} tests")),
        Outcome::Tried(Verdict::Missed { tests, skipped }) => {
            ("MISSED", format!("by {} tests, no time for {skipped}", tests - skipped))
        }
        Outcome::Tried(Verdict::Unreached) => ("MISSED", "no test reaches it".into()),
        Outcome::Equivalent(reason) => ("equivalent", one_line(reason)),
    };
    format!("{word} {} ({remark})", description(path, mutant))
}
