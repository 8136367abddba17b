//! A run as a page: the verdict, each scenario with its own, what failed with its evidence, and the rules that were broken.

use std::collections::BTreeMap;

use checker::Rule;

use super::{Report, Row, State, listed};
use crate::conform::verdict::Verdict;
use crate::html::{Cell, Mark, Page, Problem, Table};

/// Everything about a run.
pub fn page(report: &Report, state: State) -> Page {
    let [passed, warned, failed, skipped] = report.counts();
    let (mark, word) = match state {
        _ if failed > 0 => (Mark::Bad, "failed"),
        State::Running => (Mark::Remark, "unfinished"),
        State::Interrupted => (Mark::Remark, "interrupted"),
        State::Over => (Mark::Good, "passed"),
    };
    let end = if state == State::Running { " The run has not ended." } else { "" };
    let sentence =
        format!("{passed} scenarios passed, {warned} with remarks, {failed} failed, {skipped} were skipped.{end}");
    let mut page = Page::new("A host's NVMe driver on trial", mark, word, &sentence);
    page.run(report.seed, &report.facts);
    page.table("Scenarios", &scenarios(report));
    let problems = |wanted: fn(&Verdict) -> bool| {
        let rows = report.rows.iter().filter(|row| wanted(&row.ended.verdict));
        rows.map(problem).collect::<Vec<_>>()
    };
    page.problems("Failures", Mark::Bad, "failed", &problems(|it| matches!(it, Verdict::Fail(..))));
    page.problems("Not judged", Mark::Bad, "error", &problems(|it| matches!(it, Verdict::Error(_))));
    page.problems("Remarks", Mark::Remark, "remark", &problems(|it| matches!(it, Verdict::Warn(_))));
    page.table("Rules that were broken", &rules(report));
    page
}

const fn mark(verdict: &Verdict) -> Mark {
    match verdict {
        Verdict::Pass => Mark::Good,
        Verdict::Warn(_) => Mark::Remark,
        Verdict::Fail(..) | Verdict::Error(_) => Mark::Bad,
        Verdict::Skipped(_) => Mark::Idle,
    }
}

fn scenarios(report: &Report) -> Table {
    let columns = ["Scenario", "What happens", "Verdict", "Why", "Rules broken", "Seconds"];
    let mut table = Table::new("Scenarios, each with a drive and a machine of its own", &columns);
    for Row { number, name, seconds, ended, .. } in &report.rows {
        let broken: Vec<_> = ended.evidence.broken.iter().map(|broken| broken.rule.as_str()).collect();
        table.row(vec![
            Cell::Code(number.clone()),
            Cell::Text(name.clone()),
            Cell::Mark(mark(&ended.verdict), ended.verdict.word().to_owned()),
            Cell::Text(ended.verdict.reason().unwrap_or_default().to_owned()),
            Cell::Text(broken.join(", ")),
            Cell::Text(format!("{seconds:.1}")),
        ]);
    }
    table
}

fn problem(row: &Row) -> Problem {
    let Row { number, name, again, ended, .. } = row;
    let (causes, bad) = match &ended.verdict {
        Verdict::Fail(_, all) => (all.clone(), true),
        Verdict::Error(why) => (vec![why.clone()], true),
        Verdict::Warn(remarks) => (remarks.clone(), false),
        Verdict::Pass | Verdict::Skipped(_) => (Vec::new(), false),
    };
    let before = ended.evidence.broken.iter().filter(|broken| broken.severity != "performance");
    let before = before.map(|broken| format!("{} ({})\n{}\n", broken.rule, broken.detail, listed(&broken.events)));
    let mut evidence = vec![("Events before each rule was broken", before.collect())];
    if bad {
        evidence.push(("The drive's last events", listed(&ended.evidence.trace)));
        evidence.push(("Console", ended.console.clone()));
    }
    Problem { title: format!("{number} {name}"), causes, evidence, kept: None, again: Some(again.clone()) }
}

