//! Owns what the log says about itself: the out-of-band record of a unit, the header (and summary) of a line, the deallocation
//! journal, the root of a checkpoint, and where they lie in the metadata region. Knows neither the map nor the policies.
//!
//! One sequence number space orders everything the host did: each unit written and each deallocation takes the next number. A unit
//! that is moved keeps its number, because it is still the same version. A *group* is what one host request must keep together: the
//! units `sequence - position .. + length`; recovery counts a group only when all of it is there, and stops at the first gap above
//! the *horizon*, the number up to which everything is known to have been programmed.

use crate::codec::{Reader, Writer, checksum, mix};
use crate::ledger::Ledger;

/// Bytes of a metadata page: the unit in which metadata is accounted, and in which map pages are written.
pub const METADATA_PAGE: usize = 4096;
/// Map entries of a map page.
pub const ENTRIES_PER_PAGE: usize = METADATA_PAGE / 4;
/// Bytes of an encoded [`Record`].
pub const RECORD_BYTES: usize = 32;
/// Bytes of an encoded [`LineHeader`]; smaller than a sector, so that no disk tears it.
pub const HEADER_BYTES: usize = 256;

/// What a programmed slot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Nothing was programmed here (a page that a loss of power interrupted).
    #[default]
    Hole,
    /// Programmed to end a page; no contents.
    Padding,
    /// A unit of the host.
    Host,
    /// A unit moved by garbage collection or out of a failed block.
    Collected,
    /// A unit moved by wear levelling.
    Wear,
    /// A unit of the host whose request failed half way; it keeps its number, so that the sequence has no gap.
    Abandoned,
}

impl Kind {
    const ALL: [Self; 6] = [Self::Hole, Self::Padding, Self::Host, Self::Collected, Self::Wear, Self::Abandoned];

    fn code(self) -> u8 {
        match self {
            Self::Hole => 0,
            Self::Padding => 1,
            Self::Host => 2,
            Self::Collected => 3,
            Self::Wear => 4,
            Self::Abandoned => 5,
        }
    }

    /// Whether the slot holds a version of a logical unit.
    #[must_use]
    pub const fn holds_unit(self) -> bool {
        matches!(self, Self::Host | Self::Collected | Self::Wear)
    }
}

/// The out-of-band record of one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The sequence number of the version; 0 where there is none.
    pub sequence: u64,
    /// The logical unit.
    pub logical: u32,
    /// How much of the unit the host itself wrote, in 512-byte sectors; the rest is read-modify-write fill.
    pub host_sectors: u32,
    /// Which unit of its group this is.
    pub position: u16,
    /// How many units the group has.
    pub length: u16,
    /// What the slot holds.
    pub kind: Kind,
}

impl Record {
    /// The record of a slot programmed only to end a page.
    pub const PADDING: Self =
        Self { sequence: 0, logical: u32::MAX, host_sectors: 0, position: 0, length: 0, kind: Kind::Padding };

    /// Appends the encoded record. `line_serial` is mixed into its checksum, so that a record of the line's earlier life is not
    /// taken for one of this life; `data_check` covers the unit's data.
    pub fn encode(&self, line_serial: u64, data_check: u32, into: &mut Writer) {
        let start = into.0.len();
        into.u64(self.sequence);
        into.u32(self.logical);
        into.u32(self.host_sectors);
        into.u16(self.position);
        into.u16(self.length);
        into.u8(self.kind.code());
        into.u8(0);
        into.u16(0);
        into.u32(data_check);
        let check = fold(checksum(line_serial, &into.0[start..]));
        into.u32(check);
        assert_eq!(into.0.len() - start, RECORD_BYTES);
    }

    /// The record and the checksum of its data, or `None` where the bytes are not a record of this life of the line.
    #[must_use]
    pub fn decode(line_serial: u64, bytes: &[u8]) -> Option<(Self, u32)> {
        let mut reader = Reader(bytes);
        let record = Self {
            sequence: reader.u64()?,
            logical: reader.u32()?,
            host_sectors: reader.u32()?,
            position: reader.u16()?,
            length: reader.u16()?,
            kind: *Kind::ALL.get(usize::from(reader.u8()?))?,
        };
        (reader.u8()? == 0 && reader.u16()? == 0).then_some(())?;
        let data_check = reader.u32()?;
        let check = reader.u32()?;
        (check == fold(checksum(line_serial, bytes.get(..RECORD_BYTES - 4)?))).then_some((record, data_check))
    }
}

