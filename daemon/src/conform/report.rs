//! What came of a run: a table and a page for people, lines of JSON and JUnit for machines. All are complete when a run ends before its time.

mod page;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use quick_junit::{NonSuccessKind, Property, Report as Junit, TestCase, TestCaseStatus, TestSuite};
use serde_json::json;

use super::bench::{Ended, Plan};
use super::fails;
use super::scenario::Case;
use super::verdict::{BrokenEvent, Verdict};
use crate::failure::Failure;
use crate::options::OptionError;

/// So many reasons of a case are for people.
const SAID: usize = 4;

/// The cases so far.
pub struct Report {
    suite: TestSuite,
    json: Option<fs::File>,
    junit: Option<PathBuf>,
    html: Option<PathBuf>,
    rows: Vec<Row>,
    again: String,
    seed: u64,
    facts: Vec<(&'static str, String)>,
}

/// Files that were asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files<'a> {
    /// JSON Lines.
    pub json: Option<&'a Path>,
    /// JUnit.
    pub junit: Option<&'a Path>,
    /// A page.
    pub html: Option<&'a Path>,
}

/// A case that has ended.
struct Row {
    number: String,
    name: String,
    seconds: f64,
    /// The command that repeats it.
    again: String,
    ended: Ended,
}

/// Whether the run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    Interrupted,
    Over,
}

impl Report {
    /// Begins the files. `again` is the command line that repeats a case, but for which one.
    ///
    /// # Errors
    /// One cannot be written.
    pub fn create(plan: &Plan, seed: u64, again: String, files: &Files<'_>) -> Result<Self, Failure> {
        let mut suite = TestSuite::new(format!("conform.{}", plan.subject.name()));
        let facts = vec![
            ("driver", plan.subject.version()),
            ("qemu", guest_harness::Assets::load()?.value("QEMU_VERSION").unwrap_or_default().to_owned()),
            ("slowness", plan.timeouts.slowness.to_string()),
            ("timeouts", format!("io={},admin={}", plan.timeouts.io, plan.timeouts.admin)),
            ("allow", plan.allowed.iter().cloned().collect::<Vec<_>>().join(",")),
            ("profile", plan.profile.clone().unwrap_or_default()),
        ];
        suite.add_property(Property::new("seed", seed.to_string()));
        facts.iter().for_each(|(name, value)| _ = suite.add_property(Property::new(*name, value)));
        // A report that cannot be written says nothing about a driver: that is a wrong option.
        let open = |option: &'static str, path: &Path| {
            let remedy = |error| format!("give a file that can be written: {error}");
            fs::File::create(path).map_err(|error| OptionError::new(option, path.display().to_string(), remedy(error)))
        };
        files.junit.map(|path| open("--junit", path)).transpose()?;
        files.html.map(|path| open("--html", path)).transpose()?;
        let json = files.json.map(|path| open("--json", path)).transpose()?;
        let [junit, html] = [files.junit, files.html].map(|path| path.map(Path::to_owned));
        let report = Self { suite, json, junit, html, rows: Vec::new(), again, seed, facts };
        report.write(State::Running)?;
        Ok(report)
    }

    /// A case has ended.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn case(&mut self, case: &Case, ended: Ended) -> anyhow::Result<()> {
        let seconds = std::time::Duration::from_nanos(ended.time.0);
        let again = format!("{} --only {}", self.again, case.number());
        let mut test = TestCase::new(case.name.as_str(), status(&ended.verdict, &ended, &again));
        test.set_classname(format!("conform.{}", case.id)).set_time(seconds);
        test.properties.extend([
            Property::new("form", case.number()),
            Property::new("device", case.device.as_str()),
            Property::new("namespaces", case.namespaces.join(" ")),
            Property::new("fault-hits", ended.evidence.fault_hits.to_string()),
        ]);
        if let Verdict::Warn(remarks) = &ended.verdict {
            test.set_system_out(remarks.join("\n"));
        }
        self.suite.add_test_case(test);
        let rules: Vec<&str> = ended.evidence.broken.iter().map(|broken| broken.rule.as_str()).collect();
        let line = json!({
            "case": case.id, "form": case.form, "name": case.name, "again": again,
            "verdict": ended.verdict.word(), "reason": ended.verdict.reason(), "seconds": seconds.as_secs_f64(),
            "fault-hits": ended.evidence.fault_hits, "rules": rules,
        });
        self.line(&line.to_string())?;
        println!("{}", row(case, &ended.verdict, seconds.as_secs_f64()));
        let seconds = seconds.as_secs_f64();
        self.rows.push(Row { number: case.number(), name: case.name.clone(), seconds, again, ended });
        self.write(State::Running)
    }

    /// The run is over.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn close(&mut self, interrupted: bool) -> anyhow::Result<()> {
        let [passed, warned, failed, skipped] = self.counts();
        let line = json!({
            "cases": self.rows.len(), "passed": passed, "warned": warned, "failed": failed, "skipped": skipped,
            "interrupted": interrupted,
        });
        self.line(&line.to_string())?;
        self.write(if interrupted { State::Interrupted } else { State::Over })?;
        let end = if interrupted { "; the run was told to end" } else { "" };
        println!("\n{passed} passed, {warned} with remarks, {failed} failed, {skipped} skipped{end}");
        Ok(())
    }

    /// Whether a case failed.
    pub fn failed(&self) -> bool {
        self.rows.iter().any(|row| fails(&row.ended.verdict))
    }

    /// Cases that passed, passed with remarks, failed, were skipped.
    fn counts(&self) -> [usize; 4] {
        let wanted: [fn(&Verdict) -> bool; 4] = [
            |it| *it == Verdict::Pass,
            |it| matches!(it, Verdict::Warn(_)),
            fails,
            |it| matches!(it, Verdict::Skipped(_)),
        ];
        wanted.map(|wanted| self.rows.iter().filter(|row| wanted(&row.ended.verdict)).count())
    }

    fn line(&mut self, line: &str) -> anyhow::Result<()> {
        match &mut self.json {
            Some(file) => writeln!(file, "{line}").context("--json"),
            None => Ok(()),
        }
    }

    /// Both files are written whole each time, so that they are complete whenever the run ends.
    fn write(&self, state: State) -> anyhow::Result<()> {
        if let Some(path) = &self.html {
            fs::write(path, page::page(self, state).to_string())
                .with_context(|| format!("--html {}", path.display()))?;
        }
        let Some(path) = &self.junit else { return Ok(()) };
        let mut report = Junit::new("brownout");
        report.add_test_suite(self.suite.clone());
        let text = report.to_string().context("JUnit")?;
        fs::write(path, text).with_context(|| format!("--junit {}", path.display()))
    }
}

