//! A campaign over a tape, as one would type it again.

use std::path::Path;

use super::super::words::line;
use super::{Arguments, place};

/// What images are made of.
fn of_images(arguments: &Arguments, path: &Path) -> Vec<String> {
    let of_tape = &arguments.of_tape;
    let mut words = vec!["--tape".to_owned(), path.display().to_string()];
    let mut push = |name: &str, value: String| words.extend([format!("--{name}"), value]);
    if let Some(number) = of_tape.namespace {
        push("namespace", number.to_string());
    }
    if let Some(number) = of_tape.witness {
        push("witness", number.to_string());
    }
    if let Some(at) = of_tape.at {
        push("at", at.to_string());
    }
    if let Some(kept) = of_tape.flushes_kept {
        push("flushes-kept", kept.to_string());
    }
    of_tape.system.words().into_iter().for_each(|(option, value)| push(&option[2..], value));
    if let Some(base) = &of_tape.base {
        push("base", base.display().to_string());
    }
    words
}

/// What judges them.
fn of_check(arguments: &Arguments) -> Vec<String> {
    match (&arguments.check, &arguments.of_tape.check_guest) {
        (Some(check), _) => vec!["--check".to_owned(), check.clone()],
        (None, Some(script)) => vec!["--check-guest".to_owned(), script.display().to_string()],
        (None, None) => Vec::new(),
    }
}

/// The command that shows one image again.
pub fn again(arguments: &Arguments, path: &Path, place: u64, survives: &[bool]) -> String {
    let show = vec!["--show".to_owned(), place::Shown::new(place, survives).to_string()];
    format!("brownout crash{}", line(&[of_images(arguments, path), show, of_check(arguments)].concat()))
}

/// What decides which images are judged, and how.
pub fn of_tape(arguments: &Arguments, path: &Path) -> Vec<String> {
    let of_tape = &arguments.of_tape;
    let mut words = of_images(arguments, path);
    let numbers = [("--images", of_tape.images), ("--budget", of_tape.budget)];
    for (option, number) in numbers.into_iter().filter_map(|(option, number)| Some((option, number?))) {
        words.extend([option.to_owned(), number.to_string()]);
    }
    words.extend(of_check(arguments));
    if let Some(limit) = of_tape.guest_timeout {
        words.extend(["--guest-timeout".to_owned(), format!("{}s", limit.0 / 1_000_000_000)]);
    }
    words
}

/// What each machine may have of its own.
pub fn of_machine(arguments: &Arguments) -> Vec<String> {
    let of_tape = &arguments.of_tape;
    let jobs = of_tape.jobs.map(|jobs| ["--jobs".to_owned(), jobs.to_string()]);
    let keep = of_tape.keep.as_ref().map(|folder| ["--keep".to_owned(), folder.display().to_string()]);
    jobs.into_iter().chain(keep).flatten().collect()
}
