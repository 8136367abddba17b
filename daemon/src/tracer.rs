//! Traces of a running device: what is written where, and who writes it. The events come from [`crate::audience`]; [`order`] is what the
//! user says, [`writer`] the thread of a trace, and what a file consists of knows [`traces::live`].

pub mod order;
mod writer;

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use controller::watch::Detail;
use controller::{ControllerId, Subsystem};
use media::Nanoseconds;
use media::ledger::{Counters, Ledger};
use serde_json::Value;
use traces::facts::Facts;
use traces::live::{Format, Remark, Setup, needs};
use traces::record::Sample;
use traces::watched::Drive;

use crate::clock::since_1970;
use order::Order;
pub use writer::Batch;
use writer::Writer;

/// What is written at once.
const WRITE_BYTES: usize = 256 << 10;
/// Traces that may be written at the same time.
pub const TRACES_MAX: usize = 8;

/// A trace whose file is open.
pub struct Opened {
    order: Order,
    into: Box<dyn Write + Send>,
}

impl Opened {
    /// Opens the file that the order names; what was in it is gone, as in QEMU.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(order: Order) -> anyhow::Result<Self> {
        let Some(path) = &order.file else { return Ok(Self::standard_error(order)) };
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
        let file = file.with_context(|| format!("--trace: cannot write {}", path.display()))?;
        Ok(Self::file(order, file))
    }

    fn standard_error(order: Order) -> Self {
        Self { order, into: Box::new(BufWriter::with_capacity(WRITE_BYTES, io::stderr())) }
    }

    fn file(order: Order, file: File) -> Self {
        Self { order, into: Box::new(BufWriter::with_capacity(WRITE_BYTES, file)) }
    }
}

/// A step that did something takes no longer: then the loop slept.
const PAUSE: u64 = 1_000_000;

/// A trace that ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEnded {
    /// Its number.
    pub id: u32,
    /// Its file.
    pub file: Option<PathBuf>,
    /// Why.
    pub reason: String,
}

/// A trace that is being written.
pub struct Trace {
    /// Its number.
    pub id: u32,
    /// What was wanted.
    pub order: Order,
    /// It is to end.
    pub ending: bool,
    writer: Writer,
}

impl Trace {
    /// Events that are missing in it, because they came faster than they could be written.
    pub const fn dropped(&self) -> u64 {
        self.writer.dropped()
    }
}

/// A drive at the end of a step.
#[derive(Clone, Copy)]
struct Look {
    ledger: Ledger,
    counters: Counters,
    volatile_bytes: u64,
    free_lines: u32,
}

/// All traces of a device.
#[derive(Default)]
pub struct Tracers {
    running: Vec<Trace>,
    /// The drive at the last look, if somebody wants to know what it does, and what it did in the step before that.
    look: Option<Look>,
    did: Option<Drive>,
    /// Where traces are put that are started later.
    folder: Option<PathBuf>,
    next: u32,
}

