//! Text that reads the same everywhere: no invisible characters, no lines that run out of the window, and no trace of the machine it was
//! written on.

use crate::Violation;
use crate::tree::TextFile;

/// The longest line, in characters.
const LINE_MAX: usize = 140;

/// What belongs to one machine, spelled so that this file does not hold it.
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/")];

/// Hosts of package registries: where packages come from is the business of whoever installs them.
const REGISTRIES: &[&str] = &[
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("deb.", "debian.org"),
    concat!("security.", "debian.org"),
    concat!("snapshot.", "debian.org"),
    concat!("ftp.", "debian.org"),
    concat!("archive.", "ubuntu.com"),
    concat!("pypi", ".org"),
    concat!("files.", "pythonhosted.org"),
    concat!("registry.", "npmjs.org"),
    concat!("proxy.", "golang.org"),
];

/// Checks every text file.
pub fn check(files: &[TextFile]) -> Vec<Violation> {
    files.iter().flat_map(check_file).collect()
}

fn check_file(file: &TextFile) -> Vec<Violation> {
    let mut found = Vec::new();
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        found.push(Violation::new(&file.path, file.text.lines().count(), "the last line has no end"));
    }
    for (index, line) in file.text.split('\n').enumerate() {
        found.extend(objections(&file.path, line).into_iter().map(|why| Violation::new(&file.path, index + 1, why)));
    }
    found
}

/// What is wrong with a line.
fn objections(path: &str, line: &str) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(letter) = line.chars().find(|&letter| is_invisible(letter) && !(letter == '\t' && may_have_tabs(path)))
    {
        found.push(format!("the character U+{:04X}", u32::from(letter)));
    }
    if line.ends_with([' ', '\t']) {
        found.push("white space at the end of the line".into());
    }
    let length = line.chars().count();
    if length > LINE_MAX && !may_have_long_lines(path, line) {
        found.push(format!("{length} characters in a line of at most {LINE_MAX}"));
    }
    found.extend(
        MACHINE_PATHS
            .iter()
            .filter(|place| is_absolute(line, place))
            .map(|place| format!("{place} is a path of one machine")),
    );
    found.extend(
        REGISTRIES
            .iter()
            .filter(|host| line.contains(**host))
            .map(|host| format!("{host} is the business of who installs")),
    );
    found
}

/// Control characters, and what turns or hides text without being seen.
fn is_invisible(letter: char) -> bool {
    let hidden = matches!(letter, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    letter.is_control() || hidden
}

/// Rust and TOML are formatted with blanks; make and Go must have tabs, and data may.
fn may_have_tabs(path: &str) -> bool {
    !(path.ends_with(".rs") || path.ends_with(".toml") || path.ends_with(".md"))
}

/// What nobody wraps: lock files, licences, recorded data, rows of a table, and a single word such as an address.
fn may_have_long_lines(path: &str, line: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let data = [".lock", ".json", ".csv", ".svg", ".patch", ".txt"].iter().any(|ending| name.ends_with(ending));
    let row = name.ends_with(".md") && line.trim_start().starts_with('|');
    data || row || name.starts_with("LICENSE") || line.trim().split(' ').filter(|word| word.len() > 8).count() <= 1
}

/// Whether a line holds `place` as the beginning of a path, rather than within one.
fn is_absolute(line: &str, place: &str) -> bool {
    let inside = |letter: char| letter.is_alphanumeric() || "_-.}*)".contains(letter);
    line.match_indices(place).any(|(at, _)| !line[..at].ends_with(inside))
}

#[cfg(test)]
mod tests {
    use super::{MACHINE_PATHS, REGISTRIES, check_file, objections};
    use crate::tree::TextFile;

    #[test]
    fn invisible_characters_are_found() {
        assert_eq!(objections("a.rs", "a\tb"), ["the character U+0009"]);
        assert_eq!(objections("a.md", "a\u{202e}b"), ["the character U+202E"]);
        assert_eq!(objections("a.md", "a\u{85}b\r"), ["the character U+0085"]);
        assert!(objections("Makefile", "\ttrue").is_empty());
        assert!(objections("a.md", "µs · →").is_empty());
    }

    #[test]
    fn ends_of_lines_and_of_files() {
        assert_eq!(objections("a.sh", "a "), ["white space at the end of the line"]);
        let file = |text: &str| TextFile { path: "a".into(), text: text.into() };
        assert_eq!(check_file(&file("a\nb")).len(), 1);
        assert!(check_file(&file("a\nb\n")).is_empty());
        assert!(check_file(&file("")).is_empty());
    }

    #[test]
    fn lines_fit_the_window_unless_they_cannot_be_wrapped() {
        let long = "eighteen characters ".repeat(8);
        let long = long.trim();
        assert_eq!(objections("a.rs", long).len(), 1);
        assert_eq!(objections("a.md", &format!("| {long}")).len(), 0);
        assert_eq!(objections("Cargo.lock", long).len(), 0);
        assert_eq!(objections("a.rs", &format!("// {}", "x".repeat(200))).len(), 0);
    }

    #[test]
    fn paths_of_a_machine_and_registries_are_found() {
        let place = MACHINE_PATHS[0];
        assert_eq!(objections("a.sh", &format!("cd {place}main")).len(), 1);
        assert_eq!(objections("a.sh", &format!("cd \"$HOME{place}main\"")).len(), 0);
        assert_eq!(objections("a.sh", &format!("get https://{}/x", REGISTRIES[0])).len(), 1);
    }
}
