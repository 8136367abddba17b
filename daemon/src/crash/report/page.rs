//! The campaign without a guest as a page.

use oracle::simulator::{Campaign, Policy, Tally};

use super::{Ended, Shrunk, rate};
use crate::html::{Cell, Mark, Page, Problem, Table};

/// What all pages of campaigns are called.
pub const TITLE: &str = "Power cuts";

/// What the file says until there is more to say.
pub fn unfinished() -> Page {
    Page::new(TITLE, Mark::Bad, "unfinished", "The campaign did not end.")
}

/// How a campaign went, in a mark and a word.
pub const fn verdict(failed: bool, interrupted: bool) -> (Mark, &'static str) {
    match (failed, interrupted) {
        (true, _) => (Mark::Bad, "failed"),
        (false, true) => (Mark::Remark, "interrupted"),
        (false, false) => (Mark::Good, "passed"),
    }
}

/// Everything about a campaign.
pub fn page(ended: &Ended<'_>) -> Page {
    let Ended { campaign, tally, shrunk, missed, time, interrupted, shards } = *ended;
    let Tally { drives, counts, cuts, illegal, .. } = tally;
    let (mark, word) = verdict(*illegal > 0 || !missed.is_empty(), interrupted);
    let mut sentence = format!("{illegal} of {drives} drives held what they may not hold after {cuts} power cuts.");
    if !missed.is_empty() {
        sentence.push_str(&format!(" Power never went at {}.", missed.join(", ")));
    }
    if let Some(incomplete) = shards.incomplete() {
        sentence.push_str(&format!(" The campaign is {incomplete}."));
    }
    let mut page = Page::new(TITLE, mark, word, &sentence);
    page.run(campaign.seed, &facts(campaign));
    shards.show(&mut page);
    let ends: Vec<_> = counts.outcomes.iter().map(|(outcome, times)| format!("{} {times}", outcome.name())).collect();
    let figures = [
        ("Power cuts", format!("{cuts}, {} a second", rate(*cuts, time))),
        ("Drives", drives.to_string()),
        ("Not cut", format!("{} runs of the host did not come to the step, and ended in order", counts.unmet)),
        ("Images judged", counts.images.to_string()),
        ("Commands", counts.commands.to_string()),
        ("Answered", ends.join(", ")),
        ("Illegal", illegal.to_string()),
        ("Fingerprint", counts.fingerprint.to_string()),
    ];
    page.facts("Counts", &figures);
    page.problems("Failures", Mark::Bad, "illegal", &shrunk.iter().map(problem).collect::<Vec<_>>());
    page.table("By step", &steps(tally, missed));
    page
}

fn facts(campaign: &Campaign) -> Vec<(&'static str, String)> {
    let wishes = &campaign.wishes;
    let policy = Policy::NAMES.into_iter().find(|(_, named)| Some(*named) == wishes.policy);
    let points: Vec<_> = wishes.points.iter().map(|step| step.name()).collect();
    let runs = if campaign.runs > 1 { campaign.runs.to_string() } else { String::new() };
    vec![
        ("Shard", format!("{} of {}", campaign.shard.0 + 1, campaign.shard.1)),
        ("Steps", if points.is_empty() { "all".to_owned() } else { points.join(", ") }),
        ("What survives", policy.map_or("each policy in turn", |(name, _)| name).to_owned()),
        ("Promises broken on purpose", wishes.misbehaviour.names().join(", ")),
        ("Runs of each drive", runs),
    ]
}

fn problem(shrunk: &Shrunk) -> Problem {
    let Shrunk { seed, failure, history, again, .. } = shrunk;
    Problem {
        title: format!("drive of seed {seed}"),
        causes: vec![failure.clone()],
        evidence: vec![("The shortest history found that shows it", history.clone())],
        kept: None,
        again: Some(again.clone()),
    }
}

fn steps(tally: &Tally, missed: &[&str]) -> Table {
    let mut table = Table::new("Power cuts at named steps of the drive", &["Step", "Cuts", "Share", "Result"]);
    let most = tally.counts.at.iter().map(|(_, cuts)| cuts).max().unwrap_or(0);
    for (step, cuts) in tally.counts.at.iter() {
        let name = step.name();
        let result = match cuts {
            _ if missed.contains(&name) => Cell::Mark(Mark::Bad, "never met".to_owned()),
            0 => Cell::Mark(Mark::Idle, "not met".to_owned()),
            _ => Cell::Mark(Mark::Good, "met".to_owned()),
        };
        table.row(vec![Cell::Code(name.to_owned()), Cell::Number(cuts), Cell::Share(cuts, most), result]);
    }
    table
}

#[cfg(test)]
mod tests {
    use media::power::Step;
    use oracle::simulator::Wishes;

    use super::*;
    use crate::crash::report::tests::{broken, ended};
    use crate::crash::shards::Shards;
    use crate::html::testing::check;

    #[test]
    fn a_broken_promise_is_told_first_and_with_what_shows_it_again() {
        let (campaign, tally, shrunk) = broken();
        let shards = Shards::default();
        let ended = Ended { interrupted: true, ..ended(&campaign, &tally, &shrunk, &shards) };
        let page = page(&ended).to_string();
        let checked = check(&page);
        assert!(checked.text.starts_with("\u{2717} failed 1 of "), "{}", checked.text);
        let headings: Vec<_> = checked.headings.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(headings[..4], ["Power cuts", "What was run", "Counts", "Failures"]);
        assert!(headings[4].starts_with("\u{2717} illegal drive of seed "), "{headings:?}");
        let again = &shrunk[0].again;
        for said in [again.as_str(), "lost", "ignored-flush", shrunk[0].history.as_str()] {
            assert!(checked.text.contains(said), "{said}: {}", checked.text);
        }
    }

    #[test]
    fn each_step_is_a_row_that_says_whether_it_was_met() {
        let campaign = Campaign { wishes: Wishes::default(), ..broken().0 };
        let (tally, shards) = (Tally::default(), Shards::default());
        let ended = Ended { missed: &["line-erased"], ..ended(&campaign, &tally, &[], &shards) };
        let checked = check(&page(&ended).to_string());
        assert_eq!(checked.rows.len(), Step::ALL.len() + 1);
        let erased = checked.rows.iter().find(|row| row[0] == "line-erased").expect("a row");
        assert_eq!((erased[1].as_str(), erased[3].as_str()), ("0", "\u{2717} never met"));
        assert!(checked.text.starts_with("\u{2717} failed"), "a step that was never met fails the campaign");
        let (mark, word) = verdict(false, true);
        assert_eq!((mark, word), (Mark::Remark, "interrupted"));
    }
}
