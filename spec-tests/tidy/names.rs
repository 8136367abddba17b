//! Names that have a better place, each with what to use instead. They are looked for among tokens, so that a comment or a string may
//! say them and a macro cannot hide them.

use crate::Violation;
use crate::rust::{RustFile, Token};
use crate::tree::TextFile;

/// Where a name is banned.
#[derive(Clone, Copy)]
struct Ban {
    /// Tokens, separated by blanks.
    tokens: &'static str,
    /// Beginnings of the paths it is banned in; everywhere if empty.
    within: &'static [&'static str],
    /// Beginnings of the paths that are let off.
    except: &'static [&'static str],
    /// Test code is let off too.
    tests_may: bool,
    /// What to do instead.
    instead: &'static str,
}

/// The crates that are values: no clock, thread, socket or chance inside.
const CORE: &[&str] = &["controller/", "media/"];
/// Files that turn what a host, a peer or a medium sent into something we trust.
const UNTRUSTED: &[&str] = &[
    "controller/src/bar.rs",
    "controller/src/command.rs",
    "controller/src/doorbell.rs",
    "controller/src/prp.rs",
    "controller/src/queue",
    "controller/src/sgl.rs",
    "media/src/journal.rs",
    "media/src/recover",
    "vfio/src/message",
];
/// Where bytes meet the operating system.
const STORE: &[&str] = &["media/src/store"];
/// The place that may map and share memory.
const MAPPING: &[&str] = &["guest-memory/src/"];

const fn core(tokens: &'static str, instead: &'static str) -> Ban {
    Ban { tokens, within: CORE, except: &[], tests_may: true, instead }
}

const fn lock(tokens: &'static str) -> Ban {
    Ban { except: STORE, ..core(tokens, "one loop owns the device; pass a value or a message") }
}

const fn everywhere(tokens: &'static str, instead: &'static str) -> Ban {
    Ban { tokens, within: &[], except: &[], tests_may: false, instead }
}

const fn untrusted(tokens: &'static str) -> Ban {
    let instead = "what a host sent becomes a Status or an error; what we promised is an `expect` that says so";
    Ban { tokens, within: UNTRUSTED, except: &[], tests_may: true, instead }
}

const BANS: &[Ban] = &[
    Ban { except: STORE, ..core("std :: thread", "`step(now)`: whoever owns the device lets it run") },
    core("std :: net", "the transport lies in `vfio` or `vhost`"),
    core("std :: os :: unix :: net", "the transport lies in `vfio` or `vhost`"),
    core("Instant", "`media::Nanoseconds`, which comes in by argument"),
    core("SystemTime", "`media::Nanoseconds`, which comes in by argument"),
    core("rand ::", "a seed that comes in by argument"),
    core("HashMap", "BTreeMap or an indexed Vec: order must be the same in each run"),
    core("HashSet", "BTreeSet or an indexed Vec: order must be the same in each run"),
    core("async", "a token and a later `poll`"),
    core("println !", "an event of `watch`"),
    core("eprintln !", "an event of `watch`"),
    lock("Mutex"),
    lock("RwLock"),
    lock("Condvar"),
    untrusted(". unwrap ("),
    untrusted("panic !"),
    everywhere("todo !", "an issue"),
    everywhere("unimplemented !", "a Status, or an issue"),
    everywhere("dbg !", "a tracing event, or nothing"),
    everywhere("# [ allow (", "`#[expect(lint, reason = \"...\")]`, which tells when it is no longer needed"),
    everywhere("# ! [ allow (", "`#![expect(lint, reason = \"...\")]`, which tells when it is no longer needed"),
    Ban { except: MAPPING, ..everywhere("unsafe", "a safe interface of `guest-memory`") },
];

/// Looks for every banned name in every file.
pub fn check(files: &[RustFile]) -> Vec<Violation> {
    BANS.iter().flat_map(|ban| files.iter().flat_map(|file| occurrences(*ban, file))).collect()
}

fn occurrences(ban: Ban, file: &RustFile) -> Vec<Violation> {
    let begins = |beginnings: &[&str]| beginnings.iter().any(|beginning| file.path.starts_with(beginning));
    if !ban.within.is_empty() && !begins(ban.within) || begins(ban.except) {
        return Vec::new();
    }
    let wanted: Vec<&str> = ban.tokens.split(' ').collect();
    let in_code =
        file.tokens.windows(wanted.len()).filter(|window| is_same(window, &wanted)).map(|window| window[0].line);
    let in_uses = file.uses.iter().filter(|path| path_begins(&path.segments, &wanted)).map(|path| path.line);
    (in_code.chain(in_uses))
        .filter(|&line| !(ban.tests_may && file.is_test(line)))
        .map(|line| Violation::new(&file.path, line, format!("`{}`: use {}", ban.tokens.replace(' ', ""), ban.instead)))
        .collect()
}

