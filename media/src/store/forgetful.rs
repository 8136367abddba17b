//! What lies under the failing disk of the tests: a file as the system shows it, the same as the disk has it, and what was done since
//! the last good sync. A failure of the host leaves of that what Linux and a disk may leave, and errors are told as Linux tells them.
//! Owns bytes and random numbers; does not know in which order it is asked, or what the bytes mean.
//!
//! Of a sector a failure leaves any of the contents that it had since the sync, of a block of a hole that was made either the hole or
//! what it had before, and any of the sizes: each by itself, in whatever order it was done. A file whose growth was lost ends behind the
//! last of its bytes that was not; where its truncation was lost, what was cut off is there again.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use super::backing::StoreError;
use super::schedule::{Bytes, Platter, Since};
use crate::power::Random;
use crate::unit::index;

/// Bytes that a disk writes wholly or not at all.
const SECTOR: usize = 512;
/// Bytes of a block, which is allocated, and made a hole, as a whole.
const BLOCK: usize = 4096;

/// Bytes of a file, and how long it is: behind the bytes there is a hole.
#[derive(Clone, Default)]
struct Contents {
    bytes: Vec<u8>,
    length: usize,
}

impl Contents {
    fn write(&mut self, at: usize, from: &[u8]) {
        let end = at + from.len();
        self.bytes.resize(self.bytes.len().max(end), 0);
        self.bytes[at..end].copy_from_slice(from);
        self.length = self.length.max(end);
    }

    /// Zeroes, which make nothing longer.
    fn punch(&mut self, range: Range<usize>) {
        let end = range.end.min(self.bytes.len());
        self.bytes[range.start.min(end)..end].fill(0);
    }

    fn set_length(&mut self, length: usize) {
        self.bytes.truncate(length);
        self.length = length;
    }

    fn read(&self, at: usize, into: &mut [u8]) {
        into.fill(0);
        let from = self.bytes.get(at..).unwrap_or_default();
        let count = from.len().min(into.len());
        into[..count].copy_from_slice(&from[..count]);
    }

    /// Becomes what another one is, within a range.
    fn follow(&mut self, other: &Self, range: Range<usize>) {
        let end = range.end.min(other.bytes.len());
        let start = range.start.min(end);
        if start < end {
            self.write(start, &other.bytes[start..end]);
        }
        self.punch(end.max(range.start)..range.end);
        self.length = self.length.max(range.end.min(other.length));
    }
}

/// Something that was done since the last sync.
#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Hole(Range<usize>),
    Length(usize),
}

impl Change {
    fn apply(&self, to: &mut Contents) {
        match self {
            Self::Write(at, bytes) => to.write(*at, bytes),
            Self::Hole(range) => to.punch(range.clone()),
            Self::Length(length) => to.set_length(*length),
        }
    }

    fn range(&self) -> Range<usize> {
        match self {
            Self::Write(at, bytes) => *at..*at + bytes.len(),
            Self::Hole(range) => range.clone(),
            Self::Length(length) => *length..*length,
        }
    }

    /// The pieces of it that are there or not, each by itself: sectors, and of a hole whole blocks where it has any.
    fn grains(&self) -> Vec<Range<usize>> {
        let Range { mut start, end } = self.range();
        let mut grains = Vec::new();
        while start < end {
            let whole_block = start.is_multiple_of(BLOCK) && start + BLOCK <= end;
            let grain = if matches!(self, Self::Hole(_)) && whole_block { BLOCK } else { SECTOR };
            let next = end.min((start / grain + 1) * grain);
            grains.push(start..next);
            start = next;
        }
        grains
    }
}

/// What a failure of the host left of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Lost,
    /// Of its grains some.
    Torn,
}

/// How a failure chooses.
enum Mood {
    /// Each change by itself: of this many eighths of them nothing is left.
    Each(u64),
    /// One side of a place was written back, and the other one was not.
    Side(usize, bool),
}

impl Mood {
    fn draw(random: &mut Random, length: usize) -> Self {
        match random.below(4) {
            0 => Self::Side(index(random.below(length as u64 + 1)), random.below(2) == 0),
            _ => Self::Each(random.pick(&[1, 4, 4, 7])),
        }
    }

    fn fate(&self, change: &Change, random: &mut Random) -> Fate {
        if random.below(8) == 0 {
            return Fate::Torn;
        }
        let lost = match self {
            Self::Each(eighths) => random.below(8) < *eighths,
            Self::Side(place, before) => (change.range().start < *place) == *before,
        };
        if lost { Fate::Lost } else { Fate::Kept }
    }
}

