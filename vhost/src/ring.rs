//! A split virtqueue from the device's side (virtio 1.3 section 2.7): what the driver has made available, and what is given back.
//! It knows indexes and notifications, and nothing of what descriptors mean.
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::atomic::{Ordering, fence};

use controller::dma::DmaFault;
use thiserror::Error;
use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

use crate::memory::RingMemory;
use crate::wire::{AVAILABLE_NO_INTERRUPT, USED_NO_NOTIFY};

/// The longest queue: what QEMU allows.
pub const RING_SIZE_MAX: u16 = 1024;
/// Where the entries of either ring begin: behind flags and index.
const ENTRIES_OFFSET: u64 = 4;

/// The driver broke the ring: nothing can be said about any request of it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RingError {
    /// The ring's memory is not there.
    #[error("the ring's memory at {:#x} is not there", .0.address)]
    Unreachable(DmaFault),
    /// More was made available than the ring can hold.
    #[error("the available index went from {from} to {to}")]
    Jump {
        /// What was taken so far.
        from: u16,
        /// The index found.
        to: u16,
    },
    /// A head that is no descriptor of the table.
    #[error("head {0} is outside of the table")]
    Head(u16),
}

impl From<DmaFault> for RingError {
    fn from(fault: DmaFault) -> Self {
        Self::Unreachable(fault)
    }
}

/// Where the three parts of a queue lie, by guest address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// The descriptor table.
    pub descriptors: u64,
    /// The available ring.
    pub available: u64,
    /// The used ring.
    pub used: u64,
}

impl Places {
    /// Whether they are aligned as virtio 1.3 section 2.7 asks, and do not wrap.
    #[must_use]
    pub fn are_possible(&self) -> bool {
        const LONGEST: u64 = RING_SIZE_MAX as u64 * 16 + 16;
        let fits =
            |address: u64, alignment: u64| address.is_multiple_of(alignment) && address.checked_add(LONGEST).is_some();
        fits(self.descriptors, 16) && fits(self.available, 2) && fits(self.used, 4)
    }
}

/// A queue that runs.
#[derive(Clone, Debug)]
pub struct Ring {
    places: Places,
    size: u16,
    event_index: bool,
    /// How many heads were taken, modulo 2^16.
    next_available: u16,
    /// How many entries were put into the used ring, published or not.
    next_used: u16,
    /// How far the driver was told of them.
    published: u16,
    /// How far the driver was asked whether it wants an interrupt.
    considered: u16,
    /// The driver was asked not to notify.
    quiet: bool,
}

impl Ring {
    /// A queue of `size` entries, a power of two, of which `next_available` heads were taken. Where the used ring stands is read from it.
    ///
    /// # Errors
    /// [`RingError::Unreachable`].
    ///
    /// # Panics
    /// If size or places cannot be: whoever took the client's numbers has checked them.
    pub fn new<M: RingMemory>(
        memory: &M,
        places: Places,
        size: u16,
        next_available: u16,
        event_index: bool,
    ) -> Result<Self, RingError> {
        assert!(size.is_power_of_two() && size <= RING_SIZE_MAX && places.are_possible());
        let used = memory.load_u16(places.used + 2)?;
        Ok(Self {
            places,
            size,
            event_index,
            next_available,
            next_used: used,
            published: used,
            considered: used,
            quiet: false,
        })
    }

    /// Entries.
    #[must_use]
    pub const fn size(&self) -> u16 {
        self.size
    }

    /// The descriptor table.
    #[must_use]
    pub const fn table(&self) -> u64 {
        self.places.descriptors
    }

    /// How many heads were taken, modulo 2^16.
    #[must_use]
    pub const fn next_available(&self) -> u16 {
        self.next_available
    }

    /// The index of the used ring that the driver was told.
    #[must_use]
    pub const fn published(&self) -> u16 {
        self.published
    }

    /// Goes on at another place in the same state.
    pub const fn move_to(&mut self, places: Places) {
        self.places = places;
    }

