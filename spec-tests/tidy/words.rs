//! Words of our own for which the field has a term, each with that term. They are found wherever text is: in identifiers (`snake_case` and
//! `CamelCase` are taken apart), comments, messages and documents.

use crate::Violation;
use crate::tree::TextFile;

/// What not to say, in lower case with one blank between words, and what to say instead.
const OLD: &[(&str, &str)] = &[
    ("short way", "fast path"),
    ("dice", "random number generator"),
    ("desk", "dispatcher"),
    ("bring to rest", "quiesce"),
    ("brought to rest", "quiesced"),
    ("come to rest", "quiesce"),
    ("comes to rest", "quiesces"),
    ("came to rest", "quiesced"),
    ("at rest", "quiesced, or idle"),
    ("fill far", "fill_non_temporal"),
    ("read far", "read_non_temporal"),
    ("copy far", "non-temporal copy"),
    ("far copy", "non-temporal copy"),
    ("far copies", "non-temporal copies"),
    ("bring near", "prefetch"),
    ("brought near", "prefetched"),
    ("near copies", "ordinary copies, or prefetch"),
    ("hush", "disable notifications"),
    ("leash", "watchdog guard"),
    ("bell", "notifier (an eventfd), or doorbell"),
    ("bells", "notifiers, or doorbells"),
    ("nap", "pause, or polling interval"),
    ("naps", "pauses, or polling intervals"),
    ("rooms", "modules, or crates"),
    ("loss of power", "power loss"),
    ("losses of power", "power losses"),
    ("first file system", "initramfs"),
    ("first file systems", "initramfs images"),
    ("at the most", "at most"),
    ("at the least", "at least"),
    ("so many cuts", "number of power cuts"),
];

/// The one file that may say them.
const THIS_FILE: &str = "spec-tests/tidy/words.rs";

/// Looks for every old word in every text.
pub fn check(files: &[TextFile]) -> Vec<Violation> {
    files.iter().filter(|file| is_ours(&file.path)).flat_map(check_file).collect()
}

/// Whether people of the project wrote it.
fn is_ours(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    path != THIS_FILE && !name.starts_with("LICENSE") && !path.ends_with(".lock") && !path.ends_with(".svg")
}

fn check_file(file: &TextFile) -> Vec<Violation> {
    let words: Vec<(usize, String)> = (file.text.lines().enumerate())
        .flat_map(|(index, line)| words_of(line).into_iter().map(move |word| (index + 1, word)))
        .collect();
    let mut found = Vec::new();
    for (old, instead) in OLD {
        let wanted: Vec<&str> = old.split(' ').collect();
        let is_old = |window: &&[(usize, String)]| window.iter().zip(&wanted).all(|((_, word), old)| word == old);
        found.extend(
            (words.windows(wanted.len()).filter(is_old))
                .map(|window| Violation::new(&file.path, window[0].0, format!("\"{old}\": say {instead}"))),
        );
    }
    found
}

/// The words of a line in lower case, identifiers taken apart. What stands between words (blanks, comment marks, an underscore) is left
/// out, so that a phrase is found across the end of a line; an end of a sentence, a quote or a bracket is a word of its own, so that it is not
/// found across that.
fn words_of(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut before = ' ';
    for letter in line.chars() {
        if letter.is_alphanumeric() {
            let begins = !before.is_alphanumeric() || before.is_lowercase() && letter.is_uppercase();
            if begins {
                words.push(String::new());
            }
            words.last_mut().expect("a word was begun").extend(letter.to_lowercase());
        } else if !letter.is_whitespace() && !"_-/#*".contains(letter) {
            words.push(letter.to_string());
        }
        before = letter;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::{OLD, THIS_FILE, check, words_of};
    use crate::tree::TextFile;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let file = TextFile { path: path.into(), text: text.into() };
        check(&[file]).iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn every_old_word_is_found_in_prose_and_in_identifiers() {
        for (old, _) in OLD {
            let snake = old.replace(' ', "_");
            let camel: String =
                old.split(' ').map(|word| format!("{}{}", word[..1].to_uppercase(), &word[1..])).collect();
            let text = format!("// The {old}.\nfn {snake}() {{}}\nstruct {camel};\n");
            assert_eq!(lines("a/src/b.rs", &text), [1, 2, 3], "{old}");
            assert_eq!(lines(THIS_FILE, &text), [0; 0]);
        }
    }

    #[test]
    fn a_phrase_is_found_across_the_end_of_a_line_and_not_across_a_sentence() {
        assert_eq!(lines("a.rs", "/// A loss\n/// of power\n"), [1]);
        assert_eq!(lines("a.rs", "/// At the least. Most\n"), [1]);
        assert_eq!(lines("a.md", "The short. Way to go (the short) way\n"), [0; 0]);
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(lines("a.rs", "fn doorbell() { snapshot(diced, restore, hushed, DoorBellows) }"), [0; 0]);
        assert_eq!(
            words_of("let mut readFar = NVMe_queue2;"),
            ["let", "mut", "read", "far", "=", "nvme", "queue2", ";"]
        );
    }
}
