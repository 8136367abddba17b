//! What came of a campaign with guests.

mod page;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use media::Nanoseconds;
use serde_json::{Value, json};

use super::super::junit::Suite;
use super::super::report::Report;
use super::plan::{LOAD, Plan};

/// What was seen of the first cuts after which something was wrong is kept for the page; JSON has all of it.
const EVIDENCE_MAX: usize = 50;

/// One cut, and what was wrong afterwards.
pub struct Outcome {
    /// Where power went; nothing where it went because the chosen point did not come.
    pub step: Option<String>,
    /// Writes of which the drive says that they were not durable.
    pub not_durable: usize,
    /// Power went again while the drive recovered.
    pub again: bool,
    /// So many other images of the same power loss were judged.
    pub images: u64,
    /// What cannot be.
    pub illegal: Vec<String>,
    /// Where something cannot be: what the guest said before and after, and the drive's own report.
    pub evidence: Value,
}

impl Outcome {
    /// What came of a cut of which the drive says this.
    pub fn new(report: &Value, again: bool, illegal: Vec<String>, evidence: Value) -> Self {
        let step = report["step"].as_str().map(str::to_owned);
        let not_durable = report["not-durable"].as_array().map_or(0, Vec::len);
        Self { step, not_durable, again, images: 0, illegal, evidence }
    }
}

/// All cuts so far.
#[derive(Default)]
pub struct Tally {
    cuts: u64,
    again: u64,
    boots: u64,
    not_durable: u64,
    images: u64,
    steps: BTreeMap<String, u64>,
    file_systems: BTreeMap<&'static str, u64>,
    illegal: Vec<(u32, Vec<String>)>,
    /// What was seen of the first of these.
    evidence: BTreeMap<u32, Value>,
    /// Cuts at the point that was chosen.
    met: u64,
    /// Cuts with something that was not durable.
    at_stake: u64,
    interrupted: bool,
    /// What is wrong with the campaign itself.
    failed: Vec<String>,
}

impl Tally {
    /// One more cut.
    pub fn count(&mut self, plan: &Plan, outcome: &Outcome) {
        self.cuts += 1;
        self.again += u64::from(outcome.again);
        self.boots += u64::from(plan.kill);
        self.not_durable += outcome.not_durable as u64;
        self.images += outcome.images;
        self.met += u64::from(outcome.step.is_some());
        self.at_stake += u64::from(outcome.not_durable > 0);
        let step = outcome.step.clone().unwrap_or_else(|| "at once".to_owned());
        *self.steps.entry(step).or_default() += 1;
        *self.file_systems.entry(plan.file_system).or_default() += 1;
        if !outcome.illegal.is_empty() {
            self.illegal.push((plan.pass, outcome.illegal.clone()));
            if self.evidence.len() < EVIDENCE_MAX {
                self.evidence.insert(plan.pass, outcome.evidence.clone());
            }
        }
    }

    /// It was told to end.
    pub fn interrupt(&mut self) {
        self.interrupted = true;
    }

    /// It could not go on.
    pub fn fail(&mut self, why: &str) {
        self.failed.push(why.to_owned());
    }

    /// Of a hundred points this many must have been met: a cut at another moment, with nothing in the cache, shows nothing.
    pub fn demand(&mut self, percent: u8) {
        if self.met * 100 < self.cuts * u64::from(percent) {
            let Self { met, cuts, .. } = self;
            self.failed.push(format!("{met} of {cuts} points were met, and --min-met asks for {percent} %"));
        }
    }

    /// Whether something was wrong after a cut, or with the campaign.
    pub fn has_failed(&self) -> bool {
        !self.illegal.is_empty() || !self.failed.is_empty()
    }

    /// This many cuts after which something was wrong.
    #[must_use]
    pub fn illegal(&self) -> usize {
        self.illegal.len()
    }

    /// For people.
    #[must_use]
    pub fn text(&self, seed: u64, time: Nanoseconds) -> String {
        let mut text = String::new();
        for (pass, illegal) in &self.illegal {
            let _ = writeln!(text, "ILLEGAL, cut {pass}: {}", joined(illegal));
        }
        let steps: Vec<_> = self.steps.iter().map(|(step, cuts)| format!("{step} {cuts}")).collect();
        let file_systems: Vec<_> = self.file_systems.iter().map(|(name, cuts)| format!("{name} {cuts}")).collect();
        let Self { cuts, again, boots, not_durable, .. } = self;
        let _ = writeln!(text, "{cuts} cuts of a guest from seed {seed} on, in {} s", time.0 / 1_000_000_000);
        if !self.file_systems.contains_key(LOAD) {
            let _ = writeln!(text, "under atomic writes of 16 KiB: {}", file_systems.join(", "));
        }
        let _ = writeln!(
            text,
            "{boots} machines killed and booted again, the others went on; {again} cuts again in recovery"
        );
        let Self { met, at_stake, .. } = self;
        let _ = writeln!(text, "{met} of {cuts} points met; at the others power went at once");
        let _ = writeln!(text, "{not_durable} writes were not durable when power went, at {at_stake} of {cuts} cuts");
        let _ = writeln!(text, "at {}", steps.join(", "));
        if self.images > 0 {
            let _ = writeln!(text, "{} other images of these power losses judged", self.images);
        }
        for failed in &self.failed {
            let _ = writeln!(text, "FAILED: {failed}");
        }
        if self.interrupted {
            let _ = writeln!(text, "interrupted after {cuts} cuts");
        }
        let _ = writeln!(text, "{} illegal", self.illegal.len());
        text
    }

