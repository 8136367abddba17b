//! QEMU's own list of trace events, which lies beside it, and whether a line of a log is one that it could have written.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail};
use guest_harness::Assets;
use traces::qemu::{EVENTS, PREFIX, UNAVAILABLE};

/// An event as the list has it: arguments with their types, and the format in printf's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub arguments: Vec<(String, String)>,
    pub format: String,
}

/// The events of NVMe by name.
pub fn read() -> Result<BTreeMap<String, Listed>> {
    let qemu = Assets::load()?.qemu()?;
    let folder = qemu.parent().context("QEMU lies in a folder")?;
    let path = folder.join("qemu-root/usr/share/qemu/trace-events-all");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    text.lines().filter(|line| line.starts_with(PREFIX)).map(parse).collect()
}

/// `name(type argument, ...) "format"`, where the format is pasted together as C's macros for widths want it.
fn parse(line: &str) -> Result<(String, Listed)> {
    let (name, rest) = line.split_once('(').context("arguments follow")?;
    let (arguments, format) = rest.split_once(") \"").context("a format follows")?;
    let arguments = arguments.split(',').map(str::trim).filter(|argument| *argument != "void").map(|argument| {
        let at = argument.rfind([' ', '*']).map_or(0, |at| at + 1);
        (argument[..at].trim().replace("char*", "char *"), argument[at..].to_owned())
    });
    let format = format.strip_suffix('"').context("a format ends")?;
    let mut plain = String::new();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once("\"PRI") {
        plain.push_str(before);
        let (macro_name, after) =
            after.split_at(after.find(|letter: char| !letter.is_alphanumeric()).unwrap_or(after.len()));
        plain.push_str(&macro_name[..1]);
        rest = after.strip_prefix('"').unwrap_or(after);
    }
    plain.push_str(rest);
    let format = plain.replace("%zu", "%u");
    Ok((name.to_owned(), Listed { arguments: arguments.collect(), format }))
}

impl Listed {
    /// The values of a line's arguments, if the line is of this format.
    pub fn values(&self, text: &str) -> Result<Vec<String>> {
        let mut pieces = self.format.split('%');
        let literal = pieces.next().unwrap_or_default();
        let mut rest = text.strip_prefix(literal).with_context(|| format!("{literal:?} is missing in {text:?}"))?;
        let mut values = Vec::new();
        for piece in pieces {
            let (kind, literal) = piece.split_at(1);
            let fits = |letter: char| match kind {
                "u" => letter.is_ascii_digit(),
                "d" => letter.is_ascii_digit() || letter == '-',
                "x" => letter.is_ascii_hexdigit(),
                _ => letter.is_alphanumeric() || letter == '_',
            };
            let (value, behind) = rest.split_at(rest.find(|letter| !fits(letter)).unwrap_or(rest.len()));
            if value.is_empty() {
                bail!("{rest:?} does not begin as %{kind}");
            }
            values.push(value.to_owned());
            rest = behind.strip_prefix(literal).with_context(|| format!("{literal:?} is missing in {text:?}"))?;
        }
        if rest.is_empty() { Ok(values) } else { bail!("{rest:?} is left of {text:?}") }
    }
}

/// A line of a log: the event's name and the values of its arguments.
pub fn read_line(list: &BTreeMap<String, Listed>, line: &str) -> Result<(String, Vec<String>)> {
    let (name, text) = line.split_once(' ').unwrap_or((line, ""));
    let listed = list.get(name).with_context(|| format!("QEMU has no event {name}"))?;
    Ok((name.to_owned(), listed.values(text)?))
}

#[test]
fn names_arguments_types_and_formats_are_those_of_qemus_list() -> Result<()> {
    let mut list = read()?;
    assert!(list.len() > 200, "{} events", list.len());
    for event in EVENTS {
        let listed = list.remove(event.name).with_context(|| format!("QEMU has no {}", event.name))?;
        let arguments = event.arguments.iter().map(|(kind, name)| (kind.in_c().to_owned(), (*name).to_owned()));
        let ours = Listed { arguments: arguments.collect(), format: event.format.to_owned() };
        assert_eq!(ours, listed, "{}", event.name);
    }
    for name in UNAVAILABLE.iter().flat_map(|(_, names)| *names) {
        list.remove(&format!("{PREFIX}{name}")).with_context(|| format!("QEMU has no {name}"))?;
    }
    assert!(list.is_empty(), "events of QEMU's that are neither ours nor known to be QEMU's alone: {list:#?}");
    Ok(())
}
