//! Two processors for two parties: who runs where, how far they are from each other, and whether somebody else was in the way.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::bars::median;
use crate::clock;

/// The processors of a bench: one for the device, one for its host.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    device: usize,
    host: usize,
}

/// A number that has a cache line, and the next one, to itself: processors fetch lines in pairs.
#[repr(align(128))]
struct Line(AtomicU64);

/// A measurement in which a thread waited for its processor for more than this part of the time was disturbed by others.
pub const WAITED_MAX: f64 = 0.02;

/// A measurement may consist of pieces so long: long beside what a look at the system's statistics takes, and short beside a time slice.
pub const SLICE: Duration = Duration::from_millis(1);

const TRIPS: u64 = 500;
const BATCHES: usize = 21;

impl Pair {
    /// The first two processors that this process may use.
    ///
    /// # Errors
    /// There is only one: two parties that poll would wait for each other's time slices.
    pub fn find() -> Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut found = (0..CpuSet::MAX_CPU).filter(|&processor| allowed.is_set(processor));
        match (found.next(), found.next()) {
            (Some(device), Some(host)) => Ok(Self { device, host }),
            _ => bail!("this bench needs two processors"),
        }
    }

    /// Keeps the calling thread on the host's processor.
    ///
    /// # Errors
    /// The system refuses.
    pub fn take_host(self) -> Result<()> {
        stay(None, self.host)
    }

    /// Keeps the calling thread on the device's processor.
    ///
    /// # Errors
    /// The system refuses.
    pub fn take_device(self) -> Result<()> {
        stay(None, self.device)
    }

    /// Keeps every thread of a process on the device's processor.
    ///
    /// # Errors
    /// The process is gone, or the system refuses.
    pub fn give_device(self, process: u32) -> Result<()> {
        for entry in fs::read_dir(format!("/proc/{process}/task"))? {
            let name = entry?.file_name();
            let thread = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
            stay(Some(thread.context("a thread has a number")?), self.device)?;
        }
        Ok(())
    }

    /// How long a cache line takes to the other processor and back: the median of some batches. The calling thread is on the host's
    /// processor.
    ///
    /// # Errors
    /// The system refuses a thread its processor.
    pub fn round_trip(self) -> Result<Duration> {
        let (ping, pong) = (Line(AtomicU64::new(0)), Line(AtomicU64::new(0)));
        let over = AtomicBool::new(false);
        let (there, arrived) = mpsc::channel::<()>();
        let (ping, pong, over) = (&ping, &pong, &over);
        thread::scope(|scope| {
            let echo = scope.spawn(move || -> Result<()> {
                let stays = stay(None, self.device);
                drop(there);
                stays?;
                while !over.load(Ordering::Relaxed) {
                    pong.0.store(ping.0.load(Ordering::Acquire), Ordering::Release);
                }
                Ok(())
            });
            // Until it is on its own processor it needs this one: nothing is sent, and the end of the channel is the message.
            let _moved = arrived.recv();
            let batches = (0..BATCHES).map(|batch| {
                let begun = clock::now();
                for trip in 1..=TRIPS {
                    let token = batch as u64 * TRIPS + trip;
                    ping.0.store(token, Ordering::Release);
                    while pong.0.load(Ordering::Acquire) != token && !echo.is_finished() {}
                }
                begun.elapsed().as_secs_f64() / TRIPS as f64
            });
            let middle = median(batches.collect()).unwrap_or(f64::INFINITY);
            over.store(true, Ordering::Relaxed);
            echo.join().expect("nothing in it panics")?;
            Ok(Duration::from_secs_f64(middle))
        })
    }
}

fn stay(thread: Option<Pid>, processor: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(processor);
    sched_setaffinity(thread, &only).with_context(|| format!("cannot stay on processor {processor}"))
}

/// Whether a party that waited so long for its processor in a slice was as good as undisturbed.
pub fn is_clean(waited: Duration, elapsed: Duration) -> bool {
    waited.as_secs_f64() <= elapsed.as_secs_f64() * WAITED_MAX
}

/// A thread whose waiting is watched.
#[derive(Clone, Debug)]
pub struct Watched {
    statistics: String,
    status: String,
}

impl Watched {
    fn new(folder: &str) -> Self {
        Self { statistics: format!("{folder}/schedstat"), status: format!("{folder}/status") }
    }

    /// The calling thread.
    pub fn this_thread() -> Self {
        Self::new(&format!("/proc/self/task/{}", rustix::thread::gettid().as_raw_nonzero()))
    }

    /// A thread of a process, by its name.
    ///
    /// # Errors
    /// The process is gone, or has no such thread.
    pub fn by_name(process: u32, wanted: &str) -> Result<Self> {
        for entry in fs::read_dir(format!("/proc/{process}/task"))? {
            let folder = entry?.path();
            if fs::read_to_string(folder.join("comm"))?.trim_end() == wanted {
                return Ok(Self::new(&folder.display().to_string()));
            }
        }
        bail!("process {process} has no thread called {wanted:?}")
    }

    /// How long it has been ready to run without a processor, since it began.
    ///
    /// # Errors
    /// The thread is gone, or the kernel keeps no such statistics.
    pub fn waited(&self) -> Result<Duration> {
        let text = fs::read_to_string(&self.statistics).with_context(|| format!("cannot read {}", self.statistics))?;
        let waited = text.split_whitespace().nth(1).and_then(|number| number.parse().ok());
        waited.map(Duration::from_nanos).context("schedstat has an unknown form")
    }

    /// How often it has gone to sleep by itself since it began.
    ///
    /// # Errors
    /// The thread is gone, or the kernel keeps no such statistics.
    pub fn sleeps(&self) -> Result<u64> {
        let text = fs::read_to_string(&self.status).with_context(|| format!("cannot read {}", self.status))?;
        let count = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.and_then(|count| count.trim().parse().ok()).context("a thread's status has an unknown form")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_in_which_somebody_waited_is_not_clean() {
        assert!(is_clean(Duration::from_micros(20), SLICE));
        assert!(!is_clean(Duration::from_micros(21), SLICE));
    }
}