/// Folds a checksum to 32 bits.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "folding is what it is for")]
pub const fn fold(sum: u64) -> u32 {
    (sum ^ (sum >> 32)) as u32
}

/// What a line's header says of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeaderState {
    /// Erased, or never used.
    #[default]
    Erased,
    /// Being programmed.
    Open,
    /// Programmed as far as it ever will be; its records are its summary.
    Closed,
    /// Out of use for ever.
    Retired,
}

/// The header of a line, written when it is opened, closed, erased and retired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineHeader {
    /// What became of the line.
    pub state: HeaderState,
    /// The write stream that opened it.
    pub stream: u8,
    /// How often it was erased.
    pub erase_count: u32,
    /// The event at which it was opened; every record of this life is bound to it.
    pub opened: u64,
    /// The event at which this header was written; events are numbered through over the whole media.
    pub event: u64,
    /// Everything up to this sequence number was programmed when the header was written.
    pub horizon: u64,
    /// Slots programmed or passed over, once closed.
    pub used: u32,
    /// How far each stream had been programmed in its open line, for counting on from `ledger`.
    pub programmed: [u32; 2],
    /// The ledger at that moment.
    pub ledger: Ledger,
}

impl LineHeader {
    /// The encoded header; `line` is mixed into its checksum.
    #[must_use]
    pub fn encode(&self, line: u32) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u8(match self.state {
            HeaderState::Erased => 1,
            HeaderState::Open => 2,
            HeaderState::Closed => 3,
            HeaderState::Retired => 4,
        });
        writer.u8(self.stream);
        writer.u16(0);
        writer.u32(self.erase_count);
        writer.words(&[self.opened, self.event, self.horizon]);
        writer.u32(self.used);
        writer.u32(self.programmed[0]);
        writer.u32(self.programmed[1]);
        writer.words(&self.ledger.to_words());
        writer.0.resize(HEADER_BYTES - 8, 0);
        let sum = checksum(u64::from(line), &writer.0);
        writer.u64(sum);
        writer.0
    }

    /// The header of encoded bytes: all zero is a line never used; `None` is damage.
    #[must_use]
    pub fn decode(line: u32, bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.get(..HEADER_BYTES)?.split_at(HEADER_BYTES - 8);
        if body.iter().chain(sum).all(|&byte| byte == 0) {
            return Some(Self::default());
        }
        (Reader(sum).u64()? == checksum(u64::from(line), body)).then_some(())?;
        let mut reader = Reader(body);
        let state = match reader.u8()? {
            1 => HeaderState::Erased,
            2 => HeaderState::Open,
            3 => HeaderState::Closed,
            4 => HeaderState::Retired,
            _ => return None,
        };
        let stream = reader.u8().filter(|&stream| stream < 2)?;
        let _ = reader.u16()?;
        let erase_count = reader.u32()?;
        let [opened, event, horizon] = reader.words()?;
        let used = reader.u32()?;
        let programmed = [reader.u32()?, reader.u32()?];
        let ledger = Ledger::from_words(reader.words()?);
        Some(Self { state, stream, erase_count, opened, event, horizon, used, programmed, ledger })
    }
}

/// A deallocation in the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deallocation {
    /// Its place in the order of everything the host did.
    pub sequence: u64,
    /// The first logical unit.
    pub first: u32,
    /// How many units.
    pub units: u32,
}

impl Deallocation {
    /// Appends the encoded entry; `position` (in the ring, counted on for ever) is mixed into its checksum.
    pub fn encode(&self, position: u64, metadata_bytes: u64, into: &mut Writer) {
        let start = into.0.len();
        into.u64(self.sequence);
        into.u32(self.first);
        into.u32(self.units);
        into.u64(metadata_bytes);
        let sum = checksum(mix(position), &into.0[start..]);
        into.u64(sum);
        assert_eq!(into.0.len() - start, RECORD_BYTES);
    }

