//! Doorbells: how the host reports its progress in a queue. They arrive as register writes, in a page that both sides share, or in the
//! shadow buffers of Doorbell Buffer Config (NVMe Base 2.1 section 5.2.5). A doorbell moves a tail or a head; nothing else happens.

mod admin;

use std::sync::atomic::{Ordering, fence};

use crate::arbiter::Arbiter;
use crate::dma::{DoorbellPage, GuestMemory};
use crate::queue::{BadDoorbell, Queues};
use crate::watch::DoorbellPath;

use admin::{Place, Seen, Ways};

/// The shadow buffers of the host: one page of doorbells, one of event indexes.
#[derive(Clone, Copy, Debug)]
struct Shadow {
    doorbells: u64,
    event_indexes: u64,
}

/// Where doorbells come from besides register writes, and what was last seen there.
#[derive(Debug)]
pub(crate) struct Doorbells {
    shadow: Option<Shadow>,
    /// The last value seen in the shared page, by doorbell.
    page_seen: Vec<u32>,
    /// The last value seen in the shadow buffer, by doorbell.
    shadow_seen: Vec<u32>,
    /// Doorbells of queues that were just created: zero in the page before the host can know of the queue.
    fresh: Vec<u16>,
    /// Doorbells that are looked at: of queues that exist, or did; ascending.
    watched: Vec<u16>,
    /// The ways to the doorbells of the admin queue, while they have shadows.
    admin: [Ways; ADMIN.len()],
    /// Shadow buffers that are neither read nor written until the host rings: taken out of the way, so that nobody has to ask.
    resting: Option<Shadow>,
}

/// A doorbell that was rung.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rung {
    pub(crate) path: DoorbellPath,
    pub(crate) index: u16,
    pub(crate) value: u32,
    pub(crate) moved: Result<(), BadDoorbell>,
}

/// Who is told of doorbells that were rung: of all of them, or of those that cannot be.
pub(crate) struct Told<'a> {
    pub(crate) all: bool,
    pub(crate) tell: &'a mut dyn FnMut(Rung),
}

impl Told<'_> {
    #[inline]
    fn rung(&mut self, path: DoorbellPath, index: u16, value: u32, moved: Result<(), BadDoorbell>) {
        if self.all || moved.is_err() {
            (self.tell)(Rung { path, index, value, moved });
        }
    }
}

/// The doorbells of the admin queue.
const ADMIN: [u16; 2] = [0, 1];
/// The first doorbell that is not the admin queue's.
const FIRST_IO_INDEX: u16 = 2;

/// The doorbells of a queue are neighbours: the tail of the submission queue, then the head of the completion queue.
fn tail_index(id: u16) -> u16 {
    2 * id
}

fn head_index(id: u16) -> u16 {
    2 * id + 1
}

impl Doorbells {
    /// For queues 0 to `count - 1`.
    pub(crate) fn new(count: u16) -> Self {
        let seen = vec![0; 2 * usize::from(count)];
        Self {
            shadow: None,
            page_seen: seen.clone(),
            shadow_seen: seen,
            fresh: Vec::new(),
            watched: ADMIN.into(),
            admin: [Ways::default(); ADMIN.len()],
            resting: None,
        }
    }

    /// Drops the shadow buffers and forgets what was seen; the shared page is cleared.
    pub(crate) fn reset(&mut self, page: Option<&dyn DoorbellPage>) {
        self.shadow = None;
        self.resting = None;
        self.page_seen.fill(0);
        self.shadow_seen.fill(0);
        self.fresh.clear();
        self.watched.splice(.., ADMIN);
        if let Some(page) = page {
            (0..self.page_seen.len()).for_each(|index| page.store(index, 0));
        }
    }

    /// A submission queue was created: its doorbell starts at 0.
    pub(crate) fn submission_created(&mut self, id: u16) {
        self.created(tail_index(id));
    }

    /// A completion queue was created: its doorbell starts at 0.
    pub(crate) fn completion_created(&mut self, id: u16) {
        self.created(head_index(id));
    }

    fn created(&mut self, index: u16) {
        self.page_seen[usize::from(index)] = 0;
        self.shadow_seen[usize::from(index)] = 0;
        self.fresh.push(index);
        if let Err(place) = self.watched.binary_search(&index) {
            self.watched.insert(place, index);
        }
    }

    /// Clears the page's doorbells of queues that were just created; before their creation is announced.
    pub(crate) fn clear_fresh(&mut self, page: Option<&dyn DoorbellPage>) {
        for index in self.fresh.drain(..) {
            if let Some(page) = page {
                page.store(usize::from(index), 0);
            }
        }
    }

