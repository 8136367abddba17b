//! A media that takes its time and remembers what it was asked: for tests of what waits, of abort, deletion and reset, of FUA and the
//! cache. The bytes are in the media under it; the waiting is this file's.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use media::power::Mark;
use media::power::{Arming, Breaker, Cut, CutReport, Power, PowerAtomicity, RecoveryReport};
use media::volume::{FastPath, Sink, Sinks, VolumeChange};
use media::{
    Fault, Health, Lba, LbaRange, Media, MediaError, Nanoseconds, Outcome, Request, Source, Space, Submitted, Token,
    VolumeId, VolumeShape, Warnings,
};

/// What the media was asked, without the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A read, with its force.
    Read(bool),
    /// A write, with its force.
    Write(bool),
    /// A write of zeroes: deallocate, force.
    WriteZeroes(bool, bool),
    /// A deallocation of this many ranges.
    Deallocate(usize),
    /// Blocks were made uncorrectable.
    WriteUncorrectable,
    /// A copy of this many ranges.
    Copy(usize),
    /// A volume was given this many blocks.
    Resize(u64),
    /// A volume changes.
    Manage(VolumeChange),
    /// A part of a purge.
    Purge,
    /// A flush of one volume.
    Flush(VolumeId),
    /// A flush of all volumes.
    FlushAll,
    /// The same, to quiesce.
    Quiesce,
    /// The cache was switched.
    WriteCache(bool),
}

/// How the media behaves; shared with the test, which may change it at any time.
#[derive(Debug, Default)]
pub struct Behaviour {
    /// How long a request takes; `None` finishes it in `submit`.
    pub latency: Option<Nanoseconds>,
    /// What every request ends with, instead of its own outcome.
    pub failure: Option<MediaError>,
    /// The volatile cache's switch; `None` is no cache.
    pub cache: Option<bool>,
    /// How many requests took the fast path.
    pub fast: u64,
    /// The most reads that were looked up together there.
    pub together: usize,
    /// What was asked, in order.
    pub asked: Vec<Asked>,
    /// With a latency, a write is seen by half while it is pending: its first blocks at once, the others when it is done. A read in
    /// between sees both, unless the caller keeps it away.
    pub halves: bool,
    /// What is wrong.
    pub warnings: Warnings,
}

/// Blocks that are still to be written.
struct Rest {
    volume: VolumeId,
    range: LbaRange,
    bytes: Vec<u8>,
}

impl Source for Rest {
    fn fill(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        into.copy_from_slice(&self.bytes[offset..offset + into.len()]);
        Ok(())
    }
}

/// The token of what is written later; nobody waits for it.
const REST_TOKEN: Token = Token(u64::MAX - 2);

/// See the file's text.
pub struct SlowMedia {
    inner: Box<dyn Media>,
    /// Whether ordinary requests go by the media's fast path while it does as it likes.
    fast: bool,
    /// The time of the fast path.
    now: Nanoseconds,
    breaker: Breaker,
    misbehaviour: Vec<&'static str>,
    behaviour: Rc<RefCell<Behaviour>>,
    /// Due times of what is pending, in the order of submission.
    pending: BTreeMap<(Nanoseconds, u64), (Token, Outcome, Option<Rest>)>,
    order: u64,
    /// How many requests failed because the test wanted it.
    failures: u64,
    /// What was wrong at the last poll.
    warnings: Warnings,
}

impl SlowMedia {
    /// A media over memory, and the handle to its behaviour.
    #[must_use]
    pub fn new(mut inner: Box<dyn Media>, fast: bool) -> (Self, Rc<RefCell<Behaviour>>) {
        let behaviour = Rc::new(RefCell::new(Behaviour::default()));
        let breaker = inner.power().map(|power| power.breaker()).unwrap_or_default();
        let misbehaviour = inner.power().map(|power| power.misbehaviour()).unwrap_or_default();
        let pending = BTreeMap::new();
        (
            Self {
                inner,
                fast,
                now: Nanoseconds(0),
                breaker,
                misbehaviour,
                behaviour: Rc::clone(&behaviour),
                pending,
                order: 0,
                failures: 0,
                warnings: Warnings::default(),
            },
            behaviour,
        )
    }

