//! Scheduling of I/O commands: those that wait until others have released their blocks, those that go to the media piece by piece, and
//! fused pairs. `atomic` decides what conflicts with what; `io` knows what a command does.

use media::power::mutation::{Mutation, mutated};
use media::power::{Mark, Step};
use media::{LbaRange, Nanoseconds, Submitted, Token};
use nvme_spec::Command;
use nvme_spec::command::fuse;

use crate::admin::Done;
use crate::atomic::{Claim, Pieces, Slices, distinct};
use crate::budget::Budget;
use crate::command::IoCommand;
use crate::dma::GuestMemory;
use crate::inflight::{Fused, InFlight, Origin, Parked};
use crate::queue::{Blocked, Permit};
use crate::reason::Reason;
use crate::shared::Shared;
use crate::shared::namespace::Namespace;
use crate::state::Shutdown;
use crate::watch::CommandName;
use crate::{Controller, io, outcome};

/// Units of a slice where units leave the map: a few hundred microseconds if each of them is there.
pub(crate) const FORGOTTEN_UNITS: u32 = 16_384;
/// Units of a slice where each is written.
const WRITTEN_UNITS: u32 = 128;
/// A Dataset Management of more ranges goes range by range: each may have two edges that are written.
const RANGES_AT_ONCE: usize = 32;
/// What a slice counts for where time stands still.
const WORK_PER_SLICE: usize = 16;
const WORK_PER_WRITTEN_SLICE: usize = 64;

impl Controller {
    /// A command of an I/O queue that was just taken: it goes to the media at once unless another one has its blocks.
    #[inline]
    pub(crate) fn execute_io<M: GuestMemory>(
        &mut self,
        shared: &mut Shared,
        now: Nanoseconds,
        memory: &M,
        permit: Permit,
        command: Result<IoCommand, Reason>,
        mut origin: Origin,
    ) {
        self.segments.clear();
        let token = self.in_flight.next_token();
        let result =
            command.and_then(|command| self.begin(shared, now, memory, (permit.name(), &command), token, &mut origin));
        if self.watch.hops() && !matches!(result, Ok(Done::Waits(_))) {
            let pending = result.as_ref().map(|done| matches!(done, Done::Pending)).map_err(|reason| *reason);
            self.tell_begun(permit.name(), memory, pending);
        }
        self.settle(permit, origin, result);
    }

    #[inline]
    fn begin<M: GuestMemory>(
        &mut self,
        shared: &mut Shared,
        now: Nanoseconds,
        memory: &M,
        (name, command): (CommandName, &IoCommand),
        token: Token,
        origin: &mut Origin,
    ) -> Result<Done, Reason> {
        origin.lba = command.first_block();
        if self.reached(Step::CommandAccepted) || self.registers.shutdown != Shutdown::No {
            return Err(Reason::PowerLost);
        }
        if command.is_of_reservation() {
            return self.reserve(shared, now, memory, command, (token, origin));
        }
        if self.namespaces.any_restricted() {
            self.check_access(shared, origin.nsid, command.needs())?;
        }
        if command.lists_ranges() {
            let nsid = origin.nsid;
            io::list(&mut self.context(shared, now, memory, token, origin, None), nsid, command)?;
            if self.watch.hops() {
                self.tell_ranges(name, matches!(command, IoCommand::Copy { .. }));
            }
        }
        let alone = shared.range_locks.is_idle() && shared.random.is_none() && !self.is_long(origin.nsid, command);
        if !alone && let Some(parked) = self.park(shared, origin.nsid, command, token) {
            return Ok(Done::Waits(parked));
        }
        match self.start(shared, now, memory, command, (token, origin), None)? {
            Some(dw0) => Ok(Done::Now(dw0)),
            None => Ok(self.pending(shared, token, origin.nsid, command)),
        }
    }

    /// The media has a whole command: it holds its blocks from now on.
    pub(crate) fn pending(&mut self, shared: &mut Shared, token: Token, nsid: u32, command: &IoCommand) -> Done {
        let _ = self.enter(shared, token, nsid, command, None);
        Done::Pending
    }

    /// Gives a command, or a piece of it, to the media; `None` if the media will report.
    #[inline]
    pub(crate) fn start<M: GuestMemory>(
        &mut self,
        shared: &mut Shared,
        now: Nanoseconds,
        memory: &M,
        command: &IoCommand,
        (token, origin): (Token, &mut Origin),
        piece: Option<LbaRange>,
    ) -> Result<Option<u32>, Reason> {
        let nsid = origin.nsid;
        let submitted = io::start(&mut self.context(shared, now, memory, token, origin, piece), nsid, command)?;
        self.reached(Step::CommandSubmitted);
        match submitted {
            Submitted::Pending => Ok(None),
            Submitted::Done(outcome) => outcome::conclude(outcome, origin).map(Some),
        }
    }