impl Tracers {
    /// Begins the traces of the command line; later ones go into `folder`.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn begin(
        opened: Vec<Opened>,
        folder: Option<PathBuf>,
        subsystem: &mut Subsystem,
        now: Nanoseconds,
    ) -> anyhow::Result<Self> {
        let mut tracers = Self { folder, ..Self::default() };
        for one in opened {
            tracers.add(one, subsystem, now).context("--trace")?;
        }
        Ok(tracers)
    }

    /// Starts a trace.
    ///
    /// # Errors
    /// In words: there are too many, its file cannot be made, or the system has no more threads.
    pub fn start(&mut self, order: Order, subsystem: &mut Subsystem, now: Nanoseconds) -> Result<u32, String> {
        if self.running.len() >= TRACES_MAX {
            return Err(format!("{TRACES_MAX} traces are written already: stop one"));
        }
        let opened = match &order.file {
            None => Opened::standard_error(order),
            Some(name) => {
                let (file, _) = self.create(name)?;
                Opened::file(order, file)
            }
        };
        self.add(opened, subsystem, now).map_err(|error| error.to_string())
    }

    /// Where traces are put that are started later.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Makes a file in that folder; gives its whole path with it.
    ///
    /// # Errors
    /// In words: there is no folder, this is no name, or the file cannot be made.
    pub fn create(&self, name: &Path) -> Result<(File, PathBuf), String> {
        let Some(folder) = &self.folder else {
            return Err("start the device with --trace-folder: it opens files there only".to_owned());
        };
        let plain = name.file_name().is_some_and(|last| last == name.as_os_str());
        if !plain {
            return Err(format!("{} is no name of a file: give one without /", name.display()));
        }
        let mut options = OpenOptions::new();
        let path = folder.join(name);
        let made = options.write(true).create_new(true).mode(0o600).open(&path);
        let made = made.map(|file| (file, std::path::absolute(&path).unwrap_or(path)));
        made.map_err(|error| crate::failure::plain(&format!("cannot make {} in the folder: {error}", name.display())))
    }

    fn add(&mut self, opened: Opened, subsystem: &mut Subsystem, now: Nanoseconds) -> io::Result<u32> {
        let Opened { order, into } = opened;
        if subsystem.ids().all(|id| id != order.controller) {
            return Err(io::Error::other(format!("there is no controller {}", order.controller.0)));
        }
        let since_1970 = u64::try_from(since_1970().as_nanos()).unwrap_or(u64::MAX);
        let setup = Setup {
            format: order.format,
            selection: order.selection.clone(),
            timestamps: order.timestamps,
            data: order.data,
            process: std::process::id(),
            origin_ns: since_1970.saturating_sub(now.0),
            facts: Facts::of(subsystem, order.controller),
        };
        let trace = Trace { id: self.next, order, ending: false, writer: Writer::start(setup, into)? };
        self.next += 1;
        trace.sample(subsystem, now);
        let id = trace.id;
        self.running.push(trace);
        Ok(id)
    }

    /// Ends a trace; [`Self::is_running`] says when its file is complete. False if there is no such trace.
    pub fn stop(&mut self, id: u32, subsystem: &mut Subsystem, now: Nanoseconds) -> bool {
        let Some(trace) = self.running.iter_mut().find(|trace| trace.id == id) else { return false };
        trace.stop(subsystem, now);
        true
    }

    /// Ends those of a controller.
    pub fn stop_of(&mut self, id: ControllerId, subsystem: &mut Subsystem, now: Nanoseconds) {
        let own = self.running.iter_mut().filter(|trace| trace.order.controller == id);
        own.for_each(|trace| trace.stop(subsystem, now));
    }

    /// The file of a trace that was started by an order.
    pub fn path(&self, id: u32) -> Option<PathBuf> {
        let trace = self.running.iter().find(|trace| trace.id == id)?;
        let path = self.folder()?.join(trace.order.file.as_deref()?);
        Some(std::path::absolute(&path).unwrap_or(path))
    }

    /// Whether a trace has not ended yet.
    pub fn is_running(&self, id: u32) -> bool {
        self.running.iter().any(|trace| trace.id == id)
    }

    /// The traces that are being written.
    pub fn running(&self) -> &[Trace] {
        &self.running
    }

    /// Switches events on or off in all traces that consist of events; whether there is one.
    ///
    /// # Errors
    /// The pattern matches nothing.
    pub fn set(&mut self, pattern: &str, enable: bool) -> Result<bool, String> {
        let mut any = false;
        let with_events = self.running.iter_mut().filter(|trace| trace.order.format.has_events() && !trace.ending);
        for trace in with_events {
            trace.order.selection.set(pattern, enable).map_err(|error| error.to_string())?;
            trace.writer.remark(Remark::Selection(trace.order.selection.clone()));
            any = true;
        }
        Ok(any)
    }

    /// How much has to be heard of a controller.
    pub fn needs(&self, id: ControllerId) -> Option<Detail> {
        let going_on = self.running.iter().filter(|trace| trace.follows(id));
        going_on.filter_map(|trace| needs(trace.order.format, &trace.order.selection)).max()
    }

    /// Whether what a controller's commands carry is wanted.
    pub fn needs_data(&self, id: ControllerId) -> bool {
        self.running.iter().any(|trace| trace.order.data && trace.follows(id))
    }

    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Hands events of a controller to its traces.
    pub fn take(&mut self, id: ControllerId, batch: &Arc<Batch>) {
        self.running.iter_mut().filter(|trace| trace.follows(id)).for_each(|trace| trace.writer.events(batch));
    }

    /// What the drive did in the step before the last one, now that it is known how long that took; nothing if nobody wants to know.
    pub fn drive(&mut self, subsystem: &mut Subsystem, now: Nanoseconds) -> Option<Drive> {
        if !self.running.iter().any(|trace| trace.order.format == Format::Chrome && !trace.ending) {
            (self.look, self.did) = (None, None);
            return None;
        }
        let monitor = subsystem.media().monitor()?;
        let (status, unit_bytes) = (monitor.status(), u64::from(monitor.config().geometry.unit_bytes));
        let look = Look {
            ledger: status.ledger,
            counters: status.counters,
            volatile_bytes: u64::from(status.staged_units) * unit_bytes,
            free_lines: status.lines.1,
        };
        // A drive that was opened again may have counters of before its last work.
        let opened = |look: &Look| look.counters.power_cycles;
        let before = self.look.replace(look).filter(|before| opened(before) == opened(&look))?;
        let did = self.did.take().map(|did| Drive { duration_ns: now.0.saturating_sub(did.time_ns).min(PAUSE), ..did });
        let same = |look: Look| (look.ledger, look.volatile_bytes, look.free_lines, look.counters.victims);
        if same(before) != same(look) {
            self.did = Some(Drive {
                time_ns: now.0,
                duration_ns: 0,
                programmed: look.ledger.since(&before.ledger),
                victims: look.counters.victims - before.counters.victims,
                erased: look.counters.erases - before.counters.erases,
                volatile_bytes: look.volatile_bytes,
                free_lines: look.free_lines,
            });
        }
        did
    }

    /// Something happened at a controller that is no event of it.
    pub fn mark(&self, id: ControllerId, time: Nanoseconds, name: &str, details: &Value) {
        for trace in self.running.iter().filter(|trace| trace.order.format == Format::Chrome && trace.follows(id)) {
            trace.writer.remark(Remark::Mark { time_ns: time.0, name: name.to_owned(), details: details.clone() });
        }
    }

    /// Forgets what has ended; those that ended by themselves, with why.
    pub fn ended(&mut self) -> Vec<TraceEnded> {
        let over: Vec<Trace> = self.running.extract_if(.., |trace| trace.writer.is_over()).collect();
        over.into_iter().filter_map(Trace::over).collect()
    }

    /// The device ends: all files are completed.
    pub fn finish(&mut self, subsystem: &mut Subsystem, now: Nanoseconds) {
        self.running.iter_mut().for_each(|trace| trace.stop(subsystem, now));
        self.running.drain(..).for_each(|trace| drop(trace.over()));
    }
}

