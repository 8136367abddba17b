//! Follows a tape for one volume: what of it is durable at a place, by the contract of `media::volume`, and which pieces are not, each of
//! which may survive or not. Owns contents; knows nothing of what is done with them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use media::power::PowerAtomicity;
use media::{Lba, LbaRange, VolumeId};
use twox_hash::XxHash3_64;

use crate::entry::{Change, Entry, Volume};

/// A range that is deallocated is so many pieces at most: where it has more blocks, a piece has several.
const DEALLOCATED_PIECES_MAX: u64 = 16;

/// The contents of a block; none is zeroes.
pub type Block = Option<Arc<[u8]>>;

/// Blocks of a change that survive a power loss together, or not at all.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Its place in the order of everything that was done; pieces of one request follow each other.
    pub number: u64,
    /// The request on the tape.
    pub request: u64,
    /// The command: ordinal, queue, identifier.
    pub command: u64,
    /// The blocks.
    pub range: LbaRange,
    /// What it is, for people.
    pub kind: &'static str,
    /// The outcome was handed over.
    pub ended: bool,
    blocks: Vec<Block>,
}

/// A durable block.
struct Durable {
    /// The piece that wrote it.
    number: u64,
    block: Block,
}

/// A volume at a place of a tape.
pub struct History {
    volume: Volume,
    promise: PowerAtomicity,
    witness: Option<VolumeId>,
    durable: BTreeMap<u64, Durable>,
    /// What reads return.
    latest: BTreeMap<u64, Block>,
    volatile: BTreeMap<u64, Piece>,
    /// By request that has not ended: its pieces.
    open: BTreeMap<u64, Range<u64>>,
    /// By request: durable when it has ended.
    forced: BTreeSet<u64>,
    /// By flush: the pieces that it promises.
    flushes: BTreeMap<u64, Vec<u64>>,
    /// By request: what a witness writes.
    testimonies: BTreeMap<u64, String>,
    marks: Vec<String>,
    pieces: u64,
    fingerprint: u64,
    /// Durable blocks since somebody took them.
    news: BTreeSet<u64>,
    /// Nothing behind can be followed: why.
    over: Option<&'static str>,
}

impl History {
    /// The beginning of a tape, for this volume. What is written to the volume `witness` is text that was acknowledged.
    #[must_use]
    pub fn new(volume: Volume, witness: Option<VolumeId>) -> Self {
        Self {
            volume,
            promise: PowerAtomicity::anywhere(1),
            witness,
            durable: BTreeMap::new(),
            latest: BTreeMap::new(),
            volatile: BTreeMap::new(),
            open: BTreeMap::new(),
            forced: BTreeSet::new(),
            flushes: BTreeMap::new(),
            testimonies: BTreeMap::new(),
            marks: Vec::new(),
            pieces: 0,
            fingerprint: 0,
            news: BTreeSet::new(),
            over: None,
        }
    }

    /// What the volume held before the tape began, from its first block on.
    pub fn preset(&mut self, lba: u64, bytes: &[u8]) {
        for (number, block) in bytes.chunks(self.volume.block_bytes as usize).enumerate() {
            let (lba, block) = (lba + number as u64, content(block));
            self.latest.insert(lba, block.clone());
            self.settle(lba, 0, &block);
        }
    }

    /// The volume.
    #[must_use]
    pub const fn volume(&self) -> &Volume {
        &self.volume
    }

    /// What is not durable here, oldest first.
    pub fn volatile(&self) -> impl Iterator<Item = &Piece> {
        self.volatile.values()
    }

    /// What was acknowledged: marks, and what was written to the witness.
    #[must_use]
    pub fn marks(&self) -> &[String] {
        &self.marks
    }

