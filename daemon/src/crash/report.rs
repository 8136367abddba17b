//! What came of a campaign: for people on standard output, line by line as JSON, as JUnit, and as a page in HTML.

pub(super) mod page;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use media::Nanoseconds;
use media::power::Step;
use oracle::simulator::{Campaign, Counts, Failure, Judged, Tally};
use serde_json::{Value, json};

use super::identity::Identity;
use super::junit::{Suite, unfinished};
use super::shards::Shards;
use crate::html::Page;

/// A drive that broke a rule, and the shortest history found that still does.
#[derive(Debug, PartialEq, Eq)]
pub struct Shrunk {
    pub seed: u64,
    /// The rule's name.
    pub rule: String,
    /// How it was broken.
    pub failure: String,
    pub history: String,
    /// The command that shows it again.
    pub again: String,
}

/// How a campaign ended.
pub struct Ended<'a> {
    pub campaign: &'a Campaign,
    pub tally: &'a Tally,
    pub shrunk: &'a [Shrunk],
    /// Steps that must have been met, and were not.
    pub missed: &'a [&'static str],
    pub time: Nanoseconds,
    pub interrupted: bool,
    /// The shards whose reports this was made of.
    pub shards: &'a Shards,
}

/// Where the reports go.
pub struct Report {
    json: Option<(PathBuf, File)>,
    junit: Option<(PathBuf, File)>,
    html: Option<(PathBuf, File)>,
}

impl Report {
    /// Makes the files, so that nothing is cut for nothing.
    pub fn create(json: Option<&Path>, junit: Option<&Path>, html: Option<&Path>) -> anyhow::Result<Self> {
        let make = |path: &Path| {
            let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            anyhow::Ok((path.to_owned(), file))
        };
        let [json, junit, html] = [json, junit, html].map(|path| path.map(make).transpose());
        let mut report = Self { json: json?, junit: junit?, html: html? };
        // Who kills the campaign finds no empty file, which might be taken for a success.
        replace(&mut report.junit, unfinished)?;
        replace(&mut report.html, || page::unfinished().to_string())?;
        Ok(report)
    }

    /// One more drive.
    pub fn drive(&mut self, judged: &Judged, shrunk: Option<(&Shrunk, &Failure)>) -> anyhow::Result<()> {
        self.line(|| {
            let mut line = match &judged.outcome {
                Ok(counts) => json!({ "seed": judged.seed, "illegal": null, "did": of_counts(counts) }),
                Err(failure) => json!({ "seed": judged.seed, "illegal": of_failure(failure) }),
            };
            if let Some((shrunk, failure)) = shrunk {
                line["again"] = json!(shrunk.again);
                line["shrunk"] = json!({ "illegal": of_failure(failure), "history": shrunk.history });
            }
            line
        })
    }

