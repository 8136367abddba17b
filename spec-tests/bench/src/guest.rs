//! `bench guest`: the same fio in the same emulated guest, on brownout and on QEMU's own controllers, in turn. What a guest makes of a
//! drive depends on the emulator more than on the drive, so only the ratio means anything.

use std::collections::BTreeMap;
use std::fs::File;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use guest_harness::{Device, Kernel, Machine};

use crate::bars::{Bar, median};
use crate::daemon::Served;

const SCRIPT: &str = include_str!("../scripts/compare.sh");
/// Bytes of each drive.
const SIZE: u64 = 256 << 20;
/// QEMU's controllers, by serial number.
const THEIRS: [&str; 2] = ["ramfile", "null"];
/// Ours, and how much faster they are to be than each of theirs at queue depth 32.
const OURS: [(&str, f64); 2] = [("mapped", 1.2), ("trapped", 1.0)];
/// The depth that has a bar.
const BAR_DEPTH: u16 = 32;

/// How it is run.
#[derive(Args, Debug)]
pub struct Options {
    /// How often each device has its turn
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds of one turn
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// Virtual processors of the guest
    #[arg(long, default_value_t = 1)]
    processors: u32,
    /// Print the kernel's and the script's words as they come
    #[arg(long)]
    show: bool,
}

/// Commands a second by pattern and depth, serial number, round.
type Rates = BTreeMap<(String, u16), BTreeMap<String, Vec<f64>>>;

/// Runs it; whether every bar was held.
///
/// # Errors
/// The guest cannot be run, or fails.
pub fn run(options: &Options) -> Result<bool> {
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in("/dev/shm").context("no memory file system")?;
    let raw = folder.path().join("raw");
    File::create(&raw)?.set_len(SIZE)?;
    let mut drives = Vec::new();
    let mut machine = Machine::new(Kernel::Debian612)
        .name("bench-guest")
        .processors(options.processors)
        .environment("COMPARE_ROUNDS", &options.rounds.to_string())
        .environment("COMPARE_SECONDS", &options.seconds.to_string())
        .environment("COMPARE_DEVICES", &(OURS.len() + THEIRS.len()).to_string())
        .timeout(Duration::from_secs(120 + 16 * 4 * u64::from(options.rounds) * u64::from(options.seconds + 2)))
        .script(SCRIPT);
    for (doorbells, _) in OURS {
        let drive = Served {
            device: format!("doorbells={doorbells},serial={doorbells}"),
            namespaces: vec![format!("size={}MiB,lba=512", SIZE >> 20)],
            ..Served::default()
        };
        let running = drive.start(&format!("bench-guest-{doorbells}"))?;
        machine = machine.device(Device::VfioUser { socket: running.socket().to_owned() });
        drives.push(running);
    }
    let raw = raw.to_str().context("a temporary folder has a plain name")?;
    let file = format!("driver=raw,node-name=ramfile,file.driver=file,file.filename={raw},file.locking=off");
    let null = format!("driver=null-co,node-name=null,size={SIZE}");
    for (index, (blockdev, name)) in [file, null].iter().zip(THEIRS).enumerate() {
        let slot = 0x10 + index;
        machine = ["-blockdev", blockdev].into_iter().fold(machine, |machine, word| machine.qemu_argument(word));
        let port = format!("pcie-root-port,id=other{index},chassis={slot},slot={slot}");
        let controller = format!("nvme,bus=other{index},serial={name},drive={name}");
        for word in ["-device", &port, "-device", &controller] {
            machine = machine.qemu_argument(word);
        }
    }
    let guest = machine.spawn()?;
    let report = if options.show { guest.wait_showing(&mut std::io::stderr()) } else { guest.wait() }?;
    report.require_success()?;
    // Said of QEMU's controllers.
    report.require_no_complaints(&["Ignoring bogus Namespace Identifiers"])?;
    for drive in drives {
        drive.stop()?;
    }
    let rates = rates_of(&report.script_output())?;
    Ok(print(&rates, options))
}

/// The lines that the script marks.
fn rates_of(output: &str) -> Result<Rates> {
    let mut rates = Rates::new();
    for line in output.lines().filter_map(|line| line.strip_prefix("RESULT ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_round, serial, pattern, depth, rate] = words[..] else { anyhow::bail!("an unknown result: {line}") };
        let place = rates.entry((pattern.to_owned(), depth.parse()?)).or_default();
        place.entry(serial.to_owned()).or_default().push(rate.parse()?);
    }
    ensure!(!rates.is_empty(), "the guest had no results");
    Ok(rates)
}

fn print(rates: &Rates, options: &Options) -> bool {
    println!(
        "fio in an emulated guest of {} processor(s), 4 KiB, {} rounds of {} s: medians, and the median of the rounds' ratios",
        options.processors, options.rounds, options.seconds
    );
    println!("pattern     QD  drive      k/s  | over QEMU's nvme on  k/s   ratio  bar     verdict");
    let mut held = true;
    for ((pattern, depth), by_serial) in rates {
        for (ours, bar) in OURS {
            for theirs in THEIRS {
                let (Some(own), Some(other)) = (by_serial.get(ours), by_serial.get(theirs)) else { continue };
                let ratio = median(own.iter().zip(other).map(|(own, other)| own / other).collect());
                let bar = if *depth == BAR_DEPTH { Bar::AtLeast(bar) } else { Bar::None };
                let verdict = bar.judge(ratio);
                held &= verdict.is_success();
                let thousands = |numbers: &[f64]| median(numbers.to_vec()).unwrap_or(0.0) / 1e3;
                println!(
                    "{pattern:10} {depth:3}  {ours:7}  {:6.1}  | {theirs:18}  {:6.1}  {:5.2}  {bar:6}  {verdict}",
                    thousands(own),
                    thousands(other),
                    ratio.unwrap_or(0.0)
                );
            }
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_sorted_by_what_was_measured() -> Result<()> {
        let rates = rates_of("noise\nRESULT 0 mapped randread 32 100\nRESULT 1 mapped randread 32 300\n")?;
        assert_eq!(rates[&("randread".to_owned(), 32)]["mapped"], [100.0, 300.0]);
        assert!(rates_of("nothing").is_err() && rates_of("RESULT 0 mapped randread 1").is_err());
        Ok(())
    }
}
