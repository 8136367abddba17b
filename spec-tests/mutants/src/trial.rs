//! Runs tests, a process for each: once without a mutant, to see how long each takes and which switches it asks; then those that ask a
//! mutant's switch with the mutant on, the quick ones and those that found many first.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::build::TestBinary;

/// A test that passes without a mutant.
#[derive(Clone, Debug)]
pub struct Test {
    /// Of [`Suite::binaries`].
    binary: usize,
    name: String,
    /// How long it takes.
    time: Duration,
    /// How many mutants it has found.
    found: u32,
}

/// All tests, and which of them reach which mutant.
#[derive(Debug, Default)]
pub struct Suite {
    binaries: Vec<TestBinary>,
    tests: Vec<Test>,
    reaching: BTreeMap<usize, Vec<usize>>,
    /// Somebody wants this process to end.
    ending: Arc<AtomicBool>,
    /// What did not pass, and so finds nothing.
    pub broken: Vec<String>,
}

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Passed,
    Failed,
    TooLong,
    TooLarge,
    Interrupted,
}

/// What became of a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A test failed, or did not end, or took too much memory.
    Caught {
        /// Which.
        by: String,
    },
    /// All tests that reach it pass.
    Missed {
        /// How many there are.
        tests: usize,
        /// How many of them there was no time for.
        skipped: usize,
    },
    /// No test reaches it.
    Unreached,
}

/// A test without a mutant that takes longer finds nothing.
const BASELINE_MAX: Duration = Duration::from_mins(2);
/// A mutant's test may take this many times as long as without it.
const TIME_FACTOR: u32 = 6;
/// Resident memory at which a test is ended: a mutant that never stops to push is caught before the machine suffers.
const MEMORY_MAX: u64 = 4 << 30;
/// How often a test is looked at while it runs.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

impl Suite {
    /// Lists the tests and runs each once. `scratch` is a folder for what they note.
    ///
    /// # Errors
    /// If a binary cannot be run.
    pub fn observe(binaries: Vec<TestBinary>, scratch: &Path, mut tell: impl FnMut(&str)) -> Result<Self> {
        let mut suite = Self { binaries, ..Self::default() };
        // A test has a process group of its own, so that nobody but this process ends it, and one with a mutant may run for ever.
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&suite.ending))?;
        }
        let record = scratch.join("reached");
        for binary in 0..suite.binaries.len() {
            let names = listed(&suite.binaries[binary])?;
            tell(&format!("{}: {} tests", suite.binaries[binary].name, names.len()));
            for name in names {
                let _ = fs::remove_file(&record);
                let began = now();
                let end = suite.run(binary, &name, "MUTANTS_RECORD", record.as_os_str(), BASELINE_MAX)?;
                if end == End::Passed {
                    let reached = fs::read_to_string(&record).unwrap_or_default();
                    let test = Test { binary, name, time: began.elapsed(), found: 0 };
                    suite.note(test, &reached);
                } else {
                    suite.broken.push(format!("{} {name}", suite.binaries[binary].name));
                }
            }
        }
        Ok(suite)
    }

    fn note(&mut self, test: Test, reached: &str) {
        let index = self.tests.len();
        self.tests.push(test);
        for number in reached.lines().filter_map(|line| line.parse().ok()) {
            let tests: &mut Vec<usize> = self.reaching.entry(number).or_default();
            if tests.last() != Some(&index) {
                tests.push(index);
            }
        }
    }

    /// How many tests there are, and how long they take.
    #[must_use]
    pub fn extent(&self) -> (usize, Duration) {
        (self.tests.len(), self.tests.iter().map(|test| test.time).sum())
    }

    /// Runs the tests that reach a mutant until one notices, or until `budget` is used up. A test that takes longer than `patience`,
    /// and much longer than without a mutant, has noticed.
    ///
    /// # Errors
    /// If a test cannot be run.
    pub fn judge(&mut self, mutant: usize, budget: Duration, patience: Duration) -> Result<Verdict> {
        let Some(mut order) = self.reaching.get(&mutant).cloned() else { return Ok(Verdict::Unreached) };
        order.sort_by_key(|&index| self.tests[index].time / (self.tests[index].found + 1));
        let began = now();
        for (done, &index) in order.iter().enumerate() {
            if began.elapsed() > budget {
                return Ok(Verdict::Missed { tests: order.len(), skipped: order.len() - done });
            }
            let Test { binary, name, time, .. } = self.tests[index].clone();
            let limit = patience.max(time * TIME_FACTOR);
            let active = mutant.to_string();
            let end = self.run(binary, &name, "MUTANTS_ACTIVE", active.as_ref(), limit)?;
            let how = match end {
                End::Passed => continue,
                End::Failed => "",
                End::TooLong => " (does not end)",
                End::TooLarge => " (takes all memory)",
                End::Interrupted => unreachable!("it was an error"),
            };
            self.tests[index].found += 1;
            return Ok(Verdict::Caught { by: format!("{} {name}{how}", self.binaries[binary].name) });
        }
        Ok(Verdict::Missed { tests: order.len(), skipped: 0 })
    }

    fn run(&self, binary: usize, name: &str, key: &str, value: &std::ffi::OsStr, limit: Duration) -> Result<End> {
        let binary = &self.binaries[binary];
        let mut command = Command::new(&binary.path);
        command.args([name, "--exact", "--test-threads=1"]).current_dir(&binary.folder).env(key, value);
        // Random tests find the same each time, and leave nothing behind.
        command.env("PROPTEST_RNG_SEED", "1").env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().with_context(|| format!("{} cannot be run", binary.path.display()))?;
        let end = wait(&mut child, limit, &self.ending)?;
        ensure!(end != End::Interrupted, "interrupted");
        Ok(end)
    }
}