    /// The entry and the metadata bytes counted up to it, or `None` where the journal ends.
    #[must_use]
    pub fn decode(position: u64, bytes: &[u8]) -> Option<(Self, u64)> {
        let mut reader = Reader(bytes);
        let entry = Self { sequence: reader.u64()?, first: reader.u32()?, units: reader.u32()? };
        let metadata = reader.u64()?;
        (reader.u64()? == checksum(mix(position), bytes.get(..RECORD_BYTES - 8)?)).then_some((entry, metadata))
    }
}

/// Where a checkpoint began: what replay starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Basis {
    /// Deallocations from this position of the journal on are replayed.
    pub journal_begin: u64,
    /// For each stream: records of lines opened later than this event are replayed,
    pub opened: [u64; 2],
    /// and records of the line opened at that event from this slot on.
    pub slot: [u32; 2],
    /// Everything up to this sequence number is in the map pages.
    pub horizon: u64,
    /// For each map page, which of its two homes is the valid one (a bit each).
    pub homes: Vec<u64>,
}

/// Counters that live as long as the media does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Times the media was opened.
    pub power_cycles: u64,
    /// Times it was opened without a clean shutdown before.
    pub unsafe_shutdowns: u64,
    /// Bytes read by the host.
    pub host_read_bytes: u64,
    /// Bytes accepted from the host.
    pub host_write_bytes: u64,
    /// Read requests.
    pub host_reads: u64,
    /// Write requests.
    pub host_writes: u64,
    /// Requests that failed for the media's sake.
    pub media_errors: u64,
    /// Reads corrected within the error-correction budget.
    pub corrected_reads: u64,
    /// Programs that failed.
    pub program_failures: u64,
    /// Erases that failed.
    pub erase_failures: u64,
    /// Lines erased.
    pub erases: u64,
    /// Times a line was chosen as a victim by garbage collection.
    pub victims: u64,
}

impl Counters {
    /// The counters in the order in which they are stored.
    #[must_use]
    pub const fn to_words(self) -> [u64; 12] {
        [
            self.power_cycles,
            self.unsafe_shutdowns,
            self.host_read_bytes,
            self.host_write_bytes,
            self.host_reads,
            self.host_writes,
            self.media_errors,
            self.corrected_reads,
            self.program_failures,
            self.erase_failures,
            self.erases,
            self.victims,
        ]
    }

    /// The counters of stored numbers.
    #[must_use]
    pub const fn from_words(words: [u64; 12]) -> Self {
        let [power_cycles, unsafe_shutdowns, host_read_bytes, host_write_bytes, host_reads, host_writes, ..] = words;
        let [.., media_errors, corrected_reads, program_failures, erase_failures, erases, victims] = words;
        Self {
            power_cycles,
            unsafe_shutdowns,
            host_read_bytes,
            host_write_bytes,
            host_reads,
            host_writes,
            media_errors,
            corrected_reads,
            program_failures,
            erase_failures,
            erases,
            victims,
        }
    }
}

/// A volume as the root keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VolumeEntry {
    /// Bytes of a logical block.
    pub block_bytes: u32,
    /// Bytes of metadata beside each block.
    pub metadata_bytes: u32,
    /// Its first logical unit.
    pub first_unit: u32,
    /// Its units.
    pub units: u32,
    /// Its logical blocks.
    pub capacity_blocks: u64,
}

/// The root of the metadata: everything recovery starts from. Two slots take turns; the newer valid one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Root {
    /// Which of two roots is newer.
    pub generation: u64,
    /// The media was shut down in order, and nothing happened since.
    pub clean: bool,
    /// The next sequence number is at least this.
    pub next_sequence: u64,
    /// The next event number is at least this.
    pub next_event: u64,
    /// What the map pages hold.
    pub basis: Basis,
    /// Sequence numbers that never took effect: `from ..= to`.
    pub voids: Vec<(u64, u64)>,
    /// As in [`LineHeader`].
    pub programmed: [u32; 2],
    /// The event at which `ledger` was taken.
    pub ledger_event: u64,
    /// The ledger at that moment.
    pub ledger: Ledger,
    /// The counters at that moment.
    pub counters: Counters,
    /// The volumes.
    pub volumes: Vec<VolumeEntry>,
    /// For each plane, the blocks out of use: (line whose block it was, or the replacement's own index above the lines).
    pub bad_blocks: Vec<(u32, u32)>,
    /// Replaced blocks: (line, plane, replacement).
    pub replaced: Vec<(u32, u32, u32)>,
}

