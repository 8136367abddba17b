//! Owns deallocation: units leave the map, and the journal says so, in the same order of sequence numbers as writes. Knows whole
//! units only.

use super::Ftl;
use super::gc::NoRoom;
use crate::codec::Writer;
use crate::journal::{Deallocation, METADATA_PAGE};
use crate::power::Step;
use crate::store::Store;
use crate::unit::LogicalUnit;

impl<S: Store> Ftl<S> {
    /// Forgets whole units. They read as zeroes from now on; durable like a write.
    ///
    /// # Errors
    /// [`NoRoom`] where the drive is read-only; nothing was forgotten then.
    pub fn deallocate(&mut self, first: LogicalUnit, units: u32) -> Result<(), NoRoom> {
        self.make_journal_room()?;
        let sequence = self.sequence;
        let (mut unit, end) = (first.0, first.0 + units);
        assert!(end <= self.geometry.logical_units, "the caller checked the range");
        let before = self.mapped;
        while let Some(used) = self.map.next_mapped(unit, end) {
            if let Some(old) = self.map.clear(LogicalUnit(used)) {
                self.supersede(old, sequence);
                self.mapped -= 1;
            }
            // Most pages have nothing more, and then the rest of them need not be looked at.
            unit = used + 1;
        }
        // Where nothing was mapped there is nothing to make durable: what unmapped it has its own entry.
        if self.mapped != before {
            let tag = self.tag_of_request(true);
            self.deallocations.push_back((Deallocation { sequence, first: first.0, units }, tag));
            self.sequence += 1;
            self.trimmed = true;
        }
        Ok(())
    }

    /// The first unit from `first` on, and before `end`, that is mapped.
    #[must_use]
    pub fn first_mapped(&self, first: u32, end: u32) -> Option<u32> {
        self.map.next_mapped(first, end)
    }

    /// How many of a range's units are mapped. As slow as the range has map entries.
    #[must_use]
    pub fn mapped_units(&self, first: u32, units: u32) -> u64 {
        let (mut unit, end, mut count) = (first, first + units, 0);
        while let Some(used) = self.map.next_mapped(unit, end) {
            count += 1;
            unit = used + 1;
        }
        count
    }

    /// The entries that replay needs, those that are not written yet, and one more.
    fn journal_needed(&self) -> u64 {
        self.journal_used() + self.deallocations.len() as u64 + 1
    }

    /// Half of the journal in advance a checkpoint begins that frees it, of which each deallocation does its share: all of a large map at
    /// once would hold everybody up.
    fn make_journal_room(&mut self) -> Result<(), NoRoom> {
        let entries = self.layout.journal_entries;
        if !self.read_only && self.journal_needed() > entries / 2 {
            self.hurry_checkpoint(entries / 4);
        }
        while !self.read_only && self.journal_needed() >= entries {
            self.checkpoint_now();
        }
        if self.read_only { Err(NoRoom) } else { Ok(()) }
    }

    /// Entries of the journal that replay would need.
    pub(crate) fn journal_used(&self) -> u64 {
        self.journal_end - self.checkpoint.journal_begin()
    }

    /// Puts the deallocations up to a sequence number into the journal.
    #[inline]
    pub(crate) fn journal_through(&mut self, last: u64) {
        while self.deallocations.front().is_some_and(|(entry, _)| entry.sequence <= last) {
            self.journal_page(last);
        }
    }

    /// Appends as many entries as go into one metadata page.
    fn journal_page(&mut self, last: u64) {
        self.reached(Step::JournalAppend);
        let start = self.layout.journal_at(self.journal_end);
        let metadata = self.nand.ledger.metadata + METADATA_PAGE as u64;
        let mut bytes = Writer::default();
        let committed = self.committed;
        while self.journaled.pop_front_if(|(entry, _)| entry.sequence <= committed).is_some() {}
        while let Some((entry, tag)) = self.deallocations.pop_front_if(|(entry, _)| entry.sequence <= last) {
            entry.encode(self.journal_end, metadata, &mut bytes);
            self.journal_end += 1;
            if self.committed + 1 == entry.sequence {
                self.committed = entry.sequence;
            } else {
                self.journaled.push_back((entry, tag));
            }
            if self.layout.journal_at(self.journal_end).is_multiple_of(METADATA_PAGE as u64) {
                break;
            }
        }
        self.nand.write_metadata(start, &bytes.0);
        self.superseded.due = true;
        self.reached(Step::JournalAppended);
    }
}
