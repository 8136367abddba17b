//! `brownout crash --tape`: at places of a tape, the images that a drive may have left if power had gone there, each judged. [`place`]
//! finds places, [`worker`] has images judged ([`judge`], chosen by [`check`]): by a command ([`shell`]), which gets files ([`bench`]), or
//! in a [`guest`]. [`one`] asks again about one place, [`kept`] keeps what is needed to show a bad image again, [`files`]
//! says which file a block belongs to, and [`merged`] puts together what shards found.

mod bench;
mod check;
mod files;
mod guest;
mod judge;
mod kept;
pub(super) mod merged;
mod one;
mod page;
mod place;
mod shell;
pub(super) mod words;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use media::{Nanoseconds, VolumeId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tape::images::IMAGES_MAX;
use tape::shrink::{Cause, shrink};
use tape::{Choices, Image, Volume};

use super::Arguments;
use super::bounds::{Bounds, INTERRUPTED, duration};
use super::junit::Suite;
use super::report::Report;
use super::shards::Shards;
use super::system::System;
use crate::failure::Failure;
use crate::number::count;
use crate::options::OptionError;
use crate::progress::Progress;
use check::Check;
use judge::{Judge, Verdict};
use one::One;
use place::{At, Places};
use worker::{Job, Workers};

/// Images of a campaign of which nothing is said.
const IMAGES: u64 = 100_000;
/// And of one place that has more than [`IMAGES_MAX`]: so many draws, beside those that tell most.
const DRAWS_OF_PLACE: u64 = 1000;

/// Blocks of a file that is an image: what was made for longer ones can be mounted too.
const IMAGE_BLOCK: u32 = 512;
/// A guest that takes longer to judge an image is stuck.
const GUEST_LIMIT: Duration = Duration::from_secs(120);

/// What only tapes have.
#[derive(Debug, Args)]
pub struct OfTape {
    /// With --tape: judge an image in a guest: a script that mounts the device $1 and compares it with the text in $2
    #[arg(long, value_name = "SCRIPT", conflicts_with_all = ["check", "in_process"], hide_short_help = true)]
    pub(super) check_guest: Option<PathBuf>,
    /// With --check-guest: a guest that takes longer for one image hangs: that image is bad [default: 120s]. A load has ten minutes until
    /// it has begun, or as long as this
    #[arg(long, value_name = "TIME", requires = "check_guest", conflicts_with = "check", hide_short_help = true,
        value_parser = duration)]
    pub(super) guest_timeout: Option<Nanoseconds>,
    #[command(flatten)]
    pub(super) system: System,
    /// With --tape: which namespace, counted from 1 [default: 1]
    #[arg(long, value_name = "N", requires = "tape", hide_short_help = true, value_parser = count)]
    namespace: Option<u64>,
    /// With --tape: a namespace whose writes are text that was acknowledged
    #[arg(long, value_name = "N", requires = "tape", hide_short_help = true, value_parser = count)]
    witness: Option<u64>,
    /// With --tape: power goes at each flush (default), each command, or each N-th command
    #[arg(long, value_name = "PLACE", requires = "tape", hide_short_help = true)]
    at: Option<At>,
    /// With --tape: images of one place, at most [default: all up to 65536; of more, those that tell most, and 1000 draws]. With --guest
    /// --load: of each cut also so many other images that it may have left
    #[arg(long, value_name = "N", conflicts_with_all = ["in_process", "image"], hide_short_help = true, value_parser = count)]
    pub(super) images: Option<u64>,
    /// With --tape: images at most; equal ones are judged once [default: 100000]
    #[arg(long, value_name = "N", requires = "tape", hide_short_help = true, value_parser = count)]
    budget: Option<u64>,
    /// With --tape: images that are judged at the same time [default: one for each processor; one guest]
    #[arg(long, value_name = "N", requires = "tape", hide_short_help = true, value_parser = count)]
    jobs: Option<u64>,
    /// With --tape: what the namespace held when the tape began
    #[arg(long, value_name = "RAW", requires = "tape", hide_short_help = true)]
    base: Option<PathBuf>,
    /// With --tape: folder for bad images, with what is needed to show them again
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["in_process", "image"], hide_short_help = true)]
    pub(super) keep: Option<PathBuf>,
    /// With --tape: as if the drive ignored all flushes but each N-th, to see that the check notices
    #[arg(long, value_name = "N", requires = "tape", hide_short_help = true, value_parser = count)]
    flushes_kept: Option<u64>,
    /// With --tape: only this image, as a report names it: PLACE:SURVIVORS
    #[arg(long, value_name = "IMAGE", requires = "tape", hide_short_help = true)]
    show: Option<place::Shown>,
}

