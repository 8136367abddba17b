//! The second act of `make demo`: power goes in the middle of a guest's writes, comes back, and another boot looks at what is left.
//!
//! Two namespaces are written in the same way, 16 KiB at a time: one promises that such a write is whole or undone, the other promises
//! it of a block only.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use guest_harness::{Brownout, Device, Kernel, Machine, scripts};
use serde_json::Value;

/// Blocks of 4 KiB, less one: 16 KiB are whole or undone, or no more than a block.
const NAMESPACES: [&str; 2] = ["size=64MiB,lba=4KiB,atomic.nawupf=3", "size=64MiB,lba=4KiB,atomic.nawupf=0"];
/// Each look takes a process of its own, some milliseconds.
const LOOKS: u32 = 10_000;
/// Writes of the report that are shown.
const SHOWN: usize = 5;
const PATIENCE: Duration = Duration::from_secs(120);
/// When power goes: as this write to the second namespace is fetched.
const CRASH_POINT: [&str; 3] = ["at.match.opcode=1", "at.match.nsid=2", "at.nth=45"];
/// What survives of the cache: by chance, and above the atomic unit block by block.
const CUT: [&str; 3] = ["policy=random", "seed=7", "tear=true"];

fn main() -> Result<ExitCode> {
    let folder = tempfile::tempdir().context("cannot create a folder")?;
    let control = folder.path().join("control");
    let control = control.to_str().context("the temporary folder is not UTF-8")?;
    let brownout =
        NAMESPACES.iter().fold(Brownout::builder().name("power-cut"), |drive, namespace| drive.namespace(namespace));
    let brownout = brownout.argument("--control").argument(control).start()?;
    println!("\n== Second act: power goes while a guest writes");
    println!(
        "namespace 1 promises 16 KiB (NAWUPF 3), namespace 2 a block of 4 KiB; both hold \"old\", and \"new\" is written, 16 KiB at a time"
    );

    let device = || Device::VfioUser { socket: brownout.socket().to_owned() };
    let machine = |phase: &str| {
        Machine::new(Kernel::Newest).name("power-cut").script(scripts::POWER_CUT).environment("PHASE", phase)
    };
    let mut guest = machine("write").device(device()).timeout(PATIENCE).spawn()?;
    guest.wait_for("READY TO WRITE", PATIENCE)?;
    order(control, "crash-arm", &[&CRASH_POINT[..], &CUT].concat())?;
    guest.send_line("go")?;
    let crash = wait_for_the_cut(control)?;
    guest.kill()?;
    show_report(&crash);
    order(control, "power-restore", &[])?;

    println!("\n== Another boot looks at what is left, write by write");
    let report = machine("look").device(device()).timeout(PATIENCE).run()?;
    report.require_success()?;
    let held = show_patterns(&report.script_output())?;
    brownout.stop()?;
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Gives the drive a command through its control socket, as a person would; returns the answer.
fn order(control: &str, command: &str, arguments: &[&str]) -> Result<Value> {
    let words = [&["ctl", control, command][..], arguments].concat();
    if command != "query-crash" {
        println!("$ brownout ctl CONTROL {}", words[2..].join(" "));
    }
    let output = Brownout::run(&words)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command}: {}", errors.trim());
    serde_json::from_slice(&output.stdout).with_context(|| format!("{command} answered no JSON"))
}

fn wait_for_the_cut(control: &str) -> Result<Value> {
    for _ in 0..LOOKS {
        let crash = order(control, "query-crash", &[])?;
        if !crash["report"].is_null() {
            return Ok(crash["report"].clone());
        }
    }
    bail!("the guest never came to the write at which power was to go")
}

fn show_report(report: &Value) {
    let lost = report["not-durable"].as_array().map_or(&[][..], Vec::as_slice);
    println!("$ brownout ctl CONTROL query-crash");
    println!(
        "power went at {} of command {}; {} writes were not durable:",
        report["step"],
        report["command"],
        lost.len()
    );
    for entry in lost.iter().take(SHOWN) {
        let (namespace, range) = (&entry["namespace"], &entry["range"]);
        let (first, fate, may) = (&range["first"], &entry["fate"], &entry["observable"]);
        println!(
            "  namespace {namespace}, blocks {first} + {}: {fate}; by contract the host may find {may}",
            range["blocks"]
        );
    }
    for fate in ["survived", "lost", "torn"] {
        let of = |namespace: u64| {
            lost.iter().filter(|entry| entry["fate"] == fate && entry["namespace"] == namespace).count()
        };
        println!("  {fate}: {} of namespace 1, {} of namespace 2", of(1), of(2));
    }
}

/// Shows what the guest found; returns whether the promises were held.
fn show_patterns(said: &str) -> Result<bool> {
    let mut held = !said.contains("BROKEN");
    let mut seen = [0_u32; 2];
    let mut lines: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("PATTERN ")).collect();
    lines.sort_unstable();
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [nsid, count, blocks] = words[..] else { bail!("the guest said {line:?}") };
        let whole = blocks == "old/old/old/old" || blocks == "new/new/new/new";
        let first = nsid == "1";
        let promised = if whole {
            "whole"
        } else if first {
            "TORN"
        } else {
            "torn, as it may be"
        };
        println!("namespace {nsid}: {count:>3} x {blocks}  {promised}");
        held &= whole || !first;
        seen[usize::from(!first)] += count.parse::<u32>()?;
    }
    ensure!(seen == [64, 64], "the guest looked at {seen:?} of 64 writes each");
    println!("{}", if held { "Every promise was kept." } else { "A PROMISE WAS BROKEN." });
    Ok(held)
}
