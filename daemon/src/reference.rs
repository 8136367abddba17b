//! `brownout reference`: the pages of `docs/reference`, made from what reads the options, takes the commands and sends the events. Knows
//! how a page is written, and nothing that stands on it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use checker::{Rule, Severity};
use clap::{Args, Command};
use media::power::Step;
use serde_json::Value;

use crate::conform;
use crate::control::commands;
use crate::ctl::arguments as described;
use crate::failure::Failure;
use crate::options::Topic;

/// The width of text that people read in a window.
const WIDTH: usize = 100;

/// `brownout reference`.
#[derive(Debug, Args)]
pub struct Reference {
    /// Folder for the pages; made if it is not there
    pub folder: PathBuf,
    /// Also write the schema of the control socket, control-schema.json
    #[arg(long)]
    pub schema: bool,
}

/// Writes the pages.
///
/// # Errors
/// The folder or a page cannot be written.
pub fn reference(program: Command, arguments: &Reference) -> Result<(), Failure> {
    let folder = &arguments.folder;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let schema = commands::description();
    let pages = [
        ("verbs.md", verbs(program)),
        ("options.md", options()),
        ("control.md", control(&schema)?),
        ("events.md", events(&schema)),
        ("steps.md", steps()),
        ("rules.md", rules()),
        ("scenarios.md", scenarios()),
    ];
    for (name, text) in &pages {
        put(folder, name, text)?;
    }
    if arguments.schema {
        put(folder, "control-schema.json", &format!("{schema:#}\n"))?;
    }
    Ok(())
}

fn put(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The beginning of a page.
fn page(title: &str, says: &str) -> String {
    format!("# {title}\n\n<!-- Made by `make reference`. -->\n\n{}", wrapped(says, ""))
}

/// A row of a table; what would end a cell does not.
fn row(cells: &[&str]) -> String {
    let cells: String = cells.iter().map(|cell| format!(" {} |", cell.replace('|', "\\|"))).collect();
    format!("|{cells}\n")
}

fn head(titles: &[&str]) -> String {
    format!("\n{}|{}\n", row(titles), "---|".repeat(titles.len()))
}

/// Words in lines that fit a window, each behind an indentation. A long word is also divided behind its bars.
fn wrapped(text: &str, indent: &str) -> String {
    let (mut lines, mut line) = (String::new(), indent.to_owned());
    for word in text.split_whitespace() {
        let parts = if word.len() > WIDTH { word.split_inclusive('|').collect() } else { vec![word] };
        for (number, part) in parts.into_iter().enumerate() {
            let blank = if line.len() > indent.len() && number == 0 { " " } else { "" };
            if line.len() > indent.len() && line.len() + blank.len() + part.len() > WIDTH {
                lines.push_str(&line);
                lines.push('\n');
                indent.clone_into(&mut line);
                line.push_str(part);
            } else {
                line.push_str(blank);
                line.push_str(part);
            }
        }
    }
    lines + &line + "\n"
}

/// Text as it is printed, in lines that fit.
fn printed(text: &str) -> String {
    let line = |line: &str| {
        let indent = &line[..line.len() - line.trim_start().len()];
        if line.len() > WIDTH { wrapped(line, indent) } else { format!("{}\n", line.trim_end()) }
    };
    let lines: String = text.trim_end().lines().map(line).collect();
    format!("\n```text\n{lines}```\n")
}

fn verbs(mut program: Command) -> String {
    program.build();
    let mut text = page("Verbs", "The help of each verb, as `brownout VERB --help` prints it.");
    help_of(&program, "brownout", &mut text);
    text
}

fn help_of(command: &Command, name: &str, text: &mut String) {
    let help = command.clone().term_width(WIDTH).render_long_help();
    text.push_str(&format!("\n## {name}\n{}", printed(&help.to_string())));
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help") {
        help_of(inner, &format!("{name} {}", inner.get_name()), text);
    }
}