    /// Corrects how many heads were taken, after a crash told more than the client knew.
    pub const fn set_next_available(&mut self, next_available: u16) {
        self.next_available = next_available;
    }

    /// The next head, if the driver has made one available.
    ///
    /// # Errors
    /// [`RingError`]: the ring is broken.
    pub fn take<M: RingMemory>(&mut self, memory: &M) -> Result<Option<u16>, RingError> {
        let available = memory.load_u16(self.places.available + 2)?;
        let waiting = available.wrapping_sub(self.next_available);
        if waiting == 0 {
            return Ok(None);
        }
        if waiting > self.size {
            return Err(RingError::Jump { from: self.next_available, to: available });
        }
        let index = u64::from(self.next_available & (self.size - 1));
        let head = memory.load_u16(self.places.available + ENTRIES_OFFSET + 2 * index)?;
        if head >= self.size {
            return Err(RingError::Head(head));
        }
        self.next_available = self.next_available.wrapping_add(1);
        Ok(Some(head))
    }

    /// Gives a chain back, of which `written` bytes were written. The driver sees it after [`Ring::publish`].
    ///
    /// # Errors
    /// [`RingError::Unreachable`].
    pub fn put<M: RingMemory>(&mut self, memory: &M, head: u16, written: u32) -> Result<(), RingError> {
        let index = u64::from(self.next_used & (self.size - 1));
        let entry = [U32::new(head.into()), U32::new(written)];
        memory.write(self.places.used + ENTRIES_OFFSET + 8 * index, entry.as_bytes())?;
        self.next_used = self.next_used.wrapping_add(1);
        Ok(())
    }

    /// Tells the driver of everything that was given back.
    ///
    /// # Errors
    /// [`RingError::Unreachable`].
    pub fn publish<M: RingMemory>(&mut self, memory: &M) -> Result<(), RingError> {
        memory.store_u16(self.places.used + 2, self.next_used)?;
        self.published = self.next_used;
        Ok(())
    }

    /// Whether the driver wants an interrupt for what was published since it was last asked (virtio 1.3 section 2.7.7.2).
    ///
    /// # Errors
    /// [`RingError::Unreachable`].
    pub fn wants_interrupt<M: RingMemory>(&mut self, memory: &M) -> Result<bool, RingError> {
        let (old, new) = (self.considered, self.published);
        if old == new {
            return Ok(false);
        }
        // The index was stored; the driver stores its wish and then loads the index. A full fence keeps both from missing the other.
        fence(Ordering::SeqCst);
        self.considered = new;
        if self.event_index {
            let event = memory.load_u16(self.places.available + ENTRIES_OFFSET + 2 * u64::from(self.size))?;
            return Ok(passes(event, new, old));
        }
        Ok(memory.load_u16(self.places.available)? & AVAILABLE_NO_INTERRUPT == 0)
    }

    /// Asks the driver not to notify: we look anyway. With event indexes nothing needs to be said, the index of the last wish is passed.
    ///
    /// # Errors
    /// [`RingError::Unreachable`].
    pub fn hush<M: RingMemory>(&mut self, memory: &M) -> Result<(), RingError> {
        if !self.event_index && !self.quiet {
            memory.store_u16(self.places.used, USED_NO_NOTIFY)?;
        }
        self.quiet = true;
        Ok(())
    }

    /// Before sleep: asks the driver to notify of whatever it makes available from now on. True if there is something already.
    ///
    /// # Errors
    /// [`RingError::Unreachable`].
    pub fn listen<M: RingMemory>(&mut self, memory: &M) -> Result<bool, RingError> {
        if self.event_index {
            memory.store_u16(self.places.used + ENTRIES_OFFSET + 8 * u64::from(self.size), self.next_available)?;
        } else {
            memory.store_u16(self.places.used, 0)?;
        }
        self.quiet = false;
        // The wish was stored; the driver stores its index and then loads the wish.
        fence(Ordering::SeqCst);
        Ok(memory.load_u16(self.places.available + 2)? != self.next_available)
    }
}

/// Whether an index that went from `old` to `new` has passed `event`.
const fn passes(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}
