//! `brownout trace replay`: gives the commands of a trace to a drive in this process, or to a served one.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};

use anyhow::{Context as _, anyhow};
use nvme_host::Host;
use traces::record::{Entry, Namespaces, Trace as _};
use traces::recording::{Recorder, Writer};
use traces::replay::{Drive, Options, Outcome, Replay as Engine, ReplayError};

use super::drive::InProcess;
use super::input::Input;
use super::served::Served;
use super::{Replay, TraceFile};
use crate::failure::Failure;
use crate::options::{Bytes, Given, Settings};

/// What main returns where a command failed.
const FAILED: u8 = 1;
/// A drive that is made for a trace has namespaces of a multiple of this, and at least so many of it.
const SIZE_STEP: u64 = 1 << 20;
const SIZE_STEPS_MIN: u64 = 16;

/// Replays; returns the exit code: 1 where a command failed.
pub fn replay(arguments: Replay) -> Result<u8, Failure> {
    let Replay { trace, speed, depth, fill, wrap, record, json, socket, device } = arguments;
    let asked = Asked { trace, options: Options { speed, depth, wrap }, fill, record };
    let outcome = match socket {
        Some(path) => {
            let mut host = Served::host(&path)?;
            let outcome = asked.run(&mut host);
            let gone = || "the drive has no power: its registers read as all ones";
            if host.port_mut().is_gone() { outcome.with_context(gone)? } else { outcome? }
        }
        None => {
            let settings = settings(&asked.trace, device.into())?;
            let mut host = InProcess::host(&settings)?;
            let outcome = asked.run(&mut host);
            let ended = host.port_mut().end();
            let outcome = outcome?;
            ended?;
            outcome
        }
    };
    let said = if json { format!("{:#}\n", outcome.json()) } else { outcome.to_string() };
    io::stdout().write_all(said.as_bytes()).context("cannot say what came out")?;
    Ok(if outcome.failures() == 0 { 0 } else { FAILED })
}

/// What is given to a drive, and how.
struct Asked {
    trace: TraceFile,
    options: Options,
    fill: bool,
    record: Option<std::path::PathBuf>,
}

impl Asked {
    fn run<P: Drive>(&self, host: &mut Host<P>) -> anyhow::Result<Outcome> {
        let outcome = self.give(host);
        if let (Err(_), Some(path)) = (&outcome, self.record.as_ref().filter(|path| path.exists())) {
            // Ours, and half of it.
            fs::remove_file(path).with_context(|| format!("cannot remove {} again", path.display()))?;
        }
        outcome
    }

    fn give<P: Drive>(&self, host: &mut Host<P>) -> anyhow::Result<Outcome> {
        let mut input = Input::open(&self.trace, "replaying")?;
        let mut engine = Engine::new(host, self.options, self.recorder()?)?;
        if self.fill {
            engine.fill()?;
        }
        engine.run(&mut input.trace).map_err(|error| match error {
            ReplayError::Trace(error) => input.failed(error),
            ReplayError::NoNamespace(_) => anyhow!("{error}: give a --namespace for each that the trace has"),
            ReplayError::Outside { .. } => anyhow!("{error}: give a larger --namespace, or --wrap"),
            other => other.into(),
        })
    }

    /// A recording without data: a replay makes it up.
    fn recorder(&self) -> anyhow::Result<Option<Recorder<BufWriter<File>>>> {
        let Some(path) = &self.record else { return Ok(None) };
        let cannot = || format!("cannot write {}", path.display());
        let file = OpenOptions::new().write(true).create_new(true).open(path).with_context(cannot)?;
        let writer = Writer::create(BufWriter::new(file), false).with_context(cannot)?;
        Ok(Some(Recorder::new(writer)))
    }
}

/// The drive that was asked for; one that is as large as the trace needs, if nothing was said of namespaces.
fn settings(trace: &TraceFile, mut given: Given) -> Result<Settings, Failure> {
    let media = given.media.as_deref().unwrap_or_default();
    let said = !given.namespaces.is_empty()
        || given.file.is_some()
        || media.split(',').any(|word| word.starts_with("store=file:"));
    if !said {
        given.namespaces = namespaces_of(trace)?;
    }
    Ok(Settings::read(&given)?)
}

/// Namespaces that hold every block of a trace.
fn namespaces_of(asked: &TraceFile) -> anyhow::Result<Vec<String>> {
    let mut input = Input::open(asked, "looking how large the drive must be")?;
    let mut namespaces = Namespaces::default();
    let mut ends: BTreeMap<u32, u64> = BTreeMap::new();
    while let Some(entry) = input.trace.next().map_err(|error| input.failed(error))? {
        match entry {
            Entry::Namespace(namespace) => namespaces.note(namespace)?,
            Entry::Sample(_) => {}
            Entry::Command(record) => {
                let Some(block_bytes) = namespaces.block_bytes(record.nsid).filter(|_| record.status == 0) else {
                    continue;
                };
                let end = record.bytes(block_bytes).map(|(offset, length)| offset.saturating_add(length)).max();
                let known = ends.entry(record.nsid).or_default();
                *known = end.unwrap_or(0).max(*known);
            }
        }
    }
    let size = |end: u64| end.div_ceil(SIZE_STEP).max(SIZE_STEPS_MIN).saturating_mul(SIZE_STEP);
    let words = namespaces.iter().map(|namespace| {
        let (nsid, lba) = (namespace.nsid, Bytes(namespace.block_bytes.into()));
        let size = size(ends.get(&nsid).copied().unwrap_or(0));
        format!("nsid={nsid},lba={lba},size={}", Bytes(size))
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() {
        return Err(anyhow!("{}: there is no command in it, so that nothing can be replayed", asked.file.display()));
    }
    Ok(words)
}
