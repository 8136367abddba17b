//! The rings at work: heads are taken and become requests; requests complete and the driver is told.

use controller::dma::GuestMemory;
use controller::{Clock, Nanoseconds};
use guest_memory::descriptor::discard;
use tracing::{debug, warn};

use crate::disk::Finished;
use crate::request::{self, Refusal};
use crate::session::{Kick, RingState, Session};
use crate::wire::Features;
use crate::{chain, channel};

/// How many chains are taken of a ring in a step.
const TAKEN_PER_STEP: usize = 64;
/// How many buffers of chains are looked at in a step, of all rings together: a guest may make each chain as long as one can be.
const BUFFERS_PER_STEP: usize = 8192;
/// What a chain counts for besides.
const BUFFERS_PER_CHAIN: usize = 8;

impl Session {
    /// Everything that can be done now: whether anything was, and when there will be more.
    pub(crate) fn run(&mut self, now: Nanoseconds, clock: &dyn Clock) -> (bool, Option<Nanoseconds>) {
        let mut worked = self.notice_power();
        if !self.dead {
            worked |= self.keep_cache();
            let mut left = BUFFERS_PER_STEP;
            // Each ring is the first in its turn, because the last may find nothing left.
            self.first_ring = (self.first_ring + 1) % self.rings.len().max(1);
            for index in (self.first_ring..self.rings.len()).chain(0..self.first_ring) {
                self.start_if_due(index);
                worked |= self.process_queue(index, &mut left);
            }
        }
        let (stepped, next_event) = self.disk.step(now, clock);
        worked |= stepped;
        if !self.dead && self.disk.is_alive() {
            worked |= self.notice_size();
            for index in 0..self.rings.len() {
                worked |= self.collect(index);
            }
        }
        (worked, next_event)
    }

    /// The controller reads as all ones when it has no power: the rings then stand still, as those of a dead disk do. When it has power
    /// again it is brought up, and what nobody was told of begins anew.
    fn notice_power(&mut self) -> bool {
        let alive = self.disk.is_alive();
        if alive && self.dead {
            match self.disk.restart() {
                Ok(()) => self.dead = false,
                Err(error) => warn!(%error, "the controller does not become ready again"),
            }
            return !self.dead;
        }
        self.dead = !alive;
        false
    }

    /// A disk that has another size says so to the client, whose driver then asks for it: requests that came before are checked by the
    /// controller.
    fn notice_size(&mut self) -> bool {
        let resized = self.disk.has_resized().unwrap_or_else(|error| {
            warn!(%error, "the controller does not report what has changed");
            false
        });
        self.untold |= resized;
        if self.untold
            && let Some(channel) = &self.channel
        {
            match channel::tell_config_changed(channel) {
                Ok(told) => self.untold = !told,
                Err(error) => {
                    debug!(%error, "the client has given up its channel");
                    self.channel.take().into_iter().for_each(discard);
                }
            }
        }
        resized
    }

    /// Brings the write cache to where the driver wants it, where no message asked for that: after a reconnection.
    fn keep_cache(&mut self) -> bool {
        let wanted = self.wanted_cache(self.acknowledged);
        if self.acknowledged.is_empty() || !self.disk.switched() || self.disk.write_cache() == wanted {
            return false;
        }
        if let Err(error) = self.disk.switch_write_cache(wanted) {
            warn!(%error, "the write cache cannot be switched");
        }
        true
    }

