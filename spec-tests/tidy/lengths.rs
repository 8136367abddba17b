//! Lengths: a function that does not fit a screen and a file that does not fit a head are found the day they appear.

use std::fmt::Write as _;

use crate::Violation;
use crate::rust::{Function, RustFile};

/// The longest function outside tests, in lines.
const FUNCTION_LINES_MAX: usize = 70;
/// The longest file, in lines outside tests.
const FILE_LINES_MAX: usize = 800;
/// How many of the longest are printed.
const SHOWN: usize = 10;

/// Finds functions and files over the bound.
pub fn check(files: &[RustFile]) -> Vec<Violation> {
    let mut found = Vec::new();
    for (file, function) in product_functions(files) {
        if function.length() > FUNCTION_LINES_MAX {
            let message = format!("{} has {} lines of at most {FUNCTION_LINES_MAX}", function.name, function.length());
            found.push(Violation::new(&file.path, *function.lines.start(), message));
        }
    }
    for file in files {
        if file.product_lines() > FILE_LINES_MAX {
            let message = format!("{} lines outside tests, of at most {FILE_LINES_MAX}", file.product_lines());
            found.push(Violation::new(&file.path, 0, message));
        }
    }
    found
}

/// The longest functions and files, as text.
pub fn longest(files: &[RustFile]) -> String {
    let mut functions: Vec<(usize, String)> = product_functions(files)
        .map(|(file, function)| {
            (function.length(), format!("{}:{} {}", file.path, function.lines.start(), function.name))
        })
        .collect();
    let mut lengths: Vec<(usize, String)> =
        files.iter().map(|file| (file.product_lines(), file.path.clone())).collect();
    let mut shown = String::new();
    for (title, list) in [("functions", &mut functions), ("files (without their tests)", &mut lengths)] {
        list.sort_by(|one, other| other.cmp(one));
        writeln!(shown, "longest {title}").expect("a string takes everything");
        for (lines, name) in list.iter().take(SHOWN) {
            writeln!(shown, "{lines:5} {name}").expect("a string takes everything");
        }
    }
    shown
}

fn product_functions(files: &[RustFile]) -> impl Iterator<Item = (&RustFile, &Function)> {
    files.iter().flat_map(|file| {
        let is_product = |function: &&Function| !file.is_test(*function.lines.start());
        file.functions.iter().filter(is_product).map(move |function| (file, function))
    })
}

#[cfg(test)]
mod tests {
    use super::{check, longest};
    use crate::rust::RustFile;

    fn file(path: &str, text: &str) -> [RustFile; 1] {
        [RustFile::parse(path, text).unwrap()]
    }

    #[test]
    fn a_function_has_at_most_70_lines() {
        let with = |lines: usize| format!("fn long() {{{}}}\n", "\n".repeat(lines - 1));
        assert!(check(&file("a/src/b.rs", &with(70))).is_empty());
        assert_eq!(check(&file("a/src/b.rs", &with(71)))[0].message, "long has 71 lines of at most 70");
        assert!(check(&file("a/tests/b.rs", &with(71))).is_empty());
    }

    #[test]
    fn a_file_has_at_most_800_lines_beside_its_tests() {
        let with =
            |lines: usize| format!("{}#[cfg(test)]\nmod tests {{\n\n\n}}\n", "const _: () = ();\n".repeat(lines));
        assert!(check(&file("a/src/b.rs", &with(800))).is_empty());
        assert_eq!(check(&file("a/src/b.rs", &with(801))).len(), 1);
    }

    #[test]
    fn the_longest_are_shown_first() {
        let shown = longest(&file("a/src/b.rs", "fn short() {}\nfn long() {\n}\n"));
        assert_eq!(shown.lines().nth(1), Some("    2 a/src/b.rs:2 long"));
    }
}
