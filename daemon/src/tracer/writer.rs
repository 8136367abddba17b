//! The thread that writes a trace. The device hands its events over and never waits: what finds no place in the queue is counted, and
//! the trace says how much is missing.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use controller::watch::{TraceEvent, Traced};
use traces::live::{Remark, Setup, Sink, open};
use traces::watched::Drive;

/// As many events wait to be written; with what belongs to them, about 16 MiB.
pub const WAITING_MAX: usize = 1 << 17;
/// After so long without an event, what waits in memory is written.
const IDLE: Duration = Duration::from_millis(100);
/// How long the end of the file is waited for when the device ends: a pipe that nobody reads never takes it.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// What the controller told since the last look.
#[derive(Debug, Default)]
pub struct Batch {
    /// Events in their order.
    pub events: Vec<Traced>,
    /// The data of those that tell of data, in the same order.
    pub data: Vec<Vec<u8>>,
    /// What the drive did in the step before.
    pub drive: Option<Drive>,
}

impl Batch {
    /// How many events it counts for.
    fn weight(&self) -> usize {
        let data = self.data.iter().map(Vec::len).sum::<usize>() / size_of::<Traced>();
        self.events.len() + usize::from(self.drive.is_some()) + data
    }
}

enum Message {
    Events(Arc<Batch>),
    Remark(Remark),
    End,
}

/// The device's side.
pub struct Writer {
    messages: Sender<Message>,
    /// Events that are handed over and not written.
    waiting: Arc<AtomicUsize>,
    thread: Option<JoinHandle<io::Result<()>>>,
    /// Its other end goes with the thread.
    over: Receiver<()>,
    /// Events that found no place: all, and those of which the trace has not said so.
    dropped: u64,
    unsaid: u64,
    ended: bool,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn start(setup: Setup, into: Box<dyn Write + Send>) -> io::Result<Self> {
        let (messages, received) = channel();
        let (alive, over) = channel::<()>();
        let waiting = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&waiting);
        let body = move || {
            let _alive = alive;
            write(open(&setup, into)?, &received, &counted)
        };
        let thread = Builder::new().name("trace".to_owned()).spawn(body)?;
        Ok(Self { messages, waiting, thread: Some(thread), over, dropped: 0, unsaid: 0, ended: false })
    }

    /// Hands events over.
    pub fn events(&mut self, batch: &Arc<Batch>) {
        let weight = batch.weight();
        if self.waiting.load(Ordering::Relaxed) + weight > WAITING_MAX {
            self.dropped += batch.events.len() as u64;
            self.unsaid += batch.events.len() as u64;
            return;
        }
        if self.unsaid > 0 {
            let count = std::mem::take(&mut self.unsaid);
            self.remark(Remark::Dropped(count));
        }
        self.waiting.fetch_add(weight, Ordering::Relaxed);
        // A thread that has ended is noticed by `is_over`.
        let _ = self.messages.send(Message::Events(Arc::clone(batch)));
    }

    /// Hands something else over.
    pub fn remark(&self, remark: Remark) {
        let _ = self.messages.send(Message::Remark(remark));
    }

    /// Events that found no place.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Nothing more comes.
    pub fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            if self.unsaid > 0 {
                self.remark(Remark::Dropped(self.unsaid));
            }
            let _ = self.messages.send(Message::End);
        }
    }

    /// Whether the thread has ended: all is written, or it cannot go on.
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end of the thread, for as long as that is to be expected.
    ///
    /// # Errors
    /// What was not written, and why.
    pub fn join(mut self) -> io::Result<()> {
        self.end();
        if self.over.recv_timeout(END_PATIENCE) == Err(RecvTimeoutError::Timeout) {
            return Err(io::Error::other("nobody takes what was written"));
        }
        let Some(thread) = self.thread.take() else { return Ok(()) };
        // The device goes on without it.
        thread.join().unwrap_or_else(|_| Err(io::Error::other("its thread panicked; see the message above")))
    }
}

/// Writes until nothing more comes.
fn write(mut sink: Box<dyn Sink>, messages: &Receiver<Message>, waiting: &AtomicUsize) -> io::Result<()> {
    let mut unwritten = false;
    loop {
        let message = match messages.try_recv() {
            Ok(message) => message,
            Err(TryRecvError::Disconnected) => return sink.close(),
            Err(TryRecvError::Empty) if !unwritten => match messages.recv() {
                Ok(message) => message,
                Err(_) => return sink.close(),
            },
            Err(TryRecvError::Empty) => match messages.recv_timeout(IDLE) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => {
                    sink.flush()?;
                    unwritten = false;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return sink.close(),
            },
        };
        unwritten = true;
        match message {
            Message::Events(batch) => {
                let mut data = batch.data.iter();
                for traced in &batch.events {
                    let tells_data = matches!(traced.event, TraceEvent::Data { .. });
                    let data = if tells_data { data.next().map(Vec::as_slice) } else { None };
                    // What cannot be written ends the thread; the count does not matter then.
                    sink.event(traced, data)?;
                }
                if let Some(drive) = batch.drive {
                    sink.remark(&Remark::Drive(drive))?;
                }
                waiting.fetch_sub(batch.weight(), Ordering::Relaxed);
            }
            Message::Remark(remark) => sink.remark(&remark)?,
            Message::End => return sink.close(),
        }
    }
}
