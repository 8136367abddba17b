//! What is kept of a bad image: what was durable, the image before anybody judged it, what was acknowledged, what the command said, and the
//! report.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::one::One;
use super::place::Places;

/// The folder of a place.
pub fn own(folder: &Path, place: u64) -> PathBuf {
    folder.join(format!("place-{place}"))
}

/// Keeps an image in a folder of its own, with what was said of it last.
///
/// # Errors
/// It cannot be written.
pub fn keep(folder: &Path, one: &One<'_>, places: &Places, shown: (u64, &[bool]), told: &str) -> anyhow::Result<()> {
    let (place, survives) = shown;
    let bench = one.make(places, survives)?;
    let own = own(folder, place);
    let cannot_write = || format!("cannot write to {}", own.display());
    fs::create_dir_all(&own).with_context(cannot_write)?;
    for name in ["durable", "image", "acks"] {
        bench.copy(name, &own.join(name)).with_context(cannot_write)?;
    }
    let pieces: String = places.names().iter().enumerate().map(|(at, name)| format!("{at} {name}\n")).collect();
    for (name, text) in [("log", one.log()), ("pieces", pieces), ("report", told.to_owned())] {
        fs::write(own.join(name), text).with_context(cannot_write)?;
    }
    Ok(())
}
