//! A media that writes a tape of what the one below it is told. Data reaches a media inside `submit` only, in the order in which reads will
//! see it: so that is the order on the tape. Metadata beside the blocks is not on it.

mod begin;
mod tee;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use media::monitor::Monitor;
use media::power::{Arming, Breaker, Cut, CutReport, Forks, Mark, Power, PowerAtomicity, RecoveryReport};
use media::volume::{FastPath, Sinks};
use media::{
    Health, Lba, LbaRange, Media, MediaError, Nanoseconds, Outcome, Request, Sink, Source, Space, Submitted, Token,
    VolumeChange, VolumeId, VolumeShape, Warnings,
};

use crate::entry::{Change, Entry, Volume, WriteHead};
use crate::writer::{Record, Writer};
pub use tee::CopyBytes;
use tee::{Tee, copy};

/// What the beginning of a tape asks of the media itself; the controller's requests have other tokens.
const FLUSH_TOKEN: Token = Token(1 << 62);
const READ_TOKEN: Token = Token(FLUSH_TOKEN.0 + 1);

/// The media, with a tape or without.
pub struct Taped {
    media: Box<dyn Media>,
    tape: Marker,
    /// Requests that the media has.
    pending: BTreeMap<Token, u64>,
    breaker: Breaker,
    misbehaviour: Vec<&'static str>,
    now: Nanoseconds,
    copy_non_temporal: CopyBytes,
}

/// The tape itself, for whoever begins it, marks a place of it or ends it. A clone is another handle to the same tape.
#[derive(Clone, Default)]
pub struct Marker(Rc<RefCell<Tape>>);

#[derive(Default)]
struct Tape {
    /// That of a tape which has not ended, or whose file is not complete.
    writer: Option<Writer>,
    /// Nothing comes on it any more.
    ending: bool,
    /// It ended by itself, and nobody was told: why.
    over: Option<&'static str>,
    /// How the last one ended.
    outcome: Option<io::Result<()>>,
    requests: u64,
    /// What is promised of each volume: a tape that begins later has it too.
    promises: BTreeMap<VolumeId, PowerAtomicity>,
}

impl Marker {
    /// Whether a tape could begin.
    ///
    /// # Errors
    /// There is one: in words.
    pub fn check_room(&self) -> Result<(), String> {
        if self.0.borrow().writer.is_some() {
            return Err("there is a tape already: `tape-stop` ends it".to_owned());
        }
        Ok(())
    }

    fn start(&self, writer: Writer) {
        let mut tape = self.0.borrow_mut();
        (tape.writer, tape.ending, tape.over, tape.outcome) = (Some(writer), false, None, None);
    }

    /// Notes that this place matters.
    ///
    /// # Errors
    /// There is no tape, or entries were lost: it ended before.
    pub fn mark(&self, text: &str) -> Result<(), Lost> {
        self.put(&Entry::Mark(text.to_owned()));
        self.pass_on();
        if self.is_on() { Ok(()) } else { Err(Lost) }
    }

    /// Whether a tape is written, and has lost nothing.
    #[must_use]
    pub fn is_on(&self) -> bool {
        let tape = self.0.borrow();
        !tape.ending && tape.writer.as_ref().is_some_and(|writer| !writer.is_broken())
    }

