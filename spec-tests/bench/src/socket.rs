//! `bench socket`: what a guest with a polling driver could get. A daemon on one processor, a host on the other, queues and data in
//! memory that both map, doorbells in the mapped page.

mod compared;
mod polled;
mod report;
mod rows;
mod slices;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use guest_harness::Brownout;
use tape::{Entry, Reader};

use crate::bars::{Bar, Verdict, median};
use crate::copy::Copier;
use crate::cores::{Pair, WAITED_MAX, Watched};
use crate::daemon::Served;
use crate::mapped_port::MappedPort;
use crate::polling_host::{Description, Load, Measured, Order, PollingHost, Spread};

/// Rounds with a longer way between the processors do not count.
const ROUND_TRIP_MAX: Duration = Duration::from_nanos(150);

/// How it is run.
#[derive(Args, Debug)]
pub struct Options {
    /// Rounds of each load
    #[arg(long, default_value_t = 9)]
    rounds: u32,
    /// Length of a round in milliseconds
    #[arg(long, default_value_t = 200)]
    milliseconds: u64,
    /// Only loads whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Only this queue depth
    #[arg(long)]
    depth: Option<u16>,
    /// What --device takes
    #[arg(long, default_value = "doorbells=mapped")]
    device: String,
    /// What --media takes; op=100% without --flat, and the defaults with it
    #[arg(long)]
    media: Option<String>,
    /// What --namespace takes; size=256MiB,lba=4096 without --flat, and several drives with it
    #[arg(long)]
    namespace: Option<String>,
    /// What --trace takes: no limit holds then (repeatable)
    #[arg(long)]
    trace: Vec<String>,
    /// Only this: random writes at queue depth 32, without a tape and with one to a file in this folder, which should be in memory
    #[arg(long, value_name = "FOLDER")]
    tape: Option<PathBuf>,
    /// Only this: random reads at queue depth 32 (or --only, --depth), by turns without and with a client of --http that asks each second
    #[arg(long)]
    watched: bool,
    /// The long table: sizes, depths, queue pairs, beside the same controller over a media that is nothing but memory and beside a loop that
    /// does nothing but copy, by turns
    #[arg(long)]
    flat: bool,
    /// With --flat: the table for programs
    #[arg(long, requires = "flat")]
    json: bool,
}

impl Options {
    fn media(&self) -> &str {
        self.media.as_deref().unwrap_or("op=100%")
    }

    fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("size=256MiB,lba=4096")
    }
}

/// What a tape may leave of the rate.
const RATE_WITH_TAPE: f64 = 0.75;

/// A load with its name and its bar, in millions of commands a second, or in GiB a second.
struct Case {
    name: &'static str,
    load: Load,
    bytes: f64,
    bar: Bar,
}

/// One round of a load.
struct Round {
    measured: Measured,
    round_trip: Duration,
    /// The part of the time that a party waited for its processor: the worse of both.
    waited: f64,
    /// How often the device went to sleep while commands were outstanding.
    sleeps: u64,
}

/// Runs it; whether every bar was held.
///
/// # Errors
/// The daemon cannot be started, or fails.
pub fn run(options: &Options) -> Result<bool> {
    let pair = Pair::find()?;
    if let Some(folder) = &options.tape {
        return with_tape(options, pair, folder);
    }
    if options.watched {
        return polled::run(options, pair);
    }
    if options.flat {
        return compared::run(options, pair);
    }
    let (daemon, mut host) = start(options, pair, None)?;
    let mut copier = Copier::new();
    println!(
        "two processes over the socket, {}, {}; {} rounds of {} ms each; best and median of the rounds that count",
        options.namespace(),
        options.media(),
        options.rounds,
        options.milliseconds
    );
    println!("{}\n{HEAD}", copier.measure());
    let mut held = true;
    for case in cases(host.block_bytes()) {
        let wanted = case.name.contains(&options.only) && options.depth.is_none_or(|depth| depth == case.load.depth);
        if !wanted {
            continue;
        }
        let rounds = (0..options.rounds)
            .map(|_| round(&mut host, &daemon, pair, &case.load, Duration::from_millis(options.milliseconds)))
            .collect::<Result<Vec<_>>>()?;
        let line = Line { case: &case, rounds: &rounds };
        println!("{line}");
        held &= line.verdict().is_success();
    }
    println!("{}", copier.measure());
    drop(host);
    daemon.stop()?;
    Ok(held)
}

/// A drive that is full, and the host that uses it.
fn start(options: &Options, pair: Pair, tape: Option<&Path>) -> Result<(Brownout, PollingHost)> {
    start_with(options, pair, tape, None)
}

