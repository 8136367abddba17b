//! `media-save`.

use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::path::PathBuf;

use media::{Lba, LbaRange};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::namespace_fill::{SLICE_BYTES, index};
use super::{Device, LongCommand, Refusal, first_namespace};
use crate::sparse_image;

/// Writes what a namespace holds to a raw sparse file, so that it outlives a drive in memory. A host that writes meanwhile may find its
/// writes in the file or not. The file is made in the folder that `--trace-folder` names.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MediaSave {
    /// A name without a folder, which no file has yet.
    file: PathBuf,
    /// Namespace identifier.
    #[serde(default = "first_namespace")]
    nsid: u32,
    #[serde(skip)]
    saving: RefCell<Option<(File, PathBuf)>>,
    #[serde(skip)]
    next: Cell<u64>,
    #[serde(skip)]
    data: Cell<u64>,
}

/// A file that was written.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Saved {
    /// The file with its folder.
    path: String,
    /// Its length.
    bytes: u64,
    /// Bytes of it that are no hole.
    data: u64,
}

impl LongCommand for MediaSave {
    const NAME: &'static str = "media-save";
    type Answer = Saved;

    fn begin(&self, device: &mut Device<'_>) -> Result<(), Refusal> {
        let (_, _, bytes) = device.volume(self.nsid)?;
        if !device.subsystem.power_is_on() {
            return Err(Refusal::new(
                "power is off: `power-restore` brings it back, and `crash-images` has what it may leave",
            ));
        }
        let (file, path) = device.audience.tracers.create(&self.file).map_err(Refusal::new)?;
        let stretched = sparse_image::stretch(&file, bytes);
        self.saving.replace(Some((file, path)));
        stretched.map_err(|error| self.failed(&error.to_string()))
    }

    fn ended(&self, device: &mut Device<'_>) -> Option<Result<Saved, Refusal>> {
        match self.step(device) {
            Ok(false) => None,
            Ok(true) => {
                let (file, path) = self.saving.take()?;
                let path = path.display().to_string();
                let bytes = file.metadata().map_or(0, |metadata| metadata.len());
                Some(Ok(Saved { path, bytes, data: self.data.get() }))
            }
            Err(refusal) => Some(Err(refusal)),
        }
    }
}

impl MediaSave {
    /// Saves a slice; whether it was the last.
    fn step(&self, device: &mut Device<'_>) -> Result<bool, Refusal> {
        let (volume, block, bytes) = device.volume(self.nsid)?;
        let (next, end) = (self.next.get(), bytes / block);
        let rest = LbaRange::new(Lba(next), end.saturating_sub(next));
        let found = if rest.blocks == 0 { None } else { device.subsystem.media().next_allocated(volume, rest) };
        let Some(Lba(first)) = found else { return Ok(true) };
        let count = (SLICE_BYTES / block).max(1).min(end - first);
        let mut data = vec![0; index(count * block)];
        let read = device.subsystem.read_blocks(self.nsid, first, &mut data);
        read.map_err(|error| self.failed(&format!("blocks {first} to {}: {error}", first + count - 1)))?;
        let saving = self.saving.borrow();
        let Some((file, _)) = saving.as_ref() else { return Ok(true) };
        let written = sparse_image::write(file, first * block, &data);
        drop(saving);
        let written = written.map_err(|error| self.failed(&error.to_string()))?;
        self.data.set(self.data.get() + written);
        self.next.set(first + count);
        Ok(false)
    }

    /// Nothing is left of a file that is not complete.
    fn failed(&self, why: &str) -> Refusal {
        let Some((_, path)) = self.saving.take() else { return Refusal::new(why) };
        let left = if fs::remove_file(&path).is_err() { "; what is there of it is not complete" } else { "" };
        Refusal::new(crate::failure::plain(&format!("cannot save to {}: {why}{left}", path.display())))
    }
}
