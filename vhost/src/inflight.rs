//! Which requests are under way, in memory that outlives this process: the client keeps it and passes it to the next process
//! (vhost-user, "Inflight I/O tracking", split virtqueue). A request is recorded before anything is done about it and removed after the
//! driver was told. So the next process repeats exactly what the driver still waits for, in the order in which it was submitted.
//!
//! Behind the queues' areas is one word of ours: whether the write cache is on, which the driver chose and does not choose again.
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

use std::os::fd::{AsFd, OwnedFd};

use controller::dma::{DmaFault, GuestMemory};
use guest_memory::{MapRequest, Memory, PAGE_BYTES, Permissions};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use thiserror::Error;

use crate::ring::RING_SIZE_MAX;

/// The version of the layout.
const VERSION: u16 = 1;
/// Bytes before the descriptors' states, and of one state.
const HEADER_BYTES: u64 = 16;
const STATE_BYTES: u64 = 16;
/// Each queue's area begins at a multiple of this.
const ALIGNMENT: u64 = 64;
/// Offsets in the header of a queue's area.
const VERSION_OFFSET: u64 = 8;
const SIZE_OFFSET: u64 = 10;
const LAST_HEAD_OFFSET: u64 = 12;
const USED_OFFSET: u64 = 14;
/// Offset in the state of a descriptor; before it lies one word: bit 0 says that it is in flight, bits 63:48 name the next of a batch.
const COUNTER_OFFSET: u64 = 8;
const IN_FLIGHT: u64 = 1;
/// Our word: what it is, and in bit 0 the cache.
const OURS: u64 = 0x6272_6f77_6e6f_7500;

/// What a client asks for, and is told, of such a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes.
    pub bytes: u64,
    /// Where they begin in the file.
    pub offset: u64,
    /// How many queues.
    pub queues: u16,
    /// How many descriptors each has.
    pub queue_size: u16,
}

/// The memory cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InflightError {
    /// Numbers that do not fit each other or this device.
    #[error("in-flight memory of {} bytes for {} queues of {} cannot be", .0.bytes, .0.queues, .0.queue_size)]
    Extent(Extent),
    /// The system refuses.
    #[error("in-flight memory cannot be made or mapped: {0}")]
    System(#[from] rustix::io::Errno),
    /// It vanished.
    #[error("in-flight memory is gone")]
    Gone,
    /// What is written in it contradicts itself or the ring.
    #[error("in-flight memory of queue {queue} says nonsense: {what}")]
    Nonsense {
        /// Which queue.
        queue: u16,
        /// What about it.
        what: &'static str,
    },
}

impl From<DmaFault> for InflightError {
    fn from(_: DmaFault) -> Self {
        Self::Gone
    }
}

/// The memory, mapped.
#[derive(Debug)]
pub struct Inflight {
    memory: Memory,
    extent: Extent,
    /// What the next request of each queue is numbered.
    counters: Vec<u64>,
}

/// How many bytes a queue's area takes.
const fn area_bytes(queue_size: u16) -> u64 {
    (HEADER_BYTES + queue_size as u64 * STATE_BYTES).next_multiple_of(ALIGNMENT)
}