/// The same, perhaps watched at a socket.
fn start_with(
    options: &Options,
    pair: Pair,
    tape: Option<&Path>,
    http: Option<&Path>,
) -> Result<(Brownout, PollingHost)> {
    let drive = Served {
        device: options.device.clone(),
        namespaces: vec![options.namespace().to_owned()],
        media: options.media().to_owned(),
        traces: options.trace.clone(),
        tape: tape.map(Path::to_owned),
        http: http.map(Path::to_owned),
        binary: None,
    };
    let daemon = drive.start("bench-socket")?;
    pair.give_device(daemon.pid())?;
    pair.take_host()?;
    let mut host = PollingHost::new(MappedPort::host(daemon.socket())?)?;
    // Twice, because half of the memory is spare: where the system has to find a page first, a write takes ten microseconds.
    host.fill()?;
    host.fill()?;
    Ok((daemon, host))
}

/// What a tape costs: whether it leaves enough of the rate.
fn with_tape(options: &Options, pair: Pair, folder: &Path) -> Result<bool> {
    let folder = tempfile::tempdir_in(folder)?;
    let tape = folder.path().join("tape");
    println!("random writes at queue depth 32, without a tape and with one\n{HEAD}");
    let without = rates(options, pair, None)?;
    let with = rates(options, pair, Some(&tape))?;
    // A tape that ended early costs nothing from there on.
    let whole = Reader::open(&tape)?.last();
    ensure!(
        whole != Some(Entry::Broken),
        "the tape is not complete: its folder is full or too slow, or give fewer --rounds"
    );
    let (share, bar) = (without.zip(with).map(|(without, with)| with / without), Bar::AtLeast(RATE_WITH_TAPE));
    let shown = share.map_or_else(|| "-".to_owned(), |share| format!("{share:.3}"));
    println!("with a tape: {shown} of the rate, {bar}: {}; {} bytes of tape", bar.judge(share), tape.metadata()?.len());
    Ok(bar.judge(share).is_success())
}

/// The median rate of random writes at queue depth 32.
fn rates(options: &Options, pair: Pair, tape: Option<&Path>) -> Result<Option<f64>> {
    let (daemon, mut host) = start(options, pair, tape)?;
    let cases = cases(host.block_bytes());
    let case = cases.into_iter().find(|case| case.name == "random write" && case.load.depth == 32);
    let case = Case { bar: Bar::None, ..case.context("there is such a load")? };
    let rounds = (0..options.rounds)
        .map(|_| round(&mut host, &daemon, pair, &case.load, Duration::from_millis(options.milliseconds)))
        .collect::<Result<Vec<_>>>()?;
    let line = Line { case: &case, rounds: &rounds };
    println!("{line}");
    drop(host);
    daemon.stop()?;
    Ok(median(line.counted()))
}

fn round(host: &mut PollingHost, daemon: &Brownout, pair: Pair, load: &Load, time: Duration) -> Result<Round> {
    let parties = [Watched::this_thread(), Watched::by_name(daemon.pid(), "device")?];
    let before = pair.round_trip()?;
    let waited_before = parties.iter().map(Watched::waited).collect::<Result<Vec<_>>>()?;
    let mut sleeps = Vec::new();
    let measured = host.run_for(load, time, || sleeps.push(parties[1].sleeps()))?;
    let sleeps = sleeps.into_iter().collect::<Result<Vec<_>>>()?;
    let slept = sleeps.last().zip(sleeps.first()).map_or(0, |(last, first)| last - first);
    let waited_after = parties.iter().map(Watched::waited).collect::<Result<Vec<_>>>()?;
    let waited = waited_before.iter().zip(&waited_after).map(|(before, after)| after.saturating_sub(*before)).max();
    let waited = waited.unwrap_or_default().as_secs_f64() / measured.elapsed.as_secs_f64();
    Ok(Round { measured, round_trip: before.max(pair.round_trip()?), waited, sleeps: slept })
}