    /// For who reads JUnit: a test case for each step, and one for each cut after which something was wrong.
    #[must_use]
    pub fn xml(&self, seed: u64, time: Nanoseconds) -> String {
        let mut suite = Suite::new("crash --guest", seed, time);
        for step in self.steps.keys() {
            suite.passed("step", step);
        }
        for (pass, illegal) in &self.illegal {
            suite.failed("cut", &pass.to_string(), &joined(illegal), None);
        }
        for failed in &self.failed {
            suite.failed("campaign", "end", failed, None);
        }
        suite.xml()
    }

    /// One value for all.
    #[must_use]
    pub fn json(&self, seed: u64, time: Nanoseconds) -> Value {
        json!({
            "seed": seed, "cuts": self.cuts, "boots": self.boots, "again": self.again, "illegal": self.illegal.len(),
            "met": self.met, "at-stake": self.at_stake, "interrupted": self.interrupted, "failed": self.failed,
            "not-durable": self.not_durable, "images": self.images, "steps": self.steps,
            "file-systems": self.file_systems, "nanoseconds": time.0,
        })
    }
}

/// All that was wrong after a cut; what takes several lines begins one.
fn joined(illegal: &[String]) -> String {
    illegal.join(if illegal.iter().any(|text| text.contains('\n')) { "\n" } else { "; " })
}

/// Writes down one cut.
///
/// # Errors
/// The file does not take it.
pub fn cut(report: &mut Report, plan: &Plan, outcome: &Outcome) -> anyhow::Result<()> {
    report.line(|| {
        json!({
            "cut": plan.pass, "file-system": plan.file_system, "at": plan.at, "how": plan.policy, "killed": plan.kill,
            "step": outcome.step, "not-durable": outcome.not_durable, "again": outcome.again, "images": outcome.images,
            "illegal": outcome.illegal, "evidence": outcome.evidence,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_that_were_not_met_fail_a_campaign_below_a_share() {
        let plan = Plan::new(1, 10, &[], None);
        let outcome = |met: bool, not_durable| Outcome {
            step: met.then(|| "group-staged".into()),
            not_durable,
            again: false,
            images: 2,
            illegal: Vec::new(),
            evidence: Value::Null,
        };
        let mut tally = Tally::default();
        (0..10).for_each(|n| tally.count(&plan, &outcome(n < 8, usize::from(n < 7))));
        tally.demand(80);
        assert!(!tally.has_failed());
        let text = tally.text(1, Nanoseconds(0));
        assert!(text.contains("8 of 10 points met") && text.contains("at 7 of 10 cuts"), "{text}");
        tally.demand(81);
        assert!(tally.has_failed());
        let wrong = "8 of 10 points were met, and --min-met asks for 81 %";
        assert!(tally.text(1, Nanoseconds(0)).contains(wrong) && tally.xml(1, Nanoseconds(0)).contains(wrong));
        assert!(tally.xml(1, Nanoseconds(0)).contains("failures=\"1\""));
        tally.interrupt();
        assert!(tally.text(1, Nanoseconds(0)).contains("interrupted after 10 cuts"));
        assert_eq!(tally.json(1, Nanoseconds(0))["met"], 8);
        let mut none = Tally::default();
        none.demand(100);
        assert!(!none.has_failed(), "of no points none was missed");
    }

    #[test]
    fn what_was_wrong_is_in_every_report() {
        let plan = Plan::new(1, 10, &[], None);
        let outcome = |illegal: &[&str]| Outcome {
            step: Some("group-staged".into()),
            not_durable: 3,
            again: false,
            images: 2,
            illegal: illegal.iter().map(|&text| text.to_owned()).collect(),
            evidence: Value::Null,
        };
        let mut tally = Tally::default();
        tally.count(&plan, &outcome(&[]));
        assert!(
            tally
                .text(1, Nanoseconds(0))
                .ends_with("at group-staged 1\n2 other images of these power losses judged\n0 illegal\n")
        );
        tally.count(&plan, &outcome(&["torn <1>"]));
        assert_eq!(tally.illegal(), 1);
        let text = tally.text(1, Nanoseconds(0));
        assert!(text.starts_with("ILLEGAL, cut 10: torn <1>\n2 cuts") && text.ends_with("1 illegal\n"), "{text}");
        assert!(
            text.contains("2 machines killed") && text.contains("\n4 other images of these power losses judged\n"),
            "{text}"
        );
        assert_eq!(tally.json(1, Nanoseconds(0))["images"], 4);
        assert_eq!(joined(&["a".to_owned(), "b".to_owned()]), "a; b");
        assert_eq!(joined(&["a\n  again: b".to_owned(), "c".to_owned()]), "a\n  again: b\nc");
        let xml = tally.xml(1, Nanoseconds(0));
        assert!(xml.contains("tests=\"2\"") && xml.contains("failures=\"1\""), "{xml}");
        assert!(tally.xml(1, Nanoseconds(0)).contains("torn &lt;1&gt;"));
        assert_eq!(tally.json(1, Nanoseconds(0))["steps"]["group-staged"], 2);
    }
}
