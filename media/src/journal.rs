//! Owns what the log says about itself: the out-of-band record of a unit, the header (and summary) of a line, the deallocation
//! journal. Knows neither the map nor the policies.
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
    /// Nothing was programmed here (a page that a power loss interrupted).
    #[default]
    Hole,
    /// Programmed to end a page; no contents.
    Padding,
    /// A unit of the host whose request failed half way; it keeps its number, so that the sequence has no gap.
    Abandoned,
    /// A unit of the host.
    Host,
    /// A unit moved by garbage collection or out of a failed block.
    Collected,
    /// A unit moved by wear levelling.
    Wear,
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
    /// Some of the unit's blocks are uncorrectable; which, the unit itself says (`ftl::uncorrectable`).
    pub uncorrectable: bool,
}

impl Record {
    /// The record of a slot programmed only to end a page.
    pub const PADDING: Self = Self {
        sequence: 0,
        logical: u32::MAX,
        host_sectors: 0,
        position: 0,
        length: 0,
        kind: Kind::Padding,
        uncorrectable: false,
    };

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
        into.u8(u8::from(self.uncorrectable));
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
            uncorrectable: match reader.u8()? {
                0 => false,
                1 => true,
                _ => return None,
            },
        };
        (reader.u16()? == 0).then_some(())?;
        let data_check = reader.u32()?;
        let check = reader.u32()?;
        (check == fold(checksum(line_serial, bytes.get(..RECORD_BYTES - 4)?))).then_some((record, data_check))
    }
}

/// The checksum of a map page, which the root holds; `page` is mixed into it. Never 0: that stands for a page without entries, which is
/// not on the media at all.
#[must_use]
pub fn map_page_checksum(page: u64, bytes: &[u8; METADATA_PAGE]) -> u64 {
    checksum(page, bytes).max(1)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_another_life_of_its_line_is_not_a_record() {
        let record = Record {
            sequence: 9,
            logical: 4,
            host_sectors: 8,
            position: 1,
            length: 3,
            kind: Kind::Host,
            uncorrectable: true,
        };
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
    fn a_journal_entry_of_an_earlier_round_is_the_end() {
        let entry = Deallocation { sequence: 5, first: 6, units: 7 };
        let mut writer = Writer::default();
        entry.encode(11, 4096, &mut writer);
        assert_eq!(Deallocation::decode(11, &writer.0), Some((entry, 4096)));
        assert_eq!(Deallocation::decode(75, &writer.0), None);
    }
}
