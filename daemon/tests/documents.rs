//! The documents, executed: every block of commands of README and of the book, in order, one folder for each page. A server runs until the
//! end of its block, and longer while the next blocks name its sockets. Campaigns are shortened, and the machine is a stand-in: blocks that
//! are marked with `guest` boot real ones in spec-tests/guest. What else is not run says why, by one of a few markers.

#[path = "documents/blocks.rs"]
mod blocks;
#[path = "documents/place.rs"]
mod place;

use std::fs;
use std::process::Command;

use blocks::{Block, Fate, MARKERS, blocks, pages, text};
use place::{Place, Server, script};

const BROWNOUT: &str = env!("CARGO_BIN_EXE_brownout");

/// How many cuts are made where the reader would make more.
const CUTS: &str = "300";
/// Blocks that no test runs, at most.
const NOT_RUN_MAX: usize = 12;

/// What is run of a line: the same, in less time.
fn shortened(line: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    for at in 1..words.len() {
        match (words[at - 1].as_str(), words[at].as_str()) {
            ("--cuts", number) if !line.contains("--shard") && number.parse().is_ok_and(|cuts: u64| cuts > 1000) => {
                words[at] = CUTS.to_owned();
            }
            ("--for", _) => words[at] = "1s".to_owned(),
            (_, "--theory" | "--sd-card" | "--numbers") if !line.contains("--coarse") => {
                words[at].push_str(" --coarse");
            }
            _ => {}
        }
    }
    words.join(" ")
}

/// Compares what was printed with what the page shows: its lines come in this order, and an ellipsis stands for anything.
fn expect(shown: &str, said: &str, place: &str) {
    let mut rest = said;
    for line in shown.lines() {
        for part in line.split('…').map(str::trim).filter(|part| !part.is_empty()) {
            let at = rest.find(part).unwrap_or_else(|| panic!("{place}: `{part}` is not in\n{said}"));
            rest = &rest[at + part.len()..];
        }
    }
}

/// Runs what is between two servers as one script.
fn run_script(place: &Place, lines: &mut Vec<String>, at: &str) {
    if !lines.is_empty() {
        place.run(&std::mem::take(lines).join("\n"), at);
    }
}

/// A page that is being run.
struct Run {
    place: Place,
    servers: Vec<Server>,
    listeners: Vec<Server>,
}

impl Run {
    fn new() -> Self {
        Self { place: Place::new(), servers: Vec::new(), listeners: Vec::new() }
    }

    /// Ends the servers, and then those that listen to them.
    fn end(&mut self) {
        self.servers.drain(..).for_each(Server::stop);
        for mut listener in self.listeners.drain(..) {
            listener.end();
        }
    }

    fn block(&mut self, block: &Block) {
        let at = block.place();
        let serves = block.commands().iter().any(|line| line.starts_with("brownout serve "));
        if serves || !self.servers.iter().any(|server| server.is_named_in(&block.text)) {
            self.end();
        }
        if let Some(name) = block.marker("file") {
            script(&self.place.path(name), &block.text);
            return drop(self.place.run(&format!("sh -n {name}"), &at));
        }
        if let Some(need) = block.marker("needs").filter(|need| !self.place.has(need)) {
            return eprintln!("SKIPPED: {at} needs {need}");
        }
        if block.console { self.console(block) } else { self.shell(block) }
    }

    fn shell(&mut self, block: &Block) {
        let at = block.place();
        let mut lines = Vec::new();
        for line in block.commands() {
            let bare = line.split("  #").next().unwrap_or(&line).trim_end();
            if bare.starts_with("brownout serve ") {
                run_script(&self.place, &mut lines, &at);
                let mut server = self.place.start(bare, &at);
                server.until_ready();
                self.servers.push(server);
            } else if bare.ends_with("--watch") {
                self.listeners.push(self.place.start(bare, &at));
            } else {
                lines.push(shortened(bare));
            }
        }
        run_script(&self.place, &mut lines, &at);
    }

    fn console(&self, block: &Block) {
        for entry in format!("\n{}", block.text).split("\n$ ").skip(1) {
            let (command, shown) = entry.split_once('\n').unwrap_or((entry, ""));
            expect(shown, &self.place.run(&shortened(command), &block.place()), &block.place());
        }
    }
}

/// A line without what a shell does around it, and whether it is one of ours.
fn ours(line: &str) -> Option<&str> {
    let quoted = |before: &str| before.matches(['\'', '"']).count() % 2 == 1;
    let cut = |line: &'_ str, end: &str| line.match_indices(end).map(|(at, _)| at).find(|at| !quoted(&line[..*at]));
    let ends = ["  #", " || ", " | ", " > ", " 2> ", "; "].into_iter().filter_map(|end| cut(line, end));
    let bare = &line[..ends.min().unwrap_or(line.len())];
    bare.starts_with("brownout ").then_some(bare.trim_end())
}