    /// Writes the first half of a write, and returns the other.
    fn first_half(
        &mut self,
        now: Nanoseconds,
        volume: VolumeId,
        range: LbaRange,
        from: &mut dyn Source,
    ) -> Result<Rest, Fault> {
        let block_bytes = usize::try_from(self.inner.shape(volume).ok_or(Fault)?.block_bytes).map_err(|_| Fault)?;
        let mut bytes = vec![0; usize::try_from(range.blocks).map_err(|_| Fault)? * block_bytes];
        from.fill(0, &mut bytes)?;
        let half = range.blocks.div_ceil(2);
        let bytes_later = bytes.split_off(usize::try_from(half).map_err(|_| Fault)? * block_bytes);
        self.finish(now, Rest { volume, range: LbaRange::new(range.start, half), bytes });
        let later = LbaRange::new(Lba(range.start.0 + half), range.blocks - half);
        Ok(Rest { volume, range: later, bytes: bytes_later })
    }

    fn finish(&mut self, now: Nanoseconds, mut rest: Rest) {
        if rest.range.blocks > 0 {
            let (volume, range) = (rest.volume, rest.range);
            let request = Request::Write { range, from: &mut rest, force: false };
            assert_eq!(self.inner.submit(now, REST_TOKEN, volume, request), Submitted::Done(Ok(())));
        }
    }

    fn after(&mut self, now: Nanoseconds, token: Token, submitted: Submitted, rest: Option<Rest>) -> Submitted {
        let Submitted::Done(outcome) = submitted else { return submitted };
        let behaviour = self.behaviour.borrow();
        let outcome = behaviour.failure.map_or(outcome, Err);
        self.failures += u64::from(behaviour.failure.is_some());
        let Some(latency) = behaviour.latency else { return Submitted::Done(outcome) };
        self.order += 1;
        self.pending.insert((now.plus(latency), self.order), (token, outcome, rest));
        Submitted::Pending
    }
}

impl Media for SlowMedia {
    fn shape(&self, volume: VolumeId) -> Option<VolumeShape> {
        self.inner.shape(volume)
    }

    fn space(&self) -> Option<Space> {
        self.inner.space()
    }

    fn note(&self) -> Vec<u8> {
        self.inner.note()
    }

    fn stale(&self) -> u64 {
        self.inner.stale()
    }

    fn allocated_blocks(&self, volume: VolumeId) -> u64 {
        self.inner.allocated_blocks(volume)
    }

    fn next_allocated(&self, volume: VolumeId, range: LbaRange) -> Option<Lba> {
        self.inner.next_allocated(volume, range)
    }

    fn health(&self) -> Health {
        let health = self.inner.health();
        let degraded = health.degraded || self.warnings.standing().next().is_some();
        Health { media_errors: health.media_errors + self.failures, degraded, ..health }
    }

    fn warnings(&self) -> &Warnings {
        &self.warnings
    }

    fn write_cache(&self) -> Option<bool> {
        self.behaviour.borrow().cache.or_else(|| self.inner.write_cache())
    }

    fn set_write_cache(&mut self, now: Nanoseconds, token: Token, enabled: bool) -> Submitted {
        let mut behaviour = self.behaviour.borrow_mut();
        behaviour.asked.push(Asked::WriteCache(enabled));
        behaviour.cache = behaviour.cache.map(|_| enabled);
        let pretended = behaviour.cache.is_some();
        drop(behaviour);
        let submitted = match pretended {
            true => Submitted::Done(Ok(())),
            false => self.inner.set_write_cache(now, token, enabled),
        };
        self.after(now, token, submitted, None)
    }

    fn submit(&mut self, now: Nanoseconds, token: Token, volume: VolumeId, request: Request<'_>) -> Submitted {
        let asked = match &request {
            Request::Read { force, .. } => Asked::Read(*force),
            Request::Write { force, .. } => Asked::Write(*force),
            Request::WriteZeroes { deallocate, force, .. } => Asked::WriteZeroes(*deallocate, *force),
            Request::Deallocate { ranges } => Asked::Deallocate(ranges.len()),
            Request::WriteUncorrectable { .. } => Asked::WriteUncorrectable,
            Request::Copy { sources, .. } => Asked::Copy(sources.len()),
            Request::Resize { blocks } => Asked::Resize(*blocks),
            Request::Manage { change, .. } => Asked::Manage(*change),
            Request::Purge => Asked::Purge,
            Request::Flush => Asked::Flush(volume),
            Request::FlushAll => Asked::FlushAll,
            Request::Quiesce => Asked::Quiesce,
        };
        self.behaviour.borrow_mut().asked.push(asked);
        let halves = self.behaviour.borrow().halves && self.behaviour.borrow().latency.is_some();
        let request = match request {
            Request::Write { range, from, .. } if halves => {
                let rest = self.first_half(now, volume, range, from);
                let outcome = rest.as_ref().map(|_| ()).map_err(|Fault| MediaError::HostMemory);
                return self.after(now, token, Submitted::Done(outcome), rest.ok());
            }
            other => other,
        };
        let submitted = self.inner.submit(now, token, volume, request);
        self.after(now, token, submitted, None)
    }

