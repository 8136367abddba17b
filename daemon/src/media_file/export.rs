//! `brownout media export`: what a namespace of a media file holds, as a sparse raw image. The file is recovered in memory, as at power-on,
//! and stays as it is.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use controller::record;
use media::ssd::Ssd;
use media::store::OverlayStore;
use media::volume::{Collected, VolumeShape};
use media::{Lba, LbaRange, Media as _, Nanoseconds, Request, Submitted, Token, VolumeId};

use super::{guarded, recover, say};
use crate::cli::MediaExport;
use crate::failure::Failure;
use crate::options::{Bytes, OptionError};
use crate::progress::Progress;
use crate::sparse_image;

/// What is read at once.
const STEP_BYTES: u64 = 256 << 10;

/// Writes the image. Nothing is left of one that is not complete.
pub fn export(arguments: &MediaExport) -> Result<(), Failure> {
    let MediaExport { file, out, namespace, force } = arguments;
    let number = namespace.unwrap_or(1);
    let mut drive = recover(file)?;
    let numbers = numbers(&drive);
    let named = numbers.iter().find(|(nsid, _)| u64::from(*nsid) == number).map(|(_, volume)| *volume);
    let Some((volume, shape)) = named.and_then(|volume| Some((volume, drive.shape(volume)?))) else {
        let known: Vec<_> = numbers.iter().map(|(nsid, _)| nsid.to_string()).collect();
        let remedy = format!("the namespaces of the file are: {}", known.join(", "));
        return Err(OptionError::new("--namespace", number.to_string(), remedy).into());
    };
    let image = open(file, out, *force)?;
    let written =
        guarded(|| write(&mut drive, volume, &shape, &image).and_then(|bytes| Ok((bytes, image.sync_all()?))));
    let data = match written {
        Ok((data, ())) => data,
        Err(error) => {
            // It is no image of anything.
            let _ = std::fs::remove_file(out);
            return Err(error.context(format!("cannot export to {}", out.display())).into());
        }
    };
    let (size, data) = (Bytes(shape.capacity_blocks * u64::from(shape.block_bytes)), Bytes(data));
    say(&format!("{}: namespace {number}, {size}, {data} of it data\n", out.display()))
}

/// The volumes with the numbers of their namespaces: from 1 on, unless the file keeps identifiers itself.
fn numbers(drive: &Ssd<OverlayStore>) -> Vec<(u32, VolumeId)> {
    match record::namespaces_of(&drive.note()) {
        Some(kept) => kept.into_iter().map(|(identity, volume)| (identity.nsid, VolumeId(volume))).collect(),
        None => {
            let there = (0..).map(VolumeId).take_while(|volume| drive.shape(*volume).is_some());
            there.map(|volume| (volume.0 + 1, volume)).collect()
        }
    }
}

/// An empty file for the image.
fn open(file: &Path, out: &Path, force: bool) -> Result<File, OptionError> {
    let refuse = |remedy: String| OptionError::new("OUT", out.display().to_string(), remedy);
    let is_media = matches!((file.canonicalize(), out.canonicalize()), (Ok(one), Ok(other)) if one == other);
    if is_media {
        return Err(refuse("it is the media file itself: give another path".to_owned()));
    }
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    let options = if force { options.create(true).truncate(true) } else { options.create_new(true) };
    options.open(out).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => refuse("it exists: give another path, or --force".to_owned()),
        _ => refuse(format!("{error}: give a path where a file can be made")),
    })
}

/// Writes whatever the volume holds that is not zero; returns how many bytes that is.
fn write(drive: &mut Ssd<OverlayStore>, volume: VolumeId, shape: &VolumeShape, image: &File) -> anyhow::Result<u64> {
    let block = u64::from(shape.block_bytes);
    image.set_len(shape.capacity_blocks * block)?;
    let progress = Progress::new("exporting", "blocks");
    let (step, mut lba, mut data) = ((STEP_BYTES / block).max(1), 0, 0);
    while let Some(Lba(next)) = drive.next_allocated(volume, LbaRange::new(Lba(lba), shape.capacity_blocks - lba)) {
        let range = LbaRange::new(Lba(next), step.min(shape.capacity_blocks - next));
        let bytes = read(drive, volume, range, block)?;
        data += sparse_image::write(image, next * block, &bytes)?;
        lba = next + range.blocks;
        progress.at(lba, shape.capacity_blocks);
    }
    Ok(data)
}

fn read(drive: &mut Ssd<OverlayStore>, volume: VolumeId, range: LbaRange, block: u64) -> anyhow::Result<Vec<u8>> {
    let mut into = Collected(vec![0; usize::try_from(range.blocks * block)?]);
    let request = Request::Read { range, into: &mut into, force: false };
    match drive.submit(Nanoseconds(0), Token(0), volume, request) {
        Submitted::Done(Ok(())) => Ok(into.0),
        Submitted::Done(Err(error)) => {
            let (first, last) = (range.start.0, range.start.0 + range.blocks - 1);
            Err(anyhow!("of blocks {first} to {last}: {error}; `media scrub` names what is lost"))
        }
        // A file has no NAND whose time passes, and its data is there at once.
        Submitted::Pending => Err(anyhow!("the file does not answer")),
    }
    .context("cannot read")
}
