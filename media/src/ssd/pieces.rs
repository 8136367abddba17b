//! Which pieces the volatile cache can be divided into when power goes, and what becomes of each. Knows blocks, but no data.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::ftl::cut::Held;
use crate::power::{ChangeKind, CutPolicy, Fate, Mark, PowerAtomicity, Profile, Random, VolatileEntry};
use crate::unit::{Lba, LbaRange};

/// What stands or falls together: blocks of one entry, and all entries that follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    entry: usize,
    range: LbaRange,
    /// It may read as anything.
    loose: bool,
    /// A misbehaving drive leaves no choice.
    fixed: Option<Survival>,
}

/// What becomes of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Survival {
    Lost,
    Survives,
    Mangled(u64),
}

/// What becomes of some blocks of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Disposal {
    pub(super) entry: usize,
    pub(super) range: LbaRange,
    pub(super) survival: Survival,
}

/// How the cache can be divided.
#[derive(Clone, Debug)]
pub(super) struct Division {
    pieces: Vec<Piece>,
    /// By entry: those without which it cannot survive, itself mostly. A later write that overwrote a part of an earlier one where it lies
    /// in the cache has left nothing that could survive without it; and several may have done so.
    leads: Vec<Vec<usize>>,
    ranges: Vec<LbaRange>,
}

/// What decides how the cache can be divided, besides its entries.
pub(super) struct Terms<'a> {
    pub(super) tear: bool,
    pub(super) profile: Profile,
    pub(super) shorn: bool,
    /// The command that power went in the middle of.
    pub(super) interrupted: Mark,
    /// By volume.
    pub(super) promises: &'a [PowerAtomicity],
}

impl Division {
    pub(super) fn new(entries: &[VolatileEntry], held: &[Held], terms: &Terms<'_>) -> Self {
        let leads = leads(entries, held);
        let mut pieces = Vec::new();
        for (number, entry) in entries.iter().enumerate().filter(|(number, _)| leads[*number] == [*number]) {
            let alone = leads.iter().filter(|leads| leads.contains(&number)).count() == 1;
            add_pieces(&mut pieces, number, entry, alone, terms);
        }
        Self { pieces, leads, ranges: entries.iter().map(|entry| entry.range).collect() }
    }

    /// How many states there are: the product of what each piece may become.
    pub(super) fn states(&self) -> u128 {
        self.pieces.iter().fold(1, |states: u128, piece| states.saturating_mul(piece.survivals()))
    }

    /// The n-th state, in the order in which the first piece counts fastest.
    pub(super) fn state(&self, mut number: u128) -> Vec<Survival> {
        let mut survival = |piece: &Piece| {
            let (digit, rest) = (number % piece.survivals(), number / piece.survivals());
            number = rest;
            piece.fixed.unwrap_or(match digit {
                0 => Survival::Lost,
                1 => Survival::Survives,
                _ => Survival::Mangled(piece.range.start.0 + 1),
            })
        };
        self.pieces.iter().map(&mut survival).collect()
    }

    /// A state by a policy.
    pub(super) fn draw(&self, policy: &CutPolicy) -> Vec<Survival> {
        let mut random = Random::new(if let CutPolicy::Random(seed) = policy { *seed } else { 0 });
        let survival = |(number, piece): (usize, &Piece)| {
            let survives = match policy {
                CutPolicy::NoneSurvive => false,
                CutPolicy::AllSurvive => true,
                CutPolicy::Random(_) => random.below(2) == 1,
                CutPolicy::Choose(choice) => choice.get(number).copied().unwrap_or(false),
            };
            piece.fixed.unwrap_or_else(|| match (survives, piece.loose) {
                (true, _) => Survival::Survives,
                (false, true) if random.below(2) == 1 => Survival::Mangled(random.draw()),
                (false, _) => Survival::Lost,
            })
        };
        self.pieces.iter().enumerate().map(survival).collect()
    }

