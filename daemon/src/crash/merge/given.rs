//! A shard's report as it was found: whole, cut off, empty or not there.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use media::Nanoseconds;
use serde_json::Value;

use super::super::identity::Identity;
use super::super::shards::Shard;
use crate::failure::Failure;
use crate::options::OptionError;

/// How far a report came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// To its end.
    Whole,
    /// Somebody told the campaign to end.
    Interrupted,
    /// It has no end: whoever wrote it was killed, or writes still.
    CutOff,
    /// It has nothing.
    Empty,
    /// There is no such file.
    Absent,
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Whole => "the report is whole",
            Self::Interrupted => "the campaign was interrupted",
            Self::CutOff => "the report has no end",
            Self::Empty => "the file is empty",
            Self::Absent => "there is no such file",
        })
    }
}

/// A report.
#[derive(Debug)]
pub struct Given {
    /// Its file.
    pub path: PathBuf,
    /// The first line, if there is one.
    pub identity: Option<Identity>,
    /// The lines between.
    pub lines: Vec<Value>,
    /// The last line of a whole one.
    pub end: Value,
    pub state: State,
}

impl Given {
    /// Reads a report, as far as it goes.
    ///
    /// # Errors
    /// It cannot be read, or is something else.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let given = |state| Self { path: path.to_owned(), identity: None, lines: Vec::new(), end: Value::Null, state };
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(given(State::Absent)),
            text => text.with_context(|| format!("cannot read {}: --merge", path.display()))?,
        };
        let mut lines = text.lines().map(serde_json::from_str::<Value>);
        let Some(first) = lines.next() else { return Ok(given(State::Empty)) };
        let identity = first.ok().and_then(|mut line| serde_json::from_value(line["campaign"].take()).ok());
        let Some(identity) = identity else {
            let remedy = "give reports that `crash --in-process` or `crash --tape` wrote with --json";
            return Err(OptionError::new("--merge", path.display().to_string(), remedy).into());
        };
        // A line that is cut off is the last one.
        let mut lines: Vec<_> = lines.map_while(Result::ok).collect();
        let end = lines.pop_if(|line| line["interrupted"].is_boolean());
        let state = match &end {
            Some(end) if end["interrupted"] == true => State::Interrupted,
            Some(_) => State::Whole,
            None => State::CutOff,
        };
        Ok(Self { identity: Some(identity), lines, end: end.unwrap_or(Value::Null), ..given(state) })
    }

    /// The shard's number, from 1.
    pub fn number(&self) -> Option<u64> {
        self.identity.as_ref().map(|identity| identity.shard.0)
    }

    /// What is told of it, where it is whole.
    pub fn shard(&self, work: u64, bad: u64) -> Shard {
        let time = Nanoseconds(self.end["nanoseconds"].as_u64().unwrap_or(0));
        Shard { number: self.number().unwrap_or(0), path: self.path.clone(), work, bad, time }
    }

    /// What the shard found, whoever ran it.
    fn content(&self) -> (&[Value], Value) {
        let mut end = self.end.clone();
        end["nanoseconds"] = Value::Null;
        (&self.lines, end)
    }
}

/// The campaign that all of them belong to, and its whole reports in the order of their shards.
///
/// # Errors
/// They are of several campaigns, or disagree.
pub fn fit(given: &[Given]) -> Result<(Identity, Vec<&Given>), OptionError> {
    let refuse = |given: &Given, remedy: String| OptionError::new("--merge", given.path.display().to_string(), remedy);
    let known = given.iter().find_map(|given| Some((given, given.identity.as_ref()?)));
    let Some((first, identity)) = known else {
        return Err(refuse(&given[0], format!("{}, and no report says of which campaign it is", given[0].state)));
    };
    let mut whole = BTreeMap::<u64, &Given>::new();
    for report in given {
        let Some(own) = &report.identity else { continue };
        if let Some(difference) = identity.difference(own) {
            let name = first.path.display();
            return Err(refuse(report, format!("not of the campaign of {name}, in which {difference}")));
        }
        if report.state != State::Whole {
            continue;
        }
        let before = whole.insert(own.shard.0, report);
        if let Some(before) = before.filter(|before| before.content() != report.content()) {
            let name = before.path.display();
            return Err(refuse(report, format!("shard {} again, and not what {name} says of it", own.shard.0)));
        }
    }
    Ok((identity.clone(), whole.into_values().collect()))
}
