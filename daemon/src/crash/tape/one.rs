//! One place, image by image: to find the pieces that matter, to show an image, and to keep it.

use std::path::PathBuf;

use anyhow::Context as _;
use tape::history::Block;
use tape::{Image, Volume};

use super::bench::Bench;
use super::judge::{Judge, Verdict};
use super::place::Places;

/// A judge at one place of the tape.
pub struct One<'a> {
    judge: &'a mut dyn Judge,
    /// What became durable since the tape began.
    durable: Vec<(u64, Block)>,
    volume: Volume,
    base: Option<PathBuf>,
}

impl<'a> One<'a> {
    /// At the place to which the tape has just come from its beginning.
    ///
    /// # Errors
    /// The judge cannot come there.
    pub fn new(judge: &'a mut dyn Judge, places: &mut Places, base: Option<PathBuf>) -> anyhow::Result<Self> {
        let durable = places.news();
        judge.begin()?;
        judge.follow(&durable)?;
        Ok(Self { judge, durable, volume: *places.history().volume(), base })
    }

    /// Judges the image in which just these pieces survive.
    ///
    /// # Errors
    /// It could not be tried.
    pub fn judge(&mut self, places: &Places, survives: &[bool]) -> anyhow::Result<Verdict> {
        let image = Image::new(places.history(), survives.to_vec());
        self.judge.judge(&image, &places.acks())
    }

    /// Makes an image as a file, without judging it: as the drive may have left it.
    ///
    /// # Errors
    /// It could not be made.
    pub fn make(&self, places: &Places, survives: &[bool]) -> anyhow::Result<Bench> {
        let image = Image::new(places.history(), survives.to_vec());
        let mut bench = Bench::new(&self.volume, self.base.as_deref())?;
        bench.follow(&self.durable).context("cannot write an image")?;
        bench.make(&image, &places.acks()).context("cannot write an image")?;
        Ok(bench)
    }

    /// What was said of the image that was judged last.
    pub fn log(&self) -> String {
        self.judge.log()
    }
}
