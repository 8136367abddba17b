//! Writes a file with its mutants in it, each behind its switch, and says which of them a compiler's complaint is about.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::sites::{NOTHING, Shape, Site};

/// The function that a switch asks, in the crate of each file.
pub const SWITCH: &str = "crate::mutant_switch::is";

/// A file with switches in it.
#[derive(Debug, Default)]
pub struct Spliced {
    /// What the compiler gets.
    pub text: String,
    /// Where each mutant's own text lies in it, by its number.
    alternatives: Vec<(Range<usize>, usize)>,
    /// Where sites lie in it, and their mutants; an outer one may come before or after an inner one.
    sites: Vec<(Range<usize>, Vec<usize>)>,
}

/// A site that is open: its end in the source, where it began in the text, what closes it, its mutants.
struct Open {
    end: usize,
    began: usize,
    suffix: String,
    numbers: Vec<usize>,
}

/// Puts the mutants into `source`. `number` says under which number one is switched, or that it is left out; mutants count in the
/// order of the sites.
pub fn splice(source: &str, sites: &[Site], mut number: impl FnMut(usize) -> Option<usize>) -> Spliced {
    let mut spliced = Spliced::default();
    let mut at = 0;
    let mut open: Vec<Open> = Vec::new();
    let mut counted = 0;
    for site in sites {
        while let Some(last) = open.pop_if(|last| last.end <= site.range.start) {
            spliced.close(source, &mut at, last);
        }
        spliced.copy(source, &mut at, site.range.start);
        let numbered: Vec<(usize, &str)> = (site.mutants.iter())
            .enumerate()
            .filter_map(|(index, mutant)| Some((number(counted + index)?, mutant.replacement.as_str())))
            .collect();
        counted += site.mutants.len();
        if !numbered.is_empty() {
            let began = spliced.text.len();
            let suffix = spliced.open(site.shape, &numbered).to_owned();
            open.push(Open {
                end: site.range.end,
                began,
                suffix,
                numbers: numbered.iter().map(|(number, _)| *number).collect(),
            });
        }
    }
    while let Some(last) = open.pop() {
        spliced.close(source, &mut at, last);
    }
    spliced.copy(source, &mut at, source.len());
    spliced
}

impl Spliced {
    /// Puts text in front of all.
    pub fn begin_with(&mut self, text: &str) {
        self.text.insert_str(0, text);
        let shift = |range: &mut Range<usize>| *range = range.start + text.len()..range.end + text.len();
        self.alternatives.iter_mut().for_each(|(range, _)| shift(range));
        self.sites.iter_mut().for_each(|(range, _)| shift(range));
    }

    fn copy(&mut self, source: &str, at: &mut usize, to: usize) {
        self.text.push_str(&source[*at..to]);
        *at = to;
    }

    fn close(&mut self, source: &str, at: &mut usize, site: Open) {
        self.copy(source, at, site.end);
        self.text.push_str(&site.suffix);
        self.sites.push((site.began..self.text.len(), site.numbers));
    }

    /// Writes what comes before a site, and says what comes after it.
    fn open(&mut self, shape: Shape, numbered: &[(usize, &str)]) -> &'static str {
        match shape {
            Shape::Body => {
                for &(number, statement) in numbered {
                    self.text.push_str(&format!(" if {SWITCH}({number}) {{ "));
                    self.alternative(number, statement);
                    self.text.push_str("; }");
                }
                ""
            }
            Shape::Arm | Shape::Statement => {
                let switches: Vec<String> = numbered.iter().map(|(number, _)| format!("!{SWITCH}({number})")).collect();
                let switches = switches.join(" && ");
                if shape == Shape::Arm {
                    self.text.push_str(&format!(" if {switches}"));
                    ""
                } else {
                    self.text.push_str(&format!("if {switches} {{ "));
                    " }"
                }
            }
            Shape::Expression => {
                self.text.push('(');
                for &(number, expression) in numbered {
                    self.text.push_str(&format!("if {SWITCH}({number}) {{ "));
                    self.alternative(number, expression);
                    self.text.push_str(" } else ");
                }
                self.text.push_str("{ ");
                " })"
            }
        }
    }

    fn alternative(&mut self, number: usize, text: &str) {
        debug_assert_ne!(text, NOTHING, "what leaves something out has no text of its own");
        let began = self.text.len();
        self.text.push_str(text);
        self.alternatives.push((began..self.text.len(), number));
    }

    /// The mutants that complaints about these places mean: those whose own text is meant, or else all of the innermost site.
    pub fn blamed(&self, places: &[Range<usize>]) -> BTreeSet<usize> {
        let holds = |range: &Range<usize>, place: &Range<usize>| range.start <= place.start && place.end <= range.end;
        let own: BTreeSet<usize> = (self.alternatives.iter())
            .filter(|(range, _)| places.iter().any(|place| holds(range, place)))
            .map(|(_, number)| *number)
            .collect();
        if !own.is_empty() {
            return own;
        }
        let innermost = |place: &Range<usize>| {
            let around = self.sites.iter().filter(|(range, _)| holds(range, place));
            around.min_by_key(|(range, _)| range.len()).map(|(_, numbers)| numbers.clone())
        };
        places.iter().filter_map(innermost).flatten().collect()
    }
}

