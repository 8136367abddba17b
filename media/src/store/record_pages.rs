//! Owns the pages of records that were read last: neighbours are read together, and those of all units would double what the map takes.

use crate::journal::{METADATA_PAGE, RECORD_BYTES};

/// Records of a page.
pub(super) const PER_PAGE: usize = METADATA_PAGE / RECORD_BYTES;
/// Pages that stay in memory: 256 KiB.
const KEPT: usize = 64;

/// Pages of records that were read, one for each place in a table.
#[derive(Default)]
pub(super) struct RecordPages {
    pages: Vec<Option<Page>>,
}

struct Page {
    line: u32,
    number: u32,
    bytes: Box<[u8; METADATA_PAGE]>,
}

impl RecordPages {
    const fn place(line: u32, number: u32) -> usize {
        (line.wrapping_mul(37).wrapping_add(number)) as usize % KEPT
    }

    /// A page, if it is here.
    pub(super) fn get(&self, line: u32, number: u32) -> Option<&[u8; METADATA_PAGE]> {
        let page = self.pages.get(Self::place(line, number))?.as_ref()?;
        (page.line == line && page.number == number).then_some(&*page.bytes)
    }

    /// Keeps a page, in the place of another.
    pub(super) fn keep(&mut self, line: u32, number: u32, bytes: Box<[u8; METADATA_PAGE]>) {
        self.pages.resize_with(KEPT, || None);
        self.pages[Self::place(line, number)] = Some(Page { line, number, bytes });
    }

    /// Forgets what was read of a line.
    pub(super) fn forget(&mut self, line: u32) {
        for page in &mut self.pages {
            page.take_if(|page| page.line == line);
        }
    }
}