fn row(case: &Case, verdict: &Verdict, seconds: f64) -> String {
    let reasons: Vec<&str> = match verdict {
        Verdict::Pass => Vec::new(),
        // What is only slow is in the reports.
        Verdict::Warn(all) | Verdict::Fail(_, all) => all.iter().take(SAID).map(String::as_str).collect(),
        Verdict::Skipped(why) | Verdict::Error(why) => vec![why],
    };
    let reasons: String = reasons.into_iter().map(|reason| format!("\n         {reason}")).collect();
    format!("{:8} {:6} {} ({seconds:.0} s){reasons}", verdict.word(), case.number(), case.name)
}

fn status(verdict: &Verdict, ended: &Ended, again: &str) -> TestCaseStatus {
    match verdict {
        Verdict::Pass | Verdict::Warn(_) => TestCaseStatus::success(),
        Verdict::Skipped(why) => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(why.as_str());
            status
        }
        Verdict::Fail(first, all) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            let kind = first.split([' ', ':']).next().unwrap_or(first).to_owned();
            status.set_type(kind).set_message(first.as_str()).set_description(details(ended, all, again));
            status
        }
        Verdict::Error(why) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_message(why.as_str()).set_description(details(ended, &[], again));
            status
        }
    }
}

/// Everything that helps to find out why.
fn details(ended: &Ended, all: &[String], again: &str) -> String {
    let mut text = all.join("\n");
    for broken in ended.evidence.broken.iter().filter(|broken| broken.severity != "performance") {
        text.push_str(&format!("\n\nevents before {} ({}):\n{}", broken.rule, broken.detail, listed(&broken.events)));
    }
    text.push_str(&format!("\n\nthe drive's last events:\n{}", listed(&ended.evidence.trace)));
    text.push_str(&format!("\n\nconsole:\n{}\n\nagain: {again}\n", ended.console));
    text
}

/// Events, one in a line.
fn listed(events: &[BrokenEvent]) -> String {
    let seconds = |event: &BrokenEvent| std::time::Duration::from_nanos(event.time_ns).as_secs_f64();
    events.iter().map(|event| format!("{:14.6} {}\n", seconds(event), event.text)).collect()
}
