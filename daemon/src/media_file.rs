//! `brownout media`: creates, describes, checks, lists and exports a media file, without a device around it.

mod dump;
mod export;
mod json;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use anyhow::{Context as _, anyhow};
use media::root::VolumeEntry;
use media::ssd::{Findings, Ssd};
use media::store::{FileStore, Inspection, OverlayStore, Store, inspect};
use serde_json::{Value, json};

use crate::cli::{MediaCreate, MediaFile, MediaVerb};
use crate::failure::Failure;
use crate::open_media::{create, file_options, look_at};
use crate::options::{Bytes, Given, OptionError, Settings, kept};
use crate::progress::Progress;

/// How many damaged units are named before the rest is only counted.
const NAMED: usize = 20;

/// Does what was asked with a media file.
///
/// # Errors
/// A wrong option; a file that cannot be made or read, or is damaged.
pub fn media(verb: MediaVerb) -> Result<(), Failure> {
    match verb {
        MediaVerb::Create(arguments) => make(arguments),
        MediaVerb::Info(arguments) => {
            let file = read(&arguments.file)?;
            if arguments.json { say_json(&json::info(&file)) } else { say(&describe(&file)) }
        }
        MediaVerb::Check(arguments) => check(&arguments),
        MediaVerb::Scrub(arguments) => scrub(&arguments),
        MediaVerb::Dump(arguments) => dump::dump(&arguments),
        MediaVerb::Export(arguments) => export::export(&arguments),
    }
}

fn make(arguments: MediaCreate) -> Result<(), Failure> {
    let MediaCreate { file, config, media, namespace } = arguments;
    if file.symlink_metadata().is_ok() {
        return Err(OptionError::new("FILE", file.display().to_string(), "it exists: give another path").into());
    }
    let given = Given { file: config, media, namespaces: namespace, store: Some(file.clone()), ..Given::default() };
    let settings = Settings::read(&given)?.media;
    let finished = create(&settings, &file, file_options(&settings, None)).and_then(|drive| finish(drive, &file));
    if let Err(error) = finished {
        // Ours, and nothing is in it. It may be gone already.
        let _ = std::fs::remove_file(&file);
        return Err(error.into());
    }
    let lines: String = settings.figures().iter().map(|line| format!("{line}\n")).collect();
    say(&format!("made {}\n{lines}", file.display()))
}

fn finish(mut drive: Ssd<FileStore>, file: &Path) -> anyhow::Result<()> {
    let ticket = drive.shutdown();
    drive.store().disk().settle().with_context(|| format!("cannot finish {}", file.display()))?;
    if !drive.synced(ticket).context("cannot finish the file")? {
        return Err(anyhow!("{} is not on the disk", file.display()));
    }
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<Inspection> {
    inspect(file).with_context(|| format!("cannot use {}", file.display()))
}

fn say(text: &str) -> Result<(), Failure> {
    Ok(io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")?)
}

fn say_json(value: &Value) -> Result<(), Failure> {
    say(&format!("{value:#}\n"))
}

/// A file by its header and its newest root, in lines.
fn describe(file: &Inspection) -> String {
    let (geometry, root) = (&file.geometry, &file.root);
    let mut text = format!(
        "unit: {}\nuser: {}\nNAND: {} channels, {} dies a channel, {} planes a die, {} pages of {} a block\n",
        Bytes(geometry.unit_bytes.into()),
        Bytes(geometry.user_bytes),
        geometry.channels,
        geometry.dies_per_channel,
        geometry.planes_per_die,
        geometry.pages_per_block,
        Bytes(geometry.page_bytes.into()),
    );
    for (number, volume) in identified(file) {
        let size = Bytes(volume.capacity_blocks.saturating_mul(volume.block_bytes.into()));
        let most = Bytes(u64::from(volume.units) * u64::from(geometry.unit_bytes));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "namespace {number}: {size} of at most {most}, in blocks of {}",
            Bytes(volume.block_bytes.into())
        );
    }
    let counters = &root.counters;
    let end = if root.clean { "clean" } else { "unclean, or in use: these figures are of the last root" };
    let _ = writeln!(text, "last end: {end}");
    let _ = writeln!(
        text,
        "power cycles: {}, unsafe shutdowns: {}\nhost wrote: {} bytes in {} writes\nbad blocks: {}",
        counters.power_cycles,
        counters.unsafe_shutdowns,
        counters.host_write_bytes,
        counters.host_writes,
        root.bad_blocks.len(),
    );
    text
}

/// The volumes of a file with the identifiers of their namespaces; where the file does not keep these, with numbers from 1.
fn identified(file: &Inspection) -> Vec<(u32, VolumeEntry)> {
    if file.geometry.volumes_max == 0 {
        return (1..).zip(file.root.volumes.iter().copied()).collect();
    }
    kept(file).map(|(identity, volume)| (identity.nsid, volume)).collect()
}

/// Recovers a file in memory. What breaks one of our own rules on the way is damage too, and has said so on stderr.
fn recover(file: &Path) -> anyhow::Result<Ssd<OverlayStore>> {
    read(file)?;
    let given = Given { store: Some(file.to_owned()), ..Given::default() };
    let settings = Settings::read(&given)?.media;
    guarded(|| look_at(&settings, file)).with_context(|| format!("cannot use {}", file.display()))
}

fn guarded<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(anyhow!("the media is damaged: it breaks a rule; see above")))
}