/// What was found.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Found {
    places: u64,
    exhaustive: u64,
    images: u64,
    equal: u64,
    bad: Vec<Bad>,
    /// Of each place its pieces, and its images that were judged.
    by_place: BTreeMap<u64, (usize, u64)>,
}

/// How it was looked for.
struct Run<'a> {
    arguments: &'a Arguments,
    ends_early: Option<&'a str>,
    took: Nanoseconds,
    interrupted: bool,
    shards: &'a Shards,
}

/// An image that the command did not like.
#[derive(Debug, Serialize, Deserialize)]
struct Bad {
    place: u64,
    survives: Vec<bool>,
    verdict: String,
    #[serde(with = "merged::cause")]
    cause: Option<Cause>,
    /// What the pieces are, where the cause is known.
    names: Vec<String>,
    again: String,
    /// Where it is kept.
    kept: Option<PathBuf>,
}

/// Runs the campaign; returns the exit code.
pub fn run(arguments: &Arguments, path: &Path) -> Result<u8, Failure> {
    let of_tape = &arguments.of_tape;
    let check = &check_of(arguments, "--tape", path)?;
    if let Some(shown) = &of_tape.show {
        return show(arguments, path, check, shown);
    }
    let mut report = arguments.report()?;
    report.begin(&arguments.identity()?)?;
    let mut bounds = Bounds::new(arguments.time)?;
    let mut places = Places::open(path, of_tape)?;
    let (mut found, mut judge) = judge_all(arguments, check, &mut places, &mut bounds)?;
    let took = bounds.elapsed();
    if !bounds.interrupted() {
        explain(arguments, path, &mut *judge, &mut found, &mut bounds)?;
    }
    let (interrupted, shards) = (bounds.interrupted(), &Shards::default());
    let run = Run { arguments, ends_early: places.cut_off(), took, interrupted, shards };
    found.tell(report, &run)?;
    let failed = !found.bad.is_empty();
    Ok(if bounds.interrupted() && !failed { INTERRUPTED } else { u8::from(failed) })
}

/// How images are to be judged.
fn check_of(arguments: &Arguments, option: &str, path: &Path) -> Result<Check, OptionError> {
    let of_tape = &arguments.of_tape;
    match (&arguments.check, &of_tape.check_guest) {
        (Some(command), _) => Ok(Check::Command(command.clone())),
        (None, Some(script)) => {
            let limit = of_tape.guest_timeout.map_or(GUEST_LIMIT, |limit| Duration::from_nanos(limit.0));
            Ok(Check::Guest(script.clone(), of_tape.system.clone(), limit))
        }
        (None, None) => {
            let remedy =
                "give --check COMMAND, such as 'e2fsck -fn {image}', or --check-guest SCRIPT: what judges an image";
            Err(OptionError::new(option, path.display().to_string(), remedy))
        }
    }
}

/// Has the images of each place judged, until one is bad or there are enough.
fn judge_all(
    arguments: &Arguments,
    check: &Check,
    places: &mut Places,
    bounds: &mut Bounds,
) -> anyhow::Result<(Found, Box<dyn Judge>)> {
    let of_tape = &arguments.of_tape;
    let processors = || thread::available_parallelism().map_or(1, usize::from);
    let usual = || if matches!(check, Check::Guest(..)) { 1 } else { processors() };
    let jobs = of_tape.jobs.map_or_else(usual, in_memory);
    let workers = Workers::start(jobs, check, places.history().volume(), of_tape.base.as_deref())?;
    let progress = Progress::new("judging images", "images");
    let most = of_tape.budget.unwrap_or(IMAGES);
    let (index, of) = arguments.shard;
    let mut found = Found::default();
    let (mut seen, mut unlike) = (BTreeSet::new(), 0);
    'places: while let Some(place) = places.next() {
        workers.know(places.news());
        found.places += 1;
        let acks = Arc::new(places.acks());
        let pieces = places.history().volatile().count();
        let choices = Choices::new(pieces, images_of_place(pieces, of_tape.images), arguments.seed ^ place);
        found.exhaustive += u64::from(choices.exhaustive());
        found.by_place.insert(place, (pieces, 0));
        for survives in choices {
            // Here too: most images of a place may be equal to others, and of those nobody hears below.
            if bounds.over() {
                break 'places;
            }
            let image = Image::new(places.history(), survives);
            let own = image.fingerprint % of == index;
            // The same image after more was acknowledged is another question.
            if !seen.insert((image.fingerprint, acks.len())) {
                found.equal += u64::from(own);
                continue;
            }
            // Other shards' images count, so that all of them end where one process would.
            unlike += 1;
            if !own {
                if unlike >= most {
                    break 'places;
                }
                continue;
            }
            found.images += 1;
            workers.judge(Job { place, image, acks: Arc::clone(&acks) });
            progress.within(found.images, most, bounds.elapsed(), arguments.time);
            let before = found.bad.len();
            workers.judged().into_iter().for_each(|judged| found.note(judged));
            let failed = found.bad.len() > before && !arguments.keep_going;
            if unlike >= most || failed {
                break 'places;
            }
        }
    }
    let (judged, judge) = workers.finish()?;
    judged.into_iter().for_each(|judged| found.note(judged));
    Ok((found, judge))
}

