//! What came out, for people.

use std::fmt::{self, Display, Formatter};

use super::shape::Shape;
use super::{Analysis, Measured, OfKind};
use crate::distribution::Distribution;
use crate::plot::bytes_text;
use crate::record::Kind;
use crate::waf::Ratio;

/// Sizes that are listed.
const SIZES: usize = 6;
/// Alignments that are listed, as powers of two.
const ALIGNMENTS: [u32; 5] = [12, 13, 14, 16, 20];

impl Display for Analysis {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let seconds = self.duration_ns() as f64 / 1e9;
        writeln!(out, "{} commands in {seconds:.6} s, {} namespaces", self.all(), self.namespaces.iter().count())?;
        self.notes(out)?;
        writeln!(
            out,
            "\n    {:19} {:>10} {:>16} {:>8} {:>10} {:>6}",
            "kind", "commands", "bytes", "mean", "sequential", "FUA"
        )?;
        for (kind, of_kind) in self.in_order() {
            let OfKind { commands, bytes, sequential, forced, .. } = of_kind;
            let accesses = of_kind.shape.accesses();
            let mean = bytes.checked_div(accesses).map_or_else(String::new, |mean| mean.to_string());
            let sequential = percent(*sequential, accesses);
            writeln!(out, "    {:19} {commands:>10} {bytes:>16} {mean:>8} {sequential:>10} {forced:>6}", kind.name())?;
        }
        for (kind, of_kind) in self.in_order().filter(|(kind, _)| matches!(kind, Kind::Read | Kind::Write)) {
            shape(out, kind, &of_kind.shape)?;
        }
        self.depths(out)?;
        self.latencies(out)?;
        self.writes(out)
    }
}

impl Analysis {
    /// Kinds that there are, in the order of tables.
    pub(super) fn in_order(&self) -> impl Iterator<Item = (Kind, &OfKind)> {
        Kind::ALL.into_iter().filter_map(|kind| Some((kind, self.kinds.get(&kind)?)))
    }

    /// Failed, unfinished, and what else a reader must know before believing the rest.
    fn notes(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let failed: u64 = self.kinds.values().map(|of_kind| of_kind.failed).sum();
        let notes = [
            (failed, "failed"),
            (self.unfinished, "do not say when they ended"),
            (self.unknown, "name a namespace that the trace does not tell of"),
            (self.late, "came too late to be put in order"),
        ];
        notes.into_iter().filter(|(count, _)| *count != 0).try_for_each(|(count, what)| writeln!(out, "{count} {what}"))
    }

    fn depths(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let (Some(mean), Some(met)) = (self.mean_depth(), self.depth.met()) else {
            return writeln!(out, "\nqueue depth: unknown, because no command says when it ended");
        };
        let (median, most) = (met.at(50.0), met.max());
        writeln!(
            out,
            "\nqueue depth: {mean:.3} on average; a command met {median} (median), {} (99 %), {most} (most)",
            met.at(99.0)
        )
    }

    fn latencies(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let mut known = self.in_order().filter(|(_, of_kind)| of_kind.latency_ns.count() != 0).peekable();
        if known.peek().is_none() {
            return Ok(());
        }
        writeln!(out)?;
        Distribution::write_head(out)?;
        known.try_for_each(|(kind, of_kind)| of_kind.latency_ns.write_line(kind.name(), out))
    }

    fn writes(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let costs = self.costs();
        if costs.is_empty() {
            return writeln!(out, "\nnothing was written: there is no write amplification");
        }
        // Shares are given to four decimals of a percent.
        let spare = (self.spare * 1e6).round() / 1e4;
        writeln!(out, "\nwrite amplification by indirection unit (IU):")?;
        let head = ["each command", "joined", "worst command"];
        writeln!(out, "    {:8} {:>13} {:>13} {:>14}  predicted", "IU", head[0], head[1], head[2])?;
        for cost in costs {
            let [commands, joined, worst] = [cost.commands, cost.joined, cost.worst].map(ratio_text);
            let predicted = format!("{:.3} to {:.3}", cost.joined.to_f64(), cost.predicted(self.spare));
            let unit = bytes_text(cost.unit.bytes());
            writeln!(out, "    {unit:8} {commands:>13} {joined:>13} {worst:>14}  {predicted}")?;
        }
        writeln!(
            out,
            "    joined: writes that follow each other, as in a write cache; predicted: joined, from a drive that collects nothing\n    \
             to one that is full, with {spare} % of spare, and written to in no order"
        )?;
        if let Some(measured) = self.measured() {
            write!(out, "{measured}")?;
        }
        Ok(())
    }
}

impl Display for Measured {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self { unit_bytes, ledger } = self;
        let (without, with) = (ledger.amplification(false), ledger.amplification(true));
        let unit = bytes_text(u64::from(*unit_bytes));
        writeln!(
            out,
            "measured: {without:.4}, with metadata {with:.4} (IU {unit}: {} bytes of the host programmed,",
            ledger.host
        )?;
        let media::ledger::Ledger { fill, collected, wear, padding, metadata, .. } = ledger;
        writeln!(
            out,
            "    {fill} to fill units, {collected} collected, {wear} for wear, {padding} padding, {metadata} metadata)"
        )
    }
}

fn shape(out: &mut Formatter<'_>, kind: Kind, shape: &Shape) -> fmt::Result {
    if shape.accesses() == 0 {
        return Ok(());
    }
    let share = |count: u64| percent(count, shape.accesses());
    let sizes = shape.frequent(SIZES).into_iter().map(|(size, count)| format!("{} {}", bytes_text(size), share(count)));
    let sizes: Vec<String> = sizes.collect();
    let aligned = ALIGNMENTS.map(|shift| format!("{} {}", bytes_text(1 << shift), share(shape.aligned(shift))));
    writeln!(out, "\n{} sizes: {}", kind.name(), sizes.join(", "))?;
    writeln!(out, "{} aligned to: {}", kind.name(), aligned.join(", "))
}

/// A ratio without its fraction, which may be long; JSON has it.
fn ratio_text(ratio: Ratio) -> String {
    let text = ratio.to_string();
    text.split_once(' ').map_or(text.clone(), |(decimal, _)| decimal.to_owned())
}

/// A share, or nothing of nothing.
fn percent(part: u64, of: u64) -> String {
    if of == 0 { String::new() } else { format!("{:.1} %", part as f64 * 100.0 / of as f64) }
}
