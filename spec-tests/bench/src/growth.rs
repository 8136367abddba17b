//! `bench growth`: what a command costs the device when there is more of something: queues, controllers, namespaces, commands at a time,
//! media. And whether two devices on two processors do twice the work of one.

use std::path::PathBuf;
use std::sync::Barrier;
use std::thread;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use media::geometry::GeometryConfig;
use media::ssd::{Ssd, SsdConfig, VolumeConfig};
use nvme_spec::opcode::NvmOpcode;
use traces::experiments::HollowStore;
use traces::plot::{Axis, Format, Line, LineChart, Numbers, Scale, Stroke};

use crate::bars::{Bar, median};
use crate::clock;
use crate::cores::{Pair, WAITED_MAX, Watched};
use crate::lanes::Lanes;

/// Bytes that commands touch, of all namespaces together: they fit a processor's cache, so that growth is seen and not misses.
const EXTENT: u64 = 4 << 20;
const GIB: u64 = 1 << 30;
/// Commands of a batch, where their number is not what grows.
const DEPTH: u64 = 32;
/// A command may cost so much more than where there is little of everything.
const GROWTH_MAX: Bar = Bar::AtMost(1.25);
/// Two devices on two processors.
const TWO_MIN: Bar = Bar::AtLeast(1.8);

/// How it is run.
#[derive(Args, Debug)]
pub struct Options {
    /// Rounds, each over everything
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Commands of each kind in a round
    #[arg(long, default_value_t = 8192)]
    commands: u64,
    /// Draws it; the ending, .svg or .png, says how
    #[arg(long)]
    plot: Option<PathBuf>,
}

/// How much there is of everything.
#[derive(Clone, Copy, Debug)]
struct Extent {
    controllers: u16,
    pairs: u16,
    namespaces: u32,
    depth: u64,
    media: u64,
}

const LITTLE: Extent = Extent { controllers: 1, pairs: 1, namespaces: 1, depth: DEPTH, media: GIB };

/// What grows.
struct Series {
    name: &'static str,
    /// How far: the number of times, and the device.
    extents: Vec<(u64, Extent)>,
    bar: Bar,
}

fn series() -> Vec<Series> {
    let doubling = |count: u32| (0..=count).map(|n| 1_u64 << n);
    let small = |n: u64| u16::try_from(n).expect("at most 64");
    let flat = |name, extents| Series { name, extents, bar: GROWTH_MAX };
    vec![
        flat(
            "queue pairs, 32 commands each",
            doubling(6).map(|n| (n, Extent { pairs: small(n), depth: n * DEPTH, ..LITTLE })).collect(),
        ),
        // The costs of a queue are shared by what lies in it: here, in the end, one command, and in each queue other lines of the cache.
        Series {
            name: "queue pairs, 32 commands in all",
            extents: doubling(6).map(|n| (n, Extent { pairs: small(n), ..LITTLE })).collect(),
            bar: Bar::None,
        },
        // One has a host; all are stepped, as in the device's loop.
        Series {
            name: "controllers, one of them busy",
            extents: [1, 2, 8, 32].map(|n| (n, Extent { controllers: small(n), ..LITTLE })).to_vec(),
            bar: Bar::None,
        },
        flat("namespaces", doubling(6).map(|n| (n, Extent { namespaces: small(n).into(), ..LITTLE })).collect()),
        flat("commands at a time", [32, 64, 128, 255].map(|depth| (depth, Extent { depth, ..LITTLE })).to_vec()),
        flat(
            "GiB of media",
            [1, 4, 16, 64, 256, 1024].map(|gib| (gib, Extent { media: gib * GIB, ..LITTLE })).to_vec(),
        ),
    ]
}

/// A point of a series with what was measured there.
struct Point {
    amount: u64,
    extent: Extent,
    lanes: Lanes,
    reads: Vec<f64>,
    writes: Vec<f64>,
}

