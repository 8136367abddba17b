//! What judges images: a command that gets each as a file ([`Shell`]), or a guest that gets each as a drive ([`super::guest`]).

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use tape::history::Block;
use tape::{Image, Volume};

use super::bench::Bench;
use super::guest::Station;

/// As much of what a command says is kept.
pub const LOG_BYTES: u64 = 64 << 10;

/// What was said of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The check ended with 0.
    Good,
    /// It ended with another code.
    Code(i32),
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
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => formatter.write_str("good"),
            Self::Code(code) => write!(formatter, "the check ended with code {code}"),
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

/// How images are to be judged.
#[derive(Clone, Debug)]
pub enum Check {
    /// By a command of this machine.
    Command(String),
    /// By a script in a guest, which has so long for each.
    Guest(PathBuf, Duration),
}

impl Check {
    /// Somebody who does it, for images of a volume that held `base` as the tape began.
    ///
    /// # Errors
    /// What it takes is not there.
    pub fn judge(&self, volume: &Volume, base: Option<PathBuf>) -> anyhow::Result<Box<dyn Judge>> {
        Ok(match self {
            Self::Command(check) => Box::new(Shell::new(check, volume, base)?),
            Self::Guest(script, limit) => Box::new(Station::start(script, *limit, volume, base)?),
        })
    }
}

/// A command, with a folder for the images that it judges.
struct Shell {
    bench: Bench,
    volume: Volume,
    base: Option<PathBuf>,
    check: String,
}

impl Shell {
    fn new(check: &str, volume: &Volume, base: Option<PathBuf>) -> anyhow::Result<Self> {
        let bench = Bench::new(volume, base.as_deref())?;
        Ok(Self { bench, volume: *volume, base, check: check.to_owned() })
    }
}

impl Judge for Shell {
    fn begin(&mut self) -> anyhow::Result<()> {
        self.bench.begin(&self.volume, self.base.as_deref())
    }

    fn follow(&mut self, blocks: &[(u64, Block)]) -> anyhow::Result<()> {
        Ok(self.bench.follow(blocks)?)
    }

    fn judge(&mut self, image: &Image, acks: &str) -> anyhow::Result<Verdict> {
        self.bench.make(image, acks)?;
        let (path, acks_path) = (self.bench.path("image"), self.bench.path("acks"));
        let said = File::create(self.bench.path("log"))?;
        let line = self.check.replace("{image}", &path.display().to_string());
        let line = line.replace("{acks}", &acks_path.display().to_string());
        // What a terminal sends to us is not for the command: an image whose check was interrupted is not bad.
        let status = Command::new("sh")
            .args(["-c", &line])
            .process_group(0)
            .env("BROWNOUT_IMAGE", &path)
            .env("BROWNOUT_ACKS", &acks_path)
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .status()?;
        Ok(status.into())
    }

    fn log(&self) -> String {
        let mut said = Vec::new();
        if let Ok(log) = File::open(self.bench.path("log")) {
            // What cannot be read is not said.
            let _ = log.take(LOG_BYTES).read_to_end(&mut said);
        }
        String::from_utf8_lossy(&said).into_owned()
    }
}