    /// A line of JSON, if somebody wants it; whole in the file, whatever becomes of us.
    pub fn line(&mut self, value: impl FnOnce() -> Value) -> anyhow::Result<()> {
        let Some((path, file)) = &mut self.json else { return Ok(()) };
        let line = format!("{}\n", value());
        file.write_all(line.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
    }

    /// What is run: the first line, by which a report is known even if nothing follows.
    pub fn begin(&mut self, identity: &Identity) -> anyhow::Result<()> {
        self.line(|| json!({ "campaign": identity }))
    }

    /// All drives.
    pub fn end(mut self, ended: &Ended<'_>) -> anyhow::Result<()> {
        let Ended { campaign, tally, missed, time, interrupted, shards, .. } = *ended;
        self.line(|| {
            let steps: serde_json::Map<_, _> =
                tally.counts.at.iter().map(|(step, cuts)| (step.name().to_owned(), json!(cuts))).collect();
            let mut line = json!({
                "seed": campaign.seed, "shard": [campaign.shard.0 + 1, campaign.shard.1], "drives": tally.drives,
                "cuts": tally.cuts, "illegal": tally.illegal, "missed": missed, "nanoseconds": time.0, "interrupted": interrupted,
                "did": of_counts(&tally.counts), "steps": steps,
            });
            shards.add_to(&mut line);
            line
        })?;
        let xml = junit(ended);
        let mut text = shards.to_string();
        text.push_str(&for_people(ended));
        match shards.incomplete() {
            Some(incomplete) => _ = writeln!(text, "{incomplete}"),
            None if interrupted => _ = writeln!(text, "interrupted after {} cuts", tally.cuts),
            None => {}
        }
        self.close(xml, &text, || page::page(ended))
    }

    /// Nothing more comes: `xml` for who reads JUnit, `text` for people, and a page for who wants one.
    pub fn close(mut self, xml: String, text: &str, page: impl FnOnce() -> Page) -> anyhow::Result<()> {
        replace(&mut self.junit, || xml)?;
        replace(&mut self.html, || page().to_string())?;
        io::stdout().write_all(text.as_bytes()).context("cannot print the result")
    }
}

/// Puts this into a file, if somebody wants it, in place of what is there.
fn replace(file: &mut Option<(PathBuf, File)>, text: impl FnOnce() -> String) -> anyhow::Result<()> {
    let Some((path, file)) = file else { return Ok(()) };
    let written = file.rewind().and_then(|()| file.set_len(0)).and_then(|()| file.write_all(text().as_bytes()));
    written.with_context(|| format!("cannot write {}", path.display()))
}

fn of_counts(counts: &Counts) -> Value {
    let ends: serde_json::Map<_, _> =
        counts.outcomes.iter().map(|(outcome, times)| (outcome.name().to_owned(), json!(times))).collect();
    json!({
        "cuts": counts.cuts, "unmet": counts.unmet, "images": counts.images, "commands": counts.commands, "ends": ends,
        "fingerprint": counts.fingerprint.to_string(),
    })
}

fn of_failure(failure: &Failure) -> Value {
    let violation = &failure.violation;
    json!({
        "pass": failure.pass, "rule": violation.rule.name(), "commands": violation.commands,
        "namespace": violation.nsid, "blocks": violation.blocks, "found": violation.found, "text": failure.to_string(),
    })
}

fn for_people(ended: &Ended<'_>) -> String {
    let Ended { campaign, tally, shrunk, missed, time, .. } = *ended;
    let mut text = String::new();
    for Shrunk { seed, failure, history, again, .. } in shrunk {
        let _ = write!(text, "ILLEGAL, drive of seed {seed}, made small: {failure}\n{history}again: {again}\n\n");
    }
    let Tally { drives, counts, cuts, illegal, .. } = tally;
    let met = counts.at.iter().filter(|(_, cuts)| *cuts > 0).count();
    let at_steps: u64 = counts.at.iter().map(|(_, cuts)| cuts).sum();
    let misbehave = campaign.wishes.misbehaviour.names();
    if !misbehave.is_empty() {
        let _ = writeln!(text, "the drives broke promises as they were told to: {}", misbehave.join(", "));
    }
    let _ =
        writeln!(text, "{cuts} cuts of {drives} drives from seed {} on, {} a second", campaign.seed, rate(*cuts, time));
    let _ = writeln!(text, "{at_steps} at {met} of {} named steps; least often {}", Step::ALL.len(), least(counts));
    if counts.unmet > 0 {
        let _ =
            writeln!(text, "not cut: {} runs of the host did not come to the step, and ended in order", counts.unmet);
    }
    let (images, commands) = (counts.images, counts.commands);
    let _ = writeln!(text, "{images} images judged, {commands} commands; of those that were answered:");
    let ends: Vec<_> = counts.outcomes.iter().map(|(outcome, times)| format!("{} {times}", outcome.name())).collect();
    let _ = writeln!(text, "{}", ends.join(", "));
    if campaign.runs > 1 && *illegal == 0 {
        let _ = writeln!(text, "each drive ran {} times, and all runs agreed", campaign.runs);
    }
    if !missed.is_empty() {
        let _ = writeln!(text, "power never went at {}", missed.join(", "));
    }
    let _ = writeln!(text, "{illegal} illegal; fingerprint {}", counts.fingerprint);
    text
}

/// The rarest step that was met, and how often.
fn least(counts: &Counts) -> String {
    let rarest = counts.at.iter().filter(|(_, cuts)| *cuts > 0).min_by_key(|(_, cuts)| *cuts);
    rarest.map_or_else(|| "none".to_owned(), |(step, cuts)| format!("{} ({cuts})", step.name()))
}

/// This many a second.
fn rate(count: u64, time: Nanoseconds) -> u128 {
    u128::from(count) * 1_000_000_000 / u128::from(time.0.max(1))
}

/// A test case for each step that could be met, and one for each drive that broke a rule of its own.
fn junit(ended: &Ended<'_>) -> String {
    let Ended { campaign, tally, shrunk, missed, time, .. } = *ended;
    let mut suite = Suite::new("crash", campaign.seed, time);
    for (step, cuts) in tally.counts.at.iter() {
        match step.name() {
            name if missed.contains(&name) => suite.failed("step", name, "power never went here", None),
            name if cuts == 0 => suite.skipped("step", name),
            name => suite.passed("step", name),
        }
    }
    for Shrunk { seed, failure, history, again, .. } in shrunk {
        let details = format!("{history}\nagain: {again}");
        suite.failed("drive", &format!("seed {seed}"), failure, Some(&details));
    }
    ended.shards.judge(&mut suite);
    suite.xml()
}

#[cfg(test)]
mod tests {
    use oracle::simulator::Wishes;