/// Large commands first, while what is neighbouring on the drive lies together: it was filled in order, as benches of drives have it.
fn cases(block_bytes: u32) -> Vec<Case> {
    let large = |name, read_percent, description, bar| {
        let blocks = (128 << 10) / block_bytes;
        let (order, spread) = (Order::Sequential, Spread::ONE);
        let load = Load { read_percent, order, blocks, description, depth: 32, spread };
        Case { name, load, bytes: f64::from(128 << 10), bar }
    };
    let mut cases = vec![
        large("128 KiB read, PRP", 100, Description::Prp, Bar::AtLeast(28.0)),
        large("128 KiB read, SGL", 100, Description::Sgl, Bar::AtLeast(28.0)),
        large("128 KiB write, PRP", 0, Description::Prp, Bar::None),
        large("128 KiB write, SGL", 0, Description::Sgl, Bar::None),
    ];
    let small = [("random read", 100, 0.8, 2.5), ("random write", 0, 0.8, 3.2), ("random 70/30", 70, 0.8, 2.5)];
    for (name, read_percent, bar_alone, bar) in small {
        for depth in [1, 32, 128] {
            let bar = match (read_percent, depth) {
                (70, _) => Bar::None,
                (_, 1) => Bar::AtLeast(bar_alone),
                _ => Bar::AtLeast(bar),
            };
            let blocks = 4096 / block_bytes;
            let (order, description, spread) = (Order::Random, Description::Prp, Spread::ONE);
            let load = Load { read_percent, order, blocks, description, depth, spread };
            cases.push(Case { name, load, bytes: 4096.0, bar });
        }
    }
    cases.push(large("128 KiB, scattered", 100, Description::Prp, Bar::None));
    cases
}

impl Case {
    /// What a rate is shown as: millions a second for small commands, GiB a second for large ones.
    fn number(&self, measured: &Measured) -> f64 {
        match self.load.order {
            Order::Random => measured.rate() / 1e6,
            Order::Sequential => measured.rate() * self.bytes / f64::from(1 << 30),
        }
    }

    fn unit(&self) -> &'static str {
        match self.load.order {
            Order::Random => "M/s",
            Order::Sequential => "GiB/s",
        }
    }
}

impl Round {
    fn counts(&self) -> bool {
        self.round_trip <= ROUND_TRIP_MAX && self.waited <= WAITED_MAX
    }
}

const HEAD: &str = "load                 QD  counting     best   median  unit    all: best  p50 µs  p99 µs  p99.9 µs  \
    trip, ns     waited  sleeps  bar     verdict";

/// The fewest sleeps of a round that counts.
fn shown_count(count: Option<u64>) -> String {
    count.map_or_else(|| "-".to_owned(), |count| count.to_string())
}

struct Line<'a> {
    case: &'a Case,
    rounds: &'a [Round],
}

impl Line<'_> {
    fn counted(&self) -> Vec<f64> {
        self.rounds.iter().filter(|round| round.counts()).map(|round| self.case.number(&round.measured)).collect()
    }

    fn verdict(&self) -> Verdict {
        // In some rounds the host is held up, and the device has nothing to do meanwhile; not in all of them.
        match self.sleeps().min() {
            Some(1..) => Verdict::Missed,
            _ => self.case.bar.judge(median(self.counted())),
        }
    }

    /// Sleeps with commands outstanding, in the rounds that count.
    fn sleeps(&self) -> impl Iterator<Item = u64> {
        self.rounds.iter().filter(|round| round.counts()).map(|round| round.sleeps)
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let case = self.case;
        let counted = self.counted();
        let shown = |number: Option<f64>| number.map_or_else(|| "-".to_owned(), |number| format!("{number:.3}"));
        let best = counted.iter().copied().max_by(f64::total_cmp);
        let fastest = self.rounds.iter().max_by(|one, other| one.measured.rate().total_cmp(&other.measured.rate()));
        let Some(fastest) = fastest else { return Ok(()) };
        let quantile = |part| fastest.measured.latency.value_at_quantile(part) as f64 / 1e3;
        let trips = || self.rounds.iter().map(|round| round.round_trip.as_nanos());
        let (shortest, longest) = (trips().min().unwrap_or(0), trips().max().unwrap_or(0));
        let waited = self.rounds.iter().map(|round| round.waited).fold(0.0, f64::max);
        write!(
            formatter,
            "{:18}  {:4}  {:3} of {:2}  {:>7}  {:>7}  {:6}  {:9.3}  {:6.2}  {:6.1}  {:8.1}  {:>9}  {:7.1} %  {:>6}  {:6}  {}",
            case.name,
            case.load.depth,
            counted.len(),
            self.rounds.len(),
            shown(best),
            shown(median(counted)),
            case.unit(),
            case.number(&fastest.measured),
            quantile(0.5),
            quantile(0.99),
            quantile(0.999),
            format!("{shortest}-{longest}"),
            waited * 100.0,
            shown_count(self.sleeps().min()),
            case.bar,
            self.verdict()
        )
    }
}
