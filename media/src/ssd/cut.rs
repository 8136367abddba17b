//! Owns the loss of power: what of the volatile cache survives it, and the drive that is left. Does not know who cut.
//!
//! What was programmed when power went is in the store, and nothing else is. What survives besides is written to the drive that
//! recovers from that, in the order in which the host wrote it: so every state that the contract allows can be made, block by block,
//! and recovery itself meets exactly what a real loss leaves.

use super::Ssd;
use crate::ftl::cut::Held;
use crate::ftl::write::Span;
use crate::nand::Nand;
use crate::power::{
    Arming, Breaker, ChangeKind, Cut, CutPolicy, CutReport, Fate, Mark, Power, Profile, Random, RecoveryReport,
    VolatileEntry,
};
use crate::recover::{Purpose, recover};
use crate::store::{Store, StoreError};
use crate::unit::{Lba, LbaRange, Nanoseconds, index, narrow};
use crate::volume::{Fault, Source, VolumeId};

/// What stands or falls together: blocks of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    entry: usize,
    range: LbaRange,
}

/// What becomes of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lot {
    Lost,
    Survives,
    Mangled(u64),
}

/// Data and metadata of blocks.
struct Saved {
    data: Vec<u8>,
    metadata: Vec<u8>,
}

impl Source for Saved {
    fn fill(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        into.copy_from_slice(self.data.get(offset..offset + into.len()).ok_or(Fault)?);
        Ok(())
    }

    fn fill_metadata(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        into.copy_from_slice(self.metadata.get(offset..offset + into.len()).ok_or(Fault)?);
        Ok(())
    }
}

/// A change to make once the drive has recovered.
enum Remnant {
    Write(Span, Saved),
    Deallocation(Held),
}

impl<S: Store> Ssd<S> {
    /// What would be lost if power went now and nothing of it survived, oldest first.
    #[must_use]
    pub fn volatile(&self) -> Vec<VolatileEntry> {
        self.ftl.volatile().iter().map(|held| self.entry(held)).collect()
    }

    fn entry(&self, held: &Held) -> VolatileEntry {
        let volume = self.volumes.iter().rposition(|volume| volume.entry.first_unit <= held.first.0).unwrap_or(0);
        let Some(of) = self.volumes.get(volume) else {
            unreachable!("a unit that was written lies in a volume");
        };
        let byte = (u64::from(held.first.0 - of.entry.first_unit) << self.ftl.geometry.unit_shift) + held.offset as u64;
        let start = byte >> of.block_shift;
        let blocks = ((held.bytes >> of.block_shift) as u64).min(of.shape.capacity_blocks - start);
        VolatileEntry {
            mark: if held.tag.mark.queue() == 0 { Mark::NONE } else { held.tag.mark },
            kind: if held.deallocates() { ChangeKind::Deallocation } else { ChangeKind::Write },
            volume: VolumeId(narrow(volume)),
            range: LbaRange::new(Lba(start), blocks),
            sequence: held.sequence,
            atomic: held.deallocates() || !held.tag.loose,
            complete: held.complete,
            fate: Fate::Lost,
        }
    }

    /// Cuts power: see [`Power::cut`]. With capacitors everything survives that was in the cache.
    pub fn cut(&mut self, cut: &Cut) -> CutReport {
        let (step, mark) = (self.ftl.nand.power.tripped_at(), self.ftl.nand.power.tripped_in());
        let held = self.ftl.frozen.take().unwrap_or_else(|| self.ftl.volatile());
        self.ftl.frozen = Some(Vec::new());
        self.ftl.nand.power.cut();
        self.staged_since = None;
        let capacitors = Cut::from(CutPolicy::AllSurvive);
        let cut = if self.config.cache.capacitors { &capacitors } else { cut };
        let mut entries: Vec<_> = held.iter().map(|held| self.entry(held)).collect();
        let pieces = pieces(&entries, &held, cut.tear, if cut.tear { Mark::NONE } else { mark });
        let lots = draw(&pieces, &entries, cut);
        self.leave_behind(&held, &entries, &pieces, &lots);
        for (number, entry) in entries.iter_mut().enumerate() {
            entry.fate = fate(number, entry.range, &pieces, &lots);
        }
        CutReport { step, mark, entries }
    }