    /// What a state means for each entry, in their order.
    pub(super) fn dispose(&self, survivals: &[Survival]) -> Vec<Disposal> {
        let mut disposals = Vec::new();
        let of = |lead: usize| self.pieces.iter().zip(survivals).filter(move |(piece, _)| piece.entry == lead);
        for (entry, leads) in self.leads.iter().enumerate() {
            if *leads == [entry] {
                disposals.extend(of(entry).map(|(piece, &survival)| Disposal { entry, range: piece.range, survival }));
                continue;
            }
            // Those that others need are one piece each.
            let there = leads.iter().all(|&lead| of(lead).any(|(_, survival)| *survival == Survival::Survives));
            let survival = if there { Survival::Survives } else { Survival::Lost };
            disposals.push(Disposal { entry, range: self.ranges[entry], survival });
        }
        disposals
    }
}

impl Piece {
    fn survivals(&self) -> u128 {
        match (self.fixed, self.loose) {
            (Some(_), _) => 1,
            (None, true) => 3,
            (None, false) => 2,
        }
    }
}

fn add_pieces(pieces: &mut Vec<Piece>, number: usize, entry: &VolatileEntry, alone: bool, terms: &Terms<'_>) {
    let piece = |range, loose, fixed| Piece { entry: number, range, loose, fixed };
    let writes = entry.kind != ChangeKind::Deallocation;
    if terms.shorn && writes && alone && entry.range.blocks > 1 {
        let half = entry.range.blocks / 2;
        let first = LbaRange::new(entry.range.start, half);
        let second = LbaRange::new(Lba(entry.range.start.0 + half), entry.range.blocks - half);
        pieces.push(piece(first, false, Some(Survival::Survives)));
        pieces.push(piece(second, false, Some(Survival::Lost)));
        return;
    }
    // Of a write above the atomic unit that was not finished a part is there: all of it cannot survive, and without tears none does.
    let cut_short = !entry.atomic && !terms.interrupted.is_none() && entry.mark == terms.interrupted;
    if !entry.complete || (cut_short && !terms.tear) {
        return;
    }
    if entry.atomic || !terms.tear || !alone || !writes {
        pieces.push(piece(entry.range, false, None));
        return;
    }
    let promise = terms.promises[entry.volume.0 as usize];
    let loose = terms.profile == Profile::Literal;
    pieces.extend(promise.torn(entry.range).into_iter().map(|range| piece(range, loose, None)));
}

/// By entry: the later ones that went into the same place over a part of it and are seen there, and so on from those.
fn leads(entries: &[VolatileEntry], held: &[Held]) -> Vec<Vec<usize>> {
    let mut leads: Vec<Vec<usize>> = (0..entries.len()).map(|number| vec![number]).collect();
    for number in (0..entries.len()).rev() {
        let this = &entries[number];
        let over = |later: &usize| {
            // A later entry of the same unit has the same sequence number; one behind it in the log lies elsewhere.
            entries[*later].sequence == this.sequence
                && !held[*later].places.is_empty()
                && held[*later].places == held[number].places
                && entries[*later].range.overlaps(this.range)
        };
        let (mut needed, mut own) = (BTreeSet::new(), BTreeSet::new());
        for later in (number + 1..entries.len()).rev().filter(over) {
            if needed.is_empty() {
                own.extend(blocks(this.range));
            }
            let before = own.len();
            blocks(entries[later].range).for_each(|block| _ = own.remove(&block));
            if own.len() != before {
                needed.extend(leads[later].iter().copied());
            }
            if own.is_empty() {
                break;
            }
        }
        if !needed.is_empty() {
            leads[number] = needed.into_iter().collect();
        }
    }
    leads
}

fn blocks(range: LbaRange) -> Range<u64> {
    range.start.0..range.start.0 + range.blocks
}

/// What became of an entry.
pub(super) fn fate(number: usize, range: LbaRange, disposals: &[Disposal]) -> Fate {
    let of = |wanted: fn(&Survival) -> bool| {
        let mut ranges: Vec<LbaRange> = Vec::new();
        for disposal in disposals.iter().filter(|disposal| disposal.entry == number && wanted(&disposal.survival)) {
            match ranges.last_mut() {
                Some(last) if last.end() == Some(disposal.range.start) => last.blocks += disposal.range.blocks,
                _ => ranges.push(disposal.range),
            }
        }
        ranges
    };
    let survived = of(|survival| *survival == Survival::Survives);
    let mangled = of(|survival| matches!(survival, Survival::Mangled(_)));
    match (survived.as_slice(), mangled.as_slice()) {
        ([], []) => Fate::Lost,
        ([all], []) if *all == range => Fate::Survived,
        _ => Fate::Torn { survived, mangled },
    }
}
