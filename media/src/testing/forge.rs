//! Images that somebody has been at who knows the format: numbers of decoded structures are replaced, and the checksums made right again.

use super::choices::Choices;
use crate::codec::Writer;
use crate::geometry::Geometry;
use crate::journal::{
    Deallocation, HEADER_BYTES, HeaderState, Kind, LineHeader, METADATA_PAGE, RECORD_BYTES, Record, map_page_checksum,
};
use crate::root::{Counters, Layout, Root, VolumeEntry};
use crate::unit::{index, narrow};

const STATES: [HeaderState; 4] = [HeaderState::Erased, HeaderState::Open, HeaderState::Closed, HeaderState::Retired];
const KINDS: [Kind; 6] = [Kind::Hole, Kind::Padding, Kind::Host, Kind::Collected, Kind::Wear, Kind::Abandoned];

/// An image to be forged.
pub struct Forge<'a> {
    image: &'a mut Vec<u8>,
    geometry: &'a Geometry,
    layout: Layout,
    metadata_bytes: usize,
}

impl<'a> Forge<'a> {
    /// Over an image of this geometry, with a metadata region of this many bytes.
    #[must_use]
    pub fn new(image: &'a mut Vec<u8>, geometry: &'a Geometry, journal_entries: u64, metadata_bytes: u64) -> Self {
        let layout = Layout::of(geometry, journal_entries);
        Self { image, geometry, layout, metadata_bytes: index(metadata_bytes) }
    }

    /// Changes something.
    pub fn change(&mut self, choices: &mut Choices<'_>) {
        match choices.below(8) {
            0 | 1 => self.roots(choices, &mut change_root),
            2 => self.header(choices),
            3 => self.records(choices),
            4 | 5 => self.map(choices),
            6 => self.journal(choices),
            _ => damage(self.image, choices),
        }
    }

    fn bytes(&mut self, at: usize, bytes: usize) -> Option<&mut [u8]> {
        self.image.get_mut(at..at + bytes)
    }

    fn root_at(&self, generation: u64) -> usize {
        METADATA_PAGE + index(self.layout.root_at(generation))
    }

