//! The disk as the rings see it: an NVMe host in this process, its queue pairs, and the requests that are commands on them. A request
//! becomes as many commands as MDTS requires and is answered once. Data goes directly between guest memory and media, because the
//! commands' SGLs name guest memory.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use controller::dma::GuestMemory;
use controller::{Clock, ControllerId, Nanoseconds, Subsystem};
use nvme_host::admin::LogArguments;
use nvme_host::{Host, HostError, Piece, Setup};
use nvme_spec::Command;
use nvme_spec::feature::{EVENT_NAMESPACE_ATTRIBUTE, FeatureId};
use nvme_spec::log::{CHANGED_NAMESPACES_BYTES, LogId};

use crate::error::DiskError;
use crate::geometry::{self, Geometry};
use crate::memory::{Reach, Shared, WINDOW_START, Window};
use crate::outcome::{answer, worse};
use crate::plan::{Plan, SEGMENT_BYTES_MAX};
use crate::request::{Extent, Operation, Request};
use crate::ring::RING_SIZE_MAX;
use crate::wire::BlockStatus;

/// Entries of each queue of the host. More requests than that wait their turn here.
const QUEUE_ENTRIES: u32 = 256;
/// Memory of our own for each ring, and for what is there once: queues, segments of SGLs, buffers of admin commands.
const WINDOW_PER_QUEUE: usize = 2 << 20;
const WINDOW_BYTES: usize = 1 << 20;
/// How often the controller is stepped for an admin command; they need a few.
const RELAX_MAX: u32 = 10_000;

/// The controller as the host reaches it.
pub struct Port {
    /// Whose controller it is.
    subsystem: Rc<RefCell<Subsystem>>,
    /// Which.
    id: ControllerId,
    /// What it can reach.
    pub memory: Reach,
    /// The time of its steps.
    pub now: Nanoseconds,
}

impl Port {
    /// One step of the controller, by the clock; whether it did anything, and when it will have something to do.
    fn step_by(&mut self, clock: &dyn Clock) -> (bool, Option<Nanoseconds>) {
        let progress = self.subsystem.borrow_mut().step_by(self.id, self.now, clock, &self.memory, None);
        (progress.worked, progress.next_event)
    }

    /// One step of the controller; whether it did anything, and when it will have something to do.
    pub fn step(&mut self) -> (bool, Option<Nanoseconds>) {
        let progress = self.subsystem.borrow_mut().step(self.id, self.now, &self.memory, None);
        (progress.worked, progress.next_event)
    }
}

impl nvme_host::Port for Port {
    fn register_read(&mut self, offset: u64, into: &mut [u8]) {
        self.subsystem.borrow_mut().bar_read(self.id, offset, into);
    }

    fn register_write(&mut self, offset: u64, from: &[u8]) {
        self.subsystem.borrow_mut().bar_write(self.id, offset, from);
    }

    fn memory_read(&self, address: u64, into: &mut [u8]) {
        self.memory.window.read(address, into).expect("the host keeps to its window");
    }

    fn memory_write(&mut self, address: u64, from: &[u8]) {
        self.memory.window.write(address, from).expect("the host keeps to its window");
    }

    fn relax(&mut self) -> bool {
        self.step();
        true
    }
}

/// A request under way.
struct Active {
    request: Request,
    extent: Extent,
    plan: Plan,
    /// Commands that have not completed.
    outstanding: u32,
    answer: BlockStatus,
    /// It has commands left to submit.
    queued: bool,
    /// Which it was of all requests.
    ordinal: u64,
}

/// A queue pair and the requests of one ring.
struct Queue {
    id: u16,
    /// Where the segments of SGLs lie, one page for each command.
    segments: u64,
    /// Command identifiers that are free.
    free: Vec<u16>,
    /// The head whose command has an identifier.
    owners: Vec<u16>,
    /// By head.
    active: Vec<Option<Box<Active>>>,
    count: usize,
    /// Heads of requests with commands left to submit.
    backlog: VecDeque<u16>,
    /// Requests that are over, for the next ones.
    #[expect(clippy::vec_box, reason = "they move between here and `active` by their boxes")]
    spare: Vec<Box<Active>>,
}

/// A request that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Which.
    pub head: u16,
    /// How it ended.
    pub answer: BlockStatus,
    /// Guest address of its status byte.
    pub status: u64,
    /// How many bytes were written, that byte among them.
    pub written: u32,
}

/// The disk.
pub struct Disk {
    host: Host<Port>,
    geometry: Geometry,
    queues: Vec<Option<Queue>>,
    next_ordinal: u64,
    /// Scratch for what a command points to.
    list: Vec<u8>,
    /// The command that switches the write cache, until it completes, and what it switches to.
    switching: Option<(u16, bool)>,
    write_cache: bool,
    /// The request that the controller answers when it has something to tell.
    event_request: Option<u16>,
    /// The disk has another size, and nobody has asked for it yet.
    resized: bool,
}

