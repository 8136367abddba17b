//! `bench profile`: a flame graph of another bench, by perf's samples of a clock (counters of the processor are not needed, and virtual
//! machines have none). Whatever the bench starts is sampled too, so that the daemon is in the picture.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;
use inferno::collapse::Collapse as _;
use inferno::collapse::perf::Folder;
use inferno::flamegraph;

/// Samples a second: beside the timer's own rate, so that they do not fall into step.
const FREQUENCY: u32 = 997;

/// How it is run.
#[derive(Args, Debug)]
pub struct Options {
    /// The file to draw into
    #[arg(long, default_value = "profile.svg")]
    into: PathBuf,
    /// Only threads of this name, for instance device
    #[arg(long)]
    thread: Option<String>,
    /// The bench and its options
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    bench: Vec<String>,
}

/// Runs it.
///
/// # Errors
/// perf is not there or may not sample, or the bench fails.
pub fn run(options: &Options) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("profile-").tempdir()?;
    let samples = folder.path().join("perf.data");
    let recorded = Command::new("perf")
        .args(["record", "--quiet", "--event", "cpu-clock", "--call-graph", "fp", "--freq", &FREQUENCY.to_string()])
        .arg("--output")
        .arg(&samples)
        .arg("--")
        .arg(std::env::current_exe()?)
        .args(&options.bench)
        .status()
        .context("cannot start perf: install linux-perf")?;
    // A bench that missed its bars was still sampled.
    ensure!(samples.metadata().is_ok_and(|file| file.len() > 0), "perf took no samples ({recorded})");
    let folded = folder.path().join("folded");
    fold(&samples, options.thread.as_deref(), &folded)?;
    let mut drawing = flamegraph::Options::default();
    drawing.title = format!("bench {}", options.bench.join(" "));
    drawing.count_name = "samples".to_owned();
    let target = File::create(&options.into).with_context(|| format!("cannot write {}", options.into.display()))?;
    flamegraph::from_files(&mut drawing, &[folded], BufWriter::new(target)).context("there is nothing to draw")?;
    println!("drawn: {}", options.into.display());
    Ok(())
}

/// From samples to stacks with their counts.
fn fold(samples: &Path, thread: Option<&str>, into: &Path) -> Result<()> {
    let mut script = Command::new("perf");
    script.arg("script").arg("--input").arg(samples).stdout(Stdio::piped());
    if let Some(thread) = thread {
        script.args(["--comms", thread]);
    }
    let mut script = script.spawn().context("cannot start perf")?;
    let output = script.stdout.take().context("perf has an output")?;
    Folder::default().collapse(BufReader::new(output), BufWriter::new(File::create(into)?))?;
    ensure!(script.wait()?.success(), "perf cannot read its own samples");
    Ok(())
}
