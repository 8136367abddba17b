//! Runs tests, a process for each: once without a mutant, to see how long each takes and which switches it asks; then those that ask a
//! mutant's switch with the mutant on: first those that found others in the same function, then the quick ones and those that found
//! many. What the first runs showed of a binary is kept, for the next time it is the same one.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use serde::{Deserialize, Serialize};
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
}

/// Which tests have found how many mutants: in all, and by what they were in.
#[derive(Debug, Default)]
struct Found {
    all: BTreeMap<usize, u32>,
    within: BTreeMap<String, BTreeMap<usize, u32>>,
}

/// What the first run of a binary's tests showed.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Seen {
    /// Of the binary.
    hash: u64,
    tests: Vec<Look>,
}

/// A test's name, its time, and the mutants that it reaches; none if it does not pass.
type Look = (String, Duration, Option<Vec<usize>>);

/// All tests, and which of them reach which mutant.
#[derive(Debug, Default)]
pub struct Suite {
    binaries: Vec<TestBinary>,
    tests: Vec<Test>,
    reaching: BTreeMap<usize, Vec<usize>>,
    found: Mutex<Found>,
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
/// One that a test found in the same function speaks for it as so many elsewhere.
const NEAR_FACTOR: u32 = 32;
/// Below this all tests cost the same.
const QUICK: Duration = Duration::from_millis(10);
/// Resident memory at which a test is ended: a mutant that never stops to push is caught before the machine suffers.
const MEMORY_MAX: u64 = 4 << 30;
/// How often a test is looked at while it runs.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

impl Suite {
    /// Lists the tests and runs each once, so many at a time. `scratch` is a folder for what they note.
    ///
    /// # Errors
    /// If a binary cannot be run.
    pub fn observe(binaries: Vec<TestBinary>, scratch: &Path, jobs: usize, mut tell: impl FnMut(&str)) -> Result<Self> {
        let mut suite = Self { binaries, ..Self::default() };
        // A test has a process group of its own, so that nobody but this process ends it, and one with a mutant may run for ever.
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&suite.ending))?;
        }
        for binary in 0..suite.binaries.len() {
            let seen = suite.seen(binary, scratch, jobs, &mut tell)?;
            for (name, time, reached) in seen.tests {
                match reached {
                    Some(reached) => suite.note(Test { binary, name, time }, &reached),
                    None => suite.broken.push(format!("{} {name}", suite.binaries[binary].name)),
                }
            }
        }
        Ok(suite)
    }

    /// What the tests of a binary do, by a file if they were run before.
    fn seen(&self, binary: usize, scratch: &Path, jobs: usize, tell: &mut impl FnMut(&str)) -> Result<Seen> {
        let TestBinary { name: called, path, .. } = &self.binaries[binary];
        // Cargo names a binary by what it was asked to build, so it takes the bytes to know that it is the same one.
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let hash = bytes.chunks(8).fold(1, |hash, eight| {
            let number = eight.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
            crate::mixed(hash, number)
        });
        let kept = scratch.join(format!("seen-{}.json", called.replace("::", "-")));
        let seen: Option<Seen> = fs::read_to_string(&kept).ok().and_then(|text| serde_json::from_str(&text).ok());
        if let Some(seen) = seen.filter(|seen| seen.hash == hash) {
            tell(&format!("{called}: as before"));
            return Ok(seen);
        }
        let names = listed(&self.binaries[binary])?;
        tell(&format!("{called}: {} tests", names.len()));
        let (next, seen) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
        std::thread::scope(|scope| {
            for _ in 0..jobs.max(1) {
                scope.spawn(|| {
                    while let index = next.fetch_add(1, Ordering::Relaxed)
                        && let Some(name) = names.get(index)
                    {
                        let one = self.look_at(binary, name, &scratch.join(format!("reached-{index}")));
                        seen.lock().unwrap_or_else(PoisonError::into_inner).insert(index, one);
                    }
                });
            }
        });
        let seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        let seen = Seen { hash, tests: seen.into_values().collect::<Result<_>>()? };
        fs::write(&kept, serde_json::to_string(&seen)?).context("cannot write what was seen")?;
        Ok(seen)
    }

    /// Runs a test without a mutant.
    fn look_at(&self, binary: usize, name: &str, record: &Path) -> Result<Look> {
        let _ = fs::remove_file(record);
        let began = now();
        let end = self.run(binary, name, "MUTANTS_RECORD", record.as_os_str(), BASELINE_MAX)?;
        let time = began.elapsed();
        let reached = fs::read_to_string(record).unwrap_or_default();
        let _ = fs::remove_file(record);
        let reached = reached.lines().filter_map(|line| line.parse().ok()).collect();
        Ok((name.to_owned(), time, (end == End::Passed).then_some(reached)))
    }

    fn note(&mut self, test: Test, reached: &[usize]) {
        let index = self.tests.len();
        self.tests.push(test);
        for &number in reached {
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
    /// and much longer than without a mutant, has noticed. `within` says what the mutant is in: who noticed others there is asked first.
    ///
    /// # Errors
    /// If a test cannot be run.
    pub fn judge(&self, mutant: usize, within: &str, budget: Duration, patience: Duration) -> Result<Verdict> {
        let Some(mut order) = self.reaching.get(&mutant).cloned() else { return Ok(Verdict::Unreached) };
        self.found.lock().unwrap_or_else(PoisonError::into_inner).sort(&mut order, within, &self.tests);
        let began = now();
        for (done, &index) in order.iter().enumerate() {
            if began.elapsed() > budget {
                return Ok(Verdict::Missed { tests: order.len(), skipped: order.len() - done });
            }
            let Test { binary, name, time } = self.tests[index].clone();
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
            self.found.lock().unwrap_or_else(PoisonError::into_inner).add(index, within);
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

impl Found {
    fn sort(&self, order: &mut [usize], within: &str, tests: &[Test]) {
        let here = self.within.get(within);
        let found = |index: usize| {
            let near = here.and_then(|here| here.get(&index)).copied().unwrap_or(0);
            1 + self.all.get(&index).copied().unwrap_or(0) + NEAR_FACTOR * near
        };
        // A process costs something however quick its test is.
        order.sort_by_key(|&index| tests[index].time.max(QUICK) / found(index));
    }

    fn add(&mut self, index: usize, within: &str) {
        *self.all.entry(index).or_default() += 1;
        *self.within.entry(within.to_owned()).or_default().entry(index).or_default() += 1;
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
