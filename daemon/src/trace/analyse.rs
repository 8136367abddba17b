//! `brownout trace analyse`: what a trace is like, as a table, as JSON, as a figure.

use std::io::{self, Write as _};

use anyhow::Context as _;
use traces::analysis::Analysis;

use super::Analyse;
use super::input::Input;
use crate::failure::Failure;
use crate::figure_file::FigureFile;
use crate::options::OptionError;
use crate::waf::unit;

/// Says what was found; returns the exit code. Of a trace that ends too early, or is wrong somewhere, what came before is told first.
pub fn analyse(arguments: &Analyse) -> Result<u8, Failure> {
    let units = arguments.iu.iter().map(|&bytes| unit(bytes)).collect::<Result<Vec<_>, _>>()?;
    let figure_file = arguments.plot.as_deref().map(FigureFile::new).transpose()?;
    figure_file.as_ref().map_or(Ok(()), FigureFile::try_opening)?;
    let mut input = Input::open(&arguments.trace, "reading")?;
    let mut analysis = Analysis::new(&units, f64::from(arguments.spare.0) / 1e6);
    let taken = analysis.take(&mut input.trace).map_err(|error| input.failed(error));
    let said = if arguments.json { format!("{:#}\n", analysis.json()) } else { analysis.to_string() };
    io::stdout().write_all(said.as_bytes()).context("cannot say what came out")?;
    if let Some(file) = figure_file {
        if let Some(lack) = analysis.lacks(arguments.figure) {
            let remedy = format!("there is nothing to draw, because {lack}: give another --figure");
            return Err(OptionError::new("--plot", file.name(), remedy).into());
        }
        let drawn = file.write(|format| analysis.render(arguments.figure, format))?;
        // Standard output may be JSON.
        eprint!("{drawn}");
    }
    taken?;
    Ok(0)
}
