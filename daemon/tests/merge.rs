//! `brownout crash --merge` from outside: shards make together what one process makes, and what does not fit together is refused.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

const BROWNOUT: &str = env!("CARGO_BIN_EXE_brownout");

/// A folder in which campaigns run.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn crash(&self, line: &str) -> Output {
        let words = line.split_whitespace();
        Command::new(BROWNOUT).arg("crash").args(words).current_dir(&self.0).output().expect("the program starts")
    }

    /// A shard, with its report in `I.json`.
    fn shard(&self, campaign: &str, shard: u64, of: u64) {
        let output = self.crash(&format!("--in-process {campaign} --shard {shard}/{of} --json {shard}.json"));
        assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    }

    /// The exit code, and all that was said.
    fn merge(&self, reports: &str) -> (Option<i32>, String) {
        let output = self.crash(&format!("--merge {reports}"));
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).expect("text"))
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).expect("a report")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).expect("written");
    }

    /// What a report's last line says that does not depend on who ran it.
    fn counts(&self, name: &str) -> Value {
        let mut end: Value = serde_json::from_str(self.read(name).lines().last().expect("a line")).expect("JSON");
        for own in ["nanoseconds", "merged", "missing", "shard"] {
            end[own] = Value::Null;
        }
        end
    }

    /// The cases of a JUnit report that are said to fail, with what it says of each.
    fn failing(&self, name: &str) -> Vec<String> {
        let xml = self.read(name);
        let document = roxmltree::Document::parse(&xml).expect("XML");
        let failures = document.descendants().filter(|node| node.has_tag_name("failure"));
        failures
            .map(|node| format!("{:?} {:?}", node.parent().expect("a case").attribute("name"), node.text()))
            .collect()
    }
}

