//! QEMU's `simple` trace backend: a binary file that its `simpletrace.py` reads beside the list of events (`trace-events-all`).
//! Little-endian.

use std::io::{self, Write};

/// Where a file begins: an event that no event is.
const HEADER_EVENT: u64 = u64::MAX;
const MAGIC: u64 = 0xf2b1_77cb_0aa4_29b4;
const VERSION: u64 = 4;
/// The event that says how many were lost.
const DROPPED_EVENT: u64 = u64::MAX - 1;
/// A record that gives an identifier its name.
const MAPPING: u64 = 0;
/// A record of an event.
const EVENT: u64 = 1;
/// An event without its arguments: identifier, time, length, process.
const EVENT_BYTES: usize = 24;

/// An argument of an event. Numbers of any width are written with 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument<'a> {
    /// A number, or an address.
    Number(u64),
    /// A string.
    Text(&'a str),
}

/// Writes such a file.
#[derive(Debug)]
pub struct Simple<W: Write> {
    into: W,
    process: u32,
    events: usize,
}

impl<W: Write> Simple<W> {
    /// Begins a file with the names of all events that it may have; an event's identifier is its place among them. `process` is what the
    /// reader is told of who wrote it.
    ///
    /// # Errors
    /// Those of `into`.
    ///
    /// # Panics
    /// If a name is longer than 4 GiB.
    pub fn create(mut into: W, process: u32, names: &[&str]) -> io::Result<Self> {
        for word in [HEADER_EVENT, MAGIC, VERSION] {
            into.write_all(&word.to_le_bytes())?;
        }
        for (identifier, name) in names.iter().enumerate() {
            into.write_all(&MAPPING.to_le_bytes())?;
            into.write_all(&(identifier as u64).to_le_bytes())?;
            put_text(name, &mut into)?;
        }
        Ok(Self { into, process, events: names.len() })
    }

    /// An event happened, by its place among the names, with its arguments in QEMU's order.
    ///
    /// # Errors
    /// Those of what is written to.
    ///
    /// # Panics
    /// If there is no such event.
    pub fn event(&mut self, time_ns: u64, event: usize, arguments: &[Argument<'_>]) -> io::Result<()> {
        assert!(event < self.events, "event {event} of {}", self.events);
        self.record(time_ns, event as u64, arguments)
    }

    /// So many events were lost.
    ///
    /// # Errors
    /// Those of what is written to.
    pub fn dropped(&mut self, time_ns: u64, count: u64) -> io::Result<()> {
        self.record(time_ns, DROPPED_EVENT, &[Argument::Number(count)])
    }

    /// Writes what waits in memory.
    ///
    /// # Errors
    /// Those of what is written to.
    pub fn flush(&mut self) -> io::Result<()> {
        self.into.flush()
    }

    /// Ends the file, which needs no mark for it.
    ///
    /// # Errors
    /// Those of what is written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.into.flush()?;
        Ok(self.into)
    }

    fn record(&mut self, time_ns: u64, event: u64, arguments: &[Argument<'_>]) -> io::Result<()> {
        let bytes = |argument: &Argument<'_>| match argument {
            Argument::Number(_) => 8,
            Argument::Text(text) => 4 + text.len(),
        };
        let length = EVENT_BYTES + arguments.iter().map(bytes).sum::<usize>();
        let length = u32::try_from(length).expect("an event is short");
        for word in [EVENT, event, time_ns] {
            self.into.write_all(&word.to_le_bytes())?;
        }
        self.into.write_all(&length.to_le_bytes())?;
        self.into.write_all(&self.process.to_le_bytes())?;
        for argument in arguments {
            match argument {
                Argument::Number(number) => self.into.write_all(&number.to_le_bytes())?,
                Argument::Text(text) => put_text(text, &mut self.into)?,
            }
        }
        Ok(())
    }
}

fn put_text(text: &str, into: &mut impl Write) -> io::Result<()> {
    let length = u32::try_from(text.len()).expect("a name is short");
    into.write_all(&length.to_le_bytes())?;
    into.write_all(text.as_bytes())
}
