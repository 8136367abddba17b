//! The experiments of `brownout waf`: runs their measurements in parallel where the machine has processors for it, reports progress on
//! standard error, and turns an exceeded limit into the exit code. What is measured, and the tables, are in [`traces`].

use std::fmt::Display;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use anyhow::anyhow;
use serde_json::{Value, json};
use traces::experiments::{Size, card, grid, maps, recovery, served, theory, wear};

use super::say;
use crate::cli;
use crate::clock::Clock;
use crate::failure::Failure;
use crate::figure_file::FigureFile;
use crate::options::{Bytes, Given, OptionError, Settings};

/// What `main` returns where a bar was missed.
const MISSED: u8 = 1;
/// The drives of F1 as served: sizes, and over-provisioning, none for the default.
const SIZES: [&str; 3] = ["64MiB", "256MiB", "1GiB"];
const SIZES_COARSE: [&str; 1] = ["16MiB"];
const SPARES: [Option<&str>; 2] = [None, Some("op=7%")];

/// Whether all limits were held, and what was found, for programs.
type Found = (bool, Value);

#[derive(Clone, Copy)]
enum Which {
    Theory,
    SdCard,
    Numbers,
}

/// An experiment with its options.
pub(super) struct Experiment<'a> {
    which: Which,
    size: Size,
    seed: u64,
    plot: Option<&'a Path>,
    /// A full drive whose recovery is measured, and nothing else.
    drive: Option<Bytes>,
    /// For programs, once it is over, in place of tables as they come.
    json: bool,
}

impl<'a> Experiment<'a> {
    /// The experiment that the command line asks for, if it asks for one.
    pub fn asked_for(arguments: &'a cli::Waf) -> Option<Self> {
        let asked = [
            (arguments.theory, Which::Theory),
            (arguments.sd_card, Which::SdCard),
            (arguments.numbers, Which::Numbers),
        ];
        let (_, which) = asked.into_iter().find(|(asked, _)| *asked)?;
        let size = if arguments.coarse { Size::Coarse } else { Size::Full };
        let (seed, plot, drive) = (arguments.seed.unwrap_or(1), arguments.plot.as_deref(), arguments.drive);
        Some(Self { which, size, seed, plot, drive, json: arguments.json })
    }

    /// Tells people.
    fn tell(&self, text: &str) -> anyhow::Result<()> {
        if self.json { Ok(()) } else { say(text) }
    }

    /// Runs it; returns the exit code.
    pub fn run(&self) -> Result<u8, Failure> {
        let file = self.plot.map(FigureFile::new).transpose()?;
        file.as_ref().map_or(Ok(()), FigureFile::try_opening)?;
        let progress = Progress::new();
        let (name, (held, found)) = match self.which {
            Which::Theory => ("theory", self.theory(&progress, file)?),
            Which::SdCard => ("sd-card", self.card(&progress, file)?),
            Which::Numbers => match self.drive {
                Some(drive) => ("recovery", self.recovery(&progress, drive)?),
                None => ("numbers", self.numbers(&progress)?),
            },
        };
        progress.note("done");
        if self.json {
            let coarse = self.size == Size::Coarse;
            let whole =
                json!({ "experiment": name, "seed": self.seed, "coarse": coarse, "held": held, "found": found });
            say(&format!("{whole:#}\n"))?;
        }
        Ok(if held { 0 } else { MISSED })
    }

    fn theory(&self, progress: &Progress, file: Option<FigureFile<'_>>) -> Result<Found, Failure> {
        let results = progress.measure(&theory::cases(self.size), |case| case.run(self.seed));
        let table = theory::Table::new(self.size, &results);
        let drives = self.served()?;
        let results = progress.measure(&drives, |case| case.run(self.seed));
        let served = served::Table::new(self.size, &drives, &results);
        self.tell(&format!("seed {}\n{table}{served}", self.seed))?;
        if let Some(file) = file {
            self.tell(&file.write(|format| table.figure().render(format))?)?;
        }
        Ok((table.holds() && served.holds(), json!({ "points": table.json(), "served": served.json() })))
    }

    /// Drives to which only their size is told, and the same with less spare.
    fn served(&self) -> Result<Vec<served::Case>, OptionError> {
        let sizes: &[&str] = if self.size == Size::Full { &SIZES } else { &SIZES_COARSE };
        let drives = sizes.iter().flat_map(|size| SPARES.map(|spare| (size, spare)));
        drives
            .map(|(size, spare)| {
                let namespaces = vec![format!("size={size}")];
                let media = spare.map(str::to_owned);
                let settings = Settings::read(&Given { namespaces, media, ..Given::default() })?;
                let words = format!("size={size}{}", spare.map(|spare| format!(" {spare}")).unwrap_or_default());
                Ok(served::Case { words, config: settings.media.ssd, judged: spare.is_none() })
            })
            .collect()
    }

