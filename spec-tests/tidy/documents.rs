//! The three documents at the root exist, and so do the folders they draw and the pages they link to. ARCHITECTURE.md is a map, not a
//! book.

use crate::Violation;
use crate::tree::{TextFile, Tree};

/// What a newcomer reads.
const DOCUMENTS: &[&str] = &["README.md", "ARCHITECTURE.md", "STYLE.md"];

/// The document that has a bound, its longest length in lines, and where the rest goes.
const MAP: (&str, usize, &str) = ("ARCHITECTURE.md", 250, "move what is longer into a page of docs/, by topic");

/// Checks the documents of a tree.
pub fn check(tree: &Tree) -> Vec<Violation> {
    let mut found: Vec<Violation> = tree.files.iter().filter_map(too_long).collect();
    for file in tree.files.iter().filter(|file| file.path.ends_with(".md")) {
        let exists = |path: &str| tree.files.iter().any(|file| file.path == path);
        let missing = links(file).into_iter().filter(|(_, page)| !exists(page));
        found.extend(missing.map(|(line, page)| Violation::new(&file.path, line, format!("{page} does not exist"))));
    }
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

/// The map, if it is longer than its bound.
fn too_long(file: &TextFile) -> Option<Violation> {
    let (map, most, instead) = MAP;
    let lines = file.text.lines().count();
    (file.path == map && lines > most)
        .then(|| Violation::new(map, most + 1, format!("{lines} lines of at most {most}: {instead}")))
}

/// The files that a document links to, by their paths from the root, with the lines of the links.
fn links(file: &TextFile) -> Vec<(usize, String)> {
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut found = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for rest in line.split("](").skip(1) {
            let target = rest.split([')', '#']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let mut path: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
            for part in target.split('/') {
                match part {
                    ".." => _ = path.pop(),
                    _ => path.push(part),
                }
            }
            found.push((index + 1, path.join("/")));
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

#[test]
fn a_map_of_more_than_250_lines_is_too_long() {
    let file = |path: &str, lines: usize| TextFile { path: path.into(), text: "x\n".repeat(lines) };
    assert!(too_long(&file("ARCHITECTURE.md", 250)).is_none());
    assert!(too_long(&file("docs/power.md", 251)).is_none());
    let violation = too_long(&file("ARCHITECTURE.md", 251)).expect("too long");
    assert!(violation.message.starts_with("251 lines of at most 250"), "{violation}");
}

#[test]
fn links_are_read_from_where_the_document_lies() {
    let text = "[a](b.md) and [c](../D.md#e)\n[web](https://example.org) [here](#there)\n[f](g/h.md)\n";
    let file = |path: &str| TextFile { path: path.into(), text: text.into() };
    let named =
        |path: &str| links(&file(path)).into_iter().map(|(line, page)| format!("{line} {page}")).collect::<Vec<_>>();
    assert_eq!(named("docs/a.md"), ["1 docs/b.md", "1 D.md", "3 docs/g/h.md"]);
    assert_eq!(named("A.md")[0], "1 b.md");
}
