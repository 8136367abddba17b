//! The host: a port, the memory it was given, and the queues on both sides of it. This file owns submitting, reaping and waiting;
//! what commands mean is in the files that extend it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{Ordering, fence};

use nvme_spec::register::{self, Capabilities, ControllerStatus};
use nvme_spec::{COMPLETION_BYTES, Command, Completion, Status};
use thiserror::Error;
use zerocopy::{FromBytes, IntoBytes};

use crate::doorbell::{Doorbell, Shadow, need_event};
use crate::memory::Memory;
use crate::port::Port;
use crate::prp::PrpError;
use crate::queue::{CompletionQueue, SubmissionQueue};
use crate::setup::{AdminDoorbells, Setup};

/// Why the host could not go on. A failed I/O command is not among these: it is a [`Status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HostError {
    /// What was waited for did not come within the bound of [`Setup::relax_max`], or the port gave up before.
    #[error("{what} did not come (CSTS {status:?})")]
    TimedOut {
        /// What was waited for.
        what: Awaited,
        /// CSTS at the end of the wait.
        status: ControllerStatus,
    },
    /// The controller reports CSTS.CFS.
    #[error("the controller reports a fatal status")]
    Fatal,
    /// CAP does not allow the setup.
    #[error("the controller does not offer {0}")]
    Unsupported(&'static str),
    /// A command without which the host cannot go on failed.
    #[error("the controller answered {0:?}")]
    Refused(Status),
    /// The submission queue has no free entry.
    #[error("submission queue {0} is full")]
    QueueFull(u16),
    /// The host has no queue of this identifier.
    #[error("there is no queue {0}")]
    NoSuchQueue(u16),
    /// The range of guest addresses is used up.
    #[error("no room for {0} bytes of guest memory")]
    OutOfMemory(u64),
    /// A buffer cannot be described.
    #[error(transparent)]
    Prp(#[from] PrpError),
}

/// What a wait was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// CSTS.RDY to become this.
    Ready(bool),
    /// CSTS.SHST to tell that shutdown is complete.
    Shutdown,
    /// The completion of a command.
    Completion {
        /// Its submission queue.
        sqid: u16,
        /// Its identifier.
        cid: u16,
    },
}

impl std::fmt::Display for Awaited {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ready(ready) => write!(formatter, "CSTS.RDY = {}", u8::from(*ready)),
            Self::Shutdown => write!(formatter, "the end of shutdown"),
            Self::Completion { sqid, cid } => write!(formatter, "the completion of command {cid} of queue {sqid}"),
        }
    }
}

/// A driver over one controller.
#[derive(Debug)]
pub struct Host<P> {
    pub(crate) port: P,
    pub(crate) setup: Setup,
    pub(crate) capabilities: Capabilities,
    pub(crate) memory: Memory,
    pub(crate) submission: BTreeMap<u16, SubmissionQueue>,
    pub(crate) completion: BTreeMap<u16, CompletionQueue>,
    pub(crate) shadow: Option<Shadow>,
    /// How many times a doorbell of the admin queue was moved while it had a shadow.
    admin_moves: u32,
    /// Bytes of a logical block, of the namespaces that were asked.
    pub(crate) block_bytes: BTreeMap<u32, usize>,
    /// The queue that the I/O helpers use.
    pub(crate) io_queue: u16,
    /// Reaped while something else was waited for, with the completion queue; in order of arrival.
    arrived: VecDeque<(u16, Completion)>,
    surprises: Vec<Completion>,
}

impl<P: Port> Host<P> {
    /// A host over a controller that it leaves as it is: it reads CAP and nothing else. [`Host::start`] brings the controller up.
    #[must_use]
    pub fn attach(mut port: P, setup: Setup) -> Self {
        let capabilities = Capabilities(port.register_read_64(register::CAP));
        Self {
            memory: Memory::new(setup.memory.clone(), setup.page_bytes()),
            port,
            setup,
            capabilities,
            submission: BTreeMap::new(),
            completion: BTreeMap::new(),
            shadow: None,
            admin_moves: 0,
            block_bytes: BTreeMap::new(),
            io_queue: 1,
            arrived: VecDeque::new(),
            surprises: Vec::new(),
        }
    }

