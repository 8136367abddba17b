//! What was asked for, as one would type it again: in a fixed order, and nothing that was not asked for.

use media::Nanoseconds;
use oracle::simulator::Policy;

use super::Arguments;
use crate::machine::shell_word;

/// Where a campaign begins and ends; `cuts` is nothing where they do not count.
pub fn of_bounds(arguments: &Arguments, cuts: Option<u64>) -> Vec<String> {
    let mut words = Vec::new();
    let mut push = |name: &str, value: String| words.extend([format!("--{name}"), value]);
    if let Some(cuts) = cuts {
        push("cuts", cuts.to_string());
    }
    push("seed", arguments.seed.to_string());
    if let Some(time) = arguments.time {
        push("for", seconds(time));
    }
    words.extend(arguments.keep_going.then(|| "--keep-going".to_owned()));
    words
}

/// What is asked of each drive.
pub fn of_drives(arguments: &Arguments) -> Vec<String> {
    let mut words = Vec::new();
    let mut push = |name: &str, value: String| words.extend([format!("--{name}"), value]);
    if !arguments.points.is_empty() {
        let names: Vec<_> = arguments.points.iter().map(|step| step.name()).collect();
        push("points", names.join(","));
    }
    if let Some(policy) = arguments.policy {
        let named = Policy::NAMES.into_iter().find(|(_, named)| *named == policy);
        push("policy", named.map_or("random", |(name, _)| name).to_owned());
    }
    if !arguments.misbehave.is_empty() {
        push("misbehave", arguments.misbehave.join("+"));
    }
    if arguments.runs > 1 {
        push("runs", arguments.runs.to_string());
    }
    words
}

fn seconds(time: Nanoseconds) -> String {
    format!("{}s", time.0 / 1_000_000_000)
}

/// Words as a shell reads them, each with a blank before it.
pub fn line(words: &[String]) -> String {
    words.iter().map(|word| format!(" {}", shell_word(word))).collect()
}
