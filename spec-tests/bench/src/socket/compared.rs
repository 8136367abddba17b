//! `bench socket --flat`: the product beside a base line that is the same but for the SSD inside: the same controller, server, queues and
//! host over a media that is nothing but memory; and beside a loop that does nothing but copy. All three take turns within each round, so
//! that what else happens on the machine meets all of them; who is not measured stands still.

use std::time::Duration;

use anyhow::{Context as _, Result};
use guest_harness::Brownout;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::report::{Figures, HEAD, Turns};
use super::rows::{Drive, Row, drives};
use super::slices::{self, Sliced};
use super::{Options, Pair};
use crate::copy::{BareLoop, Copier};
use crate::daemon::Served;
use crate::mapped_port::MappedPort;
use crate::polling_host::{Description, Load, PollingHost, Spread};

/// Room for the deepest use in one queue.
const ENTRIES: u16 = 512;
/// This part of a round goes before it, and is not measured.
const BEFORE: u32 = 10;
/// How often a drive is written at random until that costs what it costs.
const AGEING: u64 = 4;
/// Below this depth a command waits for its host, and copying limits nothing.
const DEPTH_FOR_BARE: u16 = 32;
const UNIT: u32 = 4 << 10;

/// A device and its host. The process stands still unless it is measured.
struct Party {
    daemon: Brownout,
    host: PollingHost,
}

impl Party {
    /// A device that is full.
    fn start(drive: &Served, name: &str, pair: Pair) -> Result<Self> {
        let daemon = drive.start(name)?;
        pair.give_device(daemon.pid())?;
        let host = PollingHost::with_queues(MappedPort::host(daemon.socket())?, ENTRIES, true)?;
        let mut party = Self { daemon, host };
        // Twice, as the plain bench does.
        party.host.fill()?;
        party.host.fill()?;
        party.signal(Signal::STOP)?;
        Ok(party)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let process = i32::try_from(self.daemon.pid()).ok().and_then(Pid::from_raw);
        kill_process(process.context("a process has a number")?, signal).context("cannot stop and continue the device")
    }

    /// Does something while the process runs.
    fn awake<T>(&mut self, act: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.signal(Signal::CONT)?;
        let done = act(self)?;
        self.signal(Signal::STOP)?;
        Ok(done)
    }

    fn measure(&mut self, load: &Load, time: Duration) -> Result<Sliced> {
        self.awake(|party| {
            party.host.run_for(load, time / BEFORE, || ())?;
            slices::measure(&mut party.host, party.daemon.pid(), load, time)
        })
    }

    /// Writes at random places, as the load does, until that is at its steady state.
    fn age(&mut self, load: &Load, bytes: u32) -> Result<()> {
        let load = Load { read_percent: 0, depth: 32, spread: Spread { pairs: 1, ..load.spread }, ..*load };
        let commands = AGEING * self.host.bytes() / u64::from(bytes.max(UNIT));
        self.awake(|party| party.host.run_commands(&load, commands))
    }

    fn stop(self) -> Result<()> {
        self.signal(Signal::CONT)?;
        drop(self.host);
        self.daemon.stop().map(drop)
    }
}

/// Runs it; whether the product never slept while commands were outstanding.
///
/// # Errors
/// A device cannot be started, or fails.
pub fn run(options: &Options, pair: Pair) -> Result<bool> {
    let mut copier = Copier::new();
    let before = copier.measure();
    pair.take_host()?;
    let round_trip = pair.round_trip()?.as_nanos();
    if !options.json {
        println!(
            "ours, flat and bare by turns, {}; {} rounds of {} ms each; medians (and ranges) of the rounds that count",
            options.media.as_deref().unwrap_or("media at its defaults"),
            options.rounds,
            options.milliseconds
        );
        println!("{before}; {round_trip} ns between the processors and back");
    }
    let mut all = Vec::new();
    for drive in drives(options.namespace.as_deref()) {
        let rows: Vec<&Row> = drive.rows.iter().filter(|row| wanted(options, row)).collect();
        if !rows.is_empty() {
            all.extend(measure(options, pair, &drive, &rows)?);
        }
    }
    let after = copier.measure();
    if options.json {
        let figures = json!({
            "rounds": options.rounds,
            "milliseconds": options.milliseconds,
            "media": options.media,
            "round_trip_ns": u64::try_from(round_trip)?,
            "copy": [before, after],
            "rows": all,
        });
        println!("{}", serde_json::to_string_pretty(&figures)?);
    } else {
        println!("{after}");
    }
    Ok(all.iter().all(|figures| !figures.slept()))
}