/// The program reads the options of a line, and does nothing.
fn options_are_known(line: &str, place: &str) {
    let Some(words) = ours(line) else { return };
    let rest = words.strip_prefix("brownout").expect("ours").split(" -- ").next().unwrap_or_default();
    let output =
        Command::new("sh").args(["-c", &format!("exec '{BROWNOUT}' {rest} --help")]).output().expect("a shell");
    assert!(output.status.success(), "{place}: {line}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Runs the blocks of a page, as far as they are run here.
fn run(page: &str) {
    let mut run = Run::new();
    let mut ran = 0;
    for block in blocks(page) {
        match block.fate() {
            Fate::Run => {
                run.block(&block);
                ran += 1;
            }
            Fate::Target => {
                let makefile = text("Makefile");
                for line in block.commands() {
                    let target = line.strip_prefix("make ").unwrap_or_else(|| panic!("{}: {line}", block.place()));
                    assert!(makefile.contains(&format!("\n{target}: ")), "{}: {target}", block.place());
                }
            }
            Fate::Guest | Fate::Soak | Fate::Read => {
                block.commands().iter().for_each(|line| options_are_known(line, &block.place()));
            }
        }
    }
    run.end();
    assert!(ran > 0 || page == "docs/stacks.md", "{page}: no block is run");
}

macro_rules! run_pages {
    ($($test:ident $page:literal;)*) => {
        /// Those that are run.
        const RUN: &[&str] = &["README.md", "docs/stacks.md", $($page,)*];
        $(#[test] fn $test() { run($page) })*
    };
}

run_pages! {
    the_commands_of_the_first_page_run "docs/start.md";
    the_commands_for_drivers_run "docs/driver.md";
    the_commands_for_file_systems_run "docs/file-systems.md";
    the_commands_for_ci_run "docs/ci.md";
    the_commands_for_research_run "docs/research.md";
    the_commands_of_the_drive_run "docs/drive.md";
    the_commands_of_control_run "docs/control.md";
    the_commands_of_power_run "docs/power.md";
    the_commands_of_tapes_run "docs/tape.md";
    the_commands_of_traces_run "docs/tracing.md";
    the_commands_of_machines_run "docs/machines.md";
    the_commands_of_the_live_page_run "docs/live-page.md";
    the_commands_of_json_run "docs/json.md";
}

#[test]
fn the_commands_of_readme_and_of_stacks_exist() {
    for page in ["README.md", "docs/stacks.md"] {
        for block in blocks(page) {
            assert_ne!(block.fate(), Fate::Run, "{}: nobody runs it", block.place());
        }
    }
    run("docs/stacks.md");
}

/// What the pages of the reference say is what this program says; `make reference` writes them again.
#[test]
fn the_reference_is_what_the_program_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let output =
        Command::new(BROWNOUT).arg("reference").arg(folder.path()).arg("--schema").output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut pages = 0;
    for entry in fs::read_dir(folder.path()).expect("a folder") {
        let path = entry.expect("an entry").path();
        let (name, said) =
            (path.file_name().expect("a name").to_string_lossy(), fs::read_to_string(&path).expect("text"));
        if name == "control-schema.json" {
            let schema: serde_json::Value = serde_json::from_str(&said).expect("JSON");
            assert!(schema["commands"].as_array().is_some_and(|commands| commands.len() > 30));
            continue;
        }
        assert!(
            text(&format!("docs/reference/{name}")) == said,
            "docs/reference/{name} is old: `make reference` writes it again"
        );
        pages += 1;
    }
    assert_eq!(pages, 7);
}

#[test]
fn every_page_with_commands_is_run_and_few_blocks_are_not() {
    let mut not_run = Vec::new();
    for page in pages() {
        let blocks = blocks(&page);
        assert!(
            blocks.is_empty() || RUN.contains(&page.as_str()),
            "{page}: has blocks, and is not among those that are run"
        );
        for block in &blocks {
            assert!(!block.commands().is_empty(), "{}: a block without a command", block.place());
            if matches!(block.fate(), Fate::Read | Fate::Target) {
                not_run.push(block.place());
            }
        }
    }
    assert!(not_run.len() <= NOT_RUN_MAX, "{} blocks are not run: {not_run:?}", not_run.len());
    assert!(MARKERS.iter().all(|(_, _, why)| why.len() > 10));
}

/// Commands in the text: what stands between single backquotes and begins with the program's name.
#[test]
fn options_of_commands_in_the_text_exist() {
    let mut seen = 0;
    for page in pages().iter().filter(|page| !page.starts_with("docs/reference/")) {
        let text: String = text(page).split("```").step_by(2).collect();
        for span in text.split('`').skip(1).step_by(2).map(|span| span.replace('\n', " ")) {
            if span.starts_with("brownout ") {
                options_are_known(&span, page);
                seen += 1;
            }
        }
    }
    assert!(seen >= 20, "{seen}");
}

/// Reading at 200 words a minute, and typing at 150 characters a minute, which is slow.
#[test]
fn the_first_page_takes_less_than_ten_minutes_to_read_and_to_type() {
    let page = text("docs/start.md");
    let (own_cut, _) =
        page.split_once("## A thousand of them").expect("the part that ends with a power cut of the reader's own");
    let words = own_cut.split("```").step_by(2).flat_map(str::split_whitespace).count();
    let typed: usize = blocks("docs/start.md")
        .iter()
        .filter(|block| own_cut.contains(&block.text))
        .map(|block| block.text.len())
        .sum();
    let seconds = words * 60 / 200 + typed * 60 / 150;
    println!("{words} words to read, {typed} characters to type: {seconds} s");
    assert!(typed > 300 && seconds < 600, "{words} words and {typed} characters take {seconds} s");
}
