//! The campaign with guests as a page.

use std::ffi::OsString;

use media::Nanoseconds;
use serde_json::Value;

use super::{LOAD, Tally};
use crate::crash::Arguments;
use crate::crash::report::page::{TITLE, verdict};
use crate::html::{Cell, Mark, Page, Problem, Table};
use crate::machine::shell_word;

/// Options that choose cuts, or say where reports go: a command that shows one cut again goes without.
const LEFT_OUT: [&str; 7] = ["--cuts", "--for", "--shard", "--only", "--json", "--junit", "--html"];

impl Tally {
    /// Everything about a campaign.
    pub fn page(&self, arguments: &Arguments, time: Nanoseconds) -> Page {
        let Self { cuts, again, boots, not_durable, met, at_stake, images, .. } = self;
        let (mark, word) = verdict(self.has_failed(), self.interrupted);
        let mut sentence = format!("Something was wrong after {} of {cuts} power cuts.", self.illegal.len());
        self.failed.iter().for_each(|why| sentence.push_str(&format!(" {why}.")));
        let mut page = Page::new(format!("{TITLE} of a guest"), mark, word, &sentence);
        let facts = [("Promises broken on purpose", arguments.misbehave.join(", "))];
        page.run(arguments.seed, &facts);
        let counts = [
            ("Power cuts", format!("{cuts} in {} s", time.0 / 1_000_000_000)),
            ("At the point that was chosen", format!("{met} of {cuts}; at the others power went at once")),
            ("With something to lose", format!("{at_stake} of {cuts}")),
            ("Writes that were not durable", not_durable.to_string()),
            ("Again during recovery", again.to_string()),
            ("Machines killed and booted again", boots.to_string()),
            ("Other images of these power losses", images.to_string()),
            ("Illegal", self.illegal.len().to_string()),
        ];
        page.facts("Counts", &counts);
        let problems: Vec<_> =
            self.illegal.iter().map(|(pass, illegal)| self.problem(arguments, *pass, illegal)).collect();
        page.problems("Failures", Mark::Bad, "illegal", &problems);
        page.table("By step", &table("Where power went", "Step", &self.steps));
        if !self.file_systems.contains_key(LOAD) && !self.file_systems.is_empty() {
            page.table("By file system", &table("What the guest wrote to", "File system", &self.file_systems));
        }
        page
    }

    fn problem(&self, arguments: &Arguments, pass: u32, illegal: &[String]) -> Problem {
        let seen = self.evidence.get(&pass).unwrap_or(&Value::Null);
        let text = |key: &str| seen[key].as_str().unwrap_or_default().to_owned();
        let report = if seen["report"].is_null() { String::new() } else { format!("{:#}", seen["report"]) };
        let offline = seen["again"].as_str().map(str::to_owned);
        let keep = arguments.of_tape.keep.as_ref().filter(|_| offline.is_some());
        Problem {
            title: format!("cut {pass}"),
            causes: illegal.to_vec(),
            evidence: vec![
                ("What was acknowledged", text("acks")),
                ("What the guest said before", text("before")),
                ("What the guest said after", text("after") + &text("said")),
                ("The drive's report", report),
            ],
            // Which of its images was bad is in the command.
            kept: keep.map(|folder| folder.display().to_string()),
            again: Some(offline.unwrap_or_else(|| only(std::env::args_os().skip(1), pass))),
        }
    }
}

fn table<'a, K: AsRef<str> + 'a>(
    caption: &str,
    what: &'static str,
    counts: impl IntoIterator<Item = (&'a K, &'a u64)> + Clone,
) -> Table {
    let most = counts.clone().into_iter().map(|(_, cuts)| *cuts).max().unwrap_or(0);
    let mut table = Table::new(caption, &[what, "Cuts", "Share"]);
    for (name, cuts) in counts {
        table.row(vec![Cell::Code(name.as_ref().to_owned()), Cell::Number(*cuts), Cell::Share(*cuts, most)]);
    }
    table
}

/// The command that makes this cut and no other, out of the arguments of the one that made all.
fn only(words: impl Iterator<Item = OsString>, pass: u32) -> String {
    let mut command = vec!["brownout".to_owned()];
    let mut words = words.map(|word| word.to_string_lossy().into_owned());
    while let Some(word) = words.next() {
        match word.split_once('=') {
            None if LEFT_OUT.contains(&word.as_str()) => _ = words.next(),
            Some((name, _)) if LEFT_OUT.contains(&name) => {}
            _ => command.push(shell_word(&word).into_owned()),
        }
    }
    command.push(format!("--only {pass}"));
    command.join(" ")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::json;

    use super::super::{Outcome, Plan};
    use super::*;
    use crate::cli::{CommandLine, Verb};
    use crate::html::testing::check;

    fn arguments(more: &[&str]) -> Box<Arguments> {
        let line = ["brownout", "crash", "--guest"].iter().chain(more);
        let Verb::Crash(arguments) = CommandLine::try_parse_from(line).expect("legal").verb else { panic!("crash") };
        arguments
    }

    fn outcome(illegal: &[&str], evidence: Value) -> Outcome {
        let illegal = illegal.iter().map(|&text| text.to_owned()).collect();
        Outcome { step: Some("group-staged".into()), not_durable: 3, again: false, images: 0, illegal, evidence }
    }

    #[test]
    fn what_a_guest_said_is_evidence_and_never_markup() {
        let said = "</pre><script>alert(1)</script>";
        let mut tally = Tally::default();
        let plan = Plan::new(1, 10, &[], None);
        tally.count(&plan, &outcome(&[], Value::Null));
        let evidence = json!({ "before": said, "after": "torn 1", "report": { "step": "<b>" } });
        tally.count(&plan, &outcome(&["torn <1>"], evidence));
        let checked = check(&tally.page(&arguments(&[]), Nanoseconds(0)).to_string());
        assert!(
            checked.text.starts_with("\u{2717} failed Something was wrong after 1 of 2 power cuts."),
            "{}",
            checked.text
        );
        for part in [said, "torn <1>", "torn 1", "\"step\": \"<b>\"", "--only 10"] {
            assert!(checked.text.contains(part), "{part}: {}", checked.text);
        }
        assert!(checked.rows.iter().any(|row| row[..2] == ["group-staged", "2"]), "{:?}", checked.rows);
        assert!(checked.rows.iter().any(|row| row[..2] == ["ext4", "2"]), "{:?}", checked.rows);
    }

    #[test]
    fn what_is_kept_is_shown_again_without_a_guest_that_writes() {
        let more = ["--load", "l.sh", "--check-guest", "c.sh", "--keep", "kept"];
        let mut tally = Tally::default();
        let evidence = json!({ "acks": "1\n", "said": "no", "again": "brownout crash --image kept/cut-3/image" });
        tally.count(&Plan::of_load(1, 3, &[], None), &outcome(&["bad"], evidence));
        let checked = check(&tally.page(&arguments(&more), Nanoseconds(0)).to_string());
        assert!(checked.text.contains("Kept in kept"), "{}", checked.text);
        assert!(checked.text.contains("brownout crash --image kept/cut-3/image"), "{}", checked.text);
        assert!(!checked.text.contains("--only"), "{}", checked.text);
    }

    #[test]
    fn one_cut_is_repeated_by_the_words_that_made_it() {
        let words =
            ["crash", "--guest", "--seed", "7", "--cuts", "100", "--html=a.html", "--json", "x", "--append", "a b"];
        let again = only(words.iter().map(OsString::from), 3);
        assert_eq!(again, "brownout crash --guest --seed 7 --append 'a b' --only 3");
    }
}
