//! How numbers are distributed, to two digits and without a bound but that of 63 bits: latencies in nanoseconds, depths.

use std::fmt::{self, Formatter};

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

const DIGITS: u8 = 2;
const MOST: u64 = u64::MAX >> 1;
/// What is told of a distribution, in percent of what was noted.
const PERCENTILES: [f64; 4] = [50.0, 90.0, 99.0, 99.9];

/// See the file's text.
#[derive(Clone, Debug)]
pub(crate) struct Distribution(Histogram<u64>);

impl Distribution {
    pub fn new() -> Self {
        Self(Histogram::new_with_bounds(1, MOST, DIGITS).expect("these are bounds of a histogram"))
    }

    /// Notes a number.
    pub fn note(&mut self, number: u64) {
        self.0.saturating_record(number);
    }

    /// How many were noted.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    pub fn mean(&self) -> f64 {
        self.0.mean()
    }

    pub fn max(&self) -> u64 {
        self.0.max()
    }

    /// The number that so many percent do not exceed.
    pub fn at(&self, percent: f64) -> u64 {
        self.0.value_at_percentile(percent)
    }

    /// The head of a table of latencies behind a column for names.
    pub fn write_head(out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "    {:19} {:>10} {:>10}", "latency in µs", "commands", "mean")?;
        PERCENTILES.iter().try_for_each(|percent| write!(out, " {:>10}", format!("{percent} %")))?;
        writeln!(out, " {:>10}", "most")
    }

    /// A line of such a table.
    pub fn write_line(&self, name: &str, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "    {name:19} {:>10} {:>10.1}", self.count(), self.mean() / 1e3)?;
        let values = PERCENTILES.iter().map(|percent| self.at(*percent)).chain([self.max()]);
        values.into_iter().try_for_each(|value| write!(out, " {:>10.1}", value as f64 / 1e3))?;
        writeln!(out)
    }

    /// All of it, or nothing of nothing.
    pub fn json(&self) -> Value {
        if self.0.is_empty() {
            return Value::Null;
        }
        let mut all = Map::new();
        all.insert("count".to_owned(), json!(self.count()));
        all.insert("mean".to_owned(), json!(self.mean()));
        all.extend(PERCENTILES.map(|percent| (format!("p{percent}"), json!(self.at(percent)))));
        all.insert("max".to_owned(), json!(self.max()));
        Value::Object(all)
    }
}

#[test]
fn large_numbers_are_told_to_two_digits() {
    let mut distribution = Distribution::new();
    assert_eq!(distribution.json(), Value::Null);
    for number in [100, 200, 133_100, u64::MAX] {
        distribution.note(number);
    }
    assert_eq!((distribution.count(), distribution.at(50.0)), (4, 200));
    let near = |found: u64, wanted: f64| assert!((found as f64 / wanted - 1.0).abs() < 0.01, "{found}");
    near(distribution.at(75.0), 133_100.0);
    near(distribution.max(), MOST as f64);
}
