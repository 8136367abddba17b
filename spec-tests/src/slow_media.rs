//! A media that takes its time and remembers what it was asked: for tests of what waits, of abort, deletion and reset, of FUA and the
//! cache. The bytes are in the media under it; the waiting is this file's.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use media::power::{Arming, Breaker, Cut, CutReport, Power, RecoveryReport};
use media::{Health, Media, MediaError, Nanoseconds, Outcome, Request, Submitted, Token, VolumeId, VolumeShape};

/// What the media was asked, without the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A read, with its force.
    Read(bool),
    /// A write, with its force.
    Write(bool),
    /// A write of zeroes: deallocate, force.
    WriteZeroes(bool, bool),
    /// A deallocation of so many ranges.
    Deallocate(usize),
    /// A flush of one volume.
    Flush(VolumeId),
    /// A flush of all volumes.
    FlushAll,
    /// The same, to come to rest.
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
    /// What was asked, in order.
    pub asked: Vec<Asked>,
}

/// See the file's text.
pub struct SlowMedia {
    inner: Box<dyn Media>,
    breaker: Breaker,
    behaviour: Rc<RefCell<Behaviour>>,
    /// Due times of what is pending, in the order of submission.
    pending: BTreeMap<(Nanoseconds, u64), (Token, Outcome)>,
    order: u64,
    /// How many requests failed because the test wanted it.
    failures: u64,
}

impl SlowMedia {
    /// A media over memory, and the handle to its behaviour.
    #[must_use]
    pub fn new(mut inner: Box<dyn Media>) -> (Self, Rc<RefCell<Behaviour>>) {
        let behaviour = Rc::new(RefCell::new(Behaviour::default()));
        let breaker = inner.power().map(|power| power.breaker()).unwrap_or_default();
        let pending = BTreeMap::new();
        (Self { inner, breaker, behaviour: Rc::clone(&behaviour), pending, order: 0, failures: 0 }, behaviour)
    }

    fn after(&mut self, now: Nanoseconds, token: Token, submitted: Submitted) -> Submitted {
        let Submitted::Done(outcome) = submitted else { return submitted };
        let behaviour = self.behaviour.borrow();
        let outcome = behaviour.failure.map_or(outcome, Err);
        self.failures += u64::from(behaviour.failure.is_some());
        let Some(latency) = behaviour.latency else { return Submitted::Done(outcome) };
        self.order += 1;
        self.pending.insert((now.plus(latency), self.order), (token, outcome));
        Submitted::Pending
    }
}

impl Media for SlowMedia {
    fn shape(&self, volume: VolumeId) -> Option<VolumeShape> {
        self.inner.shape(volume)
    }

    fn allocated_blocks(&self, volume: VolumeId) -> u64 {
        self.inner.allocated_blocks(volume)
    }

    fn health(&self) -> Health {
        let health = self.inner.health();
        Health { media_errors: health.media_errors + self.failures, ..health }
    }

    fn write_cache(&self) -> Option<bool> {
        self.behaviour.borrow().cache.or_else(|| self.inner.write_cache())
    }

    fn set_write_cache(&mut self, now: Nanoseconds, token: Token, enabled: bool) -> Submitted {
        let mut behaviour = self.behaviour.borrow_mut();
        behaviour.asked.push(Asked::WriteCache(enabled));
        behaviour.cache = behaviour.cache.map(|_| enabled);
        drop(behaviour);
        self.after(now, token, Submitted::Done(Ok(())))
    }

    fn submit(&mut self, now: Nanoseconds, token: Token, volume: VolumeId, request: Request<'_>) -> Submitted {
        let asked = match &request {
            Request::Read { force, .. } => Asked::Read(*force),
            Request::Write { force, .. } => Asked::Write(*force),
            Request::WriteZeroes { deallocate, force, .. } => Asked::WriteZeroes(*deallocate, *force),
            Request::Deallocate { ranges } => Asked::Deallocate(ranges.len()),
            Request::Flush => Asked::Flush(volume),
            Request::FlushAll => Asked::FlushAll,
            Request::Quiesce => Asked::Quiesce,
        };
        self.behaviour.borrow_mut().asked.push(asked);
        let submitted = self.inner.submit(now, token, volume, request);
        self.after(now, token, submitted)
    }

    fn poll(&mut self, now: Nanoseconds, outcome: &mut dyn FnMut(Token, Outcome)) {
        self.inner.poll(now, outcome);
        while let Some(first) = self.pending.first_entry().filter(|first| first.key().0 <= now) {
            let (token, result) = first.remove();
            outcome(token, result);
        }
    }

    fn cancel(&mut self, token: Token) -> bool {
        let key = self.pending.iter().find(|(_, (pending, _))| *pending == token).map(|(key, _)| *key);
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

impl SlowMedia {
    fn supply(&mut self) -> &mut dyn Power {
        self.inner.power().expect("asked for only where the media under it has it")
    }
}

/// What waits here is gone with the power.
impl Power for SlowMedia {
    fn breaker(&self) -> Breaker {
        self.breaker.clone()
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
