//! How many commands were under way: at each submission, and over time. Only commands that say when they ended are known to have been.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::distribution::Distribution;

/// Parts of the time that is shown.
const PARTS: usize = 512;
/// How long a part is at first; it doubles when time runs out of the last.
const PART_NS: u64 = 1000;
/// As many ends are kept as commands can be under way on a sane host.
const ENDS_MAX: usize = 1 << 20;

/// See the file's text.
#[derive(Clone, Debug)]
pub(super) struct Depth {
    /// Ends of commands under way.
    ends: BinaryHeap<Reverse<u64>>,
    /// Depth that a command met, itself included.
    met: Distribution,
    /// Nanoseconds of commands, by part.
    busy: Vec<u64>,
    part_ns: u64,
    /// Of all commands.
    sum_ns: u128,
}

impl Depth {
    pub fn new() -> Self {
        Self { ends: BinaryHeap::new(), met: Distribution::new(), busy: vec![0; PARTS], part_ns: PART_NS, sum_ns: 0 }
    }

    /// A command that began so long after the first one. They come in that order, but for few.
    pub fn command(&mut self, begin_ns: u64, latency_ns: Option<u64>) {
        let Some(latency_ns) = latency_ns else { return };
        while self.ends.peek().is_some_and(|Reverse(end)| *end <= begin_ns) {
            self.ends.pop();
        }
        let end_ns = begin_ns.saturating_add(latency_ns);
        if self.ends.len() < ENDS_MAX {
            self.ends.push(Reverse(end_ns));
        }
        self.met.note(self.ends.len() as u64);
        self.sum_ns += u128::from(latency_ns);
        self.spread(begin_ns, end_ns);
    }

    fn spread(&mut self, begin_ns: u64, end_ns: u64) {
        while end_ns / self.part_ns >= PARTS as u64 {
            self.halve();
        }
        let first = begin_ns / self.part_ns;
        for part in first..=end_ns / self.part_ns {
            let from = begin_ns.max(part * self.part_ns);
            let to = end_ns.min((part + 1).saturating_mul(self.part_ns));
            let busy = &mut self.busy[usize::try_from(part).expect("few parts")];
            *busy = busy.saturating_add(to.saturating_sub(from));
        }
    }

    /// Joins each two parts.
    fn halve(&mut self) {
        for part in 0..PARTS {
            let of = |at: usize| self.busy.get(at).copied().unwrap_or(0);
            self.busy[part] = of(2 * part).saturating_add(of(2 * part + 1));
        }
        self.part_ns *= 2;
    }

    /// On average over so long.
    pub fn mean(&self, duration_ns: u64) -> Option<f64> {
        (duration_ns != 0 && self.met.count() != 0).then(|| self.sum_ns as f64 / duration_ns as f64)
    }

    /// Depths that commands met, if any said when it ended.
    pub fn met(&self) -> Option<&Distribution> {
        (self.met.count() != 0).then_some(&self.met)
    }

    /// The mean of each part: its beginning in seconds, and how many were under way.
    pub fn over_time(&self, duration_ns: u64) -> Vec<(f64, f64)> {
        let parts = usize::try_from(duration_ns.div_ceil(self.part_ns)).unwrap_or(PARTS).min(PARTS);
        let place = |(part, busy): (usize, &u64)| {
            let begin_ns = part as u64 * self.part_ns;
            let length_ns = self.part_ns.min(duration_ns - begin_ns);
            (begin_ns as f64 / 1e9, *busy as f64 / length_ns as f64)
        };
        self.busy[..parts].iter().enumerate().map(place).collect()
    }
}
