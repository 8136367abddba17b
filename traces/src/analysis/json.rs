//! What came out, for programs. Times are in nanoseconds, sizes in bytes; an exact ratio is a pair of integers beside its value.

use serde_json::{Map, Value, json};

use super::{Analysis, Measured, OfKind, UnitCost, shape};
use crate::waf::Ratio;

impl Analysis {
    /// All of it.
    #[must_use]
    pub fn json(&self) -> Value {
        let kinds: Map<String, Value> =
            self.in_order().map(|(kind, of_kind)| (kind.name().to_owned(), of_kind_json(of_kind))).collect();
        let namespaces: Vec<Value> = self
            .namespaces
            .iter()
            .map(|known| json!({ "nsid": known.nsid, "block-bytes": known.block_bytes, "name": known.name }))
            .collect();
        json!({
            "commands": self.all(),
            "duration-ns": self.duration_ns(),
            "namespaces": namespaces,
            "unfinished": self.unfinished,
            "of-unknown-namespaces": self.unknown,
            "out-of-order": self.late,
            "kinds": kinds,
            "depth": self.depth_json(),
            "spare": self.spare,
            "write-amplification": self.costs().iter().map(|cost| cost_json(cost, self.spare)).collect::<Vec<_>>(),
            "measured": self.measured().map(|measured| measured.json()),
        })
    }

    fn depth_json(&self) -> Value {
        let (Some(mean), Some(met)) = (self.mean_depth(), self.depth.met()) else { return Value::Null };
        let over_time: Vec<Value> =
            self.depth.over_time(self.duration_ns()).iter().map(|(seconds, depth)| json!([seconds, depth])).collect();
        json!({ "mean": mean, "at-submission": met.json(), "over-time": over_time })
    }
}

impl Measured {
    /// All of it.
    #[must_use]
    pub fn json(&self) -> Value {
        let ledger = self.ledger;
        json!({
            "unit-bytes": self.unit_bytes,
            "amplification": ledger.amplification(false),
            "amplification-with-metadata": ledger.amplification(true),
            "bytes": {
                "programmed": ledger.programs, "host": ledger.host, "fill": ledger.fill, "collected": ledger.collected,
                "wear": ledger.wear, "padding": ledger.padding, "metadata": ledger.metadata,
            },
        })
    }
}

fn of_kind_json(of_kind: &OfKind) -> Value {
    let (sizes, others) = of_kind.shape.sizes();
    let sizes: Map<String, Value> = sizes.map(|(size, count)| (size.to_string(), json!(count))).collect();
    let aligned = shape::SHIFTS.map(|shift| ((1u64 << shift).to_string(), json!(of_kind.shape.aligned(shift))));
    json!({
        "commands": of_kind.commands,
        "bytes": of_kind.bytes,
        "accesses": of_kind.shape.accesses(),
        "sequential": of_kind.sequential,
        "fua": of_kind.forced,
        "failed": of_kind.failed,
        "sizes": sizes,
        "other-sizes": others,
        "aligned-to": aligned.collect::<Map<_, _>>(),
        "latency-ns": of_kind.latency_ns.json(),
    })
}

fn cost_json(cost: &UnitCost, spare: f64) -> Value {
    json!({
        "unit-bytes": cost.unit.bytes(),
        "commands": ratio_json(cost.commands),
        "joined": ratio_json(cost.joined),
        "worst": ratio_json(cost.worst),
        "predicted": [cost.joined.to_f64(), cost.predicted(spare)],
    })
}

fn ratio_json(ratio: Ratio) -> Value {
    // A numerator beyond 64 bits is of no trace; the value says it well enough then.
    json!({ "value": ratio.to_f64(), "exact": [u64::try_from(ratio.numerator()).ok(), ratio.denominator()] })
}