fn rules(report: &Report) -> Table {
    let columns = ["Rule", "Name", "How bad", "What the driver has to do", "Where that stands", "Times", "Scenarios"];
    let mut table = Table::new("By the drive's own judgement, in all scenarios together", &columns);
    let mut found = BTreeMap::<_, (u64, Vec<&str>)>::new();
    for row in &report.rows {
        for broken in &row.ended.evidence.broken {
            let (times, scenarios) = found.entry((&broken.rule, &broken.slug, &broken.severity)).or_default();
            *times += broken.count;
            if scenarios.last() != Some(&row.number.as_str()) {
                scenarios.push(&row.number);
            }
        }
    }
    for ((id, slug, severity), (times, scenarios)) in found {
        let rule = Rule::named(id);
        let severity = match severity.as_str() {
            "must" => Cell::Mark(Mark::Bad, severity.clone()),
            "should" => Cell::Mark(Mark::Remark, severity.clone()),
            _ => Cell::Mark(Mark::Idle, severity.clone()),
        };
        table.row(vec![
            Cell::Code(id.clone()),
            Cell::Text(slug.clone()),
            severity,
            Cell::Text(rule.map_or("", Rule::text).to_owned()),
            Cell::Text(rule.map_or("", Rule::section).to_owned()),
            Cell::Number(times),
            Cell::Text(scenarios.join(", ")),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use media::Nanoseconds;

    use super::*;
    use crate::conform::bench::Ended;
    use crate::conform::verdict::{Broken, BrokenEvent, Evidence};
    use crate::html::testing::{Checked, check};

    const HOSTILE: &str = "</pre><script>alert(1)</script>";

    fn row(number: &str, verdict: Verdict) -> Row {
        let event = |text: &str| BrokenEvent { time_ns: 1_500_000, text: text.to_owned() };
        let broken = Broken {
            rule: "H19".to_owned(),
            slug: "slug".to_owned(),
            severity: "must".to_owned(),
            count: 2,
            generation: 3,
            detail: "what".to_owned(),
            events: vec![event("doorbell")],
        };
        let evidence = Evidence { broken: vec![broken], trace: vec![event("the last")], ..Evidence::default() };
        let ended = Ended { verdict, evidence, time: Nanoseconds(0), console: HOSTILE.to_owned() };
        let again = format!("brownout conform --only {number}");
        Row { number: number.to_owned(), name: format!("{HOSTILE} {number}"), seconds: 2.0, again, ended }
    }

    fn told(rows: Vec<Row>, state: State) -> Checked {
        let report = Report {
            suite: super::super::TestSuite::new("conform"),
            json: None,
            junit: None,
            html: None,
            rows,
            again: String::new(),
            seed: 7,
            facts: vec![("driver", "6.12 <x>".to_owned())],
        };
        check(&page(&report, state).to_string())
    }

    #[test]
    fn each_scenario_is_told_with_its_verdict_and_the_bad_ones_with_their_evidence() {
        let failed = Verdict::Fail("H19 first".to_owned(), vec!["H19 first".to_owned(), "data: second".to_owned()]);
        let rows = vec![
            row("C1.1", Verdict::Pass),
            row("C2.1", failed),
            row("C3.1", Verdict::Warn(vec!["slow".to_owned()])),
            row("C4.1", Verdict::Skipped("no shell".to_owned())),
            row("C5.1", Verdict::Error("no machine".to_owned())),
        ];
        let checked = told(rows, State::Over);
        let begin = "\u{2717} failed 1 scenarios passed, 1 with remarks, 2 failed, 1 were skipped.";
        assert!(checked.text.starts_with(begin), "{}", checked.text);
        let verdicts: Vec<_> = checked.rows[1..6].iter().map(|row| row[2].as_str()).collect();
        assert_eq!(verdicts, ["\u{2713} pass", "\u{2717} FAIL", "! warn", "\u{2013} skipped", "\u{2717} ERROR"]);
        for said in [HOSTILE, "data: second", "6.12 <x>", "0.001500 doorbell", "0.001500 the last", "--only C2.1"] {
            assert!(checked.text.contains(said), "{said}: {}", checked.text);
        }
        let last = checked.rows.last().expect("rules");
        assert_eq!((last[0].as_str(), last[5].as_str()), ("H19", "10"));
        assert!(last[3] == Rule::H19.text() && last[6] == "C1.1, C2.1, C3.1, C4.1, C5.1", "{last:?}");
        let headings: Vec<_> =
            checked.headings.iter().filter(|(level, _)| *level == 2).map(|(_, it)| it.as_str()).collect();
        assert_eq!(
            headings,
            ["What was run", "Scenarios", "Failures", "Not judged", "Remarks", "Rules that were broken"]
        );
    }

    #[test]
    fn a_run_that_has_not_ended_has_not_passed() {
        assert!(told(Vec::new(), State::Running).text.starts_with("! unfinished"));
        assert!(told(vec![row("C1.1", Verdict::Pass)], State::Interrupted).text.starts_with("! interrupted"));
        assert!(told(vec![row("C1.1", Verdict::Pass)], State::Over).text.starts_with("\u{2713} passed 1 scenarios"));
    }
}
