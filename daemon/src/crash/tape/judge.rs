//! Who judges images, and what is said of one. [`super::shell`] and [`super::guest`] are the two who do.

use std::fmt;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use tape::Image;
use tape::history::Block;

use crate::crash::acknowledged::{Acknowledged, Found};

/// As much of what a command says is kept.
pub const LOG_BYTES: u64 = 64 << 10;

/// What was said of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The check ended with 0.
    Good,
    /// It ended with another code.
    Code(i32),
    /// It ended with 0, and what it said is illegal, or is not what was acknowledged.
    Broken(String),
    /// A signal ended it.
    Signal(i32),
    /// The guest ended while it ran: its last words.
    Ended(String),
    /// The guest did not come back from it within this time.
    Hung(Duration),
    /// It could not be tried.
    Error(String),
    /// The campaign was told to end before: nothing is known.
    Unjudged,
}

impl Verdict {
    /// Whether the image is bad.
    pub fn is_bad(&self) -> bool {
        !matches!(self, Self::Good | Self::Unjudged)
    }

    /// The same, unless the check was content and what it said is illegal, by its own words or beside what was acknowledged.
    pub fn and_found(self, said: impl FnOnce() -> String, acks: &str) -> Self {
        if self != Self::Good {
            return self;
        }
        let said = said();
        let illegal = said.lines().filter_map(|line| line.strip_prefix("illegal ")).map(str::to_owned);
        let wrong: Vec<_> = illegal.chain(Acknowledged::new(acks, &Found::default()).judge(&said)).collect();
        if wrong.is_empty() { self } else { Self::Broken(wrong.join("; ")) }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => formatter.write_str("good"),
            Self::Code(code) => write!(formatter, "the check ended with code {code}"),
            Self::Broken(wrong) => formatter.write_str(wrong),
            Self::Signal(signal) => write!(formatter, "signal {signal} ended the check"),
            Self::Ended(words) => write!(formatter, "the guest ended: {words}"),
            Self::Hung(time) => write!(formatter, "the guest did not end the check within {} s", time.as_secs()),
            Self::Error(error) => write!(formatter, "the image could not be judged: {error}"),
            Self::Unjudged => formatter.write_str("the campaign was told to end before the image was judged"),
        }
    }
}

impl From<ExitStatus> for Verdict {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(0), _) => Self::Good,
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or(0)),
        }
    }
}

/// Who judges images. It is told what becomes durable, and then image by image.
pub trait Judge: Send {
    /// Back to the beginning of the tape.
    ///
    /// # Errors
    /// What it needs for that is not there.
    fn begin(&mut self) -> anyhow::Result<()>;

    /// These blocks are durable from now on.
    ///
    /// # Errors
    /// There is no room for them.
    fn follow(&mut self, blocks: &[(u64, Block)]) -> anyhow::Result<()>;

    /// Judges an image, with what was acknowledged, a line each.
    ///
    /// # Errors
    /// It could not be tried.
    fn judge(&mut self, image: &Image, acks: &str) -> anyhow::Result<Verdict>;

    /// What was said of the last image, beside the verdict.
    fn log(&self) -> String;
}
