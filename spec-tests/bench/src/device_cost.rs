//! What a command costs the device's processor: host half and device take turns in one thread, and only the device's half is timed,
//! beside the stripped loop in the same minute.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use controller::dma::{DoorbellPage, GuestMemory};
use media::power::Random;
use nvme_host::Host;
use nvme_spec::opcode::NvmOpcode;
use tape::{Taped, Writer};

use crate::drive::{Device, GUEST_BYTES, Written, drive};
use crate::flat_memory::{FlatPage, HugeMemory, guest_memory};
use crate::ring::{BATCH, Pointer, Ring, Work};
use crate::shared_memory;
use crate::stripped::Stripped;

/// Options of `bench device-cost`.
#[derive(Args, Debug)]
pub struct Options {
    /// Rounds of each, in turn.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Commands of a round.
    #[arg(long, default_value_t = 160_000)]
    commands: usize,
    /// What guest memory is: a flat buffer, or shared memory by way of the vfio-user server's table.
    #[arg(long, value_enum, default_value_t = Memory::Flat)]
    memory: Memory,
    /// Only the working set in the processor's cache, or only the large one.
    #[arg(long, value_enum)]
    extent: Option<Extent>,
    /// Bytes of the large working set, in MiB.
    #[arg(long, default_value_t = 4096)]
    large: u64,
    /// Only reads, or only writes.
    #[arg(long)]
    only: Option<Direction>,
    /// The drive writes a tape to a file in this folder, which should be in memory.
    #[arg(long, value_name = "FOLDER")]
    tape: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Memory {
    Flat,
    Shared,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Extent {
    Cache,
    Large,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Direction {
    Read,
    Write,
}

/// The working set of the small drive.
const CACHE_BYTES: u64 = 16 << 20;
/// Writes to the small drive go to a part of it, so that collection has nothing to move and the log stays in the cache.
const CACHE_WRITE_BYTES: u64 = 2 << 20;

/// Runs the bench.
///
/// # Errors
/// There is not enough memory, or the drive does not come up.
pub fn run(options: &Options) -> anyhow::Result<()> {
    println!(
        "ns a command on the device's side, batches of {BATCH}, {} rounds of {} commands in turn: best (median)",
        options.rounds, options.commands
    );
    println!("{:34} {:>15} {:>15} {:>13} {:>6}", "", "stripped", "drive", "ratio", "WAF");
    for extent in [Extent::Cache, Extent::Large] {
        if options.extent.is_some_and(|wanted| wanted != extent) {
            continue;
        }
        let bytes = if extent == Extent::Cache { CACHE_BYTES } else { options.large << 20 };
        match options.memory {
            Memory::Flat => {
                let memory = guest_memory(GUEST_BYTES)?;
                measure(options, extent, bytes, &mut start(options, bytes, memory, FlatPage::default())?)?;
            }
            Memory::Shared => {
                let (memory, page) = shared_memory::new(GUEST_BYTES)?;
                measure(options, extent, bytes, &mut start(options, bytes, memory, page)?)?;
            }
        }
    }
    Ok(())
}

/// A device over a full drive, with a tape where one is wanted.
fn start<M: GuestMemory, D: DoorbellPage>(
    options: &Options,
    bytes: u64,
    memory: M,
    page: D,
) -> anyhow::Result<Host<Device<M, D>>> {
    let drive = drive(bytes)?;
    let Some(folder) = &options.tape else { return Device::start(drive, memory, page) };
    let writer = Writer::new(tempfile::tempfile_in(folder)?)?;
    let taped = Taped::new(Box::new(drive), writer).with_copy_non_temporal(guest_memory::copy_past_caches);
    Device::start(taped, memory, page)
}

/// Nanoseconds that the thread of a tape has had a processor, if there is one.
fn time_of_tape() -> Option<u64> {
    let of = |thread: fs::DirEntry| {
        let is_tape = fs::read_to_string(thread.path().join("comm")).ok()?.trim() == "tape";
        let told = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        told.split(' ').next().filter(|_| is_tape)?.parse().ok()
    };
    fs::read_dir("/proc/self/task").ok()?.flatten().find_map(of)
}

fn measure<M: GuestMemory, D: DoorbellPage>(
    options: &Options,
    extent: Extent,
    bytes: u64,
    host: &mut Host<Device<M, D>>,
) -> anyhow::Result<()> {
    // The floor has guest memory of its own, laid out alike.
    let floor_memory = guest_memory(GUEST_BYTES)?;
    let ring = host.port().ring.clone();
    let mut floor_ring = Ring::new(ring.submission, ring.completion, ring.entries, ring.buffers);
    let mut floor = Stripped::new(usize::try_from(bytes)?, &floor_ring)?;
    for (direction, opcode) in [(Direction::Read, NvmOpcode::READ), (Direction::Write, NvmOpcode::WRITE)] {
        for size in [512, 4096] {
            if options.only.is_some_and(|wanted| wanted != direction) {
                continue;
            }
            let small = extent == Extent::Cache && direction == Direction::Write;
            let work = Work {
                opcode,
                bytes: size,
                extent: if small { CACHE_WRITE_BYTES } else { bytes },
                sequential: false,
                pointer: Pointer::Prp,
            };
            let batches = options.commands.div_ceil(usize::from(BATCH));
            let before = Written::now(host)?;
            let (mut floors, mut drives) = (Vec::new(), Vec::new());
            let tape_before = time_of_tape();
            for round in 0..options.rounds {
                let mut random = Random::new(round as u64 + 1);
                floors.push(time_floor(
                    &mut floor,
                    &mut floor_ring,
                    &floor_memory,
                    &work,
                    &mut random.clone(),
                    batches,
                ));
                drives.push(time_drive(host.port_mut(), &work, &mut random, batches));
            }
            let waf = Written::now(host)?.amplification_since(before);
            let commands = (batches * usize::from(BATCH) * options.rounds) as u64;
            print_row(extent, &work, &mut floors, &mut drives, (direction == Direction::Write).then_some(waf));
            if let Some((before, after)) = tape_before.zip(time_of_tape()) {
                println!("{:34} the tape's thread: {} ns a command", "", (after - before) / commands.max(1));
            }
        }
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a bench measures wall-clock time")]
fn now() -> Instant {
    Instant::now()
}

/// Sums the times of batches. One that took very long lost its processor to somebody else, and says nothing of us.
#[derive(Default)]
struct Stopwatch {
    spent: u128,
    batches: usize,
}

/// Longer than any batch takes: half a millisecond.
const INTERRUPTED: u128 = 500_000;

impl Stopwatch {
    fn time(&mut self, work: impl FnOnce()) {
        let start = now();
        work();
        let spent = start.elapsed().as_nanos();
        if spent < INTERRUPTED {
            self.spent += spent;
            self.batches += 1;
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "nanoseconds for people to read")]
    fn per_command(&self) -> f64 {
        self.spent as f64 / (self.batches * usize::from(BATCH)).max(1) as f64
    }
}

fn time_floor(
    floor: &mut Stripped,
    ring: &mut Ring,
    memory: &HugeMemory,
    work: &Work,
    random: &mut Random,
    batches: usize,
) -> f64 {
    let mut stopwatch = Stopwatch::default();
    for _ in 0..batches {
        ring.prepare(memory, work, random);
        stopwatch.time(|| floor.device_half(&mut memory.bytes()));
        ring.reap(memory, work);
    }
    stopwatch.per_command()
}

fn time_drive<M: GuestMemory, D: DoorbellPage>(
    device: &mut Device<M, D>,
    work: &Work,
    random: &mut Random,
    batches: usize,
) -> f64 {
    let mut stopwatch = Stopwatch::default();
    for _ in 0..batches {
        device.prepare(work, random);
        stopwatch.time(|| device.device_half());
        device.reap(work);
    }
    stopwatch.per_command()
}

fn print_row(extent: Extent, work: &Work, floors: &mut [f64], drives: &mut [f64], waf: Option<f64>) {
    floors.sort_by(f64::total_cmp);
    drives.sort_by(f64::total_cmp);
    let what = if work.opcode == NvmOpcode::READ { "read" } else { "write" };
    let place = if extent == Extent::Cache { "from cache" } else { "over the large set" };
    let name = format!("random {what} {} B, {place}", work.bytes);
    let middle = floors.len() / 2;
    let pair = |values: &[f64]| format!("{:7.1} ({:5.1})", values[0], values[middle]);
    let ratio = format!("{:.2} ({:.2})", drives[0] / floors[0], drives[middle] / floors[middle]);
    let waf = waf.map_or(String::new(), |waf| format!("{waf:.2}"));
    println!("{name:34} {:>15} {:>15} {ratio:>13} {waf:>6}", pair(floors), pair(drives));
}