impl Disk {
    /// Brings a controller up for as many rings, and looks at the namespace.
    ///
    /// # Errors
    /// It cannot be a disk; the controller is nobody's again.
    pub fn start(
        (subsystem, id): (Rc<RefCell<Subsystem>>, ControllerId),
        nsid: u32,
        rings: u16,
        now: Nanoseconds,
    ) -> Result<Self, DiskError> {
        subsystem.borrow_mut().controller_mut(id).reset_function();
        subsystem.borrow_mut().controller_mut(id).set_bus_master(true);
        let bytes = WINDOW_BYTES + usize::from(rings) * WINDOW_PER_QUEUE;
        let memory = Reach { guest: Shared::default(), window: Window::new(bytes) };
        let setup = Setup { relax_max: RELAX_MAX, ..Setup::new(WINDOW_START..WINDOW_START + bytes as u64) };
        let mut port = Port { subsystem, id, memory, now };
        port.step();
        let mut host = Host::attach(port, setup);
        let started = host.start().map_err(DiskError::from).and_then(|()| {
            // Listened for first: what changes behind the answer is heard of.
            let event_request = listen(&mut host)?;
            Ok((event_request, Geometry::ask(&mut host, nsid)?))
        });
        let (event_request, geometry) = match started {
            Ok(started) => started,
            Err(error) => {
                release(host.into_port());
                return Err(error);
            }
        };
        let queues = std::iter::repeat_with(|| None).take(rings.into()).collect();
        let write_cache = geometry.write_cache.unwrap_or(false);
        Ok(Self {
            host,
            geometry,
            queues,
            next_ordinal: 0,
            list: Vec::new(),
            switching: None,
            write_cache,
            event_request: Some(event_request),
            resized: false,
        })
    }

    /// Leaves the controller, reset: whatever was under way is forgotten.
    pub fn stop(self) {
        release(self.host.into_port());
    }

    /// What the namespace is like.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// What the device can reach.
    #[must_use]
    pub const fn memory(&self) -> &Reach {
        &self.host.port().memory
    }

    /// The memory that the client shares.
    pub const fn shared(&mut self) -> &mut Shared {
        &mut self.host.port_mut().memory.guest
    }

    /// Whether the controller answers: one that has lost power reads as all ones.
    pub fn is_alive(&mut self) -> bool {
        self.host.status().bits() != u32::MAX
    }

    /// One step of the controller.
    pub fn step(&mut self, now: Nanoseconds, clock: &dyn Clock) -> (bool, Option<Nanoseconds>) {
        let port = self.host.port_mut();
        port.now = now;
        port.step_by(clock)
    }

    /// Makes the queue pair of a ring, if it is not there.
    ///
    /// # Errors
    /// The controller refuses.
    pub fn open_queue(&mut self, ring: usize) -> Result<(), HostError> {
        if self.queues[ring].is_none() {
            self.queues[ring] = Some(Queue::make(&mut self.host, ring)?);
        }
        Ok(())
    }

    /// How many requests of a ring are under way.
    #[must_use]
    pub fn under_way(&self, ring: usize) -> usize {
        self.queues[ring].as_ref().map_or(0, |queue| queue.count)
    }

    /// Whether a request with this head is under way.
    #[must_use]
    pub fn is_under_way(&self, ring: usize, head: u16) -> bool {
        self.queues[ring].as_ref().is_some_and(|queue| queue.active[usize::from(head)].is_some())
    }

    /// Takes a request. It goes to the controller when the doorbell is rung ([`Disk::submit`]); one that needs no command is `done` at
    /// once, and never waits behind others that lack an identifier. `extent` is exchanged for another, of no particular contents.
    ///
    /// # Panics
    /// If a request with this head is under way, or the ring has no queue.
    pub fn take(&mut self, ring: usize, head: u16, request: Request, extent: &mut Extent, done: &mut Vec<Finished>) {
        let Self { host, geometry, queues, next_ordinal, .. } = self;
        let queue = queues[ring].as_mut().expect("a ring that runs has a queue");
        let place = &mut queue.active[usize::from(head)];
        assert!(place.is_none(), "head {head} is under way already");
        let Request { operation, status, written } = request;
        if operation == Operation::Identify {
            let answer = tell_serial(host.port(), &geometry.serial, &extent.pieces);
            // Of one that failed nothing can be said of what it brought.
            let written = if answer == BlockStatus::OK { written } else { 0 };
            return done.push(Finished { head, answer, status, written });
        }
        let ordinal = *next_ordinal;
        *next_ordinal += 1;
        let mut active = queue.spare.pop().unwrap_or_else(|| {
            let (plan, answer) = (Plan::default(), BlockStatus::OK);
            Box::new(Active { request, extent: Extent::default(), plan, outstanding: 0, answer, queued: true, ordinal })
        });
        std::mem::swap(&mut active.extent, extent);
        (active.request, active.plan, active.outstanding) = (request, Plan::default(), 0);
        (active.answer, active.queued, active.ordinal) = (BlockStatus::OK, true, ordinal);
        *place = Some(active);
        queue.count += 1;
        queue.backlog.push_back(head);
    }