fn wanted(options: &Options, row: &Row) -> bool {
    row.to_string().contains(&options.only) && options.depth.is_none_or(|depth| depth == row.depth())
}

fn measure(options: &Options, pair: Pair, drive: &Drive, rows: &[&Row]) -> Result<Vec<Figures>> {
    let mut all = All::start(options, pair, drive)?;
    let named = drive.namespaces.join(" + ");
    if !options.json {
        println!("\n{named}\n{HEAD}");
    }
    let mut found = Vec::new();
    for row in rows {
        let Some(load) = row.load(all.ours.host.block_bytes()) else { continue };
        all.make_ready(row, &load)?;
        let turns = (0..options.rounds).map(|number| all.turns(number, row, &load)).collect::<Result<Vec<_>>>()?;
        let figures = Figures::of(&named, row, &turns);
        if !options.json {
            println!("{figures}");
        }
        found.push(figures);
    }
    all.ours.stop()?;
    all.flat.stop()?;
    Ok(found)
}

/// All three.
struct All {
    ours: Party,
    flat: Party,
    bare: BareLoop,
    time: Duration,
    scattered: bool,
}

impl All {
    fn start(options: &Options, pair: Pair, drive: &Drive) -> Result<Self> {
        let ours = Served {
            device: options.device.clone(),
            namespaces: drive.namespaces.clone(),
            media: options.media.clone().unwrap_or_default(),
            traces: options.trace.clone(),
            ..Served::default()
        };
        let this = std::env::current_exe().context("cannot tell where this program lies")?;
        let binary = this.with_file_name("bench-flat");
        let flat = Served { media: String::new(), traces: Vec::new(), binary: Some(binary), ..ours.clone() };
        let ours = Party::start(&ours, "bench-socket-ours", pair)?;
        let flat = Party::start(&flat, "bench-socket-flat", pair)?;
        pair.take_host()?;
        let bare = BareLoop::new(usize::try_from(ours.host.bytes())?)?;
        Ok(Self { ours, flat, bare, time: Duration::from_millis(options.milliseconds), scattered: false })
    }

    /// Scatters the drive, and brings it to its steady state, if the row is about that.
    fn make_ready(&mut self, row: &Row, load: &Load) -> Result<()> {
        if row.scatters() && !self.scattered {
            self.scattered = true;
            let block_bytes = self.ours.host.block_bytes();
            let blocks = UNIT.max(block_bytes) / block_bytes;
            self.ours.age(&Load { blocks, description: Description::Prp, ..*load }, UNIT)?;
        }
        if row.ages() { self.ours.age(load, row.bytes) } else { Ok(()) }
    }

    /// One round.
    fn turns(&mut self, number: u32, row: &Row, load: &Load) -> Result<Turns> {
        let Self { ours, flat, bare, time, .. } = self;
        // What drifts meets both in the same way.
        let (ours, flat) = if number.is_multiple_of(2) {
            let ours = ours.measure(load, *time)?;
            (ours, flat.measure(load, *time)?)
        } else {
            let flat = flat.measure(load, *time)?;
            (ours.measure(load, *time)?, flat)
        };
        let limits = row.depth() >= DEPTH_FOR_BARE;
        let bare = if limits { bare.rate(load, row.bytes as usize, *time)? } else { None };
        Ok(Turns { ours, flat, bare })
    }
}