    /// There is no chance in it, and so no seed.
    fn card(&self, progress: &Progress, file: Option<FigureFile<'_>>) -> Result<Found, Failure> {
        let table = card::Table::new(self.size, &progress.measure(&card::cases(self.size), card::Case::run));
        self.tell(&table.to_string())?;
        if let Some(file) = file {
            self.tell(&file.write(|format| table.figure().render(format))?)?;
        }
        Ok((table.holds(), json!({ "movements": table.json() })))
    }

    /// Each number is said as soon as it is known: a recovery of a large drive takes its time to prepare.
    fn numbers(&self, progress: &Progress) -> Result<Found, Failure> {
        let exact = grid::compare();
        let memory = maps::count();
        self.tell(&format!("seed {}\n{exact}{memory}{}\n", self.seed, recovery::HEAD))?;
        let mut held = exact.holds() && memory.holds();
        let mut recoveries = Vec::new();
        for case in recovery::cases(self.size) {
            // One after the other: what is measured here is time.
            let (kept, recovered) = self.recover(progress, case)?;
            held &= kept;
            recoveries.push(recovered);
        }
        let worn = progress.measure(&wear::cases(self.size), |case| case.run(self.seed));
        let [levelled, plain] = worn[..] else { unreachable!("two cases have two results") };
        let worn = wear::Comparison::new(self.size, [levelled, plain]);
        self.tell(&worn.to_string())?;
        let found = json!({
            "units": exact.json(), "memory": memory.json(), "recovery": recoveries, "wear": worn.json(),
        });
        Ok((held && worn.holds(), found))
    }

    fn recovery(&self, progress: &Progress, drive: Bytes) -> Result<Found, Failure> {
        let remedy = "give 4KiB or more, as far as a map of units of 4KiB goes: 7TiB at most";
        let case = recovery::full_drive(drive.0);
        let case = case.ok_or_else(|| OptionError::new("--drive", drive.to_string(), remedy))?;
        if let Err(lack) = case.needs().probe() {
            return Err(anyhow!("--drive {drive}: {lack}: give a smaller drive; 1TiB takes 16 GiB").into());
        }
        self.tell(&format!("seed {}\n{}\n", self.seed, recovery::HEAD))?;
        let (kept, recovered) = self.recover(progress, case)?;
        Ok((kept, json!({ "recovery": [recovered] })))
    }

    fn recover(&self, progress: &Progress, case: recovery::Case) -> Result<Found, Failure> {
        let clock = Clock::new();
        let mut moment = || recovery::Moment { time: clock.now(), processor: Clock::processor() };
        let recovered = case.run(self.seed, &mut moment);
        progress.note(case);
        self.tell(&format!("{recovered}\n"))?;
        Ok((recovered.holds(), recovered.json()))
    }
}

/// Says on standard error what is done, and when.
struct Progress {
    clock: Clock,
}

impl Progress {
    fn new() -> Self {
        Self { clock: Clock::new() }
    }

    fn note(&self, what: impl Display) {
        let tenths = self.clock.now().0 / 100_000_000;
        eprintln!("{:3}.{} s  {what}", tenths / 10, tenths % 10);
    }

    /// The result of each case, in the order of the cases, whichever ends first.
    fn measure<C: Sync + Display, R: Send>(&self, cases: &[C], run: impl Fn(&C) -> R + Sync) -> Vec<R> {
        let next = AtomicUsize::new(0);
        let threads = thread::available_parallelism().map_or(1, usize::from).min(cases.len());
        let mut results: Vec<Option<R>> = cases.iter().map(|_| None).collect();
        thread::scope(|scope| {
            let (done, ended) = mpsc::channel();
            for _ in 0..threads {
                let (done, next, run) = (done.clone(), &next, &run);
                scope.spawn(move || {
                    while let Some((index, case)) = cases.iter().enumerate().nth(next.fetch_add(1, Ordering::Relaxed)) {
                        // Who listens is this function, and it waits for all.
                        let _heard = done.send((index, run(case)));
                    }
                });
            }
            drop(done);
            for (index, result) in ended {
                self.note(&cases[index]);
                results[index] = Some(result);
            }
        });
        results.into_iter().map(|result| result.expect("each case has ended, or its panic has come here")).collect()
    }
}
