//! How requests are executed: from blocks of a volume to spans of units, and from the translation layer's result to the time at which
//! an outcome is due. Does not know how outcomes are delivered.

use super::saved::Saved;
use super::{Place, Ssd, Waiting};
use crate::fault::ReadVerdict;
use crate::ftl::write::Span;
use crate::ordering::Order;
use crate::power::Step;
use crate::power::mutation::{Mutation, mutated};
use crate::root::VolumeEntry;
use crate::store::{Store, StoreError};
use crate::unit::{Lba, LbaRange, LogicalUnit, Nanoseconds, index, narrow};
use crate::volume::{
    Fault, MediaError, Outcome, Request, Sink, Source, Submitted, Token, VolumeChange, VolumeId, VolumeShape,
};

struct Zeroes;

impl Source for Zeroes {
    fn fill(&mut self, _offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        into.fill(0);
        Ok(())
    }
}

/// A part of what a source gives: this many blocks are passed over.
pub(super) struct Behind<'a> {
    from: &'a mut dyn Source,
    data: usize,
    metadata: usize,
}

impl Source for Behind<'_> {
    fn fill(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        self.from.fill(self.data + offset, into)
    }

    fn fill_non_temporal(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        self.from.fill_non_temporal(self.data + offset, into)
    }

    fn fill_metadata(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        self.from.fill_metadata(self.metadata + offset, into)
    }
}

/// What a finished request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wait {
    Nothing,
    Until(Nanoseconds),
    /// The store has written what waits for it: memory would fill otherwise.
    Written,
    Synced,
}

/// What a request makes durable at least.
#[derive(Clone, Copy, Debug)]
pub(super) enum Domain {
    All,
    Volume(usize),
    Blocks(usize, LbaRange),
}

impl<S: Store> Ssd<S> {
    #[inline]
    pub(super) fn span(&self, volume: usize, range: LbaRange) -> Result<Span, MediaError> {
        let volume = &self.volumes[volume];
        if !range.fits(volume.shape.capacity_blocks) {
            return Err(MediaError::OutOfRange);
        }
        let byte = range.start.0 << volume.block_shift;
        let unit = u32::try_from(self.ftl.geometry.unit_at(byte)).map_err(|_| MediaError::OutOfRange)?;
        let bytes = usize::try_from(range.blocks << volume.block_shift).map_err(|_| MediaError::OutOfRange)?;
        Ok(Span {
            first: LogicalUnit(volume.entry.first_unit + unit),
            offset: self.ftl.geometry.offset_at(byte),
            bytes,
            block_shift: volume.block_shift,
            metadata_bytes: volume.shape.metadata_bytes as usize,
        })
    }

    #[inline]
    fn read(&mut self, volume: usize, range: LbaRange, into: &mut dyn Sink, force: bool) -> Result<Wait, MediaError> {
        let span = self.span(volume, range)?;
        if force && self.ftl.has_uncommitted() {
            self.commit_domain(Domain::Volume(volume)).map_err(|error| at(error, range.start))?;
        }
        let force = force && !mutated(Mutation::ForcedRead);
        if !self.read_faults.is_empty() {
            self.meet_read_faults(volume, range)?;
        }
        self.ftl.nand.reads_finish = self.now;
        self.ftl.read(&span, into).map_err(|error| behind(error, range.start))?;
        self.ftl.reached(Step::DataTransferred);
        self.count_reads(1, span.bytes as u64);
        // What was programmed because it grew old may not have reached the host's disk yet.
        Ok(if force { Wait::Synced } else { self.until(self.ftl.nand.reads_finish) })
    }

    #[cold]
    fn meet_read_faults(&mut self, volume: usize, range: LbaRange) -> Result<(), MediaError> {
        match self.read_faults.verdict(VolumeId(narrow(volume)), range) {
            ReadVerdict::Readable { corrected } => {
                self.ftl.counters.corrected_reads += corrected;
                Ok(())
            }
            ReadVerdict::Unrecovered(first) => {
                self.ftl.counters.media_errors += 1;
                Err(MediaError::UnrecoveredRead { first })
            }
        }
    }

