//! A run from end to end on a crate of a few lines, whose mutants are known; and the list that is kept, against the real sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mutants::Plan;
use mutants::equivalent::Equivalents;

const MANIFEST: &str = r#"
[workspace]
members = ["sample"]
[workspace.lints.rust]
unused = "deny"
"#;

const PACKAGE: &str = r#"
[package]
name = "sample"
version = "0.1.0"
edition = "2024"
[lints]
workspace = true
"#;

const SOURCE: &str = r#"#![forbid(unsafe_code)]
//! A sample.

/// Tested at its bound.
pub fn is_small(number: u32) -> bool {
    number < 10
}

/// Tested away from its bound.
pub fn is_large(number: u32) -> bool {
    number > 1000
}

/// Not tested.
pub fn forgotten(list: &mut Vec<u32>) {
    list.clear();
}

/// Nothing can tell the two apart.
pub fn last_of(list: &[u32], at: usize) -> u32 {
    if at >= list.len() { list.len() as u32 } else { at as u32 }
}

/// Subtraction of text is not Rust.
pub fn greet(name: &str) -> String {
    "hello ".to_owned() + name
}

/// A loop that would never end.
pub fn count(to: u32) -> u32 {
    let mut at = 0;
    while at != to {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds() {
        assert!(is_small(9) && !is_small(10));
        assert!(is_large(2000) && !is_large(5));
    }

    #[test]
    fn others() {
        assert_eq!((last_of(&[7, 8], 1), last_of(&[7, 8], 2), last_of(&[7, 8], 3)), (1, 2, 2));
        assert_eq!(greet("you"), "hello you");
        assert_eq!(count(3), 3);
    }
}
"#;

const EQUIVALENT: &str = r#"
[[equivalent]]
file = "sample/src/lib.rs"
function = "last_of"
replacement = "at > list.len()"
reason = "where they are equal both branches give the same"
"#;

fn plan(root: &Path) -> Plan {
    Plan {
        root: root.to_owned(),
        scratch: root.join("target/mutants"),
        files: vec!["sample".into()],
        packages: vec!["sample".into()],
        without: Vec::new(),
        sample: None,
        seed: 1,
        only: None,
        budget: Duration::from_secs(60),
        patience: Duration::from_secs(3),
        jobs: 2,
    }
}

fn sample() -> (tempfile::TempDir, Equivalents) {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("sample/src")).expect("a folder");
    fs::create_dir_all(at("target/mutants")).expect("a folder");
    fs::write(at("Cargo.toml"), MANIFEST).expect("a file");
    fs::write(at("sample/Cargo.toml"), PACKAGE).expect("a file");
    fs::write(at("sample/src/lib.rs"), SOURCE).expect("a file");
    (folder, toml::from_str(EQUIVALENT).expect("a list"))
}

/// The lines without what stands in brackets behind them.
fn outcomes(lines: &[String]) -> Vec<String> {
    lines
        .iter()
        .map(|line| line.replace("sample/src/lib.rs:", "").split(" (").next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn each_mutant_of_a_sample_is_judged_as_it_should_be() {
    let (folder, list) = sample();
    let mut told = Vec::new();
    let report = mutants::run(&plan(folder.path()), &list, |text| told.push(text.to_owned())).expect("it runs");
    let found = outcomes(report.lines());
    for expected in [
        "caught 6 is_small: number < 10 → number <= 10",
        "caught 6 is_small: 10 → 11",
        "caught 5 is_small: the body → return true",
        "MISSED 11 is_large: number > 1000 → number >= 1000",
        "caught 11 is_large: number > 1000 → number <= 1000",
        "MISSED 11 is_large: 1000 → 1001",
        "MISSED 15 forgotten: the body → return",
        "MISSED 16 forgotten: list.clear(); → nothing",
        "MISSED 31 count: 0 → 1",
        "equivalent 21 last_of: at >= list.len() → at > list.len()",
        "caught 33 count: at += 1; → nothing",
        "caught 32 count: at != to → false",
    ] {
        assert!(found.iter().any(|line| line == expected), "{expected}\n{}", found.join("\n"));
    }
    assert!(!found.iter().any(|line| line.contains("\"hello \".to_owned() - name")), "it does not compile");
    let unreached = report.lines().iter().filter(|line| line.contains("no test reaches it")).count();
    let total = report.total();
    assert_eq!((total.missed, total.unreached, unreached, total.equivalent), (5, 2, 2, 1));
    assert!(report.lines().iter().any(|line| line.contains("does not end")), "the loop");
    assert!(report.table().contains("| sample/src/lib.rs |"));
}

#[test]
fn a_sample_is_as_large_as_asked_for_and_its_seed_repeats_it() {
    let (folder, list) = sample();
    let chosen = |seed| {
        let plan = Plan { sample: Some(3), seed, only: Some("is_".into()), ..plan(folder.path()) };
        outcomes(mutants::run(&plan, &list, |_| ()).expect("it runs").lines())
    };
    let first = chosen(1);
    assert!(first.len() == 3 && first.iter().all(|line| line.contains("is_small") || line.contains("is_large")));
    assert_eq!(first, chosen(1));
    assert!((2..12).any(|seed| chosen(seed) != first), "the seed matters");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let (folder, list) = sample();
    let plan = Plan { files: vec!["sample/src/nothing.rs".into()], ..plan(folder.path()) };
    let error = mutants::run(&plan, &list, |_| ()).expect_err("there is no such file");
    assert_eq!(error.to_string(), "there is no sample/src/nothing.rs");
}

#[test]
fn every_equivalent_that_is_kept_is_still_a_mutant() {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let kept = root.join("spec-tests/mutants");
    let list = Equivalents::read(&kept.join("equivalent.toml")).expect("the list");
    let files = mutants::read_list(&kept.join("nightly.txt")).expect("the list");
    let stale = mutants::stale(&root, &files, &list).expect("sources");
    assert!(stale.is_empty(), "these changed or went; look whether they are still equivalent:\n{}", stale.join("\n"));
}