    /// Submits what the ring's queue has identifiers for, rings its doorbell, and says which requests came to nothing. True if anything
    /// was submitted.
    pub fn submit(&mut self, ring: usize, done: &mut Vec<Finished>) -> bool {
        let Self { host, geometry, queues, list, .. } = self;
        let Some(queue) = queues[ring].as_mut() else { return false };
        let mut submitted = false;
        while let (Some(&head), Some(&cid)) = (queue.backlog.front(), queue.free.last()) {
            let active = queue.active[usize::from(head)].as_mut().expect("the backlog is of requests under way");
            let segments = queue.segments + u64::from(cid) * SEGMENT_BYTES_MAX as u64;
            if let Some(command) = active.plan.next(&active.request, &active.extent, geometry, segments, list) {
                if !list.is_empty() {
                    nvme_host::Port::memory_write(host.port_mut(), segments, list);
                }
                let command = Command { cid: cid.into(), ..command };
                host.submit_as_is(queue.id, &command).expect("there is an entry for each identifier");
                queue.free.pop();
                queue.owners[usize::from(cid)] = head;
                active.outstanding += 1;
                submitted = true;
                continue;
            }
            queue.backlog.pop_front();
            active.queued = false;
            if active.outstanding == 0 {
                done.push(queue.finish(head));
            }
        }
        host.ring(queue.id).expect("the queue is there");
        submitted
    }

    /// Takes what the controller has answered: the requests of which that was the last command.
    pub fn reap(&mut self, ring: usize, done: &mut Vec<Finished>) -> bool {
        let Self { host, queues, .. } = self;
        let Some(queue) = queues[ring].as_mut() else { return false };
        let mut worked = false;
        while let Some(completion) = host.reap_quietly(queue.id) {
            worked = true;
            let cid = completion.cid.get();
            let head = queue.owners[usize::from(cid)];
            queue.free.push(cid);
            let active = queue.active[usize::from(head)].as_mut().expect("a command belongs to a request");
            active.answer = worse(active.answer, answer(completion.status()));
            active.outstanding -= 1;
            if active.outstanding == 0 && !active.queued {
                done.push(queue.finish(head));
            }
        }
        if worked {
            host.ring_completion(queue.id).expect("the queue is there");
        }
        worked
    }

    /// Whether the write cache is on, as far as the controller has confirmed.
    #[must_use]
    pub const fn write_cache(&self) -> bool {
        self.write_cache
    }

    /// Begins to switch the write cache (Set Features 06h). [`Disk::switched`] tells when it is done.
    ///
    /// # Errors
    /// The controller's admin queue does not take it.
    pub fn switch_write_cache(&mut self, enabled: bool) -> Result<(), HostError> {
        let command = nvme_host::admin::set_feature_command(FeatureId::VOLATILE_WRITE_CACHE, enabled.into());
        self.switching = Some((self.host.submit(0, command)?, enabled));
        Ok(())
    }

    /// Whether no switch of the write cache is going on.
    pub fn switched(&mut self) -> bool {
        let Some((cid, enabled)) = self.switching else { return true };
        let Some(completion) = self.host.poll(0, cid) else { return false };
        self.switching = None;
        if completion.status().is_success() {
            self.write_cache = enabled;
        } else {
            tracing::warn!(status = ?completion.status(), enabled, "the controller does not switch its write cache");
        }
        true
    }

    /// Whether the disk has another size than before, once.
    ///
    /// # Errors
    /// The controller told of something, and does not say what.
    pub fn has_resized(&mut self) -> Result<bool, HostError> {
        if let Some(cid) = self.event_request
            && let Some(completion) = self.host.poll(0, cid)
        {
            self.event_request = None;
            if completion.status().is_success() {
                // Reading the page makes the type heard again.
                let [_, _, log, _] = completion.dw0.get().to_le_bytes();
                self.host.get_log(LogId(log), CHANGED_NAMESPACES_BYTES, LogArguments::default())?;
                self.event_request = Some(self.host.async_event_request()?);
                self.learn_size()?;
            }
        }
        Ok(std::mem::take(&mut self.resized))
    }