/// How many images a place of so many pieces has.
fn images_of_place(pieces: usize, wanted: Option<u64>) -> u64 {
    wanted.unwrap_or_else(|| match 1_u64.checked_shl(u32::try_from(pieces).unwrap_or(u32::MAX)) {
        Some(all) if all <= IMAGES_MAX => all,
        _ => Choices::telling(pieces) + DRAWS_OF_PLACE,
    })
}

impl Found {
    fn note(&mut self, (job, verdict): (Job, Verdict)) {
        if verdict == Verdict::Unjudged {
            self.images -= 1;
            return;
        }
        if let Some((_, judged)) = self.by_place.get_mut(&job.place) {
            *judged += 1;
        }
        if verdict.is_bad() {
            let (place, survives) = (job.place, job.image.survives);
            self.bad.push(Bad {
                place,
                survives,
                verdict: verdict.to_string(),
                cause: None,
                names: Vec::new(),
                again: String::new(),
                kept: None,
            });
        }
    }

    /// For people, as JSON and as JUnit.
    fn tell(&self, mut report: Report, run: &Run<'_>) -> anyhow::Result<()> {
        let Run { arguments: Arguments { seed, .. }, ends_early, took, interrupted, shards } = *run;
        let a_minute = self.a_minute(took);
        let mut text = shards.to_string();
        text += &format!(
            "{} images at {} places were judged, {a_minute} a minute: {} bad. {} places in full; of {} equal images one.\n",
            self.images,
            self.places,
            self.bad.len(),
            self.exhaustive,
            self.equal,
        );
        if let Some(why) = ends_early {
            text.push_str(&format!("the tape ends early: {why}\n"));
        }
        if let Some(incomplete) = shards.incomplete() {
            text.push_str(&format!("{incomplete}\n"));
        }
        let mut suite = Suite::new("tape", *seed, took);
        for bad in &self.bad {
            let told = bad.told();
            text.push_str(&told);
            suite.failed("tape", &format!("place {}", bad.place), &bad.verdict, Some(&told));
        }
        if self.bad.is_empty() && shards.missing.is_empty() {
            suite.passed("tape", "every image");
        }
        shards.judge(&mut suite);
        report.line(|| {
            let mut line = json!(self);
            line["nanoseconds"] = json!(took.0);
            line["interrupted"] = json!(interrupted);
            line["ends-early"] = json!(ends_early);
            line["seed"] = json!(seed);
            shards.add_to(&mut line);
            line
        })?;
        report.close(suite.xml(), &text, || page::page(self, run))
    }

    /// Images that were judged, a minute.
    fn a_minute(&self, took: Nanoseconds) -> u128 {
        u128::from(self.images) * 60_000_000_000 / u128::from(took.0.max(1))
    }
}

fn in_memory(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Finds the pieces that matter of each place's first bad image, and keeps it.
fn explain(
    arguments: &Arguments,
    path: &Path,
    judge: &mut dyn Judge,
    found: &mut Found,
    bounds: &mut Bounds,
) -> Result<(), Failure> {
    found.bad.sort_by(|one, other| (one.place, &one.survives).cmp(&(other.place, &other.survives)));
    let (mut explained, mut missing) = (BTreeSet::new(), None);
    for bad in &mut found.bad {
        bad.again = words::again(arguments, path, bad.place, &bad.survives);
        if bounds.over() || !explained.insert(bad.place) {
            continue;
        }
        let mut places = Places::open(path, &arguments.of_tape)?;
        places.until(bad.place)?;
        let mut one = One::new(judge, &mut places, arguments.of_tape.base.clone())?;
        let cause =
            shrink(&bad.survives, &mut |survives| one.judge(&places, survives).is_ok_and(|verdict| verdict.is_bad()));
        if bounds.asked() {
            // Images that nobody judged are not good ones.
            break;
        }
        // What is shown again is the simplest image that fails.
        let mut simplest = vec![false; bad.survives.len()];
        cause.survive.iter().for_each(|piece| simplest[*piece] = true);
        if one.judge(&places, &simplest)?.to_string() == bad.verdict {
            bad.survives = simplest;
            bad.again = words::again(arguments, path, bad.place, &bad.survives);
        }
        bad.names = places.names();
        missing = name_files(&one, &places, &cause, &mut bad.names)?.or(missing);
        bad.cause = Some(cause);
        if let Some(folder) = &arguments.of_tape.keep {
            kept::keep(folder, &one, &places, (bad.place, &bad.survives), &bad.told())?;
            bad.kept = Some(kept::own(folder, bad.place));
        }
    }
    if let Some(tool) = missing {
        eprintln!("brownout: there is no {tool} (e2fsprogs): pieces are not named by file");
    }
    Ok(())
}

/// Says of the pieces that matter which files they belong to, where the image is one of ext2, ext3 or ext4 that has what all pieces wrote.
/// Gives back which tool is missing for that.
fn name_files(
    one: &One<'_>,
    places: &Places,
    cause: &Cause,
    names: &mut [String],
) -> anyhow::Result<Option<&'static str>> {
    let block_bytes = u64::from(places.history().volume().block_bytes);
    let bytes = |piece: &tape::Piece| {
        let start = piece.range.start.0 * block_bytes;
        start..start + piece.range.blocks * block_bytes
    };
    let all: Vec<_> = places.history().volatile().map(bytes).collect();
    let pieces: Vec<usize> = cause.survive.iter().chain(&cause.lost).copied().collect();
    let ranges: Vec<_> = pieces.iter().map(|piece| all[*piece].clone()).collect();
    let bench = one.make(places, &vec![true; all.len()])?;
    match files::of(&bench.path("image"), &ranges) {
        Err(tool) => return Ok(Some(tool)),
        Ok(texts) => {
            for (piece, text) in pieces.into_iter().zip(texts).filter(|(_, text)| !text.is_empty()) {
                names[piece].push_str(&format!(", {text}"));
            }
        }
    }
    Ok(None)
}

