//! Opens a trace, and shows how much of it has been read.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::rc::Rc;

use anyhow::Context as _;
use traces::import;
use traces::record::Trace;

use super::TraceFile;
use crate::progress::Progress;

/// What is read at once; the format is told from as much.
const READ_BYTES: usize = 64 << 10;

/// A file that tells how far it has been read.
struct Counted {
    file: File,
    read: u64,
    all: u64,
    progress: Rc<Progress>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(into)?;
        self.read += count as u64;
        self.progress.at(self.read, self.all.max(self.read));
        Ok(count)
    }
}

/// A trace that is open.
pub struct Input {
    pub trace: Box<dyn Trace>,
    path: String,
    _progress: Rc<Progress>,
}

impl Input {
    /// Opens a trace; `what` is what is done with it.
    ///
    /// # Errors
    /// It cannot be opened, or nobody knows what it is.
    pub fn open(asked: &TraceFile, what: &'static str) -> anyhow::Result<Self> {
        let path = asked.file.display().to_string();
        let file = File::open(&asked.file).with_context(|| format!("cannot read {path}"))?;
        let all = file.metadata().map_or(0, |metadata| metadata.len());
        let progress = Rc::new(Progress::new(what, "bytes"));
        let counted = Counted { file, read: 0, all, progress: Rc::clone(&progress) };
        let reader = BufReader::with_capacity(READ_BYTES, counted);
        let (format, trace) = import::open(asked.format, reader).with_context(|| path.clone())?;
        tracing::debug!(file = %path, format = format.name(), "reading a trace");
        Ok(Self { trace, path, _progress: progress })
    }

    /// What is said of an error in the trace.
    pub fn failed(&self, error: impl std::error::Error + Send + Sync + 'static) -> anyhow::Error {
        anyhow::Error::new(error).context(self.path.clone())
    }
}
