//! The three documents at the root exist, and so do the folders they draw, and the pages and headings to which any document links. The
//! book has every page of docs/. ARCHITECTURE.md is a map, not a book.

use crate::Violation;
use crate::tree::{TextFile, Tree};

/// What a newcomer reads.
const DOCUMENTS: &[&str] = &["README.md", "ARCHITECTURE.md", "STYLE.md"];

/// What the book is made of.
const CONTENTS: &str = "docs/SUMMARY.md";

/// The document that has a bound, its longest length in lines, and where the rest goes.
const MAP: (&str, usize, &str) = ("ARCHITECTURE.md", 250, "move what is longer into a page of docs/, by topic");

/// Checks the documents of a tree.
pub fn check(tree: &Tree) -> Vec<Violation> {
    let mut found: Vec<Violation> = tree.files.iter().filter_map(too_long).collect();
    for file in tree.files.iter().filter(|file| file.path.ends_with(".md")) {
        for (line, page, heading) in links(file) {
            let target = tree.files.iter().find(|file| file.path == page);
            let objection = match (target, heading) {
                (None, _) => format!("{page} does not exist"),
                (Some(target), Some(heading))
                    if page.ends_with(".md") && !headings(&target.text).contains(&heading) =>
                {
                    format!("{page} has no heading #{heading}")
                }
                _ => continue,
            };
            found.push(Violation::new(&file.path, line, objection));
        }
    }
    found.extend(left_out(tree));
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

/// Pages that the book does not have.
fn left_out(tree: &Tree) -> Vec<Violation> {
    let Some(contents) = tree.files.iter().find(|file| file.path == CONTENTS) else { return Vec::new() };
    let listed: Vec<String> = links(contents).into_iter().map(|(_, page, _)| page).collect();
    let page = |file: &&TextFile| file.path.starts_with("docs/") && file.path.ends_with(".md") && file.path != CONTENTS;
    let missing = tree.files.iter().filter(page).filter(|file| !listed.contains(&file.path));
    missing.map(|file| Violation::new(CONTENTS, 0, format!("{} is not in the book", file.path))).collect()
}

/// How the headings of a page are named in links.
fn headings(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        fenced ^= line.starts_with("```");
        if let Some(title) = Some(line.trim_start_matches('#')).filter(|title| !fenced && title.len() < line.len()) {
            let kept = title.trim().to_lowercase();
            let kept = kept.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
            found.push(kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect());
        }
    }
    found
}

/// The files that a document links to, by their paths from the root, with the lines of the links and the headings that they name.
fn links(file: &TextFile) -> Vec<(usize, String, Option<String>)> {
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut found = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for rest in line.split("](").skip(1) {
            let whole = rest.split(')').next().unwrap_or_default();
            let (target, heading) = whole.split_once('#').map_or((whole, None), |(target, name)| (target, Some(name)));
            if whole.contains("://") {
                continue;
            }
            if target.is_empty() {
                found.push((index + 1, file.path.clone(), heading.map(str::to_owned)));
                continue;
            }
            let mut path: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
            for part in target.split('/') {
                match part {
                    ".." => _ = path.pop(),
                    _ => path.push(part),
                }
            }
            found.push((index + 1, path.join("/"), heading.map(str::to_owned)));
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
        |path: &str| links(&file(path)).into_iter().map(|(line, page, _)| format!("{line} {page}")).collect::<Vec<_>>();
    assert_eq!(named("docs/a.md"), ["1 docs/b.md", "1 D.md", "2 docs/a.md", "3 docs/g/h.md"]);
    assert_eq!(named("A.md")[0], "1 b.md");
    let headings: Vec<_> = links(&file("A.md")).into_iter().filter_map(|(_, _, heading)| heading).collect();
    assert_eq!(headings, ["e", "there"]);
}

#[test]
fn headings_are_named_as_links_name_them() {
    let text = "# Power loss\n\n## Beside `dm-log-writes`, 2\n```sh\n# no heading\n```\n### qmp_capabilities\n";
    assert_eq!(headings(text), ["power-loss", "beside-dm-log-writes-2", "qmp_capabilities"]);
}