    /// Changes both roots, or one.
    fn roots(&mut self, choices: &mut Choices<'_>, change: &mut dyn FnMut(&mut Root, &mut Choices<'_>)) {
        let which = choices.below(3);
        for generation in (0..2).filter(|generation| which == 2 || which == index(*generation)) {
            let at = self.root_at(generation);
            let Some(mut root) = self.image.get(at..).and_then(Root::decode) else { continue };
            change(&mut root, choices);
            self.put_root(at, &root);
        }
    }

    fn put_root(&mut self, at: usize, root: &Root) {
        let encoded = root.encode();
        if encoded.len() as u64 <= self.layout.root_bytes
            && let Some(bytes) = self.bytes(at, encoded.len())
        {
            bytes.copy_from_slice(&encoded);
        }
    }

    fn line_at(&self, line: u32) -> usize {
        let records = (self.geometry.units_per_line as usize * RECORD_BYTES).next_multiple_of(METADATA_PAGE);
        let stride = METADATA_PAGE + records + self.geometry.line_bytes.next_multiple_of(METADATA_PAGE);
        METADATA_PAGE + self.metadata_bytes.next_multiple_of(METADATA_PAGE) + line as usize * stride
    }

    fn any_line(&self, choices: &mut Choices<'_>) -> u32 {
        narrow(choices.below(self.geometry.lines as usize))
    }

    fn header_of(&self, line: u32) -> Option<LineHeader> {
        LineHeader::decode(line, self.image.get(self.line_at(line)..)?)
    }

    fn header(&mut self, choices: &mut Choices<'_>) {
        let line = self.any_line(choices);
        let Some(mut header) = self.header_of(line) else { return };
        // Now and then the header of another line.
        if choices.below(6) == 0 {
            header = self.header_of(self.any_line(choices)).unwrap_or(header);
        }
        for _ in 0..=choices.below(2) {
            change_header(&mut header, choices);
        }
        let (at, encoded) = (self.line_at(line), header.encode(line));
        if let Some(bytes) = self.bytes(at, HEADER_BYTES) {
            bytes.copy_from_slice(&encoded);
        }
    }

    fn records(&mut self, choices: &mut Choices<'_>) {
        let line = self.any_line(choices);
        let opened = self.header_of(line).map_or(0, |header| header.opened);
        for _ in 0..=choices.below(6) {
            let slot = choices.below(self.geometry.units_per_line as usize);
            let from = if choices.below(3) == 0 { choices.below(self.geometry.units_per_line as usize) } else { slot };
            let start = self.line_at(line) + METADATA_PAGE;
            let stored = self.bytes(start + from * RECORD_BYTES, RECORD_BYTES);
            let (mut record, check) = stored.and_then(|bytes| Record::decode(opened, bytes)).unwrap_or_default();
            change_record(&mut record, choices);
            let mut writer = Writer::default();
            record.encode(opened, check, &mut writer);
            if let Some(bytes) = self.bytes(start + slot * RECORD_BYTES, RECORD_BYTES) {
                bytes.copy_from_slice(&writer.0);
            }
        }
    }

    /// Changes entries of the map, and the checksums that the roots hold of its pages.
    fn map(&mut self, choices: &mut Choices<'_>) {
        let (unit, other) = (choices.below(self.geometry.user_units as usize), choices.below(1 << 16));
        let (how, small) = (choices.below(5), choices.small(0));
        for generation in 0..2 {
            let at = self.root_at(generation);
            let Some(mut root) = self.image.get(at..).and_then(Root::decode) else { continue };
            let page = unit / (METADATA_PAGE / 4);
            let (Some(word), Some(_)) = (root.basis.homes.get(page / 64), root.basis.sums.get(page)) else { continue };
            let second = word >> (page % 64) & 1 == 1;
            let home = METADATA_PAGE + index(self.layout.map_at(page as u64, second));
            let Some(bytes) = self.bytes(home, METADATA_PAGE) else { continue };
            let entries = bytes.as_chunks_mut::<4>().0;
            let (entry, other) = (unit % entries.len(), other % entries.len());
            match how {
                0 => entries[entry] = entries[other],
                1 => entries[entry] = small.to_le_bytes(),
                2 => entries[entry][3] ^= 0x80,
                3 => entries[entry] = [0; 4],
                // A place in the same line, or near it.
                _ => entries[entry][0] ^= small.to_le_bytes()[0] & 31,
            }
            if let Some(bytes) = self.image.get(home..).and_then(|bytes| bytes.first_chunk()) {
                root.basis.sums[page] = map_page_checksum(page as u64, bytes);
            }
            self.put_root(at, &root);
        }
    }

    fn journal(&mut self, choices: &mut Choices<'_>) {
        let newest = (0..2).filter_map(|generation| self.image.get(self.root_at(generation)..).and_then(Root::decode));
        let Some(root) = newest.max_by_key(|root| root.generation) else { return };
        for _ in 0..=choices.below(4) {
            let position = root.basis.journal_begin.wrapping_add(choices.below(140) as u64);
            let at = METADATA_PAGE + index(self.layout.journal_at(position));
            let stored = self.bytes(at, RECORD_BYTES).and_then(|bytes| Deallocation::decode(position, bytes));
            let (mut entry, mut metadata) = stored.unwrap_or_default();
            match choices.below(5) {
                0 => entry.sequence = choices.number(root.next_sequence),
                1 => entry.first = choices.small(entry.first),
                2 => entry.units = choices.small(entry.units),
                3 => metadata = choices.number(metadata),
                _ => {
                    let sequence = root.next_sequence.wrapping_add(choices.below(64) as u64);
                    entry = Deallocation { sequence, first: choices.small(3), units: choices.small(9) };
                }
            }
            let mut writer = Writer::default();
            entry.encode(position, metadata, &mut writer);
            if let Some(bytes) = self.bytes(at, RECORD_BYTES) {
                bytes.copy_from_slice(&writer.0);
            }
        }
    }
}

/// Changes bytes without knowing what they are.
pub fn damage(image: &mut Vec<u8>, choices: &mut Choices<'_>) {
    let place = |choices: &mut Choices<'_>, bytes: usize| choices.below(1 << 16) * bytes / (1 << 16);
    let from = place(choices, image.len());
    let to = (from + choices.below(1 << 14)).min(image.len());
    match choices.below(5) {
        0 if from < to => image[from] ^= 1 << (choices.byte() % 8),
        1 => image[from..to].fill(0),
        2 => image[from..to].fill_with(|| choices.byte()),
        3 => {
            let other = place(choices, image.len() - (to - from) + 1);
            image.copy_within(other..other + (to - from), from);
        }
        _ => image.truncate(from),
    }
}