/// What failures of the host left, for whoever reads a test that failed.
#[derive(Clone, Debug, Default)]
pub struct Loss(Vec<(&'static str, Range<usize>, Fate)>);

impl fmt::Display for Loss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(what, range, fate)| writeln!(formatter, "{what} {range:?} {fate:?}"))
    }
}

/// Errors to come.
struct Errors {
    random: Random,
    per_mille: u64,
    /// Something could not be written since the last sync, which will say so.
    late: bool,
}

impl Errors {
    fn strikes(&mut self) -> Result<(), StoreError> {
        if self.random.below(1000) >= self.per_mille {
            return Ok(());
        }
        Err(match self.random.below(2) {
            0 => full(),
            _ => StoreError::Failed("the disk fails, as the test wants it".into()),
        })
    }
}

pub(super) fn full() -> StoreError {
    StoreError::NoSpace("the disk is full, as the test wants it".into())
}

/// The platter.
pub(super) struct Forgetful {
    durable: Contents,
    visible: Contents,
    unsynced: Vec<Change>,
    /// Blocks of which the system believes that it is known where they lie.
    astray: BTreeSet<usize>,
    /// The file system knows holes.
    holes: bool,
    order: Random,
    errors: Option<Errors>,
}

impl Forgetful {
    pub(super) fn new(seed: u64) -> Self {
        let mut order = Random::new(seed ^ 1);
        Self {
            durable: Contents::default(),
            visible: Contents::default(),
            unsynced: Vec::new(),
            astray: BTreeSet::new(),
            holes: order.below(4) != 0,
            order,
            errors: None,
        }
    }

    /// This many of a thousand calls fail from now on, by this seed.
    pub(super) fn set_errors(&mut self, errors: Option<(u64, u64)>) {
        let late = self.errors.as_ref().is_some_and(|errors| errors.late);
        let of = |(seed, per_mille)| Errors { random: Random::new(seed), per_mille, late };
        // What went wrong before is told by the next sync, whether or not more does.
        self.errors = errors.or(late.then_some((0, 0))).map(of);
    }

    pub(super) fn read(&self, offset: u64, into: &mut [u8]) {
        self.visible.read(index(offset), into);
    }

    /// How long the file is.
    pub(super) fn length(&self) -> u64 {
        self.visible.length as u64
    }

    /// Makes the file longer or shorter.
    pub(super) fn set_length(&mut self, length: u64) {
        self.change(Change::Length(index(length)));
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.visible);
        self.unsynced.push(change);
    }

    /// The host fails.
    pub(super) fn forget(&mut self, random: &mut Random) -> Loss {
        let mood = Mood::draw(random, self.visible.bytes.len());
        let chance = 1 + random.below(8);
        let (mut seen, mut loss) = (self.durable.clone(), Loss::default());
        for change in std::mem::take(&mut self.unsynced) {
            change.apply(&mut seen);
            let fate = mood.fate(&change, random);
            let kept = |random: &mut Random| match fate {
                Fate::Kept => true,
                Fate::Lost => false,
                Fate::Torn => random.below(chance) != 0,
            };
            let what = match &change {
                Change::Write(..) => "write",
                Change::Hole(_) => "hole",
                Change::Length(_) => "length",
            };
            loss.0.push((what, change.range(), fate));
            for grain in change.grains() {
                if kept(random) {
                    self.durable.follow(&seen, grain);
                }
            }
            if let Change::Length(length) = change
                && kept(random)
            {
                self.durable.set_length(length);
            }
        }
        self.visible.clone_from(&self.durable);
        loss
    }

    /// Whoever opens the file has what is in the system's memory written first, and reads what the disk has then.
    pub(super) fn open_again(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            self.write_back(&change, None);
        }
        self.visible.clone_from(&self.durable);
        // The file system is mounted again: it believes what is written.
        self.astray.clear();
    }

    /// Sectors of what was written reach the disk, or do not: then the system takes them for clean all the same.
    fn write_back(&mut self, change: &Change, errors: Option<&mut Errors>) {
        if let Change::Length(length) = change {
            // Of a size that cannot be written down a file system does not say that it is.
            self.durable.set_length(*length);
        }
        let mut errors = errors;
        for grain in change.grains() {
            let fate = errors.as_mut().map_or(0, |errors| errors.random.below(4));
            if fate > 1 && errors.as_mut().is_some_and(|errors| errors.random.below(4) == 0) {
                self.lead_astray(grain.start / BLOCK);
            }
            match fate {
                0 | 1 if self.astray.contains(&(grain.start / BLOCK)) => {}
                0 | 1 => self.durable.follow(&self.visible, grain),
                2 => {}
                _ => self.visible.follow(&self.durable, grain),
            }
        }
    }

    /// A block that was a hole, and of which it was not written down where it lies.
    fn lead_astray(&mut self, block: usize) {
        let mut bytes = [0; BLOCK];
        // What has no holes cannot be mended, and is not led astray.
        if !self.holes {
            return;
        }
        self.durable.read(block * BLOCK, &mut bytes);
        if bytes.iter().all(|byte| *byte == 0) {
            self.astray.insert(block);
        }
    }

    /// What is clean of this is read from the disk from now on.
    fn drop_cache(&mut self, since: &Since) {
        for (offset, bytes) in since.kept.writes() {
            self.visible.follow(&self.durable, index(offset)..index(offset) + bytes.len());
        }
        for change in &self.unsynced {
            change.apply(&mut self.visible);
        }
    }

    /// What the system does by itself: some of what was written is written back, well or not.
    fn write_some_back(&mut self) {
        let Some(mut errors) = self.errors.take() else { return };
        for change in std::mem::take(&mut self.unsynced) {
            if errors.random.below(8) != 0 {
                self.unsynced.push(change);
            } else if errors.strikes().is_err() {
                errors.late = true;
                self.write_back(&change, Some(&mut errors));
            } else {
                self.write_back(&change, None);
            }
        }
        self.errors = Some(errors);
    }
}