    /// The port, to look at.
    pub const fn port(&self) -> &P {
        &self.port
    }

    /// The port, to reach the device behind the host's back.
    pub const fn port_mut(&mut self) -> &mut P {
        &mut self.port
    }

    /// Gives the port back.
    pub fn into_port(self) -> P {
        self.port
    }

    /// CAP, as read when the host was made.
    #[must_use]
    pub const fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// The allocator of guest addresses.
    pub const fn memory(&mut self) -> &mut Memory {
        &mut self.memory
    }

    /// Completions that no waiting command explains: of an unknown queue or identifier, on the wrong completion queue, or with an
    /// impossible head. A test of a correct controller finds none.
    #[must_use]
    pub fn surprises(&self) -> &[Completion] {
        &self.surprises
    }

    /// A submission queue, if the host has it.
    #[must_use]
    pub fn submission_queue(&self, sqid: u16) -> Option<&SubmissionQueue> {
        self.submission.get(&sqid)
    }

    /// A completion queue, if the host has it.
    #[must_use]
    pub fn completion_queue(&self, cqid: u16) -> Option<&CompletionQueue> {
        self.completion.get(&cqid)
    }

    /// Puts a command with a fresh identifier into a queue and rings. Returns the identifier.
    ///
    /// # Errors
    /// [`HostError::NoSuchQueue`] and [`HostError::QueueFull`].
    pub fn submit(&mut self, sqid: u16, command: Command) -> Result<u16, HostError> {
        let cid = self.submit_quietly(sqid, command)?;
        self.ring(sqid)?;
        Ok(cid)
    }

    /// The same without ringing, for a batch that [`Host::ring`] ends.
    ///
    /// # Errors
    /// [`HostError::NoSuchQueue`] and [`HostError::QueueFull`].
    pub fn submit_quietly(&mut self, sqid: u16, mut command: Command) -> Result<u16, HostError> {
        let queue = self.submission.get_mut(&sqid).ok_or(HostError::NoSuchQueue(sqid))?;
        command.cid = queue.fresh_cid().into();
        self.submit_as_is(sqid, &command)?;
        Ok(command.cid.get())
    }

    /// Puts a command into a queue with the identifier it carries, be it in use or not, without ringing.
    ///
    /// # Errors
    /// [`HostError::NoSuchQueue`] and [`HostError::QueueFull`].
    pub fn submit_as_is(&mut self, sqid: u16, command: &Command) -> Result<(), HostError> {
        let queue = self.submission.get_mut(&sqid).ok_or(HostError::NoSuchQueue(sqid))?;
        if queue.is_full() {
            return Err(HostError::QueueFull(sqid));
        }
        let slot = queue.push(command.cid.get());
        self.port.memory_write(slot, command.as_bytes());
        Ok(())
    }

    /// Tells the controller the tail of a submission queue, if it has moved.
    ///
    /// # Errors
    /// [`HostError::NoSuchQueue`].
    pub fn ring(&mut self, sqid: u16) -> Result<(), HostError> {
        let queue = self.submission.get_mut(&sqid).ok_or(HostError::NoSuchQueue(sqid))?;
        let old = std::mem::replace(&mut queue.tail_told, queue.tail);
        let new = queue.tail;
        if old != new {
            self.tell(Doorbell::SubmissionTail(sqid), new);
        }
        Ok(())
    }

    /// Tells the controller the head of a completion queue, if it has moved.
    ///
    /// # Errors
    /// [`HostError::NoSuchQueue`].
    pub fn ring_completion(&mut self, cqid: u16) -> Result<(), HostError> {
        let queue = self.completion.get_mut(&cqid).ok_or(HostError::NoSuchQueue(cqid))?;
        let old = std::mem::replace(&mut queue.head_told, queue.head);
        let new = queue.head;
        if old != new {
            self.tell(Doorbell::CompletionHead(cqid), new);
        }
        Ok(())
    }

