//! Owns the root of the metadata (what a checkpoint holds, the counters, the volumes, the bad blocks) and where everything lies in the
//! metadata region. Knows neither the map nor the policies.

use crate::codec::{Reader, Writer, checksum};
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
        for count in [self.basis.homes.len(), self.basis.sums.len(), self.voids.len(), self.volumes.len()] {
            writer.u64(count as u64);
        }
        writer.words(&[self.bad_blocks.len() as u64, self.replaced.len() as u64]);
        writer.words(&self.basis.homes);
        writer.words(&self.basis.sums);
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
                sums: (0..sums).map(|_| reader.u64()).collect::<Option<_>>()?,
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
        // A bit and a checksum for each map page.
        let root_bytes = (64 * 1024 + map_pages.div_ceil(8) + map_pages * 8 + blocks * 20).next_multiple_of(page);
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
    fn the_regions_of_the_layout_do_not_overlap() {
        let layout = Layout::new(5000, 64, 128);
        assert_eq!(layout.map_pages, 5);
        assert!(layout.root_at(1) + layout.root_bytes <= layout.journal);
        assert!(layout.journal_at(127) + RECORD_BYTES as u64 <= layout.map);
        assert_eq!(layout.map_at(4, true) + METADATA_PAGE as u64, layout.bytes);
    }
}