#[test]
fn shards_make_together_what_one_process_makes() {
    let place = Place::new();
    let campaign = "--cuts 3000 --seed 11";
    (1..=3).for_each(|shard| place.shard(campaign, shard, 3));
    let alone = place.crash(&format!("--in-process {campaign} --json alone.json --junit alone.xml"));
    let (code, said) = place.merge("3.json 1.json 2.json --json all.json --junit all.xml --html all.html");
    assert_eq!((code, alone.status.code()), (Some(0), Some(0)), "{said}");
    assert_eq!(place.counts("all.json"), place.counts("alone.json"));
    let table: Vec<_> = said.lines().take_while(|line| line.starts_with("shard ")).map(|line| &line[..8]).collect();
    assert_eq!(table, ["shard 1:", "shard 2:", "shard 3:"]);
    // Whatever the time that it took.
    let cases = |name: &str| {
        place.read(name).lines().filter(|line| line.contains("<testcase")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(cases("all.xml"), cases("alone.xml"));
    assert!(place.read("all.html").contains("Reports that were merged"));
    assert_eq!(place.merge("all.json").0, Some(2), "what was merged is no shard's report");
}

#[test]
fn what_shards_find_illegal_is_what_one_process_finds() {
    let place = Place::new();
    let campaign = "--cuts 4000 --seed 1 --keep-going --misbehave ignored-flush+shorn-write";
    (1..=2).for_each(|shard| place.shard(campaign, shard, 2));
    place.crash(&format!("--in-process {campaign} --json alone.json --junit alone.xml"));
    let (code, said) = place.merge("1.json 2.json --json all.json --junit all.xml");
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(place.counts("all.json"), place.counts("alone.json"));
    let failing = place.failing("all.xml");
    assert!(
        failing.len() >= 2 && failing.iter().all(|failure| failure.contains("again: brownout crash")),
        "{failing:?}"
    );
    assert_eq!(failing, place.failing("alone.xml"));
}

/// Who watches cases over many runs finds each again by its class and name, whatever the seed.
#[test]
fn names_of_junit_cases_stay() {
    let place = Place::new();
    let names = |seed: u64| {
        place.crash(&format!("--in-process --cuts 1000 --seed {seed} --junit x.xml"));
        let xml = place.read("x.xml");
        let document = roxmltree::Document::parse(&xml).expect("XML");
        let cases = document.descendants().filter(|node| node.has_tag_name("testcase"));
        let name = |node: roxmltree::Node<'_, '_>| {
            ["classname", "name"].map(|name| node.attribute(name).expect("named").to_owned())
        };
        cases.map(name).collect::<Vec<_>>()
    };
    let of_one = names(1);
    assert_eq!(of_one, names(99));
    assert!(
        of_one.iter().all(|[class, _]| class == "step") && of_one.contains(&["step", "line-erased"].map(str::to_owned))
    );
}

/// What is left of a shard that was killed, and what runs it again.
#[test]
fn a_shard_that_was_killed_is_named_with_the_command_that_runs_it_again() {
    let place = Place::new();
    (1..=2).for_each(|shard| place.shard("--cuts 2000 --seed 5", shard, 2));
    let whole = place.counts("2.json");
    let report = place.read("2.json");
    let again = "again: brownout crash --in-process --cuts 2000 --seed 5 --shard 2/2 --json 2.json";
    let cut_off = &report[..report.len() / 2];
    for (left, why) in [(cut_off, "2.json: the report has no end"), ("", "there is no report of it")] {
        place.write("2.json", left);
        let (code, said) = place.merge("1.json 2.json --junit all.xml");
        assert_eq!(code, Some(75), "{said}");
        assert!(said.contains(&format!("shard 2 is missing: {why}\n  {again}\n")), "{said}");
        assert!(said.ends_with("incomplete: 1 of 2 shards are missing\n"), "{said}");
        assert_eq!(place.failing("all.xml"), [format!("Some(\"shard 2\") Some({again:?})")]);
    }
    fs::remove_file(place.0.path().join("2.json")).expect("it was there");
    assert_eq!(place.merge("1.json 2.json").0, Some(75));
    place.crash(again.trim_start_matches("again: brownout crash "));
    assert_eq!(place.counts("2.json"), whole);
    assert_eq!(place.merge("1.json 2.json").0, Some(0));
    // The remains of a killed run beside the report of the next one do not matter.
    place.write("old.json", cut_off);
    assert_eq!(place.merge("1.json old.json 2.json 2.json").0, Some(0));
}

#[test]
fn an_interrupted_shard_is_missing() {
    let place = Place::new();
    place.shard("--cuts 2000", 1, 2);
    let report = place.read("1.json");
    let mut lines: Vec<_> = report.lines().collect();
    let end = lines.pop().expect("an end").replace("\"interrupted\":false", "\"interrupted\":true");
    place.write("1.json", &format!("{}\n{end}\n", lines.join("\n")));
    let (code, said) = place.merge("1.json");
    assert!(code == Some(75) && said.contains("shard 1 is missing: 1.json: the campaign was interrupted"), "{said}");
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let place = Place::new();
    place.shard("--cuts 2000 --seed 5", 1, 2);
    let report = place.read("1.json");
    let (first, rest) = report.split_once('\n').expect("lines");
    let other = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut first: Value = serde_json::from_str(first).expect("JSON");
        change(&mut first["campaign"]);
        place.write(name, &format!("{first}\n{rest}"));
    };
    other("seed", &|campaign| campaign["words"][4] = json!("6"));
    other("options", &|campaign| campaign["words"].as_array_mut().expect("words").push(json!("--keep-going")));
    other("version", &|campaign| campaign["version"] = json!("9.9.9"));
    other("number", &|campaign| campaign["shard"] = json!([1, 3]));
    other("unknown", &|campaign| campaign["words"][0] = json!("--in-hardware"));
    place.write("content", &report.replacen("\"illegal\":0", "\"illegal\":1", 1));
    place.write("nonsense", "{}\n");
    for (reports, why) in [
        (
            "1.json seed",
            "seed: not of the campaign of 1.json, in which what was asked for is --seed 5, and there --seed 6",
        ),
        ("1.json options", "what was asked for is not given, and there --keep-going"),
        ("1.json version", "and there 9.9.9"),
        ("1.json number", "the number of shards is 2, and there 3"),
        ("1.json content", "content: shard 1 again, and not what 1.json says of it"),
        ("unknown", "what was asked for is not known to this version"),
        ("1.json nonsense", "nonsense: give reports that"),
        ("absent", "there is no such file, and no report says of which campaign it is"),
        ("1.json --seed 7", "cannot be used with"),
    ] {
        let (code, said) = place.merge(reports);
        assert!(code == Some(2) && said.contains(why), "{reports}: {said}");
    }
}

#[test]
fn a_shard_that_has_nothing_to_run_is_refused_before_it_runs() {
    let place = Place::new();
    let output = place.crash("--in-process --cuts 3999 --shard 1/4 --json 1.json");
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(said, "brownout: --shard 1/4: give --cuts 4000 or more: a shard makes 1000 cuts at least\n");
    assert!(!Path::new(place.0.path()).join("1.json").exists());
}
