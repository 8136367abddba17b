//! What the writes of a trace cost drives that map whole units: by the formula of [`crate::waf`], each command by itself, and with the
//! commands joined that follow each other, as a write cache joins them.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use crate::experiments::theory::closed_form;
use crate::waf::{IndirectionUnit, Ratio, Write};

/// Units that figures show whatever was asked for: 512 bytes to 1 MiB.
const SHIFTS: std::ops::RangeInclusive<u32> = 9..=20;

/// What writes cost with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitCost {
    /// The unit.
    pub unit: IndirectionUnit,
    /// Bytes of the units that the commands touched, over bytes written.
    pub commands: Ratio,
    /// The same with commands that follow each other joined: a unit that one ends in and the next goes on in counts once.
    pub joined: Ratio,
    /// Of the command that costs most.
    pub worst: Ratio,
}

impl UnitCost {
    /// Write amplification of a drive that is full and has this much spare, if writes came to all places alike. What is not overwritten, or
    /// in order, costs less, and at least [`UnitCost::joined`].
    ///
    /// # Panics
    /// If the spare is not above zero.
    #[must_use]
    pub fn predicted(&self, spare: f64) -> f64 {
        self.joined.to_f64() * closed_form(1.0 + spare)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    touched: u128,
    joined: u128,
    worst: Option<Ratio>,
}

/// See the file's text.
#[derive(Clone, Debug)]
pub(super) struct Amplification {
    asked_for: Vec<IndirectionUnit>,
    units: Vec<(IndirectionUnit, Sums)>,
    written: u64,
    /// Where the last write to a namespace ended.
    ends: BTreeMap<u32, u64>,
}

impl Amplification {
    pub fn new(units: &[IndirectionUnit]) -> Self {
        let shown = SHIFTS.map(|shift| IndirectionUnit::new(1 << shift).expect("a power of two"));
        let mut all: Vec<IndirectionUnit> = shown.chain(units.iter().copied()).collect();
        all.sort_unstable();
        all.dedup();
        let units_of_all = all.into_iter().map(|unit| (unit, Sums::default())).collect();
        Self { asked_for: units.to_vec(), units: units_of_all, written: 0, ends: BTreeMap::new() }
    }

    /// A write of at least a byte.
    pub fn write(&mut self, nsid: u32, offset: u64, length: u64) {
        let Some(length) = NonZeroU64::new(length) else { return };
        let write = Write { offset, length };
        self.written = self.written.saturating_add(length.get());
        let goes_on = self.ends.insert(nsid, offset.saturating_add(length.get())) == Some(offset);
        for (unit, sums) in &mut self.units {
            let touched = unit.touched(write);
            let shared = goes_on && !offset.is_multiple_of(unit.bytes());
            sums.touched = sums.touched.saturating_add(touched);
            let added = touched - if shared { u128::from(unit.bytes()) } else { 0 };
            sums.joined = sums.joined.saturating_add(added);
            let cost = unit.waf(write);
            if sums.worst.is_none_or(|worst| worst.to_f64() < cost.to_f64()) {
                sums.worst = Some(cost);
            }
        }
    }

    pub fn asked_for(&self) -> Vec<UnitCost> {
        let asked = self.asked_for.iter();
        asked.filter_map(|wanted| self.all().into_iter().find(|cost| cost.unit == *wanted)).collect()
    }

    /// With every unit of a figure, and those asked for.
    pub fn all(&self) -> Vec<UnitCost> {
        let Some(written) = NonZeroU64::new(self.written) else { return Vec::new() };
        let cost = |(unit, sums): &(IndirectionUnit, Sums)| {
            let worst = sums.worst?;
            let (commands, joined) = (Ratio::new(sums.touched, written), Ratio::new(sums.joined, written));
            Some(UnitCost { unit: *unit, commands, joined, worst })
        };
        self.units.iter().filter_map(cost).collect()
    }
}