fn options() -> String {
    let says = "What `--device`, `--media` and `--namespace` of every verb that makes a drive take, and the tables of a configuration \
                file; [drive.md](../drive.md) says what for.";
    let mut text = page("Options", says);
    for (title, topic) in [("Device", Topic::Device), ("Media", Topic::Media), ("Namespace", Topic::Namespace)] {
        text.push_str(&format!("\n## {title}\n{}", head(&["name", "values", "default", "what"])));
        for option in topic.options() {
            let code = |text: &str| format!("`{text}`");
            text.push_str(&row(&[&code(&option.name), &code(&option.values), &option.default, &option.purpose]));
        }
    }
    text
}

fn control(schema: &Value) -> Result<String, Failure> {
    let says = "The commands of the control socket, as `brownout ctl help COMMAND` describes them: arguments as `ctl` takes them, answers \
                as JSON has them, with dots between names.";
    let mut text = page("Control socket", says);
    for command in schema["commands"].as_array().into_iter().flatten() {
        let name = command["name"].as_str().unwrap_or_default();
        let help = described::help(schema, Some(name))?;
        let (first, rest) = help.split_once('\n').unwrap_or((&help, ""));
        let says = first.strip_prefix(&format!("{name}: ")).unwrap_or(first);
        text.push_str(&format!("\n## {name}\n\n{}{}", wrapped(says, ""), printed(rest)));
    }
    Ok(text)
}

fn events(schema: &Value) -> String {
    let says = "What the control socket tells without being asked, with the members of each; `brownout ctl SOCKET --watch` prints them, \
                each with the time at which it happened.";
    let mut text = page("Events", says);
    for event in described::events(schema) {
        text.push_str(&format!("\n## {}\n\n{}", event.name, wrapped(&event.purpose, "")));
        if !event.members.is_empty() {
            text.push_str(&printed(&event.members));
        }
    }
    text
}

fn steps() -> String {
    let says = "Where power can go: `crash-arm at.step=NAME` of the control socket, `--points NAME` of campaigns. \
                [power.md](../power.md) says what happens then.";
    let mut text = page("Steps at which power can go", says) + &head(&["step", "taken by", "when"]);
    for step in Step::ALL {
        let by = match step {
            step if step.is_of_controller() => "controller",
            step if step.is_of_recovery() => "recovery",
            _ => "media",
        };
        text.push_str(&row(&[&format!("`{}`", step.name()), by, step.text().trim()]));
    }
    text
}

fn rules() -> String {
    let says = "What a host's driver has to do, how bad it is not to, and where that stands. Identifiers stay from release to release; \
                `--device checks=` says which rules are judged.";
    let mut text =
        page("Rules for drivers", says) + &head(&["rule", "name", "severity", "the driver has to", "specification"]);
    for rule in Rule::ALL {
        let severity = match rule.severity() {
            Severity::Must => "must",
            Severity::Should => "should",
            Severity::Performance => "performance",
        };
        text.push_str(&row(&[rule.id(), rule.slug(), severity, rule.text(), rule.section()]));
    }
    text
}

fn scenarios() -> String {
    let says = "Of `brownout conform`, with their forms: `--only C2` runs all of a scenario, `--only C2.5` one form. \
                [conform.md](../conform.md) says what they found.";
    let mut text = page("Scenarios", says) + &head(&["form", "what"]);
    for (number, name) in conform::forms() {
        text.push_str(&row(&[&number, &name]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_wrapped_behind_their_indentation_and_a_long_one_stands_alone() {
        let long = "x".repeat(WIDTH + 9);
        assert_eq!(wrapped("a b", "  "), "  a b\n");
        assert_eq!(wrapped(&format!("a {long} b"), " "), format!(" a\n {long}\n b\n"));
        let half = "y".repeat(WIDTH / 2);
        assert_eq!(wrapped(&format!("a={half}|{half}|z, b"), " "), format!(" a={half}|\n {half}|z, b\n"));
    }

    #[test]
    fn a_cell_keeps_its_bars() {
        assert_eq!(row(&["a|b", "c"]), "| a\\|b | c |\n");
    }
}