fn is_same(window: &[Token], wanted: &[&str]) -> bool {
    window.iter().zip(wanted).all(|(token, text)| token.text == *text)
}

/// Whether a leaf of a `use` tree is, or lies below, a banned path.
fn path_begins(segments: &[String], wanted: &[&str]) -> bool {
    let mut names = wanted.iter().step_by(2);
    wanted.contains(&"::")
        && segments.len() >= names.len()
        && segments.iter().zip(&mut names).all(|(have, want)| have == want)
}

/// The word that marks work left over, spelled so that this file does not hold it.
const LEFT_OVER: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME")];

/// Finds work left over that nobody owns. Documents may speak about the rule.
pub fn check_owners(files: &[TextFile]) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| !file.path.ends_with(".md") && !file.path.ends_with(".lock")) {
        for (index, line) in file.text.lines().enumerate() {
            if LEFT_OVER.iter().any(|word| is_orphan(line, word)) {
                let message = format!("left over without an owner: {}(name), or an issue", LEFT_OVER[0]);
                found.push(Violation::new(&file.path, index + 1, message));
            }
        }
    }
    found
}

/// Whether a line has `word` standing alone and not followed by a name in brackets.
fn is_orphan(line: &str, word: &str) -> bool {
    let joins = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        let owned = after
            .strip_prefix('(')
            .and_then(|rest| rest.split_once(')'))
            .is_some_and(|(name, _)| !name.trim().is_empty());
        !before.ends_with(joins) && !after.starts_with(joins) && !owned
    })
}

#[cfg(test)]
mod tests {
    use super::{LEFT_OVER, check, is_orphan};
    use crate::rust::RustFile;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let mut lines: Vec<usize> =
            check(&[RustFile::parse(path, text).unwrap()]).iter().map(|violation| violation.line).collect();
        lines.sort_unstable();
        lines.dedup();
        lines
    }

    #[test]
    fn core_names_are_banned_in_the_core_only_and_not_in_its_tests() {
        let text = "use std::{thread, time::Instant};\nfn f() { std::thread::sleep(d) }\n#[cfg(test)]\nuse std::net::TcpStream;";
        assert_eq!(lines("controller/src/a.rs", text), [1, 2]);
        assert!(lines("daemon/src/a.rs", text).is_empty());
    }

    #[test]
    fn names_in_comments_and_strings_are_not_uses() {
        assert!(lines("media/src/a.rs", "// HashMap\n/// `Instant`\nconst A: &str = \"SystemTime\";\n").is_empty());
        assert!(lines("media/src/a.rs", "struct InstantNoodles;\nfn f() { brand::x() }").is_empty());
    }

    #[test]
    fn unwrap_is_banned_where_bytes_are_untrusted_even_within_macros() {
        assert_eq!(lines("controller/src/prp.rs", "fn f() {\n assert!(x.unwrap());\n}"), [2]);
        assert!(lines("controller/src/prp.rs", "fn f() { x.unwrap_or(1) }").is_empty());
        assert!(lines("controller/src/irq.rs", "fn f() { x.unwrap() }").is_empty());
        assert_eq!(lines("vfio/src/message/header.rs", "fn f() { x.unwrap() }"), [1]);
    }

    #[test]
    fn suppressions_and_stubs_are_banned_in_tests_too() {
        assert_eq!(
            lines("daemon/tests/a.rs", "#![allow(dead_code)]\n#[allow(x)]\nfn f() { todo!() }\nfn g() { dbg!(1) }"),
            [1, 2, 3, 4]
        );
    }

    #[test]
    fn unsafe_has_one_home() {
        let text = "fn f() { unsafe { g() } }";
        assert_eq!(lines("daemon/src/a.rs", text), [1]);
        assert_eq!(lines("vfio/src/server.rs", text), [1]);
        assert!(lines("guest-memory/src/mapping.rs", text).is_empty());
        assert_eq!(lines("media/src/store/file.rs", text), [1]);
    }

    #[test]
    fn work_left_over_has_an_owner() {
        let word = LEFT_OVER[0];
        assert!(is_orphan(&format!("// {word}: later"), word));
        assert!(is_orphan(&format!("// {word}(): later"), word));
        assert!(!is_orphan(&format!("// {word}(ada): later"), word));
        assert!(!is_orphan(&format!("METHOD_{word}S"), word));
    }
}