fn change_root(root: &mut Root, choices: &mut Choices<'_>) {
    match choices.below(9) {
        0 => change_numbers(root, choices),
        1 => {
            let mut words = root.counters.to_words();
            let at = choices.below(words.len());
            words[at] = choices.number(words[at]);
            root.counters = Counters::from_words(words);
        }
        2 => {
            let begin = choices.number(root.next_sequence);
            root.voids.push((begin, begin.wrapping_add(choices.number(0))));
        }
        3 => change_volumes(root, choices),
        4 => root.bad_blocks.push((choices.small(0) % 8, choices.small(0))),
        5 => root.replaced.push((choices.small(0), choices.small(0) % 8, choices.small(100))),
        6 => {
            let at = choices.below(root.basis.homes.len().max(1));
            if let Some(word) = root.basis.homes.get_mut(at) {
                *word ^= choices.number(0);
            }
        }
        7 => {
            let at = choices.below(root.basis.sums.len().max(1));
            if let Some(sum) = root.basis.sums.get_mut(at) {
                *sum = choices.number(0);
            }
        }
        _ => {
            let at = choices.below(2);
            root.basis.slot[at] = choices.small(root.basis.slot[at]);
            root.programmed[choices.below(2)] = choices.small(root.programmed[0]);
        }
    }
}

fn change_numbers(root: &mut Root, choices: &mut Choices<'_>) {
    let opened = choices.below(2);
    let number = match choices.below(8) {
        0 => &mut root.generation,
        1 => &mut root.next_sequence,
        2 => &mut root.next_event,
        3 => &mut root.ledger_event,
        4 => &mut root.basis.journal_begin,
        5 => &mut root.basis.horizon,
        6 => &mut root.basis.opened[opened],
        _ => {
            root.clean = !root.clean;
            return;
        }
    };
    *number = choices.number(*number);
}

fn change_volumes(root: &mut Root, choices: &mut Choices<'_>) {
    let at = choices.below(root.volumes.len().max(1));
    match (choices.below(7), root.volumes.get_mut(at)) {
        (0, _) => drop(root.volumes.pop()),
        (1, Some(volume)) => {
            let copy = *volume;
            root.volumes.push(copy);
        }
        (_, Some(volume)) => {
            let VolumeEntry { block_bytes, metadata_bytes, first_unit, units, capacity_blocks } = volume;
            match choices.below(5) {
                0 => *block_bytes = 512 << choices.below(3),
                1 => *metadata_bytes = [0, 8, 16, 64][choices.below(4)],
                2 => *first_unit = choices.small(*first_unit),
                3 => *units = choices.small(*units),
                _ => *capacity_blocks = choices.number(*capacity_blocks),
            }
        }
        _ => {}
    }
}

fn change_header(header: &mut LineHeader, choices: &mut Choices<'_>) {
    match choices.below(9) {
        0 => {
            header.state = STATES[choices.below(STATES.len())];
        }
        1 => header.stream = choices.byte() % 2,
        2 => header.erase_count = choices.small(header.erase_count),
        3 => header.opened = choices.number(header.opened),
        4 => header.event = choices.number(header.event),
        5 => header.horizon = choices.number(header.horizon),
        6 => header.used = choices.small(header.used),
        7 => header.programmed[choices.below(2)] = choices.small(header.used),
        _ => header.ledger.count_metadata(choices.number(0) >> 12),
    }
}

fn change_record(record: &mut Record, choices: &mut Choices<'_>) {
    match choices.below(8) {
        0 => record.sequence = choices.number(record.sequence),
        1 => record.logical = choices.small(record.logical),
        2 => record.host_sectors = choices.small(record.host_sectors),
        3 => record.position = choices.small(record.position.into()).to_le_bytes()[0].into(),
        4 => record.length = choices.small(record.length.into()).to_le_bytes()[0].into(),
        5 => record.uncorrectable = !record.uncorrectable,
        6 => {
            record.kind = KINDS[choices.below(KINDS.len())];
        }
        _ => {}
    }
}
