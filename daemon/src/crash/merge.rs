//! `brownout crash --merge`: the reports of a campaign's shards become one. [`given`] reads them and decides whether they fit together;
//! what comes of them is told by those who tell of a campaign in one process, [`super::in_process`] and [`super::tape`].

mod counted;
pub mod given;

use std::path::{Path, PathBuf};

use clap::Parser as _;

use super::identity::Identity;
use super::shards::Missing;
use super::{Arguments, tape};
use crate::cli::{CommandLine, Verb};
use crate::failure::Failure;
use crate::options::OptionError;
use given::Given;

/// The exit code where shards are missing: try again, as sysexits.h has it.
const MISSING: u8 = 75;

/// Merges reports; returns the exit code, as of the campaign in one process, and [`MISSING`] where nothing was bad and shards are missing.
///
/// # Errors
/// The reports do not fit together, or a report of all cannot be written.
pub fn run(arguments: &Arguments, paths: &[PathBuf]) -> Result<u8, Failure> {
    let given = paths.iter().map(|path| Given::read(path)).collect::<Result<Vec<_>, _>>()?;
    let (identity, whole) = given::fit(&given)?;
    let missing = missing(&identity, &given, &whole);
    let asked = asked(&identity, &whole)?;
    let lacking = !missing.is_empty();
    let failed = if asked.tape.is_some() {
        tape::merged::tell(arguments, &asked, &whole, missing)?
    } else {
        counted::tell(arguments, &asked, &whole, missing)?
    };
    Ok(if failed {
        1
    } else if lacking {
        MISSING
    } else {
        0
    })
}

/// What was asked for when the shards were run.
fn asked(identity: &Identity, whole: &[&Given]) -> Result<Box<Arguments>, OptionError> {
    let words = ["brownout", "crash"].into_iter().chain(identity.words.iter().map(String::as_str));
    match CommandLine::try_parse_from(words).map(|line| line.verb) {
        Ok(Verb::Crash(arguments)) => Ok(arguments),
        _ => {
            let path = whole.first().map_or_else(String::new, |given| given.path.display().to_string());
            Err(OptionError::new("--merge", path, "what was asked for is not known to this version"))
        }
    }
}

fn missing(identity: &Identity, given: &[Given], whole: &[&Given]) -> Vec<Missing> {
    let there = |number: u64| whole.iter().any(|given| given.number() == Some(number));
    let missing = (1..=identity.shard.1).filter(|number| !there(*number));
    missing
        .map(|number| {
            let begun = given.iter().find(|given| given.number() == Some(number));
            let path = begun.map_or_else(|| like(given, number), |given| given.path.clone());
            let why = match begun {
                Some(given) => format!("{}: {}", given.path.display(), given.state),
                None => "there is no report of it".to_owned(),
            };
            Missing { number, why, again: identity.command(number, &path) }
        })
        .collect()
}

/// What a shard's report would be called, after another one whose path has the number of its shard.
fn like(given: &[Given], number: u64) -> PathBuf {
    let digit = |character: Option<char>| character.is_some_and(|character| character.is_ascii_digit());
    let named = |given: &Given| {
        let path = given.path.to_str()?;
        let own = given.number()?.to_string();
        let around = |place: usize| (&path[..place], &path[place + own.len()..]);
        let places = path.rmatch_indices(&own).map(|(place, _)| around(place));
        let mut alone =
            places.filter(|(before, behind)| !digit(before.chars().next_back()) && !digit(behind.chars().next()));
        alone.next().map(|(before, behind)| PathBuf::from(format!("{before}{number}{behind}")))
    };
    given.iter().find_map(named).unwrap_or_else(|| Path::new(&format!("shard-{number}.json")).to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_missing_report_is_called_as_the_others_are() {
        let called = |path: &str, shard: u64| {
            let words = vec!["--in-process".to_owned()];
            let identity =
                Identity { version: "1".to_owned(), words, machine: Vec::new(), tape: None, shard: (shard, 20) };
            let given = Given {
                path: path.into(),
                identity: Some(identity),
                lines: Vec::new(),
                end: Value::Null,
                state: given::State::Whole,
            };
            like(&[given], 12).display().to_string()
        };
        assert_eq!(called("r/shard-3.json", 3), "r/shard-12.json");
        assert_eq!(called("3/13/shard-3/stdout", 3), "3/13/shard-12/stdout");
        assert_eq!(called("r/33.json", 3), "shard-12.json");
    }
}