    #[inline]
    fn write(
        &mut self,
        volume: usize,
        range: LbaRange,
        from: &mut dyn Source,
        force: bool,
    ) -> Result<Wait, MediaError> {
        let span = self.span(volume, range)?;
        if range.blocks == 0 {
            return Ok(Wait::Nothing);
        }
        self.check_store()?;
        if self.config.misbehaviour.changes_writes() {
            return self.write_badly(volume, range, from, force);
        }
        if self.falls_into_windows(volume, range) {
            for window in self.volumes[volume].promise.pieces(range) {
                self.write_part(volume, range.start, window, from)?;
            }
        } else {
            self.write_span(volume, range, &span, from)?;
        }
        self.accepted(volume, range, force)
    }

    /// Whether a write is longer than what is kept together, and must still be whole or undone from edge to edge: each part is a group
    /// of its own then.
    #[inline]
    fn falls_into_windows(&self, volume: usize, range: LbaRange) -> bool {
        let volume = &self.volumes[volume];
        let longer = range.blocks > u64::from(volume.shape.power_atomic_blocks);
        longer && volume.promise.multiple && !mutated(Mutation::Windows)
    }

    /// Writes some of the blocks of a request that begins at `start`.
    pub(super) fn write_part(
        &mut self,
        volume: usize,
        start: Lba,
        part: LbaRange,
        from: &mut dyn Source,
    ) -> Result<(), MediaError> {
        let span = self.span(volume, part)?;
        let skipped = index(part.start.0 - start.0);
        let (data, metadata) = (skipped << span.block_shift, skipped * span.metadata_bytes);
        self.write_span(volume, part, &span, &mut Behind { from, data, metadata })
    }

    /// A write of nothing that could be read: no data comes, and none is counted.
    fn write_uncorrectable(&mut self, volume: usize, range: LbaRange) -> Result<Wait, MediaError> {
        self.span(volume, range)?;
        if range.blocks == 0 {
            return Ok(Wait::Nothing);
        }
        self.check_store()?;
        let windows = if self.falls_into_windows(volume, range) {
            self.volumes[volume].promise.pieces(range)
        } else {
            vec![range]
        };
        self.ftl.nand.reads_finish = self.now;
        for window in windows {
            let span = self.span(volume, window)?;
            let grouped = window.blocks <= u64::from(self.volumes[volume].shape.power_atomic_blocks);
            let written = self.ftl.write_uncorrectable(&span, grouped);
            written.map_err(|error| self.write_failed(error, range.start))?;
        }
        self.accepted(volume, range, false)
    }

    /// One write of what was read before: by way of memory, since what is to be atomic is staged as one group.
    fn copy(&mut self, volume: usize, sources: &[LbaRange], to: Lba, force: bool) -> Result<Wait, MediaError> {
        let blocks = sources.iter().fold(0, |sum: u64, source| sum.saturating_add(source.blocks));
        let target = LbaRange::new(to, blocks);
        for range in sources.iter().chain([&target]) {
            self.span(volume, *range)?;
        }
        let mut copied = Saved::default();
        let mut wait = Wait::Nothing;
        for source in sources {
            copied.extend(&self.span(volume, *source)?).map_err(|_| MediaError::Internal)?;
            wait = wait.max(self.read(volume, *source, &mut copied, false)?);
        }
        let read = self.ftl.nand.reads_finish;
        wait = wait.max(self.write(volume, target, &mut copied, force)?);
        self.ftl.nand.reads_finish = self.ftl.nand.reads_finish.max(read);
        self.count_write(blocks << self.volumes[volume].block_shift);
        Ok(wait)
    }

    pub(super) fn write_span(
        &mut self,
        volume: usize,
        range: LbaRange,
        span: &Span,
        from: &mut dyn Source,
    ) -> Result<(), MediaError> {
        let grouped = range.blocks <= u64::from(self.volumes[volume].shape.power_atomic_blocks);
        self.ftl.nand.reads_finish = self.now;
        let tag = self.ftl.tag_of_request(grouped);
        self.ftl.write(span, from, tag).map_err(|error| self.write_failed(error, range.start))
    }

