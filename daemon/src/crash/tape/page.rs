//! The campaign over a tape as a page.

use std::collections::BTreeMap;

use super::{Bad, Found, Run};
use crate::crash::report::page::{TITLE, verdict};
use crate::html::{Cell, Mark, Page, Problem, Table};

/// With more places than this, those without a bad image are left out of the table.
const PLACES_MAX: usize = 500;

/// Everything about a campaign.
pub fn page(found: &Found, run: &Run<'_>) -> Page {
    let Found { places, exhaustive, images, equal, bad, .. } = found;
    let (mark, word) = verdict(!bad.is_empty(), run.interrupted);
    let mut sentence = format!("{} of {images} images that the drive may have left are bad.", bad.len());
    if let Some(incomplete) = run.shards.incomplete() {
        sentence.push_str(&format!(" The campaign is {incomplete}."));
    }
    let mut page = Page::new(format!("{TITLE} over a tape"), mark, word, &sentence);
    let of_tape = &run.arguments.of_tape;
    let path = |path: &Option<_>| path.as_ref().map(|path: &std::path::PathBuf| path.display().to_string());
    let check = run.arguments.check.clone().or_else(|| path(&of_tape.check_guest)).unwrap_or_default();
    let facts = [
        ("Tape", path(&run.arguments.tape).unwrap_or_default()),
        ("Judged by", check),
        ("Shard", format!("{} of {}", run.arguments.shard.0 + 1, run.arguments.shard.1)),
        ("Flushes kept", of_tape.flushes_kept.map(|nth| format!("each {nth}. only")).unwrap_or_default()),
    ];
    page.run(run.arguments.seed, &facts);
    run.shards.show(&mut page);
    let counts = [
        ("Images judged", format!("{images}, {} a minute", found.a_minute(run.took))),
        ("Bad", bad.len().to_string()),
        ("Places where power may have gone", places.to_string()),
        ("Places in full", exhaustive.to_string()),
        ("Equal images, judged once", equal.to_string()),
        ("The tape ends early", run.ends_early.unwrap_or_default().to_owned()),
    ];
    page.facts("Counts", &counts);
    page.problems("Failures", Mark::Bad, "bad image", &bad.iter().map(problem).collect::<Vec<_>>());
    page.table("By place", &by_place(found));
    page
}

fn problem(bad: &Bad) -> Problem {
    let mut causes = vec![bad.verdict.clone()];
    if let Some(cause) = &bad.cause {
        let mut list = |title: &str, pieces: &[usize]| {
            causes.extend(pieces.iter().map(|piece| format!("{title} piece {piece}: {}", bad.names[*piece])));
        };
        list("Broken where there is", &cause.survive);
        list("and where there is not", &cause.lost);
        if cause.survive.is_empty() && cause.lost.is_empty() {
            causes.push(format!(
                "Broken whichever of the {} pieces survive: what is missing was not even written",
                bad.names.len()
            ));
        }
    }
    let survives = |(piece, name): (usize, &String)| {
        let word = if bad.survives.get(piece) == Some(&true) { "survives" } else { "lost    " };
        format!("{word} {piece} {name}\n")
    };
    Problem {
        title: format!("place {}", bad.place),
        causes,
        evidence: vec![("All pieces of this image", bad.names.iter().enumerate().map(survives).collect())],
        kept: bad.kept.as_ref().map(|folder| folder.display().to_string()),
        again: Some(bad.again.clone()).filter(|again| !again.is_empty()),
    }
}

fn by_place(found: &Found) -> Table {
    let all = found.by_place.len() <= PLACES_MAX;
    let caption = if all { "Places of the tape, by number" } else { "Places of the tape that have bad images" };
    let mut bad_of = BTreeMap::<u64, u64>::new();
    found.bad.iter().for_each(|bad| *bad_of.entry(bad.place).or_default() += 1);
    let mut table = Table::new(caption, &["Place", "Volatile pieces", "Images judged", "Bad", "Result"]);
    for (place, (pieces, judged)) in &found.by_place {
        let bad = bad_of.get(place).copied().unwrap_or(0);
        let result = match (bad, judged) {
            (0, 0) => Cell::Mark(Mark::Idle, "judged before".to_owned()),
            (0, _) => Cell::Mark(Mark::Good, "good".to_owned()),
            _ => Cell::Mark(Mark::Bad, "bad".to_owned()),
        };
        if all || bad > 0 {
            let numbers = [*pieces as u64, *judged, bad].map(Cell::Number);
            table.row([vec![Cell::Code(place.to_string())], numbers.to_vec(), vec![result]].concat());
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use media::Nanoseconds;
    use tape::shrink::Cause;

    use super::super::judge::Verdict;
    use super::*;
    use crate::cli::{CommandLine, Verb};
    use crate::crash::shards::Shards;
    use crate::html::testing::check;

    fn told(found: &Found) -> crate::html::testing::Checked {
        let line = ["brownout", "crash", "--tape", "a.tape", "--check", "fsck '<b>' {image}", "--keep", "kept"];
        let Verb::Crash(arguments) = CommandLine::try_parse_from(line).expect("legal").verb else { panic!("crash") };
        let (took, shards) = (Nanoseconds(60_000_000_000), &Shards::default());
        let run = Run { arguments: &arguments, ends_early: None, took, interrupted: false, shards };
        check(&page(found, &run).to_string())
    }

    #[test]
    fn a_bad_image_is_told_with_its_pieces_its_folder_and_its_command() {
        let bad = Bad {
            place: 2,
            survives: vec![true, false],
            verdict: Verdict::Ended("<i>panic".to_owned()).to_string(),
            cause: Some(Cause { survive: vec![0], lost: vec![1] }),
            names: vec!["write <1>".to_owned(), "write 2".to_owned()],
            again: "brownout crash --show 2:0".to_owned(),
            kept: Some("kept/place-2".into()),
        };
        let by_place = [(1, (0, 1)), (2, (2, 4)), (3, (1, 0))].into_iter().collect();
        let checked = told(&Found { places: 3, images: 5, bad: vec![bad], by_place, ..Found::default() });
        assert!(checked.text.starts_with("\u{2717} failed 1 of 5 images"), "{}", checked.text);
        for said in [
            "fsck '<b>' {image}",
            "the guest ended: <i>panic",
            "Broken where there is piece 0: write <1>",
            "and where there is not piece 1: write 2",
            "survives 0 write <1>\nlost     1 write 2\n",
            "Kept in kept/place-2",
            "brownout crash --show 2:0",
        ] {
            assert!(checked.text.contains(said), "{said}: {}", checked.text);
        }
        let rows: Vec<_> = checked.rows[1..].iter().map(|row| row.join(" ")).collect();
        assert_eq!(rows, ["1 0 1 0 \u{2713} good", "2 2 4 1 \u{2717} bad", "3 1 0 0 \u{2013} judged before"]);
    }

    #[test]
    fn of_many_places_only_the_bad_ones_are_listed() {
        let by_place = (0..=PLACES_MAX as u64).map(|place| (place, (1, 2))).collect();
        let checked = told(&Found { images: 7, by_place, ..Found::default() });
        assert_eq!(checked.rows.len(), 1);
        assert!(checked.text.starts_with("\u{2713} passed 0 of 7 images"), "{}", checked.text);
    }
}