impl Inflight {
    /// Makes a memory for this many queues, and the file that the client keeps.
    ///
    /// # Errors
    /// [`InflightError`].
    pub fn make(queues: u16, queue_size: u16) -> Result<(Extent, OwnedFd), InflightError> {
        let bytes = (u64::from(queues) * area_bytes(queue_size) + ALIGNMENT).next_multiple_of(PAGE_BYTES);
        let extent = Extent { bytes, offset: 0, queues, queue_size };
        check(extent)?;
        let file = memfd_create("brownout-inflight", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, bytes)?;
        fcntl_add_seals(file.as_fd(), SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        Ok((extent, file))
    }

    /// Maps a memory that the client brings, written by whoever served it before.
    ///
    /// # Errors
    /// [`InflightError`].
    pub fn open(extent: Extent, file: OwnedFd) -> Result<Self, InflightError> {
        check(extent)?;
        let mut memory = Memory::default();
        let length = extent.bytes.next_multiple_of(PAGE_BYTES);
        let map = MapRequest { address: 0, length, access: Permissions::ReadWrite, offset: extent.offset };
        memory.map(&map, Some(file)).map_err(|_| InflightError::Extent(extent))?;
        Ok(Self { memory, extent, counters: vec![0; extent.queues.into()] })
    }

    fn area(&self, queue: u16) -> u64 {
        u64::from(queue) * area_bytes(self.extent.queue_size)
    }

    fn state(&self, queue: u16, head: u16) -> u64 {
        self.area(queue) + HEADER_BYTES + u64::from(head) * STATE_BYTES
    }

    /// Whether there is room for a queue.
    #[must_use]
    pub fn covers(&self, queue: u16, size: u16) -> bool {
        queue < self.extent.queues && size <= self.extent.queue_size
    }

    /// Takes a queue up whose used ring stands at `used`: the heads that were in flight, in the order in which they were taken.
    ///
    /// # Errors
    /// [`InflightError`].
    pub fn recover(&mut self, queue: u16, size: u16, used: u16) -> Result<Vec<u16>, InflightError> {
        let nonsense = |what| InflightError::Nonsense { queue, what };
        if !self.covers(queue, size) {
            return Err(nonsense("there is no room for it"));
        }
        let area = self.area(queue);
        match self.load_u16(area + VERSION_OFFSET)? {
            0 => {
                self.store_u16(area + USED_OFFSET, used)?;
                self.store_u16(area + SIZE_OFFSET, size)?;
                self.store_u16(area + VERSION_OFFSET, VERSION)?;
                return Ok(Vec::new());
            }
            VERSION => {}
            _ => return Err(nonsense("another version")),
        }
        if self.load_u16(area + SIZE_OFFSET)? != size {
            return Err(nonsense("another size"));
        }
        self.strike_last_batch(queue, size, used)?;
        let mut found = Vec::new();
        for head in 0..size {
            let state = self.state(queue, head);
            if self.load_u64(state)? & IN_FLIGHT != 0 {
                found.push((self.load_u64(state + COUNTER_OFFSET)?, head));
            }
        }
        found.sort_unstable();
        let next = found.last().map_or(0, |(counter, _)| counter.wrapping_add(1));
        self.counters.iter_mut().skip(queue.into()).take(1).for_each(|counter| *counter = next);
        Ok(found.into_iter().map(|(_, head)| head).collect())
    }

    /// The end came after the driver was told of a batch and before all of it was struck off: do that now.
    fn strike_last_batch(&self, queue: u16, size: u16, used: u16) -> Result<(), InflightError> {
        let nonsense = |what| InflightError::Nonsense { queue, what };
        let area = self.area(queue);
        let batch = used.wrapping_sub(self.load_u16(area + USED_OFFSET)?);
        if batch > size {
            return Err(nonsense("the used ring went further than it can"));
        }
        let mut head = self.load_u16(area + LAST_HEAD_OFFSET)?;
        for _ in 0..batch {
            if head >= size {
                return Err(nonsense("a head outside of the table"));
            }
            let state = self.state(queue, head);
            let word = self.load_u64(state)?;
            self.memory.store_u64(state, word & !IN_FLIGHT)?;
            head = next_of(word);
        }
        self.store_u16(area + USED_OFFSET, used)?;
        Ok(())
    }

    /// Notes a head that was taken, before anything is done about it.
    ///
    /// # Errors
    /// [`InflightError::Gone`].
    pub fn taken(&mut self, queue: u16, head: u16) -> Result<(), InflightError> {
        let state = self.state(queue, head);
        if let Some(counter) = self.counters.get_mut(usize::from(queue)) {
            self.memory.store_u64(state + COUNTER_OFFSET, *counter)?;
            *counter = counter.wrapping_add(1);
        }
        let word = self.load_u64(state)?;
        Ok(self.memory.store_u64(state, word | IN_FLIGHT)?)
    }

    /// Names a head as the last one that goes into the used ring, before the driver is told.
    ///
    /// # Errors
    /// [`InflightError::Gone`].
    pub fn put(&self, queue: u16, head: u16) -> Result<(), InflightError> {
        let last = self.area(queue) + LAST_HEAD_OFFSET;
        let next = self.load_u16(last)?;
        self.memory.store_u64(self.state(queue, head), IN_FLIGHT | u64::from(next) << 48)?;
        Ok(self.store_u16(last, head)?)
    }

    /// Strikes off what the driver has been told: the used ring stands at `used` now.
    ///
    /// # Errors
    /// [`InflightError::Gone`].
    pub fn told(&self, queue: u16, head: u16, used: u16) -> Result<(), InflightError> {
        let state = self.state(queue, head);
        let word = self.load_u64(state)?;
        self.memory.store_u64(state, word & !IN_FLIGHT)?;
        Ok(self.store_u16(self.area(queue) + USED_OFFSET, used)?)
    }

    /// Whether the driver left the write cache on; nothing if nobody noted it.
    ///
    /// # Errors
    /// [`InflightError::Gone`].
    pub fn write_cache(&self) -> Result<Option<bool>, InflightError> {
        let Some(place) = self.our_word() else { return Ok(None) };
        let word = self.load_u64(place)?;
        Ok((word & !1 == OURS).then_some(word & 1 != 0))
    }

    /// Notes whether the write cache is on.
    ///
    /// # Errors
    /// [`InflightError::Gone`].
    pub fn note_write_cache(&self, enabled: bool) -> Result<(), InflightError> {
        let Some(place) = self.our_word() else { return Ok(()) };
        Ok(self.memory.store_u64(place, OURS | u64::from(enabled))?)
    }

    /// Where our word lies, if there is room behind the queues: another's memory need not have it.
    fn our_word(&self) -> Option<u64> {
        let place = self.area(self.extent.queues);
        (place + 8 <= self.extent.bytes).then_some(place)
    }

    fn load_u16(&self, address: u64) -> Result<u16, DmaFault> {
        self.memory.load_number(address)
    }

    fn store_u16(&self, address: u64, value: u16) -> Result<(), DmaFault> {
        self.memory.store_number(address, value)
    }

    fn load_u64(&self, address: u64) -> Result<u64, DmaFault> {
        self.memory.load_number(address)
    }
}

/// The next head of a batch: bits 63:48 of a state's first word.
const fn next_of(word: u64) -> u16 {
    let [.., low, high] = word.to_le_bytes();
    u16::from_le_bytes([low, high])
}

fn check(extent: Extent) -> Result<(), InflightError> {
    let Extent { bytes, queues, queue_size, .. } = extent;
    let sizes = queues > 0 && queue_size > 0 && queue_size <= RING_SIZE_MAX;
    if sizes && bytes >= u64::from(queues) * area_bytes(queue_size) && bytes < 1 << 32 {
        return Ok(());
    }
    Err(InflightError::Extent(extent))
}