impl Bad {
    /// For people: what it takes, in the words of the host.
    fn told(&self) -> String {
        let mut text = format!("place {}: {}\n", self.place, self.verdict);
        if let Some(cause) = &self.cause {
            let mut list = |title: &str, pieces: &[usize]| {
                for piece in pieces {
                    let name = &self.names[*piece];
                    text.push_str(&format!("  {title} piece {piece}: {name}\n"));
                }
            };
            list("broken where there is", &cause.survive);
            list("and where there is not", &cause.lost);
            if cause.survive.is_empty() && cause.lost.is_empty() {
                let pieces = self.names.len();
                text.push_str(&format!(
                    "  broken whichever of the {pieces} pieces survive: what is missing was not even written\n"
                ));
            }
        }
        text.push_str(&format!("  again: {}\n", self.again));
        text
    }
}

/// Judges one image that lies there as a file, beside what was acknowledged, and says what its check said.
///
/// # Errors
/// Something cannot be read or tried.
pub fn judge_file(arguments: &Arguments, image: &Path, acks: Option<&Path>) -> Result<u8, Failure> {
    let check = check_of(arguments, "--image", image)?;
    let bytes = fs::metadata(image).with_context(|| format!("cannot read {}: --image", image.display()))?.len();
    let acks = acks.map_or_else(
        || Ok(String::new()),
        |path| fs::read_to_string(path).with_context(|| format!("cannot read {}: --acks", path.display())),
    )?;
    let (block_bytes, volume) = (IMAGE_BLOCK, VolumeId(0));
    let volume = Volume { volume, block_bytes, blocks: bytes.div_ceil(u64::from(block_bytes)), has_data: true };
    let mut judge = check.judge(&volume, Some(image.to_owned()))?;
    judge.begin()?;
    let as_it_is = Image { survives: Vec::new(), blocks: BTreeMap::new(), fingerprint: 0 };
    let verdict = judge.judge(&as_it_is, &acks)?;
    print!("{}", judge.log());
    println!("{verdict}");
    Ok(if verdict == Verdict::Unjudged { INTERRUPTED } else { u8::from(verdict.is_bad()) })
}

/// Judges one image; its command writes to the terminal.
fn show(arguments: &Arguments, path: &Path, check: &Check, shown: &place::Shown) -> Result<u8, Failure> {
    let mut places = Places::open(path, &arguments.of_tape)?;
    places.until(shown.place)?;
    let pieces = places.history().volatile().count();
    let survives = shown.survives(pieces).map_err(|remedy| OptionError::new("--show", shown.to_string(), remedy))?;
    let base = arguments.of_tape.base.clone();
    let mut judge = check.judge(places.history().volume(), base.clone())?;
    let mut one = One::new(&mut *judge, &mut places, base)?;
    let verdict = one.judge(&places, &survives)?;
    for (name, survives) in places.names().iter().zip(&survives) {
        println!("{} {name}", if *survives { "survives" } else { "lost    " });
    }
    print!("{}", one.log());
    println!("{verdict}");
    if let Some(folder) = &arguments.of_tape.keep {
        kept::keep(folder, &one, &places, (shown.place, &survives), "")?;
    }
    Ok(if verdict == Verdict::Unjudged { INTERRUPTED } else { u8::from(verdict.is_bad()) })
}
