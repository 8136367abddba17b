//! `bench sustained`: random writes without end on a drive in memory, in this process. First the drive is empty, and a write costs what
//! it costs (the burst); then garbage collection has to make room, and each write pays for what is moved.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use hdrhistogram::Histogram;
use media::geometry::GeometryConfig;
use media::ledger::Ledger;
use media::power::Random;
use media::ssd::{Ssd, SsdConfig, VolumeConfig};
use media::store::MemoryStore;
use media::{Fault, Lba, LbaRange, Media as _, Nanoseconds, Request, Source, Submitted, Token, VolumeId};
use traces::plot::{Axis, Format, Line, LineChart, Numbers, Scale, Stroke};

use crate::bars::Bar;
use crate::clock;

const UNIT: u32 = 4 << 10;
/// Planes of the default NAND times its page: what a page of a line is.
const PAGE_OF_LINE: u64 = 256 << 10;
/// Lines of 4 MiB, as a drive of a gibibyte has them.
const PAGES: u32 = 16;
/// Parts of a drive write that a point of the figure stands for.
const WINDOWS: u64 = 32;
/// The last drive writes are what is sustained.
const SETTLED: u64 = 2;
/// While collection moves less than this part of what the host writes, it is a burst: ageing leaves a line half collected.
const BURST_PART: u64 = 100;
/// S7: what has to be left of burst ÷ write amplification.
const BAR: Bar = Bar::AtLeast(0.9);
/// S7: a write waits at most for one line.
const LINES_MAX: Bar = Bar::AtMost(1.0);

/// How it is run.
#[derive(Args, Debug)]
pub struct Options {
    /// Size of the drive in MiB
    #[arg(long, default_value_t = 1024)]
    mebibytes: u64,
    /// Spare ÷ user in percent
    #[arg(long, default_value_t = 7)]
    spare: u32,
    /// How often the drive's size is written
    #[arg(long, default_value_t = 6)]
    drive_writes: u64,
    /// Where chance begins
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Draws throughput over time; the ending, .svg or .png, says how
    #[arg(long)]
    plot: Option<PathBuf>,
}

/// What the host writes: the same page again and again, which is in the processor's cache.
struct Page<'a>(&'a [u8]);

impl Source for Page<'_> {
    fn fill(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        into.copy_from_slice(&self.0[offset..offset + into.len()]);
        Ok(())
    }
}

/// A drive with one volume, and where its host's chance stands.
struct Drive {
    ssd: Ssd<MemoryStore>,
    blocks: u64,
    random: Random,
    page: Vec<u8>,
}

/// A part of the time.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// When it ended, in seconds.
    end: f64,
    seconds: f64,
    programmed: Ledger,
}

impl Window {
    fn host_gib(&self) -> f64 {
        self.programmed.host as f64 / self.seconds / f64::from(1 << 30)
    }

    fn collected_gib(&self) -> f64 {
        self.programmed.collected as f64 / self.seconds / f64::from(1 << 30)
    }
}

impl Drive {
    fn new(options: &Options) -> Result<Self> {
        let user_bytes = options.mebibytes << 20;
        let volume = VolumeConfig::new(UNIT, 0, user_bytes / u64::from(UNIT));
        let config = SsdConfig {
            geometry: GeometryConfig {
                user_bytes,
                unit_bytes: UNIT,
                pages_per_block: PAGES,
                spare_per_million_of_user: options.spare * 10_000,
                ..GeometryConfig::default()
            },
            volumes: vec![volume],
            ..SsdConfig::default()
        };
        let geometry = config.checked().context("this drive cannot be")?;
        let ssd = Ssd::create(config, MemoryStore::new(&geometry)?).context("this drive cannot be")?;
        let random = Random::new(options.seed);
        Ok(Self { ssd, blocks: volume.capacity_blocks, random, page: vec![0x5a; UNIT as usize] })
    }

    fn write(&mut self, lba: u64) -> Result<()> {
        let range = LbaRange::new(Lba(lba), 1);
        let request = Request::Write { range, from: &mut Page(&self.page), force: false };
        at_once(self.ssd.submit(Nanoseconds(0), Token(0), VolumeId(0), request))
    }

    fn write_anywhere(&mut self) -> Result<()> {
        let lba = self.random.below(self.blocks);
        self.write(lba)
    }

    /// All memory has been touched, as that of a drive that has been in use for long has, and nothing is mapped.
    fn age(&mut self) -> Result<()> {
        (0..self.blocks).try_for_each(|lba| self.write(lba))?;
        (0..self.blocks).try_for_each(|_| self.write_anywhere())?;
        let ranges = [LbaRange::new(Lba(0), self.blocks)];
        self.submit(Request::Deallocate { ranges: &ranges })?;
        // Lines are erased once the deallocation is durable.
        self.submit(Request::Flush)
    }

    fn submit(&mut self, request: Request<'_>) -> Result<()> {
        at_once(self.ssd.submit(Nanoseconds(0), Token(0), VolumeId(0), request))
    }

    fn ledger(&self) -> Ledger {
        self.ssd.status().ledger
    }
}

fn at_once(submitted: Submitted) -> Result<()> {
    match submitted {
        Submitted::Done(Ok(())) => Ok(()),
        other => bail!("a request in memory is done at once and well, not {other:?}"),
    }
}

