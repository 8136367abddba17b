//! Owns what is volatile: which requests staged what is not committed, and where their data lies, at the moment at which power goes.
//! Does not know who cut, nor what survives.

use std::collections::BTreeMap;

use super::{Ftl, HOST};
use crate::journal::{Kind, Record};
use crate::power::{Mark, Step};
use crate::store::Store;
use crate::unit::{LogicalUnit, PhysicalUnit, narrow};

/// Which request staged a unit, and whether its units stand or fall together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    /// The command, or, where none was named, one that no other request has and that has no queue.
    pub mark: Mark,
    /// Each unit by itself: the request is above the atomic unit.
    pub loose: bool,
    /// The blocks become uncorrectable, instead of taking data.
    pub uncorrectable: bool,
}

/// A part of a unit that a request wrote.
#[derive(Clone, Copy, Debug)]
pub struct PartNote {
    sequence: u64,
    offset: u32,
    bytes: u32,
    tag: Tag,
}

impl PartNote {
    /// The unit has another sequence number now.
    pub(super) fn renumber(&mut self, numbers: &BTreeMap<u64, u64>) {
        self.sequence = numbers.get(&self.sequence).copied().unwrap_or(self.sequence);
    }
}

/// A request, or the part of it that is volatile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Who asked for it.
    pub tag: Tag,
    /// Its (first) sequence number.
    pub sequence: u64,
    /// The first unit.
    pub first: LogicalUnit,
    /// The first byte of it in the first unit.
    pub offset: usize,
    /// Bytes from there on, in units that follow each other.
    pub bytes: usize,
    /// Where each unit lies, and whether it holds uncorrectable blocks; empty for a deallocation.
    pub places: Vec<(PhysicalUnit, bool)>,
    /// All units of its group are there.
    pub complete: bool,
}

impl Held {
    /// Whether it is a deallocation.
    #[must_use]
    pub fn deallocates(&self) -> bool {
        self.places.is_empty()
    }
}

impl<S: Store> Ftl<S> {
    /// Notes that a step was reached; returns whether power is lost. At the moment of the loss what is volatile is put down, because
    /// the code above runs on.
    #[inline]
    pub(crate) fn reached(&mut self, step: Step) -> bool {
        self.nand.power.attentive() && self.reached_armed(step)
    }

    /// Steps between which nothing happens: one look while nothing is armed.
    #[inline]
    pub(crate) fn reached_each<const STEPS: usize>(&mut self, steps: [Step; STEPS]) {
        if self.nand.power.attentive() {
            steps.into_iter().for_each(|step| _ = self.reached_armed(step));
        }
    }

    #[cold]
    fn reached_armed(&mut self, step: Step) -> bool {
        if matches!(step, Step::UnitStaged | Step::GroupStaged) {
            self.nand.power.volatile(self.streams[HOST].staged().into(), step);
        }
        let lost = self.nand.power.reached(step);
        if lost {
            self.freeze();
        }
        lost
    }

    /// Puts down what is volatile, once.
    #[cold]
    pub(crate) fn freeze(&mut self) {
        if self.frozen.is_none() {
            self.frozen = Some(self.volatile());
        }
    }

    /// The tag of the request that is carried out.
    #[inline]
    pub(crate) fn tag_of_request(&self, grouped: bool) -> Tag {
        let named = self.nand.power.mark();
        let mark = if named.is_none() { Mark::of_nobody(self.sequence) } else { named };
        Tag { mark, loose: !grouped, uncorrectable: false }
    }

    /// Notes that the request at hand wrote a part of the unit with this sequence number.
    pub(crate) fn note_part(&mut self, sequence: u64, offset: usize, bytes: usize) {
        if self.parts.len() == self.parts.capacity() {
            let committed = self.committed;
            self.parts.retain(|part| part.sequence > committed);
        }
        let (offset, bytes) = (narrow(offset), narrow(bytes));
        self.parts.push(PartNote { sequence, offset, bytes, tag: self.tag });
    }

    /// Keeps the uncommitted units below slot `end` of the line that a stream leaves in mind, if it is the host's.
    pub(crate) fn carry(&mut self, stream: usize, end: u32) {
        if stream != HOST {
            return;
        }
        let committed = self.committed;
        let host = &mut self.streams[HOST];
        host.carried.retain(|(record, ..)| record.sequence > committed);
        for slot in (host.resumed as usize..end as usize).rev() {
            let record = &host.records[slot];
            match record.kind {
                // Slots are in the order of sequence numbers: what lies before is committed too.
                Kind::Host if record.sequence <= committed => break,
                Kind::Host => {
                    let place = self.geometry.physical(host.line, narrow(slot));
                    host.carried.push((*record, place, host.tags[slot]));
                }
                _ => {}
            }
        }
    }

    /// Those that lay from slot `first` of a line on are staged in another one now.
    pub(crate) fn put_down(&mut self, line: u32, first: u32) {
        let geometry = &self.geometry;
        let stays = |place| geometry.line_of(place) != line || geometry.slot_of(place) < first;
        self.streams[HOST].carried.retain(|(_, place, _)| stays(*place));
    }