    /// Uses shadow buffers from now on (both page aligned). What is in them counts for nothing yet: the entries of queues that exist
    /// begin where their doorbells are, so that every later value is seen to be another one.
    pub(crate) fn set_shadow<M: GuestMemory>(
        &mut self,
        memory: &M,
        queues: &Queues,
        doorbells: u64,
        event_indexes: u64,
    ) {
        self.shadow = Some(Shadow { doorbells, event_indexes });
        self.shadow_seen.fill(0);
        for &index in &self.watched {
            let Some(Place { position, .. }) = place(queues, index) else { continue };
            // A buffer that is gone again has nothing new in it either.
            let _ = memory.store_u32(entry_address(doorbells, index), position.into());
            self.shadow_seen[usize::from(index)] = position.into();
            if let Some(ways) = self.admin.get_mut(usize::from(index)) {
                *ways = Ways::at(position);
            }
        }
    }

    /// Leaves the shadow buffers alone until the host rings; it was asked to, by [`Doorbells::arm`].
    pub(crate) fn rest(&mut self) {
        self.resting = self.shadow.take();
    }

    /// Whether that is so.
    pub(crate) fn is_resting(&self) -> bool {
        self.resting.is_some()
    }

    /// The host rang: its buffers are there.
    pub(crate) fn wake(&mut self) {
        if let Some(shadow) = self.resting.take() {
            self.shadow = Some(shadow);
        }
    }

    /// Whether a register write to an I/O doorbell is only a nudge: with shadow buffers the value is there, and the register's may be
    /// older.
    pub(crate) fn is_nudge(&self, index: u16) -> bool {
        self.shadow.is_some() && index >= FIRST_IO_INDEX
    }

    /// The host wrote a register that is more than a nudge.
    pub(crate) fn register_written(
        &mut self,
        queues: &mut Queues,
        arbiter: &mut Arbiter,
        index: u16,
        value: u32,
    ) -> Result<(), BadDoorbell> {
        let ways = self.admin.get_mut(usize::from(index)).filter(|_| self.shadow.is_some());
        let (Some(ways), Some(place)) = (ways, place(queues, index)) else {
            return ring(queues, arbiter, index, value);
        };
        let low = nvme_spec::command::low16(value);
        if ways.register_is_new(place, low) {
            ring(queues, arbiter, index, value)?;
            ways.moved_by_register(low);
        }
        Ok(())
    }

    /// Looks at the shared page and the shadow buffers of every queue that exists.
    #[inline]
    pub(crate) fn poll<M: GuestMemory>(
        &mut self,
        memory: &M,
        page: Option<&dyn DoorbellPage>,
        queues: &mut Queues,
        arbiter: &mut Arbiter,
        told: &mut Told<'_>,
    ) -> bool {
        let mut moved = false;
        let mut rung = |path, index, value| {
            if exists(queues, index) {
                moved = true;
                told.rung(path, index, value, ring(queues, arbiter, index, value));
            }
        };
        if let Some(page) = page {
            let mut from = 0;
            while let Some(behind) = page.first_changed(&self.watched[from..], &self.page_seen) {
                let index = self.watched[from + behind];
                let value = page.load(usize::from(index));
                self.page_seen[usize::from(index)] = value;
                rung(DoorbellPath::Page, index, value);
                from += behind + 1;
            }
        }
        if let Some(shadow) = self.shadow {
            for &index in self.watched.iter().filter(|&&index| index >= FIRST_IO_INDEX) {
                let seen = &mut self.shadow_seen[usize::from(index)];
                // A shadow buffer that is gone for the moment says nothing; it is looked at again in the next step.
                if let Ok(value) = memory.load_u32(entry_address(shadow.doorbells, index))
                    && value != *seen
                {
                    *seen = value;
                    rung(DoorbellPath::Shadow, index, value);
                }
            }
        }
        moved | self.poll_admin_shadow(memory, queues, arbiter, told)
    }

    /// The shadows of the admin queue. What came by its registers is carried into them, so that a host that goes over to them finds there
    /// what it would have written, and whatever it writes then is another value.
    fn poll_admin_shadow<M: GuestMemory>(
        &mut self,
        memory: &M,
        queues: &mut Queues,
        arbiter: &mut Arbiter,
        told: &mut Told<'_>,
    ) -> bool {
        let Some(shadow) = self.shadow else { return false };
        let mut moved = false;
        for (index, ways) in ADMIN.into_iter().zip(&mut self.admin) {
            let address = entry_address(shadow.doorbells, index);
            let (Some(place), Ok(mut value)) = (place(queues, index), memory.load_u32(address)) else { continue };
            let mut seen = ways.look(place, value);
            // Where the host comes first with another value, that is looked at.
            while seen == Seen::Behind {
                match memory.exchange_u32(address, value, place.position.into()) {
                    Ok(found) if found == value => {
                        ways.carried(place);
                        break;
                    }
                    Ok(found) => value = found,
                    Err(_) => break,
                }
                seen = ways.look(place, value);
            }
            if let Seen::Moved(value) = seen {
                moved = true;
                told.rung(DoorbellPath::Shadow, index, value, ring(queues, arbiter, index, value));
            }
        }
        moved
    }