impl Trace {
    /// Whether it takes what a controller does.
    fn follows(&self, id: ControllerId) -> bool {
        self.order.controller == id && !self.ending
    }

    fn stop(&mut self, subsystem: &mut Subsystem, now: Nanoseconds) {
        if !std::mem::replace(&mut self.ending, true) {
            self.sample(subsystem, now);
            self.writer.end();
        }
    }

    /// What the drive has programmed so far, where the trace has a place for it.
    fn sample(&self, subsystem: &mut Subsystem, now: Nanoseconds) {
        if self.order.format != Format::Recording {
            return;
        }
        if let Some(monitor) = subsystem.media().monitor() {
            let unit_bytes = monitor.config().geometry.unit_bytes;
            let sample = Sample { time_ns: now.0, unit_bytes, ledger: monitor.status().ledger };
            self.writer.remark(Remark::Sample(sample));
        }
    }

    /// Says how it ended; something if that was not as it should be.
    fn over(self) -> Option<TraceEnded> {
        let Self { id, order, writer, .. } = self;
        let dropped = writer.dropped();
        if dropped > 0 {
            tracing::warn!(
                trace = id,
                dropped,
                "a trace is not complete: events came faster than they could be written"
            );
        }
        let error = writer.join().err()?;
        let reason = crate::failure::plain(&error.to_string());
        let file = order.file;
        let place = file.as_deref().map_or_else(|| "standard error".to_owned(), |path| path.display().to_string());
        tracing::warn!(trace = id, file = place, reason, "a trace ended; the drive goes on");
        Some(TraceEnded { id, file, reason })
    }
}