    /// What every change ends with: faults of overwritten blocks heal, and durability is arranged for.
    #[inline]
    pub(super) fn accepted(&mut self, volume: usize, range: LbaRange, force: bool) -> Result<Wait, MediaError> {
        if !self.read_faults.is_empty() {
            self.read_faults.heal(VolumeId(narrow(volume)), range);
        }
        let forced = force && !self.config.misbehaviour.ignored_fua && !mutated(Mutation::ForcedWrite);
        if forced || !self.cache_enabled {
            return self.keep_promise(Domain::Blocks(volume, range));
        }
        if self.staged_since.is_none() {
            self.staged_since = Some(self.now);
        }
        if self.ftl.nand.store.backlogged() {
            return Ok(Wait::Written);
        }
        if self.ftl.nand.timing.is_none() {
            return Ok(Wait::Nothing);
        }
        let buffered = self.ftl.nand.buffer_free(self.buffer_pages);
        Ok(self.until(buffered.max(self.ftl.nand.reads_finish)))
    }

    pub(super) fn commit(&mut self) -> Result<Wait, MediaError> {
        self.commit_domain(Domain::All)
    }

    /// Programs what is in the domain; with it everything else, unless flushes are apart.
    pub(super) fn commit_domain(&mut self, of: Domain) -> Result<Wait, MediaError> {
        let units = self.units_apart(of);
        self.ftl.reached(Step::FlushBegun);
        let done = match &units {
            Some(units) => self.ftl.commit_units(units),
            None => {
                self.ftl.commit();
                !self.ftl.has_uncommitted()
            }
        };
        if !self.ftl.has_uncommitted() {
            self.staged_since = None;
        }
        self.ftl.reached(Step::FlushProgrammed);
        self.ftl.release_empty();
        if !done {
            return Err(MediaError::WriteFailed { first: Lba(0) });
        }
        Ok(Wait::Synced)
    }

    /// The units that a domain is, where others need not become durable with them.
    fn units_apart(&self, of: Domain) -> Option<std::ops::Range<u32>> {
        if !self.config.cache.flush_apart || !self.cache_enabled {
            return None;
        }
        match of {
            Domain::All => None,
            Domain::Volume(volume) => {
                let VolumeEntry { first_unit, units, .. } = self.volumes[volume].entry;
                Some(first_unit..first_unit + units)
            }
            Domain::Blocks(volume, range) => {
                let span = self.span(volume, range).ok()?;
                Some(span.first.0..span.first.0 + narrow(span.units(self.ftl.geometry.unit_shift)))
            }
        }
    }

    /// While the store is stuck nothing new is taken in: memory would fill with what cannot be written.
    #[inline]
    pub(super) fn check_store(&mut self) -> Result<(), MediaError> {
        if self.stuck.is_some() {
            self.stuck = self.ftl.nand.store.synced().err().map(|error| of_store(&error));
        }
        self.stuck.map_or(Ok(()), Err)
    }

    /// Every range is checked before the first is touched; each is accepted by itself.
    fn deallocate(&mut self, volume: usize, ranges: &[LbaRange]) -> Result<Wait, MediaError> {
        for range in ranges {
            self.span(volume, *range)?;
        }
        self.check_store()?;
        let mut wait = Wait::Nothing;
        for range in ranges.iter().filter(|range| range.blocks != 0) {
            let span = self.span(volume, *range)?;
            self.zero_edges_and_deallocate(volume, *range, &span)?;
            wait = wait.max(self.accepted(volume, *range, false)?);
        }
        Ok(wait)
    }

