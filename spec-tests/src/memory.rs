//! Guest memory for tests: safe, sparse, with holes that come and go.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use controller::dma::{DmaFault, DoorbellPage, GuestMemory};

const PAGE_BYTES: usize = 4096;
const PAGE: u64 = PAGE_BYTES as u64;

/// Memory of a guest, in pages that exist once they are touched. What lies outside the mapped ranges faults.
#[derive(Debug, Default)]
pub struct TestMemory {
    pages: RefCell<BTreeMap<u64, Box<[u8; PAGE_BYTES]>>>,
    mapped: Vec<Range<u64>>,
    generation: u64,
}

impl TestMemory {
    /// Memory with one mapping.
    #[must_use]
    pub fn new(mapped: Range<u64>) -> Self {
        Self { mapped: vec![mapped], ..Self::default() }
    }

    /// Makes a range reachable. Its bytes are what they were when it was last reachable.
    pub fn map(&mut self, range: Range<u64>) {
        self.mapped.push(range);
        self.generation += 1;
    }

    /// Makes everything unreachable, and returns what was mapped.
    pub fn unmap_all(&mut self) -> Vec<Range<u64>> {
        self.generation += 1;
        std::mem::take(&mut self.mapped)
    }

    /// Copies out of memory whether it is mapped or not: how the test looks at what the device did.
    pub fn peek(&self, address: u64, into: &mut [u8]) {
        let pages = self.pages.borrow();
        for (address, byte) in (address..).zip(into) {
            *byte = pages.get(&(address / PAGE)).map_or(0, |page| page[offset(address)]);
        }
    }

    /// Copies into memory whether it is mapped or not.
    pub fn poke(&self, address: u64, from: &[u8]) {
        let mut pages = self.pages.borrow_mut();
        for (address, byte) in (address..).zip(from) {
            pages.entry(address / PAGE).or_insert_with(|| Box::new([0; PAGE_BYTES]))[offset(address)] = *byte;
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

fn offset(address: u64) -> usize {
    usize::try_from(address % PAGE).expect("below a page")
}

impl GuestMemory for TestMemory {
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
pub struct TestPage(RefCell<Vec<u32>>);

impl Default for TestPage {
    fn default() -> Self {
        Self(RefCell::new(vec![0; 1024]))
    }
}

impl DoorbellPage for TestPage {
    fn load(&self, index: usize) -> u32 {
        self.0.borrow()[index]
    }

    fn store(&self, index: usize, value: u32) {
        self.0.borrow_mut()[index] = value;
    }
}
