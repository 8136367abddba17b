//! `bench fairness`: whatever a guest has in one queue, or peers of the control socket ask for, how long another queue, an order and
//! SIGTERM wait. Real time over the real socket; the model of it is in the conformance suite.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use guest_harness::Brownout;
use nvme_host::Host;
use nvme_host::io::{block_command, nvm_command};
use nvme_spec::Command;
use nvme_spec::command::{DATASET_DEALLOCATE, DatasetRange};
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::sgl::{SglDescriptor, SglType};
use zerocopy::IntoBytes as _;

use crate::bars::Bar;
use crate::clock;
use crate::cores::Watched;
use crate::mapped_port::MappedPort;

/// Bars, in milliseconds: a Read of 4 KiB by another queue, an order, SIGTERM.
const READ_MAX: f64 = 10.0;
const ORDER_MAX: f64 = 100.0;
const TERM_MAX: f64 = 100.0;
/// Commands of the queue that is full.
const FLOOD: u64 = 255;
/// Guest memory of zeroes for lists: 131,072 descriptors.
const SCRATCH: u32 = 2 << 20;
/// Peers of the control socket that ask without end.
const PEERS: usize = 31;
/// Between two Reads, and between two orders.
const PAUSE: Duration = Duration::from_millis(2);
/// Between two looks for an answer, so that the processor is the device's.
const LOOK: Duration = Duration::from_micros(50);
/// A Read or order during which the device waited longer for its processor was disturbed by others, and does not count.
const WAITED_MAX: Duration = Duration::from_millis(1);
/// What takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(120);

/// How it is run.
#[derive(Args, Debug)]
pub struct Options {
    /// Seconds of each attack
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Only attacks whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// The size of the namespace that is attacked
    #[arg(long, default_value = "1TiB")]
    size: String,
}

/// Makes the n-th command, with memory of [`SCRATCH`] bytes that all share.
type Make = fn(&mut Host<MappedPort>, u64, u64) -> Command;

/// What is done to the device: commands in queue 1, or nothing there and peers instead.
struct Attack {
    name: &'static str,
    commands: Option<Make>,
    peers: usize,
}

const ATTACKS: [Attack; 6] = [
    Attack { name: "nothing", commands: None, peers: 0 },
    Attack { name: "Dataset Management, 256 × everything", commands: Some(deallocate), peers: 0 },
    Attack { name: "Write Uncorrectable, 65536 blocks", commands: Some(uncorrectable), peers: 0 },
    Attack { name: "Write Zeroes, 65536 blocks", commands: Some(zeroes), peers: 0 },
    Attack { name: "131072 empty SGL descriptors", commands: Some(empty_descriptors), peers: 0 },
    Attack { name: "31 peers, query-schema", commands: None, peers: PEERS },
];

