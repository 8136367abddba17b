//! A split virtqueue from the device's side (virtio 1.3 section 2.7). Indexes, entries and notifications are `virtio-queue`'s. This
//! adds what it leaves out: heads outside of the table, errors that it does not report, drivers that want no interrupts, memory that
//! vanishes.
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::atomic::Ordering;

use guest_memory::watch;
use thiserror::Error;
use virtio_queue::{Error as QueueError, Queue, QueueOwnedT as _, QueueT as _};
use vm_memory::{Bytes as _, GuestAddress, GuestMemory};

use crate::wire::AVAILABLE_NO_INTERRUPT;

/// The longest queue: what QEMU allows.
pub const RING_SIZE_MAX: u16 = 1024;

/// The driver broke the ring: nothing can be said about any request of it any more.
#[derive(Debug, Error)]
pub enum RingError {
    /// More was made available than the ring can hold, or its memory is not there.
    #[error("the ring cannot be: {0}")]
    Queue(#[from] QueueError),
    /// Its memory vanished, or was taken away.
    #[error("the ring's memory is gone")]
    Gone,
    /// A head that is no descriptor of the table.
    #[error("head {0} is outside of the table")]
    Head(u16),
}

/// A queue: as far as the client has set it up, and as it runs.
#[derive(Debug)]
pub struct Ring {
    queue: Queue,
    /// The client has said how many entries there are, and where they lie.
    sized: bool,
    placed: bool,
    /// The driver was asked not to notify.
    quiet: bool,
}

impl Default for Ring {
    fn default() -> Self {
        let queue = Queue::new(RING_SIZE_MAX).expect("a power of two");
        Self { queue, sized: false, placed: false, quiet: false }
    }
}

impl Ring {
    /// Says how many entries it has.
    ///
    /// # Errors
    /// [`RingError::Queue`]: it is no power of two up to [`RING_SIZE_MAX`].
    pub fn set_size(&mut self, size: u16) -> Result<(), RingError> {
        self.queue.try_set_size(size)?;
        self.sized = true;
        Ok(())
    }

    /// Says where it lies. A queue that runs goes on there in the same state.
    ///
    /// # Errors
    /// [`RingError::Queue`]: a part is not aligned as virtio 1.3 section 2.7 asks.
    pub fn place(&mut self, places: Places) -> Result<(), RingError> {
        self.queue.try_set_desc_table_address(GuestAddress(places.descriptors))?;
        self.queue.try_set_avail_ring_address(GuestAddress(places.available))?;
        self.queue.try_set_used_ring_address(GuestAddress(places.used))?;
        self.placed = true;
        Ok(())
    }

    /// Whether all was said that there is to say.
    #[must_use]
    pub const fn is_set_up(&self) -> bool {
        self.sized && self.placed
    }

    /// Whether it runs.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.queue.ready()
    }

    /// Reads where the used ring stands, before the queue runs.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn prepare<M: GuestMemory>(&mut self, memory: &M, event_index: bool) -> Result<(), RingError> {
        let used = touch(|| Ok(self.queue.used_idx(memory, Ordering::Acquire)?))?;
        self.queue.set_next_used(used.0);
        self.queue.set_event_idx(event_index);
        self.quiet = false;
        Ok(())
    }

    /// Lets it run, or stops it.
    pub fn set_running(&mut self, running: bool) {
        self.queue.set_ready(running);
    }

    /// Entries.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.queue.size()
    }

    /// The descriptor table.
    #[must_use]
    pub fn table(&self) -> u64 {
        self.queue.desc_table()
    }

    /// How many heads were taken, modulo 2^16.
    #[must_use]
    pub fn next_available(&self) -> u16 {
        self.queue.next_avail()
    }

    /// Says that: the client, or a crash that told more than the client knew.
    pub fn set_next_available(&mut self, next_available: u16) {
        self.queue.set_next_avail(next_available);
    }

    /// The index of the used ring.
    #[must_use]
    pub fn used(&self) -> u16 {
        self.queue.next_used()
    }

    /// The next head, if the driver has made one available.
    ///
    /// # Errors
    /// [`RingError`]: the ring is broken.
    pub fn take<M: GuestMemory>(&mut self, memory: &M) -> Result<Option<u16>, RingError> {
        let queue = &mut self.queue;
        touch(|| {
            if queue.avail_idx(memory, Ordering::Acquire)?.0 == queue.next_avail() {
                return Ok(None);
            }
            // There is one, so none means that it could not be read.
            let head = queue.iter(memory)?.next().ok_or(RingError::Gone)?.head_index();
            if head >= queue.size() {
                queue.go_to_previous_position();
                return Err(RingError::Head(head));
            }
            Ok(Some(head))
        })
    }

    /// Gives a chain back, of which `written` bytes were written. The driver sees it at once.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn put<M: GuestMemory>(&mut self, memory: &M, head: u16, written: u32) -> Result<(), RingError> {
        touch(|| Ok(self.queue.add_used(memory, head, written)?))
    }

    /// Whether the driver wants an interrupt for what was given back since it was last asked, which is something (virtio 1.3 section
    /// 2.7.7.2).
    ///
    /// # Errors
    /// [`RingError`].
    pub fn wants_interrupt<M: GuestMemory>(&mut self, memory: &M) -> Result<bool, RingError> {
        touch(|| {
            // With the fence between the index and the driver's wish, which the flag needs as well.
            let wanted = self.queue.needs_notification(memory)?;
            if self.queue.event_idx_enabled() {
                return Ok(wanted);
            }
            let flags: u16 = memory
                .load(GuestAddress(self.queue.avail_ring()), Ordering::Relaxed)
                .map_err(QueueError::GuestMemory)?;
            Ok(u16::from_le(flags) & AVAILABLE_NO_INTERRUPT == 0)
        })
    }

    /// Asks the driver not to notify: we look anyway. With event indexes nothing needs to be said, the index of the last wish is passed.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn disable_notifications<M: GuestMemory>(&mut self, memory: &M) -> Result<(), RingError> {
        if !std::mem::replace(&mut self.quiet, true) {
            touch(|| Ok(self.queue.disable_notification(memory)?))?;
        }
        Ok(())
    }

    /// Before sleep: asks the driver to notify of whatever it makes available from now on. True if there is something already.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn enable_notifications<M: GuestMemory>(&mut self, memory: &M) -> Result<bool, RingError> {
        self.quiet = false;
        touch(|| Ok(self.queue.enable_notification(memory)?))
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

/// Makes accesses to a ring, which do not tell that its memory vanished.
fn touch<T>(accesses: impl FnOnce() -> Result<T, RingError>) -> Result<T, RingError> {
    watch(accesses).unwrap_or(Err(RingError::Gone))
}