    /// Writes any value into any doorbell register; the host's own positions do not change. For tests of what a host must not do.
    pub fn write_doorbell(&mut self, doorbell: Doorbell, value: u32) {
        self.port.register_write_32(doorbell.register(self.capabilities.doorbell_stride()), value);
    }

    /// Guest address of the shadow of a doorbell, while there are shadows.
    #[must_use]
    pub fn shadow_doorbell(&self, doorbell: Doorbell) -> Option<u64> {
        self.shadow.map(|shadow| shadow.doorbells + doorbell.offset(self.capabilities.doorbell_stride()))
    }

    /// Moves a doorbell: through its shadow if it has one, and through the register unless the controller said that it looks anyway.
    fn tell(&mut self, doorbell: Doorbell, new: u16) {
        if let Some(shadow) = self.shadow
            && (doorbell.queue() != 0 || self.moves_admin_shadow())
        {
            let offset = doorbell.offset(self.capabilities.doorbell_stride());
            // What was there tells where the doorbell was, as in other drivers.
            let mut old = [0; 2];
            self.port.memory_read(shadow.doorbells + offset, &mut old);
            self.port.memory_write(shadow.doorbells + offset, &u32::from(new).to_le_bytes());
            // The controller stores the event index and then loads the shadow; we store the shadow and then load the event index.
            // Only a full fence between store and load keeps both from missing the other.
            fence(Ordering::SeqCst);
            let mut event = [0; 2];
            self.port.memory_read(shadow.event_indices + offset, &mut event);
            if !need_event(u16::from_le_bytes(event), new, u16::from_le_bytes(old)) {
                return;
            }
        }
        self.write_doorbell(doorbell, new.into());
    }

    /// Whether the next move of a doorbell of the admin queue goes through its shadow.
    fn moves_admin_shadow(&mut self) -> bool {
        match self.setup.admin_doorbells {
            AdminDoorbells::Registers => false,
            AdminDoorbells::Shadows => true,
            AdminDoorbells::Alternating => {
                // Runs of five: some begin in the middle of a queue, and each kind follows each.
                self.admin_moves = self.admin_moves.wrapping_add(1);
                (self.admin_moves / 5).is_multiple_of(2)
            }
        }
    }

    /// The next completion of a completion queue, if there is one, with the head told to the controller.
    ///
    /// # Panics
    /// If the host has no such queue.
    pub fn reap(&mut self, cqid: u16) -> Option<Completion> {
        let completion = self.reap_quietly(cqid);
        self.ring_completion(cqid).expect("reaping looked the queue up");
        completion
    }

    /// The same without telling the controller; [`Host::ring_completion`] does it later. First come completions that arrived while
    /// another was waited for.
    ///
    /// # Panics
    /// If the host has no such queue.
    pub fn reap_quietly(&mut self, cqid: u16) -> Option<Completion> {
        assert!(self.completion.contains_key(&cqid), "there is no completion queue {cqid}");
        match self.arrived.iter().position(|&(queue, _)| queue == cqid) {
            Some(index) => self.arrived.remove(index).map(|(_, completion)| completion),
            None => self.take_entry(cqid),
        }
    }

    /// Takes the entry at the head of a completion queue if it is new, and books it.
    fn take_entry(&mut self, cqid: u16) -> Option<Completion> {
        let queue = self.completion.get_mut(&cqid)?;
        let slot = queue.slot();
        let mut entry = [0; COMPLETION_BYTES];
        // The phase first, alone: the rest of an entry is only there once its phase has turned.
        self.port.memory_read(slot + 12, &mut entry[12..]);
        let seen = Completion::read_from_bytes(&entry).expect("an entry has 16 bytes");
        if seen.phase() != queue.phase {
            return None;
        }
        self.port.memory_read(slot, &mut entry);
        queue.advance();
        let completion = Completion::read_from_bytes(&entry).expect("an entry has 16 bytes");
        let expected = match self.submission.get_mut(&completion.sqid.get()) {
            Some(queue) => queue.cqid == cqid && queue.complete(&completion),
            None => false,
        };
        if !expected {
            self.surprises.push(completion);
        }
        Some(completion)
    }