    /// Everything that the host did and that is not committed, oldest first.
    #[must_use]
    pub(crate) fn volatile(&self) -> Vec<Held> {
        let mut held: Vec<Held> = Vec::new();
        let mut units = self.uncommitted_units();
        units.sort_by_key(|(record, ..)| record.sequence);
        for (record, place, tag) in units {
            let parts: Vec<_> = self.parts.iter().filter(|part| part.sequence == record.sequence).copied().collect();
            let (offset, bytes) = (0, narrow(self.geometry.unit_bytes()));
            let whole = PartNote { sequence: record.sequence, offset, bytes, tag };
            let parts = if parts.is_empty() { vec![whole] } else { parts };
            for part in parts {
                self.hold(&mut held, &record, place, part);
            }
        }
        for held in &mut held {
            held.complete = held.tag.loose || held.complete;
        }
        let journaled = self.journaled.iter().filter(|(entry, _)| entry.sequence > self.committed);
        held.extend(journaled.chain(&self.deallocations).map(|(entry, tag)| Held {
            tag: *tag,
            sequence: entry.sequence,
            first: LogicalUnit(entry.first),
            offset: 0,
            bytes: (entry.units as usize) << self.geometry.unit_shift,
            places: Vec::new(),
            complete: true,
        }));
        held.sort_by_key(|held| held.sequence);
        held
    }

    fn uncommitted_units(&self) -> Vec<(Record, PhysicalUnit, Tag)> {
        let host = &self.streams[HOST];
        let carried = host.carried.iter().copied();
        let here = (host.resumed as usize..host.next as usize)
            .map(|slot| (host.records[slot], self.geometry.physical(host.line, narrow(slot)), host.tags[slot]));
        carried
            .chain(here)
            .filter(|(record, ..)| record.kind == Kind::Host && record.sequence > self.committed)
            .collect()
    }

    /// Adds a part of a unit: to what is held of the same request if it goes on there.
    fn hold(&self, held: &mut Vec<Held>, record: &Record, place: PhysicalUnit, part: PartNote) {
        let (offset, bytes) = (part.offset as usize, part.bytes as usize);
        let last = record.position + 1 == record.length;
        if let Some(before) = held.last_mut()
            && before.tag == part.tag
            && offset == 0
            && before.first.0 + narrow(before.places.len()) == record.logical
            && (before.offset + before.bytes).is_multiple_of(self.geometry.unit_bytes())
            && (part.tag.loose || record.position > 0)
            && before.sequence + before.places.len() as u64 == record.sequence
        {
            before.bytes += bytes;
            before.places.push((place, record.uncorrectable));
            before.complete = last;
            return;
        }
        held.push(Held {
            tag: part.tag,
            sequence: record.sequence,
            first: LogicalUnit(record.logical),
            offset,
            bytes,
            places: vec![(place, record.uncorrectable)],
            // A combined part is complete with the unit that it went into; the first unit of a group alone is not the group.
            complete: last && record.position == 0,
        });
    }
}

#[cfg(test)]
mod tests {
    use crate::ftl::parts::PARTS_MAX;
    use crate::ssd::{CacheConfig, Ssd, SsdConfig, VolumeConfig};
    use crate::store::MemoryStore;
    use crate::volume::{Fault, Media, Request, Source, Submitted, Token, VolumeId};
    use crate::{Lba, LbaRange, Nanoseconds};

    struct Zeroes;

    impl Source for Zeroes {
        fn fill(&mut self, _offset: usize, into: &mut [u8]) -> Result<(), Fault> {
            into.fill(0);
            Ok(())
        }
    }

    #[test]
    fn parts_of_units_are_remembered_until_they_are_durable_and_no_longer() {
        let config = SsdConfig { volumes: vec![VolumeConfig::new(512, 0, 4096)], ..SsdConfig::default() };
        let geometry = config.checked().expect("a configuration");
        let mut ssd = Ssd::create(config, MemoryStore::new(&geometry).expect("memory")).expect("a drive");
        for n in 0..2000 {
            let range = LbaRange::new(Lba(n), 1);
            let request = Request::Write { range, from: &mut Zeroes, force: n % 8 == 0 };
            assert_eq!(ssd.submit(Nanoseconds(0), Token(1), VolumeId(0), request), Submitted::Done(Ok(())));
        }
        assert!(ssd.ftl().parts.capacity() <= 64, "{} parts", ssd.ftl().parts.capacity());
        assert_eq!(ssd.volatile().len(), 7, "what came after the last forced write");
    }

    #[test]
    fn parts_of_one_unit_written_for_ever_take_no_more_memory() {
        let volumes = vec![VolumeConfig::new(512, 0, 1 << 15)];
        let cache = CacheConfig { age_max: Nanoseconds(u64::MAX), ..CacheConfig::default() };
        let config = SsdConfig { volumes, cache, ..SsdConfig::default() };
        let geometry = config.checked().expect("a configuration");
        let mut ssd = Ssd::create(config, MemoryStore::new(&geometry).expect("memory")).expect("a drive");
        for _ in 0..3 * PARTS_MAX {
            let range = LbaRange::new(Lba(1), 1);
            let request = Request::Write { range, from: &mut Zeroes, force: false };
            assert_eq!(ssd.submit(Nanoseconds(0), Token(1), VolumeId(0), request), Submitted::Done(Ok(())));
        }
        assert!(ssd.ftl().parts.capacity() <= 2 * PARTS_MAX, "{}", ssd.ftl().parts.capacity());
    }
}
