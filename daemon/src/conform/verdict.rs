//! What a run is worth: evidence in, a verdict out. It starts nothing and reads nothing.

use std::collections::BTreeSet;

use serde::Deserialize;

/// A rule that the driver broke, as the drive told it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Broken {
    /// Its identifier, as in H19.
    pub rule: String,
    /// Its short name.
    pub slug: String,
    /// `must`, `should` or `performance`.
    pub severity: String,
    /// How often.
    pub count: u64,
    /// In which life of the controller: firmware has the first.
    pub generation: u64,
    /// In words.
    pub detail: String,
    /// The last events up to it.
    #[serde(default)]
    pub events: Vec<BrokenEvent>,
}

/// An event before it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BrokenEvent {
    /// Nanoseconds since the device was made.
    pub time_ns: u64,
    /// In words.
    pub text: String,
}

/// What was seen of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// What the guest had to do by a certain time, and was still not done.
    pub late: Vec<String>,
    /// Orders that the guest had to carry out, and did not.
    pub failed_orders: Vec<String>,
    /// What a comparison found wrong.
    pub wrong_data: Vec<String>,
    /// Faults that had to be met, and were not.
    pub unmet: Vec<String>,
    /// Hits of all faults.
    pub fault_hits: u64,
    /// Rules that the driver broke.
    pub broken: Vec<Broken>,
    /// Lines of the console that must not be there.
    pub forbidden: Vec<String>,
    /// Lines that must be there, and are not.
    pub missing: Vec<String>,
    /// The drive's last events.
    pub trace: Vec<BrokenEvent>,
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should.
    Pass,
    /// As it should, with remarks.
    Warn(Vec<String>),
    /// The driver is wrong: what is said first, and all of it.
    Fail(String, Vec<String>),
    /// It says nothing about the driver.
    Skipped(String),
    /// The machine or this program did not do its part.
    Error(String),
}

impl Verdict {
    /// In a word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn(_) => "warn",
            Self::Fail(..) => "FAIL",
            Self::Skipped(_) => "skipped",
            Self::Error(_) => "ERROR",
        }
    }

    /// In a line, if there is more to say than the word.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Pass => None,
            Self::Warn(remarks) => remarks.first().map(String::as_str),
            Self::Fail(first, _) => Some(first),
            Self::Skipped(why) | Self::Error(why) => Some(why),
        }
    }
}

/// Judges a run that came to its end. What is allowed counts as a remark.
pub fn judge(evidence: &Evidence, allowed: &BTreeSet<String>) -> Verdict {
    let mut failures = Vec::new();
    let mut remarks = Vec::new();
    // What is only slow comes behind what is not nice.
    let (slow, broken): (Vec<_>, Vec<_>) = evidence.broken.iter().partition(|broken| broken.severity == "performance");
    for broken in broken.into_iter().chain(slow) {
        let text = format!(
            "{} ({}), {} times in life {}: {}",
            broken.rule, broken.slug, broken.count, broken.generation, broken.detail
        );
        match broken.severity.as_str() {
            "must" if !allowed.contains(&broken.rule) => failures.push(text),
            _ => remarks.push(text),
        }
    }
    failures.extend(evidence.late.iter().map(|what| format!("time: {what}")));
    failures.extend(evidence.failed_orders.iter().map(|what| format!("progress: {what}")));
    // What a copy that was given up has not written is wrong, too: that comes behind it.
    failures.extend(evidence.wrong_data.iter().map(|what| format!("data: {what}")));
    failures.extend(evidence.forbidden.iter().map(|line| format!("console: {line}")));
    failures.extend(evidence.missing.iter().map(|what| format!("console: no line matches {what}")));
    match failures.first() {
        Some(first) => Verdict::Fail(first.clone(), [failures.clone(), remarks].concat()),
        None if !evidence.unmet.is_empty() => {
            Verdict::Skipped(format!("the driver did not meet the fault: {}", evidence.unmet.join("; ")))
        }
        None if remarks.is_empty() => Verdict::Pass,
        None => Verdict::Warn(remarks),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(rule: &str, severity: &str) -> Broken {
        Broken {
            rule: rule.to_owned(),
            slug: "slug".to_owned(),
            severity: severity.to_owned(),
            count: 2,
            generation: 3,
            detail: "what".to_owned(),
            events: Vec::new(),
        }
    }

    fn judged(change: impl FnOnce(&mut Evidence)) -> Verdict {
        let mut evidence = Evidence::default();
        change(&mut evidence);
        judge(&evidence, &BTreeSet::from(["H29".to_owned()]))
    }

    #[test]
    fn what_is_wrong_comes_before_what_is_not_nice() {
        assert_eq!(judged(|_| ()), Verdict::Pass);
        let failed = judged(|it| it.broken = vec![broken("H71", "should"), broken("H19", "must")]);
        assert!(
            matches!(&failed, Verdict::Fail(first, all) if first.starts_with("H19 (slug), 2 times in life 3") && all.len() == 2)
        );
        assert!(matches!(judged(|it| it.broken = vec![broken("H71", "should")]), Verdict::Warn(_)));
        assert!(matches!(judged(|it| it.broken = vec![broken("H29", "must")]), Verdict::Warn(_)), "it is allowed");
        assert!(
            matches!(judged(|it| it.wrong_data.push("a block".into())), Verdict::Fail(first, _) if first == "data: a block")
        );
        assert!(matches!(judged(|it| it.failed_orders.push("copy".into())), Verdict::Fail(..)));
        assert!(matches!(judged(|it| it.late.push("copy".into())), Verdict::Fail(first, _) if first == "time: copy"));
        assert!(matches!(judged(|it| it.forbidden.push("Oops".into())), Verdict::Fail(..)));
        assert!(matches!(judged(|it| it.missing.push("login:".into())), Verdict::Fail(..)));
    }

    #[test]
    fn a_fault_that_was_not_met_proves_nothing_but_wrong_data_does() {
        assert!(matches!(judged(|it| it.unmet.push("drop".into())), Verdict::Skipped(_)));
        let both = judged(|it| {
            it.unmet.push("drop".into());
            it.wrong_data.push("a block".into());
        });
        assert!(matches!(both, Verdict::Fail(..)));
    }
}
