//! `make mutants`: see the library.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use mutants::Plan;
use mutants::equivalent::Equivalents;

/// Packages whose tests are run unless others are named: all that the mutated code is part of.
const PACKAGES: &[&str] = &[
    "brownout-controller",
    "brownout-media",
    "brownout-guest-memory",
    "brownout-vfio",
    "brownout-vhost",
    "brownout-nvme-host",
    "brownout-oracle",
    "brownout-traces",
    "brownout-spec-tests",
];
/// Test binaries that say nothing of the code, or need a guest.
const WITHOUT: &[&str] = &[
    "brownout-spec-tests::guest",
    "brownout-spec-tests::tidy",
    "brownout-spec-tests::layout",
    "brownout-spec-tests::killed",
];

/// Makes mistakes in the sources, one at a time, and says which of them no test notices.
#[derive(Debug, Parser)]
struct Options {
    /// Files and folders to mutate; those of spec-tests/mutants/nightly.txt if none are given
    files: Vec<PathBuf>,
    /// How many mutants to try; all if not given
    #[arg(long)]
    sample: Option<usize>,
    /// Which ones those are
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only mutants in whose description this text occurs
    #[arg(long)]
    only: Option<String>,
    /// Run the tests of this package instead of all; may be given again
    #[arg(long = "package")]
    packages: Vec<String>,
    /// Seconds after which no further test is started for a mutant
    #[arg(long, default_value_t = 120)]
    budget: u64,
    /// Mutants to try at a time; one for each processor if not given
    #[arg(long)]
    jobs: Option<usize>,
    /// Fail if fewer percent of the mutants are caught, equivalent ones not counted
    #[arg(long, default_value_t = 0.0)]
    at_least: f64,
    /// The repository
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// Where the mutated copy and its build go
    #[arg(long, default_value = "target/mutants")]
    scratch: PathBuf,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let kept = options.root.join("spec-tests/mutants");
    let list = Equivalents::read(&kept.join("equivalent.toml"))?;
    fs::create_dir_all(&options.scratch).context("cannot make the scratch folder")?;
    let report = mutants::run(&plan(&options, &kept)?, &list, |text| eprintln!("{text}"))?;
    let table = report.table();
    let written = options.scratch.join("report.md");
    fs::write(&written, format!("{table}\n{}\n", report.lines().join("\n"))).context("cannot write the report")?;
    println!("{table}");
    for line in report.lines().iter().filter(|line| line.starts_with("MISSED")) {
        println!("{line}");
    }
    println!("all of them: {}", written.display());
    let enough = report.total().share().is_none_or(|share| share >= options.at_least);
    Ok(if enough { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn plan(options: &Options, kept: &Path) -> Result<Plan> {
    let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
    Ok(Plan {
        root: options.root.canonicalize().context("there is no such root")?,
        scratch: options.scratch.canonicalize().context("there is no such scratch folder")?,
        files: if options.files.is_empty() {
            mutants::read_list(&kept.join("nightly.txt"))?
        } else {
            options.files.clone()
        },
        packages: if options.packages.is_empty() { texts(PACKAGES) } else { options.packages.clone() },
        without: texts(WITHOUT),
        sample: options.sample,
        seed: options.seed,
        only: options.only.clone(),
        budget: Duration::from_secs(options.budget),
        patience: Duration::from_secs(10),
        jobs: options.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into)),
    })
}