    /// Starts a ring that the client has set up. What the process before us left in flight comes first.
    fn start_if_due(&mut self, index: usize) {
        let state = &mut self.rings[index];
        if state.ring.runs() || state.broken || !state.enabled || state.kick.is_none() || !state.ring.is_set_up() {
            return;
        }
        let event_index = self.acknowledged.contains(Features::EVENT_IDX);
        if let Err(error) = state.ring.prepare(self.disk.memory().guest.table(), event_index) {
            return self.break_ring(index, &error);
        }
        let (size, used) = (state.ring.size(), state.ring.used());
        if let Some(inflight) = &mut self.inflight {
            let number = u16::try_from(index).unwrap_or(u16::MAX);
            match inflight.recover(number, size, used) {
                // What a dead process took, it gave back or left in flight; a client that saw it die knows only the former.
                Ok(heads) if !heads.is_empty() => {
                    let count = u16::try_from(heads.len()).unwrap_or(u16::MAX);
                    state.ring.set_next_available(used.wrapping_add(count));
                    state.again = heads.into();
                }
                Ok(_) => {}
                Err(error) => return self.break_ring(index, &error),
            }
        }
        if let Err(error) = self.disk.open_queue(index) {
            return self.break_ring(index, &error);
        }
        let state = &mut self.rings[index];
        debug!(index, size, again = state.again.len(), "ring started");
        // The driver may have been told, and its interrupt lost with whoever told it.
        if let Some(call) = &state.call {
            call.raise();
        }
        state.ring.set_running(true);
    }

    /// Takes what the driver has made available, as far as `left` allows: what lacks an identifier waits with its head, of which there are
    /// as many as the ring has.
    fn process_queue(&mut self, index: usize, left: &mut usize) -> bool {
        if !self.rings[index].runs() {
            return false;
        }
        let mut worked = false;
        for _ in 0..TAKEN_PER_STEP {
            if *left == 0 || !self.disk.switched() {
                break;
            }
            match self.next_head(index) {
                Ok(None) => break,
                Ok(Some(head)) => {
                    worked = true;
                    let taken = self.take(index, head);
                    *left = left.saturating_sub(BUFFERS_PER_CHAIN + self.buffers.len());
                    if let Err(error) = taken {
                        self.break_ring(index, &*error);
                        return true;
                    }
                    self.disk.submit(index, &mut self.done);
                }
                Err(error) => {
                    self.break_ring(index, &*error);
                    return true;
                }
            }
        }
        worked |= self.disk.submit(index, &mut self.done);
        worked | self.tell(index)
    }

    /// The next head: one that is to be repeated, or the driver's next, which is noted before anything is done about it.
    fn next_head(&mut self, index: usize) -> Result<Option<u16>, Box<dyn std::error::Error>> {
        let Self { rings, disk, inflight, .. } = self;
        let state = &mut rings[index];
        if let Some(head) = state.again.pop_front() {
            return Ok(Some(head));
        }
        let table = disk.memory().guest.table();
        let Some(head) = state.ring.take(table)? else { return Ok(None) };
        state.ring.disable_notifications(table)?;
        if disk.is_under_way(index, head) {
            return Err("a head that is under way was made available again".into());
        }
        if let Some(inflight) = inflight {
            inflight.taken(u16::try_from(index)?, head)?;
        }
        Ok(Some(head))
    }

    /// A head becomes a request under way, or is answered.
    fn take(&mut self, index: usize, head: u16) -> Result<(), Box<dyn std::error::Error>> {
        let Self { rings, disk, buffers, extent, done, refusals, acknowledged, .. } = self;
        let ring = &rings[index].ring;
        let table = disk.memory().guest.table();
        let indirect = acknowledged.contains(Features::INDIRECT_DESC);
        chain::walk(table, ring.table(), ring.size(), head, indirect, buffers)?;
        match request::parse(table, buffers, &disk.geometry().limits, extent) {
            Ok(request) => disk.take(index, head, request, extent, done),
            Err(Refusal::Answered { answer, status, why }) => {
                if let Some(times) = refusals.admit() {
                    debug!(index, head, why, times, "refused a request");
                }
                done.push(Finished { head, answer, status, written: 1 });
            }
            Err(Refusal::Mute) => return Err(Box::new(Refusal::Mute)),
        }
        Ok(())
    }

    /// Takes what the controller has answered, and tells the driver.
    fn collect(&mut self, index: usize) -> bool {
        let worked = self.disk.reap(index, &mut self.done);
        self.tell(index) | worked
    }

    /// Gives finished requests back, all together. Those of a ring that stands still are dropped.
    fn tell(&mut self, index: usize) -> bool {
        if self.done.is_empty() {
            return false;
        }
        if !self.rings[index].broken
            && let Err(error) = self.give_back(index)
        {
            self.break_ring(index, &*error);
        }
        self.done.clear();
        true
    }

