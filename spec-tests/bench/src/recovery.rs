//! `bench recovery`: how long power needs to come back, over the size of the media. The drives and the measuring are those of
//! `brownout waf --numbers`; here they are drawn.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use media::Nanoseconds;
use traces::experiments::recovery;
use traces::plot::{Axis, Format, Line, LineChart, Numbers, Scale, Stroke};

use crate::clock;

const GIB: u64 = 1 << 30;

/// How it is run.
#[derive(Args, Debug)]
pub struct Options {
    /// Sizes of drives in GiB, each full; a tebibyte takes 16 GiB of memory and minutes
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16,32,64")]
    gibibytes: Vec<u64>,
    /// Where chance begins
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Draws it; the ending, .svg or .png, says how
    #[arg(long)]
    plot: Option<PathBuf>,
}

/// Runs it; whether every bar was held.
///
/// # Errors
/// The figure cannot be written.
pub fn run(options: &Options) -> Result<bool> {
    let begun = clock::now();
    let nanoseconds = |time: Duration| Nanoseconds(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    let mut moment =
        || recovery::Moment { time: nanoseconds(begun.elapsed()), processor: nanoseconds(clock::processor_time()) };
    println!("{}", recovery::HEAD);
    let mut results = Vec::new();
    for &gibibytes in &options.gibibytes {
        let case = gibibytes.checked_mul(GIB).and_then(recovery::full_drive);
        let case = case.with_context(|| format!("there is no drive of {gibibytes} GiB"))?;
        let recovered = case.run(options.seed, &mut moment);
        println!("{recovered}");
        results.push((gibibytes as f64, recovered));
    }
    if let Some(path) = &options.plot {
        let format = Format::of_path(path).context("a figure's file ends in .svg or .png")?;
        std::fs::write(path, figure(&results).render(format)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!("drawn: {}", path.display());
    }
    Ok(results.iter().all(|(_, recovered)| recovered.holds()))
}

fn figure(results: &[(f64, recovery::Recovered)]) -> LineChart {
    let line = |name: &str, colour, stroke, of: fn(&recovery::Recovered) -> f64| Line {
        name: name.to_owned(),
        colour,
        stroke,
        points: results.iter().map(|(gibibytes, recovered)| (*gibibytes, of(recovered))).collect(),
    };
    LineChart {
        title: "Seconds until a full drive that lost power is back".to_owned(),
        x: Axis { label: "GiB, unit 4 KiB".to_owned(), scale: Scale::Log2, numbers: Numbers::Plain },
        y: Axis { label: "seconds".to_owned(), scale: Scale::Linear, numbers: Numbers::Plain },
        lines: vec![
            line("measured", 0, Stroke::Solid, recovery::Recovered::seconds),
            line("bar", 6, Stroke::Dashed, recovery::Recovered::seconds_max),
        ],
    }
}
