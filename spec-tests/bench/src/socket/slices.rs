//! A measurement in slices of a millisecond, of which only those count in which both parties had their processors all the time: on a
//! machine that is shared with others, no long round is undisturbed, and many a short one is.

use std::time::Duration;

use anyhow::{Error, Result};
use hdrhistogram::Histogram;

use crate::cores::{SLICE, Watched, is_clean};
use crate::polling_host::{Load, Measured, PollingHost};

/// So many clean slices make a round that counts.
const CLEAN_MIN: usize = 10;
/// A round goes on for so many times its length where it has fewer.
const PATIENCE: u32 = 10;

/// What came of the clean slices of a round.
pub struct Sliced {
    clean: usize,
    commands: u64,
    elapsed: Duration,
    /// How often the device went to sleep in them: commands were outstanding all the time.
    pub sleeps: u64,
    /// Nanoseconds from an entry to its answer.
    pub latency: Histogram<u64>,
}

impl Sliced {
    /// Commands a second.
    pub fn rate(&self) -> f64 {
        self.commands as f64 / self.elapsed.as_secs_f64()
    }

    /// Whether there are enough of them.
    pub fn counts(&self) -> bool {
        self.clean >= CLEAN_MIN
    }
}

/// What the system says of host and device.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    waited: [Duration; 2],
    sleeps: u64,
}

/// Where a measurement stands.
#[derive(Clone, Copy)]
enum Stage {
    /// No command was answered yet: the device may sleep.
    Idle,
    /// After a look, until so many commands are answered: what was under way meanwhile waited for the host.
    Settling(u64),
    /// In a slice, since that time and so many commands.
    Slice(Duration, u64),
}

/// Host and device of a measurement.
struct Slicer {
    parties: [Watched; 2],
    /// Commands between a look and a slice.
    settling: u64,
    stage: Stage,
    seen: Seen,
    sliced: Sliced,
}

impl Slicer {
    /// Before a slice. If the host is held up while it looks, and the device sleeps meanwhile, that must not look like a sleep in a clean
    /// slice: so what was waited is read first here and last in [`Slicer::end`].
    fn look(&self) -> Result<Seen> {
        let waited = self.waited()?;
        Ok(Seen { waited, sleeps: self.parties[1].sleeps()? })
    }

    fn waited(&self) -> Result<[Duration; 2]> {
        let [host, device] = &self.parties;
        Ok([host.waited()?, device.waited()?])
    }

    /// Answers came: perhaps a slice ends, or one begins. (That the device just answered means that it runs: what it waited is known.)
    fn answered(&mut self, measured: &mut Measured) -> Result<()> {
        match self.stage {
            Stage::Settling(enough) if measured.commands < enough => return Ok(()),
            Stage::Settling(_) => {
                self.stage = Stage::Slice(measured.elapsed, measured.commands);
                measured.latency.reset();
                return Ok(());
            }
            Stage::Slice(begun, _) if measured.elapsed < begun + SLICE => return Ok(()),
            Stage::Slice(begun, commands) => self.end(measured, measured.elapsed - begun, commands)?,
            Stage::Idle => {}
        }
        self.stage = Stage::Settling(measured.commands + self.settling);
        self.seen = self.look()?;
        Ok(())
    }

    /// A slice has ended.
    fn end(&mut self, measured: &Measured, elapsed: Duration, commands: u64) -> Result<()> {
        let before = self.seen;
        let sleeps = self.parties[1].sleeps()?;
        let waited = before.waited.iter().zip(self.waited()?).map(|(before, now)| now.saturating_sub(*before)).max();
        if is_clean(waited.unwrap_or_default(), elapsed) {
            self.sliced.clean += 1;
            self.sliced.commands += measured.commands - commands;
            self.sliced.elapsed += elapsed;
            self.sliced.sleeps += sleeps - before.sleeps;
            self.sliced.latency.add(&measured.latency)?;
        }
        Ok(())
    }
}

/// Keeps a device under a load for a time, or for longer if it is disturbed.
///
/// # Errors
/// The device fails a command, or does not answer, or is gone.
pub fn measure(host: &mut PollingHost, device: u32, load: &Load, time: Duration) -> Result<Sliced> {
    let parties = [Watched::this_thread(), Watched::by_name(device, "device")?];
    let latency = Histogram::new_with_max(10_000_000_000, 3)?;
    let sliced = Sliced { clean: 0, commands: 0, elapsed: Duration::ZERO, sleeps: 0, latency };
    // What waited is answered, and what came behind it, whichever queue pair comes first.
    let settling = 2 * u64::from(load.depth);
    let mut slicer = Slicer { parties, settling, stage: Stage::Idle, seen: Seen::default(), sliced };
    let mut failed: Option<Error> = None;
    host.run(load, |measured| {
        failed = slicer.answered(measured).err();
        let enough = slicer.sliced.counts() && measured.elapsed >= time;
        failed.is_some() || enough || measured.elapsed >= time * PATIENCE
    })?;
    failed.map_or(Ok(slicer.sliced), Err)
}