    use super::*;
    use crate::html::Mark;
    use crate::html::testing::check;

    /// A campaign that ended in one process.
    pub fn ended<'a>(campaign: &'a Campaign, tally: &'a Tally, shrunk: &'a [Shrunk], shards: &'a Shards) -> Ended<'a> {
        Ended { campaign, tally, shrunk, missed: &[], time: Nanoseconds(1), interrupted: false, shards }
    }

    pub fn broken() -> (Campaign, Tally, Vec<Shrunk>) {
        let misbehaviour = media::fault::Misbehaviour { ignored_flush: true, ..Default::default() };
        let wishes = Wishes { misbehaviour, ..Wishes::default() };
        let campaign = Campaign { seed: 1, cuts: 10_000, shard: (0, 1), runs: 1, wishes, keep_going: false };
        let mut shrunk = Vec::new();
        let tally = campaign.run(|judged| {
            if let Err(failure) = &judged.outcome {
                let (history, failure) = campaign.shrunk(judged.seed, failure);
                let (rule, again) = (failure.violation.rule.name().to_owned(), "again <&>".to_owned());
                let (failure, history) = (failure.to_string(), history.to_string());
                shrunk.push(Shrunk { seed: judged.seed, rule, failure, history, again });
            }
        });
        (campaign, tally, shrunk)
    }

    #[test]
    fn reports_are_whole_at_any_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let [json, junit, html] = ["json", "junit", "html"].map(|name| folder.path().join(name));
        let read = |path: &Path| std::fs::read_to_string(path).expect("it is there");
        let mut report = Report::create(Some(&json), Some(&junit), Some(&html)).expect("files");
        assert!(check(&read(&html)).text.contains("did not end"));
        assert!(read(&junit).contains("did not end") && read(&junit).trim_end().ends_with("</testsuites>"));
        report.line(|| json!({ "cut": 1 })).expect("a line");
        assert_eq!(read(&json), "{\"cut\":1}\n");
        report.close("<testsuite/>\n".to_owned(), "", || Page::new("a", Mark::Good, "b", "c")).expect("an end");
        assert!(check(&read(&html)).headings.iter().map(|(_, text)| text.as_str()).eq(["a"]));
        assert_eq!(read(&junit), "<testsuite/>\n");
    }

    #[test]
    fn runs_that_agreed_are_told() {
        let mut campaign = broken().0;
        campaign.wishes = Wishes::default();
        let (tally, shards) = (Tally::default(), Shards::default());
        let text = |campaign: &Campaign| for_people(&ended(campaign, &tally, &[], &shards));
        assert!(!text(&campaign).contains("agreed"));
        campaign.runs = 1000;
        assert!(text(&campaign).contains("each drive ran 1000 times, and all runs agreed"));
    }

    #[test]
    fn a_broken_promise_is_in_every_report() {
        let (campaign, tally, shrunk) = broken();
        assert_eq!((tally.illegal, shrunk.len()), (1, 1));
        let shards = Shards::default();
        let ended = Ended { missed: &["line-erased"], ..ended(&campaign, &tally, &shrunk, &shards) };
        let text = for_people(&ended);
        assert!(text.contains("ILLEGAL") && text.contains("lost: ") && text.contains("ignored-flush"), "{text}");
        let xml = junit(&ended);
        assert!(xml.contains("failures=\"2\"") && xml.contains("again &lt;&amp;&gt;"), "{xml}");
        assert_eq!(xml.matches("<testcase").count(), Step::ALL.len() + 1);
        assert_eq!(shrunk[0].rule, "lost");
    }
}