/// Runs it; whether every bar was held.
///
/// # Errors
/// A device does not come up or fails, or the figure cannot be written.
pub fn run(options: &Options) -> Result<bool> {
    println!(
        "nanoseconds of the device for a command of 4 KiB, {} rounds in turn: median, and over the first",
        options.rounds
    );
    let mut held = true;
    let mut lines = Vec::new();
    for (index, Series { name, extents, bar }) in series().into_iter().enumerate() {
        let mut points =
            extents.into_iter().map(|(amount, extent)| Point::new(amount, extent)).collect::<Result<Vec<_>>>()?;
        for _ in 0..options.rounds {
            // In turn, so that a change of the machine hits all of them.
            points.iter_mut().try_for_each(|point| point.measure(options.commands))?;
        }
        held &= print(name, bar, &points);
        lines.extend(drawn(name, index, &points));
    }
    if let Some(path) = &options.plot {
        let format = Format::of_path(path).context("a figure's file ends in .svg or .png")?;
        std::fs::write(path, figure(lines).render(format)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!("drawn: {}", path.display());
    }
    let two = two_devices(options)?;
    let verdict = TWO_MIN.judge(two);
    let two = two.map_or_else(|| "?".to_owned(), |two| format!("{two:.2}"));
    println!("two devices on two processors     {two:>5} × one  {TWO_MIN}  {verdict}");
    Ok(held && verdict.is_success())
}

/// A drive that forgets data: what it copies lies in a cache, and what is measured is deciding where.
fn drive(extent: &Extent) -> Result<Ssd<HollowStore>> {
    let block_bytes = 4096;
    let blocks = extent.media / u64::from(block_bytes) / u64::from(extent.namespaces);
    let volume = VolumeConfig::new(block_bytes, 0, blocks);
    let config = SsdConfig {
        geometry: GeometryConfig { user_bytes: extent.media, ..GeometryConfig::default() },
        volumes: vec![volume; extent.namespaces as usize],
        ..SsdConfig::default()
    };
    let geometry = config.checked().map_err(|error| anyhow!(error.0))?;
    Ssd::create(config, HollowStore::new(&geometry)).map_err(|error| anyhow!(error.0))
}

impl Point {
    fn new(amount: u64, extent: Extent) -> Result<Self> {
        let mut lanes =
            Lanes::new(drive(&extent)?, extent.controllers, extent.pairs, EXTENT / u64::from(extent.namespaces))?;
        lanes.fill()?;
        Ok(Self { amount, extent, lanes, reads: Vec::new(), writes: Vec::new() })
    }

    fn measure(&mut self, commands: u64) -> Result<()> {
        self.reads.push(self.lanes.measure(NvmOpcode::READ, self.extent.depth, commands)?);
        self.writes.push(self.lanes.measure(NvmOpcode::WRITE, self.extent.depth, commands)?);
        Ok(())
    }
}

/// Medians of a series, for reads and for writes.
fn medians(points: &[Point]) -> [Vec<f64>; 2] {
    let of = |times: fn(&Point) -> &Vec<f64>| points.iter().filter_map(|point| median(times(point).clone())).collect();
    [of(|point| &point.reads), of(|point| &point.writes)]
}

fn print(name: &str, bar: Bar, points: &[Point]) -> bool {
    let mut held = true;
    let [reads, writes] = medians(points);
    println!("{name:>31}    read   ratio   write   ratio");
    for (point, (read, write)) in points.iter().zip(reads.iter().zip(&writes)) {
        let ratios = [read / reads[0], write / writes[0]];
        let verdict = bar.judge(Some(ratios[0].max(ratios[1])));
        held &= verdict.is_success();
        println!(
            "{:31}  {read:6.1}  {:6.2}  {write:6.1}  {:6.2}  {bar:6}  {verdict}",
            point.amount, ratios[0], ratios[1]
        );
    }
    held
}

fn drawn(name: &str, colour: usize, points: &[Point]) -> [Line; 2] {
    let [reads, writes] = medians(points);
    let line = |what: &str, stroke, times: Vec<f64>| Line {
        name: format!("{name}, {what}"),
        colour,
        stroke,
        points: points.iter().map(|point| point.amount as f64).zip(times.iter().map(|time| time / times[0])).collect(),
    };
    [line("read", Stroke::Solid, reads), line("write", Stroke::Dashed, writes)]
}

fn figure(lines: Vec<Line>) -> LineChart {
    LineChart {
        title: "What a command costs when there is more of something".to_owned(),
        x: Axis { label: "how many".to_owned(), scale: Scale::Log2, numbers: Numbers::Plain },
        y: Axis { label: "over the cost with the fewest".to_owned(), scale: Scale::Linear, numbers: Numbers::Plain },
        lines,
    }
}

/// How much more two devices do than one, each with its host in a thread of its own: the median of the rounds in which nobody else
/// took a processor away.
fn two_devices(options: &Options) -> Result<Option<f64>> {
    let pair = Pair::find()?;
    let both = Barrier::new(2);
    let (one, other) = thread::scope(|scope| {
        let other = scope.spawn(|| second_controller(options, pair, &both));
        (first_controller(options, pair, &both), other.join().expect("nothing in it panics"))
    });
    let rounds = one?.into_iter().zip(other?);
    let quiet = rounds.filter(|([alone, beside], other)| [alone, beside, other].iter().all(|pass| pass.is_quiet()));
    Ok(median(quiet.map(|([alone, beside], other)| (beside.rate + other.rate) / alone.rate).collect()))
}

/// Works alone and then beside the other one, round after round: whatever happens, because the other thread waits at the barrier.
fn first_controller(options: &Options, pair: Pair, both: &Barrier) -> Result<Vec<[Pass; 2]>> {
    let mut point = pair.take_host().and_then(|()| Point::new(1, LITTLE));
    let passes = (0..options.rounds).map(|_| {
        both.wait();
        let alone = Pass::new(&mut point, options.commands);
        both.wait();
        Ok([alone?, Pass::new(&mut point, options.commands)?])
    });
    passes.collect::<Vec<_>>().into_iter().collect()
}

/// Works beside the first one only.
fn second_controller(options: &Options, pair: Pair, both: &Barrier) -> Result<Vec<Pass>> {
    let mut point = pair.take_device().and_then(|()| Point::new(1, LITTLE));
    let passes = (0..options.rounds).map(|_| {
        both.wait();
        both.wait();
        Pass::new(&mut point, options.commands)
    });
    passes.collect::<Vec<_>>().into_iter().collect()
}

/// Host and device at work in one thread.
struct Pass {
    /// Commands a second, reads and writes alike.
    rate: f64,
    /// The part of the time in which the thread had no processor.
    waited: f64,
}

impl Pass {
    fn new(point: &mut Result<Point>, commands: u64) -> Result<Self> {
        let point = point.as_mut().map_err(|error| anyhow!("{error:#}"))?;
        let thread = Watched::this_thread();
        let (before, begun) = (thread.waited()?, clock::now());
        point.measure(commands)?;
        let taken = begun.elapsed().as_secs_f64();
        let waited = (thread.waited()? - before).as_secs_f64();
        Ok(Self { rate: 2.0 * commands as f64 / taken, waited: waited / taken })
    }

    fn is_quiet(&self) -> bool {
        self.waited <= WAITED_MAX
    }
}