    /// Leaves the store as a loss of power would in which just these pieces made it.
    fn leave_behind(&mut self, held: &[Held], entries: &[VolatileEntry], pieces: &[Piece], lots: &[Lot]) {
        let mut remnants = Vec::new();
        for (piece, lot) in pieces.iter().zip(lots).filter(|(_, lot)| **lot != Lot::Lost) {
            let (held, entry) = (&held[piece.entry], &entries[piece.entry]);
            remnants.push(match entry.kind {
                ChangeKind::Deallocation => Remnant::Deallocation(held.clone()),
                ChangeKind::Write => self.save(held, entry, piece.range, *lot),
            });
        }
        if remnants.is_empty() {
            return;
        }
        let store = self.ftl.nand.store.take();
        // What cannot be recovered here cannot be recovered when power comes back either, and that says so.
        self.ftl.nand.store = self.repeat(store, remnants);
    }

    /// Recovers quietly, makes the changes, and takes the store out again.
    fn repeat(&self, store: S, remnants: Vec<Remnant>) -> S {
        let geometry = self.ftl.geometry.clone();
        let nand = Nand::new(&geometry, store, None);
        let (mut ftl, _) = recover(geometry, nand, self.config.tuning, self.ftl.limits, Purpose::Cut)
            .unwrap_or_else(|error| panic!("the drive cannot recover from its own log: {error}"));
        for remnant in remnants {
            match remnant {
                Remnant::Write(span, mut saved) => {
                    let written = ftl.write(&span, &mut saved, false);
                    assert!(written.is_ok() || ftl.read_only, "a drive that took a write takes it again");
                }
                Remnant::Deallocation(held) => {
                    ftl.deallocate(held.first, narrow(held.bytes >> ftl.geometry.unit_shift));
                }
            }
        }
        ftl.commit();
        ftl.nand.sync();
        ftl.nand.store
    }

    /// Copies blocks of a held write out of the cache.
    fn save(&mut self, held: &Held, entry: &VolatileEntry, range: LbaRange, lot: Lot) -> Remnant {
        let volume = &self.volumes[entry.volume.0 as usize];
        let (shift, metadata_bytes) = (volume.block_shift, volume.shape.metadata_bytes as usize);
        let skip = index(range.start.0 - entry.range.start.0) << shift;
        let bytes = index(range.blocks) << shift;
        let mut saved = Saved { data: vec![0; bytes], metadata: vec![0; (bytes >> shift) * metadata_bytes] };
        if let Lot::Mangled(seed) = lot {
            let mut random = Random::new(seed);
            for word in saved.data.chunks_mut(8).chain(saved.metadata.chunks_mut(8)) {
                let drawn = random.draw().to_le_bytes();
                word.copy_from_slice(&drawn[..word.len()]);
            }
        } else {
            self.copy_out(held, skip, shift, metadata_bytes, &mut saved);
        }
        let byte = held.offset + skip;
        let unit = crate::unit::LogicalUnit(held.first.0 + narrow(byte >> self.ftl.geometry.unit_shift));
        let offset = byte & (self.ftl.geometry.unit_bytes() - 1);
        Remnant::Write(Span { first: unit, offset, bytes, block_shift: shift, metadata_bytes }, saved)
    }

    fn copy_out(&mut self, held: &Held, skip: usize, shift: u32, metadata_bytes: usize, saved: &mut Saved) {
        let unit_bytes = self.ftl.geometry.unit_bytes();
        let mut done = 0;
        while done < saved.data.len() {
            let byte = held.offset + skip + done;
            let (position, within) = (byte / unit_bytes, byte % unit_bytes);
            let count = (unit_bytes - within).min(saved.data.len() - done);
            let place = held.places[position];
            let (line, slot) = (self.ftl.geometry.line_of(place), self.ftl.geometry.slot_of(place));
            let at = self.ftl.geometry.data_offset(slot) + within;
            let store = &mut self.ftl.nand.store;
            let read = store.read(line, at, &mut saved.data[done..done + count]);
            read.expect("what is in the cache can be read");
            if metadata_bytes != 0 {
                let of = |bytes: usize| (bytes >> shift) * metadata_bytes;
                let at = self.ftl.geometry.metadata_offset(slot) + of(within);
                let read = store.read(line, at, &mut saved.metadata[of(done)..of(done + count)]);
                read.expect("what is in the cache can be read");
            }
            done += count;
        }
    }