/// Runs it; whether every bar was held.
///
/// # Errors
/// The daemon cannot be started, or fails.
pub fn run(options: &Options) -> Result<bool> {
    println!("longest wait in milliseconds while queue 1 holds {FLOOD} commands, {} s each", options.seconds);
    println!("{:38} {:>10} {:>10} {:>10}   of", "", "Read", "order", "SIGTERM");
    let mut held = true;
    for attack in ATTACKS.iter().filter(|attack| attack.name.contains(&options.only)) {
        let Waits { reads, orders, term } = attack.run(options).context(attack.name)?;
        let numbers = [(reads.longest(), READ_MAX), (orders.longest(), ORDER_MAX), (Some(term), TERM_MAX)];
        let verdicts = numbers.map(|(wait, bar)| Bar::AtMost(bar).judge(wait.map(milliseconds)));
        held &= verdicts.iter().all(|verdict| verdict.is_success());
        let [read, order, term] =
            numbers.map(|(wait, _)| wait.map_or_else(|| "?".to_owned(), |wait| format!("{:.2}", milliseconds(wait))));
        println!(
            "{:38} {read:>10} {order:>10} {term:>10}   {} Reads ({} disturbed), {} orders  {}",
            attack.name,
            reads.times.len(),
            reads.disturbed,
            orders.times.len(),
            verdicts.map(|verdict| verdict.to_string()).join(", ")
        );
    }
    Ok(held)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// How long each of a kind took, those apart during which the machine was somebody else's.
#[derive(Default)]
struct Times {
    times: Vec<Duration>,
    disturbed: u32,
}

impl Times {
    fn longest(&self) -> Option<Duration> {
        self.times.iter().max().copied()
    }

    fn add(&mut self, time: Duration, waited: Duration) {
        if waited > WAITED_MAX {
            self.disturbed += 1;
        } else {
            self.times.push(time);
        }
    }
}

struct Waits {
    reads: Times,
    orders: Times,
    term: Duration,
}

impl Attack {
    fn run(&self, options: &Options) -> Result<Waits> {
        let folder = tempfile::tempdir()?;
        let control = folder.path().join("control");
        let mut builder =
            Brownout::builder().name("bench-fairness").namespace(&format!("size={},lba=4KiB", options.size));
        builder = builder.namespace("size=64MiB,lba=4KiB").argument("--control");
        let daemon = builder.argument(control.to_str().context("a path of ours")?).start()?;
        let mut host = MappedPort::host(daemon.socket())?;
        let words = |error| anyhow!("{error}");
        host.create_queue_pair(1, 256, None).map_err(words)?;
        host.create_queue_pair(2, 16, None).map_err(words)?;
        let scratch = host.allocate(SCRATCH as usize).map_err(words)?;
        let over = AtomicBool::new(false);
        let (reads, orders) = thread::scope(|scope| {
            let orders = scope.spawn(|| orders(&control, daemon.pid(), &over));
            let peers = (self.peers > 0).then(|| scope.spawn(|| peers(&control, self.peers, &over)));
            let reads = self.flood(&mut host, scratch).and_then(|()| reads(&mut host, daemon.pid(), options.seconds));
            over.store(true, Ordering::Relaxed);
            peers.map_or(Ok(()), |peers| peers.join().expect("nothing in it panics"))?;
            anyhow::Ok((reads?, orders.join().expect("nothing in it panics")?))
        })?;
        // Again, so that SIGTERM meets it.
        self.flood(&mut host, scratch)?;
        let begun = clock::now();
        ensure!(daemon.stop()?.success(), "the daemon failed");
        Ok(Waits { reads, orders, term: begun.elapsed() })
    }

    /// Fills queue 1, as far as there is room.
    fn flood(&self, host: &mut Host<MappedPort>, scratch: u64) -> Result<()> {
        let Some(make) = self.commands else { return Ok(()) };
        let words = |error| anyhow!("{error}");
        while host.reap_quietly(1).is_some() {}
        host.ring_completion(1).map_err(words)?;
        for number in 0..FLOOD {
            if host.submission_queue(1).is_some_and(nvme_host::queue::SubmissionQueue::is_full) {
                break;
            }
            let command = make(host, scratch, number);
            host.submit_quietly(1, command).map_err(words)?;
        }
        host.ring(1).map_err(words)
    }
}

fn deallocate(host: &mut Host<MappedPort>, scratch: u64, number: u64) -> Command {
    let list = scratch + number * 4096;
    let blocks: u32 = 1 << 28;
    let range = DatasetRange { slba: 0.into(), blocks: blocks.into(), ..DatasetRange::default() };
    host.write_memory(list, [range; 256].as_bytes());
    let command = nvm_command(NvmOpcode::DATASET_MANAGEMENT, 1);
    Command { cdw10: 255.into(), cdw11: DATASET_DEALLOCATE.into(), prp1: list.into(), ..command }
}

fn uncorrectable(_: &mut Host<MappedPort>, _: u64, number: u64) -> Command {
    block_command(NvmOpcode::WRITE_UNCORRECTABLE, 1, number << 16, 1 << 16)
}

fn zeroes(_: &mut Host<MappedPort>, _: u64, number: u64) -> Command {
    block_command(NvmOpcode::WRITE_ZEROES, 1, number << 16, 1 << 16)
}

/// All commands have the same list: zeroes, which are data blocks of no bytes.
fn empty_descriptors(_: &mut Host<MappedPort>, scratch: u64, _: u64) -> Command {
    let list = SglDescriptor::new(SglType::LAST_SEGMENT, scratch, SCRATCH);
    block_command(NvmOpcode::READ, 1, 0, 1).with_sgl1(list)
}

/// Reads block after block of the second namespace by queue 2.
fn reads(host: &mut Host<MappedPort>, process: u32, seconds: u64) -> Result<Times> {
    let words = |error| anyhow!("{error}");
    let buffer = host.allocate(4096).map_err(words)?;
    let device = Watched::by_name(process, "device")?;
    let (begun, mut times) = (clock::now(), Times::default());
    for lba in (0..1024).cycle() {
        if begun.elapsed() > Duration::from_secs(seconds) {
            break;
        }
        let (waited, started) = (device.waited()?, clock::now());
        let command = block_command(NvmOpcode::READ, 2, lba, 1);
        host.submit(2, Command { prp1: buffer.into(), ..command }).map_err(words)?;
        let completion = loop {
            if let Some(completion) = host.reap(2) {
                break completion;
            }
            ensure!(started.elapsed() < PATIENCE, "a Read starves");
            clock::pause(LOOK);
        };
        times.add(started.elapsed(), device.waited()? - waited);
        ensure!(completion.status().0 == 0, "the device answered {:?}", completion.status());
        clock::pause(PAUSE);
    }
    Ok(times)
}

/// A connection to the control socket over which capabilities were negotiated.
fn connect(control: &Path) -> Result<BufReader<UnixStream>> {
    let mut peer = BufReader::new(UnixStream::connect(control)?);
    let mut said = String::new();
    peer.read_line(&mut said)?;
    ask(&mut peer, "qmp_capabilities")?;
    Ok(peer)
}

fn ask(peer: &mut BufReader<UnixStream>, command: &str) -> Result<()> {
    writeln!(peer.get_mut(), "{{\"execute\":\"{command}\"}}")?;
    let mut said = String::new();
    while !said.contains("\"return\"") {
        said.clear();
        ensure!(peer.read_line(&mut said)? > 0 && !said.contains("\"error\""), "{command}: {said}");
    }
    Ok(())
}

/// Asks how the device is, again and again.
fn orders(control: &Path, process: u32, over: &AtomicBool) -> Result<Times> {
    let mut peer = connect(control)?;
    let device = Watched::by_name(process, "device")?;
    let mut times = Times::default();
    while !over.load(Ordering::Relaxed) {
        let (waited, begun) = (device.waited()?, clock::now());
        ask(&mut peer, "query-status")?;
        times.add(begun.elapsed(), device.waited()? - waited);
        clock::pause(PAUSE);
    }
    Ok(times)
}

/// This many peers that ask for the whole schema without waiting for it.
fn peers(control: &Path, count: usize, over: &AtomicBool) -> Result<()> {
    let mut peers = Vec::new();
    for _ in 0..count {
        let peer = connect(control)?.into_inner();
        peer.set_nonblocking(true)?;
        peers.push(peer);
    }
    let orders = "{\"execute\":\"query-schema\"}\n".repeat(16);
    let (mut answers, mut places) = (vec![0; 1 << 20], vec![0; count]);
    while !over.load(Ordering::Relaxed) {
        for (peer, place) in peers.iter_mut().zip(&mut places) {
            let written = would_block(peer.write(&orders.as_bytes()[*place..]))?;
            *place = (*place + written) % orders.len();
            would_block(peer.read(&mut answers))?;
        }
    }
    Ok(())
}

/// How much was moved; nothing where it would have to be waited for.
fn would_block(moved: std::io::Result<usize>) -> Result<usize> {
    match moved {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        moved => Ok(moved?),
    }
}
