//! What the media costs by itself: nanoseconds for a random read and write of one block, and seconds for a recovery (figure F6).
//!
//! `cargo run --release -p brownout-media --example media_speed [user MiB] [file] [unsafe]`: with a file the drive lies in it, otherwise in
//! memory; `unsafe` is `cache=unsafe`: the host is never asked to put anything on its disk.

use std::path::Path;
use std::time::Instant;

use media::geometry::{Geometry, GeometryConfig};
use media::power::{CutPolicy, Random};
use media::ssd::{Ssd, SsdConfig, VolumeConfig};
use media::store::{FileOptions, FileStore, MemoryStore, Store};
use media::volume::{Fault, Media, Outcome, Request, Sink, Source, Submitted, Token, VolumeId};
use media::{Lba, LbaRange, Nanoseconds};

struct Memory(Vec<u8>);

impl Source for Memory {
    fn fill(&mut self, _offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        into.copy_from_slice(&self.0[..into.len()]);
        Ok(())
    }
}

impl Sink for Memory {
    fn take(&mut self, _offset: usize, from: &[u8]) -> Result<(), Fault> {
        self.0[..from.len()].copy_from_slice(from);
        Ok(())
    }
}

/// Neither gives nor takes anything: what is left is the cost of everything but the copy.
struct Nothing;

impl Source for Nothing {
    fn fill(&mut self, _offset: usize, _into: &mut [u8]) -> Result<(), Fault> {
        Ok(())
    }
}

impl Sink for Nothing {
    fn take(&mut self, _offset: usize, _from: &[u8]) -> Result<(), Fault> {
        Ok(())
    }
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a bench measures wall-clock time")]
    Instant::now()
}

fn submit<S: Store>(ssd: &mut Ssd<S>, request: Request<'_>) {
    let mut ended: Option<Outcome> = match ssd.submit(Nanoseconds(0), Token(0), VolumeId(0), request) {
        Submitted::Done(outcome) => Some(outcome),
        Submitted::Pending => None,
    };
    while ended.is_none() {
        ssd.poll(Nanoseconds(0), &mut |_, outcome| ended = Some(outcome));
    }
    assert_eq!(ended, Some(Ok(())));
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
fn rate(what: &str, count: u64, mut operate: impl FnMut(u64)) {
    let start = now();
    for n in 0..count {
        operate(n);
    }
    println!("    {what:44} {:8.1} ns", start.elapsed().as_secs_f64() * 1e9 / count as f64);
}

fn measure<S: Store>(mut ssd: Ssd<S>) {
    let blocks = ssd.shape(VolumeId(0)).expect("there is one volume").capacity_blocks;
    let mut memory = Memory(vec![7; 1 << 20]);
    let start = now();
    for lba in (0..blocks).step_by(256) {
        let range = LbaRange::new(Lba(lba), 256.min(blocks - lba));
        submit(&mut ssd, Request::Write { range, from: &mut memory, force: false });
    }
    println!("    filled {} MiB in {:.2} s", blocks / 256, start.elapsed().as_secs_f64());
    let mut random = Random::new(1);
    let mut one = || LbaRange::new(Lba(random.below(blocks)), 1);
    let count = 2_000_000.min(blocks);
    rate("random read of 4 KiB", count, |_| {
        submit(&mut ssd, Request::Read { range: one(), into: &mut memory, force: false });
    });
    rate("random read, copy excluded", count, |_| {
        submit(&mut ssd, Request::Read { range: one(), into: &mut Nothing, force: false });
    });
    // Twice: the first round is still better than what can be sustained.
    for round in ["random write of 4 KiB, first round", "random write of 4 KiB, sustained"] {
        let before = ssd.status().ledger;
        rate(round, count, |_| {
            submit(&mut ssd, Request::Write { range: one(), from: &mut memory, force: false });
        });
        let since = ssd.status().ledger.since(&before);
        println!("    amplification {:.2}, with metadata {:.3}", since.amplification(false), since.amplification(true));
    }
    rate("sequential write of 4 KiB", count, |n| {
        let range = LbaRange::new(Lba(n % blocks), 1);
        submit(&mut ssd, Request::Write { range, from: &mut memory, force: false });
    });
    rate("sequential write of 128 KiB", count / 32, |n| {
        let range = LbaRange::new(Lba(n * 32 % (blocks - 32)), 32);
        submit(&mut ssd, Request::Write { range, from: &mut memory, force: false });
    });
    rate("sequential write, copy excluded", count, |n| {
        let range = LbaRange::new(Lba(n % blocks), 1);
        submit(&mut ssd, Request::Write { range, from: &mut Nothing, force: false });
    });
    ssd.cut(&CutPolicy::NoneSurvive.into());
    let start = now();
    let report = ssd.restore(None).expect("the drive recovers");
    println!("F6  recovery of {} MiB in {:.3} s: {report:?}", blocks / 256, start.elapsed().as_secs_f64());
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mib: u64 = arguments.next().and_then(|mib| mib.parse().ok()).unwrap_or(1024);
    let config = SsdConfig {
        geometry: GeometryConfig { user_bytes: mib << 20, ..GeometryConfig::default() },
        volumes: vec![VolumeConfig::new(4096, 0, mib << 8)],
        ..SsdConfig::default()
    };
    let geometry: Geometry = config.checked().expect("the configuration is sound");
    println!("{mib} MiB, {} lines of {} units", geometry.lines, geometry.units_per_line);
    match arguments.next() {
        None => measure(Ssd::create(config, MemoryStore::new(&geometry).expect("memory")).expect("sound")),
        Some(path) => {
            let entries = config.tuning.journal_entries;
            let cache_unsafe = arguments.next().is_some_and(|word| word == "unsafe");
            let options = FileOptions { cache_unsafe, ..FileOptions::default() };
            let store = FileStore::create_file(Path::new(&path), &geometry, entries, options);
            measure(Ssd::create(config, store.expect("the file can be made")).expect("sound"));
        }
    }
}