    fn fast_path(&mut self, now: Nanoseconds) -> Option<&mut dyn FastPath> {
        self.now = now;
        let behaviour = self.behaviour.borrow();
        let usual = behaviour.latency.is_none() && behaviour.failure.is_none() && behaviour.cache.is_none();
        drop(behaviour);
        if self.fast && usual && self.inner.fast_path(now).is_some() { Some(self) } else { None }
    }

    fn poll(&mut self, now: Nanoseconds, outcome: &mut dyn FnMut(Token, Outcome)) {
        self.warnings.clone_from(&self.behaviour.borrow().warnings);
        self.inner.poll(now, outcome);
        while let Some(first) = self.pending.first_entry().filter(|first| first.key().0 <= now) {
            let (token, result, rest) = first.remove();
            if let Some(rest) = rest {
                self.finish(now, rest);
            }
            outcome(token, result);
        }
    }

    fn cancel(&mut self, token: Token) -> bool {
        let key = self.pending.iter().find(|(_, (pending, ..))| *pending == token).map(|(key, _)| *key);
        key.is_some_and(|key| self.pending.remove(&key).is_some()) || self.inner.cancel(token)
    }

    fn power(&mut self) -> Option<&mut dyn Power> {
        self.inner.power().is_some().then_some(self as &mut dyn Power)
    }

    fn next_event(&self) -> Option<Nanoseconds> {
        let own = self.pending.first_key_value().map(|((due, _), _)| *due);
        own.into_iter().chain(self.inner.next_event()).min()
    }
}

/// What the media does by itself, noted as any other request.
impl FastPath for SlowMedia {
    fn read(&mut self, reads: &[(VolumeId, LbaRange)], into: &mut dyn Sinks) -> (usize, Option<MediaError>) {
        let (done, failed) = self.ordinary_below().read(reads, into);
        let asked = done + usize::from(failed.is_some());
        let mut behaviour = self.behaviour.borrow_mut();
        behaviour.asked.extend(std::iter::repeat_n(Asked::Read(false), asked));
        behaviour.fast += asked as u64;
        behaviour.together = behaviour.together.max(reads.len());
        drop(behaviour);
        (done, failed)
    }

    fn read_long(&mut self, volume: VolumeId, range: LbaRange, into: &mut dyn Sink) -> Option<Outcome> {
        let outcome = self.ordinary_below().read_long(volume, range, into)?;
        let mut behaviour = self.behaviour.borrow_mut();
        behaviour.asked.push(Asked::Read(false));
        behaviour.fast += 1;
        Some(outcome)
    }

    fn write(&mut self, mark: Mark, volume: VolumeId, range: LbaRange, from: &mut dyn Source) -> Option<Outcome> {
        let outcome = self.ordinary_below().write(mark, volume, range, from)?;
        let mut behaviour = self.behaviour.borrow_mut();
        behaviour.asked.push(Asked::Write(false));
        behaviour.fast += 1;
        Some(outcome)
    }
}

impl SlowMedia {
    fn ordinary_below(&mut self) -> &mut dyn FastPath {
        self.inner.fast_path(self.now).expect("asked for only where the media under it has it")
    }

    fn supply(&mut self) -> &mut dyn Power {
        self.inner.power().expect("asked for only where the media under it has it")
    }
}

/// What waits here is gone with the power.
impl Power for SlowMedia {
    fn breaker(&self) -> Breaker {
        self.breaker.clone()
    }

    fn promise(&mut self, volume: VolumeId, atomicity: PowerAtomicity) {
        self.supply().promise(volume, atomicity);
    }

    fn misbehaviour(&self) -> Vec<&'static str> {
        self.misbehaviour.clone()
    }

    fn cut(&mut self, cut: &Cut) -> CutReport {
        self.pending.clear();
        self.supply().cut(cut)
    }

    fn restore(&mut self, arming: Option<Arming>) -> Result<RecoveryReport, String> {
        self.pending.clear();
        self.supply().restore(arming)
    }
}
