//! How many instructions the device spends on a command, by valgrind's callgrind: the same on every machine and in every hour. Two
//! runs that differ only in the number of commands are subtracted, so that bring-up and everything that happens once is not counted.
//! Copying is not either: what `memcpy` and its kin do is told apart by name. Guest memory is shared memory by way of the vfio-user
//! server's table, as in the daemon.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum};
use media::power::Random;
use nvme_spec::opcode::NvmOpcode;
use serde::{Deserialize, Serialize};

use crate::bars::Bar;
use crate::callgrind::Profile;
use crate::drive::{Device, GUEST_BYTES, drive};
use crate::ring::{BATCH, Pointer, Work};
use crate::{holding, shared_memory};

/// Options of `bench instructions`.
#[derive(Args, Debug)]
pub struct Options {
    /// Compare with the table, and fail where a number is more than 2 % above it.
    #[arg(long)]
    check: bool,
    /// Write the table.
    #[arg(long, conflicts_with = "check")]
    update: bool,
    /// The table.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.toml"))]
    table: PathBuf,
    /// Print where the instructions go, by source file.
    #[arg(long)]
    profile: bool,
}

/// Options of the run that is counted.
#[derive(Args, Debug)]
pub struct Subject {
    case: Case,
    batches: u32,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Case {
    /// Random reads of a block.
    Read512,
    /// Random reads of a unit.
    Read4096,
    /// The same, into memory that an SGL describes.
    Read4096Sgl,
    /// The same, into two pages.
    Read4096Pages,
    /// Random reads of eight units, into pages of a list.
    Read32768Pages,
    /// The same while as many writes are outstanding as bar S6 speaks of.
    Read4096BesideWrites,
    /// Random writes of a block: what is left of its unit is copied, and collection has something to move.
    Write512,
    /// Sequential writes of units: lines are empty when they are collected.
    Write4096,
    /// The same, out of memory that an SGL describes.
    Write4096Sgl,
    /// The same, out of two pages.
    Write4096Pages,
    /// Sequential writes of eight units, out of pages of a list.
    Write32768Pages,
    /// Random writes of units: collection has something to move.
    Write4096Random,
}

/// Above the table by more than this is a failure.
const SLACK_PERCENT: f64 = 2.0;
/// Batches of the shorter run, and what the longer one has on top: enough for many lines of the small drive.
const BATCHES: u32 = 128;
const BATCHES_MORE: u32 = 1024;
/// The volume, and the part of it that random work is done on.
const VOLUME_BYTES: u64 = 16 << 20;
const WORKING_BYTES: u64 = 2 << 20;

impl Case {
    fn work(self) -> Work {
        let (opcode, bytes, pointer) = match self {
            Self::Read512 => (NvmOpcode::READ, 512, Pointer::Prp),
            Self::Read4096 | Self::Read4096BesideWrites => (NvmOpcode::READ, 4096, Pointer::Prp),
            Self::Read4096Sgl => (NvmOpcode::READ, 4096, Pointer::Sgl),
            Self::Read4096Pages => (NvmOpcode::READ, 4096, Pointer::Pages),
            Self::Read32768Pages => (NvmOpcode::READ, 32 << 10, Pointer::Pages),
            Self::Write512 => (NvmOpcode::WRITE, 512, Pointer::Prp),
            Self::Write4096 | Self::Write4096Random => (NvmOpcode::WRITE, 4096, Pointer::Prp),
            Self::Write4096Sgl => (NvmOpcode::WRITE, 4096, Pointer::Sgl),
            Self::Write4096Pages => (NvmOpcode::WRITE, 4096, Pointer::Pages),
            Self::Write32768Pages => (NvmOpcode::WRITE, 32 << 10, Pointer::Pages),
        };
        let random = [Self::Write512, Self::Write4096Random].contains(&self) || opcode == NvmOpcode::READ;
        let sequential = !random;
        let extent = if sequential { VOLUME_BYTES } else { WORKING_BYTES };
        Work { opcode, bytes, extent, sequential, pointer }
    }

    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// The checked-in table: instructions of a command, the copy excluded.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Table {
    instructions: BTreeMap<Case, f64>,
}

/// Does what is counted.
///
/// # Errors
/// The drive does not come up.
pub fn be_subject(subject: &Subject) -> anyhow::Result<()> {
    let (memory, page) = shared_memory::new(GUEST_BYTES)?;
    let mut host = Device::start(holding::Drive(drive(VOLUME_BYTES)?), memory, page)?;
    if subject.case == Case::Read4096BesideWrites {
        holding::hold_writes(&mut host, WORKING_BYTES)?;
    }
    let (mut random, work) = (Random::new(1), subject.case.work());
    for _ in 0..subject.batches {
        host.port_mut().prepare(&work, &mut random);
        host.port_mut().device_half();
        host.port_mut().reap(&work);
    }
    Ok(())
}

/// Runs the bench.
///
/// # Errors
/// There is no valgrind; or, with `check`, there are more instructions than the table says.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let mut found = Table::default();
    for &case in Case::value_variants() {
        let profile = measure(case, &std::env::current_exe()?)?;
        let count = (profile.without_copies() * 10.0).round() / 10.0;
        println!("{:16} {count:8.1} instructions, copy excluded ({:.0} with it)", case.name(), profile.all());
        if options.profile {
            profile.print();
        }
        found.instructions.insert(case, count);
    }
    if options.update {
        std::fs::write(&options.table, toml::to_string(&found)?)?;
    } else if options.check {
        check(&options.table, &found)?;
    }
    Ok(())
}