    /// Whole units leave the map; of units covered in part, the blocks are written with zeroes where the unit holds anything.
    fn zero_edges_and_deallocate(&mut self, volume: usize, range: LbaRange, span: &Span) -> Result<(), MediaError> {
        let shift = self.ftl.geometry.unit_shift;
        let units = span.units(shift);
        let to_end = range.start.0 + range.blocks == self.volumes[volume].shape.capacity_blocks;
        let covers = |n: usize| {
            let part = span.part(n, shift);
            part.bytes == 1 << shift || (part.offset == 0 && to_end && n + 1 == units)
        };
        let first_whole = usize::from(!covers(0));
        let end_whole = if units > 1 && !covers(units - 1) { units - 1 } else { units };
        for n in [0, units - 1] {
            let edge = n < first_whole || n >= end_whole;
            if edge && (n == 0 || units > 1) && self.ftl.mapped_units(span.first.0 + narrow(n), 1) != 0 {
                let part = span.part(n, shift);
                let zeroed = Span { first: part.unit, offset: part.offset, bytes: part.bytes, ..*span };
                let tag = self.ftl.tag_of_request(true);
                self.ftl.write(&zeroed, &mut Zeroes, tag).map_err(|error| at(error, range.start))?;
            }
        }
        if end_whole > first_whole {
            let first = LogicalUnit(span.first.0 + narrow(first_whole));
            let forgotten = self.ftl.deallocate(first, narrow(end_whole - first_whole));
            forgotten.map_err(|_| MediaError::WriteFailed { first: range.start })?;
        }
        Ok(())
    }

    fn write_zeroes(
        &mut self,
        volume: usize,
        range: LbaRange,
        deallocate: bool,
        force: bool,
    ) -> Result<Wait, MediaError> {
        let span = self.span(volume, range)?;
        if self.falls_into_windows(volume, range) {
            let windows = self.volumes[volume].promise.pieces(range).into_iter();
            return windows
                .map(|window| self.write_zeroes(volume, window, deallocate, force))
                .try_fold(Wait::Nothing, |wait, next| next.map(|next| wait.max(next)));
        }
        let unit_mask = self.ftl.geometry.unit_bytes() - 1;
        let atomic = range.blocks <= u64::from(self.volumes[volume].shape.power_atomic_blocks);
        // One journal entry is as atomic as one group; a mixture of both is not. Zeroes that need not be whole or undone are never
        // programmed: a map entry that points nowhere says the same, and gigabytes of zeroes would hold everything up.
        let whole_units = (span.offset | span.bytes) & unit_mask == 0;
        if range.blocks != 0 && (!atomic || (deallocate && whole_units)) {
            self.check_store()?;
            self.zero_edges_and_deallocate(volume, range, &span)?;
            return self.accepted(volume, range, force);
        }
        self.write(volume, range, &mut Zeroes, force)
    }

    fn until(&self, time: Nanoseconds) -> Wait {
        if time <= self.now { Wait::Nothing } else { Wait::Until(time) }
    }

    pub(super) fn execute(&mut self, volume: usize, request: Request<'_>) -> Result<Wait, MediaError> {
        match request {
            Request::FlushAll => self.flush(Domain::All),
            Request::Quiesce => self.quiesce(),
            Request::Manage { change, note } => self.change_volume(volume, change, note),
            Request::Purge => self.purge(),
            _ if !self.exists(volume) => Err(MediaError::NoSuchVolume),
            Request::Flush => self.flush(Domain::Volume(volume)),
            Request::Read { range, into, force } => self.read(volume, range, into, force),
            Request::Write { range, from, force } => self.change(volume, |ssd| {
                let wait = ssd.write(volume, range, from, force)?;
                ssd.count_write(range.blocks << ssd.volumes[volume].block_shift);
                Ok(wait)
            }),
            Request::WriteZeroes { range, deallocate, force } => {
                self.change(volume, |ssd| ssd.write_zeroes(volume, range, deallocate, force))
            }
            Request::WriteUncorrectable { range } => self.change(volume, |ssd| ssd.write_uncorrectable(volume, range)),
            Request::Copy { sources, to, force } => self.change(volume, |ssd| ssd.copy(volume, sources, to, force)),
            Request::Deallocate { ranges } => self.change(volume, |ssd| ssd.deallocate(volume, ranges)),
            Request::Resize { blocks } => self.change(volume, |ssd| ssd.resize(volume, blocks)),
        }
    }

    /// What changes a volume: the store no longer says that the end was orderly, and its units are counted.
    fn change(
        &mut self,
        volume: usize,
        change: impl FnOnce(&mut Self) -> Result<Wait, MediaError>,
    ) -> Result<Wait, MediaError> {
        self.leave_rest();
        let before = self.ftl.mapped;
        let wait = change(self);
        self.note_mapped(volume, before);
        wait
    }