    /// Whether entries were lost: the tape ends before them.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.0.borrow().writer.as_ref().is_some_and(Writer::is_broken)
    }

    /// Begins to end the tape. Whether there was one.
    pub fn stop(&self) -> bool {
        let is_on = self.is_on();
        if is_on {
            self.0.borrow_mut().close();
        }
        is_on
    }

    /// Whether a tape ends whose file is not complete: until then there is no room for another one.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        let tape = self.0.borrow();
        tape.ending && tape.writer.is_some()
    }

    /// Looks after a tape that ends: why, once, if it did so by itself.
    pub fn look(&self) -> Option<&'static str> {
        let mut tape = self.0.borrow_mut();
        if !tape.ending && tape.writer.as_ref().is_some_and(Writer::is_broken) {
            tape.over = Some("its disk is full, failed or was too slow");
            tape.close();
        }
        if tape.ending && tape.writer.as_mut().is_some_and(Writer::is_over) {
            tape.outcome = tape.writer.take().map(|mut writer| writer.end());
        }
        tape.over.take()
    }

    /// How the tape that was ended last has ended, once its file is complete; once.
    pub fn take_outcome(&self) -> Option<io::Result<()>> {
        self.0.borrow_mut().outcome.take()
    }

    /// Ends the tape, and waits until all of it is in its file.
    ///
    /// # Errors
    /// Not all of it is: why.
    pub fn finish(&self) -> io::Result<()> {
        let writer = self.0.borrow_mut().writer.take();
        writer.map_or(Ok(()), |mut writer| writer.end())
    }

    fn put(&self, entry: &Entry) {
        let mut tape = self.0.borrow_mut();
        if !tape.ending
            && let Some(writer) = &mut tape.writer
        {
            writer.put(entry);
        }
    }

    fn next(&self) -> u64 {
        let mut tape = self.0.borrow_mut();
        tape.requests += 1;
        tape.requests
    }

    /// Nothing else comes on the tape between this and [`Self::end_write`] or [`Self::drop_write`].
    fn begin_write(&self, head: &WriteHead, bytes: usize) -> Option<Record> {
        let mut tape = self.0.borrow_mut();
        if tape.ending { None } else { tape.writer.as_mut()?.begin_write(head, bytes) }
    }

    fn end_write(&self, record: Record, ended: bool) {
        if let Some(writer) = &mut self.0.borrow_mut().writer {
            writer.end_write(record, ended);
        }
    }

    fn drop_write(&self, record: Record) {
        if let Some(writer) = &mut self.0.borrow_mut().writer {
            writer.drop_write(record);
        }
    }

    fn pass_on(&self) {
        if let Some(writer) = &mut self.0.borrow_mut().writer {
            writer.pass_on();
        }
    }

    fn ended(&self, request: u64, outcome: Outcome) {
        self.put(&Entry::Ended { request, succeeded: outcome.is_ok() });
    }

    /// Nothing behind this place can be followed.
    fn over(&self, why: &'static str) {
        if self.is_on() {
            let mut tape = self.0.borrow_mut();
            tape.over = Some(why);
            tape.close();
        }
    }
}

impl Tape {
    fn close(&mut self) {
        self.ending = true;
        if let Some(writer) = &mut self.writer {
            writer.close();
        }
    }
}

/// The volumes of a media.
fn volumes_of(media: &dyn Media) -> Vec<Volume> {
    let volume = |volume| {
        let shape = media.shape(volume)?;
        let (block_bytes, blocks) = (shape.block_bytes, shape.capacity_blocks);
        Some(Volume { volume, block_bytes, blocks, has_data: media.allocated_blocks(volume) > 0 })
    };
    (0..).map(VolumeId).map_while(volume).collect()
}

/// The disk of the tape did not keep up, or failed: the tape ends before this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

impl Taped {
    /// A media without a tape: [`Marker::begin`] begins one.
    #[must_use]
    pub fn without_tape(mut media: Box<dyn Media>) -> Self {
        let breaker = media.power().map(|power| power.breaker()).unwrap_or_default();
        let misbehaviour = media.power().map(|power| power.misbehaviour()).unwrap_or_default();
        let (tape, pending, now) = (Marker::default(), BTreeMap::new(), Nanoseconds(0));
        Self { media, misbehaviour, tape, pending, breaker, now, copy_non_temporal: copy }
    }

    /// Copies data that stays in the media by this, as [`Source::fill_non_temporal`] does.
    #[must_use]
    pub fn with_copy_non_temporal(self, copy_non_temporal: CopyBytes) -> Self {
        Self { copy_non_temporal, ..self }
    }

    /// Begins a tape of a media that nobody has used. What it holds already is not on the tape.
    #[must_use]
    pub fn new(media: Box<dyn Media>, writer: Writer) -> Self {
        let taped = Self::without_tape(media);
        taped.tape.start(writer);
        volumes_of(taped.media.as_ref()).into_iter().for_each(|volume| taped.tape.put(&Entry::Volume(volume)));
        taped
    }

    /// A handle to the tape.
    #[must_use]
    pub fn marker(&self) -> Marker {
        self.tape.clone()
    }

    /// Bytes of a range, if it lies in the volume.
    fn bytes(&self, volume: VolumeId, range: LbaRange) -> Option<usize> {
        let shape = self.media.shape(volume).filter(|shape| range.fits(shape.capacity_blocks))?;
        usize::try_from(range.blocks * u64::from(shape.block_bytes)).ok()
    }

    /// Without a volatile cache everything is durable when it has ended.
    fn forced(&self, force: bool) -> bool {
        force || self.media.write_cache() != Some(true)
    }

    fn changed(&mut self, mark: Mark, volume: VolumeId, force: bool, change: Change) -> u64 {
        let (request, command) = (self.tape.next(), number(mark));
        self.tape.put(&Entry::Changed { request, command, volume, force, change });
        request
    }

    fn flush(&mut self, mark: Mark, volume: Option<VolumeId>) -> u64 {
        let (request, command) = (self.tape.next(), number(mark));
        self.tape.put(&Entry::Flush { request, command, volume });
        request
    }