/// Options of `bench extras`.
#[derive(Args, Debug)]
pub struct Extras {
    /// This bench, built with the feature `without-steps`
    without: PathBuf,
}

/// Bars: percent of a command that the crash steps may take while nothing is armed (P7), and percent more for a read beside 64 writes
/// that are outstanding (S6).
const STEPS_MAX: f64 = 1.0;
const ORDER_MAX: f64 = 5.0;

/// What a command pays for what it does not use; whether the bars were held.
///
/// # Errors
/// As [`run`].
pub fn extras(extras: &Extras) -> anyhow::Result<bool> {
    let bench = std::env::current_exe()?;
    println!("instructions of a command, the copy included (excluded): with, without, more, of that");
    let mut held = true;
    let mut judge = |name: &str, with: &Profile, without: &Profile, most: f64| {
        let more = with.all() - without.all();
        let percent = 100.0 * more / without.all();
        let (bar, copy) = (Bar::AtMost(most), (with.without_copies(), without.without_copies()));
        let verdict = bar.judge(Some(percent));
        held &= verdict.is_success();
        println!(
            "{name:40} {:7.1} ({:6.1}) {:7.1} ({:6.1}) {more:6.1} {percent:5.2} % {bar} {verdict}",
            with.all(),
            copy.0,
            without.all(),
            copy.1
        );
    };
    let read = measure(Case::Read4096, &bench)?;
    for (name, case) in [("crash steps, a read", Case::Read4096), ("crash steps, a write", Case::Write4096)] {
        judge(name, &measure(case, &bench)?, &measure(case, &extras.without)?, STEPS_MAX);
    }
    let beside = measure(Case::Read4096BesideWrites, &bench)?;
    judge("order, a read beside 64 writes", &beside, &read, ORDER_MAX);
    Ok(held)
}

fn check(path: &Path, found: &Table) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path).with_context(|| format!("the table {}", path.display()))?;
    let table: Table = toml::from_str(&text).with_context(|| format!("the table {}", path.display()))?;
    let mut worse = Vec::new();
    for (case, count) in &found.instructions {
        let expected = table.instructions.get(case).with_context(|| format!("the table has no {}", case.name()))?;
        let change = (count / expected - 1.0) * 100.0;
        println!("{:16} {change:+.1} % of the table's {expected}", case.name());
        if change > SLACK_PERCENT {
            worse.push(case.name());
        }
    }
    ensure!(
        worse.is_empty(),
        "more than {SLACK_PERCENT} % above {}: {}. Find out why; `bench instructions --update` writes new numbers",
        path.display(),
        worse.join(", ")
    );
    Ok(())
}

/// What one command costs in a build of this bench.
fn measure(case: Case, bench: &Path) -> anyhow::Result<Profile> {
    let short = count(case, BATCHES, bench)?;
    let long = count(case, BATCHES + BATCHES_MORE, bench)?;
    Ok(long.less(&short).divided(f64::from(BATCHES_MORE) * f64::from(BATCH)))
}

fn count(case: Case, batches: u32, bench: &Path) -> anyhow::Result<Profile> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("callgrind.out");
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*device_half*", "--compress-strings=no", "--compress-pos=no"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(bench)
        .args(["subject", &case.name(), &batches.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => bail!("valgrind of {} ended with {status}", case.name()),
        Err(error) => return Err(error).context("valgrind cannot be started: install Debian's package of that name"),
    }
    Profile::parse(&std::fs::read_to_string(&out)?)
}
