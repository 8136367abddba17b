//! The oracle of acknowledged operations. A load that numbers what it does says `try WHAT NUMBER` before and `did WHAT NUMBER` after it has
//! returned; a check says `found WHAT NUMBER` of what is there after a power loss: of the last one, or of each. Knows words and numbers, and
//! neither drive nor machine.
//!
//! What was acknowledged is there, and nothing that was not tried; of several that are found, none is missing between two others; and
//! what was found once is found again.

use std::collections::BTreeMap;

/// A longer name is none: a load is a program of somebody's, and may say anything.
const NAME_BYTES: usize = 64;

/// What was done of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Done {
    tried: u64,
    did: u64,
    /// The last one that was found after an earlier power loss, if the load goes on from there.
    found_before: u64,
}

/// What a load said that it tried and did, until power went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged(BTreeMap<String, Done>);

/// The last one of each kind that was found after the power losses so far, of a drive that keeps what it has from one to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found(BTreeMap<String, u64>);

/// Reads `WORD WHAT NUMBER`.
fn numbered<'a>(line: &'a str, word: &str) -> Option<(&'a str, u64)> {
    let mut words = line.split_ascii_whitespace();
    let (first, what, number) = (words.next()?, words.next()?, words.next()?);
    let is_number = number.bytes().all(|letter| letter.is_ascii_digit());
    let is_line = first == word && words.next().is_none() && is_number && what.len() <= NAME_BYTES;
    Some((what, number.parse().ok()?)).filter(|_| is_line)
}

impl Acknowledged {
    /// Of the lines that were acknowledged: those that are of no such form say nothing here. `before` is what was found until now.
    pub fn new(acks: &str, before: &Found) -> Self {
        let mut of = BTreeMap::<String, Done>::new();
        for (what, found) in &before.0 {
            of.insert(what.clone(), Done { found_before: *found, ..Done::default() });
        }
        for line in acks.lines() {
            if let Some((what, number)) = numbered(line, "try") {
                let done = of.entry(what.to_owned()).or_default();
                // Who begins anew does not go on from there.
                done.found_before = done.found_before.min(number.saturating_sub(1));
                done.tried = done.tried.max(number);
            } else if let Some((what, number)) = numbered(line, "did") {
                let done = of.entry(what.to_owned()).or_default();
                done.did = done.did.max(number);
            }
        }
        Self(of)
    }

    /// What cannot be, of what a check said. Of a kind of which it says nothing, nothing is wrong.
    pub fn judge(&self, said: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        for (what, numbers) in found(said) {
            let done = self.0.get(what).copied().unwrap_or_default();
            let (mut numbers, mut last) = (numbers.into_iter(), 0);
            if let Some(first) = numbers.next() {
                last = first;
            }
            for number in numbers {
                if last.checked_add(1) != Some(number) {
                    wrong.push(format!("{what} {number} was found behind {what} {last}, and nothing between them"));
                }
                last = last.max(number);
            }
            if last < done.did {
                wrong.push(format!("{what} {} was acknowledged, and {last} is the last that was found", done.did));
            } else if last < done.found_before {
                let before = done.found_before;
                wrong.push(format!(
                    "{what} {before} was there after an earlier cut, and {last} is the last that was found"
                ));
            }
            let tried = done.tried.max(done.did).max(done.found_before);
            if last > tried {
                wrong.push(format!("{what} {last} was found, and {tried} is the last that was tried"));
            }
        }
        wrong
    }
}

impl Found {
    /// A check was content, and said this.
    pub fn remember(&mut self, said: &str) {
        for (what, numbers) in found(said) {
            self.0.insert(what.to_owned(), numbers.into_iter().max().unwrap_or(0));
        }
    }
}

/// What was found of each kind, in the order in which the check said so.
fn found(said: &str) -> BTreeMap<&str, Vec<u64>> {
    let mut found = BTreeMap::<_, Vec<u64>>::new();
    for (what, number) in said.lines().filter_map(|line| numbered(line, "found")) {
        found.entry(what).or_default().push(number);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(acks: &str, said: &str) -> Vec<String> {
        Acknowledged::new(acks, &Found::default()).judge(said)
    }

    #[test]
    fn what_was_acknowledged_is_there_and_nothing_that_was_not_tried() {
        let acks = "mounted ext4\ntry row 000001\ndid row 000001\ntry row 2\ndid row 2\ntry row 3\n";
        for found in ["found row 2", "found row 3", "found row 1\nfound row 2", "found row 2\nfound row 3\nnoise 7"] {
            assert_eq!(judged(acks, found), [""; 0], "{found}");
        }
        assert_eq!(judged(acks, "found row 1"), ["row 2 was acknowledged, and 1 is the last that was found"]);
        assert_eq!(judged(acks, "found row 0"), ["row 2 was acknowledged, and 0 is the last that was found"]);
        assert_eq!(judged(acks, "found row 4"), ["row 4 was found, and 3 is the last that was tried"]);
        assert_eq!(judged(acks, "found log 1"), ["log 1 was found, and 0 is the last that was tried"]);
        assert_eq!(judged(acks, "found log 0"), [""; 0]);
        assert_eq!(judged("did row 5", "found row 5"), [""; 0], "who did it has tried");
    }

    #[test]
    fn between_two_that_are_found_none_is_missing() {
        let acks = "try row 9\n";
        assert_eq!(judged(acks, "found row 5\nfound row 6\nfound row 7"), [""; 0], "the first ones may be gone");
        let hole = "row 7 was found behind row 5, and nothing between them";
        assert_eq!(judged(acks, "found row 4\nfound row 5\nfound row 7"), [hole]);
        assert_eq!(judged(acks, "found row 5\nfound row 5").len(), 1, "nothing is there twice");
        assert_eq!(judged(acks, "found row 5\nfound row 4").len(), 1, "nor in another order");
    }

    #[test]
    fn what_was_found_once_is_found_again_unless_the_load_begins_anew() {
        let mut before = Found::default();
        before.remember("found row 6\nfound row 7\nfound log 3\n");
        let judged = |acks: &str, said: &str| Acknowledged::new(acks, &before).judge(said);
        assert_eq!(judged("try row 8\n", "found row 7\nfound log 3"), [""; 0]);
        assert_eq!(
            judged("try row 8\n", "found row 6"),
            ["row 7 was there after an earlier cut, and 6 is the last that was found"]
        );
        assert_eq!(judged("", "found row 7"), [""; 0], "before anything was tried");
        assert_eq!(judged("", "found log 2").len(), 1);
        assert_eq!(judged("try row 1\ndid row 1\n", "found row 1"), [""; 0]);
        assert_eq!(judged("try row 1\ndid row 1\n", "found row 7").len(), 1, "what was there before has gone");
    }

    #[test]
    fn lines_that_are_of_no_such_form_say_nothing() {
        let long = format!("found {} 7", "x".repeat(NAME_BYTES + 1));
        for said in [
            "found row",
            "found row x",
            "found row -1",
            "found row +1",
            "found row 1 2",
            "found",
            "",
            "Found row 1",
            "found row 99999999999999999999999",
            &long,
            "found row 1e3",
            " \u{0}\u{7f} ",
            "foundrow 1",
            "found row \u{663}",
        ] {
            assert_eq!(judged("", said), [""; 0], "{said:?}");
        }
        let most = u64::MAX;
        assert_eq!(judged(&format!("try row {most}\n"), &format!("found row {most}\nfound row 0\n")).len(), 1);
        assert_eq!(judged("try row 0\n", "found row 0"), [""; 0]);
    }
}