/// The module that knows which switch is on. `count` is that of all mutants in all crates.
pub fn switch_module(count: usize) -> String {
    include_str!("switch.rs").replace("COUNT_OF_MUTANTS", &count.to_string())
}

#[cfg(test)]
mod tests {
    use super::splice;
    use crate::sites;

    fn text(source: &str) -> String {
        let sites = sites::find(source).expect("Rust");
        splice(source, &sites, Some).text.replace(super::SWITCH, "is")
    }

    #[test]
    fn a_switch_stands_around_what_it_changes() {
        assert_eq!(
            text("fn f() -> &T { a + b }"),
            "fn f() -> &T { (if is(0) { a - b } else { a + b }) }",
            "an expression"
        );
        assert_eq!(text("fn f() -> &T { a.b(); c }"), "fn f() -> &T { if !is(0) { a.b(); } c }", "a statement");
        assert_eq!(
            text("fn f() -> &T { match a { B => c, _ => d } }"),
            "fn f() -> &T { match a { B if !is(0) => c, _ => d } }",
            "an arm"
        );
        assert_eq!(
            text("fn f() -> bool { a }"),
            "fn f() -> bool { if is(0) { return true; } if is(1) { return false; } a }"
        );
    }

    #[test]
    fn a_mutant_has_no_other_inside() {
        assert_eq!(
            text("fn f() -> &T { a - 1 }"),
            "fn f() -> &T { (if is(0) { a + 1 } else { a - (if is(1) { 2 } else { 1 }) }) }"
        );
    }

    #[test]
    fn what_is_spliced_is_rust_without_its_mutants_too() {
        let source = "fn f() -> &T { if a < 1 && b.c() { d(2); } }";
        let sites = sites::find(source).expect("Rust");
        assert_eq!(splice(source, &sites, |_| None).text, source);
        syn::parse_file(&splice(source, &sites, Some).text).expect("Rust");
    }

    #[test]
    fn a_complaint_is_about_a_mutants_text_or_else_about_its_site() {
        let source = "fn f() -> &T { a - (b + 1) }";
        let sites = sites::find(source).expect("Rust");
        let spliced = splice(source, &sites, Some);
        let place = |needle: &str| {
            let at = spliced.text.find(needle).expect("it is there");
            at..at + needle.len()
        };
        let blamed = |places: &[_]| spliced.blamed(places).into_iter().collect::<Vec<_>>();
        assert_eq!(blamed(&[place("a + (b + 1)")]), [0]);
        assert_eq!(blamed(&[place("else { 1 }")]), [2], "the innermost");
        assert_eq!(blamed(&[place("else { 1 }"), place("b - 1")]), [1], "its own text is surer");
        assert!(blamed(&[place("fn")]).is_empty());
    }

    #[test]
    fn what_is_put_in_front_of_all_does_not_shift_the_blame() {
        let source = "fn f() -> &T { a + b }";
        let mut spliced = splice(source, &sites::find(source).expect("Rust"), Some);
        spliced.begin_with("#![allow(warnings)] ");
        let at = spliced.text.find("a - b").expect("it is there");
        let place = at..at + 5;
        assert_eq!(spliced.blamed(&[place]).into_iter().collect::<Vec<_>>(), [0]);
    }
}
