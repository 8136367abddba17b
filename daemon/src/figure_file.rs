//! Where a figure goes: a file whose ending says what is drawn.

use std::fs::{self, OpenOptions};
use std::path::Path;

use anyhow::Context as _;
use traces::plot::{Format, PlotError};

use crate::failure::Failure;
use crate::options::OptionError;

/// A file for a figure.
pub struct FigureFile<'a> {
    path: &'a Path,
    format: Format,
}

impl<'a> FigureFile<'a> {
    /// At a path whose ending names the format.
    ///
    /// # Errors
    /// It has another ending.
    pub fn new(path: &'a Path) -> Result<Self, OptionError> {
        let remedy = "give a file that ends in .svg or .png";
        let format = Format::of_path(path);
        let format = format.ok_or_else(|| OptionError::new("--plot", path.display().to_string(), remedy))?;
        Ok(Self { path, format })
    }

    /// Finds out whether it can be written, before work is done for it; leaves what it holds.
    ///
    /// # Errors
    /// It cannot.
    pub fn try_opening(&self) -> anyhow::Result<()> {
        let opened = OpenOptions::new().write(true).create(true).truncate(false).open(self.path);
        opened.map(drop).with_context(|| self.failed())
    }

    /// Draws and writes; returns what is said about it.
    ///
    /// # Errors
    /// It cannot be drawn, or not be written.
    pub fn write(&self, render: impl FnOnce(Format) -> Result<Vec<u8>, PlotError>) -> Result<String, Failure> {
        let picture = render(self.format).map_err(anyhow::Error::from)?;
        fs::write(self.path, picture).with_context(|| self.failed())?;
        Ok(format!("drew {}\n", self.path.display()))
    }

    /// Its path.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn failed(&self) -> String {
        format!("cannot write {}", self.path.display())
    }
}
