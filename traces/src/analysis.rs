//! What a trace is like: sizes, alignment, mix, queue depth, latencies, and what its writes cost drives of any indirection unit. Takes a
//! trace once, as a stream in the order in which commands began; what it keeps does not grow with it.
//!
//! Map: [`Analysis`] takes entries and hands them to `depth`, `shape` (sizes and alignment) and `amplification`; `table` and `json` say
//! what came out, `figures` draws it.

mod amplification;
mod depth;
mod figures;
mod json;
mod shape;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use media::ledger::Ledger;

use crate::distribution::Distribution;
use crate::ordered::Ordered;
use crate::record::{Entry, Flags, Kind, Namespaces, Record, Sample, Trace, TraceError};
use crate::waf::IndirectionUnit;
use amplification::Amplification;
pub use amplification::UnitCost;
use depth::Depth;
pub use figures::Figure;
use shape::Shape;

/// Commands of one kind.
#[derive(Clone, Debug)]
struct OfKind {
    commands: u64,
    bytes: u64,
    forced: u64,
    failed: u64,
    /// Commands that began where the one before of this kind ended, in the same namespace.
    sequential: u64,
    shape: Shape,
    latency_ns: Distribution,
}

impl OfKind {
    fn new() -> Self {
        let (commands, bytes, forced, failed, sequential) = (0, 0, 0, 0, 0);
        Self { commands, bytes, forced, failed, sequential, shape: Shape::default(), latency_ns: Distribution::new() }
    }
}

/// What the drive programmed between the first and the last sample of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Its indirection unit.
    pub unit_bytes: u32,
    /// Bytes programmed, by reason.
    pub ledger: Ledger,
}

/// See the file's text.
#[derive(Clone, Debug)]
pub struct Analysis {
    namespaces: Namespaces,
    kinds: BTreeMap<Kind, OfKind>,
    /// Where the last command of a kind ended, by namespace.
    ends: BTreeMap<(u32, Kind), u64>,
    first_ns: Option<u64>,
    last_ns: u64,
    unfinished: u64,
    /// Commands that name a namespace of which the trace does not tell: they have no bytes.
    unknown: u64,
    late: u64,
    depth: Depth,
    amplification: Amplification,
    samples: Option<(Sample, Sample)>,
    /// Spare ÷ user of the drive that is predicted.
    spare: f64,
}

impl Analysis {
    /// An analysis that will say what writes cost drives with these units and this much spare, as a share of the user's space.
    ///
    /// # Panics
    /// If the spare is not above zero.
    #[must_use]
    pub fn new(units: &[IndirectionUnit], spare: f64) -> Self {
        assert!(spare > 0.0, "without a spare nothing can be written twice");
        Self {
            namespaces: Namespaces::default(),
            kinds: BTreeMap::new(),
            ends: BTreeMap::new(),
            first_ns: None,
            last_ns: 0,
            unfinished: 0,
            unknown: 0,
            late: 0,
            depth: Depth::new(),
            amplification: Amplification::new(units),
            samples: None,
            spare,
        }
    }

    /// Takes a whole trace.
    ///
    /// # Errors
    /// What ended it before its end; what came before has been taken.
    pub fn take(&mut self, trace: impl Trace) -> Result<(), TraceError> {
        let mut trace = Ordered::new(trace);
        loop {
            let next = trace.next();
            self.late = trace.late();
            match next? {
                Some(Entry::Namespace(namespace)) => self.namespaces.note(namespace)?,
                Some(Entry::Sample(sample)) => {
                    let first = self.samples.map_or(sample, |(first, _)| first);
                    self.samples = Some((first, sample));
                }
                Some(Entry::Command(record)) => self.command(&record),
                None => return Ok(()),
            }
        }
    }

    fn command(&mut self, record: &Record) {
        let first = *self.first_ns.get_or_insert(record.begin_ns);
        self.last_ns = self.last_ns.max(record.end_ns.unwrap_or(record.begin_ns)).max(record.begin_ns);
        self.depth.command(record.begin_ns.saturating_sub(first), record.latency_ns());
        let kind = record.kind();
        let of_kind = self.kinds.entry(kind).or_insert_with(OfKind::new);
        of_kind.commands += 1;
        of_kind.forced += u64::from(record.flags.contains(Flags::FUA));
        of_kind.failed += u64::from(record.status != 0);
        match record.latency_ns() {
            Some(latency) => of_kind.latency_ns.note(latency),
            None => self.unfinished += 1,
        }
        let Some(block_bytes) = self.namespaces.block_bytes(record.nsid) else {
            self.unknown += u64::from(record.extent.blocks != 0);
            return;
        };
        for (offset, length) in record.bytes(block_bytes).filter(|(_, length)| *length != 0) {
            of_kind.bytes = of_kind.bytes.saturating_add(length);
            of_kind.shape.access(offset, length);
            let end = self.ends.insert((record.nsid, kind), offset.saturating_add(length));
            of_kind.sequential += u64::from(end == Some(offset));
            // What was refused was not written; what never ended may have been.
            if matches!(kind, Kind::Write | Kind::Copy) && record.status == 0 {
                self.amplification.write(record.nsid, offset, length);
            }
        }
    }

    /// Commands of a kind.
    #[must_use]
    pub fn commands(&self, kind: Kind) -> u64 {
        self.kinds.get(&kind).map_or(0, |of_kind| of_kind.commands)
    }

    /// Bytes of all commands of a kind, of those whose namespace is known.
    #[must_use]
    pub fn bytes(&self, kind: Kind) -> u64 {
        self.kinds.get(&kind).map_or(0, |of_kind| of_kind.bytes)
    }

    /// Commands of all kinds.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.kinds.values().map(|of_kind| of_kind.commands).sum()
    }

    /// From the first command's beginning to the last end.
    #[must_use]
    pub fn duration_ns(&self) -> u64 {
        self.last_ns.saturating_sub(self.first_ns.unwrap_or(0))
    }

    /// Commands under way on average; nothing if no command says when it ended, or all in no time.
    #[must_use]
    pub fn mean_depth(&self) -> Option<f64> {
        self.depth.mean(self.duration_ns())
    }

    /// What the writes cost with the units that were asked for. Nothing where nothing was written.
    #[must_use]
    pub fn costs(&self) -> Vec<UnitCost> {
        self.amplification.asked_for()
    }

    /// What was programmed while a recording was made; nothing if it has not two samples with writes between them.
    #[must_use]
    pub fn measured(&self) -> Option<Measured> {
        let (first, last) = self.samples?;
        let before = first.ledger.to_words();
        let grown = last.ledger.to_words().iter().zip(before).all(|(last, first)| *last >= first);
        let ledger = grown.then(|| last.ledger.since(&first.ledger))?;
        (ledger.host != 0).then_some(Measured { unit_bytes: last.unit_bytes, ledger })
    }
}