    fn submitted(&mut self, token: Token, request: u64, submitted: Submitted) -> Submitted {
        match submitted {
            Submitted::Done(outcome) => self.tape.ended(request, outcome),
            Submitted::Pending => _ = self.pending.insert(token, request),
        }
        submitted
    }

    /// Submits a write, and puts it on the tape with what it wrote.
    fn write(
        &mut self,
        now: Nanoseconds,
        token: Token,
        volume: VolumeId,
        (range, from, force): (LbaRange, &mut dyn Source, bool),
    ) -> Submitted {
        let Some((request, mut record)) = self.begin_write(self.breaker.mark(), volume, range, force) else {
            return self.media.submit(now, token, volume, Request::Write { range, from, force });
        };
        let mut tee = Tee { from, record: &mut record, copy_non_temporal: self.copy_non_temporal };
        let submitted = self.media.submit(now, token, volume, Request::Write { range, from: &mut tee, force });
        let succeeded = submitted == Submitted::Done(Ok(()));
        self.tape.end_write(record, succeeded);
        if succeeded { submitted } else { self.submitted(token, request, submitted) }
    }

    /// The number of a write, and its place on the tape; `None` where it cannot be there.
    #[inline]
    fn begin_write(&self, mark: Mark, volume: VolumeId, range: LbaRange, force: bool) -> Option<(u64, Record)> {
        let bytes = self.bytes(volume, range)?;
        let (request, command, force) = (self.tape.next(), number(mark), self.forced(force));
        let record = self.tape.begin_write(&WriteHead { request, command, volume, force, range }, bytes)?;
        Some((request, record))
    }
}

/// A mark as a number: the ordinal's low half, queue and identifier.
fn number(mark: Mark) -> u64 {
    mark.ordinal(u64::from(u32::MAX)) << 32 | u64::from(mark.queue()) << 16 | u64::from(mark.identifier())
}

/// What a request changes, of those that bring no data with them; `None` for those that change nothing.
fn change_of(request: &Request<'_>) -> Option<(Change, bool)> {
    match *request {
        Request::WriteZeroes { range, force, .. } => Some((Change::Zeroes { range }, force)),
        Request::WriteUncorrectable { range } => Some((Change::Uncorrectable { range }, false)),
        Request::Copy { sources, to, force } => Some((Change::Copy { sources: sources.to_vec(), to }, force)),
        Request::Deallocate { ranges } => Some((Change::Deallocate { ranges: ranges.to_vec() }, false)),
        Request::Resize { blocks } => Some((Change::Resize { blocks }, true)),
        Request::Read { .. } | Request::Write { .. } | Request::Flush | Request::FlushAll | Request::Quiesce => None,
        // A tape does not go beyond one that changes a volume.
        Request::Manage { .. } | Request::Purge => None,
    }
}

impl Media for Taped {
    fn shape(&self, volume: VolumeId) -> Option<VolumeShape> {
        self.media.shape(volume)
    }

    fn space(&self) -> Option<Space> {
        self.media.space()
    }

    fn note(&self) -> Vec<u8> {
        self.media.note()
    }

    fn stale(&self) -> u64 {
        self.media.stale()
    }

    fn allocated_blocks(&self, volume: VolumeId) -> u64 {
        self.media.allocated_blocks(volume)
    }

    fn next_allocated(&self, volume: VolumeId, range: LbaRange) -> Option<Lba> {
        self.media.next_allocated(volume, range)
    }

    fn health(&self) -> Health {
        self.media.health()
    }

    fn warnings(&self) -> &Warnings {
        self.media.warnings()
    }

    fn write_cache(&self) -> Option<bool> {
        self.media.write_cache()
    }

    fn set_write_cache(&mut self, now: Nanoseconds, token: Token, enabled: bool) -> Submitted {
        if enabled || !self.tape.is_on() {
            // That makes nothing durable, or nobody wants to know.
            return self.media.set_write_cache(now, token, enabled);
        }
        let request = self.flush(self.breaker.mark(), None);
        let submitted = self.media.set_write_cache(now, token, enabled);
        self.submitted(token, request, submitted)
    }

