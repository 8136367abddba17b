//! `bench wake`: what `doorbells=trapped` costs while nothing happens, and how long the first command after that takes. The host has
//! shadow doorbells, as Linux does, so that it rings only where the device sleeps.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use guest_harness::{Brownout, Device, Kernel, Machine};
use hdrhistogram::Histogram;
use nvme_host::Host;
use nvme_host::io::block_command;
use nvme_spec::opcode::NvmOpcode;
use vm_memory::MmapRegion;

use crate::bars::Bar;
use crate::clock;
use crate::cores::{Pair, Watched};
use crate::daemon::Served;
use crate::mapped_port::{MappedPort, number_64};

/// How long the host does nothing before each command: the device has stopped spinning long before.
const PAUSE: Duration = Duration::from_millis(5);
/// A command that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// A wake in which the device waited longer for its processor was disturbed by others, and does not count.
const WAITED_MAX: Duration = Duration::from_micros(20);
/// This many must count.
const COUNTED_MIN: u64 = 50;
/// A machine on which a bare thread takes longer than these microseconds to wake is not quiet.
const QUIET_MAX: f64 = 50.0;
/// Bars: microseconds to the answer, percent of a processor.
const WAKE_MAX: f64 = 100.0;
const IDLE_MAX: f64 = 1.0;

/// How it is run.
#[derive(Args, Debug)]
pub struct Options {
    /// How many commands after a pause
    #[arg(long, default_value_t = 400)]
    wakes: u32,
    /// For how many seconds the idle guest is watched
    #[arg(long, default_value_t = 15)]
    seconds: u64,
}

/// Runs it; whether every bar was held.
///
/// # Errors
/// Daemon or guest cannot be started, or fail.
pub fn run(options: &Options) -> Result<bool> {
    let (latency, bare) = wake(options)?;
    let at = |latency: &Histogram<u64>, quantile| latency.value_at_quantile(quantile) as f64 / 1e3;
    let microseconds = |quantile| at(&latency, quantile);
    let bar = Bar::AtMost(WAKE_MAX);
    let judged = latency.len() >= COUNTED_MIN && at(&bare, 0.95) <= QUIET_MAX;
    let woken = bar.judge(judged.then(|| microseconds(0.95)));
    println!(
        "doorbells=trapped with shadow doorbells, {} commands after pauses of {} ms, of which {} were not disturbed",
        options.wakes,
        PAUSE.as_millis(),
        latency.len()
    );
    println!(
        "from before the doorbell message to the answer: p50 {:.1} µs, p95 {:.1} µs, p99 {:.1} µs; p95 {bar}: {woken}",
        microseconds(0.5),
        microseconds(0.95),
        microseconds(0.99)
    );
    println!(
        "a bare thread that a byte wakes there: p50 {:.1} µs, p95 {:.1} µs, p99 {:.1} µs; on a quiet machine p95 ≤ {QUIET_MAX}",
        at(&bare, 0.5),
        at(&bare, 0.95),
        at(&bare, 0.99)
    );
    let mut held = woken.is_success();
    for doorbells in ["trapped", "mapped"] {
        // The promise is about trapped doorbells; a mapped page must be looked at.
        let bar = if doorbells == "trapped" { Bar::AtMost(IDLE_MAX) } else { Bar::None };
        let used = idle(doorbells, options)?;
        let verdict = bar.judge(Some(used));
        println!(
            "idle guest, doorbells={doorbells}: {used:.2} % of a processor over {} s {bar} {verdict}",
            options.seconds
        );
        held &= verdict.is_success();
    }
    Ok(held)
}

fn start(name: &str, doorbells: &str) -> Result<Brownout> {
    let device = format!("doorbells={doorbells}");
    Served { device, namespaces: vec!["size=256MiB".to_owned()], ..Served::default() }.start(name)
}

/// A completion queue entry that is to come.
struct Awaited {
    memory: Arc<MmapRegion>,
    slot: u64,
    phase: bool,
}

impl Awaited {
    /// Looks until it is there. Whoever sends the doorbell message waits for a reply meanwhile; the answer is there before that is.
    fn watch(&self) -> Result<Instant> {
        let entry = number_64(&self.memory, self.slot + 8);
        let begun = clock::now();
        while (entry.load(Ordering::Acquire) >> 48 & 1 == 1) != self.phase {
            if begun.elapsed() > PATIENCE {
                bail!("a command after a pause got no answer");
            }
        }
        Ok(clock::now())
    }
}

