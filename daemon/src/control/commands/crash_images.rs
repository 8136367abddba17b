//! `crash-images`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use controller::power::NotDurable;
use media::Lba;
use media::power::{Fate, ImageNumber, LossImages, VolatileEntry};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Device, Execute, Refusal, first_namespace};
use crate::sparse_image;
use crate::watchdog::{self, Place};

/// As many files are made at most: the device attends to nothing else meanwhile.
const FILES_MAX: u64 = 4096;

/// While power is off: which images this power loss may leave, of which `crash-image` shows one. With a name, raw sparse files are made of
/// them. Nothing may have survived the loss yet: cut with policy=none-survive, which is the default. Only of a drive in memory.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CrashImages {
    /// Makes files of this name with the image's number behind it, such as NAME-00000.raw, and a report, NAME.json, in the folder that
    /// `--trace-folder` names.
    name: Option<String>,
    /// The namespace whose contents they hold.
    #[serde(default = "first_namespace")]
    nsid: u32,
    /// So many files at most, of the images from 0 on.
    #[serde(default = "usual")]
    images: u64,
    /// Where chance begins, if there are too many images for all.
    #[serde(default)]
    seed: u64,
}

const fn usual() -> u64 {
    64
}

/// The images of a loss.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Loss {
    /// How many there may be; 2^64-1 for more than that.
    states: u64,
    /// Each has a number, from 0. Otherwise number 0 has nothing that was not durable, 1 all of it, and the others are drawn.
    exhaustive: bool,
    /// What was not durable, oldest first. Its fate is that of the cut.
    not_durable: Vec<NotDurable>,
    /// The files that were made.
    files: Vec<ImageFile>,
    /// The file that holds this answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<String>,
}

/// A file of an image.
#[derive(Debug, Serialize, JsonSchema)]
struct ImageFile {
    /// Which image.
    number: u64,
    path: String,
    #[serde(flatten)]
    survivors: Survivors,
}

/// What of a loss is in an image.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Survivors {
    /// Which of `not-durable` survived, from 0.
    survived: Vec<usize>,
    /// Which of it survived in part.
    torn: Vec<usize>,
}

impl Survivors {
    /// Of what was not durable.
    pub fn of(entries: &[VolatileEntry]) -> Self {
        let which = |is: &dyn Fn(&Fate) -> bool| {
            entries.iter().enumerate().filter(|(_, entry)| is(&entry.fate)).map(|(number, _)| number).collect()
        };
        Self {
            survived: which(&|fate| *fate == Fate::Survived),
            torn: which(&|fate| matches!(fate, Fate::Torn { .. })),
        }
    }
}

impl Execute for CrashImages {
    const NAME: &'static str = "crash-images";
    type Answer = Loss;

    fn execute(self, device: &mut Device<'_>) -> Result<Loss, Refusal> {
        if self.images > FILES_MAX {
            return Err(Refusal::new(format!("images={}: at most {FILES_MAX} files are made at a time", self.images)));
        }
        if self.name.is_some() && device.audience.tracers.folder().is_none() {
            return Err(Refusal::new("start the device with --trace-folder: it makes files there only"));
        }
        device.volume(self.nsid)?;
        let LossImages { states, exhaustive, entries } = device.forks()?.images().map_err(Refusal::new)?;
        let not_durable = entries.iter().map(|entry| device.subsystem.not_durable(entry)).collect();
        let states = u64::try_from(states).unwrap_or(u64::MAX);
        let mut loss = Loss { states, exhaustive, not_durable, files: Vec::new(), report: None };
        let Some(name) = &self.name else { return Ok(loss) };
        let count = if exhaustive { states.min(self.images) } else { self.images };
        let mut made = Vec::new();
        let outcome = watchdog::during(Place::PowerRestore, || self.make(device, name, count, &mut loss, &mut made));
        if let Err(refusal) = outcome {
            // Half of them would be taken for all.
            made.iter().for_each(|path| _ = fs::remove_file(path));
            return Err(refusal);
        }
        Ok(loss)
    }
}

impl CrashImages {
    fn make(
        &self,
        device: &mut Device<'_>,
        name: &str,
        count: u64,
        loss: &mut Loss,
        made: &mut Vec<PathBuf>,
    ) -> Result<(), Refusal> {
        for number in 0..count {
            let (file, path) = create(device, &format!("{name}-{number:05}.raw"), made)?;
            let entries = self.fill(device, number, &file, &path)?;
            let (survivors, path) = (Survivors::of(&entries), path.display().to_string());
            loss.files.push(ImageFile { number, path, survivors });
        }
        let (file, path) = create(device, &format!("{name}.json"), made)?;
        loss.report = Some(path.display().to_string());
        serde_json::to_writer_pretty(file, loss).map_err(|error| Refusal::new(format!("{}: {error}", path.display())))
    }

    fn fill(
        &self,
        device: &mut Device<'_>,
        number: u64,
        file: &File,
        path: &Path,
    ) -> Result<Vec<VolatileEntry>, Refusal> {
        let (volume, block, bytes) = device.volume(self.nsid)?;
        let cannot =
            |error: std::io::Error| crate::failure::plain(&format!("cannot write {}: {error}", path.display()));
        sparse_image::stretch(file, bytes).map_err(|error| Refusal::new(cannot(error)))?;
        let image = ImageNumber { number, seed: self.seed };
        let mut take =
            |lba: Lba, data: &[u8]| sparse_image::write(file, lba.0 * block, data).map(|_| ()).map_err(cannot);
        device.forks()?.contents(image, volume, &mut take).map_err(Refusal::new)
    }
}

fn create(device: &Device<'_>, name: &str, made: &mut Vec<PathBuf>) -> Result<(File, PathBuf), Refusal> {
    let (file, path) = device.audience.tracers.create(Path::new(name)).map_err(Refusal::new)?;
    made.push(path.clone());
    Ok((file, path))
}