    fn submit(&mut self, now: Nanoseconds, token: Token, volume: VolumeId, request: Request<'_>) -> Submitted {
        if !self.tape.is_on() {
            return self.media.submit(now, token, volume, request);
        }
        if let Request::Manage { change, .. } = request
            && change != VolumeChange::Keep
        {
            self.tape.over("a namespace was made, deleted or formatted");
            return self.media.submit(now, token, volume, request);
        }
        let mark = self.breaker.mark();
        let request = match request {
            Request::Write { range, from, force } => return self.write(now, token, volume, (range, from, force)),
            other => other,
        };
        let flushes = match request {
            Request::Flush | Request::Read { force: true, .. } => Some(Some(volume)),
            Request::FlushAll | Request::Quiesce => Some(None),
            _ => None,
        };
        if let Some(of) = flushes {
            let number = self.flush(mark, of);
            let submitted = self.media.submit(now, token, volume, request);
            return self.submitted(token, number, submitted);
        }
        let Some((change, force)) = change_of(&request) else {
            return self.media.submit(now, token, volume, request);
        };
        let submitted = self.media.submit(now, token, volume, request);
        let durable = self.forced(force);
        let is_resize = matches!(change, Change::Resize { .. });
        let number = self.changed(mark, volume, durable, change);
        if is_resize && submitted != Submitted::Done(Err(MediaError::OutOfRange)) {
            self.tape.over("a namespace got another size");
        }
        self.submitted(token, number, submitted)
    }

    fn fast_path(&mut self, now: Nanoseconds) -> Option<&mut dyn FastPath> {
        if !self.tape.is_on() {
            return self.media.fast_path(now);
        }
        self.media.fast_path(now)?;
        self.now = now;
        Some(self)
    }

    fn poll(&mut self, now: Nanoseconds, outcome: &mut dyn FnMut(Token, Outcome)) {
        let (tape, pending) = (&self.tape, &mut self.pending);
        self.media.poll(now, &mut |token, result| {
            if token == FLUSH_TOKEN || token == READ_TOKEN {
                return;
            }
            if let Some(request) = pending.remove(&token) {
                tape.ended(request, result);
            }
            outcome(token, result);
        });
    }

    fn cancel(&mut self, token: Token) -> bool {
        if let Some(request) = self.pending.remove(&token) {
            self.tape.ended(request, Err(MediaError::Internal));
        }
        self.media.cancel(token)
    }

    fn power(&mut self) -> Option<&mut dyn Power> {
        self.media.power()?;
        Some(self)
    }

    fn next_event(&self) -> Option<Nanoseconds> {
        self.media.next_event()
    }

    fn monitor(&mut self) -> Option<&mut dyn Monitor> {
        self.media.monitor()
    }
}

impl FastPath for Taped {
    fn read(&mut self, reads: &[(VolumeId, LbaRange)], into: &mut dyn Sinks) -> (usize, Option<MediaError>) {
        match self.media.fast_path(self.now) {
            Some(media) => media.read(reads, into),
            None => (0, None),
        }
    }

    fn read_long(&mut self, volume: VolumeId, range: LbaRange, into: &mut dyn Sink) -> Option<Outcome> {
        self.media.fast_path(self.now)?.read_long(volume, range, into)
    }

    fn write(&mut self, mark: Mark, volume: VolumeId, range: LbaRange, from: &mut dyn Source) -> Option<Outcome> {
        let Some((request, mut record)) = self.begin_write(mark, volume, range, false) else {
            return self.media.fast_path(self.now)?.write(mark, volume, range, from);
        };
        let mut tee = Tee { from, record: &mut record, copy_non_temporal: self.copy_non_temporal };
        let media = self.media.fast_path(self.now);
        let Some(outcome) = media.and_then(|media| media.write(mark, volume, range, &mut tee)) else {
            self.tape.drop_write(record);
            return None;
        };
        self.tape.end_write(record, outcome.is_ok());
        if outcome.is_err() {
            self.tape.ended(request, outcome);
        }
        Some(outcome)
    }
}

impl Power for Taped {
    fn breaker(&self) -> Breaker {
        self.breaker.clone()
    }

    fn promise(&mut self, volume: VolumeId, atomicity: PowerAtomicity) {
        self.tape.0.borrow_mut().promises.insert(volume, atomicity);
        self.tape.put(&Entry::Promise(volume, atomicity));
        if let Some(power) = self.media.power() {
            power.promise(volume, atomicity);
        }
    }

    fn misbehaviour(&self) -> Vec<&'static str> {
        self.misbehaviour.clone()
    }

    fn cut(&mut self, cut: &Cut) -> CutReport {
        self.tape.put(&Entry::PowerLost);
        self.tape.over("power was lost");
        self.pending.clear();
        self.media.power().map(|power| power.cut(cut)).unwrap_or_default()
    }

    fn restore(&mut self, arming: Option<Arming>) -> Result<RecoveryReport, String> {
        self.media.power().map_or_else(|| Ok(RecoveryReport::default()), |power| power.restore(arming))
    }

    fn forks(&mut self) -> Option<&mut dyn Forks> {
        self.media.power()?.forks()
    }
}