/// Runs it; whether every bar was held.
///
/// # Errors
/// The drive fails, or the figure cannot be written.
pub fn run(options: &Options) -> Result<bool> {
    let mut drive = Drive::new(options)?;
    drive.age()?;
    let (windows, stalls) = timed(&mut drive, options)?;
    let most_moved = counted(&mut drive)?;
    let burst = windows.iter().take_while(|window| window.programmed.collected * BURST_PART < window.programmed.host);
    let burst = rate(&burst.copied().collect::<Vec<_>>()).context("collection began with the first write")?;
    let settled = &windows[windows.len() - usize::try_from(SETTLED * WINDOWS)?..];
    let sustained = rate(settled).context("nothing was written")?;
    let amplification = settled.iter().fold((0, 0), |(all, host), window| {
        (all + window.programmed.programs - window.programmed.metadata, host + window.programmed.host)
    });
    let amplification = amplification.0 as f64 / amplification.1 as f64;
    let part = sustained / (burst / amplification);
    let held = BAR.judge(Some(part));
    println!(
        "random 4 KiB writes on {} MiB with {} % spare, {} drive writes, seed {}",
        options.mebibytes, options.spare, options.drive_writes, options.seed
    );
    println!("burst                 {burst:8.3} GiB/s");
    println!("sustained             {sustained:8.3} GiB/s over the last {SETTLED} drive writes");
    println!(
        "write amplification   {amplification:8.3}, {:.1} % of it by collection",
        100.0 * (1.0 - 1.0 / amplification)
    );
    println!("sustained ÷ (burst ÷ write amplification)  {part:6.3}  {BAR}  {held}");
    let line_units = f64::from(PAGES) * PAGE_OF_LINE as f64 / f64::from(UNIT);
    let line_ns = line_units * f64::from(UNIT) / (burst * f64::from(1 << 30)) * 1e9;
    let in_lines = |quantile| stalls.value_at_quantile(quantile) as f64 / line_ns;
    let waits = LINES_MAX.judge(Some(in_lines(0.999)));
    println!(
        "a write takes: p50 {} ns, p99 {} ns, p99.9 {} ns, most {} ns; a line is written in {:.0} ns",
        stalls.value_at_quantile(0.5),
        stalls.value_at_quantile(0.99),
        stalls.value_at_quantile(0.999),
        stalls.max(),
        line_ns
    );
    println!("p99.9 of a write, in lines  {:8.4}  {LINES_MAX}  {waits}  (most {:.2})", in_lines(0.999), in_lines(1.0));
    let moved = most_moved as f64 / (line_units * f64::from(UNIT));
    let moves = LINES_MAX.judge(Some(moved));
    println!("most that one write moves, in lines  {moved:8.4}  {LINES_MAX}  {moves}");
    if let Some(path) = &options.plot {
        let format = Format::of_path(path).context("a figure's file ends in .svg or .png")?;
        let bytes = figure(&windows, burst / amplification).render(format)?;
        std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        println!("drawn: {}", path.display());
    }
    Ok([held, waits, moves].iter().all(|verdict| verdict.is_success()))
}

/// Writes for this many drive writes; the parts of the time, and the nanoseconds of single writes of the settled drive.
fn timed(drive: &mut Drive, options: &Options) -> Result<(Vec<Window>, Histogram<u64>)> {
    let mut windows = Vec::new();
    let mut stalls = Histogram::new_with_max(10_000_000_000, 3)?;
    let (begun, mut before) = (clock::now(), drive.ledger());
    let mut last = 0.0;
    for window in 0..options.drive_writes.max(SETTLED + 1) * WINDOWS {
        let settled = window >= options.drive_writes.saturating_sub(SETTLED) * WINDOWS;
        let mut write_begun = clock::now();
        for _ in 0..drive.blocks / WINDOWS {
            drive.write_anywhere()?;
            let write_ended = clock::now();
            if settled {
                stalls.saturating_record(u64::try_from((write_ended - write_begun).as_nanos())?);
            }
            write_begun = write_ended;
        }
        let (end, ledger) = (begun.elapsed().as_secs_f64(), drive.ledger());
        windows.push(Window { end, seconds: end - last, programmed: ledger.since(&before) });
        (last, before) = (end, ledger);
    }
    Ok((windows, stalls))
}

/// The most bytes that a single write moved, over half of a drive write: without a clock, and so the same each time.
fn counted(drive: &mut Drive) -> Result<u64> {
    let mut most = 0;
    let mut before = drive.ledger();
    for _ in 0..drive.blocks / 2 {
        drive.write_anywhere()?;
        let ledger = drive.ledger();
        let moved = ledger.since(&before);
        most = most.max(moved.collected + moved.wear);
        before = ledger;
    }
    Ok(most)
}

/// GiB a second of the host over some parts of the time.
fn rate(windows: &[Window]) -> Option<f64> {
    let (bytes, seconds) = windows
        .iter()
        .fold((0, 0.0), |(bytes, seconds), window| (bytes + window.programmed.host, seconds + window.seconds));
    (bytes > 0).then(|| bytes as f64 / seconds / f64::from(1 << 30))
}

fn figure(windows: &[Window], expected: f64) -> LineChart {
    let line = |name: &str, colour, stroke, of: &dyn Fn(&Window) -> f64| Line {
        name: name.to_owned(),
        colour,
        stroke,
        points: windows.iter().map(|window| (window.end, of(window))).collect(),
    };
    LineChart {
        title: "Random 4 KiB writes on a drive that was empty, over time".to_owned(),
        x: Axis { label: "seconds".to_owned(), scale: Scale::Linear, numbers: Numbers::Plain },
        y: Axis { label: "GiB/s".to_owned(), scale: Scale::Linear, numbers: Numbers::Plain },
        lines: vec![
            line("written by the host", 0, Stroke::Solid, &Window::host_gib),
            line("moved by collection", 1, Stroke::Solid, &Window::collected_gib),
            line("burst ÷ WAF", 6, Stroke::Dashed, &|_| expected),
        ],
    }
}
