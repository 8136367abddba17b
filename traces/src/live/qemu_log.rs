//! Events as QEMU writes them: lines of its log, or records of its `simple` backend.

use std::io::{self, Write};

use controller::watch::Traced;

use super::{Remark, Setup, Sink};
use crate::qemu::{Emitted, Mapping, Selection, names};
use crate::view::Simple;

/// How an event is written.
pub(super) trait Form: Send {
    /// An event.
    fn event(&mut self, time_ns: u64, event: &Emitted) -> io::Result<()>;
    /// So many events were lost.
    fn dropped(&mut self, time_ns: u64, count: u64) -> io::Result<()>;
    /// Writes what waits in memory.
    fn flush(&mut self) -> io::Result<()>;
}

/// See the file's text.
pub(super) struct QemuLog<F> {
    mapping: Mapping,
    selection: Selection,
    form: F,
    /// The time of the last event.
    time_ns: u64,
}

impl<F: Form> QemuLog<F> {
    pub(super) fn new(setup: &Setup, form: F) -> Self {
        Self { mapping: Mapping::new(setup.facts.clone()), selection: setup.selection.clone(), form, time_ns: 0 }
    }
}

impl<F: Form> Sink for QemuLog<F> {
    fn event(&mut self, traced: &Traced, _: Option<&[u8]>) -> io::Result<()> {
        self.time_ns = traced.time.0;
        let Self { mapping, selection, form, time_ns } = self;
        let mut written = Ok(());
        mapping.take(&traced.event, &mut |event| {
            if selection.has(event.name) && written.is_ok() {
                written = form.event(*time_ns, &event);
            }
        });
        written
    }

    fn remark(&mut self, remark: &Remark) -> io::Result<()> {
        match remark {
            Remark::Dropped(count) => self.form.dropped(self.time_ns, *count),
            Remark::Selection(selection) => {
                self.selection = selection.clone();
                Ok(())
            }
            Remark::Sample(_) | Remark::Drive(_) | Remark::Mark { .. } => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.form.flush()
    }

    fn close(mut self: Box<Self>) -> io::Result<()> {
        self.form.flush()
    }
}

/// Lines of text.
pub(super) struct Lines<W> {
    into: W,
    /// When the controller's time began, where lines begin with the time.
    origin_ns: Option<u64>,
}

impl<W: Write> Lines<W> {
    pub(super) fn new(setup: &Setup, into: W) -> Self {
        Self { into, origin_ns: setup.timestamps.then_some(setup.origin_ns) }
    }

    fn time(&mut self, time_ns: u64) -> io::Result<()> {
        let Some(origin) = self.origin_ns else { return Ok(()) };
        write!(self.into, "{} ", Utc(origin.saturating_add(time_ns)))
    }
}

impl<W: Write + Send> Form for Lines<W> {
    fn event(&mut self, time_ns: u64, event: &Emitted) -> io::Result<()> {
        self.time(time_ns)?;
        writeln!(self.into, "{event}")
    }

    fn dropped(&mut self, time_ns: u64, count: u64) -> io::Result<()> {
        self.time(time_ns)?;
        writeln!(self.into, "# {count} events were dropped here")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.into.flush()
    }
}

/// Binary records.
pub(super) struct Binary<W: Write> {
    simple: Simple<W>,
}

impl<W: Write> Binary<W> {
    pub(super) fn create(setup: &Setup, into: W) -> io::Result<Self> {
        Ok(Self { simple: Simple::create(into, setup.process, &names())? })
    }
}

impl<W: Write + Send> Form for Binary<W> {
    fn event(&mut self, time_ns: u64, event: &Emitted) -> io::Result<()> {
        self.simple.event(time_ns, event.name.index(), event.arguments())
    }

    fn dropped(&mut self, time_ns: u64, count: u64) -> io::Result<()> {
        self.simple.dropped(time_ns, count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.simple.flush()
    }
}

/// Nanoseconds since 1970 as QEMU prefixes messages: `2026-11-29T14:13:19.363987Z`.
struct Utc(u64);

impl std::fmt::Display for Utc {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seconds, microseconds) = (self.0 / 1_000_000_000, self.0 / 1000 % 1_000_000);
        let (mut day, of_day) = (seconds / 86_400, seconds % 86_400);
        let is_leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
        let mut year = 1970;
        while day >= 365 + u64::from(is_leap(year)) {
            day -= 365 + u64::from(is_leap(year));
            year += 1;
        }
        let months = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut month = 0;
        while day >= months[month] {
            day -= months[month];
            month += 1;
        }
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        let (month, day) = (month + 1, day + 1);
        write!(formatter, "{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{microseconds:06}Z")
    }
}

#[test]
fn times_are_written_as_qemu_writes_them() {
    let text = |seconds: u64, nanoseconds: u64| Utc(seconds * 1_000_000_000 + nanoseconds).to_string();
    assert_eq!(text(0, 0), "1970-01-01T00:00:00.000000Z");
    assert_eq!(text(951_782_399, 999_999_999), "2000-02-28T23:59:59.999999Z");
    assert_eq!(text(951_782_400, 0), "2000-02-29T00:00:00.000000Z");
    assert_eq!(text(1_795_961_599, 363_987_123), "2026-11-29T14:13:19.363987Z");
}