    /// Asks the host to ring when it has something new, before the device sleeps: the event index of each queue is brought up to
    /// date. While the device is awake the indexes stay behind, and the host stays silent. The host's next change after this is either seen
    /// by a poll that follows, or announced. Heads of completion queues are asked for only with `heads`.
    pub(crate) fn arm<M: GuestMemory>(&mut self, memory: &M, queues: &Queues, heads: bool) {
        if self.shadow.is_none() {
            return;
        }
        for id in 0..queues.count() {
            if let Some(queue) = queues.submission(id) {
                self.ask_for(memory, tail_index(id), queue.tail());
            }
            if let Some(queue) = queues.completion(id).filter(|_| heads) {
                self.ask_for(memory, head_index(id), queue.head());
            }
        }
        publish_indexes();
    }

    /// Asks the host to ring when it moves a doorbell from `position` on.
    fn ask_for<M: GuestMemory>(&mut self, memory: &M, index: u16, position: u32) {
        let Some(shadow) = self.shadow else { return };
        if let Some(ways) = self.admin.get_mut(usize::from(index)) {
            ways.event = nvme_spec::command::low16(position);
        }
        // A buffer that is gone leaves the host to ring as it likes.
        let _ = memory.store_u32(entry_address(shadow.event_indexes, index), position);
    }

    /// Asks the host to ring for every head of a completion queue that it moves: what the interrupt pin needs. A guest ends the pin's
    /// interrupt by an access to the device, and a head that moves in memory alone is none. To be called before the pin is asserted.
    pub(crate) fn announce_heads<M: GuestMemory>(&mut self, memory: &M, queues: &Queues) {
        if self.shadow.is_none() {
            return;
        }
        for id in 0..queues.count() {
            if let Some(queue) = queues.completion(id) {
                self.ask_for(memory, head_index(id), queue.head());
            }
        }
        publish_indexes();
    }
}

/// Where a doorbell stands; `None` where its queue is not there.
fn place(queues: &Queues, index: u16) -> Option<Place> {
    let id = index / 2;
    let (position, entries) = if index.is_multiple_of(2) {
        queues.submission(id).map(|queue| (queue.tail(), queue.entries()))?
    } else {
        queues.completion(id).map(|queue| (queue.head(), queue.entries()))?
    };
    Some(Place { position: nvme_spec::command::low16(position), entries })
}

/// Whether the queue of a doorbell is still there.
fn exists(queues: &Queues, index: u16) -> bool {
    let id = index / 2;
    if index.is_multiple_of(2) { queues.submission(id).is_some() } else { queues.completion(id).is_some() }
}

/// Event indexes that were stored become visible before anything that follows, on every processor.
fn publish_indexes() {
    fence(Ordering::SeqCst);
}
fn entry_address(base: u64, index: u16) -> u64 {
    base.wrapping_add(u64::from(index) * 4)
}

/// Moves the tail or the head that doorbell `index` stands for. Bits 31:16 are ignored (B50).
pub(crate) fn ring(queues: &mut Queues, arbiter: &mut Arbiter, index: u16, value: u32) -> Result<(), BadDoorbell> {
    let id = index / 2;
    let value = nvme_spec::command::low16(value);
    if index.is_multiple_of(2) { ring_tail(queues, arbiter, id, value) } else { ring_head(queues, arbiter, id, value) }
}

fn ring_tail(queues: &mut Queues, arbiter: &mut Arbiter, id: u16, tail: u16) -> Result<(), BadDoorbell> {
    let queue = queues.submission_mut(id).ok_or(BadDoorbell::NoQueue)?;
    queue.ring(tail)?;
    if queue.is_empty() {
        arbiter.idle(id);
    } else {
        arbiter.ready(id);
    }
    Ok(())
}

fn ring_head(queues: &mut Queues, arbiter: &mut Arbiter, id: u16, head: u16) -> Result<(), BadDoorbell> {
    let queue = queues.completion_mut(id).ok_or(BadDoorbell::NoQueue)?;
    queue.ring(head)?;
    // Queues that waited for a completion slot are tried again.
    arbiter.unblock();
    Ok(())
}