impl Platter for Forgetful {
    /// Any one: free writes have no order.
    fn choose(&mut self, free: &mut Vec<(u64, Bytes)>) -> Vec<(u64, Bytes)> {
        let at = index(self.order.below(free.len() as u64));
        vec![free.swap_remove(at)]
    }

    fn write(&mut self, writes: &[(u64, Bytes)]) -> Result<(), StoreError> {
        self.write_some_back();
        for (offset, bytes) in writes {
            self.errors.as_mut().map_or(Ok(()), Errors::strikes)?;
            // A copy: what is below the process does not share its memory.
            self.change(Change::Write(index(*offset), bytes.to_vec()));
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.write_some_back();
        let mut errors = self.errors.take();
        let struck = errors.as_mut().map_or(Ok(()), Errors::strikes);
        for change in std::mem::take(&mut self.unsynced) {
            self.write_back(&change, errors.as_mut().filter(|_| struck.is_err()));
        }
        let late = errors.as_mut().is_some_and(|errors| std::mem::take(&mut errors.late));
        self.errors = errors;
        if late { struck.and(Err(full())) } else { struck }
    }

    fn discard(&mut self, offset: u64, bytes: u64) -> Result<(), StoreError> {
        self.write_some_back();
        self.errors.as_mut().map_or(Ok(()), Errors::strikes)?;
        if self.holes {
            let range = index(offset)..index(offset + bytes);
            let whole = range.start.div_ceil(BLOCK)..range.end / BLOCK;
            self.astray.retain(|block| !whole.contains(block));
            self.change(Change::Hole(range));
        }
        Ok(())
    }

    /// As a file does.
    fn renew(&mut self, since: &Since) -> Result<(), StoreError> {
        self.drop_cache(since);
        let blocks = since.kept.renewable(BLOCK as u64, |offset, into| {
            self.read(offset, into);
            Ok(())
        })?;
        for (offset, bytes) in blocks.iter().chain(&since.discarded) {
            self.discard(*offset, *bytes)?;
        }
        self.write(&since.past.writes())?;
        self.write(&since.kept.writes())?;
        self.sync()?;
        self.drop_cache(since);
        since.kept.compare(|offset, into| {
            self.read(offset, into);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn write(platter: &mut Forgetful, offset: usize, byte: u8, count: usize) {
        platter.write(&[(offset as u64, Bytes::new(vec![byte; count]))]).unwrap();
    }

    /// What failures leave of what is done behind a sync, each as the first byte of the sectors that are looked at, and the length.
    fn left(sectors: &[usize], before: fn(&mut Forgetful), after: fn(&mut Forgetful)) -> BTreeSet<(Vec<u8>, u64)> {
        let of = |seed| {
            let mut platter = Forgetful::new(seed);
            platter.holes = true;
            before(&mut platter);
            platter.sync().unwrap();
            after(&mut platter);
            platter.forget(&mut Random::new(seed));
            let byte = |sector: &usize| {
                let mut bytes = [0; SECTOR];
                platter.read((sector * SECTOR) as u64, &mut bytes);
                assert!(bytes.iter().all(|byte| *byte == bytes[0]), "a sector is whole");
                bytes[0]
            };
            (sectors.iter().map(byte).collect(), platter.length())
        };
        (0..2000).map(of).collect()
    }

    #[test]
    fn of_each_sector_any_of_its_contents_since_the_sync_is_left_whatever_the_order() {
        let states = left(
            &[0, 1, 2],
            |platter| write(platter, 0, 1, 3 * SECTOR),
            |platter| {
                write(platter, 0, 2, 2 * SECTOR);
                write(platter, SECTOR, 3, SECTOR);
            },
        );
        let all: BTreeSet<_> = [1, 2].iter().flat_map(|&a| [1, 2, 3].map(|b| (vec![a, b, 1], 1536))).collect();
        assert_eq!(states, all);
    }

    #[test]
    fn of_a_hole_each_block_is_left_or_not_and_what_was_written_over_it_is_never_taken_away() {
        let per_block = BLOCK / SECTOR;
        let states = left(
            &[0, per_block - 1, per_block, 2 * per_block],
            |platter| write(platter, 0, 1, 3 * BLOCK),
            |platter| {
                platter.discard(0, 2 * BLOCK as u64).unwrap();
                write(platter, BLOCK, 2, SECTOR);
            },
        );
        let all: BTreeSet<_> = [1, 0].iter().flat_map(|&a| [1, 0, 2].map(|b| (vec![a, a, b, 1], 3 * 4096))).collect();
        assert_eq!(states, all);
    }

    #[test]
    fn a_size_is_left_or_not_and_what_is_left_behind_the_end_makes_the_file_longer() {
        let grown = left(&[0], |platter| write(platter, 0, 1, SECTOR), |platter| platter.set_length(4096));
        assert_eq!(grown, [(vec![1], 512), (vec![1], 4096)].into());
        let written = left(
            &[3],
            |platter| write(platter, 0, 1, SECTOR),
            |platter| {
                platter.set_length(4096);
                write(platter, 3 * SECTOR, 2, SECTOR);
            },
        );
        assert_eq!(written, [(vec![0], 512), (vec![0], 4096), (vec![2], 2048), (vec![2], 4096)].into());
        let cut = left(
            &[1],
            |platter| write(platter, 0, 1, 2 * SECTOR),
            |platter| {
                platter.set_length(512);
                platter.set_length(1024);
            },
        );
        assert_eq!(cut, [(vec![0], 512), (vec![0], 1024), (vec![1], 1024)].into());
    }

    #[test]
    fn what_a_sync_covered_stays_whatever_it_was() {
        let states = left(
            &[0, 8, 16],
            |platter| {
                write(platter, 0, 1, 3 * BLOCK);
                platter.discard(BLOCK as u64, BLOCK as u64).unwrap();
                platter.set_length(5 * BLOCK as u64);
            },
            |_| {},
        );
        assert_eq!(states, [(vec![1, 0, 1], 5 * 4096)].into());
    }

    /// A failed sync may leave a block of which the system believes that it is known where it lies: nothing reaches it, whatever later
    /// syncs say, until it is a hole again. Where there are no holes there is nothing to believe.
    #[test]
    fn what_is_written_into_a_block_that_was_led_astray_is_lost_until_it_is_made_a_hole() {
        let lost = |holes: bool, hole_first: bool, written_before: bool| {
            let of = |seed| {
                let mut platter = Forgetful::new(seed);
                platter.holes = holes;
                if written_before {
                    write(&mut platter, 0, 9, BLOCK);
                    platter.sync().unwrap();
                }
                write(&mut platter, 0, 1, BLOCK);
                platter.set_errors(Some((seed, 1000)));
                assert!(platter.sync().is_err());
                platter.set_errors(None);
                if hole_first {
                    platter.discard(0, BLOCK as u64).unwrap();
                }
                write(&mut platter, 0, 2, BLOCK);
                assert_eq!(platter.sync(), Ok(()));
                platter.open_again();
                let mut bytes = [0; BLOCK];
                platter.read(0, &mut bytes);
                bytes != [2; BLOCK]
            };
            (0..100).filter(|seed| of(*seed)).count()
        };
        assert!(lost(true, false, false) > 10);
        assert_eq!((lost(true, true, false), lost(false, false, false), lost(true, false, true)), (0, 0, 0));
    }
}
