//! The rules of the house, as tests: which crate may know which, names that have a better place, lengths, and clean text. A rule is a
//! pure function from files to violations, each of which names file, line and remedy; every rule is also tried on a file that
//! breaks it. `cargo test -p brownout-spec-tests --test tidy -- --nocapture` prints the ten longest functions and files.

mod arrows;
mod circles;
mod documents;
mod inside;
mod lengths;
mod names;
mod orderings;
mod rust;
mod text;
mod tree;
mod words;

use std::fmt;
use std::sync::LazyLock;

use rust::RustFile;
use tree::Tree;

/// A rule is broken at a place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    /// Path from the root of the repository.
    file: String,
    /// Line from 1; 0 when the file as a whole is meant.
    line: usize,
    /// What is wrong and what to do instead.
    message: String,
}

impl Violation {
    fn new(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self { file: file.into(), line, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.file, self.line, self.message)
    }
}

static TREE: LazyLock<Tree> = LazyLock::new(Tree::of_this_repository);
static RUST: LazyLock<Vec<RustFile>> = LazyLock::new(|| rust::parse_all(&TREE));

/// Fails with every violation, one to a line.
fn expect_none(mut violations: Vec<Violation>) {
    violations.sort();
    violations.dedup();
    let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} violations\n{}\n", lines.len(), lines.join("\n"));
}

#[test]
fn the_tree_is_seen() {
    assert!(TREE.files.iter().any(|file| file.path == "spec-tests/tidy/main.rs"));
    assert!(RUST.iter().any(|file| file.path == "controller/src/lib.rs"));
}

#[test]
fn crates_know_only_what_the_table_allows() {
    let packages = arrows::packages_of(&TREE.root);
    expect_none([arrows::check_manifests(&packages), arrows::check_paths(&packages, &RUST)].concat());
}

#[test]
fn files_do_not_import_each_other_in_a_loop() {
    expect_none(circles::check(&RUST));
}

#[test]
fn folders_inside_the_controller_know_only_what_they_may() {
    expect_none(inside::check(&RUST));
}

#[test]
fn names_with_a_better_place_are_not_used() {
    expect_none([names::check(&RUST), names::check_owners(&TREE.files)].concat());
}

#[test]
fn words_are_those_of_the_field() {
    expect_none(words::check(&TREE.files));
}

#[test]
fn orderings_of_the_disk_have_one_place_each() {
    assert!(RUST.iter().any(|file| file.path == "media/src/ordering.rs"));
    expect_none(orderings::check(&RUST));
}

#[test]
fn nothing_is_too_long() {
    println!("{}", lengths::longest(&RUST));
    expect_none(lengths::check(&RUST));
}

#[test]
fn text_is_clean_and_knows_no_machine() {
    expect_none(text::check(&TREE.files));
}

#[test]
fn documents_exist_and_name_folders_that_do() {
    expect_none(documents::check(&TREE));
}