impl Root {
    /// The encoded root, checksum first.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.words(&[self.generation, u64::from(self.clean), self.next_sequence, self.next_event]);
        writer.words(&[self.basis.journal_begin, self.basis.opened[0], self.basis.opened[1], self.basis.horizon]);
        writer.u32(self.basis.slot[0]);
        writer.u32(self.basis.slot[1]);
        writer.u32(self.programmed[0]);
        writer.u32(self.programmed[1]);
        writer.u64(self.ledger_event);
        writer.words(&self.ledger.to_words());
        writer.words(&self.counters.to_words());
        for count in [self.basis.homes.len(), self.voids.len(), self.volumes.len()] {
            writer.u64(count as u64);
        }
        writer.words(&[self.bad_blocks.len() as u64, self.replaced.len() as u64]);
        writer.words(&self.basis.homes);
        for &(from, to) in &self.voids {
            writer.words(&[from, to]);
        }
        for volume in &self.volumes {
            for number in [volume.block_bytes, volume.metadata_bytes, volume.first_unit, volume.units] {
                writer.u32(number);
            }
            writer.u64(volume.capacity_blocks);
        }
        for &(plane, block) in &self.bad_blocks {
            writer.u32(plane);
            writer.u32(block);
        }
        for &(line, plane, block) in &self.replaced {
            writer.u32(line);
            writer.u32(plane);
            writer.u32(block);
        }
        let mut head = Writer::default();
        head.words(&[ROOT_MAGIC, writer.0.len() as u64, checksum(ROOT_MAGIC, &writer.0)]);
        head.0.append(&mut writer.0);
        head.0
    }

    /// The root of encoded bytes (which may be longer), or `None` where they hold none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let [magic, length, sum] = reader.words()?;
        let body = reader.0.get(..usize::try_from(length).ok()?)?;
        (magic == ROOT_MAGIC && checksum(ROOT_MAGIC, body) == sum).then_some(())?;
        Self::decode_body(Reader(body))
    }

    fn decode_body(mut reader: Reader<'_>) -> Option<Self> {
        let [generation, clean, next_sequence, next_event] = reader.words()?;
        let [journal_begin, opened_host, opened_moved, horizon] = reader.words()?;
        let slot = [reader.u32()?, reader.u32()?];
        let programmed = [reader.u32()?, reader.u32()?];
        let ledger_event = reader.u64()?;
        let ledger = Ledger::from_words(reader.words()?);
        let counters = Counters::from_words(reader.words()?);
        let [homes, voids, volumes, bad_blocks, replaced] = reader.words()?;
        Some(Self {
            generation,
            clean: clean == 1,
            next_sequence,
            next_event,
            basis: Basis {
                journal_begin,
                opened: [opened_host, opened_moved],
                slot,
                horizon,
                homes: (0..homes).map(|_| reader.u64()).collect::<Option<_>>()?,
            },
            voids: (0..voids).map(|_| Some((reader.u64()?, reader.u64()?))).collect::<Option<_>>()?,
            programmed,
            ledger_event,
            ledger,
            counters,
            volumes: (0..volumes).map(|_| decode_volume(&mut reader)).collect::<Option<_>>()?,
            bad_blocks: (0..bad_blocks).map(|_| Some((reader.u32()?, reader.u32()?))).collect::<Option<_>>()?,
            replaced: (0..replaced)
                .map(|_| Some((reader.u32()?, reader.u32()?, reader.u32()?)))
                .collect::<Option<_>>()?,
        })
    }
}

fn decode_volume(reader: &mut Reader<'_>) -> Option<VolumeEntry> {
    Some(VolumeEntry {
        block_bytes: reader.u32()?,
        metadata_bytes: reader.u32()?,
        first_unit: reader.u32()?,
        units: reader.u32()?,
        capacity_blocks: reader.u64()?,
    })
}

const ROOT_MAGIC: u64 = u64::from_le_bytes(*b"bro root");

/// Where things lie in the metadata region, in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of one root slot; the two lie at the start.
    pub root_bytes: u64,
    /// The journal's first byte.
    pub journal: u64,
    /// Entries that the journal's ring holds.
    pub journal_entries: u64,
    /// The first home of map page 0; the second homes follow all first ones.
    pub map: u64,
    /// Map pages.
    pub map_pages: u64,
    /// Bytes of the whole region.
    pub bytes: u64,
}