    #[inline]
    fn context<'a, M: GuestMemory>(
        &'a mut self,
        shared: &'a mut Shared,
        now: Nanoseconds,
        memory: &'a M,
        token: Token,
        origin: &'a mut Origin,
        piece: Option<LbaRange>,
    ) -> io::Context<'a, M> {
        io::Context {
            now,
            memory,
            media: shared.media.as_mut(),
            namespaces: &self.namespaces,
            reservations: &mut shared.reservations,
            id: self.id,
            segments: &mut self.segments,
            metadata: &mut self.metadata,
            page_shift: self.registers.page_shift(),
            transfer_bytes_max: self.transfer_bytes_max,
            token,
            origin,
            listed: &mut self.listed,
            piece,
        }
    }

    /// A command holds its ranges, or those of its piece, from now on; `false` if it has to wait for others.
    fn enter(
        &mut self,
        shared: &mut Shared,
        token: Token,
        nsid: u32,
        command: &IoCommand,
        piece: Option<LbaRange>,
    ) -> bool {
        let mut single = [LbaRange::default()];
        let claim = io::claim(&self.namespaces, nsid, command, piece, &self.listed, &mut single);
        claim.is_none_or(|claim| shared.range_locks.enter(token, &claim))
    }

    /// What is kept of a command that must wait or go to the media in pieces or slices; `None` if it does none of it.
    fn park(&mut self, shared: &mut Shared, nsid: u32, command: &IoCommand, token: Token) -> Option<Box<Parked>> {
        let mut single = [LbaRange::default()];
        let claim = io::claim(&self.namespaces, nsid, command, None, &self.listed, &mut single)?;
        let free = shared.range_locks.is_free(token, &claim);
        let (range, exclusive) = (*claim.ranges.first()?, claim.exclusive != 0);
        let listed = command.lists_ranges();
        let mut parked = Parked::new(*command);
        if listed || shared.random.is_none() {
            parked.slices = self.slices(shared, nsid, command, range);
        } else {
            parked.left = self.pieces(shared, nsid, range, exclusive);
        }
        let sliced = !parked.slices.is_empty();
        if !parked.left.is_empty() {
            self.scattered.push(token);
        } else if free && !sliced {
            return None;
        } else if self.enter(shared, token, nsid, command, None) {
            parked.in_turn = true;
            self.sliced.push_back(token);
        }
        if !sliced && command.lists_ranges() {
            parked.listed = self.listed.clone();
        }
        Some(Box::new(parked))
    }

    /// What a command falls apart into, in the order in which that happens; nothing if it stays whole.
    fn pieces(&mut self, shared: &mut Shared, nsid: u32, range: LbaRange, exclusive: bool) -> Vec<LbaRange> {
        let (Some(namespace), Some(random)) = (self.namespaces.get(nsid), shared.random.as_mut()) else {
            return Vec::new();
        };
        let atomics = shared.config.atomics;
        // A write that must survive a power loss as a whole is one request to the media, whatever it may be in normal operation.
        let kept = exclusive && namespace.units(atomics, true).of_write(range) == Pieces::Whole;
        let disables_normal = self.features.disables_normal() || mutated(Mutation::NormalUnits);
        let units = namespace.units(atomics, disables_normal);
        let pieces = if exclusive {
            units.of_write(range)
        } else if disables_normal && mutated(Mutation::DisabledUnits) {
            Pieces::Blocks
        } else {
            namespace.pieces_of_read(atomics, disables_normal, range)
        };
        if kept || pieces == Pieces::Whole {
            return Vec::new();
        }
        let mut split = units.split(range, pieces);
        random.shuffle(&mut split);
        split
    }

    /// Whether a command would hold everybody up if the media had all of it at once. No data moves, so nothing else limits it.
    fn is_long(&self, nsid: u32, command: &IoCommand) -> bool {
        let blocks = match command {
            IoCommand::WriteUncorrectable { blocks } | IoCommand::WriteZeroes { blocks, .. } => u64::from(blocks.count),
            IoCommand::DatasetManagement { deallocate: true, .. } if self.listed.len() > RANGES_AT_ONCE => return true,
            IoCommand::DatasetManagement { deallocate: true, .. } => {
                self.listed.iter().fold(0, |sum: u64, range| sum.saturating_add(range.blocks))
            }
            _ => return false,
        };
        self.namespaces.get(nsid).is_some_and(|namespace| blocks > slice_blocks(namespace, command))
    }

    /// The slices of a long command; none where it goes to the media as a whole. Meanwhile it holds all of its blocks, so that it is as
    /// atomic to other commands as any. What survives a power loss as a whole is never cut: for a Write Zeroes or Write Uncorrectable
    /// that is what [`Units`](crate::atomic::Units) says, and of a Dataset Management each range that is no longer than a slice.
    fn slices(&self, shared: &Shared, nsid: u32, command: &IoCommand, range: LbaRange) -> Slices {
        let Some(namespace) = self.namespaces.get(nsid).filter(|_| self.is_long(nsid, command)) else {
            return Slices::default();
        };
        let (blocks, step) = (slice_blocks(namespace, command), namespace.shape.preferred_blocks.into());
        if command.lists_ranges() {
            return Slices::new(distinct(&self.listed), blocks, step);
        }
        let units = namespace.units(shared.config.atomics, true);
        match units.of_write(range) {
            Pieces::Whole => Slices::default(),
            // The media writes each window by itself.
            Pieces::Windows => Slices::of_windows(range, u64::from(WRITTEN_UNITS) * step, units),
            Pieces::Blocks => Slices::new(vec![range], blocks, step),
        }
    }

    /// Lets those go on whose waiting is over, and some of those that go slice by slice or piece by piece. `true` if somebody did or will.
    pub(crate) fn go_on<M: GuestMemory>(
        &mut self,
        shared: &mut Shared,
        now: Nanoseconds,
        budget: &mut Budget<'_>,
        memory: &M,
    ) -> bool {
        self.scatter(shared, now, budget, memory);
        while budget.left() > 0 && shared.range_locks.has_ready(self.id.0) {
            match shared.range_locks.try_ready(self.id.0) {
                Some(token) => {
                    self.resume(shared, now, memory, token);
                    budget.spend_long(1);
                }
                None => budget.spend(1),
            }
        }
        self.slice(shared, now, budget, memory);
        self.supply.breaker.work_on(Mark::NONE);
        // Where slices are left one was done.
        budget.worked() || shared.range_locks.has_ready(self.id.0) || !self.scattered.is_empty()
    }

    /// Commands do their next slices in turn: one at least, however busy the queues are.
    fn slice<M: GuestMemory>(&mut self, shared: &mut Shared, now: Nanoseconds, budget: &mut Budget<'_>, memory: &M) {
        let mut any = false;
        while (!any || budget.left() > 0)
            && let Some(token) = self.sliced.pop_front()
        {
            let parked = self.in_flight.get_mut(token).and_then(|command| command.parked.as_mut());
            let Some(parked) = parked.filter(|parked| parked.in_turn) else { continue };
            parked.in_turn = false;
            let writes = matches!(parked.command, IoCommand::WriteUncorrectable { .. });
            self.resume(shared, now, memory, token);
            budget.spend_long(if writes { WORK_PER_WRITTEN_SLICE } else { WORK_PER_SLICE });
            any = true;
        }
    }

    /// Each command that goes piece by piece does its next one, or tosses a coin for it, so that others come between.
    fn scatter<M: GuestMemory>(&mut self, shared: &mut Shared, now: Nanoseconds, budget: &mut Budget<'_>, memory: &M) {
        let mut turns = std::mem::take(&mut self.scattered);
        if let Some(random) = &mut shared.random {
            random.shuffle(&mut turns);
        }
        for token in turns {
            if budget.left() == 0 || shared.random.as_mut().is_some_and(|random| random.coin()) {
                self.scattered.push(token);
                continue;
            }
            budget.spend_long(1);
            let Some(InFlight { origin, parked: Some(parked), .. }) = self.in_flight.get_mut(token) else { continue };
            parked.piece = parked.left.pop();
            let (nsid, command, piece) = (origin.nsid, parked.command, parked.piece);
            if self.enter(shared, token, nsid, &command, piece) {
                self.resume(shared, now, memory, token);
            }
        }
    }

    /// A command that waited goes to the media, or the next piece of it does; of a fused pair the Compare first.
    fn resume<M: GuestMemory>(&mut self, shared: &mut Shared, now: Nanoseconds, memory: &M, token: Token) {
        let Some(command) = self.in_flight.get_mut(token) else { return };
        let (mut origin, Some(parked)) = (command.origin, command.parked.as_mut()) else { return };
        if let Fused::Write { compare: Some(compare) } = parked.fused {
            return self.resume(shared, now, memory, compare);
        }
        self.listed.clone_from(&parked.listed);
        if parked.command.lists_ranges()
            && !parked.slices.is_empty()
            && let Some(volume) = self.namespaces.get(origin.nsid).map(|namespace| namespace.volume)
            && !parked.slices.pass_over(|range| shared.media.next_allocated(volume, range))
        {
            return self.piece_done(shared, token, Ok(0));
        }
        if let Some(slice) = parked.slices.next() {
            parked.piece = Some(slice);
            self.listed.push(slice);
        }
        let (again, piece) = (parked.command, parked.piece);
        self.supply.work_on(&command.permit);
        let result = if self.registers.shutdown == Shutdown::No {
            self.start(shared, now, memory, &again, (token, &mut origin), piece)
        } else {
            Err(Reason::PowerLost)
        };
        if self.watch.hops()
            && let Some(name) = self.in_flight.get(token).map(|command| command.permit.name())
        {
            self.tell_begun(name, memory, result.map(|done| done.is_none()));
        }
        if let Some(InFlight { origin: kept, parked: Some(parked), .. }) = self.in_flight.get_mut(token) {
            *kept = origin;
            parked.at_media = result == Ok(None);
        }
        match result {
            Ok(None) => {}
            Ok(Some(dw0)) => self.piece_done(shared, token, Ok(dw0)),
            Err(status) => self.piece_done(shared, token, Err(status)),
        }
    }

    /// What the media had of a command is done: the command is, or its other pieces follow.
    pub(crate) fn piece_done(&mut self, shared: &mut Shared, token: Token, result: Result<u32, Reason>) {
        let parked = self.in_flight.get_mut(token).and_then(|command| command.parked.as_mut());
        match parked {
            Some(parked) if result.is_ok() && !parked.slices.is_empty() => {
                (parked.at_media, parked.in_turn) = (false, true);
                self.sliced.push_back(token);
            }
            Some(parked) if result.is_ok() && !parked.left.is_empty() => {
                parked.at_media = false;
                shared.range_locks.leave(token);
                self.scattered.push(token);
            }
            _ => self.end(shared, token, result),
        }
    }

    /// A command is over: others may have its blocks, and it is answered. The second of a fused pair follows the first.
    pub(crate) fn end(&mut self, shared: &mut Shared, token: Token, result: Result<u32, Reason>) {
        shared.range_locks.leave(token);
        let Some(InFlight { permit, origin, parked }) = self.in_flight.remove(token) else { return };
        self.complete(permit, origin, result);
        let Some(Fused::Compare { write }) = parked.map(|parked| parked.fused) else { return };
        let Some(second) = self.in_flight.get_mut(write).and_then(|command| command.parked.as_mut()) else { return };
        second.fused = Fused::Write { compare: None };
        match result {
            Ok(_) => {
                if mutated(Mutation::PairApart) {
                    shared.range_locks.leave(write);
                }
                shared.range_locks.make_ready(write);
            }
            Err(_) if mutated(Mutation::PairRegardless) => shared.range_locks.make_ready(write),
            // What ended the first ends the second, unless it was the first's own failure.
            Err(reason) => self.end(shared, write, Err(partner_reason(reason))),
        }
    }

    /// Ends a command that waits, or takes it away from the media, and answers it for `reason`; the other of a fused pair ends with it.
    /// `false` if the media has finished it.
    pub(crate) fn withdraw(&mut self, shared: &mut Shared, token: Token, reason: Reason) -> bool {
        let Some(command) = self.in_flight.get(token) else { return false };
        if command.is_at_media() && !shared.cancel(self.id, token) {
            return false;
        }
        let compare = match command.parked.as_ref().map(|parked| parked.fused) {
            Some(Fused::Write { compare: Some(compare) }) => Some(compare),
            _ => None,
        };
        if shared.random.is_some() {
            self.scattered.retain(|other| *other != token);
        }
        if let Some(compare) = compare {
            self.part(compare);
            self.withdraw(shared, compare, partner_reason(reason));
        }
        self.end(shared, token, Err(reason));
        true
    }

    /// The first of a fused pair is alone from now on.
    fn part(&mut self, compare: Token) {
        if let Some(first) = self.in_flight.get_mut(compare).and_then(|command| command.parked.as_mut()) {
            first.fused = Fused::No;
        }
    }

    /// A command that says it is the first of a fused pair: with its second it is carried out, without it is refused (NVMe Base 2.1
    /// section 3.4.2; B148). Without slots or memory for both the first goes back into its queue.
    ///
    /// # Errors
    /// Why neither can be taken now.
    pub(crate) fn take_pair<M: GuestMemory>(
        &mut self,
        shared: &mut Shared,
        memory: &M,
        permit: Permit,
        first: &Command,
    ) -> Result<(), Blocked> {
        match self.queues.take_second(&permit, memory) {
            Ok(Some((other, second))) => {
                if self.watch.hops() {
                    self.tell_fetched(permit.name(), *first);
                    self.tell_fetched(other.name(), second);
                }
                if !self.supply.fetched(&permit, first) && !self.supply.fetched(&other, &second) {
                    self.execute_pair(shared, [permit, other], first, &second);
                }
            }
            Ok(None) => self.complete(permit, Origin::of(first, self.health.now), Err(Reason::FusedAlone)),
            Err(by) => {
                self.queues.put_back(permit);
                return Err(by);
            }
        }
        Ok(())
    }

    fn execute_pair(&mut self, shared: &mut Shared, [one, other]: [Permit; 2], first: &Command, second: &Command) {
        let ([first_command, second_command], range) = match self.check_pair(shared, first, second) {
            Ok(checked) => checked,
            Err((status, partner)) => {
                self.complete(one, Origin::of(first, self.health.now), Err(status));
                return self.complete(other, Origin::of(second, self.health.now), Err(partner));
            }
        };
        let now = self.health.now;
        let origin = |entry| Origin { lba: range.start.0, ..Origin::of(entry, now) };
        let compare = self.in_flight.next_token();
        self.in_flight.insert(InFlight {
            permit: one,
            origin: origin(first),
            parked: Some(Parked::new(first_command).into()),
        });
        let write = self.in_flight.next_token();
        let mut parked = Box::new(Parked::new(second_command));
        parked.fused = Fused::Write { compare: Some(compare) };
        self.in_flight.insert(InFlight { permit: other, origin: origin(second), parked: Some(parked) });
        if let Some(first) = self.in_flight.get_mut(compare).and_then(|command| command.parked.as_mut()) {
            first.fused = Fused::Compare { write };
        }
        let volume = self.namespaces.get(first.nsid.get()).expect("the pair was checked").volume;
        if shared.range_locks.enter(write, &Claim { volume, exclusive: 1, ranges: &[range] }) {
            shared.range_locks.make_ready(write);
        }
    }

    /// A fused pair that can be carried out, and its blocks; or how each of them ends.
    fn check_pair(
        &self,
        shared: &Shared,
        first: &Command,
        second: &Command,
    ) -> Result<([IoCommand; 2], LbaRange), (Reason, Reason)> {
        let (compare, write) = IoCommand::parse_pair(first, second)?;
        self.reached(Step::CommandAccepted);
        if self.registers.shutdown != Shutdown::No {
            return Err((Reason::PowerLost, Reason::PowerLost));
        }
        let failed = |status| (status, Reason::FusedPartner);
        let nsid = first.nsid.get();
        if self.namespaces.any_restricted() {
            self.check_access(shared, nsid, compare.needs()).map_err(failed)?;
            self.check_access(shared, nsid, write.needs()).map_err(|status| (Reason::FusedPartner, status))?;
        }
        let namespace = self.namespaces.resolve(nsid).map_err(failed)?;
        let mut single = [LbaRange::default()];
        let claim = io::claim(&self.namespaces, nsid, &compare, None, &[], &mut single);
        let range = claim.map(|claim| claim.ranges[0]).ok_or(failed(Reason::OutOfRange))?;
        // Multiple Atomicity Mode is not for fused pairs (B167).
        if namespace.compares_atomically(shared.config.atomics, range) {
            Ok(([compare, write], range))
        } else {
            Err(failed(Reason::FusedTooLong))
        }
    }
}

/// How many blocks of a command go to the media at once.
fn slice_blocks(namespace: &Namespace, command: &IoCommand) -> u64 {
    let units = match command {
        IoCommand::WriteUncorrectable { .. } => WRITTEN_UNITS,
        _ => FORGOTTEN_UNITS,
    };
    u64::from(units) * u64::from(namespace.shape.preferred_blocks)
}

/// How the other of a fused pair ends when one of them ended for `reason`.
fn partner_reason(reason: Reason) -> Reason {
    if reason == Reason::QueueDeleted { reason } else { Reason::FusedPartner }
}

/// Whether a command says that it is the first of a fused pair.
pub(crate) fn begins_pair(command: &Command) -> bool {
    command.fuse() == fuse::FIRST
}