fn check(MediaFile { file, json }: &MediaFile) -> Result<(), Failure> {
    let mut drive = recover(file)?;
    guarded(|| {
        drive.ftl().assert_invariants();
        Ok(())
    })?;
    let findings = read_everything(&mut drive)?;
    if *json {
        let mut found = json::structure(&drive);
        found["data"] = json::data(&drive, &findings);
        say_json(&found)?;
    } else {
        say(&concluded(structure(&drive) + &losses(&drive, &findings, NAMED), &findings))?;
    }
    conclude(file, &findings)
}

fn scrub(MediaFile { file, json }: &MediaFile) -> Result<(), Failure> {
    let mut drive = recover(file)?;
    let findings = read_everything(&mut drive)?;
    if *json {
        say_json(&json!({ "data": json::data(&drive, &findings) }))?;
    } else {
        say(&concluded(losses(&drive, &findings, usize::MAX), &findings))?;
    }
    conclude(file, &findings)
}

fn read_everything<S: Store>(drive: &mut Ssd<S>) -> anyhow::Result<Findings> {
    let progress = Progress::new("reading", "units");
    guarded(|| Ok(drive.examine(&mut |done, all| progress.at(done.into(), all.into()))?))
}

fn concluded(text: String, findings: &Findings) -> String {
    text + if findings.sound() { "sound\n" } else { "damaged\n" }
}

fn conclude(file: &Path, findings: &Findings) -> Result<(), Failure> {
    if !findings.sound() {
        return Err(anyhow!("{} is damaged", file.display()).into());
    }
    Ok(())
}

/// The damaged units, in lines, by what of them a host sees.
fn losses<S: Store>(drive: &Ssd<S>, findings: &Findings, named: usize) -> String {
    let mut text = format!("units: {} mapped, {} damaged\n", findings.mapped, findings.damaged.len());
    for &(unit, line, slot) in findings.damaged.iter().take(named) {
        let place = format!("unit {} at line {line} slot {slot}", unit.0);
        let _ = match drive.blocks_of(unit) {
            Some((volume, range)) if range.blocks > 0 => {
                let (first, last) = (range.start.0, range.start.0 + range.blocks - 1);
                writeln!(text, "damaged: namespace {} blocks {first} to {last} ({place})", volume.0 + 1)
            }
            _ => writeln!(text, "damaged: {place}, of no namespace"),
        };
    }
    if findings.damaged.len() > named {
        let _ = writeln!(text, "and {} more: media scrub names all", findings.damaged.len() - named);
    }
    text
}

/// What recovery found, the ledger and the lines, in lines.
fn structure<S: Store>(drive: &Ssd<S>) -> String {
    let status = drive.status();
    let (ledger, found) = (&status.ledger, &status.recovery);
    let mut text = format!(
        "last end: {}; replayed {}, given up {}, torn {}\n",
        if found.clean { "clean" } else { "unclean" },
        found.replayed,
        found.given_up,
        found.torn,
    );
    let _ = writeln!(
        text,
        "ledger: {} programmed = {} host + {} fill + {} collected + {} wear + {} padding + {} metadata: {}",
        ledger.programs,
        ledger.host,
        ledger.fill,
        ledger.collected,
        ledger.wear,
        ledger.padding,
        ledger.metadata,
        if ledger.balances() { "balances" } else { "DOES NOT BALANCE" },
    );
    let (lines, free) = status.lines;
    let erases = status.erase_counts;
    let _ = writeln!(
        text,
        "lines: {lines}, {free} free; erases {} to {}; bad blocks: {}",
        erases.least, erases.most, status.bad_blocks
    );
    text
}