    /// The same, of one that need not be there before or after.
    fn change_volume(&mut self, volume: usize, change: VolumeChange, note: Option<&[u8]>) -> Result<Wait, MediaError> {
        self.leave_rest();
        let before = self.ftl.mapped;
        let wait = self.manage(volume, change, note);
        if self.ftl.mapped != before {
            self.note_mapped(volume, before);
        }
        wait
    }

    /// Counts what became of the volume's units since this many of all were mapped.
    #[inline]
    pub(super) fn note_mapped(&mut self, volume: usize, before: u64) {
        let mapped = &mut self.volumes[volume].mapped_units;
        *mapped = *mapped + self.ftl.mapped - before;
    }

    /// Counts a read that was carried out.
    #[inline]
    pub(super) fn count_reads(&mut self, count: u64, bytes: u64) {
        self.ftl.counters.host_reads += count;
        self.ftl.counters.host_read_bytes += bytes;
    }

    /// Counts a write that was carried out.
    #[inline]
    pub(super) fn count_write(&mut self, bytes: u64) {
        self.ftl.counters.host_writes += 1;
        self.ftl.counters.host_write_bytes += bytes;
    }

    /// Counts a write that failed, where the media is to blame, and names it by its first block.
    pub(super) fn write_failed(&mut self, error: MediaError, first: Lba) -> MediaError {
        self.ftl.counters.media_errors += u64::from(error != MediaError::HostMemory);
        at(error, first)
    }

    /// The new size is in the root, and what a smaller one drops is gone before: otherwise it would be there again when the volume grows.
    fn resize(&mut self, volume: usize, blocks: u64) -> Result<Wait, MediaError> {
        let VolumeShape { capacity_blocks: old, capacity_blocks_max: most, .. } = self.volumes[volume].shape;
        if !(1..=most).contains(&blocks) {
            return Err(MediaError::OutOfRange);
        }
        self.check_store()?;
        if blocks < old {
            let dropped = LbaRange::new(Lba(blocks), old - blocks);
            let span = self.span(volume, dropped)?;
            self.zero_edges_and_deallocate(volume, dropped, &span)?;
            self.read_faults.heal(VolumeId(narrow(volume)), dropped);
        }
        let wait = self.commit()?;
        if self.ftl.nand.power.lost() {
            return Err(MediaError::PowerLost);
        }
        if self.ftl.read_only {
            return Err(MediaError::WriteFailed { first: Lba(0) });
        }
        self.set_size(volume, blocks);
        Ok(wait)
    }

    /// Everything is durable and the store says that the end was orderly, until the next request that changes anything.
    fn quiesce(&mut self) -> Result<Wait, MediaError> {
        self.check_store()?;
        if mutated(Mutation::Shutdown) {
            return Ok(Wait::Nothing);
        }
        let wait = self.commit()?;
        if !self.quiesced {
            self.ftl.checkpoint_now();
            self.ftl.write_root(true);
            self.quiesced = !self.ftl.nand.power.lost();
        }
        Ok(wait)
    }

    /// Before anything changes, the store must no longer say that the end was orderly.
    #[inline]
    fn leave_rest(&mut self) {
        if self.quiesced {
            self.quiesced = false;
            self.ftl.write_root(false);
        }
    }

    pub(super) fn flush(&mut self, of: Domain) -> Result<Wait, MediaError> {
        self.check_store()?;
        if self.config.misbehaviour.ignored_flush {
            return Ok(Wait::Nothing);
        }
        self.keep_promise(of)
    }

    pub(super) fn answer(&mut self, token: Token, ended: Result<Wait, MediaError>) -> Submitted {
        if self.ftl.nand.power.lost() {
            return Submitted::Done(Err(MediaError::PowerLost));
        }
        match ended {
            Ok(Wait::Nothing) => Submitted::Done(Ok(())),
            Err(error) => Submitted::Done(Err(error)),
            Ok(Wait::Until(time)) => self.pend(time, token, Ok(())),
            Ok(Wait::Written) => {
                let ticket = self.ftl.nand.notice();
                self.await_ticket(token, ticket)
            }
            Ok(Wait::Synced) => self.await_sync(token),
        }
    }

