//! What a report consists of: a verdict, sections in the order in which they are read, tables, problems with what led to them. Words and
//! shapes stand beside each colour, headings are in order, and everything that is wider than a screen scrolls by itself and can be
//! reached by keyboard.

use std::fmt;

use super::element::{Element, element};
use crate::version;

/// What reports and the live page look like.
pub const STYLE: &str = include_str!("style.css");

/// Should an escape be forgotten, nothing of it runs, and nothing is fetched.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The longest text of one block, in bytes: a console can be long, and its beginning and end say most.
const BLOCK_BYTES_MAX: usize = 128 << 10;
/// The longest table, in rows.
const ROWS_MAX: usize = 2000;

/// How something went: a shape, a colour, and a word that is given with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// As it should.
    Good,
    /// As it should, but.
    Remark,
    /// Not as it should.
    Bad,
    /// It was not tried, or does not matter.
    Idle,
}

impl Mark {
    const fn class(self) -> &'static str {
        match self {
            Self::Good => "badge good",
            Self::Remark => "badge remark",
            Self::Bad => "badge bad",
            Self::Idle => "badge idle",
        }
    }

    const fn shape(self) -> &'static str {
        match self {
            Self::Good => "\u{2713}",
            Self::Remark => "!",
            Self::Bad => "\u{2717}",
            Self::Idle => "\u{2013}",
        }
    }

    /// A word with the shape before it.
    pub fn badge(self, word: &str) -> Element {
        let shape = element("span").with("aria-hidden", "true").text(self.shape());
        element("span").class(self.class()).child(shape).text(format!(" {word}"))
    }
}

/// What stands in a table.
#[derive(Clone, Debug)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A number, which is compared with those above it.
    Number(u64),
    /// Something that is typed, or an identifier.
    Code(String),
    /// How it went.
    Mark(Mark, String),
    /// Part of a whole, as a bar; the number stands in another column.
    Share(u64, u64),
}

impl Cell {
    fn element(&self, name: &'static str) -> Element {
        match self {
            Self::Text(text) => element(name).text(text),
            Self::Number(number) => element(name).class("number").text(grouped(*number)),
            Self::Code(text) => element(name).child(element("code").text(text)),
            Self::Mark(mark, word) => element(name).child(mark.badge(word)),
            Self::Share(part, whole) => {
                let width = part.saturating_mul(100) / (*whole).max(1);
                let bar = element("rect").with("width", width.to_string()).with("height", "8");
                let drawing =
                    element("svg").class("bar").with("viewBox", "0 0 100 8").with("preserveAspectRatio", "none");
                element(name).child(drawing.with("aria-hidden", "true").child(bar))
            }
        }
    }
}

