//! Blocks of commands in the documents: ```` ```sh ```` and ```` ```console ````, with words behind a comma that say what they need, or why
//! they are not run as they are. Also read by the tests with guests.

use std::fs;
use std::path::{Path, PathBuf};

/// What a block may say of itself, and what becomes of it.
pub const MARKERS: &[(&str, Fate, &str)] = &[
    ("guest", Fate::Guest, "boots guests: spec-tests/guest/documents.rs runs it, with fewer cuts"),
    ("soak", Fate::Soak, "guests with databases, which are fetched: `make soak` runs it, with fewer cuts"),
    ("own", Fate::Read, "needs a kernel, a machine or a finding of the reader's own: its options are read"),
    ("build", Fate::Target, "builds, and installs into the system: its target stands in the Makefile"),
    ("file", Fate::Run, "a script to save: later blocks find it under this name"),
    ("needs", Fate::Run, "runs where this is there"),
];

/// What a test does with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Runs it.
    Run,
    /// Runs it where guests are.
    Guest,
    /// The same, among the long tests.
    Soak,
    /// Has the program read its options.
    Read,
    /// Looks the target up.
    Target,
}

/// A block.
#[derive(Clone, Debug)]
pub struct Block {
    /// The page, from the root of the repository.
    pub page: String,
    /// The line where it begins.
    pub line: usize,
    /// Whether outputs stand between the commands, each of which begins with a dollar sign.
    pub console: bool,
    /// Words behind the language, each with what stands behind its equals sign.
    pub markers: Vec<(String, String)>,
    /// Its text.
    pub text: String,
}

impl Block {
    /// What a test does with it.
    pub fn fate(&self) -> Fate {
        let marked = self.markers.iter().map(|(name, _)| {
            let known = MARKERS.iter().find(|(marker, _, _)| marker == name);
            known.unwrap_or_else(|| panic!("{}: `{name}` is no marker of a block", self.place())).1
        });
        marked.fold(Fate::Run, |fate, next| if next == Fate::Run { fate } else { next })
    }

    /// What stands behind the equals sign of a marker.
    pub fn marker(&self, name: &str) -> Option<&str> {
        self.markers.iter().find(|(marker, _)| marker == name).map(|(_, value)| value.as_str())
    }

    /// Where it stands.
    pub fn place(&self) -> String {
        format!("{}:{}", self.page, self.line)
    }

    /// Its commands, without outputs. A line that goes on in the next one is one.
    pub fn commands(&self) -> Vec<String> {
        let joined = self.text.replace("\\\n", " ");
        let lines = joined.lines().map(str::trim_end).filter(|line| !line.is_empty());
        if self.console {
            lines.filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned).collect()
        } else {
            lines.map(str::to_owned).collect()
        }
    }
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a crate lies in the repository").to_owned()
}

/// README and all pages of the book.
pub fn pages() -> Vec<String> {
    let mut pages = vec!["README.md".to_owned(), "CONTRIBUTING.md".to_owned(), "python/README.md".to_owned()];
    for folder in ["docs", "docs/reference"] {
        for entry in fs::read_dir(root().join(folder)).expect("a folder") {
            let name = entry.expect("an entry").file_name().into_string().expect("a name");
            if name.ends_with(".md") {
                pages.push(format!("{folder}/{name}"));
            }
        }
    }
    pages.sort();
    pages
}

/// The text of a page.
pub fn text(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// The blocks of commands of a page.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<(usize, &str, String)> = None;
    let text = text(page);
    for (index, line) in text.lines().enumerate() {
        match &mut open {
            None if line.starts_with("```") => open = Some((index + 1, line.trim_start_matches('`'), String::new())),
            None => {}
            Some((begin, info, inside)) if line.starts_with("```") => {
                found.extend(block(page, *begin, info, std::mem::take(inside)));
                open = None;
            }
            Some((_, _, inside)) => {
                inside.push_str(line);
                inside.push('\n');
            }
        }
    }
    assert!(open.is_none(), "{page}: a block does not end");
    found
}

fn block(page: &str, line: usize, info: &str, text: String) -> Option<Block> {
    let mut words = info.split(',');
    let language = words.next().unwrap_or_default();
    let split = |word: &str| {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        (name.to_owned(), value.to_owned())
    };
    matches!(language, "sh" | "console").then(|| Block {
        page: page.to_owned(),
        line,
        console: language == "console",
        markers: words.map(split).collect(),
        text,
    })
}
