//! Which campaign a report belongs to, and which of its shards it is of: the first line of the report. Reports that say the same here can
//! be merged, and a shard of which nothing came can be run again from what the others say.

use std::fs::File;
use std::hash::Hasher as _;
use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use super::words;
use crate::version;

/// A tape is read in pieces of this many bytes.
const PIECE_BYTES: usize = 1 << 20;

/// A campaign, and a shard of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Of brownout.
    pub version: String,
    /// What was asked for, without shard and reports.
    pub words: Vec<String>,
    /// What each machine may have of its own.
    #[serde(default)]
    pub machine: Vec<String>,
    /// What is on the tape, where there is one.
    #[serde(default)]
    pub tape: Option<String>,
    /// Shard I of N.
    pub shard: (u64, u64),
}

impl Identity {
    /// A campaign of this brownout; nothing is on a tape yet.
    pub fn new(words: Vec<String>, machine: Vec<String>, (index, of): (u64, u64)) -> Self {
        Self { version: version::text().to_owned(), words, machine, tape: None, shard: (index + 1, of) }
    }

    /// The same, over a tape.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn over(self, tape: &Path) -> anyhow::Result<Self> {
        Ok(Self { tape: Some(hash(tape)?), ..self })
    }

    /// The command that runs a shard of the campaign, with its report.
    pub fn command(&self, shard: u64, report: &Path) -> String {
        let shard = ["--shard".to_owned(), format!("{shard}/{}", self.shard.1)];
        let report = ["--json".to_owned(), report.display().to_string()];
        format!("brownout crash{}", words::line(&[&self.words[..], &self.machine, &shard, &report].concat()))
    }

    /// Where another one differs, so that they are not of the same campaign.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let differ = |what: &str, here: &str, there: &str| Some(format!("{what} is {here}, and there {there}"));
        if self.version != other.version {
            return differ("the version", &self.version, &other.version);
        }
        if self.tape != other.tape {
            let text = |tape: &Option<String>| tape.clone().unwrap_or_else(|| "none".to_owned());
            return differ("the tape's fingerprint", &text(&self.tape), &text(&other.tape));
        }
        if self.words != other.words {
            let only = |ours: &[String], theirs: &[String]| {
                let pairs = options(theirs);
                let own: Vec<_> = options(ours).into_iter().filter(|pair| !pairs.contains(pair)).collect();
                if own.is_empty() { "not given".to_owned() } else { own.concat().trim_start().to_owned() }
            };
            return differ("what was asked for", &only(&self.words, &other.words), &only(&other.words, &self.words));
        }
        (self.shard.1 != other.shard.1)
            .then(|| differ("the number of shards", &self.shard.1.to_string(), &other.shard.1.to_string()))?
    }
}

/// Options with their values, as a shell reads them.
fn options(words: &[String]) -> Vec<String> {
    let mut options: Vec<String> = Vec::new();
    for word in words {
        match options.last_mut() {
            Some(option) if !word.starts_with("--") => option.push_str(&words::line(std::slice::from_ref(word))),
            _ => options.push(words::line(std::slice::from_ref(word))),
        }
    }
    options
}

/// What is in a file, in a word.
fn hash(path: &Path) -> anyhow::Result<String> {
    let unreadable = || format!("cannot read {}: --tape", path.display());
    let mut file = File::open(path).with_context(unreadable)?;
    let (mut hash, mut piece) = (XxHash3_64::new(), vec![0; PIECE_BYTES]);
    loop {
        match file.read(&mut piece).with_context(unreadable)? {
            0 => return Ok(format!("{:016x}", hash.finish())),
            bytes => hash.write(&piece[..bytes]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(words: &str, shard: (u64, u64)) -> Identity {
        let words = words.split(' ').map(ToOwned::to_owned).collect();
        Identity { version: "1".to_owned(), words, machine: Vec::new(), tape: None, shard }
    }

    #[test]
    fn campaigns_differ_by_what_was_asked_for() {
        let one = identity("--in-process --cuts 9 --seed 1", (1, 2));
        assert_eq!(one.difference(&identity("--in-process --cuts 9 --seed 1", (2, 2))), None);
        let text = |other: &Identity| one.difference(other).expect("they differ");
        let seed = identity("--in-process --cuts 9 --seed 2 --keep-going", (1, 2));
        assert_eq!(text(&seed), "what was asked for is --seed 1, and there --seed 2 --keep-going");
        let more = identity("--in-process --cuts 9 --seed 1 --policy random", (1, 2));
        assert_eq!(text(&more), "what was asked for is not given, and there --policy random");
        assert_eq!(text(&Identity { shard: (1, 3), ..one.clone() }), "the number of shards is 2, and there 3");
        assert_eq!(text(&Identity { version: "2".to_owned(), ..one.clone() }), "the version is 1, and there 2");
        let tape = Identity { tape: Some("aa".to_owned()), ..one.clone() };
        assert_eq!(text(&tape), "the tape's fingerprint is none, and there aa");
    }

    #[test]
    fn a_shard_is_run_again_by_a_command_that_a_shell_reads() {
        let mut one = identity("--tape a.tape --check", (1, 8));
        one.words.push("check 'x' {image}".to_owned());
        let command = one.command(3, Path::new("out put/3.json"));
        let words = r"--tape a.tape --check 'check '\''x'\'' {image}' --shard 3/8 --json 'out put/3.json'";
        assert_eq!(command, format!("brownout crash {words}"));
    }
}
