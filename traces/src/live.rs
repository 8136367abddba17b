//! What a controller tells whoever listens, written as it comes: as lines or records of QEMU's, for Perfetto, for Wireshark, or as a
//! recording. Whoever has the controller hands over its events in their order; threads, files and clocks are theirs.

mod commands;
mod qemu_log;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use controller::watch::{Detail, Traced};
use serde_json::Value;

use crate::facts::Facts;
use crate::qemu::Selection;
use crate::record::Sample;
use crate::recording::{Recorder, Writer};
use crate::view::{Chrome, Pcap};
use crate::watched::Drive;
use commands::Commands;
use qemu_log::{Binary, Lines, QemuLog};

/// What can be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Lines of text, as QEMU's log has them.
    #[default]
    Log,
    /// QEMU's binary format.
    Simple,
    /// JSON for Perfetto and chrome://tracing.
    Chrome,
    /// A capture for Wireshark.
    Pcap,
    /// Our own, see [`crate::recording`].
    Recording,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Log, Self::Simple, Self::Chrome, Self::Pcap, Self::Recording];
    /// Their names, in the same order.
    pub const NAMES: [&'static str; 5] = ["log", "simple", "chrome", "pcap", "recording"];

    /// The format of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().position(|known| *known == name).map(|index| Self::ALL[index])
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// Whether it consists of single events, of which some are wanted; the others have every command.
    #[must_use]
    pub const fn has_events(self) -> bool {
        matches!(self, Self::Log | Self::Simple)
    }

    /// Whether it can hold the data of commands.
    #[must_use]
    pub const fn has_data(self) -> bool {
        matches!(self, Self::Pcap | Self::Recording)
    }
}

/// What a trace is to hold.
#[derive(Clone, Debug)]
pub struct Setup {
    /// In which format.
    pub format: Format,
    /// Which events, where the format consists of events.
    pub selection: Selection,
    /// Lines of text begin with the time.
    pub timestamps: bool,
    /// The data of commands, where the format has it.
    pub data: bool,
    /// Who writes.
    pub process: u32,
    /// When the controller's time began, in nanoseconds since 1970.
    pub origin_ns: u64,
    /// What is known of the controller.
    pub facts: Facts,
}

impl Setup {
    /// How much has to be heard of the controller.
    #[must_use]
    pub fn needs(&self) -> Option<Detail> {
        needs(self.format, &self.selection)
    }
}

/// How much has to be heard of a controller for a format; nothing if no event is wanted.
#[must_use]
pub fn needs(format: Format, selection: &Selection) -> Option<Detail> {
    if format.has_events() { selection.needs() } else { Some(Detail::Commands) }
}

/// Something beside the controller's events.
#[derive(Clone, Debug)]
pub enum Remark {
    /// So many events were lost here.
    Dropped(u64),
    /// What the drive has programmed.
    Sample(Sample),
    /// What the drive did by itself, and has now.
    Drive(Drive),
    /// Other events are wanted from now on.
    Selection(Selection),
    /// Something that happened at a moment: a violation.
    Mark {
        /// When.
        time_ns: u64,
        /// What.
        name: String,
        /// What else is known of it: an object, or nothing.
        details: Value,
    },
}

/// Who writes.
pub trait Sink: Send {
    /// The controller's next event; of one that tells of data, the data.
    ///
    /// # Errors
    /// Those of what is written to.
    fn event(&mut self, traced: &Traced, data: Option<&[u8]>) -> io::Result<()>;

    /// Something else.
    ///
    /// # Errors
    /// Those of what is written to.
    fn remark(&mut self, remark: &Remark) -> io::Result<()>;

    /// Writes what waits in memory.
    ///
    /// # Errors
    /// Those of what is written to.
    fn flush(&mut self) -> io::Result<()>;

    /// Nothing comes any more.
    ///
    /// # Errors
    /// Those of what is written to.
    fn close(self: Box<Self>) -> io::Result<()>;
}

/// Begins a trace.
///
/// # Errors
/// Those of `into`.
pub fn open(setup: &Setup, into: impl Write + Send + 'static) -> io::Result<Box<dyn Sink>> {
    Ok(match setup.format {
        Format::Log => Box::new(QemuLog::new(setup, Lines::new(setup, into))),
        Format::Simple => Box::new(QemuLog::new(setup, Binary::create(setup, into)?)),
        Format::Chrome => Box::new(Commands::new(Chrome::create(into)?, 0, false)),
        Format::Pcap => Box::new(Commands::new(Pcap::create(into)?, setup.origin_ns, setup.data)),
        Format::Recording => {
            let mut recorder = Recorder::new(Writer::create(into, setup.data)?);
            for (nsid, namespace) in &setup.facts.namespaces {
                recorder.namespace(*nsid, namespace.block_bytes)?;
            }
            Box::new(Commands::new(recorder, 0, setup.data))
        }
    })
}
