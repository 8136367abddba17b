//! The shards whose reports a campaign was made of, as every report tells of them.

use std::fmt;
use std::path::PathBuf;

use media::Nanoseconds;
use serde_json::{Value, json};

use super::junit::Suite;
use crate::html::{Cell, Mark, Page, Table};

/// The shards that a campaign was made of; none where it ran in one process.
#[derive(Debug, Default)]
pub struct Shards {
    /// What they did: "cuts" or "images".
    pub work: &'static str,
    /// Those that are there.
    pub there: Vec<Shard>,
    /// Those that are not.
    pub missing: Vec<Missing>,
}

/// What a shard did.
#[derive(Debug)]
pub struct Shard {
    /// Which, from 1.
    pub number: u64,
    /// Its report.
    pub path: PathBuf,
    /// Cuts, or images.
    pub work: u64,
    /// What was illegal or bad.
    pub bad: u64,
    /// How long it took.
    pub time: Nanoseconds,
}

/// A shard of which there is no whole report.
#[derive(Debug)]
pub struct Missing {
    /// Which, from 1.
    pub number: u64,
    /// Why.
    pub why: String,
    /// The command that runs it.
    pub again: String,
}

impl Shards {
    /// Says which there are in a report's last line.
    pub fn add_to(&self, line: &mut Value) {
        if !self.is_empty() {
            let missing: Vec<_> =
                self.missing.iter().map(|shard| json!({ "shard": shard.number, "again": shard.again })).collect();
            line["merged"] = json!(self.there.len());
            line["missing"] = json!(missing);
        }
    }

    /// A case that fails for each that is missing.
    pub fn judge(&self, suite: &mut Suite) {
        for Missing { number, why, again } in &self.missing {
            suite.failed("shard", &format!("shard {number}"), why, Some(&format!("again: {again}")));
        }
    }

    /// A section of a page.
    pub fn show(&self, page: &mut Page) {
        if self.is_empty() {
            return;
        }
        let mut table = Table::new(
            format!("Reports that were merged; what was done is {}", self.work),
            &["Shard", "Report", "Done", "Bad", "Seconds", "Result"],
        );
        for shard in &self.there {
            let numbers = [shard.work, shard.bad, shard.time.0 / 1_000_000_000].map(Cell::Number);
            let result = if shard.bad == 0 { (Mark::Good, "passed") } else { (Mark::Bad, "failed") };
            let path = Cell::Code(shard.path.display().to_string());
            let result = vec![Cell::Mark(result.0, result.1.to_owned())];
            table.row([vec![Cell::Code(shard.number.to_string()), path], numbers.to_vec(), result].concat());
        }
        for Missing { number, why, again } in &self.missing {
            let none = [0; 3].map(Cell::Number).to_vec();
            let result = vec![Cell::Mark(Mark::Bad, format!("missing: {why}"))];
            table.row([vec![Cell::Code(number.to_string()), Cell::Code(again.clone())], none, result].concat());
        }
        page.table("Shards", &table);
    }

    fn is_empty(&self) -> bool {
        self.there.is_empty() && self.missing.is_empty()
    }

    /// That the campaign is not whole, if it is not.
    pub fn incomplete(&self) -> Option<String> {
        let (missing, all) = (self.missing.len(), self.missing.len() + self.there.len());
        (missing > 0).then(|| format!("incomplete: {missing} of {all} shards are missing"))
    }

    /// How long all of them took, one after the other.
    pub fn time(&self) -> Nanoseconds {
        Nanoseconds(self.there.iter().map(|shard| shard.time.0).sum())
    }
}

impl fmt::Display for Shards {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Shard { number, path, work, bad, time } in &self.there {
            let seconds = time.0 / 1_000_000_000;
            writeln!(formatter, "shard {number}: {work} {}, {bad} bad, {seconds} s, {}", self.work, path.display())?;
        }
        for Missing { number, why, again } in &self.missing {
            writeln!(formatter, "shard {number} is missing: {why}\n  again: {again}")?;
        }
        Ok(())
    }
}