    fn pend(&mut self, time: Nanoseconds, token: Token, outcome: Outcome) -> Submitted {
        self.ordinal += 1;
        self.pending.insert((time, self.ordinal), (token, outcome));
        self.places.insert(token, Place::Due(time, self.ordinal));
        Submitted::Pending
    }

    fn await_sync(&mut self, token: Token) -> Submitted {
        let ticket = self.ftl.nand.sync(Order::AnswerAfterSync);
        self.ftl.reached(Step::FlushSynced);
        if self.ftl.nand.power.lost() {
            return Submitted::Done(Err(MediaError::PowerLost));
        }
        self.await_ticket(token, ticket)
    }

    fn await_ticket(&mut self, token: Token, ticket: u64) -> Submitted {
        let ready = self.ftl.nand.programs_finish.max(self.ftl.nand.reads_finish);
        match self.ftl.nand.store.synced() {
            Ok(done) if done >= ticket && ready <= self.now => Submitted::Done(Ok(())),
            Ok(done) if done >= ticket => self.pend(ready, token, Ok(())),
            Ok(_) => {
                self.ordinal += 1;
                self.waiting.insert((ticket, self.ordinal), Waiting { ready, token });
                self.places.insert(token, Place::Ticket(ticket, self.ordinal));
                Submitted::Pending
            }
            Err(error) => {
                self.stuck = Some(of_store(&error));
                Submitted::Done(Err(of_store(&error)))
            }
        }
    }

    /// Moves requests whose sync is done (or has failed) to those that only wait for their time.
    pub(super) fn collect_synced(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let (done, failed) = match self.ftl.nand.store.synced() {
            Ok(done) => (done, None),
            Err(error) => (u64::MAX, Some(of_store(&error))),
        };
        self.stuck = failed.or(self.stuck);
        while let Some(first) = self.waiting.first_entry().filter(|first| first.key().0 <= done) {
            let waiting = first.remove();
            self.pend(waiting.ready, waiting.token, failed.map_or(Ok(()), Err));
        }
    }

    /// Programs what has waited in the cache for too long.
    pub(super) fn destage_old(&mut self) {
        let due = self.staged_since.map(|since| since.plus(self.config.cache.age_max));
        if due.is_some_and(|due| due <= self.now) && !self.ftl.nand.power.lost() {
            self.ftl.commit();
            self.ftl.release_empty();
            self.ftl.release_drained();
            self.staged_since = None;
        }
    }

    /// Gives memory back that nothing needs any more, a little at a time.
    #[inline]
    pub(super) fn give_memory_back(&mut self) {
        if self.ftl.nand.store.excessive() {
            self.ftl.nand.store.give_back();
        }
    }

    /// Without power nothing pending ends well.
    pub(super) fn fail_all_pending(&mut self) {
        let tokens: Vec<_> = self.pending.values().map(|(token, _)| *token).collect();
        let waiting = std::mem::take(&mut self.waiting).into_values().map(|waiting| waiting.token);
        let all: Vec<_> = tokens.into_iter().chain(waiting).collect();
        self.pending.clear();
        for token in all {
            self.pend(self.now, token, Err(MediaError::PowerLost));
        }
    }
}

/// An error of the translation layer, which knows no blocks, named by the request's first block.
fn at(error: MediaError, first: Lba) -> MediaError {
    match error {
        MediaError::WriteFailed { .. } => MediaError::WriteFailed { first },
        MediaError::UnrecoveredRead { .. } => MediaError::UnrecoveredRead { first },
        other => other,
    }
}

/// The same of a read, whose blocks are counted from the request's first.
pub(super) fn behind(error: MediaError, start: Lba) -> MediaError {
    match error {
        MediaError::UnrecoveredRead { first } => MediaError::UnrecoveredRead { first: Lba(start.0 + first.0) },
        other => at(other, start),
    }
}

fn of_store(error: &StoreError) -> MediaError {
    match error {
        StoreError::NoSpace(_) => MediaError::NoSpace,
        StoreError::Failed(_) => MediaError::NotStored,
        StoreError::Refused(_) | StoreError::Damaged(_) => MediaError::Internal,
    }
}
