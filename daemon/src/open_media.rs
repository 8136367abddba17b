//! From settings to a running drive: creates or opens the store, recovers, and logs what was found. Knows no NVMe.

use std::path::Path;

use anyhow::{Context, bail};
use media::Media;
use media::needs::{Needs, Part};
use media::ssd::{Forkable, Ssd};
use media::store::{FileOptions, FileStore, MemoryStore, OverlayStore, Store};

use crate::clock::Clock;
use crate::options::{About, HostCache, MediaSettings};

/// Makes or opens the media. `waker` is called when the host's disk has done what somebody may be waiting for.
///
/// # Errors
/// The file cannot be made, or opened, or recovered; it is then as it was.
pub fn open_media(settings: &MediaSettings, waker: Box<dyn Fn() + Send>) -> anyhow::Result<Box<dyn Media>> {
    for name in settings.ssd.misbehaviour.names() {
        tracing::warn!(misbehave = name, "this drive breaks a promise, as configured: its data is not safe");
    }
    let Some(path) = settings.file() else {
        let geometry = settings.geometry();
        check_memory(settings, &Needs::in_memory(&geometry))?;
        let store = match settings.memory_max {
            Some(most) => MemoryStore::limited_to(&geometry, most)?,
            None => MemoryStore::new(&geometry)?,
        };
        let drive = Ssd::create(settings.ssd.clone(), store.giving_back(guest_memory::give_back))?;
        return Ok(Box::new(Forkable::new(drive)));
    };
    let options = file_options(settings, Some(waker));
    let drive = if settings.exists() { open(settings, path, options) } else { create(settings, path, options) };
    Ok(Box::new(drive?))
}

/// Asks for all the memory that the drive will need, before anything is made or opened.
///
/// # Errors
/// The system does not give it: for what, which options decide that, and what would do.
fn check_memory(settings: &MediaSettings, needs: &Needs) -> anyhow::Result<()> {
    let Err(lack) = needs.probe() else { return Ok(()) };
    let (options, remedy) = settings.sizes_of(lack.part);
    let (what, of) = match lack.part {
        Part::Data => ("what is written to it", lack.bytes),
        Part::Map => ("its map", lack.bytes),
        Part::Lines => ("its lines", lack.bytes),
        Part::OpenLines => ("its open lines", lack.bytes),
    };
    bail!(
        "{options}: the drive needs {} of memory, {} of it for {what}, and the system does not give it: {remedy}, \
         or give the process more memory (ulimit -v, vm.overcommit_memory)",
        About(lack.bytes_of_all),
        About(of)
    );
}

/// How the settings want a file to be used.
pub fn file_options(settings: &MediaSettings, waker: Option<Box<dyn Fn() + Send>>) -> FileOptions {
    let cache_unsafe = settings.cache == HostCache::Unsafe;
    FileOptions { cache_unsafe, waker, identity: settings.identity, ..FileOptions::default() }
}

/// Makes the file and waits until the host's disk has it: a drive of which half is there would be no drive.
///
/// # Errors
/// There is a file already, or no room for this one.
pub fn create(settings: &MediaSettings, path: &Path, options: FileOptions) -> anyhow::Result<Ssd<FileStore>> {
    let geometry = settings.geometry();
    check_memory(settings, &Needs::in_file(&geometry))?;
    let store = FileStore::create_file(path, &geometry, settings.ssd.tuning.journal_entries, options)?;
    let made = Ssd::create(settings.ssd.clone(), store).map_err(anyhow::Error::from).and_then(|mut drive| {
        drive.store().disk().settle()?;
        Ok(drive)
    });
    if made.is_err() {
        // Ours, and no drive: nothing can have been written to it.
        std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    let drive = made.with_context(|| format!("cannot make {}", path.display()))?;
    tracing::info!(file = %path.display(), "created the media file");
    Ok(drive)
}

fn open(settings: &MediaSettings, path: &Path, options: FileOptions) -> anyhow::Result<Ssd<FileStore>> {
    let clock = Clock::new();
    let geometry = settings.geometry();
    check_memory(settings, &Needs::in_file(&geometry))?;
    let store =
        FileStore::open_file(path, &geometry, options).with_context(|| format!("cannot use {}", path.display()))?;
    let drive = Ssd::open(settings.ssd.clone(), store).with_context(|| format!("cannot recover {}", path.display()))?;
    report(&drive, path, &clock);
    Ok(drive)
}

/// Opens a file to look at: it is recovered in memory and stays as it is.
///
/// # Errors
/// The file cannot be read, is in use, or cannot be recovered.
pub fn look_at(settings: &MediaSettings, path: &Path) -> anyhow::Result<Ssd<OverlayStore>> {
    let clock = Clock::new();
    let geometry = settings.geometry();
    check_memory(settings, &Needs::in_file(&geometry))?;
    let store = OverlayStore::open_overlay(path, &geometry)?;
    let drive = Ssd::open(settings.ssd.clone(), store).context("it cannot be recovered")?;
    report(&drive, path, &clock);
    Ok(drive)
}

fn report<S: Store>(drive: &Ssd<S>, path: &Path, clock: &Clock) {
    let status = drive.status();
    let found = status.recovery;
    tracing::info!(
        file = %path.display(),
        milliseconds = clock.now().0 / 1_000_000,
        last_end = if found.clean { "clean" } else { "unclean" },
        lines_scanned = found.lines_scanned,
        replayed = found.replayed,
        given_up = found.given_up,
        torn = found.torn,
        power_cycles = status.counters.power_cycles,
        unsafe_shutdowns = status.counters.unsafe_shutdowns,
        "recovered the media"
    );
}
