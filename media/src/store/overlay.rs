//! A disk that is a file nobody changes: what is written stays in memory and covers the file's bytes. For looking at a media as if it
//! were in use: recovery writes, and the file is what it was.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use super::backing::StoreError;
use super::disk::{AtOnce, Disk};
use super::file::{failed, read_at, read_the_disk};
use super::image::ImageStore;
use super::schedule::{Done, Operation};
use crate::geometry::Geometry;
use crate::journal::METADATA_PAGE;
use crate::unit::index;

const PAGE: u64 = METADATA_PAGE as u64;

/// A file and what was written over it.
pub struct OverlayDisk {
    file: Option<File>,
    pages: BTreeMap<u64, Box<[u8; METADATA_PAGE]>>,
    progress: AtOnce,
}

impl ImageStore<OverlayDisk> {
    /// Opens a media file to look at. Others may look at it too, but nobody may use it meanwhile.
    ///
    /// # Errors
    /// Where it is missing, in use, damaged, cut off, of another version or of another geometry.
    pub fn open_overlay(path: &Path, geometry: &Geometry) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(|error| failed("open", path, &error))?;
        file.try_lock_shared()
            .map_err(|_| StoreError::Refused(format!("{} is in use by another process", path.display())))?;
        // What is only in the system's memory is not on the disk, and must not be taken for it.
        read_the_disk(&file).map_err(|error| failed("sync", path, &error))?;
        let length = file.metadata().map_err(|error| failed("examine", path, &error))?.len();
        let disk = OverlayDisk { file: Some(file), pages: BTreeMap::new(), progress: AtOnce::default() };
        Self::open_whole(geometry, disk, length)
    }
}

impl OverlayDisk {
    fn below(&self, page: u64) -> Result<Box<[u8; METADATA_PAGE]>, StoreError> {
        let mut bytes = Box::new([0; METADATA_PAGE]);
        let Some(file) = &self.file else {
            return Err(StoreError::Refused("the media file is closed".into()));
        };
        read_at(file, page * PAGE, &mut bytes[..])
            .map_err(|error| StoreError::of_system("cannot read the media file", &error))?;
        Ok(bytes)
    }

    fn cover(&mut self, offset: u64, bytes: &[u8]) {
        for (page, at, part) in Self::parts(offset, bytes.len()) {
            if !self.pages.contains_key(&page) {
                // What cannot be read below reads as zeroes beside what is written; reads of it alone still say that it fails.
                let below = self.below(page).unwrap_or_else(|_| Box::new([0; METADATA_PAGE]));
                self.pages.insert(page, below);
            }
            if let Some(target) = self.pages.get_mut(&page) {
                target[at..at + part.len()].copy_from_slice(&bytes[part]);
            }
        }
    }

    /// The pages that a range touches: page, first byte in it, and the part of the range.
    fn parts(offset: u64, bytes: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
        let end = offset + bytes as u64;
        (offset / PAGE..end.div_ceil(PAGE)).map(move |page| {
            let from = offset.max(page * PAGE);
            let to = end.min((page + 1) * PAGE);
            (page, index(from - page * PAGE), index(from - offset)..index(to - offset))
        })
    }
}

impl Disk for OverlayDisk {
    fn call(&mut self, operation: Operation) -> u64 {
        let mut progress = self.progress;
        let turns = progress.call(operation, |offset, bytes| self.cover(offset, bytes));
        self.progress = progress;
        turns
    }

    fn ticket(&mut self, _durable: bool) -> u64 {
        self.progress.ticket()
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), StoreError> {
        let Some(file) = &self.file else {
            return Err(StoreError::Refused("the media file is closed".into()));
        };
        read_at(file, offset, into).map_err(|error| StoreError::of_system("cannot read the media file", &error))?;
        let first = offset / PAGE;
        let end = (offset + into.len() as u64).div_ceil(PAGE);
        if self.pages.range(first..end).next().is_none() {
            return Ok(());
        }
        for (page, at, part) in Self::parts(offset, into.len()) {
            if let Some(source) = self.pages.get(&page) {
                into[part.clone()].copy_from_slice(&source[at..at + part.len()]);
            }
        }
        Ok(())
    }

    fn done(&mut self) -> Result<Done, StoreError> {
        Ok(self.progress.done())
    }

    fn take(&mut self) -> Self {
        let husk = Self { file: None, pages: BTreeMap::new(), progress: AtOnce::default() };
        std::mem::replace(self, husk)
    }
}