    /// The completion of a command, if it has arrived; does not let the device run.
    pub fn poll(&mut self, sqid: u16, cid: u16) -> Option<Completion> {
        if let Some(cqid) = self.submission.get(&sqid).map(|queue| queue.cqid) {
            self.collect(cqid);
        }
        let wanted = |(_, found): &(u16, Completion)| (found.sqid.get(), found.cid.get()) == (sqid, cid);
        let index = self.arrived.iter().position(wanted)?;
        self.arrived.remove(index).map(|(_, completion)| completion)
    }

    /// Moves what a completion queue holds, at most one round of it, to those that arrived.
    pub(crate) fn collect(&mut self, cqid: u16) {
        let rounds = self.completion.get(&cqid).map_or(0, |queue| queue.entries);
        for _ in 0..rounds {
            let Some(completion) = self.take_entry(cqid) else { break };
            self.arrived.push_back((cqid, completion));
        }
        // A command whose completion queue a test has deleted has nobody to tell.
        let _ = self.ring_completion(cqid);
    }

    /// Lets the device run until a command has completed. Completions of other commands are kept for whoever asks for them.
    ///
    /// # Errors
    /// [`HostError::NoSuchQueue`]; [`HostError::TimedOut`] when the bound is reached or the port gives up.
    pub fn wait(&mut self, sqid: u16, cid: u16) -> Result<Completion, HostError> {
        if !self.submission.contains_key(&sqid) {
            return Err(HostError::NoSuchQueue(sqid));
        }
        self.relax_until(Awaited::Completion { sqid, cid }, |host| host.poll(sqid, cid))
    }

    /// Submits a command and waits for it.
    ///
    /// # Errors
    /// Those of [`Host::submit`] and [`Host::wait`].
    pub fn execute(&mut self, sqid: u16, command: Command) -> Result<Completion, HostError> {
        let cid = self.submit(sqid, command)?;
        self.wait(sqid, cid)
    }

    /// CSTS.
    pub fn status(&mut self) -> ControllerStatus {
        ControllerStatus::from_bits_retain(self.port.register_read_32(register::CSTS))
    }

    /// Looks, lets the device run, looks again, until something is there.
    pub(crate) fn relax_until<T>(
        &mut self,
        what: Awaited,
        mut look: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<T, HostError> {
        for _ in 0..=self.setup.relax_max {
            if let Some(found) = look(self) {
                return Ok(found);
            }
            if !self.port.relax() {
                break;
            }
        }
        look(self).ok_or_else(|| HostError::TimedOut { what, status: self.status() })
    }

    /// Whole pages of guest memory, filled with zeroes.
    pub(crate) fn allocate_zeroed(&mut self, bytes: u64) -> Result<u64, HostError> {
        let address = self.memory.allocate(bytes).ok_or(HostError::OutOfMemory(bytes))?;
        let page = vec![0; self.setup.page_bytes_usize()];
        let end = address + bytes.max(1);
        for at in (address..end).step_by(page.len()) {
            self.port.memory_write(at, &page);
        }
        Ok(address)
    }

    /// Forgets all queues, what arrived and the shadow doorbells, and takes the memory back; buffers of the caller are gone as well.
    pub(crate) fn forget_everything(&mut self) {
        self.submission.clear();
        self.completion.clear();
        self.arrived.clear();
        self.shadow = None;
        self.memory = Memory::new(self.setup.memory.clone(), self.setup.page_bytes());
    }

    /// Forgets what arrived on a completion queue that is deleted.
    pub(crate) fn forget_arrived(&mut self, cqid: u16) {
        self.arrived.retain(|&(queue, _)| queue != cqid);
    }
}
