//! Traces for the tools of others: each module writes one format, as a stream. Commands that a format has no word for are left out, and
//! counted.

mod blkparse;
mod commands;
mod fio;

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::ordered::Ordered;
use crate::record::{Entry, Kind, Namespaces, Record, Trace, TraceError};
use crate::recording::Writer;
use crate::view::{Chrome, Pcap};

/// What can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Our own, see [`crate::recording`]; with data, where the trace has any.
    Recording,
    /// fio's I/O log, version 3.
    Fio,
    /// What `blkparse` prints.
    Blkparse,
    /// See [`Chrome`].
    Chrome,
    /// See [`Pcap`].
    Pcap,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Recording, Self::Fio, Self::Blkparse, Self::Chrome, Self::Pcap];
    /// Their names, in the same order.
    pub const NAMES: [&'static str; 5] = ["recording", "fio", "blkparse", "chrome", "pcap"];

    /// The target of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().position(|known| *known == name).map(|index| Self::ALL[index])
    }
}

/// What became of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Converted {
    /// Commands written.
    pub commands: u64,
    /// Commands that the format has no word for, by kind.
    pub left_out: BTreeMap<Kind, u64>,
}

/// Writes a trace in another format.
///
/// # Errors
/// The trace cannot be read to its end, or nothing can be written.
pub fn convert(trace: impl Trace, target: Target, with_data: bool, into: impl Write) -> Result<Converted, TraceError> {
    match target {
        Target::Recording => to_recording(trace, with_data, into),
        Target::Fio => to_text(trace, fio::Fio::default(), into),
        Target::Blkparse => to_text(trace, blkparse::Blkparse::default(), into),
        Target::Chrome => commands::show(trace, Chrome::create(into)?),
        Target::Pcap => commands::show(trace, Pcap::create(into)?),
    }
}

fn to_recording(mut trace: impl Trace, with_data: bool, into: impl Write) -> Result<Converted, TraceError> {
    let mut converted = Converted::default();
    let mut writer = Writer::create(into, with_data)?;
    while let Some(entry) = trace.next()? {
        converted.commands += u64::from(matches!(entry, Entry::Command(_)));
        writer.put(&entry)?;
    }
    writer.finish()?;
    Ok(converted)
}

/// What makes lines of commands that come in the order in which they began.
trait Lines {
    fn begin(&mut self, into: &mut impl Write) -> io::Result<()>;

    /// A command of a namespace with blocks of so many bytes, under the name that it has outside; false if there is no word for it.
    fn command(&mut self, record: &Record, place: &Place<'_>, into: &mut impl Write) -> io::Result<bool>;

    fn end(&mut self, into: &mut impl Write) -> io::Result<()>;
}

/// Where a command goes to.
struct Place<'a> {
    block_bytes: u32,
    name: &'a str,
}

fn to_text(trace: impl Trace, mut lines: impl Lines, mut into: impl Write) -> Result<Converted, TraceError> {
    let mut trace = Ordered::new(trace);
    let (mut converted, mut namespaces) = (Converted::default(), Namespaces::default());
    lines.begin(&mut into)?;
    while let Some(entry) = trace.next()? {
        match entry {
            Entry::Namespace(namespace) => namespaces.note(namespace)?,
            Entry::Sample(_) => {}
            Entry::Command(record) => {
                let found = namespaces.iter().find(|namespace| namespace.nsid == record.nsid);
                let name = found.map_or("", |namespace| namespace.name.as_str());
                let block_bytes = found.map_or(512, |namespace| namespace.block_bytes);
                let written = lines.command(&record, &Place { block_bytes, name }, &mut into)?;
                converted.commands += u64::from(written);
                if !written {
                    *converted.left_out.entry(record.kind()).or_default() += 1;
                }
            }
        }
    }
    lines.end(&mut into)?;
    into.flush()?;
    Ok(converted)
}

#[cfg(test)]
mod tests;