/// A number with thin blanks between its thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A table: the first cell of a row says what the row is about.
#[derive(Clone, Debug)]
pub struct Table {
    caption: String,
    columns: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    pub fn new(caption: impl Into<String>, columns: &[&'static str]) -> Self {
        Self { caption: caption.into(), columns: columns.to_vec(), rows: Vec::new() }
    }

    /// One more row.
    pub fn row(&mut self, cells: Vec<Cell>) {
        assert_eq!(cells.len(), self.columns.len(), "a cell for each column of {}", self.caption);
        self.rows.push(cells);
    }

    fn element(&self) -> Element {
        let columns = self.columns.iter().enumerate().map(|(place, column)| {
            let head = element("th").with("scope", "col").text(*column);
            let numbers = self.rows.first().is_some_and(|row| matches!(row[place], Cell::Number(_)));
            if numbers { head.class("number") } else { head }
        });
        let rows = self.rows.iter().take(ROWS_MAX).map(|cells| {
            element("tr").children(cells.iter().enumerate().map(|(place, cell)| match place {
                0 => cell.element("th").with("scope", "row"),
                _ => cell.element("td"),
            }))
        });
        let left_out = self.rows.len().saturating_sub(ROWS_MAX);
        let caption = match left_out {
            0 => self.caption.clone(),
            more => format!("{} (the first {ROWS_MAX}; {more} more are not shown)", self.caption),
        };
        let table = element("table")
            .child(element("caption").text(&caption))
            .child(element("thead").child(element("tr").children(columns)))
            .child(element("tbody").children(rows));
        scrolls(&caption).child(table)
    }
}

/// Something wider than the screen: it scrolls by itself, by keyboard too.
fn scrolls(label: &str) -> Element {
    element("div").class("scroll").with("role", "region").with("tabindex", "0").with("aria-label", label)
}

/// What went wrong, with what leads to it.
#[derive(Clone, Debug, Default)]
pub struct Problem {
    /// What it is about, in a few words.
    pub title: String,
    /// Why, a sentence each.
    pub causes: Vec<String>,
    /// What was seen: titles and text as it came.
    pub evidence: Vec<(&'static str, String)>,
    /// The folder where it is kept.
    pub kept: Option<String>,
    /// The command that shows it again.
    pub again: Option<String>,
}

impl Problem {
    fn element(&self, mark: Mark, word: &str) -> Element {
        let heading = element("h3").child(mark.badge(word)).text(format!(" {}", self.title));
        let causes = self.causes.iter().map(|cause| element("li").text(cause));
        let mut article = element("article").class("problem").child(heading);
        if !self.causes.is_empty() {
            article = article.child(element("ul").children(causes));
        }
        if let Some(folder) = &self.kept {
            article = article.child(element("p").text("Kept in ").child(element("code").text(folder)));
        }
        if let Some(again) = &self.again {
            let label = format!("Command that shows it again: {}", self.title);
            article = article.child(element("p").text("Shown again by")).child(block(&label, again));
        }
        let evidence = self.evidence.iter().filter(|(_, text)| !text.trim().is_empty());
        article.children(evidence.map(|(title, text)| {
            let summary = element("summary").text(*title);
            element("details").child(summary).child(block(&format!("{title}: {}", self.title), text))
        }))
    }
}

/// Text as it came.
fn block(label: &str, text: &str) -> Element {
    element("pre").with("role", "region").with("tabindex", "0").with("aria-label", label).text(shortened(text))
}

/// Beginning and end of what is too long.
fn shortened(text: &str) -> String {
    if text.len() <= BLOCK_BYTES_MAX {
        return text.to_owned();
    }
    let begin = text.floor_char_boundary(BLOCK_BYTES_MAX / 2);
    let end = text.ceil_char_boundary(text.len() - BLOCK_BYTES_MAX / 2);
    format!("{}\n\n[{} bytes are left out here]\n\n{}", &text[..begin], end - begin, &text[end..])
}

/// A page, as far as it has come.
#[derive(Clone, Debug)]
pub struct Page {
    title: String,
    verdict: Element,
    sections: Vec<Element>,
}

impl Page {
    /// A page that begins with its verdict: in a word, and in a sentence.
    pub fn new(title: impl Into<String>, mark: Mark, word: &str, sentence: &str) -> Self {
        let verdict = element("p").class("verdict").child(mark.badge(word)).text(format!(" {sentence}"));
        Self { title: title.into(), verdict, sections: Vec::new() }
    }

    fn section(&mut self, heading: &str, content: impl IntoIterator<Item = Element>) {
        let id = format!("section-{}", self.sections.len() + 1);
        let section = element("section").with("aria-labelledby", id.as_str());
        self.sections.push(section.child(element("h2").with("id", id).text(heading)).children(content));
    }

    /// Names and values.
    pub fn facts(&mut self, heading: &str, facts: &[(&str, String)]) {
        let pairs = facts
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .flat_map(|(name, value)| [element("dt").text(*name), element("dd").text(value)]);
        self.section(heading, [element("dl").children(pairs)]);
    }

    /// What was run, as the reader would type it.
    pub fn run(&mut self, seed: u64, more: &[(&str, String)]) {
        let mut facts = vec![
            ("Command", command_line()),
            ("Seed", seed.to_string()),
            ("Version", format!("brownout {}", version::text())),
        ];
        facts.extend(more.iter().cloned());
        self.facts("What was run", &facts);
    }

    /// A table.
    pub fn table(&mut self, heading: &str, table: &Table) {
        self.section(heading, [table.element()]);
    }

