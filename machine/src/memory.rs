//! Guest memory that is safe, sparse, and has holes that come and go; and a page of doorbells that host and device share.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use controller::dma::{DmaFault, DoorbellPage, GuestMemory};

const PAGE: usize = 4096;

/// Memory of a guest, in pages that are allocated when they are first accessed. Accesses outside the mapped ranges fault.
#[derive(Debug, Default)]
pub struct SparseMemory {
    pages: RefCell<BTreeMap<u64, Box<[u8; PAGE]>>>,
    mapped: Vec<Range<u64>>,
    generation: u64,
}

impl SparseMemory {
    /// Memory with one mapping.
    #[must_use]
    pub fn new(mapped: Range<u64>) -> Self {
        Self { mapped: vec![mapped], ..Self::default() }
    }

    /// The first mapped range; an empty one if none is mapped.
    #[must_use]
    pub fn first_range(&self) -> Range<u64> {
        self.mapped.first().cloned().unwrap_or_default()
    }

    /// Maps a range. Its bytes are what they were when it was last mapped.
    pub fn map(&mut self, range: Range<u64>) {
        self.mapped.push(range);
        self.generation += 1;
    }

    /// Unmaps everything, and returns what was mapped.
    pub fn unmap_all(&mut self) -> Vec<Range<u64>> {
        self.generation += 1;
        std::mem::take(&mut self.mapped)
    }

    /// Copies out of memory whether it is mapped or not, so that a test can see what the device did.
    pub fn peek(&self, address: u64, into: &mut [u8]) {
        let pages = self.pages.borrow();
        for (page, within, part) in pieces(address, into.len()) {
            match pages.get(&page) {
                Some(bytes) => into[part].copy_from_slice(&bytes[within]),
                None => into[part].fill(0),
            }
        }
    }

    /// Copies into memory whether it is mapped or not.
    pub fn poke(&self, address: u64, from: &[u8]) {
        let mut pages = self.pages.borrow_mut();
        for (page, within, part) in pieces(address, from.len()) {
            let bytes = pages.entry(page).or_insert_with(|| Box::new([0; PAGE]));
            bytes[within].copy_from_slice(&from[part]);
        }
    }

    fn check(&self, address: u64, length: u64, align: u64) -> Result<(), DmaFault> {
        let end = address.checked_add(length).ok_or(DmaFault { address })?;
        let mut at = address;
        while at < end {
            // Neighbouring mappings may be crossed.
            at = self.mapped.iter().find(|range| range.contains(&at)).ok_or(DmaFault { address })?.end;
        }
        if address.is_multiple_of(align) { Ok(()) } else { Err(DmaFault { address }) }
    }
}

/// `length` bytes from `address` on, page by page: the page's number, the bytes inside it, and their part of the range.
fn pieces(address: u64, length: usize) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        (done < length).then(|| {
            let at = address + done as u64;
            let within = usize::try_from(at % PAGE as u64).expect("below a page");
            let piece = (PAGE - within).min(length - done);
            let part = done..done + piece;
            done += piece;
            (at / PAGE as u64, within..within + piece, part)
        })
    })
}

impl GuestMemory for SparseMemory {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        self.check(address, into.len() as u64, 1)?;
        self.peek(address, into);
        Ok(())
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), DmaFault> {
        self.check(address, from.len() as u64, 1)?;
        self.poke(address, from);
        Ok(())
    }

    fn load_u32(&self, address: u64) -> Result<u32, DmaFault> {
        self.check(address, 4, 4)?;
        let mut bytes = [0; 4];
        self.peek(address, &mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn store_u32(&self, address: u64, value: u32) -> Result<(), DmaFault> {
        self.check(address, 4, 4)?;
        self.poke(address, &value.to_le_bytes());
        Ok(())
    }

    fn store_u64(&self, address: u64, value: u64) -> Result<(), DmaFault> {
        self.check(address, 8, 8)?;
        self.poke(address, &value.to_le_bytes());
        Ok(())
    }

    fn is_mapped(&self, address: u64, length: u64) -> bool {
        self.check(address, length, 1).is_ok()
    }

    fn generation(&self) -> u64 {
        self.generation
    }
}

/// A page of doorbells that the host stores to without telling the device.
#[derive(Debug)]
pub struct PlainPage(RefCell<Vec<u32>>);

impl Default for PlainPage {
    fn default() -> Self {
        Self(RefCell::new(vec![0; 1024]))
    }
}

impl DoorbellPage for PlainPage {
    fn load(&self, index: usize) -> u32 {
        self.0.borrow()[index]
    }

    fn store(&self, index: usize, value: u32) {
        self.0.borrow_mut()[index] = value;
    }
}