    /// Brings power back: see [`Power::restore`].
    ///
    /// # Errors
    /// What recovery could not read; the drive then stays without power.
    ///
    /// # Panics
    /// Where power is there.
    pub fn restore(&mut self, arming: Option<Arming>) -> Result<RecoveryReport, StoreError> {
        assert!(self.ftl.nand.power.lost(), "power comes back only after it went");
        let store = self.ftl.nand.store.take();
        let power = self.ftl.nand.power.clone();
        power.restore();
        let opened = Self::open_with(self.config.clone(), store, &power, arming);
        if opened.is_err() {
            power.cut();
        }
        let mut restored = opened?;
        restored.read_faults = std::mem::take(&mut self.read_faults);
        restored.now = Nanoseconds(self.now.0);
        *self = restored;
        Ok(self.recovery)
    }
}

impl<S: Store> Power for Ssd<S> {
    fn breaker(&self) -> Breaker {
        self.ftl.nand.power.clone()
    }

    fn cut(&mut self, cut: &Cut) -> CutReport {
        Self::cut(self, cut)
    }

    fn restore(&mut self, arming: Option<Arming>) -> Result<RecoveryReport, String> {
        Self::restore(self, arming).map_err(|error| error.to_string())
    }
}

/// What each of the entries can be divided into, in their order. Entries of which a later one has overwritten a part in the cache
/// share its fate, and have no pieces of their own.
fn pieces(entries: &[VolatileEntry], held: &[Held], tear: bool, interrupted: Mark) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        // A write above the atomic unit that was not finished has survived in part already, unless none of it does.
        let cut_short = !entry.atomic && !interrupted.is_none() && entry.mark == interrupted;
        if !entry.complete || cut_short {
            continue;
        }
        let _ = held;
        if entry.atomic || !tear {
            pieces.push(Piece { entry: number, range: entry.range });
        } else {
            let block = |n| LbaRange::new(Lba(entry.range.start.0 + n), 1);
            pieces.extend((0..entry.range.blocks).map(|n| Piece { entry: number, range: block(n) }));
        }
    }
    pieces
}

fn draw(pieces: &[Piece], entries: &[VolatileEntry], cut: &Cut) -> Vec<Lot> {
    let mut random = Random::new(if let CutPolicy::Random(seed) = cut.policy { seed } else { 0 });
    let lot = |(number, piece): (usize, &Piece)| {
        let survives = match &cut.policy {
            CutPolicy::NoneSurvive => false,
            CutPolicy::AllSurvive => true,
            CutPolicy::Random(_) => random.below(2) == 1,
            CutPolicy::Choose(choice) => choice.get(number).copied().unwrap_or(false),
        };
        let may_be_mangled = cut.profile == Profile::Literal && cut.tear && !entries[piece.entry].atomic;
        match (survives, may_be_mangled) {
            (false, true) if random.below(2) == 1 => Lot::Mangled(random.draw()),
            (false, _) => Lot::Lost,
            (true, _) => Lot::Survives,
        }
    };
    pieces.iter().enumerate().map(lot).collect()
}

/// What the lots of an entry's pieces make of it.
fn fate(number: usize, range: LbaRange, pieces: &[Piece], lots: &[Lot]) -> Fate {
    let of = |wanted: fn(&Lot) -> bool| {
        let mut ranges: Vec<LbaRange> = Vec::new();
        for (piece, lot) in pieces.iter().zip(lots).filter(|(piece, _)| piece.entry == number) {
            match ranges.last_mut() {
                _ if !wanted(lot) => {}
                Some(last) if last.end() == Some(piece.range.start) => last.blocks += piece.range.blocks,
                _ => ranges.push(piece.range),
            }
        }
        ranges
    };
    let survived = of(|lot| *lot == Lot::Survives);
    let mangled = of(|lot| matches!(lot, Lot::Mangled(_)));
    match (survived.as_slice(), mangled.as_slice()) {
        ([], []) => Fate::Lost,
        ([all], []) if *all == range => Fate::Survived,
        _ => Fate::Torn { survived, mangled },
    }
}