impl Layout {
    /// The layout for a map of `user_units` entries over `blocks` erase blocks.
    #[must_use]
    pub fn new(user_units: u32, blocks: u64, journal_entries: u64) -> Self {
        let page = METADATA_PAGE as u64;
        let map_pages = u64::from(user_units).div_ceil(ENTRIES_PER_PAGE as u64);
        let root_bytes = (64 * 1024 + map_pages.div_ceil(8) + blocks * 20).next_multiple_of(page);
        let journal = 2 * root_bytes;
        let map = journal + (journal_entries * RECORD_BYTES as u64).next_multiple_of(page);
        Self { root_bytes, journal, journal_entries, map, map_pages, bytes: map + 2 * map_pages * page }
    }

    /// Where a generation's root lies.
    #[must_use]
    pub const fn root_at(&self, generation: u64) -> u64 {
        (generation % 2) * self.root_bytes
    }

    /// Where a journal position lies.
    #[must_use]
    pub const fn journal_at(&self, position: u64) -> u64 {
        self.journal + (position % self.journal_entries) * RECORD_BYTES as u64
    }

    /// Where one of a map page's homes lies.
    #[must_use]
    pub const fn map_at(&self, page: u64, second: bool) -> u64 {
        self.map + (if second { self.map_pages } else { 0 } + page) * METADATA_PAGE as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_another_life_of_its_line_is_not_a_record() {
        let record = Record { sequence: 9, logical: 4, host_sectors: 8, position: 1, length: 3, kind: Kind::Host };
        let mut writer = Writer::default();
        record.encode(77, 5, &mut writer);
        assert_eq!(Record::decode(77, &writer.0), Some((record, 5)));
        assert_eq!(Record::decode(78, &writer.0), None);
        assert_eq!(Record::decode(0, &[0; RECORD_BYTES]), None, "zeroes are no record");
    }

    #[test]
    fn a_header_comes_back_and_damage_is_seen() {
        let header = LineHeader { state: HeaderState::Closed, stream: 1, opened: 3, used: 7, ..LineHeader::default() };
        let mut bytes = header.encode(5);
        assert_eq!(LineHeader::decode(5, &bytes), Some(header));
        assert_eq!(LineHeader::decode(6, &bytes), None);
        bytes[9] ^= 1;
        assert_eq!(LineHeader::decode(5, &bytes), None);
        assert_eq!(LineHeader::decode(5, &[0; HEADER_BYTES]), Some(LineHeader::default()));
    }

    #[test]
    fn a_root_comes_back_from_a_longer_slot() {
        let root = Root {
            generation: 3,
            clean: true,
            basis: Basis { homes: vec![1, 2, 3], slot: [4, 5], ..Basis::default() },
            voids: vec![(1, 2)],
            volumes: vec![VolumeEntry { block_bytes: 512, units: 9, ..VolumeEntry::default() }],
            bad_blocks: vec![(1, 2)],
            replaced: vec![(1, 2, 3)],
            ..Root::default()
        };
        let mut bytes = root.encode();
        bytes.resize(bytes.len() + 100, 0xaa);
        assert_eq!(Root::decode(&bytes), Some(root));
        bytes[40] ^= 4;
        assert_eq!(Root::decode(&bytes), None);
        assert_eq!(Root::decode(&[]), None);
    }

    #[test]
    fn a_journal_entry_of_an_earlier_round_is_the_end() {
        let entry = Deallocation { sequence: 5, first: 6, units: 7 };
        let mut writer = Writer::default();
        entry.encode(11, 4096, &mut writer);
        assert_eq!(Deallocation::decode(11, &writer.0), Some((entry, 4096)));
        assert_eq!(Deallocation::decode(75, &writer.0), None);
    }

    #[test]
    fn the_regions_of_the_layout_do_not_overlap() {
        let layout = Layout::new(5000, 64, 128);
        assert_eq!(layout.map_pages, 5);
        assert!(layout.root_at(1) + layout.root_bytes <= layout.journal);
        assert!(layout.journal_at(127) + RECORD_BYTES as u64 <= layout.map);
        assert_eq!(layout.map_at(4, true) + METADATA_PAGE as u64, layout.bytes);
    }
}
