//! The three documents at the root exist, and the folders they draw do too.

use crate::Violation;
use crate::tree::Tree;

/// What a newcomer reads.
const DOCUMENTS: &[&str] = &["README.md", "ARCHITECTURE.md", "STYLE.md"];

/// Checks the documents of a tree.
pub fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for document in DOCUMENTS {
        match tree.files.iter().find(|file| file.path == *document) {
            None => found.push(Violation::new(document, 0, "is missing")),
            Some(file) => {
                let missing = drawn_folders(&file.text).into_iter().filter(|(_, folder)| !tree.has_folder(folder));
                found.extend(
                    missing.map(|(line, folder)| Violation::new(document, line, format!("{folder} does not exist"))),
                );
            }
        }
    }
    found
}

/// Folders of the drawings of the tree within fenced blocks, with their lines: a first word that ends in `/`, below the folder of the
/// nearest earlier line that is indented less.
fn drawn_folders(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    let mut above: Vec<(usize, String)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            above.clear();
            continue;
        }
        let Some(word) = line.split_whitespace().next().filter(|word| fenced && is_folder(word)) else { continue };
        let indent = line.len() - line.trim_start().len();
        above.retain(|(outer, _)| *outer < indent);
        let parent = above.last().map_or("", |(_, folder)| folder.as_str());
        let folder = format!("{parent}{word}");
        above.push((indent, folder.clone()));
        found.push((index + 1, folder));
    }
    found
}

/// `queue/`, but neither `./run/` nor `/dev/` nor `$HOME/`.
fn is_folder(word: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-/".contains(letter) || letter == '.';
    word.ends_with('/')
        && word.chars().all(plain)
        && !word.starts_with("./")
        && !word.starts_with('/')
        && !word.starts_with("..")
}

#[test]
fn folders_are_read_from_a_drawing() {
    let text = "controller/ outside\n```\nCargo.toml   x\na/        text\n  b/      text b/c/\n    c/\n  f/\ng/\n./run/\n```\n";
    let folders: Vec<String> = drawn_folders(text).into_iter().map(|(_, folder)| folder).collect();
    assert_eq!(folders, ["a/", "a/b/", "a/b/c/", "a/f/", "g/"]);
}
