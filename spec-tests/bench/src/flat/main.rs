//! The process behind `bench socket --flat`: the product's controller and vfio-user server over a [`FlatMedia`], attended to by the
//! shortest loop that can. It takes the place of `brownout serve`, with as much of its command line as the bench needs.

#![forbid(unsafe_code)]

#[path = "../clock.rs"]
#[expect(dead_code, reason = "the bench uses all of it")]
mod clock;
#[path = "../flat_memory.rs"]
#[expect(dead_code, reason = "the bench uses all of it")]
mod flat_memory;
mod media;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use ::media::Nanoseconds;
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::{Parser, Subcommand};
use controller::config::{Config, DeviceOptions, Doorbells, NamespaceOptions};
use controller::dma::DoorbellPage;
use controller::{Clock, ControllerId, Effect, Subsystem};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vfio::{Function, Server, ServerConfig};

use media::{FlatMedia, Size};

/// A media that is nothing but memory, behind the product's controller and socket.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// As `brownout serve` is told
    Serve(Options),
}

/// As `brownout serve` is told.
#[derive(clap::Args, Debug)]
struct Options {
    /// Where to listen
    #[arg(long)]
    socket: PathBuf,
    /// Must be doorbells=mapped
    #[arg(long)]
    device: String,
    /// size=256MiB,lba=4096 (repeatable)
    #[arg(long)]
    namespace: Vec<String>,
}

const ID: ControllerId = ControllerId::FIRST;
/// Steps between two looks at the socket, messages of a look, and how long to spin without work: as the product does.
const STEPS_PER_LOOK: u32 = 16;
const MESSAGES: usize = 64;
const SPIN: Nanoseconds = Nanoseconds(200_000);
/// How long it sleeps where there is nothing to do.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// Serves until it is killed.
fn main() -> Result<()> {
    let Verb::Serve(options) = Arguments::parse().verb;
    ensure!(options.device == "doorbells=mapped", "--device {}: flat has only doorbells=mapped", options.device);
    let sizes = options.namespace.iter().map(|text| size(text)).collect::<Result<Vec<_>>>()?;
    let socket = options.socket;
    // It has the name by which the bench finds the product's.
    let thread = thread::Builder::new().name("device".to_owned()).spawn(move || attend(&socket, &sizes))?;
    thread.join().map_err(|_| anyhow!("the device's thread panicked"))?
}

/// A namespace as `--namespace` says it.
fn size(text: &str) -> Result<Size> {
    let (mut bytes, mut block_bytes) = (None, 512);
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("size", value)) => bytes = Some(self::bytes(value)?),
            Some(("lba", value)) => block_bytes = u32::try_from(self::bytes(value)?)?,
            _ => bail!("--namespace {text}: flat knows size= and lba="),
        }
    }
    let bytes = bytes.with_context(|| format!("--namespace {text}: give size="))?;
    let possible = block_bytes.is_power_of_two() && bytes > 0 && bytes.is_multiple_of(block_bytes.into());
    ensure!(possible, "--namespace {text}: a size is a multiple of a power of two");
    Ok(Size { block_bytes, blocks: bytes / u64::from(block_bytes) })
}

/// A number of bytes, perhaps in KiB, MiB or GiB.
fn bytes(text: &str) -> Result<u64> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let (number, shift) =
        units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift))).unwrap_or((text, 0));
    let number: u64 = number.parse().with_context(|| format!("{text} is no number of bytes"))?;
    Ok(number << shift)
}

/// Nanoseconds since it was made.
struct Since(Instant);

impl Clock for Since {
    fn now(&self) -> Nanoseconds {
        Nanoseconds(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

fn attend(socket: &Path, sizes: &[Size]) -> Result<()> {
    let options = DeviceOptions { doorbells: Doorbells::Mapped, ..DeviceOptions::default() };
    let config = Config::check(&options, &vec![NamespaceOptions::default(); sizes.len()])?;
    let server =
        ServerConfig { doorbells: vfio::Doorbells::Mapped, vectors: config.vectors, ..ServerConfig::default() };
    let mut server = Server::bind(socket, &server)?;
    let mut subsystem = Subsystem::with_controllers(config, Box::new(FlatMedia::new(sizes)?), 1);
    println!("# ready: a flat media at {}", socket.display());
    let clock = Since(clock::now());
    let (mut now, mut last_work, mut steps) = (clock.now(), clock.now(), 0);
    loop {
        let page = server.doorbells().map(|page| page as &dyn DoorbellPage);
        let mut worked = subsystem.step_by(ID, now, &clock, server.memory(), page).worked;
        for effect in subsystem.controller_mut(ID).take_effects() {
            if let Effect::Message { vector } = effect {
                server.signal_message(vector);
            }
        }
        now = clock.now();
        if worked {
            subsystem.step_ended(now);
        }
        steps += 1;
        if steps >= STEPS_PER_LOOK {
            steps = 0;
            subsystem.tell_time(now);
            worked |= server.service(&mut Function { subsystem: &mut subsystem, id: ID }, MESSAGES)?.messages > 0;
            now = clock.now();
        }
        if worked {
            last_work = now;
        } else if now > last_work.plus(SPIN) {
            // Whatever ends it: the next look finds it.
            let _ = poll(&mut [PollFd::new(&server, PollFlags::IN)], Some(&PAUSE));
            (now, steps) = (clock.now(), STEPS_PER_LOOK);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_read_as_the_product_reads_them() {
        let read = |text| size(text).ok().map(|size| (size.block_bytes, size.blocks));
        assert_eq!(read("size=256MiB,lba=4096"), Some((4096, 65536)));
        assert_eq!(read("size=1GiB,lba=4KiB"), Some((4096, 262_144)));
        assert_eq!(read("size=1024"), Some((512, 2)));
        for wrong in ["lba=512", "size=1000", "size=0", "size=1MiB,lba=3", "size=1MiB,ms=8", "size=x", ""] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
