//! Owns the root of the metadata (what a checkpoint holds, the counters, the volumes, the bad blocks) and where everything lies in the
//! metadata region. Knows neither the map nor the policies.

use crate::codec::{Reader, Writer, checksum};
use crate::geometry::Geometry;
use crate::journal::{ENTRIES_PER_PAGE, METADATA_PAGE, RECORD_BYTES};
pub use crate::ledger::Counters;
use crate::ledger::Ledger;

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
    /// For each map page its [`crate::journal::map_page_checksum`], or 0 where it has no entries and was not written.
    pub sums: Vec<u64>,
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
    /// Its units; 0 where there is no such volume at present.
    pub units: u32,
    /// Its logical blocks.
    pub capacity_blocks: u64,
}

impl VolumeEntry {
    /// The place of a volume that is not there.
    #[must_use]
    pub fn absent(first_unit: u32) -> Self {
        Self { first_unit, ..Self::default() }
    }

    /// Whether there is such a volume.
    #[must_use]
    pub const fn exists(&self) -> bool {
        self.units != 0
    }
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
    /// As in [`crate::journal::LineHeader`].
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
    /// What whoever uses the drive keeps with it; at most [`note_bytes_max`].
    pub note: Vec<u8>,
}

/// The most bytes of a note.
#[must_use]
pub const fn note_bytes_max(geometry: &Geometry) -> usize {
    if geometry.window_units == 0 { 16 << 10 } else { 256 << 10 }
}

/// Set in the count of checksums where those that are 0 are left out: a map in which volumes come and go is mostly empty.
const SPARSE: u64 = 1 << 63;
/// Pages that one word says of whether they have a checksum.
const PAGES_PER_WORD: usize = 64;

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
        let sparse = self.basis.sums.len() > PAGES_PER_WORD && self.basis.sums.contains(&0);
        let sums = self.basis.sums.len() as u64 | if sparse { SPARSE } else { 0 };
        writer.words(&[self.basis.homes.len() as u64, sums, self.voids.len() as u64, self.volumes.len() as u64]);
        writer.words(&[self.bad_blocks.len() as u64, self.replaced.len() as u64]);
        writer.words(&self.basis.homes);
        if sparse {
            write_sparse(&self.basis.sums, &mut writer);
        } else {
            writer.words(&self.basis.sums);
        }
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
        if !self.note.is_empty() {
            writer.u64(self.note.len() as u64);
            writer.0.extend(&self.note);
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
        let [homes, sums, voids, volumes, bad_blocks, replaced] = reader.words()?;
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
                sums: if sums & SPARSE == 0 {
                    (0..sums).map(|_| reader.u64()).collect::<Option<_>>()?
                } else {
                    read_sparse(sums & !SPARSE, &mut reader)?
                },
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
            note: read_note(&mut reader)?,
        })
    }
}

/// For each [`PAGES_PER_WORD`] pages a word that says which of them have a checksum, and those.
fn write_sparse(sums: &[u64], writer: &mut Writer) {
    for sums in sums.chunks(PAGES_PER_WORD) {
        let mask = sums.iter().enumerate().fold(0, |mask, (n, &sum)| mask | u64::from(sum != 0) << n);
        writer.u64(mask);
        sums.iter().filter(|sum| **sum != 0).for_each(|&sum| writer.u64(sum));
    }
}

fn read_sparse(pages: u64, reader: &mut Reader<'_>) -> Option<Vec<u64>> {
    // Each word stands there, so a number beyond reason ends before memory does.
    let mut sums = Vec::new();
    for first in (0..pages).step_by(PAGES_PER_WORD) {
        let mask = reader.u64()?;
        for n in 0..(pages - first).min(PAGES_PER_WORD as u64) {
            sums.push(if mask >> n & 1 == 1 { reader.u64()? } else { 0 });
        }
    }
    Some(sums)
}

/// Nothing where the root ends before it.
fn read_note(reader: &mut Reader<'_>) -> Option<Vec<u8>> {
    if reader.0.is_empty() {
        return Some(Vec::new());
    }
    let length = usize::try_from(reader.u64()?).ok()?;
    (reader.0.len() == length).then(|| reader.0.to_vec())
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
    /// The layout of a drive with a journal of so many entries.
    #[must_use]
    pub fn of(geometry: &Geometry, journal_entries: u64) -> Self {
        let pages = |units: u32| u64::from(units).div_ceil(ENTRIES_PER_PAGE as u64);
        let map_pages = pages(geometry.logical_units);
        // A page that is empty needs no checksum. Where volumes come and go, those of the last checkpoint may be others than those of now.
        let room = if geometry.window_units == 0 {
            map_pages * 8
        } else {
            let used = 2 * (pages(geometry.user_units) + u64::from(geometry.config.volumes_max));
            map_pages.div_ceil(8) + map_pages.min(used) * 8 + note_bytes_max(geometry) as u64
        };
        Self::new(map_pages, room, geometry.blocks(), journal_entries)
    }

    /// The layout for a map of so many pages over `blocks` erase blocks, with so much room for checksums and notes.
    fn new(map_pages: u64, room: u64, blocks: u64, journal_entries: u64) -> Self {
        let page = METADATA_PAGE as u64;
        // A bit for each map page.
        let root_bytes = (64 * 1024 + map_pages.div_ceil(8) + room + blocks * 20).next_multiple_of(page);
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
    fn a_root_comes_back_from_a_longer_slot() {
        let root = Root {
            generation: 3,
            clean: true,
            basis: Basis { homes: vec![1, 2, 3], sums: vec![6, 7], slot: [4, 5], ..Basis::default() },
            voids: vec![(1, 2)],
            volumes: vec![VolumeEntry { block_bytes: 512, units: 9, ..VolumeEntry::default() }],
            bad_blocks: vec![(1, 2)],
            replaced: vec![(1, 2, 3)],
            note: b"a note".to_vec(),
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
    fn checksums_that_are_not_there_take_no_room() {
        let with = |sums: Vec<u64>| Root { basis: Basis { sums, ..Basis::default() }, ..Root::default() };
        let mut sums = vec![0; 1000];
        let empty = with(sums.clone()).encode().len();
        for (n, page) in [0, 63, 64, 999].into_iter().enumerate() {
            sums[page] = n as u64 + 1;
            let root = with(sums.clone());
            let bytes = root.encode();
            assert_eq!(bytes.len(), empty + 8 * (n + 1));
            assert_eq!(Root::decode(&bytes), Some(root));
        }
    }

    #[test]
    fn the_regions_of_the_layout_do_not_overlap() {
        let layout = Layout::new(5, 40, 64, 128);
        assert_eq!(layout.map_pages, 5);
        assert!(layout.root_at(1) + layout.root_bytes <= layout.journal);
        assert!(layout.journal_at(127) + RECORD_BYTES as u64 <= layout.map);
        assert_eq!(layout.map_at(4, true) + METADATA_PAGE as u64, layout.bytes);
    }
}
