//! Traces that others wrote, each format in a module of its own: what it says becomes the entries of [`crate::record`]. What is read is
//! bounded: one line, or one event, and what began and has not ended.
//!
//! Common to all: times count from the first line; a volume, file or device becomes a namespace with blocks of 512 bytes, in the order in
//! which they appear, under the name that the trace has for it; offsets and lengths that are not whole blocks are errors.

mod alibaba;
mod blkparse;
mod blktrace;
mod detect;
mod fields;
mod fio;
mod lines;
mod mqsim;
mod msr;
mod pairs;
mod spc;
mod systor;
mod tencent;
mod volumes;

use std::io::BufRead;

use crate::record::{Trace, TraceError};
use crate::recording;
use lines::TextTrace;

/// Bytes of a logical block of every namespace that is imported.
pub const BLOCK_BYTES: u32 = 512;

/// What a file of I/O may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Our own, see [`recording`].
    Recording,
    /// fio's `write_iolog` and `read_iolog`, versions 2 and 3.
    Fio,
    /// What `blktrace` writes, merged: `blkparse -d`.
    Blktrace,
    /// What `blkparse` prints.
    Blkparse,
    /// The traces of Microsoft Research Cambridge.
    Msr,
    /// The traces of a virtual desktop infrastructure, SYSTOR 2017.
    Systor,
    /// Alibaba's block traces.
    Alibaba,
    /// Tencent's cloud block storage.
    Tencent,
    /// What the Storage Performance Council and the UMass repository have.
    Spc,
    /// What MQSim and SSDsim read.
    Mqsim,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Recording,
        Self::Fio,
        Self::Blktrace,
        Self::Blkparse,
        Self::Msr,
        Self::Systor,
        Self::Alibaba,
        Self::Tencent,
        Self::Spc,
        Self::Mqsim,
    ];

    /// The names that `--format` takes, in the order of [`Format::ALL`].
    pub const NAMES: [&'static str; 10] =
        ["recording", "fio", "blktrace", "blkparse", "msr", "systor", "alibaba", "tencent", "spc", "mqsim"];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[Self::ALL.iter().position(|format| *format == self).expect("all have a name")]
    }

    /// The format of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().position(|known| *known == name).map(|index| Self::ALL[index])
    }
}

/// Opens a trace: of the format that is named, or else of the one that its beginning looks like.
///
/// # Errors
/// It cannot be read, or nobody knows what it is.
pub fn open<'a>(
    format: Option<Format>,
    mut input: impl BufRead + 'a,
) -> Result<(Format, Box<dyn Trace + 'a>), TraceError> {
    let format = match format {
        Some(format) => format,
        None => detect::format_of(input.fill_buf()?)?,
    };
    let trace: Box<dyn Trace + 'a> = match format {
        Format::Recording => Box::new(recording::Reader::open(input)?),
        Format::Blktrace => Box::new(blktrace::Blktrace::new(input)),
        Format::Fio => Box::new(TextTrace::new(input, fio::Fio::default())),
        Format::Blkparse => Box::new(TextTrace::new(input, blkparse::Blkparse::default())),
        Format::Msr => Box::new(TextTrace::new(input, msr::Msr::default())),
        Format::Systor => Box::new(TextTrace::new(input, systor::Systor::default())),
        Format::Alibaba => Box::new(TextTrace::new(input, alibaba::Alibaba::default())),
        Format::Tencent => Box::new(TextTrace::new(input, tencent::Tencent::default())),
        Format::Spc => Box::new(TextTrace::new(input, spc::Spc::default())),
        Format::Mqsim => Box::new(TextTrace::new(input, mqsim::Mqsim::default())),
    };
    Ok((format, trace))
}

#[cfg(test)]
mod tests;
