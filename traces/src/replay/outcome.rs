//! What came of a replay.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use media::ledger::Ledger;
use serde_json::{Map, Value, json};

use crate::analysis::Measured;
use crate::distribution::Distribution;
use crate::record::Kind;

/// See the file's text.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Latencies of the commands of each kind, in nanoseconds.
    latencies: BTreeMap<Kind, Distribution>,
    /// Commands that failed, by status.
    failed: BTreeMap<u16, u64>,
    left_out: BTreeMap<Kind, u64>,
    /// Commands that were larger than the drive takes at a time.
    pub split: u64,
    /// From the first command to the last answer, in the drive's time.
    pub duration_ns: u64,
    /// How far the latest command was behind its time.
    pub late_ns_max: u64,
    /// Commands of the trace that could not be put in the order of time.
    pub out_of_order: u64,
    /// Bytes of the writes that the drive was given.
    pub written_bytes: u64,
    /// Bytes programmed meanwhile by the drive's own log, where nothing better is known.
    pub physical_bytes: Option<u64>,
    /// What was programmed meanwhile, where that can be known.
    pub measured: Option<Measured>,
}

impl Outcome {
    /// Commands of a kind that were answered.
    #[must_use]
    pub fn commands(&self, kind: Kind) -> u64 {
        self.latencies.get(&kind).map_or(0, Distribution::count)
    }

    /// Commands that were answered.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.latencies.values().map(Distribution::count).sum()
    }

    /// Commands that failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Commands that no drive is asked, or whose blocks are not known.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.left_out.values().sum()
    }

    pub(super) fn left_out(&mut self, kind: Kind) {
        *self.left_out.entry(kind).or_default() += 1;
    }

    pub(super) fn ended(&mut self, kind: Kind, latency_ns: u64, status: u16) {
        self.latencies.entry(kind).or_insert_with(Distribution::new).note(latency_ns);
        if status != 0 {
            *self.failed.entry(status).or_default() += 1;
        }
    }

    pub(super) fn measure(&mut self, before: Option<(Ledger, u32)>, after: Option<(Ledger, u32)>) {
        let (Some((before, _)), Some((after, unit_bytes))) = (before, after) else { return };
        let ledger = after.since(&before);
        self.measured = (ledger.host != 0).then_some(Measured { unit_bytes, ledger });
    }

    /// All of it, for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let latencies: Map<String, Value> =
            self.latencies.iter().map(|(kind, latency)| (kind.name().to_owned(), latency.json())).collect();
        let left_out: Map<String, Value> =
            self.left_out.iter().map(|(kind, count)| (kind.name().to_owned(), json!(count))).collect();
        let failed: Map<String, Value> =
            self.failed.iter().map(|(status, count)| (format!("{status:#06x}"), json!(count))).collect();
        json!({
            "commands": self.all(),
            "duration-ns": self.duration_ns,
            "latency-ns": latencies,
            "failed": failed,
            "left-out": left_out,
            "split": self.split,
            "late-ns-max": self.late_ns_max,
            "out-of-order": self.out_of_order,
            "written-bytes": self.written_bytes,
            "physical-bytes": self.physical_bytes,
            "measured": self.measured.map(|measured| measured.json()),
        })
    }
}

impl Display for Outcome {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        writeln!(out, "{} commands in {:.6} s of the drive's time", self.all(), self.duration_ns as f64 / 1e9)?;
        let notes = [
            (self.skipped(), "were left out: no drive is asked such a thing, or it is not known about which blocks"),
            (self.split, "were split: they are larger than the drive takes at a time"),
            (self.out_of_order, "came too late to be put in order"),
        ];
        for (count, what) in notes.into_iter().filter(|(count, _)| *count != 0) {
            writeln!(out, "{count} {what}")?;
        }
        for (status, count) in &self.failed {
            writeln!(out, "{count} failed with status {:?}", nvme_spec::Status(*status))?;
        }
        if self.late_ns_max != 0 {
            writeln!(out, "the latest was {:.3} ms behind its time", self.late_ns_max as f64 / 1e6)?;
        }
        writeln!(out)?;
        Distribution::write_head(out)?;
        self.latencies.iter().try_for_each(|(kind, latency)| latency.write_line(kind.name(), out))?;
        match (&self.measured, self.physical_bytes) {
            (Some(measured), _) => write!(out, "\nwrite amplification {measured}"),
            (None, Some(physical)) if self.written_bytes != 0 => {
                let (written, ratio) = (self.written_bytes, physical as f64 / self.written_bytes as f64);
                writeln!(
                    out,
                    "\nwrite amplification by the drive's log: {ratio:.4} ({physical} bytes programmed, {written} written)"
                )
            }
            _ => Ok(()),
        }
    }
}