    fn give_back(&mut self, index: usize) -> Result<(), Box<dyn std::error::Error>> {
        let Self { rings, disk, inflight, done, .. } = self;
        let number = u16::try_from(index)?;
        let state = &mut rings[index];
        let table = disk.memory().guest.table();
        for finished in done.iter() {
            if table.write(finished.status, &[finished.answer.0]).is_err() {
                return Err("a status byte lies where nothing is".into());
            }
            if let Some(inflight) = inflight {
                inflight.put(number, finished.head)?;
            }
            state.ring.put(table, finished.head, finished.written)?;
            if let Some(inflight) = inflight {
                inflight.told(number, finished.head, state.ring.used())?;
            }
        }
        if state.ring.wants_interrupt(table)?
            && let Some(call) = &state.call
        {
            call.raise();
        }
        Ok(())
    }

    /// The driver, or the client, broke a ring: it stands still, and the client is told.
    fn break_ring(&mut self, index: usize, why: &(dyn std::error::Error + 'static)) {
        let state = &mut self.rings[index];
        state.broken = true;
        if let Some(error) = &state.error {
            error.raise();
        }
        if let Some(times) = self.breaks.admit() {
            warn!(index, %why, times, "a ring is broken and stands still");
        }
    }

    /// Before sleep: asks the driver to kick for whatever it makes available from now on. False if there is something already.
    pub(crate) fn arm(&mut self) -> bool {
        if self.dead {
            return true;
        }
        let mut idle = true;
        for index in 0..self.rings.len() {
            if !self.rings[index].runs() {
                continue;
            }
            let Self { rings, disk, .. } = self;
            match rings[index].ring.enable_notifications(disk.memory().guest.table()) {
                // Nothing is taken while the cache is switched.
                Ok(waiting) => idle &= !(waiting && disk.switched()),
                Err(error) => self.break_ring(index, &error),
            }
        }
        idle
    }

    /// Whether a ring must be looked at all the time.
    pub(crate) fn must_be_polled(&self) -> bool {
        self.rings.iter().any(|state| state.runs() && matches!(state.kick, Some(Kick::Polled)))
    }

    /// Takes nothing more of a ring; whether everything that was taken has been answered, or never will be.
    pub(crate) fn is_stopped(&mut self, index: u32) -> bool {
        let Some(index) = usize::try_from(index).ok().filter(|index| *index < self.rings.len()) else { return true };
        self.rings[index].enabled = false;
        self.dead || self.disk.under_way(index) == 0
    }

    /// Whether the write cache is as wanted, or cannot be. It begins to switch once for each message, which `begun` remembers.
    pub(crate) fn is_cached(&mut self, wanted: bool, begun: &mut bool) -> bool {
        if self.dead {
            return true;
        }
        if !self.disk.switched() {
            return false;
        }
        if *begun || self.disk.write_cache() == wanted {
            return true;
        }
        *begun = true;
        self.disk.switch_write_cache(wanted).is_err()
    }

    /// The same for the driver's choice in the configuration space.
    pub(crate) fn is_written_back(&mut self, writeback: bool, begun: &mut bool) -> bool {
        if !self.offered.contains(Features::CONFIG_WCE) {
            return true;
        }
        self.writeback = writeback;
        let wanted = self.wanted_cache(self.acknowledged);
        if !self.is_cached(wanted, begun) {
            return false;
        }
        if self.dead || self.disk.write_cache() != wanted {
            // The controller refuses, or there is none, and so does the answer.
            self.writeback = self.chosen;
            return true;
        }
        self.chosen = writeback;
        if let Some(inflight) = &self.inflight
            && inflight.note_write_cache(self.writeback).is_err()
        {
            warn!("the memory that records the write cache is gone");
        }
        true
    }
}

impl RingState {
    /// Whether requests are taken. What was taken is given back all the same.
    pub(crate) fn runs(&self) -> bool {
        self.ring.runs() && self.enabled && !self.broken
    }
}
