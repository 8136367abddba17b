//! Figures of a row of `bench socket --flat`, for people and for programs.

use std::fmt;

use serde::Serialize;

use super::median;
use super::rows::Row;
use super::slices::Sliced;

/// What took its turn in a round.
pub struct Turns {
    /// The product.
    pub ours: Sliced,
    /// The same over a flat media.
    pub flat: Sliced,
    /// Copying alone, commands a second, where it can be the limit.
    pub bare: Option<f64>,
}

impl Turns {
    fn counts(&self) -> bool {
        self.ours.counts() && self.flat.counts()
    }
}

/// A number over rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Range {
    median: f64,
    lowest: f64,
    highest: f64,
}

impl Range {
    fn of(numbers: impl Iterator<Item = f64>) -> Option<Self> {
        let numbers: Vec<f64> = numbers.collect();
        let lowest = numbers.iter().copied().min_by(f64::total_cmp)?;
        let highest = numbers.iter().copied().max_by(f64::total_cmp)?;
        Some(Self { median: median(numbers)?, lowest, highest })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = if self.median < 10.0 { 2 } else { 1 };
        let Self { median, lowest, highest } = self;
        formatter.pad(&format!("{median:.digits$} ({lowest:.digits$}-{highest:.digits$})"))
    }
}

/// Medians over rounds, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
    p99_9: f64,
}

impl Latency {
    fn of(rounds: &[&Sliced]) -> Option<Self> {
        let part = |part| {
            let of = |round: &&Sliced| round.latency.value_at_quantile(part) as f64 / 1e3;
            median(rounds.iter().map(of).collect())
        };
        Some(Self { p50: part(0.5)?, p99: part(0.99)?, p99_9: part(0.999)? })
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&format!("{:.2} / {:.1} / {:.1}", self.p50, self.p99, self.p99_9))
    }
}

/// A row.
#[derive(Debug, Serialize)]
pub struct Figures {
    drive: String,
    load: String,
    depth: u16,
    queue_pairs: u16,
    namespaces: u32,
    rounds: usize,
    /// Rounds with enough slices in which nothing else used the processors.
    counting: usize,
    unit: &'static str,
    ours: Option<Range>,
    flat: Option<Range>,
    ours_by_flat: Option<Range>,
    bare: Option<Range>,
    ours_by_bare: Option<Range>,
    latency_us: Option<Latency>,
    latency_us_of_flat: Option<Latency>,
    /// Times that the product slept while commands were outstanding.
    sleeps: u64,
}

impl Figures {
    /// Of a row and its rounds.
    pub fn of(drive: &str, row: &Row, rounds: &[Turns]) -> Self {
        let counting = rounds.iter().filter(|turns| turns.counts()).count();
        let used = || rounds.iter().filter(|turns| turns.counts());
        let (unit, by) =
            if row.is_large() { ("GiB/s", f64::from(row.bytes) / f64::from(1 << 30)) } else { ("M/s", 1e-6) };
        let rate = |of: fn(&Turns) -> &Sliced| Range::of(used().map(|turns| of(turns).rate() * by));
        let ratio = |turns: &Turns| turns.ours.rate() / turns.flat.rate();
        let by_bare = |turns: &Turns| Some(turns.ours.rate() / turns.bare?);
        let spread = row.spread_of();
        Self {
            drive: drive.to_owned(),
            load: row.to_string(),
            depth: row.depth(),
            queue_pairs: spread.pairs,
            namespaces: spread.namespaces,
            rounds: rounds.len(),
            counting,
            unit,
            ours: rate(|turns| &turns.ours),
            flat: rate(|turns| &turns.flat),
            ours_by_flat: Range::of(used().map(ratio)),
            bare: Range::of(used().filter_map(|turns| turns.bare).map(|rate| rate * by)),
            ours_by_bare: Range::of(used().filter_map(by_bare)),
            latency_us: Latency::of(&used().map(|turns| &turns.ours).collect::<Vec<_>>()),
            latency_us_of_flat: Latency::of(&used().map(|turns| &turns.flat).collect::<Vec<_>>()),
            sleeps: used().map(|turns| turns.ours.sleeps).sum(),
        }
    }

    /// Whether the product slept while there was something to do.
    pub fn slept(&self) -> bool {
        self.sleeps > 0
    }
}

/// A figure, or none.
fn shown(figure: Option<impl fmt::Display>) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| figure.to_string())
}

/// The heads of the columns.
pub const HEAD: &str = "load                             QD  QP  count  unit   ours                flat                \
    ours ÷ flat         bare                ÷ bare  p50 / p99 / p99.9 µs   of flat                sleeps";

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by_bare = self.ours_by_bare.map(|range| format!("{:.2}", range.median));
        write!(
            formatter,
            "{:30}  {:>3}  {:>2}  {:>2}/{:<2}  {:5}  {:18}  {:18}  {:18}  {:18}  {:>6}  {:21}  {:21}  {}{}",
            self.load,
            self.depth,
            self.queue_pairs,
            self.counting,
            self.rounds,
            self.unit,
            shown(self.ours),
            shown(self.flat),
            shown(self.ours_by_flat),
            shown(self.bare),
            shown(by_bare),
            shown(self.latency_us),
            shown(self.latency_us_of_flat),
            self.sleeps,
            if self.slept() { "  SLEPT" } else { "" }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_its_median_and_its_ends() {
        let range = Range::of([2.0, 9.0, 1.0].into_iter());
        assert_eq!(range, Some(Range { median: 2.0, lowest: 1.0, highest: 9.0 }));
        assert_eq!(Range::of(std::iter::empty()), None);
        assert_eq!(range.map(|range| range.to_string()).as_deref(), Some("2.00 (1.00-9.00)"));
    }
}