    /// What went wrong, each with this word before it.
    pub fn problems(&mut self, heading: &str, mark: Mark, word: &str, problems: &[Problem]) {
        if !problems.is_empty() {
            self.section(heading, problems.iter().map(|problem| problem.element(mark, word)));
        }
    }
}

/// This process's own command line.
fn command_line() -> String {
    let words =
        std::env::args_os().skip(1).map(|word| crate::machine::shell_word(&word.to_string_lossy()).into_owned());
    std::iter::once("brownout".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// A `meta` element.
fn meta(key: &'static str, name: &str, content: &str) -> Element {
    element("meta").with(key, name).with("content", content)
}

impl fmt::Display for Page {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = element("head")
            .child(element("meta").with("charset", "utf-8"))
            .child(meta("http-equiv", "Content-Security-Policy", POLICY))
            .child(meta("name", "viewport", "width=device-width, initial-scale=1"))
            .child(meta("name", "color-scheme", "light dark"))
            .child(element("title").text(format!("{} - brownout", self.title)))
            .child(element("style").style_sheet(STYLE));
        let header = element("header").child(element("h1").text(&self.title));
        let main = element("main").child(self.verdict.clone()).children(self.sections.iter().cloned());
        let footer = element("footer").child(element("p").text(format!("brownout {}", version::text())));
        let body = element("body").child(header).child(main).child(footer);
        writeln!(formatter, "<!DOCTYPE html>\n{}", element("html").with("lang", "en").child(head).child(body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::html::testing::{Checked, check};

    const HOSTILE: &str = "<img src=x onerror=alert(1)> </style><script>\"'&\x1b[31m";

    fn page() -> Page {
        let mut page = Page::new(HOSTILE, Mark::Bad, HOSTILE, HOSTILE);
        page.facts(HOSTILE, &[("Name", HOSTILE.to_owned()), ("Empty", String::new())]);
        let mut table = Table::new(HOSTILE, &["A", "B", "C", "D", "E"]);
        let text = || HOSTILE.to_owned();
        let share = Cell::Share(1, 4);
        table.row(vec![
            Cell::Text(text()),
            Cell::Number(1_234_567),
            Cell::Code(text()),
            Cell::Mark(Mark::Idle, text()),
            share,
        ]);
        page.table(HOSTILE, &table);
        let problem = Problem {
            title: text(),
            causes: vec![text()],
            evidence: vec![("Console", text()), ("Nothing", " \n".to_owned())],
            kept: Some(text()),
            again: Some(text()),
        };
        page.problems("Failures", Mark::Bad, HOSTILE, &[problem]);
        page
    }

    #[test]
    fn a_page_of_hostile_text_holds_it_as_text_and_runs_nothing() {
        let text = page().to_string();
        let Checked { headings, tables, text: read, .. } = check(&text);
        assert_eq!(headings.iter().map(|(level, _)| *level).collect::<Vec<_>>(), [1, 2, 2, 2, 3]);
        assert_eq!(tables, 1);
        let shown = HOSTILE.replace('\x1b', "\u{241b}");
        assert_eq!(read.matches(&shown).count(), 15, "{read}");
        assert!(!read.contains("Empty") && !read.contains("Nothing"), "{read}");
        assert!(read.contains("1\u{202f}234\u{202f}567"), "{read}");
    }

    #[test]
    fn long_text_and_long_tables_are_cut_and_say_so() {
        let long = format!("begin{}end", "\u{e9}".repeat(BLOCK_BYTES_MAX));
        let cut = shortened(&long);
        assert!(cut.starts_with("begin") && cut.ends_with("end") && cut.len() < BLOCK_BYTES_MAX + 100);
        assert!(cut.contains("bytes are left out here"));
        let mut table = Table::new("rows", &["A"]);
        (0..ROWS_MAX + 7).for_each(|number| table.row(vec![Cell::Number(number as u64)]));
        let text = table.element().to_string();
        assert!(text.contains("7 more are not shown"));
        assert_eq!(text.matches("scope=\"row\"").count(), ROWS_MAX);
    }

    #[test]
    fn numbers_are_read_in_thousands() {
        let read = |number| grouped(number).replace('\u{202f}', "_");
        assert_eq!([0, 999, 1000, 1_234_567].map(read), ["0", "999", "1_000", "1_234_567"]);
    }

    #[test]
    fn colours_can_be_told_from_their_ground_in_light_and_in_dark() {
        crate::html::testing::check_contrast(STYLE);
    }
}