    fn learn_size(&mut self) -> Result<(), HostError> {
        let namespace = self.host.identify_namespace(self.geometry.nsid)?;
        let (nsid, shift) = (self.geometry.nsid, self.geometry.limits.block_shift);
        // Another namespace may have its identifier meanwhile. One with other blocks is not this disk: there is nothing of it then.
        let is_the_same = geometry::block_shift(nsid, &namespace).is_ok_and(|other| other == shift);
        let blocks = if is_the_same { namespace.nsze.get() } else { 0 };
        self.resized |= std::mem::replace(&mut self.geometry.limits.blocks, blocks) != blocks;
        Ok(())
    }

    /// After power came back: brings the controller up again and begins every request anew that was under way, in the order in which
    /// they were taken. Nobody was told how they ended.
    ///
    /// # Errors
    /// It does not come up.
    pub fn restart(&mut self) -> Result<(), HostError> {
        self.host.start()?;
        self.switching = None;
        self.event_request = Some(listen(&mut self.host)?);
        self.learn_size()?;
        if self.geometry.write_cache.is_some() {
            let value = u32::from(self.write_cache);
            self.host.set_feature(FeatureId::VOLATILE_WRITE_CACHE, value)?;
        }
        for ring in 0..self.queues.len() {
            let Some(old) = self.queues[ring].take() else { continue };
            let mut queue = Queue::make(&mut self.host, ring)?;
            let mut heads: Vec<(u64, u16)> = Vec::new();
            for (head, active) in (0..).zip(old.active) {
                let Some(mut active) = active else { continue };
                (active.plan, active.outstanding, active.answer) = (Plan::default(), 0, BlockStatus::OK);
                active.queued = true;
                heads.push((active.ordinal, head));
                queue.active[usize::from(head)] = Some(active);
            }
            heads.sort_unstable();
            queue.count = heads.len();
            queue.backlog = heads.into_iter().map(|(_, head)| head).collect();
            self.queues[ring] = Some(queue);
        }
        Ok(())
    }

    /// Forgets the requests of a ring: the disk is dead, and the ring is taken away.
    pub fn forget(&mut self, ring: usize) {
        if let Some(queue) = &mut self.queues[ring] {
            queue.active.iter_mut().for_each(|active| *active = None);
            queue.backlog.clear();
            queue.count = 0;
        }
    }
}

impl Queue {
    fn make(host: &mut Host<Port>, ring: usize) -> Result<Self, HostError> {
        let id = u16::try_from(ring + 1).expect("there are as many rings as queue pairs, at most");
        let entries = QUEUE_ENTRIES.min(u32::from(host.capabilities().mqes_z()) + 1);
        host.create_queue_pair(id, entries, None)?;
        // One entry of a submission queue stays empty.
        let depth = u16::try_from(entries - 1).expect("at most 255");
        let bytes = u64::from(depth) * SEGMENT_BYTES_MAX as u64;
        let segments = host.memory().allocate(bytes).ok_or(HostError::OutOfMemory(bytes))?;
        Ok(Self {
            id,
            segments,
            free: (0..depth).rev().collect(),
            owners: vec![0; depth.into()],
            active: std::iter::repeat_with(|| None).take(RING_SIZE_MAX.into()).collect(),
            count: 0,
            backlog: VecDeque::new(),
            spare: Vec::new(),
        })
    }

    /// Takes a request out whose commands have all completed.
    fn finish(&mut self, head: u16) -> Finished {
        let active = self.active[usize::from(head)].take().expect("a request under way");
        self.count -= 1;
        let Request { operation, status, written } = active.request;
        let answer = active.answer;
        // A failed request that brings data may have brought a part of it, and of that nothing can be said.
        let brings = matches!(operation, Operation::Read(_));
        let written = if answer == BlockStatus::OK || !brings { written } else { 0 };
        self.spare.push(active);
        Finished { head, answer, status, written }
    }
}

/// Asks the controller to tell when the attributes of a namespace change.
fn listen(host: &mut Host<Port>) -> Result<u16, HostError> {
    host.set_feature(FeatureId::ASYNCHRONOUS_EVENTS, EVENT_NAMESPACE_ATTRIBUTE)?;
    host.async_event_request()
}

/// Writes the serial number to where the driver wants it.
fn tell_serial(port: &Port, serial: &[u8], pieces: &[Piece]) -> BlockStatus {
    let mut rest = serial;
    for piece in pieces {
        let (part, later) = rest.split_at((piece.length as usize).min(rest.len()));
        rest = later;
        if port.memory.write(piece.address, part).is_err() {
            return BlockStatus::IO_ERROR;
        }
    }
    BlockStatus::OK
}

/// The controller as nobody's.
fn release(mut port: Port) {
    port.subsystem.borrow_mut().controller_mut(port.id).reset_function();
    port.step();
    port.subsystem.borrow_mut().controller_mut(port.id).set_bus_master(false);
}