    /// Why nothing behind this place can be followed, if that is so.
    #[must_use]
    pub const fn over(&self) -> Option<&'static str> {
        self.over
    }

    /// A number of what is durable: equal contents have equal ones.
    #[must_use]
    pub const fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Blocks that became durable since the last call, with what they hold.
    pub fn take_news(&mut self) -> Vec<(u64, Block)> {
        let news = std::mem::take(&mut self.news);
        news.into_iter().filter_map(|lba| Some((lba, self.durable.get(&lba)?.block.clone()))).collect()
    }

    /// What each block holds that differs from what is durable, if just these pieces survive.
    #[must_use]
    pub fn overlay(&self, survives: &[bool]) -> BTreeMap<u64, Block> {
        let mut overlay = BTreeMap::new();
        for (piece, _) in self.volatile.values().zip(survives).filter(|(_, survives)| **survives) {
            for (lba, block) in (piece.range.start.0..).zip(&piece.blocks) {
                if self.durable.get(&lba).is_none_or(|durable| durable.number < piece.number) {
                    overlay.insert(lba, block.clone());
                }
            }
        }
        overlay
    }

    /// The fingerprint with these blocks in place of what is durable.
    #[must_use]
    pub fn fingerprint_with(&self, overlay: &BTreeMap<u64, Block>) -> u64 {
        overlay.iter().fold(self.fingerprint, |sum, (lba, block)| {
            let before = self.durable.get(lba).map_or(0, |durable| hash(*lba, &durable.block));
            sum.wrapping_sub(before).wrapping_add(hash(*lba, block))
        })
    }

    /// Follows an entry.
    pub fn follow(&mut self, entry: &Entry) {
        match entry {
            Entry::Volume(_) => {}
            Entry::Promise(volume, promise) if *volume == self.volume.volume => self.promise = *promise,
            Entry::Holds { volume, range, data } if *volume == self.volume.volume => self.preset(range.start.0, data),
            Entry::Promise(..) | Entry::Holds { .. } => {}
            Entry::Changed { request, command, volume, force, change } => {
                if *volume == self.volume.volume {
                    self.change(*request, *command, change);
                    if *force {
                        self.forced.insert(*request);
                    }
                } else if Some(*volume) == self.witness
                    && let Change::Write { data, .. } = change
                {
                    let text = data.split(|byte| *byte == 0).next().unwrap_or_default();
                    self.testimonies.insert(*request, String::from_utf8_lossy(text).trim_end().to_owned());
                }
            }
            Entry::Flush { request, volume, .. } => {
                if volume.is_none_or(|volume| volume == self.volume.volume) {
                    let ended = self.volatile.values().filter(|piece| piece.ended).map(|piece| piece.number).collect();
                    self.flushes.insert(*request, ended);
                }
            }
            Entry::Ended { request, succeeded } => self.end(*request, *succeeded),
            Entry::Mark(text) => self.marks.push(text.clone()),
            Entry::PowerLost => self.over = Some("power was lost"),
            Entry::Broken => self.over = Some("the tape did not keep up with the drive"),
        }
    }

    fn change(&mut self, request: u64, command: u64, change: &Change) {
        let zeroes = |range: &LbaRange| (*range, vec![None; usize::try_from(range.blocks).unwrap_or(0)]);
        let (kind, parts) = match change {
            Change::Write { range, data } => {
                let blocks = data.chunks(self.volume.block_bytes as usize).map(content).collect();
                ("write", vec![(*range, blocks)])
            }
            Change::Zeroes { range } => ("zeroes", vec![zeroes(range)]),
            Change::Deallocate { ranges } => ("deallocation", ranges.iter().map(zeroes).collect()),
            Change::Uncorrectable { range } => ("uncorrectable", vec![zeroes(range)]),
            Change::Copy { sources, to } => {
                let of = |range: &LbaRange| (range.start.0..range.start.0 + range.blocks).collect::<Vec<_>>();
                let lbas = sources.iter().flat_map(of);
                let blocks: Vec<Block> = lbas.map(|lba| self.latest.get(&lba).cloned().flatten()).collect();
                ("copy", vec![(LbaRange::new(*to, blocks.len() as u64), blocks)])
            }
            Change::Resize { .. } => {
                self.over = Some("the namespace got another size");
                return;
            }
        };
        let first = self.pieces + 1;
        for (range, blocks) in parts {
            for (lba, block) in (range.start.0..).zip(&blocks) {
                self.latest.insert(lba, block.clone());
            }
            let pieces = if kind == "deallocation" { parts_of(range) } else { self.promise.pieces(range) };
            for piece in pieces {
                let start = usize::try_from(piece.start.0 - range.start.0).unwrap_or(0);
                let blocks = blocks[start..start + usize::try_from(piece.blocks).unwrap_or(0)].to_vec();
                self.pieces += 1;
                let number = self.pieces;
                let piece = Piece { number, request, command, range: piece, kind, ended: false, blocks };
                self.volatile.insert(number, piece);
            }
        }
        self.open.insert(request, first..self.pieces + 1);
    }

    fn end(&mut self, request: u64, succeeded: bool) {
        if let Some(text) = self.testimonies.remove(&request).filter(|_| succeeded) {
            self.marks.push(text);
        }
        let forced = self.forced.remove(&request);
        let own = self.open.remove(&request).unwrap_or_default();
        if let Some(pieces) = self.flushes.remove(&request) {
            if succeeded {
                self.make_durable(&pieces);
            }
            return;
        }
        if !succeeded {
            // Each block is old or new, and stays so.
            return;
        }
        for (_, piece) in self.volatile.range_mut(own.clone()) {
            piece.ended = true;
        }
        if forced {
            self.make_durable(&own.collect::<Vec<_>>());
        }
    }

    fn make_durable(&mut self, numbers: &[u64]) {
        for number in numbers {
            let Some(piece) = self.volatile.remove(number) else { continue };
            for (lba, block) in (piece.range.start.0..).zip(&piece.blocks) {
                self.settle(lba, *number, block);
            }
        }
        // What lies wholly under something durable that is newer cannot be seen any more.
        let durable = &self.durable;
        let is_seen = |piece: &Piece| {
            let lbas = piece.range.start.0..piece.range.start.0 + piece.range.blocks;
            lbas.into_iter().any(|lba| durable.get(&lba).is_none_or(|durable| durable.number < piece.number))
        };
        self.volatile.retain(|_, piece| !piece.ended || is_seen(piece));
    }

    fn settle(&mut self, lba: u64, number: u64, block: &Block) {
        let before = self.durable.get(&lba);
        if before.is_some_and(|before| before.number > number) {
            return;
        }
        let lost = before.map_or(0, |before| hash(lba, &before.block));
        self.fingerprint = self.fingerprint.wrapping_sub(lost).wrapping_add(hash(lba, block));
        self.durable.insert(lba, Durable { number, block: block.clone() });
        self.news.insert(lba);
    }
}

/// The parts of a range that is deallocated.
fn parts_of(range: LbaRange) -> Vec<LbaRange> {
    let step = range.blocks.div_ceil(DEALLOCATED_PIECES_MAX).max(1);
    let part = |skip| LbaRange::new(Lba(range.start.0 + skip), step.min(range.blocks - skip));
    (0..range.blocks).step_by(usize::try_from(step).unwrap_or(usize::MAX)).map(part).collect()
}

/// Bytes as the contents of a block.
#[must_use]
pub fn content(bytes: &[u8]) -> Block {
    bytes.iter().any(|byte| *byte != 0).then(|| bytes.into())
}

/// A block's part of a fingerprint; that of zeroes is 0.
fn hash(lba: u64, block: &Block) -> u64 {
    block.as_ref().map_or(0, |bytes| XxHash3_64::oneshot_with_seed(lba, bytes))
}