fn listed(binary: &TestBinary) -> Result<Vec<String>> {
    let names = |ignored: &[&str]| -> Result<Vec<String>> {
        let mut command = Command::new(&binary.path);
        command.args(["--list", "--format", "terse"]).args(ignored).current_dir(&binary.folder);
        let output = command.output().with_context(|| format!("{} cannot be run", binary.path.display()))?;
        ensure!(output.status.success(), "{} does not list its tests", binary.path.display());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
    };
    let ignored = names(&["--ignored"])?;
    Ok(names(&[])?.into_iter().filter(|name| !ignored.contains(name)).collect())
}

/// Waits for a process; ends it, and what it started, if it takes too long or too much.
fn wait(child: &mut Child, limit: Duration, ending: &AtomicBool) -> Result<End> {
    let began = now();
    let process = Pid::from_child(child);
    let ended = pidfd_open(process, PidfdFlags::empty())?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(if status.success() { End::Passed } else { End::Failed });
        }
        let end = match () {
            () if ending.load(Ordering::Relaxed) => End::Interrupted,
            () if began.elapsed() > limit => End::TooLong,
            () if resident(child.id()) > MEMORY_MAX => End::TooLarge,
            () => match poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&LOOK_EVERY)) {
                Ok(_) | Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            },
        };
        kill_process_group(process, Signal::KILL)?;
        child.wait()?;
        return Ok(end);
    }
}

#[expect(clippy::disallowed_methods, reason = "how long a test takes is what this is about")]
fn now() -> Instant {
    Instant::now()
}

fn resident(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0u64) * 4096
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(text: &str) -> Child {
        Command::new("sh").args(["-c", text]).process_group(0).spawn().expect("a shell")
    }

    fn ended(text: &str, limit: Duration, ending: bool) -> (End, bool) {
        let mut child = shell(text);
        let end = wait(&mut child, limit, &AtomicBool::new(ending)).expect("it ends");
        (end, child.try_wait().expect("a status").is_some())
    }

    #[test]
    fn a_process_ends_by_itself_or_is_ended() {
        let hour = Duration::from_hours(1);
        assert_eq!(ended("exit 0", hour, false), (End::Passed, true));
        assert_eq!(ended("exit 3", hour, false), (End::Failed, true));
        assert_eq!(ended("kill -SEGV $$", hour, false), (End::Failed, true));
        assert_eq!(ended("sleep 3600", Duration::from_millis(100), false), (End::TooLong, true));
        assert_eq!(ended("sleep 3600", hour, true), (End::Interrupted, true), "with whoever waits for it");
    }
}