/// A thread that sleeps on the device's processor until a byte comes, and counts: what waking anybody costs on this machine.
struct Sleeper {
    bytes: UnixStream,
    count: Arc<AtomicU64>,
}

impl Sleeper {
    /// It ends when the other end of its socket is gone.
    fn start(pair: Pair) -> Result<Self> {
        let (bytes, mut theirs) = UnixStream::pair()?;
        let count = Arc::new(AtomicU64::new(0));
        let theirs_count = Arc::clone(&count);
        std::thread::spawn(move || {
            let mut byte = [0];
            if pair.take_device().is_ok() {
                while theirs.read_exact(&mut byte).is_ok() {
                    theirs_count.fetch_add(1, Ordering::Release);
                }
            }
        });
        Ok(Self { bytes, count })
    }

    /// How long it takes to wake it, watched as a command is.
    fn wake(&mut self) -> Result<Duration> {
        let before = self.count.load(Ordering::Acquire);
        let count = &self.count;
        std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let begun = clock::now();
                while count.load(Ordering::Acquire) == before && begun.elapsed() < PATIENCE {}
                clock::now()
            });
            let begun = clock::now();
            self.bytes.write_all(&[0])?;
            Ok(watcher.join().expect("nothing in it panics") - begun)
        })
    }
}

/// Nanoseconds from before the message to the answer; and for a bare thread in the same minutes.
fn wake(options: &Options) -> Result<(Histogram<u64>, Histogram<u64>)> {
    let daemon = start("bench-wake", "trapped")?;
    let pair = Pair::find()?;
    pair.give_device(daemon.pid())?;
    pair.take_host()?;
    let words = |error| anyhow!("{error}");
    let mut host: Host<MappedPort> = MappedPort::host(daemon.socket())?;
    host.create_queue_pair(1, 64, None).map_err(words)?;
    host.use_shadow_doorbells().map_err(words)?;
    let bytes = host.block_bytes(1).map_err(words)?;
    let buffer = host.allocate(bytes).map_err(words)?;
    let command = host.map(buffer, bytes).map_err(words)?.on(block_command(NvmOpcode::READ, 1, 0, 1));
    let device = Watched::by_name(daemon.pid(), "device")?;
    let mut latency = Histogram::new_with_max(10_000_000_000, 3)?;
    let (mut bare, mut sleeper) = (latency.clone(), Sleeper::start(pair)?);
    for _ in 0..options.wakes {
        clock::pause(PAUSE);
        bare.saturating_record(u64::try_from(sleeper.wake()?.as_nanos())?);
        clock::pause(PAUSE);
        let before = device.waited()?;
        let queue = host.completion_queue(1).context("the queue pair was created")?;
        let awaited = Awaited { memory: host.port().memory(), slot: queue.slot(), phase: queue.phase };
        let (begun, seen) = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| awaited.watch());
            let begun = clock::now();
            let submitted = host.submit(1, command).map_err(words);
            let seen = watcher.join().expect("nothing in it panics");
            submitted.and(seen).map(|seen| (begun, seen))
        })?;
        if device.waited()? - before <= WAITED_MAX {
            latency.saturating_record(u64::try_from((seen - begun).as_nanos())?);
        }
        let completion = host.reap(1).context("the answer was seen")?;
        ensure!(completion.status().0 == 0, "the device answered {:?}", completion.status());
    }
    drop(host);
    daemon.stop()?;
    Ok((latency, bare))
}

/// Percent of a processor that the daemon takes while a guest that has booted does nothing.
fn idle(doorbells: &str, options: &Options) -> Result<f64> {
    let daemon = start("bench-idle", doorbells)?;
    let script = ". /lib.sh\nwait_for_device\nsleep 1\necho IDLE\nread -r _\n";
    let machine = Machine::new(Kernel::Debian612).name("bench-idle");
    let machine = machine.device(Device::VfioUser { socket: daemon.socket().to_owned() });
    let mut guest = machine.script(script).spawn()?;
    guest.wait_for("IDLE", Duration::from_secs(120)).context("the guest does not boot")?;
    let (before, begun) = (daemon.cpu_time()?, clock::now());
    clock::pause(Duration::from_secs(options.seconds));
    let used = daemon.cpu_time()?.saturating_sub(before);
    let elapsed = begun.elapsed();
    guest.send_line("done")?;
    guest.wait()?.require_success()?;
    daemon.stop()?;
    Ok(100.0 * used.as_secs_f64() / elapsed.as_secs_f64())
}
