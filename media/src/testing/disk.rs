//! A disk in memory that does everything at once, and whose bytes others can look at and change while it is in use.

use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;

use crate::store::StoreError;
use crate::store::disk::{AtOnce, Disk};
use crate::store::schedule::{Done, Operation};
use crate::unit::index;

/// The disk; a clone is a handle of the same bytes.
#[derive(Clone, Default)]
pub struct OpenDisk {
    bytes: Rc<RefCell<Vec<u8>>>,
    /// How many more reads succeed, if not all.
    reads: Rc<Cell<Option<u64>>>,
    progress: AtOnce,
}

impl OpenDisk {
    /// A disk that holds these bytes.
    #[must_use]
    pub fn holding(bytes: Vec<u8>) -> Self {
        Self { bytes: Rc::new(RefCell::new(bytes)), ..Self::default() }
    }

    /// Its bytes, to look at and to change between two calls of the drive; what lies behind them is zeroes.
    #[must_use]
    pub fn bytes(&self) -> RefMut<'_, Vec<u8>> {
        self.bytes.borrow_mut()
    }

    /// Reads fail after so many more, until this is called again; none does if there is no such number.
    pub fn fail_reads_after(&self, reads: Option<u64>) {
        self.reads.set(reads);
    }

    fn put(&self, offset: u64, from: &[u8]) {
        let (mut bytes, start) = (self.bytes(), index(offset));
        let length = bytes.len().max(start + from.len());
        bytes.resize(length, 0);
        bytes[start..start + from.len()].copy_from_slice(from);
    }
}

impl Disk for OpenDisk {
    fn call(&mut self, operation: Operation) -> u64 {
        let mut progress = self.progress;
        let turns = progress.call(operation, |offset, bytes| self.put(offset, bytes));
        self.progress = progress;
        turns
    }

    fn ticket(&mut self, _durable: bool) -> u64 {
        self.progress.ticket()
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), StoreError> {
        if let Some(left) = self.reads.get() {
            let error = || StoreError::Failed("the disk cannot be read, as the test wants it".into());
            self.reads.set(Some(left.checked_sub(1).ok_or_else(error)?));
        }
        let bytes = self.bytes();
        let from = bytes.get(index(offset)..).unwrap_or_default();
        let count = from.len().min(into.len());
        into[..count].copy_from_slice(&from[..count]);
        into[count..].fill(0);
        Ok(())
    }

    fn done(&mut self) -> Result<Done, StoreError> {
        Ok(self.progress.done())
    }

    fn take(&mut self) -> Self {
        // Who opens it again starts to count again.
        Self { progress: AtOnce::default(), ..self.clone() }
    }
}
