//! What must hold of every page, checked on what a parser makes of it: tests of reports call [`check`].

use std::collections::BTreeSet;

use roxmltree::{Document, Node, ParsingOptions};

/// What a page holds.
pub struct Checked {
    /// Levels and texts of its headings, in order.
    pub headings: Vec<(u8, String)>,
    /// How many tables.
    pub tables: usize,
    /// Its text.
    pub text: String,
    /// The rows of its tables, cell by cell.
    pub rows: Vec<Vec<String>>,
}

/// Elements that a report may have: none of them runs, fetches or sends anything.
const KNOWN: [&str; 34] = [
    "html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section", "article", "h1", "h2",
    "h3", "p", "span", "code", "pre", "ul", "li", "dl", "dt", "dd", "div", "table", "caption", "thead", "tbody", "tr",
    "th", "td", "details", "summary", "svg",
];
const ATTRIBUTES: [&str; 16] = [
    "lang",
    "charset",
    "http-equiv",
    "name",
    "content",
    "class",
    "id",
    "role",
    "tabindex",
    "scope",
    "width",
    "height",
    "viewBox",
    "preserveAspectRatio",
    "aria-hidden",
    "aria-label",
];

/// Checks a page, and says what is in it.
pub fn check(page: &str) -> Checked {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    let document = Document::parse_with_options(page, options).expect("well formed");
    let all: Vec<Node<'_, '_>> = document.descendants().filter(Node::is_element).collect();
    let named = |name: &str| all.iter().filter(|it| it.tag_name().name() == name).copied().collect::<Vec<_>>();
    for it in &all {
        let name = it.tag_name().name();
        assert!(KNOWN.contains(&name) || name == "rect", "<{name}>");
        for attribute in it.attributes() {
            let name = attribute.name();
            assert!(ATTRIBUTES.contains(&name) || name == "aria-labelledby", "{name}");
        }
    }
    assert!(page.starts_with("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>"));
    for single in ["title", "main", "header", "footer", "h1"] {
        let found = named(single);
        assert_eq!(found.len(), 1, "{single}");
        assert!(single == "main" || !text_of(found[0]).trim().is_empty(), "{single}");
    }
    check_names(&all);
    named("table").into_iter().for_each(check_table);
    let headings = all.iter().filter_map(|it| {
        let level = it.tag_name().name().strip_prefix('h')?.parse().ok()?;
        Some((level, text_of(*it)))
    });
    let headings: Vec<(u8, String)> = headings.collect();
    let mut level = 0;
    for (next, text) in &headings {
        assert!(*next <= level + 1 && !text.trim().is_empty(), "heading {next} after {level}: {text}");
        level = *next;
    }
    let main = named("main")[0];
    let verdict = main.first_element_child().expect("something");
    assert_eq!(verdict.attribute("class"), Some("verdict"), "the verdict comes first");
    let cells = |row: Node<'_, '_>| row.children().filter(Node::is_element).map(text_of).collect();
    Checked {
        headings,
        tables: named("table").len(),
        text: text_of(main),
        rows: named("tr").into_iter().map(cells).collect(),
    }
}

/// What is referred to is there, once; what scrolls can be reached and has a name.
fn check_names(all: &[Node<'_, '_>]) {
    let mut ids = BTreeSet::new();
    all.iter().filter_map(|it| it.attribute("id")).for_each(|id| assert!(ids.insert(id), "{id} twice"));
    for it in all {
        if let Some(id) = it.attribute("aria-labelledby") {
            assert!(ids.contains(id), "{id}");
        }
        if it.attribute("role") == Some("region") {
            assert!(it.attribute("tabindex") == Some("0"), "reached by keyboard");
            assert!(it.attribute("aria-label").is_some_and(|label| !label.trim().is_empty()), "has a name");
        }
        // A colour never stands alone: each badge has a shape and a word.
        if it.attribute("class").is_some_and(|class| class.starts_with("badge")) {
            assert!(text_of(*it).split_whitespace().count() >= 2, "{}", text_of(*it));
        }
    }
}

fn check_table(table: Node<'_, '_>) {
    let named = |name: &'static str| table.descendants().filter(move |it| it.has_tag_name(name));
    assert_eq!(table.first_element_child().map(|it| it.tag_name().name()), Some("caption"));
    let columns = named("th").filter(|it| it.attribute("scope") == Some("col")).count();
    assert!(columns > 0, "columns have heads");
    for row in named("tbody").flat_map(|body| body.children().filter(|it| it.has_tag_name("tr"))) {
        let cells: Vec<_> = row.children().filter(Node::is_element).collect();
        assert_eq!(cells.len(), columns);
        assert_eq!(cells[0].attribute("scope"), Some("row"), "a row has a head");
    }
}

fn text_of(node: Node<'_, '_>) -> String {
    node.descendants().filter(Node::is_text).filter_map(|it| it.text()).collect()
}

/// Every pair of text and ground in the style sheet has a contrast of 4.5 or more, as WCAG 2.2 asks for in 1.4.3.
pub fn check_contrast(style: &str) {
    let (light, dark) = style.split_once("@media (prefers-color-scheme: dark)").expect("both schemes");
    for (scheme, sheet) in [("light", light), ("dark", dark)] {
        let colour = |name: &str| {
            let value = sheet.split(&format!("--{name}: #")).nth(1).unwrap_or_else(|| panic!("{scheme} has {name}"));
            u32::from_str_radix(&value[..6], 16).expect("a colour")
        };
        for ground in ["ground", "raised"] {
            for text in ["text", "quiet", "good", "remark", "bad", "idle", "link"] {
                let contrast = contrast(colour(text), colour(ground));
                assert!(contrast >= 4.5, "{scheme}: {text} on {ground} has {contrast:.2}");
            }
        }
    }
}

fn contrast(one: u32, other: u32) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

fn luminance(colour: u32) -> f64 {
    let [_, red, green, blue] = colour.to_be_bytes().map(|part| {
        let part = f64::from(part) / 255.0;
        if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}
